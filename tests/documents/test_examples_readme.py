"""``examples/README.md`` names what is there, and no two examples meet by accident."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .pages import ROOT, read, section

EXAMPLES = ROOT / "examples"
README = "examples/README.md"
FOLDERS = {path.parent.name for path in EXAMPLES.glob("*/*.py")}


def test_the_first_five_and_the_others_exist() -> None:
    five = re.findall(r"^\| [^|]+ \| `(\w+)`", section(README, "## The five that most people want first"), re.M)
    assert len(five) == 5
    chosen = set(re.findall(r"`(\w+)`", section(README, "## Which to read for what")))
    assert {*five} | chosen <= FOLDERS
    assert len(FOLDERS - {*five} - chosen) <= 9, "most examples are somebody's answer"


def addresses(program: Path) -> set[str]:
    """Where a program listens or connects: its ``appspace`` or port, and the names it serves or connects to."""
    found = set()
    for node in ast.walk(ast.parse(program.read_text("utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            name = node.targets[0].attr
            if name in ("appspace", "network_port") and isinstance(node.value, ast.Constant):
                found.add(f"{name} {node.value.value!r}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called, options = node.func.attr, {one.arg: one.value for one in node.keywords}
            space = options.get("appspace")
            if isinstance(space, ast.Constant):
                found.add(f"appspace {space.value!r}")
            elif called in ("serve", "connect") and node.args and isinstance(node.args[0], ast.Constant):
                found.add(f"id {node.args[0].value!r}")
    return found


def test_every_example_has_an_address_of_its_own() -> None:
    taken: dict[str, str] = {}
    for folder in sorted(FOLDERS):
        for program in (EXAMPLES / folder).glob("*.py"):
            text = program.read_text("utf-8")
            if '"world"' in text:
                assert re.search(r"appspace ?=|network_port ?=", text), f"{program} is where every other world is"
            for address in addresses(program):
                assert taken.setdefault(address, folder) == folder, (
                    f"{folder} and {taken[address]} are both at {address}"
                )


def test_the_readme_says_where_they_are() -> None:
    assert "`/tmp/unix_basic.world`" in read(README) and "from 8001 on" in read(README)
    assert 'appspace = "unix_basic."' in read("examples/unix_basic/server.py")
