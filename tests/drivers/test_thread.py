"""The driver in the caller's thread: turns, timers, waiting, and links on real sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket as sockets
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from node_ipc import AddressError, AddressInUse, ConnectError, ConnectTimeout, WouldDeadlock
from node_ipc.config.address import Tcp, Udp, Unix
from node_ipc.core.outcome import Outcome
from node_ipc.drivers import thread as caller
from node_ipc.drivers.poller import Poller
from node_ipc.drivers.thread import ThreadDriver
from stream_ends import SECONDS, End, Hall, listen, pair, settings


@pytest.fixture(params=["epoll", "selectors"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadDriver]:
    if request.param == "selectors":
        monkeypatch.delattr(select, "epoll")
    driver = ThreadDriver()
    yield driver
    driver.close()


@pytest.fixture
def address(tmp_path: Path) -> Unix:
    return Unix(f"{tmp_path}/s")


# ---- turns and timers


def test_timers_run_in_order_and_not_before_their_time(driver: ThreadDriver) -> None:
    ran: list[str] = []
    began = driver.now()
    driver.call_later(0.06, lambda: ran.append("third"))
    driver.call_later(0.03, lambda: ran.append("second"))
    driver.call_later(0, lambda: ran.append("first"))
    cancelled = driver.call_later(0.01, lambda: ran.append("never"))
    cancelled.cancel()
    cancelled.cancel()
    assert ran == []
    assert driver.run_until(lambda: len(ran) == 3, SECONDS)
    assert ran == ["first", "second", "third"]
    assert driver.now() - began >= 0.06


def test_a_timer_that_ran_can_be_cancelled(driver: ThreadDriver) -> None:
    timer = driver.call_later(0, lambda: None)
    assert driver.pump() is True
    timer.cancel()
    assert driver.pump() is False


def test_what_is_put_off_inside_a_turn_runs_in_the_next(driver: ThreadDriver) -> None:
    ran: list[int] = []

    def again() -> None:
        ran.append(1)
        driver.call_later(0, again)

    driver.call_later(0, again)
    for turn in range(1, 4):
        driver.pump()
        assert len(ran) == turn


def test_cancelled_timers_do_not_pile_up(driver: ThreadDriver) -> None:
    kept = driver.call_later(100, lambda: None)
    for _ in range(10_000):
        driver.call_later(100, lambda: None).cancel()
    assert len(driver._timers) < 200
    kept.cancel()
    driver.pump()
    assert len(driver._timers) == 0 and driver._cancelled == 0


def test_run_until_keeps_its_time_limit(driver: ThreadDriver, address: Unix) -> None:
    listen(driver, address)
    began = driver.now()
    assert driver.run_until(lambda: False, 0.1) is False
    assert 0.1 <= driver.now() - began < 5
    assert driver.run_until(lambda: False, 0) is False
    assert driver.run_until(lambda: True, 0) is True


def test_a_turn_inside_a_turn_is_refused(driver: ThreadDriver) -> None:
    raised: list[Exception] = []

    def handler() -> None:
        assert driver.busy
        try:
            driver.pump()
        except WouldDeadlock as error:
            raised.append(error)

    driver.call_later(0, handler)
    driver.pump()
    assert len(raised) == 1
    assert not driver.busy


def test_a_turn_that_raises_leaves_the_driver_usable(driver: ThreadDriver) -> None:
    ended: list[Any] = []

    class Session:
        def turn_ended(self) -> None:
            ended.append(self)

    def handler() -> None:
        driver.turn_ends(Session())
        raise KeyboardInterrupt

    driver.call_later(0, handler)
    with pytest.raises(KeyboardInterrupt):
        driver.pump()
    assert len(ended) == 1
    driver.pump()
    assert not driver.busy


def test_turns_end_once_and_batches_hold_them_back(driver: ThreadDriver) -> None:
    ended: list[str] = []

    class Session:
        def turn_ended(self) -> None:
            ended.append("end")

    assert driver.turn_ends(Session()) is False  # outside a pump each write is a turn of its own
    driver.begin_batch()
    assert driver.turn_ends(Session()) is True
    driver.begin_batch()
    driver.end_batch()
    assert ended == []
    driver.end_batch()
    assert ended == ["end"]

    def handler() -> None:
        driver.turn_ends(Session())
        ended.append("handler")

    driver.call_later(0, handler)
    driver.pump()
    assert ended[1:] == ["handler", "end"]


def test_waiting_for_nothing_is_refused(driver: ThreadDriver) -> None:
    with pytest.raises(WouldDeadlock, match="for ever"):
        driver.pump(None)
    began = time.monotonic()
    assert driver.pump(0.05) is False
    assert time.monotonic() - began >= 0.05


def test_outcomes_and_coroutines(driver: ThreadDriver) -> None:
    assert isinstance(driver.outcome(1), Outcome)
    assert not driver.runs_coroutines

    async def handler() -> None: ...

    with pytest.raises(TypeError, match="asyncio front"):
        driver.spawn(handler(), lambda error: None)
    assert 0 <= driver.random() < 1
    assert driver.random() != driver.random()


# ---- other threads


@pytest.mark.parametrize("ready_before", [False, True])
def test_a_call_from_another_thread_wakes_the_wait(driver: ThreadDriver, address: Unix, ready_before: bool) -> None:
    listen(driver, address)
    ran: list[int] = []

    def work() -> None:
        deadline = time.monotonic() + SECONDS
        while not (ready_before or driver.busy) and time.monotonic() < deadline:
            pass
        for n in range(3):
            driver.call_from_thread(partial(ran.append, n))

    thread = threading.Thread(target=work)
    thread.start()
    if ready_before:
        thread.join()
    while len(ran) < 3:
        driver.pump(None)
    thread.join()
    assert ran == [0, 1, 2]


def test_many_wakes_do_no_harm(driver: ThreadDriver, address: Unix) -> None:
    listen(driver, address)
    driver.pump()
    for _ in range(100_000):
        driver.wake()
    while driver.pump():
        pass
    assert driver.pump(0.01) is False
    driver.close()
    driver.wake()


# ---- links


def test_the_direct_read_is_used_while_there_is_nothing_else(
    driver: ThreadDriver, address: Unix, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ThreadDriver()
    try:
        hall, _ = listen(other, address)
        end = End()
        driver.open(address, end, settings())
        driver.run_until(lambda: end.link, SECONDS)
        assert driver._direct is not None
        other.run_until(lambda: hall.ends and hall.ends[0].link, SECONDS)
        polled: list[Any] = []
        monkeypatch.setattr(driver.poller, "poll", polled.append)
        monkeypatch.setattr(caller, "_threads", lambda: 0)
        hall.ends[0].there.write(b"direct")
        driver.pump(None)
        assert (end.bytes, polled) == (b"direct", [])
        began = driver.now()
        driver.pump(5)  # nothing comes: the kernel gives up after a second
        assert 0.9 <= driver.now() - began < 4
        driver.pump(0.5)
        monkeypatch.setattr(caller, "_threads", lambda: 1)
        driver.pump(5)
        driver.call_later(0.2, lambda: None)
        monkeypatch.setattr(caller, "_threads", lambda: 0)
        driver.pump(None)
        assert polled[0] == 0.5 and polled[1] == 5 and 0 < polled[2] <= 0.2
        end.there.pause_reading()
        assert driver._direct is None
        end.there.resume_reading()
        assert driver._direct is not None
    finally:
        other.close()


def test_a_link_is_not_read_directly_beside_others(driver: ThreadDriver, address: Unix) -> None:
    client, _, _ = pair(driver, address)
    assert driver._direct is None
    client.there.write(b"x")


# ---- connecting


def test_nobody_is_there(driver: ThreadDriver, tmp_path: Path) -> None:
    end = End()
    driver.open(Unix(f"{tmp_path}/nobody"), end, settings())
    assert driver.run_until(lambda: end.told, SECONDS)
    assert isinstance(end.told[0], ConnectError) and isinstance(end.told[0].__cause__, FileNotFoundError)
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        end = End()
        driver.open(Tcp("127.0.0.1", taken.getsockname()[1]), end, settings())
        assert driver.run_until(lambda: end.told, SECONDS)
    assert isinstance(end.told[0].__cause__, ConnectionRefusedError)
    assert driver._direct is None


def test_a_client_looks_in_both_places(driver: ThreadDriver, tmp_path: Path) -> None:
    listen(driver, Unix(f"{tmp_path}/second"))
    end = End()
    driver.open(Unix(f"{tmp_path}/first", (f"{tmp_path}/second",)), end, settings())
    assert driver.run_until(lambda: end.link, SECONDS)


def test_datagram_addresses_have_no_links(driver: ThreadDriver) -> None:
    end, hall = End(), Hall()
    driver.open(Udp("127.0.0.1", 1, "udp4"), end, settings())
    driver.listen(Udp("127.0.0.1", 1, "udp4"), hall, settings())
    assert driver.run_until(lambda: end.told and hall.error, SECONDS)
    assert isinstance(end.told[0], AddressError)
    assert isinstance(hall.error, AddressError)


def test_each_address_of_a_name_gets_its_share_of_the_time(
    driver: ThreadDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first leads nowhere: nothing answers, not even a refusal."""
    hall, _ = listen(driver, Tcp("127.0.0.1", 0))
    with sockets.socket() as silent, contextlib.ExitStack() as others:
        silent.bind(("127.0.0.2", hall.address.port))
        silent.listen(0)
        for _ in range(3):  # its queue is full, so what comes next is not answered
            other = others.enter_context(sockets.socket())
            other.setblocking(False)
            other.connect_ex(("127.0.0.2", hall.address.port))
        end = End()
        lookup: Any = {"lookup": lambda host: ["127.0.0.2", "127.0.0.1"]}
        began = driver.now()
        driver.open(Tcp("somewhere", hall.address.port), end, settings(interfaces=lookup, connect_timeout=2000))
        assert driver.run_until(lambda: end.told, SECONDS)
        assert end.told == ["opened"]
        assert 0.9 <= driver.now() - began < 2.0
        assert end.there.peer.host == "127.0.0.1"
        end = End()
        lookup = {"lookup": lambda host: "127.0.0.2"}
        driver.open(Tcp("somewhere", hall.address.port), end, settings(interfaces=lookup, connect_timeout=200))
        assert driver.run_until(lambda: end.told, SECONDS)
        assert isinstance(end.told[0], ConnectTimeout)


