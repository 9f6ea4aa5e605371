"""The socket beside a server's own: what viewers see, and that none of them is in the way."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import Config, NotConnected, RemoteError, blocking
from node_ipc.config.address import Handed, Pipe, Several, Tcp, Udp, Unix
from node_ipc.contract import describe
from node_ipc.core.datagram import DatagramServer
from node_ipc.core.observe import (
    EMIT,
    FORMAT,
    LOOK,
    MESSAGES,
    MOST_AT_ONE_ADDRESS,
    MOST_VIEWERS,
    WAITING_BYTES,
    observed_at,
    settings_of,
)
from node_ipc.core.server import Server
from node_ipc.core.tally import BUDGET
from node_ipc.testing import MemoryDriver, Pair, Wire, connect, pair, serve

BESIDE = "unix:/memory/app.world.observe"


class Viewer:
    """Somebody who looks at the server of a pair."""

    def __init__(self, driver: MemoryDriver, address: str = BESIDE) -> None:
        self.client = connect(driver, address)
        self.driver = driver
        self.looks: list[Any] = []
        self.messages: list[Any] = []
        self.client.on(LOOK, self.looks.append)
        self.client.on(MESSAGES, lambda data: self.messages.extend(data["messages"]))

    def ask(self, method: str, params: Any = None) -> Any:
        answer = self.client.request(method, params)
        self.driver.run_until_idle()
        return answer.result()


@pytest.fixture
def ends() -> Pair:
    made = pair()
    made.server.observe()
    made.driver.run_until_idle()
    return made


@pytest.fixture
def viewer(ends: Pair) -> Viewer:
    return Viewer(ends.driver)


def test_what_is_seen(ends: Pair, viewer: Viewer) -> None:
    ends.server.on("order", lambda data, socket: socket.emit("thanks"))
    ends.server.on("bad", lambda: 1 / 0)
    ends.server.on("error", lambda error: None)
    ends.server.handle("add", lambda params: params + 1)
    ends.client.emit("order", "x" * 100)
    ends.client.emit("bad")
    ends.client.request("add", 1)
    ends.driver.advance(1.1)
    look = viewer.looks[-1]
    assert look["format"] == FORMAT == 1 and look["address"] == str(ends.server.address)
    assert look["events"]["order"]["in"] == 1 and look["events"]["order"]["bytes_in"] > 100
    assert look["events"]["thanks"]["out"] == 1 and look["events"]["thanks"]["bytes_out"] > 20
    assert look["events"]["rpc.request"]["in"] == 1 and look["events"]["rpc.request"]["bytes_in"] > 20
    assert look["events"]["bad"]["failed"] == 1
    assert look["answered"]["add"]["handled"] == 1
    assert [error["error"] for error in look["errors"]] == [
        "a handler of 'bad' failed: ZeroDivisionError('division by zero')"
    ]
    [link] = look["links"]
    assert link["id"] == ends.socket.id and link["stats"]["messages_in"] == 3 and look["link_count"] == 1
    ends.driver.advance(1)
    assert len(viewer.looks) >= 2 and viewer.looks[-1]["time"] > look["time"]


def test_whoever_begins_to_look_sees_something_at_once_and_is_not_counted(ends: Pair) -> None:
    wire = Wire.connected(ends.driver, observed_at(ends.server.address, Config()))
    ends.driver.run_until_idle()
    look = msgspec.json.decode(wire.take().removesuffix(b"\f"))
    assert (look["type"], look["data"]["link_count"]) == (LOOK, 1)


def test_whoever_comes_after_all_have_gone_sees_again_what_is_counted_since_then(ends: Pair) -> None:
    for _ in range(2):
        viewer, since = Viewer(ends.driver), ends.driver.now()
        ends.driver.advance(1.1)
        another = Viewer(ends.driver)
        ends.client.emit("order")
        ends.driver.advance(1.1)
        assert viewer.looks[-1]["events"]["order"]["in"] == 1
        assert [each.looks[-1]["since"] for each in (viewer, another)] == [since, since]
        viewer.client.close()
        another.client.close()
        ends.driver.advance(1)


def test_a_handler_s_time_is_that_of_the_exact_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other may stand still while a handler works, as a loop's does."""
    driver = MemoryDriver()
    passed = [0.0]
    monkeypatch.setattr(driver, "clock", lambda: passed[0])
    ends = pair(driver=driver, observe=True)
    driver.run_until_idle()
    viewer = Viewer(driver)
    ends.server.on("work", lambda: passed.__setitem__(0, passed[0] + 2))
    ends.client.emit("work")
    driver.advance(1.1)
    assert viewer.looks[-1]["events"]["work"]["seconds"] == 2


