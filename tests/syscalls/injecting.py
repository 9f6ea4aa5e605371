"""Talks in which one call to the kernel fails: pairs of processes (``talking.py``), one of them under strace."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

TALKING = Path(__file__).with_name("talking.py")
ANSWER = 77
STRACE_SECONDS = 90.0
AT_A_TIME = 4


class Case(NamedTuple):
    """One call that fails once, and who talks meanwhile."""

    call: str
    error: str
    when: int
    role: str
    driver: str
    transport: str
    twin: str

    def __str__(self) -> str:
        return "-".join(map(str, self))


class Outcome(NamedTuple):
    """What came of it: what the end under injection said, and what is wrong, which nothing may be."""

    said: str
    wrong: list[str]


class Pair:
    """A process that forks pairs, of one twin."""

    def __init__(self, twin: str) -> None:
        environment = {**os.environ, "NODE_IPC_PURE": "" if twin == "native" else "1", "PYTHONWARNINGS": "error"}
        self._process = subprocess.Popen(
            [sys.executable, str(TALKING)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        runs = self._line()["native"]
        assert (runs is not None) == (twin == "native"), f"{twin} was asked for, {runs} runs: pip install ./native"

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks the pairs has ended"
        return json.loads(line)

    def run(self, case: Case, address: str, folder: Path) -> Outcome:
        rounds = case.when + 1 if case.when > 2 else 3
        told = {**case._asdict(), "address": address, "rounds": rounds, "folder": str(folder)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        log = folder / "strace"
        command = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={case.call},getsid"]
        command += ["-e", f"inject={case.call}:error={case.error}:when={case.when}"]
        command += ["-e", f"inject=getsid:retval={ANSWER}", "-p", str(self._line()["pid"])]
        traced = subprocess.run(command, capture_output=True, text=True, timeout=STRACE_SECONDS)
        assert log.exists() and "(INJECTED)" in log.read_text(), (
            f"strace cannot trace, which takes CAP_SYS_PTRACE in a container: {traced.stderr.strip()}"
        )
        return outcome(case, self._line(), folder)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def outcome(case: Case, ended: dict[str, int], folder: Path) -> Outcome:
    wrong = [f"the {who} ended with {code}" for who, code in ended.items() if code and (who, code) != ("partner", -9)]
    words: list[str] = []
    for role in ("server", "client"):
        result, is_injected = folder / f"{role}.json", role == case.role
        told = json.loads(result.read_text() or "{}") if result.exists() else {}
        hangs = folder / f"{role}.hangs"
        wrong += [f"{role}: {each}" for each in told.get("wrong", ())]
        wrong += [f"{role}: {hangs.read_text()}"] if hangs.exists() and hangs.stat().st_size else []
        if is_injected:
            words = [f"{word} x{n}" if n > 1 else word for word, n in sorted(told.get("words", {}).items())]
    if any(word.startswith("lost") for word in words):  # and a request that was under way with it, or none
        words = [word for word in words if not word.startswith("asked ERR_IPC_CONNECTION_LOST")]
    lines = (folder / "strace").read_text().splitlines()
    if not any("(INJECTED)" in line and f" {case.call}(" in line for line in lines):
        words.insert(0, f"not reached, {sum(f' {case.call}(' in line for line in lines)} calls")
    return Outcome(", ".join(words) or "on", wrong)


class Bench:
    """Runs cases, several at a time: each waits for the kernel and for its other end more than it works."""

    def __init__(self) -> None:
        assert shutil.which("strace"), "apt-get install strace"
        self._idle: dict[str, queue.SimpleQueue[Pair]] = {"python": queue.SimpleQueue(), "native": queue.SimpleQueue()}
        self._all: list[Pair] = []
        self._numbers = iter(range(1 << 30))

    def run(self, case: Case) -> Outcome:
        idle = self._idle[case.twin]
        try:
            pair = idle.get_nowait()
        except queue.Empty:
            pair = Pair(case.twin)
            self._all.append(pair)
        number = next(self._numbers)
        with tempfile.TemporaryDirectory(prefix="ipc-") as name:
            folder = Path(name)
            (folder / "at").mkdir()
            pid = os.getpid()
            host = f"127.{64 + pid % 64}.{pid // 64 % 256}.{1 + number % 250}"
            address = str(folder / "at" / "s") if case.transport == "unix" else f"tcp://{host}:7077"
            found = pair.run(case, address, folder)
        idle.put(pair)
        return found

    def run_all(self, cases: list[Case]) -> dict[Case, Outcome]:
        threads = ThreadPoolExecutor(AT_A_TIME)
        try:
            return dict(zip(cases, threads.map(self.run, cases), strict=True))
        finally:  # also where one cannot be run: the others would fail alike
            threads.shutdown(cancel_futures=True)

    def close(self) -> None:
        for pair in self._all:
            pair.close()
