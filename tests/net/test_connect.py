"""Connecting: what the kernel may say of it, on every driver."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_ipc import ConnectError
from node_ipc.config.address import Tcp, Unix
from node_ipc.net import connect, tcp, unix
from stream_ends import DRIVERS, LOOPS, SECONDS, AnyDriver, End, driver_of, listen, settings

pytestmark = pytest.mark.row(45)


@pytest.fixture(params=[*DRIVERS, *LOOPS])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyDriver]:
    driver = driver_of(request.param, monkeypatch)
    yield driver
    driver.close()


class Kernel:
    """Says this of the first attempts to connect, in this order, and the truth of what follows."""

    def __init__(self, *says: int, begins: bool = False) -> None:
        self.says = list(says)
        self.calls = 0
        kernel = self

        class Told(socket.socket):
            def connect_ex(self, where: Any) -> int:
                kernel.calls += 1
                if not kernel.says:
                    return super().connect_ex(where)
                if begins:
                    super().connect_ex(where)
                return kernel.says.pop(0)

            def connect(self, where: Any) -> None:
                if number := self.connect_ex(where):
                    raise OSError(number, os.strerror(number))

        self.socket = Told

    def new(self, family: int, settings: Any) -> socket.socket:
        sock = self.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    def new_local(self) -> socket.socket:
        return self.new(socket.AF_UNIX, None)


def told(driver: AnyDriver, address: Any, **options: Any) -> Any:
    """What the end of a new client was told first."""
    end = End()
    driver.open(address, end, settings(**options))
    assert driver.run_until(lambda: end.told, SECONDS)
    return end.told[0]


@pytest.mark.parametrize("begins", [False, True], ids=["it had not begun", "it had begun"])
def test_a_signal_that_ends_the_call_ends_no_attempt(
    driver: AnyDriver, begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python repeats it only where a socket blocks. What had begun meanwhile is under way, or done."""
    hall, _ = listen(driver, Tcp("127.0.0.1", 0))
    kernel = Kernel(errno.EINTR, errno.EINTR, begins=begins)
    monkeypatch.setattr(tcp, "new_stream", kernel.new)
    assert told(driver, hall.address) == "opened"
    assert kernel.calls == 3


def test_a_local_attempt_is_repeated_too(driver: AnyDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Unix(f"{tmp_path}/s")
    listen(driver, address)
    kernel = Kernel(errno.EINTR, errno.EINTR)
    monkeypatch.setattr(unix, "_new_socket", kernel.new_local)
    assert told(driver, address) == "opened"
    assert kernel.calls == 3


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM])
def test_a_kernel_without_room_is_one_error_at_once(
    driver: AnyDriver, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EAGAIN of connect(2) over TCP: nothing is under way, and a socket that never will be connected looks writable."""
    hall, _ = listen(driver, Tcp("127.0.0.1", 0))
    kernel = Kernel(number)
    monkeypatch.setattr(tcp, "new_stream", kernel.new)
    monkeypatch.setattr(connect, "Writable", None)  # nobody waits for anything
    error = told(driver, hall.address)
    assert isinstance(error, ConnectError) and error.os_code == errno.errorcode[number]
    assert kernel.calls == 1