def test_who_a_link_says_it_is_is_seen_where_it_says_so() -> None:
    ends = pair(observe=True, identify_peer=True, client={"id": "kitchen", "identify_peer": True})
    viewer = Viewer(ends.driver)
    ends.driver.advance(1.1)
    assert [link["name"] for link in viewer.looks[-1]["links"]] == [ends.socket.claimed_id]


def test_what_a_peer_calls_itself_is_cut_at_a_hundred_characters() -> None:
    driver = MemoryDriver()
    server = serve(driver, identify_peer=True, observe=True)
    for name in ("camera", "x" * 1000):
        connect(driver, server.address).emit("hello", {"id": name})
    connect(driver, server.address)
    driver.run_until_idle()
    viewer = Viewer(driver)
    driver.advance(1.1)
    assert [link["name"] for link in viewer.looks[-1]["links"]] == ["camera", "x" * 100, None]


def test_a_few_may_look_at_the_same_time(ends: Pair) -> None:
    viewers = [Viewer(ends.driver) for _ in range(MOST_VIEWERS)]
    one_more = Viewer(ends.driver)
    ends.driver.advance(1.1)
    assert [len(viewer.looks) for viewer in viewers] == [1] * MOST_VIEWERS
    assert one_more.looks == []


def test_requests_under_way_are_seen() -> None:
    driver = MemoryDriver()
    ends = pair(driver=driver, observe=True)
    driver.run_until_idle()
    viewer = Viewer(driver)
    gate = driver.outcome(None)

    @ends.server.handle("slow")
    async def slow() -> None:
        await gate

    ends.client.request("slow")
    ends.server.request(ends.socket, "ask back", timeout=0.5)
    ends.socket.pause_reading("test", True)
    driver.advance(0.1)
    ends.socket.pause_reading("test", False)
    driver.advance(1.5)
    assert viewer.looks[-1]["answered"]["slow"]["running"] == 1
    assert viewer.looks[-1]["asked"]["ask back"]["failed"] == 1
    gate.settle()
    driver.advance(1.5)
    slow_now = viewer.looks[-1]["answered"]["slow"]
    assert slow_now["running"] == 0 and slow_now["p50"] > 0.5


def test_nothing_is_counted_while_nobody_looks(ends: Pair) -> None:
    events: Any = ends.server.events
    table = dict(events._table)
    viewer = Viewer(ends.driver)
    assert events._watches
    viewer.client.close()
    ends.driver.run_until_idle()
    assert events._watches is None
    assert events._table.keys() == table.keys()
    before = len(viewer.looks)
    ends.driver.advance(10)
    assert len(viewer.looks) == before


def test_looking_into_messages_and_stopping(ends: Pair, viewer: Viewer) -> None:
    ends.client.emit("unseen", 1)
    assert viewer.ask(MESSAGES, True) is True
    ends.client.emit("order", {"n": 1})
    ends.driver.advance(1.1)
    [message] = viewer.messages
    assert (message["event"], message["data"], message["direction"], message["link"]) == ("order", '{"n":1}', "in", 1)
    assert viewer.ask(MESSAGES, False) is False
    ends.client.emit("order", {"n": 2})
    ends.driver.advance(1.1)
    assert len(viewer.messages) == 1


def test_messages_are_for_those_who_look_into_them_and_only_where_there_are_some(ends: Pair, viewer: Viewer) -> None:
    another = Viewer(ends.driver)
    told: dict[str, list[Any]] = {"one": [], "other": []}
    viewer.client.on(MESSAGES, told["one"].append)
    another.client.on(MESSAGES, told["other"].append)
    assert viewer.ask(MESSAGES, True) is True
    ends.driver.advance(3)
    assert told == {"one": [], "other": []}
    ends.client.emit("order")
    ends.driver.advance(3)
    assert [len(each["messages"]) for each in told["one"]] == [1] and told["other"] == []


