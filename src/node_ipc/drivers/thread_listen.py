"""Listening in the caller's thread. The driver waits for the system's resolver, which has no other way."""

from __future__ import annotations

import socket

from ..core.seam import Peer, Receiver
from ..net.listen import LOOKUP, StreamListener
from ..net.stream import StreamLink

__all__ = ["CallerListener"]


class CallerListener(StreamListener):
    """Listens as soon as it begins."""

    def begin(self) -> None:
        """Begin, unless it was closed before."""
        if self._closed:
            return
        try:
            named = self._prepare()
            resolved = [] if named is None else socket.getaddrinfo(named.host, named.port, **LOOKUP)
        except Exception as error:
            self._fail(error)
        else:
            self._begin_at(resolved)

    def _carry(self, sock: socket.socket, peer: Peer, receiver: Receiver) -> None:
        StreamLink(self._driver, sock, peer, receiver).start(alone=False)
