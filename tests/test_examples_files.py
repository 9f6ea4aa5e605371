"""The programs of examples/files, as they stand: all sizes, either side killed in the middle, wrong names, memory."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import blocking
from processes import Program

FILES = Path(__file__).parents[1] / "examples" / "files"
RUN = str(Path(__file__).parent / "run_example.py")
MIB = 1024 * 1024


class Transfer:
    """Both programs, with a folder to send from and one to receive into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source, self.target = root / "from", root / "to"
        self.source.mkdir()
        self.target.mkdir()
        self.programs: list[Program] = []

    def receive(self) -> Program:
        receiver = self._program("receive.py", str(self.target))
        receiver.wait_for("ready")
        return receiver

    def send(self, *names: str) -> Program:
        return self._program("send.py", *(str(self.source / name) for name in names))

    def _program(self, program: str, *arguments: str) -> Program:
        self.programs.append(Program.python(RUN, f"{self.root}/", "0", str(FILES / program), *arguments))
        return self.programs[-1]

    def make(self, name: str, size: int) -> bytes:
        data = random.Random(size).randbytes(min(size, MIB)) * (size // MIB + 1)
        (self.source / name).write_bytes(data[:size])
        return data[:size]

    def has(self, name: str) -> bytes:
        return (self.target / name).read_bytes()

    def parts(self) -> list[Path]:
        return list(self.target.glob("*.part"))


@pytest.fixture
def transfer(tmp_path: Path) -> Iterator[Transfer]:
    made = Transfer(tmp_path)
    yield made
    for program in made.programs:
        program.close()


def test_files_of_any_size_arrive_as_they_are(transfer: Transfer) -> None:
    sizes = {"empty": 0, "one byte": 1, "a part": 512 * 1024, "more than a part": 512 * 1024 + 1, "ünicode €": 5 * MIB}
    sent = {name: transfer.make(name, size) for name, size in sizes.items()}
    transfer.receive()
    lines = transfer.send(*sizes).ends()
    assert [line for line in lines if line.endswith("sent")] == [f"{name}: sent" for name in sizes]
    assert [line for line in lines if "ünicode" in line][-2] == "ünicode €: 100 %"
    assert {name: transfer.has(name) for name in sizes} == sent and not transfer.parts()
    changed = transfer.make("a part", 100)
    assert transfer.send("a part").ends() == ["a part: 100 %", "a part: sent"]
    assert transfer.has("a part") == changed


@pytest.mark.skipif(sys.platform == "win32", reason="a process is stopped by a signal")
@pytest.mark.parametrize("killed", ["receiver", "sender"])
def test_it_goes_on_where_it_stopped(transfer: Transfer, killed: str) -> None:
    data = transfer.make("big", 48 * MIB)
    receiver, sender = transfer.receive(), transfer.send("big")
    sender.wait_for("10 %")
    sender.process.send_signal(signal.SIGSTOP)
    if killed == "receiver":
        receiver.process.kill()
        receiver.ends(-signal.SIGKILL)
        sender.process.send_signal(signal.SIGCONT)
        sender.wait_for("waiting for it")
        (part,) = transfer.parts()
        there = part.stat().st_size
        receiver = transfer.receive()
    else:
        sender.process.kill()
        sender.ends(-signal.SIGKILL)
        (part,) = transfer.parts()
        sender = transfer.send("big")
        there = int(sender.wait_for("going on after").split()[-2])
    assert 4 * MIB < there < len(data)
    sender.wait_for("big: sent")
    sender.ends()
    assert transfer.has("big") == data and not transfer.parts()
    if killed == "receiver":
        assert int(next(line for line in sender.lines if "going on" in line).split()[-2]) == there


def test_what_cannot_be_sent_is_said(transfer: Transfer) -> None:
    transfer.make("good", 10)
    assert transfer.send("good", "missing").ends(1) == [f"no file: {transfer.source / 'missing'}"]
    assert transfer.send(".").ends(1) == [f"no file: {transfer.source}"]
    (transfer.target / "good").mkdir()
    transfer.receive()
    assert transfer.send("good").ends(1)[-1].startswith("not sent: ")


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    program = Program.python(RUN, f"{tmp_path}/", "0", str(FILES / "receive.py"), str(tmp_path / "none"))
    assert program.ends(1) == [f"{tmp_path / 'none'} is no folder: make it, or name another"]
    program.close()


WRONG_NAMES = ["../out", "/etc/out", "a/b", "..", ".", "", "a\\b", "c:out", "a\0b"]


def test_nobody_writes_outside_of_the_folder_or_out_of_step(transfer: Transfer) -> None:
    receiver = transfer.receive()
    begin = {"name": "f", "size": 4, "changed": 1}
    with blocking.connect("files", socket_root=f"{transfer.root}/", timeout=10) as client:

        def refused(method: str, params: Any) -> int:
            with pytest.raises(node_ipc.RemoteError) as raised:
                client.request(method, params, timeout=10)
            return raised.value.code

        for name in WRONG_NAMES:
            assert refused("begin", begin | {"name": name}) == 1, name
        assert refused("begin", begin | {"size": -1}) == 1
        assert refused("begin", begin | {"name": "x" * 300}) == 1
        assert refused("part", {"offset": 0, "data": b"ab"}) == 2
        assert client.request("begin", begin, timeout=10) == 0
        assert refused("part", {"offset": 1, "data": b"ab"}) == 2
        assert refused("part", {"offset": 0, "data": b"abcde"}) == 2
        assert client.request("part", {"offset": 0, "data": b"ab"}, timeout=10) == 2
        assert refused("end", "0" * 64) == 3
        assert not transfer.parts()
        if hasattr(os, "symlink"):
            (transfer.target / "f.4-2.part").symlink_to(transfer.root / "elsewhere")
            assert refused("begin", begin | {"changed": 2}) == 1
            assert not (transfer.root / "elsewhere").exists()
    assert {path.name for path in transfer.root.iterdir() if path.is_file()} <= {"app.files.lock"}
    receiver.interrupt()
    receiver.ends()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_file(transfer: Transfer) -> None:
    peaks: list[list[int]] = []
    for size in (8 * MIB, (1024 if os.environ.get("NIGHTLY") else 64) * MIB):
        transfer.make("file", size)
        receiver, sender = transfer.receive(), transfer.send("file")
        sender.wait_for("90 %")
        peaks.append([peak(receiver), peak(sender)])
        sender.ends()
        receiver.interrupt()
        receiver.ends()
    assert all(large < small + 24 * MIB for small, large in zip(*peaks, strict=True)), peaks


def peak(program: Program) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024
