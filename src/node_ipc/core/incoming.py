"""The incoming half of a session: bytes to messages, messages to handlers, and what waits for handlers.

A read becomes a block of whole frames; the decoder is mapped over it lazily and ``Events.deliver`` runs the loop.
Whoever wants the loop to stop (a handler that closes, too many async handlers under way) stops the block.

Who may stop reading: async handlers that are at work on as much as the limits allow (``handlers``), events that nobody
receives (``inbox``), a peer that takes none of our answers (``outgoing``). What was read by then is held here. A pause
that lasts is told, and looks for signs of life where it may.

It knows the outgoing half only to hold its writes back until the end of a read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..config import twin
from ..errors import BackpressureError, InvalidMessage, InvalidPayload, IPCError, MessageTimeout, ProtocolError
from ..wire import spare
from ..wire.attached import MEMBER, Attached, AttachingSplitter, Delivery, Half, offer_in
from ..wire.codec import shallow
from ..wire.costs import LARGE_FRAME
from ..wire.framed import FramedCodec
from ..wire.framing import Splitter, ended_in_the_middle, half_a_message, never_a_message
from ..wire.names import PING, PONG
from .block import NOTHING, Block
from .context import LinkContext, directly
from .events import Events
from .holdings import PER_HANDLER, SMALL, everybody
from .outgoing import COUNTED_BYTES, NEVER, Outgoing, step, uncounted
from .seam import INSTANT, NOBODY, Gone

if TYPE_CHECKING:
    from ..config.config import Config
    from ..wire.codec import Codec, Splits
    from .seam import Driver, Link, Peer, Timer
    from .trace import TraceHook

__all__ = ["MOST_REQUESTS", "PEEKED_BYTES", "Hearer", "Incoming", "Watch", "number_in"]

LOOK_SECONDS = 1.0
"""Between two looks at a link that is not read; a pause that lasts as long is told."""
SLOW_SECONDS = 10.0
"""After so long a pause of the inbox without a break it is told: a consumer may be slow."""
STUCK_SECONDS = 5.0
"""The same where what this side emitted is not taken, either: each may wait for the other, until one is cut."""
PEEKED_BYTES = 1024 * 1024
"""What is read of a peer in one pause for signs of life, at most: one read for each look."""
PEEKS_AT = frozenset({"handlers", "inbox"})
PING_FRAME = b'"%s"' % PING.encode()
MOST_REQUESTS = 16_384
"""Requests of one peer that async handlers work on at once; past that the peer waits."""

NOT_PAUSED: frozenset[str] = frozenset()
TOLD = -1
"""In the place of the bytes that were seen of half a message, once it was told that it will hardly become one."""
DIRECT_BYTES = 32 * 1024
"""So much or more of an attachment that is missing is read straight into its place."""
DIRECT_AT_ONCE = 1024 * 1024
"""So much is read in a row before others have their turn."""


class Watch(Protocol):
    """Who wants to know that the peer is there: the heartbeat."""

    def heard(self) -> None:
        """Something arrived."""


class Hearer(Protocol):
    """The session, as far as its incoming half tells it anything; handlers get it as whom a message came from."""

    heard: Callable[[], None] | None
    traffic: TraceHook | None

    @property
    def peer(self) -> Peer: ...
    @property
    def is_open(self) -> bool: ...
    def emit(self, type: Any, data: Any) -> bool: ...
    def read(self, messages: int, size: int) -> None:
        """So much came; told only where ``traffic`` listens."""

    def report(self, error: IPCError) -> None:
        """A message that no handler gets; the link goes on."""

    def fail(self, fault: ProtocolError) -> None:
        """The peer broke the protocol."""

    def cut(self, reason: IPCError) -> None:
        """What all peers sent together is too much."""

    def paused(self, reason: str, why: str) -> None:
        """Nothing has been read for a while; told once for each reason."""

    def caught_up(self) -> None:
        """Nothing is held any more."""

    def attachments_offered(self) -> None:
        """The peer takes attachments."""


class _Ended:
    """What cuts the bytes of a link that ends, or of which nothing can be made any more: nothing is kept of them."""

    rest = b""

    def __init__(self, fault: ProtocolError | None = None) -> None:
        self.fault = fault

    def split(self, chunk: bytes) -> list[bytes]:
        return []

    def hopeless(self, begun: bytes | bytearray) -> None:
        """Nobody waits for the rest of it."""


ENDED = _Ended()


class Incoming:
    """What one link brings."""

    __slots__ = (
        "__weakref__",
        "_answers",
        "_beats",
        "_block",
        "_codec",
        "_context",
        "_counted",
        "_driver",
        "_events",
        "_half_due_at",
        "_half_seen",
        "_half_since",
        "_half_timer",
        "_handler_bytes",
        "_handlers",
        "_hearer",
        "_held",
        "_is_shut",
        "_link",
        "_nothing_waits",
        "_outgoing",
        "_pause_timer",
        "_paused_at",
        "_pauses_told",
        "_peeked",
        "_peeking",
        "_pinged",
        "_raw",
        "_request_bytes",
        "_requests",
        "_serving",
        "_settings",
        "_splitter",
        "_undecoded",
        "answered",
        "bytes_in",
        "cut_off",
        "messages_in",
        "pauses",
        "unheard",
        "watch",
    )

    def __init__(
        self,
        hearer: Hearer,
        outgoing: Outgoing,
        codec: Codec,
        events: Events[Any],
        driver: Driver,
        settings: Config,
        serving: bool,
    ) -> None:
        self._hearer = hearer
        self._outgoing = outgoing
        self._events = events
        self._driver = driver
        self._settings = settings
        self._serving = serving
        self._link: Link | None = None
        self._context: LinkContext
        self._codec = shallow(codec) if driver.has_small_stack else codec
        self._raw = codec.raw
        self._splitter: Splits = codec.splitter()
        self._block = Block()
        self._undecoded = NOTHING  # the rest of a block that is to be decoded in another way
        self._held: list[Any] = []  # frames that wait until async handlers are done
        self._is_shut = False  # what still comes is for nobody
        self._nothing_waits = False  # the peer has ended: what it sent is handled, however much is under way
        self.bytes_in = self.messages_in = 0
        self.answered = 0
        """Behind which message of this side the last question came that the peer has answered in its turn."""
        self.unheard = 0
        """Messages that came when this side was closing."""
        self.cut_off = 0
        """Bytes of a message that the link's end cut off."""
        self.watch: Watch | None = None
        """Told of each read."""
        self._beats = 0  # heartbeats of the peer's among the messages of a read; counted while somebody waits for one
        self._pinged = False  # the peer has a heartbeat, and wants to hear of us
        # half a message
        self._half_since: float | None = None
        self._half_timer: Timer | None = None
        self._half_due_at = 0.0
        self._half_seen = 0  # bytes of it, when it was looked at last
        # async handlers under way
        self._handlers = self._handler_bytes = self._requests = self._request_bytes = 0
        self._counted = 0  # the bytes that this is entered with in what all peers make us hold
        self._answers = 0  # that somebody waits for
        # while reading is paused
        self.pauses: frozenset[str] = NOT_PAUSED
        """Why nothing is read for now."""
        self._pause_timer: Timer | None = None
        self._paused_at = 0.0
        self._pauses_told: frozenset[str] = NOT_PAUSED
        self._peeked = 0  # bytes that were read all the same
        self._peeking = False

    def use(self, codec: Codec) -> None:
        """Decode with this one from the next read on: the same format, told of or not told of any more."""
        self._codec = shallow(codec) if self._driver.has_small_stack else codec

    # ---- life

    def open(self, link: Link, context: LinkContext) -> None:
        """Reads come from now on."""
        self._link = link
        self._context = context

    def leave(self) -> None:
        """The peer has ended, or is gone: what it sent before is handled now, all of it.

        It is no more than what the kernel holds, and it is the last. Waiting for handlers would hide the end.
        """
        self._nothing_waits = True
        self._peeking = False
        self.pauses = NOT_PAUSED
        self._deliver_held()

    def shut(self) -> None:
        """Nothing is handled any more: the frames of a block under way end here too."""
        self._is_shut = True
        self.unheard += len(self._block.stop()) + len(self._held)
        self._held.clear()
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        if self._counted:
            self._count()
        if self._half_timer is not None:
            self._half_timer.cancel()
            self._half_timer = None
        self.watch = None

    def end(self) -> None:
        """The link is gone."""
        if self._splitter.__class__ is AttachingSplitter:
            spare.clear()
        self._splitter = ENDED
        self.shut()
        self._hearer = NOBODY
        if self._link is not None:
            self._link = Gone(self._link.peer)

    @property
    def serves(self) -> bool:
        """Whether this is the server's end of the link."""
        return self._serving

    @property
    def is_holding(self) -> bool:
        """Whether messages wait for handlers."""
        return bool(self._held)

    @property
    def is_inside_a_message(self) -> bool:
        """Whether bytes have come that are no whole message."""
        return not self._raw and (bool(self._splitter.rest) or self._splitter.fault is not None)

    def came_behind(self, name: str, id: bytes) -> bool:
        """Whether the message before the one at hand, of the same read, has this name and this id."""
        messages, position = self._block.messages, self._block.position
        before = messages[position - 1] if position > 0 else None
        return before.__class__ is bytes and name.encode() in before and b'"id":%s' % id in before

    @property
    def is_at_work(self) -> bool:
        """Whether async handlers are under way."""
        return bool(self._handlers or self._requests)

    def tell_of_half_a_message(self) -> None:
        """The peer sends nothing more: what it had begun is no message."""
        rest = self._splitter.rest
        if rest and not (self._is_shut or self.cut_off):
            self.cut_off = len(rest)
            told = rest.told() if isinstance(rest, Half) else None
            self._hearer.report(
                half_a_message(rest, not self._serving)
                if told is None
                else InvalidMessage(
                    f"the link ended inside a message: {told}: {ended_in_the_middle(not self._serving)}"
                )
            )

    # ---- a read

    def received(self, data: bytes) -> None:
        """Bytes of a read, at most 64 KiB."""
        self.bytes_in += len(data)
        if self.pauses and self._peeking:
            self._end_peek(data)
        outgoing, hearer, splitter = self._outgoing, self._hearer, self._splitter
        outgoing.corked = True
        frames = splitter.split(data)
        count = len(frames)
        if count:
            self.messages_in += count
            if self._held or (self.pauses and self._handlers_busy()):
                sound = True
                self._held += frames
                self._answer_held_pings(frames)
            else:
                context = self._context  # as its run does: one more call would cost a tenth of a small read
                enter, context.enter = context.enter, directly
                try:
                    sound = enter(self._deliver, frames)
                finally:
                    context.enter = enter
            if sound and hearer.heard is not None:
                if self._beats < count:
                    hearer.heard()
                self._beats = 0
        if hearer.traffic is not None:
            hearer.read(count, len(data))
        if self._is_shut:
            return
        if splitter.fault is not None or splitter.rest or self._half_since is not None:
            frames = []  # an array in them may leave its memory to the next
            self._end_read(splitter, count > 0)
        if outgoing.frames:
            outgoing.uncork()
        else:
            outgoing.corked = outgoing.turn or outgoing.is_full

    def _end_read(self, splitter: Any, brought: bool) -> None:
        """What is behind the last whole frame: nothing any more, half a frame, or what can never become one."""
        if splitter.fault is not None:
            if self._held:  # what came before it is delivered first
                self._splitter = _Ended(splitter.fault)
            else:
                self._hearer.fail(splitter.fault)
        elif splitter.rest:
            if (fault := splitter.hopeless(splitter.rest)) is not None:
                self._hearer.fail(fault)
            else:
                self._watch_half_frame(brought)
                if self._counted or len(splitter.rest) > SMALL:
                    self._count()
                    self._bound_half_frames()
                if splitter.rest.__class__ is Half:
                    self._read_directly(splitter)
        else:
            self._half_since = None
            if self._counted:
                self._count()

    def attach(self) -> None:
        """The peer may send attachments from now on."""
        if self._splitter.__class__ is Splitter:
            self._splitter.__class__ = AttachingSplitter

    def _read_directly(self, splitter: Any) -> None:
        """Read what is missing of a large attachment into its place, as far as it has come already."""
        link, left = self._link, DIRECT_AT_ONCE
        room: memoryview | None
        if link is None:
            return
        while (room := self._large_room(splitter)) is not None:
            count = link.read_into(room[:left]) if left > 0 else 0
            room = None  # its memory may be of use to somebody when the message is handled
            if not count:
                link.read_first(self._read_on)
                return
            left -= count
            self.bytes_in += count
            self._take_directly(splitter.filled(count), count)
        link.read_first(None)

    def _large_room(self, splitter: Any) -> memoryview | None:
        """Where what is missing belongs, if it is so much that a read of its own is worth it."""
        if splitter.rest.__class__ is not Half or self.pauses or self._is_shut:
            return None
        room: memoryview | None = splitter.rest.room()
        return room if room is not None and len(room) >= DIRECT_BYTES else None

    def _read_on(self) -> bool:
        """More of a large attachment may have come: as ``received``, with no memory between; whether there was any."""
        before, outgoing = self.bytes_in, self._outgoing
        outgoing.corked = True
        self._read_directly(self._splitter)
        if self.bytes_in == before:
            outgoing.corked = outgoing.turn or outgoing.is_full
            return False
        if self.watch is not None:
            self.watch.heard()
        if outgoing.frames:
            outgoing.uncork()
        else:
            outgoing.corked = outgoing.turn or outgoing.is_full
        return True

    def _take_directly(self, deliveries: list[Any], count: int) -> None:
        """What a direct read completed: as the end of ``received``."""
        if deliveries:
            self.messages_in += 1
            if self._context.run(self._deliver, deliveries) and self._hearer.heard is not None:
                self._hearer.heard()
            self._half_since = None
        if self._hearer.traffic is not None:
            self._hearer.read(len(deliveries), count)
        if not self._is_shut:
            self._count()
            self._bound_half_frames()

    def received_watched(self, data: bytes) -> None:
        """As ``received``, where somebody waits for signs of life."""
        assert self.watch is not None
        self.watch.heard()
        self.received(data)

    def received_for_nobody(self, data: bytes) -> None:
        """As ``received``, after ``shut``: read and drop until the link ends."""
        self.bytes_in += len(data)
        if self._splitter.fault is None:
            self.unheard += len(self._splitter.split(data))
            if self._counted or len(self._splitter.rest) > SMALL:
                self._count()
                self._bound_half_frames()
        if self._hearer.traffic is not None:
            self._hearer.read(0, len(data))

    def _deliver(self, block: Sequence[Any], held: bool = False) -> bool:
        """Call the handlers of each message; whether any message was sound.

        Of a read only the first frame can be large, since it alone may have begun before it; of what was held, each.
        """
        if self._raw:
            for chunk in block:
                self._publish_raw(chunk)
            return True
        delivery = self._block
        if delivery.messages:  # a handler reads: the rest of the block that it was called from comes before this one
            block, held = [*delivery.stop(), *self._undecoded, *block], True
            self._undecoded = NOTHING
        delivery.messages, delivery.rest = block, (frames := iter(block))  # its begin, which costs a call
        events, codec = self._events, self._codec
        decode = codec.decode_large if held or len(block[0]) > LARGE_FRAME else codec.decode
        while True:
            try:
                events.deliver(map(codec.decode_raw if events.wants_raw else decode, frames), self._hearer)
                if not self._undecoded:
                    delivery.messages = NOTHING  # each quiet connection would keep up to 64 KiB
                    return True
                block, self._undecoded = self._undecoded, NOTHING
                frames = delivery.begin(block)
            except BaseException as error:
                if (sound := self._stumbled(error, block)) is not None:
                    return sound

    def _stumbled(self, error: BaseException, block: Sequence[Any]) -> bool | None:
        """The loop met an error: whether any message before it was sound, or None where the loop goes on behind it."""
        delivery = self._block
        before = delivery.position
        if isinstance(error, ProtocolError):  # a name that the profile refuses
            self._hearer.fail(error)
            return before > 0
        if isinstance(error, (msgspec.MsgspecError, RecursionError, ValueError, MemoryError)) or (
            isinstance(error, TypeError) and block[before].__class__ is Delivery
        ):
            return None if self._salvage(block[before]) else before > 0
        # KeyboardInterrupt, SystemExit: who catches them goes on with the next message
        self._held[:0] = [*delivery.stop(), *self._undecoded]
        self._undecoded = delivery.messages = NOTHING
        self._driver.call_later(0, self._go_on)
        raise error

    def decode_rest_anew(self) -> None:
        """A handler changed what payloads are decoded to: the rest of the block goes the new way."""
        self._undecoded = self._block.stop()

    def _go_on(self) -> None:
        """The messages that wait, and what their handlers emit."""
        self._catch_up()
        self._outgoing.uncork()

    def _catch_up(self) -> None:
        self._deliver_held()
        if not self._held and not self._handlers_busy():
            self.pause_reading("handlers", False)
            self._hearer.caught_up()

    def _deliver_held(self) -> None:
        while self._held and not self._handlers_busy() and not self._is_shut:
            held, self._held = self._held, []
            self._context.run(self._deliver, held, True)
        if self._splitter.fault is not None and not self._held and not self._is_shut:
            self._hearer.fail(self._splitter.fault)

    def _publish_raw(self, chunk: bytes) -> None:
        if self._serving:
            self._events.publish("data", chunk, self._hearer, session=self._hearer)
        else:
            self._events.publish("data", chunk, session=self._hearer)

    def _salvage(self, frame: Any) -> bool:
        """A frame the decoder refused: deliver it, report it, or give the connection up (False)."""
        try:
            if frame.__class__ is bytes and MEMBER in frame and self._codec.gives_raw:
                frame, offered = offer_in(frame)
                if offered:
                    self._hearer.attachments_offered()
                if MEMBER not in frame and self._deliver_anew(frame):
                    return True
            found = self._codec.salvage(frame)
            if isinstance(found, InvalidPayload):
                self._hearer.report(found)
            else:
                self._events.deliver([self._as_wanted(found)], self._hearer)
            return True
        except ProtocolError as error:
            self._hearer.fail(error)
            return False

    def _deliver_anew(self, frame: bytes) -> bool:
        """A frame without the member that the decoder refused it for; False where it is refused for something else."""
        decode = self._codec.decode_raw if self._events.wants_raw else self._codec.decode_large
        try:
            message = decode(frame)
        except (msgspec.MsgspecError, RecursionError, ValueError, MemoryError):
            return False
        self._events.deliver([message], self._hearer)
        return True

    def _as_wanted(self, message: Any) -> Any:
        """A message that only a closer look could read, in the form that handlers want just now."""
        if message.data.__class__ is Attached:
            if not self._events.wants_raw:
                message.data = message.data.in_json()
            return message
        return _undecoded(message) if self._events.wants_raw else message

    def handler_started(self) -> int:
        """An async handler of a message from this peer starts; too many, and the peer waits.

        Returns what ``handler_done`` wants back: the size of the message.
        """
        size = self.size_at_hand()
        self._handlers += 1
        self._handler_bytes += size
        self._hold_if_busy()
        return size

    def handler_done(self, size: int) -> None:
        """An async handler ended."""
        self._handlers -= 1
        self._handler_bytes -= size
        self._one_less()

    def request_started(self) -> int:
        """As ``handler_started``, for a request. Their handlers may wait for one another, so many more are let run."""
        size = self.size_at_hand()
        self._requests += 1
        self._request_bytes += size
        self._hold_if_busy()
        return size

    def request_done(self, size: int) -> None:
        """An async handler of a request ended."""
        self._requests -= 1
        self._request_bytes -= size
        self._one_less()

    def size_at_hand(self) -> int:
        """The bytes of the message that is being delivered."""
        message = self._block.at_hand
        return 0 if message is None else len(message)

    def _hold_if_busy(self) -> None:
        self._count()
        if self._handlers_busy():
            self._held += self._block.stop()
            self.pause_reading("handlers", True)

    def _one_less(self) -> None:
        if self._counted:
            self._count()
        self._catch_up()

    def answer_awaited(self) -> None:
        """This side asked something: the answer is behind the messages that wait, perhaps for those who asked."""
        self._answers += 1
        if "handlers" in self.pauses:
            self._driver.call_later(0, self._go_on)

    def answer_settled(self) -> None:
        """The answer came, or nobody waits for it any more."""
        self._answers -= 1

    def _handlers_busy(self) -> bool:
        if self._nothing_waits:
            return False
        settings = self._settings
        size = self._handler_bytes + self._request_bytes
        if self._handlers + self._requests >= MOST_REQUESTS or size >= settings.max_request_bytes:
            return True
        if self._counted and self._is_too_much_for_all():
            return True
        if self._answers:
            return False
        return self._handlers >= settings.max_handler_frames or self._handler_bytes >= settings.max_handler_bytes

    # ---- what this peer makes the process hold

    def _count(self) -> None:
        under_way = self._handler_bytes + self._request_bytes + PER_HANDLER * (self._handlers + self._requests)
        size = (len(self._splitter.rest) + under_way) // SMALL * SMALL
        if size != self._counted:
            self._counted = size
            everybody.hold(self, size)

    def _is_too_much_for_all(self) -> bool:
        return everybody.total > self._settings.max_total_received_bytes

    def _bound_half_frames(self) -> None:
        """Cut the links with the largest half received messages until all peers together are within the limit.

        A small one is what a read that ends inside a message leaves: to cut that link would gain nothing, and where it
        is handlers that hold too much, their peers wait.
        """
        if not self._is_too_much_for_all():
            return
        total, limit, home = everybody.total, self._settings.max_total_received_bytes, self._driver.home
        halves = [each for each in everybody.holders() if each._driver.home == home and each._holds_half_a_message()]
        for incoming in sorted(halves, key=lambda each: len(each._splitter.rest), reverse=True):
            if total <= limit:
                return
            half = len(incoming._splitter.rest)
            incoming._hearer.cut(
                BackpressureError(
                    f"{total} bytes of messages that are not complete, or not done with, came from all peers together, "
                    f"above max_total_received_bytes ({limit}): the link of {incoming._hearer.peer}, with a half "
                    f"message of {half} bytes, is cut. Raise the limit if peers are meant to send so much at once"
                )
            )
            total -= half

    def _holds_half_a_message(self) -> bool:
        """Whether one that counts has come in part."""
        return len(self._splitter.rest) > SMALL

    def pause_reading(self, reason: str, pause: bool) -> None:
        """Stop or go on for one reason; reading stops for the first and goes on when none is left."""
        was = self.pauses
        self.pauses = was | {reason} if pause else was - {reason}
        if self._link is None or bool(was) == bool(self.pauses) or self._is_shut or self._nothing_waits:
            return
        if self.pauses:
            self._link.pause_reading()
            self._begin_pause()
        else:
            self._peeking = False
            if self.watch is not None:  # what came meanwhile is read from now on
                self.watch.heard()
            self._link.resume_reading()

    # ---- while nothing is read

    def _begin_pause(self) -> None:
        """A pause is told when it lasts; the timer runs out by itself, since many pauses are short."""
        self._paused_at, self._peeked = self._driver.now(), 0
        if self._pause_timer is None:
            self._pause_timer = self._driver.call_later(LOOK_SECONDS, self._look_at_pause)

    def _look_at_pause(self) -> None:
        """Once a second: tell of it, let the peer hear of us, and look for a sign of the peer."""
        self._pause_timer = None
        if not self.pauses or self._is_shut or self._link is None:
            return
        lasts = self._driver.now() - self._paused_at
        for reason in self.pauses - self._pauses_told:
            if lasts >= self._told_after(reason) - INSTANT:
                self._pauses_told |= {reason}
                self._hearer.paused(reason, self._why_paused(reason))
        if self._pinged:
            self._emit_pong()
        if self.looks_for_life:
            self._peeking = True
            self._link.resume_reading()
        if "handlers" in self.pauses and not self._handlers_busy():
            self._go_on()  # it was for all peers together that it was too much
        self._pause_timer = self._driver.call_later(LOOK_SECONDS, self._look_at_pause)

    def _told_after(self, reason: str) -> float:
        if reason != "inbox":
            return LOOK_SECONDS
        return STUCK_SECONDS if self._may_be_stuck() else SLOW_SECONDS

    def _may_be_stuck(self) -> bool:
        """Whether each side may wait for the other; the calls of the blocking front read while they wait."""
        return self._driver.runs_coroutines and self._outgoing.weigh() > self._settings.soft_pending_bytes

    @property
    def looks_for_life(self) -> bool:
        """Whether reads go on now and then though reading is paused, so that silence means what it says."""
        return self._peeked < PEEKED_BYTES and self.pauses <= PEEKS_AT

    def _end_peek(self, data: bytes) -> None:
        """A read was for signs of life; what it brought waits with the rest."""
        self._peeked += len(data)
        if self._driver.hides_ends and self.looks_for_life:  # elsewhere a peer takes two reads in a second for a proof
            return
        self._peeking = False
        if self._link is not None and self.pauses and not (self._is_shut or self._nothing_waits):
            self._link.pause_reading()

    def _answer_held_pings(self, frames: Sequence[Any]) -> None:
        if any(PING_FRAME in frame for frame in frames if frame.__class__ is bytes and len(frame) < COUNTED_BYTES):
            self._pinged = True
            self._emit_pong()

    def _why_paused(self, reason: str) -> str:
        settings = self._settings
        if reason == "handlers" and self._counted and self._is_too_much_for_all():
            return (
                f"{everybody.total} bytes of messages that are not complete, or that async handlers are at work on, "
                "came from all peers together, above max_total_received_bytes "
                f"({settings.max_total_received_bytes}). Let handlers end sooner, or raise it"
            )
        if reason == "handlers":
            count = self._handlers + self._requests
            return (
                f"its async handlers are at work on {count} messages ({self._handler_bytes + self._request_bytes} "
                f"bytes) and do not end. Let them end sooner, or raise max_handler_frames "
                f"({settings.max_handler_frames}), max_handler_bytes ({settings.max_handler_bytes}) or, for requests, "
                f"max_request_bytes ({settings.max_request_bytes})"
            )
        if reason == "inbox" and self._may_be_stuck():
            return (
                f"events wait to be received, nobody takes any, and {self._outgoing.weigh()} bytes wait for the peer, "
                "which may read nothing until they are taken: receive in another task than awaits drain(), or raise "
                f"max_unread_events ({settings.max_unread_events}) and max_unread_bytes ({settings.max_unread_bytes})"
            )
        if reason == "inbox":
            return (
                "events wait to be received and nobody has taken any for a while. Receive them, register handlers, or "
                f"raise max_unread_events ({settings.max_unread_events}) and max_unread_bytes "
                f"({settings.max_unread_bytes}), or in the blocking front max_inbox_bytes ({settings.max_inbox_bytes})"
            )
        if reason == "outgoing":
            return (
                f"it does not read: {self._outgoing.weigh()} bytes wait for it, above soft_pending_bytes "
                f"({settings.soft_pending_bytes})"
            )
        return reason

    # ---- heartbeats of the peer's

    def _emit_pong(self, behind: int = 0) -> None:
        if self._hearer.is_open:
            with contextlib.suppress(IPCError):  # one that does not read needs no answer
                if behind:
                    self._outgoing.answer(PONG, {"behind": behind})
                else:
                    self._hearer.emit(PONG, {})

    def beat(self, asked: bool, data: Any) -> None:
        """The peer asks whether we are there (and is told so), or says that it is.

        A question may say behind which of the messages it comes; the answer repeats it, as no answer does that is
        given before its turn, while reading is paused.
        """
        self._beats += 1
        behind = number_in(data, "behind")
        if asked:
            self._pinged = True
            self._emit_pong(behind)
        elif 0 < behind < self._outgoing.next_number:
            self.answered = behind
            self._outgoing.confirm(behind + 1)  # the question, too

    # ---- half a message

    def _watch_half_frame(self, new: bool) -> None:
        """Message timeout: per frame since its first byte, by one lazy timer for each connection."""
        limit = self._settings.message_timeout
        if not limit or self._settings.profile in ("fast", "raw"):
            return
        if new or self._half_since is None:
            self._half_since = self._driver.now()
        if self._half_timer is None:
            if self._half_seen != TOLD:
                self._half_seen = len(self._splitter.rest)
            self._arm_half(limit / 1000)

    def _arm_half(self, seconds: float) -> None:
        seconds = step(seconds)
        self._half_due_at = self._driver.now() + seconds
        self._half_timer = self._driver.call_later(seconds, self._half_frame_due)

    def _half_frame_due(self) -> None:
        self._half_timer = None
        pending = len(self._splitter.rest)
        if self._half_since is None or self._is_shut:
            return
        now = self._driver.now()
        limit = self._settings.message_timeout / 1000
        ours = uncounted(now - self._half_due_at)
        self._half_since = now if self.pauses else min(self._half_since + ours, now)  # it was we who did not read
        age = now - self._half_since
        if age >= limit - INSTANT:
            self._hearer.fail(
                MessageTimeout(
                    f"a message was begun {age:.1f} s ago and is not complete: {pending} bytes came; "
                    f"message_timeout is {limit:g} s{self._why_never()}"
                )
            )
            return
        self._look_at_half_frame(pending, age)
        if not self._is_shut:  # which a handler of `error` may have brought about
            self._arm_half(limit - age)

    def _look_at_half_frame(self, size: int, age: float) -> None:
        """Where nothing more came for a step, tell of what will hardly become a message; once for each link."""
        if self._half_seen != size:
            self._half_seen = size if self._half_seen != TOLD else TOLD
        elif why := self._why_never():
            self._half_seen = TOLD
            self._hearer.report(
                InvalidMessage(f"a message of {size} bytes was begun {age:.1f} s ago, and nothing more comes{why}")
            )

    def _why_never(self) -> str:
        rest = self._splitter.rest
        why = never_a_message(rest) if isinstance(rest, bytearray) else None
        return "" if why is None else f": {why}"


def _undecoded(message: Any) -> Any:
    """A message of which only the slow decoder could make anything, as those are that are not decoded yet."""
    from ..wire.json import RawEnvelope, encode_slowly

    return RawEnvelope(message.type, msgspec.Raw(encode_slowly(message.data, message.type, _SURROGATES)))


_SURROGATES = UnicodeEncodeError("utf-8", "", 0, 0, "lone surrogates")


def number_in(data: Any, member: str) -> int:
    """The whole number that a payload has as this member; 0 where it has none there."""
    if isinstance(data, msgspec.Raw):  # not decoded yet, as in the blocking front
        with contextlib.suppress(msgspec.MsgspecError):
            data = msgspec.json.decode(data)
    number = data.get(member) if isinstance(data, dict) else None
    return number if isinstance(number, int) and 0 < number < NEVER else 0


if twin.native is not None:
    Incoming.received = twin.native.received(  # type: ignore[method-assign]
        Incoming.received, Incoming, Outgoing, Block, LinkContext, Events, Splitter, FramedCodec, directly, NOTHING
    )
