"""A misspelt argument is answered with the one that was meant, whichever Python runs, and whatever is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import Config, blocking, ipc, scale, telemetry, testing
from node_ipc.config.misspelt import lookalike, misspelling, slipped, suggests
from node_ipc.config.options import UnknownOption
from node_ipc.scale import workers


def anything() -> None: ...


MADE: Any = testing.pair()
CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], str, str]] = [
    (MADE.client.request, ("x",), "timout", "timeout"),
    (MADE.client.request, ("x",), "progres", "progress"),
    (MADE.socket.request, ("x",), "typ", "type"),
    (MADE.client.on, ("x", anything), "typ", "type"),
    (MADE.client.once, ("x", anything), "typ", "type"),
    (MADE.client.close, (), "timout", "timeout"),
    (MADE.client.on_trace, (anything,), "trafic", "traffic"),
    (MADE.socket.close, (), "timout", "timeout"),
    (MADE.server.on, ("x", anything), "typ", "type"),
    (MADE.server.handle, ("x", anything), "typ", "type"),
    (MADE.server.request, (MADE.socket, "x"), "timout", "timeout"),
    (MADE.server.request_all, ("x",), "exlude", "exclude"),
    (MADE.server.broadcast, ("x",), "exlude", "exclude"),
    (MADE.server.to, ("x",), "locl", "local"),
    (MADE.server.to("x").emit, ("x",), "kep", "keep"),
    (MADE.server.stop, (), "timout", "timeout"),
    (ipc.run, (), "lop", "loop"),
    (node_ipc.run, (None,), "lop", "loop"),
    (telemetry.prometheus, (MADE.server,), "event", "events"),
]


@pytest.mark.parametrize(("call", "arguments", "wrong", "right"), CALLS)
def test_a_call_names_what_was_meant(
    call: Callable[..., Any], arguments: tuple[Any, ...], wrong: str, right: str
) -> None:
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{wrong}'\. Did you mean '{right}'"):
        call(*arguments, **{wrong: None})


def test_the_verbs_that_wait_do_so_too(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    with blocking.serve("world", config=config) as server, blocking.connect("world", config=config) as world:
        calls: list[tuple[Callable[..., Any], tuple[Any, ...], str, str]] = [
            (world.receive, ("x",), "lateest", "latest"),
            (world.request, ("x",), "timout", "timeout"),
            (world.poll, (), "timout", "timeout"),
            (world.drain, (), "timout", "timeout"),
            (world.close, (), "timout", "timeout"),
            (server.poll, (), "timout", "timeout"),
            (server.stop, (), "timout", "timeout"),
            (server.broadcast, ("x",), "locl", "local"),
            (server.request_all, ("x",), "timout", "timeout"),
        ]
        for call, arguments, wrong, right in calls:
            with pytest.raises(TypeError, match=rf"'{wrong}'\. Did you mean '{right}'"):
                call(*arguments, **{wrong: 1})
        with blocking.serve_udp("127.0.0.1:0", config=config) as port:
            misspelt: dict[str, Any] = {"exlude": ()}
            with pytest.raises(TypeError, match=r"'exlude'\. Did you mean 'exclude'"):
                port.broadcast("x", 1, **misspelt)


OPTIONS: list[tuple[Callable[..., Any], tuple[Any, ...], str, str]] = [
    (node_ipc.connect, ("w",), "wiat", "did you mean wait="),
    (node_ipc.connect, ("w",), "timout", "did you mean timeout="),
    (node_ipc.serve, ("w",), "obsrve", "did you mean 'observe'"),
    (node_ipc.serve, ("w",), "timeout", "timeout= is for connect()"),
    (node_ipc.serve, ("w",), "wait", "wait= is for connect()"),
    (node_ipc.serve_udp, ("127.0.0.1:0",), "confg", "did you mean config="),
    (blocking.connect, ("w",), "wiat", "did you mean wait="),
    (blocking.serve, ("w",), "timeout", "timeout= is for connect()"),
    (lambda *where, **options: next(blocking.reconnect(*where, **options)), ("w",), "wait", "wait= is for connect()"),
    (workers.run, (anything, "w"), "cuont", "did you mean count="),
    (workers.run, (anything, "w"), "workers", "count= is how many workers there are"),
    (workers.run, (anything, "w"), "processes", "count= is how many workers there are"),
    (workers.run, (anything, "w"), "lop", "did you mean loop="),
    (scale.emitter, ("nats://h",), "timout", "did you mean timeout="),
    (testing.pair, (), "sevrer", "did you mean server="),
    (testing.pair, (), "clint", "did you mean client="),
    (testing.connect, (testing.MemoryDriver(),), "confg", "did you mean config="),
    (Config, (), "retyr", "did you mean 'retry'"),
]


@pytest.mark.parametrize(("call", "arguments", "wrong", "told"), OPTIONS)
def test_what_takes_options_names_its_own_parameters_too(
    call: Callable[..., Any], arguments: tuple[Any, ...], wrong: str, told: str
) -> None:
    with pytest.raises(UnknownOption) as refused:
        call(*arguments, **{wrong: True})
    assert told in str(refused.value)


async def test_so_does_receive_of_asyncio(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    async with node_ipc.serve("world", config=config), node_ipc.connect("world", config=config) as world:
        misspelt: dict[str, Any] = {"timout": 1}
        with pytest.raises(TypeError, match=r"receive\(\) got .* 'timout'\. Did you mean 'timeout'"):
            await world.receive("x", **misspelt)


def test_an_error_from_inside_stays_as_it_is() -> None:
    def inner(*, timeout: int) -> None: ...

    @suggests
    def outer(*, timeout: int) -> None:
        wrong: dict[str, Any] = {"timout": timeout}
        inner(**wrong)

    with pytest.raises(TypeError) as raised:
        outer(timeout=1)
    assert "outer" not in str(raised.value)


def test_what_is_like_nothing_is_told_what_there_is() -> None:
    wrong: dict[str, Any] = {"zzz": 1}
    with pytest.raises(TypeError, match="unexpected keyword argument 'zzz'; it takes type, data, exclude, local, keep"):
        MADE.server.broadcast("x", **wrong)


SEVERAL = ", and several params as one list or object"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there the calls are not wrapped")
def test_an_option_by_position_is_told_that_it_goes_by_name() -> None:
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
        (MADE.client.request, ("x", {}, 5), f"timeout=5{SEVERAL}"),
        (MADE.socket.request, ("x", {}, 0.5), f"timeout=0.5{SEVERAL}"),
        (MADE.server.request, (MADE.socket, "x", {}, 5), f"timeout=5{SEVERAL}"),
        (MADE.client.request, ("x", {}, dict), f"=…{SEVERAL}"),
        (MADE.client.on, ("x", anything, dict), "type=…"),
        (MADE.server.handle, ("x", anything, dict), "type=…"),
        (node_ipc.run, (None, "asyncio"), "loop=…"),
        (node_ipc.connect, ("w", 5), "timeout=5"),
        (blocking.connect, ("w", 5), "timeout=5"),
        (node_ipc.serve, ("w", Config()), "config=…"),
        (blocking.serve, ("w", Config()), "config=…"),
    ]
    for call, arguments, told in calls:
        with pytest.raises(TypeError, match=rf"but \d were given; its options are given by name, as .*{told}$"):
            call(*arguments)
    with pytest.raises(
        TypeError, match=rf"but 4 positional .* were given; its options are given by name, as timeout=5{SEVERAL}$"
    ):
        MADE.client.request("x", {}, 5, type=int)


@pytest.mark.parametrize(
    "call", [node_ipc.connect, node_ipc.serve, blocking.connect, blocking.serve, node_ipc.serve_udp]
)
def test_a_handler_and_a_port_behind_the_address_are_told_as_such(call: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"given; a host and a port are one address, '(tcp://)?localhost:8000'$"):
        call("localhost", 8000)
    for arguments in (("world", anything), (anything, "localhost", 8765)):
        with pytest.raises(
            TypeError, match=r"given; handlers are registered on what it gives, by on\(event, handler\)$"
        ):
            call(*arguments)


NO_FIVE = r"receive\(\) takes no 5 by position; its options are given by name, as timeout=5$"


async def test_so_is_who_gives_a_time_limit_to_receive(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    wrong: Any = (5,)
    async with node_ipc.serve("world", config=config), node_ipc.connect("world", config=config) as world:
        with pytest.raises(TypeError, match=NO_FIVE):
            await world.receive("x", *wrong)


def test_so_is_who_gives_one_to_receive_on_the_blocking_front(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    wrong: Any = (5,)
    with blocking.serve("world", config=config), blocking.connect("world", config=config) as client:
        with pytest.raises(TypeError, match=NO_FIVE):
            client.receive("x", *wrong)
        with pytest.raises(TypeError, match=r"receive\(\) takes no <class 'int'> by position; .*, as type=…"):
            client.receive("x", int, *wrong)  # type: ignore[call-overload]


def test_so_is_who_gives_the_sockets_that_a_broadcast_leaves_out(tmp_path: Path) -> None:
    wrong: Any = ([MADE.socket],)
    with pytest.raises(TypeError, match=r"broadcast\(\) takes no .* by position; .*, as exclude=…"):
        MADE.server.broadcast("x", 1, *wrong)
    with (
        blocking.serve_udp("127.0.0.1:0", silent=True) as port,
        pytest.raises(TypeError, match=r"broadcast\(\) takes no .* by position; .*, as exclude=…"),
    ):
        port.broadcast("x", 1, *wrong)


@pytest.mark.parametrize("verb", ["on", "once", "off", "receive", "handle", "broadcast", "to", "drain", "send"])
def test_a_socket_says_where_the_verbs_of_servers_are(verb: str) -> None:
    with pytest.raises(AttributeError, match=f"'Socket' object has no attribute '{verb}': use .+"):
        getattr(MADE.socket, verb)
    assert verb not in dir(MADE.socket) and not hasattr(MADE.socket, verb)


def test_so_does_a_socket_of_the_blocking_front(tmp_path: Path) -> None:
    told: list[Any] = []
    with (
        blocking.serve(f"{tmp_path}/s", silent=True) as server,
        blocking.connect(f"{tmp_path}/s", silent=True) as client,
    ):
        server.on("connect", told.append)
        client.emit("x")
        server.poll(5)
        with pytest.raises(AttributeError, match=r"'receive': use server\.on"):
            told[0].receive("x")


def test_what_takes_no_options_says_nothing_of_them() -> None:
    @suggests
    def plain(one: int) -> None: ...

    wrong: Any = (1, 2)
    with pytest.raises(TypeError, match=r"takes 1 positional argument but 2 were given$"):
        plain(*wrong)

    @suggests
    def calls(*, timeout: int) -> None:
        plain(*wrong)

    with pytest.raises(TypeError, match=r"takes 1 positional argument but 2 were given$"):
        calls(timeout=1)


@pytest.mark.parametrize(
    ("wrong", "known", "near"),
    [
        ("mesage", ["message", "massive"], "message"),
        ("Message", ["message"], "message"),
        ("job_done", ["jobDone"], "jobDone"),
        ("app:ready", ["app.ready"], "app.ready"),
        ("sensor2", ["sensor1"], None),
        ("sensr2", ["sensor1", "sensor2"], "sensor2"),
        ("get", ["set", "put"], None),
        ("jion", ["join", "joint"], "join"),
        ("teh.end", ["the-end"], "the-end"),
        ("og", ["go", "get"], "go"),
        ("abcd", ["ab", "dcba"], None),
        ("sensor12", ["sensor21"], None),
        ("order", ["news", "frame"], None),
        ("", ["message"], None),
        ("...", ["message", "---"], "---"),
    ],
)
def test_names_that_are_hardly_others(wrong: str, known: list[str], near: str | None) -> None:
    assert lookalike(wrong, known) == near


@pytest.mark.parametrize(
    ("one", "other", "is_mistake"),
    [
        *(("mesage", "message", True), ("messag", "message", True), ("mesages", "message", True)),
        *(("job_started", "jobStarted", True), ("usr.join", "user.join", True), ("userjion", "user-join", True)),
        *(
            ("orderr", "order", True),
            ("ordr", "order", True),
            ("recieved", "received", True),
            ("Status", "status", True),
        ),
        *(("updatd", "updated", True), ("startng", "starting", True)),
        *(("start", "started", False), ("job.starting", "job.started", False), ("jobstart", "jobStarted", False)),
        *(("stop", "stopped", False), ("updating", "update", False), ("retry", "retried", False)),
        *(("new", "news", False), ("connection", "connect", False), ("restart", "start", False)),
        *(("user.connected", "user.disconnected", False), ("temperature.min", "temperature.max", False)),
        *(("cursorX", "cursorY", False), ("job.start", "job.start.all", False)),
    ],
)
def test_two_names_that_may_both_be_meant(one: str, other: str, is_mistake: bool) -> None:
    assert misspelling(one, [other]) == (other if is_mistake else None)
    assert misspelling(other, [one]) == (one if is_mistake else None)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        *(("disconect", "disconnect"), ("conect", "connect"), ("eror", "error"), ("erorr", "error")),
        *(("connnect", "connect"), ("connecr", "connect"), ("cnonect", "connect")),
        ("Error", "error"),
        ("socket-disconnectd", "socket.disconnected"),
        *(("errors", None), ("connected", None), ("reconnect", None), ("mirror", None), ("", None), ("e", None)),
    ],
)
def test_one_slip_of_the_fingers(wrong: str, meant: str | None) -> None:
    assert slipped(wrong, ("connect", "disconnect", "error", "socket.disconnected")) == meant


def test_emit_is_told_what_latest_is_called_there() -> None:
    latest: dict[str, Any] = {"latest": True}
    with pytest.raises(TypeError, match=r"broadcast\(\) got an unexpected keyword argument 'latest'. .*keep=.latest"):
        MADE.server.broadcast("x", 1, **latest)


def test_the_module_says_where_the_names_are_that_are_not_its_own() -> None:
    for name in ("workers", "connect_to", "serve_net", "reconnect", "on", "emit"):
        with pytest.raises(AttributeError, match=f"module 'node_ipc' has no attribute '{name}': use .*{name}"):
            getattr(node_ipc, name)
        assert not hasattr(node_ipc, name) and name not in dir(node_ipc)
    with pytest.raises(AttributeError, match=r"module 'node_ipc' has no attribute 'nothing'$"):
        node_ipc.nothing  # type: ignore[attr-defined]  # noqa: B018
