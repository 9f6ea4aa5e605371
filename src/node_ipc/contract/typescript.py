"""TypeScript: the payloads as interfaces, npm's node-ipc typed for this contract's events, and a client with requests.

What TypeScript has no types for (limits, patterns, integers) stands in the comment of the member.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection, Iterable
from typing import Any

from msgspec import UNSET, inspect

from .model import Contract, Message, Method
from .shapes import NAMED, Named, Shapes, buffers_of, cannot_say, default_of, description_of, is_anything, tag_of
from .typescript_client import CLIENT

__all__ = ["Notation", "pascal_case", "remarks_on", "typescript"]

MAPS = {
    "receives": "Events that clients emit and the server hears.",
    "sends": "Events that the server emits and clients hear.",
    "answers": "Methods that the server answers.",
    "asks": "Methods that the server asks its clients for.",
}
GLOBALS = {
    "Array", "Error", "Map", "Promise", "PropertyKey", "any", "bigint", "boolean", "never", "null", "number", "object",
    "string", "symbol", "undefined", "unknown", "void",
}  # fmt: skip
"""What a class may not be called in a file that uses these."""
HEAD = """\
// The contract {title} {version}, for TypeScript and npm's node-ipc.
// Made by `node-ipc contract` from the Python code; what is changed here is lost.
"""
NODE_IPC = """\
/** What node-ipc tells of the link itself. */
export interface {N}Lifecycle {{
  connect: () => void;
  disconnect: () => void;
  destroy: () => void;
  error: (error: any) => void;
}}

/** A request as it is on the wire: emit it as "rpc.request". */
export interface {N}Call<M extends PropertyKey, P> {{
  jsonrpc: "2.0";
  id: number | string;
  method: M;
  params: P;
}}

/** Why a request was not answered as it should. */
export interface {N}Fault {{
  code: number;
  message: string;
  data?: unknown;
}}

/** An answer as it is on the wire: it comes as "rpc.response". */
export type {N}Answer<R> =
  | {{ jsonrpc: "2.0"; id: number | string | null; result: R; error?: undefined }}
  | {{ jsonrpc: "2.0"; id: number | string | null; result?: undefined; error: {N}Fault }};

type {N}CallOf<Methods extends {{ [M in keyof Methods]: {{ params: any }} }}> = {{
  [M in keyof Methods]: {N}Call<M, Methods[M]["params"]>;
}}[keyof Methods];
type {N}AnswerOf<Methods extends {{ [M in keyof Methods]: {{ result: any }} }}> = {N}Answer<
  Methods[keyof Methods]["result"]
>;

/** What clients may ask the server, and what it may ask them, as it is on the wire. */
export type {N}Request = {N}CallOf<{N}Answers>;
export type {N}Response = {N}AnswerOf<{N}Answers>;
export type {N}RequestToClient = {N}CallOf<{N}Asks>;
export type {N}ResponseOfClient = {N}AnswerOf<{N}Asks>;

/** `ipc.of.{of}`: a client of the server. */
export interface {N}Link {{
  on<E extends keyof {N}Sends>(event: E, handler: (data: {N}Sends[E]) => void): unknown;
  on(event: "rpc.response", handler: (response: {N}Response) => void): unknown;
  on(event: "rpc.request", handler: (request: {N}RequestToClient) => void): unknown;
  on<E extends keyof {N}Lifecycle>(event: E, handler: {N}Lifecycle[E]): unknown;
  off(event: keyof {N}Sends | keyof {N}Lifecycle | "rpc.response" | "rpc.request" | "*", handler: any): unknown;
{client_bare}  emit<E extends keyof {N}Receives>(event: E, data: {N}Receives[E]): unknown;
  emit(event: "rpc.request", request: {N}Request): unknown;
  emit(event: "rpc.response", response: {N}ResponseOfClient): unknown;
  emit(event: "rpc.cancel", cancel: {{ id: number | string }}): unknown;
}}

