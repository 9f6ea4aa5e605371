"""Workers on one socket: who serves, who is replaced, and how they end. Real processes, on real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

import node_ipc
from node_ipc.config.address import Udp, Unix
from node_ipc.drivers.loop import EventLoopDriver
from node_ipc.errors import ConfigError, IPCError, WouldDeadlock
from node_ipc.scale import fairness, workers
from node_ipc.scale.fairness import ABSENT, SLACK, Board, Turn
from node_ipc.scale.worker import WorkerPort, WorkerServer
from processes import DEADLINE, Program, is_alive, until
from stopwatch import Stopwatch

TESTS = Path(__file__).parent
EXAMPLE = TESTS.parent / "examples" / "cluster"

Start = Callable[..., Program]


@pytest.fixture
def root() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="ipc-")
    yield f"{path}/"
    left = os.listdir(path)
    shutil.rmtree(path)
    assert left == [], f"files are left behind: {left}"


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    running: list[Program] = []
    yield running
    for program in running:
        program.close()


def python(*arguments: str) -> Program:
    """This Python; its output is buffered, so that each line is one piece and those of several processes do not mix."""
    return Program(sys.executable, *arguments, PYTHONUNBUFFERED="")


@pytest.fixture
def start(programs: list[Program]) -> Start:
    """Starts ``workers_program.py`` and waits until each of its workers serves."""

    def start_one(address: str, count: int = 2, trouble: str = "", **options: Any) -> Program:
        arguments = [address, str(count), json.dumps(options), *filter(None, [trouble])]
        program = python(str(TESTS / "workers_program.py"), *arguments)
        programs.append(program)
        for _ in range(0 if trouble else count):
            program.wait_for("serving")
        return program

    return start_one


class Peer:
    """A client that knows node-ipc's wire and nothing of this library."""

    def __init__(self, where: Any, wrap: Callable[[socket.socket], socket.socket] = lambda sock: sock) -> None:
        plain = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        try:
            plain.connect(where)  # without a time limit, since then a full queue is waited for
        except BaseException:
            plain.close()
            raise
        plain.settimeout(DEADLINE)
        self.socket = wrap(plain)
        self._rest = b""

    def send(self, type: str, data: Any = None) -> None:
        self.socket.sendall(json.dumps({"type": type, "data": data}).encode() + b"\f")

    def receive(self) -> Any:
        """The payload of the next event; raises ``ConnectionError`` where the connection is over."""
        while b"\f" not in self._rest:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server has ended the connection")
            self._rest += data
        frame, _, self._rest = self._rest.partition(b"\f")
        return json.loads(frame)["data"]

    def ask(self) -> int:
        self.send("who")
        pid: int = self.receive()
        return pid

    def ended(self) -> bool:
        """Whether the server ends the connection, within the deadline, without another word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def pid_of(where: Any) -> int:
    with Peer(where) as peer:
        return peer.ask()


def both_serve(where: Any, wrap: Callable[[socket.socket], socket.socket] = lambda sock: sock) -> None:
    """Two workers do: connections stay open until each has one, for whoever has many more lets the other go first."""
    deadline = time.monotonic() + DEADLINE
    pids: set[int] = set()
    with contextlib.ExitStack() as peers:
        while len(pids) < 2:
            assert time.monotonic() < deadline, f"only {pids} serve"
            pids.add(peers.enter_context(Peer(where, wrap)).ask())


# ---- node-ipc's cluster example


@pytest.fixture
def example(root: str, programs: list[Program]) -> Callable[[str], Program]:
    def start_one(name: str) -> Program:
        program = str(EXAMPLE / name)
        programs.append(python(str(TESTS / "run_example.py"), root, "0", program))
        return programs[-1]

    return start_one


def cluster(example: Callable[[str], Program]) -> tuple[Program, set[int]]:
    """The example's server, and the numbers of its four processes."""
    server = example("server.py")
    return server, {int(server.wait_for("is listening").split()[1]) for _ in range(4)}


def test_the_example_shows_changing_processes(example: Callable[[str], Program]) -> None:
    server, pids = cluster(example)
    shown: list[int] = []
    deadline = time.monotonic() + DEADLINE
    while len(set(shown)) < 2:  # connections that come one by one may all go to one worker, if that has the processor
        assert time.monotonic() < deadline, shown
        client = example("client.py")
        client.ends()
        answers = [int(line.split()[-1]) for line in client.lines if "got an answer from pid" in line]
        assert len(answers) == 12
        shown += answers
    assert set(shown) <= pids
    server.interrupt()
    server.ends()


