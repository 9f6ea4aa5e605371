"""gRPC's asyncio API with the standard library's json: one call that streams both ways, on a Unix socket."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import loop_role
import role

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
ADDRESS = f"unix:{PLAN.path}" if PLAN.transport == "unix" else f"{PLAN.host}:{PLAN.port}"
OPTIONS = [("grpc.max_receive_message_length", 1 << 28), ("grpc.max_send_message_length", 1 << 28)]
tasks: set[asyncio.Task[None]] = set()


class Connection:
    received: role.Received

    def __init__(self, channel: Any) -> None:
        self._channel = channel  # nobody else refers to it, and then it would close
        self._call = channel.stream_stream("/bench/Talk")()
        self._one_at_a_time = asyncio.Lock()
        loop_role.watched(self._read(), tasks)

    async def send_all(self, payloads: Iterable[Any]) -> None:
        for payload in payloads:
            await self._send(payload)

    async def _send(self, payload: Any) -> None:
        async with self._one_at_a_time:
            await self._call.write(json.dumps(payload).encode())

    async def _read(self) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            reply = self.received(json.loads(message))
            if reply is not None:
                await self._send(reply)


async def connect(plan: role.Plan, number: int) -> Connection:
    return Connection(grpc.aio.insecure_channel(ADDRESS, options=OPTIONS))


async def serve(plan: role.Plan) -> None:
    async def talk(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        received = role.answering(plan, MAKE, WRONG)
        async for message in messages:
            reply = received(json.loads(message))
            if reply is not None:
                yield json.dumps(reply).encode()

    server = grpc.aio.server(options=OPTIONS)
    handlers = {"Talk": grpc.stream_stream_rpc_method_handler(talk)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", handlers),))
    server.add_insecure_port(ADDRESS)
    await server.start()
    await loop_role.stay()


asyncio.run(serve(PLAN) if PLAN.role == "server" else loop_role.drive(PLAN, connect, MAKE, WRONG))
