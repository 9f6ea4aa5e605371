"""``node-ipc doctor`` tells a live server from a dead one, and says why a client does not get in."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from children import NOBODY, Child, refuse_to_run
from node_ipc.tools import doctor, outside, probes
from node_ipc.tools.cli import main
from processes import Program
from tls_certificates import FOR_SERVERS, identity

from .conftest import Command


def examined(capsys: pytest.CaptureFixture[str], root: str, *arguments: str) -> tuple[int, str]:
    code = main(["doctor", *arguments, "-o", f"socket_root={root}"])
    return code, capsys.readouterr().out


@pytest.fixture
def it_ends_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that let nobody in, and do so as soon as a busy machine lets them: doctor waits for no longer."""
    monkeypatch.setattr(doctor, "LINGER_SECONDS", 20.0)


@pytest.fixture
def it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that say by the end of a link which delimiter is theirs, and may have got many more until then."""
    monkeypatch.setattr(probes, "ANSWER_SECONDS", 1.5)
    monkeypatch.setattr(probes, "LATE", len(probes.DELIMITERS))


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
    first = text.splitlines()[0]
    assert f"there is no directory '{root}nowhere', which a server with this socket_root makes. Start it" in first
    first = examined(capsys, root, f"{root}nowhere/world")[1].splitlines()[0]
    assert f"there is no directory '{root}nowhere'. Start it, or check the path" in first
    assert f"before the directory {root}nowhere is made" in first


def test_who_gets_into_a_directory_is_said(
    root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(root, 0o700)
    alone = "to what is in it, whatever the modes of the sockets are"
    assert alone in examined(capsys, root, "world")[1]
    monkeypatch.setattr(doctor, "EVERYBODYS", (root.rstrip("/"),))
    text = examined(capsys, root, "world")[1]
    assert "NOT as it was made, only" in text and "A server of node-ipc 14 that is run by root does that" in text
    assert f"chmod 1777 {root.rstrip('/')}, as root" in text
    os.chmod(root, 0o711)
    assert alone not in examined(capsys, root, "world")[1].partition("/node-ipc-")[0]


@pytest.mark.usefixtures("doctor_waits")
def test_a_live_server(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world", "-o", "writable_all=true")
    server.wait_for("listening at")
    for address in ("world", f"{root}app.world", f"unix:{root}app.world"):
        code, text = examined(capsys, root, address)
        assert code == 0
        assert f"the lock is held by process {server.process.pid} (" in text
        assert text.startswith(f"a client gets in: the server is process {server.process.pid} (")
        assert "and it answers" in text
        assert "mode 0622: the kernel lets everybody connect" in text
    text = examined(capsys, root, "world")[1]
    assert f"a client of world tries unix:{root}app.world (where node-ipc before 14 looks, too), then unix:" in text
    assert "(where node-ipc 14 does, unless it is told)" in text
    server.interrupt()
    server.ends()


def test_a_dead_server(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    server.kill()
    code, text = examined(capsys, root, "world")
    assert code == 1
    assert "the lock is free: its server is dead" in text
    assert text.startswith("a client does NOT get in (ERR_IPC_CONNECT): ")
    assert "is dead and left the socket behind. The next server takes the place over" in text
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


@pytest.mark.usefixtures("doctor_waits")
def test_a_link_to_a_socket_is_named_as_one(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "mine")
    server.wait_for("listening at")
    os.symlink("app.mine", f"{root}app.world")
    os.symlink(root, f"{root}app.elsewhere")
    code, text = examined(capsys, root, "world")
    assert code == 0
    assert f"  a link to {os.path.realpath(root)}/app.mine: clients go there, and no other server starts" in text
    assert "  socket: user " in text and "NOT a socket" not in text
    text = examined(capsys, root, "elsewhere")[1]
    assert "NOT a socket (lrwx" in text and "a link to" not in text
    os.unlink(f"{root}app.world")
    os.unlink(f"{root}app.elsewhere")
    server.interrupt()
    server.ends()


@pytest.mark.parametrize(
    ("mode", "owner", "let_in"),
    [
        (0o600, 7, "its owner and root connect"),
        (0o622, 7, "everybody connect"),
        (0o620, 7, "its owner and its group connect"),
        (0o022, 7, "everybody but its owner connect"),
        (0o022, 0, "everybody connect"),
        (0o020, 7, "root and its group connect"),
        (0o000, 7, "only root connect, and not its owner, who opens it with chmod 600"),
        (0o444, 7, "only root connect, and not its owner, who opens it with chmod 600"),
        (0o000, 0, "its owner and root connect"),
    ],
)
def test_the_mode_of_a_socket_says_who_may_connect(mode: int, owner: int, let_in: str) -> None:
    found = os.stat_result((mode, 0, 0, 0, owner, *[0] * 5))
    assert doctor._who_may_connect(found) == f"the kernel lets {let_in}"


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


@pytest.fixture
def as_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens in this process is taken for Node."""
    monkeypatch.setattr(outside, "_program", lambda pid: "node")


