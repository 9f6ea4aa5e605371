"""One vocabulary in three fronts: the same verbs, with the same parameters, wherever they are."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import AddressError, Client, DatagramPeer, DatagramServer, Server, Socket, aio, blocking
from node_ipc.blocking_datagram import BlockingDatagramServer

CLIENTS = [aio.AsyncClient, blocking.BlockingClient]
SERVERS = [aio.AsyncServer, blocking.BlockingServer]
DATAGRAMS = [aio.AsyncDatagramServer, BlockingDatagramServer]


def parameters(owner: Any, name: str) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults; annotations and what is returned may differ, since only waiting does."""
    signature = inspect.signature(getattr(owner, name))
    return [(each.name, each.kind, each.default) for each in signature.parameters.values()]


@pytest.mark.parametrize("front", CLIENTS)
@pytest.mark.parametrize(
    "verb", ["emit", "on", "once", "off", "request", "handle", "close", "abort", "stats", "on_trace"]
)
def test_a_client_of_each_front_has_the_verbs_of_the_middle(front: Any, verb: str) -> None:
    assert parameters(front, verb) == parameters(Client, verb)


@pytest.mark.parametrize("front", SERVERS)
@pytest.mark.parametrize(
    "verb",
    [
        "emit",
        "broadcast",
        "on",
        "once",
        "off",
        "request",
        "request_all",
        "handle",
        "stop",
        "abort",
        "stats",
        "on_trace",
    ],
)
def test_a_server_of_each_front_has_the_verbs_of_the_middle(front: Any, verb: str) -> None:
    assert parameters(front, verb) == parameters(Server, verb)


@pytest.mark.parametrize("front", DATAGRAMS)
@pytest.mark.parametrize("verb", ["emit", "broadcast", "on", "once", "off", "stop", "abort", "stats", "on_trace"])
def test_a_udp_port_of_each_front_has_the_verbs_of_the_middle(front: Any, verb: str) -> None:
    assert parameters(front, verb) == parameters(DatagramServer, verb)


@pytest.mark.parametrize("verb", ["on", "once", "off", "stop", "abort", "stats", "on_trace"])
def test_a_udp_port_has_the_verbs_of_a_server(verb: str) -> None:
    assert parameters(DatagramServer, verb) == parameters(Server, verb)


def test_drain_takes_the_same_in_both() -> None:
    for asynchronous, waiting in (CLIENTS, SERVERS, DATAGRAMS):
        assert parameters(asynchronous, "drain") == parameters(waiting, "drain")


def test_receive_is_the_same_in_both_waiting_fronts() -> None:
    assert parameters(aio.AsyncClient, "receive") == parameters(blocking.BlockingClient, "receive")


@pytest.mark.parametrize("opener", ["connect", "serve", "serve_udp"])
def test_connect_and_serve_take_the_same(opener: str) -> None:
    assert parameters(aio, opener) == parameters(blocking, opener)


def test_a_socket_has_the_verbs_of_a_client() -> None:
    for verb in ("emit", "request", "close", "abort", "stats"):
        assert parameters(Socket, verb) == parameters(Client, verb)
    assert parameters(DatagramPeer, "stats") == parameters(Socket, "stats")


def test_what_a_front_adds_is_what_waits() -> None:
    """A front that grew verbs of its own would be a second vocabulary."""
    added = {
        front: {name for name in dir(front) if name[0] != "_" and hasattr(front, name) and not hasattr(middle, name)}
        for fronts, middle in ((CLIENTS, Client), (SERVERS, Server), (DATAGRAMS, DatagramServer))
        for front in fronts
    }
    assert added[aio.AsyncClient] == {"receive", "drain"}
    assert added[blocking.BlockingClient] == {"receive", "drain", "batch", "poll"}
    assert added[aio.AsyncServer] == added[aio.AsyncDatagramServer] == {"serve_forever", "drain"}
    for front in (blocking.BlockingServer, BlockingDatagramServer):
        assert added[front] == {"serve_forever", "drain", "poll", "shutdown"}


def test_what_the_fronts_give_has_public_names() -> None:
    assert (node_ipc.AsyncClient, node_ipc.AsyncServer) == (aio.AsyncClient, aio.AsyncServer)
    assert node_ipc.AsyncDatagramServer is aio.AsyncDatagramServer
    assert (blocking.Client, blocking.Server) == (blocking.BlockingClient, blocking.BlockingServer)
    assert blocking.DatagramServer is BlockingDatagramServer
    assert blocking.Socket is blocking.BlockingSocket
    assert issubclass(blocking.Socket, node_ipc.Socket)
    with pytest.raises(AttributeError, match=r"module 'node_ipc\.blocking' has no attribute 'DatagramServers'"):
        _ = blocking.DatagramServers  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fronts", "middle"), [(CLIENTS, Client), (SERVERS, Server), (DATAGRAMS, DatagramServer)], ids=str
)
def test_each_is_one_of_the_middle(fronts: Any, middle: Any) -> None:
    for front in fronts:
        assert issubclass(front, middle)
        assert isinstance(object.__new__(front), middle)
    others = {Client, Server, DatagramServer} - {middle}
    assert not any(issubclass(front, other) for front in fronts for other in others)


def test_a_server_tells_its_port() -> None:
    with blocking.serve("tcp://127.0.0.1:0") as server:
        assert "shutdown" in dir(server) and "send" not in dir(server)
        assert server.port == server.address.port > 0  # type: ignore[union-attr]
    with blocking.serve_udp("127.0.0.1:0") as port:
        assert port.port > 0


def test_a_server_at_a_path_has_no_port(tmp_path: Path) -> None:
    with (
        blocking.serve(tmp_path / "app.sock") as server,
        pytest.raises(AddressError, match=r"app\.sock has no port: address says where it is"),
    ):
        _ = server.port
