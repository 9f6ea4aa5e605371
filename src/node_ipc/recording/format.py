"""The format of a recording: a line of JSON for its beginning, and one for each thing that happened.

Both the writer and the reader have it from here. A reader ignores members that it does not know, so new ones need no
new version; a change of what a member means does.
"""

from __future__ import annotations

import json
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..errors import IPCError

__all__ = ["VERSION", "Entry", "Header", "RecordingError", "text_in_json"]

VERSION = 1
"""Of the format; a reader takes this one and those before it."""


def text_in_json(text: str) -> bytes:
    """Text as a JSON value; lone surrogates, which JavaScript sends, are escaped."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode()


class RecordingError(IPCError):
    """A recording cannot be read, written, played or converted; the message says why, and what to do."""

    code = "ERR_IPC_RECORDING"


class Header(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The first line of a recording, and of each part of it that was begun because the one before was full."""

    recording: Literal["node-ipc"]
    version: int
    time: float
    """Seconds since 1970 (UTC)."""
    program: str = ""
    """What made it."""
    address: str = ""
    """The server's address."""
    mode: Literal["events", "bytes"] = "events"
    """Whether there are events in it, or (raw mode) bytes as they were read."""
    delimiter: str = "\f"
    """What is between two frames on the wire."""
    payloads: bool = False
    """Whether payloads were kept, or only their sizes."""
    redacted: list[str] = []
    """The paths in payloads at which ``"[redacted]"`` stands."""
    part: int = 1
    """1, and one more for each file that was full before this one."""


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that happened: a message, or (``event``) the beginning or end of a link."""

    time: float
    """Seconds since 1970 (UTC), when it was read."""
    link: int = 0
    """The number of the link, from 1."""
    peer: str = ""
    """Who is the client there (with ``node-ipc record``: the server)."""
    event: str = ""
    """Empty for a message. ``connect`` and ``disconnect``: a link begins, ends. ``missed``: messages that were not
    kept, since the disk did not keep up. ``end``: the recording ended as it should."""
    side: Literal["", "client", "server"] = msgspec.field(default="", name="from")
    """Who said it."""
    type: str | UnsetType = UNSET
    """The event's name; unset where it was none (``fault``), and in raw mode."""
    bytes: int = 0
    """The size of the whole frame, without its delimiter."""
    method: str = ""
    """What a request asks for, where payloads are not kept."""
    data: Raw | UnsetType = UNSET
    """The payload in JSON."""
    fault: str = ""
    """Why a frame is no event."""
    frame: str | UnsetType = UNSET
    """Such a frame as it was, where it is text."""
    hex: str | UnsetType = UNSET
    """Such a frame, or a read of raw mode, as it was, where it is not."""
    reason: str = ""
    """Why a link ended, where it was not in order (``disconnect``)."""
    client_bytes: int = 0
    """Of the whole link (``disconnect``)."""
    server_bytes: int = 0
    """Of the whole link (``disconnect``)."""
    messages: int = 0
    """How many (``missed``)."""
    recording: str = ""
    """Not empty where a line is the header of what follows."""
