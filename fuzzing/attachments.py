"""Any bytes to an end that takes attachments, however they are cut, yield the same messages, which handlers of any type
get or are told why not, and at most one documented fault."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy
from msgspec import Raw

import node_ipc
from node_ipc.core.payload import typed_decoder
from node_ipc.errors import InvalidPayload, ProtocolError
from node_ipc.wire.attached import AttachingSplitter, Delivery

from .choices import Choices

__all__ = ["one_input"]

LIMITS = (1 << 16, 64, 256, 1024)
DELIMITERS = (b"\f", b"\r\n", b"||")


class Picture(msgspec.Struct):
    """A payload with a place for each of what may come."""

    pixels: node_ipc.Bytes | numpy.ndarray | None = None
    a: bytes | None = None
    rest: Raw = Raw(b"null")
    b: Any = None


DECODERS = [typed_decoder(type, "x") for type in (None, Raw, Picture, bytes, numpy.ndarray, dict[str, node_ipc.Bytes])]


def one_input(data: bytes) -> None:
    choices = Choices(data)
    delimiter, limit = choices.one_of(DELIMITERS), choices.one_of(LIMITS)
    pieces = choices.pieces()
    whole = b"".join(pieces)
    at_once = _read(delimiter, limit, [whole] if whole else [])
    assert _read(delimiter, limit, pieces) == at_once, "cut otherwise, the messages are others"
    step = 1 + len(whole) // 64
    even = [whole[at : at + step] for at in range(0, len(whole), step)]
    assert _read(delimiter, limit, even) == at_once, f"every {step} bytes, the messages are others"


def _read(delimiter: bytes, limit: int, chunks: list[bytes]) -> tuple[list[Any], int, str | None]:
    """What comes, how much is left, and the code of the fault."""
    splitter = AttachingSplitter(delimiter, limit)
    found: list[Any] = []
    for chunk in chunks:
        found += [_heard(frame) if isinstance(frame, Delivery) else frame for frame in splitter.split(chunk)]
        assert len(splitter.rest) < limit + len(delimiter), "more is kept than a message may have"
        if splitter.fault is not None:
            assert isinstance(splitter.fault, ProtocolError)
            return found, 0, splitter.fault.code
    return found, len(splitter.rest), None


def _heard(delivery: Delivery) -> list[str]:
    """What handlers of each type make of it."""
    try:
        message = delivery.message()
    except ProtocolError as fault:
        return [fault.code]
    if isinstance(message, InvalidPayload):
        return [message.code]
    return [message.type, *(_decoded(decode, message.data) for decode in DECODERS)]


def _decoded(decode: Any, data: Any) -> str:
    try:
        return repr(decode(data))
    except InvalidPayload as misfit:
        return misfit.code
