"""What Prometheus reads: the counts of ``stats()`` when it asks, and where wanted what each event took.

The names are those that FastStream's users have in their dashboards (``…_received_messages_total``,
``…_received_processed_messages_duration_seconds`` …), with the same labels; ``endpoint`` is one more.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary, ref

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from ..core.seam import nothing
from ..core.trace import Stats
from ..core.watch import Activity, Timed, Told, Watch
from ..errors import ConfigError, RemoteError
from ..wire.carried import Carried

__all__ = ["collect"]

BROKER = "node_ipc"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BYTES = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 16777216.0)
MOST_NAMES = 1024
"""Names of events that this program emits and that are labels; the others are ``""``. Handlers are bounded by code."""
MOST_EXCEPTIONS = 256
"""Pairs of handler and exception type that are labels; the others count as ``other``."""
F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily)
LABELS = ("app_name", "broker", "endpoint")


class _Of(NamedTuple):
    """How a count of ``stats()`` is called."""

    name: str
    help: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    value: Callable[[Stats], float]
    labels: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple's default, never changed


COUNTER, GAUGE, HISTOGRAM = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
IN, OUT = {"direction": "in"}, {"direction": "out"}
COUNTS = (
    _Of("link_messages", "Messages over the links.", COUNTER, lambda stats: stats.messages_in, IN),
    _Of("link_messages", "Messages over the links.", COUNTER, lambda stats: stats.messages_out, OUT),
    _Of("link_bytes", "Bytes over the links.", COUNTER, lambda stats: stats.bytes_in, IN),
    _Of("link_bytes", "Bytes over the links.", COUNTER, lambda stats: stats.bytes_out, OUT),
    _Of("links", "Links that were up, those that are over included.", COUNTER, lambda stats: stats.links),
    _Of("refused_links", "Connections refused because of a limit.", COUNTER, lambda stats: stats.refused),
    _Of("retries", "Attempts to connect again.", COUNTER, lambda stats: stats.retries),
    _Of("dropped_messages", "Messages that were emitted and never sent.", COUNTER, lambda stats: stats.dropped),
    _Of("replaced_messages", "Messages that newer ones took the place of.", COUNTER, lambda stats: stats.replaced),
    _Of("errors", "Events named error.", COUNTER, lambda stats: stats.errors),
    _Of("late_answers", "Answers that came after their request was given up.", COUNTER, lambda stats: stats.late),
    _Of("pending_bytes", "Bytes that wait to be sent.", GAUGE, lambda stats: stats.pending_bytes),
    _Of("uptime_seconds", "How long ago the counting began.", GAUGE, lambda stats: stats.seconds),
)


class Endpoint(Protocol):
    """What is measured."""

    @property
    def address(self) -> Any: ...
    def stats(self) -> Stats: ...
    def watch(self, watch: Watch) -> Callable[[], None]: ...


def collect(
    endpoint: Endpoint,
    registry: CollectorRegistry | None,
    app_name: str,
    prefix: str,
    events: bool,
    buckets: Sequence[float] | None,
) -> Callable[[], None]:
    """Measure this endpoint; returns the undoing."""
    if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", prefix):
        raise ConfigError(f"prefix is what names of metrics begin with: letters, digits and _, not {prefix!r:.80}")
    bounds = SECONDS if buckets is None else tuple(sorted(map(float, buckets)))
    collector = _collector(registry or REGISTRY, prefix)
    times = EventTimes(bounds) if events else None
    undo = nothing if times is None else endpoint.watch(times)
    measured = Measured(ref(endpoint), app_name, times)
    collector.measured.append(measured)

    def forget() -> None:
        undo()
        if measured in collector.measured:
            collector.measured.remove(measured)

    return forget


_collectors: WeakKeyDictionary[CollectorRegistry, dict[str, Collector]] = WeakKeyDictionary()


def _collector(registry: CollectorRegistry, prefix: str) -> Collector:
    """The one of this registry: a metric may be given out once only, however many endpoints have it."""
    of_registry = _collectors.setdefault(registry, {})
    if prefix not in of_registry:
        of_registry[prefix] = Collector(prefix)
        registry.register(of_registry[prefix])
    return of_registry[prefix]


class Measured(NamedTuple):
    """One endpoint, held no longer than others hold it."""

    endpoint: ref[Endpoint]
    app_name: str
    events: EventTimes | None


class _Read(NamedTuple):
    """One endpoint at the moment of a scrape."""

    labels: list[str]
    stats: Stats
    events: EventTimes | None


class Collector:
    """Everything that is measured under one prefix in one registry."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.measured: list[Measured] = []

    def describe(self) -> Iterator[Metric]:
        """The names, for the registry to see that nobody else has them."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Read everything; called for each scrape, in whatever thread serves it."""
        self.measured[:] = [each for each in self.measured if each.endpoint() is not None]
        reads = [
            _Read([each.app_name, BROKER, str(endpoint.address)], endpoint.stats(), each.events)
            for each in self.measured
            if (endpoint := each.endpoint()) is not None
        ]
        yield from self._counts(reads)
        yield from self._messages(reads)
        yield from self._of_events([(read.labels, read.events) for read in reads if read.events is not None])

    def _family(self, kind: type[F], name: str, help: str, *labels: str) -> F:
        return kind(f"{self.prefix}_{name}", help, labels=[*LABELS, *labels])

    def _counts(self, reads: list[_Read]) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for of in COUNTS:
            family = families.get(of.name)
            if family is None:
                labels = [*LABELS, *of.labels]
                family = families[of.name] = of.kind(f"{self.prefix}_{of.name}", of.help, labels=labels)
            for read in reads:
                family.add_metric([*read.labels, *of.labels.values()], of.value(read.stats))
        paused = self._family(GAUGE, "paused_links", "Links that are not read, by what they wait for.", "reason")
        for read in reads:
            for reason, count in read.stats.paused.items():
                paused.add_metric([*read.labels, reason], count)
        return *families.values(), paused

    def _messages(self, reads: list[_Read]) -> Iterable[Metric]:
        """By event where those are measured, all of them under ``""`` otherwise."""
        came = self._family(COUNTER, "received_messages", "Messages that came.", "handler")
        went = self._family(COUNTER, "published_messages", "Messages that were emitted.", "destination", "status")
        for labels, stats, events in reads:
            if events is None:
                came.add_metric([*labels, ""], stats.messages_in)
                went.add_metric([*labels, "", "success"], stats.messages_out)
                continue
            came.add_metric([*labels, ""], events.unheard_messages)
            for handler, times in list(events.handlers.items()):
                came.add_metric([*labels, handler], times.begun)
            for (destination, status), count in list(events.emitted.items()):
                went.add_metric([*labels, destination, status], count)
        return came, went

    def _of_events(self, measured: list[tuple[list[str], EventTimes]]) -> Iterable[Metric]:
        if not measured:
            return ()
        family, processed = self._family, "received_processed_messages"
        size = family(HISTOGRAM, "received_messages_size_bytes", "Bytes of a message.", "handler")
        running = family(GAUGE, "received_messages_in_process", "Messages whose handlers run.", "handler")
        took = family(HISTOGRAM, f"{processed}_duration_seconds", "How long handlers took.", "handler")
        handled = family(COUNTER, processed, "Messages that were handled.", "handler", "status")
        raised = family(COUNTER, f"{processed}_exceptions", "What handlers raised.", "handler", "exception_type")
        asked = family(HISTOGRAM, "requests_duration_seconds", "How long answers took.", "method", "status")
        asking = family(GAUGE, "requests_in_process", "Requests that wait for their answer.")
        for labels, events in measured:
            for handler, times in list(events.handlers.items()):
                size.add_metric([*labels, handler], *times.sizes.read())
                running.add_metric([*labels, handler], times.running)
                took.add_metric([*labels, handler], *times.seconds.read())
                handled.add_metric([*labels, handler, "acked"], times.well)
                handled.add_metric([*labels, handler, "error"], times.failed)
            for (handler, kind), count in list(events.exceptions.items()):
                raised.add_metric([*labels, handler, kind], count)
            for (method, status), histogram in list(events.asked.items()):
                asked.add_metric([*labels, method, status], *histogram.read())
            asking.add_metric(labels, events.asking_now)
        return size, running, took, handled, raised, asked, asking


