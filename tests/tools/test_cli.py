"""How commands end: outputs that take nothing, Ctrl-C, narrow terminals, colours."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node_ipc.tools.cli import main
from processes import DEADLINE, wait_until_it_sleeps

from .conftest import Command

COMMANDS = [
    "",
    "demo",
    "listen",
    "emit",
    "request",
    "tap",
    "record",
    "replay",
    "convert",
    "top",
    "doctor",
    "contract",
    "help",
]


@pytest.fixture
def server(node_ipc: Command, root: str) -> Iterator[str]:
    """A server that sends everything back."""
    program = node_ipc("listen", "world", "--echo")
    program.wait_for("listening at")
    yield f"{root}app.world"
    program.interrupt()
    program.ends()


def ended(command: str, root: str) -> tuple[int, str]:
    """A shell's command line: the exit code of ``node-ipc``, and everything that reached standard error."""
    line = command.replace("node-ipc", f"exec {sys.executable} -m node_ipc")
    done = subprocess.run(["sh", "-c", line], cwd=root, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.returncode, done.stderr


ONE_SHOT = ["--help", "doctor", "doctor ./app.world", "emit ./app.world ask 1 --wait-for ask", "demo"]


@pytest.mark.parametrize("command", ONE_SHOT)
def test_an_output_that_is_closed_changes_nothing(server: str, root: str, command: str) -> None:
    assert ended(f"node-ipc {command} >&-", root) == (0, "")
    assert ended(f"node-ipc {command} >/dev/null 2>&-", root) == (0, "")
    assert ended(f"node-ipc {command} >&- 2>&- <&-", root) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", ONE_SHOT)
def test_an_output_that_is_full_is_one_line(server: str, root: str, command: str) -> None:
    code, said = ended(f"node-ipc {command} >/dev/full", root)
    if command == "--help":  # argparse's own
        assert (code, said) == (0, "")
    else:
        expected = f"node-ipc {command.split()[0]}: cannot read or write: No space left on device\n"
        assert (code, said) == (1, expected)
    assert ended(f"node-ipc {command} >/dev/null 2>/dev/full", root) == (0, "")


def speak(path: str, running: subprocess.Popen[str] | None, deadline: float) -> None:
    """Connect and say something as soon as somebody listens, again and again until ``running`` has ended (once: None).

    One line may be in a pipe before its reader has left, and tells the writer nothing.
    """
    while time.monotonic() < deadline and (running is None or running.poll() is None):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b'{"type":"ask","data":1}\f')
            if running is None:
                return
        time.sleep(0.02)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", ["listen ./app.two", "tap ./app.two --to ./app.world", "listen ./app.two --json"])
def test_a_command_that_goes_on_ends_when_its_output_is_full(server: str, root: str, command: str) -> None:
    line = f"exec {sys.executable} -m node_ipc {command} >/dev/full"
    with subprocess.Popen(["sh", "-c", line], cwd=root, stderr=subprocess.PIPE, text=True) as running:
        speak(f"{root}app.two", running, time.monotonic() + DEADLINE)
        _, said = running.communicate(timeout=DEADLINE)
    *_, last = said.splitlines()
    assert last == f"node-ipc {command.split()[0]}: cannot read or write: No space left on device"
    assert "Traceback" not in said
    assert running.returncode == 1


@pytest.mark.parametrize("command", ["demo", "doctor ./app.world", "listen ./app.two"])
def test_a_reader_that_leaves_ends_it_quietly(server: str, root: str, command: str) -> None:
    line = f"{{ {sys.executable} -m node_ipc {command}; echo $? >code; }} | head -n 1"
    with subprocess.Popen(
        ["sh", "-c", line], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        if command.startswith("listen"):
            speak(f"{root}app.two", running, time.monotonic() + DEADLINE)
        shown, said = running.communicate(timeout=DEADLINE)
    assert len(shown.splitlines()) == 1
    assert "Traceback" not in said and "Exception" not in said
    assert Path(f"{root}code").read_text() == "0\n"
    os.unlink(f"{root}code")


def answering(root: str) -> str:
    """A recording of a server that answered in another way."""
    name = f"{root}run.jsonl"
    recorder = f"{sys.executable} -m node_ipc tap ./app.spy --to ./app.world --record run.jsonl --payloads"
    with subprocess.Popen(shlex.split(recorder), cwd=root, stderr=subprocess.PIPE, text=True) as tap:
        assert tap.stderr is not None and "Ctrl-C" in tap.stderr.readline()
        assert ended("node-ipc emit ./app.spy ask 1 --wait-for ask", root) == (0, "")
        tap.send_signal(signal.SIGINT)
        tap.wait(DEADLINE)
    text = Path(name).read_text()
    Path(name).write_text(re.sub(r'("from": ?"server".*"data": ?)1', r"\g<1>2", text))
    return name


@pytest.mark.parametrize(
    "command", ["doctor ./app.nobody", "contract node_ipc.contract:x --html w.html --check", "replay"]
)
def test_a_reader_that_leaves_changes_no_verdict(server: str, root: str, command: str) -> None:
    """``set -o pipefail; node-ipc doctor world | head -n 1``."""
    module = Path(f"{root}offers.py")
    module.write_text("from node_ipc.contract import Contract\nx = Contract('world')\n")
    if command == "replay":
        command = f"replay {answering(root)} --to ./app.world --expect"
    command = command.replace("node_ipc.contract:x", "offers:x")
    line = f"{{ sleep 1; {sys.executable} -m node_ipc {command}; echo $? >code; }} | true"
    done = subprocess.run(["sh", "-c", line], cwd=root, capture_output=True, text=True, timeout=DEADLINE)
    assert Path(f"{root}code").read_text() == "1\n"
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    for left in ("code", "offers.py", "run.jsonl"):
        Path(f"{root}{left}").unlink(missing_ok=True)
    shutil.rmtree(f"{root}__pycache__", ignore_errors=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["emit", "world", "ask", "-"],
        ["request", "world", "ask", "-"],
        ["emit", "world", "--raw", "-"],
        ["emit", "world", "ask", "--wait-for", "never", "--timeout", "600"],
        ["emit", "nobody", "ask", "--wait", "--timeout", "600"],
    ],
)
def test_ctrl_c_ends_a_command_that_waits(server: str, root: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "node_ipc", *arguments, "-o", f"socket_root={root}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wait_until_it_sleeps(running.pid)
        running.send_signal(signal.SIGINT)
        assert running.wait(DEADLINE) == 130
        assert running.stderr is not None
        assert running.stderr.read() == ""


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if len(line) > columns] == []


