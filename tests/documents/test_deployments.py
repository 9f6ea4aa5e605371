"""The pages on containers, systemd and other users: their programs and command lines are run, as the users they name.

Paths in ``/run`` are a directory of the test's. What reads the files of Docker, Kubernetes and systemd is
``check_deployments.py``; no container and no systemd is started here.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib
import io
import os
import pkgutil
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

import node_ipc
from children import DEADLINE, Child
from node_ipc.tools.cli import main
from processes import Program, listens

from .pages import Block, blocks

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages on Linux")
CONTAINERS, SYSTEMD, USERS = (f"docs/howto/{page}.md" for page in ("containers", "systemd", "who-may-connect"))
SERVER, CLIENT, STRANGER = 10001, 10002, 10003
"""The users of the pages."""
OWN = SERVER if hasattr(os, "geteuid") and os.geteuid() == 0 else None
"""Who runs what one user does: only root can be somebody else."""


@pytest.fixture
def run() -> Iterator[Path]:
    """Stands for /run; its name is short, and every user may enter it."""
    path = Path(tempfile.mkdtemp(prefix="ipc-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What the programs need is there before: their users may not read where this lies."""
    for module in pkgutil.walk_packages(node_ipc.__path__, "node_ipc."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ModuleNotFoundError):  # of an extra
                importlib.import_module(module.name)


@pytest.fixture
def users() -> None:
    if OWN is None:
        pytest.skip("only root can act as several users")


def program(page: str, first_line: str, run: Path) -> str:
    """The page's program that begins with this line, its paths led into the test's directory."""
    [found] = [block.text for block in blocks(page) if block.text.startswith(f"# {first_line}\n")]
    return found.replace("/run/", f"{run}/")


def printed(work: Callable[[], Any]) -> Callable[[], str]:
    def printing() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            work()
        return out.getvalue()

    return printing


def played(text: str, user: int | None) -> Child:
    """A program in a process of its own, as this user; its outcome is what it prints."""
    return Child(printed(lambda: exec(compile(text, "program", "exec"), {"__name__": "__main__"})), uid=user)


def command(words: list[str], user: int | None) -> int:
    """The exit code of a command line, run as this user."""
    assert words[0] == "node-ipc"
    with Child(lambda: main(words[1:]), uid=user) as child:
        code: int = child.result()
    return code


@contextlib.contextmanager
def served(text: str, path: Path, mode: int) -> Iterator[None]:
    """A server that SIGTERM ends in order, once its socket is there and as open as it will be."""
    with played(text, OWN) as child:
        deadline = time.monotonic() + DEADLINE
        while not (path.exists() and path.stat().st_mode & 0o777 == mode and listens(path)):
            assert time.monotonic() < deadline, f"no socket at {path}: {child.outcome()}"
            time.sleep(0.01)
        yield
        os.kill(child.pid, signal.SIGTERM)
        assert child.outcome() == ["SystemExit", "0"] and not path.exists()


# ---- containers


def shared_by_containers(run: Path) -> Path:
    """A volume as Docker's and Kubernetes' are at first: 0777, and root's."""
    shared = run / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    return shared / "ipc" / "app.world"


def probes(run: Path) -> list[list[str]]:
    """What asks in the page's files whether the server is well."""
    compose, pod = (yaml.safe_load(block.text) for block in blocks(CONTAINERS) if block.language == "yaml")
    kind, *health = compose["services"]["server"]["healthcheck"]["test"]
    assert kind == "CMD"
    ready = pod["spec"]["containers"][0]["readinessProbe"]["exec"]["command"]
    return [[word.replace("/run/", f"{run}/") for word in words] for words in (health, ready)]


def test_two_containers_of_one_user(run: Path) -> None:
    path = shared_by_containers(run)
    with played(program(CONTAINERS, "client.py", run), OWN) as early:  # its container is the first
        with served(program(CONTAINERS, "server.py", run), path, 0o600):
            assert early.result() == "3\n"
            assert [command(words, OWN) for words in probes(run)] == [0, 0]
        assert [command(words, OWN) for words in probes(run)] == [1, 1]


def test_two_containers_of_two_users(run: Path, users: None) -> None:
    path = shared_by_containers(run)
    client = program(CONTAINERS, "client.py", run)
    naming = client.replace('ipc/", ', f'ipc/", allowed_uids=[{SERVER}], ').replace("wait=True", "wait=False")
    with served(program(CONTAINERS, "server_for_another_user.py", run), path, 0o666):
        assert played(naming, CLIENT).result() == "3\n"
        assert played(client.replace("wait=True", "wait=False"), CLIENT).outcome()[0] == "PeerRefused"
        assert played(naming, STRANGER).outcome()[0] in ("ConnectionLost", "NotConnected")


