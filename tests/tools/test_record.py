"""``node-ipc record`` and ``node-ipc tap --record``: what passed is in the file."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_ipc import blocking
from node_ipc.recording import read
from node_ipc.tools.cli import main

from .conftest import Command
from .test_cli import on_a_terminal

SECONDS = 20


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "run.jsonl")


@pytest.fixture
def echo(node_ipc: Command) -> Iterator[None]:
    """A server that sends everything back."""
    server = node_ipc("listen", "world", "--echo")
    server.wait_for("listening at")
    yield
    server.interrupt()
    server.ends()


def told(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def talk(address: str, *payloads: Any) -> None:
    with blocking.connect(address) as peer:
        for payload in payloads:
            peer.emit("login", payload)
            assert peer.receive("login", timeout=SECONDS) == payload


@pytest.mark.usefixtures("echo")
def test_tap_records_both_directions(node_ipc: Command, root: str, file: str) -> None:
    tap = node_ipc("tap", "spy", "--to", "world", "--record", file, "--payloads", "--redact", "$.password")
    tap.wait_for("Ctrl-C ends")
    talk(f"unix:{root}app.spy", {"name": "n", "password": "secret"}, 5)
    tap.interrupt()
    assert tap.ends()[-1] == f"{file}: 4 messages of 1 link"
    header, opened, *passed, closed, end = told(file)
    assert header["address"] == f"unix:{root}app.world" and header["redacted"] == ["$.password"]
    assert opened["event"] == "connect" and opened["peer"].startswith(f"unix pid {os.getpid()} ")
    assert [(line["from"], line["type"], line["data"]) for line in passed] == [
        ("client", "login", {"name": "n", "password": "[redacted]"}),
        ("server", "login", {"name": "n", "password": "[redacted]"}),
        ("client", "login", 5),
        ("server", "login", 5),
    ]
    assert closed["event"] == "disconnect" and closed["client_bytes"] == closed["server_bytes"] > 60
    assert end["event"] == "end"
    assert abs(opened["time"] - time.time()) < 60
    assert not any("→" in line for line in tap.lines), "with --record nothing is shown …"


@pytest.mark.usefixtures("echo")
def test_tap_shows_what_it_records_where_that_is_wanted(node_ipc: Command, root: str, file: str) -> None:
    tap = node_ipc("tap", "spy", "--to", "world", "--record", file, "--print", "--json")
    tap.wait_for("Ctrl-C ends")
    talk(f"unix:{root}app.spy", 1)
    tap.wait_for('"disconnect"')
    tap.interrupt()
    tap.ends()
    assert [line["type"] for line in told(file) if "type" in line] == ["login", "login"]
    assert not any("data" in line for line in told(file)), "payloads only where they are wanted"


@pytest.mark.row(72)
@pytest.mark.usefixtures("echo")
def test_a_recorder_that_cannot_write_does_not_end_the_links(node_ipc: Command, root: str, tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    tap = node_ipc("tap", "spy", "--to", "world", "--record", pipe)
    tap.wait_for("Ctrl-C ends")
    os.close(reader)
    with blocking.connect(f"unix:{root}app.spy") as peer:
        for payload in range(3):
            peer.emit("login", payload)
            assert peer.receive("login", timeout=SECONDS) == payload
            if not payload:
                tap.wait_for("Broken pipe. What was recorded before is in it. Links go on, unrecorded")
    tap.interrupt()
    tap.ends(1)


@pytest.mark.row(72)
@pytest.mark.usefixtures("echo")
def test_a_recorder_that_is_stuck_does_not_hold_up_the_links(node_ipc: Command, root: str, tmp_path: Path) -> None:
    """The pipe of the recording has a reader that reads nothing, and what passes is a hundred times what fits."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    tap = node_ipc("tap", "spy", "--to", "world", "--record", pipe, "--payloads")
    tap.wait_for("Ctrl-C ends")
    talk(f"unix:{root}app.spy", *["x" * 100_000] * 70)
    tap.interrupt()
    time.sleep(0.1)
    os.set_blocking(reader, True)
    lines = b""
    while part := os.read(reader, 1 << 20):
        lines += part
    os.close(reader)
    assert tap.ends()[-1] == f"{pipe}: 140 messages of 1 link"
    assert lines.count(b'"type":"login"') == 140


