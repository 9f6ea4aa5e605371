"""Memory for what comes beside the JSON, and that of large arrays for those to come: a new page costs more than what is
read into it.

An array is written into again only when nobody has it any more, no view of it and nothing that was made of it: each of
these holds a reference to its memory, and Python counts them. Nothing is kept of ``bytes``, whose hash may be known.
"""

from __future__ import annotations

import io
import sys
from collections import deque

__all__ = ["MOST_BYTES", "Memory", "clear", "keep", "take"]

MOST = 4
"""Arrays that a program may look at by turns."""
MOST_BYTES = 32 * 1024 * 1024
"""All of them together, at most; what a link's end or another size of arrays leaves is let go."""


class Memory(io.BytesIO):
    """Zeros that the kernel has no page for until something is written there, as a ``bytearray`` has at once.

    It can be written through ``getbuffer()``, and becomes ``bytes`` without a copy.
    """

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))
        self.size = size

    def close(self) -> None:
        """Nothing to do: the collector asks for it while a view of it is there, and from Python 3.13 on tells that."""


_kept: deque[Memory] = deque(maxlen=MOST)
_has_lock = getattr(sys, "_is_gil_enabled", lambda: True)
"""Without the interpreter's lock a count says nothing of what other threads are about to do."""


def _references() -> int:
    """What is counted of an object that only a variable has."""
    memory = Memory(0)
    return sys.getrefcount(memory)


ALONE = _references()


def take(size: int) -> Memory | None:
    """Memory of exactly this size that nobody has any more. Where there is none, no other that nobody has is kept."""
    used: list[Memory] = []
    unused: list[Memory] = []
    while _kept:
        try:
            memory = _kept.popleft()  # so that no other thread can have it as well
        except IndexError:
            break  # another thread was quicker
        alone = sys.getrefcount(memory) == ALONE
        if alone and memory.size == size:
            _kept.extend(used)
            _kept.extend(unused)
            return memory
        (unused if alone else used).append(memory)
    _kept.extend(used)
    return None


def keep(memory: Memory) -> None:
    """This is somebody's now, and may be used again later."""
    if memory.size > MOST_BYTES or not _has_lock():
        return
    _kept.append(memory)
    while sum(memory.size for memory in tuple(_kept)) > MOST_BYTES:
        try:
            _kept.popleft()
        except IndexError:
            return


def clear() -> None:
    """Keep none."""
    _kept.clear()