def test_a_lookup_that_fails(driver: ThreadDriver) -> None:
    def lookup(host: str) -> str:
        raise KeyError(host)

    end = End()
    driver.open(Tcp("somewhere", 1), end, settings(interfaces={"lookup": lookup}))
    assert driver.run_until(lambda: end.told, SECONDS)
    assert isinstance(end.told[0], ConnectError)
    end = End()
    driver.open(Tcp("somewhere", 1), end, settings(interfaces={"lookup": lambda host: []}))
    assert driver.run_until(lambda: end.told, SECONDS)
    assert "no address" in str(end.told[0])


def test_a_local_address_that_cannot_be_used(driver: ThreadDriver) -> None:
    end = End()
    driver.open(Tcp("127.0.0.1", 1), end, settings(interfaces={"local_address": "192.0.2.1"}))
    assert driver.run_until(lambda: end.told, SECONDS)
    assert end.told[0].__cause__.errno == errno.EADDRNOTAVAIL


# ---- datagrams


class Mailbox:
    """A datagram receiver."""

    def __init__(self) -> None:
        self.address: Any = None
        self.got: list[tuple[bytes, str, int]] = []
        self.errors: list[Exception] = []

    def bound(self, address: Any) -> None:
        self.address = address

    def not_bound(self, error: Exception) -> None:
        self.errors.append(error)

    def datagram(self, data: bytes, host: str, port: int) -> None:
        self.got.append((data, host, port))

    def datagram_error(self, error: Exception) -> None:
        self.errors.append(error)


