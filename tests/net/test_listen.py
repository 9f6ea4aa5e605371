"""Listening, on both drivers and on loops that carry links themselves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node_ipc import AddressError, AddressInUse, Peer
from node_ipc.config.address import Handed, Tcp, Tls, Unix
from node_ipc.drivers.loop import EventLoopDriver
from node_ipc.net import listen as listening
from node_ipc.net.listen import FIRST_BACKOFF, LONGEST_BACKOFF, Door
from node_ipc.net.steps import READ
from stream_ends import DRIVERS, LOOPS, SECONDS, AnyDriver, End, Hall, OwnLoop, driver_of, listen, pair, settings


@pytest.fixture(params=[*DRIVERS, *LOOPS])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyDriver]:
    driver = driver_of(request.param, monkeypatch)
    yield driver
    driver.close()


@pytest.fixture
def address(tmp_path: Path) -> Unix:
    return Unix(f"{tmp_path}/s")


def test_a_place_that_is_taken(driver: AnyDriver, address: Unix) -> None:
    listen(driver, address)
    hall, _ = listen(driver, address)
    assert isinstance(hall.error, AddressInUse)
    hall, _ = listen(driver, Tcp("127.0.0.1", 0))
    again, _ = listen(driver, hall.address)
    assert isinstance(again.error, AddressInUse)


def test_a_listener_closed_before_it_began(driver: AnyDriver, address: Unix) -> None:
    hall = Hall()
    driver.listen(address, hall, settings()).close()
    driver.pump()
    assert hall.address is None and hall.error is None and not os.path.exists(address.path)


def test_the_file_goes_when_listening_ends_and_links_stay(driver: AnyDriver, address: Unix) -> None:
    client, server, listener = pair(driver, address)
    listener.close()
    listener.close()
    assert not os.path.exists(address.path)
    client.there.write(b"still here")
    assert driver.run_until(lambda: server.bytes, SECONDS)
    with pytest.raises(AddressError, match="no TLS"):
        listener.reload_tls(None)


WATCHING = [name for name in [*DRIVERS, *LOOPS] if name != "proactor"]  # no files on Windows


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LOOK_SECONDS", 0.02)


@pytest.mark.row(62)
@pytest.mark.parametrize("driver", WATCHING, indirect=True)
def test_a_server_whose_file_was_removed_is_found_again(
    driver: AnyDriver, address: Unix, looks_often: None, caplog: pytest.LogCaptureFixture
) -> None:
    client, server, listener = pair(driver, address)
    waiting = socket.socket(socket.AF_UNIX)
    for _ in range(3):
        caplog.clear()
        waiting.close()
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(address.path)  # in the queue when the file goes
        os.unlink(address.path)
        assert driver.run_until(lambda: os.path.exists(address.path), SECONDS)
        assert caplog.messages == [
            f"the socket {address.path!r} was removed or replaced while it was served: it is put back"
        ]
        end = End()
        driver.open(address, end, settings())
        assert driver.run_until(lambda end=end: end.link, SECONDS)  # type: ignore[misc]
        waiting.sendall(b"x")
        waiting.settimeout(0.05)
        with pytest.raises(TimeoutError):
            waiting.recv(1)  # not cut off
    client.there.write(b"still here")
    assert driver.run_until(lambda: server.bytes, SECONDS)
    waiting.close()
    listener.close()
    assert os.listdir(os.path.dirname(address.path)) == []


@pytest.mark.row(62)
@pytest.mark.parametrize("driver", WATCHING, indirect=True)
def test_a_server_whose_place_was_taken_says_so_once_and_comes_back(
    driver: AnyDriver, address: Unix, looks_often: None, caplog: pytest.LogCaptureFixture
) -> None:
    hall, listener = listen(driver, address)
    os.unlink(address.path)
    with socket.socket(socket.AF_UNIX) as rival:
        rival.bind(address.path)
        rival.listen()
        assert driver.run_until(lambda: caplog.messages, SECONDS)
        driver.run_until(lambda: False, 0.2)  # some ten looks
        [said] = caplog.messages
        assert "was removed or replaced while it was served, and not put back: another server is at" in said
    end = End()

    def reached() -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as again:
            again.connect(address.path)
            return True
        return False

    assert driver.run_until(reached, SECONDS)
    driver.open(address, end, settings())
    assert driver.run_until(lambda: end.link and hall.ends, SECONDS)
    assert "it is put back" in caplog.messages[-1]
    listener.close()


def test_whom_the_acceptor_refuses_is_cut_off(driver: AnyDriver, address: Unix) -> None:
    hall, _ = listen(driver, address)
    hall.refuses = True
    end = End()
    driver.open(address, end, settings())
    assert driver.run_until(lambda: end.is_lost, SECONDS)
    assert hall.peers[0].pid == os.getpid()


def test_many_at_once_are_accepted_in_several_turns(driver: AnyDriver, address: Unix) -> None:
    hall, _ = listen(driver, address)
    ends = [End() for _ in range(35)]
    for end in ends:
        driver.open(address, end, settings())
    assert driver.run_until(lambda: len(hall.ends) == 35 and all(end.link for end in ends), SECONDS)


def test_a_listener_closed_by_a_handler_accepts_no_more(driver: AnyDriver, address: Unix) -> None:
    hall, listener = listen(driver, address)
    accept = hall.accept

    def last(peer: Peer) -> End | None:
        listener.close()
        return accept(peer)

    hall.accept = last  # type: ignore[method-assign]
    with contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(address.path)
        driver.pump()
        driver.pump()
    assert len(hall.ends) == 1


def test_out_of_descriptors_is_calm_and_recovers() -> None:
    program = (
        "import logging, os, resource, socket, sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from stream_ends import *\n"
        "driver = ThreadDriver()\n"
        "hall, _ = listen(driver, Tcp('127.0.0.1', 0))\n"
        "lines = []\n"
        "class Keep(logging.Handler):\n"
        "    def emit(self, record): lines.append(record.getMessage())\n"
        "logging.getLogger('node_ipc').addHandler(Keep())\n"
        "driver.pump()\n"
        "first = socket.create_connection(('127.0.0.1', hall.address.port))\n"
        "driver.run_until(lambda: hall.ends and hall.ends[0].link, 10)\n"
        "second = socket.create_connection(('127.0.0.1', hall.address.port))\n"
        "free = os.dup(0); os.close(free)\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))\n"
        "began, cpu, turns = time.monotonic(), time.process_time(), 0\n"
        "while time.monotonic() - began < 1.5:\n"
        "    driver.pump(0.5)\n"
        "    turns += 1\n"
        "hall.ends[0].there.write(b'served')\n"
        "assert first.recv(10) == b'served'\n"
        "assert len(hall.ends) == 1 and 1 <= len(lines) <= 3 and turns < 40, (len(hall.ends), lines, turns)\n"
        "assert 'cannot accept' in lines[0] and time.process_time() - cpu < 0.5\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "assert driver.run_until(lambda: len(hall.ends) == 2, 5)\n"
        "print('recovered')\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parents[1])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == "recovered\n", run.stderr


def test_a_client_of_another_user_is_refused(
    driver: AnyDriver, address: Unix, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hall, _ = listen(driver, address)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr("node_ipc.net.unix.peer_of", lambda sock: Peer("unix", pid=1, uid=4321, gid=1))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(address.path)
        assert driver.run_until(lambda: caplog.records, SECONDS)
        assert stranger.recv(1) == b""
    assert "4321" in caplog.text and hall.ends == []


# ---- beginning


def test_a_host_that_is_not_known(driver: AnyDriver) -> None:
    hall, listener = listen(driver, Tcp("no.such.name.invalid", 0))
    assert isinstance(hall.error, AddressError) and "not known" in str(hall.error)
    listener.close()


def test_certificates_that_cannot_be_read_come_before_the_name(driver: AnyDriver, tmp_path: Path) -> None:
    tls = {"private": f"{tmp_path}/none", "public": f"{tmp_path}/none"}
    hall, _ = listen(driver, Tls("no.such.name.invalid", 0), tls=tls)
    assert hall.error is not None and f"{tmp_path}/none" in str(hall.error)


def test_a_listener_closed_while_it_begins(driver: AnyDriver) -> None:
    hall = Hall()
    listener = driver.listen(Tcp("localhost", 0), hall, settings())
    driver.call_later(0, listener.close)
    for _ in range(5):
        driver.pump()
    if isinstance(driver, OwnLoop):
        assert hall.address is None and hall.error is None and driver.tasks == set()
    listener.close()


def test_a_listener_closed_before_there_is_a_loop(address: Unix) -> None:
    driver, hall = EventLoopDriver(), Hall()
    driver.listen(address, hall, settings()).close()
    loop = asyncio.SelectorEventLoop()
    driver.attach(loop)
    assert driver.tasks == set() and hall.address is hall.error is None
    loop.close()


@pytest.mark.parametrize("works", [True, False])
def test_closed_by_whom_it_tells(
    driver: AnyDriver, address: Unix, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the very task that begins, on a loop."""
    if not works:
        Path(address.path).write_text("somebody's")
    hall = Hall()
    told: list[Any] = []

    def close(what: Any) -> None:
        told.append(what)
        listener.close()

    monkeypatch.setattr(hall, "listening", close)
    monkeypatch.setattr(hall, "not_listening", close)
    listener = driver.listen(address, hall, settings(socket_root="/tmp/"))
    assert driver.run_until(lambda: told, SECONDS)
    driver.pump()
    assert len(told) == 1 and os.path.exists(address.path) is not works
    assert not isinstance(driver, OwnLoop) or driver.tasks == set()


