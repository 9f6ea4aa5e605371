"""Workers that a hub joins: real processes, of which some are killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from cluster_ends import DEADLINE
from processes import Program

TESTS = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers need fork()")


@pytest.fixture
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as name:
        yield name


class Workers:
    """The program, and a client of each worker by its process number."""

    def __init__(self, program: Program, path: str) -> None:
        self.program = program
        self.path = path
        self.clients: dict[int, node_ipc.AsyncClient] = {}
        self.heard: dict[int, list[Any]] = {}
        self.seen: dict[int, set[int]] = {}
        self.hub = int(re.findall(r"the hub of .* is process (\d+)", program.wait_for("the hub of"))[0])

    async def meet(self, count: int, stack: AsyncExitStack) -> None:
        """A client in the room "a" of each worker, and each worker knowing the others."""
        async with asyncio.timeout(DEADLINE):
            while len(self.clients) < count:
                client = await stack.enter_async_context(node_ipc.connect(self.path, wait=True, stop_retrying=0))
                client.emit("join", "a")
                pid = await client.receive("joined")
                if pid in self.clients:
                    await client.close()
                    continue
                self.clients[pid] = client
                heard = self.heard[pid] = []
                client.on("said", heard.append)
                seen = self.seen[pid] = set()
                client.on("seen", seen.add)
            await self.know(count)

    async def know(self, count: int) -> None:
        while not all([await client.request("nodes") == count - 1 for client in self.clients.values()]):
            await asyncio.sleep(0.02)
        for seen in self.seen.values():
            seen.clear()
        while not all(self.seen[pid] >= self.clients.keys() for pid in self.clients):  # the hub knows it, too
            for client in self.clients.values():
                client.emit("look", "a")
            await asyncio.sleep(0.02)


@asynccontextmanager
async def workers(folder: str, count: int) -> AsyncIterator[Workers]:
    path = f"{folder}/world"
    program = await asyncio.to_thread(
        Program.python, str(TESTS / "bus_workers_program.py"), path, str(count), TMPDIR=folder
    )
    try:
        async with AsyncExitStack() as stack:
            made = await asyncio.to_thread(Workers, program, path)
            await made.meet(count, stack)
            yield made
    finally:
        await asyncio.to_thread(program.close)


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_room_reaches_the_clients_of_every_worker(folder: str) -> None:
    async with workers(folder, 3) as made:
        next(iter(made.clients.values())).emit("say", {"room": "a", "count": 100, "pause": 0})
        await until(lambda: all(len(heard) == 100 for heard in made.heard.values()))
        assert all(heard == list(range(100)) for heard in made.heard.values())


async def test_a_dead_worker_loses_nothing_of_the_others(folder: str) -> None:
    async with workers(folder, 3) as made:
        one, two, three = made.clients
        made.clients[one].emit("say", {"room": "a", "count": 400, "pause": 0.002})
        await until(lambda: len(made.heard[two]) > 50)
        os.kill(three, signal.SIGKILL)
        del made.clients[three]
        await until(lambda: len(made.heard[two]) == 400)
        assert made.heard[one] == made.heard[two] == list(range(400))
        assert await made.clients[two].request("lost") == 0
        async with asyncio.timeout(DEADLINE):  # and the one in its place is one of them
            await made.know(3)


async def test_a_dead_hub_is_replaced_and_what_it_took_with_it_is_told(folder: str) -> None:
    async with workers(folder, 2) as made:
        one, two = made.clients
        made.clients[one].emit("say", {"room": "a", "count": 600, "pause": 0.001})
        await until(lambda: len(made.heard[two]) > 100)
        os.kill(made.hub, signal.SIGKILL)
        await until(lambda: len(made.heard[one]) == 600)  # its own clients notice nothing
        async with asyncio.timeout(DEADLINE):
            while len(made.heard[two]) + await made.clients[two].request("lost") < 600:
                await asyncio.sleep(0.05)
        assert len(made.heard[two]) + await made.clients[two].request("lost") == 600
        assert made.heard[two] == sorted(set(made.heard[two]))
        assert await made.clients[two].request("state") == "up"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_nothing_is_left_when_the_parent_ends(folder: str, number: int) -> None:
    async with workers(folder, 2) as made:
        pids = [made.hub, *made.clients]
        made.program.process.send_signal(number)
        await asyncio.to_thread(made.program.process.wait, DEADLINE)
        await until(lambda: not any(map(lives, pids)))
    left = set(os.listdir(folder))
    assert left == set() if number != signal.SIGKILL else left <= {"world", "world.lock"}


async def test_what_was_emitted_before_the_end_reaches_the_other_workers_clients(folder: str) -> None:
    async with workers(folder, 2) as made:
        one, two = made.clients
        made.clients[one].emit("say", {"room": "a", "count": 200, "pause": 0})
        await until(lambda: len(made.heard[one]) == 200)  # all are emitted: the handler ends with its worker
        made.program.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(made.program.process.wait, DEADLINE)
        await until(lambda: len(made.heard[two]) == 200)
