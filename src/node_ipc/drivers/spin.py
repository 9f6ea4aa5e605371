"""Looking again for a while before waiting (``config.spin``), and no longer once that has brought nothing.

A wait that blocks gives its core away and gets it back when something came, which takes 10 to 30 µs: more than the
other side needs for a short answer. Whoever looks on instead pays with processor time, so it ends by itself: after
``MOST_MISSES`` times in vain a driver waits at once, until a wait was so short again that looking would have done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..config.config import Config

__all__ = ["MOST_MISSES", "LoopSpin", "Spin", "spin_of"]

MOST_MISSES = 8
"""So many times in a row nothing came while a driver looked on: it stops doing so."""
WAKING_SECONDS = 50e-6
"""What waking costs: a wait that is longer than looking on by no more than this would have been spared."""


class Spin:
    """For how long one driver looks on, and whether it does for now."""

    __slots__ = ("_misses", "_now", "_seconds")

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self._now = now
        self._seconds = seconds
        self._misses = 0

    def wait(self, limit: float | None, look: Callable[[float | None], bool]) -> bool:
        """``look(limit)``, which waits so many seconds at most and says whether something came; but first look on."""
        begun = self._now()
        if self._misses < MOST_MISSES and (limit is None or limit > self._seconds):
            end = begun + self._seconds
            while not look(0.0):
                if self._now() >= end:
                    break
            else:
                self._misses = 0
                return True
            self._misses += 1
        came = look(limit)
        if came and self._now() - begun <= self._seconds + WAKING_SECONDS:
            self._misses = 0
        return came


class LoopSpin:
    """The same for an event loop, which is kept from waiting: a call that is due at once makes the next one.

    It begins when something came or went, since an answer may be near; whatever else the loop has to do goes on.
    """

    __slots__ = ("_end", "_last", "_loop", "_misses", "_seconds", "_under_way")

    def __init__(self, loop: Loop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._misses = 0
        self._last = self._end = 0.0
        self._under_way = False

    def begin(self) -> None:
        """Something came, or went."""
        now = self._loop.time()
        if now - self._last <= self._seconds + WAKING_SECONDS:
            self._misses = 0
        self._last = now
        if self._misses < MOST_MISSES:
            self._end = now + self._seconds
            if not self._under_way:
                self._under_way = True
                self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._loop.time() < self._end:
            self._loop.call_soon(self._go_on)
        else:
            self._under_way = False
            self._misses += 1


class Loop(Protocol):
    """What this needs of an event loop."""

    def time(self) -> float: ...
    def call_soon(self, callback: Callable[[], None]) -> object: ...


def spin_of(before: Spin | None, settings: Config, now: Callable[[], float]) -> Spin | None:
    """How a driver looks on that had ``before`` and gets an endpoint with these settings."""
    if not settings.spin:
        return before
    spin = before or Spin(now, 0.0)
    spin._seconds = max(spin._seconds, settings.spin / 1e6)
    return spin