def test_without_a_descriptor_to_wait_with_it_does_not_listen(
    driver: AnyDriver, address: Unix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the server is told, and the file is gone."""

    def none_left(self: Any, watched: Any, interest: int, direct: Any = None) -> None:
        if interest:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(type(driver), "watch", none_left)
    hall, _ = listen(driver, address)
    assert "Too many open files" in str(hall.error)
    assert not os.path.exists(address.path)


# ---- sockets of others


class Turns:
    """A share that leaves so many connections to others."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.asked = 0

    def wait(self) -> float:
        self.asked += 1
        return self.seconds.pop(0) if self.seconds else 0


@pytest.mark.parametrize("network", [False, True], ids=["unix", "tcp"])
def test_handed_over_sockets_are_taken_and_closed(driver: AnyDriver, address: Unix, network: bool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    where: Any = Tcp("127.0.0.1", 0) if network else address
    theirs = socket.socket(socket.AF_INET if network else socket.AF_UNIX)
    theirs.bind(("127.0.0.1", 0) if network else address.path)
    theirs.listen()
    place = theirs.getsockname()
    hall, listener = listen(driver, Handed((theirs,), where))
    assert isinstance(hall.address, Handed)
    end = End()
    driver.open(Tcp(*place) if network else address, end, settings())
    assert driver.run_until(lambda: end.link and hall.ends and hall.ends[0].link, SECONDS)
    end.there.close()
    assert driver.run_until(lambda: end.is_lost and hall.ends[0].is_lost, SECONDS)
    listener.close()
    driver.pump()
    assert theirs.fileno() == -1
    assert network or os.path.exists(address.path), "what was there before stays"
    driver.close()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("name", [name for name in [*DRIVERS, *LOOPS] if name != "proactor"])  # no workers on Windows
def test_a_share_decides_whose_turn_it_is(name: str, address: Unix, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = driver_of(name, monkeypatch)
    with contextlib.ExitStack() as clients:
        theirs = clients.enter_context(socket.socket(socket.AF_UNIX))
        theirs.bind(address.path)
        theirs.listen()
        share = Turns(0.01, 0.01)
        hall, listener = listen(driver, Handed((theirs,), address, share))
        for _ in range(3):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(address.path)
        assert driver.run_until(lambda: len(hall.ends) == 3, SECONDS)
        assert share.asked == 5, "two waits, and then it is asked for each"
        share.seconds = [1000]
        clients.enter_context(socket.socket(socket.AF_UNIX)).connect(address.path)
        assert driver.run_until(lambda: share.asked == 6, SECONDS)
        listener.close()
        driver.pump()
        assert len(hall.ends) == 3
    driver.close()


def test_a_socket_that_another_process_has_too_is_not_watched_after_closing(driver: AnyDriver, address: Unix) -> None:
    """Closing would not take it out of an epoll: as long as one has it open, it would go on being ready."""
    theirs = socket.socket(socket.AF_UNIX)
    theirs.bind(address.path)
    theirs.listen()
    with theirs.dup(), contextlib.ExitStack() as clients:
        hall, listener = listen(driver, Handed((theirs,), address))
        driver.pump()
        listener.close()
        driver.pump()
        clients.enter_context(socket.socket(socket.AF_UNIX)).connect(address.path)
        if isinstance(driver, OwnLoop):
            if driver._poller is not None:
                assert driver._poller._poller is None
        else:
            assert driver.pump(0.05) is False
        assert hall.ends == []


# ---- one door, one step at a time


class Slow:
    """A driver that waits for nothing."""

    def __init__(self) -> None:
        self.wanted: list[int] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0
        self.full = 0

    def watch(self, watched: Any, interest: int, direct: Any = None) -> None:
        assert watched.fileno() >= 0
        if interest and self.full:
            self.full -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        self.wanted.append(interest)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.timers.append((delay, callback))
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class Queue:
    """A listening socket with so many who wait, or errors."""

    def __init__(self, *waiting: Any) -> None:
        self.waiting = list(waiting)
        self.number = 3

    def accept(self) -> tuple[Any, Any]:
        if not self.waiting:
            raise BlockingIOError
        first = self.waiting.pop(0)
        if isinstance(first, int):
            raise OSError(first, os.strerror(first))
        return first, None

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.number = -1


class Entrance:
    """A door, who came in by it, and what went wrong at it."""

    def __init__(self, *waiting: Any, share: Any = None, most: int = 10) -> None:
        self.driver = Slow()
        self.queue = Queue(*waiting)
        self.came: list[Any] = []
        self.troubles: list[int | None] = []
        itself: Any = self
        self.door = Door(itself.driver, itself, self.take, self.trouble, share, most)

    has_files = False

    @property
    def sock(self) -> Queue:
        return self.queue

    def close(self) -> None:
        self.queue.close()

    def take(self, sock: Any, where: Any) -> None:
        self.came.append(sock)

    def trouble(self, error: Exception) -> None:
        assert isinstance(error, OSError)
        self.troubles.append(error.errno)


def test_a_turn_has_a_limit_and_those_who_left_count() -> None:
    entrance = Entrance("a", errno.ECONNABORTED, "b", "c", most=3)
    entrance.door.open()
    entrance.door.readable()
    assert entrance.came == ["a", "b"] and entrance.troubles == []
    entrance.door.readable()
    entrance.door.readable()
    assert entrance.came == ["a", "b", "c"] and entrance.driver.wanted == [READ]
    entrance.door.writable()


@pytest.mark.parametrize("number", listening.OUT_OF_RESOURCES)
def test_out_of_resources_it_looks_away_for_longer_and_longer(number: int) -> None:
    entrance = Entrance(*[number] * 10, "somebody", number)
    entrance.door.open()
    for _ in range(10):
        entrance.door.readable()
        assert entrance.driver.wanted[-1] == 0
        entrance.driver.timers[-1][1]()
        assert entrance.driver.wanted[-1] == READ
    waits = [seconds for seconds, _ in entrance.driver.timers]
    assert waits == [min(FIRST_BACKOFF * 2**n, LONGEST_BACKOFF) for n in range(10)]
    entrance.door.readable()
    assert entrance.came == ["somebody"] and entrance.driver.timers[-1][0] == FIRST_BACKOFF
    assert entrance.troubles == [number] * 11


def test_without_a_descriptor_to_wait_with_it_tries_again() -> None:
    entrance = Entrance(errno.EMFILE, "somebody")
    entrance.door.open()
    entrance.door.readable()
    entrance.driver.full = 3
    for _ in range(4):
        entrance.driver.timers[-1][1]()
    assert [seconds for seconds, _ in entrance.driver.timers] == [FIRST_BACKOFF * 2**n for n in range(4)]
    assert entrance.troubles == [errno.EMFILE] * 4 and entrance.driver.wanted == [READ, 0, READ]
    entrance.door.readable()
    assert entrance.came == ["somebody"]


def test_closing_while_it_looks_away_ends_that() -> None:
    entrance = Entrance(errno.EMFILE)
    entrance.door.open()
    entrance.door.readable()
    entrance.door.close()
    assert entrance.driver.cancelled == 1 and entrance.driver.wanted == [READ, 0]
    entrance.door.close()
    assert entrance.driver.cancelled == 1


def test_a_door_that_is_discarded_accepts_no_more() -> None:
    entrance = Entrance("a")
    entrance.door.open()
    entrance.door.discard()
    entrance.door.readable()
    assert entrance.came == [] and entrance.driver.wanted == [READ] and entrance.queue.number == -1


def test_where_a_loop_accepts_by_itself_it_backs_off_too(monkeypatch: pytest.MonkeyPatch, address: Unix) -> None:
    driver = driver_of("proactor", monkeypatch)
    assert isinstance(driver, OwnLoop)
    accept, failures = driver.there.sock_accept, [errno.EMFILE, errno.EMFILE]

    async def sometimes(sock: socket.socket) -> Any:
        if failures:
            raise OSError(failures.pop(), "Too many open files")
        return await accept(sock)

    monkeypatch.setattr(driver.there, "sock_accept", sometimes)
    hall, listener = listen(driver, address)
    end = End()
    driver.open(address, end, settings())
    assert driver.run_until(lambda: hall.ends and hall.ends[0].link, SECONDS)
    assert failures == [] and listener._doors[0]._backoff == FIRST_BACKOFF
    end.there.abort()
    hall.ends[0].there.abort()
    driver.close()
    assert driver._by_itself is not None and driver._by_itself._reads == {}
