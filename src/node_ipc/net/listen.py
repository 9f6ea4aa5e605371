"""Listening on Unix sockets, TCP and TLS, for every driver with sockets: who is let in, and what is refused."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from logging import WARNING
from typing import TYPE_CHECKING, Any

import msgspec

from ..config.address import Handed, Pipe, Share, Tcp, Tls, Unix
from ..config.logs import RateLimited, logger  # here, not when needed: then there may be no descriptor to read it with
from ..core.seam import Acceptor, Peer, Receiver, Timer
from ..errors import AddressError, IPCError, PeerRefused
from . import tcp, unix
from .connect import Host
from .holders import holder_of
from .steps import READ, Await, LookUp, Resolved, Steps

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from .pipe_listen import PipeHost, PipeListener
    from .tls_link import Handshakes

__all__ = ["Door", "StreamListener", "listen_local", "listener_at"]

ACCEPTS_PER_TURN = 10
FIRST_BACKOFF, LONGEST_BACKOFF = 0.01, 1.0
LOOK_SECONDS = 20.0
"""How often a server looks whether its socket's file is still there: three system calls."""
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class StreamListener:
    """Accepts connections and gives each to whom the acceptor names."""

    def __init__(self, driver: Host, address: Address, acceptor: Acceptor, settings: Config) -> None:
        self._driver = driver
        self._handed = address if isinstance(address, Handed) else None
        self._address = address if self._handed is None else self._handed.where
        self._acceptor = acceptor
        self._settings = settings
        self._doors: list[Door] = []
        self._handshakes: Handshakes | None = None
        self._warned_at = float("-inf")
        self._refusals = RateLimited(
            lambda: driver.now(),
            lambda seconds, callback: driver.call_later(seconds, callback),
            what=f"lines about refused connections to {self._address}",
        )
        self.beginning: Timer
        """Goes through ``begin``; set by the driver."""

    # ---- beginning

    def begin(self) -> Steps[None]:
        """Load the certificates, look up the host, and listen at what it stands for; the acceptor hears how it went."""
        try:
            address, resolved = self._address, []
            if isinstance(address, Tls):
                from .tls_link import Handshakes

                self._handshakes = Handshakes(self._driver, self._settings)
            if self._handed is None and isinstance(address, (Tcp, Tls)):
                resolved = yield LookUp(address.host, address.port, 0, socket.SOCK_STREAM, socket.AI_PASSIVE)
            bound = self._listen(resolved)
            for door in self._doors:
                door.open()
        except Exception as error:
            self._release()
            self._acceptor.not_listening(tcp.listen_failed(self._address, error, holder_of(self._address, error)))
        else:
            self._acceptor.listening(bound)

    def _listen(self, resolved: list[Resolved]) -> Address:
        address, settings = self._address, self._settings
        if self._handed is not None:
            root, secure = settings.socket_root, settings.requires_secure_root
            self._add(*unix.adopt_all(self._handed.sockets, root=root, secure=secure))
            self._warn_if_exposed(self._handed)
            return self._handed
        if isinstance(address, Unix):
            self._add(listen_local(address, settings))
            return address
        if not isinstance(address, (Tcp, Tls)):
            raise AddressError(f"{address} is for datagrams, which have no connections")
        sockets = tcp.listen_tcp(resolved, address.port, settings.backlog)
        self._add(*(unix.OwnedSocket(sock, address) for sock in sockets))
        address = self._address = type(address)(address.host, sockets[0].getsockname()[1])
        self._warn_if_exposed(address)
        return address

    @property
    def _share(self) -> Share | None:
        return None if self._handed is None else self._handed.share

    def _add(self, *owned: unix.OwnedSocket) -> None:
        most = ACCEPTS_PER_TURN if self._handshakes is None and self._share is None else 1
        self._doors += [Door(self._driver, each, self._take, self._trouble, self._share, most) for each in owned]

    def _warn_if_exposed(self, address: Address) -> None:
        if self._handshakes is None and self._share is None:
            tcp.warn_if_exposed(address, [door.sock for door in self._doors])

    # ---- accepting

    def _trouble(self, error: Exception) -> None:
        """Nobody can be accepted for the moment; said once a second."""
        now = self._driver.now()
        if now - self._warned_at >= 1.0:
            self._warned_at = now
            line = f"cannot accept connections at {self._address} for the moment: {error}"
            logger.failure(line, None, WARNING, stderr=not self._settings.silent)

    def _take(self, sock: socket.socket, where: Any) -> None:
        try:
            sock.setblocking(False)
            tcp.tune(sock)
            peer = self._peer(sock, where)
            receiver = self._admit(peer)
        except (OSError, PeerRefused) as error:
            line = f"a connection to {self._address} was refused: {error}"
            self._refusals.failure(line, None, WARNING, stderr=not self._settings.silent)
            receiver = None
        if receiver is None:
            sock.close()
            return
        waiting = self._driver.carry(sock, peer, receiver, alone=False)
        if waiting is not None:
            self._driver.walk(_carrying(waiting))

    def _peer(self, sock: socket.socket, where: Any) -> Peer:
        if not isinstance(self._address, Unix):
            return Peer("tls" if self._handshakes is not None else "tcp", host=where[0], port=where[1])
        peer = unix.peer_of(sock)
        if peer.uid is not None:
            unix.check_peer(peer.uid, self._settings.allowed_uids, everyone=self._settings.writable_all, end="a client")
        return peer

    def _admit(self, peer: Peer) -> Receiver | None:
        receiver = self._acceptor.accept(peer)
        if receiver is None or self._handshakes is None:
            return receiver
        return self._handshakes.begin(receiver, peer)

    # ---- the server's side

    def reload_tls(self, tls: Any) -> None:
        """New certificates for new handshakes: the files as they are now, or other options; open links stay."""
        if self._handshakes is None:
            raise AddressError(f"{self._address} has no TLS to reload")
        self._handshakes.reload(tls)

    def pause(self) -> None:
        """Leave who comes in the kernel's queue."""
        for door in self._doors:
            door.shut()

    def resume(self) -> None:
        """Accept who waited there, and whoever comes."""
        for door in self._doors:
            door.open()

    def close(self) -> None:
        """Accept nothing more and remove the socket's file if it is still ours; open links stay."""
        self.beginning.cancel()
        self._release()
        self._refusals.close()
        if self._handshakes is not None:
            self._handshakes.give_up()

    def _release(self) -> None:
        for door in self._doors:
            door.close()
        self._doors.clear()


