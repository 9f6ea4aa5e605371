"""What Prometheus reads, by its own parser: the counts of ``stats()``, and by event where wanted."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

import node_ipc
from node_ipc import ConfigError, RemoteError, blocking, telemetry
from node_ipc.testing import Pair, pair

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def ends() -> Pair:
    return pair()


def scrape(registry: CollectorRegistry, text: str | None = None) -> Samples:
    families = text_string_to_metric_families(text or generate_latest(registry).decode())
    found: Samples = {}
    for sample in (sample for family in families for sample in family.samples):
        key = sample.name, frozenset((name, value) for name, value in sample.labels.items() if name not in COMMON)
        assert key not in found, f"given out twice: {key}"
        found[key] = sample.value
    return found


COMMON = ("app_name", "broker", "endpoint")


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_the_counts_of_stats_under_the_names_of_faststream(ends: Pair, registry: CollectorRegistry) -> None:
    telemetry.prometheus(ends.server, registry=registry)
    ends.server.on("order", lambda data, socket: socket.emit("thanks"))
    for _ in range(3):
        ends.client.emit("order", {"n": 1})
    ends.driver.run_until_idle()
    samples, stats = scrape(registry), ends.server.stats()
    assert stats.messages_in == 3
    assert of(samples, "node_ipc_received_messages_total", handler="") == 3
    assert of(samples, "node_ipc_published_messages_total", destination="", status="success") == 3
    assert of(samples, "node_ipc_link_bytes_total", direction="in") == stats.bytes_in
    assert of(samples, "node_ipc_link_bytes_total", direction="out") == stats.bytes_out
    assert of(samples, "node_ipc_links_total") == 1
    assert of(samples, "node_ipc_pending_bytes") == 0


def test_labels_say_which_program_and_endpoint(ends: Pair, registry: CollectorRegistry) -> None:
    telemetry.prometheus(ends.server, registry=registry, app_name="shop")
    [family] = [
        each
        for each in text_string_to_metric_families(generate_latest(registry).decode())
        if each.name == "node_ipc_errors"
    ]
    assert family.samples[0].labels == {"app_name": "shop", "broker": "node_ipc", "endpoint": str(ends.server.address)}


def inside(ends: Pair) -> tuple[Any, ...]:
    """What a message goes through."""
    events: Any = ends.server.events
    return dict(events._table), events._watches, dict(ends.server.__dict__)


def test_reading_costs_no_message_anything(ends: Pair, registry: CollectorRegistry) -> None:
    ends.server.on("order", lambda data, socket: None)
    before = inside(ends)
    telemetry.prometheus(ends.server, registry=registry)
    scrape(registry)
    assert inside(ends) == before


def test_what_events_took(ends: Pair, registry: CollectorRegistry) -> None:
    telemetry.prometheus(ends.server, registry=registry, events=True, buckets=[1, 0.5])
    ends.server.on("order", lambda data, socket: socket.emit("thanks"))
    ends.server.on("bad", lambda data: 1 / 0)
    ends.server.on("error", lambda error: None)
    ends.server.handle("add", lambda params: params + 1)
    ends.client.emit("order", "x" * 100)
    ends.client.emit("order", "x" * 100)
    ends.client.emit("bad")
    ends.client.request("add", 1)
    ends.driver.run_until_idle()
    samples = scrape(registry)
    assert of(samples, "node_ipc_received_messages_total", handler="order") == 2
    assert of(samples, "node_ipc_received_messages_total", handler="add") == 1
    processed = "node_ipc_received_processed_messages"
    assert of(samples, f"{processed}_total", handler="order", status="acked") == 2
    assert of(samples, f"{processed}_total", handler="bad", status="error") == 1
    assert of(samples, f"{processed}_exceptions_total", handler="bad", exception_type="ZeroDivisionError") == 1
    assert of(samples, f"{processed}_duration_seconds_count", handler="order") == 2
    assert of(samples, f"{processed}_duration_seconds_bucket", handler="order", le="0.5") == 2
    assert of(samples, f"{processed}_duration_seconds_bucket", handler="order", le="+Inf") == 2
    assert of(samples, "node_ipc_received_messages_size_bytes_bucket", handler="order", le="64.0") == 0
    assert of(samples, "node_ipc_received_messages_size_bytes_bucket", handler="order", le="256.0") == 2
    assert of(samples, "node_ipc_received_messages_in_process", handler="order") == 0
    assert of(samples, "node_ipc_published_messages_total", destination="thanks", status="success") == 2


def test_requests_by_method_and_how_they_ended(ends: Pair, registry: CollectorRegistry) -> None:
    telemetry.prometheus(ends.client, registry=registry, events=True)

    @ends.server.handle("refuse")
    def refuse() -> None:
        raise RemoteError(1, "no")

    ends.server.handle("add", lambda params: params + 1)
    ends.client.request("add", 1)
    ends.client.request("refuse")
    samples = scrape(registry)
    assert of(samples, "node_ipc_requests_in_process") == 2
    ends.driver.run_until_idle()
    ends.socket.pause_reading("test", True)
    ends.client.request("add", 1, timeout=0.5)
    ends.driver.advance(1)
    samples = scrape(registry)
    assert of(samples, "node_ipc_requests_duration_seconds_count", method="add", status="success") == 1
    assert of(samples, "node_ipc_requests_duration_seconds_count", method="refuse", status="refused") == 1
    assert of(samples, "node_ipc_requests_duration_seconds_count", method="add", status="error") == 1
    assert of(samples, "node_ipc_requests_in_process") == 0


@pytest.mark.row(61)
def test_names_that_peers_make_up_are_no_labels(ends: Pair, registry: CollectorRegistry) -> None:
    telemetry.prometheus(ends.server, registry=registry, events=True)
    ends.server.on("order", lambda data: None)
    before = len(scrape(registry))
    for number in range(500):
        ends.client.emit(f"made up {number}")
    for number in range(500):
        ends.client.request(f"made up {number}")
        if number % 50 == 0:
            ends.driver.run_until_idle()
    ends.driver.run_until_idle()
    samples = scrape(registry)
    assert of(samples, "node_ipc_received_messages_total", handler="") == 1000
    assert not [key for key in samples if "made up" in str(key)]
    assert len(samples) < before + 100


def test_names_that_the_program_itself_makes_up_have_an_end(ends: Pair, registry: CollectorRegistry) -> None:
    telemetry.prometheus(ends.server, registry=registry, events=True)
    for number in range(3000):
        ends.server.broadcast(f"room {number}")
    samples = scrape(registry)
    assert len([key for key in samples if "room" in str(key)]) == 1024
    assert of(samples, "node_ipc_published_messages_total", destination="", status="success") == 3000 - 1024


def test_several_endpoints_are_one_family_each_with_its_own_label(registry: CollectorRegistry) -> None:
    first, second = pair(), pair(address="tcp://127.0.0.1:8000")
    for endpoint in (first.server, second.server, second.client):
        telemetry.prometheus(endpoint, registry=registry, app_name=type(endpoint).__name__)
    text = generate_latest(registry).decode()
    assert text.count("# TYPE node_ipc_errors_total counter") == 1
    assert text.count("\nnode_ipc_errors_total{") == 3


def test_the_undoing_takes_an_endpoint_out(ends: Pair, registry: CollectorRegistry) -> None:
    undo = telemetry.prometheus(ends.server, registry=registry, events=True)
    undo()
    undo()
    assert scrape(registry) == {}
    events: Any = ends.server.events
    assert events._watches is None


def test_an_endpoint_that_nobody_holds_any_more_is_left_out(registry: CollectorRegistry) -> None:
    ends = pair()
    telemetry.prometheus(ends.server, registry=registry, events=True)
    assert scrape(registry)
    del ends
    gc.collect()
    assert scrape(registry) == {}


@pytest.mark.parametrize("prefix", ["", "a-b", "1a", 'x{y="z"}'])
def test_a_prefix_that_is_no_name_is_refused(ends: Pair, registry: CollectorRegistry, prefix: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits and _"):
        telemetry.prometheus(ends.server, registry=registry, prefix=prefix)


def test_an_address_with_odd_characters_is_escaped(registry: CollectorRegistry) -> None:
    ends = pair(address='unix:/tmp/a"b\\c')
    telemetry.prometheus(ends.server, registry=registry)
    assert of(scrape(registry), "node_ipc_errors_total") == 0


def test_without_the_library_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = sys.modules['opentelemetry'] = None\n"
        "from node_ipc import telemetry\n"
        "for call in (telemetry.prometheus, telemetry.opentelemetry):\n"
        "    try: call(None)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.splitlines() == [
        "ConfigError prometheus_client is not installed: pip install 'node-ipc[prometheus]'",
        "ConfigError opentelemetry is not installed: pip install 'node-ipc[otel]'",
    ]


@pytest.fixture
def page(registry: CollectorRegistry) -> Iterator[str]:
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_scraped_over_http_while_a_blocking_server_is_at_work(
    tmp_path_factory: Any, registry: CollectorRegistry, page: str
) -> None:
    """The scrape is in another thread, and the server's one goes on."""
    with blocking.serve("tcp://127.0.0.1:0") as server:
        server.on("order", lambda data, socket: socket.emit("thanks"))
        telemetry.prometheus(server, registry=registry, events=True)
        url = f"tcp://127.0.0.1:{server.port}"
        found: list[float] = []

        def client() -> None:
            with blocking.connect(url) as world:
                world.emit("order", "first")  # with its answer this client is one of the server's links
                world.receive("thanks", timeout=30)
                for _ in range(200):
                    world.emit("order", "x" * 500)
                    with urllib.request.urlopen(page) if _ % 20 == 0 else open("/dev/null", "rb") as answer:
                        text = answer.read().decode()
                    if text:
                        found.append(of(scrape(registry, text), "node_ipc_links_total"))
                    world.receive("thanks", timeout=30)
                world.emit("order", "last")
                world.receive("thanks", timeout=30)
            server_stop.set()

        server_stop = threading.Event()
        thread = threading.Thread(target=client)
        thread.start()
        server.on("close", lambda socket: server.stop())
        server.serve_forever()
        thread.join()
    assert found == [1.0] * 10
    assert of(scrape(registry), "node_ipc_received_messages_total", handler="order") == 202


async def test_an_asyncio_server_and_a_udp_port(registry: CollectorRegistry) -> None:
    async with node_ipc.serve("tcp://127.0.0.1:0") as server, node_ipc.serve_udp("127.0.0.1:0") as port:
        telemetry.prometheus(server, registry=registry, events=True)
        telemetry.prometheus(port, registry=registry, events=True)
        got: list[int] = []
        server.on("order", got.append)
        port.on("order", got.append)
        async with (
            node_ipc.connect(f"tcp://127.0.0.1:{server.port}") as client,
            node_ipc.serve_udp("127.0.0.1:0") as other,
        ):
            client.emit("order", 1)
            other.emit(("127.0.0.1", port.port), "order", 2)
            async with asyncio.timeout(30):
                while len(got) < 2:
                    await asyncio.sleep(0.001)
        text = generate_latest(registry).decode()
        assert text.count("node_ipc_received_processed_messages_total{") == 4
        assert text.count('handler="order",status="acked"} 1.0') == 2
