"""Whole conversations played from a seed: clients, a server, and everything that goes wrong between them.

A seed that fails is printed and replays the same run: ``SEEDS=17 pytest tests/test_simulation.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from node_ipc.config.address import Unix
from node_ipc.config.config import Config
from node_ipc.core.client import Client, ClientState
from node_ipc.core.server import Server, ServerState
from node_ipc.core.session import Loss, Session
from node_ipc.errors import BackpressureError, IPCError, NotConnected, ProtocolError
from node_ipc.testing import Conditions, MemoryDriver

STEPS = 200
SEEDS = [int(seed) for seed in os.environ["SEEDS"].split(",")] if "SEEDS" in os.environ else list(range(1000))
WORLD = Unix("/memory/app.world")
SETTINGS = Config(
    retry=100,
    max_queued_messages=20,
    max_queued_bytes=50_000,
    max_pending_bytes=60_000,
    soft_pending_bytes=20_000,
    slow_timeout=3000,
    close_timeout=2000,
    message_timeout=5000,
    max_connections=5,
    max_handler_frames=4,
).settings()


class Member:
    """A client that numbers what it emits, and what became of it."""

    def __init__(self, world: World, name: int) -> None:
        self.world = world
        self.client = Client(f"c{name}", WORLD, world.driver, SETTINGS)
        self.name = name
        self.emitted = 0
        self.losses: list[Loss] = []
        self.destroyed = 0
        self.last_echo = -1
        self.client.on("disconnect", self.losses.append)
        self.answers = 0
        self.client.on("destroy", self._destroyed)
        self.client.on("error", self._failed)
        self.client.on("echo", self._echo)
        self.client.on("news", self._news)

    def _destroyed(self) -> None:
        self.destroyed += 1

    def _failed(self, error: IPCError) -> None:
        self.answers += isinstance(error, ProtocolError)  # garbage that swallowed a message is not silent either
        self.world.note(error)

    def _news(self, data: str) -> None:
        self.answers += 1

    def _echo(self, number: int) -> None:
        self.answers += 1
        assert number > self.last_echo, "an echo came twice or out of order"
        self.last_echo = number

    def emit(self, size: int) -> None:
        try:
            self.client.emit("n", [self.name, self.emitted, "x" * size])
        except (BackpressureError, NotConnected):
            return
        self.emitted += 1


class World:
    """A server that comes and goes, three clients, and a network."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.driver = MemoryDriver(seed=seed)
        self.conditions()
        self.broken: list[str] = []
        self.heard: list[set[int]] = [set(), set(), set()]
        self.others = 0
        self.sockets: list[Session] = []
        self.server = self._new_server()
        self.members = [Member(self, name) for name in range(3)]
        self.log: list[str] = []

    def conditions(self) -> None:
        chance = self.chance
        latencies: list[Any] = [0.0, 0.01, lambda: chance.random() / 10]
        self.driver.conditions = Conditions(
            latency=chance.choice(latencies),
            split=chance.choice([None, None, None, [1, 200], lambda: chance.randint(1, 800)]),
            buffer=chance.choice([500, 5000, 200_000]),
        )

    def _new_server(self) -> Server:
        server = Server(WORLD, self.driver, SETTINGS)
        server.on("n", self._heard)
        server.on("slow", self._slowly)
        server.on("error", self._failed)
        server.on("connect", self.sockets.append)
        return server

    def _failed(self, error: IPCError) -> None:
        self.others += isinstance(error, ProtocolError)
        self.note(error)

    def note(self, error: IPCError) -> None:
        """An ``assert`` in a handler is reported like any failing handler; here it counts."""
        if isinstance(error.__cause__, AssertionError):
            self.broken.append(str(error.__cause__))

    def _heard(self, data: list[Any], socket: Session) -> None:
        name, number, _ = data
        assert number > socket.state.get("last", -1), "messages of one link came out of order"
        socket.state["last"] = number
        assert number not in self.heard[name], "a message came twice"
        self.heard[name].add(number)
        if self.chance.random() < 0.02:
            self.chance.choice([socket.close, socket.abort])()
        elif self.chance.random() < 0.3:
            with contextlib.suppress(BackpressureError):
                socket.emit("echo", number)

    async def _slowly(self, data: Any, socket: Session) -> None:
        self.others += 1
        await self.driver.sleep(self.chance.random())
        if self.chance.random() < 0.2:
            raise ValueError("a handler fails")

    # ---- what may happen

    def step(self) -> None:
        action = self.chance.choice(ACTIONS)
        self.log.append(action)
        getattr(self, action)()

    def emit(self) -> None:
        member = self.chance.choice(self.members)
        for _ in range(self.chance.randint(1, 5)):
            member.emit(self.chance.choice([0, 10, 2000]))

    def slow(self) -> None:
        with contextlib.suppress(BackpressureError, NotConnected):
            self.chance.choice(self.members).client.emit("slow", 1)

    def broadcast(self) -> None:
        self.server.broadcast("news", "x" * self.chance.choice([1, 500, 4000]))

    def turn(self) -> None:
        if self.driver.turn_due():
            self.driver.run_turn()

    def pass_time(self) -> None:
        self.driver.advance(self.chance.choice([0.01, 0.1, 1.0, 4.0]))

    def serve(self) -> None:
        if self.server.state in (ServerState.IDLE, ServerState.CLOSED):
            self.server.start()

    def stop(self) -> None:
        ways: list[Callable[[], object]] = [self.server.stop, self.server.abort]
        self.chance.choice(ways)()

    def connect(self) -> None:
        self.chance.choice(self.members).client.connect()

    def close(self) -> None:
        client = self.chance.choice(self.members).client
        ways: list[Callable[[], object]] = [client.close, client.abort]
        self.chance.choice(ways)()

    def harm(self) -> None:
        if self.driver.connections:
            connection = self.chance.choice(self.driver.connections)
            harm = self.chance.choice(["drop", "cut", "stall", "resume", "end", "garbage", "half"])
            self.log[-1] = harm
            if harm in ("drop", "cut", "stall", "resume"):
                getattr(connection, harm)()
            elif harm == "end":
                self.chance.choice([connection.to_client, connection.to_server]).end()
            else:
                end = self.chance.choice([connection.client, connection.server])
                end.write(b"garbage\f" if harm == "garbage" else b'{"type":')

    def resume(self) -> None:
        self.driver.resume()

    # ---- what must hold

    def check(self) -> None:
        assert self.broken == []
        for member in self.members:
            assert len(member.client._queue) <= SETTINGS.max_queued_messages
            assert member.client._queue.bytes <= SETTINGS.max_queued_bytes
            assert member.client.closed.done == (member.client.state is ClientState.CLOSED)
            assert member.client.pending_bytes <= SETTINGS.max_pending_bytes + SETTINGS.max_queued_bytes + 64 * 1024
        assert len(self.server.sockets) <= SETTINGS.max_connections

    def account(self) -> None:
        """What was sent was heard, or one of the two ends was told: no message is missing in silence."""
        ours, theirs = (
            [loss for member in self.members for loss in member.losses],
            [socket.loss for socket in self.sockets if socket.loss is not None],
        )
        sent = sum(member.client.stats().messages_out for member in self.members)
        heard = self.others + sum(map(len, self.heard))
        told = sum(loss.in_flight for loss in ours) + sum(loss.unheard for loss in theirs)
        assert heard + told >= sent, f"of {sent} to the server {heard} were heard and {told} told"
        sent = sum(socket.stats().messages_out for socket in self.sockets)
        heard = sum(member.answers for member in self.members)
        told = sum(loss.in_flight for loss in theirs) + sum(loss.unheard for loss in ours)
        assert heard + told >= sent, f"of {sent} to the clients {heard} were heard and {told} told"

    def end(self) -> None:
        """Everybody goes; nothing is left, and every message is accounted for."""
        self.driver.conditions = Conditions()
        self.driver.resume()
        for member in self.members:
            member.client.close()
        self.server.stop()
        self.driver.advance(30)
        assert self.server.state in (ServerState.CLOSED, ServerState.IDLE)
        assert self.server.sockets == []
        assert not self.server._opening
        assert not self.server._full
        assert not self.server._per_uid
        for member in self.members:
            client = member.client
            assert client.state in (ClientState.CLOSED, ClientState.IDLE)
            stats = client.stats()
            assert sum(loss.dropped for loss in member.losses) == stats.dropped, "a loss that nobody was told of"
        self.account()
        assert self.driver.connections == []
        assert not self.driver.turn_due()
        assert self.driver.next_due() is None, "a timer is left over"
        assert not self.driver.tasks


ACTIONS = [
    *["emit"] * 8, *["turn"] * 6, *["pass_time"] * 6, *["serve"] * 3, *["connect"] * 4, *["harm"] * 3,
    "slow", "slow", "broadcast", "broadcast", "stop", "close", "resume", "resume", "conditions",
]  # fmt: skip


def play(seed: int) -> World:
    world = World(seed)
    world.serve()
    for member in world.members:
        member.client.connect()
    for _ in range(STEPS):
        world.step()
        world.check()
    world.end()
    return world


@pytest.mark.row(48)
@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_simulation(part: int) -> None:
    heard = 0
    for seed in SEEDS[part::10]:
        try:
            world = play(seed)
        except BaseException:
            print(f"\nthe simulation failed: replay it with SEEDS={seed}")
            raise
        heard += sum(map(len, world.heard))
    assert heard or "SEEDS" in os.environ


@pytest.mark.row(48)
def test_a_seed_replays() -> None:
    first, second = play(4), play(4)
    assert first.log == second.log
    assert first.heard == second.heard
    assert first.driver.now() == second.driver.now()
    assert [member.client.stats() for member in first.members] == [member.client.stats() for member in second.members]
