"""What clients, servers and UDP ports have in common: handlers, traces, a log of faults, and a server's life.

What is published, and when, is the business of ``client.py``, ``server.py`` and ``datagram.py``, which extend these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Protocol, Self, TypeVar, cast, overload

from msgspec import UNSET

from ..config.config import Config
from ..config.interrupted import without_steps
from ..config.misspelt import refer, refer_options, suggests
from ..errors import AddressError, HandlerError, InvalidPayload, IPCError, NotConnected, RequestError
from ..wire.carried import carrying, plain_of
from ..wire.codec import choose, logged
from ..wire.names import lifecycle_from_peers
from .events import Events
from .hints import NAMES_SHOWN, Hints
from .outcome import seconds_to_end
from .session import refuse_other_threads
from .trace import Stats, Trace, Traces

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.logs import FaultLog
    from .events import Event
    from .observe import Beside, Observation
    from .outcome import Outcome
    from .requests import Request, Requests
    from .seam import Driver, Timer
    from .session import Session
    from .trace import TraceHook
    from .watch import Watch, Watches

__all__ = [
    "BETWEEN_PARTS",
    "TRANSITIONS",
    "LinkPublisher",
    "Publisher",
    "Register",
    "RegisterMethod",
    "RegisterWithSocket",
    "ServerState",
    "SocketPublisher",
    "begun",
    "identify",
    "not_in",
    "typed_as",
]

T = TypeVar("T")
S = TypeVar("S")
F = TypeVar("F")
H = TypeVar("H", bound=Callable[..., Any])
A = TypeVar("A")


def typed_as(other: F) -> Callable[[Callable[..., Any]], F]:
    """A decorator: to a type checker this is called as ``other`` is, whose overloads need not be written twice."""
    return lambda function: cast("F", function)


def not_in(exclude: Any, sockets: Iterable[A], verb: str) -> list[A]:
    """Those that are not in ``exclude``, which is refused where it is no collection of sockets."""
    if not isinstance(exclude, Collection) or isinstance(exclude, (str, bytes)) or any(map(_is_plain, exclude)):
        raise TypeError(f"{verb}(exclude=…) takes sockets, as exclude=[socket], not {exclude!r:.80}")
    return [socket for socket in sockets if socket not in exclude]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, bytes, int, float, tuple))


def identify(type: str, data: Any, socket: Any) -> None:
    """node-ipc up to 12: a payload's ``id`` names the socket. A claim: nothing here decides by it."""
    if isinstance(data, dict) and data.get("id"):
        socket.claimed_id = data["id"]


