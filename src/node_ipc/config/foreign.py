"""Code that is not ours (loggers, trace hooks, taps, codecs), called so that what it raises harms only itself.

The first failure of each is told once, as a line of the logger ``node_ipc``, and on stderr where that fails too. Only
``KeyboardInterrupt`` and ``SystemExit`` pass: they are meant to end the program.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import logging

__all__ = ["PASSING", "Foreign", "caused", "is_heard", "last_resort", "report", "shown", "text_of", "warn"]

E = TypeVar("E", bound=BaseException)

PASSING = (KeyboardInterrupt, SystemExit)
"""What ends the program, also out of a handler; anything else harms the handler only."""


class Foreign:
    """A callable of somebody else's, that returns None where it raises."""

    __slots__ = ("_call", "_told", "_what")

    def __init__(self, what: str, call: Callable[..., Any]) -> None:
        self._what = what
        self._call = call
        self._told = False

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._call(*arguments)
        except PASSING:
            raise
        except BaseException as error:
            if not self._told:
                self._told = True
                report(self._what, error)


def report(what: str, error: BaseException) -> None:
    """Say that somebody else's code failed and that we go on; never raises."""
    import logging  # costs 8 ms: only where something is logged

    line = f"{what} failed, and is not told of again; nothing else is harmed: {shown(error)}"
    try:
        logger = logging.getLogger("node_ipc")
        if not logger.handlers:  # config.logs was not needed yet, which sees to it that this one is quiet by itself
            logger.addHandler(logging.NullHandler())
        logger.error("%s", line)
    except PASSING:
        raise
    except BaseException:
        last_resort(f"node_ipc: {line}")


def warn(line: str, *, stderr: bool = True) -> None:
    """Tell who writes the program of a mistake in it: a warning in the log, on stderr while logging is not set up."""
    import logging  # as above

    try:
        logger = logging.getLogger("node_ipc")
        if is_heard(logger):
            logger.warning("%s", line)
        elif stderr and logger.isEnabledFor(logging.WARNING):
            last_resort(f"node_ipc: {line}")
    except PASSING:
        raise
    except BaseException:
        last_resort(f"node_ipc: {line}")


def is_heard(logger: logging.Logger | None) -> bool:
    """Whether somebody set up logging: a handler that does something, here or above."""
    while logger is not None:
        if any(type(handler).__name__ != "NullHandler" for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


SHOWN = 200
"""How many characters of an exception are in a message."""


def shown(error: BaseException) -> str:
    """``repr(error)`` on one line, also where that raises."""
    try:
        text = repr(error)
    except PASSING:
        raise
    except BaseException:
        return f"<{type(error).__name__}: cannot be shown>"
    return text[:SHOWN] if text.isprintable() else repr(text[:SHOWN])[1:-1]


def text_of(error: BaseException) -> str:
    """``str(error)``, also where that raises."""
    try:
        return str(error)
    except PASSING:
        raise
    except BaseException:
        return "<cannot be shown>"


def caused(error: E, cause: BaseException | None) -> E:
    """The error with its cause, as ``raise … from`` sets it, where it is handed on and not raised."""
    error.__cause__ = cause
    return error


def last_resort(line: str) -> None:
    """Say it on stderr, if there is one that takes it; stdout, which print() takes for none, is the program's own."""
    with contextlib.suppress(Exception):
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)
