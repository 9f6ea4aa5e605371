"""Cuts a copy of one direction's bytes into frames, for those who watch: nothing is ever refused."""

from __future__ import annotations

from typing import NamedTuple

from ..wire.names import PING, PONG

__all__ = ["Cutter", "Long", "pong_to"]


class Long(NamedTuple):
    """A frame that is too long to be kept whole."""

    begin: bytes
    """What was kept of it."""
    size: int
    """How many bytes it had."""


class Cutter:
    """The frames of one direction, as they are completed.

    delimiter: what is between two frames; empty: each read is one.
    most: bytes of a frame that are kept; the rest of a longer one passes without being kept.
    """

    def __init__(self, delimiter: bytes, most: int) -> None:
        self._delimiter = delimiter
        self._most = most
        self._overlap = max(len(delimiter) - 1, 0)
        self._rest = bytearray()
        self._searched = 0
        self._left_out = 0  # bytes of the unfinished frame that were not kept

    def cut(self, data: bytes) -> list[bytes | Long]:
        """What these bytes complete."""
        if not self._delimiter:
            return [data]
        if not self._rest:
            return self._split(data)
        self._rest += data
        end = self._rest.find(self._delimiter, self._searched)
        if end < 0:
            self._forget()
            return []
        first = self._whole(bytes(self._rest[:end]))
        after = bytes(self._rest[end + len(self._delimiter) :])
        self._rest.clear()
        self._searched = self._left_out = 0
        return [first, *self._split(after)]

    def _split(self, data: bytes) -> list[bytes | Long]:
        parts = data.split(self._delimiter)
        rest = parts.pop()
        frames: list[bytes | Long] = [*map(self._whole, parts)] if len(data) > self._most else [*parts]
        if rest:
            self._rest += rest
            self._forget()
        return frames

    def _whole(self, frame: bytes) -> bytes | Long:
        size = len(frame) + self._left_out
        return Long(frame[: self._most], size) if size > self._most else frame

    def _forget(self) -> None:
        """Keep the beginning of a long frame, and the bytes in which a delimiter may have begun."""
        more = len(self._rest) - self._most - self._overlap
        if more > 0:
            del self._rest[self._most : self._most + more]
            self._left_out += more
        self._searched = max(len(self._rest) - self._overlap, 0)


_PING = f'{{"type":"{PING}",'.encode()
_PONG = f'{{"type":"{PONG}",'.encode()


def pong_to(frame: bytes | Long) -> bytes | None:
    """What answers a heartbeat's question, with its data; None where a frame is none, as our own servers write it."""
    if isinstance(frame, Long) or not frame.startswith(_PING):
        return None
    return _PONG + frame[len(_PING) :]