def test_record_keeps_what_the_server_sends(node_ipc: Command, root: str, file: str) -> None:
    """Across a restart of the server, and answering its heartbeat meanwhile."""
    for port in (0, 1):
        with blocking.serve(f"{root}app.world", heartbeat=200) as server:
            if not port:
                record = node_ipc("record", "world", file, "--payloads", "-o", "retry=50")
                record.wait_for("Ctrl-C ends")
            while not server.sockets:
                server.poll(0.05)
            server.broadcast("news", {"number": port})
            [socket] = server.sockets
            end = time.monotonic() + SECONDS
            while not socket.stats().messages_in:  # it says nothing else
                assert time.monotonic() < end, "it did not answer the heartbeat"
                server.poll(0.05)
            assert server.sockets
        if not port:
            record.wait_for("connecting again")
    record.wait_for("connecting again")
    record.interrupt()
    record.ends()
    lines = told(file)
    assert [line["data"] for line in lines if line.get("type") == "news"] == [{"number": 0}, {"number": 1}]
    assert [line["link"] for line in lines if line.get("event") == "connect"] == [1, 2]
    assert {line["from"] for line in lines if "from" in line} == {"server"}


def test_record_to_standard_output(node_ipc: Command, root: str) -> None:
    with blocking.serve(f"{root}app.world") as server:
        record = node_ipc("record", "world", "-", "--raw", "--payloads")
        record.wait_for("Ctrl-C ends")
        while not server.sockets:
            server.poll(0.05)
        server.broadcast("news", 1)
        server.poll(0.05)
        record.wait_for('"hex":"7b22')
        record.interrupt()
        assert not [line for line in record.ends() if "the link is lost" in line], "its own end is no loss"
    assert json.loads(record.lines[0])["mode"] == "bytes"


def test_record_is_stopped_by_its_disk(node_ipc: Command, root: str) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with blocking.serve(f"{root}app.world"):
        record = node_ipc("record", "world", "/dev/full")
        assert record.ends(1)[-1] == "node-ipc record: cannot write '/dev/full': No space left on device"


def test_sigterm_ends_a_recording_as_it_should(node_ipc: Command, root: str, file: str) -> None:
    with blocking.serve(f"{root}app.world"):
        record = node_ipc("record", "world", file)
        record.wait_for("Ctrl-C ends")
        record.process.send_signal(signal.SIGTERM)
        record.ends()
    assert told(file)[-1]["event"] == "end" and read(file).header.program.endswith(", record")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tap", "a", "--to", "b", "--payloads"], "--payloads says how to record: it goes with --record FILE"),
        (["tap", "a", "--to", "b", "--rotate", "1M"], "--rotate says how to record"),
        (["tap", "a", "--to", "b", "--record", "FILE", "--json"], "nothing is shown, so --json goes with --print"),
        (["tap", "a", "--to", "b", "--record", "FILE", "--redact", "$.a"], "they are only kept with --payloads"),
        (["tap", "a", "--to", "b", "--record", "FILE", "--payloads", "--redact", "a"], "'a' is no path into a payload"),
        (
            ["tap", "a", "--to", "b", "--record", "FILE", "--payloads", "--redact", "$", "--raw"],
            "--redact needs events",
        ),
        (["tap", "a", "--to", "b", "--record", "FILE", "--keep", "3"], "it goes with --rotate SIZE"),
        (["record", "udp4://127.0.0.1:9", "FILE"], "has none: use listen --json there"),
        (["record", "nobody", "FILE"], "no server at"),
    ],
)
def test_what_cannot_be_meant(
    arguments: list[str], error: str, file: str, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [file if each == "FILE" else each for each in arguments]
    assert main([*line, "-o", f"socket_root={root}"]) in (1, 2)
    [said] = capsys.readouterr().err.splitlines()
    assert error in said
    assert not os.path.exists(file)


@pytest.mark.parametrize("size", ["10", "x", "1T", "-5M"])
def test_sizes(size: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["record", "world", file, f"--rotate={size}"])
    assert "is no size of 1K or more, as 500K, 100M or 2G" in capsys.readouterr().err


def test_a_file_that_is_no_recording_is_refused(node_ipc: Command, root: str, file: str) -> None:
    Path(file).write_text("dear diary\n")
    with blocking.serve(f"{root}app.world"):
        assert "is no recording of node-ipc" in node_ipc("record", "world", file).ends(1)[-1]
    assert "is no recording" in node_ipc("tap", "spy", "--to", "world", "--record", file).ends(1)[-1]
    assert Path(file).read_text() == "dear diary\n"


def test_nothing_is_coloured_in_a_file(root: str, file: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{root}app.world")
        listening.listen()
        written = on_a_terminal(
            ["record", f"{root}app.world", "-", "-o", "max_retries=0"], lambda: _one_event(listening)
        )
    assert '"type":"x"' in written and "\x1b" not in written
    os.unlink(f"{root}app.world")


def _one_event(listening: socket.socket) -> None:
    peer, _ = listening.accept()
    with peer:
        peer.sendall(b'{"type":"x"}\f')
        time.sleep(0.5)
