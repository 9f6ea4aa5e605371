"""One conversation after the other, played from seeds: what it prints must be the same with each twin.

    python differential.py FIRST COUNT [KEEP]

plays COUNT rounds from FIRST on, each on a session and a link of its own, and prints a line of each: its number and the
hash of all that happened (with KEEP, all of it): events as handlers get them, faults, bytes to the link, what ``emit``
returned or raised, counters, what is held. ``compare.py`` holds the two twins against each other.

Annotations are evaluated here: as texts they would be resolved for each handler of each round, a third of its time.
"""

import array
import asyncio
import contextvars
import hashlib
import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from node_ipc import Config, Event
from node_ipc.core.events import Events, while_connected
from node_ipc.core.seam import Peer
from node_ipc.core.session import Loss, Session, broadcast
from node_ipc.core.watch import Told, Watch, Watches
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.errors import IPCError
from node_ipc.wire.carried import Carried, carrying
from node_ipc.wire.codec import choose

HERE: contextvars.ContextVar[int] = contextvars.ContextVar("HERE", default=0)

CONFIGS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"parser": "fast"},
    {"max_message_size": 90},
    {"delimiter": "<E>"},
    {"delimiter": "\n", "message_timeout": 1000},
    {"heartbeat": 500, "heartbeat_timeout": 1000},
    {"max_handler_frames": 2},
    {"max_pending_bytes": 300, "soft_pending_bytes": 100, "slow_policy": "drop_oldest"},
    {"max_pending_bytes": 300, "soft_pending_bytes": 100, "slow_policy": "drop_newest"},
    {"max_pending_bytes": 300, "soft_pending_bytes": 100, "slow_timeout": 500},
    {"max_event_name_length": 10, "allow_reserved_events": True},
    {"raw_buffer": True},
    {"enc_hook": lambda value: repr(type(value)), "dec_hook": lambda type, value: type(value)},
)


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


class Name(str):
    """A subclass of text."""


PAYLOADS: tuple[Any, ...] = (
    {}, None, 1, -1.5, "text", "é\u2028", [1, [2, {"a": []}]], {"x": 1, "y": 2}, {"x": "no"}, {"k": "v" * 60},
    "z" * 1500, float("nan"), "\ud800", b"bytes", msgspec.Raw(b"[1,2]"), msgspec.Raw(b'"\x0c"'), object(), {1: {2}},
    Point(3), [[[[[[]]]]]], 10**30, list(range(40)), "<E> }\n", bytes(17_000), {"a": array.array("h", range(9000))},
)  # fmt: skip
NAMES: tuple[Any, ...] = (
    "plain", "echo", "typed", "raw", "a", "unheard", "slow", "é", 'q"\\', "", "connect", "error", Event("typed", Point),
    Name("plain"), ["list"], 7, "x" * 70, "ipc.ping",
)  # fmt: skip
BODIES = (
    b"{}", b"1", b'"t"', b"null", b'{"x":1,"y":2.5}', b'{"x":"no"}', b"[1,2,3]", b'"\\ud800"', b"1e400", b"01", b"",
    b" 5", b"5 ", b'{"x":1}', b"[" * 30 + b"]" * 30, b'"\xc3\xa9"', b'"\xff"', b"[1,]", b'1,"b":2', b'1,"type":"raw"',
    b"9" * 30, b'"' + b"s" * 200 + b'"', b"\x0b1", b'{"behind":1}', b'"\x01"', b"true}", b"[0" + b",0" * 20 + b"]",
)  # fmt: skip
HEARD = (
    b"plain", b"echo", b"typed", b"raw", b"fails", b"closes", b"aborts", b"leaves", b"both", b"once", b"slow",
    b"lambda", b"true", b"interrupt", b"reads", b"types", b"unheard", b"connect", b"error", b"ipc.ping", b"ipc.pong",
    b"\xc3\xa9", b"a\\u0062", b"n" * 65, b"", b"tick", b"converted", b"exit", b"number", b"deletes", b"context",
    b"stars", b"pauses",
)  # fmt: skip
ATTACHED = b'{"attachments":[{"at":[],"size":4}],"type":"%(name)s","data":null}\x0c{\xff\x0c'
"""With four bytes behind it, of which the last is the delimiter that is put behind a message."""
GOOD = tuple(name for name in HEARD if name not in (b"closes", b"aborts", b"connect", b"error", b"", b"n" * 65))


