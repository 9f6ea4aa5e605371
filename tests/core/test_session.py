"""One peer's conversation: batches, limits, deadlines, and every kind of bytes that a peer may send."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from hostile import ENVELOPES
from node_ipc import Config
from node_ipc.config.address import Unix
from node_ipc.core.client import Client
from node_ipc.core.outgoing import FLUSH_BYTES, FLUSH_FRAMES
from node_ipc.core.session import LOOK_SECONDS, Loss, Session
from node_ipc.errors import (
    BackpressureError,
    ConnectionLost,
    EventTooLarge,
    ForkError,
    FrameTooLarge,
    InvalidEvent,
    InvalidJSON,
    InvalidMessage,
    InvalidPayload,
    IPCError,
    MessageTimeout,
    NotConnected,
    ProtocolError,
    ReservedEvent,
    WrongLoopError,
    WrongThreadError,
)
from node_ipc.testing import Conditions, MemoryDriver, Pair, Started, Wire, WireServer, connect, pair, serve

KIB, MIB = 1024, 1024 * 1024


class Ears:
    """A server that writes down all it hears of its peers."""

    def __init__(self, **options: Any) -> None:
        self.driver = MemoryDriver()
        self.server = serve(self.driver, **options)
        self.messages: list[tuple[str, Any]] = []
        self.errors: list[IPCError] = []
        self.lifecycle: list[str] = []
        self.server.on("*", self._hear)

    def _hear(self, type: str, *arguments: Any) -> None:
        if type == "error":
            self.errors.append(arguments[0])
        elif type in ("connect", "close", "socket.disconnected", "start", "data"):
            self.lifecycle.append(type)
        else:
            self.messages.append((type, arguments[0]))

    def wire(self) -> Wire:
        return Started(self.server, self.driver).wire()

    def hear(self, *chunks: bytes) -> Verdict:
        """What a new peer that sends these bytes brings about: events, errors, and whether it was cut off."""
        self.messages.clear()
        self.errors.clear()
        wire = self.wire()
        for chunk in chunks:
            if not wire.is_lost:
                wire.write(chunk)
            self.driver.run_until_idle()
        verdict = list(self.messages), [type(error) for error in self.errors], wire.has_ended or wire.is_lost
        if not wire.is_lost:
            wire.abort()
        self.driver.run_until_idle()
        return verdict


Verdict = tuple[list[tuple[str, Any]], list[type[IPCError]], bool]


def frame(type: str, data: str = "1") -> bytes:
    return b'{"type":"%s","data":%s}\f' % (type.encode(), data.encode())


# ---- bytes in


@pytest.mark.row(1)
@pytest.mark.parametrize(
    ("data", "messages", "errors", "cut"),
    [
        (frame("a") + frame("b"), [("a", 1), ("b", 1)], [], False),
        (frame("a")[:-3], [], [], False),
        (b'{"type":"a"}\f', [("a", {})], [], False),
        (frame("a") + b"garbage\f" + frame("b"), [("a", 1)], [InvalidJSON], True),
        (frame("a") + b"[]\f" + frame("b"), [("a", 1)], [InvalidMessage], True),
        (frame("a") + b"{}\f" + frame("b"), [("a", 1)], [InvalidEvent], True),
        (frame("a") + frame("connect") + frame("b"), [("a", 1)], [ReservedEvent], True),
        (frame("a") + b"\xff\f" + frame("b"), [("a", 1)], [InvalidJSON], True),
        (frame("a") + b"\f", [("a", 1)], [InvalidJSON], True),
        (frame("a") + frame("b", "1e400") + frame("c"), [("a", 1), ("c", 1)], [InvalidPayload], False),
        (frame("a") + frame("b", "[" * 9999 + "]" * 9999) + frame("c"), [("a", 1), ("c", 1)], [InvalidPayload], False),
        (frame("a", '"\\ud800"') + frame("b"), [("a", "\ud800"), ("b", 1)], [], False),
        (frame("a") + b"x" * 2000, [("a", 1)], [FrameTooLarge], True),
        (frame("a") + b"x" * 2000 + b"\f" + frame("b"), [("a", 1)], [FrameTooLarge], True),
    ],
)
def test_bytes_and_what_comes_of_them(data: bytes, messages: list[Any], errors: list[Any], cut: bool) -> None:
    ears = Ears(max_message_size=50_000 if b"[[" in data else 1000)
    assert ears.hear(data) == (messages, errors, cut)
    unheard = [type(error) for error in ears.driver.failures]  # what hears everything takes no errors off the log
    assert unheard == [kind for kind in errors if kind is InvalidPayload]
    assert ears.lifecycle == ["connect", "socket.disconnected", "close"]
    assert ears.hear(frame("next")) == ([("next", 1)], [], False)


PIECES = [
    b"\f", b"\f\f", b"{", b"}", b'{"type":"a"}', b'{"type":"a","data":[1]}\f', b'{"type":"connect"}\f', b'{"type":5}\f',
    b'{"type":"b","data":"\\ud800"}\f', b'{"type":"b","data":1e999}\f', b"null\f", b"[]\f", b'"x"\f', b"\xff",
    b"\xc3\xa9",
    b"\xef\xbb\xbf", b"\\u", b"garbage\f", b'{"type":"__proto__"}\f', b'{"data":1}\f', b"1" * 5000 + b"\f", b"[" * 3000,
    b'{"type":"a","data":' + b"1" * 4400 + b"}\f", b'{"type":"a","data":' + b"[" * 2000 + b"]" * 2000 + b"}\f",
    b'{"type":"a\\ud800","data":{"\\udc00":NaN}}\f', b'{"t\\u0079pe":"c"}\f', b"\x00\f", b"\r\n\f",
    b"{\"type\":\"a\"}\x0b\f",
]  # fmt: skip
hostile = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join),
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=8).map(b"".join),
    st.binary(max_size=100),
)
ROW_1 = {profile: Ears(parser=profile, max_message_size=8000) for profile in ("guarded", "fast")}
ROW_1["assured"] = Ears(parser="assured", allowed_events=["a", "b"], max_message_size=8000)
ROW_1["typed"] = Ears(max_message_size=8000)
ROW_1["typed"].server.on("a", lambda data: None, type=list[int])


@pytest.mark.row(1)
@pytest.mark.row(2)
@pytest.mark.parametrize("profile", ROW_1)
def test_any_bytes_give_events_or_one_documented_error_however_they_are_cut(profile: str) -> None:
    ears = ROW_1[profile]
    ears.hear(frame("connect"))  # that a reserved name reached no handler is said once

    @given(hostile, st.lists(st.integers(1, 60), max_size=6))
    @settings(max_examples=250, deadline=None)
    @example(b"".join(PIECES), [])
    def check(data: bytes, sizes: list[int]) -> None:
        verdict = ears.hear(data)
        assert all(issubclass(error, ProtocolError) for error in verdict[1])
        fatal = [error for error in verdict[1] if error is not InvalidPayload]
        assert fatal == verdict[1][-1:] if fatal else True
        assert verdict[2] == bool(fatal)
        chunks, rest = [], data
        for size in sizes:
            chunks.append(rest[:size])
            rest = rest[size:]
        assert ears.hear(*[chunk for chunk in (*chunks, rest) if chunk]) == verdict
        assert not any(event in ("error", "data") for event in ears.lifecycle)

    check()
    assert not ears.server.sockets


@pytest.mark.parametrize("parser", ["fast", "guarded"])
def test_who_speaks_tls_here_is_told_at_once_and_not_waited_for(parser: str) -> None:
    ears = Ears(parser=parser)
    for hello in ([b"\x16\x03\x01\x02\x00"], [b"\x16", b"\x03\x01\x02\x00"], [b"\x16\x03\x01\xfc\f\x00"]):
        messages, errors, cut = ears.hear(*hello)
        assert (messages, errors, cut) == ([], [InvalidJSON], True)


@pytest.mark.row(2)
def test_every_cut_of_a_conversation() -> None:
    data = frame("a", '{"é":"\\f"}') + frame("b", "[1,null]") + frame("ü", '"€😀"') + b"{}\f"
    ears = Ears()
    verdict = ears.hear(data)
    assert verdict[1] == [InvalidEvent]
    for cut in range(1, len(data)):
        assert ears.hear(data[:cut], data[cut:]) == verdict, cut
    assert ears.hear(*[data[i : i + 1] for i in range(len(data))]) == verdict


@pytest.mark.row(9)
def test_forty_hostile_envelopes() -> None:
    ears = Ears()
    ears.server.on("ping", lambda data, socket: socket.emit("pong", data))
    for envelope, refused in ENVELOPES:
        before = len(ears.lifecycle)
        _, errors, cut = ears.hear(envelope + b"\f")
        assert (len(errors), cut) == (refused, refused), envelope
        assert ears.lifecycle[before:] == ["connect", "socket.disconnected", "close"]
        wire = ears.wire()
        wire.write(frame("ping", "7"))
        ears.driver.run_until_idle()
        assert wire.take() == frame("pong", "7")
        wire.abort()
        ears.driver.run_until_idle()


@pytest.mark.row(4)
def test_no_frame_over_the_cap_is_buffered() -> None:
    ears = Ears(max_message_size=MIB)
    wire = ears.wire()
    sent = 0
    while not (wire.is_lost or wire.has_ended) and sent < 256 * MIB:
        wire.write(b"x" * 64 * KIB)
        sent += 64 * KIB
        ears.driver.run_until_idle()
    assert sent <= MIB + 64 * KIB
    assert [type(error) for error in ears.errors] == [FrameTooLarge]


def test_bytes_behind_a_close_are_dropped() -> None:
    ears = Ears()
    ears.server.on("bye", lambda data, socket: socket.close())
    messages, errors, _ = ears.hear(frame("a") + frame("bye") + frame("b") + b"garbage\f" + b"\xff\f")
    assert messages == [("a", 1), ("bye", 1)]
    assert errors == []


def test_bytes_behind_an_abort_are_dropped() -> None:
    ears = Ears()
    ears.server.on("bye", lambda data, socket: socket.abort())
    assert ears.hear(frame("bye") + frame("b"), frame("c")) == ([("bye", 1)], [], True)


def test_bytes_behind_a_close_are_told_as_bytes_and_as_no_message() -> None:
    ears = Ears()
    wire = ears.wire()
    told: list[tuple[int, int]] = []
    ears.server.on_trace(lambda trace: told.append((trace.messages, trace.bytes)) if trace.what == "received" else None)
    (socket,) = ears.server.sockets
    wire.write(frame("before"))
    ears.driver.run_until_idle()
    socket.close()
    for read in (frame("a") + frame("b"), frame("c")):
        wire.write(read)
        ears.driver.run_until_idle()
    assert told == [(1, len(frame("before"))), (0, len(frame("a") + frame("b"))), (0, len(frame("c")))]
    assert socket.stats().bytes_in == sum(size for _, size in told)


# ---- half frames


@pytest.mark.row(13)
def test_half_frames_expire() -> None:
    ears = Ears(message_timeout=1000)
    drippers = [ears.wire() for _ in range(50)]
    for _ in range(30):
        for wire in drippers:
            if not wire.is_lost:
                wire.write(b"x")
        ears.driver.advance(0.1)
        if ears.errors:
            break
    assert 1.0 <= ears.driver.now() <= 1.5
    ears.driver.advance(0.5)
    assert [type(error) for error in ears.errors] == [MessageTimeout] * 50
    assert "message_timeout is 1 s" in str(ears.errors[0])
    assert ears.server.sockets == []


@pytest.mark.row(13)
def test_whole_streams_do_not_expire() -> None:
    ears = Ears(message_timeout=1000)
    wire = ears.wire()
    stream = b"".join(frame("n", str(number)) for number in range(400))
    half = len(frame("n", "0")) // 2
    wire.write(stream[:half])
    position = half
    while position < len(stream):
        ears.driver.advance(0.25)
        wire.write(stream[position : position + 100])
        position += 100
    ears.driver.advance(0.25)
    assert ears.messages == [("n", number) for number in range(400)]
    assert ears.errors == []


@pytest.mark.row(13)
def test_a_large_message_may_take_its_time_but_not_forever() -> None:
    ears = Ears(message_timeout=30_000)
    quick, slow = ears.wire(), ears.wire()
    for _ in range(29):
        quick.write(b"{" * 2000)
        slow.write(b"{")
        ears.driver.advance(1)
    assert ears.errors == []
    ears.driver.advance(2)
    assert [type(error) for error in ears.errors] == [MessageTimeout] * 2
    assert all(wire.is_lost or wire.has_ended for wire in (quick, slow))


@pytest.mark.parametrize("options", [{"message_timeout": 0}, {"parser": "fast"}])
def test_half_frames_without_a_limit(options: dict[str, Any]) -> None:
    ears = Ears(**options)
    wire = ears.wire()
    wire.write(b'{"type":')
    ears.driver.advance(1000)
    wire.write(b'"a"}\f')
    ears.driver.run_until_idle()
    assert ears.messages == [("a", {})]


def test_half_frames_do_not_age_while_it_is_we_who_do_not_read() -> None:
    ears = Ears(message_timeout=1000, max_handler_frames=1)

    @ears.server.on("work")
    async def work(data: Any) -> None:
        await ears.driver.sleep(10)

    wire = ears.wire()
    wire.write(frame("work") + b'{"type":"a"')
    ears.driver.advance(5)
    wire.write(b"}\f")
    ears.driver.advance(6)
    assert ears.errors == []
    assert ears.messages == [("work", 1), ("a", {})]


def held_up(driver: MemoryDriver, seconds: float) -> None:
    """A handler works in place for so long, or nobody calls: what is due meanwhile comes late, and nothing is read."""
    driver._now += seconds
    driver.run_until_idle()


def test_half_frames_do_not_age_while_this_process_is_held_up() -> None:
    """Also where it comes back before the time is over: what the kernel holds takes more than one read."""
    ears = Ears(message_timeout=30_000)
    wire = ears.wire()
    wire.write(b'{"type":"n","data":"')
    ears.driver.advance(0.5)
    held_up(ears.driver, 29)
    for _ in range(28):
        wire.write(b"x")
        ears.driver.advance(1)
    wire.write(b'"}\f')
    ears.driver.run_until_idle()
    assert (ears.errors, ears.messages) == ([], [("n", "x" * 28)])


def test_half_frames_age_in_all_the_time_that_this_process_had() -> None:
    ears = Ears(message_timeout=30_000)
    wire = ears.wire()
    wire.write(b'{"type":"n","data":"')
    for _ in range(29):
        ears.driver.advance(1.0)
        held_up(ears.driver, 10)
    assert ears.errors == []
    ears.driver.advance(30)
    assert [type(error) for error in ears.errors] == [MessageTimeout]


def test_a_frame_completed_in_time_is_forgotten() -> None:
    ears = Ears(message_timeout=1000)
    wire = ears.wire()
    wire.write(b'{"type":')
    ears.driver.advance(0.9)
    wire.write(b'"a"}\f')
    ears.driver.advance(10)
    assert ears.errors == []


# ---- batches out


def writes(everything: Pair) -> list[int]:
    """Notes how many messages each write of the server's end holds."""
    sizes: list[int] = []
    end = everything.connection.server
    write = end.write

    def note(data: bytes) -> None:
        sizes.append(data.count(b"\f"))
        write(data)

    end.write = note  # type: ignore[method-assign]
    return sizes


