"""What a payload is decoded to: whatever comes, or the type that a handler, a request or ``receive`` asks for.

It comes in bytes (``Raw``), decoded already, or as JSON with bytes beside it (``Attached``), and every decoder here
takes each of these. What does not fit is :class:`InvalidPayload`, which says where and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import msgspec.inspect
from msgspec import Raw

from ..errors import InvalidPayload
from ..wire import surrogates
from ..wire.arrays import is_known, makes
from ..wire.attached import Attached
from ..wire.attached import convert as convert_attached
from ..wire.costs import LARGE_FRAME
from ..wire.json import decode_large_payload, encode, salvage, to_bytes

__all__ = ["DecodeHook", "Payload", "decode_any", "is_of_bytes", "is_payload_type", "made_decoder", "typed_decoder"]

DecodeHook: TypeAlias = Callable[[Any, Any], Any]
"""Makes a value of a type that msgspec does not know: ``dec_hook(type, value)``."""


class Payload:
    """A payload on its way to several handlers: decoded once at the most."""

    __slots__ = ("_decoded", "_name", "given")

    def __init__(self, given: Any, name: str) -> None:
        self.given = given
        self._name = name
        self._decoded = _UNDECODED if given.__class__ in (Raw, Attached) else given

    def decoded(self) -> Any:
        if self._decoded is _UNDECODED:
            self._decoded = _decode(self.given, self._name)
        return self._decoded


_CLASS = type
_UNDECODED: Any = object()
decode_any = msgspec.json.Decoder().decode


def _decode(raw: Any, name: str, decode: Callable[[Any], Any] = decode_any) -> Any:
    """A payload off the wire; :class:`InvalidPayload` where it does not fit or cannot be held."""
    if raw.__class__ is Attached:
        return _convert(raw, name, decode)
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise _misfit(error, name) from error
    except RecursionError as error:
        raise InvalidPayload(f"the payload of {name[:64]!r} is nested too deeply", event=name) from error
    except msgspec.DecodeError:
        # lone surrogates: rare, and sound JSON
        found = salvage(b'{"type":' + surrogates.written(name, name) + b',"data":' + bytes(raw) + b"}")
        if isinstance(found, InvalidPayload):
            raise found from None
        return _convert(found.data, name, decode)


def _convert(data: Any, name: str, decode: Callable[[Any], Any]) -> Any:
    attached = data.__class__ is Attached
    if decode is decode_any:
        return data.in_json() if attached else data
    try:
        if attached:
            wanted: msgspec.json.Decoder[Any] = decode.__self__  # type: ignore[attr-defined]  # whose method it is
            return convert_attached(data, wanted.type, wanted.dec_hook)
        try:
            return decode(encode(data))
        except UnicodeEncodeError:  # lone surrogates, which go through neither encoder nor decoder
            decoder: msgspec.json.Decoder[Any] = decode.__self__  # type: ignore[attr-defined]  # whose method it is
            return surrogates.convert(data, decoder.type, decoder.dec_hook)
    except msgspec.ValidationError as error:
        raise _misfit(error, name) from error
    except RecursionError as error:
        raise InvalidPayload(f"the payload of {name[:64]!r} is nested too deeply", event=name) from error
    except UnicodeEncodeError as error:  # a lone surrogate where a number is wanted
        raise InvalidPayload(f"the payload of {name[:64]!r} does not fit: {error}", event=name) from error


NO_BASE64 = {"Invalid base64 encoded string", "this payload holds no bytes: Only base64 data is allowed"}


def _misfit(error: msgspec.ValidationError, name: str) -> InvalidPayload:
    text, _, place = str(error).partition(" - at ")
    about, _, path = place.rpartition("key` in ")  # what does not fit may be the key of a dict
    if about:
        text = f"a key is wrong: {text}"
    path = path.strip("`") or "$"
    if text == "Expected `bytes`, got `object`":
        text += (
            ". If it is a Buffer of Node's, take it without a type there and use node_ipc.to_bytes, or send base64; "
            "node_ipc.Bytes takes either, and arrays"
        )
    if text in NO_BASE64 or text.startswith("this payload holds no bytes: Invalid base64"):
        text += ". Bytes are base64 text in JSON: where text was emitted, take str here, or emit bytes, text.encode()"
    if text in ("Expected `object`, got `str`", "Expected `array`, got `str`"):
        text += ". If it is JSON as text, as json.dumps gives it: emit takes the value itself"
    return InvalidPayload(f"the payload of {name[:64]!r} does not fit at {path}: {text}", event=name, path=path)


def typed_decoder(
    type: Any,
    name: str,
    dec_hook: DecodeHook | None = None,
    beside: Callable[[Attached, Any, str], None] | None = None,
) -> Callable[[Any], Any]:
    """What turns a payload, in bytes or decoded already, into ``type`` (None: whatever comes).

    It raises :class:`InvalidPayload` for one that does not fit. ``dec_hook`` makes what msgspec does not know. Raises
    ``TypeError`` for a type that no payload can ever be decoded to. ``beside`` is told of the first payload
    that fits and whose bytes came beside its JSON.
    """
    if type is Raw:
        return lambda data: data if data.__class__ in (Raw, Attached) else Raw(surrogates.written(data, name))
    decode = decode_any if type is None or type is object else _decoder(type, name, dec_hook)

    def decoded(data: Any) -> Any:
        nonlocal beside
        if data.__class__ is not Raw:
            made = _convert(data, name, decode)
            if beside is not None and data.__class__ is Attached and decode is not decode_any:
                look, beside = beside, None
                look(data, type, name)
            return made
        try:
            return decode(data) if len(data) <= LARGE_FRAME else decode_large_payload(data, decode)
        except (msgspec.MsgspecError, RecursionError):
            return _decode(data, name, decode)

    return _or_buffer(decoded, type, name) if type is bytes or type is bytearray else decoded


PAYLOADS = (dict, list, tuple, set, frozenset, str, int, float, bool, bytes, bytearray)


def is_payload_type(handler: Any) -> bool:
    """Whether a handler is rather the type of what is to come: an array's, a Struct, a dataclass, ``list[int]``."""
    if not isinstance(handler, _CLASS):
        return hasattr(handler, "__origin__")
    made = ("__struct_fields__", "__dataclass_fields__", "__total__", "__origin__")
    return handler in PAYLOADS or is_known(handler) or any(hasattr(handler, name) for name in made)


