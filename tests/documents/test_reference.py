"""The reference holds what the code holds: generated pages are up to date, others name everything that is public."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any

import pytest

import node_ipc
from node_ipc import blocking, errors
from node_ipc.tools.cli import command_line

from .pages import DOCS, ROOT, read

MODULES = {
    "node_ipc": ("api-asyncio", "api-callbacks", "api-values", "api-config"),
    "node_ipc.blocking": ("api-blocking",),
    "node_ipc.testing": ("api-testing",),
    "node_ipc.pytest_plugin": ("api-testing",),
    "node_ipc.scale.workers": ("api-scale",),
    "node_ipc.scale.bus": ("api-scale",),
    "node_ipc.contract": ("api-scale",),
    "node_ipc.recording": ("api-scale",),
    "node_ipc.telemetry": ("api-scale",),
}
ALSO_CALLED = {
    "BlockingClient": "Client",
    "BlockingServer": "Server",
    "BlockingSocket": "Socket",
    "Received": "Received",
}
"""Names that the module has besides the one on the page."""


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[str, str] = generator().pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    path = DOCS / "reference" / name
    assert path.exists() and path.read_text("utf-8") == PAGES[name], (
        f"docs/reference/{name} is not what the docstrings say: run python docs/generate.py, and commit what it wrote"
    )


@pytest.mark.parametrize("kind", ["options", "errors", "commands"])
def test_no_page_is_left_of_what_is_gone(kind: str) -> None:
    assert {path.name for path in (DOCS / "reference").glob(f"{kind}*.md")} == {
        name for name in PAGES if name.startswith(kind)
    }


def entries(kind: str) -> list[str]:
    """What has a heading of its own on the pages of a kind, and is led to from their first."""
    pages = {name: text for name, text in PAGES.items() if name.startswith(kind)}
    found = [(name, entry) for name, text in pages.items() for entry in re.findall(r"^###? (\w+)$", text, re.M)]
    return [
        entry
        for name, entry in found
        if f"({'' if name == f'{kind}.md' else name}#{entry.lower()})" in pages[f"{kind}.md"]
    ]


# --- commands


def commands() -> dict[str, Any]:
    [found] = [action for action in command_line()._actions if action.dest == "command"]
    assert isinstance(found.choices, dict)
    return found.choices


@pytest.mark.parametrize("name", commands())
def test_every_command_is_documented(name: str) -> None:
    parser = commands()[name]
    missing = []
    if len((parser.description or "").split()) < 4:
        missing.append("a sentence that says what it does: add_command(…, help=…)")
    if f"node-ipc {name}" not in (parser.epilog or ""):
        missing.append("examples of how it is used: add_command(…, examples=…)")
    for action in parser._actions:
        if not action.help or len(action.help) < 4:
            missing.append(f"what {'/'.join(action.option_strings) or action.dest} means: add_argument(…, help=…)")
    assert not missing, f"node-ipc {name} lacks " + "; ".join(missing)
    assert entries("commands").count(name) == 1, (
        f"node-ipc {name} is not on one of the commands' pages: run python docs/generate.py, and commit what it wrote"
    )
    assert re.search(rf"\b{name}\b", command_line().epilog or ""), (
        f"node-ipc --help has no example of {name}: add one to EXAMPLES in tools/cli.py"
    )


# --- errors


def kinds() -> dict[str, type]:
    """Every error with a code, wherever in the package it is."""
    for module in pkgutil.walk_packages(node_ipc.__path__, "node_ipc."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[str, type] = {}
    waiting = [errors.IPCError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "code" in {*vars(kind), *vars(kind).get("__annotations__", {})} and kind.__module__.startswith("node_ipc."):
            found[kind.__name__] = kind
    return found


KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_every_error_says_where_it_is_met_and_what_to_do(name: str) -> None:
    text = inspect.getdoc(KINDS[name]) or ""
    assert re.search(r"^What to do: .{20}", text, re.M), f"below {name} write a line 'What to do: …'"
    assert name == "IPCError" or re.search("^Met at: .", text, re.M), f"below {name} write a line 'Met at: …'"
    assert entries("errors").count(name) == 1, f"add {name} to kinds_of_errors in tools/help.py"


def test_every_error_is_in_the_tree_that_is_drawn() -> None:
    drawn = dict.fromkeys(re.findall(r"^ {4}[│├└─ ]*(\w+Error|\w+)", errors.__doc__ or "", re.M))
    assert set(drawn) == set(errors.__all__)
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r" {4}[│├└─ ]+(\w+)(?: \((\w+)\))?", line):
            kind = getattr(errors, found[1])
            assert found[2] is None or found[2] in {base.__name__ for base in kind.__mro__}, line


# --- names


def on_page(pages: tuple[str, ...]) -> str:
    return "\n".join(read(f"docs/reference/{page}.md") for page in pages)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_place_in_the_reference(module: str) -> None:
    text = on_page(MODULES[module])
    named = set(re.findall(r"^\.\. (?:auto)?(?:class|function|data|exception):: (\w+)", text, re.M))
    public = set(importlib.import_module(module).__all__) - set(errors.__all__)
    public = {name for name in public if ALSO_CALLED.get(name, name) == name or module == "node_ipc"} - {"Received"}
    # of two names for one class the one it has itself is shown with its members, and the other is told
    loaded = importlib.import_module(module)
    missing = {name for name in public - named if getattr(getattr(loaded, name), "__name__", name) not in named}
    assert missing == set(), (
        f"add '.. autofunction:: NAME' or '.. autoclass:: NAME' to docs/reference/{MODULES[module]}"
    )


def test_every_public_module_is_looked_at() -> None:
    assert {*node_ipc._MODULES} <= {name.split(".")[1] for name in MODULES if "." in name} | {"errors"}, (
        "a public module: add it to MODULES here and in test_docstrings.py, and to a page of docs/reference"
    )


USERS_READ = "\n".join(
    path.read_text("utf-8")
    for path in (ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.py"))
    if path != DOCS / "architecture.md"
)
"""What is said and shown to users: what it calls on a client, a server or a socket is theirs."""
MEMBERS = [
    ("api-asyncio", node_ipc, "AsyncClient"),
    ("api-asyncio", node_ipc, "AsyncServer"),
    ("api-asyncio", node_ipc, "AsyncDatagramServer"),
    ("api-blocking", blocking, "BlockingClient"),
    ("api-blocking", blocking, "BlockingServer"),
    ("api-blocking", blocking, "DatagramServer"),
    ("api-values", node_ipc, "Socket"),
    ("api-values", node_ipc, "DatagramPeer"),
]


@pytest.mark.parametrize(("page", "module", "name"), MEMBERS)
def test_every_verb_has_a_place_in_the_reference(page: str, module: Any, name: str) -> None:
    [listed] = re.findall(rf"^\.\. autoclass:: {name}\(\)\n   :members: (.*)$", on_page((page,)), re.M)
    members = set(listed.split(", "))
    kind = getattr(module, name)
    found = {member for member in dir(kind) if not member.startswith("_") and is_documented(kind, member)}
    assert members <= found, f"{members - found} of {name} have no docstring, or are gone"
    used = {
        member for member in found if re.search(rf"\b(?:client|world|server|port|socket|peer)\.{member}\b", USERS_READ)
    }
    assert used <= members, f"pages use {used - members}: put them behind ':members:' of {name} in {page}.md"


def is_documented(kind: type, name: str) -> bool:
    member = inspect.unwrap(inspect.getattr_static(kind, name))  # the native twin wraps the Python one
    function = getattr(member, "fget", None) or getattr(member, "__func__", member)
    return isinstance(member, property | classmethod) or (inspect.isfunction(member) and bool(function.__doc__))
