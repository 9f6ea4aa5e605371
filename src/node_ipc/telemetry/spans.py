"""Spans and durations for OpenTelemetry, by its API alone: without an SDK nothing of it goes anywhere.

Attributes are those of its conventions for messaging and, for requests, for JSON-RPC; the metrics are those that
FastStream's users know (``messaging.process.duration`` …). Names of events are attributes where this program registered
or emitted them: what a peer makes up is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .. import __version__
from ..core.watch import Activity, Timed, Told, Watch
from ..errors import ConfigError, RemoteError
from ..wire.carried import Carried

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["instrument"]

SYSTEM = "node_ipc"
REQUEST = "rpc.request"
OF_REQUESTS = frozenset({REQUEST, "rpc.response", "rpc.cancel", "rpc.progress"})
SCHEMA = "https://opentelemetry.io/schemas/1.28.0"
MOST_EMITTED = 1024
"""Names of emitted events that are attributes of metrics; the others are ``other``."""
NO_SUCH_METHOD = -32601


def instrument(
    endpoint: Any, tracers: TracerProvider | None, meters: MeterProvider | None, propagates: bool
) -> Callable[[], None]:
    """Watch this endpoint; returns the undoing."""
    if endpoint.settings.profile == "raw":
        raise ConfigError(
            "telemetry.opentelemetry is for messages, and raw mode has none: use telemetry.prometheus, which counts "
            "bytes, or spans of your own"
        )
    undo: Callable[[], None] = endpoint.watch(Spans(endpoint, tracers, meters, propagates))
    return undo


class _Beside(Getter[Mapping[str, str]]):
    """Reads what came beside a message; names of headers are not case sensitive."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key) or carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


BESIDE = _Beside()


