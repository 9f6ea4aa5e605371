"""What ``node-ipc top`` shows, made of looks: rates, order, filter, pause; and how it stands in 80 columns."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.core.observe import LOOK, MESSAGES
from node_ipc.testing import Pair, connect, pair
from node_ipc.tools.top.plain import lines
from node_ipc.tools.top.view import BARS, SORTS, View, amount, duration, short, size, sparkline


class Looking:
    """A view of a server at work, on the virtual clock."""

    def __init__(self) -> None:
        self.ends: Pair = pair()
        self.view = View()
        self.ends.server.observe()
        self.ends.driver.run_until_idle()
        viewer = connect(self.ends.driver, "unix:/memory/app.world.observe")
        viewer.on(LOOK, self.view.feed)
        viewer.on(MESSAGES, self.view.add_messages)
        viewer.request(MESSAGES, True)
        self.ends.server.on("order", lambda data, socket: socket.emit("thanks"))
        self.ends.server.on("bad", lambda: 1 / 0)
        self.ends.server.on("error", lambda error: None)
        self.ends.server.handle("add", lambda params: params + 1)

    def second(self, **emits: int) -> None:
        for name, count in emits.items():
            for number in range(count):
                self.ends.client.emit(name, {"n": number})
        self.ends.driver.advance(1)
        self.ends.driver.run_until_idle()


@pytest.fixture
def looking() -> Looking:
    found = Looking()
    found.second()
    return found


def test_rates_are_those_of_the_last_second(looking: Looking) -> None:
    looking.second(order=30, bad=2)
    looking.second(order=10)
    rows = {row.name: row for row in looking.view.events()}
    assert rows["order"].came == pytest.approx(10) and rows["thanks"].went == pytest.approx(10)
    assert rows["bad"].came == 0 and rows["bad"].failed == 2
    assert looking.view.totals.came == pytest.approx(10)
    assert rows["order"].history[-2:] == pytest.approx((30, 10))
    [link] = looking.view.links()
    assert link.came == pytest.approx(10) and link.went == pytest.approx(10)
    assert len(looking.view.errors()) == 2 and "ZeroDivisionError" in looking.view.errors()[0]


def test_order_and_filter(looking: Looking) -> None:
    looking.second(order=3, bad=9)
    names = []
    for looking.view.sort in SORTS:
        names.append([row.name for row in looking.view.events() if "." not in row.name])
    assert names[0][0] == "bad" and names[2] == sorted(names[2])
    looking.view.filter = "ORD"
    assert [row.name for row in looking.view.events()] == ["order"]
    assert {each["event"] for each in looking.view.shown_messages()} == {"order"}


def test_requests_are_rows_of_their_own(looking: Looking) -> None:
    looking.ends.client.request("add", 1)
    looking.ends.server.request(looking.ends.socket, "unheard", timeout=100)
    looking.second()
    rows = {row.name: row for row in looking.view.requests()}
    assert rows["add"].side == "answered" and rows["add"].rate == pytest.approx(1)
    assert rows["unheard"].side == "asked" and rows["unheard"].failed == 1


def test_paused_it_holds_still_and_goes_on_with_the_newest(looking: Looking) -> None:
    looking.second(order=1)
    looking.view.pause(True)
    shown, kept = looking.view.look, len(looking.view.messages)
    looking.second(order=50)
    assert looking.view.look is shown and len(looking.view.messages) == kept
    looking.view.pause(False)
    assert looking.view.look is not shown
    assert {row.name: row.came for row in looking.view.events()}["order"] == pytest.approx(50)


def test_a_server_that_was_started_anew_has_no_rates_of_before(looking: Looking) -> None:
    looking.second(order=30)
    look: dict[str, Any] = dict(looking.view.look or {})
    looking.view.feed({**look, "since": look["time"] + 9, "time": look["time"] + 9})
    assert all(row.came >= 0 for row in looking.view.events())


def test_messages_have_an_end() -> None:
    view = View()
    for number in range(1000):
        view.add_messages({"messages": [{"event": "a", "data": str(number)}] * 10, "skipped": 1})
    assert len(view.messages) == 500 and view.skipped == 1000


HOSTILE = "\x1b[31m\u202e" + "x" * 300


@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("height", [None, 10, 24])
def test_lines_fit_the_terminal_whatever_peers_are_called(looking: Looking, width: int, height: int | None) -> None:
    looking.ends.client.emit(HOSTILE[:200], HOSTILE)
    looking.ends.client.request("add", "x")
    looking.ends.client.request(HOSTILE[:200], "x")
    looking.second(**{f"event{number}": number for number in range(40)}, bad=1)
    looking.view.trouble = HOSTILE
    shown = lines(looking.view, width, height)
    assert all(len(line) <= width and line.isprintable() for line in shown)
    assert height is None or len(shown) < height
    if width >= 80:
        assert shown[0].startswith("unix:/memory/app.world  up ")
        assert any(line.startswith("event39") for line in shown) and any("more" in line for line in shown)


def test_columns_stand_below_their_titles(looking: Looking) -> None:
    looking.second(order=1234)
    looking.ends.client.request("add", 1)
    looking.second(order=1234)
    shown = lines(looking.view, 80)
    titles = [line for line in shown if line[:5] in ("EVENT", "METHO", "LINK ")]
    assert len(titles) == 3 and len({line.index("p99") for line in titles[:2]}) == 1
    row = next(line for line in shown if line.startswith("order"))
    assert row[: titles[0].index("in/s") + 4].split() == ["order", "1.2k"]


def test_before_the_first_look() -> None:
    assert lines(View()) == ["waiting for the first look"]
    view = View()
    assert [*view.events(), *view.links(), *view.requests(), *view.errors()] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7.46, "7.5"),
        (9.96, "10"),
        (999, "999"),
        (999.6, "1.0k"),
        (12345, "12k"),
        (3.4e6, "3.4M"),
        (1e13, "10000G"),
    ],
)
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text and size(value) == f"{text}B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((None, "-"), (3e-6, "3us"), (0.0123, "12ms"), (1.5, "1.5s"), (600, "10min"), (36_000, "10h")),
        *((0.0009996, "1.0ms"), (0.000999, "999us"), (0.9996, "1.0s"), (0.999, "999ms")),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert short(seconds) == text and duration(seconds).replace(" ", "") == text


def test_sparklines() -> None:
    assert sparkline((0, 5, 10), 5) == "  " + BARS[0] + BARS[4] + BARS[7]
    assert sparkline((), 3) == "   " and sparkline((0, 0), 2) == BARS[0] * 2
    assert sparkline(tuple(range(100)), 8, ".#")[-1] == "#"