def listener_at(
    driver: PipeHost, address: Address, acceptor: Acceptor, settings: Config
) -> StreamListener | PipeListener:
    """The listener for an address of this kind; the driver goes through its ``begin``."""
    if isinstance(address, Pipe):
        from .pipe_listen import PipeListener

        return PipeListener(driver, address, acceptor, settings)
    return StreamListener(driver, address, acceptor, settings)


def listen_local(address: Unix, settings: Config) -> unix.OwnedSocket:
    """Listen at a path, as a configuration has it."""
    return unix.listen_unix(
        address.path,
        root=settings.socket_root,
        secure=settings.requires_secure_root,
        shared=settings.secure_socket_root is False,
        mode=unix.socket_mode(readable_all=settings.readable_all, writable_all=settings.writable_all),
        unlink=settings.unlink,
        backlog=settings.backlog,
    )


def _carrying(waiting: Awaitable[None]) -> Steps[None]:
    yield Await(waiting)


class Door(msgspec.Struct, eq=False):
    """One listening socket."""

    _driver: Host
    _owned: unix.OwnedSocket
    _take: Callable[[socket.socket, Any], None]
    _trouble: Callable[[Exception], None]
    _share: Share | None
    _most: int
    _backoff: float = FIRST_BACKOFF
    _open: bool = False
    _timer: Timer | None = None
    _care: Timer | None = None
    _told: str = ""

    @property
    def sock(self) -> socket.socket:
        return self._owned.sock

    def open(self) -> None:
        """Accept whoever comes."""
        self._timer = None
        self._driver.watch(self, READ)
        self._open = True
        if self._care is None and self._owned.has_files:
            self._care = self._driver.call_later(LOOK_SECONDS, self._look)

    def fileno(self) -> int:
        return self._owned.sock.fileno()

    def readable(self) -> None:
        if self._share is not None and (seconds := self._share.wait()):
            self._rest(seconds)
            return
        for _ in range(self._most):
            if not self._open:
                return  # a handler stopped the server
            try:
                sock, where = self._owned.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_RESOURCES:
                    self._rest(self.backed_off(error))
                    return
                continue  # the peer went away while it waited (accept(2))
            self.came(sock, where)

    def came(self, sock: socket.socket, where: Any) -> None:
        """Somebody connected."""
        self._backoff = FIRST_BACKOFF
        self._take(sock, where)

    def backed_off(self, error: OSError) -> float:
        """Say what is wrong; the seconds not to try again for."""
        self._trouble(error)
        seconds, self._backoff = self._backoff, min(self._backoff * 2, LONGEST_BACKOFF)
        return seconds

    def _rest(self, seconds: float) -> None:
        """Look away for a while: the kernel would say it again at once, for ever."""
        self.shut()
        self._timer = self._driver.call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        try:
            self.open()
        except OSError as error:  # to wait takes a descriptor too, where nothing else is waited for
            self._rest(self.backed_off(error))

    def writable(self) -> None:
        """A listening socket is never written to."""

    def _look(self) -> None:
        """See from time to time whether the socket's file is still there: cleaners of /tmp, and people, remove it."""
        self._care = self._driver.call_later(LOOK_SECONDS, self._look)
        gone = self._owned.gone()
        if gone is None:
            self._told = ""
        else:
            self._put_back(gone)

    def _put_back(self, gone: str) -> None:
        was_open, before = self._open, None
        self.shut()
        try:
            before = self._owned.put_back()
        except IPCError as error:
            self._tell(f"{gone} while it was served, and not put back: {error}")
        else:
            self._tell(f"{gone} while it was served: it is put back")
            self._told = ""
        if was_open:
            self._look_again()
        if before is not None:
            self._empty(before)

    def _tell(self, text: str) -> None:
        """Once, and not at each look."""
        if text != self._told:
            self._told = text
            logger.warning("%s", text)

    def _empty(self, before: socket.socket) -> None:
        """Let those in who wait in the queue of the socket that nobody finds any more."""
        with before, contextlib.suppress(OSError):  # BlockingIOError: that was all
            while self._open:
                self.came(*before.accept())

    def shut(self) -> None:
        """Closing is not enough: another process may have the socket too, and it would stay in our epoll."""
        if self._open:
            self._open = False
            self._driver.watch(self, 0)

    def close(self) -> None:
        self.shut()
        for timer in (self._timer, self._care):
            if timer is not None:
                timer.cancel()
        self._timer = self._care = None
        self._owned.close()

    def discard(self) -> None:
        self._open = False
        self._owned.close()
