"""The parser of examples/attachments in the real node-ipc 14: Buffers beside the JSON, in both roles and directions."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import NodePool

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import Program

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "attachments"
RUN = str(ROOT / "tests" / "run_example.py")
VECTORS = json.loads((ROOT / "docs" / "wire" / "vectors.json").read_text())["attachments"]

HEARS = """
import {createRequire} from 'node:module';
const [, , parser, modules] = process.argv;
const {attachmentsParser} = await import(parser);
const made = attachmentsParser(createRequire(modules + '/')('node-ipc/parsers'));
const config = {delimiter: '\\f', maxMessageSize: 1 << 20, maxPendingBytes: 1 << 20, maxEventNameLength: 256,
    messageTimeout: 0, allowReservedEvents: false};
const show = (value) => Buffer.isBuffer(value)
    ? {bytes: value.toString('hex'), ...(value.dtype === undefined ? {} : {dtype: value.dtype, shape: value.shape})}
    : Array.isArray(value) ? value.map(show)
    : value && typeof value === 'object' && !(value instanceof Error)
    ? Object.fromEntries(Object.entries(value).map(([name, item]) => [name, show(item)])) : value;
for (const chunks of JSON.parse(process.argv[4])) {
    const reader = new made(config), messages = [];
    let rest = '', error = null;
    const receive = ({type, data}) => type === 'error' ? (error = data.code) : messages.push({type, data: show(data)});
    reader.linkOf(receive).offered = process.argv[5] === 'agreed';
    try {
        for (const chunk of chunks) rest = reader.read(rest, Buffer.from(chunk, 'hex').toString('latin1'), receive);
    } catch (failure) { error = failure.code ?? String(failure); }
    console.log(JSON.stringify({messages, error, rest: Boolean(rest)}));
}
"""


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.close()


class Stage:
    """The two ends of the example, with sockets of their own."""

    def __init__(self, nodes: NodePool, programs: list[Program], root: str) -> None:
        peer = nodes.installed("v14")
        self._node, self._modules = peer.node, str(peer.folder / "node_modules")
        self._programs = programs
        self.root = root

    def _started(self, program: Program) -> Program:
        self._programs.append(program)
        return program

    def node(self, role: str) -> Program:
        return self._started(Program(self._node, str(EXAMPLE / "mirror.mjs"), role, self.root, self._modules))

    def python(self, *role: str) -> Program:
        return self._started(Program.python(RUN, self.root, "0", str(EXAMPLE / "mirror.py"), *role))

    def hears(self, chunks: list[list[str]], agreed: bool = True) -> list[Any]:
        arguments = [str(EXAMPLE / "attachments.mjs"), self._modules, json.dumps(chunks), "agreed" if agreed else "not"]
        program = self._started(Program(self._node, "--input-type=module", "-e", HEARS, "-", *arguments))
        return [json.loads(line) for line in program.ends()]


@pytest.fixture
def stage(node_pool: NodePool, programs: list[Program], socket_root: str) -> Stage:
    return Stage(node_pool, programs, socket_root)


def test_the_parser_is_small_enough_to_be_read() -> None:
    assert len((EXAMPLE / "attachments.mjs").read_text().splitlines()) < 100
    assert len((EXAMPLE / "arrays.mjs").read_text().splitlines()) < 30


def test_python_sends_buffers_to_a_node_server_and_gets_them_back(stage: Stage) -> None:
    server = stage.node("serve")
    server.wait_for("ready")
    assert stage.python("ask").ends() == [
        "number 1: right, raw there False",  # before the two ends know of each other: base64
        *[f"number {number}: right, raw there True" for number in (2, 3, 4)],
    ]


def test_node_sends_buffers_to_a_python_server_and_gets_them_back(stage: Stage) -> None:
    server = stage.python()
    server.wait_for("ready")
    lines = stage.node("ask").ends()
    assert [line.partition(",")[0] for line in lines] == [f"number {number}: right" for number in (1, 2, 3, 4)]
    assert [line.endswith("raw here true") for line in lines[1:]] == [True] * 3
    server.interrupt()
    server.ends()


def test_what_node_sends_travels_beside_the_json(stage: Stage) -> None:
    """As another end sees it that answers the offer: the frame, then the bytes as they are."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{stage.root}app.mirror")
        listener.listen()
        listener.settimeout(30)
        stage.node("ask")
        link, _ = listener.accept()
        with link, link.makefile("rb") as stream:
            link.settimeout(30)
            first = until_delimiter(stream)
            assert first.endswith(b',"attachments":1}') and first.startswith(b'{"type":"picture","data":{')
            link.sendall(b'{"type":"ipc.attachments","data":{"version":1}}\f')
            link.sendall(b'{"type":"mirrored","data":{"name":"x","raw":false,"pixels":""}}\f')
            second = until_delimiter(stream)
            assert second == (
                b'{"attachments":[{"at":["pixels"],"size":4194304}],'
                b'"type":"picture","data":{"name":"number 2","pixels":null}}'
            )
            pixels = stream.read(4194304)
            assert pixels == (bytes(range(251)) * 16711)[:4194304]


def until_delimiter(stream: Any) -> bytes:
    frame = bytearray()
    while not frame.endswith(b"\f"):
        frame += stream.read(1) or pytest.fail("the stream ended")
    return bytes(frame[:-1])


