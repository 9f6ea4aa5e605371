"""What every Python implementation shares: its part in a run, the payloads, the check that nothing is lost.

A run has a server process and a client process, started as ``python FILE server|client key=value …``. The server
prints ``{"ready": true}`` once it can be connected to, and is killed at the end. The client connects, warms up, prints
the same line, waits for a line on its standard input, does the work, prints one JSON line with the result, and ends
when its standard input does.

The load itself knows no sockets: a *lane* is one connection's share of it. It names what to send first and, for
each message that comes in, what to send next, so callbacks, coroutines and plain loops drive the same code.

Only ``sys`` and ``time`` are imported, since the time to a first message is one of the things measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, perf_counter_ns
from typing import Any, NamedTuple, NoReturn

Make = Callable[[int], Any]
"""Makes the payload with this number."""
Wrong = Callable[[Any, int], bool]
"""Whether a payload is not the one with this number."""
Received = Callable[[Any], Any]
"""Takes a payload that came in; gives the one to send next, or ``None``."""


class Plan:
    """What to do, from the command line."""

    role: str
    kind: str
    """``echo``, ``roundtrip``, ``oneway``, ``broadcast``, ``idle``, ``first`` or ``udp``."""
    transport: str = "unix"
    path: str = ""
    host: str = ""
    port: int = 0
    reply_port: int = 0
    """Where a sender of datagrams listens for the answer."""
    key: str = ""
    cert: str = ""
    ca: str = ""
    messages: int = 1
    warmup: int = 0
    size: int = 64
    """Bytes of one payload as JSON, about."""
    shape: str = "text"
    """``text`` (one string) or ``records`` (a list of small objects)."""
    window: int = 1
    """Messages in flight, over all connections."""
    connections: int = 1
    mode: str = "burst"
    """For ``broadcast``: ``burst``, or ``turn`` for one per turn of the loop."""
    front: str = "aio"
    loop: str = "asyncio"
    profile: str = "guarded"
    payload: str = "decoded"
    spin: int = 0
    """Microseconds to look on before waiting."""

    def __init__(self, arguments: list[str]) -> None:
        self.role = arguments[0]
        for argument in arguments[1:]:
            name, _, value = argument.partition("=")
            setattr(self, name, int(value) if value.isdigit() else value)

    @property
    def counts(self) -> list[int]:
        """How many messages each pass has: the warm-up, if there is one, and what is measured."""
        return [count for count in (self.warmup, self.messages) if count]


def payloads(plan: Plan) -> tuple[Make, Wrong]:
    """Payloads of plain dicts, numbered, and the check of one that came in."""
    if plan.shape == "records":
        rows = records(plan.size)
        return (lambda n: {"n": n, "rows": rows}), (lambda data, n: data["n"] != n or len(data["rows"]) != len(rows))
    text = filling(plan.size)
    length = len(text)
    return (lambda n: {"n": n, "text": text}), (lambda data, n: data["n"] != n or len(data["text"]) != length)


def filling(size: int) -> str:
    """Text that brings a payload to ``size`` bytes of JSON."""
    return "x" * max(1, size - 24)


def records(size: int) -> list[dict[str, Any]]:
    """Small objects that together are about ``size`` bytes of JSON."""
    return [
        {"key": i, "name": f"record {i:06d}", "value": i * 0.25, "active": True, "tags": ["alpha", "beta"]}
        for i in range(max(1, size // 88))
    ]


class Lane(NamedTuple):
    """One connection's share of a load."""

    opening: Iterable[Any]
    received: Received


