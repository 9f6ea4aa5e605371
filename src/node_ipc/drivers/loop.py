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
import os
import random
import select
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec

from ..config.foreign import PASSING
from ..config.interrupted import between_steps, by_signal, interrupted
from ..core.outcome import ASKS, Outcome, wake_up
from ..core.seam import (
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
    PlainLink,
    Receiver,
    Timer,
    tell_end,
)
from ..errors import WrongLoopError
from ..net import tcp
from ..net.paused import Lookout
from ..net.steps import READ, WRITE, LookUp, Pause, Step, Steps, Watched, Writable
from ..net.stream import LAST_READS, StreamLink
from ..net.unread import BREAKS_UNREAD, HIDES_ENDS, all_arrived, unread_bytes
from . import farewell, forks, small_stack
from .poller import Poller
from .spin import LoopSpin

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..net.pipe import PipeHandle
    from .loop_proactor import ByItself

__all__ = ["EventLoopDriver", "TaskMaterial", "TransportLink", "starting"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

READ_BYTES = 64 * 1024
FIRST_LOOK, LONGEST_LOOK = 0.001, 0.05
"""Seconds between two looks at a socket that connects, where the loop does not watch it."""
REGISTERS = frozenset({"handle", "off", "on", "once"})
WAITS = frozenset({"drain", "iteration", "receive", "request", "request_all", "serve_forever"})
"""Verbs whose result is awaited."""
starting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[asyncio.Task[None]]] = (
    weakref.WeakKeyDictionary()
)
"""Servers that were told to start and do not listen yet: a client of the same loop connects after them."""


class _Here(threading.local):
    """What the drivers of a thread share: a buffer for each driver took 64 KiB for each client.

    With 1,000 clients in a program that was 80 KiB for each, and 16 with a shared one.
    """

    def __init__(self) -> None:
        self.read_buffer = memoryview(bytearray(READ_BYTES))


_here = _Here()


