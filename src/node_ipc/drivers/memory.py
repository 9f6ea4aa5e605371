"""The driver in memory, on a virtual clock: whole conversations in one thread, without a socket and without waiting.

Endpoints made with one :class:`MemoryDriver` reach each other by their addresses, whatever kind those are. Nothing
happens by itself: ``run_until_idle``, ``advance`` and ``run_until`` do what is due, in the same order each time.
The clock stands still but for these calls, so an hour of retries takes milliseconds. ``random`` starts from
``seed``, so the same test gives the same run. Async handlers may wait as in an event loop: ``asyncio.sleep`` and its
relatives keep to this clock (``memory_loop.py``).

Faults: ``conditions`` says how links carry bytes (latency, pieces, room in the kernel), for all of them or for one;
``stall``, ``drop``, ``cut`` and ``end`` do to a link what networks and operating systems do (``memory_link.py``).
"""

from __future__ import annotations

import contextlib
import heapq
import random
import socket
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from functools import partial
from itertools import count
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..core.outcome import Outcome
from ..core.seam import NOWHERE, Acceptor, DatagramReceiver, Endpoint, Flushable, Lock, Peer, Receiver, Timer, nothing
from ..errors import InvalidPayload, IPCError, RemoteError
from ..net import tcp
from ..net.connect import connect, seconds_for
from ..net.steps import Await, LookUp, Pause, Step, Steps, Walk, Writable
from .memory_kernel import MemoryKernel, MemoryListener, MemorySocket
from .memory_link import Conditions, Connection
from .memory_port import MemoryPort
from .unseen import Unseen, now, warn

if TYPE_CHECKING:
    import asyncio

    from ..config.address import Address
    from ..config.config import Config
    from .memory_loop import VirtualLoop

__all__ = [
    "MemoryDriver",
    "MemoryListener",
    "MemoryOutcome",
    "NothingHappens",
    "end_coroutine",
    "note_before",
    "note_failures",
    "raise_failures",
    "raise_together",
]

T = TypeVar("T")

FIRST_FREE_PORT = 49152
TURNS = 1_000_000
"""Turns at one moment after which ``run_until_idle`` takes it that they never end."""
MANY_TIMERS = 500
"""From so many on, twice those that were left last, cancelled ones are taken out."""
EXPECTED = (
    "No 'error' handler heard this, so the test fails. Where it is what the test wants, let it listen: "
    "server.on('error', errors.append), or the client's"
)
UNSEEN = (
    "No 'error' handler heard this, and nobody looked at driver.failures. Where it is what the test wants, let it look "
    "there, or listen: server.on('error', errors.append), or the client's"
)
REFUSED = (
    "It is the answer to a request that nobody looked at, so the test fails. Await the request in driver.run(main()), "
    "or look at outcome.result() or outcome.error after driver.run_until(outcome)"
)
ON_THEIR_WAY = (
    "When this failed messages were still on their way: driver.run_until_idle() lets them arrive, and "
    "driver.advance(seconds) those of a slow link"
)
LAST_TURNS = 5_000
"""Turns that ``finish`` takes at most: a handler that does something each second, for ever, is not waited for."""


class NothingHappens(IPCError, TimeoutError):
    """``run_until`` gave up: nothing is due any more, or the virtual time allowed is over.

    Met at: ``driver.run``, ``driver.run_until`` and ``driver.run_until_idle`` in tests.
    What to do: see why nobody answers (no handler of that name, a link that is stalled); or allow more with ``limit=``.

    Example:
        >>> driver.run_until(lambda: False, limit=1)
        Traceback (most recent call last):
            ...
        node_ipc.drivers.memory.NothingHappens: ...
    """

    code = "ERR_IPC_NOTHING_HAPPENS"


