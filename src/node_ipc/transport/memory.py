"""The driver in memory, on a virtual clock: whole conversations in one thread, without a socket and without waiting.

Endpoints made with one :class:`MemoryDriver` reach each other by their addresses, whatever kind those are. Nothing
happens by itself: ``run_until_idle``, ``advance`` and ``run_until`` do what is due, in the same order each time.
The clock stands still but for these calls, so an hour of retries takes milliseconds. ``random`` starts from
``seed``, so the same test gives the same run.

Faults: ``conditions`` says how links carry bytes (latency, pieces, room in the kernel), for all of them or for one;
``stall``, ``drop``, ``cut`` and ``end`` do to a link what networks and operating systems do.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import AddressError, IPCError
from ..outcome import Outcome
from . import network, udp_socket
from .address import Pipe, Udp, Unix
from .driver import FORKED, Acceptor, DatagramReceiver, Endpoint, Flushable, Lock, Peer, Receiver

if TYPE_CHECKING:
    from ..config import Settings
    from .address import Address

__all__ = [
    "Conditions",
    "Connection",
    "Direction",
    "MemoryDriver",
    "MemoryLink",
    "MemoryListener",
    "MemoryOutcome",
    "MemoryPort",
    "NothingHappens",
]

T = TypeVar("T")

BUFFER_BYTES = 200 * 1024
"""What a Unix socket of Linux takes by default before its reader has read anything, about."""
READ_BYTES = 64 * 1024
LARGEST_DATAGRAM = 65_507
FIRST_FREE_PORT = 49152
LOCAL_CONNECT_SECONDS, NETWORK_CONNECT_SECONDS = 2.0, 5.0
TURNS = 1_000_000
"""Turns at one moment after which ``run_until_idle`` takes it that they never end."""
LOOPBACK = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class NothingHappens(IPCError, TimeoutError):
    """``run_until`` gave up: nothing is due any more, or the virtual time allowed is over."""

    code = "ERR_IPC_NOTHING_HAPPENS"


@dataclass(slots=True)
class Conditions:
    """How links carry bytes. May be changed at any time; what is on its way keeps its time of arrival."""

    latency: float | Callable[[], float] = 0.0
    """Seconds that bytes are on their way, or what is called for the seconds of each piece; they never overtake."""
    split: int | Sequence[int] | Callable[[], int] | None = None
    """The sizes of the pieces that arrive: one size, sizes taken in turn, or what is called for each size.

    With None a read takes all that is there, up to 64 KiB, as a kernel gives it.
    """
    buffer: int = BUFFER_BYTES
    """The bytes that each direction takes before the other end has read any; past that the writer has to wait."""


class _Call:
    """Something due later."""

    __slots__ = ("callback", "cancelled", "number", "when")

    def __init__(self, when: float, number: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.number = number
        self.callback = callback
        self.cancelled = False

    def __lt__(self, other: _Call) -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def cancel(self) -> None:
        self.cancelled = True


class MemoryDriver:
    """Drives endpoints in memory; see the module.

    seed: where ``random`` starts.
    conditions: how links carry bytes, unless a link has conditions of its own.
    """

    runs_coroutines = True
    has_small_stack = False

    def __init__(self, *, seed: int = 0, conditions: Conditions | None = None) -> None:
        self.random = random.Random(seed).random
        self.conditions = conditions or Conditions()
        self.identity = Peer("memory", pid=1, uid=1000, gid=1000)
        """Who connects from now on, as servers see it."""
        self.server_identity = Peer("memory", pid=2, uid=1000, gid=1000)
        """Who listens, as clients see it."""
        self.refusal: Exception | None = None
        """While set: every attempt to connect fails with it."""
        self.loses: Callable[[bytes], bool] = lambda data: False
        """Asked for each datagram whether it is lost."""
        self.connections: list[Connection] = []
        """What is open now, oldest first."""
        self.home = threading.get_ident()
        self.thread: Callable[[], int] = self._caller
        self.lock: Lock = threading.Lock()
        self.endpoints: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self._elsewhere: int | None = None
        self._now = 0.0
        self._numbers = 0
        self._timers: list[_Call] = []
        self._ready: deque[_Call] = deque()
        self._turn: list[Flushable] = []
        self._listeners: dict[Address, MemoryListener] = {}
        self._bound: dict[tuple[str, int], MemoryPort] = {}
        self._free_port = FIRST_FREE_PORT
        self._tasks: set[_Task] = set()

    def __repr__(self) -> str:
        return f"<MemoryDriver at {self._now:g} s, {len(self.connections)} connections>"

    # ---- the clock

    def run_until_idle(self) -> None:
        """Do everything that is due now and what follows from it; the clock stands still."""
        for _ in range(TURNS):
            if not self._turn_due():
                return
            self._run_turn()
        raise NothingHappens(f"{TURNS} turns went by at {self._now:g} s and there is still something to do at once")

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and do what is due in it when it is due."""
        until = self._now + seconds
        self.run_until_idle()
        while (due := self._next_due()) is not None and due <= until:
            self._now = max(self._now, due)
            self.run_until_idle()
        self._now = until

    def run_until(self, condition: Callable[[], object] | Outcome[Any], limit: float = 60.0) -> None:
        """Let time pass until ``condition()`` holds, or the outcome has ended (its error is not raised).

        limit: virtual seconds. Raises :class:`NothingHappens` when they are over, or nothing is due any more.
        """
        holds: Callable[[], object] = (lambda: condition.done) if isinstance(condition, Outcome) else condition
        until, turns = self._now + limit, 0
        while not holds():
            if self._turn_due():
                self._run_turn()
                turns += 1
                if turns > TURNS:
                    raise NothingHappens(f"{TURNS} turns went by at {self._now:g} s without what was waited for")
                continue
            due = self._next_due()
            if due is None or due > until:
                reason = "nothing more is due" if due is None else f"{limit:g} virtual seconds are over"
                raise NothingHappens(f"what was waited for did not happen: {reason}, at {self._now:g} s")
            self._now, turns = max(self._now, due), 0

    def run(self, main: Coroutine[Any, Any, T], limit: float = 60.0) -> T:
        """Run a coroutine to its end and return what it returns; it may await ``sleep`` and outcomes."""
        task = self.spawn(main, lambda error: None)
        try:
            self.run_until(lambda: task not in self._tasks, limit)
        finally:
            self._tasks.discard(task)
            main.close()
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    async def sleep(self, seconds: float) -> None:
        """In a coroutine that this driver runs: let virtual time pass."""
        over = self.outcome(None)
        self.call_later(seconds, over.settle)
        await over

    def close(self) -> None:
        """Forget everything that is due, and end the coroutines that still run."""
        self._timers.clear()
        self._ready.clear()
        self._turn.clear()
        for task in list(self._tasks):
            self._tasks.discard(task)
            task.coroutine.close()

    def __enter__(self) -> MemoryDriver:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _turn_due(self) -> bool:
        self._drop_cancelled()
        return bool(self._ready or self._turn or (self._timers and self._timers[0].when <= self._now))

    def _next_due(self) -> float | None:
        self._drop_cancelled()
        return self._timers[0].when if self._timers else None

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)

    def _run_turn(self) -> None:
        """What is due now, but not what that leads to; then the end of the turn."""
        while self._timers and self._timers[0].when <= self._now:
            self._ready.append(heapq.heappop(self._timers))
        for _ in range(len(self._ready)):
            call = self._ready.popleft()
            if not call.cancelled:
                call.callback()
        turn, self._turn = self._turn, []
        for session in turn:
            session.turn_ended()

    # ---- the seam

    def now(self) -> float:
        """Virtual seconds since the driver was made."""
        return self._now

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Call:
        self._numbers += 1
        call = _Call(self._now + max(delay, 0.0), self._numbers, callback)
        if delay <= 0:
            self._ready.append(call)
        else:
            heapq.heappush(self._timers, call)
        return call

    def turn_ends(self, session: Flushable) -> bool:
        self._turn.append(session)
        return True

    def _caller(self) -> int:
        """The caller's thread, or another one inside ``other_thread``."""
        return threading.get_ident() if self._elsewhere is None else self._elsewhere

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        self.call_later(0, callback)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[BaseException | None], None]) -> _Task:
        task = _Task(self, coroutine, done)
        self._tasks.add(task)
        self.call_later(0, task.step)
        return task

    def outcome(self, value: T) -> MemoryOutcome[T]:
        return MemoryOutcome(value)

    def open(self, address: Address, receiver: Receiver, settings: Settings) -> None:
        seconds = LOCAL_CONNECT_SECONDS if isinstance(address, (Unix, Pipe)) else NETWORK_CONNECT_SECONDS
        if settings.connect_timeout is not None:
            seconds = settings.connect_timeout / 1000
        latency = _value(self.conditions.latency)
        if latency > seconds:
            self.call_later(seconds, partial(self._no_answer, address, receiver, seconds))
        else:
            self.call_later(latency, partial(self._connect, address, receiver))

    def listen(self, address: Address, acceptor: Acceptor, settings: Settings) -> MemoryListener:
        return MemoryListener(self, address, acceptor)

    def bind(self, address: Address, receiver: DatagramReceiver, settings: Settings) -> MemoryPort:
        return MemoryPort(self, address, receiver)

    # ---- connecting

    def _no_answer(self, address: Address, receiver: Receiver, seconds: float) -> None:
        receiver.failed(network.connect_failed(address, TimeoutError(), seconds))

    def _connect(self, address: Address, receiver: Receiver) -> None:
        listener = self._find(address)
        error = self.refusal
        if error is None and isinstance(address, Udp):
            error = AddressError(f"{address} has no connections: send datagrams with serve_net")
        if error is None and listener is None:
            error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        if error is not None:
            receiver.failed(network.connect_failed(address, error, 0))
            return
        assert listener is not None
        connection = Connection(self, address, receiver)
        self.connections.append(connection)
        self.call_later(0, partial(connection._accept, listener))
        connection.client._open()

    def _find(self, address: Address) -> MemoryListener | None:
        if isinstance(address, Unix):
            addresses: list[Address] = [Unix(path) for path in (address.path, *address.also)]
        elif isinstance(address, Pipe):
            addresses = [Pipe(name) for name in (address.name, *address.also)]
        else:
            addresses = [address]
        return next((self._listeners[each] for each in addresses if each in self._listeners), None)

    def _new_port(self) -> int:
        self._free_port += 1
        return self._free_port - 1

    # ---- faults of all links

    def stall(self) -> None:
        """Nothing arrives on any link that is open now, until ``resume``."""
        for connection in self.connections:
            connection.stall()

    def resume(self) -> None:
        """What ``stall`` held back arrives."""
        for connection in self.connections:
            connection.resume()

    def drop(self, error: Exception | None = None) -> None:
        """Break every link, as ``Connection.drop`` does."""
        for connection in tuple(self.connections):
            connection.drop(error)

    def cut(self) -> None:
        """Cut every link silently, as ``Connection.cut`` does."""
        for connection in self.connections:
            connection.cut()

    # ---- threads and forks that are not there

    @contextlib.contextmanager
    def other_thread(self) -> Iterator[None]:
        """What is called inside counts as called from another thread."""
        before, self._elsewhere = self._elsewhere, self.home + 1
        try:
            yield
        finally:
            self._elsewhere = before

    @contextlib.contextmanager
    def forked_child(self) -> Iterator[None]:
        """What is called inside counts as called in a forked child."""
        before, self.home = self.home, FORKED
        try:
            yield
        finally:
            self.home = before


