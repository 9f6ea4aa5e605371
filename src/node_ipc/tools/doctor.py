"""``node-ipc doctor``: why does nobody answer?

It connects once, as a client would, stays for a moment, since a server that refuses somebody lets him in first, and
asks for ``rpc.ping``. Of files it only looks at what is there; nothing is locked, removed or made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .. import __version__
from ..aio import AsyncClient, connect
from ..config import twin
from ..config.address import Address, Pipe, Tcp, Tls, Udp, Unix, runtime_socket_root
from ..config.config import Config
from ..config.logs import escape
from ..core.client import ClientState
from ..core.session import Loss
from ..errors import ConnectionLost, IPCError, ProtocolError, RemoteError, RequestTimeout
from ..net.unix import lock_holder
from .arguments import Commands, UsageError, add_command, add_configuration, configuration, place, seconds
from .output import painted
from .probes import delimiter_of, language_of

__all__ = ["add_commands", "diagnose", "holder"]

EXAMPLES = """\
  node-ipc doctor                         versions, the sockets of this appspace, and whatever else lives beside them
  node-ipc doctor world                   the socket of "world": is a server there, whose, and may we connect?
  node-ipc doctor unix:/run/app.sock
  node-ipc doctor tcp://127.0.0.1:8000

With an address it connects, asks "rpc.ping" and leaves, which the server sees as a client that came and went. Where
that does not go well it comes again a few times, to find out why (full? TLS? HTTP? another delimiter?).
The exit code is 0 where that went well, and 1 where it did not.
"""

LINGER_SECONDS = 0.2
"""How long a server has to cut off whom it does not want, and again to answer."""
EMPTY_LINES = msgspec.Raw(b"\r\n\r\nnull")
"""Nothing, as JSON: servers of other languages (HTTP …) read lines, and say at an empty one what they think of it."""

TIMES = 3
"""So many connections in a row that are ended at once are enough to call a server full."""
LISTENING = 0x10000
"""The flag of a listening socket in /proc/net/unix."""
CONNECTED = "03"
"""The state of a connected one there."""
ESTABLISHED, LISTENS = "01", "0A"
"""States in /proc/net/tcp."""


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "doctor", help="say what is at an address, and whether a client gets in", examples=EXAMPLES
    )
    parser.add_argument("address", metavar="ADDRESS", nargs="?", help="an id, a URL or a socket's path")
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, default=5.0, help="for the connection (5)")
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    config = configuration(arguments)
    if arguments.address is None:
        _print(*_versions(), "", *_sockets(config))
        return 0
    where, _ = place(arguments.address, config, "client")
    if isinstance(where, Udp):
        raise UsageError(f"nobody can tell whether somebody hears {where}: UDP has no connections")
    gets_in, verdict = asyncio.run(diagnose(arguments.address, where, config, arguments.timeout))
    print(painted(escape(verdict, 2000), "good" if gets_in else "bad"))
    _print("", f"a client of {arguments.address} tries {_tried(where)}")
    if isinstance(where, Unix):
        for path in (where.path, *where.also):
            _print("", *_place(path))
        for path, appspace in _elsewhere(arguments.address, where):
            _print(f"  NOT tried: {path}, a live server of appspace {appspace!r}")
    elif isinstance(where, (Tcp, Tls)):
        _print(*_port(where))
    _print("", *_versions())
    return 0 if gets_in else 1


def _print(*lines: str) -> None:
    for line in lines:
        print(escape(line, 2000))


def _tried(where: Address) -> str:
    if not isinstance(where, (Unix, Pipe)):
        return str(where)
    first = str(type(where)(where.path if isinstance(where, Unix) else where.name))
    also = [str(type(where)(name)) for name in where.also]
    if not also:
        return first
    return f"{first} (where node-ipc before 14 looks, too), then {also[0]} (where node-ipc 14 does, unless it is told)"


# ---- versions


def _versions() -> Iterator[str]:
    yield f"node-ipc for Python {__version__}, msgspec {msgspec.__version__}"
    yield f"hot path: {twin.running or f'Python, since {twin.why}'}"
    yield f"Python {platform.python_version()} ({sys.executable}) on {platform.system()} {platform.release()}"
    yield _node()
    if hasattr(os, "geteuid"):
        yield f"this process is pid {os.getpid()} of {_user(os.geteuid())}"


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        return "no node in PATH (only Node programs need it)"
    try:
        found = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"Node ({node}) does not run: {error}"
    return f"Node {found.strip()} ({node})"


# ---- what is in the file system


def _sockets(config: Config) -> Iterator[str]:
    """Every socket that node-ipc's naming puts where clients look."""
    if sys.platform == "win32":
        yield "named pipes are not listed: give an id"
        return
    for root in dict.fromkeys((config.socket_root, runtime_socket_root())):
        names = _names(root, config.appspace)
        if names is None:
            yield f"{root}: there is no such directory"
            continue
        yield f"{root}: {len(names)} sockets of appspace {config.appspace!r}"
        for name in names:
            path = os.path.join(root, name)
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                yield f"  {name.removeprefix(config.appspace)}: {_owner(os.lstat(path))}, {_life(path)}"
        others = [name for name in _names(root, "") or () if name not in names and _listens(os.path.join(root, name))]
        if others:
            yield f"{root}: {len(others)} live sockets besides, of other appspaces or other programs"
        for name in others:
            path = os.path.join(root, name)
            with contextlib.suppress(FileNotFoundError):
                yield f"  {name}: {_owner(os.lstat(path))}, {_life(path)}"


