"""An echo server of this library in a process of its own, which a test may kill.

    python python_server.py '{"config": {"id": "world", ...}, "where": []}'

Prints one line when it listens, and ends when its stdin does.
"""

import json
import os
import sys
import threading
from typing import Any

from node_ipc import IPC


def main() -> None:
    told = json.loads(sys.argv[1])
    ipc = IPC()
    ipc.config.silent = True
    for name, value in told["config"].items():
        setattr(ipc.config, name, value)

    def started() -> None:
        ipc.server.on("message", lambda data, socket: ipc.server.emit(socket, "message", data))
        print("listening", flush=True)

    serve: Any = ipc.serve_net if told["where"] else ipc.serve
    serve(*told["where"], started)
    ipc.server.start()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    ipc.run()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