class Histogram:
    """How often something was within which bound."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """As Prometheus has them: each bound counts all that is below it, too."""
        below = accumulate(map(float, tuple(self._counts)))
        return list(zip((*map(str, self._bounds), "+Inf"), below, strict=True)), self._total


class HandlerTimes:
    """What the handlers of one event, or of one method, did."""

    __slots__ = ("begun", "failed", "running", "seconds", "sizes", "well")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.seconds, self.sizes = Histogram(bounds), Histogram(BYTES)
        self.begun = self.running = self.well = self.failed = 0


class EventTimes(Watch):
    """Measures each message of an endpoint."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.handlers: dict[str, HandlerTimes] = {}
        self.exceptions: dict[tuple[str, str], int] = {}
        self.emitted: dict[tuple[str, str], int] = {}
        self.asked: dict[tuple[str, str], Histogram] = {}
        self.unheard_messages = 0
        self.asking_now = 0
        self._bounds = bounds

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told:
        return partial(self._emitted, name)

    def _emitted(self, name: str, size: int, error: BaseException | None) -> None:
        status = "success" if error is None else "error"
        key = (name, status) if isinstance(name, str) else ("", status)
        if key not in self.emitted and len(self.emitted) >= MOST_NAMES:
            key = ("", status)
        self.emitted[key] = self.emitted.get(key, 0) + 1

    def handling(self, name: str, message: Carried, socket: Any) -> Activity:
        return self._begin(name, message)

    def answering(self, method: str, message: Carried | None, request: Any) -> Activity | None:
        if not method:  # there is no such method
            self.unheard_messages += 1
            return None
        return self._begin(method, message)

    def _begin(self, name: str, message: Carried | None) -> Activity:
        times = self.handlers.get(name)
        if times is None:
            times = self.handlers[name] = HandlerTimes(self._bounds)
        times.begun += 1
        times.running += 1
        if message is not None and message.size:
            times.sizes.add(message.size)
        return Timed(time.perf_counter, partial(self._handled, name, times))

    def _handled(self, name: str, times: HandlerTimes, seconds: float, error: BaseException | None) -> None:
        times.running -= 1
        times.seconds.add(seconds)
        if error is None:
            times.well += 1
        else:
            times.failed += 1
            key = name, type(error).__name__
            if key not in self.exceptions and len(self.exceptions) >= MOST_EXCEPTIONS:
                key = name, "other"
            self.exceptions[key] = self.exceptions.get(key, 0) + 1

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        self.unheard_messages += 1

    def asking(self, method: str, params: Any) -> Activity:
        self.asking_now += 1
        return Timed(time.perf_counter, partial(self._answered, method))

    def _answered(self, method: str, seconds: float, error: BaseException | None) -> None:
        self.asking_now -= 1
        status = "success" if error is None else "refused" if isinstance(error, RemoteError) else "error"
        key = method, status
        if key not in self.asked and len(self.asked) >= MOST_NAMES:
            key = "", status
        if key not in self.asked:
            self.asked[key] = Histogram(self._bounds)
        self.asked[key].add(seconds)
