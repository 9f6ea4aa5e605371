"""What a handler takes: how many arguments, which payload type, and whether it is async.

Read off the code object for plain functions and methods, since importing ``inspect`` costs a quarter of the time
in which a blocking client connects; anything else (partials, builtins, callable objects) goes through it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType, NoneType, UnionType
from typing import Any, Union

import msgspec

from ..config.misspelt import PLAIN

__all__ = ["Signature", "signature_of"]

CO_VARARGS = 0x04
CO_VARKEYWORDS = 0x08
CO_COROUTINE = 0x80
CO_GENERATORS = 0x20 | 0x200
"""Plain and async ones."""

SOCKETS = frozenset({"socket", "sock", "client", "peer", "connection", "conn", "session", "sender", "server", "who"})
REQUESTS = frozenset({"request", "req"})
NEVER_PAYLOADS = frozenset({"socket", "sock"})
"""What nobody calls a payload: whoever names the first of two parameters so has turned them round."""
ARGUMENTS = SOCKETS | REQUESTS | {"data", "payload", "params", "destroyed_socket_id", "socket_id"}
"""What parameters with a default are called where they are meant to be filled. Others keep what they were bound to, as
in ``lambda data, i=i: …``. The first parameter is filled whatever it is called, but for this:"""
REASONS = frozenset({"e", "err", "error", "reason"})
"""What a payload may be called as well as what says why a link was lost."""
NO_PAYLOAD = "timeout"
"""A limit of seconds with a default: ``server.stop`` and its like are handlers as they are in node-ipc."""


DATA = (int, float, complex, str, bytes, bytearray, dict, list, tuple, set, frozenset)
"""What payloads are, and no socket is."""


class Signature(msgspec.Struct, frozen=True):
    """``required`` and ``accepts`` count positional arguments; ``accepts`` is None for any number.

    ``first``, ``second`` and ``third`` are the names of the parameters that get the payload, the socket and, of a
    request, itself; None where none does, or where a decorator stands between. ``yields``: it is a generator function.
    """

    required: int
    accepts: int | None
    first: str | None
    asynchronous: bool
    second: str | None = None
    third: str | None = None
    yields: bool = False

    def payload_type(self, handler: Any) -> Any:
        """The annotation of the first argument, or None where it says nothing (no annotation, Any, object)."""
        if self.first is None:
            return None
        owner = _annotated(handler)
        annotation = _annotations(owner).get(self.first)
        if annotation is None:
            return None
        if isinstance(annotation, str):
            annotation = _resolved(owner, annotation)
        return None if annotation in (Any, object) else annotation

    def refuse_wrong_order(self, handler: Any, name: str) -> None:
        """Raise ``TypeError`` for a handler that takes the socket first, or data second, as names and annotations say.

        The payload comes first and the socket second.
        """
        if self.second is not None and self.first is not None and self.first.strip("_").lower() in NEVER_PAYLOADS:
            annotation = _annotation(handler, self.first)
            if annotation is None or not _is_data(annotation):
                raise TypeError(
                    f"{_has(handler, name, self.first, annotation)} as its first parameter, which gets the payload: "
                    f"the socket comes second, def handler({self.second}, {self.first})"
                )
        annotation = _annotation(handler, self.second)
        if annotation is not None and _is_data(annotation):
            raise TypeError(
                f"{_has(handler, name, self.second, annotation)} as its second parameter, "
                "which gets the socket: one message brings one payload. Take several values as one, such as a list, a "
                "TypedDict or a Struct, by the first parameter"
            )

    def takes(self, brings: tuple[str, ...]) -> bool | None:
        """Whether the names of its parameters say that it takes what ``brings`` names; None where they say nothing."""
        if self.required > len(brings):
            return False
        name = None if self.first is None else self.first.strip("_").lower()
        if not name or name in REASONS:
            return None
        return name in brings or (name in SOCKETS and "socket" in brings)

    def refuse_generator(self, handler: Any, name: str, instead: str) -> None:
        """Raise ``TypeError`` for a function with a ``yield``: a call of it does nothing yet."""
        if self.yields:
            raise TypeError(
                f"the handler {getattr(_annotated(handler), '__qualname__', repr(handler))} of {name!r} has a yield, "
                f"so calling it runs nothing of it: {instead}"
            )

    def refuse_wrong_request(self, handler: Any, name: str) -> None:
        """Raise ``TypeError`` for a handler of requests whose second and third parameter are for something else.

        They get the socket and the request, in this order: what is called or annotated as the other one, or as data.
        """
        self.refuse_wrong_order(handler, name)
        for place, parameter, gets, others in (
            ("second", self.second, "socket", REQUESTS),
            ("third", self.third, "request", SOCKETS),
        ):
            annotation = _annotation(handler, parameter)
            wrong = parameter is not None and parameter.strip("_").lower() in others
            if annotation is not None:
                wrong = _is_data(annotation) or getattr(annotation, "__name__", "").lower().endswith(tuple(others))
            if wrong:
                raise TypeError(
                    f"{_has(handler, name, parameter, annotation)} as its {place} parameter, which gets the {gets}: a "
                    "handler of requests takes (params), (params, socket) or (params, socket, request), in this order"
                )


def _annotation(handler: Any, parameter: str | None) -> Any:
    """What a parameter is annotated as; None where that says nothing, or cannot be resolved."""
    if parameter is None:
        return None
    owner = _annotated(handler)
    annotation = _annotations(owner).get(parameter)
    if isinstance(annotation, str):
        try:
            annotation = _resolved(owner, annotation)
        except TypeError:  # nobody needs to know
            return None
    return None if annotation in (Any, object) else annotation


def _has(handler: Any, name: str, parameter: str | None, annotation: Any) -> str:
    """How a message begins that is about one parameter."""
    written = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__origin__") else annotation
    )
    kind = "" if annotation is None else f": {written}"
    return (
        f"the handler {getattr(_annotated(handler), '__qualname__', repr(handler))} of {name!r} has {parameter}{kind}"
    )


def _is_data(annotation: Any) -> bool:
    """Whether a socket can never be of this type; a doubt is no."""
    if getattr(annotation, "__metadata__", None) is not None:  # Annotated
        annotation = annotation.__origin__
    if isinstance(annotation, UnionType) or getattr(annotation, "__origin__", None) is Union:
        kinds = [kind for kind in annotation.__args__ if kind is not NoneType]
        return all(map(_is_data, kinds))
    kind = getattr(annotation, "__origin__", annotation)
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return False
    return issubclass(kind, DATA) or hasattr(kind, "__struct_fields__") or hasattr(kind, "__dataclass_fields__")


def _annotated(handler: Any) -> Any:
    """The function that was written, below partials, methods, callable objects and decorators."""
    while True:
        if isinstance(handler, partial):
            handler = handler.func
        elif isinstance(handler, MethodType):
            handler = handler.__func__
        elif hasattr(handler, "__wrapped__"):
            handler = handler.__wrapped__
        elif isinstance(handler, FunctionType | type) or not hasattr(type(handler), "__call__"):  # noqa: B004
            return handler
        else:
            called = type(handler).__call__
            if not isinstance(called, FunctionType):
                return handler
            handler = called


def _annotations(owner: Any) -> dict[str, Any]:
    """By name, as they were written; what cannot be resolved does not count here."""
    if isinstance(owner, type):
        return {}
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    return getattr(owner, "__annotations__", None) or {}


def _resolved(owner: Any, annotation: str) -> Any:
    """What the text of one annotation means where its function was written: others are nobody's business."""
    import typing

    class Only:
        """Holds this one annotation."""

    Only.__annotations__ = {"payload": annotation}
    names = dict(getattr(owner, "__globals__", {}))
    code, cells = getattr(owner, "__code__", None), getattr(owner, "__closure__", None)
    if code is not None and cells:
        names.update(
            (name, cell.cell_contents) for name, cell in zip(code.co_freevars, cells, strict=True) if _is_filled(cell)
        )
    try:
        return typing.get_type_hints(Only, globalns=names, localns={}, include_extras=True)["payload"]
    except Exception as error:  # whatever evaluating somebody's text raises
        raise TypeError(
            f"the annotation {annotation!r} of the payload, in the handler {owner.__qualname__}, cannot be resolved: "
            f"{error}. Give the payload's type as on(event, type=...), or import it where the handler can see it (not "
            "under TYPE_CHECKING)"
        ) from error


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty one raises
    except ValueError:
        return False
    return True


