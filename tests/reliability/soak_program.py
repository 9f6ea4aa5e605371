"""Servers and clients that live long, one front and one role a process, and say what they hold.

    python soak_program.py FRONT server|client FOLDER OPTIONS

FRONT is asyncio, callbacks or blocking; OPTIONS, as JSON: ``rate`` (messages a second of each client to each server),
``every`` (seconds between two samples), ``traced`` (whether each allocation is). A server is at ``FOLDER/FRONT``; a
client talks to all three. Each sample is a line of JSON. It reads commands from its standard input: ``mark`` remembers
what is allocated, ``end`` stops emitting and prints the report: what was sent, what came, and what grew most since.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import select
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

import node_ipc
from node_ipc import IPC, Config, RequestTimeout, blocking

FRONTS = ("asyncio", "callbacks", "blocking")
TICK = 0.01
"""Seconds between two looks at what is due."""
TICKS_A_SECOND = 10
BLOB = 64 * 1024
GIVES_UP = 0.005
"""Seconds for an answer that takes longer."""
AT_ONCE = 50
"""Messages to one server in a row, where a process was held up and has to catch up."""


class Order(msgspec.Struct):
    number: int
    lines: list[str]
    price: float


def order(number: int) -> Order:
    return Order(number, [f"line {each}" for each in range(number % 7)], number / 4)


def blob(number: int) -> bytes:
    return number.to_bytes(4, "big") * (BLOB // 4)


class Due:
    """So many times a second, by the clock."""

    def __init__(self, rate: float) -> None:
        self._rate, self._begun, self._given = rate, time.monotonic(), 0

    def count(self) -> int:
        count = min(int((time.monotonic() - self._begun) * self._rate) - self._given, AT_ONCE)
        self._given += count
        return count


class Faults(list[str]):
    """What should not have been; the first of them are kept."""

    def note(self, text: str) -> None:
        if len(self) < 20:
            self.append(text)


faults = Faults()


class Serving:
    """What a server does, whatever its front."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.counts: dict[str, int] = {}
        self.sent = 0
        self._due = Due(TICKS_A_SECOND)
        server.on("number", self.number)
        server.on("order", self.order)
        server.on("blob", self.blob)
        server.handle("add", self.add)
        server.handle("count", self.count)

    def number(self, data: Any, socket: Any) -> None:
        name, number = data
        expected = self.counts.get(name, 0)
        if number != expected:
            faults.note(f"{name}: {number} came where {expected} was due")
        self.counts[name] = number + 1
        if number % 10 == 0:
            socket.emit("echo", number)

    def order(self, data: Order, socket: Any) -> None:
        if data != order(data.number):
            faults.note(f"another order came: {data}")
        socket.emit("ordered", data)

    def blob(self, data: bytes, socket: Any) -> None:
        if data != blob(int.from_bytes(data[:4], "big")):
            faults.note("other bytes came")
        socket.emit("blob", data)

    def add(self, params: list[int]) -> int:
        return sum(params)

    def count(self, params: str) -> int:
        return self.counts.get(params, 0)

    def tick(self) -> None:
        for _ in range(self._due.count()):
            self.server.broadcast("tick", self.sent)
            self.sent += 1

    def report(self) -> dict[str, Any]:
        return {"broadcasts": self.sent, "messages": sum(self.counts.values())}


