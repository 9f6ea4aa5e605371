"""What clients, servers and UDP ports have in common: whoever registers handlers and listens to traces.

What is published, and when, is the business of ``client.py``, ``server.py`` and ``datagram.py``, which extend these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Protocol, Self, TypeVar, overload

from ..errors import AddressError, IPCError
from ..wire.codec import logged
from .session import refuse_other_threads

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..config.logs import FaultLog
    from ..wire.codec import Codec
    from .events import Event, Events
    from .outcome import Outcome
    from .requests import Request, Requests
    from .seam import Driver
    from .session import Session
    from .trace import TraceHook, Traces

__all__ = [
    "OF_EMITTERS",
    "LinkPublisher",
    "Publisher",
    "Register",
    "RegisterMethod",
    "RegisterWithSocket",
    "SocketPublisher",
    "fault_log",
    "not_in",
]

T = TypeVar("T")
S = TypeVar("S")
H = TypeVar("H", bound=Callable[..., Any])
A = TypeVar("A")


def not_in(exclude: Any, sockets: Iterable[A], verb: str) -> list[A]:
    """Those that are not in ``exclude``, which is refused where it is no collection of sockets."""
    if not isinstance(exclude, Collection) or isinstance(exclude, (str, bytes)) or any(map(_is_plain, exclude)):
        raise TypeError(f"{verb}(exclude=…) takes sockets, as exclude=[socket], not {exclude!r:.80}")
    return [socket for socket in sockets if socket not in exclude]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, bytes, int, float, tuple))


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


class RegisterMethod(Protocol[T]):
    """The decorator for handlers of a request: as that for events, and they may also take the :class:`Request`."""

    @overload
    def __call__(self, handler: Callable[[T, Session, Request], A]) -> Callable[[T, Session, Request], A]: ...
    @overload
    def __call__(self, handler: Callable[[T, Session], A]) -> Callable[[T, Session], A]: ...
    @overload
    def __call__(self, handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def __call__(self, handler: Callable[[], A]) -> Callable[[], A]: ...


OF_EMITTERS = {
    "publish": "a plain call of your function: handlers hear what a peer emits, and what happens to the link",
    "trigger": "a plain call of your function: handlers hear what a peer emits, and what happens to the link",
    "subscribe": "on(event, handler)",
    "unSubscribe": "off(event, handler)",
    "reset": 'off("*", "*")',
    "list": "events.handlers(event)",
}
"""Verbs of the emitter that node-ipc's clients and servers are, and what to use here."""


class _Elsewhere:
    """A verb of other libraries, which an endpoint has not: reading it says what it is called here.

    An endpoint with a ``__getattr__`` for this would pay at each attribute: CPython's specialized reads are for
    classes without one, and a round trip took 5 % more.
    """

    def __init__(self, verb: str, advice: str) -> None:
        self._verb = verb
        self._advice = advice

    def __get__(self, endpoint: object, kind: type) -> NoReturn:
        raise AttributeError(
            f"{kind.__name__!r} object has no attribute {self._verb!r}: use {self._advice}",
            name=self._verb,
            obj=endpoint,
        )


