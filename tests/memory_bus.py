"""A bus in memory, for tests: it can be killed, cut, slowed and made small, on a driver's virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from node_ipc.core.seam import Driver


class _Ends(Protocol):
    """A node, as far as the broker calls it."""

    def up(self, line: MemoryLine, limit: int | None) -> None: ...
    def down(self, error: Exception | None) -> None: ...
    def heard(self, subject: str, data: bytes) -> None: ...


class MemoryBroker:
    """What relays between nodes; each message takes ``latency`` seconds."""

    def __init__(self, driver: Driver, *, latency: float = 0.001, limit: int | None = None) -> None:
        self.driver = driver
        self.latency = latency
        self.limit = limit
        self.has_groups = False
        self.is_up = True
        self.messages = 0
        """Messages that were published."""
        self.deliveries = 0
        """Messages that were given to a node."""
        self.lost = 0
        """Deliveries that the broker, or a cut, took with it."""
        self.bytes = 0
        """Bytes in those deliveries that were given to a node."""
        self.loses: Callable[[str, MemoryLine], bool] = lambda subject, line: False
        """Whether this delivery is lost."""
        self._lines: dict[str, dict[MemoryLine, str]] = {}
        self._connected: dict[MemoryLine, None] = {}
        self._cut: set[MemoryLine] = set()

    def connect(self, node: _Ends) -> MemoryLine:
        """Connect a node, now or when the broker is up again."""
        line = MemoryLine(self, node)
        self._connected[line] = None
        if self.is_up:
            self.driver.call_later(self.latency, partial(self._up, line))
        return line

    def disconnect(self, line: MemoryLine) -> None:
        """Its process is gone, without a word."""
        self._connected.pop(line, None)
        line.is_up = False
        self._forget(line)

    def kill(self) -> None:
        """All connections are gone, and what was on its way."""
        self.is_up = False
        for line in self._connected:
            if line.is_up:
                self._down(line)

    def restart(self, delays: Iterable[tuple[MemoryLine, float]] = ()) -> None:
        """It is there again; these nodes come back later than the others, by so many seconds."""
        self.is_up = True
        later = dict(delays)
        for line in self._connected:
            self.driver.call_later(self.latency + later.get(line, 0.0), partial(self._up, line))

    def cut(self, line: MemoryLine) -> None:
        """The link to this node is cut, and both ends notice."""
        self._down(line)

    def mend(self, line: MemoryLine) -> None:
        """It connects anew."""
        self.driver.call_later(self.latency, partial(self._up, line))

    def _up(self, line: MemoryLine) -> None:
        if self.is_up and line in self._connected and not line.is_up:
            line.is_up = True
            line.connection += 1
            line.since = self.messages
            line.node.up(line, self.limit)

    def _down(self, line: MemoryLine) -> None:
        if line.is_up:
            line.is_up = False
            self._forget(line)
            line.node.down(ConnectionError("the broker is gone"))

    def _forget(self, line: MemoryLine) -> None:
        for subject in line.subjects:
            subscribers = self._lines[subject]
            subscribers.pop(line, None)
            if not subscribers:
                del self._lines[subject]
        line.subjects.clear()

    def subscribe(self, line: MemoryLine, subject: str, group: str) -> None:
        self._lines.setdefault(subject, {})[line] = group
        line.subjects.add(subject)

    def unsubscribe(self, line: MemoryLine, subject: str) -> None:
        line.subjects.discard(subject)
        subscribers = self._lines.get(subject, {})
        subscribers.pop(line, None)
        if not subscribers:
            self._lines.pop(subject, None)

    def publish(self, sender: MemoryLine, subject: str, data: bytes) -> int:
        """Deliver to the subscribers; how many they are."""
        self.messages += 1
        lines = [line for line in self._lines.get(subject, ()) if line is not sender]
        if lines:
            self.driver.call_later(self.latency, partial(self._deliver, lines, self.messages, subject, data))
        return len(lines)

    def _deliver(self, lines: list[MemoryLine], number: int, subject: str, data: bytes) -> None:
        for line in lines:
            if not line.is_up or line.since >= number or self.loses(subject, line):
                self.lost += 1
                continue
            self.deliveries += 1
            self.bytes += len(data)
            line.node.heard(subject, data)


class MemoryLine:
    """One node's connection."""

    name = "memory"
    size_option = "the limit of MemoryBroker"

    def __init__(self, broker: MemoryBroker, node: _Ends) -> None:
        self.node = node
        self.is_up = False
        self.connection = 0
        self.since = 0
        """How many messages the broker had seen when this connection began: of those none comes over it."""
        self.subjects: set[str] = set()
        self._broker = broker

    @property
    def has_groups(self) -> bool:
        return self._broker.has_groups

    def publish(self, subject: str, data: bytes) -> bool:
        if self.is_up and not self._is_too_large(data):
            self._broker.publish(self, subject, data)
        return True

    def _is_too_large(self, data: bytes) -> bool:
        """Whether it is; whoever sends such a thing is cut off, as nats-server does it."""
        broker = self._broker
        if broker.limit is None or len(data) <= broker.limit:
            return False
        broker.driver.call_later(0, partial(broker.cut, self))
        return True

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        if self.is_up and not self._broker.publish(self, subject, data):
            self._broker.driver.call_later(self._broker.latency, unheard)

    def subscribe(self, subject: str, group: str = "") -> None:
        if self.is_up:
            self._broker.subscribe(self, subject, group)

    def unsubscribe(self, subject: str) -> None:
        if self.is_up:
            self._broker.unsubscribe(self, subject)

    def confirm(self, confirmed: Callable[[], None]) -> None:
        self._broker.driver.call_later(2 * self._broker.latency, partial(self._confirmed, self.connection, confirmed))

    def _confirmed(self, connection: int, confirmed: Callable[[], None]) -> None:
        if self.is_up and self.connection == connection:
            confirmed()
