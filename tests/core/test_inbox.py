"""The inboxes of the waiting fronts, in memory: order, names, types, and what happens when they are full."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import UNSET

from node_ipc.core.client import Client
from node_ipc.core.events import Event
from node_ipc.core.inbox import (
    ASKED_NAMES,
    DECODERS,
    OVERHEAD,
    BlockingInbox,
    CatchingUp,
    Inbox,
    Received,
    receivable,
    receive_timeout,
)
from node_ipc.errors import (
    BackpressureError,
    ConnectionLost,
    InvalidEvent,
    InvalidPayload,
    IPCError,
    RemoteError,
)
from node_ipc.testing import Conditions, MemoryDriver, Pair, WireServer, connect, pair


def filled(*events: tuple[str, Any], **options: Any) -> tuple[BlockingInbox, Pair]:
    """The inbox of a client that heard these events."""
    ends = pair(**options)
    inbox = BlockingInbox(ends.client)
    say(ends, *events)
    return inbox, ends


def say(ends: Pair, *events: tuple[str, Any]) -> None:
    for type, data in events:
        ends.socket.emit(type, data)
        ends.driver.run_until_idle()  # one read each


def everything(inbox: BlockingInbox) -> list[tuple[str, Any]]:
    return [tuple(found) for found in iter(inbox.take, None)]


def test_events_come_out_as_they_came_in_also_by_name() -> None:
    inbox, _ = filled(("a", 1), ("b", 2), ("a", 3))
    assert len(inbox) == 3
    assert inbox.take("b") == Received("b", 2)
    assert inbox.take("b") is None
    assert everything(inbox) == [("a", 1), ("a", 3)]
    assert (len(inbox), inbox.take()) == (0, None)


def test_who_wants_nothing_that_comes_says_so_and_who_receives_something_is_not_told_how() -> None:
    inbox, ends = asking(max_unread_events=2)
    ends.client.on("*", lambda *event: None)
    errors: list[IPCError] = []
    ends.client.on("error", errors.append)
    flood(ends, "log", 5)
    assert (len(inbox), inbox.missed, errors) == (2, 3, []), "each was heard by that handler"
    inbox, ends = asking(max_unread_events=2)
    ends.client.on("error", errors.append)
    assert inbox.take("ack") is None
    flood(ends, "log", 5)
    assert len(errors) == 1 and "client.on" not in str(errors[0]) and "Receive them" in str(errors[0])


def test_what_is_wanted_is_caught_and_the_rest_waits() -> None:
    inbox, ends = filled()
    inbox.want("b")
    say(ends, ("a", 1), ("b", 2), ("b", 3))
    assert inbox.wanted is None
    assert inbox.decode("b", inbox.caught, None) == 2
    inbox.caught = None
    inbox.stop_wanting()
    assert everything(inbox) == [("a", 1), ("b", 3)]


def test_what_was_caught_and_not_taken_comes_first_again() -> None:
    inbox, ends = filled(("a", 1))
    inbox.want("b")
    say(ends, ("b", 2), ("b", 3))
    inbox.stop_wanting()
    assert inbox.take("b") == Received("b", 2)
    assert everything(inbox) == [("a", 1), ("b", 3)]


@pytest.mark.parametrize("how", ["was caught and not taken", "was taken by a call that a signal ended"])
def test_what_is_put_back_weighs_what_it_weighed(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So reading stops at the same message as in an inbox where it had stayed, time and again."""
    large, room = "x" * 1000, 10 * (1000 + OVERHEAD)
    left, lefts = filled(max_inbox_bytes=room)
    inbox, ends = filled(max_inbox_bytes=room)
    for _ in range(3):
        say(lefts, ("b", large))
        if how == "was caught and not taken":
            inbox.want("b")
            say(ends, ("b", large))
            assert len(inbox) == 0
            inbox.stop_wanting()
        else:
            say(ends, ("b", large))
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(inbox, "decode", interrupted)
                inbox.take("b")
        assert len(inbox) == len(left) == 1
        before = 1
        while not left.full:
            assert not inbox.full, before
            say(lefts, ("b", large))
            say(ends, ("b", large))
            before += 1
        assert inbox.full and before >= 9
        assert everything(inbox) == everything(left) == [("b", large)] * before
        assert not inbox.full and not left.full


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_what_was_caught_comes_first_also_without_a_name() -> None:
    inbox, ends = filled(("a", 1))
    inbox.want("b")
    say(ends, ("b", 2))
    inbox.stop_wanting()
    assert everything(inbox) == [("b", 2), ("a", 1)]


