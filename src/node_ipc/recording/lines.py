"""Bytes of links in, lines of a recording out: one for each frame, and one for each beginning and end of a link.

A payload goes into its line as it came, without being decoded: at 100,000 messages a second each costs about a
microsecond. What is no event, too long, or to be redacted takes longer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET, Raw

from ..config.config import Config
from ..errors import InvalidPayload, ProtocolError
from ..wire.json import decode_raw_envelope, salvage
from .format import VERSION, Entry, Header, text_in_json
from .frames import Cutter, Frame, Loaded, Long, asked_in
from .paths import Paths

__all__ = ["LinkRecorder", "Recorder", "Side", "Sink", "header"]

Side = Literal["client", "server"]

MOST_BYTES = 16 * 1024 * 1024
"""Of a frame, where ``max_message_size`` sets no limit."""
MOST_NAMES = 1024
"""Event names whose JSON is kept."""
MOST_FAULT = 200
"""Characters of the reason why a frame is no event."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Sink(Protocol):
    """Where lines go."""

    def write(self, lines: bytes, messages: int) -> None:
        """Keep these lines, which tell of so many messages; never waits and never raises."""


def header(
    settings: Config, *, address: str, program: str, payloads: bool, hide: Paths | None, time: float, part: int
) -> bytes:
    """The first line of a file."""
    delimiter = _delimiter(settings)
    return (
        _encode(
            Header(
                recording="node-ipc",
                version=VERSION,
                time=round(time, 6),
                program=program,
                address=address,
                mode="events" if delimiter else "bytes",
                delimiter=delimiter or "\f",
                payloads=payloads,
                redacted=hide.texts if hide else [],
                part=part,
            )
        )
        + b"\n"
    )


def _delimiter(settings: Config) -> str:
    """Empty where there are no frames."""
    return "" if settings.profile in ("raw", "custom") else settings.delimiter


