"""Places in a payload, written as JSON paths: what is to be hidden in a recording, or not to be compared.

A small part of RFC 9535: ``$.user.password``, ``$['a name']``, ``$.items[*].card``, ``$.items[0]``, ``$..token``
(at any depth), ``$`` (all of it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from .format import RecordingError

__all__ = ["HIDDEN", "Paths"]

HIDDEN = "[redacted]"
"""What stands in the place of a value that was hidden."""

_STEP = re.compile(
    r"""(?P<deep>\.\.)?(?:
        (?(deep)|\.)(?P<name>[^\s.,\[\]'"*$]+) | (?(deep)|\.)(?P<star>\*) |
        \[(?:(?P<index>\d+)|(?P<every>\*)|'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)")\]
    )""",
    re.X,
)
_RPC = "rpc."


class _Step(NamedTuple):
    deep: bool
    """Whether it may be at any depth."""
    key: str | int | None
    """A member's name or an item's number; None: each."""


class Paths:
    """Several of them, separated by commas or one by one.

    Raises :class:`RecordingError` for what is no path.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: list[str] = []
        """Each path, as it was written."""
        self._paths: list[list[_Step]] = []
        for text in texts:
            self._add(text)

    def __bool__(self) -> bool:
        return bool(self._paths)

    def hide(self, type: str | None, data: Any, instead: Any = HIDDEN) -> Any:
        """The payload with what the paths name replaced; dicts and lists are changed in place.

        type: its event. What a request asks with, and what an answer brings (the members of ``rpc.request`` and
        ``rpc.response``) count as payloads of their own, too.
        """
        for steps in self._paths:
            if not steps:
                return instead
            _replace(data, steps, instead)
            if type is not None and type.startswith(_RPC) and isinstance(data, dict):
                for part in data.values():
                    _replace(part, steps, instead)
        return data

    def _add(self, text: str) -> None:
        rest = text.strip()
        while rest:
            steps, end = _parsed(rest)
            self._paths.append(steps)
            self.texts.append(rest[:end])
            rest = rest[end:].lstrip()
            if rest:
                if rest[0] != ",":
                    raise _no_path(rest)
                rest = rest[1:].lstrip() or ","


def _parsed(text: str) -> tuple[list[_Step], int]:
    if text[0] != "$":
        raise _no_path(text)
    at, steps = 1, []
    while found := _STEP.match(text, at):
        at = found.end()
        steps.append(_Step(bool(found["deep"]), _key(found)))
    if at < len(text) and text[at] not in ", ":
        raise _no_path(text)
    return steps, at


def _key(found: re.Match[str]) -> str | int | None:
    if found["star"] or found["every"]:
        return None
    if found["index"]:
        return int(found["index"])
    if found["name"] is not None:
        return found["name"]
    quoted = found["single"] if found["single"] is not None else found["double"]
    return re.sub(r"\\(.)", r"\1", quoted)


def _no_path(text: str) -> RecordingError:
    return RecordingError(
        f"{text!r} is no path into a payload: write $.password, $.user.token, $.items[*].card or $..secret, with "
        "commas between them"
    )


def _replace(value: Any, steps: list[_Step], instead: Any) -> None:
    """Without recursion: payloads may be nested as deeply as the decoder allows."""
    waiting = [(value, 0)]
    while waiting:
        value, at = waiting.pop()
        step = steps[at]
        parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in tuple(parts):
            if step.key is None or (step.key == key and isinstance(key, str) == isinstance(step.key, str)):
                if at + 1 == len(steps):
                    value[key] = instead
                    continue
                waiting.append((part, at + 1))
            if step.deep:
                waiting.append((part, at))
