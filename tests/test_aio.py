"""The asyncio front on real sockets: what waits, what it raises, and that cancelling leaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket as sockets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import (
    AddressInUse,
    AsyncServer,
    BackpressureError,
    ClientState,
    Config,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DrainTimeout,
    Event,
    InvalidPayload,
    NotConnected,
    Raw,
    ReceiveTimeout,
    RemoteError,
    RequestError,
    Socket,
)
from stopwatch import Stopwatch

DEADLINE = 60.0
"""Seconds that anything awaited may take; a test machine may be busy."""


class Order(msgspec.Struct):
    item: str
    count: int


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(socket_root=f"{tmp_path}/", retry=20, silent=True)


@pytest.fixture
async def server(config: Config) -> AsyncIterator[Any]:
    async with node_ipc.serve("world", config=config) as server:
        server.on("echo", lambda data, socket: socket.emit("echo", data))
        yield server


@pytest.fixture
async def client(server: Any, config: Config) -> AsyncIterator[Any]:
    async with node_ipc.connect("world", config=config, timeout=DEADLINE) as client:
        yield client


async def settled(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0)


# ---- connect and serve


@pytest.mark.parametrize("scheme", ["tcp", "udp4"])
async def test_a_port_in_use_is_said_at_once_and_by_its_number(scheme: str) -> None:
    async with node_ipc.serve(f"{scheme}://127.0.0.1:0") as first:
        port = first.port
        watch = Stopwatch()
        with pytest.raises(AddressInUse, match=rf"{scheme}://127\.0\.0\.1:{port}"):
            await node_ipc.serve(f"{scheme}://127.0.0.1:{port}")
        assert watch.seconds <= 0.2


async def test_connect_can_be_awaited_or_entered(server: Any, config: Config) -> None:
    world = await node_ipc.connect("world", config=config)
    assert world.state is ClientState.CONNECTED
    assert world.peer.pid == os.getpid()
    await world.close()
    assert world.state.name == "CLOSED"
    async with node_ipc.connect("world", config=config) as world:
        assert world.state is ClientState.CONNECTED
    assert world.state.name == "CLOSED"


async def test_the_first_failed_attempt_raises_with_its_cause(config: Config) -> None:
    with pytest.raises(ConnectError, match="no server at") as caught:
        await node_ipc.connect("nobody", config=config, timeout=DEADLINE)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_what_is_not_awaited_says_so(config: Config) -> None:
    with pytest.warns(RuntimeWarning, match=r"node_ipc.serve\('world'\) was never awaited"):
        node_ipc.serve("world", config=config)
    opening: Any = node_ipc.connect("world", config=config)
    with pytest.raises(AttributeError, match=r"has to be awaited before its 'emit' is used"):
        opening.emit("message")
    with pytest.raises(TypeError, match=r"use async with node_ipc.connect\('world'\)"):
        with opening:
            pass
    with pytest.warns(RuntimeWarning, match="never awaited"):
        del opening


async def test_wait_keeps_trying_until_the_server_is_there(config: Config) -> None:
    connecting = asyncio.ensure_future(_connected("late", config))
    await asyncio.sleep(0)
    async with node_ipc.serve("late", config=config):
        client = await asyncio.wait_for(connecting, DEADLINE)
        assert client.state is ClientState.CONNECTED
        await client.close()


async def _connected(name: str, config: Config) -> Any:
    return await node_ipc.connect(name, config=config, wait=True, timeout=DEADLINE)


async def test_waiting_has_an_end_and_says_what_the_last_attempt_met(config: Config) -> None:
    with pytest.raises(ConnectTimeout, match=r"no link to .* within 0.1 s: no server at .* Start it") as caught:
        await node_ipc.connect("nobody", config=config, wait=True, timeout=0.1)
    assert isinstance(caught.value.__cause__, ConnectError)


async def test_options_go_before_the_config_which_stays_as_it_is(server: Any, config: Config) -> None:
    async with node_ipc.connect("world", config=config, retry=7) as client:
        assert client.settings.retry == 7
    assert config.retry == 20


async def test_an_unknown_option_names_the_right_one(config: Config) -> None:
    with pytest.raises(node_ipc.ConfigError, match="max_retries"):
        node_ipc.connect("world", maxRetries=3)


async def test_serving_a_live_address_raises_at_once(server: Any, config: Config) -> None:
    with pytest.raises(AddressInUse, match="world"):
        await node_ipc.serve("world", config=config)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_tcp_by_url(host: str) -> None:
    async with node_ipc.serve(f"tcp://{host}:0") as server:
        server.on("echo", lambda data, socket: socket.emit("echo", data))
        async with node_ipc.connect(str(server.address)) as client:
            client.emit("echo", "hello")
            assert await client.receive("echo", timeout=DEADLINE) == "hello"
            assert client.peer.host == host.strip("[]")
            (socket,) = server.sockets
            assert socket.address == server.address == client.address
            assert (socket.peer.host, type(socket.peer.port)) == (host.strip("[]"), int)


# ---- receiving


async def test_receive_takes_by_name_and_leaves_the_others_in_order(client: Any) -> None:
    for value in (1, 2, 3):
        client.emit("echo", value)
    client.emit("echo", {"last": True})
    assert [await client.receive("echo", timeout=DEADLINE) for _ in range(4)] == [1, 2, 3, {"last": True}]


async def test_receive_says_what_it_waited_for_and_how_long(client: Any) -> None:
    with pytest.raises(ReceiveTimeout, match=r"no event 'never' from 'world' within 0.05 s"):
        await client.receive("never", timeout=0.05)


async def test_what_was_not_awaited_shows_in_its_repr(client: Any, server: Any) -> None:
    server.handle("add", lambda numbers: sum(numbers))
    good, bad = client.request("add", [2, 3]), client.request("nothing")
    assert repr(good) == repr(bad) == "<AwaitableOutcome, not there yet: await it>"
    assert await good == 5
    assert repr(good) == "<AwaitableOutcome of 5: await gives it>"
    with pytest.raises(RemoteError):
        await bad
    assert repr(bad).startswith("<AwaitableOutcome, failed: RemoteError(")
    assert repr(bad).endswith("; await raises it>") and len(repr(bad)) < 300


async def test_receive_says_what_came_instead(client: Any) -> None:
    client.emit("echo", 1)
    client.emit("echo", 2)
    await client.drain()
    with pytest.raises(ReceiveTimeout, match=r"'never' from 'world' within 0.2 s; unread meanwhile: 'echo' \(2\)$"):
        await client.receive("never", timeout=0.2)
    assert repr(client.inbox) == "<Inbox, unread: 'echo' (2)>"


async def test_receive_says_why_an_event_may_never_come(client: Any, server: Any) -> None:
    with pytest.raises(ReceiveTimeout, match=r"'connect' is of the lifecycle, which only handlers hear: on\('connect'"):
        await client.receive("connect", timeout=0)
    client.on("echo", lambda data: None)
    with pytest.raises(ReceiveTimeout, match="events with a handler go to that, and 'echo' has one"):
        await client.receive("echo", timeout=0)
    await server.stop()
    await settled(lambda: "no server" in str(client.last_error))
    with pytest.raises(ReceiveTimeout, match=r"the client is (waiting|connecting) \(no server at"):
        await client.receive("other", timeout=0)


async def test_a_closed_client_says_what_it_cannot_do(client: Any) -> None:
    await client.close()
    with pytest.raises(NotConnected, match="cannot request 'add': the client 'world' is closed"):
        client.request("add")


async def test_receive_decodes_to_a_type(client: Any) -> None:
    order = Event("echo", Order)
    client.emit(order, Order("tea", 2))
    assert await client.receive(order, timeout=DEADLINE) == Order("tea", 2)
    client.emit("echo", {"item": "tea", "count": "two"})
    with pytest.raises(InvalidPayload, match=r"\$\.count") as caught:
        await client.receive("echo", type=Order, timeout=DEADLINE)
    assert (caught.value.event, caught.value.path) == ("echo", "$.count")
    client.emit("echo", [1, 2])
    assert bytes(await client.receive("echo", type=Raw, timeout=DEADLINE)) == b"[1,2]"


async def test_waiting_leaves_nothing_behind(client: Any) -> None:
    """A client lives for weeks, and waits a million times."""
    for value in range(20):
        client.emit("echo", value)
        await client.receive("echo", timeout=DEADLINE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.closed, 0)
        closed = asyncio.ensure_future(_awaited(client.closed))
        await asyncio.sleep(0)
        closed.cancel()
        await asyncio.gather(closed, return_exceptions=True)
    assert client.closed._then == client.inbox.arrived == []


async def _awaited(outcome: Any) -> Any:
    return await outcome


async def test_an_event_with_a_handler_is_not_received_twice(client: Any) -> None:
    heard: list[Any] = []
    client.on("echo", heard.append)
    client.emit("echo", 1)
    await settled(lambda: heard)
    assert heard == [1]
    with pytest.raises(ReceiveTimeout):
        await client.receive("echo", timeout=0.01)


async def test_iteration_sees_every_event_in_order_also_those_with_a_handler(client: Any) -> None:
    heard: list[Any] = []
    client.on("echo", heard.append)
    seen = []
    for value in range(100):
        client.emit("echo", value)
    async for event in client:
        seen.append(event.data)
        if len(seen) == 100:
            break
    assert seen == heard == list(range(100))


async def test_iteration_ends_when_the_client_is_closed(client: Any) -> None:
    client.emit("echo", "last")
    seen = []
    async for event in client:
        seen.append(event)
        client.close()
    assert seen == [("echo", "last")]
    with pytest.raises(NotConnected, match="closed"):
        await client.receive("echo")


async def test_a_full_inbox_pushes_back_on_the_server_and_loses_nothing(server: AsyncServer, client: Any) -> None:
    payload = "x" * 1000

    @server.on("flood")
    async def flood(count: int, socket: Socket) -> None:
        for number in range(count):
            socket.emit("drop", [number, payload])
            await server.drain()

    client.emit("flood", 20_000)
    first = await client.receive("drop", timeout=DEADLINE)
    assert first[0] == 0
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(client.inbox) < 1200  # a thousand and what one read brings
    for number in range(1, 20_000):
        assert (await client.receive("drop", timeout=DEADLINE))[0] == number
    assert client.inbox.missed == 0


async def test_an_answer_gets_past_a_full_inbox(server: AsyncServer, client: Any) -> None:
    server.handle("add", lambda numbers: sum(numbers))

    @server.on("flood")
    def flood(count: int, socket: Socket) -> None:
        for number in range(count):
            socket.emit("drop", number)

    client.emit("flood", 5000)
    await client.receive("drop", timeout=DEADLINE)
    assert await client.request("add", [1, 2, 3], timeout=DEADLINE) == 6
    assert [await client.receive("drop", timeout=DEADLINE) for _ in range(4999)] == list(range(1, 5000))


async def test_what_nobody_ever_receives_is_dropped_counted_and_said_once(server: AsyncServer, client: Any) -> None:
    errors: list[Exception] = []
    client.on("error", errors.append)
    done = asyncio.Event()
    client.on("done", done.set)

    @server.on("flood")
    def flood(count: int, socket: Socket) -> None:
        for number in range(count):
            socket.emit("unheard", number)
        socket.emit("done")

    client.emit("flood", 3000)
    await asyncio.wait_for(done.wait(), DEADLINE)
    assert client.inbox.missed == 3000 - 1000
    assert [type(error) for error in errors] == [BackpressureError]


# ---- links that break


async def test_a_client_reconnects_and_its_queue_arrives_in_order(config: Config) -> None:
    first = await node_ipc.serve("world", config=config)
    lost: list[Any] = []
    client = await node_ipc.connect("world", config=config)
    client.on("disconnect", lost.append)
    await first.stop()
    await settled(lambda: lost)
    for value in range(100):
        client.emit("number", value)
    async with node_ipc.serve("world", config=config) as second:
        got: list[int] = []
        second.on("number", got.append)
        await settled(lambda: len(got) == 100)
        assert got == list(range(100))
        assert client.stats().links == 2
        await client.close()
    assert [loss.dropped for loss in lost] == [0, 0]


async def test_a_request_on_a_lost_link_fails_at_once(config: Config) -> None:
    server = await node_ipc.serve("world", config=config)

    @server.handle("never")
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    client = await node_ipc.connect("world", config=config)
    answer = client.request("never", timeout=30)
    await asyncio.sleep(0)
    server.abort()
    with pytest.raises(ConnectionLost, match="'never'"):
        await answer
    await client.close()


async def test_drain_waits_for_the_reader(config: Config, server: Any) -> None:
    """A raw socket that does not read is a peer that does not read."""
    peer = sockets.socket(sockets.AF_UNIX)
    peer.setblocking(False)
    peer.connect(f"{config.socket_root}app.world")
    await settled(lambda: server.sockets)
    (socket,) = server.sockets
    while socket.emit("fill", "x" * 50_000):
        pass
    draining = asyncio.ensure_future(server.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    loop = asyncio.get_running_loop()
    while not draining.done():
        await loop.sock_recv(peer, 1 << 20)
    await draining
    peer.close()


async def test_drain_ends_when_the_peer_that_does_not_read_is_gone(config: Config, server: Any) -> None:
    peer = sockets.socket(sockets.AF_UNIX)
    peer.connect(f"{config.socket_root}app.world")
    await settled(lambda: server.sockets)
    (socket,) = server.sockets
    while socket.emit("fill", "x" * 50_000):
        pass
    with pytest.raises(DrainTimeout, match="bytes still wait after 0 s"):
        await server.drain(timeout=0)
    draining = asyncio.ensure_future(server.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    peer.close()
    await asyncio.wait_for(draining, DEADLINE)


async def test_drain_ends_where_a_peer_that_reads_no_more_has_left_no_more_than_the_soft_limit(config: Config) -> None:
    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(f"{config.socket_root}app.deaf")
        listening.listen()
        async with node_ipc.connect("deaf", config=config) as client:
            peer, _ = listening.accept()
            client.emit("fill", "x" * 2_000_000)
            draining = asyncio.ensure_future(client.drain())
            await settled(lambda: client.pending_bytes > client.settings.soft_pending_bytes)
            assert not draining.done()
            peer.setblocking(False)
            while client.pending_bytes > client.settings.soft_pending_bytes:
                with contextlib.suppress(BlockingIOError):
                    peer.recv(10_000)
                await asyncio.sleep(0)
            await asyncio.wait_for(draining, DEADLINE)
            assert client.pending_bytes
            peer.close()


async def test_drain_of_a_client_ends_when_its_link_is_lost(config: Config) -> None:
    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(f"{config.socket_root}app.deaf")
        listening.listen()
        client = await node_ipc.connect("deaf", config=config)
        peer, _ = listening.accept()
        while client.emit("fill", "x" * 50_000):
            pass
        with pytest.raises(DrainTimeout, match="bytes still wait after 0 s"):
            await client.drain(0)
        assert not client.on_drained
        draining = asyncio.ensure_future(client.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        peer.close()
        await asyncio.wait_for(draining, DEADLINE)
        client.abort()


class Full:
    """A UDP socket whose kernel is full for so many sends."""

    def __init__(self, sock: sockets.socket, times: int) -> None:
        self._sock, self._times = sock, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, data: bytes, where: Any) -> int:
        if self._times:
            self._times -= 1
            raise BlockingIOError
        return self._sock.sendto(data, where)


async def test_drain_waits_for_nothing_that_the_end_of_the_turn_sends(config: Config) -> None:
    config.soft_pending_bytes = 100
    async with node_ipc.serve("world", config=config) as server:
        async with node_ipc.connect("world", config=config, timeout=DEADLINE) as client:
            await settled(lambda: server.sockets)
            for number in range(3):
                assert client.emit("n", [number, "x" * 500])
                assert server.broadcast("n", [number, "x" * 500])
            assert client.pending_bytes > 100 < server.stats().pending_bytes
            await asyncio.wait_for(client.drain(), DEADLINE)
            await asyncio.wait_for(server.drain(), DEADLINE)
            for number in range(3):
                assert (await client.receive("n", timeout=DEADLINE))[0] == number


async def test_drain_of_a_client_in_sync_mode_ends_when_its_messages_have_gone_out(config: Config, server: Any) -> None:
    config.sync, config.soft_pending_bytes = True, 100
    async with node_ipc.connect("world", config=config, timeout=DEADLINE) as client:
        for _ in range(4):
            client.emit("echo", "x" * 500)
        assert client.pending_bytes > 100
        await asyncio.wait_for(client.drain(), DEADLINE)
        assert client.pending_bytes < 1000


async def test_drain_of_a_udp_port_waits_for_the_kernel(config: Config) -> None:
    async with (
        node_ipc.serve_udp("127.0.0.1:0", config=config, soft_pending_bytes=100) as server,
        node_ipc.serve_udp("127.0.0.1:0", config=config) as other,
    ):
        got: list[int] = []
        other.on("message", got.append)
        await asyncio.wait_for(server.drain(), DEADLINE)  # nothing waits
        port: Any = server._binding
        port.sock = Full(port.sock, 3)
        emits = [server.emit(("127.0.0.1", other.port), "message", number) for number in range(5)]
        assert False in emits and server.stats().pending_bytes == server.pending_bytes > 100
        await asyncio.wait_for(server.drain(), DEADLINE)
        assert server.pending_bytes <= 100
        await settled(lambda: got == [0, 1, 2, 3, 4])


async def test_close_delivers_what_was_emitted(server: Any, config: Config) -> None:
    got: list[int] = []
    server.on("number", got.append)
    async with node_ipc.connect("world", config=config) as client:
        for value in range(10_000):
            client.emit("number", value)
    await settled(lambda: len(got) == 10_000)
    assert got == list(range(10_000))


async def test_serve_forever_ends_with_stop_and_drains_when_cancelled(config: Config) -> None:
    server = await node_ipc.serve("world", config=config)
    forever = asyncio.ensure_future(server.serve_forever())
    client = await node_ipc.connect("world", config=config)
    await settled(lambda: server.sockets)
    server.broadcast("last", "words")
    forever.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forever
    assert await client.receive("last", timeout=DEADLINE) == "words"
    await client.close()


@pytest.mark.parametrize("where", ["world", "tcp://127.0.0.1:0"])
async def test_serve_forever_goes_on_where_the_server_is_started_right_behind_its_stop(
    config: Config, where: str
) -> None:
    server = await node_ipc.serve(where, config=config)
    forever = asyncio.ensure_future(server.serve_forever())
    server.on("message", lambda data, socket: socket.emit("answer", data))
    async with node_ipc.connect(str(server.address), config=config) as client:
        up = asyncio.Event()
        await settled(lambda: server.sockets)
        client.on("disconnect", lambda: client.once("connect", up.set))
        stopped, started = server.stop(), server.start()
        async with asyncio.timeout(DEADLINE):
            await stopped
            assert server.state in ("starting", "listening") and not forever.done()
            await started
            await up.wait()
        client.emit("message", "again")
        assert await client.receive("answer", timeout=DEADLINE) == "again"
    await server.stop()
    async with asyncio.timeout(DEADLINE):
        await forever
    assert server.state == "closed"


async def test_a_handler_of_a_request_may_await_that_it_stops_and_starts_the_server(config: Config) -> None:
    async with node_ipc.serve("world", config=config) as server:

        @server.handle("restart")
        async def restart() -> str:
            await server.stop()
            await server.start()
            return "restarts"

        async with node_ipc.connect("world", config=config) as client:
            up = asyncio.Event()
            client.on("disconnect", lambda: client.once("connect", up.set))
            assert await client.request("restart", timeout=DEADLINE) == "restarts", "else its link is cut without"
            await asyncio.wait_for(up.wait(), DEADLINE)
            assert server.state == "listening"


async def test_a_restart_that_fails_and_that_nobody_awaits_is_told(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = await node_ipc.serve("world", config=config)
    await server.stop()
    async with node_ipc.serve("world", config=config):
        with pytest.raises(AddressInUse):
            await server.start()
        assert not caplog.records, "who awaits it is told by that"
        server.start()
        await asyncio.wait_for(server.closed, DEADLINE)
    assert "a running server holds" in caplog.text


# ---- cancelling


@pytest.mark.row(39)
@pytest.mark.parametrize("steps", range(1, 151))
async def test_cancelled_anywhere_nothing_is_left(config: Config, steps: int) -> None:
    asyncio.get_running_loop().set_debug(True)  # as PYTHONASYNCIODEBUG=1: what is not awaited, or of another thread

    async def all_of_it() -> None:
        async with node_ipc.serve("world", config=config) as server:
            server.on("echo", lambda data, socket: socket.emit("echo", data))
            server.handle("slow", _slow)
            async with node_ipc.connect("world", config=config, wait=True, soft_pending_bytes=1000) as client:
                client.emit("echo", 1)
                await client.receive("echo")
                assert not client.emit("sink", "x" * 500_000)
                await client.drain()
                await client.request("slow")
                client.emit("echo", 2)
                async for _ in client:
                    break

    async def _slow() -> int:
        await asyncio.sleep(0)
        return 1

    before = len(os.listdir("/proc/self/fd"))
    task = asyncio.ensure_future(all_of_it())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    (end,) = await asyncio.gather(task, return_exceptions=True)
    assert end is None if steps >= 100 else isinstance(end, (asyncio.CancelledError, type(None)))
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    assert [each for each in asyncio.all_tasks() if each is not asyncio.current_task()] == []
    assert len(os.listdir("/proc/self/fd")) == before
    async with node_ipc.serve("world", config=config), node_ipc.connect("world", config=config) as client:
        assert client.state is ClientState.CONNECTED


# ---- the loop


def test_run_takes_the_loop_it_is_told() -> None:
    async def name() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert node_ipc.run(name(), loop="asyncio").startswith("asyncio")
    assert node_ipc.run(name(), loop=asyncio.new_event_loop).startswith("asyncio")
    with pytest.raises(node_ipc.ConfigError, match="'auto'"):
        node_ipc.run(_never(), loop="fastest")


async def test_run_says_what_it_takes_and_where() -> None:
    async def main() -> None: ...

    function: Any = main
    with pytest.raises(TypeError, match=r"run takes a coroutine, as run\(main\(\)\)"):
        node_ipc.run(function)
    with pytest.raises(node_ipc.IPCError, match="await the coroutine there"):
        node_ipc.run(main())


def _never() -> Any:
    async def nothing() -> None: ...

    coroutine = nothing()
    coroutine.close()
    return coroutine


# ---- as asyncio takes it


async def test_a_task_can_be_made_of_a_request(client: Any, server: Any) -> None:
    server.handle("double", lambda number: number * 2)
    answer = client.request("double", 21)
    tasks = [
        asyncio.create_task(answer),
        asyncio.create_task(answer),
        asyncio.ensure_future(client.request("double", 1)),
    ]
    assert await asyncio.gather(*tasks, client.request("double", 2)) == [42, 42, 2, 4]
    assert await asyncio.wait_for(client.request("double", 3), DEADLINE) == 6
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.request("double", 4))
    assert task.result() == 8


@pytest.mark.parametrize("steps", [0, 1])
async def test_a_cancelled_task_gives_its_request_up(client: Any, server: Any, steps: int) -> None:
    server.handle("never", lambda: asyncio.get_running_loop().create_future())
    task = asyncio.create_task(client.request("never", timeout=None))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.requests.pending == 0


async def test_a_second_task_still_gets_the_answer_that_the_first_gave_up(client: Any, server: Any) -> None:
    going = asyncio.Event()

    async def slow() -> str:
        await going.wait()
        return "slow"

    server.handle("slow", slow)
    answer = client.request("slow", timeout=DEADLINE)

    async def wait() -> Any:
        return await answer

    first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
    await settled(lambda: server.requests._running)  # by then both wait: they began before a byte went out
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    going.set()
    assert await second == "slow"
    assert await answer == "slow"


async def test_an_awaited_answer_that_was_given_up_is_an_error(client: Any, server: Any) -> None:
    server.handle("never", lambda: asyncio.get_running_loop().create_future())
    answer = client.request("never", timeout=None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer, 0.01)
    with pytest.raises(RequestError, match="given up"):
        await answer


def test_run_takes_what_connect_and_serve_return(config: Config) -> None:
    server: Any = asyncio.run(node_ipc.serve("world", config=config))
    assert server.state.value == "listening"
    with pytest.raises(ConnectError):
        asyncio.run(node_ipc.connect("nobody", config=config))
    with pytest.raises(node_ipc.WrongLoopError, match="closed"):  # which frees what it held
        server.stop()


async def test_a_handler_cancelled_before_its_first_step_leaves_no_warning(client: Any, server: Any) -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    server.handle("never", never)
    for _ in range(5):
        answer = client.request("never", timeout=None)
        answer.abandon()
    server.handle("last", lambda: None)
    await client.request("last", timeout=20)
    await settled(lambda: server.requests._running == {})
    gc.collect()


async def test_what_the_answer_waits_for_may_be_cancelled_by_others(client: Any, server: Any) -> None:
    server.on("error", lambda error: None)
    future = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    async def waits() -> None:
        began.set()
        await future

    server.handle("waits", waits)
    answer = asyncio.create_task(client.request("waits", timeout=20))
    await began.wait()
    future.cancel()
    with pytest.raises(RemoteError, match="the handler failed"):
        await answer


async def test_progress_comes_from_threads_too(client: Any, server: Any) -> None:
    told: list[Any] = []

    async def work(params: Any, socket: Any, request: Any) -> str:
        for step in range(3):
            await asyncio.to_thread(request.progress, step)
        return "done"

    server.handle("work", work)
    assert await client.request("work", progress=told.append) == "done"
    assert told == [0, 1, 2]


async def test_leaving_an_iteration_and_beginning_another_gives_each_event_once(client: Any, server: Any) -> None:
    client.on("echo", lambda data: None)
    found: list[int] = []
    for number in range(100):
        client.emit("echo", number)
    async with asyncio.timeout(DEADLINE):
        while len(found) < 100:
            async for event in client:
                found.append(event.data)
                break
    assert found == list(range(100))
    first, second = aiter(client), aiter(client)
    client.emit("echo", 100)
    assert (await anext(first)).data == 100
    assert len(client.inbox) == 0
    del first, second
    assert client.inbox._iterating == 0


@pytest.mark.parametrize(
    ("verb", "hint"), [("broadcast", "emit"), ("stop", r"close\(\)"), ("disconnect", r"close\(\)"), ("send", "emit")]
)
async def test_a_client_says_what_a_verb_is_called_here(client: Any, verb: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no attribute '{verb}': use {hint}"):
        getattr(client, verb)


@pytest.mark.parametrize(("verb", "hint"), [("close", r"stop\(\)"), ("send", "emit"), ("shutdown", r"stop\(\)")])
async def test_a_server_says_what_a_verb_is_called_here(server: Any, verb: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no attribute '{verb}': use {hint}"):
        getattr(server, verb)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        server.nothing  # noqa: B018


async def test_dir_of_a_socket_is_what_is_for_users(server: Any, client: Any) -> None:
    await settled(lambda: server.sockets)
    (socket,) = server.sockets
    assert len(dir(socket)) == 16
    assert all(hasattr(socket, name) for name in dir(socket))


FAILING = """
import asyncio, logging, sys, node_ipc
from node_ipc import blocking

