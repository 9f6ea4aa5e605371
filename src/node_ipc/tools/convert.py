"""``node-ipc convert``: a recording in the formats of other programs."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import IO

from ..recording.format import RecordingError
from ..recording.reader import Recording, read
from ..recording.to_mcap import to_mcap
from ..recording.to_pcapng import to_pcapng
from .arguments import Commands, UsageError, add_command
from .contract import contract_at
from .output import counted

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc convert run.jsonl run.mcap                      for Foxglove
  node-ipc convert run.jsonl run.mcap --contract app:register    with the schemas of your events
  node-ipc convert run.jsonl run.pcapng                    for Wireshark
  node-ipc convert run.jsonl.1 run.jsonl out --pcapng      two parts, the oldest first

Wireshark shows the events with the dissector node_ipc.lua, which is beside the documentation's page on recording.
"""


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "convert", help="write a recording as MCAP or as packets", examples=EXAMPLES)
    parser.add_argument("files", metavar="FILE", nargs="+", help="the recording, or its parts, the oldest first")
    parser.add_argument("output", metavar="OUTPUT", help="the new file: run.mcap or run.pcapng")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--mcap", action="store_true", help="MCAP, whatever the name of OUTPUT; needs the extra 'mcap'")
    kind.add_argument("--pcapng", action="store_true", help="packets for Wireshark, whatever the name of OUTPUT")
    parser.add_argument(
        "--contract", metavar="TARGET", help="with MCAP: MODULE:NAME of what has your typed handlers, for the schemas"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    convert = _kind(arguments)
    if any(os.path.realpath(file) == os.path.realpath(arguments.output) for file in arguments.files):
        raise UsageError("OUTPUT is the recording itself: give the new file as the last one")
    recording = read(*arguments.files)
    with _beside(arguments.output) as file:
        said = convert(recording, file)
    cut = f"; {counted(recording.cut, 'half line')} left out: its recorder was killed" if recording.cut else ""
    print(f"{arguments.output}: {said}{cut}")
    return 0


def _kind(arguments: argparse.Namespace) -> Callable[[Recording, IO[bytes]], str]:
    name = arguments.output.lower()
    if arguments.pcapng or (not arguments.mcap and name.endswith((".pcapng", ".pcap"))):
        if arguments.contract:
            raise UsageError("packets have no schemas: --contract goes with MCAP")
        return _pcapng
    if not arguments.mcap and not name.endswith(".mcap"):
        raise UsageError(
            f"{arguments.output!r} says not what to make: end it in .mcap or .pcapng, or give --mcap or --pcapng"
        )
    return lambda recording, file: _mcap(recording, file, arguments.contract)


def _mcap(recording: Recording, file: IO[bytes], target: str | None) -> str:
    schemas = None
    if target is not None:
        from ..contract import json_schema

        schemas = json_schema(contract_at(target))
    return f"{counted(to_mcap(recording, file, schemas), 'message')} as MCAP"


def _pcapng(recording: Recording, file: IO[bytes]) -> str:
    written = to_pcapng(recording, file)
    left_out = f"; {written.left_out} were not kept, so they are missing" if written.left_out else ""
    return f"{counted(written.messages, 'message')} as packets{left_out}"


@contextlib.contextmanager
def _beside(path: str) -> Iterator[IO[bytes]]:
    """A file that takes its place when it is whole, and is gone otherwise; for its owner, as recordings are."""
    made = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise RecordingError(f"cannot write {path!r}: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.replace(made, path)
    except OSError as error:
        raise RecordingError(f"cannot write {path!r}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(made)
