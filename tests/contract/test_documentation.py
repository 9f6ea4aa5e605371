"""``docs/contract.md``: its code runs, and its commands are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from node_ipc.contract import Contract
from node_ipc.tools.cli import main

from .project import Project

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def shop() -> str:
    """What the page writes into ``shop.py``; its other program has a name at its head."""
    return "\n".join(block for block in blocks("python") if not block.startswith("# world.py\n"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's ``shop.py``, and a document for its last command."""
    (tmp_path / "shop.py").write_text(shop())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_commands_do_what_they_say(folder: Path) -> None:
    """One after the other, as they stand: what one has written the next may read."""
    lines = [shlex.split(line, comments=True) for line in blocks("sh")[0].splitlines()]
    assert len(lines) == 5
    for program, *arguments in lines:
        assert program == "node-ipc"
        command = [sys.executable, "-m", "node_ipc", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done
        if (folder / "shop.yaml").exists():
            (folder / "shop.yaml").replace(folder / "asyncapi.yaml")
    assert (folder / "lighthouse.py").exists()


def test_its_contract_is_one(folder: Path) -> None:
    names: dict[str, object] = {"__name__": "shop"}
    exec(shop(), names)
    contract = names["contract"]
    assert isinstance(contract, Contract)
    assert [each.name for each in contract.sends] == ["confirmed", "order"]


def test_the_command_s_help_names_what_the_page_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["contract", "--help"])
    told = capsys.readouterr().out
    for option in set(re.findall(r"(?<!-)--[a-z][a-z-]*", PAGE)) - {"--strict"}:
        assert option in told


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v9", "v14"])
def test_its_typescript_compiles(project: Project, folder: Path, version: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "node_ipc", *["contract", "shop:register", "--name", "shop", "--typescript", "shop.ts"]],
        check=True,
    )
    project.write("use.ts", blocks("ts")[0])
    assert project.compile(version, "use.ts") == ""
