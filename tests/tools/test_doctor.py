"""``node-ipc doctor`` tells a live server from a dead one, and says why a client does not get in."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from node_ipc.tools import doctor
from node_ipc.tools.cli import main

from .conftest import Command


def examined(capsys: pytest.CaptureFixture[str], root: str, *arguments: str) -> tuple[int, str]:
    code = main(["doctor", *arguments, "-o", f"socket_root={root}"])
    return code, capsys.readouterr().out


def test_versions_and_the_sockets_of_the_appspace(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as foreign:
        dead.bind(f"{root}app.dead")
        foreign.bind(f"{root}other.name")
        Path(f"{root}app.file").touch()
        code, text = examined(capsys, root)
    assert code == 0
    assert "node-ipc for Python " in text and "msgspec " in text and "Python 3." in text
    assert f"{root}: 1 sockets of appspace 'app.'" in text
    assert "  dead: user " in text


def test_a_root_that_is_not_there(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = examined(capsys, f"{root}nowhere/")
    assert (code, f"{root}nowhere/: there is no such directory" in text) == (0, True)
    code, text = examined(capsys, f"{root}nowhere/", "world")
    assert code == 1
    assert "directory: No such file or directory" in text


def test_a_live_server(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world", "-o", "writable_all=true")
    server.wait_for("listening at")
    for address in ("world", f"{root}app.world", f"unix:{root}app.world"):
        code, text = examined(capsys, root, address)
        assert code == 0
        assert f"the lock is held by process {server.process.pid} (" in text
        assert f"a client gets in: the server is process {server.process.pid} (" in text
        assert "mode 0622: the kernel lets everybody connect" in text
    assert f"a client of world tries unix:{root}app.world, then unix:" in examined(capsys, root, "world")[1]
    server.interrupt()
    server.ends()


def test_a_dead_server(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    server.kill()
    code, text = examined(capsys, root, "world")
    assert code == 1
    assert "the lock is free: its server is dead" in text
    assert "a client does NOT get in (ERR_IPC_CONNECT): " in text
    assert "Its server is dead and left the socket behind" in text
    os.unlink(f"{root}app.world")
    os.unlink(f"{root}app.world.lock")


def test_no_server(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = examined(capsys, root, "world")
    assert code == 1
    assert "socket: there is none" in text


def test_something_else_in_the_place(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(f"{root}app.world").touch()
    code, text = examined(capsys, root, "world")
    assert code == 1
    assert "NOT a socket (-rw" in text
    assert "a regular file is there, which is no socket" in text
    assert "server is dead" not in text


def test_unsafe_directories(root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(root, 0o777)
    assert "UNSAFE, others can replace a socket there" in examined(capsys, root, "world")[1]
    os.chmod(root, 0o1777)
    assert "UNSAFE" not in examined(capsys, root, "world")[1].partition("then")[0]
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    owner = os.stat(root)
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result((owner.st_mode, *[0] * 3, 4343, *owner[5:])))
    text = "\n".join(doctor._place(f"{root}app.world"))
    assert "user 4343, mode 1777: UNSAFE, its owner can replace a socket there" in text


def test_a_node_server_has_no_lock(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.world")
        server.listen()
        os.chmod(f"{root}app.world", 0o620)
        accepted = threading.Thread(target=lambda: server.accept()[0].close())
        accepted.start()
        code, text = examined(capsys, root, "world")
        accepted.join()
    assert code == 0
    assert "no lock file (a Node server makes none)" in text
    assert "the kernel lets its owner and its group connect" in text


def test_tcp(capsys: pytest.CaptureFixture[str], root: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, text = examined(capsys, root, f"tcp://127.0.0.1:{port}")
        assert (code, f"the server is tcp 127.0.0.1:{port}" in text) == (0, True)
    code, text = examined(capsys, root, f"tcp://127.0.0.1:{port}")
    assert code == 1
    assert "does NOT get in" in text


def test_abstract_names(capsys: pytest.CaptureFixture[str], root: str) -> None:
    name = f"node-ipc-doctor-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        code, text = examined(capsys, root, f"unix:abstract:{name}")
    assert code == 0
    assert "there is no file to look at" in text


def test_udp_cannot_be_told(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "udp4://127.0.0.1:9"]) == 2
    assert "UDP has no connections" in capsys.readouterr().err


def test_a_place_that_cannot_be_looked_at(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    assert "  socket: cannot be looked at: Permission denied" in list(doctor._place(f"{root}app.world"))


def test_systems_that_tell_less(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc: the holder of a lock and the name of a process are not known, and it says so."""
    Path(f"{root}app.world.lock").touch()
    monkeypatch.setattr(doctor, "Path", lambda path: Path("/nowhere" + path))
    assert doctor._lock(f"{root}app.world") == "the lock is held by a process that this system does not name"
    assert doctor._process(1) == "process 1"


def test_machines_without_a_node_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._node().startswith("no node in PATH")
    broken = tmp_path / "node"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert "does not run" in doctor._node()
