"""``node-ipc doctor``: why does nobody answer?

It connects once, as a client would, stays for a moment, since a server that refuses somebody lets him in first, and
asks as a heartbeat does: ``ipc.ping``, an event that Python answers and that does nothing to a Node program. Of files
it only looks at what is there; nothing is locked, removed or made. :func:`look` does not even connect.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import shlex
import shutil
import stat
import subprocess  # nosec B404 # node's version, without a shell
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .. import __version__
from ..aio import AsyncClient, connect
from ..config import twin
from ..config.address import Address, Pipe, Tcp, Tls, Udp, Unix, lies_directly_in, runtime_socket_root
from ..config.config import Config
from ..config.logs import escape
from ..config.neighbours import nearest
from ..config.tls_options import TLSOptions
from ..core.client import ClientState
from ..core.session import Loss
from ..errors import ConnectionLost, ConnectTimeout, IPCError, ProtocolError, TLSError
from ..net.unix import lock_holder, of_long_path
from ..wire.names import PING
from . import broker
from .arguments import Commands, UsageError, add_command, add_configuration, broken, configuration, place, seconds
from .demo_node import version_of
from .described import in_words, ping, what_it_says
from .output import as_far_as_read, painted, unconnected
from .outside import (
    DEAF,
    LISTENING,
    bound_hosts,
    connected,
    counted,
    holder,
    is_bound,
    is_here,
    is_python,
    listeners,
    named,
    passed_on_to,
    processes,
    serves_node,
    silence,
    standstill,
    tapped,
    unix_sockets,
)
from .probes import DELIMITERS, answers, delimiter_of, ends_at, instead_of_tls, language_of, wants_certificate
from .waiting import run

__all__ = ["add_commands", "diagnose", "in_its_place", "look", "swapped"]

EXAMPLES = """\
  node-ipc doctor                         versions, the sockets of this appspace, and whatever else lives beside them
  node-ipc doctor world                   the socket of "world": is a server there, whose, and may we connect?
  node-ipc doctor unix:/run/app.sock
  node-ipc doctor tcp://127.0.0.1:8000
  node-ipc doctor udp4://127.0.0.1:8000
  node-ipc doctor nats://me@broker        a broker of bus=: is it there, does it take us, which servers are on it?
  node-ipc doctor 'nats://broker?ca=ca.pem'    the same with TLS; tls://broker would be a server of this library

