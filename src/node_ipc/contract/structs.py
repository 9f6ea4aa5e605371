"""From JSON Schema to Python: Structs for objects, and for everything else the type that msgspec reads.

Whatever the schemas' authors wrote goes into the source as text and never as code.
"""

from __future__ import annotations

import keyword
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from .model import ContractError, ContractWarning
from .schema import LIMITS as NUMBERS
from .schema import MOMENTS, PATTERNS

__all__ = [
    "Names",
    "Types",
    "as_docstring",
    "as_text",
    "constant",
    "imports",
    "last_part",
    "quoted",
    "snake_case",
    "unchecked",
]

IMPORTS = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Any", "Literal"),
    "uuid": ("UUID",),
    "msgspec": ("UNSET", "Meta", "Struct", "UnsetType", "field"),
    "node_ipc": ("Event",),
    "node_ipc.contract": ("Contract", "Method"),
}
FORMATS = {
    "date-time": "Annotated[datetime, Meta(tz=True)]",
    "time": "Annotated[time, Meta(tz=True)]",
    "date": "date",
    "duration": "timedelta",
    "uuid": "UUID",
    "byte": "bytes",
    "decimal": "Decimal",
}
_KINDS = {"date-time": "datetime", "time": "time"}
KNOWN = {
    **{MOMENTS[kind, None]: word for kind, word in _KINDS.items()},
    **{MOMENTS[kind, False]: f"Annotated[{word}, Meta(tz=False)]" for kind, word in _KINDS.items()},
}
"""Patterns of our own documents that stand for a type."""
LIMITS = {
    "number": NUMBERS,
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "array": {"minItems": "min_length", "maxItems": "max_length"},
    "object": {"minProperties": "min_length", "maxProperties": "max_length"},
}
IMPLIED = {"properties": "object", "additionalProperties": "object", "items": "array", "prefixItems": "array"}
"""What shows the type of a schema that names none."""
PLAIN = {"boolean": "bool", "null": "None"}
UNCHECKED = (
    "not", "if", "then", "else", "uniqueItems", "contains", "minContains", "maxContains", "patternProperties",
    "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
)  # fmt: skip
"""What a schema may demand and msgspec does not check."""


ANNOTATIONS = (
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment",
    "externalDocs", "discriminator", "$id", "$schema",
)  # fmt: skip
MERGED = {"type", "properties", "required", "additionalProperties", *ANNOTATIONS}
"""What the parts of an ``allOf`` may say."""


MEANT = {name for group in IMPORTS.values() for name in group}
MEANT |= {"bool", "bytes", "dict", "float", "int", "list", "str", "tuple"}
"""Names that the annotations use: nothing else may be called so."""


