"""The rooms and their doors: what may be imported where, and what is public."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import node_ipc

SOURCE = Path(node_ipc.__file__).parent
RINGS = (
    {"errors"},
    {"config"},  # options, addresses, profiles, logs
    {"wire"},  # messages to bytes and back
    {"core"},  # the middle
    {"net"},  # what is said to the kernel
    {"drivers"},  # who waits
    {"recording"},  # what passed, kept in a file
    {"cluster"},  # several servers as one
    {"aio", "blocking", "blocking_datagram", "callbacks", "testing", "pytest_plugin", "environment"},  # the doors
    {"scale", "contract", "telemetry"},  # workers; what a server says, in the languages of others; metrics, traces
    {"tools", "__main__"},  # the command line
)
"""From the innermost outwards: a module may import from its own ring and from those above it in this table."""
KERNEL = {
    "asyncio", "concurrent", "logging", "multiprocessing", "os", "pathlib", "select", "selectors", "signal", "socket",
    "ssl", "subprocess", "threading", "time",
}  # fmt: skip
INSIDE_ALLOWED = {"events": {"typing"}, "json": {"json"}, "signature": {"inspect", "typing"}}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name not in ("__main__.py",))


def pure() -> list[Path]:
    """The rings that know no socket, loop, thread or clock."""
    return [SOURCE / "errors.py", *sorted((SOURCE / "core").glob("*.py")), *sorted((SOURCE / "wire").glob("*.py"))]


def name_of(path: Path) -> str:
    parts = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> set[str]:
    """The first parts of what is imported anywhere below, but for type checking."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
            elif node.module:
                names.add("." * node.level + node.module)
        names |= imported(node)
    return names


def imports_of_ours(path: Path) -> set[str]:
    """The modules of this package that one imports, wherever in it: in functions and for type checking, too."""
    here = name_of(path).split(".") + (["__init__"] if path.name == "__init__.py" else [])
    names = {name_of(module) for module in SOURCE.rglob("*.py")}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join([*here[: -node.level], *([node.module] if node.module else [])])
            found |= {each if (each := f"{base}.{alias.name}") in names else base for alias in node.names}
    return found - {"node_ipc"}


def ring_of(name: str) -> int:
    return next(number for number, ring in enumerate(RINGS) if name.split(".")[1] in ring)


def arrows() -> dict[str, set[str]]:
    return {name_of(path): imports_of_ours(path) for path in SOURCE.rglob("*.py") if name_of(path) != "node_ipc"}


def test_arrows_point_inwards() -> None:
    outwards = {
        (name.removeprefix("node_ipc."), other.removeprefix("node_ipc."))
        for name, others in arrows().items()
        for other in others
        if ring_of(other) > ring_of(name)
    }
    assert outwards == set()


def test_one_module_knows_the_native_twin_and_five_hand_it_their_hot_methods() -> None:
    """The ring beside the others: it reads their slots, so all that it needs is where it is handed over."""
    found = {path: path.read_text("utf-8") for path in modules()}
    assert [name_of(path) for path, text in found.items() if "import node_ipc_native" in text] == [
        "node_ipc.config.twin"
    ]
    hand_over = {name_of(path).removeprefix("node_ipc.") for path, text in found.items() if "twin.native" in text}
    assert hand_over == {"core.events", "core.incoming", "core.outgoing", "core.session", "wire.framed"}


def test_no_module_imports_itself_in_a_circle() -> None:
    reached: dict[str, set[str]] = {name: set(others) for name, others in arrows().items()}
    for between in reached:
        for name, others in reached.items():
            if between in others:
                reached[name] = others | reached[between]
    circles = {
        tuple(sorted(other.removeprefix("node_ipc.") for other in others if name in reached[other]))
        for name, others in reached.items()
        if name in others
    }
    assert circles == set()


@pytest.mark.parametrize("path", pure(), ids=name_of)
def test_the_middle_knows_no_kernel_no_loop_no_thread_and_no_clock(path: Path) -> None:
    """Not in a function either, but for writing to the log, which is loaded where something is logged."""
    found = imported(ast.parse(path.read_text()))
    assert not found & KERNEL
    assert not {name for name in found if name.startswith(("..drivers", "..net"))}


