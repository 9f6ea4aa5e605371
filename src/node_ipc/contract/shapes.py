"""The types of a contract as msgspec sees them, each named class with a name that every format can use.

``Shapes`` asks ``msgspec.inspect`` about all types at once, so that a class that several payloads share is one shape.
Formats walk the shapes; what they cannot say they tell with :func:`cannot_say`.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias, get_args

import msgspec
from msgspec import inspect

from ..wire.arrays import Bytes, BytesOrArray, is_known
from .model import Contract, ContractError, ContractWarning

__all__ = [
    "NAMED",
    "Named",
    "Shapes",
    "buffers_of",
    "cannot_say",
    "default_of",
    "description_of",
    "is_anything",
    "tag_of",
]

Named: TypeAlias = (
    inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType | inspect.EnumType
)
NAMED: tuple[type[Named], ...] = get_args(Named)


class Shapes:
    """What the payloads of a contract are made of."""

    def __init__(self, contract: Contract) -> None:
        """Look at every type. Raises :class:`ContractError` for one that no payload can have."""
        self.contract = contract
        payloads = contract.payloads()
        for place, type in payloads:
            _check(place, type)
        found = inspect.multi_type_info([type for _, type in payloads])
        self._by_place = {place: shape for (place, _), shape in zip(payloads, found, strict=True)}
        self._names: dict[int, str] = {}
        self.named: dict[str, Named] = {}
        """The classes by the names they have in every format, in the order of names."""
        self._name_all()

    def at(self, place: str) -> inspect.Type:
        """The shape of the payload at a place of ``contract.payloads()``."""
        return self._by_place[place]

    def name(self, shape: Named) -> str:
        """What a class is called in every format."""
        return self._names[id(shape)]

    def _name_all(self) -> None:
        found: dict[int, Named] = {}
        for shape in self._by_place.values():
            _gather(shape, found)
        classes: dict[Any, list[Named]] = {}
        for each in found.values():
            classes.setdefault(each.cls, []).append(each)
        short = Counter(_short(cls) for cls in classes)
        used: set[str] = set()
        for cls, shapes in classes.items():
            name = _short(cls) if short[_short(cls)] == 1 else _identifier(f"{cls.__module__}.{_label(cls)}")
            while name in used:
                name += "_"
            used.add(name)
            self.named[name] = shapes[0]
            self._names.update({id(each): name for each in shapes})
        self.named = dict(sorted(self.named.items()))


def _check(place: str, type: Any) -> None:
    """What ``on(event, type=…)`` would refuse is no payload."""
    try:
        msgspec.json.Decoder(type)
    except Exception as error:  # a name that is not defined in a class is a NameError, an odd Meta a ValueError
        raise ContractError(f"{place}: payloads cannot be of {type!r:.80}: {error}") from error


def _gather(shape: Any, found: dict[int, Named]) -> None:
    """Every named class below; classes may hold themselves."""
    waiting = [shape]
    while waiting:
        shape = waiting.pop()
        if isinstance(shape, NAMED):
            if id(shape) in found:
                continue
            found[id(shape)] = shape
        waiting += _parts(shape)


def _parts(shape: Any) -> Iterator[Any]:
    for name in ("type", "item_type", "key_type", "value_type"):
        if isinstance(part := getattr(shape, name, None), inspect.Type):
            yield part
    for name in ("types", "item_types"):
        yield from getattr(shape, name, ())
    for field in getattr(shape, "fields", ()):
        yield field.type


def _short(cls: Any) -> str:
    return _identifier(_label(cls))


def _label(cls: Any) -> str:
    """``Page[int]`` for a generic class of an int, ``Page`` for a plain one."""
    arguments = getattr(cls, "__args__", None)
    if arguments and (origin := getattr(cls, "__origin__", None)) is not None:
        return f"{origin.__name__}[{', '.join(_label(each) for each in arguments)}]"
    return str(getattr(cls, "__name__", None) or cls)


def _identifier(label: str) -> str:
    name = re.sub(r"\W+", "_", label).strip("_") or "Type"
    return f"_{name}" if name[0].isdigit() else name


def cannot_say(format: str, place: str, what: str, instead: str) -> None:
    """Warn of what a format has no words for."""
    warnings.warn(ContractWarning(f"{place}: {format} cannot say {what}; written: {instead}"), stacklevel=2)


def is_anything(shape: inspect.Type) -> bool:
    """Whether nothing is said about the payload."""
    return isinstance(shape, (inspect.AnyType, inspect.RawType)) or getattr(shape, "cls", None) is object


def buffers_of(shape: inspect.Type) -> tuple[str, ...]:
    """What stands in the JSON for the library's own types of bytes and arrays: ``"bytes"``, ``"array"``, or both."""
    cls = getattr(shape, "cls", None) if isinstance(shape, inspect.CustomType) else None
    if cls is Bytes:
        return ("bytes",)
    if cls is BytesOrArray:
        return ("bytes", "array")
    return ("array",) if cls is not None and is_known(getattr(cls, "__origin__", cls)) else ()


def description_of(shape: Named) -> str:
    """The docstring that somebody wrote, and not the one that ``dataclass`` or ``NamedTuple`` makes up."""
    cls = getattr(shape.cls, "__origin__", shape.cls)
    text = cls.__dict__.get("__doc__") or ""
    made_up = text.startswith(f"{cls.__name__}(") or text == "An enumeration."
    return "" if made_up else "\n".join(line.strip() for line in text.strip().splitlines())


def default_of(field: inspect.Field) -> Any:
    """A member's default as JSON has it, or ``UNSET`` where it has none that JSON can hold."""
    if field.required:
        return msgspec.UNSET
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory in (list, dict, set, frozenset, tuple, bytearray):
        value = field.default_factory()
    if value is msgspec.NODEFAULT or value is msgspec.UNSET:
        return msgspec.UNSET
    try:
        found = msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError):
        return msgspec.UNSET
    return msgspec.UNSET if found is None and value is not None else found  # NaN goes out as null


def tag_of(shape: Any) -> tuple[str, str | int] | None:
    """The member that tells a tagged Struct, and its value."""
    if isinstance(shape, inspect.StructType) and shape.tag_field is not None and shape.tag is not None:
        return shape.tag_field, shape.tag
    return None
