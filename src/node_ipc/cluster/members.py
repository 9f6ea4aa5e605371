"""Who is there: the other nodes by their heartbeats, and what was heard of each."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from .streams import Heard

__all__ = ["MISSED_BEATS", "MOST_NODES", "Members", "Other"]

MISSED_BEATS = 3
"""So many heartbeats that do not come, and a node is gone."""
MOST_NODES = 10_000
"""Nodes that are known at once: whoever can publish could invent more."""

MOST_GONE = 1_000
"""Nodes that went without a word, and of which it is known how far they had come."""


@dataclass(slots=True, eq=False)
class Other:
    """Another node."""

    name: str
    life: int
    """Which of its lives: a node that starts anew begins a later one."""
    at: float
    """When it was last heard."""
    beat: int = 0
    sockets: int = 0
    member: bool = False
    """It has sockets and answers questions: its hello or a heartbeat came."""
    number: int = 0
    """Of its last message, as its last heartbeat said."""
    answers_since: bool = False
    """It can be asked for all that it sent after some number, and hears of it when an answer is not awaited."""
    heard: Heard = field(default_factory=Heard)
    asked: int = 0
    """The number of the last question how far it has come everywhere."""
    asked_at: float = 0.0
    """When that was."""
    ask_again: float = 0.0
    """When it may be asked again."""
    in_doubt: bool = False
    """Something of it may have been lost: it is to be asked how far it has come, until it has answered."""


class Members:
    """The other nodes."""

    def __init__(self, beat: float) -> None:
        self._patience = (MISSED_BEATS + 0.5) * beat
        self._others: dict[str, Other] = {}
        self._gone: OrderedDict[str, Other] = OrderedDict()  # without a word: they may come back
        self.forgot_at = -math.inf
        """When a node was forgotten that may come back: of one that is older nobody knows whether it is that one."""

    def __len__(self) -> int:
        return sum(other.member for other in self._others.values())

    def __iter__(self) -> Iterator[Other]:
        return iter(list(self._others.values()))

    def get(self, name: str) -> Other | None:
        return self._others.get(name)

    def names(self) -> set[str]:
        """Those who answer questions."""
        return {other.name for other in self._others.values() if other.member}

    def note(self, name: str, life: int, now: float) -> Other | None:
        """Something came of this node; None where it is of an earlier life, or of one node too many."""
        other = self._others.get(name) or self._back(name, life)
        if other is None or other.life < life:
            if other is None and len(self._others) >= MOST_NODES:
                return None
            self._others[name] = other = Other(name, life, now)
        elif other.life > life:
            return None
        other.at = now
        return other

    def _back(self, name: str, life: int) -> Other | None:
        """One that had been given up, if it was; in another life it is a new one, so that a forged later life does not
        outlast its heartbeats."""
        other = self._gone.get(name)
        if other is None or other.life != life:
            return None
        del self._gone[name]
        other.in_doubt = True
        self._others[name] = other
        return other

    def sound(self, other: Other, beat: int, number: int) -> None:
        """Its heartbeat came, or its hello, with the number of its last message.

        A heartbeat that was left out puts what it sent meanwhile in doubt; that it sent nothing, out of doubt.
        """
        if beat > other.beat + 1 and other.beat:
            other.in_doubt = True
        other.beat = max(other.beat, beat)
        other.number = number
        if number == other.heard.last:
            other.in_doubt = False
        if not other.in_doubt:  # else the next heartbeat would take for settled what nobody asked about
            other.heard.last = number
        other.heard.sound(other.at, number)

    def doubt_all(self, *, surely: bool = False) -> None:
        """This node itself was away; or, surely, something was dropped that had come."""
        for other in self._others.values():
            other.in_doubt, other.ask_again = True, 0.0
            if surely:
                other.heard.last = None

    def see_all(self, now: float) -> None:
        """Nobody is given up for the time in which nobody could be heard."""
        for other in self._others.values():
            other.at = now

    def remove(self, name: str, life: int) -> None:
        """It said goodbye."""
        other = self._others.get(name)
        if other is not None and other.life <= life:
            del self._others[name]

    def expire(self, now: float) -> list[Other]:
        """Those who were not heard for three heartbeats. What was heard of them is kept for when they come back."""
        gone = [other for other in self._others.values() if now - other.at > self._patience]
        for other in gone:
            self._gone[other.name] = self._others.pop(other.name)
            if len(self._gone) > MOST_GONE:
                self._gone.popitem(last=False)
                self.forgot_at = now
        return gone

    def forget_room(self, room: str) -> None:
        """This node has left a room."""
        for others in (self._others, self._gone):
            for other in others.values():
                other.heard.forget(room)
