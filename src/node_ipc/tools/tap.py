"""``node-ipc tap``: stand between clients and a server, pass every byte on as it came, and show the frames.

Nothing is decoded on the way: what is shown is a copy, so a tap harms neither a protocol that it does not
understand nor a broken frame. Where one side is slower than the other, the faster one is read no further.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from ..config.address import Address
from ..config.config import Config
from ..config.logs import escape
from ..core.seam import Driver, Link, Peer
from ..drivers.loop import EventLoopDriver
from ..errors import ProtocolError
from ..recording.format import RecordingError
from ..recording.frames import Cutter, Loaded, Long, event_in
from ..recording.lines import Side
from .arguments import Commands, UsageError, add_command, add_configuration, configuration, place, told_of_port
from .output import Lines, as_far_as_read, library_warnings, notice, painted, peer_members, short
from .recorder import Recorded, add_recording, recorded
from .tap_observed import ObservedTap
from .waiting import run, stop_signals

__all__ = ["Tap", "add_commands"]

EXAMPLES = """\
  node-ipc tap spy --to world                             clients connect to "spy" and talk with "world"
  node-ipc tap tcp://127.0.0.1:9000 --to tcp://db:8000    the same over TCP
  node-ipc tap spy --to world --json | jq 'select(.type == "order")'
  node-ipc tap spy --to world --raw                       show bytes as they pass, not frames
  node-ipc tap spy --to world --record run.jsonl --payloads    keep it, to be replayed
  node-ipc tap spy --to world --observe                   let "node-ipc top spy" look, also where "world" is Node

