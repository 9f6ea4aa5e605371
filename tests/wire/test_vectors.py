"""``docs/wire/vectors.json``, run against this library on the memory driver: what it writes, reads, asks and answers.

The same file is run against each released node-ipc by ``tests/interop/test_vectors.py``.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_ipc import Client, Config, RemoteError, Server
from node_ipc.config.address import Udp, Unix, local_server, runtime_socket_root
from node_ipc.core.datagram import DatagramServer
from node_ipc.errors import InvalidPayload, ProtocolError
from node_ipc.testing import MemoryDriver, Started, Wire, WireServer, serve
from node_ipc.wire.codec import choose
from node_ipc.wire.names import LIFECYCLE

TESTS = Path(__file__).resolve().parents[1]
DOCS = TESTS.parent / "docs" / "wire"
VECTORS = json.loads((DOCS / "vectors.json").read_text("utf-8"))
WORLD = Unix("/memory/app.world")


def ours(section: str) -> pytest.MarkDecorator:
    """The vectors of a section that are about this library."""
    mine = [vector for vector in VECTORS[section] if "python" in vector["by"]]
    assert mine
    return pytest.mark.parametrize("vector", mine, ids=[ascii(vector["name"]) for vector in mine])


def settings(vector: dict[str, Any]) -> Config:
    return Config.from_mapping({"socketRoot": "/memory/", "stopRetrying": True, **vector["config"]}).settings()


class Ear:
    """What one end hears of a peer."""

    def __init__(self, end: Any) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.codes: list[str] = []
        end.on("*", self._event)
        end.on("error", lambda error: self.codes.append(error.code))

    def _event(self, type: str, data: Any = None, *rest: Any) -> None:
        if type not in LIFECYCLE or type == "data":
            self.heard.append((type, data))


def a_server(vector: dict[str, Any]) -> tuple[MemoryDriver, Server, Wire]:
    """A server with these options, and a peer of it that speaks bytes."""
    driver = MemoryDriver()
    server = serve(driver, WORLD, config=Config.from_mapping({"socketRoot": "/memory/", **vector["config"]}))
    return driver, server, Started(server, driver).wire()


def a_client(vector: dict[str, Any]) -> tuple[MemoryDriver, Client, Wire]:
    """A client with these options, and what it is connected to."""
    driver = MemoryDriver()
    server = WireServer(driver, WORLD)
    client = Client("world", WORLD, driver, settings(vector))
    client.connect()
    driver.run_until_idle()
    return driver, client, server.wires[0]


ENDS = pytest.mark.parametrize("end", [a_server, a_client], ids=["server", "client"])
End = Callable[[dict[str, Any]], tuple[MemoryDriver, Any, Wire]]


def speaker(end: Any) -> Any:
    """What emits: a client, or a server's one socket."""
    return end if isinstance(end, Client) else end.sockets[0]


@ours("write")
@ENDS
def test_what_is_written(end: End, vector: dict[str, Any]) -> None:
    driver, made, wire = end(vector)
    speaker(made).emit(*vector["emit"])
    driver.run_until_idle()
    assert wire.bytes.hex() == vector["bytes"]


@ours("refuse_to_write")
@ENDS
def test_what_is_not_written(end: End, vector: dict[str, Any]) -> None:
    driver, made, wire = end(vector)
    with pytest.raises(ProtocolError) as refused:
        speaker(made).emit(*vector["emit"])
    driver.run_until_idle()
    assert (refused.value.code, wire.bytes) == (vector["code"], b"")


@ours("read")
@ENDS
def test_what_is_read(end: End, vector: dict[str, Any]) -> None:
    driver, made, wire = end(vector)
    ear = Ear(made)
    for chunk in vector["chunks"]:
        wire.write(bytes.fromhex(chunk))
        driver.run_until_idle()
    assert json.dumps(ear.heard) == json.dumps(vector["events"])
    assert ear.codes == ([vector["error"]] if vector["error"] else [])
    assert wire.is_lost or wire.has_ended or vector["error"] is None


@ours("raw_write")
@ENDS
def test_what_is_written_in_raw_mode(end: End, vector: dict[str, Any]) -> None:
    driver, made, wire = end(vector)
    sent = vector["emit"]
    payload = bytes.fromhex(sent["bytes"]) if "bytes" in sent else sent["text"]
    if "error" in vector:
        with pytest.raises(InvalidPayload) as refused:
            speaker(made).emit(payload)
        assert refused.value.code == vector["error"]
    else:
        speaker(made).emit(payload)
    driver.run_until_idle()
    assert wire.bytes.hex() == vector.get("bytes", "")


@ours("raw_read")
@ENDS
def test_what_is_read_in_raw_mode(end: End, vector: dict[str, Any]) -> None:
    driver, made, wire = end(vector)
    ear = Ear(made)
    wire.write(bytes.fromhex(vector["bytes"]))
    driver.run_until_idle()
    assert b"".join(data for _, data in ear.heard).hex() == vector["heard"] and not ear.codes


