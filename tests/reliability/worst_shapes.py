"""One shape of payload, as large as may be, sent to a server in memory: what one frame costs.

    python worst_shapes.py SHAPE MIB

Prints the best of three CPU times in seconds, the growth of the resident memory in bytes for the first of them, and
what the server made of it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from node_ipc import Config
from node_ipc.testing import Wire, serve
from node_ipc.transport.memory import MemoryDriver

SHAPES: dict[str, tuple[bytes, bytes, bytes]] = {
    "empty lists": (b"[", b"[],", b"0]"),
    "empty objects": (b"[", b"{},", b"0]"),
    "lists of one list": (b"[", b"[" * 20 + b"]" * 20 + b",", b"0]"),
    "objects of one member": (b"[", b'{"":0},', b"0]"),
    "small numbers": (b"[", b"1000,", b"0]"),
    "short texts": (b"[", '"é",'.encode(), b"0]"),
    "escapes": (b'"', b"\\u00e9", b'"'),
    "lone surrogates": (b'["\\ud800",', b"[],", b"0]"),
    "a wide text": ('"😀'.encode(), b"a", b'"'),
    "white space": (b"", b" ", b"1"),
    "brackets that never close": (b"", b"[", b""),
    "digits": (b"", b"9", b""),
    "4301 digits": (b"[", b"9" * 4301 + b",", b"0]"),
    "1e400": (b"[1e400,", b"1,", b"0]"),
    "numbers that take long": (b"[", b"17976931348623158079e289,", b"0]"),
}


def payload(shape: str, size: int) -> bytes:
    start, part, end = SHAPES[shape]
    return start + part * ((size - len(start) - len(end)) // len(part)) + end


def main(shape: str, size: int) -> None:
    head, tail = b'{"type":"any","data":', b"}"
    frame = head + payload(shape, size - len(head) - len(tail)) + tail + b"\f"
    settings = Config(max_message_size=size).settings()
    driver = MemoryDriver()
    server = serve(driver, max_message_size=size)
    heard: list[str] = []
    server.on("any", lambda data: heard.append("delivered"))
    server.on("error", lambda error: heard.append(type(error).__name__))
    wire = Wire.connected(driver, server.address, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, grown = [], 0
    for _ in range(3):
        if wire.has_ended:
            wire = Wire.connected(driver, server.address, settings)
        wire.write(frame)
        since = time.process_time()
        driver.run_until_idle()
        seconds.append(time.process_time() - since)
        grown = grown or 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    said: Any = [min(seconds), grown, heard]
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], int(float(sys.argv[2]) * 1024 * 1024))
