"""Raw mode: bytes, not events. What Python reads and writes is exact; what older Node reads is not always."""

from __future__ import annotations

from typing import Any

import pytest

from .deviations import raw_arrives
from .pairs import ECHO, Ends, Pair, every_pair, every_stream

pytestmark = pytest.mark.row(51)

ENCODINGS = ["utf8", "ascii", "latin1", "binary", "hex", "base64", "utf16le", "ucs2"]
BYTES = {
    "text": b"hello!",
    "utf-8": "Grüße 👋\f12345".encode(),
    "every-byte": bytes(range(256)) + b"\0\0",
    "zeros-and-form-feeds": b"\0\0\f\f\0\f",
    "not-text": b"\xff\xfe\xc3\x28\xed\xa0\x80\x80!!!!",
}
"""Multiples of six bytes: whole groups in base64 and in utf16le (see deviations)."""
TEXTS = {
    "utf8": ("Grüße 👋", "Grüße 👋".encode()),
    "ascii": ("plain", b"plain"),
    "latin1": ("Grüße ÿ", b"Gr\xfc\xdfe \xff"),
    "binary": ("\0\x7f\xff", b"\0\x7f\xff"),
    "hex": ("00ff0c", b"\x00\xff\x0c"),
    "base64": ("AP8MAP8M", b"\x00\xff\x0c\x00\xff\x0c"),
    "utf16le": ("hü", b"h\0\xfc\0"),
    "ucs2": ("hü", b"h\0\xfc\0"),
}


async def bytes_heard(end: Any, length: int) -> bytes:
    """So many bytes of ``data`` events: a stream may be cut anywhere."""
    heard = b""
    while len(heard) < length:
        heard += (await end.event("data")).data
    return heard


@every_stream
@every_pair
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_bytes_go_there_and_back(ends: Ends, pair: Pair, transport: str, encoding: str) -> None:
    server, client = await ends.link(pair, transport, ECHO, raw_buffer=True, encoding=encoding)

    for sent in BYTES.values():
        at_server = raw_arrives(sent, encoding, pair.server)
        back = raw_arrives(at_server, encoding, pair.client)
        await client.send(sent)
        assert await bytes_heard(server, len(at_server)) == at_server
        assert await bytes_heard(client, len(back)) == back


@every_stream
@every_pair
@pytest.mark.parametrize("encoding", TEXTS)
async def test_text_is_put_into_bytes_by_the_encoding(ends: Ends, pair: Pair, transport: str, encoding: str) -> None:
    server, client = await ends.link(pair, transport, raw_buffer=True, encoding=encoding)
    text, sent = TEXTS[encoding]
    at_server, at_client = (raw_arrives(sent, encoding, kind) for kind in pair)

    await client.send(text)
    await server.send(text, to=0)

    assert await bytes_heard(server, len(at_server)) == at_server
    assert await bytes_heard(client, len(at_client)) == at_client


@every_stream
@every_pair
async def test_many_bytes_arrive_unharmed_as_latin1(ends: Ends, pair: Pair, transport: str) -> None:
    server, client = await ends.link(pair, transport, raw_buffer=True, encoding="latin1")
    part = bytes(range(256)) * 64

    for number in range(32):
        await client.send(bytes([number]) + part)

    heard = await bytes_heard(server, 32 * (len(part) + 1))
    assert heard == b"".join(bytes([number]) + part for number in range(32))