class Durations:
    """The metrics: how long, and so how many."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = metrics.get_meter("node_ipc", __version__, provider, SCHEMA)
        timed = meter.create_histogram
        self.process = timed("messaging.process.duration", "s", "How long the handlers of an event took.")
        self.publish = timed("messaging.publish.duration", "s", "How long encoding and emitting an event took.")
        self.client = timed("rpc.client.duration", "s", "How long an answer took.")
        self.server = timed("rpc.server.duration", "s", "How long answering took.")
        self.processed = meter.create_counter("messaging.process.messages", "message", "Events that were handled.")
        self.published = meter.create_counter("messaging.publish.messages", "message", "Events that were emitted.")


class Spans(Watch):
    """Makes a span of each message and of each request of one endpoint."""

    def __init__(
        self, endpoint: Any, tracers: TracerProvider | None, meters: MeterProvider | None, propagates: bool
    ) -> None:
        self._tracer = trace.get_tracer("node_ipc", __version__, tracers, SCHEMA)
        self._durations = Durations(meters)
        self._propagates = propagates
        self._emitted: set[str] = set()
        self._where = {"messaging.system": SYSTEM, **_place(endpoint.address)}
        self._rpc = {"rpc.system": "jsonrpc", "rpc.jsonrpc.version": "2.0", **_place(endpoint.address)}

    # ---- out

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told | None:
        if name in OF_REQUESTS:
            if self._propagates and name == REQUEST:  # its span is current
                propagate.inject(carrier)
            return None
        begun = time.perf_counter()
        attributes = self._where | _messaging("send", "emit", name)
        span = self._tracer.start_span(f"emit {name}", kind=SpanKind.PRODUCER, attributes=attributes)
        if self._propagates:
            propagate.inject(carrier, trace.set_span_in_context(span))

        def told(size: int, error: BaseException | None) -> None:
            if size:
                span.set_attribute("messaging.message.body.size", size)
            _end(span, error)
            labels = self._labels("emit", self._bounded(name), error)
            self._durations.publish.record(time.perf_counter() - begun, labels)
            self._durations.published.add(1, labels)

        return told

    def _bounded(self, name: str) -> str:
        if name not in self._emitted and len(self._emitted) < MOST_EMITTED:
            self._emitted.add(name)
        return name if name in self._emitted else "other"

    def asking(self, method: str, params: Any) -> Activity:
        attributes = self._rpc | {"rpc.method": method}
        span = self._tracer.start_span(f"request {method}", kind=SpanKind.CLIENT, attributes=attributes)
        return _Current(span, None, partial(self._answered, self._durations.client, self._bounded(method)))

    # ---- in

    def handling(self, name: str, message: Carried, socket: Any) -> Activity:
        attributes = self._where | _messaging("process", "process", name) | _of(message, socket)
        parent = _parent(message)
        span = self._tracer.start_span(f"process {name}", parent, kind=SpanKind.CONSUMER, attributes=attributes)
        return _Current(span, parent, partial(self._handled, name))

    def _handled(self, name: str, span: Span, seconds: float, error: BaseException | None) -> None:
        labels = self._labels("process", name, error)
        self._durations.process.record(seconds, labels)
        self._durations.processed.add(1, labels)

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        """It waits to be received: a span without a length shows that it came, where the trace goes on."""
        if not message.carrier:
            return
        attributes = self._where | _messaging("receive", "receive", name) | _of(message, socket)
        self._tracer.start_span("receive", _parent(message), kind=SpanKind.CONSUMER, attributes=attributes).end()

    def answering(self, method: str, message: Carried | None, request: Any) -> Activity:
        attributes = self._rpc | {"rpc.method": method} | _of(message, request.socket)
        parent = _parent(message)
        name = f"answer {method}" if method else "answer"
        span = self._tracer.start_span(name, parent, kind=SpanKind.SERVER, attributes=attributes)
        return _Current(span, parent, partial(self._answered, self._durations.server, method))

    def _answered(
        self, duration: Histogram, method: str, span: Span, seconds: float, error: BaseException | None
    ) -> None:
        if isinstance(error, RemoteError):
            span.set_attribute("rpc.jsonrpc.error_code", error.code)
            span.set_attribute("rpc.jsonrpc.error_message", error.message)
        duration.record(seconds, {"rpc.system": "jsonrpc", "rpc.method": method} | _type_of(error))

    # ---- labels of metrics

    def _labels(self, operation: str, name: str, error: BaseException | None) -> dict[str, str]:
        labels = {"messaging.system": SYSTEM, "messaging.operation.name": operation}
        names = {"messaging.destination.name": name, "messaging.destination_publish.name": name}
        return labels | names | _type_of(error)


class _Current(Timed):
    """Makes its span the current one while its code runs; tasks that begin meanwhile inherit it.

    ``told`` hears of the end before the span has ended, with the seconds that it took.
    """

    enters = True

    def __init__(
        self, span: Span, parent: Context | None, told: Callable[[Span, float, BaseException | None], None]
    ) -> None:
        super().__init__(time.perf_counter, partial(told, span))
        self._span = span
        self._context = trace.set_span_in_context(span, parent)
        self._token: Any = None

    def enter(self) -> None:
        self._token = context.attach(self._context)

    def leave(self) -> None:
        context.detach(self._token)

    def ended(self, error: BaseException | None) -> None:
        super().ended(error)
        _end(self._span, error)


def _type_of(error: BaseException | None) -> dict[str, str]:
    """The label, where there was an error."""
    return {} if error is None else {"error.type": type(error).__qualname__}


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None:
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end()


def _parent(message: Carried | None) -> Context | None:
    """The trace that the message came with; the current one's where it brought none."""
    carrier = {} if message is None else message.carrier
    return propagate.extract(carrier, getter=BESIDE) if carrier else None


def _messaging(type: str, operation: str, name: str) -> dict[str, Any]:
    return {
        "messaging.operation.type": type,
        "messaging.operation.name": operation,
        "messaging.destination.name": name,
    }


def _of(message: Carried | None, socket: Any) -> dict[str, Any]:
    """What is known of the message and of who sent it."""
    found: dict[str, Any] = {}
    if message is not None and message.size:
        found["messaging.message.body.size"] = message.size
    number = getattr(socket, "id", None)
    if number is not None:
        found["messaging.client.id"] = str(number)
    return found


TRANSPORTS = {"Unix": "unix", "Pipe": "pipe", "Tcp": "tcp", "Tls": "tcp", "Udp": "udp"}


def _place(address: Any) -> dict[str, Any]:
    """Where the server is, in the words of the conventions."""
    where = getattr(address, "where", address)
    found: dict[str, Any] = {"network.transport": TRANSPORTS.get(type(where).__name__, "unix")}
    host, port = getattr(where, "host", None), getattr(where, "port", None)
    found["server.address"] = str(where) if host is None else host
    return found if port is None else found | {"server.port": port}
