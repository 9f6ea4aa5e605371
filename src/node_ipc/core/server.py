"""Many links in: who is let in, emit to one, broadcast to all, and the limits that concern all of them."""

from __future__ import annotations

from abc import ABCMeta
from collections import Counter
from collections.abc import Collection, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

from msgspec import UNSET

from ..config.address import Several
from ..config.misspelt import misspelling, refuse_misplaced, refuse_misspelt, shown_as, suggests
from ..config.profiles import require_assured
from ..errors import BackpressureError, InvalidEvent, IPCError, NotConnected
from ..wire.names import SERVER_RAISES
from .asking import Question
from .elsewhere import OF_EMITTERS, OF_LOOPS
from .endpoint import LinkPublisher, ServerState, SocketPublisher, begun, not_in
from .events import Event
from .everywhere import BUS_EVENTS, Everywhere, Relay, RemoteSocket, no_bus
from .mistakes import COMPARED
from .newest import kept_event
from .outcome import seconds
from .rooms import Audience, Rooms, Target, room_name
from .session import Loss, Session, Socket, broadcast, broadcast_newest, refuse_other_threads
from .trace import Stats

if TYPE_CHECKING:
    from typing import TypedDict, Unpack

    from typing_extensions import TypeForm

    from ..config.address import Address
    from ..config.config import Config
    from ..wire.codec import Codec
    from ..wire.text import RawPayload
    from .asking import AskOptions
    from .events import R
    from .newest import Keep
    from .outcome import Outcome, Progress
    from .seam import Driver, Listener, Peer

    class AskAllOptions(TypedDict, total=False):
        """What ``request_all`` takes by name, besides ``type``."""

        timeout: float | None
        exclude: Collection[Session]


__all__ = ["Server", "ServerCore", "ServerState", "serving"]


SUSPECT_ROOMS = 8
"""So many names of rooms in which nobody is are compared with those in which somebody is."""
SENT_EARLY, SENT_EARLY_SECONDS = 3, 0.1
"""So many broadcasts at the most, and not longer before the first client came, were hardly meant for nobody."""
SENDS_ON_SECONDS = 0.25
"""Who sends to all in any case, as a camera does, sends something in that time."""

T = TypeVar("T")
S = TypeVar("S", bound=Session)


ALL = Audience()
"""Everybody."""

serving: dict[int, WeakSet[ServerCore[Any]]] = {}
"""Who listens in which thread; no entry where nobody does. A blocking call there that needs one of them never ends."""


