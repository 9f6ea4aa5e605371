"""The contract of a bus, held against the real brokers: the hub, nats-server and redis-server."""

from __future__ import annotations

import asyncio
import builtins
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from typing import Any

import msgspec
import pytest

import brokers
import node_ipc
from brokers import Broker
from cluster_ends import BEAT, DEADLINE, Ends, ends, until
from node_ipc import scale
from node_ipc.cluster import node
from node_ipc.cluster.engines import bus_of
from node_ipc.cluster.keeper import why_unreachable
from node_ipc.cluster.members import MISSED_BEATS
from node_ipc.config import bus_options
from node_ipc.errors import (
    BackpressureError,
    ConfigError,
    FrameTooLarge,
    NoResponder,
    NotConnected,
    RemoteError,
    RequestTimeout,
)
from stopwatch import Stopwatch

CHAOS = os.environ.get("NIGHTLY") == "chaos"
KILLS = int(os.environ.get("CHAOS_KILLS", "1000"))
"""Of brokers in the lane."""


@pytest.fixture(params=list(brokers.BROKERS))
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    started = brokers.start(request.param)
    yield started
    started.close()


@pytest.fixture
def the_others_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is first back at the broker holds what waits for as long as the others need, on a machine that is busy."""
    monkeypatch.setattr(node, "JOIN_SECONDS", DEADLINE)


class Handled:
    """A bus that can be made deaf, or slow to come back."""

    def __init__(self, url: str) -> None:
        self.bus = bus_of(bus_options.bus(url))
        self.late = 0.0
        self.is_deaf = False
        self.rooms = 0
        """Messages that came under a room's subject."""
        self._heard: Callable[[str, bytes], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bus, name)

    async def connect(self, hears: Any) -> int | None:
        await asyncio.sleep(self.late)
        if hears.heard != self._hear:  # once, not at each of a thousand connections around the one before
            self._heard, hears.heard = hears.heard, self._hear
        try:
            return await self.bus.connect(hears)
        finally:
            self.is_connected = True

    def _hear(self, subject: str, data: bytes) -> None:
        self.rooms += ".room." in subject
        if not self.is_deaf:
            assert self._heard is not None
            self._heard(subject, data)


# ---- who hears what


async def test_rooms_broadcasts_and_exceptions_reach_every_server(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a", "b"), ("b",)) as all:
        one, two, three = all.servers
        one.to("a").emit("x", 1)
        one.to("a", "b").emit("x", 2)
        one.broadcast("x", 3)
        one.broadcast("x", 4, local=True)
        one.to("b", local=True).emit("x", 5)
        found = await one.everywhere.sockets(room="b")
        assert len(found) == 2 and not found.missing
        [other] = [socket for socket in found if "a" in socket.rooms]
        one.to("b").except_(other).emit("x", 6)
        two.to("b").except_("a").emit("x", 7)
        three.to("a").except_(three.sockets[0]).emit("x", 8)
        await until(lambda: [sorted(heard) for heard in all.heard] == [[1, 2, 3, 4, 8], [1, 2, 3, 8], [2, 3, 6, 7]])
        assert not any(all.gaps) and not any(all.errors)


async def test_events_pass_undecoded(broker: Broker) -> None:
    async with ends(broker, (), ()) as all:
        reader, writer = await asyncio.open_unix_connection(f"{broker.folder}/s1")
        await until(lambda: len(all.servers[1].sockets) == 2)
        all.servers[0].broadcast("y", node_ipc.Raw(b'{ "a" : 1.50 }'))
        all.servers[0].broadcast("ü", {"b": "\f\u2028"})
        assert await reader.readuntil(b"\f") == b'{"type":"y","data":{ "a" : 1.50 }}\f'
        assert await reader.readuntil(b"\f") == '{"type":"ü","data":{"b":"\\f\u2028"}}\f'.encode()
        writer.close()


@pytest.mark.parametrize("options", [{"parser": "raw"}, {"delimiter": ";"}, {"parser": "fast"}], ids=str)
async def test_other_forms_of_frames(broker: Broker, options: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                node_ipc.serve(f"{broker.folder}/s{number}", bus=broker.url, bus_heartbeat=BEAT, **options)
            )
            for number in range(2)
        ]
        client = await stack.enter_async_context(node_ipc.connect(f"{broker.folder}/s1", **options))
        await until(lambda: servers[1].sockets and len(servers[0].everywhere.nodes) == 1)
        if "raw" in options.values():
            servers[0].broadcast(b"\x00\xff\f;")
            assert await client.receive("data", timeout=DEADLINE) == b"\x00\xff\f;"
        else:
            servers[0].broadcast("connected; not", {"text": "a;b\fc"})
            assert await client.receive("connected; not", timeout=DEADLINE) == {"text": "a;b\fc"}


