"""Something that takes time: settled once, told to everybody who asked."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.core.outcome import Outcome


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
