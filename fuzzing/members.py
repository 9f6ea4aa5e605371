"""Whatever nesting, size, type or duplicate is in whatever member of a message, known or not, to a server, a UDP port
or a client that asks: it is an event, an answer or a documented error, and the next message is served."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from node_ipc.errors import HandlerError, IPCError
from node_ipc.testing import Pair, pair

from . import datagrams, sessions
from .choices import Choices

__all__ = ["one_input"]

MEMBERS: tuple[bytes, ...] = (
    b"type",
    b"data",
    b"id",
    b"method",
    b"params",
    b"result",
    b"error",
    b"jsonrpc",
    b"timeout",
    b"progress",
)
MEMBERS += (b"code", b"message", b"x", b"", b"\\ud800", b"\xff")
TYPES = (b"ping", b"typed", b"slow", b"x", b"rpc.request", b"rpc.response", b"rpc.cancel", b"rpc.progress")
METHODS = (b'"add"', b'"typed"', b'"no such"')
ODD: tuple[bytes, ...] = (
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"1e-400",
    b"tru",
    b"NaN",
    b'""',
    b'"x"',
    b'"\xff"',
)
ODD += (b'"a\\u0000"', b'"\\ud800"', b'"\\ud800\\', b"[]", b"{}", b"-9223372036854775809", b"18446744073709551616")
DEEPEST, LONGEST = 20_000, 50_000


class Typed(msgspec.Struct):
    a: int


def _value(choices: Choices, level: int = 0) -> bytes:
    kind, count = choices.byte() % 9, choices.byte() << 8 | choices.byte()
    if kind == 0:
        count %= DEEPEST
        return b"[" * count + _inner(choices, level) + b"]" * count
    if kind == 1:
        count %= DEEPEST
        return b'{"a":' * count + _inner(choices, level) + b"}" * count
    if kind == 2:
        return b"[" * count  # and no end
    if kind == 3:
        return b'"' + b"x" * count + b'"'
    if kind == 4:
        return b"1" + b"0" * (count % 6000)
    if kind == 5:
        inner = _inner(choices, level)
        return b"[" + b",".join([inner] * (count % (1 + LONGEST // (len(inner) + 1)))) + b"]"
    if kind == 6:
        return _object(choices, level)
    return choices.one_of(ODD)


def _inner(choices: Choices, level: int) -> bytes:
    return b"1" if level > 3 else _value(choices, level + 1)


def _object(choices: Choices, level: int, *known: bytes) -> bytes:
    """These members, and others before and behind them: of the same names, too."""
    others = [b'"%s":%s' % (choices.one_of(MEMBERS), _inner(choices, level)) for _ in range(choices.byte() % 4)]
    at = choices.byte() % (len(others) + 1)
    return b"{" + b",".join([*others[:at], *known, *others[at:]]) + b"}"


def _frame(choices: Choices) -> bytes:
    type = choices.one_of(TYPES)
    known = [b'"type":"%s"' % type]
    if type.startswith(b"rpc."):
        sound = (b'"id":1', b'"method":' + choices.one_of(METHODS))
        known.append(b'"data":' + _object(choices, 0, *sound[: choices.byte() % 3]))
    return _object(choices, 0, *known[choices.byte() % 4 == 3 :])


def _to_a_server(frames: list[bytes]) -> None:
    bench = _kept.pop("server", None) or sessions.Bench({})
    bench.hear([frame + b"\f" for frame in frames], 0.01)
    _kept["server"] = bench  # not after a finding: each one stands for itself


def _to_a_port(frames: list[bytes]) -> None:
    bench = _kept.pop("port", None) or datagrams.Bench({})
    bench.hear([b"\x00" + frame + b"\f" for frame in frames])
    _kept["port"] = bench


_kept: dict[str, Any] = {}


def _to_one_who_asks(frames: list[bytes]) -> None:
    ends = pair(client={"retry": 1, "max_protocol_errors": 1_000_000})
    wrong: list[Any] = []

    def note(error: Any, socket: Any = None) -> None:
        if not isinstance(error, IPCError) or isinstance(error, HandlerError):
            wrong.append(error)

    ends.client.on("error", note)
    ends.client.on("typed", lambda data: None, type=Typed)
    ends.server.handle("add", lambda params: sum(params))
    for type in (None, Typed):
        for frame in frames:
            _answer(ends, frame, type)
    ends.driver.run_until(lambda: ends.client.state.value == "connected")
    answer = ends.client.request("add", [1, 2])
    ends.driver.run_until(answer)
    assert answer.result() == 3 and wrong == [], wrong
    ends.driver.close()


def _answer(ends: Pair, frame: bytes, type: Any) -> None:
    asked = ends.client.request("add", [1, 2], type=type)
    link = ends.server.sockets[-1]._link if ends.server.sockets else None
    if link is not None:
        link.write(frame + b"\f")
    ends.driver.advance(0.1)
    if asked.done:
        with contextlib.suppress(IPCError):
            asked.result()


WAYS: tuple[Callable[[list[bytes]], None], ...] = (_to_a_server, _to_a_port, _to_one_who_asks)


def one_input(data: bytes) -> None:
    choices = Choices(data)
    way = choices.one_of(WAYS)
    way([_frame(choices) for _ in range(1 + choices.byte() % 3)])
