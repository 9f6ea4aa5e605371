"""Which event loop runs, through a loop factory and never a policy (policies are deprecated since Python 3.14)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .errors import ConfigError

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
    """Run a coroutine as ``asyncio.run`` does, on uvloop where it is installed.

    loop: ``"auto"``, ``"asyncio"``, ``"uvloop"``, or what makes a loop.
    """
    with asyncio.Runner(loop_factory=loop_factory(loop), debug=debug) as runner:
        return runner.run(main)