class Register(Protocol[T]):
    """The decorator for handlers of an :class:`Event`: they take its payload, or nothing."""

    @overload
    def __call__(self, handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def __call__(self, handler: Callable[[], A]) -> Callable[[], A]: ...


class RegisterWithSocket(Protocol[T, S]):
    """The decorator for handlers of an :class:`Event` that may also take the socket it came from."""

    @overload
    def __call__(self, handler: Callable[[T, S], A]) -> Callable[[T, S], A]: ...
    @overload
    def __call__(self, handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def __call__(self, handler: Callable[[], A]) -> Callable[[], A]: ...


class RegisterMethod(Protocol[T, S]):
    """The decorator for handlers of a request: as that for events, and they may also take the :class:`Request`."""

    @overload
    def __call__(self, handler: Callable[[T, S, Request], A]) -> Callable[[T, S, Request], A]: ...
    @overload
    def __call__(self, handler: Callable[[T, S], A]) -> Callable[[T, S], A]: ...
    @overload
    def __call__(self, handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def __call__(self, handler: Callable[[], A]) -> Callable[[], A]: ...


MISFIT_SHOWN = 300
"""How many characters of why a payload was refused are kept for those who wait for something else."""

LOOK_AT_EACH = 8
NO_TURN_SECONDS = 1.0
"""So long no turn comes where something waits for it; each eighth message that does looks."""
NO_TURN = (
    "the event loop had no turn, as where a coroutine or a handler calls time.sleep(…): await asyncio.sleep(…) instead"
)
NO_WAIT = "no call waited, as where time.sleep(…) is called: call poll(…) instead, or return from the handler"
NOT_SERVING = frozenset({"idle", "closing", "closed"})
"""In these states no handler is to be called: who has made a server and not started it may only describe it."""
DOUBT_SECONDS = 2.0
"""So long it is waited whether what looks like a mistake is none."""
USERS = 8
"""So many tasks or threads, the latest, are known to be through with an endpoint."""
ENDED_AT_ONCE = 1.0
"""Seconds: a program on an event loop that ends sooner, and has sent nothing and got nothing, has not waited."""

OPTIONS = (*Config.options, "config")
"""What is given when an endpoint is made, and is no attribute of it."""

BETWEEN_PARTS = frozenset(
    {
        *("abandoned", "accept", "accept_at", "address_of", "answers_first", "awaits_answers", "awaits_turn", "bound"),
        *("begin_stop", "block_ended", "bus_event", "called_by_handler", "codec", "datagram", "deliver", "join_bus"),
        *(
            "datagram_error",
            "elsewhere",
            "emit_to",
            "encode",
            "expect_time",
            "forked",
            "is_patient",
            "join_rooms",
            "leave_rooms",
        ),
        *("doubt", "end_for_good", "ends", "hand_over", "hints", "listening"),
        *(
            "listening_at",
            "meant_id",
            "not_bound",
            "not_listening",
            "on_closed",
            "on_down",
            "on_drained",
            "on_link",
            "on_request",
            "over",
            "owed_bytes",
            "takes_more_again",
        ),
        *(
            "later",
            "own_log_is_silent",
            "pause_reading",
            "pending_changed",
            "put",
            "remark_on_no_time",
            "remark_on_unheard",
            "remarks",
            "request_from",
            "requests",
        ),
        *("rooms_of", "socket"),
        *("runs_in_event_loop", "session_closing", "session_failed", "session_fault", "session_lost"),
        *(
            "session_opened",
            "session_paused",
            "tell_of_main_that_ended",
            "tell_unread",
            "trouble",
            "turn_came",
            "unheard",
            "unsent",
            "used_up",
        ),
        *("takes_options", "waits_by", "watch", "withdraw"),
    }
)
"""What ``dir`` of an endpoint leaves out: verbs of drivers, sessions and fronts."""


class Publisher:
    """Has handlers and listeners."""

    _made_by: ClassVar[str] = ""
    """The calls that make one of these, for those who call the class."""
    takes_options: ClassVar[str] = "to the call that makes it, as {}=…"
    """How options are given to what is made so, for those who assign one."""

    if not TYPE_CHECKING:  # a type checker says it in its own words

        def __new__(cls, *arguments: Any, **options: Any) -> Any:
            if not any(hasattr(given, "call_later") for given in (*arguments, *options.values())):  # no driver
                raise TypeError(f"{cls.__name__} is not for calling: {cls._made_by} makes one")
            return super().__new__(cls)

    address: Address
    _state: Any
    begins_anew = False
    """Whether it makes a new link where its driver forgets the old one."""
    _fault_log: FaultLog | None = None
    _told: frozenset[str] = frozenset()
    _without_turn = 0
    _awaits_turn_since: float | None = None
    _watches: Watches | None = None

    waits_by: ClassVar[str] = "let the event loop run, by ipc.run(), or await its closed"
    """What to do where a program ends before anything can come."""

    _had_turn = True
    _ends_in_order = True
    _used_up_by: tuple[object, ...] = ()
    """Whose block of it, or call of ``serve_forever()``, has ended: it is over on purpose then, and who begins another
    has mistaken it. One that was closed or stopped before may have been so by a signal, or by another task."""
    _ends_for_good = False
    """Whoever ends it is through with it, as its block is: until it has ended no handler begins it anew."""
    own_log_is_silent: Callable[[], bool] | None = None
    """Where whoever made it shows its errors (``ipc.log`` does): whether that is silent now."""

    elsewhere: ClassVar[dict[str, str]] = {}
    """What other libraries call a verb, and what to use here."""

    def __init__(
        self: Self,  # as an attribute's type needs it said
        driver: Driver,
        settings: Config,
        raises: frozenset[str],
        carries: int,
        *,
        decodes_late: bool,
    ) -> None:
        """Belong to this driver.

        Args:
            raises: the events of its lifecycle.
            carries: how many arguments the other events have.
            decodes_late: whether payloads may stay undecoded until a handler's type is known.
        """
        self._driver = driver
        self._settings = settings
        self._codec = choose(settings)
        self._traces = Traces(self._hand_trace_on)
        self._gone = Stats()  # of the links that are over; of UDP, all
        self._errors = self._misfits = 0
        self._last_misfit = ""
        self._made_at = driver.now()
        self._timer: Timer | None = None
        self._cut_at = 0.0  # the driver's time; 0 where nothing is being closed
        self._doubts: dict[Callable[[], None], Timer] = {}
        self.failure: IPCError | None = None
        """The error that ended this, or kept it from starting, where no ``error`` handler heard it."""
        self.closed: Outcome[Self] = self._outcome_of("closed")
        """Settled when the state becomes closed: nothing is open any more. True while that is so."""
        self.on_closed: list[Callable[[], None]] = []
        """Called each time it has ended and nothing of it is open; it may have begun anew by then."""
        self.on_drained: list[Callable[[], None]] = []
        """Called when the kernel has taken everything after too much waited for it, and when a link is gone."""
        self.events: Events[Any] = Events(
            carries,
            self._codec.check_name,
            self.session_fault,
            driver.spawn if driver.runs_coroutines else None,
            raises,
            lifecycle_from_peers(settings, raises),
            self._codec.gives_raw and decodes_late,
            settings.dec_hook,
        )
        """The handlers."""
        self.events.missed = self._tell_late
        self.events.mistakes.bytes_only = self._codec.raw
        self.events.mistakes.doubt = self.doubt
        self.hints = Hints(
            self.events, self._tell_mistake, self._tell_unheard, self._tell_misheard, hasattr(type(self), "handle")
        )
        """Says what is hardly meant in who hears what."""
        driver.endpoints.add(self)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        refer(cls, cls.__dict__.get("elsewhere", {}))

    def __dir__(self) -> list[str]:
        """What is for users; the rest is between this library's own parts."""
        not_here = {name for kind in type(self).__mro__ for name in vars(kind).get("elsewhere", ())}
        not_here.update(OPTIONS)
        named = (name for name in super().__dir__() if name not in not_here or hasattr(self, name))
        return [name for name in named if name not in BETWEEN_PARTS]

    def _outcome_of(self, state: str) -> Outcome[Self]:
        """How it will come to this state; true while it is in it, as ``while not client.closed`` means it."""
        outcome = self._driver.outcome(self)
        outcome.holds = partial(_is_in, state)
        return outcome

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call this later, once."""
        self._driver.call_later(seconds, call)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied, pickled or given to another process: its link belongs to this one. Give that "
            f"the address, and let it make its own ({self._made_by.strip(', ') or 'connect, or serve'})"
        )

    def doubt(self, tell: Callable[[], None], seconds: float | None = None) -> None:
        """Call this later, or when this is closed: by then what looks like a mistake may have proved to be none."""
        wait = DOUBT_SECONDS if seconds is None else seconds
        self._doubts[tell] = self._driver.call_later(wait, partial(self._end_doubt, tell))

    def _end_doubt(self, tell: Callable[[], None]) -> None:
        self._doubts.pop(tell).cancel()
        tell()

    @property
    def state(self) -> Any:
        """Where it is in its life, an enumeration."""
        return self._state

    @property
    def settings(self) -> Config:
        """The configuration this was made with; it does not change any more."""
        return self._settings

    @suggests
    def off(self, event: str | Event[Any], handler: Any = "*") -> None:
        """Remove a handler, or all of an event; ``off("*", "*")`` removes every handler of every event."""
        refuse_other_threads(self._driver, "off")
        self.events.off(event, handler)

    def _publish_missed(self, name: str) -> None:
        """Publish what goes on (``name``) to handlers that came after it began, if it still does."""
        raise NotImplementedError

    def _tell_late(self, name: str) -> None:
        """The first handler of what goes on has come: it is told in the next turn, with those that come until then."""
        self._driver.call_later(0, partial(self._publish_missed, name))

    def _tell_misheard(self, line: str) -> None:
        if self._driver.misheard is not None:
            self._driver.misheard.append(f"{self._logged_as(self.events.current)!r}: {line}")
        self._tell_unheard(line)

    def _tell_unheard(self, line: str) -> None:
        socket, is_first = self.events.current, self._is_first("unheard")
        self._tell("unheard", line, socket)
        self._log_fault(self._logged_as(socket), IPCError(line), loud=True, mistake=is_first, socket=socket)

    def remark_on_unheard(self) -> str:
        """What came and no handler heard, for the end of a message; empty where there was none."""
        if not (count := self.events.ignored):
            return ""
        handled = [name for name in self.events.payload_types() if not name.startswith("rpc.")]
        some = ", ".join(map(repr, handled[:NAMES_SHOWN])) or "none"
        return f"{self!r} got {count} event{'s' * (count > 1)} that no handler heard (there are handlers of: {some})"

    def expect_time(self) -> None:
        """The program has this from now on: see whether a turn comes, in which handlers could be called."""
        self._had_turn = False
        self._driver.call_later(0, self.turn_came)

    def turn_came(self) -> None:
        """The program has waited, and handlers could be called."""
        self._had_turn = True

    def _had_time(self) -> bool:
        """Whether the program has waited for anything since it has this."""
        return self._had_turn

    def _heard_in_vain(self) -> str:
        """The names that wait for others, where nothing came; empty where that is not so."""
        if self.stats().messages_in or self._state.value in NOT_SERVING:
            return ""
        return self._names_heard()

    def _names_heard(self) -> str:
        names = [*self.events.payload_types(), *self.events.mistakes.methods, *("*" * bool(self.events.handlers("*")))]
        return ", ".join([repr(name) for name in names if not name.startswith("rpc.")][:NAMES_SHOWN])

    def _has_sent(self) -> bool:
        return self.stats().messages_out > 0 or self.unsent() > 0

    def block_ended(self, error: BaseException | None) -> None:
        """A ``with`` block of it has ended: no other begins without a new start.

        A program whose handlers could not be called by then is told why. Not so who has waited for anything, or whose
        block ended by an ``error`` but Ctrl-C. Where something was sent an answer may still come while it ends.
        """
        self.used_up()
        self.end_for_good()
        self._ends_in_order = error is None or isinstance(error, KeyboardInterrupt)
        if self._ends_in_order and not (self._had_time() or self._has_sent()) and (names := self._heard_in_vain()):
            self._tell_no_time(f"the block ended before any handler (of {names}) could be called")

    def tell_of_main_that_ended(self) -> None:
        """What serves was a task that ended with the program, as soon as that had begun."""
        soon = self._driver.now() - self._made_at < ENDED_AT_ONCE
        if soon and not self._has_sent() and (names := self._heard_in_vain()):
            self._tell_no_time(
                f"the program's main coroutine ended, and the task of serve_forever() with it, before any handler (of "
                f"{names}) could be called"
            )

    def used_up(self) -> None:
        """Who calls is through with it, as those are whose blocks and calls ended before: the latest are known."""
        self._used_up_by = (*self._used_up_by, self._caller())[-USERS:]

    def end_for_good(self) -> None:
        """It is about to be ended, and what its handlers begin meanwhile would be open behind that, and nobody's."""
        self._ends_for_good = True

    def _not_anew(self: Self, error: NotConnected) -> Outcome[Self] | None:
        """What a handler gets that begins it anew while it ends for good; None where it may be begun."""
        if not self._ends_for_good or self.closed.done:
            self._ends_for_good = False
            return None
        outcome = self._driver.outcome(self)
        outcome.settle(error)
        return outcome

    def _is_used_up(self) -> bool:
        """Whether who calls is through with it. Another task has only come late, and finds that it has ended."""
        return self._caller() in self._used_up_by

    def _caller(self) -> object:
        """Who calls: a thread, or a task."""
        return self._driver.thread()

    def _tell_no_time(self, what: str) -> None:
        self._tell_mistake(IPCError(f"{what}: {self.waits_by}"))

    def remark_on_no_time(self) -> str:
        """The same at the end of a program, of what it has not closed."""
        soon = self._driver.runs_coroutines and self._driver.now() - self._made_at < ENDED_AT_ONCE
        if self._had_time() and (not soon or self._has_sent()):
            return ""
        names = self._heard_in_vain()
        return names and f"no handler of {self} (of {names}) was ever called: {self.waits_by}"

    def awaits_turn(self) -> None:
        """Something was emitted that reaches nobody before a turn: told, once, where none comes for long.

        Looking costs something, so this is done now and then.
        """
        self._without_turn += 1
        if self._without_turn % LOOK_AT_EACH:
            return
        now = self._driver.clock()
        if self._awaits_turn_since is None:
            self._awaits_turn_since = now
            self._driver.call_later(0, self._turn_is_there)
        elif now - self._awaits_turn_since >= NO_TURN_SECONDS and self._is_first("no turn"):
            why = NO_TURN if self._driver.runs_coroutines else NO_WAIT
            line = f"what is emitted reaches nobody: for {now - self._awaits_turn_since:.0f} s {why}"
            self._tell_mistake(IPCError(line))

    def _turn_is_there(self) -> None:
        self._awaits_turn_since = None

    def _tell_mistake(self, error: IPCError, *, socket: Any = None, timed: bool = True) -> None:
        """Something is hardly as the program means it, and nothing else shows that."""
        self._tell("mistake", str(error), socket)
        self._log_fault(self._logged_as(socket), error, loud=True, mistake=True, socket=socket, timed=timed)

    def _is_first(self, kind: str) -> bool:
        """Whether a mistake is the first of a kind that peers can cause, too: that is told also where all is silent."""
        is_first = kind not in self._told
        self._told |= {kind}
        return is_first

    def _uses_stderr(self, mistake: bool) -> bool:
        """Whether an error that no handler heard goes to stderr while logging is not set up.

        ``silent`` keeps warnings away from it. A mistake in the program is told all the same: nothing else shows it.
        """
        if self.own_log_is_silent is not None:
            return mistake and self.own_log_is_silent()
        return mistake or not self._settings.silent

    def log_payloads(self, log: Callable[..., Any]) -> None:
        """A line for every event in and out, payload included (the option ``log_payloads``)."""
        self.events.tap(lambda type, data, *rest: log("received event", type, data))
        self._codec = logged(self._codec, log)

    @suggests
    def on_trace(self, hook: TraceHook, *, traffic: bool = True) -> Callable[[], None]:
        """Call ``hook(trace)`` for whatever happens on the links or the port, errors included; returns the undoing.

        It is called in the middle of things: it may look and count, and must not call back. traffic: False leaves out
        ``sent`` and ``received``, of which there is one for each write and read.
        """
        return self._traces.add(hook, traffic)

    def watch(self, watch: Watch) -> Callable[[], None]:
        """Tell ``watch`` of each message and each request, and how they end; returns the undoing.

        What ``node_ipc.telemetry`` and ``observe`` stand on. A watched message costs some ten microseconds more;
        while nobody watches, nothing.
        """
        refuse_other_threads(self._driver, "watch")
        if self._watches is None:
            from .watch import Watches  # only for those who want it

            self._watches = Watches()
        self._watches.add(watch)
        self._hand_watches_on()
        return partial(self._unwatch, watch)

    def _unwatch(self, watch: Watch) -> None:
        if self._watches is not None:
            self._watches.remove(watch)
            self._hand_watches_on()

    def _hand_watches_on(self) -> None:
        """Whoever encodes, decodes and calls handlers is told who watches."""
        watches = self._watches or None  # that are none are nobody
        plain = plain_of(self._codec)
        self._codec = plain if watches is None else carrying(plain, watches)
        self.events.watch(watches)

    def forked(self) -> None:
        """This is a forked child: the parent owns the links, and nothing may be emitted."""
        raise NotImplementedError

    def abandoned(self) -> None:
        """What the driver ran on is gone for good."""
        raise NotImplementedError

    def interrupted(self, reason: IPCError) -> None:
        """A signal's handler raised between two of our steps: the link that it was about is cut, by itself."""

    def abort(self) -> None:
        """End at once."""
        raise NotImplementedError

    def unsent(self) -> int:
        """Messages that were emitted and that the kernel does not have, or not to their end."""
        raise NotImplementedError

    def _hand_trace_on(self) -> None:
        """Somebody listens, or no longer: tell the links."""

    def _tell(self, what: str, detail: Any = None, socket: Any = None, messages: int = 0, bytes: int = 0) -> None:
        if (told := self._traces.all) is not None:
            told(Trace(what, self, socket, messages, bytes, detail))

    def _drop(self, count: int) -> None:
        """So many messages that waited are not sent, or not delivered."""
        if count:
            self._gone.dropped += count
            self._tell("dropped", messages=count)

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait to be taken."""
        raise NotImplementedError

    def hand_over(self) -> None:
        """What other threads have emitted goes before what this one does next."""
        raise NotImplementedError

    def stats(self) -> Stats:
        """What it did since it was made."""
        raise NotImplementedError

    def _sum(self, links: Iterable[Any], waiting: int = 0) -> Stats:
        """What this did since it was made: all that is over, and these links; so many bytes wait besides theirs."""
        total = Stats()
        total += self._gone
        for link in links:
            total += link.stats()
        total.pending_bytes += waiting
        total.errors = self._errors
        total.reserved = self.events.reserved
        total.unheard = self.events.ignored
        total.seconds = self._driver.now() - self._made_at
        return total

    def _drained(self) -> None:
        for hook in tuple(self.on_drained):
            hook()

    def session_fault(self, socket: Any, error: IPCError, *, loud: bool = False) -> None:
        """Something to report as an ``error`` event, of this socket or of none."""
        self._publish_fault(socket, error, loud=loud)

    def _publish_fault(self, socket: Any, error: IPCError, *, loud: bool = False) -> bool:
        """Publish ``error``; what no handler hears is logged. Returns whether one did."""
        self._count_error(error, socket)
        heard = False
        if not (isinstance(error, HandlerError) and error.event == "error"):
            heard = self.events.publish("error", error, socket, session=socket)
        if not heard:
            mistake = isinstance(error, InvalidPayload) and self._is_first("misfit")
            self._log_fault(self._logged_as(socket), error, loud=loud, mistake=mistake, socket=socket)
        return heard

    def _logged_as(self, socket: Any) -> Any:
        """Whose fault it is, for the log, which keeps count of each."""
        return self

    def _count_error(self, error: IPCError, socket: Any = None) -> None:
        self._errors += 1
        if socket is not None:
            socket.errors += 1
        if isinstance(error, InvalidPayload):
            self._misfits += 1
            self._last_misfit = str(error)[:MISFIT_SHOWN]
        self._tell("error", error, socket)

    def _log_fault(
        self,
        about: Any,
        error: IPCError,
        *,
        loud: bool = False,
        mistake: bool = False,
        socket: Any = None,
        timed: bool = True,
    ) -> None:
        if self._fault_log is None:
            from ..config.logs import FaultLog  # importing logging costs 8 ms: only where something is logged

            driver = self._driver
            self._fault_log = FaultLog(
                self.address,
                lambda: driver.now(),
                lambda seconds, callback: driver.call_later(seconds, callback),
                driver.keep_failure,
                self._uses_stderr,
            )
        self._fault_log.log(about, error, loud=loud, mistake=mistake, socket=socket, timed=timed)

    def _close_fault_log(self) -> None:
        """The endpoint is closed: what was left out, or waited to be clearer, is told, and no timer stays."""
        for tell in tuple(self._doubts):
            self._end_doubt(tell)
        if self._fault_log is not None:
            self._fault_log.close()

    def called_by_handler(self) -> bool:
        """Whether a handler of requests calls: what it ends from now on ends behind its answer."""
        return False

    def _begun_by_handler(self: Self) -> Outcome[Self] | None:
        """What a handler of requests gets for an end that it begins; None for anybody else."""
        return begun(self._driver) if self.called_by_handler() else None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._cut_at = 0.0

    def _arm_expiry(self, seconds: float) -> None:
        """What is being closed has so much time."""
        self._cut_at = self._driver.now() + seconds
        self._timer = self._driver.call_later(seconds, partial(self._input, "expired"))

    def _hurry(self, seconds: float) -> None:
        """What is being closed has no more time than that any more."""
        if self._driver.now() + seconds < self._cut_at:
            self._cancel_timer()
            self._arm_expiry(seconds)

    def _input(self, name: str, *arguments: Any) -> None:
        raise NotImplementedError


refer_options(Publisher, OPTIONS)


def _is_in(state: str, endpoint: Publisher) -> bool:
    return bool(endpoint.state == state)


class ServerState(str, Enum):  # noqa: UP042 - as ClientState
    """Where a server of either kind stands; equal to its value, as in ``server.state == "listening"``."""

    IDLE = "idle"
    """Made, not started."""
    STARTING = "starting"
    LISTENING = "listening"
    CLOSING = "closing"
    """Told to stop: nobody new, what was emitted still goes out."""
    CLOSED = "closed"


_S = ServerState
STOPPED = "the server was stopped"
TRANSITIONS: dict[tuple[ServerState, str], str] = {
    (_S.IDLE, "start"): "_start",
    (_S.IDLE, "stop"): "_close_unstarted",
    (_S.STARTING, "listening"): "_up",
    (_S.STARTING, "failed"): "_fail",
    (_S.STARTING, "stop"): "_begin_to_close",
    (_S.LISTENING, "failed"): "_fail",
    (_S.LISTENING, "stop"): "_begin_to_close",
    (_S.CLOSING, "start"): "_start_behind",
    (_S.CLOSING, "stop"): "_stay_stopped",
    (_S.CLOSING, "failed"): "_finish",
    (_S.CLOSING, "expired"): "_expire",
    (_S.CLOSING, "emptied"): "_finish",
    (_S.CLOSED, "start"): "_start",
    (_S.CLOSED, "stop"): "_stay_stopped",
}
"""``(state, input) → what is done``; the methods set the next state, and a pair that is not there is ignored."""


class SocketPublisher(Publisher, Generic[S]):
    """A server of either kind: its handlers get a socket (``S``), too."""

    _state: ServerState

    def __init__(
        self: Self,  # as an attribute's type needs it said
        driver: Driver,
        settings: Config,
        raises: frozenset[str],
        *,
        decodes_late: bool,
    ) -> None:
        super().__init__(driver, settings, raises, 2, decodes_late=decodes_late)
        self._state = _S.IDLE
        self.events.mistakes.strange = self.hints.strange
        self._observation: Observation | None = None
        self.started: Outcome[Self] = self._outcome_of("listening")
        """Settled when it can be reached, or with the error why it never will be. True while it can."""
        self._over: Outcome[Self] = self._outcome_of("closed")
        """Settled as ``closed``, but where a start came behind the closing; with the error where that failed."""
        self._ending: tuple[Outcome[Self], Outcome[Self]] | None = None
        """``started`` and ``closed`` of what still closes, where a start came behind that: it has the new ones."""
        if settings.identify_peer:
            self.events.tap(identify)

    # ---- life

    @property
    def state(self) -> ServerState:
        """Where it is in its life."""
        return self._state

    def observe(self) -> Callable[[], None]:
        """Let ``node-ipc top`` look at this, over a socket beside its own that only this user can open.

        Its name is the server's with ``.observe`` behind it; beside a network address it is
        ``tcp-PORT.observe`` or ``udp-PORT.observe`` under ``socket_root``. Where several processes serve one address
        (workers), each has its own: ``.observe``, ``.observe.2`` and so on. The option ``observe`` does the same for
        every server as soon as it listens.

        While nobody looks it costs nothing; a viewer that does not read costs its buffer, 1 MiB at most. Whoever may
        open the socket sees payloads and can emit. Where there can be no such socket, an ``error`` event says so, and
        the server goes on. It ends with the server.

        Returns the undoing. Raises :class:`NotConnected` where this does not listen.
        """
        refuse_other_threads(self._driver, "observe")
        if self._state is not _S.LISTENING:
            raise NotConnected(f"cannot be observed: the server is {self._state.value}, observe() comes after start()")
        if self._observation is None:
            from .observe import Observation, observed_at, settings_of  # only for those who want it

            settings = settings_of(self._settings)
            observed: Any = self  # each kind of server broadcasts in its own way
            self._observation = Observation(
                observed,
                lambda number: self._beside(observed_at(self.address, self._settings, number), settings),
                self._driver,
            )
        return self._stop_observing

    def _beside(self, address: Address, settings: Config) -> Beside:
        """A server of connections on the same driver."""
        raise NotImplementedError

    def _stop_observing(self) -> None:
        if self._observation is not None:
            self._observation.close()
            self._observation = None

    def _input(self, name: str, *arguments: Any) -> None:
        """Look the input up and do what the table says."""
        method = TRANSITIONS.get((self._state, name))
        if method is not None:
            getattr(self, method)(*arguments)

    def start(self) -> Outcome[Self]:
        """Begin to listen: ``start`` is published when clients can reach it, ``error`` where they never will.

        While it is being stopped this comes behind that: what is open ends first. In the handler of a request, whose
        answer goes out before, awaiting it does not wait then. Another ``stop`` takes it back. While its own block
        ends, or a ``serve_forever`` that was cancelled, nothing is begun; who awaits this gets :class:`NotConnected`.
        """
        refuse_other_threads(self._driver, "start")
        if refused := self._not_anew(NotConnected(STOPPED)):
            return refused
        self._input("start")
        begun = self._begun_by_handler() if self._ending is not None else None
        return begun or self.started

    def begin_stop(self, timeout: float | None = None) -> Outcome[Self]:
        """Serve no more, and end in order within so many seconds; None is ``close_timeout``."""
        refuse_other_threads(self._driver, "stop")
        begun = self._begun_by_handler()
        seconds = seconds_to_end(timeout, "stop", self._settings.close_timeout)
        self._input("stop", seconds)
        if timeout is not None:
            self._hurry(seconds)
        return begun or self.closed

    def abort(self) -> None:
        """Stop at once; what is not sent yet is dropped."""
        self.begin_stop()
        self._input("expired")

    def abandoned(self) -> None:
        self.abort()

    def _start_behind(self: Self) -> None:
        """What closes comes to its end first, and whoever waits for that is not to wait for more."""
        if self._ending is None:
            self._ending = self.started, self.closed
            self.started, self.closed = self._outcome_of("listening"), self._outcome_of("closed")

    def _stay_stopped(self, seconds: float) -> None:
        """The start that came behind the closing is taken back."""
        if self._ending is None:
            return
        started, closed = self.started, self.closed
        (self.started, self.closed), self._ending = self._ending, None
        started.settle(NotConnected(STOPPED))
        self.closed.then(closed.settle)

    def _start(self: Self) -> None:
        if self._ending is None:
            self.started, self.closed = self._outcome_of("listening"), self._outcome_of("closed")
            self._over = self._outcome_of("closed")
        self._ending = None
        self.failure = None
        self._used_up_by = ()
        self._state = _S.STARTING
        self._listen()

    def _listen(self) -> None:
        """Tell the driver; ``listening`` or ``failed`` is the input that follows."""
        raise NotImplementedError

    def _up(self) -> None:
        self._state = _S.LISTENING
        self._begin_to_serve()
        if self._settings.observe:
            self.observe()
        self.events.publish_state("start", self)
        self.started.settle()

    def _begin_to_serve(self) -> None:
        """It can be reached."""
        raise NotImplementedError

    def _publish_missed(self, name: str) -> None:
        if self._state is _S.LISTENING:
            self.events.publish_missed(name, self)

    def _close_unstarted(self, seconds: float) -> None:
        self._state = _S.CLOSED
        self.closed.settle()
        self._over.settle()

    def _begin_to_close(self, seconds: float) -> None:
        self._state = _S.CLOSING
        self._stop_observing()
        self._serve_no_more(seconds)
        self._arm_expiry(seconds)
        self._driver.call_later(0, self._look_whether_empty)

    def _serve_no_more(self, seconds: float) -> None:
        """Let nobody in and begin to end what is open; there are so many seconds for it."""
        raise NotImplementedError

    def _look_whether_empty(self) -> None:
        """Give the input ``emptied`` where nothing is open and nothing waits to be sent."""
        raise NotImplementedError

    def _expire(self) -> None:
        """The time for closing is over: what is open is cut."""
        raise NotImplementedError

    def _fail(self, error: IPCError) -> None:
        """It cannot listen, or not any more."""
        self._give_up()
        self.failure = without_steps(error)
        self._count_error(error)
        if self.events.publish("error", error, None):
            self.failure = None
        elif not (self.started.waiting or self._over.waiting) and self.own_log_is_silent is None:
            # nobody raises it, nor has a log of his own
            self._log_fault(self, error, loud=True, timed=False)
        over = self._over
        self.started.settle(error)
        self.closed.settle()
        over.settle(self.failure)
        for hook in tuple(self.on_closed):
            hook()

    def _finish(self, error: IPCError | None = None) -> None:
        self._give_up()
        started, closed = self._ending or (self.started, self.closed)
        over = self._over
        started.settle(NotConnected(STOPPED))
        closed.settle()
        if self._ending is not None:
            self._input("start")
        if over is not self._over or self._state is _S.CLOSED:
            over.settle()
        for hook in (*self.on_closed, *self.on_drained):
            hook()

    def _give_up(self) -> None:
        """Nothing is open any more."""
        self._state = _S.CLOSED
        self._stop_observing()
        self._cancel_timer()
        self._close_fault_log()

    def _refuse_when_stopped(self, what: str) -> None:
        """Whoever waits for a server that is over would take its silence for an end in order.

        One that was stopped before anybody served has ended in order: a signal may come as early as that.
        """
        if self.state is _S.CLOSED and self._is_used_up():
            anew = ", or start() it anew before" if self._driver.runs_coroutines else ""
            raise NotConnected(f"{what} does nothing: the server was stopped. Make another{anew}")

    def _tell_if_nobody_hears(self, verb: str) -> None:
        """Nobody is connected; where a server is over, or nobody lets it serve, no exception says so: a line does."""
        if self._state is not _S.CLOSED:
            self.awaits_turn()
        elif self._is_first("stopped"):
            line = (
                f"{verb}() reaches nobody: the server was stopped. Stop what emits with it, or start() it anew. This "
                "is said once"
            )
            self._tell_mistake(NotConnected(line), timed=False)

    # ---- events

    @property
    def port(self) -> int:
        """The port of TCP, TLS or UDP; once started, the real one. Raises :class:`AddressError` for a path."""
        port: int | None = getattr(getattr(self.address, "where", self.address), "port", None)
        if port is None:
            raise AddressError(f"{self.address} has no port: address says where it is")
        return port

    @overload
    def on(self, event: Event[T]) -> RegisterWithSocket[T, S]: ...
    @overload
    def on(self, event: Event[T], handler: Callable[[T, S], A]) -> Callable[[T, S], A]: ...
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
        """Call ``handler(data, socket)`` for each event of this name; without a handler it is a decorator.

        ``"*"`` hears every event as ``(type, *arguments)``, before the event's own handlers; of the lifecycle's, None
        stands for arguments that do not come. The lifecycle:
        ``start(server)``, ``connect(socket)``, ``socket.disconnected(socket, destroyed_socket_id)``,
        ``close(socket)``, ``error(error, socket or None)``, and in raw mode ``data(bytes, socket)``. With UDP there
        are no connections: ``connect(server)`` and ``start(server)`` when the port is bound, ``error``, and ``data``
        for each datagram. A handler may take fewer arguments. A handler whose first argument is annotated, or
        ``type=``, gets its payload decoded to that type.

        The first handler of ``start`` (and with UDP of ``connect``) may come while the server listens already, as
        inside ``async with``: it is called in the next turn. Who connected before a handler of ``connect`` came is in
        ``sockets``.
        """
        refuse_other_threads(self._driver, "on")
        return self.events.on(event, handler, type=type)

    @typed_as(on)
    @suggests
    def once(self, event: str | Event[Any], handler: Any = UNSET, *, type: Any = None) -> Any:
        """As ``on``, for the next such event only."""
        refuse_other_threads(self._driver, "once")
        return self.events.once(event, handler, type=type)


class LinkPublisher(Publisher, Generic[S]):
    """A client or a server: it has links, and over these goes what is asked and answered."""

    _requests: Requests | None = None
    _told_late_answer = False

    def address_of(self, session: Session) -> Address:
        """Where the server listens that this link leads to."""
        return self.address

    def trouble(self) -> str:
        """Why nothing may come, for the end of messages about time-outs; empty where the link is up."""
        return ""

    def answers_first(self, session: Session) -> bool:
        """Whether a handler of a request that came over this link is ending it, and its answer is still to go out."""
        return self._requests is not None and self._requests.answers_first(session)

    def called_by_handler(self) -> bool:
        return self._requests is not None and self._requests.called_by_handler()

    @property
    def requests(self) -> Requests:
        """What is asked and answered here; made when it is first needed."""
        if self._requests is None:
            from .requests import Requests

            self._requests = Requests(
                self.events,
                self._driver,
                self.session_fault,
                self.trouble,
                self.tell_unread,
                self._tell_late_answer,
                self.hints.unanswered,
            )
            self._requests.watches = self._watches or None
        return self._requests

    @overload
    def handle(self, method: Event[T]) -> RegisterMethod[T, S]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[T, S, Request], A]) -> Callable[[T, S, Request], A]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[T, S], A]) -> Callable[[T, S], A]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[], A]) -> Callable[[], A]: ...
    @overload
    def handle(self, method: str, *, type: Any = None) -> Callable[[H], H]: ...
    @overload
    def handle(self, method: str, handler: H, *, type: Any = None) -> H: ...
    @suggests
    def handle(self, method: str | Event[Any], handler: Any = UNSET, *, type: Any = None) -> Any:
        """Answer the other side's requests: what ``handler(params, socket, request)`` returns goes back.

        Without a handler it is a decorator. A handler may take fewer arguments, and its first one's annotation (or
        ``type=``) is what the params are decoded to; ``request`` is a :class:`Request`. An async handler may take its
        time, and what is returned to be awaited is. The answer goes out as it is: it is not checked against what the
        handler is annotated to return. Raise :class:`RemoteError` to answer with an error of your own; of
        any other exception the other side learns only that the handler failed, also of one that a request in the
        handler met.
        """
        refuse_other_threads(self._driver, "handle")
        return self.requests.handle(method, handler, type=type)

    def _hand_watches_on(self) -> None:
        super()._hand_watches_on()
        if self._requests is not None:
            self._requests.watches = self._watches or None
        for session in self._everybody():
            session.use(self._codec)

    def _everybody(self) -> list[Session]:
        """The sessions that there are, those included that are about to open."""
        raise NotImplementedError

    def tell_unread(self, method: str, socket: Session | None, error: Exception) -> None:
        """A request failed, and nobody can look at its outcome any more; told by whatever thread dropped that."""
        line = (
            f"the request {method!r:.80} failed, and nobody awaited it or looked at its outcome: "
            f"{type(error).__name__}: {error}"
        )
        self._tell("unread", line, socket)
        mistake = self._is_first("unread")
        error = RequestError(line)
        self._log_fault(self._logged_as(socket), error, loud=True, mistake=mistake, socket=socket, timed=False)

    def _tell_late_answer(self, method: str, socket: Session) -> None:
        """A request had been given up when this side came to it, or when its handler had worked in place."""
        if self._told_late_answer:
            return
        self._told_late_answer = True
        how = "let it await (asyncio.to_thread)" if self._driver.runs_coroutines else "give that to another thread"
        waited = "the link itself had waited to be accepted, as where this server was full (max_connections). Else "
        line = (
            f"whoever asked for {method!r:.80} had given up before this program answered: "
            f"{waited if socket.stats().seconds < JUST_CAME_SECONDS else ''}nothing is read or answered "
            "while a handler, or anything else in this thread, works or sleeps in place, as by time.sleep(). If it "
            f"does, {how}; else let those who ask wait longer (timeout=). This is said once"
        )
        self._tell_mistake(IPCError(line), socket=socket)

    def session_paused(self, session: Session, why: str) -> None:
        """Reading from a link is paused, and it lasts: a line in the log."""
        self._log_fault(session, IPCError(f"reading is paused: {why}"), socket=session)


JUST_CAME_SECONDS = 0.05
"""So old is a link at most whose first read brought a request and its end: both waited before it was accepted."""


def begun(driver: Driver) -> Outcome[Any]:
    """What a handler of requests gets where it ends what its answer goes out by.

    The end waits for the answer, so the handler cannot wait for the end; as an answer it is ``null``.
    """
    outcome: Outcome[Any] = driver.outcome(None)
    outcome.settle()
    return outcome
