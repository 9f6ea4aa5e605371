"""What the pages say is there: files, names of the code, and links between pages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import node_ipc

ROOT = Path(__file__).parent.parent
SOURCE = Path(node_ipc.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CODE = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py")}


def definitions() -> set[str]:
    """Every name of a class, function or method, and of what is assigned in a class or module."""
    names: set[str] = set()
    for path in CODE.values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text.replace("```", ""))


def test_every_file_that_the_page_on_architecture_names_is_there() -> None:
    named = {word for word in re.findall(r"[\w/]+\.py\b", ARCHITECTURE)}
    assert len(named) > 25
    missing = {
        word
        for word in named
        if word not in CODE and not (ROOT / word).exists() and not any(path.endswith(f"/{word}") for path in CODE)
    }
    assert missing == set()


def test_every_name_that_the_page_on_architecture_names_is_in_the_code() -> None:
    known = definitions() | {"from", "order", "data"}
    words = [word for word in quoted(ARCHITECTURE) if not word.endswith(".py")]
    names = [word for word in words if re.fullmatch(r"[A-Za-z_]+(\.[a-z_]+)?", word)]
    names += re.findall(r"^ \S+\s+([A-Z]\w+\.\w+)", ARCHITECTURE, re.M)
    assert len(names) > 30
    parts = {part for name in names for part in name.split(".")} - {"src", "node_ipc", "testing", "error"}
    assert parts - known == set()


def test_the_page_on_architecture_is_read_in_one_go() -> None:
    assert len(ARCHITECTURE.splitlines()) <= 150


def test_the_table_of_rings_is_the_one_that_is_tested() -> None:
    from test_architecture import RINGS

    folders = {name for ring in RINGS for name in ring if (SOURCE / name).is_dir()}
    assert folders == set(re.findall(r"^\| .*?`(\w+)/`", ARCHITECTURE, re.M)) | {"contract", "telemetry"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
