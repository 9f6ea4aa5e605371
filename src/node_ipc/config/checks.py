"""What values an option takes: the checks that several options share.

A check returns what is kept of a value, in its final form, or raises :class:`Refused` with the words that say what is
allowed; the option makes an error of it that names option and value. Checks know nothing of options and owners.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

__all__ = [
    "NO_LIMIT",
    "Check",
    "Refused",
    "factor",
    "flag",
    "function",
    "gathered",
    "integer",
    "is_infinite",
    "is_off",
    "limit",
    "listed",
    "milliseconds",
    "name",
    "one_of",
    "or_none",
    "quota",
    "special",
    "text",
    "time_limit",
    "whole",
]

NO_LIMIT = sys.maxsize
"""What a limit that was given as infinity is stored as: an integer that nothing reaches."""

LONGEST_TIMER = 2**31 - 1
"""Milliseconds, 24.8 days: what Node's timers hold; a longer one fires at once there."""

Kept = TypeVar("Kept")
Check = Callable[[object], Kept]


class Refused(Exception):
    """A check's verdict; the option turns it into a ConfigError that names option and value."""


def whole(value: object) -> int | None:
    """An integer, or a float that is one (JSON's ``1e3``); True and False are not numbers here."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # that is what the except is for
    except TypeError:
        return None


def is_infinite(value: object) -> bool:
    return isinstance(value, float) and value == math.inf


def is_off(value: object) -> bool:
    """None or False; not 0, which is equal to False but says something else."""
    return value is None or value is False


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Refused("True or False")


def integer(low: int, high: int | None = None, what: str = "a whole number") -> Check[int]:
    allowed = f"{what} of at least {low}" if high is None else f"{what} from {low} to {high}"

    def check(value: object) -> int:
        number = whole(value)
        if number is None or number < low or (high is not None and number > high):
            raise Refused(allowed)
        return number

    return check


def milliseconds(low: int = 1) -> Check[int]:
    return integer(low, LONGEST_TIMER, "a whole number of milliseconds")


def time_limit() -> Check[int]:
    """Milliseconds, or infinity for no limit."""
    return _or_infinite(milliseconds())


def factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 1000:
        raise Refused("a number from 1 to 1000")
    return float(value)


def limit(unit: str, low: int = 1) -> Check[int]:
    return _or_infinite(integer(low, what=f"a whole number of {unit}"))


def _or_infinite(number: Check[int]) -> Check[int]:
    return special(number, "{}, or math.inf for no limit", infinite=NO_LIMIT)


def special(
    check: Check[Any], words: str = "{}", *, none: Any = ..., false: Any = ..., infinite: Any = ...
) -> Check[Any]:
    """``check``, but for None, False and infinity where something is given to be kept for them.

    ``words`` tell of that; ``{}`` in them stands for what ``check`` allows.
    """

    def checked(value: object) -> Any:
        kept = none if value is None else false if value is False else ...
        if is_infinite(value) or (type(value) is int and value == infinite == NO_LIMIT):  # as it is kept
            kept = infinite
        if kept is not ...:
            return kept
        try:
            return check(value)
        except Refused as refused:
            raise Refused(words.format(refused)) from None

    return checked


def or_none(check: Check[Kept]) -> Check[Kept | None]:
    return special(check, "{}, or None", none=None)


def quota(unit: str) -> Check[int | None]:
    """A limit that need not be there: None, False and infinity say so."""
    return special(integer(1, what=f"a whole number of {unit}"), "{}, or None", none=None, false=None, infinite=None)


def one_of(*names: str) -> Check[str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise Refused(f"one of {listed(names)}")

    return check


def listed(names: Collection[str]) -> str:
    return ", ".join(repr(name) for name in names)


def text(value: object) -> str:
    """Text, which may be empty."""
    if isinstance(value, str) and "\0" not in value:
        return str.__str__(value)  # an Enum of texts is its value
    raise Refused("text without NUL characters")


def at_home(path: str) -> str | None:
    """``path`` with its ``~`` or ``~user`` written out, or ``None``: nobody knows that home directory."""
    try:
        found = os.path.expanduser(path)
    except ValueError:  # what no user is called: a NUL, half a pair of surrogates
        return None
    return found if found != path else None


def name(value: object) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value and "\0" not in value:
        return str.__str__(value)
    raise Refused("text of at least one character, without NUL")


def function(value: object) -> Callable[..., Any]:
    if callable(value):
        return value
    method = ", as its info" if callable(getattr(value, "info", None)) else ""
    raise Refused(f"a callable{method} (which JSON cannot hold: assign it in the program)")


def gathered(value: object, kind: type[Kept], allowed: str) -> frozenset[Kept] | None:
    """A list, tuple or set of at least one ``kind``; None and False say that there is none."""
    if is_off(value):
        return None
    if isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray | Mapping):
        items = list(value)
        if items and all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            return frozenset(items)
    raise Refused(f"None, or {allowed}")
