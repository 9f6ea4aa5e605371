"""Keeps a node's bus connected: one attempt after the other, for as long as the server serves."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..config.foreign import PASSING
from ..core.seam import nothing
from ..errors import ConnectError, IPCError
from .broker_url import why_tls_failed

if TYPE_CHECKING:
    from ..core.seam import Cancellable, Driver
    from .bus import Bus
    from .node import Node

__all__ = ["Keeper", "why_unreachable"]

CONNECT_SECONDS = 5.0
"""How long an attempt may take at the most, and how long nothing is said of attempts that hang."""
FIRST_SECONDS = 1.0
"""How long the first one may. Where it lost its packets with the network the kernel waits longer and longer before it
sends them again, and a new attempt is sooner there."""
ABORT_SECONDS = 1.0
FIRST_DELAY, LONGEST_DELAY, GROWTH = 0.05, 0.5, 1.6
"""Seconds between attempts: whoever waits for a broker that is back waits no second. Both kinds grow so."""


class Keeper:
    """One node and its bus. To the node it is the line, whose calls never fail: where they do, the bus is down."""

    def __init__(self, bus: Bus, node: Node, driver: Driver, fault: Callable[[IPCError], None]) -> None:
        self._bus = bus
        self.size_option, self.has_groups = bus.size_option, bus.has_groups
        self._node = node
        self._driver = driver
        self._fault = fault
        self._is_up = False
        self._connection = 0
        self._lost: asyncio.Event | None = None
        self._tasks: set[Cancellable] = set()
        self._leaving: set[Cancellable] = set()
        self._has_begun_to_leave = False
        self._patience = CONNECT_SECONDS
        self._until = math.inf  # the end is not to take longer
        self._confirming: asyncio.Timeout | None = None
        self._closed: Callable[[], None] | None = None
        self.is_open = False
        """Whether there is a connection, or one is being made."""
        self.unconfirmed: Exception | None = None
        """Why it is not known, at the end, whether the broker has all that it was given."""

    # ---- life

    def open(self) -> None:
        """Connect, and stay connected."""
        self.is_open = True
        self._node.finished = self._node_finished
        self._spawn(self._keep())

    def close(self, seconds: float, closed: Callable[[], None]) -> None:
        """Let the node send what waits, then disconnect, all within so many seconds, and call ``closed``."""
        self._closed = closed
        self._until = self._driver.now() + seconds
        self._node.close(seconds)

    def abort(self) -> None:
        """Be gone at once; the connection has a second to end in order."""
        self._patience = ABORT_SECONDS
        if self._confirming is not None:
            self._driver.call_later(0, self._hurry)
        for task in tuple(self._tasks - self._leaving):
            task.cancel()
        self._node.abort()
        self._node_finished()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], None] = nothing) -> Cancellable:
        """``ended`` is called however it ends, also where it was cancelled before it began."""
        tasks = self._tasks

        def done(error: BaseException | None) -> None:
            tasks.discard(task)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self._fail(error)
            ended()

        task = self._driver.spawn(coroutine, done)
        tasks.add(task)
        return task

    async def _keep(self) -> None:
        while self._closed is None:
            limit = await self._connect()
            self._lost = asyncio.Event()
            self._is_up = True
            self._connection += 1
            self._node.up(self, limit)
            await self._lost.wait()

    async def _connect(self) -> int | None:
        """Try until it is there, which may be never; returns the largest message that it takes."""
        delay, patience, told, began = FIRST_DELAY, FIRST_SECONDS, False, self._driver.now()
        while True:
            try:
                async with asyncio.timeout(patience):
                    return await self._bus.connect(self)
            except PASSING:
                raise
            except Exception as error:
                hangs = isinstance(error, TimeoutError) and self._driver.now() - began < CONNECT_SECONDS
                if not told and not hangs:
                    told = True
                    why = f"{why_unreachable(self._bus, error)}. What is for other servers waits"
                    unreachable = ConnectError(f"{why}; it is tried again until it is there")
                    unreachable.__cause__ = error
                    self._fault(unreachable)
            await asyncio.sleep(delay * (0.8 + 0.4 * self._driver.random()))
            delay = min(delay * GROWTH, LONGEST_DELAY)
            patience = min(patience * GROWTH, CONNECT_SECONDS)

    def _node_finished(self) -> None:
        """The node has said all it had to say, or there is nobody to say it to."""
        if self.is_open and not self._leaving:
            self._leave()

    def _leave(self) -> None:
        self._leaving = {self._spawn(self._disconnect(), self._disconnected)}

    async def _disconnect(self) -> None:
        self._has_begun_to_leave = True
        was_up, self._is_up = self._is_up, False
        if self._lost is not None:
            self._lost.set()
        try:
            async with asyncio.timeout(self._left()) as self._confirming:
                if not was_up:
                    raise ConnectionError("the bus was down at the end")
                await self._bus.confirm()
        except Exception as error:
            self.unconfirmed = error
        finally:
            self._confirming = None
            with contextlib.suppress(Exception):  # whatever became of it, it is over
                async with asyncio.timeout(max(self._left(), ABORT_SECONDS)):
                    await self._bus.close()

    def _hurry(self) -> None:
        """The end is under way, and is to take no longer than that of an abort."""
        if self._confirming is not None and not self._confirming.expired():
            self._confirming.reschedule(asyncio.get_running_loop().time() + self._left())

    def _left(self) -> float:
        """Seconds that what is done at the end may take from now on."""
        return max(min(self._patience, self._until - self._driver.now()), 0.0)

    def _disconnected(self) -> None:
        if not self._has_begun_to_leave:  # an event loop that ends cancels all tasks, also one that has not begun
            self._leave()
            return
        self.is_open, self._until = False, math.inf
        for task in tuple(self._tasks):
            task.cancel()
        closed, self._closed = self._closed, nothing
        if closed is not None:
            closed()

    # ---- the node's line

    def publish(self, subject: str, data: bytes) -> bool:
        return bool(self._do(self._bus.publish, subject, data))

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        self._do(self._bus.request, subject, data, unheard)

    def subscribe(self, subject: str, group: str = "") -> None:
        self._do(self._bus.subscribe, subject, group)

    def unsubscribe(self, subject: str) -> None:
        self._do(self._bus.unsubscribe, subject)

    def confirm(self, confirmed: Callable[[], None]) -> None:
        self._spawn(self._confirm(confirmed, self._connection))

    async def _confirm(self, confirmed: Callable[[], None], connection: int) -> None:
        try:
            await self._bus.confirm()
        except Exception:
            if self._connection != connection:
                return  # a client of NATS gives up its question long after its connection, which is no end of the next
            raise
        if self._is_up and self._connection == connection:
            confirmed()

    def _do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call of the bus; one that fails is the end of the connection."""
        if not self._is_up:
            return True
        try:
            return call(*arguments)
        except PASSING:
            raise
        except Exception as error:
            self._fail(error)
            return True

    def _fail(self, error: BaseException) -> None:
        if self._is_up:
            lost = error if isinstance(error, Exception) else None
            self._driver.call_later(0, lambda: self.lost(lost))

    # ---- what the bus tells

    def heard(self, subject: str, data: bytes) -> None:
        if self._is_up:
            self._node.heard(subject, data)

    def writable(self) -> None:
        if self._is_up:
            self._node.writable()

    def missed(self) -> None:
        self._node.missed()

    def lost(self, error: Exception | None) -> None:
        if not self._is_up:
            return
        self._is_up = False
        self._node.down(error)
        if self._lost is not None:
            self._lost.set()


def why_unreachable(bus: Bus, error: BaseException) -> str:
    """In words, and what to do about it; without secrets."""
    silence: str = getattr(bus, "silence", "") if isinstance(error, TimeoutError) else ""
    of_tls = why_tls_failed(error) if bus.health().startswith(("tls:", "rediss:")) else None
    unsaid = "nothing came in time" if isinstance(error, TimeoutError) else type(error).__name__
    words = (silence or of_tls or str(error) or unsaid).rstrip(".")
    return f"the bus ({bus.name}, {bus.health()}) cannot be reached: {words:.600}"
