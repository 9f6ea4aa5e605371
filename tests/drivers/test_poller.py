"""Which sockets can go on: ``epoll``, and ``selectors`` where there is none."""

from __future__ import annotations

import os
import select
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node_ipc.drivers.poller import Poller
from node_ipc.net import stream
from node_ipc.net.steps import READ, WRITE
from node_ipc.net.stream import DIRECT_SECONDS, DONT_WAIT, block_for_reads


class Seen:
    """One end of a wire; what it is told goes into a list that all have in common."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.then: Callable[[], Any] = lambda: None
        """What it does when it is told."""

    def fileno(self) -> int:
        return self.near.fileno()

    def readable(self) -> bool:
        self.told.append(f"{self.name} reads")
        return self.then() is True

    def writable(self) -> None:
        self.told.append(f"{self.name} writes")
        self.then()

    def discard(self) -> None:
        self.told.append(f"{self.name} is discarded")
        self.close()

    def close(self) -> None:
        self.near.close()
        self.far.close()


class Room:
    """A Poller, and ends for it."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.told: list[str] = []
        self.ends: list[Seen] = []

    def end(self, name: str, interest: int, *, sent: bytes = b"") -> Seen:
        end = Seen(name, self.told)
        self.ends.append(end)
        end.far.sendall(sent)
        self.poller.watch(end, interest)
        return end

    def poll(self) -> list[str]:
        """Who is told what."""
        self.told.clear()
        assert self.poller.poll(0) is bool(self.told)
        return sorted(self.told)


@pytest.fixture(params=["epoll", "selectors", "select"])
def waiter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "epoll":
        monkeypatch.delattr(select, "epoll")
    if request.param == "select":
        monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    return str(request.param)


@pytest.fixture
def room(waiter: str) -> Iterator[Room]:
    room = Room()
    yield room
    room.poller.close()
    for end in room.ends:
        end.close()


def test_each_is_told_what_it_waits_for(room: Room) -> None:
    room.end("a", READ, sent=b"x")
    room.end("b", READ)
    room.end("c", WRITE, sent=b"x")
    room.end("d", 0, sent=b"x")
    assert len(room.poller) == 3
    assert room.poll() == ["a reads", "c writes"]
    assert room.poll() == ["a reads", "c writes"], "as long as it is so"


def test_reading_comes_before_writing(room: Room) -> None:
    """What was read may be an end, or make room for what waits."""
    room.end("a", READ | WRITE, sent=b"x")
    room.poller.poll(0)
    assert room.told == ["a reads", "a writes"]


def test_what_it_waits_for_can_change(room: Room) -> None:
    end = room.end("a", READ, sent=b"x")
    for interest, told in [
        (READ, ["a reads"]),
        (WRITE, ["a writes"]),
        (READ | WRITE, ["a reads", "a writes"]),
        (0, []),
        (0, []),
        (WRITE, ["a writes"]),
        (READ, ["a reads"]),
    ]:
        room.poller.watch(end, interest)
        assert len(room.poller) == bool(interest)
        assert room.poll() == told


@pytest.mark.parametrize("interest", [READ, WRITE])
def test_an_end_is_told_whatever_it_waits_for(room: Room, interest: int) -> None:
    end = room.end("a", interest)
    end.far.close()
    assert room.poll() == ["a reads" if interest == READ else "a writes"]


def test_waiting_ends_when_something_comes(room: Room) -> None:
    end = room.end("a", READ)
    timer = threading.Timer(0.02, end.far.send, [b"x"])
    timer.start()
    assert room.poller.poll(None) is True
    timer.join()
    assert room.told == ["a reads"]


def test_one_that_another_closed_is_not_told(room: Room) -> None:
    a, b = room.end("a", READ, sent=b"x"), room.end("b", READ, sent=b"x")

    def close(other: Seen) -> Callable[[], None]:
        def do() -> None:
            room.poller.watch(other, 0)
            other.close()

        return do

    a.then, b.then = close(b), close(a)
    room.poller.poll(0)
    assert len(room.told) == 1 and len(room.poller) == 1


def test_who_stops_waiting_while_it_reads_is_not_told_to_write(room: Room) -> None:
    end = room.end("a", READ | WRITE, sent=b"x")
    end.then = lambda: room.poller.watch(end, 0)
    assert room.poll() == ["a reads"]


def test_a_number_that_is_used_again_inside_one_poll(room: Room) -> None:
    """The newcomer may be told for nothing, but it never writes in the name of the one before it."""
    old = room.end("old", READ | WRITE, sent=b"x")
    number = old.fileno()

    def replace() -> None:
        old.then = lambda: None
        room.poller.watch(old, 0)
        old.close()
        new = room.end("new", READ | WRITE)
        assert new.fileno() == number

    old.then = replace
    assert room.poll() == ["old reads"]
    assert room.poll() == ["new writes"], "from the next poll on it is told of its own"


