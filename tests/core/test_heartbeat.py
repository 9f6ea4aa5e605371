"""The heartbeat on the memory driver: what is asked when, who answers, and what happens to a link that is silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from node_ipc import Config, ConfigError, ConnectionLost
from node_ipc.core.session import Loss
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Pair, Wire, WireServer, connect, pair, serve

PING = b'{"type":"ipc.ping","data":{}}\f'
PONG = b'{"type":"ipc.pong","data":{}}\f'
BEATS: dict[str, Any] = {"heartbeat": 1000, "heartbeat_timeout": 400}


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with MemoryDriver() as driver:
        yield driver


def listening(driver: MemoryDriver, **options: Any) -> tuple[Wire, list[Any]]:
    """A wire to a server with a heartbeat, and the server's errors."""
    server = serve(driver, **{**BEATS, **options})
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    return Wire.connected(driver, server.address), errors


def test_silence_is_asked_about_and_any_bytes_are_an_answer(driver: MemoryDriver) -> None:
    wire, errors = listening(driver)
    driver.advance(0.9995)
    assert wire.bytes == b""
    driver.advance(0.0005)
    assert wire.take() == PING
    wire.write(b'{"type":"half a mess')
    driver.advance(0.999)
    assert wire.bytes == b"" and not wire.is_lost  # heard at 1.0: asked again at 2.0
    driver.advance(0.001)
    assert wire.take() == PING
    assert errors == []


def test_whoever_speaks_by_himself_is_never_asked(driver: MemoryDriver) -> None:
    wire, errors = listening(driver)
    for _ in range(20):
        driver.advance(0.9)
        wire.write(b'{"type":"x"}\f')
    driver.run_until_idle()
    assert wire.bytes == b"" and errors == []


@pytest.mark.row(34)
def test_a_silent_peer_is_cut_by_the_server_when_the_time_is_over(driver: MemoryDriver) -> None:
    wire, errors = listening(driver)
    driver.advance(1.399)
    assert not wire.has_ended
    driver.advance(0.001)
    assert wire.has_ended
    [error] = errors
    assert isinstance(error, ConnectionLost)
    assert "silent for 1.4 s" in str(error) and "heartbeat_timeout" in str(error)


def test_how_long_a_peer_was_silent_is_counted_from_what_came_last(driver: MemoryDriver) -> None:
    wire, errors = listening(driver)
    driver.advance(0.5)
    wire.write(b'{"type":"x"}\f')
    driver.advance(1.41)
    assert "silent for 1.4 s" in str(errors[0])


def test_a_question_that_nobody_answers_keeps_no_close_waiting() -> None:
    ends = pair(client={"heartbeat": 1000, "heartbeat_timeout": 30_000, "close_timeout": 60_000})
    ends.connection.to_server.stall()
    ends.driver.advance(1.5)
    closing = ends.client.close()
    ends.driver.run_until(closing, limit=3)
    assert closing.done and ends.client.state.value == "closed"


@pytest.mark.row(34)
def test_a_silent_server_is_left_by_the_client_which_connects_anew(driver: MemoryDriver) -> None:
    server = WireServer(driver)
    client = connect(driver, **BEATS)
    events: list[Any] = []
    client.on("error", events.append)
    client.on("disconnect", events.append)
    driver.advance(1.4)
    error, loss = events
    assert isinstance(error, ConnectionLost) and isinstance(loss, Loss) and loss.reason is error
    assert server.wires[0].bytes == PING
    driver.advance(0.7)
    assert len(server.wires) == 2 and client.state.value == "connected"


@pytest.mark.row(34)
@pytest.mark.parametrize("watching", ["client", "server"])
def test_a_link_that_was_cut_silently(watching: str) -> None:
    options: dict[str, Any] = {watching: BEATS}
    ends = pair(**options)
    lost: list[Any] = []
    ends.client.on("disconnect", lost.append)
    ends.server.on("close", lost.append)
    ends.driver.advance(30)
    assert lost == []
    ends.connection.cut()
    since = ends.driver.now()
    ends.driver.run_until(lambda: lost)
    assert ends.driver.now() - since <= 1.4 + 0.001
    ends.driver.close()


def everything(ends: Pair) -> list[Any]:
    heard: list[Any] = []
    for end in (ends.client, ends.server):
        end.on("*", lambda type, *rest: heard.append(type))
        end.events.tap(lambda type, *rest: heard.append(type))
    ends.client.unheard = lambda type, data, session: heard.append(type)
    return heard


def test_the_other_end_answers_without_a_heartbeat_and_no_handler_hears_of_it() -> None:
    ends = pair(server=BEATS)
    heard = everything(ends)
    ends.driver.advance(60)
    assert heard == []
    assert 40 < ends.socket.stats().messages_out == ends.socket.stats().messages_in
    ends.client.off("*", "*")
    ends.server.off("*", "*")
    ends.driver.advance(60)
    assert ends.client.stats().links == 1 and ends.client.state.value == "connected"
    ends.driver.close()


