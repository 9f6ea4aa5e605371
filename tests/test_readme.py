"""The README says what is so: its programs run, its names exist, its tables are complete."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.conftest import in_ci
from interop.install import NodeMissing, install_all
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
