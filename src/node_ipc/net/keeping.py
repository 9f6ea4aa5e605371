"""Sockets and handles that are made in several steps: they stay open where all of these go well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol, TypeVar

__all__ = ["closed_on_failure"]


class Closable(Protocol):
    """A socket, or a handle."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


@contextlib.contextmanager
def closed_on_failure(made: C) -> Iterator[C]:
    """Close it where the block raises, whatever that is."""
    try:
        yield made
    except BaseException:
        made.close()
        raise
