"""Metrics and traces for those who run a program, in the words of Prometheus and OpenTelemetry.

    node_ipc.telemetry.prometheus(server)       # counters at /metrics; extra "prometheus"
    node_ipc.telemetry.opentelemetry(client)    # spans and metrics; extra "otel"

Each takes a client, a server or a UDP port of any front and returns a function that undoes it. Nothing of it is loaded
unless called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config.misspelt import suggests
from ..errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from ..core.client import ClientCore
    from ..core.datagram import DatagramCore
    from ..core.server import ServerCore

    Endpoint = ClientCore[Any] | ServerCore[Any] | DatagramCore

__all__ = ["opentelemetry", "prometheus"]


@suggests
def prometheus(
    endpoint: Endpoint,
    *,
    registry: CollectorRegistry | None = None,
    app_name: str = "",
    prefix: str = "node_ipc",
    events: bool = False,
    buckets: Sequence[float] | None = None,
) -> Callable[[], None]:
    """Give out what an endpoint counts in Prometheus' form; ``prometheus_client.start_http_server(9000)`` serves it.

    What ``stats()`` counts is read when Prometheus asks and costs no message anything. An endpoint that is closed keeps
    its counters; one that nobody holds any more is left out.

    Args:
        registry: whose metrics they are; None is ``prometheus_client.REGISTRY``.
        app_name: the label ``app_name`` of all of them, as in FastStream; so is ``broker``, which is ``node_ipc``, and
            ``endpoint``, where it listens or connects to.
        prefix: what their names begin with.
        events: also measure each event that has a handler, and each method: how many, how large, how long, with which
            error. It costs five to ten microseconds a message. Names that peers make up are no labels and cannot fill
            the memory: an event without a handler has the label ``""``.
        buckets: upper bounds in seconds for the durations; None is from 1 ms to 10 s.

    Returns the undoing. Raises :class:`ConfigError` where ``prometheus_client`` is not installed, or ``prefix`` is no
    name for a metric.
    """
    try:
        from .scraping import collect
    except ImportError as error:
        raise _missing("prometheus", "prometheus_client", error) from error
    return collect(endpoint, registry, app_name, prefix, events, buckets)


@suggests
def opentelemetry(
    endpoint: Endpoint,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    propagate: bool = True,
) -> Callable[[], None]:
    """A span for each message and each request, in both directions, and their durations as metrics.

    Emits are spans of the kind ``PRODUCER``, handlers ``CONSUMER``, requests ``CLIENT`` where they are asked and
    ``SERVER`` where they are answered. The span of a handler is current while it runs, also in async ones, so what
    it does becomes part of the trace; one that came over the wire goes on in it.

    Args:
        tracer_provider, meter_provider: where they go to; None is the global one of OpenTelemetry.
        propagate: send the trace's context along, in the member ``trace`` beside ``type`` and ``data``, which every
            node-ipc reads over. What comes is always read. Switch it off towards peers that are not to know your
            traces.

    Returns the undoing. Raises :class:`ConfigError` where ``opentelemetry-api`` is not installed, and in raw mode,
    which has no messages.
    """
    try:
        from .spans import instrument
    except ImportError as error:
        raise _missing("otel", "opentelemetry", error) from error
    return instrument(endpoint, tracer_provider, meter_provider, propagate)


def _missing(extra: str, package: str, error: ImportError) -> ConfigError:
    if not (error.name or "").startswith(package):
        raise error
    return ConfigError(f"{package} is not installed: pip install 'node-ipc[{extra}]'")


def __dir__() -> list[str]:
    return __all__