With an address it connects, sends the event "ipc.ping", which servers in Python answer and Node's do not hear, and
leaves: a client that came and went. Where that does not go well it comes again a few times, to find out why: it says
"GET /", a TLS greeting, and "ipc.ping" with other delimiters, which a server may note in its log. The exit code is 0
where a client gets in and is answered, or the server is one of Node, which answers nothing, or a program of this
machine has a UDP port; and 1 elsewhere.
"""

LINGER_SECONDS = 0.2
"""How long a server has to cut off whom it does not want."""
ANSWER_SECONDS = 1.0
"""How long a server in Python has to say that it is there; one that is asked much needs some of it."""
EMPTY_LINES = msgspec.Raw(b"\r\n\r\nnull")
"""Nothing, as JSON: servers of other languages (HTTP …) read lines, and say at an empty one what they think of it."""

SMALL = 64
"""Bytes that every server takes for the beginning of a message: "ipc.ping" has hardly less."""

TIMES = 3
"""So many connections in a row that are ended at once are enough to call a server full."""


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
    if broker.is_broker(arguments.address):
        return _broker(arguments.address, config, arguments.timeout)
    where, _ = place(arguments.address, config, "client")
    if isinstance(where, Udp):
        gets_in, verdict = _udp(where)
    else:
        gets_in, verdict = run(diagnose(arguments.address, where, config, arguments.timeout))
    with as_far_as_read():
        print(painted(_on_screen(verdict), "good" if gets_in else "bad"))
        _tell_more(arguments.address, where)
    return 0 if gets_in else 1


def _tell_more(address: str, where: Address) -> None:
    _print("", f"a client of {address} tries {_tried(where)}")
    if isinstance(where, Unix):
        for path in (where.path, *where.also):
            _print("", *_place(path))
        for path, appspace in _elsewhere(address, where):
            _print(f"  NOT tried: {path}, a live server of appspace {appspace!r}")
    elif isinstance(where, (Tcp, Tls)):
        _print(*_port(where))
    elif isinstance(where, Udp):
        _print("", "not known of a UDP port: whether its program hears what comes, and answers")
    _print("", *_versions())


def _broker(url: str, config: Config, timeout: float) -> int:
    gets_in, said = run(broker.visit(url, config, timeout))
    print(painted(_on_screen(said[0]), "good" if gets_in else "bad"))
    _print(*said[1:], "", *_versions())
    return 0 if gets_in else 1


def _print(*lines: str) -> None:
    for line in lines:
        print(_on_screen(line))


def _on_screen(line: str) -> str:
    """What may be printed of a line; broken between words where a terminal would break it within one."""
    text = escape(line, 2000)
    if not sys.stdout.isatty():
        return text
    before = len(text) - len(text.lstrip())
    return "\n".join(broken(text.strip(), shutil.get_terminal_size().columns, before, before + 2 * bool(before)))


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
        return f"Node {version_of(node)} ({node})"
    except (OSError, subprocess.SubprocessError) as error:
        return f"Node ({node}) does not run: {error}"


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
        yield from _each(root, names, config.appspace)
        others = [name for name in _names(root, "") or () if name not in names and _listens(os.path.join(root, name))]
        if others:
            yield f"{root}: {len(others)} live sockets besides, of other appspaces or other programs"
        yield from _each(root, others, "")


def _each(root: str, names: list[str], appspace: str) -> Iterator[str]:
    for name in names:
        path = os.path.join(root, name)
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
            yield f"  {name.removeprefix(appspace)}: {_user(os.lstat(path).st_uid)}, {_life(path)}"


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
        entries = list(Path(root).iterdir())
    except OSError:
        return None
    return sorted(entry.name for entry in entries if entry.name.startswith(appspace) and _is_socket(entry))


def _is_socket(entry: str | Path) -> bool:
    """Whether it is one itself; none where this user may list the directory and not enter it."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISSOCK(os.lstat(entry).st_mode)
    return False


def _place(path: str) -> Iterator[str]:
    """What is at a socket's path, and around it."""
    if path.startswith("\0"):
        yield f"abstract:{path[1:]} is a name in the kernel: there is no file to look at"
        return
    yield path
    if said := of_long_path(path):
        yield f"  LONG: {said}"
    yield f"  directory: {_directory(os.path.dirname(path))}"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        yield "  socket: there is none: its server is not running, or listens elsewhere (socket_root, appspace, id)"
        if os.path.lexists(f"{path}.lock"):
            yield f"  lock: {_life(path)}"
        return
    except OSError as error:
        yield f"  socket: cannot be looked at: {error.strerror}"
        return
    if stat.S_ISLNK(found.st_mode) and (there := _behind_a_link(path)) is not None:
        found = there
        yield f"  a link to {os.path.realpath(path)}: clients go there, and no other server starts in a link's place"
    if not stat.S_ISSOCK(found.st_mode):
        yield f"  NOT a socket ({stat.filemode(found.st_mode)}, {_user(found.st_uid)}): a server refuses to start here"
        return
    yield f"  socket: {_user(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}: {_who_may_connect(found)}"
    yield f"  lock: {_life(path)}"


