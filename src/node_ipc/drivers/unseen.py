"""What failed in a test on the memory driver while nobody looked, and who tells it.

A driver that goes with failures that nobody saw warns. With pytest the plugin tells them instead, as an error of the
test that made the driver.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["Unseen", "made_by", "now", "warn"]

NOWHERE = "<node_ipc.testing>"
"""The place of what was refused before any line of the user's ran."""


class Failing(Protocol):
    """A driver."""

    def take_unseen(self) -> list[BaseException]:
        """What failed on it while nobody looked; told once."""


LATEST = 10
"""So many failures of one test are told: of many inputs that it tries, as with Hypothesis, these are the last."""


class Unseen:
    """The drivers that one test made, and what failed unseen on those of them that are gone."""

    def __init__(self) -> None:
        self.drivers: WeakKeyDictionary[Failing, None] = WeakKeyDictionary()  # in the order they were made
        self.left: deque[BaseException] = deque(maxlen=LATEST)
        self.is_over = False
        """Whether the test has ended: what fails later on its drivers is nobody's error, and a warning."""

    def take(self) -> list[BaseException]:
        """What nobody saw; told once."""
        for driver in list(self.drivers):
            self.left += driver.take_unseen()
        left = list(self.left)
        self.left.clear()
        return left


_now: Unseen | None = None


def now() -> Unseen | None:
    """Where a driver that is made now belongs; None where no test is known that could fail for it."""
    return _now


@contextlib.contextmanager
def made_by(test: Unseen | None) -> Iterator[None]:
    """The drivers that are made inside belong to this test, or to nobody."""
    global _now
    before, _now = _now, test
    try:
        yield
    finally:
        _now = before


def warn(failures: Sequence[BaseException]) -> None:
    """Tell these on stderr, each with the line of the handler that raised, where one did."""
    for failure in failures:
        frames = traceback.extract_tb((failure.__cause__ or failure).__traceback__)
        place = frames[-1] if frames else None
        advice = "".join(f" {note}" for note in getattr(failure, "__notes__", ()))
        warnings.warn_explicit(
            f"{type(failure).__name__}: {failure}.{advice}",
            RuntimeWarning,
            place.filename if place else NOWHERE,
            (place.lineno if place else None) or 1,
        )
