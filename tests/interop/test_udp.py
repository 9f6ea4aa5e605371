"""Datagrams between two UDP ends, which are both servers in node-ipc's words."""

from __future__ import annotations

import pytest

from node_ipc import ProtocolError
from ports import free_port

from .deviations import UP_TO_12, arrives
from .pairs import ECHO, PAIRS, PYTHON_AND_NODE, Address, Ends, Pair, every_pair
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


@every_family
@pytest.mark.parametrize("pair", [pair for pair in PYTHON_AND_NODE if pair.client == "python"], ids=lambda p: p.server)
async def test_an_address_may_be_a_host_name(ends: Ends, pair: Pair, family: str) -> None:
    here, there = somewhere(family), somewhere(family)
    server = await ends.serve(pair.server, there, ECHO)
    client = await ends.serve(pair.client, here)

    for number in range(3):
        await client.emit("message", number, peer=("localhost", there.port))

    assert [(await server.event("message")).data for _ in range(3)] == [0, 1, 2]
    assert [(await client.event("message")).data for _ in range(3)] == [0, 1, 2]


TEXTS = {
    "ascii": ("plain", b"plain"),
    "latin1": ("Gr\xfc\xdfe", b"Gr\xfc\xdfe"),
    "hex": ("68656c6c6f", b"hello"),
    "base64": ("aGVsbG8h", b"hello!"),
    "utf16le": ("h\xfc", b"h\0\xfc\0"),
}


@every_family
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.server == "python"], ids=lambda p: p.client)
@pytest.mark.parametrize("encoding", TEXTS)
async def test_text_is_put_into_bytes_by_the_encoding(ends: Ends, pair: Pair, family: str, encoding: str) -> None:
    """Python takes the bytes as they come; what node-ipc up to 12 makes of them is in ``test_raw_datagrams``."""
    text, sent = TEXTS[encoding]
    there = somewhere(family)
    server = await ends.serve("python", there, raw_buffer=True)
    client = await ends.serve(pair.client, somewhere(family), raw_buffer=True, encoding=encoding)

    await client.send(text, peer=(there.host, there.port))

    assert (await server.event("data")).data == sent


@every_family
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.server == "python"], ids=lambda p: p.client)
async def test_several_frames_in_one_datagram_are_several_events(ends: Ends, pair: Pair, family: str) -> None:
    """What a raw end puts into one datagram is what any end of another library might send."""
    there = somewhere(family)
    server = await ends.serve("python", there)
    client = await ends.serve(pair.client, somewhere(family), raw_buffer=True)
    frame = b'{"type":"message","data":%d}\f'

    await client.send(frame % 1 + frame % 2, peer=(there.host, there.port))
    await client.send(frame[:-1] % 3, peer=(there.host, there.port))
    await client.send(frame % 4, peer=(there.host, there.port))

    assert [(await server.event("message")).data for _ in range(3)] == [1, 2, 4]
    assert isinstance((await server.event("error")).data, ProtocolError)
