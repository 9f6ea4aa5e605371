"""This library's asyncio front, on asyncio's own loop or on uvloop; with ``front=callbacks`` node-ipc's own shape.

The two fronts differ in ``open_client``, ``open_server`` and ``drained`` only.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import loop_role
import ours
import role

import node_ipc

PLAN = role.Plan(sys.argv[1:])
TYPE, MAKE, WRONG = ours.payloads(PLAN)


def listen(endpoint: Any, event: str, handler: Any) -> None:
    """Register ``handler``, for payloads of this run's type if it has one."""
    if TYPE is None:
        endpoint.on(event, handler)
    else:
        endpoint.on(event, handler, type=TYPE)


async def open_client(plan: role.Plan, number: int) -> Any:
    if plan.front == "aio":
        return await node_ipc.connect(ours.address(plan), **ours.options(plan))
    ipc = callbacks()
    if plan.transport == "unix":
        return await ipc.connect_to(f"client{number}", plan.path)
    return await ipc.connect_to_net(f"client{number}", plan.host, plan.port)


async def open_server(plan: role.Plan) -> Any:
    if plan.front == "aio":
        return await node_ipc.serve(ours.address(plan), **ours.options(plan))
    ipc = callbacks()
    if plan.transport == "unix":
        ipc.serve(plan.path)
    else:
        ipc.serve_net(plan.host, plan.port)
    return await ipc.server.start()


async def drained(client: Any) -> None:
    """Wait as a program on this front would: the callback front has no ``drain``."""
    if PLAN.front == "aio":
        await client.drain()
        return
    while client.pending_bytes > client.settings.soft_pending_bytes // 2:
        await asyncio.sleep(0)


@cache
def callbacks() -> Any:
    return node_ipc.IPC(node_ipc.Config(**ours.options(PLAN)))


class Connection:
    received: role.Received

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waits = PLAN.window < PLAN.messages
        listen(client, "message", self._message)

    async def send_all(self, payloads: Iterable[Any]) -> None:
        emit = self._client.emit
        for payload in payloads:
            if not emit("message", payload) and self._waits:
                await drained(self._client)

    def _message(self, data: Any) -> None:
        reply = self.received(data)
        if reply is not None:
            self._client.emit("message", reply)


async def connect(plan: role.Plan, number: int) -> Connection:
    return Connection(await open_client(plan, number))


async def serve(plan: role.Plan) -> None:
    server = await open_server(plan)
    if plan.kind == "udp":
        _tally(server)
    elif plan.kind == "broadcast":
        _announce(server)
    elif plan.kind == "oneway":
        _count(server)
    else:
        listen(server, "message", lambda data, socket: socket.emit("message", data))
    await loop_role.stay()


def _count(server: Any) -> None:
    received = role.answering(PLAN, MAKE, WRONG)

    def message(data: Any, socket: Any) -> None:
        reply = received(data)
        if reply is not None:
            socket.emit("message", reply)

    listen(server, "message", message)


def _announce(server: Any) -> None:
    announcer = role.Announcer(
        PLAN,
        MAKE,
        lambda payload: server.broadcast("message", payload),
        lambda: len(server.sockets),
        asyncio.get_running_loop().call_soon,
    )
    listen(server, "message", lambda data: announcer.go())


def _tally(server: Any) -> None:
    import datagrams

    tally = datagrams.Tally()
    server.on("message", lambda data: tally.add(data["n"]))
    server.on("report", lambda data, socket: server.emit(socket, "report", tally.report()))


async def send_datagrams(plan: role.Plan) -> None:
    """UDP has no clients: the sender is a server too, on a port of its own, and names the address it sends to."""
    import datagrams

    sender = await node_ipc.serve(f"udp4://{plan.host}:{plan.reply_port}", **ours.options(plan))
    receiver = {"address": plan.host, "port": plan.port}
    answer = asyncio.get_running_loop().create_future()

    def report(data: Any) -> None:
        if not answer.done():
            answer.set_result(data)

    sender.on("report", report)
    role.Stopwatch(plan).wait_for_go()
    for number in range(plan.messages):
        sender.emit(receiver, "message", MAKE(number))
        if number % datagrams.BURST == datagrams.BURST - 1:
            await asyncio.sleep(0)
    while not answer.done():
        sender.emit(receiver, "report")
        await asyncio.wait([answer], timeout=0.05)
    datagrams.say_tally(plan, answer.result())


def main() -> Any:
    if PLAN.role == "server":
        return serve(PLAN)
    return send_datagrams(PLAN) if PLAN.kind == "udp" else loop_role.drive(PLAN, connect, MAKE, WRONG)


if PLAN.loop == "uvloop":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    asyncio.run(main())
