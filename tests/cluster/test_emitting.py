"""An emitter: to the clients of servers elsewhere, from a program that is none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import brokers
import node_ipc
from brokers import Broker
from cluster_ends import ends, until
from node_ipc.errors import ConfigError, ConnectTimeout, InvalidEvent, NotConnected


@pytest.fixture(params=list(brokers.BROKERS))
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    started = brokers.start(request.param)
    yield started
    started.close()


async def test_rooms_and_everybody_on_every_server_and_all_of_it_is_sent_at_the_end(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a", "b"), ()) as all:
        async with node_ipc.scale.emitter(broker.url, bus_group="test") as out:
            assert out.to("a").emit("x", 1)
            out.to("b").except_("a").emit("x", 2)
            out.to("a").to("b").emit("x", 3)
            for number in range(100, 300):
                out.broadcast("x", number)
        many = list(range(100, 300))
        await until(lambda: [len(heard) for heard in all.heard] == [202, 202, 200])
        assert [heard[:-200] for heard in all.heard] == [[1, 3], [1, 3], []]
        assert all.heard[2] == many and not any(all.gaps)
        assert [len(server.everywhere.nodes) for server in all.servers] == [2, 2, 2]
        with pytest.raises(NotConnected, match="this emitter is closed"):
            out.to("a").emit("x")
        with pytest.raises(NotConnected, match="this emitter is closed"):
            out.broadcast("x")


async def test_the_newest_is_kept_for_each_socket_of_each_server(broker: Broker) -> None:
    newest = node_ipc.Event("x", float, keep="latest")
    async with ends(broker, ("a",), ("a",)) as all, node_ipc.scale.emitter(broker.url, bus_group="test") as out:
        there = all.servers[0].sockets[0]
        there.outgoing.pause()  # its kernel is full
        for number in range(5):
            out.to("a").emit(newest, number)
            all.servers[1].broadcast(newest if number % 2 else "x", number + 0.5, keep="latest")
        out.broadcast("x", "kept")
        await until(lambda: (there.stats().replaced, there.outgoing.unsent) == (9, 2))
        there.writable()
        await until(lambda: "kept" in all.heard[0] and "kept" in all.heard[1])
        assert len(all.heard[0]) == 2 and {4, 4.5} & set(all.heard[0])
        assert {4, 4.5} & set(all.heard[1]) and not any(all.gaps)  # those of one may replace the last of the other
        with pytest.raises(ValueError, match='did you mean keep="latest"'):
            out.broadcast("x", keep="last")  # type: ignore[call-overload]


async def test_what_an_emitter_lost_is_told_and_it_goes_on_after_the_broker_died(broker: Broker) -> None:
    async with ends(broker, ("a",)) as all, node_ipc.scale.emitter(broker.url, bus_group="test") as out:
        sent = 0
        for _ in range(3):
            for _ in range(50):
                out.to("a").emit("x", sent)
                sent += 1
            await asyncio.to_thread(broker.kill)
            out.to("a").emit("x", sent)
            sent += 1
            await asyncio.to_thread(broker.start)
            await until(lambda: out.stats().state == "up" and all.servers[0].stats().bus.state == "up")  # type: ignore[union-attr]
        await until(lambda: len(all.heard[0]) + all.gaps[0].total() == sent)
        assert all.heard[0] == sorted(set(all.heard[0]))


async def test_a_bus_that_is_not_there_is_an_error_in_time_and_what_was_not_sent_is_one_at_the_end(
    broker: Broker,
) -> None:
    emitter = node_ipc.scale.emitter(broker.url, timeout=10)
    async with emitter as out:
        await asyncio.to_thread(broker.kill)
        await until(lambda: out.stats().state == "down")
        out.to("a").emit("x", 1)
        with pytest.raises(NotConnected, match="1 events were not sent"):
            await out.close(timeout=0.1)
    with pytest.raises(ConnectTimeout, match="cannot be reached"):
        async with node_ipc.scale.emitter(broker.url, timeout=0.3):
            pass


async def test_what_the_broker_may_not_have_at_the_end_is_an_error(broker: Broker) -> None:
    with pytest.raises(NotConnected, match=r"the broker may not have the last events|1 events were not sent"):
        async with node_ipc.scale.emitter(broker.url) as out:
            out.to("a").emit("x", 1)
            broker.kill()  # and nothing was given to it: that is done in the loop's next turn


async def test_an_end_without_a_word_is_no_error_where_nothing_was_emitted(broker: Broker) -> None:
    async with node_ipc.scale.emitter(broker.url):
        broker.kill()


@pytest.mark.parametrize("bus", [None, False, 5, "host:4222", "http://host", "nats://", "nats://host:port", object()])
def test_what_is_no_bus_is_refused(bus: Any) -> None:
    with pytest.raises(ConfigError):
        node_ipc.scale.emitter(bus)


async def test_an_emitter_that_was_not_entered_says_what_to_write() -> None:
    out: Any = node_ipc.scale.emitter("nats://me:nevershown@host")
    entered = r"async with node_ipc\.scale\.emitter\('nats://host'\)"
    for call in (lambda: out.to("gold").emit("price", 3), lambda: out.broadcast("news"), out.stats):
        with pytest.raises(NotConnected, match=entered):
            call()
    with pytest.raises(TypeError, match=entered):
        await out
    with pytest.raises(TypeError, match=entered), out:
        pass
    await out.close()  # there is nothing to end


@pytest.mark.parametrize(
    ("verb", "instead"), [("emit", r"to\(room\)\.emit.* broadcast"), ("request", "everywhere"), ("on", "hears nothing")]
)
def test_what_an_emitter_has_not_says_what_there_is(verb: str, instead: str) -> None:
    with pytest.raises(AttributeError, match=instead):
        getattr(node_ipc.scale.emitter("nats://host"), verb)


async def test_wrong_calls_say_what_to_give() -> None:
    out = node_ipc.scale.emitter("nats://me:nevershown@host")
    assert repr(out) == "<Emitter nats nats://host>"
    with pytest.raises(TypeError, match="use broadcast"):
        out.to()
    with pytest.raises(InvalidEvent):
        out.to("")
    with pytest.raises(TypeError):
        node_ipc.scale.emitter("nats://host", timeout="5")  # type: ignore[arg-type]
