"""What ``connect`` and ``serve`` are given, together: the address and the options."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import AddressError, ConfigError, blocking
from node_ipc.config.address import Udp
from node_ipc.config.options import UnknownOption
from node_ipc.config.resolve import UdpPlace, resolve_udp

unix_only = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets on this system")


@pytest.mark.parametrize(
    ("make", "name", "hint"),
    [
        (node_ipc.connect, "timout", "did you mean timeout=, which this call itself takes?"),
        (blocking.connect, "timeOut", "did you mean timeout=, which this call itself takes?"),
        (node_ipc.connect, "waits", "did you mean wait=, which this call itself takes?"),
        (node_ipc.serve, "confg", "did you mean config=, which this call itself takes?"),
        (blocking.serve, "slow_timout", "did you mean 'slow_timeout'?"),
        (node_ipc.connect, "maxRetries", "in Python it is 'max_retries'"),
    ],
)
def test_a_misspelt_name_is_told_the_right_one(make: object, name: str, hint: str) -> None:
    with pytest.raises(UnknownOption, match=re.escape(hint)):
        make("world", **{name: 3})  # type: ignore[operator]


@unix_only
@pytest.mark.parametrize("way", ["{}/app.sock", "./app.sock", "~/app.sock"])
async def test_a_path_is_served_and_reached_as_people_write_it(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = way.format(tmp_path)
    async with node_ipc.serve(place) as server:
        server.on("ask", lambda data, socket: socket.emit("answer", data))
        assert (tmp_path / "app.sock").is_socket()
        async with node_ipc.connect(place) as client:
            client.emit("ask", 1)
            assert await client.receive("answer", timeout=20) == 1


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("127.0.0.1:8000", "udp4://127.0.0.1:8000"),
        ("localhost:0", "udp4://localhost:0"),
        ("[::1]:8000", "udp6://[::1]:8000"),
        ("udp4://127.0.0.1:8000", "udp4://127.0.0.1:8000"),
        ("UDP6://[::1]:0", "udp6://[::1]:0"),
        (("127.0.0.1", 8000), "udp4://127.0.0.1:8000"),
        (("::1", 0), "udp6://[::1]:0"),
        (Udp("here", 8000, "udp6"), "udp6://[here]:8000"),
    ],
)
def test_a_udp_port_in_each_way_it_is_written(given: UdpPlace, means: str) -> None:
    where, settings = resolve_udp(given, None, {"udp_peer_ttl": 5})
    assert str(where) == means
    assert settings.udp_peer_ttl == 5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("world", "is no UDP port: serve_udp binds udp4://host:port and udp6://[host]:port, serve() the rest"),
        ("/run/app.sock", "is no UDP port"),
        ("tcp://127.0.0.1:8000", "tcp://127.0.0.1:8000 is no UDP port"),
        ("127.0.0.1:80000", "80000"),
        (":8000", "the host is empty"),
        ("", "no address"),
        (("127.0.0.1", "8000"), "8000"),
        (8000, "8000"),
        (None, "None"),
    ],
)
def test_what_is_no_udp_port_is_refused(given: Any, says: str) -> None:
    with pytest.raises(AddressError, match=re.escape(says)):
        resolve_udp(given, None, {})


@pytest.mark.parametrize("front", [node_ipc, blocking])
def test_serve_udp_tells_what_it_does_not_take(front: Any) -> None:
    with pytest.raises(AddressError, match=r"tls= is for tcp:// and tls:// .*: udp4://127\.0\.0\.1:0 has no"):
        front.serve_udp("127.0.0.1:0", tls=True)
    with pytest.raises(UnknownOption, match="did you mean config=, which this call itself takes"):
        front.serve_udp("127.0.0.1:0", confg=1)
    with pytest.raises(ConfigError, match=r"config takes a node_ipc\.Config"):
        front.serve_udp("127.0.0.1:0", config={})


@pytest.mark.parametrize("make", [node_ipc.serve, blocking.serve, node_ipc.connect, blocking.connect])
def test_what_is_no_address_is_refused_as_what_it_is(make: Any) -> None:
    with pytest.raises(AddressError, match=r"not 8000|not an address: 8000"):
        make(8000)
    with pytest.raises(AddressError, match=r"A TCP port is tcp://127\.0\.0\.1:8000"):
        make(8000)