def message(dice: random.Random, bad: float) -> bytes:
    """A frame: mostly as we write it, sometimes as others do, and ``bad`` times as nobody should."""
    if dice.random() >= bad:
        name, body = dice.choice(dice.choice((HEARD[:4], GOOD))), dice.choice(BODIES[:7])
        if dice.random() < 0.02:
            body = b'"%s"' % (b"large" * 20)
        others = (
            b'{"data":%(body)s, "type":"%(name)s"}', b'{"type":"%(name)s","data": %(body)s }',
            b'{"type":"%(name)s","data":%(body)s,"attachments":1}', ATTACHED,
        )  # fmt: skip
        shape = dice.choice((b'{"type":"%(name)s","data":%(body)s}',) * 12 + others)
        return shape % {b"name": name, b"body": body}
    name, body, kind = dice.choice(HEARD), dice.choice(BODIES), dice.random()
    if kind < 0.3:
        return b'{"type":"%s","data":%s}' % (name, body)
    shapes = (
        b'{"data":%(body)s,"type":"%(name)s"}', b'{ "type" : "%(name)s" , "data" : %(body)s }', b'{"type":"%(name)s"}',
        b'{"type":"%(name)s","data":%(body)s,"more":1}', b'{"type":1,"data":%(body)s}', b'{"data":%(body)s}',
        b"[%(body)s]", b'{"type":"%(name)s","data":%(body)s}}', b'{"type":"%(name)s","data":%(body)s', b"%(body)s",
        b'{"type":"%(name)s" ,"data":%(body)s}', b'{"type":"%(name)s","data":%(body)s} ', b"",
        b'{"typo":"%(name)s","data":%(body)s}', b'{"type":"%(name)s","data":%(body)s,"data":2}',
    )  # fmt: skip
    if kind < 0.97:
        return dice.choice(shapes) % {b"name": name, b"body": body}
    frame = bytearray(b'{"type":"%s","data":%s}' % (name, body))
    frame[dice.randrange(len(frame))] = dice.randrange(256)
    return bytes(frame)