def test_a_full_inbox_stops_reading_until_something_is_taken() -> None:
    inbox, ends = filled(("a", 1), ("a", 2), max_inbox_bytes=2 * OVERHEAD)
    assert inbox.full
    assert inbox.crowd() == "2 events wait to be received (2 of them 'a')"
    say(ends, ("a", 3))
    assert len(inbox) == 2, "nothing is read any more"
    inbox.take()
    assert not inbox.full
    ends.driver.run_until_idle()
    assert everything(inbox) == [("a", 2), ("a", 3)]


@pytest.mark.parametrize("kind", [BlockingInbox, Inbox])
def test_payloads_are_decoded_to_the_type_that_is_asked_for(kind: Any) -> None:
    ends = pair()
    inbox = kind(ends.client)
    say(ends, ("a", [1, 2]), ("b", [3, 4]), ("b", [5, 6]), ("a", "text"))
    no_key = Annotated[int, []]
    say(ends, ("c", 7))
    assert inbox.take("c", no_key) == Received("c", 7)
    point = Event("b", tuple[int, int])
    assert inbox.take(point) == Received("b", (3, 4))
    assert inbox.take(point, list[int]) == Received("b", [5, 6])
    assert inbox.take("a", tuple[int, int]) == Received("a", (1, 2))
    with pytest.raises(InvalidPayload, match="'a'"):
        inbox.take("a", int)
    assert len(inbox) == 0, "it is taken all the same"


def test_what_is_received_is_asked_for_by_the_name_of_one_event() -> None:
    point = Event("point", tuple[int, int])
    assert receivable("point", None) == ("point", None)
    assert receivable("point", int) == ("point", int)
    assert receivable(point, None) == ("point", tuple[int, int])
    assert receivable(point, list[int]) == ("point", list[int])
    with pytest.raises(TypeError, match=r"^receive\(\) takes the name of an event"):
        receivable(UNSET, None)
    with pytest.raises(TypeError, match=r"^receive\('\*'\) takes the name of an event"):
        receivable("*", None)
    with pytest.raises(InvalidEvent):
        receivable(7, None)


def test_a_time_out_says_why_the_event_may_never_come() -> None:
    inbox, ends = asking()
    ends.client.on("handled", lambda data: None)

    def said(name: str) -> str:
        return str(receive_timeout(ends.client, inbox, name, 0.5))

    begins = "no event {!r} from 'world' within 0.5 s{}"
    assert said("n").startswith(begins.format("n", "; nothing came meanwhile: "))
    handled = ": events with a handler go to that, and 'handled' has one; nothing came meanwhile: "
    assert said("handled").startswith(begins.format("handled", handled))
    lifecycle = ": 'connect' is of the lifecycle, which only handlers hear: on('connect', …); nothing came meanwhile: "
    assert said("connect").startswith(begins.format("connect", lifecycle))
    say(ends, ("a", 1))
    assert said("n") == begins.format("n", "; unread meanwhile: 'a' (1)")
    loops = "; a loop over this client, as async for, takes each event that comes while it waits"
    stop = inbox.iterate()
    assert said("n") == begins.format("n", f"{loops}; unread meanwhile: 'a' (1)")
    stop()
    ends.client.close()
    ends.driver.run_until_idle()
    assert said("n") == begins.format(
        "n", ": the client is closed (the last link ended: in order); unread meanwhile: 'a' (1)"
    )


def test_in_raw_mode_nothing_is_of_the_lifecycle_for_who_waits() -> None:
    ends = pair(raw_buffer=True)
    said = str(receive_timeout(ends.client, Inbox(ends.client), "connect", 1))
    assert "of the lifecycle" not in said and said.startswith("no event 'connect' from 'world' within 1 s")


