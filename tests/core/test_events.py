"""Who hears what, in which order, and what becomes of handlers that fail."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable
from json import loads
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from node_ipc.core.events import SHORTCUTS, Event, Events, describe
from node_ipc.core.mistakes import SUSPECTS
from node_ipc.core.payload import typed_decoder
from node_ipc.core.registrations import Registration
from node_ipc.errors import HandlerError, InvalidEvent, InvalidPayload, IPCError, ReservedEvent
from node_ipc.testing import Pair, pair
from node_ipc.wire.json import Envelope, RawEnvelope
from node_ipc.wire.names import CLIENT_RAISES, DATAGRAM_RAISES, LIFECYCLE, SERVER_RAISES, any_name, guarded_name


class Order(msgspec.Struct):
    price: float
    items: list[int] = []


class Socket:
    """What events need of a session."""

    def __init__(self) -> None:
        self.started = self.done = 0

    def handler_started(self) -> int:
        self.started += 1
        return 7

    def handler_done(self, size: int) -> None:
        assert size == 7
        self.done += 1


class Desk:
    """Events with everything around them: deliveries in, failures out."""

    def __init__(self, carries: int = 2, *, allow_reserved: bool = False, coroutines: bool = True) -> None:
        self.failures: list[IPCError] = []
        self.failed_sockets: list[Any] = []
        self.spawned: list[tuple[Any, Callable[[BaseException | None], None]]] = []
        self.socket: Any = Socket()
        self.heard: list[Any] = []
        self.events = Events(
            carries,
            guarded_name(256, allow_reserved),
            self._failed,
            (lambda coroutine, done, returned: self.spawned.append((coroutine, done))) if coroutines else None,
            from_peers=LIFECYCLE if allow_reserved else frozenset(),
        )

    def _failed(self, socket: Any, error: IPCError) -> None:
        self.failures.append(error)
        self.failed_sockets.append(socket)

    def note(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.heard.append((name, *arguments))

    def deliver(self, *messages: tuple[str, Any]) -> list[Any]:
        """Messages as a read brings them; what was heard of them."""
        if self.events.wants_raw:
            envelopes: list[Any] = [
                RawEnvelope(type, data if isinstance(data, Raw) else Raw(msgspec.json.encode(data)))
                for type, data in messages
            ]
        else:
            envelopes = [Envelope(*message) for message in messages]
        self.heard.clear()
        self.events.deliver(iter(envelopes), self.socket)
        return list(self.heard)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- registering and hearing


def test_a_handler_hears_its_event(desk: Desk) -> None:
    desk.events.on("a", desk.note("h"))
    assert desk.deliver(("a", 1), ("b", 2), ("a", 3)) == [("h", 1, desk.socket), ("h", 3, desk.socket)]


def test_a_client_has_no_socket_to_give() -> None:
    desk = Desk(carries=1)
    desk.events.on("a", desk.note("h"))
    desk.events.on("*", desk.note("all"))
    assert desk.deliver(("a", 1), ("b", 2)) == [("all", "a", 1), ("h", 1), ("all", "b", 2)]


def test_on_is_a_decorator_that_gives_the_handler_back(desk: Desk) -> None:
    @desk.events.on("a")  # type: ignore[untyped-decorator]  # the endpoints type it
    def first(data: Any) -> None:
        desk.heard.append(("first", data))

    @desk.events.once("a")  # type: ignore[untyped-decorator]
    def second(data: Any) -> None:
        desk.heard.append(("second", data))

    assert callable(first)
    assert callable(second)
    assert desk.deliver(("a", 1), ("a", 2)) == [("first", 1), ("second", 1), ("first", 2)]


def test_on_gives_the_handler_back(desk: Desk) -> None:
    handler = desk.note("h")
    assert desk.events.on("a", handler) is handler
    assert desk.events.once("a", handler) is handler


def test_what_is_registered_tells_its_payload_types(desk: Desk) -> None:
    def counted(data: int) -> None: ...

    def gone(data: dict[str, int]) -> None: ...

    desk.events.on("a", counted)
    desk.events.on("a", desk.note("whatever"))
    desk.events.on("b", desk.note("h"), type=list[str])
    desk.events.on(Event("c", bytes), desk.note("h"))
    desk.events.on("error", desk.note("h"))  # of this side, and not from the wire
    desk.events.on("*", desk.note("all"))
    desk.events.on("d", gone)
    desk.events.off("d")
    assert desk.events.payload_types() == {"a": [int, None], "b": [list[str]], "c": [bytes]}


def test_handlers_run_in_the_order_of_registration_everything_first(desk: Desk) -> None:
    desk.events.on("a", desk.note("1"))
    desk.events.on("*", desk.note("all"))
    desk.events.on("a", desk.note("2"))
    desk.events.on("*", desk.note("all 2"))
    assert [name for name, *_ in desk.deliver(("a", 0))] == ["all", "all 2", "1", "2"]


def test_one_handler_registered_twice_is_called_twice(desk: Desk) -> None:
    handler = desk.note("h")
    desk.events.on("a", handler)
    desk.events.on("a", handler)
    assert len(desk.deliver(("a", 0))) == 2
    desk.events.off("a", handler)
    assert desk.deliver(("a", 0)) == []


def takes(count: int, heard: list[Any]) -> Callable[..., Any]:
    handlers: list[Callable[..., Any]] = [
        lambda: heard.append(()),
        lambda a: heard.append((a,)),
        lambda a, b: heard.append((a, b)),
        lambda a, b, c: heard.append((a, b, c)),
    ]
    return handlers[count]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_handlers_may_take_fewer_arguments(desk: Desk, count: int) -> None:
    desk.events.on("a", takes(count, desk.heard))
    assert desk.deliver(("a", 5)) == [(5, desk.socket)[:count]]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_everything_handlers_may_take_fewer_arguments(desk: Desk, count: int) -> None:
    desk.events.on("*", takes(count, desk.heard))
    assert desk.deliver(("a", 5)) == [("a", 5, desk.socket)[:count]]


@pytest.mark.parametrize("carries", [1, 2])
def test_handlers_that_want_more_are_refused_at_once(carries: int) -> None:
    desk = Desk(carries)
    with pytest.raises(TypeError, match=rf"handler takes.* of .a. requires 3 .*, and the event brings {carries}"):
        desk.events.on("a", takes(3, []))
    with pytest.raises(TypeError, match="of 'connect' requires 3 arguments"):
        desk.events.on("connect", takes(3, []))
    desk.events.on("error", takes(2, []))  # which brings the socket, where there is one


@pytest.mark.parametrize("handler", [5, "h", [1]])
def test_handlers_can_be_called(desk: Desk, handler: Any) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        desk.events.on("a", handler)


@pytest.mark.parametrize("name", [None, 5, b"a"])
def test_names_are_text(desk: Desk, name: Any) -> None:
    for call in (
        lambda: desk.events.on(name, print),
        lambda: desk.events.on(name),
        lambda: desk.events.once(name, print),
        lambda: desk.events.off(name),
    ):
        with pytest.raises(InvalidEvent, match="must be text"):
            call()


def test_names_are_checked_when_they_are_registered(desk: Desk) -> None:
    with pytest.raises(InvalidEvent):
        desk.events.on("constructor", print)
    with pytest.raises(InvalidEvent):
        desk.events.on("", print)


def test_names_without_a_handler_are_checked_when_they_come(desk: Desk) -> None:
    desk.events.on("a", desk.note("h"))
    with pytest.raises(ReservedEvent):
        desk.deliver(("a", 1), ("connect", 2), ("a", 3))
    assert desk.heard == [("h", 1, desk.socket)]
    desk.events.on("*", desk.note("all"))
    with pytest.raises(ReservedEvent):
        desk.deliver(("connect", 2))


def test_unheard_names_are_told() -> None:
    desk, told = Desk(), []
    desk.events.unheard = lambda *arguments: told.append(arguments)
    desk.events.on("a", desk.note("h"))
    desk.deliver(("a", 1), ("b", 2))
    assert told == [("b", 2, desk.socket)]


def suspecting(*names: str) -> tuple[Desk, list[tuple[str, str]]]:
    desk, told = Desk(), []
    desk.events.mistakes.misspelt = lambda *names: told.append(names)
    for name in names:
        desk.events.on(name, desk.note(name))
    return desk, told


def test_a_name_that_is_nearly_a_handlers_is_told_once() -> None:
    desk, told = suspecting("message", "job.done")
    desk.deliver(("mesage", 1), ("mesage", 2), ("message", 3), ("JobDone", 4), ("mesage", 5))
    assert told == [("mesage", "message"), ("JobDone", "job.done")]


@pytest.mark.parametrize("name", ["news", "sensor2", "rpc.responce", "connec", "message" * 3])
def test_other_events_that_nobody_hears_are_none_of_our_business(name: str) -> None:
    desk, told = suspecting("message", "sensor1", "connect")
    desk.deliver((name, 1))
    assert told == []


def test_names_of_requests_are_looked_at_once_and_an_event_that_comes_later_is_seen() -> None:
    desk, told = suspecting("rpc.request", "rpc.cancel")
    desk.deliver(("mesage", 1), ("mesage", 2))
    assert told == [] and desk.events.mistakes._unlike == 2
    desk.events.on("message", desk.note("message"))
    desk.deliver(("mesage", 3))
    assert told == [("mesage", "message")]


def test_a_name_that_is_kept_for_who_receives_it_is_looked_at_once_more_when_a_handler_like_it_comes() -> None:
    desk, told = suspecting()
    desk.events.takes_all = True
    desk.deliver(("mesage", 1))
    assert told == []
    desk.events.on("message", desk.note("message"))
    desk.deliver(("mesage", 2))
    assert told == [("mesage", "message")]


def test_what_nobody_ever_heard_is_strange_and_what_nobody_hears_any_more_is_not() -> None:
    desk, _ = suspecting("message")
    told: list[tuple[str, list[str]]] = []
    desk.events.mistakes.strange = lambda *found: told.append(found)
    desk.events.once("price", desk.note("price"))
    desk.deliver(("price", 1), ("price", 2), ("weather", 3))
    assert told == [("weather", ["message"])]


def test_what_somebody_takes_is_not_misspelt() -> None:
    takes: tuple[Callable[[Events[Any]], object], ...] = (
        lambda events: events.on("*", print_nothing),
        lambda events: events.tap(print_nothing),
        lambda events: events.shortcut("mesage", print_nothing),
        lambda events: events.off("message"),
    )
    for take in takes:
        desk, told = suspecting("message")
        take(desk.events)
        desk.deliver(("mesage", 1))
        assert told == []


def print_nothing(*arguments: Any) -> None: ...


def test_a_peer_that_makes_up_names_costs_no_more_than_a_few_looks() -> None:
    desk, told = suspecting("message")
    desk.deliver(*((f"message{'e' * (number % 3 + 1)}{number}", 1) for number in range(1000)))
    assert 0 < len(told) <= SUSPECTS == len(desk.events.mistakes._suspects)
    assert desk.events.mistakes.misspelt is None


def test_handlers_tells_who_is_registered(desk: Desk) -> None:
    one, two, three = desk.note("1"), desk.note("2"), desk.note("3")
    desk.events.on("a", one)
    desk.events.once("a", two)
    desk.events.on("connect", two)
    desk.events.on("*", three)
    assert desk.events.handlers("a") == [one, two]
    assert desk.events.handlers("connect") == [two]
    assert desk.events.handlers("*") == [three]
    assert desk.events.handlers("b") == []


# ---- once and off


def test_once_is_gone_before_it_runs(desk: Desk) -> None:
    def handler(data: Any) -> None:
        desk.heard.append(data)
        desk.events.deliver([Envelope("a", "inside")], desk.socket)

    desk.events.once("a", handler)
    assert desk.deliver(("a", 1), ("a", 2)) == [1]


def test_once_for_everything_and_for_the_lifecycle(desk: Desk) -> None:
    desk.events.once("*", desk.note("all"))
    assert desk.deliver(("a", 1), ("a", 2)) == [("all", "a", 1, desk.socket)]
    desk.events.once("*", desk.note("all"))
    desk.events.once("connect", desk.note("connect"))
    desk.heard.clear()
    for _ in range(2):
        desk.events.publish("connect", 5)
    assert desk.heard == [("all", "connect", 5), ("connect", 5)]


def test_off_removes_one_handler_all_of_an_event_or_all(desk: Desk) -> None:
    one, two = desk.note("1"), desk.note("2")
    for name in ("a", "b", "connect", "*"):
        desk.events.on(name, one)
        desk.events.on(name, two)

    def names(*, publish: bool = False) -> list[str]:
        heard = desk.deliver(("a", 0), ("b", 0))
        if publish:
            desk.heard.clear()
            desk.events.publish("connect")
            return [name for name, *_ in desk.heard]
        return [name for name, *_ in heard]

    desk.events.off("a", one)
    assert names() == ["1", "2", "2", "1", "2", "1", "2"]
    desk.events.off("*", two)
    assert names() == ["1", "2", "1", "1", "2"]
    desk.events.off("b")
    assert names() == ["1", "2", "1"]
    assert names(publish=True) == ["1", "1", "2"]
    desk.events.off("connect", one)
    assert names(publish=True) == ["1", "2"]
    desk.events.off("*", "*")
    assert names() == names(publish=True) == []


def test_off_of_what_is_not_there_does_nothing(desk: Desk) -> None:
    desk.events.off("a")
    desk.events.off("a", print)
    desk.events.off("*", print)
    desk.events.on("a", desk.note("h"))
    desk.events.off("a", print)
    assert len(desk.deliver(("a", 1))) == 1


def test_off_finds_methods(desk: Desk) -> None:
    class Listener:
        def heard(self, data: Any) -> None:
            raise AssertionError

    listener = Listener()
    desk.events.on("a", listener.heard)
    desk.events.off("a", listener.heard)
    assert desk.deliver(("a", 1)) == []
    assert desk.failures == []


class Compared:
    """A handler that counts how often any of its kind is compared with another."""

    count = 0
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, data: Any) -> None:
        """Hear nothing."""

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return isinstance(other, Compared) and other.number == self.number


class Unhashable(Compared):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


@pytest.mark.parametrize("name", ["a", "connect", "*"])
def test_ten_thousand_handlers_of_one_event_are_taken_off_without_looking_through_them_each_time(
    name: str, desk: Desk
) -> None:
    count = 10_000
    for number in range(count):
        desk.events.on(name, Compared(number))
    Compared.count = 0
    for number in reversed(range(count)):
        desk.events.off(name, Compared(number))
    assert desk.events.handlers(name) == []
    assert Compared.count < 10 * count


def test_of_many_handlers_those_that_are_equal_go_and_the_others_stay_in_order(desk: Desk) -> None:
    for number in [*range(50), 7, 7]:
        desk.events.on("a", Compared(number))
        desk.events.on("a", Unhashable(number))

    def numbers() -> list[int]:
        return [handler.number for handler in desk.events.handlers("a")]  # type: ignore[attr-defined]

    desk.events.off("a", Unhashable(49))
    desk.events.off("a", Compared(7))
    assert numbers() == [number for number in range(49) for _ in range(2) if number != 7]
    desk.events.on("a", Compared(7))
    desk.events.once("a", Compared(7))
    assert numbers()[-2:] == [7, 7]
    desk.deliver(("a", 1))
    assert numbers()[-2:] == [48, 7]
    desk.events.off("a", Compared(7))
    assert numbers()[-2:] == [48, 48]


# ---- changes inside handlers


@pytest.mark.row(38)
def test_what_is_added_during_an_event_hears_the_next_one(desk: Desk) -> None:
    def adding() -> None:
        desk.heard.append("adding")
        desk.events.on("a", desk.note("added"))
        desk.events.on("*", desk.note("all"))

    desk.events.once("a", adding)
    assert desk.deliver(("a", 1)) == ["adding"]
    assert [name for name, *_ in desk.deliver(("a", 2))] == ["all", "added"]


@pytest.mark.row(38)
def test_what_is_removed_during_an_event_is_not_called_any_more(desk: Desk) -> None:
    later, other = desk.note("later"), desk.note("other")

    def removing() -> None:
        desk.events.off("a", later)
        desk.events.off("*", other)
        desk.events.off("b")

    desk.events.on("*", removing)
    desk.events.on("*", other)
    desk.events.on("a", later)
    desk.events.on("b", later)
    assert desk.deliver(("a", 1), ("b", 2)) == []


@pytest.mark.row(38)
def test_a_handler_that_removes_itself_and_everything(desk: Desk) -> None:
    def first(data: Any) -> None:
        desk.heard.append(data)
        desk.events.off("*", "*")

    desk.events.on("a", first)
    desk.events.on("a", desk.note("second"))
    assert desk.deliver(("a", 1), ("a", 2)) == [1]


@pytest.mark.parametrize("first", ["published", "delivered"])
def test_a_once_handler_of_what_peers_may_emit_too_is_called_for_the_first_of_either(first: str) -> None:
    desk = Desk(allow_reserved=True)
    heard: list[Any] = []
    desk.events.once("connect", lambda *arguments: heard.append(arguments))
    if first == "published":
        desk.events.publish("connect")
    desk.deliver(("connect", 1))
    desk.events.publish("connect")
    assert len(heard) == 1


def test_handlers_that_come_too_late_for_a_state_are_told_of_it_once(desk: Desk) -> None:
    desk.events.publish_state("connect", "link")
    desk.events.on("connect", lambda *arguments: desk.heard.append((*arguments, desk.events.current)))
    for _ in range(2):
        desk.events.publish_missed("connect", "link", session=desk.socket)
    assert desk.heard == [("link", desk.socket)]
    assert desk.events.current is None


@pytest.mark.row(37)
def test_a_handler_that_comes_too_late_for_a_state_and_fails_is_told_with_its_event(desk: Desk) -> None:
    desk.events.publish_state("connect")
    desk.events.on("connect", lambda: 1 / 0)
    desk.events.publish_missed("connect", session=desk.socket)
    assert [failure.event for failure in desk.failures] == ["connect"]  # type: ignore[attr-defined]
    assert desk.failed_sockets == [desk.socket]


@pytest.mark.row(38)
def test_a_once_handler_removed_by_another_is_not_called(desk: Desk) -> None:
    once = desk.note("once")
    desk.events.on("connect", lambda: desk.events.off("connect", once))
    desk.events.once("connect", once)
    assert desk.events.publish("connect")
    assert desk.heard == []


@pytest.mark.row(38)
def test_publishing_inside_a_handler(desk: Desk) -> None:
    desk.events.on("destroy", lambda: desk.heard.append("destroy"))

    def connect() -> None:
        desk.heard.append("connect")
        desk.events.publish("destroy")
        desk.heard.append("back")

    desk.events.on("connect", connect)
    desk.events.on("connect", lambda: desk.heard.append("second"))
    desk.events.publish("connect")
    assert desk.heard == ["connect", "destroy", "back", "second"]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["on", "once", "off", "off all", "off everything", "deliver"]),
        st.sampled_from(["a", "b", "*"]),
        st.integers(0, 3),
        st.sampled_from([None, "on", "once", "off", "off everything"]),
    ),
    max_size=14,
)


@pytest.mark.row(38)
@given(OPERATIONS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_sequence_does_what_a_plain_model_does(
    operations: list[tuple[str, str, int, str | None]], typed: bool
) -> None:
    """The compiled table against lists that are walked: the same handlers hear the same messages in the same order."""
    desk = Desk()
    if typed:
        desk.events.on("typed", print, type=int)
    model: list[tuple[str, int, bool, list[bool]]] = []  # name, handler, once, live
    expected: list[tuple[int, str]] = []
    found: list[tuple[int, str]] = []
    inside: list[tuple[str, str, int]] = []

    def change_events(verb: str, name: str, number: int) -> None:
        if verb in ("on", "once"):
            getattr(desk.events, verb)(name, handlers[number])
        elif verb == "off":
            desk.events.off(name, handlers[number])
        else:
            desk.events.off("*" if verb == "off everything" else name, "*")

    def change_model(verb: str, name: str, number: int) -> None:
        if verb in ("on", "once"):
            model.append((name, number, verb == "once", [True]))
            return
        everything = verb == "off everything" or (verb == "off all" and name == "*")
        for entry in tuple(model):
            if everything or (entry[0] == name and (verb == "off all" or entry[1] == number)):
                entry[3][0] = False
                model.remove(entry)

    def handler(number: int) -> Callable[..., None]:
        def hear(*arguments: Any) -> None:
            found.append((number, str(arguments[0])))
            if inside:
                change_events(*inside.pop())

        return hear

    handlers = [handler(number) for number in range(4)]
    model_inside: list[tuple[str, str, int]] = []
    for verb, name, number, nested in operations:
        if verb != "deliver":
            change_events(verb, name, number)
            change_model(verb, name, number)
            continue
        wire = "a" if name == "*" else name
        if nested is not None:
            inside[:] = model_inside[:] = [(nested, name, number)]
        desk.deliver((wire, "payload"))
        for entry in [each for name in ("*", wire) for each in model if each[0] == name]:
            if not entry[3][0]:
                continue
            if entry[2]:
                entry[3][0] = False
                model.remove(entry)
            expected.append((entry[1], wire if entry[0] == "*" else "payload"))
            if model_inside:
                change_model(*model_inside.pop())
        inside.clear()
        model_inside.clear()
    assert found == expected
    assert desk.failures == []


# ---- the lifecycle


@pytest.mark.row(9)
def test_the_wire_cannot_raise_a_lifecycle_event() -> None:
    desk = Desk()
    for name in ("connect", "disconnect", "error", "data", "close"):
        desk.events.on(name, desk.note(name))
        with pytest.raises(ReservedEvent):
            desk.deliver((name, 1))
    assert desk.heard == []


def test_publish_tells_whether_somebody_heard(desk: Desk) -> None:
    assert not desk.events.publish("error", 1)
    desk.events.on("*", desk.note("all"))
    assert not desk.events.publish("error", 1)
    desk.events.on("error", desk.note("error"))
    assert desk.events.publish("error", 1)
    assert desk.heard == [("all", "error", 1), ("all", "error", 1), ("error", 1)]
    desk.events.off("error")
    assert not desk.events.publish("error", 1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_lifecycle_handlers_may_take_fewer_arguments(desk: Desk, count: int) -> None:
    desk.events.on("error", takes(count, desk.heard))
    desk.events.publish("error", 1, 2)
    assert desk.heard == [(1, 2)[:count]]


def test_reserved_names_on_the_wire_where_they_are_allowed() -> None:
    desk = Desk(allow_reserved=True)
    desk.events.on("connect", desk.note("h"))
    assert desk.deliver(("connect", 1)) == [("h", 1, desk.socket)]
    desk.events.publish("connect", 2)
    assert desk.heard[-1] == ("h", 2)
    desk.events.off("connect")
    assert desk.deliver(("connect", 1)) == []
    assert not desk.events.publish("connect")


def test_an_annotation_is_of_what_this_side_raises_where_both_come() -> None:
    desk = Desk(allow_reserved=True)

    def failed(error: IPCError, *rest: Any) -> None:
        desk.heard.append(error)

    desk.events.on("error", failed)
    desk.events.on("disconnect", desk.note("typed"), type=int)
    failure = IPCError("it broke")
    desk.events.publish("error", failure)
    assert desk.heard == [failure]
    assert desk.deliver(("error", {"code": 1})) == [{"code": 1}]
    assert desk.deliver(("disconnect", 7))[-1] == ("typed", 7, desk.socket)
    assert not desk.failures


# ---- failures


class Odd(BaseException):
    pass


FAILURES = [
    ValueError("no"),
    KeyError("a"),
    IPCError("no"),
    RecursionError("no"),
    GeneratorExit(),
    Odd("odd"),
    StopIteration(),
]


@pytest.mark.row(37)
@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize("carries", [1, 2])
@pytest.mark.parametrize("shape", ["single", "among others", "everything", "unheard", "typed", "once"])
def test_a_failing_handler_harms_only_itself(carries: int, shape: str, error: BaseException) -> None:
    desk = Desk(carries)

    def fail(*arguments: Any) -> None:
        raise error

    name = {"everything": "*", "unheard": "*"}.get(shape, "a")
    if shape == "once":
        desk.events.once("a", fail)
    elif shape == "typed":
        desk.events.on("a", fail, type=int)
    else:
        desk.events.on(name, fail)
    if shape == "among others":
        desk.events.on("a", desk.note("good"))
    if shape != "unheard":
        desk.events.on("a", desk.note("good"))
    desk.events.on("b", desk.note("b"))
    heard = desk.deliver(("a", 1), ("b", 2))
    assert heard[-1][0] == "b"
    assert [failure.__cause__ for failure in desk.failures][:1] == [error]
    assert all(isinstance(failure, HandlerError) and failure.event in ("a", "b") for failure in desk.failures)
    assert desk.failed_sockets[0] is desk.socket


@pytest.mark.row(37)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes(desk: Desk, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    desk.events.on("a", fail)
    desk.events.on("connect", fail)
    with pytest.raises(error):
        desk.deliver(("a", 1))
    with pytest.raises(error):
        desk.events.publish("connect")
    assert desk.failures == []
    assert desk.events.current is None


@pytest.mark.row(37)
def test_a_failing_lifecycle_handler(desk: Desk) -> None:
    def fail() -> None:
        raise ValueError("no")

    desk.events.on("*", fail)
    desk.events.on("connect", fail)
    desk.events.on("connect", desk.note("good"))
    assert desk.events.publish("connect", session=desk.socket)
    assert desk.heard == [("good",)]
    assert [failure.event for failure in desk.failures] == ["connect", "connect"]  # type: ignore[attr-defined]
    assert desk.failed_sockets == [desk.socket, desk.socket]


@pytest.mark.row(37)
def test_reports_are_short(desk: Desk) -> None:
    def fail() -> None:
        raise ValueError("x" * 10_000)

    desk.events.on("*", fail)
    desk.deliver(("a" * 200, 1))
    assert len(str(desk.failures[0])) < 400


# ---- async handlers


async def waiting(data: Any) -> None: ...


def test_async_handlers_are_started(desk: Desk) -> None:
    async def handler(data: Any, socket: Any) -> None:
        desk.heard.append((data, socket))

    desk.events.on("a", handler)
    desk.deliver(("a", 5))
    ((coroutine, done),) = desk.spawned
    assert desk.socket.started == 1
    assert desk.socket.done == 0
    with pytest.raises(StopIteration):
        coroutine.send(None)
    done(None)
    assert desk.heard == [(5, desk.socket)]
    assert desk.socket.done == 1
    assert desk.failures == []


def test_so_is_what_a_plain_function_hands_back_to_be_awaited(desk: Desk) -> None:
    desk.events.on("a", lambda data: waiting(data))
    desk.deliver(("a", 5))
    ((coroutine, _),) = desk.spawned
    coroutine.close()
    assert desk.socket.started == 1 and desk.failures == []


@pytest.mark.row(37)
def test_async_handlers_that_fail_are_reported(desk: Desk) -> None:
    desk.events.on("a", waiting)
    desk.deliver(("a", 1), ("a", 2), ("a", 3))
    error = ValueError("no")
    for coroutine, done in desk.spawned:
        coroutine.close()
        done(
            error
            if coroutine is desk.spawned[0][0]
            else KeyboardInterrupt()
            if coroutine is desk.spawned[1][0]
            else None
        )
    assert [failure.__cause__ for failure in desk.failures] == [error]
    assert desk.socket.done == 3


def test_async_lifecycle_handlers_belong_to_no_socket(desk: Desk) -> None:
    async def handler() -> None:
        raise AssertionError

    desk.events.on("start", handler)
    desk.events.publish("start", 1)
    ((coroutine, done),) = desk.spawned
    coroutine.close()
    done(ValueError("no"))
    assert desk.failed_sockets == [None]


@pytest.mark.parametrize("name", ["a", "*", "connect"])
def test_async_handlers_are_refused_where_nothing_runs_them(name: str) -> None:
    with pytest.raises(TypeError, match="this front has no event loop"):
        Desk(coroutines=False).events.on(name, waiting)
    with pytest.raises(TypeError, match="this front has no event loop"):
        Desk(coroutines=False).events.on(name, functools.partial(waiting))


# ---- typed payloads


def test_payloads_are_decoded_to_the_annotation(desk: Desk) -> None:
    def handler(data: Order) -> None:
        desk.heard.append(data)

    desk.events.on("order", handler)
    assert desk.events.wants_raw
    assert desk.deliver(("order", {"price": 1, "items": [2]})) == [Order(1.0, [2])]


def test_payloads_are_decoded_to_type(desk: Desk) -> None:
    desk.events.on("n", lambda data: desk.heard.append(data), type=set[int])
    desk.events.once("n", lambda data: desk.heard.append(data), type=tuple[int, ...])
    assert desk.deliver(("n", [1, 2])) == [{1, 2}, (1, 2)]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@attrs.define
class Size:
    width: int
    height: int = 0


class Options(TypedDict):
    depth: int


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


@pytest.mark.parametrize(
    ("type", "payload", "decoded", "misfit", "path"),
    [
        (Order, {"price": 1, "items": [2]}, Order(1.0, [2]), {"price": 1, "items": ["x"]}, "$.items[0]"),
        (Point, {"x": 1}, Point(1), {"x": "one"}, "$.x"),
        (Size, {"width": 1}, Size(1), {"width": None}, "$.width"),
        (Options, {"depth": 1}, {"depth": 1}, {}, "$"),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}, {"a": [1, "2"]}, "$[...][1]"),
        (int, 1, 1, 1.5, "$"),
        (datetime.date, "2026-01-31", datetime.date(2026, 1, 31), "2026-02-31", "$"),
        (Literal["on", "off"], "on", "on", "perhaps", "$"),
        (int | str | None, None, None, [], "$"),
        (Circle | Square, {"type": "square", "side": 2}, Square(2.0), {"type": "line"}, "$.type"),
    ],
)
@pytest.mark.parametrize("how", ["annotation", "type=", "Event"])
def test_kinds_of_types(how: str, type: Any, payload: Any, decoded: Any, misfit: Any, path: str) -> None:
    desk = Desk()

    def handler(data: Any, socket: Any) -> None:
        desk.heard.append(data)

    if how == "annotation":
        handler.__annotations__["data"] = type
        desk.events.on("kind", handler)
    elif how == "type=":
        desk.events.on("kind", handler, type=type)
    else:
        desk.events.on(Event("kind", type), handler)
    assert desk.deliver(("kind", payload), ("kind", misfit)) == [decoded]
    (failure,) = desk.failures
    assert isinstance(failure, InvalidPayload)
    assert (failure.event, failure.path) == ("kind", path)
    assert desk.failed_sockets == [desk.socket]


def test_an_event_object_brings_its_type(desk: Desk) -> None:
    order = Event("order", Order)
    desk.events.on(order, lambda data: desk.heard.append(data))
    assert desk.deliver(("order", {"price": 2})) == [Order(2.0)]
    desk.events.off(order)
    desk.events.on(order, lambda data: desk.heard.append(data), type=dict[str, int])
    assert desk.deliver(("order", {"price": 2})) == [{"price": 2}]


def test_untyped_handlers_beside_typed_ones_hear_plain_payloads(desk: Desk) -> None:
    desk.events.on("before", lambda data: desk.heard.append(data))
    desk.events.on("both", lambda data: desk.heard.append(data))
    desk.events.on("both", lambda data: desk.heard.append(data), type=Order)
    desk.events.on("*", lambda type, data: desk.heard.append((type, data)))
    assert desk.deliver(("before", {"price": 1}), ("both", {"price": 1}), ("none", [1])) == [
        ("before", {"price": 1}),
        {"price": 1},
        ("both", {"price": 1}),
        {"price": 1},
        Order(1.0),
        ("none", [1]),
    ]
    assert desk.deliver(("before", [1]))[-1] == [1]


def test_types_may_come_in_the_middle_of_a_block(desk: Desk) -> None:
    """The rest of the block is decoded anew, so that typed and plain handlers get what they are to get."""
    ends = pair()
    heard = desk.heard

    def go() -> None:
        ends.server.on("order", lambda data: heard.append(data), type=Order)
        ends.server.on("bytes", lambda data: heard.append(bytes(data)), type=Raw)

    ends.server.on("plain", lambda data: heard.append(data))
    ends.server.on("go", go)
    for event, data in (("plain", 0), ("go", 0), ("order", {"price": 1}), ("bytes", [1]), ("plain", 1), ("plain", [2])):
        ends.client.emit(event, data)
    ends.driver.run_until_idle()
    assert heard == [0, Order(1.0), b"[1]", 1, [2]]
    assert ends.server.stats().messages_in == 6


def test_raw_payloads_stay_undecoded(desk: Desk) -> None:
    def handler(data: Raw) -> None:
        desk.heard.append(bytes(data))

    desk.events.on("a", handler)
    assert desk.deliver(("a", Raw(b'{"a": 1 }'))) == [b'{"a": 1 }']
    desk.events.deliver([Envelope("a", {"b": [1]})], desk.socket)
    assert desk.heard[-1] == b'{"b":[1]}'


@pytest.mark.parametrize(
    ("payload", "path", "words"),
    [
        ({"price": "x"}, "$.price", "Expected `float`, got `str`"),
        ({"price": 1, "items": [1, None]}, "$.items[1]", "Expected `int`, got `null`"),
        ({}, "$", "missing required field `price`"),
        ([], "$", "Expected `object`, got `array`"),
        (Raw(b'{"price":"\\ud800"}'), "$", "surrogates not allowed"),
    ],
)
def test_payloads_that_do_not_fit_are_one_error(desk: Desk, payload: Any, path: str, words: str) -> None:
    desk.events.on("order", desk.note("h"), type=Order)
    desk.events.on("b", desk.note("b"), type=int)
    assert desk.deliver(("order", payload), ("b", 1)) == [("b", 1, desk.socket)]
    (failure,) = desk.failures
    assert isinstance(failure, InvalidPayload)
    assert (failure.event, failure.path) == ("order", path)
    assert words in str(failure)


def test_payloads_decoded_already_that_do_not_fit(desk: Desk) -> None:
    desk.events.on("order", desk.note("h"), type=Order)
    desk.events.deliver([Envelope("order", {"price": "x"})], desk.socket)
    (failure,) = desk.failures
    assert isinstance(failure, InvalidPayload)
    assert (failure.event, failure.path) == ("order", "$.price")


@pytest.mark.parametrize("raw", [b"1e400", b'["\\ud800",1e400]', b"[" * 100_000 + b"]" * 100_000])
@pytest.mark.parametrize("name", ["*", "a", "b"])
def test_payloads_that_cannot_be_held_are_one_error(name: str, raw: bytes) -> None:
    desk = Desk()
    desk.events.on("typed", print, type=int)
    desk.events.on(name, desk.note("h"))
    desk.deliver(("a", Raw(raw)))
    if name == "b":
        assert desk.failures == []
    else:
        (failure,) = desk.failures
        assert isinstance(failure, InvalidPayload)
        assert failure.event == "a"
    assert desk.heard == []


def test_lone_surrogates_reach_typed_and_plain_handlers(desk: Desk) -> None:
    desk.events.on("a", lambda data: desk.heard.append(data), type=list[str])
    desk.events.on("a", lambda data: desk.heard.append(data))
    assert desk.deliver(("a", Raw(b'["\\ud800"]'))) == [["\ud800"], ["\ud800"]]


class Cat(msgspec.Struct, tag="cat", array_like=True):
    name: str
    rest: Raw


class Crow(msgspec.Struct, tag="crow", array_like=True):
    age: int


class Fish(msgspec.Struct, tag="fish"):
    rest: int


class Dog(msgspec.Struct, tag="dog"):
    name: str
    rest: Raw = Raw(b"0")


class Deep(msgspec.Struct, array_like=True):
    within: Deep | str


class Spot(NamedTuple):
    x: str
    y: Raw


BITTEN = Raw(b'"\\udce9"')


@pytest.mark.parametrize(
    ("type", "json", "value"),
    [
        (Dog, b'{"type":"dog","name":"\\udce9","rest":"\\udce9"}', Dog("\udce9", BITTEN)),
        (Crow | Cat, b'["cat","\\udce9","\\udce9"]', Cat("\udce9", BITTEN)),
        (list[Fish | Dog], b'[{"type":"dog","name":"\\udce9","rest":7}]', [Dog("\udce9", Raw(b"7"))]),
        (tuple[str, Raw], b'["\\udce9",[1]]', ("\udce9", Raw(b"[1]"))),
        (tuple[Raw, ...], b'["\\udce9",[1]]', (BITTEN, Raw(b"[1]"))),
        (dict[int, Raw], b'{"5":"\\udce9"}', {5: BITTEN}),
        (dict[str, Dog] | list[Cat] | None, b'{"a":{"type":"dog","name":"\\udce9"}}', {"a": Dog("\udce9")}),
        (Spot, b'["\\udce9","\\udce9"]', Spot("\udce9", BITTEN)),
        (Raw, b'"\\udce9"', BITTEN),
        (tuple[str, bytes], b'["\\udce9","aGk="]', ("\udce9", b"hi")),
        (tuple[str, set[bytes]], b'["\\udce9",["aGk="]]', ("\udce9", {b"hi"})),
        (frozenset[str] | None, b'["\\udce9"]', frozenset({"\udce9"})),
    ],
)
def test_lone_surrogates_beside_parts_that_stay_in_bytes(type: Any, json: bytes, value: Any) -> None:
    assert typed_decoder(type, "a")(Raw(json)) == value
    assert typed_decoder(type, "a")(loads(json)) == value


def test_lone_surrogates_beside_what_a_hook_makes() -> None:
    class Path:
        def __init__(self, text: str) -> None:
            self.text = text

    made = typed_decoder(list[Path], "a", lambda type, value: type(value))(Raw(b'["\\udce9"]'))
    assert [each.text for each in made] == ["\udce9"]


def test_a_lone_surrogate_deep_down_is_an_error_of_the_payload() -> None:
    with pytest.raises(InvalidPayload):
        typed_decoder(Deep, "a")(Raw(b"[" * 50_000 + b'"\\udce9"' + b"]" * 50_000))


def test_an_error_of_a_payload_keeps_its_event(desk: Desk) -> None:
    def handler() -> None:
        raise InvalidPayload("mine", event="other")

    def nameless() -> None:
        raise InvalidPayload("mine")

    desk.events.on("a", handler)
    desk.events.on("a", nameless)
    desk.deliver(("a", 1))
    assert [failure.event for failure in desk.failures] == ["other", "a"]  # type: ignore[attr-defined]


def test_a_type_is_no_handler_and_is_named(desk: Desk) -> None:
    with pytest.raises(TypeError, match=r"and Order is the type of a payload: on\('a', handler, type=Order\)"):
        desk.events.on("a", Order)


def test_types_that_cannot_be_decoded_are_refused_at_once(desk: Desk) -> None:
    with pytest.raises(TypeError, match="payloads of 'a' cannot be decoded"):
        desk.events.on("a", print, type=5)


def test_typed_decoder() -> None:
    assert typed_decoder(None, "a")(Raw(b"[1]")) == [1]
    assert typed_decoder(None, "a")([1]) == [1]
    assert typed_decoder(int, "a")(Raw(b"5")) == 5
    assert bytes(typed_decoder(Raw, "a")([1])) == b"[1]"
    assert bytes(typed_decoder(Raw, "a")(["\ud800"])) == b'["\\ud800"]'
    with pytest.raises(InvalidPayload):
        typed_decoder(int, "a")("x")


def test_event_objects() -> None:
    assert Event("a", int) == Event("a", int)
    assert Event("a", int) != Event("a", str)
    assert Event("a", int) != "a"
    assert len({Event("a", int), Event("a", int), Event("a", str)}) == 2
    assert repr(Event("a", int)) == "Event('a', int)"
    assert repr(Event("a", list[int])) == "Event('a', list[int])"
    assert repr(Event("a", Literal["buy", "sell"])) == "Event('a', typing.Literal['buy', 'sell'])"
    assert repr(Event("a", Annotated[int, 1])) == "Event('a', typing.Annotated[int, 1])"
    assert repr(Event("a", int | None)) == "Event('a', int | None)"
    assert repr(Event("a", None)) == "Event('a', NoneType)"


@pytest.mark.parametrize(
    ("type", "fits", "misfits"),
    [
        (Literal["buy", "sell"], '"buy"', '"give"'),
        (int | None, "null", '"5"'),
        (int | str, '"5"', "[]"),
        (Annotated[int, msgspec.Meta(ge=0)], "0", "-1"),
        (None, "null", "0"),
        (list[int | None], "[1,null]", '["a"]'),
    ],
    ids=repr,
)
def test_an_event_of_any_type_that_an_annotation_may_have(desk: Desk, type: Any, fits: str, misfits: str) -> None:
    heard: list[Any] = []
    desk.events.on(Event("a", type), heard.append)
    desk.deliver(("a", Raw(misfits.encode())), ("a", Raw(fits.encode())))
    assert heard == [msgspec.json.decode(fits)]
    assert [error.__class__ for error in desk.failures] == [InvalidPayload]


def test_describe() -> None:
    assert describe(print) == "print"
    assert describe(functools.partial(print)).startswith("functools.partial")
    assert Registration(print, True, print).once


# ---- taps


def test_taps_hear_everything_first_until_they_are_taken_off(desk: Desk) -> None:
    desk.events.on("a", desk.note("h"))
    desk.events.on("*", desk.note("all"))
    untap = desk.events.tap(desk.note("tap"))
    assert [name for name, *_ in desk.deliver(("a", 1), ("b", 2))] == ["tap", "all", "h", "tap", "all"]
    untap()
    untap()
    assert [name for name, *_ in desk.deliver(("a", 1), ("b", 2))] == ["all", "h", "all"]
    desk.events.off("*")
    desk.events.tap(desk.note("tap"))
    assert desk.deliver(("b", 2)) == [("tap", "b", 2, desk.socket)]
    desk.events.on("a", desk.note("h"))
    assert desk.deliver(("a", 1)) == [("tap", "a", 1, desk.socket), ("h", 1, desk.socket)]


@pytest.mark.row(37)
def test_a_tap_that_fails_takes_nothing_from_the_handlers(desk: Desk) -> None:
    desk.events.tap(lambda *_: 1 / 0)
    desk.events.on("a", desk.note("h"))
    assert desk.deliver(("a", 1)) == [("h", 1, desk.socket)]


# ---- shortcuts and heartbeats


def test_a_shortcut_lasts_until_handlers_change(desk: Desk) -> None:
    desk.events.shortcut("a", lambda data, *rest: desk.heard.append(("short", data)))
    assert desk.deliver(("a", 1)) == [("short", 1)]
    assert not desk.events.has_handler("a")
    desk.events.on("a", desk.note("h"))
    assert desk.events.has_handler("a")
    assert desk.deliver(("a", 1)) == [("h", 1, desk.socket)]
    desk.events.shortcut("a", lambda *data: desk.heard.append("short"))
    assert desk.deliver(("a", 1)) == [("h", 1, desk.socket)]
    desk.events.on("*", desk.note("all"))
    desk.events.shortcut("b", lambda *data: desk.heard.append("short"))
    assert desk.deliver(("b", 1)) == [("all", "b", 1, desk.socket)]
    with pytest.raises(ReservedEvent):
        Desk().events.shortcut("connect", print)


def test_of_many_shortcuts_the_oldest_go(desk: Desk) -> None:
    for number in range(SHORTCUTS + 1):
        desk.events.shortcut(f"n{number}", lambda data, *rest: desk.heard.append(data))
    assert desk.deliver(("n0", 0), ("n1", 1), (f"n{SHORTCUTS}", 2)) == [1, 2]


def test_heartbeats_reach_no_handler(desk: Desk) -> None:
    beats: list[bool] = []
    desk.socket.beat = lambda asked, data: beats.append(asked)
    desk.events.answer_heartbeats()
    desk.events.on("*", desk.note("all"))
    untap = desk.events.tap(desk.note("tap"))
    assert desk.deliver(("ipc.ping", {}), ("ipc.pong", {})) == []
    assert beats == [True, False]
    untap()
    desk.events.on("ipc.ping", desk.note("mine"))
    assert [name for name, *_ in desk.deliver(("ipc.ping", {}))] == ["all", "mine"]
    desk.events.off("ipc.ping")
    assert desk.deliver(("ipc.ping", {})) == []
    assert beats == [True, False, True]


@pytest.mark.parametrize("raw", [b"1e400", b"[" * 100_000 + b"]" * 100_000])
def test_unheard_payloads_that_cannot_be_held_are_one_error(raw: bytes) -> None:
    desk = Desk()
    desk.events.tap(desk.note("tap"))
    desk.events.on("typed", print, type=int)
    desk.deliver(("a", Raw(raw)))
    assert [type(failure) for failure in desk.failures] == [InvalidPayload]


# ---- with everything around


@pytest.mark.row(37)
def test_a_thousand_failing_handlers_among_a_thousand_good_ones() -> None:
    client, server, _, driver = everything = pair()
    good: list[Any] = []
    reports: list[IPCError] = []
    kinds = [ValueError, GeneratorExit, Odd, InvalidPayload, KeyError]

    def failing(number: int) -> Callable[..., Any]:
        def fail(data: Any) -> None:
            raise kinds[number % len(kinds)]("no")

        async def fail_later(data: Any) -> None:
            await driver.sleep(0.1)
            raise kinds[number % len(kinds)]("no")

        return fail_later if number % 4 == 3 else fail

    def succeeding(number: int) -> Callable[..., Any]:
        async def later(data: Any) -> None:
            await driver.sleep(0.1)
            good.append(number)

        return later if number % 4 == 3 else lambda data: good.append(number)

    for number in range(1000):
        server.on("a", failing(number))
        server.on("a", succeeding(number))

    def error(error: IPCError) -> None:
        reports.append(error)
        raise ValueError("the error handler fails as well")

    server.on("error", error)
    client.emit("a", 1)
    driver.advance(1)
    assert sorted(good) == list(range(1000))
    assert len(reports) == len(driver.failures) == 1000
    assert still_connected(everything)


def still_connected(everything: Pair) -> bool:
    """Whether a message still gets through."""
    heard: list[Any] = []
    everything.server.on("ping", lambda data, socket: socket.emit("pong", data))
    everything.client.on("pong", heard.append)
    everything.client.emit("ping", "x")
    everything.driver.run_until_idle()
    return heard == ["x"]


def mistaking(raises: frozenset[str], from_peers: frozenset[str] = frozenset()) -> tuple[Events[Any], list[Any]]:
    told: list[Any] = []
    events: Events[Any] = Events(1, any_name, lambda socket, error: None, None, raises, from_peers)
    events.mistakes.mistaken = lambda name, meant: told.append((name, meant))
    events.mistakes.doubt = lambda tell: tell()
    return events, told


@pytest.mark.parametrize(
    ("raises", "name", "meant"),
    [
        *((CLIENT_RAISES, "conect", "connect"), (CLIENT_RAISES, "connected", "connect")),
        *((SERVER_RAISES, "connection", "connect"), (SERVER_RAISES, "disconect", "close")),
        *((SERVER_RAISES, "disconnect", "close"), (SERVER_RAISES, "destroy", "close")),
        *((SERVER_RAISES, "listening", "start"), (SERVER_RAISES, "eror", "error")),
        *((CLIENT_RAISES, "start", "connect"), (CLIENT_RAISES, "socket.disconnected", "disconnect")),
        *((DATAGRAM_RAISES, "disconnect", None), (DATAGRAM_RAISES, "conect", "connect")),
        (CLIENT_RAISES, "data", None),
        *((CLIENT_RAISES, "connect_error", "error"), (CLIENT_RAISES, "reconnect", "connect")),
        *((CLIENT_RAISES, "reconnect_attempt", "error"), (DATAGRAM_RAISES, "connect_error", "error")),
        *((SERVER_RAISES, "client_connected", "connect"), (SERVER_RAISES, "client_disconnected", "close")),
    ],
)
def test_a_name_under_which_nothing_happens_here_is_told_once(
    raises: frozenset[str], name: str, meant: str | None
) -> None:
    events, told = mistaking(raises)
    for _ in range(2):
        events.on(name, print_nothing)
    for event in sorted(raises):  # a usual word is told where what may be meant happens
        events.publish(event)
    assert told == [(name, meant)]


@pytest.mark.parametrize("name", ["message", "errors", "stat", "connect", "bus.up", "*"])
def test_other_names_are_not(name: str) -> None:
    events, told = mistaking(CLIENT_RAISES)
    events.on(name, print_nothing)
    assert told == []


@pytest.mark.parametrize("name", ["open", "ready", "end", "closed", "client_connected", "client_disconnected"])
def test_words_that_peers_may_emit_now_and_then_are_left_alone(name: str) -> None:
    events, told = mistaking(CLIENT_RAISES)
    events.on(name, print_nothing)
    for event in sorted(CLIENT_RAISES):
        events.publish(event)
    assert told == []


def test_who_hears_both_or_a_type_of_a_peer_s_is_told_nothing() -> None:
    events, told = mistaking(CLIENT_RAISES)
    events.on("connect", print_nothing)
    events.on("connected", print_nothing)
    events.on("disconnected", print_nothing, type=int)
    events.on(Event("eror", str), print_nothing)
    assert told == []
    events.off("connect", print_nothing)
    events.on("connection", print_nothing)
    assert told == []
    events.publish("connect")
    assert told == [("connection", "connect")]


def test_a_usual_word_that_peers_emit_is_no_mistake() -> None:
    events, told = mistaking(CLIENT_RAISES)
    events.on("connection", print_nothing)
    events.deliver(iter([Envelope("connection", 1)]), Socket())
    events.publish("connect")
    assert told == []


@pytest.mark.parametrize(
    ("name", "handler", "tells"),
    [
        *(("connected", lambda data: None, False), ("connected", lambda data=None: None, False)),
        *(("connected", lambda: None, True), ("disconnected", lambda: None, True)),
        *(("disconnected", lambda name: None, False), ("disconnected", lambda loss: None, True)),
        *(("disconnected", lambda error: None, True), ("connect_error", lambda data: None, False)),
        *(("connect_error", lambda error: None, True), ("reconnect", lambda: None, True)),
    ],
)
def test_a_handler_that_takes_a_payload_is_of_a_peer_s_event(name: str, handler: Any, tells: bool) -> None:
    events, told = mistaking(CLIENT_RAISES)
    events.on(name, handler)
    events.publish("connect")
    events.publish("disconnect", None)
    events.publish("error", None)
    assert [name for name, _ in told] == [name] * tells


def test_a_name_of_the_lifecycle_that_peers_may_emit_is_theirs() -> None:
    events, told = mistaking(SERVER_RAISES, LIFECYCLE)
    events.on("disconnect", print_nothing)
    assert told == []


def test_an_event_that_a_request_could_ask_for_is_told_once_and_only_where_nobody_hears_it() -> None:
    desk, told = suspecting("message")
    methods: list[str] = []
    desk.events.mistakes.methods = {"add", "message"}
    desk.events.mistakes.emitted_method = methods.append
    desk.deliver(("add", 1), ("add", 2), ("message", 3), ("mesage", 4))
    assert (methods, told) == (["add"], [("mesage", "message")])
    desk.events.on("*", print_nothing)
    desk.events.mistakes.methods = {"other"}
    desk.deliver(("other", 1))
    assert methods == ["add"]