def shown(message: dict[str, Any]) -> dict[str, Any]:
    """What the parser gives for a message of the vectors: each entry's bytes at its place."""
    root = {"data": message["data"]}
    for entry in message.get("attachments", ()):
        place: Any = root
        path = ["data", *entry["at"]]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = {name: entry[name] for name in ("bytes", "dtype", "shape") if name in entry}
    return {"type": message["type"], "data": root["data"]}


def test_it_reads_the_vectors(stage: Stage) -> None:
    assert len(VECTORS) > 20
    for vector, heard in zip(VECTORS, stage.hears([each["chunks"] for each in VECTORS]), strict=True):
        assert heard["error"] == vector["error"], vector["name"]
        assert heard["messages"] == [shown(each) for each in vector["messages"]], vector["name"]


HOSTILE = [
    b'{"attachments":[null],"type":"a","data":null}\f',
    b'{"attachments":[1],"type":"a","data":null}\f',
    b'{"attachments":[{"at":"x","size":1}],"type":"a","data":null}\f',
    b'{"attachments":[{"at":["__proto__","x"],"size":1}],"type":"a","data":{}}\fx',
    b'{"attachments":[{"at":["length"],"size":1}],"type":"a","data":[]}\fx',
    b'{"attachments":[{"at":[],"size":9007199254740993}],"type":"a","data":null}\f',
    b'{"attachments":[{"at":[],"size":1e308}],"type":"a","data":null}\f',
    b'{"attachments":[{"at":[],"size":2000000}],"type":"a","data":null}\f',
    b'{"attachments":[{"at":[[]],"size":1}],"type":"a","data":{"":null}}\fx',
]


def test_attachments_before_the_agreement_are_refused(stage: Stage) -> None:
    first = b'{"type":"b","data":1}\f{"attachments":[{"at":[],"size":1}],"type":"a","data":null}\fx'
    offer = b'{"type":"b","data":1,"attachments":1}\f'
    answer = b'{"type":"ipc.attachments","data":{"version":1}}\f'
    heard = stage.hears([[each.hex()] for each in (first, offer + first, answer + first)], agreed=False)
    assert heard[0] == {"messages": [{"type": "b", "data": 1}], "error": "ERR_IPC_INVALID_MESSAGE", "rest": False}
    for after in heard[1:]:
        assert after["error"] is None and after["messages"][-1] == {"type": "a", "data": {"bytes": "78"}}


def array(dtype: str, shape: str, size: int = 4, order: str = "") -> bytes:
    head = '{"attachments":[{"at":[],"size":%d,"dtype":%s,"shape":%s%s}],"type":"a","data":null}\f'
    return (head % (size, dtype, shape, order)).encode() + bytes(size)


DEEP = '[["a",' * 3000 + '"<i4"' + "]]" * 3000
NO_ARRAYS = [
    array('"<i4"', "[2]"),
    array('"<i4"', "[]", size=8),
    array('"<i4"', "[-1]"),
    array('"<i4"', "1"),
    array('"<i4"', "null"),
    array('"<i4"', "[1.5]"),
    array('"<i4"', str([1] * 33)),
    array('"<i3"', "[1]"),
    array('"O"', "[1]"),
    array('"|O8"', "[1]", size=8),
    array("4", "[1]"),
    array("[]", "[0]", size=0),
    array("[null]", "[1]"),
    array('[["a"]]', "[1]"),
    array('[["a","<i4",[2]]]', "[1]"),
    array(DEEP, "[1]"),
    array('"<i4"', "[1]", order=',"order":"A"'),
]
ARRAYS = [
    array('"<i4"', "[1]"),
    array('">u2"', "[1,2]", order=',"order":"F"'),
    array('"<f8"', "[0,3]", size=0),
    array('"|S4"', "[]"),
    array('"<U1"', "[1]"),
    array('"<M8[ms]"', "[2]", size=16),
    array('[["a","<i2"],["b","|u1",[2]]]', "[3]", size=12),
    array('[["a",[["b","<i4"]]]]', "[1]"),
]


def test_bytes_that_are_not_the_array_they_are_said_to_be_are_an_error(stage: Stage) -> None:
    for frame, heard in zip(NO_ARRAYS, stage.hears([[frame.hex()] for frame in NO_ARRAYS]), strict=True):
        assert (heard["error"], heard["messages"], heard["rest"]) == ("ERR_IPC_INVALID_PAYLOAD", [], False), frame[:200]
    for frame, heard in zip(ARRAYS, stage.hears([[frame.hex()] for frame in ARRAYS]), strict=True):
        assert heard["error"] is None and len(heard["messages"]) == 1, frame


def test_what_lies_is_an_error_with_a_code_and_never_a_crash(stage: Stage) -> None:
    for frame, heard in zip(HOSTILE, stage.hears([[frame.hex()] for frame in HOSTILE]), strict=True):
        assert str(heard["error"]).startswith("ERR_IPC_") or heard["messages"], frame
    began = time.monotonic()
    (half,) = stage.hears([[(b'{"attachments":[{"at":[],"size":9}],"type":"a","data":null}\f12345678').hex()]])
    assert half == {"messages": [], "error": None, "rest": True} and time.monotonic() - began < 30
