"""``node-ipc listen``: serve an address and show every event that comes."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from ..config.address import Udp
from ..config.logs import escape
from ..core.datagram import DatagramPeer, DatagramServer
from ..core.server import Server
from ..core.session import Session
from ..drivers.loop import EventLoopDriver
from ..errors import IPCError
from ..wire.names import LIFECYCLE
from .arguments import Commands, add_command, add_configuration, configuration, number, place, told_of_port
from .output import Lines, library_warnings, notice, painted, peer_members, short
from .waiting import run, stop_signals

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc listen world                       until Ctrl-C, one line for each event
  node-ipc listen world --json | jq .data     one JSON object on each line
  node-ipc listen tcp://127.0.0.1:8000 --echo --count 1
  node-ipc listen world tcp://127.0.0.1:8000  both at once
  node-ipc listen udp4://127.0.0.1:8000
  node-ipc listen world --raw                 bytes instead of events

An event is {"time", "socket", "type", "data"} with --json (and "hex" instead of the two with --raw); what happens to
connections is {"time", "event", ...}.
"""


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "listen", help="serve an address and show every event", examples=EXAMPLES)
    parser.add_argument(
        "address", metavar="ADDRESS", nargs="+", help="where to listen: an id, a path or a URL, or several"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each event")
    parser.add_argument("--raw", action="store_true", help="raw mode: bytes, without events and JSON")
    parser.add_argument("--echo", action="store_true", help="send each event back to where it came from")
    parser.add_argument("--count", metavar="N", type=number, help="end after N events")
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with library_warnings("listen"):
        run(_listen(arguments))
    return 0


async def _listen(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    config.raw_buffer = config.raw_buffer or arguments.raw
    at, settings = place(arguments.address, config, "server")
    driver = EventLoopDriver()
    server = DatagramServer(at, driver, settings) if isinstance(at, Udp) else Server(at, driver, settings)
    with stop_signals() as stopped:
        listening = _Listening(server, stopped, arguments)
        await server.start()
        listening.has_begun = True
        where = " and ".join(map(str, server.addresses)) if isinstance(server, Server) else str(server.address)
        notice(f"listening at {where}, Ctrl-C ends")
        told_of_port(*arguments.address)
        await stopped.wait()
        await server.stop()
    listening.lines.check()


class _Listening:
    """What is printed of one server, and what is sent back."""

    def __init__(self, server: Any, stopped: asyncio.Event, arguments: argparse.Namespace) -> None:
        self.has_begun = False
        self._server = server
        self._stopped = stopped
        self.lines = Lines(arguments.json, stopped.set)
        self._echo: bool = arguments.echo
        self._left: int | None = arguments.count
        server.on("*", self._event)
        server.on("data", self._bytes)
        if not isinstance(server, DatagramServer):  # which has no connections
            server.on("connect", self._connected)
        server.on("socket.disconnected", self._disconnected)
        server.on("error", self._error)

    def _event(self, type: str, data: Any = None, socket: Any = None) -> None:
        if type in LIFECYCLE:
            return
        text = f"{_named(socket)} {escape(type)} {short(data)}"
        self.lines.show(text, **_who(socket), type=type, data=data)
        self._done(socket, type, data)

    def _bytes(self, data: bytes, socket: Any) -> None:
        self.lines.show(f"{_named(socket)} {short(data)}", **_who(socket), hex=data.hex())
        self._done(socket, data)

    def _done(self, socket: Any, *message: Any) -> None:
        if self._echo:
            self._server.emit(socket, *message)
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._stopped.set()

    def _connected(self, socket: Session) -> None:
        self.lines.show(f"{_named(socket)} connected: {socket.peer}", event="connect", **_who(socket))

    def _disconnected(self, socket: Session) -> None:
        self.lines.show(f"{_named(socket)} disconnected", event="socket.disconnected", **_who(socket))

    def _error(self, error: IPCError, socket: Any = None) -> None:
        if not self.has_begun:
            return  # start() raises it
        who = "" if socket is None else f"{_named(socket)} "
        self.lines.show(
            f"{who}{painted(f'error {error.code}', 'bad')}: {escape(str(error))}",
            event="error",
            **_who(socket),
            code=error.code,
            message=str(error),
        )


def _named(socket: Session | DatagramPeer) -> str:
    """A connection by its number; a UDP peer by its address, since it has no connection to be numbered."""
    return painted(f"socket {socket.id}" if isinstance(socket, Session) else str(socket.peer), "client")


def _who(socket: Session | DatagramPeer | None) -> dict[str, Any]:
    return {} if socket is None else {"socket": socket.id, "peer": peer_members(socket.peer)}
