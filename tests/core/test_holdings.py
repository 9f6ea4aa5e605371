"""What all peers together make the process hold: half messages and messages that handlers are at work on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from node_ipc.core.holdings import SMALL, Holdings, everybody
from node_ipc.core.session import Session
from node_ipc.errors import BackpressureError
from node_ipc.testing import MemoryDriver, Wire, pair, serve

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with MemoryDriver() as driver:
        yield driver


class Somebody:
    """A session as far as the table is concerned."""


def test_a_size_stands_until_the_next_one_and_goes_with_its_session() -> None:
    held = Holdings()
    one, other = Somebody(), Somebody()
    held.hold(one, 100)
    held.hold(other, 300)
    held.hold(one, 200)
    assert held.total == 500
    assert held.holders() == [other, one]
    held.hold(other, 0)
    held.hold(other, 0)
    assert held.total == 200
    del one
    assert held.total == 0


def _ask(wire: Wire, number: int, size: int) -> None:
    wire.write(
        b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":%d,"method":"slow","params":"%s"}}\f'
        % (number, b"x" * size)
    )


@pytest.mark.row(12)
def test_requests_under_way_are_weighed(driver: MemoryDriver) -> None:
    gc.collect()  # what the tests before left in circles
    assert everybody.total == 0
    server = serve(driver, max_request_bytes=MIB)
    running = most = done = 0

    @server.handle("slow")
    async def slow(params: str) -> int:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await driver.sleep(1)
        running -= 1
        done += 1
        return 1

    wire = Wire.connected(driver, server.address)
    for number in range(40):
        _ask(wire, number, 100 * KIB)
        driver.run_until_idle()
    assert most == 11  # the first that passes the limit is let run
    driver.advance(10)
    assert done == 40 and most == 11
    assert everybody.total == 0


@pytest.mark.row(4)
def test_half_messages_of_all_peers_together_are_bounded_and_the_largest_goes(driver: MemoryDriver) -> None:
    server = serve(driver, max_total_received_bytes=3 * MIB)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    wires = [Wire.connected(driver, server.address) for _ in range(4)]
    for wire, size in zip(wires, (800 * KIB, 900 * KIB, 1000 * KIB, 850 * KIB), strict=True):
        wire.write(b'{"type":"a","data":"' + b"x" * size)
        driver.advance(0.1)
    assert [wire.has_ended or wire.is_lost for wire in wires] == [False, False, True, False]
    assert [type(error) for error in errors] == [BackpressureError]
    assert "max_total_received_bytes (3145728)" in str(errors[0])
    assert everybody.total <= 3 * MIB
    for wire in wires:
        wire.abort()
    driver.run_until_idle()
    assert everybody.total == 0


@pytest.mark.row(4)
def test_half_messages_to_a_side_that_is_closing_are_bounded_too(driver: MemoryDriver) -> None:
    server = serve(driver, max_total_received_bytes=MIB, close_timeout=60_000)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    wires = [Wire.connected(driver, server.address) for _ in range(3)]
    for socket in list(server.sockets):
        socket.close()
    driver.run_until_idle()
    held = []
    for wire, size in zip(wires, (400 * KIB, 700 * KIB, 300 * KIB), strict=True):
        wire.write(b'{"type":"a","data":"' + b"x" * size)
        driver.run_until_idle()
        held.append(everybody.total)
    assert 300 * KIB < held[0] <= MIB and 300 * KIB < held[1] <= MIB and 600 * KIB < held[2] <= MIB
    assert [type(error) for error in errors] == [BackpressureError] and "half message of 716820" in str(errors[0])
    driver.advance(61)
    assert everybody.total == 0


@pytest.mark.row(12)
def test_what_handlers_of_all_peers_hold_together_is_bounded_and_small_messages_go_on(driver: MemoryDriver) -> None:
    server = serve(driver, max_handler_bytes=MIB, max_total_received_bytes=2 * MIB)
    running = 0

    @server.on("work")
    async def work(data: Any) -> None:
        nonlocal running
        running += len(data)
        await driver.sleep(1)
        running -= len(data)

    wires = [Wire.connected(driver, server.address) for _ in range(10)]
    for _ in range(10):
        for wire in wires:
            wire.write(b'{"type":"work","data":"' + b"x" * 100 * KIB + b'"}\f')
            driver.run_until_idle()
    assert running <= 2 * MIB + 10 * (100 * KIB + SMALL)
    assert len(server.sockets) == 10, "they wait, and none is cut for the message that it is inside of"
    small = Wire.connected(driver, server.address)
    small.write(b'{"type":"work","data":"%s"}\f' % (b"x" * 1000) * 20)
    before = running
    driver.run_until_idle()
    assert running == before + 20_000
    driver.advance(60)
    assert running == 0 and everybody.total == 0


@pytest.mark.row(16)
def test_a_lost_link_is_freed_at_once_with_its_half_message(driver: MemoryDriver) -> None:
    server = serve(driver)
    gone: list[weakref.ref[Session]] = []
    server.on("connect", lambda socket: gone.append(weakref.ref(socket)))
    wire = Wire.connected(driver, server.address)
    wire.write(b'{"type":"a","data":"' + b"x" * MIB)
    driver.run_until_idle()
    assert everybody.total >= MIB
    gc.disable()
    try:
        wire.abort()
        driver.run_until_idle()
        assert server.sockets == []
        assert everybody.total == 0
        assert gone[0]() is None
    finally:
        gc.enable()


@pytest.mark.row(16)
def test_a_socket_that_is_kept_after_its_end_holds_no_half_message(driver: MemoryDriver) -> None:
    server = serve(driver)
    kept: list[Session] = []
    server.on("connect", kept.append)
    wire = Wire.connected(driver, server.address)
    wire.write(b'{"type":"a","data":"' + b"x" * MIB)
    driver.run_until_idle()
    before = everybody.total
    wire.abort()
    driver.run_until_idle()
    assert not kept[0].is_open and before - everybody.total >= MIB


def test_a_socket_that_is_kept_after_its_end_still_says_who_was_there_and_nothing_else(driver: MemoryDriver) -> None:
    client, _, socket, driver = pair()
    peer = socket.peer
    client.close()
    driver.advance(6)
    assert socket.peer == peer
    assert socket.pending_bytes == 0
    socket.close()
    socket.abort()
    assert not socket.is_open
