"""asyncio streams with the standard library's json: a line per message, a drain after each."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import loop_role
import role

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
LIMIT = max(1 << 16, 4 * PLAN.size)
tasks: set[asyncio.Task[None]] = set()


def encode(payload: Any) -> bytes:
    return json.dumps(payload).encode() + b"\n"


class Connection:
    received: role.Received

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        loop_role.watched(self._read(reader), tasks)

    async def send_all(self, payloads: Iterable[Any]) -> None:
        for payload in payloads:
            self._writer.write(encode(payload))
            await self._writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            reply = self.received(json.loads(line))
            if reply is not None:
                self._writer.write(encode(reply))
                await self._writer.drain()


async def connect(plan: role.Plan, number: int) -> Connection:
    if plan.transport == "unix":
        return Connection(*await asyncio.open_unix_connection(plan.path, limit=LIMIT))
    context = loop_role.client_tls(plan)
    return Connection(*await asyncio.open_connection(plan.host, plan.port, ssl=context, limit=LIMIT))


async def serve(plan: role.Plan) -> None:
    writers: list[asyncio.StreamWriter] = []

    def broadcast(payload: Any) -> None:
        line = encode(payload)
        for writer in writers:
            writer.write(line)

    soon = asyncio.get_running_loop().call_soon
    announcer = role.Announcer(plan, MAKE, broadcast, lambda: len(writers), soon)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        received = role.answering(plan, MAKE, WRONG)
        while line := await reader.readline():
            reply = received(json.loads(line))
            if plan.kind == "broadcast":
                announcer.go()
            elif reply is not None:
                writer.write(encode(reply))
                await writer.drain()
        writers.remove(writer)
        writer.close()

    if plan.transport == "unix":
        await asyncio.start_unix_server(accept, plan.path, limit=LIMIT, backlog=2048)
    else:
        context = loop_role.server_tls(plan)
        await asyncio.start_server(accept, plan.host, plan.port, ssl=context, limit=LIMIT, backlog=2048)
    await loop_role.stay()


if PLAN.kind == "udp":
    import datagrams

    datagrams.run(PLAN, MAKE)
elif PLAN.role == "server":
    asyncio.run(serve(PLAN))
else:
    asyncio.run(loop_role.drive(PLAN, connect, MAKE, WRONG))
