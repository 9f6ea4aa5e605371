"""The profiles do not change the wire: any of ours talks with any of node-ipc 14's, and refuses what it must."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ports import free_port

from .certificates import Certificates, mutual
from .install import VERSIONS
from .pairs import ECHO, PYTHON_AND_NODE, Address, Ends, Pair, every_stream

pytestmark = pytest.mark.row(51)

PROFILES = ["fast", "guarded", "assured"]
ROLES = [Pair("python", "v14"), Pair("v14", "python")]
ALLOWED = ["message", "other"]

both_roles = pytest.mark.parametrize("pair", ROLES, ids=["python_serves_v14", "v14_serves_python"])


@both_roles
@pytest.mark.parametrize("servers", PROFILES)
@pytest.mark.parametrize("clients", PROFILES)
async def test_any_profile_talks_with_any(ends: Ends, pair: Pair, servers: str, clients: str) -> None:
    address = ends.address("unix")
    server = await ends.serve(pair.server, address, ECHO, parser=servers, allowed_events=ALLOWED)
    client = await ends.connect(pair.client, address, parser=clients, allowed_events=ALLOWED)

    await client.emit("message", {"text": "ü\f"})

    assert (await server.event("message")).data == {"text": "ü\f"}
    assert (await client.event("message")).data == {"text": "ü\f"}


@both_roles
async def test_assured_ends_talk_over_mutual_tls(ends: Ends, certificates: Certificates, pair: Pair) -> None:
    address, (server_tls, client_tls) = ends.address("tls"), mutual(certificates)
    assured: dict[str, Any] = {"parser": "assured", "allowed_events": ALLOWED}
    server = await ends.serve(pair.server, address, ECHO, tls=server_tls, **assured)
    client = await ends.connect(pair.client, address, tls=client_tls, **assured)

    await client.emit("message", "sealed")

    assert (await server.event("message")).data == "sealed"
    assert (await client.event("message")).data == "sealed"


@both_roles
async def test_an_event_that_is_not_allowed_ends_the_connection(ends: Ends, pair: Pair) -> None:
    address = ends.address("unix")
    server = await ends.serve(pair.server, address, parser="assured", allowed_events=ALLOWED)
    client = await ends.connect(pair.client, address, parser="fast", stop_retrying=True)
    await server.event("connect")

    await client.emit("secret", "let me in")

    error = (await server.event("error")).data
    assert error.code == "ERR_IPC_EVENT_NOT_ALLOWED"
    await client.event("destroy")


@pytest.mark.row(9)
@pytest.mark.parametrize("node", VERSIONS)
@pytest.mark.parametrize("name", ["connect", "error", "data", "socket.disconnected", "__proto__", "toString"])
async def test_a_reserved_name_from_node_harms_only_its_sender(ends: Ends, node: str, name: str) -> None:
    address = ends.address("unix")
    server = await ends.serve("python", address, ECHO)
    good = await ends.connect(node, address)
    bad = await ends.connect(node, address, stop_retrying=True)
    await server.event("connect")
    await server.event("connect")

    await bad.emit(name, {"id": "forged"})

    assert (await server.event("error")).data.code in ("ERR_IPC_RESERVED_EVENT", "ERR_IPC_INVALID_EVENT")
    assert (await server.event("socket.disconnected")).socket == 1
    await bad.event("destroy")
    await good.emit("message", "unharmed")
    assert (await good.event("message")).data == "unharmed"
    assert not {"connect", "error", "data", "socket.disconnected"} & {*server.events.types()}


FAST: dict[str, Any] = {"parser": "fast"}
NOT_OURS = {"server": ("data", "disconnect", "destroy"), "client": ("data", "close", "start", "socket.disconnected")}
OURS = {"server": ("close", "connect"), "client": ("connect", "disconnect")}


async def emitted(sender: Any, receiver: Any, role: str, names: tuple[str, ...], **to: Any) -> list[Any]:
    """What Python's handlers of these names hear of what Node emits under each of them."""
    heard: list[Any] = []
    python = receiver.ipc.server if role == "server" else receiver.ipc.of["world"]
    for name in names:
        python.on(name, partial(lambda name, data=None: heard.append((name, data)), name))
    for name in names:
        await sender.emit(name, {"it": name}, **to)
    await sender.emit("message", "last", **to)
    await receiver.event("message")
    return heard


@every_stream
@pytest.mark.parametrize("pair", PYTHON_AND_NODE, ids=lambda pair: f"{pair.server}_serves_{pair.client}")
async def test_in_fast_a_reserved_name_of_nodes_reaches_handlers_or_is_told(
    ends: Ends, pair: Pair, transport: str
) -> None:
    role = "server" if pair.server == "python" else "client"
    link = await ends.link(pair, transport, **FAST)
    python, node, to = (*link, {}) if role == "server" else (link.client, link.server, {"to": 0})
    names = NOT_OURS[role]

    assert await emitted(node, python, role, names, **to) == [(name, {"it": name}) for name in names]
    assert await emitted(node, python, role, OURS[role], **to) == []

    endpoint = python.ipc.server if role == "server" else python.ipc.of["world"]
    assert endpoint.stats().reserved == 2
    assert (await python.event("error")).data.code == "ERR_IPC_RESERVED_EVENT"
    assert "error" not in python.events.types()


@pytest.mark.parametrize("node", VERSIONS)
async def test_in_fast_a_reserved_datagram_of_nodes_reaches_handlers_or_is_told(ends: Ends, node: str) -> None:
    here, there = (Address("udp4", host="127.0.0.1", port=free_port()) for _ in range(2))
    python = await ends.serve("python", there, **FAST)
    sender = await ends.serve(node, here, **FAST)
    names, peer = ("data", "disconnect", "close"), (there.host, there.port)

    assert await emitted(sender, python, "server", names, peer=peer) == [(name, {"it": name}) for name in names]
    assert await emitted(sender, python, "server", ("connect", "start"), peer=peer) == []

    assert python.ipc.server.stats().reserved == 2
    assert (await python.event("error")).data.code == "ERR_IPC_RESERVED_EVENT"