/** `ipc.server`, where Node is the server. `S` is a socket, as handlers get it. */
export interface {N}Server<S = any> {{
  on<E extends keyof {N}Receives>(event: E, handler: (data: {N}Receives[E], socket: S) => void): unknown;
  on(event: "rpc.request", handler: (request: {N}Request, socket: S) => void): unknown;
  on(event: "rpc.response", handler: (response: {N}ResponseOfClient, socket: S) => void): unknown;
  on(event: "rpc.cancel", handler: (cancel: {{ id: number | string }}, socket: S) => void): unknown;
  on(event: "start" | "connect" | "disconnect", handler: (...rest: any[]) => void): unknown;
  on(event: "socket.disconnected", handler: (socket: S, id: any) => void): unknown;
  on(event: "error", handler: (error: any) => void): unknown;
  off(event: keyof {N}Receives | "rpc.request" | "rpc.response" | "start" | "*", handler: any): unknown;
{server_bare}  emit<E extends keyof {N}Sends>(socket: S, event: E, data: {N}Sends[E]): unknown;
  emit(socket: S, event: "rpc.response", response: {N}Response): unknown;
  emit(socket: S, event: "rpc.request", request: {N}RequestToClient): unknown;
{broadcast_bare}  broadcast<E extends keyof {N}Sends>(event: E, data: {N}Sends[E]): unknown;
  start(): void;
  stop(): void;
}}

/** node-ipc with these types: `const typed = ipc as unknown as {N}IPC`. */
export interface {N}IPC {{
  config: any;
  log(...values: any[]): void;
  of: {{ {key}: {N}Link }};
  server: {N}Server;
  connectTo(id: {id}, callback?: () => void): void;
  connectTo(id: {id}, path: string, callback?: () => void): void;
  connectToNet(id: {id}, callback?: () => void): void;
  connectToNet(id: {id}, host: string, port: number, callback?: () => void): void;
  disconnect(id: {id}): void;
  serve(callback?: () => void): void;
  serve(path: string, callback?: () => void): void;
  serveNet(callback?: () => void): void;
  serveNet(host: string, port: number, callback?: () => void): void;
}}
"""


def typescript(contract: Contract, *, client: bool = False) -> str:
    """The contract in TypeScript.

    Args:
        contract: What to write.
        client: Types alone are a ``.d.ts``; with True there is a class too, which emits, listens and asks over
            ``ipc.of``'s client, and the text is a ``.ts``.

    Example:
        >>> shop = contract.Contract("shop", receives=[contract.Message("order", dict[str, int])])
        >>> "order: { [key: string]: number };" in contract.typescript(shop)
        True
    """
    notation = Notation(contract, _taken(contract))
    name = pascal_case(contract.name)
    head = HEAD.format(title=_one_line(contract.title), version=_one_line(contract.version))
    parts = [head + (_comment([contract.description]) if contract.description else "")]
    parts += [notation.declaration(each, shape) for each, shape in notation.shapes.named.items()]
    for direction, says in MAPS.items():
        write = _events if direction in ("receives", "sends") else _methods
        members = write(direction, getattr(contract, direction), notation)
        parts.append(f"/** {says} */\nexport interface {name}{direction.capitalize()} {{\n{members}}}\n")
    received, sent = notation.bare("receives", contract.receives), notation.bare("sends", contract.sends)
    parts.append(
        NODE_IPC.format(
            N=name,
            of=_one_line(contract.name),
            key=_member_name(contract.name),
            id=json.dumps(contract.name),
            client_bare=f"  emit(event: {received}, data?: unknown): unknown;\n" if received else "",
            server_bare=f"  emit(socket: S, event: {sent}, data?: unknown): unknown;\n" if sent else "",
            broadcast_bare=f"  broadcast(event: {sent}, data?: unknown): unknown;\n" if sent else "",
        )
    )
    if client:
        link = f"ipc.of.{contract.name}" if _is_plain(contract.name) else f"ipc.of[{json.dumps(contract.name)}]"
        parts.append(CLIENT.replace("World", name).replace("ipc.of.world", link))
    return "\n".join(parts)


def _taken(contract: Contract) -> set[str]:
    """The names of what is written around the classes."""
    name = pascal_case(contract.name)
    around = NODE_IPC.replace("{N}", name) + CLIENT.replace("World", name)
    maps = {f"{name}{direction.capitalize()}" for direction in MAPS}
    return {*GLOBALS, *maps, *re.findall(r"(?:interface|type|class) (\w+)", around)}


def pascal_case(name: str) -> str:
    """``"my-world"`` as ``MyWorld``: what interfaces are named after."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    found = "".join(word[0].upper() + word[1:] for word in words) or "Server"
    return f"Id{found}" if found[0].isdigit() else found