def test_the_first_emit_of_a_turn_goes_out_at_once_the_rest_together() -> None:
    everything = pair()
    sizes = writes(everything)
    for number in range(10):
        assert everything.socket.emit("n", number)
    assert sizes == [1]
    everything.driver.run_until_idle()
    assert sizes == [1, 9]
    everything.socket.emit("n", 10)
    assert sizes == [1, 9, 1]


def test_many_emits_go_out_in_blocks() -> None:
    everything = pair()
    sizes = writes(everything)
    heard: list[int] = []
    everything.client.on("n", heard.append)
    for number in range(1000):
        everything.socket.emit("n", number)
    everything.driver.run_until_idle()
    assert heard == list(range(1000))
    assert set(sizes[1:-1]) == {FLUSH_FRAMES}


def test_large_frames_are_weighed() -> None:
    everything = pair()
    sizes = writes(everything)
    for _ in range(40):
        everything.socket.emit("n", "x" * 2000)
    everything.driver.run_until_idle()
    per_write = -(-FLUSH_BYTES // 2000)
    assert max(sizes) <= per_write


def test_what_handlers_emit_goes_out_at_the_end_of_the_read() -> None:
    everything = pair()
    sizes = writes(everything)
    everything.server.on("n", lambda data, socket: socket.emit("m", data))
    for number in range(10):
        everything.client.emit("n", number)
    everything.driver.run_until_idle()
    assert sizes == [1, 9]


def test_what_connect_handlers_emit_goes_out_together() -> None:
    driver = MemoryDriver()
    server = serve(driver)

    @server.on("connect")
    def connected(socket: Session) -> None:
        for number in range(3):
            socket.emit("n", number)

    wire = Wire.connected(driver, server.address)
    assert wire.take() == frame("n", "0") + frame("n", "1") + frame("n", "2")


def test_a_payload_changed_after_emit_goes_out_as_it_was() -> None:
    client, server, _, driver = pair()
    heard: list[Any] = []
    server.on("a", heard.append)
    data = [1]
    client.emit("a", data)
    data.append(2)
    driver.run_until_idle()
    assert heard == [[1]]


def test_a_frame_encoded_once_can_be_written_to_many() -> None:
    everything = pair()
    heard: list[Any] = []
    everything.client.on("a", heard.append)
    encoded = everything.socket.encode("a", [1])
    for _ in range(70):
        everything.socket.outgoing.write(encoded)
    everything.driver.run_until_idle()
    assert heard == [[1]] * 70


# ---- limits out


def stuck(**options: Any) -> Pair:
    """A pair whose client reads nothing, with a kernel that takes 10,000 bytes."""
    driver = MemoryDriver(conditions=Conditions(buffer=10_000))
    everything = pair(driver=driver, **{"max_pending_bytes": 100_000, "soft_pending_bytes": 20_000, **options})
    everything.connection.to_client.stall()
    return everything


@pytest.mark.row(10)
def test_emit_tells_of_the_soft_limit_and_refuses_above_the_hard_one() -> None:
    everything = stuck()
    results = []
    with pytest.raises(BackpressureError, match=r"max_pending_bytes \(100000\); nothing was sent"):
        for _ in range(1000):
            results.append(everything.socket.emit("n", "x" * 1980))
    assert results == sorted(results, reverse=True)  # True up to the soft limit, False from then on
    assert 12 <= results.count(True) <= 16
    assert 100_000 - 2010 < everything.socket.pending_bytes <= 100_000
    with pytest.raises(BackpressureError):
        everything.socket.emit("n", "x" * 1980)
    heard: list[Any] = []
    everything.client.on("n", heard.append)
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert len(heard) == len(results)
    assert everything.socket.pending_bytes == 0
    assert everything.socket.emit("n", 1)


def test_an_emit_that_is_refused_says_how_much_waits_and_how_much_it_would_add() -> None:
    everything = stuck()
    with pytest.raises(BackpressureError) as refused:
        while True:
            before = everything.socket.pending_bytes
            everything.socket.emit("n", "x" * 1980)
    assert f"{before} bytes wait, and {len(frame('n')) - 1 + 1982} more would pass" in str(refused.value)
    assert "Await drain(), emit less" in str(refused.value)


@pytest.mark.row(10)
def test_small_frames_are_bounded_too() -> None:
    everything = stuck()
    count = 0
    with pytest.raises(BackpressureError):
        while count < 100_000:
            everything.socket.emit("n", count)
            count += 1
    assert everything.socket.pending_bytes <= 100_000 + 64 * KIB
    heard: list[int] = []
    everything.client.on("n", heard.append)
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert heard == list(range(count))


def viewed(policy: str, **options: Any) -> Pair:
    """A peer that reads one read in two seconds, of a server that offers it far more: it stays above the soft limit."""
    everything = stuck(**{"slow_policy": policy, "slow_timeout": 10_000, "message_timeout": 0, **options})

    def offer() -> None:
        for _ in range(20):
            with contextlib.suppress(BackpressureError, NotConnected):
                everything.socket.emit("n", "x" * 1980)

    for _ in range(50):
        everything.connection.resume()
        offer()
        everything.driver.run_turn()
        everything.connection.to_client.stall()
        for _ in range(5):
            offer()
            everything.driver.advance(0.4)
    return everything


@pytest.mark.row(10)
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_peer_that_reads_slowly_is_not_cut_where_messages_are_dropped(policy: str) -> None:
    everything = viewed(policy)
    assert everything.server.sockets == [everything.socket]
    assert everything.socket.dropped > 100 and not everything.socket.outgoing.below_soft
    everything.driver.advance(9)
    assert everything.server.sockets == [everything.socket]
    everything.driver.advance(11)  # and nothing was taken
    assert everything.server.sockets == []
    assert "did not take its bytes" in str(everything.socket.loss)


def test_a_peer_that_reads_slowly_is_cut_where_nothing_is_dropped() -> None:
    everything = viewed("disconnect")
    assert everything.socket not in everything.server.sockets


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "disconnect"])
def test_without_a_slow_timeout_nobody_is_cut(policy: str) -> None:
    everything = viewed(policy, slow_timeout=math.inf)
    everything.driver.advance(1e5)
    assert everything.server.sockets == [everything.socket]