def note_failures(error: BaseException, drivers: Sequence[MemoryDriver]) -> None:
    """Add to what a test raises what may have led to it, as far as these drivers know."""
    if any(driver.is_carrying for driver in drivers):
        error.add_note(ON_THEIR_WAY)
    for driver in drivers:
        note_before(error, driver.take_failures())


def note_before(error: BaseException, failures: Sequence[BaseException]) -> None:
    """Add to what a test raises that these failed before."""
    for failure in failures:
        said = "".join(traceback.format_exception(failure)).rstrip()
        error.add_note(f"Before this there was an error that nobody heard:\n{said}")


def raise_failures(drivers: Sequence[MemoryDriver]) -> None:
    """Raise what failed unheard on these drivers: one as it is, several as a group."""
    __tracebackhide__ = True
    raise_together([failure for driver in drivers for failure in driver.take_failures()])


def raise_together(failures: Sequence[BaseException]) -> None:
    """Raise these, if any: one as it is, several as a group."""
    __tracebackhide__ = True
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup("several errors that nobody heard", failures)


def _noted(failures: Sequence[BaseException], advice: str) -> list[BaseException]:
    """These, each with a note."""
    for failure in failures:
        failure.add_note(advice)
    return list(failures)


class _Call(msgspec.Struct, order=True):
    """Something due later; no two have the same number."""

    when: float
    number: int
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        self.callback = nothing  # who cancels may be gone before the time comes


