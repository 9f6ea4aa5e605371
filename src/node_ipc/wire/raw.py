"""The raw profile: bytes pass, nothing is added and nothing is looked at."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidPayload, ProtocolError
from .text import to_payload_bytes

__all__ = ["RawCodec"]

_NOTHING: Any = {}
"""Data left out, as ``emit`` has it."""


class RawCodec:
    """``encode`` takes the payload alone; what a read brings is one ``data`` event."""

    raw = True
    gives_raw = False
    attaches = False

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self.decode: Any = bytes
        self.decode_raw: Any = bytes
        self.decode_large: Any = bytes

    def encode(self, type: Any, data: Any = _NOTHING) -> bytes:
        if data != _NOTHING:
            raise InvalidPayload("raw mode has no events: emit the payload alone, emit(payload)")
        return to_payload_bytes(type, self._encoding)

    def check_name(self, name: str) -> None:
        """Raw mode has no names on the wire, so every name is free for local use."""

    def splitter(self) -> _Whole:
        return _Whole()

    def salvage(self, frame: Any) -> Any:  # pragma: no cover - nothing is decoded, so nothing is refused
        raise AssertionError(frame)


class _Whole:
    """A stream that is not cut."""

    fault: ProtocolError | None = None
    rest = b""

    def split(self, chunk: bytes) -> list[bytes]:
        return [chunk]

    def hopeless(self, begun: bytes | bytearray) -> None:
        """Any bytes are right."""