def signature_of(handler: Callable[..., Any]) -> Signature:
    """What ``handler`` takes. Raises ``TypeError`` for one that cannot be called with positional arguments alone."""
    function = handler.__func__ if isinstance(handler, MethodType) else handler
    function = getattr(function, PLAIN, function)
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return _inspected(handler)
    code = function.__code__
    bound = 1 if isinstance(handler, MethodType) else 0
    if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
        raise _keywords_only(handler)
    count = code.co_argcount - bound
    if code.co_flags & CO_VARKEYWORDS and not (count or code.co_flags & CO_VARARGS):
        raise _keywords_only(handler)
    required = max(count - len(function.__defaults__ or ()), 0)
    names = code.co_varnames[bound : code.co_argcount]
    accepts = None if code.co_flags & CO_VARARGS else _filled(names, required)
    first = names[0] if names and accepts != 0 else None
    second, third = _others(names, accepts)
    asynchronous, yields = bool(code.co_flags & CO_COROUTINE), bool(code.co_flags & CO_GENERATORS)
    return Signature(required, accepts, first, asynchronous, second, third, yields)


def _others(names: tuple[str, ...], accepts: int | None) -> tuple[str | None, str | None]:
    """The names of the second and third parameter, where they are filled."""
    filled = names if accepts is None else names[:accepts]
    return (filled[1] if len(filled) > 1 else None), (filled[2] if len(filled) > 2 else None)