def test_every_worker_serves_and_none_is_refused_while_one_is_killed_and_replaced(
    example: Callable[[str], Program], root: str
) -> None:
    server, pids = cluster(example)
    path = f"{root}cluster.world"
    peers: dict[int, list[Peer]] = {pid: [] for pid in pids}
    for _ in range(200):
        peer, pid = serviced(path)
        peers[pid].append(peer)
    assert all(20 <= len(of_one) <= 80 for of_one in peers.values()), {pid: len(of) for pid, of in peers.items()}

    killed = min(pids)
    os.kill(killed, signal.SIGKILL)
    for peer in peers.pop(killed):
        assert peer.ended()
        peer.socket.close()
    new = None
    served: Counter[int] = Counter()
    while served.total() < 200 or new is None:  # from now until the new one is there, at least 200
        peer, pid = serviced(path)
        peer.socket.close()
        served[pid] += 1
        if pid not in pids:
            new = pid

    assert killed not in served
    assert set(served) == pids - {killed} | {new}
    for of_one in peers.values():
        for peer in of_one:
            peer.send("currentDate", {"message": "still there"})
            assert peer.receive() in pids
            peer.socket.close()
    server.interrupt()
    server.ends()


def serviced(path: str) -> tuple[Peer, int]:
    """A connection, and the process that answered on it; raises where it is refused or cut."""
    peer = Peer(path)
    peer.send("currentDate", {"message": "now"})
    pid: int = peer.receive()
    return peer, pid


# ---- transports


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_workers_on_tcp(start: Start, loop: str) -> None:
    program = start("tcp://127.0.0.1:0", loop=loop)
    port = int(program.lines[-1].split()[-2].rpartition(":")[2])
    both_serve(("127.0.0.1", port))
    program.interrupt()
    assert program.ends()[-1] == "run has returned"
    with pytest.raises(ConnectionRefusedError):
        Peer(("127.0.0.1", port))