def test_one_large_message_alone_may_be_above_the_limit() -> None:
    everything = stuck()
    assert everything.socket.emit("n", "x" * 500_000) is False
    with pytest.raises(BackpressureError):
        everything.socket.emit("n", "x" * 2000)
    heard: list[Any] = []
    everything.client.on("n", heard.append)
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert [len(data) for data in heard] == [500_000]


@pytest.mark.row(10)
def test_a_peer_that_stays_above_the_soft_limit_is_cut() -> None:
    everything = stuck(slow_timeout=10_000)
    errors: list[Any] = []
    everything.server.on("error", lambda error, socket: errors.append((error, socket)))
    everything.server.on("socket.disconnected", lambda socket: errors.append(socket.loss))
    for _ in range(20):
        everything.socket.emit("n", "x" * 1980)
    everything.driver.advance(9.9)
    assert errors == []
    everything.driver.advance(0.2)
    (error, socket), loss = errors
    assert isinstance(error, BackpressureError)
    assert "for 10 s; its link is cut" in str(error)
    assert socket is everything.socket
    assert loss.reason is error
    assert loss.dropped + loss.in_flight + 5 >= 20 > loss.dropped
    assert everything.server.sockets == []


def test_a_peer_that_nobody_offered_anything_for_a_while_is_not_cut_for_that() -> None:
    everything = stuck(slow_timeout=10_000)
    for _ in range(20):
        everything.socket.emit("n", "x" * 1980)
    everything.driver.advance(0.5)
    held_up(everything.driver, 9)  # and 9.5 s are over
    everything.driver.advance(0.6)
    assert everything.server.sockets == [everything.socket]
    everything.driver.advance(10)
    assert everything.server.sockets == []


@pytest.mark.row(10)
def test_a_peer_that_reads_in_time_is_not_cut() -> None:
    everything = stuck(slow_timeout=10_000)
    for _ in range(5):
        while everything.socket.emit("n", "x" * 1980):
            pass
        everything.driver.advance(9)
        everything.connection.resume()
        everything.driver.run_until_idle()
        everything.connection.to_client.stall()
    everything.driver.advance(100)
    assert everything.server.sockets == [everything.socket]


def test_a_peer_that_reads_some_in_time_is_not_cut() -> None:
    everything = stuck(slow_timeout=10_000, message_timeout=0)
    for _ in range(14):
        everything.socket.emit("n", "x" * 1980)
    assert not everything.socket.emit("n", "x" * 1980)
    everything.driver.advance(5)
    everything.connection.resume()
    for _ in range(2):  # one read, and the kernel takes as much again
        everything.driver.run_turn()
    everything.connection.to_client.stall()
    assert 0 < everything.socket.pending_bytes < 20_000
    everything.driver.advance(20)
    assert everything.server.sockets == [everything.socket]
    while everything.socket.emit("n", "x" * 1980):
        pass
    everything.driver.advance(10.1)
    assert everything.socket not in everything.server.sockets


@pytest.mark.row(10)
def test_only_a_server_stops_reading_from_a_peer_that_does_not_read() -> None:
    everything = stuck()
    heard: list[Any] = []
    everything.server.on("n", heard.append)
    while everything.socket.emit("n", "x" * 1980):
        pass
    everything.client.emit("n", 1)
    everything.driver.run_until_idle()
    assert heard == []
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert heard == [1]


def test_a_client_reads_on() -> None:
    everything = pair(
        driver=MemoryDriver(conditions=Conditions(buffer=10_000)), max_pending_bytes=100_000, soft_pending_bytes=20_000
    )
    heard: list[Any] = []
    everything.client.on("n", heard.append)
    everything.connection.to_server.stall()
    while everything.client.emit("n", "x" * 1980):
        pass
    everything.socket.emit("n", 1)
    everything.driver.run_until_idle()
    assert heard == [1]


