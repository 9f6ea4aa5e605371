"""One connected socket, for both drivers: what a session writes to, and what tells it of reads.

The outbound buffer is the link's own and holds only what the kernel did not take at once: the session keeps what
comes after that. asyncio's transports do the same with three more calls for each read and 1.3 KiB more for each
connection; they are used only where a loop cannot watch sockets (a Proactor) or reads them itself (uvloop).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ..config.interrupted import between_steps, interrupted
from ..core.seam import NOBODY, Peer, Receiver
from . import tcp
from .paused import Lookout
from .steps import READ, WRITE, Watcher
from .unread import all_arrived, unread_bytes

__all__ = ["DIRECT_SECONDS", "LAST_READS", "StreamLink", "block_for_reads"]

DONT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
"""The flag of every ``send`` and ``recv`` that must not block (0 where sockets in blocking mode are not used)."""
DIRECT_SECONDS = 1
"""The kernel's time limit of a direct read: what is due sooner is polled for."""
READ_BYTES = 64 * 1024
ONE_READ = (READ_BYTES,)
NOTHING: deque[memoryview] = deque(maxlen=0)
"""What waits where nothing does, for all links: an empty deque takes 760 bytes. Nothing can be put into it."""
MOST_PARTS = 256
"""Buffers in one call; Linux takes 1,024, others fewer."""
SENDS_PARTS = hasattr(socket.socket, "sendmsg")  # not on Windows
LAST_READS = 64
"""Reads that a link gets to bring what its peer sent before it went away."""


