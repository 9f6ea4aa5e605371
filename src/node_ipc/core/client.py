"""One link out: its state table, its retries, and the emits that wait while it is down.

Every input (the user's, the driver's, a timer's) is looked up in ``TRANSITIONS``; a pair that is not there is
ignored. The client outlives its links: each gets a session of its own, the handlers stay.
"""

from __future__ import annotations

import math
from abc import ABCMeta
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar, overload

from msgspec import UNSET
from msgspec.structs import replace

from ..config.address import own_user
from ..config.foreign import caused, warn
from ..config.interrupted import between_steps, without_steps
from ..config.misspelt import shown_as, suggests
from ..config.neighbours import near_by
from ..config.profiles import require_assured
from ..errors import (
    BackpressureError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    ForkError,
    IPCError,
    NotConnected,
    PeerRefused,
    ProtocolError,
    TLSError,
    WrongLoopError,
)
from ..wire.names import CLIENT_RAISES
from ..wire.parcel import settled
from .asking import Asking, Question
from .elsewhere import OF_EMITTERS
from .endpoint import LinkPublisher, Register, typed_as
from .events import Event
from .newest import FrameQueue, kept_event, newest_of
from .outcome import seconds_to_end
from .seam import INSTANT
from .session import Loss, Session, Socket, refuse_other_threads
from .trace import Stats

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..wire.text import RawPayload
    from .newest import Keep
    from .outcome import Outcome
    from .seam import Driver, Peer, Timer

__all__ = [
    "HINT_AT_WAITING",
    "HINT_AT_WAITING_LONGER",
    "TRANSITIONS",
    "Client",
    "ClientCore",
    "ClientState",
    "connect_timeout",
    "hint_at_waiting",
    "retry_delay",
]

STEADY_SECONDS = 5.0
"""A link that was up this long makes the next retry a first one again, in its delay and in its number."""
AT_ONCE_SECONDS = 1.0
"""A link that the server ended sooner, and over which nothing came, was ended at once: a full server does that."""
TOLD_AT = 3
"""So many of them in a row are an ``error`` event; then twice as many, and so on."""
HINT_AT_WAITING = ". connect(…, wait=True) waits for one, timeout= seconds at most (10 unless said; None: for ever)"
HINT_AT_WAITING_LONGER = ". timeout= says how long wait=True waits (10 s unless said); None waits for ever"
REFUSED_THERE = (
    "a server that is started anew does that, too; where it refused what was emitted (its max_message_size or "
    "max_message_values may be smaller), its log says so"
)
"""Why a link may be lost to a server that is there."""
WAITS_LONG_SECONDS = 5.0
"""A client that never had a link says once that it waits, when it has done so for this long."""
JITTER = 0.2
LONGEST_LOCAL = 5.0
LONGEST_NETWORK = 30.0


T = TypeVar("T")
A = TypeVar("A")
H = TypeVar("H", bound=Callable[..., Any])
S = TypeVar("S", bound=Session)


class ClientState(str, Enum):  # noqa: UP042 - str() gives the name, as of any enumeration
    """Where a client stands: ``client.state``; equal to its value, as in ``client.state == "connected"``.

    Attributes:
        IDLE: Made, not told to connect.
        CONNECTING: An attempt is under way; emits wait in the queue.
        CONNECTED: The link is up.
        WAITING: Until the next attempt; emits wait in the queue.
        CLOSING: Told to close: what was emitted still goes out, nothing more is taken.
        CLOSED: Over: no retry will follow.

    Example:
        >>> client.state is node_ipc.ClientState.CONNECTED
        True
    """

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    CLOSING = "closing"
    CLOSED = "closed"


_S = ClientState
TRANSITIONS: dict[tuple[ClientState, str], str] = {
    (_S.IDLE, "connect"): "_attempt",
    (_S.IDLE, "close"): "_closed_unsent",
    (_S.CONNECTING, "opened"): "_up",
    (_S.CONNECTING, "failed"): "_attempt_failed",
    (_S.CONNECTING, "close"): "_close_when_up",
    (_S.CONNECTING, "abandoned"): "_begin_again",
    (_S.CONNECTING, "interrupted"): "_attempt_interrupted",
    (_S.CONNECTING, "lost"): "_lost_unused",
    (_S.CONNECTED, "lost"): "_down",
    (_S.CONNECTED, "close"): "_close_session",
    (_S.CONNECTED, "abandoned"): "_cut_session",
    (_S.CONNECTED, "interrupted"): "_distrust_session",
    (_S.WAITING, "retry"): "_retry",
    (_S.WAITING, "close"): "_closed_unsent",
    (_S.WAITING, "abandoned"): "_begin_again",
    (_S.WAITING, "interrupted"): "_wait_anew",
    (_S.CLOSING, "connect"): "_connect_behind",
    (_S.CLOSING, "close"): "_stay_closed",
    (_S.CLOSING, "opened"): "_up_to_close",
    (_S.CLOSING, "failed"): "_closed_unsent",
    (_S.CLOSING, "lost"): "_closed",
    (_S.CLOSING, "expired"): "_expire",
    (_S.CLOSING, "abandoned"): "_expire",
    (_S.CLOSING, "interrupted"): "_distrust_session",
    (_S.CLOSED, "connect"): "_attempt",
    (_S.CLOSED, "close"): "_stay_closed",
    (_S.CLOSED, "interrupted"): "_end_anew",
}
"""``(state, input) → what is done``; the methods set the next state."""


def retry_delay(base: float, attempt: int, longest: float, random: float, growth: float) -> float:
    """Seconds to wait before retry number ``attempt`` (from 0): growing, 20 % either way, up to ``longest``.

    ``base`` is never cut: a user who asks for a minute between retries gets it. A growth of 1 is ``base`` always.
    """
    if growth == 1:
        return base
    delay = min(base * growth ** min(attempt, 64), max(longest, base))
    return delay * (1 - JITTER + 2 * JITTER * random)