@pytest.mark.parametrize("path", pure(), ids=name_of)
def test_the_middle_reads_no_clock_and_makes_no_chance(path: Path) -> None:
    assert not imported(ast.parse(path.read_text())) & {"random", "secrets", "datetime", "uuid"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_an_assert_says_only_what_the_type_checker_cannot_see(path: Path) -> None:
    """Without them (``python -O``) everything holds: no word of a peer, and no option, is checked by one."""
    tests = [node.test for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Assert)]
    each = [part for test in tests for part in (test.values if isinstance(test, ast.BoolOp) else [test])]
    others = [text for text in map(ast.unparse, each) if not re.fullmatch(r"[\w.]+ is not None|isinstance\(.*\)", text)]
    assert others == []


def load(path: Path) -> ModuleType:
    try:
        return importlib.import_module(name_of(path))
    except ImportError as error:
        if path.parent.name in ("scale", "telemetry", "tools", "top"):
            pytest.skip(f"needs an extra that is not installed: {error}")
        raise


def declared(tree: ast.Module) -> list[str]:
    """What ``__all__`` says."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def defined(tree: ast.Module) -> set[str]:
    """The classes and functions at a module's top that have no leading underscore."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


@pytest.mark.parametrize("path", pure(), ids=name_of)
def test_all_is_what_is_public(path: Path) -> None:
    tree, module = ast.parse(path.read_text()), load(path)
    assert module.__doc__
    assert defined(tree) <= set(declared(tree))
    assert len(declared(tree)) == len(set(declared(tree)))


@pytest.mark.parametrize("path", [path for path in modules() if path.parent != SOURCE / "tools"], ids=name_of)
def test_what_all_names_is_there(path: Path) -> None:
    names = declared(ast.parse(path.read_text()))
    if names:
        module = load(path)
        assert [name for name in names if not hasattr(module, name)] == []


def test_modules_take_from_each_other_only_what_is_public() -> None:
    """What one module imports from another has no leading underscore."""
    private = {
        (name_of(path), node.module, alias.name)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.endswith("__")
    }
    assert private == set()


DOCUMENTED = {"_exit", "_replace"}
"""Names of Python's that begin with an underscore and are for everybody."""
OF_PYTHON = {
    ("drivers.loop_pipes", "_make_duplex_pipe_transport"): "asyncio reads and writes one pipe nowhere else: what is "
    "public makes a transport of either direction, and that for writing takes the first bytes that come",
    ("drivers.loop_pipes", "_proactor"): "asyncio's own way to accept clients makes a pipe that everybody may open",
    ("drivers.memory_loop", "_get_running_loop"): "in the __all__ of asyncio.events, for event loops: one is here",
    ("drivers.memory_loop", "_set_running_loop"): "in the __all__ of asyncio.events, for event loops",
    ("drivers.memory_loop", "_enter_task"): "documented under 'Extending asyncio'",
    ("drivers.memory_loop", "_leave_task"): "documented under 'Extending asyncio'",
    ("net.tls", "_msg_callback"): "no version of OpenSSL or Python gives a server the certificate that it refused, or "
    "the protocols that a client offered, and 3.13 is the first to give a client the server's",
}
"""Where we need what Python keeps to itself, and why nothing public does it; none may be added."""
OWN = {"self", "cls"}


def made_here(tree: ast.Module) -> set[str]:
    """The names that a module defines, or gives its own objects."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) in OWN:
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def taken_from_others(tree: ast.Module) -> set[str]:
    """The names with an underscore that a module reads or sets, and that are another module's business."""
    mine = made_here(tree)
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and node.attr not in mine
        and ast.unparse(node.value) not in {*OWN, "super()"}
    }


def test_nobody_reads_the_underscore_names_of_another_modules_objects() -> None:
    found = {
        (name_of(path).removeprefix("node_ipc."), name)
        for path in SOURCE.rglob("*.py")
        for name in taken_from_others(ast.parse(path.read_text())) - DOCUMENTED
    }
    assert found == OF_PYTHON.keys()


