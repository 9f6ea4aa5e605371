"""Payloads with lone surrogates, which msgspec neither writes nor reads, as values of a type all the same.

The standard library has read them; what is left is to make of plain values what the type wants. ``msgspec.convert``
does so for all but ``Raw``, the bytes that a part stands in: those are written anew, where the type has one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw
from msgspec import inspect as types

from .json import encode, encode_slowly

__all__ = ["convert", "fitting", "kept_by_type", "part_of", "with_raws", "written"]

F = TypeVar("F", bound=Callable[..., Any])


def kept_by_type(make: F) -> F:
    """A decorator: what was made of the latest 256 types is kept, but for those that cannot be hashed."""
    kept = lru_cache(maxsize=256)(make)

    @wraps(kept)
    def made(*arguments: Any) -> Any:
        try:
            return kept(*arguments)
        except TypeError:  # what nothing can be made of raises once more
            return make(*arguments)

    return cast("F", made)


def convert(data: Any, type: Any, dec_hook: Callable[[Any, Any], Any] | None = None) -> Any:
    """Plain values as ``type``; raises ``msgspec.ValidationError`` where they do not fit."""
    return msgspec.convert(with_raws(data, types.type_info(type)), type, str_keys=True, dec_hook=dec_hook)


def written(data: Any, event: str) -> bytes:
    """Plain values back in bytes; what JSON cannot hold is :class:`InvalidPayload`."""
    try:
        return encode(data)
    except UnicodeEncodeError as error:
        return encode_slowly(data, event, error)


def with_raws(data: Any, info: Any) -> Any:
    """The same, with each part as ``Raw`` that is to be one."""
    info = fitting(info, data)
    if isinstance(info, types.RawType):
        return Raw(written(data, ""))
    if isinstance(data, dict):
        part = _members(info)
        return {key: with_raws(value, part(key)) for key, value in data.items()}
    if isinstance(data, list):
        item = _items(info)
        return [with_raws(value, item(index)) for index, value in enumerate(data)]
    return data


def fitting(info: Any, data: Any) -> Any:
    """Of a union the member that data looks like, or None; of any other type itself."""
    if isinstance(info, types.UnionType):
        return next((each for each in info.types if _may_be(data, each)), None)
    return info


def part_of(info: Any, data: Any, step: str | int) -> Any:
    """The type of one value in a dict or a list; None where this type says nothing of it."""
    part: Callable[[Any], Any] = _members(info) if isinstance(data, dict) else _items(info)
    return part(step)


def _may_be(data: Any, info: Any) -> bool:
    """Whether data looks like this member of a union: those differ in kind, or else by their tags."""
    if isinstance(info, types.RawType):
        return True
    if isinstance(info, types.StructType):
        if info.array_like:
            return isinstance(data, list) and (info.tag_field is None or data[:1] == [info.tag])
        return isinstance(data, dict) and (info.tag_field is None or data.get(info.tag_field) == info.tag)
    return isinstance(info, _OF_DICTS if isinstance(data, dict) else _OF_LISTS if isinstance(data, list) else ())


_OF_DICTS = (types.DictType, types.TypedDictType, types.DataclassType)
_OF_ONE_KIND = (types.ListType, types.VarTupleType, types.SetType, types.FrozenSetType)
_OF_LISTS = (*_OF_ONE_KIND, types.TupleType, types.NamedTupleType)


def _members(info: Any) -> Callable[[Any], Any]:
    """By its key, the type of a value in a dict."""
    if isinstance(info, types.DictType):
        return lambda key: info.value_type
    return {field.encode_name: field.type for field in getattr(info, "fields", ())}.get


def _items(info: Any) -> Callable[[int], Any]:
    """By its index, the type of a value in a list."""
    if isinstance(info, _OF_ONE_KIND):
        return lambda index: info.item_type
    if isinstance(info, types.TupleType):
        in_order = list(info.item_types)
    else:
        tag = [None] if getattr(info, "tag_field", None) is not None else []
        in_order = tag + [field.type for field in getattr(info, "fields", ())]
    return dict(enumerate(in_order)).get