def _behind_a_link(path: str) -> os.stat_result | None:
    """The socket to which a link leads; None where it leads to nothing, or to something else."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found if stat.S_ISSOCK(found.st_mode) else None
    return None


def _directory(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError as error:
        return f"{error.strerror}: a server makes it only where it is socket_root itself"
    text = f"{_user(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}"
    danger = _danger(found)
    if danger:
        return f"{text}: UNSAFE, {danger}; a server refuses it"
    return f"{text}: {_shut(path, found)}" if not found.st_mode & 0o011 else text


EVERYBODYS = ("/tmp", "/var/tmp", "/dev/shm")  # nosec B108 # nothing is made there
"""Directories that every user may write to."""


def _shut(path: str, found: os.stat_result) -> str:
    """Who gets to the sockets of a directory that lets no other user through."""
    alone = "only root gets to what is in it" if found.st_uid == 0 else "only that user and root get to what is in it"
    if os.path.realpath(path) not in EVERYBODYS:
        return f"{alone}, whatever the modes of the sockets are"
    return (
        f"NOT as it was made, {alone}. A server of node-ipc 14 that is run by root does that to its socketRoot: give "
        f"it a directory of its own, and open this one again (chmod 1777 {path}, as root)"
    )


def _danger(found: os.stat_result) -> str:
    if found.st_uid not in (0, os.geteuid()):
        return "its owner can replace a socket there"
    return "others can replace a socket there" if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX else ""


def _who_may_connect(found: os.stat_result) -> str:
    """Linux asks for the permission to write: of its owner, of its group, of all others, and never root."""
    mode, owner_is_root = found.st_mode, found.st_uid == 0
    shut = [whose for whose, bit in (("owner", stat.S_IWUSR), ("group", stat.S_IWGRP)) if not mode & bit]
    if owner_is_root and "owner" in shut:
        shut.remove("owner")
    if mode & stat.S_IWOTH:
        return f"the kernel lets everybody{f' but its {shut[0]}' if 'owner' in shut else ''} connect"
    if mode & stat.S_IWGRP:
        return f"the kernel lets {'root' if 'owner' in shut else 'its owner'} and its group connect"
    if "owner" in shut:
        return "the kernel lets only root connect, and not its owner, who opens it with chmod 600"
    return "the kernel lets its owner and root connect"


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
        if is_bound(path):
            return HELD
        return f"no lock file (a Node server makes none), and nobody listens: its server is dead. {_successor(path)}"
    holder = lock_holder(lock)
    if holder is not None:
        return f"the lock is held by {named(holder)}"
    if _listens(path):
        return "the lock is free, but somebody listens: a server that makes no lock, as Node's"
    if os.path.lexists(path) and is_bound(path):
        return f"the lock is free. {HELD}"
    return f"the lock is free: its server is dead. {_successor(path)}"


HELD = (
    "a process has this socket that serves no node-ipc there: one for datagrams, or one that does not listen (yet). "
    "Stop that, or choose another path"
)


def _is_dead(path: str) -> bool:
    """Whether a socket is there and its server is not, as far as this user sees."""
    if not _is_socket(path) or _listens(path) or is_bound(path):
        return False
    try:
        return lock_holder(os.lstat(f"{path}.lock")) is None
    except OSError:
        return os.path.exists("/proc/net/unix")


def _listens(path: str) -> bool:
    """Whether the kernel knows of somebody who listens at that very path."""
    paths = {path, os.path.realpath(path)}
    return any(at in paths and flags & LISTENING for at, _, flags in unix_sockets())


def _successor(path: str) -> str:
    """What a server that this user starts would do about what a dead one left."""
    left = [name for name in (path, f"{path}.lock") if os.path.lexists(name)]
    try:
        kept = [name for name in left if not _may_remove(name)]
        owners = " or ".join(sorted({_user(uid) for name in kept if (uid := os.lstat(name).st_uid)}))
    except FileNotFoundError:
        return "It was removed while this looked"
    if kept:
        are = "is" if len(kept) == 1 else "are"
        who = f"{owners} or root" if owners else "root"
        return f"A server of yours cannot start here until {' and '.join(kept)} {are} removed, by {who}"
    if os.path.lexists(path) and not os.access(path, os.W_OK):
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


def _no_start(where: Unix, config: Config) -> str:
    """Why a server that this user starts cannot make a socket there, the end of a message; empty where it can."""
    directory = os.path.dirname(where.path)
    try:
        found, system = os.stat(directory), os.statvfs(directory)
    except FileNotFoundError:
        is_root = lies_directly_in(where.path, config.socket_root)
        return "" if is_root else f". A server cannot start there before the directory {directory} is made"
    except OSError:
        return ""  # the client said so, too
    if system.f_flag & os.ST_RDONLY:
        return f". A server cannot start there: the file system of {directory} is read-only. Choose another"
    if system.f_files and not system.f_favail:
        return f". A server cannot start there: the file system of {directory} takes no more files. Make room"
    if system.f_blocks and not system.f_bavail:
        return f". The file system of {directory} is full: a server may not be able to start there. Make room"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f". A server of yours cannot start there: {_user(os.geteuid())} may not write to {directory}"
    danger = _danger(found)
    return f". A server of yours does not start in {directory}: {danger}" if danger else ""


# ---- ports


def _port(where: Tcp | Tls) -> Iterator[str]:
    yield ""
    holders = sorted(listeners(where.port))
    there = f"on this machine {', '.join(map(named, holders))}" if holders else ""
    yield f"{there or 'no process on this machine that this user may look at'} listens at port {where.port}"
    yield "not known of a network server: its user, and whether it accepts other machines (firewalls, its address)"


def _udp(where: Udp) -> tuple[bool, str]:
    """Whether a program on this machine has the port; of others nobody can tell."""
    nobody = "UDP has no connections, so nobody can tell whether somebody hears"
    if not is_here(where):
        return False, f"{nobody} {where}: ask on that machine, or its program"
    hosts, found = bound_hosts(where.port, datagrams=True), processes(where, None)
    if not hosts:
        return False, f"nobody has the port {where.port} of UDP on this machine. Start the server, or check the port"
    who = ", ".join(map(named, found)) or "a process that this user may not look at"
    return True, f"{who} has the port {where.port} of UDP, at {', '.join(hosts)}. {nobody} what is sent there"


def _at_another_address(where: Tcp | Tls, error: IPCError) -> str:
    """Who has the port that refused, in another way than by this host and TCP; empty where nobody has."""
    if not isinstance(error.__cause__, ConnectionRefusedError) or not is_here(where):
        return ""
    hosts = bound_hosts(where.port)
    if hosts:
        who = ", ".join(map(named, sorted(listeners(where.port)))) or "a process"
        reached = next((host for host in hosts if host not in EVERYWHERE), "") or EVERYWHERE[hosts[0]]
        scheme = str(where).partition(":")[0]
        return (
            f"{who} listens at port {where.port}, though at {' and '.join(hosts)} alone and not at {where.host}: "
            f"connect to {scheme}://{reached}:{where.port}, or let it listen here"
        )
    if bound_hosts(where.port, datagrams=True):
        who = ", ".join(map(named, sorted(listeners(where.port, datagrams=True)))) or "a process"
        host = where.host if ":" not in where.host else f"[{where.host}]"
        return (
            f"no server of TCP listens at port {where.port}, but {who} has that port of UDP: was "
            f"udp{6 if ':' in where.host else 4}://{host}:{where.port} meant?"
        )
    return ""


TLS_HERE = ". Here such a file is given as -o tls.trusted_connections=FILE"
"""How a command takes the options of TLS that the message names."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # nosec B104 # names to look for: nothing listens


