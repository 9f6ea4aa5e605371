"""Links over connected sockets: on both drivers, and on one that does nothing by itself."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node_ipc import ConnectionLost, Peer
from node_ipc.config.address import Tcp, Unix
from node_ipc.net import stream as stream_link
from node_ipc.net.paused import LOOK_SECONDS
from node_ipc.net.steps import READ, WRITE
from node_ipc.net.stream import NOTHING, StreamLink
from stream_ends import DRIVERS, KINDS, SECONDS, AnyDriver, End, Make, driver_of, listen, pair


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyDriver]:
    driver = driver_of(request.param, monkeypatch)
    yield driver
    driver.close()


@pytest.fixture
def address(tmp_path: Path) -> Unix:
    return Unix(f"{tmp_path}/s")


@pytest.fixture(autouse=True)
def nothing() -> Iterator[None]:
    """What all links without unsent bytes have in common stays empty."""
    yield
    assert len(NOTHING) == 0
    NOTHING.append(memoryview(b"x"))
    assert len(NOTHING) == 0


# ---- both drivers


@pytest.mark.parametrize("where", KINDS)
def test_bytes_both_ways_and_an_orderly_end(driver: AnyDriver, tmp_path: Path, where: Make) -> None:
    client, server, listener = pair(driver, where(tmp_path))
    client.there.write(b"question")
    server.there.write(b"answer")
    assert driver.run_until(lambda: (client.bytes, server.bytes) == (b"answer", b"question"), SECONDS)
    client.there.write(b"last words")
    client.there.close()
    client.there.close()
    assert not client.is_lost
    assert driver.run_until(lambda: client.is_lost and server.is_lost, SECONDS)
    assert server.bytes == b"questionlast words"
    assert client.told == ["opened", "ended", ("lost", None)]
    assert server.told == ["opened", "ended", ("lost", None)]
    listener.close()
    client.there.write(b"nobody hears this")
    client.there.abort()
    driver.pump()
    assert client.told[-1] == ("lost", None) and len(client.told) == 3


def test_who_is_at_the_other_end(driver: AnyDriver, tmp_path: Path) -> None:
    client, server, _ = pair(driver, Unix(f"{tmp_path}/s"))
    for end in (client, server):
        assert (end.there.peer.transport, end.there.peer.pid) == ("unix", os.getpid())
        assert end.there.peer.uid == os.getuid()
    client, server, _ = pair(driver, Tcp("127.0.0.1", 0))
    assert client.there.peer.host == server.there.peer.host == "127.0.0.1"
    assert client.there.peer.transport == "tcp"


@pytest.mark.parametrize("where", KINDS)
def test_a_full_kernel_pauses_the_session_and_tells_it_when_there_is_room(
    driver: AnyDriver, tmp_path: Path, where: Make
) -> None:
    client, server, _ = pair(driver, where(tmp_path))
    server.there.pause_reading()
    data = os.urandom(10_000_000)
    client.there.write(data)
    assert client.told[-1] == "pause"
    waiting = client.there.pending_bytes()
    assert 0 < waiting < len(data)
    client.there.write(b"more")
    assert client.there.pending_bytes() == waiting + 4
    for _ in range(10):
        driver.pump()
    assert server.bytes == b""
    server.there.resume_reading()
    assert driver.run_until(lambda: len(server.bytes) == len(data) + 4, SECONDS)
    assert server.bytes == data + b"more"
    assert client.told[-1] == "writable" and client.told.count("pause") == 1
    assert client.there.pending_bytes() == 0


def test_close_waits_until_the_kernel_has_everything(driver: AnyDriver, address: Unix) -> None:
    client, server, _ = pair(driver, address)
    server.there.pause_reading()
    data = os.urandom(5_000_000)
    client.there.write(data)
    client.there.close()
    server.there.resume_reading()
    assert driver.run_until(lambda: client.is_lost and server.is_lost, SECONDS)
    assert server.bytes == data
    assert client.told[-1] == ("lost", None)


@pytest.mark.parametrize("where", KINDS)
def test_abort_ends_both_sides_in_a_later_turn(driver: AnyDriver, tmp_path: Path, where: Make) -> None:
    client, server, _ = pair(driver, where(tmp_path))
    server.there.pause_reading()
    client.there.write(b"x" * 5_000_000)
    client.there.abort()
    assert not client.is_lost and client.there.pending_bytes() == 0
    server.there.resume_reading()
    assert driver.run_until(lambda: client.is_lost and server.is_lost, SECONDS)
    assert client.told[-1] == ("lost", None)
    assert len(server.bytes) < 5_000_000


def test_what_a_peer_sent_before_it_went_away_is_read(driver: AnyDriver, address: Unix) -> None:
    client, server, _ = pair(driver, address)
    client.there.pause_reading()
    server.there.write(b"last words")
    server.there.abort()
    driver.pump()
    client.there.write(b"into nothing")
    assert client.told[-1] == "pause"
    client.there.write(b"again")
    assert client.there.pending_bytes() == 0
    assert driver.run_until(lambda: client.is_lost, SECONDS)
    assert client.bytes == b"last words"
    error = client.told[-1][1]
    assert isinstance(error, ConnectionLost) and isinstance(error.__cause__, BrokenPipeError)


def test_a_peer_that_goes_while_bytes_wait(driver: AnyDriver, address: Unix) -> None:
    client, server, _ = pair(driver, address)
    client.close_at_end = False
    server.there.pause_reading()
    client.there.write(b"x" * 5_000_000)
    server.there.abort()
    assert driver.run_until(lambda: client.is_lost, SECONDS)
    assert isinstance(client.told[-1][1], ConnectionLost)


def test_a_reset_is_a_broken_link(driver: AnyDriver) -> None:
    hall, _ = listen(driver, Tcp("127.0.0.1", 0))
    with socket.create_connection(("127.0.0.1", hall.address.port)) as other:
        assert driver.run_until(lambda: hall.ends and hall.ends[0].link, SECONDS)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert driver.run_until(lambda: hall.ends[0].is_lost, SECONDS)
    error = hall.ends[0].told[-1][1]
    assert isinstance(error, ConnectionLost) and isinstance(error.__cause__, ConnectionResetError)


def test_closing_a_link_that_the_peer_ended(driver: AnyDriver, address: Unix) -> None:
    client, server, _ = pair(driver, address)
    client.close_at_end = False
    server.there.close()
    assert driver.run_until(lambda: "ended" in client.told, SECONDS)
    client.there.write(b"still open this way")
    assert driver.run_until(lambda: server.bytes, SECONDS)
    assert not client.is_lost
    client.there.close()
    assert driver.run_until(lambda: client.is_lost and server.is_lost, SECONDS)
    assert client.told[-1] == ("lost", None)


# ---- one step at a time


class Slow:
    """A driver that waits for nothing: what a link wants is written down, and done when the test says so."""

    def __init__(self) -> None:
        self.wanted: list[int] = []
        self.direct: list[Callable[[], None] | None] = []
        self.later: list[Callable[[], None]] = []

    def watch(self, watched: Any, interest: int, direct: Callable[[], None] | None = None) -> None:
        assert watched.fileno() >= 0, "the kernel has forgotten it already"
        self.wanted.append(interest)
        self.direct.append(direct)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        assert delay in (0, LOOK_SECONDS)
        if delay == 0:
            self.later.append(callback)
        return self

    def cancel(self) -> None:
        """No look at a paused link comes about here."""

    def turn(self) -> None:
        later, self.later = self.later, []
        for callback in later:
            callback()


class Narrow:
    """A socket whose kernel takes so many bytes, and can be told to fail."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.takes = 1 << 30
        self.error: OSError | None = None

    def send(self, data: Any, flags: int = 0) -> int:
        if self.error is not None:
            raise self.error
        if not self.takes:
            raise BlockingIOError
        sent = self.sock.send(data[: self.takes], flags)
        self.takes -= sent
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class Bench:
    """A link, its socket, its driver, its receiver and the other end of the wire."""

    def __init__(self, *, alone: bool = False) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.sock = Narrow(near)
        self.driver = Slow()
        self.end = End()
        self.link = StreamLink(self.driver, self.sock, Peer("unix"), self.end)  # type: ignore[arg-type]
        self.link.start(alone=alone)

    @property
    def wanted(self) -> int:
        return self.driver.wanted[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.link.discard()
    bench.far.close()


def test_it_wants_to_write_only_while_bytes_wait(bench: Bench) -> None:
    assert (bench.driver.wanted, bench.end.told) == ([READ], ["opened"])
    bench.link.write(b"all of it")
    assert bench.driver.wanted == [READ] and bench.link.pending_bytes() == 0
    assert bench.link._unsent is NOTHING
    bench.sock.takes = 3
    bench.link.write(b"abcdef")
    bench.link.write(b"ghi")
    assert (bench.wanted, bench.link.pending_bytes(), bench.end.told[-1]) == (READ | WRITE, 6, "pause")
    bench.link.pause_reading()
    assert bench.wanted == WRITE
    bench.sock.takes = 1 << 30
    bench.link.writable()
    assert (bench.wanted, bench.link.pending_bytes(), bench.end.told[-1]) == (0, 0, "writable")
    bench.link.resume_reading()
    bench.link.resume_reading()
    assert bench.driver.wanted == [READ, READ | WRITE, WRITE, 0, READ]
    assert bench.far.recv(100) == b"all of itabcdefghi"
    assert bench.link._unsent is NOTHING


def test_unsent_bytes_keep_their_order_whatever_the_kernel_takes(bench: Bench) -> None:
    bench.sock.takes = 0
    for piece in (b"ab", b"cde", b"f"):
        bench.link.write(piece)
    expected = b"abcdef"
    for takes in (0, 1, 3, 0, 1):
        bench.sock.takes = takes
        bench.link.writable()
        expected = expected[takes:]
        assert bench.link.pending_bytes() == len(expected)
    assert bench.end.told == ["opened", "pause"]
    bench.sock.takes = 1
    bench.link.writable()
    assert bench.end.told == ["opened", "pause", "writable"]
    assert bench.far.recv(100) == b"abcdef"


def test_what_is_written_inside_writable_waits_again(bench: Bench) -> None:
    told: list[str] = []

    def writable() -> None:
        told.append("writable")
        bench.sock.takes = 1
        bench.link.write(b"cd")

    bench.end.writable = writable  # type: ignore[method-assign]
    bench.sock.takes = 1
    bench.link.write(b"ab")
    bench.link.close()
    bench.sock.takes = 1 << 30
    bench.link.writable()
    assert told == ["writable"] and bench.link.pending_bytes() == 1
    bench.end.writable = lambda: None  # type: ignore[method-assign]
    bench.sock.takes = 1 << 30
    bench.link.writable()
    assert bench.far.recv(100) == b"abcd" and bench.far.recv(100) == b"", "its end comes after all it wrote"


def test_being_told_for_nothing_does_nothing(bench: Bench) -> None:
    """A number that a closed socket had may be another's by the time its event is handled."""
    bench.link.readable()
    bench.sock.takes = 0
    bench.link.write(b"x")
    bench.link.writable()
    assert bench.end.told == ["opened", "pause"] and bench.link.pending_bytes() == 1


@pytest.mark.parametrize("when", ["start", "write", "pause", "resume"])
def test_a_kernel_that_cannot_watch_a_link_ends_it_with_an_error(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """``epoll_ctl`` fails with ENOSPC where ``max_user_watches`` is used up, and with ENOMEM."""
    refused: list[int] = []

    def refuse(driver: Slow, watched: Any, interest: int, direct: Callable[[], None] | None = None) -> None:
        if interest:
            refused.append(interest)
            raise OSError(errno.ENOSPC, "no watches are left")

    if when == "start":
        monkeypatch.setattr(Slow, "watch", refuse)
    bench = Bench()
    if when == "resume":
        bench.link.pause_reading()
    monkeypatch.setattr(Slow, "watch", refuse)
    if when == "write":
        bench.sock.takes = 1
        bench.link.write(b"ab")
    elif when == "pause":
        bench.sock.takes = 1
        monkeypatch.undo()
        bench.link.write(b"ab")
        monkeypatch.setattr(Slow, "watch", refuse)
        bench.link.pause_reading()
    elif when == "resume":
        bench.link.resume_reading()
    assert refused and bench.end.told[0] == "opened" and not bench.end.is_lost
    bench.driver.turn()
    (lost,) = [what for what in bench.end.told if isinstance(what, tuple)]
    assert isinstance(lost[1], ConnectionLost) and isinstance(lost[1].__cause__, OSError)
    assert lost[1].__cause__.errno == errno.ENOSPC and bench.sock.fileno() == -1
    bench.far.close()


def test_a_read_that_fails_is_told_in_a_later_turn_and_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.sock.takes = 1
    bench.link.write(b"ab")
    bench.sock.recv = lambda size, flags: (_ for _ in ()).throw(ConnectionResetError(errno.ECONNRESET, "reset"))  # type: ignore[attr-defined]
    bench.link.readable()
    assert not bench.end.is_lost and bench.wanted == 0 and bench.sock.fileno() == -1
    assert bench.link.pending_bytes() == 0 and bench.link._unsent is NOTHING
    bench.link.abort()
    bench.link.close()
    bench.link.write(b"to nobody")
    bench.link.pause_reading()
    bench.link.resume_reading()
    assert bench.wanted == 0 and bench.link.pending_bytes() == 0
    bench.driver.turn()
    bench.driver.turn()
    (lost,) = [what for what in bench.end.told if isinstance(what, tuple)]
    assert isinstance(lost[1], ConnectionLost) and isinstance(lost[1].__cause__, ConnectionResetError)


def test_a_write_that_fails_reads_what_is_left_and_no_more_than_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_link, "READ_BYTES", 10)
    bench.far.send(b"x" * 1000)
    bench.sock.error = BrokenPipeError(errno.EPIPE, "gone")
    bench.link.write(b"ab")
    assert bench.end.told == ["opened", "pause"], "so the session counts this as not with the kernel"
    assert bench.wanted == 0 and bench.end.bytes == b"" and bench.link.pending_bytes() == 0
    bench.link.close()
    bench.driver.turn()
    assert len(bench.end.bytes) == 10 * stream_link.LAST_READS
    bench.driver.turn()
    assert isinstance(bench.end.told[-1][1], ConnectionLost)


def test_bytes_that_wait_are_given_up_when_the_peer_is_gone(bench: Bench) -> None:
    bench.sock.takes = 1
    bench.link.write(b"abc")
    bench.sock.error = BrokenPipeError(errno.EPIPE, "gone")
    bench.far.close()
    bench.link.writable()
    assert bench.link.pending_bytes() == 0 and bench.link._unsent is NOTHING
    bench.driver.turn()
    bench.driver.turn()
    assert isinstance(bench.end.told[-1][1], ConnectionLost)


@pytest.mark.parametrize("unsent", [False, True])
def test_a_second_close_says_nothing_more(bench: Bench, unsent: bool) -> None:
    """It could fail by now, where the peer has reset the connection; its own end is on its way all the same."""
    said: list[int] = []
    bench.sock.shutdown = lambda how: said.append(how) or bench.sock.sock.shutdown(how)  # type: ignore[attr-defined,func-returns-value]
    if unsent:
        bench.sock.takes = 1
        bench.link.write(b"abc")
    bench.link.close()
    bench.link.close()
    assert said == ([] if unsent else [socket.SHUT_WR])
    if unsent:
        bench.sock.takes = 1 << 30
        bench.link.writable()
        bench.link.close()
    assert said == [socket.SHUT_WR]
    bench.sock.shutdown = lambda how: (_ for _ in ()).throw(OSError(errno.EINVAL, "no"))  # type: ignore[attr-defined]
    bench.link.close()
    assert bench.sock.fileno() != -1 and bench.driver.later == [], "it waits for its peer's end"
    assert bench.far.recv(100) == (b"abc" if unsent else b"")
    bench.far.close()
    bench.link.readable()
    bench.driver.turn()
    assert bench.end.told[-1] == ("lost", None)
    bench.link.close()
    assert bench.driver.later == []


def test_an_end_that_cannot_be_said(bench: Bench) -> None:
    """A peer that has reset the connection has nobody to say it to; any other error broke the link."""
    for number, kind in ((errno.ENOTCONN, type(None)), (errno.EINVAL, ConnectionLost)):
        bench = Bench()
        with bench.far:
            bench.sock.shutdown = lambda how, number=number: (_ for _ in ()).throw(OSError(number, "no"))  # type: ignore[attr-defined]
            bench.link.close()
            bench.driver.turn()
            assert isinstance(bench.end.told[-1][1], kind) and bench.sock.fileno() == -1


def test_discarding_tells_nobody(bench: Bench) -> None:
    bench.link.discard()
    bench.link.abort()
    bench.link.close()
    bench.link.write(b"x")
    bench.link.pause_reading()
    assert bench.driver.later == [] and bench.driver.wanted == [READ]
    assert bench.end.told == ["opened"]


def test_only_a_link_that_is_alone_reads_directly() -> None:
    bench = Bench(alone=True)
    with bench.far:
        (direct,) = bench.driver.direct
        assert direct is not None and bench.sock.getblocking()
        bench.far.send(b"read directly")
        direct()
        assert bench.end.bytes == b"read directly"
        bench.link.readable()  # nothing is there, and yet it returns
        bench.link.abort()
    bench = Bench()
    with bench.far:
        assert bench.driver.direct == [None] and not bench.sock.getblocking()
        bench.link.discard()
