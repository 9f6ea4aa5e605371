"""At the end of the program: what was emitted on an event loop and never reached the kernel is said.

``connect_to`` and ``emit`` return at once and wait for a loop. A program that forgets to run it would end with exit
code 0, and nothing sent.
"""

from __future__ import annotations

import atexit
import warnings
import weakref
from typing import Protocol

from ..core.seam import Endpoint

__all__ = ["watch"]


class _Driver(Protocol):
    is_forked: bool
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
    for driver in _drivers:
        if driver.is_forked:
            continue
        for endpoint in tuple(driver.endpoints):
            if count := endpoint.unsent():
                messages = "message that was" if count == 1 else "messages that were"
                _warn(f"{count} {messages} emitted to {endpoint} never left: run the event loop")
            elif driver.never_ran and endpoint.state.value in _BEGUN:
                _warn(f"{endpoint} was told to begin and never did: run the event loop")


_BEGUN = ("connecting", "waiting", "starting")


def _warn(what: str) -> None:
    warnings.warn(f"the program ends, and {what} with ipc.run() or asyncio", RuntimeWarning, stacklevel=1)