def test_what_the_image_is_started_with_is_on_the_page() -> None:
    files = {block.file for block in blocks(CONTAINERS)}
    [dockerfile] = [block.text for block in blocks(CONTAINERS) if block.language == "dockerfile"]
    started = [
        words for line in dockerfile.splitlines() if line.startswith("CMD ") for words in [yaml.safe_load(line[4:])]
    ]
    compose, pod = (yaml.safe_load(block.text) for block in blocks(CONTAINERS) if block.language == "yaml")
    started += [
        one["command"] for one in [*compose["services"].values(), *pod["spec"]["containers"]] if "command" in one
    ]
    assert len(started) == 4
    for python, name in started:
        assert python == "python" and name in files and name in dockerfile
    assert pod["spec"]["securityContext"]["runAsUser"] == SERVER and f"USER {SERVER}" in dockerfile


# ---- other users


def test_some_users(run: Path, users: None) -> None:
    (run / "todo").mkdir()
    os.chown(run / "todo", SERVER, -1)
    client = program(USERS, "client.py, run by user 10002", run)
    with served(program(USERS, "server.py, run by user 10001", run), run / "todo" / "todo.sock", 0o666):
        assert played(client, CLIENT).result() == "['write the page']\n"
        assert played(client, STRANGER).outcome()[0] in ("ConnectionLost", "NotConnected")


# ---- systemd


class Manager:
    """What systemd does with the page's two units: binds the socket, and starts the service for the first client."""

    def __init__(self, run: Path) -> None:
        units = {block.text.split("\n")[0]: unit(block) for block in blocks(SYSTEMD) if block.language == "ini"}
        self._service = units["# /etc/systemd/system/todo.service"]["Service"]
        self._socket = units["# /etc/systemd/system/todo.socket"]["Socket"]
        assert self._service["RuntimeDirectory"] == "todo"
        (run / "todo").mkdir(mode=int(self._service["RuntimeDirectoryMode"], 8))
        self.path = Path(self._socket["ListenStream"].replace("/run/", f"{run}/"))
        python, script = shlex.split(self._service["ExecStart"])
        assert python.endswith("/python")
        self._script = run / Path(script).name
        self._script.write_text(program(SYSTEMD, self._script.name, run), "utf-8")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self.path.chmod(int(self._socket["SocketMode"], 8))
        self._listening.listen()

    def start_for_a_client(self) -> subprocess.Popen[bytes]:
        assert select.select([self._listening], [], [], DEADLINE)[0], "no client came"
        number = self._listening.fileno()
        return subprocess.Popen([sys.executable, "-c", AS_SYSTEMD, str(number), self._script], pass_fds=[number])

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), PYTHONWARNINGS="error")
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""


def asked(run: Path) -> list[list[str]]:
    """The page's command lines that a client types."""
    [typed] = [block.text for block in blocks(SYSTEMD) if "systemctl" in block.text and block.language == "sh"]
    lines = [line.replace("/run/", f"{run}/") for line in typed.splitlines() if line.startswith("node-ipc ")]
    return [shlex.split(line)[1:] for line in lines]


@contextlib.contextmanager
def ended_in_order(service: subprocess.Popen[bytes]) -> Iterator[None]:
    """As ``systemctl stop`` does it."""
    try:
        yield
        service.terminate()
        assert service.wait(DEADLINE) == 0
    finally:
        service.kill()
        service.wait()


def typed(words: list[str]) -> contextlib.closing[Program]:
    return contextlib.closing(Program.python("-m", "node_ipc", *words))


def test_a_socket_that_is_always_there(run: Path) -> None:
    doctor, request = asked(run)
    with Manager(run) as manager:
        for _ in range(2):  # at first, and while it restarts: the kernel's queue holds who comes
            slowly = [*request, "--timeout", "60"]  # a service that starts on a busy machine
            with typed(slowly) as waiting, ended_in_order(manager.start_for_a_client()):
                assert waiting.ends() == ["[]"]
                with typed(doctor) as told:
                    told.ends()
            assert manager.path.is_socket() and manager.path.stat().st_mode & 0o777 == 0o660


def test_the_daemon_runs_by_hand_as_well(run: Path) -> None:
    _, request = asked(run)
    (run / "todo").mkdir()
    if OWN is not None:
        os.chown(run / "todo", OWN, -1)
    with served(program(SYSTEMD, "todo_daemon.py", run), run / "todo" / "todo.sock", 0o600):
        assert command(["node-ipc", *request], OWN) == 0
        assert OWN is None or command(["node-ipc", *request], CLIENT) == 1


def unit(block: Block) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.text)
    return parser
