"""What the command line takes: options, and addresses as people write them."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from node_ipc.errors import ConfigError
from node_ipc.tools.arguments import configuration
from node_ipc.tools.cli import main

from .conftest import Command


def option(text: str) -> Any:
    name = text.partition("=")[0]
    return getattr(configuration(argparse.Namespace(config=None, options=[text])), name)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        (r"\n", "\n"),
        (r"\f", "\f"),
        (r"\r\n", "\r\n"),
        (r"\x1f", "\x1f"),
        (r"\u001e", "\x1e"),
        (r'"\n"', "\n"),
        ("|", "|"),
        ("ü\\n", "ü\n"),
        ("日", "日"),
        ("\f", "\f"),
    ],
)
def test_a_delimiter_as_a_shell_passes_it(text: str, delimiter: str) -> None:
    assert option(f"delimiter={text}") == delimiter


@pytest.mark.parametrize("text", ["", "\\", "abc", '"'])
def test_what_is_no_delimiter_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="'delimiter'"):
        option(f"delimiter={text}")


def test_no_other_option_is_unescaped() -> None:
    assert option(r"socket_root=C:\new\\") == r"C:\new\\"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("timout=3", "--timeout, which"), ("wiat=1", "--wait, which"), ("max_retreis=3", "'max_retries'")],
)
def test_an_option_that_is_none_names_the_nearest_also_of_the_command_itself(
    wrong: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emit", "world", "message", "-o", wrong]) != 0
    assert f"did you mean {hint}" in " ".join(capsys.readouterr().err.split())


def test_a_root_without_its_slash_is_told_once(root: str, node_ipc: Command) -> None:
    server = node_ipc("listen", "world", "-o", f"socket_root={root}in")
    server.wait_for("listening at")
    server.interrupt()
    server.ends()
    assert server.printed.count("no slash at its end") == 1


def test_every_command_takes_a_path(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", f"{root}one", "--echo")
    server.wait_for("listening at")
    tap = node_ipc("tap", f"{root}two", "--to", f"{root}one")
    tap.wait_for("clients of")
    assert main(["emit", f"{root}two", "ask", "1", "--wait-for", "ask"]) == 0
    assert capsys.readouterr().out == "1\n"
    assert main(["request", f"{root}one", "nobody", "--timeout", "0.2"]) == 1
    assert main(["doctor", f"{root}one"]) == 0
    for program in (tap, server):
        program.interrupt()
        program.ends()
