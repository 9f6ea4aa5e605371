"""Asks the Node process of answer.js, and shows what errors look like; its death is one (ConnectionLost)."""

from node_ipc import RemoteError, blocking

with blocking.connect("answers", timeout=5, wait=True) as node:
    print("upper:", node.request("upper", "hello", timeout=5))
    print("add:", node.request("add", {"a": 1, "b": 2}, timeout=5))
    for method in ("nothing", "add"):
        try:
            node.request(method, timeout=5)
        except RemoteError as error:
            print("refused:", error)
