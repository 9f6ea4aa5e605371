"""UDP: a port that hears from addresses and sends to addresses; there are no connections.

It knows its codec, its driver's clock and its port; it knows nothing of sockets, names or loops.

In: a datagram holds one or more whole frames, and nothing is carried over to the next. One that ends in the middle of
a frame, or is no message, is one ``error`` event and has no other effect.

Who is remembered: an address is entered into the table when a whole message came from it, for ``udp_peer_ttl`` since
the last one, at most ``max_udp_peers`` of them. While the table is full of such addresses, newcomers are served (their
messages are delivered and can be answered) and not remembered, so a flood of forged addresses neither drives out who
is there nor costs memory; they get in when somebody has been silent for that long. The table is ordered by when each
was last heard, so all this takes constant time.

Out: anybody can write somebody else's address on a datagram, so whoever answers those can be made to shoot at third
parties. Nothing in node-ipc's wire proves that an address is real (a second datagram can be forged like the first),
so the rule is QUIC's (RFC 9000, 8.1) without its handshake: an address beyond loopback gets at most three times the
bytes that came from it, by answers and broadcasts together, until the application says that it is real
(``socket.validated = True``: it sent back a random number that was emitted to it, say, or a secret). What the
application emits to an address that it names itself is its own decision, and makes that address validated. By itself
this module sends nothing.
"""

from __future__ import annotations

from abc import ABCMeta
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import msgspec

from ..config.address import Handed, Udp
from ..config.misspelt import refer, refuse_misplaced, refuse_misspelt, shown_as, suggests
from ..config.profiles import require_assured
from ..errors import (
    AddressError,
    AddressNotValidated,
    BackpressureError,
    ForkError,
    FrameTooLarge,
    InvalidPayload,
    IPCError,
    NotConnected,
    ProtocolError,
)
from ..wire.codec import shallow, without_attachments
from ..wire.names import DATAGRAM_RAISES
from .block import Block
from .context import LinkContext
from .elsewhere import OF_EMITTERS, OF_LOOPS
from .endpoint import ServerState, SocketPublisher, not_in
from .events import Event
from .newest import keep_of, kept_event, newest_of
from .seam import Peer
from .session import Numbered, refuse_other_threads
from .trace import Stats, Trace

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..wire.text import RawPayload
    from .newest import Keep
    from .observe import Beside
    from .outcome import Outcome
    from .seam import DatagramPort, Driver

__all__ = ["LARGEST_DATAGRAM", "DatagramCore", "DatagramPeer", "DatagramServer"]

T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])

LARGEST_DATAGRAM = 65_507
"""Bytes that a UDP datagram carries over IPv4 (65,535 with the headers)."""
AMPLIFICATION = 3
"""How many times its bytes an address gets that was not validated (RFC 9000, 8.1)."""
NAMED_ADDRESSES = 1024
"""Addresses that the application named itself, and that are remembered as such."""
HANDLERS_FACTOR = 64
"""A port has so many times the ``max_handler_frames`` and ``max_handler_bytes`` of a connection: all its peers share
it. Of handlers never more than ``MOST_HANDLERS``."""
MOST_HANDLERS = 16_384
BOOKKEEPING = 256
"""Bytes counted for each datagram that waits, besides its own."""
LOOK_AGAIN_SECONDS = 0.01
"""How often a port is asked whether the kernel has taken everything, while somebody waits for that."""

_S = ServerState
_LEFT_OUT: Any = {}


WITHOUT_LINKS = "events both ways, emit and on: requests need a connection, as serve() and connect() make"


