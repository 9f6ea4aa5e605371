"""``node-ipc tap``: stand between clients and a server, pass every byte on as it came, and show the frames.

Nothing is decoded on the way: what is shown is a copy, so a tap harms neither a protocol that it does not
understand nor a broken frame. Where one side is slower than the other, the faster one is read no further.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..config.address import Address, Udp
from ..config.config import Config
from ..config.logs import escape
from ..config.resolve import resolve
from ..core.seam import Driver, Link, Peer
from ..drivers.loop import EventLoopDriver
from ..errors import InvalidPayload, ProtocolError
from ..wire.json import Envelope, decode_envelope, salvage
from .arguments import Commands, UsageError, add_command, add_configuration, configuration
from .listen import stop_signals
from .output import Lines, library_warnings, notice, painted, peer_members, short

__all__ = ["Tap", "add_commands"]

EXAMPLES = """\
  node-ipc tap spy --to world                             clients connect to "spy" and talk with "world"
  node-ipc tap tcp://127.0.0.1:9000 --to tcp://db:8000    the same over TCP
  node-ipc tap spy --to world --json | jq 'select(.type == "order")'
  node-ipc tap spy --to world --raw                       show bytes as they pass, not frames

A frame is {"time", "link", "from": "client" | "server", "type", "data"} with --json; one that is no event has
"frame" and "fault" instead of "type" and "data".
"""
SHOWN_BYTES = 1024 * 1024
"""Of a frame that is longer, the rest passes without being shown."""
PARTING_SECONDS = 5.0
"""How long one side may take to read the rest after the other has gone."""

Show = Callable[..., None]


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "tap", help="stand between clients and a server and show what passes", examples=EXAMPLES
    )
    parser.add_argument("address", metavar="ADDRESS", help="where clients connect: an id or a URL")
    parser.add_argument("--to", metavar="ADDRESS", required=True, help="the server behind it")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each frame")
    parser.add_argument("--raw", action="store_true", help="show bytes as they pass, not frames")
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with library_warnings("tap"):
        asyncio.run(_tap(arguments))
    return 0


async def _tap(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    config.raw_buffer = config.raw_buffer or arguments.raw
    where, settings = resolve(arguments.address, config, {}, "server")
    target, _ = resolve(arguments.to, config, {}, "client")
    for address in (where, target):
        if isinstance(address, Udp):
            raise UsageError(f"tap is for connections, and {address} has none: use listen there")
    if str(where) == str(target):
        raise UsageError(f"clients and server would meet at {where}: give --to another address than the tap's own")
    driver = EventLoopDriver()
    driver.attach(asyncio.get_running_loop())
    with stop_signals() as stopped:
        lines = Lines(arguments.json, stopped.set)
        tap = Tap(target, driver, settings, lines.show)
        listener = driver.listen(where, tap, settings)
        notice(f"clients of {await tap.listens} talk with {target}, Ctrl-C ends")
        await stopped.wait()
        listener.close()
        await tap.close()
    lines.check()


class Tap:
    """Gives each client that connects a link of its own to the server."""

    def __init__(self, target: Address, driver: Driver, settings: Config, show: Show) -> None:
        self.target = target
        self.driver = driver
        self.settings = settings
        self.show = show
        self.listens: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        """Where clients can connect, or why they never will."""
        self._pairs: set[_Pair] = set()
        self._empty = asyncio.Event()
        self._count = 0

    def listening(self, address: Address) -> None:
        self.listens.set_result(address)

    def not_listening(self, error: Exception) -> None:
        self.listens.set_exception(error)

    def accept(self, peer: Peer) -> _Side:
        self._count += 1
        pair = _Pair(self, self._count, peer)
        self._pairs.add(pair)
        return pair.client

    def gone(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        if not self._pairs:
            self._empty.set()

    async def close(self) -> None:
        """End every link at once."""
        self._empty.clear()
        for pair in tuple(self._pairs):
            pair.abort()
        if self._pairs:
            await self._empty.wait()


class _Side:
    """One of a pair's two links, as the driver tells of it."""

    def __init__(self, pair: _Pair, name: str, settings: Config) -> None:
        self.name = name
        self.bytes = 0
        """How many came from there."""
        self.link: Link | None = None
        """The link while it is open."""
        self.is_opening = False
        self._pair = pair
        self._shown = _Frames(settings)

    @property
    def is_over(self) -> bool:
        return self.link is None and not self.is_opening

    def opened(self, link: Link) -> None:
        self.link, self.is_opening = link, False
        self._pair.opened(self)

    def failed(self, error: Exception) -> None:
        self.is_opening = False
        self._pair.ended(self, error)

    def received(self, data: bytes) -> None:
        other = self._pair.other(self)
        if other.link is not None:  # else it has gone, and nobody is left to hear this
            other.link.write(data)
        self.bytes += len(data)
        for text, members in self._shown.of(data):
            self._pair.show(f"{painted(self.name, self.name)} → {text}", **{"from": self.name}, **members)

    def ending(self) -> None:
        """What comes before the end is read when the other side takes it."""

    def ended(self) -> None:
        """Nothing more comes from here: the other side is told so, and what it still says passes."""
        link = self._pair.other(self).link or self.link  # where the other has gone already, this was all
        if link is not None:
            link.close()

    def pause(self) -> None:
        other = self._pair.other(self)
        if other.link is not None:
            other.link.pause_reading()

    def writable(self) -> None:
        other = self._pair.other(self)
        if other.link is not None:
            other.link.resume_reading()

    def lost(self, error: Exception | None) -> None:
        self.link = None
        self._pair.ended(self, error)

    def abort(self) -> None:
        if self.link is not None:
            self.link.abort()