@pytest.mark.parametrize("kind", [BlockingInbox, Inbox])
def test_requests_that_nobody_handles_are_answered_and_nobody_receives_them(kind: Any) -> None:
    ends = pair()
    inbox = kind(ends.client)
    answer = ends.server.request(ends.socket, "nothing")
    ends.driver.run_until_idle()
    assert isinstance(answer.error, RemoteError) and answer.error.code == -32601
    assert len(inbox) == 0


@pytest.mark.parametrize(
    ("then", "told"), [("nothing", True), ("received", False), ("asked for", False), ("iterated", False)]
)
def test_a_name_that_is_nearly_a_handler_s_is_told_unless_it_is_received_within_a_second(
    then: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    inbox, ends = asking()
    ends.client.on("message", lambda data: None)
    say(ends, ("mesage", 1))
    ends.driver.advance(0.9)
    assert "misspelt" not in caplog.text
    if then == "received":
        assert inbox.take() == Received("mesage", 1)
    elif then == "asked for":
        assert inbox.take("mesage") == Received("mesage", 1)
        say(ends, ("mesage", 2))
    elif then == "iterated":
        inbox.iterate()
    ends.driver.advance(0.2)
    assert ("events named 'mesage' come, and no handler hears them; there is one for 'message'" in caplog.text) == told


@pytest.mark.parametrize(("then", "told"), [("nothing", True), ("received", False), ("asked for", False)])
def test_an_event_that_came_before_its_handler_is_told_unless_it_is_received(
    then: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    inbox, ends = asking()
    say(ends, ("news", 1))
    ends.client.on("news", lambda data: None)
    if then == "received":
        inbox.take()
    elif then == "asked for":
        inbox.take("news")
        inbox._put("news", 2, None)
    ends.driver.advance(30)
    assert ("it waits in the inbox for receive('news')" in caplog.text) == told


def test_two_loops_share_what_comes_and_each_ends_once() -> None:
    inbox, ends = asking()
    ends.client.on("handled", lambda data: None)
    first, second = inbox.iterate(), inbox.iterate()
    say(ends, ("handled", 1), ("other", 2))
    assert [inbox.take(), inbox.take(), inbox.take()] == [Received("handled", 1), Received("other", 2), None]
    first()
    first()
    assert inbox.is_iterated
    say(ends, ("handled", 3))
    assert inbox.take() == Received("handled", 3)
    second()
    assert not inbox.is_iterated
    say(ends, ("handled", 4))
    assert inbox.take() is None, "it is the handler's alone again"


def test_whoever_waits_hears_of_each_event_that_was_put_in() -> None:
    inbox, ends = asking()
    there: list[int] = []
    inbox.arrived += [lambda: there.append(len(inbox)), lambda: inbox.arrived.clear()]
    say(ends, ("a", 1), ("a", 2))
    assert there == [1]


@pytest.mark.parametrize("keeps", ["asked for", "kept the newest of"])
def test_of_the_names_that_are_known_the_one_that_was_received_last_is_forgotten_last(keeps: str) -> None:
    inbox, ends = asking(max_unread_events=10)
    ask: Any = inbox.take if keeps == "asked for" else inbox.keep_newest
    for name in ("first", "second", *(f"event{number}" for number in range(ASKED_NAMES - 2)), "first", "one more"):
        ask(name)
    flood(ends, "first", 9)
    flood(ends, "second", 9)
    count = 9 if keeps == "asked for" else 1
    assert len(list(iter(lambda: inbox.take("first"), None))) == count
    rest = len(list(iter(lambda: inbox.take("second"), None)))
    assert rest == (1 if keeps == "asked for" else 9)


def test_only_true_and_false_say_whether_the_newest_is_kept() -> None:
    inbox, _ = asking()
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"receive\(latest=…\) takes True or False, not 5"):
        inbox.keep_newest("frame", wrong)
    assert not inbox.only_newest


def test_decoders_are_kept_for_a_bounded_number_of_names() -> None:
    inbox, ends = filled()
    for number in range(DECODERS + 2):
        say(ends, (f"event{number}", number))
        assert inbox.take(None, int) == Received(f"event{number}", number)
    assert len(inbox._decoders) == 2


def test_raw_mode_keeps_chunks_as_data() -> None:
    ends = pair(raw_buffer=True)
    inbox = BlockingInbox(ends.client)
    ends.socket.emit(b"\x00\xff")
    ends.driver.run_until_idle()
    assert everything(inbox) == [("data", b"\x00\xff")]


@pytest.mark.parametrize("kind", [BlockingInbox, Inbox])
def test_in_raw_mode_the_end_of_a_link_is_raised_once_between_its_bytes_and_the_next_one_s(kind: Any) -> None:
    ends = pair(raw_buffer=True, retry=100)
    inbox = kind(ends.client)
    ends.socket.emit(b"half a mess")
    ends.driver.run_until_idle()
    ends.connection.drop()
    ends.driver.advance(1)
    ends.server.sockets[-1].emit(b"a new one")
    ends.driver.run_until_idle()
    assert inbox.take("data") == Received("data", b"half a mess")
    with pytest.raises(ConnectionLost, match=r"ended here .* begin a new message") as raised:
        inbox.take("data")
    assert isinstance(raised.value.__cause__, ConnectionLost)
    assert inbox.take() == Received("data", b"a new one")
    assert inbox.take() is None


@pytest.mark.parametrize("kind", [BlockingInbox, Inbox])
@pytest.mark.parametrize("how", ["nothing came", "the last link", "closed", "events"])
def test_there_is_no_boundary_where_nothing_follows_or_nothing_went_before(kind: Any, how: str) -> None:
    ends = pair(raw_buffer=how != "events", retry=100, max_retries=0 if how == "the last link" else False)
    inbox = kind(ends.client)
    if how == "events":
        ends.socket.emit("n")
    elif how != "nothing came":
        ends.socket.emit(b"some")
    ends.driver.run_until_idle()
    inbox.take()
    if how == "closed":
        ends.client.close()
    else:
        ends.connection.drop()
    ends.driver.advance(1)
    assert inbox.take() is None


@pytest.mark.parametrize("kind", [BlockingInbox, Inbox])
def test_only_the_newest_is_kept_where_that_is_wanted(kind: Any) -> None:
    ends = pair(max_unread_events=10, max_unread_bytes=10_000, max_inbox_bytes=10_000)
    inbox = kind(ends.client)
    say(ends, ("frame", 1), ("other", 1), ("frame", 2))
    inbox.keep_newest("frame")
    assert inbox.skipped == 1 and inbox.take("frame") == Received("frame", 2)
    for number in range(1000):
        say(ends, ("frame", "x" * 1000), ("frame", number))
    assert (len(inbox), inbox.skipped, inbox.missed) == (2, 2000, 0)
    assert not ends.client._session.is_reading_paused  # type: ignore[union-attr]
    assert inbox.take("frame") == Received("frame", 999) and not inbox.has("frame")
    assert inbox.take("other") == Received("other", 1)
    inbox.keep_newest("frame", False)
    say(ends, ("frame", 1), ("frame", 2))
    assert [inbox.take("frame"), inbox.take("frame")] == [Received("frame", 1), Received("frame", 2)]


def test_what_is_kept_the_newest_of_is_bounded() -> None:
    inbox, _ = asking()
    for number in range(ASKED_NAMES + 10):
        inbox.keep_newest(f"event{number}")
    assert len(inbox.only_newest) == ASKED_NAMES


def test_bytes_of_a_stream_are_all_needed() -> None:
    ends = pair(raw_buffer=True)
    with pytest.raises(ValueError, match="raw mode has none"):
        Inbox(ends.client).keep_newest("data")


# ---- the asyncio front's


def asking(**options: Any) -> tuple[Inbox, Pair]:
    ends = pair(**options)
    return Inbox(ends.client), ends


def flood(ends: Pair, name: str, count: int, data: Any = None) -> None:
    for number in range(count):
        ends.socket.emit(name, number if data is None else data)
        ends.driver.run_until_idle()


@pytest.mark.row(55)
def test_what_nobody_asks_for_never_stops_what_others_hear() -> None:
    inbox, ends = asking()
    heard: list[Any] = []
    ends.client.on("done", heard.append)
    say(ends, ("ack", 1))
    assert inbox.take("ack") == Received("ack", 1)
    flood(ends, "log", 3000)
    say(ends, ("done", 2))
    assert heard == [2]
    assert (len(inbox), inbox.missed) == (1000, 2000)
    assert inbox.take("log") == Received("log", 2000), "the oldest went"


@pytest.mark.row(55)
def test_what_was_dropped_is_told_once_for_each_link_with_the_event_and_the_option() -> None:
    inbox, ends = asking(max_unread_events=2)
    errors: list[IPCError] = []
    ends.client.on("error", errors.append)
    flood(ends, "log", 5)
    assert inbox.missed == 3
    assert [type(error) for error in errors] == [BackpressureError]
    assert "'log'" in str(errors[0]) and "max_unread_events (2)" in str(errors[0])
    assert "client.on('*'" in str(errors[0]), "it may be there to send only"
    ends.driver.connections[0].drop()
    ends.driver.advance(5)
    assert isinstance(errors.pop(), ConnectionLost)
    for socket in ends.server.sockets:
        for number in range(5):
            socket.emit("log", number)
    ends.driver.run_until_idle()
    assert inbox.missed == 8
    assert [type(error) for error in errors] == [BackpressureError] * 2


def test_what_was_taken_is_not_dropped_any_more() -> None:
    inbox, ends = asking(max_unread_events=3)
    flood(ends, "log", 3)
    assert inbox.take() == Received("log", 0)
    flood(ends, "log", 5)
    assert (inbox.missed, len(inbox)) == (4, 3)
    assert ends.client.stats().errors == 1, "the one that tells of it"


def test_far_too_much_is_dropped_also_of_what_somebody_receives() -> None:
    inbox, ends = asking(max_unread_events=3, max_unread_bytes=1000, max_pending_bytes=2000)
    inbox.keep_newest("frame")
    assert inbox.take("frame") is None
    say(ends, ("other", 0), ("other", 1), ("frame", "x" * 5000), ("other", 2))
    assert (inbox.missed, inbox.names()) == (3, "'other' (1)"), "the oldest, until the rest is within max_pending_bytes"
    flood(ends, "log", 5)
    assert (inbox.missed, inbox.names()) == (6, "'log' (3)")
    assert ends.client.stats().errors == 1, "the one that tells of it"


@pytest.mark.row(12)
def test_events_weigh_what_they_have_on_the_wire_though_they_are_decoded() -> None:
    inbox, ends = asking()
    flood(ends, "log", 40, "x" * 100_000)
    assert not ends.client.events.wants_raw
    assert len(inbox) == 10
    assert inbox.missed == 30
    flood(ends, "log", 1, "x" * 5_000_000)
    assert len(inbox) == 1, "one alone may have any size"


@pytest.mark.row(12)
def test_for_what_somebody_receives_reading_pauses_and_nothing_is_lost() -> None:
    inbox, ends = asking()
    assert inbox.take("row") is None
    for number in range(20_000):
        ends.socket.emit("row", [number, "x" * 200])
    ends.driver.run_until_idle()
    assert len(inbox) <= 1000 + 64 * 1024 // 200
    came = []
    while (found := inbox.take("row")) is not None:
        came.append(found.data[0])
        ends.driver.run_until_idle()
    assert came == list(range(20_000))
    assert inbox.missed == 0


@pytest.mark.row(54)
def test_when_iteration_ends_its_events_do_not_stop_the_link() -> None:
    inbox, ends = asking(max_unread_events=10)
    heard: list[Any] = []
    ends.client.on("done", heard.append)
    stop = inbox.iterate()
    for number in range(30_000):
        ends.socket.emit("log", number)
    ends.driver.run_until_idle()
    assert inbox.missed == 0 and len(inbox) < 5_000, "paused for the one who iterates"
    stop()
    ends.socket.emit("done", 1)
    ends.driver.run_until_idle()
    assert heard == [1]
    assert len(inbox) == 10


def test_a_call_that_waits_for_another_event_gets_past_those_that_somebody_receives() -> None:
    inbox, ends = asking(max_unread_events=10, max_unread_bytes=20_000, max_pending_bytes=1_000_000)
    assert inbox.take("row") is None
    for number in range(30_000):
        ends.socket.emit("row", number)
    ends.socket.emit("other", 1)
    ends.driver.run_until_idle()
    assert inbox.take("other") is None
    inbox.wait()
    ends.driver.run_until_idle()
    assert inbox.take("other") == Received("other", 1)
    inbox.stop_waiting()
    assert 0 < inbox.missed < 30_000, "up to the hard limit"
    assert ends.client._session is not None and ends.client._session.is_reading_paused, "nobody waits any more"
    assert inbox.take("row") == Received("row", inbox.missed)


@pytest.mark.row(61)
def test_what_is_known_of_names_is_bounded() -> None:
    inbox, _ = asking()
    for number in range(10_000):
        assert inbox.take(f"name{number}") is None
    assert len(inbox._asked) == 256


def test_raw_chunks_wait_to_be_received() -> None:
    inbox, ends = asking(raw_buffer=True)
    ends.socket.emit(b"\x00\xff")
    ends.driver.run_until_idle()
    assert inbox.take("data") == Received("data", b"\x00\xff")


# ---- the newest


def catching_up(client: Client, inbox: Inbox, timeout: float | None = None) -> CatchingUp:
    return CatchingUp(inbox, "frame", client._session, client._driver.now, timeout)


def seconds_of(reading: CatchingUp, driver: MemoryDriver) -> float:
    """How long it goes on, asked every 2 ms."""
    begun = driver.now()
    while not reading.is_over:
        driver.advance(0.002)
    return driver.now() - begun


def test_a_python_server_says_when_all_that_it_had_has_come() -> None:
    driver = MemoryDriver()
    driver.conditions = Conditions(latency=0.03)
    client, server, socket, _ = pair(driver=driver)
    inbox = Inbox(client)
    for number in range(3):
        socket.emit("frame", number)
        driver.run_until(lambda: server.pending_bytes == 0)
        assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.06, abs=0.005), "there and back"
        inbox.keep_newest("frame")
        assert inbox.take("frame") == ("frame", number)
    assert server.stats().errors == client.stats().errors == 0