def on_a_terminal(command: list[str], work: Callable[[], object], **environment: str) -> str:
    """What a command writes to a terminal while ``work`` is done."""
    ours, theirs = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [sys.executable, "-m", "node_ipc", *command],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**environ, **environment},
    ) as running:
        os.close(theirs)
        work()
        written = b""
        with contextlib.suppress(OSError):  # EIO: it has ended
            while chunk := os.read(ours, 65536):
                written += chunk
        os.close(ours)
        running.wait(DEADLINE)
    return written.decode()


def test_colours_on_a_terminal_only_and_not_where_they_are_not_wanted(server: str, root: str) -> None:
    listen = ["listen", f"{root}app.two", "--count", "1"]

    def client() -> None:
        speak(f"{root}app.two", None, time.monotonic() + DEADLINE)

    assert "\x1b[33msocket 1\x1b[0m ask 1" in on_a_terminal(listen, client)
    plain = on_a_terminal(listen, client, NO_COLOR="1")
    assert "socket 1 ask 1" in plain and "\x1b" not in plain
    assert "\x1b[32ma client gets in" in on_a_terminal(["doctor", server], lambda: None)
    assert "\x1b[31ma client does NOT get in" in on_a_terminal(["doctor", f"{root}app.none"], lambda: None)


def test_what_doctor_says_is_broken_between_words_on_a_terminal_only(root: str) -> None:
    said = on_a_terminal(["doctor", f"{root}app.none"], lambda: None, NO_COLOR="1", COLUMNS="60")
    lines = said.splitlines()
    assert [line for line in lines if len(line) > 60 and " " in line.strip()] == [], "only a word is longer"
    assert "  socket: there is none: its server is not running, or" in lines and "    listens elsewhere" in said
    piped = subprocess.run(
        [sys.executable, "-m", "node_ipc", "doctor", f"{root}app.none"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
    )
    assert max(map(len, piped.stdout.splitlines())) > 100


def test_an_address_in_use_is_one_line(server: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for place in (f"tcp://127.0.0.1:{taken.getsockname()[1]}", server):
            for command in (["listen", place], ["tap", place, "--to", "other"]):
                assert main(command) == 1
                [said] = capsys.readouterr().err.splitlines()
                assert said.startswith(f"node-ipc {command[0]}: ")


# ---- did you mean


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("--verison", "did you mean --version?"),
        ("emti world message", "did you mean emit?"),
        ("servr world", "node-ipc listen serves an address"),
        ("stop world", "a server ends with Ctrl-C or SIGTERM"),
        ("PING world", "node-ipc doctor says what is there"),
        ("request world add --timout 3", "did you mean --timeout?"),
        ("request world add --timout=3", "did you mean --timeout?"),
        ("emit world message --wiat", "did you mean --wait?"),
        ("request world add --text hi", "emit has --text"),
        ("request world add --text=hi", "emit has --text"),
        ("emit world message --json", "listen, tap and top have --json"),
        ("emit world --json", "listen, tap and top have --json"),
        ("listen world --version", "that is node-ipc --version"),
        ("emit world hi --data 1", "JSON has no flag but its place: node-ipc emit ADDRESS TYPE JSON"),
        ("emit --to world hi", "ADDRESS has no flag but its place: node-ipc emit ADDRESS TYPE JSON"),
        ("request world --method=add", "METHOD has no flag but its place: node-ipc request ADDRESS METHOD JSON"),
        ("doctor --to world", "ADDRESS has no flag but its place: node-ipc doctor ADDRESS"),
        ("-v", "that is node-ipc --version"),
        ("", "node-ipc --help lists them, and node-ipc demo shows two programs that talk"),
        ("--json listen world", "--json goes behind the command: node-ipc listen … --json"),
        ("--nothing-like-it", ""),
        ("listen world --nothing-like-it", ""),
        ("nothing-like-it", ""),
    ],
)
def test_a_misspelt_flag_or_command(command: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command.split())
    usage, *_, said = capsys.readouterr().err.splitlines()
    assert said.endswith(f"; {says}") or (says in said if says else "; " not in said)
    name = next((word for word in command.split() if word in COMMANDS), None)
    assert usage.startswith(f"usage: node-ipc {name or '[-h]'}"), "the usage is that of the command"


