"""What a transport waits for; a driver does the waiting.

Connecting and looking up are generators, written once for each transport: they yield a step and are sent what came of
it. The asyncio driver walks through them in a task, the thread's driver from its poller and its timers, the memory
driver on its virtual clock. Who walks no further closes the generator, which closes what it had opened.

Links that are up do not wait in steps: they say which events they want, and are called for each.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from ..core.seam import Timer

if TYPE_CHECKING:
    from ..core.outcome import Outcome

__all__ = [
    "READ",
    "WRITE",
    "Await",
    "LookUp",
    "Pause",
    "Resolved",
    "Step",
    "Steps",
    "Walk",
    "Watched",
    "Watcher",
    "Writable",
]

T = TypeVar("T")

Resolved: TypeAlias = tuple[Any, Any, int, str, Any]
"""One line of ``getaddrinfo``: family, type, protocol, canonical name, socket address."""


class LookUp(NamedTuple):
    """The addresses of a host name; the answer is what ``getaddrinfo`` gives, and what it raises is raised."""

    host: str
    port: int
    family: int
    type: int
    flags: int = 0
    seconds: float | None = None
    """The time limit, where the driver can keep one; past it ``TimeoutError`` is raised."""

    def at_once(self) -> list[Resolved]:
        """Ask the system's resolver, and wait for it."""
        return socket.getaddrinfo(self.host, self.port, family=self.family, type=self.type, flags=self.flags)


class Writable(NamedTuple):
    """The kernel takes more, or the connection came about, or it failed; False when the time is over."""

    sock: Any
    seconds: float


class Pause(NamedTuple):
    """Nothing but time."""

    seconds: float


class Await(NamedTuple):
    """That an outcome is settled, or what a user's ``async def`` gives.

    A driver without coroutines raises ``NotImplementedError`` for the second.
    """

    what: Outcome[Any] | Awaitable[Any]
    seconds: float | None = None


Step: TypeAlias = LookUp | Writable | Pause | Await
Steps: TypeAlias = Generator[Step, Any, T]


class Walk(msgspec.Struct, eq=False):
    """Steps under way in a driver without tasks, which answers each with ``go`` or ``fail``."""

    _steps: Steps[None]
    _wait: Callable[[Step, Walk], Timer | None]  # begins to wait; never answers at once
    _waiting: Timer | None = None
    _cancelled: bool = False
    _is_running: bool = False

    def go(self, answer: Any = None) -> None:
        """The step is done, with this answer."""
        self._go_on(partial(self._steps.send, answer))

    def fail(self, error: BaseException) -> None:
        """The step failed."""
        self._go_on(partial(self._steps.throw, error))

    def _go_on(self, resume: Callable[[], Step]) -> None:
        self._waiting = None
        while not self._cancelled:
            self._is_running = True
            try:
                step = resume()
            except StopIteration:
                return
            finally:
                self._is_running = False
            if self._cancelled:  # meanwhile, in what the steps called
                self._steps.close()
                return
            try:
                self._waiting = self._wait(step, self)
                return
            except Exception as error:  # the kernel may have no room to wait
                resume = partial(self._steps.throw, error)

    def cancel(self) -> None:
        """Go no further, and close what is open; nothing where it has ended."""
        self._cancelled = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        if not self._is_running:
            self._steps.close()


# ---- links that are up

READ, WRITE = 1, 2
"""What a watched socket waits for."""


class Watched(Protocol):
    """A socket that is waited for."""

    def fileno(self) -> int: ...
    def readable(self) -> bool | None:
        """There is something to read, to accept, or an end. True where one read took all it may: there may be more."""

    def writable(self) -> None:
        """The kernel takes more, or the connection came about, or it failed."""

    def discard(self) -> None:
        """Close it and tell nobody."""


class Watcher(Protocol):
    """What a link needs of its driver."""

    undisturbed: BaseException | None
    """What was raised in a ``direct`` read that had brought nothing yet: nothing is in doubt."""

    def watch(self, watched: Watched, interest: int, direct: Callable[[], None] | None = None) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...
