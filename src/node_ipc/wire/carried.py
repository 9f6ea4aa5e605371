"""What travels beside a message: a third member of the envelope, ``trace``, next to ``type`` and ``data``.

    {"type": "order", "data": {…}, "trace": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}

Every node-ipc reads over members that it does not know. It is written only where somebody watches the endpoint, and
only read there: everybody else uses the plain codecs, to which it is a member like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import msgspec
from msgspec import Raw

from ..errors import InvalidPayload
from .attached import Delivery
from .codec import Codec
from .names import Named
from .parcel import Parcel

__all__ = ["MOST_CARRIED", "Carried", "Hears", "NothingCarried", "carrying", "plain_of"]

MOST_CARRIED = 8192
"""Bytes that the member may have, in JSON; more is neither sent nor read. The W3C's baggage may have as many."""
_KEY = b'"trace"'
_NOTHING = Raw(b"")


class Hears(Protocol):
    """Who is asked before a message is encoded, and told how that went."""

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Iterable[Callable[[int, Any], None]]: ...


class Carried(msgspec.Struct, eq=False):
    """One message off the wire, and what came beside it."""

    type: str
    data: Any
    _trace: Raw
    size: int
    """The bytes of the frame; 0 where that is not known."""

    @property
    def carrier(self) -> dict[str, str]:
        """What the peer put beside the message; empty where there is nothing, or nothing that can be read."""
        if not 0 < len(self._trace) <= MOST_CARRIED:
            return {}
        try:
            members = _members.decode(self._trace)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return {}
        return {name: value for name, value in members.items() if isinstance(value, str)}


NothingCarried = Carried("", None, _NOTHING, 0)
"""A message of which nothing is known."""


class _Beside(msgspec.Struct, gc=False):
    """The envelope, as far as it is of interest here."""

    trace: Raw = _NOTHING


_members = msgspec.json.Decoder(dict[str, Any])
_beside = msgspec.json.Decoder(_Beside).decode


class _Carrying:
    """A codec that tells of each event that goes out, and gives what comes as :class:`Carried`."""

    is_watched = True

    def __init__(self, codec: Codec, watches: Hears) -> None:
        self._codec = codec
        self._watches = watches
        self._suffix: bytes | None = getattr(codec, "suffix", None)  # only what is framed has room beside a message
        self._limit: int = getattr(codec, "limit", 0)
        self.decode = _carried(codec.decode)
        self.decode_raw = _carried(codec.decode_raw)
        self.decode_large = _carried(codec.decode_large)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def encode(self, type: Any, data: Any = {}) -> bytes:  # noqa: B006 - never changed: data left out is {}
        if self._codec.raw:
            return self._codec.encode(type, data)
        carrier: dict[str, str] = {}
        name = type.name if isinstance(type, Named) else type
        told = self._watches.emitting(name, data, carrier)
        try:
            frame = self._codec.encode(type, data)
        except BaseException as error:
            for one in told:
                one(0, error)
            raise
        if carrier and self._suffix is not None:
            frame = self._with(frame, self._suffix, carrier)
        for one in told:
            one(len(frame), None)
        return frame

    def _with(self, frame: Any, suffix: bytes, carrier: dict[str, str]) -> Any:
        """The frame with the member; without it where that does not fit."""
        member = b"," + _KEY + b":" + msgspec.json.encode(carrier)
        if isinstance(frame, Parcel):
            if len(member) <= MOST_CARRIED and suffix[1:] not in member:
                frame.add(member)
            return frame
        whole = frame[: -len(suffix)] + member + suffix
        delimiter = suffix[1:]
        does_not_fit = len(member) > MOST_CARRIED or len(whole) - len(delimiter) > self._limit
        if does_not_fit or whole.find(delimiter) != len(whole) - len(delimiter):
            return frame
        return whole

    def salvage(self, frame: Any) -> Any:
        found = self._codec.salvage(frame)
        if isinstance(found, InvalidPayload):
            return found
        trace = frame.trace if isinstance(frame, Delivery) else _NOTHING
        return Carried(found.type, found.data, trace, len(frame))


def _carried(decode: Callable[[Any], Any]) -> Callable[[Any], Carried]:
    def carried(frame: Any) -> Carried:
        message = decode(frame)
        if not isinstance(frame, (bytes, bytearray)):  # a format of the user's own
            return Carried(message.type, message.data, _NOTHING, 0)
        trace = _beside(frame).trace if _KEY in frame else _NOTHING
        return Carried(message.type, message.data, trace, len(frame))

    return carried


def carrying(codec: Codec, watches: Hears) -> Codec:
    """``codec``, watched; to be undone with :func:`plain_of`. One that is watched already, under a log say, stays."""
    if getattr(codec, "is_watched", False):
        return codec
    return cast("Codec", _Carrying(codec, watches))  # what it has not itself it takes from the codec


def plain_of(codec: Codec) -> Codec:
    """The codec that was made a watched one; where it lies deeper it stays, and tells nobody."""
    return codec._codec if isinstance(codec, _Carrying) else codec
