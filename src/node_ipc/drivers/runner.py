"""Which event loop runs, through a loop factory and never a policy (policies are deprecated since Python 3.14)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..errors import ConfigError, IPCError

__all__ = ["loop_factory", "run"]

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(loop: str | LoopFactory) -> LoopFactory | None:
    """The factory of ``"asyncio"``, ``"uvloop"`` (winloop on Windows) or ``"auto"``; None is asyncio's own.

    ``"auto"`` is uvloop where it is installed, and asyncio's own loop on Windows: winloop has no named pipes.
    """
    if callable(loop):
        return loop
    if loop == "asyncio" or (loop == "auto" and sys.platform == "win32"):
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


def run(main: Coroutine[Any, Any, T], *, loop: str | LoopFactory = "auto", debug: bool | None = None) -> T:
    """Run a coroutine as ``asyncio.run`` does, on uvloop where it is installed, and end in order on SIGTERM.

    Ctrl-C and SIGTERM cancel ``main``, so every ``async with`` closes what it opened and sends what was emitted;
    then ``run`` raises ``KeyboardInterrupt``, or ``SystemExit(0)`` after SIGTERM.

    loop: ``"auto"``, ``"asyncio"``, ``"uvloop"``, or what makes a loop.
    """
    if not asyncio.iscoroutine(main):
        raise TypeError(f"run takes a coroutine, as run(main()) with async def main(): …, not {main!r:.80}")
    if asyncio._get_running_loop() is not None:
        main.close()
        raise IPCError("run() makes an event loop, and one runs in this thread already: await the coroutine there")
    with asyncio.Runner(loop_factory=loop_factory(loop), debug=debug) as runner:
        supervised = _Supervised(main)
        try:
            result: T = runner.run(supervised.run())
            return result
        except asyncio.CancelledError:
            if supervised.terminated:
                raise SystemExit(0) from None
            raise


class _Supervised(Generic[T]):
    """A coroutine that SIGTERM cancels, where signals can be asked for."""

    def __init__(self, main: Coroutine[Any, Any, T]) -> None:
        self._main = main
        self._task: asyncio.Task[Any] | None = None
        self.terminated = False

    async def run(self) -> T:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGTERM, self._terminate)
        except (NotImplementedError, RuntimeError, ValueError):  # Windows, and threads other than the main one
            return await self._main
        try:
            return await self._main
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    def _terminate(self) -> None:
        self.terminated = True
        assert self._task is not None
        self._task.cancel()
