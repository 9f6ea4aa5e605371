"""Node's text encodings, for raw mode: ``Buffer.from(text, encoding)`` and ``buffer.toString(encoding)``."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InvalidPayload

__all__ = ["from_text", "to_payload_bytes"]

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    RawPayload: TypeAlias = str | ReadableBuffer | Iterable[int]
    """What raw mode emits."""

_PLAIN = {
    "ascii": "latin-1",  # Node writes ascii as latin1
    "latin1": "latin-1",
    "binary": "latin-1",
    "utf8": "utf-8",
    "utf-8": "utf-8",
    "utf16le": "utf-16-le",
    "utf-16le": "utf-16-le",
    "ucs2": "utf-16-le",
    "ucs-2": "utf-16-le",
}
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def from_text(text: str, encoding: str) -> bytes:
    """The bytes of ``text`` as Node's ``Buffer.from(text, encoding)`` makes them.

    Where Node goes on silently with less (hex that is not hex, a character that latin1 does not have), this
    raises :class:`InvalidPayload`: half a message is worse than none.
    """
    encoding = encoding.lower()
    try:
        if encoding == "hex":
            return bytes.fromhex(text)
        if encoding == "base64":
            return _from_base64(text)
        return text.encode(_PLAIN[encoding])
    except (ValueError, binascii.Error) as error:
        raise InvalidPayload(
            f"the text {text[:40]!r} cannot be written in the encoding {encoding!r}: {error}. "
            "Emit bytes, or set the option encoding to one that holds this text."
        ) from error


def _from_base64(text: str) -> bytes:
    """Both alphabets and missing padding; what stands behind padding is not read: as Node does."""
    clean = text.partition("=")[0].translate(str.maketrans("-_", "+/", " \t\r\n"))
    if _NOT_BASE64.search(clean):
        raise binascii.Error("not base64")
    return base64.b64decode(clean + "=" * (-len(clean) % 4))


def to_payload_bytes(payload: Any, encoding: str) -> bytes:
    """The bytes of whatever may be emitted in raw mode.

    Text is written in ``encoding``; ``bytes``, lists of byte values (0 to 255) and anything with the buffer
    protocol (``bytearray``, ``memoryview``, ``array.array``, a NumPy array) go out exactly as they are.
    """
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return from_text(payload, encoding)
    try:
        return memoryview(payload).tobytes()
    except TypeError:
        pass
    if isinstance(payload, Iterable) and not isinstance(payload, dict):
        try:
            return bytes(payload)
        except (TypeError, ValueError) as error:
            raise InvalidPayload(f"a list of byte values holds something else: {error}") from error
    raise InvalidPayload(
        f"raw mode emits text, bytes, lists of byte values or buffers, not {type(payload).__name__}; "
        "set raw_buffer to False to emit events with JSON payloads"
    )
