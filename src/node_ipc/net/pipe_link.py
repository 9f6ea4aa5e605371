r"""Named pipes of Windows as links of the caller's driver.

A pipe has no half-close: ``close`` lets what was written reach the kernel, which keeps it for the peer, and then ends
both directions; ``lost`` follows at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..config.address import Pipe
from ..core.seam import NOBODY, Acceptor, Peer, Receiver, Timer
from ..drivers.thread_pipes import PipeChannel
from ..errors import AddressError, ConnectError, PeerRefused
from . import tcp
from .pipe import PipeHandle, PipeListener, WinAPI, open_instance, server_of, still_busy

if TYPE_CHECKING:
    from ..config.config import Settings
    from ..drivers.thread import CallerDriver

__all__ = ["PipeAttempt", "PipeDoor", "PipeLink"]

CONNECT_SECONDS = 2.0
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.1
"""Seconds between two attempts while all instances are busy: there is no way to be told."""


class PipeLink:
    """One open pipe."""

    def __init__(
        self, driver: CallerDriver, handle: PipeHandle, peer: Peer, receiver: Receiver, *, accepted: bool
    ) -> None:
        self.peer = peer
        self._driver = driver
        self._receiver = receiver
        self._channel = PipeChannel(
            driver.pipes, handle, self._received, self._written, self._finish, accepted=accepted
        )
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
            self._driver.call_later(0, partial(self._received, arrived))

    def _finish(self, error: OSError | None) -> None:
        """Close it, and tell the receiver in a later turn."""
        if self._over:
            return
        self._over = True
        self._unsent.clear()
        self._waiting = 0
        self._channel.close()
        receiver, self._receiver = self._receiver, NOBODY
        self._driver.call_later(0, partial(receiver.lost, tcp.link_failed(error)))


class PipeAttempt:
    """One attempt to connect, at the pipe's name and then at the others that it may have."""

    def __init__(self, driver: CallerDriver, address: Pipe, receiver: Receiver, settings: Settings) -> None:
        self._driver = driver
        self._address = address
        self._receiver = receiver
        self._seconds = CONNECT_SECONDS
        if settings.connect_timeout is not None:
            self._seconds = settings.connect_timeout / 1000
        self._names = deque((address.name, *address.also))
        self._deadline = 0.0
        self._delay = FIRST_DELAY
        self._error: ConnectError | None = None

    def begin(self) -> None:
        self._deadline = self._driver.now() + self._seconds
        self._look()

    def _look(self) -> None:
        try:
            self._connect()
        except Exception as error:  # whatever Windows says: the attempt failed
            self._receiver.failed(tcp.connect_failed(self._address, error, self._seconds))

    def _connect(self) -> None:
        api = WinAPI()
        while self._names:
            path = Pipe(self._names[0]).path
            try:
                handle = open_instance(path, api)
            except PeerRefused:
                raise
            except ConnectError as refused:
                self._error = self._error or refused
                self._names.popleft()
                continue
            if handle is not None:
                peer = server_of(handle, api)
                PipeLink(self._driver, handle, peer, self._receiver, accepted=False).start()
                return
            if self._driver.now() >= self._deadline:
                raise still_busy(path, self._seconds)
            self._driver.call_later(self._delay, self._look)
            self._delay = min(self._delay * 2, LONGEST_DELAY)
            return
        assert self._error is not None
        raise self._error


class PipeDoor:
    """A listening pipe."""

    def __init__(self, driver: CallerDriver, address: Pipe, acceptor: Acceptor, settings: Settings) -> None:
        self._driver = driver
        self._address = address
        self._acceptor = acceptor
        self._settings = settings
        self._listener: PipeListener | None = None
        self._closed = False
        self._warned_at = float("-inf")

    def begin(self) -> None:
        if self._closed:
            return
        try:
            self._listener = PipeListener(
                self._address.path,
                WinAPI(),
                accept=self._accept,
                call_later=self._driver.call_later,
                connected=self._connected,
                trouble=self._trouble,
                readable_all=self._settings.readable_all,
                writable_all=self._settings.writable_all,
            )
        except Exception as error:
            self._acceptor.not_listening(tcp.listen_failed(self._address, error))
            return
        self._acceptor.listening(self._address)

    def _accept(self, handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
        return self._driver.pipes.accept(handle, done)

    def _connected(self, handle: PipeHandle, peer: Peer) -> None:
        receiver = self._acceptor.accept(peer)
        if receiver is None:
            handle.close()
        else:
            PipeLink(self._driver, handle, peer, receiver, accepted=True).start()

    def _trouble(self, error: Exception) -> None:
        now = self._driver.now()
        if now - self._warned_at >= 1.0:
            self._warned_at = now
            from ..config.logs import logger

            logger.warning("cannot accept connections at %s for the moment: %s", self._address, error)

    def reload_tls(self, tls: object) -> None:
        """A pipe has none."""
        raise AddressError(f"{self._address} has no TLS to reload")

    def close(self) -> None:
        """Accept nothing more; open links stay."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()
