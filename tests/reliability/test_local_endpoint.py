"""The local endpoint's promises, at clients and servers of the callback front (reliability rows 19 to 27 and 44).

What the kernel's part does alone is in ``tests/net/test_unix.py``. Attackers are forked processes that
give up root for another user: without root those tests are skipped, under ``CI=true`` they fail.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import select
import shutil
import signal
import socket as sockets
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from children import DEADLINE, NOBODY, SOMEBODY, Child, Crew, Gate, Signal, refuse_to_run
from node_ipc import (
    IPC,
    AddressError,
    AddressInUse,
    Config,
    ConnectDenied,
    IPCError,
    PeerRefused,
    SocketRootError,
    runtime_socket_root,
)
from stopwatch import Stopwatch

pytestmark = pytest.mark.skipif(not hasattr(sockets, "AF_UNIX"), reason="no Unix sockets on this system")


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        refuse_to_run("only root can act as several users")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may write to and that is sticky, as /tmp is; its name is short."""
    path = Path(tempfile.mkdtemp(prefix="ipc-", dir="/tmp"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def own() -> Iterator[Path]:
    """A directory of ours that others may enter but not write to; its name is short."""
    path = Path(tempfile.mkdtemp(prefix="ipc-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# ---- endpoints


def quiet(**options: Any) -> IPC:
    return IPC(Config(silent=True, **{"retry": 20, **options}))


async def started(path: Any = None, **options: Any) -> IPC:
    """A server that answers "ask" with "answer"; raises what ``start`` raises."""
    ipc = quiet(**options)
    ipc.serve(path)
    ipc.server.on("ask", lambda data, socket: socket.emit("answer", data))
    ipc.server.on("error", lambda error: None)
    await ipc.server.start()
    return ipc


async def answer(path: Any, data: Any = "hello", **options: Any) -> Any:
    """Connect, ask, and disconnect; raises the first error of the client."""
    ipc = quiet(**options)
    heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(error: Exception) -> None:
        if not heard.done():
            heard.set_exception(error)

    def answered(data: Any) -> None:
        if not heard.done():
            heard.set_result(data)

    ipc.connect_to("world", *(() if path is None else (path,)))
    ipc.of.world.on("error", settle)
    ipc.of.world.on("answer", answered)
    ipc.of.world.emit("ask", data)
    try:
        async with asyncio.timeout(DEADLINE):
            return await heard
    finally:
        await ipc.stop()


async def serves(path: str) -> bool:
    return bool(await answer(path) == "hello")


def serve_for_ever(ready: Signal, path: str, options: dict[str, Any]) -> None:
    """In a child."""

    async def main() -> None:
        await started(path, **options)
        ready.give()
        await asyncio.Event().wait()

    asyncio.run(main())


def held_server(path: str, *, uid: int | None = None, **options: Any) -> Child:
    """A server in a process of its own, which serves until it is killed."""
    ready = Signal()
    child = Child(lambda: serve_for_ever(ready, path, options), uid=uid)
    ready.wait()
    return child


def start_error(path: Any, **options: Any) -> tuple[str, str, float]:
    """The type and text of the error that ``start`` gives, and the seconds that took."""

    async def main() -> tuple[str, str, float]:
        watch = Stopwatch()
        try:
            ipc = await started(path, **options)
        except IPCError as error:
            return type(error).__name__, str(error), watch.seconds
        await ipc.stop()
        return "ok", "", 0.0

    return asyncio.run(main())


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# ---- 19: never reachable with a wider mode


def watch_as_stranger(path: str, end: Gate) -> list[int]:
    seen = wide = connected = 0
    while not end.is_open:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        seen += 1
        wide += bool(mode & 0o077)
        with sockets.socket(sockets.AF_UNIX) as sock:
            connected += sock.connect_ex(path) == 0
    return [seen, wide, connected]


@pytest.mark.slow
@pytest.mark.row(19)
def test_no_stranger_gets_in_while_servers_start_and_stop(root: None, shared: Path) -> None:
    path = f"{shared}/app.world"

    async def start_often() -> None:
        os.umask(0)
        for _ in range(3_000):
            ipc = await started(path)
            await ipc.stop()

    end = Gate()
    stranger = Child(lambda: watch_as_stranger(path, end), uid=NOBODY)
    Child(lambda: asyncio.run(start_often())).result()
    end.open()
    seen, wide, connected = stranger.result()
    assert seen > 300, "the stranger hardly saw the socket, so it proves nothing"
    assert (wide, connected) == (0, 0)


# ---- 20: a live server is never displaced


def starter(path: str, commands: int, answers: int) -> None:
    """Told to it starts a server, or stops the one that it has."""

    async def main() -> None:
        ipc: IPC | None = None
        while command := os.read(commands, 1):
            answer = b"."
            if command == b"+":
                try:
                    ipc, answer = await started(path), b"O"
                except AddressInUse:
                    answer = b"u"
            elif ipc is not None:
                await ipc.stop()
                ipc = None
            os.write(answers, answer)

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.row(20)
def test_eight_starters_over_a_stale_socket_have_one_owner(own: Path) -> None:
    path = f"{own}/app.world"
    with Crew(8, partial(starter, path)) as crew:
        for _ in range(300):
            with sockets.socket(sockets.AF_UNIX) as dead:
                dead.bind(path)
            assert crew.all(b"+") == "Ouuuuuuu", "one owner, and seven are told that it is in use"
            assert crew.all(b"-") == "........"
            assert names(own) == []
        crew.end()


@pytest.mark.row(20)
@pytest.mark.parametrize("state", ["idle", "stopped", "full"])
def test_a_second_server_is_refused_at_once(own: Path, state: str) -> None:
    path = f"{own}/app.world"
    waiting: list[sockets.socket] = []
    with held_server(path, backlog=1) as owner:
        if state != "idle":
            os.kill(owner.pid, signal.SIGSTOP)
            until_stopped(owner.pid)
        if state == "full":
            waiting = fill(path)
        name, text, seconds = start_error(path)
        assert name == "AddressInUse", text
        assert seconds <= 0.2
        assert path in text
        if state == "idle":
            assert asyncio.run(serves(path))
    for sock in waiting:
        sock.close()


def until_stopped(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.001)


def fill(path: str) -> list[sockets.socket]:
    """Connections until the kernel takes no more."""
    waiting = []
    while True:
        sock = sockets.socket(sockets.AF_UNIX)
        waiting.append(sock)
        sock.setblocking(False)
        if sock.connect_ex(path) == errno.EAGAIN:
            return waiting


# ---- 21: a dead server's socket is reclaimed


@pytest.mark.slow
@pytest.mark.row(21)
def test_a_killed_servers_socket_is_taken_over(own: Path) -> None:
    path = f"{own}/app.world"
    slowest = 0.0
    for _ in range(100):
        watch = Stopwatch()
        child = held_server(path)
        slowest = max(slowest, watch.seconds_beside(child.pid))
        child.kill()
        assert names(own) == ["app.world", "app.world.lock"], "it had no time to clean up"
    assert slowest <= 1.0
    assert asyncio.run(start_and_ask(path)) == "hello"
    assert names(own) == []


async def start_and_ask(path: str) -> Any:
    ipc = await started(path)
    try:
        return await answer(path)
    finally:
        await ipc.stop()


# ---- 22: stop removes only what we made


def replace_by_a_server(path: str) -> Any:
    other = sockets.socket(sockets.AF_UNIX)
    other.bind(path)
    other.listen()
    return other


REPLACEMENTS: dict[str, Callable[[str], Any]] = {
    "another server": replace_by_a_server,
    "a file": lambda path: Path(path).write_text("mine"),
    "a symbolic link": lambda path: os.symlink("/etc/hostname", path),
    "a link to our socket": lambda path: os.symlink(f"{path}.moved", path),
    "a directory": os.mkdir,
    "nothing": lambda path: None,
}


@pytest.mark.row(22)
@pytest.mark.parametrize("what", REPLACEMENTS)
async def test_stop_leaves_what_took_its_place(own: Path, what: str) -> None:
    path = f"{own}/app.world"
    ipc = await started(path)
    os.rename(path, f"{path}.moved")
    kept = REPLACEMENTS[what](path)
    before = {name: os.lstat(own / name).st_ino for name in names(own)}
    await ipc.stop()
    after = {name: os.lstat(own / name).st_ino for name in names(own)}
    assert after == {name: inode for name, inode in before.items() if name != "app.world.lock"}
    if isinstance(kept, sockets.socket):
        kept.close()


FORK_AND_EXIT = """
import asyncio, os, sys
from node_ipc import IPC, Config

async def start():
    ipc.serve(sys.argv[1])
    ipc.server.on("ask", lambda data, socket: socket.emit("answer", data))
    await ipc.server.start()

ipc = IPC(Config(silent=True))
loop = asyncio.new_event_loop()
loop.run_until_complete(start())
if os.fork() == 0:
    sys.exit(0)  # an ordinary end, with everything that runs at the end of a process
os.wait()
print("forked", flush=True)
loop.run_forever()
"""


@pytest.mark.row(22)
def test_a_forked_childs_ordinary_end_removes_nothing(own: Path) -> None:
    path = f"{own}/app.world"
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", FORK_AND_EXIT, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        assert names(own) == ["app.world", "app.world.lock"]
        assert asyncio.run(serves(path))
        parent.kill()


# ---- 23: a hostile directory


def plant(kind: str, place: Path) -> None:
    """What another user may have put where our directory of sockets would be."""
    elsewhere = place.with_name("elsewhere")
    if kind.startswith("directory"):
        place.mkdir()
        mode, owner = DIRECTORIES[kind]
        os.chown(place, owner, owner)
        place.chmod(mode)
        if owner == 0:
            (place / "theirs").touch()
            os.chown(place / "theirs", NOBODY, NOBODY)
    elif kind.startswith("link"):
        if kind != "link to nothing":
            elsewhere.mkdir(0o700)
            os.chown(elsewhere, 0 if kind == "link to a directory of ours" else NOBODY, 0)
        os.symlink(elsewhere, place)
        if kind != "link of ours":
            os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with sockets.socket(sockets.AF_UNIX) as sock:
            sock.bind(str(place))
    elif kind == "device":
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    else:
        place.write_text("mine")


DIRECTORIES = {
    "directory of another": (0o700, NOBODY),
    "directory of another, open to all": (0o777, NOBODY),
    "directory, open to all": (0o777, 0),
    "directory, open to all and sticky": (0o1777, 0),
    "directory, open to a group": (0o770, 0),
}
PLANTS = [
    *DIRECTORIES,
    "link to a directory of theirs",
    "link to a directory of ours",
    "link of ours",
    "link to nothing",
    "fifo",
    "socket",
    "device",
    "file",
]


@pytest.mark.row(23)
@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_socket_root_is_refused(root: None, shared: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    place = shared / "node-ipc"
    plant(kind, place)
    before = everything_in(shared)
    name, text, _ = start_error(None, socket_root=runtime_socket_root(), secure_socket_root=True, id="world")
    assert name in ("SocketRootError", "AddressError"), (name, text)
    assert "node-ipc" in text
    assert everything_in(shared) == before


def everything_in(directory: Path) -> dict[str, tuple[int, int, int]]:
    found = [directory / name for name in names(directory)]
    found += [inner for outer in found if outer.is_dir() and not outer.is_symlink() for inner in outer.iterdir()]
    status = [(str(path), path.lstat()) for path in found]
    return {path: (of.st_mode, of.st_uid, of.st_ino) for path, of in status}


@pytest.mark.row(23)
@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
async def test_the_runtime_socket_root_is_made_for_its_owner_only(
    own: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv(variable, str(own))
    place = runtime_socket_root()
    assert Path(place).parent == own
    before = os.umask(0)
    try:
        ipc = await started(socket_root=place, secure_socket_root=True, id="world")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
    assert os.stat(place).st_uid == os.geteuid()
    assert await answer(None, socket_root="/tmp/", appspace="app.") == "hello", "a client looks there, too"
    await ipc.stop()
    assert os.listdir(place) == []


@pytest.mark.row(23)
async def test_a_runtime_socket_root_that_others_may_read_is_closed_to_them(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own))
    place = Path(runtime_socket_root())
    place.mkdir()
    place.chmod(0o755)
    ipc = await started(socket_root=place, secure_socket_root=True, id="world")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert "its mode is now 0700" in caplog.text
    await ipc.stop()


@pytest.mark.row(23)
async def test_with_a_secure_root_a_path_elsewhere_is_refused(own: Path) -> None:
    place = own / "root"
    for path in (own / "app.world", place / "deeper" / "app.world", "abstract:app.world"):
        with pytest.raises(SocketRootError):
            await started(path, socket_root=place, secure_socket_root=True)
    assert names(own) == []


@pytest.mark.row(23)
async def test_a_client_finds_a_server_in_either_place(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, usual = own / "runtime", own / "usual"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    runtime.mkdir()
    usual.mkdir()
    for place in (f"{usual}/", runtime_socket_root()):
        ipc = await started(socket_root=place, id="world")
        assert await answer(None, place, socket_root=f"{usual}/") == place
        await ipc.stop()
    both = [await started(socket_root=place, id="world") for place in (f"{usual}/", runtime_socket_root())]
    assert await answer(None, socket_root=f"{usual}/") == "hello"
    assert [len(ipc.server.sockets) for ipc in both] == [0, 0]
    for ipc in both:
        await ipc.stop()


# ---- 24: only sockets are ever unlinked


OBJECTS: dict[str, Callable[[Path], None]] = {
    "file": lambda path: path.touch(),
    "directory": lambda path: path.mkdir(),
    "fifo": lambda path: os.mkfifo(path),
    "link to a file": lambda path: path.symlink_to("/etc/hostname"),
    "link to a directory": lambda path: path.symlink_to("/etc"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.row(24)
@pytest.mark.parametrize("unlink", [True, False, "force"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_what_is_no_socket_stays(own: Path, kind: str, unlink: Any) -> None:
    path = own / "app.world"
    OBJECTS[kind](path)
    before = everything_in(own)
    name, text, seconds = start_error(path, unlink=unlink)
    assert name == "NotASocket", text
    assert "only sockets are ever removed" in text
    assert seconds <= 0.2
    assert everything_in(own) == before


@pytest.mark.row(24)
def test_a_device_stays(root: None, own: Path) -> None:
    path = own / "app.world"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    name, text, _ = start_error(path)
    assert (name, path.is_char_device()) == ("NotASocket", True), text


# ---- 25: both ends know who the other is


@pytest.mark.row(25)
@pytest.mark.parametrize("uid", [NOBODY, SOMEBODY])
def test_a_server_hears_nothing_from_a_foreign_client(root: None, own: Path, uid: int) -> None:
    path = f"{own}/app.world"
    begin = Gate()

    def foreign() -> str:
        begin.wait()
        with sockets.socket(sockets.AF_UNIX) as sock:
            sock.connect(path)
            sock.settimeout(DEADLINE)
            try:
                sock.sendall(b'{"type":"ask","data":{"id":"root","uid":0}}\f')
                return "refused" if sock.recv(100) == b"" else "answered"
            except ConnectionError:
                return "refused"

    child = Child(foreign, uid=uid)

    async def main() -> tuple[list[Any], str]:
        heard: list[Any] = []
        ipc = await started(path, identify_peer=True)
        ipc.server.on("*", lambda type, *data: heard.append(type))
        os.chmod(path, 0o666)  # as a careless administrator would, so that the kernel lets everybody in
        begin.open()
        outcome = await asyncio.to_thread(child.result)
        assert ipc.server.sockets == []
        await ipc.stop()
        return heard, outcome

    heard, outcome = asyncio.run(main())
    assert (heard, outcome) == ([], "refused")


@pytest.mark.row(25)
@pytest.mark.row(50)
def test_a_foreign_client_cannot_fill_the_log(root: None, own: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = f"{own}/app.world"
    begin = Gate()

    def foreign() -> int:
        begin.wait()
        connected = 0
        for _ in range(200):
            with sockets.socket(sockets.AF_UNIX) as sock:
                sock.connect(path)
                connected += 1
                sock.settimeout(DEADLINE)
                sock.recv(1)
        return connected

    child = Child(foreign, uid=NOBODY)

    async def main() -> float:
        ipc = await started(path)
        os.chmod(path, 0o666)
        begun = time.monotonic()
        begin.open()
        assert await asyncio.to_thread(child.result) == 200
        seconds = time.monotonic() - begun
        await ipc.stop()
        return seconds

    seconds = asyncio.run(main())
    lines = [record.getMessage() for record in caplog.records]
    left_out = [line for line in lines if "were left out" in line]
    assert 1 <= len(lines) - len(left_out) <= 5 * (seconds + 1)
    assert 1 <= len(left_out) <= seconds + 1, "what is left out is summed up, once a second and at the end"
    assert f"a client runs as user {NOBODY}" in lines[0]


@pytest.mark.row(25)
@pytest.mark.parametrize(
    ("options", "uid"), [({"allowed_uids": [NOBODY]}, NOBODY), ({"writable_all": True}, SOMEBODY), ({}, 0)]
)
def test_a_client_that_may_is_known_by_its_user_whatever_it_says(
    root: None, own: Path, options: dict[str, Any], uid: int
) -> None:
    path = f"{own}/app.world"
    begin = Gate()

    def client() -> Any:
        begin.wait()
        return asyncio.run(answer(path, {"id": "somebody else", "uid": 0}))

    child = Child(client, uid=uid)

    async def main() -> None:
        seen: list[Any] = []
        ipc = await started(path, identify_peer=True, **options)
        ipc.server.on("ask", lambda data, socket: seen.append((socket.peer.uid, socket.peer.pid, socket.claimed_id)))
        if "allowed_uids" in options:
            os.chmod(path, 0o666)
        begin.open()
        assert await asyncio.to_thread(child.result) == {"id": "somebody else", "uid": 0}
        assert seen == [(uid, child.pid, "somebody else")]
        await ipc.stop()

    asyncio.run(main())


@pytest.mark.row(25)
@pytest.mark.parametrize("uid", [0, SOMEBODY])
def test_a_client_tells_an_impostor_nothing(root: None, shared: Path, uid: int) -> None:
    path = f"{shared}/app.world"
    ready = Signal()

    def impostor() -> int:
        with sockets.socket(sockets.AF_UNIX) as sock:
            sock.bind(path)
            os.chmod(path, 0o666)
            sock.listen()
            ready.give()
            assert select.select([sock], [], [], DEADLINE)[0]
            accepted, _ = sock.accept()
            with accepted:
                return len(accepted.recv(100))

    def client() -> list[Any]:
        async def main() -> list[Any]:
            ipc = quiet()
            ipc.connect_to("world", path)
            world = ipc.of.world
            errors: list[Exception] = []
            world.on("error", errors.append)
            world.emit("ask", "secret")
            async with asyncio.timeout(DEADLINE):
                await world.closed
            return [type(error).__name__ for error in errors]

        return asyncio.run(main())

    liar = Child(impostor, uid=NOBODY)
    ready.wait()
    assert Child(client, uid=uid).result() == [PeerRefused.__name__], "refused once, and not tried again"
    assert liar.result() == 0


@pytest.mark.row(25)
def test_a_client_may_trust_another_user(root: None, shared: Path) -> None:
    path = f"{shared}/app.world"
    with held_server(path, uid=NOBODY, writable_all=True):
        with pytest.raises(PeerRefused, match=f"put {NOBODY} into the option allowed_uids"):
            asyncio.run(answer(path))
        assert asyncio.run(answer(path, allowed_uids=[NOBODY])) == "hello"


# ---- 26: odd paths


@pytest.mark.slow
@pytest.mark.row(26)
async def test_paths_of_every_length_are_served_or_refused(own: Path) -> None:
    served = refused = 0
    for length in range(len(str(own)) + 2, 301):
        name = "x" * (length - len(str(own)) - 1)
        try:
            ipc = await started(f"{own}/{name}")
        except AddressError:
            refused += 1
            assert names(own) == []
            continue
        assert name in names(own), "the name that was asked for is the one there is"
        assert await serves(f"{own}/{name}")
        await ipc.stop()
        served += 1
    assert served >= 230  # the longest name of a file is 255, and the lock's is 5 longer
    assert refused > 0


@pytest.mark.row(26)
@pytest.mark.parametrize("name", [" ", "a\nb", "ü", "日本", "%s", "a b;c", ".hidden", "-rf", "@app.world", "x.sock "])
async def test_odd_names_are_taken_as_they_are(own: Path, name: str) -> None:
    ipc = await started(own / name)
    assert names(own) == sorted([name, f"{name}.lock"])
    assert await serves(own / name)  # type: ignore[arg-type]
    await ipc.stop()


@pytest.mark.row(26)
@pytest.mark.parametrize("path", ["", "\0", "a\0b", "/tmp/", ".", "..", "/", "a/", "abstract:", "\ud800"])
def test_what_is_no_path_is_refused_at_both_ends(path: str) -> None:
    ipc = quiet()
    with pytest.raises(AddressError):
        ipc.serve(path)
    with pytest.raises(AddressError):
        ipc.connect_to("world", path)
    assert len(ipc.of) == 0


@pytest.mark.row(26)
async def test_a_relative_path_counts_from_where_it_was_given(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "first").mkdir()
    (own / "second").mkdir()
    monkeypatch.chdir(own / "first")
    ipc = quiet()
    ipc.serve("../first/app.world")
    ipc.server.on("ask", lambda data, socket: socket.emit("answer", data))
    asking = quiet()
    asking.connect_to("world", "app.world")
    monkeypatch.chdir(own / "second")
    await ipc.server.start()
    heard = asyncio.get_running_loop().create_future()
    asking.of.world.on("answer", heard.set_result)
    asking.of.world.emit("ask", 1)
    async with asyncio.timeout(DEADLINE):
        assert await heard == 1
    assert names(own / "first") == ["app.world", "app.world.lock"]
    await asking.stop()
    await ipc.stop()
    assert names(own / "first") == names(own / "second") == []


@pytest.mark.row(26)
async def test_an_abstract_socket(own: Path) -> None:
    name = f"abstract:node-ipc-{os.getpid()}"
    ipc = await started(name)
    assert await serves(name)
    with pytest.raises(AddressInUse):
        await started(name)
    await ipc.stop()


# ---- 27: sockets of a service manager


AS_A_SERVICE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": sys.argv[2] if sys.argv[2] else str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[3:]])
"""
SERVICE = """
import node_ipc, os
ipc = node_ipc.ipc
ipc.config.silent = True
(sock,) = node_ipc.systemd_sockets()
assert node_ipc.systemd_sockets() == [] and "LISTEN_FDS" not in os.environ
answered = 0
def started():
    print("ready", flush=True)
    @ipc.server.on("ask")
    def ask(data, socket):
        global answered
        answered += 1
        socket.emit("answer", data)
        if answered == 200:
            ipc.stop()
ipc.serve(sock, started)
ipc.server.start()
ipc.run()
print(ipc.server.address)
"""


def service(sock: sockets.socket, script: str, pid: str = "") -> subprocess.Popen[str]:
    """A program that is started as systemd does it: the socket is its descriptor 3."""
    os.set_inheritable(sock.fileno(), True)
    command = [sys.executable, "-c", AS_A_SERVICE, str(sock.fileno()), pid, script]
    return subprocess.Popen(command, pass_fds=[sock.fileno()], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def manager(own: Path) -> Iterator[sockets.socket]:
    """A listening socket whose mode is the service manager's business."""
    with sockets.socket(sockets.AF_UNIX) as sock:
        sock.bind(f"{own}/app.world")
        sock.listen(128)
        os.chmod(f"{own}/app.world", 0o622)
        yield sock


@pytest.mark.slow
@pytest.mark.row(27)
def test_a_service_restarts_without_a_refused_connection(own: Path, manager: sockets.socket) -> None:
    path = f"{own}/app.world"
    there = os.lstat(path)
    for _ in range(5):
        with service(manager, SERVICE) as running:
            for number in range(200):
                assert ask_plainly(path, number) == number
            output, _ = running.communicate(timeout=DEADLINE)
            assert output.split() == ["ready", f"unix:{path}"]
            assert running.returncode == 0
    assert os.path.samestat(os.lstat(path), there)
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o622
    assert names(own) == ["app.world"]


def ask_plainly(path: str, number: int) -> int:
    with sockets.socket(sockets.AF_UNIX) as sock:
        sock.connect(path)
        sock.settimeout(DEADLINE)
        sock.sendall(b'{"type":"ask","data":%d}\f' % number)
        answered = sock.recv(1000)
        return int(answered.rpartition(b'"data":')[2].rstrip(b"}\f"))


@pytest.mark.row(27)
@pytest.mark.parametrize("pid", ["1", "0", "x"])
def test_sockets_for_another_process_are_left_alone(manager: sockets.socket, pid: str) -> None:
    with service(manager, "import node_ipc; print(node_ipc.systemd_sockets())", pid) as running:
        assert running.communicate(timeout=DEADLINE)[0] == "[]\n"


@pytest.mark.row(27)
@pytest.mark.parametrize("front", ["callbacks", "asyncio"])
async def test_a_socket_that_is_bound_already_is_served_and_left(
    own: Path, manager: sockets.socket, front: str
) -> None:
    path = f"{own}/app.world"
    for _ in range(2):
        handed = manager.dup()
        if front == "callbacks":
            ipc = await started(handed)
            assert await serves(path)
            await ipc.stop()
        else:
            async with node_ipc.serve(handed) as server:
                server.on("ask", lambda data, socket: socket.emit("answer", data))
                assert await serves(path)
        assert handed.fileno() == -1, "the server closes what it was given"
    assert names(own) == ["app.world"]
    with sockets.socket(sockets.AF_UNIX) as waiting:
        waiting.connect(path)  # the manager still has it


@pytest.mark.row(27)
async def test_a_stopped_server_does_not_spin_on_a_socket_that_lives_on(own: Path, manager: sockets.socket) -> None:
    ipc = await started(manager.dup())
    await ipc.stop()
    with sockets.socket(sockets.AF_UNIX) as waiting:
        waiting.connect(f"{own}/app.world")  # readable for ever, for whoever still watches
        before = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - before < 0.1


@pytest.mark.row(27)
async def test_a_handed_socket_cannot_be_served_twice(manager: sockets.socket) -> None:
    ipc = await started([manager.dup()])
    await ipc.server.stop()
    with pytest.raises(AddressError, match="Give a bound socket"):
        await ipc.server.start()


@pytest.mark.row(27)
def test_what_is_no_bound_socket_is_refused() -> None:
    ipc = quiet()
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as datagrams:
        with pytest.raises(AddressError, match="it is not bound"):
            ipc.serve(datagrams)
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as datagrams:
        with pytest.raises(AddressError, match="not a stream socket, and not a UDP port"):
            ipc.serve(datagrams)
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as one, one.dup() as two:
        one.bind(("127.0.0.1", 0))
        with pytest.raises(AddressError, match="cannot have one server"):
            ipc.serve([one, two])
    with pytest.raises(AddressError, match="there is nothing to serve"):
        ipc.serve([])
    with pytest.raises(AddressError, match="not an address: 5"):
        ipc.serve([5])
    with pytest.raises(AddressError, match="an id, a URL or a path"), sockets.socket() as tcp:
        node_ipc.connect(tcp)


@pytest.mark.row(27)
async def test_sockets_of_two_kinds_are_one_server(own: Path, manager: sockets.socket) -> None:
    tcp = sockets.create_server(("127.0.0.1", 0))
    ipc = await started([manager, tcp])
    where = [f"unix:{own}/app.world", f"tcp://127.0.0.1:{tcp.getsockname()[1]}"]
    assert [str(address) for address in ipc.server.addresses] == where
    for address in where:
        async with node_ipc.connect(address) as client:
            client.emit("ask", 1)
            assert await client.receive("answer", timeout=DEADLINE) == 1
    await ipc.stop()
    assert (tcp.fileno(), manager.fileno()) == (-1, -1)


@pytest.mark.row(27)
async def test_a_tcp_socket_that_is_bound_already() -> None:
    sock = sockets.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    ipc = await started(sock)
    assert str(ipc.server.address) == f"tcp://127.0.0.1:{port}"
    async with node_ipc.connect(f"tcp://127.0.0.1:{port}") as client:
        client.emit("ask", 1)
        assert await client.receive("answer", timeout=DEADLINE) == 1
    await ipc.stop()


@pytest.mark.row(27)
async def test_a_handed_socket_that_all_can_reach_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    sock = sockets.create_server(("0.0.0.0", 0))
    ipc = await started(sock)
    assert "without TLS" in caplog.text
    await ipc.stop()


# ---- 44: the directory is full, read-only, missing


MS_REMOUNT, MS_RDONLY, MS_REC, MS_PRIVATE, CLONE_NEWNS = 32, 1, 16384, 1 << 18, 0x20000


def mount(place: Path, options: str) -> None:
    """In a child: a tmpfs in a mount namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise InterruptedError("unshare is not permitted")
    assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
    if libc.mount(b"none", bytes(place), b"tmpfs", 0, options.encode()) != 0:
        raise InterruptedError(f"mount is not permitted: {os.strerror(ctypes.get_errno())}")


def remount_read_only(place: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", bytes(place), b"tmpfs", MS_REMOUNT | MS_RDONLY, b"") == 0


def in_namespace(work: Callable[[], Any]) -> Any:
    name, value = Child(work).outcome()
    if name == "InterruptedError":
        refuse_to_run(value)
    assert name == "ok", f"{name}: {value}"
    return value


@pytest.mark.row(44)
@pytest.mark.parametrize("inodes", [1, 2])
def test_a_full_directory_is_one_clear_error(root: None, own: Path, inodes: int) -> None:
    def work() -> Any:
        mount(own, f"nr_inodes={inodes},mode=755")
        return [*start_error(own / "app.world"), names(own)]

    name, text, seconds, left = in_namespace(work)
    assert (name, left) == ("AddressError", [])
    assert "No space left" in text and "make room" in text
    assert seconds <= 0.2


@pytest.mark.row(44)
def test_a_read_only_directory_is_one_clear_error(root: None, own: Path) -> None:
    def work() -> Any:
        mount(own, "mode=755")
        remount_read_only(own)
        return start_error(own / "app.world")

    name, text, seconds = in_namespace(work)
    assert name == "AddressError"
    assert "Read-only file system" in text
    assert seconds <= 0.2


@pytest.mark.row(44)
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_directory_without_permission_is_one_clear_error(root: None, own: Path, mode: int) -> None:
    os.chown(own, NOBODY, NOBODY)
    own.chmod(mode)
    name, text, seconds = Child(lambda: start_error(own / "app.world"), uid=NOBODY).result()
    own.chmod(0o755)
    assert name == "AddressError", text
    assert "Permission denied" in text
    assert seconds <= 0.2
    assert names(own) == []


@pytest.mark.row(44)
def test_a_missing_directory_is_one_clear_error(own: Path) -> None:
    name, text, seconds = start_error(own / "missing" / "app.world")
    assert name == "AddressError"
    assert "the directory has to be there" in text
    assert seconds <= 0.2


@pytest.mark.row(44)
async def test_an_error_of_start_reaches_the_error_handler_or_run(own: Path) -> None:
    ipc = quiet()
    ipc.serve(own / "missing" / "app.world")
    heard: list[Any] = []
    ipc.server.on("error", lambda error, socket: heard.append((type(error), socket)))
    with pytest.raises(AddressError):
        await ipc.server.start()
    assert heard == [(AddressError, None)]


@pytest.mark.row(44)
@pytest.mark.parametrize("gone", ["directory", "lock", "socket"])
async def test_what_is_removed_while_serving_does_not_disturb(
    own: Path, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = own / "root"
    place.mkdir()
    path = place / "app.world"
    ipc = await started(path)
    async with node_ipc.connect(path) as before:
        {
            "directory": lambda: shutil.rmtree(place),
            "lock": (place / "app.world.lock").unlink,
            "socket": path.unlink,
        }[gone]()
        before.emit("ask", 1)
        assert await before.receive("answer", timeout=DEADLINE) == 1
    await ipc.stop()
    assert not place.exists() or names(place) == []
    assert caplog.records == []


@pytest.mark.row(44)
@pytest.mark.parametrize("missing", ["nothing there", "a dead socket", "no directory"])
async def test_a_client_tries_again_while_nobody_listens(own: Path, missing: str) -> None:
    place = own / "root"
    path = place / "app.world"
    if missing != "no directory":
        place.mkdir()
    if missing == "a dead socket":
        with sockets.socket(sockets.AF_UNIX) as dead:
            dead.bind(str(path))
    ipc = quiet(retry=20)
    ipc.connect_to("world", path)
    world = ipc.of.world
    errors: list[Exception] = []
    three = asyncio.Event()

    def failed(error: Exception) -> None:
        errors.append(error)
        if len(errors) == 3:
            three.set()

    world.on("error", failed)
    async with asyncio.timeout(DEADLINE):
        await three.wait()
        expected = errno.ECONNREFUSED if missing == "a dead socket" else errno.ENOENT
        assert {getattr(error.__cause__, "errno", None) for error in errors} == {expected}
        place.mkdir(exist_ok=True)
        server = await started(path)
        await world.connected
    await ipc.stop()
    await server.stop()


@pytest.mark.row(44)
def test_no_permission_is_final_for_a_client(root: None, own: Path) -> None:
    path = f"{own}/app.world"

    async def main() -> list[Any]:
        ipc = quiet(retry=1)
        ipc.connect_to("world", path)
        world = ipc.of.world
        heard: list[Any] = []
        world.on("*", lambda type, *arguments: heard.append(type))
        world.on("error", lambda error: heard.append(error.__class__.__name__))
        watch = Stopwatch()
        async with asyncio.timeout(DEADLINE):
            await world.closed
        return [heard, world.retries, watch.seconds]

    with held_server(path):
        heard, retries, seconds = Child(lambda: asyncio.run(main()), uid=NOBODY).result()
    assert heard == ["error", ConnectDenied.__name__, "disconnect", "destroy"]
    assert retries == 0
    assert seconds <= 0.2
