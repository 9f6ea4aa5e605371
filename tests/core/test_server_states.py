"""The states of a server of either kind: the table, every pair of a state and an input, and any walk of a user's."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_ipc.config.address import Udp, Unix
from node_ipc.config.config import Config
from node_ipc.core.client import Client
from node_ipc.core.datagram import DatagramServer
from node_ipc.core.endpoint import BETWEEN_PARTS, TRANSITIONS, ServerState
from node_ipc.core.server import Server
from node_ipc.errors import IPCError, NotConnected
from node_ipc.testing import MemoryDriver

S = ServerState
INPUTS = sorted({name for _, name in TRANSITIONS})
KINDS = [Server, DatagramServer]
NEXT: dict[tuple[ServerState, str], ServerState] = {
    (S.IDLE, "start"): S.STARTING,
    (S.IDLE, "stop"): S.CLOSED,
    (S.STARTING, "listening"): S.LISTENING,
    (S.STARTING, "failed"): S.CLOSED,
    (S.STARTING, "stop"): S.CLOSING,
    (S.LISTENING, "failed"): S.CLOSED,
    (S.LISTENING, "stop"): S.CLOSING,
    (S.CLOSING, "start"): S.CLOSING,  # it comes behind that
    (S.CLOSING, "stop"): S.CLOSING,
    (S.CLOSING, "failed"): S.CLOSED,
    (S.CLOSING, "expired"): S.CLOSING,  # until what was cut has told that it is gone
    (S.CLOSING, "emptied"): S.CLOSED,
    (S.CLOSED, "start"): S.STARTING,
    (S.CLOSED, "stop"): S.CLOSED,
}
ARGUMENTS: dict[str, list[Any]] = {"stop": [1.0], "failed": [IPCError("no")]}


class Stage:
    """A server and what it publishes."""

    def __init__(self, kind: type[Any]) -> None:
        self.driver = MemoryDriver()
        address = Unix("/memory/app.world") if kind is Server else Udp("127.0.0.1", 9999, "udp4")
        self.server: Server | DatagramServer = kind(address, self.driver, Config().settings())
        self.published: list[str] = []
        self.closed = 0
        self.server.on("start", lambda *_: self.published.append("start"))
        self.server.on("error", lambda *_: self.published.append("error"))
        self.server.on_closed.append(self._count)

    def _count(self) -> None:
        self.closed += 1

    def bring(self, state: ServerState) -> None:
        """To this state, by what users do and drivers tell."""
        if state is not S.IDLE:
            self.server.start()
        if state not in (S.IDLE, S.STARTING):
            self.driver.run_until(self.server.started)
        if state in (S.CLOSING, S.CLOSED):
            self.server.stop()
        if state is S.CLOSED:
            self.driver.run_until(self.server.closed)
        assert self.server.state is state


def test_the_table_is_the_one_that_is_tested() -> None:
    assert NEXT.keys() == TRANSITIONS.keys()
    assert all(hasattr(kind, method) for kind, method in product(KINDS, TRANSITIONS.values()))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("state", list(S), ids=lambda state: state.value)
@pytest.mark.parametrize("kind", KINDS)
def test_every_state_and_input(kind: type[Any], state: ServerState, name: str) -> None:
    stage = Stage(kind)
    stage.bring(state)
    before = list(stage.published), stage.closed
    stage.server._input(name, *ARGUMENTS.get(name, []))
    assert stage.server.state is NEXT.get((state, name), state)
    if (state, name) not in TRANSITIONS:
        assert (stage.published, stage.closed) == before
    stage.driver.run_until_idle()
    stage.server.abort()
    stage.driver.run_until_idle()
    assert stage.server.state is S.CLOSED


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_that_fails_while_it_stops_is_the_end_and_no_error(kind: type[Any]) -> None:
    stage = Stage(kind)
    stage.server.start()
    stage.server.stop()
    stage.server._input("failed", IPCError("the port is gone"))
    assert (stage.server.state, stage.server.failure, stage.published) == (S.CLOSED, None, [])
    with pytest.raises(NotConnected, match="was stopped"):
        stage.server.started.result()
    stage.driver.run_until_idle()
    assert stage.closed == 1


@pytest.mark.parametrize("state", [S.STARTING, S.LISTENING], ids=lambda state: state.value)
@pytest.mark.parametrize("kind", KINDS)
def test_a_start_right_behind_a_stop_is_carried_out_when_it_has_stopped(kind: type[Any], state: ServerState) -> None:
    stage = Stage(kind)
    stage.bring(state)
    server, first = stage.server, stage.server.started
    stopped = server.stop()
    started = server.start()
    assert started is server.started and started is not first
    assert server.start() is started, "a second one is the same"
    assert stopped is not server.closed and server.state is S.CLOSING
    begun_anew: list[Any] = []
    server.on_closed.append(lambda: begun_anew.append(server.state))
    stage.driver.run_until(stopped)
    assert not (started.done or server.closed.done) and begun_anew == [S.STARTING]
    stage.driver.run_until_idle()
    assert server.state.name == "LISTENING" and started.result() is server
    assert stage.published == ["start"] * (1 if state is S.STARTING else 2) and stage.closed == 1
    assert first.done and (first.error is not None) == (state is S.STARTING)


@pytest.mark.parametrize("kind", KINDS)
def test_another_stop_takes_the_start_behind_a_stop_back(kind: type[Any]) -> None:
    stage = Stage(kind)
    stage.bring(S.LISTENING)
    server = stage.server
    stopped, started = server.stop(), server.start()
    closed = server.closed
    assert server.stop() is stopped
    with pytest.raises(NotConnected, match="was stopped"):
        started.result()
    assert not closed.done
    stage.driver.run_until_idle()
    assert server.state is S.CLOSED and stopped.done and closed.done
    assert stage.published == ["start"] and stage.closed == 1


@pytest.mark.parametrize("kind", KINDS)
def test_who_hears_of_the_end_may_take_the_start_behind_it_back(kind: type[Any]) -> None:
    stage = Stage(kind)
    stage.bring(S.LISTENING)
    stage.server.stop().then(lambda: stage.server.stop())
    started = stage.server.start()
    stage.driver.run_until_idle()
    assert stage.server.state is S.CLOSED and stage.server.closed.done and started.error is not None
    assert stage.published == ["start"] and stage.closed == 1


@pytest.mark.parametrize("kind", KINDS)
def test_who_hears_of_the_end_may_start_it_too_and_it_starts_once(kind: type[Any]) -> None:
    stage = Stage(kind)
    stage.bring(S.LISTENING)
    begun: list[Any] = []
    stage.server.stop().then(lambda: begun.append(stage.server.start()))
    started = stage.server.start()
    stage.driver.run_until_idle()
    assert stage.server.state is S.LISTENING and begun == [started] and started.done
    assert stage.published == ["start"] * 2 and stage.closed == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_abort_takes_the_start_behind_a_stop_back_and_a_start_behind_it_comes(kind: type[Any]) -> None:
    stage = Stage(kind)
    stage.bring(S.LISTENING)
    stage.server.stop()
    started = stage.server.start()
    stage.server.abort()
    assert started.error is not None
    stage.server.start()
    stage.driver.run_until_idle()
    assert stage.server.state is S.LISTENING and stage.published == ["start"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_that_fails_and_that_nobody_waits_for_is_told(
    kind: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(kind)
    stage.server.off("error")
    stage.bring(S.STARTING)
    stage.server._input("failed", IPCError("the port is taken"))
    assert "the port is taken" in caplog.text and str(stage.server.failure) == "the port is taken"
    caplog.clear()
    stage.server.on("error", lambda *_: None)
    stage.server.start()
    stage.server._input("failed", IPCError("the port is taken"))
    assert not caplog.records and stage.server.failure is None


USER = ["start", "stop", "abort", "listening", "failed", "turn", "later"]


@given(st.sampled_from(KINDS), st.lists(st.sampled_from(USER), max_size=25))
@settings(max_examples=200, deadline=None)
def test_any_walk_keeps_the_promises_of_the_states(kind: type[Any], steps: list[str]) -> None:
    stage = Stage(kind)
    server, driver = stage.server, stage.driver
    for step in steps:
        before = server.state
        if step in ("start", "stop", "abort"):
            getattr(server, step)()
        elif step in ("listening", "failed"):
            server._input(step, *ARGUMENTS.get(step, []))
        elif step == "later":
            driver.advance(3600)
        elif driver.turn_due():
            driver.run_turn()
        if before is S.LISTENING and step == "stop":
            assert server.state is S.CLOSING
        assert server.started.done or server.state is not S.LISTENING
        assert server.closed.done == (server.state is S.CLOSED)
    server.abort()
    driver.run_until_idle()
    assert server.state is S.CLOSED
    assert server.closed.done
    assert driver.next_due() is None


def test_dir_shows_what_is_for_users_and_not_the_verbs_of_drivers_sessions_and_fronts() -> None:
    public = {
        "abort",
        "address",
        "closed",
        "emit",
        "events",
        "failure",
        "log_payloads",
        "off",
        "on",
        "on_trace",
        "once",
    }
    public |= {"pending_bytes", "settings", "state", "stats"}
    servers = public | {"broadcast", "port", "sockets", "start", "started", "stop"}
    links = {"handle", "request"}
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, Config().settings())
    lasting = {"close", "connect", "connected", "ended_by", "id", "last_error", "peer", "retries", "retries_remaining"}
    named = {"addresses", "everywhere", "refused", "reload_tls", "request_all", "rooms", "sockets_in", "to"}
    for endpoint, expected in (
        (client, public | links | lasting),
        (Stage(Server).server, servers | links | named),
        (Stage(DatagramServer).server, servers),
    ):
        shown = {name for name in dir(endpoint) if not name.startswith("_")}
        assert expected <= shown
        assert not shown & BETWEEN_PARTS