def test_messages_are_not_kept_for_a_viewer_that_has_gone(ends: Pair, viewer: Viewer) -> None:
    another = Viewer(ends.driver)
    server: Any = ends.server
    for each in (viewer, another):
        assert each.ask(MESSAGES, True) is True
    viewer.client.close()
    ends.driver.run_until_idle()
    assert server._observation._tally.keeps, "there is one more"
    assert another.ask(MESSAGES, False) is False
    assert not server._observation._tally.keeps


def test_of_many_links_the_oldest_hundred_are_told_one_by_one() -> None:
    driver = MemoryDriver()
    server = serve(driver, max_connections=200, observe=True)
    for _ in range(101):
        Wire.connected(driver, server.address)
    viewer = Viewer(driver)
    driver.advance(1.1)
    look = viewer.looks[-1]
    assert [link["id"] for link in look["links"]] == list(range(1, 101)) and look["link_count"] == 101


@pytest.mark.parametrize("unlink", [True, False, "force"])
def test_the_socket_beside_is_made_as_the_server_s_own_and_for_nobody_else(unlink: Any) -> None:
    served = Config(unlink=unlink, socket_root="/run/x/", writable_all=True, allowed_uids={7}, max_connections=5000)
    beside = settings_of(served.settings())
    assert (beside.unlink, beside.socket_root) == (unlink, "/run/x/")
    assert not beside.writable_all and not beside.allowed_uids and beside.max_connections == MOST_VIEWERS


def test_emitting_to_all_and_to_one(ends: Pair, viewer: Viewer) -> None:
    other = connect(ends.driver, ends.server.address)
    got: list[Any] = []
    ends.client.on("hey", lambda data: got.append(("first", data)))
    other.on("hey", lambda data: got.append(("second", data)))
    assert viewer.ask(EMIT, {"event": "hey", "data": 1}) == 2
    assert viewer.ask(EMIT, {"event": "hey", "data": 2, "to": ends.socket.id}) == 1
    assert sorted(got) == [("first", 1), ("first", 2), ("second", 1)]
    got.clear()
    assert viewer.ask(EMIT, {"event": "hey", "to": ends.socket.id}) == 1
    assert got == [("first", {})], "as emit without data"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"event": "hey", "to": 99}, "no socket 99"),
        ({"event": "connect"}, "reserved"),
        ({"event": ""}, "must not be empty"),
        ({"event": 7}, r"Expected `str`"),
        ({}, "event"),
        (None, "Expected `object`"),
    ],
)
def test_what_cannot_be_emitted_is_refused_and_told(ends: Pair, viewer: Viewer, message: Any, says: str) -> None:
    with pytest.raises(RemoteError, match=says) as refused:
        viewer.ask(EMIT, message)
    assert refused.value.code in (1, -32602)
    assert viewer.ask(MESSAGES, True) is True  # and it goes on


def test_it_ends_with_the_server_and_by_its_undoing(ends: Pair, viewer: Viewer) -> None:
    undo = ends.server.observe()
    undo()
    assert ends.server.events._watches is None, "at once: where a loop was closed no turn follows"
    undo()
    ends.driver.advance(1)
    assert viewer.client.state is not node_ipc.ClientState.CONNECTED
    ends.server.observe()
    ends.driver.run_until_idle()
    again = Viewer(ends.driver)
    assert again.ask(MESSAGES, True) is True
    ends.server.stop()
    ends.driver.advance(1)
    assert ends.server.closed.done
    with pytest.raises(node_ipc.IPCError):
        Viewer(ends.driver)


def test_a_server_that_does_not_listen_cannot_be_observed(ends: Pair) -> None:
    ends.server.stop()
    with pytest.raises(NotConnected, match="after start"):
        ends.server.observe()


def test_several_servers_at_one_address_have_a_socket_each() -> None:
    """As workers do; here something else has the first place."""
    driver = MemoryDriver()
    serve(driver, BESIDE)
    errors: list[Any] = []
    server = serve(driver)
    server.on("error", lambda error: errors.append(str(error)))
    server.observe()
    driver.run_until_idle()
    viewer = Viewer(driver, f"{BESIDE}.2")
    driver.advance(1.1)
    assert viewer.looks[-1]["address"] == str(server.address)
    assert errors == []
    server.stop()
    driver.advance(1)
    with pytest.raises(node_ipc.IPCError):
        Viewer(driver, f"{BESIDE}.2")


