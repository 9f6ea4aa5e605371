"""The examples of the asyncio and blocking fronts, requests and raw payloads, run as a user runs them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes import Program

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"

Start = Callable[..., Program]


@pytest.fixture
def root() -> Iterator[str]:
    root = tempfile.mkdtemp(prefix="ipc-")
    yield f"{root}/"
    left = os.listdir(root)
    shutil.rmtree(root)
    assert left == [], f"the examples left files behind: {left}"


@pytest.fixture
def start(root: str) -> Iterator[Start]:
    programs: list[Program] = []

    def start_one(path: str, *arguments: str) -> Program:
        run = [str(TESTS / "run_example.py"), root, "0", str(EXAMPLES / path), *arguments]
        programs.append(Program.python(*run))
        return programs[-1]

    yield start_one
    for program in programs:
        program.close()


def test_a_command_line_talks_to_its_daemon(start: Start) -> None:
    early = start("daemon/command.py", "add", "buy", "tea")  # waits for the daemon
    daemon = start("daemon/daemon.py")
    daemon.wait_for("ready")
    assert early.ends() == ["number 1"]
    assert start("daemon/command.py", "add", "drink", "it").ends() == ["number 2"]
    assert start("daemon/command.py", "list").ends() == ["1 buy tea", "2 drink it"]
    assert "no method 'dance'" in start("daemon/command.py", "dance").ends(1)[0]
    start("daemon/command.py", "stop").ends()
    daemon.ends()


def test_a_command_line_without_its_daemon_says_so(start: Start) -> None:
    (line,) = start("daemon/command.py", "list").ends(1)
    assert "within 2 s" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_asyncio_server_ends_in_order_on_a_signal(start: Start, number: signal.Signals) -> None:
    daemon = start("daemon/daemon.py")
    daemon.wait_for("ready")
    daemon.process.send_signal(number)
    assert daemon.ends() == ["the daemon is ready"]


def test_a_relay_passes_bytes_on_to_everybody_else(start: Start, root: str) -> None:
    relay = start("relay/relay.py")
    relay.wait_for("ready")
    peers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for peer in peers:
        peer.settimeout(10)
        peer.connect(f"{root}app.relay")
    odd = b'{"type":"measurement","data": [ 1e2 , "\\u0041" ]}\f'  # a payload that JSON encoders would write otherwise
    for peer in peers[1:]:  # once they are heard, the relay has them
        peer.sendall(b'{"type":"rpc.request","data":{"id":1,"method":"x"}}\f')
        assert b"no method" in peer.recv(1000)
    peers[0].sendall(odd)
    for peer in peers[1:]:
        assert b'[ 1e2 , "\\u0041" ]' in peer.recv(1000)
    for peer in peers:
        peer.close()
    relay.interrupt()
    relay.ends()


def test_a_notebook_runs_from_top_to_bottom(start: Start) -> None:
    assert start("notebook/notebook.py").ends() == ["squared: 144", "seen: [0, 1, 4]", "messages: 4 out, 4 in"]


def test_arrays_travel_in_events_and_requests(start: Start) -> None:
    receiver = start("numpy_array/receive.py")
    receiver.wait_for("ready")
    assert start("numpy_array/send.py").ends() == [f"negative (1080, 1920) sum {1080 * 1920 * 253}"]
    frames = [f"frame of (1080, 1920) uint8 sum {1080 * 1920 * number}" for number in range(3)]
    assert receiver.ends()[1:] == frames


def test_a_slow_viewer_sees_frames_that_are_new(start: Start) -> None:
    camera = start("camera/camera.py")
    camera.wait_for("ready")
    began = time.monotonic()
    *frames, skipped = start("camera/viewer.py").ends()
    lasted = (time.monotonic() - began) * 1000
    camera.interrupt()
    camera.ends()
    numbers, sizes, ages = zip(*(map(int, re.findall(r"\d+", line)) for line in frames), strict=True)
    assert len(numbers) == 15 and set(sizes) == {200_000} and sorted(set(numbers)) == list(numbers)
    assert int(skipped.split()[0]) > 15
    # without latest=True the age of the frame in the middle is a third of all the time, and grows on
    assert statistics.median(ages) < lasted / 6


def test_a_codec_of_ones_own_carries_bytes(start: Start) -> None:
    assert start("own_codec/packed.py").ends() == [r"mirrored: {'name': 'dot', 'pixels': b'\xff\x7f\x00'}"]