{setup}

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1]) as server:
        server.on("divide", lambda data: 1 / data)
        server.handle("anything", lambda: 1)
        {handler}
        async with node_ipc.connect("world", socket_root=sys.argv[1]) as client:
            for _ in range(50):
                client.emit("divide", 0)
            await client.request("anything", timeout=60)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("setup", "handler", "tracebacks"),
    [
        ("", "", True),
        ("", "server.on('error', lambda error: None)", False),
        ("logging.basicConfig(filename=sys.argv[1] + 'log')", "", False),
        ("logging.getLogger('node_ipc').addHandler(logging.FileHandler(sys.argv[1] + 'log'))", "", False),
        ("logging.getLogger('node_ipc').setLevel(logging.CRITICAL)", "", False),
    ],
)
async def test_a_failing_handler_shows_on_stderr_until_somebody_listens(
    tmp_path: Path, setup: str, handler: str, tracebacks: bool
) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FAILING.format(setup=setup, handler=handler),
        f"{tmp_path}/",
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await program.communicate()
    assert program.returncode == 0, stderr
    count = stderr.decode().count("ZeroDivisionError: division by zero")
    assert 1 <= count <= 10 if tracebacks else count == 0, stderr
    assert (b"Such lines are on stderr until logging is set up" in stderr) is tracebacks


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_peer_that_does_not_read_its_answers_costs_errors_and_no_faults_of_the_loop(
    asynchronous: bool, config: Config
) -> None:
    """Also those that answers are given to in vain must not show as exceptions that were never retrieved."""
    faults: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: faults.append(context))
    async with node_ipc.serve("world", config=config, max_pending_bytes=100_000) as server:
        errors: list[Exception] = []
        server.on("error", lambda error, socket: errors.append(error))

        async def later() -> str:
            await asyncio.sleep(0)
            return "x" * 50_000

        server.handle("large", later if asynchronous else lambda: "x" * 50_000)
        with sockets.socket(sockets.AF_UNIX) as deaf:
            deaf.setblocking(False)
            deaf.connect(f"{config.socket_root}app.world")
            request = b'{"type":"rpc.request","data":{"id":%d,"method":"large"}}\f'
            with contextlib.suppress(OSError):  # it is cut
                await loop.sock_sendall(deaf, b"".join(request % id for id in range(2000)))
            await settled(lambda: errors and not server.sockets)
        async with node_ipc.connect("world", config=config) as client:
            assert len(await client.request("large")) == 50_000
    gc.collect()
    await asyncio.sleep(0)
    assert faults == []
    assert any(isinstance(error, BackpressureError) for error in errors)
