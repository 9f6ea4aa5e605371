"""``node-ipc top`` looks at real node-ipc, which knows nothing of it, through a tap."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace

import pytest

from .pairs import ECHO, Ends
from .peers import DEADLINE


async def started(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node_ipc", *arguments), stdin=pipe, stdout=pipe, stderr=pipe
    )


@pytest.mark.parametrize("version", ["v9", "v14"])
async def test_a_node_server_and_a_node_client_are_seen_through_a_tap(ends: Ends, version: str) -> None:
    address = ends.address("unix")
    spy = replace(address, id="spy")
    server = await ends.serve(version, address, ECHO)
    tap = await started("tap", spy.path, "--to", address.path, "--observe")
    try:
        async with asyncio.timeout(DEADLINE):
            assert tap.stderr is not None and b"Ctrl-C ends" in await tap.stderr.readline()
        client = await ends.connect(version, spy)
        top = await started("top", spy.path, "--json")
        try:
            async with asyncio.timeout(2 * DEADLINE):
                assert top.stdout is not None
                look = json.loads(await top.stdout.readline())
                while look["events"].get("message", {"out": 0})["out"] < 3:
                    await client.emit("message", {"n": 1})
                    await client.event("message")
                    look = json.loads(await top.stdout.readline())
        finally:
            top.terminate()
            await top.communicate()
        assert look["events"]["message"]["in"] >= 3 and look["events"]["message"]["bytes_in"] > 60
        assert look["link_count"] == 1 and look["links"][0]["stats"]["messages_in"] >= 3
        assert "error" not in server.events.types()
    finally:
        tap.terminate()
        await tap.communicate()
