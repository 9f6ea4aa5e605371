"""Our codecs against bytes that real node-ipc wrote (``wire.json``, made by ``capture.py``): no Node is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node_ipc import Config, InvalidPayload
from node_ipc.wire.codec import Codec, choose

WIRE = json.loads(Path(__file__).with_name("wire.json").read_text())
NEWEST = WIRE["node-ipc 14.0.0"]
TAKEN = [(version, delimiter) for version in WIRE for delimiter in WIRE[version]["frames"] if delimiter.strip("\r\n")]
"""All but line ends, which Python does not take for a delimiter."""
SPELLED_OTHERWISE = {
    "payload largest-double": (b"e308", b"e+308"),
    "payload ten-to-30": (b"1e30", b"1e+30"),
    "payload surrogate-inside": (rb"\ud83d\ude00", "😀".encode()),
}
"""The same JSON in other words: JavaScript writes a plus sign into positive exponents, and we escape everything
beyond ASCII in the rare payload that holds a lone surrogate."""
REFUSED = {"utf8-\ud800", "latin1-👋", "hex-0", "hex-00f", "hex-zz", "hex-00zz11", "utf16le-\ud800"}
"""Text that the encoding cannot hold: Node damages it or sends the half of it in silence, emit here raises."""
RAW = {f"{entry['encoding']}-{entry.get('text', entry.get('bytes'))}": entry for entry in NEWEST["raw"]}


def codec(**options: Any) -> Codec:
    return choose(Config(**options).settings())


def heard(codec: Codec, chunks: list[bytes]) -> list[tuple[str, Any]]:
    splitter = codec.splitter()
    frames = [frame for chunk in chunks for frame in splitter.split(chunk)]
    assert splitter.fault is None
    assert not splitter.rest
    return [_event(codec, frame) for frame in frames]


def _event(codec: Codec, frame: bytes) -> tuple[str, Any]:
    try:
        envelope = codec.decode(frame)
    except Exception:  # what the fast decoder refuses gets a second look, as in a session
        envelope = codec.salvage(frame)
        assert not isinstance(envelope, Exception), envelope
    return envelope.type, envelope.data


@pytest.mark.parametrize(("version", "delimiter"), TAKEN)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_node_ipc_sends_is_heard_however_it_is_cut(version: str, delimiter: str, size: int) -> None:
    entries = WIRE[version]["frames"][delimiter].values()
    stream = b"".join(bytes.fromhex(entry["hex"]) for entry in entries)
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]

    events = heard(codec(delimiter=delimiter), chunks)

    assert [json.dumps(event) for event in events] == [json.dumps([e["type"], e["data"]]) for e in entries]


@pytest.mark.parametrize("name", NEWEST["frames"]["\f"])
def test_what_we_send_is_what_node_ipc_14_sends(name: str) -> None:
    entry = NEWEST["frames"]["\f"][name]
    ours = codec().encode(entry["type"], entry["data"])
    assert ours.replace(*SPELLED_OTHERWISE.get(name, (b"", b""))) == bytes.fromhex(entry["hex"])


@pytest.mark.parametrize("name", sorted(RAW.keys() - REFUSED), ids=ascii)
def test_raw_payloads_become_the_bytes_that_node_ipc_sends(name: str) -> None:
    assert raw_bytes(RAW[name]) == bytes.fromhex(RAW[name]["hex"])


@pytest.mark.parametrize("name", sorted(REFUSED), ids=ascii)
def test_text_that_the_encoding_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidPayload):
        raw_bytes(RAW[name])


def raw_bytes(entry: dict[str, str]) -> bytes:
    raw: Any = codec(raw_buffer=True, encoding=entry["encoding"])
    encoded: bytes = raw.encode(bytes.fromhex(entry["bytes"]) if "bytes" in entry else entry["text"])
    return encoded


def test_all_versions_agree_but_for_what_is_empty() -> None:
    """Up to 12, null, "" and an object with ``_maxListeners`` go out as {}; nothing else differs."""
    frames = {version: WIRE[version]["frames"]["\f"] for version in WIRE}
    differing = {
        name
        for name, entry in frames["node-ipc 14.0.0"].items()
        if any(frames[version][name] != entry for version in frames)
    }
    assert differing == {"payload null", "payload empty-string", "payload max-listeners"}
