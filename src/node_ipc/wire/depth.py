"""Frames that are nested too deeply for a thread's stack, found out without recursion.

msgspec decodes by recursion, about 400 bytes of stack for each level, and stops at the interpreter's own limit: 1,000
levels in Python 3.11, up to 10,000 in later ones, which is 4 MiB. A thread that was given less would crash on a few
kilobytes from a peer, so sessions in such a thread look at each frame first. All others do not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from . import json

if TYPE_CHECKING:
    from ..errors import InvalidPayload
    from .codec import Codec

__all__ = ["DEEPEST", "is_too_deep", "shallow"]

DEEPEST = 400
"""Levels: 160 KiB of stack."""

_tokens = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]++|[\]}]', re.DOTALL)


def is_too_deep(frame: bytes) -> bool:
    """Whether more than ``DEEPEST`` brackets are open anywhere in this frame."""
    if len(frame) <= DEEPEST:
        return False
    depth = 0
    for token in _tokens.finditer(frame):
        first = frame[token.start()]
        if first in b"[{":
            depth += token.end() - token.start()
            if depth > DEEPEST:
                return True
        elif first != 0x22:
            depth -= 1
    return False


class _Shallow:
    """A codec that looks how deep a frame goes before it decodes it."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def decode(self, frame: bytes) -> Any:
        if is_too_deep(frame):
            raise RecursionError
        return self._codec.decode(frame)

    def decode_raw(self, frame: bytes) -> Any:
        if is_too_deep(frame):
            raise RecursionError
        return self._codec.decode_raw(frame)

    def decode_large(self, frame: bytes) -> Any:
        if is_too_deep(frame):
            raise RecursionError
        return self._codec.decode_large(frame)

    def salvage(self, frame: bytes) -> json.Envelope | InvalidPayload:
        return json.nested_too_deeply(frame) if is_too_deep(frame) else self._codec.salvage(frame)


def shallow(codec: Codec) -> Codec:
    """``codec`` for a thread with little stack: what is nested too deeply is an ``InvalidPayload``, as elsewhere."""
    if isinstance(codec, _Shallow) or not codec.gives_raw:  # raw mode decodes nothing; other formats know themselves
        return codec
    return cast("Codec", _Shallow(codec))  # what it has not itself it takes from the codec
