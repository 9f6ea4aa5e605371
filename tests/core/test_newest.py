"""``keep="latest"``: what is replaced, what stays in its order, what counts, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_ipc import Config, Event
from node_ipc.config.address import Unix
from node_ipc.core.client import Client
from node_ipc.core.newest import FrameQueue, Keep, Newest
from node_ipc.core.outgoing import FLUSH_BYTES
from node_ipc.errors import BackpressureError, InvalidEvent, NotConnected
from node_ipc.testing import Conditions, MemoryDriver, Pair, connect, pair, serve

LATEST: dict[str, Any] = {"keep": "latest"}


def stuck(**options: Any) -> Pair:
    """A pair whose client reads nothing, with a kernel that takes 10,000 bytes, which are there already."""
    driver = MemoryDriver(conditions=Conditions(buffer=10_000))
    both = pair(driver=driver, **{"max_pending_bytes": 100_000, "soft_pending_bytes": 20_000, **options})
    both.connection.to_client.stall()
    return both


def full(**options: Any) -> Pair:
    both = stuck(**options)
    both.socket.emit("first", "x" * 12_000)
    assert both.socket.is_full
    return both


def heard_by(both: Pair, *events: str) -> list[Any]:
    heard: list[Any] = []
    for event in events:
        both.client.on(event, lambda data, event=event: heard.append((event, data)))
    return heard


def go_on(both: Pair) -> None:
    both.connection.resume()
    both.driver.run_until_idle()


def waiting(both: Pair) -> list[tuple[str, Any]]:
    """What waits at the server's socket, as it will be sent."""
    decoded = (msgspec.json.decode(frame[:-1]) for frame in both.socket.outgoing.frames)
    return [(each["type"], each["data"]) for each in decoded]


# ---- what is sent


def test_the_newest_takes_the_place_of_an_older_one_behind_all_that_was_emitted_before() -> None:
    both = full()
    heard = heard_by(both, "frame", "other", "price")
    both.socket.emit("frame", 1, **LATEST)
    both.socket.emit("other", "a")
    both.socket.emit("price", 1, **LATEST)
    both.socket.emit("frame", 2, **LATEST)
    both.socket.emit("other", "b")
    both.socket.emit("frame", 3, **LATEST)
    assert waiting(both) == [("other", "a"), ("price", 1), ("other", "b"), ("frame", 3)]
    go_on(both)
    assert heard == [("other", "a"), ("price", 1), ("other", "b"), ("frame", 3)]
    stats = both.socket.stats()
    assert (stats.replaced, stats.dropped, stats.messages_out, stats.pending_bytes) == (2, 0, 5, 0)
    assert both.server.stats().replaced == 2


def test_only_what_was_emitted_so_is_replaced() -> None:
    """Who emits without ``keep`` was promised that it is sent."""
    both = full()
    heard = heard_by(both, "frame")
    keeps: tuple[Keep, ...] = (None, "latest", None, "latest", None)
    for number, keep in enumerate(keeps):
        both.socket.emit("frame", number, keep=keep)
    go_on(both)
    assert heard == [("frame", 0), ("frame", 2), ("frame", 3), ("frame", 4)]


def test_what_the_kernel_has_begun_is_sent_whole() -> None:
    both = stuck()
    heard = heard_by(both, "frame")
    for number in range(5):
        both.socket.emit("frame", [number, "x" * 30_000], **LATEST)
        both.driver.run_until_idle()
    go_on(both)
    assert [data[0] for _, data in heard] == [0, 4]
    assert both.socket.stats().replaced == 3 and both.socket.pending_bytes == 0


def test_within_one_turn_the_last_counts() -> None:
    """The first goes out at once, as the first of a turn does; the others wait for the turn's end."""
    both = stuck()
    heard = heard_by(both, "frame", "other")
    both.connection.resume()
    for number in range(10):
        both.socket.emit("frame", number, **LATEST)
    both.socket.emit("other", 1)
    both.driver.run_until_idle()
    assert heard == [("frame", 0), ("frame", 9), ("other", 1)]


def test_an_event_may_be_given_as_one() -> None:
    both = full()
    both.socket.emit(Event("frame", int), 1, **LATEST)
    both.socket.emit("frame", 2, **LATEST)
    assert waiting(both) == [("frame", 2)]


