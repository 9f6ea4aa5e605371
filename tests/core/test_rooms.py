"""Rooms of one server: who is in which, whom an emit reaches, and what is left when everybody has gone."""

from __future__ import annotations

import tracemalloc
from enum import StrEnum
from typing import Any

import pytest

from node_ipc.core.server import Server
from node_ipc.core.session import Session, Socket
from node_ipc.errors import BackpressureError, InvalidEvent, IPCError, NotConnected, WrongThreadError
from node_ipc.testing import MemoryDriver, Started, Wire, connect, pair, serve


class House:
    """A server and so many clients that keep what they hear."""

    def __init__(self, count: int, **options: Any) -> None:
        self.driver = MemoryDriver()
        self.server: Server = serve(self.driver, **options)
        self.wires: list[Wire] = [Started(self.server, self.driver).wire() for _ in range(count)]
        self.sockets: list[Socket] = self.server.sockets

    def heard(self) -> list[list[str]]:
        """The names of the events that each client heard since the last call."""
        self.driver.run_until_idle()
        texts = [bytes(wire.take()) for wire in self.wires]
        return [[part.split(b'"')[3].decode() for part in text.split(b"\f") if part] for text in texts]


def test_an_emit_to_a_room_reaches_those_in_it_and_only_them() -> None:
    house = House(3)
    one, two, three = house.sockets
    one.join("a")
    two.join("a", "b")
    assert house.server.to("a").emit("x", 1) is True
    house.server.to("b").emit("y")
    house.server.to("nobody is here").emit("z")
    assert house.heard() == [["x"], ["x", "y"], []]
    assert two.rooms == {"a", "b"} and three.rooms == frozenset()


def test_who_is_in_several_rooms_hears_it_once() -> None:
    house = House(3)
    for socket in house.sockets[:2]:
        socket.join("a")
    for socket in house.sockets[1:]:
        socket.join("b")
    house.server.to("a", "b").emit("x")
    house.server.to("a").to("b").emit("y")
    assert house.heard() == [["x", "y"]] * 3


def test_except_leaves_out_sockets_and_rooms() -> None:
    house = House(3)
    one, two, _ = house.sockets
    for socket in house.sockets:
        socket.join("a")
    two.join("b")
    house.server.to("a").except_(one).emit("x")
    house.server.to("a").except_("b").emit("y")
    house.server.to("a").except_(one, "b").except_("nobody").emit("z")
    assert house.heard() == [["y"], ["x"], ["x", "y", "z"]]
    house.server.to("a").except_("b").to("c").emit("more rooms, and who is left out stays so")
    assert [len(each) for each in house.heard()] == [1, 0, 1]


def test_leaving_a_room_twice_or_never_having_been_there_is_no_error() -> None:
    house = House(1)
    [one] = house.sockets
    one.join("a")
    one.join("a")
    one.leave("a", "b")
    one.leave("a")
    house.server.to("a").emit("x")
    assert house.heard() == [[]]
    assert not one.rooms and not house.server.rooms
    assert one.id not in house.server.rooms._of  # nothing is kept of who is in none


def test_who_leaves_one_room_stays_in_the_others() -> None:
    house = House(1)
    [one] = house.sockets
    one.join("a", "b")
    one.leave("a")
    assert one.rooms == {"b"}
    house.wires[0].abort()
    house.driver.run_until_idle()
    assert not house.server.rooms


def test_a_handler_joins_and_tells_the_others() -> None:
    house = House(2)

    @house.server.on("join")
    def join(room: str, socket: Session) -> None:
        socket.join(room)
        house.server.to(room).except_(socket).emit("joined", socket.id)

    for wire in house.wires:
        wire.write(b'{"type":"join","data":"lobby"}\f')
        house.driver.run_until_idle()
    assert house.heard() == [["joined"], []]


def test_a_socket_that_is_gone_left_all_its_rooms_after_its_handlers_asked() -> None:
    house = House(2)
    one, two = house.sockets
    one.join("a", "b")
    two.join("a")
    seen: list[Any] = []

    @house.server.on("close")
    def close(socket: Session) -> None:
        seen.append(socket.rooms)
        house.server.to("a").emit("left", socket.id)

    house.wires[0].close()
    assert house.heard()[1] == ["left"]
    assert seen == [{"a", "b"}]
    assert dict(house.server.rooms) == {"a": [two]} and one.rooms == frozenset()


def test_what_a_close_handler_raises_keeps_nobody_in_a_room() -> None:
    house = House(1)
    house.sockets[0].join("a")
    house.server.on("close", lambda socket: 1 / 0)
    house.wires[0].close()
    house.driver.run_until_idle()
    assert not house.server.rooms
    assert [type(failure.__cause__) for failure in house.driver.failures] == [ZeroDivisionError]


