"""Numbers: what is missing, what comes twice, what was never for this node."""

from __future__ import annotations

import random

import pytest

from node_ipc.cluster.messages import Mark
from node_ipc.cluster.streams import IDLE_BEATS, Heard, Sent


def marks(sent: Sent, count: int, room: str = "a", beat: int = 1) -> list[Mark]:
    return [sent.next([room], beat)[0] for _ in range(count)]


def test_each_room_has_a_stream_of_its_own() -> None:
    sent = Sent()
    assert sent.next(["a", "b"], 1) == [("a", 1, 1, 1, 1), ("b", 1, 1, 1, 1)]
    assert sent.next(["b"], 1) == [("b", 1, 2, 1, 1)]
    assert sent.next(["c"], 1) == [("c", 3, 1, 3, 1)]
    assert sent.number == 3 and sent.mark("b") == ("b", 1, 2, 1, 1) and sent.mark("d") is None


def test_after_two_quiet_heartbeats_the_activity_is_a_new_one() -> None:
    sent = Sent()
    sent.next(["a"], 1)
    assert sent.next(["a"], 1 + IDLE_BEATS)[0] == ("a", 1, 2, 1, 1)
    assert sent.next(["a"], 2 + 2 * IDLE_BEATS)[0] == ("a", 1, 3, 3, 3)


def test_what_is_taken_back_was_never_sent() -> None:
    sent = Sent()
    first = sent.next(["a", "b"], 1)
    sent.take_back(first)
    assert sent.mark("a") is None and sent.number == 0
    sent.next(["a"], 1)
    sent.take_back(sent.next(["a"], 1))
    assert sent.next(["a"], 1) == [("a", 1, 2, 1, 1)]


def test_a_sender_remembers_so_many_rooms_and_a_forgotten_one_begins_a_new_stream() -> None:
    sent = Sent(limit=2)
    for room in ("a", "b", "a", "c"):
        sent.next([room], 1)
    assert sent.mark("b") is None
    heard = Heard()
    heard.sound(1.0, 0)
    assert heard.message(("b", 2, 1, 2, 1), 0.5) == 0
    assert heard.message(sent.next(["b"], 1)[0], 0.5) == 0  # a later stream: not the same number twice


@pytest.mark.parametrize("missing", [(), (1,), (1, 2), (4, 7), (9,), (0,), (0, 1, 9)])
def test_missing_ones_are_counted_when_the_next_comes_or_is_told_of(missing: tuple[int, ...]) -> None:
    sent, heard = Sent(), Heard()
    heard.sound(1.0, 0)
    all = marks(sent, 10)
    count = sum(heard.message(mark, 0.5) or 0 for number, mark in enumerate(all) if number not in missing)
    last = sent.mark("a")
    assert last is not None
    assert count + heard.told(last, 0.5) == len(missing)
    assert heard.told(last, 0.5) == 0


def test_the_same_number_twice_is_a_duplicate_and_so_is_an_older_one() -> None:
    sent, heard = Sent(), Heard()
    one, two = marks(sent, 2)
    assert heard.message(two, None) == 0
    assert heard.message(two, None) is None and heard.message(one, None) is None


def test_what_began_before_this_node_was_there_is_not_missing() -> None:
    sent, heard = Sent(), Heard()
    marks(sent, 5)
    heard.sound(1.0, sent.number)
    [six] = marks(sent, 1)
    assert heard.message(six, 0.5) == 0
    fresh = Heard()
    assert fresh.message(six, 0.5) == 0  # its heartbeat was never heard
    unconfirmed = Heard()
    unconfirmed.sound(1.0, 0)
    assert unconfirmed.message(six, None) == 0
    late = Heard()
    late.sound(1.0, 0)
    assert late.message(six, 2.0) == 0  # subscribed after all that was heard of it


@pytest.mark.parametrize("seed", range(50))
def test_whatever_is_lost_heard_and_told_add_up(seed: int) -> None:
    chance = random.Random(seed)
    sent, heard = Sent(), Heard()
    heard.sound(1.0, 0)
    rooms = ("a", "b", "")
    came = told = due = beat = 0
    for _ in range(300):
        room = chance.choice(rooms)
        beat += chance.random() < 0.05
        mark = sent.next([room], beat)[0]
        due += 1
        if chance.random() < 0.8:
            for _ in range(1 + (chance.random() < 0.1)):
                missing = heard.message(mark, 0.5)
                if missing is not None:
                    came, told = came + 1, told + missing
        if chance.random() < 0.02:
            heard.sound(2.0 + beat, sent.number)
    for room in rooms:
        last = sent.mark(room)
        told += heard.told(last, 0.5) if last is not None else 0
    assert came + told == due