@pytest.mark.row(10)
def test_an_echo_server_cannot_be_flooded() -> None:
    driver = MemoryDriver()
    server = serve(driver, max_pending_bytes=MIB, soft_pending_bytes=100_000)
    server.on("n", lambda data, socket: socket.emit("n", data))
    failures: list[Any] = []
    server.on("error", failures.append)
    wire = Wire.connected(driver, server.address)
    connection = driver.connections[-1]
    connection.to_client.stall()
    written = 0
    while not wire.is_full:
        wire.write(frame("n", f'"{"x" * 2000}"'))
        written += 1
        driver.run_until_idle()
    assert server.sockets[0].pending_bytes <= MIB
    assert failures == []
    connection.resume()
    driver.run_until_idle()
    assert wire.bytes.count(b"\f") == written


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_dropping_instead_of_refusing(policy: str) -> None:
    everything = stuck(slow_policy=policy)
    for number in range(200):
        everything.socket.emit("n", [number, "x" * 1980])
    assert everything.socket.pending_bytes <= 100_000 + 2010
    dropped = everything.socket.dropped
    assert dropped > 0
    heard: list[int] = []
    everything.client.on("n", lambda data: heard.append(data[0]))
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert len(heard) + dropped == 200
    assert heard == sorted(set(heard))
    kept_last = heard[-1] == 199
    assert kept_last == (policy == "drop_oldest")
    assert heard[0] == 0


@pytest.mark.row(52)
def test_the_only_one_that_waits_makes_room_for_the_newest() -> None:
    everything = stuck(slow_policy="drop_oldest", max_pending_bytes=20_000, soft_pending_bytes=10_000)
    heard: list[int] = []
    everything.client.on("n", lambda data: heard.append(data[0]))
    for number, size in enumerate([9_000, 2_000, 12_000, 15_000]):
        everything.socket.emit("n", [number, "x" * size])  # the first fills the kernel's part
        everything.driver.run_until_idle()
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert heard == [0, 1, 3] and everything.socket.dropped == 1
    assert everything.socket.outgoing.next_number == 5  # those that were dropped had numbers


def test_closing_while_the_kernel_is_full_sends_everything_first() -> None:
    everything = stuck()
    for number in range(20):
        everything.socket.emit("n", [number, "x" * 1980])
    everything.socket.close()
    with pytest.raises(NotConnected, match="this socket is closed"):
        everything.socket.emit("n", 1)
    heard: list[Any] = []
    lost: list[Loss] = []
    everything.client.on("n", lambda data: heard.append(data[0]))
    everything.client.on("disconnect", lost.append)
    everything.driver.advance(1)
    everything.connection.resume()
    everything.driver.run_until_idle()
    assert heard == list(range(20))
    assert lost[0].reason is None


@pytest.mark.row(36)
def test_closing_ends_in_time() -> None:
    everything = stuck(close_timeout=5000)
    lost: list[Loss] = []
    everything.server.on("close", lambda socket: lost.append(socket.loss))
    for number in range(20):
        everything.socket.emit("n", [number, "x" * 1980])
    everything.socket.close()
    everything.driver.advance(4.9)
    assert lost == []
    everything.driver.advance(0.2)
    assert lost[0].dropped > 0
    assert everything.server.sockets == []


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("on", "that of the server: its handlers get the socket as their second argument"),
        ("once", "that of the server: its handlers get the socket"),
        ("recv", "a server hears its clients by handlers; to ask this one, request"),
        ("drain", "what emit returns, False while the peer takes no more"),
        ("write", "emit(type, data)"),
    ],
)
def test_what_is_asked_of_a_socket_and_belongs_elsewhere_is_named(name: str, instead: str) -> None:
    with pair() as ends, pytest.raises(AttributeError, match=re.escape(instead)):
        getattr(ends.socket, name)


def test_where_a_socket_is_used_on_another_loop_it_says_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    with pair() as ends:
        monkeypatch.setattr(ends.driver, "misplaced", lambda: "was called on another event loop")
        with pytest.raises(WrongLoopError, match=r"^close\(\) was called on another event loop$"):
            ends.socket.close()
        monkeypatch.undo()
        assert ends.socket.is_open


def test_a_peer_that_read_all_and_does_not_end_is_waited_for_half_a_second() -> None:
    ears = Ears()
    ears.wire()
    (socket,) = ears.server.sockets
    socket.emit("n", 1)
    ears.driver.run_until_idle()
    socket.close()
    ears.driver.advance(0.4)
    assert ears.server.sockets == [socket]
    ears.driver.advance(0.2)
    assert ears.server.sockets == []
    with pytest.raises(NotConnected, match=r"^cannot request: this socket is closed$"):
        socket.request("add")


@pytest.mark.row(36)
def test_a_peer_that_ended_and_does_not_read_is_cut_in_time() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    assert wire.link is not None
    wire.link.pause_reading()
    for _ in range(200):
        server.sockets[0].emit("n", "x" * 2000)
    wire.close()
    driver.advance(4.9)
    assert len(server.sockets) == 1
    driver.advance(0.2)
    assert server.sockets == []


@pytest.mark.row(36)
def test_a_peer_that_never_ends_is_cut_in_time() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    assert wire.link is not None
    wire.link.pause_reading()
    server.sockets[0].emit("n")
    server.sockets[0].close()
    driver.advance(4.9)
    assert not wire.is_lost
    assert len(server.sockets) == 1
    driver.advance(0.2)
    assert server.sockets == []


@pytest.mark.row(36)
def test_a_peer_that_never_ends_is_waited_for_only_while_it_has_something_to_read() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    assert wire.link is not None
    wire.link.pause_reading()
    server.sockets[0].emit("n")
    server.sockets[0].close()
    driver.advance(2)
    wire.link.resume_reading()
    driver.advance(0.2)
    assert wire.has_ended
    assert wire.take() == frame("n", "{}")
    assert len(server.sockets) == 1
    driver.advance(LOOK_SECONDS)
    assert server.sockets == []


# ---- async handlers push back


@pytest.mark.row(12)
def test_slow_handlers_make_the_sender_wait() -> None:
    client, server, _, driver = pair(max_handler_frames=16)
    running = most = done = 0

    @server.on("work")
    async def work(data: Any) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await driver.sleep(1)
        running -= 1
        done += 1

    sent = 0
    while client.emit("work", "x" * 1000):
        sent += 1
        driver.run_until_idle()
    assert most == 16
    assert sent * 1000 <= 2 * MIB
    driver.advance(sent)
    assert done == sent + 1
    assert most == 16


@pytest.mark.row(12)
def test_large_messages_count_by_their_size() -> None:
    client, server, _, driver = pair(max_handler_frames=1000, max_handler_bytes=100_000)
    running: list[int] = []

    @server.on("work")
    async def work(data: Any) -> None:
        running.append(1)
        await driver.sleep(1)
        running.pop()

    for _ in range(20):
        client.emit("work", "x" * 30_000)
    driver.run_until_idle()
    assert len(running) == 4
    driver.advance(10)
    assert running == []


def test_closing_while_handlers_are_busy_does_not_wait_for_them_nor_for_the_time_limit() -> None:
    ears = Ears(max_handler_frames=1)

    @ears.server.on("work")
    async def work(data: Any) -> None:
        await ears.driver.sleep(60)

    wire = ears.wire()
    wire.write(frame("work") * 2 + frame("a"))
    ears.driver.run_until_idle()
    (socket,) = ears.server.sockets
    assert socket.is_reading_paused
    socket.close()
    wire.write(frame("a"))  # read and dropped, as is the end behind it
    wire.close()
    ears.driver.run_until_idle()
    assert ears.server.sockets == []
    assert ears.messages == [("work", 1)]


def test_messages_keep_their_order_behind_slow_handlers() -> None:
    client, server, _, driver = pair(max_handler_frames=2)
    heard: list[int] = []

    @server.on("n")
    async def slow(data: int) -> None:
        heard.append(data)
        await driver.sleep(1)

    for number in range(20):
        client.emit("n", number)
    client.close()
    driver.advance(60)
    assert heard == list(range(20))
    assert server.sockets == []


