"""The middle, the same behind every front: clients, servers, UDP ports, sessions, requests, events.

No module here knows a socket, a loop, a thread or a clock; ``seam.py`` says what a driver gives them.
"""
