"""``node-ipc emit`` and ``node-ipc request`` against real servers."""

from __future__ import annotations

import asyncio
import io
import json
import shlex
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import node_ipc as library
from node_ipc.tools import emit, outside
from node_ipc.tools.cli import main
from processes import Program
from stopwatch import Stopwatch

from .conftest import Command

Run = Callable[..., tuple[int, str, str]]


class Serving:
    """A server in a thread of its own, for commands that run in this one; what it heard is in ``heard``."""

    def __init__(self, address: str, **options: Any) -> None:
        self.heard: list[Any] = []
        self.address = ""
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(
            target=lambda: library.run(self._serve(address, options), loop="asyncio"), daemon=True
        )
        self._thread.start()
        assert self._ready.wait(20)

    async def _serve(self, address: str, options: dict[str, Any]) -> None:
        async with library.serve(address, **options) as server:
            self._register(server)
            stopped = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
            self.address = str(server.address)
            self._ready.set()
            await stopped.wait()

    def _register(self, server: Any) -> None:
        server.on("ping", lambda data, socket: server.emit(socket, "pong", data))
        server.on("hang up", lambda data, socket: socket.abort())
        server.on("*", lambda type, data=None: self.heard.append((type, data)))
        if isinstance(server, library.Server):
            server.handle("add", lambda params: params["a"] + params["b"])
            server.handle("fail", self._fail)
            server.handle("slow", self._slow)

    def _fail(self) -> None:
        raise library.RemoteError(7, "no \x1b[2J tea", {"left": 0})

    async def _slow(self) -> None:
        await asyncio.sleep(60)

    def events(self, type: str) -> list[Any]:
        return [data for name, data in self.heard if name == type]

    def close(self) -> None:
        self._stop()
        self._thread.join()


