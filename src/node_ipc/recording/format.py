"""The format of a recording: a line of JSON for its beginning, and one for each thing that happened.

Both the writer and the reader have it from here. A reader ignores members that it does not know, so new ones need no
new version; a change of what a member means does.
"""

from __future__ import annotations

import json
from typing import Any, Literal

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
    """A recording cannot be read, written, played or converted.

    Met at: ``node_ipc.recording.read``, ``node_ipc.testing.replay``, and the commands ``tap``, ``record``, ``replay``
    and ``convert``.
    What to do: the message names the file and the line, and what would help: another file, ``--payloads`` while
    recording, a newer version.

    Example:
        >>> from node_ipc.recording import read
        >>> read("missing.jsonl")
        Traceback (most recent call last):
            ...
        node_ipc.recording.format.RecordingError: ...
    """

    code = "ERR_IPC_RECORDING"


class Header(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The first line of a recording, and of each part of it that was begun because the one before was full.

    Attributes:
        recording: ``"node-ipc"``.
        version: Of the format, 1.
        time: Seconds since 1970 (UTC).
        program: What made it.
        address: The server's address.
        mode: ``"events"``, or ``"bytes"`` (raw mode) as they were read.
        delimiter: What is between two frames on the wire.
        payloads: Whether payloads were kept, or only their sizes.
        redacted: The paths in payloads at which ``"[redacted]"`` stands.
        part: 1, and one more for each file that was full before this one.

    Example:
        >>> from node_ipc.recording import Header
        >>> Header(recording="node-ipc", version=1, time=1764412800.5).mode
        'events'
    """

    recording: Literal["node-ipc"]
    version: int
    time: float
    program: str = ""
    address: str = ""
    mode: Literal["events", "bytes"] = "events"
    delimiter: str = "\f"
    payloads: bool = False
    redacted: list[str] = []
    part: int = 1


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that happened: a message, or (``event``) the beginning or end of a link.

    Attributes:
        time: Seconds since 1970 (UTC), when it was read.
        link: The number of the link, from 1.
        peer: Who is the client there (with ``node-ipc record``: the server).
        event: Empty for a message. ``connect`` and ``disconnect``: a link begins, ends. ``missed``: messages that
            were not kept, since the disk did not keep up. ``end``: the recording ended as it should.
        side: Who said it.
        type: The event's name; unset where it was none (``fault``), and in raw mode.
        bytes: The size of the whole frame, without its delimiter.
        method: What a request asks for, where payloads are not kept.
        data: The payload in JSON.
        attachments: The pieces that came beside the payload, each ``at``, ``size`` and so on; neither they nor the
            payload are kept.
        fault: Why a frame is no event.
        frame: Such a frame as it was, where it is text.
        hex: Such a frame, or a read of raw mode, as it was, where it is not.
        reason: Why a link ended, where it was not in order (``disconnect``).
        client_bytes: Of the whole link (``disconnect``).
        server_bytes: Of the whole link (``disconnect``).
        messages: How many (``missed``).
        recording: Not empty where a line is the header of what follows.

    Example:
        >>> from node_ipc.recording import Entry
        >>> Entry(time=1764412801.26, link=1, side="client", type="login", bytes=54).type
        'login'
    """

    time: float
    link: int = 0
    peer: str = ""
    event: str = ""
    side: Literal["", "client", "server"] = msgspec.field(default="", name="from")
    type: str | UnsetType = UNSET
    bytes: int = 0
    method: str = ""
    data: Raw | UnsetType = UNSET
    attachments: Any = UNSET
    fault: str = ""
    frame: str | UnsetType = UNSET
    hex: str | UnsetType = UNSET
    reason: str = ""
    client_bytes: int = 0
    server_bytes: int = 0
    messages: int = 0
    recording: str = ""
