"""JSON as Node reads and writes it, on top of msgspec.

msgspec is the fast path for every payload. What JSON in JavaScript can hold and msgspec refuses (lone
surrogates) takes the standard library's codec; what JSON cannot hold at all is reported with its place.
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from ..errors import InvalidEvent, InvalidJSON, InvalidMessage, InvalidPayload
from .costs import LARGE_FRAME, has_many_long_numbers, without_collector

__all__ = [
    "Encode",
    "Envelope",
    "RawEnvelope",
    "buffer",
    "decode_envelope",
    "decode_large_envelope",
    "decode_large_payload",
    "decode_raw_envelope",
    "encode",
    "encode_slowly",
    "encode_with",
    "hooked",
    "nested_too_deeply",
    "plain",
    "read_surrogates",
    "refused",
    "salvage",
    "to_bytes",
    "word_weight",
]


def plain(value: Any) -> Any:
    """What msgspec does not take, where it is text or a number all the same: a subclass goes out as what it is."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"objects of type {type(value).__qualname__} are unsupported")


Encode: TypeAlias = Callable[[Any], bytes]
encode: Encode = msgspec.json.Encoder(enc_hook=plain).encode


def encode_with(enc_hook: Callable[[Any], Any] | None) -> Encode:
    """``encode``, for which ``enc_hook`` makes something else of what msgspec does not take."""
    if enc_hook is None:
        return encode

    return msgspec.json.Encoder(enc_hook=partial(hooked, enc_hook, plain)).encode


def hooked(enc_hook: Callable[[Any], Any], otherwise: Callable[[Any], Any], value: Any) -> Any:
    """What the user's hook makes of a value, else what ``otherwise`` does; where neither can, the hook says why."""
    try:
        return enc_hook(value)
    except (TypeError, NotImplementedError) as refused:  # which is how a hook says that it does not know either
        try:
            return otherwise(value)
        except TypeError as unsupported:
            raise TypeError(str(refused) or str(unsupported)) from refused


class Envelope(msgspec.Struct, gc=False):
    """One message off the wire with its payload decoded; members other than these are ignored."""

    type: str
    data: Any = msgspec.field(default_factory=dict)
    attachments: None = None
    """Where a message has this member it is refused, and looked at more closely: nobody else pays for that."""


class RawEnvelope(msgspec.Struct, gc=False):
    """One message off the wire with its payload still in bytes."""

    type: str
    data: Raw = Raw(b"{}")
    attachments: None = None


decode_envelope: Callable[[bytes], Envelope] = msgspec.json.Decoder(Envelope).decode
decode_raw_envelope: Callable[[bytes], RawEnvelope] = msgspec.json.Decoder(RawEnvelope).decode
_members = msgspec.json.Decoder(dict[str, Raw])
_name = msgspec.json.Decoder(str)
_type_first = re.compile(rb'\s*\{\s*"type"\s*:\s*("(?:[^"\\]|\\.){0,1024}")')


