"""The README says what is so: its programs run, its names exist, its tables are complete."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interop.conftest import in_ci
from interop.install import VERSIONS, NodeMissing, install_all
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


def code(name: str, text: str = README) -> str:
    """The program of this name."""
    found: str = re.findall(rf"```python\n(# {name}\n.*?)```", text, re.S)[0]
    return found


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Starts a program of the README, or of a page, as it stands there."""
    running = []
    with tempfile.TemporaryDirectory(prefix="ipc-") as root:

        def run(name: str, text: str = README) -> Program:
            (tmp_path / name).write_text(code(name, text), "utf-8")
            running.append(Program.python(RUNNER, f"{root}/", "0", str(tmp_path / name)))
            return running[-1]

        yield run
        for program in running:
            program.close()


def stop(*programs: Program) -> None:
    for program in programs:
        program.interrupt()
        program.ends()


def test_the_first_programs_run_the_client_started_first(start: Callable[[str], Program]) -> None:
    client, server = start("client.py"), start("server.py")
    client.wait_for("hello world!")
    stop(client, server)


@pytest.mark.parametrize("server", ["server.py", "asyncio_server.py"])
@pytest.mark.parametrize("client", ["client.py", "asyncio_client.py", "blocking_client.py"])
def test_all_programs_fit_together(start: Callable[[str], Program], server: str, client: str) -> None:
    serving = start("client.py")  # shows when the server is there: the others do not wait for one
    other = start(server)
    serving.wait_for("hello world!")
    asking = start(client)
    asking.wait_for("hello world!")
    if client != "client.py":
        answer = "3" if server == "asyncio_server.py" else "there is no method 'add'"
        asking.wait_for(answer)
    assert other.process.poll() is None, other.printed


def test_the_workers_answer_the_first_client(start: Callable[..., Program]) -> None:
    page = (ROOT / "docs" / "howto" / "workers.md").read_text("utf-8")
    workers, client = start("workers.py", page), start("client.py")
    client.wait_for("hello world!")
    stop(workers, client)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["v9", "v14"])
def test_the_node_client_talks_with_the_python_server(tmp_path: Path, version: str) -> None:
    try:
        peer = install_all()[version]
    except NodeMissing as error:
        (pytest.fail if in_ci() else pytest.skip)(f"real node-ipc is not here: {error}")
    python, script = code("server.py"), re.findall(r"```js\n// client.mjs\n(.*?)```", README, re.S)[0]
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
            stop(server)
            server.close()


def test_the_version_for_node_is_one_that_is_tested() -> None:
    [named] = re.findall(r"npm install --ignore-scripts node-ipc@([\d.]+)", README)
    assert named in VERSIONS.values()


def test_it_is_a_first_page() -> None:
    assert len(README.splitlines()) < 200


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
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    (\w+) +\S", capsys.readouterr().out.split("options:")[0], re.M))
    assert {line.split()[0] for line in lines} <= known and len(lines) >= 7 and len(known) >= 9
    for line in lines:
        with pytest.raises(SystemExit) as ended:
            main([line.split()[0], "--help"])
        assert ended.value.code == 0
        assert f"node-ipc {line.split()[0]}" in capsys.readouterr().out


def test_every_example_is_in_the_list() -> None:
    listed = names((ROOT / "examples" / "README.md").read_text("utf-8"))
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/*.py")}
    assert folders - listed == set()
