"""Makes ``docs/wire/vectors.json``: ``python tests/wire/make_vectors.py``; ``--check`` only says whether it is current.

What node-ipc writes is not made up here: it was captured from the released packages (``tests/golden/wire.json``); what
it reads and refuses is what ``tests/interop`` has put to it. ``tests/wire/test_vectors.py`` runs the file against this
library in both directions, ``tests/interop/test_vectors.py`` against each node-ipc.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from interop import test_cases_of_14 as of_14  # noqa: E402  # the path comes first
from interop.install import PACKAGES, VERSIONS  # noqa: E402
from interop.payloads import PAYLOADS  # noqa: E402
from interop.peers import ABSENT  # noqa: E402
from node_ipc.config.config import Config  # noqa: E402
from node_ipc.errors import InvalidPayload  # noqa: E402
from node_ipc.wire.codec import choose  # noqa: E402

FILE = TESTS.parent / "docs" / "wire" / "vectors.json"
GOLDEN = json.loads((TESTS / "golden" / "wire.json").read_text("utf-8"))
NODE = {version: f"{PACKAGES[version]} {VERSIONS[version]}" for version in PACKAGES}
EVERYBODY = ["python", *NODE]
STRICT = ["python", "v14"]
"""Who refuses what the guarded and assured profiles refuse."""
SHORT = 2000
"""Payloads whose frames have more characters are left out: they show nothing new."""


def make() -> dict[str, Any]:
    writes = [*written_by_node(), *written_by_python()]
    return {
        "about": "Test vectors of the node-ipc wire; docs/wire/index.md says what each member means.",
        "format": 1,
        "implementations": {"python": "node-ipc for Python 0.1.0", **NODE},
        "write": writes,
        "refuse_to_write": [*refused_to_write()],
        "read": [*read_of(writes), *read(), *read_by_cases()],
        "raw_write": [*raw_write()],
        "raw_read": [*raw_read()],
        "datagrams": [*datagrams()],
        "requests": requests(),
        "heartbeat": heartbeat(),
        "attachments": [*attachments()],
        "addresses": [*addresses()],
    }


# --- frames that are written


def written_by_node() -> Iterator[dict[str, Any]]:
    """Each entry of the capture, and who else writes the same bytes."""
    newest = GOLDEN[NODE["v14"]]["frames"]
    for delimiter, entries in newest.items():
        for name in entries:
            emit = [entries[name]["type"], *_payload(name, entries[name]["data"])]
            by: dict[str, list[str]] = {}
            for version, package in NODE.items():
                by.setdefault(GOLDEN[package]["frames"][delimiter][name]["hex"], []).append(version)
            ours = python_writes(delimiter, emit)
            by.setdefault(ours, []).insert(0, "python")
            title = f"{name}, delimiter {delimiter!r}" if delimiter != "\f" else name
            for written, who in by.items():
                yield {
                    "name": title if len(by) == 1 else f"{title} ({', '.join(who)})",
                    "config": {} if delimiter == "\f" else {"delimiter": delimiter},
                    "emit": emit,
                    "bytes": written,
                    "by": who,
                }


def _payload(name: str, said: Any) -> list[Any]:
    kind, _, payload = name.partition(" ")
    if kind != "payload":
        return [said]
    value = PAYLOADS[payload]
    return [] if value is ABSENT else [value]


def python_writes(delimiter: str, emit: list[Any]) -> str:
    return bytes(choose(Config(delimiter=delimiter).settings()).encode(*emit)).hex()


ESCAPES: list[tuple[str, Any]] = [
    *(
        ("|", "a|b"),
        ("|", {"|": ["|"]}),
        ("§", "a§b"),
        ("👋", "a👋b"),
        ("<end>", "a<end>b"),
        ("<end>", "<en"),
        ("!!", "!"),
    ),
    *(("\n", "a\nb"), ("\r\n", "a\r\nb"), ("\x00", "a\x00b"), ("~", "é~é")),
]


def written_by_python() -> Iterator[dict[str, Any]]:
    """A delimiter inside a payload, which Node does not escape: only Python writes these, and everybody reads them."""
    for delimiter, data in ESCAPES:
        yield {
            "name": f"{data!r} holds {delimiter!r}",
            "config": {"delimiter": delimiter},
            "emit": ["message", data],
            "bytes": python_writes(delimiter, ["message", data]),
            "by": ["python"],
        }


def refused_to_write() -> Iterator[dict[str, Any]]:
    for name, data, code in of_14.EMITS:
        if code is not None and len(str(data)) < SHORT:
            yield {
                "name": f"name {name[:12]!r}… of {len(name)} characters, the last {name[-1:]!r}",
                "config": _guarded(of_14.GUARDED),
                "emit": [name, data],
                "code": code,
                "by": STRICT,
            }


def _guarded(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON has them."""
    return {_camel(name): value for name, value in options.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


# --- bytes that are read


def read_of(writes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What anybody writes is read by all: numbers as doubles in JavaScript, exactly in Python."""
    seen = set()
    for entry in writes:
        key = json.dumps([entry["config"], entry["bytes"]])
        if key in seen:
            continue
        seen.add(key)
        delimiter = entry["config"].get("delimiter", "\f")
        frame = bytes.fromhex(entry["bytes"]).removesuffix(delimiter.encode())
        message = json.loads(frame)
        yield {
            "name": f"written: {entry['name']}",
            "config": entry["config"],
            "chunks": [entry["bytes"]],
            "events": [[message["type"], message.get("data", {})]],
            "error": None,
            "by": readers(delimiter),
        }


def readers(delimiter: str) -> list[str]:
    """node-ipc up to 12 compares the last UTF-16 unit with the whole delimiter: with a longer one it hears nothing."""
    return EVERYBODY if len(delimiter.encode("utf-16-le")) == 2 else STRICT


def frame(type: str, data: Any, delimiter: str = "\f") -> bytes:
    return json.dumps({"type": type, "data": data}, ensure_ascii=False).encode() + delimiter.encode()


def read() -> Iterator[dict[str, Any]]:
    """How a stream may be cut."""
    one, two = frame("message", "Grüße 👋"), frame("message", {"n": 2})
    cuts: dict[str, tuple[str, list[bytes]]] = {
        "each byte by itself": ("\f", [bytes([byte]) for byte in one]),
        "inside a character": ("\f", [one[: one.index("ü".encode()) + 1], one[one.index("ü".encode()) + 1 :]]),
        "before the delimiter": ("\f", [one[:-1], one[-1:]]),
        "two and a half, then the rest": ("\f", [one + two + one[:9], one[9:]]),
        "three in one": ("\f", [one + two + one]),
    }
    long = frame("message", 1, "<end>")
    cuts["inside a long delimiter"] = ("<end>", [long[:-3], long[-3:] + long[:-1], long[-1:]])
    for name, (delimiter, chunks) in cuts.items():
        whole = b"".join(chunks).split(delimiter.encode())
        events = [json.loads(each) for each in whole if each]
        yield {
            "name": f"cut {name}",
            "config": {} if delimiter == "\f" else {"delimiter": delimiter},
            "chunks": [chunk.hex() for chunk in chunks],
            "events": [[event["type"], event["data"]] for event in events],
            "error": None,
            "by": readers(delimiter),
        }
    yield {
        "name": "a member beside type and data",
        "config": {},
        "chunks": [b'{"type":"message","data":1,"trace":{"traceparent":"00-0af7-b7ad-01"}}\f'.hex()],
        "events": [["message", 1]],
        "error": None,
        "by": EVERYBODY,
    }
    yield {
        "name": "data left out",
        "config": {},
        "chunks": [b'{"type":"message"}\f'.hex()],
        "events": [["message", {}]],
        "error": None,
        "by": ["python"],
    }


def read_by_cases() -> Iterator[dict[str, Any]]:
    """What node-ipc 14 documents of its guarded and assured profiles."""
    groups = ((of_14.PASSES, of_14.GUARDED), (of_14.REFUSED, of_14.GUARDED), (of_14.ON_THE_LIST, of_14.ASSURED))
    for cases, options in groups:
        for case in cases:
            yield {
                "name": f"{options['parser']}: {case.name}, {len(case.data)} bytes",
                "config": _guarded(options),
                "chunks": [case.data.hex()],
                "events": [list(event) for event in case.heard],
                "error": case.code,
                "by": EVERYBODY if cases is of_14.PASSES else STRICT,
            }


# --- raw mode


def raw_write() -> Iterator[dict[str, Any]]:
    for index, entry in enumerate(GOLDEN[NODE["v14"]]["raw"]):
        given = {key: entry[key] for key in ("text", "bytes") if key in entry}
        by: dict[str, list[str]] = {}
        for version, package in NODE.items():
            by.setdefault(GOLDEN[package]["raw"][index]["hex"], []).append(version)
        config = {"rawBuffer": True, "encoding": entry["encoding"]}
        codec = choose(Config.from_mapping(config).settings())
        sent: Any = bytes.fromhex(given["bytes"]) if "bytes" in given else given["text"]
        try:
            by.setdefault(bytes(codec.encode(sent)).hex(), []).insert(0, "python")
        except InvalidPayload as refused:
            yield {"name": _raw_name(entry), "config": config, "emit": given, "error": refused.code, "by": ["python"]}
        for written, who in by.items():
            yield {"name": _raw_name(entry), "config": config, "emit": given, "bytes": written, "by": who}


def _raw_name(entry: dict[str, Any]) -> str:
    return f"{entry['encoding']} of {ascii(entry['text']) if 'text' in entry else 'bytes ' + entry['bytes']}"


def raw_read() -> Iterator[dict[str, Any]]:
    """Raw bytes come as they are; node-ipc up to 12 reads them as text of ``encoding`` and encodes that again."""
    every = bytes(range(256)).hex()
    for name, config, sent, heard, by in (
        ("every byte", {}, every, every, STRICT),
        ("every byte as hex", {"encoding": "hex"}, every, every, EVERYBODY),
        ("text", {}, "Grüße 👋\f".encode().hex(), "Grüße 👋\f".encode().hex(), EVERYBODY),
        ("no UTF-8", {}, "fffe", "fffe", STRICT),
        ("no UTF-8", {}, "fffe", "efbfbdefbfbd", ["v9", "v10"]),
    ):
        yield {"name": name, "config": {"rawBuffer": True, **config}, "bytes": sent, "heard": heard, "by": by}


# --- UDP


def datagrams() -> Iterator[dict[str, Any]]:
    one, two = frame("message", "a"), frame("message", "b")
    yield _datagrams("one message in a datagram", [one], [["message", "a"]], None, EVERYBODY)
    yield _datagrams("two in one", [one + two], [["message", "a"], ["message", "b"]], None, EVERYBODY)
    yield _datagrams("two datagrams", [one, two], [["message", "a"], ["message", "b"]], None, EVERYBODY)
    yield _datagrams("a rest spoils the whole datagram", [one + two[:9]], [], "ERR_IPC_PROTOCOL", ["python"])
    yield _datagrams("nothing is carried over", [one[:9], one[9:]], [], "ERR_IPC_PROTOCOL", ["python"])
    yield _datagrams("no JSON", [b"garbage\f"], [], "ERR_IPC_INVALID_JSON", ["python"])


def _datagrams(name: str, sent: list[bytes], events: list[Any], error: str | None, by: list[str]) -> dict[str, Any]:
    hexes = [each.hex() for each in sent]
    return {"name": name, "config": {}, "datagrams": hexes, "events": events, "error": error, "by": by}


# --- requests and heartbeats: events like any other, and what they mean


def requests() -> dict[str, Any]:
    def ask(**members: Any) -> list[Any]:
        return ["rpc.request", {"jsonrpc": "2.0", **members}]

    def answer(**members: Any) -> list[Any]:
        return ["rpc.response", {"jsonrpc": "2.0", **members}]

    two = {"a": 1, "b": 2}
    answered: list[tuple[str, list[Any], list[list[Any]]]] = [
        ("a result", ask(id=1, method="add", params=two), [answer(id=1, result=3)]),
        ("an id of text", ask(id="x", method="add", params=two), [answer(id="x", result=3)]),
        ("without jsonrpc", ["rpc.request", {"id": 2, "method": "add", "params": two}], [answer(id=2, result=3)]),
        ("members of no meaning", ask(id=3, method="add", params=two, more=[]), [answer(id=3, result=3)]),
        ("no params", ask(id=4, method="echo"), [answer(id=4, result=None)]),
        ("no such method", ask(id=5, method="none"), [answer(id=5, error={"code": -32601})]),
        ("params of another type", ask(id=6, method="double", params="a"), [answer(id=6, error={"code": -32602})]),
        ("a handler that fails", ask(id=7, method="break"), [answer(id=7, error={"code": -32603})]),
        (
            "an error of the handler's own",
            ask(id=8, method="refuse"),
            [answer(id=8, error={"code": 7, "message": "not today", "data": {"why": [1]}})],
        ),
        (
            "progress that is wanted",
            ask(id=9, method="count", progress=True),
            [
                ["rpc.progress", {"id": 9, "data": 1}],
                ["rpc.progress", {"id": 9, "data": 2}],
                answer(id=9, result="done"),
            ],
        ),
        ("progress that is not", ask(id=10, method="count"), [answer(id=10, result="done")]),
        ("a notification is not answered", ask(method="add", params=two), []),
        ("nor is one whose id is null", ask(id=None, method="add", params=two), []),
        ("nor what is no request", ["rpc.request", {"id": 11}], []),
    ]
    asked: list[dict[str, Any]] = [
        {"name": "a result", "answer": {"result": [1]}, "outcome": {"result": [1]}},
        {"name": "null", "answer": {"result": None}, "outcome": {"result": None}},
        {
            "name": "an error",
            "answer": {"error": {"code": 7, "message": "no"}},
            "outcome": {"code": 7, "message": "no"},
        },
        {"name": "an error of text", "answer": {"error": "no"}, "outcome": {"code": -32603, "message": "no"}},
        {
            "name": "a code of text",
            "answer": {"error": {"code": "ENOENT", "message": "gone"}},
            "outcome": {"code": -32603, "message": "ENOENT: gone"},
        },
    ]
    return {
        "methods": {
            "add": "the sum of the params' a and b",
            "echo": "its params",
            "double": "its params, a whole number, times two",
            "break": "fails",
            "refuse": "answers with the error 7, 'not today', and the data {'why': [1]}",
            "count": "tells 1 and 2 as progress, then 'done'",
        },
        "answered": [
            {"name": name, "asks": asks, "answers": answers, "by": ["python"]} for name, asks, answers in answered
        ],
        "asked": [{**each, "by": ["python"]} for each in asked],
        "given_up": {"asks": ask(id=1, method="slow"), "then": ["rpc.cancel", {"id": 1}], "by": ["python"]},
    }


def heartbeat() -> list[dict[str, Any]]:
    return [{"name": "a question is answered", "hears": ["ipc.ping", {}], "says": ["ipc.pong", {}], "by": ["python"]}]


# --- attachments: what two ends that agreed may send

GRID = {"dtype": "<i2", "shape": [2, 3]}
RECORDS = [["x", "<f4"], ["y", "<i2", [2]]]


def attachments() -> Iterator[dict[str, Any]]:
    whole: list[tuple[str, Any, list[tuple[dict[str, Any], bytes]]]] = [
        ("bytes in an object", {"width": 2, "pixels": None}, [({"at": ["pixels"]}, b"\x00\x01\x02\x03")]),
        ("the whole payload", None, [({"at": []}, b"\xff\xfe")]),
        ("delimiters and frames in the bytes", None, [({"at": []}, b'\f{"type":"no","data":1}\f\f')]),
        ("no bytes", {"a": None}, [({"at": ["a"]}, b"")]),
        ("two, at depth", {"a": [1, {"b": None}], "c": None}, [({"at": ["a", 1, "b"]}, b"1"), ({"at": ["c"]}, b"2")]),
        ("an array", {"grid": None}, [({"at": ["grid"], **GRID}, bytes(range(12)))]),
        ("the first index fastest", None, [({"at": [], **GRID, "order": "F"}, bytes(range(12)))]),
        ("big-endian", None, [({"at": [], "dtype": ">u2", "shape": [2]}, b"\x00\x01\x00\x02")]),
        ("a single value", None, [({"at": [], "dtype": "<f8", "shape": []}, bytes(8))]),
        ("an array without items", None, [({"at": [], "dtype": "<f8", "shape": [0, 3]}, b"")]),
        ("records", None, [({"at": [], "dtype": RECORDS, "shape": [2]}, bytes(16))]),
        ("a member of no meaning", None, [({"at": [], "more": 1}, b"a")]),
    ]
    for name, data, pieces in whole:
        sent = attached("picture", data, pieces)
        heard = {"type": "picture", "data": data, "attachments": [{**each, "bytes": b.hex()} for each, b in pieces]}
        yield _attachments(name, [sent + frame("message", "next")], [heard, {"type": "message", "data": "next"}], None)
    one = attached("picture", None, [({"at": []}, b"a\fb")])
    heard = {"type": "picture", "data": None, "attachments": [{"at": [], "bytes": b"a\fb".hex()}]}
    yield _attachments("byte by byte", [one[i : i + 1] for i in range(len(one))], [heard], None)
    yield _attachments("two in a piece, and a half", [one + one + one[:-1], one[-1:]], [heard] * 3, None)
    for name, entries, then, code in (
        ("a size below zero", b'{"at":[],"size":-1}', b"", "ERR_IPC_INVALID_MESSAGE"),
        ("a size that is no integer", b'{"at":[],"size":1.5}', b"", "ERR_IPC_INVALID_MESSAGE"),
        ("no size", b'{"at":[]}', b"", "ERR_IPC_INVALID_MESSAGE"),
        ("no place", b'{"size":1}', b"a", "ERR_IPC_INVALID_MESSAGE"),
        ("more than the largest message", b'{"at":[],"size":99999999999}', b"", "ERR_IPC_FRAME_TOO_LARGE"),
        ("too many", b",".join([b'{"at":[],"size":0}'] * 257), b"", "ERR_IPC_FRAME_TOO_LARGE"),
        ("a place that is not there", b'{"at":["b"],"size":1}', b"a", "ERR_IPC_INVALID_PAYLOAD"),
        ("a place that is taken", b'{"at":["taken"],"size":1}', b"a", "ERR_IPC_INVALID_PAYLOAD"),
        ("a place twice", b'{"at":["a"],"size":1},{"at":["a"],"size":1}', b"ab", "ERR_IPC_INVALID_PAYLOAD"),
        (
            "a shape of another size",
            b'{"at":["a"],"size":3,"dtype":"<i2","shape":[2]}',
            b"abc",
            "ERR_IPC_INVALID_PAYLOAD",
        ),
        ("a dtype that is none", b'{"at":["a"],"size":1,"dtype":"?!","shape":[1]}', b"a", "ERR_IPC_INVALID_PAYLOAD"),
        ("objects", b'{"at":["a"],"size":8,"dtype":"|O","shape":[1]}', bytes(8), "ERR_IPC_INVALID_PAYLOAD"),
    ):
        head = b'{"attachments":[' + entries + b'],"type":"picture","data":{"a":null,"taken":1}}\f'
        goes_on = code == "ERR_IPC_INVALID_PAYLOAD"
        heard_next = [{"type": "message", "data": "next"}] if goes_on else []
        yield _attachments(name, [head + then + frame("message", "next")], heard_next, code)


def attached(type: str, data: Any, pieces: list[tuple[dict[str, Any], bytes]]) -> bytes:
    entries = [{"at": entry["at"], "size": len(piece), **entry} for entry, piece in pieces]
    head = json.dumps({"attachments": entries, "type": type, "data": data}, separators=(",", ":")).encode()
    return head + b"\f" + b"".join(piece for _, piece in pieces)


def _attachments(name: str, chunks: list[bytes], messages: list[Any], error: str | None) -> dict[str, Any]:
    hexes = [each.hex() for each in chunks]
    return {"name": name, "chunks": hexes, "messages": messages, "error": error, "by": ["python"]}


# --- addresses


def addresses() -> Iterator[dict[str, Any]]:
    """Where a server with this id listens, for each implementation; where Python's clients look besides."""
    own, runtime = "/tmp/app.world", "/run/user/1000/node-ipc/app.world"
    told = {"socketRoot": "/srv/ipc/", "appspace": "shop-", "id": "world"}
    yield _address("told", "linux", told, dict.fromkeys(EVERYBODY, "/srv/ipc/shop-world"))
    defaults = {"python": own, "v9": own, "v10": own, "v14": runtime}
    yield _address("defaults", "linux", {"id": "world"}, defaults, XDG_RUNTIME_DIR="/run/user/1000")
    temporary = {**defaults, "v14": "/var/tmp/node-ipc-1000/app.world"}
    yield _address("defaults without XDG_RUNTIME_DIR", "linux", {"id": "world"}, temporary, TMPDIR="/var/tmp")
    pipe = dict.fromkeys(EVERYBODY, r"\\.\pipe\srv-ipc-shop-world")
    yield _address("told, on Windows", "win32", told, pipe)
    spaced = {"socketRoot": "/tmp/", "appspace": "my app.", "id": "a/b"}
    yield _address(
        "a slash in the id, on Windows", "win32", spaced, dict.fromkeys(list(NODE), r"\\.\pipe\tmp-my app.a-b")
    )
    pipes = {"python": r"\\.\pipe\tmp-app.world", "v9": r"\\.\pipe\tmp-app.world", "v10": r"\\.\pipe\tmp-app.world"}
    yield _address("defaults, on Windows", "win32", {"id": "world"}, pipes)


def _address(
    name: str, platform: str, config: dict[str, str], server: dict[str, str], **environ: str
) -> dict[str, Any]:
    return {"name": name, "platform": platform, "environ": environ, "uid": 1000, "config": config, "server": server}


def text() -> str:
    """The file: one vector a line, so that a change can be read."""
    parts = []
    for key, value in make().items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(each)}" for each in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, indent=2)}".replace("\n", "\n "))
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.exists() and FILE.read_text("utf-8") == text() else "docs/wire/vectors.json is not current")
    FILE.write_text(text(), "utf-8")
