"""From AsyncAPI to Python: what comes out runs, and judges payloads as the document does."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import msgspec
import pytest
from msgspec import inspect

from node_ipc import Event
from node_ipc.contract import Contract, ContractError, ContractWarning, asyncapi, contract_of, json_schema, python_of

from . import shop
from .payloads import broken, sound

CONTRACT = contract_of(shop.register, events=[shop.done, shop.moved])
NODE_TEAM: dict[str, Any] = {
    "asyncapi": "3.0.0",
    "info": {"title": "Light House", "version": "2.1.0", "description": 'Turns "lights" on.'},
    "channels": {
        "turnOn": {"address": "turn-on", "messages": {"turnOn": {"$ref": "#/components/messages/turnOn"}}},
        "news": {
            "address": "/tmp/app.light",
            "messages": {
                "on": {"name": "lamp.on", "payload": {"$ref": "#/components/schemas/lamp-state"}},
                "off": {"name": "lamp.off", "payload": {"type": "null"}},
            },
        },
        "ask": {"address": "status", "messages": {"question": {"payload": {"type": "string", "format": "uuid"}}}},
        "answer": {
            "address": "status.reply",
            "messages": {"answer": {"payload": {"$ref": "#/components/schemas/lamp-state"}}},
        },
    },
    "operations": {
        "turnOn": {"action": "receive", "channel": {"$ref": "#/channels/turnOn"}},
        "tell": {"action": "send", "channel": {"$ref": "#/channels/news"}},
        "status": {
            "action": "receive",
            "channel": {"$ref": "#/channels/ask"},
            "reply": {"channel": {"$ref": "#/channels/answer"}},
        },
    },
    "components": {
        "messages": {"turnOn": {"payload": {"$ref": "#/components/schemas/TurnOn"}}},
        "schemas": {
            "lamp-state": {
                "type": "object",
                "description": "How a lamp is.",
                "required": ["class", "brightness"],
                "properties": {
                    "class": {"enum": ["led", "bulb"]},
                    "brightness": {"type": "integer", "minimum": 0, "maximum": 100},
                    "since": {"type": "string", "format": "date-time"},
                    "inside": {"$ref": "#/components/schemas/lamp-state"},
                    "list": {"type": ["array", "null"], "items": {"type": "string", "minLength": 2}},
                    "tags": {"type": "object", "additionalProperties": {"type": "number"}},
                    "times": {"type": "integer", "default": 3},
                    "nested": {
                        "type": "object",
                        "properties": {"deepValue": {"type": "boolean"}},
                        "required": ["deepValue"],
                    },
                },
            },
            "TurnOn": {
                "allOf": [
                    {"type": "object", "properties": {"lamp": {"type": "string"}}, "required": ["lamp"]},
                    {"type": "object", "properties": {"color": {"$ref": "#/components/schemas/Color"}}},
                ]
            },
            "Color": {"oneOf": [{"$ref": "#/components/schemas/Rgb"}, {"$ref": "#/components/schemas/Named"}]},
            "Rgb": {
                "type": "object",
                "properties": {
                    "kind": {"const": "rgb"},
                    "value": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
                },
                "required": ["kind", "value"],
                "additionalProperties": False,
            },
            "Named": {
                "type": "object",
                "properties": {"kind": {"const": "named"}, "value": {"type": "string"}},
                "required": ["kind", "value"],
            },
        },
    },
}  # fmt: skip


def module(source: str, name: str = "made_contract") -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made  # where msgspec looks for annotations
    exec(compile(source, name, "exec"), made.__dict__)
    return made


def document(schema: Any, **more: Any) -> dict[str, Any]:
    """An AsyncAPI document of one event."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "world", "version": "1"},
        "channels": {"a": {"address": "a", "messages": {"a": {"payload": schema}}}},
        "operations": {"a": {"action": "receive", "channel": {"$ref": "#/channels/a"}}},
        **more,
    }


def test_a_contract_that_a_node_team_owns() -> None:
    made = module(python_of(NODE_TEAM))
    contract = made.contract
    assert (contract.name, contract.title, contract.version) == ("light-house", "Light House", "2.1.0")
    assert contract.description == 'Turns "lights" on.'
    assert [(each.name, each.type) for each in contract.receives] == [("turn-on", made.TurnOn)]
    assert [(each.name, each.type) for each in contract.sends] == [
        ("lamp.off", type(None)),
        ("lamp.on", made.LampState),
    ]
    assert [(each.name, each.result) for each in contract.answers] == [("status", made.LampState)]
    assert made.turn_on == Event("turn-on", made.TurnOn)
    inside = b'{"class": "bulb", "brightness": 1}'
    text = b'{"class": "led", "brightness": 5, "nested": {"deepValue": true}, "inside": %b}' % inside
    state = msgspec.json.decode(text, type=made.LampState)
    assert (state.class_, state.nested.deep_value, state.inside.brightness, state.times) == ("led", True, 1, 3)
    assert state.since is msgspec.UNSET
    on = msgspec.json.decode(b'{"lamp": "a", "color": {"kind": "rgb", "value": [1, 2, 3]}}', type=made.TurnOn)
    assert on.color == made.Rgb([1, 2, 3])


