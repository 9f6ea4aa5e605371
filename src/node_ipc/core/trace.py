"""What happens on the links, told in one place: the log lines and the public ``on_trace`` hear the same calls.

The counters behind ``stats()`` are moved by the very lines that tell a trace, so the two cannot disagree. Without a
listener a trace costs one comparison for each read and each write, and nothing for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ..config.foreign import Foreign

__all__ = ["EVERYWHERE", "BusStats", "Stats", "Trace", "TraceHook", "Traces"]


class Trace(NamedTuple):
    """One thing that happened.

    Attributes:
        what: ``connecting``, ``retrying``, ``starting``, ``listening``, ``opened``, ``received``, ``sent``,
            ``dropped``, ``replaced``, ``error``, ``refused``, ``paused`` (reading, for a second or more; once for each
            link and reason), ``unheard`` (requests that nobody answers, and events that nobody hears: at a server, or
            where their name is nearly a handler's or is a method's; once for each name), ``mistake`` (something else
            that is hardly meant so; once), ``unsent`` (a client ended before all was sent), ``unread`` (a request
            failed, and nobody looked at its outcome; whatever thread dropped that tells), ``lost``.
        endpoint: The client or server.
        socket: The socket it happened on, where there is one; with UDP the ``DatagramPeer``.
        messages: How many messages (``received``, ``sent``, ``dropped``, ``replaced``, ``unsent``).
        bytes: How many bytes (``received``, ``sent``).
        detail: The address, the error, the loss, the delay of a retry in seconds, or of ``unheard``, ``mistake``,
            ``unsent`` and ``unread`` a sentence.

    Example:
        >>> def slow(trace):
        ...     if trace.what in ("paused", "dropped"):
        ...         print(trace.what, trace.socket, trace.detail)
        >>> undo = server.on_trace(slow)  # and undo() when nobody wants to hear it any more
    """

    what: str
    endpoint: Any
    socket: Any = None
    messages: int = 0
    bytes: int = 0
    detail: Any = None


TraceHook = Callable[[Trace], None]


EVERYWHERE: list[TraceHook] = []
"""Who listens to every endpoint that is made from now on, without its traffic; see ``node_ipc.environment``."""


class Traces:
    """Who listens to one endpoint.

    ``changed`` is called when somebody comes or goes: the links are told then who hears them.
    """

    __slots__ = ("_all", "_changed", "_traffic")

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._all: list[TraceHook] = [Foreign("a hook of every endpoint", hook) for hook in EVERYWHERE]
        self._traffic: list[TraceHook] = []

    def add(self, hook: TraceHook, traffic: bool) -> Callable[[], None]:
        """Tell ``hook`` from now on, with ``traffic`` also of each read and write; returns the undoing."""
        if not callable(hook):
            raise TypeError(f"an on_trace hook is called with each trace: on_trace(print), not {hook!r:.80}")
        lists = (self._all, self._traffic) if traffic else (self._all,)
        hook = Foreign("an on_trace hook", hook)
        for hooks in lists:
            hooks.append(hook)
        self._changed()

        def undo() -> None:
            for hooks in lists:
                if hook in hooks:
                    hooks.remove(hook)
            self._changed()

        return undo

    @property
    def all(self) -> TraceHook | None:
        """What a link calls with all but ``sent`` and ``received``; None while nobody listens."""
        return self.tell if self._all else None

    @property
    def traffic(self) -> TraceHook | None:
        """What a link calls with ``sent`` and ``received``; None while nobody listens to those."""
        return self._tell_traffic if self._traffic else None

    def tell(self, trace: Trace) -> None:
        for hook in tuple(self._all):
            hook(trace)

    def _tell_traffic(self, trace: Trace) -> None:
        for hook in tuple(self._traffic):
            hook(trace)


class BusStats(msgspec.Struct):
    """What a server sent to the others of its group and heard of them: ``server.stats().bus``.

    Attributes:
        engine: What relays: ``hub``, ``nats``, ``redis`` or another's name.
        state: ``up``, ``joining`` (connected, what waits is held until the others were heard), ``down`` or ``closed``.
        nodes: The other servers that are heard, now.
        sent: Messages given to the bus.
        received: Messages of others for somebody here.
        lost: Messages of others that never came; ``bus.gap`` told of them.
        duplicates: Messages that came twice, and were dropped.
        dropped: Messages of this server's that found no room in ``max_bus_pending_messages`` and
            ``max_bus_pending_bytes``.
        faults: What came from the bus and was no message of ours.
        waiting_messages: Messages that wait for the bus, now.
        waiting_bytes: Their bytes.
    """

    engine: str
    state: str
    nodes: int = 0
    sent: int = 0
    received: int = 0
    lost: int = 0
    duplicates: int = 0
    dropped: int = 0
    faults: int = 0
    waiting_messages: int = 0
    waiting_bytes: int = 0


class Stats(msgspec.Struct):
    """Counts since an endpoint was made, or since a socket was opened.

    Attributes:
        messages_in: Messages that arrived whole, heartbeats and answers included.
        messages_out: Messages given to the kernel.
        bytes_in: Bytes that the kernel gave.
        bytes_out: Bytes that the kernel took.
        pending_bytes: Waiting to be sent, now.
        dropped: Emitted, and never given to the kernel: lost with a link, or by ``slow_policy``.
        errors: ``error`` events.
        retries: Attempts to connect again (clients).
        links: Links that were up: 1 for a socket, for a client 1 and one more for each reconnect.
        refused: Connections refused because of a limit (servers).
        late: Answers that came after their request was given up.
        reserved: Events of peers that no handler heard, with ``parser="fast"``: their names (``connect``,
            ``error`` …) are this endpoint's own.
        unheard: Events of peers that no handler heard. The clients that can ``receive`` keep those for that.
        replaced: Emitted with ``keep="latest"``, and not sent, since a newer one of their event took their place.
        seconds: How long ago the counting began.
        paused: How many links are not read now, by what they wait for: ``handlers`` (async ones that are at
            work on too much), ``inbox`` (events that somebody has to receive), ``outgoing`` (the peer has
            to read what waits for it).
        bus: What joins this server to others; None without a bus.

    Example:
        >>> stats = server.stats()
        >>> stats.messages_in, stats.refused, stats.paused
        (0, 0, {})
    """

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pending_bytes: int = 0
    dropped: int = 0
    errors: int = 0
    retries: int = 0
    links: int = 0
    refused: int = 0
    late: int = 0
    reserved: int = 0
    unheard: int = 0
    replaced: int = 0
    seconds: float = 0.0
    paused: dict[str, int] = msgspec.field(default_factory=dict)
    bus: BusStats | None = None

    def __iadd__(self, other: Stats) -> Stats:
        for name in self.__struct_fields__:
            if name not in ("paused", "bus"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.paused.items():
            self.paused[reason] = self.paused.get(reason, 0) + count
        return self
