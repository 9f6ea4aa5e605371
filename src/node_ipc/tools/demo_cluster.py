"""``node-ipc demo --cluster``: three workers on one socket, joined by a hub, and what rooms do across them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..aio import connect
from .demo_node import DemoFailed

if TYPE_CHECKING:
    from ..aio import AsyncClient

__all__ = ["show"]

COUNT = 3
DEADLINE = 30.0
"""Seconds for all of it; it takes two or three."""


class _Guest:
    """A client, in a room of whichever worker took it."""

    def __init__(self, client: AsyncClient, worker: int, room: str) -> None:
        self.client = client
        self.worker = worker
        self.room = room
        self.heard: list[str] = []
        client.on("said", lambda said: self.heard.append(said["text"]))


async def show(say: Callable[[str], None]) -> None:
    """Start the workers, talk, kill one of them, talk again, and end in order."""
    with tempfile.TemporaryDirectory(prefix="node-ipc-demo-") as folder:
        path = f"{folder}/world"
        command = [sys.executable, "-m", "node_ipc.tools.demo_workers", path, str(COUNT)]
        program = await asyncio.create_subprocess_exec(*command, env={**os.environ, "TMPDIR": folder})
        try:
            async with asyncio.timeout(DEADLINE), contextlib.AsyncExitStack() as stack:
                await _converse(path, stack, say)
        except TimeoutError:
            raise DemoFailed(f"it is not over after {DEADLINE:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                program.terminate()
            await program.wait()


async def _converse(path: str, stack: contextlib.AsyncExitStack, say: Callable[[str], None]) -> None:
    say(f"{COUNT} workers on one socket, and a hub between them: workers.run(setup, address, count={COUNT}, bus=True)")
    guests = await _guests(path, stack)
    for guest in guests:
        say(f"a client is at worker {guest.worker}, in the room {guest.room!r}")
    await _until_joined(guests[0], COUNT)
    await _talk(guests, say)
    dead = guests[0].worker
    say(f"\nworker {dead} is killed: its clients are gone, the others go on, and another takes its place")
    os.kill(dead, signal.SIGKILL)
    rest = [guest for guest in guests if guest.worker != dead]
    await _until_joined(rest[0], COUNT)
    await _talk(rest, say)


async def _guests(path: str, stack: contextlib.AsyncExitStack) -> list[_Guest]:
    """Two clients at each worker, one in each of two rooms; the kernel decides which worker takes a connection."""
    guests: dict[tuple[int, str], _Guest] = {}
    while len(guests) < 2 * COUNT:
        client = await stack.enter_async_context(connect(path, wait=True, retry=50))
        worker = await client.request("pid")
        room = "blue" if (worker, "red") in guests else "red"
        if (worker, room) in guests:
            await client.close()
            continue
        client.emit("join", room)
        await client.receive("joined")
        guests[worker, room] = _Guest(client, worker, room)
    return [guests[key] for key in sorted(guests)]


async def _until_joined(guest: _Guest, count: int) -> None:
    """Until its worker knows all the others."""
    while (await guest.client.request("who", "red"))["others"] != count - 1:
        await asyncio.sleep(0.02)


async def _talk(guests: list[_Guest], say: Callable[[str], None]) -> None:
    for room in ("red", "blue"):
        speaker = guests[-1]
        text = f"hello {room}"
        found: dict[str, Any] = await speaker.client.request("who", room)
        say(
            f"\nworker {speaker.worker} asks everywhere: {found['sockets']} sockets of {found['nodes']} workers are in "
            f"{room!r}, and emits to them: server.to({room!r}).emit(…)"
        )
        before = {id(guest): len(guest.heard) for guest in guests}
        speaker.client.emit("say", {"room": room, "text": text})
        meant = [guest for guest in guests if guest.room == room]
        while any(len(guest.heard) == before[id(guest)] for guest in meant):
            await asyncio.sleep(0.005)
        for guest in meant:
            say(f"  the client of worker {guest.worker} in {room!r} hears {guest.heard[-1]!r}")
        if any(guest.heard and guest.heard[-1] == text for guest in guests if guest.room != room):
            raise DemoFailed(f"somebody who is not in {room!r} heard {text!r}")
