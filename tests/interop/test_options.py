"""Options that the other end notices: ``sync``, ``identify_peer``, and the place of the socket."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .deviations import UP_TO_12
from .install import VERSIONS
from .pairs import ECHO, Address, Ends, Habits, Pair, every_pair, every_stream

pytestmark = pytest.mark.row(51)


@every_stream
@every_pair
async def test_a_sync_client_waits_for_an_answer_before_its_next_message(
    ends: Ends, pair: Pair, transport: str
) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address)
    patient = await ends.connect(pair.client, address, sync=True)
    other = await ends.connect(pair.client, address)

    for n in range(3):
        await patient.emit("message", n)
    await other.emit("message", "other")
    heard = [(await server.event("message")) for _ in range(2)]

    assert {event.data for event in heard} == {0, "other"}
    patient_socket = next(event.socket for event in heard if event.data == 0)
    for n in (1, 2):
        await server.emit("message", "go on", to=patient_socket)
        assert (await server.event("message")).data == n
    assert "message" not in server.events.types()


@every_stream
@every_pair
@pytest.mark.parametrize("asked", [True, False], ids=["identify_peer", "default"])
async def test_a_peer_names_itself(ends: Ends, pair: Pair, transport: str, asked: bool) -> None:
    address = ends.address(transport)
    server = await ends.serve(pair.server, address, identify_peer=asked)
    client = await ends.connect(pair.client, address)

    await client.emit("message", {"id": "me", "text": "hello"})

    event = await server.event("message")
    assert event.data == {"id": "me", "text": "hello"}
    assert event.id == ("me" if asked or pair.server in UP_TO_12 else None)


# ---- where the socket is, when nothing is configured ----


@pytest.fixture
def id() -> Iterator[str]:
    """An id that nobody else uses, and nothing of it left in /tmp."""
    name = f"interop-{uuid.uuid4().hex}"
    yield name
    for left in Path("/tmp").glob(f"app.{name}*"):
        left.unlink()


@pytest.fixture(params=["XDG_RUNTIME_DIR", "TMPDIR"])
def owner_only_place(request: pytest.FixtureRequest, socket_root: str, monkeypatch: pytest.MonkeyPatch) -> Habits:
    """Points node-ipc 14's default place into our own directory, by either variable, in Python and in Node."""
    env = {"XDG_RUNTIME_DIR": None, "TMPDIR": socket_root.rstrip("/")}
    if request.param == "XDG_RUNTIME_DIR":
        env["XDG_RUNTIME_DIR"] = socket_root.rstrip("/")
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name, value in env.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return Habits(echo=True, env=env)


async def exchange(ends: Ends, client_kind: str, id: str, habits: Habits) -> None:
    client = await ends.connect(client_kind, Address("unix", id=id), habits)
    await client.emit("message", "found")
    assert (await client.event("message")).data == "found"


async def test_a_python_client_finds_a_default_node_ipc_14_server(
    ends: Ends, id: str, owner_only_place: Habits
) -> None:
    await ends.serve("v14", Address("unix", id=id), owner_only_place, id=id)
    await exchange(ends, "python", id, Habits())


@pytest.mark.parametrize("node", UP_TO_12)
async def test_a_python_client_finds_a_default_server_up_to_12(ends: Ends, id: str, node: str) -> None:
    await ends.serve(node, Address("unix", id=id), ECHO, id=id)
    assert os.path.exists(f"/tmp/app.{id}")
    await exchange(ends, "python", id, Habits())


@pytest.mark.parametrize("client", [*UP_TO_12, "python"])
async def test_a_default_client_finds_a_default_python_server(ends: Ends, id: str, client: str) -> None:
    await ends.serve("python", Address("unix", id=id), ECHO, id=id)
    assert os.path.exists(f"/tmp/app.{id}")
    await exchange(ends, client, id, Habits())


@pytest.mark.parametrize("client", ["v14", "python"])
async def test_a_default_node_ipc_14_client_finds_python_in_the_owner_only_place(
    ends: Ends, id: str, owner_only_place: Habits, client: str
) -> None:
    from node_ipc import runtime_socket_root

    await ends.serve("python", Address("unix", id=id), ECHO, id=id, socket_root=runtime_socket_root())
    await exchange(ends, client, id, Habits(env=owner_only_place.env))


@pytest.mark.parametrize("node", VERSIONS)
async def test_two_appspaces_do_not_meet(ends: Ends, node: str) -> None:
    mine = Address("unix", root=ends.root, appspace="mine.")
    yours = Address("unix", root=ends.root, appspace="yours.")
    await ends.serve("python", mine, ECHO)
    await ends.serve(node, yours, ECHO)

    for address in (mine, yours):
        client = await ends.connect("python", address)
        await client.emit("message", address.appspace)
        assert (await client.event("message")).data == address.appspace
