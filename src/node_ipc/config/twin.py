"""Which twin of the hot path runs: the Python one, or the one in C where ``node-ipc-native`` is installed.

The Python twin is the reference. The native one does the same on the same objects: a few methods are put in the place
of Python ones, read and write the slots that those would, and call them for whatever is not the common case. It must be
of the same version, since it knows those slots by name.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from types import ModuleType

__all__ = ["load", "native", "running", "why"]

VERSION: str = import_module("node_ipc").__version__  # an import of the package would be a circle, to type checkers
SWITCH = "NODE_IPC_PURE"
"""The environment variable that turns the native twin off, unless it is empty or 0."""


def load() -> tuple[ModuleType | None, str]:
    if os.environ.get(SWITCH, "") not in ("", "0"):
        return None, f"{SWITCH} is set"
    if not _has_lock():
        return None, "this Python runs without its global lock"
    try:
        import node_ipc_native
    except ModuleNotFoundError:
        return None, "node-ipc-native is not installed"
    except ImportError as error:
        return None, _told(f"node-ipc-native is installed and cannot be loaded ({error})")
    if node_ipc_native.__version__ != VERSION:
        return None, _told(f"node-ipc-native {node_ipc_native.__version__} does not fit node-ipc {VERSION}")
    return node_ipc_native, ""


def _has_lock() -> bool:
    """A Python without its global lock would take it back for an extension that needs it."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return asked is None or bool(asked())


def _told(what: str) -> str:
    warnings.warn(
        f"{what}, so the Python twin runs, which does the same more slowly. Install node-ipc-native {VERSION} "
        f"(pip install ./native in the sources of node-ipc {VERSION}), or set {SWITCH}=1 to say that this is meant",
        RuntimeWarning,
        stacklevel=3,
    )
    return what


native, why = load()
"""The extension, or None and why the Python twin runs."""
running: str | None = None if native is None else f"node-ipc-native {VERSION}"
"""The native twin's name and version where it runs, and None where the Python twin does."""
