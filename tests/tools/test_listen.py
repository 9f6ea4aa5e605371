"""``node-ipc listen`` shows what real clients send, one safe line each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from node_ipc import ConnectionLost, blocking
from processes import Program

from .conftest import Command

READY = "listening at"


def listening(node_ipc: Command, *arguments: str) -> tuple[Program, str]:
    """The command, and where it says that it listens."""
    program = node_ipc("listen", *arguments)
    address = program.wait_for(READY).removeprefix(f"{READY} ").removesuffix(", Ctrl-C ends")
    return program, address


def objects(program: Program) -> list[dict[str, Any]]:
    return [json.loads(line) for line in program.lines if line.startswith("{")]


def test_events_and_connections_as_lines(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "world")
    with blocking.connect(address) as client:
        client.emit("message", {"text": "h\x1b[31mi\u202e", "n": 1})
        client.emit("na\x07me", None)
    program.wait_for("disconnected")
    program.interrupt()
    lines = [line.partition(" ")[2] for line in program.ends() if line[0].isdigit()]
    assert lines[0].startswith(f"socket 1 connected: unix pid {os.getpid()} uid")
    assert lines[1:] == [
        'socket 1 message {"text": "h\\u001b[31mi\\u202e", "n": 1}',
        "socket 1 na\\x07me null",
        "socket 1 disconnected",
    ]


def test_events_as_json_lines(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "world", "--json", "--count", "2")
    with blocking.connect(address) as client:
        client.emit("message", {"text": "ü\u2028\U0001f600\x7f"})
        client.emit("empty")
    program.ends()
    connect, message, empty, *rest = objects(program)
    assert connect["event"] == "connect"
    assert connect["peer"]["pid"] == os.getpid()
    assert message["type"] == "message"
    assert message["data"] == {"text": "ü\u2028\U0001f600\x7f"}
    assert message["socket"] == connect["socket"]
    assert (empty["type"], empty["data"]) == ("empty", {})
    assert [line["event"] for line in rest] == ["socket.disconnected"]  # it ends when that, too, is over
    assert all(line.isprintable() for line in program.lines)


def test_json_lines_stay_json_on_an_output_that_knows_ascii_only(node_ipc: Command) -> None:
    program = node_ipc("listen", "world", "--json", "--count", "1", PYTHONIOENCODING="ascii")
    address = program.wait_for(READY).split()[2].rstrip(",")
    with blocking.connect(address) as client:
        client.emit("message", "ü")
    program.ends()
    assert objects(program)[1]["data"] == "ü"
    assert program.printed.isascii()


def test_a_peer_that_breaks_the_protocol_is_an_error_line(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "world", "--json")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(address.removeprefix("unix:"))
        peer.sendall(b'{"type": "\x1b[2J\f')
        assert peer.recv(1) == b""
    program.wait_for("socket.disconnected")
    program.interrupt()
    program.ends()
    error = next(line for line in objects(program) if line["event"] == "error")
    assert error["code"] == "ERR_IPC_INVALID_JSON"
    assert error["socket"] == 1
    assert all(line.isprintable() for line in program.lines)


def test_raw_bytes(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "world", "--raw", "--json", "--count", "1", "--echo")
    with blocking.connect(address, raw_buffer=True) as client:
        client.emit(b"\x00\xff")
    program.ends()
    assert [line["hex"] for line in objects(program) if "hex" in line] == ["00ff"]


def test_raw_bytes_as_a_line(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "world", "--raw", "--count", "1")
    with blocking.connect(address, raw_buffer=True) as client:
        client.emit(b"\x00\xff")
    program.ends()
    program_lines = [line for line in program.lines if "socket 1 b'" in line]
    assert program_lines[0].endswith("socket 1 b'\\x00\\xff'")


def test_echo_over_tcp(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "tcp://127.0.0.1:0", "--echo")
    with blocking.connect(address) as client:
        client.emit("ping", [1])
        assert client.receive("ping", timeout=20) == [1]
    program.interrupt()
    program.ends()


def test_who_may_have_meant_a_port_is_told(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "39182")
    program.wait_for("39182 is an id: the TCP port is tcp://127.0.0.1:39182")
    assert address.startswith("unix:") and address.endswith("39182")
    program.interrupt()
    program.ends()


def test_several_addresses(node_ipc: Command) -> None:
    program, addresses = listening(node_ipc, "world", "tcp://127.0.0.1:0", "--count", "2")
    for address in addresses.split(" and "):
        with blocking.connect(address) as client:
            client.emit("message", address)
            client.drain(timeout=60)
    printed = "\n".join(program.ends())
    assert 'message "unix:' in printed and 'message "tcp://127.0.0.1:' in printed
    refused = node_ipc("listen", "world", "udp4://127.0.0.1:0")
    assert "give UDP a server of its own" in " ".join(refused.ends(2))


def test_datagrams(node_ipc: Command) -> None:
    program, address = listening(node_ipc, "udp4://127.0.0.1:0", "--count", "1")
    port = int(address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.sendto(b'{"type":"message","data":"hello"}\f', ("127.0.0.1", port))
        program.ends()
        mine = peer.getsockname()[1]
    assert f'udp4 127.0.0.1:{mine} message "hello"' in program.printed
    assert "error" not in program.printed


def test_what_the_library_warns_of_is_told(node_ipc: Command) -> None:
    program = node_ipc("listen", "tcp://0.0.0.0:0")
    line = program.wait_for("node-ipc listen: the server at tcp://0.0.0.0:")
    assert "is open to every machine" in line
    program.interrupt()
    program.ends()


def test_sigterm_ends_it_in_order(node_ipc: Command) -> None:
    program, _ = listening(node_ipc, "world")
    program.process.send_signal(signal.SIGTERM)
    program.ends()


def test_an_address_in_use_is_said_and_ends_with_1(node_ipc: Command) -> None:
    program, _ = listening(node_ipc, "world")
    second = node_ipc("listen", "world")
    [line] = second.ends(1)
    assert line.startswith("node-ipc listen: a running server holds ")
    program.interrupt()
    program.ends()


@pytest.mark.parametrize("command", ["listen", "tap"])
def test_it_ends_quietly_when_nobody_reads_any_more(root: str, command: str) -> None:
    """As in ``node-ipc listen world --json | head -1``."""
    more = ["--to", "elsewhere"] if command == "tap" else []
    process = subprocess.Popen(
        [sys.executable, "-m", "node_ipc", command, "world", *more, "-o", f"socket_root={root}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stderr.readline()  # it is ready
    process.stdout.close()
    try:
        with blocking.connect(f"unix:{root}app.world") as client:
            client.emit("message", "hello")
    except ConnectionLost:
        pass  # it may end at the line that tells of the connection already
    with process.stderr:
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
