"""What a single large frame may cost, in time and memory.

16 MiB of empty lists are 5.6 million objects, and 16 MiB of numbers with twenty digits take msgspec 14 seconds, 20 µs
each. So the values in a message are bounded (``max_message_values``), numbers of that kind are read by Python's own
``float``, and before Python 3.12 the cyclic collector does not look on while a payload grows: it took six times as
long as the decoding. (From 3.12 on it runs between two instructions and never inside a call.)

Frames up to 128 KiB cannot cost much, and nobody looks at them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["LARGE_FRAME", "count_values", "long_numbers", "without_collector"]

A = TypeVar("A")
T = TypeVar("T")

LARGE_FRAME = 128 * 1024
"""Bytes. Up to this the worst there is, numbers of twenty digits, takes a tenth of a second."""

_LONG_NUMBER = b"0" * 20  # once each digit and point is a zero; msgspec's fast path ends at 19
_digits = bytes(0x30 if byte in b"0123456789." else byte for byte in range(256))
_no_values = bytes(byte for byte in range(256) if byte not in b",[{")


def count_values(frame: bytes) -> int:
    """At least as many as a frame holds: one for each comma, and for each list or object that begins.

    Those inside texts count, too: to tell them apart costs as much as decoding.
    """
    return len(frame.translate(None, _no_values))


def long_numbers(payload: Any) -> int:
    """About how many numbers of twenty digits and more there are."""
    return bytes(payload).translate(_digits).count(_LONG_NUMBER)


def without_collector(call: Callable[[A], T], argument: A) -> T:
    """One call of C code. No other thread runs meanwhile, so nobody misses the collector."""
    if sys.version_info >= (3, 12) or not gc.isenabled():
        return call(argument)
    try:
        gc.disable()
        return call(argument)
    finally:
        gc.enable()
