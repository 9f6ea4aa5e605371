"""What a server said, beside what it said when it was recorded: the differences, in words.

One comparison is of one link. What is equal from the beginning on is dropped at once, so only what differs is kept,
and of that a bounded part.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from .paths import Paths

__all__ = ["BytesComparison", "Comparison", "Message", "MessageComparison"]

MOST_KEPT = 10_000
"""Messages of one link, of each kind, that are kept to be compared from the first difference on."""
MOST_ALIGNED = 1_000
"""So many are put beside each other in the way that differs least; more than that in their order."""
MOST_PLACES = 5
"""Places in one payload at which it differs that are told."""
MOST_SHOWN = 60
"""Characters of a value."""
IGNORED = "…"
"""What stands where values are not compared."""

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


class Message(NamedTuple):
    """One message of the server."""

    type: str | None
    """The event's name; None for a frame that is no event."""
    data: bytes
    """The payload in JSON, or the frame."""

    def __str__(self) -> str:
        return "a frame that is no event" if self.type is None else f"the event {self.type!r}"


class Comparison:
    """Of one link: what was recorded, and what came."""

    expected = 0
    """How many messages (or bytes) were recorded until now."""
    came = 0
    """How many came."""

    @property
    def is_satisfied(self) -> bool:
        """Whether as much came as was recorded."""
        return self.came >= self.expected


class MessageComparison(Comparison):
    """Message by message; ``ignore`` names the places in payloads that may differ."""

    def __init__(self, ignore: Paths) -> None:
        self._ignore = ignore
        self._recorded: deque[Message] = deque()
        self._heard: deque[Message] = deque()
        self._equal = 0  # messages that were equal, from the beginning on

    def expect(self, message: Message) -> None:
        """It was recorded."""
        self.expected += 1
        self._keep(self._recorded, message)

    def hear(self, message: Message) -> None:
        """It came."""
        self.came += 1
        self._keep(self._heard, message)

    def _keep(self, messages: deque[Message], message: Message) -> None:
        if len(messages) < MOST_KEPT:
            messages.append(self._plain(message))
        while self._recorded and self._heard and self._recorded[0] == self._heard[0]:
            self._recorded.popleft()
            self._heard.popleft()
            self._equal += 1

    def _plain(self, message: Message) -> Message:
        """The same in one spelling: members in the order of their names, and without what may differ."""
        if message.type is None:
            return message
        try:
            data = self._ignore.hide(message.type, _decode(message.data), IGNORED)
            return Message(message.type, _encode(data))
        except (msgspec.MsgspecError, ValueError, RecursionError):  # what Python cannot hold is compared as it is
            return message

    def differences(self) -> Iterator[str]:
        """What is not as it was recorded, one by one."""
        recorded, heard = list(self._recorded), list(self._heard)
        for tag, a, b, c, d in _aligned(recorded, heard):
            if tag != "equal":
                yield from self._block(recorded[a:b], heard[c:d], self._equal + a + 1)
        if max(self.expected, self.came) - self._equal > MOST_KEPT:
            yield f"only the first {MOST_KEPT} messages behind the first difference were compared"

    def _block(self, recorded: list[Message], heard: list[Message], number: int) -> Iterator[str]:
        """Some messages instead of others: those of the same name belong together."""
        left = list(heard)
        for at, message in enumerate(recorded):
            other = next((each for each in left if each.type == message.type), None)
            if other is None:
                yield f"message {number + at}, {message}, did not come: {_short(message.data)}"
                continue
            for each in left[: left.index(other)]:
                yield f"{each} came, which was not recorded: {_short(each.data)}"
            del left[: left.index(other) + 1]
            if other != message:
                yield f"message {number + at}, {message}, differs:{_places(message.data, other.data)}"
        for each in left:
            yield f"{each} came, which was not recorded: {_short(each.data)}"


def _aligned(recorded: list[Message], heard: list[Message]) -> Sequence[tuple[str, int, int, int, int]]:
    if max(len(recorded), len(heard)) <= MOST_ALIGNED:
        return difflib.SequenceMatcher(None, recorded, heard, autojunk=False).get_opcodes()
    both = min(len(recorded), len(heard))
    one_by_one = [("replace", at, at + 1, at, at + 1) for at in range(both) if recorded[at] != heard[at]]
    return [*one_by_one, ("replace", both, len(recorded), both, len(heard))]


class _Place(NamedTuple):
    path: str
    recorded: Any
    came: Any


_NOTHING = object()
"""What is not there."""


def _places(recorded: bytes, came: bytes) -> str:
    """Where two payloads differ, a line for each place."""
    try:
        places = list(_differing(_decode(recorded), _decode(came)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        places = [_Place("$", recorded, came)]
    lines = [f"\n  {path}: recorded {_shown(before)}, came {_shown(after)}" for path, before, after in places]
    more = len(lines) - MOST_PLACES
    return "".join(lines[:MOST_PLACES]) + (f"\n  and at {more} more places" if more > 0 else "")


def _differing(recorded: Any, came: Any) -> Iterator[_Place]:
    """Without recursion, in the order in which the payload is written."""
    waiting = [_Place("$", recorded, came)]
    while waiting:
        place = waiting.pop()
        path, one, other = place
        if isinstance(one, dict) and isinstance(other, dict):
            names = [*one, *(name for name in other if name not in one)]
            parts = [_Place(f"{path}.{name}", one.get(name, _NOTHING), other.get(name, _NOTHING)) for name in names]
        elif isinstance(one, list) and isinstance(other, list):
            pairs = zip_longest(one, other, fillvalue=_NOTHING)
            parts = [_Place(f"{path}[{at}]", *pair) for at, pair in enumerate(pairs)]
        else:
            if type(one) is not type(other) or one != other:
                yield place
            continue
        waiting += reversed(parts)


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    return _short(value if isinstance(value, bytes) else _encode(value))


def _short(data: bytes) -> str:
    text = data[: MOST_SHOWN * 4].decode("utf-8", "backslashreplace")
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


class BytesComparison(Comparison):
    """Byte by byte, for raw mode: where reads begin and end is the kernel's business."""

    def __init__(self) -> None:
        self._recorded = bytearray()
        self._heard = bytearray()
        self._equal = 0
        self._is_equal = True

    def expect(self, data: bytes) -> None:
        """These were recorded."""
        self.expected += len(data)
        self._keep(self._recorded, data)

    def hear(self, data: bytes) -> None:
        """These came."""
        self.came += len(data)
        self._keep(self._heard, data)

    def _keep(self, kept: bytearray, data: bytes) -> None:
        if not self._is_equal:
            return
        kept += data
        both = min(len(self._recorded), len(self._heard))
        if self._recorded[:both] == self._heard[:both]:
            self._equal += both
            del self._recorded[:both], self._heard[:both]
            return
        first = next(at for at in range(both) if self._recorded[at] != self._heard[at])
        self._is_equal = False
        self._equal += first
        del self._recorded[:first], self._heard[:first]
        del self._recorded[MOST_SHOWN:], self._heard[MOST_SHOWN:]

    def differences(self) -> Iterator[str]:
        """Where they differ first, if they do."""
        if not self._is_equal:
            recorded, came = (bytes(kept[: MOST_SHOWN // 3]) for kept in (self._recorded, self._heard))
            yield f"from byte {self._equal + 1} on it differs:\n  recorded {recorded!r}\n  came     {came!r}"
        elif self.came != self.expected:
            yield f"{self.came} bytes came instead of {self.expected}"