class _Deferred(msgspec.Struct, eq=False):
    """A call that waits for a loop."""

    _delay: float
    _callback: Callable[[], None]
    _handle: asyncio.TimerHandle | None = None
    _cancelled: bool = False

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
    breaks_unread, hides_ends = BREAKS_UNREAD, HIDES_ENDS
    keep_failure: Callable[[BaseException], None] | None = None
    misheard: list[str] | None = None

    def __init__(self, *, renews: bool = False) -> None:
        """``renews``: where the loop was closed, go on with the next one; otherwise it ends with its loop."""
        self._renews = renews
        self._endings: list[Callable[[], None]] | None = None  # what is due at once, while all ends
        self.home = 0
        self.is_forked = False
        self.has_small_stack = False  # known once there is a loop
        self.thread = threading.get_ident
        self.lock: Lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = time.monotonic
        self.clock: Callable[[], float] = time.perf_counter  # uvloop's time is in ms, and that of the turn's begin
        self.random = random.random
        self.tasks: set[asyncio.Task[Any]] = set()
        self.undisturbed: BaseException | None = None  # no read blocks here
        self._never_ran = True
        self._waiting: list[Callable[[asyncio.AbstractEventLoop], None]] = []
        self._turn: list[Flushable] = []
        self._spin_seconds = 0.0
        self.spin: LoopSpin | None = None
        """Keeps the loop from waiting while an answer may be near; told of what comes and goes."""
        self._poller: LoopPoller | None = None
        self._by_itself: ByItself | None = None  # where the loop watches no sockets
        self.read_buffer: memoryview
        """What every link of this thread reads into: what arrived is copied out before anything else can read."""
        self.endpoints: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self._left: weakref.WeakKeyDictionary[Endpoint, int] = weakref.WeakKeyDictionary()
        forks.guard(self)
        farewell.watch(self)

    # ---- the loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work on this loop from now on, and begin what waited for one. Called in the loop's thread.

        Raises :class:`WrongLoopError` for one that has no sockets.
        """
        if (why_not := getattr(loop, "no_endpoints", None)) is not None:
            raise WrongLoopError(why_not)
        self.loop = loop
        self._never_ran = False
        self.home, self.is_forked = threading.get_ident(), False
        self.has_small_stack = small_stack.is_small()
        self.read_buffer = _here.read_buffer
        self._poller, self._by_itself = _poller_of(loop), None
        self.now = loop.time
        self._begin_to_spin()
        waiting, self._waiting = self._waiting, []
        for begin in waiting:
            begin(loop)

    def attach_running(self) -> bool:
        """Attach to the loop that runs in this thread, if there is one; whether the driver has a loop now."""
        self.misplaced()
        if self.loop is None:
            try:
                running = asyncio.get_running_loop()
            except RuntimeError:
                return False
            self.attach(running)
        return True

    @property
    def has_run(self) -> bool:
        """Whether there was a loop that it was to work on."""
        return not self._never_ran

    @property
    def never_ran(self) -> bool:
        """Whether something was told to begin, and no loop came."""
        return self._never_ran and bool(self._waiting)

    def loop_ends(self) -> None:
        """Take down what is not sent; a loop that reads and writes by itself does not know it once it is closed."""
        for endpoint in tuple(self.endpoints):
            self._left[endpoint] = endpoint.unsent()

    def unsent(self, endpoint: Endpoint) -> int:
        """The messages of this endpoint that the kernel does not have."""
        return max(self._left.get(endpoint, 0), endpoint.unsent())

    @property
    def ends_in_order(self) -> str:
        """What sends all that was emitted before a program ends."""
        if self._never_ran and farewell.another_has_run(self):
            return (
                "run() runs one instance. Several of a program are started in an async def main(), where start() and "
                "connect_to() begin at once, as by node_ipc.run(main())"
            )
        if self._never_ran:
            return "run the event loop with ipc.run() or asyncio"
        if self._renews:
            return "the event loop ended before. await ipc.stop() sends what was emitted, and ends what sends"
        return (
            "the event loop ended before. async with node_ipc.connect(…) or serve(…), await client.close() and "
            "await drain() see to it that all is sent"
        )

    def detach(self) -> None:
        """Forget the loop; the next one may be another."""
        self.loop = None
        self._left.clear()
        if not self.is_forked:
            self.home = 0
        self.now = time.monotonic
        self._turn.clear()
        self.spin = None

    def misplaced(self) -> str | None:
        loop = self.loop
        if loop is None or loop.is_running():
            return None
        if loop.is_closed():
            self._abandon(loop)
            return None if self._renews else f"belongs to the event loop {_named(loop)}, which is closed: connect anew"
        with contextlib.suppress(RuntimeError):
            other = asyncio.get_running_loop()
            return (
                f"belongs to the event loop {_named(loop)} and was called on {_named(other)}: use it where it was made"
            )
        return None

    def from_other_threads(self, verb: str) -> str:
        first, may, where = "", "emit()", "in the coroutine that made this"
        if self._renews:
            may, where = (
                "emit() and ipc.stop()",
                "in a handler, as of 'connect', or in the function given to ipc.serve()",
            )
            first = "Register handlers before ipc.run() begins. " if verb in REGISTERS else ""
        hand = "loop.call_soon_threadsafe(function)"
        if verb in WAITS:
            hand = "asyncio.run_coroutine_threadsafe(function(), loop), where it is an async one"
        return (
            f"only {may} may be. {first}A function that does it in the loop's thread is given to that by {hand}; "
            f"loop is asyncio.get_running_loop() {where}"
        )

    def _abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop was closed with links open. Nothing happens there any more, so what must still come comes now."""
        if self.home == 0 or self.is_forked:
            return
        self.detach()
        self._endings = []
        for endpoint in tuple(self.endpoints):
            endpoint.abandoned()
        self._end()
        if not self._renews:
            for endpoint in tuple(self.endpoints):
                endpoint.abort()
            self._end()
            self._waiting.clear()
            self.loop = loop  # and this is said again at each call
        self._endings = None

    def _end(self) -> None:
        while self._endings:
            self._endings.pop(0)()

    def _begin(self, work: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        if self._endings is None and self.attach_running():  # while all ends nothing begins, on whatever loop runs now
            assert self.loop is not None
            work(self.loop)
        else:
            self._waiting.append(work)

    def task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it on the loop; what is still under way is in ``tasks``."""
        assert self.loop is not None
        # Not by the loop's factory: an eager one (Python 3.12) would publish `connect` inside the call that connects.
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self.loop)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _spin_for(self, settings: Config) -> None:
        self._spin_seconds = max(self._spin_seconds, settings.spin / 1e6)
        self._begin_to_spin()

    def _begin_to_spin(self) -> None:
        if self._spin_seconds and self.loop is not None:
            self.spin = LoopSpin(self.loop, self._spin_seconds)

    # ---- the seam

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        if self.loop is not None:
            due = partial(self._run_due, callback)
            return self.loop.call_later(delay, due) if delay > 0 else self.loop.call_soon(due)
        deferred = _Deferred(delay, callback)
        if self._endings is not None and delay <= 0:
            self._endings.append(callback)  # too late to be cancelled
        else:
            self._begin(deferred.begin)
        return deferred

    def _run_due(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except BaseException as error:
            if by_signal(error) and between_steps(error):  # nobody knows how far it came
                self.call_later(0, callback)
                self.interrupted(error)
            raise

    def interrupted(self, error: BaseException) -> None:
        """This exception came out of the middle of our own steps (``config/interrupted.py``)."""
        if between_steps(error):
            for endpoint in tuple(self.endpoints):
                endpoint.interrupted(interrupted("sending or receiving", error))

    def turn_ends(self, session: Flushable) -> bool:
        if not self._turn:
            assert self.loop is not None
            if not self.loop.is_running():
                return self._outside_a_turn()
            self.loop.call_soon(self._end_turn)
        self._turn.append(session)
        return True

    def _outside_a_turn(self) -> bool:
        """Between two runs of the loop each emit is a write: nobody knows when it runs again, or whether it does."""
        if (why := self.misplaced()) is not None:
            raise WrongLoopError(f"emit() {why}")
        if self.loop is None:
            raise WrongLoopError("emit() came after the event loop of this link was closed: the link is lost")
        return False

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, []
        ended = 0
        try:
            for session in turn:
                session.turn_ended()
                ended += 1
        except BaseException:  # a signal's handler
            self._turn[:0] = turn[ended:]  # what did not come to its end is done again
            if self.loop is not None:
                self.loop.call_soon(self._end_turn)
            raise
        if self.spin is not None:
            self.spin.begin()

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[BaseException | None], None],
        returned: Callable[[Any], None] | None = None,
    ) -> Cancellable:
        task = self.task(coroutine)
        task.add_done_callback(partial(tell_end, done, returned))
        return task

    def sockets_in(self, directory: str) -> list[str]:
        from ..net.unix import sockets_in

        return sockets_in(directory)

    def current_task(self) -> object:
        try:
            return asyncio.current_task()
        except RuntimeError:  # no loop runs here
            return None

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        if self.loop is None:
            self._waiting.append(lambda loop: callback())
        else:
            try:
                self.loop.call_soon_threadsafe(callback)
            except RuntimeError as error:
                if not self.loop.is_closed():
                    raise
                raise WrongLoopError(
                    f"emit() belongs to the event loop {_named(self.loop)}, which is closed"
                ) from error

    def open(self, address: Address, receiver: Receiver, settings: Config) -> Timer:
        from ..net.connect import connect, seconds_for

        self._spin_for(settings)
        steps = connect(self, address, receiver, settings)
        return self.walk(steps, after_servers=seconds_for(address, settings))

    def listen(self, address: Address, acceptor: Acceptor, settings: Config) -> Listener:
        from ..net.listen import listener_at

        self._spin_for(settings)
        listener = listener_at(self, address, acceptor, settings)
        listener.beginning = self.walk(listener.begin(), listens=True)
        return listener

    def bind(self, address: Address, receiver: DatagramReceiver, settings: Config) -> DatagramPort:
        from ..net.udp import Port

        self._spin_for(settings)
        return Port(self, address, receiver)

    def outcome(self, value: T) -> Outcome[T]:
        return AwaitableOutcome(value)

    # ---- what waits for the kernel

    def watch(self, watched: Watched, interest: int, direct: Callable[[], None] | None = None) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on; nothing blocks here, so not ``direct``.

        Listeners and UDP ports are the loop's own matter: beside one, a single link would not be alone.
        """
        if self._poller is not None and isinstance(watched, StreamLink):
            if self.spin is not None:
                self._poller.spin = self.spin
            self._poller.watch(watched, interest)
        elif self.loop is not None and not self.loop.is_closed():
            self._watch_in_loop(self.loop, watched, interest)

    def _watch_in_loop(self, loop: asyncio.AbstractEventLoop, watched: Watched, interest: int) -> None:
        if self._by_itself is None:
            fd = watched.fileno()
            try:
                loop.add_reader(fd, watched.readable) if interest & READ else loop.remove_reader(fd)
                loop.add_writer(fd, watched.writable) if interest & WRITE else loop.remove_writer(fd)
                return
            except NotImplementedError:
                from .loop_proactor import ByItself

                self._by_itself = ByItself(loop, self.task)
        self._by_itself.watch(watched, interest)

    def accept_pipe(self, handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
        """Tell ``done`` that a client is there, or why none can come to this instance."""
        from .loop_pipes import accept_pipe

        assert self.loop is not None
        return accept_pipe(self.loop, handle, done)

    def walk(self, steps: Steps[None], *, listens: bool = False, after_servers: float = 0) -> Timer:
        """Go through these steps in a task, from a later turn on."""
        walk = _LoopWalk(self, steps, listens, after_servers)
        self._begin(walk.begin)
        return walk

    def carry(self, sock: Any, peer: Peer, receiver: Receiver, *, alone: bool) -> Awaitable[None] | None:
        """Make a link of what is connected: at once, or in a task where the loop does it."""
        if peer.transport == "pipe":
            from .loop_pipes import carry_pipe

            assert self.loop is not None
            carry_pipe(self.loop, sock, TransportLink(self, receiver, peer))
        elif self._poller is not None:
            StreamLink(self, sock, peer, receiver).start(alone=False)
        else:
            return self._hand_to_loop(sock, TransportLink(self, receiver, peer))
        return None

    async def _hand_to_loop(self, sock: socket.socket, link: TransportLink) -> None:
        assert self.loop is not None
        await self.loop.connect_accepted_socket(lambda: link, sock)


class _LoopWalk(msgspec.Struct, eq=False):
    """Steps under way in a task, or waiting for a loop."""

    _driver: EventLoopDriver
    _steps: Steps[None]
    _listens: bool
    """These steps end when a server listens: clients of this loop wait for that."""
    _after_servers: float
    """The seconds to wait for such servers first."""
    _cancelled: bool = False
    _task: asyncio.Task[None] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._cancelled:
            return
        task = self._task = self._driver.task(self._run(loop))
        task.add_done_callback(self._ended)
        if self._listens:
            begun = starting.setdefault(loop, weakref.WeakSet())
            begun.add(task)
            task.add_done_callback(begun.discard)

    def cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Steps tell of their own ends; what they do not know of came from a signal's handler."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._steps.close()
            self._driver.interrupted(error)
            if not isinstance(error, PASSING):  # of those the task has told the loop itself, which ends for them
                raise error  # to the loop, which tells of it

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._after_servers and (begun := starting.get(loop)):
            await asyncio.wait(tuple(begun), timeout=self._after_servers)
        steps, resume = self._steps, partial(self._steps.send, None)
        try:
            while True:
                step = resume()
                try:
                    resume = partial(steps.send, await _answer(loop, step))
                except (*PASSING, GeneratorExit, asyncio.CancelledError):
                    raise
                except BaseException as error:  # of the user's own, in a look-up
                    resume = partial(steps.throw, error)
        except StopIteration:
            pass
        finally:
            steps.close()


async def _answer(loop: asyncio.AbstractEventLoop, step: Step) -> Any:
    if isinstance(step, Pause):
        return await asyncio.sleep(step.seconds)
    if isinstance(step, Writable):
        return await _writable(loop, step)
    async with asyncio.timeout(step.seconds):
        if isinstance(step, LookUp):
            return await loop.getaddrinfo(step.host, step.port, family=step.family, type=step.type, flags=step.flags)
        return await step.what


async def _writable(loop: asyncio.AbstractEventLoop, step: Writable) -> bool:
    woken = loop.create_future()
    try:
        loop.add_writer(step.sock, wake_up, woken)
    except NotImplementedError:
        return await _looked_at(loop, step)
    try:
        async with asyncio.timeout(step.seconds):
            await woken
    except TimeoutError:
        return False
    finally:
        loop.remove_writer(step.sock)
    return True


async def _looked_at(loop: asyncio.AbstractEventLoop, step: Writable) -> bool:
    """A Proactor does not tell when a socket is connected: ask now and then."""
    deadline, delay = loop.time() + step.seconds, FIRST_LOOK
    while not any(select.select((), (step.sock,), (step.sock,), 0)):
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_LOOK)
    return True


_steps: weakref.WeakKeyDictionary[asyncio.Task[Any], Generator[Any, None, Any]] = weakref.WeakKeyDictionary()
"""How far each task is that was made of something that is no coroutine by itself."""


class TaskMaterial:
    """Makes a coroutine of what can be awaited: ``create_task`` and ``asyncio.run`` take nothing else."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        raise NotImplementedError

    def send(self, value: Any) -> Any:
        """For asyncio: go on in the task that calls."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can run this: await it, or give it to create_task() or asyncio.run()")
        steps = _steps.get(task)
        if steps is None:
            steps = _steps[task] = self.__await__()
        return steps.send(value)

    def throw(self, *error: Any) -> Any:
        """For asyncio: the task that calls is cancelled."""
        task = asyncio.current_task()
        steps = _steps.get(task) if task is not None else None
        if steps is None:
            self.close()
            steps = self.__await__()
        return steps.throw(*error)

    def close(self) -> None:
        """For asyncio: nobody begins to wait for this."""


