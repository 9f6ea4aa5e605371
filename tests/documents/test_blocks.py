"""Blocks of code that are no Python and no lesson: each is read by what reads it in real life, as far as that is here.

Python blocks are type-checked by ``check_types.py``, the tutorials are played by ``test_lessons.py``.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from interop.conftest import in_ci
from node_ipc.tools.cli import main

from .pages import PAGES, ROOT, Block, blocks

BLOCKS = [block for path in PAGES for block in blocks(path.relative_to(ROOT).as_posix())]
READ_HERE = {"sh", "js", "json", "toml", "yaml", "ini", "dockerfile"}
READ_ELSEWHERE = {"python", "pycon", "console", "ts", "text", ""}
"""Python: see above. Sessions: the docstrings', run where those are tested. TypeScript: the contract's tests. The rest
is for people."""


def of(*languages: str) -> pytest.MarkDecorator:
    found = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.place)


def test_every_language_is_read_by_something() -> None:
    assert {block.language for block in BLOCKS} <= READ_HERE | READ_ELSEWHERE


@of("sh")
def test_command_lines_are_understood(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"^(?:\$ )?node-ipc ([^\n]*)", block.text.replace("\\\n", " "), re.M):
        words = shlex.split(line.split(" | ")[0], comments=True)
        understood(words, capsys)


def understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command exists, and each option is one of its help's."""
    with pytest.raises(SystemExit) as ended:
        main([words[0], "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    for word in words[1:]:
        option = word.split("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", option):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", told), f"{words[0]} has no {option}"


@of("js")
def test_javascript_is_javascript(block: Block, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        (pytest.fail if in_ci() else pytest.skip)("Node is not here")
    program = tmp_path / (block.file or "block.mjs")
    program.write_text(block.text, "utf-8")
    done = subprocess.run([node, "--check", str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@of("json", "toml", "yaml", "ini", "dockerfile")
def test_configurations_can_be_read(block: Block) -> None:
    if block.language == "json":
        for text in [block.text] if block.text.count("\n}") else block.text.splitlines():  # an object, or one a line
            json.loads(text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "yaml":
        assert all(isinstance(one, dict) for one in yaml.safe_load_all(block.text))
    elif block.language == "ini":
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(block.text)
        assert parser.sections()
    else:
        instructions = re.findall(r"^([A-Z]+) ", block.text.replace("\\\n", " "), re.M)
        assert instructions[0] == "FROM" and set(instructions) <= {
            "FROM",
            "RUN",
            "COPY",
            "USER",
            "WORKDIR",
            "ENV",
            "CMD",
        }
