"""Messages on their way to handlers, one after the other, and the one way to stop between two of them.

The loop over a block (``Events.deliver``) runs once for each message, and asks nobody whether it may go on: that would
cost as much as a third of its work. Whoever wants it to stop (a handler that closes, too many async handlers under
way, a handler that changes what payloads are decoded to) takes the rest out of the iterator under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any

__all__ = ["NOTHING", "Block"]

NOTHING: Sequence[Any] = ()
ENDED: Iterator[Any] = iter(NOTHING)  # it has ended, so everybody can have it


class Block:
    """What one read brought, while it is delivered; kept for the next read."""

    __slots__ = ("messages", "rest")

    def __init__(self) -> None:
        self.messages = NOTHING
        """What is delivered, all of it; ``NOTHING`` again once that is done."""
        self.rest = ENDED
        """What the loop runs over: the messages that it has not taken yet."""

    def begin(self, messages: Sequence[Any]) -> Iterator[Any]:
        """What the loop is to run over."""
        self.messages = messages
        self.rest = rest = iter(messages)
        return rest

    def stop(self) -> list[Any]:
        """End the loop behind the message at hand, and take the rest, which it does not reach any more."""
        return list(self.rest)

    @property
    def position(self) -> int:
        """The index of the message at hand, which was taken last; -1 before the first and once all is done."""
        return len(self.messages) - length_hint(self.rest) - 1

    @property
    def at_hand(self) -> Any:
        """The message that was taken last; None where there is none."""
        position = self.position
        return self.messages[position] if position >= 0 else None
