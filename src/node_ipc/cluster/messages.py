"""What nodes say to each other: JSON arrays, each with its kind in front.

An event passes undecoded: its frame is a value in the array, as it stands on the wire of the clients (Base64 for frames
that are no JSON). What cannot be read here is nobody's message: :class:`ValueError`. Lone surrogates, which JavaScript
may send, pass wherever they pass between a client and its server: in names of events and methods, payloads, errors, and
what a client calls itself. A message with some is written anew, slowly.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import msgspec
from msgspec import Meta, Raw, Struct

from ..errors import IPCError
from ..wire import surrogates
from ..wire.json import encode_slowly, read_surrogates

__all__ = [
    "EVERYBODY",
    "Answer",
    "Ask",
    "Beat",
    "Bye",
    "Cancel",
    "Emit",
    "Hello",
    "Here",
    "Mark",
    "Marks",
    "Message",
    "Progress",
    "Subjects",
    "Sync",
    "Taken",
    "Who",
    "decode",
    "encode",
]

EVERYBODY = ""
"""What stands for everybody where a room's name is expected; no room is called so."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Room: TypeAlias = Annotated[str, Meta(max_length=256)]
Age: TypeAlias = Annotated[float, Meta(ge=0)] | None
"""Seconds since a node's life began, on its own clock; None: it is of a version that does not say."""
Mark: TypeAlias = tuple[Room, Count, Count, Count, Count]
"""A room, its stream, the number of the last message in it, and with which of the sender's numbers and which of the
stream's the present activity began."""


class _Said(Struct, array_like=True, gc=False):
    """What every message begins with."""

    node: Name
    life: Count


class _Numbered(_Said):
    """What belongs to a question of the node that asked it."""

    id: Count


class Emit(_Said, tag="e"):
    """An event for those in some rooms."""

    number: Count
    """Of all that this node sent."""
    wire: Annotated[str, Meta(max_length=200)]
    """What frames look like at that node's clients."""
    marks: Annotated[list[Mark], Meta(max_length=64)]
    rooms: list[Room] | None
    """Whom it is for; None: those in the rooms of the marks."""
    but_rooms: list[Room]
    but: list[Annotated[str, Meta(max_length=100)]]
    frame: Raw
    newest: str = ""
    """The event, where at each socket this takes the place of the last one of it that still waits there."""


class Hello(_Said, tag="h"):
    """A node is there, and its subscriptions are confirmed: all there is to say about it."""

    beat: Count
    number: Count
    sockets: Count
    member: bool
    """It has sockets and answers; False: it only emits."""
    asks: bool
    """It wants to hear the others' hello."""
    age: Age = None
    """Whoever says it can be asked by ``Sync.since``."""


class Beat(_Said, tag="b"):
    """A node is still there: what may have changed."""

    beat: Count
    number: Count
    sockets: Count
    member: bool


class Bye(_Said, tag="q"):
    """A node goes."""


class Sync(_Numbered, tag="s"):
    """How far somebody heard a node, room by room: with the stream and the number, or zeros."""

    rooms: list[tuple[Room, Count, Count]]
    since: Count | None = None
    """Besides these, all rooms to which that node sent something after this one of its numbers."""


class Marks(_Numbered, tag="m"):
    """How far that node has come, in those rooms where it differs."""

    marks: list[Mark]
    age: Age = None


class Who(_Numbered, tag="w"):
    """Which sockets are in this room (or anywhere)?"""

    room: Room


class Here(_Numbered, tag="i"):
    """These: number, peer, claimed id, rooms."""

    sockets: list[tuple[Count, str, Any, list[Room]]]
    more: bool
    """More of them follow."""


class Ask(_Numbered, tag="a"):
    """A request, to a socket or (0) to the node itself."""

    socket: Count
    method: str
    timeout: float | None
    params: Raw
    progress: bool | None = None
    """It wants to hear how far it is; None: it is of a version that hears neither that nor who has it."""


class Taken(_Numbered, tag="t"):
    """A node has a request that was for any one, and answers later."""


class Progress(_Numbered, tag="p"):
    """How far a request is."""

    data: Raw


class Cancel(_Numbered, tag="c"):
    """Nobody waits for the answer to this request any more."""


class Answer(_Numbered, tag="r"):
    """Its answer; with an error, ``result`` is what that has as data."""

    error: tuple[str, int, str] | None
    """Its kind (``remote``, ``timeout``, ``lost``, ``nobody``), JSON-RPC code and message."""
    result: Raw


Message: TypeAlias = Emit | Hello | Beat | Bye | Sync | Marks | Who | Here | Ask | Taken | Progress | Cancel | Answer

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message in bytes."""
    try:
        return _encode(message)
    except UnicodeEncodeError as error:
        return encode_slowly(message, "bus", error, _encode)


def decode(data: bytes) -> Message:
    """The message in these bytes; raises ``ValueError`` where there is none."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ValueError(f"{error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _decode_surrogates(data, error)


def _decode_surrogates(data: bytes, cause: Exception) -> Message:
    try:
        values = read_surrogates(data, cause)
        if isinstance(values, IPCError):  # what Python cannot hold
            raise values
        message: Message = surrogates.convert(values, Message)
        message.node.encode()  # it is to be a token of a subject
    except (IPCError, msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"{error}") from None
    return message


class Subjects:
    """What things are called on the bus, for one group."""

    def __init__(self, group: str) -> None:
        prefix = f"node_ipc.{_token(group)}."
        self.everybody = f"{prefix}all"
        self.anybody = f"{prefix}any"
        self._node, self._room = f"{prefix}node.", f"{prefix}room."

    def node(self, name: str) -> str:
        """One node's inbox."""
        return self._node + _token(name)

    def room(self, name: str) -> str:
        return self.everybody if name == EVERYBODY else self._room + _token(name)


def _token(text: str) -> str:
    """Any text as one token of a subject: without spaces, dots and wildcards, which mean something to brokers."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
