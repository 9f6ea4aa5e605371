"""node-ipc for Python: processes talk by named events, on the wire of npm's node-ipc.

Three fronts on one core: ``ipc`` and ``IPC`` (callbacks, node-ipc's own shape), ``connect``, ``serve`` and
``serve_udp`` (asyncio), and ``node_ipc.blocking``. Names are loaded when they are first used, so that
``node_ipc.blocking`` imports neither asyncio nor ssl.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from msgspec import Raw as Raw

    from . import blocking as blocking
    from . import contract as contract
    from . import errors as errors
    from . import scale as scale
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
    from .core.session import Session
    from .core.trace import Stats as Stats
    from .core.trace import Trace as Trace
    from .drivers.runner import run as run
    from .errors import *  # noqa: F403
    from .net.unix import inherited_sockets
    from .wire.json import buffer as buffer
    from .wire.json import to_bytes as to_bytes

    Socket = Session
    systemd_sockets = inherited_sockets

_HOMES = {
    "AsyncClient": "aio",
    "AsyncDatagramServer": "aio",
    "AsyncServer": "aio",
    "connect": "aio",
    "serve": "aio",
    "serve_udp": "aio",
    "Received": "core.inbox",
    "IPC": "callbacks",
    "ipc": "callbacks",
    "Client": "core.client",
    "ClientState": "core.client",
    "Config": "config.config",
    "DatagramPeer": "core.datagram",
    "DatagramServer": "core.datagram",
    "Event": "core.events",
    "Loss": "core.session",
    "Peer": "core.seam",
    "Raw": "msgspec",
    "Request": "core.requests",
    "Server": "core.server",
    "Socket": "core.session",
    "Stats": "core.trace",
    "Trace": "core.trace",
    "buffer": "wire.json",
    "run": "drivers.runner",
    "runtime_socket_root": "config.address",
    "style": "config.logs",
    "systemd_sockets": "net.unix",
    "to_bytes": "wire.json",
    "while_connected": "core.events",
}
_MODULES = ("blocking", "contract", "errors", "scale", "testing")
_ALIASES = {"Socket": "Session", "systemd_sockets": "inherited_sockets"}


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
        elif name in _MODULES:
            value = importlib.import_module(f".{name}", __name__)
        elif name == "__all__":
            value = [*_HOMES, *_error_names()]
        elif name in _error_names():
            value = getattr(importlib.import_module(".errors", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES, *_error_names()})
