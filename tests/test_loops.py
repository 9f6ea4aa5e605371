"""Event loops, threads, signals and context variables: whoever calls from the wrong place is told so, at once."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import socket as sockets
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import IPC, ClientState, Config, IPCError, WrongLoopError, blocking
from node_ipc.testing import pair
from processes import Program
from stopwatch import Stopwatch

LOOPS = ["asyncio", "uvloop"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(socket_root=f"{tmp_path}/", retry=20, silent=True)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    factory = None if request.param == "asyncio" else __import__("uvloop").new_event_loop
    loop = factory() if factory else asyncio.new_event_loop()
    yield loop
    if not loop.is_closed():
        left = asyncio.all_tasks(loop)  # a client that lost its server is connecting again
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


async def serve(config: Config) -> Any:
    return await node_ipc.serve("world", config=config)


async def connect(config: Config, **options: Any) -> Any:
    return await node_ipc.connect("world", config=config, **options)


async def let_in(server: Any) -> Any:
    """The socket of the client that has connected: the server takes that up in a turn of its own."""
    while not server.sockets:
        await asyncio.sleep(0)
    return server.sockets[0]


async def _iterate(client: Any) -> None:
    async for _ in client:
        return


CLIENT_VERBS: dict[str, Callable[[Any], Any]] = {
    "receive": lambda client: client.receive("x", timeout=5),
    "iteration": _iterate,
    "request": lambda client: client.request("x", timeout=5),
    "drain": lambda client: client.drain(),
    "emit": lambda client: client.emit("x", 1),
    "on": lambda client: client.on("x", print),
    "once": lambda client: client.once("x", print),
    "off": lambda client: client.off("x"),
    "handle": lambda client: client.handle("x", print),
    "close": lambda client: client.close(1),
    "abort": lambda client: client.abort(),
}
SERVER_VERBS: dict[str, Callable[[Any], Any]] = {
    "drain": lambda server: server.drain(),
    "serve_forever": lambda server: server.serve_forever(),
    "on": lambda server: server.on("x", print),
    "handle": lambda server: server.handle("x", print),
    "stop": lambda server: server.stop(1),
    "abort": lambda server: server.abort(),
}


async def use(verb: Callable[[Any], Any], endpoint: Any) -> None:
    """As a coroutine on whatever loop this runs, and with an end."""
    async with asyncio.timeout(60):
        result = verb(endpoint)
        if hasattr(result, "__await__"):
            await result


def end(loop: asyncio.AbstractEventLoop, *closing: Coroutine[Any, Any, Any]) -> None:
    for each in closing:
        loop.run_until_complete(each)


async def stopped(server: Any) -> None:
    await server.stop(0.5)


# ---- the wrong loop


@pytest.mark.row(58)
@pytest.mark.parametrize("verb", CLIENT_VERBS)
def test_a_client_on_another_loop_is_refused_and_both_loops_are_named(
    config: Config, loop: asyncio.AbstractEventLoop, verb: str
) -> None:
    server = loop.run_until_complete(serve(config))
    client = loop.run_until_complete(connect(config))
    watch = Stopwatch()
    with pytest.raises(WrongLoopError, match=rf"{verb}\(\) belongs to the event loop <\w+ at .* was called on <\w+ at"):
        asyncio.run(use(CLIENT_VERBS[verb], client))
    assert watch.seconds < 1
    assert client.state is ClientState.CONNECTED
    end(loop, stopped(server))


@pytest.mark.row(58)
@pytest.mark.parametrize("verb", CLIENT_VERBS)
def test_a_client_whose_loop_is_closed_says_so(config: Config, verb: str) -> None:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve(config))
    client = loop.run_until_complete(connect(config))
    socket = loop.run_until_complete(let_in(server))
    waiting = client.request("never")
    loop.close()
    watch = Stopwatch()
    with pytest.raises(WrongLoopError, match=rf"{verb}\(\) belongs to the event loop .* closed"):
        asyncio.run(use(CLIENT_VERBS[verb], client))
    assert watch.seconds < 1
    assert client.state is ClientState.CLOSED, "it is lost"
    assert isinstance(waiting.error, ConnectionError), "and what was asked over it ends"
    with pytest.raises(WrongLoopError):
        server.emit(socket, "x")


ON_UVLOOP = """
import asyncio, sys, node_ipc, uvloop

loop = uvloop.new_event_loop()

async def begin():
    root = {"socket_root": sys.argv[1]}
    server, client = await node_ipc.serve("world", **root), await node_ipc.connect("world", **root)
    while not server.sockets:
        await asyncio.sleep(0)
    return server, client

