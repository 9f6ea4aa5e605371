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
    return {"options.md": options_page(), **groups(), "errors.md": errors_page(), "commands.md": commands_page()}


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
        made[file_of(heading)] = group(f"Options: {_within(heading)}", about, Config, names)
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


def file_of(heading: str) -> str:
    return f"options-{re.sub('[^a-z]+', '-', heading.lower()).strip('-')}.md"


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
        parts += [f"## {heading}", _table(Config, names, file_of(heading))]
        toctree.append(file_of(heading).removesuffix(".md"))
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


def errors_page() -> str:
    kinds = [getattr(errors, name) for name in errors.__all__]
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    tree = re.sub(r"(?<=[\w)])  +.*", "", tree)  # what each means is in the table
    rows = ["| code | error | meaning |", "|---|---|---|"]
    for code, kind in sorted(codes(kinds)):
        what = first_line(inspect.getdoc(getattr(errors, kind)) or "")
        rows.append(f"| `{code}` | [`{kind}`](#{kind.lower()}) | {cell(what)} |")
    parts = [NOTE, "# Errors", ERRORS_INTRODUCTION, f"```text\n{inspect.cleandoc(tree)}\n```", "## Codes"]
    parts += ["\n".join(rows), "## Each error"]
    for kind in kinds:
        code = "The code is the other side's" if kind is errors.RemoteError else f"`{kind.code}`"
        parts += [f"### {kind.__name__}", f"{code}. {bases(kind)}"]
        parts.append(markdown(inspect.getdoc(kind) or ""))
    return filled("\n\n".join(parts))


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

In a terminal `node-ipc help AddressInUse` or `node-ipc help ERR_IPC_ADDRESS_IN_USE` explains one."""


# --- commands


def commands_page() -> str:
    parts = [NOTE, "# Commands", COMMANDS_INTRODUCTION]
    parsers = command_parsers()
    parts += ["## Options of all", COMMON_INTRODUCTION, table(common(parsers["emit"]))]
    for name, parser in parsers.items():
        parts += [f"## {name}", parser.description or "", f"```sh\n{usage(name, parser)}\n```", flags(parser)]
        parts += examples(parser)
    return filled("\n\n".join(parts))


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
    return table(own) + ("\n\nAnd [`--config` and `-o`](#options-of-all)." if common(parser) else "")


def table(actions: list[argparse.Action]) -> str:
    rows = ["| argument | meaning |", "|---|---|"]
    for action in actions:
        names = ", ".join(f"`{name}`" for name in called(action))
        value = f" `{_value(action)}`" if action.option_strings and action.nargs != 0 else ""
        rows.append(f"| {cell(names + value)} | {cell(action.help or '')} |")
    return "\n".join(rows)


def examples(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Command lines in a block, and the prose between and behind them."""
    for block in (parser.epilog or "").partition("examples:")[2].strip("\n").split("\n\n"):
        if block.startswith("  "):
            lines = textwrap.dedent(block).splitlines()
            yield "```sh\n" + "\n".join(re.sub(r"(?<=\S)  +(?=\S)", "  # ", line) for line in lines) + "\n```"
        else:
            yield "\n".join(textwrap.wrap(block, 118))


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