def _value(value: float | Callable[[], float]) -> float:
    return value() if callable(value) else value


# ---- coroutines


class MemoryOutcome(Outcome[T]):
    """An outcome for ``await`` in coroutines that a :class:`MemoryDriver` runs."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            try:
                yield self
            except BaseException:  # whoever waited was cancelled
                if self.abandon is not None:
                    self.abandon()
                raise
        return self.result()


class _Task:
    """A coroutine under way."""

    def __init__(
        self, driver: MemoryDriver, coroutine: Coroutine[Any, Any, Any], done: Callable[[BaseException | None], None]
    ) -> None:
        self.coroutine = coroutine
        self.result: Any = None
        self.error: BaseException | None = None
        self._driver = driver
        self._done = done
        self._waits = 0

    def cancel(self) -> None:
        """Raise ``asyncio.CancelledError`` where it waits."""
        from asyncio import CancelledError

        self._waits += 1  # what it waits for does not wake it any more
        self._driver.call_later(0, partial(self.step, CancelledError()))

    def step(self, error: BaseException | None = None) -> None:
        """Run on to the next ``await`` that has to wait."""
        if self not in self._driver._tasks:
            return
        try:
            awaited = self.coroutine.send(None) if error is None else self.coroutine.throw(error)
        except StopIteration as end:
            self.result = end.value
            self._end(None)
        except (KeyboardInterrupt, SystemExit) as stop:
            self._end(stop)
            raise
        except BaseException as failure:
            self._end(failure)
        else:
            self._wait_for(awaited)

    def _wait_for(self, awaited: Any) -> None:
        self._waits += 1
        if awaited is None:
            self._go_on(self._waits)
        elif isinstance(awaited, Outcome):
            awaited.then(partial(self._go_on, self._waits))
        else:
            wrong = TypeError(
                f"a coroutine on the memory driver can await driver.sleep() and outcomes, not {awaited!r:.80}"
            )
            self._driver.call_later(0, partial(self.step, wrong))

    def _go_on(self, wait: int) -> None:
        self._driver.call_later(0, partial(self._resume, wait))

    def _resume(self, wait: int) -> None:
        if wait == self._waits:  # not cancelled meanwhile
            self.step()

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        self._driver._tasks.discard(self)
        self._driver.call_later(0, partial(self._done, None if _is_cancelled(error) else error))


def _is_cancelled(error: BaseException | None) -> bool:
    if error is None:
        return False
    from asyncio import CancelledError  # loaded for failures only

    return isinstance(error, CancelledError)


# ---- streams


class Direction:
    """One direction of a connection: the writer's kernel, the way, and the reader's kernel."""

    def __init__(self, connection: Connection, driver: MemoryDriver) -> None:
        self.stalled = False
        """Whether what arrives waits unread."""
        self.was_cut = False
        """Whether nothing arrives any more."""
        self.writer: MemoryLink
        self.reader: MemoryLink
        self._connection = connection
        self._driver = driver
        self._unsent = bytearray()  # what the kernel did not take: the driver's own buffer
        self._taken = 0  # bytes that the kernel took and the reader did not read yet
        self._arrived: deque[bytes | Exception | None] = deque()  # bytes, an error, or None for the end
        self._on_the_way = 0
        self._last_arrival = 0.0
        self._ending = self._end_sent = False
        self._pieces = 0
        self._reading = self._refilling = False

    def __repr__(self) -> str:
        return f"<Direction, {self._taken} bytes unread, {len(self._unsent)} unsent>"

    def stall(self) -> None:
        """Nothing is read at the other end until ``resume``, as if that process was stopped."""
        self.stalled = True

    def resume(self) -> None:
        """Go on reading."""
        self.stalled = False
        self._wake()

    def end(self) -> None:
        """The reader hears that nothing more comes."""
        self._ending = True
        self._send_end()

    def _send_end(self) -> None:
        if self._ending and not self._unsent and not self._end_sent:
            self._end_sent = True
            self._carry(None)

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        room = max(self._connection.conditions.buffer - self._taken, 0)
        self._send(data[:room])
        if len(data) > room:
            self._unsent += data[room:]
            self.writer._receiver.pause()

    def _send(self, data: bytes) -> None:
        self._taken += len(data)
        if self._connection.conditions.split is None:
            if data:
                self._carry(data)
            return
        while data:
            size = max(self._piece(), 1)
            self._carry(data[:size])
            data = data[size:]

    def _piece(self) -> int:
        split = self._connection.conditions.split
        assert split is not None
        if isinstance(split, int):
            return split
        if callable(split):
            return split()
        self._pieces += 1
        return split[(self._pieces - 1) % len(split)]

    def _carry(self, item: bytes | Exception | None) -> None:
        if self.was_cut:
            return
        latency = _value(self._connection.conditions.latency)
        if latency <= 0 and not self._on_the_way:
            self._arrive(item)
            return
        self._last_arrival = max(self._last_arrival, self._driver.now() + latency)
        self._on_the_way += 1
        self._driver.call_later(self._last_arrival - self._driver.now(), partial(self._land, item))

    def _land(self, item: bytes | Exception | None) -> None:
        self._on_the_way -= 1
        if not self.was_cut:
            self._arrive(item)

    def _arrive(self, item: bytes | Exception | None) -> None:
        self._arrived.append(item)
        self._wake()

    def _wake(self) -> None:
        if self._readable() and not self._reading:
            self._reading = True
            self._driver.call_later(0, self._read)

    def _readable(self) -> bool:
        return bool(self._arrived) and not self.stalled and (self.reader._reads or self.reader.is_over)

    def _read(self) -> None:
        """One read, or the end."""
        self._reading = False
        if not self._readable():
            return
        item = self._next_item()
        if self.reader.is_over:
            if isinstance(item, bytes):  # nobody reads this any more: the kernel answers with a reset
                self.reader._out._carry(_reset())
            return
        if item is None:
            self.reader._end_arrived()
        elif isinstance(item, bytes):
            self._taken -= len(item)
            self._refill_soon()
            self.reader._receiver.received(item)
        else:
            self.reader._lose(item)
        self._wake()

    def _next_item(self) -> bytes | Exception | None:
        """What the next read gives: up to 64 KiB of what arrived, or one piece where it is split."""
        arrived = self._arrived
        item = arrived.popleft()
        if not isinstance(item, bytes):
            return item
        if self._connection.conditions.split is None and len(item) < READ_BYTES:
            parts, size = [item], len(item)
            while arrived and isinstance(arrived[0], bytes) and size < READ_BYTES:
                part = arrived.popleft()
                assert isinstance(part, bytes)
                parts.append(part)
                size += len(part)
            item = b"".join(parts) if len(parts) > 1 else item
        if len(item) > READ_BYTES:
            arrived.appendleft(item[READ_BYTES:])
            item = item[:READ_BYTES]
        return item

    def _refill_soon(self) -> None:
        if self._unsent and not self._refilling:
            self._refilling = True
            self._driver.call_later(0, self._refill)

    def _refill(self) -> None:
        """The kernel has room again: it takes what the writer's driver holds."""
        self._refilling = False
        room = max(self._connection.conditions.buffer - self._taken, 0)
        if not self._unsent or not room or self.writer.is_over:
            return
        data = bytes(self._unsent[:room])
        del self._unsent[:room]
        self._send(data)
        if not self._unsent:
            self.writer._receiver.writable()
            self._send_end()
            self.writer._drained()

    def _clear(self) -> None:
        self._unsent.clear()
        self._arrived.clear()


