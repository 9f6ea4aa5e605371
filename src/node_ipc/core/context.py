"""Context variables of one link: what its handlers set, the handlers of no other link see.

asyncio gives each of its connections a context of its own; here one call reads many sockets, in whatever context that
call was made, so each link enters its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

__all__ = ["LinkContext", "directly"]

R = TypeVar("R")


def directly(call: Callable[..., R], *arguments: Any) -> R:
    """``call(*arguments)``, in the context that is current."""
    return call(*arguments)


class LinkContext:
    """A copy of the context in which the link came about, entered for each read and each turn of its life."""

    __slots__ = ("enter",)

    def __init__(self) -> None:
        self.enter: Callable[..., Any] = copy_context().run
        """Call something in this context: ``directly`` while it is entered, which a context can be only once."""

    def run(self, call: Callable[..., R], *arguments: Any) -> R:
        """``call(*arguments)`` in this context; inside one that is under way (a handler that reads) it goes on."""
        enter, self.enter = self.enter, directly
        try:
            result: R = enter(call, *arguments)
            return result
        finally:
            self.enter = enter
