"""One link out: every state and input, retries, the queue, and what a handler may do."""

from __future__ import annotations

import itertools
import logging
import math
import os
import random
import re
import signal
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_ipc.config.address import Address, Tcp, Unix
from node_ipc.config.config import Config
from node_ipc.core.client import (
    HINT_AT_WAITING,
    HINT_AT_WAITING_LONGER,
    JITTER,
    LONGEST_LOCAL,
    LONGEST_NETWORK,
    TRANSITIONS,
    Client,
    ClientState,
    connect_timeout,
    hint_at_waiting,
    retry_delay,
)
from node_ipc.core.seam import Receiver
from node_ipc.core.server import Server
from node_ipc.core.session import Loss
from node_ipc.core.trace import Trace
from node_ipc.errors import (
    AddressError,
    BackpressureError,
    ConnectDenied,
    ConnectError,
    ConnectionLost,
    ForkError,
    HandlerError,
    InvalidPayload,
    IPCError,
    NotConnected,
    PeerRefused,
    ProtocolError,
    ReservedEvent,
    WrongThreadError,
)
from node_ipc.testing import Conditions, MemoryDriver, NothingHappens, Wire, WireServer, connect, pair, serve

WORLD = Unix("/memory/app.world")
SCHEDULES = 10_000 if os.environ.get("NIGHTLY") == "repeats" else 2_000
INPUTS = sorted({name for _, name in TRANSITIONS})
S = ClientState


def settings_of(**options: Any) -> Config:
    return Config(**options).settings()


DEFAULTS = settings_of()


class Alone:
    """A client and what it publishes; a server comes and goes as the test says."""

    def __init__(self, driver: MemoryDriver | None = None, address: Address = WORLD, **options: Any) -> None:
        self.driver = driver or MemoryDriver()
        self.address = address
        self.settings = settings_of(**options) if options else DEFAULTS
        self.client = Client("world", address, self.driver, self.settings)
        self.published: list[str] = []
        self.errors: list[IPCError] = []
        self.losses: list[Loss] = []
        self.server: Server | None = None
        self.heard: list[Any] = []
        for name in ("connect", "disconnect", "destroy", "error"):
            self.client.on(name, self._note(name))

    def _note(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            self.published.append(name)
            if name == "error":
                self.errors.append(arguments[0])
            elif name == "disconnect":
                self.losses.append(arguments[0])

        return note

    def serve(self, **options: Any) -> Server:
        self.server = serve(self.driver, self.address, **options)
        self.server.on("n", self.heard.append)
        return self.server

    def kill(self) -> None:
        """The server is gone, with its links."""
        assert self.server is not None
        self.server.abort()
        self.driver.run_until_idle()

    def connected(self) -> Alone:
        self.serve()
        self.client.connect()
        self.driver.run_until_idle()
        assert self.client.state is S.CONNECTED
        return self


# ---- the table


def bring(state: ClientState) -> Alone:
    """A client in this state, by what users and networks do."""
    alone = Alone()
    if state is S.CONNECTED:
        alone.connected()
    elif state is S.CONNECTING:
        alone.serve()
        alone.client.connect()
    elif state is S.WAITING:
        alone.client.connect()
        alone.driver.run_until(lambda: alone.client.state is S.WAITING)
    elif state is S.CLOSING:
        alone.connected()
        alone.client.close()
    elif state is S.CLOSED:
        alone.client.close()
        alone.driver.run_until_idle()
    assert alone.client.state is state
    return alone


NEXT: dict[tuple[ClientState, str], set[ClientState]] = {
    (S.IDLE, "connect"): {S.CONNECTING},
    (S.IDLE, "close"): {S.CLOSING},
    (S.CONNECTING, "opened"): {S.CONNECTED},
    (S.CONNECTING, "failed"): {S.WAITING, S.CLOSED},
    (S.CONNECTING, "close"): {S.CLOSING},
    (S.CONNECTING, "abandoned"): {S.WAITING},
    (S.CONNECTING, "interrupted"): {S.WAITING},
    (S.CONNECTING, "lost"): {S.WAITING},
    (S.CONNECTED, "lost"): {S.WAITING, S.CLOSED},
    (S.CONNECTED, "close"): {S.CLOSING},
    (S.CONNECTED, "abandoned"): {S.CONNECTED},  # until the link tells that it is gone
    (S.CONNECTED, "interrupted"): {S.CONNECTED},  # the same
    (S.WAITING, "retry"): {S.CONNECTING, S.CLOSED},
    (S.WAITING, "close"): {S.CLOSING},
    (S.WAITING, "abandoned"): {S.WAITING},
    (S.WAITING, "interrupted"): {S.WAITING},
    (S.CLOSING, "connect"): {S.CLOSING},  # it comes behind that
    (S.CLOSING, "close"): {S.CLOSING},
    (S.CLOSING, "opened"): {S.CLOSING},
    (S.CLOSING, "failed"): {S.CLOSING},
    (S.CLOSING, "lost"): {S.CLOSED},
    (S.CLOSING, "expired"): {S.CLOSING, S.CLOSED},
    (S.CLOSING, "abandoned"): {S.CLOSING, S.CLOSED},
    (S.CLOSING, "interrupted"): {S.CLOSING},
    (S.CLOSED, "connect"): {S.CONNECTING},
    (S.CLOSED, "close"): {S.CLOSED},
    (S.CLOSED, "interrupted"): {S.CLOSED},
}


def test_the_table_is_the_one_that_is_tested() -> None:
    assert NEXT.keys() == TRANSITIONS.keys()
    assert all(hasattr(Client, method) for method in TRANSITIONS.values())


def give(alone: Alone, name: str) -> None:
    """This input, with what the driver would give along."""
    client = alone.client
    arguments: dict[str, list[Any]] = {
        "opened": [client._session],
        "failed": [ConnectError("no")],
        "lost": [Loss(ConnectionLost("broken"))],
        "interrupted": [ConnectionLost("a signal's handler raised")],
    }
    client._input(name, *arguments.get(name, []))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("state", list(S), ids=lambda state: state.value)
def test_every_state_and_input(state: ClientState, name: str) -> None:
    alone = bring(state)
    unused = (state, name) == (S.CONNECTING, "lost")
    if name in ("opened", "lost") and (state, name) in TRANSITIONS and not unused:
        alone.driver.run_until(lambda: alone.client._session is not None and alone.client._session.opened_at_all)
        if alone.client.state is not state:  # the driver gave the input already
            assert alone.client.state in NEXT[state, name]
            return
    before = list(alone.published)
    give(alone, name)
    if (state, name) in TRANSITIONS:
        assert alone.client.state in NEXT[state, name]
    else:
        assert alone.client.state is state
        assert alone.published == before


# ---- a signal's handler raised


@pytest.mark.parametrize("state", [S.CONNECTING, S.CONNECTED, S.WAITING], ids=lambda state: state.value)
def test_a_client_that_was_interrupted_begins_anew_and_tells_of_what_is_in_doubt(state: ClientState) -> None:
    alone = bring(state)
    if alone.server is None:
        alone.serve()
    if state is S.CONNECTED:
        alone.client.emit("n", 1)
    lost = len(alone.losses)
    alone.client.interrupted(ConnectionLost("interrupted"))
    alone.driver.run_until(lambda: len(alone.losses) > lost or state is not S.CONNECTED)
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)
    alone.client.emit("n", 2)
    alone.driver.run_until_idle()
    assert alone.heard[-1] == 2 and alone.heard.count(2) == 1
    if state is S.CONNECTED:
        (loss,) = alone.losses[lost:]
        assert loss.in_flight + loss.dropped + alone.heard.count(1) >= 1
        assert [str(error) for error in alone.errors] == ["interrupted"]
    else:
        assert len(alone.losses) == lost, "there was no link that could be lost"


def test_a_client_that_was_interrupted_while_it_closed_still_ends() -> None:
    alone = bring(S.CLOSING)
    alone.client.interrupted(ConnectionLost("interrupted"))
    alone.driver.run_until_idle()
    assert alone.client.state is S.CLOSED and alone.client.closed.done
    assert alone.published[-2:] == ["disconnect", "destroy"]


def test_a_client_that_was_interrupted_while_it_closed_before_its_link_was_up_ends_at_once() -> None:
    alone = bring(S.CONNECTING)
    alone.client.close(timeout=100)
    alone.client.interrupted(ConnectionLost("interrupted"))
    alone.driver.run_until_idle()
    assert alone.client.closed.done and alone.driver.now() == 0
    assert [str(loss.reason) for loss in alone.losses] == ["interrupted"]


def interrupt(*arguments: Any) -> Any:
    """What raises as Ctrl-C does between two steps of ours, where it is called: no frame of a test's is on the way."""
    return partial(signal.default_int_handler, signal.SIGINT, *arguments)


def test_a_client_that_is_interrupted_while_it_tells_of_its_end_connects_anew_behind_that() -> None:
    alone = Alone().connected()
    heard: list[str] = []

    def interrupted() -> None:
        heard.append("destroy")
        if len(heard) == 1:
            raise KeyboardInterrupt

    alone.client.on("destroy", interrupted)
    closed, connected = alone.client.close(), alone.client.connect()
    with pytest.raises(KeyboardInterrupt):
        alone.driver.run_until_idle()
    alone.client.interrupted(ConnectionLost("a signal's handler raised"))
    alone.driver.run_until_idle()
    assert closed.done and connected.done and alone.client.state is S.CONNECTED
    assert heard == ["destroy"] * 2


@pytest.mark.parametrize(("step", "raises"), [("_begin_anew_if_it_held", interrupt(None)), ("on_down", interrupt())])
def test_a_loss_that_was_half_told_when_a_signal_came_is_told_once(
    step: str, raises: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Alone().connected()
    alone.client.emit("n", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(alone.client, step, raises)
        alone.driver.drop()
        alone.driver.run_until_idle()
    assert alone.losses == []
    alone.client.interrupted(ConnectionLost("interrupted"))
    alone.driver.run_until(lambda: alone.client.state is S.WAITING and alone.losses)
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)
    (loss,) = alone.losses
    assert str(loss.reason) != "interrupted" and loss.in_flight + len(alone.heard) == 1


def test_an_end_that_was_half_told_when_a_signal_came_is_told_to_the_end() -> None:
    alone = bring(S.CLOSING)
    raises = alone.client.on("destroy", interrupt(None))
    with pytest.raises(KeyboardInterrupt):
        alone.driver.run_until_idle()
    assert alone.client.state is S.CLOSED and not alone.client.closed.done
    alone.client.off("destroy", raises)
    alone.client.interrupted(ConnectionLost("interrupted"))
    alone.driver.run_until_idle()
    assert alone.client.closed.done and alone.published[-1] == "destroy"
    told = list(alone.published)
    alone.client.interrupted(ConnectionLost("again"))
    alone.driver.run_until_idle()
    assert alone.published == told, "what is told is not told again"


def test_a_link_that_came_up_when_a_signal_came_is_cut_and_another_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = bring(S.CONNECTING)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(alone.client, "session_opened", interrupt())
        alone.driver.run_until_idle()
    alone.client.interrupted(ConnectionLost("interrupted"))
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)
    alone.driver.run_until_idle()
    assert alone.server is not None
    assert len(alone.server.sockets) == 1 and alone.server.stats().links == 2


