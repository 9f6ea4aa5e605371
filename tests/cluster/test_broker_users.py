"""Somebody else on the broker, with its own client library: what he publishes under our subjects harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import brokers
from brokers import Broker
from cluster_ends import BEAT, DEADLINE, Ends, ends, until
from node_ipc.cluster.members import MISSED_BEATS, MOST_NODES
from node_ipc.core.trace import BusStats


@pytest.fixture(params=["nats", "redis"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    started = brokers.start(request.param, config="max_payload: 8388608\n")
    yield started
    started.close()


@contextlib.asynccontextmanager
async def stranger(broker: Broker) -> AsyncIterator[Callable[..., Any]]:
    """Publishes what it likes."""
    if broker.name == "nats":
        import nats

        client = await nats.connect(broker.url)

        async def publish(subject: str, *messages: bytes) -> None:
            for data in messages:
                await client.publish(subject, data)
            await client.flush()

        try:
            yield publish
        finally:
            await client.close()
    else:
        from redis.asyncio import Redis

        redis = Redis.from_url(broker.url)

        async def pipe(subject: str, *messages: bytes) -> None:
            pipeline = redis.pipeline(transaction=False)
            for data in messages:
                pipeline.publish(subject, data)
            await pipeline.execute()

        try:
            yield pipe
        finally:
            await redis.aclose()


def stats(them: Ends, number: int = 0) -> BusStats:
    found = them.servers[number].stats().bus
    assert found is not None
    return found


def emit(number: int, frame: Any, room: str = "a", node: str = "evil", **other: Any) -> bytes:
    parts = {"life": 1, "wire": "json '\\x0c'", "rooms": None, "but_rooms": [], "but": []} | other
    mark = [room, 1, number, 1, 1]
    tail = [parts["rooms"], parts["but_rooms"], parts["but"], frame]
    return json.dumps(["e", node, parts["life"], number, parts["wire"], [mark], *tail]).encode()


async def is_as_before(them: Ends, number: int) -> None:
    """The servers hear each other, and the clients of both get what is emitted."""
    them.servers[1].to("a").emit("x", number)
    await until(lambda: them.heard[0][-1:] == [number] and them.heard[1][-1:] == [number])
    async with asyncio.timeout(DEADLINE):  # one that got no processor for three heartbeats is away for a moment
        while len(await them.servers[0].everywhere.sockets(room="a")) != 2:
            await asyncio.sleep(0.005)
    assert all(client.state.value == "connected" for client in them.clients)


@pytest.mark.row(69)
async def test_garbage_under_every_subject_is_counted_and_told_and_nothing_else(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",)) as them, stranger(broker) as publish:
        name = them.servers[0].everywhere.name
        chance = random.Random(1)
        garbage = [b"", b"\0", b"\xff\xfe", b"[" * 100_000, b'["e",' + b"1," * 1000, b'{"a":1}', b"null", b'["z",1]']
        garbage += [chance.randbytes(chance.randrange(1, 300)) for _ in range(50)]
        garbage += [emit(1, {"type": "x"})[:cut] for cut in range(1, 60, 7)]
        subjects = ["node_ipc.test.all", f"node_ipc.test.node.{name}", "node_ipc.test.room.a"]
        for subject in subjects:
            await publish(subject, *garbage)
        expected = len(garbage) * len(subjects)
        await until(lambda: stats(them).faults == expected)
        assert len(them.errors[0]) == expected and all("bus" in str(error) for error in them.errors[0])
        await until(lambda: stats(them, 1).faults == 2 * len(garbage))
        assert not any(them.gaps) and not any(them.heard)
        await is_as_before(them, 1)


@pytest.mark.row(69)
async def test_what_is_too_large_for_a_peer_is_too_large_from_the_broker(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",), max_message_size=100_000) as them, stranger(broker) as publish:
        await publish("node_ipc.test.room.a", emit(1, {"type": "x", "data": "y" * 4_000_000}))
        await publish("node_ipc.test.room.a", emit(2, {"type": "n" * 1000, "data": 1}))
        await publish("node_ipc.test.room.a", emit(3, {"type": "error", "data": 1}))
        await publish("node_ipc.test.room.a", emit(4, {"type": "ipc.ping\f{}", "data": 1}))
        await publish("node_ipc.test.all", emit(5, {"type": "x", "data": 1}, room="", rooms=["r" * 257]))
        await until(lambda: len(them.errors[0]) >= 4)
        assert "max_message_size is 100000" in str(them.errors[0][0])
        assert not any(them.heard)
        await is_as_before(them, 1)


@pytest.mark.row(69)
async def test_forged_nodes_are_bounded_and_forged_words_of_others_do_no_lasting_harm(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",), missed_beats=MISSED_BEATS) as them, stranger(broker) as publish:
        one, two = (server.everywhere.name for server in them.servers)
        beats = [json.dumps(["b", f"n{number}", 1, 1, 0, 1, True]).encode() for number in range(MOST_NODES + 500)]
        await publish("node_ipc.test.all", *beats)
        assert len(them.servers[0].everywhere.nodes) <= MOST_NODES
        await until(lambda: len(them.servers[0].everywhere.nodes) == 1)  # they were never heard again
        for forged in (["q", two, 2**62], ["b", one, 2**62, 1, 2**62, 9, True], ["r", two, 1, 1, None, {}]):
            await publish("node_ipc.test.all", json.dumps(forged).encode())
        await publish("node_ipc.test.room.a", emit(2**62, {"type": "x", "data": "own"}, node=one))
        for rooms in (500, 20_000):
            asks = ["s", "evil", 1, 1, [[f"r{number}", 0, 0] for number in range(rooms)]]
            await publish(f"node_ipc.test.node.{one}", json.dumps(asks).encode())
        found = them.servers[0].everywhere
        await until(lambda: {node.name for node in found.nodes} == {two})
        await until(lambda: {node.name for node in them.servers[1].everywhere.nodes} == {one})
        await asyncio.sleep(4 * BEAT / 1000)
        await is_as_before(them, 7)
        assert "own" not in them.heard[0]  # it does not hear itself