def _events(direction: str, messages: Iterable[Message], notation: Notation) -> str:
    lines = []
    for each in messages:
        place = f"{direction}.{each.name}"
        lines.append(_comment([each.description, *notation.remarks(place)], "  "))
        lines.append(f"  {_member_name(each.name)}: {notation.at(place)};\n")
    return "".join(lines)


def _methods(direction: str, methods: Iterable[Method], notation: Notation) -> str:
    lines = []
    for each in methods:
        places = {part: f"{direction}.{each.name}.{part}" for part in ("params", "result")}
        remarks = (f"{part}: {remark}" for part, place in places.items() for remark in notation.remarks(place))
        lines.append(_comment([each.description, *remarks], "  "))
        params, result = map(notation.at, places.values())
        lines.append(f"  {_member_name(each.name)}: {{ params: {params}; result: {result} }};\n")
    return "".join(lines)


class Notation:
    """Types as TypeScript writes them."""

    def __init__(self, contract: Contract, taken: Collection[str] = ()) -> None:
        """Classes whose names are ``taken`` get another."""
        self.shapes = Shapes(contract)
        self._renamed = {name: f"{name}_" for name in self.shapes.named if name in taken}

    def at(self, place: str) -> str:
        """The type of one payload, as ``contract.payloads()`` names it."""
        return self.type(self.shapes.at(place), place)

    def remarks(self, place: str) -> list[str]:
        """What the type of a payload does not say."""
        return remarks_on(self.shapes.at(place))

    def bare(self, direction: str, messages: Iterable[Message]) -> str:
        """The events that may go without a payload, as a union of their names; empty where there are none."""
        names = [json.dumps(each.name) for each in messages if is_anything(self.shapes.at(f"{direction}.{each.name}"))]
        return " | ".join(names)

    def declaration(self, name: str, shape: Named) -> str:
        """A class, exported."""
        name = self._renamed.get(name, name)
        said = _comment([description_of(shape)])
        if isinstance(shape, inspect.EnumType):
            return f"{said}export type {name} = {' | '.join(json.dumps(each.value) for each in shape.cls)};\n"
        if isinstance(shape, inspect.NamedTupleType) or getattr(shape, "array_like", False):
            return f"{said}export type {name} = {self._row(name, shape)};\n"
        members = [f"  {_member_name(tag[0])}: {json.dumps(tag[1])};\n"] if (tag := tag_of(shape)) else []
        members += [self._member(name, each) for each in shape.fields]
        return f"{said}export interface {name} {{\n{''.join(members)}}}\n"

    def _member(self, name: str, field: inspect.Field) -> str:
        default = default_of(field)
        remarks = remarks_on(field.type)
        if default is not UNSET:
            text = json.dumps(default, ensure_ascii=False)
            remarks.append(f"Default: {text if len(text) <= 60 else f'{text[:57]}...'}.")
        optional = "" if field.required else "?"
        type = self.type(field.type, f"{name}.{field.name}")
        return f"{_comment(remarks, '  ')}  {_member_name(field.encode_name)}{optional}: {type};\n"

    def _row(self, name: str, shape: Any) -> str:
        """A class that goes out as an array."""
        items = [json.dumps(tag[1])] if (tag := tag_of(shape)) else []
        for field in shape.fields:
            type = self.type(field.type, f"{name}.{field.name}")
            items.append(type if field.required else f"({type})?")
        return f"[{', '.join(items)}]"

    def type(self, shape: Any, place: str) -> str:
        """A type where one is wanted."""
        if isinstance(shape, inspect.Metadata):
            return self.type(shape.type, place)
        if isinstance(shape, NAMED):
            name = self.shapes.name(shape)
            return self._renamed.get(name, name)
        if isinstance(shape, inspect.UnionType):
            return " | ".join(dict.fromkeys(self.type(each, place) for each in shape.types))
        if isinstance(shape, inspect.LiteralType):
            return " | ".join(json.dumps(each) for each in shape.values)
        if hasattr(shape, "key_type"):
            return f"{{ [key: string]: {self.type(shape.value_type, f'{place}[…]')} }}"
        if isinstance(shape, inspect.TupleType):
            return f"[{', '.join(self.type(each, f'{place}[{n}]') for n, each in enumerate(shape.item_types))}]"
        if isinstance(shape, inspect.CollectionType):
            item = self.type(shape.item_type, f"{place}[]")
            return f"({item})[]" if " | " in item else f"{item}[]"
        if (known := _WORDS.get(type(shape))) is not None:
            return known[0]
        if buffers := buffers_of(shape):
            return " | ".join(_BUFFERS[each][0] for each in buffers)
        if not is_anything(shape):
            cannot_say("TypeScript", place, repr(getattr(shape, "cls", shape)), "unknown")
        return "unknown"


