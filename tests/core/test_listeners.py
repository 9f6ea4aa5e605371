"""Several addresses of one server: all of them or none, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.config.address import Several, Tcp, Unix
from node_ipc.config.config import Config
from node_ipc.core.server import Server, ServerState
from node_ipc.errors import AddressError, AddressInUse, AssuredError, IPCError
from node_ipc.testing import MemoryDriver, Wire, connect, serve

FIRST, SECOND, THIRD = Unix("/memory/one"), Tcp("localhost", 0), Unix("/memory/three")


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


def made(driver: MemoryDriver, *addresses: Any) -> Server:
    return Server(Several(addresses), driver, Config(socket_root="/memory/").settings())


def test_each_is_told_and_the_ports_are_known(driver: MemoryDriver) -> None:
    server = made(driver, FIRST, SECOND, THIRD)
    told: list[tuple[str, str]] = []
    server.on_trace(lambda trace: told.append((trace.what, str(trace.detail))))
    driver.run_until(server.start())
    port = server.addresses[1]
    assert isinstance(port, Tcp) and port.port
    assert server.addresses == (FIRST, port, THIRD) and server.address is FIRST
    assert [detail for event, detail in told if event == "listening"] == [str(each) for each in server.addresses]
    assert "/memory/one, tcp://localhost:" in repr(server)
    for address in server.addresses:
        assert connect(driver, address)
    assert [socket.address for socket in server.sockets] == list(server.addresses)
    driver.run_until(server.stop())
    assert driver.listeners == {} and server.sockets == []


def test_who_comes_early_waits_for_the_last_address(driver: MemoryDriver) -> None:
    """``start`` is heard before any ``connect``: handlers may be registered there."""
    server = made(driver, FIRST, THIRD)
    told: list[str] = []
    server.on("start", lambda: told.append("start"))
    server.on("connect", lambda: told.append("connect"))
    server.start()
    last: Any = server._listener._entrances[1]  # type: ignore[union-attr]
    ready, last.listening = last.listening, lambda address: None  # it takes its time
    driver.run_until_idle()
    wire = Wire()
    driver.open(FIRST, wire, Config().settings())
    driver.run_until_idle()
    assert wire.link is not None and told == [] and server.sockets == []
    ready(THIRD)
    driver.run_until_idle()
    assert told == ["start", "connect"] and not wire.is_lost
    driver.run_until(server.stop())


def test_where_one_is_taken_the_others_are_given_back(driver: MemoryDriver) -> None:
    other = serve(driver, THIRD)
    for order in ((FIRST, SECOND, THIRD), (THIRD, FIRST, SECOND)):
        server = made(driver, *order)
        errors: list[IPCError] = []
        server.on("error", errors.append)
        started = server.start()
        driver.run_until(started)
        driver.run_until_idle()
        assert isinstance(started.error, AddressInUse) and errors == [started.error]
        assert list(driver.listeners) == [THIRD]
        assert server.state is ServerState.CLOSED
    driver.run_until(other.stop())
    driver.run_until(server.start())
    assert len(driver.listeners) == 3


def test_who_came_before_it_failed_is_let_go(driver: MemoryDriver) -> None:
    serve(driver, THIRD)
    server = made(driver, FIRST, THIRD)
    server.on("error", lambda error: None)
    wire = Wire()
    server.start()
    driver.open(FIRST, wire, Config().settings())
    driver.run_until_idle()
    assert server.sockets == [] and (wire.error is not None or wire.has_ended or wire.is_lost)


@pytest.mark.parametrize("when", ["before", "in a handler"])
def test_stopped_while_it_starts(driver: MemoryDriver, when: str) -> None:
    server = made(driver, FIRST, THIRD)
    server.on("start", lambda: server.stop())
    server.start()
    if when == "before":
        server.stop()
    driver.run_until(server.closed)
    driver.run_until_idle()
    assert driver.listeners == {} and server.state is ServerState.CLOSED


def test_certificates_are_reloaded_where_there_are_any(driver: MemoryDriver) -> None:
    server = made(driver, FIRST, THIRD)
    driver.run_until(server.start())
    with pytest.raises(AddressError, match="unix:/memory/one has no TLS to reload"):
        server.reload_tls()


def test_certificates_are_reloaded_also_where_only_one_address_has_any(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = made(driver, FIRST, THIRD)
    driver.run_until(server.start())
    reloaded: list[Any] = []
    monkeypatch.setattr(driver.listeners[THIRD], "reload_tls", reloaded.append)
    server.reload_tls()
    assert len(reloaded) == 1


def test_each_listener_has_the_server_s_options(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    really_listen = driver.listen

    def listen(address: Any, acceptor: Any, settings: Any) -> Any:
        given.append(settings)
        return really_listen(address, acceptor, settings)

    monkeypatch.setattr(driver, "listen", listen)
    server = made(driver, FIRST, THIRD)
    driver.run_until(server.start())
    assert [settings.socket_root for settings in given] == ["/memory/"] * 2


def test_the_assured_profile_looks_at_each(driver: MemoryDriver) -> None:
    settings = Config(socket_root="/memory/", parser="assured", allowed_events=["n"]).settings()
    with pytest.raises(AssuredError, match="tcp://localhost:0"):
        Server(Several((FIRST, SECOND)), driver, settings)


def test_where_several_cannot_listen_one_is_told(driver: MemoryDriver) -> None:
    for taken in (FIRST, THIRD):
        serve(driver, taken)
    errors: list[IPCError] = []
    server = made(driver, FIRST, THIRD)
    server.on("error", errors.append)
    server.start()
    driver.run_until_idle()
    assert [type(error) for error in errors] == [AddressInUse]
