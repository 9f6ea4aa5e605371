"""Names of the lifecycle that a peer emits where the profile lets them in: who hears them, and who is told."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import Config, blocking
from node_ipc.config.address import Udp
from node_ipc.core.client import ClientCore
from node_ipc.core.datagram import DatagramCore, DatagramServer
from node_ipc.core.server import ServerCore
from node_ipc.errors import IPCError, ReservedEvent
from node_ipc.testing import MemoryDriver, pair
from node_ipc.wire.names import CLIENT_RAISES, DATAGRAM_RAISES, LIFECYCLE, SERVER_RAISES

HERE, THERE = Udp("127.0.0.1", 8000, "udp4"), Udp("127.0.0.1", 8001, "udp4")


class Table:
    """Two ends that speak ``fast``: the tests emit at one and look at the other."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.driver = MemoryDriver()
        self.heard: list[Any] = []
        self.errors: list[IPCError] = []
        self.ear, self._mouth, self._where = self._open(kind, {"parser": "fast", **options})
        self.ear.on("error", self._error)
        self.driver.run_until_idle()

    def _open(self, kind: str, options: dict[str, Any]) -> tuple[Any, Any, tuple[Any, ...]]:
        if kind == "udp":
            ear, mouth = (DatagramServer(place, self.driver, Config(**options).settings()) for place in (HERE, THERE))
            ear.start()
            mouth.start()
            return ear, mouth, ((HERE.host, HERE.port),)
        two = pair(driver=self.driver, **options)
        return (two.client, two.server, (two.socket,)) if kind == "client" else (two.server, two.client, ())

    def _error(self, error: Any) -> None:
        """Of this endpoint itself; with ``allow_reserved_events`` a payload comes here, too."""
        (self.errors if isinstance(error, IPCError) else self.heard).append(error)

    def emit(self, name: str, data: Any = 1) -> None:
        self._mouth.emit(*self._where, name, data)
        self.driver.run_until_idle()

    def listen(self, name: str, **type: Any) -> None:
        self.ear.on(name, lambda data=None: self.heard.append(data), **type)


ENDS: dict[str, type] = {"client": ClientCore, "server": ServerCore, "udp": DatagramCore}
RAISES = {"client": CLIENT_RAISES, "server": SERVER_RAISES, "udp": DATAGRAM_RAISES}
OWN = [(kind, name) for kind, names in RAISES.items() for name in sorted(names)]
OTHERS = [(kind, name) for kind, names in RAISES.items() for name in sorted(LIFECYCLE - names)]


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_a_name_that_this_end_never_raises_reaches_its_handlers(kind: str, name: str) -> None:
    table = Table(kind)
    table.listen(name)
    table.emit(name, {"n": 1})
    table.emit(name, 2)
    assert table.heard == [{"n": 1}, 2]
    assert (table.errors, table.ear.stats().reserved) == ([], 0)


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_its_payload_may_have_a_type_and_it_is_heard_once_and_taken_off(kind: str, name: str) -> None:
    table = Table(kind)
    table.listen(name, type=int)
    table.ear.once(name, lambda data: table.heard.append(("once", data)))
    table.emit(name, "text")
    table.emit(name, 2)
    assert table.heard == [("once", "text"), 2]
    assert [error.code for error in table.errors] == ["ERR_IPC_INVALID_PAYLOAD"]
    assert len(table.ear.events.handlers(name)) == 1
    table.ear.off(name)
    table.emit(name, 3)
    assert table.heard == [("once", "text"), 2]


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_a_name_that_this_end_raises_is_counted_and_told_once(kind: str, name: str) -> None:
    table = Table(kind)
    if name != "error":
        table.listen(name)
    table.driver.run_until_idle()  # a handler of what goes on already hears of it
    table.heard.clear()
    for n in range(1000):
        table.emit(name, n)
    assert table.heard == []
    (error,) = table.errors
    assert isinstance(error, ReservedEvent)
    assert repr(name) in str(error)
    assert "allow_reserved_events" in str(error)
    assert table.ear.stats().reserved == 1000
    assert table.ear.stats().errors == 1
    table.emit("message")  # the link stays
    assert table.ear.stats().messages_in == 1001


