"""A server is killed, or stops; another takes its place; the clients come back and lose nothing they emitted."""

from __future__ import annotations

import pytest

from .install import VERSIONS
from .pairs import ECHO, Ends

pytestmark = pytest.mark.row(51)

SUCCESSIONS = [
    succession
    for node in VERSIONS
    for succession in (
        (node, node, "python"),
        (node, "python", "python"),
        (node, "python", node),
        ("python", "python", node),
        ("python", node, node),
        ("python", node, "python"),
    )
]


def label(value: object) -> str:
    return "_".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.row(21)
@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("succession", SUCCESSIONS, ids=label)
async def test_after_kill_9_a_client_finds_the_next_server(
    ends: Ends, transport: str, succession: tuple[str, str, str]
) -> None:
    """The killed server leaves its socket behind: the next one has to clear it away."""
    killed, following, client_kind = succession
    address = ends.address(transport)
    first = await ends.serve_to_be_killed(killed, address)
    client = await ends.connect(client_kind, address, retry=20)
    await client.emit("message", "to the first")
    assert (await client.event("message")).data == "to the first"

    await first.kill()
    await client.event("disconnect")
    second = await ends.serve(following, address, ECHO)
    await client.event("connect")

    await client.emit("message", "to the second")
    assert (await second.event("message")).data == "to the second"
    assert (await client.event("message")).data == "to the second"


@pytest.mark.row(31)
@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("node", VERSIONS)
async def test_python_keeps_what_it_emits_while_the_server_is_away(ends: Ends, transport: str, node: str) -> None:
    address = ends.address(transport)
    first = await ends.serve_to_be_killed(node, address)
    client = await ends.connect("python", address, retry=20)

    await first.kill()
    await client.event("disconnect")
    for n in range(100):
        await client.emit("message", n)
    second = await ends.serve(node, address)

    assert [(await second.event("message")).data for _ in range(100)] == list(range(100))


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("node", [*VERSIONS, "python"])
async def test_clients_come_back_to_a_python_server_that_stopped(ends: Ends, transport: str, node: str) -> None:
    address = ends.address(transport)
    first = await ends.serve("python", address)
    clients = [await ends.connect(node, address, retry=20) for _ in range(3)]

    await first.stop()
    for client in clients:
        await client.event("disconnect")
    await ends.serve("python", address, ECHO)

    for number, client in enumerate(clients):
        await client.event("connect")
        await client.emit("message", number)
        assert (await client.event("message")).data == number


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("node", [*VERSIONS, "python"])
async def test_python_waits_for_a_server_that_is_not_there_yet(ends: Ends, transport: str, node: str) -> None:
    address = ends.address(transport)
    client = await ends.connect("python", address, wait=False, retry=20)
    await client.emit("message", "early")

    server = await ends.serve(node, address)

    await client.event("connect")
    assert (await server.event("message")).data == "early"
