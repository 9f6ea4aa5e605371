"""What a peer or a program may name costs nothing once it is over: names, handlers, requests, subscriptions.

Each deed is done many times, each time with another name; then as often again. In between the interpreter's count of
allocated blocks may not have grown by more than a few for a hundred deeds: what is kept of each would be one at least.
The ordinary run does 50,000 in all, the lane ``repeats`` (``NIGHTLY=repeats .ci/run``) 10^6.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import Config, RemoteError, RequestTimeout, blocking
from node_ipc.testing import Pair, pair

pytestmark = pytest.mark.row(61)

ROUNDS = 10_000
"""Deeds of one measurement in the ordinary run; each test makes five of them."""
CHUNK = 500
"""After so many the memory driver runs: what waits to be sent is not what is measured."""
KEPT = 0.1
"""Blocks that may be kept of one deed, on the average: caches that fill up, and the allocator's own."""
LONG = pytest.param(
    20,
    marks=[
        pytest.mark.lane(name="repeats"),
        pytest.mark.timeout(600),
        pytest.mark.skipif(os.environ.get("NIGHTLY") != "repeats", reason="takes a minute: NIGHTLY=repeats .ci/run"),
    ],
    id="a million",
)
SHORT = pytest.param(1, id="fifty thousand")

times = pytest.mark.parametrize("times", [SHORT, LONG])


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def refuse_growth(before: int, deeds: int) -> None:
    kept = blocks() - before
    print(f"{deeds} deeds: {kept:+d} blocks")  # with -s, or where it fails
    assert kept < KEPT * deeds, f"{kept / deeds:.3f} blocks are kept of each"


def flat(deeds: Callable[[range], None], times: int) -> None:
    """Do as many deeds again and again: neither what is kept of them nor their time grows."""
    rounds = ROUNDS * times
    deeds(range(rounds))  # fills every cache
    before, took = blocks(), []
    for turn in range(1, 5):
        began = time.process_time()
        deeds(range(turn * rounds, (turn + 1) * rounds))
        took.append(time.process_time() - began)
    refuse_growth(before, 4 * rounds)
    print(f"{4 * rounds} deeds: {sum(took):.1f} s")
    assert min(took[2:]) < 2 * max(took[:2]) + 0.2, f"the longer the slower: {took}"


@pytest.fixture
def ends() -> Pair:
    return pair(silent=True)


def in_chunks(ends: Pair, numbers: range, deed: Callable[[int], Any]) -> None:
    for number in numbers:
        deed(number)
        if number % CHUNK == CHUNK - 1:
            ends.driver.run_until_idle()
    ends.driver.run_until_idle()


@times
@pytest.mark.parametrize("way", ["to the server", "to the client", "with a star", "with a tap"])
def test_names_that_are_received(way: str, times: int) -> None:
    ends = pair(silent=True)
    heard = [0]

    def hear(*_: Any) -> None:
        heard[0] += 1

    if way == "with a star":
        ends.server.on("*", hear)
    elif way == "with a tap":
        ends.server.events.tap(hear)
    emit = ends.socket.emit if way == "to the client" else ends.client.emit
    flat(lambda numbers: in_chunks(ends, numbers, lambda number: emit(f"name {number}", number)), times)
    assert heard[0] == (5 * ROUNDS * times if "with" in way else 0)


def test_handlers_of_what_came_before_them(ends: Pair) -> None:
    """What looks like a mistake is in doubt for a while, and then forgotten."""

    def deeds(numbers: range) -> None:
        for number in numbers:
            ends.client.emit(f"name {number}", number)
            ends.driver.run_until_idle()
            ends.server.on(f"name {number}", print)
            ends.server.off(f"name {number}", print)
        ends.driver.advance(10)

    deeds(range(1000))
    before = blocks()
    deeds(range(1000, 5000))
    refuse_growth(before, 4000)


def test_handlers_of_bytes_that_hear_one_message(ends: Pair) -> None:
    def deeds(numbers: range) -> None:
        for number in numbers:
            ends.server.on(f"name {number}", hear, type=bytes)
            ends.client.emit(f"name {number}", b"\0\1")
            ends.driver.run_until_idle()
            ends.server.off(f"name {number}", hear)

    def hear(data: bytes) -> None:
        heard[0] += 1

    heard = [0]
    deeds(range(1000))
    before = blocks()
    deeds(range(1000, 5000))
    refuse_growth(before, 4000)
    assert heard == [5000]


@times
@pytest.mark.parametrize(("verb", "typed"), [("on", True), ("once", False)])
def test_handlers_that_come_and_go(ends: Pair, verb: str, typed: bool, times: int) -> None:
    def deed(number: int) -> None:
        def hear(data: int) -> None: ...

        def hear_all(data: Any) -> None: ...

        handler = hear if typed else hear_all
        getattr(ends.server, verb)(f"name {number}", handler)
        ends.server.off(f"name {number}", handler)

    flat(lambda numbers: in_chunks(ends, numbers, deed), times)


@times
def test_once_that_is_heard(ends: Pair, times: int) -> None:
    heard = [0]

    def hear(data: Any) -> None:
        heard[0] += 1

    def deed(number: int) -> None:
        ends.client.once(f"name {number}", hear)
        ends.socket.emit(f"name {number}")

    flat(lambda numbers: in_chunks(ends, numbers, deed), times)
    assert heard[0] == 5 * ROUNDS * times


