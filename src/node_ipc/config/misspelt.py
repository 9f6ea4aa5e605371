"""Which argument a misspelt one was meant to be: Python says it from 3.13 on, and this library before."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

__all__ = ["PLAIN", "meant", "refuse_misspelt", "suggests"]

F = TypeVar("F", bound=Callable[..., Any])
PLAIN = "_node_ipc_plain"
"""The attribute of what ``suggests`` gives that has the function itself."""
UNEXPECTED = " got an unexpected keyword argument "


def meant(wrong: str, known: Iterable[str]) -> str | None:
    """The name that is most like this one, if any is."""
    import difflib  # only a mistake pays for it

    return next(iter(difflib.get_close_matches(wrong, list(known), 1)), None)


def refuse_misspelt(call: str, misspelt: Iterable[str], known: tuple[str, ...]) -> None:
    """Raise where there are arguments that a call does not take; it takes the ``known`` ones."""
    for wrong in misspelt:
        raise _unexpected(call, wrong, known)


def _unexpected(call: str, wrong: str, known: tuple[str, ...]) -> TypeError:
    near = meant(wrong, known)
    hint = f". Did you mean {near!r}?" if near is not None else f"; it takes {', '.join(known)}" if known else ""
    return TypeError(f"{call}(){UNEXPECTED}{wrong!r}{hint}")


def suggests(function: F) -> F:
    """A decorator: a keyword argument that ``function`` does not take is answered with the one that it may be meant.

    It costs a call more, so what is done for each message says it itself.
    """
    if sys.version_info >= (3, 13):
        return function

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except TypeError as error:
            if (better := _better(error, function)) is not None:
                raise better from None
            raise

    setattr(call, PLAIN, function)
    return call  # type: ignore[return-value]


def _better(error: TypeError, function: Callable[..., Any]) -> TypeError | None:
    """The same error with a hint, where the call itself raised it and not what it called."""
    inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
    call, middle, wrong = str(error).partition(f"(){UNEXPECTED}")
    if inside or not middle:
        return None
    code = function.__code__
    names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    return _unexpected(call, wrong.strip("'"), tuple(name for name in names if name != "self"))
