"""From an AsyncAPI document to Python: Structs, ``Event`` objects and the contract that they make together.

What Python cannot hold is an error that names its place in the document; what it can hold and not check is a
:class:`ContractWarning`.
"""

from __future__ import annotations

import keyword
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from ..core.requests import REQUEST, RESPONSE
from .model import ContractError, ContractWarning
from .schema import MOMENTS, PATTERNS
from .shapes import Shapes

__all__ = ["python_of"]

HEAD = '''\
"""{says}

Made by ``node-ipc contract --from`` out of an AsyncAPI document; what is changed here is lost.
"""

from __future__ import annotations
'''
IMPORTS = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Any", "Literal", "cast"),
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
    "number": {
        "minimum": "ge",
        "exclusiveMinimum": "gt",
        "maximum": "le",
        "exclusiveMaximum": "lt",
        "multipleOf": "multiple_of",
    },
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "array": {"minItems": "min_length", "maxItems": "max_length"},
    "object": {"minProperties": "min_length", "maxProperties": "max_length"},
}
PLAIN = {"boolean": "bool", "null": "None"}
UNCHECKED = (
    "not", "if", "then", "else", "uniqueItems", "contains", "minContains", "maxContains", "patternProperties",
    "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
)  # fmt: skip
"""What a schema may demand and msgspec does not check."""


def python_of(document: Mapping[str, Any], *, name: str | None = None) -> str:
    """Python source for a contract that others own.

    Args:
        document: AsyncAPI 3, as ``json.load`` gives it. What its application receives and sends is what the *server*
            receives and sends. An event is a channel; where a channel has several messages, each is an event of its
            own name. An operation with a reply is a method.
        name: The server's id; by default the document's ``x-node-ipc.id``, or its title in lower case.

    Raises:
        ContractError: the document is no AsyncAPI 3, or has what Python cannot hold.
    """
    try:
        source = _Reader(document, name).module()
    except RecursionError as error:
        raise ContractError("the document is nested too deeply, or refers to itself without end") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            f"the document has something else where AsyncAPI has an object or a list ({error}): "
            "`asyncapi validate` shows the place"
        ) from error
    _try(source)
    return source


def _try(source: str) -> None:
    """Run what was written: msgspec alone knows which unions it can tell apart."""
    module = ModuleType(f"{__name__}._tried")
    sys.modules[module.__name__] = module  # where msgspec looks for the names in annotations
    try:
        exec(compile(source, "<contract>", "exec"), module.__dict__)
        Shapes(module.__dict__["contract"])
    except ContractError as error:
        raise ContractError(str(error).replace(f"{module.__name__}.", "")) from error
    except Exception as error:
        raise ContractError(f"what the document says is no Python: {error.__class__.__name__}: {error}") from error
    finally:
        del sys.modules[module.__name__]


