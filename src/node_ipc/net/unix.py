"""Unix sockets, made so that no other user can slip in, take over or be robbed.

This module tells the kernel everything that a safe Unix socket needs: which directory is fit for one, the
lock that keeps a path to one server, the mode before the name exists, who the other end is, and what may be
removed afterwards. It waits for nothing and knows no loop: what it returns is a ready, non-blocking socket,
and waiting on that is the drivers' business. Errors of the kernel leave as the types of ``errors.py``.

How a path is taken (``listen_unix``):

1. The directory is opened once, component by component; what follows works relative to that descriptor. It
   has to belong to root or to us, and others may write to it only if it is sticky, as /tmp is. On the way a
   symbolic link counts only if root or we made it.
2. Anything at the path but a socket is refused, before a lock is made beside it.
3. ``<path>.lock`` is locked for the server's life. A server that leaves removes its lock file, so after
   locking, the file must still be the one at that name.
4. A socket that is there already is asked: "connection refused" means that its server is dead, and it is
   removed. Every other answer, also a full queue or no permission, means a live server. Neither step alone
   is enough: a socket that is bound but does not listen yet refuses too, and a server that is no node_ipc of
   Python's takes no lock.
5. The mode is set on the descriptor, before ``bind`` gives it a name: no moment exists with a wider one. The
   umask is never touched, since it belongs to all threads of the process.
6. The kernel remembers the string that ``bind`` got, and shows it in /proc/net/unix: ``ss`` and ``lsof`` read it
   there, and systemd-tmpfiles, which leaves the sockets of live servers in an aged /tmp. So it gets the real path,
   where that fits and no other user can make it lead elsewhere; a way by the descriptor of the directory otherwise.

On Linux a client needs write permission on a socket to connect to it; read permission changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, MutableMapping
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from ..config.address import Address, Unix, lies_directly_in
from ..config.foreign import warn
from ..config.handed import address_of, place_of
from ..core.seam import Peer
from ..errors import (
    AddressError,
    AddressInUse,
    ConnectDenied,
    ConnectError,
    IPCError,
    NotASocket,
    PeerRefused,
    SocketRootError,
)
from .keeping import closed_on_failure

if sys.platform != "win32":  # pragma: no branch - the module is only looked at there, for its types
    import fcntl

__all__ = [
    "Credentials",
    "OwnedSocket",
    "adopt",
    "adopt_all",
    "check_peer",
    "connect_unix",
    "inherited_sockets",
    "listen_unix",
    "lock_holder",
    "of_long_path",
    "peer_credentials",
    "peer_of",
    "secure_root",
    "socket_mode",
    "sockets_in",
]

_LINUX = sys.platform == "linux"
_FD_PATHS = os.path.isdir("/proc/self/fd")  # false in a bare chroot: then paths are used as they stand
_SUN_PATH_MAX = 107 if _LINUX else 103  # bytes of a socket's path, without the NUL at its end
_FIND = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_NOFOLLOW", 0)
_FIND_DIRECTORY = _FIND | getattr(os, "O_DIRECTORY", 0)
_LINKS_MAX = 40  # symbolic links on one way, as in the kernel
_LOCK_TRIES = 50  # each is a few system calls and means that another server has just left
_MOST_NAMES = 10_000  # of a directory that hints are looked for in
_FIRST_INHERITED = 3  # systemd's SD_LISTEN_FDS_START

_HINTS = {
    errno.ENOENT: "the directory has to be there; only socket_root, and what is missing above it, is made",
    errno.EACCES: "this user may not use that directory; choose one of your own",
    errno.EPERM: "what is there belongs to another user; choose another path",
    errno.EROFS: "choose a socket_root on a file system that can be written to",
    errno.ENOSPC: "make room there, or choose another socket_root",
    errno.ENAMETOOLONG: "a socket's own name has at most 250 bytes",
}


class OwnedSocket(msgspec.Struct, eq=False):
    """A socket that listens and does not block, and whatever was made for it in the file system."""

    sock: socket.socket
    """The socket, for ``accept``. Whoever closes it has to call ``close`` here as well."""
    address: Address
    """Where it listens."""
    _claim: _Claim | None = None

    @property
    def has_files(self) -> bool:
        """Whether anything was made in the file system, which somebody may remove."""
        return self._claim is not None

    def gone(self) -> str | None:
        """What somebody removed or replaced since it was made, in words; ``None`` while all is in its place."""
        return None if self._claim is None else self._claim.gone()

    def put_back(self) -> socket.socket | None:
        """Make again what is ``gone``, if nobody else serves there; nothing is taken by force.

        Where a new socket had to be made, ``sock`` is that one from now on, and the one before is returned: clients
        may wait in its queue, and the caller closes it. ``None``: ``sock`` is the same as before.

        Raises:
            IPCError: as ``listen_unix``; ``sock`` listens on, where nobody finds it.
        """
        claim = self._claim
        assert claim is not None  # nothing else is ever gone
        with _listen_errors(claim.path):
            if claim.has_its_directory():
                sock = claim.complete()
            else:
                self._claim, sock = claim.elsewhere()
                claim.release()
        if sock is None:
            return None
        before, self.sock = self.sock, sock
        return before

    def close(self) -> None:
        """Listen no more, and remove the socket's file and the lock.

        What is no longer the very file that we made stays, and in a forked child everything stays. A file
        that cannot be removed is logged. Closing twice does nothing.
        """
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()  # while we listen still: nobody takes the socket for a dead server's
        self.sock.close()


class Credentials(NamedTuple):
    """Who is at the other end of a Unix socket, as the kernel saw it at ``connect`` or ``listen``."""

    pid: int | None
    """The process; ``None`` where the system does not tell."""
    uid: int
    """Its effective user."""
    gid: int | None
    """Its effective group; ``None`` where the system does not tell."""


# Listening


def socket_mode(*, readable_all: bool = False, writable_all: bool = False) -> int:
    """The mode of a socket's file: 0600, and what node gives everybody with these options."""
    return 0o600 | (0o444 if readable_all else 0) | (0o222 if writable_all else 0)


