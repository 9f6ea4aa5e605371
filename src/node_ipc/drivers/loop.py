"""The asyncio driver: loops behind the seam of ``seam.py``.

It may be made before a loop runs: what it is asked to open, listen on or call later waits and begins when it is
attached. On asyncio's own loop links read and write their sockets themselves (``net/stream.py``), and the loop only
watches. Where it cannot (a Proactor), or does better (uvloop), they are protocols over the loop's transports: reading
goes through ``BufferedProtocol`` into one buffer for all links, and the transport's own write buffer is kept empty (a
high-water mark of 0). Either way what the kernel does not take at once makes the session wait, so every limit is
counted in one place, and asyncio never joins many small writes (quadratic in CPython 3.12.1 and 3.13.0).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..config.address import Pipe, Tcp, Tls, Udp, Unix
from ..core.outcome import Outcome
from ..core.seam import (
    FORKED,
    NOBODY,
    Acceptor,
    Cancellable,
    DatagramPort,
    DatagramReceiver,
    Endpoint,
    Flushable,
    Listener,
    Lock,
    Peer,
    Receiver,
    Timer,
)
from ..errors import AddressError, ConnectError, PeerRefused
from ..net import tcp, unix
from ..net.paused import Lookout
from ..net.stream import StreamLink
from ..net.unread import all_arrived, unread_bytes
from . import forks, small_stack
from .poller import READ, WRITE, Readiness, Watched

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Settings
    from ..net.tls import TLSChannel
    from ..net.tls_link import TLSLink

__all__ = ["EventLoopDriver", "TransportLink", "starting"]

T = TypeVar("T")

READ_BYTES = 64 * 1024
ACCEPTS_PER_TURN = 10
LOCAL_CONNECT_SECONDS, NETWORK_CONNECT_SECONDS = 2.0, 5.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.01, 1.0
starting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[asyncio.Task[None]]] = (
    weakref.WeakKeyDictionary()
)
"""Servers that were told to start and do not listen yet: a client of the same loop connects after them."""
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Here(threading.local):
    """What the drivers of a thread share: a buffer for each driver took 64 KiB for each client.

    With 1,000 clients in a program that was 80 KiB for each, and 16 with a shared one.
    """

    def __init__(self) -> None:
        self.read_buffer = memoryview(bytearray(READ_BYTES))


_here = _Here()


class _Deferred:
    """A call that waits for a loop."""

    def __init__(self, delay: float, callback: Callable[[], None]) -> None:
        self._delay, self._callback = delay, callback
        self._handle: asyncio.TimerHandle | None = None
        self._cancelled = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._cancelled:
            self._handle = loop.call_later(self._delay, self._callback)

    def cancel(self) -> None:
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel()


class EventLoopDriver:
    """Drives endpoints on an asyncio (or uvloop, or winloop) event loop."""

    runs_coroutines = True

    def __init__(self) -> None:
        self.home = 0
        self.has_small_stack = False  # known once there is a loop
        self.thread = threading.get_ident
        self.lock: Lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = time.monotonic
        self.random = random.random
        self.tasks: set[asyncio.Task[Any]] = set()
        self._waiting: list[Callable[[asyncio.AbstractEventLoop], None]] = []
        self._turn: list[Flushable] = []
        self._readiness: LoopReadiness | None = None
        self.read_buffer: memoryview
        """What every link of this thread reads into: what arrived is copied out before anything else can read."""
        self.endpoints: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        forks.guard(self)

    # ---- the loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work on this loop from now on, and begin what waited for one. Called in the loop's thread."""
        self.loop = loop
        self.home = threading.get_ident()
        self.has_small_stack = small_stack.is_small()
        self.read_buffer = _here.read_buffer
        self._readiness = _readiness_of(loop)
        self.now = loop.time
        waiting, self._waiting = self._waiting, []
        for begin in waiting:
            begin(loop)

    def attach_running(self) -> bool:
        """Attach to the loop that runs in this thread, if there is one; whether the driver has a loop now."""
        if self.loop is not None and self.loop.is_closed():
            self.detach()
        if self.loop is None:
            with contextlib.suppress(RuntimeError):
                self.attach(asyncio.get_running_loop())
        return self.loop is not None

    def detach(self) -> None:
        """Forget the loop; the next one may be another."""
        self.loop = None
        self.home = 0 if self.home != FORKED else FORKED
        self.now = time.monotonic
        self._turn.clear()

    def _begin(self, work: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        if self.attach_running():
            assert self.loop is not None
            work(self.loop)
        else:
            self._waiting.append(work)

    def task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it on the loop; what is still under way is in ``tasks``."""
        assert self.loop is not None
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # ---- the seam

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        if self.loop is not None:
            return self.loop.call_later(delay, callback) if delay > 0 else self.loop.call_soon(callback)
        deferred = _Deferred(delay, callback)
        self._begin(deferred.begin)
        return deferred

    def turn_ends(self, session: Flushable) -> bool:
        self._turn.append(session)
        if len(self._turn) == 1:
            assert self.loop is not None
            self.loop.call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, []
        for session in turn:
            session.turn_ended()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[BaseException | None], None]) -> Cancellable:
        task = self.task(coroutine)
        task.add_done_callback(partial(_tell, done))
        return task

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        if self.loop is None:
            self._waiting.append(lambda loop: callback())
        else:
            self.loop.call_soon_threadsafe(callback)

    def open(self, address: Address, receiver: Receiver, settings: Settings) -> None:
        self._begin(lambda loop: self._open(loop, address, receiver, settings))

    def _open(self, loop: asyncio.AbstractEventLoop, address: Address, receiver: Receiver, settings: Settings) -> None:
        self.task(_connect(self, loop, address, receiver, settings))

    def listen(self, address: Address, acceptor: Acceptor, settings: Settings) -> Listener:
        from .loop_listen import LoopListener

        listener = LoopListener(self, address, acceptor, settings)
        self._begin(listener.begin)
        return listener

    def bind(self, address: Address, receiver: DatagramReceiver, settings: Settings) -> DatagramPort:
        from .loop_datagrams import LoopPort

        port = LoopPort(self, address, receiver, settings)
        self._begin(port.begin)
        return port

    def outcome(self, value: T) -> Outcome[T]:
        return AwaitableOutcome(value)

    # ---- what waits for the kernel

    def watch(self, watched: Watched, interest: int, direct: Callable[[], None] | None = None) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on; nothing blocks here, so not ``direct``.

        Listeners, which only read, are the loop's own matter: beside one, a single link would not be alone. Raises
        ``NotImplementedError`` where the loop has no readers (a Proactor).
        """
        if self._readiness is not None and isinstance(watched, StreamLink):
            self._readiness.watch(watched, interest)
        elif self.loop is not None and not self.loop.is_closed():
            if interest:
                self.loop.add_reader(watched.fileno(), watched.readable)
            else:
                self.loop.remove_reader(watched.fileno())

    async def carry(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, peer: Peer, receiver: Receiver) -> None:
        """Make a link of a connected socket."""
        if self._readiness is not None:
            StreamLink(self, sock, peer, receiver).start(alone=False)
        else:
            await loop.connect_accepted_socket(lambda: TransportLink(self, receiver, peer), sock)

    def carry_accepted(self, sock: socket.socket, peer: Peer, receiver: Receiver) -> None:
        """The same, outside a task."""
        if self._readiness is not None:
            StreamLink(self, sock, peer, receiver).start(alone=False)
        else:
            assert self.loop is not None
            self.task(self.carry(self.loop, sock, peer, receiver))


class AwaitableOutcome(Outcome[T]):
    """An outcome for ``await``: gives the value or raises the error, as often as it is awaited."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            future = asyncio.get_running_loop().create_future()

            def wake() -> None:
                if not future.done():
                    future.set_result(None)

            self.then(wake)
            try:
                yield from future.__await__()
            except BaseException:  # the task that waited was cancelled
                self.forget(wake)
                if self.abandon is not None:
                    self.abandon()
                raise
        return self.result()


def _tell(done: Callable[[BaseException | None], None], task: asyncio.Task[Any]) -> None:
    done(None if task.cancelled() else task.exception())


class LoopReadiness:
    """The sockets of one loop: a single one it watches itself, several are hung into it as one descriptor.

    With a descriptor each, as the loop's own transports have them, a server with 1,000 busy connections took 1.4 times
    as long for each message. With the one descriptor for a single socket, too, a round trip took 1.1 times as long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # which is the key that this is found by
        self._alone: Watched | None = None
        self._interest = 0
        self._readiness: Readiness | None = None

    def watch(self, watched: Watched, interest: int) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on."""
        loop, readiness = self._loop(), self._readiness
        if loop is not None and loop.is_closed():
            loop = None
        if readiness is None:
            if loop is None:
                return
            if self._alone is None or self._alone is watched:
                self._watch_alone(loop, watched, interest)
                return
            readiness = self._gather(loop, self._alone)
        readiness.watch(watched, interest)
        if not readiness:
            self._readiness = None
            if loop is not None:
                loop.remove_reader(readiness.fileno())
            readiness.close()

    def _watch_alone(self, loop: asyncio.AbstractEventLoop, watched: Watched, interest: int) -> None:
        fd, changed = watched.fileno(), interest ^ self._interest
        if changed & READ:
            loop.add_reader(fd, watched.readable) if interest & READ else loop.remove_reader(fd)
        if changed & WRITE:
            loop.add_writer(fd, watched.writable) if interest & WRITE else loop.remove_writer(fd)
        self._alone, self._interest = (watched, interest) if interest else (None, 0)

    def _gather(self, loop: asyncio.AbstractEventLoop, alone: Watched) -> Readiness:
        """Another one comes: from now on the loop watches them all together."""
        interest = self._interest
        readiness = Readiness()
        try:
            readiness.watch(alone, interest)
            loop.add_reader(readiness.fileno(), readiness.poll, 0)
        except OSError:  # out of descriptors, memory or watches: the first one is read as before
            readiness.watch(alone, 0)
            readiness.close()
            raise
        self._watch_alone(loop, alone, 0)
        self._readiness = readiness
        return readiness


_readiness: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopReadiness]] = (
    weakref.WeakKeyDictionary()
)
"""What watches each loop's sockets, kept alive by its drivers: links know their loop, and would keep it alive here."""


def _readiness_of(loop: asyncio.AbstractEventLoop) -> LoopReadiness | None:
    """What watches the sockets of this loop; None where the loop reads and writes them better by itself.

    A Proactor cannot watch, and ``select`` has no descriptor to hang into a loop. uvloop reads and writes in C: with
    sockets that it only watches a message cost 1.1 to 1.3 times as much.
    """
    if not (isinstance(loop, asyncio.SelectorEventLoop) and hasattr(selectors.DefaultSelector, "fileno")):
        return None
    found = _readiness.get(loop)
    readiness = None if found is None else found()
    if readiness is None:
        readiness = LoopReadiness(loop)
        _readiness[loop] = weakref.ref(readiness)
    return readiness


class TransportLink(asyncio.BufferedProtocol):
    """One connection where the loop reads and writes: asyncio's protocol, and the link that a session writes to."""

    __slots__ = (
        "_buffer",
        "_driver",
        "_ended",
        "_lookout",
        "_lost",
        "_paused",
        "_peer_ended",
        "_receiver",
        "_transport",
        "peer",
        "write",
    )

    def __init__(self, driver: EventLoopDriver, receiver: Receiver, peer: Peer) -> None:
        self._receiver = receiver
        self._buffer = driver.read_buffer
        self._transport: asyncio.Transport
        self._driver = driver
        self._ended = self._peer_ended = self._lost = self._paused = False
        self._lookout: Lookout | None = None  # made when reading is paused for the first time
        self.peer = peer
        self.write: Callable[[bytes], None]

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour, not by inheritance
        self._transport.set_write_buffer_limits(high=0)
        self.write = self._transport.write
        self._receiver.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receiver.received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        self._peer_ended = True
        self._receiver.ended()
        return True  # open until the session has written what it holds

    def pause_writing(self) -> None:
        self._receiver.pause()

    def resume_writing(self) -> None:
        if not self._lost:
            self._receiver.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.write = _to_nobody  # uvloop's transport raises from here on
        if self._lookout is not None:
            self._lookout.stop()
            self._lookout = None
        receiver, self._receiver = self._receiver, NOBODY
        receiver.lost(tcp.link_failed(exc))

    # the session's side

    def pending_bytes(self) -> int:
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def unread_bytes(self) -> int | None:
        sock = self._transport.get_extra_info("socket")
        if self.peer.transport != "unix" or self._transport.is_closing():
            return None
        unread = unread_bytes(sock)
        return None if unread is None else unread + self.pending_bytes()

    def all_arrived(self) -> bool:
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._lost:
            return False
        return not self.pending_bytes() and all_arrived(sock)

    def close(self) -> None:
        if self._lost:
            return
        if self._peer_ended or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._ended and not self._transport.is_closing():
            self._ended = True
            try:
                self._transport.write_eof()
            except OSError:  # the peer has reset the connection, and we have not read that yet
                self._transport.abort()

    def abort(self) -> None:
        self.write = _to_nobody
        if not self._lost:
            self._transport.abort()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
            if self._lookout is None:
                self._lookout = Lookout(self._driver, self._fileno, self._is_unread, self._tell_of_the_end)
            self._lookout.begin()

    def _is_unread(self) -> bool:
        return self._paused and not (self._lost or self._peer_ended or self._transport.is_closing())

    def _fileno(self) -> int:
        sock = self._transport.get_extra_info("socket")  # a named pipe has none
        fd: int = -1 if sock is None else sock.fileno()
        return fd

    def _tell_of_the_end(self) -> None:
        self._receiver.ending()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()


def _to_nobody(data: bytes) -> None:
    """What is written to a link that is gone."""


# ---- connecting


async def _connect(
    driver: EventLoopDriver,
    loop: asyncio.AbstractEventLoop,
    address: Address,
    receiver: Receiver,
    settings: Settings,
) -> None:
    local = isinstance(address, (Unix, Pipe))
    seconds = LOCAL_CONNECT_SECONDS if local else NETWORK_CONNECT_SECONDS
    if settings.connect_timeout is not None:
        seconds = settings.connect_timeout / 1000
    try:
        if begun := starting.get(loop):
            await asyncio.wait(tuple(begun), timeout=seconds)
        if isinstance(address, Pipe):
            await _connect_pipe(driver, loop, address, receiver, seconds)
            return
        if isinstance(address, Unix):
            sock = await _connect_unix(loop, address, settings, seconds)
            peer = unix.peer_of(sock)
        elif isinstance(address, (Tcp, Tls)):
            if isinstance(address, Tls):
                receiver = _encrypted(driver, receiver, _client_channel(address, settings), settings)
            async with asyncio.timeout(seconds):
                sock = await _connect_first(loop, address, settings, seconds)
            peer = _server_of(sock, address)
        else:
            raise AddressError(f"{address} has no connections: send datagrams with serve_net")
        await driver.carry(loop, sock, peer, receiver)
    except Exception as error:  # whatever the kernel or a lookup of the user's raises: the attempt failed
        receiver.failed(tcp.connect_failed(address, error, seconds))


async def _connect_unix(
    loop: asyncio.AbstractEventLoop, address: Unix, settings: Settings, seconds: float
) -> socket.socket:
    """A Unix socket connects at once, or its server's queue is full: then there is nothing to wait on but time."""
    deadline, delay = loop.time() + seconds, 0.001
    while True:
        try:
            return unix.connect_unix(address.path, also=address.also, allowed_uids=settings.allowed_uids)
        except BlockingIOError:
            if loop.time() >= deadline:
                raise TimeoutError from None
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.1)


