"""A delimiter of one's own, and payloads that are full of it."""

from __future__ import annotations

from typing import Any

import pytest

from .deviations import UP_TO_12
from .pairs import PAIRS, Ends, Pair
from .payloads import same

pytestmark = [pytest.mark.row(51), pytest.mark.row(8)]

CONTROLS = {"line": "\n", "crlf": "\r\n", "nul": "\0", "record": "\x1e", "form-feeds": "\f\f", "two-lines": "\n\f\n"}
VISIBLE = {"bar": "|", "letter": "O", "section": "§", "angle": "<end>", "bangs": "!!", "emoji": "👋"}
DELIMITERS = CONTROLS | VISIBLE


def full_of(delimiter: str) -> dict[str, Any]:
    """The delimiter whole, repeated, in parts, in a key, and beside what it could be mistaken for."""
    return {
        "whole": delimiter,
        "many": delimiter * 20,
        "parts": [delimiter[:1] + delimiter, delimiter + delimiter[-1:], delimiter[1:], delimiter[:-1]],
        delimiter: [f'{delimiter}{{"type":"forged","data":1}}{delimiter}', f"\\{delimiter}", f'"{delimiter}'],
    }


def payload(delimiter: str, sender: str) -> dict[str, Any]:
    """Python escapes any delimiter inside a payload; Node only what JSON escapes anyhow (see deviations)."""
    safe = sender == "python" or delimiter in CONTROLS.values()
    return full_of(delimiter) if safe else {"text": "none of it here"}


def readable(delimiter: str, receiver: str) -> bool:
    """node-ipc up to 12 compares the last UTF-16 unit with the whole delimiter (see deviations)."""
    return receiver not in UP_TO_12 or len(delimiter.encode("utf-16-le")) == 2


UP = [(pair, name) for pair in PAIRS for name in DELIMITERS if readable(DELIMITERS[name], pair.server)]
DOWN = [(pair, name) for pair in PAIRS for name in DELIMITERS if readable(DELIMITERS[name], pair.client)]


def label(value: Pair | str) -> str:
    return value if isinstance(value, str) else f"{value.server}_serves_{value.client}"


@pytest.mark.parametrize(("pair", "name"), UP, ids=label)
async def test_a_client_ends_its_messages_with_it(ends: Ends, pair: Pair, name: str) -> None:
    delimiter = DELIMITERS[name]
    server, client = await ends.link(pair, "unix", delimiter=delimiter)

    for number in range(3):
        await client.emit("message", [number, payload(delimiter, pair.client)])

    for number in range(3):
        assert same((await server.event("message")).data, [number, payload(delimiter, pair.client)])


@pytest.mark.parametrize(("pair", "name"), DOWN, ids=label)
async def test_a_server_ends_its_messages_with_it(ends: Ends, pair: Pair, name: str) -> None:
    delimiter = DELIMITERS[name]
    server, client = await ends.link(pair, "unix", delimiter=delimiter)

    for number in range(3):
        await server.emit("message", [number, payload(delimiter, pair.server)], to=0)

    for number in range(3):
        assert same((await client.event("message")).data, [number, payload(delimiter, pair.server)])
