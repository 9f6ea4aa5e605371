"""Paths into payloads: what each of them names, and that nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.recording import RecordingError
from node_ipc.recording.paths import HIDDEN, Paths

H = HIDDEN


@pytest.mark.parametrize(
    ("path", "data", "hidden"),
    [
        ("$.password", {"password": 1, "x": {"password": 2}}, {"password": H, "x": {"password": 2}}),
        ("$..password", {"password": 1, "x": [{"password": {"password": 2}}]}, {"password": H, "x": [{"password": H}]}),
        ("$.user.token", {"user": {"token": "t", "id": 1}, "token": 2}, {"user": {"token": H, "id": 1}, "token": 2}),
        ("$['a name']", {"a name": 1}, {"a name": H}),
        ('$["it\'s"]', {"it's": 1}, {"it's": H}),
        ("$.credit-card", {"credit-card": 1}, {"credit-card": H}),
        ("$.items[*].card", {"items": [{"card": 1}, {"card": 2}]}, {"items": [{"card": H}, {"card": H}]}),
        ("$.items[1]", {"items": [1, 2, 3]}, {"items": [1, H, 3]}),
        ("$[0]", [1, 2], [H, 2]),
        ("$[0]", {"0": 1}, {"0": 1}),
        ("$.*", {"a": 1, "b": [2]}, {"a": H, "b": H}),
        ("$..*", {"a": {"b": 1}}, {"a": H}),
        ("$..['x'][0]", {"y": {"x": [1, 2]}}, {"y": {"x": [H, 2]}}),
        ("$", {"a": 1}, H),
        ("$.a,$.b , $..c", {"a": 1, "b": 2, "d": {"c": 3}}, {"a": H, "b": H, "d": {"c": H}}),
        ("$.a.b", {"a": "text"}, {"a": "text"}),
        ("$.a", None, None),
        ("$.é", {"é": 1}, {"é": H}),
    ],
)  # fmt: skip
def test_what_a_path_names(path: str, data: Any, hidden: Any) -> None:
    assert Paths([path]).hide("event", data) == hidden


def test_what_requests_and_answers_carry_counts_as_payload_too() -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "login", "params": {"password": "x", "name": "n"}}
    assert Paths(["$.password"]).hide("rpc.request", asked)["params"] == {"password": H, "name": "n"}
    answered = {"jsonrpc": "2.0", "id": 1, "result": {"token": "x"}}
    assert Paths(["$.token"]).hide("rpc.response", answered) == {**answered, "result": {"token": H}}
    assert Paths(["$.token"]).hide("order", {"result": {"token": 1}}) == {"result": {"token": 1}}


def test_payloads_as_deep_as_the_decoder_takes() -> None:
    data: Any = {"token": 1}
    for _ in range(5_000):
        data = {"in": data}
    found = Paths(["$..token"]).hide("event", data)
    while "in" in found:
        found = found["in"]
    assert found == {"token": H}


@pytest.mark.parametrize(
    "text", ["password", "$password", "$.", "$..", "$.a[", "$.a[b]", "$.a $.b", "$.a,", "$.a,,$.b"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(RecordingError, match=r"is no path into a payload: write \$\.password"):
        Paths([text])


def test_none_at_all() -> None:
    assert not Paths([]) and not Paths([""]) and Paths(["$.a"])
    assert Paths(["$.a, $..b", "$['c,d']"]).texts == ["$.a", "$..b", "$['c,d']"]
