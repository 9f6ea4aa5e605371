"""The inbox of the blocking front, in memory: order, names, types, and what happens when it is full."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.core.blocking_inbox import DECODERS, OVERHEAD, BlockingInbox
from node_ipc.core.inbox import Received
from node_ipc.errors import InvalidPayload
from node_ipc.testing import Pair, pair


def filled(*events: tuple[str, Any], **options: Any) -> tuple[BlockingInbox, Pair]:
    """The inbox of a client that heard these events."""
    ends = pair(**options)
    inbox = BlockingInbox(ends.client)  # type: ignore[arg-type]  # a blocking client is one on another driver
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


def test_payloads_are_decoded_to_the_type_that_is_asked_for() -> None:
    inbox, _ = filled(("a", [1, 2]), ("a", "text"))
    assert inbox.take("a", tuple[int, int]) == Received("a", (1, 2))
    with pytest.raises(InvalidPayload, match="'a'"):
        inbox.take("a", int)
    assert len(inbox) == 0, "it is taken all the same"


def test_decoders_are_kept_for_a_bounded_number_of_names() -> None:
    inbox, ends = filled()
    for number in range(DECODERS + 2):
        say(ends, (f"event{number}", number))
        assert inbox.take(None, int) == Received(f"event{number}", number)
    assert len(inbox._decoders) == 2


def test_raw_mode_keeps_chunks_as_data() -> None:
    ends = pair(raw_buffer=True)
    inbox = BlockingInbox(ends.client)  # type: ignore[arg-type]
    ends.socket.emit(b"\x00\xff")
    ends.driver.run_until_idle()
    assert everything(inbox) == [("data", b"\x00\xff")]
