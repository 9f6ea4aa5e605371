"""Capture what real node-ipc puts on the wire, once: ``python tests/golden/capture.py`` writes ``wire.json``.

For each version a real client (an emit) and a real server (an emit to one socket, and a broadcast) send every entry
of the tables below to a plain socket; the three have to be the same bytes. Tests of the codecs read ``wire.json``
and need no Node:

    {"node-ipc 9.2.1": {
        "frames": {"\\f": {"payload null": {"type": "message", "data": {}, "hex": "7b22…0c"}, …}, "|": {…}, …},
        "raw": [{"encoding": "utf8", "text": "…", "hex": "…"}, {"encoding": "utf8", "bytes": "000cff", "hex": …}, …]
    }, …}

The keys of ``frames`` are delimiters. ``data`` is what the frame says (up to 12 turns null into {}; all of them round
integers beyond 2^53), ``hex`` the whole frame with its delimiter. In ``raw`` the hex is what ``emit`` of this text, or
of a Buffer of these bytes, wrote under ``config.encoding``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from interop.install import PACKAGES, VERSIONS, install_all  # noqa: E402  # the path comes first
from interop.payloads import PAYLOADS  # noqa: E402
from interop.peers import DEADLINE, NodeEnd, NodePeer  # noqa: E402

EVENTS = {
    "message": "message",
    "two words": "two words",
    "unicode": "事件 👋",
    "form feed": "a\fb",
    "quotes": 'quo"te\\',
    "lone surrogate": "\ud800",
    "0": "0",
}
TOO_LONG = 2000
"""Payloads of more characters than this are left out: they would show nothing new."""
DELIMITERS = {"\n": ["text", "newlines"], "\r\n": ["text"], "|": ["text", "object"], "§": ["text"], "<end>": ["text"]}
"""Which payloads are sent with other delimiters than the form feed."""
RAW_TEXTS = {
    "utf8": ["", "plain", "Grüße 👋", "\f\0", "\ud800"],
    "ascii": ["plain", "Grüße"],
    "latin1": ["Grüße ÿ", "👋"],
    "binary": ["\0\x7fÿ"],
    "hex": ["", "00ff0c", "ABcd", "0", "00f", "zz", "00zz11"],
    "base64": ["AP8M", "AP8", "AP8=", "_-8", "A P 8 M", "AP8=AP8M"],
    "utf16le": ["hü👋", "\ud800"],
    "ucs2": ["hü"],
}
RAW_BYTES = ["000cff", "c328"]
AFTER_RAW = b"\xfe after \xfe"
"""Emitted after each raw entry, since some write nothing at all."""


class Wire:
    """A plain socket at the other end of one Node end."""

    def __init__(self, end: NodeEnd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.end, self._reader, self._writer = end, reader, writer

    async def until(self, ending: bytes) -> bytes:
        """Everything up to this ending, which is there when everything has arrived."""
        heard = b""
        while not heard.endswith(ending):
            part = await asyncio.wait_for(self._reader.read(1 << 20), DEADLINE)
            assert part, f"the connection ended after {heard!r}"
            heard += part
        return heard

    def close(self) -> None:
        self._writer.close()


async def client_wire(node: NodePeer, root: str, config: dict[str, Any]) -> Wire:
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_unix_server(lambda *pair: accepted.set_result(pair), f"{root}app.plain")
    end = node.open("connectTo", id="plain", config={"socketRoot": root, **config}, hear=[], where=[])
    await end.opened()
    reader, writer = await asyncio.wait_for(accepted, DEADLINE)
    await end.event("connect")
    server.close()
    return Wire(end, reader, writer)


async def server_wire(node: NodePeer, root: str, config: dict[str, Any]) -> Wire:
    end = node.open("serve", config={"socketRoot": root, "id": "node", **config}, hear=[], where=[])
    await end.opened()
    reader, writer = await asyncio.open_unix_connection(f"{root}app.node")
    await end.event("connect")
    return Wire(end, reader, writer)


@asynccontextmanager
async def wires(node: NodePeer, **config: Any) -> AsyncIterator[tuple[Wire, Wire]]:
    """A client's wire and a server's."""
    with tempfile.TemporaryDirectory(prefix="ipc-") as root:
        client, server = await client_wire(node, f"{root}/", config), await server_wire(node, f"{root}/", config)
        yield client, server
        await node.reset()
        client.close()
        server.close()


async def frame(client: Wire, server: Wire, delimiter: str, type: str, data: Any) -> dict[str, Any]:
    ways = []
    for wire, emit in (
        (client, client.end.emit(type, data)),
        (server, server.end.emit(type, data, to=0)),
        (server, server.end.broadcast(type, data)),
    ):
        await emit
        ways.append(await wire.until(delimiter.encode()))
    assert len(set(ways)) == 1, f"{type} is sent in different ways: {ways}"
    said = json.loads(ways[0].removesuffix(delimiter.encode()))
    return {"type": said["type"], "data": said["data"], "hex": ways[0].hex()}


async def raw(client: Wire, server: Wire, encoding: str, sent: str | bytes) -> dict[str, Any]:
    ways = []
    for wire, to in ((client, None), (server, 0)):
        await wire.end.send(sent, to=to)
        await wire.end.send(AFTER_RAW, to=to)
        ways.append((await wire.until(AFTER_RAW)).removesuffix(AFTER_RAW))
    assert len(set(ways)) == 1, f"{sent!r} is sent in different ways: {ways}"
    given = {"bytes": sent.hex()} if isinstance(sent, bytes) else {"text": sent}
    return {"encoding": encoding, **given, "hex": ways[0].hex()}


async def frames(node: NodePeer) -> dict[str, Any]:
    payloads = {name: value for name, value in PAYLOADS.items() if len(repr(value)) <= TOO_LONG}
    table = {f"payload {name}": ("message", value) for name, value in payloads.items()}
    table |= {f"event {name}": (type, {"n": 1}) for name, type in EVENTS.items()}
    kept = {}
    for delimiter, names in {"\f": payloads, **DELIMITERS}.items():
        chosen = table if delimiter == "\f" else {f"payload {name}": ("message", payloads[name]) for name in names}
        async with wires(node, delimiter=delimiter) as (client, server):
            kept[delimiter] = {name: await frame(client, server, delimiter, *emit) for name, emit in chosen.items()}
    return kept


async def raw_table(node: NodePeer) -> list[dict[str, Any]]:
    kept = []
    for encoding, texts in RAW_TEXTS.items():
        async with wires(node, rawBuffer=True, encoding=encoding) as (client, server):
            everything: list[str | bytes] = [*texts, *map(bytes.fromhex, RAW_BYTES)]
            for sent in everything:
                kept.append(await raw(client, server, encoding, sent))
    return kept


async def capture() -> dict[str, Any]:
    kept = {}
    for version, peer in install_all().items():
        node = NodePeer(peer)
        node.attach()
        try:
            name = f"{PACKAGES[version]} {VERSIONS[version]}"
            kept[name] = {"frames": await frames(node), "raw": await raw_table(node)}
        finally:
            node.detach()
            node.close()
    return kept


if __name__ == "__main__":
    (HERE / "wire.json").write_text(json.dumps(asyncio.run(capture()), indent=1) + "\n")
