"""Rooms: which sockets of a server are in which, and the emits that go to some of them.

A room is there as long as somebody is in it: nothing is made and nothing stays. It knows sockets by what they are to
its caller, and neither links nor codecs; ``first`` and ``last`` tell whoever relays between servers which rooms this
one wants to hear of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import msgspec

from ..config.misspelt import refer, refuse_misspelt
from ..errors import BackpressureError, InvalidEvent, NotConnected
from .seam import nothing
from .session import Session

if TYPE_CHECKING:
    from ..wire.text import RawPayload
    from .events import Event
    from .newest import Keep

__all__ = ["LONGEST_NAME", "Audience", "EmitsTo", "Rooms", "Target", "room_name"]

T = TypeVar("T")
S = TypeVar("S", bound=Session)

LONGEST_NAME = 256
"""Characters of a room's name."""


class Audience(msgspec.Struct, frozen=True):
    """Whom an emit is for, as names: what can be told to another server."""

    rooms: tuple[str, ...] = ()
    """Those who are in one of these; empty: everybody."""
    but: tuple[Any, ...] = ()
    """Without these sockets, here also by their numbers."""
    but_rooms: tuple[str, ...] = ()
    """Without those who are in one of these."""


class Rooms(Mapping[str, list[S]]):
    """The rooms of one server: ``server.rooms["lobby"]`` are the sockets in it, in the order in which they came.

    Those of this process: who is in a room elsewhere is asked with ``server.everywhere``.
    """

    def __init__(self, limit: int) -> None:
        self.first: Callable[[str], None] = nothing
        """Called with a room that got its first socket."""
        self.last: Callable[[str], None] = nothing
        """Called with a room that lost its last socket."""
        self._limit = limit
        self._rooms: dict[str, dict[int, Any]] = {}
        self._of: dict[int, dict[str, None]] = {}
        self.were_joined = False
        """Whether anybody was ever in one."""

    def __getitem__(self, name: str) -> list[S]:
        try:
            return list(self._rooms[name].values())
        except KeyError:
            raise KeyError(
                f"nobody is in room {name!r:.80} here: rooms.get(name, []) gives an empty list then"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._rooms))

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, name: object) -> bool:
        return name in self._rooms

    def __repr__(self) -> str:
        return f"<Rooms {', '.join(list(self._rooms)[:8]) or 'none'}{', …' if len(self._rooms) > 8 else ''}>"

    # ---- coming and going

    def join(self, socket: Session, names: tuple[str, ...]) -> None:
        """All of them, or, where one name is none or they are too many, none."""
        checked = _named(names, "join")
        if not socket.is_open:
            raise NotConnected(f"cannot join {checked[0]!r}: this socket is closed")
        self.were_joined = True
        mine = self._of.get(socket.id, {})
        new = [name for name in dict.fromkeys(checked) if name not in mine]
        if len(mine) + len(new) > self._limit:
            raise BackpressureError(
                f"{socket!r} is in {len(mine)} rooms, and max_rooms_per_socket ({self._limit}) lets it join no more: "
                "leave() some, or raise the limit"
            )
        self._of[socket.id] = mine
        for name in new:
            mine[name] = None
            members = self._rooms.get(name)
            if members is None:
                self._rooms[name] = {socket.id: socket}
                self.first(name)
            else:
                members[socket.id] = socket

    def leave(self, socket: Session, names: tuple[str, ...]) -> None:
        """Those it is not in are passed over."""
        mine = self._of.get(socket.id)
        for name in _named(names, "leave"):
            if mine is not None and name in mine:
                del mine[name]
                self._remove(name, socket.id)
        if not mine:
            self._of.pop(socket.id, None)

    def leave_all(self, socket: Session) -> None:
        """It is gone."""
        for name in self._of.pop(socket.id, ()):
            self._remove(name, socket.id)

    def _remove(self, name: str, id: int) -> None:
        members = self._rooms[name]
        del members[id]
        if not members:
            del self._rooms[name]
            self.last(name)

    # ---- who is where

    def of(self, socket: Session) -> frozenset[str]:
        """The rooms that a socket is in."""
        return frozenset(self._of.get(socket.id, ()))

    def members(self, audience: Audience, everybody: Mapping[int, S]) -> Iterable[S]:
        """The sockets of this server that are meant, each once."""
        found: Mapping[int, S] = everybody
        if len(audience.rooms) == 1:
            found = self._rooms.get(audience.rooms[0], {})
        elif audience.rooms:
            found = self._in_any(audience.rooms)
        if not (audience.but or audience.but_rooms):
            return found.values()
        without = {each if each.__class__ is int else each.id for each in audience.but}
        without.update(self._in_any(audience.but_rooms))
        return [socket for id, socket in found.items() if id not in without]

    def _in_any(self, names: Iterable[str]) -> dict[int, S]:
        found: dict[int, S] = {}
        for name in names:
            found.update(self._rooms.get(name, ()))
        return found