async def receive(client):
    await client.receive("x", timeout=5)

server, client = loop.run_until_complete(begin())
waiting = client.request("never")
loop.close()
for use in (lambda: asyncio.run(receive(client)), lambda: server.emit(server.sockets[0], "x")):
    try:
        use()
    except node_ipc.WrongLoopError as error:
        print("refused:", error)
print(client.state.value, waiting.error)
"""


@pytest.mark.row(58)
def test_so_it_is_on_uvloop_which_closes_its_transports_without_a_word(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ON_UVLOOP, f"{tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout.count("refused:") == 2, done.stderr
    assert "closed the link was lost before 'never' was answered" in done.stdout


@pytest.mark.row(58)
@pytest.mark.parametrize("verb", SERVER_VERBS)
@pytest.mark.parametrize("address", ["world", "udp4://127.0.0.1:0"])
def test_so_does_a_server(config: Config, verb: str, address: str) -> None:
    if verb == "handle" and address != "world":
        return  # UDP has no requests
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        return await node_ipc.serve(address, config=config)

    server = loop.run_until_complete(begin())
    with pytest.raises(WrongLoopError, match="was called on"):
        asyncio.run(use(SERVER_VERBS[verb], server))
    loop.close()
    with pytest.raises(WrongLoopError, match="closed"):
        asyncio.run(use(SERVER_VERBS[verb], server))


def test_an_emit_from_another_thread_to_a_loop_that_is_closed_is_refused(config: Config) -> None:
    async def begin() -> tuple[Any, Any]:
        return await serve(config), await connect(config)

    loop = asyncio.new_event_loop()
    server, client = loop.run_until_complete(begin())
    loop.close()

    async def elsewhere() -> None:
        await asyncio.to_thread(client.emit, "x", 1)

    with pytest.raises(IPCError):
        asyncio.run(elsewhere())
    for endpoint in (server, client):  # whoever asks frees what it held
        with pytest.raises(WrongLoopError):
            endpoint.on("x", print)


# ---- a loop that stands still, and one that is followed by another


def test_what_is_emitted_while_the_loop_stands_still_goes_out(config: Config) -> None:
    heard: list[Any] = []
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(f"{config.socket_root}app.world")
        listener.listen()
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(connect(config))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(60)
            for number in range(5):
                assert client.emit("number", number)
            while len(heard) < 5:
                heard += accepted.recv(65536).decode().split("\f")[:-1]
        client.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert len(heard) == 5


def test_an_instance_goes_on_with_the_next_loop(config: Config) -> None:
    heard: list[Any] = []
    with blocking_server(config) as events:
        ipc = IPC(config)

        async def first() -> None:
            await ipc.connect_to("world")

        asyncio.run(first())  # which closes its loop with the client open
        world = ipc.of.world
        world.on("echo", heard.append)
        world.on("echo", lambda data: ipc.stop())
        assert world.emit("echo", 3), "it waits for the next link"
        ipc.run()
        assert heard == [3] and events.count(3) == 1


def test_a_link_of_a_closed_loop_ends_for_the_server_too(config: Config) -> None:
    with blocking_server(config) as events:
        ipc = IPC(config)

        async def first() -> None:
            await ipc.connect_to("world")

        asyncio.run(first())
        ipc.of.world.emit("echo", 1)
        until(lambda: "gone" in events)
        ipc.stop()


def blocking_server(config: Config) -> Any:
    import contextlib
    import threading

    @contextlib.contextmanager
    def serving() -> Iterator[list[Any]]:
        events: list[Any] = []
        began = threading.Event()
        servers: list[Any] = []

        def run() -> None:
            server = blocking.serve("world", config=config)
            servers.append(server)

            @server.on("echo")  # type: ignore[untyped-decorator, unused-ignore]
            def echo(data: Any, socket: Any) -> None:
                events.append(data)
                socket.emit("echo", data)

            server.on("socket.disconnected", lambda *_: events.append("gone"))
            began.set()
            server.serve_forever()

        thread = threading.Thread(target=run)
        thread.start()
        assert began.wait(60)
        try:
            yield events
        finally:
            servers[0].shutdown()
            thread.join(60)

    return serving()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


# ---- tasks


async def test_no_task_begins_inside_the_call_that_made_it(config: Config) -> None:
    """With ``asyncio.eager_task_factory`` (Python 3.12) ``connect`` was published before a handler could be there."""
    if hasattr(asyncio, "eager_task_factory"):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    heard: list[str] = []
    async with node_ipc.serve("world", config=config):
        ipc = IPC(config)
        ipc.connect_to("world")
        ipc.of.world.on("connect", lambda: heard.append("connect"))
        async with asyncio.timeout(60):
            await ipc.of.world.connected
        assert heard == ["connect"]
        await ipc.stop()


# ---- context variables

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="nobody's")


@pytest.mark.row(59)
@pytest.mark.parametrize("kind", ["plain", "async", "request"])
@pytest.mark.parametrize("address", ["world", "tcp://127.0.0.1:0", "udp4://127.0.0.1:0"])
async def test_what_a_handler_sets_is_seen_by_its_own_link_alone(config: Config, address: str, kind: str) -> None:
    heard: list[tuple[str, str]] = []

    def note(data: Any, socket: Any) -> None:
        heard.append((data, VAR.get()))
        VAR.set(f"{data}'s")

    async def note_later(data: Any, socket: Any) -> None:
        await asyncio.sleep(0)
        note(data, socket)

    async with node_ipc.serve(address, config=config) as server:
        where = str(server.address)
        if kind == "request" and not where.startswith("udp"):
            server.handle("name", note)
        else:
            server.on("name", note if kind != "async" else note_later)
        names = [name for _ in range(2) for name in "abc"]
        if where.startswith("udp"):
            await _say_over_udp(where, names)
        else:
            clients = {name: await node_ipc.connect(where, config=config) for name in "abc"}
            for name in names:
                if kind == "request":
                    await clients[name].request("name", name, timeout=10)
                else:
                    clients[name].emit("name", name)
                    await turns(partial(last_is, heard, name))
            for client in clients.values():
                await client.close()
        await turns(lambda: len(heard) == 6)
    assert {seen for _, seen in heard} <= {"nobody's", "a's", "b's", "c's"}
    assert all(seen in ("nobody's", f"{name}'s") for name, seen in heard)
    if kind != "async":  # a task has a copy of its link's context
        assert [seen for _, seen in heard[3:]] == ["a's", "b's", "c's"]
    assert VAR.get() == "nobody's"


async def _say_over_udp(where: str, names: list[str]) -> None:
    host, port = where.removeprefix("udp4://").split(":")
    senders = {name: sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) for name in "abc"}
    for name in names:
        senders[name].sendto(f'{{"type":"name","data":"{name}"}}\f'.encode(), (host, int(port)))
    for sender in senders.values():
        sender.close()


def last_is(heard: list[tuple[str, str]], name: str) -> bool:
    return bool(heard) and heard[-1][0] == name


async def turns(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.row(59)
def test_so_it_is_in_memory_and_for_the_lifecycle() -> None:
    heard: list[tuple[str, str]] = []
    both = pair()
    with both.driver as driver:
        server, client = both.server, both.client

        def note(data: str, socket: Any) -> None:
            heard.append((data, VAR.get()))
            VAR.set(data)

        server.on("name", note)
        client.emit("name", "first")
        driver.run_until(lambda: len(heard) == 1)
        client.emit("name", "second")
        driver.run_until(lambda: len(heard) == 2)
    assert heard == [("first", "nobody's"), ("second", "first")]
    assert VAR.get() == "nobody's"


# ---- signals, and the end of the program

SENDER = """
import asyncio, sys, node_ipc

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1], soft_pending_bytes=64 << 20,
                              max_pending_bytes=64 << 20) as server:
        @server.on("go")
        def go(data, socket):
            for number in range(60):
                socket.emit("number", [number, "x" * 100_000])
            print("emitted", flush=True)
        print("up", flush=True)
        await server.serve_forever()

