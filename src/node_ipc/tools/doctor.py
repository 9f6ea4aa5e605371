"""``node-ipc doctor``: why does nobody answer?

It looks at the place of a socket without touching anything, and then connects once, as a client would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from ..aio import connect
from ..config.address import Address, Pipe, Udp, Unix, runtime_socket_root
from ..config.config import Config
from ..config.logs import escape
from ..config.resolve import resolve
from ..errors import IPCError
from .arguments import Commands, UsageError, add_command, add_configuration, configuration, seconds

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc doctor                         versions, and every socket of this appspace
  node-ipc doctor world                   the socket of "world": is a server there, whose, and may we connect?
  node-ipc doctor unix:/run/app.sock
  node-ipc doctor tcp://127.0.0.1:8000

With an address it connects once and leaves at once, which the server sees as a client that came and went. The exit
code is 0 where that went well, and 1 where it did not.
"""


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
    _print(*_versions())
    if arguments.address is None:
        _print("", *_sockets(config))
        return 0
    text = f"unix:{arguments.address}" if _is_path(arguments.address) else arguments.address
    where, _ = resolve(text, config, {}, "client")
    if isinstance(where, Udp):
        raise UsageError(f"nobody can tell whether somebody hears {where}: UDP has no connections")
    _print("", f"a client of {arguments.address} tries {_tried(where)}")
    if isinstance(where, Unix):
        for path in (where.path, *where.also):
            _print("", *_place(path))
    answer, code = asyncio.run(_attempt(where, config, arguments.timeout))
    _print("", answer)
    return code


def _print(*lines: str) -> None:
    for line in lines:
        print(escape(line, 2000))


def _is_path(text: str) -> bool:
    return "/" in text and ":" not in text


def _tried(where: Address) -> str:
    if not isinstance(where, (Unix, Pipe)):
        return str(where)
    also = [str(type(where)(name)) for name in where.also]
    first = str(type(where)(where.path if isinstance(where, Unix) else where.name))
    return ", then ".join([first, *also])


# ---- versions


def _versions() -> Iterator[str]:
    import msgspec

    yield f"node-ipc for Python {__version__}, msgspec {msgspec.__version__}"
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
            yield f"  {name.removeprefix(config.appspace)}: {_owner(os.lstat(path))}, {_lock(path)}"


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
    yield f"  lock: {_lock(path)}"


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


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


def _lock(path: str) -> str:
    """Who holds the lock of a Python server; asking the lock itself could get in the way of one that starts."""
    try:
        found = os.lstat(f"{path}.lock")
    except OSError:
        return "no lock file (a Node server makes none)"
    holder = _lock_holder(found)
    if holder is None:
        return "the lock is free: its server is dead, and the next one takes over"
    return f"the lock is held by {_process(holder)}"


def _lock_holder(found: os.stat_result) -> int | None:
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return -1
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == wanted:
            return int(fields[4])
    return None


def _process(pid: int) -> str:
    if pid <= 0:
        return "a process that this system does not name"
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name})"


# ---- what a client finds


async def _attempt(where: Address, config: Config, timeout: float) -> tuple[str, int]:
    """Connect once, and say in a line how that went."""
    try:
        async with connect(where, config=config, timeout=timeout) as client:
            peer = client.peer
            client.abort()  # nothing was said, so nothing has to be waited for
    except IPCError as error:
        dead = (
            isinstance(where, Unix) and isinstance(error.__cause__, ConnectionRefusedError) and _is_socket(where.path)
        )
        hint = ". Its server is dead and left the socket behind: the next one takes the place over" if dead else ""
        return f"a client does NOT get in ({error.code}): {error}{hint}", 1
    if peer.pid is not None and sys.platform != "win32":
        who = f"{_process(peer.pid)} of {_user(peer.uid)}" if peer.uid is not None else _process(peer.pid)
    else:
        who = str(peer)
    return f"a client gets in: the server is {who}", 0
