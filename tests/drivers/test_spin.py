"""Looking on before a wait: how long, when no longer, and when again; on both drivers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import node_ipc
from node_ipc import blocking
from node_ipc.config.config import Config
from node_ipc.drivers.loop import EventLoopDriver
from node_ipc.drivers.spin import MOST_MISSES, WAKING_SECONDS, LoopSpin, Spin, spin_of
from node_ipc.drivers.thread import ThreadDriver

SECONDS = 10e-6


class Waits:
    """A driver's wait: each look takes a microsecond; something comes at the given times."""

    def __init__(self, *comes: float) -> None:
        self.time = 0.0
        self.comes = list(comes)
        self.limits: list[float | None] = []

    def now(self) -> float:
        return self.time

    def look(self, limit: float | None) -> bool:
        self.limits.append(limit)
        self.time += 1e-6
        if self.comes and self.comes[0] <= self.time:
            self.comes.pop(0)
            return True
        if limit == 0.0:
            return False
        wanted = self.comes[0] if self.comes else float("inf")
        self.time = wanted if limit is None else min(wanted, self.time + limit)
        return bool(self.comes) and self.comes.pop(0) <= self.time

    @property
    def blocked(self) -> int:
        return sum(limit != 0.0 for limit in self.limits)


def test_what_comes_soon_is_found_without_waiting() -> None:
    waits = Waits(4.5e-6)
    assert Spin(waits.now, SECONDS).wait(1.0, waits.look)
    assert waits.blocked == 0 and waits.time == pytest.approx(5e-6)


def test_what_comes_later_is_waited_for_as_long_as_the_caller_wants() -> None:
    waits = Waits(0.5)
    assert Spin(waits.now, SECONDS).wait(1.0, waits.look)
    assert waits.limits[-1] == 1.0 and waits.blocked == 1
    assert len(waits.limits) == pytest.approx(11, abs=1), "and the time to look on is over first"
    assert not Spin(waits.now, SECONDS).wait(1.0, waits.look)


def test_a_caller_who_does_not_want_to_wait_does_not() -> None:
    waits = Waits()
    for limit in (0.0, SECONDS / 2):
        assert not Spin(waits.now, SECONDS).wait(limit, waits.look)
    assert waits.limits == [0.0, SECONDS / 2]


def test_after_some_misses_it_waits_at_once_and_while_nothing_comes_it_costs_nothing() -> None:
    waits = Waits()
    spin = Spin(waits.now, SECONDS)
    for _ in range(MOST_MISSES):
        spin.wait(0.1, waits.look)
    waits.limits.clear()
    for _ in range(100):
        spin.wait(0.1, waits.look)
    assert waits.limits == [0.1] * 100


def test_a_wait_that_was_short_makes_it_look_on_again() -> None:
    waits = Waits()
    spin = Spin(waits.now, SECONDS)
    for _ in range(MOST_MISSES + 1):
        spin.wait(0.1, waits.look)
    for after, looks in ((SECONDS + WAKING_SECONDS * 2, False), (SECONDS + WAKING_SECONDS / 2, True)):
        waits.comes = [waits.time + after]
        assert spin.wait(None, waits.look)
        waits.limits.clear()
        spin.wait(0.1, waits.look)
        assert (waits.limits[0] == 0.0) == looks


class Turns:
    """A loop that does what is due at once, a microsecond each."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.due: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.seconds

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def run(self) -> int:
        """How many turns until it would wait."""
        turns = 0
        while self.due:
            due, self.due = self.due, []
            self.seconds += 1e-6
            turns += 1
            for callback in due:
                callback()
        return turns


def test_a_loop_does_not_wait_for_a_while_after_something_came() -> None:
    loop = Turns()
    spin = LoopSpin(loop, SECONDS)
    spin.begin()
    spin.begin()
    assert len(loop.due) == 1, "however much comes"
    assert loop.run() == pytest.approx(11, abs=1)


def test_a_loop_that_looked_on_in_vain_too_often_waits_until_things_come_fast_again() -> None:
    loop = Turns()
    spin = LoopSpin(loop, SECONDS)
    for _ in range(MOST_MISSES):
        loop.seconds += 1.0
        spin.begin()
        assert loop.run() > 5
    loop.seconds += 1.0
    spin.begin()
    assert loop.run() == 0
    loop.seconds += SECONDS + WAKING_SECONDS / 2
    spin.begin()
    assert loop.run() > 5


def test_a_driver_looks_on_as_long_as_the_endpoint_that_wants_most() -> None:
    waits = Waits()
    assert spin_of(None, Config().settings(), waits.now) is None
    spin = spin_of(None, Config(spin=20).settings(), waits.now)
    assert spin is not None and spin_of(spin, Config(spin=5).settings(), waits.now) is spin
    spin.wait(1.0, waits.look)
    assert len(waits.limits) == pytest.approx(21, abs=1)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "10", 2_000_000])
def test_what_is_no_such_time(wrong: object) -> None:
    with pytest.raises(node_ipc.ConfigError, match="a whole number of microseconds"):
        Config(spin=wrong)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "world.sock")


@pytest.mark.parametrize("spin", [0, 200])
async def test_ends_that_look_on_talk_as_others_do(path: str, spin: int) -> None:
    def ask() -> list[int]:
        with blocking.connect(path, spin=spin) as client:
            number = [0]
            for _ in range(50):
                client.emit("n", number[-1])
                number.append(client.receive("n", timeout=10))
            return number

    async with await node_ipc.serve(path, spin=spin) as server:
        server.on("n", lambda data, socket: socket.emit("n", data + 1))
        async with await node_ipc.connect(path, spin=spin) as other:
            asking = asyncio.create_task(asyncio.to_thread(ask))
            for number in range(50):
                other.emit("n", number)
                assert await other.receive("n") == number + 1
            assert await asking == list(range(51))


def test_a_driver_without_the_option_has_nothing_of_it() -> None:
    assert ThreadDriver()._spin is None and EventLoopDriver().spin is None


def test_an_idle_client_that_looks_on_uses_no_processor(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        client = blocking.connect(path, spin=1000)
        before = time.process_time()
        with pytest.raises(node_ipc.ReceiveTimeout):
            client.receive("never", timeout=1.0)
        assert time.process_time() - before < 0.02 + MOST_MISSES * 1000e-6
        client.abort()
