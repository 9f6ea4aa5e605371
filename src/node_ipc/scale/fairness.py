"""Whose turn it is to accept, where several processes wait on one listening socket.

The kernel wakes all of them, or always the same one: neither spreads connections evenly, and a worker that is full
would refuse what another has room for. So each writes on a board in shared memory how many connections it has and
when it took its last one, and gives way to those that have fewer. Nobody waits for anybody: after a moment whoever
is there takes the connection, so a worker that is busy, stopped or dead holds nothing up.

A number on the board has one writer (its worker while that lives, the supervisor otherwise) and is eight bytes in
one piece, so it needs no lock.
"""

from __future__ import annotations

import mmap
import os
import time

__all__ = ["Board", "Turn"]

ABSENT = 1 << 62
"""The number of connections of a worker that does not accept: more than any that does."""
SLACK = 4
"""How many connections more than the least loaded a worker may have before it waits for that one."""
WAIT_SECONDS = 0.001
"""How long a worker with more connections leaves one to the others; after that it takes it."""
FULL_SECONDS = 0.005
"""How often a full worker looks whether all are full, so that refusing is all that is left."""


class Board:
    """Two numbers for each worker, and whether something was said, in memory that parent and children share."""

    def __init__(self, count: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, 16 * count)).cast("q")
        self._told = mmap.mmap(-1, 1)
        self.count = count
        for number in range(count):
            self.leave(number)

    def is_told_first(self) -> bool:
        """Whether what one worker says for all has not been said; it is from now on."""
        is_first = not self._told[0]
        self._told[0] = 1
        return is_first

    def leave(self, number: int) -> None:
        """This worker does not accept."""
        self._memory[2 * number] = ABSENT

    def write(self, number: int, connections: int) -> None:
        """This worker has so many connections."""
        self._memory[2 * number] = connections

    def took(self, number: int) -> None:
        """This worker accepts one now."""
        self._memory[2 * number + 1] = time.monotonic_ns()

    def connections(self, number: int) -> int:
        """How many connections this worker has; ``ABSENT`` where it does not accept."""
        return self._memory[2 * number]

    def fewest(self) -> int:
        """The fewest connections that any worker has."""
        return min(self._memory[::2])

    def has_room(self, most: int) -> bool:
        """Whether any worker has fewer than ``most`` connections, or will have, since it is being replaced."""
        return any(number < most or number == ABSENT for number in self._memory[::2])

    def first(self) -> int:
        """Who should take the next connection: the least loaded, of several the one whose last is longest ago."""
        numbers = self._memory.tolist()
        return min(range(self.count), key=lambda number: (numbers[2 * number], numbers[2 * number + 1]))


class Turn:
    """One worker's manners: the ``Share`` of its listener."""

    def __init__(self, board: Board, number: int, most: int) -> None:
        self._board = board
        self._number = number
        self._most = most
        """``max_connections``: with so many the worker is full."""
        self._waited_at = 0.0

    def wait(self) -> float:
        """A connection waits: the seconds to leave it to the others before asking again; 0 to take it."""
        board, number = self._board, self._number
        mine = board.connections(number)
        if mine >= self._most and board.has_room(self._most):
            return FULL_SECONDS
        if mine - board.fewest() > SLACK and not self._has_waited():
            return WAIT_SECONDS
        if board.first() != number:
            os.sched_yield()  # who is first may be about to take it
        return 0.0

    def _has_waited(self) -> bool:
        now = time.monotonic()
        if now - self._waited_at < 3 * WAIT_SECONDS:
            self._waited_at = 0.0
            return True
        self._waited_at = now
        return False