def test_a_handler_of_ones_own_hears_them_and_answers_for_itself() -> None:
    ends = pair(server=BEATS)
    asked: list[Any] = []
    ends.client.on("ipc.ping", asked.append)
    ends.driver.advance(1.39)
    assert asked == [{}] and ends.server.sockets
    ends.driver.advance(0.02)
    assert not ends.server.sockets
    ends.client.off("ipc.ping")
    ends.driver.advance(30)
    assert asked == [{}] and ends.client.stats().links == 2
    ends.driver.close()


def test_without_a_heartbeat_there_is_no_question_and_no_timer(driver: MemoryDriver) -> None:
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    driver.advance(3600)
    assert wire.bytes == b"" and not wire.is_lost
    assert driver.next_due() is None


def test_a_thousand_reads_are_one_timer(driver: MemoryDriver) -> None:
    wire, _ = listening(driver)
    before = driver._numbers
    reads = 0
    for _ in range(1000):
        wire.write(b'{"type":"x"}\f')
        driver.advance(0.0001)
        reads += 1
    assert len(driver._timers) == 1
    assert driver._numbers - before < 5 * reads  # what the links themselves take


def test_while_we_do_not_read_silence_is_our_own() -> None:
    ends = pair(server=BEATS)
    ends.socket.pause_reading("test", True)
    ends.connection.change(latency=0.1)
    ends.driver.advance(30)
    assert ends.server.sockets == [ends.socket]
    ends.socket.pause_reading("test", False)
    ends.driver.advance(0.9)
    ends.connection.cut()
    ends.driver.advance(1.5)
    assert ends.server.sockets == []
    ends.driver.close()


def test_what_comes_after_a_pause_counts_from_then() -> None:
    """The question went out, then reading was paused past the time for the answer."""
    ends = pair(server=BEATS)
    ends.driver.advance(0.9)
    ends.connection.change(latency=0.15)
    ends.driver.advance(0.15)  # the question is on its way
    ends.socket.pause_reading("test", True)
    ends.driver.advance(0.34)
    ends.socket.pause_reading("test", False)
    ends.driver.advance(0.02)  # past the time
    assert ends.server.sockets == [ends.socket]
    ends.driver.advance(10)
    assert ends.server.sockets == [ends.socket]
    ends.driver.close()


@pytest.mark.parametrize("until", [1.5, 7.0])
def test_whoever_was_held_up_himself_reads_before_he_judges(until: float) -> None:
    """A loop that was blocked runs its timers first, and finds the answer in the kernel then."""
    ends = pair(server=BEATS)
    ends.connection.change(latency=0.15)
    ends.driver.advance(1.2)  # the question has arrived, the answer is due at 1.3
    ends.driver._now = until
    ends.driver.advance(0.0)
    assert ends.server.sockets == [ends.socket]
    ends.connection.cut()
    ends.driver.advance(1.5)
    assert ends.server.sockets == []
    ends.driver.close()


def test_a_peer_that_takes_nothing_is_cut_all_the_same() -> None:
    errors: list[Any] = []
    ends = pair(server=BEATS)
    ends.server.on("error", lambda error, socket: errors.append(error))
    ends.connection.stall()
    while not ends.socket.pending_bytes:
        ends.socket.emit("x", "y" * 5000)
    ends.driver.advance(1.5)
    assert [type(error) for error in errors] == [ConnectionLost]
    ends.driver.close()


def test_a_flood_of_questions_from_a_peer_that_does_not_read_is_not_answered_for_ever() -> None:
    ends = pair(client={"max_pending_bytes": 200, "soft_pending_bytes": 200})
    errors: list[Any] = []
    ends.client.on("error", errors.append)
    ends.connection.to_server.stall()
    for _ in range(20_000):
        ends.socket.emit("ipc.ping")
    ends.driver.run_until_idle()
    assert ends.client.pending_bytes < 10_000 and errors == []
    ends.driver.close()


def test_a_closed_link_is_watched_no_more(driver: MemoryDriver) -> None:
    wire, errors = listening(driver)
    wire.close()
    driver.advance(0.1)
    wire.close()
    driver.advance(60)
    assert wire.bytes == b"" and errors == []


def test_in_sync_mode_a_heartbeat_is_no_answer() -> None:
    ends = pair(server=BEATS, client={"sync": True, **BEATS})
    asked: list[int] = []
    ends.server.on("ask", lambda number, socket: asked.append(number))
    ends.client.emit("ask", 1)
    ends.client.emit("ask", 2)
    ends.driver.advance(20)
    assert asked == [1]
    ends.socket.emit("answer")
    ends.driver.advance(1)
    assert asked == [1, 2]
    ends.driver.close()


def test_with_the_assured_profile_the_names_have_to_be_allowed() -> None:
    with pytest.raises(ConfigError, match=r"'ipc.ping' and 'ipc.pong' in 'allowed_events'"):
        Config(parser="assured", allowed_events=["a", "ipc.ping"], **BEATS).settings()
    assert Config(parser="assured", allowed_events=["a", "ipc.ping", "ipc.pong"], **BEATS).settings().heartbeat == 1000
    ends = pair(parser="assured", allowed_events=["a", "ipc.ping", "ipc.pong"], secure_socket_root=True, **BEATS)
    heard = everything(ends)
    ends.driver.advance(20)
    assert ends.server.sockets == [ends.socket] and heard == []
    ends.driver.close()