def listen_unix(
    path: str,
    *,
    root: str | None = None,
    secure: bool = False,
    shared: bool = False,
    mode: int = 0o600,
    unlink: bool | Literal["force"] = True,
    backlog: int = 128,
) -> OwnedSocket:
    r"""Listen at a path, or at ``"\0name"`` in Linux's abstract namespace.

    Args:
        root: the configured directory of sockets. Where the path lies directly in it, it is made if it is missing, with
            what is missing above it, for its owner only; and if it is ours and holds nothing of others, their right to
            write to it is taken away. ``None``: no directory is made or changed.
        secure: the path has to lie directly in ``root``, and that has to pass ``secure_root``.
        shared: a directory where other users can replace the socket will do, with a warning.
        mode: the socket's permissions; see ``socket_mode``.
        unlink: what happens to a socket at the path: ``True`` removes a dead server's, ``False`` removes none (for
            several processes on one path), ``"force"`` removes a live server's too, and logs it. Only sockets are ever
            removed.
        backlog: connections that may wait to be accepted.

    Raises:
        AddressInUse: a live server has the path; or, with ``unlink=False``, any socket is there.
        NotASocket: something else is in the place.
        SocketRootError: the directory is not safe.
        AddressError: the path is none, or the kernel refuses it.
    """
    address = Unix(path)
    if path.startswith("\0"):
        with _listen_errors(path):
            if secure:
                _require_directly_in(root, path)
            return _listen_abstract(address, backlog)
    claim = _Claim(path, _Wishes(root, secure, shared, mode, unlink, backlog))
    return OwnedSocket(claim.take(), address, claim)


def adopt(sock: socket.socket) -> OwnedSocket:
    """Take a stream socket that somebody else bound: its file is never removed, nor its mode changed.

    A socket that does not listen yet is told to.

    Raises:
        AddressError: it is no stream socket, is not bound, or is connected.
    """
    try:
        if sock.type != socket.SOCK_STREAM:
            raise AddressError(f"not a stream socket: {sock!r}. Give one of type SOCK_STREAM")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(128)
        sock.setblocking(False)
        return OwnedSocket(sock, address_of(sock))
    except OSError as exc:
        raise AddressError(f"cannot listen on {sock!r}: {exc}. Give a bound socket") from exc


def adopt_all(sockets: Collection[socket.socket], *, root: str, secure: bool) -> list[OwnedSocket]:
    """``adopt`` each of them.

    Args:
        secure: a Unix socket has to lie directly in ``root``, and that has to pass ``secure_root``.

    Raises:
        SocketRootError: ``secure``, and a socket is elsewhere, or the directory is not safe.
        AddressError: as ``adopt``.
    """
    if secure:
        local = [place.path for place in map(place_of, sockets) if isinstance(place, Unix)]
        for path in local:
            _require_directly_in(root, path)
        if local:
            secure_root(root)
    return [adopt(sock) for sock in sockets]


