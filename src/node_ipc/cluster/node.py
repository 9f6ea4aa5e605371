"""One server among others: what it sends them, what it hears of them, and what it can say about what is missing.

Pure: a bus is calls in and calls out, time is the driver's. So a thousand nodes run in a test, on a virtual clock.

    DOWN ──up──▶ JOINING ──the others were heard, or it took too long──▶ UP ──down──▶ DOWN …
                                                                          └─close─▶ CLOSING ──▶ CLOSED

While it is joining it is subscribed again and has said hello; what is to be sent still waits, since those who were
connected to the same broker may not be back yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Raw

from ..core.everywhere import Found, RemoteNode, RemoteSocket
from ..core.rooms import Audience, room_name
from ..core.seam import nothing
from ..core.trace import BusStats
from ..errors import BackpressureError, FrameTooLarge, IPCError, NotConnected, ProtocolError
from .answers import Answers
from .members import Members, Other
from .messages import (
    EVERYBODY,
    Answer,
    Ask,
    Beat,
    Bye,
    Cancel,
    Emit,
    Hello,
    Here,
    Mark,
    Marks,
    Message,
    Progress,
    Subjects,
    Sync,
    Taken,
    Who,
    decode,
    encode,
)
from .questions import Questions
from .streams import Sent
from .waiting import Waiting

if TYPE_CHECKING:
    from ..core.outcome import Outcome
    from ..core.seam import Driver, Timer

__all__ = ["Line", "Local", "Node", "NodeLimits", "NodeState"]

E = TypeVar("E")

JOIN_SECONDS = 2.0
"""How long what waits is held at most, once the bus is back, for those who were there before."""
GAP_SECONDS = 0.25
"""Losses that are found so close together are told at once."""
MOST_ROOMS_OF_ONE_EMIT = 16
"""An emit to more rooms than this goes to every node, once, instead of to each room."""
AUDIT_BEATS = 10
"""So often a sender that was heard is asked how far it has come, though nothing looks wrong."""
ROOMS_ASKED = 1000
"""A node in more rooms asks only about those where it heard something; and after more messages than this it asks about
rooms, and not about what was sent meanwhile."""
MOST_MARKS = ROOMS_ASKED * MOST_ROOMS_OF_ONE_EMIT
"""Who asks about what was sent meanwhile, and it went to more rooms than this, is not answered: it is to name rooms."""
NOT_ASKED = 0
"""The number of the question that marks answer, where there was none: they are a farewell."""
PART = 500
"""Rooms or sockets in one message."""


class NodeState(Enum):
    """Where a node stands."""

    DOWN = "down"
    """No bus; what is sent waits."""
    JOINING = "joining"
    """The bus is there, and the others are waited for."""
    UP = "up"
    CLOSING = "closing"
    """It sends what waits, and nothing new."""
    CLOSED = "closed"


_N = NodeState
TRANSITIONS: dict[tuple[NodeState, str], str] = {
    (_N.DOWN, "up"): "_join",
    (_N.DOWN, "close"): "_end",
    (_N.JOINING, "confirmed"): "_say_hello",
    (_N.JOINING, "all heard"): "_begin",
    (_N.JOINING, "late"): "_begin",
    (_N.JOINING, "down"): "_fall",
    (_N.JOINING, "close"): "_drain",
    (_N.UP, "down"): "_fall",
    (_N.UP, "close"): "_drain",
    (_N.UP, "writable"): "_flush",
    (_N.CLOSING, "writable"): "_drain_on",
    (_N.CLOSING, "down"): "_end",
    (_N.CLOSING, "late"): "_end",
}
"""``(state, input) → what is done``; a pair that is not there is ignored."""


class Line(Protocol):
    """A bus, as far as a node needs it; see ``bus.py``, whose coroutines are call-backs here."""

    @property
    def size_option(self) -> str: ...
    @property
    def has_groups(self) -> bool: ...
    def publish(self, subject: str, data: bytes) -> bool: ...
    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None: ...
    def subscribe(self, subject: str, group: str = "") -> None: ...
    def unsubscribe(self, subject: str) -> None: ...
    def confirm(self, confirmed: Callable[[], None]) -> None:
        """Call when the broker has dealt with all that was said so far; never where the connection ends before."""


class Local(Protocol):
    """The server that a node is."""

    member: bool
    """It has sockets and answers; False: it only emits."""
    wire: str
    """What its frames look like."""

    def rooms(self) -> Iterable[str]:
        """Those in which somebody is."""

    def count(self) -> int:
        """How many sockets there are."""

    def deliver(self, audience: Audience, frame: Raw, event: str | None) -> None:
        """Send a frame of another node's to those of the sockets here that are meant, with an event in the place of the
        last one of it that waits; a ``ProtocolError`` for one
        that no peer may send."""

    def describe(self, room: str) -> list[tuple[int, str, Any, list[str]]]:
        """The sockets in a room, or all: number, peer, claimed id, rooms."""

    def answer(
        self, ask: Ask, done: Callable[[tuple[str, int, str] | None, Raw], None], told: Callable[[Raw], None]
    ) -> Callable[[], None]:
        """Have a request of another node's answered; returns what gives it up.

        told: called with how far it is, where ``ask.progress``; raises :class:`FrameTooLarge` past what the broker
        takes.
        """

    def tell(self, event: str, *arguments: Any) -> None:
        """Publish an event of the bus."""

    def fault(self, error: IPCError) -> None:
        """Report an error."""

    def unread(self, method: str, error: Exception) -> None:
        """A request of other nodes failed, and nobody looked at its outcome; told by whatever thread dropped that."""


@dataclass
class NodeLimits:
    """What may wait, and how often the others are told that this node is there."""

    messages: int
    size: int
    raises: bool
    """Whether what finds no room is the caller's error; otherwise the oldest goes."""
    beat: float
    """Seconds."""


