"""Messages whose bytes travel beside the JSON, on their way out.

A payload with a large piece of bytes, or a large array, is encoded to a :class:`Parcel`. How that goes out depends on
the link: to an end that agreed, as a frame with the member ``attachments``, the delimiter and then the pieces; to any
other, as JSON with base64 text in it. The site's page on the wire has the format. Pieces that nobody may change are
sent straight from the user's memory.

No other message is looked at: an array is found where msgspec refuses it, bytes by the length of a frame and of a text
in it. An event that had them once is expected to have them again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from .arrays import Buffer, buffer_or_plain
from .attached import MOST_ATTACHMENTS, Attached
from .json import encode

__all__ = ["ATTACHED_BYTES", "OFFER", "Parcel", "Piece", "may_hold_bytes", "settled", "take_apart", "writes"]

ATTACHED_BYTES = 16 * 1024
"""A piece that is smaller stays in the JSON: that is quicker."""
OFFER = b',"attachments":1'
"""What is put at the end of a frame to say that this side can read attachments."""
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_SAMPLE = 64
_BUFFERS = (bytes, bytearray, memoryview)


def may_hold_bytes(frame: bytes) -> bool:
    """Whether a text in it may be the base64 of a large piece: one of these places is inside of such a text."""
    places = range(ATTACHED_BYTES, len(frame), ATTACHED_BYTES)
    return any(not frame[at : at + _SAMPLE].translate(None, _BASE64) for at in places)


class Piece:
    """Bytes that travel beside the JSON, and where in the payload they belong."""

    __slots__ = ("about", "at", "view")

    def __init__(self, at: list[Any], view: memoryview, about: dict[str, Any] | None) -> None:
        self.at = at
        self.view = view if view.readonly else memoryview(bytes(view))  # who emits may write into it the next moment
        self.about = about

    def entry(self) -> bytes:
        """What stands for it in the frame."""
        return encode({"at": self.at, "size": self.view.nbytes, **(self.about or {})})


class Parcel:
    """One message with large pieces; it has a length as frames have, and goes where frames go."""

    __slots__ = ("_head", "_inline", "_members", "_suffix", "_views", "_whole")

    def __init__(self, head: bytes, pieces: list[Piece], suffix: bytes, whole: Callable[[], bytes]) -> None:
        self._head = head
        self._views = [piece.view for piece in pieces if piece.view.nbytes]
        self._suffix = suffix
        self._whole: Callable[[], bytes] | None = whole
        self._inline = b""
        self._members = b""

    def __len__(self) -> int:
        return len(self._inline) or len(self._head) + sum(view.nbytes for view in self._views)

    @property
    def is_settled(self) -> bool:
        """Whether it goes out as JSON, whatever becomes of the link."""
        return self._whole is None

    def parts(self) -> list[Any]:
        """What goes out to an end that agreed, one behind the other."""
        return [self._inline] if self.is_settled else [self._head, *self._views]

    def inline(self, *, offer: bool = False) -> bytes:
        """The frame as JSON alone; ``offer``: with the member that says what this side can read.

        Raises :class:`FrameTooLarge` where only the bytes beside it are within the limit.
        """
        if not self._inline:
            assert self._whole is not None
            self._inline = _with(self._whole(), self._members, self._suffix)
        return _with(self._inline, OFFER, self._suffix) if offer else self._inline

    def settle(self) -> None:
        """Be JSON alone from now on: the user's buffers are not needed any more. Raises as :meth:`inline`."""
        self.inline()
        self._whole, self._head, self._views = None, b"", []

    def add(self, member: bytes) -> None:
        """Have one member more, beside type and data."""
        self._head = _with(self._head, member, self._suffix)
        self._members = member


def _with(frame: bytes, member: bytes, suffix: bytes) -> bytes:
    return frame[: -len(suffix)] + member + suffix if member else frame


def settled(frame: Any) -> Any:
    """The same for a link of which nothing is known: what waits for it may not change any more."""
    if frame.__class__ is Parcel:
        frame.settle()
    return frame


def writes(enc_hook: Callable[[Any], Any] | None) -> Callable[[Any], bytes]:
    """An encoder that writes bytes and arrays into the JSON, whatever it is that has them."""

    def hook(value: Any) -> Any:
        if value.__class__ is Attached:
            return value.in_json()
        found = buffer_or_plain(value, enc_hook)
        return found.in_json() if found.__class__ is Buffer else found

    return msgspec.json.Encoder(enc_hook=hook).encode


def take_apart(data: Any, enc_hook: Callable[[Any], Any] | None) -> tuple[Any, list[Piece]]:
    """A payload as plain values with None in the place of each large piece, and these pieces.

    Raises what msgspec raises for what cannot be JSON.
    """
    apart = _Apart(enc_hook)
    plain = msgspec.to_builtins(data, builtin_types=_BUFFERS, str_keys=True, enc_hook=apart.keep)
    return apart.without_pieces(plain, []), apart.pieces


class _Apart:
    """A payload while it is taken apart."""

    def __init__(self, enc_hook: Callable[[Any], Any] | None) -> None:
        self.pieces: list[Piece] = []
        self._enc_hook = enc_hook
        self._kept: dict[int, tuple[memoryview, Any]] = {}  # by what stands for it meanwhile

    def keep(self, value: Any) -> Any:
        """A hook: what msgspec does not know is kept as it is where it has bytes."""
        kept = value if value.__class__ in (Raw, Attached) else buffer_or_plain(value, self._enc_hook)
        if kept.__class__ not in (Raw, Attached, Buffer):
            return kept
        stands_for_it = memoryview(b"")
        self._kept[id(stands_for_it)] = stands_for_it, kept
        return stands_for_it

    def without_pieces(self, value: Any, at: list[Any]) -> Any:
        if isinstance(value, dict):
            return {key: self._part(part, at, key) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._part(part, at, index) for index, part in enumerate(value)]
        if not isinstance(value, _BUFFERS):
            return value
        _, kept = self._kept.get(id(value), (None, value))
        if kept.__class__ is Raw:
            return kept
        if kept.__class__ is Attached:
            return self._relayed(kept, at)
        buffer = kept if kept.__class__ is Buffer else Buffer(memoryview(kept))
        if buffer.view.nbytes < ATTACHED_BYTES or len(self.pieces) >= MOST_ATTACHMENTS:
            return buffer.in_json()
        self.pieces.append(Piece(at, buffer.view, buffer.about))
        return None

    def _part(self, part: Any, at: list[Any], step: Any) -> Any:
        if isinstance(part, (dict, list, tuple, *_BUFFERS)):
            return self.without_pieces(part, [*at, step])
        return part

    def _relayed(self, payload: Attached, at: list[Any]) -> Any:
        """A payload that came with attachments goes on with them, undecoded."""
        if len(self.pieces) + len(payload.entries) > MOST_ATTACHMENTS:
            return payload.in_json()
        for entry, data in zip(payload.entries, payload.data, strict=True):
            self.pieces.append(Piece([*at, *entry.at], memoryview(data).toreadonly(), entry.about()))
        return Raw(payload.text)