async def test_another_group_hears_nothing(broker: Broker) -> None:
    async with AsyncExitStack() as stack:
        made = Ends(broker, stack)
        for group in ("one", "one", "two"):
            await made.add("a", bus_group=group)
        await until(lambda: [len(server.everywhere.nodes) for server in made.servers] == [1, 1, 0])
        made.servers[0].broadcast("x", 1)
        made.servers[2].to("a").emit("x", 2)
        made.servers[1].broadcast("x", 3)
        await until(lambda: [sorted(heard) for heard in made.heard[:2]] == [[1, 3], [1, 3]])
        assert made.heard[2] == [2]


async def test_lone_surrogates_pass_as_on_a_link(broker: Broker) -> None:
    """JavaScript may send them: in events, in their names, in requests, answers and errors, and in a peer's name."""
    half = "\ud83d"
    async with ends(broker, ("a",), ("a",), identify_peer=True) as all:
        one, two = all.servers
        reader, writer = await asyncio.open_unix_connection(f"{broker.folder}/s1")
        writer.write(b'{"type":"rpc.none","data":{"id":"\\ud83d"}}\f')
        await until(lambda: [socket.claimed_id for socket in two.sockets].count(half) == 1)
        one.to("a").emit("x", {half: half})
        one.broadcast(half, half)
        assert await reader.readuntil(b"\f") == b'{"type":"\\ud83d","data":"\\ud83d"}\f'
        await until(lambda: all.heard == [[{half: half}], [{half: half}]])
        found = await one.everywhere.sockets()
        assert half in [socket.claimed_id for socket in found] and len(found) == 3 and not found.missing
        all.clients[1].handle(half, lambda params: [params, half])
        two.handle("fail", lambda params, socket: (_ for _ in ()).throw(RemoteError(7, half, [half])))
        two.handle("echo", lambda params, socket: params)
        [socket] = [each for each in await one.everywhere.sockets(room="a") if each.node == two.everywhere.name]
        assert await one.everywhere.request(half, half, to=socket.id) == [half, half]
        assert await one.everywhere.request("echo", [half], type=list[str]) == [half]
        with pytest.raises(RemoteError) as refused:
            await one.everywhere.request("fail")
        assert (refused.value.code, refused.value.message, refused.value.data) == (7, half, [half])
        assert not any(all.errors) and not any(all.gaps)
        writer.close()


async def test_an_answer_that_is_no_json_is_an_error_at_both_ends(broker: Broker) -> None:
    async with ends(broker, (), ()) as all:
        all.servers[1].handle("thing", lambda: object())
        with pytest.raises(RemoteError, match="the handler failed"):
            await all.servers[0].everywhere.request("thing")
        assert "cannot be JSON" in str(all.errors[1][0].__cause__)


async def test_a_server_hears_of_the_rooms_that_it_has_and_of_no_other(broker: Broker) -> None:
    buses = [Handled(broker.url) for _ in range(2)]
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        for bus in buses:
            await all.add(bus=bus)
        await all.joined()
        one, two = all.servers

        async def came() -> int:
            """How many messages to rooms come to the second of a hundred to as many rooms."""
            before = buses[1].rooms
            for number in range(100):
                one.to(f"room {number}").emit("x", number)
            one.broadcast("x", "end")
            count = len(all.heard[1])
            await until(lambda: "end" in all.heard[1][count:])
            return buses[1].rooms - before

        assert await came() == 0
        two.sockets[0].join("room 5", "room 50")
        await buses[1].confirm()
        assert await came() == 2
        two.sockets[0].leave("room 5")
        await buses[1].confirm()
        assert await came() == 1
        assert [each for each in all.heard[1] if each != "end"][:2] == [5, 50] and not any(all.gaps)


