"""What the asyncio implementations share: connecting all lanes, the passes, and a server that stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import role

if TYPE_CHECKING:
    import ssl


class Connection(Protocol):
    """A client's connection: it hands what comes in to ``received`` and sends what that returns."""

    received: role.Received

    async def send_all(self, payloads: Iterable[Any]) -> None:
        """Send each payload, waiting where this implementation would."""


Connect = Callable[[role.Plan, int], Awaitable[Connection]]


async def drive(plan: role.Plan, connect: Connect, make: role.Make, wrong: role.Wrong) -> None:
    """The client's whole part."""
    connections = [await connect(plan, number) for number in range(plan.connections)]
    stopwatch = role.Stopwatch(plan)
    if plan.warmup:
        await _pass(role.Load(plan, plan.warmup, make, wrong), connections)
    if plan.kind == "idle":
        stopwatch.wait_for_go()
        stopwatch.report(0, [])
        return
    load = role.Load(plan, plan.messages, make, wrong)
    stopwatch.wait_for_go()
    await _pass(load, connections)
    stopwatch.report(plan.messages, load.latencies)


async def _pass(load: role.Load, connections: list[Connection]) -> None:
    done = asyncio.get_running_loop().create_future()
    load.when_done = lambda: done.set_result(None)
    for connection, lane in zip(connections, load.lanes, strict=True):
        connection.received = lane.received
    if len(connections) == 1:
        await connections[0].send_all(load.lanes[0].opening)
    else:
        sending = (c.send_all(lane.opening) for c, lane in zip(connections, load.lanes, strict=True))
        await asyncio.gather(*sending)
    await done


def watched(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Run a reading loop as a task; its failure is the run's."""
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(_ended)
    task.add_done_callback(tasks.discard)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        role.fail(repr(error))


async def stay() -> None:
    """Say that the server can be connected to, and serve until the harness ends it."""
    role.ready()
    await asyncio.Event().wait()


def server_tls(plan: role.Plan) -> ssl.SSLContext | None:
    """The server's context; ``None`` on other transports, where ssl is not imported."""
    if plan.transport != "tls":
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(plan.cert, plan.key)
    return context


def client_tls(plan: role.Plan) -> ssl.SSLContext | None:
    """The client's context, which trusts the run's authority; ``None`` on other transports."""
    if plan.transport != "tls":
        return None
    import ssl

    return ssl.create_default_context(cafile=plan.ca)
