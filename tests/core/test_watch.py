"""Who watches an endpoint hears of each message and each request, and harms nobody."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.config.address import Unix
from node_ipc.config.config import Config
from node_ipc.core.client import Client
from node_ipc.core.watch import Activity, Timed, Told, Watch
from node_ipc.errors import BackpressureError, HandlerError, InvalidPayload, NotConnected, RemoteError
from node_ipc.testing import MemoryDriver, Pair, connect, pair, serve
from node_ipc.wire.carried import Carried


class Heard(Watch):
    """Writes down what it hears."""

    def __init__(self, carries: dict[str, str] | None = None) -> None:
        self.lines: list[Any] = []
        self.carries = carries or {}

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told:
        carrier.update(self.carries)
        return lambda size, error: self.lines.append(("emitted", name, size > 0, type(error).__name__))

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        self.lines.append(("unheard", name, message.carrier))

    def handling(self, name: str, message: Carried, socket: Any) -> Activity:
        return Lasts(self, "handled", name, message.carrier)

    def asking(self, method: str, params: Any) -> Activity:
        return Lasts(self, "asked", method)

    def answering(self, method: str, message: Carried | None, request: Any) -> Activity:
        return Lasts(self, "answered", method)

    def of(self, what: str) -> list[Any]:
        return [line[1:] for line in self.lines if line[0] == what]


class Lasts(Activity):
    def __init__(self, heard: Heard, *words: Any) -> None:
        self._heard = heard
        self._words = words
        heard.lines.append(("begun", *words[:2]))

    def ended(self, error: BaseException | None) -> None:
        self._heard.lines.append((*self._words, type(error).__name__))


@pytest.fixture
def ends() -> Pair:
    return pair()


def test_who_watches_before_there_is_a_link_hears_of_each_that_comes() -> None:
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, Config().settings())
    heard = Heard()
    undo = client.watch(heard)
    serve(driver)
    client.connect()
    for count in (1, 2):
        driver.run_until(lambda: client.state.name == "CONNECTED")
        client.emit("n", count)
        driver.run_until_idle()
        assert len(heard.of("emitted")) == count
        driver.drop()
        driver.run_until_idle()
    undo()
    driver.run_until(lambda: client.state.name == "CONNECTED")
    client.emit("n", 3)
    assert len(heard.of("emitted")) == 2


def test_each_emit_is_told_and_each_message_that_comes(ends: Pair) -> None:
    sent, came = Heard({"traceparent": "00-1-2-01"}), Heard()
    ends.client.watch(sent)
    ends.server.watch(came)
    ends.server.on("order", lambda data, socket: None)
    ends.client.emit("order", 1)
    ends.client.emit("else", 2)
    ends.driver.run_until_idle()
    assert sent.lines == [("emitted", "order", True, "NoneType"), ("emitted", "else", True, "NoneType")]
    assert came.of("handled") == [("order", {"traceparent": "00-1-2-01"}, "NoneType")]
    assert came.of("unheard") == [("else", {"traceparent": "00-1-2-01"})]


def test_how_long_it_took_and_how_it_ended(ends: Pair) -> None:
    told: list[Any] = []

    class Times(Watch):
        def handling(self, name: str, message: Carried, socket: Any) -> Activity:
            return Timed(ends.driver.now, lambda seconds, error: told.append((round(seconds, 6), type(error))))

    async def slow(data: Any) -> None:
        await ends.driver.sleep(2.5)
        raise ValueError("late")

    ends.server.watch(Times())
    ends.server.on("slow", slow)
    ends.server.on("quick", lambda data: None)
    ends.server.on("error", lambda error: None)
    ends.client.emit("quick")
    ends.client.emit("slow")
    ends.driver.advance(3)
    assert told == [(0.0, type(None)), (2.5, ValueError)]


def test_handlers_get_what_they_got_without(ends: Pair) -> None:
    got: list[Any] = []

    def typed(data: dict[str, int], socket: Any) -> None:
        got.append(data)

    ends.server.watch(Heard())
    ends.client.watch(Heard({"a": "b"}))
    ends.server.on("plain", lambda data, socket: got.append((data, socket)))
    ends.server.on("typed", typed)
    ends.server.once("once", lambda: got.append("once"))
    ends.server.on("*", lambda type, *rest: got.append(type))
    for _ in range(2):
        ends.client.emit("plain", {"trace": 1})
        ends.client.emit("typed", {"x": 2})
        ends.client.emit("once")
    ends.driver.run_until_idle()
    assert got == [
        *("plain", ({"trace": 1}, ends.socket), "typed", {"x": 2}, "once", "once"),
        *("plain", ({"trace": 1}, ends.socket), "typed", {"x": 2}, "once"),
    ]


def test_a_handler_that_fails_and_an_emit_that_cannot_be_are_told_with_their_errors(ends: Pair) -> None:
    heard = Heard()
    ends.server.watch(heard)
    ends.server.on("bad", lambda data: 1 / 0)
    ends.server.on("error", lambda error: None)
    ends.client.emit("bad")
    ends.driver.run_until_idle()
    assert heard.of("handled") == [("bad", {}, "ZeroDivisionError")]
    with pytest.raises(Exception, match="cannot be JSON"):
        ends.server.broadcast("odd", object())
    assert heard.of("emitted") == [("odd", False, "InvalidPayload")]


def test_a_failing_handler_of_the_lifecycle_is_not_the_messages_fault(ends: Pair) -> None:
    heard = Heard()
    ends.server.watch(heard)
    ends.server.on("close", lambda socket: 1 / 0)
    ends.server.on("leave", lambda data, socket: socket.abort())
    ends.server.on("error", lambda error: None)
    ends.client.emit("leave")
    ends.driver.run_until_idle()
    assert heard.of("handled") == [("leave", {}, "NoneType")]


def test_an_async_handler_lasts_until_it_has_ended() -> None:
    driver = MemoryDriver()
    ends = pair(driver=driver)
    heard = Heard()
    ends.server.watch(heard)
    gate = driver.outcome(None)

    @ends.server.on("slow")
    async def slow(data: Any, socket: Any) -> None:
        await gate

    ends.server.on("slow", lambda data: None)
    ends.client.emit("slow")
    driver.run_until_idle()
    assert heard.of("handled") == [] and heard.of("begun") == [("handled", "slow")]
    gate.settle()
    driver.run_until_idle()
    assert heard.of("handled") == [("slow", {}, "NoneType")]


def test_an_async_handler_that_fails_is_told_with_its_error(ends: Pair) -> None:
    heard = Heard()
    ends.server.watch(heard)
    ends.server.on("error", lambda error: None)

    @ends.server.on("bad")
    async def bad(data: Any) -> None:
        await ends.driver.sleep(0.1)
        raise ZeroDivisionError

    ends.client.emit("bad")
    ends.driver.advance(1)
    assert heard.of("handled") == [("bad", {}, "ZeroDivisionError")]


def test_what_is_sent_what_came_and_from_whom_is_told(ends: Pair) -> None:
    got: list[Any] = []

    class Looks(Watch):
        def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> None:
            got.append((name, data))

        def unheard(self, name: str, message: Carried, socket: Any) -> None:
            got.append((name, message.data, socket))

        def answering(self, method: str, message: Carried | None, request: Any) -> None:
            assert message is not None
            got.append((method, message.type, request.socket))

    ends.client.handle("add", lambda params: params)
    ends.server.watch(Looks())
    ends.client.emit("nobody", 1)
    ends.client.request("none")
    ends.driver.run_until_idle()
    assert got[:3] == [("nobody", 1, ends.socket), ("", "rpc.request", ends.socket), ("rpc.response", got[2][1])]
    ends.server.broadcast("order", [2])
    assert got[3:] == [("order", [2])]


def test_code_of_a_handler_runs_between_enter_and_leave(ends: Pair) -> None:
    steps: list[str] = []

    class Steps(Activity):
        enters = True

        def enter(self) -> None:
            steps.append("enter")

        def leave(self) -> None:
            steps.append("leave")

        def ended(self, error: BaseException | None) -> None:
            steps.append("ended")

    class Follows(Watch):
        def handling(self, name: str, message: Carried, socket: Any) -> Activity:
            return Steps()

    ends.server.watch(Follows())
    ends.server.on("order", lambda data: steps.append("handler"))
    ends.client.emit("order")
    ends.driver.run_until_idle()
    assert steps == ["enter", "handler", "leave", "ended"]


def test_requests_are_told_on_both_sides_and_no_event_besides(ends: Pair) -> None:
    asking, answering = Heard(), Heard()
    ends.client.watch(asking)
    ends.server.watch(answering)
    ends.server.handle("add", lambda params: params + 1)

    @ends.server.handle("refuse")
    def refuse() -> None:
        raise RemoteError(7, "no")

    ends.server.handle("fail", lambda: 1 / 0)
    ends.server.on("error", lambda error: None)
    answers = [ends.client.request(method, 1) for method in ("add", "refuse", "fail", "nothing")]
    ends.driver.run_until_idle()
    assert answers[0].value == 2
    assert asking.of("asked") == [
        *(("add", "NoneType"), ("refuse", "RemoteError"), ("fail", "RemoteError"), ("nothing", "RemoteError")),
    ]
    assert answering.of("answered") == [
        *(("add", "NoneType"), ("refuse", "RemoteError"), ("fail", "ZeroDivisionError"), ("", "RemoteError")),
    ]
    assert answering.of("handled") == answering.of("unheard") == asking.of("handled") == []


def test_a_method_that_a_peer_makes_up_has_no_name(ends: Pair) -> None:
    heard = Heard()
    ends.server.watch(heard)
    for number in range(3):
        ends.client.request(f"made up {number}")
    ends.driver.run_until_idle()
    assert heard.of("answered") == [("", "RemoteError")] * 3


def test_a_request_that_is_given_up_ends_on_both_sides() -> None:
    driver = MemoryDriver()
    ends = pair(driver=driver)
    asking, answering = Heard(), Heard()
    ends.client.watch(asking)
    ends.server.watch(answering)

    @ends.server.handle("wait")
    async def wait() -> None:
        await driver.outcome(None)

    ends.client.request("wait", timeout=1)
    driver.advance(2)
    driver.run_until_idle()
    assert asking.of("asked") == [("wait", "RequestTimeout")]
    assert answering.of("answered") == [("wait", "RequestError")]


def test_a_request_that_cannot_be_sent_has_ended(ends: Pair) -> None:
    heard = Heard()
    ends.server.watch(heard)
    ends.client.abort()
    ends.driver.run_until_idle()
    with pytest.raises(NotConnected):
        ends.socket.request("late")
    assert heard.of("asked") == [("late", "NotConnected")]


def test_a_request_that_json_cannot_hold_has_ended(ends: Pair) -> None:
    heard = Heard()
    ends.client.watch(heard)
    with pytest.raises(InvalidPayload):
        ends.client.request("add", object())
    assert heard.of("asked") == [("add", "InvalidPayload")]


def test_a_request_that_finds_no_room_in_the_queue_has_ended() -> None:
    ends = pair(client={"max_queued_messages": 1})
    heard = Heard()
    ends.client.watch(heard)
    ends.connection.drop()
    ends.driver.run_until(lambda: not ends.server.sockets)
    ends.client.emit("one")
    with pytest.raises(BackpressureError):
        ends.client.request("two")
    assert heard.of("asked") == [("two", "BackpressureError")]


def test_who_comes_later_and_links_that_are_made_anew_are_watched_too() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    heard = Heard()
    server.watch(heard)
    server.on("hello", lambda: None)
    client = connect(driver, server.address, retry=10)
    client.emit("hello")
    driver.run_until_idle()
    server.sockets[0].abort()
    driver.advance(1)
    client.emit("hello")
    driver.run_until_idle()
    assert len(heard.of("handled")) == 2


def test_the_undoing_leaves_everything_as_it_was(ends: Pair) -> None:
    heard = Heard({"a": "b"})
    undo = ends.client.watch(heard)
    others = ends.client.watch(Heard())
    undo()
    others()
    undo()
    ends.client.emit("message", 1)
    assert ends.client.encode("message", 1) == b'{"type":"message","data":1}\f'
    assert heard.lines == []


class Raises(Watch):
    """Whatever it is told of, it raises."""

    def __init__(self) -> None:
        self.calls = 0

    def _raise(self, *_: Any) -> Any:
        self.calls += 1
        raise RuntimeError("a watch that fails")

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__("_raise" if name in vars(Watch) and name.isalpha() else name)


class RaisingActivity(Activity):
    """Fails from its begin to its end."""

    enters = True

    def enter(self) -> None:
        raise RuntimeError("cannot enter")

    def leave(self) -> None:
        raise RuntimeError("cannot leave")

    def ended(self, error: BaseException | None) -> None:
        raise RuntimeError("cannot end")


class RaisesLater(Watch):
    """Its activities raise."""

    def handling(self, name: str, message: Carried, socket: Any) -> Activity:
        return RaisingActivity()

    def asking(self, method: str, params: Any) -> Activity:
        return RaisingActivity()

    def answering(self, method: str, message: Carried | None, request: Any) -> Activity:
        return RaisingActivity()

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told:
        return Raises()._raise


@pytest.mark.row(56)
@pytest.mark.parametrize("watch", [Raises, RaisesLater])
def test_a_watch_that_raises_harms_only_itself_and_is_told_of_once(
    ends: Pair, watch: type[Watch], caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Any] = []
    heard = Heard()
    for endpoint in (ends.client, ends.server):
        endpoint.watch(watch())
    ends.server.watch(heard)
    ends.server.on("message", lambda data: got.append(data))
    ends.server.handle("add", lambda params: params + 1)
    for _ in range(20):
        ends.client.emit("message", 1)
    ends.client.emit("nobody", 1)
    answer = ends.client.request("add", 1)
    ends.driver.run_until_idle()
    assert got == [1] * 20 and answer.value == 2
    assert heard.of("handled") == [("message", {}, "NoneType")] * 20 and heard.of("unheard") == [("nobody", {})]
    assert 1 <= len(caplog.records) <= 10, "once for each of its methods"
    assert ("Raises, which watches messages," in caplog.text) is (watch is Raises)


@pytest.mark.parametrize("first", ["log", "watch"])
def test_a_log_of_payloads_and_a_watch_get_along_in_either_order(ends: Pair, first: str) -> None:
    lines: list[Any] = []
    heard = Heard()
    if first == "log":
        ends.server.log_payloads(lambda *words: lines.append(words[0]))
    undo = ends.server.watch(heard)
    if first == "watch":
        ends.server.log_payloads(lambda *words: lines.append(words[0]))
    ends.server.broadcast("one")
    undo()
    again = ends.server.watch(heard)
    ends.server.broadcast("two")
    again()
    ends.server.broadcast("three")
    assert lines == ["dispatching event"] * 3
    assert [name for name, *_ in heard.of("emitted")] == ["one", "two"]


def test_statistics_of_a_link_that_is_over_say_nothing_of_now() -> None:
    """What waited for it, and why it was not read, are of the past: they were counted for ever."""
    ends = pair()
    link = ends.socket
    link.pause_reading("outgoing", True)
    assert ends.server.stats().paused == {"outgoing": 1}
    link.abort()
    ends.driver.run_until_idle()
    assert ends.server.stats().paused == {} and ends.server.stats().pending_bytes == 0


def test_a_handler_that_failed_is_an_error_as_ever(ends: Pair) -> None:
    errors: list[Any] = []
    ends.server.watch(Heard())
    ends.server.on("bad", lambda: 1 / 0)
    ends.server.on("error", lambda error: errors.append(error))
    ends.client.emit("bad")
    ends.driver.run_until_idle()
    assert [type(error) for error in errors] == [HandlerError]


@pytest.mark.row(52)
def test_who_watches_an_answer_hears_the_error_that_the_peer_hears(ends: Pair) -> None:
    errors: list[BaseException | None] = []

    class Keeps(Activity):
        def ended(self, error: BaseException | None) -> None:
            errors.append(error)

    class Answers(Watch):
        def answering(self, method: str, message: Carried | None, request: Any) -> Activity:
            return Keeps()

    def refuse(params: Any) -> None:
        raise RemoteError(7, "not today", {"until": "Monday"})

    ends.server.watch(Answers())
    ends.server.handle("refuse", refuse)
    answer = ends.client.request("refuse")
    ends.driver.run_until(answer)
    assert isinstance(answer.error, RemoteError)
    (error,) = errors
    assert isinstance(error, RemoteError)
    assert (error.code, error.message, error.data) == (7, "not today", {"until": "Monday"})
    assert (answer.error.code, answer.error.message, answer.error.data) == (7, "not today", {"until": "Monday"})