async def test_a_room_is_reached_from_everywhere_as_soon_as_the_join_is_done(broker: Broker) -> None:
    async with ends(broker, (), ()) as all:
        one, two = all.servers
        client = all.clients[1]

        @two.on("join")
        async def join(room: str, socket: node_ipc.Socket) -> None:
            await socket.join(room)
            socket.emit("joined")

        for number in range(50):
            client.emit("join", f"room {number}")
            await client.receive("joined", timeout=DEADLINE)
            one.to(f"room {number}").emit("x", number)
        await until(lambda: len(all.heard[1]) == 50)
        assert all.heard[1] == list(range(50)) and not all.gaps[1]


async def test_a_room_may_have_the_longest_name_that_there_is(broker: Broker) -> None:
    longest = "ü" * 256
    async with ends(broker, (longest,), (longest,)) as all:
        all.servers[0].to(longest).emit("x", 1)
        await until(lambda: all.heard == [[1], [1]])
        assert not any(all.errors)


async def test_what_a_broker_repeats_is_dropped_and_counted(broker: Broker) -> None:
    buses = [Handled(broker.url) for _ in range(2)]
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        for bus in buses:
            await all.add("a", bus=bus)
        await all.joined()
        publish = buses[0].bus.publish
        buses[0].bus.publish = lambda subject, data: publish(subject, data) and publish(subject, data)  # type: ignore[method-assign]
        for number in range(50):
            all.servers[0].to("a").emit("x", number)
        all.servers[0].broadcast("x", "end")
        await until(lambda: "end" in all.heard[1])
        assert all.heard[1] == [*range(50), "end"] and not any(all.gaps)
        await until(lambda: all.servers[1].stats().bus.duplicates == 51)  # type: ignore[union-attr]


# ---- requests


