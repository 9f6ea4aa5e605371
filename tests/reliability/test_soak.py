"""Nothing grows over hours (reliability row 49): all three fronts, as servers and as clients, with all they can do.

NIGHTLY=soak .ci/run                            half an hour
NIGHTLY=soak SOAK_MINUTES=6 .venv/bin/pytest tests/reliability/test_soak.py -s
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("soak_program.py")
FRONTS = ("asyncio", "callbacks", "blocking")
LANE = os.environ.get("NIGHTLY") == "soak"
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
MIB = 1024 * 1024

Noted = Callable[[str, object], None]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc says what a process holds")


class Lasting:
    """A process of ``soak_program.py``, its samples and its report."""

    def __init__(self, front: str, role: str, folder: str, options: dict[str, Any]) -> None:
        self.name = f"{front} {role}"
        self._arguments = (front, role, folder, json.dumps(options))
        self.samples: list[dict[str, int]] = []
        self.report: dict[str, Any] = {}
        self.has_ended = False
        self._marked = asyncio.Event()
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Lasting:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(PROGRAM), *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MIB,
        )
        self._reading = asyncio.create_task(self._read())
        async with asyncio.timeout(60):
            await self._ready.wait()
        assert not self.has_ended, f"{self.name} ended at once"
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "ready" in said:
                self._ready.set()
            elif "marked" in said:
                self._marked.set()
            elif "resident" in said:
                self.samples.append(said)
            else:
                self.report = said
        self.has_ended = True
        self._ready.set()
        self._marked.set()

    def tell(self, command: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command)

    async def mark(self) -> None:
        """From here on nothing may grow."""
        self.tell(b"mark\n")
        async with asyncio.timeout(60):
            await self._marked.wait()
        assert not self.has_ended, f"{self.name} ended before its time"
        self.samples.clear()

    async def end(self) -> None:
        self.tell(b"end\n")
        async with asyncio.timeout(90):
            await self._reading
            assert await self._process.wait() == 0, self.name
        assert self.report, f"{self.name} ended without a report"

    async def __aexit__(self, *exception: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._reading.cancel()

    def growth(self, what: str) -> float:
        """By how much it rose in the whole time, by the line that fits best."""
        values = [sample[what] for sample in self.samples]
        return statistics.linear_regression(range(len(values)), values).slope * (len(values) - 1)


async def soak(folder: Path, warm: float, seconds: float, every: float, rate: float, traced: bool) -> list[Lasting]:
    """All that were there, with what they sampled in the second of these times."""
    options = {"every": every, "rate": rate, "traced": traced}
    async with AsyncExitStack() as stack:
        all = []
        for role in ("server", "client"):
            for front in FRONTS:
                all.append(await stack.enter_async_context(Lasting(front, role, str(folder), options)))
        await asyncio.sleep(warm)  # the load's own time
        for each in all:
            await each.mark()
        await asyncio.sleep(seconds)
        held = [list(each.samples) for each in all]
        for each in all[3:] + all[:3]:  # clients first: they ask for what has arrived
            await each.end()
        for each, samples in zip(all, held, strict=True):
            each.samples = samples
    return all


def told(all: list[Lasting]) -> dict[str, int]:
    """The sums of what they did."""
    sums: dict[str, int] = {}
    for each in all:
        for name, value in each.report.items():
            if isinstance(value, int):
                sums[name] = sums.get(name, 0) + value
    return sums


def check(all: list[Lasting], noted: Noted) -> dict[str, int]:
    """Nothing was lost or came otherwise, and no descriptor, task or timer is left over."""
    sums = told(all)
    for name, value in sums.items():
        noted(name, value)
    for each in all:
        grown = {what: round(each.growth(what), 2) for what in ("fds", "tasks", "timers")}
        resident = each.growth("resident") / MIB
        way = [round(sample["resident"] / MIB, 1) for sample in each.samples]
        noted(each.name, f"{resident:+.2f} MiB to {way[-1]}, {grown}")
        noted(f"{each.name}, resident MiB on the way", way[:: max(1, len(way) // 10)])
        noted(f"{each.name}, what grew most", each.report["grown"])
    for each in all:
        assert each.report["faults"] == [], each.name
        for what in ("fds", "tasks", "timers"):
            assert each.growth(what) <= 2, f"{what} of {each.name} grow"
    assert sums["sent"] == sums["arrived"]
    assert sums["orders"] == sums["ordered"] and sums["blobs"] == sums["returned"]
    assert min(sums[name] for name in ("blobs", "answers", "timeouts", "cancels", "churned")) > 0
    return sums


@pytest.mark.row(49)
@pytest.mark.slow
async def test_a_few_seconds_of_everything_lose_nothing(tmp_path: Path, record_property: Noted) -> None:
    all = await soak(tmp_path, warm=2, seconds=6, every=0.2, rate=1000 / 9, traced=False)
    sums = check(all, record_property)
    assert sums["sent"] > 1000


@pytest.mark.lane(name="soak")
@pytest.mark.row(49)
@pytest.mark.timeout(60 * MINUTES + 300)
@pytest.mark.skipif(not LANE, reason="takes half an hour: NIGHTLY=soak .ci/run")
async def test_nothing_grows_in_half_an_hour(tmp_path: Path, record_property: Noted) -> None:
    """A sixth of the time is for what is allocated once."""
    warm = MINUTES * 60 / 6
    all = await soak(tmp_path, warm, 5 * warm, every=5 * warm / 300, rate=1000 / 9, traced=True)
    check(all, record_property)
    for each in all:
        assert each.growth("resident") <= 2 * MIB, f"{each.name}: {each.report['grown']}"