def test_workers_on_every_address_of_a_name(start: Start) -> None:
    program = start("tcp://localhost:0")
    port = int(program.lines[-1].split()[-2].rpartition(":")[2])
    families = {found[0] for found in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
    for family in families:
        with socket.socket(family) as client:
            client.connect(("localhost", port))


def test_workers_on_tls(start: Start, tmp_path: Path) -> None:
    import ssl

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    certificate.private_key_pem.write_to_path(str(key))
    cert.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    program = start("tls://127.0.0.1:0", tls={"private": str(key), "public": str(cert)})
    port = int(program.lines[-1].split()[-2].rpartition(":")[2])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    wrap = partial(context.wrap_socket, server_hostname="localhost")
    both_serve(("127.0.0.1", port), wrap)


def test_a_missing_certificate_is_told_at_the_start(start: Start) -> None:
    program = start("tls://127.0.0.1:0", trouble="-", tls={})
    lines = program.ends(1)
    assert any("cannot start" in line and "certificate" in line for line in lines), lines


@pytest.mark.parametrize("family", ["udp4", "udp6"])
def test_workers_on_udp(start: Start, family: str) -> None:
    host = "127.0.0.1" if family == "udp4" else "::1"
    program = start(f"{family}://[{host}]:0" if family == "udp6" else f"{family}://{host}:0", count=3)
    port = int(program.lines[-1].split()[-2].rpartition(":")[2])
    pids = set()
    for _ in range(60):
        with socket.socket(socket.AF_INET if family == "udp4" else socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE)
            client.connect((host, port))
            client.send(b'{"type":"who","data":{}}\f')
            pids.add(json.loads(client.recv(1000)[:-1])["data"])
    assert len(pids) > 1


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:0", "udp4://0.0.0.0:0", "bound"])
def test_an_address_open_to_other_machines_is_one_warning(start: Start, address: str) -> None:
    program = start(address, count=3)
    program.interrupt()
    warnings = [line for line in program.ends() if line.startswith("WARNING")]
    assert len(warnings) == 1 and "is open to every machine" in warnings[0], warnings


def test_datagrams_for_a_dead_worker_wait_for_its_successor(start: Start) -> None:
    program = start("udp4://127.0.0.1:0", count=1)
    port = int(program.lines[-1].split()[-2].rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", port))
        client.send(b'{"type":"who","data":{}}\f')
        first = json.loads(client.recv(1000)[:-1])["data"]
        os.kill(first, signal.SIGKILL)
        until(lambda: not is_alive(first))
        client.send(b'{"type":"who","data":{}}\f')
        assert json.loads(client.recv(1000)[:-1])["data"] != first


# ---- whom a broadcast reaches


def test_a_broadcast_in_one_of_several_workers_says_once_in_all_whom_it_reaches(root: str, start: Start) -> None:
    program = start(f"{root}app.world")
    with contextlib.ExitStack() as peers:
        at: dict[int, Peer] = {}  # the newest of each worker, which hears its broadcasts
        while len(at) < 2:
            peer = peers.enter_context(Peer(f"{root}app.world"))
            at[peer.ask()] = peer
        for pid, peer in [*at.items()] * 2:
            peer.send("spread")
            assert peer.receive() == pid
    program.interrupt()
    told = [line for line in program.ends() if "reaches the clients of this process alone" in line]
    assert len(told) == 1 and "broadcast() reaches" in told[0] and "one of 2 workers: bus=True joins" in told[0], told


def worker(count: int, kind: Any = WorkerServer, **options: Any) -> Any:
    where = Unix("/nowhere/app.world") if kind is WorkerServer else Udp("127.0.0.1", 0, "udp4")
    own = (0,) if kind is WorkerServer else ()
    return kind(where, EventLoopDriver(), node_ipc.Config(silent=True, **options).settings(), Board(count), *own)


def test_so_does_an_emit_to_rooms_and_neither_where_that_is_meant(caplog: pytest.LogCaptureFixture) -> None:
    for usual in (worker(1), worker(2, bus="nats://127.0.0.1:1")):
        usual.broadcast("news", 1)
        usual.to("lobby").emit("news", 1)
    several = worker(3)
    several.broadcast("news", 1, local=True)
    several.to("lobby", local=True).emit("news", 1)
    with pytest.raises(TypeError):
        several.to()
    assert "reaches" not in caplog.text
    for _ in range(2):
        several.to("lobby").emit("news", 1)
        several.broadcast("news", 1)
    assert caplog.text.count("to() reaches the clients of this process alone, which is one of 3 workers") == 1
    assert caplog.text.count("reaches the clients") == 1
    assert not vars(several).keys() & {"broadcast", "to"}, "what follows is called as ever"


def test_so_does_a_broadcast_of_udp(caplog: pytest.LogCaptureFixture) -> None:
    for port in (worker(1, WorkerPort), worker(2, WorkerPort)):
        assert "reaches" not in caplog.text
        port.broadcast("news", 1)
    assert "which is one of 2 workers: what is for all is for a single process, count=1" in caplog.text


AS_A_SERVICE_MANAGER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.row(27)
def test_workers_on_a_socket_of_the_service_manager(root: str) -> None:
    path = f"{root}app.world"
    with socket.socket(socket.AF_UNIX) as manager:
        manager.bind(path)
        manager.listen()
        os.chmod(path, 0o622)
        there = os.stat(path)
        descriptor = manager.fileno()
        program = [str(TESTS / "workers_program.py"), "inherited", "2", "{}"]
        command = [sys.executable, "-c", AS_A_SERVICE_MANAGER, str(descriptor), *program]
        options: Any = {"pass_fds": [descriptor], "env": {**os.environ, "PYTHONUNBUFFERED": ""}}
        for _ in range(2):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as service:
                try:
                    assert service.stdout is not None
                    assert [service.stdout.readline().split()[1] for _ in range(2)] == [f"unix:{path}"] * 2
                    both_serve(path)
                    service.terminate()
                    assert service.wait(DEADLINE) == 0
                finally:
                    service.kill()
            assert os.path.samestat(os.stat(path), there)
            assert os.stat(path).st_mode == there.st_mode
    os.unlink(path)


# ---- ending


def test_sigterm_drains_and_removes_the_socket_once(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}")
    with Peer(path) as reading, Peer(path) as other:
        other.ask()
        reading.send("many", 20_000)
        program.wait_for("emitted")
        program.process.send_signal(signal.SIGTERM)
        until(lambda: not os.path.exists(path))
        assert [reading.receive() for _ in range(20_000)] == list(range(20_000))
        assert reading.ended() and other.ended()
    assert program.ends()[-1] == "run has returned"


def test_async_handlers_may_end(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", count=1, close_timeout=500)
    with Peer(path) as peer:
        peer.send("later")
        program.wait_for("begun")
        program.interrupt()
        assert "handler ended" in program.ends()


def test_a_peer_that_does_not_read_delays_the_end_until_the_limit(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", close_timeout=300)
    with Peer(path) as stuck:
        stuck.send("many", 50_000)
        program.wait_for("emitted")
        begun, watch = time.monotonic(), Stopwatch()
        program.interrupt()
        program.ends()
        assert time.monotonic() - begun > 0.25 and watch.seconds < 5


def test_a_second_signal_does_not_wait(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", close_timeout=60_000)
    with Peer(path) as stuck:
        stuck.send("many", 50_000)
        program.wait_for("emitted")
        program.interrupt()
        program.wait_for("stop")
        program.interrupt()
        begun = time.monotonic()
        program.ends()
        assert time.monotonic() - begun < 30, "a minute is for those who wait"


def test_a_worker_that_hangs_is_killed(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", count=1, close_timeout=50)
    with Peer(path) as peer:
        peer.send("hang")
        program.wait_for("hanging")
        program.interrupt()
        lines = program.ends()
    assert any("does not end: killed" in line for line in lines)


def test_workers_end_when_their_parent_is_killed(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}")
    with Peer(path) as peer:
        pid = peer.ask()
        program.process.kill()
        assert peer.ended()
    until(lambda: not is_alive(pid))
    again = start(f"unix:{path}")  # the socket and the lock they left are taken over
    assert pid_of(path) > 0
    again.interrupt()
    again.ends()


def test_the_path_is_nobody_elses_while_they_run(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}")
    lines = start(f"unix:{path}", trouble="-").ends(1)
    assert any("AddressInUse" in line for line in lines)
    assert pid_of(path) > 0
    program.interrupt()
    program.ends()


def test_unlink_false_leaves_a_dead_socket_to_the_user(start: Start, root: str) -> None:
    path = f"{root}app.world"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    lines = start(f"unix:{path}", trouble="-", unlink=False).ends(1)
    assert any("unlink is False" in line for line in lines)
    os.unlink(path)
    program = start(f"unix:{path}", unlink=False)
    assert pid_of(path) > 0
    program.interrupt()
    program.ends()


# ---- replacing


def test_a_killed_worker_is_replaced_and_logged(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", count=1)
    first = pid_of(path)
    os.kill(first, signal.SIGKILL)
    assert pid_of(path) != first
    program.interrupt()
    lines = program.ends()
    assert any(line.startswith("WARNING") and f"(process {first}) was ended by SIGKILL" in line for line in lines)


def test_a_worker_that_leaves_by_itself_is_replaced(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", count=1)
    first = pid_of(path)
    with Peer(path) as peer:
        peer.send("leave")
        assert peer.ended()
    assert pid_of(path) != first  # this one waited in the kernel
    program.interrupt()
    assert any(line.startswith("INFO") and f"(process {first}) ended" in line for line in program.ends())


def test_a_crash_loop_does_not_spin(start: Start, root: str) -> None:
    program = start(f"unix:{root}app.world", count=1, trouble="dies")
    begun = time.monotonic()
    program.wait_for("starts in 0.4 s")
    assert time.monotonic() - begun > 0.25
    program.interrupt()
    lines = program.ends()
    deaths = [line for line in lines if "status 7" in line]
    assert [line.rpartition(" starts ")[2] for line in deaths][:3] == ["in 0.1 s", "in 0.2 s", "in 0.4 s"]
    assert all(line.startswith("WARNING") for line in deaths)


def test_a_setup_that_raises_in_one_worker_harms_no_other(start: Start, root: str) -> None:
    program = start(f"unix:{root}app.world", count=3, trouble="one raises")
    served = {int(program.wait_for("serving").split()[-1]) for _ in range(3)}  # its successor is one of them
    assert all(is_alive(pid) for pid in served) and len(served) == 3
    program.interrupt()
    lines = program.ends()
    died = [line for line in lines if "another starts" in line]
    assert len(died) == 1 and "(LookupError: no such database (" in died[0] and died[0].endswith("in 0.1 s")
    assert sum(line.endswith(", in setup") for line in lines) == 1, "its traceback is shown once"
    assert lines[-1] == "run has returned"


def test_whatever_every_setup_raises_is_told_and_forges_no_line(start: Start, root: str) -> None:
    lines = start(f"unix:{root}app.world", trouble="own").ends(1)
    assert lines[-1].startswith("node_ipc.errors.IPCError: ") and "cannot start: Own: over" in lines[-1]
    assert not any("\x1b" in line or line.startswith("ERROR forged") for line in lines)


def test_a_setup_that_raises_in_every_worker_ends_it_all(start: Start, root: str) -> None:
    lines = start(f"unix:{root}app.world", trouble="raises").ends(1)
    where = f"({TESTS}/workers_program.py, line "
    assert lines[-1].startswith(
        f"node_ipc.errors.IPCError: the workers for unix:{root}app.world cannot start: LookupError: no such database "
        + where
    )
    assert any(line.endswith(", in setup") for line in lines), "its traceback is shown"


def test_a_full_worker_leaves_connections_to_the_others(start: Start, root: str) -> None:
    path = f"{root}app.world"
    program = start(f"unix:{path}", count=3, max_connections=5)
    peers = [Peer(path) for _ in range(15)]
    assert sorted(Counter(peer.ask() for peer in peers).values()) == [5, 5, 5]
    with Peer(path) as one_too_many:
        assert one_too_many.ended()
    for peer in peers:
        peer.socket.close()
    until(lambda: is_served(path))  # they notice one after the other
    program.interrupt()
    program.ends()


def is_served(path: str) -> bool:
    try:
        return pid_of(path) > 0
    except ConnectionError:
        return False


# ---- what cannot be


def never(server: Any) -> None:
    raise AssertionError("not called")


def test_a_process_with_threads_is_not_forked(root: str) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="reader")
    thread.start()
    try:
        with pytest.raises(WouldDeadlock, match=r"other threads \(reader\): start them in setup"):
            workers.run(never, f"unix:{root}app.world")
    finally:
        done.set()
        thread.join()


async def test_a_process_with_a_loop_is_not_forked(root: str) -> None:
    if threading.active_count() == 1:
        with pytest.raises(WouldDeadlock, match="an event loop runs here"):
            workers.run(never, f"unix:{root}app.world")


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2"])
def test_a_count_that_is_none(root: str, count: Any) -> None:
    with pytest.raises(ConfigError, match="count is the number of workers"):
        workers.run(never, f"unix:{root}app.world", count=count)


def test_a_system_without_fork(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(IPCError, match="workers need fork"):
        workers.run(never, f"unix:{root}app.world")


def test_the_delay_of_a_replacement() -> None:
    place = workers._Place(0, ())
    assert [place.delay(0.1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert place.delay(5.0) == 0.0
    assert place.delay(4.9) == 0.1


# ---- whose turn it is


def test_the_least_loaded_is_first_and_of_equals_the_one_that_waited_longest() -> None:
    board = Board(3)
    assert board.fewest() == ABSENT
    for number in range(3):
        board.write(number, 5)
        board.took(number)
    assert board.first() == 0
    board.took(0)
    assert board.first() == 1
    board.write(2, 4)
    assert (board.first(), board.fewest()) == (2, 4)
    board.leave(2)
    assert board.connections(2) == ABSENT
    assert board.first() == 1


def test_who_has_many_more_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr("node_ipc.scale.fairness.time.monotonic", lambda: clock)
    board = Board(2)
    turn = Turn(board, 0, most=100)
    board.write(0, 10 + SLACK)
    board.write(1, 10)
    assert turn.wait() == 0
    board.write(0, 11 + SLACK)
    assert turn.wait() == fairness.WAIT_SECONDS
    clock += fairness.WAIT_SECONDS
    assert turn.wait() == 0, "the other one did not take it"
    assert turn.wait() == fairness.WAIT_SECONDS
    clock += 1
    assert turn.wait() == fairness.WAIT_SECONDS, "that was another connection"


def test_a_full_one_waits_as_long_as_another_has_room() -> None:
    board = Board(2)
    turn = Turn(board, 0, most=10)
    board.write(0, 10)
    board.write(1, 9)
    assert [turn.wait() for _ in range(3)] == [fairness.FULL_SECONDS] * 3
    board.write(1, 10)
    assert turn.wait() == 0, "all are full: refused at once"
    board.leave(1)
    assert turn.wait() == fairness.FULL_SECONDS, "whoever replaces it will have room"


def test_workers_serve_several_addresses(start: Start, root: str) -> None:
    path = f"{root}app.world"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = start(json.dumps([f"unix:{path}", f"tcp://127.0.0.1:{port}"]))
    for where in (path, ("127.0.0.1", port)):
        both_serve(where)
    program.process.send_signal(signal.SIGTERM)
    program.ends()


def test_where_one_of_several_addresses_cannot_be_had_none_is_served(root: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(node_ipc.AddressInUse, match="somebody listens at tcp://127"),
    ):
        workers.run(print, [f"unix:{root}app.world", f"tcp://127.0.0.1:{taken.getsockname()[1]}"])


# ---- told without logging


def unheard(programs: list[Program], root: str, setup: str, **options: Any) -> Program:
    """Workers of a program that has not set logging up."""
    lines = [
        "import os, sys, node_ipc",
        "from node_ipc.scale import workers",
        "def setup(server):",
        *(f"    {line}" for line in setup.splitlines()),
        f"workers.run(setup, 'unix:{root}app.world', count=2, **{options!r})",
    ]
    script = Path(root).with_suffix(".py")
    script.write_text("\n".join(lines))
    program = python(str(script))
    programs.append(program)
    return program


def test_a_setup_that_raises_names_the_line_on_stderr(programs: list[Program], root: str) -> None:
    program = unheard(programs, root, "server.onn('message', print)")
    lines = program.ends(1)
    text = "\n".join(lines)
    script = Path(root).with_suffix(".py")
    assert f'File "{script}", line 4, in setup' in text
    assert "server.onn('message', print)" in text
    assert "cannot start: AttributeError" in lines[-1] and "Did you mean: 'on'?" in lines[-1]
    assert f"({script}, line 4, in setup)" in lines[-1]
    script.unlink()


@pytest.mark.parametrize(("status", "said"), [("'there is no database'", "there is no database"), ("0", "0")])
def test_a_setup_that_exits_ends_it_all_as_one_that_raises(
    programs: list[Program], root: str, status: str, said: str
) -> None:
    lines = unheard(programs, root, f"sys.exit({status})").ends(1)
    script = Path(root).with_suffix(".py")
    assert lines[-1].endswith(f"cannot start: SystemExit: {said} ({script}, line 4, in setup)")
    assert not any("another starts" in line for line in lines)
    assert sum("Such lines are on stderr" in line for line in lines) <= 1
    script.unlink()


def test_why_it_is_on_stderr_is_said_once_for_all_workers(programs: list[Program], root: str) -> None:
    lines = unheard(programs, root, "raise LookupError('no database')").ends(1)
    assert sum("Such lines are on stderr" in line for line in lines) == 1
    assert not any("another starts" in line for line in lines)
    Path(root).with_suffix(".py").unlink()


def test_a_worker_that_dies_is_told_on_stderr(programs: list[Program], root: str) -> None:
    program = unheard(programs, root, "server.on('start', lambda: os._exit(7))")
    line = program.wait_for("ended with status 7")
    assert line.startswith("node_ipc: worker ") and "another starts in 0." in line
    assert "(Such lines are on stderr until logging is set up" in program.wait_for("(")
    program.interrupt()
    assert not any("Such lines" in line for line in program.ends()[3:]), "it is said once"
    Path(root).with_suffix(".py").unlink()


def test_silent_keeps_warnings_of_workers_from_stderr(programs: list[Program], root: str) -> None:
    program = unheard(programs, root, "print('set up', flush=True)\nos._exit(7)", silent=True)
    for _ in range(4):
        program.wait_for("set up")
    program.interrupt()
    assert set(program.ends()) == {"set up"}
    Path(root).with_suffix(".py").unlink()