def test_where_every_place_is_taken_an_error_event_says_so_and_the_server_goes_on() -> None:
    driver = MemoryDriver()
    for number in range(1, MOST_AT_ONE_ADDRESS + 1):
        serve(driver, BESIDE if number == 1 else f"{BESIDE}.{number}")
    errors: list[Any] = []
    server = serve(driver)
    server.on("error", lambda error: errors.append(str(error)))
    server.observe()
    observation: Any = server._observation
    driver.run_until_idle()
    assert len(errors) == 1 and errors[0].startswith("the server works, but cannot be observed: ")
    assert str(observation.started.error) == errors[0], "whoever waits to be observed, as a tap does, waits no longer"
    got: list[Any] = []
    server.on("order", got.append)
    connect(driver, server.address).emit("order", 1)
    driver.run_until_idle()
    assert got == [1]


def test_a_server_that_describes_itself_does_so_beside_itself_too(ends: Pair, viewer: Viewer) -> None:
    with pytest.raises(RemoteError, match="does not describe itself") as refused:
        viewer.ask("rpc.describe")
    assert refused.value.code == -32601
    describe(ends.server, version="2.0.0")
    assert viewer.ask("rpc.describe")["info"]["version"] == "2.0.0"


def test_a_port_which_answers_no_requests_does_not_describe_itself() -> None:
    driver = MemoryDriver()
    server = DatagramServer(Udp("localhost", 8000, "udp4"), driver, Config(socket_root="/memory/").settings())
    server.start()
    driver.run_until_idle()
    server.observe()
    driver.run_until_idle()
    viewer = Viewer(driver, "unix:/memory/app.udp-8000.observe")
    with pytest.raises(RemoteError, match="does not describe itself"):
        viewer.ask("rpc.describe")


def test_whoever_waits_to_be_observed_waits_until_viewers_can_connect() -> None:
    ends = pair()
    ends.server.observe()
    server: Any = ends.server
    started = server._observation.started
    assert not started.done
    ends.driver.run_until_idle()
    assert started.result() is server._observation


@pytest.mark.row(72)
def test_a_viewer_that_does_not_read_costs_its_buffer_and_nobody_else_anything(ends: Pair) -> None:
    stuck = Wire.connected(ends.driver, observed_at(ends.server.address, Config()))
    assert stuck.link is not None
    stuck.link.pause_reading()
    viewer = Viewer(ends.driver)
    got: list[Any] = []
    ends.server.on("order", got.append)
    for second in range(120):
        for number in range(20):
            ends.client.emit(f"event {number} {second}", "x" * 1000)
        ends.client.emit("order", second)
        ends.driver.advance(1)
    assert got == list(range(120))
    assert len(viewer.looks) >= 119, "the other viewer sees all"
    server: Any = ends.server
    observation = server._observation
    beside: Server = observation._beside
    assert sum(each.pending_bytes for each in beside.sockets) <= WAITING_BYTES
    assert [each.is_full for each in beside.sockets] == [True, False]
    assert ends.server.stats().errors == 0
    server.observe()()
    ends.driver.run_until_idle()
    assert beside.sockets == [], "and it ends at once"


@pytest.mark.row(72)
def test_while_much_goes_on_the_handlers_are_called_as_ever_until_the_next_look(ends: Pair, viewer: Viewer) -> None:
    counted: list[Any] = []
    server: Any = ends.server
    observation = server._observation
    tally = observation._tally
    came = tally.came

    def count(*words: Any) -> None:
        counted.append(words)
        came(*words)

    tally.came = count
    got: list[Any] = []
    ends.server.on("order", got.append)
    for second in range(3):
        for number in range(2 * BUDGET):
            ends.client.emit("order", number)
            if number % 100 == 0:
                ends.driver.run_until_idle()
        ends.driver.run_until_idle()
        assert len(counted) == (second + 1) * BUDGET
        ends.driver.advance(1.01)
        assert viewer.looks[-1]["estimated"] is True
        assert viewer.looks[-1]["events"]["order"]["in"] == (second + 1) * 2 * BUDGET
    assert len(got) == 6 * BUDGET
    ends.driver.advance(1.01)
    assert viewer.looks[-1]["estimated"] is False