@pytest.mark.parametrize(("how", "why"), [("close", "in order"), ("drop", "Connection reset by peer")])
def test_a_link_that_ended_before_its_client_had_heard_of_it_is_no_server_s_fault(
    how: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = bring(S.CONNECTING)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(alone.client, "session_opened", interrupt())
        alone.driver.run_until_idle()
    server = alone.server
    assert server is not None
    alone.driver.run_until(lambda: server.sockets)
    (alone.driver.drop if how == "drop" else server.sockets[0].close)()
    alone.driver.run_until(lambda: alone.client.state is S.WAITING)
    assert why in alone.client.trouble() and alone.losses == []
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)


def test_who_was_interrupted_while_it_connected_says_so_until_it_is_connected() -> None:
    alone = bring(S.CONNECTING)
    alone.client.interrupted(ConnectionLost("interrupted"))
    assert alone.client.trouble() == ": the client is waiting (interrupted)"
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)
    assert alone.client.trouble() == ""


USER = ["connect", "close", "abort", "emit", "serve", "kill", "drop", "cut", "refuse", "allow", "turn", "soon", "later"]


@given(st.lists(st.sampled_from(USER), max_size=25), st.integers(0, 3), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_walk_keeps_the_promises_of_the_states(steps: list[str], seed: int, sync: bool) -> None:
    alone = Alone(MemoryDriver(seed=seed), sync=sync)
    client, driver = alone.client, alone.driver
    seen = [client.state]
    inputs: list[tuple[ClientState, str, ClientState]] = []
    act = client._input

    def watched(name: str, *arguments: Any) -> None:
        before = client.state
        act(name, *arguments)
        inputs.append((before, name, client.state))

    client._input = watched  # type: ignore[method-assign]
    for step in steps:
        if step == "emit":
            try:
                client.emit("n", 1)
            except NotConnected:
                assert client.state in (S.CLOSING, S.CLOSED)
        elif step in ("connect", "close", "abort"):
            getattr(client, step)()
        elif step == "serve" and (alone.server is None or alone.server.state.value == "closed"):
            alone.serve()
        elif step == "kill" and alone.server is not None:
            alone.kill()
        elif step == "drop":
            driver.drop()
        elif step == "cut":
            driver.cut()
        elif step in ("refuse", "allow"):
            driver.refusal = PermissionError(13, "no") if step == "refuse" else None
        elif step == "turn" and driver.turn_due():
            driver.run_turn()
        elif step in ("soon", "later"):
            driver.advance(0.1 if step == "soon" else 10)
        seen.append(client.state)
        assert client.closed.done == (client.state is S.CLOSED)
        assert client.connected.done or client.state not in (S.CONNECTED, S.CLOSED)
        if client.state in (S.IDLE, S.WAITING, S.CLOSED):
            assert client._direct is None
        if client.state is S.CLOSED:
            assert client.pending_bytes == 0
    for before, name, after in inputs:
        allowed = NEXT.get((before, name), {before})
        assert after in allowed, (before, name, after)
    client.abort()
    driver.advance(100)
    assert client.state in (S.CLOSED, S.IDLE) or driver.refusal is None
    assert client.state is S.CLOSED
    assert alone.published.count("destroy") == seen_closings(alone.published)


def seen_closings(published: list[str]) -> int:
    """Each end is a ``disconnect`` and then a ``destroy``."""
    return sum(1 for a, b in itertools.pairwise(published) if (a, b) == ("disconnect", "destroy"))


# ---- connecting


def test_a_life() -> None:
    alone = Alone()
    assert "idle" in repr(alone.client)
    alone.client.emit("n", 1)
    assert "1 queued" in repr(alone.client)
    connected = alone.connected().client.connected
    assert connected.result() is alone.client
    assert alone.client.peer == alone.driver.server_identity
    alone.client.emit("n", 2)
    closed = alone.client.close()
    closed.then(lambda: alone.published.append("closed"))
    assert not closed.done
    alone.driver.run_until_idle()
    assert closed.result() is alone.client
    assert alone.published.pop() == "closed"
    assert alone.heard == [1, 2]
    assert alone.published == ["connect", "disconnect", "destroy"]
    assert alone.losses == [Loss()]
    with pytest.raises(NotConnected, match="'world' is not connected"):
        alone.client.peer  # noqa: B018
    assert alone.client.settings is alone.settings


def test_what_waited_goes_out_before_what_connect_handlers_emit() -> None:
    alone = Alone()
    alone.client.on("connect", lambda: alone.client.emit("n", "connect"))
    for number in range(100):
        assert alone.client.emit("n", number)
    alone.connected()
    assert alone.heard == [*range(100), "connect"]


def up_and_unheard() -> Any:
    """What a waiting front hands over: the link is up, and no handler of ``connect`` heard of it."""
    everything = pair(retry=100)
    everything.driver.run_until_idle()
    return everything


def test_the_connect_that_nobody_heard_is_told_to_those_that_come_in_one_turn() -> None:
    ends = up_and_unheard()
    told: list[str] = []
    ends.client.on("connect", lambda: told.append("first"))
    ends.client.once("connect", lambda: told.append("once"))
    ends.client.on("*", lambda type: told.append(type))
    assert told == []
    ends.driver.run_until_idle()
    assert told == ["first", "once"]  # those of * hear what is published from now on
    ends.client.on("connect", lambda: told.append("later"))
    ends.driver.run_until_idle()
    ends.connection.drop()
    ends.driver.advance(1)
    assert told == ["first", "once", "error", "disconnect", "connect", "first", "later"]


def test_a_handler_of_connect_that_registers_itself_anew_is_told_of_each_link_once() -> None:
    ends = up_and_unheard()
    told: list[str] = []

    def again() -> None:
        told.append("up")
        ends.client.once("connect", again)

    again()
    ends.driver.run_until_idle()
    assert told == ["up", "up"]
    ends.connection.drop()
    ends.driver.advance(1)
    assert told == ["up", "up", "up"]


@pytest.mark.parametrize("how", ["off", "close"])
def test_the_connect_that_nobody_heard_is_not_told_when_it_is_over(how: str) -> None:
    ends = up_and_unheard()
    told: list[str] = []
    ends.client.on("connect", lambda: told.append(ends.client.state.value))
    if how == "off":
        ends.client.off("connect")
    else:
        ends.client.close()
    ends.driver.advance(1)
    assert told == []


def test_late_handlers_of_connect_run_in_the_context_of_their_link() -> None:
    ends = up_and_unheard()
    name: ContextVar[str] = ContextVar("name", default="nobody's")
    ends.client.on("connect", lambda: name.set("the link's"))
    heard: list[str] = []
    ends.client.on("n", lambda: heard.append(name.get()))
    ends.driver.run_until_idle()
    ends.socket.emit("n")
    ends.driver.run_until_idle()
    assert heard == ["the link's"] and name.get() == "nobody's"


def test_connecting_while_connected_does_nothing() -> None:
    alone = Alone().connected()
    assert alone.client.connect() is alone.client.connected
    alone.driver.run_until_idle()
    assert alone.published == ["connect"]


def test_a_client_connects_anew_after_it_was_closed() -> None:
    alone = Alone().connected()
    alone.client.close()
    alone.driver.run_until_idle()
    old = alone.client.connected
    assert alone.client.connect() is not old
    alone.driver.run_until_idle()
    assert alone.client.state is S.CONNECTED
    assert not alone.client.closed.done
    alone.client.emit("n", 3)
    alone.driver.run_until_idle()
    assert alone.heard == [3]


@pytest.mark.parametrize("state", [S.IDLE, S.CONNECTING, S.CONNECTED, S.WAITING], ids=lambda state: state.value)
def test_a_connect_right_behind_a_close_is_carried_out_when_it_has_closed(state: ClientState) -> None:
    alone = bring(state)
    if alone.server is None:
        alone.serve()
    client, first = alone.client, alone.client.connected
    before = list(alone.published)
    client.emit("n", 1)
    closed = client.close()
    connected = client.connect()
    assert connected is client.connected and connected is not first
    assert client.connect() is connected, "a second one is the same"
    assert closed is not client.closed and client.state is S.CLOSING
    with pytest.raises(NotConnected, match="'world' is closing, and connects anew behind that: wait for it"):
        client.emit("n", 2)
    begun_anew: list[Any] = []
    client.on_closed.append(lambda: begun_anew.append(client.state))
    alone.driver.run_until(connected)
    assert (client.state.name, closed.done, client.closed.done) == ("CONNECTED", True, False)
    assert begun_anew == [S.CONNECTING]
    assert alone.published == [*before, "disconnect", "destroy", "connect"]
    client.emit("n", 3)
    alone.driver.run_until_idle()
    was_sent = state in (S.CONNECTING, S.CONNECTED)
    assert alone.heard == ([1, 3] if was_sent else [3])
    assert alone.losses == [Loss(None, 0 if was_sent else 1)]
    assert first.done and (first.error is None) == (state is S.CONNECTED)


@pytest.mark.parametrize("verb", ["close", "abort"])
def test_another_close_takes_the_connect_behind_a_close_back(verb: str) -> None:
    alone = Alone().connected()
    closed, connected = alone.client.close(), alone.client.connect()
    last = alone.client.closed
    getattr(alone.client, verb)()
    assert alone.client.closed is closed and not last.done
    with pytest.raises(NotConnected, match="was closed"):
        connected.result()
    alone.driver.advance(100)
    assert alone.client.state is S.CLOSED and closed.done and last.done
    assert alone.published == ["connect", "disconnect", "destroy"]
    with pytest.raises(NotConnected, match=r"is closed$"):
        alone.client.emit("n", 1)


@pytest.mark.row(38)
@pytest.mark.parametrize("event", ["disconnect", "destroy"])
def test_a_handler_of_the_end_may_take_the_connect_behind_it_back(event: str) -> None:
    alone = Alone().connected()
    alone.client.once(event, lambda: alone.client.close())
    closed, connected = alone.client.close(), alone.client.connect()
    last = alone.client.closed
    alone.driver.advance(100)
    assert alone.client.state is S.CLOSED and closed.done and last.done and connected.error is not None
    assert alone.published == ["connect", "disconnect", "destroy"]


@pytest.mark.row(38)
@pytest.mark.parametrize("event", ["disconnect", "destroy"])
def test_a_handler_of_the_end_may_connect_too_and_there_is_one_link(event: str) -> None:
    alone = Alone().connected()
    begun: list[Any] = []
    alone.client.once(event, lambda: begun.append(alone.client.connect()))
    alone.client.close()
    connected = alone.client.connect()
    alone.driver.run_until_idle()
    assert begun == [connected] and alone.client.state is S.CONNECTED and len(alone.driver.connections) == 1
    assert alone.published == ["connect", "disconnect", "destroy", "connect"]


def test_a_connect_behind_a_close_that_comes_to_nothing_says_why() -> None:
    alone = Alone(max_retries=0).connected()
    closed = alone.client.close()
    connected = alone.client.connect()
    alone.driver.run_until(closed)
    alone.kill()
    alone.driver.advance(100)
    assert alone.client.state is S.CLOSED and isinstance(connected.error, ConnectError)
    assert alone.client.ended_by is connected.error and alone.client.closed.done


@pytest.mark.parametrize(
    "error",
    [ConnectDenied("no"), PeerRefused("no"), AddressError("no"), PermissionError(13, "Permission denied")],
    ids=repr,
)
def test_errors_that_waiting_does_not_mend_are_final(error: Exception) -> None:
    alone = Alone()
    alone.driver.refusal = error
    connected = alone.client.connect()
    alone.driver.run_until_idle()
    assert alone.client.state is S.CLOSED
    assert alone.published == ["error", "disconnect", "destroy"]
    with pytest.raises(IPCError):
        connected.result()
    assert alone.client.failure is None  # it was heard
    assert alone.client.last_error is alone.errors[0]


def test_a_final_error_that_nobody_hears_is_kept() -> None:
    alone = Alone()
    alone.client.off("error")
    alone.driver.refusal = ConnectDenied("no")
    alone.client.connect()
    alone.driver.run_until_idle()
    assert alone.client.failure is alone.driver.refusal
    alone.driver.refusal = None
    alone.connected()
    assert alone.client.failure is None


def test_a_client_that_has_its_address_for_an_id_names_it_once(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    client = Client(str(WORLD), WORLD, driver, DEFAULTS)
    client.connect()
    driver.advance(1)
    assert f"cannot connect to {WORLD} yet, trying again" in caplog.text
    client.abort()


def test_two_warnings_and_not_a_line_per_attempt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "node_ipc")
    alone = Alone()
    alone.client.off("error")
    alone.client.connect()
    alone.driver.advance(60)
    assert alone.client.retries > 5
    at_once, in_the_end = [record.getMessage() for record in caplog.records]
    assert "trying again" in at_once and "still no link to 'world'" in in_the_end
    assert "cannot connect to world at unix:/memory/app.world yet, trying again" in caplog.text
    alone.serve()
    alone.driver.advance(10)
    alone.kill()
    alone.driver.advance(60)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("how", "told"),
    [("away", "the server is away"), ("unsent", "1 message was emitted and never sent"), ("full", "3 times in a row")],
)
def test_what_a_program_would_wait_for_in_vain_is_told_without_logging(
    how: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("node_ipc"), "propagate", False)  # to what pytest has set up
    alone = at_a_full_server() if how == "full" else Alone().connected()
    for event in ("error", "disconnect"):
        alone.client.off(event)
    if alone.server is not None:
        alone.kill()
    if how == "unsent":
        alone.client.emit("n")
        alone.client.close()
    alone.driver.advance(10)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if told in line]
    assert line.startswith("node_ipc: <Client 'world' ")


