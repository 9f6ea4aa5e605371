"""What waits for a client library: in order, and whoever was told to wait is told when it is over."""

from __future__ import annotations

import asyncio

import pytest

from node_ipc.cluster.pump import FULL_BYTES, Pump


async def test_whoever_heard_that_it_is_full_hears_when_it_is_not_though_somebody_else_put_something_small() -> None:
    """A slow NATS: a heartbeat went by while a batch was being sent, and what waited was never sent."""
    sent: list[int] = []
    gate = asyncio.Event()
    writable: list[int] = []

    async def send(items: list[int]) -> None:
        await gate.wait()
        sent.extend(items)

    pump = Pump(send, lambda: writable.append(len(sent)))
    task = asyncio.create_task(pump.run())
    assert pump.put(1, FULL_BYTES) and not pump.put(2, 1)
    await asyncio.sleep(0)
    assert not pump.put(3, 1)
    gate.set()
    await pump.emptied()
    assert sent == [1, 2, 3] and writable == [2]
    assert pump.put(4, 1)
    await pump.emptied()
    assert sent == [1, 2, 3, 4] and writable == [2]
    task.cancel()


async def test_what_sending_raises_ends_it() -> None:
    async def send(items: list[int]) -> None:
        raise ConnectionError("gone")

    pump = Pump(send, lambda: None)
    pump.put(1)
    with pytest.raises(ConnectionError):
        await pump.run()


async def test_who_waits_until_all_is_sent_hears_that_it_will_not_be() -> None:
    async def fails(items: list[int]) -> None:
        raise OSError("gone")

    pump = Pump(fails, lambda: None)
    running = asyncio.create_task(pump.run())
    pump.put(1)
    with pytest.raises(ConnectionError, match="the connection is gone"):
        await pump.emptied()
    with pytest.raises(OSError, match="gone"):
        await running
