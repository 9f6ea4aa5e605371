"""JSON Schema: a real validator and a handler judge every payload alike."""

from __future__ import annotations

import array
import base64
import collections
import datetime as dt
import json
import random
import warnings
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import msgspec
import numpy
import numpy.typing
import pytest
from msgspec import Meta, Struct, inspect

import node_ipc
from node_ipc.contract import Contract, ContractWarning, Message, contract_of, json_schema
from node_ipc.testing import pair

from . import shop
from .payloads import broken, sound

CONTRACT = contract_of(shop.register, events=[shop.done, shop.moved])
LETTER = Literal["a", 1]
PAYLOADS = dict(CONTRACT.payloads())


def validator(schema: dict[str, Any], place: str) -> Any:
    """A validator of the payload at one place."""
    jsonschema.Draft202012Validator.check_schema(schema)
    pointer = place.replace("~", "~0").replace("/", "~1").replace("%", "%25").replace(" ", "%20").replace('"', "%22")
    return jsonschema.Draft202012Validator({**schema, "anyOf": [{"$ref": f"#/$defs/{pointer}"}]})


def takes(type: Any, text: str) -> bool:
    try:
        shop.decode(text, type)
    except msgspec.ValidationError:
        return False
    return True


def test_the_document_is_json_schema_2020_12() -> None:
    schema = json_schema(CONTRACT)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    json.dumps(schema)


def test_a_validator_and_a_handler_judge_200_payloads_alike() -> None:
    """Half of them sound, half of them changed somewhere; of both there are many of each kind of type."""
    schema = json_schema(CONTRACT)
    chance = random.Random(15)
    judged: collections.Counter[bool] = collections.Counter()
    places = [place for place in PAYLOADS if inspect.type_info(PAYLOADS[place]) != inspect.AnyType()]
    validators = {place: validator(schema, place) for place in places}
    for number in range(600):
        place = places[number % len(places)]
        payload = sound(inspect.type_info(PAYLOADS[place]), chance)
        if number % 3:
            payload = broken(payload, chance)
        text = json.dumps(payload)
        fits = takes(PAYLOADS[place], text)
        assert validators[place].is_valid(json.loads(text)) == fits, (place, text)
        judged[fits] += 1
    assert judged[True] >= 200
    assert judged[False] >= 200


@pytest.mark.parametrize(
    ("type", "texts"),
    [
        (set[int], ["[1, 1]", "[1, null]"]),
        (UUID, ['"12345678123456781234567812345678"', '"1234"', '"12345678-1234-5678-1234-56781234567x"']),
        (Decimal, ["1.5", '"1.50"', '"NaN"', '"1e-5"', '"x"', "true", '""', '"-Infinity"', '" 5. "']),
        (bytes, ['""', '"YQ=="', '"YQ="', '"YQ"', '"Y Q="', '"____"']),
        (Annotated[bytes, Meta(min_length=2, max_length=4)], ['"YQ=="', '"YWI="', '"YWJj"', '"YWJjZA=="']),
        (Annotated[bytes, Meta(max_length=4)], ['"YWJjZA=="', '"YWJjZGU="', '""']),
        (Annotated[bytes, Meta(min_length=3)], ['"YWI="', '"YWJj"']),
        (dt.datetime, ['"2030-01-31 10:00:00z"', '"2030-01-31T10:00:00+0100"', '"2030-01-31T10:00"']),
        (dt.date, ['"2030-01-31"', '"0000-01-01"', '"2030-1-31"', '"2030-01-32"']),
        (dt.time, ['"10:00:00"', '"10:00:00.5Z"', '"24:00:00"', '"10:00"']),
        (dt.timedelta, ['"PT1S"', '"-P1DT2.5H"', '"P1W"', '"P1Y"', '"P"', '"P1DT"', '"1"', "1"]),
        (dict[int, int], ['{"1": 1}', '{"-1": 1}', '{"01": 1}', '{"a": 1}', '{"1.0": 1}']),
        (dict[float, int], ['{"1.5": 1}', '{"1e5": 1}', '{"a": 1}', '{"-0.5": 1}']),
        (dict[bytes, int], ['{"YQ==": 1}', '{"a": 1}']),
        (dict[shop.Color, int], ['{"red": 1}', '{"green": 1}']),
        (dict[shop.Level, int], ['{"1": 1}', '{"3": 1}']),
        (dict[UUID, int], ['{"1": 1}', '{"12345678123456781234567812345678": 1}']),
        (LETTER, ['"a"', "1", '"1"', "null"]),
        (dict[int | str, int], ['{"a": 1}', '{"1": 1}']),
        (dict[LETTER, int], ['{"a": 1}', '{"1": 1}', '{"b": 1}']),
        (shop.Point, ["[1]", "[1, 2]", "[1, 2, 3]", "[]", '["a"]']),
        (shop.Row, ['["row", "a"]', '["row", "a", 1, 2, 3]', '["cow", "a"]', '["row"]']),
        (tuple[()], ["[]", "[1]"]),
        (shop.Circle | shop.Square | None, ['{"type": "circle", "radius": 1}', '{"radius": 1}', "null", '{"type": 1}']),
        (shop.Square, ['{"type": "square", "side": 1}', '{"type": "square", "side": 1, "more": 1}']),
        (bool | None, ["true", "null", "0"]),
        (Annotated[str, Meta(pattern="b", min_length=2)], ['"abc"', '"b"', '"ac"']),
        (Annotated[list[int], Meta(min_length=1, max_length=2)], ["[]", "[1]", "[1, 2, 3]"]),
    ],
    ids=repr,
)  # fmt: skip
def test_what_msgspec_reads_in_its_own_way(type: Any, texts: list[str]) -> None:
    check = validator(json_schema(Contract("world", receives=[Message("a", type)])), "receives.a")
    assert {text: check.is_valid(json.loads(text)) for text in texts} == {text: takes(type, text) for text in texts}


