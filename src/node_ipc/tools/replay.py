"""``node-ipc replay``: say again what the clients of a recording said, and compare the answers."""

from __future__ import annotations

import argparse
import asyncio

from ..config.config import Config
from ..config.logs import escape
from ..drivers.loop import EventLoopDriver
from ..recording.paths import Paths
from ..recording.player import PATIENCE, Played, Player
from ..recording.reader import Recording, read
from .arguments import (
    Commands,
    UsageError,
    add_command,
    add_configuration,
    add_several,
    add_timeout,
    configuration,
    place,
)
from .output import as_far_as_read, counted, notice, painted
from .waiting import run

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc replay run.jsonl --to world               with the recorded spacing
  node-ipc replay run.jsonl --to world --speed 2     twice as fast; --speed max without any pause
  node-ipc replay run.jsonl --to world --expect --ignore '$.time,$..id'
  node-ipc replay run.jsonl --to world --only order,confirmed,add
  node-ipc replay run.jsonl.2 run.jsonl.1 run.jsonl --to world

A recording for it is made by tap with --record FILE --payloads. Exit code 1 if --expect finds a difference, or if
something could not be sent.
"""
MOST_SHOWN = 20
"""Differences."""


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "replay", help="send again what the clients of a recording sent", examples=EXAMPLES)
    parser.add_argument("files", metavar="FILE", nargs="+", help="the recording, or its parts, the oldest first")
    parser.add_argument("--to", metavar="ADDRESS", required=True, help="the server: an id, a path or a URL")
    parser.add_argument("--speed", metavar="N", type=_speed, default=1.0, help="so many times as fast, or max (1)")
    what = "send, and compare, these events alone; requests also by their methods; commas between them"
    add_several(parser, "--only", "EVENTS", what)
    parser.add_argument("--expect", action="store_true", help="compare the answers with the recorded ones")
    add_several(parser, "--ignore", "PATHS", "with --expect: what may differ in answers, as $.time,$..id")
    add_timeout(parser, PATIENCE, "for the answers once everything was sent")
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _speed(text: str) -> float:
    try:
        value = float("inf") if text == "max" else float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no speed: 2 is twice as fast, 0.5 half as fast, max has no pauses"
        )
    return value


def _run(arguments: argparse.Namespace) -> int:
    if arguments.ignore and not arguments.expect:
        raise UsageError("--ignore says what may differ in answers: it goes with --expect")
    recording = read(*arguments.files)
    config = configuration(arguments)
    if config.delimiter == Config().delimiter:
        config.delimiter = recording.header.delimiter
    if recording.header.redacted:
        notice(
            f'node-ipc replay: in place of {", ".join(recording.header.redacted)} the server gets "[redacted]", as '
            "the recording has it"
        )
    played = run(_replay(arguments, config, recording))
    if recording.cut:
        lines = counted(recording.cut, "half line")
        notice(f"node-ipc replay: {lines} of {recording} left out: its recorder was killed")
    faults = [*played.faults, *played.differences]
    with as_far_as_read():
        _print(played, faults, arguments.expect)
    return 1 if faults else 0


async def _replay(arguments: argparse.Namespace, config: Config, recording: Recording) -> Played:
    where, settings = place(arguments.to, config, "client", "replay is for connections, and {} has none")
    driver = EventLoopDriver()
    driver.attach(asyncio.get_running_loop())
    player = Player(
        recording,
        driver,
        where,
        settings,
        speed=arguments.speed,
        only=[name.strip() for names in arguments.only for name in names.split(",") if name.strip()],
        compare=arguments.expect,
        ignore=Paths(arguments.ignore),
        patience=arguments.timeout,
    )
    try:
        return (await player.start().done).played
    finally:
        player.abort()


def _print(played: Played, faults: list[str], expect: bool) -> None:
    for text in faults[:MOST_SHOWN]:
        name, colon, rest = text.partition(": ")
        first, *places = rest.split("\n")
        print(painted(f"{escape(name)}{colon}", "bad") + escape(first))
        for each in places:
            print(escape(each))
    if len(faults) > MOST_SHOWN:
        print(f"and {len(faults) - MOST_SHOWN} more")
    sent, links, answers = counted(played.sent, "message"), counted(played.links, "link"), played.answers
    said = f"{sent} sent on {links}, {counted(answers, 'answer')}"
    if expect:
        verdict = "not as recorded" if played.differences else "as recorded"
        said += ", " + painted(verdict, "bad" if played.differences else "good")
    print(said)