node_ipc.run(main(), loop=sys.argv[2])
"""


@pytest.mark.parametrize("loop", LOOPS, indirect=False)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_emitted_is_sent_when_a_signal_ends_the_program(
    tmp_path: Path, loop: str, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", SENDER, f"{tmp_path}/", loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        with blocking.connect("world", socket_root=f"{tmp_path}/", max_retries=0) as client:
            client.emit("go")
            program.stdout.readline()
            program.send_signal(number)
            heard = [event.data[0] for event in client]
        code = program.wait(20)
    assert heard == list(range(60))
    assert code == (0 if number is signal.SIGTERM else -signal.SIGINT)


STUCK = """
import asyncio, sys
from node_ipc import IPC, Config

ipc = IPC(Config(socket_root=sys.argv[1], id="world", close_timeout=600_000, silent=True))

def started():
    @ipc.server.on("slow")
    async def slow(data, socket):
        print("busy", flush=True)
        await asyncio.sleep(600)
    print("up", flush=True)

ipc.serve(started)
ipc.server.start()
ipc.run()
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_program_without_a_standard_stream_ends_as_others_do(closed: str, tmp_path: Path) -> None:
    program = (
        "import asyncio, os, node_ipc\n"
        "async def main():\n"
        f"    path = {f'{tmp_path}/s'!r}\n"
        "    async with node_ipc.serve(path) as server, node_ipc.connect(path) as client:\n"
        "        server.handle('add', sum)\n"
        "        return await client.request('add', [1, 2])\n"
        "os._exit(40 + node_ipc.run(main()))\n"
    )
    ended = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, program], timeout=60)
    assert ended.returncode == 43, "where libuv closes such a descriptor it aborts the program"


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STUCK, f"{tmp_path}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        with blocking.connect("world", socket_root=f"{tmp_path}/") as client:
            client.emit("slow")
            assert program.stdout.readline() == "busy\n"
            program.send_signal(signal.SIGINT)
            while os.path.exists(f"{tmp_path}/app.world"):  # it is about to end, and waits for its handler
                client.poll(0.01)
            program.send_signal(signal.SIGINT)
            program.wait(60)


