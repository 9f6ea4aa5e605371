"""One peer's conversation: messages to bytes, bytes to messages, limits and deadlines.

A server's socket, as handlers see it, *is* the session. It knows its codec, its link and the driver's clock; it
knows nothing of reconnecting, listening, loops or sockets.

It has two halves: ``outgoing`` has what is to be sent, ``incoming`` what came. What is left here is the life of the
link that they share, and what handlers and endpoints see of all that.
"""

from __future__ import annotations

import contextlib
from abc import ABCMeta
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, overload

import msgspec

from ..config import twin
from ..config.misspelt import refer, shown_as, suggests
from ..errors import (
    BackpressureError,
    ConnectionLost,
    ForkError,
    IPCError,
    NotConnected,
    ProtocolError,
    WrongLoopError,
    WrongThreadError,
)
from ..wire.names import ATTACHMENTS, PING
from ..wire.parcel import Parcel
from .asking import Asking, Question
from .context import LinkContext
from .incoming import Incoming, number_in
from .life import TRANSITIONS, Life
from .newest import keep_of, newest_of
from .outcome import seconds_to_end
from .outgoing import COUNTED_BYTES, FLUSH_FRAMES, Attaching, Outgoing
from .seam import Gone
from .trace import Stats, Trace

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..wire.codec import Codec
    from ..wire.text import RawPayload
    from .events import Event, Events
    from .heartbeat import Heartbeat
    from .newest import Keep
    from .outcome import Outcome
    from .seam import Cancellable, Driver, Link, Peer, Timer
    from .trace import TraceHook

__all__ = ["Loss", "Numbered", "Owner", "Session", "Socket", "broadcast", "broadcast_newest", "refuse_other_threads"]

T = TypeVar("T")

LOOK_SECONDS = 0.5
"""From our end to the first look whether the peer has read all; one that is well has ended long before."""
ENDING_SECONDS = 1.0
"""How long handlers under way may still answer a peer that ended while they held up what it had sent before."""
OVER = (Life.LOST, Life.GONE)

FOR_USERS = (
    *("abort", "address", "claimed_id", "close", "emit", "id", "is_open", "join", "leave", "loss", "peer"),
    *("pending_bytes", "request", "rooms", "state", "stats"),
)
"""What ``dir(socket)`` shows."""
OF_ENDPOINTS = {
    **dict.fromkeys(("on", "once", "off"), "that of the server: its handlers get the socket as their second argument"),
    **dict.fromkeys(
        ("receive", "recv"),
        "server.on(event, handler): a server hears its clients by handlers; to ask this one, request(method)",
    ),
    "call": "request(method, params)",
    "handle": "that of the server: whoever answers gets the socket as the second argument",
    "broadcast": "server.broadcast(type, data), or server.to(room).emit(type, data)",
    "to": "that of the server: server.to(room).except_(socket).emit(type, data)",
    "drain": "what emit returns, False while the peer takes no more; on asyncio await server.drain() waits for all",
    **dict.fromkeys(("send", "write"), "emit(type, data)"),
    **dict.fromkeys(("disconnect", "end"), "close(), which sends what was emitted first, or abort()"),
    "destroy": "abort(), or close(), which sends what was emitted first",
    "remote_address": "peer",
}
"""Verbs of clients and servers that one socket has not, and what to use in their place."""


