"""A day of timers on the virtual clock (reliability row 49): heartbeats, time limits, retries, half frames."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from node_ipc import Loss, RequestTimeout
from node_ipc.testing import MemoryDriver, Pair, Wire, connect, pair

MINUTE = 60.0
HOURS = 24
KEPT = 500
"""Blocks that the interpreter may have kept of 22 hours; one of each minute would be 1,320."""


class Day:
    """A server, a client that is always there, and in each minute one of each thing that has a timer."""

    def __init__(self) -> None:
        self.ends: Pair = pair(
            silent=True, server={"heartbeat": 20_000}, client={"heartbeat": 5_000, "retry": 500}, message_timeout=7_000
        )
        self.driver: MemoryDriver = self.ends.driver
        self.answers = self.timeouts = self.halves = self.losses = 0
        self.ends.server.handle("add", sum)
        self.ends.server.handle("never", self.never)
        self.ends.server.on("error", self.half)
        self.ends.client.on("error", lambda error: None)
        self.ends.client.on("disconnect", self.lost)

    async def never(self, params: Any) -> None:
        await self.driver.sleep(11)

    def half(self, error: Exception, socket: Any) -> None:
        self.halves += type(error).__name__ == "MessageTimeout"

    def lost(self, loss: Loss) -> None:
        self.losses += 1

    def minute(self, number: int) -> None:
        driver, client = self.driver, self.ends.client
        asked = client.request("add", [number, 1], timeout=30)
        given_up = client.request("never", timeout=3)
        cut_short = client.request("never", timeout=30)
        wire = Wire.connected(driver, self.ends.server.address)
        wire.write(b'{"type":"half')
        other = connect(driver, self.ends.server.address, heartbeat=2_000)
        driver.advance(1)
        assert cut_short.abandon is not None
        cut_short.abandon()
        driver.advance(20)
        assert asked.value == number + 1 and isinstance(given_up.error, RequestTimeout)
        self.answers, self.timeouts = self.answers + 1, self.timeouts + 1
        assert wire.has_ended
        wire.close()
        other.close()
        driver.advance(MINUTE - 21)
        if number % 10 == 9:
            [connection] = driver.connections
            connection.cut() if number % 20 == 9 else connection.stall()
            driver.advance(MINUTE)

    @property
    def timers(self) -> int:
        return sum(not timer.cancelled for timer in self.driver._timers)


@pytest.mark.row(49)
def test_a_day_of_timers_leaves_none_behind(record_property: Callable[[str, object], None]) -> None:
    day, timers, blocks = Day(), [], []
    for hour in range(HOURS):
        for minute in range(60):
            day.minute(60 * hour + minute)
        day.driver.advance(MINUTE)
        timers.append(day.timers)
        assert len(day.driver.connections) == 1
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    minutes = 60 * HOURS
    assert (day.answers, day.timeouts, day.halves) == (minutes, minutes, minutes)
    assert day.losses == minutes // 10
    assert timers == timers[:1] * HOURS, "timers that nobody stops"
    assert blocks[-1] - blocks[1] < KEPT, blocks
    assert not day.driver.failures
    record_property("timers after each hour", timers[-1])
    record_property("blocks kept in 22 hours", blocks[-1] - blocks[1])
    record_property("calls of the clock", day.driver._numbers)
