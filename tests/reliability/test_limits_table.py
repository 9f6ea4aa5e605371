"""Everything that a peer can make this process hold or do, with its limits and the test that proves them.

How to add a row: say in plain words what a peer can cause; name the limit for one peer and the one for all peers
together, each as an option of ``Config`` with its default, as a constant (``module.NAME``), or as ``NONE`` with the
reason why there need not be one; and name a test as ``file::function``. The tests below check that options, defaults,
constants and proofs exist.
"""

from __future__ import annotations

import ast
import importlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from node_ipc import Config

TESTS = Path(__file__).parent.parent
KIB, MIB = 1024, 1024 * 1024


class Limit(NamedTuple):
    """An option (``max_message_size``) or a constant below ``node_ipc`` (``core.incoming.MOST_REQUESTS``)."""

    name: str
    value: float | None
    """The default, in the unit of the option."""


class NONE(NamedTuple):
    """There is no such limit, and need not be."""

    why: str


class Row(NamedTuple):
    what: str
    """What a peer can make the process hold or do."""
    peer: Limit | NONE
    """The limit for one peer."""
    process: Limit | NONE
    """The limit for all peers of an endpoint, or of the process."""
    proof: str
    """``file::function`` below ``tests/``."""


PER_PEER = NONE("it is bounded for each peer, and so are the peers")
ONE_SERVER = NONE("a client has one server, and a program as many clients as it makes")
CONNECTIONS = Limit("max_connections", 100)