def test_a_node_server_has_no_lock(as_node: None, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.world")
        server.listen()
        os.chmod(f"{root}app.world", 0o620)
        heard: list[bytes] = []
        with accepting(server, lambda peer: heard.extend(iter(lambda: peer.recv(1000), b""))):
            code, text = examined(capsys, root, "world")
    assert code == 0
    assert b"rpc.request" not in b"".join(heard)  # a handler that does not know it may end the process
    assert "It did not answer 'ipc.ping', as Node's do not" in text
    assert "no lock file (a Node server makes none); its server is alive" in text
    assert "no lock file (a Node server makes none)" in text
    assert "the kernel lets its owner and its group connect" in text


@contextlib.contextmanager
def accepting(server: socket.socket, talk: Callable[[socket.socket], object], times: int = 1) -> Iterator[None]:
    """Accept in a thread, and close after ``talk``."""

    def accept() -> None:
        for _ in range(times):
            with server.accept()[0] as peer:
                talk(peer)

    thread = threading.Thread(target=accept, daemon=True)  # where a test fails nobody may come
    thread.start()
    yield
    thread.join()


HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (lambda peer: None, "it is let in and cut off at once, without a reason"),
        (lambda peer: peer.recv(1000) and peer.sendall(HTTP), "does not speak node-ipc's language"),
        (lambda peer: peer.recv(1000) and peer.sendall(TLS_ALERT), "does not speak node-ipc's language"),
        (lambda peer: (peer.recv(1000) and peer.sendall(b"hello\f")) or peer.recv(1000), "JSON"),
    ],
    ids=["cuts off", "HTTP", "TLS", "another protocol"],
)
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_what_is_no_server_of_node_ipc(
    root: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    talk: Any,
    says: str,
) -> None:
    if "cut off" in says:
        monkeypatch.setattr(doctor, "LINGER_SECONDS", 2.0)  # nobody takes the visits that come behind the first
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as server:
        server.bind(f"{root}app.world" if kind == "unix" else ("127.0.0.1", 0))
        server.listen()
        place = "world" if kind == "unix" else f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with accepting(server, talk):
            code, text = examined(capsys, root, place)
    first = text.splitlines()[0]
    assert (code, says in first) == (1, True), first
    assert "client gets in: the server" not in first
    if kind == "tcp":
        assert f"on this machine process {os.getpid()} (" in text