def test_a_peer_that_ends_is_heard_to_the_end() -> None:
    driver = MemoryDriver()
    server = serve(driver, max_handler_frames=1)
    heard: list[int] = []

    @server.on("n")
    async def slow(data: int, socket: Session) -> None:
        await driver.sleep(0.5)
        heard.append(data)
        if socket.is_open:
            socket.emit("done", data)

    wire = Wire.connected(driver, server.address)
    wire.write(b"".join(frame("n", str(number)) for number in range(5)))
    wire.close()
    driver.advance(20)
    assert heard == [0, 1, 2, 3, 4]
    assert wire.bytes == b"".join(frame("done", str(number)) for number in range(5))
    assert wire.is_lost or wire.has_ended


@pytest.mark.row(2)
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (b"garbage\f", InvalidJSON),
        (b"\xff\f", InvalidJSON),
        (frame("connect"), ReservedEvent),
        (b"x" * 2000, FrameTooLarge),
        (b"x" * 2000 + b"\f", FrameTooLarge),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_messages_before_a_bad_one_are_delivered_behind_slow_handlers_too(
    bad: bytes, error: type[IPCError], later: bool
) -> None:
    """Whether handlers are slow or not, and however the bytes are cut, the same messages come of them."""
    ears = Ears(max_handler_frames=1, max_message_size=1000)
    heard: list[int] = []

    @ears.server.on("n")
    async def slow(data: int) -> None:
        await ears.driver.sleep(1)
        heard.append(data)

    wire = ears.wire()
    good, behind = b"".join(frame("n", str(number)) for number in range(5)), frame("n", "5")
    wire.write(good if later else good + bad + behind)
    ears.driver.run_until_idle()
    socket = ears.server.sockets[0]
    if later:  # a driver may bring what it had read already
        socket.received(bad)
    socket.received(behind)
    ears.driver.advance(20)
    assert heard == [0, 1, 2, 3, 4]
    assert [type(each) for each in ears.errors] == [error]
    assert wire.is_lost or wire.has_ended
    assert ears.server.sockets == []


def test_a_message_that_waits_for_handlers_is_counted_once() -> None:
    client, server, _, driver = pair(max_handler_frames=2)
    told: list[int] = []
    server.on_trace(lambda trace: told.append(trace.messages if trace.what == "received" else 0))

    @server.on("n")
    async def slow(data: int) -> None:
        await driver.sleep(1)

    for number in range(20):
        client.emit("n", number)
    driver.advance(20)
    assert server.stats().messages_in == client.stats().messages_out == sum(told) == 20


def test_closing_drops_what_waits_for_handlers() -> None:
    client, server, socket, driver = pair(max_handler_frames=1)
    heard: list[int] = []

    @server.on("n")
    async def slow(data: int) -> None:
        heard.append(data)
        await driver.sleep(1)

    for number in range(5):
        client.emit("n", number)
    driver.run_until_idle()
    socket.close()
    driver.advance(20)
    assert heard == [0]
    assert socket not in server.sockets


# ---- interrupts


@pytest.mark.row(37)
def test_after_an_interrupt_the_conversation_goes_on() -> None:
    client, server, _, driver = pair()
    heard: list[int] = []
    answers: list[int] = []

    @server.on("n")
    def handler(data: int, socket: Session) -> None:
        if data == 1:
            raise KeyboardInterrupt
        heard.append(data)
        socket.emit("m", data)

    client.on("m", answers.append)
    for number in range(5):
        client.emit("n", number)
    with pytest.raises(KeyboardInterrupt):
        driver.run_until_idle()
    driver.run_until_idle()
    client.emit("n", 5)
    driver.run_until_idle()
    assert heard == answers == [0, 2, 3, 4, 5]


# ---- ending


def test_close_sends_what_was_emitted_and_drops_what_comes() -> None:
    client, server, socket, driver = pair()
    heard: list[Any] = []
    client.on("n", heard.append)
    server.on("n", heard.append)
    for number in range(3):
        socket.emit("n", number)
    socket.close()
    socket.close()
    client.emit("n", "late")
    driver.run_until_idle()
    assert heard == [0, 1, 2]
    assert not socket.is_open
    assert socket.loss == Loss(unheard=1)
    assert "closed" in repr(socket)


