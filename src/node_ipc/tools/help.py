"""The command ``help``: the pages of the documentation in short, and every command, option, error, name and verb.

Pages are the texts of ``topics``, shipped with the package. What an option, an error or a name says comes from its
docstring, so ``help()`` in Python and this command cannot disagree.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import resources
from inspect import getattr_static
from typing import Any, TypeAlias

from msgspec import UNSET

import node_ipc

from .. import errors
from ..config.config import Config, Interfaces
from ..config.options import Options, spelt
from ..config.tls_options import TLSOptions
from ..core.endpoint import BETWEEN_PARTS
from ..core.session import FOR_USERS
from .arguments import Commands, UsageError, add_command, broken, wrapped

__all__ = ["WORDS", "add_commands", "filled", "kinds_of_errors", "options", "topics", "verbs"]

EXAMPLES = """\
  node-ipc help                          what there is to read about
  node-ipc help delivery                 one topic
  node-ipc help max_pending_bytes        an option: what it means, its unit, its default
  node-ipc help ERR_IPC_ADDRESS_IN_USE   an error, by its code or its class
  node-ipc help receive                  a verb of a client, server or socket
  node-ipc help doctor                   a command; as node-ipc doctor --help
"""
Texts: TypeAlias = dict[str, Callable[[], str]]
"""What can be asked for, and what makes its text."""


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "help", help="explain a topic, a command, an option, an error or a verb", examples=EXAMPLES
    )
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="what to read about; all topics if left out")
    parser.set_defaults(run=partial(_run, commands))


def _run(commands: Commands, arguments: argparse.Namespace) -> int:
    if arguments.topic is None:
        print(_contents(commands))
        return 0
    found = [explain() for explain in _meant(arguments.topic, commands)]
    print(filled("\n\n".join(found)))
    return 0


def _contents(commands: Commands) -> str:
    lines = [f"  {name:<14} {title}" for name, title in topics().items()]
    more = [
        "  options        every option",
        "  errors         every error and its code",
        f"  commands       {', '.join(name for name in commands.choices)}",
    ]
    return filled("\n".join(["node-ipc help TOPIC shows one of these:", "", *lines, *more, "", *_ALSO.splitlines()]))


_ALSO = """\
or an option (retry, tls.private), an error (NotConnected, ERR_IPC_INVALID_JSON), a command, a name of node_ipc
(connect, Stats), or a verb of a client, server or socket (receive, broadcast)."""


def topics() -> dict[str, str]:
    """The pages that are shipped, by name, and what each says it is about."""
    return {name: _page(name).partition("\n")[0].rstrip(".") for name in sorted(_pages())}


def _pages() -> Iterator[str]:
    for file in resources.files(__package__).joinpath("topics").iterdir():
        if file.name.endswith(".txt"):
            yield file.name.removesuffix(".txt")


def _page(name: str) -> str:
    text = resources.files(__package__).joinpath("topics", f"{name}.txt").read_text("utf-8")
    if name == "tls":
        text += "\n" + _listed((name, option.explained()) for name, option in TLSOptions.options.items())
    return text.rstrip()


# --- what was asked for


def _meant(topic: str, commands: Commands) -> list[Callable[[], str]]:
    """All that has this name: ``tls`` is a topic and an option."""
    public = node_ipc.__all__  # type: ignore[attr-defined]  # only at run time
    shelves: tuple[Texts, ...] = (
        {name: partial(_page, name) for name in _pages()} | {"options": _all_options, "errors": _all_errors},
        _commands(commands),
        {name: partial(_option, owner, option) for name, owner, option in options()},
        _errors(),
        {name: partial(_name, name) for name in public if name not in errors.__all__},
        verbs(),
        {word: partial(_page, page) for page, words in WORDS.items() for word in words},
    )
    for alike in ALIKE:
        found = [shelf[name] for shelf in shelves for name in shelf if alike(topic, name)]
        if found:
            return found
    known = sorted({name for shelf in shelves for name in shelf})
    near = difflib.get_close_matches(topic, known, 3, 0.6) or difflib.get_close_matches(spelt(topic), known, 3, 0.6)
    mentioned = _mentioned(topic)
    if mentioned or not near:
        raise UsageError(f"there is no topic {topic!r}{mentioned}; node-ipc help lists what there is")
    raise UsageError(f"there is no topic {topic!r}: did you mean {' or '.join(near)}? node-ipc help lists all")


def _mentioned(word: str) -> str:
    """Which pages speak of it."""
    if len(word) < LEAST_LETTERS:
        return ""
    pages = [page for page in sorted(_pages()) if word.casefold() in _page(page).casefold()][:MOST_PAGES]
    return f", and {' and '.join(pages)} speak{'s' if len(pages) == 1 else ''} of it" if pages else ""


LEAST_LETTERS = 3
MOST_PAGES = 4
ALIKE: tuple[Callable[[str, str], bool], ...] = (
    lambda topic, name: topic == name,
    lambda topic, name: topic.lower() == name.lower(),
    lambda topic, name: spelt(topic) == name,
)
"""What is looked for first: the very name, then one in another case, then one in another spelling."""


WORDS = {
    "addresses": ("address", "pipe", "port", "socket", "tcp", "unix"),
    "arrays": ("array", "binary", "bytes", "files", "image", "images", "numpy"),
    "daemon": (
        *("background", "container", "containers", "ctrl-c", "docker", "kubernetes", "service", "shutdown", "sigint"),
        *("signal", "signals", "sigterm", "systemd"),
    ),
    "delivery": ("lost", "order", "ordering", "reconnect", "reconnection"),
    "events": ("handler", "handlers", "star"),
    "fronts": ("async", "asyncio", "await", "blocking", "callback", "callbacks", "sync", "threads", "uvloop", "verbs"),
    "latest": ("camera", "frames", "keep", "newest", "video"),
    "limits": ("backpressure", "memory", "slow"),
    "logging": ("debug", "log", "logs"),
    "metrics": ("monitoring", "opentelemetry", "otel", "prometheus", "tracing"),
    "node": ("javascript", "nodejs", "typescript"),
    "recordings": ("recording",),
    "requests": ("rpc", "progress"),
    "rooms": ("room",),
    "security": ("permission", "permissions", "users"),
    "testing": ("fixture", "fixtures", "ipc_pair", "ipc_server", "pytest", "tests"),
    "timeouts": ("seconds", "timeout"),
    "tls": ("certificate", "certificates", "ssl"),
    "types": ("msgspec", "pydantic", "struct", "typed"),
    "workers": ("fork", "multiprocessing", "workers.run"),
}
"""What else a page is looked for under. A word may be an option or a name, too: then both are shown."""


def _commands(commands: Commands) -> Texts:
    found: Texts = {name: parser.format_help for name, parser in commands.choices.items()}
    overview = [f"  {name:<14} {parser.description}" for name, parser in commands.choices.items()]
    return {**found, "commands": lambda: "\n".join(["The commands of node-ipc:", "", *overview])}


def options() -> Iterator[tuple[str, type[Options], str]]:
    """Every option, under the name that messages give it: ``retry``, ``interfaces.family``, ``tls.private``."""
    for owner in (Config, Interfaces, TLSOptions):
        for name in owner.options:
            yield owner.full_name(name), owner, name


def _option(owner: type[Options], name: str) -> str:
    return f"The option {owner.full_name(name)}.\n\n{owner.options[name].explained()}"


def _all_options() -> str:
    return "Every option; node-ipc help NAME tells the rest of it.\n\n" + _listed(
        (name, owner.options[option].explained()) for name, owner, option in options()
    )


def kinds_of_errors() -> list[type[errors.IPCError]]:
    """Every error with a code of its own: those of ``errors``, and those that only one part of the package raises."""
    from ..contract import ContractError
    from ..recording import RecordingError
    from ..testing import NothingHappens

    return [*(getattr(errors, name) for name in errors.__all__), ContractError, RecordingError, NothingHappens]


def _errors() -> Texts:
    kinds = kinds_of_errors()
    by_name: Texts = {kind.__name__: partial(_error, kind) for kind in kinds}
    by_code: Texts = {kind.code: partial(_error, kind) for kind in kinds if kind is not errors.RemoteError}
    also: Texts = {
        "ERR_IPC_TLS_CONFIGURATION": partial(_error, errors.ConfigError),
        "ERR_IPC_ASSURED_TLS": partial(_error, errors.AssuredError),
    }
    return {**by_name, **by_code, **also}


def _error(kind: type[errors.IPCError]) -> str:
    built_in = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    also = "" if built_in is Exception else f"; except {built_in.__name__} catches it, too"
    code = getattr(kind, "code", "with the other side's code")
    return f"The error {kind.__name__}, {code}{also}.\n\n{inspect.getdoc(kind)}"


def _all_errors() -> str:
    kinds = kinds_of_errors()
    return "Every error; node-ipc help NAME tells what to do.\n\n" + _listed(
        (f"{kind.__name__}", inspect.getdoc(kind) or "") for kind in kinds
    )


def verbs() -> Texts:
    """The methods of what ``connect``, ``serve`` and ``IPC`` make, each with all that have one of its name."""
    owners = {
        "client": node_ipc.AsyncClient,
        "blocking client": node_ipc.blocking.Client,
        "server": node_ipc.AsyncServer,
        "socket": node_ipc.Socket,
        "ipc": node_ipc.IPC,
    }
    names = {name for kind in owners.values() for name in dir(kind) if not name.startswith("_")}
    found: Texts = {}
    for name in names - _INSIDE:
        kinds = {
            owner: kind
            for owner, kind in owners.items()
            if inspect.isfunction(inspect.unwrap(getattr_static(kind, name, None)))  # the native twin wraps its own
            and (name in FOR_USERS if kind is node_ipc.Socket else name not in BETWEEN_PARTS)
        }
        if kinds:
            found[name] = partial(_verb, name, kinds)
    return found


_INSIDE = {"ask_in_turn", "connect", "interrupted", "log_payloads", "sockets_in", "start"}
"""Methods that are public between the parts of the library, or that ``connect`` and ``serve`` have called."""


def _verb(name: str, owners: dict[str, Any]) -> str:
    """The method's calls and its docstring; those that say the same stand together."""
    calls: dict[str, list[str]] = {}
    for owner, kind in owners.items():
        method = getattr(kind, name)
        wait = "await " if inspect.iscoroutinefunction(method) else ""
        calls.setdefault(inspect.getdoc(method) or "", []).append(f"  {wait}{owner}.{name}{_parameters(method)}")
    return "\n\n".join("\n".join(of) + f"\n\n{text}" for text, of in calls.items())