class MemoryLink:
    """One end of a connection."""

    def __init__(self, connection: Connection, receiver: Receiver, peer: Peer) -> None:
        self.peer = peer
        self.connection = connection
        self.is_over = False
        """Whether this end is gone (or about to hear so)."""
        self._receiver = receiver
        self._driver = connection._driver
        self._out: Direction
        self._in: Direction
        self._reads = False
        self._ended = self._peer_ended = self._leaving = False

    def __repr__(self) -> str:
        return f"<MemoryLink to {self.peer}{' over' if self.is_over else ''}>"

    def write(self, data: bytes) -> None:
        if not self.is_over and not self._ended:
            self._out._write(bytes(data))

    def pending_bytes(self) -> int:
        return len(self._out._unsent)

    def close(self) -> None:
        if self.is_over:
            return
        if not self._ended:
            self._ended = True
            self._out.end()
        if self._peer_ended:
            self._leaving = True
            self._drained()

    def abort(self) -> None:
        if self.is_over:
            return
        unread = self._in._taken > 0
        self._lose(None)
        self._out._carry(_reset() if unread else None)

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        self._in._wake()

    def _open(self) -> None:
        self._reads = True
        self._receiver.opened(self)
        self._in._wake()

    def _end_arrived(self) -> None:
        if not self._peer_ended:  # `Direction.end` and the writer may both say so
            self._peer_ended = True
            self._receiver.ended()

    def _drained(self) -> None:
        if self._leaving and not self._out._unsent:
            self._lose(None)

    def _lose(self, error: BaseException | None) -> None:
        """This end is over; its receiver hears of it in a later turn."""
        if self.is_over:
            return
        self.is_over = True
        self._out._unsent.clear()
        self._in._wake()
        self._driver.call_later(0, partial(self._lost, network.link_failed(error)))

    def _lost(self, error: Exception | None) -> None:
        self.connection._forget(self)
        self._receiver.lost(error)


