"""TypeScript: judged by tsc with the types of node-ipc 9 and the source of 14, and run against a Python server."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from msgspec import Struct

import node_ipc
from interop.install import Peer
from node_ipc.contract import Contract, ContractWarning, Message, Method, contract_of, typescript

from . import shop
from .project import Project

NODE = Path(__file__).parent / "node"
CONTRACT = contract_of(shop.register, events=[shop.done, shop.moved])


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v9", "v14"])
def test_tsc_takes_what_fits_and_refuses_what_does_not(project: Project, version: str) -> None:
    project.write("world.d.ts", typescript(CONTRACT))
    project.write("world-client.ts", typescript(CONTRACT, client=True))
    shutil.copy(NODE / "types.ts", project.folder)
    assert project.compile(version, "types.ts", "world.d.ts") == ""


@pytest.mark.slow
def test_a_struct_that_changes_makes_tsc_fail_where_it_is_used(project: Project) -> None:
    fields: list[tuple[str, Any, Any]] = [("item_name", int, 0), ("how_many", int, 1)]  # was text
    changed = msgspec.defstruct("Order", fields, rename="camel", module=shop.__name__)
    contract = Contract(
        "world",
        receives=[Message("order", changed)],
        sends=CONTRACT.sends,
        answers=CONTRACT.answers,
    )
    project.write("world-client.ts", typescript(contract, client=True))
    project.write("use.ts", 'import { World } from "./world-client.js";\n'
                  'export const use = (world: World) => world.emit("order", { itemName: "tea" });\n')  # fmt: skip
    said = project.compile("v9", "use.ts")
    assert "use.ts(2," in said
    assert "Type 'string' is not assignable to type 'number'" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "contract",
    [
        Contract("only-events", receives=[Message("a", int)]),
        Contract("9 lives", sends=[Message("a b", shop.Tree), Message("b")], description="Of cats.\n\n*/ and more"),
        Contract("asks", asks=[Method("confirm", str, bool), Method("free")], answers=[Method("x", None, None)]),
        Contract("names", receives=[Message(name, msgspec.defstruct(name, [("a", int)])) for name in (
            "Error", "Map", "Promise", "Names", "NamesError", "NamesLink", "NodeClient", "Array", "NamesReceives",
        )]),
    ],
    ids=lambda contract: contract.name,
)  # fmt: skip
def test_contracts_of_every_form_compile(project: Project, contract: Contract) -> None:
    project.write("world.d.ts", typescript(contract))
    project.write("client.ts", typescript(contract, client=True))
    assert project.compile("v9", "client.ts", "world.d.ts") == ""


async def _never() -> None:
    await asyncio.sleep(3600)


class Served:
    """The shop, served over a Unix socket, with two methods that do not answer."""

    def __init__(self, root: str) -> None:
        self._root = root

    async def __aenter__(self) -> Any:
        self.server = await node_ipc.serve("world", socket_root=self._root)
        shop.register(self.server)
        self.server.handle("slow", _never)
        self.server.handle("end", lambda params, socket: socket.abort())
        return self.server

    async def __aexit__(self, *exception: object) -> None:
        await self.server.stop(timeout=1)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v9", "v14"])
async def test_a_node_program_in_typescript_talks_with_a_python_server(
    project: Project, peers: dict[str, Peer], root: str, version: str
) -> None:
    methods = [*CONTRACT.answers, Method("slow"), Method("end")]
    contract = Contract("world", receives=CONTRACT.receives, sends=CONTRACT.sends, answers=methods)
    project.write("world-client.ts", typescript(contract, client=True))
    shutil.copy(NODE / "program.ts", project.folder)
    compiled = await asyncio.to_thread(project.compile, version, "program.ts", noEmit=False)
    assert compiled == ""
    peer = peers[version]
    os.symlink(peer.folder / "node_modules", project.folder / "node_modules")
    async with Served(root):
        program = await asyncio.create_subprocess_exec(
            peer.node, str(project.folder / "program.js"), root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(program.communicate(), 60)
    assert said.decode().splitlines() == [
        'done tea 2 red {"type":"square","side":3}',
        "add 3",
        'page {"items":[1,3],"next":null}',
        'free {"any":["thing"]}',
        "refused -32602 the payload of 'add' does not fit at $.a: Expected `int`, got `str`",
        "all true",
        "late no answer to slow within 50 ms",
        "lost the link was lost before the request was answered",
    ]


def test_what_typescript_cannot_say_is_named() -> None:
    class Odd(Struct):
        path: pathlib.Path

    with pytest.warns(ContractWarning, match=r"^Odd\.path: TypeScript cannot say .*Path.*; written: unknown$"):
        text = typescript(Contract("world", receives=[Message("odd", Odd)]))
    assert "  path: unknown;\n" in text


def test_object_is_anything_and_nothing_to_be_told_of() -> None:
    class Labelled(Struct):
        rest: object

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = typescript(Contract("world", receives=[Message("it", Labelled), Message("all", dict[str, object])]))
    assert "  rest: unknown;\n" in text and "  all: { [key: string]: unknown };\n" in text


def test_what_types_do_not_say_stands_in_comments() -> None:
    text = typescript(CONTRACT)
    assert "/** What somebody wants to have. */\nexport interface Order {" in text
    assert "  /**\n   * An integer, 1 or more.\n   * Default: 1.\n   */\n  howMany?: number;" in text
    assert "   * In any order, each once, at most 5 long.\n   * Default: [].\n" in text
    assert "  /** Somebody wants something. */\n  order: Order;" in text
    assert "  /** An integer, a multiple of 5. */\n  count: number;" in text
    assert "   * The sum of two numbers.\n   * result: An integer.\n" in text
    assert "  /** A date and time, as 2030-01-31T12:00:00Z, with a time zone. */\n  utc: string;" in text


class Picture(Struct):
    raw: node_ipc.Bytes
    pixels: numpy.ndarray
    either: node_ipc.Bytes | numpy.ndarray


PICTURES = Contract("pictures", receives=[Message("picture", Picture)])


def test_bytes_and_arrays_are_said_as_they_stand_in_json() -> None:
    text = typescript(PICTURES)
    array = '{ dtype: string | unknown[]; shape: number[]; order?: "C" | "F"; data: string }'
    assert "  /** Bytes, in base64. */\n  raw: string;\n" in text
    assert f"  pixels: {array};\n" in text and f"  either: string | {array};\n" in text
    assert "An array of NumPy's: dtype as" in text and "unknown;" not in text.split("export interface")[1]


@pytest.mark.slow
def test_tsc_knows_bytes_and_arrays(project: Project) -> None:
    project.write("world-client.ts", typescript(PICTURES, client=True))
    array = '{ dtype: "<f4", shape: [1], data: "AAAAAA==" }'
    use = (
        'import { Pictures } from "./world-client.js";\n'
        'export const use = (world: Pictures) => world.emit("picture", { raw: "AAAA", pixels: %s, either: %s });\n'
    )
    project.write("use.ts", use % (array, '"AAAA"') + (use % (array, array)).splitlines()[1].replace("use", "again"))
    assert project.compile("v9", "use.ts") == ""
    project.write("use.ts", use % ('"AAAA"', array))
    assert "not assignable to type" in project.compile("v9", "use.ts")


def test_types_alone_hold_no_code() -> None:
    assert "class " not in typescript(CONTRACT)
    assert "export class World {" in typescript(CONTRACT, client=True)


def test_the_order_of_registration_changes_nothing() -> None:
    turned = Contract("world", receives=[*reversed(CONTRACT.receives)], sends=[*reversed(CONTRACT.sends)],
                      answers=[*reversed(CONTRACT.answers)])  # fmt: skip
    assert typescript(turned) == typescript(CONTRACT)
