"""Who is measured: how each implementation is started, and what it can do.

To add one, write its part in ``impl/`` (see ``impl/role.py``) and a line in ``IMPLEMENTATIONS``.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from . import prepare
from .prepare import Unavailable

__all__ = ["IMPLEMENTATIONS", "REFERENCE", "Implementation", "chosen", "environment", "native_twin_runs"]

HERE = Path(__file__).resolve().parent
REFERENCE = "node-ipc-14"


@dataclass(frozen=True)
class Implementation:
    """Something that can be a server and a client."""

    id: str
    title: str
    runtime: str
    """``python``, ``node`` or ``binary``."""
    script: str
    """The file in ``impl/``, for Node the folder of ``tests/peers`` as well (``v14/node_ipc.mjs``)."""
    can: frozenset[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    pace: float = 1.0
    """Share of a workload's messages that it gets, so that slow ones do not hold everybody up."""
    module: str = ""
    """What ``import`` imports."""
    distributions: tuple[str, ...] = ()
    """Python distributions whose versions belong in the results."""
    twin: str = ""
    """``pure`` or ``native``: which twin of this library's hot path runs; empty for others."""
    quick: bool = True
    part: str = "compares"
    """In a full run: ``leads`` (every workload of the tables), ``compares`` (those that are for everybody), or
    ``named`` (none: it is measured when it is named)."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of each of its processes."""
        return environment() | ({"NODE_IPC_PURE": "1"} if self.twin == "pure" else {})

    def command(self, role: str) -> list[str]:
        """The command line of one process, without the plan.

        Raises:
            Unavailable: when something it needs is not installed.
        """
        if self.runtime == "python":
            start = [sys.executable, str(HERE / "impl" / self.script)]
        elif self.runtime == "binary":
            start = [str(prepare.compiled(HERE / "impl" / self.script))]
        else:
            start = [prepare.peer(self._peer).node, str(HERE / "impl" / Path(self.script).name)]
        return [*start, role, *(f"{name}={value}" for name, value in self._settings().items())]

    def import_commands(self) -> tuple[list[str], list[str]]:
        """A process that imports it, and a bare one."""
        if self.runtime == "node":
            node = prepare.peer(self._peer).node
            statement = f"await import({self._package.as_uri()!r})"
            return [node, "--input-type=module", "-e", statement], [node, "--input-type=module", "-e", "0"]
        return [sys.executable, "-c", f"import {self.module}"], [sys.executable, "-c", "pass"]

    def version(self) -> str:
        """The versions behind it.

        Raises:
            Unavailable: as ``command``.
        """
        if self.runtime == "binary":
            return prepare.compiler_version()
        if self.runtime == "node":
            node = subprocess.run([self.command("server")[0], "--version"], capture_output=True, text=True, check=True)
            return f"node {node.stdout.strip()}, {self.title.split(',')[0]}"
        self._try_import()
        return ", ".join(f"{name} {_installed_version(name)}" for name in self.distributions) or "standard library"

    def _try_import(self) -> None:
        done = subprocess.run(self.import_commands()[0], capture_output=True, text=True, env=self.environment)
        if done.returncode:
            raise Unavailable(done.stderr.strip().splitlines()[-1])
        if self.twin == "native" and not native_twin_runs():
            raise Unavailable("the native twin is not installed, or is of another version: pip install ./native")

    def _settings(self) -> dict[str, str]:
        return {**self.settings, **({"package": str(self._package)} if self.runtime == "node" else {})}

    @property
    def _peer(self) -> str:
        return self.script.partition("/")[0]

    @property
    def _package(self) -> Path:
        return prepare.peer(self._peer).folder / "node_modules" / "node-ipc" / "node-ipc.js"


@cache
def native_twin_runs() -> bool:
    """Whether this Python has the native twin of this version."""
    words = [sys.executable, "-c", "import sys, node_ipc; sys.exit(node_ipc.native is None)"]
    return subprocess.run(words, capture_output=True, env=environment()).returncode == 0


def _installed_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "from this working tree"


