"""Many links in: who is let in, emit to one, broadcast to all, and how it stops."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from node_ipc.config.address import Tcp, Unix
from node_ipc.config.config import Config
from node_ipc.core.everywhere import RemoteSocket
from node_ipc.core.seam import Peer
from node_ipc.core.server import Server, ServerState, serving
from node_ipc.core.session import LOOK_SECONDS, Session
from node_ipc.errors import (
    AddressError,
    AddressInUse,
    BackpressureError,
    ConnectionLost,
    ForkError,
    FrameTooLarge,
    HandlerError,
    InvalidEvent,
    InvalidPayload,
    IPCError,
    NotConnected,
    ReservedEvent,
    WrongThreadError,
)
from node_ipc.testing import Conditions, MemoryDriver, NothingHappens, Started, Wire, connect, pair, serve

WORLD = Unix("/memory/app.world")
KIB, MIB = 1024, 1024 * 1024


class Room:
    """A server, the clients that come, and all that is published."""

    def __init__(self, driver: MemoryDriver | None = None, address: Any = WORLD, **options: Any) -> None:
        self.driver = driver or MemoryDriver()
        self.server = serve(self.driver, address, **options)
        self.published: list[tuple[str, Any]] = []
        self.errors: list[tuple[IPCError, Session | None]] = []
        for name in ("connect", "close"):
            self.server.on(name, lambda socket, name=name: self.published.append((name, socket)))
        self.server.on("socket.disconnected", lambda socket, id: self.published.append(("disconnected", id)))
        self.server.on("error", lambda error, socket: self.errors.append((error, socket)))

    def wires(self, count: int) -> list[Wire]:
        return [Started(self.server, self.driver).wire() for _ in range(count)]

    def names(self) -> list[str]:
        return [name for name, _ in self.published]


def frame(type: str, data: str = "1") -> bytes:
    return b'{"type":"%s","data":%s}\f' % (type.encode(), data.encode())


# ---- starting and stopping


def test_a_life() -> None:
    driver = MemoryDriver()
    server = Server(WORLD, driver, Config().settings())
    states: list[Any] = [server.state]
    server.on("start", lambda given: states.append((given is server, server.state)))
    started = server.start()
    states.append(server.state)
    assert server.start() is started
    assert not started.done
    driver.run_until_idle()
    assert started.result() is server
    closed = server.stop()
    states.append(server.state)
    assert server.stop() is closed
    assert not closed.done
    driver.run_until_idle()
    assert closed.result() is server
    states.append(server.state)
    assert states == [
        ServerState.IDLE,
        ServerState.STARTING,
        (True, ServerState.LISTENING),
        ServerState.CLOSING,
        ServerState.CLOSED,
    ]
    assert "closed, 0 sockets" in repr(server)
    assert server.stop() is closed
    assert Wire.connected(driver, WORLD).error is not None


def test_it_starts_anew() -> None:
    room = Room()
    room.server.stop()
    room.driver.run_until_idle()
    assert not room.server.start().done
    room.driver.run_until_idle()
    assert room.server.state is ServerState.LISTENING
    (wire,) = room.wires(1)
    assert not wire.is_lost
    assert room.server.sockets[0].id == 1


def test_stopping_before_it_started() -> None:
    driver = MemoryDriver()
    idle = Server(WORLD, driver, Config().settings())
    assert idle.stop().done
    assert idle.state is ServerState.CLOSED
    starting = Server(WORLD, driver, Config().settings())
    started = starting.start()
    closed = starting.stop()
    driver.run_until_idle()
    assert closed.done
    with pytest.raises(NotConnected, match="was stopped"):
        started.result()


def test_an_address_in_use() -> None:
    room = Room()
    second = Server(WORLD, room.driver, Config().settings())
    told: list[Any] = []
    second.on_closed.append(lambda: told.append("closed"))
    started = second.start()
    room.driver.run_until_idle()
    with pytest.raises(AddressInUse):
        started.result()
    assert second.state is ServerState.CLOSED
    assert isinstance(second.failure, AddressInUse)
    assert second.closed.done
    assert told == ["closed"]
    second.on("error", lambda error, socket: told.append((type(error), socket)))
    second.start()
    room.driver.run_until_idle()
    assert told[1:] == [(AddressInUse, None), "closed"]
    assert second.failure is None
    room.server.stop()
    room.driver.run_until_idle()
    second.start()
    room.driver.run_until_idle()
    assert second.state is ServerState.LISTENING


def test_the_real_port_is_told() -> None:
    room = Room(address=Tcp("localhost", 0))
    assert room.server.address != Tcp("localhost", 0)
    assert room.server.settings.max_connections == 100


@pytest.mark.row(36)
def test_stopping_sends_what_was_emitted() -> None:
    room = Room()
    wires = room.wires(10)
    for number in range(1000):
        room.server.broadcast("n", number)
    closed = room.server.stop()
    with pytest.raises(NotConnected):
        room.server.sockets[0].emit("n", 1)
    room.driver.run_until_idle()
    for wire in wires:
        assert wire.take() == b"".join(frame("n", str(number)) for number in range(1000))
        assert wire.has_ended
        wire.close()
    room.driver.run_until(closed)
    assert room.driver.now() == 0
    assert room.names()[-2:] == ["disconnected", "close"]
    assert room.server.sockets == []


@pytest.mark.row(36)
@pytest.mark.parametrize("how", ["setting", "argument"])
def test_stopping_ends_in_time_with_one_peer_stuck(how: str) -> None:
    room = Room(close_timeout=5000 if how == "setting" else 60_000)
    good, stuck = room.wires(2)
    room.driver.connections[1].stall()
    for _ in range(10_000):
        room.server.sockets[0].emit("n", 1)
        room.server.sockets[1].emit("n", 1)
    closed = room.server.stop() if how == "setting" else room.server.stop(timeout=5)
    good.close()
    room.driver.advance(4.9)
    assert good.bytes.count(b"\f") == 10_000
    assert not closed.done
    room.driver.advance(0.6)
    assert closed.done
    assert room.driver.now() <= 5.5
    assert not stuck.bytes


def test_a_second_stop_that_has_less_time_holds_and_one_that_has_more_does_not() -> None:
    room = Room()
    room.wires(1)
    room.driver.connections[0].stall()
    for _ in range(10_000):
        room.server.sockets[0].emit("n", 1)
    closed = room.server.stop(timeout=60)
    room.driver.advance(1)
    for longer in (None, 100):
        assert room.server.stop(timeout=longer) is closed
    room.driver.advance(10)
    assert not closed.done, "no time of its own is no wish to hurry"
    room.server.stop(timeout=0.5)
    room.driver.run_until(closed)
    assert room.driver.now() == 11.5
    room.driver.run_until(room.server.start())
    room.driver.advance(100)
    assert room.server.state is ServerState.LISTENING, "nothing of the times before is left"


def test_aborting_is_over_at_once() -> None:
    room = Room()
    wires = room.wires(3)
    closed = room.server.stop()
    room.server.abort()
    room.driver.run_until(closed)
    assert room.driver.now() == 0
    room.driver.run_until_idle()
    assert all(wire.has_ended or wire.is_lost for wire in wires)


def test_nobody_comes_in_while_it_stops() -> None:
    room = Room()
    room.wires(1)
    room.server.stop()
    assert room.server.accept(Peer("memory")) is None
    assert Wire.connected(room.driver, WORLD).error is not None


@pytest.mark.parametrize("verb", ["stop", "abort"])
def test_a_link_that_opens_while_the_server_stops(verb: str) -> None:
    room = Room()
    wire = Wire()
    room.driver.open(WORLD, wire, Config().settings())
    room.driver.run_until(lambda: room.server._opening)
    closed = getattr(room.server, verb)() or room.server.closed
    room.driver.run_until(closed, limit=10)
    room.driver.run_until_idle()
    assert wire.has_ended or wire.is_lost
    assert room.names() == []  # who did not hear of it does not hear that it is gone


def test_a_link_that_opens_while_the_server_stops_and_does_not_end_is_cut_in_time() -> None:
    room = Room()
    wire = Wire()
    room.driver.open(WORLD, wire, Config().settings())
    room.driver.run_until(lambda: room.server._opening)
    closed = room.server.stop(timeout=2)
    room.driver.run_until(lambda: wire.link is not None)
    room.driver.advance(LOOK_SECONDS - 0.1)
    assert not closed.done
    room.driver.advance(0.2)
    assert closed.done
    wire.write(frame("n"))
    room.driver.run_until_idle()
    assert wire.is_lost
    assert room.names() == []


@pytest.mark.parametrize("handshakes", [1, 3])
def test_a_stop_is_over_when_the_last_handshake_has_failed(handshakes: int) -> None:
    """Nobody else is there, so that nothing else tells that the server is empty."""
    room = Room()
    sessions = [room.server.accept(Peer("tls")) for _ in range(handshakes)]
    closed = room.server.stop(timeout=60)
    room.driver.run_until_idle()
    for session in sessions:
        assert session is not None and not closed.done
        session.failed(IPCError("handshake"))
        room.driver.advance(0.1)
    assert closed.done and room.server.state is ServerState.CLOSED
    assert [str(error) for error, _ in room.errors] == ["handshake"] * handshakes
    assert room.driver.next_due() is None, "its time limit is over, too"


@pytest.mark.row(38)
@pytest.mark.parametrize("event", ["start", "connect", "n", "socket.disconnected", "close", "error"])
@pytest.mark.parametrize("verb", ["stop", "abort"])
def test_stopping_inside_a_handler(event: str, verb: str) -> None:
    driver = MemoryDriver()
    server = Server(WORLD, driver, Config().settings())
    server.on(event, lambda: getattr(server, verb)())
    started = server.start()
    driver.run_until(started)
    wires = [Wire.connected(driver, WORLD) for _ in range(3)]
    for wire in wires:
        if wire.link is not None and not wire.is_lost:
            wire.write(frame("n") + b"garbage\f")
    driver.run_until_idle()
    for wire in wires:
        if wire.link is not None:
            wire.close()
    driver.run_until(server.closed, limit=6)
    assert server.sockets == []
    assert server.state is ServerState.CLOSED


# ---- sockets


def test_sockets_come_and_go() -> None:
    room = Room()
    first, second = room.wires(2)
    one, two = room.server.sockets
    assert (one.id, two.id) == (1, 2)
    assert room.published == [("connect", one), ("connect", two)]
    assert "2 sockets" in repr(room.server)
    assert one.peer == room.driver.identity
    first.close()
    room.driver.run_until_idle()
    assert room.server.sockets == [two]
    assert room.published[2:] == [("disconnected", 1), ("close", one)]
    room.wires(1)
    assert room.server.sockets[-1].id == 3
    second.abort()


def test_emit_to_one_socket() -> None:
    room = Room()
    first, second = room.wires(2)
    assert room.server.emit(room.server.sockets[1], "n", {"a": 1}) is True
    room.driver.run_until_idle()
    assert (first.bytes, second.bytes) == (b"", frame("n", '{"a":1}'))
    with pytest.raises(InvalidEvent, match=r"server.emit\(socket, type, data\).*broadcast"):
        room.server.emit("n", {"a": 1})  # type: ignore[call-overload]


def test_identify_peer_notes_what_a_peer_claims() -> None:
    room = Room(identify_peer=True)
    wire, other = room.wires(2)
    wire.write(frame("n", '{"id":"me"}') + frame("n", '{"id":""}') + frame("n", "[1]") + frame("n", '"x"'))
    room.driver.run_until_idle()
    socket = room.server.sockets[0]
    assert socket.claimed_id == "me"
    assert "claims 'me'" in repr(socket)
    wire.close()
    other.close()
    room.driver.run_until_idle()
    assert [given for name, given in room.published if name == "disconnected"] == ["me", 2]


def test_without_identify_peer_a_claim_means_nothing() -> None:
    room = Room()
    (wire,) = room.wires(1)
    wire.write(frame("n", '{"id":"me"}'))
    room.driver.run_until_idle()
    assert room.server.sockets[0].claimed_id is None


def test_a_place_for_the_users_own_data() -> None:
    _, server, socket, _ = pair()
    server.on("n", lambda data, socket: socket.state.update(last=data))
    server.sockets[0].state["first"] = 1
    assert socket.state == {"first": 1}


@pytest.mark.parametrize(
    ("verb", "ours"),
    [
        ("receive", "on(event, handler)"),
        ("recv", "on(event, handler)"),
        ("send", "broadcast(type, data)"),
        ("write", "broadcast(type, data)"),
        ("clients", "sockets"),
        ("connections", "sockets"),
        ("shutdown", "stop()"),
        ("in_", "to(room)"),
    ],
)
def test_who_calls_it_as_elsewhere_hears_what_it_is_called_here(verb: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(ours)):
        getattr(Room().server, verb)


# ---- limits


@pytest.mark.row(14)
def test_over_the_limit_connections_are_refused_and_places_come_free() -> None:
    room = Room(max_connections=100)
    wires = room.wires(100)
    refused = room.wires(50)
    assert all(wire.has_ended or wire.is_lost for wire in refused)
    assert len(room.server.sockets) == 100
    assert room.server.refused == room.server.stats().refused == 50
    wires[7].abort()
    room.driver.run_until_idle()
    (late,) = room.wires(1)
    assert not late.has_ended
    assert len(room.server.sockets) == 100


@pytest.mark.parametrize(
    ("options", "peers", "said"),
    [
        ({"max_connections": 1}, [Peer("memory")] * 5, "max_connections (1) is reached."),
        (
            {"max_connections": 4},
            [Peer("tls")] * 5,
            "max_connections (4) is reached (half of it, by TLS",
        ),
        (
            {"max_connections_per_uid": 1},
            [Peer("memory", uid=7)] * 5,
            "max_connections_per_uid (1) is reached by user 7",
        ),
        ({"max_connections_per_host": 1}, [Peer("tcp", host="h")] * 5, "max_connections_per_host (1) is reached by h"),
    ],
    ids=["all", "handshakes", "uid", "host"],
)
def test_a_full_server_says_once_which_option_it_is(
    options: dict[str, Any], peers: list[Peer], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    room = Room(**options)
    for peer in peers:
        room.server.accept(peer)
    room.driver.advance(5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert said in caplog.text and "stats().refused counts" in caplog.text
    assert room.server.stats().refused >= 3 and room.errors == []


def test_a_full_server_says_so_also_where_logging_is_not_set_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("node_ipc"), "propagate", False)  # to what pytest has set up
    room = Room(max_connections=1)
    room.wires(2)
    assert "max_connections (1) is reached" in capsys.readouterr().err


def test_a_server_that_stops_warns_of_no_limit(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    room.server.stop()
    assert room.server.accept(Peer("memory")) is None
    assert room.server.refused == 1 and not caplog.records


@pytest.mark.row(14)
def test_half_of_the_places_are_for_handshakes() -> None:
    room = Room(max_connections=10)
    sessions = [room.server.accept(Peer("tls")) for _ in range(8)]
    assert [session is not None for session in sessions] == [True] * 5 + [False] * 3
    assert sessions[0] is not None
    sessions[0].failed(IPCError("handshake"))
    assert room.server.accept(Peer("tls")) is not None
    assert [str(error) for error, _ in room.errors] == ["handshake"]
    assert room.server.accept(Peer("memory")) is not None  # without a handshake a link opens at once
    single = Room(max_connections=1)
    assert single.server.accept(Peer("tls")) is not None
    assert single.server.accept(Peer("tls")) is None


@pytest.mark.row(14)
@pytest.mark.parametrize(
    ("options", "peer"),
    [
        ({"max_connections_per_uid": 2}, Peer("memory", uid=1)),
        ({"max_connections_per_host": 2}, Peer("memory", host="a")),
    ],
)
def test_where_one_of_a_peers_two_goes_one_place_is_free(options: dict[str, Any], peer: Peer) -> None:
    room = Room(**options)
    first, second = (room.server.accept(peer) for _ in range(2))
    assert first is not None and second is not None
    first.failed(IPCError("gone"))
    assert [room.server.accept(peer) is not None for _ in range(2)] == [True, False]


def test_a_socket_is_found_by_its_number() -> None:
    room = Room()
    room.wires(2)
    for socket in room.server.sockets:
        assert room.server.socket(socket.id) is socket
    assert room.server.socket(99) is None


def test_a_misspelt_argument_of_broadcast_is_named_with_the_right_one() -> None:
    room = Room()
    for wrong, right in (("exlude", "exclude"), ("locl", "local"), ("kep", "keep")):
        with pytest.raises(TypeError, match=rf"broadcast\(\).*{wrong}.*{right}"):
            room.server.broadcast("n", 1, **{wrong: None})  # type: ignore[call-overload]


@pytest.mark.row(14)
@pytest.mark.parametrize(
    ("options", "peers", "accepted"),
    [
        ({"max_connections_per_uid": 2}, [Peer("memory", uid=uid) for uid in (1, 1, 1, 2, None, None, None)], 6),
        ({"max_connections_per_host": 2}, [Peer("memory", host=host) for host in ("a", "a", "a", "b", None, None)], 5),
        ({"max_connections_per_uid": None}, [Peer("memory", uid=1)] * 20, 20),
    ],
)
def test_quotas(options: dict[str, Any], peers: list[Peer], accepted: int) -> None:
    room = Room(**options)
    found = [room.server.accept(peer) for peer in peers]
    assert sum(session is not None for session in found) == accepted
    for session in found:
        if session is not None:
            session.failed(IPCError("gone"))
    assert not room.server._per_uid
    assert not room.server._per_host
    assert room.server.accept(peers[0]) is not None


# ---- broadcast


@pytest.mark.row(10)
def test_broadcast_reaches_all_but_the_excluded() -> None:
    room = Room()
    wires = room.wires(5)
    sockets = room.server.sockets
    for number in range(200):
        room.server.broadcast("n", number, exclude=[sockets[1]])
    room.server.broadcast("all")
    room.driver.run_until_idle()
    everything = b"".join(frame("n", str(number)) for number in range(200))
    assert [wire.bytes for wire in wires] == [
        (b"" if number == 1 else everything) + frame("all", "{}") for number in range(5)
    ]


def test_broadcast_refuses_what_cannot_be_sent() -> None:
    room = Room(max_message_size=100)
    (wire,) = room.wires(1)
    refused: list[tuple[str, Any, type[Exception]]] = [
        ("connect", None, ReservedEvent),
        ("n", object(), InvalidPayload),
        ("n", "x" * 100, FrameTooLarge),
    ]
    for event, data, error in refused:
        with pytest.raises(error):
            room.server.broadcast(event, data)
    room.driver.run_until_idle()
    assert wire.bytes == b""


def test_broadcast_skips_sockets_that_are_closing() -> None:
    room = Room()
    wires = room.wires(2)
    room.server.sockets[0].close()
    room.server.broadcast("n")
    room.driver.run_until_idle()
    assert wires[0].bytes == b""
    assert wires[1].bytes


def test_broadcast_in_raw_mode() -> None:
    room = Room(raw_buffer=True)
    wires = room.wires(3)
    room.server.broadcast(b"\x00\xff")
    room.driver.run_until_idle()
    assert {wire.bytes for wire in wires} == {b"\x00\xff"}


@pytest.mark.row(10)
@pytest.mark.parametrize("size", [10, 5000])
def test_one_slow_peer_is_cut_and_the_others_get_everything(size: int) -> None:
    room = Room(max_pending_bytes=MIB, soft_pending_bytes=100 * KIB)
    peers = 20 if size > 100 else 6
    wires = room.wires(peers)
    slow = room.server.sockets[3]
    room.driver.connections[3].to_client.stall()
    count = (4 * MIB) // size if size > 100 else 60_000
    payload = "x" * size
    most = 0
    for number in range(count):
        room.server.broadcast("n", payload)
        if number % 50 == 0:
            room.driver.run_until_idle()
            most = max(most, slow.pending_bytes)
    room.driver.run_until_idle()
    assert most <= MIB + 64 * KIB
    assert slow not in room.server.sockets
    assert len(room.server.sockets) == peers - 1
    ((error, socket),) = room.errors
    assert isinstance(error, BackpressureError)
    assert "a broadcast would pass max_pending_bytes" in str(error)
    assert socket is slow
    assert slow.loss is not None
    assert slow.loss.reason is error
    good = frame("n", f'"{payload}"') * count
    assert [wire.bytes == good for wire in wires].count(True) == peers - 1
    assert room.names().count("disconnected") == room.names().count("close") == 1


@pytest.mark.row(10)
@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_a_policy_of_dropping_cuts_nobody(policy: str) -> None:
    room = Room(max_pending_bytes=MIB, soft_pending_bytes=100 * KIB, slow_policy=policy)
    room.wires(3)
    slow = room.server.sockets[1]
    room.driver.connections[1].to_client.stall()
    for _ in range(600):
        room.server.broadcast("n", "x" * 5000)
    room.driver.run_until_idle()
    assert len(room.server.sockets) == 3
    assert slow.dropped > 0
    assert room.errors == []


@pytest.mark.row(11)
def test_a_thousand_cuts_leave_nothing_and_are_told_once() -> None:
    room = Room(
        MemoryDriver(conditions=Conditions(buffer=1000)),
        max_pending_bytes=5000,
        soft_pending_bytes=1000,
        max_connections=50,
    )
    for _ in range(20):
        room.wires(50)
        room.driver.stall()
        for _ in range(10):
            room.server.broadcast("n", "x" * 2000)
        room.driver.run_until_idle()
        assert room.server.sockets == []
        room.driver.resume()
        room.driver.run_until_idle()
    assert len(room.errors) == 1000
    assert len({socket for _, socket in room.errors}) == 1000
    assert room.names().count("disconnected") == room.names().count("close") == 1000
    assert not room.server._full
    assert not room.server._opening
    assert not room.server._per_uid
    room.driver.run_until(lambda: room.driver.next_due() is None, limit=1000)


@pytest.mark.row(10)
def test_all_peers_together_are_bounded() -> None:
    room = Room(
        MemoryDriver(conditions=Conditions(buffer=1000)),
        max_pending_bytes=MIB,
        soft_pending_bytes=MIB,
        max_total_pending_bytes=3 * MIB,
    )
    room.wires(10)
    room.driver.stall()
    sockets = room.server.sockets
    for number, socket in enumerate(sockets):
        for _ in range(30 + 5 * number):
            if socket.is_open:
                socket.emit("n", "x" * 10_000)
        assert sum(each.pending_bytes for each in room.server.sockets if each.is_open) <= 3 * MIB
    room.driver.run_until_idle()
    cut = [socket for _, socket in room.errors]
    assert cut
    assert all(isinstance(error, BackpressureError) for error, _ in room.errors)
    assert "max_total_pending_bytes" in str(room.errors[0][0])
    assert len(room.server.sockets) == 10 - len(cut)


@pytest.mark.row(38)
def test_cutting_a_peer_inside_a_broadcast_harms_nobody() -> None:
    room = Room(max_pending_bytes=100 * KIB, soft_pending_bytes=10 * KIB)
    wires = room.wires(5)
    room.driver.connections[2].to_client.stall()

    def error() -> None:
        room.server.broadcast("cut")
        room.server.sockets[0].close()

    room.server.on("error", error)
    count = 0
    while not room.errors:
        count += 1
        room.server.broadcast("n", "x" * 4000)
        room.driver.run_turn()
    room.driver.run_until_idle()
    assert [wire.bytes.count(b"\f") for wire in wires[3:]] == [count + 1] * 2
    assert room.server.sockets[0].id == 1  # it ends when its peer does
    assert len(room.server.sockets) == 4


class Told:
    """In the place of a bus: what it is told to publish."""

    name = "here"

    def __init__(self) -> None:
        self.published: list[Any] = []

    def first(self, room: str) -> None:
        """A room has its first socket."""

    last = first

    def joined(self, rooms: tuple[str, ...]) -> None:
        """Nobody waits for it here."""

    def publish(self, audience: Any, frame: bytes, event: str | None) -> None:
        self.published.append(audience)


@pytest.mark.parametrize("local", [False, True])
def test_sockets_are_left_out_also_where_they_are_named_as_other_servers_know_them(local: bool) -> None:
    room = Room()
    bus: Any = Told()
    room.server.join_bus(bus)
    wires = room.wires(4)
    for socket in room.server.sockets:
        socket.join("a")
    room.server.sockets[3].join("quiet")
    own, of_another = RemoteSocket("here.1", "here", 1), RemoteSocket("there.3", "there", 3)
    room.server.to("a", local=local).except_(own, room.server.sockets[1], of_another, "quiet").emit("x")
    room.driver.run_until_idle()
    assert [b'"x"' in wire.bytes for wire in wires] == [False, False, True, False]
    but = [(own, room.server.sockets[1], of_another)]
    assert [audience.but for audience in bus.published] == ([] if local else but)


# ---- drain, statistics, traces


def test_drained_is_told() -> None:
    room = Room()
    room.wires(1)
    told: list[int] = []
    room.server.on_drained.append(
        lambda: told.append(room.server.sockets[0].pending_bytes if room.server.sockets else 0)
    )
    room.driver.stall()
    while room.server.sockets[0].emit("n", "x" * 5000):
        pass
    room.driver.run_until_idle()
    assert told == []
    room.driver.resume()
    room.driver.run_until_idle()
    assert told == [0]


def test_statistics_of_all_sockets() -> None:
    room = Room()
    wires = room.wires(3)
    for wire in wires:
        wire.write(frame("a") + frame("b"))
    room.driver.run_until_idle()
    room.server.broadcast("n")
    wires[0].abort()
    room.driver.run_until_idle()
    stats = room.server.stats()
    assert (stats.messages_in, stats.messages_out, stats.links, stats.refused) == (6, 3, 3, 0)
    assert stats.bytes_in == 3 * len(frame("a") + frame("b"))
    assert stats.seconds == room.driver.now()


def test_traces() -> None:
    driver = MemoryDriver()
    server = Server(WORLD, driver, Config(max_connections=1).settings())
    told: list[str] = []
    undo = server.on_trace(lambda trace: told.append(trace.what))
    server.start()
    driver.run_until_idle()
    wire = Wire.connected(driver, WORLD)
    Wire.connected(driver, WORLD)
    wire.write(frame("n"))
    server.on("error", lambda: None)
    driver.run_until_idle()
    wire.write(b"garbage\f")
    driver.run_until_idle()
    assert told[:5] == ["starting", "listening", "opened", "refused", "unheard"]
    assert told[5:] == ["received", "error", "received", "lost"]
    undo()
    undo()
    server.abort()
    driver.run_until_idle()
    assert told[-1] == "lost"


def test_log_payloads() -> None:
    room = Room()
    lines: list[Any] = []
    room.server.log_payloads(lambda *arguments: lines.append(arguments))
    (wire,) = room.wires(1)
    wire.write(frame("n", "[1]"))
    room.driver.run_until_idle()
    room.server.broadcast("m", 2)
    assert lines == [("received event", "n", [1]), ("dispatching event", "m", 2)]


# ---- requests


def test_requests_to_all() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    clients = [connect(driver) for _ in range(3)]
    for number, client in enumerate(clients):
        client.handle("who", partial(abs, number))
    answers = server.request_all("who", exclude=[server.sockets[1]])
    driver.run_until(answers)
    assert list(answers.result().values()) == [0, 2]
    nobody = server.request_all("who", exclude=server.sockets)
    driver.run_until(nobody)
    assert nobody.result() == {}


def test_requests_that_nobody_handles_are_answered() -> None:
    client, _, _, driver = pair()
    answer = client.request("nothing")
    driver.run_until(answer)
    assert answer.error is not None
    with pytest.raises(NothingHappens):
        driver.run_until(lambda: False)


# ---- failing handlers, threads


@pytest.mark.row(37)
def test_failing_handlers_of_the_lifecycle() -> None:
    room = Room()
    for event in ("connect", "socket.disconnected", "close", "n"):
        room.server.on(event, lambda: 1 / 0)
    (wire,) = room.wires(1)
    wire.write(frame("n"))
    room.driver.run_until_idle()
    wire.close()
    room.driver.run_until_idle()
    assert [error.event for error, _ in room.errors] == ["connect", "n", "socket.disconnected", "close"]  # type: ignore[attr-defined]
    assert len({socket for _, socket in room.errors}) == 1


@pytest.mark.row(37)
def test_errors_that_nobody_hears_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = pair()
    server.on("n", lambda: 1 / 0)
    server.on("m", lambda data: None, type=int)
    client.emit("n")
    client.emit("m", "x")
    driver.run_until_idle()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]

    def fail() -> None:
        raise ValueError("in the error handler")

    server.on("error", fail)
    client.emit("n")
    driver.run_until_idle()
    assert "in the error handler" in caplog.text
    assert [type(failure) for failure in driver.failures] == [HandlerError, InvalidPayload, HandlerError]


def test_a_peer_cannot_flood_the_log_and_is_named_in_it(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    server = serve(driver, WORLD)
    noisy, quiet = Started(server, driver).wire(), Started(server, driver).wire()
    for _ in range(1000):
        noisy.write(frame("n", "1e999"))
    quiet.write(frame("n", "1e999"))
    driver.run_until_idle()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" memory")[0] for line in lines] == [
        "<Socket 1"
    ] * 5  # a few for the whole endpoint: peers may come back as somebody new
    assert [line.partition(" memory")[0] for line in lines] == ["<Socket 1"] * 5
    assert server.stats().errors == len(driver.failures) == 1001


def test_a_request_to_no_socket_says_what_is_wanted() -> None:
    with pytest.raises(InvalidEvent, match=r"request takes the socket first: .*, not 'who'\. .*request_all"):
        Room().server.request("who", "n")  # type: ignore[call-overload]


@pytest.mark.row(40)
def test_only_emit_to_a_socket_is_for_other_threads() -> None:
    client, server, socket, driver = pair()
    heard: list[Any] = []
    client.on("n", heard.append)
    with driver.other_thread():
        server.emit(socket, "n", 1)
        calls: dict[str, Callable[[], Any]] = {
            "start": server.start,
            "stop": server.stop,
            "broadcast": lambda: server.broadcast("n"),
            "emit": lambda: server.to("room").emit("n"),
            "on": lambda: server.on("n", print),
            "once": lambda: server.once("n", print),
            "off": lambda: server.off("n"),
            "handle": lambda: server.handle("n", print),
            "request": lambda: server.request(socket, "n"),
            "reload_tls": lambda: server.reload_tls(),
            "observe": server.observe,
        }
        for verb, call in calls.items():
            with pytest.raises(WrongThreadError, match=rf"\b{verb}\(\)"):
                call()
        with pytest.raises(WrongThreadError):
            server.abort()
    driver.run_until_idle()
    assert heard == [1]


def test_once_and_off() -> None:
    client, server, _, driver = pair()
    heard: list[Any] = []
    server.once("n", heard.append)
    server.on("m", heard.append)
    server.off("m")
    for number in range(2):
        client.emit("n", number)
        client.emit("m", number)
    driver.run_until_idle()
    assert heard == [0]


def test_certificates_are_reloaded_where_there_are_some() -> None:
    room = Room()
    with pytest.raises(AddressError, match="no TLS"):
        room.server.reload_tls()
    room.server.stop()
    with pytest.raises(NotConnected, match="cannot reload: the server is closing"):
        room.server.reload_tls()
    server = Server(Unix("/memory/other"), room.driver, Config().settings())
    server.start()
    with pytest.raises(NotConnected, match="cannot reload: the server is starting"):
        server.reload_tls()


def test_requests_end_with_their_socket() -> None:
    client, _, socket, driver = pair()

    @client.handle("wait")
    async def wait() -> None:
        await driver.sleep(100)

    answer = socket.request("wait", timeout=None)
    driver.run_until_idle()
    driver.drop()
    driver.run_until(answer)
    assert isinstance(answer.error, ConnectionLost)


@pytest.mark.row(41)
def test_a_forked_child_emits_nothing() -> None:
    client, server, socket, driver = pair()
    heard: list[Any] = []
    server.on("n", heard.append)
    client.on("n", heard.append)
    with driver.forked_child():
        client.forked()
        server.forked()
        with pytest.raises(ForkError):
            client.emit("n")
        with pytest.raises(ForkError):
            socket.emit("n")
        with pytest.raises(ForkError):
            server.broadcast("n")
    driver.run_until_idle()
    assert heard == []
    driver.drop()
    driver.run_until_idle()
    client.forked()
    server.forked()


def test_a_forked_child_is_not_taken_for_one_that_serves() -> None:
    """A blocking client of the child, which may wait as long as it likes, would be told that it waits for itself."""
    room = Room()
    home = room.driver.home
    assert room.server in serving[home]
    with room.driver.forked_child():
        room.server.forked()
    assert home not in serving or room.server not in serving[home]


@pytest.mark.row(38)
def test_closing_a_handler_that_stops_the_server_while_it_starts_anew() -> None:
    room = Room()
    begun: list[Any] = []
    room.server.on_closed.append(lambda: begun.append(room.server.start()))
    room.wires(2)
    room.server.abort()
    room.driver.run_until(lambda: begun and begun[0].done)
    assert room.server.state is ServerState.LISTENING
    assert not room.server.closed.done
    room.server.on_closed.clear()


def test_the_first_handler_of_start_may_come_while_it_listens() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    told: list[Any] = []
    server.once("start", told.append)
    assert told == []
    driver.run_until_idle()
    server.on("start", told.append)
    driver.run_until_idle()
    assert told == [server]


def test_a_start_that_nobody_heard_is_not_told_after_the_end() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    told: list[Any] = []
    server.on("start", told.append)
    server.stop()
    driver.run_until_idle()
    assert told == []


def test_a_server_that_listens_late_was_stopped_meanwhile() -> None:
    driver = MemoryDriver()
    server = Server(WORLD, driver, Config().settings())
    told: list[Any] = []
    server.on("start", told.append)
    server.start()
    server.stop()
    server.listening(WORLD)  # a driver may tell it all the same
    driver.run_until(server.closed)
    assert told == []


def test_news_of_a_socket_that_is_forgotten() -> None:
    room = Room()
    session = room.server.accept(Peer("memory"))
    assert session is not None
    room.server.abort()
    session.failed(IPCError("late"))
    room.driver.run_until_idle()
    assert room.errors == []
    assert room.server.closed.done