def _elsewhere(id: str, where: Unix) -> Iterator[tuple[str, str]]:
    """Live sockets of the same id that a client does not try, and their appspace, which is another."""
    tried = (where.path, *where.also)
    for root in dict.fromkeys(map(os.path.dirname, tried)):
        for name in _names(root, "") or ():
            path = f"{root}/{name}"
            if name.endswith(f".{id}") and path not in tried and _listens(path):
                yield path, name.removesuffix(id)


def _names(root: str, appspace: str) -> list[str] | None:
    try:
        entries = list(os.scandir(root))
    except OSError:
        return None
    return sorted(
        entry.name
        for entry in entries
        if entry.name.startswith(appspace) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    )


def _place(path: str) -> Iterator[str]:
    """What is at a socket's path, and around it."""
    if path.startswith("\0"):
        yield f"abstract:{path[1:]} is a name in the kernel: there is no file to look at"
        return
    yield path
    yield f"  directory: {_directory(os.path.dirname(path))}"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        yield "  socket: there is none: its server is not running, or listens elsewhere (socket_root, appspace, id)"
        return
    except OSError as error:
        yield f"  socket: cannot be looked at: {error.strerror}"
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield f"  NOT a socket ({stat.filemode(found.st_mode)}, {_owner(found)}): a server refuses to start here"
        return
    yield f"  socket: {_owner(found)}, mode {stat.S_IMODE(found.st_mode):04o}: {_who_may_connect(found)}"
    yield f"  lock: {_life(path)}"


