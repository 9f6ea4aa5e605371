"""node-ipc for Python: processes talk by named events, on the wire of npm's node-ipc.

``emit("message", data)`` on one side calls the handlers of ``"message"`` on the other. Three fronts on one core have
the same verbs (``emit``, ``on``, ``once``, ``off``, ``broadcast``, ``request``, ``handle``, ``close``), and differ in
how a program waits. Any of these clients can talk to any of these servers, and to Node's.

Callbacks, node-ipc's own shape; ``ipc`` is the shared instance, ``IPC()`` makes others::

    # server.py
    from node_ipc import ipc

    ipc.config.id = "world"
    ipc.serve(lambda: ipc.server.on("message", lambda data, socket: socket.emit("message", f"{data} world!")))
    ipc.server.start()
    ipc.run()

    # client.py
    from node_ipc import ipc

    ipc.connect_to("world")
    ipc.of.world.on("message", print)
    ipc.of.world.emit("message", "hello")
    ipc.run()

asyncio, ``connect`` and ``serve`` (for UDP ``serve_udp``)::

    # server.py
    import node_ipc

    async def main():
        async with node_ipc.serve("world") as server:
            server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
            await server.serve_forever()

    node_ipc.run(main())

    # client.py
    import node_ipc

    async def main():
        async with node_ipc.connect("world") as world:
            world.emit("message", "hello")
            print(await world.receive("message", timeout=5))

    node_ipc.run(main())

Blocking, for scripts and workers: no event loop, no hidden thread::

    # server.py
    from node_ipc import blocking

    with blocking.serve("world") as server:
        server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
        server.serve_forever()

    # client.py
    from node_ipc import blocking

    with blocking.connect("world", timeout=5) as world:
        world.emit("message", "hello")
        print(world.receive("message", timeout=5))

A blocking client calls its handlers inside its own calls: ``while world.poll(None): pass``, where there is no other.

Read on with ``help(node_ipc.connect)``, ``help(node_ipc.IPC)``, ``help(node_ipc.Config)`` (every option: times in
milliseconds, sizes in bytes), ``help(node_ipc.errors)``, ``help(node_ipc.testing)`` (for your own tests),
``help(node_ipc.scale.workers)`` (several processes on one socket), ``help(node_ipc.telemetry)`` (metrics and traces),
and ``node-ipc --help`` in a shell.
"""

# Names are loaded when they are first used, so that ``node_ipc.blocking`` imports neither asyncio nor ssl.

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from msgspec import Raw as Raw

    from . import blocking as blocking
    from . import contract as contract
    from . import errors as errors
    from . import scale as scale
    from . import telemetry as telemetry
    from . import testing as testing
    from .aio import AsyncClient as AsyncClient
    from .aio import AsyncDatagramServer as AsyncDatagramServer
    from .aio import AsyncServer as AsyncServer
    from .aio import connect as connect
    from .aio import serve as serve
    from .aio import serve_udp as serve_udp
    from .callbacks import IPC as IPC
    from .callbacks import ipc as ipc
    from .config.address import runtime_socket_root as runtime_socket_root
    from .config.config import Config as Config
    from .config.logs import style as style
    from .config.twin import running
    from .core.client import Client as Client
    from .core.client import ClientState as ClientState
    from .core.datagram import DatagramPeer as DatagramPeer
    from .core.datagram import DatagramServer as DatagramServer
    from .core.events import Event as Event
    from .core.events import while_connected as while_connected
    from .core.inbox import Received as Received
    from .core.requests import Request as Request
    from .core.seam import Peer as Peer
    from .core.server import Server as Server
    from .core.session import Loss as Loss
    from .core.session import Socket as Socket
    from .core.trace import Stats as Stats
    from .core.trace import Trace as Trace
    from .drivers.runner import run as run
    from .errors import *  # noqa: F403
    from .net.unix import inherited_sockets
    from .wire.arrays import Bytes as Bytes
    from .wire.json import buffer as buffer
    from .wire.json import to_bytes as to_bytes

    native = running
    systemd_sockets = inherited_sockets

