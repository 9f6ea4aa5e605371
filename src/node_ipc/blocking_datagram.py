"""UDP in the blocking front; apart from ``blocking.py``, so that only who uses it loads it."""

from __future__ import annotations

from .core.datagram import DatagramCore, DatagramPeer, DatagramServer
from .drivers.calling import Serving

__all__ = ["BlockingDatagramServer"]


class BlockingDatagramServer(Serving[DatagramPeer], DatagramCore):
    """A UDP port whose handlers run in the thread that calls. Made by ``blocking.serve_udp``, a context manager."""

    _made_by = "blocking.serve_udp('host:port')"
    takes_options = "to serve_udp(…, {}=…)"


DatagramServer.register(BlockingDatagramServer)
