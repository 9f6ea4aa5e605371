"""What there is to see of an observed server: rates made of two looks, sorted and filtered; no screen, no socket."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from ...config.logs import escape

__all__ = ["SORTS", "EventRow", "LinkRow", "RequestRow", "View", "amount", "duration", "short", "size", "sparkline"]

HISTORY = 60
"""Looks that sparklines and charts go back."""
KEPT_MESSAGES = 500
SORTS = ("rate", "slowest", "name")
NAME_WIDTH, SPARK_WIDTH = 60, 10
OVER_LINKS = ("messages_in", "messages_out", "bytes_in", "bytes_out")
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", ".:-=+*#@"


class EventRow(NamedTuple):
    """One event, as of late."""

    name: str
    came: float
    """Messages a second."""
    went: float
    bytes: float
    """A second, both ways."""
    running: int
    """Handlers at work."""
    p50: float | None
    p99: float | None
    slowest: float
    failed: int
    history: tuple[float, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words, as those of the others."""
        rates = amount(self.came), amount(self.went), size(self.bytes)
        times = short(self.p50), short(self.p99), str(self.running), str(self.failed), short(self.slowest or None)
        return self.name, sparkline(self.history, SPARK_WIDTH), *rates, *times


class RequestRow(NamedTuple):
    """One method."""

    name: str
    side: str
    """``asked`` by the server, or ``answered``."""
    rate: float
    in_flight: int
    p50: float | None
    p99: float | None
    failed: int

    @property
    def cells(self) -> tuple[str, ...]:
        times = short(self.p50), short(self.p99), str(self.failed)
        return self.name, self.side, amount(self.rate), str(self.in_flight), *times


class LinkRow(NamedTuple):
    """One socket of the server."""

    id: int
    peer: str
    came: float
    went: float
    bytes: float
    pending: int
    errors: int
    paused: str
    seconds: float

    @property
    def cells(self) -> tuple[str, ...]:
        rates = amount(self.came), amount(self.went), size(self.bytes)
        return str(self.id), self.peer, *rates, size(self.pending), str(self.errors), short(self.seconds), self.paused


class Totals(NamedTuple):
    """All of it, a second."""

    came: float = 0.0
    went: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    p99: float = 0.0
    """The slowest event's or method's."""


