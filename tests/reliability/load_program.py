"""Servers under load, and peers that load them, in processes of their own.

    python load_program.py serve FRONT PATH          until its input ends; the request "held" says what it holds
    python load_program.py idle PATH COUNT           so many connections that say nothing, until its input ends
    python load_program.py storm PATH RATE SECONDS   so many opens and closes a second, each asks and is answered
    python load_program.py honest PATH COUNT PID     numbered questions when told to: "SECONDS" a line of its input
    python load_program.py KIND PATH COUNT           "never reads", drips, garbage, half-closes, resets or floods

FRONT is asyncio or blocking. The peers speak bytes, without this library; those that do harm come back when they are
cut. All but ``serve`` print "ready" once they are there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import select
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import node_ipc
from node_ipc import blocking

RATE = 50
"""Questions of an honest peer in a second."""
NEWS_RATE = 20
NEWS = "x" * 16_384
"""What is broadcast, so that whoever never reads has something to leave unread."""
BAD_PAUSE = 0.05
"""Seconds between two deeds of a peer that does harm."""
FLOOD = b'{"type":"flood","data":"%s"}\f' % (b"x" * 64) * 500


def more_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---- the server


class Loaded:
    """What each server does, whatever its front."""

    def __init__(self, server: Any, tasks: Callable[[], int], timers: Callable[[], int]) -> None:
        self.server, self._tasks, self._timers = server, tasks, timers
        self.news = 0
        self._begun = time.monotonic()
        self._readers: Any = None
        server.on("ping", lambda data, socket: socket.emit("pong", data))
        server.on("join", lambda data, socket: socket.join("news"))
        server.on("flood", lambda data: None)
        server.on("error", lambda error: None)
        server.handle("held", self.held)

    def held(self, params: Any) -> dict[str, int]:
        gc.collect()
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * resource.getpagesize()
        count = len(self.server.sockets)
        fds = len(os.listdir("/proc/self/fd"))
        return {
            "resident": resident,
            "sockets": count,
            "fds": fds,
            "tasks": self._tasks(),
            "timers": self._timers(),
        }

    def tick(self) -> None:
        while self.news < (time.monotonic() - self._begun) * NEWS_RATE:
            self.server.to("news").emit("news", [self.news, NEWS])
            self.news += 1


def is_over() -> bool:
    return bool(select.select([0], [], [], 0)[0])


OPTIONS: dict[str, Any] = {
    "max_connections": 20_000,
    "max_pending_bytes": 1 << 20,
    "soft_pending_bytes": 1 << 19,
    "message_timeout": 3_000,
}


async def serve_asyncio(path: str) -> None:
    loop: Any = asyncio.get_running_loop()
    async with node_ipc.serve(path, **OPTIONS) as server:

        def timers() -> int:
            return sum(not timer.cancelled() for timer in loop._scheduled)

        loaded = Loaded(server, lambda: len(asyncio.all_tasks()), timers)
        print("ready", flush=True)
        while not is_over():
            loaded.tick()
            await asyncio.sleep(0.02)


def serve_blocking(path: str) -> None:
    with blocking.serve(path, **OPTIONS) as server:
        driver: Any = server._driver
        loaded = Loaded(server, lambda: 0, lambda: sum(timer[2].callback is not None for timer in driver._timers))
        print("ready", flush=True)
        while not is_over():
            loaded.tick()
            server.poll(0.02)


def serve(front: str, path: str) -> None:
    if front == "blocking":
        serve_blocking(path)
    else:
        node_ipc.run(serve_asyncio(path), loop="asyncio")


# ---- peers


def connected(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def idle(path: str, count: str) -> None:
    peers = [connected(path) for _ in range(int(count))]
    print("ready", flush=True)
    sys.stdin.read()
    for peer in peers:
        peer.close()


def storm(path: str, rate: str, seconds: str) -> None:
    """Prints how many were opened, asked, were answered and closed."""
    print("ready", flush=True)
    begun, served = time.monotonic(), 0
    while served < float(seconds) * float(rate):
        time.sleep(max(0.0, begun + served / float(rate) - time.monotonic()))
        with connected(path) as peer:
            peer.settimeout(60)
            question = b'{"type":"ping","data":%d}\f' % served
            peer.sendall(question)
            answer = b""
            while not answer.endswith(b"\f"):
                answer += peer.recv(1000) or b"nothing more\f"
            assert answer == question.replace(b"ping", b"pong"), answer
            served += 1
    print(json.dumps({"served": served, "seconds": round(time.monotonic() - begun, 1)}), flush=True)


def clock_of(server: str) -> Callable[[], float]:
    """Seconds in which that process waited for nothing but its own work: others had the processor for the rest."""

    def now() -> float:
        with open(f"/proc/{server}/schedstat") as told:
            return time.monotonic() - int(told.read().split()[1]) / 1e9

    return now


class Honest:
    """A peer that asks, reads, and knows what is missing."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self.socket = connected(path)
        self.socket.sendall(b'{"type":"join","data":0}\f')
        self.socket.setblocking(False)
        self.rest = b""
        self.asked = self.answered = 0
        self.news: int | None = None
        self.faults: list[str] = []
        self._clock = clock
        self._sent_at: deque[float] = deque()
        self.trips: list[float] = []

    def ask(self) -> None:
        self._sent_at.append(self._clock())
        self.socket.send(b'{"type":"ping","data":%d}\f' % self.asked)
        self.asked += 1

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError as error:
            data = b""
            self.faults.append(str(error))
        if not data:
            self.faults.append("it was cut")
        *frames, self.rest = (self.rest + data).split(b"\f")
        for frame in frames:
            if frame.startswith(b'{"type":"pong"'):
                number = int(frame[frame.rindex(b":") + 1 : -1])
                if number != self.answered:
                    self.faults.append(f"{number} came where {self.answered} was due")
                self.answered = number + 1
                self.trips.append(self._clock() - self._sent_at.popleft())
            else:
                number = int(frame[frame.index(b"[") + 1 : frame.rindex(b",")])
                if self.news is not None and number != self.news + 1:
                    self.faults.append(f"news {number} came after {self.news}")
                self.news = number


