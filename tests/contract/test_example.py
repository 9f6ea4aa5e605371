"""``examples/contract``: its committed files are up to date, it runs, and a change of a Struct is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.install import TESTS, Peer
from processes import Program

from .project import Project

EXAMPLE = TESTS.parent / "examples" / "contract"
FILES = ("--typescript", "shop.ts", "--asyncapi", "shop.asyncapi.json", "--html", "shop.html")


def contract(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``node-ipc contract`` as ``check.sh`` has it."""
    command = [sys.executable, "-m", "node_ipc", "contract", "shop:register", "--name", "shop", *FILES, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture
def example(project: Project) -> Project:
    """The example, copied."""
    shutil.copytree(EXAMPLE, project.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "built"))
    return project


def test_its_files_are_what_the_code_says() -> None:
    done = contract(EXAMPLE, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_sh_runs_this_command() -> None:
    script = (EXAMPLE / "check.sh").read_text().replace("\\\n", "")
    assert " ".join(f"node-ipc contract shop:register --name shop {' '.join(FILES)} --check".split()) in " ".join(
        script.split()
    )
    assert os.access(EXAMPLE / "check.sh", os.X_OK)


@pytest.mark.slow
def test_a_change_of_a_struct_fails_the_check_and_then_tsc(example: Project) -> None:
    assert example.compile("v9", "client.ts") == ""
    code = (example.folder / "shop.py").read_text()
    example.write("shop.py", code.replace("    lines: Annotated[", "    items: Annotated[").replace(".lines", ".items"))
    checked = contract(example.folder, "--check")
    assert checked.returncode == 1
    assert "-  lines: Line[];\n" in checked.stdout
    assert "+  items: Line[];\n" in checked.stdout
    assert example.compile("v9", "client.ts") == ""  # the files are still the old ones
    assert contract(example.folder).returncode == 0
    assert contract(example.folder, "--check").returncode == 0
    assert "client.ts(13," in example.compile("v9", "client.ts")


@pytest.fixture
def served(root: str) -> Iterator[str]:
    program = Program.python(str(TESTS / "run_example.py"), root, "0", str(EXAMPLE / "shop.py"))
    program.wait_for("shop is ready")
    yield root
    program.close()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v9", "v14"])
def test_a_customer_orders(example: Project, peers: dict[str, Peer], served: str, version: str) -> None:
    assert example.compile(version, "client.ts", noEmit=False) == ""
    os.symlink(peers[version].folder / "node_modules", example.folder / "node_modules")
    command = [peers[version].node, str(example.folder / "client.js")]
    environment = {**os.environ, "SOCKET_ROOT": served}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "tea costs 4.5",
        "gold costs null",
        "refused: -32602",
        "order 1 costs 18.00",
    ], done.stderr