_NAMES = {
    "callbacks": "ipc IPC",
    "aio": "connect serve serve_udp AsyncClient AsyncServer AsyncDatagramServer",
    "drivers.runner": "run",
    "config.config": "Config",
    "core.events": "Event while_connected",
    "msgspec": "Raw",
    "core.inbox": "Received",
    "core.requests": "Request",
    "wire.arrays": "Bytes",
    "wire.json": "buffer to_bytes",
    "config.logs": "style",
    "config.address": "runtime_socket_root",
    "net.unix": "systemd_sockets",
    "core.client": "Client ClientState",
    "core.server": "Server",
    "core.datagram": "DatagramServer DatagramPeer",
    "core.session": "Socket Loss",
    "core.seam": "Peer",
    "core.trace": "Stats Trace",
}
"""The public names of each module; what is wanted first comes first."""
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
_MODULES = ("blocking", "contract", "errors", "scale", "telemetry", "testing")
_ELSEWHERE = {
    "workers": "node_ipc.scale.workers, as in from node_ipc.scale import workers",
    **{
        name: f"node_ipc.ipc.{name}, as in from node_ipc import ipc; with asyncio it is node_ipc.{verb}"
        for name, verb in (("connect_to", "connect"), ("connect_to_net", "connect"), ("serve_net", "serve"))
    },
    **{
        name: f"node_ipc.blocking.{verb}, as in from node_ipc import blocking"
        for verb in ("connect", "serve")
        for name in (f"{verb}_blocking", f"blocking_{verb}", f"{verb}_sync", f"sync_{verb}")
    },
    "reconnect": "node_ipc.blocking.reconnect; clients of the other fronts find a lost link again by themselves",
    **dict.fromkeys(
        ("broadcast", "handle", "once", "receive", "request"),
        "that of a client or a server: world = node_ipc.connect(…), or ipc.of.world and ipc.server",
    ),
    "emit": "emit of a client, or of a server: world = node_ipc.connect(…), or ipc.of.world",
    "on": "on of a client, or of a server: @server.on(…), or ipc.server.on",
}
"""What is looked for here and is elsewhere."""
_ALIASES = {"systemd_sockets": "inherited_sockets"}


def _error_names() -> list[str]:
    names: list[str] = importlib.import_module(".errors", __name__).__all__
    return names


if not TYPE_CHECKING:  # which would know every name, then

    def __getattr__(name: str) -> Any:
        """Load a public name from the module that has it, or a public module (PEP 562)."""
        home = _HOMES.get(name)
        if home is not None:
            module = importlib.import_module("msgspec" if home == "msgspec" else f".{home}", __name__)
            value = getattr(module, _ALIASES.get(name, name))
        elif name == "native":  # the native twin of the hot path, "node-ipc-native 1.2.3"; None where Python's runs
            value = importlib.import_module(".config.twin", __name__).running
        elif name in _MODULES:
            value = importlib.import_module(f".{name}", __name__)
        elif name == "__all__":
            value = [*_HOMES, *_error_names()]
        elif name in _error_names():
            value = getattr(importlib.import_module(".errors", __name__), name)
        else:
            hint = f": use {_ELSEWHERE[name]}" if name in _ELSEWHERE else _nearest(name)
            if name in _ELSEWHERE and _is_from_import():  # which would say nothing of what this says
                raise ImportError(f"cannot import name {name!r} from {__name__!r}{hint}", name=__name__)
            # with a name and no object: Python would say once more which is near
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}", name=name)
        globals()[name] = value
        return value


def _is_from_import() -> bool:
    """Whether ``from node_ipc import …`` asks, and not ``node_ipc.…`` or ``hasattr``."""
    inspect = importlib.import_module("inspect")  # only a mistake pays for it
    frame = inspect.currentframe()
    return frame is not None and frame.f_back.f_back.f_code.co_name == "_handle_fromlist"


def _nearest(name: str) -> str:
    """The public name that may be meant; Python looks for none where a module has a ``__getattr__``."""
    if name.startswith("_"):
        return ""
    known = [*_HOMES, *_MODULES, *_error_names(), *_ELSEWHERE]
    near = importlib.import_module(".config.misspelt", __name__).meant(name, known)
    if near is None:
        return ""
    return f". Did you mean {near!r}? Use {_ELSEWHERE[near]}" if near in _ELSEWHERE else f". Did you mean {near!r}?"


def __dir__() -> list[str]:
    return sorted({"native", *globals(), *_HOMES, *_MODULES, *_error_names()})


if "NODE_IPC_LOG" in os.environ:
    importlib.import_module("node_ipc.environment")
