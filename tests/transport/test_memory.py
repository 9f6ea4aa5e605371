"""The driver in memory: its clock, its links, its faults and its coroutines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from node_ipc.config import Config
from node_ipc.errors import (
    AddressError,
    AddressInUse,
    ConnectDenied,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    FrameTooLarge,
)
from node_ipc.testing import Conditions, MemoryDriver, NothingHappens, Wire, WireServer
from node_ipc.transport.address import Address, Pipe, Tcp, Tls, Udp, Unix
from node_ipc.transport.driver import FORKED, Peer

KIB = 1024
WORLD = Unix("/memory/app.world")
SETTINGS = Config().settings()


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


def link(driver: MemoryDriver, address: Address = WORLD) -> tuple[Wire, Wire]:
    """Both ends of a new link."""
    server = WireServer(driver, address)
    client = Wire.connected(driver, server.address)
    server.close()
    return client, server.wires[-1]


# ---- the clock


def test_what_is_due_is_done_in_order_and_on_time(driver: MemoryDriver) -> None:
    done: list[Any] = []
    for delay in (2, 1, 1, 0, 3):
        driver.call_later(delay, lambda delay=delay: done.append((delay, driver.now())))  # type: ignore[misc]
    driver.run_until_idle()
    assert done == [(0, 0)]
    driver.advance(2)
    assert done == [(0, 0), (1, 1), (1, 1), (2, 2)]
    assert driver.now() == 2
    driver.advance(0.5)
    assert len(done) == 4
    driver.advance(0.5)
    assert done[-1] == (3, 3)


def test_cancelled_calls_are_forgotten(driver: MemoryDriver) -> None:
    done: list[int] = []
    calls = [driver.call_later(delay, partial(done.append, delay)) for delay in (0, 1, 2)]
    for call in calls[:2]:
        call.cancel()
        call.cancel()
    driver.advance(5)
    assert done == [2]
    calls[2].cancel()


def test_calls_made_during_a_turn_are_for_the_next(driver: MemoryDriver) -> None:
    done: list[str] = []

    class Session:
        def turn_ended(self) -> None:
            done.append("end of turn")

    def first() -> None:
        done.append("first")
        driver.call_later(0, lambda: done.append("later"))
        driver.turn_ends(Session())

    driver.call_later(0, first)
    driver.call_later(0, lambda: done.append("second"))
    driver.run_until_idle()
    assert done == ["first", "second", "end of turn", "later"]


def test_run_until_stops_when_it_holds(driver: MemoryDriver) -> None:
    done: list[int] = []
    for delay in range(1, 6):
        driver.call_later(delay, partial(done.append, delay))
    driver.run_until(lambda: len(done) == 3)
    assert driver.now() == 3
    outcome = driver.outcome("value")
    driver.call_later(1.5, outcome.settle)
    driver.run_until(outcome)
    assert driver.now() == 4.5


def test_run_until_gives_up(driver: MemoryDriver) -> None:
    with pytest.raises(NothingHappens, match="nothing more is due"):
        driver.run_until(lambda: False)
    driver.call_later(100, lambda: None)
    with pytest.raises(NothingHappens, match="60 virtual seconds are over"):
        driver.run_until(lambda: False)
    driver.run_until(lambda: driver.now() >= 100, limit=100)


def test_turns_without_end_are_noticed(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_ipc.transport.memory.TURNS", 1000)

    def again() -> None:
        driver.call_later(0, again)

    again()
    with pytest.raises(NothingHappens, match="still something to do"):
        driver.run_until_idle()
    with pytest.raises(NothingHappens, match="without what was waited for"):
        driver.run_until(lambda: False)


def test_an_error_in_a_call_passes_and_the_rest_goes_on(driver: MemoryDriver) -> None:
    done: list[int] = []

    def fail() -> None:
        raise KeyboardInterrupt

    driver.call_later(0, fail)
    driver.call_later(0, lambda: done.append(1))
    with pytest.raises(KeyboardInterrupt):
        driver.run_until_idle()
    driver.run_until_idle()
    assert done == [1]


def test_chance_comes_from_the_seed() -> None:
    draws = [
        [driver.random() for _ in range(5)] for driver in (MemoryDriver(), MemoryDriver(seed=0), MemoryDriver(seed=1))
    ]
    assert draws[0] == draws[1] != draws[2]
    assert all(0 <= draw < 1 for draw in draws[0])


def test_closing_forgets_everything() -> None:
    done: list[int] = []
    with MemoryDriver() as driver:
        driver.call_later(0, lambda: done.append(1))
        driver.call_later(1, lambda: done.append(1))
        driver.spawn(driver.sleep(5), lambda error: done.append(1))
        driver.run_until(lambda: done)
        driver.spawn(driver.sleep(5), lambda error: done.append(1))  # not begun
    done.clear()
    driver.advance(100)
    assert done == []
    assert "100 s" in repr(driver)


# ---- coroutines


def test_coroutines_wait_on_the_virtual_clock(driver: MemoryDriver) -> None:
    async def main() -> tuple[str, float]:
        await driver.sleep(1.5)
        outcome = driver.outcome("value")
        driver.call_later(1, outcome.settle)
        assert await outcome == "value"
        return await outcome, driver.now()

    assert driver.run(main()) == ("value", 2.5)


def test_errors_of_coroutines_and_outcomes_are_raised(driver: MemoryDriver) -> None:
    async def main() -> None:
        outcome = driver.outcome(None)
        driver.call_later(1, partial(outcome.settle, ValueError("no")))
        await outcome

    with pytest.raises(ValueError, match="no"):
        driver.run(main())


def test_a_coroutine_that_never_ends(driver: MemoryDriver) -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            await driver.outcome(None)
        finally:
            ended.append(driver.now())

    with pytest.raises(NothingHappens):
        driver.run(main())
    assert ended == [0]


@pytest.mark.parametrize("error", [None, ValueError("no"), GeneratorExit()])
def test_spawned_coroutines_tell_how_they_ended_in_a_later_turn(
    driver: MemoryDriver, error: BaseException | None
) -> None:
    told: list[Any] = []

    async def main() -> None:
        if error is not None:
            raise error

    driver.spawn(main(), told.append)
    assert told == []
    driver.run_until_idle()
    assert told == [error]


def test_what_ends_the_program_passes_through_coroutines(driver: MemoryDriver) -> None:
    told: list[Any] = []

    async def main() -> None:
        raise SystemExit(3)

    driver.spawn(main(), told.append)
    with pytest.raises(SystemExit):
        driver.run_until_idle()
    driver.run_until_idle()
    assert [type(error) for error in told] == [SystemExit]


def test_a_bare_turn_and_what_cannot_be_awaited(driver: MemoryDriver) -> None:
    class Bare:
        def __init__(self, given: Any) -> None:
            self.given = given

        def __await__(self) -> Any:
            return (yield self.given)

    async def main() -> str:
        await Bare(None)
        try:
            await Bare("a future of another loop")
        except TypeError as error:
            return str(error)
        return "nothing"

    assert "can await driver.sleep() and outcomes, not 'a future" in driver.run(main())


def test_cancelling_a_coroutine(driver: MemoryDriver) -> None:
    told: list[Any] = []
    steps: list[str] = []
    waited = driver.outcome(None)
    waited.abandon = lambda: steps.append("abandoned")

    async def main() -> None:
        try:
            await waited
        finally:
            steps.append("finally")
            await driver.sleep(1)
            steps.append("end")

    task = driver.spawn(main(), told.append)
    driver.run_until_idle()
    task.cancel()
    waited.settle()  # too late: the cancelling came first
    driver.advance(2)
    assert steps == ["abandoned", "finally", "end"]
    assert told == [None]
    task.cancel()
    driver.run_until_idle()


def test_cancelling_a_coroutine_that_waits_for_an_outcome_of_nobody(driver: MemoryDriver) -> None:
    told: list[Any] = []

    async def main() -> None:
        await driver.outcome(None)

    driver.spawn(main(), told.append).cancel()
    driver.run_until_idle()
    task = driver.spawn(main(), told.append)
    driver.run_until_idle()
    task.cancel()
    driver.run_until_idle()
    assert told == [None, None]


# ---- the seam's rules


class Watcher:
    """A receiver that notices when it is called inside a call of its own."""

    def __init__(self) -> None:
        self.link: Any = None
        self.heard: list[str] = []
        self.inside = False
        self.data = b""

    def call(self, verb: str, *arguments: Any) -> None:
        self.inside = True
        getattr(self.link, verb)(*arguments)
        self.inside = False

    def _note(self, name: str) -> None:
        assert not self.inside or name == "pause", f"{name} came inside a call"
        self.heard.append(name)

    def opened(self, link: Any) -> None:
        self.link = link
        self._note("opened")

    def failed(self, error: Exception) -> None:
        self._note("failed")

    def received(self, data: bytes) -> None:
        assert 0 < len(data) <= 64 * KIB
        self.data += data
        self._note("received")

    def ended(self) -> None:
        self._note("ended")

    def pause(self) -> None:
        assert self.inside
        self._note("pause")

    def writable(self) -> None:
        self._note("writable")

    def lost(self, error: Exception | None) -> None:
        self._note("lost" if error is None else f"lost {type(error).__name__}")


class WatchingServer:
    def __init__(self, driver: MemoryDriver, address: Address = WORLD) -> None:
        self.ends: list[Watcher] = []
        self.peers: list[Peer] = []
        self.accepts = True
        self.told: list[Any] = []
        self.listener = driver.listen(address, self, SETTINGS)

    def listening(self, address: Address) -> None:
        self.told.append(address)

    def not_listening(self, error: Exception) -> None:
        self.told.append(error)

    def accept(self, peer: Peer) -> Watcher | None:
        self.peers.append(peer)
        if not self.accepts:
            return None
        self.ends.append(Watcher())
        return self.ends[-1]


def watched(driver: MemoryDriver) -> tuple[Watcher, Watcher]:
    server = WatchingServer(driver)
    driver.run_until_idle()
    client = Watcher()
    driver.open(WORLD, client, SETTINGS)
    assert client.heard == []
    driver.run_until_idle()
    assert client.heard == server.ends[0].heard == ["opened"]
    return client, server.ends[0]


def test_bytes_go_both_ways(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    client.call("write", b"hello")
    client.call("write", b" world")
    server.call("write", b"hi")
    assert server.data == b""
    driver.run_until_idle()
    assert (server.data, client.data) == (b"hello world", b"hi")
    assert server.heard == ["opened", "received"]  # one read takes what is there


def test_reads_are_at_most_64_kib(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    client.call("write", b"x" * (150 * KIB))
    driver.run_until_idle()
    assert server.heard == ["opened", "received", "received", "received"]
    assert len(server.data) == 150 * KIB


def test_both_ends_close_in_order(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    client.call("write", b"last")
    client.call("close")
    client.call("close")
    client.call("write", b"too late")
    driver.run_until_idle()
    assert server.heard == ["opened", "received", "ended"]
    assert client.heard == ["opened"]
    server.call("write", b"bye")
    server.call("close")
    driver.run_until_idle()
    assert server.data == b"last"
    assert server.heard[-1] == "lost"
    assert client.heard == ["opened", "received", "ended"]  # a session closes here
    client.call("close")
    driver.run_until_idle()
    assert client.heard[-1] == "lost"
    assert driver.connections == []
    for end in (client, server):
        for verb in ("close", "abort"):
            end.call(verb)
        end.call("write", b"x")
    driver.run_until_idle()
    assert client.heard.count("lost") == server.heard.count("lost") == 1


def test_aborting_drops_what_is_unsent(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    server.call("pause_reading")
    client.call("write", b"x" * (300 * KIB))
    assert client.heard[-1] == "pause"
    client.call("abort")
    assert client.link.pending_bytes() == 0
    driver.run_until_idle()
    assert client.heard[-1] == "lost"
    server.call("resume_reading")
    driver.run_until_idle()
    assert len(server.data) == 200 * KIB
    assert server.heard[-1] == "ended"


def test_aborting_with_bytes_unread_resets_the_peer(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    server.call("pause_reading")
    client.call("write", b"unread")
    driver.run_until_idle()
    server.call("abort")
    driver.run_until_idle()
    assert server.heard == ["opened", "lost"]
    assert client.heard == ["opened", "lost ConnectionLost"]


def test_writing_to_a_peer_that_is_gone(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    server.call("abort")
    client.call("write", b"too late")
    driver.run_until_idle()
    assert client.heard == ["opened", "ended", "lost ConnectionLost"]


def test_the_kernel_takes_so_much(driver: MemoryDriver) -> None:
    driver.conditions.buffer = 1000
    client, server = watched(driver)
    server.call("pause_reading")
    client.call("write", b"a" * 1000)
    assert client.heard == ["opened"]
    client.call("write", b"b" * 500)
    assert client.heard == ["opened", "pause"]
    client.call("write", b"c" * 100)
    assert client.heard == ["opened", "pause"]
    assert client.link.pending_bytes() == 600
    driver.run_until_idle()
    assert server.data == b""
    server.call("resume_reading")
    driver.run_until_idle()
    assert server.data == b"a" * 1000 + b"b" * 500 + b"c" * 100
    assert client.heard == ["opened", "pause", "writable"]
    assert client.link.pending_bytes() == 0


def test_a_kernel_that_takes_little_at_a_time(driver: MemoryDriver) -> None:
    driver.conditions.buffer = 10
    client, server = watched(driver)
    client.call("write", bytes(range(100)))
    driver.run_until_idle()
    assert server.data == bytes(range(100))
    assert client.heard == ["opened", "pause", "writable"]


@pytest.mark.parametrize("ends_first", [False, True])
def test_closing_waits_until_the_kernel_has_everything(driver: MemoryDriver, ends_first: bool) -> None:
    driver.conditions.buffer = 10
    client, server = watched(driver)
    if ends_first:
        server.call("close")
        driver.run_until_idle()
        assert client.heard == ["opened", "ended"]
    server.call("pause_reading")
    client.call("write", b"x" * 100)
    client.call("close")
    driver.run_until_idle()
    assert client.heard[-1] == "pause"
    server.call("resume_reading")
    driver.run_until_idle()
    assert len(server.data) == 100
    assert server.heard[-1] == "ended"
    assert client.heard[-1] == ("lost" if ends_first else "writable")


def test_the_end_waits_for_a_reader_that_paused(driver: MemoryDriver) -> None:
    client, server = watched(driver)
    server.call("pause_reading")
    client.call("write", b"x")
    client.call("close")
    driver.run_until_idle()
    assert server.heard == ["opened"]
    server.call("resume_reading")
    assert server.heard == ["opened"]
    driver.run_until_idle()
    assert server.heard == ["opened", "received", "ended"]


# ---- faults


def test_latency(driver: MemoryDriver) -> None:
    driver.conditions.latency = 0.5
    server = WatchingServer(driver)
    client = Watcher()
    driver.open(WORLD, client, SETTINGS)
    driver.advance(0.4)
    assert client.heard == []
    driver.advance(0.1)
    assert client.heard == ["opened"]
    client.call("write", b"a")
    driver.advance(0.25)
    driver.connections[0].change(latency=0.0)
    client.call("write", b"b")  # does not overtake
    client.call("abort")
    driver.advance(0.2)
    assert server.ends[0].data == b""
    driver.advance(0.05)
    assert server.ends[0].data == b"ab"
    assert server.ends[0].heard[-1] == "ended"


def test_latency_of_chance_keeps_the_order() -> None:
    driver = MemoryDriver(seed=7)
    client, server = watched(driver)
    driver.conditions = Conditions(latency=driver.random, split=3)
    data = bytes(range(256))
    client.call("write", data[:100])
    driver.advance(0.3)
    client.call("write", data[100:])
    driver.advance(2)
    assert server.data == data


@pytest.mark.parametrize(
    ("split", "sizes"),
    [(4, [4, 4, 2]), ([1, 2], [1, 2, 1, 2, 1, 2, 1]), (lambda: 6, [6, 4]), (0, [1] * 10), (100, [10])],
)
def test_splitting(driver: MemoryDriver, split: Any, sizes: list[int]) -> None:
    client, server = link(driver)
    reads: list[int] = []
    received = server.received

    def note(data: bytes) -> None:
        reads.append(len(data))
        received(data)

    server.received = note  # type: ignore[method-assign]
    driver.conditions.split = split
    client.write(b"0123456789")
    driver.run_until_idle()
    assert reads == sizes
    assert server.take() == b"0123456789"
    assert server.take() == b""


def test_stalling_one_direction_all_of_a_link_or_all_links(driver: MemoryDriver) -> None:
    client, server = link(driver)
    other, other_server = link(driver)
    connection = driver.connections[0]
    connection.to_server.stall()
    client.write(b"a")
    server.write(b"b")
    driver.advance(10)
    assert (server.bytes, client.bytes) == (b"", b"b")
    connection.to_server.resume()
    driver.run_until_idle()
    assert server.bytes == b"a"
    driver.stall()
    for wire in (client, server, other, other_server):
        wire.write(b"x" * (300 * KIB))
        assert wire.is_full
    driver.advance(10)
    assert (len(server.bytes), len(other.bytes)) == (1, 0)
    driver.resume()
    driver.run_until_idle()
    assert {len(wire.bytes) for wire in (client, server, other, other_server)} == {300 * KIB, 300 * KIB + 1}
    assert not any(wire.is_full for wire in (client, server, other, other_server))


def test_dropping_tells_both_ends(driver: MemoryDriver) -> None:
    client, server = link(driver)
    client.write(b"on its way")
    driver.connections[0].drop()
    assert not client.is_lost
    driver.run_until_idle()
    for wire in (client, server):
        assert wire.is_lost
        assert isinstance(wire.error, ConnectionLost)
        assert isinstance(wire.error.__cause__, ConnectionResetError)
        assert wire.bytes == b""
    assert driver.connections == []
    client, server = link(driver)
    driver.drop(TimeoutError("unplugged"))
    driver.run_until_idle()
    assert isinstance(server.error, ConnectionLost)
    assert "unplugged" in str(server.error)


def test_cutting_tells_nobody(driver: MemoryDriver) -> None:
    driver.conditions.latency = 0.1
    client, server = link(driver)
    driver.advance(1)
    client.write(b"on its way")
    driver.cut()
    client.write(b"x" * (200 * KIB))
    assert client.is_full
    driver.advance(100)
    assert server.bytes == b""
    client.abort()
    driver.advance(100)
    assert client.is_lost
    assert not server.is_lost
    server.abort()
    driver.advance(1)
    assert driver.connections == []


def test_ending_one_direction(driver: MemoryDriver) -> None:
    client, server = link(driver)
    driver.connections[0].to_client.end()
    driver.connections[0].to_client.end()
    driver.run_until_idle()
    assert client.has_ended
    assert not server.has_ended
    client.write(b"still")
    server.close()
    driver.run_until_idle()
    assert server.bytes == b"still"
    assert "unread" in repr(driver.connections[0].to_client)
    assert "unix:" in repr(driver.connections[0])
    assert "memory" in repr(driver.connections[0].client)


def test_conditions_of_one_link(driver: MemoryDriver) -> None:
    first, first_server = link(driver)
    second, second_server = link(driver)
    driver.connections[0].conditions = Conditions(latency=1)
    driver.connections[1].change(latency=2)
    first.write(b"a")
    second.write(b"a")
    driver.advance(1)
    assert (first_server.bytes, second_server.bytes) == (b"a", b"")
    driver.advance(1)
    assert second_server.bytes == b"a"
    assert driver.conditions.latency == 0


# ---- connecting


def test_nobody_listens(driver: MemoryDriver) -> None:
    wire = Wire.connected(driver, WORLD)
    assert isinstance(wire.error, ConnectError)
    assert isinstance(wire.error.__cause__, ConnectionRefusedError)
    with pytest.raises(ConnectionError, match="not open"):
        wire.write(b"a")


def test_attempts_can_be_made_to_fail(driver: MemoryDriver) -> None:
    server = WireServer(driver)
    driver.refusal = PermissionError(13, "Permission denied")
    assert isinstance(Wire.connected(driver, server.address).error, ConnectDenied)
    driver.refusal = ConnectError("mine")
    assert Wire.connected(driver, server.address).error is driver.refusal
    driver.refusal = None
    assert Wire.connected(driver, server.address).error is None


@pytest.mark.parametrize(
    ("address", "connect_timeout", "seconds"),
    [(WORLD, None, 2), (Tcp("localhost", 80), None, 5), (Pipe("a"), None, 2), (WORLD, 700, 0.7)],
)
def test_attempts_without_an_answer(
    driver: MemoryDriver, address: Address, connect_timeout: int | None, seconds: float
) -> None:
    driver.conditions.latency = 1000
    wire = Wire.connected(driver, address, Config(connect_timeout=connect_timeout).settings())
    assert isinstance(wire.error, ConnectTimeout)
    assert driver.now() == seconds


def test_a_server_that_refuses(driver: MemoryDriver) -> None:
    server = WatchingServer(driver)
    server.accepts = False
    client = Watcher()
    driver.open(WORLD, client, SETTINGS)
    driver.run_until_idle()
    assert client.heard == ["opened", "ended"]
    client.call("close")
    driver.run_until_idle()
    assert client.heard[-1] == "lost"
    assert driver.connections == []


@pytest.mark.parametrize("break_it", ["drop", "close"])
def test_breaking_between_connecting_and_accepting(driver: MemoryDriver, break_it: str) -> None:
    server = WatchingServer(driver)
    driver.run_until_idle()
    client = Watcher()
    driver.open(WORLD, client, SETTINGS)
    driver._run_turn()
    assert client.heard == ["opened"]
    if break_it == "drop":
        driver.drop()
    else:
        server.listener.close()
    driver.run_until_idle()
    assert server.ends == []
    assert client.heard == (["opened", "lost ConnectionLost"] if break_it == "drop" else ["opened", "ended"])


def test_breaking_between_accepting_and_opening(driver: MemoryDriver) -> None:
    server = WatchingServer(driver)
    driver.run_until_idle()
    driver.open(WORLD, Watcher(), SETTINGS)
    driver.run_until(lambda: server.ends)
    driver.drop()
    driver.run_until_idle()
    assert server.ends[0].heard == ["opened", "lost ConnectionLost"]


def test_listening_twice_and_after_closing(driver: MemoryDriver) -> None:
    first, second = WatchingServer(driver), WatchingServer(driver)
    assert first.told == second.told == []
    driver.run_until_idle()
    assert first.told == [WORLD]
    assert isinstance(second.told[0], AddressInUse)
    second.listener.close()
    assert Wire.connected(driver, WORLD).error is None
    first.listener.close()
    first.listener.close()
    assert Wire.connected(driver, WORLD).error is not None
    third = WatchingServer(driver)
    third.listener.close()
    fourth = WatchingServer(driver)
    driver.run_until_idle()
    assert (third.told, fourth.told) == ([], [WORLD])


def test_free_ports(driver: MemoryDriver) -> None:
    first, second = (WatchingServer(driver, Tcp("localhost", 0)) for _ in range(2))
    driver.run_until_idle()
    ports = {first.told[0].port, second.told[0].port}
    assert len(ports) == 2
    assert 0 not in ports
    assert Wire.connected(driver, first.told[0]).error is None


def test_further_places_are_tried(driver: MemoryDriver) -> None:
    for address, also in (
        (Unix("/a"), Unix("/b", ("/c", "/a"))),
        (Pipe("a"), Pipe("b", ("a",))),
        (Tls("localhost", 443), Tls("localhost", 443)),
    ):
        WatchingServer(driver, address)
        driver.run_until_idle()
        assert Wire.connected(driver, also).error is None


def test_peers_are_who_the_driver_says(driver: MemoryDriver) -> None:
    local, network = WatchingServer(driver), WatchingServer(driver, Tcp("localhost", 8000))
    driver.run_until_idle()
    driver.identity = Peer("memory", pid=7, uid=1001)
    wire = Wire.connected(driver, WORLD)
    assert wire.link is not None
    assert wire.link.peer == driver.server_identity
    assert local.peers == [Peer("memory", pid=7, uid=1001)]
    wire = Wire.connected(driver, Tcp("localhost", 8000))
    assert wire.link is not None
    assert wire.link.peer == Peer("memory", host="127.0.0.1", port=8000)
    driver.identity = Peer("memory", host="192.0.2.1")
    Wire.connected(driver, Tcp("localhost", 8000))
    assert [peer.host for peer in network.peers] == ["127.0.0.1", "192.0.2.1"]
    assert len({peer.port for peer in network.peers}) == 2


def test_datagrams_have_no_connections(driver: MemoryDriver) -> None:
    server = WatchingServer(driver, Udp("127.0.0.1", 5, "udp4"))
    driver.run_until_idle()
    assert isinstance(server.told[0], AddressError)
    assert isinstance(Wire.connected(driver, Udp("127.0.0.1", 5, "udp4")).error, AddressError)


def test_there_is_no_tls_to_reload(driver: MemoryDriver) -> None:
    with pytest.raises(AddressError, match="no TLS"):
        WatchingServer(driver).listener.reload_tls(None)


# ---- datagrams


class Port:
    def __init__(self, driver: MemoryDriver, address: Address) -> None:
        self.heard: list[Any] = []
        self.port = driver.bind(address, self, SETTINGS)
        driver.run_until_idle()

    def bound(self, address: Address) -> None:
        self.heard.append(address)

    def not_bound(self, error: Exception) -> None:
        self.heard.append(error)

    def datagram(self, data: bytes, host: str, port: int) -> None:
        self.heard.append((data, host, port))

    def datagram_error(self, error: Exception) -> None:
        self.heard.append(error)

    def take(self) -> Any:
        return self.heard.pop(0)


@pytest.mark.parametrize(
    ("family", "hosts", "numeric"),
    [("udp4", ("localhost", "127.0.0.1", "0.0.0.0"), "127.0.0.1"), ("udp6", ("localhost", "::1", "::"), "::1")],
)
def test_datagrams(driver: MemoryDriver, family: Any, hosts: tuple[str, ...], numeric: str) -> None:
    driver.conditions.latency = 0.25
    one = Port(driver, Udp(hosts[0], 0, family))
    where = one.take()
    assert where.port != 0
    for host in hosts:
        other = Port(driver, Udp(host, 7000, family))
        assert other.take() == Udp(host, 7000, family)
        other.port.send(b"hello", hosts[1], where.port)
        driver.advance(0.125)
        assert one.heard == []
        driver.advance(0.125)
        assert one.take() == (b"hello", numeric, 7000)
        assert other.port.pending_bytes() == 0
        assert isinstance(Port(driver, Udp(host, 7000, family)).take(), AddressInUse)
        other.port.close()
        other.port.close()


def test_datagrams_are_lost(driver: MemoryDriver) -> None:
    one, two = (Port(driver, Udp("127.0.0.1", port, "udp4")) for port in (1, 2))
    driver.loses = lambda data: data == b"lost"
    for data in (b"lost", b"kept", b""):
        one.port.send(data, "127.0.0.1", 2)
    one.port.send(b"nobody", "127.0.0.1", 3)
    driver.run_until_idle()
    assert two.heard[1:] == [(b"kept", "127.0.0.1", 1), (b"", "127.0.0.1", 1)]
    one.port.send(b"x" * 65_508, "127.0.0.1", 2)
    driver.run_until_idle()
    assert isinstance(one.heard[-1], FrameTooLarge)
    two.port.close()
    two.port.send(b"closed", "127.0.0.1", 1)
    one.port.send(b"x" * 65_507, "127.0.0.1", 2)
    driver.run_until_idle()
    assert len(two.heard) == 3


def test_ports_that_cannot_be_bound(driver: MemoryDriver) -> None:
    assert isinstance(Port(driver, WORLD).take(), AddressError)

    class Closing(Port):
        def __init__(self) -> None:
            self.heard = []
            self.port = driver.bind(Udp("127.0.0.1", 1, "udp4"), self, SETTINGS)
            self.port.close()
            driver.run_until_idle()

    assert Closing().heard == []


# ---- threads and forks


def test_threads_and_forks_are_played(driver: MemoryDriver) -> None:
    assert driver.home == driver.thread() == threading.get_ident()
    with driver.other_thread():
        assert driver.thread() != driver.home
        with driver.other_thread():
            assert driver.thread() != driver.home
        assert driver.thread() != driver.home
    assert driver.home == driver.thread()
    with driver.forked_child():
        assert driver.home == FORKED
    assert driver.home == driver.thread()


def test_calls_from_threads_keep_their_order(driver: MemoryDriver) -> None:
    done: list[int] = []

    def work(call: Callable[[Callable[[], None]], None]) -> None:
        for number in range(100):
            call(partial(done.append, number))

    thread = threading.Thread(target=work, args=(driver.call_from_thread,))
    thread.start()
    thread.join()
    assert done == []
    driver.run_until_idle()
    assert done == list(range(100))


# ---- determinism


@pytest.mark.row(48)
def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[tuple[float, bytes]]:
        driver = MemoryDriver(seed=seed)
        heard: list[tuple[float, bytes]] = []
        client, server = link(driver)
        server.received = lambda data: heard.append((driver.now(), data))  # type: ignore[method-assign]
        driver.conditions = Conditions(latency=driver.random, split=lambda: int(driver.random() * 9))
        for _ in range(20):
            client.write(bytes(range(int(driver.random() * 50))))
            driver.advance(driver.random())
        driver.advance(5)
        return heard

    assert run(1) == run(1)
    assert run(1) != run(2)
