"""Codecs, hooks, look-ups, callbacks and representations of the user's that raise harm only themselves (row 56)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import IPC, Config, ConfigError, ConnectError, blocking
from node_ipc.errors import HandlerError, IPCError
from node_ipc.testing import Pair, Wire, pair
from reliability.test_foreign_code import NAMES, PROGRAM, RAISED, raising


class Lines:
    """A codec: one line of JSON for each message; it raises for what begins with ``bad``."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def encode(self, type: str, data: Any) -> bytes:
        if type == "bad":
            raise self.error
        return msgspec.json.encode([type, data]) + b"\n"

    def decode(self, data: bytes) -> tuple[Iterable[tuple[str, Any]], int]:
        if data.startswith(b"bad"):
            raise self.error
        taken = data.rfind(b"\n") + 1
        return [tuple(msgspec.json.decode(line)) for line in data[:taken].splitlines()], taken


class Odd:
    """A type that only hooks know."""


class Unrepresentable:
    """Data, or state, whose ``repr`` raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error

    __str__ = __repr__


def assert_served(ends: Pair) -> None:
    """Both ways, and what is asked."""
    heard: list[Any] = []
    ends.server.on("n", lambda data, socket: heard.append(data))
    ends.client.on("n", heard.append)
    ends.server.handle("add", sum)
    ends.client.emit("n", 1)
    ends.driver.run_until_idle()
    ends.server.sockets[0].emit("n", 2)
    answer = ends.client.request("add", [1, 2])
    ends.driver.run_until(answer)
    assert answer.result() == 3 and heard == [1, 2]
    assert len(ends.server.sockets) == 1
    ends.driver.close()


def note_errors(ends: Pair) -> list[Any]:
    errors: list[Any] = []
    ends.server.on("error", lambda error, socket: errors.append(error))
    ends.client.on("error", errors.append)
    return errors


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
def test_a_codec_that_cannot_encode_raises_at_the_emit_and_nowhere_else(error: BaseException) -> None:
    ends = pair(parser=Lines(error))
    errors = note_errors(ends)
    with pytest.raises(type(error)):
        ends.client.emit("bad", 1)
    ends.server.on("answer badly", lambda data, socket: socket.emit("bad", data))
    ends.client.emit("answer badly", 1)
    ends.driver.run_until_idle()
    assert [type(each) for each in errors] == [HandlerError] and errors[0].__cause__ is error
    assert_served(ends)


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
def test_a_codec_that_cannot_decode_costs_that_link(error: BaseException) -> None:
    ends = pair(parser=Lines(error))
    errors = note_errors(ends)
    wire = Wire.connected(ends.driver, ends.server.address)
    wire.write(b"bad")
    ends.driver.run_until_idle()
    wire.abort()
    ends.driver.run_until_idle()
    assert errors and all(isinstance(each, IPCError) for each in errors)
    assert_served(ends)


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
def test_a_codec_that_cannot_be_made_is_a_config_error(error: BaseException) -> None:
    class Unmade(Lines):
        def __init__(self, settings: Any) -> None:
            raise error

    with pytest.raises(ConfigError if isinstance(error, Exception) else type(error)) as raised:
        pair(parser=Unmade)
    assert error in (raised.value, raised.value.__cause__)


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_hooks_of_payloads_harm_only_their_message(error: BaseException, asynchronous: bool) -> None:
    ends = pair(enc_hook=raising(error), dec_hook=raising(error))
    errors = note_errors(ends)

    async def later() -> Odd:
        return Odd()

    with pytest.raises((IPCError, type(error))):
        ends.client.emit("x", Odd())
    ends.server.on("odd", lambda data, socket: None, type=Odd)
    ends.server.handle("take", lambda params: 1, type=Odd)
    ends.server.handle("give", later if asynchronous else Odd)
    ends.client.emit("odd", 1)
    ends.driver.run_until_idle()
    assert len(errors) == 1 and isinstance(errors[0], IPCError)
    for method in ("take", "give"):
        answer = ends.client.request(method, 1)
        ends.driver.run_until(answer)
        with pytest.raises(IPCError):
            answer.result()
    answer = ends.client.request("add up", 1, type=Odd)
    ends.server.handle("add up", lambda params: params)
    ends.driver.run_until(answer)
    with pytest.raises((IPCError, type(error))):
        answer.result()
    assert_served(ends)


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
@pytest.mark.parametrize("front", ["asyncio", "asyncio, awaited", "blocking"])
async def test_a_look_up_that_raises_is_an_error_of_connecting(error: BaseException, front: str) -> None:
    asked: list[str] = []

    def look_up(host: str) -> str:
        asked.append(host)
        if len(asked) < 2:
            raise error
        return "127.0.0.1"

    async def look_up_later(host: str) -> str:
        await asyncio.sleep(0)
        return look_up(host)

    async with node_ipc.serve("tcp://127.0.0.1:0") as server:
        server.handle("add", sum)
        where = str(server.address).replace("127.0.0.1", "some.host")
        options: dict[str, Any] = {"interfaces": {"lookup": look_up_later if "awaited" in front else look_up}}
        options["timeout"] = 20
        with pytest.raises(ConnectError, match=r"interfaces\.lookup failed|disk full"):
            await asyncio.to_thread(ask, where, options) if front == "blocking" else await node_ipc.connect(
                where, **options
            )
        if front != "blocking":
            async with node_ipc.connect(where, **options) as client:
                assert await client.request("add", [1, 2]) == 3
        else:
            assert await asyncio.to_thread(ask, where, options) == 3
    assert len(asked) == 2


def ask(where: str, options: dict[str, Any]) -> Any:
    with blocking.connect(where, **options) as client:
        return client.request("add", [1, 2])


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_callback_of_serve_or_connect_to_that_raises_harms_only_itself(
    error: BaseException, asynchronous: bool, tmp_path: Path
) -> None:
    async def later() -> None:
        raise error

    fail = later if asynchronous else raising(error)
    ipc = IPC(Config(silent=True, socket_root=f"{tmp_path}/", id="world", retry=10))
    errors: list[Any] = []
    ipc.serve(callback=fail)
    ipc.server.on("error", lambda error: errors.append(error))
    ipc.server.start()
    ipc.connect_to("world", callback=fail)
    ipc.of.world.on("error", lambda error: errors.append(error))
    answer = asyncio.get_running_loop().create_future()
    ipc.server.handle("add", sum)
    ipc.of.world.on("connect", lambda: answer.set_result(1))
    await asyncio.wait_for(answer, 20)
    assert await ipc.of.world.request("add", [1, 2]) == 3
    assert [type(each) for each in errors] == [HandlerError] * 2
    ipc.disconnect("world")
    await ipc.server.stop()


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
def test_what_cannot_be_shown_is_logged_without_it(error: BaseException) -> None:
    lines: list[str] = []
    ipc = IPC(Config(silent=False, logger=lines.append))
    ipc.log("state:", Unrepresentable(error), {"a": Unrepresentable(error)})
    assert len(lines) == 1 and ("cannot be shown" in lines[0] or isinstance(error, RecursionError))
    ends = pair()
    ends.socket.state["mine"] = Unrepresentable(error)
    assert repr(ends.socket) and str(ends.server)
    ends.server.log_payloads(ipc.log)
    assert_served(ends)


# ---- outputs that end


@pytest.mark.row(56)
@pytest.mark.parametrize(
    "shell", ["{server} | head -n 1", "{server} >&-", "{server} >&- 2>&-", "{server} 2>&1 | head -n 1"]
)
def test_a_server_whose_output_is_gone_serves_on(shell: str, tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(PROGRAM.replace("started)", "started)\nipc.log('one')\nipc.log('two')"))
    server = f"exec {sys.executable} -u {program} {tmp_path}"
    begun = subprocess.Popen(["/bin/sh", "-c", shell.format(server=f"({server})")], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "app.world").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for number in range(3):
            with blocking.connect(f"unix:{tmp_path}/app.world", wait=True, timeout=20) as client:
                client.emit("ping", number)
                assert client.receive("pong", timeout=20) == number
        with blocking.connect(f"unix:{tmp_path}/app.world", wait=True, timeout=20) as client:
            client.emit("end")
            begun.wait(20)
    finally:
        begun.kill()
        begun.wait()