class MemoryDriver:
    """Drives endpoints in memory; see the module.

    Args:
        seed: where ``random`` starts.
        conditions: how links carry bytes, unless a link has conditions of its own.

    Example:
        >>> async def main():
        ...     await asyncio.sleep(3600)  # an hour of the virtual clock
        ...     return driver.now() >= 3600
        >>> driver.run(main(), limit=7200)
        True
    """

    runs_coroutines = True
    has_small_stack = False
    breaks_unread, hides_ends = True, False  # as on Linux

    def __init__(self, *, seed: int = 0, conditions: Conditions | None = None) -> None:
        self._failures: list[BaseException] = []
        self._was_looked_at = False
        self._test: Unseen | None = now()
        if self._test is not None:
            self._test.drivers[self] = None
        self.random = random.Random(seed).random  # nosec B311 # a simulation, to be repeated
        self.conditions = conditions or Conditions()
        self.identity = Peer("memory", pid=1, uid=1000, gid=1000)
        """Who connects from now on, as servers see it."""
        self.server_identity = Peer("memory", pid=2, uid=1000, gid=1000)
        """Who listens, as clients see it."""
        self.refusal: Exception | None = None
        """While set: every attempt to connect fails with it."""
        self.hosts: dict[str, Sequence[str] | None] = {}
        """What names lead to: hosts in order, none (the name is not known), or None: the look-up never answers.

        Any other name leads to itself.
        """
        self.silent: set[str] = set()
        """Hosts that answer nothing, and paths of Unix sockets whose queue is full: connecting takes all its time."""
        self.speaks_tls = False
        """Whether tls:// addresses are spoken to with TLS, by ``config.tls``; without it they are plain."""
        self.listeners: dict[Address, MemoryListener] = {}
        """Who can be connected to."""
        self.loses: Callable[[bytes], bool] = lambda data: False
        """Asked for each datagram whether it is lost."""
        self.connections: list[Connection] = []
        """What is open now, oldest first."""
        self.ports: dict[tuple[str, int], MemoryPort] = {}
        """The UDP ports that are bound, by host and number."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """The coroutines that have not ended."""
        self.misheard: list[str] = []
        """Events that nobody heard, and whose names are nearly those of handlers, a line for each name.

        The fixtures for pytest tell them as warnings.
        """
        self.refusals: dict[MemoryOutcome[Any], Exception] = {}
        """The requests that were answered with an error, or with what does not fit, while nobody looked at it.

        Reading ``error`` or ``result()``, and awaiting, is looking. The fixtures fail a test for these, too.
        """
        self.home = threading.get_ident()
        self.is_forked = False
        self.thread: Callable[[], int] = self._caller
        self.lock: Lock = threading.Lock()
        self.undisturbed: BaseException | None = None  # no read blocks here
        self.endpoints: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self._elsewhere: int | None = None
        self._now = 0.0
        self._numbers = 0
        self._timers: list[_Call] = []
        self._ready: deque[_Call] = deque()
        self._many_timers = MANY_TIMERS
        self._turn: list[Flushable] = []
        self._free_port = FIRST_FREE_PORT
        self._virtual_loop: VirtualLoop | None = None

    def __repr__(self) -> str:
        return f"<MemoryDriver at {self._now:g} s, {len(self.connections)} connections>"

    # ---- what failed

    @property
    def failures(self) -> list[BaseException]:
        """What failed unheard: handlers of endpoints without an ``error`` handler, payloads that do not fit them, and
        tasks that nobody awaited.

        The fixtures for pytest fail a test that leaves something here, and so does the end of a ``with`` block.
        Otherwise look here at the test's end: what was here when the test ended fails it, as an error of its teardown,
        unless somebody read this. Without pytest it is a ``RuntimeWarning`` when the driver goes.
        """
        self._was_looked_at = True
        return self._failures

    def keep_failure(self, failure: BaseException) -> None:
        """Something failed, and no ``error`` handler heard it."""
        self._failures.append(failure)

    def take_failures(self) -> list[BaseException]:
        """What failed and nobody looked at, ``failures`` and ``refusals``, each with a note that says so; told once."""
        refusals = list(self.refusals.values())
        for outcome in list(self.refusals):
            outcome.looked_at()
        # of a handler that failed the request was answered with an error, too: that says less of it
        found = _noted(self._failures, EXPECTED) or _noted(refusals, REFUSED)
        self._failures.clear()
        return found

    def take_unseen(self) -> list[BaseException]:
        """The ``failures`` of a driver at which nobody ever looked there; told once, and left where they are."""
        if self._was_looked_at:
            return []
        self._was_looked_at = bool(self._failures)
        return _noted(self._failures, UNSEEN)

    def __del__(self) -> None:
        left = self.take_unseen()
        if self._test is None or self._test.is_over:
            warn(left)
        else:
            self._test.left += left

    # ---- the clock

    def run_until_idle(self) -> None:
        """Do everything that is due now and what follows from it; the clock stands still."""
        for _ in range(TURNS):
            if not self.turn_due():
                return
            self.run_turn()
        raise NothingHappens(f"{TURNS} turns went by at {self._now:g} s and there is still something to do at once")

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and do what is due in it when it is due. Raises ``ValueError`` for less than none."""
        if isinstance(seconds, bool) or not isinstance(seconds, Real):
            raise TypeError(f"advance() takes seconds as a number, not {seconds.__class__.__name__}: {seconds!r:.80}")
        if not seconds >= 0:
            raise ValueError(f"advance takes seconds from 0 on, since no clock goes back, and not {seconds!r:.80}")
        until = self._now + seconds
        self.run_until_idle()
        while (due := self.next_due()) is not None and due <= until:
            self._now = max(self._now, due)
            self.run_until_idle()
        self._now = until

    def run_until(self, condition: Callable[[], object] | Outcome[Any], limit: float = 60.0) -> Any:
        """Let time pass until ``condition()`` holds, or the outcome has ended (its error is not raised).

        Returns the outcome, where it was given one: ``driver.run_until(client.request("add", [1, 2])).result()``.

        Args:
            limit: virtual seconds, from this call on.

        Raises:
            NothingHappens: they are over, or nothing is due any more.
            TypeError: for what cannot be called, as seconds: ``advance`` takes those.
        """
        if not (callable(condition) or isinstance(condition, Outcome)):
            seconds = f": advance({condition!r}) lets so much time pass" if type(condition) in (int, float) else ""
            raise TypeError(f"run_until takes a condition to call, or an outcome, not {condition!r:.80}{seconds}")
        holds: Callable[[], object] = (lambda: condition.done) if isinstance(condition, Outcome) else condition
        since, turns = self._now, 0
        until = since + limit
        while not holds():
            if self.turn_due():
                self.run_turn()
                turns += 1
                if turns > TURNS:
                    raise NothingHappens(f"{TURNS} turns went by at {self._now:g} s without what was waited for")
                continue
            due = self.next_due()
            if due is None or due > until:
                reason = (
                    f"nothing more is due, at {self._now:g} s"
                    if due is None
                    else f"{limit:g} virtual seconds are over since this call began at {since:g} s (limit= allows "
                    f"more), and the next thing is due at {due:g} s"
                )
                raise NothingHappens(f"what was waited for did not happen: {reason}{self._unheard()}")
            self._now, turns = max(self._now, due), 0
        return condition if isinstance(condition, Outcome) else None

    def _unheard(self) -> str:
        """What came and no handler heard, for the end of a message; empty where there was none."""
        return "".join(sorted(f"; {told}" for each in self.endpoints if (told := each.remark_on_unheard())))

    def run(self, main: Coroutine[Any, Any, T], limit: float = 60.0) -> T:
        """Run a coroutine to its end and return what it returns; it may await outcomes and asyncio's ``sleep``.

        Args:
            limit: virtual seconds, from this call on.

        Raises:
            NothingHappens: they are over, or nothing is due any more.
        """
        if not isinstance(main, Coroutine):
            raise TypeError(f"run takes a coroutine, as run(main()) with async def main(): …, not {main!r:.80}")
        task = self.spawn(main, lambda error: None)
        try:
            self.run_until(task.done, limit)
        finally:
            self.tasks.discard(task)
            main.close()
        result: T = task.result()
        return result

    async def sleep(self, seconds: float) -> None:
        """In a coroutine that this driver runs: let virtual time pass, as ``asyncio.sleep`` does there."""
        over = self.outcome(None)
        self.call_later(seconds, over.settle)
        await over

    def finish(self) -> int:
        """Do what is left: what is due now, and in the time that it takes what is on its way and async handlers.

        It is what the fixtures for pytest do where a test ends. Timers alone (retries, heartbeats, limits of requests)
        are not waited for. Returns how many handlers have not ended: they wait for something that does not come, or go
        on for ever (5,000 turns are done at most).
        """
        turns = count()
        with contextlib.suppress(NothingHappens):  # what is awaited is not due at any time
            self.run_until(lambda: next(turns) >= LAST_TURNS or not self._has_work(), limit=float("inf"))
        return len(self.tasks)

    def _has_work(self) -> bool:
        return self.turn_due() or bool(self.tasks) or self.is_carrying

    @property
    def is_carrying(self) -> bool:
        """Whether anything that was emitted is on its way: it arrives in ``run_until_idle``, or as time passes."""
        return bool(self._turn) or any(each.is_carrying for each in self.connections)

    def close(self) -> None:
        """Forget everything that is due, and end the coroutines that still run."""
        self._timers.clear()
        self._ready.clear()
        self._turn.clear()
        for task in list(self.tasks):
            self.tasks.discard(task)
            end_coroutine(task.get_coro())

    def __enter__(self) -> MemoryDriver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        """The test is over: forget what is due, and raise what failed unheard.

        Where the block raises itself, that goes on, with a note of what else failed.
        """
        __tracebackhide__ = True
        try:
            if error is None:
                raise_failures([self])
            else:
                note_failures(error, [self])
        finally:
            self.close()

    # ---- the clock, one step at a time

    def turn_due(self) -> bool:
        """Is anything due now? ``run_turn`` does it."""
        self._drop_cancelled()
        return bool(self._ready or self._turn or (self._timers and self._timers[0].when <= self._now))

    def next_due(self) -> float | None:
        """When the next timer is due, in the seconds of ``now()``; ``None`` where none runs."""
        self._drop_cancelled()
        return self._timers[0].when if self._timers else None

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)

    def run_turn(self) -> None:
        """Do what is due now, but not what that leads to; then the end of the turn."""
        if self._virtual_loop is None and "asyncio" not in sys.modules:  # nobody can ask for a loop
            self._run_turn()
        else:
            self._loop.turn(self._run_turn)

    def _run_turn(self) -> None:
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

    clock = now

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Call:
        self._numbers += 1
        call = _Call(self._now + max(delay, 0.0), self._numbers, callback)
        if delay <= 0:
            self._ready.append(call)
        else:
            heapq.heappush(self._timers, call)
            if len(self._timers) > self._many_timers:
                self._sweep()
        return call

    def _sweep(self) -> None:
        """Cancelled calls behind one that is due earlier and stays."""
        self._timers[:] = [call for call in self._timers if not call.cancelled]
        heapq.heapify(self._timers)
        self._many_timers = max(MANY_TIMERS, 2 * len(self._timers))

    def sockets_in(self, directory: str) -> list[str]:
        paths = (getattr(address, "path", "") for address in self.listeners)
        return [name for where, _, name in (path.rpartition("/") for path in paths) if where == directory and name]

    def misplaced(self) -> None:
        """It knows no event loop: whoever is in its thread may call."""

    def from_other_threads(self, verb: str) -> str:
        return "only emit() may be"

    def turn_ends(self, session: Flushable) -> bool:
        self._turn.append(session)
        return True

    def _caller(self) -> int:
        """The caller's thread, or another one inside ``other_thread``."""
        return threading.get_ident() if self._elsewhere is None else self._elsewhere

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        self.call_later(0, callback)

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[BaseException | None], None],
        returned: Callable[[Any], None] | None = None,
    ) -> asyncio.Task[Any]:
        task = self._loop.task(coroutine, done, returned)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def current_task(self) -> object:
        return None if self._virtual_loop is None else self._virtual_loop.current_task()

    def outcome(self, value: T) -> MemoryOutcome[T]:
        return MemoryOutcome(value, self.refusals)

    def open(self, address: Address, receiver: Receiver, settings: Config) -> Walk:
        return self.walk(self._connect(address, receiver, settings))

    def _connect(self, address: Address, receiver: Receiver, settings: Config) -> Steps[None]:
        latency, seconds = self.conditions.next_latency(), seconds_for(address, settings)
        if latency > seconds:
            yield Pause(seconds)
            receiver.failed(tcp.connect_failed(address, TimeoutError(), seconds))
            return
        if latency:
            yield Pause(latency)
        yield from connect(self, address, receiver, settings, MemoryKernel(self, address))

    def listen(self, address: Address, acceptor: Acceptor, settings: Config) -> MemoryListener:
        return MemoryListener(self, address, acceptor, settings)

    def bind(self, address: Address, receiver: DatagramReceiver, settings: Config) -> MemoryPort:
        return MemoryPort(self, address, receiver)

    @property
    def _loop(self) -> VirtualLoop:
        if self._virtual_loop is None:
            from .memory_loop import VirtualLoop  # asyncio is loaded for coroutines only

            self._virtual_loop = VirtualLoop(self, self.keep_failure)
        return self._virtual_loop

    # ---- steps

    def walk(self, steps: Steps[None]) -> Walk:
        """Go through these steps, from a later turn on."""
        walk = Walk(steps, self._wait_for)
        self.call_later(0, walk.go)
        return walk

    def _wait_for(self, step: Step, walk: Walk) -> Timer | None:
        if isinstance(step, Pause):
            return self.call_later(step.seconds, walk.go)
        if isinstance(step, Writable):  # only a silent host has to be waited for
            return self.call_later(step.seconds, partial(walk.go, False))
        if isinstance(step, LookUp):
            return self._look_up(step, walk)
        if isinstance(step.what, Outcome):
            step.what.then(lambda: self.call_later(0, walk.go))
            return None
        return _Asked(self, step, walk)

    def _look_up(self, step: LookUp, walk: Walk) -> Timer:
        found = self.hosts.get(step.host, (step.host,))
        if found is None:
            return self.call_later(step.seconds or 0.0, partial(walk.fail, TimeoutError("no answer")))
        if not found:
            unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return self.call_later(0, partial(walk.fail, unknown))
        return self.call_later(0, partial(walk.go, [(0, 0, 0, "", (host, step.port)) for host in found]))

    def carry(self, sock: MemorySocket, peer: Peer, receiver: Receiver, *, alone: bool) -> None:
        """Make a link of what is connected."""
        connection = Connection(self, sock.address, receiver)
        self.connections.append(connection)
        connection.open(sock.listener)

    def watch(self, watched: object, interest: int, direct: object = None) -> None:
        """Nothing is watched: who can go on is told."""

    def new_port(self) -> int:
        """A port that nobody has, as the kernel gives one for port 0."""
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
        before, self.home, self.is_forked = self.home, NOWHERE, True
        try:
            yield
        finally:
            self.home, self.is_forked = before, False