@pytest.mark.parametrize("waits_for", ["the peer's end", "the kernel", "an answer"])
def test_while_it_closes_another_close_with_less_time_holds_and_one_with_more_does_not(waits_for: str) -> None:
    with MemoryDriver() as driver:
        server = serve(driver, "tcp://127.0.0.1:8000", close_timeout=60_000)  # where nobody knows what a peer has read
        peer = Wire.connected(driver, server.address)
        [socket] = server.sockets

        @server.handle("ask")
        async def ask() -> None:
            socket.close()
            await driver.sleep(36_000)

        if waits_for == "an answer":
            peer.write(b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":1,"method":"ask"}}\f')
            driver.run_until_idle()
        elif waits_for == "the kernel":
            driver.stall()
            socket.emit("large", "x" * 4_000_000)
        socket.emit("n")
        socket.close()
        driver.advance(30)
        socket.close(timeout=2)
        socket.close(timeout=40)
        socket.close()
        driver.advance(1.9)
        assert server.sockets == [socket]
        driver.advance(0.2)
        assert server.sockets == [] and socket.loss is not None


@pytest.mark.row(31)
def test_abort_counts_what_was_dropped() -> None:
    _, server, socket, driver = pair()
    lost: list[Loss] = []
    server.on("socket.disconnected", lambda socket: lost.append(socket.loss))
    for number in range(3):
        socket.emit("n", number)  # the first goes out at once
    socket.abort()
    socket.outgoing.turn_ended()  # a driver may tell the end of the turn before the loss
    driver.run_until_idle()
    assert lost == [Loss(None, 2, 1)]
    assert socket.dropped == 2
    assert socket.outgoing.messages_out == 1


@pytest.mark.row(31)
@pytest.mark.parametrize("verb", ["close", "abort"])
def test_ending_inside_a_handler_counts_what_it_emitted(verb: str) -> None:
    client, server, socket, driver = pair()
    got: list[Any] = []
    client.on("*", lambda type, *rest: got.append(type))

    def handler(data: Any, socket: Session) -> None:
        socket.emit("a", 1)
        socket.emit("b", 2)
        getattr(socket, verb)()
        with pytest.raises(NotConnected):
            socket.emit("c", 3)

    server.on("go", handler)
    client.emit("go")
    driver.run_until_idle()
    sent = got[: got.index("disconnect")]
    assert sent == (["a", "b"] if verb == "close" else [])
    assert socket.dropped == (0 if verb == "close" else 2)
    assert socket.outgoing.messages_out == len(sent)


def test_a_loss_tells_what_it_took_with_it() -> None:
    everything = stuck()
    for number in range(30):
        everything.socket.emit("n", [number, "x" * 1980])
    everything.connection.drop()
    everything.driver.run_until_idle()
    loss = everything.socket.loss
    assert loss is not None
    assert isinstance(loss.reason, ConnectionLost)
    assert loss.dropped > 0
    assert loss.in_flight > 0
    assert f"{loss.dropped} messages dropped, {loss.in_flight} not known to be read" in str(loss)
    assert str(Loss()) == "in order"
    assert str(Loss(dropped=1)).startswith("in order; 1 messages dropped")
    for killed in (Loss(in_flight=1), Loss(cut_off=3)):
        assert str(killed).startswith("without an error; "), "so ends a peer that is killed as well"


def test_a_socket_before_its_link() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    session = server.accept(driver.identity)
    assert session is not None
    with pytest.raises(NotConnected, match="no link yet"):
        session.peer  # noqa: B018
    assert "unopened" in repr(session)
    assert session.pending_bytes == 0
    assert not session.opened_at_all
    session.close()
    session.abort()
    with pytest.raises(NotConnected):
        session.emit("a")


def test_names_that_are_not_text_in_errors_about_closed_sockets() -> None:
    socket = pair().socket
    socket.close()
    with pytest.raises(NotConnected, match="cannot emit 'a'"):
        socket.emit("a")
    with pytest.raises(NotConnected, match="cannot emit bytes"):
        socket.emit(b"x" * 10_000)


# ---- threads and forks


@pytest.mark.row(40)
def test_emits_from_another_thread_arrive_in_order() -> None:
    client, _, socket, driver = pair()
    heard: list[int] = []
    client.on("n", heard.append)
    with driver.other_thread():
        for number in range(1000):
            assert socket.emit("n", number)
        with pytest.raises(InvalidPayload):
            socket.emit("n", object())
        for verb in ("close", "abort"):
            with pytest.raises(WrongThreadError, match=rf"{verb}\(\) was called from another thread"):
                getattr(socket, verb)()
    assert heard == []
    driver.run_until_idle()
    assert heard == list(range(1000))


@pytest.mark.row(40)
def test_emits_from_another_thread_are_bounded() -> None:
    everything = stuck()
    errors: list[Any] = []
    everything.server.on("error", errors.append)
    with everything.driver.other_thread(), pytest.raises(BackpressureError, match="other threads wait"):
        for _ in range(1000):
            everything.socket.emit("n", "x" * 1980)
    everything.driver.run_until_idle()
    assert all(isinstance(error, BackpressureError) for error in errors)
    assert everything.socket.pending_bytes <= 100_000
    everything.driver.run_until_idle()
    with everything.driver.other_thread():
        for _ in range(30):
            everything.socket.emit("n", "x" * 1980)
    everything.driver.run_until_idle()
    assert errors
    assert everything.socket.dropped == len(errors)


@pytest.mark.row(31)
@pytest.mark.parametrize("when", ["lost", "closing"])
def test_emits_from_another_thread_are_counted_when_the_link_is_gone(when: str) -> None:
    _, _, socket, driver = pair()
    with driver.other_thread():
        for number in range(5):
            socket.emit("n", number)
    if when == "closing":
        socket.abort()
    else:
        driver.drop()
        driver._ready.rotate(-1)  # the news of the loss comes before what the thread handed over
    driver.run_until_idle()
    assert socket.dropped == 5
    assert socket.outgoing.messages_out == 0


@pytest.mark.row(41)
def test_a_forked_child_can_end_nothing() -> None:
    _, _, socket, driver = pair()
    with driver.forked_child():
        for verb in ("close", "abort"):
            with pytest.raises(ForkError):
                getattr(socket, verb)()
    driver.run_until_idle()
    assert socket.is_open


# ---- raw mode


def test_raw_mode_passes_bytes() -> None:
    client, server, socket, driver = pair(raw_buffer=True)
    heard: list[Any] = []
    answers: list[bytes] = []
    server.on("data", lambda data, socket: heard.append((data, socket)))
    client.on("data", answers.append)
    client.emit(b"\x00\xff\f")
    client.emit("é")
    socket.emit([1, 2])
    driver.run_until_idle()
    assert b"".join(data for data, _ in heard) == b"\x00\xff\f\xc3\xa9"
    assert {each for _, each in heard} == {socket}
    assert answers == [b"\x01\x02"]
    with pytest.raises(InvalidPayload):
        client.emit("message", "data")


@pytest.mark.parametrize("refused", [frame("connect"), b"garbage\f"])
def test_a_link_that_brings_only_what_is_refused_has_not_shown_that_it_works(refused: bytes) -> None:
    driver = MemoryDriver()
    listening = WireServer(driver)
    client = connect(driver, listening.address)
    for links in (1, 2, 3):
        assert len(listening.wires) == links
        listening.wires[-1].write(refused)
        while len(listening.wires) == links or listening.wires[-1].link is None:
            driver.advance(0.1)
        assert client.retries == links


def test_bytes_of_raw_mode_show_that_a_new_link_works() -> None:
    client, server, socket, driver = pair(raw_buffer=True)
    socket.abort()
    driver.advance(5)
    assert client.retries == 1
    server.sockets[0].emit(b"here")
    driver.run_until_idle()
    assert client.retries == 0


def test_raw_payloads_are_relayed_without_decoding() -> None:
    client, server, _, driver = pair()
    heard: list[Any] = []

    @server.on("a")
    def relay(data: Raw, socket: Session) -> None:
        socket.emit("b", data)

    client.on("b", heard.append)
    client.emit("a", {"x": [1, 2.5]})
    driver.run_until_idle()
    assert heard == [{"x": [1, 2.5]}]


# ---- re-entrancy


@pytest.mark.row(38)
def test_a_ping_pong_of_100_000_keeps_order_and_depth() -> None:
    import sys

    client, server, _, driver = pair()
    depths: set[int] = set()
    expected = 0

    def depth() -> int:
        frame, count = sys._getframe(), 0
        while frame is not None:
            frame, count = frame.f_back, count + 1  # type: ignore[assignment]
        return count

    @server.on("ping")
    def ping(data: int, socket: Session) -> None:
        socket.emit("pong", data + 1)

    @client.on("pong")
    def pong(data: int) -> None:
        nonlocal expected
        expected += 1
        assert data == expected
        if data % 10_000 == 1:
            depths.add(depth())
        if data < 100_000:
            client.emit("ping", data)

    client.emit("ping", 0)
    driver.run_until_idle()
    assert expected == 100_000
    assert len(depths) == 1


@pytest.mark.row(38)
@pytest.mark.parametrize("verb", ["close", "abort"])
def test_ending_inside_an_error_handler(verb: str) -> None:
    client, server, _, driver = pair()
    told: list[Any] = []

    def error(error: Any, socket: Session) -> None:
        told.append(type(error))
        getattr(socket, verb)()

    server.on("error", error)
    server.on("close", lambda socket: told.append("close"))
    client._direct._link.write(b"garbage\f" + frame("n"))  # type: ignore[union-attr]
    driver.run_until_idle()
    assert told == [InvalidJSON, "close"]


# ---- what happened, told and counted


def test_traces_and_statistics_tell_the_same() -> None:
    client, server, socket, driver = pair()
    told: list[Any] = []
    undo = server.on_trace(told.append)
    server.on("n", lambda data, socket: socket.emit("m", data))
    for number in range(5):
        client.emit("n", number)
    driver.run_until_idle()
    stats = socket.stats()
    for what, messages, size in (
        ("received", stats.messages_in, stats.bytes_in),
        ("sent", stats.messages_out, stats.bytes_out),
    ):
        traces = [trace for trace in told if trace.what == what]
        assert sum(trace.messages for trace in traces) == messages == 5
        assert sum(trace.bytes for trace in traces) == size
        assert {trace.socket for trace in traces} == {socket}
    client.close()
    driver.run_until_idle()
    assert told[-1].what == "lost"
    undo()
    count = len(told)
    client.connect()
    driver.run_until_idle()
    assert len(told) == count


def test_a_trace_taken_off_while_a_read_is_under_way() -> None:
    client, server, _, driver = pair()
    told: list[Any] = []
    undo = server.on_trace(told.append)
    server.on("n", lambda: undo())
    client.emit("n")
    driver.run_until_idle()
    assert [trace.what for trace in told] == []


def test_requests_from_a_socket() -> None:
    client, server, socket, driver = pair()
    client.handle("double", lambda number: 2 * number)

    @client.handle("later")
    async def later(number: int) -> int:
        await driver.sleep(1)
        return number

    answers = [socket.request("double", 4), socket.request("later", 5), server.request(socket, "double", 6)]
    driver.run_until(answers[1])
    assert [answer.result() for answer in answers] == [8, 5, 12]


def test_what_arrives_while_messages_wait_for_handlers_waits_behind_them() -> None:
    ears = Ears(max_handler_frames=1)
    heard: list[int] = []

    @ears.server.on("n")
    async def slow(data: int) -> None:
        heard.append(data)
        await ears.driver.sleep(1)

    wire = ears.wire()
    wire.write(frame("n", "1") + frame("n", "2") + frame("n", "3"))
    ears.driver.run_until_idle()
    assert heard == [1]
    ears.server.sockets[0].received(frame("n", "4"))  # a driver may bring what it had read already
    ears.driver.advance(10)
    assert heard == [1, 2, 3, 4]


def test_a_handler_that_reads_gets_first_what_came_before() -> None:
    """As on the blocking front, where a handler may ask and wait: the order is that of the peer."""
    ears = Ears()
    heard: list[Any] = []

    @ears.server.on("n")
    def hear(data: Any, socket: Session) -> None:
        heard.append(data)
        if data == 1:
            socket.received(frame("n", "4"))
            heard.append("read")

    ears.wire().write(frame("n", "1") + frame("n", "2") + frame("n", "1e400") + frame("n", "3"))
    ears.driver.run_until_idle()
    assert heard == [1, 2, 3, 4, "read"]
    assert ears.errors == ears.driver.failures
    assert [type(error) for error in ears.errors] == [InvalidPayload], "and what is wrong is told as always"


def test_a_close_in_what_a_handler_reads_ends_the_block_that_it_was_called_from() -> None:
    ears = Ears()
    heard: list[int] = []

    @ears.server.on("n")
    def hear(data: int, socket: Session) -> None:
        heard.append(data)
        if data == 1:
            socket.received(frame("n", "3") + frame("n", "4"))
        elif data == 3:
            socket.close()

    ears.wire().write(frame("n", "1") + frame("n", "2"))
    [socket] = ears.server.sockets
    ears.driver.run_until_idle()
    assert heard == [1, 2, 3]
    ears.driver.advance(10)
    assert socket.loss is not None and socket.loss.unheard == 1


def test_handlers_that_ask_their_own_peer_get_their_answers() -> None:
    """The answers are behind the messages that wait for these very handlers."""
    ends = pair(max_handler_frames=16)
    for end, other, number in ((ends.server, ends.client, 1000), (ends.client, ends.server, 2000)):
        done: list[int] = []
        other.handle("double", lambda number: number * 2)

        @end.on("job")
        async def job(data: int, ask: Any = ends.socket if end is ends.server else ends.client) -> None:
            done.append(await answered(ask.request("double", data), ends.driver))  # noqa: B023 - runs in this round

        speaker = ends.client if end is ends.server else ends.socket
        for value in range(number, number + 100):
            speaker.emit("job", value)
        ends.driver.run_until_idle()
        assert sorted(done) == [2 * value for value in range(number, number + 100)]


async def answered(outcome: Any, driver: MemoryDriver) -> Any:
    while not outcome.done:
        await driver.sleep(0)
    return outcome.result()


def test_handlers_that_wait_for_answers_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_ipc.core.incoming.MOST_REQUESTS", 50)
    client, server, socket, driver = pair(max_handler_frames=2)
    running: list[int] = []

    @server.on("job")
    async def job(data: int) -> None:
        running.append(data)
        await driver.sleep(100)

    for number in range(100):
        client.emit("job", number)
    driver.run_until_idle()
    assert len(running) == 2
    answer = socket.request("never", timeout=1)  # the client's refusal is behind what waits
    driver.run_until_idle()
    assert len(running) == 50 and not answer.done
    driver.advance(2)
    assert answer.done and len(running) == 50
    driver.advance(99)
    assert len(running) == 52, "nobody waits for an answer any more"


def test_many_requests_under_way_make_the_peer_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_ipc.core.incoming.MOST_REQUESTS", 3)
    client, server, _, driver = pair()
    running: list[int] = []
    most = 0

    @server.handle("work")
    async def work(number: int) -> int:
        nonlocal most
        running.append(number)
        most = max(most, len(running))
        await driver.sleep(1)
        running.remove(number)
        return number

    answers = [client.request("work", number) for number in range(10)]
    driver.run_until(lambda: all(answer.done for answer in answers))
    assert [answer.result() for answer in answers] == list(range(10))
    assert most == 3


def test_a_link_that_never_came_about_is_told_to_the_owner() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append((error, socket)))
    session = server.accept(driver.identity)
    assert session is not None
    error = IPCError("handshake")
    session.failed(error)
    assert errors == [(error, None)]


