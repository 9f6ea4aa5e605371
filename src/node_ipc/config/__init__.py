"""What a user may set: options and their checks, addresses, TLS, profiles, and how the log is written.

The class is ``node_ipc.Config``; ``config.py`` here has each option with its meaning.
"""
