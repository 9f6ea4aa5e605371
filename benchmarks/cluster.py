"""Fan-out and latency of a bus: ``python -m benchmarks.cluster [--seconds 3] [--only hub,nats,redis,socketio]``.

    fan-out   one emit to a room that has 250 clients at each of 4 servers, over and over; the servers and the clients
              share the cores that there are, so what counts is the ratio to one process's own emit to its clients, and
              to python-socketio with its Redis manager in the same shape: by deliveries a second, and (per core) by the
              processor's time that all servers and the broker take for one, in which the clients have no part
    latency   one emit at a time from one server to a client of another, less the median within one server, against a
              bare publish and receive of the client library, a hundred of the one and a hundred of the other in turn

Everything is a ratio within one run. The brokers are ``nats-server`` and ``redis-server``, started here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

SERVERS, CLIENTS = 4, 250
BATCHES = (1, 20)
"""Emits on their way at once: one, so that nothing is written together, and as many as a busy room has."""
ENDS = b"\f"
"""One for each event."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def broker(name: str, folder: str) -> Iterator[tuple[str, int]]:
    """The URL of a bus, its broker running, and that process."""
    port = free_port()
    commands = {
        "nats": ["nats-server", "-a", "127.0.0.1", "-p", str(port)],
        "redis": ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        "hub": [sys.executable, "-m", "benchmarks.cluster", "--role", "hub", "--at", f"{folder}/hub"],
    }
    urls = {"nats": f"nats://127.0.0.1:{port}", "redis": f"redis://127.0.0.1:{port}", "hub": f"unix:{folder}/hub"}
    program = subprocess.Popen(commands[name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end and not _is_up(name, port, folder):
            time.sleep(0.02)
        yield urls[name], program.pid
    finally:
        program.kill()
        program.wait()


def _is_up(name: str, port: int, folder: str) -> bool:
    if name == "hub":
        return os.path.exists(f"{folder}/hub")
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


# ---- the processes of a run; each is this module with a role


async def hub(at: str) -> None:
    from node_ipc.cluster.hub import hub_config, relay
    from node_ipc.config.address import Unix
    from node_ipc.core.server import Server
    from node_ipc.drivers.loop import EventLoopDriver

    driver = EventLoopDriver()
    driver.attach(asyncio.get_running_loop())
    server = Server(Unix(at), driver, hub_config(os.path.dirname(at) + "/").settings())
    relay(server)
    await server.start()
    await server.closed


async def server(at: str, bus: str | None) -> None:
    """A server that puts whoever comes into the room "all", and emits as often as it is told."""
    import node_ipc

    options: dict[str, Any] = {} if bus is None else {"bus": bus}
    async with node_ipc.serve(at, max_connections=2000, backlog=4096, **options) as serving:
        serving.on("connect", lambda socket: socket.join("all"))

        @serving.on("go")
        def go(data: dict[str, int]) -> None:
            for number in range(data["first"], data["first"] + data["count"]):
                serving.to("all").emit("n", number)

        @serving.handle("ready")
        def ready(data: dict[str, int]) -> bool:
            others = 0 if bus is None else len(serving.everywhere.nodes)
            return others == data["others"] and len(serving.rooms.get("all", ())) == data["here"]

        await serving.serve_forever()


async def socketio_server(at: str, bus: str, web: str) -> None:
    """python-socketio as its documentation deploys it: with uvicorn, or with aiohttp; either on uvloop."""
    import socketio

    sio = socketio.AsyncServer(
        async_mode="asgi" if web == "uvicorn" else "aiohttp",
        client_manager=socketio.AsyncRedisManager(bus),
        transports=["websocket"],
    )

    @sio.event
    async def connect(sid: str, environ: Any) -> None:
        await sio.enter_room(sid, "all")

    @sio.event
    async def go(sid: str, data: dict[str, int]) -> None:
        for number in range(data["first"], data["first"] + data["count"]):
            await sio.emit("n", number, room="all")

    if web == "uvicorn":
        import uvicorn

        options: dict[str, Any] = {"log_level": "critical", "ws": "websockets-sansio", "backlog": 4096}
        app = socketio.ASGIApp(sio)
        await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=int(at), **options)).serve()
        return
    from aiohttp import web as aiohttp

    application = aiohttp.Application()
    sio.attach(application)
    runner = aiohttp.AppRunner(application)
    await runner.setup()
    await aiohttp.TCPSite(runner, "127.0.0.1", int(at), backlog=4096).start()
    await asyncio.Event().wait()