class _Nobody:
    """The receiver of a connection that the server refused."""

    def opened(self, link: Any) -> None: ...
    def failed(self, error: Exception) -> None: ...
    def received(self, data: bytes) -> None: ...
    def ended(self) -> None: ...
    def pause(self) -> None: ...
    def writable(self) -> None: ...
    def lost(self, error: Exception | None) -> None: ...


class Connection:
    """Both ends of one connection, and what may go wrong between them."""

    def __init__(self, driver: MemoryDriver, address: Address, receiver: Receiver) -> None:
        self.address = address
        self._driver = driver
        self._own: Conditions | None = None
        self._open_ends = 2
        here = _seen(driver.identity, address, driver._new_port() if hasattr(address, "port") else None)
        there = _seen(driver.server_identity, address, getattr(address, "port", None))
        self.client = MemoryLink(self, receiver, there)
        """The end of whoever connected."""
        self.server = MemoryLink(self, _Nobody(), here)
        """The end of whoever listens."""
        self.to_server = self._direction(self.client, self.server)
        self.to_client = self._direction(self.server, self.client)

    def __repr__(self) -> str:
        return f"<Connection to {self.address}>"

    def _direction(self, writer: MemoryLink, reader: MemoryLink) -> Direction:
        direction = Direction(self, self._driver)
        direction.writer, direction.reader = writer, reader
        writer._out = reader._in = direction
        return direction

    def _accept(self, listener: MemoryListener) -> None:
        """A turn after the client's end opened: the server takes it, or closes it at once."""
        if self.server.is_over:  # broken meanwhile
            return
        receiver = None if listener.is_closed else listener.acceptor.accept(self.server.peer)
        if receiver is None:
            self.server.abort()
            return
        self.server._receiver = receiver
        self._driver.call_later(0, self._open_server)

    def _open_server(self) -> None:
        self.server._open()

    def _forget(self, end: MemoryLink) -> None:
        self._open_ends -= 1
        if self._open_ends == 0:
            self._driver.connections.remove(self)

    # ---- faults

    @property
    def conditions(self) -> Conditions:
        """How this link carries bytes: the driver's conditions, until it is given its own."""
        return self._own or self._driver.conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self._own = conditions

    def change(self, **conditions: Any) -> None:
        """Give this link conditions of its own that differ in these: ``change(latency=0.05)``."""
        self._own = replace(self.conditions, **conditions)

    def stall(self) -> None:
        """Nothing arrives at either end until ``resume``; writers fill the kernel, and then have to wait."""
        self.to_server.stall()
        self.to_client.stall()

    def resume(self) -> None:
        """What ``stall`` held back arrives."""
        self.to_server.resume()
        self.to_client.resume()

    def drop(self, error: Exception | None = None) -> None:
        """Break it: both ends hear of it (``ConnectionResetError`` by default); what is on its way is gone."""
        for direction in (self.to_server, self.to_client):
            direction.was_cut = True
            direction._clear()
        self.client._lose(error or _reset())
        self.server._lose(error or _reset())

    def cut(self) -> None:
        """Cut it silently: nothing arrives any more and nobody is told; what is on its way is gone."""
        for direction in (self.to_server, self.to_client):
            direction.was_cut = True
            direction._arrived.clear()


