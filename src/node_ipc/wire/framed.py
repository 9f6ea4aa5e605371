"""The framed profiles, fast, guarded and assured: one JSON object and the delimiter for each message.

They share the wire and the code path; they differ in the check of event names and in the limits. Encoding is a
cached prefix, the payload by msgspec, and the delimiter: 0.35 µs for a small message, where a Struct for the
whole envelope takes 0.51 µs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config import twin
from ..errors import FrameTooLarge, InvalidEvent, InvalidPayload, ProtocolError
from . import json
from .attached import BEGIN, salvage_any
from .costs import count_values, may_have_more_values
from .framing import Splitter
from .names import ATTACHMENTS, NameCheck, Named, any_name, assured_name, guarded_name
from .parcel import ATTACHED_BYTES, Parcel, may_hold_bytes, take_apart, writes

if TYPE_CHECKING:
    from ..config.config import Config

__all__ = ["FramedCodec", "name_check", "too_large_to_emit"]

REFUSED = (KeyError, TypeError, ValueError, OverflowError, RecursionError, BufferError)
PREFIXES = 1024
"""How many event names keep their encoded prefix; past that the cache starts anew."""
KEPT_BYTES = 1024
"""A prefix that is longer is made anew each time: names have no limit in the fast profile."""
EXPECTED = 8
"""After so many messages without bytes an event that had some is one like any other again."""


class FramedCodec:
    """Events as ``{"type":…,"data":…}`` in UTF-8, each followed by the delimiter."""

    raw = False
    gives_raw = True
    decode = staticmethod(json.decode_envelope)
    decode_raw = staticmethod(json.decode_raw_envelope)
    decode_large = staticmethod(json.decode_large_envelope)
    salvage = staticmethod(salvage_any)

    def __init__(self, settings: Config) -> None:
        self.check_name = name_check(settings)
        self._delimiter = settings.delimiter_bytes
        self._escape = _escapes(settings.delimiter_escape_char)
        self.limit = settings.max_message_size
        """Bytes that a message may have, without its delimiter."""
        self._max_values = settings.max_message_values if settings.profile != "fast" else sys.maxsize
        self.suffix = b"}" + self._delimiter
        """How every frame ends."""
        self._prefixes: dict[Any, bytes] = {}
        self._enc_hook = settings.enc_hook
        self._encode_json = json.encode_with(settings.enc_hook)
        self._encode_any = writes(settings.enc_hook)
        self._bearing: dict[Any, int] = {}  # events that had bytes, and in how many messages more they are expected
        self.attaches = self._may_attach(settings)
        """Whether bytes may travel beside the JSON, where the peer takes them so."""
        self.encode = self._encoder()

    def _may_attach(self, settings: Config) -> bool:
        if settings.attachments == "off" or any(byte in BEGIN for byte in self._delimiter):
            return False
        try:
            self.check_name(ATTACHMENTS)
        except ProtocolError:  # by which the ends agree
            return False
        return True

    def _encoder(self) -> Callable[..., bytes]:
        """``encode`` as a closure: with its parts as locals it takes half the time of a method."""
        prefixes, encode_json, suffix = self._prefixes, self._encode_json, self.suffix
        looked_at = min(self.limit + len(self._delimiter), 2 * self._max_values)
        if self.attaches:
            looked_at = min(looked_at, ATTACHED_BYTES * 4 // 3)
        # A number is looked for in 20 ns, and bytes in 150; a longer delimiter may also begin in the payload and end
        # behind it, so there the whole frame is looked at.
        first = self._delimiter[0]
        check = self._checked
        if twin.native is not None and len(self._delimiter) == 1:
            native: Callable[..., bytes] = twin.native.Encoder(
                prefixes, encode_json, self._encode_slowly, self._without_delimiter, self._look_at, first, looked_at
            )
            return native

        def encode(type: Any, data: Any = {}) -> Any:  # noqa: B006 - never changed: data left out is {}
            try:
                # the prefix first: where bytes are expected there is none
                frame = prefixes[type] + (body := encode_json(data)) + suffix
            except REFUSED:
                slowly = self._encode_slowly(type, data)
                if slowly.__class__ is Parcel:
                    return slowly
                prefix, body = slowly
                frame = prefix + body + suffix
            if first in body:
                frame = self._without_delimiter(frame[: -len(body) - len(suffix)], body, type)
            if len(frame) > looked_at:
                return self._look_at(frame, type, data)
            return frame

        def encode_checked(type: Any, data: Any = {}) -> Any:  # noqa: B006 - as above
            try:
                prefix = prefixes[type]
                body = encode_json(data)
            except REFUSED:
                slowly = self._encode_slowly(type, data)
                if slowly.__class__ is Parcel:
                    return slowly
                prefix, body = slowly
            frame = check(prefix, body, prefix + body + suffix, type)
            if len(frame) > looked_at:
                return self._look_at(frame, type, data)
            return frame

        return encode if len(self._delimiter) == 1 else encode_checked

    def _encode_slowly(self, type: Any, data: Any) -> Any:
        """A name that is new or that had bytes, or a payload that msgspec refuses: prefix and payload, or a parcel."""
        try:
            prefix, is_new = self._prefixes[type], False
        except (KeyError, TypeError):
            prefix, is_new = self._prefix(type), True
        try:
            if not (type in self._bearing or (is_new and self._bearing)):  # else base64 of it may be for nothing
                return prefix, self._encode_json(data)
        except REFUSED:
            pass
        if self.attaches and (parcel := self._parcel(type, prefix, data)) is not None:
            return parcel
        return prefix, self._in_json(type, data)

    def _in_json(self, type: Any, data: Any) -> bytes:
        """The payload, whatever is in it as JSON."""
        try:
            return self._encode_any(data)
        except REFUSED as refused:
            return json.encode_slowly(data, _name(type), refused, self._encode_any)

    def _parcel(self, type: Any, prefix: bytes, data: Any) -> Parcel | None:
        """The message with its bytes beside it; None where there are none that are worth it, or it cannot be."""
        try:
            plain, pieces = take_apart(data, self._enc_hook)
            body = json.encode(plain) if pieces else b""
        except REFUSED:  # it is said better by who writes all of it
            return None
        if not pieces:
            self._expect_less(type)
            return None
        if len(self._bearing) >= PREFIXES:
            self._bearing.clear()
        self._bearing[type] = EXPECTED
        self._prefixes.pop(type, None)
        entries = b",".join(piece.entry() for piece in pieces)
        head = self._framed(BEGIN + entries + b"]," + prefix[1:], body, type)
        size = len(head) - len(self._delimiter) + sum(piece.view.nbytes for piece in pieces)
        if size > self.limit:
            raise too_large_to_emit(_name(type), size, self.limit)
        return Parcel(head, pieces, self.suffix, lambda: self._framed(prefix, self._in_json(type, data), type))

    def _expect_less(self, type: Any) -> None:
        left = self._bearing.pop(type, 0) - 1
        if left > 0:
            self._bearing[type] = left

    def _framed(self, prefix: bytes, body: bytes, type: Any) -> bytes:
        """The frame, within its limits and without a delimiter inside."""
        frame = self._checked(prefix, body, prefix + body + self.suffix, type)
        self._check_size(frame, type)
        return frame

    def _look_at(self, frame: bytes, type: Any, data: Any) -> Any:
        """A frame of some length: whether it is too long, or has bytes in it that can travel beside it."""
        if self.attaches and may_hold_bytes(frame):
            parcel = self._parcel(type, self._prefix(type), data)
            if parcel is not None:
                return parcel
        self._check_size(frame, type)
        return frame

    def _checked(self, prefix: bytes, body: bytes, frame: bytes, type: Any) -> bytes:
        if frame.find(self._delimiter) + len(self._delimiter) == len(frame):
            return frame
        return self._without_delimiter(prefix, body, type)

    def _check_size(self, frame: bytes, type: Any) -> None:
        size = len(frame) - len(self._delimiter)
        if size > self.limit:
            raise too_large_to_emit(_name(type), size, self.limit)
        if may_have_more_values(frame, self._max_values):
            raise FrameTooLarge(
                f"cannot emit {_name(type)!r}: the message has about {count_values(frame)} values and the limit is "
                f"{self._max_values}; raise max_message_values on both sides, or send it in parts. Bytes, which "
                "buffer() makes a list of, are one value where they are emitted as they are"
            )

    def splitter(self) -> Splitter:
        return Splitter(self._delimiter, self.limit, max_values=self._max_values)

    def _prefix(self, type: Any) -> bytes:
        name = _name(type)
        self.check_name(name)
        try:
            text = json.encode(name)
        except UnicodeEncodeError as error:
            text = json.encode_slowly(name, name, error)
        prefix = b'{"type":' + text + b',"data":'
        if self._escape is not None and self._delimiter in prefix:
            prefix = prefix.replace(*self._escape)
        if len(prefix) <= KEPT_BYTES and type not in self._bearing:
            if len(self._prefixes) >= PREFIXES:
                self._prefixes.clear()
            self._prefixes[type] = prefix
        return prefix

    def _without_delimiter(self, prefix: bytes, body: bytes, type: Any) -> bytes:
        """Escape the delimiter inside texts; where that is not enough, a ``Raw`` holds it as it may not.

        The whole frame counts: a delimiter may begin in a text and end behind it (``O"}`` behind ``"FOO"``).
        """
        frame = prefix + body + b"}"
        if self._escape is not None:
            frame = frame.replace(*self._escape)
        if (frame + self._delimiter).find(self._delimiter) != len(frame):
            raise InvalidPayload(
                f"cannot emit {_name(type)!r}: its Raw payload holds the delimiter {self._delimiter!r}, "
                "which would end the message early",
                event=_name(type),
            )
        return frame + self._delimiter


def name_check(settings: Config) -> NameCheck:
    """What this profile says about event names."""
    if settings.profile == "assured":
        return assured_name(settings.max_event_name_length, frozenset(settings.allowed_events or ()))
    if settings.profile == "fast":
        return any_name
    return guarded_name(settings.max_event_name_length, settings.allow_reserved_events)


def too_large_to_emit(event: str, size: int, limit: int) -> FrameTooLarge:
    return FrameTooLarge(
        f"cannot emit {event!r}: the message has {size} bytes and the limit is {limit}; "
        "raise max_message_size on both sides, or send it in parts"
    )


def _name(type: Any) -> str:
    """The event's name, given as text or as an ``Event``; a path, a thread or an ``Enum`` has a name, and is none."""
    if isinstance(type, str):
        return type
    if not isinstance(type, Named):
        raise InvalidEvent(f"an event's name must be text, not {type.__class__.__name__}: {type!r:.80}")
    return type.name


def _escapes(character: str | None) -> tuple[bytes, bytes] | None:
    """A character and its JSON escape; beyond the basic plane that is two."""
    if character is None:
        return None
    units = character.encode("utf-16-be")
    escape = "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return character.encode(), escape.encode()