def _directory(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError as error:
        return f"{error.strerror}: a server makes it only where it is socket_root itself"
    text = f"{_owner(found)}, mode {stat.S_IMODE(found.st_mode):04o}"
    if found.st_uid not in (0, os.geteuid()):
        return f"{text}: UNSAFE, its owner can replace a socket there; a server refuses it"
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        return f"{text}: UNSAFE, others can replace a socket there; a server refuses it"
    return text


def _who_may_connect(found: os.stat_result) -> str:
    """Linux asks for the permission to write."""
    if found.st_mode & stat.S_IWOTH:
        return "the kernel lets everybody connect"
    if found.st_mode & stat.S_IWGRP:
        return "the kernel lets its owner and its group connect"
    return "the kernel lets its owner and root connect"


def _owner(found: os.stat_result) -> str:
    return _user(found.st_uid)


def _user(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"


def _life(path: str) -> str:
    """Whether the server of a socket lives; asking its lock itself could get in the way of one that starts."""
    try:
        lock = os.lstat(f"{path}.lock")
    except OSError:
        if _listens(path):
            return "no lock file (a Node server makes none); its server is alive"
        return f"no lock file (a Node server makes none), and nobody listens: its server is dead. {_successor(path)}"
    holder = lock_holder(lock)
    if holder is not None:
        return f"the lock is held by {_process(holder)}"
    if _listens(path):
        return "the lock is free, but somebody listens: a server that makes no lock, as Node's"
    return f"the lock is free: its server is dead. {_successor(path)}"


def _is_dead(path: str) -> bool:
    """Whether a socket is there and its server is not, as far as this user sees."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode) or _listens(path):
            return False
    except (OSError, ValueError):
        return False
    try:
        return lock_holder(os.lstat(f"{path}.lock")) is None
    except OSError:
        return os.path.exists("/proc/net/unix")


def _listens(path: str) -> bool:
    """Whether the kernel knows of somebody who listens at that very path."""
    try:
        lines = Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return False
    paths = {path, os.path.realpath(path)}
    return any(_last(line) in paths and int(line.split()[3], 16) & LISTENING for line in lines)


def _last(line: str) -> str:
    """The path in a line of /proc/net/unix, which may have blanks in it; empty where there is none."""
    fields = line.split(maxsplit=7)
    return fields[7] if len(fields) > 7 else ""


def _successor(path: str) -> str:
    """What a server that this user starts would do about what a dead one left."""
    try:
        return _foretold(path)
    except FileNotFoundError:
        return "It was removed while this looked"


def _foretold(path: str) -> str:
    left = [name for name in (path, f"{path}.lock") if os.path.lexists(name)]
    kept = [name for name in left if not _may_remove(name)]
    if kept:
        owners = ", ".join(sorted({_owner(os.lstat(name)) for name in kept}))
        return f"A server of yours cannot start here until {' and '.join(kept)} is removed, by {owners} or root"
    if not os.access(path, os.W_OK):
        return "A server of yours takes the place over only with unlink='force', since it may not ask the socket"
    return "The next server takes the place over"


def _may_remove(path: str) -> bool:
    """A file in a sticky directory only its owner, the directory's and root can remove."""
    directory = os.path.dirname(path)
    status = os.stat(directory)
    if os.geteuid() == 0:
        return True
    owns = os.geteuid() in (status.st_uid, os.lstat(path).st_uid)
    return os.access(directory, os.W_OK | os.X_OK) and (owns or not status.st_mode & stat.S_ISVTX)


def _process(pid: int) -> str:
    if pid <= 0:
        return "a process that this system does not name"
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name})"


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _command_line(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
    return []


def _connected(where: Address) -> int:
    """How many connections a server has there, as far as /proc tells."""
    if isinstance(where, Unix):
        with contextlib.suppress(OSError):
            lines = Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]
            return sum(_last(line) == where.path and line.split()[5] == CONNECTED for line in lines)
    elif isinstance(where, (Tcp, Tls)):
        return sum(port == where.port and state == ESTABLISHED for port, state, _ in _tcp_sockets())
    return 0


def _tcp_sockets() -> Iterator[tuple[int, str, str]]:
    """Port, state and inode of each."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                yield int(fields[1].rpartition(":")[2], 16), fields[3], fields[9]


def _is_stopped(pid: int | None) -> bool:
    """Whether a process stands still until it is told to go on, as far as /proc says so."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def holder(where: Address) -> int | None:
    """The process that holds the lock of a socket; None where there is none, as with Node's."""
    if not isinstance(where, Unix):
        return None
    for path in (where.path, *where.also):
        with contextlib.suppress(OSError, ValueError):
            return lock_holder(os.lstat(f"{path}.lock"))
    return None


# ---- a TCP port


def _port(where: Tcp | Tls) -> Iterator[str]:
    yield ""
    holders = sorted(_listeners(where.port))
    if holders:
        yield f"on this machine {', '.join(map(_process, holders))} listens at port {where.port}"
    else:
        yield f"no process on this machine that this user may look at listens at port {where.port}"
    yield "not known of a network server: its user, and whether it accepts other machines (firewalls, its address)"


