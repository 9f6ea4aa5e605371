"""``keep="latest"``, of an emit or of an ``Event``: which messages that wait the next one of their event may replace.

It knows events and the frames of one list; what a place in that list means is its owner's business. What arrives is
always a part of what was emitted, in its order: a message that replaces another goes behind all that was emitted
before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from ..config.misspelt import SEVERAL
from ..errors import InvalidEvent
from ..wire.names import Named

__all__ = ["FrameQueue", "Keep", "Newest", "checked", "keep_of", "kept_event", "newest_of"]

Keep: TypeAlias = Literal["latest"] | None
"""What ``emit`` does with an unsent message of the same event: None queues behind it, ``"latest"`` replaces it."""


def keep_of(type: Any) -> Keep:
    """What an event that is more than a name says of itself."""
    keep: Keep = type.keep if isinstance(type, Named) else None
    return keep


def checked(keep: Any, verb: str = "emit") -> Keep:
    """The same; refuses what ``keep=`` does not take."""
    if keep is None or keep == "latest":
        return keep  # type: ignore[no-any-return]
    takes = f'{verb}(keep=…) takes "latest", or None for every message, not {keep!r:.80}'
    if not isinstance(keep, str):
        hint = f". One event brings one payload, so {SEVERAL}; what is to be answered is a request"
        hint = hint if verb == "emit" else ""
        raise TypeError(takes + hint)
    import difflib  # only a mistake pays for it

    near = difflib.get_close_matches(keep.lower(), ("latest", "newest", "last"), 1, 0.5)
    values = f". One event brings one payload, so {SEVERAL}" if verb == "emit" else ""
    raise ValueError(takes + (': did you mean keep="latest"?' if near else values))


def kept_event(type: Any, keep: Any, raw: bool = False) -> str | None:
    """As ``newest_of``; None where neither the call nor the event says that it is to be kept."""
    return None if keep is None and keep_of(type) is None else newest_of(type, keep, raw)


def newest_of(type: Any, keep: Any, raw: bool = False) -> str:
    """The event whose newest message is to be kept; refuses what ``keep=`` does not take, and raw bytes."""
    checked(keep)
    if raw:
        raise InvalidEvent(
            'emit(keep="latest") needs an event, and raw mode has none: bytes that are left out would be missed in the '
            "stream. Use another parser, or emit less"
        )
    name = getattr(type, "name", type)
    return name if isinstance(name, str) else ""  # what is no name at all is refused where it is encoded


class Newest:
    """The frames of one list that may be replaced, each by its event.

    A frame is known by its ``id``, so that nothing is kept alive here: whoever takes frames out of the list says so,
    by ``forget`` or ``clear``.
    """

    __slots__ = ("_marks", "bytes")

    def __init__(self) -> None:
        self._marks: dict[str, tuple[int, int]] = {}
        self.bytes = 0
        """What all of them have together."""

    def __len__(self) -> int:
        return len(self._marks)

    def find(self, event: str, frames: Sequence[bytes]) -> int | None:
        """Where the one of this event is, from the end: only what was emitted since then is looked at."""
        mark = self._marks.get(event)
        if mark is None:
            return None
        for index in range(len(frames) - 1, -1, -1):
            if id(frames[index]) == mark[0]:
                return index
        return None

    def size(self, event: str) -> int:
        """The bytes of the one of this event; 0 where there is none."""
        return self._marks.get(event, (0, 0))[1]

    def mark(self, event: str, frame: bytes) -> None:
        """This is the one of its event now."""
        self.bytes += len(frame) - self.size(event)
        self._marks[event] = id(frame), len(frame)

    def forget(self, frames: Sequence[bytes]) -> None:
        """These have left the list."""
        gone = set(map(id, frames))
        for event in [event for event, mark in self._marks.items() if mark[0] in gone]:
            self.bytes -= self._marks.pop(event)[1]

    def events(self) -> dict[int, str]:
        """The event of each, by the frame's ``id``."""
        return {mark[0]: event for event, mark in self._marks.items()}

    def adopt(self, others: Newest) -> None:
        """Those of another list are in this one from now on."""
        self._marks.update(others._marks)
        self.bytes += others.bytes

    def clear(self) -> None:
        """The list is empty."""
        self._marks.clear()
        self.bytes = 0


class FrameQueue:
    """Frames that wait for a link, or for the thread that has it; some of them may be replaced."""

    __slots__ = ("_newest", "bytes", "frames", "replaced")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.bytes = 0
        self.replaced = 0
        """How many were replaced since ``take``."""
        self._newest = Newest()

    def __len__(self) -> int:
        return len(self.frames)

    def left_by(self, event: str | None) -> tuple[int, int]:
        """How many frames wait, and how many bytes, without the one that the next of this event replaces."""
        old = 0 if event is None else self._newest.size(event)
        return len(self.frames) - bool(old), self.bytes - old

    def append(self, frame: bytes, event: str | None = None) -> None:
        """Behind the others; with an event it replaces the one of this event, and may be replaced."""
        if event is not None:
            index = self._newest.find(event, self.frames)
            if index is not None:
                self.bytes -= len(self.frames.pop(index))
                self.replaced += 1
            self._newest.mark(event, frame)
        self.frames.append(frame)
        self.bytes += len(frame)

    def take(self) -> tuple[list[bytes], Newest]:
        """All of them, and which may still be replaced."""
        taken = self.frames, self._newest
        self.frames, self._newest, self.bytes, self.replaced = [], Newest(), 0, 0
        return taken

    def take_first(self) -> bytes:
        """The one that has waited for longest."""
        frame = self.frames.pop(0)
        self.bytes -= len(frame)
        self._newest.forget([frame])
        return frame

    def withdraw(self, frame: bytes) -> bool:
        """Take back a frame; whether it still waited."""
        for index, waiting in enumerate(self.frames):
            if waiting is frame:
                del self.frames[index]
                self.bytes -= len(frame)
                self._newest.forget([frame])
                return True
        return False
