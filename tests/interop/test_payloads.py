"""Every JSON value arrives as it was emitted, in both directions, whoever the two ends are."""

from __future__ import annotations

import pytest

from .deviations import arrives
from .pairs import ECHO, PYTHON_AND_NODE, Ends, Pair, every_pair, every_stream
from .payloads import PAYLOADS, same
from .peers import Repeat

pytestmark = pytest.mark.row(51)

LONG = {
    "64KiB-less-1": Repeat("x", 65_535),
    "64KiB": Repeat("x", 65_536),
    "two-bytes-each": Repeat("é", 100_000),
    "four-bytes-each": Repeat("😀", 100_000),
    "escaped": Repeat('"\f\\', 50_000),
    "5MB": Repeat("0123456789", 500_000),
}


@pytest.mark.row(5)
@every_stream
@every_pair
@pytest.mark.parametrize("name", PAYLOADS)
async def test_a_payload_goes_there_and_back(ends: Ends, pair: Pair, transport: str, name: str) -> None:
    link = await ends.link(pair, transport, ECHO)
    at_server = arrives(PAYLOADS[name], pair.client, pair.server)

    await link.client.emit("message", PAYLOADS[name])

    heard = await link.server.event("message")
    assert same(heard.data, at_server)
    answer = await link.client.event("message")
    assert same(answer.data, arrives(at_server, pair.server, pair.client))


@every_stream
@every_pair
@pytest.mark.parametrize("name", LONG)
async def test_a_long_text_goes_there_and_back(ends: Ends, pair: Pair, transport: str, name: str) -> None:
    link = await ends.link(pair, transport, ECHO)

    await link.client.emit("message", LONG[name])

    heard, answer = await link.server.event("message"), await link.client.event("message")
    assert same(heard.data, LONG[name].value)
    assert same(answer.data, LONG[name].value)


ONLY_PYTHON_SENDS = {
    "not-a-number": (float("nan"), None),
    "infinity": (float("-inf"), None),
    "bytes": (b"\x00\xff\x0c", "AP8M"),
    "tuple": ((1, "two"), [1, "two"]),
    "nan-inside": ([1.5, float("nan")], [1.5, None]),
}


@every_stream
@pytest.mark.parametrize("pair", [pair for pair in PYTHON_AND_NODE if pair.client == "python"], ids=lambda p: p.server)
@pytest.mark.parametrize("name", ONLY_PYTHON_SENDS)
async def test_a_python_value_becomes_json(ends: Ends, pair: Pair, transport: str, name: str) -> None:
    link = await ends.link(pair, transport)
    value, expected = ONLY_PYTHON_SENDS[name]

    await link.client.emit("message", value)

    assert same((await link.server.event("message")).data, expected)
