"""node-ipc for Python: processes talk by named events, on the wire of npm's node-ipc.

Three fronts on one core: ``ipc`` and ``IPC`` (callbacks, node-ipc's own shape), ``connect`` and ``serve``
(asyncio), and ``node_ipc.blocking``. Names are loaded when they are first used, so that ``node_ipc.blocking``
imports neither asyncio nor ssl.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from msgspec import Raw as Raw

    from . import blocking as blocking
    from . import errors as errors
    from . import scale as scale
    from . import testing as testing
    from .aio import connect as connect
    from .aio import serve as serve
    from .callbacks import IPC as IPC
    from .callbacks import ipc as ipc
    from .client import Client as Client
    from .client import ClientState as ClientState
    from .codecs.json import buffer as buffer
    from .codecs.json import to_bytes as to_bytes
    from .config import Config as Config
    from .datagram import DatagramPeer as DatagramPeer
    from .datagram import DatagramServer as DatagramServer
    from .errors import *  # noqa: F403
    from .events import Event as Event
    from .inbox import Received as Received
    from .logs import style as style
    from .runner import run as run
    from .server import Server as Server
    from .session import Loss as Loss
    from .session import Session
    from .trace import Stats as Stats
    from .trace import Trace as Trace
    from .transport.address import runtime_socket_root as runtime_socket_root
    from .transport.driver import Peer as Peer
    from .transport.local_socket import inherited_sockets

    Socket = Session
    systemd_sockets = inherited_sockets

_HOMES = {
    "connect": "aio",
    "serve": "aio",
    "Received": "inbox",
    "IPC": "callbacks",
    "ipc": "callbacks",
    "Client": "client",
    "ClientState": "client",
    "Config": "config",
    "DatagramPeer": "datagram",
    "DatagramServer": "datagram",
    "Event": "events",
    "Loss": "session",
    "Peer": "transport.driver",
    "Raw": "msgspec",
    "Server": "server",
    "Socket": "session",
    "Stats": "trace",
    "Trace": "trace",
    "buffer": "codecs.json",
    "run": "runner",
    "runtime_socket_root": "transport.address",
    "style": "logs",
    "systemd_sockets": "transport.local_socket",
    "to_bytes": "codecs.json",
}
_MODULES = ("blocking", "errors", "scale", "testing")
_ALIASES = {"Socket": "Session", "systemd_sockets": "inherited_sockets"}


def _error_names() -> list[str]:
    names: list[str] = importlib.import_module(".errors", __name__).__all__
    return names


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
