"""Arguments that several commands take: the configuration, an address, JSON on the command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..config.address import Address, Role, Udp
from ..config.checks import Refused
from ..config.config import Config, Interfaces
from ..config.misspelt import lookalike, meant, slipped
from ..config.options import Options, UnknownOption, spelt
from ..config.resolve import resolve
from ..config.tls_options import TLSOptions
from ..errors import AddressError, ConfigError
from .output import notice

__all__ = [
    "Commands",
    "Parser",
    "UsageError",
    "add_command",
    "add_configuration",
    "add_several",
    "add_timeout",
    "asking_doctor",
    "broken",
    "configuration",
    "json_argument",
    "number",
    "place",
    "seconds",
    "told_of_port",
    "wrapped",
]

_ESCAPE = re.compile(r"\\(?:[0abfnrtv\\]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")

Commands = Any
"""What ``add_subparsers`` returns: its class is private to argparse."""


class UsageError(Exception):
    """The command line cannot be meant as it stands."""


class Parser(argparse.ArgumentParser):
    """One that says which flag or command a misspelt one may be, and which command has one that this has not."""

    commands: Mapping[str, Any] = {}
    """Every command, by its name."""
    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        hint = self._hint()
        super().error(message if hint is None else f"{message}; {hint}")

    def flags(self) -> Collection[str]:
        """Every one that it takes, short and long."""
        return self._option_string_actions

    def refuse(self, unknown: Sequence[str], given: Sequence[str]) -> NoReturn:
        """End with what is wrong about these words, which the command line as a whole did not take."""
        self._given = given
        hint = self._taken_apart() if not any(word.startswith("-") for word in unknown) else None
        self.error(f"unrecognized arguments: {' '.join(unknown)}{'' if hint is None else f'; {hint}'}")

    def _taken_apart(self) -> str | None:
        """How a payload is written that the shell made several words of; None where the command takes none."""
        if self.get_default("late") is None:
            return None
        if any(word[:1] in ("{", "[") for word in self._given):
            return """the shell took it apart: put the JSON into single quotes, as '{"seconds": 1}'"""
        text = ", or give it as --text 'two words'" if "--text" in self.flags() else ""
        return f"""there is one payload: put its JSON into single quotes, as '"two words"' or '[1, 2]'{text}"""

    def _hint(self) -> str | None:
        """About the first word that is not known."""
        first = next(iter(self._given), "")
        is_top = self.commands.get(self.prog.rpartition(" ")[2]) is not self
        if is_top and not first:
            return f"{self.prog} --help lists them, and {self.prog} demo shows two programs that talk"
        if is_top and first not in self.commands and not first.startswith("-"):
            return _other_command(first, self.commands)
        if is_top and first in ("-v", "-V"):
            return f"that is {self.prog} --version"
        words = [word.partition("=")[0] for word in self._given if word.startswith("--") and len(word) > 2]
        early = None if is_top or first not in words else first
        if early in self.flags():
            return f"{early} goes behind the command: {self.prog} … {early}"
        unknown = [word for word in words if not any(flag.startswith(word) for flag in self.flags())]
        return self._other_flag(unknown[0]) if unknown else None

    def _other_flag(self, wrong: str) -> str | None:
        if "-o" in self.flags() and (option := self._as_option(wrong)) is not None:
            return option
        if (places := self._as_place(wrong)) is not None:
            return places
        owners = [name for name, parser in self.commands.items() if wrong in parser.flags()]
        if owners:
            return f"{_and(owners)} {'has' if len(owners) == 1 else 'have'} {wrong}"
        if wrong == "--version":
            return "that is node-ipc --version"
        return _near(wrong, [flag for flag in self.flags() if flag.startswith("--")])

    def _as_place(self, wrong: str) -> str | None:
        """How a word is given that has its place behind the command, and no flag; None for what is none."""
        for action in self._get_positional_actions():
            if wrong[2:] in PLACES.get(str(action.metavar), "").split():
                places = [each.metavar for each in self._get_positional_actions()]
                return f"{action.metavar} has no flag but its place: {self.prog} {' '.join(map(str, places))}"
        return None

    def _as_option(self, wrong: str) -> str | None:
        """How an option of the configuration is given that was taken for a flag; None for what is none."""
        at = next(at for at, word in enumerate(self._given) if word.partition("=")[0] == wrong)
        text = self._given[at].partition("=")[2] or next(iter(self._given[at + 1 :]), "")
        if (of_tls := FILES_OF_TLS.get(wrong[2:].lower().replace("-", ""))) is not None:
            file = "FILE" if text[:1] in ("", "-") else shlex.quote(text)
            return f"that is an option of TLS: -o tls.{of_tls}={file}"
        try:
            name = Config.name_in_mapping(wrong[2:].replace("-", "_"))
        except UnknownOption:
            return None
        if name is None:
            return None
        fits = text[:1] not in ("", "-") and _takes(Config, name, _meant_by(text, Config, name))
        return f"that is an option of the configuration: -o {name}={shlex.quote(text) if fits else 'VALUE'}"


_FILES_OF_TLS = {
    "trusted_connections": "ca cacert cafile trustedconnections",
    "public": "cert certfile public",
    "private": "key keyfile private",
}
FILES_OF_TLS = {word: name for name, words in _FILES_OF_TLS.items() for word in words.split()}
"""What other programs call the files of TLS, and which option takes each."""

PLACES = {
    "ADDRESS": "to server address target",
    "TYPE": "event type name topic",
    "METHOD": "method name",
    "JSON": "data payload message body params args",
    "FILE": "file out output",
}
"""What other programs call what has a place here."""


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


_OTHERS = {
    "node-ipc listen serves an address": "serve server start run daemon",
    "node-ipc emit sends an event": "send publish broadcast write say",
    "node-ipc request asks and prints the answer": "call ask rpc invoke",
    "node-ipc emit sends an event, and record hears what a server sends": "client connect",
    "node-ipc record hears what a server sends": "receive subscribe tail watch",
    "node-ipc doctor says what is there, also without an address": "ping status check list ls ps",
    "a server ends with Ctrl-C or SIGTERM; node-ipc doctor names its process": "stop kill shutdown",
    "node-ipc top looks at a server that is at work": "monitor stats",
    "node-ipc tap shows what passes between clients and a server": "proxy sniff dump",
    "node-ipc replay sends a recording again": "play playback",
    "node-ipc convert makes other files of a recording": "export",
    "that is node-ipc --version": "version",
}
OTHER_COMMANDS = {word: advice for advice, words in _OTHERS.items() for word in words.split()}
"""What people type who know other programs, and what does that here."""


def _other_command(wrong: str, commands: Collection[str]) -> str | None:
    if (advice := OTHER_COMMANDS.get(wrong.lower())) is not None:
        return advice
    near = _near(wrong, commands)
    return OTHER_COMMANDS.get(slipped(wrong, OTHER_COMMANDS) or "") if near is None else near


def _near(wrong: str, known: Collection[str]) -> str | None:
    near = slipped(wrong, known) or lookalike(wrong, known)
    return None if near is None else f"did you mean {near}?"


def add_command(commands: Commands, name: str, *, help: str, examples: str) -> argparse.ArgumentParser:
    """A command whose help ends with examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=wrapped(f"examples:\n{examples}"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def wrapped(
    text: str, indented: Callable[[str, int], list[str]] | None = None, begins: re.Pattern[str] | None = None
) -> str:
    """A help text for the terminal's width: paragraphs are filled, the comment of a long example goes below it.

    indented: what becomes of an indented line, where those are no examples.
    begins: matches the beginnings of prose that has a line of its own; without it, no such.
    """
    width = max(shutil.get_terminal_size().columns - 2, 20)
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines.append("")
        prose: list[str] = []
        for line in [*paragraph.splitlines(), ""]:
            if not line or line.startswith(" ") or (begins and begins.match(line)):
                lines += broken(" ".join(prose), width)
                prose.clear()
            if line.startswith(" "):
                lines += (indented or _example)(line, width)
            else:
                prose.append(line)
    return "\n".join(lines[1:])


def broken(text: str, width: int, first: int = 0, rest: int = 0) -> list[str]:
    """Text in lines of that width, broken between words only, so many spaces before the first line and the others."""
    before, below = " " * first, " " * rest
    words = textwrap.TextWrapper(width, before, below, break_long_words=False, break_on_hyphens=False)
    return words.wrap(text)


def _example(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    command, _, comment = line.strip().partition("  ")
    *parts, last = broken(command, width - 2, 2, 4)
    return [*(f"{part} \\" for part in parts), last, *broken(comment.strip(), width, 6, 6)]  # as a shell takes it


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """``--config`` and ``--option``."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="a JSON file with options, node-ipc's spelling or Python's"
    )
    parser.add_argument(
        "-o",
        "--option",
        metavar="NAME=VALUE",
        dest="options",
        action="append",
        default=[],
        help="one option, as socket_root=/run/app/, max_connections=5 or tls.public=cert.pem; goes "
        "before --config; may be repeated",
    )


def add_timeout(parser: argparse.ArgumentParser, default: float, help: str) -> None:
    """``--timeout``, whose help says for what."""
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, default=default, help=f"{help} ({default:g})")


def add_several(parser: argparse.ArgumentParser, flag: str, metavar: str, help: str) -> None:
    """A flag that may be repeated: a list of all that was given."""
    parser.add_argument(flag, metavar=metavar, action="append", default=[], help=help)


def configuration(arguments: argparse.Namespace) -> Config:
    """The configuration that ``--config`` and ``--option`` make together.

    Raises:
        UsageError: the file cannot be read, or is no JSON object.
        ConfigError: there is no such option, or it does not take that value.
    """
    config = Config() if arguments.config is None else Config.from_mapping(_mapping(arguments.config))
    # Parts come after wholes: tls.public=… adds to tls={…}, whichever was given first.
    for text in sorted(arguments.options, key=lambda text: _part(text.partition("=")[0]) is not None):
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"an option is NAME=VALUE, as socket_root=/run/app/, not {text!r}")
        if (part := _part(name)) is not None:
            _assign_part(config, *part, value)
        else:
            _assign(config, name, value, arguments)
    return config


def _assign(config: Config, name: str, value: str, arguments: argparse.Namespace) -> None:
    try:
        known = Config.name_in_mapping(name)
    except UnknownOption:
        _refuse_own(name, arguments)
        raise
    given = _delimiter(value) if known == "delimiter" else _meant_by(value, Config, known)
    config.update(**Config.in_mapping({name: given}))


_PARTS: dict[str, type[Options]] = {"tls": TLSOptions, "interfaces": Interfaces}
"""Options that are made of options, which ``-o`` takes one by one: ``tls.public``."""


def _part(name: str) -> tuple[str, str] | None:
    """Whole and part of a name with a dot; None for one without.

    Raises:
        UnknownOption: the whole is none that has parts.
    """
    whole, dot, part = name.partition(".")
    if not dot:
        return None
    if spelt(whole) not in _PARTS:
        known = [f"{whole}.{part}" for whole, owner in _PARTS.items() for part in owner.options]
        near = meant(f"{spelt(whole)}.{spelt(part)}", known)
        hint = "" if near is None else f": did you mean {near!r}?"
        begins = " or ".join(f"{whole}." for whole in _PARTS)
        raise UnknownOption(f"there is no config option {name!r:.80}{hint or f'; those with a dot begin {begins}'}")
    return spelt(whole), part


def _assign_part(config: Config, whole: str, part: str, text: str) -> None:
    kind = _PARTS[whole]
    given = kind.in_mapping({part: _meant_by(text, kind, kind.name_in_mapping(part))})
    if whole == "interfaces":
        config.interfaces.update(**given)
    else:
        old = config.tls if isinstance(config.tls, TLSOptions) else {}
        config.tls = {**old, **given}


def asking_doctor(arguments: argparse.Namespace) -> str:
    """The command that asks about the same address with the same configuration, as a shell takes it, but no secret."""
    config = [] if arguments.config is None else ["--config", str(arguments.config)]
    options = [word for option in arguments.options for word in ("-o", _without_secret(option))]
    return shlex.join(["node-ipc", "doctor", arguments.address, *config, *options])


def _without_secret(option: str) -> str:
    name = option.partition("=")[0]
    part = _part(name)
    owner, known = (Config, Config.name_in_mapping(name)) if part is None else (_PARTS[part[0]], spelt(part[1]))
    return f"{name}=…" if known is not None and owner.options[known].secret else option


def place(address: Any, config: Config, role: Role, no_udp: str = "") -> tuple[Address, Config]:
    """What an address means, or several; raises :class:`UsageError` for one that cannot be read.

    ``no_udp`` says, of ``{}``, why a UDP port will not do, where that is so.
    """
    try:
        where, settings = resolve(address, config, {}, role)
    except AddressError as error:
        raise UsageError(str(error)) from error
    if no_udp and isinstance(where, Udp):
        raise UsageError(no_udp.format(where))
    return where, settings


def told_of_port(*addresses: str) -> None:
    """A number alone is an id: a server is there at once, and whoever meant a port waits for its clients."""
    for address in filter(str.isdecimal, addresses):
        notice(f"{address} is an id: the TCP port is tcp://127.0.0.1:{address}")


def _refuse_own(name: str, arguments: argparse.Namespace) -> None:
    """It may be meant for the command itself: ``-o timout=3``."""
    own = vars(arguments).keys() - NO_FLAGS
    nearest = meant(spelt(name), [*Config.options, *own])
    if nearest in own:
        flag = nearest.replace("_", "-")
        raise UsageError(f"there is no config option {name!r}: did you mean --{flag}, which this command itself takes?")


NO_FLAGS = {"address", "command", "config", "data", "options", "run", "type"}
"""What is known of a command line besides what its flags say."""


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_text_of(path))
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{str(path)!r} must hold one JSON object with options")
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error


def _meant_by(text: str, owner: type[Options], name: str | None) -> Any:
    """The first reading of ``text`` that the option takes: what is a number to one is a passphrase to another.

    JSON goes first, but for a secret, which may look like anything; then the text itself, then the words of Python.
    Where the option takes none of them, the first: the error that follows shows it.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if name is None or (value is text and text not in _WORDS):  # it means nothing here, or can be read in one way only
        return value
    readings = [value, text] + ([_WORDS[text]] if text in _WORDS else [])
    if owner.options[name].secret and not isinstance(value, str):
        readings.reverse()
    return next((reading for reading in readings if _takes(owner, name, reading)), value)


_WORDS = {"True": True, "False": False, "None": None, "inf": math.inf, "math.inf": math.inf}


def _takes(owner: type[Options], name: str, value: Any) -> bool:
    try:
        owner.options[name].check(owner.in_mapping({name: value})[name])
    except (Refused, ConfigError):
        return False
    return True


def _delimiter(text: str) -> Any:
    r"""Control characters are ``\n`` or ``\x1f``, as in Python, since a shell has no easy way; or it is JSON's text."""
    if text[:1] == '"':
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return _ESCAPE.sub(lambda found: found[0].encode().decode("unicode_escape"), text)


def number(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def json_argument(text: str) -> Any:
    """A payload: JSON, ``@FILE`` with JSON in it, or ``-`` for standard input.

    Raises:
        UsageError: it is none of these.
    """
    if text == "-":
        source, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        source = repr(text[1:])
        text = _text_of(Path(text[1:]))
    else:
        source = repr(text)
    try:
        return json.loads(text)
    except ValueError as error:
        if _are_lines_of_json(text):
            raise UsageError(
                f"{source} holds {len(text.splitlines())} lines of JSON, and one event has one payload: make one JSON "
                "list of them (jq -s), or emit once for each line (while read -r line; do …; done)"
            ) from error
        raise UsageError(f"{source} is not JSON: {error}. {_how_json_is_written(text)}") from error


def _how_json_is_written(text: str) -> str:
    if text[:1] in ("{", "["):
        return 'Its names and texts have double quotes, and the whole single ones for the shell, as \'{"a": "b"}\''
    if text[:1] != '"' and text.partition("=")[0].isidentifier() and "=" in text:
        return 'Several values are one object, as \'{"a": 1, "b": 2}\''
    return "Text needs quotes of its own, as '\"hello\"'"


def _are_lines_of_json(text: str) -> bool:
    lines = text.splitlines()
    try:
        return len([json.loads(line) for line in lines]) > 1
    except ValueError:
        return False


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value
