"""``node-ipc replay`` against real servers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_ipc import blocking
from node_ipc.tools import record, replay
from node_ipc.tools.cli import main
from processes import Program

from .conftest import Command
from .test_cli import on_a_terminal

SECONDS = 20


@pytest.fixture
def echo(node_ipc: Command) -> Iterator[None]:
    """A server that sends everything back."""
    server = node_ipc("listen", "world", "--echo")
    server.wait_for("listening at")
    yield
    server.interrupt()
    server.ends()


@pytest.fixture
def file(node_ipc: Command, echo: None, root: str, tmp_path: Path) -> str:
    """A recording of a client that said three things and heard them again."""
    path = str(tmp_path / "run.jsonl")
    tap = node_ipc("tap", "spy", "--to", "world", "--record", path, "--payloads")
    tap.wait_for("Ctrl-C ends")
    with blocking.connect(f"unix:{root}app.spy") as peer:
        for type, payload in (("order", {"item": "tea"}), ("order", {"item": "milk"}), ("bye", None)):
            peer.emit(type, payload)
            assert peer.receive(type, timeout=SECONDS) == payload
    tap.interrupt()
    tap.ends()
    return path


def changed(file: str, before: str, after: str) -> str:
    """What a server would say that has changed since."""
    lines = Path(file).read_text().splitlines(keepends=True)
    text = "".join(line.replace(before, after) if '"from":"server"' in line else line for line in lines)
    Path(file).write_text(text)
    return file


def test_what_clients_sent_is_sent_again(node_ipc: Command, file: str) -> None:
    [said] = node_ipc("replay", file, "--to", "world", "--expect").ends()
    assert said == "3 messages sent on 1 link, 3 answers, as recorded"
    [said] = node_ipc("replay", file, "--to", "world", "--speed", "max", "--only", "bye").ends()
    assert said == "1 message sent on 1 link, 1 answer"


def test_a_difference_is_told_and_is_exit_code_1(node_ipc: Command, file: str) -> None:
    said = node_ipc("replay", changed(file, "milk", "beer"), "--to", "world", "--expect").ends(1)
    assert re.fullmatch(r"link 1 \(unix pid \d+ uid \d+\): message 2, the event 'order', differs:", said[0])
    assert said[1:] == [
        '  $.item: recorded "beer", came "milk"',
        "3 messages sent on 1 link, 3 answers, not as recorded",
    ]
    assert max(map(len, said)) <= 80
    node_ipc("replay", file, "--to", "world", "--expect", "--ignore", "$.item").ends()


def test_colours(file: str, root: str) -> None:
    command = ["replay", changed(file, "milk", "beer"), "--to", f"{root}app.world", "--expect"]
    coloured, plain = on_a_terminal(command, lambda: None), on_a_terminal(command, lambda: None, NO_COLOR="1")
    assert "\x1b[31mnot as recorded\x1b[0m" in coloured and "\x1b[31mlink 1 (" in coloured
    assert "\x1b" not in plain and re.sub("\x1b\\[\\d*m", "", coloured) == plain


def test_what_a_peer_said_reaches_no_terminal_as_it_is(node_ipc: Command, file: str) -> None:
    said = node_ipc("replay", changed(file, "milk", "\\u001b[31m"), "--to", "world", "--expect").ends(1)
    assert all(line.isprintable() for line in said)


def test_a_killed_recorder_is_mentioned(node_ipc: Command, file: str) -> None:
    lines = Path(file).read_text().splitlines()
    Path(file).write_text("\n".join(lines[:-2]) + '\n{"time":1')
    said = node_ipc("replay", file, "--to", "world", "--expect").ends()
    assert said[0] == f"node-ipc replay: 1 half line of '{file}' left out: its recorder was killed"


def test_what_was_redacted_is_mentioned(node_ipc: Command, file: str) -> None:
    first, *rest = Path(file).read_text().splitlines(keepends=True)
    Path(file).write_text(json.dumps({**json.loads(first), "redacted": ["$.item"]}) + "\n" + "".join(rest))
    said = node_ipc("replay", changed(file, "milk", "beer"), "--to", "world", "--expect").ends()
    assert 'in place of $.item the server gets "[redacted]"' in said[0]


def test_a_server_that_is_not_there(node_ipc: Command, file: str, root: str) -> None:
    [said] = node_ipc("replay", file, "--to", "nobody").ends(1)
    assert said.startswith(f"node-ipc replay: no server at '{root}app.nobody': No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["FILE", "--to", "udp4://127.0.0.1:9"], "replay is for connections"),
        (["nothing.jsonl", "--to", "world"], "cannot read 'nothing.jsonl': No such file or directory"),
        (["FILE", "--to", "world", "--ignore", "$.a"], "it goes with --expect"),
        (["FILE", "--to", "world", "--expect", "--ignore", "a"], "'a' is no path into a payload"),
        (["FILE", "--to", "world", "--only", "nothing"], "no client sends 'nothing'"),
    ],
)
def test_what_cannot_be_meant(
    arguments: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(
        '{"recording":"node-ipc","version":1,"time":1.0,"payloads":true}\n'
        '{"time":1.0,"link":1,"from":"client","type":"a","bytes":9,"data":1}\n'
    )
    assert main(["replay", *[str(file) if each == "FILE" else each for each in arguments]]) in (1, 2)
    [said] = capsys.readouterr().err.splitlines()
    assert error in said


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan"])
def test_speeds(speed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "run.jsonl", "--to", "world", f"--speed={speed}"])
    assert "is no speed: 2 is twice as fast" in capsys.readouterr().err


def examples(text: str, command: str) -> list[list[str]]:
    import shlex

    return [
        shlex.split(line.split("  ")[1].split(" | ")[0])[1:]
        for line in text.splitlines()
        if line.startswith(f"  node-ipc {command} ")
    ]


def test_the_examples_of_replay_run(
    node_ipc: Command, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        Path(f"run.jsonl.{number}").write_bytes(Path(file).read_bytes())
    found = examples(replay.EXAMPLES, "replay")
    assert len(found) == 5
    for arguments in found:
        node_ipc(*arguments).ends()


def test_the_examples_of_record_run(
    node_ipc: Command, echo: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = examples(record.EXAMPLES, "record")
    assert len(found) == 4
    for arguments in found:
        recorder: Program = node_ipc(*arguments)
        recorder.wait_for("Ctrl-C ends")
        recorder.interrupt()
        recorder.ends()
    tap: Program = node_ipc(*examples(record.EXAMPLES, "tap")[0])
    tap.wait_for("Ctrl-C ends")
    tap.interrupt()
    tap.ends()


def test_an_hour_at_full_speed_takes_no_hour(node_ipc: Command, file: str) -> None:
    lines = Path(file).read_text().splitlines()
    shifted = [json.loads(line) for line in lines]
    for at, line in enumerate(shifted):
        line["time"] += at * 600
    Path(file).write_text("\n".join(map(json.dumps, shifted)) + "\n")
    begin = time.monotonic()
    node_ipc("replay", file, "--to", "world", "--expect", "--speed", "max").ends()
    assert time.monotonic() - begin < 60
