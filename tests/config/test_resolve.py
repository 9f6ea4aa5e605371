"""What ``connect`` and ``serve`` are given, together: the address and the options."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

import node_ipc
from node_ipc import blocking
from node_ipc.config.options import UnknownOption

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