def test_a_server_that_does_not_say_so_is_asked_once_for_each_link() -> None:
    driver = MemoryDriver()
    server = WireServer(driver)
    client = connect(driver, server.address)
    inbox = Inbox(client)
    assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.2, abs=0.005)
    assert server.wires[0].take().count(b"ipc.ping") == 2
    assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.002)
    assert server.wires[0].take() == b""
    assert seconds_of(catching_up(client, inbox, timeout=0), driver) <= 0.003
    server.wires[0].write(b'{"type":"ipc.pong","data":{"behind":1}}\f')  # it was only slow
    driver.run_until_idle()
    catching_up(client, inbox)
    driver.run_until_idle()
    assert b"ipc.ping" in server.wires[0].take()
    driver.drop()
    driver.run_until(lambda: len(server.wires) == 2)
    driver.run_until_idle()
    assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("pixels", ["x" * 30_000, bytes(30_000)], ids=["json", "attached"])
@pytest.mark.parametrize("pause", [0.1, 0.5, 2.0])
def test_an_event_that_was_begun_before_the_call_is_not_the_newest(pixels: Any, pause: float) -> None:
    """The kernel takes a third of one, which is as old as the pause; the server's answer overtakes none behind it."""
    client, server, _, driver = ends = pair(driver=MemoryDriver(conditions=Conditions(latency=0.005, buffer=10_000)))
    inbox = Inbox(client)
    emitted: list[float] = []

    def film() -> None:
        emitted.append(driver.now())
        server.broadcast("frame", [len(emitted), pixels], keep="latest")
        driver.call_later(1 / 30, film)

    film()
    inbox.keep_newest("frame")
    for _ in range(12):
        ends.connection.to_client.stall()
        driver.advance(pause)
        ends.connection.to_client.resume()
        newest = len(emitted)
        assert seconds_of(catching_up(client, inbox), driver) < 0.2
        found = inbox.take("frame")
        assert found is not None and found.data[0] >= newest
        assert driver.now() - emitted[found.data[0] - 1] < 0.2
    assert server.stats().replaced > 12


