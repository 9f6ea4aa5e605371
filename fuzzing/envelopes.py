"""Any frame is a message, a payload that cannot be held, or a ``ProtocolError``, as JSON's grammar says, and what is a
message is the same one after encoding it again."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import msgspec

from node_ipc import Config
from node_ipc.core.payload import typed_decoder
from node_ipc.errors import InvalidPayload, IPCError, ProtocolError
from node_ipc.wire.codec import Codec, choose
from node_ipc.wire.json import Envelope

from .choices import Choices

__all__ = ["one_input"]


class Order(msgspec.Struct):
    id: int
    lines: list[tuple[str, float]] = []
    note: str | None = None


CODECS: tuple[Codec, ...] = (
    choose(Config().settings()),
    choose(Config(parser="fast", delimiter="|").settings()),
    choose(Config(parser="assured", allowed_events=["order", "a"]).settings()),
)
TYPED = [typed_decoder(type, "order") for type in (Order, dict[str, int], list[bytes], str, msgspec.Raw, None)]
MOST = 4
"""Different frames of an input that are looked at: one is what this is about, hundreds of tiny ones only cost time."""
REFUSED = (msgspec.MsgspecError, RecursionError, ValueError, MemoryError)
"""What a session takes for a frame that needs a closer look."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


STANDARD = json.JSONDecoder(parse_constant=_refuse)


def one_input(data: bytes) -> None:
    choices = Choices(data)
    codec, typed = choices.one_of(CODECS), choices.one_of(TYPED)
    splitter = codec.splitter()
    for frame in itertools.islice(dict.fromkeys(splitter.split(choices.rest + b"\f|")), MOST):
        verdict = _verdict(codec, frame)
        _compare(frame, verdict)
        if isinstance(verdict, Envelope):
            _again(codec, verdict)
            _typed(codec, typed, frame)
    assert splitter.fault is None or isinstance(splitter.fault, ProtocolError)


def _verdict(codec: Codec, frame: bytes) -> Envelope | IPCError:
    """As a session comes to it."""
    try:
        found: Any = codec.decode(frame)
    except REFUSED:
        try:
            found = codec.salvage(frame)
        except ProtocolError as error:
            return error
    assert isinstance(found, (Envelope, InvalidPayload))
    return found


def _compare(frame: bytes, verdict: Envelope | IPCError) -> None:
    """The standard library reads the same; where a number or a depth is too much for one of them, it may refuse."""
    if isinstance(verdict, InvalidPayload):
        return
    try:
        expected = STANDARD.decode(str(frame, "utf-8"))
    except RecursionError:
        return
    except ValueError as error:
        if "integer string conversion" not in str(error):
            assert isinstance(verdict, ProtocolError), f"this is no JSON: {error}"
        return
    sound = isinstance(expected, dict) and isinstance(expected.get("type"), str)
    assert sound == isinstance(verdict, Envelope), verdict
    if isinstance(verdict, Envelope):
        assert verdict.type == expected["type"]
        assert _same(verdict.data, expected.get("data", {}))


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except RecursionError:
        return True


def _again(codec: Codec, message: Envelope) -> None:
    try:
        frame = codec.encode(message.type, message.data)
    except ProtocolError:  # a name that the profile refuses, or a depth that msgspec writes not so deep as it reads
        return
    [body] = codec.splitter().split(frame)
    back = _verdict(codec, body)
    assert isinstance(back, Envelope) and back.type == message.type and _same(back.data, message.data), back


def _typed(codec: Codec, decode: Any, frame: bytes) -> None:
    """A handler with a type gets its payload or an ``InvalidPayload``."""
    try:
        raw = codec.decode_raw(frame).data
    except REFUSED:
        raw = codec.salvage(frame).data  # type: ignore[union-attr]  # it was a message a moment ago
    try:
        value = decode(raw)
    except InvalidPayload:
        return
    assert not (isinstance(value, float) and math.isnan(value))
