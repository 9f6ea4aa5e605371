"""UDP in the blocking front; apart from ``blocking.py``, so that only who uses it loads it."""

from __future__ import annotations

from typing import Any

from .blocking import Serving, finish
from .core.datagram import DatagramServer
from .drivers.thread import ThreadDriver

__all__ = ["BlockingDatagramServer"]


class BlockingDatagramServer(Serving, DatagramServer):
    """A UDP port whose handlers run in the thread that calls. Made by ``blocking.serve``, a context manager."""

    _made_by = "blocking.serve_udp('host:port')"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert isinstance(self._driver, ThreadDriver)
        self._thread = self._driver

    def stop(self, timeout: float | None = None) -> None:  # type: ignore[override]  # this front waits for it
        """Give the port back. In a handler this only begins, and the call that waits does the rest."""
        super().stop(timeout)
        finish(self._thread, self.closed)

    def abort(self) -> None:
        """Give the port back at once."""
        super(Serving, self).stop(0.0)
        finish(self._thread, self.closed)