def test_an_address_behind_what_it_is_to_get(server: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = ["-o", f"socket_root={root}"]
    for command in ("emit", "request", "record"):
        assert main([command, "message", "world", *option]) == 1
        said = capsys.readouterr().err
        assert "A server 'world' is there: the address comes first, world and then message" in said
        for other in ("nobody", "./world", "a\0b"):
            assert main([command, "message", other, *option]) == 1
            assert "the address comes first" not in capsys.readouterr().err


def test_a_misspelt_id(server: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = ["-o", f"socket_root={root}"]
    for command in (["emit", "wrold", "message"], ["request", "wrold", "add"], ["doctor", "wrold"]):
        assert main([*command, *option]) == 1
        assert f"Did you mean 'world', which lives at {root}app.world?" in "".join(capsys.readouterr())
    assert main(["emit", "something-else", "message", *option]) == 1
    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("tr_spyy", "tr_spy"),
        ("tr_a", None),  # is another one, which happens to begin alike
        ("spy", "tr_spy"),
        ("app.tr_spy", "tr_spy"),
        ("dev.tr_spy", "tr_spy"),
        ("a", None),
    ],
)
def test_only_an_id_that_is_near_is_offered(
    wrong: str, meant: str | None, node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listening = node_ipc("listen", "tr_spy", "b")
    listening.wait_for("app.b")
    assert main(["emit", wrong, "message", "-o", f"socket_root={root}"]) == 1
    said = capsys.readouterr().err
    assert f"Did you mean {meant!r}" in said if meant else "Did you mean" not in said
    listening.interrupt()
    listening.ends()


def test_a_misspelt_path(server: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkdir(f"{root}other")
    for wrong in ("app.wrold", "app.World", "app.worl", "dev.world", "world", "app-world"):
        for command in (["doctor", root + wrong], ["doctor", f"unix:{root}{wrong}"], ["request", root + wrong, "add"]):
            assert main(command) == 1
            assert f"A server listens at {root}app.world: was that meant?" in "".join(capsys.readouterr())
    for elsewhere in (f"{root}other/app.world", f"{root}none/app.world"):
        assert main(["doctor", elsewhere]) == 1
        assert f"A server of this name listens at {root}app.world: was that meant?" in capsys.readouterr().out
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{root}app.sun")
    for wrong in ("app.something-else", "app.snu"):
        assert main(["doctor", root + wrong]) == 1
        assert "was that meant" not in capsys.readouterr().out, "nobody listens there"
    os.unlink(f"{root}app.sun")
    os.rmdir(f"{root}other")


def test_an_id_that_somebody_has_is_the_one_that_was_meant(
    server: str, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever he does with who comes; here he is dead, and a neighbour lives."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{root}app.world2")
    for command in (["emit", "world2", "message"], ["doctor", "world2"]):
        assert main([*command, "-o", f"socket_root={root}"]) == 1
        assert "Did you mean" not in "".join(capsys.readouterr())
    os.unlink(f"{root}app.world2")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("doctor --socket_root /x a", "-o socket_root=/x"),
        ("doctor a --socketRoot=/x", "-o socket_root=/x"),
        ("listen --socket-root /x a", "-o socket_root=/x"),
        ("listen a --max-connections 5", "-o max_connections=5"),
        ("emit --maxConnections many a b", "-o max_connections=VALUE"),
        ("tap a --to b --silent", "-o silent=VALUE"),
    ],
)
def test_an_option_of_the_configuration_taken_for_a_flag(
    command: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command.split())
    assert capsys.readouterr().err.endswith(f"; that is an option of the configuration: {says}\n")


def test_what_to_check_of_a_path_is_the_path(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emit", f"unix:{root}app.sok", "message"]) == 1
    assert "Start it, or check the path. --wait waits until there is one\n" in capsys.readouterr().err
    assert main(["emit", "nobody", "message", "-o", f"socket_root={root}"]) == 1
    assert "check the id, appspace and socket_root of both. --wait waits" in capsys.readouterr().err
    assert main(["emit", "nobody", "message", "--wait", "--timeout", "0.1", "-o", f"socket_root={root}"]) == 1
    waited = capsys.readouterr().err
    assert "within 0.1 s: no server at" in waited and "wait=True" not in waited
    for without in (["doctor"], ["contract", "--at"]):
        assert main([*without, "nobody", "-o", f"socket_root={root}"]) == 1
        said = "".join(capsys.readouterr())
        assert "no server at" in said and "wait" not in said
