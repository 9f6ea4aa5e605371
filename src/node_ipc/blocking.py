"""The blocking front: ``connect`` and ``serve`` for a plain thread. No event loop, no hidden thread.

    from node_ipc import blocking

    with blocking.connect("world", timeout=5) as world:
        world.emit("message", "hello")
        print(world.receive("message", timeout=5))

Whoever calls does the work: a call that waits reads meanwhile, runs the handlers of what arrives, and keeps what has
no handler for ``receive`` and iteration. Between two calls nothing is read and nothing happens; the kernel holds what
comes, and pushes back on the server when it is full. ``poll`` is the call that does nothing else.

Everything but the waiting is in ``core/client.py`` and ``core/server.py``, which these classes extend. A client belongs
to the thread that made it; only ``emit`` may be called from others: what they emit goes out, in order, when the owner
waits the next time. All times are seconds.

Handlers run inside whatever call waits. In a handler, ``emit`` hands over what it is given and does not wait;
``close`` and ``stop`` begin what the waiting call ends; any other call that would have to wait raises
:class:`WouldDeadlock`, since the thread that it would wait for is its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from msgspec import UNSET

from .config.address import Tls, Unix, has_datagrams
from .config.foreign import warn
from .config.interrupted import by_signal
from .config.misspelt import meant, refuse_misplaced, refuse_misspelt, suggests
from .config.resolve import Place, TLSChoice, UdpPlace, id_of, resolve, resolve_udp
from .core.asking import Question
from .core.client import (
    STEADY_SECONDS,
    WAIT_FOR_EVER,
    WAITS_LONG_SECONDS,
    ClientCore,
    ClientState,
    connect_timeout,
    hint_at_waiting,
    retry_delay,
)
from .core.client import Client as AnyClient
from .core.events import Event, event_name
from .core.inbox import (
    CATCH_UP_SECONDS,
    QUIET_SECONDS,
    BlockingInbox,
    CatchingUp,
    Received,
    receivable,
    receive_timeout,
)
from .core.newest import keep_of
from .core.outcome import refuse_no_bool, seconds
from .core.server import Server as AnyServer
from .core.server import ServerCore, serving
from .core.session import Session, refuse_other_threads
from .core.session import Socket as AnySocket
from .drivers.calling import Serving, before_waiting, finish, has_had_time, leave, looked, warn_in_coroutine
from .drivers.thread import ThreadDriver
from .errors import (
    BackpressureError,
    ConfigError,
    ConnectionLost,
    DrainTimeout,
    IPCError,
    NotConnected,
    WouldDeadlock,
    WrongLoopError,
)

if TYPE_CHECKING:
    from typing import Unpack

    from typing_extensions import TypeForm

    from .blocking_datagram import BlockingDatagramServer
    from .blocking_datagram import BlockingDatagramServer as DatagramServer
    from .config.address import Address, Handed, Udp
    from .config.config import Config
    from .core.asking import AskOptions
    from .core.events import R
    from .core.newest import Keep
    from .core.outcome import Outcome, Progress
    from .core.requests import Requests
    from .core.server import AskAllOptions
    from .core.session import Loss
    from .wire.text import RawPayload

__all__ = [
    "BlockingClient",
    "BlockingServer",
    "BlockingSocket",
    "Client",
    "DatagramServer",
    "Received",
    "Server",
    "Serving",
    "Socket",
    "connect",
    "finish",
    "reconnect",
    "serve",
    "serve_udp",
]

T = TypeVar("T")
C = TypeVar("C", bound="BlockingClient")
V = TypeVar("V", bound="BlockingServer | BlockingDatagramServer")

LONGEST_PAUSE = 30.0
"""Seconds between two connections of ``reconnect``, at the most."""


class _Asking:
    """Has an other side that answers requests, and waits for it."""

    __slots__ = ()

    @overload
    def request(self, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]) -> R: ...
    @overload
    def request(self, method: str, params: Any = None, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]) -> R: ...
    @suggests
    def request(
        self,
        method: str | Event[Any],
        params: Any = None,
        *,
        timeout: float | None = 30.0,
        progress: Progress | None = None,
        type: Any = None,
    ) -> Any:
        """Ask the other side, and wait for what its handler returns.

        Args:
            method: what is asked for: a name, or an ``Event``.
            params: what the handler gets.
            timeout: seconds; ``None`` waits as long as the link holds; 0, or what is left of a time that is over, times
                out without asking.
            type: what to decode the result to; None takes what JSON makes of it.
            progress: called with what the handler tells meanwhile (``request.progress(data)``).

        Raises:
            RemoteError: the other side answered with an error.
            RequestTimeout: no answer came in time.
            ConnectionLost: the link went away before the answer; it may have been carried out.
            NotConnected: the client, or this socket, is closed.
            InvalidPayload: the result does not fit ``type``.
            BackpressureError: the inbox is full of events before the answer.
        """
        return self._answer(Question(method, params, timeout, type, progress))

    def _answer(self, question: Question) -> Any:
        raise NotImplementedError


class BlockingSocket(Session, _Asking):
    """A socket of the blocking front: as :class:`node_ipc.Socket`, and ``request`` waits for the answer."""

    __slots__ = ()

    def _answer(self, question: Question) -> Any:
        owner: Any = self._owner
        return owner._answer_of(self, question) if isinstance(owner, BlockingServer) else owner._answer(question)


AnySocket.register(BlockingSocket)
Socket = BlockingSocket
"""What handlers of the blocking front get."""


class BlockingClient(ClientCore[BlockingSocket], _Asking):
    """A client whose calls wait. Made by :func:`connect`, a context manager, and iterable."""

    _made_by = "blocking.connect('world')"
    takes_options = "to connect(…, {}=…)"
    elsewhere = dict.fromkeys(
        WAIT_FOR_EVER, "poll(): handlers are called in it, and while other calls wait: while client.poll(None): pass"
    )

    waits_by = (
        "handlers are called while a call waits, as in while client.poll(None): pass, or in "
        "for type, data in client, which gives what has no handler"
    )
    inbox: BlockingInbox
    _times_requests = False
    _socket_type = BlockingSocket

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert isinstance(self._driver, ThreadDriver)
        self._thread: ThreadDriver = self._driver
        self.inbox = BlockingInbox(self)
        """Events that wait to be received."""
        self._told_unread = False

    def __enter__(self) -> Self:
        self._refuse_when_over()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        self.block_ended(error)
        leave(self._thread, self.close, self.abort, error)

    def _had_time(self) -> bool:
        return has_had_time(self._thread, self._has_sent)

    # ---- out

    @overload
    def emit(self, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    def emit(self, type: Any, data: Any = {}, keep: Keep = None) -> bool:  # noqa: B006 - never changed
        """Send one event (in raw mode: ``emit(payload)``); the kernel has it when this returns.

        Args:
            keep: ``"latest"``: this does not wait. A message of this event that was emitted so and still waits here is
                not sent, since this one takes its place behind all that was emitted before (``stats().replaced``
                counts). False then says that it waits, and may be replaced; it goes out while other calls wait, and in
                ``poll`` and ``drain``. None: all are sent.

        While the kernel is full this waits, and reads what the server sends: two sides that both send at full speed
        do not block each other. It waits as long as the server takes, and after 5 s says so once; ``drain`` has a time
        limit. What has no
        handler goes to the inbox; when that is full as well (``max_inbox_bytes``) the event stays in a buffer of
        ours and False is returned, until that is full too (``max_pending_bytes``).

        While the link is down, in sync mode, in a handler and in another thread, the event is handed over without
        waiting, as in the other fronts. In ``batch()`` events go out together.

        Raises:
            ConnectionLost: the link broke while the event was being written; it may have arrived.
            BackpressureError: every buffer is full; nothing was sent.
            NotConnected: the client is closed; nothing was sent.
            ProtocolError: a name or payload that cannot be sent; nothing was sent.
        """
        if keep is not None or (type.__class__ is not str and keep_of(type) is not None):
            return self._emit_newest(type, data, keep)
        session = self._direct
        if session is None:
            return self._emit_indirectly(type, data)
        try:
            below = session.emit(type, data)
        except BackpressureError as error:
            if not self.inbox.full:
                raise
            raise BackpressureError(
                f"nothing more can be sent: the server does not read, and nothing more is read from it, since "
                f"{self.inbox.crowd()}. Receive them, or raise max_inbox_bytes ({self._settings.max_inbox_bytes})"
            ) from error
        except BaseException as error:
            if by_signal(error):
                self._thread.interrupted(error)
            raise
        if session.is_full:
            return self._until_taken(session, below)
        return below

    def _emit_newest(self, type: Any, data: Any, keep: Keep) -> bool:
        try:
            below = super()._emit_newest(type, data, keep)
        except BaseException as error:
            if by_signal(error):
                self._thread.interrupted(error)
            raise
        session = self._direct
        if session is None:
            return False
        took_all = _took_all(self._thread, session)
        if session.loss is not None:
            raise self._broken(session.loss) from session.loss.reason
        return below and took_all

    def _emit_indirectly(self, type: Any, data: Any, event: str | None = None) -> bool:
        """The link is down, or it is sync mode: a chance for the link to come back, or for the answer to arrive."""
        below = super()._emit_indirectly(type, data, event)
        driver = self._thread
        if not driver.busy and driver.thread() == driver.home:
            driver.pump(0.0)
        return below

    def _until_taken(self, session: Session, below: bool) -> bool:
        driver = self._thread
        if driver.busy or driver.thread() != driver.home:
            return below

        def over() -> bool:
            return not session.is_full or session.loss is not None or self.inbox.full

        if not driver.run_until(over, None if self._told_unread else WAITS_LONG_SECONDS):
            self._tell_unread()
            driver.run_until(over)
        if session.loss is not None:
            raise self._broken(session.loss) from session.loss.reason
        return not session.is_full

    def _broken(self, loss: Loss) -> ConnectionLost:
        error = _broke(f"to {self.id!r}", loss)
        if self.state is not ClientState.CLOSED:
            error.args = (f"{error}. The client connects again by itself: what may come twice can be emitted again",)
        return error

    def _tell_unread(self) -> None:
        """A program that waits in ``emit`` shows nothing of it: once, also where it is silent."""
        self._told_unread = True
        warn(
            f"emit has been waiting for {WAITS_LONG_SECONDS:g} s, and goes on: the server {self.id!r} does not read "
            "what was sent. Its program may be stopped, or caught in a handler. emit(…, keep='latest') does not wait, "
            "and drain(timeout=…) has a limit",
            stderr=self.own_log_is_silent is None or self.own_log_is_silent(),  # otherwise that log shows it
        )

    def batch(self) -> AbstractContextManager[Self]:
        """``with client.batch():`` what is emitted inside goes out in few large writes, the last one at its end."""
        refuse_other_threads(self._driver, "batch")
        return self._batch()

    @contextmanager
    def _batch(self) -> Iterator[Self]:
        self._thread.begin_batch()
        try:
            yield self
        finally:
            self._thread.end_batch()
            if (session := self._direct) is not None and session.is_full:
                self._until_taken(session, True)

    @suggests
    def drain(self, timeout: float | None = None) -> None:
        """Wait until the kernel has everything that was emitted.

        Args:
            timeout: seconds; ``None`` waits as long as it takes.

        Raises:
            DrainTimeout: it took longer.
            NotConnected: the client was closed before that.
            BackpressureError: the inbox is full.
        """
        timeout = seconds(timeout, "drain")
        refuse_other_threads(self._driver, "drain")
        self._thread.has_waited = True  # also where there is nothing to wait for: the program is there to send
        self.hand_over()
        if not self._until("drain", lambda: not self.pending_bytes or self.state is ClientState.CLOSED, timeout):
            raise DrainTimeout(f"{self.pending_bytes} bytes for {self.id!r} still wait after {timeout:g} s")
        if self.state is ClientState.CLOSED:
            raise self.over("cannot drain")

    # ---- in

    @overload
    def receive(self, event: Event[T], *, timeout: float | None = None, latest: bool = False) -> T: ...
    @overload
    def receive(
        self, event: str, *, type: TypeForm[R] = ..., timeout: float | None = None, latest: bool = False
    ) -> R: ...
    def receive(
        self,
        event: Any = UNSET,  # left out, which is told
        *misplaced: Any,
        type: Any = None,
        timeout: float | None = None,
        latest: bool = False,
        **misspelt: Any,
    ) -> Any:
        """The payload of the next event of this name that has no handler; those of other names stay.

        Args:
            event: a name, or an ``Event``, which has a type with it.
            timeout: seconds; ``None`` waits as long as the client lives.
            type: what to decode the payload to; None takes what JSON makes of it: a dict of an object and of an array,
                base64 text of bytes; ``type=numpy.ndarray`` and ``type=bytes`` give those as they were.
            latest: for viewers: the newest that the server had emitted when it heard of this call. Older ones of its
                name are left out, also those that come until the next call, and ``inbox.skipped`` counts them. The
                server emits with ``keep="latest"``; one in Python is asked, and answers behind its newest. Once an
                older one is there the answer is waited for 0.5 s at the most, 0.2 s where nothing comes, and never
                longer than ``timeout``; then that is what is given. Of a server that never answers, as one of Node,
                it is the newest that comes until 2 ms bring nothing, or in 50 ms.

        Raises:
            ReceiveTimeout: no such event came in time.
            NotConnected: the client is closed and no such event is left.
            InvalidPayload: the payload does not fit ``type``.
            BackpressureError: the inbox is full of other events.
            ConnectionLost: in raw mode, where ``receive("data")`` gives the next bytes: the link was lost and another
                follows. It is raised once, and so it is by iteration.
        """
        if event.__class__ is not str or event == "*":
            event, type = receivable(event, type)
        if timeout is not None:
            timeout = seconds(timeout, "receive")
        inbox, driver = self.inbox, self._thread
        if latest or misspelt or misplaced:
            refuse_misspelt("receive", misspelt, ("type", "timeout", "latest"))
            refuse_misplaced("receive", misplaced, ("type", "timeout", "latest"))
            return self._receive_latest(event, type, timeout, latest)
        if inbox.only_newest:
            inbox.keep_newest(event, False)
        if inbox.kept and (found := inbox.take(event, type)) is not None:
            return found.data
        if driver.busy or driver.thread() != driver.home:
            self._before_waiting("receive", "nothing is left to receive")
        pump: Callable[[float | None], bool] = driver.pump
        if driver.home in serving:
            pump = self._pump_for("receive")
        left = timeout
        deadline = 0.0 if timeout is None else driver.now() + timeout
        inbox.want(event)
        try:
            while True:
                if self.state is ClientState.CLOSED:
                    raise self.over("nothing is left to receive")
                if inbox.full:
                    raise self._crowded(f"no {event!r} can be received")
                pump(left)
                if inbox.wanted is None:  # where a signal's handler raises from here on, it comes first again
                    try:
                        data = inbox.decode(event, inbox.caught, type)
                    except IPCError:
                        inbox.caught = None
                        raise
                    inbox.caught = None
                    return data
                if timeout is not None:
                    left = deadline - driver.now()
                    if left <= 0:
                        raise receive_timeout(self, inbox, event, timeout)
        finally:
            inbox.stop_wanting()

    def _receive_latest(self, name: str, type: Any, timeout: float | None, latest: bool) -> Any:
        inbox, driver = self.inbox, self._thread
        before_waiting(self._thread, "receive")
        inbox.keep_newest(name, latest)
        pump, began = self._pump_for("receive"), driver.now()
        asks = not _is_served_here(self)  # a server of this thread cannot answer meanwhile
        reading = CatchingUp(inbox, name, self._session, driver.now, timeout, asks)
        while True:
            while not reading.is_over:
                driver.pump(QUIET_SECONDS)
            if (found := inbox.take(name, type)) is not None:
                return found.data
            left = None if timeout is None else max(began + timeout - driver.now(), 0.0)
            if self.state is ClientState.CLOSED:
                raise self.over("nothing is left to receive")
            if inbox.full:
                raise self._crowded(f"no {name!r} can be received")
            if pump(left):
                driver.catch_up(CATCH_UP_SECONDS)
            if timeout is not None and not left and not inbox.has(name):
                raise receive_timeout(self, inbox, name, timeout)

    def _pump_for(self, verb: str) -> Callable[[float | None], bool]:
        """What waits for this verb: it raises where the server is of this very thread, and would wait for it."""
        if self._thread.home in serving:
            return partial(_pump_without_server, self, verb, self._thread.pump)
        return self._thread.pump

    def __iter__(self) -> Iterator[Received]:
        """Every event from the wire, in order, until the client is closed; also those that have a handler."""
        stop = self.inbox.iterate()
        take, pump = self.inbox.take, self._pump_for("iteration")
        try:
            while True:
                found = take()
                if found is not None:
                    yield found
                    continue
                if self.state is ClientState.CLOSED:
                    return
                before_waiting(self._thread, "iteration")
                pump(None)
        finally:
            stop()

    @suggests
    def poll(self, timeout: float | None = 0.0) -> bool:
        """Handle all that has arrived; wait for the first thing at most ``timeout`` seconds (``None``: without end).

        Where more and more arrives it returns after 50 ms. Returns whether anything happened. For programs that only
        have handlers: ``while client.poll(None): …``. One that polls too seldom for what the server sends hears old
        events, since the server keeps what it could not send: ``receive(…, latest=True)`` gets past those.
        Raises :class:`NotConnected` when the client is closed, and :class:`BackpressureError` when the inbox is full
        of events that nobody receives.
        """
        timeout = seconds(timeout, "poll")
        driver, had_waited = self._thread, self._thread.has_waited
        self._before_waiting("poll", "cannot poll")
        if self.inbox.full:
            raise self._crowded("nothing more can be read")
        happened = driver.pump(timeout) and driver.catch_up(CATCH_UP_SECONDS)
        if timeout == 0 and not (happened or had_waited):
            looked(driver)
        return happened

    # ---- requests

    def _answer(self, question: Question) -> Any:
        self._before_waiting("request", f"cannot request {getattr(question.method, 'name', question.method)!r:.80}")
        if _is_served_here(self):
            raise _never("request", self.address)
        return _answered(self._thread, self.requests, self._ask(question), question, self._check_inbox)

    # ---- life

    @suggests
    def close(self, timeout: float | None = None) -> None:
        """Send what was emitted, then end. In a handler this only begins, and the call that waits does the rest.

        In the handler of a request the answer goes out first.

        Args:
            timeout: the seconds it may take; ``None`` is ``close_timeout``. What is not sent by then is dropped.
        """
        refuse_other_threads(self._driver, "close")
        if not self._thread.busy:
            self._thread.pump(0.0)  # what other threads emitted
        if _is_served_here(self):
            timeout = 0.0  # the server cannot answer the goodbye while this waits for it
        self._begin_close(timeout)
        finish(self._thread, self.closed)

    def abort(self) -> None:
        """End at once; what is not sent yet is dropped and counted in ``disconnect``."""
        super().abort()
        finish(self._thread, self.closed)

    # ---- waiting

    def _before_waiting(self, verb: str, what: str) -> None:
        """As ``before_waiting``; of a closed client only that is said, since nothing else would help."""
        refuse_other_threads(self._driver, verb)
        if self.state is ClientState.CLOSED:
            raise self.over(what)
        before_waiting(self._thread, verb)

    def over(self, what: str) -> NotConnected:
        if self.closed.done and not self._thread.busy:  # a handler closed it: nobody waited until it had ended
            self._thread.close()
        return super().over(what)

    def _until(self, verb: str, done: Callable[[], bool], timeout: float | None) -> bool:
        if done():
            return True
        before_waiting(self._thread, verb)
        satisfied = self._thread.run_until(lambda: done() or self.inbox.full, timeout)
        if satisfied and not done():
            raise self._crowded(f"{verb}() cannot go on")
        return satisfied

    def _check_inbox(self) -> None:
        if self.inbox.full:
            raise self._crowded("the answer cannot be reached")

    def _crowded(self, what: str) -> BackpressureError:
        if not self._thread.busy:
            self._thread.pump(0.0)  # who only meets full inboxes hears of the link's end all the same
        return BackpressureError(
            f"{what}: {self.inbox.crowd()}, and nothing is read until they are. Receive them, register handlers for "
            f"them, or raise max_inbox_bytes ({self._settings.max_inbox_bytes})"
        )


AnyClient.register(BlockingClient)
Client = BlockingClient
"""What :func:`connect` returns."""


# ---- connecting


@suggests
def connect(
    address: Place,
    *,
    config: Config | None = None,
    timeout: float | None = 10.0,
    wait: bool = False,
    tls: TLSChoice = None,
    **options: Any,
) -> BlockingClient:
    """Connect and return the client: ``with blocking.connect("world") as world``.

    Args:
        address: an id, a path (``/run/app.sock``, ``./app.sock``, a path object), ``pipe:name``, ``tcp://host:port``,
            ``tls://host:port``.
        config: a configuration to start from; it is not changed.
        **options: single options, as ``retry=100``.
        timeout: seconds until the link must be usable (with TLS: after the handshake); ``None`` waits without end.
        wait: keep trying until the server is there; otherwise the first attempt that fails raises.
        tls: options as in ``config.tls``, an ``ssl.SSLContext``, or True for the defaults.

    A link that is lost later is made anew while a call waits, as the options ``retry``, ``max_retries`` and
    ``stop_retrying`` say; the state is in ``client.state``.

    Raises:
        ConnectTimeout: there is no link after ``timeout`` seconds.
        ConnectError: the attempt failed (without ``wait``); the kernel's error is the ``__cause__``.
        AddressError: the address cannot be read.
        ConfigError: an option is not there, or does not take that value.

    Example:
        >>> with blocking.serve("world") as server, blocking.connect("world", timeout=5) as world:
        ...     _ = server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
        ...     _ = world.emit("message", "hello")
        ...     while not world.stats().messages_in:  # a server of this thread is served by it
        ...         _ = server.poll(0.1), world.poll(0)
        ...     world.receive("message", timeout=5)
        'hello world!'
    """
    timeout = seconds(timeout, "connect")
    refuse_no_bool(wait)
    where, settings = resolve(address, config, options, "client", tls)
    client = BlockingClient(id_of(address), where, _driver("connect"), settings)
    if isinstance(where, Tls) and _is_served_here(client):  # the handshake needs both
        raise _never("connect", where)
    return _connected(client, timeout, wait)


def _driver(verb: str) -> ThreadDriver:
    """A driver for this thread; refused in a coroutine on the virtual clock, which would stand while it waits."""
    driver = ThreadDriver()
    if "asyncio" in sys.modules:  # this front never loads it
        from .drivers.runner import why_no_endpoints

        if (why_not := why_no_endpoints()) is not None:
            raise WrongLoopError(why_not)
        warn_in_coroutine(driver, f"blocking.{verb}()")
    return driver


def _connected(client: C, timeout: float | None, wait: bool) -> C:
    """Wait until the client is connected, or close it and say why it is not."""
    client.is_patient = wait
    if not wait:
        client.on("error", _heard_here)
    try:
        connected = client.connect()
        settled = client._thread.run_until(
            lambda: connected.done or (client.last_error is not None and not wait), timeout
        )
        if not settled:
            assert timeout is not None  # without one there is no end
            raise connect_timeout(client, timeout) from client.last_error
        if not connected.done:
            assert client.last_error is not None
            raise hint_at_waiting(client, client.last_error)
        connected.result()
    except BaseException:
        client.abort()
        raise
    client.off("error", _heard_here)
    return client


def _heard_here(error: IPCError) -> None:
    """The error of an attempt is raised to whoever waits for it."""


def reconnect(
    address: Place,
    *,
    config: Config | None = None,
    timeout: float | None = None,
    tls: TLSChoice = None,
    **options: Any,
) -> Iterator[BlockingClient]:
    """A connected client, and a fresh one each time the former is done with: ``for client in reconnect("world")``.

    The arguments are those of :func:`connect`; ``timeout`` is for each connection, ``None`` waits until the server is
    there. These clients do not reconnect by themselves: when the link is lost, iteration over the client ends and
    other calls raise a ``ConnectionError``; catch it and let the loop go on. At the end of the loop's body the client
    is closed. When links keep lasting less than five seconds, the pauses between them grow from ``retry`` on.
    """
    timeout = seconds(timeout, "reconnect")
    where, settings = resolve(address, config, options, "client", tls, own=("config", "timeout", "tls"))
    short = 0
    while True:
        client = _Single(id_of(address), where, _driver("reconnect"), settings)
        _connected(client, timeout, True)
        began = time.monotonic()
        with client:
            yield client
        short = short + 1 if time.monotonic() - began < STEADY_SECONDS else 0
        if short:
            chance = client._thread.random()
            time.sleep(retry_delay(settings.retry / 1000, short - 1, LONGEST_PAUSE, chance, settings.retry_growth))


class _Single(BlockingClient):
    """A client of one link."""

    def _may_retry(self) -> bool:
        return not self.connected.done and super()._may_retry()


# ---- serving


class BlockingServer(Serving[BlockingSocket], ServerCore[BlockingSocket]):
    """A server whose handlers run in the thread that calls. Made by :func:`serve`, a context manager."""

    _made_by = "blocking.serve('world')"
    takes_options = "to serve(…, {}=…)"

    _times_requests = False
    _socket_type = BlockingSocket

    # ---- out

    @overload
    def emit(self, socket: Session, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def emit(self, socket: Session, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    def emit(
        self,
        socket: Session,
        type: Any = UNSET,  # left out where the socket is, which is told
        data: Any = {},  # noqa: B006 - never changed
        keep: Keep = None,
    ) -> bool:
        """Send one event to one socket; outside handlers, the kernel has it when this returns.

        While the kernel is full this waits and serves everybody meanwhile. (``socket.emit`` never waits, here as in
        the other fronts, and neither does ``keep="latest"``, where False says that it waits, and may be replaced.)
        Raises :class:`ConnectionLost` when the link breaks while the event is being written.
        """
        if keep is not None or keep_of(type) is not None:
            return self._emit_newest(socket, type, data, keep)
        below = super().emit(socket, type, data)
        driver = self._thread
        if not socket.is_full or driver.busy or driver.thread() != driver.home:
            return below
        driver.run_until(lambda: not socket.is_full or socket.loss is not None)
        if socket.loss is not None:
            raise _broke(f"of {socket!r}", socket.loss) from socket.loss.reason
        return True

    def _emit_newest(self, socket: Session, type: Any, data: Any, keep: Keep) -> bool:
        below = super().emit(socket, type, data, keep=keep)
        took_all = _took_all(self._thread, socket)
        if socket.loss is not None:
            raise _broke(f"of {socket!r}", socket.loss) from socket.loss.reason
        return below and took_all

    # ---- requests

    @overload
    def request(
        self, socket: Session, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]
    ) -> R: ...
    @overload
    def request(
        self, socket: Session, method: str, params: Any = None, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]
    ) -> R: ...
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
    ) -> Any:
        """Ask one client, and wait for its answer, serving everybody meanwhile; as ``BlockingClient.request``."""
        return self._answer_of(socket, Question(method, params, timeout, type, progress))

    def _answer_of(self, socket: Session, question: Question) -> Any:
        before_waiting(self._thread, "request")
        return _answered(self._thread, self.requests, self.request_from(socket, question), question)

    @overload
    def request_all(
        self, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskAllOptions]
    ) -> dict[BlockingSocket, R | Exception]: ...
    @overload
    def request_all(
        self, method: str, params: Any = None, *, type: TypeForm[R] = ..., **how: Unpack[AskAllOptions]
    ) -> dict[BlockingSocket, R | Exception]: ...
    @suggests
    def request_all(
        self,
        method: str | Event[Any],
        params: Any = None,
        *,
        timeout: float | None = 30.0,
        type: Any = None,
        exclude: Collection[Session] = (),
    ) -> dict[BlockingSocket, Any]:
        """Ask every connected client: ``{socket: result or exception}`` when the last has answered."""
        before_waiting(self._thread, "request_all")
        answers = self._ask_all(Question(method, params, timeout, type), exclude)
        try:
            self._thread.run_until(lambda: answers.done)
        finally:
            if answers.abandon is not None:  # Ctrl-C: nobody waits any more
                answers.abandon()
        return answers.result()


AnyServer.register(BlockingServer)
Server = BlockingServer
"""What :func:`serve` returns."""


@suggests
def serve(
    address: Place,
    *,
    config: Config | None = None,
    tls: TLSChoice = None,
    **options: Any,
) -> BlockingServer:
    """Serve: ``with blocking.serve("world") as server``, then ``server.serve_forever()`` or ``server.poll()``.

    Clients can connect when this returns, and wait until they are served. The arguments are those of
    :func:`connect`. At the end everything emitted is sent, within ``close_timeout`` milliseconds.

    A list is several addresses of one server, ``serve(["world", "tcp://127.0.0.1:8000"])``: it listens at all of them
    or, where one cannot be had, at none. ``server.addresses`` has them, and ``socket.address`` is where one came to.

    ``udp4://host:port`` and ``udp6://[host]:port`` bind a UDP port, as :func:`serve_udp` does; that is the verb whose
    result a type checker knows.

    Raises:
        AddressInUse: another live server has that address.
        AddressError: nobody can listen there.
        ConfigError: an option is not there, or does not take that value.

    Example:
        >>> with blocking.serve("world") as server:
        ...     server.on("message", print)
        ...     server.poll(0)  # serve_forever() in a program that does nothing else
        <built-in function print>
        False
    """
    where, settings = resolve(address, config, options, "server", tls)
    if has_datagrams(where):
        return cast("BlockingServer", _bound(where, settings))
    if settings.bus is not None:
        raise ConfigError(
            "bus= needs an event loop: a bus has to be heard all the time, and this front runs only while it is "
            "called. Use node_ipc.serve (asyncio), ipc.serve (callbacks) or node_ipc.scale.workers.run"
        )
    driver = _driver("serve")
    return _started(BlockingServer(where, driver, settings), driver)


@suggests
def serve_udp(address: UdpPlace, *, config: Config | None = None, **options: Any) -> BlockingDatagramServer:
    """Bind a UDP port: ``with blocking.serve_udp("127.0.0.1:8000") as port``, then ``port.poll()`` and the like.

    Args:
        address: ``host:port``, ``udp4://host:port``, ``udp6://[host]:port``, ``(host, port)``, or a UDP socket that is
            bound already; port 0 is a free one, and ``port.address`` says which.
        config: as for :func:`connect`.
        **options: as for :func:`connect`.

    The kernel keeps what comes from when this returns. At the end everything emitted is given to the kernel, within
    ``close_timeout`` milliseconds.

    Raises:
        AddressInUse: the port is taken.
        AddressError: it is no UDP port, or cannot be bound.
        ConfigError: an option is not there, or does not take that value.

    Example:
        >>> with blocking.serve_udp("127.0.0.1:0") as one, blocking.serve_udp("127.0.0.1:0") as other:
        ...     _ = other.on("message", lambda data, peer: print("heard", data))
        ...     _ = one.emit(("127.0.0.1", other.port), "message", "hello")
        ...     _ = other.poll(5)
        heard hello
    """
    return _bound(*resolve_udp(address, config, options))


def _bound(where: Udp | Handed, settings: Config) -> BlockingDatagramServer:
    from .blocking_datagram import BlockingDatagramServer  # only who uses UDP loads it

    driver = _driver("serve_udp")
    return _started(BlockingDatagramServer(where, driver, settings), driver)


def _started(server: V, driver: ThreadDriver) -> V:
    """Wait until it serves, or raise why it cannot."""
    server.on("error", _heard_here)
    try:
        started = server.start()
        driver.run_until(lambda: started.done)
        started.result()
    except BaseException:
        server.abort()
        raise
    server.off("error", _heard_here)
    return server


if not TYPE_CHECKING:  # which would know every name, then

    def __getattr__(name: str) -> Any:
        """UDP's class, loaded when it is asked for (PEP 562)."""
        if name != "DatagramServer":
            near = None if name.startswith("_") else meant(name, __all__)
            hint = "" if near is None else f". Did you mean {near!r}?"
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
        from .blocking_datagram import BlockingDatagramServer

        return BlockingDatagramServer


