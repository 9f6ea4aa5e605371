"""Judges source that was made out of a document of others before it is run: it may declare types, and nothing else.

The writer quotes whatever comes from the document. This is for the day on which it does not: then the source names
something else than types, calls something else than what makes them, or has text where Python reads code.
"""

from __future__ import annotations

import ast

from .model import ContractError
from .structs import IMPORTS

__all__ = ["declarations"]

MODULES = {"__future__", *IMPORTS}
CALLED = {"Contract", "Event", "Meta", "Method", "field"}
HARMLESS = (
    *(ast.Module, ast.ImportFrom, ast.alias, ast.ClassDef, ast.AnnAssign, ast.Assign, ast.Expr),
    *(ast.Name, ast.Load, ast.Store, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.keyword),
    *(ast.Call, ast.Subscript, ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub),
)


def declarations(source: str) -> ast.Module:
    """The source, parsed. ``ContractError`` where it would do more than declare types."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not _declares(node):
            raise ContractError(
                f"the document becomes source that does more than declare types, so nothing is run: line "
                f"{getattr(node, 'lineno', 1)} has {type(node).__name__}; please report it"
            )
    return tree


def _declares(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in MODULES and not node.level
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in CALLED
    if isinstance(node, ast.ClassDef):
        return not node.decorator_list and all(keyword.arg != "metaclass" for keyword in node.keywords)
    if isinstance(node, ast.AnnAssign):
        return not _has_text(node.annotation)
    return isinstance(node, HARMLESS)


def _has_text(annotation: ast.AST) -> bool:
    """Whether there is text that would be read as Python, as it is in every place but ``Literal`` and calls."""
    if isinstance(annotation, ast.Constant):
        return isinstance(annotation.value, str)
    if isinstance(annotation, ast.Call):
        return False
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        return False
    return any(_has_text(child) for child in ast.iter_child_nodes(annotation))
