"""At the end of the program: what was emitted and never reached the kernel, or not to its end, is said.

``connect_to`` and ``emit`` return at once and wait for a loop. A program that forgets to run it would end with exit
code 0, and nothing sent. So would one that registers handlers and waits for nothing, on any front.
"""

from __future__ import annotations

import atexit
import contextlib
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from ..core.seam import Endpoint

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["another_has_run", "loop_ends", "returned", "watch"]


class _Driver(Protocol):
    is_forked: bool
    endpoints: weakref.WeakSet[Endpoint]

    @property
    def loop(self) -> AbstractEventLoop | None:
        """Where it works."""

    @property
    def has_run(self) -> bool:
        """Whether there was a loop that it was to work on."""

    @property
    def never_ran(self) -> bool:
        """Whether something was told to begin, and no loop came."""

    def loop_ends(self) -> None:
        """Take down what is not sent yet."""

    def unsent(self, endpoint: Endpoint) -> int:
        """Its messages that the kernel does not have."""

    @property
    def ends_in_order(self) -> str:
        """What sends all that was emitted before a program ends."""


_drivers: weakref.WeakSet[_Driver] = weakref.WeakSet()


def watch(driver: _Driver) -> None:
    """At exit, say what this driver's endpoints still hold."""
    if not _drivers:
        atexit.unregister(_say_what_is_left)
        atexit.register(_say_what_is_left)
    _drivers.add(driver)


def loop_ends(loop: AbstractEventLoop) -> None:
    """It is about to be closed."""
    for driver in _all():
        if driver.loop is loop:
            driver.loop_ends()


def another_has_run(driver: _Driver) -> bool:
    """Whether the program ran a loop, though not for this driver: several instances have one each."""
    return any(each.has_run for each in _all() if each is not driver)


def returned(result: Any) -> None:
    """A program's main coroutine returned this, and nothing runs any more."""
    if not any(result is endpoint for driver in _all() for endpoint in driver.endpoints):
        return
    from ..core.endpoint import NOT_SERVING  # which is there where one was made

    if result.state.value not in NOT_SERVING:
        _warn(
            f"{result} with it: nothing runs it behind run(). Work with it inside the async def main() that run() is "
            "given, as by async with node_ipc.serve(…) as server: await server.serve_forever()"
        )


def _say_what_is_left() -> None:
    for driver in _all():
        if driver.is_forked:
            continue
        for endpoint in tuple(driver.endpoints):
            if count := driver.unsent(endpoint):
                messages = "message that was" if count == 1 else "messages that were"
                left = "left" if driver.never_ran else "left whole"
                _warn(f"{count} {messages} emitted to {endpoint} never {left}: {driver.ends_in_order}")
            elif driver.never_ran and endpoint.state.value in _BEGUN:
                _warn(f"{endpoint} was told to begin and never did: {driver.ends_in_order}")
            elif remark := endpoint.remark_on_no_time():
                _warn(remark)


def _all() -> list[_Driver]:
    with contextlib.suppress(RuntimeError):  # another thread goes on making them
        return list(_drivers)
    return []


_BEGUN = ("connecting", "waiting", "starting")


def _warn(what: str) -> None:
    warnings.warn(f"the program ends, and {what}", RuntimeWarning, stacklevel=1)