class _Pair:
    """One client, and the link to the server that was made for it."""

    def __init__(self, tap: Tap, number: int, peer: Peer) -> None:
        self.client = _Side(self, "client", tap.settings)
        self.server = _Side(self, "server", tap.settings)
        self.client.is_opening = True
        self._tap = tap
        self._number = number
        self._peer = peer
        self._reason = ""

    def other(self, side: _Side) -> _Side:
        return self.server if side is self.client else self.client

    def opened(self, side: _Side) -> None:
        other, link = self.other(side), side.link
        assert link is not None
        if side is self.client:
            self.show(f"opened by {self._peer}", event="connect", peer=peer_members(self._peer))
            link.pause_reading()  # until there is somebody to pass it on to
            self.server.is_opening = True
            self._tap.driver.open(self._tap.target, self.server, self._tap.settings)
        elif other.link is None:  # the client did not wait
            link.abort()
        else:
            other.link.resume_reading()

    def ended(self, side: _Side, error: Exception | None) -> None:
        """One side is gone: the other gets what was said to it, and goes too."""
        if error is not None:
            self._reason = self._reason or f"{side.name}: {error}"
        other = self.other(side)
        if other.link is not None:
            other.link.resume_reading()
            other.link.close()
            self._tap.driver.call_later(PARTING_SECONDS, other.abort)
        elif other.is_over:
            self._over()

    def abort(self) -> None:
        self.client.abort()
        self.server.abort()

    def _over(self) -> None:
        there, back = self.client.bytes, self.server.bytes
        reason = f": {escape(self._reason)}" if self._reason else ""
        self.show(
            f"closed, {there} bytes from the client and {back} from the server{reason}",
            event="disconnect",
            client_bytes=there,
            server_bytes=back,
            **({"reason": self._reason} if self._reason else {}),
        )
        self._tap.gone(self)

    def show(self, text: str, **members: Any) -> None:
        self._tap.show(f"#{self._number} {text}", link=self._number, **members)


Shown = tuple[str, dict[str, Any]]
"""A frame for people, and the same as members of a JSON line."""


class _Frames:
    """Cuts a copy of one direction's bytes into frames, to be shown; it never refuses anything."""

    def __init__(self, settings: Config) -> None:
        self._delimiter = b"" if settings.profile in ("raw", "custom") else settings.delimiter.encode()
        self._overlap = max(len(self._delimiter) - 1, 0)
        self._rest = bytearray()
        self._searched = 0
        self._left_out = 0  # bytes of the unfinished frame that were not kept

    def of(self, data: bytes) -> Iterator[Shown]:
        """What these bytes complete."""
        if not self._delimiter:
            yield short(data), {"hex": data.hex()}
            return
        self._rest += data
        while (end := self._rest.find(self._delimiter, self._searched)) >= 0:
            frame = bytes(self._rest[:end])
            del self._rest[: end + len(self._delimiter)]
            self._searched = 0
            left_out, self._left_out = self._left_out, 0
            yield _too_long(frame, left_out) if left_out else _event(frame)
        self._forget()

    def _forget(self) -> None:
        """Keep the beginning of a long frame, and the bytes in which a delimiter may have begun."""
        more = len(self._rest) - SHOWN_BYTES - self._overlap
        if more > 0:
            del self._rest[SHOWN_BYTES : SHOWN_BYTES + more]
            self._left_out += more
        self._searched = max(len(self._rest) - self._overlap, 0)


def _event(frame: bytes) -> Shown:
    try:
        found = salvage(frame) if (event := _decoded(frame)) is None else event
    except ProtocolError as fault:
        return _no_event(frame, str(fault))
    if isinstance(found, InvalidPayload):
        return _no_event(frame, str(found))
    return f"{escape(found.type)} {short(found.data)}", {"type": found.type, "data": found.data}


def _decoded(frame: bytes) -> Envelope | None:
    try:
        return decode_envelope(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _no_event(frame: bytes, fault: str) -> Shown:
    text = frame.decode("utf-8", "backslashreplace")
    return f"no event ({escape(fault)}): {short(frame)}", {"frame": text, "fault": fault}


def _too_long(frame: bytes, left_out: int) -> Shown:
    size = len(frame) + left_out
    text = frame[:1000].decode("utf-8", "backslashreplace")
    return f"a frame of {size} bytes: {short(frame)}", {"frame": text, "fault": f"{size} bytes are too many to show"}
