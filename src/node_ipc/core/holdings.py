"""What peers make this process hold, all of them together: half received messages, and those that handlers work on.

Each session bounds what its own peer can make it hold; a hundred peers with 16 MiB each would still be too much. A
session that holds more than ``SMALL`` bytes is entered here with its size, and again when that has changed by as
much, so this costs nothing while messages are small. Every session asks whether the sum is past its
``max_total_received_bytes``.

Endpoints of several threads share the one table, and no lock: an entry is one item of a dict, which is set and copied
in one step. What is entered for a session goes with it.
"""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["PER_HANDLER", "SMALL", "Holdings", "everybody"]

SMALL = 64 * 1024
"""Bytes up to which a session is not counted, and the steps of counting: one read."""
PER_HANDLER = 2048
"""Bytes that each handler under way is counted with besides its message's: what Python needs for a coroutine."""


class Holdings:
    """How many bytes each session's incoming half holds of its peer."""

    def __init__(self) -> None:
        self.total = 0
        """Bytes that all of them hold."""
        self._held: dict[weakref.ref[Any], int] = {}

    def hold(self, holder: Any, size: int) -> None:
        """It holds so much now; 0: nothing worth counting."""
        if size:
            self._held[weakref.ref(holder, self._forget)] = size
        else:
            self._held.pop(weakref.ref(holder), None)
        self._add_up()

    def _forget(self, gone: weakref.ref[Any]) -> None:
        self._held.pop(gone, None)
        self._add_up()

    def _add_up(self) -> None:
        self.total = sum(list(self._held.values()))

    def holders(self) -> list[Any]:
        """Who holds something, the largest first."""
        held = sorted(list(self._held.items()), key=lambda item: item[1], reverse=True)
        return [holder for gone, _ in held if (holder := gone()) is not None]


everybody = Holdings()
"""The one of this process."""
