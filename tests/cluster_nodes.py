"""Nodes on a broker in memory, for tests: each keeps what it hears and counts what it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw

from memory_bus import MemoryBroker, MemoryLine
from node_ipc.cluster.messages import Ask
from node_ipc.cluster.node import Node, NodeLimits
from node_ipc.core.rooms import Audience
from node_ipc.errors import IPCError
from node_ipc.testing import MemoryDriver

BEAT = 1.0


class Process:
    """A server without clients: its rooms are names, and what is delivered is kept."""

    member = True
    wire = "json '\\f'"

    def __init__(self, group: Group, name: str, life: int, **options: Any) -> None:
        self.group = group
        self.names: dict[str, None] = {}
        self.heard: list[tuple[tuple[str, ...], bytes]] = []
        self.told: list[tuple[Any, ...]] = []
        self.faults: list[IPCError] = []
        self.gaps: Counter[str] = Counter()
        self.keeps = True
        self.count_heard: Counter[str] = Counter()
        limits = NodeLimits(
            options.get("messages", 10_000), options.get("size", 8 << 20), options.get("raises", False), BEAT
        )
        self.node = Node(name, life, "app.", self, group.driver, limits, "memory")
        self.line: MemoryLine = group.broker.connect(self.node)

    # what a node needs

    def rooms(self) -> Iterable[str]:
        return list(self.names)

    def count(self) -> int:
        return len(self.names)

    def deliver(self, audience: Audience, frame: Raw, event: str | None) -> None:
        if not self.keeps:
            self.count_heard[bytes(frame).split(b'"')[-2].decode()] += 1
        if self.keeps:
            self.heard.append((audience.rooms, bytes(frame)))

    def describe(self, room: str) -> list[tuple[int, str, Any, list[str]]]:
        return [(1, "memory", None, list(self.names))] if room in self.names or not room else []

    def answer(self, ask: Ask, done: Callable[[tuple[str, int, str] | None, Raw], None]) -> None:
        if ask.socket > 1:
            done(("nobody", -32001, "no such socket"), Raw(b"null"))
        else:
            done(None, ask.params)

    def tell(self, event: str, *arguments: Any) -> None:
        self.told.append((event, *arguments))
        if event == "bus.gap":
            self.gaps[arguments[0]] += arguments[1]

    def fault(self, error: IPCError) -> None:
        self.faults.append(error)

    # what tests say

    def join(self, room: str) -> None:
        if room not in self.names:
            self.names[room] = None
            self.node.first(room)

    def leave(self, room: str) -> None:
        if room in self.names:
            del self.names[room]
            self.node.last(room)

    def emit(self, *rooms: str, data: Any = 1, **audience: Any) -> None:
        self.node.publish(Audience(rooms, **audience), Raw(b'{"type":"x","data":%s}' % str(data).encode()))

    @property
    def events(self) -> list[str]:
        return [told[0] for told in self.told]

    @property
    def numbers(self) -> list[int]:
        return [int(frame.split(b":")[-1][:-1]) for _, frame in self.heard]

    def kill(self) -> None:
        """Its process is gone, without a word."""
        self.group.broker.disconnect(self.line)
        for name in ("join", "beat", "gap"):
            self.node._cancel(name)
        self.node._line = None


class Group:
    """A broker and so many nodes, which know each other."""

    def __init__(self, count: int, driver: MemoryDriver | None = None, **options: Any) -> None:
        self.driver = driver or MemoryDriver()
        limit = options.pop("limit", None)
        self.broker = MemoryBroker(self.driver, limit=limit)
        self.processes = [self.start(f"n{number}", **options) for number in range(count)]
        self.run(2.5)

    def start(self, name: str, life: int = 1, **options: Any) -> Process:
        return Process(self, name, life, **options)

    def run(self, seconds: float) -> None:
        self.driver.advance(seconds)