# ---- what a client finds


NOT_OURS = "somebody is there, but it does not speak node-ipc's language"


def look(address: str, where: Address, config: Config, pid: int | None, lost: bool) -> str | None:
    """Why nothing came of a conversation, as far as that is seen without another word; None where nothing is.

    ``pid`` is the process that the link named, ``lost`` whether the link ended.
    """
    if isinstance(where, Unix) and _is_dead(where.path):
        return f"the server at {where.path!r} is dead and left the socket behind. {_successor(where.path)}"
    found = processes(where, pid)
    if not lost:
        if standstill(where, pid, config) is None and serves_node(found, config):
            return "it runs Node, which answers what its program handles: events by name, requests by 'rpc.request'"
        return silence(where, pid, config)
    if any(map(tapped, found)):
        return f"{', '.join(map(named, found))} is a node-ipc tap: the server that it passes on to may be away"
    if isinstance(where, Tcp):
        return f"The server may want TLS (tls://{where.host}:{where.port}), be full, or not be node-ipc at all"
    others = connected(where) if found else 0
    if others:
        return f"{counted(others, 'connection')} open there: the server may be full (max_connections)"
    return None


async def diagnose(address: str, where: Address, config: Config, timeout: float) -> tuple[bool, str]:
    """Connect as a client would: whether it gets in and is understood, and a line that says how that went."""
    config = config.copy()
    config.max_retries = 0
    try:
        client = await connect(where, config=config, timeout=timeout)
    except IPCError as error:
        return False, await _refusal(address, where, config, error)
    visit = _Visit(client, config)
    try:
        return await visit.verdict()
    finally:
        client.abort()