STOPPED = """
import asyncio, signal, sys
from node_ipc import IPC, Config

ipc = IPC(Config(socket_root=sys.argv[1], id="world", silent=True))

async def main():
    ipc.serve()
    await ipc.server.start()
    signal.signal(signal.SIGUSR1, lambda *_: ipc.stop())
    print("up", flush=True)
    await ipc.server.closed
    print("stopped", flush=True)

asyncio.run(main())
"""


def test_stop_in_a_signal_handler_wakes_a_loop_that_asyncio_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, f"{tmp_path}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(signal.SIGUSR1)
        try:
            out, _ = program.communicate(timeout=15)
        finally:
            program.kill()
    assert out == "stopped\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("ipc.connect_to('world')\nipc.of.world.emit('a', 1)", "1 message that was emitted to <Client 'world'"),
        ("ipc.connect_to('world')\n[ipc.of.world.emit('a', 1) for _ in range(3)]", "3 messages that were emitted"),
        ("ipc.connect_to('world')", "<Client 'world'"),
        ("ipc.connect_to('world')\nipc.disconnect('world')", ""),
        ("pass", ""),
    ],
)
def test_a_program_that_never_ran_its_loop_is_told(tmp_path: Path, lines: str, said: str) -> None:
    program = (
        f"from node_ipc import ipc\nipc.config.silent = True\nipc.config.socket_root = {f'{tmp_path}/'!r}\n{lines}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    if said:
        assert said in done.stderr and "ipc.run()" in done.stderr
    else:
        assert done.stderr == ""


TWO_INSTANCES = """
import sys
from node_ipc import IPC, Config

one, other = (IPC(Config(socket_root=sys.argv[1], silent=True)) for _ in range(2))
other.serve("world")
other.server.start()
one.connect_to("world", lambda: one.of.world.on("error", lambda error: one.stop()))
one.run()
"""


def test_of_several_instances_the_one_that_was_not_run_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_INSTANCES, f"{tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert "starting, 0 sockets> was told to begin and never did: run() runs one instance. Several" in done.stderr


def test_nothing_is_said_where_everything_was_sent(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = (
            "import asyncio, sys, node_ipc\n"
            "async def main():\n"
            "    async with node_ipc.serve('world', socket_root=sys.argv[1]) as server:\n"
            "        server.on('a', print)\n"
            "        async with node_ipc.connect('world', socket_root=sys.argv[1]) as client:\n"
            "            client.emit('a', 1)\n"
            "asyncio.run(main())\n"
        )
        command = [sys.executable, "-c", program, f"{tmp_path}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


NEVER_IN_ITS_LOOP = """
import time
import node_ipc

async def main():
    print("busy", flush=True)
    while True:
        time.sleep(0.01)

node_ipc.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_program_that_does_not_come_back_to_its_loop(number: signal.Signals) -> None:
    run = Program.python("-c", NEVER_IN_ITS_LOOP)
    try:
        run.wait_for("busy")
        while run.process.poll() is None:  # until they are two; else the test's own time ends it
            run.process.send_signal(number)
            time.sleep(0.02)
        assert run.process.returncode in (0, -number), "in order, or by the next one, which nobody handled any more"
    finally:
        run.close()