def ask(both: Pair) -> int:
    """The client asks whether all has come that was emitted before this; the answer waits for the kernel, too."""
    assert both.client._session is not None
    mark = both.client._session.ask_in_turn()
    both.driver.run_until_idle()
    assert mark is not None
    return mark


def test_an_answer_stays_behind_what_takes_the_place_of_what_it_was_behind() -> None:
    """Who asks for the newest and is told that it has come would else have the one before."""
    both = full()
    heard = heard_by(both, "frame", "other")
    both.socket.emit("frame", 1, **LATEST)
    mark = ask(both)
    pong = ("ipc.pong", {"behind": mark})
    assert waiting(both) == [("frame", 1), ("ipc.pong", {}), pong]
    both.socket.emit("other", "a")
    assert waiting(both)[-2:] == [pong, ("other", "a")]
    both.socket.emit("frame", 2, **LATEST)
    both.socket.emit("frame", 3, **LATEST)
    assert waiting(both) == [("ipc.pong", {}), ("other", "a"), ("frame", 3), pong]
    both.socket.emit("new", 1, **LATEST)  # it takes nobody's place, and came after the question
    assert waiting(both)[-2:] == [pong, ("new", 1)]
    assert both.socket.outgoing.weighed == both.socket.outgoing.weigh()
    both.connection.resume()
    both.driver.run_until(lambda: both.client._session is not None and both.client._session.has_answered(mark))
    assert heard == [("other", "a"), ("frame", 3)]
    both.driver.run_until_idle()
    assert both.socket.stats().replaced == 2 and both.socket.pending_bytes == 0


def test_what_may_be_lost_counts_an_answer_that_went_further_back() -> None:
    both = full()
    both.socket.emit("frame", 1, **LATEST)
    ask(both)
    both.socket.ask_in_turn()
    both.socket.emit("frame", 2, **LATEST)
    assert [event for event, _ in waiting(both)] == ["ipc.pong", "ipc.ping", "frame", "ipc.pong"]
    go_on(both)
    assert both.socket.outgoing.in_flight == 2, "nothing proves that the last two arrived"


@settings(deadline=None)
@given(st.lists(st.none() | st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3000)), max_size=40))
def test_behind_an_answer_is_nothing_of_what_waited_before_its_question(steps: list[Any]) -> None:
    both = full(max_pending_bytes=10_000_000, soft_pending_bytes=5_000_000)
    asked: list[int] = []
    kept: list[tuple[int, str]] = []
    for number, step in enumerate(steps):
        if step is None:
            ask(both)
            asked.append(number)
            continue
        event, newest, size = step
        both.socket.emit(event, [number, newest, "x" * size], keep="latest" if newest else None)
        if newest:
            kept.append((number, event))
    frames = waiting(both)
    answers = [place for place, (event, data) in enumerate(frames) if event == "ipc.pong" and data]
    assert len(answers) == len(asked)
    for place, question in zip(answers, asked, strict=True):
        waited = {event for number, event in kept if number < question}
        for event, data in frames[place + 1 :]:
            assert event == "ipc.pong" or (data[0] > question and not (data[1] and event in waited))
    out = both.socket.outgoing
    assert out.weighed == out.weigh()
    assert out.next_number - 1 == out.messages_out + out._skipped + len(out.frames)
    go_on(both)
    assert both.socket.pending_bytes == 0 and both.client.stats().errors == 0


FRAME = Event("frame", int, keep="latest")


def test_an_event_may_say_it_of_itself() -> None:
    both = full()
    both.socket.join("viewers")
    emits: list[Callable[[int], Any]] = [
        lambda number: both.socket.emit(FRAME, number),
        lambda number: both.server.emit(both.socket, FRAME, number),
        lambda number: both.server.broadcast(FRAME, number),
        lambda number: both.server.to("viewers").emit(FRAME, number),
        lambda number: both.socket.emit(FRAME, number, keep=None),
    ]
    for number, emit in enumerate(emits):
        both.socket.emit("other", number)
        emit(number)
    others = [("other", number) for number in range(len(emits))]
    assert waiting(both) == [*others, ("frame", 4)] and both.server.stats().replaced == 4
    both.socket.emit("frame", 5)  # the name alone says nothing
    both.socket.emit(Event("frame", int), 6)
    assert waiting(both)[-3:] == [("frame", 4), ("frame", 5), ("frame", 6)]


