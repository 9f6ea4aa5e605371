"""Cuts a copy of one direction's bytes into frames, for those who watch: nothing is ever refused."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ..errors import ProtocolError
from ..wire.attached import BEGIN, OFFERED, Announced, announced_by, without_offer
from ..wire.json import Envelope, decode_envelope, encode, salvage
from ..wire.names import PING, PONG

__all__ = ["Cutter", "Frame", "Loaded", "Long", "asked_in", "event_in", "pong_to"]


class Long(NamedTuple):
    """A frame that is too long to be kept whole."""

    begin: bytes
    """What was kept of it."""
    size: int
    """How many bytes it had."""


class Loaded(NamedTuple):
    """A frame behind which bytes come; those pass without being kept."""

    frame: bytes
    announced: Announced

    @property
    def plain(self) -> bytes:
        """The frame as one that announces nothing."""
        return b'{"type":%b,"data":%b}' % (encode(self.announced.type), bytes(self.announced.data))

    @property
    def size(self) -> int:
        """How many bytes the whole message has."""
        return len(self.frame) + self.announced.size


Frame = bytes | Long | Loaded


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
        self._behind = 0  # bytes behind a frame that are still to come

    def cut(self, data: bytes) -> list[Frame]:
        """What these bytes complete."""
        if not self._delimiter:
            return [data]
        frames: list[Frame] = []
        while data:
            if self._behind:
                passing = min(self._behind, len(data))
                self._behind -= passing
                data = data[passing:]
            elif self._rest:
                data = self._finish(data, frames)
            else:
                data = self._split(data, frames)
        return frames

    def _finish(self, data: bytes, frames: list[Frame]) -> bytes:
        """The end of the frame that was begun; what is behind it."""
        self._rest += data
        end = self._rest.find(self._delimiter, self._searched)
        if end < 0:
            self._forget()
            return b""
        frames.append(self._looked_at(self._whole(bytes(self._rest[:end]))))
        after = bytes(self._rest[end + len(self._delimiter) :])
        self._rest.clear()
        self._searched = self._left_out = 0
        return after

    def _split(self, data: bytes, frames: list[Frame]) -> bytes:
        """Whole frames, up to one behind which bytes come; what is behind that one."""
        at = data.find(BEGIN)
        while at > 0 and not data.endswith(self._delimiter, 0, at):  # inside a text
            at = data.find(BEGIN, at + 1)
        end = data.find(self._delimiter, at) if at >= 0 else -1
        if end < 0:
            frames += self._split_plain(data)
            return b""
        frames += [*self._split_plain(data[:at]), self._looked_at(self._whole(data[at:end]))]
        return data[end + len(self._delimiter) :]

    def _looked_at(self, frame: bytes | Long) -> Frame:
        announced = announced_by(frame) if isinstance(frame, bytes) else None
        if announced is None:
            return without_offer(frame) if isinstance(frame, bytes) else frame
        assert isinstance(frame, bytes)
        self._behind = announced.size
        return Loaded(frame, announced)

    def _split_plain(self, data: bytes) -> list[Frame]:
        parts = data.split(self._delimiter)
        rest = parts.pop()
        frames: list[Frame] = [*map(self._whole, parts)] if len(data) > self._most else [*parts]
        if OFFERED in data:
            frames = [without_offer(frame) if isinstance(frame, bytes) else frame for frame in frames]
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


def event_in(frame: bytes) -> Envelope | ProtocolError:
    """The event that a frame is, also with lone surrogates, which the fast decoder refuses; or why it is none."""
    try:
        return decode_envelope(without_offer(frame))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            return salvage(frame)
        except ProtocolError as fault:
            return fault


class Asked(msgspec.Struct):
    """Which request a payload of ``rpc.request`` or ``rpc.response`` is of."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    method: str = ""


_decode_asked = msgspec.json.Decoder(Asked).decode


def asked_in(data: bytes) -> Asked:
    """What is asked or answered in this payload, as far as it says."""
    try:
        return _decode_asked(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Asked()


_PING = f'{{"type":"{PING}",'.encode()
_PONG = f'{{"type":"{PONG}",'.encode()


def pong_to(frame: Frame) -> bytes | None:
    """What answers a heartbeat's question, with its data; None where a frame is none, as our own servers write it."""
    if not isinstance(frame, bytes) or not frame.startswith(_PING):
        return None
    return _PONG + frame[len(_PING) :]
