"""Events, replies, broadcasts, bursts and good-byes over Unix sockets and TCP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .pairs import ECHO, Ends, Habits, Pair, every_pair, every_stream
from .payloads import same
from .peers import ABSENT

pytestmark = pytest.mark.row(51)

NAMES = (
    "m",
    "two words",
    "a.b/c:d",
    "0",
    "grüße",
    "事件",
    "👋",
    "form\ffeed",
    "line\nbreak",
    'quo"te\\',
    "x" * 256,
)
BURST = 10_000


@every_stream
@every_pair
async def test_an_event_may_have_any_name(ends: Ends, pair: Pair, transport: str) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address, Habits(echo=True, hear=NAMES))
    client = await ends.connect(pair.client, address, Habits(hear=NAMES))

    for name in NAMES:
        await client.emit(name, {"name": name})

    for name in NAMES:
        assert same((await server.event(name)).data, {"name": name})
        assert same((await client.event(name)).data, {"name": name})


@every_stream
@every_pair
async def test_what_is_emitted_before_the_link_is_up_arrives_in_order(ends: Ends, pair: Pair, transport: str) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address)
    client = await ends.connect(pair.client, address, wait=False)

    for n in range(50):
        await client.emit("message", n)

    assert [(await server.event("message")).data for _ in range(50)] == list(range(50))


@every_stream
@every_pair
async def test_messages_go_out_though_nothing_comes_back(ends: Ends, pair: Pair, transport: str) -> None:
    server, client = await ends.link(pair, transport)

    for n in range(10):
        await client.emit("message", n)
        assert (await server.event("message")).data == n
    for n in range(10):
        await server.emit("message", n, to=0)
        assert (await client.event("message")).data == n


@every_stream
@every_pair
async def test_a_reply_goes_to_the_one_who_asked(ends: Ends, pair: Pair, transport: str) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address)
    clients = [await ends.connect(kind, address) for kind in (pair.client, pair.server, pair.client)]

    for number, client in enumerate(clients):
        await client.emit("message", number)
        asked = await server.event("message")
        await server.emit("message", ["answer", asked.data], to=asked.socket)
    await server.broadcast("message", "end")

    for number, client in enumerate(clients):
        assert (await client.event("message")).data == ["answer", number]
        assert (await client.event("message")).data == "end"


@every_stream
@every_pair
async def test_a_broadcast_reaches_everybody_who_is_there(ends: Ends, pair: Pair, transport: str) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address)
    leaving, *staying = [
        await ends.connect(kind, address) for kind in (pair.client, pair.server, pair.client, pair.client)
    ]
    for _ in range(4):
        await server.event("connect")

    await server.broadcast("message", {"to": "four", "text": "ü\f"})
    for client in (leaving, *staying):
        assert (await client.event("message")).data == {"to": "four", "text": "ü\f"}
    await leaving.disconnect()
    await server.event("socket.disconnected")
    for n in range(20):
        await server.broadcast("message", n)

    for client in staying:
        assert [(await client.event("message")).data for _ in range(20)] == list(range(20))
    assert "message" not in leaving.events.types()


@every_stream
@every_pair
@pytest.mark.parametrize("direction", ["client-to-server", "server-to-client", "both-at-once"])
async def test_a_burst_arrives_whole_and_in_order(ends: Ends, pair: Pair, transport: str, direction: str) -> None:
    server, client = await ends.link(pair, transport)
    routes = {"client-to-server": (client, server, None), "server-to-client": (server, client, 0)}
    chosen = [route for name, route in routes.items() if direction in (name, "both-at-once")]

    for _, receiver, _ in chosen:
        await receiver.expect_burst("burst", BURST)
    await asyncio.gather(*(sender.burst("burst", BURST, to=to) for sender, _, to in chosen))

    for _, receiver, _ in chosen:
        assert (await receiver.event("counted")).data == {"received": BURST, "misplaced": []}


@every_stream
@every_pair
async def test_the_server_hears_that_a_client_went(ends: Ends, pair: Pair, transport: str) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address, ECHO)
    going = await ends.connect(pair.client, address)
    await server.event("connect")
    staying = await ends.connect(pair.client, address)

    await going.disconnect()

    assert (await server.event("socket.disconnected")).socket == 0
    await staying.emit("message", "still here")
    assert (await staying.event("message")).data == "still here"


@every_stream
@every_pair
async def test_a_client_hears_that_it_was_cut_and_comes_back(ends: Ends, pair: Pair, transport: str) -> None:
    server, client = await ends.link(pair, transport, ECHO, retry=20)

    await server.drop(0)

    await client.event("disconnect")
    await client.event("connect")
    await client.emit("message", "again")
    assert (await client.event("message")).data == "again"


@every_stream
@every_pair
@pytest.mark.parametrize("limit", [{"stop_retrying": True}, {"max_retries": 2}], ids=["stop", "two-retries"])
async def test_a_client_gives_up_when_told_to(ends: Ends, pair: Pair, transport: str, limit: dict[str, Any]) -> None:
    server, client = await ends.link(pair, transport, retry=20, **limit)

    await server.stop()

    await client.event("disconnect")
    await client.event("destroy")


@every_stream
@every_pair
async def test_an_event_without_a_payload_carries_an_empty_object(ends: Ends, pair: Pair, transport: str) -> None:
    server, client = await ends.link(pair, transport)

    await client.emit("message")
    await server.emit("message", ABSENT, to=0)

    assert same((await server.event("message")).data, {})
    assert same((await client.event("message")).data, {})


PYTHON_CLIENTS = [pair for pair in (Pair(node, "python") for node in ("v9", "v10", "v14", "python"))]


@every_stream
@pytest.mark.parametrize("pair", PYTHON_CLIENTS, ids=lambda pair: pair.server)
async def test_python_sends_what_it_emitted_before_it_disconnects(ends: Ends, pair: Pair, transport: str) -> None:
    server, client = await ends.link(pair, transport)
    await server.expect_burst("burst", 1000)

    await client.burst("burst", 1000)
    await client.disconnect()

    assert (await server.event("counted")).data == {"received": 1000, "misplaced": []}
    await server.event("socket.disconnected")