def test_an_assured_end_that_does_not_allow_them_treats_them_as_any_name(driver: MemoryDriver) -> None:
    errors: list[Any] = []
    server = serve(driver, parser="assured", allowed_events=["a"], secure_socket_root=True)
    server.on("error", lambda error, socket: errors.append(error.code))
    wire = Wire.connected(driver, server.address)
    wire.write(PING)
    driver.advance(1)
    assert errors == ["ERR_IPC_EVENT_NOT_ALLOWED"] and wire.bytes == b""


@pytest.mark.parametrize("options", [{"raw_buffer": True}, {"max_event_name_length": 7}])
def test_where_the_events_cannot_pass_it_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="heartbeat"):
        Config(**options, **BEATS).settings()
    Config(**options).settings()


def test_names_that_are_too_long_for_an_end_without_a_heartbeat(driver: MemoryDriver) -> None:
    server = serve(driver, max_event_name_length=4)
    wire = Wire.connected(driver, server.address)
    wire.write(b'{"type":"ok"}\f')
    driver.run_until_idle()
    assert server.sockets


def test_in_raw_mode_they_are_bytes_like_any_other(driver: MemoryDriver) -> None:
    server = serve(driver, raw_buffer=True)
    heard: list[bytes] = []
    server.on("data", lambda data, socket: heard.append(data))
    wire = Wire.connected(driver, server.address)
    wire.write(PING)
    driver.run_until_idle()
    assert heard == [PING] and wire.bytes == b""


def test_the_answer_is_one_event(driver: MemoryDriver) -> None:
    wire = Wire.connected(driver, serve(driver).address)
    wire.write(PING + PONG + PING)
    driver.run_until_idle()
    assert wire.bytes == PONG * 2


@pytest.mark.row(32)
def test_a_pong_proves_that_what_was_sent_before_its_ping_has_arrived(driver: MemoryDriver) -> None:
    ends = pair(driver=driver, address="tcp://127.0.0.1:8000", client=BEATS)
    losses: list[Loss] = []
    ends.client.on("disconnect", losses.append)
    for number in range(10):
        ends.client.emit("n", number)
    driver.advance(0.5)
    ends.connection.change(latency=0.1)
    driver.advance(1.0)  # asked at 1.0, answered at 1.2
    assert ends.client.stats().messages_out == 11
    driver.advance(0.2)
    for number in range(3):
        ends.client.emit("n", number)
    ends.connection.drop()
    driver.run_until(lambda: losses)
    assert losses[0].dropped + losses[0].in_flight == 3


@pytest.mark.row(32)
def test_one_that_speaks_by_himself_is_asked_for_a_proof_once_until_he_answers(driver: MemoryDriver) -> None:
    wire, errors = listening(driver)
    driver.advance(0.1)
    server_socket = next(iter(driver.endpoints)).sockets[0]  # type: ignore[attr-defined]
    server_socket.emit("n", 1)
    for _ in range(20):
        driver.advance(0.9)
        wire.write(b'{"type":"x"}\f')
    driver.run_until_idle()
    assert wire.take() == b'{"type":"n","data":1}\f{"type":"ipc.ping","data":{"behind":1}}\f' and errors == []
    wire.write(b'{"type":"ipc.pong","data":{"behind":1}}\f')
    driver.advance(0.9)
    server_socket.emit("n", 2)
    wire.write(b'{"type":"x"}\f')
    driver.advance(0.95)
    assert wire.take() == b'{"type":"n","data":2}\f{"type":"ipc.ping","data":{"behind":3}}\f'


def test_a_pong_proves_nothing_that_was_not_asked_and_nothing_that_was_not_sent(driver: MemoryDriver) -> None:
    server = WireServer(driver)
    client = connect(driver, **BEATS)
    losses: list[Loss] = []
    client.on("disconnect", losses.append)
    client.emit("n")
    driver.run_until_idle()
    for data in (b"{}", b"null", b"7", b'{"behind":99}', b'{"behind":-1}', b'{"behind":"1"}', b'{"behind":1e9}'):
        server.wires[0].write(b'{"type":"ipc.pong","data":' + data + b"}\f")
        driver.run_until_idle()
    driver.connections[-1].drop()
    driver.run_until(lambda: losses)
    assert losses[0].in_flight == 1


def test_a_blocking_client_knows_by_an_answer_what_has_arrived() -> None:
    """Its payloads are decoded when they are received; what a heartbeat says was not decoded at all."""
    ends = pair()
    ends.client.events.wants_raw = True
    session = ends.client._session
    assert session is not None
    mark = session.ask_in_turn()
    ends.driver.run_until_idle()
    assert mark is not None and session.has_answered(mark) and session.outgoing.confirmed == mark + 1