def test_an_event_may_say_it_of_itself_on_the_clients_side() -> None:
    both = stuck()
    heard: list[Any] = []
    both.server.on("frame", lambda data, socket: heard.append(data[0]))
    both.connection.to_server.stall()
    frame = Event("frame", list, keep="latest")
    for number in range(5):
        assert both.client.emit(frame, [number, "x" * 30_000])
    go_on(both)
    assert heard == [0, 4] and both.client.stats().replaced == 3


@pytest.mark.parametrize("options", [{}, {"sync": True}])
def test_an_event_may_say_it_of_itself_while_the_link_is_down(options: dict[str, Any]) -> None:
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, Config(**options).settings())
    client.connect()
    for number in range(5):
        client.emit(FRAME, number)
    in_thread(client.emit, FRAME, 5)
    driver.run_turn()
    heard: list[Any] = []
    server = serve(driver)
    server.on("frame", lambda data, socket: heard.append(data))
    driver.advance(5)
    assert heard == [5] and client.stats().replaced == 5


def test_in_other_threads_an_event_may_say_it_of_itself() -> None:
    both = full()
    for number in range(5):
        in_thread(both.socket.emit, FRAME, number)
    both.driver.run_until_idle()
    assert waiting(both) == [("frame", 4)] and both.socket.stats().replaced == 4


@pytest.mark.parametrize(("keep", "error"), [("last", ValueError), (True, TypeError), (1, TypeError)])
def test_what_an_event_cannot_say_is_refused_where_it_is_made(keep: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"Event\(keep=…\) takes \"latest\", or None"):
        Event("frame", int, keep=keep)


def test_events_that_say_something_else_are_others() -> None:
    assert Event("frame", int) != FRAME and Event("frame", int, keep="latest") == FRAME
    assert repr(FRAME) == "Event('frame', int, keep='latest')"


def test_the_client_s_side_is_the_same() -> None:
    both = stuck()
    heard: list[Any] = []
    both.server.on("frame", lambda data, socket: heard.append(data[0]))
    both.connection.to_server.stall()
    for number in range(5):
        assert both.client.emit("frame", [number, "x" * 30_000], **LATEST)
    go_on(both)
    assert heard == [0, 4] and both.client.stats().replaced == 3


def test_a_broadcast_and_a_room_replace_at_each_socket_apart() -> None:
    both = stuck()
    connection = both.connection
    slow = heard_by(both, "frame")
    quick: list[Any] = []
    other = connect(both.driver, both.server.address)
    other.on("frame", lambda data: quick.append(("frame", data)))
    both.driver.run_until_idle()
    for socket in both.server.sockets:
        socket.join("viewers")
    for number in range(4):
        both.server.broadcast("frame", [number, "x" * 20_000], **LATEST)
        both.driver.run_until_idle()
        both.server.to("viewers").emit("frame", [number + 0.5, "x" * 20_000], **LATEST)
        both.driver.run_until_idle()
    connection.resume()
    both.driver.run_until_idle()
    assert [data[0] for _, data in quick] == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert [data[0] for _, data in slow] == [0, 3.5]
    assert both.server.stats().replaced == 6


def test_a_trace_tells_of_it() -> None:
    both = full()
    told: list[Any] = []
    both.server.on_trace(lambda trace: told.append((trace.what, trace.messages, trace.socket)))
    for number in range(3):
        both.socket.emit("frame", number, **LATEST)
    assert told == [("replaced", 1, both.socket)] * 2


# ---- other threads, and no link


def in_thread(call: Any, *arguments: Any, **options: Any) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call(*arguments, **options)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def test_what_other_threads_emit_is_replaced_before_the_loop_takes_it_and_after() -> None:
    both = full()
    heard = heard_by(both, "frame", "other")
    both.socket.emit("frame", 0, **LATEST)
    in_thread(both.socket.emit, "frame", 1, **LATEST)
    in_thread(both.socket.emit, "other", "a")
    in_thread(both.socket.emit, "frame", 2, **LATEST)
    assert both.socket.outgoing.unsent == 3
    both.driver.run_until_idle()
    assert waiting(both) == [("other", "a"), ("frame", 2)]
    go_on(both)
    assert heard == [("other", "a"), ("frame", 2)] and both.socket.stats().replaced == 2


def test_a_thread_that_emits_only_the_newest_is_never_too_much() -> None:
    both = full(max_pending_bytes=30_000, soft_pending_bytes=20_000)

    def film() -> None:
        for number in range(50):
            both.socket.emit("frame", [number, "x" * 25_000], **LATEST)

    in_thread(film)
    heard = heard_by(both, "frame")
    go_on(both)
    assert [data[0] for _, data in heard] == [49] and both.socket.stats().replaced == 49