def test_a_socket_that_is_closed_joins_nothing() -> None:
    house = House(1)
    [one] = house.sockets
    one.close()
    with pytest.raises(NotConnected, match="cannot join 'a'"):
        one.join("a")
    house.driver.run_until_idle()
    with pytest.raises(NotConnected):
        one.join("a")
    assert not house.server.rooms


@pytest.mark.parametrize("name", ["", "x" * 257, None, 5, b"a", ["a"], {}, "\ud800"], ids=repr)
def test_what_is_no_name_of_a_room_is_refused_by_every_verb(name: Any) -> None:
    house = House(1)
    [one] = house.sockets
    for verb, call in (
        ("join", one.join),
        ("leave", one.leave),
        ("to", house.server.to),
        ("to", house.server.to("a").to),
    ):
        with pytest.raises(InvalidEvent, match=f"^{verb}: a room's name"):
            call(name)
    if not isinstance(name, str):
        with pytest.raises(TypeError, match="except_ takes sockets and names of rooms"):
            house.server.to("a").except_(name)
    with pytest.raises(InvalidEvent):
        one.join("fine", name)
    assert one.rooms == frozenset()


def test_without_a_bus_a_join_is_done_at_once_and_costs_no_outcome_of_its_own() -> None:
    house = House(2)
    one, two = house.sockets
    joined = one.join("a")
    assert joined.done and joined.error is None and joined.result() is None
    assert two.join("a", "b") is joined and one.join("a") is joined


def test_a_room_s_name_is_any_text_up_to_its_length() -> None:
    house = House(1)
    [one] = house.sockets
    for name in ("x" * 256, "ein Gästezimmer", "房间"):
        one.join(name)
        assert name in house.server.rooms


def test_a_text_of_a_class_of_its_own_names_the_room_of_that_text() -> None:
    class Room(StrEnum):
        LOBBY = "lobby"

    house = House(1)
    [one] = house.sockets
    one.join(Room.LOBBY)
    assert one.rooms == {"lobby"} and [type(name) for name in one.rooms] == [str]


def test_rooms_show_the_first_eight() -> None:
    house = House(1)
    [one] = house.sockets
    assert repr(house.server.rooms) == "<Rooms none>"
    one.join(*"abcdefgh")
    assert repr(house.server.rooms) == "<Rooms a, b, c, d, e, f, g, h>"
    one.join("i")
    assert repr(house.server.rooms) == "<Rooms a, b, c, d, e, f, g, h, …>"


def test_what_is_emitted_to_a_room_may_be_for_this_process_only_and_its_newest_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House(1)
    emitted: list[Any] = []
    monkeypatch.setattr(house.server, "emit_to", lambda *arguments: emitted.append(arguments[1:]))
    house.server.to("a", local=True).to("b").emit("x", 1, keep="latest")
    house.server.to("a").except_("b").emit("x")
    assert emitted == [("x", 1, True, "latest"), ("x", {}, False, None)]


def test_a_room_has_the_verbs_that_it_offers_and_says_what_it_takes() -> None:
    target: Any = House(1).server.to("a")
    assert {"to", "except_", "emit", "sockets"} <= set(dir(target)) and "broadcast" not in dir(target)
    with pytest.raises(TypeError, match="keep"):
        target.emit("x", 1, keeep="latest")


def test_who_left_one_of_two_rooms_is_in_the_other_until_it_is_gone() -> None:
    house = House(1)
    [one] = house.sockets
    one.join("a", "b")
    one.leave("a", "c")
    assert one.rooms == {"b"} and dict(house.server.rooms) == {"b": [one]}
    house.wires[0].close()
    house.driver.run_until_idle()
    assert not house.server.rooms


def test_a_verb_without_a_room_says_what_to_give() -> None:
    house = House(1)
    [one] = house.sockets
    for verb in ("join", "leave"):
        with pytest.raises(TypeError, match=rf"^{verb}\(\) takes at least one room"):
            getattr(one, verb)()
    with pytest.raises(TypeError, match="use broadcast"):
        house.server.to()
    with pytest.raises(TypeError, match="at least one socket"):
        house.server.to("a").except_()


def test_a_socket_is_in_so_many_rooms_at_the_most() -> None:
    house = House(1, max_rooms_per_socket=3)
    [one] = house.sockets
    one.join("a", "b")
    with pytest.raises(BackpressureError, match=r"max_rooms_per_socket \(3\)"):
        one.join("c", "d")
    assert one.rooms == {"a", "b"}
    one.join("a", "b", "c", "c")
    assert one.rooms == {"a", "b", "c"}


