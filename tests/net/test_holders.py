"""Who holds a port: named in the error where /proc tells, and nothing said where it does not."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import node_ipc
from node_ipc import AddressInUse, blocking
from node_ipc.config.address import Handed, Tcp, Udp, Unix
from node_ipc.net import holders
from node_ipc.net.holders import bound_hosts, holder_of, listeners
from node_ipc.scale import workers

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
IN_USE = OSError(errno.EADDRINUSE, "in use")


NAMED = "already, this process itself: stop"


@linux
def test_a_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressInUse, match=NAMED):
            blocking.serve(address)
        with pytest.raises(AddressInUse, match=NAMED):
            workers.run(lambda server: None, address, count=1)
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(AddressInUse, match=NAMED):
            blocking.serve_udp(taken.getsockname())


@linux
async def test_a_taken_port_names_its_holder_in_a_loop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(AddressInUse, match=NAMED):
            await node_ipc.serve(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(AddressInUse, match=NAMED):
            await node_ipc.serve_udp(taken.getsockname())


PROGRAM = """
import socket, sys
taken = socket.create_server(("127.0.0.1", 0))
print(taken.getsockname()[1], flush=True)
sys.stdin.read()
"""


@linux
def test_another_process_is_named_with_its_number_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        assert listeners(port) == {program.pid}
        monkeypatch.setattr(holders, "LOOK_SECONDS", 60.0)
        assert holder_of(Tcp("127.0.0.1", port), IN_USE).startswith(f", process {program.pid} (")
        program.communicate()


def test_where_nobody_knows_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert holder_of(Unix("/tmp/x"), IN_USE) == ""
    assert holder_of(Tcp("localhost", 1), OSError(errno.EACCES, "no")) == ""
    assert holder_of(Udp("localhost", 0, "udp4"), IN_USE) == ""
    monkeypatch.setattr(holders, "Path", lambda path: Path("/nowhere/at/all"))
    assert holder_of(Tcp("localhost", 1), IN_USE) == ""


@linux
def test_the_search_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert listeners(port) == {os.getpid()}
        assert listeners(port, seconds=-1.0) == {os.getpid()}
        monkeypatch.setattr(holders, "_processes", lambda: [2**22 + 1, os.getpid()])
        assert listeners(port, seconds=-1.0) == set()
        monkeypatch.setattr(holders, "LOOK_SECONDS", -1.0)
        assert holder_of(Tcp("127.0.0.1", port), IN_USE) == ""


def test_a_holder_that_has_gone_since_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "listeners", lambda *_, **__: {2**22 + 1})
    where = Tcp("127.0.0.1", 1)
    with socket.socket() as handed:
        for address in (where, Handed((handed,), where)):
            assert holder_of(address, IN_USE) == f", process {2**22 + 1}"


def test_three_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [2**22 + number for number in range(1, 5)]
    monkeypatch.setattr(holders, "listeners", lambda port, **_: set(gone[:port]))
    three = f", process {gone[0]} and process {gone[1]} and process {gone[2]}"
    assert holder_of(Tcp("localhost", 3), IN_USE) == three
    assert holder_of(Tcp("localhost", 4), IN_USE) == f"{three} and others"


def test_who_was_started_last_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the time suffices for what was started by mistake a second time."""
    looked: list[str] = []

    def listed(path: str) -> list[str]:
        looked.append(path)
        return ["7", "300", "self", "25"] if path == "/proc" else []

    monkeypatch.setattr(os, "listdir", listed)
    assert holders.holders(["1"]) == set()
    assert looked == ["/proc", *(f"/proc/{pid}/fd" for pid in (os.getpid(), 300, 25, 7))]


def printed(family: int, host: str, port: int, state: str) -> str:
    """A line of the kernel's table: the address as words of 32 bits, each in the machine's own order."""
    packed = socket.inet_pton(family, host)
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return f"  0: {''.join(f'{word:08X}' for word in words)}:{port:04X} 0:0 {state} 0:0 0:0 0 0 0 7\n"


def test_the_hosts_of_a_port_are_told_as_urls_have_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    four, six = socket.AF_INET, socket.AF_INET6
    tables = {
        "tcp": printed(four, "127.0.0.1", 8000, "0A") + printed(four, "10.1.2.3", 8001, "0A"),
        "tcp6": printed(six, "2001:db8::12:1", 8000, "0A") + printed(six, "::1", 8000, "01"),
        "udp": printed(four, "192.168.7.9", 8000, "07") + "  1: of:another kind 07\n",
    }
    for name, lines in tables.items():
        (tmp_path / name).write_text("a line of titles\n" + lines)
    monkeypatch.setattr(holders, "Path", lambda path: tmp_path / Path(path).name)
    assert bound_hosts(8000) == ["127.0.0.1", "[2001:db8::12:1]"]
    assert bound_hosts(8000, datagrams=True) == ["192.168.7.9"]
    assert bound_hosts(8002) == []


@pytest.mark.parametrize("line", ["", "0:", "0: 0100007F:xyz 0 0A 0 0 0 0 0 1", "0: 0100007F:1F40 0 0A"])
def test_a_table_that_cannot_be_read_leaves_the_other(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(holders, "Path", lambda path: tmp_path / Path(path).name)
    (tmp_path / "tcp6").write_text("a line of titles\n" + printed(socket.AF_INET6, "::1", 8000, "0A"))
    assert bound_hosts(8000) == ["[::1]"]
    (tmp_path / "tcp").write_text(f"a line of titles\n{line}\n")
    assert bound_hosts(8000) == ["[::1]"]
