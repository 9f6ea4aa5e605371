"""An input's bytes as choices: the first bytes say how, the rest is what the target gets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

__all__ = ["Choices"]


class Choices:
    """Takes bytes off the front of an input; an input that is too short gives zeros."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def byte(self) -> int:
        first, self.rest = self.rest[:1], self.rest[1:]
        return first[0] if first else 0

    def one_of(self, several: Sequence[T]) -> T:
        return several[self.byte() % len(several)]

    def pieces(self) -> list[bytes]:
        """What is left, cut at places that it says itself: each cut costs one byte of it.

        The first byte says into how many pieces, the bytes behind it where.
        """
        count = self.byte() % 8
        cuts = sorted({(self.byte() << 8 | self.byte()) % (len(self.rest) + 1) for _ in range(count)})
        edges = [0, *cuts, len(self.rest)]
        found = [self.rest[start:end] for start, end in itertools.pairwise(edges)]
        return [piece for piece in found if piece]
