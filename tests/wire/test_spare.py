"""The memory of arrays that is used again: never while anybody looks into it, and never more than is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

from node_ipc.wire import spare
from node_ipc.wire.spare import Memory

SIZE = 1024


@pytest.fixture(autouse=True)
def none_kept() -> Iterator[None]:
    spare.clear()
    yield
    spare.clear()


def kept(size: int = SIZE) -> int:
    """The id of memory that is kept and that nobody has."""
    memory = Memory(size)
    spare.keep(memory)
    return id(memory)


def test_what_nobody_has_any_more_is_used_again_once() -> None:
    number = kept()
    memory = spare.take(SIZE)
    assert id(memory) == number
    assert spare.take(SIZE) is None


HOLDERS: dict[str, Callable[[Memory], Any]] = {
    "itself": lambda memory: memory,
    "a view": Memory.getbuffer,
    "a slice of a view": lambda memory: memory.getbuffer()[10:20],
    "an array": lambda memory: numpy.frombuffer(memory.getbuffer(), "u1"),
    "a part of an array": lambda memory: numpy.frombuffer(memory.getbuffer(), "u1")[::7][3:5].reshape(1, 2),
    "a row of an array": lambda memory: iter(numpy.frombuffer(memory.getbuffer(), "u1").reshape(2, -1)),
    "a closure": lambda memory: lambda: memory,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_somebody_looks_into_is_not_used_again(holder: str) -> None:
    memory = Memory(SIZE)
    spare.keep(memory)
    number, held = id(memory), HOLDERS[holder](memory)
    del memory
    assert spare.take(SIZE) is None
    del held
    assert id(spare.take(SIZE)) == number


def test_only_the_very_size_will_do_and_what_is_of_no_use_is_let_go() -> None:
    number = kept(SIZE)
    looked_at = Memory(SIZE)
    spare.keep(looked_at)
    kept(2 * SIZE)
    assert id(spare.take(SIZE)) == number
    assert spare.take(3 * SIZE) is None
    assert spare.take(2 * SIZE) is None  # it went when another size came
    number = id(looked_at)
    del looked_at
    assert id(spare.take(SIZE)) == number  # nobody had it but who looked at it, so it cost nothing


def test_sizes_that_come_by_turns_are_all_used_again() -> None:
    numbers = {size: kept(size) for size in (100, 200, 300)}
    for _ in range(3):
        for size, number in numbers.items():
            memory = spare.take(size)
            assert memory is not None and id(memory) == number
            spare.keep(memory)
            del memory


def test_no_more_is_kept_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "MOST_BYTES", 3 * SIZE)
    for _ in range(10):
        kept()
    assert sum(each.size for each in spare._kept) == 3 * SIZE
    spare.clear()
    kept(4 * SIZE)
    assert not spare._kept
    for _ in range(10):
        kept(1)
    assert len(spare._kept) == spare.MOST


def test_without_the_interpreters_lock_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "_has_lock", lambda: False)
    kept()
    assert spare.take(SIZE) is None


def test_two_threads_never_have_the_same() -> None:
    faults: list[str] = []

    def work(mark: int) -> None:
        for _ in range(3000):
            memory, marks = spare.take(SIZE) or Memory(SIZE), bytes([mark]) * SIZE
            view = memory.getbuffer()
            view[:] = marks
            if view != marks:
                faults.append("another thread wrote into it")
            spare.keep(memory)
            if view != marks:
                faults.append("another thread took what this one still has")
            del memory, view

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and len(spare._kept) <= spare.MOST