async def _refusal(address: str, where: Address, config: Config, error: IPCError) -> str:
    text, why = f"a client does NOT get in ({error.code}): ", unconnected(error)
    if isinstance(where, (Tcp, Tls)):
        why = _at_another_address(where, error) or why
    if isinstance(where, Tls) and isinstance(error, ConnectTimeout) and (cause := standstill(where, None, config)):
        return f"{text}nothing answers: {cause}"
    if isinstance(where, Tls) and isinstance(error, (TLSError, ConnectTimeout)):
        said = f"{text}{await instead_of_tls(where, config) or why}{await _wanted_as_well(where, config, error)}"
        return said + (TLS_HERE if "tls.trusted_connections" in said or "tls.private" in said else "")
    if not isinstance(where, Unix) or where.path.startswith("\0"):
        return f"{text}{why}"
    if _is_dead(where.path):
        return f"{text}the server at {where.path!r} is dead and left the socket behind. {_successor(where.path)}"
    if _is_socket(where.path) and not _listens(where.path) and is_bound(where.path):
        return f"{text}no server is at {where.path!r}: {HELD}"
    if _is_missing(where.path):
        for path, appspace in _elsewhere(address, where):
            return (
                f"{text}no server has the appspace {config.appspace!r}, where this client looks. One of this id has "
                f"{appspace!r} ({path}): give both the same, here with -o appspace={appspace}"
            )
    cannot = _no_start(where, config) if _is_missing(where.path) else ""
    return f"{text}{why}{in_its_place(address, config)}{cannot}"


async def _wanted_as_well(where: Tls, config: Config, error: IPCError) -> str:
    """What a server wants of whom it shows a certificate that he refuses: the second mistake shows behind the first."""
    import ssl  # the error has loaded it

    has_own = config.tls is not None and isinstance(config.tls, TLSOptions) and (config.tls.key or config.tls.private)
    if has_own or not isinstance(error.__cause__, ssl.SSLCertVerificationError) or not await wants_certificate(where):
        return ""
    return (
        ". And then it wants a certificate of this client's: set tls.key and tls.cert (or tls.private and tls.public)"
    )


def in_its_place(address: object, config: Config) -> str:
    """What is seen of a server of this id where nobody has it here, or who may be meant; the end of a message.

    Empty where somebody has it, whatever he then does, and where nothing is seen.
    """
    if not isinstance(address, str):
        return ""
    where, _ = place(address, config, "client")
    if not isinstance(where, Unix) or where.path.startswith("\0"):
        return ""
    tried = (where.path, *where.also)
    if any(map(os.path.lexists, tried)) or not _is_missing(where.path):
        return ""
    found = next(filter(None, map(_without_its_file, tried)), "")
    if not found and set("/:@").isdisjoint(address):
        found = (
            _in_this_directory(address)
            or _in_another_root(f"{config.appspace}{address}")
            or _near(address, where, config.appspace)
        )
    elif not found:
        found = _near_path(where.path)
    said = [each for each in (found, next(filter(None, map(_left_lock, tried)), "")) if each]
    return "".join(f". {each}" for each in said)


def swapped(address: object, second: object, config: Config) -> str:
    """What is said where the word behind an address is a live server's id: the end of a message, or empty."""
    if not isinstance(second, str) or not second or not set("/:@").isdisjoint(second):
        return ""
    try:
        where, _ = place(second, config, "client")
    except UsageError:  # it is the name of an event, and could be no id
        return ""
    if not isinstance(where, Unix) or not any(map(_listens, (where.path, *where.also))):
        return ""
    return f". A server {second!r} is there: the address comes first, {second} and then {address}"


def _without_its_file(path: str) -> str:
    """A server that listens, and whose socket's file is not there."""
    if not _is_missing(path) or not _listens(path):
        return ""
    return (
        f"A server listens at {path}, but that file was removed, or it has another {os.path.dirname(path)} than this "
        "process (a container, PrivateTmp of systemd): start it again, or give both another socket_root"
    )


def _in_this_directory(address: str) -> str:
    """A socket that has for its path what was given as an id, as ``ipc.serve("world")`` makes one."""
    path = os.path.abspath(address)
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            found = "A server listens" if _listens(path) else "A socket is"
            return f"{found} at ./{address}: was ./{address} meant?"
    return ""


