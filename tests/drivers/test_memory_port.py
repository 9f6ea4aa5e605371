"""UDP ports in memory."""

from __future__ import annotations

from typing import Any

import pytest

from memory_ends import SETTINGS, WORLD
from node_ipc.config.address import Address, Udp
from node_ipc.errors import AddressError, AddressInUse, FrameTooLarge
from node_ipc.testing import MemoryDriver


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


class Port:
    def __init__(self, driver: MemoryDriver, address: Address) -> None:
        self.heard: list[Any] = []
        self.port = driver.bind(address, self, SETTINGS)
        driver.run_until_idle()

    def bound(self, address: Address) -> None:
        self.heard.append(address)

    def not_bound(self, error: Exception) -> None:
        self.heard.append(error)

    def datagram(self, data: bytes, host: str, port: int) -> None:
        self.heard.append((data, host, port))

    def datagram_error(self, error: Exception) -> None:
        self.heard.append(error)

    def take(self) -> Any:
        return self.heard.pop(0)


@pytest.mark.parametrize(
    ("family", "hosts", "numeric"),
    [("udp4", ("localhost", "127.0.0.1", "0.0.0.0"), "127.0.0.1"), ("udp6", ("localhost", "::1", "::"), "::1")],
)
def test_datagrams(driver: MemoryDriver, family: Any, hosts: tuple[str, ...], numeric: str) -> None:
    driver.conditions.latency = 0.25
    one = Port(driver, Udp(hosts[0], 0, family))
    where = one.take()
    assert where.port != 0
    for host in hosts:
        other = Port(driver, Udp(host, 7000, family))
        assert other.take() == Udp(host, 7000, family)
        other.port.send(b"hello", hosts[1], where.port)
        driver.advance(0.125)
        assert one.heard == []
        driver.advance(0.125)
        assert one.take() == (b"hello", numeric, 7000)
        assert other.port.pending_bytes() == 0
        assert isinstance(Port(driver, Udp(host, 7000, family)).take(), AddressInUse)
        other.port.close()
        other.port.close()


def test_datagrams_are_lost(driver: MemoryDriver) -> None:
    one, two = (Port(driver, Udp("127.0.0.1", port, "udp4")) for port in (1, 2))
    driver.loses = lambda data: data == b"lost"
    for data in (b"lost", b"kept", b""):
        one.port.send(data, "127.0.0.1", 2)
    one.port.send(b"nobody", "127.0.0.1", 3)
    driver.run_until_idle()
    assert two.heard[1:] == [(b"kept", "127.0.0.1", 1), (b"", "127.0.0.1", 1)]
    one.port.send(b"x" * 65_508, "127.0.0.1", 2)
    driver.run_until_idle()
    assert isinstance(one.heard[-1], FrameTooLarge)
    two.port.close()
    two.port.send(b"closed", "127.0.0.1", 1)
    one.port.send(b"x" * 65_507, "127.0.0.1", 2)
    driver.run_until_idle()
    assert len(two.heard) == 3


def test_ports_that_cannot_be_bound(driver: MemoryDriver) -> None:
    assert isinstance(Port(driver, WORLD).take(), AddressError)

    class Closing(Port):
        def __init__(self) -> None:
            self.heard = []
            self.port = driver.bind(Udp("127.0.0.1", 1, "udp4"), self, SETTINGS)
            self.port.close()
            driver.run_until_idle()

    assert Closing().heard == []