@cache
def environment() -> dict[str, str]:
    """Our environment, with this working tree's ``src`` to import from.

    Byte code is kept, as it is for an installed package: else each start would compile the library anew.
    """
    paths = [str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONDONTWRITEBYTECODE": ""}


_STREAM = frozenset({"unix", "echo", "oneway", "many", "broadcast", "tcp", "tls", "import"})
_CALLER = frozenset({"unix", "echo", "oneway", "tcp", "import"})


def _ours(front: str, twin: str = "pure", profile: str = "guarded", payload: str = "decoded") -> Implementation:
    """``front`` is the asyncio front by the name of its loop, or ``blocking``, or ``callbacks`` (on asyncio)."""
    defaults = {"pure", "guarded", "decoded"}
    parts = [front, *(part for part in (twin, profile, payload) if part not in defaults)]
    module = {"blocking": "blocking", "callbacks": "callbacks"}.get(front, "aio")
    loop = "uvloop" if front == "uvloop" else "asyncio"
    can = {"blocking": _CALLER | {"tls", "batch", "spin"}, "callbacks": _STREAM}
    datagrams = frozenset({"udp"} if payload == "decoded" else ())
    return Implementation(
        "-".join(["ours", *parts]),
        f"this library, {front}, {twin}, {profile}, {payload}",
        "python",
        "ours_blocking.py" if front == "blocking" else "ours_asyncio.py",
        can.get(front, _STREAM | datagrams | {"spin"}),
        {"front": module, "loop": loop, "profile": profile, "payload": payload},
        module=f"node_ipc.{module}",
        distributions=("node-ipc", "msgspec", *(["uvloop"] if loop == "uvloop" else [])),
        twin=twin,
        quick=profile == "guarded" and (front, payload) in _QUICK,
        part="leads"
        if profile == "guarded" and (payload == "decoded" or parts == ["uvloop", "native", "raw"])
        else "named",
    )


_QUICK = {("asyncio", "decoded"), ("uvloop", "decoded"), ("uvloop", "raw"), ("blocking", "decoded")}

IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        REFERENCE,
        "node-ipc 14.0.0, fast",
        "node",
        "v14/node_ipc.mjs",
        _STREAM | {"udp", "spin"},  # it cannot spin: what others reach by it is compared with what it does without
        {"profile": "fast"},
        part="leads",
    ),
    Implementation(
        "node-ipc-14-guarded",
        "node-ipc 14.0.0, guarded",
        "node",
        "v14/node_ipc.mjs",
        _STREAM | {"udp"},
        {"profile": "guarded"},
        quick=False,
    ),
    Implementation(
        "node-ipc-9",
        "node-ipc 9.2.1",
        "node",
        "v9/node_ipc.mjs",
        _STREAM | {"udp"},
        pace=0.5,
        quick=False,
    ),
    *(
        _ours(front, twin, profile, payload)
        for front in ("asyncio", "uvloop", "blocking")
        for twin in ("pure", "native")
        for profile in ("guarded", "fast")
        for payload in ("decoded", "typed", "raw")
    ),
    replace(_ours("callbacks"), part="named"),
    Implementation(
        "multiprocessing",
        "multiprocessing.connection",
        "python",
        "connections.py",
        _CALLER,
        module="multiprocessing.connection",
    ),
    Implementation(
        "pyzmq",
        "pyzmq, DEALER and ROUTER, json",
        "python",
        "zeromq.py",
        _CALLER,
        module="zmq",
        distributions=("pyzmq",),
    ),
    Implementation(
        "websockets",
        "websockets, json",
        "python",
        "websocket.py",
        _STREAM,
        pace=0.25,
        module="websockets.asyncio.client",
        distributions=("websockets",),
    ),
    Implementation(
        "picows",
        "picows on uvloop, json",
        "python",
        "raw_websocket.py",
        frozenset({"echo", "oneway", "many", "broadcast", "tcp"}),
        module="picows",
        distributions=("picows", "uvloop"),
        quick=False,
    ),
    Implementation(
        "socketio",
        "python-socketio on aiohttp",
        "python",
        "socket_io.py",
        _CALLER,
        pace=0.1,
        module="socketio",
        distributions=("python-socketio", "aiohttp"),
        quick=False,
    ),
    Implementation(
        "grpc",
        "gRPC, asyncio, one stream, json",
        "python",
        "grpc_stream.py",
        _CALLER | {"many"},
        pace=0.05,
        module="grpc.aio",
        distributions=("grpcio",),
        quick=False,
    ),
    Implementation(
        "dbus",
        "dbus-fast through dbus-daemon, json",
        "python",
        "dbus.py",
        frozenset(
            {"unix", "echo", "import"}
        ),  # it drops its connection where a full socket would have to be waited for
        pace=0.05,
        module="dbus_fast.aio",
        distributions=("dbus-fast",),
        quick=False,
    ),
    Implementation(
        "streams",
        "asyncio streams and json",
        "python",
        "streams.py",
        _STREAM | {"udp"},
        pace=0.5,
        module="asyncio",
    ),
    Implementation(
        "c-echo",
        "bytes in C (the limit)",
        "binary",
        "byte_echo.c",
        frozenset({"unix", "echo", "oneway", "many", "broadcast", "tcp"}),
        part="leads",
    ),
)


def chosen(patterns: list[str] | None, quick: bool) -> Iterator[Implementation]:
    """Those whose id matches one of the shell patterns; without patterns, all, or the ones of a quick run."""
    for implementation in IMPLEMENTATIONS:
        if patterns is None:
            if implementation.quick or not quick:
                yield implementation
        elif any(fnmatch(implementation.id, pattern) for pattern in patterns):
            yield implementation
