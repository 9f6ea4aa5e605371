"""What the commands that record have in common: their arguments, the file, and what is said of it in the end."""

from __future__ import annotations

import argparse
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .. import __version__
from ..config.address import Address
from ..config.config import Config
from ..recording.file import RecordingFile
from ..recording.format import RecordingError
from ..recording.lines import Recorder, header
from ..recording.paths import Paths
from .arguments import UsageError, add_several
from .output import counted, notice

__all__ = ["Recorded", "add_recording", "recorded"]

KEEP = 5
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
LEAST_SIZE = 1024


def add_recording(parser: argparse.ArgumentParser) -> None:
    """What says how to record."""
    parser.add_argument("--payloads", action="store_true", help="keep payloads as well, not only their sizes")
    add_several(parser, "--redact", "PATHS", "what to hide in payloads, as $.password,$..token; may be repeated")
    parser.add_argument(
        "--rotate", metavar="SIZE", type=_size, help="begin a new file at this size, as 100M; FILE becomes FILE.1"
    )
    parser.add_argument("--keep", metavar="N", type=_count, help=f"so many older files are kept with --rotate ({KEEP})")


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMG]?)i?B?", text.strip(), re.I)
    size = int(found[1]) * UNITS[found[2].upper()] if found else 0
    if size < LEAST_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of 1K or more, as 500K, 100M or 2G")
    return size


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of files, from 1 to 1000")
    return int(text)


class Recorded(NamedTuple):
    """A recording that is being made."""

    recorder: Recorder
    file: RecordingFile

    def __str__(self) -> str:
        recorder, missed = self.recorder, self.file.missed
        left_out = f"; {missed} more are missing, since the disk did not keep up" if missed else ""
        return f"{counted(recorder.messages - missed, 'message')} of {counted(recorder.links, 'link')}{left_out}"


@contextlib.contextmanager
def recorded(
    arguments: argparse.Namespace,
    path: str,
    address: Address,
    settings: Config,
    failed: Callable[[RecordingError], object],
) -> Iterator[Recorded]:
    """A recording in this file while the block runs.

    failed: called once, in another thread, when nothing can be written any more.

    Raises:
        UsageError: the arguments contradict each other.
        RecordingError: the file cannot be opened, or is no recording.
    """
    hide = _hidden(arguments, settings)

    def first_line(part: int) -> bytes:
        return header(
            settings,
            address=str(address),
            program=f"node-ipc for Python {__version__}, {arguments.command}",
            payloads=arguments.payloads,
            hide=hide,
            time=time.time(),
            part=part,
        )

    file = RecordingFile(path, first_line, time.time, failed, size=arguments.rotate, keep=arguments.keep or KEEP)
    recording = Recorded(Recorder(file, settings, payloads=arguments.payloads, hide=hide), file)
    try:
        yield recording
    finally:
        recording.recorder.end()
        file.close()
        if file.failure is None:
            notice(f"{path}: {recording}")


def _hidden(arguments: argparse.Namespace, settings: Config) -> Paths:
    if arguments.keep and not arguments.rotate:
        raise UsageError("--keep says how many older files are kept: it goes with --rotate SIZE")
    if arguments.redact and not arguments.payloads:
        raise UsageError("--redact hides what is in payloads, and they are only kept with --payloads")
    if arguments.redact and settings.profile in ("raw", "custom"):
        raise UsageError("--redact needs events: what is in bytes of raw mode is not known")
    return Paths(arguments.redact)
