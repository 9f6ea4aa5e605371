"""The file of a recording, written by a thread of its own: whoever is recorded never waits for the disk.

Lines are handed to the kernel as soon as the thread gets to it, whole lines only: ``kill -9`` costs what the thread had
not written yet, and half a line where it hits the kernel's own writing. Where the disk does not keep up, lines wait in
a bounded queue; what does not fit is counted and told in the file.
"""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Callable

import msgspec

from .format import Entry, RecordingError
from .reader import read

__all__ = ["MOST_WAITING", "RecordingFile", "rotated"]

MOST_WAITING = 16 * 1024 * 1024
"""Bytes of lines that wait for a disk that does not keep up."""
PARTING_SECONDS = 5.0
"""How long a disk may take for the last lines."""
STANDARD_OUTPUT = "-"
OWNER_ONLY = 0o600
"""What the file's mode is made: there may be secrets in it."""

_encode = msgspec.json.Encoder().encode


def rotated(path: str, number: int) -> str:
    """Where what was written before is, the newest first: ``run.jsonl.1``, ``run.jsonl.2`` …"""
    return f"{path}.{number}" if number else path


class RecordingFile:
    """Where a recorder's lines go: a file, a pipe, or (``-``) standard output.

    A file that is there must be a recording: what is new is written below it.

    path: the file.
    header: makes the first line, of a part with this number.
    clock: seconds since 1970.
    failed: called once, in the thread, when nothing can be written any more.
    size: bytes after which a new file is begun and this one gets ``.1`` behind its name; None: never.
    keep: how many of those are kept.

    Raises:
        RecordingError: it cannot be opened, is no recording, or is to be rotated and is no file.
    """

    def __init__(
        self,
        path: str,
        header: Callable[[int], bytes],
        clock: Callable[[], float],
        failed: Callable[[RecordingError], object],
        *,
        size: int | None = None,
        keep: int = 5,
    ) -> None:
        self.path = path
        self.failure: RecordingError | None = None
        """Why nothing is written any more."""
        self.missed = 0
        """Messages that were not written, since the disk did not keep up."""
        self._header = header
        self._clock = clock
        self._failed = failed
        self._limit = size
        self._keep = keep
        self._untold = 0
        self._given = 0  # bytes that the queue got …
        self._taken = 0  # … and that were taken from it: one thread each writes them
        self._part = 1
        self._descriptor = _opened(path)
        try:
            self._written = self._begin()
        except OSError as error:
            os.close(self._descriptor)
            raise RecordingError(f"cannot write {path!r}: {error.strerror}") from error
        except RecordingError:
            os.close(self._descriptor)
            raise
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"recording {path}", daemon=True)
        self._thread.start()

    def write(self, lines: bytes, messages: int) -> None:
        """Keep these lines, which tell of so many messages."""
        if self.failure is not None:
            return
        if self.waiting + len(lines) > MOST_WAITING:
            self.missed += messages
            self._untold += messages
            return
        if self._untold:
            lines = self._told() + lines
        self._given += len(lines)
        self._queue.put(lines)

    @property
    def waiting(self) -> int:
        """Bytes that the thread has not got to."""
        return self._given - self._taken

    def close(self) -> None:
        """Write what waits, for five seconds at the most, and close the file."""
        if self._untold and self.failure is None:
            self._queue.put(self._told())
        self._queue.put(None)
        self._thread.join(PARTING_SECONDS)
        if self._thread.is_alive():
            self._fail(f"{self.path!r} took nothing for {PARTING_SECONDS:g} s: its last lines are not in it")

    def _told(self) -> bytes:
        entry = Entry(time=round(self._clock(), 6), event="missed", messages=self._untold)
        self._untold = 0
        return _encode(entry) + b"\n"

    def _fail(self, text: str, cause: BaseException | None = None) -> None:
        if self.failure is None:
            failure = RecordingError(text)
            failure.__cause__ = cause
            self.failure = failure
            self._failed(failure)

    # ---- the beginning

    def _begin(self) -> int:
        """Write a header, below what is there; the size of the file."""
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            if self._limit is not None:
                raise RecordingError(f"{self.path!r} is no file, so it cannot be rotated: leave --rotate out")
        elif status.st_size:
            read(self.path)  # which raises where it is no recording: somebody's file stays as it is
            with open(self.path, "rb") as before:
                before.seek(-1, os.SEEK_END)
                cut = before.read(1) != b"\n"
            return status.st_size + self._put(b"\n" * cut + self._header(self._part))
        return self._put(self._header(self._part))

    def _put(self, lines: bytes) -> int:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(lines)

    # ---- in the thread

    def _run(self) -> None:
        try:
            while (lines := self._queue.get()) is not None:
                self._taken += len(lines)
                if self.failure is None:
                    self._keep_lines(lines)
        finally:
            os.close(self._descriptor)

    def _keep_lines(self, lines: bytes) -> None:
        try:
            if self._limit is not None and self._written + len(lines) > self._limit:
                self._rotate()
            self._written += self._put(lines)
        except OSError as error:
            self._fail(f"cannot write {self.path!r}: {error.strerror}. What was recorded before is in it", error)

    def _rotate(self) -> None:
        """``run.jsonl`` becomes ``run.jsonl.1``, that ``.2`` and so on; the oldest goes."""
        for number in range(self._keep, 0, -1):
            if os.path.exists(before := rotated(self.path, number - 1)):
                os.replace(before, rotated(self.path, number))
        descriptor = _opened(self.path, fresh=True)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._part += 1
        self._written = self._put(self._header(self._part))


def _opened(path: str, fresh: bool = False) -> int:
    if path == STANDARD_OUTPUT:
        return os.dup(1)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | (os.O_EXCL if fresh else 0)
    try:
        descriptor = os.open(path, flags, OWNER_ONLY)
    except OSError as error:
        raise RecordingError(f"cannot write {path!r}: {error.strerror}") from error
    if _is_somebody_elses(descriptor):
        os.close(descriptor)
        raise RecordingError(f"{path!r} belongs to another user, who could read what is kept: give another name")
    return descriptor


def _is_somebody_elses(descriptor: int) -> bool:
    """A file, as it may have been put into a shared directory; a pipe or a device is what its user says."""
    found = os.fstat(descriptor)
    return hasattr(os, "geteuid") and stat.S_ISREG(found.st_mode) and found.st_uid != os.geteuid()