async def _connect_pipe(
    driver: EventLoopDriver, loop: asyncio.AbstractEventLoop, address: Pipe, receiver: Receiver, seconds: float
) -> None:
    from .loop_pipes import open_pipe

    link = TransportLink(driver, receiver, Peer("pipe"))
    error: ConnectError | None = None
    for name in (address.name, *address.also):
        try:
            transport, _ = await open_pipe(loop, Pipe(name).path, lambda: link, seconds)
            link.peer = transport.get_extra_info("peer")
            return
        except PeerRefused:
            raise
        except ConnectError as refused:
            error = error or refused
    assert error is not None
    raise error


def _encrypted(
    driver: EventLoopDriver,
    receiver: Receiver,
    channel: TLSChannel,
    settings: Settings,
    settled: Callable[[TLSLink], None] | None = None,
) -> TLSLink:
    """TLS between a link and its session."""
    from ..net.tls_link import TLSLink

    return TLSLink(driver, receiver, channel, settings.handshake_timeout / 1000, settled)


def _server_of(sock: socket.socket, address: Tcp | Tls) -> Peer:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:  # the server has reset it already
        sock.close()
        raise
    return Peer("tls" if isinstance(address, Tls) else "tcp", host=host, port=port)


def _client_channel(address: Tls, settings: Settings) -> TLSChannel:
    """Made at each attempt: so a client has the certificates that its files hold now."""
    from ..net import tls

    client = tls.client_context(settings.tls, assured=settings.profile == "assured")
    return client.channel(address.host, name=str(address).removeprefix("tls://"))


