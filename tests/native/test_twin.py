"""Which twin runs, and what is said of it; that the two do the same, and that the native one keeps nothing."""

from __future__ import annotations

import gc
import inspect
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from compare import main as compare
from compare import played

import node_ipc
from node_ipc.config import twin
from node_ipc.config.address import Unix
from node_ipc.core.seam import Peer
from node_ipc.core.server import Server
from node_ipc.core.session import Session, broadcast
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.errors import InvalidEvent
from node_ipc.tools import help

sys.path.insert(0, str(Path(__file__).parents[2]))

ROUNDS = 300
native = pytest.mark.skipif(twin.native is None, reason="runs where node-ipc-native is installed: .ci/run native")


def said(folder: Path, **environment: str) -> list[str]:
    """What a fresh interpreter says of the twin, with these modules in its way; warnings first."""
    program = (
        "import sys, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import node_ipc.blocking, node_ipc.config.twin as twin\n"
        "print(*(each.message for each in caught), node_ipc.native, twin.why, sep='\\n')"
    )
    paths = os.pathsep.join([str(folder), str(Path(node_ipc.__file__).parent.parent)])
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths, "NODE_IPC_PURE": "", **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return said.splitlines()


def test_another_version_is_left_alone_with_one_warning_that_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "node_ipc_native.py").write_text('__version__ = "9.9.9"')
    warning, running, why = said(tmp_path)
    assert warning.startswith(f"node-ipc-native 9.9.9 does not fit node-ipc {node_ipc.__version__}, so the Python twin")
    assert f"Install node-ipc-native {node_ipc.__version__} (pip install ./native" in warning
    assert running == "None" and "9.9.9" in why


def test_one_that_cannot_be_loaded_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "node_ipc_native.py").write_text('raise ImportError("no such symbol")')
    warning, running, why = said(tmp_path)
    assert "is installed and cannot be loaded (no such symbol)" in warning
    assert running == "None" and "cannot be loaded" in why


def test_a_variable_turns_it_off_without_a_word_and_without_loading_it(tmp_path: Path) -> None:
    (tmp_path / "node_ipc_native.py").write_text("1 / 0")
    assert said(tmp_path, NODE_IPC_PURE="1") == ["None", "NODE_IPC_PURE is set"]


def test_a_python_without_its_lock_is_not_given_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.delenv("NODE_IPC_PURE", raising=False)
    assert twin.load() == (None, "this Python runs without its global lock")