AWAIT_IT = "the await is missing: answer = await client.request(…)"
AWAIT_IT_IN_A_HANDLER = f"{AWAIT_IT}. With handlers: {ASKS}"
OF_PROMISES = frozenset({"add_done_callback", "catch", "exception", "finally_"})
USES_OF_RESULTS = (
    *("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__getitem__", "__contains__", "__iter__", "__int__", "__float__"),
)
"""What is done with an answer, and so with its outcome where the await was forgotten. ``bool`` is left: ``a or b``."""


class AwaitableOutcome(Outcome[T], TaskMaterial):
    """An outcome for ``await``: gives the value or raises the error, as often as it is awaited."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.done:
            return "<AwaitableOutcome, not there yet: await it>"
        if self._error is not None:
            return f"<AwaitableOutcome, failed: {self._error!r:.200}; await raises it>"
        return f"<AwaitableOutcome of {self.value!r:.200}: await gives it>"

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            yield from self.wait_on(asyncio.get_running_loop().create_future())
        return self.result()

    def result(self) -> T:
        """The value, or the error raised. Raises ``asyncio.InvalidStateError`` while it is not there yet."""
        if not self.done:
            raise asyncio.InvalidStateError(f"the result is not there yet: {AWAIT_IT_IN_A_HANDLER}")
        return super().result()

    if not TYPE_CHECKING:  # a type checker says it in its own words

        def __getattr__(self, name: str) -> NoReturn:
            why = AWAIT_IT_IN_A_HANDLER if name in OF_PROMISES else AWAIT_IT
            if not name.startswith("__") and hasattr(value := object.__getattribute__(self, "value"), name):
                why = f"it is one of {value!r:.80}, which await gives; with ipc it is ipc.server, or ipc.of.ID"
            raise AttributeError(f"there is no {name!r} of this: {why}", name=name, obj=self)

    def close(self) -> None:
        """For asyncio: the task that was to wait is cancelled before its first step."""
        self.waiting += 1
        self.stop_waiting()


def _refuse_use(outcome: object, *_: object) -> NoReturn:
    raise TypeError(f"this is no answer but {outcome!r}: {AWAIT_IT}")


for _verb in USES_OF_RESULTS:
    setattr(AwaitableOutcome, _verb, _refuse_use)


def _named(loop: asyncio.AbstractEventLoop) -> str:
    state = "closed" if loop.is_closed() else "running" if loop.is_running() else "not running"
    return f"<{type(loop).__name__} at {id(loop):#x}, {state}>"


class LoopPoller:
    """The sockets of one loop: a single one it watches itself, several are hung into it as one descriptor.

    With a descriptor each, as the loop's own transports have them, a server with 1,000 busy connections took 1.4 times
    as long for each message. With the one descriptor for a single socket, too, a round trip took 1.1 times as long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # which is the key that this is found by
        self._alone: Watched | None = None
        self._interest = 0
        self.spin: LoopSpin | None = None
        """Told of each read, once there is one."""
        self._poller: Poller | None = None

    def watch(self, watched: Watched, interest: int) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on."""
        loop, poller = self._loop(), self._poller
        if loop is not None and loop.is_closed():
            loop = None
        if poller is None:
            if loop is None:
                return
            if self._alone is None or self._alone is watched:
                self._watch_alone(loop, watched, interest)
                return
            poller = self._gather(loop, self._alone)
        poller.watch(watched, interest)
        if not poller:
            self._poller = None
            if loop is not None:
                loop.remove_reader(poller.fileno())
            poller.close()

    def _watch_alone(self, loop: asyncio.AbstractEventLoop, watched: Watched, interest: int) -> None:
        fd, changed = watched.fileno(), interest ^ self._interest
        if interest:  # first, so that what is interrupted below is forgotten all the same
            self._alone, self._interest = watched, self._interest | interest
        if changed & READ:
            loop.add_reader(fd, self._heard(watched.readable)) if interest & READ else loop.remove_reader(fd)
        if changed & WRITE:
            loop.add_writer(fd, watched.writable) if interest & WRITE else loop.remove_writer(fd)
        self._alone, self._interest = (watched, interest) if interest else (None, 0)

    def _heard(self, call: Callable[..., object], *arguments: Any) -> Callable[[], object]:
        """``call``, and whoever looks on is told of it."""
        spin = self.spin
        if spin is None:
            return partial(call, *arguments) if arguments else call

        def heard() -> None:
            call(*arguments)
            spin.begin()

        return heard

    def _gather(self, loop: asyncio.AbstractEventLoop, alone: Watched) -> Poller:
        """Another one comes: from now on the loop watches them all together."""
        interest = self._interest
        poller = Poller()
        try:
            poller.watch(alone, interest)
            loop.add_reader(poller.fileno(), self._heard(poller.poll, 0))
        except OSError:  # out of descriptors, memory or watches: the first one is read as before
            poller.watch(alone, 0)
            poller.close()
            raise
        self._watch_alone(loop, alone, 0)
        self._poller = poller
        return poller


_poller: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopPoller]] = weakref.WeakKeyDictionary()
"""What watches each loop's sockets, kept alive by its drivers: links know their loop, and would keep it alive here."""