def frames(*numbers: int) -> bytes:
    return b"".join(b'{"type":"frame","data":%d}\f' % number for number in numbers)


def of_a_wire(**conditions: Any) -> tuple[MemoryDriver, WireServer, Client, Inbox]:
    """A client of what looks like a server of Node."""
    driver = MemoryDriver(conditions=Conditions(**conditions))
    server = WireServer(driver)
    client = connect(driver, server.address)
    return driver, server, client, Inbox(client)


def test_while_the_next_event_has_only_begun_silence_does_not_end_it_before_its_time() -> None:
    driver, server, client, inbox = of_a_wire()
    server.wires[0].write(frames(1) + frames(2)[:7])
    driver.run_until_idle()
    assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.5, abs=0.005)
    assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.002)
    assert inbox.take("frame") == Received("frame", 1)


def test_with_nothing_in_hand_it_goes_on_with_what_comes_later() -> None:
    """The server was held up: what it sends then is the rest of an old one, and behind it are newer ones."""
    driver, server, client, inbox = of_a_wire()
    server.wires[0].write(frames(1)[:7])
    driver.run_until_idle()
    reading = catching_up(client, inbox)
    assert seconds_of(reading, driver) == pytest.approx(0.2, abs=0.005)
    assert reading.is_over and not inbox
    server.wires[0].write(frames(1)[7:])
    driver.run_until_idle()
    assert not reading.is_over, "a newer one may be close behind"
    server.wires[0].write(frames(2))
    driver.run_until_idle()
    assert seconds_of(reading, driver) == pytest.approx(0.002)
    server.wires[0].write(frames(3))
    driver.run_until_idle()
    assert reading.is_over, "all that was begun has come, so this one is new"


