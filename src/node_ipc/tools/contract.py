"""``node-ipc contract``: the types of a server for the other side, written to files or checked against them."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import json
import math
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import IPCError
from .arguments import Commands, UsageError, add_command, add_configuration, configuration, seconds
from .output import as_far_as_read, notice, printable
from .waiting import run

if TYPE_CHECKING:
    from ..contract import Contract

__all__ = ["add_commands", "contract_at"]

EXAMPLES = """\
  node-ipc contract app:server                                  show what is registered there
  node-ipc contract app:register --typescript world.d.ts        types for npm's node-ipc
  node-ipc contract app:register --typescript world.ts          types, and a client with requests
  node-ipc contract app:register --asyncapi world.json --html world.html --json-schema world.schema.json
  node-ipc contract app:register --typescript world.d.ts --check    exit code 1 if the file is not up to date
  node-ipc contract --at world                                  show what the server at work there says of itself
  node-ipc contract --at tcp://127.0.0.1:8000 --python world.py    its Structs and Events, for a client of your own
  node-ipc contract --from asyncapi.yaml --python world.py      the same of a document

TARGET is MODULE:NAME, and NAME a server, a client, an IPC, a Contract, or a function that registers handlers on the
server it is given; or MODULE alone, whose Event objects go both ways. FILE may be - for standard output. A server at
work is asked for its rpc.describe, which it answers after node_ipc.contract.describe(server).
"""


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "contract", help="give out the types of a server, for TypeScript and others", examples=EXAMPLES
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="what has the handlers: MODULE:NAME, or MODULE")
    parser.add_argument("--typescript", metavar="FILE", help="types (.d.ts), or types and a client (.ts)")
    parser.add_argument("--json-schema", metavar="FILE", help="JSON Schema 2020-12")
    parser.add_argument("--asyncapi", metavar="FILE", help="an AsyncAPI document, as JSON or (.yaml) as YAML")
    parser.add_argument("--html", metavar="FILE", help="one page for people")
    parser.add_argument("--from", metavar="FILE", dest="source", help="an AsyncAPI document to read")
    parser.add_argument("--at", metavar="ADDRESS", help="ask the server at work there: an id, a path or a URL")
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, default=5.0, help="for --at (5)")
    parser.add_argument("--python", metavar="FILE", help="Structs and Events, of the document of --from or --at")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 and a diff if a file differs")
    parser.add_argument("--name", metavar="ID", help="the server's id (the one in its address, or 'world')")
    parser.add_argument("--title", metavar="TEXT", help="what readers see (the id)")
    parser.add_argument("--contract-version", metavar="TEXT", help="of the contract (1.0.0)")
    parser.add_argument(
        "--asyncapi-version", choices=("3.0.0", "3.1.0"), default="3.0.0", help="which AsyncAPI to write (3.0.0)"
    )
    parser.add_argument("--client", action="store_true", help="NAME is a function that takes a client, not a server")
    add_configuration(parser)
    parser.set_defaults(run=_contract)


def _contract(arguments: argparse.Namespace) -> int:
    _refuse_nonsense(arguments)
    with _notices():
        if arguments.source:
            from ..contract import python_of

            texts = {arguments.python: python_of(_read_document(arguments.source), name=arguments.name)}
        else:
            texts = _from_server(arguments) if arguments.at else _from_code(arguments)
    if arguments.check:
        return _check(texts)
    _write(texts)
    return 0


def _refuse_nonsense(arguments: argparse.Namespace) -> None:
    written = [arguments.typescript, arguments.json_schema, arguments.asyncapi, arguments.html]
    if arguments.at:
        if arguments.target or arguments.source:
            raise UsageError("--at asks a server at work: it goes without TARGET and without --from")
        written.append(arguments.python)
    elif arguments.source:
        if arguments.target or any(written):
            raise UsageError("--from makes Python of a document: it goes with --python FILE and without TARGET")
        if not arguments.python:
            raise UsageError("--from needs --python FILE, where the Structs and Events go; - is standard output")
        written = [arguments.python]
    elif arguments.python:
        raise UsageError("--python needs --from FILE, the AsyncAPI document to read, or --at ADDRESS, a server to ask")
    elif not arguments.target:
        raise UsageError("say what has the handlers, as app:server, or --at ADDRESS or --from FILE")
    if not arguments.target and (arguments.title or arguments.contract_version or arguments.client):
        raise UsageError(
            "--title, --contract-version and --client go with a TARGET: a server at work and a document say it"
        )
    if arguments.check and not any(file and file != "-" for file in written):
        raise UsageError("--check compares files: name one, as --typescript world.d.ts")
    files = [os.path.realpath(file) for file in written if file and file != "-"]
    if len(set(files)) < len(files):
        raise UsageError("two formats cannot go into one file")


@contextlib.contextmanager
def _notices() -> Iterator[None]:
    """What a format cannot say goes to standard error, and so does what the code prints when it is loaded."""
    from ..contract import ContractWarning

    told: set[str] = set()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("always", ContractWarning)
        show = warnings.showwarning

        def tell(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, ContractWarning):
                show(message, category, *rest, **more)
            elif str(message) not in told:
                told.add(str(message))
                notice(f"node-ipc contract: {message}")

        warnings.showwarning = tell
        yield


MOST_NODES = 1_000_000
"""Values of a document in YAML: aliases make billions of a few lines, and no contract has so many."""


# ---- what is written


def _from_code(arguments: argparse.Namespace) -> dict[str, str]:
    found = contract_at(
        arguments.target,
        name=arguments.name,
        role="client" if arguments.client else "server",
        title=arguments.title,
        version=arguments.contract_version or "1.0.0",
    )
    return _texts(arguments, _writers(found, arguments)) or {"-": _summary(found)}


def _from_server(arguments: argparse.Namespace) -> dict[str, str]:
    """Of a server at work: its document as it is, and everything else made of that."""
    from ..contract import contract_of, python_of
    from .described import described_at

    document = run(described_at(arguments.at, configuration(arguments), arguments.timeout))
    found = contract_of(document, name=arguments.name)
    write = _writers(found, arguments)
    write["asyncapi"] = lambda file: _document({**document, "asyncapi": arguments.asyncapi_version}, file)
    write["python"] = lambda file: python_of(document, name=arguments.name)
    return _texts(arguments, write) or {"-": _summary(found)}


def _writers(found: Contract, arguments: argparse.Namespace) -> dict[str, Callable[[str], str]]:
    """By the flag that asks for it, what makes the text for a file."""
    from .. import contract as formats

    return {
        "typescript": lambda file: formats.typescript(
            found, client=file.endswith(".ts") and not file.endswith(".d.ts")
        ),
        "json_schema": lambda file: _json(formats.json_schema(found)),
        "asyncapi": lambda file: _document(formats.asyncapi(found, version=arguments.asyncapi_version), file),
        "html": lambda file: formats.html(found),
    }


def _texts(arguments: argparse.Namespace, write: dict[str, Callable[[str], str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for format, text in write.items():
        if file := getattr(arguments, format):
            made = text(file)  # YAML may be without quotes, where an escape is text like any other
            texts[file] = texts.get(file, "") + (made if file.endswith((".yaml", ".yml")) else printable(made))
    return texts


def contract_at(text: str, **options: Any) -> Contract:
    """The contract of what ``MODULE:NAME`` names; ``options`` are those of ``contract_of``."""
    from ..contract.collect import contract_of, events_of

    module, target = _target(text)
    try:
        return contract_of(target, events=() if target is module else events_of(module), **options)
    finally:
        _close_what_it_opened(module)


def _close_what_it_opened(module: ModuleType) -> None:
    """A module that serves as soon as it is loaded leaves no socket behind."""
    from ..core.client import Client
    from ..core.datagram import DatagramServer
    from ..core.server import Server

    for value in list(vars(module).values()):
        if isinstance(value, (Client, DatagramServer, Server)):
            with contextlib.suppress(IPCError):
                value.abort()


def _summary(contract: Contract) -> str:
    from ..contract.typescript import Notation

    notation = Notation(contract)
    lines = [f"{contract.title} {contract.version}"]
    for direction, says in (("receives", "clients emit"), ("sends", "the server emits")):
        for event in getattr(contract, direction):
            lines.append(f"  {says:20} {event.name}: {notation.at(f'{direction}.{event.name}')}")
    for direction, says in (("answers", "the server answers"), ("asks", "clients answer")):
        for method in getattr(contract, direction):
            place = f"{direction}.{method.name}"
            lines.append(
                f"  {says:20} {method.name}({notation.at(f'{place}.params')}): {notation.at(f'{place}.result')}"
            )
    return printable("\n".join(lines) + "\n")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _document(value: Any, file: str) -> str:
    if not file.endswith((".yaml", ".yml")):
        return _json(value)
    plain = json.loads(json.dumps(value))  # one object in two places would be written as a reference
    text: str = _yaml("written as").safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    return text


def _yaml(verb: str) -> Any:
    from ..contract import ContractError

    try:
        return importlib.import_module("yaml")
    except ImportError as error:
        raise ContractError(
            f"to be {verb} YAML a document needs PyYAML: pip install 'node-ipc[contract]', or use JSON"
        ) from error


def _read_document(file: str) -> Any:
    """A document in JSON or YAML; ``-`` is standard input."""
    from ..contract import ContractError

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise ContractError(f"cannot read {file!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ContractError(f"{file!r} is not text in UTF-8: {error}") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if file.endswith(".json"):
            raise ContractError(f"{file!r} is not JSON: {error}") from error
    yaml = _yaml("read from")

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        """YAML as JSON has it: dates stay text."""

        yaml_implicit_resolvers: Mapping[str, Any] = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_document(self) -> Any:
            """The nodes of the document, before anything is made of them."""
            document = super().compose_document()
            if _size(document, {}) > MOST_NODES:
                raise ContractError(
                    f"{file!r} grows to more than {MOST_NODES:,} values when its aliases (*name) are followed: "
                    "say it once, and refer to it with $ref"
                )
            return document

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ContractError(f"{file!r} is neither JSON nor YAML: {error}") from error


def _size(node: Any, known: dict[int, float]) -> float:
    """How many values a node of YAML stands for, with all that its aliases repeat; one in itself has no end."""
    if isinstance(node.value, str):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known: so an alias within itself finds it
        parts = (part for each in node.value for part in (each if isinstance(each, tuple) else (each,)))
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


# ---- the code


def _target(text: str) -> tuple[ModuleType, Any]:
    """The module, and what is named in it."""
    from ..contract import ContractError

    name, _, path = text.partition(":")
    if name.endswith(".py") or "/" in name or not name:
        raise UsageError(f"a target is MODULE:NAME, as app:server for app.py, not {text!r:.100}")
    module = _loaded(name)
    found: Any = module
    for part in path.split(".") if path else ():
        try:
            found = getattr(found, part)
        except Exception as error:
            near = difflib.get_close_matches(part, [each for each in dir(found) if not each.startswith("_")], 1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ContractError(f"{name!r} has no {path!r}{hint}") from error
    return module, found


def _loaded(name: str) -> ModuleType:
    from ..contract import ContractError

    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ContractError(f"there is no module {name!r} in {here!r} or on Python's path") from error
        raise ContractError(f"{name!r} could not be loaded: {_reason(error)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a program that ends itself when it is loaded
        raise ContractError(f"{name!r} could not be loaded: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What was raised, and the last line of the user's own code on the way there."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    own = [frame for frame in frames if frame.filename != __file__]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{error.__class__.__name__}: {error}{where}"


# ---- the files


def _check(texts: dict[str, str]) -> int:
    """Compare with what is committed; the diff goes to standard output."""
    code = 0
    for file, text in texts.items():
        if file == "-":
            continue
        try:
            before = Path(file).read_bytes().decode("utf-8", "replace")
        except OSError:
            before = ""
        if before.replace("\r\n", "\n") != text:  # git may have written the ends of lines in its own way
            code = 1
            old, new = (part.splitlines(keepends=True) for part in (before.replace("\r\n", "\n"), text))
            with as_far_as_read():
                difference = difflib.unified_diff(old, new, f"{file} (the file)", f"{file} (the code)")
                sys.stdout.writelines(map(printable, difference))
            notice(f"node-ipc contract: {file} is not what the code says: run the command without --check")
    return code


def _write(texts: dict[str, str]) -> None:
    """Write all or nothing: first beside the files, and then into their places."""
    ready: list[tuple[Path, Path]] = []
    streams = {file: text for file, text in texts.items() if _is_stream(file)}
    try:
        for file, text in texts.items():
            if file not in streams:
                ready.append(_beside(Path(os.path.realpath(file)), text))
        for made, place in ready:
            os.replace(made, place)
    finally:
        for made, _ in ready:
            made.unlink(missing_ok=True)
    for file, text in streams.items():
        _pour(file, text)


def _is_stream(file: str) -> bool:
    """Standard output, a device or a pipe (``/dev/stdout``): there is nothing to put another in the place of."""
    return file == "-" or (os.path.exists(file) and not os.path.isfile(file) and not os.path.isdir(file))


def _pour(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
        return
    with _writes(file), open(file, "w", encoding="utf-8") as stream:
        stream.write(text)


def _beside(place: Path, text: str) -> tuple[Path, Path]:
    made = place.with_name(f".{place.name}.{os.getpid()}")
    with _writes(str(place), made):
        if place.exists() and not place.stat().st_mode & 0o222:
            raise PermissionError(0, "it is read-only")
        if place.is_dir():
            raise IsADirectoryError(0, "it is a directory")
        with open(made, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        if place.exists():
            shutil.copymode(place, made)
    return made, place


@contextlib.contextmanager
def _writes(file: str, made: Path | None = None) -> Iterator[None]:
    """What the system refuses is said of this file, and nothing is left of what was ``made`` for it."""
    from ..contract import ContractError

    try:
        yield
    except OSError as error:
        if made is not None:
            made.unlink(missing_ok=True)
        raise ContractError(f"cannot write {file!r}: {error.strerror}") from error