class Counting(asyncio.Protocol):
    """A client that counts what comes and understands nothing of it, so that servers are measured."""

    total = 0
    changed: asyncio.Event

    def __init__(self, needle: bytes) -> None:
        self._needle = needle
        self._rest = b""  # in which it may begin
        self.seen = 0
        self.opened: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        count = (self._rest + data).count(self._needle)
        self._rest = data[1 - len(self._needle) :] if len(self._needle) > 1 else b""
        self.seen += count
        Counting.total += count
        Counting.changed.set()
        if len(self.opened) < 8:
            self.opened.append(data)


async def until_seen(total: int) -> None:
    while Counting.total < total:
        Counting.changed.clear()
        await asyncio.wait_for(Counting.changed.wait(), 60)


class Rate(NamedTuple):
    """Deliveries a second, and what the clients, which are all in one process, and all the others had of a core."""

    deliveries: float
    clients: float
    servers: float


def processor_seconds(pids: list[int]) -> float:
    """What these processes have had so far."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def fan_out(
    ends: list[Counting], go: Callable[[int, int], None], seconds: float, batch: int, pids: list[int]
) -> Rate:
    first = 0

    async def round(count: int) -> None:
        nonlocal first
        before = Counting.total
        go(first, count)
        first += count
        await until_seen(before + count * len(ends))

    for _ in range(3):
        await round(batch)
    began, busy, servers, rounds = time.perf_counter(), time.process_time(), processor_seconds(pids), 0
    while time.perf_counter() - began < seconds:
        await round(batch)
        rounds += 1
    took = time.perf_counter() - began
    clients, servers = time.process_time() - busy, processor_seconds(pids) - servers
    return Rate(rounds * batch * len(ends) / took, clients / took, servers / took)


@contextlib.asynccontextmanager
async def programs(commands: list[list[str]]) -> AsyncIterator[list[int]]:
    started = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.cluster", *command], stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield [program.pid for program in started]
    finally:
        for program in started:
            program.kill()
            program.wait()


async def retried(call: Callable[[], Awaitable[Any]]) -> Any:
    end = time.monotonic() + 30
    while True:
        try:
            return await call()
        except OSError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def ours(
    folder: str, bus: str | None, servers: int, clients: int, seconds: float, broker_pids: list[int]
) -> list[Rate]:
    import node_ipc

    loop = asyncio.get_running_loop()
    Counting.total, Counting.changed = 0, asyncio.Event()
    paths = [f"{folder}/s{number}-{time.monotonic_ns()}" for number in range(servers)]
    extra = [] if bus is None else ["--bus", bus]
    async with programs([["--role", "server", "--at", path, *extra] for path in paths]) as pids:
        ends = []
        for path in paths:
            for _ in range(clients):
                _, end = await retried(lambda path=path: loop.create_unix_connection(lambda: Counting(ENDS), path))
                ends.append(end)
        async with contextlib.AsyncExitStack() as stack:
            controls = []
            for path in paths:
                control = await stack.enter_async_context(node_ipc.connect(path))
                control.on("n", lambda: None)
                controls.append(control)
            wanted = {"others": servers - 1, "here": clients + 1}
            while not all([await control.request("ready", wanted) for control in controls]):
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.5)
            result = [
                await fan_out(
                    ends,
                    lambda first, count: controls[0].emit("go", {"first": first, "count": count}),
                    seconds,
                    batch,
                    pids + broker_pids,
                )
                for batch in BATCHES
            ]
        for end in ends:
            end.transport.abort()
        return result


async def theirs(bus: str, web: str, servers: int, clients: int, seconds: float, broker_pids: list[int]) -> list[Rate]:
    """python-socketio in the same shape, over WebSocket; its clients are bytes as well."""
    loop = asyncio.get_running_loop()
    Counting.total, Counting.changed = 0, asyncio.Event()
    ports = [free_port() for _ in range(servers)]
    commands = [["--role", "socketio", "--at", str(port), "--bus", bus, "--web", web] for port in ports]
    async with programs(commands) as pids:
        ends = []
        for port in ports:
            for _ in range(clients):
                transport, end = await retried(
                    lambda port=port: loop.create_connection(lambda: Counting(b'42["n",'), "127.0.0.1", port)
                )
                await _upgrade(transport, end, port)
                ends.append(end)
        await asyncio.sleep(1.5)
        control = ends[0]

        def go(first: int, count: int) -> None:
            control.transport.write(_masked(b'42["go",{"first":%d,"count":%d}]' % (first, count)))

        result = [await fan_out(ends, go, seconds, batch, pids + broker_pids) for batch in BATCHES]
        for end in ends:
            end.transport.abort()
        return result


async def _upgrade(transport: Any, end: Counting, port: int) -> None:
    transport.write(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        % port
    )
    while b"0{" not in b"".join(end.opened):
        await asyncio.sleep(0.001)
    transport.write(_masked(b"40"))
    while b"40{" not in b"".join(end.opened):
        await asyncio.sleep(0.001)


def _masked(text: bytes) -> bytes:
    return b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text


# ---- latency


PIECES, OF_EACH = 20, 100
"""What is compared is measured in turn, in pieces, so that a busy moment of the machine is in both."""


Send: TypeAlias = Callable[[int], Awaitable[Any] | None]
Receive: TypeAlias = Callable[[], Awaitable[Any]]


class Latency:
    """What one message takes, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def measure(
        self, send: Callable[[int], Awaitable[Any] | None], receive: Callable[[], Awaitable[Any]]
    ) -> None:
        """A piece; the first three are not counted."""
        for number in range(-3, OF_EACH):
            began = time.perf_counter()
            if (sending := send(number)) is not None:
                await sending
            await receive()
            if number >= 0:
                self.times.append(time.perf_counter() - began)

    def at(self, part: float) -> float:
        return sorted(self.times)[int(part * len(self.times))]


