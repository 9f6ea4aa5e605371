"""Events that wait for ``receive`` and iteration: what the waiting fronts keep between two calls, bounded by bytes.

An event without a handler goes here; while somebody iterates, every event from the wire does. They lie in order, and
by name, so that taking one costs the same however many wait.

What happens when it is full is where the two fronts differ:

- The asyncio one (``Inbox``) reads whether anybody calls or not. Of events that nobody ever asked for by name the
  oldest goes, counted in ``missed`` and told once for each link; for those that somebody receives or iterates over,
  reading pauses, so the server feels it and nothing is lost. While a call waits for what is behind them (a
  ``receive`` of another name, a request's answer) reading goes on, up to ``max_pending_bytes``; from there the oldest
  goes too.
- The blocking one (``BlockingInbox``) reads only while a call waits. Nothing is ever dropped: the call raises.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sized
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET, Raw

from ..config.foreign import caused
from ..errors import BackpressureError, ConnectionLost, IPCError, ReceiveTimeout
from .events import Event, event_name
from .seam import nothing

if TYPE_CHECKING:
    from .client import ClientCore
    from .session import Loss, Session

__all__ = [
    "CATCH_UP_SECONDS",
    "OVERHEAD",
    "QUIET_SECONDS",
    "BlockingInbox",
    "CatchingUp",
    "Inbox",
    "Received",
    "receivable",
    "receive_timeout",
]

OVERHEAD = 256
"""Bytes that an event in the inbox is counted with, besides its own: what Python needs to keep it."""
ASKED_NAMES = 256
"""How many names of events are known as asked for: the latest."""
CATCH_UP_SECONDS = 0.05
"""How long a call that wants all that is there already reads on before it is content. ``receive(…, latest=True)`` does
so from the first event on that it has, where the peer does not say that there is no more."""
QUIET_SECONDS = 0.002
"""How long nothing must come before ``receive(…, latest=True)`` takes what it has for the newest, where the peer does
not say that there is no more: one that was held up by us has to be woken before it sends what it still has."""
ANSWER_SECONDS = 0.5
"""How long a peer's word that there is no more is waited for with an event in hand: while it sends, or has sent a part
of the next one."""
MUTE_SECONDS = 0.2
"""How long while it sends nothing. One that has never answered on the link is not asked there again after either of
these, unless the answer comes after all."""
DECODERS = 256
"""How many pairs of event and type keep their decoder."""
NAMES_SHOWN = 3
"""How many names of unread events a message shows."""
OWN = "rpc."
"""Requests and answers are no events for the user."""


RECEIVED_SECONDS = 1.0
"""How long an event may wait whose name is nearly that of a handler, before one of them is taken for misspelt."""


def receive_timeout(client: ClientCore[Any], inbox: Inbox, name: str, timeout: float) -> ReceiveTimeout:
    """What was waited for and how long, why it may never come, and what came instead."""
    text = f"no event {name!r} from {client.id!r} within {timeout:g} s"
    if client.events.has_handler(name):
        text += f": events with a handler go to that, and {name!r} has one"
    elif client.events.is_local(name) and client.settings.profile != "raw":
        text += f": {name!r} is of the lifecycle, which only handlers hear: on({name!r}, …)"
    else:
        text += client.trouble()
    text += client.remarks(not inbox.kept)
    if inbox.is_iterated:
        text += "; a loop over this client, as async for, takes each event that comes while it waits"
    if inbox.kept:
        text += f"; unread meanwhile: {inbox.names()}"
    return ReceiveTimeout(text)


def receivable(event: Any, type: Any) -> tuple[str, Any]:
    """The name and the type that ``receive`` was asked for; raises :class:`InvalidEvent` for what is no name."""
    if event is UNSET or event == "*":
        given = "" if event is UNSET else repr(event)
        raise TypeError(
            f"receive({given}) takes the name of an event, as receive('message'): those of every name are got by "
            "iteration, for type, data in client (with asyncio: async for)"
        )
    name = event_name(event)
    return name, type if type is not None or not isinstance(event, Event) else event.type


class Received(NamedTuple):
    """One event off the wire, as iteration gives it.

    Attributes:
        type: The event's name.
        data: Its payload, decoded.

    Example:
        >>> event = node_ipc.Received("message", "hello")
        >>> type, data = event
        >>> event.data
        'hello'
    """

    type: str
    data: Any


class _Shelf:
    """Events in order, found by name; each has a number that rises.

    A name's numbers may hold some that are gone from ``order``, where a signal's handler raised in between.
    """

    def __init__(self) -> None:
        self.bytes = 0
        """What they weigh, ``OVERHEAD`` for each included."""
        self.order: OrderedDict[int, tuple[str, Any, int]] = OrderedDict()
        self._named: dict[str, deque[int]] = {}
        self._first = self._last = 0

    def __len__(self) -> int:
        return len(self.order)

    def keep(self, name: str, data: Any, size: int) -> int:
        """Put one behind all others; returns its number."""
        size += OVERHEAD
        self._last = number = self._last + 1
        numbers = self._named.get(name)
        if numbers is None:
            self._named[name] = numbers = deque()
        numbers.append(number)
        self.order[number] = name, data, size
        self.bytes += size
        return number

    def put_back(self, name: str, data: Any, size: int) -> None:
        """Put one before all others."""
        size += OVERHEAD
        self._first -= 1
        self.order[self._first] = name, data, size
        self.order.move_to_end(self._first, last=False)
        self._named.setdefault(name, deque()).appendleft(self._first)
        self.bytes += size

    def take(self, name: str | None) -> tuple[int, str, Any] | None:
        """The oldest (of this name), or None: its number, name and payload."""
        if name is None:
            if not self.order:
                return None
            number = next(iter(self.order))
        else:
            numbers = self._named.get(name)
            while numbers and numbers[0] not in self.order:
                numbers.popleft()
            if not numbers:
                return None
            number = numbers[0]
        found, data = self.remove(number)
        return number, found, data

    def remove(self, number: int) -> tuple[str, Any]:
        """Take out one that is the oldest of its name."""
        name, data, size = self.order[number]
        del self.order[number]
        self.bytes -= size
        numbers = self._named[name]
        while numbers and numbers[0] <= number:
            numbers.popleft()
        if not numbers:
            self._named.pop(name, None)
        return name, data

    def drop_older(self, name: str) -> list[int]:
        """Take out all of this name but the newest: their numbers."""
        numbers = [number for number in self._named.get(name, ()) if number in self.order][:-1]
        for number in numbers:
            self.remove(number)
        return numbers

    def size_of(self, name: str) -> int:
        """What those of one name weigh."""
        return sum(self.order[number][2] for number in self.numbers(name))

    def items(self) -> list[tuple[int, str]]:
        """Number and name of each, oldest first."""
        return [(number, name) for number, (name, _, _) in self.order.items()]

    def numbers(self, name: str) -> deque[int]:
        """Those of one name, oldest first."""
        return self._named.get(name, deque())

    def names(self) -> str:
        """Some names and how many wait of each, for messages."""
        first = [f"{name[:64]!r} ({len(numbers)})" for name, numbers in islice(self._named.items(), NAMES_SHOWN)]
        more = len(self._named) - len(first)
        return ", ".join(first) + (f" and {more} more names" if more > 1 else " and one more name" if more else "")

    def most(self) -> str:
        """The name of which most wait; empty where nothing does."""
        return max(self._named, key=lambda name: len(self._named[name]), default="")


def _size_in_bytes(data: Any) -> int:
    """The bytes of a payload that is not decoded; 0 for one that is."""
    return len(data) if data.__class__ in (Raw, bytes) else 0


def _chunk(decode: Callable[[Any], Any], chunk: Any) -> Any:
    """Bytes of a raw stream; where one link's end and another's begin meet, that is raised."""
    if isinstance(chunk, ConnectionLost):
        raise chunk
    return decode(chunk)


class CatchingUp:
    """Reads all that the server had for this client when it is made, so that the newest of it can be taken.

    Much may wait in the kernel, and more at the server, which cannot send while that is full: what comes first may be
    the rest of an event that was begun when somebody read last. A server in Python answers a question (a heartbeat's)
    behind what it had emitted before, and behind what takes the place of that (``keep="latest"``). Where no answer
    comes, quiet has to do.
    """

    def __init__(
        self,
        inbox: Inbox,
        name: str,
        session: Session | None,
        now: Callable[[], float],
        timeout: float | None,
        asks: bool = True,
    ) -> None:
        self._inbox = inbox
        self._name = name
        self._session = session
        self._now = now
        self._quiet_since = now()
        self._end = math.inf if timeout is None else self._quiet_since + max(timeout, QUIET_SECONDS)
        self._held_since: float | None = None  # an event of this name is there
        self._bytes = -1
        self._is_settled = False  # what comes from now on is new
        self._mark: int | None = None
        if asks and session is not None and not _is_mute(inbox, session):
            self._mark = session.ask_in_turn()

    @property
    def is_over(self) -> bool:
        """Asked after each read, and after ``QUIET_SECONDS`` without one; also when more came after it was over."""
        session, mark, now = self._session, self._mark, self._now()
        if session is None or not session.is_open or now >= self._end:
            return True
        if mark is not None and session.has_answered(mark):
            self._is_settled = True
        if self._is_settled:
            return True
        has_one = self._inbox.has(self._name)
        if not has_one or self._held_since is None:
            self._held_since = now if has_one else None
        held = 0.0 if self._held_since is None else now - self._held_since
        comes = session.incoming.bytes_in != self._bytes
        if comes:
            self._bytes, self._quiet_since = session.incoming.bytes_in, now
        has_begun = session.incoming.is_inside_a_message
        if mark is None:
            self._is_settled = not (comes or has_begun)
            return not comes or held >= CATCH_UP_SECONDS
        if held < ANSWER_SECONDS and (now - self._quiet_since < MUTE_SECONDS or (has_one and has_begun)):
            return False
        if not session.incoming.answered:
            self._inbox.unanswered, self._mark = mark, None
        return True


def _is_mute(inbox: Inbox, session: Session) -> bool:
    """Whether the server did not answer, as one of Node does not, on this link."""
    return inbox.unanswered is not None and not session.has_answered(inbox.unanswered)


class Inbox:
    """The waiting events of one asyncio client."""

    def __init__(self, client: ClientCore[Any]) -> None:
        settings = client.settings
        self.missed = 0
        """Events that were dropped because nobody took them."""
        self.skipped = 0
        """Events that ``receive(…, latest=True)`` left out, since a newer one of their name was there."""
        self.only_newest: dict[str, None] = {}
        """The names of which only the newest event is kept; the one that was received last is the last."""
        self.unanswered: int | None = None
        """The question on this link that the server has left without an answer, as one of Node does."""
        self.waiting = 0
        """How many calls wait for an event that is not here; ``wait`` and ``stop_waiting`` count."""
        self.arrived: list[Callable[[], None]] = []
        """Called when an event was put in."""
        self._client = client
        self._most, self._most_bytes = settings.max_unread_events, settings.max_unread_bytes
        self._hard_limit = max(settings.max_pending_bytes, self._most_bytes)
        self._shelf = _Shelf()
        self.kept: Sized = self._shelf.order
        """What waits; for those who ask only whether anything does."""
        self._asked: dict[str, None] = {}  # names that somebody received, the latest last
        self._has_chunks = False  # in raw mode: something came over this link
        self._unasked: OrderedDict[int, None] = OrderedDict()  # numbers of events that may go, oldest first
        self._iterating = 0
        self._untap: Callable[[], None] = nothing
        self._paused = False
        self._told = False
        client.unheard = self._put
        client.events.takes_all = True  # what has no handler is received here
        client.events.mistakes.misspelt = self._suspected
        client.events.mistakes.came_before = self._came_before
        client.on_link = self._link_up
        client.on_request = self._regulate
        self._raw = settings.profile == "raw"
        if self._raw:
            client.events.on("data", self._put_chunk)
            client.on_down = self._put_boundary

    def __len__(self) -> int:
        return len(self._shelf)

    def __repr__(self) -> str:
        what = f"unread: {self.names()}" if self._shelf else "nothing is unread"
        return f"<{type(self).__name__}, {what}>"

    # ---- out

    def names(self) -> str:
        """Three of the names that wait here at most, and how many events of each, for messages."""
        return self._shelf.names()

    def has(self, name: str) -> bool:
        """Whether an event of this name waits."""
        return bool(self._shelf.numbers(name))

    def keep_newest(self, name: str, keep: bool = True) -> None:
        """Of this name's events keep only the newest from now on, or all again."""
        if not keep:
            self.only_newest.pop(name, None)
            return
        if keep is not True:
            raise TypeError(f"receive(latest=…) takes True or False, not {keep!r:.80}")
        if self._raw:
            raise ValueError("latest=True leaves events out, and raw mode has none: bytes of a stream are all needed")
        self.only_newest.pop(name, None)
        self.only_newest[name] = None
        if len(self.only_newest) > ASKED_NAMES:
            del self.only_newest[next(iter(self.only_newest))]
        self._skip(name)

    def _skip(self, name: str) -> None:
        for number in self._shelf.drop_older(name):
            self._unasked.pop(number, None)
            self.skipped += 1

    def take(self, event: str | Event[Any] | None = None, type: Any = None) -> Received | None:
        """The oldest event (of this name), or None where there is none; decoded to ``type``, or to anything.

        Raises :class:`InvalidPayload` where the payload does not fit; the event is taken all the same.
        """
        if isinstance(event, Event):
            type = type or event.type
            event = event.name
        if event is not None:
            self._ask(event)
        found = self._shelf.take(event)
        if found is None:
            return None
        number, name, data = found
        self._unasked.pop(number, None)
        if self._paused:
            self._regulate()
        return Received(name, self._decoder(name, type)(data))

    def _decoder(self, name: str, type: Any) -> Callable[[Any], Any]:
        """What makes of a payload what the user gets."""
        decode = self._client.events.decoder(type, name)
        return partial(_chunk, decode) if self._raw else decode

    def _ask(self, name: str) -> None:
        """Somebody receives events of this name: they are not dropped any more."""
        if name in self._asked:
            del self._asked[name]
        else:
            for number in self._shelf.numbers(name):
                self._unasked.pop(number, None)
        self._asked[name] = None
        if len(self._asked) > ASKED_NAMES:
            del self._asked[next(iter(self._asked))]

    @property
    def is_iterated(self) -> bool:
        """Whether a loop over the client takes what comes."""
        return self._iterating > 0

    def iterate(self) -> Callable[[], None]:
        """From now on events that have a handler come here as well, and all are asked for; returns the undoing."""
        self._iterating += 1
        self._unasked.clear()
        if self._iterating == 1:  # several that iterate share what comes: each event is put in once
            self._untap = self._client.events.tap(self._tapped, ours=True)
        running = True

        def stop() -> None:
            nonlocal running
            if not running:
                return
            running = False
            self._iterating -= 1
            if not self._iterating:
                self._untap()
                self._unasked.update((number, None) for number, name in self._shelf.items() if name not in self._asked)
                self._make_room()

        return stop

    def wait(self) -> None:
        """A call waits for an event that is not here: it is behind those that are."""
        self.waiting += 1
        self._regulate()

    def stop_waiting(self) -> None:
        """It does not wait any more."""
        self.waiting -= 1
        self._regulate()

    # ---- in

    def _suspected(self, name: str, near: str) -> None:
        """A name is nearly that of a handler: a mistake, unless it is received soon."""
        self._client.doubt(partial(self._look_whether_received, name, near), RECEIVED_SECONDS)

    def _look_whether_received(self, name: str, near: str) -> None:
        if self.has(name) and name not in self._asked and not self._iterating:
            self._client.hints.misspelt(name, near)

    def _came_before(self, name: str) -> Callable[[], None] | None:
        """A handler does not hear what came before it; where that waits here it is received as before."""
        if self.has(name) and name not in self._asked:
            return partial(self._look_whether_waits, name)
        return None

    def _look_whether_waits(self, name: str) -> None:
        if self.has(name) and name not in self._asked:
            self._client.hints.came_before(name, f"it waits in the inbox for receive({name!r:.80})")

    def _tapped(self, type: str, data: Any, *rest: Any) -> None:
        if self._client.events.has_handler(type):
            self._put(type, data, None)

    def _put_chunk(self, chunk: Any) -> None:
        if len(self._client.events.handlers("data")) == 1:  # nobody but this
            self._has_chunks = True
            self._put("data", chunk, None)

    def _put_boundary(self, loss: Loss) -> None:
        """In raw mode: the link is lost, and what comes next comes over another; in the place of a chunk."""
        if self._has_chunks:
            self._has_chunks = False
            lost = ConnectionLost(
                f"the link to {self._client.id!r} ended here ({loss}), and what follows comes over a new one: the rest "
                "of a message that was begun will not come. This is raised once: begin a new message, and receive again"
            )
            self._put("data", caused(lost, loss.reason), None)

    def _put(self, type: str, data: Any, session: Session | None) -> None:
        if type.startswith(OWN):
            return
        number = self._shelf.keep(type, data, self._size_of(data))
        if not self._iterating and type not in self._asked:
            self._unasked[number] = None
        if type in self.only_newest:
            self._skip(type)
        if self._is_full():
            self._make_room()
        for hear in tuple(self.arrived):
            hear()

    def _size_of(self, data: Any) -> int:
        """What an event weighs: its bytes on the wire, also where it is decoded already."""
        session = self._client.events.current
        return _size_in_bytes(data) or (0 if session is None else session.incoming.size_at_hand())

    def _is_full(self) -> bool:
        size = self._accrued_bytes() if self.only_newest else self._shelf.bytes
        return len(self._shelf) > self._most or size > self._most_bytes

    def _accrued_bytes(self) -> int:
        """What the events weigh that more may be added to: of those of which only the newest is kept, none counts.

        One of these may be as large as all that may wait, and must not keep the next one from being read.
        """
        return self._shelf.bytes - sum(map(self._shelf.size_of, self.only_newest))

    def _make_room(self) -> None:
        """Let go of the oldest that nobody asked for; and of others where there is far too much."""
        shelf, unasked = self._shelf, self._unasked
        while unasked and len(shelf) > 1 and self._is_full():
            self._miss(*shelf.remove(unasked.popitem(last=False)[0]))
        while len(shelf) > 1 and shelf.bytes > self._hard_limit:
            number, name, data = shelf.take(None) or (0, "", None)
            unasked.pop(number, None)
            self._miss(name, data)
        self._regulate()

    def _miss(self, name: str, data: Any) -> None:
        self.missed += 1
        if self._told or self._client.events.handlers("*"):  # those heard it
            return
        self._told = True
        self._client.session_fault(
            None,
            BackpressureError(
                f"the event {name[:64]!r} was dropped, the oldest of {len(self._shelf) + 1} that wait and that nobody "
                f"receives ({self._shelf.bytes} bytes). Receive them, register handlers{self._or_none_is_wanted()}, or "
                f"raise max_unread_events ({self._most}) and max_unread_bytes ({self._most_bytes}). This is said once "
                "for each link; inbox.missed counts"
            ),
        )

    def _or_none_is_wanted(self) -> str:
        """What a client does that is only there to send; nothing for one that receives."""
        if self._asked or self._raw:
            return ""
        return " (a client that wants nothing of what comes says so with client.on('*', lambda *event: None))"

    def _regulate(self) -> None:
        """Stop or go on reading: only what somebody takes makes the server wait."""
        pause = self._is_full() and not (self._unasked or self.waiting or self._client.awaits_answers)
        if pause != self._paused:
            self._paused = pause
            self._client.pause_reading(pause)

    def _link_up(self) -> None:
        self._paused = self._told = False
        self.unanswered = None
        self._regulate()


class BlockingInbox(Inbox):
    """The waiting events of a blocking client, undecoded.

    It fills when a call has to read past what nobody receives: an ``emit`` whose peer sends too, or a ``receive`` for
    an event that comes later. Once ``max_inbox_bytes`` wait, the link is read no more and such a call raises; where
    handlers of ``"*"`` heard all that waits, and nothing was ever received, the oldest goes instead.
    """

    def __init__(self, client: ClientCore[Any]) -> None:
        super().__init__(client)
        self.full = False
        """Nothing is read until something is taken."""
        self.wanted: str | None = None
        """The event that somebody waits for and that is not here: the next one goes to ``caught``."""
        self.caught: Any = None
        self.name_wanted = ""
        """The event that was waited for last."""
        self._was_taken = False
        self._limit = client.settings.max_inbox_bytes
        self._decoders: dict[tuple[str, Any], Callable[[Any], Any]] = {}
        self._table = client.events._table  # to ask it for every receive without a call
        client.events.wants_raw = True  # decoded when received: by the type that is asked for, once
        client.events.unheard = self._put

    def _put(self, type: str, data: Any, session: Session | None) -> None:
        if type == self.wanted:
            self.wanted, self.caught = None, data
            return
        if type.startswith(OWN):
            if type == "rpc.request":
                self._client.requests.refuse_unheard(data)
            return
        self._shelf.keep(type, data, _size_in_bytes(data))
        if self.only_newest and type in self.only_newest:
            self._skip(type)
        size = self._accrued_bytes() if self.only_newest else self._shelf.bytes
        if size >= self._limit and not self.full:
            if self._is_only_heard():
                self._make_room()
                return
            self.full = True
            self._client.pause_reading(True)

    def _is_only_heard(self) -> bool:
        """Whether handlers of everything heard what waits here, and the program never received anything by itself."""
        return not (self._was_taken or self.name_wanted) and bool(self._client.events.handlers("*"))

    def take(self, event: str | Event[Any] | None = None, type: Any = None) -> Received | None:
        if not self.kept:
            return None
        if event.__class__ is not str and isinstance(event, Event):
            type = type or event.type
            event = event.name
        found = self._shelf.take(event)
        if found is None:
            return None
        self._was_taken = True
        if self.full:
            self.full = False
            self._client.pause_reading(False)
        try:
            return Received(found[1], self.decode(found[1], found[2], type))
        except IPCError:
            raise
        except BaseException:  # a signal's handler
            self._shelf.put_back(found[1], found[2], _size_in_bytes(found[2]))
            raise

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
            self._put(name, data, None)

    def stop_wanting(self) -> None:
        """Nobody waits any more. What was caught in a turn that raised comes first again."""
        self.wanted = None
        if self.caught is not None:
            data, self.caught = self.caught, None
            self._shelf.put_back(self.name_wanted, data, _size_in_bytes(data))

    def decode(self, name: str, data: Any, type: Any) -> Any:
        """A payload by its type; raises :class:`InvalidPayload` where it does not fit."""
        try:
            decode = self._decoders.get((name, type))
        except TypeError:  # a type that cannot be a key
            return self._decoder(name, type)(data)
        if decode is None:
            if len(self._decoders) >= DECODERS:
                self._decoders.clear()
            decode = self._decoders[name, type] = self._decoder(name, type)
        return decode(data)

    def crowd(self) -> str:
        """What is in it, for messages."""
        most = self._shelf.most()
        return f"{len(self)} events wait to be received ({len(self._shelf.numbers(most))} of them {most[:64]!r})"

    def _make_room(self) -> None:
        """Nothing is dropped here but what handlers heard: the oldest of that."""
        while self._is_only_heard() and len(self._shelf) > 1 and self._shelf.bytes >= self._limit:
            self._shelf.take(None)
            self.missed += 1

    def _regulate(self) -> None:
        """Reading never stops before the inbox is full, and then for everybody."""

    def _link_up(self) -> None:
        self.unanswered = None
        if self.full:
            self._client.pause_reading(True)