def connect_timeout(client: ClientCore[Any], seconds: float) -> ConnectTimeout:
    """What was waited for and how long, and what the last attempt met."""
    why = "" if client.last_error is None else f": {client.last_error}"
    longer = HINT_AT_WAITING_LONGER if client.is_patient else ""
    return ConnectTimeout(f"no link to {client.address} within {seconds:g} s{why}{longer}")


def hint_at_waiting(client: ClientCore[Any], error: IPCError) -> IPCError:
    """The error of a single attempt, which says how to wait where no server is there yet, and which id may be meant."""
    if error.__class__ is ConnectError:
        error.args = (f"{error}{HINT_AT_WAITING}{client.meant_id()}",)
    return error


WAIT_FOR_EVER = ("loop_forever", "run", "run_forever", "serve_forever", "wait")


class ClientCore(LinkPublisher[S]):
    """A connection to a server that comes back when it breaks: what all fronts have, since nothing in it waits.

    What a front says in its own way (``request``, ``close``) is begun here by ``_ask`` and ``_begin_close``.
    """

    _made_by = "node_ipc.connect('world'), node_ipc.blocking.connect('world') or ipc.connect_to('world')"

    elsewhere = OF_EMITTERS | {
        "event": "@client.on('name')",
        "path": "address, which says where it connects to",
        "socket": "peer, which says who is at the other end, or state",
        "queue": "pending_bytes for what waits, and close() or drain() to send it",
        "retriesRemaining": "retries_remaining",
        "explicitlyDisconnected": "state and ended_by, which is None where it was told to close",
        "broadcast": "emit(type, data): a client has one server, and broadcast is that one's",
        "disconnect": "close()",
        "join": "an event of your own: rooms are the server's, whose handler calls socket.join(room)",
        "leave": "an event of your own: rooms are the server's, whose handler calls socket.leave(room)",
        "receive": "on(event, handler), or a client of node_ipc.connect or node_ipc.blocking.connect, which can wait",
        "recv": "receive(event), where a front waits, or on(event, handler)",
        **dict.fromkeys(("send", "write"), "emit(type, data)"),
        **dict.fromkeys(("end", "stop"), "close()"),
        "destroy": "abort()",
        **dict.fromkeys(("is_connected", "is_open"), "connected, which is true while the link is up"),
        "reconnect": "connect(), once it is closed: a link that is lost is found again without a call",
        "wait_closed": "closed: await it, or look at closed.done",
        **dict.fromkeys(
            ("poll", *WAIT_FOR_EVER),
            "ipc.run(), or await what waits, as client.closed: the event loop calls handlers by itself",
        ),
        "drain": "what emit gives: False while much waits; clients of the other two fronts can wait",
    }
    _state: ClientState
    begins_anew = True
    _times_requests = True  # a front that waits itself does not need a timer for each
    _socket_type: ClassVar[type[Session]] = Socket

    def __init__(
        self: Self,  # as an attribute's type needs it said
        id: str,
        address: Address,
        driver: Driver,
        settings: Config,
        *,
        retrying: Callable[[], Config] | None = None,
    ) -> None:
        """Make a client; ``connect`` connects it. Raises :class:`AssuredError` where the profile forbids it."""
        require_assured(address, settings, "client")
        super().__init__(driver, settings, CLIENT_RAISES, 1, decodes_late=True)
        self._id = id
        self.address = address
        self._state = ClientState.IDLE
        self.connected: Outcome[Self] = self._outcome_of("connected")
        """Settled when the link is up for the first time, or with the error that ended the client. True while it is up,
        and false while it is not; a blocking client notices the end of a link in its calls."""
        self.unheard: Callable[[str, Any, Session], None] | None = None
        """Told of events that no handler has: the inbox of the waiting fronts."""
        self.on_link: Callable[[], None] | None = None
        """Called when a link is up, before ``connect`` is published."""
        self.on_down: Callable[[Loss], None] | None = None
        """Called when a link was lost and another will be tried, before ``disconnect`` is published."""
        self.on_request: Callable[[], None] | None = None
        """Called when a request was made."""
        self.ended_by: Exception | None = None
        """Why the client gave up, where it was not told to close; heard or not."""
        self.last_error: IPCError | None = None
        """Why the latest attempt failed, or the latest link ended."""
        self.is_patient = False
        """Whether it waits for a server that may not be there yet: then no permission is a failed attempt, too."""
        self.retries = 0
        """How many retries there were since a link held: a message came over it, or it was up for 5 s."""
        self._retrying = retrying or (lambda: settings)
        self.events.unheard = self._unheard
        self.events.answer_heartbeats()
        self._sync = settings.sync
        self._answer_due = False
        self._queue = FrameQueue()
        self._from_threads = FrameQueue()  # not in the queue yet
        self._ending: tuple[Outcome[Self], Outcome[Self]] | None = None
        """``connected`` and ``closed`` of what still closes, where a connect came behind that: it has the new ones."""
        self._untold: Loss | None = None  # of a lost link, until all have heard of it
        self._direct: Session | None = None  # the session, while emits may go straight to it
        self._emit: Callable[[Any, Any], bool] = self._emit_indirectly  # or then the session's
        self._session: Session | None = None
        self._opening: Timer | None = None  # the attempt to connect that was made last
        self._links = 0
        self._up_since = 0.0
        self._was_up = False
        self._attempts = 0  # since a link held, as the retries: what the delay grows with
        self._protocol_errors = 0
        self._short_links = 0  # in a row, ended at once by the server
        self._short_links_due = TOLD_AT  # when so many of them are told
        self._warned = False
        self._begun_at = 0.0  # to connect
        self._told_of_waiting = False
        self._in_doubt: Loss | None = None  # what went with the last link, until a message comes over another
        self._is_doubted = False  # and it is no usual end
        self._told_of_doubt = False
        self._close_seconds = 0.0
        self._had_no_time = False

    def __repr__(self) -> str:
        waiting = f", {len(self._queue)} queued" if self._queue else ""
        return f"<Client {self.id!r} {self.address} {self._state.value}{waiting}>"

    @property
    def id(self) -> str:
        """Whom it connects to, as it was called."""
        return self._id

    @property
    def state(self) -> ClientState:
        """Where it stands."""
        return self._state

    @property
    def ends(self) -> bool:
        """Whether it is closed, or closes and was not told to connect anew behind that."""
        return self._state is _S.CLOSED or (self._state is _S.CLOSING and self._ending is None)

    @property
    def peer(self) -> Peer:
        """Who the server is, as the kernel or the TLS handshake tells it. Raises :class:`NotConnected` while down."""
        if self._session is None:
            raise NotConnected(f"{self.id!r} is not connected")
        return self._session.peer

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait: for the link, or for the server to take them."""
        return self._queue.bytes + (self._session.pending_bytes if self._session else 0)

    @property
    def owed_bytes(self) -> int:
        """Those that wait for the link, or for the server to take them, but not to be replaced (``keep="latest"``)."""
        return self._queue.bytes + (self._session.outgoing.owed if self._session else 0)

    def over(self, what: str) -> NotConnected:
        """The client is closed, or closes: what cannot be done any more, and why it ended."""
        why = "" if self.ended_by is None else f", since it gave up: {self.ended_by}"
        why = why if self._ending is None else ", and connects anew behind that: wait for it, as by on('connect', …)"
        return caused(NotConnected(f"{what}: the client {self.id!r} is {self._state.value}{why}"), self.ended_by)

    def _refuse_when_over(self) -> None:
        """A block begins: not of a client whose block has ended; where its link was lost the rest is received."""
        if self.state is _S.CLOSED and self._is_used_up():
            raise self.over("a block with a closed client does nothing, make another")

    def trouble(self) -> str:
        """Why nothing may come, for the end of messages about time-outs; empty where the link is up."""
        if self._state is _S.CONNECTED:
            return ""
        why = "" if self.last_error is None else f" ({self.last_error})"
        return f": the client is {self._state.value}{why}"

    def meant_id(self) -> str:
        """``. Did you mean …?`` where a socket beside the one that is looked for may be meant; else nothing."""
        return near_by(self.address, self._settings.appspace, self._driver.sockets_in)

    def remarks(self, nothing_came: bool) -> str:
        """What else is known of why an event may not come, for the end of messages about time-outs."""
        told = []
        if self._misfits:
            one = "1 message that came was" if self._misfits == 1 else f"{self._misfits} messages that came were"
            told.append(f"{one} refused here, the last since {self._last_misfit}")
        if self._in_doubt is not None and self._is_doubted and self._state is _S.CONNECTED:
            told.append(f"a link was lost before ({self._in_doubt}): {REFUSED_THERE}")
        session = self._session
        unread = session.unread_bytes() if session is not None and session.outgoing.messages_out else None
        if unread:
            told.append(
                "the server's program has not read all that was emitted: it may be stopped, or caught in a handler or "
                "elsewhere, as by time.sleep()"
            )
        elif unread is None and nothing_came and self._state is _S.CONNECTED:
            told.append(
                "nothing came meanwhile: the server may emit none, be stopped, or be caught in a handler or elsewhere, "
                "as by time.sleep()"
            )
        elif unread == 0 and nothing_came:
            told.append(
                "the server has read all that was emitted: what it refused, or what nobody heard there, is in its log; "
                "a handler there that works or sleeps in place, as by time.sleep(), lets nothing out"
            )
        return "".join(f"; {each}" for each in told)

    # ---- events

    @overload
    def on(self, event: Event[T]) -> Register[T]: ...
    @overload
    def on(self, event: Event[T], handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def on(self, event: Event[T], handler: Callable[[], A]) -> Callable[[], A]: ...
    @overload
    def on(self, event: str, *, type: Any = None) -> Callable[[H], H]: ...
    @overload
    def on(self, event: str, handler: H, *, type: Any = None) -> H: ...
    @suggests
    def on(self, event: str | Event[Any], handler: Any = UNSET, *, type: Any = None) -> Any:
        """Call ``handler(data)`` for each event of this name; without a handler it is a decorator.

        ``"*"`` hears every event as ``(type, *arguments)``, before the event's own handlers. The lifecycle:
        ``connect()``, ``disconnect(loss)``, ``destroy()``, ``error(error)``, and in raw mode ``data(bytes)``. A
        handler may take fewer arguments. A handler whose first argument is annotated, or ``type=``, gets its
        payload decoded to that type.

        The first handler of ``connect`` may come while the link is up already, as inside ``async with``: it is called
        in the next turn, as are those that come until then. One that comes later hears the next link's.
        """
        refuse_other_threads(self._driver, "on")
        return self.events.on(event, handler, type=type)

    @typed_as(on)
    @suggests
    def once(self, event: str | Event[Any], handler: Any = UNSET, *, type: Any = None) -> Any:
        """As ``on``, for the next such event only."""
        refuse_other_threads(self._driver, "once")
        return self.events.once(event, handler, type=type)

    # ---- traces and statistics

    def _everybody(self) -> list[Session]:
        return [] if self._session is None else [self._session]

    def _hand_trace_on(self) -> None:
        if self._session is not None:
            self._session.trace, self._session.traffic = self._traces.all, self._traces.traffic

    def stats(self) -> Stats:
        """What this client did since it was made, over all its links. Safe from any thread."""
        session = self._session
        total = self._sum(() if session is None else (session,), self._queue.bytes)
        total.late = self._requests.late if self._requests is not None else 0
        return total

    # ---- out

    @overload
    def emit(self, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    @shown_as("Client.emit")
    def emit(self, type: Any, data: Any = {}, keep: Keep = None) -> bool:  # noqa: B006 - never changed
        """Send one event (in raw mode: ``emit(payload)``); never waits, and is not awaited (``drain`` is).

        Args:
            keep: ``"latest"``: a message of this event that was emitted so and still waits here is not sent, since this
                one takes its place behind all that was emitted before; ``stats().replaced`` counts. None: all are sent.

        While the link is down the message waits in a queue of at most ``max_queued_messages`` and
        ``max_queued_bytes`` and goes out, in order, when it is back. Returns True, or False while more than
        ``soft_pending_bytes`` wait; what may be replaced does not count there.

        Raises :class:`BackpressureError` when the queue or the peer's buffer is full, :class:`NotConnected` when the
        client is closed, a :class:`ProtocolError` for a name or payload that cannot be sent. Safe from any thread.
        """
        if keep is not None:
            return self._emit_newest(type, data, keep)
        try:
            return self._emit(type, data)
        except WrongLoopError:  # the session's loop was closed: raised again, unless there will be another
            return self._emit_indirectly(type, data)

    def _emit_later(self) -> None:
        """There is no link that emits may go straight to: they wait for the next, if there will be one."""
        self._direct, self._emit = None, self._emit_indirectly

    def _emit_newest(self, type: Any, data: Any, keep: Keep) -> bool:
        event = newest_of(type, keep, self._codec.raw)
        if self._direct is not None:
            try:
                return self._direct.emit(type, data, keep=keep)
            except WrongLoopError:  # as above
                pass
        return self._emit_indirectly(type, data, event)

    def _emit_indirectly(self, type: Any, data: Any, event: str | None = None) -> bool:
        """While there is no link, and in sync mode; with an event, in the place of the last one of it."""
        if self._driver.is_forked:
            raise ForkError("this process was forked: its parent owns the client. Connect anew in the child")
        if event is None:
            event = kept_event(type, None, self._codec.raw)
        frame = settled(self._codec.encode(type, data))
        if self._driver.home and self._driver.thread() != self._driver.home:
            return self._emit_from_thread(type, frame, event)
        refuse_other_threads(self._driver, "emit")
        self._enqueue(type, frame, event)
        return True

    def _enqueue(self, type: Any, frame: bytes, event: str | None = None) -> None:
        if self._state in (_S.CLOSED, _S.CLOSING):
            raise self.over(f"cannot emit {getattr(type, 'name', type)!r:.80}")
        settled(frame)
        self._require_room(type, len(frame), *self._queue.left_by(event))
        self._queue.append(frame, event)
        self._note_replaced(self._queue)
        if self._sync:
            self._send_next()

    def _note_replaced(self, queue: FrameQueue) -> None:
        if queue.replaced:
            self._gone.replaced += queue.replaced
            self._tell("replaced", messages=queue.replaced)
            queue.replaced = 0

    def encode(self, type: Any, data: Any) -> bytes:
        """The frame that ``emit`` would send."""
        return self._codec.encode(type, data)

    def put(self, frame: bytes) -> Session | None:
        """Send a request's frame over the link, or let it wait for one (None)."""
        if self._direct is not None:
            return self._direct.put(frame)
        self._enqueue("rpc.request", frame)
        return None

    def withdraw(self, frame: bytes) -> bool:
        """Take back a frame that the kernel does not have yet; whether that was so."""
        if not self._queue.withdraw(frame):
            return self._session is not None and self._session.withdraw(frame)
        self._drained()
        return True

    def _require_room(self, type: Any, size: int, waiting: int, waiting_bytes: int) -> None:
        """Raise where the queue has no room for ``size`` bytes more; a message that waits alone may have any size."""
        settings = self._settings
        too_large = waiting_bytes + size > settings.max_queued_bytes and waiting
        if waiting >= settings.max_queued_messages or too_large:
            raise BackpressureError(
                f"cannot emit {type!r:.80}: {waiting} messages ({waiting_bytes} bytes) already wait for "
                f"{self.id!r} ({self._state.value}). Emit less, or raise max_queued_messages "
                f"({settings.max_queued_messages}) and max_queued_bytes ({settings.max_queued_bytes})"
            )

    def _emit_from_thread(self, type: Any, frame: bytes, event: str | None) -> bool:
        with self._driver.lock:
            count, size = self._from_threads.left_by(event)
            self._require_room(type, len(frame), len(self._queue) + count, self._queue.bytes + size)
            is_first = not self._from_threads
            self._from_threads.append(frame, event)
        if is_first:
            self._driver.call_from_thread(self._take_from_threads)
        return True

    def hand_over(self) -> None:
        """What other threads have emitted goes before what this one does next."""
        if self._from_threads and self._state not in (_S.CLOSED, _S.CLOSING):
            self._take_from_threads()
        if self._session is not None:
            self._session.hand_over()

    def _take_from_threads(self) -> None:
        with self._driver.lock:
            self._note_replaced(self._from_threads)
            frames, newest = self._from_threads.take()
        events = newest.events()
        for index, frame in enumerate(frames):
            try:
                self._arrive_from_thread(frame, events.get(id(frame)))
            except (BackpressureError, NotConnected) as error:
                self._drop(1)
                self.session_fault(None, error)
            except BaseException:  # a signal's handler: this one is in doubt, and the rest has no way back
                self._drop(len(frames) - index)
                raise

    def _arrive_from_thread(self, frame: bytes, event: str | None) -> None:
        if self._direct is None:
            self._enqueue(event or "an event of another thread", frame, event)
        elif event is None:
            self._direct.outgoing.write(frame)
        else:
            self._direct.outgoing.write_newest(event, frame)

    def _send_queue(self) -> None:
        queue, newest = self._queue.take()
        session = self._session
        assert session is not None
        session.outgoing.adopt(queue, newest)
        if self._requests is not None:
            self._requests.sent(session, queue)

    def _send_next(self) -> None:
        """Sync mode: one message, and the next when something came back."""
        session = self._session
        if self._queue and not self._answer_due and session is not None and session.is_open:
            self._answer_due = True
            frame = self._queue.take_first()
            session.outgoing.write(frame)
            if self._requests is not None:
                self._requests.sent(session, (frame,))
            self._drained()

    # ---- requests

    def _ask(self, question: Question) -> Outcome[Any]:
        """Send a request; the outcome is its answer."""
        refuse_other_threads(self._driver, "request")
        if self._state in (_S.CLOSED, _S.CLOSING):
            raise self.over(f"cannot request {getattr(question.method, 'name', question.method)!r:.80}")
        answer = self.requests.ask(self, question, self._times_requests)
        if self.on_request is not None:
            self.on_request()
        return answer

    @property
    def awaits_answers(self) -> bool:
        """Whether a request waits for its answer."""
        return self._requests is not None and self._requests.pending > 0

    def _unheard(self, type: str, data: Any, session: Session) -> None:
        if type == "rpc.request":
            self.requests.refuse_unheard(data)
        elif self.unheard is not None:
            self.unheard(type, data, session)

    def ask_in_turn(self) -> Callable[[], bool] | None:
        """Ask the server whether it has read all that was emitted: what tells whether it has answered, as in Python.

        None where nothing can be asked.
        """
        session = self._session
        mark = None if session is None else session.ask_in_turn()
        return None if session is None or mark is None else partial(session.has_answered, mark)

    def pause_reading(self, pause: bool) -> None:
        """Read nothing more from this link until told otherwise: a full inbox pushes back on the server."""
        if self._session is not None:
            self._session.pause_reading("inbox", pause)

    # ---- the state table

    def _input(self, name: str, *arguments: Any) -> None:
        """Look the input up and do what the table says."""
        method = TRANSITIONS.get((self._state, name))
        if method is not None:
            getattr(self, method)(*arguments)

    def connect(self) -> Outcome[Self]:
        """Begin to connect; a client that is connecting or connected stays as it is.

        What is returned is settled when the link is up, or when no further attempt will be made. While the client is
        being closed this comes behind that: what was emitted goes out and the link ends first, and ``emit`` raises
        until then. In the handler of a request, whose answer goes out before, awaiting it does not wait then. Another
        ``close`` takes it back. While its own block ends nothing is begun, as by a handler of ``disconnect``, and who
        awaits this gets :class:`NotConnected`.
        """
        refuse_other_threads(self._driver, "connect")
        if refused := self._not_anew(self._was_closed()):
            return refused
        if self._state in (_S.IDLE, _S.CLOSED):
            self.failure = self.ended_by = None
            self._used_up_by = ()
            self._begun_at = self._driver.now()
            self.retries = self._attempts = self._protocol_errors = self._short_links = 0
            if self._ending is None:
                self.connected, self.closed = self._outcome_of("connected"), self._outcome_of("closed")
            self._ending = None
        self._input("connect")
        begun = self._begun_by_handler() if self._ending is not None else None
        return begun or self.connected

    def _connect_behind(self: Self) -> None:
        """What closes comes to its end first, and whoever waits for that is not to wait for more."""
        if self._ending is None:
            self._ending = self.connected, self.closed
            self.connected, self.closed = self._outcome_of("connected"), self._outcome_of("closed")

    def _stay_closed(self) -> None:
        """The connect that came behind the closing is taken back."""
        if self._ending is None:
            return
        connected, closed = self.connected, self.closed
        (self.connected, self.closed), self._ending = self._ending, None
        connected.settle(self._was_closed())
        self.closed.then(closed.settle)

    def _was_closed(self) -> NotConnected:
        return NotConnected(f"the client {self.id!r} was closed")

    def _begin_close(self, timeout: float | None = None, *, hands_over: bool = True) -> Outcome[Self]:
        """Send what was emitted, then end: as :meth:`Client.close`."""
        refuse_other_threads(self._driver, "close")
        self._close_seconds = seconds_to_end(timeout, "close", self._settings.close_timeout)
        if self._requests is not None:
            self._requests.withdraw_unsent()
        begun = self._begun_by_handler()
        self._had_no_time = self._ends_in_order and not self._had_time()
        if hands_over:
            self.hand_over()
        self._input("close")
        if timeout is not None:
            self._hurry(self._close_seconds)
        return begun or self.closed

    def abort(self) -> None:
        """End at once; what is not sent yet is dropped and counted in ``disconnect``."""
        refuse_other_threads(self._driver, "abort")
        self._begin_close(hands_over=False)
        self._input("expired")

    def _attempt(self) -> None:
        self._state = _S.CONNECTING
        self._timer = None
        self._links += 1
        self._tell("connecting", self.address)
        self._session = self._socket_type(
            self, self._codec, self.events, self._driver, self._settings, self._links, serving=False
        )
        self._hand_trace_on()
        self._opening = self._driver.open(self.address, self._session, self._settings)

    def _up(self, session: Session) -> None:
        self._state = _S.CONNECTED
        self._warned = False
        self._up_since = self._driver.now()
        self._was_up = True
        session.heard = self._heard
        if self._sync:
            self._answer_due = False
            self._send_next()
        else:
            self._send_queue()
            self._direct, self._emit = session, session.emit
            self._drained()  # by the queue: the link tells only of what it did not take at once
        if self.on_link is not None:
            self.on_link()
        if self._in_doubt is not None and self._is_doubted and self.retries <= 1 and not self._told_of_doubt:
            self._tell_of_doubt(self._in_doubt)
        self.events.publish_state("connect", session=session)
        self.connected.settle()

    def _tell_of_doubt(self, loss: Loss) -> None:
        """A server that ends a link and takes the next at once is there, and may not have liked what was emitted."""
        self._told_of_doubt = True
        self._tell_mistake(
            ConnectionLost(
                f"the server at {self.address} ended the link and takes a new one: {loss}; {REFUSED_THERE}. This is "
                "said once; handlers of 'disconnect' hear of each loss"
            )
        )

    def _publish_missed(self, name: str) -> None:
        if self._state is _S.CONNECTED and self._session is not None:
            self._session.run(partial(self.events.publish_missed, name, session=self._session))

    def _heard(self) -> None:
        """A whole message came: the link works, and in sync mode the next message may go."""
        self._protocol_errors = self.retries = self._attempts = 0
        self._in_doubt = None
        if self._sync:
            self._answer_due = False
            self._send_next()
        elif self._session is not None:
            self._session.heard = None

    def _attempt_failed(self, error: IPCError) -> None:
        self._session = None
        self.last_error = without_steps(error)
        self._count_error(error, None)
        heard = self.events.publish("error", error)
        if self._state is _S.CLOSING:  # the handler closed the client
            self._closed_unsent()
            return
        if self._state is not _S.CONNECTING or self._session is not None:  # it aborted, and perhaps began anew
            return
        if self._is_final(error) or not self._may_retry():
            self.failure = None if heard else error
            self._finish(Loss(error, len(self._queue)))
            return
        if not (heard or self._warned):
            self._warned = True
            if self._was_up:
                self._tell_of_waiting(error)
            else:
                at = "" if self.id == str(self.address) else f" at {self.address}"
                _warn("cannot connect to %s%s yet, trying again: %s", self.id, at, error)
        if not (heard or self._was_up or self._told_of_waiting):
            self._told_of_waiting = True
            self._tell_who_is_waited_for()
        self._wait()

    def _tell_who_is_waited_for(self) -> None:
        """A program that waits for a server shows nothing of it: once, also where it is silent."""
        waited, error = self._driver.now() - self._begun_at, self.last_error
        if self._was_up or self._state not in (_S.WAITING, _S.CONNECTING) or self.events.handlers("error"):
            self._told_of_waiting = False  # not needed now
            return
        if waited < WAITS_LONG_SECONDS - INSTANT:
            self._driver.call_later(WAITS_LONG_SECONDS - waited, self._tell_who_is_waited_for)
            return
        warn(
            f"after {waited:.0f} s there is still no link to {self.id!r}, and this client goes on trying, as timeout= "
            f"and the option max_retries say: {error}{self.meant_id()}",
            stderr=self.own_log_is_silent is None or self.own_log_is_silent(),  # otherwise that log shows it
        )

    def _tell_of_waiting(self, error: IPCError) -> None:
        """Whoever waits for events hears nothing of a server that has gone: once for each time that it is away."""
        line = (
            f"the server is away, and this client goes on trying to reach it, as the options retry and max_retries "
            f"say; who waits for events waits meanwhile: {error}"
        )
        self._log_fault(self, ConnectionLost(line), loud=True, mistake=self._is_first("away"))

    def _down(self, loss: Loss) -> None:
        self._emit_later()
        if isinstance(loss.reason, (ProtocolError, TLSError)):  # with TLS 1.3 a refusal comes when the link is up
            self._protocol_errors += 1
        self._begin_anew_if_it_held()
        if self._may_retry():
            self._wait()  # armed before `disconnect` is published, so a handler may close
            if self.on_down is not None:
                self.on_down(loss)
            if self._short_links == self._short_links_due:
                self._short_links_due *= 2
                self._tell_of_short_links()
            if self.events.publish("disconnect", loss):
                self._told_of_doubt = True
        else:
            self._state = _S.WAITING  # a handler of `error` may close
            if self._short_links > 1 and not self._tell_of_short_links():
                self.failure = self.last_error
            self._closed(loss)

    def _begin_anew_if_it_held(self) -> None:
        if self._driver.now() - self._up_since >= STEADY_SECONDS:
            self._attempts = self.retries = 0

    def _count_short_link(self, session: Session, loss: Loss) -> ConnectionLost | None:
        """Whether the server ended this link at once, as a full one does, which says nothing; and how often by now."""
        by_server = loss.reason is None or isinstance(loss.reason, ConnectionLost)
        lasted = self._driver.now() - self._up_since
        if (
            self._state is not _S.CONNECTED
            or session.incoming.messages_in
            or lasted >= AT_ONCE_SECONDS
            or not by_server
        ):
            self._short_links, self._short_links_due = 0, TOLD_AT
            return None
        self._short_links += 1
        often = self._short_links > 1
        error = self._ended_unanswered() if not often and self._was_let_in(session, loss) else self._unwelcome(session)
        return caused(error, loss.reason)

    def _may_be_refused(self, session: Session, loss: Loss) -> bool:
        """Whether the server ended this link, and something of ours went with it."""
        by_server = not session.was_ended_here and (loss.reason is None or isinstance(loss.reason, ConnectionLost))
        return by_server and bool(loss.dropped or loss.in_flight)

    def _may_be_answered(self, session: Session, loss: Loss) -> bool:
        """Whether the link ended in order, and as much came over it as is in doubt: a server that stops looks so."""
        return loss.reason is None and not loss.dropped and session.incoming.messages_in >= loss.in_flight

    def _was_let_in(self, session: Session, loss: Loss) -> bool:
        """Whether the server read a request before the link ended: of one who is sent away, it reads nothing."""
        asked = self.awaits_answers and session.outgoing.messages_out > 0
        return asked and loss.reason is None and session.peer.transport == "unix" and self._driver.breaks_unread

    def _unwelcome(self, session: Session) -> ConnectionLost:
        often = self._short_links > 1
        times = f", {self._short_links} times in a row" if often else ""
        when = "before it answered" if self.awaits_answers else "at once"
        ended = "" if often and not self.awaits_answers else "have stopped or died, "
        return ConnectionLost(
            f"the server at {self.address} ended the link {when}{times}: it may {ended}be full (its max_connections), "
            f"or not {_unwanted(session.peer)}; its log says why"
        )

    def _why_unanswered(self, session: Session) -> ConnectionLost | None:
        """For requests on a link that ended in order, where it was not this side that ended it."""
        return None if session is not self._session or self._state is not _S.CONNECTED else self._ended_unanswered()

    def _ended_unanswered(self) -> ConnectionLost:
        return ConnectionLost(
            f"the server at {self.address} ended the link before it answered: it may have stopped or died; "
            "its log says why"
        )

    def _tell_of_short_links(self) -> bool:
        assert self.last_error is not None
        return self._publish_fault(None, self.last_error, loud=True)

    def _may_retry(self) -> bool:
        """``stop_retrying`` in its five forms, ``max_retries``, and the count of protocol errors.

        node-ipc counts anew with every connection, so it never stops where something accepts and drops at once: a
        full server, or a proxy whose backend is gone. Here the link has to hold first.
        """
        retrying = self._retrying()
        stop, most = retrying.stop_retrying, retrying.max_retries
        if stop is True or self._protocol_errors >= self._settings.max_protocol_errors:
            return False
        if stop is not False and self.retries >= stop:
            return False
        return most is False or self.retries < most

    @property
    def retries_remaining(self) -> float:
        """How many retries may follow before this client gives up: infinite without a limit, 0 once it gave up."""
        if self._state is _S.CONNECTED:
            self._begin_anew_if_it_held()
        if self._state is _S.CLOSED or not self._may_retry():
            return 0
        retrying = self._retrying()
        limits = [limit for limit in (retrying.stop_retrying, retrying.max_retries) if limit is not False]
        return min(limits) - self.retries if limits else math.inf

    def _is_final(self, error: IPCError) -> bool:
        """Whether trying again is of no use: an address that cannot be, a server that is not ours, no permission.

        A server that starts anew sets its permissions a moment later: whoever waits for it, or was let in, tries again.
        """
        if not isinstance(error, ConnectError) or isinstance(error, PeerRefused):
            return True
        denied = isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError)
        return denied and not (self.is_patient or self._was_up)

    def _wait(self) -> None:
        self._state = _S.WAITING
        longest = LONGEST_NETWORK if hasattr(self.address, "host") else LONGEST_LOCAL
        retrying = self._retrying()
        delay = retry_delay(
            retrying.retry / 1000, self._attempts, longest, self._driver.random(), retrying.retry_growth
        )
        self._attempts += 1
        self._tell("retrying", delay)
        self._timer = self._driver.call_later(delay, partial(self._input, "retry"))

    def _retry(self) -> None:
        self._timer = None
        if not self._may_retry():  # an option was set meanwhile
            self._finish(Loss(None, len(self._queue)))
            return
        self.retries += 1
        self._gone.retries += 1
        self._attempt()

    # ---- closing

    def _closed_unsent(self, error: IPCError | None = None) -> None:
        self._cancel_timer()
        self._state = _S.CLOSING
        self._timer = self._driver.call_later(0, partial(self._finish, Loss(error, len(self._queue))))

    def _close_when_up(self) -> None:
        self._state = _S.CLOSING
        self._arm_expiry(self._close_seconds)

    def _close_session(self) -> None:
        self._state = _S.CLOSING
        self._emit_later()
        assert self._session is not None
        self._send_queue()  # in sync mode what waits for answers goes out now: none will be heard
        self._session.close(self._close_seconds)
        self._arm_expiry(self._close_seconds)

    def _up_to_close(self, session: Session) -> None:
        self._send_queue()
        session.close(self._close_seconds)

    def _expire(self) -> None:
        """The time for closing is over: an open link is cut, an attempt under way goes no further."""
        self._cancel_timer()
        if self._session is not None and self._session.opened_at_all:
            self._session.abort()
        else:
            if self._opening is not None:
                self._opening.cancel()
            self._session = None
            self._finish(Loss(None, len(self._queue)))

    def _closed(self, loss: Loss) -> None:
        self._finish(replace(loss, dropped=loss.dropped + len(self._queue)))

    def _finish(self, loss: Loss) -> None:
        if self._state is _S.CLOSED:
            return
        self._cancel_timer()
        if self._state is not _S.CLOSING:
            self.ended_by = loss.reason or self.last_error
        self._state = _S.CLOSED
        self._untold = loss
        self._session = None
        self._emit_later()
        self._drop(len(self._queue))
        self._queue.take()
        self._tell_of_the_end(loss)

    def _tell_of_the_end(self, loss: Loss) -> None:
        connected, closed = self._ending or (self.connected, self.closed)  # a handler may connect anew, with new ones
        heard = self.events.publish("disconnect", loss)
        self.events.publish("destroy")
        if loss.dropped:
            self._tell_unsent(loss, heard)
        if self._had_no_time:
            self._look_whether_heard_in_vain()
        if self._requests is not None:
            self._requests.end(loss.reason)
        self._close_fault_log()
        closed.settle()
        connected.settle(loss.reason or self._was_closed())
        if self._ending is not None:
            self.connect()
        for hook in tuple(self.on_closed):
            hook()
        self._drained()

    def _look_whether_heard_in_vain(self) -> None:
        """It has ended, and nothing in the program had waited until then."""
        stats = self.stats()
        if stats.messages_out and not stats.messages_in and (names := self._names_heard()):
            self._tell_no_time(f"the client was closed before any handler (of {names}) could be called")

    def _tell_unsent(self, loss: Loss, heard: bool) -> None:
        """What was emitted is lost: logged, and on stderr, where no handler of ``disconnect`` could see it."""
        messages = "1 message was" if loss.dropped == 1 else f"{loss.dropped} messages were"
        why = loss.reason or self.last_error
        line = f"{messages} emitted and never sent, and the client is closed{'' if why is None else f': {why}'}"
        self._tell("unsent", line, messages=loss.dropped)
        if not heard:
            self._log_fault(self, NotConnected(line), loud=True)

    def abandoned(self) -> None:
        self._input("abandoned")

    def _begin_again(self) -> None:
        """The attempt, or the timer of the next, is gone with the loop: there will be another on the next one."""
        self._cancel_timer()
        self._session = None
        self._wait()
        self._attempts -= 1  # this says nothing of the server

    def _cut_session(self) -> None:
        assert self._session is not None
        self._session.abort()

    # ---- where a signal's handler raised between any two of these steps

    def interrupted(self, reason: IPCError) -> None:
        self._input("interrupted", reason)

    def _lost_unused(self, loss: Loss) -> None:
        """The link was there, and this client had not heard of it yet."""
        self.last_error = loss.reason if isinstance(loss.reason, IPCError) else ConnectionLost(str(loss))
        self._begin_again()

    def _attempt_interrupted(self, reason: IPCError) -> None:
        self.last_error = reason
        if self._opening is not None:
            self._opening.cancel()
        if self._session is not None and self._session.opened_at_all:
            self._session.distrust(reason)
        self._begin_again()

    def _distrust_session(self, reason: IPCError) -> None:
        """Its loss comes in a later turn, through the driver as any other; so does what was half told."""
        session = self._session
        self._emit_later()
        if session is not None and session.opened_at_all:
            session.distrust(reason)
            return
        if self._opening is not None:
            self._opening.cancel()
        self._driver.call_later(0, partial(self._input, "lost", self._untold or Loss(reason)))

    def _wait_anew(self, reason: IPCError) -> None:
        self._begin_again()
        if self._untold is not None:
            loss, self._untold = self._untold, None
            self._driver.call_later(0, partial(self._tell_of_the_loss, loss))

    def _tell_of_the_loss(self, loss: Loss) -> None:
        self.events.publish("disconnect", loss)

    def _end_anew(self, reason: IPCError) -> None:
        if not self.closed.done:
            self._driver.call_later(0, partial(self._tell_of_the_end, self._untold or Loss(reason)))

    def unsent(self) -> int:
        waiting = len(self._queue) + len(self._from_threads)
        return waiting + (self._session.unsent() if self._session is not None else 0)

    def forked(self) -> None:
        if self._session is not None:
            self._session.forked()

    # ---- the session's owner

    def request_from(self, session: Session, question: Question) -> Outcome[Any]:
        return self._ask(question)

    def rooms_of(self, session: Session) -> frozenset[str]:
        return frozenset()

    def join_rooms(self, session: Session, rooms: tuple[str, ...]) -> NoReturn:
        raise IPCError("rooms are the server's: a client asks it, and the server's handler calls socket.join(room)")

    leave_rooms = join_rooms

    def session_opened(self, session: Session) -> None:
        if session is self._session:
            self._input("opened", session)
        else:  # the client was aborted while this attempt was under way
            session.abort()

    def session_closing(self, session: Session) -> None:
        if session is self._session:
            self._emit_later()

    def session_failed(self, session: Session, error: Exception) -> None:
        if session is self._session:
            self._input("failed", error)

    def session_lost(self, session: Session, loss: Loss) -> None:
        short = self._count_short_link(session, loss) if session is self._session else None
        if session is self._session:  # also where nobody knows why: an older reason would lead astray
            why = short or loss.reason
            self.last_error = why if isinstance(why, IPCError) else ConnectionLost(f"the last link ended: {loss}")
        if self._requests is not None:
            self._requests.link_lost(session, short or loss.reason or self._why_unanswered(session))
        self._gone += session.stats()
        if session is self._session:
            self._untold = loss
            if self._may_be_refused(session, loss):
                self._is_doubted = self._in_doubt is not None or not self._may_be_answered(session, loss)
                self._in_doubt = loss
            self._session = None
            try:
                self._input("lost", loss)
            except BaseException as error:
                if not between_steps(error):
                    self._untold = None
                raise
            self._untold = None
            self._drained()

    def pending_changed(self, session: Session, pending: int) -> None:
        if pending == 0:
            self._drained()

    def takes_more_again(self, session: Session) -> None:
        self._drained()


