"""One peer's conversation: messages to bytes, bytes to messages, limits and deadlines.

A server's socket, as handlers see it, *is* the session. It knows its codec, its link and the driver's clock; it
knows nothing of reconnecting, listening, loops or sockets.

Out: ``outgoing``, the half that has what is to be sent.

In: a read becomes a block of whole frames; the decoder is mapped over it lazily and ``events`` runs the loop.
Whoever wants the loop to stop (a handler that closes, too many async handlers under way) stops the block.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import msgspec

from ..errors import (
    BackpressureError,
    ForkError,
    InvalidPayload,
    IPCError,
    MessageTimeout,
    NotConnected,
    ProtocolError,
    WrongLoopError,
    WrongThreadError,
)
from ..wire.codec import shallow
from ..wire.costs import LARGE_FRAME
from ..wire.framing import half_a_message
from ..wire.names import PING, PONG
from .asking import Asking
from .block import NOTHING, Block
from .context import LinkContext, directly
from .holdings import PER_HANDLER, SMALL, everybody
from .outcome import seconds_to_end
from .outgoing import CLOSED, COUNTED_BYTES, FLUSH_FRAMES, LATE_SECONDS, NEVER, Outgoing
from .seam import FORKED, Gone
from .trace import Stats, Trace

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..wire.codec import Codec, Splits
    from ..wire.text import RawPayload
    from .events import Event, Events
    from .heartbeat import Heartbeat
    from .outcome import Outcome, Progress
    from .seam import Cancellable, Driver, Link, Peer, Timer
    from .trace import TraceHook

__all__ = ["Loss", "Owner", "Session", "broadcast", "refuse_other_threads"]

T = TypeVar("T")

INSTANT = 1e-6
"""Seconds by which a timer may come early: clocks and delays are rounded."""
LOOK_SECONDS = 1.0
"""Between two looks at a link that is not read; a pause that lasts as long is told."""
TOLD_AFTER = {"inbox": 10.0}
"""Seconds of a pause without a break after which it is told, where that is more: a consumer may be slow."""
ENDING_SECONDS = 1.0
"""How long handlers under way may still answer a peer that ended while they held up what it had sent before."""
PEEKED_BYTES = 1024 * 1024
"""What is read of a peer in one pause for signs of life, at most: one read for each look."""
PEEKS_AT = frozenset({"handlers", "inbox"})
READS_ON = sys.platform == "win32"
"""Windows tells of a link's end only to those who read all that came before it: a look goes on until it has read
``PEEKED_BYTES``. Elsewhere it must not, since a peer takes two reads within a second for a proof that what it sent was
handled."""
PING_FRAME = b'"%s"' % PING.encode()
MOST_REQUESTS = 16_384
"""Requests of one peer that async handlers work on at once; past that the peer waits."""

NOT_PAUSED: frozenset[str] = frozenset()


FOR_USERS = (
    *("abort", "address", "claimed_id", "close", "emit", "id", "is_open", "join", "leave", "loss", "peer"),
    *("pending_bytes", "request", "rooms", "state", "stats"),
)
"""What ``dir(socket)`` shows."""


class _Ended:
    """What cuts the bytes of a link that ends, or of which nothing can be made any more: nothing is kept of them."""

    rest = b""

    def __init__(self, fault: ProtocolError | None = None) -> None:
        self.fault = fault

    def split(self, chunk: bytes) -> list[bytes]:
        return []

    def hopeless(self, begun: bytes | bytearray) -> None:
        """Nobody waits for the rest of it."""


ENDED = _Ended()


class Loss(msgspec.Struct, frozen=True):
    """What a lost link took with it.

    Attributes:
        reason: Why the link ended; None after an orderly end.
        dropped: Messages that were emitted and never reached the kernel.
        in_flight: Messages that the kernel took and nothing proves to have arrived: so many are lost at the
            most, none is sent again. Proofs are the answer to a request behind them, a heartbeat's, on a
            Unix socket of Linux that the peer has read on behind them, and after your own ``close`` the
            peer's orderly end. TCP and pipes tell nothing by themselves: there it is every message since
            the last answer.
        unheard: Messages of the peer's that had arrived and that no handler heard: this side had closed or
            cut the link.
        cut_off: Bytes of a message that the peer had begun and the link's end cut off.

    Example:
        >>> @client.on("disconnect")
        ... def lost(loss):
        ...     print(f"{loss.reason}; {loss.dropped} messages lost, {loss.in_flight} in doubt")
    """

    reason: Exception | None = None
    dropped: int = 0
    in_flight: int = 0
    unheard: int = 0
    cut_off: int = 0

    def __str__(self) -> str:
        text = "in order" if self.reason is None else str(self.reason)
        if self.dropped or self.in_flight:
            text += f"; {self.dropped} messages dropped, {self.in_flight} in flight"
        if self.unheard:
            text += f"; {self.unheard} of the peer's unheard"
        if self.cut_off:
            text += f"; {self.cut_off} bytes of a message that was not complete"
        return text


class Owner(Protocol):
    """The client or server behind a session."""

    def address_of(self, session: Session) -> Address:
        """Where the server listens that the link leads to."""

    def session_opened(self, session: Session) -> None: ...
    def session_failed(self, session: Session, error: Exception) -> None:
        """No link came about."""

    def session_paused(self, session: Session, why: str) -> None:
        """Nothing has been read from it for a while; said once for each reason."""

    def session_closing(self, session: Session) -> None:
        """It takes no emits any more; ``session_lost`` follows."""

    def session_lost(self, session: Session, loss: Loss) -> None: ...
    def session_fault(self, session: Session | None, error: IPCError) -> None:
        """Something to report as an ``error`` event."""

    def request_from(
        self,
        session: Session,
        method: str | Event[Any],
        params: Any,
        *,
        timeout: float | None,
        type: Any,
        progress: Progress | None = None,
    ) -> Outcome[Any]:
        """Ask the peer of this session."""

    def rooms_of(self, session: Session) -> frozenset[str]:
        """The rooms that it is in."""

    def join(self, session: Session, rooms: tuple[str, ...]) -> None:
        """It is in these rooms from now on."""

    def leave(self, session: Session, rooms: tuple[str, ...]) -> None:
        """It is in these rooms no more."""

    def pending_changed(self, session: Session, pending: int) -> None:
        """The kernel does not take a session's bytes (so many wait), or has taken them all (0)."""


