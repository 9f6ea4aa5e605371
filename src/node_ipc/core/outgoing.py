"""The outgoing half of a session: messages to bytes, and what waits for a peer that does not take them.

``Session.emit`` encodes at once (a payload changed later goes out as it was, and its errors belong to the caller) and
appends the frame to ``frames``. The first write of a turn goes to the link at once, what follows is written together:
at the end of the read or of the turn, every 64 frames, or every 16 KiB. While the kernel is full, frames wait here,
within the limits.

A message with large bytes is a parcel, and no frame: joining it to the frames fails, and then each is written in the
form that the link's other end takes.

It numbers what it sent, so that ``arrivals`` and the answers of the peer can prove what has arrived.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ..config import twin
from ..config.checks import NO_LIMIT
from ..config.interrupted import interrupted
from ..errors import BackpressureError, FrameTooLarge, IPCError
from ..wire.parcel import Parcel
from .arrivals import Arrivals, next_look
from .newest import FrameQueue, Newest
from .seam import INSTANT, NOBODY, NOWHERE, Gone

if TYPE_CHECKING:
    from ..config.config import Config
    from ..wire.codec import Codec
    from .seam import Driver, Link, Peer, Timer
    from .trace import TraceHook

__all__ = [
    "COUNTED_BYTES",
    "FLUSH_BYTES",
    "FLUSH_FRAMES",
    "NEVER",
    "Answer",
    "Attaching",
    "Outgoing",
    "Speaker",
    "step",
    "uncounted",
]

FLUSH_FRAMES = 64
"""Frames written together. Both ends work in lockstep with more, and make more calls with less: pipelined echo
ran at 231,000 messages a second with one flush a read, at 457,000 with 64; 16 and 256 were worse."""
COUNTED_BYTES = 1024
"""A frame up to this size is counted, not weighed: the limits are off by 64 KiB at the most."""
FLUSH_BYTES = 16 * 1024
MOST_UNPROMISED = 1024
"""Of so many it is kept that nobody counts on them; the others keep a close waiting."""
STEP_SECONDS, LATE_SECONDS = 1.0, 0.5
"""A peer's time for something is measured in steps of so many seconds. Where one comes so late, this process was held
up itself (by a handler, or because nobody called the blocking front), and it is not counted against the peer."""
NEVER = sys.maxsize


def step(seconds: float) -> float:
    """How long the next step is, where so much time is left."""
    return min(seconds, STEP_SECONDS)


def uncounted(late: float) -> float:
    """The seconds that are not counted against a peer, where a step came so late."""
    return late + STEP_SECONDS if late > LATE_SECONDS else 0.0


class Answer(bytes):
    """A frame that says: whatever was emitted before the question came is before this."""

    __slots__ = ()


class Attaching(Enum):
    """What is known of the other end and attachments."""

    OFF = "off"
    """This side neither sends nor takes them."""
    UNKNOWN = "unknown"
    OFFERED = "offered"
    """It was told that this side takes them."""
    AGREED = "agreed"
    """It takes them."""


class Speaker(Protocol):
    """The session, as far as its outgoing half tells it anything."""

    traffic: TraceHook | None

    def sent(self, messages: int, size: int) -> None:
        """So much went to the link; told only where ``traffic`` listens."""

    def pending_changed(self, pending: int) -> None:
        """So many bytes wait for the kernel."""

    def pending_judged(self, few: bool) -> None:
        """They are on the other side of ``soft_pending_bytes`` now."""

    def drop(self, count: int) -> None:
        """So many messages are never sent."""

    def replace(self, count: int) -> None:
        """So many messages are never sent, since there are newer ones of their events."""

    def takes_more_again(self) -> None:
        """No more than ``soft_pending_bytes`` wait, though the kernel has not taken everything."""

    def cut(self, reason: IPCError) -> None:
        """The peer is too slow."""

    def offers_attachments(self) -> None:
        """The peer is told that this side takes attachments: from now on it has to."""


class Outgoing:
    """What one link is to send.

    The names without an underscore are there for ``Session.emit`` and its relatives, which run once for each message
    and would pay for a call more.
    """

    __slots__ = (
        "_arrivals",
        "_bytes",
        "_delimiter",
        "_driver",
        "_given",
        "_is_heavy",
        "_link",
        "_look_at",
        "_newest",
        "_newest_given",
        "_newest_since",
        "_posted",
        "_settings",
        "_skipped",
        "_slow_due_at",
        "_slow_step_at",
        "_slow_taken",
        "_slow_timer",
        "_speaker",
        "_unpromised",
        "_weighed",
        "attaching",
        "below_soft",
        "bytes_out",
        "confirmed",
        "corked",
        "encode",
        "frames",
        "home",
        "is_full",
        "is_open",
        "left",
        "messages_out",
        "thread",
        "turn",
    )

    def __init__(self, speaker: Speaker, codec: Codec, driver: Driver, settings: Config) -> None:
        self._speaker = speaker
        self._driver = driver
        self._settings = settings
        self._link: Link | None = None
        self.thread = driver.thread
        self.is_open = False
        """Emits are taken."""
        self.home = NOWHERE
        """The thread that may emit here; the others post. ``NOWHERE`` in a forked child and where nobody may."""
        self.encode = codec.encode
        self._delimiter = b"" if codec.raw else settings.delimiter_bytes
        self._given: bytes | list[Any] = b""  # what went to the link last, while that could not pass on all of it
        self.attaching = Attaching.UNKNOWN if codec.attaches else Attaching.OFF
        self.frames: list[bytes] = []
        """What waits for the next write, in order: always the same list."""
        self._weighed = 0  # how many of them are in _bytes
        self._bytes = 0
        self.corked = False
        """A flush is coming: of the read, of the turn, or when the kernel takes more."""
        self.turn = False
        """The driver will call ``turn_ended``."""
        self.is_full = False
        """The kernel takes nothing for now."""
        self.below_soft = True
        """No more than ``soft_pending_bytes`` wait, without what may still be replaced."""
        self._is_heavy = False  # more than that wait, with it
        self._slow_timer: Timer | None = None
        self._slow_due_at = self._slow_step_at = 0.0
        self._slow_taken = 0  # what the peer had taken when the timer was armed
        self.messages_out = self.bytes_out = 0
        self.left = 0
        """Messages that never went to the link, once it is gone."""
        self.confirmed = 0
        """The number of the last message of this side that is known to have arrived; they are counted from 1."""
        self._unpromised: set[int] | None = None  # numbers of messages that nobody counts on
        self._skipped = 0  # numbers of messages that were dropped to make room
        self._look_at = next_look(1)  # with so many messages out, the kernel is asked what the peer has read
        self._arrivals: Arrivals | None = None
        self._posted = FrameQueue()  # by other threads
        self._newest: Newest | None = None  # which of the frames may be replaced; None until there was one
        self._newest_since = 0  # the messages that had gone out when the oldest of them came: one more, and all went
        self._newest_given = 0  # how much of what waits in the link was such

    # ---- life

    def open(self, link: Link) -> None:
        """Emits are taken from now on."""
        self._link = link
        self.is_open = True
        self.home = self._driver.home

    def fork(self) -> None:
        """In the child of a fork nobody may emit."""
        if self.is_open:
            self.home = NOWHERE

    def shut(self) -> None:
        """Take nothing more; what is there already still goes out."""
        self.is_open = False
        self.home = NOWHERE
        self._cancel_slow()

    def end(self, peer: Peer | None) -> int:
        """The link is gone: how many messages never went to it; the same when asked again."""
        self.left += len(self.frames) + len(self.take_posted()[0])
        self.frames.clear()
        self._newest = None
        self._weighed = self._bytes = 0
        self._speaker = NOBODY
        if peer is not None:
            self._link = Gone(peer)
        return self.left

    # ---- one frame

    def write(self, frame: bytes) -> bool:
        """Send a frame that is encoded already; whether no more than ``soft_pending_bytes`` wait then."""
        self.frames.append(frame)
        if self.corked and len(self.frames) % FLUSH_FRAMES and len(frame) <= COUNTED_BYTES:
            return self.below_soft
        return self.press(frame)

    def answer(self, type: str, data: Any) -> bool:
        """Send an answer in its turn: behind all that was emitted so far, and behind what takes the place of that."""
        return self.write(Answer(self.encode(type, data)))

    def press(self, frame: bytes) -> bool:
        """The first frame of a turn, every 64th, or a large one; it is the last of ``frames``."""
        if self.is_full:
            return self._wait_for_kernel(frame)
        if not self.corked:
            try:
                self.turn = self._driver.turn_ends(self)
            except IPCError:  # there is no loop any more that could send it
                del self.frames[-1:]
                raise
            self.flush()
            self.corked = self.turn or self.is_full
        elif len(self.frames) >= FLUSH_FRAMES or self.weigh() >= FLUSH_BYTES:
            self.flush()
        return self.below_soft

    def write_newest(self, event: str, frame: Any) -> bool:
        """Send a frame that may be replaced, in the place of the one of its event that still waits here, if one does.

        Such frames have room of their own, as much as ``max_pending_bytes``: those of different events, since there is
        one of each. One alone may have any size. They count in ``pending_bytes``, and not in ``below_soft``.
        """
        if self.is_full and frame.__class__ is Parcel and self.attaching is not Attaching.AGREED:
            frame.settle()
        newest = self._newest_here()
        if self.is_full and not self._has_room_for_newest(newest, event, frame):
            return self._refuse_newest(event, frame)
        index = newest.find(event, self.frames)
        if index is not None:
            self._take_out(index)
            self._speaker.replace(1)
        self.frames.append(frame)
        newest.mark(event, frame)
        if self.is_full:
            if index is not None:
                self._answers_last(index)
            self._weigh_up()
            return self.below_soft
        try:
            return self.press(frame)
        except IPCError:
            newest.forget([frame])
            raise

    def _answers_last(self, begin: int) -> None:
        """Put the answers from here on behind what has just replaced a frame that they were behind.

        Else who asks for the newest would be told that it has come, and have the one before. They are numbered anew.
        """
        frames = self.frames
        answers = [frame for frame in frames[begin:] if frame.__class__ is Answer]
        if answers:
            self.weigh()  # which counts from the front
            frames[begin:] = [*(frame for frame in frames[begin:] if frame.__class__ is not Answer), *answers]
            self._skipped += len(answers)

    def adopt(self, frames: list[bytes], newest: Newest) -> None:
        """Send what waited for the link; these of it may still be replaced."""
        if len(newest):
            self._newest_here().adopt(newest)
        self.frames += frames

    def withdraw(self, frame: bytes) -> bool:
        """Take back a frame that still waits here, so that it is never sent; whether it did."""
        for index, waiting in enumerate(self.frames):
            if waiting is frame:
                self._take_out(index)
                if self._newest is not None:
                    self._newest.forget([frame])
                return True
        return False

    def _take_out(self, index: int) -> None:
        self.weigh()
        frame = self.frames.pop(index)
        self._weighed -= 1
        self._bytes -= len(frame)
        self._skipped += 1

    def post(self, frame: bytes, event: str | None = None) -> bool:
        """Keep a frame of another thread's until ``take_posted``; whether it is the first.

        ``event``: it may be replaced by the next one of this event, and replaces one that waits here.
        """
        with self._driver.lock:
            left, left_bytes = self._posted.left_by(event)
            if left_bytes + len(frame) > self._settings.max_pending_bytes and left:
                raise BackpressureError(
                    f"{left_bytes} bytes from other threads wait for the event loop: emit less at once"
                )
            is_first = not self._posted
            self._posted.append(frame, event)
            return is_first

    @property
    def has_posted(self) -> bool:
        """Whether frames of other threads' wait."""
        return bool(self._posted)

    def take_posted(self) -> tuple[list[bytes], Newest]:
        """The frames of other threads', and which of them may be replaced."""
        with self._driver.lock:
            replaced = self._posted.replaced
            taken = self._posted.take()
        if replaced:
            self._speaker.replace(replaced)
        return taken

    # ---- to the link

    def turn_ended(self) -> None:
        """The driver: this turn's emits are all there."""
        self.turn = False
        if self.frames and not self.is_full and self.is_open:  # as uncork(), which would be a call for each peer
            self.flush()
        self.corked = self.is_full

    def uncork(self) -> None:
        """The read or the turn is over: write what it emitted."""
        if self.frames and not self.is_full and self.is_open:  # as push(), which would be a call for each read
            self.flush()
        self.corked = self.turn or self.is_full

    def push(self) -> None:
        """Write what waits, also in the middle of a turn, unless the kernel is full."""
        if self.frames and not self.is_full and self.is_open:
            self.flush()

    def flush(self) -> None:
        """Give all that waits to the link."""
        frames, link = self.frames, self._link
        if not frames or link is None:
            return
        parts: list[Any] | None = None
        unsendable: FrameTooLarge | None = None
        try:
            data = b"".join(frames)
        except TypeError:  # some have large bytes
            unsendable = self._prepare()
            parts = [part for frame in frames for part in self._parts_of(frame)]
        count, size = len(frames), len(data) if parts is None else sum(map(len, parts))
        sent = self.messages_out
        if sent >= self._look_at:
            self._look(link, count)
        try:
            self.messages_out = sent + count  # before they are taken: if we do not get further, they count as lost
            self.bytes_out += size
            frames.clear()
            self._weighed = self._bytes = 0
            if self._speaker.traffic is not None:
                self._speaker.sent(count, size)
            link.write(data) if parts is None else link.write_parts(parts)
        except BaseException as error:
            self._in_doubt(error)
        if self.is_full:
            self._is_left(sent, data if parts is None else parts)
        if unsendable is not None:
            raise unsendable

    def _in_doubt(self, error: BaseException) -> NoReturn:
        """A signal's handler raised in the middle: nobody knows what went out."""
        self._speaker.cut(interrupted("writing", error))
        raise error

    def _is_left(self, sent: int, given: bytes | list[Any] = b"") -> None:
        """The link could not pass on at once what it was given; so many messages had gone to it before."""
        self._given = given
        self._newest_went(sent)
        took_less = not self.below_soft
        self._weigh_up()
        if took_less and self.below_soft and self._newest is not None:
            self._speaker.takes_more_again()

    def _prepare(self) -> FrameTooLarge | None:
        """See that the last message can be written, which nobody asked yet; the error where it cannot be sent."""
        last: Any = self.frames[-1]
        if last.__class__ is Parcel and self.attaching is not Attaching.AGREED:
            try:
                last.inline()
            except FrameTooLarge as error:
                self.frames.pop()
                return error
        return None

    def _parts_of(self, frame: Any) -> list[Any]:
        if frame.__class__ is not Parcel:
            return [frame]
        if self.attaching is Attaching.AGREED:
            return frame.parts()
        if self.attaching is not Attaching.UNKNOWN:
            return [frame.inline()]
        self.attaching = Attaching.OFFERED
        self._speaker.offers_attachments()
        return [frame.inline(offer=True)]

    def pause(self) -> None:
        """The kernel is full."""
        self.is_full = self.corked = True

    def resume(self) -> bool:
        """The kernel has taken everything given to it; whether it also took what waited here."""
        self.is_full = False
        self._given = b""
        self.flush()
        if self.is_full:
            return False
        self._judge(0)
        self.corked = self.turn
        return True

    # ---- what has arrived

    @property
    def next_number(self) -> int:
        """The number that the next message gets, or one before it: for ``confirm``."""
        return self.messages_out + self._skipped + len(self.frames) + 1

    @property
    def last_given(self) -> int:
        """The number of the last message that went to the link."""
        return self.messages_out + self._skipped

    def confirm(self, number: int) -> None:
        """The peer dealt with the message of this number, so with all before it."""
        if number > self.confirmed:
            self.confirmed = number

    def _look(self, link: Link, count: int) -> None:
        """Ask the kernel what the peer has read of what was sent so far; ``count`` messages are about to be sent."""
        unread = link.unread_bytes()
        if unread is None:
            self._look_at = NEVER
            return
        if self._arrivals is None:
            self._arrivals = Arrivals()
        self._look_at = self.messages_out + next_look(count)
        sent = self.messages_out + self._skipped
        self.confirm(self._arrivals.looked(sent, self.bytes_out, unread, self._driver.now()))

    def promise_nothing(self, number: int) -> None:
        """Nobody waits for the message of this number to arrive: a request that was given up, or a question of ours."""
        if self._unpromised is None:  # most links never need one
            self._unpromised = set()
        if len(self._unpromised) >= MOST_UNPROMISED:
            self._unpromised = {each for each in self._unpromised if each > self.confirmed}
        if len(self._unpromised) < MOST_UNPROMISED:
            self._unpromised.add(number)

    def is_kept(self, link: Link) -> bool:
        """Whether the peer's program has read all that somebody counts on, where that can be known."""
        if self.unsent:
            return False
        if link.unread_bytes() == 0:
            return True
        unconfirmed = self.messages_out + self._skipped - self.confirmed
        return unconfirmed <= sum(each > self.confirmed for each in self._unpromised or ())

    @property
    def in_flight(self) -> int:
        """How many messages the kernel took that nothing proves to have arrived."""
        return min(self.messages_out, max(self.messages_out + self._skipped - self.confirmed, 0))

    # ---- limits

    @property
    def unsent(self) -> int:
        """Messages that were not given to the link yet."""
        return len(self.frames) + len(self._posted)

    @property
    def held(self) -> int:
        """Messages whose end the kernel does not have yet: those that were not given to the link, and what waits there.

        In raw mode, which has no ends, what waits in the link is one.
        """
        pending = self._link.pending_bytes() if self.is_full and self._link is not None else 0
        return self.unsent + (_ends_in(self._given, pending, self._delimiter) if pending else 0)

    def weigh(self) -> int:
        """The bytes that wait, here and in the link."""
        frames = self.frames
        if self._weighed != len(frames):
            self._bytes += sum(map(len, frames[self._weighed :]))
            self._weighed = len(frames)
        return self._bytes + self._link.pending_bytes() if self.is_full and self._link else self._bytes

    @property
    def weighed(self) -> int:
        """``weigh()`` without remembering, so that any thread may ask; while others write it may be a little off."""
        known, size = self._weighed, self._bytes
        link = self._link
        return size + sum(map(len, self.frames[known:])) + (link.pending_bytes() if self.is_full and link else 0)

    def _wait_for_kernel(self, frame: Any) -> bool:
        """Hold ``frame``, which is the last of ``frames``, back until the kernel takes more, or refuse it."""
        if frame.__class__ is Parcel and self.attaching is not Attaching.AGREED:
            self._settle(frame)
        pending = self._owed(self.weigh())
        limit, soft = self._settings.max_pending_bytes, self._settings.soft_pending_bytes
        if pending > limit and pending - len(frame) > soft:  # one large frame alone may be above the limit
            if self._make_room(frame):
                return False
            raise BackpressureError(
                f"the peer does not read: {pending - len(frame)} bytes wait, and {len(frame)} more would pass "
                f"max_pending_bytes ({limit}); nothing was sent. {self._wait}, emit less, or raise the limit"
            )
        self._weigh_up()
        return self.below_soft

    @property
    def _wait(self) -> str:
        return "Await drain()" if self._driver.runs_coroutines else "Wait for drain()"

    def _weigh_up(self) -> None:
        """The kernel is full, and what waits has changed."""
        pending = self.weigh()
        self._judge(pending)
        self._speaker.pending_changed(pending)

    def _settle(self, parcel: Any) -> None:
        """Write one that has to wait: what is in it now is what is sent."""
        try:
            parcel.settle()
        except FrameTooLarge:
            self.frames.pop()
            raise

    def _make_room(self, frame: bytes) -> bool:
        """Apply ``slow_policy`` to an emit past the hard limit; False where it is the caller's to know."""
        policy = self._settings.slow_policy
        if policy == "drop_oldest":
            self._drop_oldest(len(frame))
            return True
        self._unappend(frame)
        if policy == "drop_newest":
            self._speaker.drop(1)
            return True
        return False

    def _unappend(self, frame: bytes) -> None:
        self.frames.pop()
        self._weighed -= 1
        self._bytes -= len(frame)

    def _drop_oldest(self, needed: int) -> None:
        spared: Container[int] = () if self._newest is None else self._newest.events()
        kept, freed, count = [], 0, 0
        while freed < needed and count < len(self.frames) - 1:
            frame = self.frames[count]
            count += 1
            if id(frame) in spared:
                kept.append(frame)
            else:
                freed += len(frame)
        self.frames[:count] = kept
        dropped = count - len(kept)
        self._weighed -= dropped
        self._bytes -= freed
        self._skipped += dropped
        self._speaker.drop(dropped)

    # ---- what may be replaced

    def _newest_here(self) -> Newest:
        """Which of the frames may be replaced: those that came since something went to the link."""
        if self._newest is None:
            self._newest = Newest()
        if self._newest_since != self.messages_out:
            self._newest_since = self.messages_out
            self._newest.clear()
        return self._newest

    def _newest_went(self, messages_out: int) -> None:
        """All went to the link, which could not pass it on at once; so many messages had gone before."""
        if self._newest is not None:
            self._newest_given = self._newest.bytes if self._newest_since == messages_out else 0
            self._newest.clear()
            self._newest_since = self.messages_out

    def _owed(self, pending: int) -> int:
        """What is left of ``pending`` without that which may be replaced, or could until the link had it."""
        if self._newest is None or self._link is None:
            return pending
        return pending - self._newest_here().bytes - min(self._newest_given, self._link.pending_bytes())

    @property
    def owed(self) -> int:
        """The bytes that wait for the kernel, without those of messages that a newer one may replace.

        What waits for the end of the turn is none of them: nobody would tell when that has gone out.
        """
        return self._owed(self.weigh()) if self.is_full else 0

    def _has_room_for_newest(self, newest: Newest, event: str, frame: bytes) -> bool:
        others = newest.bytes - newest.size(event)
        return not others or others + len(frame) <= self._settings.max_pending_bytes

    def _refuse_newest(self, event: str, frame: bytes) -> bool:
        """The one that waits stays. As ``_make_room``: where messages are dropped, this one is."""
        if self._settings.slow_policy != "disconnect":
            self._speaker.drop(1)
            return False
        raise BackpressureError(
            f"the peer does not read: the newest messages of other events wait already, and {len(frame)} bytes more of "
            f"{event!r:.80} would pass max_pending_bytes ({self._settings.max_pending_bytes}); nothing was sent. "
            'Use keep="latest" for fewer events, or raise the limit'
        )

    # ---- a peer that does not take its bytes

    def _judge(self, pending: int) -> None:
        """Note on which side of the soft limit the waiting bytes are, with what may be replaced and without it."""
        soft = self._settings.soft_pending_bytes
        is_heavy = pending > soft
        if is_heavy != self._is_heavy:
            self._is_heavy = is_heavy
            if is_heavy:
                self._arm_slow()
            else:
                self._cancel_slow()
        below = not is_heavy or self._owed(pending) <= soft
        if below != self.below_soft:
            self.below_soft = below
            self._speaker.pending_judged(below)

    def _arm_slow(self) -> None:
        if self._settings.slow_timeout == NO_LIMIT:
            return
        now = self._driver.now()
        self._slow_due_at = now + self._settings.slow_timeout / 1000
        self._slow_taken = self._taken()
        self._step_slow(now)

    def _step_slow(self, now: float) -> None:
        seconds = step(self._slow_due_at - now)
        self._slow_step_at = now + seconds
        self._slow_timer = self._driver.call_later(seconds, self._look_whether_slow)

    def _advice(self) -> str:
        if self._settings.slow_policy != "disconnect":
            return ""
        return (
            '. Where only the newest message of an event counts, emit it with keep="latest"; else emit less, raise '
            "slow_timeout, or set slow_policy to 'drop_oldest' to lose the oldest messages instead"
        )

    def _taken(self) -> int:
        """The bytes that the kernel took of what was sent."""
        return self.bytes_out - (self._link.pending_bytes() if self._link else 0)

    def _cancel_slow(self) -> None:
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None

    def _look_whether_slow(self) -> None:
        now = self._driver.now()
        self._slow_due_at += uncounted(now - self._slow_step_at)
        if now < self._slow_due_at - INSTANT:
            self._step_slow(now)
        else:
            self._too_slow()

    def _too_slow(self) -> None:
        self._slow_timer = None
        pending = self.weigh()
        if pending <= self._settings.soft_pending_bytes:
            self._judge(pending)
            return
        does_not_grow = self._settings.slow_policy != "disconnect" or self.below_soft  # only newest messages wait
        # where what is too much is dropped, slow is well: only stuck is not
        if does_not_grow and self._taken() > self._slow_taken:
            self._arm_slow()
            return
        assert self._link is not None
        self._speaker.cut(
            BackpressureError(
                f"the peer {self._link.peer} did not take its bytes: {pending} waited for "
                f"{self._settings.slow_timeout / 1000:g} s; its link is cut{self._advice()}"
            )
        )


def _ends_in(given: bytes | list[Any], pending: int, delimiter: bytes) -> int:
    """How many messages end in the last ``pending`` bytes; the pieces beside a frame belong to it."""
    if isinstance(given, bytes):
        begin = max(len(given) - pending - len(delimiter) + 1, 0)  # a delimiter may have gone in part
        return given.count(delimiter, begin) if delimiter else 1
    count, is_whole = 0, True
    for part in reversed(given):
        if pending <= 0:
            break
        is_whole = part.__class__ is bytes
        count += is_whole
        pending -= len(part)
    return count + (not is_whole)


if twin.native is not None:
    Outgoing.flush = twin.native.flush(Outgoing.flush, Outgoing)  # type: ignore[method-assign]