@pytest.mark.parametrize("first", ["peer", "own"])
@pytest.mark.parametrize(("kind", "name"), OWN)
def test_once_is_once_also_where_a_peer_may_use_the_name(kind: str, name: str, first: str) -> None:
    table = Table(kind, allow_reserved_events=True)
    table.driver.run_until_idle()
    heard: list[Any] = []

    def hear(*arguments: Any) -> None:
        heard.append(arguments)

    table.ear.once(name, hear)
    table.driver.run_until_idle()  # perhaps it goes on already
    happen = [lambda: table.emit(name, 1), lambda: table.ear.events.publish(name, IPCError("no"))]
    for call in happen if first == "peer" else reversed(happen):
        call()
    assert len(heard) == 1
    assert hear not in table.ear.events.handlers(name)


def test_without_an_error_handler_it_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    two = pair(parser="fast")
    for _ in range(10):
        two.socket.emit("error", "no such user")
    two.driver.run_until_idle()
    (line,) = [record.getMessage() for record in caplog.records]
    assert "'error'" in line and "stats().reserved" in line


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_where_reserved_names_are_allowed_handlers_hear_both(kind: str, name: str) -> None:
    table = Table(kind, allow_reserved_events=True)
    if name != "error":  # it has a handler already
        table.listen(name)
    table.driver.run_until_idle()
    table.heard.clear()
    table.emit(name, 5)
    assert table.heard == [5]
    assert (table.errors, table.ear.stats().reserved) == ([], 0)


@pytest.mark.parametrize("kind", RAISES)
def test_the_names_that_an_end_raises_are_those_that_its_module_publishes(kind: str) -> None:
    ours = [each for each in ENDS[kind].__mro__ if each.__module__.startswith("node_ipc")]
    source = "".join(map(inspect.getsource, ours))
    published = set(re.findall(r'events\.publish(?:_state)?\("([\w.]+)"', source))
    assert published - {"data"} == RAISES[kind]  # in raw mode, where no names are on the wire


@pytest.mark.parametrize("allowed", [False, True])
def test_raw_mode_has_no_names_on_the_wire(allowed: bool) -> None:
    two = pair(raw_buffer=True, allow_reserved_events=allowed)
    heard: list[Any] = []
    two.client.on("data", heard.append)
    two.socket.emit(b"raw")
    two.driver.run_until_idle()
    assert heard == [b"raw"]
    assert two.client.events.handlers("data") == [heard.append]


# ---- the fronts that wait, over real sockets


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(socket_root=f"{tmp_path}/", parser="fast", silent=True)


async def test_asyncio_receives_and_iterates_over_them(config: Config) -> None:
    async with node_ipc.serve("world", config=config) as server:
        server.on("connect", lambda socket: [socket.emit(name, name) for name in ("close", "data", "start")])
        async with node_ipc.connect("world", config=config) as world:
            assert await world.receive("data", timeout=5) == "data"
            assert await anext(aiter(world)) == ("close", "close")
            with pytest.raises(node_ipc.ReceiveTimeout, match="only handlers hear"):
                await world.receive("connect", timeout=0.01)
            with pytest.raises(node_ipc.ReceiveTimeout) as timeout:
                await world.receive("close", timeout=0.01)
            assert "only handlers hear" not in str(timeout.value)


async def test_the_blocking_front_receives_them(config: Config) -> None:
    async with node_ipc.serve("world", config=config) as server:
        server.on("hello", lambda data, socket: [socket.emit(name, name) for name in ("close", "data", "start")])

        def client() -> list[Any]:
            heard: list[Any] = []
            with blocking.connect("world", config=config, timeout=5) as world:
                world.on("start", heard.append)
                world.emit("hello")
                return [world.receive("data", timeout=5), world.receive("close", timeout=5), *heard]

        assert (await asyncio.to_thread(client))[:2] == ["data", "close"]