def test_a_server_that_never_answers_and_never_pauses_costs_its_time_once() -> None:
    driver, server, client, inbox = of_a_wire()

    def film() -> None:
        server.wires[0].write(frames(1, 2))
        driver.call_later(0.001, film)

    film()
    inbox.keep_newest("frame")
    assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.5, abs=0.005)
    for _ in range(3):
        assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.05, abs=0.005)
        assert inbox.take("frame") is not None


def test_a_server_that_has_answered_is_asked_each_time() -> None:
    """It may be busy for a while: a blocking one that does something else than poll."""
    driver, server, client, inbox = of_a_wire()
    catching_up(client, inbox)
    server.wires[0].write(b'{"type":"ipc.pong","data":{"behind":1}}\f' + frames(1))
    driver.run_until_idle()
    for number in range(2, 5):
        server.wires[0].take()
        assert seconds_of(catching_up(client, inbox), driver) == pytest.approx(0.2, abs=0.005)
        assert server.wires[0].take().count(b"ipc.ping") == 1, number


def test_nobody_is_asked_who_cannot_answer_meanwhile() -> None:
    driver, server, client, inbox = of_a_wire()
    reading = CatchingUp(inbox, "frame", client._session, driver.now, None, asks=False)
    assert seconds_of(reading, driver) == pytest.approx(0.002)
    assert server.wires[0].take() == b""


