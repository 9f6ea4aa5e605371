"""The asyncio driver's own: how the sockets of a loop are watched. Its links are in test_stream_link.py, and what every
driver promises in test_driver_contract.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import selectors
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from node_ipc import Peer
from node_ipc.config.address import Unix
from node_ipc.drivers import loop as event_loop
from node_ipc.drivers.loop import TransportLink
from node_ipc.net.steps import READ
from node_ipc.net.stream import StreamLink
from stream_ends import SECONDS, End, Hall, OwnLoop, pair, settings


@pytest.fixture
def driver() -> Iterator[OwnLoop]:
    driver = OwnLoop()
    yield driver
    driver.close()


@pytest.fixture
def address(tmp_path: Path) -> Unix:
    return Unix(f"{tmp_path}/s")


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def link(driver: OwnLoop) -> tuple[End, socket.socket]:
    """A link that the driver made of one end of a wire, and the other end."""
    near, far = socket.socketpair()
    near.setblocking(False)
    end = End()
    driver.carry(near, Peer("unix"), end, alone=False)
    return end, far


def epolls() -> int:
    """How many this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]"
        except OSError:
            pass  # the one that listdir itself had
    return found


def test_a_single_socket_needs_no_epoll(driver: OwnLoop) -> None:
    before = epolls()
    end, far = link(driver)
    with far:
        assert epolls() == before
        end.there.write(b"x" * 4_000_000)  # so that it waits for room as well
        far.setblocking(False)
        read = 0

        def all_read() -> bool:
            nonlocal read
            with contextlib.suppress(BlockingIOError):
                read += len(far.recv(1 << 20))
            return read == 4_000_000

        assert driver.run_until(all_read, SECONDS)
        far.send(b"hello")
        assert driver.run_until(lambda: end.bytes == b"hello", SECONDS)
    assert driver.run_until(lambda: end.is_lost, SECONDS)


def test_the_epoll_is_there_while_there_are_sockets(driver: OwnLoop) -> None:
    before = descriptors()
    for _ in range(3):
        first, far = link(driver)
        second, other = link(driver)
        assert descriptors() == before + 5, "four sockets, and one epoll for them all"
        first.there.abort()
        far.close()
        assert descriptors() == before + 3
        other.send(b"hello")
        assert driver.run_until(lambda: second.bytes == b"hello", SECONDS)  # noqa: B023
        other.close()
        assert driver.run_until(lambda: second.is_lost, SECONDS)  # noqa: B023
        assert descriptors() == before


def test_a_link_that_pauses_is_not_watched_and_comes_back(driver: OwnLoop) -> None:
    end, far = link(driver)
    with far:
        end.there.pause_reading()
        far.send(b"later")
        driver.pump()
        assert end.bytes == b""
        end.there.resume_reading()
        assert driver.run_until(lambda: end.bytes == b"later", SECONDS)


def test_drivers_of_one_loop_share_it_and_those_of_others_do_not(driver: OwnLoop) -> None:
    second = OwnLoop(lambda: driver.there)
    third = OwnLoop()
    assert driver._poller is second._poller is not third._poller
    third.close()


def test_two_loops_in_two_threads(tmp_path: Path) -> None:
    """Each reads for itself, and closes only its own."""
    before = descriptors()
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            driver = OwnLoop()
            for turn in range(20):
                client, server, listener = pair(driver, Unix(f"{tmp_path}/{number}"))
                client.there.write(b"%d.%d" % (number, turn))
                expected = b"%d.%d" % (number, turn)
                assert driver.run_until(lambda: server.bytes == expected, SECONDS)  # noqa: B023
                listener.close()
                client.there.close()
                assert driver.run_until(lambda: client.is_lost and server.is_lost, SECONDS)  # noqa: B023
            driver.close()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert descriptors() == before


@pytest.mark.parametrize("has", ["nothing", "a link", "a server that starts"])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what nobody closed, the collector may say
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_closed_loop_is_not_kept_alive(has: str, address: Unix) -> None:
    before = descriptors()
    driver = OwnLoop()
    loop = weakref.ref(driver.there)
    if has == "a link":
        end, far = link(driver)
        far.send(b"unread")
        far.close()
        del end
    elif has == "a server that starts":
        driver.listen(address, Hall(), settings())
    driver.had.clear()
    driver.there.close()
    del driver
    gc.collect()
    assert loop() is None
    assert descriptors() == before