class Session(Asking):
    """One link's two directions; on a server, the socket that handlers get.

    Attributes:
        id: A number that no other socket of this endpoint ever had.
        claimed_id: What the peer calls itself, with ``identify_peer``: a claim, never an identity.
        state: A dict for your own data about this peer.
        loss: What was lost with the link, once it is gone; None until then.

    Example:
        >>> @server.on("login")
        ... def login(data, socket):
        ...     socket.state["name"] = data["name"]
        ...     socket.emit("welcome", {"you": socket.state["name"]})
    """

    __slots__ = (  # 460 bytes for each connection; with a dict for so many attributes it was 1,640
        "__weakref__",
        "_answers",
        "_beats",
        "_block",
        "_close_timer",
        "_closing",
        "_codec",
        "_context",
        "_counted",
        "_cut_off",
        "_driver",
        "_end_answered",
        "_events",
        "_half_due_at",
        "_half_since",
        "_half_timer",
        "_handler_bytes",
        "_handlers",
        "_heartbeat",
        "_held",
        "_is_lost",
        "_leaving",
        "_link",
        "_opened_at",
        "_outgoing",
        "_owner",
        "_pause_timer",
        "_paused_at",
        "_pauses_told",
        "_peeked",
        "_peeking",
        "_peer_ended",
        "_pinged",
        "_raw",
        "_reading_paused",
        "_request_bytes",
        "_requests",
        "_serving",
        "_settings",
        "_splitter",
        "_tasks",
        "_undecoded",
        "_unheard",
        "admitted_as",
        "bytes_in",
        "claimed_id",
        "dropped",
        "errors",
        "heard",
        "id",
        "loss",
        "messages_in",
        "state",
        "trace",
        "traffic",
    )

    def __init__(
        self,
        owner: Owner,
        codec: Codec,
        events: Events[Session],
        driver: Driver,
        settings: Config,
        id: int,
        serving: bool,
    ) -> None:
        self.id = id
        self.claimed_id: Any = None
        self.state: dict[str, Any] = {}
        self.loss: Loss | None = None
        self.heard: Callable[[], None] | None = None
        """Called after each read that brought a whole message (a client's sync queue waits for it)."""
        self.admitted_as: Any = None
        """The peer under whose name the server counts this socket."""
        self._owner = owner
        self._events = events
        self._driver = driver
        self._settings = settings
        self._serving = serving
        self._link: Link | None = None
        self._context: LinkContext
        self._outgoing = Outgoing(self, codec, driver, settings)
        self._close_timer: Timer | None = None
        # in
        self._codec = shallow(codec) if driver.has_small_stack else codec
        self._splitter: Splits = codec.splitter()
        self._raw = codec.raw
        self._block = Block()
        self._undecoded = NOTHING  # the rest of a block that is to be decoded in another way
        self._unheard = 0  # messages that came when this side was closing
        self._held: list[Any] = []  # frames that wait until async handlers are done
        self._handlers = self._handler_bytes = self._requests = self._request_bytes = 0
        self._counted = 0  # the bytes that this session is entered with in what all peers make us hold
        self._answers = 0  # that somebody waits for
        self._reading_paused: frozenset[str] = NOT_PAUSED
        self._half_since: float | None = None
        self._half_timer: Timer | None = None
        self._heartbeat: Heartbeat | None = None
        self._beats = 0  # heartbeats of the peer's among the messages of a read; counted while somebody waits for one
        self._closing = False
        self._peer_ended = self._is_lost = False
        self._leaving = False  # the peer ended while reading was paused: what it sent is handled, nothing waits
        self._tasks: set[Cancellable] | None = None  # of handlers that end with the link
        # while reading is paused
        self._pause_timer: Timer | None = None
        self._paused_at = 0.0
        self._pauses_told: frozenset[str] = NOT_PAUSED
        self._peeked = 0  # bytes that were read all the same
        self._peeking = False
        self._pinged = False  # the peer has a heartbeat, and wants to hear of us
        self._cut_off = 0  # bytes of a half message at the end
        self._end_answered = False  # the peer's end came after ours
        # statistics: each line that moves a counter is where a trace is told
        self.bytes_in = self.messages_in = self.dropped = self.errors = 0
        self.trace: TraceHook | None = None
        """Hears what happens on this link, but for reads and writes; set by the endpoint's ``on_trace``."""
        self.traffic: TraceHook | None = None
        """Hears of each read and write."""
        self._opened_at = 0.0

    def __repr__(self) -> str:
        claimed = "" if self.claimed_id is None else f" claims {self.claimed_id!r:.40}"
        state = "closed" if self._outgoing.home == CLOSED else "open"
        return f"<Socket {self.id} {self.peer if self._link else 'unopened'}{claimed} {state}>"

    def __dir__(self) -> list[str]:
        """What is for users; the rest is between this library's own parts."""
        return sorted(FOR_USERS)

    @property
    def address(self) -> Address:
        """Where the server listens that this link leads to; who is at the other end, and where, is ``peer``."""
        return self._owner.address_of(self)

    @property
    def peer(self) -> Peer:
        """Who is at the other end, as the kernel or the TLS handshake tells it."""
        if self._link is None:
            raise NotConnected("this socket has no link yet")
        return self._link.peer

    @property
    def opened_at_all(self) -> bool:
        """Whether there is, or was, a link."""
        return self._link is not None

    @property
    def is_open(self) -> bool:
        """Whether emits are still taken."""
        return self._outgoing.home != CLOSED

    @property
    def takes_more(self) -> bool:
        """Whether no more than ``soft_pending_bytes`` wait for the peer: what ``emit`` returns."""
        return self._outgoing.below_soft

    @property
    def is_full(self) -> bool:
        """Whether the kernel takes nothing more for now, so that what is emitted waits here."""
        return self._outgoing.is_full

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait for the peer to take them."""
        return self._outgoing.weigh()

    @property
    def messages_out(self) -> int:
        """How many messages were given to the kernel."""
        return self._outgoing.messages_out

    @property
    def bytes_out(self) -> int:
        """How many bytes they had."""
        return self._outgoing.bytes_out

    # ---- rooms

    @property
    def rooms(self) -> frozenset[str]:
        """The names of the rooms that this socket is in; inside its ``close`` handlers still those it was in."""
        return self._owner.rooms_of(self)

    def join(self, *rooms: str) -> None:
        """Be in these rooms: ``server.to(room).emit(…)`` reaches this socket. It leaves by itself when it is gone.

        A name is text of 1 to 256 characters. Raises :class:`InvalidEvent` for anything else,
        :class:`BackpressureError` past ``max_rooms_per_socket``, :class:`NotConnected` where the socket is closed; then
        it has joined none of them.
        """
        self._refuse_other_threads("join")
        self._owner.join(self, rooms)

    def leave(self, *rooms: str) -> None:
        """Be in these rooms no more; those it was not in are passed over."""
        self._refuse_other_threads("leave")
        self._owner.leave(self, rooms)

    # ---- out

    @overload
    def emit(self, type: Event[T], data: T) -> bool: ...
    @overload
    def emit(self, type: str | RawPayload, data: Any = ...) -> bool: ...
    def emit(self, type: Any, data: Any = {}) -> bool:  # noqa: B006 - never changed: data left out is {}
        """Send one event to this peer (in raw mode: ``emit(payload)``); never waits.

        Returns True, or False while more than ``soft_pending_bytes`` wait for the peer. Raises
        :class:`BackpressureError` above ``max_pending_bytes`` (nothing is sent, the link stays),
        :class:`NotConnected` when the socket is closed, and a :class:`ProtocolError` for a name or payload that
        cannot be sent. Safe from any thread.
        """
        out = self._outgoing
        if out.thread() != out.home:
            return self._emit_guarded(type, data)
        frame = out.encode(type, data)
        frames = out.frames
        frames.append(frame)
        if out.corked and len(frames) % FLUSH_FRAMES and len(frame) <= COUNTED_BYTES:
            return out.below_soft
        return out.press(frame)

    def push(self) -> None:
        """Give the kernel what was emitted so far, and not at the end of the turn; in another thread, nothing."""
        out = self._outgoing
        if out.thread() == out.home:
            out.push()

    def write_frame(self, frame: bytes) -> bool:
        """Send a frame that is encoded already; otherwise as ``emit``."""
        return self._outgoing.write(frame)

    def ask(
        self, method: str | Event[Any], params: Any, timeout: float | None, type: Any, progress: Progress | None
    ) -> Outcome[Any]:
        return self._owner.request_from(self, method, params, timeout=timeout, type=type, progress=progress)

    def put(self, frame: bytes) -> Session:
        """Send a frame of ``encode``'s, as ``emit``; in this thread only."""
        if self._outgoing.home == CLOSED:
            raise NotConnected("cannot request: this socket is closed")
        self.write_frame(frame)
        return self

    def withdraw(self, frame: bytes) -> bool:
        """Take back a frame that still waits here, so that it is never sent; whether it did."""
        return self._outgoing.withdraw(frame)

    def write_queue(self, frames: list[bytes]) -> None:
        """Send what waited for the link, within the limits of that queue; right after opening or before closing."""
        self._outgoing.frames += frames

    def encode(self, type: Any, data: Any = {}) -> bytes:  # noqa: B006 - never changed
        """The frame that ``emit`` would send."""
        return self._outgoing.encode(type, data)

    def sent(self, messages: int, size: int) -> None:
        """So much went to the link, and ``traffic`` listens."""
        if self.traffic is not None:
            self.traffic(Trace("sent", self._owner, self, messages, size))

    def pending_changed(self, pending: int) -> None:
        """So many bytes wait for the kernel."""
        self._owner.pending_changed(self, pending)

    def pending_judged(self, few: bool) -> None:
        """The bytes that wait are on the other side of ``soft_pending_bytes`` now."""
        if self._serving:  # an echo server cannot be flooded; two clients that did this would wait for ever
            self.pause_reading("outgoing", not few)

    @property
    def next_number(self) -> int:
        """The number that the next message gets, or one before it: for ``confirm``."""
        return self._outgoing.next_number

    @property
    def confirmed(self) -> int:
        """The number of the last message of this side that is known to have arrived; they are counted from 1."""
        return self._outgoing.confirmed

    def confirm(self, number: int) -> None:
        """The peer dealt with the message of this number, so with all before it."""
        self._outgoing.confirm(number)

    def _emit_guarded(self, type: Any, data: Any) -> bool:
        """``emit`` in another thread, in a forked child, or on a closed socket."""
        home = self._driver.home
        if home == FORKED:
            raise ForkError("this process was forked: its parent owns the link. Connect anew in the child")
        if self._outgoing.home == CLOSED:
            raise NotConnected(f"cannot emit {_named(type)}: this socket is closed")
        out = self._outgoing
        if out.post(out.encode(type, data)):
            self._driver.call_from_thread(self._take_posted)
        return out.below_soft

    def _take_posted(self) -> None:
        out = self._outgoing
        frames = out.take_posted()
        for index, frame in enumerate(frames):
            if out.home == CLOSED:
                if self._is_lost:
                    self.drop(len(frames) - index)
                else:
                    out.frames += frames[index:]  # for the loss to count
                return
            try:
                out.write(frame)
            except BackpressureError as error:
                self.drop(1)
                self._owner.session_fault(self, error)

    # ---- in

    def received(self, data: bytes) -> None:
        """The driver: bytes of a read, at most 64 KiB."""
        self.bytes_in += len(data)
        if self._heartbeat is not None:
            self._heartbeat.heard()
        splitter = self._splitter
        if self._closing:
            self._receive_for_nobody(data)
            return
        if self._peeking:
            self._end_peek(data)
        outgoing = self._outgoing
        outgoing.corked = True
        frames = splitter.split(data)
        if frames:
            self.messages_in += len(frames)
            sound = True
            if self._held or (self._reading_paused and self._handlers_busy()):
                self._held += frames
                self._answer_held_pings(frames)
            else:
                context = self._context  # as its run does: one more call would cost a tenth of a small read
                enter, context.enter = context.enter, directly
                try:
                    sound = enter(self._deliver, frames)
                finally:
                    context.enter = enter
            if sound and self.heard is not None:
                if self._beats < len(frames):
                    self.heard()
                self._beats = 0
        if self.traffic is not None:
            self.traffic(Trace("received", self._owner, self, len(frames), len(data)))
        if self._closing:
            return
        if splitter.fault is not None:
            if self._held:  # what came before it is delivered first
                self._splitter = _Ended(splitter.fault)
            else:
                self.fail(splitter.fault)
        elif splitter.rest:
            if (fault := splitter.hopeless(splitter.rest)) is not None:
                self.fail(fault)
            else:
                self._watch_half_frame(bool(frames))
                if self._counted or len(splitter.rest) > SMALL:
                    self._count()
                    self._bound_half_frames()
        elif self._half_since is not None:
            self._half_since = None
            if self._counted:
                self._count()
        if outgoing.frames:
            outgoing.uncork()
        else:
            outgoing.corked = outgoing.turn or outgoing.is_full

    def _receive_for_nobody(self, data: bytes) -> None:
        """Read and drop until the link ends."""
        if self._splitter.fault is None:
            self._unheard += len(self._splitter.split(data))
            if self._counted or len(self._splitter.rest) > SMALL:
                self._count()
        if self.traffic is not None:
            self.traffic(Trace("received", self._owner, self, 0, len(data)))

    def _deliver(self, block: Sequence[Any], held: bool = False) -> bool:
        """Call the handlers of each message; whether any message was sound.

        Of a read only the first frame can be large, since it alone may have begun before it; of what was held, each.
        """
        if self._raw:
            for chunk in block:
                self._publish_raw(chunk)
            return True
        delivery = self._block
        delivery.messages, delivery.rest = block, (frames := iter(block))  # its begin, which costs a call
        events, codec = self._events, self._codec
        decode = codec.decode_large if held or len(block[0]) > LARGE_FRAME else codec.decode
        while True:
            try:
                events.deliver(map(codec.decode_raw if events.wants_raw else decode, frames), self)
                if not self._undecoded:
                    delivery.messages = NOTHING  # each quiet connection would keep up to 64 KiB
                    return True
                block, self._undecoded = self._undecoded, NOTHING
                frames = delivery.begin(block)
            except ProtocolError as error:  # a name that the profile refuses
                before = delivery.position
                self.fail(error)
                return before > 0
            except (msgspec.MsgspecError, RecursionError, ValueError, MemoryError):
                before = delivery.position
                if not self._salvage(block[before]):
                    return before > 0
            except BaseException:  # KeyboardInterrupt, SystemExit: who catches them goes on with the next message
                self._held[:0] = [*delivery.stop(), *self._undecoded]
                self._undecoded = NOTHING
                self._driver.call_later(0, self._go_on)
                raise

    def decode_rest_anew(self) -> None:
        """A handler changed what payloads are decoded to: the rest of the block goes the new way."""
        self._undecoded = self._block.stop()

    def _go_on(self) -> None:
        """The messages that wait, and what their handlers emit."""
        self._catch_up()
        self._outgoing.uncork()

    def _catch_up(self) -> None:
        self._deliver_held()
        if not self._held and not self._handlers_busy():
            self.pause_reading("handlers", False)
            if self._peer_ended and not (self._leaving and (self._handlers or self._requests)):
                self._end()

    def _deliver_held(self) -> None:
        while self._held and not self._handlers_busy() and not self._closing:
            held, self._held = self._held, []
            self._context.run(self._deliver, held, True)
        if self._splitter.fault is not None and not self._held and not self._closing:
            self.fail(self._splitter.fault)

    def _publish_raw(self, chunk: bytes) -> None:
        if self._serving:
            self._events.publish("data", chunk, self, session=self)
        else:
            self._events.publish("data", chunk, session=self)

    def _salvage(self, frame: Any) -> bool:
        """A frame the decoder refused: deliver it, report it, or give the connection up (False)."""
        try:
            found = self._codec.salvage(frame)
            if isinstance(found, InvalidPayload):
                self._owner.session_fault(self, found)
            else:
                self._events.deliver([_undecoded(found) if self._events.wants_raw else found], self)
            return True
        except ProtocolError as error:
            self.fail(error)
            return False

    def handler_started(self) -> int:
        """An async handler of a message from this peer starts; too many, and the peer waits.

        Returns what ``handler_done`` wants back: the size of the message.
        """
        size = self.size_at_hand()
        self._handlers += 1
        self._handler_bytes += size
        self._hold_if_busy()
        return size

    def handler_done(self, size: int) -> None:
        """An async handler ended."""
        self._handlers -= 1
        self._handler_bytes -= size
        self._one_less()

    def request_started(self) -> int:
        """As ``handler_started``, for a request. Their handlers may wait for one another, so many more are let run."""
        size = self.size_at_hand()
        self._requests += 1
        self._request_bytes += size
        self._hold_if_busy()
        return size

    def request_done(self, size: int) -> None:
        """An async handler of a request ended."""
        self._requests -= 1
        self._request_bytes -= size
        self._one_less()

    def size_at_hand(self) -> int:
        """The bytes of the message that is being delivered."""
        message = self._block.at_hand
        return 0 if message is None else len(message)

    def _hold_if_busy(self) -> None:
        self._count()
        if self._handlers_busy():
            self._held += self._block.stop()
            self.pause_reading("handlers", True)

    def _one_less(self) -> None:
        if self._counted:
            self._count()
        self._catch_up()

    def answer_awaited(self) -> None:
        """This side asked something: the answer is behind the messages that wait, perhaps for those who asked."""
        self._answers += 1
        if "handlers" in self._reading_paused:
            self._driver.call_later(0, self._go_on)

    def answer_settled(self) -> None:
        """The answer came, or nobody waits for it any more."""
        self._answers -= 1

    def _handlers_busy(self) -> bool:
        if self._leaving:
            return False
        settings = self._settings
        size = self._handler_bytes + self._request_bytes
        if self._handlers + self._requests >= MOST_REQUESTS or size >= settings.max_request_bytes:
            return True
        if self._counted and self._is_too_much_for_all():
            return True
        if self._answers:
            return False
        return self._handlers >= settings.max_handler_frames or self._handler_bytes >= settings.max_handler_bytes

    # ---- what this peer makes the process hold

    def _count(self) -> None:
        under_way = self._handler_bytes + self._request_bytes + PER_HANDLER * (self._handlers + self._requests)
        size = (len(self._splitter.rest) + under_way) // SMALL * SMALL
        if size != self._counted:
            self._counted = size
            everybody.hold(self, size)

    def _is_too_much_for_all(self) -> bool:
        return everybody.total > self._settings.max_total_received_bytes

    def _bound_half_frames(self) -> None:
        """Cut the links with the largest half received messages until all peers together are within the limit."""
        if not self._is_too_much_for_all():
            return
        total, limit, home = everybody.total, self._settings.max_total_received_bytes, self._driver.home
        halves = [each for each in everybody.sessions() if each._driver.home == home and each._splitter.rest]
        for session in sorted(halves, key=lambda each: len(each._splitter.rest), reverse=True):
            if total <= limit:
                return
            half = len(session._splitter.rest)
            session.cut(
                BackpressureError(
                    f"{total} bytes of messages that are not complete, or not done with, came from all peers together, "
                    f"above max_total_received_bytes ({limit}): the link of {session.peer}, with a half message of "
                    f"{half} bytes, is cut. Raise the limit if peers are meant to send so much at once"
                )
            )
            total -= half

    def pause_reading(self, reason: str, pause: bool) -> None:
        """Stop or go on for one reason; reading stops for the first and goes on when none is left."""
        was = self._reading_paused
        self._reading_paused = was | {reason} if pause else was - {reason}
        if self._link is None or bool(was) == bool(self._reading_paused) or self._closing or self._leaving:
            return
        if self._reading_paused:
            self._link.pause_reading()
            self._begin_pause(reason)
        else:
            self._peeking = False
            if self._heartbeat is not None:  # what came meanwhile is read from now on
                self._heartbeat.heard()
            self._link.resume_reading()

    @property
    def is_reading_paused(self) -> bool:
        """Whether bytes are left where they are for now."""
        return bool(self._reading_paused)

    # ---- while nothing is read

    def _begin_pause(self, reason: str) -> None:
        """A pause is told when it lasts; the timer runs out by itself, since many pauses are short."""
        self._paused_at, self._peeked = self._driver.now(), 0
        if self._pause_timer is None:
            self._pause_timer = self._driver.call_later(LOOK_SECONDS, self._look_at_pause)

    def _look_at_pause(self) -> None:
        """Once a second: tell of it, let the peer hear of us, and look for a sign of the peer."""
        self._pause_timer = None
        if not self._reading_paused or self._closing or self._link is None:
            return
        lasts = self._driver.now() - self._paused_at
        for reason in self._reading_paused - self._pauses_told:
            if lasts >= TOLD_AFTER.get(reason, LOOK_SECONDS) - INSTANT:
                self._pauses_told |= {reason}
                self._tell("paused", detail=reason)
                self._owner.session_paused(self, self._why_paused(reason))
        if self._pinged:
            self._emit_pong()
        if self.looks_for_life:
            self._peeking = True
            self._link.resume_reading()
        if "handlers" in self._reading_paused and self._held and not self._handlers_busy():
            self._go_on()  # it was for all peers together that it was too much
        self._pause_timer = self._driver.call_later(LOOK_SECONDS, self._look_at_pause)

    @property
    def looks_for_life(self) -> bool:
        """Whether reads go on now and then though reading is paused, so that silence means what it says."""
        return self._peeked < PEEKED_BYTES and self._reading_paused <= PEEKS_AT

    def _end_peek(self, data: bytes) -> None:
        """A read was for signs of life; what it brought waits with the rest."""
        self._peeked += len(data)
        if READS_ON and self.looks_for_life:
            return
        self._peeking = False
        if self._link is not None and self._reading_paused and not (self._closing or self._leaving):
            self._link.pause_reading()

    def _answer_held_pings(self, frames: Sequence[Any]) -> None:
        if any(PING_FRAME in frame for frame in frames if frame.__class__ is bytes and len(frame) < COUNTED_BYTES):
            self._pinged = True
            self._emit_pong()

    def _why_paused(self, reason: str) -> str:
        settings = self._settings
        if reason == "handlers":
            count = self._handlers + self._requests
            return (
                f"its async handlers are at work on {count} messages ({self._handler_bytes + self._request_bytes} "
                f"bytes) and do not end. Let them end sooner, or raise max_handler_frames "
                f"({settings.max_handler_frames}), max_handler_bytes ({settings.max_handler_bytes}) or, for requests, "
                f"max_request_bytes ({settings.max_request_bytes})"
            )
        if reason == "inbox":
            return (
                "events wait to be received and nobody has taken any for a while. Receive them, register handlers, or "
                f"raise max_unread_events ({settings.max_unread_events}) and max_unread_bytes "
                f"({settings.max_unread_bytes}), or in the blocking front max_inbox_bytes ({settings.max_inbox_bytes})"
            )
        if reason == "outgoing":
            return (
                f"it does not read: {self.pending_bytes} bytes wait for it, above soft_pending_bytes "
                f"({settings.soft_pending_bytes})"
            )
        return reason

    def cancel_when_lost(self, task: Cancellable) -> None:
        """Cancel this handler when the link is lost."""
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)

    def keep_when_lost(self, task: Cancellable) -> None:
        """It has ended by itself."""
        if self._tasks is not None:
            self._tasks.discard(task)

    def _emit_pong(self, behind: int = 0) -> None:
        if self.is_open:
            with contextlib.suppress(IPCError):  # one that does not read needs no answer
                self.emit(PONG, {"behind": behind} if behind else {})

    def beat(self, asked: bool, data: Any) -> None:
        """The peer asks whether we are there (and is told so), or says that it is.

        A question may say behind which of the messages it comes; the answer repeats it, as no answer does that is
        given before its turn, while reading is paused.
        """
        self._beats += 1
        behind = data.get("behind") if isinstance(data, dict) else None
        behind = behind if isinstance(behind, int) and 0 < behind < NEVER else 0
        if asked:
            self._pinged = True
            self._emit_pong(behind)
        elif 0 < behind < self.next_number:
            self.confirm(behind + 1)  # the question, too

    def _watch_half_frame(self, new: bool) -> None:
        """Message timeout: per frame since its first byte, by one lazy timer for each connection."""
        limit = self._settings.message_timeout
        if not limit or self._settings.profile in ("fast", "raw"):
            return
        if new or self._half_since is None:
            self._half_since = self._driver.now()
        if self._half_timer is None:
            self._arm_half(limit / 1000)

    def _arm_half(self, seconds: float) -> None:
        self._half_due_at = self._driver.now() + seconds
        self._half_timer = self._driver.call_later(seconds, self._half_frame_due)

    def _half_frame_due(self) -> None:
        self._half_timer = None
        pending = len(self._splitter.rest)
        if self._half_since is None or self._closing:
            return
        now = self._driver.now()
        late = now - self._half_due_at
        limit = self._settings.message_timeout / 1000
        if self._reading_paused or late > LATE_SECONDS:  # it is we who do not read, or did not
            self._half_since = now
        age = now - self._half_since
        if age >= limit - INSTANT:
            self.fail(
                MessageTimeout(
                    f"a message was begun {age:.1f} s ago and is not complete: {pending} bytes came; "
                    f"message_timeout is {limit:g} s"
                )
            )
            return
        self._arm_half(limit - age)

    # ---- statistics

    def stats(self) -> Stats:
        """What went over this link so far."""
        return Stats(
            messages_in=self.messages_in,
            messages_out=self.messages_out,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            pending_bytes=self.pending_bytes,
            dropped=self.dropped,
            errors=self.errors,
            links=int(self.opened_at_all),
            seconds=self._driver.now() - self._opened_at if self.opened_at_all else 0.0,
            paused=dict.fromkeys(self._reading_paused, 1),
        )

    def drop(self, count: int) -> None:
        """So many messages are never sent."""
        if count:
            self.dropped += count
            self._tell("dropped", messages=count)

    def _tell(self, what: str, messages: int = 0, detail: Any = None) -> None:
        if self.trace is not None:
            self.trace(Trace(what, self._owner, self, messages, detail=detail))

    # ---- life

    def opened(self, link: Link) -> None:
        """The driver: the link is usable."""
        self._link = link
        self._opened_at = self._driver.now()
        self._tell("opened", detail=link.peer)
        self._outgoing.open(link)
        if self._settings.heartbeat:
            from .heartbeat import Heartbeat  # only for those who want it

            self._heartbeat = Heartbeat(self, self._driver, self._settings)
        self._outgoing.corked = True  # what the handlers of `connect` emit goes out together
        self._context = LinkContext()
        self._context.run(self._owner.session_opened, self)
        self._outgoing.uncork()

    def run(self, call: Callable[[], None]) -> None:
        """Call something in this link's context, as its handlers are called."""
        self._context.run(call)

    def unsent(self) -> int:
        """Messages that were not given to the link yet."""
        return self._outgoing.unsent

    def forked(self) -> None:
        """This is a forked child: every emit takes its guarded path, and is refused there."""
        if self._outgoing.home != CLOSED:
            self._outgoing.home = FORKED

    def failed(self, error: Exception) -> None:
        """The driver: there will be no link."""
        self._outgoing.end(None)
        self._owner.session_failed(self, error)

    def pause(self) -> None:
        """The driver: the kernel is full."""
        self._outgoing.pause()

    def writable(self) -> None:
        """The driver: the kernel has taken everything given to it."""
        if self._outgoing.resume():
            if self._closing and self._link is not None:
                self._link.close()
            self._owner.pending_changed(self, 0)

    def ending(self) -> None:
        """The driver: the peer has ended while nothing was read. What it sent before is handled now, all of it.

        It is no more than what the kernel holds, and it is the last. Waiting for handlers would hide the end.
        """
        if self._closing or self._link is None:
            return
        self._leaving = True
        self._peeking = False
        self._reading_paused = NOT_PAUSED
        self._deliver_held()
        self._outgoing.uncork()
        if not self._closing:
            self._link.resume_reading()

    def ended(self) -> None:
        """The driver: the peer sends nothing more. What is emitted already still goes out."""
        if self._reading_paused and not self._leaving:  # a read for signs of life met it
            self.ending()
        self._peer_ended = True
        link = self._link
        self._end_answered = self._closing and self.loss is None and link is not None and link.all_arrived()
        self._tell_of_half_a_message()
        if self._leaving and (self._handlers or self._requests) and not self._closing:
            self._close_timer = self._driver.call_later(ENDING_SECONDS, self._end)
        elif not self._held:
            self._end()

    def _tell_of_half_a_message(self) -> None:
        rest = self._splitter.rest
        if rest and not (self._closing or self._cut_off):
            self._cut_off = len(rest)
            self._owner.session_fault(self, half_a_message(rest))

    def _end(self) -> None:
        if not self._closing:
            self.close()
        elif self._link is not None and not self._outgoing.is_full:
            self._link.close()

    def lost(self, error: Exception | None) -> None:
        """The driver: the link is gone."""
        if self._held and not self._closing:
            self._deliver_last()
        self._tell_of_half_a_message()
        self._is_lost = True
        self._shut()
        if isinstance(error, IPCError) and self.loss is None:
            self._owner.session_fault(self, error)
        waiting = self._outgoing.end(None if self._link is None else self._link.peer)
        if self._close_timer is not None:
            self._close_timer.cancel()
        orderly = error is None and self._end_answered
        reason = error if self.loss is None else self.loss.reason
        self.loss = Loss(reason, waiting, 0 if orderly else self._outgoing.in_flight, self._unheard, self._cut_off)
        if self._link is not None:
            self._link = Gone(self._link.peer)  # and with it what the driver keeps for each link
        tasks, self._tasks = self._tasks, None
        for task in tasks or ():
            task.cancel()
        self.drop(waiting)
        self._tell("lost", detail=self.loss)
        self._context.run(self._owner.session_lost, self, self.loss)

    def _deliver_last(self) -> None:
        """The link broke while messages waited for handlers: what had arrived is delivered, and emits are refused."""
        self._leaving = True
        self._outgoing.home = CLOSED
        self._owner.session_closing(self)
        self._deliver_held()

    def close(self, timeout: float | None = None) -> None:
        """Send what was emitted, then end; what still arrives is read and dropped. The other one is ``abort``.

        timeout: the seconds it may take (``None`` is ``close_timeout``): a peer that does not take what was emitted,
        or does not end too, is cut then.
        """
        self._refuse_other_threads("close")
        seconds = seconds_to_end(timeout, "close", self._settings.close_timeout)
        if self._closing or self._link is None:
            return
        if not self._outgoing.is_full:
            self._outgoing.flush()
        self._shut()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = self._driver.call_later(seconds, self.abort)
        if self._reading_paused:
            self._link.resume_reading()
        if not self._outgoing.is_full:
            self._link.close()

    def abort(self) -> None:
        """End at once; what is not with the kernel yet is dropped and counted."""
        self._refuse_other_threads("abort")
        if self._link is not None:
            self._shut()
            self._link.abort()

    def cut(self, reason: IPCError) -> None:
        """End at once, for a reason that is reported as an ``error`` event."""
        if self.loss is None:
            self.loss = Loss(reason)
            self.abort()
            self._context.run(self._owner.session_fault, self, reason)

    def fail(self, fault: ProtocolError) -> None:
        """The peer broke the protocol: one ``error`` event, and the link ends behind what was emitted so far."""
        if not self._outgoing.is_full and self.loss is None:
            self._outgoing.flush()
        self.cut(fault)

    def _shut(self) -> None:
        """Take nothing more in and no emits: the frames of a block under way end here too."""
        self._closing = True
        self._outgoing.shut()
        self._owner.session_closing(self)
        self._unheard += len(self._block.stop()) + len(self._held)
        self._held.clear()
        if self._is_lost:
            self._splitter = ENDED
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        if self._counted:
            self._count()
        if self._half_timer is not None:
            self._half_timer.cancel()
            self._half_timer = None
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _refuse_other_threads(self, verb: str) -> None:
        refuse_other_threads(self._driver, verb)


