"""The blocking front on Windows: named pipes by a completion port, TCP by select."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node_ipc import AddressInUse, ConnectError, ConnectionLost, ConnectTimeout, NotConnected, ReceiveTimeout, blocking

WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
LIMIT = 30.0


class Served:
    """A blocking server in a thread of its own."""

    def __init__(self, address: str, **options: Any) -> None:
        self.heard: list[Any] = []
        self.failure: BaseException | None = None
        self.server: Any = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(address, options))
        self._thread.start()
        assert self._ready.wait(LIMIT)
        if self.failure is not None:
            raise self.failure

    def _run(self, address: str, options: dict[str, Any]) -> None:
        try:
            with blocking.serve(address, **options) as self.server:
                self.server.on("echo", lambda data, socket: socket.emit("echo", data))
                self.server.on("note", lambda data, socket: self.heard.append(data))
                self.server.on("stream", self._stream)
                self.server.on("close me", lambda data, socket: socket.close())
                self.server.handle("add", lambda params: params["a"] + params["b"])
                self._ready.set()
                self.server.serve_forever()
        except BaseException as error:
            self.failure = error
            self._ready.set()

    def _stream(self, count: int, socket: Any) -> None:
        for n in range(count):
            socket.emit("down", [n, "x" * 4096])

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        assert self.failure is None


@pytest.fixture(params=["pipe", "tcp"])
def served(request: pytest.FixtureRequest, path: str) -> Iterator[Served]:
    where = "pipe:" + path.removeprefix("\\\\.\\pipe\\") if request.param == "pipe" else "tcp://127.0.0.1:0"
    served = Served(where)
    yield served
    served.stop()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_five_lines(served: Served) -> None:
    with blocking.connect(str(served.server.address), timeout=LIMIT) as world:
        world.emit("echo", "hello")
        assert world.receive("echo", timeout=LIMIT) == "hello"
        assert world.request("add", {"a": 1, "b": 2}, timeout=LIMIT) == 3
        for n in range(200):
            world.emit("echo", n)
            assert world.receive("echo", timeout=LIMIT) == n
        with pytest.raises(ReceiveTimeout, match=r"within 0\.2 s"):
            world.receive("nothing", timeout=0.2)


def test_large_messages_and_many_at_once(served: Served) -> None:
    with blocking.connect(str(served.server.address)) as world:
        text = "x" * 2_000_000
        world.emit("echo", text)
        assert world.receive("echo", timeout=LIMIT) == text
        with world.batch():
            for n in range(2000):
                world.emit("echo", n)
        assert [world.receive("echo", timeout=LIMIT) for _ in range(2000)] == list(range(2000))


def test_both_sides_stream_at_full_speed(served: Served) -> None:
    with blocking.connect(str(served.server.address)) as world:
        world.emit("stream", 1000)
        for n in range(1000):
            world.emit("note", [n, "x" * 4096])
        assert [world.receive("down", timeout=LIMIT)[0] for _ in range(1000)] == list(range(1000))
    wait_for(lambda: len(served.heard) == 1000)
    assert [n for n, _ in served.heard] == list(range(1000))


def test_closing_sends_what_was_emitted(served: Served) -> None:
    with blocking.connect(str(served.server.address)) as world:
        for n in range(500):
            world.emit("note", n)
    wait_for(lambda: len(served.heard) == 500)
    assert served.heard == list(range(500))


def test_other_threads_emit_and_wake_the_owner(served: Served) -> None:
    with blocking.connect(str(served.server.address)) as world:
        thread = threading.Timer(0.2, world.emit, ("echo", "from afar"))
        thread.start()
        assert world.receive("echo", timeout=LIMIT) == "from afar"
        thread.join()


def test_a_server_that_closes_the_link(served: Served) -> None:
    with blocking.connect(str(served.server.address), stop_retrying=0) as world:
        world.emit("close me")
        with pytest.raises(NotConnected):
            world.receive("anything", timeout=LIMIT)
    for seen, world in enumerate(blocking.reconnect(str(served.server.address), retry=1, timeout=LIMIT)):
        world.emit("echo", seen)
        assert world.receive("echo", timeout=LIMIT) == seen
        if seen == 2:
            break


def test_handlers_and_requests_of_the_server(served: Served) -> None:
    heard: list[Any] = []
    with blocking.connect(str(served.server.address)) as world:
        world.on("echo", heard.append)
        world.emit("echo", 1)
        deadline = time.monotonic() + LIMIT
        while not heard:
            world.poll(1)
            assert time.monotonic() < deadline
        assert world.peer.transport in ("pipe", "tcp")


def test_nobody_is_there(path: str) -> None:
    where = "pipe:" + path.removeprefix("\\\\.\\pipe\\")
    with pytest.raises(ConnectError):
        blocking.connect(where)
    with pytest.raises(ConnectTimeout):
        blocking.connect(where, wait=True, timeout=0.3, retry=20)


@pytest.mark.skipif(WINE, reason="wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE; the contract test looks at the flag")
def test_two_servers_at_one_place(path: str) -> None:
    where = "pipe:" + path.removeprefix("\\\\.\\pipe\\")
    served = Served(where)
    try:
        with pytest.raises(AddressInUse):
            blocking.serve(where)
    finally:
        served.stop()


def test_a_server_that_comes_later_and_one_that_goes(path: str) -> None:
    where = "pipe:" + path.removeprefix("\\\\.\\pipe\\")
    later: list[Served] = []
    timer = threading.Timer(0.3, lambda: later.append(Served(where)))
    timer.start()
    with blocking.connect(where, wait=True, timeout=LIMIT, retry=50, stop_retrying=False) as world:
        world.emit("echo", 1)
        assert world.receive("echo", timeout=LIMIT) == 1
        timer.join()
        later[0].stop()
        with pytest.raises((ReceiveTimeout, ConnectionLost)):
            world.receive("echo", timeout=0.5)
        world.abort()


def test_poll(path: str) -> None:
    where = "pipe:" + path.removeprefix("\\\\.\\pipe\\")
    with blocking.serve(where) as server:
        began = time.monotonic()
        server.poll(0.2)
        assert time.monotonic() - began >= 0.15
        with blocking.connect(where) as client:
            heard: list[Any] = []
            server.on("note", heard.append)
            client.emit("note", 1)
            deadline = time.monotonic() + LIMIT
            while not heard:
                server.poll(1)
                assert time.monotonic() < deadline
            server.broadcast("all", 2)
            assert client.receive("all") == 2