async def latency(folder: str, name: str, bus: str) -> dict[str, float]:
    """From an emit on one server to the client of another, all in this process, the same on one server, and bare."""
    import node_ipc

    over, within, bare = Latency(), Latency(), Latency()
    at = f"{folder}/l{time.monotonic_ns()}"
    async with (
        node_ipc.serve(f"{at}a", bus=bus) as one,
        node_ipc.serve(f"{at}b", bus=bus) as two,
        node_ipc.connect(f"{at}b") as client,
        BARE[name](bus) as (publish, receive),
    ):
        while not (two.sockets and one.everywhere.nodes):
            await asyncio.sleep(0.05)
        two.sockets[0].join("all")
        await asyncio.sleep(1.5)

        def emit(server: Any, number: int) -> None:
            server.to("all").emit("n", number)

        for _ in range(PIECES):
            await over.measure(partial(emit, one), partial(client.receive, "n", timeout=10))
            await within.measure(partial(emit, two), partial(client.receive, "n", timeout=10))
            await bare.measure(publish, receive)
    found = {}
    for part in (50, 99):
        added, plain = over.at(part / 100) - within.at(0.5), bare.at(part / 100)
        found |= {
            f"{name}, latency added by the bus, p{part} (µs)": 1e6 * added,
            f"{name}, bare publish to receive, p{part} (µs)": 1e6 * plain,
            f"{name}, latency added by the bus, p{part} / bare": added / plain,
        }
    return found


MESSAGE = b'["e","abcdef",1,2,"json",[["all",1,2,1,1]],null,[],[],{"type":"n","data":1}]'


@contextlib.asynccontextmanager
async def bare_hub(url: str) -> AsyncIterator[tuple[Send, Receive]]:
    """Its clients are this library's own."""
    import node_ipc

    path = url.removeprefix("unix:")
    async with node_ipc.connect(path) as one, node_ipc.connect(path) as two:
        two.emit("sub", ("x", ""))
        two.emit("sync", 1)
        await two.receive("synced", timeout=10)
        message = node_ipc.Raw(MESSAGE)

        def publish(number: int) -> None:
            one.emit("m", ("x", message))

        yield publish, partial(two.receive, "m", timeout=10)


