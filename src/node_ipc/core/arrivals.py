"""Which of a link's messages are known to have arrived, where only the kernel tells: by what the peer has read.

Read is not dealt with: a peer that is killed takes with it what it had read and not handled yet. Two rules make a
proof of it:

- What was read and lies further back than a peer reads ahead is handled.
- Whoever reads handles that before it reads on. So once all was read, and after that something that was sent later,
  the first part is handled. This library breaks that once a second, where handlers are busy and it looks for a sign of
  its peer: so there must have been two such reads within less than that.
"""

from __future__ import annotations

from collections import deque

__all__ = ["READ_AHEAD", "Arrivals", "next_look"]

LOOK_EVERY = 64
"""Writes from one look to the next, where each has one message. A look takes 2 µs: less than 1 % of their time."""
MOST_IN_A_WRITE = 8
"""Messages of a write that count: so many take longer than the write itself."""
READ_AHEAD = 1280 * 1024
"""Bytes that no peer holds unhandled: Node reads 64 KiB at once, asyncio's transports 256, and this library reads on
for up to 1 MiB while handlers are busy."""
SIGN_SECONDS = 0.9
"""Within so many seconds no peer reads twice that still has handlers to call."""
MOST_LOOKS = 1024
"""Looks that are kept; with more the oldest are forgotten, which proves less."""


def next_look(messages: int) -> int:
    """How many messages to send until the next look, if they go with so many in a write."""
    return LOOK_EVERY * min(messages, MOST_IN_A_WRITE)


class Arrivals:
    """What the looks at one link's send queue prove."""

    __slots__ = ("_empty", "_looks")

    def __init__(self) -> None:
        self._looks: deque[tuple[int, int]] = deque(maxlen=MOST_LOOKS)
        self._empty: deque[tuple[float, int]] = deque(maxlen=2)

    def looked(self, messages: int, bytes: int, unread: int, now: float) -> int:
        """So much was sent so far, and of it so many bytes are unread: the number of messages that have arrived."""
        looks, empty, arrived = self._looks, self._empty, 0
        handled = bytes - unread - READ_AHEAD
        while looks and looks[0][0] <= handled:
            arrived = looks.popleft()[1]
        if unread == 0:
            if len(empty) == 2 and now - empty[0][0] < SIGN_SECONDS:
                arrived = max(arrived, empty[0][1])
            empty.append((now, messages))
        looks.append((bytes, messages))
        return arrived
