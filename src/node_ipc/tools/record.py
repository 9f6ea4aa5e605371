"""``node-ipc record``: connect as a client, say nothing, and keep what the server sends."""

from __future__ import annotations

import argparse
import asyncio

from ..aio import AsyncClient, connect
from ..config.config import Config
from ..core.session import Loss
from ..recording.frames import Cutter, pong_to
from ..recording.lines import LinkRecorder, Recorder
from .arguments import Commands, add_command, add_configuration, add_timeout, configuration, place
from .output import library_warnings, notice
from .recorder import add_recording, recorded
from .waiting import run, stop_signals

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc record world run.jsonl                      until Ctrl-C, a line for each event: name and size
  node-ipc record world run.jsonl --payloads --redact '$.password,$..token'
  node-ipc record world run.jsonl --rotate 100M --keep 9
  node-ipc record world - --payloads | jq .type        to standard output
  node-ipc tap spy --to world --record run.jsonl       both directions, of every client: stand between them

A line is {"time", "link", "peer", "from", "type", "bytes", "data"}; node-ipc help recordings explains it.
"""
TIMEOUT = 5.0
MOST_PING = 1024
"""Bytes of a frame that may be a heartbeat's question."""


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "record", help="keep what a server sends to its clients", examples=EXAMPLES)
    parser.add_argument("address", metavar="ADDRESS", help="the server: an id, a path or a URL")
    parser.add_argument(
        "file", metavar="FILE", help="the recording; one that is there is continued; -: standard output"
    )
    parser.add_argument("--raw", action="store_true", help="raw mode: keep bytes, without events and JSON")
    parser.add_argument("--wait", action="store_true", help="wait for a server that is not there yet")
    add_timeout(parser, TIMEOUT, "for the first connection")
    add_recording(parser)
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with library_warnings("record"):
        run(_record(arguments))
    return 0


async def _record(arguments: argparse.Namespace) -> None:
    config = configuration(arguments)
    no_udp = "record is for connections, and {} has none: use listen --json there"
    where, _ = place(arguments.address, config, "client", no_udp)
    client = await connect(where, config=_as_bytes(config), timeout=arguments.timeout, wait=arguments.wait)
    config.raw_buffer = config.raw_buffer or arguments.raw
    loop = asyncio.get_running_loop()
    try:
        with stop_signals() as stopped:
            client.on("destroy", stopped.set)

            def ended(error: Exception) -> None:
                loop.call_soon_threadsafe(stopped.set)

            with recorded(arguments, arguments.file, where, config.settings(), ended) as recording:
                listener = _Listener(client, recording.recorder, config)
                notice(f"recording what {where} sends in {arguments.file}, Ctrl-C ends")
                await stopped.wait()
                listener.end()
        if recording.file.failure is not None:
            raise recording.file.failure
    finally:
        client.abort()


def _as_bytes(config: Config) -> Config:
    """The same server, read as bytes: nothing that it sends is refused, and nothing is decoded on the way."""
    config = config.copy()
    config.update(raw_buffer=True, heartbeat=False)
    return config


class _Listener:
    """Writes down what one client hears; whatever links it has, one after the other."""

    def __init__(self, client: AsyncClient, recorder: Recorder, config: Config) -> None:
        self._client = client
        self._recorder = recorder
        self._delimiter = b"" if config.raw_buffer else config.delimiter.encode()
        self._link: LinkRecorder | None = None
        self._reason = ""
        self._is_over = False
        client.on("connect", self._connected)
        client.on("data", self._heard)
        client.on("error", self._failed)
        client.on("disconnect", self._lost)
        self._connected()

    def _connected(self) -> None:
        if self._link is None:
            self._link = self._recorder.link(self._client.peer)
            self._frames = Cutter(self._delimiter, MOST_PING)
            self._reason = ""

    def _heard(self, data: bytes) -> None:
        if self._link is not None:
            self._link.heard("server", data)
            for frame in self._frames.cut(data) if self._delimiter else ():
                if (pong := pong_to(frame)) is not None:  # a server's heartbeat cuts whoever says nothing
                    self._client.emit(pong + self._delimiter)

    def _failed(self, error: Exception) -> None:
        self._reason = str(error)

    def _lost(self, loss: Loss) -> None:
        self._close(self._reason or ("" if loss.reason is None else str(loss.reason)))
        if not self._is_over:
            notice(f"the link is lost{': connecting again' if self._client.retries_remaining else ''}")

    def end(self) -> None:
        """The recording ends while the link is open: what becomes of that is nobody's business any more."""
        self._is_over = True
        self._close("")

    def _close(self, reason: str) -> None:
        if self._link is not None:
            self._link.closed(reason)
            self._link = None
