"""One shape of payload, as large as may be, sent to a server in memory: what one frame costs.

    python worst_shapes.py SHAPE [VALUES]

As large as ``max_message_size`` lets it be, or with so many values (commas, lists and objects).

Prints for how many seconds the dearest of its reads held the loop up (CPU time, the best of three), the growth of the
resident memory in bytes for the first of them, and what the server made of it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from node_ipc import Config
from node_ipc.core.incoming import Incoming
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Wire, serve

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


def payload(shape: str, size: int, values: int) -> bytes:
    start, part, end = SHAPES[shape]
    times = (size - len(start) - len(end)) // len(part)
    if in_part := sum(map(part.count, (b",", b"[", b"{"))):
        times = min(times, values // in_part)
    return start + part * times + end


def timed_reads() -> list[float]:
    """The CPU time of each read from now on."""
    reads: list[float] = []
    receive = Incoming.received

    def received(incoming: Incoming, data: bytes) -> None:
        since = time.process_time()
        receive(incoming, data)
        reads.append(time.process_time() - since)

    Incoming.received = received  # type: ignore[method-assign, assignment]
    return reads


def main(shape: str, values: int) -> None:
    settings = Config().settings()
    head, tail = b'{"type":"any","data":', b"}"
    body = payload(shape, settings.max_message_size - len(head) - len(tail), values)
    frame = head + body + tail + b"\f"
    driver = MemoryDriver()
    server = serve(driver)
    heard: list[str] = []
    server.on("any", lambda data: heard.append("delivered"))
    server.on("error", lambda error: heard.append(type(error).__name__))
    reads = timed_reads()  # before there is a session, which keeps its method
    wire = Wire.connected(driver, server.address, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, grown = [], 0
    for _ in range(3):
        if wire.has_ended:
            wire = Wire.connected(driver, server.address, settings)
        wire.write(frame)
        reads.clear()
        driver.run_until_idle()
        seconds.append(max(reads))
        grown = grown or 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    said: Any = [min(seconds), grown, heard]
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else sys.maxsize)