class EmitsTo(Protocol[S]):
    """A server, as far as a target needs it."""

    def sockets_in(self, audience: Audience) -> list[S]: ...
    def emit_to(self, audience: Audience, type: Any, data: Any, local: bool, keep: Keep) -> bool: ...


class Target(Generic[S]):
    """Some of a server's sockets, to emit to: made by ``server.to(room)``, and never changed.

    It is a description, not a list: who is in the rooms is looked up with each ``emit``.
    """

    __slots__ = ("_audience", "_local", "_server")

    def __init__(self, server: EmitsTo[S], audience: Audience, local: bool) -> None:
        self._server = server
        self._audience = audience
        self._local = local

    def __repr__(self) -> str:
        audience = self._audience
        text = f"to {', '.join(map(repr, audience.rooms))}"[:200]
        without = [*map(repr, audience.but_rooms), *map(repr, audience.but)]
        return f"<{text}{' except ' + ', '.join(without)[:200] if without else ''}>"

    def __dir__(self) -> list[str]:
        """Without the verbs that are called otherwise here."""
        return [name for name in super().__dir__() if hasattr(self, name)]

    def to(self, *rooms: str) -> Target[S]:
        """These rooms as well; who is in several hears an event once."""
        old = self._audience
        return Target(self._server, Audience(old.rooms + _named(rooms, "to"), old.but, old.but_rooms), self._local)

    def except_(self, *who: Any) -> Target[S]:
        """Without these sockets, and without those who are in these rooms (texts)."""
        old = self._audience
        names = tuple(each for each in who if isinstance(each, str))
        sockets = tuple(each for each in who if not isinstance(each, str))
        for each in sockets:
            if not hasattr(each, "id"):
                raise TypeError(f"except_ takes sockets and names of rooms, not {each!r:.80}")
        if not who:
            raise TypeError("except_ takes at least one socket, or one name of a room")
        but_rooms = old.but_rooms + (_named(names, "except_") if names else ())
        return Target(self._server, Audience(old.rooms, old.but + sockets, but_rooms), self._local)

    @property
    def sockets(self) -> list[S]:
        """The sockets of this process that are meant now."""
        return self._server.sockets_in(self._audience)

    @overload
    def emit(self, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    def emit(self, type: Any, data: Any = {}, *, keep: Keep = None, **misspelt: Any) -> bool:  # noqa: B006 - never changed
        """Send one event to whoever is meant; encoded once, never waits, and slow peers are treated as by
        ``broadcast``, whose result and ``keep`` this has as well. Nobody there is no error."""
        if misspelt:
            refuse_misspelt("emit", misspelt, ("type", "data", "keep"))
        return self._server.emit_to(self._audience, type, data, self._local, keep)


refer(
    Target,
    {
        **dict.fromkeys(("broadcast", "send", "write"), "emit(type, data)"),
        "exclude": "except_(socket)",
        "join": "socket.join(room): it is a socket that joins",
        "request": "request(method) of each of sockets, or server.request_all(method)",
    },
)


def room_name(name: Any, verb: str = "a room") -> str:
    """A room's name, checked: raises :class:`InvalidEvent` where it cannot be one."""
    if not isinstance(name, str):
        raise InvalidEvent(f"{verb}: a room's name is text, not {name.__class__.__name__}: {name!r:.80}")
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidEvent(
            f"{verb}: a room's name has 1 to {LONGEST_NAME} characters, and this one has {len(name)}: {name!r:.80}"
        )
    if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidEvent(f"{verb}: a room's name cannot hold half a character: {name!r:.80}")
    return name if name.__class__ is str else str.__str__(name)


def _named(names: tuple[Any, ...], verb: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"{verb}(socket, names) takes several names; for one use socket.{verb}({names!r:.80})")
    if not names:
        raise TypeError(f"{verb}() takes at least one room")
    return tuple([room_name(name, verb) for name in names])
