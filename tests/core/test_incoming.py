"""The incoming half: what handlers hold up and how much, what half messages cost, and what an answer proves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from node_ipc.core.holdings import everybody
from node_ipc.core.incoming import LOOK_SECONDS, PEEKED_BYTES
from node_ipc.core.session import Session
from node_ipc.errors import BackpressureError, InvalidMessage
from node_ipc.testing import MemoryDriver, Pair, Wire, WireServer, connect, pair, serve

KIB = 1024
PONG = b'{"type":"ipc.pong","data":{}}\f'


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with MemoryDriver() as driver:
        yield driver


def frame(type: str, data: str = "1") -> bytes:
    return b'{"type":"%s","data":%s}\f' % (type.encode(), data.encode())


def of_size(size: int) -> bytes:
    """A message of ``work`` with so many bytes, its delimiter not among them."""
    empty = len(frame("work", '""')) - 1
    return frame("work", '"' + "x" * (size - empty) + '"')


def asking(number: int, size: int) -> bytes:
    """A request for ``work`` that has so many bytes."""
    begin = b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":%d,"method":"work","params":"' % number
    return begin + b"x" * (size - len(begin) - 3) + b'"}}\f'


def working(driver: MemoryDriver, **options: Any) -> tuple[Any, Wire, list[int]]:
    """A server whose handlers of ``work`` never end, a peer of it, and an entry for each handler that began."""
    server = serve(driver, **options)
    begun: list[int] = []

    @server.on("work")
    async def work(data: Any, socket: Session) -> None:
        begun.append(1)
        await driver.sleep(36_000)

    @server.handle("work")
    async def answer(params: Any) -> None:
        begun.append(1)
        await driver.sleep(36_000)

    return server, Wire.connected(driver, server.address), begun


# ---- what makes a peer wait, to the byte


@pytest.mark.parametrize(("size", "at_once"), [(5000, 2), (5001, 2), (4999, 3)])
def test_handlers_are_let_begin_until_their_messages_are_as_many_bytes_as_the_limit(
    driver: MemoryDriver, size: int, at_once: int
) -> None:
    _, wire, begun = working(driver, max_handler_bytes=10_000)
    wire.write(of_size(size) * 5)
    driver.run_until_idle()
    assert len(begun) == at_once


@pytest.mark.parametrize(("size", "at_once"), [(5000, 2), (5001, 2), (4999, 3)])
def test_requests_are_let_begin_until_they_are_as_many_bytes_as_the_limit(
    driver: MemoryDriver, size: int, at_once: int
) -> None:
    _, wire, begun = working(driver, max_request_bytes=10_000, max_handler_bytes=10_000)
    wire.write(b"".join(asking(number, size) for number in range(5)))
    driver.run_until_idle()
    assert len(begun) == at_once


def test_messages_and_requests_under_way_count_together_against_the_limit_of_requests(driver: MemoryDriver) -> None:
    _, wire, begun = working(driver, max_request_bytes=10_000, max_handler_bytes=10_000)
    wire.write(of_size(5000) + asking(1, 4000) + asking(2, 4000) + asking(3, 4000))
    driver.run_until_idle()
    assert len(begun) == 3


def test_what_requests_hold_is_told_with_what_events_hold(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "node_ipc")
    _, wire, _ = working(driver, max_request_bytes=10_000, max_handler_bytes=10_000)
    wire.write(of_size(5000) + asking(1, 6000) + frame("work"))
    driver.advance(1.5)
    (record,) = caplog.records
    assert "at work on 2 messages (11000 bytes)" in record.getMessage()
    assert "max_request_bytes (10000)" in record.getMessage()


def test_a_pause_is_told_a_second_after_it_began_whatever_reasons_come_and_go(driver: MemoryDriver) -> None:
    server, wire, _ = working(driver, max_handler_frames=1)
    told: list[tuple[float, Any]] = []
    server.on_trace(lambda trace: told.append((driver.now(), trace.detail)) if trace.what == "paused" else None)
    wire.write(frame("work") * 2)
    driver.run_until_idle()
    began = driver.now()
    (socket,) = server.sockets
    driver.advance(0.6)
    socket.pause_reading("outgoing", True)
    driver.advance(0.2)
    socket.pause_reading("outgoing", False)
    driver.advance(0.25)
    assert told == [(began + LOOK_SECONDS, "handlers")]


def test_who_ends_a_link_when_he_hears_of_its_pause_leaves_no_timer(driver: MemoryDriver) -> None:
    server, wire, _ = working(driver, max_handler_frames=1)
    (socket,) = server.sockets
    server.on_trace(lambda trace: socket.abort() if trace.what == "paused" else None, traffic=False)
    wire.write(frame("work") * 2)
    driver.advance(5)
    wire.abort()
    driver.advance(1)
    assert server.sockets == []
    assert [timer.when for timer in driver._timers if not timer.cancelled and timer.when < 30_000] == []


# ---- looking for signs of life


def test_a_look_for_a_sign_of_life_is_one_read(driver: MemoryDriver) -> None:
    server, wire, _ = working(driver, max_handler_frames=1)
    wire.write(frame("work") * 2)
    driver.run_until_idle()
    before = server.stats().bytes_in
    wire.write(frame("work") * 8000)
    came = []
    for _ in range(2):
        driver.advance(1)
        came.append(server.stats().bytes_in - before)
    assert came == [64 * KIB, 128 * KIB]


def test_where_a_system_hides_ends_a_look_reads_on_as_far_as_the_bound(driver: MemoryDriver) -> None:
    driver.hides_ends = True
    server, wire, _ = working(driver, max_handler_frames=1)
    wire.write(frame("work") * 2)
    driver.run_until_idle()
    driver.conditions.buffer = 10 * PEEKED_BYTES
    before = server.stats().bytes_in
    wire.write(frame("work") * 80_000)
    driver.advance(1)
    assert PEEKED_BYTES <= server.stats().bytes_in - before < PEEKED_BYTES + 64 * KIB


# ---- the end of a link


def test_a_handler_that_ends_a_link_that_is_broken_hears_nothing_of_half_a_message(driver: MemoryDriver) -> None:
    server, wire, _ = working(driver, max_handler_frames=1)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    server.on("last", lambda data, socket: socket.close())
    wire.write(frame("work") * 2 + frame("last") + b'{"type":"half')
    driver.run_until_idle()
    driver.connections[0].drop()
    driver.run_until_idle()
    assert server.sockets == []
    assert [error for error in errors if isinstance(error, InvalidMessage)] == []


def test_each_reason_of_a_pause_is_told_once(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(driver)
    Wire.connected(driver, server.address)
    [socket] = server.sockets
    told: list[str] = []
    monkeypatch.setattr(server, "session_paused", lambda session, why: told.append(why))
    for reason in ("handlers", "outgoing"):
        socket.pause_reading(reason, True)
    driver.advance(5)
    assert len(told) == 2 and len(set(told)) == 2


# ---- what all peers make this process hold


def test_as_much_as_all_peers_may_send_is_not_too_much_and_only_what_is_above_it_is_cut(driver: MemoryDriver) -> None:
    server = serve(driver, max_total_received_bytes=512 * KIB)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(str(error)))
    wires = [Wire.connected(driver, server.address) for _ in range(3)]
    begin = b'{"type":"a","data":"'
    for wire, size in zip(wires, (128, 192, 192), strict=True):
        wire.write(begin + b"x" * (size * KIB - len(begin)))
        driver.advance(0.1)
    assert everybody.total == 512 * KIB and errors == []
    wires[0].write(b"x" * 128 * KIB)
    driver.advance(0.1)
    assert [wire.has_ended or wire.is_lost for wire in wires] == [True, False, False]
    (error,) = errors
    assert "with a half message of" in error and "524288" in error
    for wire in wires:
        wire.abort()
    driver.run_until_idle()
    assert everybody.total == 0


def test_for_what_handlers_hold_no_link_is_cut_only_those_with_half_a_message(driver: MemoryDriver) -> None:
    server, busy, begun = working(driver, max_total_received_bytes=512 * KIB)
    busy.write(b"".join(asking(number, 200) for number in range(400)))
    driver.run_until_idle()
    assert 200 < len(begun) < 400 and everybody.total > 512 * KIB
    half = Wire.connected(driver, server.address)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    half.write(b'{"type":"a","data":"' + b"x" * 100 * KIB)
    driver.run_until_idle()
    assert half.has_ended and not busy.has_ended
    assert [type(error) for error in errors] == [BackpressureError]


@pytest.mark.parametrize("waits", [True, False], ids=["while it waited", "when it need not wait any more"])
def test_a_peer_that_waited_for_handlers_of_others_is_read_again_when_those_end(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    """Though a handler of its own goes on, and whenever what it sends then came."""
    caplog.set_level(logging.WARNING, "node_ipc")
    server = serve(driver, max_total_received_bytes=1024 * KIB)
    heard: list[float] = []

    @server.on("work")
    async def work(data: tuple[int, str]) -> None:
        await driver.sleep(data[0])

    server.on("note", lambda data: heard.append(driver.now()))
    others, wire = (Wire.connected(driver, server.address) for _ in range(2))
    for sender, seconds, size, count in ((others, 10, 100 * KIB, 10), (wire, 1000, 60 * KIB, 3)):
        for _ in range(count):
            sender.write(frame("work", f'[{seconds},"{"x" * size}"]'))
            driver.run_until_idle()
    assert server.sockets[1].is_reading_paused
    notes = frame("note", '"%s"' % ("x" * 10 * KIB)) * 300
    if waits:
        wire.write(notes)
    driver.run_until(lambda: driver.now() > 10.5, limit=20)
    assert not heard
    assert "all peers together, above max_total_received_bytes (1048576). Let handlers end sooner" in caplog.text
    if not waits:
        wire.write(notes)
    driver.advance(1)
    assert len(heard) == 300 and not server.sockets[1].is_reading_paused


def test_while_one_of_two_answers_is_awaited_busy_handlers_hold_nothing_up() -> None:
    with pair(server={"max_handler_frames": 1}) as ends:

        @ends.server.on("work")
        async def work() -> None:
            await ends.driver.sleep(36_000)

        @ends.client.handle("second")
        def second() -> int:
            for _ in range(3):
                ends.client.emit("work")
            return 2

        ends.client.handle("first", lambda: 1)
        answers = [ends.server.request(ends.socket, method) for method in ("first", "second")]
        ends.driver.advance(0.1)
        assert [answer.done and answer.result() for answer in answers] == [1, 2]


# ---- messages that are wrong


@pytest.mark.parametrize(("came", "sound"), [(["n", "bad"], [1]), (["n", "n", "bad"], [1]), (["bad", "n"], [])])
def test_a_read_counts_as_sound_where_a_message_came_before_the_one_that_is_refused(
    driver: MemoryDriver, came: list[str], sound: list[int]
) -> None:
    server = serve(driver, max_event_name_length=2)
    server.on("error", lambda: None)
    wire = Wire.connected(driver, server.address)
    told: list[int] = []
    [socket] = server.sockets
    socket.heard = lambda: told.append(1)
    wire.write(b"".join(frame(name) for name in came))
    driver.run_until_idle()
    assert told == sound


# ---- what an answer proves


def in_doubt(both: Pair) -> int:
    """How many messages a loss says may be lost."""
    both.socket.abort()
    both.driver.run_until_idle()
    assert both.socket.loss is not None
    return both.socket.loss.in_flight


@pytest.mark.parametrize(
    "answer", [{}, {"behind": 0}, {"behind": -1}, {"behind": 4}, {"behind": 2**70}, {"behind": "2"}]
)
def test_an_answer_to_no_question_of_ours_proves_nothing(answer: dict[str, Any]) -> None:
    both = pair()
    both.connection.to_client.stall()
    for number in range(3):
        both.socket.emit("n", number)
    both.driver.run_until_idle()
    both.client.emit("ipc.pong", answer)
    both.driver.run_until_idle()
    assert in_doubt(both) == 3


def test_an_answer_proves_its_question_and_what_was_before_it() -> None:
    both = pair()
    both.connection.to_client.stall()
    for number in range(3):
        both.socket.emit("n", number)
    both.driver.run_until_idle()
    both.client.emit("ipc.pong", {"behind": 1})
    both.driver.run_until_idle()
    assert in_doubt(both) == 1


def test_a_sign_of_life_is_no_answer_in_sync_mode_and_a_message_beside_one_is(driver: MemoryDriver) -> None:
    listening = WireServer(driver)
    client = connect(driver, sync=True)
    (wire,) = listening.wires
    for number in range(3):
        client.emit("n", number)
    driver.run_until_idle()
    taken = [wire.take()]
    for chunk in (PONG, PONG + PONG, PONG + frame("m") + PONG, PONG, frame("m")):
        wire.write(chunk)
        driver.run_until_idle()
        taken.append(wire.take())
    assert taken == [frame("n", "0"), b"", b"", frame("n", "1"), b"", frame("n", "2")]


# ---- half a message


def test_how_long_half_a_message_has_waited_and_how_much_of_it_came_is_told(driver: MemoryDriver) -> None:
    server = serve(driver, message_timeout=2500)
    errors: list[str] = []
    server.on("error", lambda error, socket: errors.append(str(error)))
    wire = Wire.connected(driver, server.address)
    wire.write(b'{"type":"n","data":"')
    driver.advance(2.4)
    assert errors == []
    driver.advance(0.2)
    assert errors == ["a message was begun 2.5 s ago and is not complete: 20 bytes came; message_timeout is 2.5 s"]


def test_each_message_has_its_own_time(driver: MemoryDriver) -> None:
    server = serve(driver, message_timeout=3000)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    wire = Wire.connected(driver, server.address)
    half, rest = frame("n")[:10], frame("n")[10:]
    wire.write(half)
    for _ in range(5):
        driver.advance(2)
        wire.write(rest + half)
    driver.advance(2.9)
    assert errors == []
    driver.advance(0.2)
    assert len(errors) == 1