def _poller_of(loop: asyncio.AbstractEventLoop) -> LoopPoller | None:
    """What watches the sockets of this loop; None where the loop reads and writes them better by itself.

    A Proactor cannot watch, and ``select`` has no descriptor to hang into a loop. uvloop reads and writes in C: with
    sockets that it only watches a message cost 1.1 to 1.3 times as much.
    """
    if not (isinstance(loop, asyncio.SelectorEventLoop) and hasattr(selectors.DefaultSelector, "fileno")):
        return None
    found = _poller.get(loop)
    poller = None if found is None else found()
    if poller is None:
        poller = LoopPoller(loop)
        _poller[loop] = weakref.ref(poller)
    return poller


def _raise(error: BaseException) -> NoReturn:
    raise error


def _to_the_loop(told: F) -> F:
    """What ends the program out of a handler is raised in a turn of its own.

    uvloop takes it for a fault of the connection where it is raised by what a transport tells, and goes on.
    """

    @wraps(told)
    def tell(link: TransportLink, *arguments: Any) -> Any:
        try:
            return told(link, *arguments)
        except PASSING as error:
            link.end_with(error)
            return True  # behind the peer's end: the link is open until the session ends it

    return cast(F, tell)


class TransportLink(PlainLink, asyncio.BufferedProtocol):
    """One connection where the loop reads and writes: asyncio's protocol, and the link that a session writes to."""

    __slots__ = (
        "_buffer",
        "_driver",
        "_ended",
        "_full",
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
        self._ended = self._peer_ended = self._lost = self._paused = self._full = False
        self._lookout: Lookout | None = None  # made when reading is paused for the first time
        self.peer = peer
        self.write: Callable[[bytes], None]

    def end_with(self, error: BaseException) -> None:
        """Let this come out of the loop, which then runs no more; behind the turn in which who makes this link ends."""
        loop = self._driver.loop
        if loop is None:
            raise error
        loop.call_soon(loop.call_soon, _raise, error)

    # asyncio's side

    @_to_the_loop
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour, not by inheritance
        self._transport.set_write_buffer_limits(high=0)
        self.write = self._transport.write
        self._receiver.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:  # as _to_the_loop, without its call for each read
            self._receiver.received(bytes(self._buffer[:nbytes]))
        except PASSING as error:
            self.end_with(error)
        if self._driver.spin is not None:
            self._driver.spin.begin()

    @_to_the_loop
    def eof_received(self) -> bool:
        self._peer_ended = True
        self._receiver.ended()
        return True  # open until the session has written what it holds

    @_to_the_loop
    def pause_writing(self) -> None:
        self._full = True
        self._receiver.pause()

    @_to_the_loop
    def resume_writing(self) -> None:
        self._full = False
        if not self._lost:
            self._receiver.writable()

    @_to_the_loop
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.write = _to_nobody  # uvloop's transport raises from here on
        if self._lookout is not None:
            self._lookout.stop()
            self._lookout = None
        if exc is not None and os.name == "posix":  # elsewhere a socket is no file descriptor
            self._read_the_rest()
        receiver, self._receiver = self._receiver, NOBODY
        del self._transport  # a Proactor's knows its protocol for ever
        receiver.lost(tcp.link_failed(exc))

    def _read_the_rest(self) -> None:
        """A loop that fails to write reads no more; what the peer sent before it went away is still with the kernel.

        Both asyncio's transports and uvloop's close the socket after they have told that the connection is lost.
        """
        fd = self._fileno()
        with contextlib.suppress(OSError):
            for _ in range(LAST_READS):
                data = os.read(fd, len(self._buffer))
                if not data:
                    return
                self._receiver.received(data)

    # the session's side

    def pending_bytes(self) -> int:
        if self._lost:
            return 0
        return self._transport.get_write_buffer_size() or self._left_behind()

    def _left_behind(self) -> int:
        """How much uvloop had to write when it was closed: its transport does not know any more, only that it had."""
        loop = self._driver.loop
        return int(self._full and loop is not None and loop.is_closed())

    def unread_bytes(self) -> int | None:
        if self.peer.transport != "unix" or self._is_closing():
            return None
        unread = unread_bytes(self._transport.get_extra_info("socket"))
        return None if unread is None else unread + self.pending_bytes()

    def all_arrived(self) -> bool:
        sock = None if self._lost else self._transport.get_extra_info("socket")
        if sock is None:
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
        if self._lost:
            return
        if self._driver.loop is None:  # it was closed, and its transports with it, of which they tell nobody
            self._driver.call_later(0, self._forsaken)
        else:
            self._transport.abort()

    def _forsaken(self) -> None:
        if not self._lost:
            self.connection_lost(None)

    def pause_reading(self) -> None:
        if not self._is_closing():
            self._paused = True
            self._transport.pause_reading()
            if self._lookout is None:
                self._lookout = Lookout(self._driver, self._fileno, self._is_unread, self._tell_of_the_end)
            self._lookout.begin()

    def _is_unread(self) -> bool:
        return self._paused and not (self._peer_ended or self._is_closing())

    def _is_closing(self) -> bool:
        return self._lost or self._transport.is_closing()

    def _fileno(self) -> int:
        sock = self._transport.get_extra_info("socket")  # a named pipe has none
        fd: int = -1 if sock is None else sock.fileno()
        return fd

    def _tell_of_the_end(self) -> None:
        self._receiver.ending()

    def resume_reading(self) -> None:
        if not self._is_closing():
            self._paused = False
            self._transport.resume_reading()


def _to_nobody(data: bytes) -> None:
    """What is written to a link that is gone."""
