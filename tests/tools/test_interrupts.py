"""Ctrl-C ends every command that waits, also where the signal does not wake the wait in the kernel."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import Program

ASLEEP = str(Path(__file__).parents[1] / "asleep.py")
RECORDING = """\
{"recording":"node-ipc","version":1,"time":1.0,"payloads":true}
{"time":0.0,"link":1,"state":"opened","peer":"unix:/s"}
{"time":0.1,"link":1,"from":"client","type":"rpc.request","data":{"jsonrpc":"2.0","id":"1","method":"add"}}
{"time":0.2,"link":1,"from":"server","type":"rpc.response","data":{"jsonrpc":"2.0","id":"1","result":3}}
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def mute(root: str) -> Iterator[str]:
    """A server that takes every connection and never says anything."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.mute")
        server.listen()
        yield f"{root}app.mute"
    os.unlink(f"{root}app.mute")


@pytest.fixture
def port() -> Iterator[int]:
    """Of a TCP server that takes every connection and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def asleep(number: signal.Signals, words: str, *command: str) -> Program:
    return Program(sys.executable, "-u", ASLEEP, number.name, words, *command)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "command",
    [
        "listen {root}app.world",
        "tap {root}app.spy --to {mute}",
        "record {mute} {root}run.jsonl",
    ],
)
def test_a_signal_ends_in_order_what_goes_on_until_ctrl_c(
    root: str, mute: str, number: signal.Signals, command: str
) -> None:
    running = asleep(number, "Ctrl-C ends", *command.format(root=root, mute=mute).split())
    try:
        running.ends(0)
    finally:
        running.close()
        Path(f"{root}run.jsonl").unlink(missing_ok=True)
    assert os.listdir(root) == ["app.mute"]


@pytest.mark.parametrize(
    "command",
    [
        "emit {mute} message 1 --wait-for never --timeout 600",
        "emit {root}app.nobody message 1 --wait --timeout 600",
        "emit udp4://127.0.0.1:9 message 1 --wait-for never --timeout 600",
        "request {mute} add 1 --timeout 600",
        "doctor tls://127.0.0.1:{port} --timeout 600",
        "contract --at {mute} --timeout 600",
        "replay {root}run.jsonl --to {mute} --timeout 600 --expect",
    ],
)
def test_ctrl_c_ends_what_waits_for_an_answer(root: str, mute: str, port: int, command: str) -> None:
    Path(f"{root}run.jsonl").write_text(RECORDING)
    running = asleep(signal.SIGINT, "", *command.format(root=root, mute=mute, port=port).split())
    try:
        assert running.ends(130) == []
    finally:
        running.close()
        os.unlink(f"{root}run.jsonl")