A frame is {"time", "link", "from": "client" | "server", "type", "data"} with --json; one that is no event has
"frame" and "fault" instead of "type" and "data".
"""
SHOWN_BYTES = 1024 * 1024
"""Of a frame that is longer, the rest passes without being shown."""
PARTING_SECONDS = 5.0
"""How long one side may take to read the rest after the other has gone."""

Show = Callable[..., None]


class Watcher(Protocol):
    """Who is told of what passes over one link."""

    def heard(self, side: Side, data: bytes) -> None:
        """What was read from one side."""

    def closed(self, reason: str) -> None:
        """The link is over."""


Watchers = Callable[[int, Peer], list[Watcher]]
"""Makes those of a link, from its number and its client."""


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "tap", help="stand between clients and a server and show what passes", examples=EXAMPLES
    )
    parser.add_argument("address", metavar="ADDRESS", help="where clients connect: an id, a path or a URL")
    parser.add_argument("--to", metavar="ADDRESS", required=True, help="the server behind it")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each frame")
    parser.add_argument("--raw", action="store_true", help="show bytes as they pass, not frames")
    parser.add_argument("--record", metavar="FILE", help="keep what passes in this file, instead of showing it")
    parser.add_argument(
        "--observe", action="store_true", help="let node-ipc top look at ADDRESS, instead of showing it"
    )
    parser.add_argument("--print", action="store_true", help="with --record or --observe: show it as well")
    add_recording(parser)
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with library_warnings("tap"):
        return run(_tap(arguments))


async def _tap(arguments: argparse.Namespace) -> int:
    _refuse_stray_options(arguments)
    config = configuration(arguments)
    config.raw_buffer = config.raw_buffer or arguments.raw
    no_udp = "tap is for connections, and {} has none: use listen there"
    where, settings = place(arguments.address, config, "server", no_udp)
    target, _ = place(arguments.to, config, "client", no_udp)
    if str(where) == str(target):
        raise UsageError(f"clients and server would meet at {where}: give --to another address than the tap's own")
    driver = EventLoopDriver()
    driver.attach(asyncio.get_running_loop())
    with stop_signals() as stopped, _recorded(arguments, target, settings) as recording:
        lines = Lines(arguments.json, stopped.set)
        observed = ObservedTap(driver, settings) if arguments.observe or settings.observe else None
        tap = Tap(target, driver, settings, _watchers(arguments, settings, lines, recording, observed))
        listener = driver.listen(where, tap, settings)
        at = await tap.listens
        try:
            if observed is not None:
                await observed.open(at)
            notice(f"clients of {at} talk with {target}, Ctrl-C ends")
            told_of_port(arguments.address)
            await stopped.wait()
        finally:
            listener.close()
            if observed is not None:
                observed.close()
            await tap.close()
    with as_far_as_read():
        lines.check()
    return 0 if recording is None or recording.file.failure is None else 1


@contextlib.contextmanager
def _recorded(arguments: argparse.Namespace, target: Address, settings: Config) -> Iterator[Recorded | None]:
    """The recording of --record FILE: where nothing can be written any more, what passes still passes."""
    if arguments.record is None:
        yield None
        return

    def failed(error: RecordingError) -> None:
        notice(f"node-ipc tap: {error}. Links go on, unrecorded")

    with recorded(arguments, arguments.record, target, settings, failed) as recording:
        yield recording


def _refuse_stray_options(arguments: argparse.Namespace) -> None:
    """What says how to record, where nothing is recorded."""
    if arguments.record is None:
        for flag in ("payloads", "redact", "rotate", "keep"):
            if getattr(arguments, flag):
                raise UsageError(f"--{flag} says how to record: it goes with --record FILE")
    if not (arguments.record or arguments.observe):
        if arguments.print:
            raise UsageError("what passes is shown anyway: --print goes with --record FILE or --observe")
    elif arguments.json and not arguments.print:
        raise UsageError("with --record or --observe nothing is shown, so --json goes with --print")


def _watchers(
    arguments: argparse.Namespace,
    settings: Config,
    lines: Lines,
    recording: Recorded | None,
    observed: ObservedTap | None,
) -> Watchers:
    shows = arguments.print or not (arguments.record or arguments.observe)

    def made(number: int, peer: Peer) -> list[Watcher]:
        watchers: list[Watcher] = []
        if recording is not None:
            watchers.append(recording.recorder.link(peer))
        if observed is not None:
            watchers.append(observed.link(number, peer))
        if shows:
            watchers.append(_Shown(lines.show, settings, number, peer))
        return watchers

    return made


class Tap:
    """Gives each client that connects a link of its own to the server."""

    def __init__(self, target: Address, driver: Driver, settings: Config, watchers: Watchers) -> None:
        self.target = target
        self.driver = driver
        self.settings = settings
        self.watchers = watchers
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

    def __init__(self, pair: _Pair, name: Side) -> None:
        self.name = name
        self.link: Link | None = None
        """The link while it is open."""
        self.is_opening = False
        self._pair = pair

    @property
    def _other(self) -> Link | None:
        return self._pair.other(self).link

    def opened(self, link: Link) -> None:
        self.link, self.is_opening = link, False
        self._pair.opened(self)

    def received(self, data: bytes) -> None:
        if self._other is not None:  # else it has gone, and nobody is left to hear this
            self._other.write(data)
        for watcher in self._pair.watchers:
            watcher.heard(self.name, data)

    def ending(self) -> None:
        """What comes before the end is read when the other side takes it."""

    def ended(self) -> None:
        """Nothing more comes from here: the other side is told so, and what it still says passes."""
        link = self._other or self.link  # where the other has gone already, this was all
        if link is not None:
            link.close()

    def pause(self) -> None:
        if self._other is not None:
            self._other.pause_reading()

    def writable(self) -> None:
        if self._other is not None:
            self._other.resume_reading()

    def lost(self, error: Exception | None) -> None:
        self.link, self.is_opening = None, False
        self._pair.ended(self, error)

    failed = lost

    def abort(self) -> None:
        if self.link is not None:
            self.link.abort()


class _Pair:
    """One client, and the link to the server that was made for it."""

    def __init__(self, tap: Tap, number: int, peer: Peer) -> None:
        self.client = _Side(self, "client")
        self.server = _Side(self, "server")
        self.client.is_opening = True
        self.watchers: list[Watcher] = []
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
            self.watchers = self._tap.watchers(self._number, self._peer)
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
        elif not other.is_opening:
            for watcher in self.watchers:
                watcher.closed(self._reason)
            self._tap.gone(self)

    def abort(self) -> None:
        self.client.abort()
        self.server.abort()


class _Shown:
    """Shows what passes over one link."""

    def __init__(self, show: Show, settings: Config, number: int, peer: Peer) -> None:
        self._show_line = show
        self._number = number
        self._bytes = {"client": 0, "server": 0}
        self._frames = {side: _Frames(settings) for side in self._bytes}
        self._show(f"opened by {peer}", event="connect", peer=peer_members(peer))

    def heard(self, side: Side, data: bytes) -> None:
        self._bytes[side] += len(data)
        for text, members in self._frames[side].of(data):
            self._show(f"{painted(side, side)} → {text}", **{"from": side}, **members)

    def closed(self, reason: str) -> None:
        there, back = self._bytes["client"], self._bytes["server"]
        self._show(
            f"closed, {there} bytes from the client and {back} from the server{': ' if reason else ''}{escape(reason)}",
            event="disconnect",
            client_bytes=there,
            server_bytes=back,
            **({"reason": reason} if reason else {}),
        )

    def _show(self, text: str, **members: Any) -> None:
        self._show_line(f"#{self._number} {text}", link=self._number, **members)


Shown = tuple[str, dict[str, Any]]
"""A frame for people, and the same as members of a JSON line."""


class _Frames:
    """One direction's frames, to be shown."""

    def __init__(self, settings: Config) -> None:
        self._are_frames = settings.profile not in ("raw", "custom")
        self._cutter = Cutter(settings.delimiter.encode() if self._are_frames else b"", SHOWN_BYTES)

    def of(self, data: bytes) -> Iterator[Shown]:
        """What these bytes complete."""
        for frame in self._cutter.cut(data):
            if isinstance(frame, Long):
                yield _too_long(frame)
            elif isinstance(frame, Loaded):
                yield _with_attachments(frame)
            elif self._are_frames:
                yield _event(frame)
            else:
                yield short(frame), {"hex": frame.hex()}


def _with_attachments(frame: Loaded) -> Shown:
    found = frame.announced
    pieces = [msgspec.to_builtins(entry) for entry in found.attachments]
    data = msgspec.json.decode(found.data)
    return f"{escape(found.type)} {short(data)} and {found.size} bytes beside it", {
        "type": found.type,
        "data": data,
        "attachments": pieces,
    }


def _event(frame: bytes) -> Shown:
    found = event_in(frame)
    if isinstance(found, ProtocolError):
        text = frame.decode("utf-8", "backslashreplace")
        return f"no event ({escape(str(found))}): {short(frame)}", {"frame": text, "fault": str(found)}
    return f"{escape(found.type)} {short(found.data)}", {"type": found.type, "data": found.data}


def _too_long(frame: Long) -> Shown:
    text = frame.begin[:1000].decode("utf-8", "backslashreplace")
    return f"a frame of {frame.size} bytes: {short(frame.begin)}", {
        "frame": text,
        "fault": f"{frame.size} bytes are too many to show",
    }
