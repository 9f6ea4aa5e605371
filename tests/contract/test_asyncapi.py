"""AsyncAPI: judged by the specification's own schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from node_ipc.config.address import Address, Pipe, Tcp, Tls, Udp, Unix
from node_ipc.contract import Contract, ContractError, Message, Method, asyncapi, contract_of

from . import shop

CONTRACT = contract_of(shop.register, events=[shop.done, shop.moved])


def judge(document: dict[str, Any], tools: Path) -> None:
    """Raises where the schema of the document's own version does not take it."""
    path = tools / f"@asyncapi/specs/schemas/{document['asyncapi']}-without-$id.json"
    jsonschema.validate(json.loads(json.dumps(document)), json.loads(path.read_text()))


def resolved(document: dict[str, Any], ref: str) -> Any:
    found: Any = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for part in value.values() for each in references(part)]
    return [each for part in value for each in references(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("version", ["3.0.0", "3.1.0"])
@pytest.mark.parametrize(
    "contract",
    [
        CONTRACT,
        Contract("bare", receives=[Message("a")]),
        Contract("asks", asks=[Method("confirm", str, bool, "Really?")], description="Of questions.", address="asks"),
    ],
    ids=lambda contract: contract.name,
)
def test_the_specifications_own_schema_takes_it(tools: Path, contract: Contract, version: str) -> None:
    judge(asyncapi(contract, version=version), tools)


def test_the_schema_would_refuse_what_is_wrong(tools: Path) -> None:
    document = asyncapi(CONTRACT)
    document["operations"]["receive.order"]["action"] = "hear"
    with pytest.raises(jsonschema.ValidationError):
        judge(document, tools)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi(CONTRACT)
    found = references(document)
    assert len(found) > 40
    for ref in found:
        resolved(document, ref)


def test_payloads_are_judged_as_json_schema_judges_them() -> None:
    document = asyncapi(CONTRACT)
    check = jsonschema.Draft7Validator(
        {**document, "allOf": [{"$ref": "#/components/messages/receives.order/payload"}]}
    )
    assert check.is_valid({"itemName": "tea", "shape": {"type": "circle", "radius": 1}})
    assert not check.is_valid({"itemName": "tea", "shape": {"type": "circle"}})
    assert not check.is_valid({"itemName": "tea", "size": "xl"})


def test_events_and_methods_are_operations_of_the_server() -> None:
    operations = asyncapi(CONTRACT)["operations"]
    assert operations["receive.order"] == {
        "action": "receive",
        "channel": {"$ref": "#/channels/order"},
        "messages": [{"$ref": "#/channels/order/messages/receives.order"}],
        "summary": "Somebody wants something.",
    }
    assert operations["send.done"]["action"] == "send"
    add = operations["answers.add"]
    assert add["channel"] == {"$ref": "#/channels/rpc.request"}
    assert add["reply"] == {
        "channel": {"$ref": "#/channels/rpc.response"},
        "messages": [{"$ref": "#/channels/rpc.response/messages/answers.add.result"}],
    }


@pytest.mark.parametrize(
    ("address", "server"),
    [
        (Unix("/run/w.sock"), {"host": "localhost", "protocol": "unix", "x-unix-socket": "/run/w.sock"}),
        ("unix:/run/w.sock", {"host": "localhost", "protocol": "unix", "x-unix-socket": "/run/w.sock"}),
        (Unix("\0w"), {"host": "localhost", "protocol": "unix", "x-unix-socket": "abstract:w"}),
        (Pipe("w"), {"host": "localhost", "protocol": "pipe", "x-windows-pipe": "w"}),
        (Tcp("::1", 80), {"host": "[::1]:80", "protocol": "tcp"}),
        (Tls("example.com", 8000), {"host": "example.com:8000", "protocol": "tls"}),
        (Udp("127.0.0.1", 8000, "udp4"), {"host": "127.0.0.1:8000", "protocol": "udp"}),
    ],
)
def test_where_the_server_is(tools: Path, address: str | Address, server: dict[str, str]) -> None:
    document = asyncapi(Contract("world", receives=[Message("a")], address=address))
    assert document["servers"] == {"world": server}
    judge(document, tools)


def test_names_of_any_form_have_keys_that_asyncapi_allows(tools: Path) -> None:
    names = ["a b", "a/b", "a_b", "ä", "$ref", "a~b"]
    document = asyncapi(Contract("world", receives=[Message(name) for name in names]))
    judge(document, tools)
    assert sorted(channel["address"] for channel in document["channels"].values()) == sorted(names)


def test_only_versions_that_are_known_are_written() -> None:
    with pytest.raises(ContractError, match=r"AsyncAPI is written as 3\.0\.0 or 3\.1\.0, not '2\.6\.0'"):
        asyncapi(CONTRACT, version="2.6.0")
