"""No command passes a peer's control characters to a terminal: each with a hostile peer, and the bytes it prints."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node_ipc.tools.cli import main
from terminal import HOSTILE, Printing, hostile_server, sayings, unsafe

Run = Callable[..., Printing]
WIRE = HOSTILE.encode("utf-8", "replace").decode()


@pytest.fixture
def run(root: str) -> Iterator[Run]:
    """Starts ``node-ipc COMMAND …``."""
    started: list[Printing] = []

    def start(*arguments: str) -> Printing:
        started.append(Printing("-m", "node_ipc", *arguments, "-o", f"socket_root={root}"))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.ends(interrupted=True)


def harmless(printing: Printing) -> str:
    return judged(printing.ends(interrupted=True), "utf-8")


def judged(printed: bytes, encoding: str) -> str:
    assert unsafe(printed, encoding) == []
    assert b"Traceback" not in printed
    return printed.decode(encoding)


def say(path: str) -> None:
    """What a hostile client says, before the fault that ends it."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        link.sendall(b'{"type":"message","data":1}\f' + sayings())
        link.settimeout(60)
        link.recv(1)  # an answer, or the end


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_listen(run: Run, root: str, flags: tuple[str, ...]) -> None:
    listen = run("listen", "world", *flags)
    listen.wait_for(b"listening at")
    say(f"{root}app.world")
    listen.wait_for(b"disconnect")
    printed = harmless(listen)
    assert "owned" in printed and "forged" in printed


@pytest.mark.parametrize("flags", [(), ("--json",), ("--raw",), ("--raw", "--json")])
def test_tap(run: Run, root: str, flags: tuple[str, ...]) -> None:
    with hostile_server(f"{root}app.world"):
        tap = run("tap", "spy", "--to", "world", *flags)
        tap.wait_for(b"talk with")
        say(f"{root}app.spy")
        tap.wait_for(b"disconnect" if "--json" in flags else b"closed, ")
        assert ("owned" if len(flags) < 2 else b"owned".hex()) in harmless(tap)


class Screen:
    """Runs commands in this process; standard output and error are one stream of bytes, in this encoding."""

    def __init__(self, patch: pytest.MonkeyPatch, root: str, encoding: str) -> None:
        self.patch, self.root, self.encoding = patch, root, encoding

    def shows(self, *arguments: str) -> str:
        into = io.BytesIO()
        stream = io.TextIOWrapper(into, self.encoding, "backslashreplace", write_through=True)
        where = [] if arguments[0] == "convert" else ["-o", f"socket_root={self.root}"]
        with self.patch.context() as patch:
            patch.setenv("NO_COLOR", "1")
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            main([*arguments, *where])
        return judged(into.getvalue(), self.encoding)


@pytest.fixture(params=["utf-8", "latin-1", "ascii"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, root: str) -> Screen:
    return Screen(monkeypatch, root, request.param)


def test_what_asks_a_server(screen: Screen, root: str) -> None:
    with hostile_server(f"{root}app.world", quiet=True):
        assert "owned" in screen.shows("request", "world", "fine")
        assert "owned" in screen.shows("request", "world", "boom")


def test_what_hears_a_server(screen: Screen, root: str) -> None:
    name = WIRE[:200].partition("\0")[0]
    with hostile_server(f"{root}app.world"):
        assert "owned" in screen.shows("emit", "world", "message", "1", "--wait-for", name, "--timeout", "20")
        assert "UTF-8" in screen.shows("doctor", "world")


@pytest.mark.parametrize("format", ["", "typescript", "json-schema", "asyncapi", "python", "html"])
def test_a_contract(screen: Screen, root: str, tmp_path: Path, format: str) -> None:
    file = tmp_path / "contract.txt"
    file.write_text(f"before\n{WIRE}\n", "utf-8")
    with hostile_server(f"{root}app.world", quiet=True):
        words = (f"--{format}", "-") if format else ()
        assert "owned" in screen.shows("contract", "--at", "world", *words)
        if format:
            assert "owned" in screen.shows("contract", "--at", "world", f"--{format}", str(file), "--check")


def test_a_recording_is_made_played_and_converted(run: Run, screen: Screen, root: str, tmp_path: Path) -> None:
    file = str(tmp_path / "run.jsonl")
    with hostile_server(f"{root}app.world"):
        tap = run("tap", "spy", "--to", "world", "--record", file, "--payloads")
        tap.wait_for(b"talk with")
        say(f"{root}app.spy")
        harmless(tap)
        assert "owned" in Path(file).read_text("utf-8")
        assert "owned" in screen.shows("replay", file, "--to", "world", "--expect")
        assert "messages as MCAP" in screen.shows("convert", file, str(tmp_path / "run.mcap"))
        assert "packets" in screen.shows("convert", file, str(tmp_path / "run.pcapng"))
