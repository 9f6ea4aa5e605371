"""Bytes that two ends of this library would send beside the JSON: to node-ipc they are base64 text, as ever, and its
programs notice nothing of what is offered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest

import node_ipc
from node_ipc import Config

from .install import VERSIONS
from .pairs import ECHO, Ends, Pair

pytestmark = pytest.mark.row(71)

LARGE = bytes(range(256)) * 100
TEXT = base64.b64encode(LARGE).decode()
GRID = numpy.arange(9000, dtype="<i4")
IN_JSON = {"dtype": "<i4", "shape": [9000], "data": base64.b64encode(GRID.tobytes()).decode()}


@pytest.mark.parametrize("node", VERSIONS)
async def test_a_node_server_hears_large_bytes_as_base64(ends: Ends, node: str) -> None:
    link = await ends.link(Pair(node, "python"), "unix", ECHO)
    for sent, heard in (
        (LARGE, TEXT),
        ({"a": LARGE, "n": 1}, {"a": TEXT, "n": 1}),
        (GRID, IN_JSON),
        ("small", "small"),
    ):
        await link.client.emit("message", sent)
        assert (await link.server.event("message")).data == heard
        assert (await link.client.event("message")).data == heard


@pytest.mark.parametrize("node", VERSIONS)
async def test_a_node_client_hears_large_bytes_as_base64(ends: Ends, node: str) -> None:
    link = await ends.link(Pair("python", node), "unix", ECHO)
    await link.client.emit("message", "first")
    assert (await link.client.event("message")).data == "first"
    for sent, heard in ((LARGE, TEXT), (GRID, IN_JSON), ("small", "small")):
        await link.server.emit("message", sent, to=0)
        assert (await link.client.event("message")).data == heard


class Between:
    """Passes bytes on between our client and a server, and keeps what the client says."""

    def __init__(self, path: str, to: str) -> None:
        self.said = b""
        self._path, self._to = path, to

    async def __aenter__(self) -> Between:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: Any, writer: Any) -> None:
        back, on = await asyncio.open_unix_connection(self._to)
        answers = asyncio.ensure_future(_pass_on(back, writer))
        while data := await reader.read(65536):
            self.said += data
            on.write(data)
        on.close()
        await answers


async def _pass_on(reader: Any, writer: Any) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.mark.parametrize("node", VERSIONS)
async def test_every_byte_to_node_is_what_it_was_but_for_one_member_once(ends: Ends, node: str, tmp_path: Path) -> None:
    link = await ends.link(Pair(node, "python"), "unix", ECHO)
    path = link.client._endpoint().address.path  # where the Node server is
    async with Between(f"{tmp_path}/app.between", path) as between:
        client: Any = await node_ipc.connect("between", config=Config(socket_root=f"{tmp_path}/"))
        async with client:
            for sent in ("first", b"small", LARGE, LARGE, {"n": 1}):
                client.emit("message", sent)
                await client.receive("message", timeout=20)
    frames = [
        msgspec.json.encode({"type": "message", "data": sent}) for sent in ("first", b"small", LARGE, LARGE, {"n": 1})
    ]
    frames[2] = frames[2][:-1] + b',"attachments":1}'
    assert between.said == b"".join(frame + b"\f" for frame in frames)