async def _connect_first(
    loop: asyncio.AbstractEventLoop, address: Tcp | Tls, settings: Settings, seconds: float
) -> socket.socket:
    """The first address of the name that answers; the error is that of the last one tried.

    Each gets its share of the time that is left: a machine whose IPv6 leads nowhere still connects by IPv4.
    """
    deadline = loop.time() + seconds
    error: OSError | None = None
    resolved = await _resolve(loop, address, settings)
    for tried, (family, _, _, _, where) in enumerate(resolved):
        try:
            async with asyncio.timeout((deadline - loop.time()) / (len(resolved) - tried)):
                return await _connect_one(loop, family, where, settings)
        except OSError as refused:  # a TimeoutError is one too
            error = refused
    raise error or OSError(errno.EADDRNOTAVAIL, "the host name has no address")


async def _connect_one(loop: asyncio.AbstractEventLoop, family: int, where: Any, settings: Settings) -> socket.socket:
    sock = tcp.new_stream(family, settings)
    try:
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _resolve(loop: asyncio.AbstractEventLoop, address: Tcp | Tls | Udp, settings: Settings) -> list[tcp.Resolved]:
    """The addresses of a host name, by the user's ``interfaces.lookup`` or the system's resolver."""
    how = settings.interfaces
    family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(how.family or 0, socket.AF_UNSPEC)
    hosts: Any = address.host
    if how.lookup is not None:
        hosts = how.lookup(address.host)
        if isinstance(hosts, Awaitable):
            hosts = await hosts
    found: list[tcp.Resolved] = []
    for host in [hosts] if isinstance(hosts, str) else hosts:
        found += await loop.getaddrinfo(
            host, address.port, family=family, type=socket.SOCK_STREAM, flags=how.hints or 0
        )
    return found
