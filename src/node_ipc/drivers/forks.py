"""A forked child has its parent's links in its memory, and must not write to them.

``os.fork`` copies one thread, with the same identifier as in the parent, so the comparison that guards every ``emit``
would not notice: in the child each driver's ``home`` and each session's is set to what no thread is.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol

from ..core.seam import NOWHERE, Endpoint

__all__ = ["guard"]


class _Guarded(Protocol):
    home: int
    is_forked: bool
    endpoints: weakref.WeakSet[Endpoint]


_drivers: weakref.WeakSet[Any] = weakref.WeakSet()


def guard(driver: _Guarded) -> None:
    """From now on, a fork marks this driver and its endpoints in the child."""
    _drivers.add(driver)


def _mark() -> None:
    for driver in _drivers:
        if driver.home:  # one that never ran has nothing of the kernel's: the child may use it
            driver.home, driver.is_forked = NOWHERE, True
            for endpoint in tuple(driver.endpoints):
                endpoint.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark)