class StreamLink:
    """One connected socket."""

    __slots__ = (
        "_closing",
        "_driver",
        "_interest",
        "_lookout",
        "_over",
        "_peer_ended",
        "_pending",
        "_read_direct",
        "_read_first",
        "_reading",
        "_receiver",
        "_sock",
        "_unsent",
        "peer",
    )

    def __init__(self, driver: Watcher, sock: socket.socket, peer: Peer, receiver: Receiver) -> None:
        self.peer = peer
        self._driver = driver
        self._sock = sock
        self._receiver = receiver
        self._unsent = NOTHING
        self._pending = 0
        self._interest = 0
        self._reading = True
        self._closing = self._peer_ended = self._over = False
        self._read_direct: Callable[[], None] | None = None
        self._read_first: Callable[[], bool] | None = None
        self._lookout: Lookout | None = None  # made when reading is paused for the first time

    def start(self, *, alone: bool) -> None:
        """Begin to read. ``alone``: this is its driver's only link, so the driver may block in ``recv``."""
        if alone and block_for_reads(self._sock):
            self._read_direct = self._read_waiting
        receiver = self._receiver
        try:
            self._watch()
            receiver.opened(self)
        except BaseException as error:
            self._interrupted("connecting", error)
            raise

    def _watch(self) -> None:
        """Wait for what there is to wait for now."""
        if self._over:
            return
        interest = (READ if self._reading and not self._peer_ended else 0) | (WRITE if self._unsent else 0)
        if interest == self._interest:
            return
        before = self._interest
        self._interest |= interest  # so that a link that is interrupted here is forgotten all the same
        try:
            self._driver.watch(self, interest, self._read_direct)
            self._interest = interest
        except OSError as error:  # ENOMEM, ENOSPC (max_user_watches): it would never hear of anything again
            self._interest = before
            self._finish(error)

    # ---- the driver's side

    def fileno(self) -> int:
        return self._sock.fileno()

    def readable(self) -> bool:
        try:
            if self._read_first is not None and self._read_first():
                return False
            try:
                data = self._sock.recv(READ_BYTES, DONT_WAIT)
            except BlockingIOError:
                return False
            except OSError as error:
                self._failed(error)
                return False
            if data:
                self._receiver.received(data)
                return len(data) == READ_BYTES
            self._end_of_stream()
            return False
        except BaseException as error:
            self._interrupted("reading", error)
            raise

    def _read_waiting(self) -> None:
        """A read that waits, so that it is the likely place for a signal's handler to raise.

        ``extend`` has put what came into the list before Python looks for signals again: where that is empty, nothing
        was read, and nothing is in doubt.
        """
        if self._read_first is not None and self._has_read_first(self._read_first):
            return
        read: list[bytes] = []
        try:
            try:
                read.extend(map(self._sock.recv, ONE_READ))
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            if data := read[0]:
                self._receiver.received(data)
            else:
                self._end_of_stream()
        except BaseException as error:
            if read:
                self._interrupted("reading", error)
            else:
                self._driver.undisturbed = error
            raise

    def _has_read_first(self, read: Callable[[], bool]) -> bool:
        try:
            return read()
        except BaseException as error:
            self._interrupted("reading", error)
            raise

    def _failed(self, error: OSError) -> None:
        """The kernel says that the link is broken; a signal's handler may raise an OSError, too (TimeoutError)."""
        if error.errno is None:
            raise error
        self._finish(error)

    def _interrupted(self, verb: str, error: BaseException) -> None:
        if between_steps(error):
            self._finish(interrupted(verb, error))

    def _end_of_stream(self) -> None:
        self._peer_ended = True
        self._watch()
        self._receiver.ended()
        if self._closing and not self._unsent:
            self._end_writing()

    def writable(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                view = unsent[0]
                sent = self._sock.send(view, DONT_WAIT)
                self._pending -= sent
                if sent < len(view):
                    unsent[0] = view[sent:]
                    return
                unsent.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno is None:
                self._finish(interrupted("writing", error))
                raise
            self._broken(error)
            return
        except BaseException as error:
            self._finish(interrupted("writing", error))
            raise
        self._unsent = NOTHING
        self._watch()
        self._receiver.writable()
        if self._closing and not self._unsent:
            self._end_writing()

    def discard(self) -> None:
        self._over = True
        self._sock.close()

    # ---- the session's side

    def write(self, data: bytes) -> None:
        if self._unsent or self._over:
            self._keep(data, 0)
            return
        try:
            sent = self._sock.send(data, DONT_WAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno is None:
                raise  # a signal's handler did: the session cuts the link
            self._broken(error)
            self._receiver.pause()  # so the session counts this as not with the kernel
            return
        if sent != len(data):
            receiver = self._receiver  # a kernel that refuses to watch ends the link here
            self._keep(data, sent)
            self._watch()
            receiver.pause()

    def write_parts(self, parts: list[Any]) -> None:
        if self._unsent or self._over:
            self._keep_parts(parts, 0)
            return
        try:
            sent = self._send_parts(parts)
        except OSError as error:
            if error.errno is None:
                raise  # a signal's handler did: the session cuts the link
            self._broken(error)
            self._receiver.pause()  # so the session counts this as not with the kernel
            return
        if sent != sum(map(len, parts)):
            receiver = self._receiver
            self._keep_parts(parts, sent)
            self._watch()
            receiver.pause()

    def _send_parts(self, parts: list[Any]) -> int:
        """How many bytes of them the kernel took."""
        taken = 0
        for begin in range(0, len(parts), MOST_PARTS):
            some = parts[begin : begin + MOST_PARTS]
            try:
                sent = self._sock.sendmsg(some, (), DONT_WAIT) if SENDS_PARTS else self._sock.send(b"".join(some))
            except BlockingIOError:
                break
            taken += sent
            if sent != sum(map(len, some)):
                break
        return taken

    def _keep_parts(self, parts: list[Any], sent: int) -> None:
        for part in parts:
            if sent < len(part):
                self._keep(part, sent)
            sent = max(sent - len(part), 0)

    def read_into(self, room: memoryview) -> int:
        if self._over or self._peer_ended:
            return 0
        read, size, receive = 0, len(room), self._sock.recv_into
        try:
            while read < size and (count := receive(room[read:], 0, DONT_WAIT)):
                read += count
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(error)
        return read

    def read_first(self, read: Callable[[], bool] | None) -> None:
        self._read_first = None if self._over else read

    def _keep(self, data: bytes, sent: int) -> None:
        if not self._over:
            if not self._unsent:
                self._unsent = deque()
            self._unsent.append(memoryview(data)[sent:])
            self._pending += len(data) - sent

    def pending_bytes(self) -> int:
        return self._pending

    def unread_bytes(self) -> int | None:
        if self._over or self.peer.transport != "unix":
            return None
        unread = unread_bytes(self._sock)
        return None if unread is None else unread + self._pending

    def all_arrived(self) -> bool:
        return not (self._over or self._unsent) and all_arrived(self._sock)

    def close(self) -> None:
        if self._closing or self._over:
            return
        self._closing = True
        if not self._unsent:
            self._end_writing()

    def _end_writing(self) -> None:
        """Everything is with the kernel: say so to the peer, and wait for its own end."""
        if self._over:
            return
        if self._peer_ended:
            self._finish(None)
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._finish(None if error.errno == errno.ENOTCONN else error)

    def abort(self) -> None:
        self._finish(None)

    def pause_reading(self) -> None:
        self._reading = False
        self._watch()
        if not (self._over or self._peer_ended):
            if self._lookout is None:
                self._lookout = Lookout(self._driver, self.fileno, self._is_paused, self._tell_of_the_end)
            self._lookout.begin()

    def _is_paused(self) -> bool:
        return not (self._reading or self._peer_ended or self._over)

    def _tell_of_the_end(self) -> None:
        self._receiver.ending()

    def resume_reading(self) -> None:
        self._reading = True
        self._watch()

    # ---- its end

    def _broken(self, error: OSError) -> None:
        """Nothing can be written any more; what the peer sent before it went away is still with the kernel."""
        self._unsent = NOTHING
        self._pending = 0
        if not self._over:
            self._forget()
            self._over = True
            self._driver.call_later(0, partial(self._read_the_rest, error))

    def _read_the_rest(self, error: OSError) -> None:
        try:
            for _ in range(LAST_READS):
                data = self._sock.recv(READ_BYTES, DONT_WAIT)
                if not data:
                    break
                self._receiver.received(data)
        except OSError:
            pass
        self._over = False
        self._finish(error)

    def _forget(self) -> None:
        if self._interest:
            try:
                self._driver.watch(self, 0)
            except BaseException:  # a signal's handler: a closed socket must not stay watched, its number comes again
                self._driver.watch(self, 0)
                raise
            finally:
                self._interest = 0

    def _finish(self, error: BaseException | None) -> None:
        """Close it, and tell the receiver in a later turn: first of all, since a signal's handler may raise between
        any two of these steps, and who is told twice hears the first."""
        if self._over:
            return
        self._driver.call_later(0, partial(self._receiver.lost, tcp.link_failed(error)))
        self._over = True
        self._receiver = NOBODY
        self._unsent = NOTHING
        self._pending = 0
        try:
            self._forget()
        finally:
            self._sock.close()
        self._read_direct = self._read_first = None
        if self._lookout is not None:
            self._lookout.stop()
            self._lookout = None


def block_for_reads(sock: socket.socket) -> bool:
    """Make ``recv`` without DONT_WAIT block for at most DIRECT_SECONDS; whether this system can."""
    if not DONT_WAIT:
        return False
    limit = struct.pack("ll", DIRECT_SECONDS, 0)  # a timeval
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    except OSError:
        return False
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, len(limit)) != limit:
        return False
    sock.setblocking(True)
    return True
