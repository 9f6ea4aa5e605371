"""The member ``trace`` beside ``type`` and ``data``: real node-ipc reads over it, in every version and profile."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import node_ipc
from node_ipc import telemetry

from .install import VERSIONS
from .pairs import ECHO, Ends

PAYLOADS = [{"n": 1, "text": "über", "trace": {"traceparent": "mine"}}, [1, None, "\f"], "x" * 200_000]
every_version = pytest.mark.parametrize(
    ("version", "config"),
    [*((version, {}) for version in VERSIONS), *(("v14", {"parser": parser}) for parser in ("fast", "guarded"))],
    ids=str,
)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracers(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@every_version
async def test_a_node_server_gets_what_it_got_without(
    ends: Ends, exporter: InMemorySpanExporter, tracers: TracerProvider, version: str, config: dict[str, Any]
) -> None:
    address = ends.address("unix")
    server = await ends.serve(version, address, ECHO, **config)
    async with node_ipc.connect(address.path) as client:
        undo = telemetry.opentelemetry(client, tracer_provider=tracers)
        for payload in PAYLOADS:
            assert b'"trace":{"traceparent":"00-' in client.encode("message", payload)
            client.emit("message", payload)
            assert await client.receive("message", timeout=25) == payload
        undo()
    assert "error" not in server.events.types()
    assert [span.name for span in exporter.get_finished_spans()].count("emit message") == 2 * len(PAYLOADS)


@every_version
async def test_a_node_client_gets_what_it_got_without(
    ends: Ends, exporter: InMemorySpanExporter, tracers: TracerProvider, version: str, config: dict[str, Any]
) -> None:
    address = ends.address("unix")
    async with node_ipc.serve(address.path) as server:
        telemetry.opentelemetry(server, tracer_provider=tracers)
        server.on("message", lambda data, socket: socket.emit("message", data))
        client = await ends.connect(version, address, **config)
        for payload in PAYLOADS[:2]:
            await client.emit("message", payload)
            event = await client.event("message")
            assert event.data == payload
        assert "error" not in client.events.types()
    spans = exporter.get_finished_spans()
    processed = [span for span in spans if span.name == "process message"]
    assert len(processed) == 2 and all(span.parent is None for span in processed), "Node begins no trace"