def test_what_we_write_we_read_and_judge_alike() -> None:
    """There and back: the Structs made of our own document take what the first ones took, and nothing else."""
    made: Contract = module(python_of(asyncapi(CONTRACT)), "there_and_back").contract
    before, after = dict(CONTRACT.payloads()), dict(made.payloads())
    assert list(before) == list(after)
    chance = random.Random(7)
    judged = 0
    for place, type in before.items():
        shape = inspect.type_info(type)
        if isinstance(shape, inspect.AnyType):
            continue
        for number in range(40):
            payload = sound(shape, chance)
            text = json.dumps(broken(payload, chance) if number % 2 else payload)
            assert takes(type, text) == takes(after[place], text), (place, text)
            judged += 1
    assert judged > 400


def takes(type: Any, text: str) -> bool:
    try:
        shop.decode(text, type)
    except msgspec.ValidationError:
        return False
    return True


def test_it_comes_out_the_same_the_second_time() -> None:
    once = python_of(asyncapi(module(python_of(asyncapi(CONTRACT)), "once").contract))
    assert python_of(asyncapi(module(once, "twice").contract)) == once
    jsonschema.Draft202012Validator.check_schema(json_schema(module(once, "twice").contract))


@pytest.mark.slow
def test_what_is_written_passes_a_strict_type_checker(tmp_path: Path) -> None:
    for number, source in enumerate((python_of(NODE_TEAM), python_of(asyncapi(CONTRACT)))):
        (tmp_path / f"made_{number}.py").write_text(source)
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("schema", "type"),
    [
        ({}, Any),
        (True, Any),
        ({"type": "integer", "exclusiveMinimum": 1, "multipleOf": 2}, "Annotated[int, Meta(gt=1, multiple_of=2)]"),
        ({"type": ["string", "null"]}, "str | None"),
        ({"type": "string", "nullable": True}, "str | None"),
        ({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}, "int | list[str]"),
        ({"type": "string", "contentEncoding": "base64"}, "bytes"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {}], "minItems": 2, "items": False}, "tuple[int, Any]"),
        ({"const": "a"}, 'Literal["a"]'),
        ({"enum": ["a", 1, None]}, 'Literal["a", 1, None]'),
        ({"type": "object"}, "dict[str, Any]"),
        ({"type": "object", "propertyNames": {"minLength": 2}}, "dict[Annotated[str, Meta(min_length=2)], Any]"),
        ({"allOf": [{"type": "string"}], "description": "x"}, "str"),
        ({"type": "string", "format": "email"}, "str"),
        ({"schemaFormat": "application/schema+json;version=draft-07", "schema": {"type": "boolean"}}, "bool"),
    ],
    ids=str,
)
def test_types(schema: Any, type: Any) -> None:
    source = python_of(document(schema))
    wanted = "Any" if type is Any else type
    assert f'\na = Event("a", {wanted})\n' in source


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "an AsyncAPI document of version 3 is needed, and 'asyncapi' is None here"),
        ({"asyncapi": "2.6.0"}, "version 3 is needed, and 'asyncapi' is '2.6.0' here: `asyncapi convert` makes 3 of 2"),
        ({"asyncapi": "3.0.0"}, "the document has no operations"),
        (document({"$ref": "#/components/schemas/A"}), "'#/components/schemas/A' is not in the document"),
        (document({"$ref": "other.yaml#/A"}), "'other.yaml#/A' is outside the document: bundle it"),
        (document(False), "no payload fits the schema False"),
        (document({"type": "strin"}), "there is no type 'strin'"),
        (document({"enum": [1.5]}), "only texts, whole numbers and null can be enumerated, not 1.5"),
        (document({"enum": []}), "enum is a list of values, not []"),
        (document({"anyOf": []}), "a list of schemas is needed"),
        (document({"allOf": [{"type": "string"}, {"type": "integer"}]}), "only objects can be put together with allOf"),
        (document({"anyOf": [
            {"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}},
        ]}), "a: payloads cannot be of A1 | A2: If a type union contains"),
        (document({"type": "string", "minLength": True}), "a number is needed, not True"),
        (document({"schemaFormat": "application/vnd.apache.avro;version=1.9.0", "schema": {}}), "cannot be read"),
        (document({}, defaultContentType="application/octet-stream"), "payloads are JSON here, and not 'app"),
        (document({}, channels={"a": {"address": "user/{id}", "messages": {"a": {}}}}), "has parameters"),
        (document({}, operations={"a": {"action": "hear"}}), "'send' or 'receive' is needed, not 'hear'"),
        (document({}, operations={"a": {"action": "send"}}), "there is no channel"),
        (document({"$ref": "#/x"}, x={"$ref": "#/y"}, y={"$ref": "#/x"}), "refers to itself"),
        (document({"$ref": "#/x"}, x={"type": "array", "items": {"$ref": "#/x"}}), "holds itself without"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_python_cannot_hold_is_one_clear_error(given: Any, says: str) -> None:
    with pytest.raises(ContractError) as raised:
        python_of(given)
    assert says in str(raised.value)


def test_the_error_names_the_place() -> None:
    broken_one = copy.deepcopy(NODE_TEAM)
    broken_one["components"]["schemas"]["lamp-state"]["properties"]["class"]["enum"] = [True]
    with pytest.raises(ContractError, match="#/components/schemas/lamp-state/properties/class"):
        python_of(broken_one)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array", "uniqueItems": True}, "Python does not check uniqueItems"),
        ({"type": "string", "not": {"const": "a"}}, "Python does not check not"),
        ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, "Python does not check minProperties"),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
            "members of any name",
        ),
        ({"type": "string", "pattern": "(?<a>b)"}, "which is no regular expression of Python's"),
    ],
    ids=str,
)
def test_what_is_not_checked_is_told(schema: Any, says: str) -> None:
    with pytest.warns(ContractWarning) as told:
        python_of(document(schema))
    assert [says in str(each.message) for each in told] == [True]
    assert all(str(each.message).startswith("message 'a'") or "#/" in str(each.message) for each in told)