def _in_another_root(name: str) -> str:
    """A server of the same appspace and id that listens in a directory where no client looks."""
    elsewhere = _roots_of(name)
    if not elsewhere:
        return ""
    more = "" if len(elsewhere) == 1 else f", and {len(elsewhere) - 1} more elsewhere"
    root = shlex.quote(f"{os.path.dirname(elsewhere[0]).rstrip('/')}/")
    return f"A server of this id listens at {elsewhere[0]}{more}: give both the same, here with -o socket_root={root}"


def _roots_of(name: str) -> list[str]:
    """The paths of this name at which somebody listens."""
    paths = {path for path, _, flags in unix_sockets() if flags & LISTENING and path[:1] == "/"}
    return sorted(path for path in paths if os.path.basename(path) == name and not _is_missing(path))


def _is_missing(path: str) -> bool:
    """Whether nothing is there; what is in a directory that this user may not enter counts as there."""
    try:
        os.lstat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return False


def _left_lock(path: str) -> str:
    """The lock of a server whose socket is gone, where it keeps another from starting."""
    lock = f"{path}.lock"
    try:
        found = os.lstat(lock)
    except OSError:
        return ""
    holder = lock_holder(found)
    if holder is not None:
        return f"{named(holder)} holds the lock {lock}: no other server starts here while it lives"
    try:
        return "" if _may_remove(lock) else f"Only a lock is left there, of {_user(found.st_uid)}. {_successor(path)}"
    except FileNotFoundError:  # removed since it was seen
        return ""


def _near(address: str, where: Unix, appspace: str) -> str:
    """A live server whose id this one is, but for a slip or a prefix."""
    ids = {
        name.removeprefix(appspace): f"{root}/{name}"
        for root in map(os.path.dirname, (where.path, *where.also))
        for name in _names(root, appspace) or ()
    }
    near = nearest(address, [id for id in ids if _listens(ids[id])])
    return "" if near is None else f"Did you mean {near!r}, which lives at {ids[near]}?"


