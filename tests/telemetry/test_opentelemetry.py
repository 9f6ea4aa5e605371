"""Spans and metrics by the real SDK with its exporters in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import node_ipc
from node_ipc import ConfigError, RemoteError, blocking, telemetry
from node_ipc.testing import Pair, pair


class Sdk:
    """What a program's OpenTelemetry is made of."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def watch(self, *endpoints: Any, **options: Any) -> None:
        for endpoint in endpoints:
            telemetry.opentelemetry(endpoint, tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def span(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return span

    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]

    def points(self, name: str) -> list[Any]:
        data: Any = self.reader.get_metrics_data()
        metrics = [
            each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics
        ]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    made = Sdk()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def ends() -> Pair:
    return pair()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.context is not None and parent.context is not None
    return span.parent is not None and (span.parent.span_id, span.context.trace_id) == (
        *(parent.context.span_id, parent.context.trace_id),
    )


def test_an_emit_and_its_handler_are_one_trace(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, ends.server)
    ends.server.on("order", lambda data, socket: socket.emit("thanks"))
    ends.client.on("thanks", lambda: None)
    ends.client.emit("order", {"n": 1})
    ends.driver.run_until_idle()
    emit, process, thanks, heard = map(sdk.span, ("emit order", "process order", "emit thanks", "process thanks"))
    assert [span.kind for span in (emit, process)] == [SpanKind.PRODUCER, SpanKind.CONSUMER]
    assert emit.parent is None
    assert is_child(process, emit) and is_child(thanks, process) and is_child(heard, thanks)
    assert attributes(emit) == {
        "messaging.system": "node_ipc",
        "messaging.operation.type": "send",
        "messaging.operation.name": "emit",
        "messaging.destination.name": "order",
        "messaging.message.body.size": ends.server.stats().bytes_in,
        "network.transport": "unix",
        "server.address": str(ends.server.address),
    }
    assert attributes(process)["messaging.client.id"] == "1"
    assert attributes(process)["messaging.operation.type"] == "process"


def test_an_emit_inside_a_span_of_the_program_is_part_of_it(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, ends.server)
    seen: list[Any] = []
    ends.server.on("order", lambda: seen.append(baggage.get_baggage("user")))
    with sdk.tracers.get_tracer("program").start_as_current_span("checkout"):
        token = context.attach(baggage.set_baggage("user", "anna"))
        ends.client.emit("order")
        context.detach(token)
    ends.driver.run_until_idle()
    assert is_child(sdk.span("emit order"), sdk.span("checkout"))
    assert seen == ["anna"]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_broadcast_is_one_span_that_all_receivers_go_on_in(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.server, ends.client)
    ends.client.on("news", lambda: None)
    ends.server.broadcast("news")
    ends.driver.run_until_idle()
    assert is_child(sdk.span("process news"), sdk.span("emit news"))


def test_a_failing_handler_is_a_failed_span(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.server)
    ends.server.on("bad", lambda: 1 / 0)
    ends.server.on("error", lambda error: None)
    ends.client.emit("bad")
    ends.driver.run_until_idle()
    span = sdk.span("process bad")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "ZeroDivisionError"
    assert [event.name for event in span.events] == ["exception"]


def test_an_emit_that_cannot_be_is_a_failed_span(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client)
    with pytest.raises(node_ipc.InvalidPayload):
        ends.client.emit("odd", object())
    assert sdk.span("emit odd").status.status_code is StatusCode.ERROR


def test_a_request_is_a_span_on_each_side(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, ends.server)
    ends.server.handle("add", lambda params: params + 1)
    answer = ends.client.request("add", 1)
    ends.driver.run_until_idle()
    assert answer.value == 2
    asked, answered = sdk.span("request add"), sdk.span("answer add")
    assert [asked.kind, answered.kind] == [SpanKind.CLIENT, SpanKind.SERVER]
    assert is_child(answered, asked)
    assert attributes(asked)["rpc.system"] == "jsonrpc" and attributes(asked)["rpc.method"] == "add"
    assert sorted(sdk.names()) == ["answer add", "request add"], "what carries them is no event"
    [client], [server] = sdk.points("rpc.client.duration"), sdk.points("rpc.server.duration")
    assert client.count == server.count == 1


def test_a_refused_request_says_so_in_its_span(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, ends.server)

    @ends.server.handle("refuse")
    def refuse() -> None:
        raise RemoteError(7, "not today")

    ends.server.handle("fail", lambda: 1 / 0)
    ends.server.on("error", lambda error: None)
    ends.client.request("refuse")
    ends.client.request("fail")
    ends.client.request("made up")
    ends.driver.run_until_idle()
    for span in (sdk.span("request refuse"), sdk.span("answer refuse")):
        assert attributes(span)["rpc.jsonrpc.error_code"] == 7
        assert span.status.status_code is StatusCode.ERROR
    assert attributes(sdk.span("answer fail"))["error.type"] == "ZeroDivisionError"
    assert attributes(sdk.span("answer"))["rpc.method"] == "", "what a peer makes up is no name"


def test_requests_that_get_no_answer_end(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client)
    ends.client.request("late", timeout=1)
    ends.client.request("lost")
    ends.socket.pause_reading("test", True)
    ends.driver.advance(2)
    ends.socket.abort()
    ends.driver.run_until_idle()
    assert attributes(sdk.span("request late"))["error.type"] == "RequestTimeout"
    assert attributes(sdk.span("request lost"))["error.type"] == "ConnectionLost"


def test_metrics_under_the_names_of_faststream(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, ends.server)
    ends.server.on("order", lambda: None)
    for _ in range(3):
        ends.client.emit("order")
        ends.client.emit("nobody wants this")
    ends.driver.run_until_idle()
    [process] = sdk.points("messaging.process.duration")
    assert process.count == 3 and process.attributes["messaging.destination.name"] == "order"
    assert sum(point.count for point in sdk.points("messaging.publish.duration")) == 6
    assert [point.value for point in sdk.points("messaging.process.messages")] == [3]


@pytest.mark.row(61)
def test_names_without_end_are_no_attributes_of_metrics(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.server)
    for number in range(1500):
        ends.client.emit(f"made up {number}")
        ends.server.broadcast(f"room {number}")
        if number % 50 == 0:
            ends.driver.run_until_idle()
    ends.driver.run_until_idle()
    assert sdk.points("messaging.process.duration") == []
    names = {point.attributes["messaging.destination.name"] for point in sdk.points("messaging.publish.messages")}
    assert len(names) == 1025 and "other" in names


def test_what_waits_to_be_received_leaves_a_mark_in_its_trace(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, ends.server)
    ends.client.emit("unheard")
    ends.driver.run_until_idle()
    assert is_child(sdk.span("receive"), sdk.span("emit unheard"))


def test_without_propagation_nothing_goes_out_and_what_comes_is_read(sdk: Sdk, ends: Pair) -> None:
    sdk.watch(ends.client, propagate=False)
    sdk.watch(ends.server)
    assert ends.client.encode("message", 1) == b'{"type":"message","data":1}\f'
    ends.client.on("news", lambda: None)
    ends.server.broadcast("news")
    ends.driver.run_until_idle()
    assert is_child(sdk.span("process news"), sdk.span("emit news"))


@pytest.mark.parametrize("parent", ["", "00", "not a parent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 9000])
def test_a_context_that_is_none_begins_a_new_trace(sdk: Sdk, ends: Pair, parent: str) -> None:
    sdk.watch(ends.server)
    ends.server.on("order", lambda: None)
    ends.client.put(b'{"type":"order","trace":{"traceparent":"' + parent.encode() + b'"}}\f')
    ends.driver.run_until_idle()
    assert sdk.span("process order").parent is None


def test_a_processor_that_raises_harms_no_message(sdk: Sdk, ends: Pair) -> None:
    class Raises(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("a processor of somebody else's")

    sdk.tracers.add_span_processor(Raises())
    sdk.watch(ends.client, ends.server)
    got: list[Any] = []
    ends.server.on("order", got.append)
    ends.server.handle("add", lambda params: params + 1)
    ends.client.emit("order", 1)
    answer = ends.client.request("add", 1)
    ends.driver.run_until_idle()
    assert got == [1] and answer.value == 2


def test_raw_mode_has_no_messages() -> None:
    ends = pair(raw_buffer=True)
    with pytest.raises(ConfigError, match="raw mode has none"):
        telemetry.opentelemetry(ends.server)


def test_without_an_sdk_nothing_happens(ends: Pair) -> None:
    got: list[Any] = []
    undo = telemetry.opentelemetry(ends.client)
    telemetry.opentelemetry(ends.server)
    ends.server.on("order", got.append)
    assert ends.client.encode("order", 1) == b'{"type":"order","data":1}\f'
    ends.client.emit("order", 1)
    ends.driver.run_until_idle()
    undo()
    assert got == [1]


async def test_async_handlers_keep_their_span_over_awaits_and_tasks(sdk: Sdk) -> None:
    """Two at once, each in its own trace, and what they start is in it, too."""
    async with node_ipc.serve("tcp://127.0.0.1:0") as server:
        sdk.watch(server)
        tracer = sdk.tracers.get_tracer("program")

        @server.handle("slow")
        async def slow(params: int) -> int:
            await asyncio.sleep(0.01)

            async def inner() -> None:
                tracer.start_span(f"inner {params}").end()

            await asyncio.create_task(inner())
            return params

        async with node_ipc.connect(f"tcp://127.0.0.1:{server.port}") as client:
            sdk.watch(client)
            with tracer.start_as_current_span("program"):
                assert await asyncio.gather(*(client.request("slow", number) for number in range(5))) == [*range(5)]
    answers = {span.context.span_id: span for span in sdk.exporter.get_finished_spans() if span.name == "answer slow"}  # type: ignore[union-attr]
    inner = {span.parent.span_id for span in sdk.exporter.get_finished_spans() if "inner" in span.name}  # type: ignore[union-attr]
    assert inner == set(answers)
    duration = [span.end_time - span.start_time for span in answers.values()]  # type: ignore[operator]
    assert min(duration) >= 9_000_000
    assert {attributes(span)["server.port"] for span in answers.values()} == {server.port}


async def test_udp_and_the_blocking_front(sdk: Sdk, tmp_path: Any) -> None:
    async with node_ipc.serve("tcp://127.0.0.1:0") as server, node_ipc.serve_udp("127.0.0.1:0") as port:
        sdk.watch(server, port)
        heard = asyncio.Event()
        server.handle("add", lambda params: params + 1)
        port.on("hello", heard.set)

        def other() -> int:
            with blocking.connect(f"tcp://127.0.0.1:{server.port}") as world:
                sdk.watch(world)
                return int(world.request("add", 1, timeout=30))

        def datagram() -> None:
            with blocking.serve_udp("127.0.0.1:0") as udp:
                sdk.watch(udp)
                udp.emit(("127.0.0.1", port.port), "hello")

        assert await asyncio.to_thread(other) == 2
        await asyncio.to_thread(datagram)
        async with asyncio.timeout(30):
            await heard.wait()
    assert is_child(sdk.span("answer add"), sdk.span("request add"))
    assert is_child(sdk.span("process hello"), sdk.span("emit hello"))
    assert attributes(sdk.span("process hello"))["network.transport"] == "udp"
