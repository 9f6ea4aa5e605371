"""The asyncio front: ``connect`` and ``serve`` for ``async with`` and ``await``.

Only what waits is here; everything else is in ``core/client.py`` and ``core/server.py``, which these classes extend.
All times are seconds.
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import Callable, Generator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast, overload

from msgspec import UNSET

from .config.address import has_datagrams
from .config.config import Config
from .config.misspelt import refuse_misplaced, refuse_misspelt, suggests
from .config.resolve import Place, TLSChoice, UdpPlace, id_of, resolve, resolve_udp
from .core.client import Client, ClientState, connect_timeout, hint_at_waiting
from .core.datagram import DatagramPeer, DatagramServer
from .core.endpoint import Publisher, SocketPublisher
from .core.events import Event
from .core.inbox import CATCH_UP_SECONDS, QUIET_SECONDS, CatchingUp, Inbox, Received, receivable, receive_timeout
from .core.outcome import refuse_no_bool, seconds, wake_up
from .core.server import Server
from .core.session import Socket, refuse_other_threads
from .drivers.loop import EventLoopDriver, TaskMaterial
from .drivers.runner import ends_in_order
from .errors import DrainTimeout, IPCError, NotConnected

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from .config.address import Address
    from .core.events import R
    from .core.seam import Driver

__all__ = [
    "AsyncClient",
    "AsyncDatagramServer",
    "AsyncServer",
    "Iteration",
    "Opening",
    "Received",
    "Serving",
    "connect",
    "serve",
    "serve_udp",
]

T = TypeVar("T")
S = TypeVar("S")
E = TypeVar("E", bound="AsyncClient | AsyncServer | AsyncDatagramServer")
K = TypeVar("K", bound="AsyncServer | AsyncDatagramServer")


class AsyncClient(Client):
    """A client whose events can also be waited for, one at a time or in a loop. Made by ``node_ipc.connect``.

    Example:
        >>> async def main():
        ...     async with node_ipc.serve("world") as server:
        ...         server.on("connect", lambda socket: socket.emit("news", "rain"))
        ...         async with node_ipc.connect("world", timeout=5) as world:
        ...             async for type, data in world:
        ...                 return type, data
        >>> node_ipc.run(main())
        ('news', 'rain')
    """

    _made_by = "await node_ipc.connect('world'), or async with,"
    takes_options = "to connect(…, {}=…)"
    waits_by = (
        "handlers are called while the program waits, as by await client.closed, or in async for type, data in client, "
        "which gives what has no handler"
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.inbox = Inbox(self)
        """Events that wait to be received."""

    async def __aenter__(self) -> Self:
        self._refuse_when_over()
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        self.block_ended(error)
        await _leave(self.close(), self.abort, error)

    def _caller(self) -> object:
        return _task_at_work() or super()._caller()

    @overload
    async def receive(self, event: Event[T], *, timeout: float | None = None, latest: bool = False) -> T: ...
    @overload
    async def receive(
        self, event: str, *, type: TypeForm[R] = ..., timeout: float | None = None, latest: bool = False
    ) -> R: ...
    async def receive(
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
            ConnectionLost: in raw mode, where ``receive("data")`` gives the next bytes: the link was lost and another
                follows. It is raised once, and so it is by iteration.
        """
        if misspelt or misplaced:
            refuse_misspelt("receive", misspelt, ("type", "timeout", "latest"))
            refuse_misplaced("receive", misplaced, ("type", "timeout", "latest"))
        refuse_other_threads(self._driver, "receive")
        name, type = receivable(event, type)
        timeout = seconds(timeout, "receive")
        self.inbox.keep_newest(name, latest)
        reading, left = None, timeout
        if latest:
            began = self._driver.now()
            reading = CatchingUp(self.inbox, name, self._session, self._driver.now, timeout)
            await self._catch_up(reading)
            left = None if timeout is None else max(began + timeout - self._driver.now(), 0.0)
        found = self.inbox.take(name, type)
        if found is None:
            try:
                async with asyncio.timeout(left):
                    found = await self._arrival(name, type, reading)
            except TimeoutError:
                assert timeout is not None
                found = self.inbox.take(name, type)  # there may be one, while a newer one was hoped for
                if found is None:
                    raise receive_timeout(self, self.inbox, name, timeout) from None
        return found.data

    def __aiter__(self) -> Iteration:
        """Every event from the wire, in order, until the client is closed; also those that have a handler."""
        refuse_other_threads(self._driver, "iteration")
        return Iteration(self)

    async def _arrival(self, event: str | Event[Any] | None, type: Any, reading: CatchingUp | None = None) -> Received:
        while True:
            if reading is not None:
                await self._catch_up(reading)
                await self._read_on()
            if (found := self.inbox.take(event, type)) is not None:
                return found
            if self.state is ClientState.CLOSED:
                raise self.over("nothing is left to receive")
            await self._change()

    async def _catch_up(self, reading: CatchingUp) -> None:
        """Let the loop read what came, and what the server kept, while nobody read."""
        while not reading.is_over:
            await asyncio.sleep(QUIET_SECONDS)

    async def _read_on(self) -> None:
        """Let the loop read what the kernel has at this moment, for ``CATCH_UP_SECONDS`` at the most."""
        end = self._driver.now() + CATCH_UP_SECONDS
        before = -1
        while self._session is not None and self._session.incoming.bytes_in != before and self._driver.now() < end:
            before = self._session.incoming.bytes_in
            await asyncio.sleep(0)

    async def _change(self) -> None:
        """Until an event arrives, or the client closes."""
        future = asyncio.get_running_loop().create_future()
        wake = partial(wake_up, future)
        self.inbox.arrived.append(wake)
        self.closed.then(wake)
        self.inbox.wait()
        try:
            await future
        finally:
            self.inbox.stop_waiting()
            self.inbox.arrived.remove(wake)
            self.closed.forget(wake)

    async def drain(self, timeout: float | None = None) -> None:
        """Until no more than ``soft_pending_bytes`` wait to be sent: ``if not client.emit(…): await client.drain()``.

        Messages on the link that a newer one may replace (``keep="latest"``) are not waited for.

        Args:
            timeout: seconds; ``None`` waits as long as it takes.

        Raises:
            DrainTimeout: it took longer.
            NotConnected: the client is closed.
        """
        limit = self.settings.soft_pending_bytes
        refuse_other_threads(self._driver, "drain")
        self.hand_over()
        await _drained(self._driver, self, timeout, lambda: self.owed_bytes <= limit)
        if self.state is ClientState.CLOSED:
            raise self.over("cannot drain")


