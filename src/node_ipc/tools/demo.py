"""``node-ipc demo``: a server and a client as two processes, and what they say to each other as they say it.

The two are the programs in ``demo_server.py`` and ``demo_client.py``, or with ``--node`` real node-ipc in
``demo_peer.js``. Each prints what it does and hears as JSON lines, which are shown here as they come; at the end both
must have heard everything and ended in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..config.logs import escape
from .arguments import Commands, UsageError, add_command
from .demo_cluster import show
from .demo_node import DemoFailed, NodeIPC, find_node_ipc, install_node_ipc
from .demo_verified import copy_verified
from .output import Printer, as_far_as_read, json_text, painted
from .waiting import run

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc demo                         both ends in Python
  node-ipc demo --node                  twice: a Node client, then a Node server
  node-ipc demo --node server           only the server is Node
  node-ipc demo --node --node-modules ~/app/node_modules
  node-ipc demo --cluster               three workers, rooms across them, and one that is killed
  node-ipc demo --node --install        fetch node-ipc with npm into a temporary directory first

Nothing is installed unless --install says so. node-ipc is looked for in node_modules here and above, and it is run
only where each of its files, and of what it needs, is what npm has under that name.
"""
DEADLINE = 60.0
"""Seconds for one conversation: it takes less than one."""

SCRIPT = {
    "server": ["message", "order", "everybody"],
    "client": ["message", "bill", "news"],
}
"""The events that each end must hear, in this order."""

HERE = Path(__file__).parent


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "demo", help="show a server and a client as two processes that talk", examples=EXAMPLES
    )
    parser.add_argument(
        "--node",
        choices=["client", "server", "both"],
        nargs="?",
        const="both",
        help="which end is a real Node process with node-ipc: both in turn if not said",
    )
    parser.add_argument(
        "--cluster", action="store_true", help="show several processes as one server, and rooms across them"
    )
    parser.add_argument("--node-modules", metavar="DIR", type=Path, help="where node-ipc is installed")
    parser.add_argument("--install", action="store_true", help="fetch node-ipc with npm, without its install scripts")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.node is None and (arguments.install or arguments.node_modules):
        raise UsageError("--install and --node-modules go with --node")
    try:
        if arguments.cluster:
            _show_cluster(arguments)
            return 0
        with contextlib.ExitStack() as places:
            node = None if arguments.node is None else _node(arguments, places)
            for role in ["client", "server"] if arguments.node == "both" else [arguments.node]:
                run(_converse(role, node))
    except DemoFailed as error:
        with contextlib.suppress(OSError):
            print(f"node-ipc demo: {error}", file=sys.stderr)
        return 1
    return 0


def _show_cluster(arguments: argparse.Namespace) -> None:
    if arguments.node is not None:
        raise UsageError("--cluster and --node are two demonstrations: one at a time")
    if not hasattr(os, "fork"):
        raise UsageError("--cluster shows workers, which need fork(), and this system has none")
    run(show(partial(print, flush=True)))
    print("\neverybody heard what was for them, and all processes have ended")


def _node(arguments: argparse.Namespace, places: contextlib.ExitStack) -> NodeIPC:
    """A verified copy of what is there, or of what npm fetched."""
    place = Path(places.enter_context(tempfile.TemporaryDirectory(prefix="node-ipc-demo-")))
    found = install_node_ipc(place) if arguments.install else find_node_ipc(arguments.node_modules)
    return replace(found, folder=copy_verified(found.package, found.folder, place))


async def _converse(node_role: str | None, node: NodeIPC | None) -> None:
    with _empty_socket_root() as root:
        server = _End("server", _command("server", root, node if node_role == "server" else None))
        client = _End("client", _command("client", root, node if node_role == "client" else None))
        print(f"{'pipe names begin with' if sys.platform == 'win32' else 'an empty directory for sockets'}: {root}")
        for end in (server, client):
            what = node if node is not None and end.role == node_role else f"Python {sys.version.split()[0]}"
            print(f"the {end.role} is {what}")
        print()
        printer = Printer(lambda: None)  # the two talk to their end, whoever reads it
        stage = _Stage(printer)
        try:
            async with asyncio.timeout(DEADLINE):
                await server.start(stage)
                await server.listens.wait()
                await client.start(stage)
                await asyncio.gather(server.ends(), client.ends())
        except TimeoutError:
            raise DemoFailed(f"it is not over after {DEADLINE:g} s\n{server.state()}\n{client.state()}") from None
        finally:
            await server.kill()
            await client.kill()
            stage.end()
        with as_far_as_read():
            printer.check()
        for end in (server, client):
            end.check()
        print(
            f"\nall {sum(map(len, SCRIPT.values()))} events arrived, in order, and both processes ended by themselves"
        )


