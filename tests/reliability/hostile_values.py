"""Every kind of value that JSON, Python or msgspec has trouble with, in every member of a message."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["DEEP", "ODD", "frames", "rpc_frames"]

DEEP = [
    *(b"[" * levels + b"]" * levels for levels in (900, 2000, 100_000)),
    *(b'{"a":' * levels + b"1" + b"}" * levels for levels in (900, 2000)),
    b"[" * 5000,
]
ODD = [
    b"null", b"true", b"1", b"1.5", b"1e400", b"-", b"tru", b"NaN", b"9" * 5000, b"1." + b"3" * 5000,
    b"-9223372036854775809", b'""', b'"x"', b'"\xff"', b'"a\x00"', b'"' + b"x" * 70_000 + b'"', b'"\\ud800"',
    b'"\\ud800\\', b"[]", b"{}", b'{"\\ud800":1}', b'{"code":"x","message":5}', b'{"code":1e400,"message":[]}',
]  # fmt: skip
VALUES = DEEP + ODD

_PLACES = (
    b'{"%s":%s}',
    b'{"%s":%s,"type":"a","data":1}',
    b'{"type":"a","data":1,"%s":%s}',
    b'{"type":"a","\\ud800":2,"data":1,"%s":%s}',
    b'{"type":7,"%s":%s}',
    b'{"%s":%s,"\\ud800":"\\ud800","type":5}',
)
_RPC = (
    (b"rpc.request", (b"id", b"method", b"params", b"jsonrpc", b"x"), b'"id":1,"method":"echo"'),
    (b"rpc.request", (b"params", b"id"), b'"id":1,"method":"typed"'),
    (b"rpc.cancel", (b"id", b"x"), b'"id":1'),
    (b"rpc.response", (b"id", b"result", b"error", b"x"), b'"id":1'),
)


def frames() -> Iterator[bytes]:
    """Messages with each value in each member, known or not, first, last and twice; without the delimiter."""
    for member in (b"type", b"data", b"x", b"\\ud800", b""):
        for value in VALUES:
            for place in _PLACES:
                yield place % (member, value)


def rpc_frames() -> Iterator[bytes]:
    """The same for the members of requests, cancels and answers."""
    for name, members, sound in _RPC:
        for member in members:
            for value in VALUES:
                for data in (b'{%s,"%s":%s}' % (sound, member, value), b'{"%s":%s,%s}' % (member, value, sound)):
                    yield b'{"type":"%s","data":%s}' % (name, data)