class Recorder:
    """Writes down what passes over any number of links.

    sink: where the lines go.
    settings: the delimiter, the mode and the limit of a frame are theirs.
    payloads: whether payloads are kept, or only their sizes.
    hide: what is to be hidden in them.
    clock: seconds since 1970.
    """

    def __init__(
        self,
        sink: Sink,
        settings: Config,
        *,
        payloads: bool = False,
        hide: Paths | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sink = sink
        self.clock = clock
        self.payloads = payloads
        self.hide = hide if hide else None
        self.delimiter = _delimiter(settings).encode()
        most = settings.max_message_size
        self.most = int(most) if most < float("inf") else MOST_BYTES
        self.links = 0
        """How many there have been."""
        self.messages = 0
        """How many frames were written down, or (raw mode) reads."""
        self._names: dict[str, bytes] = {}

    def link(self, peer: object) -> LinkRecorder:
        """A link that opens now."""
        self.links += 1
        return LinkRecorder(self, self.links, str(peer))

    def tell(self, entry: Entry) -> None:
        """A line about anything but a message."""
        self.sink.write(_encode(entry) + b"\n", 0)

    def end(self) -> None:
        """The last line: the recording ends as it should."""
        self.tell(Entry(time=self.now(), event="end"))

    def now(self) -> float:
        return round(self.clock(), 6)

    def name(self, type: str) -> bytes:
        """An event's name in JSON."""
        name = self._names.get(type)
        if name is None:
            name = text_in_json(type)
            if len(self._names) < MOST_NAMES:
                self._names[type] = name
        return name


class LinkRecorder:
    """Writes down what passes over one link."""

    def __init__(self, recorder: Recorder, number: int, peer: str) -> None:
        self._recorder = recorder
        self._number = number
        self._peer = peer
        self._bytes = {"client": 0, "server": 0}
        self._cutters = {side: Cutter(recorder.delimiter, recorder.most) for side in self._bytes}
        start = b',"link":%d,"peer":%b,"from":' % (number, text_in_json(peer))
        self._starts = {side: start + _encode(side) for side in self._bytes}
        recorder.tell(self._entry("connect"))

    def heard(self, side: Side, data: bytes) -> None:
        """What was read from one side."""
        self._bytes[side] += len(data)
        frames = self._cutters[side].cut(data)
        if not frames:
            return
        recorder, line = self._recorder, self._line
        start = b'{"time":%.6f%b' % (recorder.clock(), self._starts[side])
        recorder.messages += len(frames)
        recorder.sink.write(b"".join([line(start, frame) for frame in frames]), len(frames))

    def closed(self, reason: str = "") -> None:
        """The link is over."""
        entry = self._entry("disconnect")
        entry.client_bytes, entry.server_bytes, entry.reason = self._bytes["client"], self._bytes["server"], reason
        self._recorder.tell(entry)

    def _entry(self, event: str) -> Entry:
        return Entry(time=self._recorder.now(), link=self._number, peer=self._peer, event=event)

    # ---- one frame

    def _line(self, start: bytes, frame: Frame) -> bytes:
        recorder = self._recorder
        if isinstance(frame, Loaded):
            about = b',"attachments":' + _encode(frame.announced.attachments)
            return self._event(start, frame.size, frame.announced.type, None, about)
        if isinstance(frame, Long):
            return self._no_event(start, None, frame.size, f"{frame.size} bytes are too many to keep")
        if not recorder.delimiter:
            return self._members(start, bytes=len(frame), hex=frame.hex() if recorder.payloads else UNSET)
        try:
            event = decode_raw_envelope(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._odd(start, frame)
        data = bytes(event.data)
        if recorder.payloads and not recorder.hide and frame.isascii() and b"\n" not in data:
            return b'%b,"type":%b,"bytes":%d,"data":%b}\n' % (start, recorder.name(event.type), len(frame), data)
        return self._with_care(start, frame, event.type, data)

    def _with_care(self, start: bytes, frame: bytes, type: str, data: bytes) -> bytes:
        """Payloads that are not kept, are not all ASCII, stand on several lines, or have secrets in them."""
        recorder = self._recorder
        if not recorder.payloads:
            method = asked_in(data).method if type == "rpc.request" else ""
            about = b',"method":' + _encode(method) if method else b""
            return self._event(start, len(frame), type, None, about)
        try:
            hide = recorder.hide
            text = _encode(hide.hide(type, _decode(data))) if hide else _on_one_line(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return self._no_event(start, frame, len(frame), str(error))
        return self._event(start, len(frame), type, text)

    def _odd(self, start: bytes, frame: bytes) -> bytes:
        """What the fast decoder refuses: lone surrogates are an event all the same."""
        try:
            found = salvage(frame)
        except ProtocolError as fault:
            return self._no_event(start, frame, len(frame), str(fault))
        if isinstance(found, InvalidPayload):
            return self._no_event(start, frame, len(frame), str(found))
        if not self._recorder.payloads:
            return self._event(start, len(frame), found.type, None)
        hide = self._recorder.hide
        data = hide.hide(found.type, found.data) if hide else found.data
        return self._event(start, len(frame), found.type, json.dumps(data, separators=(",", ":")).encode())

    def _event(self, start: bytes, size: int, type: str, data: bytes | None, more: bytes = b"") -> bytes:
        payload = b"" if data is None else b',"data":' + data
        return b'%b,"type":%b,"bytes":%d%b%b}\n' % (start, self._recorder.name(type), size, more, payload)

    def _no_event(self, start: bytes, frame: bytes | None, size: int, fault: str) -> bytes:
        """Its text is kept with the payloads; where secrets are to be hidden, nobody knows whether it has any."""
        members: dict[str, Any] = {"bytes": size, "fault": fault[:MOST_FAULT]}
        if frame is not None and self._recorder.payloads and not self._recorder.hide:
            try:
                members["frame"] = frame.decode()
            except UnicodeDecodeError:
                members["hex"] = frame.hex()
        return self._members(start, **members)

    def _members(self, start: bytes, **members: Any) -> bytes:
        return b"%b,%b\n" % (start, _encode({k: v for k, v in members.items() if v is not UNSET})[1:])


def _on_one_line(data: bytes) -> bytes:
    """Raises ``ValueError`` where it is not UTF-8: msgspec does not look into what it does not decode."""
    data.decode()
    return bytes(msgspec.json.format(Raw(data), indent=-1)) if b"\n" in data else data
