"""A server and its bus: what is refused, what is published, what frames may hold."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

import node_ipc
from cluster_ends import DEADLINE, until
from node_ipc import IPC, Config, blocking
from node_ipc.cluster.bus import Bus
from node_ipc.cluster.hub import HubBus, hub_config, relay
from node_ipc.cluster.joined import Wire
from node_ipc.config.address import Unix
from node_ipc.config.bus_options import BusPlace
from node_ipc.core.server import Server
from node_ipc.drivers.loop import EventLoopDriver
from node_ipc.errors import ConfigError, IPCError, ProtocolError
from node_ipc.testing import MemoryDriver, pair, serve
from node_ipc.wire.codec import choose
from stopwatch import Stopwatch

NOT_A_BUS = ["nats", "nats://", "http://host", "nats://host:port", 5, b"nats://host", object(), ["host"]]


async def hub(folder: Path) -> Server:
    driver = EventLoopDriver()
    driver.attach(asyncio.get_running_loop())
    server = Server(Unix(f"{folder}/hub"), driver, hub_config(f"{folder}/").settings())
    relay(server)
    await server.start()
    return server


# ---- the option


@pytest.mark.parametrize("value", NOT_A_BUS, ids=repr)
def test_what_is_no_bus_is_refused_and_the_error_says_what_there_is(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"'nats://host:port'"):
        Config(bus=value)


def test_no_message_and_no_repr_shows_the_password() -> None:
    config = Config(bus="nats://me:nevershown@host:4222?credentials=/c")
    assert str(config.bus) == "nats://host:4222" and "nevershown" not in repr(config) + repr(config.bus)
    with pytest.raises(ConfigError) as refused:
        config.bus = "http://me:nevershown@host"
    assert "nevershown" not in str(refused.value)
    assert config.bus == BusPlace("nats://me:nevershown@host:4222?credentials=/c") != BusPlace("nats://host")
    assert Config(bus=False).bus is None and Config.from_mapping({"bus": True}).bus is True


def test_the_hub_engine_is_a_bus() -> None:
    assert isinstance(HubBus("/x"), Bus)


def test_the_blocking_front_refuses_a_bus_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runs only while it is called"):
        blocking.serve(f"{tmp_path}/s", bus="nats://127.0.0.1:1")


async def test_true_outside_of_workers_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"workers\.run"):
        await node_ipc.serve(f"{tmp_path}/s", bus=True)


async def test_a_udp_port_refuses_a_bus() -> None:
    with pytest.raises(ConfigError, match="a UDP port has none"):
        await node_ipc.serve_udp("127.0.0.1:0", bus="nats://127.0.0.1:1")


def test_a_server_without_a_bus_says_how_to_get_one() -> None:
    with pytest.raises(IPCError, match="bus='nats://host:4222'"):
        serve(MemoryDriver()).everywhere  # noqa: B018


# ---- events of the bus


@pytest.mark.parametrize("parser", ["guarded", "fast"])
@pytest.mark.parametrize("name", ["bus.up", "bus.down", "bus.gap"])
def test_no_client_can_raise_an_event_of_the_bus(name: str, parser: str) -> None:
    one = pair(parser=parser)
    heard: list[Any] = []
    one.server.on(name, lambda *arguments: heard.append(arguments))
    one.client.emit(name, "x")
    one.driver.run_until_idle()
    assert heard == [] and one.socket.is_open
    one.server.bus_event(name, "y")
    assert heard == [("y",)]
    one.server.off(name)
    one.server.bus_event(name, "z")
    assert len(heard) == 1


# ---- a connection that does not come about


class Hanging:
    """A bus whose first attempts hang, as those do whose packets a network lost."""

    name, size_option, has_groups = "hanging", "nothing", True

    def __init__(self, attempts: int) -> None:
        self.left = attempts
        self.lasted: list[float] = []
        self.hung: list[float] = []
        """The same, without what other programs had of the processor meanwhile."""

    async def connect(self, hears: Any) -> int | None:
        began, watch = time.monotonic(), Stopwatch()
        self.left -= 1
        try:
            while self.left >= 0:
                await asyncio.sleep(3600)
        finally:
            self.lasted.append(time.monotonic() - began)
            self.hung.append(watch.seconds)
        return None

    def publish(self, subject: str, data: bytes) -> bool:
        return True

    def request(self, subject: str, data: bytes, unheard: Any) -> None: ...
    def subscribe(self, subject: str, group: str = "") -> None: ...
    def unsubscribe(self, subject: str) -> None: ...
    async def confirm(self) -> None: ...
    def health(self) -> str:
        return "nowhere"

    async def close(self) -> None: ...


@pytest.mark.parametrize(("attempts", "told"), [(1, 0), (3, 1)])
async def test_an_attempt_that_hangs_is_given_up_soon_and_told_when_it_is_no_accident(
    tmp_path: Path, attempts: int, told: int
) -> None:
    bus = Hanging(attempts)
    async with node_ipc.serve(f"{tmp_path}/s", bus=bus) as server:
        errors: list[Exception] = []
        server.on("error", errors.append)
        await until(lambda: server.stats().bus.state == "up")  # type: ignore[union-attr]
        assert len(errors) == told and bus.left == -1
    assert bus.lasted[0] > 0.9 and bus.hung[0] < 2 and bus.hung == [*sorted(bus.hung[:-1]), bus.hung[-1]]


class Asked(Hanging):
    """A bus that may leave a question without an answer."""

    def __init__(self) -> None:
        super().__init__(0)
        self.hears: Any = None
        self.connections = 0
        self.unanswered: asyncio.Future[None] | None = None
        self.asked = asyncio.Event()

    async def connect(self, hears: Any) -> int | None:
        self.hears = hears
        self.connections += 1
        return None

    async def confirm(self) -> None:
        if self.unanswered is not None:
            self.asked.set()
            await self.unanswered


async def test_a_question_that_fails_behind_the_end_of_its_connection_is_no_end_of_the_next(tmp_path: Path) -> None:
    bus, downs = Asked(), list[Any]()
    async with node_ipc.serve(f"{tmp_path}/s", bus=bus) as server, node_ipc.connect(f"{tmp_path}/s") as client:
        server.on("bus.down", downs.append)
        server.on("join", lambda room, socket: (socket.join(room), socket.emit("joined")))
        await until(lambda: server.stats().bus.state == "up")  # type: ignore[union-attr]
        bus.unanswered = unanswered = asyncio.get_running_loop().create_future()
        client.emit("join", "a")
        await client.receive("joined", timeout=20)
        await bus.asked.wait()
        bus.unanswered = None
        bus.hears.lost(ConnectionError("gone"))
        await until(lambda: bus.connections == 2 and server.stats().bus.state == "up")  # type: ignore[union-attr]
        unanswered.set_exception(TimeoutError("no answer"))
        for room in ("b", "c"):
            await server.sockets[0].join(room)
        assert (len(downs), bus.connections) == (1, 2) and server.stats().bus.state == "up"  # type: ignore[union-attr]


# ---- the callback front


async def test_the_callback_front_takes_part(tmp_path: Path) -> None:
    relaying = await hub(tmp_path)
    front = IPC(Config(socket_root=f"{tmp_path}/", id="one", silent=True, bus=f"unix:{tmp_path}/hub"))
    front.serve()
    up: list[str] = []
    front.server.on("bus.up", lambda: up.append("up"))
    front.server.on("join", lambda room, socket: (socket.join(room), socket.emit("joined")))
    front.server.start()
    async with (
        node_ipc.serve("two", socket_root=f"{tmp_path}/", bus=f"unix:{tmp_path}/hub") as two,
        node_ipc.connect("one", socket_root=f"{tmp_path}/", wait=True) as client,
    ):
        await until(lambda: up and len(front.server.everywhere.nodes) == len(two.everywhere.nodes) == 1)
        client.emit("join", "a")
        await client.receive("joined", timeout=DEADLINE)
        found = await two.everywhere.sockets(room="a")
        assert len(found) == 1
        two.to("a").emit("x", 7)
        assert await client.receive("x", timeout=DEADLINE) == 7
        assert "sockets" in repr(found) and front.server.everywhere.name in repr(front.server.everywhere)
    await front.stop()
    await relaying.stop()


# ---- frames of others


def wire(**options: Any) -> Wire:
    settings = Config(**options).settings()
    return Wire(settings, choose(settings))


@pytest.mark.parametrize("options", [{}, {"delimiter": ";"}, {"parser": "raw"}, {"parser": "fast"}], ids=str)
def test_a_frame_goes_and_comes_as_it_was(options: dict[str, Any]) -> None:
    settings = Config(**options).settings()
    codec = choose(settings)
    one = Wire(settings, codec)
    frame = codec.encode(b"\x00\xff;") if codec.raw else codec.encode("x", {"a": ";\f"})  # type: ignore[arg-type]
    assert one.frame(one.value(frame)) == frame


@pytest.mark.parametrize(
    "value",
    [b"1", b"{}", b'{"type":1}', b'{"type":"error","data":1}', b'{"type":"","data":1}', b'{"type":"a"}\f{"type":"b"}'],
)
def test_what_no_peer_may_send_comes_from_no_server_either(value: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire().frame(Raw(value))


def test_a_frame_above_the_limit_and_one_that_is_no_base64_are_refused() -> None:
    with pytest.raises(ProtocolError, match="max_message_size is 100"):
        wire(max_message_size=100).frame(Raw(b'{"type":"a","data":"%s"}' % (b"x" * 200)))
    for value in (b"1", b'"*"', b"null", b'"YQ"'):
        with pytest.raises(ProtocolError, match="Base64"):
            wire(parser="raw").frame(Raw(value))


def test_forms_that_differ_have_different_names() -> None:
    class Mine:
        def __init__(self, settings: Any = None) -> None: ...

        def encode(self, type: str, data: Any) -> bytes:
            return b""

        def decode(self, data: bytes) -> tuple[list[tuple[str, Any]], int]:
            return [], 0

    names = [wire().name, wire(delimiter=";").name, wire(parser="raw").name, wire(parser=Mine()).name]
    assert len(set(names)) == 4 and wire(parser="fast").name == wire().name == wire(parser="guarded").name
    assert wire(parser=Mine).name == wire(parser=Mine()).name


ALONE = """
import asyncio, sys
import node_ipc
async def main():
    async with node_ipc.serve(sys.argv[1], bus="nats://127.0.0.1:1") as server:
        while not server.stats().errors:
            await asyncio.sleep(0.01)
asyncio.run(main())
"""


def test_a_server_that_cannot_reach_its_bus_says_so_while_logging_is_not_set_up(tmp_path: Path) -> None:
    """Its own clients are served, and nothing else would tell why the others' hear nothing."""
    command = [sys.executable, "-c", ALONE, str(tmp_path / "alone")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "the bus (nats, nats://127.0.0.1:1) cannot be reached: " in ran.stderr.splitlines()[0]
