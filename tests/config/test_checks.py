"""What values the checks keep, and the words with which they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from node_ipc.config import checks
from node_ipc.config.checks import NO_LIMIT, Check, Refused


class Index:
    def __index__(self) -> int:
        return 9


@pytest.mark.parametrize(
    ("check", "value", "kept"),
    [
        (checks.flag, True, True),
        (checks.integer(0), 0, 0),
        (checks.integer(1, 9), 9.0, 9),
        (checks.integer(1, 9), Index(), 9),
        (checks.milliseconds(), 2**31 - 1, 2**31 - 1),
        (checks.limit("bytes"), math.inf, NO_LIMIT),
        (checks.limit("bytes", 0), 0, 0),
        (checks.or_none(checks.flag), None, None),
        (checks.quota("bytes"), False, None),
        (checks.quota("bytes"), math.inf, None),
        (checks.quota("bytes"), 3, 3),
        (checks.one_of("a", "b"), "b", "b"),
        (checks.text, "", ""),
        (checks.name, "x", "x"),
        (checks.function, print, print),
    ],
)
def test_what_is_kept(check: Check[Any], value: object, kept: object) -> None:
    found = check(value)
    assert (type(found), found) == (type(kept), kept)


@pytest.mark.parametrize(
    ("check", "value", "words"),
    [
        (checks.flag, 1, "True or False"),
        (checks.integer(0), True, "a whole number of at least 0"),
        (checks.integer(1, 9), 10, "a whole number from 1 to 9"),
        (checks.integer(1, 9, "a port"), "5", "a port from 1 to 9"),
        (checks.milliseconds(), 0.5, "a whole number of milliseconds from 1 to 2147483647"),
        (checks.limit("bytes"), 0, "a whole number of bytes of at least 1, or math.inf for no limit"),
        (checks.limit("bytes"), math.nan, "a whole number of bytes of at least 1, or math.inf for no limit"),
        (checks.or_none(checks.flag), 0, "True or False, or None"),
        (checks.quota("bytes"), 0, "a whole number of bytes of at least 1, or None"),
        (checks.one_of("a", "b"), "c", "one of 'a', 'b'"),
        (checks.text, "a\0b", "text without NUL characters"),
        (checks.name, "", "text of at least one character, without NUL"),
        (checks.function, "print", "a callable (which JSON cannot hold: assign it in the program)"),
    ],
)
def test_what_is_refused(check: Check[Any], value: object, words: str) -> None:
    with pytest.raises(Refused) as caught:
        check(value)
    assert str(caught.value) == words


def test_what_is_gathered() -> None:
    for items in (["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), frozenset("ab")):
        assert checks.gathered(items, str, "names") == frozenset("ab")
    assert checks.gathered(False, str, "names") is None
    for wrong in ("ab", b"ab", {"a": 1}, [], ["a", 1], 5):
        with pytest.raises(Refused, match=r"^None, or names$"):
            checks.gathered(wrong, str, "names")
    with pytest.raises(Refused):
        checks.gathered([True], int, "numbers")
