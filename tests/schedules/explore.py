"""Plays many plans, makes one that fails as small as it can be, and plays one again.

python tests/schedules/explore.py --seeds 0:1000          # these seeds, on all cores
python tests/schedules/explore.py --seed 17               # the plan of this seed
python tests/schedules/explore.py --seed 17 --clients 1 --actions 6 --changes 2 --without c0.3,w0.1 --show
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))  # as a program

from actors import Plan, World, play
from invariants import Broken

BATCH = 50
"""Seeds that a process plays before it says how they went."""


class Fault(NamedTuple):
    """A plan that fails, and how."""

    plan: Plan
    broken: str
    """The name of the invariant, or of the exception's type."""
    told: str


class Found(NamedTuple):
    """What many runs came to."""

    seeds: int = 0
    choices: int = 0
    """How often somebody was chosen."""
    open_choices: int = 0
    """How often of two or more."""
    deepest: int = 0
    """How many could go on at one moment, at the most."""
    heard: int = 0
    virtual_seconds: float = 0.0
    faults: tuple[Fault, ...] = ()

    def plus(self, other: Found) -> Found:
        return Found(
            self.seeds + other.seeds,
            self.choices + other.choices,
            self.open_choices + other.open_choices,
            max(self.deepest, other.deepest),
            self.heard + other.heard,
            self.virtual_seconds + other.virtual_seconds,
            self.faults + other.faults,
        )


def attempt(plan: Plan) -> Found:
    """One run."""
    world = None
    try:
        world = World(plan)
        with contextlib.closing(world.driver):
            world.play()
    except Exception as error:
        return Found(1, faults=(Fault(plan, _kind(error), str(error)),))
    schedule, driver = world.schedule, world.driver
    return Found(1, schedule.choices, schedule.open_choices, driver.deepest, world.heard, driver.now())


def _kind(error: Exception) -> str:
    return error.invariant if isinstance(error, Broken) else type(error).__name__


def explore(seeds: range, until: float = float("inf")) -> Found:
    """These seeds, in this process, up to the first fault or this time (of ``time.monotonic``)."""
    found = Found()
    for seed in seeds:
        if found.faults or time.monotonic() > until:
            break
        found = found.plus(attempt(Plan.of(seed)))
    return found


def explore_on_all_cores(seeds: range, until: float = float("inf"), most_faults: int = 5) -> Found:
    """The same on all cores, up to so many faults."""
    found = Found()
    batches = [(range(first, min(first + BATCH, seeds.stop)), until) for first in range(seeds.start, seeds.stop, BATCH)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _begin) as pool:
        for result in pool.imap_unordered(_explore, batches):
            found = found.plus(result)
            if len(found.faults) >= most_faults:
                pool.terminate()
                break
    return found


def _begin() -> None:
    logging.disable(logging.CRITICAL)  # what goes wrong is what is wanted here


def _explore(batch: tuple[range, float]) -> Found:
    seeds, until = batch
    found = Found()
    while seeds and time.monotonic() < until:
        result = explore(seeds, until)
        found = found.plus(result)
        seeds = seeds[result.seeds :] if result.faults else seeds[:0]
    return found


# ---- smaller


def shrink(fault: Fault, tries: int = 300) -> Fault:
    """The smallest plan found in so many tries that breaks the same invariant."""
    left = tries
    while left > 0:
        for plan in smaller(fault.plan):
            left -= 1
            faults = attempt(plan).faults
            if faults and faults[0].broken == fault.broken:
                fault = faults[0]
                break
            if left <= 0:
                break
        else:
            break
    return fault


def smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them, those with much less first."""
    if plan.clients > 1:
        yield replace(plan, clients=plan.clients - 1)
    if plan.servers > 1:
        yield replace(plan, servers=plan.servers - 1)
    if plan.changes:
        yield replace(plan, changes=0)
        yield replace(plan, changes=plan.changes - 1)
    for actions in (plan.actions // 2, plan.actions * 3 // 4, plan.actions - 1):
        if 0 < actions < plan.actions:
            yield replace(plan, actions=actions)
    names = [f"c{n}" for n in range(plan.clients)] + [f"s{n}" for n in range(plan.servers)] + ["w0"]
    scripts = [[f"{name}.{number}" for number in range(plan.actions)] for name in names]
    kept = [[action for action in script if action not in plan.without] for script in scripts]
    for script in kept:
        for part in (script, script[: len(script) // 2], script[len(script) // 2 :]):
            if len(part) > 1:
                yield replace(plan, without=plan.without | frozenset(part))
    for script in kept:
        for action in script:
            yield replace(plan, without=plan.without | {action})


def command(plan: Plan) -> str:
    """What plays this plan again."""
    words = [f"python tests/schedules/explore.py --seed {plan.seed} --clients {plan.clients}"]
    words += [f"--servers {plan.servers} --actions {plan.actions}"]
    words += [] if plan.changes is None else [f"--changes {plan.changes}"]
    left_out = {action for action in plan.without if int(action.partition(".")[2]) < plan.actions}
    words += [f"--without {','.join(sorted(left_out))}"] if left_out else []
    return " ".join((*words, "--show"))


def report(fault: Fault) -> str:
    """A fault, made small, in words."""
    small = shrink(fault)
    return f"seed {fault.plan.seed}: {fault.told}\n  at its smallest: {small.told}\n  again: {command(small.plan)}"


# ---- one run, shown


def show(plan: Plan, write: Callable[[str], Any] = print) -> None:
    """Play it, and say each choice."""
    world = World(plan)
    choose = world.schedule.choose

    def choose_aloud(names: list[str]) -> str:
        name = choose(names)
        write(f"{world.driver.now():8.2f}  {name}{f'  (of {len(names)})' if len(names) > 1 else ''}")
        return name

    world.schedule.choose = choose_aloud  # type: ignore[method-assign]
    for actor in (*world.clients, *world.servers, world.network):
        actor.told = write
    try:
        with contextlib.closing(world.driver):
            world.play()
    finally:
        for road in world.driver.roads:
            losses = [getattr(session, "loss", None) for session in (road.client_session, road.server_session)]
            write(f"link {road.number}, {' and '.join(road.processes.values())}: {losses[0]} / {losses[1]}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", help="FIRST:LAST, the last one not included")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--servers", type=int)
    parser.add_argument("--actions", type=int, help="of each of them")
    parser.add_argument("--changes", type=int, help="of priorities")
    parser.add_argument("--without", help="actions that are left out, as c0.3,w0.1")
    parser.add_argument("--show", action="store_true", help="say each choice")
    return parser


def plan_of(given: argparse.Namespace) -> Plan:
    """The seed's own plan, or that which ``command`` says, which is all of it."""
    if given.actions is None:
        return Plan.of(given.seed)
    without = frozenset(given.without.split(",") if given.without else ())
    return Plan(given.seed, given.clients, given.servers, given.actions, given.changes, without)


def main() -> int:
    given = arguments().parse_args()
    if given.seeds:
        first, last = map(int, given.seeds.split(":"))
        found = explore_on_all_cores(range(first, last))
        for fault in found.faults:
            print(report(fault))
        print(found._replace(faults=()), Counter(fault.broken for fault in found.faults))
        return bool(found.faults)
    logging.disable(logging.CRITICAL)
    (show if given.show else play)(plan_of(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
