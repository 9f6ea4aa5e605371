"""The outgoing half: what waits and what counts, limits to the byte, and what is left where its session ends."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from node_ipc import BackpressureError, Config, NotConnected
from node_ipc.core.client import Client
from node_ipc.core.outgoing import MOST_UNPROMISED, Outgoing
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Conditions, Pair, Wire, pair, serve


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


# ---- what is not with the kernel yet


def stuck(**options: Any) -> Pair:
    """A pair whose client reads nothing, with a kernel that takes 10,000 bytes."""
    both = pair(driver=MemoryDriver(conditions=Conditions(buffer=10_000)), **options)
    both.connection.to_client.stall()
    return both


def of_size(both: Pair, size: int, event: str = "n") -> str:
    """A payload whose message has so many bytes."""
    return "x" * (size - len(both.socket.encode(event, "")))


@pytest.mark.parametrize("delimiter", ["\f", "\r\n", "<|>"])
@pytest.mark.parametrize("waiting", range(4))
def test_a_message_is_unsent_while_its_last_byte_waits_and_no_longer(delimiter: str, waiting: int) -> None:
    both = stuck(delimiter=delimiter)
    both.socket.emit("n", of_size(both, 5000))
    both.driver.run_until_idle()
    both.socket.emit("n", of_size(both, 5000 + waiting))
    assert both.socket.pending_bytes == waiting
    assert both.socket.unsent() == (1 if waiting else 0)


def test_raw_bytes_that_wait_are_one_message() -> None:
    both = stuck(raw_buffer=True)
    told = [both.socket.unsent()]
    for _ in range(2):
        both.socket.emit(b"x" * 9000)
        both.driver.run_until_idle()
        told.append(both.socket.unsent())
    both.connection.resume()
    both.driver.run_until_idle()
    assert [*told, both.socket.unsent()] == [0, 0, 1, 0]


@pytest.mark.parametrize("raw", [False, True])
def test_a_client_that_still_connects_has_sent_nothing(raw: bool) -> None:
    driver = MemoryDriver()
    server = serve(driver, raw_buffer=raw)
    client = Client("world", server.address, driver, Config(raw_buffer=raw).settings())
    client.connect()
    client.emit(b"n") if raw else client.emit("n")
    assert client.unsent() == 1 and client.stats().pending_bytes == client.pending_bytes > 0
    driver.run_until_idle()
    assert client.unsent() == client.stats().pending_bytes == 0


@pytest.mark.parametrize("answers", [0, 1])
def test_a_read_in_the_middle_of_a_turn_does_not_end_what_is_sent_together(answers: int) -> None:
    both = pair()
    sizes: list[int] = []
    write = both.connection.server.write

    def note(data: bytes) -> None:
        sizes.append(data.count(b"\f"))
        write(data)

    both.connection.server.write = note  # type: ignore[method-assign]
    both.server.on("ask", lambda data, socket: [socket.emit("answer") for _ in range(answers)])
    both.socket.emit("n", 1)
    both.socket.received(both.client.encode("ask", {}))
    for number in range(5):
        both.socket.emit("n", number)
    both.driver.run_until_idle()
    assert sizes == [1, *[1] * answers, 5]


SMALL, PIECE = len(b'{"type":"n","data":1}\f'), 50_000


@pytest.mark.parametrize(
    ("waiting", "messages"),
    [
        (1, 1),
        (PIECE, 1),
        (PIECE + 1, 1),
        ("the large one", 1),
        ("a byte before it", 2),
        ("the one before it", 2),
        ("a byte before that", 3),
        ("both before it", 3),
    ],
)
def test_a_message_with_bytes_beside_it_is_one_until_the_last_of_them_is_with_the_kernel(
    waiting: Any, messages: int
) -> None:
    both = pair()
    both.client.emit("offer", bytes(PIECE))
    both.driver.run_until_idle()
    both.connection.to_client.stall()
    large = len(both.socket.encode("image", bytes(PIECE)))
    before = {"a byte before it": 1, "the one before it": SMALL, "a byte before that": SMALL + 1}
    if isinstance(waiting, str):
        waiting = large + before.get(waiting, 2 * SMALL if waiting == "both before it" else 0)
    both.connection.change(buffer=SMALL + 2 * SMALL + large - waiting)
    for _ in range(3):  # of which the first goes at once
        both.socket.emit("n", 1)
    both.socket.emit("image", bytes(PIECE))
    assert both.socket.pending_bytes == waiting
    assert both.socket.unsent() == messages


# ---- limits, to the byte


def full(**options: Any) -> Pair:
    """Stuck, and 2,000 bytes wait already."""
    both = stuck(**{"soft_pending_bytes": 20_000, "max_pending_bytes": 100_000, **options})
    both.socket.emit("n", of_size(both, 12_000))
    assert both.socket.pending_bytes == 2000
    return both


def test_as_much_as_the_soft_limit_is_not_too_much_and_one_message_of_any_size_may_follow() -> None:
    both = full()
    assert both.socket.emit("n", of_size(both, 18_000)) is True
    assert both.socket.emit("frame", "x" * 5000, keep="latest") is True, "which may be replaced"
    assert both.socket.emit("n", "x" * 500_000) is False
    with pytest.raises(BackpressureError):
        both.socket.emit("n", "x" * 2000)


def test_newest_messages_of_several_events_may_be_as_many_bytes_as_the_limit_together() -> None:
    both = full()
    both.socket.emit("a", of_size(both, 60_000, "a"), keep="latest")
    with pytest.raises(BackpressureError):
        both.socket.emit("b", of_size(both, 40_001, "b"), keep="latest")
    both.socket.emit("b", of_size(both, 40_000, "b"), keep="latest")
    assert both.socket.pending_bytes == 102_000


def test_of_messages_of_one_size_each_that_comes_takes_the_place_of_one() -> None:
    both = full(slow_policy="drop_oldest", max_pending_bytes=30_000)
    for _ in range(14):
        both.socket.emit("n", of_size(both, 2000))
    assert (both.socket.pending_bytes, both.socket.dropped) == (30_000, 0)
    for dropped in range(1, 5):
        both.socket.emit("n", of_size(both, 2000))
        assert (both.socket.pending_bytes, both.socket.dropped) == (30_000, dropped)


def test_other_threads_may_emit_as_much_as_the_limit_before_the_loop_takes_it() -> None:
    both = pair(max_pending_bytes=10_000, soft_pending_bytes=5000)
    with both.driver.other_thread():
        for _ in range(2):
            both.socket.emit("n", of_size(both, 5000))
        with pytest.raises(BackpressureError, match="10000 bytes from other threads wait"):
            both.socket.emit("n", 1)
    both.driver.run_until_idle()
    assert both.client.stats().messages_in == 2


def test_who_may_not_await_is_told_to_wait() -> None:
    driver = MemoryDriver(conditions=Conditions(buffer=10_000))
    driver.runs_coroutines = False
    both = pair(driver=driver, soft_pending_bytes=20_000, max_pending_bytes=30_000)
    both.connection.to_client.stall()
    with pytest.raises(BackpressureError, match=r"nothing was sent\. Wait for drain\(\), emit less"):
        for _ in range(100):
            both.socket.emit("n", "x" * 2000)


def test_what_can_be_replaced_no_more_is_pressure_like_all_else() -> None:
    """The newest of an event that went to the kernel whole is not subtracted from what waits behind it."""
    both = stuck(soft_pending_bytes=20_000)
    both.socket.emit("frame", of_size(both, 8000, "frame"), keep="latest")
    both.driver.run_until_idle()
    assert both.socket.pending_bytes == 0
    assert both.socket.emit("n", of_size(both, 23_000)) is False
    assert both.socket.outgoing.owed == both.socket.pending_bytes == 21_000


def test_who_waits_is_told_when_only_what_may_be_replaced_keeps_the_kernel_busy() -> None:
    both = full()
    told: list[tuple[int, int]] = []
    both.server.on_drained.append(lambda: told.append((both.socket.pending_bytes, both.socket.outgoing.owed)))
    assert both.socket.emit("n", of_size(both, 25_000)) is False
    both.socket.emit("frame", of_size(both, 60_000, "frame"), keep="latest")
    both.connection.resume()
    both.driver.run_until_idle()
    (pending, owed), *_, end = told
    assert pending > 60_000 and owed <= 20_000 and end == (0, 0)


def test_newest_bytes_that_wait_for_one_that_takes_no_attachments_are_sent_as_they_were() -> None:
    both = full(client={"attachments": "off"})
    got: list[bytes] = []
    both.client.on("frame", got.append, type=bytes)
    changed = bytearray(20_000)
    both.socket.emit("frame", changed, keep="latest")
    changed[:] = b"x" * len(changed)
    both.connection.resume()
    both.driver.run_until_idle()
    assert got == [bytes(20_000)]


# ---- a peer that takes nothing


def test_a_peer_is_cut_when_its_time_is_over_and_not_a_step_later() -> None:
    both = full(slow_timeout=1500)
    both.driver.advance(10)
    both.socket.emit("n", "x" * 30_000)
    both.driver.advance(1.4)
    assert both.server.sockets == [both.socket]
    both.driver.advance(0.2)
    assert both.server.sockets == []


def test_a_peer_is_not_cut_where_no_more_than_the_soft_limit_waits_when_its_time_is_over() -> None:
    both = stuck(soft_pending_bytes=20_000, slow_timeout=3000)
    both.connection.change(split=[1, 100_000])
    assert both.socket.emit("n", of_size(both, 30_001)) is False
    both.connection.resume()
    while both.socket.pending_bytes > 20_000:
        both.driver.run_turn()
    both.connection.to_client.stall()
    assert both.socket.pending_bytes == 20_000
    both.driver.advance(10)
    assert both.server.sockets == [both.socket]


def test_a_peer_is_not_cut_for_the_time_in_which_this_process_was_held_up_again_and_again() -> None:
    both = full(slow_timeout=5000)
    both.socket.emit("n", "x" * 30_000)
    for _ in range(10):
        both.driver._now += 2.0  # as a handler that works in place: what was due comes a second late
        both.driver.run_until_idle()
    assert both.server.sockets == [both.socket]
    both.driver.advance(6)
    assert both.server.sockets == []


def test_a_peer_that_has_taken_all_is_timed_no_more() -> None:
    both = full(message_timeout=0)
    both.socket.emit("n", "x" * 30_000)
    both.connection.resume()
    both.driver.advance(2)
    assert [timer for timer in both.driver._timers if not timer.cancelled] == []


def test_a_close_has_its_own_time_for_a_peer_that_is_slow() -> None:
    both = full(slow_timeout=3000)
    both.socket.emit("n", "x" * 30_000)
    both.driver.advance(2)
    both.socket.close(timeout=30)
    both.driver.advance(20)
    assert both.socket.loss is None
    both.connection.resume()
    both.driver.run_until_idle()
    loss = both.socket.loss
    assert loss is not None and loss.reason is None
    assert (loss.dropped, both.client.stats().messages_in) == (0, 2)


# ---- what is lost


def test_what_could_not_be_sent_for_want_of_a_loop_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_loop(*_: Any) -> bool:
        raise NotConnected("the loop is closed")

    both = pair()
    with monkeypatch.context() as patched:
        patched.setattr(both.driver, "turn_ends", no_loop)
        with pytest.raises(NotConnected):
            both.socket.emit("first")
    assert both.socket.unsent() == 0
    got: list[str] = []
    both.client.on("*", lambda type, *_: got.append(type))
    both.socket.emit("second")
    both.driver.run_until_idle()
    assert got == ["second"]


def test_what_was_taken_back_does_not_stand_for_what_somebody_counts_on() -> None:
    both = stuck()
    outgoing: Outgoing = both.socket.outgoing
    for _ in range(20):
        both.socket.emit("n", "x" * 2000)
    for _ in range(3):
        assert both.socket.withdraw(outgoing.frames[-1])
    both.connection.resume()
    both.driver.run_until_idle()
    outgoing.confirm(outgoing.last_given)
    link: Any = Silent()
    assert outgoing.is_kept(link) and outgoing.in_flight == 0
    both.socket.emit("counts")
    assert not outgoing.is_kept(link) and outgoing.in_flight == 1
