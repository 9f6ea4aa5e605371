"""What is written below the fields of a class: editors and Sphinx show it, and Python throws it away.

``help()`` and ``node-ipc help`` read it here from the source, when somebody asks; importing costs nothing.
"""

from __future__ import annotations

__all__ = ["written_below"]

_READ: dict[type, dict[str, str]] = {}


def written_below(owner: type) -> dict[str, str]:
    """The text below each field of ``owner`` itself, by the field's name; nothing where its source is not there."""
    if owner not in _READ:
        _READ[owner] = _read(owner)
    return _READ[owner]


def _read(owner: type) -> dict[str, str]:
    import ast
    import inspect
    import textwrap

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError):  # a program that was packed without its source
        return {}
    [found] = tree.body
    assert isinstance(found, ast.ClassDef)
    texts = {}
    for field, below in zip(found.body, found.body[1:], strict=False):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            for name in _names(field):
                texts[name] = inspect.cleandoc(below.value.value)
    return texts


def _names(field: object) -> list[str]:
    import ast

    targets = [field.target] if isinstance(field, ast.AnnAssign) else getattr(field, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]
