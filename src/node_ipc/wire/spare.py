"""The memory of large arrays that came, for those to come: a new page costs more than what is read into it.

An array is written into again only when nobody has it any more, no view of it and nothing that was made of it: each of
these holds a reference to its memory, and Python counts them. Nothing is kept of ``bytes``, whose hash may be known.
"""

from __future__ import annotations

import sys
from collections import deque

__all__ = ["MOST_BYTES", "clear", "keep", "take"]

MOST = 4
"""Arrays that a program may look at by turns."""
MOST_BYTES = 32 * 1024 * 1024
"""All of them together, at most; what a link's end or another size of arrays leaves is let go."""

_kept: deque[bytearray] = deque(maxlen=MOST)
_has_lock = getattr(sys, "_is_gil_enabled", lambda: True)
"""Without the interpreter's lock a count says nothing of what other threads are about to do."""


def _references() -> int:
    """What is counted of an object that only a variable has."""
    memory = bytearray()
    return sys.getrefcount(memory)


ALONE = _references()


def take(size: int) -> bytearray | None:
    """Memory of exactly this size that nobody has any more. Where there is none, no other that nobody has is kept."""
    used: list[bytearray] = []
    unused: list[bytearray] = []
    while _kept:
        try:
            memory = _kept.popleft()  # so that no other thread can have it as well
        except IndexError:
            break  # another thread was quicker
        alone = sys.getrefcount(memory) == ALONE
        if alone and len(memory) == size:
            _kept.extend(used)
            _kept.extend(unused)
            return memory
        (unused if alone else used).append(memory)
    _kept.extend(used)
    return None


def keep(memory: bytearray) -> None:
    """This is somebody's now, and may be used again later."""
    if len(memory) > MOST_BYTES or not _has_lock():
        return
    _kept.append(memory)
    while sum(map(len, tuple(_kept))) > MOST_BYTES:
        try:
            _kept.popleft()
        except IndexError:
            return


def clear() -> None:
    """Keep none."""
    _kept.clear()
