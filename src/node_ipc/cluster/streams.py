"""Numbers: how a receiver finds out what it missed, and that something comes twice.

A node numbers all it sends (``number``), and what it sends to one room in a *stream* of that room. Who is in the room
sees each number of the stream; one that is left out was lost. What was lost at the end of a stream shows when the next
message comes, or when the receiver asks (``Sync``) and is told (``Mark``), which it does whenever something may have
gone wrong.

A receiver that never heard of a stream has to know whether it should have: the mark says with which ``number`` the
stream began (that is what it is called by), and its present activity; and the receiver remembers which numbers it heard
at which time, and when its subscription was confirmed. Of a sender that is new to it, it may hear a message before it
knows when that sender began; then it remembers what it took for granted, and counts it when it knows better.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from .messages import Mark

__all__ = ["IDLE_BEATS", "ROOMS_SENT_TO", "Heard", "Sent", "Sounding"]

ROOMS_SENT_TO = 65_536
"""Of how many rooms a sender remembers the stream; the one that was quiet for longest is forgotten, and begins anew."""
IDLE_BEATS = 2
"""After so many heartbeats without a message a stream's activity has ended."""
SOUNDINGS = 8
"""How many of a sender's last heartbeats are remembered; those with the same number count once."""


@dataclass(slots=True)
class _Stream:
    id: int
    since: int
    last: int
    number: int = 0
    since_number: int = 1
    beat: int = 0

    def mark(self, room: str) -> Mark:
        return (room, self.id, self.number, self.since, self.since_number)


class Sent:
    """The sender's side: the numbers of what goes out."""

    def __init__(self, limit: int = ROOMS_SENT_TO) -> None:
        self.number = 0
        """Of the last message."""
        self._limit = limit
        self._streams: OrderedDict[str, _Stream] = OrderedDict()

    def next(self, rooms: list[str], beat: int) -> list[Mark]:
        """Number one more message, to these rooms, after so many heartbeats."""
        self.number += 1
        return [self._next(room, beat) for room in rooms]

    def _next(self, room: str, beat: int) -> Mark:
        stream = self._streams.get(room)
        if stream is None:
            stream = self._streams[room] = _Stream(self.number, self.number, self.number)
            if len(self._streams) > self._limit:
                self._streams.popitem(last=False)
        elif beat - stream.beat > IDLE_BEATS:
            stream.since, stream.since_number = self.number, stream.number + 1
        self._streams.move_to_end(room)
        stream.beat = beat
        stream.last = self.number
        stream.number += 1
        return stream.mark(room)

    def take_back(self, marks: list[Mark]) -> None:
        """The last message was not sent after all."""
        self.number -= 1
        for room, *_ in marks:
            stream = self._streams[room]
            stream.number -= 1
            if not stream.number:
                del self._streams[room]

    def mark(self, room: str) -> Mark | None:
        """How far a room's stream has come."""
        stream = self._streams.get(room)
        return None if stream is None else stream.mark(room)

    def since(self, number: int, most: int) -> list[Mark] | None:
        """How far those rooms have come to which something went after this number; None where they are too many."""
        marks = list(islice(self.newest(number), most + 1))
        return None if len(marks) > most else marks

    def newest(self, number: int) -> Iterator[Mark]:
        """The same, one after the other: the room that was sent to last comes first."""
        for room, stream in reversed(self._streams.items()):
            if stream.last <= number:
                return
            yield stream.mark(room)


class Sounding(NamedTuple):
    """A sender was heard."""

    at: float
    """When, on this node's clock."""
    number: int
    """With which of its numbers."""


class Heard:
    """The receiver's side, for one sender: what was heard of it in the rooms of this node.

    A node holds one for each other node, most of which it hears nothing of but heartbeats: it is small.
    """

    __slots__ = ("_granted", "_silent", "_soundings", "_streams", "changed", "last")

    def __init__(self) -> None:
        self._soundings: list[Sounding] = []
        self._silent = -math.inf  # a time at which it had sent nothing yet, on this node's clock
        self._granted: dict[str, tuple[int, int]] | None = {}
        self._streams: dict[str, tuple[int, int]] = {}
        self.last: int | None = None
        """The number in a heartbeat of it: what it sent up to there came, or was found missing."""
        self.changed: dict[str, None] = {}
        """The rooms in which something came since somebody looked."""

    def sound(self, at: float, number: int) -> None:
        """Its heartbeat came."""
        if not number:
            self._silent = at
            return
        soundings = self._soundings
        if soundings and soundings[-1].number == number:
            soundings.pop()  # the later one says the same of all that subscribed before
        elif len(soundings) == SOUNDINGS:
            del soundings[0]
        soundings.append(Sounding(at, number))

    @property
    def is_new(self) -> bool:
        """Whether it is not known yet when this sender began."""
        return self._granted is not None

    def began(self, at: float | None, subscribed: Mapping[str, float | None]) -> int:
        """It began at this time or later (None: nobody knows): how many messages that were taken for granted, or for
        older than this node, did not come after all."""
        if at is not None:
            self._silent = max(self._silent, at)
        granted, self._granted = self._granted, None
        return sum(
            count for room, (id, count) in (granted or {}).items() if self._should_have_heard(id, subscribed.get(room))
        )

    def known(self, room: str) -> tuple[int, int]:
        """The stream and the last number in a room; zeros where nothing was heard."""
        return self._streams.get(room, (0, 0))

    @property
    def rooms(self) -> list[str]:
        """Where it was heard."""
        return list(self._streams)

    def forget(self, room: str) -> None:
        """This node has left that room."""
        self._streams.pop(room, None)
        self.changed.pop(room, None)
        if self._granted:
            self._granted.pop(room, None)

    def message(self, mark: Mark, subscribed: float | None) -> int | None:
        """A message came: how many before it did not. None: it came before, or is older than what came.

        subscribed: since when this node hears what is sent to that room, None if that is not confirmed yet.
        """
        heard = self._heard_up_to(mark, subscribed, mark[2] - 1)
        return None if heard is None else mark[2] - 1 - heard

    def told(self, mark: Mark, subscribed: float | None) -> int:
        """The sender says that it has come so far: how many up to there did not come."""
        heard = self._heard_up_to(mark, subscribed, mark[2])
        return 0 if heard is None else mark[2] - heard

    def _heard_up_to(self, mark: Mark, subscribed: float | None, otherwise: int) -> int | None:
        """The last number that was heard, or that this node could not hear; the mark's is noted in its place."""
        room, id, number, since, since_number = mark
        own_id, own = self._streams.get(room, (0, 0))
        if id < own_id or (id == own_id and number <= own):
            return None
        self._streams[room] = (id, number)
        self.changed[room] = None
        if id == own_id:
            return own
        if self._should_have_heard(id, subscribed):  # all of the stream
            return 0
        heard = min(since_number - 1, number) if self._should_have_heard(since, subscribed) else otherwise
        if self._granted is not None:
            self._granted.setdefault(room, (id, heard))
        return heard

    def _should_have_heard(self, since: int, subscribed: float | None) -> bool:
        """Whether the activity that began with this number began after this node was there to hear it."""
        if subscribed is None:
            return False
        if subscribed <= self._silent:
            return True
        for sounding in self._soundings:
            if sounding.at >= subscribed:
                return since > sounding.number
        return False
