"""The outgoing half, where its session ends."""

from __future__ import annotations

import gc
import weakref

from node_ipc.core.outgoing import Outgoing
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Wire, serve


def test_nothing_waits_for_a_link_that_is_lost() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    Wire.connected(driver, server.address)
    driver.run_until_idle()
    (socket,) = server.sockets
    outgoing: Outgoing = socket.outgoing
    outgoing.pause()
    for _ in range(3):
        socket.emit("n", "x" * 2000)
    assert socket.is_full and socket.pending_bytes > 6000
    socket.abort()
    driver.run_until_idle()
    assert socket.loss is not None and socket.loss.dropped == 3
    assert socket.pending_bytes == 0


def test_a_lost_session_is_freed_at_once() -> None:
    """Not when the cyclic collector comes: it holds what the application keeps in ``state``."""
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    driver.run_until_idle()
    session = weakref.ref(server.sockets[0])
    gc.disable()
    try:
        wire.abort()
        driver.run_until_idle()
        del wire
        assert session() is None
    finally:
        gc.enable()
