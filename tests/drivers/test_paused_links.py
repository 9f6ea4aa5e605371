"""Reliability row 54 as a matrix: whatever made this side stop reading, on every driver and transport, the end of the
link is noticed within two seconds, what had arrived is delivered, and the counts are right.

What a peer can make a process hold is listed in ``tests/reliability/test_limits_table.py``; ``PAUSES`` and ``INBOXES``
are those of its rows that stop reading, and a test below holds the two tables together. The peer is a wire.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from test_driver_contract import RIGS, Ledger, MemoryRig, Rig, ThreadRig, made, options

from node_ipc import Config, Loss
from node_ipc.blocking import BlockingClient
from node_ipc.config.address import Udp
from node_ipc.core import incoming, session
from node_ipc.core.client import Client, ClientCore
from node_ipc.core.datagram import DatagramServer
from node_ipc.core.inbox import Inbox
from node_ipc.core.server import Server
from node_ipc.core.session import Session
from node_ipc.net import paused
from stopwatch import Stopwatch

pytestmark = [
    pytest.mark.row(54),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no poll(2): tests/windows says what holds there"),
]

NOTICED_SECONDS = 2.0
FASTER = 10
"""By how much everything that is waited for is shorter where the clock is real; virtual seconds cost nothing."""
FIRST, LATER = 30, 40
"""Messages until reading pauses, and behind that."""
FILLING = "x" * 1000


class Pause(NamedTuple):
    """One way for a client to make a server stop reading from it."""

    reason: str
    """As ``stats().paused`` has it."""
    options: dict[str, Any]
    asks: bool = False
    """By requests instead of events."""
    most_requests: int = incoming.MOST_REQUESTS

    def options_on(self, rig: Rig) -> dict[str, Any]:
        faster = 1 if isinstance(rig, MemoryRig) else FASTER
        return {name: value // faster if name == "close_timeout" else value for name, value in self.options.items()}


PAUSES = {
    "async handlers under way": Pause("handlers", {"max_handler_frames": 2}),
    "messages of async handlers under way, in bytes": Pause("handlers", {"max_handler_bytes": 1500}),
    "what all peers hold": Pause("handlers", {"max_total_received_bytes": 60_000}),
    "requests under way": Pause("handlers", {}, asks=True, most_requests=2),
    "requests under way, in bytes": Pause("handlers", {"max_handler_bytes": 10, "max_request_bytes": 1500}, asks=True),
    # One that only sends nothing more may still take what was emitted: it has close_timeout for that.
    "bytes that it does not read": Pause("outgoing", {"soft_pending_bytes": 1000, "close_timeout": 1000}),
}
INBOXES = {
    "events in an asyncio client's inbox": {"max_unread_events": 5},
    "events in an asyncio client's inbox, in bytes": {"max_unread_bytes": 5000},
    "events in a blocking client's inbox, in bytes": {"max_inbox_bytes": 5000},
}
STREAMS = [f"{name}-{transport}" for name, (_, transports) in RIGS.items() for transport in transports]
PORTS = [f"{name}-{family}" for name, (_, any_) in RIGS.items() if any_ for family in ("udp4", "udp6")]


@pytest.fixture(params=STREAMS)
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    for rig in made(request.param):
        if not isinstance(rig, MemoryRig):
            monkeypatch.setattr(paused, "LOOK_SECONDS", paused.LOOK_SECONDS / FASTER)
            monkeypatch.setattr(session, "ENDING_SECONDS", session.ENDING_SECONDS / FASTER)
        yield rig


@pytest.fixture(params=PORTS)
def post(request: pytest.FixtureRequest) -> Iterator[Rig]:
    yield from made(request.param)


def settings(rig: Rig, **own: Any) -> Any:
    return Config(**options(rig.transport), silent=True, **own).settings()


def frame(type: str, data: Any) -> bytes:
    return json.dumps({"type": type, "data": data}).encode() + b"\f"


def message(number: int, asks: bool = False) -> bytes:
    data = [number, FILLING]
    if asks:
        return frame("rpc.request", {"jsonrpc": "2.0", "id": number, "method": "hold", "params": data})
    return frame("hold", data)


def messages(begin: int, count: int, asks: bool = False) -> bytes:
    """In one piece: many small ones fill a kernel that is not read from, and the last would never have arrived."""
    return b"".join(message(number, asks) for number in range(begin, begin + count))


def kill(rig: Rig, peer: Ledger, verb: str, is_noticed: Callable[[], Any]) -> None:
    began, watch = rig.driver.now(), Stopwatch()
    getattr(peer, verb)()
    rig.until(is_noticed)
    assert (rig.driver.now() - began if isinstance(rig, MemoryRig) else watch.seconds) <= NOTICED_SECONDS


def started(rig: Rig, **own: Any) -> Server:
    server = Server(rig.place, rig.driver, settings(rig, **own))
    begun = server.start()
    rig.until(lambda: begun.done)
    begun.result()
    rig.listeners.append(Closing(server, rig))
    return server


class Closing:
    """Ends an endpoint when the rig is cleared."""

    def __init__(self, endpoint: Any, rig: Rig) -> None:
        self._endpoint = endpoint
        self._rig = rig

    def close(self) -> None:
        self._endpoint.abort()
        self._rig.until(lambda: self._endpoint.closed.done)


@pytest.mark.parametrize("verb", ["close", "abort"])
@pytest.mark.parametrize("why", PAUSES)
def test_a_server_that_does_not_read_hears_of_the_end(
    rig: Rig, why: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = PAUSES[why]
    if pause.reason == "handlers" and isinstance(rig, ThreadRig):
        pytest.skip("no loop, so no async handlers: there is nothing to pause for")
    monkeypatch.setattr(incoming, "MOST_REQUESTS", pause.most_requests)
    server = started(rig, **pause.options_on(rig))
    heard: list[int] = []
    lost: list[Loss] = []
    server.on("socket.disconnected", lambda socket: lost.append(socket.loss))

    async def hold(data: Any) -> None:
        heard.append(data[0])
        await asyncio.sleep(3600)

    def take(data: Any) -> None:
        heard.append(data[0])

    if pause.asks:
        server.handle("hold", hold)
    else:
        server.on("hold", take if pause.reason == "outgoing" else hold)
    peer = rig.open(server.address)
    rig.until(lambda: peer.link and server.sockets)
    (socket,) = server.sockets
    emitted = fill(rig, peer, socket) if pause.reason == "outgoing" else 0
    peer.write(messages(0, FIRST, pause.asks))
    rig.until(lambda: server.stats().paused == {pause.reason: 1})
    peer.write(messages(FIRST, LATER, pause.asks))
    rig.turns()
    assert server.sockets == [socket] and lost == [] and len(heard) < FIRST

    kill(rig, peer, verb, lambda: lost)
    assert server.sockets == [] and len(lost) == 1
    assert sorted(heard) == list(range(FIRST + LATER))
    (loss,) = lost
    if not pause.asks:  # an answer that says it was given up is a message, too
        told = loss.dropped + loss.in_flight
        arrived = peer.bytes.count(b"\f")
        assert arrived + told >= emitted and told <= emitted
    assert (loss.unheard, loss.cut_off) == (0, 0)


def fill(rig: Rig, peer: Ledger, socket: Session) -> int:
    """Emit until the kernel takes nothing more; returns how many messages that were."""
    assert peer.link is not None
    peer.link.pause_reading()
    if isinstance(rig, MemoryRig):
        rig.driver.connections[-1].to_client.stall()
    count = 0
    while not socket.is_reading_paused:
        socket.emit("much", "x" * 65_536)
        count += 1
        assert count < 1000
        rig.turns() if count % 16 == 0 else None
    return count


@pytest.mark.parametrize("verb", ["close", "abort"])
@pytest.mark.parametrize("why", INBOXES)
def test_a_client_that_does_not_read_hears_of_the_end(rig: Rig, why: str, verb: str) -> None:
    is_blocking = isinstance(rig, ThreadRig)
    if is_blocking != ("blocking" in why):
        pytest.skip("the other front's")
    desk, _ = rig.listen()
    client: Any = (BlockingClient if is_blocking else Client)(
        "world", desk.address, rig.driver, settings(rig, retry=60_000, **INBOXES[why])
    )
    inbox: Any = client.inbox if is_blocking else Inbox(client)
    assert inbox.take("hold") is None  # somebody receives these
    lost: list[Loss] = []
    client.on("disconnect", lost.append)
    client.connect()
    rig.until(lambda: client.connected.done and desk.ledgers and desk.ledgers[0].link)
    peer = desk.ledgers[0]
    peer.write(messages(0, FIRST))
    rig.until(lambda: client.stats().paused == {"inbox": 1})
    peer.write(messages(FIRST, LATER))
    rig.turns()
    assert lost == []

    kill(rig, peer, verb, lambda: lost)
    assert len(lost) == 1 and (lost[0].dropped, lost[0].in_flight, lost[0].cut_off) == (0, 0, 0)
    came = [found.data[0] for found in iter(lambda: inbox.take("hold"), None)]
    assert came == list(range(FIRST + LATER)) and lost[0].unheard == 0
    ClientCore.abort(client)  # a blocking client's own would wait, and close the driver, which the rig needs
    rig.until(lambda: client.closed.done)


def test_a_udp_port_whose_handlers_never_end_forgets_who_is_gone(post: Rig) -> None:
    """UDP has no links: that somebody is gone is silence, and costs others nothing."""
    if isinstance(post, ThreadRig):
        pytest.skip("no loop, so no async handlers: there is nothing to pause for")
    server = DatagramServer(post.place, post.driver, settings(post, udp_peer_ttl=500, max_handler_frames=1))
    begun = server.start()
    post.until(lambda: begun.done)
    begun.result()
    post.listeners.append(Closing(server, post))
    heard: list[int] = []

    async def hold(data: Any) -> None:
        heard.append(data[0])
        await asyncio.sleep(3600)

    server.on("hold", hold)
    gone = DatagramServer(post.place, post.driver, settings(post))
    begun_too = gone.start()
    post.until(lambda: begun_too.done)
    begun_too.result()
    assert isinstance(server.address, Udp)
    for number in range(3):
        gone.emit((server.address.host, server.address.port), "hold", [number, "x"])
    post.until(lambda: len(heard) == 3)
    assert len(server.sockets) == 1
    began, watch = post.driver.now(), Stopwatch()
    gone.abort()
    if isinstance(post, MemoryRig):
        post.driver.advance(1)  # nothing is due: who is silent is forgotten when somebody looks
    post.until(lambda: not server.sockets)
    assert (post.driver.now() - began if isinstance(post, MemoryRig) else watch.seconds) <= NOTICED_SECONDS
    assert server.stats().dropped == 0


def test_the_matrix_has_every_row_of_the_table_that_stops_reading() -> None:
    """By the option that is the limit: what is not here does not stop reading, and says so."""
    from reliability.test_limits_table import ROWS

    assert {*PAUSES, *INBOXES} - {row.what for row in ROWS} == {"what all peers hold"}