class View:
    """What one viewer sees; ``pause`` holds it still, and what comes meanwhile is shown afterwards."""

    def __init__(self) -> None:
        self.look: dict[str, Any] | None = None
        """The look that is shown."""
        self.history: deque[Totals] = deque(maxlen=HISTORY)
        self.messages: deque[dict[str, Any]] = deque(maxlen=KEPT_MESSAGES)
        self.skipped = 0
        """Messages that were not kept."""
        self.filter = ""
        self.sort = SORTS[0]
        self.is_paused = False
        self.trouble = ""
        """Why nothing comes, where the server is gone."""
        self._before: dict[str, Any] | None = None
        self._newest: dict[str, Any] | None = None
        self._before_newest: dict[str, Any] | None = None
        self._by_name: dict[str, deque[float]] = {}

    # ---- in

    def feed(self, look: dict[str, Any]) -> None:
        """The next look at the server."""
        self.trouble = ""
        if self._newest is not None and look["since"] != self._newest["since"]:  # it was started anew
            self._newest = None
        before, self._newest = self._newest, look
        self._before_newest = before
        if before is not None:
            self._remember(look, before)
        if not self.is_paused or self.look is None:
            self.look, self._before = look, before

    def _remember(self, look: dict[str, Any], before: dict[str, Any]) -> None:
        seconds = _seconds(look, before)
        now, then = look["stats"], before["stats"]
        came, went, bytes_in, bytes_out = (_rate(now, then, key, seconds) for key in OVER_LINKS)
        slowest = [each["p99"] or 0.0 for group in ("events", "answered", "asked") for each in look[group].values()]
        self.history.append(Totals(came, went, bytes_in, bytes_out, max(slowest, default=0.0)))
        for name in [name for name in self._by_name if name not in look["events"]]:
            del self._by_name[name]
        for name, each in look["events"].items():
            old = before["events"].get(name, {})
            rate = _rate(each, old, "in", seconds) + _rate(each, old, "out", seconds)
            self._by_name.setdefault(name, deque(maxlen=HISTORY)).append(rate)

    def add_messages(self, told: dict[str, Any]) -> None:
        """Messages to look into."""
        if not self.is_paused:
            self.messages.extend(told["messages"])
            self.skipped += told["skipped"]

    def pause(self, pause: bool) -> None:
        """Hold still, or go on."""
        self.is_paused = pause
        if not pause and self._newest is not None:
            self.look, self._before = self._newest, self._before_newest

    # ---- out

    @property
    def remarks(self) -> list[str]:
        """What the server says of itself, and which of several this is; a line each."""
        look = self.look or {}
        says = [escape(look["says"], 300)] if look.get("says") else []
        if look.get("workers", 1) > 1:
            process = "" if look.get("process") is None else f", process {look['process']}"
            others = f"worker {look['worker']} of {look['workers']}{process}; --worker N looks at another"
            says.append(others)
        return says

    def head(self, state: str = "") -> list[str]:
        """What is looked at and how, the remarks, the rates and the counts; a line each."""
        look: dict[str, Any] = self.look or {}
        stats, totals = look["stats"], self.totals
        state += "  PAUSED" if self.is_paused else ""
        state += f"  filter {self.filter!r}" if self.filter else ""
        state += "  (rates by event estimated)" if look["estimated"] else ""
        return [
            f"{escape(look['address'], 200)}  up {duration(stats['seconds'])}  {look['link_count']} links{state}",
            *self.remarks,
            f"in {amount(totals.came):>5}/s {size(totals.bytes_in):>6}/s  out {amount(totals.went):>5}/s "
            f"{size(totals.bytes_out):>6}/s",
            f"pending {size(stats['pending_bytes'])}  errors {stats['errors']}  dropped {stats['dropped']}  "
            f"refused {stats['refused']}  p99 {duration(totals.p99)}",
        ]

    @property
    def totals(self) -> Totals:
        """The latest rates."""
        return self.history[-1] if self.history else Totals()

    def events(self) -> list[EventRow]:
        """By rate, slowest or name; those that the filter lets through."""
        if self.look is None:
            return []
        before = {} if self._before is None else self._before["events"]
        seconds = _seconds(self.look, self._before)
        rows = [
            self._event(name, each, before.get(name, {}), seconds)
            for name, each in self.look["events"].items()
            if self.shows(name)
        ]
        keys: dict[str, Any] = {
            "rate": lambda row: (-row.came - row.went, row.name),
            "slowest": lambda row: (-(row.p99 or 0.0), row.name),
            "name": lambda row: row.name,
        }
        return sorted(rows, key=keys[self.sort])

    def _event(self, name: str, now: dict[str, Any], before: dict[str, Any], seconds: float) -> EventRow:
        return EventRow(
            name=escape(name, NAME_WIDTH),
            came=_rate(now, before, "in", seconds),
            went=_rate(now, before, "out", seconds),
            bytes=_rate(now, before, "bytes_in", seconds) + _rate(now, before, "bytes_out", seconds),
            running=now["running"],
            p50=now["p50"],
            p99=now["p99"],
            slowest=now["slowest"],
            failed=now["failed"],
            history=tuple(self._by_name.get(name, ())),
        )

    def requests(self) -> list[RequestRow]:
        """Those with most in flight first."""
        if self.look is None:
            return []
        rows = []
        for side in ("answered", "asked"):
            before = {} if self._before is None else self._before[side]
            for name, each in self.look[side].items():
                rate = _rate(each, before.get(name, {}), "handled", _seconds(self.look, self._before))
                if self.shows(name):
                    times = each["p50"], each["p99"], each["failed"]
                    rows.append(RequestRow(escape(name, NAME_WIDTH), side, rate, each["running"], *times))
        return sorted(rows, key=lambda row: (-row.in_flight, -row.rate, row.name))

    def links(self) -> list[LinkRow]:
        """The busiest first."""
        if self.look is None:
            return []
        before = {} if self._before is None else {link["id"]: link["stats"] for link in self._before["links"]}
        seconds = _seconds(self.look, self._before)
        rows = [_link(link, before.get(link["id"], {}), seconds) for link in self.look["links"]]
        return sorted(rows, key=lambda row: (-row.came - row.went, -row.pending, row.id))

    def errors(self) -> list[str]:
        """The latest last, each with how many seconds ago it was."""
        if self.look is None:
            return []
        now = self.look["time"]
        return [
            f"{duration(max(now - each['time'], 0.0))} ago: {escape(each['error'], 300)}"
            for each in self.look["errors"]
        ]

    def shown_messages(self) -> list[dict[str, Any]]:
        """The latest last; those that the filter lets through, by name or by what is in them."""
        return [each for each in self.messages if self.shows(each["event"]) or self.filter in each["data"]]

    def shows(self, name: str) -> bool:
        """Whether the filter lets this name through."""
        return self.filter.lower() in name.lower()