def bind(driver: ThreadDriver, address: Any) -> tuple[Mailbox, Any]:
    box = Mailbox()
    port = driver.bind(address, box, settings())
    assert driver.run_until(lambda: box.address or box.errors, SECONDS)
    return box, port


def test_datagrams(driver: ThreadDriver) -> None:
    here, port = bind(driver, Udp("127.0.0.1", 0, "udp4"))
    there, other = bind(driver, Udp("localhost", 0, "udp4"))
    other.send(b"by name", "localhost", here.address.port)
    other.send(b"", "127.0.0.1", here.address.port)
    assert driver.run_until(lambda: len(here.got) == 2, SECONDS)
    assert sorted(here.got) == [(b"", "127.0.0.1", there.address.port), (b"by name", "127.0.0.1", there.address.port)]
    other.send(b"lost", "no.such.name.invalid", 1)
    assert driver.run_until(lambda: there.errors, SECONDS)
    assert isinstance(there.errors[0], AddressError)
    other.send(b"x" * 70_000, "127.0.0.1", here.address.port)
    assert driver.run_until(lambda: len(there.errors) == 2, SECONDS)
    taken, _ = bind(driver, here.address)
    assert isinstance(taken.errors[0], AddressInUse)
    wrong, _ = bind(driver, Tcp("127.0.0.1", 0))
    assert isinstance(wrong.errors[0], AddressError)
    other.send(b"never", "localhost", here.address.port)
    other.send(b"looked up too late", "other.invalid", 1)
    other.close()
    other.send(b"closed", "127.0.0.1", here.address.port)
    assert other.pending_bytes() == 0
    port.close()
    port.close()


