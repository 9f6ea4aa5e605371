"""The outgoing half, where its session ends."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from node_ipc.core.outgoing import MOST_UNPROMISED, Outgoing
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Conditions, Wire, pair, serve


def test_nothing_waits_for_a_link_that_is_lost() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    Wire.connected(driver, server.address)
    driver.run_until_idle()
    (socket,) = server.sockets
    outgoing: Outgoing = socket.outgoing
    outgoing.pause()
    for _ in range(3):
        socket.emit("n", "x" * 2000)
    assert socket.is_full and socket.pending_bytes > 6000
    socket.abort()
    driver.run_until_idle()
    assert socket.loss is not None and socket.loss.dropped == 3
    assert socket.pending_bytes == 0


def test_each_message_has_the_next_number_whatever_is_left_out_before_it() -> None:
    """By its number it is known to have arrived: no number may come twice."""
    driver = MemoryDriver(conditions=Conditions(buffer=10_000))
    both = pair(driver=driver, slow_policy="drop_oldest", max_pending_bytes=20_000, soft_pending_bytes=10_000)
    both.connection.to_client.stall()
    outgoing: Outgoing = both.socket.outgoing
    first = outgoing.next_number
    for number in range(first, first + 60):
        assert outgoing.next_number == number
        both.socket.emit("n", "x" * (1980 + number % 3))
    assert both.socket.dropped > 20
    assert both.socket.withdraw(outgoing.frames[2])
    assert outgoing.next_number == first + 60
    in_link = both.socket._link.pending_bytes()  # type: ignore[union-attr]
    assert both.socket.pending_bytes == in_link + sum(map(len, outgoing.frames))


def test_what_is_taken_back_before_anybody_asked_what_waits_leaves_the_rest_right() -> None:
    both = pair()
    outgoing: Outgoing = both.socket.outgoing
    seen: list[tuple[int, int]] = []

    @both.server.on("go")
    def go() -> None:
        for letter in "xyz":
            both.socket.emit("n", letter * 100)
        assert both.socket.withdraw(outgoing.frames[0])
        seen.append((both.socket.pending_bytes, sum(map(len, outgoing.frames))))

    got: list[str] = []
    both.client.on("n", got.append)
    both.client.emit("go")
    both.driver.run_until_idle()
    assert seen == [(2 * len(b'{"type":"n","data":""}\f' + b"y" * 100),) * 2]
    assert got == ["y" * 100, "z" * 100] and both.socket.pending_bytes == 0


class Silent:
    """A link that says nothing of what its peer has read, as one over TCP."""

    def unread_bytes(self) -> int | None:
        return None


def test_however_many_messages_nobody_counts_on_only_the_others_keep_a_close_waiting() -> None:
    both = pair()
    outgoing: Outgoing = both.socket.outgoing
    link: Any = Silent()
    for _ in range(3):
        for _ in range(MOST_UNPROMISED - 1):
            both.socket.emit("asks")
            outgoing.promise_nothing(outgoing.next_number - 1)
        outgoing.push()
        assert outgoing.is_kept(link)
        outgoing.confirm(outgoing.last_given - 1)
    both.socket.emit("counts")
    outgoing.push()
    assert not outgoing.is_kept(link)


def test_what_arrived_is_known_whatever_was_dropped_before_it() -> None:
    driver = MemoryDriver(conditions=Conditions(buffer=10_000))
    both = pair(driver=driver, slow_policy="drop_oldest", max_pending_bytes=20_000, soft_pending_bytes=10_000)
    both.connection.to_client.stall()
    for _ in range(1000):
        both.socket.emit("n", "x" * 1980)
    both.connection.resume()
    for _ in range(300):
        driver.run_until_idle()
        both.socket.emit("n")
    assert both.socket.dropped > 900 and both.socket.outgoing.in_flight < 300


def test_a_message_is_unsent_until_the_kernel_has_its_end() -> None:
    both = pair(driver=MemoryDriver(conditions=Conditions(buffer=10_000)))
    both.connection.to_client.stall()
    for number in range(1, 13):
        both.socket.emit("n", "x" * 2000)
        both.driver.run_until_idle()
        assert both.socket.unsent() == both.server.unsent() == max(number - 4, 0)
    both.connection.resume()
    both.driver.run_until_idle()
    assert both.socket.unsent() == 0


def test_a_write_that_a_signal_s_handler_interrupts_ends_the_link_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    both = pair()
    with monkeypatch.context() as patched:
        patched.setattr(type(both.socket._link), "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            both.socket.emit("n")
    both.driver.run_until_idle()
    loss = both.socket.loss
    assert loss is not None and "writing" in str(loss.reason) and "KeyboardInterrupt" in str(loss.reason)
    assert loss.in_flight == 1, "nobody knows whether it went out"


def test_a_lost_session_is_freed_at_once() -> None:
    """Not when the cyclic collector comes: it holds what the application keeps in ``state``."""
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    driver.run_until_idle()
    session = weakref.ref(server.sockets[0])
    gc.disable()
    try:
        wire.abort()
        driver.run_until_idle()
        del wire
        assert session() is None
    finally:
        gc.enable()
