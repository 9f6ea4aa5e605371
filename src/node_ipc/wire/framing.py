"""Bytes of a stream in, whole frames out; it knows the delimiter and the size limit, and nothing of JSON but for hints.

A read may end anywhere: inside a frame, inside a UTF-8 sequence, inside the delimiter. The bytes of a frame that
is not complete are kept once and never searched again, so the cost is linear however the stream is cut.
"""

from __future__ import annotations

import codecs
import sys

import msgspec

from ..errors import FrameTooLarge, InvalidJSON, InvalidMessage, ProtocolError
from .costs import count_values, may_have_more_values

__all__ = ["TLS_RECORDS", "Splitter", "ended_in_the_middle", "half_a_message", "never_a_message"]

NOTHING = bytearray()
"""The rest where there is none, for all connections (56 bytes for each otherwise); it never changes."""

PIECE = 64 * 1024
"""Bytes that are looked at together for what is UTF-8."""
TLS_HANDSHAKE = b"\x16\x03"
"""How TLS begins (RFC 8446, 5.1: the record's type and version), and JSON never does."""


class Splitter:
    """Cuts one stream at the delimiter.

    ``split`` returns the whole frames of a read, without their delimiters. A frame that breaks a rule is not
    returned, nor anything behind it: the frames before it are, and ``fault`` says what is wrong, for good.
    ``rest`` is what came of the frame that is not complete.
    """

    __slots__ = ("_delimiter", "_limit", "_max_values", "_overlap", "fault", "limit_option", "proven", "rest")

    def __init__(
        self,
        delimiter: bytes,
        limit: int,
        limit_option: str = "max_message_size",
        max_values: int = sys.maxsize,
    ) -> None:
        self._delimiter = delimiter
        self._limit = limit
        self._max_values = max_values
        self._overlap = len(delimiter) - 1
        self.rest = NOTHING
        self.fault: ProtocolError | None = None
        self.limit_option = limit_option
        self.proven = 0

    def split(self, chunk: bytes) -> list[bytes]:
        """The frames that ``chunk`` completes."""
        if self.rest:
            return self._continue(chunk)
        frames = chunk.split(self._delimiter)
        if rest := frames.pop():
            self._keep(rest)
        if not chunk.isascii() or len(chunk) > self._limit:
            self._check(frames)
        return frames

    def _continue(self, chunk: bytes) -> list[bytes]:
        kept = self.rest
        searched = max(len(kept) - self._overlap, 0)
        kept_tail = bytes(kept[searched:])  # a delimiter may have begun there
        end = (kept_tail + chunk).find(self._delimiter)
        if end < 0:
            self._keep(chunk)
            return []
        cut = end - len(kept_tail)  # where, in the chunk, the frame's bytes end: negative if in the kept ones
        kept += chunk[: max(cut, 0)]
        first = bytes(memoryview(kept)[: searched + end])  # one copy, where a slice of it would be a second
        self.rest = NOTHING
        frames = [first]
        frames += self.split(chunk[cut + len(self._delimiter) :])
        if not first.isascii() or len(first) > self._limit or len(first) // 2 > self._max_values:
            self._check(frames)
        return frames

    def _keep(self, part: bytes) -> None:
        if self.rest:
            self.rest += part
        else:
            self.rest = bytearray(part)
        if len(self.rest) > self._limit + self._overlap:
            self.fault = self._too_large(len(self.rest))
            self.rest = NOTHING

    def _check(self, frames: list[bytes]) -> None:
        """Cut ``frames`` before the first that is too large or not UTF-8."""
        limit = min(self._limit, self._max_values * 2)
        if len(frames) > 1 and sum(map(len, frames)) <= limit and _is_utf8(b"\n".join(frames)):
            return
        for index, frame in enumerate(frames):
            if len(frame) > self._limit:
                self.fault = self._too_large(len(frame))
            elif not _is_utf8(frame):
                self.fault = self.hopeless(frame) or InvalidJSON("a frame is not UTF-8, which JSON must be")
            elif may_have_more_values(frame, self._max_values):
                self.fault = self._too_many(frame)
            else:
                continue
            del frames[index:]
            self.rest = NOTHING
            return

    def hopeless(self, begun: bytes | bytearray) -> ProtocolError | None:
        """Why this can never become a frame, so that nobody waits for the rest of it; None where it can."""
        if begun.startswith(TLS_HANDSHAKE):
            return InvalidJSON(
                "the other end speaks TLS and this one does not: set config.tls at both ends, or at neither"
            )
        return None

    def _too_many(self, frame: bytes) -> FrameTooLarge:
        return FrameTooLarge(
            f"a message of {len(frame)} bytes has about {count_values(frame)} values and the limit is "
            f"{self._max_values}: raise max_message_values on the receiving side if such messages are meant to come"
        )

    def _too_large(self, size: int) -> FrameTooLarge:
        return FrameTooLarge(
            f"a message of {size} bytes or more is larger than the limit of {self._limit} bytes: "
            f"raise {self.limit_option} on the receiving side if messages of this size are meant to come"
        )