@surrogates.kept_by_type
def is_of_bytes(type: Any) -> bool:
    """Whether base64 text is read where payloads are to be of this type."""
    return type in (bytes, bytearray) or is_known(getattr(type, "__origin__", type))


def _or_buffer(decoded: Callable[[Any], Any], type: Any, name: str) -> Callable[[Any], Any]:
    """Bytes may also come as Node writes its ``Buffer``."""

    def bytes_of(data: Any) -> Any:
        try:
            return decoded(data)
        except InvalidPayload:
            whole = _decode(data, name) if data.__class__ is Raw else data
            if not isinstance(whole, dict) or whole.get("type") != "Buffer":
                raise
            return type(to_bytes(whole))

    return bytes_of


def _decoder(type: Any, name: str, dec_hook: DecodeHook | None) -> Callable[[Any], Any]:
    try:
        return made_decoder(type, dec_hook)
    except TypeError as error:
        why = str(error)
        if callable(type) and not isinstance(type, _CLASS) and not hasattr(type, "__origin__"):
            why = "that is a function" + (", and the type is numpy.ndarray" if type.__name__ == "array" else "")
        raise TypeError(f"payloads of {name!r} cannot be decoded to {type!r:.80}: {why}") from error


@surrogates.kept_by_type
def made_decoder(type: Any, dec_hook: DecodeHook | None) -> Callable[[Any], Any]:
    if dec_hook is None and (unknown := _unknown(msgspec.inspect.type_info(type), set())) is not None:
        raise TypeError(
            f"{unknown.__module__}.{unknown.__qualname__} is no type that msgspec knows. Set the option dec_hook, a "
            "function (type, value) that makes it, or use a Struct, a dataclass or a built-in type"
        )
    return msgspec.json.Decoder(type, dec_hook=makes(dec_hook)).decode


def _unknown(info: Any, seen: set[int]) -> Any:
    """The first class inside a type that only a hook could make; None where there is none."""
    if isinstance(info, msgspec.inspect.CustomType):
        return None if info.cls is object or is_known(info.cls) else info.cls
    if id(info) in seen or not isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        return None
    seen.add(id(info))
    for name in info.__struct_fields__:
        part = getattr(info, name)
        for each in part if isinstance(part, tuple) else (part,):
            if (found := _unknown(each, seen)) is not None:
                return found
    return None
