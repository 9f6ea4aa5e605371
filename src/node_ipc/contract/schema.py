"""JSON Schema 2020-12, written so that a validator and a handler judge a payload alike.

msgspec's own schemas are for documentation: they say that a set's items are unique, that a UUID has dashes, and
nothing of the keys of a dict or the zone of a date. Here formats that msgspec reads more freely, or more narrowly,
than their names say are patterns. Two things stay, since JSON Schema has no words for them: to a validator ``1.0`` is
an integer and the thirtieth of February may be a date.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from msgspec import UNSET, inspect

from .model import Contract
from .shapes import NAMED, Named, Shapes, buffers_of, cannot_say, default_of, description_of, is_anything, tag_of

__all__ = ["DIALECT", "LIMITS", "MOMENTS", "PATTERNS", "Schemas", "json_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DATE = "(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_ZONE = "([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
_HEX = "[0-9a-fA-F]"
_SOME = r"[0-9]+(\.[0-9]+)?"
_BASE64 = "[A-Za-z0-9+/]"
PATTERNS = {
    "date": f"^{_DATE}$",
    "base64": f"^({_BASE64}{{4}})*({_BASE64}{{2}}==|{_BASE64}{{3}}=)?$",
    "uuid": f"^({_HEX}{{32}}|{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}})$",
    "duration": f"^[+-]?[Pp](?=[0-9Tt])({_SOME}[Dd])?([Tt](?=[0-9])({_SOME}[Hh])?({_SOME}[Mm])?({_SOME}[Ss])?)?$",
    "decimal": (
        r"^\s*[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
        r"|[iI][nN][fF]([iI][nN][iI][tT][yY])?|[sS]?[nN][aA][nN][0-9]*)\s*$"
    ),
    "int": "^(0|-?[1-9][0-9]*)$",
    "float": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$",
}
"""What msgspec takes as text, by what the text stands for."""
MOMENTS = {
    (kind, zone): f"^{text}{pattern}$"
    for kind, text in (("date-time", f"{_DATE}[Tt ]{_TIME}"), ("time", _TIME))
    for zone, pattern in ((True, _ZONE), (False, ""), (None, f"{_ZONE}?"))
}
"""The same for dates and times: with a zone, without one, and either way."""
LIMITS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
"""The limits of numbers, as msgspec calls them."""
FOREIGN = re.compile(r"\(\?[aiLmsuxP#(]|\\[AZ]|\(\?<[=!]|[*+?}]\+")
"""What Python's regular expressions have and those of JSON Schema need not."""


def json_schema(contract: Contract) -> dict[str, Any]:
    """The contract's payloads as one JSON Schema 2020-12 document.

    The document itself takes any of the events as they are on the wire, ``{"type": …, "data": …}``. In its ``$defs``
    each class stands by its name, and each payload by its place: ``#/$defs/receives.order``,
    ``#/$defs/answers.add.params``.

    Example:
        >>> shop = contract.Contract("shop", receives=[contract.Message("order", dict[str, int])])
        >>> sorted(contract.json_schema(shop)["$defs"])
        ['receives.order']
    """
    schemas = Schemas(contract, "#/$defs/")
    said = {"title": contract.title, "description": contract.description}
    events = [f"{way}.{each.name}" for way in ("receives", "sends") for each in getattr(contract, way)]
    return {
        "$schema": DIALECT,
        **{key: text for key, text in said.items() if text},
        "anyOf": [_envelope(place) for place in events] or [False],
        "$defs": {**{place: schemas.at(place) for place, _ in contract.payloads()}, **schemas.definitions()},
    }


def _envelope(place: str) -> dict[str, Any]:
    pointer = quote(place.replace("~", "~0").replace("/", "~1"), safe="~")
    return {
        "type": "object",
        "properties": {"type": {"const": place.partition(".")[2]}, "data": {"$ref": f"#/$defs/{pointer}"}},
        "required": ["type", "data"],
    }