@times
@pytest.mark.parametrize("way", ["answered", "unknown", "no time"])
def test_requests(ends: Pair, way: str, times: int) -> None:
    ends.server.handle("known", lambda params: params)
    kinds: dict[type, int] = {}

    def deed(number: int) -> None:
        method = "known" if way == "answered" else f"method {number}"
        answer = ends.client.request(method, number, timeout=0 if way == "no time" else 30)
        answer.then(lambda: kinds.__setitem__(type(answer.error), kinds.get(type(answer.error), 0) + 1))

    flat(lambda numbers: in_chunks(ends, numbers, deed), times)
    kind = {"answered": type(None), "unknown": RemoteError, "no time": RequestTimeout}[way]
    assert kinds == {kind: 5 * ROUNDS * times}


@times
@pytest.mark.parametrize("way", ["iterates", "receives", "leaves"])
def test_a_waiting_client_on_asyncio(tmp_path: Path, way: str, times: int) -> None:
    async def main() -> None:
        async with node_ipc.serve(f"{tmp_path}/s") as server, node_ipc.connect(f"{tmp_path}/s") as client:
            while not server.sockets:
                await asyncio.sleep(0)

            async def deeds(numbers: range) -> None:
                for first in range(numbers.start, numbers.stop, CHUNK):
                    chunk = [f"name {number}" for number in range(first, first + CHUNK)]
                    for name in chunk:
                        server.broadcast(name, 1)
                    if way == "receives":
                        for name in chunk:
                            assert await client.receive(name, timeout=20) == 1
                    elif way == "iterates":
                        async for event in client:
                            if event.type == chunk[-1]:
                                break
                    else:  # what nobody asks for is kept up to a limit, and then lets the oldest go
                        await client.receive(chunk[-1], timeout=20)

            rounds = ROUNDS * times
            await deeds(range(rounds))
            before = blocks()
            await deeds(range(rounds, 5 * rounds))
            refuse_growth(before, 4 * rounds)

    asyncio.run(main())


@times
@pytest.mark.parametrize("way", ["iterates", "receives"])
def test_a_waiting_client_that_blocks(tmp_path: Path, way: str, times: int) -> None:
    def names(first: int, socket: Any) -> None:
        for number in range(first, first + CHUNK):
            socket.emit(f"name {number}", 1)

    ready = threading.Event()
    made: list[Any] = []

    def serve() -> None:
        with blocking.serve(f"{tmp_path}/s", config=Config(silent=True)) as server:
            server.on("names", names)
            made.append(server)
            ready.set()
            server.serve_forever()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait(20)
    try:
        with blocking.connect(f"{tmp_path}/s") as client:

            def deeds(numbers: range) -> None:
                for first in range(numbers.start, numbers.stop, CHUNK):
                    client.emit("names", first)
                    if way == "receives":
                        for number in range(first, first + CHUNK):
                            assert client.receive(f"name {number}", timeout=20) == 1
                    else:
                        for event in client:
                            if event.type == f"name {first + CHUNK - 1}":
                                break

            flat(deeds, times)
    finally:
        made[0].shutdown()
        thread.join(20)


class Payload(msgspec.Struct):
    number: int


@pytest.mark.parametrize("where", ["each its name", "all one name"])
@pytest.mark.parametrize("verb", ["on", "once"])
def test_ten_thousand_typed_handlers_cost_ten_times_a_thousand(where: str, verb: str) -> None:
    def seconds(count: int) -> float:
        ends = pair(silent=True)
        heard = [0]

        def made() -> Callable[[Payload], None]:
            def hear(data: Payload) -> None:
                heard[0] += 1

            return hear

        handlers = [made() for _ in range(count)]
        names = [f"name {number}" if where == "each its name" else "name" for number in range(count)]
        began = time.process_time()
        for name, handler in zip(names, handlers, strict=True):
            getattr(ends.server, verb)(name, handler)
        for name in dict.fromkeys(names):
            ends.client.emit(name, Payload(1))
            ends.driver.run_until_idle()
        assert heard[0] == count
        for name in dict.fromkeys(names):
            ends.server.off(name)
        took = time.process_time() - began
        assert ends.server.events.payload_types().get("name 0") is None
        return took

    seconds(100)
    few, many = min(seconds(1_000) for _ in range(3)), seconds(10_000)
    assert many < 40 * few + 0.2, f"{few:.3f} s for a thousand, {many:.3f} s for ten thousand"


@pytest.mark.parametrize("way", ["client.emit", "server.broadcast"])
def test_long_names_are_not_kept(way: str, tmp_path: Path) -> None:
    """The fast profile has no limit of names: the prefixes of 1,024 are kept, of short ones."""
    size, count = 100_000, 300

    async def main() -> int:
        options: Any = {"parser": "fast", "silent": True}
        async with (
            node_ipc.serve(f"{tmp_path}/s", **options) as server,
            node_ipc.connect(f"{tmp_path}/s", **options) as client,
        ):
            server.on("*", lambda type, data, *_: None)
            emit = client.emit if way == "client.emit" else server.broadcast
            while not server.sockets:
                await asyncio.sleep(0)

            async def deeds(first: int) -> None:
                for number in range(first, first + count):
                    name = f"{number}".zfill(size)
                    emit(name, 1)
                    if number % 10 == 9:
                        await client.drain()
                        server.broadcast("end")
                        await client.receive("end", timeout=20)

            await deeds(0)
            gc.collect()
            tracemalloc.start()
            try:
                await deeds(count)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()

    assert asyncio.run(main()) < size * count / 4