@pytest.mark.parametrize("family", ["udp4", "udp6"])
def test_datagrams_at_localhost_in_either_family(
    driver: ThreadDriver, family: Literal["udp4", "udp6"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", None)  # which may know it for one family only
    here, _ = bind(driver, Udp("localhost", 0, family))
    assert here.errors == []
    _, other = bind(driver, Udp("localhost", 0, family))
    other.send(b"hello", "localhost", here.address.port)
    assert driver.run_until(lambda: here.got, SECONDS)


def test_datagrams_that_the_kernel_does_not_take_wait(driver: ThreadDriver) -> None:
    here, port = bind(driver, Udp("127.0.0.1", 0, "udp4"))

    class Full:
        """A socket whose kernel is full for the first three datagrams."""

        def __init__(self, sock: sockets.socket) -> None:
            self.sock, self.left = sock, 3

        def sendto(self, data: bytes, where: Any) -> int:
            if self.left:
                self.left -= 1
                raise BlockingIOError
            return self.sock.sendto(data, where)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    port.sock = Full(port.sock)
    for n in range(5):
        port.send(b"%d" % n, "127.0.0.1", here.address.port)
    assert port.pending_bytes() > 0
    assert driver.run_until(lambda: len(here.got) == 5, SECONDS)
    assert [data for data, _, _ in here.got] == [b"0", b"1", b"2", b"3", b"4"]
    assert port.pending_bytes() == 0


# ---- the end


def test_closing_the_driver_closes_what_it_watches(driver: ThreadDriver, address: Unix) -> None:
    before = len(os.listdir("/proc/self/fd"))
    client, server, _ = pair(driver, address)
    bind(driver, Udp("127.0.0.1", 0, "udp4"))
    driver.call_later(10, lambda: None)
    driver.close()
    driver.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert client.told == server.told == ["opened"]
    assert driver.run_until(lambda: False, 0.01) is False
    assert resource.getrlimit(resource.RLIMIT_NOFILE)


def test_a_closed_driver_can_be_used_again(driver: ThreadDriver, address: Unix) -> None:
    _, _, listener = pair(driver, address)
    listener.close()
    driver.close()
    client, server, _ = pair(driver, address)
    client.there.write(b"again")
    assert driver.run_until(lambda: server.bytes == b"again", SECONDS)


@pytest.mark.row(45)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_poller_is_made_whole_or_not_at_all(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without what ends its wait from another thread would wait for ever: the next call makes it anew."""
    driver, before = ThreadDriver(), os.listdir("/proc/self/fd")

    def refuse(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        owner, call = [(select, "epoll"), (sockets, "socketpair"), (Poller, "watch")][number - 1]
        patch.setattr(owner, call, refuse)
        with pytest.raises(OSError, match="Too many open files"):
            _ = driver.poller
        assert os.listdir("/proc/self/fd") == before
    ran: list[int] = []
    waits = driver.poller
    thread = threading.Thread(target=driver.call_from_thread, args=(lambda: ran.append(1),))
    thread.start()
    assert driver.run_until(lambda: ran, SECONDS)
    thread.join()
    assert driver.poller is waits
    driver.close()