@pytest.mark.row(72)
def test_a_viewer_that_speaks_no_protocol_harms_nobody(ends: Pair) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n\f", b"\xff" * 70_000, b'{"type":"observe.emit"}\f', b"\f" * 1000):
        wire = Wire.connected(ends.driver, observed_at(ends.server.address, Config()))
        assert wire.link is not None
        wire.link.write(garbage)
        ends.driver.run_until_idle()
    got: list[Any] = []
    ends.server.on("order", got.append)
    ends.client.emit("order", 1)
    ends.driver.run_until_idle()
    assert got == [1] and ends.server.stats().errors == 0


def test_where_it_lies() -> None:
    config = Config(socket_root="/run/x/")
    assert observed_at(Unix("/run/a", ("/tmp/a",)), config) == Unix("/run/a.observe", ("/tmp/a.observe",))
    handed = Handed((), Unix("/run/a"))
    assert observed_at(handed, config) == observed_at(Several((handed, Tcp("localhost", 8000))), config)
    assert observed_at(handed, config) == Unix("/run/a.observe")
    assert observed_at(Tcp("localhost", 8000), config) == observed_at(Tcp("0.0.0.0", 8000), config)
    assert observed_at(Unix("/run/a", ("/tmp/a",)), config, 3) == Unix("/run/a.observe.3", ("/tmp/a.observe.3",))
    assert observed_at(Pipe("a", ("b",)), config) == Pipe("a.observe", ("b.observe",))
    assert str(observed_at(Tcp("localhost", 8000), config)) == "unix:/run/x/app.tcp-8000.observe"
    assert str(observed_at(Udp("localhost", 8000, "udp4"), config)) == "unix:/run/x/app.udp-8000.observe"


# ---- on real sockets


@pytest.fixture
def root() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as path:
        yield f"{path}/"


async def looked(address: str) -> Any:
    async with node_ipc.connect(address) as viewer:
        return await viewer.receive(LOOK, timeout=25)


async def test_only_its_owner_can_open_it_also_where_all_may_connect(root: str) -> None:
    async with node_ipc.serve("world", socket_root=root, observe=True, readable_all=True, writable_all=True) as server:
        path = Path(f"{root}app.world.observe")
        async with asyncio.timeout(25):
            while not path.exists():
                await asyncio.sleep(0.001)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await looked(f"unix:{path}"))["address"] == str(server.address)
    assert os.listdir(root) == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "udp4://127.0.0.1:0"])
async def test_beside_a_port(root: str, address: str) -> None:
    async with node_ipc.serve(address, socket_root=root) as server:
        server.observe()
        kind = address[:3]
        path = Path(f"{root}app.{kind}-{server.port}.observe")
        async with asyncio.timeout(25):
            while not path.exists():
                await asyncio.sleep(0.001)
        assert (await looked(f"unix:{path}"))["address"] == str(server.address)
    assert os.listdir(root) == []


def test_a_blocking_server_is_seen_while_it_serves(root: str) -> None:
    with blocking.serve("world", socket_root=root, observe=True) as server:
        found: list[Any] = []

        def view() -> None:
            with blocking.connect(f"unix:{root}app.world.observe", wait=True, timeout=25) as viewer:
                found.append(viewer.receive(LOOK, timeout=25))
                viewer.request(EMIT, {"event": "end"}, timeout=25)
            with blocking.connect("world", socket_root=root) as client:
                client.emit("end")

        thread = threading.Thread(target=view)
        thread.start()
        server.on("end", lambda data, socket: server.stop())
        server.serve_forever()
        thread.join()
    assert found[0]["format"] == FORMAT
    assert os.listdir(root) == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_handlers_time_is_its_own_on_every_loop(root: str, loop: str) -> None:
    """uvloop's time stands still while it works, so all took nothing or whole milliseconds."""

    async def main() -> Any:
        async with node_ipc.serve("world", socket_root=root, observe=True) as server:
            server.on("work", lambda: time.sleep(0.0004))
            viewing = node_ipc.connect(f"unix:{root}app.world.observe")
            async with node_ipc.connect("world", socket_root=root) as client, viewing as viewer:
                await viewer.receive(LOOK, timeout=25)
                for _ in range(40):
                    client.emit("work")
                async with asyncio.timeout(25):
                    while True:
                        look = await viewer.receive(LOOK)
                        if look["events"].get("work", {"handled": 0})["handled"] == 40:
                            return look["events"]["work"]

    run = asyncio.run if loop == "asyncio" else pytest.importorskip("uvloop").run
    work = run(main())
    assert 0.0002 < work["p50"] < 0.02 and work["seconds"] >= 40 * 0.0004
