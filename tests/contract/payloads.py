"""Payloads made up for a type, and payloads changed somewhere."""

from __future__ import annotations

import base64
import copy
import random
from typing import Any

from msgspec import inspect

MOMENTS = {
    inspect.DateTimeType: {
        None: ["2030-01-31T10:00:00Z", "2030-01-31 10:00:00.123+0100", "2030-01-31T10:00:00"],
        True: ["2030-01-31T10:00:00Z", "1999-12-31t23:59:59-05:30"],
        False: ["2030-01-31T10:00:00", "2030-01-31T10:00:00.5"],
    },
    inspect.TimeType: {None: ["10:00:00", "10:00:00Z"], True: ["10:00:00Z"], False: ["10:00:00"]},
}
TEXTS = {
    inspect.DateType: ["2030-01-31", "0001-01-01"],
    inspect.UUIDType: ["12345678-1234-5678-1234-567812345678", "ABCDEF78123456781234567812345678"],
    inspect.TimeDeltaType: ["PT1S", "P1DT2H", "-PT0.5S"],
    inspect.DecimalType: ["1.50", "-3", "1e5"],
}
WRONG = [
    None, True, 0, 1, 7, 101, -1, 1.5, "", "a", "red", "EUR", "YQ==", "Y", "2030-13-01", "2030-01-31",
    "2030-01-31T10:00:00", "2030-01-31T10:00:00Z", "25:00:00", "P", "12345678-1234", [], [1], ["row", "a"], {},
    {"type": "circle"}, {"a": 1},
]  # fmt: skip
"""What may stand in a place where it does not belong. No 1.0: an integer to JSON Schema, and none to msgspec."""


def sound(shape: Any, chance: random.Random, depth: int = 0) -> Any:
    """A payload that fits, as JSON has it."""
    if isinstance(shape, inspect.Metadata):
        return sound(shape.type, chance, depth)
    if isinstance(shape, inspect.UnionType):
        return sound(chance.choice(shape.types), chance, depth)
    if isinstance(shape, inspect.EnumType):
        return chance.choice(list(shape.cls)).value
    if isinstance(shape, inspect.LiteralType):
        return chance.choice(shape.values)
    if hasattr(shape, "fields"):
        return _members(shape, chance, depth)
    if hasattr(shape, "key_type"):
        count = chance.randint(shape.min_length or 0, min(shape.max_length or 3, 3))
        return {_key(shape.key_type, chance): sound(shape.value_type, chance, depth + 1) for _ in range(count)}
    if isinstance(shape, inspect.TupleType):
        return [sound(each, chance, depth + 1) for each in shape.item_types]
    if isinstance(shape, inspect.CollectionType):
        most = 0 if depth > 3 else min(shape.max_length or 3, 3)
        count = chance.randint(shape.min_length or 0, max(most, shape.min_length or 0))
        return [sound(shape.item_type, chance, depth + 1) for _ in range(count)]
    return _leaf(shape, chance)


def _members(shape: Any, chance: random.Random, depth: int) -> Any:
    is_row = isinstance(shape, inspect.NamedTupleType) or getattr(shape, "array_like", False)
    tag = [] if getattr(shape, "tag", None) is None else [(shape.tag_field, shape.tag)]
    members = list(tag)
    for field in shape.fields:
        if field.required or chance.random() < 0.6:
            members.append((field.encode_name, sound(field.type, chance, depth + 1)))
        elif is_row:
            break
    return [value for _, value in members] if is_row else dict(members)


def _key(shape: Any, chance: random.Random) -> str:
    return str(sound(shape, chance))


def _leaf(shape: Any, chance: random.Random) -> Any:
    kind = type(shape)
    if kind in MOMENTS:
        return chance.choice(MOMENTS[kind][shape.tz])
    if kind in TEXTS:
        return chance.choice(TEXTS[kind])
    if kind is inspect.IntType:
        step = shape.multiple_of or 1
        return step * chance.randint(shape.ge or (1 if shape.gt is not None else -5), shape.le or 50)
    if kind is inspect.FloatType:
        return chance.choice([0.5, 1, 2.25, 1e300])
    if kind is inspect.StrType:
        return "EUR" if shape.pattern else "".join(chance.choices("abcäß€😀", k=chance.randint(2, 9)))
    if kind is inspect.BytesType:
        size = chance.randint(shape.min_length or 0, shape.max_length or 9)
        return base64.b64encode(chance.randbytes(size)).decode()
    return {inspect.NoneType: None, inspect.BoolType: True, inspect.AnyType: {"any": [1]}}[kind]


def broken(payload: Any, chance: random.Random) -> Any:
    """The same payload with one place changed, left out or added; it may fit all the same."""
    holder: Any = [copy.deepcopy(payload)]
    place, key = chance.choice(list(_places(holder)))
    how = chance.random()
    if how < 0.2 and holder is not place:
        del place[key]
    elif how < 0.3 and isinstance(place[key], dict):
        place[key]["more"] = chance.choice(WRONG)
    elif how < 0.4 and isinstance(place[key], list):
        place[key].append(chance.choice(WRONG))
    else:
        place[key] = copy.deepcopy(chance.choice(WRONG))
    return holder[0]


def _places(holder: Any) -> Any:
    keys = holder if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], (dict, list)):
            yield from _places(holder[key])