# ---- coroutines


class MemoryOutcome(Outcome[T]):
    """An outcome for ``await`` in coroutines that a :class:`MemoryDriver` runs.

    Elsewhere in a test: ``driver.run_until(outcome)``, then ``outcome.result()``, or ``outcome.error``.
    """

    __slots__ = ("_refusals",)

    def __init__(self, value: T, refusals: dict[MemoryOutcome[Any], Exception]) -> None:
        """Belong to a driver, which keeps in ``refusals`` what was answered with an error until somebody looks."""
        self._refusals = refusals
        super().__init__(value)

    def __repr__(self) -> str:
        if not self.done:
            return "<MemoryOutcome, not there yet: driver.run_until(outcome), then outcome.result(); or await it>"
        if self._error is not None:
            return f"<MemoryOutcome, an error: {self._error!r:.200}; outcome.result() raises it>"
        return f"<MemoryOutcome of {self.value!r:.200}: outcome.result() gives it>"

    def looked_at(self) -> None:
        self._refusals.pop(self, None)
        super().looked_at()

    def settle(self, error: Exception | None = None, unread: Callable[[], None] | None = None) -> None:
        if not self.done and isinstance(error, RemoteError | InvalidPayload):
            self._refusals[self], unread = error, None  # told by the test that ends
        super().settle(error, unread)

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            from .memory_loop import new_future

            yield from self.wait_on(new_future())
        return self.result()


class _Asked:
    """A look-up of a user's that is awaited for steps."""

    def __init__(self, driver: MemoryDriver, step: Await, walk: Walk) -> None:
        self._walk = walk
        self._is_over = False
        self._answer: Any = None
        self._task = driver.spawn(self._ask(step.what), self._end)
        self._timer = None if step.seconds is None else driver.call_later(step.seconds, self._expire)

    async def _ask(self, what: Any) -> None:
        self._answer = await what

    def _end(self, error: BaseException | None) -> None:
        if self._is_over:
            return
        self._stop()
        if error is None:
            self._walk.go(self._answer)
        else:
            self._walk.fail(error)

    def _expire(self) -> None:
        self.cancel()
        self._walk.fail(TimeoutError("no answer"))

    def cancel(self) -> None:
        self._stop()
        self._task.cancel()

    def _stop(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()


def end_coroutine(coroutine: Any) -> None:
    """Close it, and, where it has not even begun, what it was given to await: nobody else would."""
    frame = getattr(coroutine, "cr_frame", None)
    if frame is not None and not (coroutine.cr_running or coroutine.cr_suspended):
        for given in frame.f_locals.values():
            if isinstance(given, Coroutine):
                given.close()
    coroutine.close()