def test_links_that_outlive_their_loop_end_without_a_word(driver: OwnLoop, caplog: pytest.LogCaptureFixture) -> None:
    before = descriptors()
    end, far = link(driver)
    second, other = link(driver)
    driver.there.close()
    driver.detach()
    end.there.write(b"still with the kernel")
    assert far.recv(100) == b"still with the kernel"
    end.there.pause_reading()
    second.there.abort()
    end.there.abort()
    far.close()
    other.close()
    assert end.told == second.told == ["opened"]
    assert descriptors() < before and caplog.records == []


def test_a_driver_goes_on_with_another_loop(driver: OwnLoop, address: Unix) -> None:
    old, far = link(driver)
    driver.there.close()
    driver.detach()
    driver.attach(asyncio.SelectorEventLoop())
    client, server, _ = pair(driver, address)
    client.there.write(b"here")
    assert driver.run_until(lambda: server.bytes == b"here", SECONDS)
    old.there.abort()
    far.close()
    client.there.write(b" too")
    assert driver.run_until(lambda: server.bytes == b"here too", SECONDS)


def test_nothing_is_watched_for_a_loop_that_is_gone() -> None:
    loop = asyncio.SelectorEventLoop()
    poller = event_loop._poller_of(loop)
    assert poller is not None
    loop.close()
    del loop
    gc.collect()
    before = descriptors()
    near, far = socket.socketpair()
    with near, far:
        poller.watch(StreamLink(None, near, Peer("unix"), End()), READ)  # type: ignore[arg-type]
    assert descriptors() == before


def test_a_forked_child_touches_nothing_of_its_parents(driver: OwnLoop, address: Unix) -> None:
    """An epoll is shared with a child, so what a child took out would be out for the parent too."""
    client, server, _ = pair(driver, address)
    poller = driver._poller
    from_child, to_parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            asyncio._set_running_loop(None)
            own = OwnLoop()
            end, far = link(own)
            far.send(b"mine")
            heard = own.run_until(lambda: end.bytes == b"mine", SECONDS)
            end.there.abort()
            own.pump()
            shares = own._poller is poller
            driver.endpoints.clear()
            driver.had.clear()
            del poller, client, server, driver  # as when the collector finds them
            gc.collect()
            os.write(to_parent, json.dumps([heard, shares, end.is_lost]).encode())
        finally:
            os._exit(0)
    os.close(to_parent)
    assert select.select([from_child], [], [], SECONDS)[0]
    assert json.loads(os.read(from_child, 1000)) == [True, False, True]
    os.close(from_child)
    os.waitpid(pid, 0)
    client.there.write(b"question")
    server.there.write(b"answer")
    assert driver.run_until(lambda: (client.bytes, server.bytes) == (b"answer", b"question"), SECONDS)


@pytest.mark.parametrize("kind", ["uvloop", "a Proactor", "select"])
def test_where_a_loop_cannot_watch_or_reads_better_itself_links_are_its_transports(
    kind: str, address: Unix, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory: Callable[[], Any] = asyncio.SelectorEventLoop
    if kind == "uvloop":
        factory = uvloop.new_event_loop
    elif kind == "a Proactor":
        monkeypatch.setattr(asyncio, "SelectorEventLoop", uvloop.Loop)  # so that this loop is no selector's
    else:
        monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    driver = OwnLoop(factory)
    try:
        client, server, _ = pair(driver, address)
        assert isinstance(client.link, TransportLink) and isinstance(server.link, TransportLink)
        client.there.write(b"hello")
        assert driver.run_until(lambda: server.bytes == b"hello", SECONDS)
        client.there.close()
        assert driver.run_until(lambda: client.is_lost and server.is_lost, SECONDS)
    finally:
        driver.close()


def test_on_asyncios_own_loop_they_read_their_sockets_themselves(driver: OwnLoop, address: Unix) -> None:
    client, server, _ = pair(driver, address)
    assert isinstance(client.link, StreamLink) and isinstance(server.link, StreamLink)
