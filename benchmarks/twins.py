"""``python -m benchmarks twins``: what a session does for a message, in Python and in C, on a link that only counts.

Nanoseconds of processor time, the handler included. Processes of the two twins take turns; of all their short runs the
best one counts, as whatever else runs here only makes them slower. A case in which the native twin is more than 3 %
slower makes the command fail: it stands in for the other one where it gains, and costs nothing elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import node_ipc
from node_ipc import Config
from node_ipc.core.events import Events
from node_ipc.core.seam import Peer
from node_ipc.core.session import Loss, Session, broadcast
from node_ipc.core.watch import Watch, Watches
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.wire.carried import carrying
from node_ipc.wire.codec import choose

__all__ = ["main"]

BLOCK = 100
SHORT = 2_000
"""Messages of a short run."""
RUNS = 15
BOUND = 1.03
PEERS, BURST = 20, 10
DATA = {"n": 1, "text": "x" * 41}
BODY = msgspec.json.encode(DATA)
PLAIN = b'{"type":"plain","data":%s}' % BODY


class Numbered(msgspec.Struct):
    n: int
    text: str


class Counting:
    """The link under a session and the endpoint above it: they count, and do nothing else."""

    peer = Peer("memory", pid=1)

    def __init__(self, options: dict[str, Any] | None = None, driver: MemoryDriver | None = None) -> None:
        self.driver = driver or MemoryDriver()
        settings = Config(secure_socket_root=True, socket_root="/x/", **options or {}).settings()
        self.codec = choose(settings)
        self.events: Events[Any] = Events(
            1, self.codec.check_name, self._failed, self.driver.spawn, gives_raw=self.codec.gives_raw
        )
        self.end = settings.delimiter_bytes
        self.written = self.unheard = 0
        self.session = Session(self, self.codec, self.events, self.driver, settings, 1, False)  # type: ignore[arg-type]
        self.session.opened(self)

    def _failed(self, session: Any, error: Exception) -> None:
        raise error

    # the endpoint

    def address_of(self, session: Session) -> str:
        return "address"

    def session_opened(self, session: Session) -> None: ...
    def session_paused(self, session: Session, why: str) -> None: ...
    def session_closing(self, session: Session) -> None: ...
    def session_lost(self, session: Session, loss: Loss) -> None: ...
    def pending_changed(self, session: Session, pending: int) -> None: ...
    def answers_first(self, session: Session) -> bool:
        return False

    def session_fault(self, session: Any, error: Exception) -> None:
        raise error

    def not_heard(self, *_: object) -> None:
        self.unheard += 1

    # the link

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def write_parts(self, parts: list[Any]) -> None:
        self.written += sum(map(len, parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...
    def pending_bytes(self) -> int:
        return 0

    def unread_bytes(self) -> int | None:
        return 0

    def all_arrived(self) -> bool:
        return True

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


Work = Callable[[int], object]


def reads(bench: Counting, frame: bytes = PLAIN, block: int = BLOCK) -> Work:
    """So many messages, in reads of a block each."""
    data, received, advance = (frame + bench.end) * block, bench.session.received, bench.driver.advance

    def work(messages: int) -> None:
        for _ in range(messages // BLOCK):
            for _ in range(BLOCK // block):
                received(data)
            advance(0)

    return work


def hearing(options: dict[str, Any] | None = None, **registered: Any) -> Counting:
    bench = Counting(options)
    bench.events.on("plain", heard, **registered)
    return bench


def heard(data: Any) -> None: ...


def echoing(type: Any = None) -> Counting:
    bench = Counting()
    emit = bench.session.emit
    bench.events.on("plain", lambda data: emit("plain", data), type=type)
    return bench


def heard_by_none() -> Counting:
    bench = Counting()
    bench.events.unheard = bench.not_heard
    return bench


def with_heartbeats() -> Counting:
    bench = hearing({"heartbeat": 5_000})
    bench.events.answer_heartbeats()
    return bench


def with_traces() -> Counting:
    bench = hearing()
    bench.session.traffic = lambda trace: None
    return bench


def tapped() -> Counting:
    bench = hearing()
    bench.events.tap(lambda *all: None, ours=True)
    return bench


def heard_by_star() -> Counting:
    bench = Counting()
    bench.events.on("*", lambda *all: None)
    return bench


class Looking(Watch):
    """Watches and notes nothing."""

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Any:
        return None

    def handling(self, name: str, message: Any, socket: Any) -> None: ...
    def unheard(self, name: str, message: Any, socket: Any) -> None: ...


def watched() -> Counting:
    bench = hearing()
    watches = Watches()
    watches.add(Looking())
    bench.events.watch(watches)
    bench.session.use(carrying(bench.codec, watches))
    return bench


def emits() -> Work:
    bench = Counting()

    def work(messages: int) -> None:
        emit, advance = bench.session.emit, bench.driver.advance
        for _ in range(messages // BLOCK):
            for _ in range(BLOCK):
                emit("plain", DATA)
            advance(0)

    return work


def broadcasts() -> Work:
    driver = MemoryDriver()
    benches = [Counting(driver=driver) for _ in range(PEERS)]
    sessions = [bench.session for bench in benches]
    frame = PLAIN + benches[0].end

    def work(messages: int) -> None:
        for _ in range(messages // (BURST * PEERS)):
            for _ in range(BURST):
                for _ in broadcast(sessions, frame):
                    pass
            driver.advance(0)

    return work


CASES: dict[str, Callable[[], Work]] = {
    "a read of one message": lambda: reads(hearing(), block=1),
    "a read of one message, echoed": lambda: reads(echoing(), block=1),
    "a message of a block of 100": lambda: reads(hearing()),
    "the same, decoded to a type": lambda: reads(hearing(type=Numbered)),
    "the same, as `Raw`": lambda: reads(hearing(type=msgspec.Raw)),
    "the same, echoed": lambda: reads(echoing()),
    "the same, echoed as `Raw`": lambda: reads(echoing(msgspec.Raw)),
    "members in another order": lambda: reads(hearing(), b'{"data":%s,"type":"plain"}' % BODY),
    "letters beyond ASCII": lambda: reads(hearing(), PLAIN.replace(b"xxx", b"\xc3\xa9x")),
    "an escaped name": lambda: reads(hearing(), PLAIN.replace(b"plain", b"pl\\u0061in")),
    "nobody registered": lambda: reads(heard_by_none()),
    'heard by `"*"`': lambda: reads(heard_by_star()),
    "with a tap": lambda: reads(tapped()),
    "with a watch": lambda: reads(watched()),
    "a delimiter of three bytes": lambda: reads(hearing({"delimiter": "<E>"})),
    "with heartbeats, one message a read": lambda: reads(with_heartbeats(), block=1),
    "with traces, one message a read": lambda: reads(with_traces(), block=1),
    "`emit`": emits,
    "`broadcast`, each peer": broadcasts,
}


def measured() -> dict[str, float]:
    """By case, the nanoseconds of a message in the best short run."""
    found = {}
    for name, make in CASES.items():
        work = make()
        work(SHORT)
        found[name] = min(_took(work) for _ in range(RUNS)) / SHORT
    return found


def _took(work: Work) -> int:
    began = time.process_time_ns()
    work(SHORT)
    return time.process_time_ns() - began


# ---- both, in turn


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks twins", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="processes of each twin (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="this process's twin only, as JSON")
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps({"twin": node_ipc.native or "", "cases": measured()}))
        return 0
    pure, native = _in_turn(options.rounds)
    slower = [name for name in CASES if native[name] > BOUND * pure[name]]
    print(*_table(pure, native), sep="\n")
    for name in slower:
        print(f"slower with the native twin: {name}, {native[name] / pure[name]:.2f}", file=sys.stderr)
    return 1 if slower else 0


def _in_turn(rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    best: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for _ in range(rounds):
        for found, environment in zip(best, ({"NODE_IPC_PURE": "1"}, {"NODE_IPC_PURE": ""}), strict=True):
            for name, nanoseconds in _once(environment).items():
                found[name] = min(nanoseconds, found.get(name, nanoseconds))
    return best


def _once(environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", "twins", "--once"]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=True)
    told = json.loads(ran.stdout)
    if bool(told["twin"]) is bool(environment["NODE_IPC_PURE"]):
        raise SystemExit("the native twin does not run here: pip install ./native")
    cases: dict[str, float] = told["cases"]
    return cases


def _table(pure: dict[str, float], native: dict[str, float]) -> Iterator[str]:
    yield "| | Python | native | |"
    yield "|---|---|---|---|"
    for name in CASES:
        yield f"| {name} | {pure[name]:,.0f} | {native[name]:,.0f} | {native[name] / pure[name]:.2f} |"