def _link(link: dict[str, Any], before: dict[str, Any], seconds: float) -> LinkRow:
    stats = link["stats"]
    named = link["peer"] if link["name"] is None else f"{link['name']} ({link['peer']})"
    return LinkRow(
        id=link["id"],
        peer=escape(named, NAME_WIDTH),
        came=_rate(stats, before, "messages_in", seconds),
        went=_rate(stats, before, "messages_out", seconds),
        bytes=_rate(stats, before, "bytes_in", seconds) + _rate(stats, before, "bytes_out", seconds),
        pending=stats["pending_bytes"],
        errors=stats["errors"],
        paused=", ".join(stats["paused"]),
        seconds=stats["seconds"],
    )


def _seconds(look: dict[str, Any], before: dict[str, Any] | None) -> float:
    """Between two looks; since the counting began where there is one only."""
    begun: float = look["since"] if before is None else before["time"]
    return max(float(look["time"]) - begun, 0.001)


def _rate(now: dict[str, Any], before: dict[str, Any], key: str, seconds: float) -> float:
    return float(max(now[key] - before.get(key, 0), 0)) / seconds


# ---- figures for people


def amount(value: float) -> str:
    """Four characters or so: 0, 7.5, 12k, 3.4M."""
    for unit in ("", "k", "M", "G"):
        if value < 999.5 or unit == "G":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 9.95 or value == int(value) else f"{value:.1f}{unit}"


def size(value: float) -> str:
    """Bytes."""
    return f"{amount(value)}B"


def duration(seconds: float | None) -> str:
    """A time in the unit that fits it."""
    if seconds is None:
        return "-"
    for limit, factor, unit in (
        (999.5e-6, 1e6, "us"),
        (999.5e-3, 1e3, "ms"),
        (120.0, 1.0, "s"),
        (7200.0, 1 / 60, "min"),
    ):
        if seconds < limit:
            return f"{amount(seconds * factor)} {unit}"
    return f"{amount(seconds / 3600)} h"


def short(seconds: float | None) -> str:
    """A time without the space."""
    return duration(seconds).replace(" ", "")


def sparkline(values: tuple[float, ...], width: int, bars: str = BARS) -> str:
    """The last so many values as bars."""
    shown = values[-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return (bars[0] * len(shown)).rjust(width)
    return "".join(bars[min(int(value / top * (len(bars) - 1) + 0.5), len(bars) - 1)] for value in shown).rjust(width)