@pytest.mark.usefixtures("it_ends_links")
def test_a_full_server(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = node_ipc("listen", "world", "-o", "max_connections=1")
    server.wait_for("listening at")
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(f"{root}app.world")
        server.wait_for("connected")
        code, text = examined(capsys, root, "world")
        monkeypatch.chdir(root)
        assert "is full: 1 connection is open there" in examined(capsys, root, "./app.world")[1].splitlines()[0]
    assert code == 1
    first = text.splitlines()[0]
    assert f"the server, process {server.process.pid} (" in first
    assert (
        "is full: 1 connection is open there, and each of doctor's own 3 visits was ended at once" in first
        and "max_connections" in first
    )
    server.interrupt()
    server.ends()


def test_a_tap_whose_server_is_away(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    tap = node_ipc("tap", "world", "--to", "away")
    tap.wait_for("clients of")
    code, text = examined(capsys, root, "world")
    assert code == 1
    first = text.splitlines()[0]
    assert f"process {tap.process.pid} (" in first
    assert "is a node-ipc tap, and the server that it passes on to, 'away', is away: start that" in first
    tap.interrupt()
    tap.ends()


def test_live_servers_of_another_appspace_are_named(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = node_ipc("listen", "world", "-o", "appspace=other.")
    server.wait_for("listening at")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{root}third.world")
    code, text = examined(capsys, root, "world")
    assert code == 1
    assert f"NOT tried: {root}other.world, a live server of appspace 'other.'" in text
    first = text.splitlines()[0]
    assert f"One of this id has 'other.' ({root}other.world)" in first and "-o appspace=other." in first
    assert "Start it" not in first, "it runs"
    assert "third.world" not in text
    assert "the lock is held by process" in examined(capsys, root, "-o", "appspace=other.")[1]
    os.unlink(f"{root}third.world")
    server.interrupt()
    server.ends()


# ---- another user's


def as_stranger(root: str, *arguments: str) -> tuple[int, str]:
    """How the command ends for another user, and what it says."""
    main(["doctor", "warm", "-o", f"socket_root={root}"])  # loads what that user may not be able to read
    main(["listen", f"{root}none/warm"])

    def work() -> tuple[int, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return main([*arguments, "-o", f"socket_root={root}"]), said.getvalue()

    code, text = Child(work, uid=NOBODY).result()
    return code, text


@pytest.fixture
def shared(root: str) -> str:
    if os.geteuid() != 0:
        refuse_to_run("only root can act as several users")
    os.chmod(root, 0o1777)
    return root


def test_a_dead_server_of_another_user(node_ipc: Command, shared: str) -> None:
    """What doctor foretells is what listen then says."""
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    server.kill()
    code, text = as_stranger(shared, "doctor", "world")
    assert code == 1
    first = text.splitlines()[0]
    assert f"the server at '{shared}app.world' is dead and left the socket behind" in first
    assert (
        f"A server of yours cannot start here until {shared}app.world and {shared}app.world.lock are removed" in first
    )
    assert first.endswith("are removed, by root")
    assert "writable_all" not in text
    code, text = as_stranger(shared, "listen", "world")
    assert code == 1
    assert "a server of user 0 that is dead has left its lock" in text
    os.unlink(f"{shared}app.world")
    os.unlink(f"{shared}app.world.lock")


@pytest.mark.usefixtures("it_ends_links")
def test_a_live_server_of_another_user(node_ipc: Command, shared: str) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    code, text = as_stranger(shared, "doctor", "world")
    assert code == 1
    assert "ERR_IPC_CONNECT_DENIED" in text.splitlines()[0] and "dead" not in text
    code, text = as_stranger(shared, "listen", "world")
    assert (code, f"a running server of user 0 holds '{shared}app.world' (process {server.process.pid})" in text) == (
        1,
        True,
    )
    os.chmod(f"{shared}app.world", 0o666)  # the kernel lets everybody in, and the server does not
    code, text = as_stranger(shared, "doctor", "world")
    assert code == 1
    first = text.splitlines()[0]
    assert f"the server, process {server.process.pid}" in first
    assert (
        "does not let user nobody (65534) in, whatever the mode of its socket is" in first and "allowed_uids" in first
    )
    server.interrupt()
    server.ends()


def test_a_directory_that_one_may_not_enter_is_not_taken_for_a_removed_socket(node_ipc: Command, shared: str) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    os.chmod(shared, 0o700)
    for command in (["doctor", "world"], ["doctor", f"{shared}app.world"], ["request", "world", "add"]):
        code, text = as_stranger(shared, *command)
        assert code == 1 and "Permission denied" in text
        assert "removed" not in text and "listens at" not in text.splitlines()[0]
    os.chmod(shared, 0o1777)
    server.interrupt()
    server.ends()


def test_a_neighbour_is_not_offered_for_a_server_that_refuses(node_ipc: Command, shared: str) -> None:
    server = node_ipc("listen", "tr_a", "tr_a2", "-o", "writable_all=true", "-o", "allowed_uids=[0]")
    server.wait_for("app.tr_a2")
    os.chmod(f"{shared}app.tr_a", 0o600)
    for command in (["doctor", "tr_a"], ["emit", "tr_a", "message"]):
        code, text = as_stranger(shared, *command)
        assert code == 1 and "no permission to connect" in text and "Did you mean" not in text
    server.interrupt()
    server.ends()


def test_a_lock_that_another_user_s_server_left_is_named(shared: str) -> None:
    """As ``listen`` would do, which cannot start there."""
    lock = Path(f"{shared}app.world.lock")
    lock.touch()
    os.chown(lock, 4242, 4242)
    code, text = as_stranger(shared, "doctor", "world")
    assert code == 1
    assert text.splitlines()[0].endswith(
        f"Only a lock is left there, of user 4242. A server of yours cannot start here until {lock} is removed, "
        "by user 4242 or root"
    )
    assert "  lock: the lock is free: its server is dead. A server of yours cannot start" in text
    assert f"lock {str(lock)!r}, which only that user or root may remove" in as_stranger(shared, "listen", "world")[1]
    code, text = examined_as_root(shared)
    assert "Only a lock" not in text and "The next server takes the place over" in text


def examined_as_root(root: str) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        return main(["doctor", "world", "-o", f"socket_root={root}"]), said.getvalue()


def test_a_server_whose_socket_was_removed_is_named(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    os.unlink(f"{root}app.world")
    first = examined(capsys, root, "world")[1].splitlines()[0]
    assert f"A server listens at {root}app.world, but that file was removed" in first
    assert f"process {server.process.pid} (" in first and f"holds the lock {root}app.world.lock" in first
    server.interrupt()
    server.ends()


def test_a_socket_of_that_name_in_the_current_directory_is_named(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    server = node_ipc("listen", f"{root}world")
    server.wait_for("listening at")
    for command in (["doctor", "world"], ["emit", "world", "message"], ["request", "world", "add"]):
        assert main([*command, "-o", f"socket_root={root}"]) == 1
        said = "".join(capsys.readouterr()).splitlines()[0]
        assert said.endswith(". A server listens at ./world: was ./world meant?")
    monkeypatch.setattr(doctor, "unix_sockets", lambda: iter(()))  # where the kernel does not tell
    assert "A socket is at ./world: was ./world meant?" in examined(capsys, root, "world")[1].splitlines()[0]
    server.interrupt()
    server.ends()
    Path("world").touch()
    assert "./world" not in examined(capsys, root, "world")[1].splitlines()[0], "it is no socket"
    os.unlink("world")


def test_a_server_with_another_socket_root_is_named(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"world{os.getpid()}"  # no other program has it
    os.mkdir(f"{root}b c")
    server = node_ipc("listen", f"{root}b c/app.{name}")
    server.wait_for("listening at")
    for command in (["doctor", name], ["emit", name, "message"], ["contract", "--at", name]):
        assert main([*command, "-o", f"socket_root={root}"]) == 1
        said = "".join(capsys.readouterr()).splitlines()[0]
        assert f"A server of this id listens at {root}b c/app.{name}: give both the same, here with -o " in said
        assert said.endswith(f"-o socket_root='{root}b c/'")
    assert "A server of this id" not in examined(capsys, root, name, "-o", "appspace=other.")[1].splitlines()[0]
    listening = [(f"{root}{at}/app.{name}", "01", outside.LISTENING) for at in ("b c", "unseen")]
    monkeypatch.setattr(doctor, "unix_sockets", lambda: iter(listening))
    assert f"app.{name}: give both" in examined(capsys, root, name)[1].splitlines()[0], "one is in another name space"
    Path(f"{root}unseen").mkdir()
    Path(f"{root}unseen/app.{name}").touch()
    assert f"app.{name}, and 1 more elsewhere: give both" in examined(capsys, root, name)[1].splitlines()[0]
    server.interrupt()
    server.ends()
    shutil.rmtree(f"{root}unseen")
    os.rmdir(f"{root}b c")


def test_tcp(as_node: None, capsys: pytest.CaptureFixture[str], root: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with accepting(server, lambda peer: [*iter(lambda: peer.recv(1000), b"")]):
            code, text = examined(capsys, root, f"tcp://127.0.0.1:{port}")
        assert (code, f"the server is tcp 127.0.0.1:{port}" in text) == (0, True)
        assert "not known of a network server" in text
    code, text = examined(capsys, root, f"tcp://127.0.0.1:{port}")
    assert code == 1
    assert "does NOT get in" in text
    assert f"no process on this machine that this user may look at listens at port {port}" in text


def test_abstract_names(capsys: pytest.CaptureFixture[str], root: str) -> None:
    name = f"node-ipc-doctor-{os.getpid()}"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # not every child is a worker
    with child, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        code, text = examined(capsys, root, f"unix:abstract:{name}")
    assert code == 1
    assert "there is no file to look at" in text
    assert "and nothing answers" in text.splitlines()[0]
    assert "1 connection is made and not accepted: it is busy or blocked" in text.splitlines()[0]


def test_a_udp_port(capsys: pytest.CaptureFixture[str]) -> None:
    """Who has it is seen on this machine, and of another nobody can tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert main(["doctor", f"udp4://127.0.0.1:{port}"]) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert f"process {os.getpid()} (" in first and f"has the port {port} of UDP, at 127.0.0.1. UDP has no" in first
        assert main(["doctor", f"tcp://127.0.0.1:{port}"]) == 1
        first = capsys.readouterr().out.splitlines()[0]
        assert (
            f"process {os.getpid()} (" in first and f"has that port of UDP: was udp4://127.0.0.1:{port} meant?" in first
        )
    assert main(["doctor", f"udp4://127.0.0.1:{port}"]) == 1
    assert f"nobody has the port {port} of UDP" in capsys.readouterr().out.splitlines()[0]
    assert main(["doctor", "udp4://192.0.2.1:9"]) == 1
    assert "UDP has no connections" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("listens", "asked"), [("::1", "127.0.0.1"), ("127.0.0.1", "[::1]"), ("127.0.0.1", "127.0.0.2")]
)
def test_a_server_at_another_address_of_the_port(capsys: pytest.CaptureFixture[str], listens: str, asked: str) -> None:
    with socket.create_server((listens, 0), family=socket.AF_INET6 if ":" in listens else socket.AF_INET) as server:
        port = server.getsockname()[1]
        assert main(["doctor", f"tcp://{asked}:{port}"]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    there = f"[{listens}]" if ":" in listens else listens
    assert f"process {os.getpid()} (" in first and f"though at {there} alone and not at {asked.strip('[]')}" in first
    assert f"connect to tcp://{there}:{port}" in first


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def test_a_socket_that_lives_and_is_no_server_is_not_called_dead(
    kind: socket.SocketKind, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(f"{root}app.world")
        if kind == socket.SOCK_SEQPACKET:
            other.listen()
        code, text = examined(capsys, root, "world")
    assert code == 1 and "dead" not in text and "takes the place over" not in text
    said = "another program has a socket of another type there"
    if kind != socket.SOCK_SEQPACKET:
        said = f"no server is at '{root}app.world': a process has this socket"
    assert said in text.splitlines()[0]
    os.unlink(f"{root}app.world")


def test_where_no_server_can_start_is_said(
    root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(path: str) -> str:
        code, text = examined(capsys, root, path)
        assert code == 1
        return text.splitlines()[0]

    assert "A server cannot start" not in first("world")
    assert f"A server cannot start there before the directory {root}away is made" in first(f"{root}away/x")
    room = dict.fromkeys(("f_files", "f_favail", "f_blocks", "f_bavail"), 9) | {"f_flag": 0}
    for changed, says in (
        ({"f_flag": os.ST_RDONLY}, "is read-only"),
        ({"f_favail": 0}, "takes no more files"),
        ({"f_bavail": 0}, "is full"),
    ):
        system = SimpleNamespace(**room | changed)
        monkeypatch.setattr(os, "statvfs", lambda path, system=system: system)
        assert f"the file system of {root.rstrip('/')} {says}".lower() in first("world").lower()


@pytest.mark.usefixtures("doctor_waits")
def test_a_path_that_only_this_library_reaches(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"{root}{'x' * 120}"
    server = node_ipc("listen", path)
    said = f"a path of {len(path)} bytes, and the kernel takes"
    server.wait_for("listening at")
    code, text = examined(capsys, root, path)
    assert code == 0 and text.count(f"LONG: {said}") == 1
    server.interrupt()
    assert sum(said in line for line in server.ends()) == 1


def test_a_symbolic_link_that_leads_nowhere(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("nowhere", f"{root}app.world")
    assert "it is a symbolic link, and nothing is where it leads" in examined(capsys, root, "world")[1].splitlines()[0]
    os.unlink(f"{root}app.world")
    assert f"tries unix:{root}x.sock" in examined(capsys, root, f"{root}./x.sock")[1]


@pytest.mark.usefixtures("it_is_slow")
def test_a_server_with_a_small_limit(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world", "-o", "max_message_size=10")
    server.wait_for("listening at")
    assert "whose max_message_size is smaller" in examined(capsys, root, "world")[1].splitlines()[0]
    server.interrupt()
    assert server.ends()[0].count("FRAME_TOO_LARGE") <= 3


def test_a_directory_that_may_be_listed_and_not_entered(node_ipc: Command, shared: str) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    os.chmod(shared, 0o744)
    code, text = as_stranger(shared, "doctor", "world")
    os.chmod(shared, 0o1777)
    assert code == 1 and "does not let user 65534 through" in text.splitlines()[0]
    assert "socket: cannot be looked at: Permission denied" in text and "node-ipc for Python" in text
    server.interrupt()
    server.ends()


def test_node_behind_a_tap_answers_nothing_and_gets_in(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "_program", lambda pid: "node" if pid == os.getpid() else "python3")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}app.world")
        server.listen()
        tap = node_ipc("tap", "spy", "--to", "world")
        tap.wait_for("clients of")
        with accepting(server, lambda peer: [*iter(lambda: peer.recv(1000), b"")], times=2):
            assert main(["emit", "spy", "message", "-o", f"socket_root={root}"]) == 0
            assert capsys.readouterr().err == "", "Node answers nothing, so nothing is amiss"
            code, text = examined(capsys, root, "spy")
        assert code == 0, text
        first = text.splitlines()[0]
        assert "It did not answer 'ipc.ping', as Node's do not" in first
        assert f"the server is 'world', process {os.getpid()} (" in first
        assert f"behind a node-ipc tap, process {tap.process.pid} (" in first
        tap.interrupt()
        tap.ends()
    os.unlink(f"{root}app.world")


@pytest.mark.usefixtures("doctor_waits")
def test_a_server_behind_a_tap_is_named_with_the_tap(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    for address, to in (("spy", ("--to", "world")), ("spy2", ("--to=world",))):
        tap = node_ipc("tap", address, *to)
        tap.wait_for("clients of")
        for options in ((), ("-o", "raw_buffer=true")):
            code, text = examined(capsys, root, address, *options)
            first = text.splitlines()[0]
            assert code == 0
            assert f"the server is 'world', process {server.process.pid} (" in first
            assert f"behind a node-ipc tap, process {tap.process.pid} (" in first
        tap.interrupt()
        tap.ends()
    server.interrupt()
    server.ends()


def test_a_place_that_cannot_be_looked_at(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    assert "  socket: cannot be looked at: Permission denied" in list(doctor._place(f"{root}app.world"))


def test_a_socket_that_is_removed_while_it_looks(
    root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = os.scandir

    def scandir(path: str) -> list[os.DirEntry[str]]:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(f"{root}app.gone")
        try:
            return list(listed(path))
        finally:
            os.unlink(f"{root}app.gone")

    monkeypatch.setattr(os, "scandir", scandir)
    code, text = examined(capsys, root, "world")
    assert code == 1 and "no server at" in text.splitlines()[0]
    assert main(["doctor", "-o", f"socket_root={root}"]) == 0
    assert "gone" not in capsys.readouterr().out


def test_systems_that_tell_less(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc: the holder of a lock and the name of a process are not known, and it says so."""
    Path(f"{root}app.world.lock").touch()
    monkeypatch.setattr(outside, "Path", lambda path: Path("/nowhere" + path))
    monkeypatch.setattr(doctor, "lock_holder", lambda found: -1)
    assert doctor._life(f"{root}app.world") == "the lock is held by a process that this system does not name"
    assert outside.named(1) == "process 1"


def test_machines_without_a_node_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._node().startswith("no node in PATH")
    broken = tmp_path / "node"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert "does not run" in doctor._node()


# ---- servers that are there and do not answer


def test_a_server_that_is_stopped(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    server.process.send_signal(signal.SIGSTOP)
    code, text = examined(capsys, root, "world")
    server.process.send_signal(signal.SIGCONT)
    assert code == 1
    assert "is stopped (Ctrl-Z or SIGSTOP)" in text.splitlines()[0]
    assert f"kill -CONT {server.process.pid} lets it go on" in text.splitlines()[0]
    server.interrupt()
    server.ends()


@pytest.mark.usefixtures("it_is_slow")
@pytest.mark.parametrize("program", ["server.poll(None)\ntime.sleep(60)", "server.settings\nserver.serve_forever()"])
def test_a_server_in_python_that_does_not_answer(root: str, capsys: pytest.CaptureFixture[str], program: str) -> None:
    """It is busy, or is spoken to with another delimiter."""
    delimiter = "|" if "forever" in program else "\f"
    begin = f"import time\nfrom node_ipc import blocking\nserver = blocking.serve('world', socket_root={root!r}, "
    code = f"{begin}delimiter={delimiter!r})\nprint('ready', flush=True)\n{program}"
    with contextlib.closing(Program.python("-c", code)) as server:
        server.wait_for("ready")
        gets_in, text = examined(capsys, root, "world")
    first = text.splitlines()[0]
    if delimiter == "|":
        assert gets_in == 1
        assert r"the server's messages end in '|', and this client's in '\x0c': give both the same" in first
    else:
        assert gets_in == 1
        assert "a client gets in, and nothing answers. The server is process" in first
        assert "it is busy or blocked (a handler that takes long?)" in first and "delimiter" not in first


@pytest.mark.usefixtures("it_is_slow")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("delimiter=;;", "the server's messages end in ';;', and this client's in '\\x0c'"),
        ("delimiter=%%", "it has another delimiter or parser than this client, or is in raw mode (raw_buffer)"),
        ("raw_buffer=true", "it has another delimiter or parser than this client, or is in raw mode (raw_buffer)"),
    ],
)
def test_a_server_that_understands_nothing(
    node_ipc: Command,
    root: str,
    capsys: pytest.CaptureFixture[str],
    looked_at_asleep: Callable[[int], None],
    options: str,
    says: str,
) -> None:
    server = node_ipc("listen", "world", "-o", options)
    server.wait_for("listening at")
    looked_at_asleep(server.process.pid)
    code, text = examined(capsys, root, "world")
    assert (code, says in text.splitlines()[0]) == (1, True), text
    server.interrupt()
    server.ends()


WORKERS = (
    "import os, time\nfrom node_ipc.scale import workers\ndef setup(server):\n    print('setup', flush=True)\n    "
)


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        ("time.sleep(60)", "none of its workers (process "),
        ("os._exit(0) if os.path.exists('{root}die') else None", "where workers serve, none of them lives"),
    ],
    ids=["setup hangs", "none lives"],
)
def test_workers_of_which_nobody_answers(root: str, capsys: pytest.CaptureFixture[str], setup: str, says: str) -> None:
    run = f"{setup.format(root=root)}\nworkers.run(setup, 'world', count=1, socket_root={root!r})"
    server = Program.python("-c", WORKERS + run)
    try:
        server.wait_for("setup")
        if "die" in setup:
            assert "it answers" in examined(capsys, root, "world")[1].splitlines()[0]
            Path(f"{root}die").touch()
            os.kill(outside._workers(server.process.pid)[0], signal.SIGKILL)
            for _ in range(5):  # whoever dies soon is replaced later each time, in the end after seconds
                server.wait_for("setup")
        code, text = examined(capsys, root, "world")
        first = text.splitlines()[0]
        assert (code, says in first) == (1, True), first
        assert "a client gets in, and nothing answers" in first
    finally:  # else they outlive the test, and hold its output open
        for pid in (server.process.pid, *outside._workers(server.process.pid)):
            with contextlib.suppress(ProcessLookupError):  # it died by itself
                os.kill(pid, signal.SIGKILL)
        server.close()


def test_a_tap_whose_server_is_stopped(node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "world")
    server.wait_for("listening at")
    tap = node_ipc("tap", "spy", "--to", "world")
    tap.wait_for("clients of")
    server.process.send_signal(signal.SIGSTOP)
    code, text = examined(capsys, root, "spy")
    server.process.send_signal(signal.SIGCONT)
    first = text.splitlines()[0]
    assert code == 1 and "a client gets in, and nothing answers" in first
    assert "is a node-ipc tap, and of the server that it passes on to, 'world', process " in first
    assert f"kill -CONT {server.process.pid} lets it go on" in first
    for program in (tap, server):
        program.interrupt()
        program.ends()


def test_an_http_server_that_waits_for_an_empty_line(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=lambda: [*map(lambda _: server.handle_request(), range(3))])
        thread.start()
        code, text = examined(capsys, root, f"tcp://127.0.0.1:{server.server_port}")
        thread.join()
    assert code == 1
    assert "does not speak node-ipc's language: it is not node-ipc: it speaks HTTP" in text.splitlines()[0]


@pytest.mark.usefixtures("it_is_slow")
def test_a_server_that_reads_lines(
    node_ipc: Command,
    root: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    looked_at_asleep: Callable[[int], None],
) -> None:
    server = node_ipc("listen", "world", "-o", r"delimiter=\n")
    server.wait_for("listening at")
    looked_at_asleep(server.process.pid)
    code, text = examined(capsys, root, "world")
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 20.0)  # with its own delimiter it answers
    assert code == 1
    first = text.splitlines()[0]
    assert r"its first message ends the link: the server's messages end in '\n', and this client's in '\x0c'" in first
    assert r"-o 'delimiter=\n'" in first
    assert examined(capsys, root, "world", "-o", "delimiter=\n")[0] == 0
    server.interrupt()
    server.ends()


def test_without_an_address_all_live_sockets_are_listed(
    node_ipc: Command, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = node_ipc("listen", "world", "-o", "appspace=other.")
    server.wait_for("listening at")
    with socket.socket(socket.AF_UNIX) as alone, socket.socket(socket.AF_UNIX) as dead:
        alone.bind(f"{root}database.sock")
        alone.listen()
        dead.bind(f"{root}third.world")
        code, text = examined(capsys, root)
        os.unlink(f"{root}database.sock")
        os.unlink(f"{root}third.world")
    assert code == 0
    assert f"{root}: 0 sockets of appspace 'app.'" in text
    assert f"{root}: 2 live sockets besides, of other appspaces or other programs" in text
    assert "  other.world: user " in text and "  database.sock: user " in text
    assert "third.world" not in text
    server.interrupt()
    server.ends()


# ---- TLS


@pytest.fixture
def tls_config(tmp_path: Path) -> Callable[..., str]:
    """A configuration file of a server for localhost."""
    authority = identity("Test CA", authority=True)
    server = identity("server", authority, names=["localhost"])

    def write(**more: Any) -> str:
        (tmp_path / "server.json").write_text(json.dumps({"tls": {**server.options, **more}}))
        (tmp_path / "client.json").write_text(json.dumps({"tls": {"ca": authority.cert}}))
        (tmp_path / "ca.pem").write_text(authority.cert)
        return str(tmp_path)

    return write


def tls_server(node_ipc: Command, config: str) -> tuple[Program, int]:
    server = node_ipc("listen", "tls://localhost:0", "--config", f"{config}/server.json")
    line = server.wait_for("listening at")
    return server, int(line.split("localhost:")[1].split(",")[0])


def test_a_tls_server_that_is_asked_without_tls(
    node_ipc: Command, capsys: pytest.CaptureFixture[str], tls_config: Callable[..., str]
) -> None:
    server, port = tls_server(node_ipc, tls_config())
    code = main(["doctor", f"tcp://localhost:{port}"])
    first = capsys.readouterr().out.splitlines()[0]
    assert code == 1
    assert f"the server speaks TLS, and this client does not: connect to tls://localhost:{port}" in first
    for command in (["emit", f"tcp://localhost:{port}", "message"], ["request", f"tcp://localhost:{port}", "add"]):
        assert main(command) == 1
        assert f"may want TLS (tls://localhost:{port})" in capsys.readouterr().err
    server.interrupt()
    server.ends()


def test_a_tls_server_that_wants_a_certificate(
    node_ipc: Command, capsys: pytest.CaptureFixture[str], tls_config: Callable[..., str]
) -> None:
    authority = identity("Clients' CA", authority=True)
    config = tls_config(ca=authority.cert, requestCert=True)
    server, port = tls_server(node_ipc, config)
    code = main(["doctor", f"tls://localhost:{port}", "--config", f"{config}/client.json"])
    first = capsys.readouterr().out.splitlines()[0]
    assert code == 1
    assert "certificate" in first and "tls.key and tls.cert" in first
    assert "may be full" not in first and "another delimiter" not in first
    server.interrupt()
    server.ends()


def test_a_servers_certificate_in_a_clients_hands(
    node_ipc: Command, capsys: pytest.CaptureFixture[str], tls_config: Callable[..., str]
) -> None:
    """With TLS 1.3 the client hears of it behind its handshake only."""
    authority = identity("Clients' CA", authority=True)
    config = tls_config(ca=authority.cert)
    server, port = tls_server(node_ipc, config)
    own = identity("client", authority, purpose=FOR_SERVERS).options
    trusted = Path(f"{config}/ca.pem").read_text()
    Path(f"{config}/client.json").write_text(json.dumps({"tls": {"ca": trusted, **own}}))
    code = main(["doctor", f"tls://localhost:{port}", "--config", f"{config}/client.json"])
    first = capsys.readouterr().out.splitlines()[0]
    assert code == 1
    assert (
        "this client's certificate is not meant for a client: its extended key usage must include clientAuth" in first
    )
    assert "Make one for a client (node-ipc help tls shows how)" in first
    server.interrupt()
    server.ends()


def test_a_server_of_another_authority_that_wants_a_certificate_too(
    node_ipc: Command, capsys: pytest.CaptureFixture[str], tls_config: Callable[..., str]
) -> None:
    """Whoever gave the authority alone would come back for the second mistake."""
    wants = {"ca": identity("Clients' CA", authority=True).cert, "requestCert": True}
    for more in (wants, {}):
        server, port = tls_server(node_ipc, tls_config(**more))
        assert main(["doctor", f"tls://localhost:{port}"]) == 1
        first = capsys.readouterr().out.splitlines()[0]
        authority, _, certificate = first.partition(". And then ")
        assert "tls.ca" in authority
        assert first.endswith(". Here such a file is given as -o tls.trusted_connections=FILE")
        assert ("a certificate of this client's" in certificate) == ("ca" in more)
        server.interrupt()
        server.ends()


def test_a_tls_server_that_is_stopped(
    node_ipc: Command, capsys: pytest.CaptureFixture[str], tls_config: Callable[..., str]
) -> None:
    config = tls_config()
    server, port = tls_server(node_ipc, config)
    server.process.send_signal(signal.SIGSTOP)
    assert main(["doctor", f"tls://localhost:{port}", "--config", f"{config}/client.json", "--timeout", "0.5"]) == 1
    server.process.send_signal(signal.SIGCONT)
    assert f"kill -CONT {server.process.pid} lets it go on" in capsys.readouterr().out.splitlines()[0]
    server.interrupt()
    server.ends()


# ---- tls:// where none is


def first_line(capsys: pytest.CaptureFixture[str], port: int) -> str:
    assert main(["doctor", f"tls://localhost:{port}", "--timeout", "1"]) == 1
    return capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("secure", [False, True], ids=["HTTP", "HTTPS"])
def test_tls_to_a_web_server(
    secure: bool, capsys: pytest.CaptureFixture[str], tls_config: Callable[..., str], tmp_path: Path
) -> None:
    tls_config()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        if secure:
            own = identity("server", identity("CA", authority=True), names=["localhost"])
            (tmp_path / "key.pem").write_text(own.key)
            (tmp_path / "cert.pem").write_text(own.cert)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        first = first_line(capsys, server.server_port)
        server.shutdown()
        thread.join()
    assert ("it is not node-ipc: it speaks HTTPS" if secure else "it speaks HTTP, without TLS") in first


def test_tls_to_a_server_without_it(node_ipc: Command, capsys: pytest.CaptureFixture[str]) -> None:
    server = node_ipc("listen", "tcp://127.0.0.1:0")
    port = int(server.wait_for("listening at").split("127.0.0.1:")[1].split(",")[0])
    assert f"it is node-ipc without TLS: connect to tcp://localhost:{port}" in first_line(capsys, port)
    server.interrupt()
    server.ends()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "1 connection is made and not accepted" in first_line(capsys, port)
        with accepting(silent, lambda peer: [*iter(lambda: peer.recv(1000), b"")], times=5):
            assert "it does not answer as TLS does" in first_line(capsys, port)