@pytest.mark.row(38)
def test_emits_that_wait_for_a_full_kernel_go_out_before_the_link_is_given_up() -> None:
    everything = pair()
    heard: list[Any] = []
    everything.client.on("n", heard.append)
    wire = everything.connection.client

    def handler(data: Any, socket: Session) -> None:
        socket.emit("n", data)

    everything.server.on("n", handler)
    wire.write(frame("n", "1") + frame("n", "2") + b"garbage\f")
    everything.driver.run_until_idle()
    assert heard == [1, 2]


def test_a_typed_handler_that_comes_in_the_middle_of_a_read() -> None:
    ears = Ears()
    heard: list[Any] = []

    def go() -> None:
        ears.server.on("n", heard.append, type=Raw)

    ears.server.on("go", go)
    wire = ears.wire()
    wire.write(frame("n", "0") + frame("go") + frame("n", '{"a": 1}') + frame("m", '"\\ud800"') + frame("m", "2"))
    ears.driver.run_until_idle()
    assert [bytes(data) for data in heard] == [b'{"a": 1}'] or [bytes(data) for data in heard] == [b'{"a":1}']
    assert ears.messages[-2:] == [("m", "\ud800"), ("m", 2)]


@pytest.mark.row(37)
def test_an_interrupt_while_the_rest_is_decoded_anew() -> None:
    ears = Ears()
    heard: list[Any] = []

    def go() -> None:
        ears.server.on("n", heard.append, type=int)
        raise KeyboardInterrupt

    ears.server.on("go", go)
    wire = ears.wire()
    wire.write(frame("go") + frame("n", "1") + frame("n", "2"))
    with pytest.raises(KeyboardInterrupt):
        ears.driver.run_until_idle()
    wire.write(frame("n", "3"))
    ears.driver.run_until_idle()
    assert heard == [1, 2, 3]


@pytest.mark.row(34)
def test_heartbeats_notice_a_dead_peer() -> None:
    _, server, socket, driver = pair(heartbeat=1000, heartbeat_timeout=500, message_timeout=0)
    driver.advance(30)
    assert socket.is_open
    driver.cut()
    driver.advance(3)
    assert not socket.is_open
    assert socket not in server.sockets


def test_without_anything_to_send_nothing_is_written() -> None:
    everything = pair()
    sizes = writes(everything)
    everything.socket.outgoing.turn_ended()
    everything.socket.outgoing.flush()
    assert sizes == []


@pytest.mark.row(31)
def test_emits_from_another_thread_behind_the_end_are_counted() -> None:
    _, _, socket, driver = pair()
    driver.drop()
    driver.run_until_idle()
    socket.outgoing.post(b"late")  # a thread that was in the middle of its emit when the link went away
    socket._take_posted()
    assert socket.dropped == 1


# --- row 32: what was lost is told ---------------------------------------------------------------------------


def losses_of(ends: Pair) -> list[Loss]:
    lost: list[Loss] = []
    ends.client.on("disconnect", lost.append)
    return lost


@pytest.mark.row(32)
def test_what_the_kernel_took_whole_is_in_flight_until_something_proves_that_it_arrived() -> None:
    ends = pair()
    lost = losses_of(ends)
    for number in range(5):
        ends.client.emit("n", number)
    ends.driver.run_until_idle()
    ends.connection.drop()
    ends.driver.run_until(lambda: lost)
    assert lost[0].in_flight == 5 and lost[0].dropped == 0


@pytest.mark.row(32)
def test_an_answer_proves_all_that_was_sent_before_its_request() -> None:
    ends = pair()
    lost = losses_of(ends)
    ends.server.handle("add", lambda params: sum(params))
    for number in range(5):
        ends.client.emit("n", number)
    answer = ends.client.request("add", [1, 2])
    for number in range(7):
        ends.client.emit("n", number)
    ends.driver.run_until(answer)
    assert answer.result() == 3
    ends.connection.drop()
    ends.driver.run_until(lambda: lost)
    assert lost[0].in_flight == 7


@pytest.mark.row(32)
def test_an_answer_of_the_client_proves_what_the_server_sent() -> None:
    ends = pair()
    ends.client.handle("add", lambda params: sum(params))
    ends.socket.emit("n")
    answer = ends.socket.request("add", [1, 2])
    ends.socket.emit("n")
    ends.driver.run_until(answer)
    ends.connection.drop()
    ends.driver.run_until_idle()
    assert ends.socket.loss is not None and ends.socket.loss.in_flight == 1


@pytest.mark.row(32)
@pytest.mark.parametrize(("last", "in_flight"), [(b"", 0), (b'{"type":"half a mess', 3)])
def test_a_peer_that_ends_behind_our_end_has_had_all_unless_it_was_inside_a_message(
    last: bytes, in_flight: int
) -> None:
    """One that did not understand what came may end so."""
    ears = Ears()
    wire = ears.wire()
    ears.driver.run_until_idle()
    (socket,) = ears.server.sockets
    for number in range(3):
        socket.emit("n", number)
    socket.close()
    ears.driver.run_until_idle()
    wire.write(last)
    wire.close()
    ears.driver.run_until_idle()
    assert socket.loss is not None and socket.loss.in_flight == in_flight


@pytest.mark.row(32)
def test_a_request_that_waited_for_the_link_proves_nothing_of_what_waited_behind_it() -> None:
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, Config(retry=10).settings())
    client.connect()
    lost: list[Loss] = []
    client.on("disconnect", lost.append)
    answer = client.request("add", [1, 2])
    for number in range(7):
        client.emit("n", number)
    server = serve(driver)
    server.handle("add", lambda params: sum(params))
    driver.run_until(answer)
    driver.connections[-1].drop()
    driver.run_until(lambda: lost)
    assert lost[0].in_flight >= 7