class Schemas:
    """The schemas of a contract's payloads; classes are references to what begins with ``prefix``."""

    def __init__(self, contract: Contract, prefix: str, *, draft7: bool = False) -> None:
        """``draft7`` is the older form that AsyncAPI's own schemas have."""
        self._shapes = Shapes(contract)
        self._prefix = prefix
        self._draft7 = draft7

    def at(self, place: str) -> dict[str, Any]:
        """The schema of one payload, as ``contract.payloads()`` names it."""
        return self._schema(self._shapes.at(place), place)

    def definitions(self) -> dict[str, Any]:
        """The schema of each class by name."""
        return {name: self._definition(name, shape) for name, shape in self._shapes.named.items()}

    # ---- classes

    def _definition(self, name: str, shape: Named) -> dict[str, Any]:
        said = {"title": name}
        if text := description_of(shape):
            said["description"] = text
        if isinstance(shape, inspect.EnumType):
            return {**said, "enum": [each.value for each in shape.cls]}
        if isinstance(shape, inspect.NamedTupleType) or getattr(shape, "array_like", False):
            return {**said, **self._row(name, shape)}
        return {**said, **self._object(name, shape)}

    def _object(self, name: str, shape: Any) -> dict[str, Any]:
        tag = tag_of(shape)
        members: dict[str, Any] = {} if tag is None else {tag[0]: {"const": tag[1]}}
        members |= {each.encode_name: self._member(each, name) for each in shape.fields}
        required = [] if tag is None else [tag[0]]
        required += [each.encode_name for each in shape.fields if each.required]
        schema: dict[str, Any] = {"type": "object", "properties": members, "required": required}
        if getattr(shape, "forbid_unknown_fields", False):
            schema["additionalProperties"] = False
        return schema

    def _row(self, name: str, shape: Any) -> dict[str, Any]:
        """A class that goes out as an array."""
        tag = tag_of(shape)
        items = ([] if tag is None else [{"const": tag[1]}]) + [self._member(each, name) for each in shape.fields]
        least = len(items) - sum(not each.required for each in shape.fields)
        schema = {"type": "array", **self._places(items), "minItems": least}
        if isinstance(shape, inspect.NamedTupleType) or shape.forbid_unknown_fields:
            schema["maxItems"] = len(items)
        return schema

    def _places(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """The schemas of an array's items one by one; an empty list of them is not allowed."""
        return {"items" if self._draft7 else "prefixItems": items} if items else {}

    def _member(self, field: inspect.Field, name: str) -> dict[str, Any]:
        schema = self._schema(field.type, f"{name}.{field.name}")
        default = default_of(field)
        return self._with(schema, {} if default is UNSET else {"default": default})

    def _with(self, schema: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        if more and self._draft7 and "$ref" in schema:
            return {"allOf": [schema], **more}  # where a reference stands, draft 7 reads nothing else
        return {**schema, **more}

    # ---- everything else

    def _schema(self, shape: Any, place: str) -> dict[str, Any]:
        if isinstance(shape, inspect.Metadata):
            return self._with(self._schema(shape.type, place), shape.extra_json_schema or {})
        if isinstance(shape, NAMED):
            return {"$ref": f"{self._prefix}{self._shapes.name(shape)}"}
        if isinstance(shape, inspect.UnionType):
            return {"anyOf": [self._schema(each, place) for each in shape.types]}
        if isinstance(shape, inspect.LiteralType):
            return {"enum": list(shape.values)}
        if isinstance(shape, (inspect.DictType, *_FROZEN_DICT)):
            return self._dict(shape, place)
        if isinstance(shape, inspect.TupleType):
            items = [self._schema(each, f"{place}[{n}]") for n, each in enumerate(shape.item_types)]
            return {"type": "array", **self._places(items), "minItems": len(items), "maxItems": len(items)}
        if isinstance(shape, inspect.CollectionType):
            item = self._schema(shape.item_type, f"{place}[]")
            return {"type": "array", **({"items": item} if item else {}), **_sizes(shape, "Items")}
        if (write := _LEAVES.get(type(shape))) is not None:
            schema: dict[str, Any] = write(shape, place)
            return schema
        if buffers := [_BUFFERS[each] for each in buffers_of(shape)]:
            return buffers[0] if len(buffers) == 1 else {"anyOf": buffers}
        if not is_anything(shape):
            cannot_say("JSON Schema", place, repr(getattr(shape, "cls", shape)), "{} (anything)")
        return {}

    def _dict(self, shape: Any, place: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        if values := self._schema(shape.value_type, f"{place}[…]"):
            schema["additionalProperties"] = values
        if (names := self._key(shape.key_type, f"{place} (keys)")) != {"type": "string"}:
            schema["propertyNames"] = names
        return {**schema, **_sizes(shape, "Properties")}

    def _key(self, shape: Any, place: str) -> dict[str, Any]:
        """What a member's name must be: JSON has text there only, and numbers are read from it."""
        if isinstance(shape, inspect.Metadata):
            return self._key(shape.type, place)
        if isinstance(shape, inspect.UnionType):
            return {"anyOf": [self._key(each, place) for each in shape.types]}
        if isinstance(shape, inspect.LiteralType):
            return {"enum": [str(each) for each in shape.values]}
        if isinstance(shape, inspect.EnumType):
            return {"enum": [str(each.value) for each in shape.cls]}
        kind = {inspect.IntType: "int", inspect.FloatType: "float", inspect.DecimalType: "decimal"}.get(type(shape))
        if kind is None:
            return self._schema(shape, place)
        if any(getattr(shape, limit, None) is not None for limit in LIMITS.values()):
            cannot_say("JSON Schema", place, "limits of numbers that are text", "any number")
        return {"pattern": PATTERNS[kind]}


_FROZEN_DICT: tuple[Any, ...] = (inspect.FrozenDictType,) if hasattr(inspect, "FrozenDictType") else ()  # new in 0.21


def _sizes(shape: Any, of: str) -> dict[str, int]:
    sizes = {f"min{of}": shape.min_length, f"max{of}": shape.max_length}
    return {key: value for key, value in sizes.items() if value is not None}


def _number(kind: str) -> Any:
    def write(shape: Any, place: str) -> dict[str, Any]:
        limits = {key: getattr(shape, limit) for key, limit in LIMITS.items()}
        return {"type": kind, **{key: value for key, value in limits.items() if value is not None}}

    return write


def _text(shape: Any, place: str) -> dict[str, Any]:
    schema = {"type": "string", **_sizes(shape, "Length")}
    if shape.pattern is not None:
        if FOREIGN.search(shape.pattern):
            cannot_say("JSON Schema", place, f"the pattern {shape.pattern!r}, which is Python's", "any text")
        else:
            schema["pattern"] = shape.pattern
    return schema


def _bytes(shape: Any, place: str) -> dict[str, Any]:
    least, most = shape.min_length or 0, shape.max_length
    pattern = PATTERNS["base64"] if not least and most is None else _base64_of(least, most)
    return {"type": "string", "contentEncoding": "base64", "pattern": pattern}


def _base64_of(least: int, most: int | None) -> str:
    """Base64 of so many bytes and no other: the padding tells how many the last four characters stand for."""
    options = []
    for rest, end in enumerate(("", f"{_BASE64}{{2}}==", f"{_BASE64}{{3}}=")):
        low = max(-(-(least - rest) // 3), 0)
        high = None if most is None else (most - rest) // 3
        if high is None or high >= low:
            options.append(f"({_BASE64}{{4}}){{{low},{'' if high is None else high}}}{end}")
    return f"^({'|'.join(options)})$"


def _moment(shape: inspect.DateTimeType | inspect.TimeType, place: str) -> dict[str, Any]:
    kind = "date-time" if isinstance(shape, inspect.DateTimeType) else "time"
    schema = {"type": "string", "pattern": MOMENTS[kind, shape.tz]}
    return {**schema, "format": kind} if shape.tz else schema  # the formats of that name demand a zone


def _written(kind: str) -> Any:
    return lambda shape, place: {"type": "string", "format": kind, "pattern": PATTERNS[kind]}


_BUFFERS: dict[str, dict[str, Any]] = {
    "bytes": {"type": "string", "contentEncoding": "base64", "pattern": PATTERNS["base64"]},
    "array": {
        "type": "object",
        "description": 'An array of NumPy\'s: dtype as "<f4", for records a list of [name, dtype]; data are its bytes.',
        "properties": {
            "dtype": {"type": ["string", "array"]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "order": {"enum": ["C", "F"]},
            "data": {"type": "string", "contentEncoding": "base64", "pattern": PATTERNS["base64"]},
        },
        "required": ["dtype", "shape", "data"],
    },
}
_LEAVES: dict[Any, Any] = {
    inspect.AnyType: lambda shape, place: {},
    inspect.RawType: lambda shape, place: {},
    inspect.NoneType: lambda shape, place: {"type": "null"},
    inspect.BoolType: lambda shape, place: {"type": "boolean"},
    inspect.IntType: _number("integer"),
    inspect.FloatType: _number("number"),
    inspect.StrType: _text,
    inspect.BytesType: _bytes,
    inspect.ByteArrayType: _bytes,
    inspect.MemoryViewType: _bytes,
    inspect.DateTimeType: _moment,
    inspect.TimeType: _moment,
    inspect.DateType: _written("date"),
    inspect.UUIDType: _written("uuid"),
    inspect.TimeDeltaType: _written("duration"),
    inspect.DecimalType: lambda shape, place: {
        "anyOf": [{"type": "string", "format": "decimal", "pattern": PATTERNS["decimal"]}, {"type": "number"}]
    },
}
