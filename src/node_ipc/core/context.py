"""Context variables of one link: what its handlers set, the handlers of no other link see.

asyncio gives each of its connections a context of its own; here one call reads many sockets, in whatever context that
call was made, so each link enters its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

__all__ = ["LinkContext"]

R = TypeVar("R")


class LinkContext:
    """A copy of the context in which the link came about, entered for each read and each turn of its life."""

    __slots__ = ("enter", "entered")

    def __init__(self) -> None:
        self.enter: Callable[..., Any] = copy_context().run
        """Call something in this context, which must not be ``entered``."""
        self.entered = False

    def run(self, call: Callable[..., R], *arguments: Any) -> R:
        """``call(*arguments)`` in this context; inside one that is under way (a handler that reads) it goes on."""
        if self.entered:
            return call(*arguments)
        self.entered = True
        try:
            result: R = self.enter(call, *arguments)
            return result
        finally:
            self.entered = False