ROWS = [
    # ---- hold
    Row("connections", Limit("max_connections_per_host", None), CONNECTIONS, "core/test_server.py::test_quotas"),
    Row(
        "connections of one user",
        Limit("max_connections_per_uid", None),
        CONNECTIONS,
        "core/test_server.py::test_quotas",
    ),
    Row(
        "a half received message",
        Limit("max_message_size", 16 * MIB),
        Limit("max_total_received_bytes", 256 * MIB),
        "core/test_holdings.py::test_half_messages_of_all_peers_together_are_bounded_and_the_largest_goes",
    ),
    Row(
        "the objects of one message",
        Limit("max_message_values", 600_000),
        NONE("one message is decoded at a time"),
        "wire/test_costs.py::test_as_many_values_as_may_be_and_one_more",
    ),
    Row(
        "messages of async handlers under way, in bytes",
        Limit("max_handler_bytes", MIB),
        Limit("max_total_received_bytes", 256 * MIB),
        "core/test_holdings.py::test_what_handlers_of_all_peers_hold_together_is_bounded_and_small_messages_go_on",
    ),
    Row(
        "async handlers under way",
        Limit("max_handler_frames", 1000),
        CONNECTIONS,
        "core/test_session.py::test_slow_handlers_make_the_sender_wait",
    ),
    Row(
        "requests under way, in bytes",
        Limit("max_request_bytes", 8 * MIB),
        Limit("max_total_received_bytes", 256 * MIB),
        "core/test_holdings.py::test_requests_under_way_are_weighed",
    ),
    Row(
        "requests under way",
        Limit("core.incoming.MOST_REQUESTS", 16_384),
        Limit("max_total_received_bytes", 256 * MIB),
        "core/test_holdings.py::test_requests_under_way_are_weighed",
    ),
    Row(
        "bytes that it does not read",
        Limit("max_pending_bytes", 8 * MIB),
        Limit("max_total_pending_bytes", 256 * MIB),
        "core/test_server.py::test_one_slow_peer_is_cut_and_the_others_get_everything",
    ),
    Row(
        "what is kept of a link that is lost",
        NONE("nothing: link, half message and TLS buffers go with it"),
        PER_PEER,
        "reliability/test_memory.py::test_what_peers_make_a_process_hold",
    ),
    Row(
        "messages read behind handlers or an inbox for signs of life, in bytes, in one pause",
        Limit("core.incoming.PEEKED_BYTES", MIB),
        CONNECTIONS,
        "core/test_pauses.py::test_what_is_read_for_signs_of_life_is_bounded",
    ),
    Row(
        "what it sent before it went away while nothing was read",
        NONE("the kernel's buffer of its socket, and only once"),
        CONNECTIONS,
        "core/test_pauses.py::test_the_end_is_heard_behind_handlers_that_never_end_and_all_that_came_before_it",
    ),
    Row(
        "events in an asyncio client's inbox",
        Limit("max_unread_events", 1000),
        ONE_SERVER,
        "core/test_inbox.py::test_what_nobody_asks_for_never_stops_what_others_hear",
    ),
    Row(
        "events in an asyncio client's inbox, in bytes",
        Limit("max_unread_bytes", MIB),
        ONE_SERVER,
        "core/test_inbox.py::test_events_weigh_what_they_have_on_the_wire_though_they_are_decoded",
    ),
    Row(
        "the same while a call waits for what is behind them",
        Limit("max_pending_bytes", 8 * MIB),
        ONE_SERVER,
        "core/test_inbox.py::test_a_call_that_waits_for_another_event_gets_past_those_that_somebody_receives",
    ),
    Row(
        "events in a blocking client's inbox, in bytes",
        Limit("max_inbox_bytes", 64 * MIB),
        ONE_SERVER,
        "test_blocking.py::test_a_full_inbox_raises_and_nothing_is_lost",
    ),
    Row(
        "async handlers of datagrams under way",
        NONE("an address costs nothing: all of them share the port's limit"),
        Limit("core.datagram.MOST_HANDLERS", 16_384),
        "core/test_datagram.py::test_what_waited_for_handlers_leaves_room_for_more",
    ),
    Row(
        "datagrams that wait for handlers, in bytes",
        NONE("an address costs nothing: all of them share the port's limit"),
        Limit("max_handler_bytes", MIB),
        "core/test_datagram.py::test_what_waited_for_handlers_leaves_room_for_more",
    ),
    Row(
        "places in the table of UDP addresses",
        NONE("an address is one place"),
        Limit("max_udp_peers", 1024),
        "core/test_datagram.py::test_the_table_is_bounded_and_full_means_that_newcomers_are_served_but_not_remembered",
    ),
    Row(
        "messages to a server that is not there, or that does not answer in sync mode",
        Limit("max_queued_messages", 1000),
        ONE_SERVER,
        "core/test_client.py::test_the_queue_has_an_end",
    ),
    Row(
        "the same, in bytes",
        Limit("max_queued_bytes", 2 * MIB),
        ONE_SERVER,
        "core/test_client.py::test_the_queue_has_an_end",
    ),
    Row(
        "an event's name, in characters",
        Limit("max_event_name_length", 256),
        PER_PEER,
        "config/test_config_effects.py::test_max_event_name_length",
    ),
    Row(
        "a place in the table of UDP addresses without a word, in ms",
        Limit("udp_peer_ttl", 25_000),
        Limit("max_udp_peers", 1024),
        "core/test_datagram.py::test_the_ttl_is_25_seconds_and_an_option",
    ),
    Row(
        "rooms that a handler lets it join",
        Limit("max_rooms_per_socket", 10_000),
        PER_PEER,
        "core/test_rooms.py::test_a_socket_is_in_so_many_rooms_at_the_most",
    ),
    Row(
        "other servers on a bus that are remembered",
        NONE("a node is one of them, and what is kept of it is bounded by the rooms that this server has"),
        Limit("cluster.members.MOST_NODES", 10_000),
        "cluster/test_node.py::test_nobody_can_invent_more_nodes_than_there_may_be",
    ),
    # ---- do
    Row(
        "lines in the log a second, of one kind of error",
        NONE("a peer that comes back is somebody new: all of them share the endpoint's limit"),
        Limit("config.logs.LINES_A_SECOND", 5),
        "reliability/test_foreign_code.py::test_peers_that_reconnect_write_no_more_lines_than_one",
    ),
    Row(
        "links in a row that a server ends with protocol errors, before its client gives up",
        Limit("max_protocol_errors", 5),
        ONE_SERVER,
        "core/test_client.py::test_protocol_errors_end_a_client_after_five_in_a_row",
    ),
    Row(
        "be silent while a heartbeat asks, in ms",
        Limit("heartbeat_timeout", 20_000),
        CONNECTIONS,
        "core/test_heartbeat.py::test_a_silent_peer_is_cut_by_the_server_when_the_time_is_over",
    ),
    Row(
        "hold up a server that stops, in ms",
        Limit("close_timeout", 5_000),
        Limit("close_timeout", 5_000),
        "core/test_server.py::test_a_link_that_opens_while_the_server_stops_and_does_not_end_is_cut_in_time",
    ),
    Row(
        "raise anything but one documented error, whatever is in whatever member",
        PER_PEER,
        PER_PEER,
        "reliability/test_hostile_values.py::test_a_server_takes_every_value_in_every_member",
    ),
    Row(
        "recurse into a payload",
        Limit("wire.costs.DEEPEST", 400),
        PER_PEER,
        "reliability/test_hostile_values.py::test_a_blocking_server_outlives_the_name_that_is_nested_too_deeply",
    ),
    Row(
        "wait for the rest of a message, in ms",
        Limit("message_timeout", 30_000),
        CONNECTIONS,
        "reliability/test_delivery.py::test_half_frames_expire_and_whole_streams_do_not",
    ),
    Row(
        "be gone unnoticed while nothing is read from it, in seconds",
        Limit("net.paused.LOOK_SECONDS", 0.5),
        PER_PEER,
        "drivers/test_driver_contract.py::"
        "test_a_reader_that_is_paused_hears_of_the_end_and_then_reads_what_came_before",
    ),
    Row(
        "take nothing of what waits for it, in ms",
        Limit("slow_timeout", 10_000),
        CONNECTIONS,
        "core/test_server.py::test_one_slow_peer_is_cut_and_the_others_get_everything",
    ),
    Row(
        "stand in the TLS handshake, in ms",
        Limit("handshake_timeout", 10_000),
        CONNECTIONS,
        "net/test_tls_link.py::test_half_of_the_connections_may_be_unfinished_handshakes",
    ),
    Row(
        "send to a forged address by us, times its own bytes",
        Limit("core.datagram.AMPLIFICATION", 3),
        PER_PEER,
        "core/test_datagram.py::test_a_newcomer_that_is_not_remembered_has_three_times_each_datagram",
    ),
    Row(
        "end a link because the kernel cannot watch one more socket",
        NONE("that link ends with an error, at once"),
        CONNECTIONS,
        "net/test_stream.py::test_a_kernel_that_cannot_watch_a_link_ends_it_with_an_error",
    ),
]
"""Sorted into what it can make us hold and what it can make us do."""