def _parameters(method: Any) -> str:
    """As it is called: no ``self``, no types, and nothing of what catches mistakes."""
    shown: list[str] = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.name == "misspelt":
            continue
        starred = any(text.startswith("*") for text in shown)
        if parameter.name == "misplaced" or (parameter.kind is parameter.KEYWORD_ONLY and not starred):
            shown.append("*")
        if parameter.name != "misplaced":
            default = parameter.empty if parameter.default is UNSET else parameter.default
            shown.append(str(parameter.replace(annotation=parameter.empty, default=default)))
    return f"({', '.join(shown)})"


def _name(name: str) -> str:
    value: Any = getattr(node_ipc, name)
    try:
        call = f"{name}{inspect.signature(value)}" if inspect.isroutine(value) else f"node_ipc.{name}"
    except (TypeError, ValueError):
        call = f"node_ipc.{name}"
    return f"{call}\n\n{inspect.getdoc(value) or ''}"


def _listed(entries: Iterable[tuple[str, str]]) -> str:
    first = ((name, text.partition("\n\n")[0].split()) for name, text in entries)
    return "\n".join(f"  {name:<25} {' '.join(words)}" for name, words in first)


# --- on the screen


def filled(text: str) -> str:
    """A text for the terminal's width: prose is filled, an indented line stays as it is, or is broken with its indent.

    What docstrings mark up is shown as it is meant: no roles, no doubled quotes.
    """
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text).replace("``", "`")
    return wrapped("\n\n".join(map(_joined, text.split("\n\n"))), _indented, _FIELD)


_ENTRY = re.compile(r" {4}[\w, ]+: ")
_FIELD = re.compile(r"(Unit|Read by|Takes|Default|Example|Met at|What to do|Args|Attributes|Raises|Returns):")


def _joined(paragraph: str) -> str:
    """The entries of ``Args:`` and its like, each on one line again."""
    if not re.search(r"^(Args|Attributes|Raises|Returns):$", paragraph, re.M):
        return paragraph
    return re.sub(r"\n {8,}", " ", paragraph)


def _indented(line: str, width: int) -> list[str]:
    """A line of a table is broken in its last column, an entry of ``Args:`` hangs; one of code stays as it is."""
    if _ENTRY.match(line):
        return broken(line, width, 0, 8)
    table = re.match(r"( +\S+(?: \S+)* {2,})(\S.*)", line)
    if len(line) <= width or table is None or len(table[1]) > width - 20:
        return [line]
    first, *rest = broken(table[2], width - len(table[1]))
    return [table[1] + first, *(" " * len(table[1]) + part for part in rest)]