class Loss(msgspec.Struct, frozen=True):
    """What a lost link took with it.

    Attributes:
        reason: Why the link ended; None after an orderly end.
        dropped: Messages that were emitted and never reached the kernel.
        in_flight: Messages that the kernel took and nothing proves to have arrived: so many are lost at the
            most, none is sent again. Proofs are the answer to a request behind them, a heartbeat's, on a
            Unix socket of Linux that the peer has read on behind them, and after your own ``close`` the
            peer's orderly end (as a peer looks that is killed when it has read all and handled a part), or
            that it has read all. TCP and pipes tell nothing by themselves: there it is every message since
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
        in_doubt = self.in_flight or self.cut_off  # a peer that is killed ends without an error, too
        text = str(self.reason or ("without an error" if in_doubt else "in order"))
        if self.dropped or self.in_flight:
            text += f"; {self.dropped} messages dropped, {self.in_flight} not known to be read"
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
    def answers_first(self, session: Session) -> bool:
        """Whether a handler of a request that came over this link is ending it, and its answer is still to go out."""

    def session_fault(self, session: Session | None, error: IPCError) -> None:
        """Something to report as an ``error`` event."""

    def request_from(self, session: Session, question: Question) -> Outcome[Any]:
        """Ask the peer of this session."""

    def rooms_of(self, session: Session) -> frozenset[str]:
        """The rooms that it is in."""

    def join_rooms(self, session: Session, rooms: tuple[str, ...]) -> Outcome[None]:
        """It is in these rooms from now on; done when other servers reach it there."""

    def leave_rooms(self, session: Session, rooms: tuple[str, ...]) -> None:
        """It is in these rooms no more."""

    def pending_changed(self, session: Session, pending: int) -> None:
        """The kernel does not take a session's bytes (so many wait), or has taken them all (0)."""

    def awaits_turn(self) -> None:
        """A message was replaced before it was sent; where that goes on, nothing may be sent."""

    def takes_more_again(self, session: Session) -> None:
        """No more than ``soft_pending_bytes`` wait, though the kernel has not taken everything."""


ENDED_BY_PEER = frozenset({Life.LEFT, Life.HOLDING, Life.ANSWERING})
"""Where this side only follows."""


class Numbered:
    """Has an ``id`` that nobody can set."""

    __slots__ = ("_number",)

    _number: int

    @property
    def id(self) -> int:
        """A number of this side's own, by which it knows the other."""
        return self._number

    if not TYPE_CHECKING:  # type checkers refuse it by themselves

        @id.setter
        def id(self, value):
            raise AttributeError(
                "socket.id is a number of this side's own, by which it knows the link. What the other side calls "
                "itself goes into socket.claimed_id, which handlers of 'socket.disconnected' get, or into socket.state"
            )  # as programs for node-ipc set it