def test_a_time_limit_holds_for_catching_up_too() -> None:
    driver = MemoryDriver()
    server = WireServer(driver)
    client = connect(driver, server.address)
    assert seconds_of(catching_up(client, Inbox(client), timeout=0.01), driver) == pytest.approx(0.01, abs=0.003)


def test_a_newest_event_that_is_larger_than_all_that_may_wait_keeps_no_other_from_coming() -> None:
    client, _, socket, driver = pair(client={"max_unread_bytes": 1_000})
    inbox = Inbox(client)
    inbox.keep_newest("frame")
    assert inbox.take("frame") is None
    for number in range(3):
        socket.emit("frame", [number, "x" * 5_000])
        driver.run_until_idle()
    assert client._session is not None and not client._session.is_reading_paused
    found = inbox.take("frame")
    assert found is not None and found.data[0] == 2 and inbox.skipped == 2


def test_its_repr_says_what_is_unread() -> None:
    inbox, ends = filled()
    assert repr(inbox) == "<BlockingInbox, nothing is unread>"
    say(ends, ("a\x1b[2J", 1), ("b" * 100, 2), ("a\x1b[2J", 3))
    assert repr(inbox) == f"<BlockingInbox, unread: 'a\\x1b[2J' (2), '{'b' * 64}' (1)>"
    say(ends, ("c", 1), ("d", 1))
    assert repr(inbox).endswith("'c' (1) and one more name>")
    say(ends, ("e", 1))
    assert repr(inbox).endswith("'c' (1) and 2 more names>")
    assert len(everything(inbox)) == 6 and repr(inbox) == "<BlockingInbox, nothing is unread>"