def test_a_whole_message_is_judged_too() -> None:
    check = jsonschema.Draft202012Validator(json_schema(CONTRACT))
    assert check.is_valid({"type": "count", "data": 5})
    assert check.is_valid({"type": 'odd name/with ~ and "quotes"', "data": None})
    assert not check.is_valid({"type": "count", "data": 4})
    assert not check.is_valid({"type": "nothing", "data": 5})
    assert not check.is_valid({"data": 5})


def test_what_json_schema_cannot_say_is_named() -> None:
    class Odd(Struct):
        path: complex
        text: Annotated[str, Meta(pattern="(?P<name>a)")]

    with pytest.warns(ContractWarning) as told:
        schema = json_schema(Contract("world", receives=[Message("odd", Odd)]))
    assert sorted(str(each.message) for each in told) == [
        "Odd.path: JSON Schema cannot say <class 'complex'>; written: {} (anything)",
        "Odd.text: JSON Schema cannot say the pattern '(?P<name>a)', which is Python's; written: any text",
    ]
    assert schema["$defs"]["Odd"]["properties"] == {"path": {}, "text": {"type": "string"}}


def test_object_is_anything_and_nothing_to_be_told_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = json_schema(Contract("world", receives=[Message("it", list[object])]))
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid({"type": "it", "data": [1, {"a": None}]}) and not check.is_valid({"type": "it", "data": 1})


def test_defaults_and_docstrings_are_there() -> None:
    defs = json_schema(CONTRACT)["$defs"]
    assert defs["Order"]["description"] == "What somebody wants to have."
    assert defs["Order"]["properties"]["howMany"] == {"type": "integer", "minimum": 1, "default": 1}
    assert defs["Order"]["properties"]["tags"]["default"] == []
    assert defs["Order"]["required"] == ["itemName"]
    assert "description" not in defs["Place"]


def test_classes_of_one_name_are_told_apart() -> None:
    other = msgspec.defstruct("Terms", [("c", int)], module="elsewhere.here")
    defs = json_schema(Contract("world", receives=[Message("a", shop.Terms), Message("b", other)]))["$defs"]
    assert defs["receives.a"] == {"$ref": "#/$defs/contract_shop_Terms"}
    assert defs["receives.b"] == {"$ref": "#/$defs/elsewhere_here_Terms"}
    assert defs["elsewhere_here_Terms"]["properties"] == {"c": {"type": "integer"}}


class Picture(Struct):
    raw: node_ipc.Bytes
    pixels: numpy.ndarray
    narrow: numpy.typing.NDArray[numpy.float32] | None = None
    either: node_ipc.Bytes | numpy.ndarray = b""
    samples: array.array = array.array("h")  # type: ignore[type-arg]  # which msgspec does not know


GOOD = {"dtype": "<f4", "shape": [1, 2], "data": base64.b64encode(bytes(8)).decode()}
PICTURES = [
    ({"raw": "AAAA", "pixels": GOOD}, True),
    ({"raw": "", "pixels": {**GOOD, "order": "F"}, "narrow": GOOD, "either": "AAAA"}, True),
    ({"raw": "AAAA", "pixels": GOOD, "narrow": None, "either": GOOD}, True),
    ({"raw": "AAAA", "pixels": {**GOOD, "dtype": [["x", "<f4"], ["y", "<f4"]], "shape": [1]}}, True),
    ({"raw": "AAAA", "pixels": GOOD, "samples": {"dtype": "<i2", "shape": [2], "data": "AAAAAA=="}}, True),
    ({"raw": 5, "pixels": GOOD}, False),
    ({"raw": "not base64", "pixels": GOOD}, False),
    ({"raw": "AAAA", "pixels": 5}, False),
    ({"raw": "AAAA", "pixels": {"dtype": "<f4", "shape": [2]}}, False),
    ({"raw": "AAAA", "pixels": {**GOOD, "shape": [-1]}}, False),
    ({"raw": "AAAA", "pixels": {**GOOD, "shape": 2}}, False),
    ({"raw": "AAAA", "pixels": {**GOOD, "order": "A"}}, False),
    ({"raw": "AAAA", "pixels": {**GOOD, "data": "not base64"}}, False),
    ({"raw": "AAAA", "pixels": GOOD, "either": 5}, False),
]


@pytest.mark.parametrize(("payload", "fits"), PICTURES)
def test_bytes_and_arrays_are_said_as_they_stand_in_json(payload: dict[str, Any], fits: bool) -> None:
    """A validator and a handler judge them alike."""
    schema = json_schema(Contract("camera", receives=[Message("picture", Picture)]))
    message = {"type": "picture", "data": payload}
    assert jsonschema.Draft202012Validator(schema).is_valid(message) is fits
    ends = pair()
    heard: list[Any] = []
    faults: list[Any] = []
    ends.server.on("picture", lambda data, socket: heard.append(data), type=Picture)
    ends.server.on("error", lambda error, socket: faults.append(error))
    ends.client.emit("picture", payload)
    ends.driver.run_until_idle()
    assert (len(heard), len(faults)) == ((1, 0) if fits else (0, 1))
