"""How events look on the screen and in a file: one line each, and no control character of a peer's gets out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from ..config.logs import UNSAFE, escape, logger
from ..core.client import HINT_AT_WAITING, HINT_AT_WAITING_LONGER
from ..core.seam import Peer

__all__ = [
    "Lines",
    "Printer",
    "counted",
    "json_text",
    "library_warnings",
    "notice",
    "painted",
    "peer_members",
    "printable",
    "short",
    "unconnected",
]

COLOURS = {"server": "36", "client": "33", "good": "32", "bad": "31"}
WIDTH = 2000
"""Characters of a payload that are shown in lines for people; ``--json`` shows all."""


def json_text(value: Any) -> str:
    r"""One line of JSON that is safe in a terminal: what is not printable goes as ``\uXXXX``.

    What JSON does not have is shown as its text: bytes as ``{"hex": …}``, exceptions as their message.
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    text = json.dumps(value, ensure_ascii=encoding not in ("utf8", "utf8sig"), default=_otherwise)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def unconnected(error: Exception, waits: bool = False) -> str:
    """Why no link came about, in a command's words: how to wait is said where it has a ``--wait``."""
    text = str(error).removesuffix(HINT_AT_WAITING_LONGER)
    before, hint, _ = text.partition(HINT_AT_WAITING)  # behind it is the id that may be meant, which doctor tells
    return f"{before}. --wait waits until there is one" if hint and waits else before


def _escaped(character: str) -> str:
    # As JSON has it: above the basic plane a pair of surrogates; a lone surrogate as it is.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _otherwise(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"hex": bytes(value).hex()}
    return str(value)


def printable(text: str) -> str:
    r"""Text of several lines that is safe in a terminal: what is not is written ``\uXXXX``.

    In a string of JSON, TypeScript or Python that is the same character.
    """
    return UNSAFE.sub(lambda found: _escaped(found[0]), text)


def short(value: Any, width: int = WIDTH) -> str:
    """A payload in a line for people: JSON, or bytes as Python writes them; cut at ``width`` characters."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return escape(repr(bytes(value[: width + 1])), width)
    return escape(json_text(value), width)


def counted(number: int, what: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def peer_members(peer: Peer) -> dict[str, Any]:
    """What is known of a peer, for a JSON line."""
    known = {name: getattr(peer, name) for name in ("transport", "pid", "uid", "gid", "host", "port")}
    return {name: value for name, value in known.items() if value is not None}


def notice(text: str) -> None:
    """A line about the command's own doings: to standard error, if that can still be written to."""
    with contextlib.suppress(OSError):
        print(escape(text, WIDTH), file=sys.stderr)


@contextlib.contextmanager
def as_far_as_read() -> Iterator[None]:
    """For the words of a command whose exit code says the same: who reads no further (``| head``) changes nothing."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        let_go_of_what_is_full()


def let_go_of_what_is_full() -> None:
    """What a stream did not take Python would try to write again at its end, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def painted(text: str, colour: str) -> str:
    """Text in one of ``COLOURS``, where standard output is a terminal and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


@contextlib.contextmanager
def library_warnings(command: str) -> Iterator[None]:
    """What the library warns of meanwhile (peers that were refused, a server open to the network) as notices."""
    handler = _Notices(command)
    logger.logger.addHandler(handler)
    try:
        yield
    finally:
        logger.logger.removeHandler(handler)


class _Notices(logging.Handler):
    def __init__(self, command: str) -> None:
        super().__init__(logging.WARNING)
        self._command = command

    def emit(self, record: logging.LogRecord) -> None:
        notice(f"node-ipc {self._command}: {record.getMessage()}")


class Printer:
    """Prints lines to standard output while that takes any; ``full`` is called when it does not any more.

    For handlers and tasks, in which an exception would go elsewhere: ``check`` raises it where the command ends.
    """

    def __init__(self, full: Callable[[], object]) -> None:
        self._full = full
        self._failure: OSError | None = None

    def print(self, text: str) -> None:
        """One line, unless an earlier one could not be printed."""
        if self._failure is not None:
            return
        try:
            print(text)
        except OSError as error:  # nobody reads it any more, as after "| head", or the disk is full
            self._failure = error
            self._full()

    def check(self) -> None:
        """Raises the ``OSError`` because of which lines were not printed."""
        if self._failure is not None:
            raise self._failure


class Lines(Printer):
    """Prints what happens, as lines for people or as JSON lines."""

    def __init__(self, as_json: bool, full: Callable[[], object]) -> None:
        super().__init__(full)
        self._as_json = as_json

    def show(self, text: str, **members: Any) -> None:
        """One happening: ``text`` for people, ``members`` as JSON; both get the time.

        ``text`` is shown as it is: what a peer said must have gone through ``short`` or ``escape``.
        """
        now = datetime.now().astimezone()
        if self._as_json:
            self.print(json_text({"time": now.isoformat(timespec="milliseconds"), **members}))
        else:
            self.print(f"{now:%H:%M:%S}.{now.microsecond // 1000:03} {text}")
