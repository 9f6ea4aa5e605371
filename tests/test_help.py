"""What ``help()`` says, and what a class says to those who call it."""

from __future__ import annotations

import importlib
import pkgutil
import pydoc
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import blocking
from processes import Program, listens

RUNNER = str(Path(__file__).parent / "run_example.py")
FRONTS = ("callbacks", "asyncio", "blocking")


@pytest.mark.parametrize("name", ["node_ipc", *(m.name for m in pkgutil.walk_packages(node_ipc.__path__, "node_ipc."))])
def test_every_module_has_a_page(name: str) -> None:
    if name == "node_ipc.__main__":
        return
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        assert name.startswith(("node_ipc.drivers", "node_ipc.net")) or sys.platform == "win32", error
        pytest.skip(f"of another system, or an extra: {error}")
    page = pydoc.plain(pydoc.render_doc(module))
    assert module.__doc__ is not None and module.__doc__.split("\n")[0] in page


def programs() -> list[str]:
    """Those of the package's page: for each front a server and a client."""
    assert node_ipc.__doc__ is not None
    return [
        textwrap.dedent(text)
        for text in re.findall(r"(?m)(?:^ {4}# \w+\.py\n)((?: {4}.*\n|\n)+?)(?=^ {4}#|^\S)", node_ipc.__doc__)
    ]


def test_the_page_begins_with_the_first_program_of_each_front() -> None:
    assert node_ipc.__doc__ is not None
    assert len(programs()) == 6
    assert len(node_ipc.__doc__.splitlines()) < 80 and max(map(len, node_ipc.__doc__.splitlines())) <= 120
    for name in re.findall(r"help\(node_ipc\.([\w.]+)\)", node_ipc.__doc__):
        target: Any = node_ipc
        for part in name.split("."):
            target = getattr(target, part)
        assert target.__doc__


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as name:
        yield Path(name)


@pytest.mark.parametrize(("server", "client"), [(0, 1), (1, 2), (2, 0)], ids=lambda front: FRONTS[front])
def test_the_programs_of_the_page_talk_to_each_other(folder: Path, server: int, client: int) -> None:
    for number, text in enumerate(programs()):
        (folder / f"{number}.py").write_text(text)
    started = [Program.python(RUNNER, f"{folder}/", "0", str(folder / f"{server * 2}.py"))]
    try:
        while not listens(folder / "app.world"):
            assert started[0].process.poll() is None, started[0].printed
        started.append(Program.python(RUNNER, f"{folder}/", "0", str(folder / f"{client * 2 + 1}.py")))
        started[1].wait_for("hello world!")
    finally:
        for program in started:
            program.close()


@pytest.mark.parametrize(
    ("kind", "verb"),
    [
        (node_ipc.Client, "node_ipc.connect('world')"),
        (node_ipc.AsyncClient, "node_ipc.connect('world')"),
        (blocking.Client, "blocking.connect('world')"),
        (node_ipc.Server, "node_ipc.serve('world')"),
        (node_ipc.AsyncServer, "node_ipc.serve('world')"),
        (blocking.Server, "blocking.serve('world')"),
        (node_ipc.DatagramServer, "node_ipc.serve_udp('host:port')"),
        (node_ipc.AsyncDatagramServer, "node_ipc.serve_udp('host:port')"),
        (blocking.DatagramServer, "blocking.serve_udp('host:port')"),
    ],
)
def test_a_class_that_is_called_says_what_makes_one(kind: Any, verb: str) -> None:
    for arguments, options in (((), {}), (("world",), {}), (("localhost", 8000), {"retry": 1}), ((), {"port": 1})):
        with pytest.raises(TypeError, match=f"^{kind.__name__} is not for calling: .*{re.escape(verb)}.* makes one$"):
            kind(*arguments, **options)
