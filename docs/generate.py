"""Writes the pages of docs/reference that say what the code says: ``python docs/generate.py``.

Options, errors and commands come from their docstrings and from argparse; a test compares (``tests/documents``). Edit
the docstrings, run this, and commit both. ``--check`` writes nothing, and ends with 1 where a page is not up to date.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import textwrap
import unittest.mock
from collections.abc import Iterator
from pathlib import Path

from node_ipc import errors
from node_ipc.config.config import Config, Interfaces
from node_ipc.config.options import Options
from node_ipc.config.tls_options import TLSOptions
from node_ipc.tools import cli
from node_ipc.tools.help import kinds_of_errors

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py from the docstrings: edit those. -->"


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, "utf-8")
    for name in stale:
        print(f"docs/reference/{name} {'is not up to date' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


def pages() -> dict[str, str]:
    """Every page that is made, by the name of its file."""
    return {
        **{"options.md": options_page(), **groups()},
        **{"errors.md": errors_page(), **areas()},
        **{"commands.md": commands_page(), **purposes()},
    }


# --- markup: what docstrings say, as Markdown


def markdown(text: str) -> str:
    """Prose of a docstring; its fields (``Unit:``, ``Read by:`` …) as a list, its example as a block."""
    text, _, example = text.partition("\nExample:\n")
    blocks = [_block(block) for block in inline(text).split("\n\n")]
    if example:
        blocks.append(f"```pycon\n{inspect.cleandoc(example)}\n```")
    return "\n\n".join(blocks)


def inline(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _block(block: str) -> str:
    entries = re.split(rf"\n(?={FIELDS}: )", block)
    prose = [] if re.match(f"{FIELDS}: ", block) else [entries.pop(0)]
    fields = [re.sub(rf"^({FIELDS}): ", r"- **\1:** ", " ".join(entry.split())) for entry in entries]
    return "\n\n".join(part for part in [*prose, "\n".join(fields)] if part)


FIELDS = "(?:Unit|Read by|Takes|Default|Met at|What to do)"


def first_line(text: str) -> str:
    return " ".join(inline(text.partition("\n\n")[0]).split())


def field(text: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*?)\.?$(?=\n{FIELDS}:|\nExample:|\n\n|\Z)", inline(text), re.M | re.S)
    return " ".join(found[1].split()) if found else ""


def cell(text: str) -> str:
    return text.replace("|", r"\|")


def filled(text: str) -> str:
    return text.rstrip() + "\n"


# --- options


def sections() -> Iterator[tuple[str, list[str]]]:
    """The options of ``Config`` under the headings that its source has."""
    heading, names = "", []
    for line in inspect.getsource(Config).splitlines():
        if found := re.fullmatch(r"    # ([A-Z].*)", line):
            if names:
                yield heading, names
            heading, names = found[1], []
        elif (found := re.match(r"    (\w+): Option\[", line)) is not None:
            names.append(found[1])
    yield heading, names


def groups() -> dict[str, str]:
    """One page for each heading, and one for each kind of options within an option."""
    made = {}
    for heading, names in sections():
        about = f"Options of `node_ipc.Config`, each with what it takes and who reads it: {', '.join(names)}."
        about += LED_ON.get(heading, "")
        made[page_of("options", heading)] = group(f"Options: {_within(heading)}", about, Config, names)
    made["options-interfaces.md"] = group(
        "Options: interfaces", f"What `config.interfaces` holds. {first_line(Interfaces.__doc__ or '')}", Interfaces
    )
    made["options-tls.md"] = group(
        "Options: TLS",
        "What `config.tls` holds. Certificates, and what mistakes say, are in [TLS](../tls.md).",
        TLSOptions,
    )
    return made


LED_ON = {
    "Who may connect": "\nHow they let in another user of the machine: [Who may connect](../howto/who-may-connect.md)."
}
"""What the page of a heading says besides."""


def _within(heading: str) -> str:
    """A heading as it stands after a colon; one that begins with a name, UDP, as it is."""
    return heading if heading[:2].isupper() else heading[0].lower() + heading[1:]


def page_of(kind: str, heading: str) -> str:
    return f"{kind}-{re.sub('[^a-z]+', '-', heading.lower()).strip('-')}.md"


def group(heading: str, about: str, owner: type[Options], names: list[str] | None = None) -> str:
    parts = [NOTE, f"# {heading}", about]
    for name in names or [*owner.options]:
        parts += [f"## {owner.full_name(name)}", markdown(owner.options[name].explained())]
        if "_" in name:
            parts[-1] += f"\n- **In JSON also:** `{camel(name)}`" if "```" not in parts[-1] else ""
    return filled("\n\n".join(parts))


def camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def options_page() -> str:
    parts = [NOTE, "# Options", OPTIONS_INTRODUCTION]
    toctree = []
    for heading, names in sections():
        parts += [f"## {heading}", _table(Config, names, page_of("options", heading))]
        toctree.append(page_of("options", heading).removesuffix(".md"))
    for heading, owner, file in (
        ("Interfaces", Interfaces, "options-interfaces.md"),
        ("TLS options", TLSOptions, "options-tls.md"),
    ):
        parts += [f"## {heading}", _table(owner, [*owner.options], file)]
        toctree.append(file.removesuffix(".md"))
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(toctree) + "\n```")
    return filled("\n\n".join(parts))


def _table(owner: type[Options], names: list[str], file: str) -> str:
    rows = ["| option | meaning | default | unit |", "|---|---|---|---|"]
    for name in names:
        text = owner.options[name].explained()
        full = owner.full_name(name)
        anchor = full.replace(".", "").lower()
        said = re.search(r"(?i)default: (.*?)[.;\n]|\(the default\)", first_line(text) + "\n")
        default = field(text, "Default") or (said[1] or "" if said else "")
        unit = field(text, "Unit").partition(" as ")[0]
        cells = [f"[`{full}`]({file}#{anchor})", first_line(text), default, unit]
        rows.append("| " + " | ".join(cell(each) for each in cells) + " |")
    return "\n".join(rows)


OPTIONS_INTRODUCTION = """\
Every option of `node_ipc.Config`. Options are set on `ipc.config`, given to `connect` and `serve` by name
(`node_ipc.connect("world", retry=100)`), read from JSON by `Config.from_mapping`, or set by a command's
`-o NAME=VALUE`.
A misspelt name is an error that names the right one, and a value that is not allowed changes nothing.

