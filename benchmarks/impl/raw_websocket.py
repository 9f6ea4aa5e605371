"""picows with the standard library's json, on uvloop: a WebSocket library that hands over frames in callbacks.

TCP only: it sets TCP_NODELAY on whatever it connects, which a Unix socket refuses.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import loop_role
import picows
import role
import uvloop

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
OPTIONS: dict[str, Any] = {"max_frame_size": 1 << 28, "use_aiofastnet": False}


class Connection(picows.WSListener):  # type: ignore[misc]
    received: role.Received

    def on_ws_connected(self, transport: Any) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        reply = self.received(json.loads(frame.get_payload_as_bytes()))
        if reply is not None:
            self.send(reply)

    def send(self, payload: Any) -> None:
        self._transport.send(picows.WSMsgType.TEXT, json.dumps(payload).encode())

    async def send_all(self, payloads: Iterable[Any]) -> None:
        for payload in payloads:
            self.send(payload)
            if self._transport.underlying_transport.get_write_buffer_size() > 1 << 20 and PLAN.window < PLAN.messages:
                await asyncio.sleep(0)


async def connect(plan: role.Plan, number: int) -> Connection:
    _, connection = await picows.ws_connect(Connection, f"ws://{plan.host}:{plan.port}/", **OPTIONS)
    assert isinstance(connection, Connection)
    return connection


async def serve(plan: role.Plan) -> None:
    peers: list[Connection] = []

    def broadcast(payload: Any) -> None:
        text = json.dumps(payload).encode()
        for peer in peers:
            peer._transport.send(picows.WSMsgType.TEXT, text)

    soon = asyncio.get_running_loop().call_soon
    announcer = role.Announcer(plan, MAKE, broadcast, lambda: len(peers), soon)

    def accept(request: Any) -> Connection:
        peer = Connection()
        peer.received = (lambda data: announcer.go()) if plan.kind == "broadcast" else role.answering(plan, MAKE, WRONG)
        peers.append(peer)
        return peer

    server = await picows.ws_create_server(accept, plan.host, plan.port, backlog=2048, **OPTIONS)
    await server.start_serving()
    await loop_role.stay()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(serve(PLAN) if PLAN.role == "server" else loop_role.drive(PLAN, connect, MAKE, WRONG))