@pytest.mark.parametrize("own_log", [None, "silent", "prints"])
def test_who_waits_for_a_server_is_told_on_stderr_unless_a_log_of_its_own_shows_it(
    own_log: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("node_ipc"), "propagate", False)
    alone = Alone()
    alone.client.off("error")
    if own_log is not None:
        alone.client.own_log_is_silent = lambda: own_log == "silent"
    alone.client.connect()
    alone.driver.advance(4.9)
    assert "still no link" not in capsys.readouterr().err
    alone.driver.advance(0.2)
    assert ("after 5 s there is still no link to 'world'" in capsys.readouterr().err) == (own_log != "prints")


@pytest.mark.parametrize("when", ["before", "while it is up"])
def test_a_handler_of_connect_that_fails_is_told_with_its_link(when: str) -> None:
    driver = MemoryDriver()
    serve(driver)
    client = Client("world", WORLD, driver, DEFAULTS)
    told: list[Any] = []
    client.on_trace(lambda trace: told.append(trace.socket) if trace.what == "error" else None)
    client.on("error", lambda error: None)
    connected = client.connect()
    if when == "while it is up":
        driver.run_until(connected)
    client.on("connect", lambda: 1 / 0)
    driver.run_until_idle()
    assert told == [client._session] and client._session is not None


def remarks(alone: Alone) -> tuple[str, str]:
    """What is said where something came meanwhile, and where nothing did."""
    return alone.client.remarks(False), alone.client.remarks(True)


def test_what_is_known_of_why_nothing_may_come_is_said_and_nothing_else() -> None:
    alone = Alone()
    assert remarks(alone) == ("", "")
    alone.connected()
    something, nothing = remarks(alone)
    assert something == "" and nothing.startswith("; nothing came meanwhile: the server may emit none")
    alone.client.emit("n", 1)
    alone.driver.run_until_idle()
    something, nothing = remarks(alone)
    assert something == "" and nothing.startswith("; the server has read all that was emitted: ")
    assert alone.server is not None
    alone.server.sockets[0].pause_reading("test", True)
    alone.client.emit("n", 2)
    alone.driver.run_until_idle()
    said = "; the server's program has not read all that was emitted: "
    assert all(each.startswith(said) for each in remarks(alone))
    alone.kill()
    assert remarks(alone) == ("", "")


@pytest.mark.parametrize(("count", "said"), [(1, "1 message that came was"), (2, "2 messages that came were")])
def test_what_was_refused_here_is_said_too(count: int, said: str) -> None:
    alone = Alone().connected()
    alone.client.on("news", lambda data: None, type=int)
    assert alone.server is not None
    for _ in range(count):
        alone.server.broadcast("news", "tea")
    alone.driver.run_until_idle()
    (remark,) = alone.client.remarks(False).split("; ")[1:]
    assert remark.startswith(f"{said} refused here, the last since the payload of 'news' does not fit")