MOST_DELIMITER = 8
"""So long may what follows the last ``}`` be to be taken for a delimiter."""


TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How an alert and a handshake of TLS begin."""
CUT_AS_SLOW = (
    ". It was stopped or killed, or it cut this client off, as one that reads more slowly than it sends: its log says "
    'which. A server that emits with keep="latest" sends only the newest of what waits, and with '
    "slow_policy='drop_oldest' it leaves the oldest messages out, instead of cutting"
)


def ended_in_the_middle(of_a_server: bool) -> str:
    """Why only a part of a message came, a clause: what a server may have done to its client."""
    return f"the server ended in the middle of it{CUT_AS_SLOW}" if of_a_server else "the peer ended in the middle of it"


NO_MESSAGE = "is the peer in raw mode (raw_buffer), or no program of node-ipc?"
"""What is asked of bytes that begin as no message does."""


def never_a_message(rest: bytes | bytearray) -> str | None:
    """Why what has been half a message for a while will hardly become a whole one, a clause; None where it may."""
    data = bytes(rest[:PIECE])
    begun = data.lstrip()[:1]
    if begun and begun != b"{":
        return f"it begins {data[:64]!r}: {NO_MESSAGE}"
    whole, brace, end = data.rpartition(b"}")
    if not brace or len(data) < len(rest) or len(end) > MOST_DELIMITER:
        return None
    last = (whole + brace).rsplit(end, 1)[-1] if end else whole + brace
    try:
        msgspec.json.decode(last)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return _other_delimiter(end)


def _other_delimiter(end: bytes) -> str:
    if end:
        return f"it ends in {end!r}: does the peer use another delimiter?"
    return "it ends in '}': does the peer send no delimiter?"


def half_a_message(rest: bytes | bytearray, of_a_server: bool) -> InvalidMessage:
    """What it means that a link ended behind these bytes: they are no whole frame."""
    begun = bytes(rest[:64])
    end = bytes(rest[rest.rfind(b"}") + 1 :][: MOST_DELIMITER + 1])
    if begun[:2] in TLS_RECORDS:
        hint = "that is TLS, which this side does not speak here: use tls:// or config.tls"
    elif begun.lstrip()[:1] not in (b"", b"{"):
        hint = NO_MESSAGE
    elif b"}" not in rest or len(end) > MOST_DELIMITER:
        hint = ended_in_the_middle(of_a_server and begun[:1] == b"{")
    else:
        hint = _other_delimiter(end)
    return InvalidMessage(f"the link ended inside a message, {len(rest)} bytes of which came, {begun!r}: {hint}")


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        if len(data) <= PIECE:
            str(data, "utf-8")
            return True
        decode = codecs.getincrementaldecoder("utf-8")().decode
        for start in range(0, len(data), PIECE):  # of 16 MiB as one text only the memory took 50 ms
            decode(data[start : start + PIECE])
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
