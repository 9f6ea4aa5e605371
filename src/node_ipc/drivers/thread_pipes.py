r"""Named pipes in the caller's thread: overlapped reads and writes that are waited for with a time limit.

A ``PipePort`` is one of Windows' completion ports, without asyncio: whatever its channels and ``accept`` have
begun is finished by ``poll``, which runs the callbacks in the thread that calls it. Any number of pipes fits
(waiting for events would end at 64), and ``wake`` ends a ``poll`` from another thread.

No callback comes inside the call that began its operation.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from ..core.seam import NOBODY, Peer, PlainLink, Receiver, Timer
from ..net import tcp
from ..net.pipe import PipeHandle
from ..net.win32 import CompletionPort, Overlapped
from .poller import LONGEST

__all__ = ["PipeChannel", "PipeLink", "PipePort"]

READ_BYTES = 65536
"""The most that one read brings."""

_INFINITE = 0xFFFFFFFF
_GOODBYE = 2.0
"""Seconds that ``close`` gives cancelled operations: until they end, Windows may write into their memory."""


class PipePort:
    """Waits for pipes in the thread that calls ``poll``."""

    def __init__(self) -> None:
        self._port: CompletionPort | None = CompletionPort()
        # What Windows works on, by the address it will name: must not be freed before its end is told.
        self._begun: dict[int, _Operation] = {}
        # What has ended already when Windows was asked, and will not be told by it.
        self._told: deque[tuple[_Operation, OSError | None]] = deque()

    def poll(self, timeout: float | None) -> bool:
        """Wait until something ends, ``timeout`` seconds at most (``None``: no limit), and run its callbacks.

        Everything that has ended by then is told; ``wake`` ends the wait without a callback. Returns whether anything
        ended the wait.
        """
        milliseconds = _INFINITE if timeout is None else math.ceil(min(max(timeout, 0), LONGEST) * 1000)
        happened = bool(self._told)
        for _ in range(len(self._told)):
            milliseconds = 0
            operation, error = self._told.popleft()
            operation.end(error)
        while self._port is not None:
            address = self._port.next(milliseconds)
            if address is None:
                break
            milliseconds = 0
            happened = True
            ended = self._begun.pop(address, None)
            if ended is not None:
                ended.end()
        return happened

    def wake(self) -> None:
        """End the ``poll`` that runs now, or the next one; safe from any thread."""
        port = self._port
        if port is not None:
            port.wake()

    def accept(self, handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
        """Tell ``done`` that a client is there, or why none can come to this instance."""
        self.join(handle)
        return self.begin(lambda overlapped: overlapped.connect(handle.fileno()), lambda _, error: done(error))

    def join(self, handle: PipeHandle) -> None:
        """Have the ends of a handle's operations told here; Windows takes each handle once, and keeps it."""
        if self._port is not None:
            self._port.join(handle.fileno())

    def begin(
        self, start: Callable[[Overlapped], bool | None], ended: Callable[[bytes | None, OSError | None], None]
    ) -> _Operation:
        """Begin what ``start`` does with an overlapped object; ``ended`` gets its result or its error.

        ``start`` returns True when it is done already and Windows will say nothing more.
        """
        operation = _Operation(Overlapped(), ended)
        try:
            done = start(operation.overlapped)
        except OSError as error:
            self._told.append((operation, error))
            return operation
        if done:
            self._told.append((operation, None))
        else:
            self._begun[operation.overlapped.address] = operation
        return operation

    def close(self) -> None:
        """Cancel what is under way, tell nobody, and free the port."""
        for operation in list(self._begun.values()):
            operation.cancel()
        self._told.clear()
        deadline = time.monotonic() + _GOODBYE
        while self._begun and (left := deadline - time.monotonic()) > 0:
            self.poll(left)
        port, self._port = self._port, None
        if port is not None:
            port.close()


class _Operation:
    """Something that Windows was asked to do."""

    __slots__ = ("_ended", "overlapped")

    def __init__(self, overlapped: Overlapped, ended: Callable[[bytes | None, OSError | None], None]) -> None:
        self.overlapped = overlapped
        self._ended: Callable[[bytes | None, OSError | None], None] | None = ended

    def cancel(self) -> None:
        """Ask for an early end and tell nobody; Windows still says when it has let go of the memory."""
        if self._ended is not None:
            self._ended = None
            self.overlapped.cancel()

    def forget(self) -> None:
        """Tell nobody, and let it go on."""
        self._ended = None

    def end(self, error: OSError | None = None) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        result: bytes | None = None
        if error is None:
            try:
                result = self.overlapped.result()
            except OSError as failure:
                error = failure
        ended(result, error)


def _tell_nobody(*what: object) -> None:
    """What a closed channel calls."""