def _near_path(path: str) -> str:
    """A live server beside a path whose name this one is, but for a slip or a prefix; or of this name elsewhere."""
    directory, wrong = os.path.split(path)
    beside = [name for name in _names(directory, "") or () if not name.endswith(".observe")]
    near = nearest(wrong, [name for name in beside if _listens(f"{directory}/{name}")])
    if near is not None:
        return f"A server listens at {directory.rstrip('/')}/{near}: was that meant?"
    elsewhere = _roots_of(wrong)
    return f"A server of this name listens at {elsewhere[0]}: was that meant?" if elsewhere else ""


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
        if self._client.settings.raw_buffer:  # of bytes nobody can say what would be an answer
            cause = self._stands_still()
            return (True, f"a client gets in: the server is {self._server()}") if cause is None else self._silent(cause)
        if await self._is_answered():
            return True, f"a client gets in: the server is {self._server()}, and it answers{await self._as_it_says()}"
        if self._over.is_set() and not isinstance(self._reason, ProtocolError):
            return False, f"a client gets in, and its first message ends the link: {await self._why_ended()}"
        return await self._unanswered()

    async def _is_answered(self) -> bool:
        if set("\r\n").isdisjoint(self._client.settings.delimiter):
            with contextlib.suppress(IPCError):
                self._client.emit(PING, EMPTY_LINES)
        return await answers(self._client, LINGER_SECONDS if self._is_node else ANSWER_SECONDS)

    async def _as_it_says(self) -> str:
        """What a server tells that describes itself; nothing of another, whose answer to that is none or an error."""
        seconds = await ping(self._client, ANSWER_SECONDS)
        document = None if seconds is None else await what_it_says(self._client, ANSWER_SECONDS)
        took = "" if seconds is None else f", a request in {seconds * 1000:.1f} ms"
        return took if document is None else f"{took}. It is {in_words(document)}"

    async def _unanswered(self) -> tuple[bool, str]:
        if self._reason is None and (cause := self._stands_still()) is not None:
            return self._silent(cause)
        if (language := await self._language()) is not None:
            begin = "a client gets in, and is not understood" if self._reason is None else NOT_OURS
            return False, f"{begin}: {language}"
        delimiter = await self._delimiter()
        if self._reason is not None:
            return False, f"{NOT_OURS}: {delimiter or self._reason}"
        if delimiter is not None:
            return False, f"a client gets in, and is not understood: {delimiter}"
        cause = None if self._is_node else silence(self._client.address, self._peer.pid, self._config)
        if cause is not None and (self._is_python or self._over.is_set()):
            tried = f". Of {len(DELIMITERS)} usual delimiters none is its own" if cause.endswith(DEAF) else ""
            return self._silent(f"{cause}{tried}")
        return True, (
            f"a client gets in: the server is {self._server()}. It did not answer 'ipc.ping', as Node's do not; "
            "so whether it speaks node-ipc's language is not known"
        )

    def _silent(self, cause: str) -> tuple[bool, str]:
        return False, f"a client gets in, and nothing answers. The server is {self._who()}: {cause}"

    def _stands_still(self) -> str | None:
        """What forbids that it answer, and so makes it useless to ask it in other ways."""
        return standstill(self._client.address, self._peer.pid, self._config)

    @property
    def _is_node(self) -> bool:
        return serves_node(self._processes(), self._config)

    @property
    def _is_python(self) -> bool:
        found = self._processes()
        return any(map(is_python, found)) or (bool(found) and holder(self._client.address) in found)

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
        return (
            f"it is let in and cut off at once, without a reason{said}. A handler of its may end whoever comes, or it "
            f"may be full (max_connections), {self._perhaps}"
        )

    async def _why_ended(self) -> str:
        if self._says_why:
            return f"since {self._reason}"
        named = await self._language() or self._tap() or await self._limit() or await self._delimiter()
        if named is not None:
            return named
        return f"without a reason. It may have another delimiter or parser, {self._perhaps}"

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
            target = tapped(pid)
            if target is not None:
                return (
                    f"{named(pid)} is a node-ipc tap, and the server that it passes on to, {target!r}, is away: "
                    "start that"
                )
        return None

    def _processes(self) -> list[int]:
        return processes(self._client.address, self._peer.pid)

    async def _full(self) -> str | None:
        """Others are connected, and whoever comes is sent away, each time."""
        others = connected(self._client.address)
        if not others:
            return None
        for _ in range(TIMES - 1):
            if not await self._is_cut_off_again():
                return None
        return (
            f"the server, {self._who()}, is full: {counted(others, 'connection')} open there, and each of doctor's "
            f"own {TIMES} visits was ended at once. Its option max_connections says how many it takes "
            "(max_connections_per_uid and _per_host, how many of one user or host)"
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

    async def _limit(self) -> str | None:
        """It ends the link before any message could have ended."""
        if self._is_node or not await ends_at(self._client.address, self._config, SMALL):
            return None
        return (
            f"it ends at {SMALL} bytes in which no message ends, as a server does whose max_message_size is smaller: "
            "its log says so"
        )

    async def _delimiter(self) -> str | None:
        """It frames its messages in another way."""
        if self._is_node:
            return None  # it does not answer in any way
        theirs = await delimiter_of(self._client.address, self._config)
        if theirs is None:
            return None
        shown = theirs.encode("unicode_escape").decode()
        return (
            f"the server's messages end in {theirs!r}, and this client's in {self._config.delimiter!r}: give both the "
            f"same delimiter, here with -o 'delimiter={shown}'"
        )

    @property
    def _perhaps(self) -> str:
        """What else a server may do that ends a link without a word."""
        tls = "" if self._peer.transport == "unix" else "want TLS (tls://) or a client's certificate, "
        return f"{tls}not be node-ipc at all, or pass on to a server that is away: its log says so"

    def _server(self) -> str:
        """Who is spoken to in the end: whoever a tap passes on to, where one stands before the server."""
        for pid in self._processes():
            target = tapped(pid)
            if target is not None:
                seen = [repr(target)]
                with contextlib.suppress(IPCError):  # it may mean something there and nothing here
                    seen += map(named, passed_on_to(pid, self._config))
                return f"{', '.join(seen)}, behind a node-ipc tap, {self._who()}"
        return self._who()

    def _who(self) -> str:
        peer = self._peer
        if peer.pid is None or sys.platform == "win32":
            return str(peer)
        return f"{named(peer.pid)} of {_user(peer.uid)}" if peer.uid is not None else named(peer.pid)
