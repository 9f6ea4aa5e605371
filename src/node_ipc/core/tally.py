"""What went over an endpoint by event and by method, for those who look at it live; bounded whatever peers send."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from .watch import Activity, Timed, Told, Watch

if TYPE_CHECKING:
    from ..wire.carried import Carried
    from .trace import Trace

__all__ = ["BUDGET", "OTHERS", "Durations", "Name", "Tally", "shown"]

BUDGET = 1500
"""Messages between two looks that are counted one by one, at some 10 µs each: of more the rest is estimated from these,
so that looking takes two hundredths of a core however much is going on."""
MOST_NAMES = 200
"""Names that are counted one by one; what comes under more of them counts as ``OTHERS``."""
OTHERS = "…"
KEPT_MESSAGES = 200
"""Messages that wait for the next look; of more the rest is counted and not kept."""
KEPT_ERRORS = 20
SHOWN_CHARACTERS = 2000
"""Of a payload, for who looks into a message."""
READ_BYTES = 64 * 1024
"""A payload that is larger is not read for that."""
STEPS = 2
"""Bounds between a duration and its double."""
SLOTS = 64
FADE = 0.9
"""What is left of a duration's weight after each look: p50 and p99 are those of the last ten looks or so."""


class Durations:
    """How long something took: its median and its slowest, of late."""

    __slots__ = ("_weights", "slowest", "total")

    def __init__(self) -> None:
        self._weights = [0.0] * SLOTS
        self.slowest = self.total = 0.0

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.slowest = max(self.slowest, seconds)
        microseconds = max(int(seconds * 1e6), 1)
        octave = microseconds.bit_length() - 1
        upper = microseconds >= 1.5 * (1 << octave)
        self._weights[min(octave * STEPS + upper, SLOTS - 1)] += 1

    def quantile(self, share: float) -> float | None:
        """The seconds that this share of them took at most, within a third; None where there were none."""
        weight = sum(self._weights)
        if weight < 0.01:
            return None
        slot, passed = 0, self._weights[0]
        while passed < share * weight and slot < SLOTS - 1:
            slot += 1
            passed += self._weights[slot]
        lower: int = 1 << slot // STEPS
        return lower * (1.75 if slot % STEPS else 1.25) / 1e6

    def fade(self) -> None:
        """What was before counts less from now on."""
        self._weights = [weight * FADE for weight in self._weights]
        self.slowest *= FADE


class Name(msgspec.Struct):
    """What went under one name since somebody looks."""

    came: int = 0
    went: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    handled: int = 0
    failed: int = 0
    running: int = 0
    durations: Durations = msgspec.field(default_factory=Durations)
    before: tuple[int, int, int, int] = (0, 0, 0, 0)
    """What came and went until the last look, and the bytes of it."""

    def ended(self, seconds: float, error: BaseException | None) -> None:
        """Its handlers, or its request."""
        self.running -= 1
        self.handled += 1
        self.failed += error is not None
        self.durations.add(seconds)

    def stretch(self, more_in: float, more_out: float) -> None:
        """Since the last look so many times as much came and went."""
        came, went, bytes_in, bytes_out = self.before
        self.came = came + round((self.came - came) * more_in)
        self.bytes_in = bytes_in + round((self.bytes_in - bytes_in) * more_in)
        self.went = went + round((self.went - went) * more_out)
        self.bytes_out = bytes_out + round((self.bytes_out - bytes_out) * more_out)

    def seen(self) -> dict[str, Any]:
        durations = self.durations
        return {
            **{"in": self.came, "out": self.went, "bytes_in": self.bytes_in, "bytes_out": self.bytes_out},
            **{"handled": self.handled, "failed": self.failed, "running": self.running, "seconds": durations.total},
            **{"p50": durations.quantile(0.5), "p99": durations.quantile(0.99), "slowest": durations.slowest},
        }


