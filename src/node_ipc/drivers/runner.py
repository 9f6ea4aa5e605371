"""Which event loop runs, through a loop factory and never a policy (policies are deprecated since Python 3.14)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..config.misspelt import suggests
from ..errors import ConfigError, IPCError
from .farewell import loop_ends, returned
from .signals import Asked, awake, handled

__all__ = ["ends_in_order", "loop_factory", "run", "runs_here", "why_no_endpoints"]

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(loop: str | LoopFactory) -> LoopFactory | None:
    """The factory of ``"asyncio"``, ``"uvloop"`` (winloop on Windows) or ``"auto"``; None is asyncio's own.

    ``"auto"`` is uvloop where it is installed, and asyncio's own loop on Windows: winloop has no named pipes. So it is
    where a daemon has closed a standard stream: libuv would get its descriptor, and aborts when it closes such a one.
    """
    if callable(loop):
        return loop
    if loop == "asyncio" or (loop == "auto" and (sys.platform == "win32" or not _has_standard_streams())):
        return None
    if loop not in ("auto", "uvloop"):
        raise ConfigError(f"loop is 'auto', 'asyncio', 'uvloop' or what makes a loop, not {loop!r}")
    try:
        if sys.platform == "win32":
            import winloop as fast
        else:
            import uvloop as fast
    except ImportError:
        if loop == "auto":
            return None
        raise ConfigError("uvloop is not installed: pip install 'node-ipc[fast]', or use loop='auto'") from None
    factory: LoopFactory = fast.new_event_loop
    return factory


def _has_standard_streams() -> bool:
    try:
        for descriptor in range(3):
            os.fstat(descriptor)
    except OSError:
        return False
    return True


@suggests
def run(main: Coroutine[Any, Any, T], *, loop: str | LoopFactory = "auto", debug: bool | None = None) -> T:
    """Run a coroutine as ``asyncio.run`` does, on uvloop where it is installed, and end in order on SIGTERM.

    Ctrl-C and SIGTERM cancel ``main``, so every ``async with`` closes what it opened and sends what was emitted, within
    ``close_timeout``; then ``run`` raises ``KeyboardInterrupt``, or ``SystemExit(0)`` after SIGTERM. What is to be done
    then belongs into ``finally`` or ``async with``: what is behind ``await server.serve_forever()`` is not run. A
    second signal does not wait for anybody.

    Args:
        loop: ``"auto"``, ``"asyncio"``, ``"uvloop"``, or what makes a loop.

    Example:
        >>> async def main():
        ...     return "done"
        >>> node_ipc.run(main())
        'done'
    """
    if not asyncio.iscoroutine(main):
        raise TypeError(f"run takes a coroutine, as run(main()) with async def main(): …, not {main!r:.80}")
    if runs_here():
        main.close()
        raise IPCError("run() makes an event loop, and one runs in this thread already: await the coroutine there")
    runner = asyncio.Runner(loop_factory=loop_factory(loop), debug=debug)
    with awake(runner.get_loop()), runner:
        supervised = _Supervised(main)
        try:
            result: T = runner.run(supervised.run())
            returned(result)
            return result
        except asyncio.CancelledError:
            if supervised.ended_by is not None:
                raise supervised.ended_by from None
            raise
        except Exception as error:
            from ..config.advice import advise  # only a mistake pays for it

            advise(error)
            error.__traceback__ = _from(main, error.__traceback__)
            raise
        finally:
            loop_ends(runner.get_loop())


def _from(main: Any, trace: TracebackType | None) -> TracebackType | None:
    """The way of an exception from the program on: our steps, and the loop's, to it say nothing."""
    own = trace
    while own is not None and own.tb_frame.f_code is not getattr(main, "cr_code", None):
        own = own.tb_next
    return own or trace


def runs_here() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def why_no_endpoints() -> str | None:
    """Why no client and no server can be made where the running loop stands; None where they can, or none runs."""
    try:
        return getattr(asyncio.get_running_loop(), "no_endpoints", None)
    except RuntimeError:
        return None


_ending: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def ends_in_order() -> bool:
    """Whether a signal told the running loop to end: then a cancellation waits until what was emitted is sent."""
    return asyncio.get_running_loop() in _ending


class _Supervised(Generic[T]):
    """A coroutine that signals cancel, where they can be asked for."""

    def __init__(self, main: Coroutine[Any, Any, T]) -> None:
        self._main = main
        self._task: asyncio.Task[Any] | None = None
        self._is_told = False
        self.ended_by: BaseException | None = None

    async def run(self) -> T:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():  # which alone may ask for signals
            return await self._main
        asked = Asked(loop)
        with (
            handled(signal.SIGTERM, partial(self._terminate, asked)),
            handled(signal.SIGINT, partial(self._interrupt, asked)),
        ):
            return await self._main

    def _terminate(self, asked: Asked, number: int, *_: Any) -> None:
        if self._is_told and (self.ended_by is None or asked.is_stuck):
            raise SystemExit(0)
        self._is_told = True
        asked.ask(number, self._end, SystemExit(0))

    def _interrupt(self, asked: Asked, number: int, *_: Any) -> None:
        """Ctrl-C, at any moment; the second one gets through to code that does not come back to the loop."""
        if self._is_told:  # the loop may not even have got to the first
            raise KeyboardInterrupt
        self._is_told = True
        asked.ask(number, self._end, KeyboardInterrupt())

    def _end(self, ended_by: BaseException) -> None:
        assert self._task is not None
        if self.ended_by is None:
            self.ended_by = ended_by
            _ending.add(asyncio.get_running_loop())
        self._task.cancel()
