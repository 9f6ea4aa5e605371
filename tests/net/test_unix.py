"""Unix sockets on the real kernel: modes, locks, strangers, odd paths, and what is left behind.

Attackers are forked processes that give up root for another user. Where a test needs that and the run is not
root's, it is skipped with a reason; under ``CI=true`` that is a failure.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from children import DEADLINE, NOBODY, SOMEBODY, Child, Crew, Held, refuse_to_run
from node_ipc.config.address import Tcp, Unix
from node_ipc.core.seam import Peer
from node_ipc.errors import (
    AddressError,
    AddressInUse,
    ConnectDenied,
    ConnectError,
    IPCError,
    NotASocket,
    PeerRefused,
    SocketRootError,
)
from node_ipc.net import unix
from node_ipc.net.unix import (
    Credentials,
    OwnedSocket,
    adopt,
    adopt_all,
    check_peer,
    connect_unix,
    inherited_sockets,
    listen_unix,
    lock_holder,
    of_long_path,
    peer_credentials,
    peer_of,
    secure_root,
    socket_mode,
    sockets_in,
)
from stopwatch import Stopwatch

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets on this system")


# Directories and other users


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        refuse_to_run("only root can act as several users")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may write to and that is sticky, as /tmp is."""
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


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    def kernel_objects() -> list[str]:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        return sorted(found)

    def umask() -> str:
        return Path("/proc/self/status").read_text().split("Umask:")[1].split()[0]

    before = kernel_objects(), umask()
    yield
    assert (kernel_objects(), umask()) == before


