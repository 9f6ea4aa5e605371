"""The command line of the daemon: `command.py add buy tea`, `command.py list`, `command.py stop`.

The blocking front: no event loop, no thread, and it waits up to two seconds for a daemon that is just starting.
"""

import sys

from node_ipc import IPCError, blocking

verb, *words = sys.argv[1:] or ["list"]
try:
    with blocking.connect("todo", timeout=2, wait=True) as daemon:
        if verb == "add":
            print("number", daemon.request("add", " ".join(words), timeout=5))
        elif verb == "list":
            for number, item in enumerate(daemon.request("list", timeout=5), 1):
                print(number, item)
        else:
            daemon.request(verb, timeout=5)
except IPCError as error:
    sys.exit(f"{verb}: {error}")