class Listening:
    """A client that only hears what is broadcast, and has a heartbeat."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name
        self.ticks: int | None = None
        client.on("tick", self.ticked)
        client.on("disconnect", lambda loss: faults.note(f"{name}: {loss}"))

    def ticked(self, data: int) -> None:
        if self.ticks is not None and data != self.ticks + 1:
            faults.note(f"{self.name}: tick {data} came after {self.ticks}")
        self.ticks = data


class Talking(Listening):
    """What a client does with one server, whatever its front; requests are its front's."""

    def __init__(self, client: Any, name: str, rate: float) -> None:
        super().__init__(client, name)
        self.sent = self.orders = self.blobs = self.ordered = self.returned = 0
        self.echoes = 0
        self._due, self._orders, self._blobs = Due(rate), Due(2), Due(0.5)
        client.on("echo", self.echo)
        client.on("ordered", self.has_ordered)
        client.on("blob", self.has_blob)

    def echo(self, data: int) -> None:
        if data != 10 * self.echoes:
            faults.note(f"{self.name}: echo {data} came where {10 * self.echoes} was due")
        self.echoes += 1

    def has_ordered(self, data: Order) -> None:
        if data != order(self.ordered):
            faults.note(f"{self.name}: another order came back: {data}")
        self.ordered += 1

    def has_blob(self, data: bytes) -> None:
        if data != blob(self.returned):
            faults.note(f"{self.name}: other bytes came back")
        self.returned += 1

    def tick(self) -> None:
        for _ in range(self._due.count()):
            self.client.emit("number", [self.name, self.sent])
            self.sent += 1
        for _ in range(self._orders.count()):
            self.client.emit("order", order(self.orders))
            self.orders += 1
        for _ in range(self._blobs.count()):
            self.client.emit("blob", blob(self.blobs))
            self.blobs += 1

    @property
    def is_answered(self) -> bool:
        return (self.ordered, self.returned, self.echoes) == (self.orders, self.blobs, -(-self.sent // 10))

    def report(self) -> dict[str, int]:
        names = ("sent", "orders", "blobs", "ordered", "returned", "echoes")
        return {name: getattr(self, name) for name in names}


# ---- what a process holds


class Watching:
    """Samples and commands, of any front."""

    def __init__(self, every: float, tasks: Callable[[], int], timers: Callable[[], int]) -> None:
        self._every, self._tasks, self._timers = every, tasks, timers
        self._next = time.monotonic() + every
        self._before: tracemalloc.Snapshot | None = None
        self.is_over = False

    def tick(self) -> None:
        if time.monotonic() >= self._next:
            self._next += self._every
            with open("/proc/self/statm") as statm:
                resident = int(statm.read().split()[1]) * resource.getpagesize()
            held = {"fds": len(os.listdir("/proc/self/fd")), "tasks": self._tasks(), "timers": self._timers()}
            say(resident=resident, **held)
        if select.select([0], [], [], 0)[0]:
            command = os.read(0, 100)
            if b"mark" in command:
                gc.collect()
                self._before = tracemalloc.take_snapshot() if tracemalloc.is_tracing() else None
                say(marked=True)
            if b"end" in command or not command:
                self.is_over = True

    def grown(self) -> list[str]:
        """The ten places that hold most more than before."""
        if self._before is None:
            return []
        gc.collect()
        left_out = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))
        now = tracemalloc.take_snapshot().filter_traces(left_out)
        most = now.compare_to(self._before.filter_traces(left_out), "lineno")[:10]
        return [f"{'/'.join(str(each.traceback[0]).split('/')[-2:])}: {each.size_diff:+} bytes" for each in most]


def say(**values: Any) -> None:
    os.write(1, json.dumps(values).encode() + b"\n")


def live(timers: Iterable[Any]) -> int:
    return sum(not timer.cancelled() for timer in timers)


# ---- in a loop: asyncio and callbacks


def loop_watching(every: float) -> Watching:
    loop: Any = asyncio.get_running_loop()
    return Watching(every, lambda: len(asyncio.all_tasks()), lambda: live(loop._scheduled))


async def slow(params: Any) -> None:
    """Its caller has given up long before."""
    await asyncio.sleep(5)