# ---- what both ends do


def _answered(
    driver: ThreadDriver,
    requests: Requests,
    answer: Outcome[Any],
    question: Question,
    check: Callable[[], None] | None = None,
) -> Any:
    """Wait for the answer to a request; when that does not come about, both sides forget the request."""
    timeout = left = seconds(question.timeout, "request")
    deadline = 0.0 if timeout is None else driver.now() + timeout
    try:
        while not answer.done:
            if check is not None:
                check()
            driver.pump(left)
            if timeout is not None and not answer.done:
                left = deadline - driver.now()
                if left <= 0:
                    raise requests.timed_out(event_name(question.method), timeout)
    finally:
        if answer.abandon is not None:
            answer.abandon()
    return answer.result()


def _took_all(driver: ThreadDriver, session: Session) -> bool:
    """Whether the kernel has everything; what it takes by now is given to it first, where that can be."""
    if session.is_full and not driver.busy and driver.thread() == driver.home:
        driver.pump(0.0)
    return not session.is_full


def _broke(link: str, loss: Loss) -> ConnectionLost:
    return ConnectionLost(f"the link {link} broke while this was being written: {loss}")


def _is_served_here(client: BlockingClient) -> bool:
    """Whether the client's server belongs to its own thread, and so does nothing while that waits."""
    return any(
        any(_is_at(client.address, address) for address in server.addresses)
        and (not server.runs_in_event_loop or _in_event_loop())
        for server in serving.get(client._thread.home, ())
    )


def _in_event_loop() -> bool:
    if "asyncio" not in sys.modules:  # this front never loads it
        return False
    from .drivers.runner import runs_here

    return runs_here()


def _pump_without_server(
    client: BlockingClient, verb: str, pump: Callable[[float | None], bool], timeout: float | None
) -> bool:
    """Take what is there already; to wait for more would be to wait for ever where the server is of this thread."""
    if not _is_served_here(client):
        return pump(timeout)
    if not pump(0.0):
        raise _never(verb, client.address)
    return True


def _never(verb: str, address: Address) -> WouldDeadlock:
    return WouldDeadlock(
        f"{verb}() would wait for ever: the server at {address} belongs to this very thread, and cannot answer while "
        "it waits. Run the server in another thread or process, or call server.poll() first; in asyncio use "
        "node_ipc.connect"
    )


def _is_at(client: Address, server: Address) -> bool:
    where = getattr(server, "where", server)
    if isinstance(client, Unix) and isinstance(where, Unix):
        return where.path in (client.path, *client.also)
    return client == where
