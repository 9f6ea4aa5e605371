"""What one node answers the others: which of their requests are under way here, and how each is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..core.seam import nothing

__all__ = ["Answers", "Key"]

Key: TypeAlias = tuple[str, int, int]
"""Who asks, which of its lives, and the number of the request there."""


class Answers:
    """The requests that are under way."""

    def __init__(self) -> None:
        self._under_way: dict[Key, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, key: Key, answer: Callable[[], Callable[[], None]]) -> bool:
        """Have a request answered by ``answer``, which returns what gives it up; whether that takes time."""
        if key in self._under_way:  # it came twice
            return False
        self._under_way[key] = nothing
        try:
            give_up = answer()
        except BaseException:
            self.end(key)
            raise
        if key not in self._under_way:
            return False
        self._under_way[key] = give_up
        return True

    def end(self, key: Key) -> bool:
        """It has its answer; False where nobody waits for one."""
        return self._under_way.pop(key, None) is not None

    def give_up(self, key: Key) -> None:
        """Nobody waits for this one any more."""
        self._under_way.pop(key, nothing)()

    def give_up_all(self, name: str | None = None) -> None:
        """Those who asked are gone: this one, or all."""
        for key in [key for key in self._under_way if name is None or key[0] == name]:
            self.give_up(key)