class Types:
    """Schemas as Python types; classes and aliases are written when they are first met."""

    def __init__(self, resolve: Callable[[Any, str], Any]) -> None:
        self._resolve = resolve
        self._names = Names(MEANT | {"contract"})
        self._named: dict[str, str] = {}
        self._classes: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._open: dict[str, int] = {}  # aliases that are being written, and within how many classes
        self._met_again: set[str] = set()
        self._classes_around = 0

    @property
    def taken(self) -> set[str]:
        """Names that mean something already."""
        return self._names.taken

    def written(self) -> str:
        """All classes, then all aliases, each after those it needs."""
        aliases = "\n".join(f"{name} = {text}" for name, text in self._aliases.items())
        return "\n\n".join([*self._classes.values(), *([aliases + "\n"] if aliases else [])])

    def expression(self, schema: Any, where: str, hint: str) -> str:
        """The Python type of a schema; ``hint`` names the class where one has to be made.

        Raises :class:`ContractError` where there is none.
        """
        if schema is True or schema == {}:
            return "Any"
        if not isinstance(schema, Mapping):
            raise ContractError(f"{where}: no payload fits the schema {schema!r:.60}, or it is no schema")
        if "$ref" in schema:
            return self._reference(schema, where)
        for word in UNCHECKED:
            if schema.get(word) not in (None, False, {}, []):
                unchecked(where, word, "what is left without it")
        if "allOf" in schema:
            if _is_merged(schema):
                return self._new_class(self._merged(schema, where), where, hint)
            return self.expression(schema["allOf"][0], f"{where}/allOf/0", hint)
        for word in ("anyOf", "oneOf"):
            if word in schema and not _only_requires(schema[word]):
                return self._union(self._options(schema, word, where), f"{where}/{word}", hint)
        if "const" in schema or "enum" in schema:
            return _literal([schema["const"]] if "const" in schema else schema["enum"], where)
        return self._by_type(schema, where, hint)

    def _reference(self, schema: Mapping[str, Any], where: str) -> str:
        ref = schema["$ref"]
        target = self._resolve(schema, where)
        if ref in self._open:  # in itself: annotations of classes can name what is not there yet, and nothing else can
            if self._open[ref] == self._classes_around:
                raise ContractError(f"{where}: {ref!r:.100} holds itself without an object between")
            self._met_again.add(ref)
        if ref in self._named:
            return self._named[ref]
        name = self._named[ref] = self._names.new(_pascal(last_part(schema)), last_part(schema))
        if _is_class(target) or _is_row(target) or _is_merged(target):
            self._class(name, self._merged(target, ref) if _is_merged(target) else target, ref)
            return name
        self._open[ref] = self._classes_around
        text = self.expression(target, ref, name)
        del self._open[ref]
        if ref not in self._met_again and re.fullmatch(r"\w+(\[\w+(, \w+)*\])?", text):  # as short as its name
            self._names.taken.discard(name)
            self._named[ref] = text
            return text
        self._aliases[name] = text
        return name

    def _merged(self, schema: Mapping[str, Any], where: str) -> dict[str, Any]:
        """One object with the members of all parts of an ``allOf``, and with those beside it."""
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        self._merge(merged, schema, where)
        return merged | ({"description": schema["description"]} if "description" in schema else {})

    def _merge(self, into: dict[str, Any], part: Any, where: str) -> None:
        """Put the members of one object of an ``allOf`` to those of the others."""
        if isinstance(part, Mapping) and "allOf" in part:
            for number, each in enumerate(part["allOf"]):
                self._merge(into, self._resolve(each, where), f"{where}/allOf/{number}")
            part = {key: value for key, value in part.items() if key != "allOf"}
        if not isinstance(part, Mapping) or set(part) - MERGED or part.get("type", "object") != "object":
            raise ContractError(f"{where}: only objects can be put together with allOf")
        into["properties"] |= part.get("properties") or {}
        into["required"] += part.get("required") or []
        if part.get("additionalProperties") is False:
            into["additionalProperties"] = False

    def _options(self, schema: Mapping[str, Any], word: str, where: str) -> Any:
        """What a payload may be, each with what the schema says beside the options."""
        options = schema[word]
        beside = {key: value for key, value in schema.items() if key not in (word, *ANNOTATIONS)}
        if not beside or not isinstance(options, list):
            return options
        if "properties" in beside or "required" in beside:
            return [{"allOf": [beside, each]} for each in options]
        return [{**beside, **self._resolve(each, where)} for each in options]

    def _union(self, options: Any, where: str, hint: str) -> str:
        if not isinstance(options, list) or not options:
            raise ContractError(f"{where}: a list of schemas is needed, not {options!r:.60}")
        found = [
            self.expression(each, f"{where}/{number}", f"{hint} {number + 1}") for number, each in enumerate(options)
        ]
        if "Decimal" in found and {"float", "int"} & set(found):
            found = [each for each in found if each not in ("float", "int")]
        return " | ".join(dict.fromkeys(found))

    def _by_type(self, schema: Mapping[str, Any], where: str, hint: str) -> str:
        types = schema.get("type") or next((type for word, type in IMPLIED.items() if word in schema), None)
        if types is None:
            return "Any"
        if isinstance(types, list):
            options = [{**schema, "type": each} for each in types]
            return self._union(options, f"{where}/type", hint)
        if schema.get("nullable") is True and types != "null":
            return f"{self._by_type({**schema, 'nullable': False}, where, hint)} | None"
        if types in PLAIN:
            return PLAIN[types]
        if types in ("integer", "number"):
            return _limited("int" if types == "integer" else "float", schema, "number", where)
        if types == "string":
            return _string(schema, where)
        if types == "array":
            return self._array(schema, where, hint)
        if types == "object":
            return self._object(schema, where, hint)
        raise ContractError(f"{where}/type: there is no type {types!r:.60}")

    def _array(self, schema: Mapping[str, Any], where: str, hint: str) -> str:
        if _is_row(schema):
            return self._new_class(schema, where, hint)
        if (places := _places(schema)) is not None:
            found = [self.expression(each, f"{where}/{n}", f"{hint} {n}") for n, each in enumerate(places)]
            return f"tuple[{', '.join(found)}]"
        if schema.get("maxItems") == 0:
            return "tuple[()]"
        item = self.expression(schema.get("items", {}), f"{where}/items", f"{hint} item")
        return _limited(f"list[{item}]", schema, "array", where)

    def _object(self, schema: Mapping[str, Any], where: str, hint: str) -> str:
        if _is_class(schema):
            return self._new_class(schema, where, hint)
        more = schema.get("additionalProperties", {})
        if more is False:
            return self._new_class({**schema, "properties": {}}, where, hint)
        names = {"type": "string", **(schema.get("propertyNames") or {})}
        numbers = {PATTERNS["int"]: "int", PATTERNS["float"]: "float"}
        key = numbers.get(names.get("pattern", "")) or self.expression(names, f"{where}/propertyNames", hint)
        value = self.expression(more, f"{where}/additionalProperties", f"{hint} value")
        return _limited(f"dict[{key}, {value}]", schema, "object", where)

    # ---- classes

    def _new_class(self, schema: Mapping[str, Any], where: str, hint: str) -> str:
        name = self._names.new(_pascal(hint), hint)
        self._class(name, schema, where)
        return name

    def _class(self, name: str, schema: Mapping[str, Any], where: str) -> None:
        self._classes_around += 1
        options, lines = (self._row if _is_row(schema) else self._members)(name, schema, where)
        self._classes_around -= 1
        if schema.get("description"):
            lines = [as_docstring(str(schema["description"])), *([""] if lines else []), *lines]
        body = lines or ["    pass"]
        self._classes[name] = f"class {name}({', '.join(['Struct', *options])}):\n" + "\n".join(body) + "\n"

    def _members(self, name: str, schema: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
        members, required = dict(schema.get("properties") or {}), schema.get("required") or []
        more = schema.get("additionalProperties", True)
        if more not in (True, False, {}):
            unchecked(f"{where}/additionalProperties", "members of any name beside those that have one", "no check")
        for word in ("minProperties", "maxProperties", "propertyNames"):
            if schema.get(word) is not None:
                unchecked(where, word, "no check")
        members |= {each: {} for each in required if each not in members}
        options = []
        tag = self._tag(members, required, where)
        if tag is not None:
            value = constant(self._resolve(members.pop(tag), where))
            options = [f"tag_field={quoted(tag)}", f"tag={value if isinstance(value, int) else quoted(value)}"]
        if more is False:
            options.append("forbid_unknown_fields=True")
        names = Names(MEANT)
        lines = []
        for key in sorted(members, key=lambda key: key not in required):  # those with a default come last
            place = f"{where}/properties/{key}"
            lines.append(self._field(names.new(snake_case(key), key), key, members[key], key in required, place, name))
        return options, lines

    def _tag(self, members: Mapping[str, Any], required: list[str], where: str) -> str | None:
        """The member that is always the same text or number: by it a union is told apart."""
        for key in members:
            if key in required and type(constant(self._resolve(members[key], where))) in (str, int):
                return key
        return None

    def _field(self, name: str, key: str, schema: Any, is_required: bool, where: str, owner: str) -> str:
        type = self.expression(schema, where, f"{owner} {key}")
        renamed = f"name={quoted(key)}" if name != key else ""
        if is_required:
            return f"    {name}: {type}" + (f" = field({renamed})" if renamed else "")
        default = _default(schema, self._aliases.get(type, type))
        if default is None:
            type, default = ("Any" if type == "Any" else f"{type} | UnsetType"), "UNSET"
        if renamed:
            factory = {"[]": "list", "{}": "dict"}.get(default)
            how = f"default_factory={factory}" if factory else f"default={default}"
            return f"    {name}: {type} = field({how}, {renamed})"
        return f"    {name}: {type} = {default}"

    def _row(self, name: str, schema: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
        """A class that goes over the wire as an array."""
        places = list(_places(schema) or [])
        least, options = schema.get("minItems", 0), ["array_like=True"]
        if schema.get("maxItems") == len(places) or schema.get("items") is False:
            options.append("forbid_unknown_fields=True")
        if places and least and isinstance(tag := constant(self._resolve(places[0], where)), str):
            options.append(f"tag={quoted(tag)}")
            places, least = places[1:], least - 1
        return options, [
            self._field(f"item_{n}", f"item_{n}", each, n < least, f"{where}/{n}", name)
            for n, each in enumerate(places)
        ]


class Names:
    """Identifiers, none of them twice."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = set(taken)
        """What may not be used any more."""

    def new(self, wanted: str, said: str) -> str:
        """A name like ``wanted``, which was made of what others ``said`` and may be empty."""
        name = wanted or f"name_{len(said)}"
        if name[0].isdigit():
            name = f"n{name}"
        if keyword.iskeyword(name) or name in self.taken:
            name += "_"
        plain, number = name, 1
        while name in self.taken:
            number += 1
            name = f"{plain}{number}"
        self.taken.add(name)
        return name


def _is_class(schema: Any) -> bool:
    """Whether it is an object whose members have names."""
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        return False
    if {"allOf", "anyOf", "oneOf", "enum", "const", "$ref"} & set(schema):
        return bool(_only_requires(schema.get("oneOf", schema.get("anyOf")))) and "properties" in schema
    return "properties" in schema or bool(schema.get("required"))


def _is_merged(schema: Any) -> bool:
    """Whether it is an ``allOf`` of several parts, and not one with a description beside it."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get("allOf"), list):
        return False
    return len(schema["allOf"]) != 1 or bool(set(schema) - {"allOf", *ANNOTATIONS})


def _is_row(schema: Any) -> bool:
    """Whether it is an array of places, some of which may be left out: a tuple has them all."""
    if not isinstance(schema, Mapping) or schema.get("type", "array") != "array":
        return False
    places = _places(schema)
    return places is not None and not schema.get("minItems", 0) == len(places) == schema.get("maxItems", len(places))


def _places(schema: Mapping[str, Any]) -> list[Any] | None:
    """The schemas of an array's items one by one, as 2020-12 or draft 7 have them."""
    items = schema.get("items")
    places = schema.get("prefixItems", items if isinstance(items, list) else None)
    return places if isinstance(places, list) else None


def _only_requires(options: Any) -> bool:
    """``oneOf: [{required: [a]}, {required: [b]}]``: says nothing of types."""
    if not isinstance(options, list) or not options:
        return False
    return all(isinstance(each, Mapping) and [*each] == ["required"] for each in options)


def constant(schema: Any) -> Any:
    """The one value that a schema allows, or None."""
    if isinstance(schema, Mapping):
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and len(schema["enum"]) == 1:
            return schema["enum"][0]
    return None


def _literal(values: Any, where: str) -> str:
    if not isinstance(values, list) or not values:
        raise ContractError(f"{where}: enum is a list of values, not {values!r:.60}")
    for value in values:
        if value is not None and type(value) not in (str, int):
            raise ContractError(f"{where}: only texts, whole numbers and null can be enumerated, not {value!r:.60}")
    if values == [None]:
        return "None"
    return f"Literal[{', '.join('None' if each is None else _value(each) for each in values)}]"


def _string(schema: Mapping[str, Any], where: str) -> str:
    if schema.get("contentEncoding") == "base64":
        return "bytes"
    if (known := FORMATS.get(schema.get("format", "")) or KNOWN.get(schema.get("pattern", ""))) is not None:
        return known
    pattern = schema.get("pattern")
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, TypeError):
            unchecked(f"{where}/pattern", f"{pattern!r:.100}, which is no regular expression of Python's", "any text")
            schema = {key: value for key, value in schema.items() if key != "pattern"}
    return _limited("str", schema, "string", where)


def _limited(type: str, schema: Mapping[str, Any], kind: str, where: str) -> str:
    found = []
    for word, limit in LIMITS[kind].items():
        value = schema.get(word)
        if value is None:
            continue
        if isinstance(value, bool):
            raise ContractError(f"{where}/{word}: a number is needed, not {value} (that was draft 4)")
        if kind != "number" and isinstance(value, float) and value.is_integer():
            value = int(value)
        found.append(f"{limit}={_value(value)}")
    return f"Annotated[{type}, Meta({', '.join(found)})]" if found else type


def _default(schema: Any, type: str) -> str | None:
    """A default as source, where it is of the member's type and cannot be changed by accident; else None."""
    if not isinstance(schema, Mapping) or "default" not in schema:
        return None
    value = schema["default"]
    if value is None:
        return "None" if type == "Any" or type.endswith("None") or "| None" in type else None
    if value in ([], {}) and not isinstance(value, (bool, int, float)):
        wanted = "list[" if value == [] else "dict["
        return repr(value) if type.startswith((wanted, f"Annotated[{wanted}")) else None
    words = {bool: "bool", int: "int", float: "float", str: "str"}
    word = words.get(value.__class__)
    plain = re.sub(r"\AAnnotated\[(\w+), .*\]", r"\1", type)
    fits = word is not None and (plain.split(" | ")[0] == word or (plain == "float" and word == "int"))
    fits = fits or (plain.startswith("Literal[") and word in ("str", "int"))
    return _value(value) if fits else None


def unchecked(where: str, what: str, instead: str) -> None:
    """Warn of a demand that nothing checks."""
    warnings.warn(ContractWarning(f"{where}: Python does not check {what}; written: {instead}"), stacklevel=2)


def imports(body: str) -> str:
    """The import lines that this source needs."""
    lines = []
    for module, names in IMPORTS.items():
        if used := [name for name in names if re.search(rf"\b{name}\b", body)]:
            lines.append(f"from {module} import {', '.join(used)}")
        if module == "uuid" and lines:
            lines.append("")
    return "\n".join(lines) + "\n"


def last_part(given: Any) -> str:
    """The last part of a reference."""
    ref = given.get("$ref", "") if isinstance(given, Mapping) else ""
    return unquote(str(ref).rsplit("/", 1)[-1]).replace("~1", "/").replace("~0", "~")


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^A-Za-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)) if word]


def _pascal(text: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in _words(text))


def snake_case(text: str) -> str:
    """``itemName`` as ``item_name``: what members and variables are called."""
    return "_".join(word.lower() for word in _words(text))


def _value(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """A string as source, in double quotes where that is plain."""
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else ascii(text)


def as_text(text: str) -> str:
    """Text for inside a docstring: whatever others wrote, it ends where we end it."""
    text = text.strip().replace("\\", "\\\\")
    if '"""' in text or text.endswith('"'):
        text = text.replace('"', '\\"')
    return "".join(each if each.isprintable() or each == "\n" else f"\\{ascii(each)[1:-1]}" for each in text)


def as_docstring(text: str) -> str:
    first, *rest = as_text(text).split("\n")
    if not rest:
        return f'    """{first}"""'
    return "\n".join(f"    {line}".rstrip() for line in (f'"""{first}', *rest, '"""'))
