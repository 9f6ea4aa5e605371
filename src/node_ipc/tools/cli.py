"""The command ``node-ipc``: which commands there are, and how each of them ends.

Exit codes: 0 done; 1 failed (no server, refused, no answer in time, a demo that went wrong); 2 wrong arguments;
130 ended with Ctrl-C before it was done. Messages for people go to standard error, what was asked for to standard
output.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import ConfigError, ConnectError, IPCError
from . import contract, convert, demo, doctor, emit, help, listen, record, replay, tap, top
from .arguments import Parser, UsageError, configuration, wrapped
from .output import let_go_of_what_is_full, notice, unconnected

__all__ = ["command_line", "main"]

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Processes talk by named events, on the wire of npm's node-ipc.

An ADDRESS is an id ("world": the socket node-ipc makes for it), a path (/run/app.sock, ./app.sock), pipe:name,
tcp://host:port, tls://host:port, udp4://host:port or udp6://[host]:port.
"""
EXAMPLES = """\
examples:
  node-ipc demo                                    a server and a client, and what they say to each other
  node-ipc listen world                            serve "world" and show every event
  node-ipc emit world message '"hello"'            send one event to the server "world"
  node-ipc request world add '{"a": 1, "b": 2}'    ask, and print the answer
  node-ipc tap spy --to world                      stand between the clients of "spy" and the server "world"
  node-ipc record world run.jsonl                  keep what the server "world" sends to its clients
  node-ipc replay run.jsonl --to world --expect    send again what clients sent, and compare the answers
  node-ipc convert run.jsonl run.pcapng            a recording for Wireshark, or (run.mcap) for Foxglove
  node-ipc top world                               look at a server that is at work
  node-ipc doctor world                            why does nobody answer?
  node-ipc contract app:server --typescript world.d.ts    its events and their types, for the other side
  node-ipc help delivery                           a topic; also an option or an error by its name

node-ipc COMMAND --help tells more. Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. ``argv`` is the command line's unless given."""
    _speak_safely()
    try:
        return _run(argv)
    finally:
        let_go_of_what_is_full()


def _run(argv: Sequence[str] | None) -> int:
    arguments = _arguments(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except (UsageError, ConfigError) as error:
        return _complain(arguments.command, error, WRONG_ARGUMENTS)
    except ConnectError as error:
        why = unconnected(error, hasattr(arguments, "wait"))
        return _complain(arguments.command, Exception(f"{why}{_in_its_place(arguments)}"), FAILED)
    except IPCError as error:
        return _complain(arguments.command, error, FAILED)
    except BrokenPipeError:  # nobody reads what we print any more, as after "| head"
        return DONE
    except OSError as error:  # the disk is full, say
        return _complain(arguments.command, Exception(f"cannot read or write: {error.strerror or error}"), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse; an optional last argument may also stand behind an option, where argparse alone does not see it."""
    parser = command_line()
    arguments: argparse.Namespace
    arguments, unknown = parser.parse_known_args(argv)
    late = getattr(arguments, "late", None)
    if late is not None and getattr(arguments, late) is None and len(unknown) == 1 and unknown[0][:2] != "--":
        setattr(arguments, late, unknown.pop())
    if unknown:
        given = list(sys.argv[1:] if argv is None else argv)
        parser.commands[arguments.command].refuse(unknown, given)
    return arguments


def command_line() -> Parser:
    """What parses it: every command, with its arguments."""
    parser = Parser(
        prog="node-ipc",
        description=wrapped(DESCRIPTION),
        epilog=wrapped(EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"node-ipc for Python {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (demo, listen, emit, tap, record, replay, convert, top, doctor, contract, help):
        module.add_commands(commands)
    parser.commands = commands.choices
    for each in commands.choices.values():
        each.commands = commands.choices
    return parser


def _in_its_place(arguments: argparse.Namespace) -> str:
    """The server that may be meant, where nobody has the id that was given."""
    given = getattr(arguments, "to", None) or getattr(arguments, "address", None) or getattr(arguments, "at", None)
    if not hasattr(arguments, "options"):
        return ""
    config = configuration(arguments)
    second = next((vars(arguments)[name] for name in ("type", "method", "file") if name in arguments), None)
    return doctor.in_its_place(given, config) or doctor.swapped(given, second, config)


def _complain(command: str, error: Exception, code: int) -> int:
    """The message may hold a peer's words: it goes out as one line without control characters."""
    notice(f"node-ipc {command}: {error}")
    return code


def _speak_safely() -> None:
    """Print each line at once, and never fail because the terminal knows fewer characters than a peer sent.

    A stream that was closed before we began (``>&-``) takes everything and keeps nothing.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
