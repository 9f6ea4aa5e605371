"""From calls that do not wait to a client library's coroutines: in order, and bounded by whoever reads the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["FULL_BYTES", "Pump"]

T = TypeVar("T")

FULL_BYTES = 1024 * 1024
"""With so much waiting ``put`` says so; its caller then keeps the rest, within its own limits."""


class Pump(Generic[T]):
    """What waits for one connection; ``send`` gets all of it at once."""

    def __init__(self, send: Callable[[list[T]], Awaitable[None]], writable: Callable[[], None]) -> None:
        self._send = send
        self._writable = writable
        self._items: list[T] = []
        self._bytes = 0
        self._is_full = self._is_over = False
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, item: T, size: int = 0) -> bool:
        """Send it in its turn; False where so much waits that it should be no more for now."""
        self._items.append(item)
        self._bytes += size
        self._filled.set()
        self._empty.clear()
        if self._bytes > FULL_BYTES:
            self._is_full = True  # until ``writable`` was called, whatever else is put meanwhile
        return not self._is_full

    async def run(self) -> None:
        """Send, for ever; raises what sending raises."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                items, self._items, self._bytes = self._items, [], 0
                await self._send(items)
                if self._is_full:
                    self._is_full = False
                    self._writable()
                if not self._items:
                    self._empty.set()
        finally:
            self._is_over = True
            self._empty.set()

    async def emptied(self) -> None:
        """Until all that was put so far is sent; ``ConnectionError`` where nothing more will be."""
        await self._empty.wait()
        if self._is_over:
            raise ConnectionError("the connection is gone")
