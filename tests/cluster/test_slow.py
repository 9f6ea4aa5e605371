"""A server that stops reading: bounded at every place, and it hears how much it missed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import brokers
import node_ipc
from brokers import Broker
from cluster_ends import BEAT, DEADLINE, until
from processes import Program

TESTS = Path(__file__).parent.parent
LARGE = "x" * 100_000
COUNT = 1_000
"""100 MB: more than any of the brokers keeps for one that does not read."""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers need fork()")


@pytest.fixture(params=list(brokers.BROKERS))
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    # NATS holds the publishers up until it gives the slow one up, after 10 s by default.
    started = brokers.start(request.param, config='write_deadline: "1s"\n')
    yield started
    started.close()


def memory(pid: int) -> int:
    """The resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
async def test_a_stopped_server_costs_bounded_memory_and_is_told_what_it_missed(broker: Broker) -> None:
    path = f"{broker.folder}/slow"
    command = [str(TESTS / "bus_workers_program.py"), path, "1", broker.url]
    program = await asyncio.to_thread(Program.python, *command)
    try:
        await asyncio.to_thread(program.wait_for, "up ")
        async with (
            node_ipc.serve(f"{broker.folder}/fast", bus=broker.url, bus_heartbeat=BEAT) as server,
            node_ipc.connect(path) as client,
        ):
            heard: list[Any] = []
            client.on("said", lambda data: heard.append(data["n"]))
            client.on("here", heard.append)
            client.emit("join", "a")
            worker = await client.receive("joined", timeout=DEADLINE)
            await until(lambda: len(server.everywhere.nodes) == 1)
            async with asyncio.timeout(DEADLINE):
                while not heard:  # until the broker, too, knows that somebody joined
                    server.to("a").emit("here", -1)
                    await asyncio.sleep(0.02)
            server.to("a").emit("said", {"n": -2})
            await until(lambda: heard[-1] == -2)
            heard.clear()
            before = memory(worker)
            os.kill(worker, signal.SIGSTOP)
            for number in range(COUNT):
                server.to("a").emit("said", {"n": number, "text": LARGE})
                while server.stats().bus.waiting_messages:  # type: ignore[union-attr]
                    await asyncio.sleep(0.001)
            stats = server.stats().bus
            assert stats is not None and stats.dropped == 0 and stats.state == "up"
            os.kill(worker, signal.SIGCONT)

            async def accounted() -> int:
                return len(heard) + int(await client.request("lost"))

            async with asyncio.timeout(DEADLINE):
                while await accounted() != COUNT:
                    await asyncio.sleep(0.05)
            assert heard == sorted(set(heard)) and len(heard) < COUNT
            server.to("a").emit("said", {"n": COUNT})
            await until(lambda: heard[-1] == COUNT)
            assert memory(worker) - before < 160 * 1024 * 1024
    finally:
        await asyncio.to_thread(program.close)
