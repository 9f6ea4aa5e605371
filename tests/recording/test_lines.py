"""Lines of a recording: one for each frame, readable whatever it held, and without what was to be hidden."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_ipc import Config
from node_ipc.recording.lines import MOST_NAMES, Recorder
from node_ipc.recording.paths import Paths


class Kept:
    """A sink in memory."""

    def __init__(self) -> None:
        self.text = b""
        self.messages = 0

    def write(self, lines: bytes, messages: int) -> None:
        self.text += lines
        self.messages += messages

    @property
    def entries(self) -> list[dict[str, Any]]:
        assert self.text.endswith(b"\n")
        return [json.loads(line) for line in self.text.decode().split("\n")[:-1]]


def recorded(
    *reads: bytes, config: Config | None = None, hide: str = "", payloads: bool = True
) -> list[dict[str, Any]]:
    """The lines of what one client sent, without those of its link."""
    kept = Kept()
    settings = (config or Config()).settings()
    recorder = Recorder(kept, settings, payloads=payloads, hide=Paths([hide]), clock=lambda: 1.5)
    link = recorder.link("unix pid 7")
    for read in reads:
        link.heard("client", read)
    link.closed()
    first, *entries, last = kept.entries
    assert first == {"time": 1.5, "link": 1, "peer": "unix pid 7", "event": "connect"}
    assert last["event"] == "disconnect" and last.get("client_bytes", 0) == sum(map(len, reads))
    assert kept.messages == len(entries) == recorder.messages
    common = {"time": 1.5, "link": 1, "peer": "unix pid 7", "from": "client"}
    for entry in entries:
        assert {name: entry.pop(name) for name in common} == common
    return entries


@pytest.mark.parametrize(
    ("frame", "entry"),
    [
        (b'{"type":"a","data":{"n":1.0}}', {"type": "a", "data": {"n": 1.0}}),
        (b'{"type":"b"}', {"type": "b", "data": {}}),
        (b'{"data":[1,\n 2],\n"type":"c"}', {"type": "c", "data": [1, 2]}),
        ('{"type":"é\\"","data":"\u2028ü"}'.encode(), {"type": 'é"', "data": "\u2028ü"}),
        (b'{"type":"d","data":"\\ud800"}', {"type": "d", "data": "\ud800"}),
        (b'{"type":"big","data":12345678901234567890123}', {"type": "big", "data": 12345678901234567890123}),
    ],
)  # fmt: skip
def test_events(frame: bytes, entry: dict[str, Any]) -> None:
    assert recorded(frame + b"\f") == [{"bytes": len(frame), **entry}]
    del entry["data"]
    assert recorded(frame + b"\f", payloads=False) == [{"bytes": len(frame), **entry}]


@pytest.mark.parametrize(
    "frame",
    [b"[]", b"", b'{"type":1}', b'{"type":"\x1b', b'{"type":"deep","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}"],
)
def test_what_is_no_event_is_kept_as_it_was(frame: bytes) -> None:
    [entry] = recorded(frame + b"\f")
    assert entry.pop("fault") and entry.pop("bytes") == len(frame)
    assert entry == {"frame": frame.decode()}
    [entry] = recorded(frame + b"\f", payloads=False)
    assert entry.keys() == {"bytes", "fault"}
    [entry] = recorded(frame + b"\f", hide="$.a")  # nobody knows whether there is a secret in it
    assert entry.keys() == {"bytes", "fault"}


def test_what_is_no_text_is_kept_in_hexadecimal() -> None:
    [garbage, inside] = recorded(b'\xff\f{"type":"a","data":"\xff"}\f')
    assert garbage["hex"] == "ff"
    assert bytes.fromhex(inside["hex"]) == b'{"type":"a","data":"\xff"}' and "utf-8" in inside["fault"]


def test_raw_bytes_and_their_sizes() -> None:
    raw = Config(raw_buffer=True)
    assert recorded(b"\x00\xff\f", config=raw) == [{"bytes": 3, "hex": "00ff0c"}]
    assert recorded(b"\x00\xff\f", config=raw, payloads=False) == [{"bytes": 3}]


def test_a_frame_that_is_too_long_is_told_and_not_kept() -> None:
    config = Config(max_message_size=100)
    [long, after] = recorded(b"x" * 200 + b'\f{"type":"a"}\f', config=config)
    assert long == {"bytes": 200, "fault": "200 bytes are too many to keep"}
    assert after["type"] == "a"


def test_of_requests_without_payloads_the_method_is_kept() -> None:
    frame = b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":1,"method":"add","params":[1]}}'
    assert recorded(frame + b"\f", payloads=False) == [{"type": "rpc.request", "bytes": len(frame), "method": "add"}]
    broken = b'{"type":"rpc.request","data":[]}'
    assert recorded(broken + b"\f", payloads=False) == [{"type": "rpc.request", "bytes": len(broken)}]


@pytest.mark.parametrize(
    "data",
    [
        b'{"password":"hunter2"}',
        b'{"pass\\u0077ord":"hunter2"}',
        b'{"a":[{"password":"hunter2"}]}',
        b'{"password":"hunter2\\ud800"}',
    ],
)
def test_what_is_to_be_hidden_is_nowhere_in_the_line(data: bytes) -> None:
    for type in (b'"login"', b'"lo\\ud800gin"'):
        [entry] = recorded(b'{"type":' + type + b',"data":' + data + b"}\f", hide="$..password")
        assert "hunter2" not in str(entry) and "[redacted]" in str(entry)


def test_names_without_end_are_not_kept() -> None:
    kept = Kept()
    recorder = Recorder(kept, Config().settings())
    link = recorder.link("x")
    for number in range(MOST_NAMES * 3):
        link.heard("client", b'{"type":"n%d"}\f' % number)
    assert len(recorder._names) == MOST_NAMES
    assert [entry["type"] for entry in kept.entries[1:]] == [f"n{number}" for number in range(MOST_NAMES * 3)]


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_any_bytes_are_one_line_of_json_each(frames: list[bytes], payloads: bool) -> None:
    stream = b"".join(frame.replace(b"\f", b"") + b"\f" for frame in frames)
    assert len(recorded(*([stream] if stream else []), payloads=payloads)) == len(frames)


@pytest.mark.parametrize("payloads", [False, True])
@pytest.mark.parametrize("at_once", [1000, 10], ids=["blocks of 64 KiB", "small reads"])
def test_a_message_costs_less_than_three_microseconds(payloads: bool, at_once: int) -> None:
    """Of this process's time, in the best of five runs: another process may have the cache meanwhile."""

    class Nothing:
        def write(self, lines: bytes, messages: int) -> None: ...

    recorder = Recorder(Nothing(), Config().settings(), payloads=payloads)
    link = recorder.link("unix pid 7 uid 1000")
    block = b'{"type":"order","data":{"item":"tea","count":3,"note":"no sugar"}}\f' * at_once
    rounds, costs = 20_000 // at_once, []
    gc.collect()
    for _ in range(5):
        begin = time.process_time()
        for _ in range(rounds):
            link.heard("client", block)
        costs.append((time.process_time() - begin) / rounds / at_once * 1e6)
    print(f"{min(costs):.2f} µs a message")
    assert min(costs) < 3.0


def test_of_a_message_with_attachments_the_sizes_are_kept() -> None:
    head = b'{"attachments":[{"at":["pixels"],"size":4}],"type":"picture","data":{"pixels":null}}'
    (entry,) = recorded(head + b"\f\x00\x0c\xff\x00")
    assert entry == {"type": "picture", "bytes": len(head) + 4, "attachments": [{"at": ["pixels"], "size": 4}]}
