"""What a single frame may cost: time, memory and stack.

16 MiB of empty lists are 5.6 million objects, and 16 MiB of numbers with twenty digits take msgspec 14 seconds, 20 µs
each. So the values in a message are bounded (``max_message_values``), numbers of that kind are read by Python's own
``float``, and before Python 3.12 the cyclic collector does not look on while a payload grows: it took six times as
long as the decoding. (From 3.12 on it runs between two instructions and never inside a call.)

Frames up to 128 KiB cannot cost much, and nobody looks at them.

Stack: msgspec decodes by recursion, about 400 bytes of it for each level, and stops at the interpreter's own limit:
1,000 levels in Python 3.11, up to 10,000 in later ones, which is 4 MiB. A thread that was given less would crash on a
few kilobytes from a peer, so sessions in such a thread look at each frame first. All others do not.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "DEEPEST",
    "LARGE_FRAME",
    "count_values",
    "has_many_long_numbers",
    "is_too_deep",
    "may_have_more_values",
    "without_collector",
]

A = TypeVar("A")
T = TypeVar("T")

LARGE_FRAME = 128 * 1024
"""Bytes. Up to this the worst there is, numbers of twenty digits, takes a tenth of a second."""

FEW_LONG_NUMBERS = 5000
"""So many numbers of twenty digits and more take msgspec a tenth of a second."""
FEW_BYTES = 500
"""So often a byte is looked for one by one."""
_LONG_NUMBER = b"0" * 20  # once each digit and point is a zero; msgspec's fast path ends at 19
_no_values = bytes(byte for byte in range(256) if byte not in b",[{")
_digits = bytes(0x30 if byte in b"0123456789." else byte for byte in range(256))


def count_values(frame: bytes) -> int:
    """At least as many as a frame holds: one for each comma, and for each list or object that begins.

    Those inside texts count, too: to tell them apart costs as much as decoding.
    """
    return len(frame.translate(None, _no_values))


def may_have_more_values(frame: bytes, limit: int) -> bool:
    """Whether ``count_values`` says more than ``limit``, which is 32,768 or more: for a long text, found out sooner."""
    if len(frame) // 2 <= limit or all(_has_few(frame, byte) for byte in (b",", b"[", b"{")):
        return False
    return count_values(frame) > limit


def _has_few(data: bytes, byte: bytes) -> bool:
    """Whether it is there a few times at most: 20 µs a MiB where it is not, and ``count`` takes 900."""
    at = -1
    for _ in range(FEW_BYTES):
        at = data.find(byte, at + 1)
        if at < 0:
            return True
    return False


def has_many_long_numbers(payload: Any) -> bool:
    """Whether numbers of twenty digits and more may take longer than a tenth of a second; there are commas between."""
    data = bytes(payload)
    return not _has_few(data, b",") and data.translate(_digits).count(_LONG_NUMBER) > FEW_LONG_NUMBERS


def without_collector(call: Callable[[A], T], argument: A) -> T:
    """One call of C code. No other thread runs meanwhile, so nobody misses the collector."""
    if sys.version_info >= (3, 12) or not gc.isenabled():
        return call(argument)
    try:
        gc.disable()
        return call(argument)
    finally:
        gc.enable()


# ---- stack

DEEPEST = 400
"""Levels: 160 KiB of stack."""

_tokens = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]++|[\]}]', re.DOTALL)


def is_too_deep(frame: bytes) -> bool:
    """Whether more than ``DEEPEST`` brackets are open anywhere in this frame."""
    if len(frame) <= DEEPEST:
        return False
    depth = 0
    for token in _tokens.finditer(frame):
        first = frame[token.start()]
        if first in b"[{":
            depth += token.end() - token.start()
            if depth > DEEPEST:
                return True
        elif first != 0x22:
            depth -= 1
    return False
