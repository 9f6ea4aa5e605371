"""How something that takes time ends: not yet, well, or with an error.

``start``, ``connect``, ``close`` and ``stop`` return one. The asyncio driver's can be awaited, the blocking front
pumps until it is settled, and whoever does not care drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Outcome"]

T = TypeVar("T")


class Outcome(Generic[T]):
    """Settled once, with a value or with an error."""

    __slots__ = ("_then", "abandon", "done", "error", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        """What is given once it went well (the client, the server)."""
        self.done = False
        self.error: Exception | None = None
        self.abandon: Callable[[], None] | None = None
        """Called when whoever waited stops waiting, where that makes a difference (a request is forgotten)."""
        self._then: list[Callable[[], None]] = []

    def settle(self, error: Exception | None = None) -> None:
        """It ended; the first time counts."""
        if self.done:
            return
        self.done, self.error = True, error
        then, self._then = self._then, []
        for hear in then:
            hear()

    def then(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` when it ends, at once if it has."""
        if self.done:
            hear()
        else:
            self._then.append(hear)

    def forget(self, hear: Callable[[], None]) -> None:
        """Do not call ``hear`` any more: who waited has something else to do."""
        if hear in self._then:
            self._then.remove(hear)

    def result(self) -> T:
        """The value, or the error raised; only when ``done``."""
        if self.error is not None:
            raise self.error
        return self.value

    def __await__(self) -> Generator[Any, None, T]:
        raise TypeError("only the asyncio front can be awaited: use the blocking front's own calls here")
        yield  # pragma: no cover - makes this a generator, as the type says
