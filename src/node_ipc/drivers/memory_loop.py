"""asyncio on the virtual clock: what coroutines that a :class:`MemoryDriver` runs find when they ask for their loop.

It has a clock, timers, futures and tasks, so ``asyncio.sleep``, ``timeout``, ``Event``, ``Queue``, ``gather`` and
``TaskGroup`` work as in the asyncio front and take no real time. What would leave the process (sockets, threads, other
processes) is refused.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ..core.seam import tell_end

if TYPE_CHECKING:
    from ..core.seam import Driver, Timer

__all__ = ["VirtualLoop", "new_future"]

HANDLER = "a handler on a memory driver"
"""The name of the tasks that the driver itself began."""


class VirtualLoop:
    """The event loop of one memory driver, which runs in the driver's turns."""

    no_endpoints = (
        "this coroutine runs on the virtual clock of a MemoryDriver (ipc_pair and ipc_server are on one): its servers "
        "are in memory, and node_ipc.connect and node_ipc.serve make real sockets. Use ipc_server.connect(), or "
        "connect(driver, server.address) and serve(driver) of node_ipc.testing; for real sockets node_ipc.run(main())"
    )
    """Why no client and no server of the asyncio and callback fronts can be made here."""

    def __init__(self, driver: Driver, failed: Callable[[BaseException], None]) -> None:
        self._driver = driver
        self._failed = failed
        self._loop = cast(asyncio.AbstractEventLoop, self)  # as much of it as there is

    def __getattr__(self, verb: str) -> Any:
        if not callable(getattr(asyncio.AbstractEventLoop, verb, None)):
            raise AttributeError(f"the loop of a memory driver has no {verb!r}", name=verb, obj=self)
        raise NotImplementedError(
            f"{verb}: a coroutine on the memory driver has a clock and tasks, but no sockets, threads or processes. "
            "Give it a stand-in for what it calls, or test it on a real loop with node_ipc.serve and node_ipc.connect"
        )

    def turn(self, run: Callable[[], None]) -> None:
        """Do this as the running loop; a loop and a task that call the driver are put aside meanwhile.

        What it calls of asyncio's is there for those who write event loops.
        """
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
        self,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[BaseException | None], None],
        returned: Callable[[Any], None] | None,
    ) -> asyncio.Task[Any]:
        """Run this from the next turn on; ``done`` hears its exception, or None, and ``returned`` of its result."""
        task = asyncio.Task(coroutine, loop=self._loop, name=HANDLER)
        task.add_done_callback(partial(tell_end, done, returned))
        return task

    def current_task(self) -> asyncio.Task[Any] | None:
        """The one that runs now, if any."""
        return asyncio.current_task(self._loop)

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
        handle = _Handle(self, self.time() + delay, partial((context or copy_context()).run, callback, *args))
        handle.due = self._driver.call_later(delay, handle.run)
        return cast(asyncio.TimerHandle, handle)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._loop)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self._loop, **options)

    def is_running(self) -> bool:
        return _running() is self

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A call-back failed, or a task that nobody awaits: the driver keeps it, and a test can see it."""
        task = context.get("task")
        if "exception" not in context and task is not None and task.get_name() == HANDLER:
            return  # it was destroyed while it waited: the driver ends what still waits
        self._failed(context.get("exception") or RuntimeError(context["message"]))


class _Handle:
    """A call that is due."""

    due: Timer

    def __init__(self, loop: VirtualLoop, when: float, call: Callable[[], object]) -> None:
        self._loop = loop
        self._when = when
        self._call: Callable[[], object] | None = call

    def run(self) -> None:
        call, self._call = self._call, None
        try:
            if call is not None:
                call()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._loop.call_exception_handler({"message": f"{call!r} failed", "exception": error})

    def cancel(self) -> None:
        self._call = None
        self.due.cancel()

    def cancelled(self) -> bool:
        return self._call is None

    def when(self) -> float:
        return self._when


def new_future() -> asyncio.Future[None]:
    """What a coroutine waits for, in the virtual loop; raises ``TypeError`` anywhere else."""
    loop = _running()
    if not isinstance(loop, VirtualLoop):
        raise TypeError(
            "what belongs to a MemoryDriver can only be awaited where that driver runs the coroutine: "
            "driver.run(main()), or an async handler"
        )
    return loop.create_future()


def _running() -> object:
    """The loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
