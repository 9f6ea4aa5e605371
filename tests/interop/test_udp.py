"""Datagrams between two UDP ends, which are both servers in node-ipc's words."""

from __future__ import annotations

import pytest

from .deviations import UP_TO_12, arrives
from .pairs import ECHO, Address, Ends, Pair, every_pair, free_port
from .payloads import PAYLOADS, same

pytestmark = pytest.mark.row(51)

HOSTS = {"udp4": "127.0.0.1", "udp6": "::1"}
NAMES = ["null", "text", "emoji", "c0-controls", "form-feeds-inside", "lone-high-surrogate", "object", "two-to-53"]

every_family = pytest.mark.parametrize("family", HOSTS)


def somewhere(family: str) -> Address:
    return Address(family, host=HOSTS[family], port=free_port())


@every_family
@every_pair
@pytest.mark.parametrize("name", NAMES)
async def test_a_payload_goes_there_and_back(ends: Ends, pair: Pair, family: str, name: str) -> None:
    here, there = somewhere(family), somewhere(family)
    server = await ends.serve(pair.server, there, ECHO)
    client = await ends.serve(pair.client, here)
    at_server = arrives(PAYLOADS[name], pair.client, pair.server)

    await client.emit("message", PAYLOADS[name], peer=(there.host, there.port))

    heard = await server.event("message")
    assert same(heard.data, at_server)
    assert heard.sender == (here.host, here.port)
    answer = await client.event("message")
    assert same(answer.data, arrives(at_server, pair.server, pair.client))
    assert answer.sender == (there.host, there.port)


@every_family
@every_pair
async def test_a_large_datagram_goes_there_and_back(ends: Ends, pair: Pair, family: str) -> None:
    here, there = somewhere(family), somewhere(family)
    server = await ends.serve(pair.server, there, ECHO)
    client = await ends.serve(pair.client, here)
    text = "0123456789" * 5000

    await client.emit("message", text, peer=(there.host, there.port))

    assert same((await server.event("message")).data, text)
    assert same((await client.event("message")).data, text)


@every_family
@every_pair
async def test_raw_datagrams(ends: Ends, pair: Pair, family: str) -> None:
    """Up to 12 node-ipc reads a datagram as UTF-8 whatever the encoding is (see deviations)."""
    here, there = somewhere(family), somewhere(family)
    server = await ends.serve(pair.server, there, ECHO, raw_buffer=True)
    client = await ends.serve(pair.client, here, raw_buffer=True)
    exact = not {*pair} & {*UP_TO_12}
    sent = bytes(range(256)) if exact else "hello\f\0 Grüße 👋".encode()

    await client.send(sent, peer=(there.host, there.port))

    assert (await server.event("data")).data == sent
    assert (await client.event("data")).data == sent


@every_family
@every_pair
async def test_a_broadcast_reaches_those_who_were_heard(ends: Ends, pair: Pair, family: str) -> None:
    """Not with a server up to 12: it forgets its UDP peers (see deviations)."""
    there, places = somewhere(family), [somewhere(family) for _ in range(3)]
    server = await ends.serve(pair.server, there)
    kinds = (pair.client, pair.server, pair.client)
    clients = [await ends.serve(kind, place) for kind, place in zip(kinds, places, strict=True)]
    for client in clients:
        await client.emit("message", "here I am", peer=(there.host, there.port))
        await server.event("message")

    await server.broadcast("message", "to all")
    for place in places:
        await server.emit("message", "to you", peer=(place.host, place.port))

    for client in clients:
        if pair.server not in UP_TO_12:
            assert (await client.event("message")).data == "to all"
        assert (await client.event("message")).data == "to you"
