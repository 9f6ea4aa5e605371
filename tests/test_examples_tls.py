"""The TLS programs in ``examples/``, run as a user runs them, with certificates that their own script has made."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import node_ipc
from processes import DEADLINE, Program

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
LIBRARY = str(Path(node_ipc.__file__).parents[1])
READY = "world is ready"

Start = Callable[[str], Program]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples in which ``make_certificates.py`` was run, from somewhere else."""
    folder = tmp_path_factory.mktemp("tls-examples")
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("certificates"), dirs_exist_ok=True)
    command = [sys.executable, str(folder / "make_certificates.py")]
    done = subprocess.run(
        command, cwd=tmp_path_factory.mktemp("elsewhere"), capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr
    assert "made ca.crt, ca.key, " in done.stdout
    return folder


@pytest.fixture
def start(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts examples of a copy with certificates, with a port of their own, in a directory that stays empty."""
    examples, empty = tmp_path / "examples", tmp_path / "empty"
    shutil.copytree(made, examples)
    empty.mkdir()
    monkeypatch.chdir(empty)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    programs: list[Program] = []

    def start_one(path: str) -> Program:
        arguments = [str(TESTS / "run_example.py"), f"{empty}/", port, str(examples / path)]
        programs.append(Program.python(*arguments, PYTHONPATH=LIBRARY))
        return programs[-1]

    yield start_one
    for program in programs:
        program.close()
    assert os.listdir(empty) == []


def serve(start: Start, folder: str) -> Program:
    server = start(f"{folder}/server.py")
    server.wait_for(READY)
    return server


def stop(server: Program) -> list[str]:
    server.interrupt()
    return server.ends()


def answers(client: Program) -> list[str]:
    before = "got a message from world : "
    return [line.partition(before)[2] for line in client.lines if before in line]


def test_the_keys_are_for_their_owner_only(made: Path) -> None:
    certificates = made / "certificates"
    assert stat.S_IMODE(certificates.stat().st_mode) == 0o700
    keys = sorted(certificates.glob("*.key"))
    assert [key.stem for key in keys] == ["ca", "goodbye", "hello", "server"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_basic_hello_is_answered_by_a_verified_server(start: Start) -> None:
    server = serve(start, "tls_basic")
    client = start("tls_basic/client.py")
    client.ends()
    assert answers(client) == ["hello world!"]
    assert client.lines[-1] == "disconnected from world"
    server.wait_for("has disconnected")
    assert "got a message : hello" in stop(server)


def test_basic_the_client_does_not_talk_to_a_server_of_another_authority(start: Start, tmp_path: Path) -> None:
    server = serve(start, "tls_basic")
    certificates = tmp_path / "examples" / "certificates"
    (certificates / "ca.crt").write_bytes((certificates / "hello.crt").read_bytes())
    client = start("tls_basic/client.py")
    assert "comes from an authority that is not trusted here" in client.wait_for("cannot connect :")
    assert "the client does not trust the authority" in server.wait_for("got an error :")
    client.interrupt()
    client.ends()
    assert not any("got a message" in line for line in stop(server))


def test_mutual_world_knows_hello_by_its_certificate(start: Start) -> None:
    server = serve(start, "tls_mutual")
    client = start("tls_mutual/client.py")
    client.ends()
    assert answers(client) == ["nice to meet you, hello!"]
    assert "disconnected from world : in order" in client.lines
    assert "got a message from hello : nice to meet you," in stop(server)


def test_mutual_a_stranger_is_refused_and_both_say_why(start: Start) -> None:
    server = serve(start, "tls_mutual")
    stranger = start("tls_mutual/stranger.py")
    assert "the client gave no certificate, and this server asks for one" in server.wait_for("refused :")
    stranger.ends()
    assert answers(stranger) == []
    assert "the server asks for a certificate and this client gave none" in stranger.printed
    assert not any("let me in" in line for line in stop(server))


def test_raw_bytes(start: Start) -> None:
    server = serve(start, "tls_raw")
    client = start("tls_raw/client.py")
    client.ends()
    assert answers(client) == ["ef be ad de"]
    assert "got 4 bytes : de ad be ef" in stop(server)


def test_sync_the_next_message_waits_for_the_answer(start: Start) -> None:
    server = serve(start, "tls_sync")
    client = start("tls_sync/client.py")
    client.ends()
    assert answers(client) == [f"hello{number} world!" for number in range(10)]
    heard = [line for line in stop(server) if line.startswith("got ")]
    assert heard == [f"got hello{number} and have 1 to answer" for number in range(10)]


def test_broadcast_everybody_hears_it(start: Start) -> None:
    server = serve(start, "tls_broadcast")
    names = ["hello", "goodbye"]
    clients = [start(f"tls_broadcast/{name}_client.py") for name in names]
    for name, client in zip(names, clients, strict=True):
        client.ends()
        assert answers(client) == [f"{name} world!"]
        assert client.lines.count("world asked for the end of the connection") == 1
        assert client.lines[-1] == "disconnected from world"
    heard = [line for line in stop(server) if line.startswith("got a message from")]
    assert sorted(heard) == sorted(f"got a message from {name} : {name}" for name in names)


def test_without_certificates_the_message_names_the_file(start: Start, tmp_path: Path) -> None:
    certificates = tmp_path / "examples" / "certificates"
    shutil.rmtree(certificates)
    server = start("tls_basic/server.py")
    assert f"cannot read '{certificates}/server.key'" in server.wait_for("got an error :")