class ServerCore(SocketPublisher[S], LinkPublisher[S]):
    """A socket that clients connect to; each of them is a :class:`Socket`, called *socket* in handlers.

    What all fronts have, since nothing in it waits. What a front says in its own way (``request``, ``request_all``,
    ``stop``) is begun here by ``request_from``, ``_ask_all`` and ``begin_stop``.
    """

    _made_by = "node_ipc.serve('world'), node_ipc.blocking.serve('world') or ipc.serve()"

    elsewhere = OF_EMITTERS | {
        "event": "@server.on('name')",
        "path": "address, which says where it listens",
        "server": "address and port; the kernel's socket stays inside",
        "close": "stop(), which sends what was emitted first, or abort(); one socket ends by socket.close()",
        "disconnect": "socket.close() for one, stop() for all",
        "join": "socket.join(room): it is one of its sockets that joins, as a handler gets it",
        "leave": "socket.leave(room): it is one of its sockets that leaves, as a handler gets it",
        **dict.fromkeys(("receive", "recv"), "on(event, handler): a server hears all its clients by handlers"),
        **dict.fromkeys(("send", "write"), "emit(socket, type, data) or broadcast(type, data)"),
        **dict.fromkeys(("clients", "connections"), "sockets"),
        "shutdown": "stop()",
        "listen": "start(), where node_ipc.serve has not done it",
        "in_": "to(room)",
        **OF_LOOPS,
    }
    _times_requests = True  # a front that waits itself does not need a timer for each
    _socket_type: ClassVar[type[Session]] = Socket

    def __init__(
        self: Self,  # as an attribute's type needs it said
        address: Address,
        driver: Driver,
        settings: Config,
    ) -> None:
        """Make a server; ``start`` makes it listen. Raises :class:`AssuredError` where the profile forbids it."""
        addresses: tuple[Address, ...] = address.addresses if isinstance(address, Several) else (address,)
        require_assured(address, settings, "server")
        super().__init__(driver, settings, SERVER_RAISES, decodes_late=True)
        self.address = addresses[0]
        """Where it listens; once started, with the real port. Of several it is the first."""
        self.addresses = addresses
        """Where it listens, all of it, in the order it was given; once started, with the real ports."""
        self.refused = 0
        """How many connections were refused because of a limit."""
        self._limits_told: set[str] = set()
        self._told_of_rooms = False
        self._suspect_rooms: set[str] = set()
        self._had_one = False  # somebody was here
        self._sent_early = 0  # to all, when nobody had ever been here
        self._last_early = "", 0.0
        self.runs_in_event_loop = driver.runs_coroutines
        """Whether an event loop runs it; otherwise whoever calls."""
        self.events.unheard = self._unheard
        self.events.answer_heartbeats()
        self.events.keep_local(BUS_EVENTS)
        self._relay: Relay | None = None
        self._is_in = begun(driver)  # what joining is without a bus: the same for all
        self._listener: Listener | None = None
        self._came_to: WeakKeyDictionary[Session, Address] = WeakKeyDictionary()  # other addresses than the first
        self._sessions: dict[int, Any] = {}
        self.rooms: Rooms[S] = Rooms(settings.max_rooms_per_socket)
        """Who is in which room: ``server.rooms["lobby"]`` are its sockets in this process."""
        self._opening: set[Session] = set()
        self._per_uid: Counter[int] = Counter()
        self._per_host: Counter[str] = Counter()
        self._ids = 0
        self._full: set[Session] = set()  # those for whom the kernel holds bytes back

    def __repr__(self) -> str:
        return f"<Server {', '.join(map(str, self.addresses))} {self._state.value}, {len(self._sessions)} sockets>"

    @property
    def sockets(self) -> list[S]:
        """The sockets that are connected now, oldest first.

        A client's connecting is over when the kernel has its link, and the server takes that up in a turn of its own.
        So one is not here yet where the same program has only just connected it: hear "connect", which brings the
        socket, or let the client ask something. With the answer it is here.
        """
        return list(self._sessions.values())

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait for the peers to take them, all sockets together."""
        return sum(session.pending_bytes for session in self._sessions.values())

    def hand_over(self) -> None:
        """What other threads have emitted goes before what this one does next."""
        for session in tuple(self._sessions.values()):  # one that takes no more is gone
            session.hand_over()

    # ---- traces and statistics

    def _hand_trace_on(self) -> None:
        for session in self._everybody():
            self._trace(session)

    def _trace(self, session: Session) -> None:
        session.trace, session.traffic = self._traces.all, self._traces.traffic

    def stats(self) -> Stats:
        """What this server did since it was made, over all its sockets. Safe from any thread."""
        total = self._sum(self.sockets)
        total.refused = self.refused
        total.bus = None if self._relay is None else self._relay.stats()
        total.late = self._requests.late if self._requests is not None else 0
        return total

    # ---- out

    @overload
    def emit(self, socket: Session, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, socket: Session, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    @shown_as("Server.emit")
    def emit(
        self,
        socket: Session,
        type: Any = UNSET,  # as in request
        data: Any = {},  # noqa: B006 - never changed
        keep: Keep = None,
    ) -> bool:
        """Send one event to one socket (in raw mode: ``emit(socket, payload)``); as ``socket.emit``."""
        if not isinstance(socket, Session):
            raise InvalidEvent(
                f"emit takes the socket first: server.emit(socket, type, data), not {socket!r:.80}. "
                "To send to all of them use broadcast(type, data)"
            )
        if keep is not None:
            return socket.emit(type, data, keep=keep)
        return socket.emit(type, data)

    @overload
    def broadcast(
        self, type: Event[T], data: T, *, exclude: Collection[Session] = ..., local: bool = ..., keep: Keep = ...
    ) -> bool: ...
    @overload
    def broadcast(
        self,
        type: str | RawPayload,
        data: Any = ...,
        *,
        exclude: Collection[Session] = ...,
        local: bool = ...,
        keep: Keep = ...,
    ) -> bool: ...
    def broadcast(
        self,
        type: Any,
        data: Any = {},  # noqa: B006 - never changed
        *misplaced: Any,
        exclude: Collection[Session] = (),
        local: bool = False,
        keep: Keep = None,
        **misspelt: Any,
    ) -> bool:
        """Send one event to every connected socket but those in ``exclude``; encoded once, never waits, and is
        not awaited.

        Args:
            local: True leaves out the sockets of other processes and machines, where a bus joins this server to them.
            keep: ``"latest"``: at each socket it takes the place of one of this event that still waits there, as in
                ``socket.emit``.

        Returns True, or False where more than ``soft_pending_bytes`` wait for a socket, as ``emit`` does. One slow
        peer never raises here and never holds the others up: past ``max_pending_bytes`` its ``slow_policy`` applies.
        Nor does a server that was stopped: it reaches nobody, and says so once.
        """
        if misspelt:
            refuse_misspelt("broadcast", misspelt, ("type", "data", "exclude", "local", "keep"))
        if misplaced:
            refuse_misplaced("broadcast", misplaced, ("exclude", "local", "keep"))
        refuse_other_threads(self._driver, "broadcast")
        event = kept_event(type, keep, self._codec.raw)
        frame = self._codec.encode(type, data)
        to: Any = self._sessions.values()
        if not to:
            self._tell_if_nobody_hears("broadcast")
            self._reached_nobody(f"broadcast({str(type)!r:.80})")
        if exclude:
            to = not_in(exclude, to, "broadcast")
        if self._relay is None or local:
            return self._send(to, frame, event)
        return self._send_everywhere(self._relay, ALL, to, frame, event)

    def _send(self, to: Iterable[Session], frame: bytes, event: str | None) -> bool:
        """Append one frame to what waits for each of these; with an event, in the place of the last one of it."""
        full = broadcast(to, frame) if event is None else broadcast_newest(to, event, frame)
        return self._look_after(full) if full or self._full else True

    def _send_everywhere(
        self, relay: Relay, audience: Audience, here: Iterable[Session], frame: bytes, event: str | None
    ) -> bool:
        """To the other servers first: they work while this one writes to its own sockets, which it does in any case."""
        try:
            relay.publish(audience, frame, event)
        finally:
            below = self._send(here, frame, event)
        return below

    def _look_after(self, full: list[Session]) -> bool:
        """Cut those for whom there was no room; whether the others take more."""
        for session in full:
            session.cut(
                BackpressureError(
                    f"{session!r} does not read: a broadcast would pass max_pending_bytes "
                    f"({self._settings.max_pending_bytes}); its link is cut. Where only the newest message of an event "
                    "counts, emit it with keep=\"latest\"; with slow_policy='drop_oldest' the oldest messages of all "
                    "events would be lost instead"
                )
            )
        return not full and all(session.outgoing.below_soft for session in self._full)

    # ---- rooms

    @suggests
    def to(self, *rooms: str, local: bool = False) -> Target[S]:
        """The sockets in these rooms, to emit to: ``server.to("lobby").except_(socket).emit("joined", name)``.

        Who is in several of them hears an event once. local: True leaves out the sockets of other processes and
        machines. To reach everybody use ``broadcast``.
        """
        if not rooms:
            raise TypeError("to() takes at least one room: to reach everybody use broadcast(type, data)")
        return Target(self, Audience(tuple([room_name(room, "to") for room in rooms])), local)

    def sockets_in(self, audience: Audience) -> list[S]:
        """The connected sockets of this process that are meant: what ``server.to(…).sockets`` asks for.

        For yourself there are ``server.rooms["lobby"]`` and ``server.to("lobby", "hall").sockets``.
        """
        if not isinstance(audience, Audience):
            raise TypeError(
                f"sockets_in({audience!r:.80}): the sockets in a room are server.rooms['lobby'], and those in some of "
                "several rooms server.to('lobby', 'hall').sockets"
            )
        return list(self.rooms.members(audience, self._sessions))

    def emit_to(self, audience: Audience, type: Any, data: Any, local: bool, keep: Keep) -> bool:
        """Send one event to whoever is meant; as :meth:`Target.emit`."""
        refuse_other_threads(self._driver, "emit")
        event = kept_event(type, keep, self._codec.raw)
        frame = self._codec.encode(type, data)
        if not self._sessions:
            self._tell_if_nobody_hears("emit to rooms")
            self._reached_nobody(f"to({', '.join(f'{room!r:.80}' for room in audience.rooms[:3])}).emit()")
        to = self.rooms.members(self._here(audience), self._sessions)
        if not to and self._sessions and self._relay is None:
            if not (self.rooms.were_joined or self._told_of_rooms):
                self._tell_of_rooms(audience)
            elif self.rooms and len(self._suspect_rooms) < SUSPECT_ROOMS:
                self._look_for_near_rooms(audience)
        if self._relay is None or local:
            return self._send(to, frame, event)
        return self._send_everywhere(self._relay, audience, to, frame, event)

    def _tell_of_rooms(self, audience: Audience) -> None:
        """Somebody emits to rooms, and nobody was ever in one: that it reaches nobody is no error, and told once."""
        self._told_of_rooms = True
        rooms = ", ".join(f"{room!r:.80}" for room in audience.rooms[:3])
        line = (
            f"to({rooms}).emit() reached nobody: no socket has joined any room of this server yet. It is the server's "
            "handlers that let one in, by socket.join(room). This is said once"
        )
        self._tell_mistake(IPCError(line))

    def _look_for_near_rooms(self, audience: Audience) -> None:
        """Nobody is in these rooms, and somebody in others: one of which the name is nearly that is told, once."""
        for room in audience.rooms[:SUSPECT_ROOMS]:
            if room in self._suspect_rooms or room in self.rooms:
                continue
            self._suspect_rooms.add(room)
            near = misspelling(room, islice(self.rooms, COMPARED))
            if near is not None:
                line = (
                    f"to({room!r:.80}).emit() reached nobody: no socket is in that room, and some are in {near!r:.80}: "
                    "is one of the two misspelt? This is said once for each name, and of a few names"
                )
                self._tell_mistake(IPCError(line))

    def _reached_nobody(self, call: str) -> None:
        """Remember what was sent to all before the first of them was here."""
        if not self._had_one and self._relay is None:
            self._sent_early += 1
            self._last_early = call, self._driver.now()

    def _look_at_sent_early(self, first: Session) -> None:
        """The first client is here: what was sent to all right before did not reach it.

        A server that has sent much to nobody, or sends on, does so by itself, whoever listens, and is told nothing.
        """
        call, sent_at = self._last_early
        if self._sent_early <= SENT_EARLY and self._driver.now() - sent_at < SENT_EARLY_SECONDS:
            self.later(SENDS_ON_SECONDS, partial(self._tell_sent_early, call, first))
        self._sent_early = 0

    def _tell_sent_early(self, call: str, first: Session) -> None:
        if first.stats().messages_out == 0:
            line = (
                f"{call} reached nobody: the first client is here since now only. A link that a client has made is "
                "taken while this program waits; so emit in the handler of 'connect', or after something that the "
                "client sends when it is ready. This is said once"
            )
            self._tell_mistake(IPCError(line))

    def _here(self, audience: Audience) -> Audience:
        """The same, with its sockets as numbers of this server: those of others are somebody else's."""
        if not audience.but or all(isinstance(each, Session) for each in audience.but):
            return audience
        name = None if self._relay is None else self._relay.name
        own = (each.number for each in audience.but if isinstance(each, RemoteSocket) and each.node == name)
        mine = (each.id for each in audience.but if isinstance(each, Session))
        return Audience(audience.rooms, (*own, *mine), audience.but_rooms)

    def rooms_of(self, session: Session) -> frozenset[str]:
        return self.rooms.of(session)

    def join_rooms(self, session: Session, rooms: tuple[str, ...]) -> Outcome[None]:
        self.rooms.join(session, rooms)
        return self._is_in if self._relay is None else self._relay.joined(rooms)

    def leave_rooms(self, session: Session, rooms: tuple[str, ...]) -> None:
        self.rooms.leave(session, rooms)

    # ---- other servers

    @property
    def everywhere(self) -> Everywhere:
        """All servers that the bus joins: who is in a room anywhere, and requests to them."""
        if self._relay is None:
            raise no_bus()
        return Everywhere(self._relay)

    def join_bus(self, relay: Relay) -> None:
        """Be one of several servers; before ``start``."""
        self._relay = relay
        self.rooms.first, self.rooms.last = relay.first, relay.last

    def deliver(self, audience: Audience, frame: bytes, event: str | None) -> None:
        """Send a frame of another server's to those here who are meant."""
        self._send(self.rooms.members(audience, self._sessions), frame, event)

    def socket(self, id: int) -> S | None:
        """The connected socket with this number."""
        return self._sessions.get(id)

    def bus_event(self, event: str, *arguments: Any) -> None:
        """Publish what happens to the bus."""
        self._tell(event, arguments[-1] if arguments else None)
        self.events.publish(event, *arguments)

    @property
    def codec(self) -> Codec:
        """What makes frames of events here."""
        return self._codec

    # ---- requests

    def request_from(self, socket: Session, question: Question) -> Outcome[Any]:
        """Send one client a request; the outcome is its answer."""
        refuse_other_threads(self._driver, "request")
        if not isinstance(socket, Session):
            raise InvalidEvent(
                f"request takes the socket first: server.request(socket, method, params), not {socket!r:.80}. "
                "To ask all of them use request_all(method, params)"
            )
        return self.requests.ask(socket, question, self._times_requests)

    def _ask_all(self, question: Question, exclude: Collection[Session]) -> Outcome[dict[S, Any]]:
        """Send every connected client a request; settled when the last has answered."""
        from .requests import ask_all

        seconds(question.timeout, "request_all")  # also where there is nobody to ask
        to = not_in(exclude, self.sockets, "request_all")

        def ask(socket: S) -> Outcome[Any]:  # not self.request: a front's own waits for each
            return self.requests.ask(socket, question)

        return ask_all(self._driver, to, ask)

    def _unheard(self, type: str, data: Any, session: Session) -> None:
        if type == "rpc.request":
            self.requests.refuse_unheard(data)

    # ---- life

    def _beside(self, address: Address, settings: Config) -> ServerCore[Any]:
        return ServerCore(address, self._driver, settings)

    def _listen(self) -> None:
        for address in self.addresses:
            self._tell("starting", address)
        if len(self.addresses) == 1:
            self._listener = self._driver.listen(self.address, self, self._settings)
        else:
            from .listeners import Listeners

            self._listener = Listeners(self._driver, self.addresses, self, self._settings)

    def _begin_to_serve(self) -> None:
        serving.setdefault(self._driver.home, WeakSet()).add(self)
        for address in self.addresses:
            self._tell("listening", address)
        if self._relay is not None:
            self._relay.open()

    def _serve_no_more(self, seconds: float) -> None:
        self._leave_those_who_serve()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for session in self._everybody():
            session.close(seconds)
        if self._relay is not None:
            self._relay.close(seconds, self._look_whether_empty)

    def reload_tls(self, tls: Any = None) -> None:
        """Use new certificates for new connections; open ones stay as they are.

        Args:
            tls: other options than those of ``config.tls``, in the same form, or an ``ssl.SSLContext``; without it, the
                same files are read anew.

        If anything is wrong with the new ones the old ones stay. Raises :class:`ConfigError` for a file that cannot
        be read or does not fit, :class:`AddressError` where the server has no TLS, :class:`NotConnected` where it
        does not listen (``start`` reads the certificates).
        """
        refuse_other_threads(self._driver, "reload_tls")
        if self._listener is None or self._state is not ServerState.LISTENING:
            raise NotConnected(f"cannot reload: the server is {self._state.value}, and start() reads the certificates")
        self._listener.reload_tls(tls)

    def _everybody(self) -> list[Session]:
        return [*self._sessions.values(), *self._opening]

    def _expire(self) -> None:
        for session in self._everybody():
            session.abort()
        for session in list(self._opening):  # handshakes have no link to cut yet
            self._forget(session)
        if self._relay is not None and self._relay.is_open:
            self._relay.abort()
        self._driver.call_later(0, self._look_whether_empty)

    def _look_whether_empty(self) -> None:
        if not self._everybody() and not (self._relay is not None and self._relay.is_open):
            self._input("emptied")

    def _give_up(self) -> None:
        self._listener = None
        if self._relay is not None and self._relay.is_open:
            self._relay.abort()
        super()._give_up()

    # ---- the acceptor

    def listening(self, address: Address) -> None:
        self.listening_at((address,))

    def listening_at(self, addresses: tuple[Address, ...]) -> None:
        """It can be reached, at all of these."""
        self.addresses, self.address = addresses, addresses[0]
        self._input("listening")

    def not_listening(self, error: Exception) -> None:
        self._input("failed", error)

    def accept_at(self, address: Address, peer: Peer) -> Session | None:
        """Somebody came to one of several addresses."""
        session = self.accept(peer)
        if session is not None and address is not self.address:
            self._came_to[session] = address
        return session

    def address_of(self, session: Session) -> Address:
        """Where this one came to."""
        return self._came_to.get(session, self.address)

    def accept(self, peer: Peer) -> Session | None:
        """A session for a new connection, or None where a limit is reached."""
        limit = self._limit_reached(peer)
        if limit is not None or self._state is not ServerState.LISTENING:
            self.refused += 1
            self._tell("refused", peer)
            if limit is not None:
                self._warn_of_limit(peer, *limit)
            return None
        self._ids += 1
        session = self._socket_type(
            self, self._codec, self.events, self._driver, self._settings, self._ids, serving=True
        )
        self._opening.add(session)
        self._per_uid.update(() if peer.uid is None else (peer.uid,))
        self._per_host.update(() if peer.host is None else (peer.host,))
        session.admitted_as = peer
        self._trace(session)
        return session

    def _limit_reached(self, peer: Peer) -> tuple[str, str] | None:
        """The option that keeps this peer out, and who has come to it; None where none does."""
        settings = self._settings
        if len(self._sessions) + len(self._opening) >= settings.max_connections:
            return "max_connections", ""
        if peer.transport == "tls" and len(self._opening) >= max(settings.max_connections // 2, 1):
            return "max_connections", " (half of it, by TLS handshakes under way)"
        if _over(settings.max_connections_per_uid, self._per_uid, peer.uid):
            return "max_connections_per_uid", f" by user {peer.uid}"
        if _over(settings.max_connections_per_host, self._per_host, peer.host):
            return "max_connections_per_host", f" by {peer.host}"
        return None

    def _warn_of_limit(self, peer: Peer, option: str, by: str) -> None:
        """Once for each option: whoever is refused comes again and again."""
        if option in self._limits_told:
            return
        self._limits_told.add(option)
        text = (
            f"{peer} was refused: {option} ({getattr(self._settings, option)}) is reached{by}. Raise it if so many are "
            "meant to be connected. This is said once; stats().refused counts"
        )
        self._log_fault(self, IPCError(text), loud=True)

    def _leave_those_who_serve(self) -> None:
        for home, servers in list(serving.items()):
            servers.discard(self)
            if not servers:
                serving.pop(home, None)

    def abandoned(self) -> None:
        for session in self._everybody():
            session.abort()
        self.abort()

    def _heard_in_vain(self) -> str:
        return "" if self._ids else super()._heard_in_vain()

    def unsent(self) -> int:
        return sum(session.unsent() for session in self._everybody())

    def forked(self) -> None:
        self._leave_those_who_serve()
        for session in self._everybody():
            session.forked()

    # ---- the sessions' owner

    def session_opened(self, session: Session) -> None:
        if session not in self._opening:  # its handshake outlived the server
            session.abort()
            return
        if self._state is ServerState.CLOSING:  # nobody hears of it
            session.close()
            return
        self._opening.discard(session)
        self._sessions[session.id] = session
        if self._sent_early:
            self._look_at_sent_early(session)
        self._had_one = True
        self.events.publish("connect", session, session=session)

    def session_failed(self, session: Session, error: Exception) -> None:
        if not self._forget(session):
            return
        assert isinstance(error, IPCError)
        self.session_fault(None, error)
        self._look_whether_empty()

    def session_closing(self, session: Session) -> None:
        """Its place is free when it is lost, not before."""

    def session_lost(self, session: Session, loss: Loss) -> None:
        if self._requests is not None:
            self._requests.link_lost(session, loss.reason)
        was_connected = session.id in self._sessions
        if not self._forget(session):
            return
        self._gone += session.stats()
        if was_connected:
            try:
                self._tell_of_the_end(session)
            finally:  # its handlers may ask which rooms it was in
                self.rooms.leave_all(session)
            self._drained()
        self._look_whether_empty()

    def _tell_of_the_end(self, session: Session) -> None:
        name = session.id if session.claimed_id is None else session.claimed_id
        self.events.publish("socket.disconnected", session, name, session=session)
        self.events.publish("close", session, session=session)

    def _forget(self, session: Session) -> bool:
        """Free a socket's place; whether it had one."""
        if session not in self._opening and session.id not in self._sessions:
            return False
        self._opening.discard(session)
        self._full.discard(session)
        self._sessions.pop(session.id, None)
        _uncount(self._per_uid, session.admitted_as.uid)
        _uncount(self._per_host, session.admitted_as.host)
        return True

    def _logged_as(self, socket: Session | None) -> Any:
        return self if socket is None else socket

    def pending_changed(self, session: Session, pending: int) -> None:
        if pending == 0:
            self._full.discard(session)
            self._drained()
            return
        self._full.add(session)
        limit = self._settings.max_total_pending_bytes
        if len(self._full) * self._settings.max_pending_bytes > limit:
            self._bound_total(limit)

    def takes_more_again(self, session: Session) -> None:
        self._drained()

    def _bound_total(self, limit: int) -> None:
        """Cut the sockets with the most waiting bytes until the rest is within ``max_total_pending_bytes``."""
        waiting = {session: session.pending_bytes for session in self._full if session.is_open}
        total = sum(waiting.values())
        for session in sorted(waiting, key=waiting.__getitem__, reverse=True):
            if total <= limit:
                return
            total -= waiting[session]
            session.cut(
                BackpressureError(
                    f"{total + waiting[session]} bytes wait for all peers together, above max_total_pending_bytes "
                    f"({limit}): the link of {session!r}, with {waiting[session]} of them, is cut"
                )
            )


class Server(ServerCore[Socket], metaclass=ABCMeta):
    """A socket that clients connect to; each of them is a :class:`Socket`, called *socket* in handlers.

    Made by ``ipc.serve`` and, as :class:`AsyncServer`, by ``node_ipc.serve``. That of ``node_ipc.blocking`` counts as
    one to ``isinstance``, and differs in what waits.

    Example:
        >>> @server.on("hello")
        ... def hello(data, socket):
        ...     socket.emit("welcome", f"you are number {socket.id}")
        >>> len(server.sockets)
        1
        >>> server.broadcast("news", "rain")
        True
    """

    takes_options = "before it is made, as ipc.config.{} = …"

    @overload
    def request(
        self, socket: Session, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]
    ) -> Outcome[R]: ...
    @overload
    def request(
        self, socket: Session, method: str, params: Any = None, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]
    ) -> Outcome[R]: ...
    @suggests
    def request(
        self,
        socket: Session,
        method: Any = UNSET,  # left out where the socket is, which is told
        params: Any = None,
        *,
        timeout: float | None = 30.0,
        progress: Progress | None = None,
        type: Any = None,
    ) -> Outcome[Any]:
        """Ask one client; as ``Client.request``."""
        return self.request_from(socket, Question(method, params, timeout, type, progress))

    @overload
    def request_all(
        self, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskAllOptions]
    ) -> Outcome[dict[Socket, R | Exception]]: ...
    @overload
    def request_all(
        self, method: str, params: Any = None, *, type: TypeForm[R] = ..., **how: Unpack[AskAllOptions]
    ) -> Outcome[dict[Socket, R | Exception]]: ...
    @suggests
    def request_all(
        self,
        method: str | Event[Any],
        params: Any = None,
        *,
        timeout: float | None = 30.0,
        type: Any = None,
        exclude: Collection[Session] = (),
    ) -> Outcome[dict[Socket, Any]]:
        """Ask every connected client: settled with ``{socket: result or exception}`` when the last has answered."""
        return self._ask_all(Question(method, params, timeout, type), exclude)

    @suggests
    def stop(self, timeout: float | None = None) -> Outcome[Self]:
        """Accept nobody more, send what was emitted, end every link.

        In the handler of a request this begins, the answer goes out first, and awaiting it does not wait.

        Args:
            timeout: the seconds it may take, after which every link is cut; ``None`` is ``close_timeout``. While it is
                being stopped, another call with a shorter time holds.
        """
        return self.begin_stop(timeout)


def _over(limit: int | None, counter: Counter[Any], key: Any) -> bool:
    return limit is not None and key is not None and counter[key] >= limit


def _uncount(counter: Counter[Any], key: Any) -> None:
    if key is not None:
        counter[key] -= 1
        if counter[key] <= 0:
            del counter[key]