def _filled(names: tuple[str, ...], required: int) -> int:
    """How many of the parameters an event fills, as far as it brings so much."""
    count = required or (1 if names and names[0] != NO_PAYLOAD else 0)
    for name in names[count:]:
        if name.strip("_").lower() not in ARGUMENTS:
            break
        count += 1
    return count


def _keywords_only(handler: Any) -> TypeError:
    name = getattr(handler, "__qualname__", None) or repr(handler)
    return TypeError(
        f"the handler {name} wants arguments by keyword, and events bring theirs by position: the payload, and on a "
        "server the socket. Take the payload as one, def handler(data), and data['name'] of it"
    )


def _inspected(handler: Callable[..., Any]) -> Signature:
    import inspect

    asynchronous = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - the method itself is asked, not whether it is there
    )
    yields = any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (handler, getattr(handler, "__call__", None))  # noqa: B004 - as above
    )
    try:
        # of the wrapper itself: that is what is called
        parameters = list(inspect.signature(handler, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError):  # builtins that do not tell
        return Signature(0, None, None, asynchronous, yields=yields)
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        raise _keywords_only(handler)
    wrapped = getattr(handler, "__wrapped__", None)
    if callable(wrapped):
        inner = signature_of(wrapped)
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):  # it hands on what it gets
            return Signature(inner.required, inner.accepts, inner.first, asynchronous, yields=yields)
    if parameters and all(p.kind is p.VAR_KEYWORD for p in parameters):
        raise _keywords_only(handler)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = len([p for p in positional if p.default is p.empty])
    names = tuple(p.name for p in positional)
    accepts = None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else _filled(names, required)
    first = inner.first if callable(wrapped) else names[0] if names and accepts != 0 else None
    # a decorator may fill what it hands on
    second, third = (None, None) if callable(wrapped) else _others(names, accepts)
    return Signature(required, accepts, first, asynchronous, second, third, yields)