def foreign_server(path: str, backlog: int = 5) -> socket.socket:
    """A server as any other program makes one: no lock, whatever is there removed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(backlog)
    return sock


def stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory))


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def talks(server: OwnedSocket, path: str) -> bool:
    client = connect_unix(path)
    accepted, _ = server.sock.accept()
    with client, accepted:
        client.send(b"hello")
        return accepted.recv(5) == b"hello"


# The ordinary life


def test_listens_talks_and_leaves_nothing(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    assert server.address == Unix(path)
    assert server.sock.getblocking() is False
    assert server.sock.get_inheritable() is False
    assert names(own) == {"app.world", "app.world.lock"}
    assert mode(path) == 0o600
    assert mode(f"{path}.lock") == 0o600
    assert talks(server, path)
    server.close()
    server.close()
    assert names(own) == set()
    assert server.sock.fileno() == -1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0o600),
        ({"readable_all": True}, 0o644),
        ({"writable_all": True}, 0o622),
        ({"readable_all": True, "writable_all": True}, 0o666),
    ],
)
def test_modes_are_nodes_whatever_the_umask(own: Path, options: dict[str, bool], expected: int) -> None:
    assert socket_mode(**options) == expected

    def under(umask: int) -> list[int]:
        os.umask(umask)
        path = f"{own}/{umask}"
        server = listen_unix(path, mode=socket_mode(**options))
        assert os.umask(umask) == umask
        try:
            return [mode(path), mode(f"{path}.lock")]
        finally:
            server.close()

    for umask in (0o000, 0o022, 0o077, 0o777):
        assert Child(lambda umask=umask: under(umask)).result() == [expected, 0o600]  # type: ignore[misc]
    server = listen_unix(f"{own}/here", mode=0o666)
    assert mode(f"{own}/here") == 0o666
    server.close()


def test_write_permission_is_what_a_client_needs(root: None, own: Path) -> None:
    for options, expected in (({"readable_all": True}, "ConnectDenied"), ({"writable_all": True}, "ok")):
        path = f"{own}/{expected}"
        server = listen_unix(path, mode=socket_mode(**options))
        assert Child(lambda path=path: connect_unix(path).close(), uid=NOBODY).outcome()[0] == expected  # type: ignore[misc]
        server.close()


def test_the_root_is_made_with_what_is_missing_above_it(own: Path) -> None:
    """As node-ipc 14 makes it; no other directory is."""
    server = listen_unix(f"{own}/run/deep/er/app.world", root=f"{own}/run/deep/er/")
    assert [mode(own / below) for below in ("run", "run/deep", "run/deep/er")] == [0o700] * 3
    server.close()
    for path, configured in [("new/app.world", None), ("new/app.world", "run"), ("new/deep/app.world", "new")]:
        where = None if configured is None else f"{own}/{configured}"
        with pytest.raises(AddressError, match="No such file or directory; the directory has to be there"):
            listen_unix(f"{own}/{path}", root=where)
    assert names(own) == {"run"}


def test_two_starters_may_make_the_root_at_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def make_twice(*args: Any, **options: Any) -> None:
        make(*args, **options)
        make(*args, **options)

    monkeypatch.setattr(os, "mkdir", make_twice)
    listen_unix(f"{own}/run/app.world", root=f"{own}/run").close()
    assert mode(own / "run") == 0o700


def test_works_where_proc_is_missing(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "_FD_PATHS", False)
    path = f"{own}/app.world"
    stale(path)
    server = listen_unix(path, mode=0o666)
    assert mode(path) == 0o666
    assert talks(server, path)
    server.close()
    (own / ("d" * 100)).mkdir()
    long = f"{own}/{'d' * 100}/app.world"
    with pytest.raises(AddressError, match="too long"):
        listen_unix(long)
    with pytest.raises(AddressError, match="too long"):
        connect_unix(long)
    assert names(Path(long).parent) == set()


# Row 19


def watch_as_stranger(path: str, board: mmap.mmap) -> None:
    """Look and try to connect until told to stop; counts looks, wide modes and connections."""
    seen = wide = connected = 0
    while board[0] == 0:
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            seen += 1
            wide += bool(found.st_mode & 0o077)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            connected += sock.connect_ex(path) == 0
        for place, count in ((8, seen), (16, wide), (24, connected)):
            board[place : place + 8] = count.to_bytes(8, "little")


def counts(board: mmap.mmap) -> tuple[int, int, int]:
    seen, wide, connected = (int.from_bytes(board[place : place + 8], "little") for place in (8, 16, 24))
    return seen, wide, connected


@contextlib.contextmanager
def stranger(path: str) -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, 32) as board:
        child = Child(lambda: watch_as_stranger(path, board), uid=NOBODY)
        yield board
        board[0] = 1
        child.result()


@pytest.mark.slow
@pytest.mark.row(19)
def test_no_moment_with_a_wider_mode(root: None, shared: Path) -> None:
    path = f"{shared}/app.world"

    def start_often() -> list[str]:
        os.umask(0)
        umasks = set()
        done = threading.Event()

        def watch_umask() -> None:
            while not done.is_set():
                umasks.add(Path("/proc/self/status").read_text().split("Umask:")[1].split()[0])

        watcher = threading.Thread(target=watch_umask)
        watcher.start()
        for _ in range(3000):
            listen_unix(path).close()
        done.set()
        watcher.join()
        return sorted(umasks)

    with stranger(path) as board:
        assert Child(start_often).result() == ["0000"]
        seen, wide, connected = counts(board)
    assert seen > 100, "the stranger hardly saw the socket, so it proves nothing"
    assert (wide, connected) == (0, 0)


@pytest.mark.row(19)
def test_the_stranger_of_row_19_does_get_in_where_the_mode_comes_last(root: None, shared: Path) -> None:
    path = f"{shared}/app.world"
    with stranger(path) as board:

        def start_carelessly() -> None:
            os.umask(0)
            deadline = time.monotonic() + DEADLINE
            while counts(board)[2] == 0 and time.monotonic() < deadline:
                with foreign_server(path):
                    os.chmod(path, 0o600)

        Child(start_carelessly).result()
        assert counts(board)[2] > 0


# Row 20


def starter(path: str, commands: int, answers: int) -> None:
    server: OwnedSocket | None = None
    while command := os.read(commands, 1):
        if command == b"+":
            try:
                server = listen_unix(path)
                os.write(answers, b"O")
            except AddressInUse:
                os.write(answers, b"u")
            except BaseException:
                os.write(answers, b"E")
        else:
            if server is not None:
                server.close()
                server = None
            os.write(answers, b".")


@pytest.mark.slow
@pytest.mark.row(20)
def test_of_eight_starters_one_owns_a_stale_path(own: Path) -> None:
    path = f"{own}/app.world"
    rounds = []
    with Crew(8, partial(starter, path)) as crew:
        for number in range(300):
            stale(path)
            if number % 2:
                Path(f"{path}.lock").touch()  # a killed server leaves its lock file, too
            rounds.append(crew.all(b"+"))
            assert crew.all(b"-") == "........"
            assert names(own) == set()
        crew.end()
    assert rounds == ["Ouuuuuuu"] * 300


@pytest.mark.slow
@pytest.mark.row(20)
def test_owners_that_come_and_go_never_overlap(own: Path) -> None:
    """Every server removes the lock file when it leaves, and still no two hold the path."""
    path = f"{own}/app.world"
    marker = f"{own}/owned"

    def come_and_go() -> int:
        owned = tries = 0
        while owned < 100:
            tries += 1
            assert tries < 200_000
            try:
                server = listen_unix(path)
            except AddressInUse:
                continue
            os.mkdir(marker)  # fails where another owner made it
            owned += 1
            os.rmdir(marker)
            server.close()
        return owned

    children = [Child(come_and_go) for _ in range(8)]
    assert [child.outcome() for child in children] == [["ok", 100]] * 8
    assert names(own) == set()


def full(path: str) -> list[socket.socket]:
    """A server whose queue is full."""
    kept = [foreign_server(path, backlog=0)]
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        kept.append(client)
        if client.connect_ex(path) == errno.EAGAIN:
            return kept


def datagrams(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    return sock


@pytest.mark.row(20)
@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (listen_unix, "a running server holds"),
        (foreign_server, "process"),
        (full, "its queue is full"),
        (datagrams, "wrong type"),
    ],
)
@pytest.mark.parametrize("stopped", [False, True])
def test_a_live_server_keeps_its_path(own: Path, begin: Callable[[str], Any], says: str, stopped: bool) -> None:
    path = f"{own}/app.world"
    with Held(lambda: begin(path)) as owner:
        before = os.lstat(path).st_ino
        if stopped:
            os.kill(owner.pid, signal.SIGSTOP)
        watch = Stopwatch()
        with pytest.raises(AddressInUse) as caught:
            listen_unix(path)
        assert watch.seconds <= 0.2
        assert os.lstat(path).st_ino == before
        assert "app.world.lock" not in names(own) or begin is listen_unix
    assert path in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.row(20)
def test_a_server_that_we_may_not_ask_counts_as_alive(root: None, shared: Path) -> None:
    path = f"{shared}/app.world"
    stale(path)
    os.chmod(path, 0o600)
    outcome = Child(lambda: listen_unix(path).close(), uid=NOBODY).outcome()
    assert outcome[0] == "AddressInUse"
    assert "permission denied" in outcome[1]
    assert names(shared) == {"app.world"}


def test_the_same_process_is_refused_too(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    with pytest.raises(AddressInUse):
        listen_unix(path)
    assert talks(server, path)
    server.close()


def test_force_takes_over_and_says_so(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = f"{own}/app.world"
    first = listen_unix(path)
    second = listen_unix(path, unlink="force")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all(path in record.getMessage() for record in caplog.records)
    first.close()
    assert names(own) == {"app.world", "app.world.lock"}
    assert talks(second, path)
    with pytest.raises(AddressInUse):
        listen_unix(path)
    second.close()
    assert names(own) == set()


def test_without_unlink_a_dead_servers_socket_stays(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path, unlink=False)
    assert talks(server, path)
    server.close()
    assert names(own) == set()
    stale(path)
    with pytest.raises(AddressInUse, match=r"unlink is False.*set unlink to True"):
        listen_unix(path, unlink=False)
    assert names(own) == {"app.world"}


def test_a_lock_that_its_owner_just_removed_is_no_lock(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{own}/app.world"
    lock = unix._Claim._lock
    removals = [True, True, False]

    def lock_a_moment_late(claim: Any, descriptor: int) -> bool:
        if removals.pop(0):
            os.unlink(f"{path}.lock")
        return lock(claim, descriptor)

    monkeypatch.setattr(unix._Claim, "_lock", lock_a_moment_late)
    server = listen_unix(path)
    assert removals == []
    assert names(own) == {"app.world", "app.world.lock"}
    server.close()
    removals += [True] * 100
    with pytest.raises(AddressInUse, match="start and stop"):
        listen_unix(path)
    assert names(own) == set()


def test_a_path_taken_between_look_and_bind_is_in_use(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[socket.socket] = []
    for name in ("app.world", "n" * 120):
        path = f"{own}/{name}"
        new = unix._new_socket

        def taken_meanwhile(path: str = path, new: Callable[[], socket.socket] = new) -> socket.socket:
            if not os.path.lexists(path):
                stale(f"{own}/rival")
                os.rename(f"{own}/rival", path)
            return new()

        monkeypatch.setattr(unix, "_new_socket", taken_meanwhile)
        with pytest.raises(AddressInUse, match="just started"):
            listen_unix(path)
        monkeypatch.setattr(unix, "_new_socket", new)
        assert names(own) == {name}
        os.unlink(path)
    assert kept == []


# Row 21


@pytest.mark.slow
@pytest.mark.row(21)
def test_a_killed_servers_socket_is_reclaimed(own: Path) -> None:
    path = f"{own}/app.world"
    took: list[float] = []
    for _ in range(100):
        started = time.monotonic()
        with Held(lambda: listen_unix(path)):
            took.append(time.monotonic() - started)
            connect_unix(path).close()
        assert names(own) == {"app.world", "app.world.lock"}
    assert sorted(took)[50] <= 1, "half of them: a fork may have to wait for a processor"
    listen_unix(path).close()
    assert names(own) == set()


# Row 22


def put_server(path: str) -> Any:
    return foreign_server(path)


def put_file(path: str) -> None:
    os.unlink(path)
    Path(path).write_text("mine")


def put_link(path: str) -> None:
    os.rename(path, f"{path}.moved")
    os.symlink(f"{path}.moved", path)


def put_directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def put_fifo(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def put_stale(path: str) -> None:
    os.unlink(path)
    stale(path)


@pytest.mark.row(22)
@pytest.mark.parametrize("put", [put_server, put_file, put_link, put_directory, put_fifo, put_stale])
def test_stop_leaves_what_took_our_place(own: Path, put: Callable[[str], Any]) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    kept = put(path)
    there = os.lstat(path)
    server.close()
    assert os.path.samestat(os.lstat(path), there)
    assert f"{path}.lock" not in names(own)
    if kept is not None:
        kept.close()


@pytest.mark.row(22)
def test_stop_leaves_what_was_renamed_or_has_gone(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    os.rename(path, f"{own}/elsewhere")
    server.close()
    assert names(own) == {"elsewhere"}
    server = listen_unix(path)
    os.unlink(path)
    os.unlink(f"{path}.lock")
    server.close()
    assert names(own) == {"elsewhere"}


@pytest.mark.row(22)
def test_a_recycled_inode_is_not_ours(shared: Path) -> None:
    path = f"{shared}/app.world"
    for _ in range(100):
        server = listen_unix(path)
        server.sock.close()  # as asyncio's server closes it
        with foreign_server(path):
            server.close()
            assert os.path.lexists(path)


@pytest.mark.row(22)
def test_a_forked_child_removes_nothing_and_keeps_the_lock(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    Child(server.close).result()
    assert names(own) == {"app.world", "app.world.lock"}
    with pytest.raises(AddressInUse, match="a running server holds"):
        listen_unix(path)
    assert talks(server, path)
    server.close()
    assert names(own) == set()


@pytest.mark.row(22)
def test_whoever_has_another_pid_removes_nothing(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = listen_unix(f"{own}/app.world")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        server.close()
    assert names(own) == {"app.world", "app.world.lock"}


def test_what_cannot_be_removed_is_logged(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = listen_unix(f"{own}/app.world")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        server.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot remove 'app.world' in '{own}': Operation not permitted",
        f"cannot remove 'app.world.lock' in '{own}': Operation not permitted",
    ]
    assert server.sock.fileno() == -1


# Row 23


def plant_directory(place: Path, permissions: int, uid: int) -> None:
    place.mkdir()
    os.chown(place, uid, uid)
    place.chmod(permissions)


def plant_link(place: Path, target: Path | str, uid: int) -> None:
    place.symlink_to(target)
    os.lchown(place, uid, uid)


def victim_of(place: Path) -> Path:
    victim = place.parent / "victim"
    victim.mkdir(mode=0o700, exist_ok=True)
    return victim


def plant_link_on_the_way(place: Path) -> None:
    (victim_of(place) / place.name).mkdir()
    plant_link(place.parent / "way", victim_of(place), NOBODY)


def plant_chain(place: Path) -> None:
    plant_link(place.parent / "inner", victim_of(place), NOBODY)
    plant_link(place, "inner", 0)


def plant_owned(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def plant(place: Path) -> None:
        make(place)
        os.lchown(place, NOBODY, NOBODY)

    return plant


def plant_link_to_theirs(place: Path) -> None:
    plant_directory(place.parent / "theirs", 0o755, NOBODY)
    plant_link(place, "theirs", NOBODY)


def plant_shared(place: Path, permissions: int) -> None:
    """A directory of ours in which another user has made something already."""
    plant_directory(place, permissions, 0)
    plant_directory(place / "theirs", 0o755, NOBODY)


PLANTS: dict[str, Callable[[Path], None]] = {
    "a directory of another user": lambda place: plant_directory(place, 0o755, NOBODY),
    "a sticky directory of another user": lambda place: plant_directory(place, 0o1777, NOBODY),
    "a directory of ours that all may write to": lambda place: plant_shared(place, 0o777),
    "a directory of ours that a group may write to": lambda place: plant_shared(place, 0o770),
    "a link to a directory of ours": lambda place: plant_link(place, victim_of(place), NOBODY),
    "a link to a directory of theirs": plant_link_to_theirs,
    "a dangling link": lambda place: plant_link(place, victim_of(place) / "new", NOBODY),
    "a link of root's to a link of theirs": plant_chain,
    "a link on the way": plant_link_on_the_way,
    "a file": plant_owned(Path.touch),
    "a FIFO": plant_owned(os.mkfifo),
    "a socket": plant_owned(lambda place: stale(str(place))),
}


@pytest.mark.row(23)
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("secure", [False, True])
def test_a_hostile_directory_is_refused(root: None, shared: Path, plant: str, secure: bool) -> None:
    place = shared / "run"
    PLANTS[plant](place)
    if plant == "a link on the way":
        place = shared / "way" / "run"
    before = [(entry, os.lstat(entry).st_mode) for entry in sorted(shared.rglob("*"))]
    with pytest.raises(SocketRootError) as caught:
        listen_unix(f"{place}/app.world", root=f"{place}/", secure=secure)
    assert isinstance(caught.value, PermissionError)
    assert place.name in str(caught.value)
    with pytest.raises(SocketRootError):
        secure_root(str(place))
    assert [(entry, os.lstat(entry).st_mode) for entry in sorted(shared.rglob("*"))] == before


def link_of_nothing(path: str) -> None:
    Path(f"{path}.other").touch()
    os.link(f"{path}.other", path)


def put_text(path: str, text: str, uid: int = 0) -> None:
    Path(path).write_text(text)
    os.chown(path, uid, uid)


@pytest.mark.row(23)
@pytest.mark.parametrize(
    ("plant", "error"),
    [
        (lambda lock, victim: os.symlink(victim, lock), AddressError),
        (lambda lock, victim: os.symlink(f"{lock}.new", lock), AddressError),
        (lambda lock, victim: os.mkfifo(lock), AddressError),
        (lambda lock, victim: os.mkdir(lock), AddressError),
        (lambda lock, victim: os.link(victim, lock), AddressError),
        (lambda lock, victim: link_of_nothing(lock), AddressError),
        (lambda lock, victim: put_text(lock, "mine"), AddressError),
        (lambda lock, victim: put_text(lock, "theirs", NOBODY), AddressError),
    ],
    ids=[
        "link",
        "dangling link",
        "fifo",
        "directory",
        "hard link",
        "hard link of nothing",
        "a file",
        "a file of another user",
    ],
)
def test_a_planted_lock_is_refused(
    root: None, shared: Path, plant: Callable[[str, str], Any], error: type[IPCError]
) -> None:
    victim = shared / "victim"
    victim.write_text("precious")
    victim.chmod(0o640)
    lock = f"{shared}/app.world.lock"
    plant(lock, str(victim))
    before = names(shared)
    with pytest.raises(error, match=r"app\.world\.lock"):
        listen_unix(f"{shared}/app.world")
    assert names(shared) == before
    assert (victim.read_text(), mode(victim)) == ("precious", 0o640)


@pytest.mark.row(23)
def test_a_strangers_lock_that_comes_after_the_look_is_refused(
    root: None, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that is not sticky the kernel opens it, and the check after that has to see the owner."""
    lock = own / "app.world.lock"
    lock.touch()
    os.chown(lock, NOBODY, NOBODY)
    monkeypatch.setattr(unix._Claim, "_clear_lock_of_another", lambda *_: None)
    with pytest.raises(AddressInUse, match=f"belongs to user {NOBODY}"):
        listen_unix(f"{own}/app.world")
    assert names(own) == {"app.world.lock"}