def refuse_other_threads(driver: Driver, verb: str) -> None:
    """Raise where the caller is not in the driver's thread, or not on its event loop."""
    if driver.home == FORKED:
        raise ForkError(
            f"{verb}() in a forked child: its parent owns the link. Make an endpoint of your own in the child"
        )
    if driver.home and driver.thread() != driver.home:
        raise WrongThreadError(
            f"{verb}() was called from another thread: only emit() may be. "
            + ("Use loop.call_soon_threadsafe" if driver.runs_coroutines else "Make a client for each thread")
        )
    if (why := driver.misplaced()) is not None:
        raise WrongLoopError(f"{verb}() {why}")


def broadcast(sessions: Iterable[Session], frame: bytes) -> list[Session]:
    """Append one encoded frame to every session; each writes at the end of the turn. Returns the full ones."""
    full = []
    for session in sessions:
        out = session._outgoing
        if out.home == CLOSED:
            continue
        if not out.corked:
            out.corked = out.turn = session._driver.turn_ends(out)
        frames = out.frames
        frames.append(frame)
        if len(frames) % FLUSH_FRAMES == 0 or len(frame) > COUNTED_BYTES or not out.corked:
            try:
                out.press(frame)
            except BackpressureError:
                full.append(session)
    return full


def _undecoded(message: Any) -> Any:
    """A message of which only the slow decoder could make anything, as those are that are not decoded yet."""
    from ..wire.json import RawEnvelope, encode_slowly

    return RawEnvelope(message.type, msgspec.Raw(encode_slowly(message.data, message.type, _SURROGATES)))


_SURROGATES = UnicodeEncodeError("utf-8", "", 0, 0, "lone surrogates")


def _named(type: Any) -> str:
    return repr(type)[:80] if isinstance(type, str) else type.__class__.__name__