class Recorder(Watch):
    """Notes what is watched."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told:
        self._note("emitting", name, data)
        carrier["from"] = "here"
        return lambda size, error: self._note("emitted", size, error)

    def handling(self, name: str, message: Carried, socket: Any) -> None:
        self._note("handling", name, message.type, message.size, message.carrier, socket is not None)

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        self._note("watched, unheard", name, message.type)


class Round:
    """A session, the link under it, and the endpoint above it; notes all that they hear."""

    peer = Peer("memory", pid=1)

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.notes: list[str] = []
        self.bad = self.dice.choice((0, 0, 0, 0.01, 0.3))
        self.driver = MemoryDriver()
        options = dict(self.dice.choice(CONFIGS))
        self.settings = Config(secure_socket_root=True, socket_root="/x/", **options).settings()
        self.codec = choose(self.settings)
        self.serving = self.dice.random() < 0.5
        self.carries = 2 if self.serving else 1
        self.events: Events[Any] = Events(
            self.carries, self.codec.check_name, self._failed, self.driver.spawn,
            gives_raw=self.codec.gives_raw, dec_hook=self.settings.dec_hook,
        )  # fmt: skip
        self.delimiter = self.settings.delimiter_bytes
        self.full = self.is_gone = False
        self.unread = self.dice.choice((None, 0, 40))
        self.depth = 0
        self.kept = b""
        self.session = Session(self, self.codec, self.events, self.driver, self.settings, 1, self.serving)  # type: ignore[arg-type]
        self._register()
        self.session.opened(self)

    def note(self, what: str, *details: Any) -> None:
        self.notes.append(what + " " + " ".join(map(_told, details)))

    # the endpoint

    def address_of(self, session: Session) -> str:
        return "address"

    def session_opened(self, session: Session) -> None:
        self.note("opened")

    def session_paused(self, session: Session, why: str) -> None:
        self.note("paused", why)

    def session_closing(self, session: Session) -> None:
        self.note("closing")

    def session_lost(self, session: Session, loss: Loss) -> None:
        self.note("lost", loss)

    def answers_first(self, session: Session) -> bool:
        return False

    def session_fault(self, session: Any, error: IPCError) -> None:
        self.note("fault", error, error.__cause__)

    def _failed(self, session: Any, error: IPCError) -> None:
        self.note("failed", error, error.__cause__, session is not None, sys.exc_info()[1])

    def pending_changed(self, session: Session, pending: int) -> None:
        self.note("pending", pending)

    # the link

    def write(self, data: bytes) -> None:
        self.note("write", data)
        if self.dice.random() < 0.02:
            raise KeyboardInterrupt
        if self.dice.random() < 0.1:
            self.full = True
            self.session.pause()

    def write_parts(self, parts: list[Any]) -> None:
        self.write(b"".join(parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...

    def pending_bytes(self) -> int:
        return 50 if self.full else 0

    def unread_bytes(self) -> int | None:
        return self.unread

    def all_arrived(self) -> bool:
        return True

    def close(self) -> None:
        self.note("close")

    def abort(self) -> None:
        self.note("abort")
        self.driver.call_later(0, self.lose)

    def pause_reading(self) -> None:
        self.note("pause")

    def resume_reading(self) -> None:
        self.note("resume")

    def lose(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.session.lost(None)

    # handlers

    def _register(self) -> None:
        on, names = self.events.on, ("plain", "both", "both", "é", "stars")
        for name in names:
            on(name, self._hears(name))
        self.events.once("once", self._hears("once"))
        on("echo", lambda data: self.session.emit("echo", data))
        on("fails", self._fails)
        on("closes", lambda data: self.session.close())
        on("aborts", lambda data: self.session.abort())
        on("leaves", lambda data: self.events.off("leaves"))
        on("deletes", lambda data: self.events.off("plain"))
        on("interrupt", self._interrupt)
        on("exit", self._exit)
        on("reads", self._reads)
        on("types", self._types)
        on("true", lambda data: True)
        on("number", lambda data: 17)
        on("slow", self._slow)
        on("lambda", lambda data: self._slow(data))
        on("tick", self._ticking())
        on("context", self._context)
        on("pauses", lambda data: self.session.pause_reading("inbox", True))
        if self.dice.random() < 0.4:
            on("typed", self._hears("typed"), type=Point)
            on("raw", self._hears("raw"), type=msgspec.Raw)
        if self.dice.random() < 0.2:
            on("converted", self._hears("converted"), type=bytes)
        if self.dice.random() < 0.15:
            on("*", lambda *all: self.note("star", *all[:2]))
        if self.dice.random() < 0.15:
            self.events.tap(lambda *all: self.note("tap", *all[:2]), ours=True)
        if self.dice.random() < 0.3:
            self.events.answer_heartbeats()
        if self.dice.random() < 0.2:
            self.session.traffic = lambda trace: self.note("traffic", trace.what, trace.messages, trace.bytes)
        if self.dice.random() < 0.3:
            self.session.heard = lambda: self.note("heard")
        if self.dice.random() < 0.1:
            self._watch()
        if self.dice.random() < 0.3:
            self.events.unheard = lambda type, data, session: self.note("unheard", type, data)

    def _watch(self) -> None:
        watches = Watches()
        watches.add(Recorder(self.note))
        self.events.watch(watches)
        if self.dice.random() < 0.8:  # otherwise the codec is still the plain one
            self.session.use(carrying(self.codec, watches))

    def _hears(self, name: str) -> Callable[..., Any]:
        def hear(data: Any, socket: Any = None) -> None:
            current = self.events.current is self.session
            self.note("hears", name, data, socket is self.session, current, self.session.incoming.size_at_hand())

        return hear

    def _fails(self, data: Any) -> None:
        self.events.off("fails", self._fails)
        try:
            [][1]
        finally:
            self.events.on("fails", self._fails)

    def _interrupt(self, data: Any) -> None:
        raise KeyboardInterrupt

    def _exit(self, data: Any) -> None:
        raise SystemExit(2)

    def _reads(self, data: Any) -> None:
        if self.depth < 2:
            self.read(self.frames(3))

    def _types(self, data: Any) -> None:
        self.events.on("plain", self._hears("plain, typed"), type=Point)

    async def _slow(self, data: Any) -> None:
        self.note("begins", data)
        await asyncio.sleep(self.dice.choice((0, 0.1, 0.7)))
        self.session.emit("echo", data) if self.session.is_open else None
        self.note("ends", data)

    def _ticking(self) -> Callable[..., Any]:
        @while_connected
        async def tick(data: Any) -> None:
            await self._slow(data)

        return tick

    def _context(self, data: Any) -> None:
        self.note("context", HERE.get())
        HERE.set(HERE.get() + 1)

    # what happens

    def frames(self, most: int) -> bytes:
        return b"".join(message(self.dice, self.bad) + self.delimiter for _ in range(self.dice.randint(1, most)))

    def read(self, data: bytes) -> None:
        data, self.kept = self.kept + data, b""
        if self.dice.random() < 0.25:  # the rest of the last message comes later, or never
            cut = len(data) - self.dice.randrange(min(len(data), 40))
            data, self.kept = data[:cut], data[cut:]
        self.depth += 1
        try:
            while data and not self.is_gone:
                size = self.dice.choice((1, 3, 17, 200, 5000, 5000, 65536))
                self.attempt("read", self.session.received, data[:size])
                data = data[size:]
        finally:
            self.depth -= 1

    def attempt(self, what: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        try:
            self.note(what, call(*arguments, **named))
        except AssertionError:  # wrong with each twin
            raise
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self.note(what + " raised", error, error.__cause__)

    def emit(self) -> None:
        type, data, how = self.dice.choice(NAMES), self.dice.choice(PAYLOADS), self.dice.random()
        session = self.session
        if how < 0.05:
            self.attempt("emit", session.emit, type)
        elif how < 0.1:
            self.attempt("emit", session.emit, data=data, type=type)
        elif how < 0.12:
            self.attempt("emit", session.emit, *self.dice.choice(((), (type, data, 3))))
        elif how < 0.14:
            with self.driver.other_thread():
                self.attempt("emit", session.emit, type, data)
        elif how < 0.2:
            self.attempt("encode", session.encode, type, data)
        else:
            self.attempt("emit", session.emit, type, data)

    def broadcast(self) -> None:
        frame = b'{"type":"plain","data":"%s"}' % (b"all" * self.dice.choice((1, 1, 600))) + self.delimiter
        self.attempt(
            "broadcast", lambda: len(broadcast(self.dice.choice(([self.session] * 3, (self.session,))), frame))
        )

    def burst(self) -> None:
        for number in range(self.dice.choice((3, 70, 140))):
            self.attempt("emit", self.session.emit, "plain", number)

    def writable(self) -> None:
        if self.full:
            self.full = False
            self.session.writable()

    def end(self) -> None:
        how = self.dice.random()
        if how < 0.3:
            self.session.ended()
        elif how < 0.5:
            self.session.ending()
        elif how < 0.7:
            self.session.close()
        elif how < 0.8:
            self.session.abort()
        elif how < 0.9:
            self.lose()

    def advance(self) -> None:
        self.attempt("advance", self.driver.advance, self.dice.choice((0.0, 0.0, 0.05, 0.6, 1.5)))

    def play(self) -> None:
        deeds = [lambda: self.read(self.frames(12))] * 8 + [self.emit] * 4 + [self.writable, self.advance] * 2
        deeds += [self.broadcast, self.burst, lambda: self.read(self.frames(150))]
        for _ in range(self.dice.randint(3, 14)):
            if not self.is_gone:
                self.attempt("deed", self.dice.choice(deeds))
                self._look()
        if self.dice.random() < 0.3:
            self.session.pause_reading("inbox", False)
        self.attempt("end", self.end)
        for _ in range(4):
            self.attempt("advance", self.driver.advance, 3.0)
        self._look()
        self.attempt("lose", self.lose)
        self.note("left", self.events.current, HERE.get(), self.session.loss)

    def _look(self) -> None:
        session, events = self.session, self.events
        stats = msgspec.structs.asdict(session.stats()) | {"paused": sorted(session.stats().paused)}
        self.note(
            "stats",
            stats,
            session.pending_bytes,
            session.outgoing.next_number,
            session.outgoing.below_soft,
            session.is_full,
        )
        self.note("state", session.unsent(), session.is_reading_paused, session.is_open, events.wants_raw)


def _told(value: Any) -> str:
    """A value as it is the same in two processes."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({_told(str(value))})"
    if isinstance(value, msgspec.Raw):
        return f"Raw({bytes(value)!r})"
    text = repr(value)
    return text.split(" at 0x")[0] if " at 0x" in text else text


def play(dice: random.Random) -> list[str]:
    one = Round(dice)
    contextvars.Context().run(one.play)
    one.attempt("close", one.driver.close)
    return one.notes


def main(first: int, count: int, keep: bool) -> None:
    for number in range(first, first + count):
        notes = play(random.Random(number))
        print(number, len(notes), hashlib.sha256("\n".join(notes).encode("utf-8", "surrogatepass")).hexdigest()[:16])
        if keep:
            print("\n".join(notes).encode("utf-8", "backslashreplace").decode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3)
