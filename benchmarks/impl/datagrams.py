"""UDP one way with asyncio's datagram protocol and json: how many arrive, and how fast.

The sender pauses for a turn of its loop after every 32 datagrams, then asks until the receiver says what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter
from typing import Any

import loop_role
import role

BURST = 32


class Tally:
    """What a receiver counts: datagrams, those out of order or doubled, and the time from the first to the last."""

    def __init__(self) -> None:
        self._received = 0
        self._wrong = 0
        self._last = -1
        self._began = 0.0
        self._ended = 0.0

    def add(self, number: int) -> None:
        self._ended = perf_counter()
        self._began = self._began or self._ended
        self._received += 1
        if number <= self._last:
            self._wrong += 1
        self._last = number

    def report(self) -> dict[str, Any]:
        return {"received": self._received, "wrong": self._wrong, "seconds": self._ended - self._began}


def say_tally(plan: role.Plan, tally: dict[str, Any]) -> None:
    """Print a sender's result, as told by the receiver."""
    if tally["wrong"]:
        role.fail(f"{tally['wrong']} datagrams came twice or out of order")
    lost = plan.messages - tally["received"]
    role.say(json.dumps({"seconds": tally["seconds"], "messages": tally["received"], "lost": lost}))
    sys.stdin.readline()


class Server(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._tally = Tally()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = json.loads(data)
        if message["type"] == "report":
            self._transport.sendto(json.dumps(self._tally.report()).encode(), addr)
        else:
            self._tally.add(message["data"]["n"])


class Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(json.loads(data))


async def _serve(plan: role.Plan) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Server, (plan.host, plan.port))
    await loop_role.stay()


async def _send(plan: role.Plan, make: role.Make) -> None:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=(plan.host, plan.port))
    role.Stopwatch(plan).wait_for_go()
    for number in range(plan.messages):
        transport.sendto(json.dumps({"type": "message", "data": make(number)}).encode())
        if number % BURST == BURST - 1:
            await asyncio.sleep(0)
    while not client.answer.done():
        transport.sendto(b'{"type": "report"}')
        await asyncio.wait([client.answer], timeout=0.05)
    say_tally(plan, client.answer.result())


def run(plan: role.Plan, make: role.Make) -> None:
    asyncio.run(_serve(plan) if plan.role == "server" else _send(plan, make))