class Publisher:
    """Has handlers and listeners."""

    _made_by: ClassVar[str] = ""
    """The calls that make one of these, for those who call the class."""

    if not TYPE_CHECKING:  # a type checker says it in its own words

        def __new__(cls, *arguments: Any, **options: Any) -> Any:
            if not any(hasattr(given, "call_later") for given in (*arguments, *options.values())):  # no driver
                raise TypeError(f"{cls.__name__} is not for calling: {cls._made_by} makes one")
            return super().__new__(cls)

    events: Events[Any]
    """The handlers."""
    _driver: Driver
    _settings: Config
    _codec: Codec
    _traces: Traces

    elsewhere: ClassVar[dict[str, str]] = {}
    """What other libraries call a verb, and what to use here."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for verb, advice in cls.__dict__.get("elsewhere", {}).items():
            setattr(cls, verb, _Elsewhere(verb, advice))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in self.elsewhere or hasattr(self, name)]

    def _outcome(self) -> Outcome[Self]:
        """How something that this does will end."""
        return self._driver.outcome(self)

    @property
    def settings(self) -> Config:
        """The configuration this was made with; it does not change any more."""
        return self._settings

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

    def log_payloads(self, log: Callable[..., Any]) -> None:
        """A line for every event in and out, payload included (the option ``log_payloads``)."""
        self.events.tap(lambda type, data, *rest: log("received event", type, data))
        self._codec = logged(self._codec, log)

    def on_trace(self, hook: TraceHook, *, traffic: bool = True) -> Callable[[], None]:
        """Call ``hook(trace)`` for whatever happens on the links or the port, errors included; returns the undoing.

        It is called in the middle of things: it may look and count, and must not call back. traffic: False leaves out
        ``sent`` and ``received``, of which there is one for each write and read.
        """
        return self._traces.add(hook, traffic)


class SocketPublisher(Publisher, Generic[S]):
    """A server of either kind: its handlers get a socket (``S``), too."""

    address: Address
    closed: Outcome[Any]

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait to be taken."""
        raise NotImplementedError

    def begin_stop(self, timeout: float | None = None) -> Outcome[Self]:
        """Serve no more, and end in order within so many seconds; None is ``close_timeout``."""
        raise NotImplementedError

    def begin_abort(self) -> None:
        """End at once."""
        raise NotImplementedError

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
    def on(self, event: str | Event[Any], handler: Any = None, *, type: Any = None) -> Any:
        """Call ``handler(data, socket)`` for each event of this name; without a handler it is a decorator.

        ``"*"`` hears every event as ``(type, *arguments)``, before the event's own handlers. The lifecycle:
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

    @overload
    def once(self, event: Event[T]) -> RegisterWithSocket[T, S]: ...
    @overload
    def once(self, event: Event[T], handler: Callable[[T, S], A]) -> Callable[[T, S], A]: ...
    @overload
    def once(self, event: Event[T], handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def once(self, event: Event[T], handler: Callable[[], A]) -> Callable[[], A]: ...
    @overload
    def once(self, event: str, *, type: Any = None) -> Callable[[H], H]: ...
    @overload
    def once(self, event: str, handler: H, *, type: Any = None) -> H: ...
    def once(self, event: str | Event[Any], handler: Any = None, *, type: Any = None) -> Any:
        """As ``on``, for the next such event only."""
        refuse_other_threads(self._driver, "once")
        return self.events.once(event, handler, type=type)


class LinkPublisher(Publisher):
    """A client or a server: it has links, and over these goes what is asked and answered."""

    address: Address
    _requests: Requests | None = None
    _fault_log: FaultLog | None = None

    def address_of(self, session: Session) -> Address:
        """Where the server listens that this link leads to."""
        return self.address

    def session_fault(self, session: Session | None, error: IPCError) -> None:
        """Publish ``error``."""
        raise NotImplementedError

    def trouble(self) -> str:
        """Why nothing may come, for the end of messages about time-outs; empty where the link is up."""
        return ""

    @property
    def requests(self) -> Requests:
        """What is asked and answered here; made when it is first needed."""
        if self._requests is None:
            from .requests import Requests

            self._requests = Requests(self.events, self._driver, self.session_fault, self.trouble)
        return self._requests

    @overload
    def handle(self, method: Event[T]) -> RegisterMethod[T]: ...
    @overload
    def handle(
        self, method: Event[T], handler: Callable[[T, Session, Request], A]
    ) -> Callable[[T, Session, Request], A]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[T, Session], A]) -> Callable[[T, Session], A]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[T], A]) -> Callable[[T], A]: ...
    @overload
    def handle(self, method: Event[T], handler: Callable[[], A]) -> Callable[[], A]: ...
    @overload
    def handle(self, method: str, *, type: Any = None) -> Callable[[H], H]: ...
    @overload
    def handle(self, method: str, handler: H, *, type: Any = None) -> H: ...
    def handle(self, method: str | Event[Any], handler: Any = None, *, type: Any = None) -> Any:
        """Answer the other side's requests: what ``handler(params, socket, request)`` returns goes back.

        Without a handler it is a decorator. A handler may take fewer arguments, and its first one's annotation (or
        ``type=``) is what the params are decoded to; ``request`` is a :class:`Request`. An async handler may take its
        time, and what is returned to be awaited is. Raise :class:`RemoteError` to answer with an error of your own; of
        any other exception the other side learns only that the handler failed.
        """
        refuse_other_threads(self._driver, "handle")
        return self.requests.handle(method, handler, type=type)

    def session_paused(self, session: Session, why: str) -> None:
        """Reading from a link is paused, and it lasts: a line in the log."""
        self._log_fault(session, IPCError(f"reading is paused: {why}"))

    def _log_fault(self, about: Any, error: IPCError, *, loud: bool = False) -> None:
        if self._fault_log is None:
            self._fault_log = fault_log(self.address, self._driver)
        self._fault_log.log(about, error, loud=loud)

    def _close_fault_log(self) -> None:
        """The endpoint is closed: what was left out is told, and no timer stays."""
        if self._fault_log is not None:
            self._fault_log.close()


def fault_log(address: Address, driver: Driver) -> FaultLog:
    """The log of one endpoint's errors."""
    from ..config.logs import FaultLog  # importing logging costs 8 ms: only where something is logged

    return FaultLog(
        address,
        lambda: driver.now(),
        lambda seconds, callback: driver.call_later(seconds, callback),
        driver.failures,
    )