def buffer(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Bytes as Node's ``Buffer`` writes itself in JSON: ``{"type": "Buffer", "data": [104, 105]}``.

    For Node peers, which turn it back with ``Buffer.from(payload)``. Between Python programs, and for anything large,
    emit the ``bytes`` as they are: they go out as base64 text, which a handler with ``data: bytes`` gets as bytes, and
    Node by ``Buffer.from(payload, "base64")``. For 500 kB that is 667 kB on the wire and a millisecond, where this form
    is 1.8 MB and ten, and more than ``max_message_values`` (600,000) bytes in it are refused. :func:`to_bytes` reads
    both.

    Example:
        >>> node_ipc.buffer(b"hi")
        {'type': 'Buffer', 'data': [104, 105]}
    """
    return {"type": "Buffer", "data": list(bytes(data))}


def to_bytes(payload: Any) -> bytes:
    """The bytes in a payload: Node's ``Buffer`` form, base64 text, a list of byte values, or bytes.

    Raises :class:`InvalidPayload` for anything else.

    Example:
        >>> node_ipc.to_bytes({"type": "Buffer", "data": [104, 105]}), node_ipc.to_bytes("aGk=")
        (b'hi', b'hi')
    """
    try:
        if isinstance(payload, str):
            return base64.b64decode(payload, validate=True)
        if isinstance(payload, Mapping) and payload.get("type") == "Buffer":
            return bytes(payload["data"])
        if isinstance(payload, (list, tuple, bytes, bytearray, memoryview)):
            return bytes(payload)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidPayload(f"this payload holds no bytes: {error}") from error
    raise InvalidPayload(
        f"a payload of type {type(payload).__name__} holds no bytes: "
        'expected {"type": "Buffer", "data": [...]}, base64 text or a list of byte values'
    )


LONGEST_WORD = 64
_word = re.compile(rb'"(?:[A-Za-z][a-z]*[0-9]*|[0-9]+)"')
"""What of base64 text is rather a word: of three random bytes one in 11 is, of six one in 400. Capitals are zeros."""
NO_WORD = -4


def word_weight(payload: Any) -> int:
    """How much a payload, in bytes or decoded, speaks for being text that base64 happens to read: less than 0, against.

    The letters of a word count, but for two: short ones come by chance.
    """
    if not isinstance(payload, str | Raw) or len(payload) > LONGEST_WORD:
        return NO_WORD
    text = bytes(payload) if isinstance(payload, Raw) else f'"{payload}"'.encode(errors="replace")
    if text == b'""':
        return 0
    return len(text) - 4 if len(text) % 4 == 2 and _word.fullmatch(text) is not None else NO_WORD


# ---- writing

FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, partial, type)
"""What is given as data where a function was to be registered, or called; other objects may have a hook."""


def encode_slowly(data: Any, event: str, cause: Exception, encode: Encode = encode) -> bytes:
    """Encode what msgspec refused, or raise :class:`InvalidPayload` with the path of what JSON cannot hold."""
    if isinstance(cause, UnicodeEncodeError):
        return _encode_surrogates(data, event, encode)
    path, value = _fault(data, "$", 0, encode)
    reason = "is nested too deeply or refers to itself" if isinstance(cause, RecursionError) else str(cause)
    if hasattr(value, "__await__"):
        raise InvalidPayload(
            f"cannot emit {event!r}: the value at {path} ({type(value).__name__}) has to be awaited first: emit what "
            "await gives"
        )
    if isinstance(value, FUNCTIONS):
        raise InvalidPayload(
            f"cannot emit {event!r}: the value at {path} is {value!r:.80}, and {_of_callable(path, value)}",
            event=event,
            path=path,
        ) from cause
    raise InvalidPayload(
        f"cannot emit {event!r}: the value at {path} ({type(value).__name__}) cannot be JSON: {reason}. "
        "Use dicts with text keys, lists, text, numbers, booleans, None, bytes, arrays, dataclasses or Structs, "
        + ("or set the option enc_hook." if _hook_of(encode) is plain else "or let enc_hook make one of these of it."),
        event=event,
        path=path,
    ) from cause


def _of_callable(path: str, value: Any) -> str:
    """What to do where a function or a class was given as data."""
    if isinstance(value, type):
        return (
            "a class cannot be sent: type= is what an answer or an event is decoded to, and a value is an object of it"
        )
    if path == "$.params":  # of a request
        return (
            "a function cannot be sent: request() calls none with the answer, it gives it, as "
            "answer = await client.request(method, params), without await on the blocking front"
        )
    if path == "$":
        return (
            "a function cannot be sent: on(event, handler) registers one, and what is to be answered is a request: "
            "answer = await client.request(method, params), without await on the blocking front"
        )
    return "a function cannot be sent: is it meant to be called there?"


def _encode_surrogates(data: Any, event: str, encode: Encode) -> bytes:
    import json  # only lone surrogates need it

    try:
        plain = _jsonable(msgspec.to_builtins(data, str_keys=True, enc_hook=partial(_builtin, encode)))
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError, InvalidJSON, InvalidPayload) as error:
        raise InvalidPayload(f"cannot emit {event!r}: {error}", event=event) from error


def _hook_of(encode: Encode) -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = encode.__self__.enc_hook  # type: ignore[attr-defined]  # a method of msgspec's Encoder
    return found


def _builtin(encode: Encode, value: Any) -> Any:
    """What stands in a ``Raw``, or what the hook makes of it; lone surrogates may be in either."""
    if not isinstance(value, Raw):
        return _hook_of(encode)(value)
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        found = _surrogates(b'{"type":"","data":' + bytes(value) + b"}", error)
        if isinstance(found, InvalidPayload):
            raise found from None
        return found.data


def _jsonable(value: Any) -> Any:
    """Not-a-number and the infinities as None, all the way down."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value


def _fault(value: Any, path: str, depth: int, encode: Encode) -> tuple[str, Any]:
    """The innermost part of ``value`` that cannot be encoded, and where it is."""
    if depth < 64:
        for name, part in _parts(value):
            try:
                encode(part)
            except (TypeError, ValueError, OverflowError, RecursionError, BufferError):
                return _fault(part, path + name, depth + 1, encode)
    return path, value


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f".{key}" if str(key).isidentifier() else f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    names: Iterable[str] = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", {})
    return [(f".{name}", getattr(value, name)) for name in names]


# ---- reading


def decode_large_envelope(frame: bytes) -> Envelope:
    """As ``decode_envelope``, and safe with large frames.

    ``float_hook`` would do for all of them, but costs each ordinary number 80 ns.
    """
    if len(frame) <= LARGE_FRAME:
        return decode_envelope(frame)
    return without_collector(_decode_long_numbers if has_many_long_numbers(frame) else decode_envelope, frame)


def decode_large_payload(payload: Raw, decode: Callable[[Any], Any]) -> Any:
    """``decode(payload)`` for a large one. ``float_hook`` is only for payloads without a type, so where numbers would
    take long the payload is read without one first (and a ``Decimal`` gets the digits of a double)."""
    if has_many_long_numbers(payload):
        payload = Raw(encode(without_collector(_decode_any_long_numbers, payload)))
    return without_collector(decode, payload)


def salvage(frame: bytes) -> Envelope | InvalidPayload:
    """Look closely at a frame that the fast decoder refused.

    Returns the message when it is sound after all (lone surrogates), or :class:`InvalidPayload` when the frame is
    well formed and its payload cannot be held in Python. Raises :class:`InvalidJSON`, :class:`InvalidMessage` or
    :class:`InvalidEvent` when it is no message at all.
    """
    try:
        name = decode_raw_envelope(frame).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return refused(frame, error)
    try:
        decode_large_envelope(frame)
    except RecursionError:
        return InvalidPayload(f"the payload of event {name[:64]!r} is nested too deeply", event=name)
    except msgspec.ValidationError as error:
        return _payload_fault(name, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _surrogates(frame, error)
    raise AssertionError("the frame decodes")  # pragma: no cover - the caller saw it fail


def refused(frame: bytes, error: Exception) -> Envelope | InvalidPayload:
    """A frame of which not even the envelope could be read, and why; as ``salvage``."""
    if isinstance(error, RecursionError):
        return nested_too_deeply(frame)
    if isinstance(error, msgspec.ValidationError):
        return _by_its_members(frame)
    return _surrogates(frame, error)


def nested_too_deeply(frame: bytes) -> InvalidPayload:
    """For a frame that cannot be decoded for its depth; it names the event where that comes first."""
    name = ""
    if found := _type_first.match(frame):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            name = _name.decode(found[1])
    return InvalidPayload(f"the payload of event {name[:64]!r} is nested too deeply", event=name)


def _payload_fault(name: str, error: msgspec.ValidationError) -> InvalidPayload:
    text = str(error)
    place = text.rpartition("`$.data")[2].rstrip("`") if "`$.data" in text else ""
    return InvalidPayload(f"the payload of event {name[:64]!r} cannot be held: {text}", event=name, path="$" + place)


def _by_its_members(frame: bytes) -> Envelope | InvalidPayload:
    """Of members that come twice the last one counts, as in JavaScript: a name may be there behind one that is none."""
    try:
        members = _members.decode(frame)
    except RecursionError:  # what kind of value it is stands before its depth
        raise InvalidMessage(
            "a message must be a JSON object with the members type and data, and is nested too deeply"
        ) from None
    except msgspec.ValidationError:
        raise InvalidMessage("a message must be a JSON object with the members type and data") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a lone surrogate, which is no fault
        return _surrogates(frame, error)
    if "type" not in members:
        raise InvalidEvent("a message has no event name: its member type is missing")
    name = bytes(members["type"]).strip()
    if not name.startswith(b'"'):
        raise InvalidEvent("an event's name must be text")
    once = b'{"type":' + name + b',"data":' + bytes(members.get("data", b"{}")) + b"}"
    try:
        return decode_large_envelope(once)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return salvage(once)


def _surrogates(frame: bytes, cause: Exception) -> Envelope | InvalidPayload:
    message = read_surrogates(frame, cause)
    if isinstance(message, InvalidPayload):
        return message
    if not isinstance(message, dict):
        raise InvalidMessage("a message must be a JSON object with the members type and data")
    if not isinstance(message.get("type"), str):
        raise InvalidEvent("an event's name must be text")
    return Envelope(message["type"], message.get("data", {}))


def read_surrogates(frame: bytes, cause: Exception) -> Any:
    """The values in bytes that msgspec refused for this cause.

    Lone surrogates are sound JSON and JavaScript sends them; msgspec refuses them in several words.

    Returns :class:`InvalidPayload` for what Python cannot hold, and raises :class:`InvalidJSON` for what is no JSON.
    """
    if not frame.strip():
        raise InvalidJSON("a frame is empty: two delimiters follow each other, or only spaces are between them")
    if b"\\u" not in frame:
        raise InvalidJSON(f"a frame is not JSON: {cause}") from cause
    import json  # only lone surrogates need it

    def refuse(constant: str) -> None:
        raise InvalidJSON(f"a frame is not JSON: {constant} is no JSON value")

    try:
        # As text: from bytes, json.loads would take a byte order mark, UTF-16 and UTF-32 as well.
        load = partial(json.loads, parse_constant=refuse, parse_float=_finite)
        return without_collector(load, str(frame, "utf-8"))
    except RecursionError:
        return InvalidPayload("a payload is nested too deeply")
    except json.JSONDecodeError as error:
        raise InvalidJSON(f"a frame is not JSON: {error}") from cause
    except InvalidJSON:
        raise
    except UnicodeDecodeError as error:
        raise InvalidJSON("a frame is not UTF-8, which JSON must be") from error
    except (ValueError, MemoryError) as error:  # more digits than int() takes, or more than a double holds
        return InvalidPayload(f"a payload cannot be held: {error}")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


_decode_long_numbers = msgspec.json.Decoder(Envelope, float_hook=_finite).decode
_decode_any_long_numbers = msgspec.json.Decoder(float_hook=_finite).decode
