"""The command line: ``node-ipc`` and ``python -m node_ipc``. One module for each group of commands."""
