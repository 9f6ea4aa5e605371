"""Many connections, many opens and closes, and peers of every bad kind (reliability rows 10, 11, 14 and 16).

    NIGHTLY=load .ci/run        10,000 idle connections, a storm of ten minutes, two minutes of bad peers, each front

The ordinary run has a short form of each, which takes seconds.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from node_ipc import blocking

PROGRAM = Path(__file__).with_name("load_program.py")
LANE = os.environ.get("NIGHTLY") == "load"
MIB = 1024 * 1024
BAD = ("never reads", "drips", "garbage", "half-closes", "resets", "floods")
EACH = 28
HONEST = 200 - EACH * len(BAD)
IDLE_PROCESSES = 4
ROUNDS = 50
QUIETEST = 10
"""Of the rounds, those that the rest of the machine disturbed least."""
PER_CONNECTION = 3.1
"""KiB: a third of what an idle connection costs npm's node-ipc, which was measured with 9.4."""

Noted = Callable[[str, object], None]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc says what a process holds")
in_lane = [
    pytest.mark.lane(name="load"),
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not LANE, reason="takes minutes: NIGHTLY=load .ci/run"),
]
fronts = pytest.mark.parametrize("front", ["asyncio", "blocking"])


class Peers:
    """A process of ``load_program.py``; it ends when its input does."""

    def __init__(self, *arguments: object) -> None:
        self._what = " ".join(map(str, arguments))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(PROGRAM), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Peers:
        assert self.line() == "ready"
        return self

    def line(self) -> str:
        """What it says next; the time limit of the test is the only one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self._what} ended"
        return line.strip()

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.line())
        return report

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Close its input, and wait for its report."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.report()

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


class Served(Peers):
    """A server in a process of its own, and a client that asks what it holds."""

    def __init__(self, front: str, path: Path) -> None:
        super().__init__("serve", front, path)
        self.path = str(path)

    def __enter__(self) -> Served:
        super().__enter__()
        self.client = blocking.connect(self.path)
        return self

    def held(self) -> dict[str, int]:
        held: dict[str, int] = self.client.request("held", timeout=60)
        return held

    def until(self, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        deadline = time.monotonic() + 60
        while not condition(held := self.held()):
            assert time.monotonic() < deadline, held
            time.sleep(0.05)
        return held

    def __exit__(self, *exception: object) -> None:
        self.client.abort()
        super().__exit__(*exception)


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


# ---- 10,000 idle ones


@pytest.mark.row(16)
@fronts
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=in_lane)])
def test_one_busy_connection_does_not_feel_the_idle_ones(
    count: int, front: str, tmp_path: Path, processes: ExitStack, record_property: Noted
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard > count + 100, f"a process may have {hard} descriptors: ulimit -Hn"
    crowded, empty = (processes.enter_context(Served(front, tmp_path / name)) for name in ("crowded", "empty"))
    with Peers("idle", crowded.path, 100):  # what the first ones cost once
        crowded.until(lambda held: held["sockets"] == 101)
    before = crowded.until(lambda held: held["sockets"] == 1)
    for _ in range(IDLE_PROCESSES):
        processes.enter_context(Peers("idle", crowded.path, count // IDLE_PROCESSES))
    held = crowded.until(lambda held: held["sockets"] == count + 1)
    cost = (held["resident"] - before["resident"]) / 1024 / count
    trips: dict[str, list[float]] = {crowded.path: [], empty.path: []}
    with Busy(crowded.path) as among_them, Busy(empty.path) as alone:
        with apart(crowded, empty):
            for _ in range(ROUNDS):  # in turn, so that what else the machine does harms both alike
                for busy in (among_them, alone):
                    trips[busy.path].append(statistics.median(busy.measure(100)))
    median, without = (statistics.mean(sorted(trips[server.path])[:QUIETEST]) * 1e6 for server in (crowded, empty))
    record_property(f"{front}, {count} idle: KiB a connection", round(cost, 2))
    record_property(f"{front}, {count} idle: median of the busy one (µs), without them (µs)", [median, without])
    assert cost <= PER_CONNECTION
    assert median <= 1.2 * without


@contextmanager
def apart(*servers: Served) -> Iterator[None]:
    """This process on one core and the servers on another: where they run is not what is compared."""
    cores = sorted(os.sched_getaffinity(0))
    for server in servers:
        os.sched_setaffinity(server.process.pid, cores[:1])
    os.sched_setaffinity(0, cores[-1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Busy:
    """A connection that asks without a pause."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)

    def __enter__(self) -> Busy:
        self._socket.connect(self.path)
        self.measure(200)
        return self

    def measure(self, count: int) -> list[float]:
        """Seconds of so many round trips."""
        trips = []
        for _ in range(count):
            begun = time.perf_counter()
            self._socket.sendall(b'{"type":"ping","data":1}\f')
            assert self._socket.recv(100) == b'{"type":"pong","data":1}\f'
            trips.append(time.perf_counter() - begun)
        return trips

    def __exit__(self, *exception: object) -> None:
        self._socket.close()