@contextlib.contextmanager
def _empty_socket_root() -> Iterator[str]:
    """A socket root of this demo's own; on Windows a beginning of pipe names, which needs no directory."""
    if sys.platform == "win32":
        yield f"/node-ipc-demo-{os.getpid()}-{time.monotonic_ns()}/"
        return
    root = tempfile.mkdtemp(prefix="node-ipc-demo-")
    try:
        yield f"{root}/"
    finally:
        shutil.rmtree(root)


def _command(role: str, root: str, node: NodeIPC | None) -> list[str]:
    if node is None:
        return [sys.executable, "-u", "-m", f"node_ipc.tools.demo_{role}", root]
    return [node.node, str(HERE / "demo_peer.js"), role, root, str(node.folder)]


class _Line(NamedTuple):
    """What one end says that it did, and when that was read here."""

    does: str
    type: str
    data: str
    at: float


class _Stage:
    """Prints the lines of both ends as they come; what is heard, never before it is said.

    The two are read from two pipes, so the answer may be read before the question.
    """

    def __init__(self, printer: Printer | None = None) -> None:
        self._printer = Printer(lambda: None) if printer is None else printer
        self._begin = time.monotonic()
        self._waiting: dict[str, deque[_Line]] = {"server": deque(), "client": deque()}
        self._said: Counter[tuple[str, str]] = Counter()

    def show(self, role: str, does: str, type: str, data: str) -> None:
        """One line of one end."""
        self._waiting[role].append(_Line(does, type, data, time.monotonic()))
        while any([self._show_next(role, other) for role, other in (("server", "client"), ("client", "server"))]):
            pass

    def end(self) -> None:
        """Show what still waits for something that was never said."""
        for role, lines in self._waiting.items():
            while lines:
                self._print(role, lines.popleft())

    def _show_next(self, role: str, other: str) -> bool:
        lines = self._waiting[role]
        if not lines:
            return False
        does, type = lines[0].does, lines[0].type
        if does == "hears" and not self._said[other, type]:
            return False
        if does == "hears":
            self._said[other, type] -= 1
        elif does in ("says", "broadcasts"):
            self._said[role, type] += 1
        self._print(role, lines.popleft())
        return True

    def _print(self, role: str, line: _Line) -> None:
        text = f"{escape(line.does):10} {escape(line.type):9} {escape(line.data, 200)}".rstrip()
        self._printer.print(f"{line.at - self._begin:6.3f} s  {painted(role, role)}  {text}")


@dataclass
class _End:
    """One of the two processes."""

    role: str
    command: list[str]
    heard: list[str] = field(default_factory=list)
    listens: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server can be reached, or has ended."""
    _process: Process | None = None
    _errors: bytes = b""
    _task: asyncio.Task[None] | None = None

    async def start(self, stage: _Stage) -> None:
        self._process = await asyncio.create_subprocess_exec(*self.command, stdout=PIPE, stderr=PIPE)
        self._task = asyncio.create_task(self._read(self._process, stage))

    async def _read(self, process: Process, stage: _Stage) -> None:
        assert process.stdout is not None and process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        async for line in process.stdout:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # node-ipc's own lines are not for us
                self._take(json.loads(line), stage)
        self._errors = await errors
        await process.wait()
        self.listens.set()

    def _take(self, line: dict[str, str], stage: _Stage) -> None:
        does, type = line["does"], line["type"]
        if does == "hears":
            self.heard.append(type)
        if does == "listens":
            self.listens.set()
        data = json_text(line["data"]) if "data" in line else ""
        stage.show(self.role, does, type, data)

    async def ends(self) -> None:
        assert self._task is not None
        await asyncio.shield(self._task)  # when time is up we still want to hear how it ended

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._task is not None:
            await self._task

    def check(self) -> None:
        """Raises DemoFailed where this end did not hear everything, or failed."""
        if self._process is None or self._process.returncode != 0 or self.heard != SCRIPT[self.role]:
            raise DemoFailed(self.state())

    def state(self) -> str:
        code = self._process.returncode if self._process is not None else None
        lines = "\n".join(f"    {escape(line, 500)}" for line in self._errors.decode(errors="replace").splitlines())
        missing = [type for type in SCRIPT[self.role] if type not in self.heard]
        return (
            f"the {self.role} heard {self.heard or 'nothing'}"
            + (f" and never {', '.join(missing)}" if missing else "")
            + f"; its exit code is {code}"
            + (f"; it says:\n{lines}" if lines else "")
        )