def _listeners(port: int) -> set[int]:
    """The processes that listen at a TCP port, as far as /proc shows them to us."""
    sockets = {f"socket:[{inode}]" for at, state, inode in _tcp_sockets() if at == port and state == LISTENS}
    found: set[int] = set()
    if sockets:
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if os.readlink(link) in sockets:
                    found.add(int(link.parts[2]))
    return found


# ---- what a client finds


async def diagnose(address: str, where: Address, config: Config, timeout: float) -> tuple[bool, str]:
    """Connect as a client would: whether it gets in and is understood, and a line that says how that went."""
    config = config.copy()
    config.max_retries = 0
    try:
        client = await connect(where, config=config, timeout=timeout)
    except IPCError as error:
        return False, _refusal(address, where, config, error)
    visit = _Visit(client, config)
    try:
        return await visit.verdict()
    finally:
        client.abort()


def _refusal(address: str, where: Address, config: Config, error: IPCError) -> str:
    text = f"a client does NOT get in ({error.code}): "
    if not isinstance(where, Unix) or where.path.startswith("\0"):
        return f"{text}{error}"
    if _is_dead(where.path):
        return f"{text}the server at {where.path!r} is dead and left the socket behind. {_successor(where.path)}"
    if not os.path.lexists(where.path):
        for path, appspace in _elsewhere(address, where):
            return (
                f"{text}no server has the appspace {config.appspace!r}, where this client looks. One of this id has "
                f"{appspace!r} ({path}): give both the same, here with -o appspace={appspace}"
            )
    return f"{text}{error}"


