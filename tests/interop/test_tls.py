"""TLS over TCP: a verified server, mutual TLS, raw bytes over it, and who is refused."""

from __future__ import annotations

from typing import Any

import pytest

from .certificates import Certificates, mutual, one_sided, options
from .pairs import ECHO, QUIET, Ends, Habits, Link, Pair, every_pair
from .payloads import PAYLOADS, same
from .peers import Repeat
from .test_raw import bytes_heard

pytestmark = pytest.mark.row(51)


WAYS = {"one-sided": one_sided, "mutual": mutual}


async def tls_link(
    ends: Ends,
    pair: Pair,
    tls: tuple[dict[str, Any], dict[str, Any]],
    habits: Habits = ECHO,
    **config: Any,
) -> Link:
    """Two connected ends with these ``tls`` options."""
    address = ends.address("tls")
    server = await ends.serve(pair.server, address, habits, tls=tls[0], **config)
    client = await ends.connect(pair.client, address, tls=tls[1], **config)
    await server.event("connect")
    return Link(server, client)


@every_pair
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["text", "form-feeds-inside", "surrogate-inside", "object", "thousand-keys"])
async def test_a_payload_goes_there_and_back(
    ends: Ends, certificates: Certificates, pair: Pair, way: str, name: str
) -> None:
    server, client = await tls_link(ends, pair, WAYS[way](certificates))

    await client.emit("message", PAYLOADS[name])

    assert same((await server.event("message")).data, PAYLOADS[name])
    assert same((await client.event("message")).data, PAYLOADS[name])


@every_pair
async def test_messages_go_out_though_nothing_comes_back(ends: Ends, certificates: Certificates, pair: Pair) -> None:
    server, client = await tls_link(ends, pair, mutual(certificates), QUIET)

    for n in range(10):
        await client.emit("message", n)
        assert (await server.event("message")).data == n
    for n in range(10):
        await server.emit("message", n, to=0)
        assert (await client.event("message")).data == n


@every_pair
@pytest.mark.parametrize("direction", ["client-to-server", "server-to-client"])
async def test_a_burst_arrives_whole_and_in_order(
    ends: Ends, certificates: Certificates, pair: Pair, direction: str
) -> None:
    server, client = await tls_link(ends, pair, one_sided(certificates), QUIET)
    sender, receiver, to = (client, server, None) if direction == "client-to-server" else (server, client, 0)

    await receiver.expect_burst("burst", 10_000)
    await sender.burst("burst", 10_000, to=to)

    assert (await receiver.event("counted")).data == {"received": 10_000, "misplaced": []}


@every_pair
async def test_five_megabytes_go_there_and_back(ends: Ends, certificates: Certificates, pair: Pair) -> None:
    _, client = await tls_link(ends, pair, mutual(certificates))
    text = Repeat("0123456789", 500_000)

    await client.emit("message", text)

    assert same((await client.event("message")).data, text.value)


@every_pair
async def test_raw_bytes_over_mutual_tls(ends: Ends, certificates: Certificates, pair: Pair) -> None:
    every_byte = bytes(range(256))
    server, client = await tls_link(ends, pair, mutual(certificates), raw_buffer=True, encoding="hex")

    await client.send(every_byte)

    assert await bytes_heard(server, 256) == every_byte
    assert await bytes_heard(client, 256) == every_byte


@every_pair
async def test_a_broadcast_reaches_all_over_mutual_tls(ends: Ends, certificates: Certificates, pair: Pair) -> None:
    address, (server_tls, client_tls) = ends.address("tls"), mutual(certificates)
    server = await ends.serve(pair.server, address, tls=server_tls)
    clients = [await ends.connect(kind, address, tls=client_tls) for kind in (pair.client, pair.server, pair.client)]
    for _ in clients:
        await server.event("connect")

    await server.broadcast("message", "to all")

    for client in clients:
        assert (await client.event("message")).data == "to all"


@every_pair
async def test_a_client_refuses_a_server_from_elsewhere(ends: Ends, certificates: Certificates, pair: Pair) -> None:
    address = ends.address("tls")
    server = await ends.serve(pair.server, address, tls=options(certificates.server))
    trust = options(trusted_connections=[certificates.elsewhere], reject_unauthorized=True)

    client = await ends.connect(pair.client, address, wait=False, tls=trust, stop_retrying=True)
    await client.emit("message", "for nobody")

    await client.event("error")
    await client.event("destroy")
    assert "message" not in server.events.types()


@every_pair
@pytest.mark.parametrize("shown", ["nothing", "stranger"])
async def test_a_server_refuses_a_client_that_it_cannot_verify(
    ends: Ends, certificates: Certificates, pair: Pair, shown: str
) -> None:
    address = ends.address("tls")
    server = await ends.serve(pair.server, address, tls=mutual(certificates)[0])
    who = certificates.stranger if shown == "stranger" else None
    trust = options(who, trusted_connections=[certificates.authority], reject_unauthorized=True)

    client = await ends.connect(pair.client, address, wait=False, tls=trust, stop_retrying=True)
    await client.emit("message", "for nobody")

    # A client of Node hears the alert; of the end behind it, it was once seen to tell nothing.
    await client.event("destroy" if pair.client == "python" else "error")
    assert not {"connect", "message"} & {*server.events.types()}