class PipeChannel:
    """One open pipe of a ``PipePort``: at most one read and one write under way.

    ``received`` gets the bytes of a read, and ``b""`` when the peer has ended; ``written`` says that the
    write that was under way is with the kernel; ``lost`` says why a read or a write failed.
    """

    def __init__(
        self,
        port: PipePort,
        handle: PipeHandle,
        received: Callable[[bytes], None],
        written: Callable[[], None],
        lost: Callable[[OSError], None],
        *,
        accepted: bool = False,
    ) -> None:
        """``accepted``: the handle came through this port's ``accept``."""
        self._port = port
        self._handle = handle
        self._received = received
        self._written = written
        self._lost = lost
        self._read: _Operation | None = None
        self._write: _Operation | None = None
        self._pending_bytes = 0
        self._buffer = ctypes.create_string_buffer(READ_BYTES)  # of the read under way, and there is one at most
        if not accepted:
            port.join(handle)

    def pending_bytes(self) -> int:
        """The size of the write that is under way."""
        return self._pending_bytes

    def read_start(self) -> None:
        """Begin one read, unless one is under way; each read needs its own call."""
        if self._read is None:
            self._read = self._port.begin(self._start_read, self._end_read)

    def write_start(self, data: bytes) -> bool:
        """Begin the next write, of at least one byte; True when the kernel has all of it already.

        ``written`` (or ``lost``) comes only after False, and the next write has to wait for it.
        """
        if self._write is not None:
            raise RuntimeError("a write is under way on this pipe: wait for it")
        write = self._port.begin(lambda overlapped: overlapped.write(self._handle.fileno(), data), self._end_write)
        if write.overlapped.succeeded():  # though poll() has not told it yet
            write.forget()
            return True
        self._write, self._pending_bytes = write, len(data)
        return False

    def close(self) -> None:
        """End both directions now; no callback comes any more."""
        for operation in (self._read, self._write):
            if operation is not None:
                operation.cancel()
        self._read = self._write = None
        self._pending_bytes = 0
        self._received = self._written = self._lost = _tell_nobody  # its link, which knows it
        self._handle.close()

    def _start_read(self, overlapped: Overlapped) -> None:
        overlapped.read(self._handle.fileno(), self._buffer)

    def _end_read(self, data: bytes | None, error: OSError | None) -> None:
        self._read = None
        if error is None or isinstance(error, BrokenPipeError):
            self._received(data or b"")
        else:
            self._lost(error)

    def _end_write(self, _: bytes | None, error: OSError | None) -> None:
        self._write, self._pending_bytes = None, 0
        if error is None:
            self._written()
        else:
            self._lost(error)


class PipeLink(PlainLink):
    """One open pipe as a link.

    It has no half-close: ``close`` lets what was written reach the kernel, which keeps it for the peer, and then ends
    both directions; ``lost`` follows at once.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        port: PipePort,
        handle: PipeHandle,
        peer: Peer,
        receiver: Receiver,
        *,
        accepted: bool,
    ) -> None:
        self.peer = peer
        self._call_later = call_later
        self._receiver = receiver
        self._channel = PipeChannel(port, handle, self._received, self._written, self._finish, accepted=accepted)
        self._unsent: deque[bytes] = deque()
        self._waiting = 0  # bytes in _unsent
        self._reading = True
        self._arrived: bytes | None = None  # what the read brought that was under way when reading was paused
        self._busy = False  # a write is under way
        self._closing = self._peer_ended = self._over = False

    def start(self) -> None:
        """Begin to read."""
        self._channel.read_start()
        self._receiver.opened(self)

    # ---- the channel's side

    def _received(self, data: bytes) -> None:
        if self._over:
            return
        if not self._reading:
            self._arrived = data
            return
        if data:
            self._receiver.received(data)
            if self._reading and not self._over:
                self._channel.read_start()
            return
        self._peer_ended = True
        self._receiver.ended()

    def _written(self) -> None:
        self._busy = False
        while self._unsent and not self._busy:
            data = self._unsent.popleft()
            self._waiting -= len(data)
            self._busy = not self._channel.write_start(data)
        if self._busy or self._over:
            return
        self._receiver.writable()
        if self._closing and not (self._busy or self._unsent):
            self._finish(None)

    # ---- the session's side

    def write(self, data: bytes) -> None:
        if self._over:
            return
        if self._busy:
            self._unsent.append(data)
            self._waiting += len(data)
            return
        if not self._channel.write_start(data):
            self._busy = True
            self._receiver.pause()

    def pending_bytes(self) -> int:
        return self._waiting + self._channel.pending_bytes()

    def unread_bytes(self) -> int | None:
        """What is in a pipe belongs to the kernel, and it does not say when that was read."""
        return None

    def all_arrived(self) -> bool:
        """It has no half-close, so no peer's end answers ours."""
        return False

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._busy:
                self._finish(None)

    def abort(self) -> None:
        self._finish(None)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if self._reading or self._over:
            return
        self._reading = True
        arrived, self._arrived = self._arrived, None
        if arrived is None:
            if not self._peer_ended:
                self._channel.read_start()
        else:
            self._call_later(0, partial(self._received, arrived))

    def _finish(self, error: OSError | None) -> None:
        """Close it, and tell the receiver in a later turn."""
        if self._over:
            return
        self._over = True
        self._unsent.clear()
        self._waiting = 0
        self._channel.close()
        receiver, self._receiver = self._receiver, NOBODY
        self._call_later(0, partial(receiver.lost, tcp.link_failed(error)))
