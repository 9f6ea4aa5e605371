"""The code's five tables of states, as graphs: what each state leads to by each input.

The code's tables name methods; which states may follow is said here, and tests hold both together: the same rows, and
what was seen of the real code while its models and schedules ran is among what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from life_model import CLIENT, NOT_CLIENT, NOT_SERVER, SERVER
from state_space import Space, Step

from node_ipc.cluster import node
from node_ipc.core import client, endpoint, life, session
from node_ipc.net import tls_link

Follows = dict[tuple[str, str], set[str]]

OVER = {"LOST", "GONE"}
SESSION: Follows = {
    ("WAITING", "opened"): {"OPEN", "CLOSING", "CUT", "FINISHING"},
    ("WAITING", "failed"): {"GONE"},
    ("WAITING", "lost"): {"GONE"},
    ("OPEN", "peer leaves"): {"LEFT", "CLOSING", "CUT"},
    ("OPEN", "peer ended"): {"HOLDING", "CLOSING"},
    **{(state, "close"): {"CLOSING"} for state in ("OPEN", "LEFT", "HOLDING", "ANSWERING", "FINISHING")},
    **{(state, "finish"): {"FINISHING"} for state in ("OPEN", "LEFT", "HOLDING", "ANSWERING")},
    **{(state, "abort"): {"CLOSING"} for state in ("OPEN", "LEFT", "HOLDING", "ANSWERING", "FINISHING", "CLOSING")},
    **{
        (state, "cut"): {"CUT"}
        for state in ("OPEN", "LEFT", "HOLDING", "ANSWERING", "FINISHING", "CLOSING", "ANSWERED", "BROKEN")
    },
    **{(state, "lost"): {"BROKEN", *OVER} for state in ("OPEN", "LEFT", "HOLDING", "ANSWERING", "BROKEN")},
    **{(state, "lost"): OVER for state in ("FINISHING", "CLOSING", "ANSWERED", "CUT", "LOST")},
    ("LEFT", "peer ended"): {"ANSWERING", "CLOSING"},
    ("HOLDING", "caught up"): {"CLOSING"},
    ("ANSWERING", "caught up"): {"ANSWERING", "CLOSING"},
    ("ANSWERING", "overdue"): {"CLOSING"},
    ("FINISHING", "answered"): {"CLOSING"},
    ("FINISHING", "peer ended"): {"CLOSING"},
    ("CLOSING", "emptied"): {"CLOSING"},
    ("CLOSING", "peer ended"): {"CLOSING", "ANSWERED"},
    ("ANSWERED", "emptied"): {"ANSWERED"},
    ("ANSWERED", "abort"): {"ANSWERED"},
    ("CUT", "abort"): {"CUT"},
    ("BROKEN", "close"): {"BROKEN"},
    ("BROKEN", "abort"): {"BROKEN"},
}
TLS: Follows = {
    ("WAITING", "opened"): {"SHAKING"},
    ("WAITING", "failed"): {"GONE"},
    ("WAITING", "given up"): {"REFUSED"},
    ("SHAKING", "established"): {"OPEN"},
    ("SHAKING", "fault"): {"REFUSED"},
    ("SHAKING", "given up"): {"REFUSED"},
    ("SHAKING", "carrier ended"): {"REFUSED"},
    ("SHAKING", "lost"): {"GONE"},
    ("OPEN", "peer ended"): {"ENDED", "CLOSED"},
    ("OPEN", "close"): {"CLOSING"},
    **{(state, "abort"): {"CUT"} for state in ("OPEN", "ENDED", "CLOSING", "CLOSED", "CUT")},
    **{(state, "fault"): {"CUT"} for state in ("OPEN", "ENDED", "CLOSING")},
    **{(state, "lost"): {"GONE"} for state in ("OPEN", "ENDED", "CLOSING", "CLOSED", "REFUSED", "CUT")},
    ("OPEN", "carrier ended"): {"CUT"},
    ("CLOSING", "carrier ended"): {"CLOSING"},
    ("ENDED", "close"): {"CLOSED"},
    ("CLOSING", "peer ended"): {"CLOSED"},
    ("CLOSED", "carrier ended"): {"CLOSED"},
    ("REFUSED", "opened"): {"REFUSED"},
    ("REFUSED", "failed"): {"GONE"},
    ("REFUSED", "carrier ended"): {"REFUSED"},
    ("CUT", "carrier ended"): {"CUT"},
}
NODE: Follows = {
    ("DOWN", "up"): {"JOINING"},
    ("DOWN", "close"): {"CLOSED"},
    ("JOINING", "confirmed"): {"JOINING", "UP"},
    ("JOINING", "all heard"): {"UP"},
    ("JOINING", "late"): {"UP"},
    ("JOINING", "down"): {"DOWN"},
    ("JOINING", "close"): {"CLOSING", "CLOSED"},
    ("UP", "down"): {"DOWN"},
    ("UP", "close"): {"CLOSING", "CLOSED"},
    ("UP", "writable"): {"UP"},
    ("CLOSING", "writable"): {"CLOSING", "CLOSED"},
    ("CLOSING", "down"): {"CLOSED"},
    ("CLOSING", "late"): {"CLOSED"},
}
WHOLE_CLIENT: Follows = {
    **CLIENT,
    ("CONNECTING", "failed"): {"WAITING", "CLOSED", "CONNECTING", "CLOSING"},
    ("CONNECTED", "lost"): {"WAITING", "CLOSED", "CLOSING"},
    ("WAITING", "retry"): {"CONNECTING", "CLOSED"},
    ("CONNECTING", "abandoned"): {"WAITING"},
    ("CONNECTING", "interrupted"): {"WAITING"},
    ("CONNECTING", "lost"): {"WAITING"},
    ("CONNECTED", "abandoned"): {"CONNECTED"},
    ("CONNECTED", "interrupted"): {"CONNECTED"},
    ("WAITING", "abandoned"): {"WAITING"},
    ("WAITING", "interrupted"): {"WAITING"},
    ("CLOSING", "abandoned"): {"CLOSING", "CLOSED", "CONNECTING"},
    ("CLOSING", "interrupted"): {"CLOSING"},
    ("CLOSED", "interrupted"): {"CLOSED"},
    ("CLOSED", "close"): {"CLOSED"},
    ("CONNECTED", "close"): {"CLOSING", "CONNECTED"},
}
WHOLE_SERVER: Follows = {
    **SERVER,
    **{row: {"CLOSED"} for row in NOT_SERVER},
    ("CLOSING", "failed"): {"CLOSED", "STARTING"},
}


class Table(NamedTuple):
    """One of the code's tables."""

    name: str
    code: dict[Any, str]
    follows: Follows
    first: str
    ends: frozenset[str]
    """States in which nothing is left to do: one of them can always be come to."""
    methods: Callable[[], Any]
    """The class that has them."""


TABLES = (
    Table("client", client.TRANSITIONS, WHOLE_CLIENT, "IDLE", frozenset({"CLOSED"}), lambda: client.Client),
    Table(
        "server", endpoint.TRANSITIONS, WHOLE_SERVER, "IDLE", frozenset({"CLOSED"}), lambda: endpoint.SocketPublisher
    ),
    Table("session", life.TRANSITIONS, SESSION, "WAITING", frozenset({"GONE"}), lambda: session.Session),
    Table("TLS link", tls_link.TRANSITIONS, TLS, "WAITING", frozenset({"GONE"}), lambda: tls_link.TLSLink),
    Table("bus", node.TRANSITIONS, NODE, "DOWN", frozenset({"CLOSED"}), lambda: node.Node),
)


def rows(table: Table) -> set[tuple[str, str]]:
    """What the code's table has."""
    return {(state.name, name) for state, name in table.code}


def space(table: Table) -> Space[str]:
    """The graph."""

    def steps(state: str) -> list[Step[str]]:
        return [
            Step(name, to) for (before, name), after in table.follows.items() if before == state for to in sorted(after)
        ]

    return Space(table.first, steps)


__all__ = ["NOT_CLIENT", "NOT_SERVER", "TABLES", "Table", "rows", "space"]
