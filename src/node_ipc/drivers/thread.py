"""The driver in the caller's thread: no event loop and no hidden thread, whoever calls does the work.

``pump`` is one turn: it waits for something to happen, tells the links and timers concerned, and ends the turn.
Between two pumps nothing is read, so the kernel pushes back on the peer by itself. What is written outside a pump is
with the kernel when ``write`` returns, as far as the kernel takes it.

While a program has one link and one thread, waiting is a single ``recv`` that blocks: 15 µs a round trip across
cores where polling first takes 22 (the socket itself stays in blocking mode for that; every other call on it says
MSG_DONTWAIT). A kernel-side time limit of one second sees to timers. Anything else is polled.

A host name is looked up by the system's resolver while everything else of this driver waits (there is no thread to
do it); ``interfaces.lookup`` takes its place where that matters. Numeric addresses cost nothing.

Nothing here imports asyncio, ssl, threading or logging: what a kind of address needs is imported where it is used.
"""

from __future__ import annotations

import _thread
import contextlib
import heapq
import itertools
import os
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from ..config.interrupted import between_steps, by_signal, interrupted
from ..core.outcome import Outcome
from ..core.seam import (
    Acceptor,
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
from ..errors import IPCError, WouldDeadlock
from ..net.steps import READ, WRITE, LookUp, Pause, Step, Steps, Walk, Watched, Writable
from ..net.stream import DIRECT_SECONDS, StreamLink
from ..net.unread import BREAKS_UNREAD, HIDES_ENDS
from . import farewell, forks, small_stack
from .poller import Poller
from .spin import Spin, spin_of

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..net.pipe import PipeHandle
    from .thread_pipes import PipePort

__all__ = ["ThreadDriver"]

T = TypeVar("T")

FORGOTTEN_TIMERS = 64
"""From so many cancelled timers on, they are taken out when they are more than half."""

_threads: Callable[[], int] = getattr(_thread, "_count", lambda: 1)  # how many there are besides the main one


class _Due(msgspec.Struct, eq=False):
    """A call that is due later."""

    driver: ThreadDriver
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self.driver.timer_cancelled()

    def run(self) -> None:
        callback, self.callback = self.callback, None
        if callback is not None:
            try:
                callback()
            except BaseException as error:
                if by_signal(error) and between_steps(error):  # nobody knows how far it came
                    self.driver.call_later(0, callback)
                raise


class ThreadDriver:
    """Drives the endpoints of one front object in the thread that made it."""

    runs_coroutines = False
    breaks_unread, hides_ends = BREAKS_UNREAD, HIDES_ENDS
    keep_failure: Callable[[BaseException], None] | None = None
    misheard: list[str] | None = None
    loop = None
    has_run = never_ran = False  # no loop is to come
    ends_in_order = "with blocking.connect(…) or serve(…), client.close() and drain() see to it that all is sent"
    """What sends all that was emitted before a program ends."""
    serves = False
    """What it drives is a server or a UDP port."""
    warned_in_coroutine = False
    """Whether it was said that an event loop runs in this thread, and waits for this."""
    has_waited = False
    """Whether a call has waited since the endpoint was open, in which handlers are called."""
    has_looked = False
    """Whether a ``poll()`` that does not wait has found nothing; a second one counts as a call that waits."""

    def __init__(self) -> None:
        self.thread = _thread.get_ident
        self.home = _thread.get_ident()
        self.is_forked = False
        self.has_small_stack = small_stack.is_small()
        self.lock: Lock = _thread.allocate_lock()
        self.now: Callable[[], float] = time.monotonic
        self.clock: Callable[[], float] = time.perf_counter
        self.busy = False
        """A turn is under way: this is a handler, or something that it called."""
        self.batches = 0
        """How many ``batch()`` blocks are open."""
        self.undisturbed: BaseException | None = None
        """What was raised where nothing was under way: in a wait, before anything had come."""
        self._turn: deque[Flushable] = deque()
        self._soon: deque[_Due] = deque()
        self._timers: list[tuple[float, int, _Due]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._from_threads: deque[Callable[[], None]] = deque()
        self._direct: Callable[[], None] | None = None
        self._spin: Spin | None = None
        self._poller: Poller | None = None
        self._nudge: _Nudge | None = None
        self._pipes: PipePort | None = None
        self.endpoints: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        farewell.watch(self)
        forks.guard(self)

    def loop_ends(self) -> None:
        """There is none."""

    def unsent(self, endpoint: Endpoint) -> int:
        """The messages of this endpoint that the kernel does not have."""
        return endpoint.unsent()

    # ---- turns

    def pump(self, timeout: float | None = 0.0) -> bool:
        """One turn: wait for ``timeout`` seconds at the most (``None``: without end), and do what is due.

        Returns whether anything was. Raises :class:`WouldDeadlock` inside a turn.
        """
        if self.busy:
            raise WouldDeadlock("a handler cannot wait for the very thread that runs it")
        self.busy = True
        try:
            if (
                self._direct is not None
                and self._spin is None
                and not (self._timers or self._soon or self._from_threads or self._turn)
                and (timeout is None or timeout >= DIRECT_SECONDS)
                and not _threads()
            ):
                self._direct()
                return True
            if self._turn:
                self._end_turn()
            seconds = self._until_next(timeout)
            happened = self._look(seconds) if self._spin is None else self._spin.wait(seconds, self._look)
            if self._soon or self._from_threads or self._timers:
                happened = self._run_due() or happened
            return happened
        except BaseException as error:
            if error is self.undisturbed and error.__class__ is KeyboardInterrupt:  # our steps to the wait say nothing
                error.__traceback__ = None
            self.interrupted(error)
            raise
        finally:
            try:
                if self._turn:
                    self._end_turn()
            finally:
                self.busy = False

    def interrupted(self, error: BaseException) -> None:
        """Begin anew where this exception came out of the middle of our own steps (``config/interrupted.py``).

        Clients' links and timers, whatever became of them, are given up as a whole. A server goes on: what was under
        way has cut the link that it was about, and is done again where it was due.
        """
        undisturbed, self.undisturbed = self.undisturbed, None
        if error is undisturbed or isinstance(error, IPCError) or not between_steps(error):
            return
        endpoints = tuple(self.endpoints)
        if all(endpoint.begins_anew for endpoint in endpoints):
            self._turn.clear()
            self._forget_all()
        for endpoint in endpoints:
            endpoint.interrupted(interrupted("sending or receiving", error))

    def catch_up(self, seconds: float, quiet: float = 0.0) -> bool:
        """Turn after turn until nothing comes for ``quiet`` seconds, for ``seconds`` at the most. Returns True."""
        end = self.now() + seconds
        while self.pump(quiet) and self.now() < end:
            pass
        return True

    def _look(self, seconds: float | None) -> bool:
        if self._poller is not None:
            if self._direct is not None and (seconds is None or seconds >= DIRECT_SECONDS) and not _threads():
                self._direct()
                return True
            try:
                return self._poller.poll(seconds)
            except BaseException as error:
                if self._poller.is_waiting:
                    self.undisturbed = error
                raise
        if self._pipes is not None:
            return self._pipes.poll(seconds)
        if seconds is None:
            raise WouldDeadlock("nothing is open, and nothing is due: this would wait for ever")
        try:
            time.sleep(seconds)
        except BaseException as error:
            self.undisturbed = error
            raise
        return False

    def run_until(self, done: Callable[[], Any], timeout: float | None = None) -> bool:
        """Pump until ``done()`` is true; False when ``timeout`` seconds passed before that."""
        if done():
            return True
        left = timeout
        deadline = None if timeout is None else self.now() + timeout
        while True:
            self.pump(left)
            if done():
                return True
            if deadline is not None:
                left = deadline - self.now()
                if left <= 0:
                    return False

    def _until_next(self, timeout: float | None) -> float | None:
        if self._soon or self._from_threads:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
            self._cancelled -= 1
        if timers:
            left = max(timers[0][0] - self.now(), 0.0)
            return left if timeout is None else min(left, timeout)
        return timeout

    def _run_due(self) -> bool:
        """Run what came from other threads, what was put off to a later turn, and the timers that are due."""
        happened = False
        for _ in range(len(self._from_threads)):
            self._from_threads.popleft()()
            happened = True
        for _ in range(len(self._soon)):
            self._soon.popleft().run()
            happened = True
        timers = self._timers
        if timers:
            now = self.now()
            while timers and timers[0][0] <= now:
                due = heapq.heappop(timers)[2]
                if due.callback is None:
                    self._cancelled -= 1
                else:
                    due.run()
                    happened = True
        return happened

    def _end_turn(self) -> None:
        turn = self._turn
        while turn:
            turn[0].turn_ended()
            turn.popleft()  # not before: what did not come to its end is done again

    def begin_batch(self) -> None:
        """What is written from now on goes out together."""
        self.batches += 1

    def end_batch(self) -> None:
        """The last one ends the turn."""
        self.batches -= 1
        if not (self.batches or self.busy):
            self._end_turn()

    # ---- the seam

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        due = _Due(self, callback)
        if delay <= 0:
            self._soon.append(due)
        else:
            heapq.heappush(self._timers, (self.now() + delay, next(self._numbers), due))
        return due

    def timer_cancelled(self) -> None:
        """One more of the timers will not run."""
        self._cancelled += 1
        if self._cancelled > FORGOTTEN_TIMERS and self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if timer[2].callback is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def random(self) -> float:
        return int.from_bytes(os.urandom(7), "big") / (1 << 56)  # random's import costs more than this program's start

    def misplaced(self) -> None:
        """It knows no event loop: whoever is in its thread may call."""

    def from_other_threads(self, verb: str) -> str:
        if not self.serves:
            return "only emit() may be. Make a client for each thread"
        if verb in ("poll", "serve_forever"):
            return "make the server in the thread that serves: blocking.serve(…) and serve_forever() there"
        may_be = "only emit() of its sockets and stop() of the server may be"
        if verb in ("broadcast", "emit"):
            return f"{may_be}: for socket in server.sockets: socket.emit(type, data)"
        return f"{may_be}. Call {verb}() in the thread that made the server, before serve_forever() or in a handler"

    def turn_ends(self, session: Flushable) -> bool:
        if self.busy or self.batches:
            self._turn.append(session)
            return True
        return False  # outside a pump each write is a turn of its own

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[BaseException | None], None],
        returned: Callable[[Any], None] | None = None,
    ) -> NoReturn:
        coroutine.close()
        raise TypeError("there is no event loop here to run an async handler: use the asyncio front")

    def sockets_in(self, directory: str) -> list[str]:
        from ..net.unix import sockets_in

        return sockets_in(directory)

    def current_task(self) -> None:
        """There are none."""

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        self._from_threads.append(callback)
        self.wake()

    def wake(self) -> None:
        """End the wait that is under way, or make the next one short; for other threads and signal handlers."""
        if self._nudge is not None:
            self._nudge.send()
        elif self._pipes is not None:
            self._pipes.wake()

    @contextlib.contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """No wait sleeps on a signal that came just before it; in the main thread only."""
        import signal

        before = signal.set_wakeup_fd(-1)
        mine = self._nudge.sender() if self._nudge is not None and before == -1 else before
        signal.set_wakeup_fd(mine, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)

    def outcome(self, value: T) -> Outcome[T]:
        return Outcome(value)

    def open(self, address: Address, receiver: Receiver, settings: Config) -> Timer:
        from ..net.connect import connect

        self._spin = spin_of(self._spin, settings, self.now)
        return self.walk(connect(self, address, receiver, settings))

    def listen(self, address: Address, acceptor: Acceptor, settings: Config) -> Listener:
        from ..net.listen import listener_at

        self._spin = spin_of(self._spin, settings, self.now)
        listener = listener_at(self, address, acceptor, settings)
        listener.beginning = self.walk(listener.begin())
        return listener

    def bind(self, address: Address, receiver: DatagramReceiver, settings: Config) -> DatagramPort:
        from ..net.udp import Port

        self._spin = spin_of(self._spin, settings, self.now)
        return Port(self, address, receiver)

    # ---- what waits for the kernel

    def walk(self, steps: Steps[None]) -> Walk:
        """Go through these steps, from a later turn on."""
        walk = Walk(steps, self._wait_for)
        self.call_later(0, walk.go)
        return walk

    def _wait_for(self, step: Step, walk: Walk) -> Timer | None:
        if isinstance(step, Pause):
            return self.call_later(step.seconds, walk.go)
        if isinstance(step, Writable):
            return _Wait(self, step, walk)
        if isinstance(step, LookUp):
            return self.call_later(0, partial(_look_up, step, walk))
        if isinstance(step.what, Outcome):
            step.what.then(lambda: self.call_later(0, walk.go))
            return None
        if isinstance(step.what, Coroutine):
            step.what.close()  # one that nobody awaits would complain
        raise NotImplementedError("there is no event loop here")

    def carry(self, sock: Any, peer: Peer, receiver: Receiver, *, alone: bool) -> None:
        """Make a link of what is connected."""
        if peer.transport == "pipe":
            from .thread_pipes import PipeLink

            PipeLink(self.call_later, self.pipes, sock, peer, receiver, accepted=not alone).start()
        else:
            StreamLink(self, sock, peer, receiver).start(alone=alone)

    @property
    def poller(self) -> Poller:
        """The watched sockets."""
        if self._poller is None:
            poller = Poller()
            try:
                self._nudge = _Nudge()  # from the start: who wakes a wait must find it, however late the wait began
                poller.watch(self._nudge, READ)
            except BaseException:  # no other thread could end its wait: there is none, and the next call makes it
                nudge, self._nudge = self._nudge, None
                if nudge is not None:
                    nudge.discard()
                poller.close()
                raise
            self._poller = poller
        return self._poller

    def watch(self, watched: Watched, interest: int, direct: Callable[[], None] | None = None) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on.

        ``direct`` reads from it and blocks for that; it is used while this is the only socket.
        """
        poller = self.poller
        poller.watch(watched, interest)
        self._direct = direct if interest == READ and len(poller) == 2 else None  # it and the nudge

    @property
    def pipes(self) -> PipePort:
        """The completion port of named pipes."""
        if self._pipes is None:
            from .thread_pipes import PipePort

            self._pipes = PipePort()
        return self._pipes

    def accept_pipe(self, handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
        """Tell ``done`` that a client is there, or why none can come to this instance."""
        return self.pipes.accept(handle, done)

    def close(self) -> None:
        """Give back what the kernel holds for the driver; links that are open end without a word.

        What is opened later gets it anew. In a forked child nothing is touched.
        """
        if not (self.is_forked or self.busy):
            self._forget_all()

    def _forget_all(self) -> None:
        poller, self._poller = self._poller, None
        self._direct = self._nudge = None
        if poller is not None:
            poller.close()
        pipes, self._pipes = self._pipes, None
        if pipes is not None:
            pipes.close()
        self._soon.clear()
        self._timers.clear()
        self._cancelled = 0


def _look_up(step: LookUp, walk: Walk) -> None:
    try:
        found = step.at_once()
    except Exception as error:  # a name may be too long for IDNA, too (UnicodeError)
        walk.fail(error)
    else:
        walk.go(found)


class _Wait:
    """A socket that steps wait to write to."""

    def __init__(self, driver: ThreadDriver, step: Writable, walk: Walk) -> None:
        self._driver = driver
        self._sock = step.sock
        self._walk = walk
        self._timer: Timer | None = None  # first, since a signal's handler may raise in between
        driver.watch(self, WRITE)
        self._timer = driver.call_later(step.seconds, partial(self._end, False))

    def fileno(self) -> int:
        fd: int = self._sock.fileno()
        return fd

    def readable(self) -> None:
        """It is never watched for that."""

    def writable(self) -> None:
        self._end(True)

    def _end(self, answer: bool) -> None:
        self.cancel()
        self._walk.go(answer)

    def cancel(self) -> None:
        self._cancel_timer()
        self._driver.watch(self, 0)

    def discard(self) -> None:
        self._cancel_timer()
        self._sock.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Nudge:
    """What ends a wait from elsewhere: a socket to itself."""

    def __init__(self) -> None:
        self._heard, self._sock = socket.socketpair()
        self._heard.setblocking(False)
        self._sock.setblocking(False)

    def send(self) -> None:
        """Safe from any thread and in signal handlers."""
        with contextlib.suppress(OSError):  # full, so it is awake; or closed, and nobody waits any more
            self._sock.send(b"\0")

    def sender(self) -> int:
        """The descriptor that a signal writes to."""
        return self._sock.fileno()

    def fileno(self) -> int:
        return self._heard.fileno()

    def readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)

    def writable(self) -> None:
        """It is never watched for that."""

    def discard(self) -> None:
        self._heard.close()
        self._sock.close()