def test_while_the_link_is_down_the_queue_holds_one_of_each_and_the_link_gets_it() -> None:
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, Config(max_queued_messages=3).settings())
    client.connect()
    client.emit("hello", 1)
    for number in range(20):
        assert client.emit("frame", number, **LATEST)
        in_thread(client.emit, "price", number, **LATEST)
    driver.run_turn()
    with pytest.raises(BackpressureError):
        client.emit("one", "more")
        client.emit("one", "more")
    heard: list[Any] = []
    client.once("connect", lambda: client.emit("frame", "at last", **LATEST))
    server = serve(driver)
    server.on("*", lambda type, *data: heard.append((type, data[0])) if data else None)
    driver.advance(5)
    messages = [each for each in heard if each[0] in ("hello", "frame", "price", "one")]
    assert messages == [("hello", 1), ("price", 19), ("frame", "at last")]
    assert client.stats().replaced == 39 and client.pending_bytes == 0


def test_in_sync_mode_what_waits_for_an_answer_is_replaced() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    client = connect(driver, sync=True)
    heard: list[Any] = []
    server.on("frame", lambda data, socket: heard.append(data))
    driver.run_until_idle()
    for number in range(5):
        client.emit("frame", number, **LATEST)
    driver.run_until_idle()
    assert heard == [0]
    server.sockets[0].emit("answer")
    driver.run_until_idle()
    assert heard == [0, 4] and client.stats().replaced == 3


def test_a_link_that_ends_drops_the_newest_and_counts_it_once() -> None:
    both = full()
    for number in range(4):
        both.socket.emit("frame", number, **LATEST)
    both.socket.abort()
    both.driver.run_until_idle()
    assert both.socket.loss is not None and both.socket.loss.dropped == 1
    assert (both.socket.stats().dropped, both.socket.stats().replaced) == (1, 3)
    with pytest.raises(NotConnected):
        both.socket.emit("frame", 5, **LATEST)


# ---- limits


def test_one_that_may_be_replaced_is_no_pressure_on_the_others() -> None:
    """Neither ``emit``'s result, nor reading from the peer, nor the room of what has to be sent."""
    both = stuck(soft_pending_bytes=20_000, max_pending_bytes=50_000)
    asked: list[Any] = []
    both.server.on("ask", lambda data, socket: asked.append(data))
    for number in range(10):
        assert both.socket.emit("frame", [number, "x" * 90_000], **LATEST)
        both.driver.run_until_idle()
    assert both.socket.pending_bytes > 160_000 and both.socket.outgoing.owed == 0
    both.client.emit("ask", 1)
    both.driver.run_until_idle()
    assert asked == [1]
    results = []
    with pytest.raises(BackpressureError):
        for _ in range(100):
            results.append(both.socket.emit("other", "x" * 2000))
    assert 24 <= len(results) <= 26 and 9 <= results.count(True) <= 11
    assert both.socket.emit("frame", "small", **LATEST) is False
    heard = heard_by(both, "frame", "other")
    go_on(both)
    assert [event for event, _ in heard] == ["frame", *["other"] * len(results), "frame"]
    assert both.socket.pending_bytes == 0 and both.socket.outgoing.below_soft


@pytest.mark.parametrize("policy", ["disconnect", "drop_newest", "drop_oldest"])
def test_those_of_many_events_have_the_same_room_together(policy: str) -> None:
    both = full(slow_policy=policy)
    refused = 0
    for number in range(30):
        try:
            both.socket.emit(f"frame{number}", "x" * 9_000, **LATEST)
        except BackpressureError as error:
            assert f"of 'frame{number}' would pass" in str(error) and 'keep="latest" for fewer events' in str(error)
            refused += 1
    assert len(waiting(both)) == 11
    assert both.socket.stats().dropped == (0 if policy == "disconnect" else 19)
    assert refused == (19 if policy == "disconnect" else 0)
    both.socket.emit("frame3", "y" * 9_000, **LATEST)  # which is there already
    assert both.socket.stats().replaced == 1 and len(waiting(both)) == 11


def test_a_newest_that_finds_no_room_leaves_the_one_before_it() -> None:
    both = full()
    both.socket.emit("b", "x" * 60_000, **LATEST)
    both.socket.emit("a", 1, **LATEST)
    with pytest.raises(BackpressureError):
        both.socket.emit("a", "x" * 60_000, **LATEST)
    assert waiting(both)[1] == ("a", 1) and both.socket.stats().replaced == 0


