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
        self._data = data
        self._at = 0

    @property
    def rest(self) -> bytes:
        """What is not taken yet."""
        return self._data[self._at :]

    def byte(self) -> int:
        at = self._at
        self._at = at + 1
        return self._data[at] if at < len(self._data) else 0

    def _left(self) -> int:
        return max(len(self._data) - self._at, 0)

    def one_of(self, several: Sequence[T]) -> T:
        return several[self.byte() % len(several)]

    def pieces(self) -> list[bytes]:
        """What is left, cut at places that it says itself.

        The first byte says how often, two bytes for each cut say where.
        """
        count = self.byte() % 8
        cuts = sorted({(self.byte() << 8 | self.byte()) % (self._left() + 1) for _ in range(count)})
        rest = self.rest
        found = [rest[start:end] for start, end in itertools.pairwise([0, *cuts, len(rest)])]
        return [piece for piece in found if piece]
