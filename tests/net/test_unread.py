"""What Linux says of bytes that were sent."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from node_ipc.net.unread import all_arrived, unread_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")


@pytest.fixture(params=[socket.AF_UNIX, socket.AF_INET])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    if request.param == socket.AF_UNIX:
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def test_a_unix_socket_knows_what_its_peer_has_read() -> None:
    ours, theirs = socket.socketpair()
    assert unread_bytes(ours) == 0
    for _ in range(3):
        ours.send(b"x" * 1000)
    before = unread_bytes(ours)
    assert before is not None and before >= 3000
    theirs.recv(1000)
    after = unread_bytes(ours)
    assert after is not None and 2000 <= after < before
    theirs.recv(4000)
    assert unread_bytes(ours) == 0
    ours.close()
    theirs.close()


def test_of_a_dead_peer_nothing_is_known() -> None:
    """The kernel throws away what it had not read, and counts 0."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.send(b"x")
        theirs.close()
        assert unread_bytes(ours) is None


def test_a_peer_that_only_ended_its_own_direction_still_reads() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        assert unread_bytes(ours) == 0


def test_what_arrived_at_the_peers_kernel(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.send(b"x")
    ours.shutdown(socket.SHUT_WR)
    theirs.recv(10)
    theirs.close()
    assert ours.recv(10) == b""
    assert all_arrived(ours)


def test_what_its_kernel_has_no_room_for_has_not_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(listener.getsockname()) as ours:
            ours.setblocking(False)
            ours.send(b"x" * 1_000_000)
            assert not all_arrived(ours)