async def serve_in_loop(front: str, folder: str, options: dict[str, Any]) -> None:
    path = f"{folder}/{front}"
    async with contextlib.AsyncExitStack() as stack:
        server: Any
        if front == "asyncio":
            server = await stack.enter_async_context(node_ipc.serve(path, heartbeat=500))
        else:
            ipc = IPC(Config(silent=True, heartbeat=500))
            ipc.serve(path)
            server = ipc.server
            await server.start()
            stack.push_async_callback(stopped, server)
        serving, watching = Serving(server), loop_watching(options["every"])
        server.handle("slow", slow)
        say(ready=True)
        while not watching.is_over:
            serving.tick()
            watching.tick()
            await asyncio.sleep(TICK)
        say(**serving.report(), faults=faults, grown=watching.grown())


async def stopped(server: Any) -> None:
    await server.stop()


class LoopAsking:
    """Requests of every kind to one server, one after the other, until it is over."""

    def __init__(self) -> None:
        self.answers = self.timeouts = self.cancels = 0

    async def ask(self, client: Any, watching: Watching) -> None:
        number = 0
        while not watching.is_over:
            number += 1
            if await client.request("add", [number, 1], timeout=30) != number + 1:
                faults.note("a sum is wrong")
            self.answers += 1
            if number % 5 == 0:
                try:
                    await client.request("slow", timeout=GIVES_UP)
                except RequestTimeout:
                    self.timeouts += 1
                await self.cancel(client)
            await asyncio.sleep(0.2)

    async def cancel(self, client: Any) -> None:
        async def wait() -> None:
            await client.request("slow", timeout=30)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self.cancels += 1


Connect = Callable[..., Awaitable[Any]]


async def connect_asyncio(path: str, **options: Any) -> Any:
    return await node_ipc.connect(path, **options)


async def connect_callbacks(path: str, **options: Any) -> Any:
    ipc = IPC(Config(silent=True, **options))
    outcome = ipc.connect_to("there", path)
    await outcome
    return ipc.of.there