def _seen(identity: Peer, address: Address, port: int | None) -> Peer:
    """A peer as the other end sees it: by process and user locally, by host and port on a network."""
    host = getattr(address, "host", None)
    if host is None:
        return identity
    return Peer("memory", host=identity.host or LOOPBACK.get(host, host), port=port)


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


class MemoryListener:
    """A place that can be connected to."""

    def __init__(self, driver: MemoryDriver, address: Address, acceptor: Acceptor) -> None:
        self.acceptor = acceptor
        self.is_closed = False
        self._driver = driver
        self._address: Any = address
        driver.call_later(0, self._begin)

    def _begin(self) -> None:
        if self.is_closed:
            return
        if isinstance(self._address, Udp):
            self._fail(AddressError(f"{self._address} is for datagrams, which have no connections"))
        elif self._address in self._driver._listeners:
            self._fail(OSError(errno.EADDRINUSE, "Address already in use"))
        else:
            if getattr(self._address, "port", None) == 0:
                self._address = msgspec.structs.replace(self._address, port=self._driver._new_port())
            self._driver._listeners[self._address] = self
            self.acceptor.listening(self._address)

    def _fail(self, error: Exception) -> None:
        self.is_closed = True
        self.acceptor.not_listening(network.listen_failed(self._address, error))

    def close(self) -> None:
        """Accept nothing more; open links stay."""
        if not self.is_closed:
            self.is_closed = True
            if self._driver._listeners.get(self._address) is self:
                del self._driver._listeners[self._address]

    def reload_tls(self, tls: Any) -> None:
        """There is no TLS in memory, so there are no certificates: always an ``AddressError``."""
        raise AddressError(f"{self._address} has no TLS to reload")


