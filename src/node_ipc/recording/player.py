"""Says again what the clients of a recording said, at the times at which they said it, and compares the answers.

It knows a driver and nothing of sockets or loops, so a recorded hour is played in no time on a virtual clock. Each
recorded link becomes a link of its own. What was recorded is sent as it was: nothing is decoded or refused on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from ..config.address import Address
from ..config.config import Config
from ..core.outcome import Outcome
from ..core.requests import REQUEST, RESPONSE
from ..core.seam import Driver, Link, Timer
from ..errors import NotConnected
from ..wire.attached import without_offer
from ..wire.json import decode_raw_envelope
from ..wire.names import PING, PONG
from .compare import BytesComparison, Message, MessageComparison
from .format import Entry, RecordingError, text_in_json
from .frames import Cutter, Frame, Loaded, Long, asked_in, pong_to
from .paths import Paths
from .reader import Recording

__all__ = ["PATIENCE", "Played", "Player", "frame_of"]

PATIENCE = 5.0
"""Seconds that the answers may take once everything was sent, and a server that takes nothing."""
SETTLING = 0.2
"""Seconds in which more than was recorded may come behind the last expected answer."""
MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""
HEARTBEATS = (PING, PONG)


@dataclass(slots=True)
class Played:
    """How it went."""

    links: int = 0
    sent: int = 0
    """Messages, or (raw mode) reads."""
    answers: int = 0
    """Messages that came, heartbeats not counted; of raw mode bytes."""
    faults: list[str] = field(default_factory=list)
    """What could not be said again, and why."""
    differences: list[str] = field(default_factory=list)
    """What the server said otherwise than recorded, where that was asked."""


class Player:
    """Plays one recording against one server.

    speed: 2 is twice as fast, infinity without any pause.
    only: the events that are sent, and compared, all others are left out; requests also by their methods.
    compare: whether the answers are compared, ``ignore`` naming what in them may differ.
    patience: seconds for the answers once everything was sent, and for a server that takes nothing.

    Raises:
        RecordingError: there is nothing in the recording that could be sent.
    """

    def __init__(
        self,
        recording: Recording,
        driver: Driver,
        target: Address,
        settings: Config,
        *,
        speed: float = 1.0,
        only: Collection[str] = (),
        compare: bool = False,
        ignore: Paths | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.driver = driver
        self.target = target
        self.settings = settings
        self.only = frozenset(only)
        self.compare = compare
        self.patience = patience
        self.is_bytes = recording.header.mode == "bytes"
        self.delimiter = b"" if self.is_bytes else settings.delimiter.encode()
        self.ignore = Paths([*recording.header.redacted, *(ignore.texts if ignore else [])])
        self.done: Outcome[Player] = driver.outcome(self)
        """Settled when everything was played, with the error where there is no server."""
        self.played = Played()
        """How it went; complete once it is done."""
        self._speed = speed
        self._refuse_nothing(recording)
        self._entries: Iterator[Entry] = iter(recording)
        self._next: Entry | None = None
        self._first_time = 0.0
        self._begin = driver.now()
        self._sides: dict[int, _Conversation] = {}
        self._full: set[_Conversation] = set()
        self._is_read = False
        self._timer: Timer | None = None
        self._last: Timer | None = None

    def _refuse_nothing(self, recording: Recording) -> None:
        if not recording.header.payloads:
            raise RecordingError(f"{recording} has no payloads, so nothing can be said again: record with --payloads")
        sides = {entry.side for entry in recording}
        if "client" not in sides:
            why = "node-ipc record only listens: record with node-ipc tap" if "server" in sides else "it is empty"
            raise RecordingError(f"in {recording} no client says anything, so nothing can be said again: {why}")
        if self.only and not any(self.is_wanted(entry, set()) for entry in recording if entry.side == "client"):
            raise RecordingError(
                f"in {recording} no client sends {' or '.join(map(repr, sorted(self.only)))}, so nothing would be sent"
            )

    def start(self) -> Player:
        """Begin; the rest happens as the driver's time goes on."""
        self._next = next(self._entries)
        self._first_time = self._next.time
        self._begin = self.driver.now()
        self._go_on()
        return self

    # ---- through the recording

    def _go_on(self) -> None:
        """Do what is due, until time or a server that takes nothing more says to wait."""
        self._timer = None
        while self._next is not None and not self.done.done:
            if self._full:
                self._timer = self.driver.call_later(self.patience, self._takes_nothing)
                return
            wait = self._begin + (self._next.time - self._first_time) / self._speed - self.driver.now()
            if wait > 0:
                self._timer = self.driver.call_later(wait, self._go_on)
                return
            entry, self._next = self._next, None
            self._do(entry)
            try:
                self._next = next(self._entries, None)
            except RecordingError as error:
                self.fail(error)
                return
        if not self.done.done:
            self._all_read()

    def _do(self, entry: Entry) -> None:
        if not entry.link:
            return
        side = self._sides.get(entry.link)
        if entry.event == "disconnect":
            if side is not None:
                side.end()
        elif not entry.event or entry.event == "connect":
            if side is None:
                self.played.links += 1
                side = self._sides[entry.link] = _Conversation(self, entry)
            if entry.side:
                side.play(entry)

    def is_wanted(self, entry: Entry, asked: set[bytes]) -> bool:
        """Whether ``only`` wants this message; ``asked``: the ids of the requests that it wanted."""
        if entry.type is UNSET:
            return not self.only
        data = b"" if entry.data is UNSET else bytes(entry.data)
        return self.wants(entry.type, data, asked)

    def wants(self, type: str, data: bytes, asked: set[bytes]) -> bool:
        """Whether a message of this event is sent, or compared."""
        if type in HEARTBEATS:
            return False
        if not self.only or type in self.only:
            return True
        if type not in (REQUEST, RESPONSE):
            return False
        request = asked_in(data)
        if type == REQUEST and request.method in self.only:
            asked.add(bytes(request.id))
            return True
        return type == RESPONSE and bytes(request.id) in asked

    # ---- what conversations tell

    def full(self, side: _Conversation) -> None:
        """The server takes nothing more at present: the rest of the recording waits."""
        self._full.add(side)

    def writable(self, side: _Conversation) -> None:
        self._full.discard(side)
        if not self._full and not self._is_read:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.driver.call_later(0, self._go_on)

    def changed(self) -> None:
        """An answer came, or a link is over."""
        if not self._is_read or self.done.done or self._last is not None:
            return
        if all(side.is_over or (self.compare and side.is_satisfied) for side in self._sides.values()):
            is_open = any(not side.is_over for side in self._sides.values())
            self._last = self.driver.call_later(SETTLING if is_open else 0, self._finish)

    def abort(self) -> None:
        """Play no further, and cut what is open; nothing once it is done."""
        if not self.done.done:
            self._stop()

    def fail(self, error: Exception) -> None:
        """Nothing can be played."""
        if not self.done.done:
            self._stop()
            self.done.settle(error)

    # ---- the end

    def _all_read(self) -> None:
        self._is_read = True
        for side in list(self._sides.values()):
            if not self.compare:
                side.end()
        self._timer = self.driver.call_later(self.patience, self._finish)
        self.changed()

    def _takes_nothing(self) -> None:
        sent = self.played.sent
        self.fail(
            NotConnected(
                f"the server at {self.target} has taken nothing for {self.patience:g} s, after {sent} messages"
            )
        )

    def _finish(self) -> None:
        if self.done.done:
            return
        self._stop()
        if self.compare:
            for side in self._sides.values():
                self.played.differences += side.differences()
        self.done.settle()

    def _stop(self) -> None:
        for timer in (self._timer, self._last):
            if timer is not None:
                timer.cancel()
        for side in self._sides.values():
            side.abort()


