"""Endpoints in a thread with little stack: what is deeper than it bears is an error, and all else is as ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from node_ipc import Config
from node_ipc.config.address import Udp
from node_ipc.core.datagram import DatagramServer
from node_ipc.core.watch import Watch
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Wire, serve
from node_ipc.wire.codec import choose, shallow
from node_ipc.wire.costs import DEEPEST, is_too_deep

DEEP = b'{"type":"any","data":' + b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1) + b"}\f"
SOUND = b'{"type":"any","data":[[1]]}\f'


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with MemoryDriver() as driver:
        driver.has_small_stack = True
        yield driver


def heard_by(server: Any) -> list[Any]:
    heard: list[Any] = []
    server.on("any", heard.append)
    server.on("error", lambda error, socket: heard.append(str(error)))
    return heard


@pytest.mark.row(6)
@pytest.mark.parametrize("typed", [False, True])
def test_a_session_reports_it_and_goes_on(driver: MemoryDriver, typed: bool) -> None:
    server = serve(driver)
    heard = heard_by(server)
    if typed:
        server.on("typed", lambda data: None, type=list[Any])  # payloads stay in bytes from now on
    wire = Wire.connected(driver, server.address)
    wire.write(SOUND + DEEP + SOUND + b'{"type":"any","data":[["\\ud800"]]}\f')
    driver.run_until_idle()
    assert heard == [[[1]], "the payload of event 'any' is nested too deeply", [[1]], [["\ud800"]]]


@pytest.mark.row(6)
def test_it_does_so_while_somebody_watches(driver: MemoryDriver) -> None:
    server = serve(driver)
    heard = heard_by(server)
    wire = Wire.connected(driver, server.address)
    server.watch(Watch())
    wire.write(DEEP + SOUND)
    driver.run_until_idle()
    assert heard == ["the payload of event 'any' is nested too deeply", [[1]]]


@pytest.mark.row(6)
def test_a_name_that_cannot_be_read_is_left_out(driver: MemoryDriver) -> None:
    server = serve(driver)
    heard = heard_by(server)
    wire = Wire.connected(driver, server.address)
    wire.write(DEEP.replace(b"any", b"\\ud800") + DEEP.replace(b'"type"', b'"kind"'))
    driver.run_until_idle()
    assert heard == ["the payload of event '' is nested too deeply"] * 2


@pytest.mark.row(6)
def test_a_udp_port_reports_it_and_goes_on(driver: MemoryDriver) -> None:
    server = DatagramServer(Udp("127.0.0.1", 8000, "udp4"), driver, Config().settings())
    heard = heard_by(server)
    server.start()
    driver.run_until_idle()
    server.datagram(DEEP, "127.0.0.1", 4000)
    server.datagram(SOUND, "127.0.0.1", 4000)
    assert heard == ["the payload of event 'any' is nested too deeply", [[1]]]


@pytest.mark.parametrize("watched", [False, True])
def test_the_same_depth_is_nothing_special_elsewhere(watched: bool) -> None:
    with MemoryDriver() as driver:
        server = serve(driver)
        heard = heard_by(server)
        wire = Wire.connected(driver, server.address)
        if watched:
            server.watch(Watch())
        wire.write(DEEP)
        driver.run_until_idle()
        assert len(heard) == 1 and isinstance(heard[0], list)


@pytest.mark.row(6)
@pytest.mark.parametrize(("brackets", "deep"), [(DEEPEST, False), (DEEPEST + 1, True)])
@pytest.mark.parametrize(
    "before",
    [b"", b"[]" * DEEPEST, b'"]",' * DEEPEST, b'"' + b"[" * DEEPEST + b'",', b'"\\\n' + b"[" * DEEPEST + b'",'],
)
def test_what_is_closed_again_or_in_a_text_is_not_deep(before: bytes, brackets: int, deep: bool) -> None:
    assert is_too_deep(before + b"[" * brackets + b"]" * brackets) is deep


def test_only_what_decodes_json_is_changed_and_only_once() -> None:
    raw = choose(Config(raw_buffer=True).settings())
    assert shallow(raw) is raw
    once = shallow(choose(Config().settings()))
    assert shallow(once) is once
    assert once.encode("a", 1) == b'{"type":"a","data":1}\f' and not once.raw