@ours("datagrams")
def test_what_is_read_of_datagrams(vector: dict[str, Any]) -> None:
    driver = MemoryDriver()
    port = DatagramServer(Udp("127.0.0.1", 8000, "udp4"), driver, settings(vector))
    driver.run_until(port.start())
    ear = Ear(port)
    for datagram in vector["datagrams"]:
        port.datagram(bytes.fromhex(datagram), "127.0.0.1", 9000)
        driver.run_until_idle()
    assert ear.heard == [tuple(event) for event in vector["events"]]
    assert ear.codes[:1] == ([vector["error"]] if vector["error"] else [])


# --- requests


def answering() -> tuple[MemoryDriver, Wire]:
    """A server with the methods that the file describes, and a peer of it."""
    driver, server, wire = a_server({"config": {}})

    @server.handle("add")
    def add(params: Any) -> Any:
        return params["a"] + params["b"]

    @server.handle("echo")
    def echo(params: Any) -> Any:
        return params

    @server.handle("double")
    def double(params: int) -> int:
        return params * 2

    @server.handle("break")
    def fail(params: Any) -> Any:
        raise ValueError("broken")

    @server.handle("refuse")
    def refuse(params: Any) -> Any:
        raise RemoteError(7, "not today", {"why": [1]})

    @server.handle("count")
    def count(params: Any, socket: Any, request: Any) -> Any:
        request.progress(1)
        request.progress(2)
        return "done"

    server.on("error", lambda error, socket: None)
    assert {*VECTORS["requests"]["methods"]} == {"add", "echo", "double", "break", "refuse", "count"}
    return driver, wire


def frames(wire: Wire) -> list[Any]:
    return [json.loads(frame) for frame in wire.take().split(b"\f") if frame]


def write(wire: Wire, type: str, data: Any) -> None:
    wire.write(json.dumps({"type": type, "data": data}).encode() + b"\f")


ANSWERED, ASKED = VECTORS["requests"]["answered"], VECTORS["requests"]["asked"]


