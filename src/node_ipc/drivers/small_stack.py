"""How much stack the thread that runs a driver has; see ``wire/costs.py`` for why somebody asks."""

from __future__ import annotations

import _thread
import os
import sys

__all__ = ["is_small"]

NEEDED = 5 * 1024 * 1024 if sys.version_info >= (3, 12) else 640 * 1024
"""What decoding to the interpreter's own limit takes, and something besides."""


def is_small() -> bool:
    """Whether the stack of the calling thread is smaller than that; main threads are taken to have enough."""
    if sys.platform == "linux":
        return _thread.get_native_id() != os.getpid() and _measured() < NEEDED
    return 0 < _thread.stack_size() < NEEDED  # of threads made now; 0 is the system's default


def _measured() -> int:
    import ctypes  # costs more than the rest of this program's start, and only threads other than the main one pay

    libc = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(256)  # a pthread_attr_t has 56 to 64 bytes
    size = ctypes.c_size_t()
    if libc.pthread_getattr_np(ctypes.c_ulong(_thread.get_ident()), attributes):
        return _thread.stack_size() or NEEDED
    libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    libc.pthread_attr_destroy(attributes)
    return size.value