def test_a_newcomer_with_the_number_of_one_whose_turn_has_not_come(room: Room) -> None:
    a, b = room.end("a", READ, sent=b"x"), room.end("b", READ, sent=b"x")

    def replace(other: Seen) -> Callable[[], None]:
        def do() -> None:
            a.then = b.then = lambda: None
            number = other.fileno()
            room.poller.watch(other, 0)
            other.close()
            assert room.end("new", READ).fileno() == number

        return do

    a.then, b.then = replace(b), replace(a)
    room.poller.poll(0)
    assert "new reads" in room.told, "so what is watched must bear being told for nothing"
    assert len(room.poll()) == 1 and "new reads" not in room.told


def test_an_exception_leaves_the_others_for_the_next_time(room: Room) -> None:
    names = ["a", "b", "c"]
    ends = [room.end(name, READ, sent=b"x") for name in names]

    def interrupt() -> None:
        for end in ends:
            end.then = lambda: None
        raise KeyboardInterrupt

    for end in ends:
        end.then = interrupt
    with pytest.raises(KeyboardInterrupt):
        room.poller.poll(0)
    assert len(room.told) == 1
    assert room.poll() == ["a reads", "b reads", "c reads"]


def test_its_own_descriptor_is_readable_while_something_can_go_on(room: Room, waiter: str) -> None:
    fd = room.poller.fileno()
    if waiter == "select":
        assert fd == -1
        return
    end = room.end("a", READ)
    outside = select.poll()
    outside.register(fd, select.POLLIN)
    assert outside.poll(0) == []
    end.far.send(b"x")
    assert outside.poll(0) == [(fd, select.POLLIN)]
    end.near.recv(1)
    assert outside.poll(0) == []


def test_closing_discards_what_is_watched_and_gives_everything_back(waiter: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    room = Room()
    room.end("a", READ)
    room.end("b", READ | WRITE)
    forgotten = room.end("c", READ)
    room.poller.watch(forgotten, 0)
    room.poller.close()
    assert sorted(room.told) == ["a is discarded", "b is discarded"] and len(room.poller) == 0
    forgotten.close()
    assert len(os.listdir("/proc/self/fd")) == before
    room.poller.close()


# ---- reads that block


@pytest.fixture
def wire() -> Iterator[socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near


def test_a_read_that_blocks_has_a_time_limit(wire: socket.socket) -> None:
    assert block_for_reads(wire)
    assert wire.getblocking()
    assert struct.unpack("ll", wire.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)) == (DIRECT_SECONDS, 0)
    with pytest.raises(BlockingIOError):
        wire.recv(1, DONT_WAIT)


@pytest.mark.parametrize("lacks", ["the flag", "the option", "the limit"])
def test_where_the_system_cannot_nothing_blocks(
    wire: socket.socket, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        def setsockopt(self, *arguments: Any) -> None:
            if lacks == "the option":
                raise OSError("no such option")

        def getsockopt(self, *arguments: Any) -> bytes:
            return bytes(16)

        def setblocking(self, flag: bool) -> None:
            raise AssertionError("it would block for ever")

    if lacks == "the flag":
        monkeypatch.setattr(stream, "DONT_WAIT", 0)
    assert not block_for_reads(Other())  # type: ignore[arg-type]


# ---- those that send more than one read takes


def greedy(room: Room, *names: str) -> list[Seen]:
    """They are known to be so, and each has more."""
    ends = [room.end(name, READ, sent=b"x") for name in names]
    for end in ends:
        end.then = lambda: True
    room.poll()
    return ends


def told_next(room: Room) -> list[str]:
    room.told.clear()
    room.poller.poll(0)
    return list(room.told)


def test_who_has_more_than_one_read_takes_is_read_last_and_in_turn(room: Room) -> None:
    greedy(room, "a", "b", "c")
    room.end("d", READ, sent=b"x")
    room.poller._now = iter(range(100)).__next__  # one of them takes all the time there is
    told = [told_next(room) for _ in range(4)]
    assert [each[0] for each in told] == ["d reads"] * 4
    assert sorted(each[1] for each in told[:3]) == ["a reads", "b reads", "c reads"] and told[3] == told[0]


def test_all_who_have_more_are_read_where_there_is_time(room: Room) -> None:
    greedy(room, "a", "b")
    room.poller._now = lambda: 0.0
    assert sorted(told_next(room)) == ["a reads", "b reads"]


def test_who_has_no_more_is_one_of_the_others_again(room: Room) -> None:
    [a] = greedy(room, "a")
    a.then = lambda: False
    assert list(room.poller._greedy) == [a.fileno()]
    assert told_next(room) == ["a reads"]
    assert not room.poller._greedy


def test_who_has_more_and_is_closed_by_another_is_not_told(room: Room) -> None:
    a, b = greedy(room, "a", "b")
    room.poller._now = lambda: 0.0

    def close() -> None:
        room.poller.watch(b, 0)
        room.poller.watch(a, 0)

    a.then = b.then = close
    assert len(told_next(room)) == 1
    assert not room.poller._greedy and not len(room.poller)
