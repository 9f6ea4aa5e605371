"""The trace hook and the statistics, which are moved by the same lines."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import asdict

from node_ipc import Client, ClientState, Config, Trace
from node_ipc.core.trace import BusStats, Stats
from node_ipc.testing import MemoryDriver, Wire, pair, serve


def test_traffic_may_be_left_out() -> None:
    whole: list[str] = []
    quiet: list[str] = []
    client, server, _, driver = pair()
    server.on("n", lambda data: None)
    for endpoint in (client, server):
        endpoint.on_trace(lambda trace: whole.append(trace.what))
        undo = endpoint.on_trace(lambda trace: quiet.append(trace.what), traffic=False)
    client.emit("n", 1)
    driver.run_until_idle()
    assert sorted(whole) == ["received", "sent"] and quiet == []
    undo()
    undo()
    client.close()
    driver.run_until_idle()
    assert whole.count("lost") == 2 and quiet == ["lost"]


def test_who_hears_every_endpoint_hears_those_that_are_made_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Trace] = []
    monkeypatch.setattr("node_ipc.core.trace.EVERYWHERE", [told.append])
    server = serve(MemoryDriver())
    assert [(each.what, each.endpoint, each.messages) for each in told] == [
        ("starting", server, 0),
        ("listening", server, 0),
    ]


def test_a_trace_of_something_else_than_messages_has_none() -> None:
    assert tuple(Trace("opened", 1)) == ("opened", 1, None, 0, 0, None)


def test_what_cannot_be_called_is_no_hook() -> None:
    hook: Any = "print"
    with pytest.raises(TypeError, match=r"an on_trace hook is called with each trace: on_trace\(print\), not 'print'"):
        serve(MemoryDriver()).on_trace(hook)


@pytest.mark.parametrize("fresh", [Stats(), BusStats("hub", "up")])
def test_every_count_begins_at_nothing(fresh: Stats | BusStats) -> None:
    others: dict[str, Any] = (
        {"engine": "hub", "state": "up"} if isinstance(fresh, BusStats) else {"paused": {}, "bus": None}
    )
    assert asdict(fresh) == {**dict.fromkeys(fresh.__struct_fields__, 0), **others}


def test_links_that_are_not_read_are_added_up_by_what_they_wait_for() -> None:
    total = Stats(paused={"inbox": 1})
    total += Stats(paused={"inbox": 2, "handlers": 1})
    assert total.paused == {"inbox": 3, "handlers": 1}


def test_the_counters_and_the_traces_agree() -> None:
    ends = pair()
    traces: list[Trace] = []
    ends.client.on_trace(traces.append)
    ends.server.on_trace(traces.append)
    before = (ends.client.stats(), ends.server.stats())
    ends.server.on("echo", lambda data, socket: socket.emit("echo", data))
    for number in range(1000):
        ends.client.emit("echo", number)
    ends.driver.run_until_idle()
    told: Counter[tuple[str, str, str]] = Counter()
    for trace in traces:
        told[type(trace.endpoint).__name__, trace.what, "messages"] += trace.messages
        told[type(trace.endpoint).__name__, trace.what, "bytes"] += trace.bytes
    for name, was, now in (
        ("Client", before[0], ends.client.stats()),
        ("Server", before[1], ends.server.stats()),
    ):
        assert told[name, "received", "messages"] == now.messages_in - was.messages_in == 1000
        assert told[name, "sent", "messages"] == now.messages_out - was.messages_out == 1000
        assert told[name, "received", "bytes"] == now.bytes_in - was.bytes_in
        assert told[name, "sent", "bytes"] == now.bytes_out - was.bytes_out
    assert ends.client.stats().bytes_out == ends.server.stats().bytes_in


def test_what_a_link_goes_through_is_told_in_order() -> None:
    driver = MemoryDriver()
    ends = pair(driver=driver)
    told: list[str] = []
    undo = ends.client.on_trace(lambda trace: told.append(trace.what))
    ends.connection.drop()
    driver.run_until(lambda: ends.client.stats().links == 2)
    assert told == ["error", "lost", "retrying", "connecting", "opened"]
    undo()
    undo()
    ends.client.close()
    driver.run_until(ends.client.closed)
    assert told[5:] == []
    stats = ends.client.stats()
    assert (stats.retries, stats.links) == (1, 2)


def test_the_end_of_a_link_is_told_with_its_loss() -> None:
    ends = pair()
    told: list[Any] = []
    ends.server.on_trace(lambda trace: told.append((trace.what, trace.detail)), traffic=False)
    ends.socket.close()
    ends.driver.run_until_idle()
    assert ("lost", ends.socket.loss) in told and ends.socket.loss is not None


def test_sockets_that_are_gone_still_count_for_the_server() -> None:
    ends = pair()
    ends.client.emit("one")
    ends.driver.run_until_idle()
    ends.client.close()
    ends.driver.run_until(lambda: not ends.server.sockets)
    stats = ends.server.stats()
    assert (stats.messages_in, stats.links) == (1, 1)
    ends.driver.advance(5)
    assert ends.server.stats().seconds >= 5


def test_errors_and_refusals_are_counted_and_told() -> None:
    driver = MemoryDriver()
    server = serve(driver, max_connections=1)
    told: list[Trace] = []
    server.on_trace(told.append)
    server.on("error", lambda error: None)
    first = Wire.connected(driver, server.address)
    second = Wire.connected(driver, server.address)
    assert second.link is None or second.is_lost or second.has_ended
    first.write(b"not json\f")
    driver.run_until_idle()
    whats = Counter(trace.what for trace in told)
    assert whats["refused"] == server.stats().refused == 1
    assert whats["error"] == server.stats().errors == 1


def test_what_was_dropped_is_counted_and_told() -> None:
    ends = pair()
    told: list[Trace] = []
    ends.server.on_trace(told.append)
    ends.connection.stall()
    while ends.socket.emit("fill", "x" * 100_000):
        pass
    ends.socket.emit("fill")
    ends.socket.abort()
    ends.driver.run_until_idle()
    loss = ends.socket.loss
    assert loss is not None and loss.dropped > 0
    assert sum(trace.messages for trace in told if trace.what == "dropped") == loss.dropped
    assert ends.server.stats().dropped == loss.dropped


def test_what_was_queued_and_never_sent_is_counted_and_told() -> None:
    ends = pair()
    told: list[Trace] = []
    ends.client.on_trace(told.append)
    ends.connection.drop()
    ends.driver.run_until(lambda: ends.client.state is ClientState.WAITING)
    for _ in range(5):
        ends.client.emit("x")
    ends.client.close()
    ends.driver.run_until(ends.client.closed)
    assert [trace.messages for trace in told if trace.what == "dropped"] == [5]
    assert ends.client.stats().dropped == 5


def test_log_payloads_shows_each_event_in_and_out() -> None:
    ends = pair()
    ends.server.on("echo", lambda data, socket: socket.emit("echo", data))
    heard: list[Any] = []
    client = Client("world", ends.server.address, ends.driver, Config().settings())
    client.log_payloads(lambda *words: heard.append(words))
    client.connect()
    client.emit("echo", {"a": 1})
    ends.driver.run_until_idle()
    assert heard == [("dispatching event", "echo", {"a": 1}), ("received event", "echo", {"a": 1})]
