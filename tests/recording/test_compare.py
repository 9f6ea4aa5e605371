"""Differences between what was recorded and what came, as a person reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node_ipc.recording import compare
from node_ipc.recording.compare import BytesComparison, Message, MessageComparison
from node_ipc.recording.paths import Paths

Said = list[tuple[str, Any]]


def differences(recorded: Said, came: Said, *ignore: str) -> list[str]:
    comparison = MessageComparison(Paths(ignore))
    for type, data in recorded:
        comparison.expect(Message(type, json.dumps(data).encode()))
    for type, data in came:
        comparison.hear(Message(type, json.dumps(data, indent=1).encode()))
    assert comparison.is_satisfied == (len(came) >= len(recorded))
    return list(comparison.differences())


def test_the_same_in_another_spelling() -> None:
    assert differences([("a", {"x": 1, "y": "é"})], [("a", {"y": "é", "x": 1})]) == []
    assert differences([], []) == []


def test_what_may_differ() -> None:
    assert differences([("a", {"t": 1, "x": [{"id": 1}]})], [("a", {"t": 2, "x": [{"id": 2}]})], "$.t", "$..id") == []
    [text] = differences([("a", {"t": 1, "x": 1})], [("a", {"t": 2, "x": 2})], "$.t")
    assert text == "message 1, the event 'a', differs:\n  $.x: recorded 1, came 2"


def test_each_place_that_differs_is_named() -> None:
    before = {"visits": 3, "user": {"name": "n", "tags": [1, 2]}, "gone": None}
    after = {"visits": 4, "user": {"name": "m", "tags": [1]}, "new": {}}
    [text] = differences([("same", 1), ("welcome", before)], [("same", 1), ("welcome", after)])
    assert text.splitlines() == [
        "message 2, the event 'welcome', differs:",
        "  $.gone: recorded null, came nothing",
        '  $.user.name: recorded "n", came "m"',
        "  $.user.tags[1]: recorded 2, came nothing",
        "  $.visits: recorded 3, came 4",
        "  $.new: recorded nothing, came {}",
    ]
    [text] = differences([("a", list(range(9)))], [("a", list(range(1, 10)))])
    assert text.endswith("\n  and at 4 more places")
    [text] = differences([("a", True)], [("a", 1)])
    assert text.endswith("$: recorded true, came 1")
    [text] = differences([("a", "x" * 1000)], [("a", "y")])
    assert max(map(len, text.splitlines())) < 100


def test_what_is_missing_and_what_is_more() -> None:
    recorded, came = [("a", 1), ("b", 2), ("c", 3)], [("a", 1), ("x", 9), ("c", 3)]
    assert differences(recorded, came) == [
        "message 2, the event 'b', did not come: 2",
        "the event 'x' came, which was not recorded: 9",
    ]
    assert differences([("a", 1)], []) == ["message 1, the event 'a', did not come: 1"]
    assert differences([], [("a", 1)]) == ["the event 'a' came, which was not recorded: 1"]


def test_a_frame_that_is_no_event() -> None:
    comparison = MessageComparison(Paths([]))
    comparison.expect(Message(None, b"\xff"))
    comparison.hear(Message(None, b"[]"))
    assert "message 1, a frame that is no event, differs" in next(comparison.differences())


def test_thousands_of_differences_take_no_time_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MOST_KEPT", 3000)
    found = differences([("a", n) for n in range(6000)], [("a", -n - 1) for n in range(5999)])
    assert len(found) == 3001
    assert found[-1] == "only the first 3000 messages behind the first difference were compared"


def test_bytes() -> None:
    comparison = BytesComparison()
    comparison.expect(b"abcdef")
    for part in (b"ab", b"cd", b"e"):
        comparison.hear(part)
    assert not comparison.is_satisfied and list(comparison.differences()) == ["5 bytes came instead of 6"]
    comparison.hear(b"f")
    assert comparison.is_satisfied and list(comparison.differences()) == []
    comparison.expect(b"xyz")
    comparison.hear(b"xYz")
    assert list(comparison.differences()) == ["from byte 8 on it differs:\n  recorded b'yz'\n  came     b'Yz'"]