def test_a_clients_own_link_has_no_rooms() -> None:
    one = pair()
    sockets: list[Session] = []
    one.client.handle("which", lambda params, socket: sockets.append(socket))
    one.socket.request("which")
    one.driver.run_until_idle()
    with pytest.raises(IPCError, match="rooms are the server's"):
        sockets[0].join("a")
    assert sockets[0].rooms == frozenset()


def test_another_thread_is_refused() -> None:
    house = House(1)
    [one] = house.sockets
    target = house.server.to("a")
    house.driver.home = 1
    for call in (lambda: one.join("a"), lambda: one.leave("a"), lambda: target.emit("x")):
        with pytest.raises(WrongThreadError):
            call()


def test_a_slow_member_is_treated_as_by_broadcast() -> None:
    house = House(2, max_pending_bytes=1000, soft_pending_bytes=1000)
    slow, fine = house.sockets
    errors: list[Any] = []
    house.server.on("error", lambda error, socket: errors.append((error, socket)))
    for socket in house.sockets:
        socket.join("a")
    assert house.wires[0].link is not None
    house.wires[0].link.pause_reading()
    results = []
    for _ in range(400):
        results.append(house.server.to("a").emit("x", "y" * 2000))
        house.driver.run_until_idle()
    assert not slow.is_open and fine.is_open
    assert [(type(error), socket) for error, socket in errors] == [(BackpressureError, slow)]
    assert False in results
    assert len(house.heard()[1]) == 400


def test_rooms_are_looked_at_while_they_change() -> None:
    house = House(2)
    one, two = house.sockets
    one.join("a", "b")
    for room in house.server.rooms:
        two.join(f"{room}2")
    for socket in house.server.rooms["a"]:
        socket.leave("a")
    assert list(house.server.rooms) == ["b", "a2", "b2"] and len(house.server.rooms) == 3
    assert "b" in house.server.rooms and "a" not in house.server.rooms
    with pytest.raises(KeyError):
        house.server.rooms["a"]
    assert house.server.to("b", "a2").sockets == [one, two]
    assert repr(house.server.rooms) == "<Rooms b, a2, b2>"
    assert repr(house.server.to("b").except_("c", one)).startswith("<to 'b' except 'c', <Socket 1")


def test_whoever_relays_is_told_of_a_rooms_first_and_last_socket() -> None:
    house = House(2)
    told: list[str] = []
    house.server.rooms.first = lambda room: told.append(f"+{room}")
    house.server.rooms.last = lambda room: told.append(f"-{room}")
    one, two = house.sockets
    one.join("a")
    two.join("a", "b")
    one.leave("a")
    house.wires[1].close()
    house.driver.run_until_idle()
    assert told == ["+a", "+b", "-a", "-b"]


@pytest.mark.row(61)
def test_a_hundred_thousand_rooms_joined_and_left_leave_nothing() -> None:
    house = House(1)
    [one] = house.sockets
    one.join("warm")
    one.leave("warm")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100_000):
            one.join(f"room {number}")
            one.leave(f"room {number}")
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 64 * 1024 and not house.server.rooms


def test_a_udp_port_says_what_it_has_instead() -> None:
    from node_ipc.core.datagram import DatagramServer

    with pytest.raises(AttributeError, match="UDP has no connections"):
        getattr(DatagramServer, "to")  # noqa: B009


def test_broadcast_takes_local_where_there_is_no_other_process() -> None:
    house = House(2)
    house.server.broadcast("x", local=True)
    house.server.to("a", local=True).emit("y")
    assert house.heard() == [["x"], ["x"]]


def test_raw_mode_has_rooms_too() -> None:
    driver = MemoryDriver()
    server = serve(driver, parser="raw")
    client = connect(driver, server.address, parser="raw")
    heard: list[bytes] = []
    client.on("data", heard.append)
    server.sockets[0].join("a")
    server.to("a").emit(b"hello")
    driver.run_until_idle()
    assert heard == [b"hello"]


def test_sockets_in_a_room_s_name_says_where_they_are() -> None:
    ends = pair()
    with pytest.raises(TypeError, match=r"^sockets_in\('lobby'\): the sockets in a room are server\.rooms\['lobby'\]"):
        ends.server.sockets_in("lobby")  # type: ignore[arg-type]
    ends.server.sockets[0].join("lobby")
    assert ends.server.to("lobby").sockets == ends.server.sockets
    ends.driver.close()
