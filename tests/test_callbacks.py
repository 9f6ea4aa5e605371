"""The callback front: argument orders, ``of``, and what ``run`` returns, raises and leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from node_ipc import (
    IPC,
    AddressError,
    Client,
    Config,
    ConfigError,
    ConnectError,
    IPCError,
    NoServer,
    NotConnected,
    WrongThreadError,
)
from node_ipc.config.address import Tcp, Udp, Unix
from node_ipc.core.client import ClientState
from ports import free_port
from stopwatch import Stopwatch


def instance(root: Path, id: str = "world") -> IPC:
    ipc = IPC()
    ipc.config.update(socket_root=f"{root}/", id=id, retry=20, silent=True)
    return ipc


@pytest.fixture
def ipc(tmp_path: Path) -> IPC:
    return instance(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> IPC:
    return instance(tmp_path, "other")


def callback(*_: Any) -> None:
    """What a user gives."""


async def settled(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


# ---- arguments in order, any of them left out


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ((), Tcp("localhost", 8000)),
        (("h",), Tcp("h", 8000)),
        ((1,), Tcp("localhost", 1)),
        (("h", 1), Tcp("h", 1)),
        ((None, 1), Tcp("localhost", 1)),
        (("udp4",), Udp("localhost", 8000, "udp4")),
        (("UDP6",), Udp("localhost", 8000, "udp6")),
        (("h", "udp4"), Udp("h", 8000, "udp4")),
        ((1, "udp4"), Udp("localhost", 1, "udp4")),
        (("h", 1, "udp4"), Udp("h", 1, "udp4")),
        (("h", 1, None), Tcp("h", 1)),
        (("::1", "udp4"), Udp("127.0.0.1", 8000, "udp4")),
    ],
)
@pytest.mark.parametrize("with_callback", [False, True])
def test_serve_net_takes_its_arguments_in_order(ipc: IPC, arguments: Any, where: Any, with_callback: bool) -> None:
    ipc.serve_net(*arguments, *([callback] if with_callback else []))
    assert ipc.server.address == where
    assert ipc.server.events.handlers("start") == ([callback] if with_callback else [])


@pytest.mark.parametrize("with_callback", [False, True])
def test_serve_takes_a_path_and_a_callback(ipc: IPC, tmp_path: Path, with_callback: bool) -> None:
    last = [callback] if with_callback else []
    ways: list[tuple[Any, str]] = [((), f"{tmp_path}/app.world"), (("/x",), "/x"), ((tmp_path / "x",), f"{tmp_path}/x")]
    for arguments, path in ways:
        ipc.serve(*arguments, *last)
        assert ipc.server.address == Unix(path)
        assert ipc.server.events.handlers("start") == last


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ((), Tcp("localhost", 8000)),
        (("h",), Tcp("h", 8000)),
        ((1,), Tcp("localhost", 1)),
        (("h", 1), Tcp("h", 1)),
        ((None, 1), Tcp("localhost", 1)),
    ],
)
@pytest.mark.parametrize("with_callback", [False, True])
def test_connect_to_net_takes_its_arguments_in_order(ipc: IPC, arguments: Any, where: Any, with_callback: bool) -> None:
    called: list[IPC] = []
    ipc.connect_to_net("other", *arguments, *([called.append] if with_callback else []))
    assert ipc.of.other.address == where
    assert called == ([ipc] if with_callback else [])


@pytest.mark.parametrize("with_callback", [False, True])
def test_connect_to_takes_a_path_and_a_callback(ipc: IPC, tmp_path: Path, with_callback: bool) -> None:
    called: list[IPC] = []
    last = [called.append] if with_callback else []
    ipc.connect_to("one", *last)
    ipc.connect_to("two", "/x", *last)
    ipc.connect_to("three", tmp_path / "x", *last)
    paths = [client.address.path for client in (ipc.of.one, ipc.of.two, ipc.of["three"])]  # type: ignore[union-attr]
    assert paths == [f"{tmp_path}/app.one", "/x", f"{tmp_path}/x"]
    assert called == [ipc] * 3 * with_callback


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("serve", (5,)),
        ("serve", (b"/x",)),
        ("serve", (callback, "/x")),
        ("serve", ("/x", 5)),
        ("serve_net", (1, "h")),
        ("serve_net", ("h", "8000")),
        ("serve_net", ("h", 1, "tcp")),
        ("serve_net", (True,)),
        ("serve_net", (1.5,)),
        ("connect_to", ("other", 5)),
        ("connect_to", ("other", b"/x")),
        ("connect_to", ("other", "/x", 5)),
        ("connect_to", ("other", callback, "/x")),
        ("connect_to_net", ("other", 1, "h")),
        ("connect_to_net", ("other", "h", "8000")),
        ("connect_to_net", ("other", "h", 1, 5)),
    ],
)
def test_an_argument_out_of_place_is_named_with_the_order_that_is_allowed(
    ipc: IPC, verb: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(
        AddressError, match=rf"^{verb} takes .*\[a callback\], in this order: .* is out of place(: a port .*8000)?$"
    ):
        getattr(ipc, verb)(*arguments)
    assert not len(ipc.of)
    assert not hasattr(ipc, "server")
    with pytest.raises(NoServer, match=r"call serve\(\) or serve_net\(\) first"):
        _ = ipc.server


@pytest.mark.parametrize("verb", ["connect_to", "connect_to_net"])
def test_an_id_is_text_and_without_one_nothing_happens_but_a_line_in_the_log(ipc: IPC, verb: str) -> None:
    lines: list[str] = []
    ipc.config.update(silent=False, logger=lines.append)
    for missing in (None, ""):
        assert getattr(ipc, verb)(missing, callback) is None
    assert len(lines) == 2 and "id required" in lines[0]
    for wrong in (5, callback):
        with pytest.raises(AddressError, match="is text, such as 'world', not "):
            getattr(ipc, verb)(wrong)
    assert not len(ipc.of)


def test_disconnecting_an_unknown_id_is_a_line_in_the_log(ipc: IPC) -> None:
    lines: list[str] = []
    ipc.config.update(silent=False, logger=lines.append)
    assert ipc.disconnect("nobody") is None
    assert lines == ["There is no client nobody to disconnect"]


# ---- of


def test_of_gives_a_client_by_attribute_and_by_item_and_names_those_there_are(ipc: IPC) -> None:
    ipc.connect_to("one")
    assert ipc.of.one is ipc.of["one"]
    assert list(ipc.of) == ["one"] and "one" in ipc.of and "two" not in ipc.of and "one" in dir(ipc.of)
    with pytest.raises(AttributeError, match=r"no client 'two': connect_to\('two'\) makes it \(there are: one\)"):
        _ = ipc.of.two
    with pytest.raises(KeyError, match=r"no client 'two': .*there are: one"):
        _ = ipc.of["two"]
    assert not hasattr(ipc.of, "__wrapped__")


def test_instances_have_configurations_and_clients_of_their_own(ipc: IPC, other: IPC) -> None:
    ipc.connect_to("one")
    assert not len(other.of)
    assert ipc.config is not other.config
    with pytest.raises(ConfigError, match="from_mapping"):
        ipc.config = {"id": "world"}  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("connectToNet", ": in Python it is 'connect_to_net'"),
        ("serveNet", ": in Python it is 'serve_net'"),
        ("srve", ". Did you mean 'serve'?"),
        ("nothing", ""),
    ],
)
def test_a_name_of_node_ipcs_is_told_its_python_spelling(ipc: IPC, name: str, hint: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(ipc, name)
    assert str(caught.value) == f"an IPC has no {name!r}{hint}"
    assert caught.value.name == name
    assert caught.value.obj is (None if name == "srve" else ipc)
    assert not hasattr(ipc, name)


@pytest.mark.parametrize(
    ("name", "option"), [("retry", "retry"), ("maxRetries", "max_retries"), ("silent", "silent"), ("id", "id")]
)
def test_an_option_that_is_set_on_ipc_itself_is_told_where_it_belongs(ipc: IPC, name: str, option: str) -> None:
    says = re.escape(f"an IPC has no {name!r}: options are those of its config, as ipc.config.{option}")
    with pytest.raises(AttributeError, match=says):
        setattr(ipc, name, 5)
    with pytest.raises(AttributeError, match=says):
        getattr(ipc, name)


def test_what_is_a_users_own_may_be_set_on_ipc(ipc: IPC) -> None:
    ipc.mine = 5  # type: ignore[attr-defined]
    assert ipc.mine == 5  # type: ignore[attr-defined]


# ---- connecting


async def test_connecting_again_runs_the_callback_and_keeps_the_connection(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    client = await other.connect_to("world")
    called: list[Client] = []
    again = await other.connect_to("world", lambda ipc: called.append(ipc.of.world))
    assert again is client and called == [client]
    await settled(lambda: ipc.server.sockets)
    assert len(ipc.server.sockets) == 1
    await other.stop()
    await ipc.stop()


async def test_an_async_callback_runs_and_its_failure_is_an_error_event(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    errors: list[IPCError] = []

    async def connecting(ipc: IPC) -> None:
        ipc.of.world.on("error", errors.append)
        await ipc.of.world.connected
        raise LookupError("nothing here")

    await other.connect_to("world", connecting)
    await settled(lambda: errors)
    assert isinstance(errors[0].__cause__, LookupError) and "'world' failed" in str(errors[0])
    await other.stop()
    await ipc.stop()


async def test_a_callback_that_raises_harms_only_itself(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    errors: list[IPCError] = []

    def connecting(ipc: IPC) -> None:
        raise LookupError("nothing here")

    connected = other.connect_to("world", connecting)
    other.of.world.on("error", errors.append)
    await connected
    await settled(lambda: errors)
    assert isinstance(errors[0].__cause__, LookupError) and "'world' failed" in str(errors[0])
    assert other.of.world.state is ClientState.CONNECTED

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.connect_to("world", interrupted)
    await other.stop()
    await ipc.stop()


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
@pytest.mark.parametrize("net", [False, True])
def test_a_client_started_after_a_server_of_the_same_loop_finds_it_at_its_first_attempt(
    ipc: IPC, loop: str, net: bool
) -> None:
    ipc.config.update(stop_retrying=0, network_port=free_port())
    ipc.serve_net() if net else ipc.serve()
    heard: list[str] = []

    def message() -> None:
        heard.append("message")
        ipc.stop()

    ipc.server.on("message", message)
    ipc.server.start()
    (ipc.connect_to_net if net else ipc.connect_to)("world", lambda ipc: ipc.of.world.emit("message"))
    ipc.run(loop=loop)  # which raises where an attempt failed
    assert heard == ["message"]


async def test_so_does_a_client_of_another_instance(ipc: IPC, other: IPC) -> None:
    other.config.stop_retrying = 0
    ipc.serve()
    ipc.server.start()
    await other.connect_to("world")
    assert other.of.world.state.name == "CONNECTED"
    await other.stop()
    await ipc.stop()


def test_what_is_emitted_before_run_arrives_also_where_the_client_was_told_to_disconnect(ipc: IPC) -> None:
    heard: list[int] = []

    def connecting(ipc: IPC) -> None:
        ipc.of.world.emit("message", 1)
        ipc.of.world.emit("message", 2)
        ipc.disconnect("world")

    ipc.serve()
    ipc.server.on("message", lambda data: heard.append(data))
    ipc.server.on("socket.disconnected", lambda: ipc.stop())
    ipc.server.start()
    ipc.connect_to("world", connecting)
    ipc.run()
    assert heard == [1, 2]


# ---- run


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_run_returns_at_once_where_nothing_is_open_and_the_log_says_so(ipc: IPC) -> None:
    lines: list[str] = []
    ipc.run()
    ipc.serve()  # not started: as in node-ipc, that keeps no process alive
    ipc.config.update(silent=False, logger=lines.append)
    ipc.run()
    assert lines == ["There is nothing to run: no client, and no server that was told to start()"]


@pytest.mark.parametrize(
    "program, says",
    [
        ("ipc.serve(); ipc.run()", "There is nothing to run: .* call ipc.server.start\\(\\) before ipc.run\\(\\)"),
        ("ipc.run()", "There is nothing to run: no client, and no server that was told to start\\(\\)"),
        ("ipc.serve(); ipc.server.start(); ipc.stop(); ipc.run()", None),
    ],
)
def test_a_server_that_nobody_started_is_told_of_also_where_the_log_is_silent(
    program: str, says: str | None, tmp_path: Path
) -> None:
    setting = f"from node_ipc import ipc; ipc.config.silent = True; ipc.config.socket_root = {f'{tmp_path}/'!r}; "
    run = subprocess.run([sys.executable, "-c", setting + program], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr == "" if says is None else re.fullmatch(f"node_ipc: {says}\n", run.stderr)


def test_a_word_alone_is_a_path_to_serve_and_the_log_says_so(ipc: IPC, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []
    line = "'world' is taken as a path, ./world; an id is set by ipc.config.id"
    ipc.config.update(silent=False, logger=lines.append)
    for path in ("/x", "./world", "world.sock", Path("world"), "abstract:world"):
        if path != "abstract:world" or sys.platform == "linux":
            ipc.serve(path)
    assert not [each for each in lines if "taken as a path" in each]
    ipc.serve("world")
    assert lines.count(line) == 1
    ipc.config.silent = True
    ipc.serve("world", callback)
    assert lines.count(line) == 1 and line in caplog.messages


@pytest.mark.parametrize("kind", ["plain", "returned", "awaited"])
async def test_stop_in_the_handler_of_a_request_lets_its_answer_out(ipc: IPC, other: IPC, kind: str) -> None:
    async def awaited() -> str:
        await ipc.stop()
        return "bye"

    handlers: dict[str, Any] = {
        "plain": lambda: ipc.stop() and "bye",
        "returned": lambda: ipc.stop(),
        "awaited": awaited,
    }
    ipc.serve()
    ipc.server.handle("quit", handlers[kind])
    await ipc.server.start()
    other.config.max_retries = 0
    await other.connect_to("world")
    other.of.world.on("error", callback)
    watch = Stopwatch()
    assert await other.of.world.request("quit") == (None if kind == "returned" else "bye")
    await ipc.server.closed
    assert watch.seconds < 1
    await other.stop()


def test_run_can_follow_run(ipc: IPC, tmp_path: Path) -> None:
    started: list[str] = []

    def begin() -> None:
        started.append("start")
        ipc.stop()

    ipc.serve(begin)
    for _ in range(2):
        ipc.server.start()
        ipc.run()
        assert os.listdir(tmp_path) == []
    assert started == ["start", "start"]


async def test_run_inside_a_loop_says_what_to_do_instead(ipc: IPC) -> None:
    with pytest.raises(IPCError, match=r"one runs in this thread already: there start\(\)"):
        ipc.run()
    ipc.serve()
    await ipc.server.start()
    with pytest.raises(IPCError, match=r"there await ipc\.server\.closed"):
        ipc.run()
    await ipc.stop()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_ends_the_program_out_of_a_handler_leaves_in_order(
    ipc: IPC, other: IPC, tmp_path: Path, loop: str, end: BaseException, asynchronous: bool
) -> None:
    replies: list[Any] = []

    def leave(data: Any, socket: Any) -> None:
        socket.emit("reply", data)
        raise end

    async def leave_later(data: Any, socket: Any) -> None:
        leave(data, socket)

    def connecting(other: IPC) -> None:
        other.of.world.on("reply", replies.append)
        other.of.world.on("disconnect", lambda: other.stop())
        other.of.world.emit("bye", 7)

    other_thread = threading.Thread(target=other.run)
    ipc.serve(lambda: other_thread.start())
    ipc.server.on("bye", leave_later if asynchronous else leave)
    ipc.server.start()
    other.connect_to("world", connecting)
    with pytest.raises(type(end)):
        ipc.run(loop=loop)
    assert os.listdir(tmp_path) == []
    other_thread.join(60)
    assert not other_thread.is_alive()
    assert replies == [7]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("where", ["connect", "here", "there"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_whichever_handler_ends_the_program_nothing_is_left(
    ipc: IPC, tmp_path: Path, caplog: pytest.LogCaptureFixture, loop: str, where: str, end: BaseException
) -> None:
    """Also where the server and its client are in one program, and their link is just opened."""
    handled: list[str] = []

    def leave(name: str) -> None:
        handled.append(name)
        if name == where:
            raise end

    def connecting() -> None:
        world = ipc.of.world
        world.on("connect", lambda: leave("connect"))
        world.on("there", lambda: leave("there"))
        world.emit("here")

    def here(data: Any, socket: Any) -> None:
        leave("here")
        socket.emit("there")

    ipc.serve()
    ipc.server.on("here", here)
    ipc.server.start()
    ipc.connect_to("world", connecting)
    with pytest.raises(type(end)):
        ipc.run(loop=loop)
    assert handled.count(where) == 1
    assert ipc.server.state == "closed" and not list(ipc.of)
    assert os.listdir(tmp_path) == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_another_thread_may_only_stop_and_emit_and_its_other_calls_change_nothing(ipc: IPC, other: IPC) -> None:
    refused: list[str] = []

    def calls() -> None:
        for verb, arguments in (
            ("connect_to", ("x",)),
            ("connect_to_net", ("x",)),
            ("disconnect", ("world",)),
            ("serve", ()),
            ("serve_net", ()),
        ):
            try:
                getattr(ipc, verb)(*arguments)
            except WrongThreadError:
                refused.append(verb)
        ipc.stop()

    ipc.serve(lambda: threads.append(in_thread(calls)))
    threads: list[threading.Thread] = []
    server = ipc.server
    server.start()
    ipc.connect_to("world")
    ipc.run()
    threads[0].join(60)
    assert refused == ["connect_to", "connect_to_net", "disconnect", "serve", "serve_net"]
    assert ipc.server is server


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe of Windows can have several servers")
def test_run_raises_the_error_of_start_unless_a_handler_heard_it(ipc: IPC, tmp_path: Path) -> None:
    (tmp_path / "app.world").write_text("not a socket")
    ipc.serve()
    ipc.server.start()
    with pytest.raises(AddressError, match=r"app\.world.*only sockets are ever removed"):
        ipc.run()
    heard: list[IPCError] = []
    ipc.server.on("error", heard.append)
    ipc.server.start()
    ipc.run()
    assert len(heard) == 1


async def test_an_error_of_start_that_nobody_awaits_is_in_the_log(ipc: IPC, tmp_path: Path) -> None:
    (tmp_path / "app.world").write_text("not a socket")
    lines: list[str] = []
    ipc.config.update(silent=False, logger=lines.append)
    ipc.serve()
    ipc.server.start()
    await settled(lambda: any(line.startswith("error: a regular file is at") for line in lines))


def test_run_raises_the_error_of_the_last_attempt_unless_a_handler_heard_it(ipc: IPC) -> None:
    ipc.config.stop_retrying = True
    ipc.connect_to("nobody")
    with pytest.raises(IPCError, match="no server at"):
        ipc.run()
    ipc.connect_to("nobody", lambda ipc: ipc.of.nobody.on("error", callback))
    ipc.run()


@pytest.mark.parametrize("event", ["disconnect", "destroy"])
@pytest.mark.parametrize("verb", ["connect_to", "connect"])
@pytest.mark.parametrize("end", ["signal", "sys.exit"])
def test_a_handler_of_the_end_that_connects_anew_keeps_no_program_from_ending(
    ipc: IPC, event: str, verb: str, end: str
) -> None:
    anew: list[Any] = []

    def bye() -> None:
        if end == "signal":
            signal.raise_signal(signal.SIGTERM)
        else:
            sys.exit()

    def register() -> None:
        world = ipc.of.world
        world.emit("bye")
        world.on(event, lambda: anew.append(world.connect() if verb == "connect" else ipc.connect_to("world")))

    ipc.serve()
    ipc.server.start()
    ipc.server.on("bye", bye)
    ipc.connect_to("world", register)
    with pytest.raises(SystemExit) if end == "sys.exit" else contextlib.nullcontext():
        ipc.run()
    assert len(anew) == 1 and ipc.server.state == "closed"


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_while_the_loop_is_closed_ends_nothing_twice(
    ipc: IPC, kind: type[asyncio.AbstractEventLoop], number: signal.Signals
) -> None:
    """As ``timeout`` and others send it: to the process, and then to its group."""

    class SlowToClose(kind):  # type: ignore[valid-type,misc]
        async def shutdown_default_executor(self, *arguments: Any) -> None:
            signal.raise_signal(number)
            await asyncio.sleep(0)
            await super().shutdown_default_executor(*arguments)

    before = signal.getsignal(number)
    for _ in range(2):  # and a second run() is as good as the first
        ipc.serve(lambda: signal.raise_signal(number))
        ipc.server.start()
        ipc.run(loop=SlowToClose)
    assert signal.getsignal(number) == before


# ---- ipc.log


def test_a_server_that_is_not_there_is_told_of_once_and_not_at_each_attempt(
    ipc: IPC, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []
    ipc.config.update(retry=1, max_retries=5, silent=False, logger=lines.append)
    ipc.connect_to("nobody", "/nonexistent/nobody")
    with pytest.raises(IPCError):
        ipc.run()
    words = ["connecting to unix:/nonexistent/nobody", "error", "trying to connect again, at growing intervals"]
    assert [line.partition(": ")[0] for line in lines] == words
    assert "no server at '/nonexistent/nobody'" in lines[1] and "Start it" in lines[1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_failing_handler_is_in_the_log_with_its_traceback(ipc: IPC, other: IPC) -> None:
    lines: list[str] = []
    ipc.config.update(silent=False, logger=lines.append)
    ipc.serve()
    await ipc.server.start()

    @ipc.server.on("message")
    def divide(data: Any) -> float:
        return 1 / data  # type: ignore[no-any-return]

    await other.connect_to("world")
    for _ in range(100):
        other.of.world.emit("message", 0)
    await settled(lambda: ipc.server.stats().errors == 100)
    failures = [line for line in lines if line.startswith("a handler of 'message' failed: ZeroDivisionError")]
    assert len(failures) == 5  # in a second
    assert "in divide\n" in failures[0]
    await other.stop()
    await ipc.stop()


async def test_refused_connections_are_in_the_log_a_few_a_second(ipc: IPC) -> None:
    lines: list[str] = []
    ipc.config.update(silent=False, logger=lines.append, max_connections=1)
    ipc.serve()
    await ipc.server.start()
    peers = [(await asyncio.open_unix_connection(str(ipc.server.address).removeprefix("unix:")))[1] for _ in range(20)]
    await settled(lambda: ipc.server.refused == 19)
    told = [line for line in lines if line.startswith("a connection was refused, max_connections or one like it")]
    assert len(told) == 5 and told[0].endswith(f": unix pid {os.getpid()} uid {os.getuid()}")
    for peer in peers:
        peer.close()
    await ipc.stop()


async def test_a_client_that_gave_up_stays_in_of_until_it_is_disconnected_or_made_anew(ipc: IPC) -> None:
    ipc.config.max_retries = 2
    ipc.config.retry = 1
    ipc.connect_to("world")
    world = ipc.of.world
    world.on("error", lambda error: None)
    with pytest.raises(ConnectError):
        await world.connected
    await world.closed
    assert ipc.of.world is world and world.retries_remaining == 0
    with pytest.raises(NotConnected):
        world.emit("message")
    await asyncio.wait_for(ipc.stop(), 60)
    assert not len(ipc.of)


async def test_what_gave_up_is_made_anew_by_connect_to(ipc: IPC, other: IPC) -> None:
    other.config.update(max_retries=0)
    other.connect_to("world")
    gone = other.of.world
    gone.on("error", lambda error: None)
    await gone.closed
    ipc.serve()
    await ipc.server.start()
    await other.connect_to("world")
    assert other.of.world is not gone and other.of.world.state is ClientState.CONNECTED
    other.disconnect("world")
    assert "world" not in other.of
    await asyncio.wait_for(other.stop(), 60)
    await asyncio.wait_for(ipc.stop(), 60)


@pytest.mark.parametrize("over", ["unix", "tcp"])
async def test_a_server_is_up_again_behind_stop_and_start(ipc: IPC, other: IPC, over: str, tmp_path: Path) -> None:
    port = free_port()
    started: list[Any] = []
    if over == "tcp":
        ipc.serve_net("localhost", port, callback=started.append)
    else:
        ipc.serve(callback=started.append)
    await ipc.server.start()
    server = ipc.server
    server.on("message", lambda data, socket: socket.emit("message", data))
    await (other.connect_to_net("world", "localhost", port) if over == "tcp" else other.connect_to("world"))
    up = asyncio.Event()
    other.of.world.on("disconnect", lambda: other.of.world.once("connect", up.set))
    heard: list[Any] = []
    other.of.world.on("message", heard.append)
    ipc.server.stop()
    await asyncio.wait_for(ipc.server.start(), 60)
    await asyncio.wait_for(up.wait(), 60)
    other.of.world.emit("message", "again")
    await settled(lambda: heard)
    assert ipc.server is server and server.state == "listening" and len(started) == 2
    assert os.path.exists(f"{tmp_path}/app.world") == (over == "unix")
    await asyncio.wait_for(other.stop(), 60)
    await asyncio.wait_for(ipc.stop(), 60)
    assert server.state == "closed" and not os.path.exists(f"{tmp_path}/app.world")


def test_stop_and_start_before_run_is_a_start(ipc: IPC) -> None:
    started: list[Any] = []
    ipc.serve(lambda: started.append(ipc.stop()))
    ipc.server.start()
    ipc.server.stop()
    ipc.server.start()
    ipc.run()
    assert len(started) == 1 and ipc.server.state == "closed"


async def test_disconnect_and_connect_to_is_a_new_client_that_connects(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    await other.connect_to("world")
    first = other.of.world
    other.disconnect("world")
    await asyncio.wait_for(other.connect_to("world"), 60)
    assert other.of.world is not first and other.of.world.state is ClientState.CONNECTED
    await settled(lambda: first.state is ClientState.CLOSED and len(ipc.server.sockets) == 1)
    await asyncio.wait_for(other.stop(), 60)
    await asyncio.wait_for(ipc.stop(), 60)


async def test_stop_takes_back_what_was_to_begin_anew(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    await other.connect_to("world")
    world = other.of.world
    other.disconnect("world")
    world.connect()
    ipc.server.stop()
    ipc.server.start()
    await asyncio.wait_for(other.stop(), 60)
    await asyncio.wait_for(ipc.stop(), 60)
    assert world.state is ClientState.CLOSED and ipc.server.state == "closed"


async def test_stop_ends_a_server_that_a_handler_restarts_meanwhile(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    await other.connect_to("world")
    await settled(lambda: ipc.server.sockets)
    restarted: list[Any] = []

    @ipc.server.on("close")
    def restart() -> None:
        ipc.server.stop()
        restarted.append(ipc.server.start())

    await asyncio.wait_for(ipc.stop(), 60)
    assert ipc.server.state == "closed" and len(restarted) == 1 and restarted[0].error is not None
    await asyncio.wait_for(other.stop(), 60)


async def test_a_client_that_connects_anew_behind_its_closing_is_connected_already(ipc: IPC, other: IPC) -> None:
    ipc.serve()
    await ipc.server.start()
    await other.connect_to("world")
    world = other.of.world
    world.close()
    connected = world.connect()
    assert other.connect_to("world") is connected and other.of.world is world
    await asyncio.wait_for(connected, 60)
    await settled(lambda: len(ipc.server.sockets) == 1)
    await asyncio.wait_for(other.stop(), 60)
    await asyncio.wait_for(ipc.stop(), 60)


@pytest.mark.parametrize("ends", ["close", "disconnect", "stop"])
def test_run_returns_where_a_client_was_closed_and_connected_anew(ipc: IPC, ends: str) -> None:
    """The end of each of its lives is heard of, not only that of the first."""
    links: list[Any] = []

    def connected() -> None:
        links.append(ipc.of.world)
        if len(links) == 1:
            ipc.of.world.close()
            ipc.of.world.connect()
            return
        ipc.server.stop()
        {"close": links[0].close, "disconnect": lambda: ipc.disconnect("world"), "stop": ipc.stop}[ends]()

    ipc.serve()
    ipc.server.start()
    ipc.connect_to("world", lambda: ipc.of.world.on("connect", connected))
    ipc.run()
    assert len(links) == 2 and links[0] is links[1] and links[0].state is ClientState.CLOSED


@pytest.mark.parametrize("verb", ["abort", "close"])
async def test_connect_to_in_the_turn_of_an_abort_makes_a_client_that_lives(ipc: IPC, other: IPC, verb: str) -> None:
    ipc.serve()
    await ipc.server.start()
    await other.connect_to("world")
    dying = other.of.world
    getattr(dying, verb)()
    await other.connect_to("world")
    assert other.of.world is not dying and other.of.world.state is ClientState.CONNECTED
    await dying.closed
    assert other.of.world.state is ClientState.CONNECTED
    await asyncio.wait_for(other.stop(), 60)
    await asyncio.wait_for(ipc.stop(), 60)


def test_run_returns_when_all_clients_gave_up(ipc: IPC) -> None:
    ipc.config.update(max_retries=1, retry=1)
    ipc.connect_to("world")
    ipc.of.world.on("error", lambda error: None)
    ipc.run()
    assert ipc.of.world.state is ClientState.CLOSED


# ---- options that come late


LATE: dict[str, Any] = {
    "allow_reserved_events": True,
    "connect_timeout": 17,
    "delimiter": "|",
    "interfaces": {"local_address": "127.0.0.1"},
    "log_payloads": True,
    "max_message_size": 1000,
    "parser": "fast",
    "raw_buffer": True,
    "sync": True,
    "tls": {"passphrase": "nevershown"},
}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records if "too late" in record.getMessage()]
    caplog.clear()
    return texts


@pytest.mark.parametrize("option", LATE)
async def test_an_option_that_comes_too_late_is_told_once(
    ipc: IPC, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    ipc.config.update(max_retries=5)
    setattr(ipc.config, option, LATE[option])  # in time
    delattr(ipc.config, option)
    assert told(caplog) == []
    ipc.connect_to("nobody", callback)
    before = ipc.of.nobody.settings
    setattr(ipc.config, option, LATE[option])
    [text] = told(caplog)
    assert text.startswith(f"config.{option} was set too late for <Client 'nobody'")
    assert "before connect_to() or serve()" in text and "nevershown" not in text
    assert getattr(ipc.of.nobody.settings, option) == getattr(before, option)
    setattr(ipc.config, option, LATE[option])
    ipc.config.update(**{option: LATE[option]})
    assert told(caplog) == []
    await ipc.stop()


async def test_a_server_that_was_made_but_not_started_has_its_options_already(
    ipc: IPC, caplog: pytest.LogCaptureFixture
) -> None:
    ipc.connect_to("nobody")
    ipc.config.max_connections = 3
    assert told(caplog) == []  # it makes no difference to a client
    ipc.serve()
    ipc.config.max_connections = 3
    assert told(caplog) == []
    ipc.config.update(max_connections=4, retry=9, appspace="other.", network_port=9)
    of_connections, of_appspace = told(caplog)
    assert "config.max_connections was set too late for <Server" in of_connections
    assert "which goes on with 3:" in of_connections
    assert "config.appspace was set too late for <Server" in of_appspace and "goes on with 'app.':" in of_appspace
    await ipc.stop()
    ipc.config.max_connections = 5
    assert told(caplog) == []


async def test_within_an_option_and_a_whole_configuration_too_late(ipc: IPC, caplog: pytest.LogCaptureFixture) -> None:
    ipc.connect_to("nobody")
    ipc.config.interfaces.local_port = 5
    assert len(told(caplog)) == 1
    ipc.config = Config(silent=True, sync=True, max_retries=1)
    assert ["interfaces" in text or "sync" in text for text in told(caplog)] == [True]
    ipc.config.encoding = "hex"
    assert len(told(caplog)) == 1
    await ipc.stop()


async def test_retries_are_those_of_the_configuration_as_it_is(ipc: IPC, caplog: pytest.LogCaptureFixture) -> None:
    ipc.config.retry = 1
    ipc.connect_to("nobody", lambda ipc: ipc.of.nobody.on("error", callback))
    nobody = ipc.of.nobody
    await settled(lambda: nobody.retries > 1)
    ipc.config.max_retries = 1
    await settled(lambda: nobody.state is ClientState.CLOSED)
    assert told(caplog) == []


async def test_a_log_that_is_not_silent_any_more(ipc: IPC) -> None:
    lines: list[str] = []
    ipc.serve()
    ipc.config.update(silent=False, logger=lines.append)
    await ipc.server.start()
    assert any("listening" in line or "starting" in line for line in lines)
    await ipc.stop()


def test_a_configuration_does_not_keep_its_instances_alive() -> None:
    config = Config()
    kept = weakref.ref(IPC(config))
    gc.collect()
    assert kept() is None
    config.sync = True
