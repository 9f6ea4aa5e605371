"""Names of events: which pass in which profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_ipc import Config
from node_ipc.errors import EventNotAllowed, EventTooLarge, InvalidEvent, ReservedEvent
from node_ipc.wire.names import (
    LIFECYCLE,
    UNSAFE,
    any_name,
    assured_name,
    guarded_name,
    is_another_word,
    lifecycle_from_peers,
    meant_of_lifecycle,
)

ORDINARY = ["a", "message", "app.message", " ", "😀", "__class__", "__init__", "rpc.request", "*", "Connect", "é" * 256]


@pytest.mark.parametrize("name", [*ORDINARY, "", "x" * 10_000, *sorted(LIFECYCLE), *sorted(UNSAFE), "\ud800"])
def test_any_text_passes_in_the_fast_profile(name: str) -> None:
    assert passes(any_name, name)


def passes(check: Callable[[Any], None], name: Any) -> bool:
    try:
        check(name)
    except InvalidEvent:
        return False
    return True


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"], {"a": 1}, True])
def test_only_text_passes(name: Any) -> None:
    for check in (any_name, guarded_name(256, True), assured_name(256, frozenset())):
        with pytest.raises(InvalidEvent, match="must be text"):
            check(name)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_pass(name: str) -> None:
    assert passes(guarded_name(256, False), name)
    assert passes(assured_name(256, frozenset(ORDINARY)), name)


def test_characters_are_counted_exactly() -> None:
    guarded_name(5, False)("é" * 5)
    with pytest.raises(EventTooLarge, match=r"6 characters .* limit of 5.*max_event_name_length"):
        guarded_name(5, False)("é" * 6)


@pytest.mark.row(9)
@pytest.mark.parametrize("name", sorted(LIFECYCLE))
def test_lifecycle_names_are_reserved(name: str) -> None:
    with pytest.raises(ReservedEvent, match="allow_reserved_events"):
        guarded_name(256, False)(name)
    guarded_name(256, True)(name)
    with pytest.raises(ReservedEvent):
        assured_name(256, frozenset({name}))(name)


@pytest.mark.row(9)
@pytest.mark.parametrize("name", sorted(UNSAFE))
def test_names_of_javascript_objects_are_unsafe(name: str) -> None:
    for check in (guarded_name(256, True), assured_name(256, frozenset({name}))):
        with pytest.raises(InvalidEvent, match="unsafe"):
            check(name)


def test_empty_names() -> None:
    with pytest.raises(InvalidEvent, match="must not be empty"):
        guarded_name(256, True)("")


def test_the_assured_profile_lets_listed_names_pass_only() -> None:
    check = assured_name(256, frozenset({"a", "b"}))
    check("a")
    with pytest.raises(EventNotAllowed, match="'c' is not in allowed_events"):
        check("c")
    with pytest.raises(EventNotAllowed) as caught:
        check("y" * 200)
    assert len(str(caught.value)) < 150


@pytest.mark.row(52)
def test_which_names_of_the_lifecycle_are_heard_from_peers() -> None:
    raises = frozenset({"connect", "disconnect"})
    assert raises < LIFECYCLE
    profiles = ("raw", "fast", "guarded", "assured")
    heard = {each: lifecycle_from_peers(Config(parser=each), raises) for each in profiles}
    assert heard == {each: LIFECYCLE - raises if each == "fast" else frozenset() for each in profiles}
    assert lifecycle_from_peers(Config(allow_reserved_events=True), raises) == LIFECYCLE
    assert lifecycle_from_peers(Config(allow_reserved_events=True, raw_buffer=True), raises) == frozenset()


@pytest.mark.row(52)
def test_what_is_meant_is_among_what_the_endpoint_raises() -> None:
    assert meant_of_lifecycle("nothing like it", frozenset({"connect"})) is None
    assert meant_of_lifecycle("connected", frozenset({"connect"})) == "connect"
    assert meant_of_lifecycle("connected", frozenset()) is None
    assert meant_of_lifecycle("client_disconnected", frozenset({"close", "connect"})) == "close"
    assert (
        meant_of_lifecycle("client_disconnected", frozenset({"disconnect"})) is None
    )  # a client may be told of others
    assert is_another_word("connected") and is_another_word("client_connected") and not is_another_word("conect")