def test_dropping_the_oldest_spares_what_may_be_replaced() -> None:
    both = full(slow_policy="drop_oldest")
    both.socket.emit("frame", 1, **LATEST)
    for number in range(100):
        both.socket.emit("other", [number, "x" * 2000])
    events = [event for event, _ in waiting(both)]
    assert events[0] == "frame" and both.socket.dropped > 50
    assert both.socket.outgoing.weigh() - both.socket._link.pending_bytes() == sum(  # type: ignore[union-attr]
        map(len, both.socket.outgoing.frames)
    )
    both.socket.emit("frame", 2, **LATEST)
    events = [event for event, _ in waiting(both)]
    assert events.count("frame") == 1 and events[-1] == "frame"


def test_one_newest_message_that_nobody_takes_ends_the_link_in_time() -> None:
    both = full(slow_timeout=10_000, message_timeout=0)
    both.socket.emit("frame", "x" * 30_000, **LATEST)
    both.driver.advance(9)
    assert both.server.sockets == [both.socket]
    both.driver.advance(1.1)
    assert both.server.sockets == [] and "did not take its bytes" in str(both.socket.loss)


def test_a_slow_viewer_of_the_newest_is_cut_only_when_it_takes_nothing() -> None:
    both = stuck(slow_timeout=10_000, message_timeout=0)
    heard = heard_by(both, "frame")
    for number in range(60):
        both.socket.emit("frame", [number, "x" * 90_000], **LATEST)
        both.connection.resume()
        both.driver.run_turn()
        both.connection.to_client.stall()
        both.driver.advance(2)
    assert both.server.sockets == [both.socket] and len(heard) > 5
    both.driver.advance(22)
    assert both.server.sockets == []
    assert "did not take its bytes" in str(both.socket.loss)


# ---- what is refused


@pytest.mark.parametrize(
    ("keep", "error", "hint"),
    [
        ("last", ValueError, 'did you mean keep="latest"?'),
        ("Latest", ValueError, 'did you mean keep="latest"?'),
        ("newest", ValueError, 'did you mean keep="latest"?'),
        ("all", ValueError, "or None for every message"),
        ("", ValueError, "or None for every message"),
        (True, TypeError, "or None for every message"),
        (1, TypeError, "or None for every message"),
    ],
)
def test_what_keep_does_not_take(keep: Any, error: type[Exception], hint: str) -> None:
    both = stuck()
    calls: list[Callable[[], Any]] = [
        lambda: both.socket.emit("frame", 1, keep=keep),
        lambda: both.client.emit("frame", 1, keep=keep),
        lambda: both.server.emit(both.socket, "frame", 1, keep=keep),
        lambda: both.server.broadcast("frame", 1, keep=keep),
        lambda: both.server.to("room").emit("frame", 1, keep=keep),
    ]
    for emit in calls:
        with pytest.raises(error) as raised:
            emit()
        assert hint in str(raised.value)
    assert both.socket.stats().messages_out == 0


def test_raw_bytes_have_no_event_to_keep_the_newest_of() -> None:
    both = pair(raw_buffer=True)
    for emit in (both.socket.emit, both.client.emit, both.server.broadcast):
        with pytest.raises(InvalidEvent, match="raw mode has none"):
            emit(b"x", **LATEST)


# ---- any conversation

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["emit", "thread"]), st.sampled_from("abc"), st.booleans(), st.sampled_from([1, 500, 6000])
        ),
        st.tuples(st.sampled_from(["stall", "resume", "turn"])),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS)
