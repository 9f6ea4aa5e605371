"""Arrays over real links: every front, what carries them, who waits; in order, with as little memory as it takes."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
import uvloop

import node_ipc
from fronts import FRONTS, front_of
from node_ipc import Config, blocking
from node_ipc.core.outgoing import Attaching
from node_ipc.wire import spare
from tls_certificates import identity

MIB = 1024 * 1024
IMAGE = numpy.random.default_rng(1).integers(0, 256, (1500, 1400), dtype="u1")
"""2 MiB, with every byte in it."""


class Frame(msgspec.Struct):
    number: int
    image: numpy.ndarray


class Either(msgspec.Struct):
    number: int
    image: node_ipc.Bytes | numpy.ndarray


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with front_of(request.param, Config(socket_root=f"{tmp_path}/", retry=20, max_pending_bytes=64 * MIB)) as front:
        yield front


def test_arrays_go_both_ways_and_are_asked_for_on_every_front(front: Any) -> None:
    server = front.serve()
    got: list[Any] = []
    server.on("frame", lambda data, socket: socket.emit("back", data), type=Frame)
    server.handle("negative", lambda params: 255 - params["image"], type=dict[str, numpy.ndarray])
    client = front.connect()
    client.on("back", got.append, type=Frame)
    for number in range(6):
        client.emit("frame", Frame(number, IMAGE))
    client.until(lambda: len(got) == 6)
    assert [each.number for each in got] == list(range(6))
    assert all(numpy.array_equal(each.image, IMAGE) for each in got)
    assert numpy.array_equal(client.request("negative", {"image": IMAGE}, type=numpy.ndarray), 255 - IMAGE)
    before = client.stats().bytes_out
    client.emit("frame", Frame(7, IMAGE))
    client.until(lambda: len(got) == 7)
    assert IMAGE.nbytes < client.stats().bytes_out - before < IMAGE.nbytes + 1024  # raw, by now


def test_nobody_but_the_user_holds_an_array_when_the_next_one_arrives(front: Any) -> None:
    """On each front: the memory of one that is let go is that of the next, and one that is kept never changes."""
    server = front.serve()
    was_there: list[bool] = []
    places: list[int] = []
    kept: list[numpy.ndarray] = []
    last: list[Any] = [lambda: None]

    def frame(data: Frame, socket: Any) -> None:
        was_there.append(last[0]() is not None)
        last[0] = weakref.ref(data.image)
        places.append(data.image.ctypes.data)
        if data.number == 3:
            kept.append(data.image)
        if data.number == 5:
            kept.append(data.image.reshape(-1)[1:5])
        socket.emit("seen", data.number)

    server.on("frame", frame)
    client = front.connect()
    seen: list[int] = []
    client.on("seen", seen.append)
    for number in range(9):
        client.emit("frame", Frame(number, IMAGE + number))
        client.until(lambda number=number: len(seen) == number + 1)
    # the first came as base64; numbers 3 and 5 are kept
    assert was_there[1:] == [False, False, False, True, False, False, False, False]
    assert len(set(places[1:4])) == 1 and len({places[3], places[4], places[6]}) == 3 and len(set(places[6:])) == 1
    assert numpy.array_equal(kept[0], IMAGE + 3) and kept[1].tolist() == (IMAGE + 5).reshape(-1)[1:5].tolist()


def place_of(array: numpy.ndarray) -> int:
    place: int = array.ctypes.data
    return place


def test_an_array_that_was_received_and_let_go_leaves_its_memory_to_the_next(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", max_pending_bytes=64 * MIB)

    async def asks(client: Any) -> tuple[set[int], set[int]]:
        received, answered = [], []
        for number in range(6):
            client.emit("next", number)
            received.append(place_of((await client.receive("frame", type=Frame, timeout=20)).image))
            answered.append(place_of(await client.request("next", number, type=numpy.ndarray, timeout=20)))
        return set(received[1:]), set(answered[1:])

    def asks_blocking() -> tuple[set[int], set[int]]:
        received, answered = [], []
        with blocking.connect("world", config=config, timeout=20) as client:
            for number in range(6):
                client.emit("next", number)
                received.append(place_of(client.receive("frame", type=Frame, timeout=20).image))
                answered.append(place_of(client.request("next", number, type=numpy.ndarray, timeout=20)))
        return set(received[1:]), set(answered[1:])

    async def main() -> None:
        async with node_ipc.serve("world", config=config) as server:
            server.on("next", lambda data, socket: socket.emit("frame", Frame(data, IMAGE)), type=int)
            server.handle("next", lambda number: IMAGE, type=int)
            async with await node_ipc.connect("world", config=config) as client:
                found = [await asks(client)]
            found.append(await asyncio.to_thread(asks_blocking))
        assert all(len(received | answered) == 1 for received, answered in found), found

    asyncio.run(main())


def test_the_memory_of_arrays_is_let_go_with_the_link(front: Any) -> None:
    server = front.serve()
    server.on("frame", lambda data, socket: socket.emit("seen", data.number), type=Frame)
    client = front.connect()
    seen: list[int] = []
    client.on("seen", seen.append)
    for number in range(3):
        client.emit("frame", Frame(number, IMAGE))
        client.until(lambda number=number: len(seen) == number + 1)
    assert spare._kept
    client.close()
    client.until(lambda: not spare._kept)


AUTHORITY = identity("an authority", authority=True)
SERVER = identity("server", AUTHORITY, names=["localhost"])
CARRIERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "unix": ("world", {}, {}),
    "tcp": ("tcp://127.0.0.1:0", {}, {}),
    "tls": ("tls://127.0.0.1:0", {"tls": SERVER.options}, {"tls": {"ca": AUTHORITY.cert, "servername": "localhost"}}),
}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_arrays_go_over_every_stream_on_every_loop(carrier: str, loop: str, tmp_path: Path) -> None:
    where, served, connected = CARRIERS[carrier]
    config = Config(socket_root=f"{tmp_path}/", max_pending_bytes=64 * MIB)

    async def main() -> None:
        async with node_ipc.serve(where, config=config, **served) as server:
            server.on("frame", lambda data, socket: socket.emit("back", data), type=Frame)
            at = str(server.address) if carrier != "unix" else "world"
            async with await node_ipc.connect(at, config=config, **connected) as client:
                for number in range(4):
                    client.emit("frame", Frame(number, IMAGE))
                    client.emit("frame", Frame(number, IMAGE[::5, ::7]))
                    for image in (IMAGE, IMAGE[::5, ::7]):
                        back = await client.receive("back", type=Frame, timeout=20)
                        assert back.number == number and numpy.array_equal(back.image, image)
                session: Any = server.sockets[0]
                assert session.outgoing.attaching is Attaching.AGREED

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(main())


def test_threads_emit_arrays_and_each_arrives_whole(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", max_pending_bytes=256 * MIB)

    async def main() -> None:
        async with node_ipc.serve("world", config=config) as server:
            got: list[Any] = []
            server.on("frame", lambda data: got.append((data.number, int(data.image.sum()))), type=Frame)
            async with await node_ipc.connect("world", config=config) as client:

                def work(number: int) -> None:
                    for _ in range(5):
                        client.emit("frame", Frame(number, numpy.full(300_000, number, "u1")))

                threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
                for thread in threads:
                    thread.start()
                while len(got) < 20:
                    await asyncio.sleep(0.01)
                for thread in threads:
                    thread.join()
                assert sorted(got) == sorted([(number, number * 300_000) for number in range(4)] * 5)

    asyncio.run(main())


def _receive(root: str, pipe: Any) -> None:
    """In a process of its own: its memory in KiB before and after ten arrays."""
    import resource

    with blocking.serve("world", config=Config(socket_root=root)) as server:
        sums: list[int] = []

        @server.on("frame")
        def frame(data: Either, socket: Any) -> None:
            sums.append(int(data.image[-1]))
            socket.emit("seen")

        pipe.send("ready")
        while len(sums) < 2:
            server.poll(0.1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        while len(sums) < 10:
            server.poll(0.1)
        server.poll(0.1)
        pipe.send((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="measured as Linux does")
@pytest.mark.parametrize("size", [8 * MIB, 12 * MIB])
@pytest.mark.parametrize("kind", ["array", "bytes"])
def test_a_receiver_needs_little_more_memory_than_the_array(kind: str, size: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_receive, args=(f"{tmp_path}/", theirs))
    process.start()
    try:
        assert ours.recv() == "ready"
        with blocking.connect("world", config=Config(socket_root=f"{tmp_path}/"), timeout=20) as client:
            for count in [100_000] * 2 + [size] * 8:
                image = numpy.ones(count, "u1")
                client.emit("frame", {"number": 0, "image": image if kind == "array" else image.tobytes()})
                client.receive("seen", timeout=20)
        before, after = ours.recv()
    finally:
        process.join(20)
    assert after - before < size / 1024 * 1.2  # KiB
