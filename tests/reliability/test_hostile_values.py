"""No value in no member of a message costs the process more than that link (reliability row 1, on every way in)."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import HandlerError, IPCError, blocking
from node_ipc.config.address import Udp
from node_ipc.config.config import Config
from node_ipc.core.datagram import DatagramServer
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.errors import ConnectionLost, InvalidMessage, InvalidPayload
from node_ipc.testing import Wire, pair
from node_ipc.wire.json import salvage
from reliability.hostile_values import frames, rpc_frames

BOMB = b'{"type":' + b"[" * 2000 + b"]" * 2000 + b"}"


class Typed(msgspec.Struct):
    a: int


def test_a_name_that_is_nested_too_deeply_is_no_message() -> None:
    with pytest.raises(InvalidMessage, match="nested too deeply"):
        salvage(BOMB)


@pytest.mark.row(1)
def test_a_server_takes_every_value_in_every_member() -> None:
    ends = pair()
    wrong: list[Any] = []
    note_unexpected(ends.server, wrong)
    ends.server.handle("echo", lambda params: params)
    ends.server.handle("typed", lambda params: params, type=Typed)
    ends.server.on("a", lambda data, socket: None, type=Typed)
    for frame in (*frames(), *rpc_frames()):
        peer = Wire.connected(ends.driver, ends.server.address)
        peer.write(frame + b"\f")
        ends.driver.run_until_idle()
        peer.abort()
        ends.driver.run_until_idle()
    answer = ends.client.request("echo", 7)
    ends.driver.run_until(answer)
    assert answer.result() == 7
    assert wrong == []
    ends.driver.close()


@pytest.mark.row(1)
@pytest.mark.parametrize("typed", [True, False])
def test_a_client_that_asks_takes_every_value_in_every_member_of_an_answer(typed: bool) -> None:
    wrong: list[Any] = []
    for frame in rpc_frames():
        ends = pair()
        note_unexpected(ends.client, wrong)
        answer = ends.client.request("never", 1, type=Typed) if typed else ends.client.request("never", 1)
        ends.driver.run_until_idle()
        assert ends.socket._link is not None
        ends.socket._link.write(frame + b"\f")
        ends.driver.run_until_idle()
        if answer.done:
            with contextlib.suppress(IPCError):
                answer.result()
        assert {type(failure) for failure in ends.driver.failures} <= {InvalidPayload}
        ends.driver.close()
    assert wrong == []


@pytest.mark.row(1)
def test_a_port_takes_every_value_in_every_member() -> None:
    driver = MemoryDriver()
    server = DatagramServer(Udp("127.0.0.1", 8000, "udp4"), driver, Config().settings())
    wrong: list[Any] = []
    note_unexpected(server, wrong)
    server.on("a", lambda data, socket: None, type=Typed)
    heard: list[Any] = []
    server.on("still there", lambda data, socket: heard.append(data))
    server.start()
    driver.run_until_idle()
    for frame in (*frames(), *rpc_frames()):
        if len(frame) <= 65_000:
            server.datagram(frame + b"\f", "127.0.0.1", 9000)
    server.datagram(b'{"type":"still there","data":1}\f', "127.0.0.1", 9000)
    assert heard == [1]
    assert wrong == []
    driver.close()


def test_a_blocking_server_outlives_the_name_that_is_nested_too_deeply(tmp_path: Any) -> None:
    with blocking.serve(f"unix:{tmp_path}/s") as server:
        errors: list[Any] = []
        server.on("error", lambda error, socket: errors.append(error))
        wire = raw_connection(str(tmp_path / "s"))
        wire.sendall(BOMB + b"\f")
        for _ in range(20):
            server.poll(0.05)
            if errors:
                break
        wire.close()
    [error] = errors
    assert isinstance(error, InvalidMessage)


async def test_an_asyncio_server_says_what_was_wrong_and_goes_on(tmp_path: Any) -> None:
    async with node_ipc.serve(f"unix:{tmp_path}/s") as server:
        errors: list[Any] = []
        server.on("error", lambda error, socket: errors.append(error))
        server.handle("echo", lambda params: params)
        async with node_ipc.connect(f"unix:{tmp_path}/s") as client:
            wire = raw_connection(str(tmp_path / "s"))
            wire.sendall(BOMB + b"\f")
            for _ in range(5):
                assert await client.request("echo", 1) == 1
            wire.close()
    [error] = [each for each in errors if not isinstance(each, ConnectionLost)]
    assert isinstance(error, InvalidMessage)


def note_unexpected(endpoint: Any, wrong: list[Any]) -> None:
    def note(error: Any, socket: Any = None) -> None:
        if not isinstance(error, IPCError) or isinstance(error, HandlerError):
            wrong.append(error)

    endpoint.on("error", note)


def raw_connection(path: str) -> Any:
    import socket

    wire = socket.socket(socket.AF_UNIX)
    wire.connect(path)
    return wire