@pytest.fixture
def it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that let it in and answer as soon as a busy machine lets them: the command waits no longer than that.

    Its --timeout is that for the answer which does not come.
    """
    patient: dict[str, Any] = {"timeout": 20}
    monkeypatch.setattr(emit, "connect", lambda where, **options: library.connect(where, **options | patient))
    monkeypatch.setattr(emit, "ARRIVAL_SECONDS", 20.0)


@pytest.fixture
def world(root: str) -> Any:
    serving = Serving(f"unix:{root}app.world")
    yield serving
    serving.close()


@pytest.fixture
def run(root: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; exit code, standard output, standard error."""

    def run_here(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main([*arguments, "-o", f"socket_root={root}"])
        except SystemExit as ended:  # argparse's own way to say that arguments are wrong
            code = int(str(ended.code))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_here


@pytest.mark.usefixtures("it_answers")
def test_an_event_without_and_with_a_payload(world: Serving, run: Run) -> None:
    assert run("emit", "world", "message") == (0, "", "")
    assert run("emit", "world", "message", '{"a": [1, null]}') == (0, "", "")
    assert run("emit", "world", "message", "--text", "{") == (0, "", "")
    assert run("emit", "world", "message", "--timeout", "20", "2") == (0, "", "")
    run("emit", "world", "ping", "--wait-for", "pong")  # so everything before it was heard
    assert world.events("message") == [{}, {"a": [1, None]}, "{", 2]


def test_payloads_from_a_file_and_from_standard_input(
    world: Serving, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "order.json"
    file.write_text('{"cups": 2}', "utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("[3]"))
    assert run("emit", "world", "ping", f"@{file}", "--wait-for", "pong") == (0, '{"cups": 2}\n', "")
    assert run("emit", "world", "ping", "-", "--wait-for", "pong") == (0, "[3]\n", "")


@pytest.mark.usefixtures("it_answers")
def test_the_answer_that_does_not_come(world: Serving, run: Run) -> None:
    code, out, err = run("emit", "world", "message", "--wait-for", "pong", "--timeout", "0.2")
    assert (code, out) == (1, "")
    assert "no event 'pong'" in err and "0.2 s" in err


def test_a_server_that_hangs_up_while_the_answer_is_awaited(world: Serving, run: Run) -> None:
    code, out, err = run("emit", "world", "hang up", "--wait-for", "pong")
    assert (code, out) == (1, "")
    assert err.startswith("node-ipc emit: no event 'pong' from unix:")
    assert "ended the link" in err or "broke" in err


def test_no_server(run: Run) -> None:
    code, out, err = run("emit", "world", "message")
    assert (code, out) == (1, "")
    assert err.startswith("node-ipc emit: no server at ")


def test_it_waits_for_a_server_when_told_to(node_ipc: Command, root: str) -> None:
    program = node_ipc("emit", "world", "ping", "5", "--wait", "--timeout", "25", "--wait-for", "pong")
    serving = Serving(f"unix:{root}app.world")
    try:
        assert program.ends() == ["5"]
    finally:
        serving.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["emit", "world", "message", "{"], "is not JSON"),
        (["emit", "world", "message", "{a: 1}"], """whole single ones for the shell, as '{"a": "b"}'"""),
        (["request", "world", "add", "a=1"], """Several values are one object, as '{"a": 1, "b": 2}'"""),
        (["emit", "world", "message", "hello"], """Text needs quotes of its own, as '"hello"'"""),
        (["emit", "world", "message", "@/nowhere"], "cannot read '/nowhere'"),
        (["emit", "world", "message", "1", "2"], "unrecognized arguments: 2"),
        (["emit", "world", "message", "1", "2"], "as '\"two words\"' or '[1, 2]', or give it as --text 'two words'"),
        (["request", "world", "add", "1", "2"], "as '\"two words\"' or '[1, 2]'\n"),
        (["request", "world", "add", "{a:", "1}"], "the shell took it apart: put the JSON into single quotes"),
        (["emit", "world", "add", "[1,", "2]"], "the shell took it apart: put the JSON into single quotes"),
        (["doctor", "tls://h:1", "--ca", "ca.crt"], "that is an option of TLS: -o tls.trusted_connections=ca.crt"),
        (["doctor", "tls://h:1", "--cert", "my cert.pem"], "that is an option of TLS: -o tls.public='my cert.pem'"),
        (["emit", "tls://h:1", "m", "--key", "-o", "retry=1"], "that is an option of TLS: -o tls.private=FILE"),
        (["emit", "world", "message", "--no-such"], "unrecognized arguments: --no-such"),
        (["emit", "world", "message", "1", "--text", "1"], "either JSON or --text"),
        (["emit", "world", "--raw", "a", "b"], "raw mode has no events"),
        (["emit", "world", "message", "--timeout", "0"], "not a positive number"),
        (["emit", "world", "message", "--timeout", "soon"], "not a positive number"),
        (["emit", "world", "message", "-o", "retry"], "an option is NAME=VALUE"),
        (["emit", "world", "message", "-o", "retry=-1"], "'retry'"),
        (["emit", "world", "message", "-o", "retyr=1"], "did you mean 'retry'"),
        (["emit", "world", "message", "--config", "/nowhere"], "cannot read '/nowhere'"),
        (["tap", "world"], "--to"),
        (["listen"], "ADDRESS"),
        (["dance"], "invalid choice: 'dance'"),
        ([], "COMMAND"),
    ],
)
def test_wrong_arguments_end_with_2_and_say_why(run: Run, arguments: list[str], complaint: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err


def test_wrong_addresses_say_what_is_allowed(run: Run) -> None:
    for address in ("", "ftp://x", "tcp://x", "a/b"):
        code, _, err = run("emit", address, "message")
        assert code == 2, address
        assert "node-ipc emit: " in err


def test_what_json_cannot_be_or_the_wire_does_not_allow(world: Serving, run: Run) -> None:
    code, _, err = run("emit", "world", "connect", "{}")
    assert code == 1
    assert "'connect' is reserved" in err


def test_the_configuration_of_a_file(world: Serving, run: Run, root: str, tmp_path: Path) -> None:
    file = tmp_path / "ipc.json"
    file.write_text(json.dumps({"socketRoot": root, "appspace": "wrong."}), "utf-8")
    assert run("emit", "world", "ping", "--config", str(file))[0] == 1
    assert run("emit", "world", "ping", "--config", str(file), "-o", "appspace=app.")[0] == 0
    for text in ("{", "[]"):
        file.write_text(text, "utf-8")
        assert run("emit", "world", "ping", "--config", str(file))[0] == 2


@pytest.mark.usefixtures("it_answers")
def test_raw_mode(root: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.bytes")
        server.listen()
        server.settimeout(20)
        heard: list[bytes] = []

        def answer() -> None:
            for _ in range(3):
                peer, _ = server.accept()
                with peer:
                    heard.append(peer.recv(100))
                    if len(heard) == 1:
                        peer.sendall(b"\x01\xff")
                    peer.recv(1)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert run("emit", "bytes", "--raw", "-o", "encoding=hex", "00ff", "--wait-for", "data") == (
            0,
            '{"hex": "01ff"}\n',
            "",
        )
        code, _, err = run("emit", "bytes", "--raw", "hello", "--wait-for", "data", "--timeout", "0.2")
        assert code == 1 and "no bytes from" in err
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xfe")))
        assert run("emit", "bytes", "--raw", "-") == (0, "", "")
        thread.join()
    Path(f"{root}app.bytes").unlink()
    assert heard == [b"\x00\xff", b"hello", b"\xfe"]


def test_datagrams(run: Run) -> None:
    serving = Serving("udp4://127.0.0.1:0")
    try:
        assert run("emit", serving.address, "ping", "[1]", "--wait-for", "pong") == (0, "[1]\n", "")
        assert run("emit", serving.address, "message") == (0, "", "")
        code, _, err = run("emit", serving.address, "message", "--wait-for", "pong", "--timeout", "0.2")
        assert code == 1 and "no event 'pong'" in err
    finally:
        serving.close()


def test_requests(world: Serving, run: Run) -> None:
    assert run("request", "world", "add", '{"a": 1, "b": 2}') == (0, "3\n", "")
    code, out, err = run("request", "world", "fail")
    assert (code, out) == (1, "")
    assert err == "node-ipc request: no \\x1b[2J tea (7)\n"
    code, _, err = run("request", "world", "nothing")
    assert code == 1 and "there is no method 'nothing'" in err


@pytest.mark.usefixtures("it_answers")
def test_a_request_that_is_still_at_work_is_told_as_that_alone(world: Serving, run: Run, root: str) -> None:
    code, out, err = run("request", "world", "slow", "--timeout", "0.3")
    assert (code, out) == (1, "")
    assert err == (
        "node-ipc request: no answer to 'slow' within 0.3 s. The server is there and answers, so it may still be at "
        f"work on it: raise --timeout. For more, ask the server: node-ipc doctor world -o socket_root={root}\n"
    )


@pytest.mark.usefixtures("it_answers")
def test_the_way_to_more_has_the_same_configuration_and_no_secret(world: Serving, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "its options.json"
    file.write_text("{}")
    options = ["-o", "networkHost=it's here", "-o", "bus=nats://me:hush@h"]
    _, _, err = run("request", "world", "slow", "--timeout", "0.3", "--config", str(file), *options)
    assert "ask the server: " in err and "hush" not in err, err
    command = shlex.split(err.partition("ask the server: ")[2])
    expected = ["--config", str(file), *options, "-o"]
    expected[5] = "bus=…"
    assert command[:-1] == ["node-ipc", "doctor", "world", *expected] and command[-1].startswith("socket_root=")


def test_ctrl_c_ends_the_waiting(node_ipc: Command, root: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.world")
        server.listen()
        server.settimeout(20)
        program = node_ipc("emit", "world", "message", "--wait-for", "pong", "--timeout", "25")
        peer, _ = server.accept()
        with peer:
            assert peer.recv(100)  # so it waits for the answer now
            program.interrupt()
            program.ends(130)
    Path(f"{root}app.world").unlink()


def test_help_has_examples(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("demo", "listen", "emit", "request", "tap", "doctor"):
        assert f"  node-ipc {command}" in out
        code, of_command, _ = run(command, "--help")
        assert code == 0
        assert "examples:" in of_command
    assert run("--version")[1].startswith("node-ipc for Python 0.")


def test_python_m_is_the_same_command() -> None:
    program = Program.python("-m", "node_ipc", "--version")
    assert program.ends() == [f"node-ipc for Python {library.__version__}"]
    program.close()


# ---- why nothing came of it


@pytest.mark.parametrize("delimiter", ["|", ";;"])
def test_a_server_that_does_not_understand(
    node_ipc: Command,
    root: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    looked_at_asleep: Callable[[int], None],
    delimiter: str,
) -> None:
    """It is seen from outside: the server hears of nothing but the one conversation."""
    server = node_ipc("listen", "world", "-o", f"delimiter={delimiter}")
    server.wait_for("listening at")
    looked_at_asleep(server.process.pid)
    for command in (["emit", "world", "message"], ["request", "world", "add", "--timeout", "0.3"]):
        assert main([*command, "-o", f"socket_root={root}"]) == 1
        said = capsys.readouterr().err
        assert "t has another delimiter or parser than this client, or is in raw mode" in said
        assert "For more, ask the server: node-ipc doctor world" in said
    monkeypatch.setattr(emit, "ARRIVAL_SECONDS", 20.0)  # this it does understand, and says so
    assert main(["emit", "world", "message", "-o", f"socket_root={root}", "-o", f"delimiter={delimiter}"]) == 0
    server.wait_for("message")
    server.interrupt()
    server.ends()
    assert server.printed.count(" connected") == 3


@pytest.mark.usefixtures("it_answers")
@pytest.mark.parametrize("over", ["unix", "tcp"])
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            ["emit", "mesage", '"x"', "--wait-for", "message"],
            "it sent no such event in that time. Does something handle 'mesage' there and emit 'message'?",
        ),
        (["emit", "ping", '"x"', "--wait-for", "pnog"], "Does something handle 'ping' there and emit 'pnog'?"),
        (["request", "slow"], "it may still be at work on it: raise --timeout"),
    ],
)
def test_a_server_that_answers_otherwise_is_not_said_to_be_deaf(
    capsys: pytest.CaptureFixture[str], root: str, over: str, command: list[str], says: str
) -> None:
    server = Serving(f"unix:{root}app.world" if over == "unix" else "tcp://127.0.0.1:0")
    try:
        name, *rest = command
        assert main([name, server.address, *rest, "--timeout", "0.3"]) == 1
    finally:
        server.close()
    said = " ".join(capsys.readouterr().err.split())
    assert "within 0.3 s" in said and ". The server is there and answers" in said and says in said
    assert "delimiter" not in said and "busy" not in said
    assert f"For more, ask the server: node-ipc doctor {server.address}" in said


@pytest.mark.usefixtures("it_answers")
def test_a_node_server_is_not_said_to_answer_or_to_be_deaf(
    world: Serving, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "_program", lambda pid: "node")
    for command in (["emit", "world", "mesage", "--wait-for", "pong"], ["request", "world", "slow"]):
        code, _, said = run(*command, "--timeout", "0.2")
        assert code == 1 and "It runs Node, which answers what its program handles" in said
        assert "delimiter" not in said and "busy" not in said


def test_a_server_that_is_busy_is_not_said_to_be_deaf(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = (
        f"import time\nfrom node_ipc import blocking\nserver = blocking.serve('world', socket_root={root!r})\n"
        "server.handle('slow', lambda: time.sleep(60))\nprint('ready', flush=True)\nserver.serve_forever()"
    )
    with closing(Program.python("-c", program)) as server:
        server.wait_for("ready")
        assert main(["request", "world", "slow", "--timeout", "0.5", "-o", f"socket_root={root}"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "It is busy or blocked (a handler that takes long?)" in said and "delimiter" not in said


def test_what_follows_a_time_out_is_short_and_over_the_same_link(run: Run, root: str) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.world")
        server.listen()
        server.settimeout(20)

        def accept() -> None:
            with server.accept()[0] as peer:
                heard.extend(iter(lambda: peer.recv(10000), b""))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        watch = Stopwatch()
        code, _, error = run("request", "world", "add", "--timeout", "0.5")
        lasted = watch.seconds
        thread.join()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert code == 1 and "node-ipc doctor world" in error
    asked, _, later = b"".join(heard).partition(b"ping")
    assert b'"method":"add"' in asked and later  # only when the time is over
    assert lasted < 1.5


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["request", "world", "add"], "no answer to 'add' within 0.5 s"),
        (["emit", "world", "ping", "--wait-for", "pong"], "no event 'pong'"),
        (["emit", "world", "message"], "the event may not have arrived"),
        (["contract", "--at", "world"], "no answer to 'rpc.describe'"),
    ],
    ids=["request", "emit and wait", "emit", "contract"],
)
def test_a_server_that_hangs_is_waited_for_as_long_as_was_said(
    command: list[str], said: str, run: Run, root: str
) -> None:
    """Neither reads nor ends: an orderly end of the link would take close_timeout."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.world")
        server.listen()
        watch = Stopwatch()
        code, _, error = run(*command, "--timeout", "0.5")
        lasted = watch.seconds
    assert code == 1 and said in error
    assert lasted < 3


def test_a_server_that_may_be_full_is_named(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world", "-o", "max_connections=1")
    server.wait_for("listening at")
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(f"{root}app.world")
        server.wait_for("connected")
        for command in (["emit", "world", "message"], ["request", "world", "add"]):
            assert main([*command, "-o", f"socket_root={root}"]) == 1
            assert "1 connection is open there: the server may be full" in capsys.readouterr().err
    server.interrupt()
    server.ends()


def test_a_server_that_is_busy_has_the_event(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is with the kernel, and that is what emit waits for."""
    enough = Path(root, "enough")
    program = "import os, time\nfrom node_ipc import blocking\n"
    program += f"def busy(socket):\n    while not os.path.exists({str(enough)!r}): time.sleep(0.01)\n"
    program += f"server = blocking.serve('world', socket_root={root!r})\nprint('ready', flush=True)\n"
    program += (
        "server.on('connect', busy)\nserver.on('m', lambda data: print(data, flush=True))\nserver.serve_forever()"
    )
    with closing(Program.python("-c", program)) as server:
        server.wait_for("ready")
        assert main(["emit", "world", "m", '"after all"', "-o", f"socket_root={root}"]) == 0
        assert "has not said yet that it read it: it is busy or blocked" in capsys.readouterr().err
        enough.touch()
        server.wait_for("after all")


def test_several_lines_get_a_hint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}\n{"a": 2}\n'))
    assert main(["emit", "world", "order", "-"]) == 2
    said = capsys.readouterr().err
    assert "standard input holds 2 lines of JSON, and one event has one payload" in said and "jq -s" in said


@pytest.mark.parametrize(
    "command",
    [
        ["emit", "tcp://nowhere", "m"],
        ["request", "http://localhost:80", "m"],
        ["listen", "tcp://localhost:port"],
        ["tap", "tcp://", "--to", "world"],
        ["tap", "world", "--to", "tcp://localhost:99999"],
        ["doctor", "tcp://localhost:99999"],
        ["record", "tcp://nowhere", "file"],
    ],
    ids=" ".join,
)
def test_an_address_that_cannot_be_read_is_a_wrong_argument(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert capsys.readouterr().err.startswith(f"node-ipc {command[0]}: ")


@pytest.mark.parametrize("count", ["0", "-1", "many", ""])
def test_listen_refuses_a_count_that_never_comes(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["listen", "world", f"--count={count}"])
    assert ended.value.code == 2
    assert "is not a number from 1 on" in capsys.readouterr().err