class DatagramPeer(Numbered):
    """An address that a datagram came from: what handlers get as ``socket``.

    ``socket["address"]`` works as well as ``socket.address``, as in node-ipc, and ``dict(socket)`` is a plain one.
    Two peers of one server are equal when their addresses are.

    Attributes:
        id: A number that no other peer of this server ever had.
        address: The numeric address.
        port: The port.
        claimed_id: What the peer calls itself, with ``identify_peer``: a claim, never an identity.
        validated: Whether the address is known to be real; until then it gets three times the bytes it sent, at most.
            True on loopback and for addresses that the application named itself. Set it when your own protocol has
            shown that whoever is there reads what you send.
        heard_at: When the last whole message came, in seconds of the driver's clock.

    Example:
        >>> def heard(data, peer):
        ...     peer.emit("message", f"{peer.address}:{peer.port} said {data}")
    """

    __slots__ = (
        "_context",
        "_made_at",
        "_server",
        "_state",
        "address",
        "bytes_in",
        "bytes_out",
        "claimed_id",
        "errors",
        "heard_at",
        "messages_in",
        "messages_out",
        "port",
        "validated",
    )

    def __init__(self, server: DatagramCore, id: int, address: str, port: int, validated: bool) -> None:
        self._number = id
        self.address = address
        self.port = port
        self.claimed_id: Any = None
        self.validated = validated
        self.heard_at = 0.0
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = self.errors = 0
        self._made_at = server._now()
        self._server = server
        self._state: dict[str, Any] | None = None
        self._context: LinkContext | None = None

    def context(self) -> LinkContext:
        """What its handlers set in context variables."""
        if self._context is None:
            self._context = LinkContext()
        return self._context

    def __repr__(self) -> str:
        return f"<DatagramPeer {self.id} {self.peer}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatagramPeer) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.address, self.port))

    def _key(self) -> tuple[str, int, int]:
        return self.address, self.port, id(self._server)

    @property
    def family(self) -> str:
        """``IPv4`` or ``IPv6``, as in Node."""
        return "IPv6" if ":" in self.address else "IPv4"

    @property
    def peer(self) -> Peer:
        """The same address in the form that sockets of streams have it."""
        return Peer("udp6" if ":" in self.address else "udp4", host=self.address, port=self.port)

    @property
    def state(self) -> dict[str, Any]:
        """A place for your own data about this peer; it is gone when the peer is forgotten."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether emits are still taken."""
        return self._server.state is _S.LISTENING

    def keys(self) -> Iterator[str]:
        return iter(("address", "family", "port"))

    def __getitem__(self, name: str) -> Any:
        if name not in ("address", "family", "port"):
            raise KeyError(name)
        return getattr(self, name)

    @overload
    def emit(self, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    def emit(self, type: Any, data: Any = _LEFT_OUT, keep: Keep = None) -> bool:
        """Send one event to this address (in raw mode: ``emit(payload)``); as ``server.emit``."""
        return self._server.emit(self, type, data, keep=keep)

    def stats(self) -> Stats:
        """What went between the port and this address since it is known."""
        return Stats(
            messages_in=self.messages_in,
            messages_out=self.messages_out,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            errors=self.errors,
            seconds=self._server._now() - self._made_at,
        )

    def forget(self) -> None:
        """Out of the table: broadcasts do not reach it until it is heard again."""
        self._server._forget(self)

    # What events.py asks of a sender

    def beat(self, asked: bool, data: Any) -> None:
        """UDP has no heartbeat."""

    def attachments_agreed(self, data: Any) -> None:
        """UDP has no attachments."""

    def decode_rest_anew(self) -> None:
        """What a datagram brought is decoded before the first of it is delivered; handlers take it in either form."""

    def handler_started(self) -> int:
        return self._server._handler_started()

    def handler_done(self, size: int) -> None:
        self._server._handler_done(size)

    def cancel_when_lost(self, task: Any) -> None:
        """There is no link to lose."""

    def keep_when_lost(self, task: Any) -> None: ...

    def __dir__(self) -> list[str]:
        """Without the verbs that are called otherwise here."""
        return [name for name in super().__dir__() if hasattr(self, name)]


refer(
    DatagramPeer,
    {
        **dict.fromkeys(
            ("on", "once", "off"), "that of the port, whose handlers get the peer as their second argument"
        ),
        **dict.fromkeys(("call", "handle", "request"), WITHOUT_LINKS),
        **dict.fromkeys(("join", "leave", "rooms"), "emit(type, data) of each: UDP has no connections in rooms"),
        **dict.fromkeys(("abort", "close", "disconnect"), "forget(): UDP has no connections to close"),
        **dict.fromkeys(("send", "write"), "emit(type, data)"),
        "remote_address": "address and port",
    },
)


class DatagramCore(SocketPublisher[DatagramPeer]):
    """A bound UDP port. In UDP every end is one: whoever wants to hear answers binds a port of its own.

    What all fronts have, since nothing in it waits; ``stop`` is begun here by ``begin_stop``.
    """

    _made_by = "node_ipc.serve_udp('host:port'), node_ipc.blocking.serve_udp('host:port') or ipc.serve_udp()"

    elsewhere = OF_EMITTERS | {
        "event": "@server.on('name')",
        "path": "address, which says where it is bound",
        "server": "address and port; the kernel's socket stays inside",
        "close": "stop(), which sends what was emitted first, or abort()",
        **dict.fromkeys(("receive", "recv"), "on(event, handler): what comes is heard by handlers"),
        **dict.fromkeys(("send", "sendto", "write"), "emit(socket, type, data) or broadcast(type, data)"),
        **OF_LOOPS,
        **dict.fromkeys(("call", "handle", "request", "request_all"), WITHOUT_LINKS),
        **dict.fromkeys(("clients", "connections"), "sockets, those heard lately"),
        "join": "emit(socket, type, data) for each: UDP has no connections that could be in a room",
        "to": "emit(socket, type, data) for each: UDP has no connections that could be in a room",
        "rooms": "emit(socket, type, data) for each: UDP has no connections that could be in a room",
    }

    def __init__(
        self: Self,  # as an attribute's type needs it said
        address: Udp | Handed,
        driver: Driver,
        settings: Config,
    ) -> None:
        require_assured(address, settings, "server")
        super().__init__(driver, settings, DATAGRAM_RAISES, decodes_late=False)
        self.address: Address = address
        """Where it is bound; once started, with the real port."""
        self._family = _family(address)
        self._codec = without_attachments(self._codec)
        self._splitter = self._codec.splitter()
        self._port: DatagramPort | None = None  # while listening
        self._binding: DatagramPort | None = None  # from start to the end
        self._peers: OrderedDict[tuple[str, int], DatagramPeer] = OrderedDict()
        self._ids = 0
        self._named: dict[tuple[str, int], None] = {}
        # Emits before the port is bound, and from other threads; each is a frame, where it goes, and its event where
        # the next one may replace it.
        self._waiting: list[tuple[bytes, Any, str]] = []
        self._waiting_bytes = 0
        # Async handlers under way, and the datagrams that wait for them to end.
        self._handlers = self._handler_bytes = self._size = 0
        self._busy = False  # as many handlers as may be are at work
        self._held: deque[tuple[bytes, str, int]] = deque()
        self._held_bytes = 0
        self._block = Block()
        self._watching = False

    def __repr__(self) -> str:
        return f"<DatagramServer {self.address} {self._state.value}, {len(self._peers)} peers>"

    @property
    def sockets(self) -> list[DatagramPeer]:
        """The addresses heard within ``udp_peer_ttl``, the one that is silent for longest first."""
        self._forget_silent()
        return list(self._peers.values())

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait for the kernel to take them, or for a host's name."""
        return 0 if self._binding is None else self._binding.pending_bytes()

    # ---- traces and statistics

    def stats(self) -> Stats:
        """What this port did since it was made; ``dropped``: not sent, or not delivered, because of a limit."""
        return self._sum((), self.pending_bytes)

    # ---- out

    @overload
    def emit(self, socket: Any, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, socket: Any, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    @shown_as("DatagramServer.emit")
    def emit(self, socket: Any, type: Any, data: Any = _LEFT_OUT, keep: Keep = None) -> bool:
        """Send one event in one datagram (in raw mode: ``emit(socket, payload)``); never waits.

        Args:
            socket: what a handler got, ``{"address": host, "port": port}`` or ``(host, port)``; the host may be a name,
                which is looked up once.
            keep: ``"latest"``: a datagram of this event that was emitted so to this address, and still waits here for
                the kernel or a name, is not sent, since this one takes its place; ``stats().replaced`` counts.

        Returns True, or False while more than ``soft_pending_bytes`` wait for the kernel or for a name. Raises
        :class:`FrameTooLarge` above 65,507 bytes, :class:`AddressError` where ``socket`` is no address (an emit never
        goes to everybody: that is ``broadcast``), :class:`AddressNotValidated` for an answer that is too large for an
        address that may be forged, :class:`BackpressureError` above ``max_pending_bytes``, :class:`NotConnected`
        before ``start()`` and after ``stop()``, and a :class:`ProtocolError` for a name or payload that cannot be
        sent; nothing is sent then. Safe from any thread.
        """
        if keep is not None or (type.__class__ is not str and keep_of(type) is not None):
            return self._emit_newest(socket, type, data, keep)
        driver = self._driver
        if self._port is None or driver.thread() != driver.home:
            return self._emit_guarded(socket, type, data)
        return self._send(self._frame(type, data), socket)

    def _emit_newest(self, socket: Any, type: Any, data: Any, keep: Keep) -> bool:
        try:
            event = newest_of(type, keep, self._codec.raw)
        except TypeError:
            if isinstance(socket, str):  # a host and a port, as two arguments
                self._named_by_application(socket)
            raise
        if self._port is None or self._driver.thread() != self._driver.home:
            return self._emit_guarded(socket, type, data, event)
        return self._send(self._frame(type, data), socket, event)

    def _frame(self, type: Any, data: Any) -> bytes:
        frame = self._codec.encode(type, data)
        if len(frame) > LARGEST_DATAGRAM:
            what = "raw bytes" if self._codec.raw else repr(getattr(type, "name", type))
            raise FrameTooLarge(
                f"cannot emit {what}: the datagram would have {len(frame)} bytes, and UDP carries at most "
                f"{LARGEST_DATAGRAM}: send it in parts, or over TCP"
            )
        return frame

    def _send(self, frame: bytes, socket: Any, event: str = "") -> bool:
        port, settings = self._port, self._settings
        assert port is not None
        pending = port.pending_bytes()
        if pending and pending + len(frame) > settings.max_pending_bytes:
            raise BackpressureError(
                f"{pending} bytes wait for the kernel or for a host's name, and {len(frame)} more would pass "
                f"max_pending_bytes ({settings.max_pending_bytes}); nothing was sent. Emit less, or raise the limit"
            )
        if isinstance(socket, DatagramPeer) and socket._server is self:
            if not (socket.validated or self._affords(socket, frame)):
                raise _too_much(frame, socket)
            socket.messages_out += 1
            socket.bytes_out += len(frame)
            place = socket.address, socket.port
        else:
            place = self._named_by_application(socket)
        if event:
            self._send_newest(frame, place, event, socket)
        else:
            port.send(frame, *place)
        self._sent(place, 1, len(frame))
        if pending > settings.soft_pending_bytes:
            self._watch()
            return False
        return True

    def _sent(self, to: Any, messages: int, bytes: int) -> None:
        self._gone.messages_out += messages
        self._gone.bytes_out += bytes
        if self._traces.traffic is not None:
            self._traces.traffic(Trace("sent", self, None, messages, bytes, to))

    def _send_newest(self, frame: bytes, place: tuple[str, int], event: str, to: Any) -> None:
        assert self._port is not None
        size = self._port.send_newest(frame, *place, event)
        if size:  # that one was counted as sent when it was emitted
            if isinstance(to, DatagramPeer):
                to.messages_out -= 1
                to.bytes_out -= size
            self._gone.messages_out -= 1
            self._gone.bytes_out -= size
            self._note_replaced()

    def _note_replaced(self) -> None:
        self._gone.replaced += 1
        self._tell("replaced", messages=1)

    def _affords(self, peer: DatagramPeer, frame: bytes) -> bool:
        return peer.bytes_out + len(frame) <= AMPLIFICATION * peer.bytes_in

    def _named_by_application(self, socket: Any) -> tuple[str, int]:
        """The address in an emit, checked once; naming it makes it validated."""
        place = _place(socket)
        if place not in self._named:
            self._check(*place)
            if len(self._named) >= NAMED_ADDRESSES:
                del self._named[next(iter(self._named))]
            self._named[place] = None
            if place in self._peers:
                self._peers[place].validated = True
        return place

    def _check(self, host: str, port: int) -> None:
        if Udp(host, port, self._family).port == 0:
            raise AddressError(f"cannot emit to port 0 of {host!r}: nobody can be there")

    @overload
    def broadcast(
        self, type: Event[T], data: T, *, exclude: Collection[DatagramPeer] = ..., keep: Keep = ...
    ) -> bool: ...
    @overload
    def broadcast(
        self, type: str | RawPayload, data: Any = ..., *, exclude: Collection[DatagramPeer] = ..., keep: Keep = ...
    ) -> bool: ...
    def broadcast(
        self,
        type: Any,
        data: Any = _LEFT_OUT,
        *misplaced: Any,
        exclude: Collection[DatagramPeer] = (),
        keep: Keep = None,
        **misspelt: Any,
    ) -> bool:
        """Send one event to every address heard within ``udp_peer_ttl`` but those in ``exclude``; never waits.

        ``keep="latest"`` is that of ``emit``, for each address.

        Returns True, or False where an address was left out, or more than ``soft_pending_bytes`` wait for the kernel.
        What a limit holds back is counted in ``stats().dropped`` and reported as one ``error`` event.
        """
        if misspelt:
            refuse_misspelt("broadcast", misspelt, ("type", "data", "exclude", "keep"))
        if misplaced:
            refuse_misplaced("broadcast", misplaced, ("exclude", "keep"))
        refuse_other_threads(self._driver, "broadcast")
        event = kept_event(type, keep, self._codec.raw) or ""
        frame = self._frame(type, data)
        port = self._port
        if port is None:  # nobody was heard
            self._tell_if_nobody_hears("broadcast")
            return True
        self._forget_silent()
        limit, sent, forged, full = self._settings.max_pending_bytes, 0, 0, 0
        for peer in not_in(exclude, self._peers.values(), "broadcast") if exclude else self._peers.values():
            if not (peer.validated or self._affords(peer, frame)):
                forged += 1
            elif (pending := port.pending_bytes()) and pending + len(frame) > limit:
                full += 1
            else:
                peer.messages_out += 1
                peer.bytes_out += len(frame)
                if event:
                    self._send_newest(frame, (peer.address, peer.port), event, peer)
                else:
                    port.send(frame, peer.address, peer.port)
                sent += 1
        self._sent("all", sent, sent * len(frame))
        if forged or full:
            self._held_back(forged, full)
            return False
        if port.pending_bytes() <= self._settings.soft_pending_bytes:
            return True
        self._watch()
        return False

    def _held_back(self, forged: int, full: int) -> None:
        self._drop(forged + full)
        if forged:
            self.session_fault(
                None,
                AddressNotValidated(
                    f"a broadcast left out {forged} addresses that may be forged and have had {AMPLIFICATION} times "
                    "the bytes that came from them: set socket.validated = True once you know that one is real"
                ),
            )
        if full:
            self.session_fault(
                None,
                BackpressureError(
                    f"a broadcast did not reach {full} addresses: the kernel does not take datagrams as fast as they "
                    f"are emitted, and max_pending_bytes ({self._settings.max_pending_bytes}) is reached"
                ),
            )

    # ---- emits that have to wait

    def _emit_guarded(self, socket: Any, type: Any, data: Any, event: str = "") -> bool:
        """``emit`` before the port is bound, in another thread, in a forked child, or when closed."""
        if self._driver.is_forked:
            raise ForkError("this process was forked: its parent owns the port. Bind one of your own in the child")
        if self._state not in (_S.STARTING, _S.LISTENING):
            then = "start() binds it" if self._ending is None else "it is bound anew behind that, which 'start' tells"
            raise NotConnected(f"cannot emit: the UDP port is {self._state.value}; {then}")
        frame = self._frame(type, data)
        if not isinstance(socket, DatagramPeer):
            self._check(*_place(socket))
        with self._driver.lock:
            first = not self._waiting
            self._bound_waiting(len(frame))
            old = self._waiting_newest(socket, event)
            if old is not None:
                self._waiting_bytes -= len(self._waiting.pop(old)[0])
            self._waiting.append((frame, socket, event))
            self._waiting_bytes += len(frame)
        if old is not None:
            self._note_replaced()
        if first and self._state is _S.LISTENING:
            self._driver.call_from_thread(self.hand_over)
        return True

    def _waiting_newest(self, socket: Any, event: str) -> int | None:
        if event:
            for index in range(len(self._waiting) - 1, -1, -1):
                if self._waiting[index][2] == event and self._waiting[index][1] == socket:
                    return index
        return None

    def _bound_waiting(self, size: int) -> None:
        settings = self._settings
        most: int | None
        if self._state is _S.STARTING:
            most, limit, option = settings.max_queued_messages, settings.max_queued_bytes, "max_queued_messages/_bytes"
        else:
            most, limit, option = None, settings.max_pending_bytes, "max_pending_bytes"
        count = len(self._waiting)
        if (most is not None and count >= most) or (count and self._waiting_bytes + size > limit):
            raise BackpressureError(
                f"{count} messages of {self._waiting_bytes} bytes wait to be sent already ({option}): emit less at once"
            )

    def hand_over(self) -> None:
        """What other threads have emitted goes before what this one does next."""
        if self._port is None:  # closed since: what waits is dropped there
            return
        with self._driver.lock:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for frame, socket, event in waiting:
            try:
                self._send(frame, socket, event)
            except IPCError as error:
                self._drop(1)
                self.session_fault(None, error)

    # ---- life

    def _beside(self, address: Address, settings: Config) -> Beside:
        from .server import ServerCore  # only for those who want it

        return ServerCore(address, self._driver, settings)

    def _listen(self) -> None:
        self._tell("starting", self.address)
        self._binding = self._driver.bind(self.address, self, self._settings)

    def _serve_no_more(self, seconds: float) -> None:
        self.hand_over()
        self._hear_no_more()

    def forked(self) -> None:
        """The driver's ``home`` says it, which each call looks at."""

    def unsent(self) -> int:
        return len(self._waiting)

    def _now(self) -> float:
        return self._driver.now()

    def _look_whether_empty(self) -> None:
        if self._binding is None:
            return
        if self._binding.pending_bytes():
            self._driver.call_later(LOOK_AGAIN_SECONDS, self._look_whether_empty)
        else:
            self._input("emptied")

    def _expire(self) -> None:
        self._driver.call_later(0, partial(self._input, "emptied"))

    def _hear_no_more(self) -> None:
        self._port = None
        self._held.clear()
        self._block.stop()

    def _give_up(self) -> None:
        super()._give_up()
        self._hear_no_more()
        binding, self._binding = self._binding, None
        assert binding is not None
        binding.close()
        with self._driver.lock:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._drop(len(waiting))
        self._peers.clear()
        self._held_bytes = 0

    def _watch(self) -> None:
        """Look again and again until the kernel has taken everything, and say so."""
        if not self._watching:
            self._watching = True
            self._driver.call_later(LOOK_AGAIN_SECONDS, self._look)

    def _look(self) -> None:
        self._watching = False
        if self._port is None:
            return
        if self._port.pending_bytes():
            self._watch()
            return
        self._drained()

    # ---- the driver's receiver

    def bound(self, address: Address) -> None:
        self.address = address
        self._input("listening")

    def _begin_to_serve(self) -> None:
        self._port = self._binding
        if self._driver.has_small_stack:
            self._codec = shallow(self._codec)
        self._tell("listening", self.address)
        self.hand_over()
        self.events.publish_state("connect", self)

    def not_bound(self, error: Exception) -> None:
        self._input("failed", error)

    def datagram_error(self, error: Exception) -> None:
        assert isinstance(error, IPCError)
        self.session_fault(None, error)

    def datagram(self, data: bytes, host: str, port: int) -> None:
        if self._port is None:
            return
        if self._busy:
            self._hold(data, host, port)
        else:
            self._take(data, host, port)

    def _take(self, data: bytes, host: str, port: int) -> None:
        peer = self._peers.get((host, port)) or self._newcomer(host, port)
        peer.bytes_in += len(data)
        self._gone.bytes_in += len(data)
        self._size = len(data)
        if self._traces.traffic is not None:
            before = self._gone.messages_in
            self._receive(data, peer)
            self._traces.traffic(Trace("received", self, peer, self._gone.messages_in - before, len(data)))
        else:
            self._receive(data, peer)

    def _receive(self, data: bytes, peer: Any) -> None:
        if self._codec.raw:
            self._count(peer, 1)
            self._remember(peer)
            self.events.publish("data", data, peer, session=peer)
            return
        frames, fault = self._split(data, peer)
        if frames:
            self._deliver_all(frames, peer)
        if fault is not None:
            self.session_fault(peer, fault)

    def _count(self, peer: DatagramPeer, messages: int) -> None:
        peer.messages_in += messages
        self._gone.messages_in += messages

    def _split(self, data: bytes, peer: DatagramPeer) -> tuple[list[Any], ProtocolError | None]:
        """The frames of a datagram, and what is wrong behind them."""
        splitter = self._splitter
        frames = splitter.split(data)
        fault = splitter.fault
        if fault is None and frames and not splitter.rest:
            return frames, None
        self._splitter = self._codec.splitter()
        if fault is not None:
            return frames, fault
        return [], ProtocolError(
            f"a datagram of {len(data)} bytes from {peer.peer} does not end with a whole message: it is dropped, since "
            "nothing of UDP is carried over to the next one. Is the delimiter the same at both ends?"
        )

    def _deliver_all(self, frames: list[Any], peer: DatagramPeer) -> None:
        codec = self._codec
        decode = codec.decode_raw if self.events.wants_raw else codec.decode
        try:
            envelopes = list(map(decode, frames))
        except (msgspec.MsgspecError, RecursionError, ValueError, MemoryError):
            self._deliver_each(frames, decode, peer)
            return
        self._deliver_from(envelopes, peer)

    def _deliver_each(self, frames: list[Any], decode: Callable[[Any], Any], peer: DatagramPeer) -> None:
        """One of the frames is not sound: those before it are delivered."""
        for frame in frames:
            if self._port is None:
                return
            try:
                envelope = self._decoded(frame, decode)
            except ProtocolError as fault:
                self.session_fault(peer, fault)
                return
            if isinstance(envelope, InvalidPayload):
                self.session_fault(peer, envelope)
                continue
            self._deliver_from([envelope], peer)

    def _decoded(self, frame: Any, decode: Callable[[Any], Any]) -> Any:
        try:
            return decode(frame)
        except ProtocolError:
            raise
        except (msgspec.MsgspecError, RecursionError, ValueError, MemoryError):
            return self._codec.salvage(frame)

    def _deliver_from(self, envelopes: list[Any], peer: DatagramPeer) -> None:
        """Messages of a sender, who is remembered unless the very first has a name that the profile refuses."""
        self._count(peer, len(envelopes))
        new = self._remember(peer)
        if not self._deliver(envelopes, peer) and new:
            self._peers.pop((peer.address, peer.port), None)

    def _deliver(self, envelopes: list[Any], peer: DatagramPeer) -> bool:
        """Whether the profile lets the first name in."""
        block = self._block
        outer = block.messages, block.rest  # of the datagram whose handler reads this one
        try:
            peer.context().run(self.events.deliver, block.begin(envelopes), peer)
        except ProtocolError as error:  # a name that the profile refuses
            self.session_fault(peer, error)
            return block.position > 0
        except BaseException:  # KeyboardInterrupt, SystemExit: who catches them goes on with the next message
            self._driver.call_later(0, partial(self._deliver_rest, block.stop(), peer))
            raise
        finally:
            block.messages, block.rest = outer
            if self._port is None:
                block.stop()
        return True

    def _deliver_rest(self, envelopes: list[Any], peer: DatagramPeer) -> None:
        if self._port is not None:
            self._deliver(envelopes, peer)

    # ---- the table

    def _newcomer(self, host: str, port: int) -> DatagramPeer:
        self._ids += 1
        validated = host.startswith("127.") or host == "::1" or (host, port) in self._named
        return DatagramPeer(self, self._ids, host, port, validated)

    def _remember(self, peer: DatagramPeer) -> bool:
        """A whole message came from there; whether it is the first."""
        key = (peer.address, peer.port)
        peer.heard_at = self._driver.now()
        if key in self._peers:
            self._peers.move_to_end(key)
            return False
        self._forget_silent()
        if len(self._peers) < self._settings.max_udp_peers:
            self._peers[key] = peer
        return True

    def _forget_silent(self) -> None:
        peers = self._peers
        silent_since = self._driver.now() - self._settings.udp_peer_ttl / 1000
        while peers and next(iter(peers.values())).heard_at < silent_since:
            peers.popitem(last=False)

    def _forget(self, peer: DatagramPeer) -> None:
        refuse_other_threads(self._driver, "forget")
        self._peers.pop((peer.address, peer.port), None)

    # ---- async handlers

    def _handler_started(self) -> int:
        self._handlers += 1
        self._handler_bytes += self._size
        self._busy = self._busy or self._overloaded()
        return self._size

    def _handler_done(self, size: int) -> None:
        self._handlers -= 1
        self._handler_bytes -= size
        self._busy = self._overloaded()
        while self._held and not self._busy:
            data, host, port = self._held.popleft()
            self._held_bytes -= len(data) + BOOKKEEPING
            self._take(data, host, port)

    def _overloaded(self) -> bool:
        settings = self._settings
        return (
            self._handlers >= min(settings.max_handler_frames * HANDLERS_FACTOR, MOST_HANDLERS)
            or self._handler_bytes >= settings.max_handler_bytes * HANDLERS_FACTOR
        )

    def _hold(self, data: bytes, host: str, port: int) -> None:
        """As many handlers as may be are at work: keep some datagrams, as the kernel would, and drop the rest."""
        size = len(data) + BOOKKEEPING
        if self._held_bytes + size > self._settings.max_handler_bytes:
            self._drop(1)
            return
        self._held.append((data, host, port))
        self._held_bytes += size


class DatagramServer(DatagramCore, metaclass=ABCMeta):
    """A bound UDP port. In UDP every end is one: whoever wants to hear answers binds a port of its own.

    Made by ``ipc.serve_udp`` and, as :class:`AsyncDatagramServer`, by ``node_ipc.serve_udp``. That of
    ``node_ipc.blocking`` counts as one to ``isinstance``, and differs in what waits.
    """

    takes_options = "before it is made, as ipc.config.{} = …"

    @suggests
    def stop(self, timeout: float | None = None) -> Outcome[Self]:
        """Receive nothing more, send what was emitted, close the port.

        Args:
            timeout: the seconds it may take, after which what is not sent is dropped; ``None`` is ``close_timeout``.
        """
        return self.begin_stop(timeout)


def _family(address: Udp | Handed) -> Literal["udp4", "udp6"]:
    where = address.where if isinstance(address, Handed) else address
    if not isinstance(where, Udp):
        raise AddressError(f"{where} has no datagrams: bind udp4://host:port or udp6://[host]:port")
    return where.family


def _place(socket: Any) -> tuple[str, int]:
    """Host and port of whatever names an address."""
    if isinstance(socket, Mapping):
        host, port = socket.get("address"), socket.get("port")
    elif isinstance(socket, (tuple, list)) and len(socket) == 2:
        host, port = socket
    elif isinstance(socket, DatagramPeer):
        host, port = socket.address, socket.port
    else:
        host = port = None
    if not isinstance(host, str) or type(port) is not int:
        raise AddressError(
            f'emit takes first where to: what a handler got as socket, {{"address": host, "port": port}} or '
            f"(host, port), not {socket!r:.80}. To send to everybody heard from, use broadcast(type, data)"
        )
    return host, port


def _too_much(frame: bytes, peer: DatagramPeer) -> AddressNotValidated:
    return AddressNotValidated(
        f"cannot emit {len(frame)} bytes to {peer.peer}: it sent {peer.bytes_in} and had {peer.bytes_out}, and an "
        f"address that may be forged gets at most {AMPLIFICATION} times its bytes. Set socket.validated = True once "
        "your protocol has shown that it is real, let it ask with more bytes, or emit to an address of your own choice"
    )
