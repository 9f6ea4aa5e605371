"""Who goes next: a driver in memory whose every choice comes from a seed.

What a real machine leaves open is a choice here: which process runs, which of its links is served first, how many
callbacks there are in a turn, whether a timer or a byte that come at the same moment is first, and how late a busy
process is (up to ``LAG`` seconds). What it keeps is kept: what one link brings, what one process has set aside for
later and its timers each stay in their order.

Two ways to choose. By chance: whoever can go on is as likely as everybody else. By priorities, as in probabilistic
concurrency testing (Burckhardt et al., 2010): whoever can go on and has the highest goes, for as long as it can, and at
so many points of the run, which the seed chooses, whoever would be next becomes the last. A fault that needs ``d``
processes to come in one certain order is found with ``d - 1`` such points sooner than by chance.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from node_ipc.config.address import Address
from node_ipc.config.config import Config
from node_ipc.core.seam import NOBODY, Acceptor, Flushable, Peer, Receiver
from node_ipc.drivers.memory import MemoryDriver, _Call, end_coroutine
from node_ipc.drivers.memory_kernel import MemoryListener, MemorySocket
from node_ipc.drivers.memory_link import Connection, Direction, MemoryLink

CLOCK = "the clock"
GRID = 0.05
"""Seconds: all that is due comes at multiples of this, so that much is due at the same moment, in any order."""
LAG = 0.2
"""Seconds that somebody who could go on may be kept from it while others go on."""
MOST_IN_A_ROW = 60
"""Turns after which the one with the highest priority gives way: who answers himself goes on for ever."""


class Schedule:
    """Chooses. ``changes``: at how many points priorities change; None: by chance, without priorities."""

    def __init__(self, seed: int, changes: int | None, length: int) -> None:
        """``length``: about how many choices there will be, among which the points are."""
        self._random = random.Random(f"schedule {seed}")
        self._by_priority = changes is not None
        self._points = {self._random.randrange(length) for _ in range(changes or 0)}
        self._priorities: dict[str, float] = {}
        self._last, self._in_a_row, self._lowest = "", 0, 0.0
        self.choices = 0
        """How many were made."""
        self.open_choices = 0
        """How many of them were between two or more."""

    def choose(self, names: list[str]) -> str:
        """One of these."""
        self.choices += 1
        self.open_choices += len(names) > 1
        return self._highest(names) if self._by_priority else names[int(self._random.random() * len(names))]

    def be_fair(self) -> None:
        """By chance from now on: everybody gets his turn."""
        self._by_priority = False

    def _highest(self, names: list[str]) -> str:
        for name in names:
            if name not in self._priorities:
                self._priorities[name] = self._random.random()
        best = max(names, key=self._priorities.__getitem__)
        self._in_a_row = self._in_a_row + 1 if best == self._last else 0
        self._last = best
        if self.choices in self._points or self._in_a_row >= MOST_IN_A_ROW:
            self._lowest -= 1
            self._priorities[best] = self._lowest
        elif best == CLOCK:  # else it would go on for ever, or the others would
            self._priorities[CLOCK] = self._lowest - 1 + (2 - self._lowest) * self._random.random()
        return best


class Due(_Call, kw_only=True):
    """A call that is due, in the process that asked for it."""

    queue: str
    process: str
    ready_at: float = 0.0


class Road(Connection):
    """A link, with who is at its ends and what they wrote."""

    def __init__(self, driver: ScheduledDriver, address: Address, receiver: Any) -> None:
        self.number = len(driver.roads)
        self.processes: dict[MemoryLink, str] = {}
        super().__init__(driver, address, receiver)
        self.processes[self.client] = driver.process
        self.client_session = receiver
        self.server_session: Any = None
        self.written: dict[MemoryLink, list[bytes]] = {self.client: [], self.server: []}
        """What each end was given, whatever became of it."""
        for link, written in self.written.items():
            link.write = partial(_write, link.write, written)  # type: ignore[method-assign]

    def open(self, listener: MemoryListener) -> None:
        assert isinstance(listener, Place)
        self.processes[self.server] = listener.process
        super().open(listener)

    def name(self, link: MemoryLink) -> str:
        return f"link {self.number} of {self.processes[link]}"


def _write(write: Callable[[bytes], None], written: list[bytes], data: bytes) -> None:
    written.append(bytes(data))
    write(data)


class Place(MemoryListener):
    """An address that is served, with the process that does."""

    process: str


class ScheduledDriver(MemoryDriver):
    """A memory driver that asks its schedule."""

    def __init__(self, schedule: Schedule, seed: int) -> None:
        super().__init__(seed=seed)
        self.schedule = schedule
        self.process = "nobody"
        """On whose behalf code runs."""
        self.roads: list[Road] = []
        """All links that there ever were."""
        self.deepest = 0
        """How many could go on at once, at the most."""
        self._queues: dict[str, deque[Due]] = {}
        self._turns: dict[str, list[Flushable]] = {}
        self._next = ""
        self._tasks_of: dict[Any, str] = {}

    def keep_failure(self, failure: BaseException) -> None:
        """Its handlers fail on purpose."""

    # ---- what is due

    def call_later(self, delay: float, callback: Callable[[], None]) -> Due:
        self._numbers += 1
        queue, process = self._whose(callback, delay > 0)
        when = self._now if delay <= 0 else math.ceil((self._now + delay) / GRID - 1e-6) * GRID
        due = Due(when, self._numbers, callback, queue=queue, process=process)
        if delay <= 0:
            self._enqueue(due)
        else:
            heapq.heappush(self._timers, due)
        return due

    def _whose(self, callback: Any, later: bool) -> tuple[str, str]:
        function = callback.func if isinstance(callback, partial) else callback
        owner = getattr(function, "__self__", None)
        if isinstance(owner, Direction):
            link = owner.writer if function.__name__ == "_refill" else owner.reader
        elif isinstance(owner, MemoryLink):
            link = owner
        elif isinstance(owner, Connection):
            link = owner.server
        else:
            return f"{'timers' if later else 'calls'} of {self.process}", self.process
        road = link.connection
        assert isinstance(road, Road)
        if function.__name__ == "_open":
            road.server_session = link._receiver
        return road.name(link), road.processes[link]

    def _enqueue(self, due: Due) -> None:
        due.ready_at = self._now
        queue = self._queues.get(due.queue)
        if queue is None:
            queue = self._queues[due.queue] = deque()
        queue.append(due)

    def names(self) -> list[str]:
        """Who can go on now."""
        while self._timers and self._timers[0].when <= self._now:
            due = heapq.heappop(self._timers)
            assert isinstance(due, Due)
            if not due.cancelled:
                self._enqueue(due)
        for name in [name for name, queue in self._queues.items() if queue[0].cancelled]:
            queue = self._queues[name]
            while queue and queue[0].cancelled:
                queue.popleft()
            if not queue:
                del self._queues[name]
        names = [*self._queues, *self._turns]
        self.deepest = max(self.deepest, len(names))
        return names

    def turn_due(self) -> bool:
        return bool(self.names())

    def may_pass_time(self) -> bool:
        """Whether the clock may go on to what is due next."""
        due = self.next_due()
        if due is None or self._turns:
            return False
        return all(due <= queue[0].ready_at + LAG for queue in self._queues.values())

    def pass_time(self) -> None:
        """Go on to the next moment at which something is due."""
        due = self.next_due()
        assert due is not None
        self._now = max(self._now, due)

    # ---- what is done

    def perform(self, name: str) -> None:
        """Let this one go on."""
        self._next = name
        self.run_turn()

    def _run_turn(self) -> None:
        name = self._next or self.schedule.choose(self.names())
        self._next = ""
        if name in self._turns:
            self.process = name.removeprefix("turn of ")
            for session in self._turns.pop(name):
                session.turn_ended()
            return
        queue = self._queues[name]
        due = queue.popleft()
        if not queue:
            del self._queues[name]
        if not due.cancelled:
            self.process = due.process
            due.callback()

    def turn_ends(self, session: Flushable) -> bool:
        self._turns.setdefault(f"turn of {self.process}", []).append(session)
        return True

    def spawn(self, coroutine: Any, *told: Any) -> Any:
        task = super().spawn(coroutine, *told)
        self._tasks_of[task] = self.process
        task.add_done_callback(self._tasks_of.pop)
        return task

    # ---- links

    def carry(self, sock: MemorySocket, peer: Peer, receiver: Receiver, *, alone: bool) -> None:
        road = Road(self, sock.address, receiver)
        self.roads.append(road)
        self.connections.append(road)
        road.open(sock.listener)

    def listen(self, address: Address, acceptor: Acceptor, settings: Config) -> MemoryListener:
        place = Place(self, address, acceptor, settings)
        place.process = self.process
        return place

    # ---- processes

    def kill(self, process: str) -> None:
        """This process is gone: nothing of it runs any more, and the kernel closes its links and its address."""
        for task in [task for task, owner in self._tasks_of.items() if owner == process]:
            self._tasks_of.pop(task)
            self.tasks.discard(task)
            end_coroutine(task.get_coro())
        self._turns.pop(f"turn of {process}", None)
        for name in (f"calls of {process}", f"timers of {process}"):
            for due in self._queues.pop(name, ()):
                due.cancel()
            for timer in self._timers:
                if isinstance(timer, Due) and timer.queue == name:
                    timer.cancel()
        for road in [each for each in self.connections if isinstance(each, Road)]:
            for link, owner in road.processes.items():
                if owner == process:
                    link._receiver = NOBODY
                    link.abort()
        for place in list(self.listeners.values()):
            if isinstance(place, Place) and place.process == process:
                place.is_closed = True
                del self.listeners[place._address]

    def timers_of(self, process: str) -> int:
        """How many timers this process has."""
        name = f"timers of {process}"
        return sum(isinstance(timer, Due) and timer.queue == name and not timer.cancelled for timer in self._timers)

    def left(self) -> list[str]:
        """What is due, some time: by whom."""
        later = [timer.queue for timer in self._timers if isinstance(timer, Due) and not timer.cancelled]
        return [*self.names(), *later]
