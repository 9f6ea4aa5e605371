"""Nodes on a broker in memory, for tests: each keeps what it hears and counts what it is told."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from msgspec import Raw

from memory_bus import MemoryBroker, MemoryLine
from node_ipc.cluster import node as module
from node_ipc.cluster.messages import Ask, Message, decode
from node_ipc.cluster.node import Node, NodeLimits
from node_ipc.core.outcome import Outcome
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
        self.unread_errors: list[tuple[str, Exception]] = []
        self.gaps: Counter[str] = Counter()
        self.waits: list[tuple[Callable[..., None], Callable[[Raw], None]]] = []
        self.given_up: list[int] = []
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
        self.heard.append((audience.rooms, bytes(frame)))

    def describe(self, room: str) -> list[tuple[int, str, Any, list[str]]]:
        return [(1, "memory", None, list(self.names))] if room in self.names or not room else []

    def answer(
        self, ask: Ask, done: Callable[[tuple[str, int, str] | None, Raw], None], told: Callable[[Raw], None]
    ) -> Callable[[], None]:
        if ask.method == "wait":
            self.waits.append((done, told))
        elif ask.socket > 1:
            done(("nobody", -32001, "no such socket"), Raw(b"null"))
        else:
            done(None, ask.params)
        return lambda: self.given_up.append(ask.id)

    def tell(self, event: str, *arguments: Any) -> None:
        self.told.append((event, *arguments))
        if event == "bus.gap":
            self.gaps[arguments[0]] += arguments[1]

    def fault(self, error: IPCError) -> None:
        self.faults.append(error)

    def unread(self, method: str, error: Exception) -> None:
        self.unread_errors.append((method, error))

    # what tests say

    def join(self, room: str) -> None:
        if room not in self.names:
            self.names[room] = None
            self.node.first(room)

    def enter(self, *rooms: str) -> Outcome[None]:
        """Join these, as a socket does; what it may await."""
        for room in rooms:
            self.join(room)
        return self.node.joined(rooms)

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


@contextmanager
def at_scale() -> Iterator[None]:
    """For a thousand nodes in one process, where a heartbeat is the same bytes to each of them: read once."""
    last: list[Any] = [b"", None]

    def read(data: bytes) -> Message:
        if data is not last[0]:
            last[1] = decode(data)
            last[0] = data
        message: Message = last[1]
        return message

    collects = gc.isenabled()
    gc.disable()  # five million objects that stay would be looked at again and again
    try:
        with patch.object(module, "decode", read):
            yield
    finally:
        if collects:
            gc.enable()
