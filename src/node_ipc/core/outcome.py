"""How something that takes time ends: not yet, well, or with an error.

``start``, ``connect``, ``close`` and ``stop`` return one. The asyncio driver's can be awaited, the blocking front
pumps until it is settled, and whoever does not care drops it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from .signature import signature_of

__all__ = ["ASKS", "Outcome", "Progress", "Unread", "refuse_no_bool", "seconds", "seconds_to_end", "wake_up"]

T = TypeVar("T")
Progress: TypeAlias = Callable[[Any], Any]
"""What hears how far a request is: ``progress(data)``."""
ASKS = "async def ask(): print(await client.request(…)), and client.on('connect', ask), or any async handler"
"""Where an answer is awaited on the callback front."""


class Unread:
    """Hangs on an outcome that ended with an error: what tells it where that goes and nobody has looked at it.

    So only what failed costs. When the interpreter takes its modules down, nothing is told: what would tell goes too.
    """

    __slots__ = ("tell",)

    def __init__(self, tell: Callable[[], None]) -> None:
        self.tell: Callable[[], None] | None = tell

    def __del__(self) -> None:
        if self.tell is not None and sys.meta_path is not None:
            self.tell()


class Outcome(Generic[T]):
    """Settled once, with a value or with an error."""

    __slots__ = ("_error", "_then", "_unread", "abandon", "done", "holds", "value", "waiting")

    def __init__(self, value: T) -> None:
        self.value = value
        """What is given once it went well (the client, the server)."""
        self.done = False
        self._error: Exception | None = None
        self._unread: Unread | None = None
        self.abandon: Callable[[], None] | None = None
        """Called when whoever waited stops waiting, where that makes a difference (a request is forgotten)."""
        self.waiting = 0
        """How many coroutines wait for it."""
        self._then: list[Callable[[], object]] = []
        self.holds: Callable[[T], bool] | None = None
        """Whether what its name says is so of the value now, as of ``client.connected``; None: it says nothing."""

    def __bool__(self) -> bool:
        return self.holds is None or self.holds(self.value)

    @property
    def error(self) -> Exception | None:
        """The error that it ended with, or None."""
        self.looked_at()
        return self._error

    def looked_at(self) -> None:
        """Whoever asked knows how it ended, or wants to know no more."""
        if self._unread is not None:
            self._unread.tell = None
            self._unread = None

    def settle(self, error: Exception | None = None, unread: Callable[[], None] | None = None) -> None:
        """It ended; the first time counts.

        Args:
            unread: called when this outcome goes and nobody has looked at the error; by whatever thread drops it.
        """
        if self.done:
            return
        self.done, self._error = True, error
        if unread is not None and error is not None and not self.waiting:
            self._unread = Unread(unread)
        then, self._then = self._then, []
        for hear in then:
            hear()

    def then(self, hear: Callable[[], object]) -> None:
        """Call ``hear()`` when it ends, at once if it has: without what it ended with, unlike a promise's of Node.

        Raises ``TypeError`` for a function that takes a result.
        """
        if not isinstance(hear, partial) and (hear is print or signature_of(hear).required):
            raise TypeError(
                f"then() calls a function without the result, and {hear!r:.80} takes one: await gives it. With "
                f"handlers: {ASKS}"
            )
        self._when_done(hear)

    def _when_done(self, hear: Callable[[], object]) -> None:
        if self.done:
            hear()
        else:
            self._then.append(hear)

    def forget(self, hear: Callable[[], object]) -> None:
        """Do not call ``hear`` any more: who waited has something else to do."""
        if hear in self._then:
            self._then.remove(hear)

    def wait_on(self, future: Any) -> Generator[Any, None, None]:
        """For a front's ``__await__``: until it ends, in a coroutine of the loop that this future is of."""
        wake = partial(wake_up, future)
        self.waiting += 1
        self._when_done(wake)
        try:
            yield from future.__await__()
        except BaseException:  # whoever waited was cancelled
            self.forget(wake)
            self.stop_waiting()
            raise
        self.waiting -= 1

    def stop_waiting(self) -> None:
        """A coroutine that waited was cancelled: when it was the last one, what it waited for is abandoned."""
        self.looked_at()
        self.waiting -= 1
        if not self.waiting and self.abandon is not None:
            self.abandon()

    def result(self) -> T:
        """The value, or the error raised; only when ``done``."""
        if self._error is not None:
            self.looked_at()
            raise self._error
        return self.value

    def __await__(self) -> Generator[Any, None, T]:
        raise TypeError("only the asyncio front can be awaited: use the blocking front's own calls here")
        yield  # pragma: no cover - makes this a generator, as the type says


def wake_up(future: Any) -> None:
    """Let whoever awaits this future go on, unless that was cancelled, or its loop closed, meanwhile."""
    if not (future.done() or future.get_loop().is_closed()):
        future.set_result(None)


LIKE_MILLISECONDS = 1000
"""From so many seconds on a limit may have been meant as milliseconds."""
_told: list[str] = []
ENDLESS = 1e8
"""Seconds, some three years: from here on there is no limit, and no clock that could not count so far."""


def seconds(timeout: Any, verb: str) -> float | None:
    """A ``timeout=`` as it was given, checked: None for no limit.

    What is left of a time that is over is less than 0, and counts as 0. But for -1: elsewhere that is no limit, and
    here it would be none of the time.

    Raises ``TypeError`` for what is no number (True is none either), ``ValueError`` for not-a-number and -1.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(
            f"{verb}(timeout=…) takes seconds as a number, or None for no limit, not "
            f"{timeout.__class__.__name__}: {timeout!r:.80}"
        )
    if timeout != timeout:
        raise ValueError(f"{verb}(timeout=…) takes seconds as a number, or None for no limit, not {timeout!r}")
    if timeout.__class__ is int and timeout == -1:
        raise ValueError(
            f"{verb}(timeout=…) takes seconds, and {timeout!r} is less than none: None is no limit, 0 does not wait"
        )
    if timeout >= LIKE_MILLISECONDS:
        return _long(timeout, verb)
    return timeout if timeout > 0 else 0.0  # never -0.0, which messages would show


def _long(timeout: float, verb: str) -> float | None:
    """So many seconds, or None for no limit; what looks like milliseconds is told once."""
    if timeout >= ENDLESS:
        return None
    if not _told and timeout % 500 == 0 and timeout % 3600:  # which are hours
        from ..config.foreign import warn  # only what may be a mistake pays for it

        _told.append(verb)
        warn(
            f"{verb}(timeout={timeout!r}) waits for {timeout / 60:.0f} minutes: such limits are seconds here, and were "
            f"milliseconds meant it is {timeout / 1000:g}. Options of the configuration are milliseconds. This is said "
            "once"
        )
    return timeout


def refuse_no_bool(wait: Any) -> None:
    """``wait=30`` is meant to be 30 seconds, and would be all the time in the world."""
    if wait is not True and wait is not False:
        raise TypeError(f"connect(wait=…) takes True or False, not {wait!r:.80}: how long is timeout=, in seconds")


def seconds_to_end(timeout: Any, verb: str, close_timeout: float) -> float:
    """The same for what ends: None is ``close_timeout`` milliseconds."""
    if timeout is None:
        return close_timeout / 1000
    if timeout.__class__ is int and timeout == -1:
        raise ValueError(
            f"{verb}(timeout=…) takes seconds, and -1 is less than none: None is close_timeout, math.inf no limit, "
            "0 does not wait"
        )
    limit = seconds(timeout, verb)
    return ENDLESS if limit is None else limit