def inherited_sockets(environ: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The sockets that systemd, or a program like it, handed to this process; none if they are not for it.

    ``LISTEN_FDS`` counts only when ``LISTEN_PID`` is this process. The variables are removed, since the
    sockets are handed over once; a program started by this one inherits neither. ``environ`` is the
    process's unless given.

    Raises:
        AddressError: ``LISTEN_FDS`` is no number, or one of the descriptors is no socket.

    Example:
        >>> node_ipc.systemd_sockets({})  # nobody handed any over; else: node_ipc.serve(node_ipc.systemd_sockets())
        []
    """
    environ = os.environ if environ is None else environ
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    if not (count.isascii() and count.isdigit()):
        raise AddressError(f"LISTEN_FDS is {count!r}, and not the number of sockets handed over")
    taken: list[socket.socket] = []
    for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + int(count)):
        try:
            sock = socket.socket(fileno=fd)
        except OSError as exc:
            for earlier in taken:
                earlier.close()
            raise AddressError(f"LISTEN_FDS is {count}, but descriptor {fd} is no socket") from exc
        sock.set_inheritable(False)
        sock.setblocking(False)
        taken.append(sock)
    return taken


def _require_directly_in(root: str | None, path: str) -> None:
    """Refuse a socket that is elsewhere; an abstract one is in no directory."""
    if path.startswith("\0"):
        raise SocketRootError(f"an abstract socket is in no directory: {_shown(path)}. Give a path in {root!r}")
    if root is None or not lies_directly_in(path, root):
        raise SocketRootError(f"{_shown(path)} is not directly in socket_root, {root!r}, as secure_socket_root demands")


def secure_root(path: str) -> None:
    """Make sure that a directory of sockets is ours alone: made with mode 0700 if missing, verified if not.

    One that others may enter but not write to is closed to them, and that is logged.

    Raises:
        SocketRootError: it belongs to somebody else, is a symbolic link or no directory, or others may write
            to it, so that they may have put something there.
        AddressError: it cannot be made or opened.
    """
    with _listen_errors(path):
        directory = _open_directory(path, create=True, real=True)
        try:
            _require_owner_only(directory, path)
        finally:
            os.close(directory)


# Connecting


def connect_unix(
    path: str,
    *,
    also: Iterable[str] = (),
    allowed_uids: Collection[int] | None = None,
) -> socket.socket:
    r"""Connect to the server at a path, or else at the first of ``also`` that has one; without blocking.

    A Unix socket connects at once or not at all, and the server's user is checked (``check_peer``) before the
    socket is returned: nothing can be written to an impostor. One that sits at the first path does not keep
    us from the others.

    Raises (what the first path gave, where none worked):
        BlockingIOError: a server is there, but its queue is full. Try again a few milliseconds later.
        ConnectDenied: the kernel does not let us; final.
        PeerRefused: the server runs as another user.
        AddressError: the path can be no socket's; final.
        ConnectError: nobody listens there; a later attempt may succeed.
    """
    paths = (path, *also)
    by_id = len(paths) > 1  # only an id may be in several places
    first: ConnectError | None = None
    for candidate in paths:
        try:
            return _connect(candidate, allowed_uids, by_id)
        except ConnectError as exc:
            first = first or exc
    assert first is not None  # there is at least one path
    raise first


def peer_credentials(sock: socket.socket) -> Credentials | None:
    """Who is at the other end of a connected Unix socket; ``None`` for another kind, or if unknown."""
    if sock.family != getattr(socket, "AF_UNIX", None):
        return None
    if _LINUX:
        layout = struct.Struct("=iII")
        return Credentials(*layout.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)))
    return _peer_credentials_elsewhere(sock)  # pragma: no cover - not Linux


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end of a connected Unix socket, as links and handlers see it."""
    credentials = peer_credentials(sock)
    if credentials is None:
        return Peer("unix")
    return Peer("unix", pid=credentials.pid, uid=credentials.uid, gid=credentials.gid)


def check_peer(
    uid: int,
    allowed_uids: Collection[int] | None = None,
    *,
    everyone: bool = False,
    end: str = "the peer",
) -> None:
    """Let a peer pass that runs as this process's effective user, as root, or as one of ``allowed_uids``.

    ``everyone`` lets all pass (a server with ``writable_all``); ``end`` is what the message calls the peer.

    Raises:
        PeerRefused: it runs as anybody else.
    """
    if everyone or uid in (0, os.geteuid()) or uid in (allowed_uids or ()):
        return
    raise PeerRefused(
        f"{end} runs as user {uid}, this process as user {os.geteuid()}. "
        f"If that is meant, put {uid} into the option allowed_uids"
    )


def _connect(path: str, allowed_uids: Collection[int] | None, by_id: bool) -> socket.socket:
    Unix(path)  # checks it
    with closed_on_failure(_new_socket()) as sock:
        try:
            _connect_long(sock, path) if _FD_PATHS and _is_long(path) else _connect_to(sock, path)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise _connect_error(path, exc, by_id) from exc
        credentials = peer_credentials(sock)
        if credentials is not None:  # pragma: no branch - Linux always tells
            check_peer(credentials.uid, allowed_uids, end=f"the server at {_shown(path)}")
    return sock


def _connect_long(sock: socket.socket, path: str) -> None:
    found = os.open(path, os.O_PATH)
    try:
        _connect_to(sock, _by_descriptor(found, path))
    finally:
        os.close(found)


def _connect_to(sock: socket.socket, path: str) -> None:
    """A signal may end the call, which Python repeats only where a socket blocks."""
    while True:
        try:
            return sock.connect(path)
        except InterruptedError as exc:
            if exc.errno is None:  # the signal's handler raised it
                raise


def _connect_error(path: str, exc: OSError, by_id: bool) -> IPCError:
    reason = exc.strerror or str(exc)
    if exc.errno in (errno.EACCES, errno.EPERM):
        return ConnectDenied(f"no permission to connect to {_shown(path)}: {reason}. {_how_to_be_let_in(path)}")
    if exc.errno in (errno.ENAMETOOLONG, errno.ELOOP, None):
        return AddressError(f"no socket can be at {_shown(path)}: {reason}")
    kind = _kind_at(path)
    if kind is not None:  # the kernel says "Connection refused" of it
        return ConnectError(
            f"no server at {_shown(path)}: {kind} is there, which is no socket. Move it away, or choose another path"
        )
    if exc.errno == errno.EPROTOTYPE:
        return ConnectError(
            f"no server at {_shown(path)}: another program has a socket of another type there, as for datagrams. Stop "
            "that, or choose another path"
        )
    if exc.errno == errno.ENOENT and os.path.islink(path):
        return ConnectError(
            f"no server at {_shown(path)}: it is a symbolic link, and nothing is where it leads. Remove it: a server "
            "does not start in its place"
        )
    check = "the id, appspace and socket_root of both" if by_id else "the path"
    directory = os.path.dirname(path)
    if exc.errno == errno.ENOENT and not os.path.isdir(directory or "."):
        reason = f"there is no directory {directory!r}{', which a server with this socket_root makes' if by_id else ''}"
    port = _PORT.search(path) if by_id else None
    tcp = "" if port is None else f". A number alone is an id: the TCP port is tcp://127.0.0.1:{port[1]}"
    return ConnectError(f"no server at {_shown(path)}: {reason}. Start it, or check {check}{tcp}")


_PORT = re.compile(r"[./]([1-9][0-9]{1,4})$")
"""An id that is a number, behind the appspace."""


def _how_to_be_let_in(path: str) -> str:
    """What opens the way to a socket that this user may not write to."""
    me = os.geteuid()
    try:
        found = os.stat(path)
        uid, mode = found.st_uid, stat.S_IMODE(found.st_mode)
        if uid == me and not mode & stat.S_IWUSR:
            return f"It is your own, and its mode, {mode:04o}, lets only root connect: give it 0600 again, with chmod"
        owner = f"user {uid}, whose socket it is" if uid else "root, whose socket it is"
        trust = "" if uid == 0 else _TRUST
    except PermissionError:
        return (
            f"Its directory does not let user {me} through: run this as the server's user, or let others into the "
            "directory (mode 0711; a server of node-ipc 14 shuts its socketRoot at each start, unless it has "
            "secureSocketRoot = false) and to the socket (who may connect: node-ipc help security)"
        )
    except OSError:  # it is gone since
        owner, trust = "the server's user", _TRUST
    return (
        f"Run this as {owner}, or let user {me} in at the server: writable_all=True lets everybody in; for some, "
        "allowed_uids names them and the socket's mode or group lets them write to it (os.chmod, shutil.chown)."
        f"{trust} See node-ipc help security"
    )


_TRUST = " The client names the server's user in its own allowed_uids."
"""What a client has to do as well, unless the server is root's."""


def _kind_at(path: str) -> str | None:
    """What stands at a path that is no socket; ``None`` for a socket, and where there is nothing to see."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        return None if stat.S_ISSOCK(status.st_mode) else _kind(status)
    return None


def _peer_credentials_elsewhere(sock: socket.socket) -> Credentials | None:  # pragma: no cover - not Linux
    """Ask with LOCAL_PEERCRED, as macOS has it: a struct xucred (version, uid, group count, groups)."""
    option = getattr(socket, "LOCAL_PEERCRED", None)
    if option is None:
        return None
    layout = struct.Struct("=IIh2xI")
    _version, uid, groups, gid = layout.unpack_from(sock.getsockopt(0, option, 128))
    return Credentials(None, uid, gid if groups else None)


# A path in the file system that is ours


class _Wishes(NamedTuple):
    """What ``listen_unix`` was asked for; see there."""

    root: str | None
    secure: bool
    shared: bool
    mode: int
    unlink: bool | Literal["force"]
    backlog: int


class _Made(NamedTuple):
    """A file of ours, and a descriptor that pins its inode, so that no stranger's file can have the same number."""

    status: os.stat_result
    descriptor: int


class _Claim:
    """A path of ours: the directory, held by a descriptor, and the lock and the socket that were made in it."""

    def __init__(self, path: str, wishes: _Wishes) -> None:
        self.path = path
        self.wishes = wishes
        parent, _, self.name = path.rpartition("/")
        self.parent = parent or ("/" if path.startswith("/") else ".")
        self.lock_name = f"{self.name}.lock"
        self.pid = os.getpid()
        self.directory = -1
        self.made: dict[str, _Made] = {}

    # ---- taking it, looking after it, leaving it

    def take(self) -> socket.socket:
        """Everything that ``listen_unix`` does; where it fails nothing is left."""
        with _listen_errors(self.path):
            try:
                self.open_directory()
                self.refuse_other_files()
                self.take_lock(force=self.wishes.unlink == "force")
                self.free_path(self.wishes.unlink)
                sock = self.listen()
            except BaseException:
                self.release()
                raise
        if said := of_long_path(self.path):
            warn(f"the socket {_shown(self.path)} has {said}")
        return sock

    def gone(self) -> str | None:
        if self.pid != os.getpid():
            return None  # a forked child: it is its parent's
        try:
            if not self.has_its_directory():
                return f"the directory of {_shown(self.path)} was removed or replaced"
            missing = [name for name in self.made if not self._is_ours(name)]
        except OSError:  # a server that gave up its rights may not look
            return None
        if self.name in missing:
            return f"the socket {_shown(self.path)} was removed or replaced"
        return f"the lock {_shown(f'{self.path}.lock')} was removed or replaced" if missing else None

    def has_its_directory(self) -> bool:
        """Whether the path leads to the directory that we hold."""
        try:
            return os.path.samestat(os.stat(self.parent), os.fstat(self.directory))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def complete(self) -> socket.socket | None:
        """Make again what is not there, in the directory that we hold; a new socket, if one was needed."""
        if not self._is_ours(self.lock_name):
            self.refuse_other_files()
            self.take_lock(force=False)
        if self._is_ours(self.name):
            return None
        self.free_path(self.wishes.unlink is not False)
        return self.listen()

    def elsewhere(self) -> tuple[_Claim, socket.socket]:
        """Take the path again, in the directory to which it leads now."""
        wishes = self.wishes
        claim = _Claim(self.path, wishes._replace(unlink=wishes.unlink is not False))
        sock = claim.take()
        claim.wishes = wishes
        return claim, sock

    def release(self) -> None:
        """Remove what is still ours, unless this process is a fork of the one that made it; close everything."""
        if self.pid == os.getpid():
            for name, made in reversed(self.made.items()):
                try:
                    self._remove(name, made.status)
                except OSError as exc:
                    _log().warning("cannot remove %r in %r: %s", name, self.parent, exc.strerror)
        # The lock is closed and not unlocked: so a forked child leaves the parent's lock alone.
        for made in reversed(self.made.values()):
            os.close(made.descriptor)
        self.made.clear()
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1

    # ---- step by step

    def open_directory(self) -> None:
        root, secure = self.wishes.root, self.wishes.secure
        if secure:
            _require_directly_in(root, self.path)
        in_root = root is not None and lies_directly_in(self.path, root)
        self.directory = _open_directory(self.parent, create=in_root, real=secure)
        if secure:
            _require_owner_only(self.directory, self.parent)
        elif self.wishes.shared:
            _warn_if_unsafe(self.directory, self.parent)
        elif not (in_root and _tighten(self.directory, self.parent)):
            _require_safe(self.directory, self.parent)

    def refuse_other_files(self) -> bool:
        """Whether a socket is at the path. Anything else there is refused."""
        found = self._look(self.name)
        if found is not None:
            self._check_kind(found)
        return found is not None

    def take_lock(self, *, force: bool) -> None:
        for _ in range(_LOCK_TRIES):
            self._clear_lock_of_another(force)
            descriptor = self._open_lock()
            try:
                is_ours = self._lock(descriptor)
                is_there = self._is_at(self.lock_name, os.fstat(descriptor))
                if is_ours and is_there:
                    self._own(self.lock_name, descriptor)  # first, so that it is removed where the rest fails
            except BaseException:
                os.close(descriptor)
                raise
            if is_ours and is_there:
                os.fchmod(descriptor, 0o600)  # whatever the umask was
                return
            os.close(descriptor)
            if is_there:  # otherwise the server that had it has just left, and removed it
                if not force:
                    raise _in_use(
                        f"a running server holds {_shown(self.path)} (its lock is {self.lock_name!r}). "
                        "Stop it, or choose another id or path"
                    )
                _log().warning("unlink='force': taking %r from the server that runs there", self.path)
                self._unlink(self.lock_name)
        raise _in_use(f"other servers start and stop at {_shown(self.path)} all the time. Choose another path")

    def _clear_lock_of_another(self, force: bool) -> None:
        """Remove another user's lock if its server is dead and the kernel lets us; a living one's only by force."""
        found = self._look(self.lock_name)
        if found is None or found.st_uid == os.geteuid() or not stat.S_ISREG(found.st_mode):
            return
        self._check_lock(found)
        holder = self._holder(found)
        if holder is not None:
            if not force:
                raise _in_use(
                    f"a running server of user {found.st_uid} holds {_shown(self.path)} ({holder}). "
                    "Have it stopped, or choose another id or path"
                )
            _log().warning("unlink='force': taking %r from the server of user %d", self.path, found.st_uid)
        try:
            self._remove(self.lock_name, found)
        except PermissionError as exc:
            raise AddressError(
                f"a server of user {found.st_uid} that is {'running' if holder else 'dead'} has left its lock "
                f"{_shown(f'{self.path}.lock')}, which only that user or root may remove. "
                "Have it removed, or choose another id or path"
            ) from exc
        if holder is None:
            _log().warning("removed the lock of %r, which a dead server of user %d left", self.path, found.st_uid)

    def _holder(self, found: os.stat_result) -> str | None:
        """Who holds another user's lock, in words; ``None`` if its server is dead, as far as this user may see."""
        try:
            descriptor = os.open(self.lock_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.directory)
        except PermissionError:
            holder = lock_holder(found)
        else:
            try:
                free = self._lock(descriptor)
            finally:
                os.close(descriptor)
            holder = None if free else lock_holder(found) or -1
        if holder is None:
            return None
        return f"process {holder}" if holder > 0 else "a process that this system does not name"

    def free_path(self, unlink: bool | Literal["force"]) -> None:
        if not self.refuse_other_files():
            return
        if unlink is False:
            raise _in_use(
                f"a socket is at {_shown(self.path)}, and unlink is False. "
                "Remove it if no server uses it, or set unlink to True, which removes a dead server's"
            )
        pin = self._pin(self.name)  # so that what is asked is what is removed
        try:
            found = os.fstat(pin)
            self._check_kind(found)
            if unlink == "force":
                _log().warning("unlink='force': removing the socket at %r", self.path)
            else:
                self._require_dead(pin)
            self._remove(self.name, found)
        finally:
            os.close(pin)

    def listen(self) -> socket.socket:
        """Make the socket in its place, and listen."""
        with closed_on_failure(_new_socket()) as sock:
            try:
                self._bind(sock)
                sock.listen(self.wishes.backlog)
            except BaseException:  # nobody serves there: whoever looks later has to see that it is gone
                self._take_away(self.name)
                raise
        return sock

    def _take_away(self, name: str) -> None:
        made = self.made.get(name)
        if made is not None:
            with contextlib.suppress(OSError):
                self._remove(name, made.status)

    def _bind(self, sock: socket.socket) -> None:
        mode = self.wishes.mode
        if _LINUX:  # pragma: no branch - elsewhere fchmod refuses sockets, and the check below sets the mode
            os.fchmod(sock.fileno(), mode)
        try:
            self._bind_name(sock)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise
            raise AddressError(
                f"the file system of {self.parent!r} takes no sockets ({exc.strerror}), as FAT and the drives of "
                "Windows take none. Choose a socket_root on another one, such as /tmp/"
            ) from exc
        try:
            pin = self._pin(self.name)
        except BaseException:
            self._unlink(self.name)  # nothing tells later that it is ours
            raise
        self._own(self.name, pin)
        if stat.S_IMODE(self.made[self.name].status.st_mode) != mode:
            os.chmod(self._reach(pin), mode)  # the umask took bits away; nobody can connect before listen

    def _bind_name(self, sock: socket.socket) -> None:
        address = self._real_address() or self._address(self.name)
        if not _is_long(address):
            sock.bind(address)
            return
        # Not even the name alone fits: bind a short one and give the file its own afterwards.
        interim = f".{os.urandom(6).hex()}"
        sock.bind(self._address(interim))
        try:
            here = self.directory
            os.link(interim, self.name, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
        finally:
            self._unlink(interim)

    def _real_address(self) -> str | None:
        """The socket's real path, where it fits and is sure to lead to the directory that we hold."""
        directory = _sure_path(self.directory)
        if directory is None or _is_long(f"{directory}/{self.name}"):
            return None
        return f"{directory.rstrip('/')}/{self.name}"

    def _lock(self, descriptor: int) -> bool:
        """Whether the lock is ours now. Where that cannot be known its file stays: another server may have it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise AddressError(
                f"the file system of {self.parent!r} keeps no locks ({exc.strerror}), as some network file systems "
                "do. Choose a socket_root on a local one, such as /tmp/"
            ) from exc
        return True

    def _open_lock(self) -> int:
        """Open or make the lock file: a plain file of ours with one name, or it is none of our locks."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.lock_name, flags, 0o600, dir_fd=self.directory)
        except OSError:
            found = self._look(self.lock_name)
            if found is not None:
                self._check_new_lock(found)
            raise
        try:
            self._check_new_lock(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_lock(self, status: os.stat_result) -> None:
        lock = _shown(f"{self.path}.lock")
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            kind = "a file with several names" if stat.S_ISREG(status.st_mode) else _kind(status)
            raise AddressError(f"{kind} is in the place of the lock {lock}. Remove it, or choose another path")
        if status.st_size:  # ours are empty, and nothing that somebody may need is ever removed
            raise AddressError(f"{lock} is no lock, since something is in it. Move it away, or choose another path")

    def _check_new_lock(self, status: os.stat_result) -> None:
        self._check_lock(status)
        if status.st_uid != os.geteuid():  # it came after we had looked
            lock = _shown(f"{self.path}.lock")
            raise _in_use(f"the lock {lock} belongs to user {status.st_uid}. Choose another path, or have it removed")

    def _require_dead(self, pin: int) -> None:
        owner = _owner_of(self._reach(pin))
        if owner is not None:
            raise _in_use(f"another server is at {_shown(self.path)}: {owner}. Stop it, or choose another path")

    def _check_kind(self, status: os.stat_result) -> None:
        if not stat.S_ISSOCK(status.st_mode):
            raise NotASocket(
                f"{_kind(status)} is at {_shown(self.path)}, and only sockets are ever removed. "
                "Move it away, or choose another path"
            )

    def _pin(self, name: str) -> int:
        """Hold on to a file of any kind without opening it."""
        return os.open(name, _FIND, dir_fd=self.directory)

    def _reach(self, pin: int) -> str:
        """A way to the pinned socket that no renaming can lead elsewhere, and that is short."""
        return _by_descriptor(pin, f"{self.parent}/{self.name}")

    def _address(self, name: str) -> str:
        """A path for calls that take no directory descriptor."""
        return f"/proc/self/fd/{self.directory}/{name}" if _FD_PATHS else f"{self.parent}/{name}"

    def _look(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _is_at(self, name: str, status: os.stat_result) -> bool:
        found = self._look(name)
        return found is not None and os.path.samestat(found, status)

    def _remove(self, name: str, status: os.stat_result) -> None:
        if self._is_at(name, status):
            self._unlink(name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.directory)

    def _own(self, name: str, descriptor: int) -> None:
        """Remember a file as ours, in place of what was there before."""
        before = self.made.get(name)
        self.made[name] = _Made(os.fstat(descriptor), descriptor)
        if before is not None:
            os.close(before.descriptor)

    def _is_ours(self, name: str) -> bool:
        made = self.made.get(name)
        return made is not None and self._is_at(name, made.status)


def lock_holder(lock: os.stat_result) -> int | None:
    """The process that holds the lock of a server, by its file's status; ``None`` if none is seen to.

    0 or less: somebody whom the kernel does not name, or this system does not tell.
    """
    wanted = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    try:
        with open("/proc/locks") as locks:
            lines = locks.read().splitlines()
    except OSError:
        return -1
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == wanted:
            return int(fields[4])
    return None


def _owner_of(reach: str) -> str | None:
    """Who answers at a socket, in words; ``None`` if its server is dead."""
    with _new_socket() as probe:
        try:
            _connect_to(probe, reach)
        except ConnectionRefusedError:
            return None
        except BlockingIOError:
            return "its queue is full"
        except OSError as exc:
            return f"it answers {(exc.strerror or str(exc)).lower()!r}"
        credentials = peer_credentials(probe)
    return f"process {credentials.pid} of user {credentials.uid}" if credentials else "it answers"


def _listen_abstract(address: Unix, backlog: int) -> OwnedSocket:
    with closed_on_failure(_new_socket()) as sock:
        sock.bind(address.path)
        sock.listen(backlog)
    return OwnedSocket(sock, address)


# Directories


def _open_directory(path: str, *, create: bool, real: bool) -> int:
    """Open a directory by walking to it; a symbolic link of a stranger's on the way is refused.

    Args:
        create: make it, and what is missing above it, for its owner only.
        real: the last component may not be a link, whoever made it.
    """
    if not hasattr(os, "O_PATH"):  # pragma: no cover - not Linux: no descriptor of a link to check
        return os.open(path, _FIND_DIRECTORY if real else os.O_RDONLY | os.O_DIRECTORY)
    todo = _components(path)
    links = 0
    here = os.open("/" if path.startswith("/") else ".", _FIND_DIRECTORY)
    try:
        while todo:
            part = todo.pop()
            try:
                inner = os.open(part, _FIND_DIRECTORY, dir_fd=here)
            except FileNotFoundError:
                if not create:
                    raise
                with contextlib.suppress(FileExistsError):  # another starter of ours was faster
                    os.mkdir(part, 0o700, dir_fd=here)
                inner = os.open(part, _FIND_DIRECTORY, dir_fd=here)
            except NotADirectoryError:
                target = _target_of_link(here, part, path)
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                if real and not todo:
                    raise SocketRootError(f"{path!r} is a symbolic link. Give the directory itself") from None
                todo += _components(target)
                inner = os.open("/" if target.startswith("/") else ".", _FIND_DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
    except BaseException:
        os.close(here)
        raise
    return here


def _components(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _target_of_link(here: int, part: str, path: str) -> str:
    link = os.open(part, _FIND, dir_fd=here)
    try:
        status = os.fstat(link)
        if not stat.S_ISLNK(status.st_mode):
            raise SocketRootError(f"{part!r} in {path!r} is {_kind(status)}, and not a directory")
        if status.st_uid not in (0, os.geteuid()):
            raise SocketRootError(
                f"{part!r} in {path!r} is a symbolic link of user {status.st_uid}, who can turn it "
                "elsewhere. Choose another directory"
            )
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


_WAYS_OUT = (
    "Choose a directory of your own (one below it will do), or set secure_socket_root to False, which serves there "
    "all the same: sockets are for their owner only, and both ends look at who the other is"
)


def _require_safe(directory: int, path: str) -> None:
    """Nobody but root and us can rename or remove what we make there."""
    danger = _danger(os.fstat(directory), path)
    if danger is not None:
        raise SocketRootError(f"{danger} and can replace a socket there. {_WAYS_OUT}")


def _warn_if_unsafe(directory: int, path: str) -> None:
    danger = _danger(os.fstat(directory), path)
    if danger is not None:
        _log().warning("%s and can replace the socket there; secure_socket_root is False, so it is served", danger)


def _danger(status: os.stat_result, path: str) -> str | None:
    """Who besides root and us can rename and remove what is in a directory, in words."""
    if status.st_uid not in (0, os.geteuid()):
        return f"user {status.st_uid} owns the directory {path!r}"
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        return f"other users may write to the directory {path!r}"
    return None


def _tighten(directory: int, path: str, mode: int = 0o755) -> bool:
    """Take from others the right to write to a directory of ours that holds nothing of theirs; whether that was done.

    Args:
        mode: what may stay of the directory's own. A sticky directory is meant to be everybody's, and left alone.
    """
    before = os.fstat(directory)
    if before.st_uid != os.geteuid() or not before.st_mode & 0o022 or before.st_mode & stat.S_ISVTX:
        return False
    reach, after = _by_descriptor(directory, path), stat.S_IMODE(before.st_mode) & (mode | stat.S_ISGID)
    os.chmod(reach, after)  # and look after that: nobody can put anything there any more
    if any(_is_of_others(f"{reach}/{name}") for name in os.listdir(reach)):
        os.chmod(reach, stat.S_IMODE(before.st_mode))
        return False
    _log().warning("other users could write to socket_root %r; its mode is now %04o", path, after)
    return True


def _is_of_others(path: str) -> bool:
    try:
        return os.lstat(path).st_uid not in (0, os.geteuid())
    except FileNotFoundError:  # removed since it was listed
        return False


def _require_owner_only(directory: int, path: str) -> None:
    status = os.fstat(directory)
    if status.st_uid != os.geteuid():
        raise SocketRootError(
            f"socket_root {path!r} belongs to user {status.st_uid}, this process to user {os.geteuid()}. "
            "Choose a directory of your own"
        )
    if _tighten(directory, path, 0o700):
        return
    if status.st_mode & 0o022:
        raise SocketRootError(
            f"other users may write to socket_root {path!r}, and may have put something there. "
            "Look at what is inside, then take that right away (chmod 700), or choose another directory"
        )
    if status.st_mode & 0o077:
        os.chmod(_by_descriptor(directory, path), 0o700)
        _log().warning("socket_root %r was open to other users; its mode is now 0700", path)


def _sure_path(directory: int) -> str | None:
    """The real path of an open directory, if no other user can make it lead elsewhere; ``None`` if it is not so.

    For calls that take no descriptor: each directory on the way has to belong to root or to us, and others may write
    to it only if it is sticky. To that which is in the last one the path does not matter.
    """
    if not _FD_PATHS:
        return None
    path = os.readlink(f"/proc/self/fd/{directory}")
    here = os.open("/", _FIND_DIRECTORY)
    try:
        for part in _components(path)[::-1]:
            if _danger(os.fstat(here), path) is not None:
                return None
            inner = os.open(part, _FIND_DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        found = os.fstat(here)
        is_sure = found.st_uid in (0, os.geteuid()) and os.path.samestat(found, os.fstat(directory))
        return path if is_sure else None
    except OSError:  # not there any more, or not for us to look at
        return None
    finally:
        os.close(here)


# Names and errors


def sockets_in(directory: str) -> list[str]:
    """The names of the sockets in a directory, for hints; none where it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return [
            entry.name
            for entry in islice(entries, _MOST_NAMES)
            if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False))  # costs no call
            and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
        ]
    return []


def _new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _by_descriptor(descriptor: int, path: str) -> str:
    return f"/proc/self/fd/{descriptor}" if _FD_PATHS else path


def _is_long(path: str) -> bool:
    """Whether a file's path does not fit into a socket's address; an abstract name has no longer way."""
    return len(os.fsencode(path)) > _SUN_PATH_MAX and not path.startswith("\0")


def of_long_path(path: str) -> str:
    """What a path has, that only this library gets along with; empty where every program does."""
    if not _is_long(path):
        return ""
    return (
        f"a path of {len(os.fsencode(path))} bytes, and the kernel takes {_SUN_PATH_MAX}: programs of this library "
        "find it all the same, those of node-ipc (JavaScript) and others do not. For them choose a shorter one"
    )


def _shown(path: str) -> str:
    return repr(f"abstract:{path[1:]}" if path.startswith("\0") else path)


def _kind(status: os.stat_result) -> str:
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def _in_use(message: str) -> AddressInUse:
    error = AddressInUse(message)
    error.errno = errno.EADDRINUSE
    return error


@contextlib.contextmanager
def _listen_errors(path: str) -> Iterator[None]:
    try:
        yield
    except IPCError:
        raise
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno in (errno.EADDRINUSE, errno.EEXIST):
            raise _in_use(f"another server has just started at {_shown(path)}. Choose another path") from exc
        hint = _HINTS.get(exc.errno or 0, "choose another path")
        raise AddressError(f"cannot use {_shown(path)} for a socket: {reason}; {hint}") from exc


def _log() -> Any:
    from ..config.logs import logger  # importing logging costs 8 ms: only where something is logged

    return logger