class Tally(Watch):
    """Counts what it hears of."""

    def __init__(
        self,
        now: Callable[[], float],
        spent: Callable[[], None] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Say by ``now`` when something was, and by ``clock`` (the same, unless given) how long it took.

        ``spent`` hears when the budget is, and sees to it that this is told no more for now.
        """
        self.events: dict[str, Name] = {}
        self.asked: dict[str, Name] = {}
        """Requests of this side, by method."""
        self.answered: dict[str, Name] = {}
        """Requests of the other sides."""
        self.errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self.keeps = False
        """Whether messages are kept for somebody to look into."""
        self._now = now
        self._clock = clock or now
        self._spent = spent
        self._left = BUDGET
        self._counted_in = self._counted_out = 0
        self._messages: list[dict[str, Any]] = []
        self._skipped = 0
        self._number = 0

    # ---- what is heard

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told:
        return partial(self._emitted, name if isinstance(name, str) else OTHERS, data)

    def _emitted(self, name: str, data: Any, size: int, error: BaseException | None) -> None:
        if error is None:
            self.went(name, size, data)

    def handling(self, name: str, message: Carried, socket: Any) -> Activity:
        self.came(name, message.size, message.data, _id(socket))
        return self._lasts(self.events, name)

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        self.came(name, message.size, message.data, _id(socket))

    def asking(self, method: str, params: Any) -> Activity:
        return self._lasts(self.asked, method)

    def answering(self, method: str, message: Carried | None, request: Any) -> Activity:
        if message is not None:
            self.came("rpc.request", message.size, message.data, _id(request.socket))
        return self._lasts(self.answered, method or OTHERS)

    def _lasts(self, names: dict[str, Name], name: str) -> Activity:
        counts = self._named(names, name)
        counts.running += 1
        return Timed(self._clock, counts.ended)

    def trace(self, trace: Trace) -> None:
        """What goes wrong, from ``on_trace``."""
        if trace.what == "error":
            text = str(trace.detail)[:500]
            self.errors.append({"time": self._now(), "link": _id(trace.socket), "error": text})

    # ---- counting

    def came(self, name: str, size: int, data: Any, link: int | None) -> None:
        counts = self._named(self.events, name)
        counts.came += 1
        counts.bytes_in += size
        self._counted_in += 1
        self._spend()
        if self.keeps:
            self._keep("in", name, size, data, link)

    def went(self, name: str, size: int, data: Any, link: int | None = None) -> None:
        counts = self._named(self.events, name)
        counts.went += 1
        counts.bytes_out += size
        self._counted_out += 1
        self._spend()
        if self.keeps:
            self._keep("out", name, size, data, link)

    def _spend(self) -> None:
        self._left -= 1
        if self._left == 0 and self._spent is not None:
            self._spent()

    @property
    def is_spent(self) -> bool:
        """Whether there was more than is counted one by one."""
        return self._left <= 0

    def _named(self, names: dict[str, Name], name: str) -> Name:
        found = names.get(name)
        if found is None:
            if len(names) >= MOST_NAMES:
                name = OTHERS
            found = names.setdefault(name, Name())
        return found

    def _keep(self, direction: str, name: str, size: int, data: Any, link: int | None) -> None:
        self._number += 1
        if len(self._messages) >= KEPT_MESSAGES:
            self._skipped += 1
            return
        self._messages.append(
            {
                **{"number": self._number, "time": self._now(), "direction": direction, "event": name[:200]},
                **{"bytes": size, "link": link, "data": shown(data, size)},
            }
        )

    # ---- looking

    def look(self, came: int = 0, went: int = 0) -> dict[str, Any]:
        """All of it, as JSON can hold it; durations fade with each look.

        came, went: how many messages there really were since the last look, for where not all were counted.
        """
        if self.is_spent:
            more_in, more_out = _ratio(came, self._counted_in), _ratio(went, self._counted_out)
            for counts in self.events.values():
                counts.stretch(more_in, more_out)
        self._left = BUDGET
        self._counted_in = self._counted_out = 0
        groups = {"events": self.events, "asked": self.asked, "answered": self.answered}
        seen: dict[str, Any] = {
            title: {name[:200]: counts.seen() for name, counts in group.items()} for title, group in groups.items()
        }
        for group in groups.values():
            for counts in group.values():
                counts.durations.fade()
                counts.before = counts.came, counts.went, counts.bytes_in, counts.bytes_out
        return {**seen, "errors": list(self.errors)}

    def take_messages(self) -> dict[str, Any]:
        """The messages since the last time, and how many more there were."""
        taken = {"messages": self._messages, "skipped": self._skipped}
        self._messages, self._skipped = [], 0
        return taken


def _ratio(real: int, counted: int) -> float:
    """How many times as many there were as were counted."""
    return max(real / counted, 1.0) if counted else 1.0


def _id(socket: Any) -> int | None:
    id = getattr(socket, "id", None)
    return id if isinstance(id, int) else None


def shown(data: Any, size: int) -> str:
    """The begin of a payload, as JSON."""
    if size > READ_BYTES:
        return f"({size} bytes)"
    try:
        text = bytes(data) if isinstance(data, Raw) else msgspec.json.encode(data, enc_hook=repr)
    except Exception:  # what a payload's own methods raise, too
        return f"({type(data).__name__})"
    return text[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace")[:SHOWN_CHARACTERS]