def honest(path: str, count: str, server: str) -> None:
    """At each line of its input they ask for so many seconds, one after the other, each when its time has come.

    Then it prints the seconds of each trip in that round, and what was missing.
    """
    clock = clock_of(server)
    peers = [Honest(path, clock) for _ in range(int(count))]
    selector = selectors.DefaultSelector()
    for peer in peers:
        selector.register(peer.socket, selectors.EVENT_READ, peer)
    print("ready", flush=True)
    while True:
        if not select.select([0], [], [], 0)[0]:
            read_all(selector, 0.02)
            continue
        line = sys.stdin.readline()
        if not line:
            return
        report(peers, selector, float(line))


def read_all(selector: selectors.BaseSelector, timeout: float) -> None:
    for key, _ in selector.select(timeout):
        key.data.read()


def report(peers: list[Honest], selector: selectors.BaseSelector, seconds: float) -> None:
    begun, pause = time.monotonic(), 1 / (RATE * len(peers))
    for number in range(int(seconds / pause)):
        while (left := begun + number * pause - time.monotonic()) > 0:
            read_all(selector, left)
        peers[number % len(peers)].ask()
    deadline = time.monotonic() + 60
    while any(peer.answered < peer.asked for peer in peers) and time.monotonic() < deadline:
        read_all(selector, 0.02)
    faults = [fault for peer in peers for fault in peer.faults]
    trips = [trip for peer in peers for trip in peer.trips]
    asked, answered = (sum(getattr(peer, name) for peer in peers) for name in ("asked", "answered"))
    print(json.dumps({"trips": trips, "asked": asked, "answered": answered, "faults": faults[:10]}), flush=True)
    for peer in peers:
        peer.trips.clear()


# ---- peers that do harm


class Harmful:
    """A peer at its deed, which comes back when it is cut."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.came_back = -1
        self.rest = b""
        """Of what it was about to send: the kernel was full."""
        self.come()

    def come(self) -> None:
        self.socket = connected(self._path)
        self.socket.setblocking(False)
        self.turn, self.rest = 0, b""
        self.came_back += 1

    def act(self) -> None:
        try:
            self.deed()
            self.turn += 1
        except BlockingIOError:
            pass  # nobody reads
        except OSError:
            self.socket.close()
            self.come()

    def deed(self) -> None:
        raise NotImplementedError


class NeverReads(Harmful):
    def deed(self) -> None:
        self.socket.send(b'{"type":"flood","data":0}\f' if self.turn else b'{"type":"join","data":0}\f')


class Drips(Harmful):
    def deed(self) -> None:
        self.socket.send(b"x" if self.turn else b'{"type":"ping","data":"x')


class Garbage(Harmful):
    def deed(self) -> None:
        self.socket.send(os.urandom(512) + b"\f")


class HalfCloses(Harmful):
    def deed(self) -> None:
        if self.turn == 0:
            self.socket.send(b'{"type":"ping","data":1}\f{"type":"pi')
            self.socket.shutdown(socket.SHUT_WR)
        elif self.turn > 10:
            raise ConnectionError("again")


class Resets(Harmful):
    def deed(self) -> None:
        self.socket.send(b'{"type":"ping","data":1}\f' * 20)
        raise ConnectionError("again")  # its answers are not read: the other end hears of a reset


class Floods(Harmful):
    def deed(self) -> None:
        self.rest = self.rest or FLOOD
        self.rest = self.rest[self.socket.send(self.rest) :]


HARMFUL: dict[str, type[Harmful]] = {
    "never reads": NeverReads, "drips": Drips, "garbage": Garbage,
    "half-closes": HalfCloses, "resets": Resets, "floods": Floods,
}  # fmt: skip


def harm(kind: str, path: str, count: str) -> None:
    """Peers of one kind, each at its deed again and again, until the input ends; prints how often they came back."""
    peers = [HARMFUL[kind](path) for _ in range(int(count))]
    print("ready", flush=True)
    while not is_over():
        for peer in peers:
            peer.act()
        time.sleep(BAD_PAUSE)
    print(json.dumps({"came back": sum(peer.came_back for peer in peers)}), flush=True)


def main(role: str, *arguments: str) -> None:
    more_descriptors()
    roles: dict[str, Callable[..., None]] = {"serve": serve, "idle": idle, "storm": storm, "honest": honest}
    if role in HARMFUL:
        harm(role, *arguments)
    else:
        roles[role](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
