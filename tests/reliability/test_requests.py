"""Every request ends once, in time, with the truth, and what was given up before it was sent is not carried out.

Hypothesis walks: ask, answer, fail, give up, let time pass, drop the link, stop and start the server, answer in
wrong ways. What may have happened is kept beside it, and compared.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from node_ipc.errors import BackpressureError, IPCError, NotConnected, RemoteError
from node_ipc.testing import MemoryDriver, pair

pytestmark = pytest.mark.row(57)

RUNS = int(os.environ.get("RUNS", "200"))
"""How many walks: ``RUNS=5000 pytest tests/reliability/test_requests.py`` takes some minutes."""
TIMEOUTS = (None, 0.05, 0.5, 3.0, 0.0, -1.0)
WRONG: tuple[Any, ...] = (
    {"id": "x"},
    {"id": None, "result": 1},
    {"error": "boom"},
    {"id": [1], "error": {}},
    [],
    None,
    5,
)


class Kept:
    """One request, and what is known of it."""

    def __init__(self, number: int, answer: Any, due: float | None) -> None:
        self.number = number
        self.answer = answer
        self.due = due
        self.ends = 0
        self.given_up = False
        answer.then(self._ended)

    def _ended(self) -> None:
        self.ends += 1


class Requests(RuleBasedStateMachine):
    """One client that asks one server, on a link that breaks."""

    @initialize(sync=st.booleans(), asynchronous=st.booleans())
    def begin(self, sync: bool, asynchronous: bool) -> None:
        self.ends = pair(client={"sync": sync, "retry": 100}, max_message_size=5_000)
        self.driver: MemoryDriver = self.ends.driver
        self.client, self.server = self.ends.client, self.ends.server
        self.kept: dict[int, Kept] = {}
        self.carried_out: list[int] = []
        self.never: set[int] = set()
        self.waiting: list[Any] = []
        self.closed = False
        for end in (self.client, self.server):
            end.on("error", lambda error: None)
        self.server.handle("it", self._later if asynchronous else self._at_once)

    def _at_once(self, params: dict[str, Any]) -> Any:
        self.carried_out.append(params["number"])
        return _outcome_of(params)

    async def _later(self, params: dict[str, Any]) -> Any:
        self.carried_out.append(params["number"])
        outcome = self.driver.outcome(None)
        self.waiting.append(outcome)
        await outcome
        return _outcome_of(params)

    @rule(timeout=st.sampled_from(TIMEOUTS), kind=st.sampled_from(("fine", "fails", "refuses", "large", "object")))
    def ask(self, timeout: float | None, kind: str) -> None:
        number = len(self.kept)
        try:
            answer = self.client.request("it", {"number": number, "kind": kind}, timeout=timeout)
        except (NotConnected, BackpressureError):
            return
        due = None if timeout is None else self.driver.now() + timeout
        self.kept[number] = Kept(number, answer, due)
        if timeout is not None and timeout <= 0:
            self.never.add(number)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        kept = self.kept[data.draw(st.sampled_from(sorted(self.kept)))]
        if kept.answer.abandon is not None:
            self._note_unsent(kept)
            kept.given_up = True
            kept.answer.abandon()

    def _note_unsent(self, kept: Kept) -> None:
        """Whether its frame waits here still is asked of the frames themselves, not of what keeps books on them."""
        text = b'"number":%d,' % kept.number
        session = self.client._session
        if any(text in frame for frame in (*self.client._queue.frames, *(session.outgoing.frames if session else ()))):
            self.never.add(kept.number)

    @rule(seconds=st.sampled_from((0.0, 0.01, 0.1, 1.0, 4.0)))
    def time_passes(self, seconds: float) -> None:
        for kept in self.kept.values():
            if not kept.answer.done and kept.due is not None and kept.due <= self.driver.now():
                self._note_unsent(kept)
        self.driver.advance(seconds)

    @precondition(lambda self: self.waiting)
    @rule(first=st.booleans())
    def handler_ends(self, first: bool) -> None:
        self.waiting.pop(0 if first else -1).settle()

    @rule(cut=st.booleans())
    def link_breaks(self, cut: bool) -> None:
        for connection in self.driver.connections[-1:]:
            connection.cut() if cut else connection.drop()

    @rule()
    def link_stalls(self) -> None:
        self.driver.stall()

    @rule()
    def link_goes_on(self) -> None:
        self.driver.resume()

    @rule()
    def server_stops(self) -> None:
        self.server.abort()

    @rule()
    def server_starts(self) -> None:
        self.server.start()

    @rule(wrong=st.sampled_from(WRONG), right=st.booleans())
    def server_talks_nonsense(self, wrong: Any, right: bool) -> None:
        for socket in self.server.sockets:
            with contextlib.suppress(IPCError):
                socket.emit("rpc.response", wrong)
                if right and self.kept:  # an answer that comes too early, or twice
                    socket.emit("rpc.response", {"id": str(len(self.kept)), "error": {"code": "E", "message": None}})

    @rule()
    def client_closes(self) -> None:
        for kept in self.kept.values():
            if not kept.answer.done and any(
                b'"number":%d,' % kept.number in frame for frame in self.client._queue.frames
            ):
                self.never.add(kept.number)
        self.client.close()

    @rule()
    def client_connects(self) -> None:
        self.client.connect()

    @invariant()
    def what_was_given_up_unsent_is_not_carried_out(self) -> None:
        if hasattr(self, "kept"):
            assert not self.never.intersection(self.carried_out)

    @invariant()
    def nothing_ends_twice_or_is_carried_out_twice(self) -> None:
        if hasattr(self, "kept"):
            assert all(kept.ends == kept.answer.done for kept in self.kept.values())
            assert len(self.carried_out) == len(set(self.carried_out))
            assert set(self.carried_out) <= set(self.kept)

    def teardown(self) -> None:
        if not hasattr(self, "kept"):
            return
        self.driver.resume()
        self.driver.advance(5)
        late = [kept.number for kept in self.kept.values() if kept.due is not None and not kept.answer.done]
        assert late == [], "in time"
        for outcome in self.waiting:
            outcome.settle()
        self.client.close()
        self.driver.advance(30)
        assert [kept.number for kept in self.kept.values() if not kept.answer.done] == [], "every request ends"
        assert self.client.requests.pending == 0 and self.client.requests._unsent == {}
        assert self.server.requests._running == {}
        self.nothing_ends_twice_or_is_carried_out_twice()
        self.what_was_given_up_unsent_is_not_carried_out()
        for kept in self.kept.values():
            self._is_true(kept)
        self.driver.close()

    def _is_true(self, kept: Kept) -> None:
        answer = kept.answer
        if answer.error is None:
            assert answer.value == kept.number and kept.number in self.carried_out
        elif isinstance(answer.error, RemoteError):
            assert kept.number in self.carried_out or answer.error.message == "E: None"


def _outcome_of(params: dict[str, Any]) -> Any:
    if params["kind"] == "fails":
        raise KeyError("no")
    if params["kind"] == "refuses":
        raise RemoteError(7, "no", {"number": params["number"]})
    return {"large": "x" * 10_000, "object": object()}.get(params["kind"], params["number"])


Requests.TestCase.settings = settings(
    max_examples=RUNS,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRequests = Requests.TestCase
