"""The other servers, as one server sees them: ``server.everywhere``, and what a relay to them has to do.

Which servers belong together, and how they reach each other, is the business of ``cluster/``, which is above this ring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import msgspec

from ..config.misspelt import suggests
from ..errors import IPCError
from .outcome import seconds
from .rooms import room_name

if TYPE_CHECKING:
    from typing import Unpack

    from typing_extensions import TypeForm

    from .asking import AskAnywhereOptions
    from .events import Event, R
    from .outcome import Outcome, Progress
    from .rooms import Audience
    from .trace import BusStats

__all__ = ["BUS_EVENTS", "Everywhere", "Found", "Relay", "RemoteNode", "RemoteSocket", "no_bus"]

T = TypeVar("T")

BUS_EVENTS = frozenset({"bus.up", "bus.down", "bus.gap"})
"""What a server publishes about its bus; a peer's event of such a name reaches no handler."""


class RemoteSocket(msgspec.Struct, frozen=True):
    """A socket of some server of the group, maybe of this one."""

    id: str
    """What it is called everywhere: its node and its number there. For ``everywhere.request(…, to=one.id)``."""
    node: str
    """The node that holds it."""
    number: int
    """Its ``socket.id`` there."""
    peer: str = ""
    """Who is at its other end, as its node says it."""
    claimed_id: Any = None
    """What the peer calls itself, with ``identify_peer``: a claim, never an identity."""
    rooms: frozenset[str] = frozenset()
    """The rooms that it is in."""


class RemoteNode(msgspec.Struct, frozen=True):
    """A server of the group, as it was last heard."""

    name: str
    sockets: int
    """How many sockets it has."""
    seconds: float
    """How long ago it was heard."""


class Found(list[RemoteSocket]):
    """The sockets that were found, and what is missing of the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: set[str] = set()
        """The nodes that did not answer in time: what they hold is not among these."""

    def __repr__(self) -> str:
        return f"<Found {len(self)} sockets{f', missing {sorted(self.missing)}' if self.missing else ''}>"


class Relay(Protocol):
    """What joins a server to others."""

    name: str
    """What this server is called among them."""

    def open(self) -> None:
        """The server listens: be one of them."""

    def close(self, seconds: float, closed: Callable[[], None]) -> None:
        """Send what waits, say goodbye within so many seconds, and call ``closed``."""

    def abort(self) -> None:
        """Be gone at once."""

    @property
    def is_open(self) -> bool:
        """Whether ``closed`` is still to come."""

    def publish(self, audience: Audience, frame: bytes, event: str | None) -> None:
        """Send a frame to whoever is meant at the other servers; with an event, as ``keep="latest"`` there."""

    def first(self, room: str) -> None: ...
    def last(self, room: str) -> None: ...
    def joined(self, rooms: Iterable[str]) -> Outcome[None]:
        """For who has just joined these: done when what others send there comes, or nothing can."""

    def stats(self) -> BusStats: ...
    def nodes(self) -> list[RemoteNode]: ...
    def find(self, room: str | None, timeout: float) -> Outcome[Found]: ...
    def ask(
        self, to: str | None, method: Any, params: Any, timeout: float | None, type: Any, progress: Progress | None
    ) -> Outcome[Any]: ...


class Everywhere:
    """All servers of the group: ``server.everywhere``."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def __repr__(self) -> str:
        return f"<Everywhere, seen by {self._relay.name}>"

    @property
    def name(self) -> str:
        """What this server is called by the others."""
        return self._relay.name

    @property
    def nodes(self) -> list[RemoteNode]:
        """The other servers that are heard; one that is gone without a word stays for three heartbeats."""
        return self._relay.nodes()

    def sockets(self, room: str | None = None, *, timeout: float = 1.0) -> Outcome[Found]:
        """The sockets of all servers, those of this one first: ``found = await server.everywhere.sockets(room="a")``.

        room: only who is in it; None: everybody. timeout: seconds that the others have to answer. Whoever does not is
        in ``found.missing``; no answer is no error. Before ``bus.up`` no other server is known: these are the sockets
        here.
        """
        limit = seconds(timeout, "sockets")
        if limit is None:
            raise TypeError("sockets(timeout=…) takes seconds: a node that is gone never answers")
        return self._relay.find(None if room is None else room_name(room, "sockets"), limit)

    @overload
    def request(
        self, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskAnywhereOptions]
    ) -> Outcome[R]: ...
    @overload
    def request(
        self, method: str, params: Any = ..., *, type: TypeForm[R] = ..., **how: Unpack[AskAnywhereOptions]
    ) -> Outcome[R]: ...
    @suggests
    def request(
        self,
        method: str | Event[Any],
        params: Any = None,
        *,
        to: str | None = None,
        timeout: float | None = 30.0,
        progress: Progress | None = None,
        type: Any = None,
    ) -> Outcome[Any]:
        """Ask a socket of any server (``to=found[0].id``), or without ``to`` any one other server.

        A socket's client answers with its ``handle``, a server with ``server.handle``, whose ``socket`` then is the
        node that asks. timeout, progress, type: as for ``socket.request``; so is what becomes of it when nobody waits
        any more: whoever works on it is told, and its ``request.cancelled`` is true.

        The outcome is settled with the result, or with :class:`NoResponder` (nobody is there; at once),
        :class:`RequestTimeout`, :class:`ConnectionLost` (its node is gone; it may have been carried out),
        :class:`RemoteError` or :class:`NotConnected` (the bus is down, or not up yet, as directly after the server's
        start: the event ``bus.up`` says when it is).
        """
        if to is not None and not isinstance(to, str):
            raise TypeError(f"request(to=…) takes the id of a socket, as everywhere.sockets() gives it, not {to!r:.80}")
        return self._relay.ask(to, method, params, seconds(timeout, "request"), type, progress)


def no_bus() -> IPCError:
    """What there is without a bus."""
    return IPCError(
        "this server has no bus, so it knows of no other: serve(…, bus='nats://host:4222'), bus='redis://host:6379', "
        "or in workers.run bus=True"
    )
