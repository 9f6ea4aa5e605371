"""Whole conversations in orders that a seed chooses: clients, servers, and everything that goes wrong between them.

``actors.py`` says who takes part, ``schedule.py`` who goes next, ``invariants.py`` what must hold. What fails is made
small and says the command that plays it again. ``SEEDS=17,18 pytest tests/schedules`` plays these seeds only.

NIGHTLY=schedules .ci/run     50,000 seeds, in 55 minutes at most (MINUTES=30: in 30)
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import explore
import pytest
from actors import Plan
from faults import MUTATIONS, Mutation, made

LANE = os.environ.get("NIGHTLY") == "schedules"
SEEDS = [int(seed) for seed in os.environ["SEEDS"].split(",")] if "SEEDS" in os.environ else list(range(1000))
LONG = range(1000, 51_000) if LANE else range(1000, 1100)
MINUTES = float(os.environ.get("MINUTES", "55"))

Noted = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong is what is wanted here: no line of log for it."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.row(48)
@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_schedules(part: int) -> None:
    heard = 0
    for seed in SEEDS[part::10]:
        found = explore.attempt(Plan.of(seed))
        for fault in found.faults:
            pytest.fail(explore.report(fault))
        heard += found.heard
    assert heard or "SEEDS" in os.environ


@pytest.mark.row(48)
@pytest.mark.parametrize("seed", [13, 110, 6717, 8269, 8778, 10411])
def test_seeds_that_once_found_something(seed: int) -> None:
    """A client that starved; peers that were killed with what they had read and not handled."""
    for fault in explore.attempt(Plan.of(seed)).faults:
        pytest.fail(explore.report(fault))


@pytest.mark.row(48)
@pytest.mark.slow
@pytest.mark.lane(name="schedules")
@pytest.mark.timeout(3600)
def test_many_schedules(record_property: Noted) -> None:
    """On all cores, as far as the time goes; how far is said."""
    began = time.monotonic()
    found = explore.explore_on_all_cores(LONG, began + MINUTES * 60)
    record_property("seeds", f"{found.seeds} of {len(LONG)}")
    record_property("choices", found.choices)
    record_property("choices between two or more", found.open_choices)
    record_property("most that could go on at once", found.deepest)
    record_property("messages heard by servers", found.heard)
    record_property("virtual hours", round(found.virtual_seconds / 3600, 1))
    record_property("seconds", round(time.monotonic() - began))
    record_property("faults", len(found.faults))
    assert not found.faults, "\n".join(map(explore.report, found.faults))
    assert found.heard > found.seeds
    assert found.open_choices > 50 * found.seeds, "nearly nothing was a choice"


@pytest.mark.row(48)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_fault_that_somebody_makes_is_found(mutation: Mutation, record_property: Noted) -> None:
    with made(mutation):
        for seed in range(mutation.seeds):
            faults = explore.attempt(Plan.of(seed)).faults
            if faults:
                record_property("found by seed", seed)
                assert faults[0].broken in mutation.breaks, faults[0].told
                return
    pytest.fail(f"{mutation.seeds} seeds have not found it")


@pytest.mark.row(48)
def test_what_fails_is_made_small_and_played_again() -> None:
    mutation = MUTATIONS[0]
    with made(mutation):
        first = next(faults[0] for seed in range(20) if (faults := explore.attempt(Plan.of(seed)).faults))
        small = explore.shrink(first)
        again = explore.command(small.plan).split()
        plan = explore.plan_of(explore.arguments().parse_args(again[2:]))
        told = explore.attempt(plan).faults
    assert small.plan.actions < first.plan.actions
    assert len(small.plan.without) >= 1
    assert told[0].told == small.told
    assert not explore.attempt(plan).faults, "it fails without the fault, too"


@pytest.mark.row(48)
@pytest.mark.parametrize("seed", [4, 5])
def test_a_seed_is_the_same_run_in_every_process(seed: int) -> None:
    program = Path(explore.__file__)
    runs = [
        subprocess.run(
            [sys.executable, program, "--seed", str(seed), "--show"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            timeout=60,
        )
        for hashes in ("1", "2")
    ]
    assert runs[0].returncode == 0, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("\n") > 50


def test_seeds_by_priorities_and_by_chance_are_different_runs() -> None:
    plans = [Plan(1, changes=None), Plan(1, changes=0), Plan(1, changes=3)]
    assert len({explore.attempt(plan).choices for plan in plans}) == 3


def test_a_fault_in_one_batch_does_not_hide_those_behind_it() -> None:
    with made(MUTATIONS[0]):
        found = explore._explore((range(30), float("inf")))
    assert found.seeds == 30
    assert len(found.faults) > 1
