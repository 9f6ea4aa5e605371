"""What is counted for those who look at an endpoint live: right enough, and bounded."""

from __future__ import annotations

import random

import pytest

from node_ipc.core.tally import (
    BUDGET,
    KEPT_MESSAGES,
    MOST_NAMES,
    OTHERS,
    READ_BYTES,
    Durations,
    Name,
    Tally,
    _ratio,
    shown,
)
from node_ipc.core.trace import Trace


@pytest.mark.parametrize("seconds", [1e-6, 3e-6, 0.0001, 0.0023, 0.7, 1.0, 59.0, 3600.0])
def test_a_duration_is_told_within_a_third(seconds: float) -> None:
    durations = Durations()
    durations.add(seconds)
    for share in (0.01, 0.5, 0.99, 1.0):
        found = durations.quantile(share)
        assert found is not None and abs(found - seconds) <= seconds / 3


def test_quantiles_of_many() -> None:
    durations, chance = Durations(), random.Random(7)
    values = [chance.lognormvariate(-6, 1.5) for _ in range(5000)]
    for value in values:
        durations.add(value)
    values.sort()
    for share in (0.5, 0.9, 0.99):
        found, right = durations.quantile(share), values[int(share * len(values))]
        assert found is not None and abs(found - right) < right / 2
    assert durations.slowest == values[-1] and durations.total == pytest.approx(sum(values))


def test_durations_that_are_past_fade() -> None:
    durations = Durations()
    assert durations.quantile(0.5) is None
    durations.add(1.0)
    for _ in range(20):
        durations.fade()
    durations.add(0.001)
    found = durations.quantile(0.5)
    assert found is not None and found < 0.002 and durations.slowest < 0.2
    for _ in range(100):
        durations.fade()
    assert durations.quantile(0.5) is None


@pytest.mark.row(61)
def test_names_without_end_are_counted_together() -> None:
    tally = Tally(lambda: 0.0)
    for number in range(3 * MOST_NAMES):
        tally.came(f"made up {number}", 10, None, 1)
        tally.went("x" * 5000 + str(number), 1, None)
    assert len(tally.events) <= MOST_NAMES + 1
    assert sum(name.came for name in tally.events.values()) == 3 * MOST_NAMES
    assert tally.events[OTHERS].came > 0
    assert max(len(name) for name in tally.look()["events"]) <= 200


def test_messages_are_kept_while_somebody_wants_them_and_not_without_end() -> None:
    tally = Tally(lambda: 1.5)
    tally.came("before", 1, 1, 1)
    tally.keeps = True
    for number in range(KEPT_MESSAGES + 50):
        tally.came("order", 8, {"n": number}, 3)
    taken = tally.take_messages()
    assert len(taken["messages"]) == KEPT_MESSAGES and taken["skipped"] == 50
    first = {"number": 1, "time": 1.5, "direction": "in", "event": "order", "bytes": 8, "link": 3, "data": '{"n":0}'}
    assert taken["messages"][0] == first
    assert [each["number"] for each in taken["messages"]] == list(range(1, KEPT_MESSAGES + 1))
    assert tally.take_messages() == {"messages": [], "skipped": 0}
    tally.went("order", 8, None, 3)
    assert tally.take_messages()["messages"][0]["number"] == KEPT_MESSAGES + 51  # those skipped have theirs, too


def test_what_was_emitted_is_kept_with_its_payload_and_failures_are_counted() -> None:
    tally = Tally(lambda: 1.5)
    tally.keeps = True
    tally.emitting("order", {"n": 7}, {})(9, None)
    assert [each["data"] for each in tally.take_messages()["messages"]] == ['{"n":7}']
    handled = tally.events["order"]
    handled.running = 3
    for error in (ValueError("one"), None, ValueError("two")):
        handled.ended(0.1, error)
    assert (handled.handled, handled.failed, handled.running) == (3, 2, 0)


def test_each_look_tells_of_what_was_lately_and_nearly_all_are_not_the_slowest() -> None:
    tally = Tally(lambda: 0.0)
    tally.came("order", 1, None, 1)
    durations = tally.events["order"].durations
    for _ in range(1000):
        durations.add(0.001)
    durations.add(60.0)
    first = tally.look()["events"]["order"]
    assert first["p99"] < 0.002 and first["slowest"] == 60.0
    for _ in range(40):
        tally.look()
    assert tally.look()["events"]["order"]["slowest"] < 1