# Another user's leftovers


def die_as(uid: int, path: str) -> None:
    """A server of that user's, killed."""
    with Held(lambda: listen_unix(path), uid=uid):
        pass


def test_root_takes_over_from_a_dead_server_of_another_user(
    root: None, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"{shared}/app.world"
    ways: list[Any] = [True, "force"]
    for unlink in ways:
        die_as(NOBODY, path)
        server = listen_unix(path, unlink=unlink)
        assert os.stat(path).st_uid == os.stat(f"{path}.lock").st_uid == 0
        assert f"removed the lock of '{path}', which a dead server of user {NOBODY} left" in caplog.text
        server.close()
        assert names(shared) == set()


def test_a_live_server_of_another_user_is_named(root: None, shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = f"{shared}/app.world"
    with Held(lambda: listen_unix(path), uid=NOBODY) as held:
        with pytest.raises(AddressInUse, match=rf"server of user {NOBODY} holds .* \(process {held.pid}\)"):
            listen_unix(path)
        listen_unix(path, unlink="force").close()
        assert f"taking '{path}' from the server of user {NOBODY}" in caplog.text
    server = listen_unix(path)
    name, text = Child(lambda: listen_unix(path).close(), uid=NOBODY).outcome()
    assert (name, f"a running server of user 0 holds '{path}' (process {os.getpid()})" in text) == (
        "AddressInUse",
        True,
    )
    server.close()


@pytest.mark.parametrize("unlink", [True, "force"])
def test_what_an_ordinary_user_cannot_remove_is_not_in_use(root: None, shared: Path, unlink: Any) -> None:
    path = f"{shared}/app.world"
    die_as(0, path)
    name, text = Child(lambda: listen_unix(path, unlink=unlink).close(), uid=NOBODY).outcome()
    assert name == "AddressError"
    assert f"a server of user 0 that is dead has left its lock '{path}.lock', which only that user or root" in text
    assert names(shared) == {"app.world", "app.world.lock"}


def test_the_owner_of_a_directory_clears_it_by_force(root: None, own: Path) -> None:
    path = f"{own}/app.world"
    die_as(0, path)
    os.chown(own, NOBODY, NOBODY)
    Child(lambda: listen_unix(path, unlink="force").close(), uid=NOBODY).result()
    assert names(own) == set()


# Directories of containers


@pytest.mark.parametrize(("permissions", "uid"), [(0o777, 0), (0o2775, 0), (0o755, SOMEBODY)])
def test_a_shared_directory_is_served_where_that_is_said(
    root: None, own: Path, permissions: int, uid: int, caplog: pytest.LogCaptureFixture
) -> None:
    place = own / "run"
    plant_directory(place, permissions, uid)
    os.chmod(place, permissions)
    os.chown(place, uid, NOBODY)
    path = f"{place}/app.world"
    work = uid or NOBODY
    if uid:
        with pytest.raises(SocketRootError, match=r"set secure_socket_root to False, which serves there all the same"):
            listen_unix(path)
        server = listen_unix(path, shared=True)
        assert mode(path) == 0o600
        assert "can replace the socket there; secure_socket_root is False, so it is served" in caplog.text
        assert talks(server, path)
        server.close()
    else:
        name, text = Child(lambda: listen_unix(path).close(), uid=work).outcome()
        assert (name, "set secure_socket_root to False" in text) == ("SocketRootError", True)
        Child(lambda: listen_unix(path, shared=True).close(), uid=work).result()
    assert mode(place) == permissions
    assert names(place) == set()


def test_a_root_is_closed_while_programs_of_ours_come_and_go(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = own / "run"
    place.mkdir()
    place.chmod(0o777)
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*listed(path), "gone"])
    listen_unix(f"{place}/app.world", root=str(place)).close()
    assert mode(place) == 0o755


def test_an_open_root_of_our_own_is_closed_to_others(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As node-ipc 14 does, but the way in stays; only the root, and only if nothing of others is in it."""
    place = own / "run"
    place.mkdir()
    place.chmod(0o777)
    path = f"{place}/app.world"
    with pytest.raises(SocketRootError, match="other users may write to the directory"):
        listen_unix(path)
    listen_unix(path, root=str(place)).close()
    assert mode(place) == 0o755
    assert f"other users could write to socket_root '{place}'; its mode is now 0755" in caplog.text
    place.chmod(0o2777)
    listen_unix(path, root=str(place)).close()
    assert mode(place) == 0o2755
    place.chmod(0o777)
    listen_unix(path, root=str(place), secure=True).close()
    assert mode(place) == 0o700


# File systems that lack something


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks(own: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    for _ in range(3):  # and no descriptor stays open, as the fixture sees
        with pytest.raises(AddressError, match=rf"keeps no locks \({os.strerror(number)}\)"):
            listen_unix(f"{own}/app.world")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_sockets(own: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unbound(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(number, os.strerror(number))

    def new() -> socket.socket:
        return Unbound(socket.AF_UNIX, socket.SOCK_STREAM)

    monkeypatch.setattr(unix, "_new_socket", new)
    with pytest.raises(AddressError, match=r"takes no sockets .* Choose a socket_root on another one") as caught:
        listen_unix(f"{own}/app.world")
    assert "belongs to another user" not in str(caught.value)
    assert names(own) == set()


# Calls to the kernel that fail once


def fails_once(number: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel refuses the first call."""
    errors = [OSError(number, os.strerror(number))]

    def call(*arguments: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return real(*arguments, **options)

    return call


@pytest.mark.row(45)
def test_a_lock_whose_mode_cannot_be_set_is_removed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", fails_once(errno.EIO, os.fchmod))
    with pytest.raises(AddressError, match="Input/output error"):
        listen_unix(f"{own}/app.world")
    assert names(own) == set()
    server = listen_unix(f"{own}/app.world")
    assert mode(own / "app.world.lock") == 0o600
    server.close()


@pytest.mark.row(45)
def test_a_lock_that_cannot_be_looked_at_is_closed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it stays, since it may be another server's; the fixture sees what stays open."""

    def look(claim: Any, name: str, status: os.stat_result) -> bool:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patch, pytest.raises(AddressError, match="Cannot allocate memory"):
        patch.setattr(unix._Claim, "_is_at", look)
        listen_unix(f"{own}/app.world")
    listen_unix(f"{own}/app.world").close()
    assert names(own) == set()


def test_who_holds_a_server_s_lock_is_named_where_the_system_tells(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = listen_unix(f"{own}/app.world")
    lock, tells = os.stat(f"{own}/app.world.lock"), sys.platform == "linux"
    assert lock_holder(lock) == (os.getpid() if tells else -1)
    server.close()
    assert lock_holder(lock) == (None if tells else -1)

    def tells_nothing(path: str) -> Any:
        raise PermissionError(errno.EACCES, path)

    monkeypatch.setattr(unix, "open", tells_nothing, raising=False)
    assert lock_holder(lock) == -1


def test_a_directory_that_cannot_be_read_has_no_sockets_to_hint_at(own: Path) -> None:
    with foreign_server(f"{own}/app.world"):
        (own / "file").touch()
        assert sockets_in(str(own)) == ["app.world"]
    assert sockets_in(f"{own}/missing") == []


@pytest.mark.row(45)
def test_a_lock_that_is_there_gets_its_mode(own: Path) -> None:
    (own / "app.world.lock").touch(0o644)
    server = listen_unix(f"{own}/app.world")
    assert mode(own / "app.world.lock") == 0o600
    server.close()


@pytest.mark.row(45)
@pytest.mark.row(21)
def test_a_dead_servers_socket_is_asked_again_after_a_signal(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first question was the signal's, not a server's."""
    path = f"{own}/app.world"
    put_server(path).close()

    class Interrupted(socket.socket):
        connect = fails_once(errno.EINTR, socket.socket.connect)

    new = unix._new_socket
    monkeypatch.setattr(unix, "_owner_of", asked_by(unix._owner_of, Interrupted, monkeypatch, new))
    server = listen_unix(path)
    assert talks(server, path)
    server.close()


def asked_by(ask: Any, kind: type[socket.socket], patch: pytest.MonkeyPatch, new: Any) -> Any:
    def owner_of(reach: str) -> Any:
        patch.setattr(unix, "_new_socket", lambda: kind(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            return ask(reach)
        finally:
            patch.setattr(unix, "_new_socket", new)

    return owner_of


@pytest.mark.row(45)
def test_an_error_that_a_signals_handler_raises_is_not_taken_for_the_kernels(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handled(socket.socket):
        def connect(self, address: Any) -> None:
            raise InterruptedError

    monkeypatch.setattr(unix, "_new_socket", lambda: Handled(socket.AF_UNIX, socket.SOCK_STREAM))
    with pytest.raises(IPCError) as caught:
        connect_unix(f"{own}/app.world")
    assert isinstance(caught.value.__cause__, InterruptedError)


@pytest.mark.row(45)
@pytest.mark.row(62)
@pytest.mark.parametrize("call", ["listen", "chmod"])
def test_a_socket_that_cannot_be_put_back_is_still_gone(own: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file would be there, and nobody behind it: the next look has to find that."""
    path = f"{own}/app.world"
    server = listen_unix(path)
    os.unlink(path)

    class Deaf(socket.socket):
        def listen(self, *_: Any) -> None:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    with monkeypatch.context() as patch:
        if call == "listen":
            patch.setattr(unix, "_new_socket", lambda: Deaf(socket.AF_UNIX, socket.SOCK_STREAM))
        else:
            patch.setattr(os, "fchmod", lambda *_: None)
            patch.setattr(os, "chmod", fails_once(errno.EIO, os.chmod))
        with pytest.raises(AddressError):
            server.put_back()
    assert server.gone() == f"the socket '{path}' was removed or replaced"
    before = server.put_back()
    assert before is not None
    before.close()
    assert server.gone() is None and talks(server, path)
    server.close()
    assert names(own) == set()


# Row 62: the kernel knows the real path, and what was removed comes back


def kernel_paths() -> list[str]:
    """The paths of all Unix sockets, as ``ss``, ``lsof`` and systemd-tmpfiles read them."""
    return [line.split(maxsplit=7)[7] for line in Path("/proc/net/unix").read_text().splitlines() if line.count("/")]


@pytest.mark.row(62)
def test_the_kernel_knows_the_real_path(own: Path) -> None:
    (own / "real").mkdir()
    (own / "link").symlink_to("real")
    for way in ("real", "link", "real/../link", "./real"):
        server = listen_unix(f"{own}/{way}/app.world")
        assert f"{own.resolve()}/real/app.world" in kernel_paths()
        server.close()


@pytest.mark.row(62)
def test_the_real_path_is_not_used_where_a_stranger_could_turn_it_elsewhere(root: None, shared: Path) -> None:
    """Of each directory on the way somebody could put another in the place of the next one before ``bind``."""
    for uid, permissions in ((0, 0o777), (NOBODY, 0o755)):
        way = shared / f"way-{uid}"
        plant_directory(way, permissions, uid)
        (way / "run").mkdir(mode=0o700)
        path = f"{way}/run/app.world"
        server = listen_unix(path)
        assert path not in kernel_paths()
        assert talks(server, path)
        server.close()


@pytest.mark.row(62)
def test_a_directory_that_is_exchanged_before_bind_gets_no_socket(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path leads to another directory than the one that was checked: the socket is made in neither by mistake."""
    place, other = own / "run", own / "other"
    place.mkdir()
    other.mkdir()
    take_lock = unix._Claim.take_lock

    def exchanged(claim: Any, **options: Any) -> None:
        take_lock(claim, **options)
        place.rename(own / "moved")
        place.symlink_to(other)

    monkeypatch.setattr(unix._Claim, "take_lock", exchanged)
    server = listen_unix(f"{place}/app.world")
    assert names(other) == set()
    assert names(own / "moved") == {"app.world", "app.world.lock"}
    assert f"{own}/moved/app.world" in kernel_paths()
    server.close()


@pytest.mark.row(62)
@pytest.mark.slow
def test_systemd_tmpfiles_leaves_a_live_servers_files(root: None, own: Path) -> None:
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("systemd-tmpfiles is not installed")
    place = own / "aged"
    place.mkdir(mode=0o755)
    server = listen_unix(f"{place}/app.world")
    stale(f"{place}/dead")
    (own / "rule.conf").write_text(f"d {place} 0755 - - 1s\n")
    command = ["systemd-tmpfiles", "--clean", f"--prefix={place}", str(own / "rule.conf")]
    end = time.monotonic() + DEADLINE
    while "dead" in names(place):  # the age is counted from the change of the inode, which nobody can set
        assert time.monotonic() < end, "the rule did nothing, so it proves nothing"
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    assert "app.world" in names(place)
    server.close()


def remove_directory(path: str) -> None:
    shutil.rmtree(os.path.dirname(path))


def move_directory(path: str) -> None:
    os.rename(os.path.dirname(path), f"{os.path.dirname(path)}.moved")


def remove_both(path: str) -> None:
    os.unlink(path)
    os.unlink(f"{path}.lock")


REMOVALS: dict[str, tuple[Callable[[str], Any], str]] = {
    "the socket": (os.unlink, "the socket"),
    "the lock": (lambda path: os.unlink(f"{path}.lock"), "the lock"),
    "both": (remove_both, "the socket"),
    "the socket, moved away": (lambda path: os.rename(path, f"{path}.moved"), "the socket"),
    "a dead socket in its place": (put_stale, "the socket"),
    "the directory": (remove_directory, "the directory of"),
    "the directory, moved away": (move_directory, "the directory of"),
}


@pytest.mark.row(62)
@pytest.mark.parametrize("unlink", [True, "force"])
@pytest.mark.parametrize("how", REMOVALS)
def test_what_was_removed_is_put_back(own: Path, how: str, unlink: Any) -> None:
    remove, what = REMOVALS[how]
    path = f"{own}/run/app.world"
    server = listen_unix(path, root=f"{own}/run", unlink=unlink, mode=0o622)
    waiting = connect_unix(path)
    assert server.gone() is None
    for _ in range(3):
        remove(path)
        said = server.gone()
        assert said is not None and said.startswith(what) and path in said
        before = server.put_back()
        assert server.gone() is None
        if how == "the lock":
            assert before is None
        else:
            assert before is not None
            before.close()
        assert mode(path) == 0o622
        if before is None:
            connect_unix(path).close()
        else:
            assert talks(server, path)
        with pytest.raises(AddressInUse):
            listen_unix(path)
        shutil.rmtree(f"{own}/run.moved", ignore_errors=True)
        Path(f"{path}.moved").unlink(missing_ok=True)
    waiting.close()
    server.close()
    assert names(own / "run") == set()


@pytest.mark.row(62)
@pytest.mark.parametrize("unlink", [True, False, "force"])
@pytest.mark.parametrize("put", [put_server, put_file, put_link, put_directory, put_fifo])
def test_nothing_is_taken_from_who_is_there_now(own: Path, put: Callable[[str], Any], unlink: Any) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path, unlink=unlink)
    kept = put(path)
    there = os.lstat(path)
    for _ in range(2):
        assert server.gone() is not None
        with pytest.raises(IPCError):
            server.put_back()
        assert os.path.samestat(os.lstat(path), there)
    if kept is not None:
        kept.close()
        if unlink is False:
            os.unlink(path)
        old = server.put_back()
        assert old is not None
        old.close()
        assert talks(server, path)
    server.close()


@pytest.mark.row(62)
@pytest.mark.parametrize("how", ["both", "the directory", "the directory, moved away"])
def test_two_never_own_a_path(own: Path, how: str) -> None:
    path = f"{own}/run/app.world"
    first = listen_unix(path, root=f"{own}/run", unlink="force")
    REMOVALS[how][0](path)
    rival = listen_unix(path, root=f"{own}/run")
    with pytest.raises(AddressInUse):
        first.put_back()
    assert talks(rival, path)
    rival.close()
    before = first.put_back()
    assert before is not None
    before.close()
    assert talks(first, path)
    with pytest.raises(AddressInUse):
        listen_unix(path)
    first.close()
    assert names(own / "run") == set()


@pytest.mark.row(62)
def test_where_something_else_has_the_place_nothing_is_put_back_beside_it(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    os.unlink(path)
    os.unlink(f"{path}.lock")
    Path(path).write_text("mine")
    with pytest.raises(NotASocket):
        server.put_back()
    assert names(own) == {"app.world"}, "no lock either"
    server.close()
    assert Path(path).read_text() == "mine"


@pytest.mark.row(62)
def test_a_forked_child_puts_nothing_back(own: Path) -> None:
    server = listen_unix(f"{own}/app.world")
    os.unlink(f"{own}/app.world")
    assert Child(server.gone).result() is None
    server.close()


@pytest.mark.row(62)
def test_a_way_that_we_may_not_look_at_is_not_gone(root: None, own: Path) -> None:
    """A server that gave up its rights cannot tell."""
    place = own / "run"
    place.mkdir(mode=0o700)

    def work() -> Any:
        server = listen_unix(f"{place}/app.world")
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return server.has_files and server.gone()

    assert Child(work).result() is None


@pytest.mark.parametrize(
    ("holder", "told"),
    [
        (7, "process 7"),
        (0, "a process that this system does not name"),
        (-1, "a process that this system does not name"),
    ],
)
def test_who_holds_the_lock_of_another_user_is_told_where_it_is_known(
    root: None, shared: Path, holder: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one in another container the kernel says 0; where there is no /proc/locks, nobody says anything."""
    path = f"{shared}/app.world"
    with Held(lambda: listen_unix(path), uid=NOBODY):
        monkeypatch.setattr(unix, "lock_holder", lambda lock: holder)
        with pytest.raises(AddressInUse, match=rf"a running server of user {NOBODY} holds .* \({told}\)\. Have it"):
            listen_unix(path)


def test_a_program_without_standard_input_keeps_nothing_open(own: Path) -> None:
    """The first descriptor of the server is 0 then."""

    def work() -> Any:
        os.close(0)
        listen_unix(f"{own}/app.world").close()
        return os.path.exists("/proc/self/fd/0")

    assert Child(work).result() is False
    assert names(own) == set()


def test_only_a_path_that_the_kernel_would_not_take_is_long(root: None) -> None:
    assert of_long_path("/" + "x" * 106) == of_long_path("\0" + "x" * 200) == ""
    assert of_long_path("/" + "x" * 107).startswith("a path of 108 bytes, and the kernel takes 107: ")


class OfMacOS:
    """A connected socket, as it answers LOCAL_PEERCRED: struct xucred, of version 0."""

    def __init__(self, *groups: int) -> None:
        self._credentials = struct.pack("=IIhxx16I", 0, 501, len(groups), *groups, *[0] * (16 - len(groups)))

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (0, 1) and size >= len(self._credentials)
        return self._credentials


def test_credentials_where_the_kernel_tells_a_user_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    of_macos: Any = OfMacOS
    monkeypatch.delattr(socket, "LOCAL_PEERCRED", raising=False)
    assert unix._peer_credentials_elsewhere(of_macos(20)) is None
    monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)
    assert unix._peer_credentials_elsewhere(of_macos(20, 12)) == (None, 501, 20)
    assert unix._peer_credentials_elsewhere(of_macos()) == (None, 501, None)


def test_links_of_our_own_are_followed(own: Path) -> None:
    (own / "real").mkdir(mode=0o700)
    (own / "absolute").symlink_to(own / "real")
    (own / "relative").symlink_to("./real/../real")
    for way in ("absolute", "relative", "real/../relative", "./real"):
        server = listen_unix(f"{own}/{way}/app.world")
        assert names(own / "real") == {"app.world", "app.world.lock"}
        server.close()
    with pytest.raises(SocketRootError, match=r"is a symbolic link\. Give the directory itself"):
        listen_unix(f"{own}/absolute/app.world", root=f"{own}/absolute", secure=True)
    (own / "loop").symlink_to("loop")
    with pytest.raises(AddressError, match="Too many levels of symbolic links") as caught:
        listen_unix(f"{own}/loop/app.world")
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ELOOP


def test_what_is_root_s_on_the_way_counts_as_safe_for_every_user(root: None, own: Path) -> None:
    """Its links are followed, its directories passed, and what it has put into a socket_root stands in nobody's way."""
    plant_directory(own / "theirs", 0o777, NOBODY)
    (own / "theirs").chmod(0o777)
    put_text(f"{own}/theirs/notes", "root's")
    plant_link(own / "way", own / "theirs", 0)
    path = f"{own}/way/app.world"

    def work() -> Any:
        server = listen_unix(path, root=f"{own}/way")
        listed = kernel_paths()
        server.close()
        return f"{own.resolve()}/theirs/app.world" in listed

    assert Child(work, uid=NOBODY).result() is True
    assert mode(own / "theirs") == 0o755


@pytest.mark.row(23)
def test_secure_root_makes_verifies_and_tightens(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = own / "run"
    secure_root(f"{place}/")
    assert mode(place) == 0o700
    secure_root(str(place))
    assert caplog.records == []
    place.chmod(0o755)
    secure_root(str(place))
    assert mode(place) == 0o700
    assert caplog.record_tuples == [
        ("node_ipc", logging.WARNING, f"socket_root '{place}' was open to other users; its mode is now 0700")
    ]
    secure_root(f"{own}/missing/run")
    assert mode(own / "missing") == mode(own / "missing" / "run") == 0o700


@pytest.mark.row(23)
def test_a_secure_socket_lies_directly_in_the_root(own: Path) -> None:
    (own / "run").mkdir(mode=0o700)
    (own / "run" / "deep").mkdir(mode=0o700)
    root = f"{own}/run/"
    listen_unix(f"{root}app.world", root=root, secure=True).close()
    for path in (f"{root}deep/app.world", f"{own}/app.world", "\0app.world"):
        with pytest.raises(SocketRootError):
            listen_unix(path, root=root, secure=True)
    with pytest.raises(SocketRootError, match="not directly in socket_root"):
        listen_unix(f"{own}/app.world", secure=True)
    assert names(own / "run") == {"deep"}


@pytest.mark.row(23)
def test_a_shared_sticky_directory_will_do_but_not_where_security_is_asked_for(shared: Path) -> None:
    path = f"{shared}/app.world"
    listen_unix(path, root=str(shared)).close()
    with pytest.raises(SocketRootError, match="may have put something there"):
        listen_unix(path, root=str(shared), secure=True)
    assert mode(shared) == 0o1777


# Row 24


def link_to(make: Callable[[str], object]) -> Callable[[str], None]:
    def plant(path: str) -> None:
        make(f"{path}.to")
        os.symlink(f"{path}.to", path)

    return plant


KINDS: dict[str, tuple[Callable[[str], object], str]] = {
    "file": (lambda path: Path(path).write_text("mine"), "a regular file"),
    "directory": (os.mkdir, "a directory"),
    "fifo": (os.mkfifo, "a FIFO"),
    "character device": (lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)), "a device"),
    "block device": (lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0)), "a device"),
    "link to a file": (link_to(lambda path: Path(path).write_text("mine")), "a symbolic link"),
    "link to a directory": (link_to(os.mkdir), "a symbolic link"),
    "link to a fifo": (link_to(os.mkfifo), "a symbolic link"),
    "link to a socket": (link_to(stale), "a symbolic link"),
    "link to a device": (lambda path: os.symlink("/dev/null", path), "a symbolic link"),
    "dangling link": (lambda path: os.symlink(f"{path}.to", path), "a symbolic link"),
}


@pytest.mark.row(24)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unlink", [True, False, "force"])
def test_only_sockets_are_removed(own: Path, kind: str, unlink: Any, request: pytest.FixtureRequest) -> None:
    if "device" in kind:
        request.getfixturevalue("root")
    make, called = KINDS[kind]
    path = f"{own}/app.world"
    make(path)
    before = names(own), os.lstat(path).st_ino, own.stat().st_mtime_ns  # no lock was made for a moment either
    with pytest.raises(NotASocket, match=f"{called} is at '{path}', and only sockets are ever removed") as refused:
        listen_unix(path, unlink=unlink)
    assert refused.value.code == "ERR_IPC_UNLINK_NOT_SOCKET"
    assert (names(own), os.lstat(path).st_ino, own.stat().st_mtime_ns) == before


@pytest.mark.row(24)
def test_a_file_put_there_after_the_look_stays(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{own}/app.world"
    stale(path)
    find = unix._Claim._pin

    def exchanged(claim: Any, name: str) -> int:
        os.unlink(path)
        Path(path).write_text("mine")
        return find(claim, name)

    monkeypatch.setattr(unix._Claim, "_pin", exchanged)
    with pytest.raises(NotASocket, match="a regular file"):
        listen_unix(path)
    assert Path(path).read_text() == "mine"
    assert names(own) == {"app.world"}


# Row 25


@pytest.mark.row(25)
def test_both_ends_know_the_other(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    with connect_unix(path) as client:
        accepted, _ = server.sock.accept()
        with accepted:
            assert peer_credentials(accepted) == (os.getpid(), os.geteuid(), os.getegid())
            assert peer_credentials(client) == (os.getpid(), os.geteuid(), os.getegid())
            assert peer_of(client) == Peer("unix", pid=os.getpid(), uid=os.geteuid(), gid=os.getegid())
    server.close()
    with socket.socket() as other:
        assert peer_credentials(other) is None
        assert peer_of(other) == Peer("unix")


@pytest.mark.row(25)
@pytest.mark.parametrize(("groups", "gid"), [(0, None), (2, 20)])
def test_where_the_kernel_tells_no_process_the_peer_s_user_is_known(
    groups: int, gid: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Connected:
        """A socket of macOS."""

        family = socket.AF_UNIX

        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (0, 1)
            return struct.pack("=IIh2x16I", 0, 501, groups, 20, *[0] * 15)[:size]

    connected: Any = Connected()
    monkeypatch.setattr(unix, "_LINUX", False)
    monkeypatch.delattr(socket, "LOCAL_PEERCRED", raising=False)
    assert peer_credentials(connected) is None
    monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)
    assert peer_credentials(connected) == Credentials(None, 501, gid)


@pytest.mark.row(25)
def test_a_server_refuses_a_strange_client(root: None, own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path, mode=socket_mode(writable_all=True))
    for uid, allowed in ((NOBODY, False), (SOMEBODY, False), (0, True)):
        with Held(lambda: connect_unix(path), uid=uid) as client:
            accepted, _ = server.sock.accept()
            with accepted:
                credentials = peer_credentials(accepted)
                assert credentials == Credentials(client.pid, uid, uid)
                if allowed:
                    check_peer(credentials.uid)
                    continue
                with pytest.raises(
                    PeerRefused,
                    match=rf"^the peer runs as user {uid}.*put {uid} into the option allowed_uids",
                ):
                    check_peer(credentials.uid)
                check_peer(credentials.uid, {uid})
                check_peer(credentials.uid, everyone=True)
    server.close()


@pytest.mark.row(25)
@pytest.mark.parametrize("uid", [0, SOMEBODY])
def test_a_client_refuses_an_impostor_before_any_byte(root: None, shared: Path, uid: int) -> None:
    path = f"{shared}/app.world"
    heard, tell = os.pipe()

    def impostor() -> Any:
        sock = foreign_server(path)
        os.chmod(path, 0o666)

        def listen() -> None:
            accepted, _ = sock.accept()
            os.write(tell, b"%d" % len(accepted.recv(100)))

        threading.Thread(target=listen, daemon=True).start()
        return sock

    def connect(*allowed: int) -> None:
        connect_unix(path, allowed_uids=allowed).send(b"secret")

    try:
        with Held(impostor, uid=NOBODY):
            outcome = Child(connect, uid=uid).outcome()
            assert outcome[0] == "PeerRefused"
            assert outcome[1].startswith(f"the server at '{path}' runs as user {NOBODY}, this process as user {uid}. ")
            assert select.select([heard], [], [], DEADLINE)[0]
            assert os.read(heard, 10) == b"0"
        with Held(impostor, uid=NOBODY):
            Child(lambda: connect(NOBODY), uid=uid).result()
            assert select.select([heard], [], [], DEADLINE)[0]
            assert os.read(heard, 10) == b"6"
    finally:
        os.close(heard)
        os.close(tell)


@pytest.mark.row(25)
def test_whom_a_client_trusts_is_what_it_was_told(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    monkeypatch.setattr(unix, "peer_credentials", lambda sock: Credentials(1, SOMEBODY, SOMEBODY))
    with pytest.raises(PeerRefused):
        connect_unix(path)
    connect_unix(path, allowed_uids=[SOMEBODY]).close()
    server.close()


@pytest.mark.row(25)
def test_an_ordinary_user_trusts_root(root: None, own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path, mode=socket_mode(writable_all=True))
    Child(lambda: connect_unix(path).close(), uid=NOBODY).result()
    server.close()


# Row 26


def served_at(directory: Path, path: str) -> str:
    """Serve, talk and stop; what came of it: the name in the directory, or the error."""
    try:
        server = listen_unix(path)
    except AddressError as exc:
        return type(exc).__name__
    try:
        assert talks(server, path)
        (name,) = (name for name in names(directory) if not name.endswith(".lock"))
        return name
    finally:
        server.close()


@pytest.mark.row(26)
def test_names_of_every_length(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    for length in range(1, 301):
        name = "n" * length
        expected = name if length <= 250 else "AddressError"
        assert served_at(own, name) == expected
        assert served_at(own, f"{own}/{name}") == expected
        assert names(own) == set()


@pytest.mark.row(26)
def test_paths_of_every_length(own: Path) -> None:
    for length in range(len(str(own)) + 4, 301):
        directory = own / ("d" * min(length - len(str(own)) - 3, 200))
        while len(str(directory)) < length - 2:
            directory /= "e" * max(1, length - len(str(directory)) - 3)
        directory.mkdir(parents=True, exist_ok=True)
        path = f"{directory}/s"
        assert len(path) in (length, length + 1)
        assert served_at(directory, path) == "s"
        assert names(directory) <= {name for name in names(directory) if name[0] in "de"}


@pytest.mark.row(26)
@pytest.mark.parametrize(
    "name",
    [
        *["a\nb", "\x1b[31m", "\x7f", " ", "-rf", "~", "$HOME", "*", "%s", "a\\b", "...", "a.lock"],
        *["@world", "world@", "abstract:x", "é", "名前", "\N{GRINNING FACE}", "日" * 83, os.fsdecode(b"\xff\xfe")],
    ],
)
def test_odd_names_are_taken_as_they_are(own: Path, name: str) -> None:
    path = f"{own}/{name}"
    server = listen_unix(path)
    assert names(own) == {name, f"{name}.lock"}
    assert talks(server, path)
    server.close()
    assert names(own) == set()


@pytest.mark.row(26)
@pytest.mark.parametrize(
    "path", ["", "a\0b", "/tmp/a\0", "/tmp/", "/", ".", "..", "/tmp/..", "\0", "\0a\0b", "/tmp/\ud800"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    for use in (listen_unix, connect_unix):
        with pytest.raises(AddressError):
            use(path)


@pytest.mark.row(26)
def test_a_relative_path_counts_from_where_it_was_given(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "sub").mkdir()
    monkeypatch.chdir(own / "sub")
    server = listen_unix("../app.world")
    assert names(own) == {"sub", "app.world", "app.world.lock"}
    monkeypatch.chdir("/")
    server.close()
    assert names(own) == {"sub"}


@pytest.mark.row(26)
def test_abstract_sockets_of_every_length() -> None:
    for length in range(1, 301):
        path = "\0" + (f"{os.getpid()}-" + "n" * 300)[:length]
        if length > 107:
            for use in (listen_unix, connect_unix):
                with pytest.raises(AddressError, match=r"'abstract:.*too long"):
                    use(path)
            continue
        server = listen_unix(path)
        assert server.sock.getsockname() == path.encode()
        assert talks(server, path)
        server.close()


def test_an_abstract_name_has_one_server() -> None:
    path = f"\0node-ipc-{os.getpid()}"
    server = listen_unix(path)
    assert server.address == Unix(path)
    with pytest.raises(AddressInUse, match="'abstract:node-ipc-"):
        listen_unix(path)
    server.close()
    listen_unix(path).close()


# Row 27


PRELUDE = """
import json, os, socket, sys
from node_ipc.net.unix import adopt, inherited_sockets
"""


class Service(Child):
    """A program started as a service manager does it: the sockets are its descriptors 3, 4, …

    Its standard output is what ``Child`` expects: one JSON list.
    """

    def __init__(self, sockets: list[socket.socket], script: str, **environ: str) -> None:
        self._from, to = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become(to, sockets, script, environ)
            finally:
                os._exit(127)
        os.close(to)

    def _become(self, to: int, sockets: list[socket.socket], script: str, environ: dict[str, str]) -> None:
        os.dup2(to, 1)
        high = [os.dup2(sock.fileno(), 200 + number) for number, sock in enumerate(sockets)]
        for number, fd in enumerate(high):
            os.dup2(fd, 3 + number)
            os.close(fd)
        own = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets))}
        python_path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", PRELUDE + script]
        os.execve(sys.executable, command, {**os.environ, **python_path, **own, **environ})


@pytest.mark.slow
@pytest.mark.row(27)
def test_an_inherited_socket_survives_restarts_without_a_refusal(own: Path) -> None:
    path = f"{own}/app.world"
    manager = foreign_server(path, backlog=128)
    os.chmod(path, 0o622)
    there = os.lstat(path)
    serve = """
(sock,) = inherited_sockets()
assert inherited_sockets() == [] and "LISTEN_FDS" not in os.environ
assert not sock.get_inheritable() and not sock.getblocking()
server = adopt(sock)
sock.setblocking(True)
for _ in range(200):
    accepted, _ = sock.accept()
    accepted.send(b"!")
    accepted.close()
server.close()
print(json.dumps(["ok", str(server.address)]))
"""
    refused = 0
    for _ in range(5):
        service = Service([manager], serve)
        for _ in range(200):
            try:
                with connect_unix(path) as client:
                    client.settimeout(DEADLINE)
                    assert client.recv(1) == b"!"
            except ConnectError:
                refused += 1
        assert service.result() == f"unix:{path}"
    assert refused == 0
    assert os.path.samestat(os.lstat(path), there)
    assert mode(path) == 0o622
    manager.close()


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("environ", "outcome"),
    [
        ({}, ["ok", ["AF_UNIX", "AF_INET"]]),
        ({"LISTEN_PID": "1"}, ["ok", []]),
        ({"LISTEN_PID": ""}, ["ok", []]),
        ({"LISTEN_FDS": "0"}, ["ok", []]),
        ({"LISTEN_FDS": "three"}, ["AddressError", "LISTEN_FDS is 'three', and not the number of sockets handed over"]),
        ({"LISTEN_FDS": ""}, ["AddressError", "LISTEN_FDS is '', and not the number of sockets handed over"]),
        ({"LISTEN_FDS": "60"}, ["AddressError", "LISTEN_FDS is 60, but descriptor 5 is no socket"]),
    ],
)
def test_only_the_addressee_takes_the_sockets(own: Path, environ: dict[str, str], outcome: list[Any]) -> None:
    take = """
try:
    print(json.dumps(["ok", [sock.family.name for sock in inherited_sockets()]]))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
    with foreign_server(f"{own}/app.world") as first, socket.socket() as second:
        assert list(Service([first, second], take, **environ).outcome()) == outcome


@pytest.mark.row(27)
def test_takes_descriptors_from_three_on(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = foreign_server(f"{own}/a"), foreign_server(f"{own}/b")
    base = fcntl.fcntl(first.fileno(), fcntl.F_DUPFD, 900)  # where nobody else's are, to be overwritten
    os.dup2(second.fileno(), base + 1)
    first.close()
    second.close()
    monkeypatch.setattr(unix, "_FIRST_INHERITED", base)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "HOME": "/"}
    with open("/dev/null") as plain:
        os.dup2(plain.fileno(), base + 2)
    with pytest.raises(AddressError, match=f"descriptor {base + 2} is no socket"):
        inherited_sockets(environ)
    os.close(base + 2)
    assert environ == {"HOME": "/"}
    assert inherited_sockets(environ) == []
    with pytest.raises(AddressError, match="LISTEN_FDS is '', and not the number"):
        inherited_sockets({"LISTEN_PID": str(os.getpid())})
    with pytest.raises(AddressError, match="'-1', and not the number"):
        inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"})
    again = foreign_server(f"{own}/c")
    monkeypatch.setattr(unix, "_FIRST_INHERITED", again.fileno())
    (taken,) = inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
    assert taken.fileno() == again.detach()
    taken.close()


def test_adopts_what_is_bound_and_touches_no_file(own: Path) -> None:
    path = f"{own}/app.world"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        os.chmod(path, 0o640)
        server = adopt(sock)  # it did not listen yet
        assert server.address == Unix(path)
        assert talks(server, path)
        again = adopt(sock)
        again.close()
        server.close()
    assert mode(path) == 0o640
    assert names(own) == {"app.world"}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0adopted-{os.getpid()}")
        assert adopt(sock).address == Unix(f"\0adopted-{os.getpid()}")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = adopt(sock)
        assert server.address == Tcp("127.0.0.1", sock.getsockname()[1])
        assert server.sock.getblocking() is False


def test_adopts_nothing_else(own: Path) -> None:
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_UNIX) as unbound, datagrams(f"{own}/d") as datagram:
        for sock, says in ((one, "bound socket"), (unbound, "bound socket"), (datagram, "SOCK_STREAM")):
            with pytest.raises(AddressError, match=says):
                adopt(sock)


@pytest.mark.row(23)
def test_of_sockets_that_were_handed_over_each_has_to_lie_in_the_root_where_security_is_asked_for(own: Path) -> None:
    (own / "in").mkdir(mode=0o700)
    inside, outside = foreign_server(f"{own}/in/app.world"), foreign_server(f"{own}/app.world")
    with inside, outside, socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        assert len(adopt_all([inside, port], root=f"{own}/in/", secure=True)) == 2
        with pytest.raises(SocketRootError, match="not directly in socket_root"):
            adopt_all([port, inside, outside], root=f"{own}/in/", secure=True)
        assert len(adopt_all([outside], root=f"{own}/in/", secure=False)) == 1


# Clients


@pytest.mark.row(44)
def test_what_a_client_may_try_again(root: None, own: Path) -> None:
    stale(f"{own}/stale")
    (own / "file").touch()
    for name in ("missing", "stale", "file", "missing/deep", "file/deep", "n" * 120, f"{'n' * 120}/deep"):
        with pytest.raises(ConnectError) as caught:
            connect_unix(f"{own}/{name}")
        assert not isinstance(caught.value, ConnectDenied), name
        assert isinstance(caught.value.__cause__, OSError)
    with datagrams(f"{own}/datagrams"), pytest.raises(ConnectError, match="of another type"):
        connect_unix(f"{own}/datagrams")


def test_where_the_directory_is_missing_it_is_named_and_who_would_make_it(own: Path) -> None:
    missing = f"{own}/missing"
    also = f"{own}/node/app.world"
    for others, rest in (
        ((), ". Start it, or check the path"),
        ((also,), ", which a server with this socket_root makes"),
    ):
        with pytest.raises(ConnectError) as caught:
            connect_unix(f"{missing}/app.world", also=others)
        assert f"there is no directory {missing!r}{rest}" in str(caught.value)


def test_who_may_have_meant_a_port_is_told_how_one_is_written(own: Path) -> None:
    with pytest.raises(ConnectError, match=r"A number alone is an id: the TCP port is tcp://127\.0\.0\.1:39182$"):
        connect_unix(f"{own}/app.39182", also=(f"{own}/node/app.39182",))
    for path, also in (
        (f"{own}/app.39182", ()),
        (f"{own}/app.world8000", (f"{own}/b",)),
        (f"{own}/app.0", (f"{own}/b",)),
    ):
        with pytest.raises(ConnectError) as caught:
            connect_unix(path, also=also)
        assert "tcp://" not in str(caught.value)


def test_a_client_is_told_that_something_else_is_in_the_place(own: Path) -> None:
    (own / "file").touch()
    (own / "directory").mkdir()
    os.symlink(f"{own}/file", f"{own}/link")
    for name, kind in (("file", "a regular file"), ("link", "a regular file"), ("directory", "a directory")):
        with pytest.raises(ConnectError, match=f"{kind} is there, which is no socket"):
            connect_unix(f"{own}/{name}")


@pytest.mark.row(44)
def test_what_is_final_for_a_client(root: None, own: Path) -> None:
    server = listen_unix(f"{own}/private")
    name, text = Child(lambda: connect_unix(f"{own}/private").close(), uid=NOBODY).outcome()
    assert name == "ConnectDenied"
    assert f"Run this as root, whose socket it is, or let user {NOBODY} in" in text
    assert "client names" not in text, "root is trusted without"
    assert all(way in text for way in ("writable_all", "allowed_uids", "mode or group", "node-ipc help security"))
    os.chown(f"{own}/private", NOBODY + 1, -1)
    name, text = Child(lambda: connect_unix(f"{own}/private").close(), uid=NOBODY).outcome()
    assert f"Run this as user {NOBODY + 1}, whose socket it is" in text
    assert "The client names the server's user in its own allowed_uids" in text
    os.chown(f"{own}/private", NOBODY, -1)
    os.chmod(f"{own}/private", 0)
    name, text = Child(lambda: connect_unix(f"{own}/private").close(), uid=NOBODY).outcome()
    assert text.endswith("It is your own, and its mode, 0000, lets only root connect: give it 0600 again, with chmod")
    os.chown(f"{own}/private", 0, -1)
    server.close()
    closed = own / "closed"
    closed.mkdir(mode=0o700)
    name, text = Child(lambda: connect_unix(f"{closed}/x").close(), uid=NOBODY).outcome()
    assert name == "ConnectDenied" and f"directory does not let user {NOBODY} through" in text
    assert "a server of node-ipc 14 shuts its socketRoot at each start" in text
    (own / "loop").symlink_to("loop")
    for path in (f"{own}/loop", f"{own}/{'n' * 256}", f"/{'n' * 5000}"):
        with pytest.raises(AddressError):
            connect_unix(path)


@pytest.mark.row(44)
def test_who_owns_the_socket_decides_what_a_client_is_told(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat_of = os.stat
    for uid, is_told in ((0, False), (SOMEBODY, True)):
        owned = os.stat_result([stat.S_IFSOCK | 0o600, *stat_of(own)[1:4], uid, *stat_of(own)[5:10]])
        monkeypatch.setattr(os, "stat", lambda path, owned=owned: owned)
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
        text = unix._how_to_be_let_in(f"{own}/x")
        monkeypatch.undo()
        assert ("The client names the server's user" in text) is is_told


def test_what_was_given_back_is_given_back_once(own: Path) -> None:
    server = listen_unix(f"{own}/app.world")
    claim = server._claim
    assert claim is not None
    server.close()
    assert claim.directory < 0, "a second release would close what has that number by then"


@pytest.mark.row(44)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_no_permission_is_final(own: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(
        ConnectDenied, match=f"server's user, or let user {os.geteuid()} in .*writable_all.*allowed_uids.*mode or group"
    ) as caught:
        connect_unix(f"{own}/app.world")
    assert isinstance(caught.value, PermissionError)
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_full_queue_is_told_apart(own: Path) -> None:
    path = f"{own}/app.world"
    kept = full(path)
    with pytest.raises(BlockingIOError):
        connect_unix(path)
    for sock in kept:
        sock.close()


def test_tries_the_other_places_in_order(root: None, shared: Path) -> None:
    places = [f"{shared}/{name}" for name in ("first", "second", "third")]
    with pytest.raises(ConnectError, match="/first"):
        connect_unix(places[0], also=places[1:])
    server = listen_unix(places[2])
    stale(places[1])
    connect_unix(places[0], also=places[1:]).close()

    def impostor() -> socket.socket:
        sock = foreign_server(places[0])
        os.chmod(places[0], 0o666)
        return sock

    with Held(impostor, uid=NOBODY):
        with pytest.raises(PeerRefused):
            connect_unix(places[0])
        connect_unix(places[0], also=places[1:]).close()
        with pytest.raises(PeerRefused):
            connect_unix(places[0], also=[places[1]])
    server.close()


# Row 44


MS_REMOUNT, MS_RDONLY, MS_REC, MS_PRIVATE, CLONE_NEWNS = 32, 1, 16384, 1 << 18, 0x20000


def mount(place: Path, options: str, flags: int = 0) -> None:
    """Mount a tmpfs in a mount namespace of our own (call it in a child)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not flags & MS_REMOUNT:
        if libc.unshare(CLONE_NEWNS) != 0:
            raise InterruptedError("unshare is not permitted")
        assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
    if libc.mount(b"none", bytes(place), b"tmpfs", flags, options.encode()) != 0:
        raise InterruptedError(f"mount is not permitted: {os.strerror(ctypes.get_errno())}")


def in_namespace(work: Callable[[], Any]) -> Any:
    name, value = Child(work).outcome()
    if name == "InterruptedError":
        refuse_to_run(value)
    assert name == "ok", f"{name}: {value}"
    return value


def refusal(work: Callable[[], Any]) -> list[Any]:
    """The type and text of the error, and whether it came within 200 ms."""
    watch = Stopwatch()
    try:
        work()
    except Exception as exc:
        return [type(exc).__name__, str(exc), watch.seconds <= 0.2]
    return ["ok"]


@pytest.mark.row(44)
@pytest.mark.parametrize(("inodes", "works"), [(1, False), (2, False), (3, True)])
def test_a_full_file_system(root: None, own: Path, inodes: int, works: bool) -> None:
    def work() -> list[Any]:
        mount(own, f"nr_inodes={inodes}")
        path = f"{own}/app.world"
        outcome = refusal(lambda: listen_unix(path).close())
        again = refusal(lambda: listen_unix(path).close())
        assert outcome[0] == again[0]
        return [*outcome, os.listdir(own)]

    outcome = in_namespace(work)
    if works:
        assert outcome == ["ok", []]
    else:
        assert outcome[0] == "AddressError"
        assert "No space left on device; make room there" in outcome[1]
        assert outcome[2:] == [True, []]


@pytest.mark.row(44)
def test_a_read_only_file_system(root: None, own: Path) -> None:
    def work() -> list[Any]:
        mount(own, "mode=700")
        stale(f"{own}/stale")
        mount(own, "", MS_REMOUNT | MS_RDONLY)
        return [refusal(partial(listen_unix, f"{own}/{name}")) for name in ("new", "stale")]

    for name, text, soon in in_namespace(work):
        assert name == "AddressError"
        assert "Read-only file system; choose a socket_root" in text
        assert soon


@pytest.mark.row(44)
def test_a_directory_without_permissions(root: None, shared: Path) -> None:
    place = shared / "run"
    plant_directory(place, 0o000, NOBODY)
    path = f"{place}/app.world"

    def work() -> list[Any]:
        return [refusal(lambda: listen_unix(path)), refusal(lambda: connect_unix(path))]

    listening, connecting = Child(work, uid=NOBODY).result()
    assert listening[0] == "AddressError"
    assert "Permission denied; this user may not use that directory" in listening[1]
    assert connecting[0] == "ConnectDenied"
    assert (listening[2], connecting[2]) == (True, True)
    assert names(place) == set()


@pytest.mark.row(44)
def test_another_users_dead_socket_in_a_sticky_directory(root: None, shared: Path) -> None:
    path = f"{shared}/app.world"
    stale(path)
    os.chmod(path, 0o666)
    name, text = Child(lambda: listen_unix(path).close(), uid=NOBODY).outcome()
    assert name == "AddressError"
    assert "Operation not permitted; what is there belongs to another user" in text
    assert names(shared) == {"app.world"}


@pytest.mark.row(44)
def test_the_directory_goes_while_serving(own: Path) -> None:
    place = own / "run"
    path = f"{place}/app.world"
    server = listen_unix(path, root=str(place))
    shutil.rmtree(place)
    with pytest.raises(AddressError, match="No such file or directory"):
        listen_unix(path)
    rival = listen_unix(path, root=str(place))
    server.close()
    assert names(place) == {"app.world", "app.world.lock"}
    rival.close()


@pytest.mark.row(44)
def test_the_lock_file_goes_while_serving(own: Path) -> None:
    path = f"{own}/app.world"
    server = listen_unix(path)
    os.unlink(f"{path}.lock")
    with pytest.raises(AddressInUse, match=f"process {os.getpid()} of user {os.geteuid()}"):
        listen_unix(path)
    assert names(own) == {"app.world"}
    server.close()
    assert names(own) == set()


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/", os.O_RDONLY) for _ in range(count + 1)]
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.row(44)
@pytest.mark.parametrize("before", [set(), {"app.world"}, {"app.world", "app.world.lock"}])
def test_running_out_of_descriptors(own: Path, before: set[str]) -> None:
    """With every number of free descriptors: one typed error, and nothing of ours is left behind."""
    path = f"{own}/app.world"
    outcomes = []
    for count in range(12):
        if "app.world" in before:
            stale(path)
        if "app.world.lock" in before:
            Path(f"{path}.lock").touch()
        with descriptors_left(count):
            outcome = refusal(lambda: listen_unix(path).close())
        if outcome[0] == "AddressError":
            assert "Too many open files" in outcome[1]
            assert names(own) <= before
        outcomes.append(outcome[0])
        for name in names(own):
            os.unlink(own / name)
    failed = outcomes.count("AddressError")
    assert 4 <= failed <= 8
    assert outcomes == ["AddressError"] * failed + ["ok"] * (12 - failed)


@pytest.mark.parametrize("there", [False, True])
def test_a_lock_that_cannot_be_opened(own: Path, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if there:
        (own / "app.world.lock").touch()
    before = names(own)
    opening = os.open

    def broken(path: str, *args: Any, **options: Any) -> int:
        if path == "app.world.lock":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opening(path, *args, **options)

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(AddressError, match="Input/output error"):
        listen_unix(f"{own}/app.world")
    monkeypatch.undo()
    assert names(own) == before


def test_without_a_descriptor_for_the_new_file_it_is_removed_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(unix._Claim, "_pin", none_left)
    with pytest.raises(AddressError, match="Too many open files; choose another path"):
        listen_unix(f"{own}/app.world")
    assert names(own) == set()


def test_public_names_are_listed() -> None:
    mine = [name for name, value in vars(unix).items() if getattr(value, "__module__", "") == unix.__name__]
    assert {name for name in mine if not name.startswith("_")} == set(unix.__all__)