@dataclass(slots=True, eq=False)
class _Question:
    """Whether the bus has what was subscribed."""

    rooms: set[str]
    answered: Outcome[None]


class Node:
    """One server among others."""

    def __init__(
        self, name: str, life: int, group: str, local: Local, driver: Driver, limits: NodeLimits, engine: str
    ) -> None:
        self.name = name
        """What it is called on the bus."""
        self.state = NodeState.DOWN
        self.finished: Callable[[], None] = nothing
        """Called when all that waits was sent, or never will be, after ``close``."""
        self._life = life
        self._local = local
        self._driver = driver
        self._born = driver.now()
        self._limits = limits
        self._subjects = Subjects(group)
        self._line: Line | None = None
        self._limit: int | None = None
        self._is_full = False
        self._sent = Sent()
        self._given = 0  # the number of the last message that the bus has
        self._waiting = Waiting(limits.messages, limits.size)
        self._members = Members(limits.beat)
        self._questions = Questions(driver, self._cancel_at, local.unread)
        self._answers = Answers()
        self._beat = 0
        self._sent_at_beats = deque([0], AUDIT_BEATS + 1)
        self._syncs = 0
        self._subscribed: dict[str, float | None] = {}
        self._unconfirmed: set[str] = set()  # subscribed, and the bus was not asked yet whether it has that
        self._asked: _Question | None = None  # the one that is on its way
        self._entering: Outcome[None] | None = None  # of those who joined since, and wait for the next one
        self._expected: set[str] = set()
        self._lost: dict[str, int] = {}
        self._refused: set[str] = set()  # nodes whose frames look different
        self._drops_told = False
        self._has_joined = self._rejoins = False
        self._timers: dict[str, Timer] = {}
        self._stats = BusStats(engine, NodeState.DOWN.value)

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.state.value}, {len(self._members)} others>"

    # ---- the bus

    def _input(self, name: str, *arguments: Any) -> None:
        method = TRANSITIONS.get((self.state, name))
        if method is not None:
            getattr(self, method)(*arguments)

    def up(self, line: Line, limit: int | None) -> None:
        """The bus is connected; ``limit`` is the largest message it takes."""
        self._input("up", line, limit)

    def down(self, error: Exception | None) -> None:
        """The bus is gone."""
        self._input("down", error)

    def writable(self) -> None:
        """There is room in the bus again."""
        self._is_full = False
        self._input("writable")

    def missed(self) -> None:
        """Something was dropped on its way in: nobody knows whose it was."""
        self._members.doubt_all(surely=True)

    def close(self, seconds: float) -> None:
        """Send what waits, say goodbye, and call ``finished``, all within so many seconds."""
        self._input("close", seconds)

    def _join(self, line: Line, limit: int | None) -> None:
        self.state = NodeState.JOINING
        self._line, self._limit, self._is_full = line, limit, False
        self._members.doubt_all()
        self._expected = self._members.names()
        self._rejoins, self._has_joined = self._has_joined, True
        line.subscribe(self._subjects.node(self.name))
        if self._local.member:
            line.subscribe(self._subjects.everybody)
            if line.has_groups:
                line.subscribe(self._subjects.anybody, "any")
            for room in self._local.rooms():
                line.subscribe(self._subjects.room(room))
                self._subscribed.setdefault(room, None)
            self._subscribed.setdefault(EVERYBODY, None)
        self._unconfirmed = {room for room, since in self._subscribed.items() if since is None}
        self._confirm(partial(self._input, "confirmed"))
        self._later("join", JOIN_SECONDS, partial(self._input, "late"))

    def _say_hello(self) -> None:
        self._hello(self._subjects.everybody, asks=not self._expected and self._local.member)
        if not self._expected and (self._local.member or not self._rejoins):
            self._input("all heard")  # one that only emits hears nobody, and waits for as long as it may

    def _hello(self, subject: str, *, asks: bool = False) -> None:
        local = self._local
        count = local.count()
        hello = Hello(self.name, self._life, self._beat, self._given, count, local.member, asks, self._age)
        self._say(subject, hello)

    @property
    def _age(self) -> float:
        return max(self._driver.now() - self._born, 0.0)

    def _confirm(self, then: Callable[[], None] = nothing) -> None:
        """Ask the bus whether it has what was subscribed; what is subscribed meanwhile is asked about behind that."""
        self._cancel("confirm")
        if self._line is not None and self._asked is None:
            self._asked = _Question(self._unconfirmed, self._entering or self._driver.outcome(None))
            self._unconfirmed, self._entering = set(), None
            self._line.confirm(partial(self._confirmed, self._asked, then))

    def _confirmed(self, question: _Question, then: Callable[[], None]) -> None:
        if question is not self._asked:  # it was about a connection that is gone
            return
        self._asked = None
        self._subscribed.update(dict.fromkeys(question.rooms, self._driver.now()))
        question.answered.settle()
        if self._entering is not None:
            self._confirm()
        then()

    def _begin(self) -> None:
        self._cancel("join")
        self._expected = set()
        self._members.see_all(self._driver.now())
        self.state = NodeState.UP
        self._drops_told = False
        self._later("beat", self._limits.beat * (0.5 + self._driver.random() / 2), self._tick)
        self._flush()
        self._local.tell("bus.up")

    def _fall(self, error: Exception | None) -> None:
        self.state = NodeState.DOWN
        self._line = None
        self._cancel("join")
        self._cancel("beat")
        self._wait_no_more()
        self._questions.end_all("the bus went down", told=True)
        self._local.tell("bus.down", error)

    # ---- leaving

    def _drain(self, seconds: float) -> None:
        self.state = NodeState.CLOSING
        self._cancel("join")
        self._cancel("beat")
        self._later("close", seconds, partial(self._input, "late"))
        self._drain_on()

    def _drain_on(self) -> None:
        self._flush()
        if not self._waiting:
            for mark in islice(self._sent.newest(self._sent_at_beats[0]), ROOMS_ASKED):
                # To those in each room, since nobody can ask any more: of what they have not asked about yet.
                self._say(self._subjects.room(mark[0]), Marks(self.name, self._life, NOT_ASKED, [mark]))
            self._say(self._subjects.everybody, Bye(self.name, self._life))
            self._end()

    def _end(self, *_: object) -> None:
        self.state = NodeState.CLOSED
        self._line = None
        for name in list(self._timers):
            self._cancel(name)
        self._stats.dropped += self._waiting.clear()
        self._tell_gaps()
        self._questions.end_all("this server was stopped", told=False)
        self._answers.give_up_all()
        self._wait_no_more()
        self.finished()

    def abort(self) -> None:
        """Be gone at once."""
        if self.state is not NodeState.CLOSED:
            self._end()

    # ---- out

    def publish(self, audience: Audience, frame: Raw, event: str | None = None) -> None:
        """Send a frame to those who are meant, at the other nodes; with an event, as ``keep="latest"`` there.

        On the bus itself nothing is replaced: its messages are numbered, and one that is left out would be a loss.

        Raises :class:`FrameTooLarge` past what the broker takes, and, where so configured,
        :class:`BackpressureError` where too much waits; then nothing was sent.
        """
        rooms = list(dict.fromkeys(audience.rooms))
        to_all = not rooms or len(rooms) > MOST_ROOMS_OF_ONE_EMIT
        marks = self._sent.next([EVERYBODY] if to_all else rooms, self._beat)
        but = [socket.id for socket in audience.but if isinstance(socket, RemoteSocket)]
        message = Emit(
            self.name,
            self._life,
            self._sent.number,
            self._local.wire,
            marks,
            rooms if to_all else None,
            list(audience.but_rooms),
            but,
            frame,
            event or "",
        )
        data = encode(message)
        subjects = [self._subjects.room(mark[0]) for mark in marks]
        try:
            self._check(data, subjects)
        except IPCError:
            self._sent.take_back(marks)
            raise
        for subject in subjects:
            self._post(subject, data, self._sent.number)

    def _check(self, data: bytes, subjects: list[str]) -> None:
        self._check_size(data)
        if not self._limits.raises or self._is_free or self._waiting.has_room(len(subjects), len(data) * len(subjects)):
            return
        raise BackpressureError(
            f"the bus is {self._how}, and {len(self._waiting)} messages ({self._waiting.bytes} bytes) wait for "
            "it: this one was sent to the sockets of this process only. Raise max_bus_pending_messages or "
            "max_bus_pending_bytes, or set bus_policy to 'drop_oldest'"
        )

    def _check_size(self, data: bytes) -> None:
        if self._limit is not None and len(data) > self._limit:
            option = self._line.size_option if self._line is not None else "the broker's limit"
            raise FrameTooLarge(
                f"a message of {len(data)} bytes cannot go over the bus, which takes {self._limit}: raise {option}, or "
                "send it in parts. It was sent to the sockets of this process only"
            )

    @property
    def _is_coming(self) -> bool:
        """Whether it is on its way, for the first time or again: who has just started sees nothing wrong in that."""
        return self.state is NodeState.JOINING or (self.state is NodeState.DOWN and not self._has_joined)

    @property
    def _how(self) -> str:
        """How the bus is, in words."""
        return "not up yet" if self._is_coming else self.state.value

    @property
    def _is_free(self) -> bool:
        """Whether what is sent goes to the bus at once."""
        return self.state is NodeState.UP and not self._is_full and not self._waiting

    def _post(self, subject: str, data: bytes, number: int = 0) -> None:
        """Send it, behind what waits."""
        if self._is_free:
            self._give(subject, data, number)
        elif self.state is NodeState.CLOSED or self.state is NodeState.CLOSING:
            self._drop(1)
        elif dropped := self._waiting.add(subject, data, number):
            self._drop(dropped)

    def _drop(self, count: int) -> None:
        self._stats.dropped += count
        if not self._drops_told:
            self._drops_told = True
            self._local.fault(
                BackpressureError(
                    f"the bus is {self._how}, and no more than {self._limits.messages} messages or "
                    f"{self._limits.size} bytes wait for it: the oldest are dropped, and the others are told how many "
                    "they missed. This is said once until it is up; stats().bus.dropped counts"
                )
            )

    def _give(self, subject: str, data: bytes, number: int) -> None:
        assert self._line is not None
        self._is_full = not self._line.publish(subject, data)
        if number:
            self._given = number
            self._stats.sent += 1

    def _flush(self) -> None:
        while self._waiting and not self._is_full:
            self._give(*self._waiting.take())

    def _say(self, subject: str, message: Message) -> None:
        """Send something small past what waits."""
        self._say_encoded(subject, encode(message))

    def _in_parts(
        self, entries: list[E], make: Callable[[list[E], bool], Message], shorten: Callable[[E], E] | None = None
    ) -> Iterator[bytes]:
        """One message, or so many that each keeps to what the bus takes; ``make(part, more follow)``.

        shorten: for an entry that is too large by itself; None: it is left out.
        """
        starts = range(0, max(len(entries), 1), PART)
        waiting = [entries[start : start + PART] for start in reversed(starts)]
        while waiting:
            part = waiting.pop()
            data = encode(make(part, bool(waiting)))
            if self._limit is None or len(data) <= self._limit:
                yield data
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            elif shorten is not None and part:
                yield encode(make([shorten(part[0])], bool(waiting)))

    def _say_encoded(self, subject: str, data: bytes) -> None:
        if self._line is not None and not self._line.publish(subject, data):
            self._is_full = True

    # ---- which rooms

    def first(self, room: str) -> None:
        """Somebody is in this room now."""
        self._subscribed[room] = None
        self._unconfirmed.add(room)
        if self._line is not None:
            self._line.subscribe(self._subjects.room(room))

    def last(self, room: str) -> None:
        """Nobody is there any more."""
        self._subscribed.pop(room, None)
        self._unconfirmed.discard(room)
        if self._asked is not None:
            self._asked.rooms.discard(room)  # if somebody comes again that is another subscription
        self._members.forget_room(room)
        if self._line is not None:
            self._line.unsubscribe(self._subjects.room(room))

    def joined(self, rooms: Iterable[str]) -> Outcome[None]:
        """For who has just joined these: done when the bus has what was subscribed for them.

        Where it is down that is at once: nothing comes from elsewhere meanwhile, as ``bus.down`` and ``bus.gap`` tell,
        and a server's own clients do not wait until it is back.
        """
        missing = {room for room in rooms if self._subscribed.get(room, 0.0) is None}
        if self.state is NodeState.JOINING:  # what was subscribed before is subscribed anew, and not yet there either
            missing = set(rooms)
        if not missing or self._line is None:
            outcome: Outcome[None] = self._driver.outcome(None)
            outcome.settle()
            return outcome
        if self._asked is not None and missing <= self._asked.rooms:
            return self._asked.answered
        if self._entering is None:  # one for all who join in this turn, and while another question is on its way
            self._entering = self._driver.outcome(None)
            self._later("confirm", 0, self._confirm)
        return self._entering

    def _wait_no_more(self) -> None:
        """The bus is away: for who joined there is no answer to wait for."""
        self._cancel("confirm")
        asked, entering, self._asked, self._entering = self._asked, self._entering, None, None
        if asked is not None:
            asked.answered.settle()
        if entering is not None:
            entering.settle()

    # ---- heartbeats

    def _tick(self) -> None:
        assert self._line is not None
        self._later("beat", self._limits.beat, self._tick)
        self._beat += 1
        self._sent_at_beats.append(self._sent.number)
        local = self._local
        beat = Beat(self.name, self._life, self._beat, self._given, local.count(), local.member)
        self._say(self._subjects.everybody, beat)
        if self._unconfirmed:
            self._confirm()
        for other in self._members.expire(self._driver.now()):
            self._forget(other)
        audits = self._beat % AUDIT_BEATS == 0
        for other in self._members:
            if other.in_doubt:
                self._settle(other)
            elif audits and other.heard.changed:
                self._sync(other, other.heard.changed)
                other.heard.changed.clear()

    def _forget(self, other: Other) -> None:
        self._refused.discard(other.name)
        self._questions.gone(other.name)
        self._answers.give_up_all(other.name)

    def _settle(self, other: Other) -> None:
        """Ask one that is in doubt; once in a heartbeat, until it has answered."""
        now = self._driver.now()
        if now >= other.ask_again:
            other.ask_again = now + 0.9 * self._limits.beat
            self._sync(other)

    def _sync(self, other: Other, rooms: Iterable[str] = ()) -> None:
        """Ask how far it has come: in these rooms, or wherever something may be missing."""
        self._syncs += 1
        since = None
        if not rooms:
            other.asked, other.asked_at = self._syncs, self._driver.now()
            rooms, since = self._all_to_ask(other)
        entries = [(room, *other.heard.known(room)) for room in rooms]
        if not entries and since is None:
            return
        id, subject = self._syncs, self._subjects.node(other.name)

        def sync(part: list[tuple[str, int, int]], more: bool) -> Sync:
            return Sync(self.name, self._life, id, part, None if more else since)

        for data in self._in_parts(entries, sync):
            self._say_encoded(subject, data)

    def _all_to_ask(self, other: Other) -> tuple[Iterable[str], int | None]:
        """What covers everything that it may have sent: all rooms here, or what it sent meanwhile where that is less.

        A thousand nodes that come back at once and are in 300 rooms each would name 300 million rooms otherwise.
        """
        heard = other.heard
        since = heard.last or 0
        if other.answers_since and other.number - since <= min(len(self._subscribed), ROOMS_ASKED):
            return heard.changed, since
        return (self._subscribed if len(self._subscribed) <= ROOMS_ASKED else [*heard.rooms, EVERYBODY]), None

    # ---- in

    def heard(self, subject: str, data: bytes) -> None:
        """The bus: a message came. It is believed no more than a peer is."""
        if self._line is None:
            return
        try:
            message = decode(data)
        except ValueError as error:
            self._fault(f"what came under {subject!r:.100} is no message of a node: {error!s:.200}")
            return
        if message.node == self.name:
            return
        other = self._members.note(message.node, message.life, self._driver.now())
        if other is None:
            return
        try:
            _HEAR[message.__class__](self, other, message)
        except ProtocolError as error:
            self._fault(f"the node {message.node!r:.80} sent what no peer may send: {error}")
        if other.in_doubt:  # at its first sign of life, before what it sends from now on covers up what is missing
            self._settle(other)
        if self._expected and message.__class__ in _SIGNS:
            self._expected.discard(message.node)
            if not self._expected:
                self._input("all heard")

    def _fault(self, text: str) -> None:
        self._stats.faults += 1
        self._local.fault(ProtocolError(f"bus: {text}"))

    def _hear_hello(self, other: Other, hello: Hello) -> None:
        other.member, other.sockets = hello.member, hello.sockets
        other.answers_since = hello.age is not None
        other.in_doubt = other.in_doubt or other.beat > 0  # it was away
        self._members.sound(other, hello.beat, hello.number)
        if other.heard.is_new:
            self._meet(other, hello)
        if hello.asks:
            self._hello(self._subjects.node(other.name))

    def _meet(self, other: Other, hello: Hello) -> None:
        """Of one that has sent something before anybody here knew it: was this node there to hear that?"""
        since = self._subscribed.get(EVERYBODY)
        if hello.number and hello.age is not None and since is not None and since <= self._driver.now() - hello.age:
            other.in_doubt, other.heard.last = True, None  # it is asked, and its answer says when it began
        else:
            self._miss(other, other.heard.began(None, self._subscribed))

    def _hear_beat(self, other: Other, beat: Beat) -> None:
        other.member, other.sockets = beat.member, beat.sockets
        self._members.sound(other, beat.beat, beat.number)
        if other.heard.is_new and not other.in_doubt:
            self._hello(self._subjects.node(other.name), asks=True)  # its own was not heard

    def _hear_bye(self, other: Other, bye: Bye) -> None:
        self._members.remove(other.name, bye.life)
        self._forget(other)

    def _hear_emit(self, other: Other, emit: Emit) -> None:
        new = self._new_rooms(other, emit.marks)
        if not new:
            return
        if emit.wire != self._local.wire:
            self._refuse(other, emit.wire)
            return
        rooms = new if emit.rooms is None else emit.rooms
        if EVERYBODY in rooms:
            rooms = []
        for room in (*rooms, *emit.but_rooms):
            room_name(room)
        own = f"{self.name}."
        but = tuple(int(id.removeprefix(own)) for id in emit.but if id.startswith(own) and id[len(own) :].isdecimal())
        self._stats.received += 1
        self._local.deliver(Audience(tuple(rooms), but, tuple(emit.but_rooms)), emit.frame, emit.newest or None)

    def _new_rooms(self, other: Other, marks: list[Mark]) -> list[str]:
        """The rooms of an emit in which it is new here; what is missing before it is noted."""
        new: list[str] = []
        known = False
        for mark in marks:
            room = mark[0]
            if room in self._subscribed:
                missing = other.heard.message(mark, self._subscribed[room])
                known = known or missing is None
                if missing is not None:
                    new.append(room)
                    self._miss(other, missing)
        self._stats.duplicates += known and not new
        return new

    def _refuse(self, other: Other, wire: str) -> None:
        if other.name not in self._refused:
            self._refused.add(other.name)
            self._fault(
                f"the frames of the node {other.name!r} look like {wire!r:.100}, and those of this one like "
                f"{self._local.wire!r}: servers of one bus_group need the same delimiter and parser. Its events are "
                "dropped; this is said once"
            )

    def _hear_sync(self, other: Other, sync: Sync) -> None:
        marks = []
        for room, id, number in sync.rooms:
            mark = self._sent.mark(room)
            if mark is not None and mark[1:3] != (id, number):
                marks.append(mark)
        if sync.since is not None:
            more = self._sent.since(sync.since, MOST_MARKS)
            if more is None:
                return
            marks += more
        age = self._age
        for data in self._in_parts(marks, lambda part, more: Marks(self.name, self._life, sync.id, part, age)):
            self._post(self._subjects.node(other.name), data)

    def _hear_marks(self, other: Other, marks: Marks) -> None:
        if marks.id == other.asked != NOT_ASKED:
            other.in_doubt, other.heard.last = False, None  # until its next heartbeat
            self._miss(other, other.heard.began(self._began_after(other, marks.age), self._subscribed))
        for mark in marks.marks:
            if mark[0] in self._subscribed:
                self._miss(other, other.heard.told(mark, self._subscribed[mark[0]]))

    def _began_after(self, other: Other, age: float | None) -> float | None:
        """The earliest time at which it can have begun, if it is so old at its answer to what was asked."""
        if age is None or (at := other.asked_at - age) <= self._members.forgot_at:
            return None
        return at

    def _miss(self, other: Other, count: int) -> None:
        """So many messages of this node's never came; told soon, with what else is found then."""
        if not count:
            return
        self._stats.lost += count
        if not self._lost:
            self._later("gap", GAP_SECONDS, self._tell_gaps)
        self._lost[other.name] = self._lost.get(other.name, 0) + count

    def _tell_gaps(self) -> None:
        lost, self._lost = self._lost, {}
        for name, count in lost.items():
            self._local.tell("bus.gap", name, count)

    # ---- who is where

    def nodes(self) -> list[RemoteNode]:
        """The other nodes."""
        now = self._driver.now()
        return [RemoteNode(other.name, other.sockets, now - other.at) for other in self._members if other.member]

    def find(self, room: str | None, timeout: float) -> Outcome[Found]:
        """The sockets in a room, or all."""
        found = Found()
        for number, peer, claimed_id, rooms in self._local.describe(room or EVERYBODY):
            found.append(RemoteSocket(f"{self.name}.{number}", self.name, number, peer, claimed_id, frozenset(rooms)))
        nodes = self._members.names()
        if self.state is not NodeState.UP or not timeout:
            found.missing, nodes = nodes, set()
        id, outcome = self._questions.search(found, nodes, timeout)
        if nodes:
            self._say(self._subjects.everybody, Who(self.name, self._life, id, room or EVERYBODY))
        return outcome

    def _hear_who(self, other: Other, who: Who) -> None:
        if not self._local.member:
            return
        subject = self._subjects.node(other.name)

        def here(part: list[tuple[int, str, Any, list[str]]], more: bool) -> Here:
            return Here(self.name, self._life, who.id, part, more)

        def shorten(each: tuple[int, str, Any, list[str]]) -> tuple[int, str, Any, list[str]]:
            return each[0], each[1], None, [who.room] if who.room else []

        for data in self._in_parts(self._local.describe(who.room), here, shorten):
            self._say_encoded(subject, data)

    # ---- requests

    def ask(
        self,
        to: str | None,
        method: str,
        params: Raw,
        timeout: float | None,
        decode: Callable[[Any], Any],
        progress: Callable[[Raw], None] | None = None,
    ) -> Outcome[Any]:
        """Ask a socket, or any one other node."""
        node, number = (None, 0) if to is None else _place(to)
        id, outcome = self._questions.ask(method, node, timeout, decode, progress)
        if outcome.done:
            return outcome
        ask = Ask(self.name, self._life, id, number, method, timeout, params, progress is not None)
        if node == self.name:

            def answered(error: tuple[str, int, str] | None, result: Raw) -> None:
                self._questions.answered(Answer(self.name, self._life, id, error, result))

            self._answer_to(ask, answered, partial(self._questions.told, id, node))
        elif self.state is not NodeState.UP or self._line is None:
            wait = ": wait for the event 'bus.up'" if self._is_coming else ""
            self._questions.end(
                id, NotConnected(f"cannot ask {node or 'another server'}: the bus is {self._how}{wait}")
            )
        else:
            self._send_request(self._line, node, encode(ask), id)
        return outcome

    def _send_request(self, line: Line, node: str | None, data: bytes, id: int) -> None:
        try:
            self._check_size(data)
        except IPCError as error:
            self._questions.end(id, error)
            return
        if node is not None:
            gone = partial(self._questions.nobody, id, f"the node {node} is not there")
            line.request(self._subjects.node(node), data, gone)
        elif line.has_groups:
            nobody = partial(self._questions.nobody, id, "there is no other server")
            line.request(self._subjects.anybody, data, nobody)
        else:
            self._try(line, sorted(self._members.names()), data, id)

    def _try(self, line: Line, names: list[str], data: bytes, id: int) -> None:
        """Ask one of these, and if it is gone another."""
        if not names or self._line is not line:
            self._questions.nobody(id, "there is no other server")
            return
        name = names.pop(int(self._driver.random() * len(names)))
        line.request(self._subjects.node(name), data, partial(self._try, line, names, data, id))

    def _cancel_at(self, name: str, id: int) -> None:
        """Let that node know that nobody waits for its answer."""
        if name == self.name:
            self._answers.give_up((name, self._life, id))
        elif (other := self._members.get(name)) is not None and other.answers_since:  # of a version that knows of it
            self._say(self._subjects.node(name), Cancel(self.name, self._life, id))

    def _answer_to(
        self, ask: Ask, done: Callable[[tuple[str, int, str] | None, Raw], None], told: Callable[[Raw], None]
    ) -> bool:
        """Have it answered; whether that takes time."""
        key = ask.node, ask.life, ask.id

        def answered(error: tuple[str, int, str] | None, result: Raw) -> None:
            if self._answers.end(key):
                done(error, result)

        return self._answers.begin(key, lambda: self._local.answer(ask, answered, told))

    def _hear_ask(self, other: Other, ask: Ask) -> None:
        done, told = partial(self._answer, other.name, ask.id), partial(self._tell, other.name, ask)
        if self._answer_to(ask, done, told) and not ask.socket and ask.progress is not None:
            self._say(self._subjects.node(other.name), Taken(self.name, self._life, ask.id))

    def _tell(self, name: str, ask: Ask, data: Raw) -> None:
        """How far a request of that node's is."""
        encoded = encode(Progress(self.name, self._life, ask.id, data))
        if self._limit is not None and len(encoded) > self._limit:
            raise FrameTooLarge(
                f"what is told of {ask.method!r:.80} has {len(encoded)} bytes, and the bus takes {self._limit}"
            )
        self._say_encoded(self._subjects.node(name), encoded)

    def _answer(self, name: str, id: int, error: tuple[str, int, str] | None, result: Raw) -> None:
        if self._line is None:
            return
        data = encode(Answer(self.name, self._life, id, error, result))
        if self._limit is not None and len(data) > self._limit:
            text = f"the answer has {len(data)} bytes, and the bus takes {self._limit}"
            data = encode(Answer(self.name, self._life, id, ("remote", -32603, text), Raw(b"null")))
        self._say_encoded(self._subjects.node(name), data)

    # ---- the rest

    def stats(self) -> BusStats:
        """What was sent and heard so far."""
        stats = self._stats
        stats.state, stats.nodes = self.state.value, len(self._members)
        stats.waiting_messages, stats.waiting_bytes = len(self._waiting), self._waiting.bytes
        return stats

    def _later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        self._cancel(name)
        self._timers[name] = self._driver.call_later(seconds, call)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


_HEAR: dict[type, Callable[[Node, Other, Any], None]] = {
    Emit: Node._hear_emit,
    Hello: Node._hear_hello,
    Beat: Node._hear_beat,
    Bye: Node._hear_bye,
    Sync: Node._hear_sync,
    Marks: Node._hear_marks,
    Who: Node._hear_who,
    Here: lambda node, other, here: node._questions.here(here),
    Ask: Node._hear_ask,
    Taken: lambda node, other, taken: node._questions.taken(taken.id, other.name),
    Progress: lambda node, other, progress: node._questions.told(progress.id, other.name, progress.data),
    Cancel: lambda node, other, cancel: node._answers.give_up((other.name, cancel.life, cancel.id)),
    Answer: lambda node, other, answer: node._questions.answered(answer),
}
_SIGNS = (Hello, Beat)
"""What shows that a node is back, and subscribed."""


def _place(id: str) -> tuple[str, int]:
    """The node and the number in a socket's id."""
    node, _, number = id.rpartition(".")
    if not node or not number.isdecimal() or len(number) > 18:
        raise IPCError(f"{id!r:.80} is no id of a socket: everywhere.sockets() gives them, as found[0].id")
    return node, int(number)
