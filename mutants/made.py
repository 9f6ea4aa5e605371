"""The mutants of a module: its source, wrong in one place each, by the operators of mutmut and three of our own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

SOURCES = Path(__file__).parent.parent / "src" / "node_ipc"
SILENT = (cst.Assert, cst.Annotation, cst.Import, cst.ImportFrom, cst.Decorator)
"""What says something to the type checker only, or what no test is to notice one by one."""
TEXTS = {mutators.operator_string}
"""Left out: most strings are texts for people, and what is a key or a name is caught by any test at all."""


@dataclass(frozen=True)
class Mutant:
    module: str
    line: int
    where: str
    """The function, or "" outside of all."""
    operator: str
    source: str = field(repr=False)
    diff: str = field(repr=False)

    @property
    def change(self) -> tuple[str, str]:
        """The lines that it changes and what they become, as the list of equivalents has them."""
        lines = self.diff.splitlines()[2:]
        return tuple(" ".join(each[1:].strip() for each in lines if each[0] == sign) for sign in "-+")  # type: ignore


def returned(node: cst.Return) -> Iterator[cst.CSTNode]:
    if node.value and not cst.matchers.matches(node.value, cst.matchers.Name("None")):
        yield node.with_changes(value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" "))


def removed(node: cst.Expr | cst.Raise | cst.Del) -> Iterator[cst.CSTNode]:
    if not (isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString | cst.Ellipsis)):
        yield cst.Pass()


TYPE_VARIABLE = cst.matchers.Call(cst.matchers.Name("TypeVar") | cst.matchers.Name("ParamSpec"))
NATIVE = cst.matchers.Attribute(cst.matchers.Name("twin"), cst.matchers.Name("native"))
"""Mutants run without it, and it has tests of its own: those of ``nox -s native``."""
ALIKE = cst.matchers.Name("max") | cst.matchers.Name("min")
"""What does not mind in which order its arguments are."""


def swapped(node: cst.Call) -> Iterator[cst.CSTNode]:
    """The first two arguments, the one in the other's place."""
    if cst.matchers.matches(node.func, ALIKE):
        return
    if len(node.args) > 1 and not any(each.keyword or each.star for each in node.args[:2]):
        first, second, *others = node.args
        pair = (first.with_changes(value=second.value), second.with_changes(value=first.value))
        yield node.with_changes(args=[*pair, *others])


OPERATORS: list[tuple[Any, Callable[[Any], Iterable[cst.CSTNode]]]] = [
    *((kind, change) for kind, change in mutators.mutation_operators if change not in TEXTS),
    (cst.Return, returned),
    ((cst.Expr, cst.Raise, cst.Del), removed),
    (cst.Call, swapped),
]


class Places(cst.CSTVisitor):
    """Every node that something can be made wrong in, with what it becomes."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, str, int, str]] = []
        self._functions = [""]

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SILENT) or is_checked_only(node):
            return False
        for kind, change in OPERATORS:
            if isinstance(node, kind):
                line = self.get_metadata(PositionProvider, node, None)
                name = change.__name__.removeprefix("operator_")
                at = line.start.line if line else 0
                self.found += ((node, new, name, at, self._functions[-1]) for new in change(node))
        if isinstance(node, cst.FunctionDef):
            self._functions.append(node.name.value)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef):
            self._functions.pop()


def is_checked_only(node: cst.CSTNode) -> bool:
    """``if TYPE_CHECKING``, ``__all__`` and what is made by ``TypeVar``; and what puts the native twin in its place."""
    if isinstance(node, cst.If):
        if cst.matchers.findall(node.test, NATIVE):
            return True
        return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"
    if cst.matchers.matches(node, cst.matchers.Assign(value=TYPE_VARIABLE)):
        return True
    target = node.targets[0].target if isinstance(node, cst.Assign) else None
    return isinstance(target, cst.Name) and target.value in ("__all__", "__slots__")


class Module:
    """A module read once: how many mutants it has, and the one with a number."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.source = path_of(module).read_text("utf-8")
        wrapper = MetadataWrapper(cst.parse_module(self.source))
        places = Places()
        wrapper.visit(places)
        self._tree, self._places = wrapper.module, places.found

    def __len__(self) -> int:
        return len(self._places)

    def mutant(self, number: int) -> Mutant | None:
        """``None`` where the change is none, one that only a type checker sees, or no Python."""
        old, new, operator, line, where = self._places[number]
        source = cst.ensure_type(self._tree.deep_replace(old, new), cst.Module).code
        try:
            compile(source, self.module, "exec")
        except SyntaxError:
            return None
        lines = difflib.unified_diff(self.source.splitlines(), source.splitlines(), n=0, lineterm="")
        diff = "\n".join(each for each in lines if not each.startswith("@@"))
        mutant = Mutant(self.module, line, where, operator, source, diff)
        return mutant if diff and not is_as_false(*mutant.change) else None


def is_as_false(was: str, becomes: str) -> bool:
    """Whether ``None`` takes the place of ``False``: only its truth counts, and mypy refuses it where it does not."""
    return any(f"{was[: each.start()]}None{was[each.end() :]}" == becomes for each in re.finditer(r"\bFalse\b", was))


def path_of(module: str) -> Path:
    return SOURCES / f"{module}.py"