class Load:
    """One pass over all connections; ``when_done`` is called once the last message is back."""

    def __init__(self, plan: Plan, count: int, make: Make, wrong: Wrong) -> None:
        self.latencies: list[int] = []
        """Nanoseconds of each trip (``roundtrip`` only)."""
        self.done = False
        self.when_done: Callable[[], object] = lambda: None
        self._open_lanes = plan.connections
        self.lanes = [self._lane(plan, number, count, make, wrong) for number in range(plan.connections)]

    def _lane(self, plan: Plan, number: int, count: int, make: Make, wrong: Wrong) -> Lane:
        if plan.kind == "broadcast":
            return self._audience([make(0)] if number == 0 else [], count, wrong)
        if plan.kind == "oneway":
            return Lane(map(make, range(count)), self._acknowledged)
        if plan.kind == "roundtrip":
            return self._timed(count, make, wrong)
        share = max(1, count // plan.connections)
        return self._echoed(share, min(share, max(1, plan.window // plan.connections)), make, wrong)

    def _lane_done(self) -> None:
        self._open_lanes -= 1
        if not self._open_lanes:
            self.done = True
            self.when_done()

    def _acknowledged(self, data: Any) -> None:
        self._lane_done()

    def _audience(self, opening: list[Any], count: int, wrong: Wrong) -> Lane:
        expected = 0

        def received(data: Any) -> None:
            nonlocal expected
            if wrong(data, expected):
                fail_order(expected, data)
            expected += 1
            if expected == count:
                self._lane_done()

        return Lane(opening, received)

    def _echoed(self, count: int, window: int, make: Make, wrong: Wrong) -> Lane:
        expected = 0
        following = 0
        opened = False

        def opening() -> Iterator[Any]:
            """Fills the window; what comes in meanwhile makes room in it, and is answered from here."""
            nonlocal following, opened
            while following < count and following - expected < window:
                number = following
                following += 1
                yield make(number)
            opened = True

        def received(data: Any) -> Any:
            nonlocal expected, following
            if wrong(data, expected):
                fail_order(expected, data)
            expected += 1
            if opened and following < count:
                number = following
                following += 1
                return make(number)
            if expected == count:
                self._lane_done()
            return None

        return Lane(opening(), received)

    def _timed(self, count: int, make: Make, wrong: Wrong) -> Lane:
        number = 0
        began = 0

        def opening() -> Iterator[Any]:
            nonlocal began
            began = perf_counter_ns()
            yield make(0)

        def received(data: Any) -> Any:
            nonlocal number, began
            now = perf_counter_ns()
            self.latencies.append(now - began)
            if wrong(data, number):
                fail_order(number, data)
            number += 1
            if number == count:
                self._lane_done()
                return None
            began = perf_counter_ns()
            return make(number)

        return Lane(opening(), received)


def answering(plan: Plan, make: Make, wrong: Wrong) -> Received:
    """What a server does with each message of one connection."""
    if plan.kind != "oneway":
        return lambda data: data
    expected = 0
    passes = iter(plan.counts)
    count = next(passes)

    def received(data: Any) -> Any:
        nonlocal expected, count
        if wrong(data, expected):
            fail_order(expected, data)
        expected += 1
        if expected < count:
            return None
        expected = 0
        count = next(passes, 0)
        return make(0)

    return received


class Announcer:
    """A server's side of ``broadcast``: all messages in one go, or one per turn of the loop."""

    def __init__(
        self,
        plan: Plan,
        make: Make,
        broadcast: Callable[[Any], object],
        peers: Callable[[], int],
        soon: Callable[..., object],
    ) -> None:
        self._passes = iter(plan.counts)
        self._plan = plan
        self._make = make
        self._broadcast = broadcast
        self._peers = peers
        self._soon = soon

    def go(self) -> None:
        """Begin the next pass, once every client that has connected was accepted."""
        if self._peers() < self._plan.connections:
            self._soon(self.go)
            return
        payloads = map(self._make, range(next(self._passes)))
        if self._plan.mode == "turn":
            self._turn(payloads)
            return
        for payload in payloads:
            self._broadcast(payload)

    def _turn(self, payloads: Iterator[Any]) -> None:
        payload = next(payloads, None)
        if payload is not None:
            self._broadcast(payload)
            self._soon(self._turn, payloads)


class Stopwatch:
    """Times the measured pass and prints its result."""

    def __init__(self, plan: Plan) -> None:
        self._kind = plan.kind
        self._began = 0.0

    def wait_for_go(self) -> None:
        """Tell the harness that all is warm, wait until it has looked at the processes, and start the clock."""
        if self._kind != "first":
            ready()
            sys.stdin.readline()
        self._began = perf_counter()

    def report(self, messages: int, latencies: list[int]) -> None:
        """Print the result, then stay until the harness has looked at the processes again."""
        seconds = perf_counter() - self._began
        say(f'{{"seconds": {seconds!r}, "messages": {messages}, "latencies": {latencies}}}')
        sys.stdin.readline()


def ready() -> None:
    say('{"ready": true}')


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def fail_order(expected: int, data: Any) -> NoReturn:
    """A message is missing, came twice, came out of order or came damaged: the run does not count."""
    fail(f"message {expected} was expected, not {str(data)[:80]}")


def fail(reason: str) -> NoReturn:
    """End the process at once, also from inside a callback whose caller catches exceptions."""
    import json
    import os

    say(json.dumps({"error": reason}))
    os._exit(1)