NOT_OF_PEERS = {
    "backlog": "the kernel's: connections that are not accepted yet cost this process nothing",
    "connect_timeout": "how long whoever calls waits; no peer can make it longer",
    "max_bus_pending_bytes": "what this server's own emits leave waiting for its bus: no peer adds to it",
    "max_bus_pending_messages": "the same, counted",
    "max_retries": "how often we ask, at growing intervals; it costs one timer",
}
"""Options that look like limits and bound nothing that a peer causes, with the reason."""


def test_every_option_that_is_a_limit_is_in_the_table() -> None:
    options = {
        name for name in dir(Config) if name.startswith("max_") or name.endswith(("_timeout", "_ttl", "backlog"))
    }
    assert len(options) > 20
    listed = {limit.name for row in ROWS for limit in (row.peer, row.process) if isinstance(limit, Limit)}
    assert options - listed == set(NOT_OF_PEERS)


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_each_limit_is_what_the_table_says(row: Row) -> None:
    for limit in (row.peer, row.process):
        if isinstance(limit, Limit):
            assert _value(limit.name) == limit.value, limit.name
        else:
            assert limit.why
    file, _, function = row.proof.partition("::")
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert function in functions, f"no test {row.proof}"


def _value(name: str) -> Any:
    module, _, constant = name.rpartition(".")
    if module:
        return getattr(importlib.import_module(f"node_ipc.{module}"), constant)
    value = getattr(Config().settings(), name)
    return None if value is None or math.isinf(value) else value
