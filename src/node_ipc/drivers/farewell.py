"""At the end of the program: what was emitted on an event loop and never reached the kernel is said.

``connect_to`` and ``emit`` return at once and wait for a loop. A program that forgets to run it would end with exit
code 0, and nothing sent. So would one that registers handlers and waits for nothing, on any front.
"""

from __future__ import annotations

import atexit
import contextlib
import warnings
import weakref
from typing import Protocol

from ..core.seam import Endpoint

__all__ = ["watch"]


class _Driver(Protocol):
    is_forked: bool
    runs_coroutines: bool
    endpoints: weakref.WeakSet[Endpoint]

    @property
    def never_ran(self) -> bool:
        """Whether something was told to begin, and no loop came."""


_drivers: weakref.WeakSet[_Driver] = weakref.WeakSet()


def watch(driver: _Driver) -> None:
    """At exit, say what this driver's endpoints still hold."""
    if not _drivers:
        atexit.unregister(_say_what_is_left)
        atexit.register(_say_what_is_left)
    _drivers.add(driver)


def _say_what_is_left() -> None:
    for driver in _all():
        if driver.is_forked:
            continue
        for endpoint in tuple(driver.endpoints):
            if driver.runs_coroutines and (count := endpoint.unsent()):
                messages = "message that was" if count == 1 else "messages that were"
                _warn(f"{count} {messages} emitted to {endpoint} never left: {_RUN}")
            elif driver.never_ran and endpoint.state.value in _BEGUN:
                _warn(f"{endpoint} was told to begin and never did: {_RUN}")
            elif remark := endpoint.remark_on_no_time():
                _warn(remark)


def _all() -> list[_Driver]:
    with contextlib.suppress(RuntimeError):  # another thread goes on making them
        return list(_drivers)
    return []


_BEGUN = ("connecting", "waiting", "starting")
_RUN = "run the event loop with ipc.run() or asyncio"


def _warn(what: str) -> None:
    warnings.warn(f"the program ends, and {what}", RuntimeWarning, stacklevel=1)
