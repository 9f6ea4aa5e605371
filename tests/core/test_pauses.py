"""A link that is not read is neither deaf nor silent: its end is heard, its pause told, its peer answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import node_ipc
from node_ipc.core.incoming import PEEKED_BYTES
from node_ipc.core.session import Loss, Session
from node_ipc.testing import MemoryDriver, Wire, connect, pair, serve

PING, PONG = b'{"type":"ipc.ping","data":{}}\f', b'{"type":"ipc.pong","data":{}}\f'


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with MemoryDriver() as driver:
        yield driver


def frame(type: str, data: int = 1) -> bytes:
    return b'{"type":"%s","data":%d}\f' % (type.encode(), data)


def busy(driver: MemoryDriver, **options: Any) -> tuple[Any, Wire, list[int]]:
    """A server whose handler of ``subscribe`` never ends, a peer that made it pause reading, and what it heard."""
    server = serve(driver, max_handler_frames=2, **options)
    heard: list[int] = []

    @server.on("subscribe")
    async def subscribe(data: int, socket: Session) -> None:
        heard.append(data)
        await driver.sleep(3600)

    wire = Wire.connected(driver, server.address)
    wire.write(frame("subscribe", 0) + frame("subscribe", 1) + frame("subscribe", 2))
    driver.run_until_idle()
    assert server.sockets[0].is_reading_paused and heard == [0, 1]
    return server, wire, heard


# ---- the end


@pytest.mark.row(54)
@pytest.mark.parametrize("end", [Wire.close, Wire.abort], ids=["close", "abort"])
def test_the_end_is_heard_behind_handlers_that_never_end_and_all_that_came_before_it(
    driver: MemoryDriver, end: Callable[[Wire], None]
) -> None:
    server, wire, heard = busy(driver)
    lost: list[Loss] = []
    server.on("socket.disconnected", lambda socket: lost.append(socket.loss))
    wire.write(b"".join(frame("subscribe", number) for number in range(3, 2000)))
    driver.run_until_idle()
    end(wire)
    driver.advance(2)
    assert heard == list(range(2000))
    assert len(lost) == 1 and server.sockets == []


@pytest.mark.row(54)
@pytest.mark.parametrize("seconds", [0, 1.5, 100])
@pytest.mark.parametrize("end", [Wire.close, Wire.abort], ids=["close", "abort"])
def test_the_end_is_heard_however_long_nothing_was_read_and_came(
    driver: MemoryDriver, seconds: float, end: Callable[[Wire], None]
) -> None:
    server, wire, heard = busy(driver)
    driver.advance(seconds)
    end(wire)
    driver.advance(2)
    assert server.sockets == []
    assert heard == [0, 1, 2]


@pytest.mark.row(54)
@pytest.mark.parametrize("seconds", [0, 1.5])
def test_what_had_arrived_before_a_link_broke_is_delivered_and_can_be_answered_no_more(
    driver: MemoryDriver, seconds: float
) -> None:
    server, _, heard = busy(driver)
    is_open: list[bool] = []
    server.on("subscribe", lambda data, socket: is_open.append(socket.is_open))
    driver.advance(seconds)
    driver.connections[0].drop()
    driver.advance(2)
    assert server.sockets == [] and heard == [0, 1, 2]
    assert is_open == [False]


@pytest.mark.row(54)
def test_a_dropped_link_is_heard_while_reading_is_paused(driver: MemoryDriver) -> None:
    server, _, _ = busy(driver)
    driver.connections[0].drop()
    driver.advance(2)
    assert server.sockets == []


@pytest.mark.row(54)
def test_the_client_whose_inbox_is_full_hears_of_the_end_and_connects_anew(driver: MemoryDriver) -> None:
    from node_ipc.core.inbox import Inbox

    server = serve(driver)
    client = connect(driver, server.address, max_unread_events=10)
    inbox = Inbox(client)
    assert inbox.take("row") is None
    disconnects: list[Loss] = []
    client.on("disconnect", disconnects.append)
    for number in range(5000):
        server.sockets[0].emit("row", number)
    driver.run_until_idle()
    assert client.stats().paused == {"inbox": 1}
    server.sockets[0].abort()
    driver.advance(2)
    assert len(disconnects) == 1
    assert client.stats().links == 2
    came = [found.data for found in iter(lambda: inbox.take("row"), None)]
    assert came == list(range(len(came))) and inbox.missed == 0


@pytest.mark.row(54)
def test_a_peer_that_does_not_read_and_goes_is_noticed(driver: MemoryDriver) -> None:
    server = serve(driver, soft_pending_bytes=1000)
    wire = Wire.connected(driver, server.address)
    (socket,) = server.sockets
    driver.connections[0].to_client.stall()
    while not socket.is_reading_paused:
        socket.emit("much", "x" * 1000)
    assert server.stats().paused == {"outgoing": 1}
    wire.abort()
    driver.advance(2)
    assert server.sockets == []


def test_a_link_that_is_cut_in_the_middle_of_a_message_and_of_a_pause_leaves_no_timer(driver: MemoryDriver) -> None:
    server = serve(driver, soft_pending_bytes=1000)
    wire = Wire.connected(driver, server.address)
    (socket,) = server.sockets
    wire.write(b'{"type":"half')
    driver.run_until_idle()
    driver.connections[0].to_client.stall()
    while not socket.is_reading_paused:
        socket.emit("much", "x" * 1000)
    assert [timer for timer in driver._timers if not timer.cancelled]
    wire.abort()
    driver.run_until_idle()
    assert [timer for timer in driver._timers if not timer.cancelled] == []


def test_handlers_may_still_answer_a_peer_that_ended_while_they_held_it_up(driver: MemoryDriver) -> None:
    server = serve(driver, max_handler_frames=1)

    @server.on("ask")
    async def ask(data: int, socket: Session) -> None:
        await driver.sleep(0.5)
        socket.emit("answer", data)

    wire = Wire.connected(driver, server.address)
    wire.write(frame("ask", 1) + frame("ask", 2))
    wire.close()
    driver.advance(0.6)
    assert wire.bytes == frame("answer", 1) + frame("answer", 2)
    assert server.sockets == []


@pytest.mark.row(52)
def test_messages_that_waited_for_handlers_are_counted_when_the_link_is_closed(driver: MemoryDriver) -> None:
    server = serve(driver, max_handler_frames=1)

    @server.on("ask")
    async def ask(data: int, socket: Session) -> None:
        await driver.sleep(0.5)

    wire = Wire.connected(driver, server.address)
    wire.write(b"".join(frame("ask", number) for number in range(5)))
    driver.run_until_idle()
    (socket,) = server.sockets
    socket.abort()
    driver.advance(2)
    assert isinstance(socket, Session) and socket.loss is not None
    assert socket.loss.unheard == 4


@pytest.mark.row(52)
def test_why_nothing_is_read_is_in_the_log_with_the_numbers_and_options(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    from node_ipc.core.inbox import Inbox

    server = serve(driver, soft_pending_bytes=1000, max_handler_frames=1)

    @server.on("ask")
    async def ask(data: int, socket: Session) -> None:
        await driver.sleep(1000)

    client = connect(driver, server.address, max_unread_events=10)
    assert Inbox(client).take("row") is None
    for number in range(5000):
        server.sockets[0].emit("row", number)
    driver.run_until_idle()
    asking = Wire.connected(driver, server.address)
    asking.write(frame("ask", 1) + frame("ask", 2))
    driver.run_until_idle()
    Wire.connected(driver, server.address)
    deaf = server.sockets[-1]
    driver.connections[-1].to_client.stall()
    while not deaf.is_reading_paused:
        deaf.emit("much", "x" * 1000)
    waiting = deaf.pending_bytes
    driver.advance(120)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert f"it does not read: {waiting} bytes wait for it, above soft_pending_bytes (1000)" in said
    assert "its async handlers are at work on 1 messages" in said and "raise max_handler_frames (1)" in said
    assert "nobody has taken any for a while" in said and "raise max_unread_events (10)" in said


def test_two_sides_that_may_wait_for_each_other_are_told_before_one_is_cut(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    from node_ipc.core.inbox import Inbox

    server = serve(driver, soft_pending_bytes=1000)
    client = connect(driver, server.address, max_unread_events=10, soft_pending_bytes=1000)
    assert Inbox(client).take("row") is None
    for number in range(5000):
        server.sockets[0].emit("row", number)
    driver.run_until_idle()
    driver.connections[0].to_server.stall()
    while client.emit("order", "x" * 1000):
        pass
    driver.advance(4.9)
    assert "wait to be received" not in caplog.text
    driver.advance(0.2)
    assert f"nobody takes any, and {client.pending_bytes} bytes wait for the peer" in caplog.text
    assert "receive in another task than awaits drain(), or raise max_unread_events (10)" in caplog.text


# ---- who hears of the end


@pytest.mark.row(54)
def test_a_handler_that_asked_for_it_is_cancelled_with_its_link_and_others_are_not(driver: MemoryDriver) -> None:
    server = serve(driver)
    ended: list[str] = []

    async def subscribe(data: Any, socket: Session) -> None:
        try:
            await driver.sleep(10)
            ended.append("ran to its end")
        finally:
            ended.append("over")

    server.on("asked", node_ipc.while_connected(subscribe))

    @server.on("plain")
    async def plain(data: Any) -> None:
        await driver.sleep(5)
        ended.append("plain")

    wire = Wire.connected(driver, server.address)
    wire.write(frame("asked") + frame("plain"))
    driver.run_until_idle()
    (socket,) = server.sockets
    wire.abort()
    driver.advance(1.5)
    assert ended == ["over"]
    driver.advance(20)
    assert ended == ["over", "plain"]
    assert not socket._tasks


def test_a_handler_that_ends_before_its_link_is_forgotten(driver: MemoryDriver) -> None:
    ends = pair(driver=driver)

    @ends.server.on("work")
    @node_ipc.while_connected
    async def work(data: Any) -> None:
        await driver.sleep(1)

    for _ in range(100):
        ends.client.emit("work")
    driver.run_until_idle()
    assert len(ends.socket._tasks or ()) == 100
    driver.advance(2)
    assert ends.socket._tasks == set()


# ---- a pause is told


@pytest.mark.row(55)
def test_a_pause_that_lasts_is_told_once_in_the_log_a_trace_and_stats(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "node_ipc")
    told: list[Any] = []
    server = serve(driver, max_handler_frames=2)
    server.on_trace(lambda trace: told.append(trace.detail) if trace.what == "paused" else None, traffic=False)

    @server.on("work")
    async def work(data: int) -> None:
        await driver.sleep(3)

    wire = Wire.connected(driver, server.address)
    for _ in range(5):
        wire.write(frame("work") * 3)
        driver.run_until_idle()
        assert server.stats().paused == {"handlers": 1}
        driver.advance(10)
    assert server.stats().paused == {}
    assert told == ["handlers"]
    (record,) = caplog.records
    assert "max_handler_frames (2)" in record.getMessage() and "2 messages" in record.getMessage()


@pytest.mark.row(55)
def test_a_second_reason_does_not_begin_the_pause_anew_and_one_that_goes_does_not_end_it(driver: MemoryDriver) -> None:
    server, wire, heard = busy(driver)
    (socket,) = server.sockets
    driver.advance(0.6)
    socket.incoming.pause_reading("outgoing", True)
    driver.advance(0.5)
    assert server.stats().paused == {"handlers": 1, "outgoing": 1}, "told a second after the first began"
    socket.incoming.pause_reading("outgoing", False)
    wire.write(frame("subscribe", 3))
    driver.run_until_idle()
    assert socket.is_reading_paused and heard == [0, 1]


@pytest.mark.row(55)
def test_short_pauses_of_a_server_under_load_are_not_told(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "node_ipc")
    server = serve(driver, max_handler_frames=2)

    @server.on("work")
    async def work(data: int) -> None:
        await driver.sleep(0.01)

    wire = Wire.connected(driver, server.address)
    for _ in range(300):
        wire.write(frame("work") * 2)
        driver.advance(0.02)
    assert caplog.records == []


# ---- the heartbeat


@pytest.mark.row(54)
def test_a_ping_behind_busy_handlers_is_answered(driver: MemoryDriver) -> None:
    _, wire, _ = busy(driver)
    wire.take()
    wire.write(frame("subscribe", 3) + PING)
    driver.advance(1.1)
    assert wire.take() == PONG
    driver.advance(3)
    assert wire.take() == PONG * 3, "and from then on it hears of us by itself"


def test_a_large_message_that_waits_is_no_ping_whatever_is_in_it(driver: MemoryDriver) -> None:
    server, wire, _ = busy(driver)
    wire.take()
    wire.write(b'{"type":"note","data":["ipc.ping","%s"]}\f' % (b"x" * 2000))
    driver.advance(3)
    assert wire.take() == b""
    assert server.sockets[0].stats().paused == {"handlers": 1}


@pytest.mark.row(34)
@pytest.mark.row(54)
def test_the_heartbeat_finds_a_silent_peer_while_reading_is_paused_and_keeps_one_that_answers(
    driver: MemoryDriver,
) -> None:
    server, wire, _ = busy(driver, heartbeat=4000, heartbeat_timeout=4000)
    for _ in range(10):
        driver.advance(4)
        if PING in wire.take():
            wire.write(PONG)
    assert len(server.sockets) == 1
    driver.connections[0].cut()
    driver.advance(12)
    assert server.sockets == []


@pytest.mark.row(12)
def test_what_is_read_for_signs_of_life_is_bounded(driver: MemoryDriver) -> None:
    server, wire, heard = busy(driver)
    before = server.stats().bytes_in
    for _ in range(200):
        while not wire.is_full:
            wire.write(frame("subscribe", 7) * 2000)
        driver.advance(1)
    assert server.stats().bytes_in - before <= PEEKED_BYTES + 64 * 1024
    assert heard == [0, 1]
