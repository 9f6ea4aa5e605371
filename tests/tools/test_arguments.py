"""What the command line takes: options, and addresses as people write them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

from node_ipc.config.config import Config
from node_ipc.config.tls_options import TLSOptions
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
    ("text", "value"),
    [
        ("id=1234", "1234"),
        ("id=null", "null"),
        ('id="1234"', "1234"),
        ("socket_root=1e3", "1e3"),
        ("appspace=true", "true"),
        ("bus_group=42", "42"),
        ("bus_group=null", None),
        ("max_connections=1e3", 1000),
        ("max_connections=5", 5),
        ("silent=true", True),
        ("silent=True", True),
        ("allowed_uids=None", None),
        ("max_total_pending_bytes=Infinity", sys.maxsize),
        ("max_total_pending_bytes=math.inf", sys.maxsize),
    ],
)
def test_the_options_type_decides_what_a_word_is(text: str, value: object) -> None:
    found = option(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("typed", ["1234", "null", "false", "1e3", "NaN", '{"a": 1}', "[1]", "0x10", "hunter2"])
def test_a_passphrase_is_what_was_typed(typed: str) -> None:
    assert configured(f"tls.passphrase={typed}").tls == TLSOptions(dict(passphrase=typed))


def test_other_parts_of_tls_may_look_like_numbers_too() -> None:
    typed = configured("tls.servername=10", "tls.private=007", "tls.public=1", "tls.strict_x509=False")
    assert typed.tls == TLSOptions(dict(servername="10", private="007", public="1", strict_x509=False))
    assert configured('tls.passphrase="12 34"').tls == TLSOptions(dict(passphrase="12 34"))
    assert configured("tls.public=a", "tls.public=null").tls == TLSOptions({})


def test_what_no_reading_fits_is_shown_as_it_was_read() -> None:
    with pytest.raises(ConfigError, match="'max_connections': 'many' is not allowed; it takes a whole number"):
        option("max_connections=many")
    with pytest.raises(ConfigError, match=r"'max_connections': 0\.5 is not allowed; it takes a whole number"):
        option("max_connections=0.5")
    with pytest.raises(ConfigError, match=r"'delimiter': '1' is not allowed; it takes .* JSON never has outside"):
        option("delimiter=1")


def configured(*options: str) -> Config:
    return configuration(argparse.Namespace(config=None, options=list(options)))


WHOLE = 'tls={"public": "a.pem", "servername": "one"}'
PARTS = ("tls.trustedConnections=c.pem", "tls.servername=two", "tls.reject-unauthorized=false")


@pytest.mark.parametrize("options", [(WHOLE, *PARTS), (*PARTS, WHOLE), (PARTS[0], WHOLE, *PARTS[1:])])
def test_names_with_a_dot_are_parts_of_one_option(options: tuple[str, ...]) -> None:
    assert configured(*options).tls == TLSOptions(
        dict(public="a.pem", trusted_connections="c.pem", servername="two", reject_unauthorized=False)
    )


def test_names_with_a_dot_without_the_whole() -> None:
    assert configured("tls.trusted_connections=c.pem").tls == TLSOptions(dict(trusted_connections="c.pem"))
    two = configured('tls.trusted_connections=["a.pem", "b.pem"]')
    assert two.tls == TLSOptions(dict(trusted_connections=["a.pem", "b.pem"]))
    pem = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n"
    assert configured(f"tls.ca={pem}", "tls.servername=one").tls == TLSOptions(dict(ca=pem, servername="one"))
    config = configured("interfaces.family=6", "interface.localPort=7000")
    assert (config.interfaces.family, config.interfaces.local_port, config.tls) == (6, 7000, False)


def test_a_part_is_added_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"tls": {"public": "a.pem", "minVersion": "TLSv1.3"}}', "utf-8")
    config = configuration(argparse.Namespace(config=file, options=["tls.public=b.pem"]))
    assert config.tls == TLSOptions(dict(public="b.pem", min_version="TLSv1.3"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("tls.trusted_conections=c.pem", "did you mean 'tls.trusted_connections'?"),
        ("tls.famly=4", "there is no config option 'tls.famly'; there are"),
        ("interfaces.famly=4", "did you mean 'interfaces.family'?"),
        ("tsl.ca=c.pem", "did you mean 'tls.ca'?"),
        ("retry.much=4", "no config option 'retry.much'; those with a dot begin tls. or interfaces."),
        ("tls.reject_unauthorized=5", "'tls.reject_unauthorized'"),
        ("tls.ca=c.pem", "the path of a file goes into 'private', 'public' or 'trusted_connections'"),
        ("tls.ca", "an option is NAME=VALUE"),
    ],
)
@pytest.mark.parametrize("command", ["emit world x", "listen world", "doctor world", "tap spy --to world"])
def test_wrong_names_with_a_dot(
    wrong: str, says: str, command: str, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "-o", f"socket_root={root}", "-o", wrong]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert says in said and "max_connections" not in said


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


@pytest.mark.usefixtures("doctor_waits")
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