class Iteration:
    """One ``async for`` over a client; it ends with the loop, also by ``break`` (a generator would end later)."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._stop = client.inbox.iterate()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        try:
            return self._client.inbox.take() or await self._client._arrival(None, None)
        except NotConnected:
            self._stop()
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """End it, for ``contextlib.aclosing``."""
        self._stop()

    def __del__(self) -> None:
        self._stop()


class Serving(SocketPublisher[S]):
    """What servers and UDP ports of this front have in common; to be put before what they are."""

    waits_by = "handlers are called while the program waits, as by await server.serve_forever()"

    async def __aenter__(self) -> Self:
        self._refuse_when_stopped("a block with a stopped server")
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        self.block_ended(error)
        await _leave(self.begin_stop(), self.abort, error)

    async def serve_forever(self) -> None:
        """Until the server is stopped, as by a signal just before; cancelled, it stops, after everything was sent.

        A ``start()`` right behind ``stop()``, as in a handler, lets it go on.

        Raises:
            IPCError: that start failed, as where another holds the address now, and no handler of ``error`` heard why.
            NotConnected: its block, or a call of this, had ended before in the same task.
        """
        refuse_other_threads(self._driver, "serve_forever")
        self._refuse_when_stopped("serve_forever()")
        over = self._over
        try:
            await over
        except asyncio.CancelledError as cancelled:
            if _is_swept_away(cancelled):
                self.tell_of_main_that_ended()
            self.end_for_good()
            await _leave(self.begin_stop(), self.abort, None)
            raise
        finally:
            if over is self._over:  # it may have been started anew meanwhile
                self.used_up()

    def _caller(self) -> object:
        return _task_at_work() or super()._caller()


class AsyncServer(Serving[Socket], Server):
    """A server that can be waited for. Made by ``node_ipc.serve``, which has an example."""

    _made_by = "await node_ipc.serve('world'), or async with,"
    takes_options = "to serve(…, {}=…)"

    async def drain(self, timeout: float | None = None) -> None:
        """Until no socket has more than ``soft_pending_bytes`` waiting, without what ``keep="latest"`` may replace.

        Args:
            timeout: seconds; ``None`` waits as long as it takes.

        Raises:
            DrainTimeout: it took longer.
        """
        limit = self.settings.soft_pending_bytes
        refuse_other_threads(self._driver, "drain")
        self.hand_over()
        await _drained(
            self._driver, self, timeout, lambda: all(socket.outgoing.owed <= limit for socket in self.sockets)
        )


class AsyncDatagramServer(Serving[DatagramPeer], DatagramServer):
    """A UDP port that can be waited for. Made by ``node_ipc.serve_udp``, which has an example."""

    _made_by = "await node_ipc.serve_udp('host:port'), or async with,"
    takes_options = "to serve_udp(…, {}=…)"

    async def drain(self, timeout: float | None = None) -> None:
        """Until no more than ``soft_pending_bytes`` wait for the kernel; what to do where ``emit`` gave False.

        UDP has no other end that could push back: what the kernel has taken may be lost all the same.

        Args:
            timeout: seconds; ``None`` waits as long as it takes.

        Raises:
            DrainTimeout: it took longer.
        """
        refuse_other_threads(self._driver, "drain")
        self.hand_over()
        self._watch()
        await _drained(self._driver, self, timeout, lambda: self.pending_bytes <= self.settings.soft_pending_bytes)


class Opening(Generic[E], TaskMaterial):
    """What ``connect``, ``serve`` and ``serve_udp`` return: for ``async with``, or for ``await``."""

    def __init__(self, verb: str, address: Place | UdpPlace, open: Callable[[], Any]) -> None:
        self._call = f"node_ipc.{verb}({address!r:.80})"
        self._open = open
        self._begun = False
        self._endpoint: E | None = None

    if not TYPE_CHECKING:  # a type checker says it in its own words

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"{self._call} has to be awaited before its {name!r} is used: "
                f"world = await {self._call}, or async with",
                name=name,
                obj=self,
            )

    def __await__(self) -> Generator[Any, None, E]:
        self._begun = True
        try:
            endpoint: E = yield from self._open().__await__()
        except IPCError as error:
            error.__traceback__ = None  # our steps say nothing to who waits
            raise
        endpoint.expect_time()
        return endpoint

    def close(self) -> None:
        self._begun = True  # by a task that was cancelled before its first step

    async def __aenter__(self) -> E:
        self._endpoint = await self
        return self._endpoint

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._endpoint is not None
        await self._endpoint.__aexit__(kind, error, trace)

    if not TYPE_CHECKING:  # as above

        def __aiter__(self) -> NoReturn:
            self._begun = True  # which says it
            raise TypeError(f"use async with {self._call}: a client finds a lost link again by itself")

    def __enter__(self) -> Any:
        raise TypeError(f"use async with {self._call}; without asyncio, with node_ipc.blocking's")

    def __exit__(self, *exception: Any) -> None:
        """Never reached: it is ``__enter__`` that says what to do."""

    def __del__(self) -> None:
        if not self.__dict__.get("_begun", True):
            warnings.warn(f"{self._call} was never awaited", RuntimeWarning, stacklevel=2)


@suggests
def connect(
    address: Place,
    *,
    config: Config | None = None,
    timeout: float | None = 10.0,
    wait: bool = False,
    tls: TLSChoice = None,
    **options: Any,
) -> Opening[AsyncClient]:
    """Connect: ``async with node_ipc.connect("world") as world`` or ``world = await node_ipc.connect("world")``.

    Args:
        address: an id, a path (``/run/app.sock``, ``./app.sock``, a path object), ``pipe:name``, ``tcp://host:port``,
            ``tls://host:port``.
        config: a configuration to start from; it is not changed.
        **options: single options, as ``retry=100``.
        timeout: seconds until the link must be usable (with TLS: after the handshake); ``None`` waits without end.
        wait: keep trying until the server is there; otherwise the first attempt that fails raises.
        tls: options as in ``config.tls``, an ``ssl.SSLContext``, or True for the defaults.

    A link that is lost later is made anew, as the options ``retry``, ``max_retries`` and ``stop_retrying`` say; the
    state is in ``client.state``.

    Raises:
        ConnectTimeout: there is no link after ``timeout`` seconds.
        ConnectError: the attempt failed (without ``wait``); the kernel's error is the ``__cause__``.
        AddressError: the address cannot be read.
        ConfigError: an option is not there, or does not take that value.

    Example:
        >>> async def main():
        ...     async with node_ipc.serve("world") as server, node_ipc.connect("world", timeout=5) as world:
        ...         server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
        ...         world.emit("message", "hello")
        ...         return await world.receive("message", timeout=5)
        >>> node_ipc.run(main())
        'hello world!'
    """
    timeout = seconds(timeout, "connect")
    refuse_no_bool(wait)
    where, settings = resolve(address, config, options, "client", tls)

    async def open() -> AsyncClient:
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        client = AsyncClient(id_of(address), where, driver, settings)
        client.is_patient = wait
        undo = _first_failure_ends(client) if not wait else None
        try:
            async with asyncio.timeout(timeout):
                await client.connect()
        except TimeoutError as late:
            if isinstance(late, IPCError):
                raise
            client.abort()
            assert timeout is not None  # without one there is no end
            raise connect_timeout(client, timeout) from client.last_error
        except BaseException:
            client.abort()
            raise
        if undo is not None:
            undo()
        return client

    return Opening("connect", address, open)


def _first_failure_ends(client: AsyncClient) -> Callable[[], None]:
    """While not connected yet, the first failed attempt is the answer."""

    def failed(error: IPCError) -> None:
        if client.connected.done:  # it has come about; what is wrong since then is no reason
            return
        client.connected.settle(hint_at_waiting(client, error))
        client.abort()

    client.on("error", failed)
    return partial(client.off, "error", failed)


@suggests
def serve(
    address: Place,
    *,
    config: Config | None = None,
    tls: TLSChoice = None,
    **options: Any,
) -> Opening[AsyncServer]:
    """Serve: ``async with node_ipc.serve("world") as server`` or ``server = await node_ipc.serve("world")``.

    Inside, clients can connect already. The arguments are those of :func:`connect`. At the end everything emitted is
    sent, within ``close_timeout`` milliseconds.

    A list is several addresses of one server, ``serve(["world", "tcp://127.0.0.1:8000"])``: it listens at all of them
    or, where one cannot be had, at none. ``server.addresses`` has them, and ``socket.address`` is where one came to.

    ``udp4://host:port`` and ``udp6://[host]:port`` bind a UDP port, as :func:`serve_udp` does; that is the verb whose
    result a type checker knows.

    Raises:
        AddressInUse: another live server has that address.
        AddressError: nobody can listen there.
        ConfigError: an option is not there, or does not take that value.

    Example:
        >>> async def main():
        ...     async with node_ipc.serve("world", max_connections=1000) as server:
        ...         @server.handle("add")
        ...         def add(params):
        ...             return params["a"] + params["b"]
        ...
        ...         async with node_ipc.connect("world", timeout=5) as world:
        ...             return await world.request("add", {"a": 1, "b": 2}, timeout=5)
        >>> node_ipc.run(main())
        3
    """
    where, settings = resolve(address, config, options, "server", tls)
    if has_datagrams(where):
        return cast("Opening[AsyncServer]", _opening("serve", address, AsyncDatagramServer, where, settings))
    return _opening("serve", address, AsyncServer, where, settings)


@suggests
def serve_udp(address: UdpPlace, *, config: Config | None = None, **options: Any) -> Opening[AsyncDatagramServer]:
    """Bind a UDP port: ``async with node_ipc.serve_udp("127.0.0.1:8000") as port``, or with ``await``.

    Args:
        address: ``host:port``, ``udp4://host:port``, ``udp6://[host]:port``, ``(host, port)``, or a UDP socket that is
            bound already; port 0 is a free one, and ``port.address`` says which.
        config: as for :func:`connect`.
        **options: as for :func:`connect`.

    Inside, the port hears already. At the end everything emitted is given to the kernel, within ``close_timeout``
    milliseconds.

    Raises:
        AddressInUse: the port is taken.
        AddressError: it is no UDP port, or cannot be bound.
        ConfigError: an option is not there, or does not take that value.

    Example:
        >>> async def main():
        ...     async with node_ipc.serve_udp("127.0.0.1:0") as one, node_ipc.serve_udp("127.0.0.1:0") as other:
        ...         heard = asyncio.get_running_loop().create_future()
        ...         other.on("message", lambda data, peer: heard.set_result(data))
        ...         one.emit(("127.0.0.1", other.port), "message", "hello")
        ...         return await asyncio.wait_for(heard, 5)
        >>> node_ipc.run(main())
        'hello'
    """
    where, settings = resolve_udp(address, config, options)
    return _opening("serve_udp", address, AsyncDatagramServer, where, settings)


def _opening(
    verb: str,
    address: Place | UdpPlace,
    kind: Callable[[Any, EventLoopDriver, Config], K],
    where: Address,
    settings: Config,
) -> Opening[K]:
    """A server of this kind that is still to be started."""

    async def open() -> K:
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        server = kind(where, driver, settings)
        if settings.bus is not None:
            from .cluster.joined import join  # only where there is a bus

            join(server, driver, settings)
        server.on("error", _heard_by_start)
        try:
            await server.start()
        except BaseException:
            server.abort()
            raise
        server.off("error", _heard_by_start)
        return server

    return Opening(verb, address, open)


def _heard_by_start(error: IPCError) -> None:
    """The error of ``start`` is raised to whoever awaits it."""


async def _drained(driver: Driver, endpoint: Publisher, timeout: float | None, below: Callable[[], bool]) -> None:
    refuse_other_threads(driver, "drain")
    endpoint.turn_came()  # also where there is nothing to wait for: the program is there to send
    if timeout is not None:
        timeout = seconds(timeout, "drain")
    if below():
        return
    try:
        async with asyncio.timeout(timeout):
            while not below():
                await _kernel_takes_more(endpoint.on_drained)
    except TimeoutError:
        assert timeout is not None  # without one there is no end
        raise DrainTimeout(
            f"{endpoint.pending_bytes} bytes still wait after {timeout:g} s{_why_it_may_wait(endpoint)}"
        ) from None


def _why_it_may_wait(endpoint: Publisher) -> str:
    if "inbox" not in endpoint.stats().paused:
        return ""
    return (
        ": events that came wait here to be received, and the peer may read nothing until they are. Receive them in "
        "another task, or by handlers"
    )


LOOK_SECONDS = 0.1
"""How often a ``drain`` looks whether enough is gone of what was given to the kernel at once."""


async def _kernel_takes_more(on_drained: list[Callable[[], None]]) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    wake = partial(wake_up, future)
    on_drained.append(wake)
    look = loop.call_later(LOOK_SECONDS, wake)  # a link tells when all that it was given is gone, and some may do
    try:
        await future
    finally:
        look.cancel()
        on_drained.remove(wake)


def _task_at_work() -> object:
    """The task that runs, to be compared; None where a callback does."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs: a coroutine is closed that nothing awaits any more
        return None
    return None if task is None else weakref.ref(task)


def _is_swept_away(cancelled: asyncio.CancelledError) -> bool:
    """Whether this task is nothing but a ``serve_forever`` that nobody awaits, and the last: the main one has returned.

    One that an exception ended, or Ctrl-C, is on its way out with that, and Python shows it as the context.
    """
    task = asyncio.current_task()
    if task is None or asyncio.all_tasks() != {task} or cancelled.__context__ is not None or ends_in_order():
        return False
    return getattr(task.get_coro(), "cr_code", None) is Serving.serve_forever.__code__


async def _leave(closing: Any, abort: Callable[[], None], error: BaseException | None) -> None:
    """Close in order; cancelled meanwhile, or on the way out of a cancellation, at once.

    Where a signal ended the program (``node_ipc.run``), its cancellation is the time to send what was emitted.
    """
    if error is not None:
        from .config.advice import advise  # only a mistake pays for it

        advise(error)
    if isinstance(error, asyncio.CancelledError) and not ends_in_order():
        abort()
    try:
        await closing
    except asyncio.CancelledError:
        abort()
        await closing
        raise