async def test_requests_to_a_socket_elsewhere_and_to_any_other_server(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",), ("a",)) as all:
        for number, (server, client) in enumerate(zip(all.servers, all.clients, strict=True)):
            client.handle("add", lambda params, number=number: [number, params["a"] + params["b"]])
            server.handle("who", lambda params, socket, number=number: [number, socket.id])
            server.handle("fail", lambda: 1 / 0)
            server.on("error", lambda error, socket: None)
        here = all.servers[0].everywhere
        for socket in await here.sockets(room="a"):
            number = [server.everywhere.name for server in all.servers].index(socket.node)
            assert await here.request("add", {"a": 1, "b": 2}, to=socket.id) == [number, 3]
        answers = [await here.request("who", type=tuple[int, str]) for _ in range(60)]  # chance says who is asked
        assert {number for number, _ in answers} == {1, 2}
        assert {name for _, name in answers} == {here.name}
        with pytest.raises(RemoteError, match="no method"):
            await here.request("nothing")
        with pytest.raises(RemoteError, match="the handler failed"):
            await here.request("fail")


async def test_progress_deadline_and_cancel_travel(broker: Broker) -> None:
    """To a client of another server, and to any other server; as on a link."""
    async with ends(broker, ("a",), ("a",)) as all:
        one, two = all.servers
        ended: list[Any] = []

        async def work(params: float, socket: Any, request: Any) -> float:
            for done in range(3):
                request.progress([done])
            ended.append(request.deadline is not None)
            try:
                await asyncio.sleep(params)
            except asyncio.CancelledError:
                ended.append(request.cancelled)
                raise
            return params

        two.handle("work", work)
        all.clients[1].handle("work", work)
        two.handle("threaded", lambda params, socket, request: asyncio.to_thread(request.progress, "from a thread"))
        [socket] = [each for each in await one.everywhere.sockets() if each.node == two.everywhere.name]
        for to in (None, socket.id):
            heard: list[Any] = []
            assert await one.everywhere.request("work", 0.0, to=to, progress=heard.append) == 0.0
            assert heard == [[0], [1], [2]] and ended == [True]
            ended.clear()
            with pytest.raises(RequestTimeout):
                await one.everywhere.request("work", 60.0, to=to, timeout=3)  # it has begun by then
            await until(lambda: ended == [True, True])
            ended.clear()
            task = asyncio.ensure_future(_awaited(one.everywhere.request("work", 60.0, to=to, timeout=None)))
            await until(lambda: ended == [False])
            task.cancel()
            await until(lambda: ended == [False, True])
            ended.clear()
        heard = []
        assert await one.everywhere.request("threaded", progress=heard.append) is True
        await until(lambda: heard == ["from a thread"])
        assert await one.everywhere.request("work", 0.0, progress=lambda data: 1 / 0) == 0.0
        assert len(all.errors[0]) == 3 and "progress of 'work' failed: ZeroDivisionError" in str(all.errors[0][0])
        assert not all.errors[1]


@pytest.mark.parametrize("how", ["at once", "awaited", "and goes on"])
async def test_a_handler_that_stops_its_server_answers_first(broker: Broker, how: str) -> None:
    async with ends(broker, (), ()) as all:
        one, two = all.servers

        async def end(params: Any, socket: Any) -> str:
            stopping = two.stop()
            if how == "awaited":
                await stopping
            elif how == "and goes on":
                await asyncio.sleep(0.2)
            return "bye"

        def end_at_once() -> str:
            two.stop()
            return "bye"

        two.handle("end", end_at_once if how == "at once" else end)
        assert await one.everywhere.request("end", timeout=DEADLINE) == "bye"
        await until(lambda: not one.everywhere.nodes)
        await until(lambda: two.stats().bus.state == "closed")  # type: ignore[union-attr]


@pytest.mark.timeout(60)
def test_a_loop_that_ends_while_a_server_leaves_its_bus_waits_for_nothing(broker: Broker) -> None:
    """As ``asyncio.run`` ends: all tasks are cancelled, also the one that was about to disconnect."""

    async def visit(is_there: asyncio.Event) -> None:
        path = f"{broker.folder}/s"
        async with node_ipc.serve(path, bus=broker.url, bus_heartbeat=BEAT, bus_group="test") as server:
            await until(lambda: server.stats().bus.state == "up")  # type: ignore[union-attr]
            is_there.set()

    async def main(turns: int) -> bool:
        is_there = asyncio.Event()
        task = asyncio.ensure_future(visit(is_there))
        await is_there.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        return task.done()

    assert not any(asyncio.run(main(turns)) for turns in range(4)), "each was cancelled on its way"
    for turns in range(4, 24):
        asyncio.run(main(turns))


async def test_where_nobody_is_there_it_is_said_at_once(broker: Broker) -> None:
    async with ends(broker, ()) as all:
        began = time.monotonic()
        for to in (None, "nobody.1", f"{all.servers[0].everywhere.name}.99"):
            with pytest.raises(NoResponder):
                await all.servers[0].everywhere.request("add", to=to, timeout=DEADLINE)
        assert time.monotonic() - began < DEADLINE / 2


# ---- presence


async def test_an_answer_is_partial_and_a_dead_node_is_gone_after_three_heartbeats(broker: Broker) -> None:
    buses = [Handled(broker.url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        for bus in buses:  # with heartbeats that no busy machine leaves out three times
            await all.add("a", bus=bus, bus_heartbeat=1_000, missed_beats=MISSED_BEATS)
        await all.joined()
        name = all.servers[2].everywhere.name
        buses[2].is_deaf = True
        found = await all.servers[0].everywhere.sockets(room="a", timeout=3)
        assert len(found) == 2 and found.missing == {name}
        buses[2].bus.publish = lambda subject, data: True  # type: ignore[method-assign]
        await until(lambda: [len(server.everywhere.nodes) for server in all.servers[:2]] == [1, 1])
        found = await all.servers[0].everywhere.sockets(room="a", timeout=DEADLINE)
        assert len(found) == 2 and not found.missing


async def test_a_server_that_stops_is_gone_at_once(broker: Broker) -> None:
    async with ends(broker, (), (), bus_heartbeat=60_000) as all:
        all.servers[1].broadcast("x", 1)
        await all.servers[1].stop()
        await until(lambda: not all.servers[0].everywhere.nodes)
        await until(lambda: all.heard[0] == [1])


# ---- the broker dies


@pytest.mark.row(65)
@pytest.mark.row(67)
async def test_delivered_and_told_is_what_was_sent(broker: Broker) -> None:
    """The broker is killed under load, and the subscriber is back later than the publishers."""
    sent, heard, _ = await kill(broker, (0.0, 0.4, 1.5))
    assert sent > 500 and heard > 100


@pytest.mark.lane(name="chaos")
@pytest.mark.row(65)
@pytest.mark.row(67)
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not CHAOS, reason="takes a quarter of an hour: NIGHTLY=chaos .ci/run")
async def test_delivered_and_told_is_what_was_sent_by_whoever_outlives_a_thousand_kills(
    record_property: Callable[[str, object], None],
) -> None:
    """That many over all engines, which are killed beside each other; each under 2,000 messages a second."""
    kills = -(-KILLS // len(brokers.BROKERS))
    with ExitStack() as stack:
        started = [stack.enter_context(closing(brokers.start(name))) for name in brokers.BROKERS]
        counts = await asyncio.gather(*(kill(broker, outages(broker.name, kills), each=0.6) for broker in started))
    for broker, (sent, heard, told) in zip(started, counts, strict=True):
        for name, value in (("kills", kills), ("sent", sent), ("heard", heard), ("told as lost", told)):
            record_property(f"{broker.name}: {name}", value)
        assert heard > told > 0


def outages(seed: str, count: int) -> list[float]:
    """Seconds; short ones are frequent."""
    chance = random.Random(seed)
    return [chance.random() ** 3 for _ in range(count)]


async def kill(broker: Broker, outages: Sequence[float], each: float = 1.2) -> tuple[int, int, int]:
    """Kill it for so many seconds each time, under load from two to a third that comes back later: how much was sent,
    how much of it came, and how much was told as lost."""
    buses = [Handled(broker.url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        for bus in buses:
            await all.add("a", bus=bus, missed_beats=MISSED_BEATS)
        await all.joined()
        buses[2].late = 0.7
        sent = [0, 0]

        async def publish(number: int, seconds: float) -> None:
            server = all.servers[number]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for _ in range(10):
                    server.to("a").emit("x", (number, sent[number]))
                    sent[number] += 1
                await asyncio.sleep(0.01)

        for number, outage in enumerate(outages, 1):
            load = asyncio.gather(publish(0, each + outage), publish(1, each + outage))
            await asyncio.sleep(each / 3)
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(outage)
            await asyncio.to_thread(broker.start)
            await load
            await until(lambda: all.events[2].count("bus.down") == number)  # noqa: B023 - awaited here
            await until(lambda: all.servers[2].stats().bus.state == "up")  # type: ignore[union-attr]
        names = [server.everywhere.name for server in all.servers]

        heard: Counter[int] = Counter()
        counted = 0

        def accounts() -> list[tuple[int, int, int]]:
            nonlocal counted  # what is new: to count all again would keep the servers of this loop from their work
            heard.update(sender for sender, _ in all.heard[2][counted:])
            counted = len(all.heard[2])
            return [(sent[number], heard[number], all.gaps[2][names[number]]) for number in range(2)]

        def accounted() -> bool:
            return builtins.all(sent == heard + told for sent, heard, told in accounts())

        with suppress(TimeoutError):
            await until(accounted)
        await asyncio.sleep(12 * BEAT / 1000)  # and it stays so
        assert accounted(), f"{broker.name}: sent, heard, told of each sender: {accounts()}"
        for number in range(2):
            numbers = [each for sender, each in all.heard[2] if sender == number]
            assert numbers == sorted(set(numbers)), "in order, and none twice"
        assert all.events[2].count("bus.down") == len(outages)
        return sum(sent), len(all.heard[2]), all.gaps[2].total()


@pytest.mark.row(65)
async def test_what_was_lost_of_the_last_that_a_server_sent_is_told_when_it_stops(broker: Broker) -> None:
    """No heartbeat comes that would tell, and nobody can ask it any more."""
    buses = [Handled(broker.url) for _ in range(2)]
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        for bus in buses:
            await all.add("a", bus=bus, bus_heartbeat=60_000)
        await all.know_each_other()
        one = all.servers[0]
        one.to("a").emit("x", 0)
        await until(lambda: all.heard[1] == [0])
        came, buses[1].is_deaf = buses[1].rooms, True
        for number in range(1, 8):
            one.to("a").emit("x", number)
        await until(lambda: buses[1].rooms == came + 7)
        buses[1].is_deaf = False
        name = one.everywhere.name
        await one.stop()
        await until(lambda: all.gaps[1] == {name: 7})
        assert all.heard[1] == [0]
        assert not all.servers[1].everywhere.nodes


@pytest.mark.row(66)
@pytest.mark.usefixtures("the_others_are_waited_for")
async def test_while_the_broker_is_down_its_own_clients_are_served_and_the_rest_waits(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",)) as all:
        one = all.servers[0]
        await asyncio.to_thread(broker.kill)
        await until(lambda: one.stats().bus.state == "down")  # type: ignore[union-attr]
        for number in range(50):
            one.to("a").emit("x", number)
        await until(lambda: len(all.heard[0]) == 50)
        stats = one.stats().bus
        assert stats is not None and stats.waiting_messages == 50 and all.events[0][-1] == "bus.down"
        with pytest.raises(NotConnected, match="the bus is down"):
            await one.everywhere.request("add")
        found = await one.everywhere.sockets(room="a")
        assert len(found) == 1 and found.missing == {all.servers[1].everywhere.name}
        await asyncio.to_thread(broker.start)
        await until(lambda: len(all.heard[1]) == 50)
        assert all.heard[1] == list(range(50)) and not all.gaps[1]
        assert one.stats().bus.state == "up"  # type: ignore[union-attr]


@pytest.mark.usefixtures("the_others_are_waited_for")
async def test_a_full_buffer_is_the_callers_error_where_it_is_to_be(broker: Broker) -> None:
    limits = {"bus_policy": "raise", "max_bus_pending_messages": 3}
    async with ends(broker, ("a",), ("a",), **limits) as all:
        one = all.servers[0]
        await asyncio.to_thread(broker.kill)
        await until(lambda: one.stats().bus.state == "down")  # type: ignore[union-attr]
        for number in range(3):
            one.to("a").emit("x", number)
        with pytest.raises(BackpressureError, match="this process only"):
            one.to("a").emit("x", 3)
        await until(lambda: all.heard[0] == [0, 1, 2, 3])
        await asyncio.to_thread(broker.start)
        await until(lambda: all.heard[1] == [0, 1, 2])


@pytest.mark.usefixtures("the_others_are_waited_for")
async def test_what_finds_no_room_in_the_buffer_is_counted_and_told_at_both_ends(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",), max_bus_pending_messages=10) as all:
        one = all.servers[0]
        await asyncio.to_thread(broker.kill)
        await until(lambda: one.stats().bus.state == "down")  # type: ignore[union-attr]
        for number in range(25):
            one.to("a").emit("x", number)
        assert one.stats().bus.dropped == 15  # type: ignore[union-attr]
        assert [type(error) for error in all.errors[0]].count(BackpressureError) == 1
        await asyncio.to_thread(broker.start)
        await until(lambda: all.heard[1] == list(range(15, 25)))
        await until(lambda: all.gaps[1] == {one.everywhere.name: 15})


async def test_a_server_starts_without_its_broker_and_says_what_is_missing(broker: Broker) -> None:
    await asyncio.to_thread(broker.kill)
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        for _ in range(2):
            await all.add("a")
        await until(lambda: all.errors[0])
        assert "cannot be reached" in str(all.errors[0][0])
        all.servers[0].broadcast("x", 1)
        await asyncio.to_thread(broker.start)
        await until(lambda: all.events == [["bus.up"], ["bus.up"]])
        assert len(all.errors[0]) == 1  # said once, and not at each attempt


# ---- trust and size


@pytest.mark.row(69)
async def test_hostile_bytes_are_one_error_each_and_have_no_other_effect(broker: Broker) -> None:
    class Nobody:
        def heard(self, subject: str, data: bytes) -> None: ...
        def writable(self) -> None: ...
        def missed(self) -> None: ...
        def lost(self, error: Exception | None) -> None: ...

    async with ends(broker, ("a",)) as all:
        bus = bus_of(bus_options.bus(broker.url))
        await bus.connect(Nobody())
        wire = all.servers[0].settings.delimiter
        emit = ["e", "evil", 1, 1, "json " + repr(wire), [["", 1, 0, 1, 1]], None, [], []]
        hostile = [b"[]", b'{"e":1}', b'["e"]', b'["q"]']
        nameless: list[Any] = [1, [], {"type": 1}, {"data": 1}]
        named = [{"type": name, "data": 1} for name in ("error", "x" * 300, "__proto__", "")]
        for number, frame in enumerate(nameless + named, 1):
            emit[5] = [["", 1, number, 1, 1]]
            hostile.append(msgspec.json.encode([*emit, frame]))
        name = all.servers[0].everywhere.name
        for data in hostile:
            bus.publish("node_ipc.test.all", data)
            bus.publish(f"node_ipc.test.node.{name}", b"[0]")
        await until(lambda: len(all.errors[0]) == 2 * len(hostile))
        assert all.servers[0].stats().bus.faults == 2 * len(hostile)  # type: ignore[union-attr]
        emit[5] = [["", 1, 99, 1, 1]]
        bus.publish("node_ipc.test.all", msgspec.json.encode([*emit, {"type": "x", "data": "fine"}]))
        await until(lambda: all.heard[0] == ["fine"])
        await bus.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nats", {"config": "max_payload: 2000\n"}),
        ("redis", {"arguments": ("--proto-max-bulk-len", "1mb")}),
    ],
)
async def test_a_message_above_the_brokers_limit_is_an_error_that_names_it(name: str, options: dict[str, Any]) -> None:
    broker = brokers.start(name, **options)
    try:
        async with ends(broker, ("a",), ("a",)) as all:
            with pytest.raises(FrameTooLarge, match=r"raise (max_payload of nats-server|proto-max-bulk-len of redis)"):
                all.servers[0].to("a").emit("x", "y" * 2_000_000)
            all.servers[0].to("a").emit("x", 1)
            await until(lambda: all.heard[1] == [1])
            assert not all.gaps[1]
    finally:
        broker.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nats", {"config": 'authorization { user: "me", password: "nevershown" }\n'}),
        ("nats", {"config": 'authorization { token: "nevershown" }\n'}),
        ("redis", {"arguments": ("--requirepass", "nevershown")}),
    ],
)
async def test_who_may_not_come_in_is_told_without_the_password(name: str, options: dict[str, Any]) -> None:
    broker = brokers.start(name, **options)
    try:
        broker.options["user"] = "me:wrong-nevershown@"
        async with AsyncExitStack() as stack:
            all = Ends(broker, stack)
            await all.add()
            await until(lambda: all.errors[0])
            assert "cannot be reached" in str(all.errors[0][0]) and "nevershown" not in str(all.errors[0][0])
            assert "nevershown" not in repr(all.servers[0].settings)
        broker.options["user"] = {"nats": "me:nevershown@", "redis": ":nevershown@"}[name]
        if "token" in str(options):
            broker.options["user"] = "nevershown@"
        async with ends(broker, ("a",), ("a",)) as all:
            all.servers[0].broadcast("x", 1)
            await until(lambda: all.heard[1] == [1])
    finally:
        broker.close()


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("nats", r"nats://127\.0\.0\.1:\d+ takes connections and said no INFO within 0\.\d s, .* is it NATS"),
        ("redis", r"takes connections and answered nothing within 0\.\d s: is it Redis"),
        ("rediss", r"nothing came in time, .* does not speak TLS at this port$"),
    ],
)
async def test_somebody_who_takes_the_connection_and_says_nothing_is_told_as_that(scheme: str, said: str) -> None:
    taken: set[asyncio.StreamWriter] = set()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.add(writer)
        await reader.read()
        await _ended(writer)
        taken.discard(writer)

    stopped = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with stopped:
        bus = bus_of(bus_options.bus(f"{scheme}://me:nevershown@127.0.0.1:{stopped.sockets[0].getsockname()[1]}"))
        why = ""
        async with asyncio.timeout(DEADLINE):
            while re.search(said, why) is None:  # the machine may be so busy that nobody has taken it yet
                with pytest.raises(TimeoutError) as late:
                    async with asyncio.timeout(0.5):
                        await bus.connect(Unheard())
                why = why_unreachable(bus, late.value)
        await until(lambda: not taken)
        assert "nevershown" not in why and "()" not in why


async def test_what_answers_and_is_no_redis_is_shown() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {" + b"x" * 1000 + b"}\r\n")
        await reader.read()
        await _ended(writer)
        ended.set()

    ended = asyncio.Event()
    nats = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with nats:
        bus = bus_of(bus_options.bus(f"redis://127.0.0.1:{nats.sockets[0].getsockname()[1]}"))
        with pytest.raises(ConnectionError, match=r"does not speak as Redis does: b'INFO \{x{1,80}$"):
            await bus.connect(Unheard())
        await ended.wait()


async def _ended(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class Unheard:
    """Nothing comes where there is no connection."""

    def heard(self, subject: str, data: bytes) -> None: ...
    def writable(self) -> None: ...
    def missed(self) -> None: ...
    def lost(self, error: Exception | None) -> None: ...


# ---- life


async def test_a_stopped_server_leaves_nothing_behind_and_may_start_again(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",)) as all:
        one, two = all.servers
        for number in range(200):
            one.broadcast("x", number)
        await one.stop()
        await until(lambda: len(all.heard[1]) == 200)
        assert one.stats().bus.state == "closed"  # type: ignore[union-attr]
        await one.start()
        await until(lambda: len(two.everywhere.nodes) == 1 and one.stats().bus.state == "up")  # type: ignore[union-attr]
        one.broadcast("x", "again")
        await until(lambda: all.heard[1][-1] == "again")
        async with node_ipc.connect(f"{broker.folder}/s0") as client:
            await until(lambda: one.sockets)
            await one.sockets[0].join("b")
            two.to("b").emit("x", "to the room")
            assert await client.receive("x", timeout=DEADLINE) == "to the room"
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await until(lambda: not [task for task in tasks if not task.done()])


async def test_aborting_a_server_needs_no_broker(broker: Broker) -> None:
    async with ends(broker, ()) as all:
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        all.servers[0].abort()
        await asyncio.wait_for(_awaited(all.servers[0].closed), DEADLINE)


async def test_stopping_ends_in_its_time_where_the_broker_does_not_answer(broker: Broker) -> None:
    async with ends(broker, ()) as all, scale.emitter(broker.url) as emitter:
        server = all.servers[0]
        emitter.broadcast("x", 1)
        server.broadcast("x", 1)
        await until(lambda: emitter.stats().sent == 1)
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        watch = Stopwatch()
        await server.stop(timeout=0.2)
        assert watch.seconds < 2
        watch = Stopwatch()
        with pytest.raises(NotConnected, match="the broker may not have the last events"):
            await emitter.close(timeout=0.2)
        assert watch.seconds < 2
        broker.process.send_signal(signal.SIGCONT)


async def test_aborting_a_server_that_stops_does_not_wait_for_a_broker(broker: Broker) -> None:
    async with ends(broker, ()) as all:
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        server = all.servers[0]
        stopping = asyncio.ensure_future(_awaited(server.stop()))
        await until(lambda: server.stats().bus.state == "closed")  # type: ignore[union-attr]
        watch = Stopwatch()
        server.abort()
        await stopping
        assert watch.seconds < 3


async def _awaited(outcome: Any) -> Any:
    return await outcome


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "node_ipc.cluster.nats", None)
    with pytest.raises(ConfigError, match=r"pip install 'node-ipc\[nats\]'"):
        bus_of(bus_options.bus("nats://host"))