class Session(Numbered):
    """One link's two directions: all of a socket but ``request``, which each front says in its own way."""

    __slots__ = (  # each connection has one: a dict for so many attributes would take 1,000 bytes more
        "__weakref__",
        "_close_by",
        "_close_timer",
        "_context",
        "_driver",
        "_heartbeat",
        "_link",
        "_opened_at",
        "_owner",
        "_serving",
        "_settings",
        "_tasks",
        "admitted_as",
        "claimed_id",
        "dropped",
        "errors",
        "heard",
        "incoming",
        "life",
        "loss",
        "outgoing",
        "received",
        "replaced",
        "state",
        "trace",
        "traffic",
        "was_ended_here",
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
        self._number = id
        self.claimed_id: Any = None
        self.state: dict[str, Any] = {}
        self.loss: Loss | None = None
        self.was_ended_here = False
        """Whether it was this side's wish that it ends."""
        self.life = Life.WAITING
        """Where it stands; what is done in it is in ``TRANSITIONS``."""
        self.heard: Callable[[], None] | None = None
        """Called after each read that brought a whole message (a client's sync queue waits for it)."""
        self.admitted_as: Any = None
        """The peer under whose name the server counts this socket."""
        self._owner = owner
        self._driver = driver
        self._settings = settings
        self._serving = serving
        self._link: Link | None = None
        self._context: LinkContext
        self.outgoing = Outgoing(self, codec, driver, settings)
        self._close_timer: Timer | None = None
        self._close_by = 0.0  # the link is cut then, at the latest
        self.incoming = Incoming(self, self.outgoing, codec, events, driver, settings, serving)
        self.received = self.incoming.received
        """The driver: bytes of a read, at most 64 KiB. (Which of three ways they go changes less often than they come.)
        """
        self._heartbeat: Heartbeat | None = None
        self._tasks: set[Cancellable] | None = None  # of handlers that end with the link
        # statistics: each line that moves a counter is where a trace is told
        self.dropped = self.replaced = self.errors = 0
        self.trace: TraceHook | None = None
        """Hears what happens on this link, but for reads and writes; set by the endpoint's ``on_trace``."""
        self.traffic: TraceHook | None = None
        """Hears of each read and write."""
        self._opened_at = 0.0

    def __repr__(self) -> str:
        claimed = "" if self.claimed_id is None else f" claims {self.claimed_id!r:.40}"
        state = "open" if self.is_open else "closed"
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
        return self.outgoing.is_open

    @property
    def is_full(self) -> bool:
        """Whether the kernel takes nothing more for now, so that what is emitted waits here."""
        return self.outgoing.is_full

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait for the peer to take them."""
        return self.outgoing.weigh()

    def unread_bytes(self) -> int | None:
        """The bytes of what was emitted that the peer's program has not read, at the most; None where nobody tells."""
        return None if self._link is None else self._link.unread_bytes()

    # ---- rooms

    @property
    def rooms(self) -> frozenset[str]:
        """The names of the rooms that this socket is in; inside its ``close`` handlers still those it was in."""
        return self._owner.rooms_of(self)

    def join(self, *rooms: str) -> Outcome[None]:
        """Be in these rooms: ``server.to(room).emit(…)`` reaches this socket. It leaves by itself when it is gone.

        Of this server that holds at once, and nothing has to be awaited. With a bus, what *other* servers emit to the
        room comes from when the outcome is done: ``await socket.join(room)`` in a handler that then tells somebody that
        it is there, or ``.then(…)`` on the callback front. It never fails, and it is done when it is returned where the
        bus is down, for nothing comes from other servers then, and without a bus, as always on the blocking front.
        Another server of a NATS cluster hears of it some milliseconds later.

        A name is text of 1 to 256 characters. Raises :class:`InvalidEvent` for anything else,
        :class:`BackpressureError` past ``max_rooms_per_socket``, :class:`NotConnected` where the socket is closed; then
        it has joined none of them.
        """
        refuse_other_threads(self._driver, "join")
        return self._owner.join_rooms(self, rooms)

    def leave(self, *rooms: str) -> None:
        """Be in these rooms no more; those it was not in are passed over."""
        refuse_other_threads(self._driver, "leave")
        self._owner.leave_rooms(self, rooms)

    # ---- out

    @overload
    def emit(self, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    @shown_as("Socket.emit")
    def emit(self, type: Any, data: Any = {}, keep: Keep = None) -> bool:  # noqa: B006 - never changed
        """Send one event to this peer (in raw mode: ``emit(payload)``); never waits, and is not awaited.

        Args:
            keep: ``"latest"``: a message of this event that was emitted so and still waits here is not sent, since this
                one takes its place behind all that was emitted before; ``stats().replaced`` counts. None: all are sent.

        Returns True, or False while more than ``soft_pending_bytes`` wait for the peer; what may be replaced does not
        count there. Raises :class:`BackpressureError` above ``max_pending_bytes`` (nothing is sent, the link stays),
        :class:`NotConnected` when the socket is closed, and a :class:`ProtocolError` for a name or payload that
        cannot be sent. Safe from any thread.
        """
        if keep is not None or (type.__class__ is not str and keep_of(type) is not None):
            return self._emit_newest(type, data, keep)
        out = self.outgoing
        if out.thread() != out.home:
            return self._emit_guarded(type, data)
        frame = out.encode(type, data)
        frames = out.frames
        frames.append(frame)
        if out.corked and len(frames) % FLUSH_FRAMES and len(frame) <= COUNTED_BYTES:
            return out.below_soft
        return out.press(frame)

    def _emit_newest(self, type: Any, data: Any, keep: Keep) -> bool:
        event = newest_of(type, keep, self._settings.profile == "raw")
        out = self.outgoing
        if out.thread() != out.home:
            return self._emit_guarded(type, data, event)
        return out.write_newest(event, out.encode(type, data))

    def push(self) -> None:
        """Give the kernel what was emitted so far, and not at the end of the turn; in another thread, nothing."""
        out = self.outgoing
        if out.thread() == out.home:
            out.push()

    def put(self, frame: bytes) -> Session:
        """Send a frame of ``encode``'s, as ``emit``; in this thread only."""
        if not self.outgoing.is_open:
            raise NotConnected("cannot request: this socket is closed")
        self.outgoing.write(frame)
        return self

    def withdraw(self, frame: bytes) -> bool:
        """Take back a frame that still waits here, so that it is never sent; whether it did."""
        return self.outgoing.withdraw(frame)

    def encode(self, type: Any, data: Any = {}) -> bytes:  # noqa: B006 - never changed
        """The frame that ``emit`` would send."""
        return self.outgoing.encode(type, data)

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

    def takes_more_again(self) -> None:
        """No more than ``soft_pending_bytes`` wait, though the kernel has not taken everything."""
        self._owner.takes_more_again(self)

    def _emit_guarded(self, type: Any, data: Any, event: str | None = None) -> bool:
        """``emit`` in another thread, in a forked child, or on a closed socket."""
        if self._driver.is_forked:
            raise ForkError("this process was forked: its parent owns the link. Connect anew in the child")
        if not self.outgoing.is_open:
            raise NotConnected(f"cannot emit {_named(type)}: this socket is closed")
        out = self.outgoing
        frame: Any = out.encode(type, data)
        if frame.__class__ is Parcel and out.attaching is not Attaching.AGREED:
            frame.settle()
        if out.post(frame, event):
            self._driver.call_from_thread(self._take_posted)
        return out.below_soft

    def hand_over(self) -> None:
        """What other threads have emitted goes before what this one does next."""
        if self.outgoing.has_posted:
            self._take_posted()

    def _take_posted(self) -> None:
        out = self.outgoing
        frames, newest = out.take_posted()
        events = newest.events()
        for index, frame in enumerate(frames):
            if not out.is_open:
                if self.life in OVER:
                    self.drop(len(frames) - index)
                else:
                    out.frames += frames[index:]  # for the loss to count
                return
            event = events.get(id(frame))
            try:
                if event is None:
                    out.write(frame)
                else:
                    out.write_newest(event, frame)
            except BackpressureError as error:
                self.drop(1)
                self._owner.session_fault(self, error)
            except BaseException:  # a signal's handler: this one is in doubt, and the rest has no way back
                self.drop(len(frames) - index - 1)
                raise

    # ---- in

    def read(self, messages: int, size: int) -> None:
        """So much came, and ``traffic`` listens."""
        if self.traffic is not None:
            self.traffic(Trace("received", self._owner, self, messages, size))

    def report(self, error: IPCError) -> None:
        """A message that no handler gets; the link goes on."""
        self._owner.session_fault(self, error)

    def paused(self, reason: str, why: str) -> None:
        """Nothing has been read for a while."""
        self._tell("paused", detail=reason)
        self._owner.session_paused(self, why)

    def caught_up(self) -> None:
        """All that came is with handlers: where it was the last, this side ends."""
        self._input("caught up")

    def decode_rest_anew(self) -> None:
        """A handler changed what payloads are decoded to: the rest of the block goes the new way."""
        self.incoming.decode_rest_anew()

    def beat(self, asked: bool, data: Any) -> None:
        """The peer asks whether we are there (and is told so), or says that it is."""
        self.incoming.beat(asked, data)

    # ---- attachments

    def offers_attachments(self) -> None:
        """What is just sent says that this side takes attachments."""
        self.incoming.attach()

    def attachments_offered(self) -> None:
        """The peer takes attachments, and asks with that whether this side does."""
        if self.outgoing.attaching in (Attaching.OFF, Attaching.AGREED):
            return
        self.incoming.attach()
        with contextlib.suppress(IPCError):  # one that does not read goes on as before
            self.emit(ATTACHMENTS, {"version": 1})
            self.outgoing.attaching = Attaching.AGREED

    def attachments_agreed(self, data: Any) -> None:
        """The peer answers that it takes attachments."""
        # of later versions nothing is known but that they are later
        if self.outgoing.attaching is not Attaching.OFF and number_in(data, "version"):
            self.outgoing.attaching = Attaching.AGREED

    def ask_in_turn(self) -> int | None:
        """Ask the peer whether it is there; the mark by which its answer is known, None where it cannot be asked.

        A Python peer answers behind all that it had emitted before. One of Node says nothing.
        """
        try:
            if self.outgoing.next_number == 1:  # a question says behind which message it comes
                self.emit(PING, {})
            mark = self.outgoing.next_number - 1
            self.emit(PING, {"behind": mark})
            self.push()
        except IPCError:
            return None
        self.outgoing.promise_nothing(mark)
        self.outgoing.promise_nothing(mark + 1)
        return mark

    def has_answered(self, mark: int) -> bool:
        """Whether the answer to this question has come."""
        return self.incoming.answered >= mark

    def handler_started(self) -> int:
        """An async handler of a message from this peer starts; too many, and the peer waits.

        Returns what ``handler_done`` wants back: the size of the message.
        """
        return self.incoming.handler_started()

    def handler_done(self, size: int) -> None:
        """An async handler ended."""
        self.incoming.handler_done(size)

    def pause_reading(self, reason: str, pause: bool) -> None:
        """Stop or go on for one reason; reading stops for the first and goes on when none is left."""
        self.incoming.pause_reading(reason, pause)

    @property
    def is_reading_paused(self) -> bool:
        """Whether bytes are left where they are for now."""
        return bool(self.incoming.pauses)

    def never_arrived(self, number: int) -> bool:
        """Whether the peer is known not to have read this message of ours, or not to its end; once the link is over.

        Where the kernel breaks a link that ends with something unread, the last that went to it is unread.
        """
        last = self.outgoing.last_given
        if number != last or not self._driver.breaks_unread or self.peer.transport != "unix":
            return number > last
        reason = None if self.loss is None else self.loss.reason
        return reason is not None and isinstance(reason.__cause__, (BrokenPipeError, ConnectionResetError))

    def cancel_when_lost(self, task: Cancellable) -> None:
        """Cancel this handler when the link is lost."""
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)

    def keep_when_lost(self, task: Cancellable) -> None:
        """It has ended by itself."""
        if self._tasks is not None:
            self._tasks.discard(task)

    def use(self, codec: Codec) -> None:
        """Encode and decode with this one from now on: the same format, watched or not watched any more."""
        self.outgoing.encode = codec.encode
        self.incoming.use(codec)

    # ---- statistics

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied, pickled or given to another process: its link belongs to this one. Give that "
            "what it is to send, or let it connect by itself"
        )

    def stats(self) -> Stats:
        """What went over this link so far. Safe from any thread."""
        return Stats(
            messages_in=self.incoming.messages_in,
            messages_out=self.outgoing.messages_out,
            bytes_in=self.incoming.bytes_in,
            bytes_out=self.outgoing.bytes_out,
            pending_bytes=0 if self.life in OVER else self.outgoing.weighed,
            dropped=self.dropped,
            replaced=self.replaced,
            errors=self.errors,
            links=int(self.opened_at_all),
            seconds=self._driver.now() - self._opened_at if self.opened_at_all else 0.0,
            paused={} if self.life in OVER else dict.fromkeys(self.incoming.pauses, 1),
        )

    def drop(self, count: int) -> None:
        """So many messages are never sent."""
        if count:
            self.dropped += count
            self._tell("dropped", messages=count)

    def replace(self, count: int) -> None:
        """So many messages are never sent, since there are newer ones of their events."""
        self.replaced += count
        self._owner.awaits_turn()
        self._tell("replaced", messages=count)

    def _tell(self, what: str, messages: int = 0, detail: Any = None) -> None:
        if self.trace is not None:
            self.trace(Trace(what, self._owner, self, messages, detail=detail))

    # ---- life

    def _input(self, name: str, *arguments: Any) -> None:
        """Look the input up and do what the table says."""
        method = TRANSITIONS.get((self.life, name))
        if method is not None:
            getattr(self, method)(*arguments)

    def opened(self, link: Link) -> None:
        """The driver: the link is usable."""
        self._input("opened", link)

    def failed(self, error: Exception) -> None:
        """The driver: there will be no link."""
        if self._link is None:
            self._input("failed", error)
        else:  # a signal's handler raised when it was there already
            self.distrust(error if isinstance(error, IPCError) else ConnectionLost(str(error)))

    def pause(self) -> None:
        """The driver: the kernel is full."""
        self.outgoing.pause()

    def writable(self) -> None:
        """The driver: the kernel has taken everything given to it."""
        if self.outgoing.resume():
            self._input("emptied")
            self._owner.pending_changed(self, 0)

    def ending(self) -> None:
        """The driver: the peer has ended while nothing was read. What it sent before is handled now, all of it."""
        self._input("peer leaves")

    def ended(self) -> None:
        """The driver: the peer sends nothing more. What is emitted already still goes out."""
        if self.is_reading_paused:  # a read for signs of life met it
            self._input("peer leaves")
        self._input("peer ended")

    def lost(self, error: Exception | None) -> None:
        """The driver: the link is gone. Where a signal's handler ended this half-way, it comes again."""
        self._input("lost", error)

    def distrust(self, reason: IPCError) -> None:
        """A step of this link's was not done to its end: it is cut, whatever became of it, and lost in a later turn."""
        if self._link is not None and self.life is not Life.GONE:
            self._input("cut", reason)
            self._input("abort")
            self._driver.call_later(0, partial(self.lost, reason))

    @suggests
    def close(self, timeout: float | None = None) -> None:
        """Send what was emitted, then end; what still arrives is read and dropped. The other one is ``abort``.

        In the handler of a request of this peer's the answer goes out first.

        Args:
            timeout: the seconds it may take (``None`` is ``close_timeout``): a peer that does not take what was
                emitted, or does not end too, is cut then. While it is being closed, another call with a shorter time
                holds.
        """
        refuse_other_threads(self._driver, "close")
        self._note_whose_wish()
        verb = "finish" if self._owner.answers_first(self) else "close"
        seconds = seconds_to_end(timeout, "close", self._settings.close_timeout)
        self._input(verb, seconds)
        if timeout is not None:
            self._hurry(seconds)

    def _note_whose_wish(self) -> None:
        if self.life not in ENDED_BY_PEER:
            self.was_ended_here = True

    def answered(self) -> None:
        """The request whose handler ended this link has its answer, or will have none."""
        self._input("answered")

    def abort(self) -> None:
        """End at once; what is not with the kernel yet is dropped and counted."""
        refuse_other_threads(self._driver, "abort")
        self._note_whose_wish()
        self._input("abort")

    def cut(self, reason: IPCError) -> None:
        """End at once, for a reason that is reported as an ``error`` event."""
        self._input("cut", reason)

    def fail(self, fault: ProtocolError) -> None:
        """The peer broke the protocol: one ``error`` event, and the link ends behind what was emitted so far."""
        self.outgoing.push()
        self.cut(fault)

    def run(self, call: Callable[[], None]) -> None:
        """Call something in this link's context, as its handlers are called."""
        self._context.run(call)

    def unsent(self) -> int:
        """Messages that the kernel does not have, or not to their end."""
        return self.outgoing.held

    def forked(self) -> None:
        """This is a forked child: every emit takes its guarded path, and is refused there."""
        self.outgoing.fork()

    # ---- life: what the table names

    def _open(self, link: Link) -> None:
        self._context = LinkContext()
        self._link = link
        self.life = Life.OPEN
        self._opened_at = self._driver.now()
        self._tell("opened", detail=link.peer)
        self.outgoing.open(link)
        self.incoming.open(link, self._context)
        if self._settings.heartbeat:
            from .heartbeat import Heartbeat  # only for those who want it

            self._heartbeat = self.incoming.watch = Heartbeat(self, self._driver, self._settings)
            self.received = self.incoming.received_watched
        self.outgoing.corked = True  # what the handlers of `connect` emit goes out together
        self._context.run(self._owner.session_opened, self)
        self.outgoing.uncork()

    def _never_open(self, error: Exception) -> None:
        self.life = Life.GONE
        self.outgoing.end(None)
        self.incoming.end()
        self._owner.session_failed(self, error)

    def _lose_unopened(self, error: Exception | None) -> None:
        self._never_open(error or ConnectionLost("the link was lost before it was used"))

    def _leave(self) -> None:
        self.life = Life.LEFT
        self.incoming.leave()
        self.outgoing.uncork()
        if self.life is Life.LEFT:
            self._on_link().resume_reading()

    def _hear_the_end(self) -> None:
        self.life = Life.HOLDING
        self.incoming.tell_of_half_a_message()
        if not self.incoming.is_holding:
            self.close()

    def _hear_the_end_at_work(self) -> None:
        self.life = Life.ANSWERING
        self._arm(ENDING_SECONDS, partial(self._input, "overdue"))
        self.incoming.tell_of_half_a_message()
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not (self.incoming.is_at_work or self.incoming.is_holding):
            self.close()

    def _finish(self, seconds: float) -> None:
        self.life = Life.FINISHING
        self._stop_hearing()
        self._arm_end(seconds)
        self._read_to_the_end()

    def _close(self, seconds: float) -> None:
        self._arm_end(seconds)
        self._end_in_order()

    def _end_in_order(self) -> None:
        self.hand_over()
        if not self.outgoing.is_full:
            self.outgoing.flush()
        self._shut(Life.CLOSING)
        self._read_to_the_end()
        self._close_link()

    def _read_to_the_end(self) -> None:
        if self.is_reading_paused:
            self._on_link().resume_reading()

    def _close_link(self) -> None:
        if not self.outgoing.is_full:
            self._on_link().close()
            self._arm(min(self._close_by - self._driver.now(), LOOK_SECONDS), self._wait_for_the_end)

    def _wait_for_the_end(self) -> None:
        """A peer that hangs is not waited for once it has read what was emitted: what it sends now is for nobody."""
        left = self._close_by - self._driver.now()
        if self.life is Life.CLOSING and self.outgoing.is_kept(self._on_link()):
            self.outgoing.confirm(self.outgoing.next_number - 1)
            self.abort()
        elif left <= 0:
            self.abort()
        else:
            self._arm(min(left, LOOK_SECONDS), self._wait_for_the_end)

    def _hear_the_answer(self) -> None:
        if self._on_link().all_arrived() and not self.incoming.is_inside_a_message:  # else it did not understand
            self.life = Life.ANSWERED
        self._close_link()

    def _abort(self) -> None:
        self._shut(Life.CLOSING)
        self._abort_link()

    def _abort_link(self) -> None:
        self._on_link().abort()

    def _cut(self, reason: IPCError) -> None:
        self.loss = Loss(reason)
        self._shut(Life.CUT)
        self._abort_link()
        self._context.run(self._owner.session_fault, self, reason)

    def _hear_no_more(self, seconds: float = 0.0) -> None:
        self.incoming.shut()

    def _break(self, error: Exception | None) -> None:
        """The link broke: what waited for handlers is delivered, and emits are refused."""
        if self.incoming.is_holding:
            self.life = Life.BROKEN
            self.outgoing.shut()
            self._owner.session_closing(self)
            self.incoming.leave()
        self.incoming.tell_of_half_a_message()
        if self.life not in OVER:
            self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        orderly = error is None and self.life is Life.ANSWERED
        reported = self.loss
        self._shut(Life.LOST)
        self.incoming.end()
        if isinstance(error, IPCError) and reported is None:
            self._owner.session_fault(self, error)
        waiting = self.outgoing.end(self._on_link().peer)
        self._disarm()
        reason = error if reported is None else reported.reason
        in_flight = 0 if orderly else self.outgoing.in_flight
        self.loss = Loss(reason, waiting, in_flight, self.incoming.unheard, self.incoming.cut_off)
        self._link = Gone(self._on_link().peer)  # and with it what the driver keeps for each link
        tasks, self._tasks = self._tasks, None
        for task in tasks or ():
            task.cancel()
        self.drop(waiting)
        self._tell("lost", detail=self.loss)
        self._context.run(self._owner.session_lost, self, self.loss)
        self.life = Life.GONE

    def _shut(self, life: Life) -> None:
        """Take nothing more in, and no emits."""
        self.life = life
        self.outgoing.shut()
        self._owner.session_closing(self)
        self._stop_hearing()

    def _stop_hearing(self) -> None:
        self.incoming.shut()
        self.received = self.incoming.received_for_nobody
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _on_link(self) -> Link:
        assert self._link is not None
        return self._link

    def _arm(self, seconds: float, call: Callable[[], None]) -> None:
        self._disarm()
        self._close_timer = self._driver.call_later(seconds, call)

    def _arm_end(self, seconds: float) -> None:
        self._close_by = self._driver.now() + seconds
        self._arm(seconds, self.abort)

    def _hurry(self, seconds: float) -> None:
        """What is ending already has no more time than that any more."""
        if self._close_timer is None or self._driver.now() + seconds >= self._close_by:
            return
        if self.life is Life.FINISHING or self.outgoing.is_full:
            self._arm_end(seconds)
        else:
            self._close_by = self._driver.now() + seconds
            self._arm(min(seconds, LOOK_SECONDS), self._wait_for_the_end)

    def _disarm(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None


refer(Session, OF_ENDPOINTS)


class Socket(Session, Asking, metaclass=ABCMeta):
    """One link's two directions; on a server, the socket that handlers get.

    Sockets of the blocking front count as such to ``isinstance``; their ``request`` waits.

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

    __slots__ = ()

    def _ask(self, question: Question) -> Outcome[Any]:
        return self._owner.request_from(self, question)


def refuse_other_threads(driver: Driver, verb: str) -> None:
    """Raise where the caller is not in the driver's thread, or not on its event loop."""
    if driver.is_forked:
        raise ForkError(
            f"{verb}() in a forked child: its parent owns the link. Make an endpoint of your own in the child"
        )
    if driver.home and driver.thread() != driver.home:
        raise WrongThreadError(f"{verb}() was called from another thread: {driver.from_other_threads(verb)}")
    if (why := driver.misplaced()) is not None:
        raise WrongLoopError(f"{verb}() {why}")


def broadcast(sessions: Iterable[Session], frame: Any) -> list[Session]:
    """Append one encoded frame to every session; each writes at the end of the turn. Returns the full ones."""
    full = []
    if frame.__class__ is Parcel:
        sessions = _prepared(sessions, frame)
    for session in sessions:
        out = session.outgoing
        if not out.is_open:
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


def broadcast_newest(sessions: Iterable[Session], event: str, frame: Any) -> list[Session]:
    """The same for a frame that may be replaced by the next one of this event."""
    full = []
    if frame.__class__ is Parcel:
        sessions = _prepared(sessions, frame)
    for session in sessions:
        out = session.outgoing
        if not out.is_open:
            continue
        if not out.corked:
            out.corked = out.turn = session._driver.turn_ends(out)
        try:
            out.write_newest(event, frame)
        except BackpressureError:
            full.append(session)
    return full


def _prepared(sessions: Iterable[Session], parcel: Any) -> list[Session]:
    """The same, once it is known that the message can go out to each of them."""
    all = list(sessions)
    if any(session.outgoing.attaching is not Attaching.AGREED for session in all):
        parcel.inline()
    return all


if twin.native is not None:
    Session.emit = twin.native.emit(Session.emit, Session)  # type: ignore[method-assign]
    broadcast = twin.native.broadcast(broadcast, Session)


def _named(type: Any) -> str:
    return repr(type)[:80] if isinstance(type, str) else type.__class__.__name__