@pytest.mark.parametrize("emitted", [False, True])
def test_a_server_that_may_have_refused_what_was_emitted_is_told_once(
    emitted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is there, since it takes the next link at once, and ended one with which something was lost."""
    alone = Alone()
    alone.client.off("disconnect")
    server = alone.serve()
    alone.client.connect()
    for link in (1, 2, 3):
        alone.driver.run_until(lambda: server.stats().links == link)  # noqa: B023 - it is called here
        alone.driver.run_until_idle()
        in_doubt = emitted and link > 1
        assert (
            "; a link was lost before (without an error; 0 messages dropped, 1 not " in alone.client.remarks(False)
        ) == in_doubt
        if emitted:
            server.sockets[0].pause_reading("test", True)
            alone.client.emit("n")
            alone.driver.run_until_idle()
        server.sockets[0].close()
    alone.driver.run_until(lambda: server.stats().links == 4)
    alone.driver.run_until_idle()
    told = caplog.text.count("ended the link and takes a new one"), caplog.text.count("its max_message_size or max_")
    assert told == ((1, 1) if emitted else (0, 0))
    server.broadcast("anything")
    alone.driver.run_until_idle()
    assert "a link was lost" not in alone.client.remarks(False), "a message came: the server is content"


def test_a_server_that_answered_and_is_started_anew_is_not_suspected(caplog: pytest.LogCaptureFixture) -> None:
    alone = Alone()
    alone.client.off("disconnect")
    server = alone.serve()
    server.on("ask", lambda data, socket: socket.emit("answer", data))
    alone.client.connect()
    for link in (1, 2, 3):
        alone.driver.run_until(lambda: server.stats().links == link)  # noqa: B023 - it is called here
        alone.client.emit("ask", link)
        alone.driver.run_until_idle()
        server.sockets[0].close()
    alone.driver.run_until(lambda: server.stats().links == 4)
    assert "takes a new one" not in caplog.text and "a link was lost" not in alone.client.remarks(False)


@pytest.mark.parametrize("patient", [False, True])
def test_a_time_out_says_how_long_why_and_to_who_waits_how_to_wait_longer(patient: bool) -> None:
    alone = Alone()
    alone.client.is_patient = patient
    longer = HINT_AT_WAITING_LONGER if patient else ""
    assert str(connect_timeout(alone.client, 2)) == f"no link to {WORLD} within 2 s{longer}"
    alone.client.connect()
    alone.driver.run_until(lambda: alone.errors)
    assert str(connect_timeout(alone.client, 0.5)) == f"no link to {WORLD} within 0.5 s: {alone.errors[0]}{longer}"


@pytest.mark.parametrize(
    ("there", "meant"),
    [("world2", ""), ("wordl", ". Did you mean 'wordl', whose socket is '/memory/app.wordl'?"), ("something", "")],
)
def test_who_finds_no_server_hears_how_to_wait_for_one_and_which_may_be_meant(there: str, meant: str) -> None:
    alone = Alone()
    serve(alone.driver, Unix(f"/memory/app.{there}"))
    assert alone.client.meant_id() == meant
    assert str(hint_at_waiting(alone.client, ConnectError("no server"))) == f"no server{HINT_AT_WAITING}{meant}"
    assert str(hint_at_waiting(alone.client, ConnectDenied("no permission"))) == "no permission"


# ---- retries


def attempts(driver: MemoryDriver, client: Client, count: int) -> list[float]:
    """When the next attempts come."""
    times: list[float] = []
    undo = client.on_trace(lambda trace: times.append(driver.now()) if trace.what == "connecting" else None)
    driver.run_until(lambda: len(times) == count, limit=1e6)
    undo()
    return times


@pytest.mark.lane(name="repeats")
@pytest.mark.row(33)
def test_many_schedules_keep_their_bounds() -> None:
    chance = random.Random(33)
    local, network = settings_of(retry=500), settings_of(retry=500)
    for seed in range(SCHEDULES):
        address: Address = WORLD if seed % 2 else Tcp("localhost", 8000)
        longest = LONGEST_LOCAL if seed % 2 else LONGEST_NETWORK
        driver = MemoryDriver(seed=seed)
        client = Client("world", address, driver, local if seed % 2 else network)
        client.connect()
        count = chance.randint(2, 6)
        times = [0.0, *attempts(driver, client, count)]
        for number, (before, after) in enumerate(itertools.pairwise(times)):
            wait = min(0.5 * 1.6**number, longest)
            assert wait * (1 - JITTER) - 1e-9 <= after - before <= wait * (1 + JITTER) + 1e-9, f"seed {seed}"


@pytest.mark.row(33)
@given(st.floats(0.001, 1000), st.integers(0, 10_000), st.floats(0.1, 100), st.floats(0, 1, exclude_max=True))
def test_delays_grow_up_to_a_limit_that_never_cuts_the_base(
    base: float, attempt: int, longest: float, chance: float
) -> None:
    delay = retry_delay(base, attempt, longest, chance, 1.6)
    assert 0.79 * base <= delay <= 1.21 * max(longest, base)
    assert retry_delay(base, attempt, longest, 0.5, 1.6) <= retry_delay(base, attempt + 1, longest, 0.5, 1.6)


@pytest.mark.parametrize(("address", "most"), [(WORLD, 5), (Tcp("localhost", 8000), 30)])
def test_delays_are_5_s_at_the_most_on_one_machine_and_30_s_between_two(address: Address, most: float) -> None:
    alone = Alone(address=address)
    delays: list[float] = []
    alone.client.on_trace(lambda trace: delays.append(trace.detail) if trace.what == "retrying" else None)
    alone.client.connect()
    alone.driver.run_until(lambda: len(delays) == 60, limit=1e6)
    assert most * 1.15 < max(delays) <= most * 1.2
    assert most * 0.8 <= min(delays[20:]) < most * 0.85


@pytest.mark.row(33)
def test_delays_are_spread() -> None:
    first = []
    for seed in range(200):
        alone = Alone(MemoryDriver(seed=seed))
        alone.client.connect()
        first += attempts(alone.driver, alone.client, 1)
    assert len(set(first)) == 200
    assert max(first) - min(first) > 0.15


@pytest.mark.row(33)
@pytest.mark.parametrize("limit", [250, 100])
def test_200_clients_come_back_after_a_restart(limit: int) -> None:
    """With a limit below their number, too: our own guard refuses, and they try again.

    One round of retries alone cannot be spread wider than 20 % either way of 500 ms: the server is down for two.
    """
    driver = MemoryDriver(seed=1)
    server = serve(driver, max_connections=250)
    clients = [Client(f"c{number}", WORLD, driver, DEFAULTS) for number in range(200)]
    tries: list[float] = []
    for client in clients:
        client.on_trace(lambda trace: tries.append(driver.now()) if trace.what == "connecting" else None)
        client.on("error", lambda error: None)
        client.connect()
    driver.run_until(lambda: all(client.state is S.CONNECTED for client in clients))
    driver.advance(10)
    tries.clear()
    server.abort()
    driver.run_until(lambda: all(client.retries == 2 and client.state is S.WAITING for client in clients))
    back = driver.now()
    server = serve(driver, max_connections=limit)
    driver.run_until(lambda: len(server.sockets) == min(limit, 200), limit=3)
    assert driver.now() - back <= 3
    if limit == 250:
        assert max(sum(start <= when <= start + 0.1 for when in tries) for start in tries) <= 0.25 * len(tries)
        return
    for client in clients[:150]:
        client.close()
    driver.advance(40)
    assert sum(client.state is S.CONNECTED for client in clients) == 50


def test_the_delay_begins_anew_only_after_a_steady_link() -> None:
    alone = Alone().connected()
    for _ in range(6):
        alone.driver.advance(1)
        alone.driver.drop()
        alone.driver.run_until(lambda: alone.client.state is S.CONNECTED, limit=100)
    before = alone.driver.now()
    alone.driver.drop()
    alone.driver.run_until_idle()
    (after,) = attempts(alone.driver, alone.client, 1)
    assert after - before > 2  # a server that drops at once is not hammered
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)
    alone.driver.advance(5)
    before = alone.driver.now()
    alone.driver.drop()
    alone.driver.run_until_idle()
    (after,) = attempts(alone.driver, alone.client, 1)
    assert after - before <= 0.6


def test_the_delay_begins_anew_after_a_link_over_which_a_message_came() -> None:
    client, server, _, driver = pair(retry=500)
    delays: list[float] = []
    client.on_trace(lambda trace: delays.append(trace.detail) if trace.what == "retrying" else None)
    for _ in range(8):
        server.broadcast("news", 1)
        driver.run_until_idle()
        driver.drop()
        driver.run_until(lambda: client.state is S.WAITING)
        driver.run_until(lambda: client.state is S.CONNECTED and server.sockets, limit=100)
        driver.run_until_idle()
    assert len(delays) == 8 and max(delays) <= 0.6


@pytest.mark.parametrize(
    ("options", "tries"),
    [
        ({"max_retries": 0}, 1),
        ({"max_retries": 3}, 4),
        ({"stop_retrying": True}, 1),
        ({"stop_retrying": 0}, 1),
        ({"stop_retrying": 2}, 3),
        ({"stop_retrying": True, "max_retries": 5}, 1),
        ({"stop_retrying": 4, "max_retries": 2}, 3),
        ({"stop_retrying": 2, "max_retries": 4}, 3),
    ],
    ids=str,
)
def test_how_often_it_is_tried(options: dict[str, Any], tries: int) -> None:
    alone = Alone(**options)
    alone.client.connect()
    alone.driver.run_until(alone.client.closed, limit=1000)
    assert alone.published == ["error"] * tries + ["disconnect", "destroy"]
    assert alone.losses[0].reason is alone.errors[-1]
    alone.client.connect()  # counts begin anew
    alone.driver.run_until(alone.client.closed, limit=1000)
    assert alone.published.count("error") == 2 * tries


@pytest.mark.parametrize("options", [{}, {"max_retries": False}, {"stop_retrying": False}], ids=str)
def test_retries_without_limit(options: dict[str, Any]) -> None:
    alone = Alone(**options)
    alone.client.connect()
    alone.driver.advance(3600)
    assert alone.client.retries > 500
    assert alone.client.state in (S.WAITING, S.CONNECTING)


@pytest.mark.parametrize("held", ["a message came", "5 s"])
def test_retries_are_counted_since_a_link_held(held: str) -> None:
    alone = Alone(max_retries=2).connected()
    for _ in range(5):
        alone.kill()
        alone.driver.advance(0.7)
        alone.serve().on("connect", lambda socket: socket.emit("hello") if held == "a message came" else None)
        alone.driver.run_until(lambda: alone.client.state is S.CONNECTED, limit=5)
        alone.driver.advance(5 if held == "5 s" else 0.1)
        assert alone.client.state is S.CONNECTED


def test_a_link_that_holds_gives_all_retries_back_while_it_is_up() -> None:
    alone = Alone(max_retries=2)
    alone.client.connect()
    alone.driver.advance(0.1)
    alone.serve()
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED, limit=5)
    assert alone.client.retries_remaining == 1
    alone.driver.advance(5)
    assert alone.client.retries_remaining == 2


@pytest.mark.parametrize("options", [{"max_retries": 3}, {"stop_retrying": 3}], ids=str)
def test_what_accepts_and_drops_at_once_is_given_up(options: dict[str, Any]) -> None:
    alone = Alone(**options)
    server = WireServer(alone.driver)
    alone.client.connect()
    for number in range(4):
        alone.driver.run_until(lambda number=number: len(server.wires) == number + 1 and server.wires[-1].link, limit=5)  # type: ignore[misc]
        server.wires[-1].abort()
        alone.driver.run_until(lambda: alone.client.state is not S.CONNECTED)
    assert alone.client.state is S.CLOSED
    told = ["connect", "error", "disconnect"]
    assert alone.published == ["connect", "disconnect"] * 2 + told * 2 + ["destroy"]
    alone.client.connect()  # the count begins anew
    alone.driver.run_until(lambda: len(server.wires) == 5 and server.wires[-1].link)
    server.wires[-1].abort()
    alone.driver.run_until_idle()
    assert alone.client.state.name == "WAITING"


@pytest.mark.parametrize("options", [{"stop_retrying": True}, {"max_retries": 0}], ids=str)
def test_options_for_retries_set_while_it_runs(options: dict[str, Any]) -> None:
    config = Config()
    driver = MemoryDriver()
    client = Client("world", WORLD, driver, DEFAULTS, retrying=lambda: config)
    lost: list[Loss] = []
    client.on("disconnect", lost.append)
    client.on("error", lambda error: None)
    client.connect()
    client.emit("n", 1)
    driver.run_until(lambda: client.state is S.WAITING)
    config.update(**options)
    driver.run_until(client.closed)
    assert lost == [Loss(None, 1)]
    assert client.retries_remaining == 0


def test_the_delay_of_retries_set_while_it_runs() -> None:
    config = Config()
    driver = MemoryDriver()
    client = Client("world", WORLD, driver, DEFAULTS, retrying=lambda: config)
    client.on("error", lambda error: None)
    config.update(retry=60_000, retry_growth=1)
    client.connect()
    driver.run_until(lambda: client.state is S.WAITING)
    assert driver.next_due() == pytest.approx(driver.now() + 60)
    client.abort()


@pytest.mark.parametrize("stop", [True, 0])
def test_a_lost_link_without_retries_ends_the_client(stop: Any) -> None:
    alone = Alone(stop_retrying=stop).connected()
    alone.driver.drop()
    alone.driver.run_until_idle()
    assert alone.published == ["connect", "error", "disconnect", "destroy"]
    assert isinstance(alone.losses[0].reason, ConnectionLost)
    assert alone.errors == [alone.losses[0].reason]


@pytest.mark.row(33)
@pytest.mark.parametrize("bad", [b"garbage\f", b'{"type":"connect"}\f', b"\xff\f", b"x" * 5000])
def test_protocol_errors_end_a_client_after_five_in_a_row(bad: bytes) -> None:
    alone = Alone(max_protocol_errors=5, max_message_size=1000)
    server = WireServer(alone.driver)
    alone.client.connect()
    for number in range(5):
        alone.driver.run_until(lambda number=number: len(server.wires) == number + 1 and server.wires[-1].link)  # type: ignore[misc]
        server.wires[-1].write(bad)
        alone.driver.run_until(lambda: alone.client.state is not S.CONNECTED)
    assert alone.client.state is S.CLOSED
    assert len(alone.errors) == 5
    assert all(isinstance(error, ProtocolError) for error in alone.errors)
    assert isinstance(alone.losses[-1].reason, ProtocolError)


@pytest.mark.row(33)
def test_connecting_anew_sets_all_counts_back() -> None:
    alone = Alone(max_protocol_errors=2)
    server = WireServer(alone.driver)
    for round in range(3):
        alone.client.connect()
        for number in range(2):
            alone.driver.run_until(lambda: alone.client.state is S.CONNECTED, limit=0.7 * 1.6**number)
            alone.driver.run_until_idle()
            server.wires[-1].write(b"garbage\f")
            alone.driver.run_until(lambda: alone.client.state is not S.CONNECTED)
        assert alone.client.state is S.CLOSED
        assert len(alone.errors) == 2 * (round + 1)


@pytest.mark.row(33)
def test_one_good_message_sets_the_count_back() -> None:
    alone = Alone(max_protocol_errors=3)
    server = WireServer(alone.driver)
    alone.client.connect()

    def met(times: int) -> bool:
        return len(server.wires) == times and server.wires[-1].link is not None

    for number in range(8):
        alone.driver.run_until(partial(met, number + 1), limit=100)
        server.wires[-1].write(b'{"type":"fine"}\f' + b"garbage\f" if number % 2 else b"garbage\f")
        alone.driver.run_until(lambda: alone.client.state is not S.CONNECTED)
        assert alone.client.state is S.WAITING


# ---- the queue


@pytest.mark.row(31)
def test_a_hundred_emits_while_the_server_is_down_arrive_in_order() -> None:
    alone = Alone().connected()
    alone.kill()
    for number in range(100):
        alone.client.emit("n", number)
        alone.driver.advance(0.006)
    alone.serve()
    alone.driver.advance(10)
    assert alone.heard == list(range(100))


@pytest.mark.row(31)
@pytest.mark.parametrize(
    ("options", "size", "accepted"),
    [
        ({"max_queued_messages": 10}, 1, 10),
        ({"max_queued_bytes": 1000}, 480, 1),
        ({"max_queued_bytes": 1100}, 480, 2),
        ({"max_queued_bytes": 1000}, 5000, 1),  # one large message alone may be above the limit
    ],
)
def test_the_queue_has_an_end(options: dict[str, Any], size: int, accepted: int) -> None:
    alone = Alone(**options)
    with pytest.raises(BackpressureError, match=r"cannot emit 'n': \d+ messages .* already wait.*max_queued_messages"):
        for _ in range(20):
            alone.client.emit("n", "x" * size)
    assert alone.client.pending_bytes >= size
    alone.connected()
    assert len(alone.heard) == accepted
    assert alone.client.pending_bytes == 0


@pytest.mark.row(31)
def test_what_waited_is_not_refused_by_the_limit_of_the_link() -> None:
    alone = Alone(
        MemoryDriver(conditions=Conditions(buffer=1000)),
        max_queued_messages=5000,
        max_queued_bytes=4_000_000,
        max_pending_bytes=100_000,
    )
    for number in range(3000):
        alone.client.emit("n", [number, "x" * 500])
    alone.connected()
    alone.driver.run_until_idle()
    assert [number for number, _ in alone.heard] == list(range(3000))


@pytest.mark.parametrize("state", [S.IDLE, S.CONNECTING, S.CONNECTED, S.WAITING])
def test_what_cannot_be_sent_is_refused_in_every_state(state: ClientState) -> None:
    alone = bring(state)
    with pytest.raises(ReservedEvent):
        alone.client.emit("connect", 1)
    with pytest.raises(InvalidPayload):
        alone.client.emit("n", object())
    assert alone.client.pending_bytes == 0


@pytest.mark.parametrize("state", [S.CLOSING, S.CLOSED])
def test_nothing_is_taken_when_it_is_over(state: ClientState) -> None:
    alone = bring(state)
    with pytest.raises(NotConnected, match=f"cannot emit 'n': the client 'world' is {state.value}"):
        alone.client.emit("n", 1)


@pytest.mark.row(31)
def test_emits_between_the_end_of_a_link_and_its_news_wait_for_the_next() -> None:
    alone = Alone(retry=10).connected()
    alone.client.on("error", lambda error: alone.client.emit("n", "in error"))
    alone.client.on("disconnect", lambda loss: alone.client.emit("n", "in disconnect"))
    alone.driver.connections[0].server.write(b"garbage\f")
    alone.driver.advance(1)
    assert alone.heard == ["in error", "in disconnect"]
    assert len(alone.errors) == 1


# ---- sync mode


def test_sync_sends_one_and_waits_for_an_answer() -> None:
    alone = Alone(sync=True)
    for number in range(3):
        assert alone.client.emit("n", number)
    alone.connected()
    alone.driver.advance(10)
    assert alone.heard == [0]
    assert alone.server is not None
    for expected in ([0, 1], [0, 1, 2], [0, 1, 2]):
        alone.server.broadcast("answer")
        alone.driver.run_until_idle()
        assert alone.heard == expected
    alone.client.emit("n", 3)
    alone.driver.run_until_idle()
    assert alone.heard == [0, 1, 2, 3]


def test_sync_goes_on_when_an_answer_comes_that_waits_for_handlers() -> None:
    alone = Alone(sync=True, max_handler_frames=1).connected()
    client, driver, server = alone.client, alone.driver, alone.server
    assert server is not None
    answered: list[str] = []

    @client.on("answer")
    async def answer(data: str) -> None:
        await driver.sleep(3600)
        answered.append(data)

    server.broadcast("answer", "first")
    driver.run_until_idle()
    for number in range(2):
        client.emit("n", number)
    driver.run_until_idle()
    assert alone.heard == [0]
    server.broadcast("answer", "second")
    driver.advance(2)  # nothing is read while the handler is at work, but for a look each second
    assert alone.heard == [0, 1] and answered == []


def test_sync_goes_on_after_a_lost_link() -> None:
    alone = Alone(sync=True).connected()
    for number in range(3):
        alone.client.emit("n", number)
    alone.driver.run_until_idle()
    alone.driver.drop()
    alone.driver.advance(5)
    assert alone.heard == [0, 1]  # the second goes out on the new link, without an answer to the first


def test_sync_sends_the_rest_when_it_is_closed() -> None:
    alone = Alone(sync=True).connected()
    for number in range(5):
        alone.client.emit("n", number)
    alone.client.close()
    alone.driver.run_until_idle()
    assert alone.heard == [0, 1, 2, 3, 4]
    assert alone.losses == [Loss()]


def test_sync_does_not_give_messages_to_a_link_that_is_ending() -> None:
    alone = Alone(sync=True, retry=10).connected()
    alone.client.on("error", lambda error: alone.client.emit("n", "in error"))
    alone.driver.connections[0].server.write(b"garbage\f")
    alone.driver.advance(1)
    assert alone.heard == ["in error"]


def test_sync_counts_what_waited_when_the_link_that_ends_it_is_lost() -> None:
    alone = Alone(sync=True, stop_retrying=True).connected()
    for number in range(3):
        alone.client.emit("n", number)
    alone.driver.drop()
    alone.driver.run_until(alone.client.closed)
    (loss,) = alone.losses
    assert loss.dropped + loss.in_flight + len(alone.heard) == 3 and loss.dropped >= 2


def test_sync_from_another_thread() -> None:
    alone = Alone(sync=True).connected()
    with alone.driver.other_thread():
        alone.client.emit("n", 1)
        alone.client.emit("n", 2)
    alone.driver.run_until_idle()
    assert alone.heard == [1]
    assert alone.server is not None
    alone.server.broadcast("answer")
    alone.driver.run_until_idle()
    assert alone.heard == [1, 2]


# ---- closing


def test_closing_while_connecting_delivers_if_the_link_comes_up_in_time() -> None:
    alone = Alone()
    alone.serve()
    alone.driver.conditions.latency = 0.1
    alone.client.connect()
    alone.client.emit("n", 1)
    alone.client.close()
    alone.driver.run_until(alone.client.closed)
    assert alone.heard == [1]
    assert alone.published == ["disconnect", "destroy"]
    assert alone.losses == [Loss()]


@pytest.mark.parametrize("how", ["failed", "expired", "abort"])
def test_closing_while_connecting_drops_if_it_does_not(how: str) -> None:
    alone = Alone(close_timeout=1000 if how == "expired" else 5000)
    if how != "failed":
        alone.serve()
    alone.driver.conditions.latency = 1.5
    connected = alone.client.connect()
    alone.client.emit("n", 1)
    (alone.client.abort if how == "abort" else alone.client.close)()
    alone.driver.run_until(alone.client.closed)
    assert alone.driver.now() == {"failed": 1.5, "expired": 1.0, "abort": 0.0}[how]
    assert alone.losses[0].dropped == 1
    assert connected.error is not None
    alone.driver.advance(10)  # the attempt that is forgotten ends, and nobody hears of it
    assert alone.published == ["disconnect", "destroy"]
    assert alone.driver.connections == []
    assert alone.heard == []


def test_closing_while_waiting_drops_and_counts() -> None:
    alone = bring(S.WAITING)
    alone.client.emit("n", 1)
    alone.client.emit("n", 2)
    assert alone.client.close() is alone.client.closed
    assert alone.client.state is S.CLOSING
    alone.driver.run_until_idle()
    assert alone.losses == [Loss(None, 2)]
    assert alone.client.stats().dropped == 2


@pytest.mark.row(36)
def test_closing_ends_in_time() -> None:
    alone = Alone(close_timeout=5000).connected()
    alone.driver.connections[0].to_server.stall()
    for _ in range(1000):
        alone.client.emit("n", "x" * 1000)
    alone.client.close()
    alone.driver.advance(4.9)
    assert alone.client.state is S.CLOSING
    alone.driver.advance(0.2)
    assert alone.client.state.name == "CLOSED"
    assert alone.losses[0].dropped + alone.losses[0].in_flight > 500


def test_closing_with_a_time_of_its_own() -> None:
    alone = Alone().connected()
    alone.driver.cut()
    closed = alone.client.close(timeout=0.5)
    alone.driver.run_until(closed)
    assert alone.driver.now() == 0.5


def test_a_second_close_that_has_less_time_holds_and_one_that_has_more_does_not() -> None:
    alone = Alone().connected()
    alone.driver.connections[0].to_server.stall()
    for _ in range(1000):
        alone.client.emit("n", "x" * 1000)
    closed = alone.client.close(timeout=60)
    alone.driver.advance(1)
    for longer in (None, 100):
        assert alone.client.close(timeout=longer) is closed
    alone.driver.advance(10)
    assert not closed.done, "no time of its own is no wish to hurry"
    alone.client.close(timeout=0.5)
    alone.driver.run_until(closed)
    assert alone.driver.now() == 11.5
    assert alone.losses[0].dropped > 0


def test_aborting_is_over_at_once() -> None:
    alone = Alone().connected()
    alone.driver.connections[0].to_server.stall()
    for _ in range(1000):
        alone.client.emit("n", "x" * 1000)
    alone.client.abort()
    alone.driver.run_until_idle()
    assert alone.driver.now() == 0
    assert alone.client.state is S.CLOSED
    assert alone.losses[0].dropped > 0


def test_closing_twice_and_aborting_afterwards() -> None:
    alone = Alone().connected()
    closed = alone.client.close()
    assert alone.client.close() is closed
    alone.client.abort()
    alone.driver.run_until_idle()
    alone.client.close()
    alone.client.abort()
    alone.driver.run_until_idle()
    assert alone.published == ["connect", "disconnect", "destroy"]


def test_closing_what_never_connected() -> None:
    alone = Alone()
    alone.client.emit("n", 1)
    alone.client.close()
    alone.driver.run_until_idle()
    assert alone.published == ["disconnect", "destroy"]
    assert alone.losses == [Loss(None, 1)]
    with pytest.raises(NotConnected, match="was closed"):
        alone.client.connected.result()


# ---- inside handlers


@pytest.mark.row(38)
@pytest.mark.parametrize("verb", ["close", "abort"])
@pytest.mark.parametrize("event", ["connect", "disconnect", "error", "n"])
def test_ending_inside_a_handler(event: str, verb: str) -> None:
    alone = Alone()
    alone.client.on(event, lambda: getattr(alone.client, verb)())
    if event == "error":
        alone.client.connect()
    else:
        server = alone.serve()
        server.on("connect", lambda socket: socket.emit("n"))
        alone.client.connect()
        if event == "disconnect":
            alone.driver.run_until_idle()
            alone.driver.drop()
    alone.driver.run_until(alone.client.closed)
    assert alone.driver.now() == 0
    assert alone.published[-2:] == ["disconnect", "destroy"]
    assert alone.published.count("destroy") == 1
    alone.driver.advance(100)
    assert alone.client.state is S.CLOSED


@pytest.mark.row(38)
@pytest.mark.parametrize("event", ["disconnect", "destroy"])
def test_connecting_anew_inside_a_handler_of_the_end(event: str) -> None:
    alone = Alone().connected()
    begun: list[Any] = []
    alone.client.once(event, lambda: begun.append(alone.client.connect()))
    closed = alone.client.close()
    alone.driver.run_until(lambda: begun)
    alone.driver.run_until_idle()
    assert alone.client.state is S.CONNECTED
    assert closed.done
    assert begun[0].result() is alone.client
    assert not alone.client.closed.done


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_client_that_ends_while_it_connects_goes_no_further(how: str) -> None:
    """The server would see a connection that nobody wanted any more."""
    alone = Alone(address=Tcp("world.example", 8000), connect_timeout=60_000)
    alone.driver.hosts["world.example"] = ["10.0.0.1", "10.0.0.2"]
    alone.driver.silent.add("10.0.0.1")
    server = WireServer(alone.driver, Tcp("10.0.0.2", 8000))
    alone.client.connect()
    alone.driver.advance(1)
    alone.client.abort() if how == "abort" else alone.client.close(timeout=1)
    alone.driver.run_until(alone.client.closed)
    alone.driver.advance(120)
    assert alone.driver.connections == [] and server.wires == []
    assert alone.client.state is S.CLOSED


@pytest.mark.row(38)
def test_aborting_and_connecting_anew_at_once() -> None:
    alone = bring(S.WAITING)
    alone.serve()
    alone.client.close()
    alone.client.abort()
    alone.client.connect()
    alone.driver.run_until_idle()
    assert alone.client.state is S.CONNECTED
    alone.client.emit("n", 1)
    alone.driver.run_until_idle()
    assert alone.heard == [1]


@pytest.mark.row(38)
def test_aborting_and_connecting_anew_in_the_error_handler() -> None:
    alone = Alone()

    def anew() -> None:
        alone.serve_later = True  # type: ignore[attr-defined]
        alone.client.abort()
        alone.client.connect()

    alone.client.once("error", anew)
    alone.client.connect()
    alone.driver.run_until(lambda: len(alone.errors) == 2)
    assert alone.client.state is S.WAITING
    alone.serve()
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)


@pytest.mark.row(38)
def test_emitting_and_registering_inside_handlers() -> None:
    alone = Alone().connected()
    server = alone.server
    assert server is not None
    server.on("n", lambda data, socket: socket.emit("n", data))

    def first(data: int) -> None:
        alone.client.off("n", first)
        alone.client.once("n", lambda data: alone.client.emit("n", data + 1))
        alone.client.emit("n", data + 1)

    alone.client.on("n", first)
    alone.client.emit("n", 0)
    alone.driver.run_until_idle()
    assert alone.heard == [0, 1, 2]


# ---- verbs of other libraries


@pytest.mark.parametrize(
    ("verb", "ours"),
    [
        ("send", "emit(type, data)"),
        ("write", "emit(type, data)"),
        ("end", "close()"),
        ("stop", "close()"),
        ("is_connected", "connected, which is true while the link is up"),
        ("is_open", "connected, which is true while the link is up"),
        ("poll", "ipc.run()"),
        ("run_forever", "ipc.run()"),
        ("broadcast", "a client has one server"),
    ],
)
def test_who_calls_it_as_elsewhere_hears_what_it_is_called_here(verb: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(ours)):
        getattr(Alone().client, verb)


# ---- threads and forks


@pytest.mark.row(40)
@pytest.mark.parametrize("state", [S.IDLE, S.CONNECTING, S.CONNECTED, S.WAITING])
def test_only_emit_is_for_other_threads(state: ClientState) -> None:
    alone = bring(state)
    with alone.driver.other_thread():
        for number in range(10):
            assert alone.client.emit("n", number)
        for verb in ("connect", "close", "abort"):
            with pytest.raises(WrongThreadError, match=rf"{verb}\(\)"):
                getattr(alone.client, verb)()
        for verb in ("on", "once", "off", "handle"):
            with pytest.raises(WrongThreadError, match=rf"\b{verb}\(\)"):
                getattr(alone.client, verb)("n", print)
        with pytest.raises(WrongThreadError, match=r"request\(\)"):
            alone.client.request("n")
        with pytest.raises(InvalidPayload):
            alone.client.emit("n", object())
    if alone.server is None:
        alone.serve()
    alone.client.connect()
    alone.driver.advance(2)
    assert alone.heard == list(range(10))


@pytest.mark.row(40)
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"max_queued_messages": 10}, 1),
        ({"max_queued_bytes": 10 * (100 + len('{"type":"n","data":""}\f'))}, 100),
    ],
)
def test_emits_from_other_threads_are_bounded_while_the_link_is_down(options: dict[str, Any], size: int) -> None:
    alone = Alone(**options)
    with alone.driver.other_thread():
        for _ in range(6):
            alone.client.emit("n", "x" * size)
    alone.driver.run_until_idle()  # these six wait in the queue now
    with alone.driver.other_thread():
        for _ in range(4):
            alone.client.emit("n", "x" * size)
        with pytest.raises(BackpressureError, match=r"10 messages \(\d+ bytes\) already wait"):
            alone.client.emit("n", "x" * size)
    alone.driver.run_until_idle()
    with pytest.raises(BackpressureError):
        alone.client.emit("n", "x" * size)
    alone.connected()
    assert alone.heard == ["x" * size] * 10


@pytest.mark.row(31)
def test_emits_from_other_threads_that_come_too_late_are_an_error() -> None:
    alone = bring(S.WAITING)
    with alone.driver.other_thread():
        alone.client.emit("n", 1)
    alone.client.abort()
    alone.errors.clear()
    alone.driver.run_until_idle()
    assert [type(error) for error in alone.errors] == [NotConnected]
    assert alone.client.stats().dropped == 1


def test_whether_a_server_has_read_all_is_asked_where_there_is_one() -> None:
    alone = Alone()
    assert alone.client.ask_in_turn() is None
    alone.connected()
    has_answered = alone.client.ask_in_turn()
    assert has_answered is not None and not has_answered()
    alone.driver.run_until_idle()
    assert has_answered()


@pytest.mark.row(40)
@pytest.mark.parametrize(("keep", "heard"), [(None, [1, 2]), ("latest", [2])])
def test_emits_from_other_threads_arrive_when_the_link_came_up_meanwhile(keep: Any, heard: list[int]) -> None:
    alone = Alone()
    alone.serve()
    alone.client.connect()
    with alone.driver.other_thread():
        alone.client.emit("n", 1, keep=keep)
        alone.client.emit("n", 2, keep=keep)
    alone.driver._ready.rotate(-1)
    alone.driver.run_until_idle()
    assert alone.heard == heard


@pytest.mark.row(41)
@pytest.mark.parametrize("state", [S.IDLE, S.CONNECTING, S.WAITING])
def test_a_forked_child_is_told_to_connect_anew(state: ClientState) -> None:
    alone = bring(state)
    with alone.driver.forked_child():
        with pytest.raises(ForkError, match="Connect anew in the child"):
            alone.client.emit("n", 1)
        for verb in ("connect", "close", "abort"):
            with pytest.raises(ForkError):
                getattr(alone.client, verb)()


# ---- no permission, and giving up


class Moody(MemoryDriver):
    """Its server cannot be reached for lack of permission while ``denies``."""

    denies = False

    def open(self, address: Address, receiver: Receiver, settings: Config) -> Any:
        if self.denies:
            return self.call_later(0, partial(receiver.failed, ConnectDenied("no permission")))
        return super().open(address, receiver, settings)


def test_no_permission_is_final_where_nobody_was_let_in_or_waits() -> None:
    driver = Moody()
    driver.denies = True
    alone = Alone(driver)
    alone.client.connect()
    driver.run_until(alone.client.closed)
    assert isinstance(alone.losses[0].reason, ConnectDenied)
    assert alone.client.retries_remaining == 0


@pytest.mark.parametrize("why", ["was up", "waits"])
def test_no_permission_for_a_while_is_a_failed_attempt(why: str) -> None:
    """A server that starts anew has its permissions a moment later."""
    driver = Moody()
    alone = Alone(driver)
    if why == "was up":
        alone.connected()
        alone.kill()
    alone.client.is_patient = why == "waits"
    driver.denies = True
    alone.client.connect()
    driver.run_until(lambda: len([error for error in alone.errors if isinstance(error, ConnectDenied)]) == 2)
    driver.denies = False
    alone.serve()
    driver.run_until(lambda: alone.client.state is S.CONNECTED)


@pytest.mark.row(33)
def test_a_growth_of_1_is_a_constant_retry() -> None:
    alone = Alone(retry=300, retry_growth=1)
    alone.client.connect()
    for number in range(20):
        alone.driver.run_until(lambda: len(alone.errors) > number)  # noqa: B023 - it is called here
        assert alone.driver.now() == pytest.approx(number * 0.3)


@pytest.mark.parametrize(
    ("options", "remaining"),
    [({}, math.inf), ({"max_retries": 3}, 3), ({"stop_retrying": 2}, 2), ({"max_retries": 5, "stop_retrying": 4}, 4)],
)
def test_retries_that_remain(options: dict[str, Any], remaining: float) -> None:
    alone = Alone(**options)
    assert alone.client.retries_remaining == remaining
    alone.client.connect()
    for number in range(1, 4):
        alone.driver.run_until(lambda: len(alone.errors) > number)  # noqa: B023 - it is called here
        if alone.client.state is S.CLOSED:
            break
        assert alone.client.retries_remaining == remaining - number
    alone.client.abort()
    alone.driver.run_until_idle()
    assert alone.client.retries_remaining == 0


# ---- a link that is reset


@pytest.mark.parametrize("verb", ["nothing", "close", "abort"])
def test_a_link_that_is_reset_is_an_error_event_before_disconnect_on_both_ends(verb: str) -> None:
    ends = pair()
    heard: list[tuple[str, Any]] = []

    def failed(error: IPCError) -> None:
        heard.append(("client error", error))
        if verb != "nothing":
            getattr(ends.client, verb)()

    ends.client.on("error", failed)
    ends.client.on("disconnect", lambda loss: heard.append(("disconnect", loss.reason)))
    ends.server.on("error", lambda error, socket: heard.append(("server error", error)))
    ends.server.on("socket.disconnected", lambda socket: heard.append(("gone", socket.loss.reason)))
    ends.client.emit("n", 1)
    ends.driver.run_until_idle()
    ends.connection.drop()
    ends.driver.run_until_idle()
    ours, theirs = [each for each in heard if "s" in each[0][:1]], [each for each in heard if each[0][0] in "cd"]
    assert [name for name, _ in theirs] == ["client error", "disconnect"]
    assert isinstance(theirs[0][1], ConnectionLost) and theirs[0][1] is theirs[1][1]
    assert [name for name, _ in ours] == ["server error"] and isinstance(ours[0][1], ConnectionLost)
    assert ("gone", ours[0][1]) in heard
    assert ends.client.state is (S.WAITING if verb == "nothing" else S.CLOSED)


def test_an_orderly_end_is_no_error() -> None:
    ends = pair()
    errors: list[Any] = []
    ends.client.on("error", errors.append)
    ends.server.on("error", errors.append)
    ends.socket.close()
    ends.driver.advance(1)
    ends.client.close()
    ends.driver.advance(1)
    assert errors == []


# ---- statistics, drain, errors


def test_statistics_over_several_links() -> None:
    alone = Alone().connected()
    for number in range(3):
        alone.client.emit("n", number)
    alone.driver.run_until_idle()
    alone.driver.drop()
    alone.driver.advance(1)
    alone.client.emit("n", 3)
    alone.driver.run_until_idle()
    stats = alone.client.stats()
    assert (stats.messages_out, stats.links, stats.retries, stats.errors) == (4, 2, 1, 1)
    assert stats.seconds == alone.driver.now()
    assert stats.pending_bytes == 0


def test_traces_of_a_life() -> None:
    alone = Alone()
    told: list[str] = []
    details: dict[str, Any] = {}

    def hear(trace: Trace) -> None:
        told.append(trace.what)
        details[trace.what] = trace.detail

    alone.client.on_trace(hear)
    undo = alone.client.on_trace(lambda trace: told.append("second"))
    undo()
    undo()
    alone.client.connect()
    alone.driver.run_until(lambda: alone.client.state is S.WAITING)
    alone.serve()
    alone.driver.run_until(lambda: alone.client.state is S.CONNECTED)
    alone.client.emit("n", 1)
    alone.client.close()
    alone.driver.run_until(alone.client.closed)
    assert told == ["connecting", "error", "retrying", "connecting", "opened", "sent", "lost"]
    assert details["connecting"] == WORLD and 0.4 <= details["retrying"] <= 0.6
    assert [details["error"]] == alone.errors and [details["lost"]] == alone.losses


def test_drained_is_told() -> None:
    alone = Alone().connected()
    told: list[int] = []
    alone.client.on_drained.append(lambda: told.append(alone.client.pending_bytes))
    alone.driver.connections[0].change(buffer=1000)
    for _ in range(10):
        alone.client.emit("n", "x" * 1000)
    assert alone.client.pending_bytes > 0
    alone.driver.run_until_idle()
    assert set(told) == {0}
    alone.client.close()
    alone.driver.run_until_idle()
    assert told[-1] == 0


def test_what_a_new_link_takes_at_once_is_told_as_drained() -> None:
    alone = bring(S.WAITING)
    for number in range(5):
        alone.client.emit("n", [number, "x" * 1000])
    told: list[int] = []
    alone.client.on_drained.append(lambda: told.append(alone.client.owed_bytes))
    alone.serve()
    alone.driver.run_until(lambda: len(alone.heard) == 5)
    assert told == [0]


def test_a_request_that_is_given_up_before_there_is_a_link_is_told_as_drained() -> None:
    alone = bring(S.WAITING)
    alone.client.emit("n", 1)
    size = alone.client.owed_bytes
    told: list[int] = []
    alone.client.on_drained.append(lambda: told.append(alone.client.owed_bytes))
    asked = alone.client.request("m", "x" * 1000)
    assert alone.client.owed_bytes > size and told == []
    assert asked.abandon is not None
    asked.abandon()
    assert told == [size]


def test_each_message_of_sync_mode_that_goes_out_is_told_as_drained() -> None:
    alone = Alone(sync=True).connected()
    told: list[int] = []
    alone.client.on_drained.append(lambda: told.append(alone.client.owed_bytes))
    for number in range(3):
        alone.client.emit("n", number)
    size = alone.client.owed_bytes // 2
    for _ in range(3):
        alone.driver.run_until_idle()
        assert alone.server is not None
        alone.server.broadcast("answer")
    alone.driver.run_until_idle()
    assert told == [0, size, 0] and len(alone.heard) == 3


def test_whoever_waits_until_all_has_gone_out_hears_of_the_end_also_where_no_link_was() -> None:
    alone = bring(S.WAITING)
    alone.client.emit("n")
    told: list[Any] = []
    alone.client.on_drained.append(lambda: told.append((alone.client.state, alone.client.pending_bytes)))
    alone.client.close()
    alone.driver.run_until_idle()
    assert told == [(S.CLOSED, 0)]


def test_what_is_owed_is_what_waits_and_is_not_replaced() -> None:
    alone = Alone()
    assert alone.client.owed_bytes == alone.client.pending_bytes == 0
    alone.client.emit("n", 1)
    assert alone.client.owed_bytes == alone.client.pending_bytes == len(alone.client.encode("n", 1))
    alone.connected()
    for number in range(3):
        alone.client.emit("n", number)
    assert alone.client.owed_bytes == 0 < alone.client.pending_bytes, "the turn ends by itself"
    alone.driver.stall()
    while alone.client.emit("n", "x" * 5000):
        pass
    owed = alone.client.owed_bytes
    assert owed == alone.client.pending_bytes > 0
    alone.client.emit("frame", 1, keep="latest")
    assert alone.client.owed_bytes == owed < alone.client.pending_bytes


@pytest.mark.parametrize("gave_up", [False, True])
def test_what_cannot_be_done_any_more_says_why_it_ended_where_that_was_not_asked_for(gave_up: bool) -> None:
    alone = Alone(stop_retrying=gave_up)
    alone.client.connect() if gave_up else alone.client.close()
    alone.driver.run_until(alone.client.closed)
    why = f", since it gave up: {alone.errors[0]}" if gave_up else ""
    with pytest.raises(NotConnected) as refused:
        alone.client.emit("n")
    assert str(refused.value) == f"cannot emit 'n': the client 'world' is closed{why}"
    assert refused.value.__cause__ is (alone.errors[0] if gave_up else None)
    with pytest.raises(NotConnected, match=r"^cannot request 'add': the client 'world' is closed"):
        alone.client.request("add")


@pytest.mark.parametrize(("count", "told"), [(1, "1 message was"), (2, "2 messages were")])
def test_what_was_never_sent_is_counted_and_no_reason_is_made_up(
    count: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    alone = Alone()
    alone.client.off("disconnect")
    for number in range(count):
        alone.client.emit("n", number)
    alone.client.close()
    alone.driver.run_until_idle()
    (record,) = caplog.records
    assert record.getMessage().endswith(f": {told} emitted and never sent, and the client is closed")
    assert alone.client.stats().dropped == count


@pytest.mark.row(37)
def test_errors_that_nobody_hears_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    client, _, socket, driver = pair()

    def fail() -> None:
        raise ValueError("no")

    client.on("n", fail)
    socket.emit("n")
    driver.run_until_idle()
    assert caplog.records[-1].levelname == "ERROR"
    assert caplog.records[-1].exc_info
    client.on("m", lambda data: None, type=int)
    socket.emit("m", "x")
    driver.run_until_idle()
    assert caplog.records[-1].levelname == "WARNING"
    assert re.search("<Client 'world' .* does not fit", caplog.text)
    for _ in range(100):
        socket.emit("m", "x")
    driver.run_until_idle()
    assert len(caplog.records) == 6  # the traceback, and a few lines a second
    assert [type(failure) for failure in driver.failures] == [HandlerError, *[InvalidPayload] * 101]


@pytest.mark.row(37)
def test_a_failing_error_handler_is_logged_and_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    client, _, socket, driver = pair()
    told: list[IPCError] = []

    def fail(error: IPCError) -> None:
        told.append(error)
        raise ValueError("the error handler")

    client.on("error", fail)
    client.on("n", lambda: 1 / 0)
    socket.emit("n")
    driver.run_until_idle()
    assert len(told) == 1
    assert "the error handler" in caplog.text
    assert ["'error' failed" in str(failure) for failure in driver.failures] == [True]


def test_events_of_unknown_names_go_to_unheard() -> None:
    client, _, socket, driver = pair()
    told: list[Any] = []
    client.unheard = lambda type, data, session: told.append((type, data))
    client.on("known", lambda: None)
    socket.emit("known", 1)
    socket.emit("unknown", 2)
    driver.run_until_idle()
    assert told == [("unknown", 2)]


def test_requests_that_nobody_handles_are_answered() -> None:
    client, _, socket, driver = pair()
    answer = socket.request("nothing")
    driver.run_until(answer)
    assert answer.error is not None
    assert not client.awaits_answers
    asked = client.request("nothing")
    assert client.awaits_answers
    driver.run_until(asked)
    assert not client.awaits_answers


def test_reading_can_be_paused() -> None:
    client, _, socket, driver = pair()
    heard: list[Any] = []
    client.on("n", heard.append)
    client.pause_reading(True)
    socket.emit("n", 1)
    driver.run_until_idle()
    assert heard == []
    client.pause_reading(False)
    driver.run_until_idle()
    assert heard == [1]
    client.close()
    driver.run_until_idle()
    client.pause_reading(True)


def test_a_client_that_is_never_answered() -> None:
    driver = MemoryDriver(conditions=Conditions(latency=100))
    client = Client("world", WORLD, driver, settings_of(max_retries=1))
    client.on("error", lambda error: None)
    with pytest.raises(ConnectError):
        connected = client.connect()
        driver.run_until(connected)
        connected.result()
    assert 4 < driver.now() < 5


def test_the_testing_helpers_raise_what_kept_a_client() -> None:
    driver = MemoryDriver()
    driver.refusal = ConnectDenied("no")
    with pytest.raises(ConnectDenied):
        connect(driver)
    driver.refusal = None
    with pytest.raises(NothingHappens):
        connect(driver)  # it tries for ever
    assert Wire.connected(driver, WORLD).error is not None


def test_log_payloads() -> None:
    client, _, socket, driver = pair()
    lines: list[Any] = []
    client.log_payloads(lambda *arguments: lines.append(arguments))
    socket.emit("n", [1])
    driver.run_until_idle()
    client.close()
    driver.run_until_idle()
    client.connect()
    client.emit("m", 2)
    assert lines == [("received event", "n", [1]), ("dispatching event", "m", 2)]


def test_log_payloads_in_raw_mode() -> None:
    alone = Alone(raw_buffer=True)
    lines: list[Any] = []
    alone.client.log_payloads(lambda *arguments: lines.append(arguments))
    alone.client.emit(b"hello")
    assert lines == [("dispatching", b"hello")]


def test_hooks_of_the_waiting_fronts() -> None:
    alone = Alone()
    told: list[str] = []
    alone.client.on_link = lambda: told.append("link")
    alone.client.on_request = lambda: told.append("request")
    alone.client.on("connect", lambda: told.append("connect"))
    answer = alone.client.request("nothing")
    alone.connected()
    alone.driver.run_until(answer)
    assert told == ["request", "link", "connect"]


# ---- a server that ends links at once, as a full one does


def at_a_full_server(**options: Any) -> Alone:
    alone = Alone(retry=100, retry_growth=1, **options)
    serve(alone.driver, WORLD, max_connections=1)
    Wire.connected(alone.driver, WORLD)
    alone.driver.run_until_idle()
    alone.client.connect()
    return alone


def test_a_server_that_ends_links_at_once_is_told_of_and_ever_more_seldom() -> None:
    alone = at_a_full_server()
    alone.driver.run_until(lambda: alone.published.count("disconnect") == 30)
    assert [type(error) for error in alone.errors] == [ConnectionLost] * 4
    said = [re.findall(r"(\d+) times in a row", str(error)) for error in alone.errors]
    assert said == [["3"], ["6"], ["12"], ["24"]]
    assert "max_connections" in str(alone.errors[0]) and str(WORLD) in str(alone.errors[0])


def test_a_client_that_gives_up_at_a_full_server_says_why() -> None:
    alone = at_a_full_server(max_retries=1)
    alone.driver.run_until(alone.client.closed)
    assert [str(error) for error in alone.errors] == [str(alone.client.ended_by)]
    assert "2 times in a row" in str(alone.client.ended_by)
    assert alone.published[-3:] == ["error", "disconnect", "destroy"]
    with pytest.raises(NotConnected, match="ended the link at once, 2 times in a row: it may be full"):
        alone.client.emit("n")


@pytest.mark.parametrize(("user", "told"), [(0, "or not want this client"), (1234, "or not let in user 1234, as whom")])
def test_who_may_be_refused_for_its_user_hears_of_that(user: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    alone = at_a_full_server(max_retries=1)
    alone.driver.run_until(alone.client.closed)
    assert told in str(alone.client.ended_by) and "max_connections" in str(alone.client.ended_by)


def test_what_no_handler_heard_of_a_full_server_is_the_client_s_failure(caplog: pytest.LogCaptureFixture) -> None:
    alone = at_a_full_server(max_retries=1)
    alone.client.off("error")
    alone.driver.run_until(alone.client.closed)
    assert isinstance(alone.client.failure, ConnectionLost)
    assert "2 times in a row" in caplog.text


@pytest.mark.parametrize("verb", ["close", "abort"])
def test_a_handler_may_end_the_client_of_a_full_server(verb: str) -> None:
    for options in ({"max_retries": 1}, {}):
        alone = at_a_full_server(**options)
        alone.client.on("error", lambda error, alone=alone: getattr(alone.client, verb)())
        alone.driver.run_until(alone.client.closed)
        assert alone.published.count("destroy") == 1


def test_a_request_to_a_full_server_says_so() -> None:
    alone = at_a_full_server()
    words = r"ended the link before it answered: it may have stopped or died, be full \(its max_connections\), or not"
    with pytest.raises(ConnectionLost, match=words):
        answer = alone.client.request("add")
        alone.driver.run_until(answer)
        answer.result()


@pytest.mark.parametrize("seconds", [0.1, 1.5])
def test_a_request_that_a_stopped_server_left_says_no_more_than_is_known(seconds: float) -> None:
    alone = Alone(retry=1000)
    server = WireServer(alone.driver)
    alone.client.connect()
    alone.driver.run_until(lambda: server.wires and server.wires[0].link)
    answer = alone.client.request("add")
    link = server.wires[0].link
    assert link is not None
    alone.driver.call_later(seconds, link.close)
    alone.driver.run_until(answer)
    with pytest.raises(ConnectionLost, match="ended the link before it answered: it may have stopped or died") as lost:
        answer.result()
    assert ("max_connections" in str(lost.value)) == (seconds < 1)


def test_what_waits_in_vain_says_why_the_link_ended() -> None:
    alone = Alone(retry=1000)
    server = WireServer(alone.driver)
    alone.client.connect()
    alone.driver.run_until(lambda: server.wires and server.wires[0].link)
    server.wires[0].write(b"no JSON\f")
    alone.driver.run_until(lambda: alone.client.state is S.WAITING)
    assert alone.client.last_error is alone.errors[0]
    assert "the client is waiting (" in alone.client.trouble() and "JSON" in alone.client.trouble()


@pytest.mark.parametrize("how", ["one", "a message", "a second"])
def test_links_that_hold_or_end_once_are_no_full_server(how: str) -> None:
    alone = Alone(retry=100, retry_growth=1)
    server = alone.serve()
    if how == "a message":
        server.on("connect", lambda socket: (socket.emit("n"), socket.close()))
    else:
        wait = 1.5 if how == "a second" else 0.1
        server.on("connect", lambda socket: alone.driver.call_later(wait, socket.close))
    alone.client.connect()
    links = 1 if how == "one" else 10
    alone.driver.run_until(lambda: alone.published.count("disconnect") == links)
    assert alone.errors == []


@pytest.mark.parametrize("how", ["drop", "close", "close while waiting", "session"])
def test_requests_end_with_the_link(how: str) -> None:
    alone = Alone().connected()
    assert alone.server is not None

    @alone.server.handle("wait")
    async def wait() -> None:
        await alone.driver.sleep(1000)

    if how == "close while waiting":
        alone.kill()
    ask = alone.client._session.request if how == "session" else alone.client.request  # type: ignore[union-attr]
    answer = ask("wait", timeout=None)
    alone.driver.run_until_idle()
    assert not answer.done
    (alone.driver.drop if how in ("drop", "session") else alone.client.close)()
    alone.driver.run_until(answer, limit=10)
    assert isinstance(answer.error, (ConnectionLost, NotConnected))


# ---- counters


ACTIONS = (
    "emit",
    "emit",
    "emit",
    "large",
    "thread",
    "drop",
    "abort server",
    "stall",
    "resume",
    "advance",
    "turn",
    "bad",
    "end",
)


@pytest.mark.lane(name="repeats")
@pytest.mark.row(31)
def test_in_many_schedules_every_emit_is_accounted_for() -> None:
    """Accepted = given to the kernel + waiting + dropped and reported; refused ones raised."""
    chance = random.Random(31)
    options = settings_of(
        max_queued_messages=6, max_queued_bytes=20_000, max_pending_bytes=30_000, soft_pending_bytes=10_000,
        slow_timeout=3000, close_timeout=1000,
    )  # fmt: skip
    totals = {"accepted": 0, "refused": 0, "sent": 0, "waiting": 0, "dropped": 0}
    for schedule in range(SCHEDULES):
        actions = chance.choices(ACTIONS, k=chance.randint(4, 14))
        driver = MemoryDriver(seed=schedule, conditions=Conditions(buffer=chance.choice((500, 5000, 200_000))))
        server = Server(WORLD, driver, options)
        server.on("error", lambda error: None)
        if chance.random() < 0.8:
            server.start()
        client = Client("world", WORLD, driver, options)
        lost: list[Loss] = []
        errors: list[Any] = []
        client.on("disconnect", lost.append)
        client.on("error", errors.append)
        client.connect()
        accepted = 0
        for action in actions:
            try:
                if action == "emit":
                    client.emit("n", accepted)
                    accepted += 1
                elif action == "large":
                    client.emit("n", "x" * chance.randint(2000, 9000))
                    accepted += 1
                elif action == "thread":
                    with driver.other_thread():
                        client.emit("n", accepted)
                    accepted += 1
            except (BackpressureError, NotConnected):
                totals["refused"] += 1
            if action == "drop":
                driver.drop()
            elif action == "abort server":
                server.abort()
            elif action in ("stall", "resume"):
                getattr(driver, action)()
            elif action == "bad" and driver.connections:
                driver.connections[0].server.write(b"garbage\f")
            elif action == "end" and driver.connections:
                driver.connections[0].to_client.end()
            elif action == "turn" and driver.turn_due():
                driver.run_turn()
            elif action == "advance":
                driver.advance(chance.random() * 2)
        if chance.random() < 0.5:
            (client.close if chance.random() < 0.5 else client.abort)()
            driver.advance(5)
        else:
            driver.run_until_idle()
        stats = client.stats()
        waiting = len(client._queue) + (len(client._session.outgoing.frames) if client._session else 0)
        assert stats.messages_out + waiting + stats.dropped == accepted, f"schedule {schedule}: {actions}"
        reasons = [id(loss.reason) for loss in lost]
        late = [error for error in errors if isinstance(error, (BackpressureError, NotConnected))]
        refused_late = sum(id(error) not in reasons for error in late)  # emitted from a thread, refused in the loop
        reported = sum(loss.dropped for loss in lost) + refused_late
        assert reported == stats.dropped, f"schedule {schedule}: {actions}"
        for name, number in (("accepted", accepted), ("sent", stats.messages_out), ("waiting", waiting)):
            totals[name] += number
        totals["dropped"] += stats.dropped
        driver.close()
    assert all(total > SCHEDULES / 100 for total in totals.values()), totals


def test_the_reason_of_an_earlier_attempt_is_not_given_for_a_later_loss() -> None:
    """It was found there before the server was up, and the server is up now."""
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, settings_of(retry=1000))
    client.connect()
    driver.run_until(lambda: client.last_error)
    server = Server(Unix("/memory/app.world"), driver, settings_of())
    server.start()
    driver.run_until(lambda: client.state is ClientState.CONNECTED)
    driver.advance(10)
    server.sockets[0].close()
    driver.run_until(lambda: client.state is ClientState.WAITING)
    assert "the client is waiting (the last link ended: in order)" in client.trouble()
