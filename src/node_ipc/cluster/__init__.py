"""Several servers as one: what they tell each other over a bus. The middle of it (``node.py``) is pure."""