def test_what_arrives_is_what_was_emitted_without_what_was_replaced(steps: list[Any]) -> None:
    both = stuck(max_pending_bytes=10_000_000)
    heard: list[tuple[str, int, bool]] = []
    for event in "abc":
        both.client.on(event, lambda data, event=event: heard.append((event, data[0], data[1])))
    emitted: list[tuple[str, int, bool]] = []
    for step in steps:
        if step[0] == "stall":
            both.connection.to_client.stall()
        elif step[0] == "resume":
            both.connection.resume()
        elif step[0] == "turn":
            both.driver.run_turn()
        else:
            how, event, newest, size = step
            entry = event, len(emitted), newest
            emitted.append(entry)
            payload = [entry[1], newest, "x" * size]
            if how == "emit":
                both.driver.run_turn()  # what other threads emitted before is before it
                both.socket.emit(event, payload, keep="latest" if newest else None)
            else:
                in_thread(both.socket.emit, event, payload, keep="latest" if newest else None)
        out = both.socket.outgoing
        assert out.weighed == out.weigh()
        assert out._bytes == sum(map(len, out.frames))
    go_on(both)
    assert heard == [each for each in emitted if each in set(heard)], "out of order, twice, or never emitted"
    replaced = [each for each in emitted if each not in set(heard)]
    assert all(newest for _, _, newest in replaced)
    for event, number, _ in replaced:
        assert any(other == event and later > number and newest for other, later, newest in heard)
    stats = both.socket.stats()
    assert (stats.replaced, stats.messages_out) == (len(replaced), len(heard))
    assert (stats.dropped, both.socket.pending_bytes, both.socket.outgoing.below_soft) == (0, 0, True)


class Model:
    """The rule in five lines, for as long as the kernel takes nothing."""

    def __init__(self) -> None:
        self.waits: list[tuple[str, int, bool]] = []

    def emit(self, event: str, number: int, newest: bool) -> None:
        if newest:
            self.waits = [each for each in self.waits if not (each[0] == event and each[2])]
        self.waits.append((event, number, newest))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3000)), max_size=40))
def test_what_waits_is_what_the_model_says(emits: list[tuple[str, bool, int]]) -> None:
    both, model = full(max_pending_bytes=10_000_000), Model()
    for number, (event, newest, size) in enumerate(emits):
        model.emit(event, number, newest)
        both.socket.emit(event, [number, "x" * size], keep="latest" if newest else None)
        assert [(event, data[0]) for event, data in waiting(both)] == [each[:2] for each in model.waits]
    assert both.socket.stats().replaced == len(emits) - len(model.waits)


# ---- the list itself


def test_a_queue_knows_what_would_be_left() -> None:
    queue = FrameQueue()
    queue.append(b"one", "a")
    queue.append(b"three")
    assert queue.left_by("a") == (1, 5) and queue.left_by("b") == queue.left_by(None) == (2, 8)
    queue.append(b"eleven", "a")
    assert (queue.frames, queue.bytes, queue.replaced) == ([b"three", b"eleven"], 11, 1)
    assert queue.take_first() == b"three" and queue.take_first() == b"eleven"
    queue.append(b"two", "a")
    assert (queue.frames, queue.bytes, queue.replaced) == ([b"two"], 3, 1)
    assert queue.withdraw(b"".join([b"tw", b"o"])) is False
    frames, newest = queue.take()
    assert newest.events() == {id(frames[0]): "a"} and not queue and queue.bytes == 0


def test_what_is_taken_back_is_the_newest_of_nothing_any_more() -> None:
    queue, frame = FrameQueue(), b"frame 1"
    queue.append(frame, "a")
    assert queue.withdraw(frame)
    assert queue.left_by("a") == (0, 0) and queue.take()[1].events() == {}
    both = full()
    both.socket.emit("frame", 1, **LATEST)
    assert both.socket.withdraw(both.socket.outgoing.frames[-1])
    both.socket.emit("other", 1)
    both.socket.emit("frame", 2, **LATEST)
    assert waiting(both) == [("other", 1), ("frame", 2)] and both.socket.stats().replaced == 0
    assert both.socket.outgoing._newest_here().bytes == len(both.socket.outgoing.frames[-1])


def frames_of(*names: str) -> Iterator[bytes]:
    return (name.encode() * 2 for name in names)


def test_nothing_is_kept_alive_or_found_once_it_is_forgotten() -> None:
    newest, frames = Newest(), list(frames_of("a", "b"))
    newest.mark("x", frames[0])
    newest.mark("y", frames[1])
    assert (newest.find("x", frames), newest.find("y", frames), newest.find("z", frames)) == (0, 1, None)
    newest.forget(frames[:1])
    assert newest.find("x", frames) is None and (len(newest), newest.bytes) == (1, 2)
    assert newest.find("y", []) is None


def test_many_small_ones_still_flush() -> None:
    """Sixteen KiB of one turn go out, whether they may be replaced or not."""
    both = pair()
    for number in range(100):
        both.socket.emit(f"e{number}", "x" * 500, **LATEST)
    assert both.socket.outgoing.weigh() < FLUSH_BYTES + 1000