def test_the_last_message_of_the_budget_is_counted_as_the_others() -> None:
    tally = Tally(lambda: 0.0)
    tally.keeps = True
    for _ in range(BUDGET - 1):
        tally.came("n" * 300, 1, None, 1)
    assert not tally.is_spent
    tally.came("n", 1, None, 1)
    assert tally.is_spent
    assert tally.take_messages()["messages"][0]["event"] == "n" * 200


def test_a_payload_is_shown_by_its_begin() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("odd")

    assert len(shown("x" * 10_000, 10_002)) == 2000
    assert shown("x", 10_000_000) == "(10000000 bytes)"
    assert (shown("x", READ_BYTES), shown("x", READ_BYTES + 1)) == ('"x"', f"({READ_BYTES + 1} bytes)")
    assert shown(Odd(), 5) == "(Odd)" and shown({1, 2}, 3) == "[1,2]"


def test_errors_are_kept_the_latest() -> None:
    tally = Tally(lambda: 2.0)
    for number in range(100):
        tally.trace(Trace("error", None, None, detail=ValueError(number)))
        tally.trace(Trace("opened", None))
    errors = tally.look()["errors"]
    assert len(errors) == 20 and errors[-1] == {"time": 2.0, "link": None, "error": "99"}


def test_what_goes_out_is_counted_with_its_bytes() -> None:
    tally = Tally(lambda: 0.0)
    for size in (10, 30):
        tally.went("order", size, None)
    seen = tally.look()["events"]["order"]
    assert (seen["in"], seen["bytes_in"], seen["out"], seen["bytes_out"]) == (0, 0, 2, 40)


@pytest.mark.row(72)
def test_of_much_traffic_a_part_is_counted_and_the_rest_estimated() -> None:
    spent: list[int] = []
    tally = Tally(lambda: 0.0, lambda: spent.append(1))
    tally.came("before", 10, None, 1)
    tally.look(1, 0)
    for number in range(BUDGET):
        tally.came("often" if number % 3 else "seldom", 10, None, 1)
    assert spent == [1] and tally.is_spent
    events = tally.look(BUDGET * 10, 0)["events"]
    assert (events["often"]["in"], events["seldom"]["in"]) == (BUDGET * 20 // 3, BUDGET * 10 // 3)
    assert events["often"]["bytes_in"] == BUDGET * 200 // 3 and events["before"]["in"] == 1
    assert not tally.is_spent
    tally.came("often", 10, None, 1)
    assert tally.look(1, 0)["events"]["often"]["in"] == BUDGET * 20 // 3 + 1


def test_what_goes_out_is_counted_from_the_same_budget_and_estimated() -> None:
    spent: list[int] = []
    tally = Tally(lambda: 0.0, lambda: spent.append(1))
    for _ in range(BUDGET - 1):
        tally.went("often", 10, None)
    assert not spent
    tally.went("often", 10, None)
    assert spent == [1] and tally.is_spent
    seen = tally.look(0, BUDGET * 10)["events"]["often"]
    assert (seen["out"], seen["bytes_out"], seen["in"]) == (BUDGET * 10, BUDGET * 100, 0)


@pytest.mark.row(52)
def test_what_is_asked_runs_until_its_answer_and_is_counted_each() -> None:
    now = [10.0]
    tally = Tally(lambda: now[0])
    first, second = (tally.asking("price", None) for _ in range(2))
    assert tally.look()["asked"]["price"]["running"] == 2
    now[0] = 12.0
    first.ended(None)
    seen = tally.look()["asked"]["price"]
    assert (seen["running"], seen["handled"], seen["seconds"]) == (1, 1, 2.0)
    second.ended(None)
    assert tally.look()["asked"]["price"]["running"] == 0


@pytest.mark.row(52)
@pytest.mark.parametrize(("real", "counted", "times"), [(10, 0, 1.0), (0, 0, 1.0), (10, 5, 2.0), (5, 10, 1.0)])
def test_what_was_not_counted_is_estimated_from_what_was(real: int, counted: int, times: float) -> None:
    assert _ratio(real, counted) == times


@pytest.mark.row(52)
def test_only_what_came_and_went_since_the_last_look_is_stretched() -> None:
    name = Name(came=14, went=16, bytes_in=120, bytes_out=140, before=(10, 12, 100, 110))
    name.stretch(2.0, 3.0)
    assert (name.came, name.went, name.bytes_in, name.bytes_out) == (18, 24, 140, 200)