async def churn(connect: Connect, folder: str, watching: Watching, counts: dict[str, int]) -> None:
    number = 0
    while not watching.is_over:
        await asyncio.sleep(0.6)
        client = await connect(f"{folder}/{FRONTS[number % 3]}")
        client.emit("number", [f"churn {os.getpid()} {number % 3}", counts["churned"] // 3])
        if await client.request("add", [1, 2], timeout=30) != 3:
            faults.note("a sum is wrong")
        await client.close()
        number += 1
        counts["churned"] = number


async def talk_in_loop(front: str, folder: str, options: dict[str, Any]) -> None:
    connect: Connect = connect_asyncio if front == "asyncio" else connect_callbacks
    talks, asking, counts = [], LoopAsking(), {"churned": 0}
    idle = [Listening(await connect(f"{folder}/{other}", heartbeat=50), f"{front}, idle") for other in FRONTS]
    for other in FRONTS:
        client = await connect(f"{folder}/{other}", heartbeat=500)
        talks.append(Talking(client, f"{front} to {other}", options["rate"]))
    watching = loop_watching(options["every"])
    say(ready=True)
    async with asyncio.TaskGroup() as group:
        for talk in talks:
            group.create_task(asking.ask(talk.client, watching))
        group.create_task(churn(connect, folder, watching, counts))
        while not watching.is_over:
            for talk in talks:
                talk.tick()
            watching.tick()
            await asyncio.sleep(TICK)
    arrived = [await talk.client.request("count", talk.name, timeout=30) for talk in talks]
    async with asyncio.timeout(30):
        while not all(talk.is_answered for talk in talks):
            await asyncio.sleep(TICK)
    grown = watching.grown()
    tell(talks, arrived, counts | vars(asking), grown)
    for each in (*idle, *talks):
        await each.client.close()


def tell(talks: list[Talking], arrived: list[int], counts: dict[str, int], grown: list[str]) -> None:
    reports = [talk.report() for talk in talks]
    for talk, count in zip(talks, arrived, strict=True):
        if count != talk.sent:
            faults.note(f"{talk.name}: {talk.sent} sent, {count} arrived")
    sums = {name: sum(report[name] for report in reports) for name in reports[0]}
    say(**sums, **counts, arrived=sum(arrived), faults=[*faults], grown=grown)


# ---- in a thread: blocking


def slowly(params: Any) -> None:
    time.sleep(0.02)  # a handler of this front has nothing else to wait with


def serve_blocking(folder: str, options: dict[str, Any]) -> None:
    with blocking.serve(f"{folder}/blocking", heartbeat=500) as server:
        serving, watching = Serving(server), thread_watching(options["every"], [server])
        server.handle("slow", slowly)
        say(ready=True)
        while not watching.is_over:
            serving.tick()
            watching.tick()
            server.poll(TICK)
        grown = watching.grown()
        say(**serving.report(), faults=faults, grown=grown)


def thread_watching(every: float, endpoints: list[Any]) -> Watching:
    def timers() -> int:
        drivers = {id(each._driver): each._driver for each in endpoints}.values()
        return sum(timer[2].callback is not None for driver in drivers for timer in driver._timers)

    return Watching(every, lambda: 0, timers)


def talk_blocking(folder: str, options: dict[str, Any]) -> None:
    """Its requests are one after the other with all else, and what nobody waits for cannot be cancelled."""
    with contextlib.ExitStack() as stack:
        idle, talks = [], []
        for other in FRONTS:
            client = stack.enter_context(blocking.connect(f"{folder}/{other}", heartbeat=50))
            idle.append(Listening(client, "blocking, idle"))
            client = stack.enter_context(blocking.connect(f"{folder}/{other}", heartbeat=500))
            talks.append(Talking(client, f"blocking to {other}", options["rate"]))
        clients = [each.client for each in (*idle, *talks)]
        counts = {"churned": 0, "answers": 0, "given up": 0, "timeouts": 0}
        watching = thread_watching(options["every"], clients)
        asks, gives_up, churns = Due(15), Due(3), Due(1 / 0.6)
        say(ready=True)
        while not watching.is_over:
            for talk in talks:
                talk.tick()
            for client in clients:
                client.poll(TICK / len(clients))
            watching.tick()
            for _ in range(asks.count()):
                ask(talks[counts["answers"] % 3].client, counts)
            for _ in range(gives_up.count()):
                give_up(talks[counts["given up"] % 3].client, counts)
            for _ in range(churns.count()):
                churn_blocking(folder, counts)
        arrived = [talk.client.request("count", talk.name, timeout=30) for talk in talks]
        deadline = time.monotonic() + 30
        while not all(talk.is_answered for talk in talks) and time.monotonic() < deadline:
            for client in clients:
                client.poll(TICK)
        grown = watching.grown()
        tell(talks, arrived, counts, grown)


def ask(client: Any, counts: dict[str, int]) -> None:
    if client.request("add", [counts["answers"], 1], timeout=30) != counts["answers"] + 1:
        faults.note("a sum is wrong")
    counts["answers"] += 1


def give_up(client: Any, counts: dict[str, int]) -> None:
    counts["given up"] += 1
    try:
        client.request("slow", timeout=GIVES_UP)
    except RequestTimeout:
        counts["timeouts"] += 1


def churn_blocking(folder: str, counts: dict[str, int]) -> None:
    number = counts["churned"]
    with blocking.connect(f"{folder}/{FRONTS[number % 3]}") as client:
        client.emit("number", [f"churn {os.getpid()} {number % 3}", number // 3])
        if client.request("add", [1, 2], timeout=30) != 3:
            faults.note("a sum is wrong")
    counts["churned"] = number + 1


def main(front: str, role: str, folder: str, options: dict[str, Any]) -> None:
    if options["traced"]:
        tracemalloc.start()
    if front == "blocking":
        (serve_blocking if role == "server" else talk_blocking)(folder, options)
    else:
        work = (serve_in_loop if role == "server" else talk_in_loop)(front, folder, options)
        node_ipc.run(work, loop="asyncio")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
