"""asyncio on the virtual clock: what coroutines that a :class:`MemoryDriver` runs find when they ask for their loop.

It has a clock, timers, futures and tasks, so ``asyncio.sleep``, ``timeout``, ``Event``, ``Queue``, ``gather`` and
``TaskGroup`` work as in the asyncio front and take no real time. What would leave the process (sockets, threads, other
processes) is refused.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ..core.seam import Driver, Timer

__all__ = ["VirtualLoop", "new_future", "wake_up"]


class VirtualLoop:
    """The event loop of one memory driver, which runs in the driver's turns."""

    def __init__(self, driver: Driver, failures: list[BaseException]) -> None:
        self._driver = driver
        self._failures = failures
        self._loop = cast(asyncio.AbstractEventLoop, self)  # as much of it as there is

    def __getattr__(self, verb: str) -> Any:
        if not callable(getattr(asyncio.AbstractEventLoop, verb, None)):
            raise AttributeError(f"the loop of a memory driver has no {verb!r}", name=verb, obj=self)
        raise NotImplementedError(
            f"{verb}: a coroutine on the memory driver has a clock and tasks, but no sockets, threads or processes. "
            "Give it a stand-in for what it calls, or test it on a real loop with node_ipc.serve and node_ipc.connect"
        )

    def turn(self, run: Callable[[], None]) -> None:
        """Do this as the running loop; a loop and a task that call the driver are put aside meanwhile."""
        outer = asyncio._get_running_loop()
        task = None if outer is None else asyncio.current_task(outer)
        if outer is not None and task is not None:
            tasks._leave_task(outer, task)
        asyncio._set_running_loop(self._loop)
        try:
            run()
        finally:
            asyncio._set_running_loop(outer)
            if outer is not None and task is not None:
                tasks._enter_task(outer, task)

    def task(
        self, coroutine: Coroutine[Any, Any, Any], done: Callable[[BaseException | None], None]
    ) -> asyncio.Task[Any]:
        """Run this from the next turn on; ``done`` hears its exception, or None."""
        task = asyncio.Task(coroutine, loop=self._loop)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the driver ends what still waits
        task.add_done_callback(partial(_tell, done))
        return task

    # ---- what asyncio calls

    def time(self) -> float:
        return self._driver.now()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_later(0.0, callback, *args, context=context)

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(self.time() + delay, callback, args, self._loop, context)
        handle.due = self._driver.call_later(delay, handle._run)
        return handle

    def _timer_handle_cancelled(self, handle: _Handle) -> None:
        """It is not due any more."""
        handle.due.cancel()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._loop)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self._loop, **options)

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self._loop

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A call-back failed, or a task that nobody awaits: the driver keeps it, and a test can see it."""
        self._failures.append(context.get("exception") or RuntimeError(context["message"]))


class _Handle(asyncio.TimerHandle):
    """A call that is due."""

    due: Timer

    def _run(self) -> None:
        if not self.cancelled():
            super()._run()


def new_future() -> asyncio.Future[None]:
    """What a coroutine waits for, in the virtual loop; raises ``TypeError`` anywhere else."""
    loop = asyncio._get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError(
            "what belongs to a MemoryDriver can only be awaited where that driver runs the coroutine: "
            "driver.run(main()), or an async handler"
        )
    return loop.create_future()


def wake_up(future: asyncio.Future[None]) -> None:
    """Let it go on, unless it was cancelled meanwhile."""
    if not future.done():
        future.set_result(None)


def _tell(done: Callable[[BaseException | None], None], task: asyncio.Task[Any]) -> None:
    done(None if task.cancelled() else task.exception())
