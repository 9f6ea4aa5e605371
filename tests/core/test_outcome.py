"""Something that takes time: settled once, told to everybody who asked."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from node_ipc.core import outcome
from node_ipc.core.outcome import ENDLESS, Outcome, refuse_no_bool, seconds, seconds_to_end
from node_ipc.drivers.loop import AwaitableOutcome


def test_it_gives_its_value() -> None:
    outcome = Outcome("value")
    assert not outcome.done
    outcome.settle()
    assert outcome.done
    assert outcome.result() == "value"


def test_it_raises_its_error_each_time() -> None:
    outcome, error = Outcome("value"), ValueError("no")
    outcome.settle(error)
    for _ in range(2):
        with pytest.raises(ValueError) as caught:
            outcome.result()
        assert caught.value is error


def test_the_first_end_counts() -> None:
    outcome = Outcome(1)
    outcome.settle()
    outcome.settle(ValueError("late"))
    assert outcome.result() == 1


def test_everybody_hears_once_and_in_order() -> None:
    outcome, heard = Outcome(None), []
    outcome.then(lambda: heard.append("first"))
    outcome.then(lambda: heard.append("second"))
    assert heard == []
    outcome.settle()
    outcome.settle()
    outcome.then(lambda: heard.append("late"))
    assert heard == ["first", "second", "late"]


def test_whoever_does_not_wait_any_more_is_forgotten() -> None:
    outcome, heard = Outcome(None), []

    def hear() -> None:
        heard.append("first")

    outcome.then(hear)
    outcome.then(lambda: heard.append("second"))
    outcome.forget(hear)
    outcome.forget(hear)
    outcome.settle()
    assert heard == ["second"]


def test_settling_again_while_it_is_told() -> None:
    outcome = Outcome(None)
    heard: list[Any] = []

    def hear() -> None:
        heard.append(outcome.done)
        outcome.settle(ValueError())
        outcome.then(lambda: heard.append("inside"))

    outcome.then(hear)
    outcome.settle()
    assert heard == [True, "inside"]
    assert outcome.error is None


def test_a_plain_outcome_cannot_be_awaited() -> None:
    async def wait() -> Any:
        return await Outcome(1)

    coroutine = wait()
    with pytest.raises(TypeError, match="asyncio front"):
        coroutine.send(None)


# ---- who awaits it


async def value_of(outcome: Outcome[Any]) -> Any:
    return await outcome


async def test_everybody_who_awaits_it_goes_on_when_it_ends() -> None:
    outcome: AwaitableOutcome[str] = AwaitableOutcome("value")
    tasks = [asyncio.create_task(value_of(outcome)) for _ in range(2)]
    await asyncio.sleep(0)
    assert outcome.waiting == 2
    outcome.settle()
    assert await asyncio.gather(*tasks) == ["value", "value"] and outcome.waiting == 0


async def test_it_is_abandoned_when_the_last_who_awaited_it_has_stopped() -> None:
    outcome: AwaitableOutcome[None] = AwaitableOutcome(None)
    abandoned: list[int] = []
    tasks = [asyncio.create_task(value_of(outcome)) for _ in range(3)]
    await asyncio.sleep(0)
    outcome.abandon = lambda: abandoned.append(outcome.waiting)
    for task in tasks:
        assert abandoned == []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert abandoned == [0] and outcome._then == []


async def test_one_that_nobody_can_take_back_is_only_not_awaited_any_more() -> None:
    outcome: AwaitableOutcome[None] = AwaitableOutcome(None)
    task = asyncio.create_task(value_of(outcome))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcome.waiting == 0


async def test_an_error_is_raised_where_it_is_awaited_and_told_nowhere_else() -> None:
    outcome: AwaitableOutcome[None] = AwaitableOutcome(None)
    told: list[str] = []
    task = asyncio.create_task(value_of(outcome))
    await asyncio.sleep(0)
    outcome.settle(ValueError("no"), lambda: told.append("unread"))
    with pytest.raises(ValueError, match="no"):
        await task
    del outcome, task
    assert told == []


@pytest.mark.parametrize("hear", [print, lambda result: None])
def test_who_expects_the_result_is_told_how_to_get_it(hear: Any) -> None:
    with pytest.raises(
        TypeError, match=r"then\(\) calls a function without the result, and .* takes one: await gives it"
    ):
        Outcome(1).then(hear)


# ---- limits in seconds


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        *[(None, None), (0, 0.0), (-0.0, 0.0), (-2.5, 0.0), (0.5, 0.5), (1, 1), (999, 999), (1234.5, 1234.5)],
        *[(99_999_999, 99_999_999), (1e8, None), (float("inf"), None)],
    ],
)
def test_seconds_are_a_limit_up_to_some_years(given: Any, counts: float | None) -> None:
    assert repr(seconds(given, "wait")) == repr(counts)


@pytest.mark.parametrize("given", [True, "5", [], float("nan")])
def test_what_is_no_number_of_seconds_is_refused(given: Any) -> None:
    refused = re.escape("wait(timeout=…) takes seconds as a number, or None for no limit, not ")
    with pytest.raises((TypeError, ValueError), match=f"{refused}.*{re.escape(repr(given))}"):
        seconds(given, "wait")


@pytest.mark.parametrize(
    ("given", "is_told"), [(999, False), (1000, True), (5000, True), (5001, False), (18_000, False)]
)
def test_thousands_that_are_no_hours_look_like_milliseconds(
    given: int, is_told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outcome, "_told", [])
    assert seconds(given, "wait") == given
    assert (f"wait(timeout={given}) waits for " in caplog.text) is is_told


def test_a_wait_is_wanted_or_not_and_no_number() -> None:
    refuse_no_bool(True)
    refuse_no_bool(False)
    with pytest.raises(TypeError, match="takes True or False, not 30"):
        refuse_no_bool(30)


@pytest.mark.parametrize(("given", "counts"), [(None, 2.5), (3, 3), (0, 0), (float("inf"), ENDLESS)])
def test_what_ends_takes_the_option_s_time_unless_told(given: float | None, counts: float) -> None:
    assert seconds_to_end(given, "close", 2500) == counts


@pytest.mark.parametrize("verb", ["close", "stop"])
def test_less_than_no_time_says_what_means_no_limit_here(verb: str) -> None:
    with pytest.raises(ValueError, match=rf"^{verb}\(timeout=…\).*None is close_timeout, math\.inf no limit, 0 does"):
        seconds_to_end(-1, verb, 5000)