class _Visit:
    """The first moments of a client at a server."""

    def __init__(self, client: AsyncClient, config: Config) -> None:
        self._client = client
        self._config = config
        self._peer = client.peer
        self._over = asyncio.Event()
        self._reason: object = None
        client.on("error", self._failed)
        client.on("disconnect", self._lost)
        if client.state is not ClientState.CONNECTED:
            self._over.set()

    def _failed(self, error: IPCError) -> None:
        self._reason = self._reason or error

    def _lost(self, loss: Loss) -> None:
        self._reason = self._reason or loss.reason
        self._over.set()

    async def verdict(self) -> tuple[bool, str]:
        if await self._ends_within(LINGER_SECONDS):
            return False, f"a client does NOT get in: {await self._why_cut_off()}"
        if self._client.settings.raw_buffer:
            return True, f"a client gets in: the server is {self._who()}"
        try:
            lines_are_messages = not set("\r\n").isdisjoint(self._client.settings.delimiter)
            params = None if lines_are_messages else EMPTY_LINES
            await self._client.request("rpc.ping", params, timeout=LINGER_SECONDS)
        except RequestTimeout:
            return await self._unanswered()
        except RemoteError:  # it knows of requests, and not of this one
            pass
        except IPCError:
            if isinstance(self._reason, ProtocolError):
                return await self._unanswered()
            return False, f"a client gets in, and its first message ends the link: {await self._why_ended()}"
        return True, f"a client gets in: the server is {self._who()}, and it answers"

    async def _unanswered(self) -> tuple[bool, str]:
        named = await self._language() or await self._delimiter()
        if self._reason is not None:
            return False, f"somebody is there, but it does not speak node-ipc's language: {named or self._reason}"
        if _is_stopped(self._peer.pid):
            return False, (
                f"a client gets in, and nobody answers: the server, {self._who()}, is stopped (Ctrl-Z or SIGSTOP). "
                f"kill -CONT {self._peer.pid} lets it go on"
            )
        if named is not None:
            return False, f"a client gets in, and is not understood: {named}"
        if self._peer.pid is not None and self._peer.pid == holder(self._client.address):
            return True, (
                f"a client gets in: the server is {self._who()}. It did not answer 'rpc.ping', though servers in "
                "Python do: it is busy (a handler that takes long?), or has another delimiter, parser or raw mode"
            )
        return True, (
            f"a client gets in: the server is {self._who()}. It did not answer 'rpc.ping', as Node's do not; "
            "so whether it speaks node-ipc's language is not known"
        )

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def _why_cut_off(self) -> str:
        if self._says_why:
            return f"it is let in and cut off at once, since {self._reason}"
        named = await self._language() or self._stranger() or self._tap() or await self._full()
        if named is not None:
            return named
        said = "" if self._reason is None else f" ({self._reason})"
        return f"it is let in and cut off at once, without a reason{said}. {self._causes()}"

    async def _why_ended(self) -> str:
        if self._says_why:
            return f"since {self._reason}"
        named = await self._language() or self._tap() or await self._delimiter()
        if named is not None:
            return named
        tls = "" if self._peer.transport == "unix" else "want TLS (tls://) or a client's certificate, "
        return (
            f"without a reason. It may have another delimiter or parser, {tls}not be node-ipc at all, or pass on to a "
            "server that is away: its log says so"
        )

    @property
    def _says_why(self) -> bool:
        return self._reason is not None and not isinstance(self._reason, ConnectionLost)

    async def _language(self) -> str | None:
        """It speaks another one."""
        where = self._client.address
        language = await language_of(where)
        if language == "TLS" and isinstance(where, Tcp):
            return f"the server speaks TLS, and this client does not: connect to tls://{where.host}:{where.port}"
        return None if language is None else f"it is not node-ipc: it speaks {language}"

    def _stranger(self) -> str | None:
        """A local server lets in its own user, root, and those it was told to."""
        uid = self._peer.uid
        if uid is None or not hasattr(os, "geteuid") or os.geteuid() in (0, uid):
            return None
        return (
            f"the server, {self._who()}, does not let {_user(os.geteuid())} in, whatever the mode of its socket is: it "
            "lets in its own user and root, and whom its options allowed_uids and writable_all name"
        )

    def _tap(self) -> str | None:
        """It passes on to a server that is away."""
        for pid in self._processes():
            arguments = _command_line(pid)
            if "tap" in arguments and "--to" in arguments[:-1]:
                target = arguments[arguments.index("--to") + 1]
                return (
                    f"{_process(pid)} is a node-ipc tap, and the server that it passes on to, {target!r}, is away: "
                    "start that"
                )
        return None

    def _processes(self) -> list[int]:
        where = self._client.address
        if isinstance(where, (Tcp, Tls)):
            return sorted(_listeners(where.port))
        return [] if self._peer.pid is None else [self._peer.pid]

    async def _full(self) -> str | None:
        """Others are connected, and whoever comes is sent away, each time."""
        others = _connected(self._client.address)
        if not others:
            return None
        for _ in range(TIMES - 1):
            if not await self._is_cut_off_again():
                return None
        return (
            f"the server, {self._who()}, is full: {others} connections are open there, and it ended {TIMES} more at "
            "once. Its option max_connections says how many it takes (max_connections_per_uid and "
            "_per_host, how many of one user or host)"
        )

    async def _is_cut_off_again(self) -> bool:
        try:
            client = await connect(self._client.address, config=self._config, timeout=LINGER_SECONDS)
        except IPCError:
            return True
        try:
            return await _Visit(client, self._config)._ends_within(LINGER_SECONDS)
        finally:
            client.abort()

    async def _delimiter(self) -> str | None:
        """It frames its messages in another way."""
        if any(_name_of(pid).startswith("node") for pid in self._processes()):
            return None  # it does not answer 'rpc.ping' in any way
        theirs = await delimiter_of(self._client.address, self._config)
        if theirs is None:
            return None
        shown = theirs.encode("unicode_escape").decode()
        return (
            f"the server's messages end in {theirs!r}, and this client's in {self._config.delimiter!r}: give both the "
            f"same delimiter, here with -o 'delimiter={shown}'"
        )

    def _causes(self) -> str:
        tls = "" if self._peer.transport == "unix" else "want TLS (tls://) or a client's certificate, "
        return (
            f"A handler of its may end whoever comes, or it may be full (max_connections), {tls}not be node-ipc at "
            "all, or pass on to a server that is away: its log says so"
        )

    def _who(self) -> str:
        peer = self._peer
        if peer.pid is None or sys.platform == "win32":
            return str(peer)
        return f"{_process(peer.pid)} of {_user(peer.uid)}" if peer.uid is not None else _process(peer.pid)
