"""More than one process: ``workers`` on one socket, a ``bus`` between servers, and an ``emitter`` to their clients."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import bus as bus
    from . import workers as workers
    from .emitting import Emitter as Emitter
    from .emitting import emitter as emitter

_HOMES = {"emitter": "emitting", "Emitter": "emitting"}
_MODULES = ("bus", "workers")


if not TYPE_CHECKING:  # which would know every name, then

    def __getattr__(name: str) -> Any:
        """Load what is asked for, and nothing before (PEP 562): workers need a system with ``fork``."""
        if name in _HOMES:
            return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