def test_names_are_made_pythons_own() -> None:
    names = ["class", "list", "str", "2fast", "with space", "UNSET", "ä", "self", "field", "Order", "order"]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names[:4]}
    channels = {name: {"address": name, "messages": {"a": {"payload": schema}}} for name in names}
    operations = {name: {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}} for name in names}
    made = module(python_of(document({}, channels=channels, operations=operations)), "named")
    payload = {name: "x" for name in names}
    for each in made.contract.receives:
        assert msgspec.to_builtins(msgspec.convert(payload, each.type)) == payload
    assert sorted(each.name for each in made.contract.receives) == sorted(names)


def test_text_of_others_stays_text() -> None:
    evil = '\\"""\nimport os; os.abort()\n\x00😀 """\\'
    given = document({"type": "object", "description": evil, "properties": {evil: {"const": evil}}, "required": [evil]})
    given["info"] = {"title": evil, "version": evil, "description": evil + "\ud800"}
    given["channels"]["a"]["address"] = evil
    made = module(python_of(given, name=evil), "evil")
    assert made.contract.title == evil
    assert made.contract.receives[0].name == evil


QUOTES = ['"', '""', '"""', 'a"""', 'a\\"', "\\", '\\\\"""', '"""\\', "\r\n", "\x0c"]


@pytest.mark.parametrize("text", QUOTES)
def test_descriptions_end_where_we_end_them(text: str) -> None:
    schema = {"type": "object", "description": f"a {text}", "properties": {"a": {"type": "string", "default": text}}}
    for description in (text, f"a {text}", f"{text}\na", f"a\n{text}"):
        made = module(python_of(document({**schema, "description": description})), "described")
        assert made.A().a == text
        assert len(made.contract.receives) == 1
        assert not {"os", "abort"} & set(vars(made))


def test_what_stands_beside_options_is_part_of_each() -> None:
    kinds = [
        {"properties": {"kind": {"const": kind}, kind: {"type": "integer"}}, "required": ["kind", kind]}
        for kind in ("circle", "square")
    ]
    shape = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "oneOf": kinds}
    made = module(python_of(document(shape)), "beside")
    [event] = made.contract.receives
    assert takes(event.type, '{"name": "a", "kind": "circle", "circle": 1}')
    assert not takes(event.type, '{"kind": "circle", "circle": 1}')
    assert not takes(event.type, '{"name": "a", "kind": "circle", "square": 1}')
    text = {"type": "string", "anyOf": [{"format": "date"}, {"type": "null"}]}
    assert 'Event("a", date | None)' in python_of(document(text))


def test_a_document_nested_without_end_is_one_error() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ContractError, match="nested too deeply"):
        python_of(document(schema))


def test_whatever_stands_in_the_document_it_is_read_or_one_error() -> None:
    chance = random.Random(3)
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        given = broken(NODE_TEAM, chance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ContractWarning)
            try:
                python_of(given)
                outcomes[True] += 1
            except ContractError:
                outcomes[False] += 1
    assert outcomes[True] > 50
    assert outcomes[False] > 50
