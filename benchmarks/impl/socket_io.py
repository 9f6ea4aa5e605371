"""python-socketio on aiohttp, WebSocket transport only; handlers in order, compression off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

import aiohttp
import loop_role
import role
import socketio
from aiohttp import web

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
LIMIT = 1 << 28


class Connection:
    received: role.Received

    def __init__(self, client: socketio.AsyncClient) -> None:
        self._client = client
        client.on("message", self._message)

    async def send_all(self, payloads: Iterable[Any]) -> None:
        for payload in payloads:
            await self._client.emit("message", payload)

    async def _message(self, data: Any) -> None:
        reply = self.received(data)
        if reply is not None:
            await self._client.emit("message", reply)


async def connect(plan: role.Plan, number: int) -> Connection:
    connector = aiohttp.UnixConnector(plan.path) if plan.transport == "unix" else None
    client = socketio.AsyncClient(
        http_session=aiohttp.ClientSession(connector=connector),
        websocket_extra_options={"max_msg_size": LIMIT, "compress": 0},
    )
    connection = Connection(client)
    url = "http://localhost" if plan.transport == "unix" else f"http://{plan.host}:{plan.port}"
    await client.connect(url, transports=["websocket"])
    return connection


async def serve(plan: role.Plan) -> None:
    server = socketio.AsyncServer(
        async_mode="aiohttp", async_handlers=False, max_http_buffer_size=LIMIT, http_compression=False
    )
    received: dict[str, role.Received] = {}

    @server.on("connect")
    async def connected(sid: str, environ: object) -> None:
        received[sid] = role.answering(plan, MAKE, WRONG)

    @server.on("message")
    async def message(sid: str, data: Any) -> None:
        reply = received[sid](data)
        if reply is not None:
            await server.emit("message", reply, to=sid)

    application = web.Application()
    server.attach(application)
    runner = web.AppRunner(application)
    await runner.setup()
    unix = plan.transport == "unix"
    site = web.UnixSite(runner, plan.path) if unix else web.TCPSite(runner, plan.host, plan.port)
    await site.start()
    await loop_role.stay()


if PLAN.role == "server":
    asyncio.run(serve(PLAN))
else:
    asyncio.run(loop_role.drive(PLAN, connect, MAKE, WRONG))