Times are milliseconds and sizes are bytes; `math.inf` is no limit where an option is one. An endpoint takes a copy when
it is made: what is set later is for later ones, but for what says otherwise.

In a terminal `node-ipc help NAME` explains one, and in Python `help(node_ipc.Config)` all. What node-ipc calls them,
and where the defaults differ, is in [node-ipc's options](../howto/node-ipc-options.md)."""


# --- errors


def errors_of() -> dict[str, list[type[errors.IPCError]]]:
    """The errors under the headings of their source, the root under none; last those of other modules."""
    found: dict[str, list[type[errors.IPCError]]] = {}
    within = ""
    for line in inspect.getsource(errors).splitlines():
        if heading_found := re.fullmatch(r"# --- (.*)", line):
            within = heading_found[1]
        elif named := re.match(r"class (\w+)", line):
            found.setdefault(within, []).append(getattr(errors, named[1]))
    found["Contracts, recordings and tests"] = [
        kind for kind in kinds_of_errors() if kind.__module__ != errors.__name__
    ]
    return found


def errors_page() -> str:
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    tree = re.sub(r"(?<=[\w)])  +.*", "", tree)  # what each means is in the table
    places = {kind.__name__: heading for heading, kinds in errors_of().items() for kind in kinds}
    rows, seen = ["| code | error | meaning |", "|---|---|---|"], {"IPCError"}
    kinds = {kind.__name__: kind for kind in kinds_of_errors()}
    named = [(f"`{code}`", kind) for code, kind in sorted(codes([*kinds.values()]))]
    for code, kind in [*named, ("the other side's", "RemoteError")]:
        what = first_line(inspect.getdoc(kinds[kind]) or "")
        page = page_of("errors", places[kind]) if places[kind] else ""
        place = "" if kind in seen else f"{{#{kind.lower()}}}"  # errors.html#connecterror leads here, too
        seen.add(kind)
        rows.append(f"| {code} | [`{kind}`]({page}#{kind.lower()}){place} | {cell(what)} |")
    parts = [NOTE, "# Errors", ERRORS_INTRODUCTION, "## Codes", "\n".join(rows)]
    parts += ["## Which is a kind of which", f"```text\n{inspect.cleandoc(tree)}\n```", "## The root"]
    parts += [part for kind in errors_of()[""] for part in entry(kind)]
    parts.append(contents("errors", [heading for heading in errors_of() if heading]))
    return filled("\n\n".join(parts))


def areas() -> dict[str, str]:
    """One page for each heading of the errors' source."""
    made = {}
    for heading, kinds in errors_of().items():
        if heading:
            names = ", ".join(f"`{kind.__name__}`" for kind in kinds)
            about = f"Where you meet each of these errors, and what to do: {names}. [Every code](errors.md#codes)."
            parts = [NOTE, f"# Errors: {_within(heading)}", about, *(part for kind in kinds for part in entry(kind))]
            made[page_of("errors", heading)] = filled("\n\n".join(parts))
    return made


def entry(kind: type[errors.IPCError]) -> list[str]:
    code = "The code is the other side's" if kind is errors.RemoteError else f"`{kind.code}`"
    level = "###" if kind is errors.IPCError else "##"
    return [f"{level} {kind.__name__}", f"{code}. {bases(kind)}", markdown(inspect.getdoc(kind) or "")]


def contents(kind: str, headings: list[str]) -> str:
    names = [page_of(kind, heading).removesuffix(".md") for heading in headings]
    return "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```"


def codes(kinds: list[type[errors.IPCError]]) -> Iterator[tuple[str, str]]:
    for kind in kinds:
        if kind is not errors.RemoteError:  # whose code is the other side's
            yield kind.code, kind.__name__
        for code in re.findall(r"Code ``(ERR_\w+)``", inspect.getdoc(kind) or ""):
            yield code, kind.__name__


def bases(kind: type[BaseException]) -> str:
    named = [f"`{base.__name__}`" for base in kind.__bases__]
    return f"Caught by `except` of {' and '.join(named)}."


ERRORS_INTRODUCTION = """\
Whatever this library raises or reports is an `IPCError`, and inherits the built-in that Python has for it
(`ConnectionError`, `TimeoutError`, `ValueError` …). The message says what to do next; `error.code` is for programs, the
same as node-ipc 14's where there is one, and `error.os_code` is what the operating system said (`"ECONNREFUSED"`). What
the kernel, a handler or OpenSSL raised is the `__cause__`.

The codes below lead to each error: where you meet it, and what to do. The tree at the end has those of `node_ipc`;
contracts, recordings and tests have one more each. In a terminal `node-ipc help AddressInUse` or
`node-ipc help ERR_IPC_ADDRESS_IN_USE` explains one."""


# --- commands


PURPOSES = {
    "Talking": ("demo", "listen", "emit", "request"),
    "Looking": ("doctor", "tap", "top"),
    "Recording": ("record", "replay", "convert"),
    "Explaining": ("help", "contract"),
}


def commands_page() -> str:
    parsers = command_parsers()
    unplaced = {*parsers} - {name for names in PURPOSES.values() for name in names}
    if unplaced:
        raise SystemExit(f"docs/generate.py: put {', '.join(sorted(unplaced))} under one of PURPOSES")
    parts = [NOTE, "# Commands", COMMANDS_INTRODUCTION]
    for heading, names in PURPOSES.items():
        rows = ["| command | what it does |", "|---|---|"]
        page = page_of("commands", heading)
        rows += [
            f"| [`{name}`]({page}#{name}){{#{name}}} | {cell(parsers[name].description or '')} |" for name in names
        ]
        parts += [f"## {heading}", "\n".join(rows)]
    parts += ["## Options of all", COMMON_INTRODUCTION, table(common(parsers["emit"]))]
    parts.append(contents("commands", [*PURPOSES]))
    return filled("\n\n".join(parts))


def purposes() -> dict[str, str]:
    """One page for each kind of commands."""
    parsers = command_parsers()
    made = {}
    for heading, names in PURPOSES.items():
        listed = ", ".join(f"`{name}`" for name in names)
        about = f"These commands with each of their arguments, and examples: {listed}. [All commands](commands.md)."
        parts = [NOTE, f"# Commands: {_within(heading)}", about]
        for name in names:
            parser = parsers[name]
            parts += [f"## {name}", parser.description or "", f"```sh\n{usage(name, parser)}\n```", flags(parser)]
            parts += examples(parser)
        made[page_of("commands", heading)] = filled("\n\n".join(parts))
    return made


def command_parsers() -> dict[str, argparse.ArgumentParser]:
    with unittest.mock.patch.dict(os.environ, COLUMNS="1000"):  # examples are broken for it
        parser = cli.command_line()
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(commands.choices)


def usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = [f"node-ipc {name}"]
    for action in shown(parser):
        word = called(action)[0] if action.option_strings else _repeated(action)
        if action.option_strings and action.nargs != 0:
            word += " " + _repeated(action)
        words.append(word if action.required and action.nargs != "?" else f"[{word}]")
    return " ".join(words)


def _repeated(action: argparse.Action) -> str:
    name = _value(action)
    return {"*": f"{name} ...", "+": f"{name} ..."}.get(str(action.nargs), name)


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(str(choice) for choice in action.choices)
    return action.dest.upper()


def shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Every argument of its own: not --help, which all have."""
    return [action for action in parser._actions if action.dest != "help"]


def called(action: argparse.Action) -> list[str]:
    return list(action.option_strings) or [_value(action)]


def common(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What ``add_configuration`` gives to many commands."""
    return [action for action in shown(parser) if action.dest in ("config", "options")]


def flags(parser: argparse.ArgumentParser) -> str:
    own = [action for action in shown(parser) if action not in common(parser)]
    return table(own) + ("\n\nAnd [`--config` and `-o`](commands.md#options-of-all)." if common(parser) else "")


def table(actions: list[argparse.Action]) -> str:
    rows = ["| argument | meaning |", "|---|---|"]
    for action in actions:
        names = ", ".join(f"`{name}`" for name in called(action))
        value = f" `{_value(action)}`" if action.option_strings and action.nargs != 0 else ""
        rows.append(f"| {cell(names + value)} | {cell(literal(action.help or ''))} |")
    return "\n".join(rows)


def literal(text: str) -> str:
    """What is typed or printed as it stands, flags and objects of JSON, marked as that: it is no prose."""
    return re.sub(r"""\{"[^}]*\}|(?<![`\w-])--[a-z][a-z-]*""", r"`\g<0>`", text)


def examples(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Command lines in a block, and the prose between and behind them."""
    for block in (parser.epilog or "").partition("examples:")[2].strip("\n").split("\n\n"):
        if block.startswith("  "):
            lines = textwrap.dedent(block).splitlines()
            yield "```sh\n" + "\n".join(re.sub(r"(?<=\S)  +(?=\S)", "  # ", line) for line in lines) + "\n```"
        else:
            yield "\n".join(textwrap.wrap(literal(block), 118))


COMMON_INTRODUCTION = (
    "Commands that make a client or a server take the [options](options.md) of both, in these two ways:"
)
COMMANDS_INTRODUCTION = """\
The package installs one program, `node-ipc` (`python -m node_ipc` is the same). An `ADDRESS` is an id, a path,
`pipe:name`, `tcp://host:port`, `tls://host:port`, `udp4://host:port` or `udp6://[host]:port`.

What was asked for goes to standard output, messages for people to standard error, both without a peer's control
characters. Exit codes: 0 done; 1 failed (no server, refused, no answer in time); 2 wrong arguments; 130 ended with
Ctrl-C. `--version` names the version, and `node-ipc COMMAND --help` says what is here."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
