"""What a request says whose server dies, on each front."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fronts import FRONTS, front_of
from node_ipc import Config, ConnectionLost


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with front_of(request.param, Config(socket_root=f"{tmp_path}/", retry=20, silent=True)) as front:
        yield front


DIES = """
import asyncio, os, sys, node_ipc

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1]) as server:
        server.handle("die", lambda: os._exit(1))
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_server_that_dies_at_a_request_is_not_called_full(front: Any) -> None:
    """It has read the request, so it had let the client in."""
    with subprocess.Popen([sys.executable, "-c", DIES, front.config.socket_root], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stdout.readline() == b"up\n"
        client = front.connect()
        with pytest.raises(ConnectionLost, match="it may have stopped or died; its log says why") as lost:
            client.request("die")
        client.abort()
    assert "max_connections" not in str(lost.value)