def left_over(before: dict[str, int], held: dict[str, int]) -> list[str]:
    """What there is more of; the loop's own timer of the moment is there in one look and not in the next."""
    return [what for what in ("sockets", "fds", "tasks", "timers") if held[what] > before[what]]


# ---- a storm


@pytest.mark.row(11)
@fronts
@pytest.mark.parametrize("seconds", [4, pytest.param(600, marks=in_lane)])
def test_a_storm_of_opens_and_closes_ends_where_it_began(
    seconds: int, front: str, tmp_path: Path, processes: ExitStack, record_property: Noted
) -> None:
    """200 a second."""
    server = processes.enter_context(Served(front, tmp_path / "s"))
    with Peers("storm", server.path, 200, 2) as first:  # what the first ones cost once
        first.report()
    before = server.until(lambda held: held["sockets"] == 1)
    with Peers("storm", server.path, 200, seconds) as storm:
        report = storm.report()
    after = server.until(lambda held: not left_over(before, held))
    record_property(f"{front}, {seconds} s: opened, served and closed", report)
    record_property(f"{front}, {seconds} s: held before and after", [before, after])
    assert report["served"] == 200 * seconds
    assert after["resident"] - before["resident"] <= MIB


# ---- bad peers


@pytest.mark.row(10)
@fronts
@pytest.mark.parametrize(("rounds", "seconds"), [(4, 1), pytest.param(60, 2, marks=in_lane)])
def test_the_honest_lose_nothing_among_peers_of_every_bad_kind(
    rounds: int, seconds: int, front: str, tmp_path: Path, processes: ExitStack, record_property: Noted
) -> None:
    """Two servers with the same honest peers, one also with the others; the honest ask in turn."""
    beset, quiet = (processes.enter_context(Served(front, tmp_path / name)) for name in ("beset", "quiet"))
    with Peers("idle", beset.path, 10):
        beset.until(lambda held: held["sockets"] == 11)
    before = beset.until(lambda held: held["sockets"] == 1)
    among_them, alone = (
        processes.enter_context(Peers("honest", server.path, HONEST, server.process.pid)) for server in (beset, quiet)
    )
    bad = {kind: processes.enter_context(Peers(kind, beset.path, EACH)) for kind in BAD}
    trips: dict[Peers, list[float]] = {among_them: [], alone: []}
    for _ in range(rounds):
        for peers in (among_them, alone):
            peers.tell(str(seconds))
            report = peers.report()
            trips[peers] += report["trips"]
            assert report["faults"] == []
            assert report["answered"] == report["asked"]
    worst, usual = (1000 * statistics.quantiles(trips[peers], n=100)[98] for peers in (among_them, alone))
    came_back = {kind: each.end()["came back"] for kind, each in bad.items()}
    record_property(f"{front}: honest questions, all answered", sum(map(len, trips.values())))
    record_property(f"{front}: p99 among bad ones (ms), without (ms)", [worst, usual])
    record_property(f"{front}: bad peers came back", came_back)
    for each in (*bad.values(), among_them, alone):
        each.process.kill()
    after = beset.until(lambda held: not left_over(before, held))
    record_property(f"{front}: held before and after", [before, after])
    assert all(came_back[kind] for kind in BAD[:-1])
    if LANE:
        assert worst <= 100
