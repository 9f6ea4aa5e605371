"""Messages whose bytes travel beside the JSON, as they come in.

A link's splitter becomes an :class:`AttachingSplitter` once the two ends may send each other such messages. It gives a
:class:`Delivery` among the frames, which the decoders refuse, so no other message is looked at. What handlers are given
of it is decoded by their own types, as any payload: :class:`Attached` has the bytes until then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec import inspect as types

from ..errors import FrameTooLarge, InvalidMessage, InvalidPayload, ProtocolError
from . import spare, surrogates
from .arrays import Arrived, Piece, check_array
from .framing import NOTHING, Splitter
from .json import Envelope, decode_large_envelope, decode_large_payload, encode, refused, salvage

__all__ = [
    "BEGIN",
    "MEMBER",
    "MOST_ATTACHMENTS",
    "OFFERED",
    "Announced",
    "Attached",
    "AttachingSplitter",
    "Delivery",
    "Entry",
    "Half",
    "announced_by",
    "convert",
    "offer_in",
    "place_of_text",
    "salvage_any",
    "without_offer",
]

BEGIN = b'{"attachments":['
"""How a frame begins behind which bytes follow."""
MOST_ATTACHMENTS = 256
"""In one message."""
AT_ONCE = 1024 * 1024
"""So much memory is made for a piece at once, at most, and then eight times what has come: a length may be a lie. It is
none up to the size of a message that came whole over the same link."""
SPARED = AT_ONCE
"""The memory of arrays as large is used again."""
MOST_PARTS = 4
"""Reads that are kept as they came before memory is made: a small piece is put together of them."""
NOWHERE = memoryview(b"")
MEMBER = b'"attachments"'
OFFERED = b',"attachments":1}'
"""How a frame ends that is an offer, as this library writes it."""


class Entry(msgspec.Struct, gc=False, omit_defaults=True):
    """What a frame says of one piece."""

    at: list[str | int]
    size: int
    dtype: Any = None
    shape: Any = None
    order: Any = "C"

    def about(self) -> dict[str, Any] | None:
        """What an array is; None for bytes."""
        if self.dtype is None:
            return None
        order = {} if self.order == "C" else {"order": self.order}
        return {"dtype": self.dtype, "shape": self.shape, **order}


class _Head(msgspec.Struct, gc=False):
    attachments: list[Entry]


class _Beside(msgspec.Struct, gc=False):
    """An envelope with all its members, as far as any is of interest."""

    type: str
    data: Raw = Raw(b"{}")
    attachments: Raw = Raw(b"")
    trace: Raw = Raw(b"")


_head = msgspec.json.Decoder(_Head).decode
_beside = msgspec.json.Decoder(_Beside).decode
_any = msgspec.json.Decoder().decode


# ---- off the wire


class _Room:
    """Memory for one piece; it grows with what arrives. Of bytes it becomes ``bytes`` without a copy.

    What is made ahead of what comes costs addresses and no pages, so a length that lies costs nothing.

    Where a piece begins in the read that ended the message before it, nothing is made yet: that message is still to be
    handled, and may leave its memory to this one.
    """

    __slots__ = ("_at_once", "_memory", "_parts", "_size", "_view", "_writable", "filled")

    def __init__(self, size: int, writable: bool, proven: int) -> None:
        self._size = size
        self._writable = writable
        self._at_once = max(AT_ONCE, proven)
        self._parts: list[memoryview] = []
        self._memory: spare.Memory | None = None
        self._view = NOWHERE
        self.filled = 0

    @property
    def missing(self) -> int:
        return self._size - self.filled

    def put(self, part: memoryview) -> int:
        """The next bytes, of a read; how many of them are ours."""
        if self._memory is None and len(self._parts) < MOST_PARTS:
            part = part[: self.missing]
            self._parts.append(part)
        else:
            room = self.view()
            part = part[: len(room)]
            room[: len(part)] = part
        self.filled += len(part)
        return len(part)

    def view(self) -> memoryview:
        """Where the next bytes belong."""
        if self._memory is None:
            size = self._size
            while size > max(self._at_once, self.filled):
                size = -(-size // 8)  # the last step of growing finds an eighth, which is not much beside the whole
            self._make(max(size, self.filled))
            start = 0
            for part in self._parts:
                self._view[start : start + len(part)] = part
                start += len(part)
            self._parts.clear()
        elif self.filled == len(self._view):
            old = self._view
            self._make(self.filled * 8)
            self._view[: self.filled] = old
        return self._view[self.filled :]

    def _make(self, size: int) -> None:
        """Zeros, or an array that nobody has any more."""
        used = spare.take(self._size) if self._writable and self._size >= SPARED else None
        self._memory = spare.Memory(min(self._size, size)) if used is None else used
        self._view = self._memory.getbuffer()

    def taken(self) -> Piece:
        """The piece, whole."""
        if self._memory is None:
            return bytearray().join(self._parts) if self._writable else b"".join(self._parts)
        if self._writable:
            if self._size >= SPARED:
                spare.keep(self._memory)
            return self._view
        self._view.release()
        return self._memory.getvalue()


class Half:
    """A message of which the frame has come, and not all of its bytes."""

    __slots__ = ("_came", "_data", "_entries", "_head", "_proven", "_room")

    def __init__(self, head: bytes, entries: list[Entry], proven: int = 0) -> None:
        self._head = head
        self._entries = entries
        self._proven = proven
        self._data: list[Piece] = []
        self._room: _Room | None = None
        self._came = len(head)
        self._begin()

    def __len__(self) -> int:
        return self._came

    def _begin(self) -> None:
        """The room of the next piece that has bytes."""
        self._room = None
        while self._room is None and len(self._data) < len(self._entries):
            entry = self._entries[len(self._data)]
            if entry.size:
                self._room = _Room(entry.size, entry.dtype is not None, self._proven)
            else:
                self._data.append(b"" if entry.dtype is None else bytearray())

    def room(self) -> memoryview | None:
        """Where the next bytes belong, as many as there is memory for; None where all have come."""
        return None if self._room is None else self._room.view()

    def filled(self, count: int) -> None:
        """So many were put there."""
        assert self._room is not None
        self._room.filled += count
        self._go_on(self._room, count)

    def _go_on(self, room: _Room, count: int) -> None:
        self._came += count
        if not room.missing:
            self._data.append(room.taken())
            self._begin()

    def take(self, chunk: bytes, start: int) -> int:
        """Put what is ours of a chunk into its place; where, in the chunk, the rest begins."""
        given = memoryview(chunk)
        while start < len(chunk) and (room := self._room) is not None:
            count = room.put(given[start:])
            start += count
            self._go_on(room, count)
        return start

    def delivery(self) -> Delivery | None:
        """The message; None where bytes are missing."""
        return Delivery(self._head, self._entries, self._data, self._came) if self._room is None else None

    def told(self) -> str:
        """What has come and what has not, for an error."""
        missing = sum(entry.size for entry in self._entries[len(self._data) + 1 :])
        if self._room is not None:
            missing += self._room.missing
        return f"{self._came} bytes came of a message with attachments, and {missing} are missing"


class AttachingSplitter(Splitter):
    """Cuts a stream in which there may be bytes behind a frame.

    A splitter becomes one (by its ``__class__``) in the middle of a stream. ``rest`` is a :class:`Half` while bytes are
    missing, and ``proven`` is the size of the largest message that came with attachments.
    """

    __slots__ = ()
    rest: Any

    def split(self, chunk: bytes) -> list[Any]:
        """The frames that ``chunk`` completes, and a :class:`Delivery` for each of those with bytes behind them."""
        if self.rest.__class__ is not Half and (self.rest or BEGIN not in chunk):
            return Splitter.split(self, chunk)
        frames: list[Any] = []
        start = 0
        while start < len(chunk) and self.fault is None:
            if self.rest.__class__ is Half:
                start = self.rest.take(chunk, start)
                self._close(frames)
            else:
                start = self._cut(chunk, start, frames)
        return frames

    def _continue(self, chunk: bytes) -> list[Any]:
        """A frame was begun: to its end as ever, and then what is behind it."""
        kept = self.rest
        tail = bytes(kept[max(len(kept) - self._overlap, 0) :])
        end = (tail + chunk).find(self._delimiter)
        if end < 0:
            self._keep(chunk)
            return []
        end += len(self._delimiter) - len(tail)
        frames: list[Any] = Splitter._continue(self, chunk[:end])
        if self.fault is None and frames[0].startswith(BEGIN):
            self._open(frames.pop(), frames)
        return frames if self.fault is not None else frames + self.split(chunk[end:])

    def _cut(self, chunk: bytes, start: int, frames: list[Any]) -> int:
        """Between two frames: cut up to the next that has bytes behind it, or that one; where the rest begins."""
        at = chunk.find(BEGIN, start)
        while at > start and not chunk.endswith(self._delimiter, start, at):  # inside a text
            at = chunk.find(BEGIN, at + 1)
        if at != start:
            end = at if at > 0 else len(chunk)
            frames += Splitter.split(self, chunk[start:end])
            return end
        end = chunk.find(self._delimiter, at)
        end = len(chunk) if end < 0 else end + len(self._delimiter)
        for head in Splitter.split(self, chunk[at:end]):  # one, or none yet
            self._open(head, frames)
        return end

    def _open(self, head: bytes, frames: list[Any]) -> None:
        """A frame with bytes behind it has come."""
        try:
            entries = _head(head).attachments
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.fault = InvalidMessage(f"a message says of its attachments what cannot be: {error}")
            return
        size = len(head) + sum(entry.size for entry in entries)
        if any(entry.size < 0 for entry in entries):
            self.fault = InvalidMessage("a message has an attachment of less than no bytes")
        elif len(entries) > MOST_ATTACHMENTS:
            self.fault = FrameTooLarge(
                f"a message has {len(entries)} attachments, and {MOST_ATTACHMENTS} is the most: let the sender put "
                "them together"
            )
        elif size > self._limit:
            self.fault = self._too_large(size)
        else:
            self.rest = Half(head, entries, self.proven)
            self._close(frames)

    def filled(self, count: int) -> list[Any]:
        """So many bytes were put straight into the room of what is missing; what that completes."""
        frames: list[Any] = []
        self.rest.filled(count)
        self._close(frames)
        return frames

    def _close(self, frames: list[Any]) -> None:
        if (delivery := self.rest.delivery()) is not None:
            frames.append(delivery)
            self.rest = NOTHING
            self.proven = max(self.proven, len(delivery))

    def hopeless(self, begun: Any) -> ProtocolError | None:
        """Of bytes any will do."""
        return None if begun.__class__ is Half else Splitter.hopeless(self, begun)


class Delivery(msgspec.Struct, eq=False):
    """A frame and the bytes behind it, all there."""

    head: bytes
    _entries: list[Entry]
    _data: list[Piece]
    _size: int
    trace: Raw = Raw(b"")
    """What came beside the message."""

    def __len__(self) -> int:
        return self._size

    def message(self) -> Envelope | InvalidPayload:
        """The event, with :class:`Attached` for its payload; as ``json.salvage``."""
        try:
            beside = _beside(self.head)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            found = refused(self.head, error)
            if isinstance(found, InvalidPayload):
                return found
            name, text = found.type, surrogates.written(found.data, found.type)
        else:
            name, text, self.trace = beside.type, bytes(beside.data), beside.trace
        payload = Attached(text, self._entries, self._data)
        try:
            payload.check()
        except (ValueError, RecursionError) as error:
            return InvalidPayload(f"the attachments of event {name[:64]!r} do not fit: {error}", event=name)
        return Envelope(name, payload)


class Announced(msgspec.Struct, gc=False):
    """A frame behind which bytes come, for those who only watch."""

    type: str
    attachments: list[Entry]
    data: Raw = Raw(b"{}")

    @property
    def size(self) -> int:
        """The bytes that come."""
        return sum(max(entry.size, 0) for entry in self.attachments)


_announced = msgspec.json.Decoder(Announced).decode


def announced_by(frame: bytes) -> Announced | None:
    """What a frame says of the bytes behind it; None where it is one like any other."""
    if not frame.startswith(BEGIN):
        return None
    try:
        return _announced(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def without_offer(frame: bytes) -> bytes:
    """The same as whoever offers nothing would have written it."""
    return frame[: -len(OFFERED)] + b"}" if frame.endswith(OFFERED) else frame


def salvage_any(frame: Any) -> Envelope | InvalidPayload:
    """As ``json.salvage``, of a frame or a :class:`Delivery`."""
    if frame.__class__ is Delivery:
        message: Envelope | InvalidPayload = frame.message()
        return message
    if MEMBER in frame:
        frame, _ = offer_in(frame)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return decode_large_envelope(frame)
    return salvage(frame)


def offer_in(frame: bytes) -> tuple[bytes, bool]:
    """The frame without the member ``attachments``, and whether that says that the peer can read some.

    Raises :class:`InvalidMessage` where it says that bytes follow: here nobody waits for them.
    """
    if frame.endswith(OFFERED):
        return without_offer(frame), True
    try:
        beside = _beside(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return frame, False
    member = bytes(beside.attachments)
    if member.startswith(b"["):
        raise InvalidMessage(
            "a message came with attachments, which this side did not say that it takes, or not as the first member: "
            "let the peer wait for an offer or an answer, and write them as the page on the wire says"
        )
    members = b'{"type":' + encode(beside.type) + b',"data":' + bytes(beside.data)
    if beside.trace:
        members += b',"trace":' + bytes(beside.trace)
    return members + b"}", member.isdigit() and member != b"0"


# ---- to handlers


class Attached:
    """A payload with bytes that came beside its JSON, until a handler's type says what is wanted of it.

    Whoever takes ``Raw`` gets one of these for it. It can be emitted again as it is, in another payload too;
    ``bytes(…)`` of it is JSON, with base64 text where the bytes were.
    """

    __slots__ = ("data", "entries", "text")

    def __init__(self, text: bytes, entries: Sequence[Entry], data: Sequence[Piece]) -> None:
        self.text = text
        """The JSON, with null in the place of each piece."""
        self.entries = entries
        self.data = data

    def __len__(self) -> int:
        return len(self.text) + sum(map(len, self.data))

    def __bytes__(self) -> bytes:
        return surrogates.written(self.in_json(), "")

    def __repr__(self) -> str:
        sizes = ", ".join(str(len(each)) for each in self.data)
        return f"<Attached {self.text.decode('utf-8', 'replace'):.80} with {sizes} bytes>"

    def check(self) -> None:
        """Raise ``ValueError`` where a piece has no place, or is not what is said of it."""
        tree = self.tree()
        for entry, data in zip(self.entries, self.data, strict=True):
            if (about := entry.about()) is not None:
                check_array(about, len(data))
            tree = _placed(tree, entry.at, Arrived(data, about))

    def in_json(self) -> Any:
        """The payload as it would have come without attachments."""
        tree = self.tree()
        for entry, data in zip(self.entries, self.data, strict=True):
            tree = _placed(tree, entry.at, Arrived(data, entry.about()).in_json())
        return tree

    def tree(self) -> Any:
        """What is in the JSON, as plain values."""
        try:
            return decode_large_payload(Raw(self.text), _any)
        except (msgspec.DecodeError, UnicodeDecodeError):  # lone surrogates
            found = salvage(b'{"type":"","data":' + self.text + b"}")
            if isinstance(found, InvalidPayload):
                raise ValueError(str(found)) from None
            return found.data

    def part(self, step: str | int) -> Attached:
        """One member, with what belongs into it."""
        inside = [(each, data) for each, data in zip(self.entries, self.data, strict=True) if each.at[:1] == [step]]
        entries = [msgspec.structs.replace(entry, at=entry.at[1:]) for entry, _ in inside]
        return Attached(surrogates.written(self.tree()[step], ""), entries, [data for _, data in inside])


def _placed(tree: Any, at: Sequence[str | int], value: Any) -> Any:
    """The tree with a value in the place of a null."""
    if not at:
        if tree is not None:
            raise ValueError("the place [] is not null, or is there twice")
        return value
    holder = tree
    for step in at[:-1]:
        holder = _stepped(holder, step, at)
    if _stepped(holder, at[-1], at) is not None:
        raise ValueError(f"the place {list(at)!r:.80} is not null, or is there twice")
    holder[at[-1]] = value
    return tree


def _stepped(holder: Any, step: str | int, at: Sequence[str | int]) -> Any:
    found = isinstance(holder, dict) and isinstance(step, str) and step in holder
    if not found and not (isinstance(holder, list) and isinstance(step, int) and 0 <= step < len(holder)):
        raise ValueError(f"there is no place {list(at)!r:.80}")
    return holder[step]


def convert(payload: Attached, type: Any, dec_hook: Callable[[Any, Any], Any] | None) -> Any:
    """The payload as a handler's type; raises ``msgspec.ValidationError`` where it does not fit.

    Where the type takes bytes or an array, that is what it gets. Everywhere else stands what would stand there without
    attachments.
    """
    tree, info = payload.tree(), _info(type)
    raws: dict[Any, Attached] = {}
    for entry, data in zip(payload.entries, payload.data, strict=True):
        wanted = _wanted(info, tree, entry.at[:1])
        if isinstance(wanted, types.RawType) and isinstance(info, types.StructType):
            raws[entry.at[0]] = raws.get(entry.at[0]) or payload.part(entry.at[0])
        else:
            tree = _placed(tree, entry.at, _as_wanted(_wanted(info, tree, entry.at), data, entry))
    made = msgspec.convert(surrogates.with_raws(tree, info), type, str_keys=True, dec_hook=dec_hook)
    for name, part in raws.items():  # Raw keeps nothing but JSON: these go on with what belongs to them
        msgspec.structs.force_setattr(made, _attribute(info, name), part)
    return made


def place_of_text(payload: Attached, type: Any) -> str | None:
    """Where a type wants text, and nothing else, and bytes came; None where it does so nowhere."""
    tree, info = payload.tree(), _info(type)
    for entry in payload.entries:
        wanted = _wanted(info, tree, entry.at)
        kinds = wanted.types if isinstance(wanted, types.UnionType) else (wanted,)
        text = [each for each in kinds if not isinstance(each, types.NoneType)]
        if entry.dtype is None and text and all(isinstance(each, types.StrType) for each in text):
            return "$" + "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in entry.at)
    return None


_info = surrogates.kept_by_type(types.type_info)
_ANYTHING = types.AnyType()


def _wanted(info: Any, value: Any, at: Sequence[str | int]) -> Any:
    """What a type has for a place; None where that is of no interest to it."""
    for step in at:
        kinds = info.types if isinstance(info, types.UnionType) else (info,)
        info = surrogates.fitting(info, value)
        unfit = info is None or isinstance(info, types.CustomType)
        if unfit and any(isinstance(each, types.CustomType) for each in kinds):
            return _ANYTHING  # a hook makes it, and gets what stands there without attachments
        if info is None or isinstance(info, (types.AnyType, types.RawType)):
            return info
        info, value = surrogates.part_of(info, value, step), value[step]
    return info


def _as_wanted(info: Any, data: Piece, entry: Entry) -> Any:
    """What stands in a place for which a type has this."""
    if info is None:
        return None
    arrived = Arrived(data, entry.about())
    for each in info.types if isinstance(info, types.UnionType) else (info,):
        if isinstance(each, types.CustomType):
            return arrived
        if entry.dtype is None and isinstance(each, (types.BytesType, types.ByteArrayType, types.MemoryViewType)):
            return data
    return arrived.in_json()


def _attribute(info: Any, member: Any) -> str:
    return next(str(field.name) for field in info.fields if field.encode_name == member)
