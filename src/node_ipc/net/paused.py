"""A link that is not read is looked at all the same: whether the other end has ended, or is gone.

No read would tell (what was sent before waits in front of the end), and to a loop's own transports nothing else does.
``poll(2)`` says it without reading, twice a second, and only for links that are paused.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

__all__ = ["LOOK_SECONDS", "Lookout", "is_ending"]

LOOK_SECONDS = 0.5
"""Between two looks."""


class Clock(Protocol):
    """What this needs of a driver."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any: ...


def is_ending(fd: int) -> bool:
    """Whether the other end of this socket sends nothing more; False also where this system cannot tell."""
    if not hasattr(select, "poll") or fd < 0:
        return False
    poller = select.poll()
    poller.register(fd, getattr(select, "POLLRDHUP", 0))  # hang-ups and errors are told unasked
    return bool(poller.poll(0))


class Lookout(msgspec.Struct, eq=False):
    """Looks after one link for as long as it is paused, and says once that its end has come.

    The timer is left alone when reading goes on, and runs out by itself: links that pause and resume for each message
    cost no timer each.
    """

    _clock: Clock
    _fileno: Callable[[], int]
    _is_paused: Callable[[], bool]
    _tell: Callable[[], None]
    _timer: Any = None

    def begin(self) -> None:
        """Reading is paused."""
        if self._timer is None:
            self._timer = self._clock.call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """The link is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._is_paused():
            return
        if is_ending(self._fileno()):
            self._tell()
        else:
            self.begin()
