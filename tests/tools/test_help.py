"""``node-ipc help``: every topic, command, option, error and public name, and what is said where there is none."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

import node_ipc
from node_ipc import errors
from node_ipc.tools import help as helping
from node_ipc.tools.cli import main

SOURCE = Path(node_ipc.__file__).parent
PUBLIC = node_ipc.__all__  # type: ignore[attr-defined]  # only at run time


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["help", *arguments]) == 0
    return capsys.readouterr().out


def test_without_a_topic_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys)
    files = {path.stem for path in (SOURCE / "tools" / "topics").iterdir()}
    assert files and {*re.findall(r"^  (\w+) ", out, re.M)} == files | {"options", "errors", "commands"}


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("topic", [*helping.topics(), "options", "errors", "commands", ""])
def test_a_topic_fits_the_terminal(
    topic: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = said(capsys, *topic.split()).splitlines()
    assert len(lines) > 5
    wide = [line for line in lines if len(line) > columns]
    assert all(line.startswith("  ") and len(line) <= 80 for line in wide), wide  # code stays as it is


@pytest.mark.parametrize("name", [name for name, _, _ in helping.options()])
def test_an_option_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, name)
    assert f"The option {name}." in out and "\nRead by: " in out and "\nTakes: " in out


@pytest.mark.parametrize("kind", helping.kinds_of_errors())
def test_an_error_is_explained_by_its_class_and_by_its_code(
    kind: type[errors.IPCError], capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, kind.__name__)
    assert f"The error {kind.__name__}, " in out and "\nWhat to do: " in out
    if kind is not errors.RemoteError:  # whose code is the other side's
        assert said(capsys, kind.code) == out


@pytest.mark.parametrize("code", {*re.findall(r'"(ERR_IPC_[A-Z_]+)"', "".join(
    path.read_text("utf-8") for folder in ("config", "net") for path in (SOURCE / folder).glob("*.py")
))})  # fmt: skip
def test_codes_that_are_set_elsewhere_are_known_too(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code in said(capsys, code)


@pytest.mark.parametrize("name", sorted({*PUBLIC} - {*errors.__all__}))
def test_a_public_name_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(said(capsys, name).splitlines()) > 2


@pytest.mark.parametrize("command", ["demo", "emit", "doctor", "help"])
def test_a_command_shows_its_own_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, command)
    assert f"usage: node-ipc {command}" in out and "examples:" in out


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("numpy", "numpy.ndarray gets the array"),
        ("array", "numpy.ndarray gets the array"),
        ("arrays", "numpy.ndarray gets the array"),
        ("latest", "latest=True reads on until the newest is here"),
        ("keep", "stats().replaced counts"),
        ("daemon", "under systemd"),
        ("signal", "ctrl-c and sigterm end node_ipc.run in order"),
        ("shutdown", "ctrl-c and sigterm end node_ipc.run in order"),
        ("Ctrl-C", "ctrl-c and sigterm end node_ipc.run in order"),
        ("reconnect", "handlers run each time"),
        ("rooms", "the next link is a new socket, in no room"),
        ("asyncio", "async with node_ipc.connect("),
        ("blocking", "with blocking.connect("),
        ("timeout", "options are milliseconds"),
        ("fixtures", "def test_an_answer_that_takes_an_hour(ipc_pair)"),
        ("workers.run", "workers.run(setup, "),
        ("handle", "server.handle(method, handler, *, type=none) answer the other side's requests"),
        ("broadcast", "server.broadcast(type, data={}, *, exclude=(), local=false, keep=none) send one event"),
        ("receive", "await client.receive(event, *, type=none, timeout=none, latest=false) the payload"),
        ("receive", "blocking client.receive(event, *, type=none"),
        ("to", "server.to(*rooms, local=false) the sockets in these rooms"),
        ("join", "socket.join(*rooms) be in these rooms"),
        ("connectTo", "ipc.connect_to(id=none"),
        ("emit", "socket.emit(type, data={}, keep=none)"),
    ],
)
def test_what_people_type_leads_to_what_they_want(typed: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer.lower() in " ".join(said(capsys, typed).split()).lower()


def test_every_word_that_is_looked_for_leads_to_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    for page, words in helping.WORDS.items():
        for word in words:
            assert helping.topics()[page] in said(capsys, word), word
            assert word not in helping.topics()


def test_verbs_are_those_for_users(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in helping.verbs():
        assert re.match(r"(.*\n)*  (await )?[a-z ]+\.\w+\(.*\n", said(capsys, verb)), verb
    assert {"receive", "handle", "stop", "poll", "serve_net", "request_all"} <= helping.verbs().keys()
    assert not {"session_lost", "begin_stop", "close_timeout"} & helping.verbs().keys()


@pytest.mark.parametrize("name", ["ipc_pair", "ipc_server"])
def test_a_fixture_is_explained_where_testing_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", name]) == 0
    assert "ipc_server.connect() does" in " ".join(capsys.readouterr().out.split())


def test_what_has_two_meanings_is_explained_twice(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "tls")
    assert "Certificates: how to make them" in out and "The option tls." in out


@pytest.mark.parametrize(("typed", "meant"), [("maxRetries", "max_retries"), ("Delivery", "delivery")])
def test_other_spellings_will_do(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, typed) == said(capsys, meant)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("optoins", "options"), ("max_retrys", "max_retries"), ("NotConected", "NotConnected"), ("delivry", "delivery")],
)
def test_an_unknown_topic_names_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", typed]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert re.match(rf"node-ipc help: there is no topic '{typed}': did you mean .*\b{meant}\b", err)


@pytest.mark.parametrize(
    ("typed", "pages"), [("TimeoutStopSec", "daemon speaks"), ("jpeg", ""), ("emptying", ""), ("xy", "")]
)
def test_an_unknown_word_names_the_pages_that_speak_of_it(
    typed: str, pages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", typed]) == 2
    err = capsys.readouterr().err
    assert (f", and {pages} of it" in err) if pages else ("of it" not in err)


@pytest.mark.parametrize("word", ["docker", "kubernetes", "systemd"])
def test_how_a_service_is_run_is_on_the_page_about_daemons(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert word in said(capsys, word).lower()


@pytest.mark.parametrize("typed", ["xyzzy", "", "\x1b[2J", "x" * 10_000])
def test_what_is_like_nothing_is_told_in_one_line(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", typed]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.rstrip("\n").isprintable()


def test_what_topics_name_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for topic in helping.topics():
        text = (SOURCE / "tools" / "topics" / f"{topic}.txt").read_text("utf-8")
        for name in re.findall(r"node-ipc help ([\w.]+)", text):
            assert name in ("NAME", "tls.NAME") or said(capsys, name.rstrip("."))
        for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text):
            assert word in KNOWN, f"{topic}: {word}"


KNOWN = {word for path in SOURCE.rglob("*.py") for word in re.findall(r"\w+", path.read_text("utf-8"))} | {
    "ec_paramgen_curve",
    "test_an_answer_that_takes_an_hour",
}


def test_the_defaults_that_topics_name_are_so() -> None:
    config = node_ipc.Config()
    text = (SOURCE / "tools" / "topics" / "limits.txt").read_text("utf-8")
    rows = re.findall(r"^ +(\w+) {2,}([\d,]+)( MiB| s)? {2,}", text, re.M)
    assert len(rows) >= 12
    for name, number, unit in rows:
        factor = {"": 1, " MiB": 1024 * 1024, " s": 1000}[unit]
        assert getattr(config, name) == int(number.replace(",", "")) * factor, name


def test_messages_name_no_file_that_an_installed_package_lacks() -> None:
    """Where more is to be read is a topic of ``node-ipc help``, which every installation has."""
    for path in SOURCE.rglob("*.py"):
        text = re.sub(r"#.*", "", path.read_text("utf-8"))
        assert not re.findall(r"docs/\w+|\bREADME\b|CONTRIBUTING|SECURITY\.md", text), path
        for name in re.findall(r"node-ipc help ([\w.]+)", text):
            if path.name != "help.py":
                assert name.rstrip(".") in {"NAME", "OPTION", *helping.topics(), *(n for n, _, _ in helping.options())}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_the_commands_for_certificates_make_some(tmp_path: Path) -> None:
    text = (SOURCE / "tools" / "topics" / "tls.txt").read_text("utf-8")
    commands = "\n".join(line[2:] for line in re.findall(r"^  (?!pair|trust|node_ipc).*", text, re.M))
    done = subprocess.run(["sh", "-e"], input=commands, text=True, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", "localhost", "server.crt"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    assert verified.returncode == 0, verified.stderr


def test_a_node_program_as_help_shows_it_outlives_a_method_it_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    answering, _, _ = said(capsys, "node").partition("\nIt asks with")  # the rest is played in tests/interop
    snippet = "".join(line for line in answering.splitlines(keepends=True) if line.startswith("  "))
    node = shutil.which("node")
    assert "-32601" in snippet
    if node is None:
        pytest.skip("no node here to run it")
    stage = """
      const methods = new Map([['double', (n) => 2 * n]]);
      const server = {on: (name, handler) => { server.hear = handler; }, emit: (...what) => console.log(what[2])};
      const ipc = {server};
    """
    asked = "server.hear({id: 1, method: 'rpc.ping'}); server.hear({id: 2, method: 'double', params: 4});"
    ran = subprocess.run([node, "-e", stage + snippet + asked], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "there is no rpc.ping" in ran.stdout and "id: 2, result: 8" in ran.stdout