def test_the_package_and_the_doctor_say_which_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert node_ipc.native == twin.running
    assert (twin.native is None) == (node_ipc.native is None) == bool(twin.why)
    from node_ipc.tools.cli import main

    main(["doctor", "-o", "socket_root=/nowhere/"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "hot path" in line)
    assert f"node-ipc-native {node_ipc.__version__}" in line if twin.native else f"Python, since {twin.why}" in line


def test_what_stands_in_the_place_of_a_method_looks_like_it() -> None:
    assert list(inspect.signature(Session.emit).parameters) == ["self", "type", "data", "keep"]
    assert list(inspect.signature(broadcast).parameters) == ["sessions", "frame"]
    assert inspect.getdoc(Session.emit).startswith("Send one event to this peer")  # type: ignore[union-attr]
    assert Session.emit.__name__ == "emit" and inspect.isroutine(Session.emit)
    assert "  socket.emit(type, data={}, keep=None)" in help.verbs()["emit"]()


@native
def test_it_is_one_file_that_can_be_read_in_one_go() -> None:
    [source] = Path(__file__).parents[2].joinpath("native").glob("*.c")
    assert len(source.read_text().splitlines()) < 1_100


def test_the_twins_do_the_same() -> None:
    assert compare(0, ROUNDS) == 0


@native
def test_the_comparison_sees_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another seed for one of them every round differs, so what is compared is what happened."""
    first, other = played(0, 20)[0], played(20, 20)[1]
    assert len({line.split()[-1] for line in first} & {line.split()[-1] for line in other}) == 0
    monkeypatch.setenv("NATIVE_ENVIRONMENT", "PYTHONHASHSEED=1 LC_ALL=C")
    assert compare(0, 20) == 0, "and nothing else shows"


@native
def test_what_an_input_of_the_search_stands_for_is_the_same_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the target notices where it is not."""
    from fuzzing import twins

    inputs = [random.Random(number).randbytes(3000) for number in range(50)]
    for data in inputs:
        twins.one_input(data)
    monkeypatch.setattr(twins.PLAYERS[1].Round, "pending_bytes", lambda link: 1)
    with pytest.raises(AssertionError, match="with the Python twin"):
        for data in inputs:
            twins.one_input(data)


class _Link:
    """Takes everything."""

    def __init__(self) -> None:
        self.peer = Peer("memory", pid=1)

    def write(self, data: bytes) -> None: ...
    def write_parts(self, parts: list[Any]) -> None:
        self.write(b"".join(parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...

    def pending_bytes(self) -> int:
        return 0

    def unread_bytes(self) -> int | None: ...
    def all_arrived(self) -> bool:
        return True

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _Point(msgspec.Struct):
    x: int


@pytest.fixture
def server() -> Any:
    with MemoryDriver() as driver:
        server = Server(Unix("/x/app.world"), driver, node_ipc.Config(socket_root="/x/").settings())
        server.start()
        driver.run_until_idle()
        server.on("plain", lambda data: None)
        server.on("echo", lambda data, socket: socket.emit("echo", data))
        server.on("error", lambda error: None)
        server.on("fails", lambda data: [][1])
        yield server


def connected(server: Server) -> Session:
    session = server.accept(Peer("memory", pid=1))
    assert isinstance(session, Session)
    session.opened(_Link())
    return session


READS = {
    "one as we write it": b'{"type":"plain","data":{"a":[1,2]}}\f',
    "a block": b'{"type":"plain","data":{"a":[1,2]}}\f' * 100,
    "as others write it": b'{"data": {"a":1}, "type":"plain"}\f' * 10,
    "echoes": b'{"type":"echo","data":"text"}\f' * 10,
    "handlers that fail": b'{"type":"fails","data":"text"}\f' * 3,
    "nobody hears it": b'{"type":"unheard","data":[1]}\f' * 10,
    "payloads that cannot be held": b'{"type":"plain","data":1e400}\f' * 3,
    "names that come once": b"".join(b'{"type":"n%d","data":1}\f' % number for number in range(500)),
    "texts with letters of others": '{"type":"plain","data":"é"}\f'.encode() * 10,
}


def growth(deed: Callable[[], object], times: int = 300) -> int:
    """Blocks of memory that are kept after doing something many times, once it was warm."""
    for _ in range(times):
        deed()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(times):
        deed()
    gc.collect()
    return sys.getallocatedblocks() - before


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("typed", [False, True])
def test_messages_leave_nothing_behind(server: Server, read: bytes, typed: bool) -> None:
    if typed:
        server.on("plain", lambda data: None, type=_Point)
    session = connected(server)

    def hear() -> None:
        session.received(read)
        session.push()

    assert growth(hear) < 100


def test_emits_leave_nothing_behind(server: Server) -> None:
    session = connected(server)

    def emit() -> None:
        session.emit("plain", {"a": 1})
        session.emit("\ud800", "x\f")
        for type, data in (("plain", object()), ([], 1)):
            with pytest.raises((InvalidEvent, node_ipc.InvalidPayload)):
                session.emit(type, data)
        broadcast([session] * 3, session.encode("plain", 1))
        session.push()

    assert growth(emit) < 100


def test_sessions_go_with_their_links(server: Server) -> None:
    def once() -> None:
        session = connected(server)
        session.received(READS["echoes"])
        session.lost(None)

    assert growth(once) < 100


@native
def test_what_each_kind_of_message_costs_is_printed_with_both_twins() -> None:
    """The figures are for a quiet machine; here every case has to come, and to be measured with either twin."""
    command = [sys.executable, "-m", "benchmarks", "twins", "--rounds", "1"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    from benchmarks.twins import CASES

    rows = [line.strip("|").split("|") for line in ran.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == list(CASES), ran.stderr
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in row[1:])
    told = [line for line in ran.stderr.splitlines() if line]
    assert all(line.startswith("slower with the native twin: ") for line in told) and ran.returncode == bool(told)
