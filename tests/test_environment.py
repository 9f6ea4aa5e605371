"""NODE_IPC_LOG: lines on standard error without a change of the program."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
{setup}
from node_ipc.testing import pair
client, server, socket, driver = pair()
server.on("order", lambda data: 1 / 0)
client.emit("order", "secret")
driver.run_until_idle()
client.close()
driver.run_until_idle()
"""


def said(value: str | None, setup: str = "") -> list[str]:
    environment = {name: each for name, each in os.environ.items() if name != "NODE_IPC_LOG"}
    if value is not None:
        environment["NODE_IPC_LOG"] = value
    command = [sys.executable, "-c", PROGRAM.format(setup=setup)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_debug_shows_what_happens_to_links_and_no_payload() -> None:
    lines = said("debug")
    for what in (
        "DEBUG node_ipc: listening at unix:/memory/app.world",
        "opened at",
        "lost at",
        "ERROR node_ipc: a handler",
    ):
        assert any(what in line for line in lines), what
    assert any("(link 1, memory pid 1 uid 1000)" in line for line in lines)
    assert not any("secret" in line for line in lines)


def test_less_than_debug() -> None:
    lines = said(" ERROR ")
    assert any("ERROR node_ipc: a handler of 'order' failed" in line for line in lines)
    assert not any("DEBUG" in line for line in lines)


def test_a_program_that_sets_up_logging_has_each_line_once() -> None:
    lines = said("debug", "import logging; logging.basicConfig(format='MINE %(message)s')")
    opened = [line for line in lines if "listening at" in line]
    assert len(opened) == 1 and opened[0].startswith("MINE ")


def test_a_level_that_is_none_is_one_line_and_harms_nothing() -> None:
    lines = said("loud")
    assert lines[0] == "node_ipc: NODE_IPC_LOG is 'loud', and takes debug, info, warning, error"


def test_without_it_nothing_is_loaded() -> None:
    code = "import node_ipc, sys; sys.exit('node_ipc.environment' in sys.modules or 'logging' in sys.modules)"
    environment = {name: each for name, each in os.environ.items() if name != "NODE_IPC_LOG"}
    subprocess.run(
        [sys.executable, "-Sc", f"import sys; sys.path[:] = {sys.path!r}\n{code}"], env=environment, check=True
    )
