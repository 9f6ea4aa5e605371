"""Events that wait for ``receive`` and iteration: what both waiting fronts keep between two calls.

An event without a handler goes here; while somebody iterates, every event from the wire does. The inbox is bounded:
once it was asked for anything, a full one makes the client read no more, so the server feels it; before that (a
program that only registers handlers) what does not fit is dropped and counted in ``missed``. While a request waits
for its answer reading goes on, up to the hard limit, since the answer is behind those events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw

from ..errors import BackpressureError, ReceiveTimeout
from ..wire.names import LIFECYCLE
from .events import Event, typed_decoder

if TYPE_CHECKING:
    from .client import Client
    from .session import Session

__all__ = ["Inbox", "Received", "receive_timeout"]

FRAMES, BYTES = 16, 1024 * 1024
"""With so many messages or bytes waiting, reading stops."""
UNASKED_FRAMES = 1024
"""How many are kept while nobody has received anything yet."""
OWN = "rpc."
"""Requests and answers are no events for the user."""


def receive_timeout(client: Client, name: str, timeout: float) -> ReceiveTimeout:
    """What was waited for and how long, and why it may never come."""
    text = f"no event {name!r} from {client.id!r} within {timeout:g} s"
    if client.events.has_handler(name):
        text += f": events with a handler go to that, and {name!r} has one"
    elif name in LIFECYCLE and client.settings.profile != "raw":
        text += f": {name!r} is of the lifecycle, which only handlers hear: on({name!r}, …)"
    else:
        text += client._trouble()
    return ReceiveTimeout(text)


class Received(NamedTuple):
    """One event off the wire, as iteration gives it."""

    type: str
    """The event's name."""
    data: Any
    """Its payload, decoded."""


class Inbox:
    """The waiting events of one client, oldest first."""

    def __init__(self, client: Client) -> None:
        self.missed = 0
        """Events that were dropped because nobody took them."""
        self.arrived: list[Callable[[], None]] = []
        """Called when an event was put in."""
        self._client = client
        self._hard_limit = client.settings.max_pending_bytes
        self._waiting: deque[tuple[str, Any, int]] = deque()
        self._bytes = 0
        self._asked = False
        self._paused = False
        client.unheard = self._put
        client.on_link = self._link_up
        client.on_request = self._answer_awaited

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, event: str | Event[Any] | None = None, type: Any = None) -> Received | None:
        """The oldest event (of this name), or None where there is none; decoded to ``type``, or to anything.

        Raises :class:`InvalidPayload` where the payload does not fit; the event is taken all the same.
        """
        self._asked = True
        if isinstance(event, Event):
            type = type or event.type
            event = event.name
        for index, (name, data, size) in enumerate(self._waiting):
            if event is None or name == event:
                del self._waiting[index]
                self._bytes -= size
                if self._paused:
                    self._regulate()
                return Received(name, typed_decoder(type, name)(data))
        if self._paused:  # what is waited for is behind what nobody takes
            self._regulate(needed=True)
        return None

    def iterate(self) -> Callable[[], None]:
        """From now on events that have a handler come here as well; returns the undoing."""
        self._asked = True
        return self._client.events.tap(self._tapped)

    def _tapped(self, type: str, data: Any, *rest: Any) -> None:
        if self._client.events.has_handler(type):
            self._put(type, data, None)

    def _put(self, type: str, data: Any, session: Session | None) -> None:
        if type.startswith(OWN):
            return
        size = len(data) if data.__class__ is Raw else 0
        if self._is_full():
            self._miss(type)
            return
        self._waiting.append((type, data, size))
        self._bytes += size
        if self._asked:
            self._regulate()
        for hear in tuple(self.arrived):
            hear()

    def _is_full(self) -> bool:
        if not self._asked:
            return len(self._waiting) >= UNASKED_FRAMES or self._bytes >= BYTES
        return self._bytes >= self._hard_limit

    def _miss(self, type: str) -> None:
        self.missed += 1
        if self.missed == 1:
            self._client.session_fault(
                None,
                BackpressureError(
                    f"the event {type[:64]!r} was dropped: {len(self._waiting)} events without a handler wait already. "
                    "Receive them, or register handlers (this is said once; inbox.missed counts)"
                ),
            )

    def _regulate(self, needed: bool = False) -> None:
        """Stop or go on reading."""
        full = len(self._waiting) >= FRAMES or self._bytes >= BYTES
        pause = full and not needed and not self._client.awaits_answers
        if pause != self._paused:
            self._paused = pause
            self._client.pause_reading(pause)

    def _answer_awaited(self) -> None:
        """A request was made: its answer has to get past what waits here."""
        if self._paused:
            self._regulate()

    def _link_up(self) -> None:
        self._paused = False
        if self._asked:
            self._regulate()
