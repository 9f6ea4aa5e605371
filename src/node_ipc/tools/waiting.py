"""How a command waits: Ctrl-C ends it at any moment, in order where there is an order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from ..drivers.signals import awake, told_to_end

__all__ = ["run", "stop_signals"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, whose loop no signal finds asleep; Ctrl-C cancels ``main`` and raises ``KeyboardInterrupt``."""
    runner = asyncio.Runner()
    with awake(runner.get_loop()), runner:
        return runner.run(main)


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the process."""
    stopped = asyncio.Event()
    with told_to_end(asyncio.get_running_loop(), stopped.set):
        yield stopped
