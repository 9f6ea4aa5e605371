"""Reads recordings: lines into entries, and a clear error for what is none.

A recorder that was killed leaves half a line at most. One that was started again with the same file writes on below
it, with a header of its own: so half a line may also stand before a header. Anywhere else it is an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from msgspec import UNSET, Raw

from .format import VERSION, Entry, Header, RecordingError

__all__ = ["Recording", "read"]

MAKES_ONE = "node-ipc tap ADDRESS --to SERVER --record FILE makes one"

_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_header = msgspec.json.Decoder(Header).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def read(*files: str | os.PathLike[str]) -> Recording:
    """A recording, in one file or (of one that was rotated) in several, the oldest first.

    Raises:
        RecordingError: a file cannot be read, is empty, is no recording, or has a newer format than this version
            reads. While the entries are read: a line in the middle of it is broken.

    Example:
        >>> from node_ipc.recording import read
        >>> header = '{"recording":"node-ipc","version":1,"time":1764412800.5}'
        >>> line = '{"time":1764412801.26,"link":1,"from":"client","type":"login","bytes":54}'
        >>> _ = pathlib.Path("run.jsonl").write_text(f"{header}\\n{line}\\n")
        >>> [(entry.side, entry.type, entry.bytes) for entry in read("run.jsonl")]
        [('client', 'login', 54)]
    """
    if not files:
        raise RecordingError("give the recording's file, or its parts, the oldest first")
    return Recording([os.fspath(file) for file in files])


class Recording:
    """A recording that can be read any number of times: what is in it is not kept. Made by :func:`read`.

    Attributes:
        header: The :class:`Header` of the first file.
        cut: Half lines that were left out, as a recorder leaves one that was killed. Known when all was read.
        is_whole: Whether it ends as it should. Known when all was read.
    """

    def __init__(self, files: list[str]) -> None:
        self._files = files
        self.cut = 0
        self.is_whole = False
        self.header = self._first_header()

    def __str__(self) -> str:
        return " and ".join(map(repr, self._files))

    def __iter__(self) -> Iterator[Entry]:
        """The entries in their order. Links have one number each, in all the files together."""
        self.cut, self.is_whole = 0, False
        links = base = 0
        for file in self._files:
            for found in self._lines(file):
                if isinstance(found, Header):
                    if found.part == 1:
                        base = links
                    self.is_whole = False
                    continue
                self.is_whole = found.event == "end"
                if found.link:
                    found.link += base
                    links = max(links, found.link)
                if found.event != "end":
                    yield found

    def _first_header(self) -> Header:
        headers = []
        for file in self._files:
            with _opened(file) as lines:
                headers.append(_header(file, lines.readline()))
        for file, header in zip(self._files, headers, strict=True):
            if (header.mode, header.delimiter) != (headers[0].mode, headers[0].delimiter):
                raise RecordingError(f"{file!r} and {self._files[0]!r} are of different servers: play them one by one")
        return headers[0]

    def _lines(self, file: str) -> Iterator[Header | Entry]:
        broken = ""
        with _opened(file) as lines:
            yield _header(file, lines.readline())
            for number, line in enumerate(lines, 2):
                try:
                    entry = _entry(line)
                except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                    if not broken and not line.isspace():
                        broken = f"line {number} of {file!r} is broken: {error}. Remove it, and the rest can be read"
                    continue
                if broken:
                    if not entry.recording:
                        raise RecordingError(broken)
                    self.cut, broken = self.cut + 1, ""
                yield _header(file, line) if entry.recording else entry
        self.cut += bool(broken)


def _entry(line: bytes) -> Entry:
    try:
        return _decode_entry(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        if b"\\u" not in line:
            raise
    # Lone surrogates, as JavaScript sends them, are sound JSON, and msgspec refuses them.
    members = json.loads(line)
    data = members.pop("data", UNSET) if isinstance(members, dict) else UNSET
    entry = msgspec.convert(members, Entry)
    entry.data = UNSET if data is UNSET else Raw(json.dumps(data, separators=(",", ":"), allow_nan=False).encode())
    return entry


def _opened(file: str) -> IO[bytes]:
    try:
        return open(file, "rb")
    except OSError as error:
        raise RecordingError(f"cannot read {file!r}: {error.strerror}") from error


def _header(file: str, line: bytes) -> Header:
    if not line.strip():
        raise RecordingError(f"{file!r} is empty: nothing was recorded in it. {MAKES_ONE}")
    try:
        members = _decode_any(line)
        if members.get("recording") != "node-ipc":
            raise ValueError
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RecordingError(
            f'{file!r} is no recording of node-ipc, whose first line begins with {{"recording":"node-ipc". {MAKES_ONE}'
        ) from None
    version = members.get("version")
    if isinstance(version, int) and version > VERSION:
        raise RecordingError(
            f"{file!r} is a recording in version {version} of the format, and this node-ipc reads {VERSION}: it was "
            f"made by {str(members.get('program') or 'a newer one')[:100]}, so update this one"
        )
    try:
        return _decode_header(line)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordingError(f"the header of {file!r} is broken: {error}") from error