@contextlib.asynccontextmanager
async def bare_nats(url: str) -> AsyncIterator[tuple[Send, Receive]]:
    import nats

    one, two = await nats.connect(url), await nats.connect(url)
    subscription = await two.subscribe("x")
    await two.flush()
    yield lambda number: one.publish("x", MESSAGE), partial(subscription.next_msg, timeout=10)
    await one.close()
    await two.close()


@contextlib.asynccontextmanager
async def bare_redis(url: str) -> AsyncIterator[tuple[Send, Receive]]:
    from redis.asyncio import Redis

    one, two = Redis.from_url(url), Redis.from_url(url)
    async with two.pubsub() as heard:
        await heard.subscribe("x")
        await heard.get_message(timeout=5)

        async def receive() -> None:
            while await heard.get_message(timeout=10) is None:
                pass

        yield lambda number: one.publish("x", MESSAGE), receive
    await one.aclose()
    await two.aclose()


BARE: dict[str, Any] = {"hub": bare_hub, "nats": bare_nats, "redis": bare_redis}
"""How a client library publishes, and how it receives."""


# ---- all of it


class Found:
    """What was measured, by name."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def rates(self, name: str, rates: list[Rate]) -> None:
        for batch, rate in zip(BATCHES, rates, strict=True):
            self.values[f"{name}, {batch} at once"] = rate.deliveries
            self.values[f"{name}, {batch} at once: the clients' share of a core"] = rate.clients
            self.values[f"{name}, {batch} at once: of the others, for each delivery (µs)"] = (
                1e6 * rate.servers / rate.deliveries
            )


async def measure(names: list[str], seconds: float) -> dict[str, float]:
    found = Found()
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        found.rates("one process, 1,000 clients", await ours(folder, None, 1, SERVERS * CLIENTS, seconds, []))
        for name in names:
            if name == "socketio":
                for web in ("aiohttp", "uvicorn"):
                    with broker("redis", folder) as (url, pid):
                        rates = await theirs(url, web, SERVERS, CLIENTS, seconds, [pid])
                        found.rates(f"python-socketio with {web}, Redis", rates)
                continue
            with broker(name, folder) as (url, pid):
                found.rates(f"{name}, {SERVERS} servers", await ours(folder, url, SERVERS, CLIENTS, seconds, [pid]))
                found.values |= await latency(folder, name, url)
            print(name, "is measured", file=sys.stderr, flush=True)
    return found.values


def ratios(found: dict[str, float]) -> dict[str, float]:
    """To one process's own broadcast, and to the better of the ways in which python-socketio is deployed."""
    made: dict[str, float] = {}
    alone = "one process, 1,000 clients"
    for batch in BATCHES:
        end = f", {batch} at once: of the others, for each delivery (µs)"
        costs = {name.removesuffix(end): cost for name, cost in found.items() if name.endswith(end)}
        for name, cost in costs.items():
            if name != alone:
                made[f"{name}, {batch} at once / one process, per core"] = costs[alone] / cost
        end = f", {batch} at once"
        rates = {name.removesuffix(end): rate for name, rate in found.items() if name.endswith(end)}
        theirs = max((rate for name, rate in rates.items() if name.startswith("python-socketio")), default=None)
        for name, rate in rates.items():
            if not name.startswith(("one process", "python-socketio")):
                made[f"{name}{end} / one process"] = rate / rates[alone]
                if theirs is not None:
                    made[f"{name}{end} / python-socketio"] = rate / theirs
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each fan-out")
    parser.add_argument("--only", default="hub,nats,redis,socketio")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", choices=["hub", "server", "socketio"], help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    parser.add_argument("--bus", help=argparse.SUPPRESS)
    parser.add_argument("--web", help=argparse.SUPPRESS)
    given = parser.parse_args()
    import uvloop  # everywhere, at both sides

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a thousand clients are in this process
    if given.role is not None:
        roles: dict[str, Callable[[], Any]] = {
            "hub": lambda: hub(given.at),
            "server": lambda: server(given.at, given.bus),
            "socketio": lambda: socketio_server(given.at, given.bus, given.web),
        }
        uvloop.run(roles[given.role]())
        return
    found = uvloop.run(measure(given.only.split(","), given.seconds))
    found |= ratios(found)
    for name, value in found.items():
        print(f"{name:70} {value:12,.2f}")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