def holds(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; an error's message may be longer than the file says."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and holds(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector["name"])
def test_how_requests_are_answered(vector: dict[str, Any]) -> None:
    driver, wire = answering()
    write(wire, *vector["asks"])
    driver.run_until_idle()
    said = [[message["type"], message["data"]] for message in frames(wire)]
    assert len(said) == len(vector["answers"])
    for found, wanted in zip(said, vector["answers"], strict=True):
        assert holds(found[1], wanted[1]) and found[0] == wanted[0], (found, wanted)
        assert found[1].keys() >= wanted[1].keys()


@pytest.mark.parametrize("vector", ASKED, ids=lambda vector: vector["name"])
def test_how_answers_are_read(vector: dict[str, Any]) -> None:
    driver, client, wire = a_client({"config": {}})
    outcome = client.request("add", {"a": 1, "b": 2}, timeout=None)
    driver.run_until_idle()
    [asks] = frames(wire)
    asked = {"jsonrpc": "2.0", "id": asks["data"]["id"], "method": "add", "params": {"a": 1, "b": 2}}
    assert asks == {"type": "rpc.request", "data": asked}
    write(wire, "rpc.response", {"jsonrpc": "2.0", "id": asks["data"]["id"], **vector["answer"]})
    driver.run_until_idle()
    if "result" in vector["outcome"]:
        assert outcome.result() == vector["outcome"]["result"]
    else:
        with pytest.raises(RemoteError) as failed:
            outcome.result()
        assert {"code": failed.value.code, "message": failed.value.message} == vector["outcome"]


def test_what_is_given_up_is_cancelled() -> None:
    driver, client, wire = a_client({"config": {}})
    given_up = VECTORS["requests"]["given_up"]
    client.request(given_up["asks"][1]["method"], timeout=1)
    driver.run_until_idle()
    [asks] = frames(wire)
    assert holds(asks["data"], given_up["asks"][1]) and asks["data"]["timeout"] == 1
    driver.advance(2)
    assert frames(wire) == [{"type": given_up["then"][0], "data": given_up["then"][1]}]


@pytest.mark.parametrize("vector", VECTORS["heartbeat"], ids=lambda vector: vector["name"])
@ENDS
def test_the_heartbeat_of_a_peer(end: End, vector: dict[str, Any]) -> None:
    driver, _, wire = end({"config": {}})
    write(wire, *vector["hears"])
    driver.run_until_idle()
    assert frames(wire) == [{"type": vector["says"][0], "data": vector["says"][1]}]


# --- addresses


OUR_PLACES = [vector for vector in VECTORS["addresses"] if "python" in vector["server"]]


@pytest.mark.parametrize("vector", OUR_PLACES, ids=lambda vector: vector["name"])
def test_where_an_id_is(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.from_mapping(vector["config"])
    place = local_server(
        config.id, socket_root=config.socket_root, appspace=config.appspace, platform=vector["platform"]
    )
    assert place.path == vector["server"]["python"]
    if vector["platform"] != "win32" and "socketRoot" not in vector["config"]:
        monkeypatch.setattr("os.getuid", lambda: vector["uid"])
        root = runtime_socket_root(platform=vector["platform"], environ=vector["environ"])
        assert f"{root}app.{config.id}" == vector["server"]["v14"]  # where our clients look next


# --- the file


def test_the_file_is_what_its_maker_makes() -> None:
    done = subprocess.run(
        [sys.executable, str(TESTS / "wire" / "make_vectors.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stderr}: run python tests/wire/make_vectors.py, and commit what it wrote"


def test_names_tell_vectors_apart() -> None:
    for section in ("write", "refuse_to_write", "read", "datagrams"):
        names = [vector["name"] for vector in VECTORS[section]]
        assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]


@pytest.mark.parametrize("vector", VECTORS["attachments"], ids=lambda vector: vector["name"])
def test_attachments_are_read_as_the_page_says(vector: dict[str, Any]) -> None:
    """By a reader that knows no more than the page: what is refused only an implementation can show."""
    stream = b"".join(map(bytes.fromhex, vector["chunks"]))
    for wanted in vector["messages"] if vector["error"] is None else ():
        head, _, stream = stream.partition(b"\f")
        message = json.loads(head)
        for entry in message.get("attachments", ()):
            entry["bytes"], stream = stream[: entry["size"]].hex(), stream[entry.pop("size") :]
        assert head.startswith(b'{"attachments":[') == ("attachments" in message)
        assert message == wanted
    assert vector["error"] or not stream


@pytest.mark.parametrize("vector", VECTORS["attachments"], ids=lambda vector: vector["name"])
def test_attachments_are_heard_as_what_they_stand_for(vector: dict[str, Any]) -> None:
    driver, server, wire = a_server({"config": {}})
    ear = Ear(server)
    wire.write(b'{"type":"offer","data":{},"attachments":1}\f')
    driver.run_until_idle()
    assert wire.take() == b'{"type":"ipc.attachments","data":{"version":1}}\f'
    for chunk in vector["chunks"]:
        if not wire.is_lost:
            wire.write(bytes.fromhex(chunk))
            driver.run_until_idle()
    assert ear.heard[1:] == [(each["type"], in_json(each)) for each in vector["messages"]]
    assert ear.codes == ([vector["error"]] if vector["error"] else [])
    assert wire.has_ended == (vector["error"] not in (None, "ERR_IPC_INVALID_PAYLOAD"))


def in_json(message: dict[str, Any]) -> Any:
    """The payload with its attachments as they would come without an agreement."""
    root = {"data": json.loads(json.dumps(message["data"]))}
    for entry in message.get("attachments", ()):
        holder: Any = root
        path: list[Any] = ["data", *entry["at"]]
        last = path.pop()
        for step in path:
            holder = holder[step]
        text = base64.b64encode(bytes.fromhex(entry["bytes"])).decode()
        about = {name: entry[name] for name in ("dtype", "shape", "order") if name in entry}
        holder[last] = {**about, "data": text} if about else text
    return root["data"]


def test_every_byte_that_the_page_shows_is_a_vector() -> None:
    """Frames on the page are written as text, the form feed as its escape."""
    page = (DOCS / "index.md").read_text("utf-8")
    shown = [json.loads(frame) for frame in re.findall(r"^(\{.*\})⏎?\\f$", page, re.M)]
    assert len(shown) >= 4
    known = [json.dumps(each["emit"]) for each in VECTORS["write"]]
    for section in VECTORS["requests"]["answered"]:
        known += [json.dumps(each) for each in (section["asks"], *section["answers"])]
    for each in VECTORS["heartbeat"]:
        known += [json.dumps(each["hears"]), json.dumps(each["says"])]
    known += [json.dumps(["picture", {"pixels": {"dtype": "|u1", "shape": [2, 2], "data": "AAECAw=="}}])]
    known += [json.dumps(each) for each in (VECTORS["requests"]["given_up"]["then"],)]
    for frame in shown:
        assert json.dumps([frame["type"], frame["data"]]) in known, frame


def test_the_sections_of_the_file_are_described_on_the_page() -> None:
    page = (DOCS / "index.md").read_text("utf-8")
    for section in {*VECTORS} - {"about", "format", "implementations"}:
        assert f"`{section}`" in page, f"describe the section {section} of vectors.json on docs/wire/index.md"


def test_codecs_do_as_endpoints_do() -> None:
    for vector in VECTORS["write"]:
        if "python" in vector["by"]:
            assert choose(settings(vector)).encode(*vector["emit"]).hex() == vector["bytes"]
