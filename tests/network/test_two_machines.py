"""Two machines, shown as namespaces of the network: brokers and servers killed, links cut, slowed and lossy.

NIGHTLY=network .ci/run     250 faults for each broker, under 2,000 messages a second; and for a link over TCP, TLS and
                            UDP each fault of a network, 20 s long
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import brokers

WORLD = Path(__file__).with_name("world.py")
LINKS = Path(__file__).with_name("links.py")
APART = (
    *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
)
ENGINES = ("nats", "redis")
TRANSPORTS = ("tcp", "tls", "udp")
LANE = os.environ.get("NIGHTLY") == "network"
TOOLS = {"unshare": "util-linux", "ip": "iproute2", "tc": "iproute2", "nft": "nftables"}

Noted = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def can_have_networks() -> None:
    """Whatever is missing fails where everything has to be there, and is said elsewhere."""
    missing = {f"apt-get install {package}" for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if not Path("/dev/net/tun").exists():
        missing.add("modprobe tun")
    if not missing and subprocess.run([*APART, "true"], capture_output=True).returncode:
        missing = {"root, or a kernel that lets everybody make namespaces of users"}
    if missing:
        told = f"two machines are NOT tested, for there can be no namespaces here: {', '.join(sorted(missing))}"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)


@contextmanager
def world(engine: str, faults: str, rate: int) -> Iterator[subprocess.Popen[str]]:
    assert brokers.BROKERS[engine].is_here(), f"apt-get install {brokers.BROKERS[engine].package}"
    with apart(WORLD, engine, faults, str(rate), "1") as started:
        yield started


@contextmanager
def apart(program: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """It ends when its input does: with this process, whatever ends that."""
    command = [*APART, sys.executable, "-u", str(program), *arguments]
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        started = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        )
        try:
            yield started
        finally:
            started.kill()  # and with it all that it started
            started.communicate()


def found(started: subprocess.Popen[str], noted: Noted, what: str) -> dict[str, Any]:
    assert started.stdout is not None
    lines = started.stdout.read().splitlines()
    assert started.wait(60) == 0, "\n".join(lines[-40:])
    figures: dict[str, Any] = json.loads(lines[-1])
    for name, value in figures.items():
        noted(f"{what}: {name}", value)
    return figures


@pytest.mark.row(47)
@pytest.mark.row(65)
@pytest.mark.row(67)
@pytest.mark.slow
def test_every_message_comes_or_is_told_once_and_in_order(record_property: Noted) -> None:
    """One fault of each kind; both brokers at a time, each in a world of its own."""
    with world("nats", "short", 200) as nats, world("redis", "short", 200) as redis:
        for engine, started in (("nats", nats), ("redis", redis)):
            figures = found(started, record_property, engine)
            assert len(figures["faults"]) == 9
            assert figures["told"] > 0 and figures["heard"] > figures["told"]


@pytest.mark.row(47)
@pytest.mark.slow
def test_a_link_over_a_bad_network_is_right_or_gone_and_never_wrong(record_property: Noted) -> None:
    """Each fault for a moment, on each transport at a time: what was sent has come whole and in order, or is told."""
    with apart(LINKS, "tcp", "0.5", "1") as tcp, apart(LINKS, "tls", "0.5", "1") as tls:
        with apart(LINKS, "udp", "0.5", "1") as udp:
            for transport, started in zip(TRANSPORTS, (tcp, tls, udp), strict=True):
                figures = found(started, record_property, transport)
                assert len(figures["faults"]) == 10 + (transport != "udp")
                assert figures["packets lost"] > 0 and figures["heard"] > 0


@pytest.mark.lane(name="network")
@pytest.mark.row(47)
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not LANE, reason="takes five minutes: NIGHTLY=network .ci/run")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_link_over_a_bad_network_for_long(transport: str, record_property: Noted) -> None:
    with apart(LINKS, transport, "20", "7") as started:
        figures = found(started, record_property, transport)
    assert figures["packets lost"] > 1000
    assert all(fault["right again after (s)"] < 30 for fault in figures["faults"].values())


@pytest.mark.lane(name="network")
@pytest.mark.row(47)
@pytest.mark.row(65)
@pytest.mark.row(66)
@pytest.mark.row(67)
@pytest.mark.timeout(1790)
@pytest.mark.skipif(not LANE, reason="takes half an hour: NIGHTLY=network .ci/run")
@pytest.mark.parametrize("engine", ENGINES)
def test_faults_without_end(engine: str, record_property: Noted) -> None:
    with world(engine, "250", 500) as started:
        figures = found(started, record_property, engine)
    assert sum(figures["faults"].values()) == 250
    assert figures["back after the broker, median (s)"] < 1
    with_bus, without = (figures[f"p99 of an answer with the bus {state} (ms)"] for state in ("up", "down"))
    assert without < 1.5 * with_bus, "its own clients are served as before"


def test_nothing_of_a_world_outlives_the_test_that_is_killed() -> None:
    """The test's process is killed, so that nothing of it is run: namespaces, brokers and servers are gone."""
    program = (
        "import subprocess, sys, time\n"
        f"started = subprocess.Popen([*{APART!r}, sys.executable, {str(WORLD)!r}, 'nats', '9', '50', '1'],"
        " stdin=subprocess.PIPE)\n"
        "print(started.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    folder = tempfile.TemporaryDirectory(prefix="ipc-")
    where = {**os.environ, "TMPDIR": folder.name}
    with (
        folder,
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=where) as killed,
    ):
        assert killed.stdout is not None
        outer = int(killed.stdout.readline())
        wait_for(lambda: any(b"machine.py" in line for line in commands(descendants(outer))))
        left = descendants(outer) | {outer}
        killed.kill()
        wait_for(lambda: not [pid for pid in left if is_alive(pid)])


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    return found


def commands(pids: set[int]) -> list[bytes]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
