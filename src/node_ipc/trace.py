"""What happens on the links, told in one place: the log lines and the public ``on_trace`` hear the same calls.

The counters behind ``stats()`` are moved by the very lines that tell a trace, so the two cannot disagree. Without a
listener a trace costs one comparison for each read and each write, and nothing for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Stats", "Trace", "TraceHook"]


class Trace(NamedTuple):
    """One thing that happened."""

    what: str
    """``connecting``, ``retrying``, ``starting``, ``listening``, ``opened``, ``received``, ``sent``, ``dropped``,
    ``error``, ``refused``, ``lost``."""
    endpoint: Any
    """The client or server."""
    socket: Session | None = None
    """The socket it happened on, where there is one."""
    messages: int = 0
    """How many messages (``received``, ``sent``, ``dropped``)."""
    bytes: int = 0
    """How many bytes (``received``, ``sent``)."""
    detail: Any = None
    """The address, the error, the loss, or the delay of a retry in seconds."""


TraceHook = Callable[[Trace], None]


class Stats(msgspec.Struct):
    """Counts since an endpoint was made, or since a socket was opened."""

    messages_in: int = 0
    messages_out: int = 0
    """Given to the kernel."""
    bytes_in: int = 0
    bytes_out: int = 0
    pending_bytes: int = 0
    """Waiting to be sent, now."""
    dropped: int = 0
    """Emitted, and never given to the kernel: lost with a link, or by ``slow_policy``."""
    errors: int = 0
    """``error`` events."""
    retries: int = 0
    """Attempts to connect again (clients)."""
    links: int = 0
    """Links that were up: 1 for a socket, for a client 1 and one more for each reconnect."""
    refused: int = 0
    """Connections refused because of a limit (servers)."""
    late: int = 0
    """Answers that came after their request was given up."""
    seconds: float = 0.0
    """How long ago the counting began."""

    def __iadd__(self, other: Stats) -> Stats:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self
