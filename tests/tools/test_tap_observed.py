"""What viewers see of a tap: messages, requests, errors; in memory, frame by frame."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node_ipc import Config
from node_ipc.config.address import Unix
from node_ipc.core.observe import LOOK
from node_ipc.core.seam import Peer
from node_ipc.core.tally import Tally
from node_ipc.errors import IPCError
from node_ipc.recording.lines import Side
from node_ipc.testing import MemoryDriver, connect
from node_ipc.tools.tap_observed import KEPT_BYTES, MOST_ASKED, ObservedTap


class Passing:
    """One link of a tap that somebody looks at."""

    def __init__(self, **options: Any) -> None:
        self.driver = MemoryDriver()
        self.tap = ObservedTap(self.driver, Config(**options).settings())
        self.tally = Tally(self.driver.now)
        self.undo = self.tap.watch(self.tally)
        self.tap.on_trace(self.tally.trace)
        self.link = self.tap.link(1, Peer("unix"))

    def passes(self, side: Side, name: str, data: Any) -> None:
        self.link.heard(side, json.dumps({"type": name, "data": data}).encode() + b"\f")

    def asks(self, side: Side, id: Any, method: str = "add") -> None:
        self.passes(side, "rpc.request", {"jsonrpc": "2.0", "id": id, "method": method})

    @property
    def look(self) -> dict[str, Any]:
        return self.tally.look()


def test_viewers_see_its_links_and_what_passes_and_that_it_does_not_describe_itself() -> None:
    passing = Passing()
    driver = passing.driver
    driver.run(passing.tap.open(Unix("/memory/app.tap")))
    viewer = connect(driver, "unix:/memory/app.tap.observe")
    looks: list[Any] = []
    viewer.on(LOOK, looks.append)
    passing.passes("client", "order", {"n": 1})
    driver.advance(1.1)
    assert [(link["id"], link["name"]) for link in looks[-1]["links"]] == [(1, None)]
    answer = viewer.request("rpc.describe")
    driver.run_until_idle()
    assert "does not describe itself" in str(answer.error)
    passing.tap.close()
    driver.advance(1)
    assert driver.listeners == {}


def test_messages_both_ways() -> None:
    passing = Passing()
    passing.tally.keeps = True
    passing.passes("client", "order", {"n": 1})
    passing.passes("server", "thanks", None)
    passing.link.heard("client", b'{"type":"or')
    passing.link.heard("client", b'der","data":2}\f{"type":"ipc.ping","data":{}}\f')
    events = passing.look["events"]
    assert (events["order"]["in"], events["thanks"]["out"]) == (2, 1)
    assert "ipc.ping" not in events
    stats = passing.tap.stats()
    assert (stats.messages_in, stats.messages_out, stats.links) == (3, 1, 1)
    seen = passing.tally.take_messages()["messages"]
    assert [(each["event"], each["direction"], each["link"]) for each in seen] == [
        ("order", "in", 1),
        ("thanks", "out", None),
        ("order", "in", 1),
    ]


@pytest.mark.parametrize(
    ("asking", "answering", "group"), [("client", "server", "answered"), ("server", "client", "asked")]
)
def test_requests_last_until_their_answer(asking: Side, answering: Side, group: str) -> None:
    passing = Passing()
    passing.asks(asking, 1)
    passing.asks(asking, "two")
    passing.driver.advance(0.5)
    assert passing.look[group]["add"]["running"] == 2
    passing.passes(answering, "rpc.response", {"id": 1, "result": 3})
    passing.passes(answering, "rpc.response", {"id": "two", "error": {"code": 1, "message": "no"}})
    passing.passes(answering, "rpc.response", {"id": 99, "result": 3})
    add = passing.look[group]["add"]
    assert (add["running"], add["handled"], add["failed"]) == (0, 2, 1)
    assert 0.3 < add["p50"] < 0.8


def test_requests_end_also_while_nobody_counts_and_with_their_link() -> None:
    passing = Passing()
    for id in (1, 2, 3):
        passing.asks("client", id)
    passing.undo()  # as where the budget is spent
    passing.passes("server", "rpc.response", {"id": 1, "result": 3})
    assert passing.look["answered"]["add"]["running"] == 2
    passing.undo = passing.tap.watch(passing.tally)
    passing.passes("client", "rpc.cancel", {"id": 2})
    assert passing.look["answered"]["add"]["running"] == 1
    passing.link.closed("server: it went away")
    look = passing.look
    assert look["answered"]["add"]["running"] == 0
    assert [each["error"] for each in look["errors"]] == ["server: it went away"]
    assert passing.tap.sockets == [] and passing.tap.stats().messages_in == 4


def test_what_is_kept_of_requests_is_bounded_and_odd_ones_harm_nobody() -> None:
    passing = Passing()
    for id in range(MOST_ASKED + 50):
        passing.asks("client", id)
    assert passing.look["answered"]["add"]["running"] == MOST_ASKED
    odd: list[Any] = [None, 7, [], {}, {"id": None}, {"id": {"a": [1]}, "method": 5}, {"method": "x" * 10_000}]
    sides: tuple[Side, ...] = ("client", "server")
    for data in odd:
        for side in sides:
            for name in ("rpc.request", "rpc.response", "rpc.cancel"):
                passing.passes(side, name, data)
    assert passing.look["answered"]["add"]["running"] == MOST_ASKED


@pytest.mark.parametrize(
    "frame",
    [b"GET / HTTP/1.1\r\n\r\n\f", b"\xff\xfe\f", b"[]\f", b'{"type":7}\f', b'{"type":"a","data":' + b"[" * 100_000],
)
def test_what_is_no_event_is_an_error_and_no_more(frame: bytes) -> None:
    passing = Passing()
    passing.link.heard("client", frame)
    passing.link.heard("client", b"\f")
    passing.passes("client", "order", 1)
    look = passing.look
    assert look["events"]["order"]["in"] == 1 and look["errors"]
    assert passing.link.stats().errors == len(look["errors"])


def test_a_frame_that_is_too_long_is_counted_and_not_read() -> None:
    passing = Passing()
    passing.passes("client", "order", "x" * KEPT_BYTES)
    assert "too long to be read" in passing.look["errors"][0]["error"]
    assert passing.tap.stats().messages_in == 1


def test_of_bytes_without_frames_only_bytes_are_counted() -> None:
    passing = Passing(raw_buffer=True)
    passing.link.heard("client", b"\x05m\f")
    assert passing.tap.stats().bytes_in == 3 and passing.tap.stats().messages_in == 0
    assert passing.look["events"] == {} and passing.look["errors"] == []


def test_a_tap_emits_nothing() -> None:
    passing = Passing()
    with pytest.raises(IPCError, match="a tap only looks"):
        passing.link.emit("hello")
    with pytest.raises(IPCError, match="a tap only looks"):
        passing.tap.broadcast("hello")