class _Reader:
    """Walks a document, and writes the module."""

    def __init__(self, document: Mapping[str, Any], name: str | None) -> None:
        if not isinstance(document, Mapping) or not str(document.get("asyncapi", "")).startswith("3."):
            version = document.get("asyncapi") if isinstance(document, Mapping) else None
            raise ContractError(
                f"an AsyncAPI document of version 3 is needed, and 'asyncapi' is {version!r:.40} here"
                + (": `asyncapi convert` makes 3 of 2" if str(version).startswith("2.") else "")
            )
        self._document = document
        info = document.get("info") or {}
        self._title, self._version = str(info.get("title") or "world"), str(info.get("version") or "1.0.0")
        self._description = str(info.get("description") or "")
        own = document.get("x-node-ipc") or {}
        self._name = name or own.get("id") or re.sub(r"\W+", "-", self._title.lower()).strip("-") or "world"
        self._types = _Types(self._resolve)
        self._items: dict[str, dict[str, str]] = {"receives": {}, "sends": {}, "answers": {}, "asks": {}}

    def module(self) -> str:
        """The source."""
        operations = self._document.get("operations") or {}
        for key, given in operations.items():
            where = f"#/operations/{key}"
            self._add(where, self._resolve(given, where))
        if not any(self._items.values()):
            raise ContractError("the document has no operations: say who sends and who receives, and what")
        return self._written()

    # ---- the document

    def _resolve(self, given: Any, where: str) -> Any:
        """What a reference stands for, and anything else as it is."""
        seen: list[str] = []
        while isinstance(given, Mapping) and "$ref" in given:
            ref = given["$ref"]
            if not isinstance(ref, str) or not ref.startswith("#"):
                raise ContractError(f"{where}: {ref!r:.100} is outside the document: bundle it (`asyncapi bundle`)")
            if ref in seen:
                raise ContractError(f"{where}: {ref!r:.100} refers to itself")
            seen.append(ref)
            given = self._at(ref, where)
        return given

    def _at(self, ref: str, where: str) -> Any:
        found: Any = self._document
        for part in ref.lstrip("#").split("/")[1:]:
            part = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                if isinstance(found, Mapping) and "$ref" in found:
                    found = self._resolve(found, where)
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, TypeError, ValueError):
                raise ContractError(f"{where}: {ref!r:.100} is not in the document") from None
        return found

    def _add(self, where: str, operation: Any) -> None:
        action = operation.get("action") if isinstance(operation, Mapping) else None
        if action not in ("send", "receive"):
            raise ContractError(f"{where}/action: 'send' or 'receive' is needed, not {action!r:.40}")
        if "reply" in operation:
            self._add_method(where, operation, "answers" if action == "receive" else "asks")
            return
        direction = "receives" if action == "receive" else "sends"
        for event, payload, at in self._messages(where, operation):
            type = self._types.expression(payload, at, event)
            before = self._items[direction].setdefault(event, type)
            if before != type:
                raise ContractError(
                    f"{where}: {event!r} has two payloads, {before} and {type}: say it once, with anyOf"
                )

    def _add_method(self, where: str, operation: Mapping[str, Any], direction: str) -> None:
        asked, answered = (
            self._messages(f"{where}{part}", given)
            for part, given in (("", operation), ("/reply", self._resolve(operation["reply"], f"{where}/reply")))
        )
        if len(asked) != 1 or len(answered) != 1:
            raise ContractError(
                f"{where}: a request has one message and its reply one, not {len(asked)} and {len(answered)}"
            )
        (event, payload, at), (reply, result, result_at) = asked[0], answered[0]
        method = operation.get("x-node-ipc-method")
        if event == REQUEST:
            members = self._resolve(payload, at).get("properties") or {}
            method = method or _constant(self._resolve(members.get("method", {}), at))
            payload, at = members.get("params", {}), f"{at}/properties/params"
        if reply == RESPONSE:
            members = self._resolve(result, result_at).get("properties") or {}
            result, result_at = members.get("result", {}), f"{result_at}/properties/result"
        method = method or event
        params = self._types.expression(payload, at, f"{method} params")
        self._items[direction][str(method)] = (
            f"{params}, {self._types.expression(result, result_at, f'{method} result')}"
        )

    def _messages(self, where: str, operation: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
        """Each message of an operation: the event's name, its schema, and where that is."""
        if "channel" not in operation:
            raise ContractError(f"{where}: there is no channel")
        channel = self._resolve(operation["channel"], f"{where}/channel")
        all_of_it = channel.get("messages") or {}
        chosen = operation.get("messages")
        given = list(all_of_it.items()) if chosen is None else [(_last(each), each) for each in chosen]
        found = []
        for key, message in given:
            message = self._resolve(message, f"{where}/messages")
            event = (
                channel.get("address") if len(all_of_it) <= 1 or channel.get("address") in (REQUEST, RESPONSE) else None
            )
            event = event or message.get("name") or key
            at = f"{where}, message {key!r}"
            if re.search(r"\{[^}]*\}", event):
                raise ContractError(f"{at}: the address {event!r:.80} has parameters, and events have none")
            found.append((event, self._payload(message, at), at))
        return found

    def _payload(self, message: Mapping[str, Any], at: str) -> Any:
        kind = message.get("contentType") or self._document.get("defaultContentType") or "application/json"
        if "json" not in kind:
            raise ContractError(f"{at}: payloads are JSON here, and not {kind!r:.80}")
        if message.get("headers"):
            _unchecked(at, "headers", "events have none")
        payload = message.get("payload", {})
        if isinstance(payload, Mapping) and "schemaFormat" in payload:
            if not re.match(r"application/(vnd\.aai\.asyncapi|schema)\b", payload["schemaFormat"]):
                raise ContractError(
                    f"{at}: a schema in {payload['schemaFormat']!r:.80} cannot be read: use JSON Schema"
                )
            return payload.get("schema", {})
        return payload

    # ---- the module

    def _written(self) -> str:
        types = self._types.written()
        items, lists = self._written_items()
        body = f"{types}\n{items}\n\n{lists}"
        says = f"{self._title} {self._version}: the events and methods of {self._name!r}, and their types."
        head = HEAD.format(says=_safe(" ".join(says.split())))
        return f"{head}\n{_imports(body)}\n{body}"

    def _written_items(self) -> tuple[str, str]:
        """The ``Event`` and ``Method`` objects, and the contract of them."""
        lines: list[str] = []
        names = _Names(self._types.taken | {"contract"})
        made: dict[tuple[str, str, str], str] = {}
        arguments = [f"    {_text(self._name)},"]
        for direction, items in self._items.items():
            kind = "Event" if direction in ("receives", "sends") else "Method"
            listed = []
            for event, type in sorted(items.items()):
                if (kind, event, type) not in made:
                    variable = made[kind, event, type] = names.new(_snake(event), event)
                    lines.append(f"{variable}{self._made(kind, event, type)}")
                listed.append(made[kind, event, type])
            if listed:
                arguments.append(f"    {direction}=[{', '.join(listed)}],")
        arguments += [f"    title={_text(self._title)},", f"    version={_text(self._version)},"]
        if self._description:
            arguments.append(f"    description={_text(self._description)},")
        return "\n".join(lines), "contract = Contract(\n" + "\n".join(arguments) + "\n)\n"

    def _made(self, kind: str, event: str, type: str) -> str:
        """What comes behind the variable's name. To a type checker a union is no class, as ``Event`` wants one."""
        if kind == "Method" or self._types.is_class(type):
            return f" = {kind}({_text(event)}, {type})"
        return f": Event[{type}] = Event({_text(event)}, cast(Any, {type}))"


class _Types:
    """Schemas as Python types; classes and aliases are written when they are first met."""

    def __init__(self, resolve: Callable[[Any, str], Any]) -> None:
        self._resolve = resolve
        self._names = _Names(_MEANT | {"contract"})
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

    def is_class(self, type: str) -> bool:
        """Whether the expression is a class, or a generic one with its arguments."""
        if type == "None" or type in self._aliases or type.startswith(("Annotated[", "Literal[")):
            return False
        depth = 0
        for each in type:
            depth += (each == "[") - (each == "]")
            if each == "|" and not depth:
                return False
        return True

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
                _unchecked(where, word, "what is left without it")
        if "allOf" in schema:
            return self._all_of(schema, where, hint)
        for word in ("anyOf", "oneOf"):
            if word in schema and not _only_requires(schema[word]):
                return self._union(schema[word], f"{where}/{word}", hint)
        if "const" in schema or "enum" in schema:
            return _literal([schema["const"]] if "const" in schema else schema["enum"], where)
        return self._by_type(schema, where, hint)

    def _reference(self, schema: Mapping[str, Any], where: str) -> str:
        ref = schema["$ref"]
        target = self._resolve(schema, where)
        if ref in self._named:
            self._meet_again(ref, where)
            return self._named[ref]
        name = self._named[ref] = self._names.new(_pascal(_last(schema)), _last(schema))
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

    def _meet_again(self, ref: str, where: str) -> None:
        """A schema in itself: annotations of classes can name what is not there yet, and nothing else can."""
        if ref in self._open:
            if self._open[ref] == self._classes_around:
                raise ContractError(f"{where}: {ref!r:.100} holds itself without an object between")
            self._met_again.add(ref)

    def _all_of(self, schema: Mapping[str, Any], where: str, hint: str) -> str:
        if _is_merged(schema):
            return self._new_class(self._merged(schema, where), where, hint)
        return self.expression(schema["allOf"][0], f"{where}/allOf/0", hint)

    def _merged(self, schema: Mapping[str, Any], where: str) -> dict[str, Any]:
        """One object with the members of all parts of an ``allOf``, and with those beside it."""
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        self._merge(merged, schema, where)
        return merged | {key: schema[key] for key in ("description",) if key in schema}

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
        types = schema.get("type") or _implied(schema)
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
            lines = [_docstring(str(schema["description"])), *([""] if lines else []), *lines]
        body = lines or ["    pass"]
        self._classes[name] = f"class {name}({', '.join(['Struct', *options])}):\n" + "\n".join(body) + "\n"

    def _members(self, name: str, schema: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
        members, required = dict(schema.get("properties") or {}), schema.get("required") or []
        more = schema.get("additionalProperties", True)
        if more not in (True, False, {}):
            _unchecked(f"{where}/additionalProperties", "members of any name beside those that have one", "no check")
        for word in ("minProperties", "maxProperties", "propertyNames"):
            if schema.get(word) is not None:
                _unchecked(where, word, "no check")
        members |= {each: {} for each in required if each not in members}
        options = []
        tag = self._tag(members, required, where)
        if tag is not None:
            value = _constant(self._resolve(members.pop(tag), where))
            options = [f"tag_field={_text(tag)}", f"tag={value if isinstance(value, int) else _text(value)}"]
        if more is False:
            options.append("forbid_unknown_fields=True")
        names = _Names(_MEANT)
        lines = []
        for key in sorted(members, key=lambda key: key not in required):  # those with a default come last
            place = f"{where}/properties/{key}"
            lines.append(self._field(names.new(_snake(key), key), key, members[key], key in required, place, name))
        return options, lines

    def _tag(self, members: Mapping[str, Any], required: list[str], where: str) -> str | None:
        """The member that is always the same text or number: by it a union is told apart."""
        for key in members:
            if key in required and type(_constant(self._resolve(members[key], where))) in (str, int):
                return key
        return None

    def _field(self, name: str, key: str, schema: Any, is_required: bool, where: str, owner: str) -> str:
        type = self.expression(schema, where, f"{owner} {key}")
        renamed = f"name={_text(key)}" if name != key else ""
        if is_required:
            return f"    {name}: {type}" + (f" = field({renamed})" if renamed else "")
        default = _default(schema, self._aliases.get(type, type))
        if default is None:
            type, default = ("Any" if type == "Any" else f"{type} | UnsetType"), "UNSET"
        if renamed:
            how = (
                f"default_factory={ {'[]': 'list', '{}': 'dict'}[default] }"
                if default in ("[]", "{}")
                else f"default={default}"
            )
            return f"    {name}: {type} = field({how}, {renamed})"
        return f"    {name}: {type} = {default}"

    def _row(self, name: str, schema: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
        """A class that goes over the wire as an array."""
        places = list(_places(schema) or [])
        least, options = schema.get("minItems", 0), ["array_like=True"]
        if schema.get("maxItems") == len(places) or schema.get("items") is False:
            options.append("forbid_unknown_fields=True")
        if places and least and isinstance(tag := _constant(self._resolve(places[0], where)), str):
            options.append(f"tag={_text(tag)}")
            places, least = places[1:], least - 1
        return options, [
            self._field(f"item_{n}", f"item_{n}", each, n < least, f"{where}/{n}", name)
            for n, each in enumerate(places)
        ]


ANNOTATIONS = (
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment",
    "externalDocs", "discriminator", "$id", "$schema",
)  # fmt: skip
MERGED = {"type", "properties", "required", "additionalProperties", *ANNOTATIONS}
"""What the parts of an ``allOf`` may say."""


_MEANT = {name for group in IMPORTS.values() for name in group}
_MEANT |= {"bool", "bytes", "dict", "float", "int", "list", "str", "tuple"}
"""Names that the annotations use: nothing else may be called so."""


class _Names:
    """Identifiers, none of them twice."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = set(taken)

    def new(self, wanted: str, said: str) -> str:
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
    if not isinstance(schema, Mapping) or {"anyOf", "enum", "const", "$ref"} & set(schema):
        return False
    if schema.get("type", "object") == "object" and "properties" in schema and "allOf" not in schema:
        return True
    return bool(schema.get("type", "object") == "object" and schema.get("required") and "allOf" not in schema)


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


def _implied(schema: Mapping[str, Any]) -> str | None:
    """The type that a schema without one is about."""
    words = {"properties": "object", "additionalProperties": "object", "items": "array", "prefixItems": "array"}
    return next((type for word, type in words.items() if word in schema), None)


def _constant(schema: Any) -> Any:
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
            _unchecked(f"{where}/pattern", f"{pattern!r:.100}, which is no regular expression of Python's", "any text")
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
    plain = re.sub(r"Annotated\[(\w+), .*\]", r"\1", type)
    fits = word is not None and (plain.split(" | ")[0] == word or (plain == "float" and word == "int"))
    fits = fits or (plain.startswith("Literal[") and word in ("str", "int"))
    return _value(value) if fits else None


def _unchecked(where: str, what: str, instead: str) -> None:
    warnings.warn(ContractWarning(f"{where}: Python does not check {what}; written: {instead}"), stacklevel=2)


def _imports(body: str) -> str:
    lines = []
    for module, names in IMPORTS.items():
        if used := [name for name in names if re.search(rf"\b{name}\b", body)]:
            lines.append(f"from {module} import {', '.join(used)}")
        if module == "uuid" and lines:
            lines.append("")
    return "\n".join(lines) + "\n"


def _last(given: Any) -> str:
    """The last part of a reference."""
    ref = given.get("$ref", "") if isinstance(given, Mapping) else ""
    return unquote(str(ref).rsplit("/", 1)[-1]).replace("~1", "/").replace("~0", "~")


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^A-Za-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)) if word]


def _pascal(text: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in _words(text))


def _snake(text: str) -> str:
    return "_".join(word.lower() for word in _words(text))


def _value(value: Any) -> str:
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A string as source, in double quotes where that is plain."""
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else ascii(text)


def _safe(text: str) -> str:
    """Text for inside a docstring: whatever others wrote, it ends where we end it."""
    text = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    text = "".join(each if each.isprintable() or each == "\n" else f"\\{ascii(each)[1:-1]}" for each in text)
    return text[:-1] + '\\"' if text.endswith('"') else text


def _docstring(text: str) -> str:
    first, *rest = _safe(text).split("\n")
    if not rest:
        return f'    """{first}"""'
    return "\n".join(f"    {line}".rstrip() for line in (f'"""{first}', *rest, '"""'))
