"""The file of a recording: kill -9, full and stuck disks, rotation, and files that are there already."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_ipc import Config
from node_ipc.recording import RecordingError, read
from node_ipc.recording.file import MOST_WAITING, RecordingFile, rotated
from node_ipc.recording.lines import Recorder, header

DEADLINE = 60.0
SETTINGS = Config().settings()
MESSAGE = b'{"type":"order","data":{"item":"tea","note":"' + b"x" * 60 + b'"}}\f'


def first_line(part: int) -> bytes:
    return header(SETTINGS, address="unix:/x", program="test", payloads=True, hide=None, time=1.0, part=part)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run.jsonl")


def opened(path: str, failed: Any = lambda error: None, **options: Any) -> RecordingFile:
    return RecordingFile(path, first_line, time.time, failed, **options)


def record(path: str, messages: int, **options: Any) -> RecordingFile:
    file = opened(path, **options)
    recorder = Recorder(file, SETTINGS, payloads=True)
    link = recorder.link("unix pid 7")
    for _ in range(messages):
        link.heard("client", MESSAGE)
    link.closed()
    recorder.end()
    file.close()
    return file


def messages(*paths: str) -> int:
    return sum(entry.side == "client" for entry in read(*paths))


def test_what_was_written_is_in_it_and_only_its_owner_may_read_it(path: str) -> None:
    record(path, 100)
    recording = read(path)
    assert [entry.event for entry in recording] == ["connect", *[""] * 100, "disconnect"]
    assert recording.is_whole
    if os.name == "posix":
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_file_of_another_user_is_not_written_to(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record(path, 1)
    before = Path(path).read_bytes()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(RecordingError, match="belongs to another user"):
        record(path, 1)
    assert Path(path).read_bytes() == before


KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
from recording.test_file import MESSAGE, SETTINGS, opened
from node_ipc.recording import read
from node_ipc.recording.lines import Recorder

def child():
    file = opened(path)
    link = Recorder(file, SETTINGS, payloads=True).link("unix pid 7")
    os.write(ready, b"!")
    while True:
        link.heard("client", MESSAGE * 7)

path, dice, kept, total = sys.argv[1], random.Random(7), 0, 0
for round in range(200):
    begun, ready = os.pipe()
    if (pid := os.fork()) == 0:
        child()
    assert os.read(begun, 1) == b"!"
    time.sleep(dice.random() * 0.03)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(begun), os.close(ready)
    recording = read(path)
    found = sum(entry.side == "client" and len(bytes(entry.data)) == 84 for entry in recording)
    assert found >= kept and recording.cut <= round % 5 + 1 and not recording.is_whole, (found, kept, recording.cut)
    kept = found
    if round % 5 == 4:
        total += kept
        os.unlink(path)
        kept = 0
print("done" if total > 1_000 else total)  # a busy machine gives a child a few milliseconds
"""


@pytest.mark.row(73)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_killed_at_two_hundred_moments_all_but_the_last_line_are_readable(path: str) -> None:
    """Five times the same file: what comes after a kill is written below what was before."""
    program = KILLED.format(tests=str(Path(__file__).parent.parent))
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


def test_one_that_is_there_is_continued_also_behind_half_a_line(path: str) -> None:
    record(path, 3)
    with open(path, "a") as file:
        file.write('{"time":1.0,"li')
    record(path, 2)
    recording = read(path)
    assert [entry.link for entry in recording] == [1] * 5 + [2] * 4
    assert recording.cut == 1 and recording.is_whole


def test_a_file_that_is_no_recording_stays_as_it_is(path: str) -> None:
    Path(path).write_text("dear diary\n")
    with pytest.raises(RecordingError, match="is no recording"):
        opened(path)
    assert Path(path).read_text() == "dear diary\n"
    with pytest.raises(RecordingError, match=r"cannot write .*: (Is a directory|Permission denied)"):
        opened(str(Path(path).parent))
    with pytest.raises(RecordingError, match=r"cannot write .*: No such file or directory"):
        opened(f"{path}-nowhere/run.jsonl")


def test_it_is_rotated_by_size_and_each_part_is_readable_by_itself(path: str) -> None:
    record(path, 1000, size=20_000, keep=3)
    parts = [rotated(path, number) for number in (3, 2, 1, 0)]
    assert sorted(os.listdir(Path(path).parent)) == sorted(os.path.basename(part) for part in parts)
    assert all(os.path.getsize(part) <= 20_000 for part in parts)
    assert messages(*parts) == sum(map(messages, parts)) > 200
    numbers = [read(part).header.part for part in parts]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert {entry.peer for part in parts for entry in read(part)} == {"unix pid 7"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_told_once_and_holds_nobody_up() -> None:
    told: list[RecordingError] = []
    with pytest.raises(RecordingError, match="'/dev/full' is no file, so it cannot be rotated"):
        opened("/dev/full", size=10_000)
    with pytest.raises(RecordingError, match="cannot write '/dev/full': No space left on device"):
        opened("/dev/full", told.append)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A pipe with a reader that reads nothing by itself."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


@pytest.mark.row(72)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes in the file system")
def test_a_disk_that_is_stuck_costs_its_queue_and_nothing_else(
    pipe: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits, no more than the queue is kept, and what is missing is told in the file."""
    path, reader = pipe
    file = opened(path)
    recorder = Recorder(file, SETTINGS, payloads=True)
    link = recorder.link("unix pid 7")
    block = MESSAGE * 500
    count = MOST_WAITING * 2 // len(block)
    begin = time.monotonic()
    for _ in range(count):
        link.heard("client", block)
    assert time.monotonic() - begin < 20
    assert 0 < file.missed < count * 500
    text = bytearray()

    def drain() -> None:
        os.set_blocking(reader, True)
        while part := os.read(reader, 1 << 20):
            text.extend(part)

    reading = threading.Thread(target=drain)
    reading.start()
    wait = time.monotonic() + DEADLINE
    while file.waiting and time.monotonic() < wait:
        time.sleep(0.01)
    link.heard("client", MESSAGE)
    recorder.end()
    file.close()
    reading.join(DEADLINE)
    lines = bytes(text).splitlines()
    assert sum(b'"type":"order"' in line for line in lines) + file.missed == count * 500 + 1
    assert any(b'"event":"missed","messages":%d' % file.missed in line for line in lines)
    assert file.failure is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes in the file system")
def test_a_disk_that_is_stuck_at_the_end_is_given_up(pipe: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_ipc.recording.file.PARTING_SECONDS", 0.1)
    told: list[RecordingError] = []
    file = opened(pipe[0], told.append)
    file.write(b"x" * 1_000_000, 1)
    file.close()
    assert told == [file.failure]
    assert str(told[0]).endswith("took nothing for 0.1 s: its last lines are not in it")
    os.set_blocking(pipe[1], True)
    left = 1_000_000
    while left > 0:  # lets the thread end
        left -= len(os.read(pipe[1], 1 << 20))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes in the file system")
def test_a_reader_that_leaves_is_told_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    told = threading.Event()
    file = opened(path, lambda error: told.set())
    os.close(reader)
    file.write(b"{}\n", 1)
    assert told.wait(DEADLINE)
    assert str(file.failure).startswith(f"cannot write {path!r}: Broken pipe. What was recorded before is in it")
    file.write(b"{}\n", 1)
    file.close()
