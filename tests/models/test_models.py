"""Small models are checked in every state that they can come to, and the real code is moved as they move.

NIGHTLY=schedules .ci/run     with more events, starts and breaks: 830,000 steps, not 110,000
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from bus_model import Bus, BusSizes, all_told, bus_accounted, bus_in_order, bus_steps, closed_unheard, never_both
from life_model import (
    CLIENT,
    NOT_CLIENT,
    NOT_SERVER,
    SERVER,
    Sizes,
    State,
    accounted,
    at_most_once,
    ends_agree,
    in_order,
    is_pending,
    quiet,
    request_is_true,
    steps,
)
from life_rig import Rig
from state_space import Space, Wrong
from tables import TABLES, Table, rows, space

from cluster_nodes import Group
from node_ipc.cluster.node import Node
from node_ipc.core import client, endpoint

LANE = os.environ.get("NIGHTLY") == "schedules"
PAGE = Path(__file__).parents[2] / "docs/evidence/schedules.md"
"""Says how much is walked."""
SMALL = Sizes(events=1)
SIZES = Sizes(events=2, connects=2, starts=2, breaks=2) if LANE else SMALL

Noted = Callable[[str, object], None]
Trace = list[str]


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def small() -> Space[State]:
    return Space(State(), partial(steps, sizes=SMALL))


# ---- the tables


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_tables_have_the_rows_of_the_code(table: Table) -> None:
    assert rows(table) == set(table.follows)
    assert all(hasattr(table.methods(), method) for method in table.code.values())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_in_no_state_of_a_table_is_one_stuck(table: Table) -> None:
    graph = space(table)
    states = {state for state, _ in table.follows} | {state for after in table.follows.values() for state in after}
    assert set(graph.steps) == states, "some are never come to"
    graph.can_always_come_to(lambda state: state in table.ends, "the end")


def test_the_model_walks_all_rows_but_those_that_it_names() -> None:
    for code, walked, left_out in (
        (client.TRANSITIONS, CLIENT, NOT_CLIENT),
        (endpoint.TRANSITIONS, SERVER, NOT_SERVER),
    ):
        assert {(state.name, name) for state, name in code} == walked.keys() | left_out.keys()
        assert not walked.keys() & left_out.keys()


def test_the_page_says_how_large_the_tables_are() -> None:
    after = [{state for state, _ in table.follows}.union(*table.follows.values()) for table in TABLES]
    page = PAGE.read_text()
    assert f"all {sum(len(table.follows) for table in TABLES)} rows | {sum(map(len, after))} |" in page
    assert f"of its {len(client.TRANSITIONS)})" in page


# ---- the client, the server and the link


@pytest.mark.row(32)
@pytest.mark.row(48)
@pytest.mark.lane(name="schedules")
@pytest.mark.timeout(1800)
def test_in_every_state_of_the_model_the_promises_hold(record_property: Noted) -> None:
    states = Space(State(), partial(steps, sizes=SIZES))
    for holds, what in (
        (accounted, "accounting"),
        (at_most_once, "at most once"),
        (in_order, "order"),
        (request_is_true, "requests"),
        (ends_agree, "states and links"),
    ):
        states.always(holds, what)
    states.can_always_come_to(quiet, "an end")
    record_property("states", len(states))
    record_property("steps", states.edges)
    assert f"| {len(states):,} | {states.edges:,} |" in PAGE.read_text()


def _sends_again(state: State, sizes: Sizes) -> Iterator[Any]:
    """The mistake that the promise is about: what is in doubt is sent again."""
    for step in steps(state, sizes):
        if step.action in ("break", "to client") and step.to.client == "WAITING" and state.client == "CONNECTED":
            again = "".join(message for message in step.to.told if message.isdigit())
            yield step._replace(to=step.to._replace(queue=again + step.to.queue, told=""))
        else:
            yield step


def _says_nothing(state: State, sizes: Sizes) -> Iterator[Any]:
    """Nobody is told of what was in doubt."""
    return (step._replace(to=step.to._replace(told="")) for step in steps(state, sizes))


def _forgets_the_retry(state: State, sizes: Sizes) -> Iterator[Any]:
    """Where a request waits there is no timer, and closing does nothing."""
    found = steps(state, sizes)
    return (step for step in found if not (state.client == "WAITING" and step.action in ("retry", "close")))


@pytest.mark.parametrize("wrong", [_sends_again, _says_nothing, _forgets_the_retry])
def test_a_model_with_a_mistake_fails(wrong: Any) -> None:
    with pytest.raises(Wrong):
        states = Space(State(), partial(wrong, sizes=SMALL))
        states.always(at_most_once, "at most once")
        states.always(accounted, "accounting")
        states.can_always_come_to(quiet, "an end")


# ---- the real ones, moved as the model


def replay(trace: Trace, sizes: Sizes) -> tuple[str, Rig, int]:
    """Move both; how the real ones differ (empty where they do not), and how far the trace went.

    Where the model leaves open which of two is first, the real ones decide: a trace that needs the other ends there.
    """
    rig, states = Rig(), [State()]
    for number, action in enumerate(trace):
        next_states = [step.to for state in states for step in steps(state, sizes) if step.action == action]
        if not next_states:
            return "", rig, number
        pending = any(map(is_pending, next_states))
        rig.act("break_" if action == "break" else action, runs=not pending)
        if pending:
            states = next_states
            continue
        differs = {state: rig.differs(state) for state in next_states}
        states = [state for state, how in differs.items() if not how]
        if not states:
            return f"after {', '.join(trace[: number + 1])}: {' or '.join(differs.values())}", rig, number + 1
    return "", rig, len(trace)


def traces(states: Space[State]) -> Iterator[Trace]:
    """The shortest way to each step that is unlike the others: another action, other states, other things held."""
    seen = set()
    for state, found in states.steps.items():
        for action, _ in found:
            held = bool(state.queue), bool(state.to_server), bool(state.to_client)
            kind = (action, state.client, state.server, state.here, state.there, state.request, *held)
            if kind not in seen:
                seen.add(kind)
                yield [*states.way_to(state), action]


@pytest.mark.row(48)
@pytest.mark.slow
def test_the_real_ones_do_as_the_model_says(small: Space[State], record_property: Noted) -> None:
    inputs: set[tuple[str, str, str, str]] = set()
    count = whole = 0
    for trace in traces(small):
        differs, rig, steps_done = replay(trace, SMALL)
        rig.end()
        assert not differs, differs
        inputs |= rig.inputs
        count += 1
        whole += steps_done == len(trace)
    record_property("traces", count)
    assert count > 500
    assert whole > 0.9 * count
    for whose, table in (("client", CLIENT), ("server", SERVER)):
        for row, after in table.items():
            seen = {to for who, state, name, to in inputs if (who, state, name) == (whose, *row)}
            assert seen, f"{whose}: {row} was never met"
            assert seen <= after, f"{whose}: {row} led to {seen}"


@pytest.mark.row(48)
@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_real_ones_go_along_on_any_walk(part: int) -> None:
    sizes = Sizes(events=6, requests=1, connects=4, starts=4, breaks=4)
    for seed in range(part * 100, part * 100 + (1000 if LANE else 100)):
        chance, state, trace = random.Random(seed), State(), []
        for _ in range(40):
            found = list(steps(state, sizes))
            if not found:
                break
            action, state = chance.choice(found)
            trace.append(action)
        differs, rig, _ = replay(trace, sizes)
        rig.end()
        assert not differs, f"seed {seed}: {differs}"


# ---- the bus


@pytest.mark.row(65)
@pytest.mark.row(67)
@pytest.mark.lane(name="schedules")
def test_in_every_state_of_the_bus_its_promises_hold(record_property: Noted) -> None:
    sizes = BusSizes(6, 3, 2) if LANE else BusSizes()
    states = Space(Bus(), partial(bus_steps, sizes=sizes))
    states.always(bus_accounted, "accounting")
    states.always(bus_in_order, "order")
    states.always(never_both, "what is missing is not heard")
    states.can_always_come_to(lambda state: all_told(state) or closed_unheard(state), "everything told")
    record_property("states", len(states))
    record_property("steps", states.edges)
    assert f"| {len(states):,} | {states.edges:,} |" in PAGE.read_text()


NODE_VERBS = ("publish", "publish", "kill", "restart", "cut a", "cut b", "mend", "wait", "wait", "wait long")


@pytest.mark.row(65)
@pytest.mark.row(48)
@pytest.mark.slow
def test_real_nodes_go_only_where_the_table_leads_and_tell_of_all(record_property: Noted) -> None:
    table = next(each for each in TABLES if each.name == "bus")
    seen: dict[tuple[str, str], set[str]] = {}
    look_up = Node._input

    def noted(self: Node, name: str, *arguments: Any) -> None:
        before = self.state.name
        look_up(self, name, *arguments)
        seen.setdefault((before, name), set()).add(self.state.name)

    heard = missed = 0
    with patch.object(Node, "_input", noted):
        for seed in range(60):
            numbers, gaps = _walk_of_nodes(random.Random(seed))
            heard, missed = heard + numbers, missed + gaps
    for row, after in seen.items():
        assert after <= table.follows.get(row, {row[0]}), f"{row} led to {after}"
    record_property("rows met", f"{len(seen.keys() & table.follows.keys())} of {len(table.follows)}")
    met = seen.keys() & table.follows.keys()
    assert table.follows.keys() - met <= {
        ("UP", "writable"),
        ("CLOSING", "writable"),
        ("CLOSING", "down"),
        ("CLOSING", "late"),
    }
    assert heard and missed, "nothing was at stake"


def _walk_of_nodes(chance: random.Random) -> tuple[int, int]:
    """Publish while the bus comes and goes; then rest, and count. How many were heard, and how many told missing."""
    group = Group(2, messages=5)
    a, b = group.processes
    sent = 0
    for _ in range(30):
        verb = chance.choice(NODE_VERBS)
        if verb == "publish":
            a.emit(data=sent)
            sent += 1
        elif verb == "kill":
            group.broker.kill()
        elif verb == "restart" and not group.broker.is_up:
            group.broker.restart()
        elif verb.startswith("cut"):
            group.broker.cut((a if verb == "cut a" else b).line)
        elif verb == "mend" and group.broker.is_up:
            for process in (a, b):
                if not process.line.is_up:
                    group.broker.mend(process.line)
        elif verb.startswith("wait"):
            group.run(3.0 if verb == "wait long" else 0.01)
    group.broker.restart()
    group.run(20)
    numbers, missing = b.numbers, sum(b.gaps.values())
    assert numbers == sorted(set(numbers)), "out of order, or twice"
    assert len(numbers) + missing == sent, f"of {sent} {len(numbers)} were heard and {missing} told"
    when_it_closes = chance.choice(("up", "down", "joining"))
    if when_it_closes == "down":
        group.broker.kill()
    elif when_it_closes == "joining":
        group.broker.cut(a.line)
        group.broker.mend(a.line)
        group.run(0.0015)
    a.node.close(1.0)
    group.run(5)
    assert a.node.state.name == "CLOSED"
    return len(numbers), missing
