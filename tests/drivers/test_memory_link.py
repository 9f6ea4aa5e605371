"""Links in memory: the seam's rules, and the faults that can be had."""

from __future__ import annotations

from typing import Any

import pytest

from memory_ends import SETTINGS, WORLD, Watcher, WatchingServer, link
from node_ipc.errors import ConnectionLost
from node_ipc.testing import Conditions, MemoryDriver

KIB = 1024


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


# ---- the seam's rules


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
    assert server.heard == ["opened", "ending"]
    server.call("resume_reading")
    assert server.heard == ["opened", "ending"]
    driver.run_until_idle()
    assert server.heard == ["opened", "ending", "received", "ended"]


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
