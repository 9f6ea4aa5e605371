"""websockets with the standard library's json; compression off, since it only costs on one machine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import loop_role
import role
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.asyncio.client import connect as connect_websocket
from websockets.asyncio.server import ServerConnection, broadcast, unix_serve
from websockets.asyncio.server import serve as serve_websocket

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
OPTIONS: dict[str, Any] = {"compression": None, "max_size": None}
tasks: set[asyncio.Task[None]] = set()


class Connection:
    received: role.Received

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        loop_role.watched(self._read(), tasks)

    async def send_all(self, payloads: Iterable[Any]) -> None:
        for payload in payloads:
            await self._websocket.send(json.dumps(payload))

    async def _read(self) -> None:
        async for message in self._websocket:
            reply = self.received(json.loads(message))
            if reply is not None:
                await self._websocket.send(json.dumps(reply))


async def connect(plan: role.Plan, number: int) -> Connection:
    if plan.transport == "unix":
        return Connection(await unix_connect(plan.path, "ws://localhost/", **OPTIONS))
    scheme = "wss" if plan.transport == "tls" else "ws"
    address = f"{scheme}://{plan.host}:{plan.port}/"
    return Connection(await connect_websocket(address, ssl=loop_role.client_tls(plan), **OPTIONS))


async def serve(plan: role.Plan) -> None:
    peers: set[ServerConnection] = set()
    announcer = role.Announcer(
        plan,
        MAKE,
        lambda payload: broadcast(peers, json.dumps(payload)),
        lambda: len(peers),
        asyncio.get_running_loop().call_soon,
    )

    async def accept(websocket: ServerConnection) -> None:
        peers.add(websocket)
        received = role.answering(plan, MAKE, WRONG)
        async for message in websocket:
            reply = received(json.loads(message))
            if plan.kind == "broadcast":
                announcer.go()
            elif reply is not None:
                await websocket.send(json.dumps(reply))

    if plan.transport == "unix":
        await unix_serve(accept, plan.path, backlog=2048, **OPTIONS)
    else:
        context = loop_role.server_tls(plan)
        await serve_websocket(accept, plan.host, plan.port, ssl=context, backlog=2048, **OPTIONS)
    await loop_role.stay()


if PLAN.role == "server":
    asyncio.run(serve(PLAN))
else:
    asyncio.run(loop_role.drive(PLAN, connect, MAKE, WRONG))