_WORDS: dict[Any, tuple[str, str]] = {
    inspect.AnyType: ("unknown", ""),
    inspect.RawType: ("unknown", ""),
    inspect.NoneType: ("null", ""),
    inspect.BoolType: ("boolean", ""),
    inspect.IntType: ("number", "An integer"),
    inspect.FloatType: ("number", ""),
    inspect.StrType: ("string", ""),
    inspect.BytesType: ("string", "Bytes, in base64"),
    inspect.ByteArrayType: ("string", "Bytes, in base64"),
    inspect.MemoryViewType: ("string", "Bytes, in base64"),
    inspect.DateTimeType: ("string", "A date and time, as 2030-01-31T12:00:00Z"),
    inspect.TimeType: ("string", "A time of day, as 12:00:00"),
    inspect.DateType: ("string", "A date, as 2030-01-31"),
    inspect.UUIDType: ("string", "A UUID"),
    inspect.TimeDeltaType: ("string", "A duration, as PT1.5S"),
    inspect.DecimalType: ("string | number", "A decimal number, as text where every digit counts"),
    inspect.SetType: ("", "In any order, each once"),
    inspect.FrozenSetType: ("", "In any order, each once"),
}
"""What TypeScript calls each (nothing: it is written in parts), and what it means beyond that."""
_BUFFERS = {
    "bytes": ("string", "Bytes, in base64"),
    "array": (
        '{ dtype: string | unknown[]; shape: number[]; order?: "C" | "F"; data: string }',
        'An array of NumPy\'s: dtype as "<f4", its bytes in data, in base64',
    ),
}
_LIMITS = {
    "gt": "above {}",
    "ge": "{} or more",
    "lt": "below {}",
    "le": "{} or less",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "matching {}",
}


def remarks_on(shape: Any) -> list[str]:
    """What a type means beyond its TypeScript, and its limits; also those of a list's items and of options."""
    if isinstance(shape, inspect.Metadata):
        extra = shape.extra_json_schema or {}
        return [text for key in ("title", "description") if (text := extra.get(key))] + remarks_on(shape.type)
    if isinstance(shape, inspect.UnionType):
        return [remark for each in shape.types for remark in remarks_on(each)]
    if buffers := buffers_of(shape):
        return [f"{_BUFFERS[each][1]}." for each in buffers]
    _, meaning = _WORDS.get(type(shape), ("", ""))
    limits = [words.format(value) for key, words in _LIMITS.items() if (value := getattr(shape, key, None)) is not None]
    if getattr(shape, "tz", None) is not None:
        limits.append("with a time zone" if shape.tz else "without a time zone")
    own = ", ".join([*([meaning] if meaning else []), *limits])
    remarks = [f"{own[0].upper()}{own[1:]}."] if own else []
    each = shape.item_type if isinstance(shape, inspect.CollectionType) else getattr(shape, "value_type", None)
    of_each = [] if each is None else remarks_on(each)
    return remarks + [f"Each: {remark[0].lower()}{remark[1:]}" for remark in of_each]


def _comment(paragraphs: Iterable[str], indent: str = "") -> str:
    text = "\n".join(each for each in paragraphs if each).replace("*/", "*\\/")
    if not text:
        return ""
    lines = [part for line in text.splitlines() for part in (textwrap.wrap(line, 110) or [""])]
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    return f"{indent}/**\n" + "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines) + f"{indent} */\n"


def _member_name(name: str) -> str:
    return name if _is_plain(name) else json.dumps(name)


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", name) is not None


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("*/", "*\\/")