class _Conversation:
    """One recorded link, and the one that plays it; as a driver sees it, a receiver."""

    def __init__(self, player: Player, entry: Entry) -> None:
        self.is_over = False
        self._player = player
        self._name = f"link {entry.link} ({entry.peer})" if entry.peer else f"link {entry.link}"
        self._link: Link | None = None
        self._waiting: list[bytes] = []  # until it is open
        self._is_ending = False
        self._unsent = 0
        self._asked: set[bytes] = set()
        self._cutter = Cutter(player.delimiter, MOST_BYTES)
        self._messages = MessageComparison(player.ignore)
        self._bytes = BytesComparison()
        self._timer: Timer | None = None
        self._opening = player.driver.open(player.target, self, player.settings)

    @property
    def is_satisfied(self) -> bool:
        """Whether as much came as was recorded."""
        return self._messages.is_satisfied and self._bytes.is_satisfied

    def differences(self) -> list[str]:
        """What differs, each with the link's name."""
        found = [*self._messages.differences(), *self._bytes.differences()]
        return [f"{self._name}: {each}" for each in found]

    # ---- what the recording says

    def play(self, entry: Entry) -> None:
        """Send this, or expect it."""
        if entry.side == "client":
            self._send(entry)
        elif self._player.compare:
            self._expect(entry)

    def end(self) -> None:
        """The client ended the link there; answers that are late are waited for."""
        self._is_ending = True
        self._end_when_answered()

    def _send(self, entry: Entry) -> None:
        player = self._player
        if not player.is_wanted(entry, self._asked):
            return
        frame = frame_of(entry)
        if frame is None:
            player.played.faults.append(
                f"{self._name}: a message of {entry.bytes} bytes was not kept, so it is not sent"
            )
        elif self.is_over:
            self._unsent += 1
            if self._unsent == 1:
                player.played.faults.append(f"{self._name}: the server has ended it, so what comes next is not sent")
        else:
            player.played.sent += 1
            self._write(frame + player.delimiter)

    def _write(self, data: bytes) -> None:
        if self._link is None:
            self._waiting.append(data)
        else:
            self._link.write(data)

    def _expect(self, entry: Entry) -> None:
        player = self._player
        frame = frame_of(entry)
        if frame is None or not player.is_wanted(entry, self._asked):
            return
        if player.is_bytes:
            self._bytes.expect(frame)
        elif entry.type is UNSET or entry.data is UNSET:
            self._messages.expect(Message(None, frame))
        else:
            self._messages.expect(Message(entry.type, bytes(entry.data)))

    def _end_when_answered(self) -> None:
        if not self._is_ending or self.is_over or self._link is None:
            return
        if not self._player.compare or self.is_satisfied:
            self._link.close()
        elif self._timer is None:
            self._timer = self._player.driver.call_later(self._player.patience, self._link.close)

    # ---- what the driver tells

    def opened(self, link: Link) -> None:
        self._link = link
        for data in self._waiting:
            link.write(data)
        self._waiting.clear()
        self._end_when_answered()

    def failed(self, error: Exception) -> None:
        self.is_over = True
        self._player.fail(error)

    def received(self, data: bytes) -> None:
        if self._player.is_bytes:
            self._player.played.answers += len(data)
            self._bytes.hear(data)
        else:
            for frame in self._cutter.cut(data):
                self._hear(frame)
        self._end_when_answered()
        self._player.changed()

    def _hear(self, frame: Frame) -> None:
        player = self._player
        if (pong := pong_to(frame)) is not None:
            self._write(pong + player.delimiter)
            return
        message = _message_of(frame)
        if message.type in HEARTBEATS:
            return
        player.played.answers += 1
        if player.compare and (message.type is None or player.wants(message.type, message.data, self._asked)):
            self._messages.hear(message)

    def ending(self) -> None: ...

    def ended(self) -> None:
        if self._link is not None:
            self._link.close()

    def pause(self) -> None:
        self._player.full(self)

    def writable(self) -> None:
        self._player.writable(self)

    def lost(self, error: Exception | None) -> None:
        self.is_over = True
        if error is not None and not self._is_ending:
            self._player.played.faults.append(f"{self._name}: {error}")
        if self._timer is not None:
            self._timer.cancel()
        self._player.writable(self)
        self._player.changed()

    def abort(self) -> None:
        """It is not needed any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._opening.cancel()
        if self._link is not None and not self.is_over:
            self._link.abort()


def frame_of(entry: Entry) -> bytes | None:
    """What was on the wire; None where it was not kept."""
    if entry.type is not UNSET:
        if entry.data is UNSET:
            return None
        return b'{"type":%b,"data":%b}' % (text_in_json(entry.type), bytes(entry.data))
    if entry.frame is not UNSET:
        return entry.frame.encode()
    if entry.hex is not UNSET:
        try:
            return bytes.fromhex(entry.hex)
        except ValueError:
            return None
    return None


def _message_of(frame: Frame) -> Message:
    if isinstance(frame, Long):
        return Message(None, frame.begin)
    if isinstance(frame, Loaded):
        return Message(frame.announced.type, bytes(frame.announced.data))
    frame = without_offer(frame)
    try:
        event = decode_raw_envelope(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Message(None, frame)
    return Message(event.type, bytes(event.data))
