"""The README says what is so: its programs run, its names exist, its tables are complete."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import node_ipc
from interop.conftest import in_ci
from interop.install import NodeMissing, install_all
from node_ipc import IPC, Client, Config, Server, Socket
from node_ipc.tools.cli import main
from processes import Program

ROOT = Path(__file__).parent.parent
RUNNER = str(ROOT / "tests" / "run_example.py")
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "docs", ROOT / "examples")
    for path in folder.glob("*.md")
]

NODE_IPC_CODES = {
    *("ERR_IPC_ASSURED_TLS", "ERR_IPC_ASSURED_TRANSPORT", "ERR_IPC_BACKPRESSURE", "ERR_IPC_EVENT_NOT_ALLOWED"),
    *("ERR_IPC_EVENT_TOO_LARGE", "ERR_IPC_FRAME_TOO_LARGE", "ERR_IPC_INVALID_EVENT", "ERR_IPC_INVALID_JSON"),
    *("ERR_IPC_INVALID_MESSAGE", "ERR_IPC_MESSAGE_TIMEOUT", "ERR_IPC_PROTOCOL", "ERR_IPC_RESERVED_EVENT"),
    *("ERR_IPC_SOCKET_ROOT", "ERR_IPC_TLS_CONFIGURATION", "ERR_IPC_UNLINK_NOT_SOCKET"),
}
"""What node-ipc 14.0.0 says, collected from its sources."""


def section(heading: str) -> str:
    """The text under a heading, up to the next of the same level or a higher one."""
    level = heading.partition(" ")[0]
    after = README.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{2,{len(level)}}} ", after, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:]]


def code(name: str) -> str:
    """The program of this name."""
    found: str = re.findall(rf"```python\n(# {name}\n.*?)```", README, re.S)[0]
    return found


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


@pytest.fixture
def programs() -> Iterator[dict[str, Program]]:
    """The README's programs, written to files and running, the client started first."""
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        running = {}
        for name in ("client.py", "server.py"):
            (Path(folder) / name).write_text(code(name), "utf-8")
            running[name] = Program.python(RUNNER, f"{folder}/", "0", f"{folder}/{name}")
        yield running
        for program in running.values():
            program.close()


def test_the_first_programs_run(programs: dict[str, Program]) -> None:
    programs["client.py"].wait_for("hello world!")
    for program in programs.values():
        program.interrupt()
        program.ends()


def test_the_workers_answer_the_first_client(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ipc-") as root:
        running = []
        for name in ("workers.py", "client.py"):
            (tmp_path / name).write_text(code(name), "utf-8")
            running.append(Program.python(RUNNER, f"{root}/", "0", str(tmp_path / name)))
        try:
            running[1].wait_for("hello world!")
            for program in running:
                program.interrupt()
                program.ends()
        finally:
            for program in running:
                program.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["v9", "v14"])
def test_the_node_client_talks_with_the_python_server(tmp_path: Path, version: str) -> None:
    try:
        peer = install_all()[version]
    except NodeMissing as error:
        (pytest.fail if in_ci() else pytest.skip)(f"real node-ipc is not here: {error}")
    python, script = code("server.py"), re.findall(r"```js\n(.*?)```", README, re.S)[0]
    (tmp_path / "server.py").write_text(python, "utf-8")
    (tmp_path / "node_modules").symlink_to(peer.folder / "node_modules")
    with tempfile.TemporaryDirectory(prefix="ipc-") as root:
        assert "socketRoot = '/tmp/'" in script
        (tmp_path / "client.mjs").write_text(script.replace("'/tmp/'", f"'{root}/'"), "utf-8")
        server = Program.python(RUNNER, f"{root}/", "0", str(tmp_path / "server.py"))
        client = Program(peer.node, str(tmp_path / "client.mjs"))
        try:
            client.wait_for("hello world!")
        finally:
            client.close()
            server.interrupt()
            server.ends()
            server.close()


def test_the_first_programs_have_five_lines() -> None:
    for name in ("server.py", "client.py"):
        assert len([line for line in code(name).splitlines() if line and not line.startswith("#")]) == 5


def test_every_option_is_in_the_table_with_its_default() -> None:
    table = rows(section("### Configuration"))
    config = Config()
    for theirs, ours, default in table:
        name = names(ours).pop()
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), name)
        assert names(theirs) == {camel}
        shown = re.match(r"`(.*?)`", default)
        if shown and name != "logger":
            assert repr(getattr(config, name)).replace("\\x0c", "\\f").replace("'", '"') == shown[1], name
    in_table = {names(row[1]).pop() for row in table}
    listed = set()
    for paragraph in re.findall(r"Python only, .*?\.\n", section("### Configuration"), re.S):
        listed |= names(paragraph)
    assert in_table | listed == set(vars(config))
    assert not in_table & listed


def test_every_event_is_one() -> None:
    from node_ipc.wire.names import LIFECYCLE

    told = {row[0].strip("`") for row in rows(section("### Events"))}
    assert told == LIFECYCLE | {"your own", "*"}


def test_the_error_codes_of_the_table_are_those_of_the_classes() -> None:
    for code, name in rows(section("### Errors")):
        cls = getattr(node_ipc, name.split("`")[1])
        assert cls is node_ipc.ConfigError or cls.code in names(code), name
    assert {codes for row in rows(section("### Errors")) for codes in names(row[0])} == NODE_IPC_CODES


def test_the_names_of_the_table_exist() -> None:
    table = section("## From node-ipc to Python").partition("###")[0]
    python = " ".join(row[1] for row in rows(table))
    for name in re.findall(r"`ipc\.(?!of|server)(\w+)", python):
        assert hasattr(IPC(), name), name
    for name in re.findall(r"`ipc\.server\.(\w+)", python):
        assert hasattr(Server, name), name
    for name in re.findall(r"`ipc\.of\.world\.(\w+)", python):
        assert hasattr(Client, name), name
    assert hasattr(Socket, "emit")
    for name in ("IPC", "Config", "style", "buffer", "to_bytes", "runtime_socket_root"):
        assert name in README and hasattr(node_ipc, name)


def test_the_tests_that_are_named_exist() -> None:
    folder = "."
    for path in re.findall(r"`((?:tests/\w+/)?\w+\.py)`", section("## Which node-ipc")):
        folder = str(Path(path).parent) if "/" in path else folder
        assert (ROOT / folder / Path(path).name).is_file(), path


def test_every_transport_has_a_row_for_each_role() -> None:
    table = rows(section("## Which node-ipc"))
    assert len(table) == 10
    for row in table:
        assert all(cell in ("yes", "not tested") for cell in row[2:5]), row


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_sessions_and_stages_that_are_named_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.M))
    assert sessions == {*re.findall(r"nox -s (\w+)", text)} and len(sessions) >= 8
    [stages] = re.findall(r"^STAGES=\((.*)\)", (ROOT / ".ci" / "run").read_text("utf-8"), re.M)
    for line in re.findall(r"`\.ci/run ([a-z ]+)`", text):
        assert set(line.split()) <= set(stages.split())


def test_the_commands_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"^node-ipc (.*?)(?:  .*)?$", section("## The command line"), re.M)
    assert len(lines) == 7
    for line in lines:
        with pytest.raises(SystemExit) as ended:
            main([line.split()[0], "--help"])
        assert ended.value.code == 0
        assert f"node-ipc {line.split()[0]}" in capsys.readouterr().out


def test_every_example_is_in_the_list() -> None:
    listed = names((ROOT / "examples" / "README.md").read_text("utf-8"))
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/*.py")}
    assert folders - listed == set()
