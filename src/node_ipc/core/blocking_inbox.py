"""Events of a blocking client that wait to be received: kept undecoded, found by name, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from .events import Event, typed_decoder
from .inbox import OWN, Inbox, Received

if TYPE_CHECKING:
    from ..blocking import BlockingClient
    from .session import Session

__all__ = ["BlockingInbox"]

OVERHEAD = 256
"""Bytes that an event in the inbox is counted with, besides its own: what Python needs to keep it."""
DECODERS = 256
"""How many pairs of event and type keep their decoder."""


class BlockingInbox(Inbox):
    """Events that wait for ``receive`` and iteration, undecoded, oldest first.

    Nothing in it is ever dropped. Reading goes on only while a call waits, so it fills when a call has to read past
    what nobody receives: an ``emit`` whose peer sends too, or a ``receive`` for an event that comes later. Once
    ``max_inbox_bytes`` wait, the link is read no more and such a call raises, since what it waits for may never come.
    """

    def __init__(self, client: BlockingClient) -> None:
        super().__init__(client)
        self.full = False
        """Nothing is read until something is taken."""
        self.wanted: str | None = None
        """The event that somebody waits for and that is not here: the next one goes to ``caught``."""
        self.caught: Any = None
        self.name_wanted = ""
        """The event that was waited for last."""
        self._limit = client.settings.max_inbox_bytes
        self._order: OrderedDict[int, tuple[str, Any, int]] = OrderedDict()
        self._named: dict[str, deque[int]] = {}
        self._first = self._last = 0
        self._decoders: dict[tuple[str, Any], Callable[[Any], Any]] = {}
        self._raw = client.settings.profile == "raw"
        self._table = client.events._table  # to ask it for every receive without a call
        client.events.wants_raw = True  # decoded when received: by the type that is asked for, once
        client.events.unheard = self.put
        if self._raw:
            client.events.on("data", self._put_chunk)

    def __len__(self) -> int:
        return len(self._order)

    def put(self, type: str, data: Any, session: Session | None) -> None:
        """Keep an event that has no handler."""
        if type == self.wanted:
            self.wanted, self.caught = None, data
            return
        if type.startswith(OWN):
            if type == "rpc.request":
                self._client.requests.refuse_unheard(data)
            return
        size = OVERHEAD + (len(data) if data.__class__ in (Raw, bytes) else 0)
        self._last += 1
        self._order[self._last] = type, data, size
        numbers = self._named.get(type)
        if numbers is None:
            self._named[type] = numbers = deque()
        numbers.append(self._last)
        self._bytes += size
        if self._bytes >= self._limit and not self.full:
            self.full = True
            self._client.pause_reading(True)

    _put = put

    def _put_chunk(self, chunk: Any) -> None:
        if len(self._client.events.handlers("data")) == 1:  # nobody but this
            self.put("data", chunk, None)

    def take(self, event: str | Event[Any] | None = None, type: Any = None) -> Received | None:
        if not self._order:
            return None
        if isinstance(event, Event):
            type = type or event.type
            event = event.name
        if event is None:
            _, (name, data, size) = self._order.popitem(last=False)
            self._named[name].popleft()
        else:
            numbers = self._named.get(event)
            if not numbers:
                return None
            name, data, size = self._order.pop(numbers.popleft())
        if not self._named[name]:
            del self._named[name]
        self._bytes -= size
        if self.full:
            self.full = False
            self._client.pause_reading(False)
        return Received(name, self.decode(name, data, type))

    def want(self, name: str) -> None:
        """The next event of this name goes to ``caught``; there is none here."""
        if name not in self._table and not self._raw:
            self._client.events.shortcut(name, partial(self._arrived, name))
        self.wanted = self.name_wanted = name

    def _arrived(self, name: str, data: Any) -> None:
        """An event that was received before by name; without the detour over those that nobody hears."""
        if name == self.wanted:
            self.wanted, self.caught = None, data
        else:
            self.put(name, data, None)

    def stop_wanting(self) -> None:
        """Nobody waits any more. What was caught in a turn that raised comes first again."""
        self.wanted = None
        if self.caught is not None:
            data, self.caught = self.caught, None
            self._first -= 1
            self._order[self._first] = self.name_wanted, data, OVERHEAD
            self._order.move_to_end(self._first, last=False)
            self._named.setdefault(self.name_wanted, deque()).appendleft(self._first)
            self._bytes += OVERHEAD

    def decode(self, name: str, data: Any, type: Any) -> Any:
        """A payload by its type; raises :class:`InvalidPayload` where it does not fit."""
        try:
            decode = self._decoders.get((name, type))
        except TypeError:  # a type that cannot be a key
            return typed_decoder(type, name)(data)
        if decode is None:
            if len(self._decoders) >= DECODERS:
                self._decoders.clear()
            decode = self._decoders[name, type] = typed_decoder(type, name)
        return decode(data)

    def crowd(self) -> str:
        """What is in it, for messages."""
        most = max(self._named, key=lambda name: len(self._named[name]), default="")
        return f"{len(self._order)} events wait to be received ({len(self._named.get(most, ()))} of them {most[:64]!r})"

    def _link_up(self) -> None:
        if self.full:
            self._client.pause_reading(True)

    def _answer_awaited(self) -> None:
        """Reading never stops before the inbox is full."""