class Client(ClientCore[Socket], Asking, metaclass=ABCMeta):
    """A connection to a server that comes back when it breaks.

    Made by ``ipc.connect_to`` and, as :class:`AsyncClient`, by ``node_ipc.connect``. That of ``node_ipc.blocking``
    counts as one to ``isinstance``, and differs in what waits.

    Example:
        >>> @client.on("news")
        ... def news(data):
        ...     print("news:", data)
        >>> client.emit("hello", {"from": "me"})
        True
        >>> server.broadcast("news", "rain")
        True
        >>> driver.run_until_idle()
        news: rain
    """

    takes_options = "before it is made, as ipc.config.{} = …"

    @suggests
    def close(self, timeout: float | None = None) -> Outcome[Self]:
        """Send what was emitted, then end; ``disconnect`` and ``destroy`` are published when that is done.

        Args:
            timeout: the seconds it may take; ``None`` is ``close_timeout``. What is not sent by then is dropped and
                counted, as is at once what is queued while the client waits for a retry. A server that hangs takes all
                of it where it has not read what was emitted, and else half a second; ``abort`` does not wait. While it
                is being closed, another call with a shorter time holds.

        In the handler of a request this begins, the answer goes out first, and awaiting it does not wait.
        """
        return self._begin_close(timeout)


def _unwanted(peer: Peer) -> str:
    """What a server may not want of this client: it knows our user, and lets in its own and root unless it is told."""
    me = own_user()
    if peer.uid is None or me in (None, 0, peer.uid):
        return "want this client"
    return f"let in user {me}, as whom this runs (its allowed_uids and writable_all; it runs as user {peer.uid})"


def _warn(message: str, *arguments: Any) -> None:
    from ..config.logs import logger  # importing logging costs 8 ms: only where something is logged

    logger.warning(message, *arguments)
