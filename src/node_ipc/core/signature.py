"""What a handler takes: how many arguments, which payload type, and whether it is async.

Read off the code object for plain functions and methods, since importing ``inspect`` costs a quarter of the time
in which a blocking client connects; anything else (partials, builtins, callable objects) goes through it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

__all__ = ["Signature", "signature_of"]

CO_VARARGS = 0x04
CO_COROUTINE = 0x80


class Signature:
    """``required`` and ``accepts`` count positional arguments; ``accepts`` is None for any number."""

    __slots__ = ("accepts", "asynchronous", "first", "required")

    def __init__(self, required: int, accepts: int | None, first: str | None, asynchronous: bool) -> None:
        self.required = required
        self.accepts = accepts
        self.first = first
        self.asynchronous = asynchronous

    def payload_type(self, handler: Any) -> Any:
        """The annotation of the first argument, or None where it says nothing (no annotation, Any, object)."""
        if self.first is None:
            return None
        owner = getattr(handler, "__func__", handler)
        if not getattr(owner, "__annotations__", None):
            owner = getattr(type(handler), "__call__", None)  # noqa: B004 - an object that is called
        if self.first not in (getattr(owner, "__annotations__", None) or {}):
            return None
        return _resolved(owner, self.first)


def _resolved(owner: Any, name: str) -> Any:
    import typing

    annotation = owner.__annotations__[name]
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(owner, include_extras=True)[name]
        except NameError as error:
            raise TypeError(
                f"the annotation {annotation!r} of the handler {owner.__qualname__} cannot be resolved: {error}. "
                "Give the payload's type as on(event, type=...), or define it where the handler can see it"
            ) from error
    return None if annotation in (typing.Any, object) else annotation


def signature_of(handler: Callable[..., Any]) -> Signature:
    """What ``handler`` takes."""
    function = handler.__func__ if isinstance(handler, MethodType) else handler
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return _inspected(handler)
    code = function.__code__
    bound = 1 if isinstance(handler, MethodType) else 0
    accepts = code.co_argcount - bound
    required = max(accepts - len(function.__defaults__ or ()), 0)
    first = code.co_varnames[bound] if accepts > 0 else None
    any_number = bool(code.co_flags & CO_VARARGS)
    return Signature(required, None if any_number else accepts, first, bool(code.co_flags & CO_COROUTINE))


def _inspected(handler: Callable[..., Any]) -> Signature:
    import inspect

    asynchronous = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - the method itself is asked, not whether it is there
    )
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):  # builtins that do not tell
        return Signature(0, None, None, asynchronous)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    first = positional[0].name if positional else None
    return Signature(len(required), None if any_number else len(positional), first, asynchronous)