def private_modules(tree: ast.Module) -> set[str]:
    """The modules of Python's own that begin with an underscore, imported by a statement or by their name as text."""
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            names.add(ast.unparse(node.args[0]).strip("'\""))
    return {name for name in names if name.startswith("_") and name not in ("__future__", "_thread")}


def test_no_private_module_of_python_is_loaded() -> None:
    """``_thread`` is documented."""
    found = {name_of(path): private_modules(ast.parse(path.read_text())) for path in SOURCE.rglob("*.py")}
    assert {name: modules for name, modules in found.items() if modules} == {}
    assert private_modules(ast.parse("import _ssl\nx = importlib.import_module('_winapi')")) == {"_ssl", "_winapi"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("client._session.close()", {"_session"}),
        ("def f(client):\n    client._direct = None", {"_direct"}),
        ("class A(B):\n    def f(self, other):\n        self._x = 1\n        return self._y, other._x", set()),
        ("class A(B):\n    def f(self, other):\n        return self._y, other._y", {"_y"}),
        ("class A(B):\n    def f(self):\n        return super()._f(), self._client._g, A.__init__", {"_g"}),
    ],
)
def test_which_names_are_another_modules_business(source: str, found: set[str]) -> None:
    assert taken_from_others(ast.parse(source)) == found


def test_no_class_contradicts_what_it_extends() -> None:
    """A method that mypy had to be told to let pass gives, or takes, what those who know the base do not expect."""
    assert [
        path.name for path in SOURCE.rglob("*.py") if re.search(r"type: ignore\[[^]]*override", path.read_text())
    ] == []


def test_the_package_gives_what_it_names() -> None:
    for name in node_ipc.__all__:  # type: ignore[attr-defined]  # only at run time
        assert getattr(node_ipc, name) is not None, name
        assert name in dir(node_ipc)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        node_ipc.nothing  # type: ignore[attr-defined]  # noqa: B018


def loaded_by(statement: str) -> set[str]:
    """The modules of the standard library that a fresh interpreter has after this."""
    code = f"{statement}\nimport sys\nprint(*(set(sys.modules) & {KERNEL | {'inspect', 'msgspec'}!r}))"
    return set(
        subprocess.run(
            [sys.executable, "-Sc", _PATHS + code], check=True, capture_output=True, text=True
        ).stdout.split()
    )


_PATHS = f"import sys; sys.path[:] = {sys.path!r}\n"


@pytest.mark.parametrize("module", ["blocking", "contract", "errors", "scale", "telemetry", "testing"])
def test_a_public_module_is_there_after_importing_the_package_alone(module: str) -> None:
    assert loaded_by(f"import node_ipc; node_ipc.{module}.__doc__; assert {module!r} in dir(node_ipc)")


def test_importing_the_package_loads_next_to_nothing() -> None:
    assert not loaded_by("import node_ipc") & {"asyncio", "ssl", "socket", "threading", "logging", "msgspec", "inspect"}


@pytest.mark.parametrize(
    "statement",
    [
        "from node_ipc import errors, Config, Client, Server, Loss",
        "import node_ipc.core.client, node_ipc.core.server, node_ipc.core.session",
        "import node_ipc.drivers.memory, node_ipc.testing",
    ],
)
def test_the_core_loads_neither_asyncio_nor_ssl_nor_logging(statement: str) -> None:
    assert not loaded_by(statement) & {"asyncio", "ssl", "logging"}


def test_the_pytest_plugin_loads_nothing_of_ours() -> None:
    before = loaded_by("import pytest")
    code = "import pytest, node_ipc.pytest_plugin"
    assert loaded_by(code) == before
    ours = "import node_ipc.pytest_plugin, sys; print(*(m for m in sys.modules if m.startswith('node_ipc')))"
    out = subprocess.run([sys.executable, "-Sc", _PATHS + ours], check=True, capture_output=True, text=True).stdout
    assert set(out.split()) == {"node_ipc", "node_ipc.pytest_plugin"}