@pytest.mark.row(32)
@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("address", ["unix:/memory/app.world", "tcp://127.0.0.1:8000"])
def test_a_peer_that_reads_on_proves_what_it_read_before_where_the_kernel_tells(address: str, batch: int) -> None:
    ends = pair(address=address)
    lost = losses_of(ends)
    for number in range(5000):
        ends.client.emit("n", number)
        if number % batch == 0:
            ends.driver.run_until_idle()
    ends.driver.run_until_idle()
    ends.connection.drop()
    ends.driver.run_until(lambda: lost)
    assert lost[0].dropped == 0
    if address.startswith("unix"):
        assert 0 < lost[0].in_flight <= (200 if batch == 1 else 1600)
    else:
        assert lost[0].in_flight == 5000


@pytest.mark.row(32)
def test_one_read_that_is_not_handled_is_in_flight() -> None:
    """All was read, and a handler ends the link: the rest of that block is lost, and both ends are told."""
    ends = pair()
    lost = losses_of(ends)
    heard: list[int] = []

    def hear(data: int, socket: Session) -> None:
        heard.append(data)
        if data:
            socket.abort()

    ends.server.on("n", hear)
    for number in range(50):
        ends.client.emit("n", number)
    ends.driver.run_until(lambda: lost)
    assert heard == [0, 1]
    assert lost[0].in_flight == 50
    assert ends.socket.loss is not None and ends.socket.loss.unheard == 48
    assert "48 of the peer's unheard" in str(ends.socket.loss)


@pytest.mark.row(32)
@pytest.mark.parametrize("latency", [0.0, 0.05])
def test_an_orderly_end_of_ones_own_proves_everything(latency: float) -> None:
    ends = pair()
    ends.connection.change(latency=latency)
    lost = losses_of(ends)
    for number in range(5):
        ends.client.emit("n", number)
    ends.client.close()
    ends.driver.run_until(lambda: lost)
    assert lost == [Loss()]


@pytest.mark.row(32)
def test_the_end_of_a_peer_that_had_not_read_everything_proves_nothing() -> None:
    """Both close at once, and the messages cross the server's end."""
    ends = pair()
    ends.connection.change(latency=0.05)
    lost = losses_of(ends)
    ends.socket.close()
    ends.client.emit("n")
    ends.client.close()
    ends.driver.run_until(lambda: lost)
    assert lost[0].in_flight == 1


@pytest.mark.row(32)
def test_what_was_dropped_to_make_room_proves_nothing_about_what_was_sent() -> None:
    everything = stuck(slow_policy="drop_oldest", max_pending_bytes=20_000, soft_pending_bytes=10_000)
    for number in range(100):
        everything.socket.emit("n", [number, "x" * 1980])
    socket = everything.socket
    everything.connection.drop()
    everything.driver.run_until_idle()
    assert socket.loss is not None and socket.dropped > 50
    assert socket.loss.in_flight == socket.outgoing.messages_out
    assert socket.dropped + socket.outgoing.messages_out == 100


# --- what ends in the middle, and what is empty -------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "hint"),
    [
        (b'{"type":"n","da', "the peer ended in the middle of it"),
        (b'{"type":"n","data":1}\n{"type":"n","data":2}\n', r"it ends in b'\n': does the peer use another delimiter?"),
        (b'{"type":"n","data":1}', "it ends in '}': does the peer send no delimiter?"),
        (b'{"type":"n","data":{}, "and more than a delimiter', "the peer ended in the middle of it"),
    ],
)
@pytest.mark.parametrize("how", ["close", "abort", "reset"])
def test_half_a_message_at_the_end_of_a_link_is_told_to_the_server(how: str, rest: bytes, hint: str) -> None:
    ears = Ears()
    lost: list[Loss] = []
    ears.server.on("socket.disconnected", lambda socket: lost.append(socket.loss))
    wire = ears.wire()
    wire.write(b'{"type":"whole","data":1}\f' + rest)
    ears.driver.run_until_idle()
    ears.driver.drop() if how == "reset" else getattr(wire, how)()
    ears.driver.run_until(lambda: lost)
    assert ears.messages == [("whole", 1)]
    told = ears.errors[0]
    assert isinstance(told, InvalidMessage)
    assert f"{len(rest)} bytes of which came, {rest[:64]!r}: {hint}" in str(told)
    assert len(ears.errors) == (2 if how == "reset" else 1)
    assert lost[0].cut_off == len(rest) and f"{len(rest)} bytes of a message" in str(lost[0])


def test_half_a_message_at_the_end_of_a_link_is_told_to_the_client() -> None:
    driver = MemoryDriver()
    server = WireServer(driver)
    client = connect(driver)
    errors: list[IPCError] = []
    lost: list[Loss] = []
    client.on("error", errors.append)
    client.on("disconnect", lost.append)
    server.wires[0].write(b'{"type":"n","data":1}\n' * 10)
    driver.run_until_idle()
    server.wires[0].close()
    driver.run_until(lambda: lost)
    assert "another delimiter" in str(errors[0]) and lost[0].cut_off == 220


def test_a_client_that_is_cut_as_too_slow_hears_that_it_may_be_so() -> None:
    driver = MemoryDriver()
    driver.conditions = Conditions(buffer=10_000)
    server = serve(driver, max_pending_bytes=100_000)
    client = connect(driver)
    errors: list[IPCError] = []
    client.on("error", errors.append)
    client.pause_reading(True)
    for _ in range(4):
        server.broadcast("frame", "x" * 90_000)
        driver.run_until_idle()
    driver.run_until(lambda: errors)
    assert "the server ended in the middle of it" in str(errors[0]) and "slow_policy='drop_oldest'" in str(errors[0])


def test_what_is_closed_here_in_the_middle_of_a_message_is_no_error() -> None:
    ears = Ears()
    wire = ears.wire()
    wire.write(b'{"type":')
    ears.driver.run_until_idle()
    ears.server.sockets[0].close()
    wire.close()
    ears.driver.run_until_idle()
    assert ears.errors == []


@pytest.mark.parametrize("frame", [b"\f", b" \f", b'{"type":"n"}\f\f'])
def test_an_empty_frame_says_that_it_is_empty(frame: bytes) -> None:
    ears = Ears()
    wire = ears.wire()
    wire.write(frame)
    ears.driver.run_until_idle()
    assert "a frame is empty" in str(ears.errors[0])


@pytest.mark.row(13)
def test_a_slow_message_has_the_whole_of_message_timeout() -> None:
    """A byte a second: nothing but the option cuts it."""
    ears = Ears(message_timeout=60_000)
    wire = ears.wire()
    message = b'{"type":"n","data":"' + b"x" * 35 + b'"}\f'
    for index in range(len(message)):
        wire.write(message[index : index + 1])
        ears.driver.advance(1.0)
    assert ears.messages == [("n", "x" * 35)] and ears.errors == []
    wire.write(b'{"type":')
    ears.driver.advance(59.9)
    assert ears.errors == []
    ears.driver.advance(0.2)
    assert isinstance(ears.errors[0], MessageTimeout)


def test_a_broadcast_tells_that_a_peer_is_full() -> None:
    everything = stuck()
    other = connect(everything.driver, everything.server.address)
    answers = []
    while everything.socket.outgoing.below_soft:
        answers.append(everything.server.broadcast("n", "x" * 1980))
        everything.driver.run_until_idle()
    assert set(answers[:-1]) == {True} and len(answers) > 10
    assert everything.server.broadcast("n", 1) is False
    everything.driver.connections[0].resume()
    everything.driver.run_until_idle()
    assert everything.server.broadcast("n", 1) is True
    assert other.state.value == "connected"


@pytest.mark.parametrize(
    ("name", "fits"), [("😀" * 128, True), ("😀" * 129, False), ("é" * 256, True), ("é" * 257, False)]
)
def test_the_length_of_a_name_is_counted_as_javascript_does(name: str, fits: bool) -> None:
    ends = pair()
    if fits:
        assert ends.client.emit(name)
    else:
        with pytest.raises(EventTooLarge, match=r"of 25[78] characters"):
            ends.client.emit(name)


def test_whose_raw_bytes_a_handler_failed_at_is_told() -> None:
    ends = pair(raw_buffer=True)
    told: list[Any] = []
    ends.server.on("error", lambda error, socket: told.append(socket))
    ends.server.on("data", lambda data, socket: 1 / 0)
    ends.client.emit(b"bytes")
    ends.driver.run_until_idle()
    assert told == [ends.socket]