# ---- datagrams


class MemoryPort:
    """A bound UDP port; datagrams to a port that nobody bound are lost, as they are on a network."""

    def __init__(self, driver: MemoryDriver, address: Address, receiver: DatagramReceiver) -> None:
        self._driver = driver
        self._receiver = receiver
        self._address: Any = address
        self._place: tuple[str, int] | None = None
        self._closed = False
        driver.call_later(0, self._begin)

    def _begin(self) -> None:
        if self._closed:
            return
        address = self._address
        if not isinstance(address, Udp):
            self._fail(AddressError(f"{address} has no datagrams"))
            return
        if address.port == 0:
            address = msgspec.structs.replace(address, port=self._driver._new_port())
        place = (_host(address.host, address.family), address.port)
        if place in self._driver._bound:
            self._fail(OSError(errno.EADDRINUSE, "Address already in use"))
            return
        self._place = place
        self._driver._bound[place] = self
        self._receiver.bound(address)

    def _fail(self, error: Exception) -> None:
        self._closed = True
        self._receiver.not_bound(network.listen_failed(self._address, error))

    def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram: ``datagram_error`` for one that is too large; nothing once the port is closed."""
        assert self._place is not None, "the port is not bound yet"
        data = bytes(data)
        if self._closed:
            return
        if len(data) > LARGEST_DATAGRAM:
            error = udp_socket.send_failed(OSError(errno.EMSGSIZE, "Message too long"), len(data), host, port)
            self._driver.call_later(0, partial(self._receiver.datagram_error, error))
        elif not self._driver.loses(data):
            latency = _value(self._driver.conditions.latency)
            to = (_host(host, self._address.family), port)
            self._driver.call_later(latency, partial(self._arrive, data, self._place, to))

    def _arrive(self, data: bytes, source: tuple[str, int], to: tuple[str, int]) -> None:
        port = self._driver._bound.get(to)
        if port is not None:
            port._receiver.datagram(data, *source)

    def pending_bytes(self) -> int:
        return 0

    def close(self) -> None:
        """Give the port back; what is on its way here is lost."""
        self._closed = True
        if self._place is not None and self._driver._bound.get(self._place) is self:
            del self._driver._bound[self._place]


def _host(host: str, family: str) -> str:
    """The one name that a loopback host has here."""
    if family == "udp6" and host in ("localhost", ""):
        return "::1"
    return LOOPBACK.get(host, host)
