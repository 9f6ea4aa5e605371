"""Exceptions that came out of the middle of sending or receiving.

A signal's handler may raise between any two steps of ours (an alarm, a time limit of a task queue, Ctrl-C): then bytes
may have been read and delivered to nobody, or written in part. As in redis-py, such a link is not trusted any more: it
is cut, what is in doubt is told, and a client connects anew. What a handler of the user's raises is its own business,
and the message behind it is the next.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any, TypeVar

from ..errors import ConnectionLost
from .foreign import caused, shown

__all__ = ["between_steps", "by_signal", "interrupted", "without_steps"]

E = TypeVar("E", bound=BaseException)

OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
LIBRARY = os.path.dirname(os.__file__) + os.sep
INSTALLED = (f"{LIBRARY}site-packages{os.sep}", f"{LIBRARY}dist-packages{os.sep}")
NOT_THE_USERS = (OURS, "<frozen ", "uvloop/", "winloop/")
"""Of this library, and of what Python and the loops have compiled."""


def between_steps(error: BaseException) -> bool:
    """Whether ``error``, which reached one of our own frames, came into being in ours: nothing of the user's was called
    on the way, but perhaps the handler of a signal."""
    of_signals = _handlers()
    for code in _codes(error):
        if code in of_signals:
            return True
        if not _is_library(code.co_filename):
            return False
    return True


def by_signal(error: BaseException) -> bool:
    """Whether the handler of a signal raised ``error``, as far as that can be seen: Ctrl-C's is not Python's."""
    return isinstance(error, KeyboardInterrupt) or not _handlers().isdisjoint(_codes(error))


def without_steps(error: E) -> E:
    """The error, and what caused it, without the way through our own frames, which says nothing to who meets it.

    What somebody else raised keeps its own.
    """
    each: BaseException | None = error
    while each is not None:
        if all(_is_library(code.co_filename) for code in _codes(each)):
            each.__traceback__ = None
        each = each.__cause__
    return error


def _handlers() -> set[CodeType | None]:
    return set(map(_code_of, map(signal.getsignal, signal.valid_signals()))) - {None}


def _codes(error: BaseException) -> Iterator[CodeType]:
    """Of the frames that ``error`` came through, the outermost first."""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next


def _is_library(file: str) -> bool:
    return file.startswith(NOT_THE_USERS) or (file.startswith(LIBRARY) and not file.startswith(INSTALLED))


def _code_of(handler: Any) -> CodeType | None:
    """The code that Python calls for a signal; None where that is not Python's."""
    for called in (handler, getattr(handler, "__func__", None), getattr(handler, "func", None), type(handler).__call__):
        code = getattr(called, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def interrupted(verb: str, error: BaseException) -> ConnectionLost:
    """Why the link is cut."""
    lost = ConnectionLost(
        f"{shown(error)} was raised in the middle of {verb}, as by a signal's handler: how far that came nobody knows, "
        "so the link is cut"
    )
    return caused(lost, error)
