"""What waits for the bus, within limits."""

from __future__ import annotations

from collections import deque

__all__ = ["Waiting"]


class Waiting:
    """Messages in order, each with its subject; past the limits the oldest go."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.bytes = 0
        self._most, self._most_bytes = most, most_bytes
        self._messages: deque[tuple[str, bytes, int]] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def has_room(self, messages: int, size: int) -> bool:
        """Whether so many more find room."""
        return len(self._messages) + messages <= self._most and self.bytes + size <= self._most_bytes

    def add(self, subject: str, data: bytes, number: int) -> int:
        """Keep one more, with its number; returns how many had to go for it, which may be this one itself."""
        self._messages.append((subject, data, number))
        self.bytes += len(data)
        dropped = 0
        while self._messages and not self.has_room(0, 0):
            self.take()
            dropped += 1
        return dropped

    def take(self) -> tuple[str, bytes, int]:
        """The oldest."""
        oldest = self._messages.popleft()
        self.bytes -= len(oldest[1])
        return oldest

    def clear(self) -> int:
        """Forget all; how many they were."""
        count = len(self._messages)
        self._messages.clear()
        self.bytes = 0
        return count
