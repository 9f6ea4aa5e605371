"""What is said to somebody who has not read the documentation, on each front."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import re
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from fronts import FRONTS, front_of
from node_ipc import (
    AddressError,
    Client,
    Config,
    ConfigError,
    InvalidPayload,
    RemoteError,
    RequestTimeout,
    Server,
    blocking,
    testing,
)
from node_ipc.config import config as config_module
from node_ipc.config.address import Unix
from node_ipc.config.advice import advice
from node_ipc.core import outcome
from node_ipc.core.outcome import seconds
from node_ipc.scale import workers


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with front_of(request.param, Config(socket_root=f"{tmp_path}/", retry=20, silent=True)) as front:
        yield front


@pytest.fixture(params=[kind for kind in FRONTS if kind.waits], ids=lambda kind: kind.name)
def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with front_of(request.param, Config(socket_root=f"{tmp_path}/", retry=20, silent=True)) as front:
        yield front


# ---- a socket's number


def test_a_sockets_id_is_not_overwritten_by_what_the_other_side_calls_itself(front: Any) -> None:
    """As programs for node-ipc do it. The server would not find the socket under that when it goes."""
    server = front.serve()
    errors: list[str] = []

    def named(data: Any, socket: Any) -> None:
        socket.id = data["id"]

    server.on("app", named)
    server.on("error", lambda error, socket: errors.append(str(error)))
    client = front.connect()
    client.emit("app", {"id": "me"})
    client.until(lambda: errors)
    assert "claimed_id" in errors[0]
    client.close()
    client.until(lambda: not server.server.sockets)


def test_what_a_program_calls_a_socket_comes_when_it_has_gone(front: Any) -> None:
    server = front.serve()
    gone: list[object] = []
    server.on("app", lambda data, socket: setattr(socket, "claimed_id", data["id"]))
    server.on("socket.disconnected", lambda socket, id: gone.append(id))
    client = front.connect()
    client.emit("app", {"id": "me"})
    client.until(lambda: [each.claimed_id for each in server.server.sockets] == ["me"])
    client.close()
    client.until(lambda: gone == ["me"])


# ---- a forgotten await


async def asked(config: Config, use: Any) -> None:
    """What ``use`` does with the outcome of a request that nobody awaited yet."""
    async with node_ipc.serve("world", config=config) as server, node_ipc.connect("world", config=config) as client:
        server.handle("sum", sum)
        outcome = client.request("sum", [1, 2])
        try:
            use(outcome)
        finally:
            assert await outcome == 3
        assert outcome.result() == 3


@pytest.mark.parametrize(
    "use",
    [
        lambda outcome: outcome + 1,
        lambda outcome: 1 + outcome,
        lambda outcome: outcome["total"],
        lambda outcome: list(outcome),
        lambda outcome: outcome > 3,
        lambda outcome: "total" in outcome,
        lambda outcome: int(outcome),
    ],
)
async def test_using_an_answer_that_was_not_awaited_names_await(use: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"the await is missing: answer = await client.request"):
        await asked(Config(socket_root=f"{tmp_path}/"), use)


async def test_the_result_of_an_answer_that_is_not_there_is_no_none(tmp_path: Path) -> None:
    with pytest.raises(asyncio.InvalidStateError, match="not there yet: the await is missing"):
        await asked(Config(socket_root=f"{tmp_path}/"), lambda outcome: outcome.result())


@pytest.mark.parametrize("hear", [print, lambda answer: answer, [].append], ids=["print", "lambda", "method"])
async def test_a_function_that_takes_a_result_is_not_called_without_one(hear: Any, tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"then\(\) calls a function without the result, .* client\.on\('connect', ask\)"
    ):
        await asked(Config(socket_root=f"{tmp_path}/"), lambda outcome: outcome.then(hear))


async def test_what_futures_and_promises_have_leads_to_async_handlers(tmp_path: Path) -> None:
    for verb in ("add_done_callback", "catch"):
        with pytest.raises(AttributeError, match=r"the await is missing: .* client\.on\('connect', ask\)"):
            await asked(Config(socket_root=f"{tmp_path}/"), lambda outcome, verb=verb: getattr(outcome, verb))


async def test_an_answer_awaited_in_a_handler_of_connect_is_there(tmp_path: Path) -> None:
    config, answers = Config(socket_root=f"{tmp_path}/", silent=True), asyncio.Queue[Any]()
    async with node_ipc.serve("world", config=config) as server:
        server.handle("status", lambda: "well")
        ipc = node_ipc.IPC(config)
        ipc.connect_to("world")

        async def ask() -> None:
            answers.put_nowait(await ipc.of.world.request("status"))

        ipc.of.world.on("connect", ask)
        assert await answers.get() == "well"
        ipc.disconnect("world")


def test_values_for_a_handler_given_by_name_are_led_to_params(waiting: Any) -> None:
    waiting.serve()
    client = waiting.connect().client
    with pytest.raises(TypeError) as caught:
        client.request("slow", seconds=1)
    assert re.search("(are its|are their|their) params", f"{caught.value}{advice(caught.value)}")
    assert "are its params" not in advice(TypeError("other.request() got an unexpected keyword argument 'seconds'"))
    misspelt = "_Asking.request() got an unexpected keyword argument 'seconds'"  # as Python says it from 3.13 on
    assert "request(method, {'seconds': 5})" in advice(TypeError(misspelt))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"socket_mode": 0o666}, "'writable_all' opens it for everybody"),
        ({"workers": 4}, r"workers\.run\(setup, id, count=4\)"),
    ],
)
def test_what_is_no_option_of_a_server_says_what_there_is(options: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        blocking.serve(f"{tmp_path}/app.world", **options)


# ---- options that come too late


def test_a_name_given_between_serve_and_start_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ipc = node_ipc.IPC(Config(socket_root=f"{tmp_path}/", silent=True))
    ipc.serve()
    ipc.config.id = "late"
    assert caplog.text.count("config.id was set too late for <Server unix:") == 1
    ipc.serve(f"{tmp_path}/elsewhere")
    ipc.config.socket_root = f"{tmp_path}/other/"
    ipc.serve_net(port=8000)
    ipc.config.network_port = 8001
    assert "socket_root" not in caplog.text and "network_port" not in caplog.text, "these places were given"
    ipc.config.network_host = "127.0.0.1"
    assert caplog.text.count("config.network_host was set too late for <Server tcp:") == 1


async def test_a_name_set_once_the_server_has_started_is_that_of_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ipc = node_ipc.IPC(Config(socket_root=f"{tmp_path}/", silent=True))
    ipc.serve()
    await ipc.server.start()
    ipc.config.id = "next"
    await ipc.server.stop()
    assert "too late" not in caplog.text


async def test_an_attribute_of_an_answer_that_was_not_awaited_names_await(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="no 'total' of this: the await is missing"):
        await asked(Config(socket_root=f"{tmp_path}/"), lambda outcome: outcome.total)


async def test_what_was_not_awaited_cannot_be_emitted(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/")
    async with node_ipc.serve("world", config=config) as server, node_ipc.connect("world", config=config) as client:
        server.handle("sum", sum)
        outcome = client.request("sum", [1, 2])
        with pytest.raises(InvalidPayload, match=r"the value at \$\.total .* has to be awaited first"):
            client.emit("n", {"total": outcome})
        await outcome


# ---- handlers


def add(a: Any, b: Any) -> Any:
    return a + b


def keywords(**values: Any) -> None:
    """Takes what no event brings."""


def test_a_handler_that_takes_keywords_alone_is_refused(front: Any) -> None:
    server = front.serve()
    client = front.connect()
    for end in (server, client):
        for register in (end.on, end.handle):
            with pytest.raises(TypeError, match=r"wants arguments by keyword, .* Take the payload as one"):
                register("add", keywords)


def yields(data: Any) -> Any:
    yield data


async def yields_later(data: Any) -> Any:
    yield data


class Yields:
    def __call__(self, data: Any) -> Any:
        yield data


def test_a_handler_with_a_yield_is_refused_since_nothing_of_it_would_run(front: Any) -> None:
    server = front.serve()
    client = front.connect()
    for handler in (yields, yields_later, functools.partial(yields), Yields()):
        for end in (server, client):
            for register in (end.on, end.once):
                with pytest.raises(TypeError, match=r"has a yield, .* emit each value instead of yielding it"):
                    register("count", handler)
            with pytest.raises(TypeError, match=r"has a yield, .* a request has one answer: return a list"):
                end.handle("count", handler)
    with pytest.raises(TypeError, match="the handler yields of 'connect' has a yield"):
        server.on("connect", yields)


def test_a_socket_taken_for_a_value_is_told_as_what_a_handler_gets(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    server.server.events.off("error") if front.name == "callbacks" else None
    server.handle("add", add)
    server.on("add", add)
    client = front.connect()
    for params in ({"a": 1, "b": 2}, [1, 2], "text", 1):
        caplog.clear()
        with pytest.raises(RemoteError):
            client.request("add", params)
        assert "A handler of requests gets (params), (params, socket) or (params, socket, request)" in caplog.text
        assert "several are taken inside, as by a, b = params" in caplog.text
    caplog.clear()
    client.emit("add", [1, 2])
    client.until(lambda: "handler" in caplog.text)
    assert "A handler gets (data) or (data, socket): data is one value" in caplog.text


def returns_both(a: Any, b: Any) -> Any:
    return [a, b]


def test_a_socket_in_an_answer_is_told_as_what_a_handler_gets(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve()
    server.server.events.off("error") if front.name == "callbacks" else None
    server.handle("both", returns_both)
    with pytest.raises(RemoteError):
        front.connect().request("both", 1)
    assert "A handler of requests gets (params), (params, socket) or (params, socket, request)" in caplog.text


def reads_a_member(data: Any) -> Any:
    return data.message


def test_a_member_of_an_object_that_is_read_as_an_attribute_is_told(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    server.server.events.off("error") if front.name == "callbacks" else None
    client = front.connect()
    client.client.events.off("error") if front.name == "callbacks" else None
    for end, emit in ((server, client.emit), (client, server.broadcast)):
        caplog.clear()
        end.on("said", reads_a_member)
        emit("said", {"message": "hello"})
        client.until(lambda: "a handler of 'said' failed" in caplog.text)
        assert "An object of JSON is a dict, …['message']" in caplog.text


def test_a_handler_of_the_link_is_not_told_what_those_of_events_get() -> None:
    _, server, _, driver = testing.pair()
    errors: list[Exception] = []
    server.on("error", lambda error, socket: errors.append(error))
    server.on("connect", lambda socket: socket + 1)
    driver.advance(1)
    testing.connect(driver, server.address)
    driver.run_until_idle()
    (error,) = errors
    assert str(error).startswith("a handler of 'connect' failed") and "gets" not in str(error)


def unsendable(params: Any) -> Any:
    return {"total": {"of": object()}}


def test_an_answer_that_cannot_be_sent_is_told_in_a_few_lines(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve()
    server.server.events.off("error") if front.name == "callbacks" else None
    server.handle("report", unsendable)
    with pytest.raises(RemoteError):
        front.connect().request("report")
    (record,) = [each for each in caplog.records if "report" in each.getMessage()]
    assert "what unsendable returned cannot be sent: the value at $.total.of (object)" in (record.exc_text or "")
    assert "Traceback" not in (record.exc_text or "")


def test_a_handler_of_the_link_that_wants_more_than_comes_is_refused(front: Any) -> None:
    server = front.serve()
    client = front.connect()
    for end, name, handler, brings in (
        (server, "connect", add, r"1: \(socket\)"),
        (server, "close", add, r"1: \(socket\)"),
        (server, "start", add, r"1: \(server\)"),
        (client, "connect", reads_a_member, r"0: \(\)"),
        (client, "destroy", reads_a_member, r"0: \(\)"),
        (client, "disconnect", add, r"1: \(loss\)"),
    ):
        for register in (end.on, end.once):
            with pytest.raises(TypeError, match=rf"{name}' requires \d arguments, and the event brings {brings}"):
                register(name, handler)
    server.on("connect", reads_a_member)
    client.on("error", add)


# ---- times


def test_what_is_no_limit_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"receive\(timeout=…\) takes seconds, and .* None is no limit"):
        seconds(-1, "receive")


@pytest.mark.parametrize("timeout", [-1.0, -5, -0.25, -1e-9, -0.0, -math.inf])
def test_what_is_left_of_a_time_that_is_over_is_0(timeout: float) -> None:
    assert seconds(timeout, "receive") == 0


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_no_verb_takes_a_time_below_0(waiting: Any, timeout: float, tmp_path: Path) -> None:
    server = waiting.serve()
    client = waiting.connect()
    with pytest.raises(ValueError, match=r"request\(timeout=…\)"):
        client.request("sum", timeout=timeout)
    with pytest.raises(ValueError, match=r"receive\(timeout=…\)"):
        client.receive("n", timeout=timeout)
    with pytest.raises(ValueError, match=r"close\(timeout=…\)"):
        client.close(timeout)
    with pytest.raises(ValueError, match=r"stop\(timeout=…\)"):
        server.stop(timeout)
    with pytest.raises(ValueError, match=r"connect\(timeout=…\)"):
        waiting.connect(timeout=timeout)


def test_a_limit_that_looks_like_milliseconds_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "_told", [])
    for usual in (999, 3600, 7200.0, 86_400, 1234, 1e9, math.inf, None):
        seconds(usual, "request")
    assert caplog.text == ""
    assert seconds(5000, "request") == 5000 and seconds(30_000, "receive") == 30_000
    (told,) = [record.getMessage() for record in caplog.records]
    assert "request(timeout=5000) waits for 83 minutes: " in told and "were milliseconds meant it is 5." in told


def test_it_is_so_whatever_waits(front: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    front.serve().handle("sum", sum)
    client = front.connect()
    monkeypatch.setattr(outcome, "_told", [])
    for _ in range(2):
        assert client.request("sum", [1, 2], timeout=10_000) == 3
    assert caplog.text.count("request(timeout=10000) waits for 167 minutes: such limits are seconds here") == 1


# ---- a function in the place of data


class Status:
    """Not for JSON."""


def test_a_function_given_as_data_says_what_gives_the_answer(waiting: Any) -> None:
    server = waiting.serve()
    client = waiting.connect()
    asked = r"at \$\.params is .*a function cannot be sent: request\(\) calls none with the answer, it gives it"
    functions: list[Any] = [print, lambda answer: None, [].append, functools.partial(print)]
    for function in functions:
        with pytest.raises(InvalidPayload, match=asked):
            client.request("status", function)
        for emit in (client.emit, server.broadcast):
            with pytest.raises(InvalidPayload, match=r"cannot be sent: on\(event, handler\) registers one"):
                emit("status", function)
    with pytest.raises(InvalidPayload, match=r"at \$\.at is <.*is it meant to be called there\?"):
        client.emit("status", {"at": math.floor})
    with pytest.raises(InvalidPayload, match=r"a class cannot be sent: type= is what an answer .* is decoded to"):
        client.request("status", Status)
    with pytest.raises(InvalidPayload, match=r"\(Status\) cannot be JSON.*enc_hook"):
        client.emit("status", Status())


def test_a_callback_behind_the_data_says_so_too(waiting: Any) -> None:
    server = waiting.serve()
    client = waiting.connect()
    said = r"no function is called with what comes back: request\(\) gives the answer"
    for arguments, options in ((("status", 1, print), {}), (("status",), {"callback": print})):
        with pytest.raises(TypeError) as caught:
            client.request(*arguments, **options)
        assert re.search(said, f"{caught.value}{advice(caught.value)}".replace("No function", "no function"))
    with pytest.raises(TypeError, match=said):
        server.call(server.server.broadcast, "status", 1, print)
    with pytest.raises(TypeError, match=said):
        if waiting.name == "asyncio":
            waiting.loop.wait(lambda: client.client.receive("status", print))
        else:
            client.client.receive("status", print)
    for python in (  # as it says it from 3.13 on
        "Asking.request() takes from 2 to 3 positional arguments but 4 were given",
        "_Asking.request() got an unexpected keyword argument 'cb'",
    ):
        assert "o function is called with what comes back" in advice(TypeError(python))


async def answers_later(data: Any) -> None:
    """A handler."""


def test_a_handler_that_was_called_is_told_to_be_given_itself(front: Any) -> None:
    server = front.serve()
    for register in (server.on, server.handle):
        with pytest.raises(TypeError, match=r"must be callable, .*: give the function itself, answers_later, without"):
            register("status", answers_later(1))


# ---- a bus


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("natz://secret@x", "The scheme 'natz' is none of these: did you mean 'nats'?"),
        ("http://x", "The scheme 'http' is none of these"),
    ],
)
def test_the_scheme_of_a_bus_that_nobody_knows_is_named(url: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config(bus=url)
    assert str(refused.value).endswith(hint)
    assert "secret" not in str(refused.value)


# ---- raw mode


def test_a_name_in_raw_mode_is_told_at_its_handler(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve(raw_buffer=True)
    client = front.connect(raw_buffer=True)
    for end in (server, client):
        caplog.clear()
        end.on("message", lambda data: None)
        end.on("message", lambda data: None)
        end.on("data", lambda data: None)
        end.on("connect", lambda: None)
        assert (
            caplog.text.count("a handler of 'message' is never called: in raw mode nothing that comes has a name") == 1
        )
        assert caplog.text.count("is never called") == 1
    server.handle("sum", lambda params: 1)
    assert "a handler of requests is never called: in raw mode" in caplog.text


# ---- a server that has gone


def test_who_waits_for_a_server_that_has_gone_is_told_once(waiting: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = waiting.serve()
    client = waiting.connect()
    server.stop()
    client.until(lambda: client.client.retries > 3)
    assert caplog.text.count("the server is away, and this client goes on trying to reach it") == 1


def test_a_handler_of_error_hears_of_a_server_that_has_gone_instead(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    client = front.connect()
    heard: list[Exception] = []
    client.on("error", heard.append)
    server.stop()
    client.until(lambda: heard)
    assert "the server is away" not in caplog.text


# ---- a server that is full


@pytest.mark.skipif(sys.platform != "linux", reason="where the kernel breaks a link that ends with something unread")
def test_a_request_that_a_full_server_never_read_was_not_carried_out(front: Any) -> None:
    front.serve(max_connections=1).handle("sum", sum)
    first = front.connect()
    assert first.request("sum", [1, 2]) == 3
    second = front.connect()
    with pytest.raises(node_ipc.ConnectionLost, match=r"be full \(its max_connections\).* It was not carried out: the"):
        second.request("sum", [1, 2])


def test_a_request_that_was_read_may_have_been_carried_out(front: Any) -> None:
    server = front.serve()
    server.on("end", lambda data, socket: socket.abort())
    server.handle("end", lambda params, socket: socket.abort())
    with pytest.raises(node_ipc.ConnectionLost, match="It may have been carried out"):
        front.connect().request("end")


# ---- what other libraries call what happens here


async def test_a_client_that_waits_for_connect_error_is_told_of_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ipc = node_ipc.IPC(Config(socket_root=f"{tmp_path}/", silent=True))
    ipc.connect_to("nobody")
    client = ipc.of.nobody
    client.on("connect_error", lambda error: None)
    while client.last_error is None:
        await asyncio.sleep(0.001)
    await client.close()
    assert caplog.text.count("what happens here is named 'error': was that meant?") == 1


# ---- a server that was stopped


def emits(server: Any) -> None:
    for _ in range(2):
        server.broadcast("x", 1)
        server.to("r").emit("x", 1)


@pytest.mark.parametrize("kind", [kind for kind in FRONTS if kind.name != "blocking"], ids=lambda kind: kind.name)
def test_emitting_with_a_stopped_server_is_told_once(
    kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with front_of(kind, Config(socket_root=f"{tmp_path}/", silent=True)) as front:
        server = front.serve()
        server.call(emits, server.server)
        assert "reaches nobody" not in caplog.text
        server.stop()
        server.call(emits, server.server)
    assert caplog.text.count("reaches nobody: the server was stopped") == 1


def test_emitting_with_a_stopped_blocking_server_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with blocking.serve("world", socket_root=f"{tmp_path}/") as server:
        emits(server)
        assert "reaches nobody" not in caplog.text
    emits(server)
    assert caplog.text.count("broadcast() reaches nobody: the server was stopped") == 1


def test_emitting_before_the_start_or_while_a_server_ends_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    _, server, _, driver = testing.pair()
    emits(Server(Unix("/memory/app.other"), driver, Config().settings()))
    server.stop()
    emits(server)
    assert "reaches nobody" not in caplog.text
    driver.run_until(server.closed)
    emits(server)
    assert "reaches nobody" in caplog.text


def test_broadcasting_with_a_stopped_udp_port_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with blocking.serve_udp("127.0.0.1:0") as port:
        port.broadcast("x", 1)
        assert "reaches nobody" not in caplog.text
    port.broadcast("x", 1)
    port.broadcast("x", 1)
    assert caplog.text.count("broadcast() reaches nobody: the server was stopped") == 1


@pytest.mark.parametrize(
    "serve", [lambda path: blocking.serve(f"{path}/s"), lambda _: blocking.serve_udp("127.0.0.1:0")]
)
def test_a_stopped_blocking_server_serves_nobody(serve: Any, tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        pass
    for use in (server.serve_forever, server.__enter__):
        with pytest.raises(node_ipc.NotConnected, match="the server was stopped"):
            use()
    assert server.poll(None) is False


@pytest.mark.parametrize(
    "serve", [lambda path: blocking.serve(f"{path}/s"), lambda _: blocking.serve_udp("127.0.0.1:0")]
)
def test_a_blocking_server_that_a_signal_stops_before_it_serves_ends_in_order(serve: Any, tmp_path: Path) -> None:
    server = serve(tmp_path)
    server.stop()  # as a handler of signals does, before the next line and behind it
    with server:
        server.serve_forever()
    with pytest.raises(node_ipc.NotConnected, match="the server was stopped"):
        server.serve_forever()


async def test_a_server_that_a_signal_stops_before_it_serves_ends_in_order(tmp_path: Path) -> None:
    for opening in (node_ipc.serve(f"{tmp_path}/s"), node_ipc.serve_udp("127.0.0.1:0")):
        server = await opening
        await server.stop()
        async with server:
            await server.serve_forever()
            with pytest.raises(node_ipc.NotConnected, match="the server was stopped"):
                await server.serve_forever()
        await server.start()
        await server.stop()
        await server.serve_forever()


async def test_a_task_that_comes_to_serve_when_another_has_served_ends_in_order(tmp_path: Path) -> None:
    for opening in (node_ipc.serve(f"{tmp_path}/s"), node_ipc.serve_udp("127.0.0.1:0")):
        server = await opening
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        await server.stop()
        await forever
        late = asyncio.ensure_future(server.serve_forever())
        await asyncio.wait([late])
        assert late.exception() is None
        async with server:
            await server.serve_forever()


async def test_a_server_that_was_started_anew_when_its_end_was_heard_is_not_over(tmp_path: Path) -> None:
    async with node_ipc.serve(f"{tmp_path}/s") as server:

        async def serves_twice() -> None:
            await server.serve_forever()
            await server.started
            await server.stop()
            await server.serve_forever()

        twice = asyncio.ensure_future(serves_twice())
        await asyncio.sleep(0)
        server.closed.then(server.start)
        await server.stop()
        await asyncio.wait([twice])
        assert twice.exception() is None


def test_a_coroutine_that_nobody_awaits_any_more_leaves_its_block(tmp_path: Path) -> None:
    async def opened() -> node_ipc.AsyncServer:
        return await node_ipc.serve(f"{tmp_path}/s")

    async def left() -> None:
        async with server:
            await asyncio.Event().wait()

    with asyncio.Runner() as runner:
        server = runner.run(opened())
        coroutine = left()
        runner.get_loop().call_soon(coroutine.send, None)
        runner.run(asyncio.sleep(0))
        with contextlib.suppress(RuntimeError):  # it cannot wait for the end
            coroutine.close()
        assert server.state == "closing"


async def test_a_stopped_server_serves_nobody(tmp_path: Path) -> None:
    for opening in (node_ipc.serve(f"{tmp_path}/s"), node_ipc.serve_udp("127.0.0.1:0")):
        async with opening as server:
            forever = asyncio.ensure_future(server.serve_forever())
            await asyncio.sleep(0)
            await server.stop()
            await forever
        for use in (server.serve_forever, server.__aenter__):
            with pytest.raises(node_ipc.NotConnected, match="the server was stopped"):
                await use()


async def test_a_served_server_is_over_for_its_block_whatever_tasks_served_it(tmp_path: Path) -> None:
    for opening in (node_ipc.serve(f"{tmp_path}/s"), node_ipc.serve_udp("127.0.0.1:0")):
        async with opening as server:
            served = asyncio.ensure_future(server.serve_forever())
            await asyncio.sleep(0)
        await served
        for use in (server.serve_forever, server.__aenter__):
            with pytest.raises(node_ipc.NotConnected, match="the server was stopped"):
                await use()


async def test_a_block_with_a_closed_client_does_not_begin(tmp_path: Path) -> None:
    async with node_ipc.serve(f"{tmp_path}/s"):
        client = await node_ipc.connect(f"{tmp_path}/s")
        await client.close()  # as a signal may have it, just before the block
        async with client:
            assert [message async for message in client] == []
        with pytest.raises(node_ipc.NotConnected, match=r"make another: the client .* is closed"):
            await client.__aenter__()
        await client.connect()
        async with client:
            assert client.connected


def test_a_block_with_a_closed_blocking_client_does_not_begin(front: Any) -> None:
    front.serve()
    client = blocking.connect("world", config=front.config)
    client.close()  # as a signal may have it, just before the block
    with client:
        assert list(client) == []
    with pytest.raises(node_ipc.NotConnected, match=r"make another: the client 'world' is closed"), client:
        raise AssertionError("the block has begun")


# ---- verbs and arguments that are somewhere else


def test_latest_is_true_or_false(waiting: Any) -> None:
    waiting.serve()
    client = waiting.connect()
    with pytest.raises(TypeError, match=r"receive\(latest=…\) takes True or False, not 'yes'"):
        client.receive("x", latest="yes", timeout=1)


def test_a_misspelt_timeout_of_serve_is_told_as_what_it_is() -> None:
    for serve in (node_ipc.serve, blocking.serve):
        with pytest.raises(ConfigError, match=r"did you mean timeout=\? It is for connect\(\)"):
            serve("world", tiemout=3)
    with pytest.raises(ConfigError, match=r"did you mean timeout=, which this call itself takes"):
        node_ipc.connect("world", tiemout=3)


def test_verbs_of_clients_and_servers_are_not_those_of_ipc(front: Any) -> None:
    with pytest.raises(AttributeError, match=r"use ipc\.server\.start\(\), after ipc\.serve\(\)"):
        node_ipc.IPC().start()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"use ipc\.connect_to\(id\)"):
        node_ipc.IPC().connect("world")  # type: ignore[attr-defined]
    server = front.serve().server
    with pytest.raises(AttributeError, match=r"use serve_forever\(\), or ipc\.run\(\)"):
        _ = server.run
    with pytest.raises(KeyError, match=r"nobody is in room 'never' here: rooms\.get\(name, \[\]\)"):
        _ = server.rooms["never"]


def test_what_connect_to_returns_says_where_the_client_is() -> None:
    ipc = node_ipc.IPC(Config(silent=True))
    with pytest.raises(AttributeError, match=r"no 'on' of this: it is one of <Client 'world' .* ipc\.of\.ID"):
        ipc.connect_to("world").on  # type: ignore[attr-defined]  # noqa: B018 - it raises


def test_misspelt_names_of_modules_and_of_ipc_are_told() -> None:
    for owner, wrong, right in (
        (node_ipc, "conect", "connect"),
        (node_ipc, "ConectError", "ConnectError"),
        (blocking, "conect", "connect"),
        (node_ipc.IPC(), "conect_to", "connect_to"),
    ):
        with pytest.raises(AttributeError, match=f"no .*{wrong!r}. Did you mean {right!r}"):
            getattr(owner, wrong)
        with pytest.raises(AttributeError, match=r"_nothing'$"):
            owner._nothing  # type: ignore[union-attr]  # noqa: B018 - it raises


def test_udp_says_what_there_is_without_connections() -> None:
    with blocking.serve_udp("127.0.0.1:0") as one, blocking.serve_udp("127.0.0.1:0") as other:
        heard: list[Any] = []
        other.on("message", lambda data, peer: heard.append(peer))
        one.emit(("127.0.0.1", other.port), "message")
        assert other.poll(20)
        (peer,) = heard
        for owner, verb, said in (
            (one, "request", "requests need a connection"),
            (one, "clients", "use sockets"),
            (peer, "request", "requests need a connection"),
            (peer, "on", "use that of the port"),
            (peer, "close", r"use forget\(\)"),
            (peer, "send", r"use emit\(type, data\)"),
        ):
            with pytest.raises(AttributeError, match=said):
                getattr(owner, verb)
            assert verb not in dir(owner) and "emit" in dir(owner)
        with pytest.raises(AddressError, match=r"emit takes first where to: .* or \(host, port\), not '127\.0\.0\.1'"):
            one.emit("127.0.0.1", other.port, "message", 1)  # type: ignore[call-overload]


def test_an_address_is_no_id() -> None:
    ipc = node_ipc.IPC(Config(silent=True))
    for connect in (ipc.connect_to, ipc.connect_to_net):
        with pytest.raises(
            AddressError, match=r"not the address 'tcp://localhost:8000': connect_to_net\(id, host, port\)"
        ):
            connect("tcp://localhost:8000")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there the calls are not wrapped")
def test_a_coroutine_is_not_for_ipc_run() -> None:
    async def main() -> None: ...

    coroutine: Any = main()
    with pytest.raises(TypeError, match=r"given; a coroutine is run by node_ipc\.run\(main\(\)\)"):
        node_ipc.IPC().run(coroutine)  # type: ignore[call-arg]
    coroutine.close()


# ---- a server that is not there yet


WAITING_PROGRAMS = {
    "asyncio": "import node_ipc; node_ipc.run(node_ipc.connect('wrold', wait=True, timeout=None, config=config))",
    "blocking": "from node_ipc import blocking; blocking.connect('wrold', wait=True, timeout=None, config=config)",
    "reconnect": "from node_ipc import blocking; next(blocking.reconnect('wrold', config=config))",
    "callbacks": "import node_ipc; ipc = node_ipc.IPC(config); ipc.connect_to('wrold'); ipc.run()",
}


@pytest.mark.parametrize("program", WAITING_PROGRAMS.values(), ids=WAITING_PROGRAMS)
def test_who_waits_for_a_server_that_never_comes_says_once_for_whom(program: str, tmp_path: Path) -> None:
    lines = (
        "import node_ipc.core.client as waiting; from node_ipc import Config\n"
        "waiting.WAITS_LONG_SECONDS = 0.05\n"
        f"config = Config(socket_root={f'{tmp_path}/'!r}, silent=True, retry=20, retry_growth=1, max_retries=20)\n"
        f"{program}"
    )
    with blocking.serve("world", socket_root=f"{tmp_path}/"):
        run = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60)
    (told,) = [line for line in run.stderr.splitlines() if line.startswith("node_ipc:")]
    assert "there is still no link to 'wrold', and this client goes on trying" in told
    assert told.endswith(f"Did you mean 'world', whose socket is '{tmp_path}/app.world'?")


def test_who_waits_is_told_after_some_seconds_and_not_where_a_handler_hears(caplog: pytest.LogCaptureFixture) -> None:
    for hears in (False, True):
        caplog.clear()
        driver = testing.MemoryDriver()
        client = Client("world", Unix("/memory/app.world"), driver, Config(silent=True).settings())
        if hears:
            client.on("error", lambda error: None)
        client.connect()
        driver.advance(4.9)
        assert "still no link" not in caplog.text
        driver.advance(0.2)
        assert ("after 5 s there is still no link" in caplog.text) is not hears
        driver.advance(3600)
        assert caplog.text.count("still no link") == (0 if hears else 1)
        client.abort()


# ---- a server that nobody lets serve


def test_a_request_that_nobody_reads_names_the_blocking_server_as_a_cause(front: Any, tmp_path: Path) -> None:
    done = threading.Event()
    served = threading.Event()

    def serve() -> None:
        with blocking.serve("world", config=front.config, close_timeout=0):
            served.set()
            done.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert served.wait(20)
        client = front.connect()
        with pytest.raises(RequestTimeout, match=r"nothing has come over the link.*serve_forever\(\) and poll\(\)"):
            client.request("sum", timeout=0.05)
        client.abort()
    finally:
        done.set()
        thread.join()


def test_a_blocking_server_that_comes_back_late_says_that_its_peers_waited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(socket_root=f"{tmp_path}/")
    with blocking.serve("world", config=config) as server:
        driver = server._thread
        ahead = 0.0
        clock = driver.now
        driver.now = lambda: clock() + ahead
        server.poll(0)
        ahead += 60
        while server.poll(0):
            """Nobody waited."""
        assert "peers waited" not in caplog.text
        with blocking.connect("world", config=config, close_timeout=0) as client:
            for number in range(3):
                client.emit("n", number)
                ahead += 60
                assert server.poll(5)
            assert caplog.text.count("nobody let this server serve for 60 s, and peers waited") == 1


# ---- a program that waits for nothing


async def waits_for_nothing(open: Any, use: Any = None) -> None:
    async with open as end:
        end.on("news", print)
        if use is not None:
            await use(end)


async def test_a_block_that_waits_for_nothing_says_what_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    await waits_for_nothing(node_ipc.serve("world", config=config))
    assert "(of 'news') could be called: " in caplog.text and "await server.serve_forever()" in caplog.text
    caplog.clear()
    await waits_for_nothing(node_ipc.serve_udp("127.0.0.1:0"))
    assert "(of 'news') could be called: " in caplog.text
    caplog.clear()
    async with node_ipc.serve("world", config=config):
        await waits_for_nothing(node_ipc.connect("world", config=config))
    assert caplog.text.count("(of 'news') could be called: ") == 1 and "await client.closed" in caplog.text


async def test_nobody_is_told_so_who_waits_or_ends_by_himself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)

    async def emits(end: Any) -> None:
        end.emit("news", 1)
        await asyncio.sleep(0)

    async def waits(end: Any) -> None:
        await asyncio.sleep(0)

    async def closes(end: Any) -> None:
        end.close()

    async def raises(end: Any) -> None:
        raise LookupError

    async with node_ipc.serve("world", config=config):
        for use in (emits, waits, closes):
            await waits_for_nothing(node_ipc.connect("world", config=config), use)
        with pytest.raises(LookupError):
            await waits_for_nothing(node_ipc.connect("world", config=config), raises)
        async with node_ipc.connect("world", config=config) as client:
            client.on("error", print)
    assert "could be called" not in caplog.text


def test_a_blocking_block_says_so_too(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    front.serve()
    for serve in (blocking.serve("other", config=front.config), blocking.serve_udp("127.0.0.1:0")):
        caplog.clear()
        with serve as server:
            server.on("news", print)
        assert "(of 'news') could be called: handlers are called in serve_forever() and poll()" in caplog.text
    for end in (None, KeyboardInterrupt()):
        caplog.clear()
        with contextlib.suppress(KeyboardInterrupt), blocking.connect("world", config=front.config) as client:
            client.handle("state", print)
            if end is not None:
                raise end
        assert "(of 'state') could be called: " in caplog.text and "while client.poll(None)" in caplog.text
    caplog.clear()
    others: list[Any] = [
        lambda client: client.poll(0.001),
        lambda client: (client.poll(0), client.poll(0)),
        lambda client: (client.emit("news", 1), client.poll(0)),
        lambda client: client.close(),
        lambda client: client.off("news"),
        lambda client: sys.exit(1),
    ]
    for use in others:
        with contextlib.suppress(SystemExit), blocking.connect("world", config=front.config) as client:
            client.on("news", print)
            use(client)
    assert "could be called" not in caplog.text


def test_one_look_without_a_time_is_no_wait(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    front.serve()
    with blocking.connect("world", config=front.config) as client:
        client.on("news", print)
        while client.poll():
            pass
    assert caplog.text.count("(of 'news') could be called") == 1 and "while client.poll(None)" in caplog.text
    caplog.clear()
    with blocking.serve("other", config=front.config) as server:
        server.on("news", print)
        while server.poll():
            pass
    assert caplog.text.count("(of 'news') could be called") == 1 and "as poll(None)" in caplog.text


def test_who_emits_and_drains_is_there_to_send(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    front.serve()
    with blocking.connect("world", config=front.config) as client:
        client.on("alarm", print)
        client.emit("note", "x")
        client.drain()
    assert "could be called" not in caplog.text


async def test_an_asyncio_client_that_emits_and_drains_is_there_to_send(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)

    async def sends(end: Any) -> None:
        end.emit("note", 1)
        await end.drain()

    async with node_ipc.serve("world", config=config):
        await waits_for_nothing(node_ipc.connect("world", config=config), sends)
    assert "could be called" not in caplog.text


@pytest.mark.parametrize("ends", ["block", "close", "Ctrl-C"])
def test_who_emits_and_lets_no_handler_run_is_told_at_the_end(
    front: Any, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    with contextlib.suppress(KeyboardInterrupt), blocking.connect("world", config=front.config) as client:
        client.on("answer", print)
        client.emit("ask", 1)
        if ends == "close":
            client.close()
        if ends == "Ctrl-C":
            raise KeyboardInterrupt
    assert caplog.text.count("before any handler (of 'answer') could be called: handlers are called while a call") == 1
    caplog.clear()
    server.on("connect", lambda socket: socket.emit("answer", 1))
    heard: list[int] = []
    with blocking.connect("world", config=front.config) as client:
        client.on("answer", heard.append)
        client.emit("ask", 1)
        while not heard:
            client.poll(5)
    with contextlib.suppress(LookupError), blocking.connect("world", config=front.config) as client:
        client.on("reply", print)
        client.emit("ask", 1)
        raise LookupError
    assert "could be called" not in caplog.text


async def test_an_asyncio_program_that_emits_and_waits_for_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)

    async def emits(end: Any) -> None:
        end.emit("ask", 1)

    async with node_ipc.serve("world", config=config):
        await waits_for_nothing(node_ipc.connect("world", config=config), emits)
    assert caplog.text.count("the client was closed before any handler (of 'news') could be called") == 1


LEFT = {
    "asyncio": "async def main():\n    (await node_ipc.connect('world', config=config)).on('news', print)",
    "asyncio serve": "async def main():\n    (await node_ipc.serve('own', config=config)).on('news', print)",
    "callbacks": (
        "async def main():\n    ipc = node_ipc.IPC(config)\n    ipc.connect_to('world')\n"
        "    await ipc.of.world.connected\n    ipc.of.world.on('news', print)"
    ),
    "blocking": "client = blocking.connect('world', config=config)\nclient.on('news', print)",
    "blocking serve": "server = blocking.serve('own', config=config)\nserver.on('news', print)",
    "emits": "client = blocking.connect('world', config=config)\nclient.on('news', print)\nclient.emit('news')",
}
TASK = (
    "async def main():\n    server = await node_ipc.serve('own', config=config)\n    server.on('news', print)\n"
    "    task = asyncio.create_task(server.serve_forever())\n    await asyncio.sleep(0)\n"
)


@pytest.mark.parametrize("run", ["asyncio.run", "node_ipc.run"])
@pytest.mark.parametrize(
    ("more", "told", "code"),
    [
        ("", 1, 0),
        ("    task.cancel()\n    await asyncio.wait([task])", 0, 0),
        ("    raise ValueError", 0, 1),
        ("    sys.exit(3)", 0, 3),
        ("    signal.raise_signal(signal.SIGINT)\n    await asyncio.Event().wait()", 0, -signal.SIGINT),
    ],
)
def test_a_task_that_serves_and_ends_with_main_is_told_of(
    more: str, told: int, code: int, run: str, tmp_path: Path
) -> None:
    lines = (
        "import asyncio, node_ipc, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"config = node_ipc.Config(socket_root={f'{tmp_path}/'!r}, silent=True)\n{TASK}{more}\n{run}(main())"
    )
    ended = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stderr.count("and the task of serve_forever() with it, before any handler (of 'news')") == told


LEFT_OTHERWISE = {
    "asyncio": "async def main():\n    (await node_ipc.connect('world', config=config)).on('error', print)",
    "waits": "client = blocking.connect('world', config=config)\nclient.on('news', print)\nclient.poll(0.001)",
    "awaits": "async def main():\n    server = await node_ipc.serve('own', config=config)\n"
    "    server.on('news', print)\n    await server.stop()",
    "describes": "ipc = node_ipc.IPC(config)\nipc.serve()\nipc.server.on('news', print)",
}


@pytest.mark.parametrize(
    ("program", "told"), [*((each, 1) for each in LEFT.values()), *((each, 0) for each in LEFT_OTHERWISE.values())]
)
def test_a_program_that_ends_with_handlers_that_had_no_time_says_so(program: str, told: int, tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    run = "node_ipc.run(main(), loop='asyncio')" if "main" in program else ""
    lines = (
        "import node_ipc; from node_ipc import Config, blocking\n"
        f"config = Config(socket_root={f'{tmp_path}/'!r}, silent=True)\n{program}\n{run}"
    )
    with front_of(FRONTS[0], config) as front:
        front.serve()
        ended = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert ended.stderr.count("RuntimeWarning: the program ends, and no handler of <") == told, ended.stderr
    assert ended.stderr.count("(of 'news') was ever called: ") == told


# ---- what Python itself says


async def notes_of(use: Any, config: Config) -> list[str]:
    with pytest.raises((AttributeError, TypeError)) as raised:
        async with node_ipc.serve("world", config=config) as server, node_ipc.connect("world", config=config) as client:
            server.on("connect", lambda socket: socket.emit("said", {"message": "hello", "shape": [2]}))
            await use(client, server)
    return getattr(raised.value, "__notes__", [])


async def awaits_an_emit(client: Any, server: Any) -> None:
    await client.emit("message", "hello")


async def awaits_a_broadcast(client: Any, server: Any) -> None:
    await server.broadcast("message", "hello")


async def forgets_to_await(client: Any, server: Any) -> None:
    coroutine = client.receive("said")
    try:
        coroutine["message"]
    finally:
        coroutine.close()


async def takes_the_newest_where_it_emits(client: Any, server: Any) -> None:
    client.emit("frame", 1, latest=True)


async def reads_an_attribute(client: Any, server: Any) -> None:
    server.broadcast("said", {"message": "hello"})
    (await client.receive("said", timeout=20)).message  # noqa: B018 - it raises


async def iterates_without_async(client: Any, server: Any) -> None:
    for _ in client:
        """Nobody gets here."""


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (awaits_an_emit, "emit() is not awaited: what is emitted goes out by itself"),
        (awaits_a_broadcast, "broadcast() is not awaited"),
        (forgets_to_await, "data = await client.receive(…)"),
        (takes_the_newest_where_it_emits, 'keep="latest"'),
        (reads_an_attribute, "…['message']"),
        (iterates_without_async, "async for type, data in client"),
    ],
)
async def test_an_exception_that_leaves_a_with_block_says_what_to_do(use: Any, said: str, tmp_path: Path) -> None:
    (note,) = await notes_of(use, Config(socket_root=f"{tmp_path}/", silent=True))
    assert note.startswith("node_ipc: ") and said in note


def test_it_does_so_on_the_blocking_front(tmp_path: Path) -> None:
    for options, said in (({"latest": True}, 'keep="latest"'), ({"room": "a"}, "It takes type, data and keep")):
        with (
            pytest.raises(TypeError) as raised,
            blocking.serve(f"{tmp_path}/app.sock"),
            blocking.connect(f"{tmp_path}/app.sock", timeout=5, close_timeout=0) as client,
        ):
            client.emit("frame", 1, **options)
        (note,) = raised.value.__notes__
        assert said in note


def test_run_says_what_to_do_outside_of_with_blocks(tmp_path: Path) -> None:
    async def main() -> None:
        server: Any = await node_ipc.serve("world", socket_root=f"{tmp_path}/")
        try:
            await server.broadcast("message", "hello")
        finally:
            await server.stop()

    with pytest.raises(TypeError) as raised:
        node_ipc.run(main(), loop="asyncio")
    (note,) = raised.value.__notes__
    assert "broadcast() is not awaited" in note


def test_what_run_raises_came_from_the_program() -> None:
    async def main() -> None:
        raise LookupError("of the program")

    with pytest.raises(LookupError) as raised:
        node_ipc.run(main(), loop="asyncio")
    files = [entry.path for entry in raised.traceback]
    assert Path(str(files[-1])) == Path(__file__) and not any("asyncio" in str(file) for file in files)


def test_receive_without_a_name_is_told(waiting: Any) -> None:
    waiting.serve()
    receive = waiting.connect().client.receive
    with pytest.raises(TypeError, match=r"receive\('message'\): those of every name are got by iteration"):
        waiting.loop.wait(receive) if waiting.name == "asyncio" else receive()


async def test_iterating_over_connections_is_told() -> None:
    with pytest.raises(
        TypeError, match=r"use async with node_ipc.connect\('world'\): a client finds a lost link again"
    ):
        async for _ in node_ipc.connect("world"):  # type: ignore[attr-defined]
            """Nobody gets here."""


def test_verbs_of_other_libraries_name_ours(front: Any) -> None:
    server = front.serve().server
    client = front.connect().client
    for owner, verb, said in (
        (client, "recv", r"use receive\(event\), where a front waits, or on\(event, handler\)"),
        (server, "recv", r"use on\(event, handler\)"),
        (client, "addListener", r"use on\(event, handler\)"),
        (client, "removeListener", r"use off\(event, handler\)"),
        (server, "clients", "use sockets"),
        (client, "call", r"use request\(method, params\)"),
        (server, "call", r"use request\(method, params\) of a client or a socket"),
        (client, "write", r"use emit\(type, data\)"),
        (
            client,
            "serve_forever",
            r"poll\(\)" if front.name == "blocking" else r"use ipc\.run\(\), or await what waits",
        ),
        (client, "run", r"while client\.poll\(None\)" if front.name == "blocking" else r"use ipc\.run\(\), or await"),
    ):
        with pytest.raises(AttributeError, match=said):
            getattr(owner, verb)
        assert verb not in dir(owner)
    for owner in (client, server):
        for name, event in (("onmessage", "message"), ("on_connect", "connect"), ("onclose", "disconnect")):
            with pytest.raises(AttributeError, match=rf"use on\('{event}', handler\)"):
                setattr(owner, name, print)


# ---- options, values, and what is not there


@pytest.mark.parametrize("option", ["max_connections", "retry", "max_retries", "tls", "spin", "bus", "config"])
def test_an_option_that_is_assigned_afterwards_says_where_it_is_given(front: Any, option: str) -> None:
    server, client = front.serve().server, front.connect().client
    name = "NAME" if option == "config" else option
    for owner, verb in ((client, "connect"), (server, "serve")):
        given = rf"to {verb}\(…, {name}=…\)"
        if front.name == "callbacks":
            given = rf"before it is made, as ipc\.config\.{name} = …"
        said = rf"options are given {given}, and settings\S* says what it was made with$"
        with pytest.raises(AttributeError, match=said):
            setattr(owner, option, 1)
        with pytest.raises(AttributeError, match=said) as caught:
            getattr(owner, option)
        assert option not in dir(owner) and option not in vars(owner) and advice(caught.value) == ""


def test_no_option_is_assigned_and_no_attribute_lost(front: Any) -> None:
    server, client = front.serve().server, front.connect().client
    for owner in (client, server):
        for option in (*Config.options, "timeout", "state", "settings"):
            if option in ("observe", "log_payloads"):  # which are verbs of it
                continue
            with pytest.raises(AttributeError, match=option):
                setattr(owner, option, 5)
        assert owner.settings.retry == 20
    assert client.id.endswith("world") and callable(server.observe) and callable(client.log_payloads)


def test_a_time_limit_that_is_assigned_says_which_calls_take_it(front: Any) -> None:
    server, client = front.serve().server, front.connect().client
    for owner in (client, server):
        with pytest.raises(
            AttributeError, match=r"use timeout= of the call that waits, such as request\(…, timeout=5\)"
        ):
            owner.timeout = 5


def test_udp_says_where_options_are_given() -> None:
    with blocking.serve_udp("127.0.0.1:0") as port:
        with pytest.raises(AttributeError, match=r"given to serve_udp\(…, max_udp_peers=…\)"):
            port.max_udp_peers = 5  # type: ignore[attr-defined]
        assert not port.closed and port.started and port.state == "listening"


def test_the_decorator_of_another_library_names_ours(front: Any) -> None:
    server, client = front.serve().server, front.connect().client
    for owner, named in ((client, "client"), (server, "server")):
        with pytest.raises(AttributeError, match=rf"use @{named}\.on\('name'\)$") as caught:
            owner.event  # noqa: B018 - it raises
        assert "events" not in "".join(traceback.format_exception(caught.value)[-1:])


def test_what_says_itself_what_to_use_gets_no_other_advice(front: Any) -> None:
    server, client = front.serve().server, front.connect().client
    for owner, name in ((client, "on_message"), (client, "config"), (server, "recv"), (server, "listen")):
        with pytest.raises(AttributeError) as caught:
            getattr(owner, name)
        assert advice(caught.value) == ""
    with pytest.raises(AttributeError) as caught:
        client.multiply  # noqa: B018 - it raises
    assert "request('multiply', …)" in advice(caught.value)


def test_too_many_values_are_told_to_go_as_one(front: Any) -> None:
    """As Python's own text has it; a note behind it says more, where the exception passes this library."""
    server = front.serve()
    end = front.connect()
    several = "several values go as one list or object"
    sockets: list[Any] = []
    server.on("hello", lambda data, socket: sockets.append(socket))
    end.emit("hello", 1)
    end.until(lambda: sockets)
    for emit in (end.client.emit, sockets[0].emit, server.server.to("a").emit):
        with pytest.raises(TypeError) as caught:
            emit("job", 1, 2, 3, 4)
        assert several in advice(caught.value) and "Core" not in str(caught.value)
    with pytest.raises(TypeError) as caught:
        server.server.emit(sockets[0], "job", 1, 2, 3, 4)
    assert several in advice(caught.value) and "Core" not in str(caught.value)
    with pytest.raises(TypeError, match=several):
        server.server.broadcast("job", 1, 2, 3)
    for third, error in ((2, TypeError), ("b", ValueError)):
        with pytest.raises(error, match=several):
            end.client.emit("job", 1, third)


def test_a_note_says_that_one_event_brings_one_value(tmp_path: Path) -> None:
    with (
        pytest.raises(TypeError) as raised,
        blocking.serve(f"{tmp_path}/app.sock"),
        blocking.connect(f"{tmp_path}/app.sock", timeout=5, close_timeout=0) as client,
    ):
        client.emit("job", 1, 2, 3)  # type: ignore[call-overload]
    assert "as emit(type, [1, 2, 3])" in "".join(raised.value.__notes__)


# ---- nobody serves


ALONE = {
    "asyncio": "import node_ipc\nasync def main():\n    async with node_ipc.connect({at}): pass\nnode_ipc.run(main())",
    "waiting": "import node_ipc\nnode_ipc.run(node_ipc.connect({at}, wait=True, timeout=0.2))",
    "blocking": "from node_ipc import blocking\nblocking.connect({at})",
    "blocking, waiting": "from node_ipc import blocking\nblocking.connect({at}, wait=True, timeout=0.2)",
}


@pytest.mark.parametrize("where", ["{tmp_path}/app.world", "tcp://127.0.0.1:{port}", "tls://127.0.0.1:{port}"])
@pytest.mark.parametrize("program", ALONE.values(), ids=ALONE)
def test_who_finds_no_server_reads_one_traceback(program: str, where: str, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        at = where.format(tmp_path=tmp_path, port=taken.getsockname()[1])
        run = subprocess.run(
            [sys.executable, "-c", program.format(at=repr(at))], capture_output=True, text=True, timeout=60
        )
    assert run.stderr.count("Traceback (most recent call last)") == 1
    assert "During handling" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("node_ipc.errors.Connect")
    assert len([line for line in run.stderr.splitlines() if line.strip("~^ ")]) <= 20


def test_who_finds_no_server_reads_which_may_be_meant(waiting: Any) -> None:
    waiting.serve()
    with pytest.raises(node_ipc.ConnectError, match=r"None: for ever\)\. Did you mean 'world', whose socket is"):
        waiting.connect(at="wrold")
    with pytest.raises(node_ipc.ConnectError, match=r"None: for ever\)$"):
        waiting.connect(at="another")


LOOKED_UP = """
from node_ipc import blocking
def find(host):
    raise LookupError(host)
blocking.connect("tcp://world.example:1", interfaces={"lookup": find})
"""


def test_what_a_look_up_of_the_programs_raised_keeps_its_place() -> None:
    run = subprocess.run([sys.executable, "-c", LOOKED_UP], capture_output=True, text=True, timeout=60)
    assert "in find" in run.stderr and "LookupError" in run.stderr


def test_seconds_in_the_place_of_milliseconds_are_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_module, "_told_of", set())
    for _ in range(2):
        Config(heartbeat=5, message_timeout=30, close_timeout=2, heartbeat_timeout=10, slow_timeout=math.inf).settings()
    Config(heartbeat=False, close_timeout=0, message_timeout=0, connect_timeout=None, udp_peer_ttl=31).settings()
    told = [record.getMessage().partition(" is ")[0] for record in caplog.records]
    assert sorted(told) == ["close_timeout=2", "heartbeat=5", "heartbeat_timeout=10", "message_timeout=30"]
    assert "heartbeat=5 is 5 ms, since options are milliseconds: for 5 s write heartbeat=5000" in caplog.text


def test_the_memory_driver_s_clock_does_not_go_back() -> None:
    client, _, _, driver = pair = testing.pair()
    for back in (-5, math.nan):
        with pytest.raises(ValueError, match="no clock goes back"):
            driver.advance(back)
    assert driver.now() == 0
    client.close()
    driver.run_until_idle()
    with pytest.raises(IndexError, match="there is no link now"):
        _ = pair.connection
    driver.call_later(1000, lambda: None)
    with pytest.raises(testing.NothingHappens, match="and the next thing is due at 1000 s"):
        driver.run_until(lambda: False)


def test_workers_take_the_setup_itself() -> None:
    returned: Any = None
    with pytest.raises(TypeError, match=r"and not what it returns, run\(setup\(server\), …\)"):
        workers.run(returned, "world")


def test_workers_take_the_setup_first() -> None:
    with pytest.raises(TypeError, match=r"run\(\) takes setup before the address: run\(setup, 'world', …\)"):
        workers.run("world", print)  # type: ignore[arg-type]


@pytest.mark.parametrize("id", ["127.0.0.1", "localhost"])
def test_a_host_alone_is_told_to_be_an_id(
    waiting: Any, id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(node_ipc.ConnectError, match=rf"'{id}' is taken for the id of a local server; .* tcp://{id}:po"):
        waiting.connect(at=id)
    assert caplog.text == ""
    waiting.serve(at=id)
    assert caplog.text.count(f"'{id}') serves a local socket of that id; over the network it is 'tcp://{id}:port'") == 1


def test_an_encoding_that_changes_nothing_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_module, "_told_of", set())
    Config(encoding="latin1", raw_buffer=True).settings()
    Config(encoding="UTF-8").settings()
    assert caplog.text == ""
    for _ in range(2):
        Config(encoding="latin1").settings()
    assert caplog.text.count("encoding='latin1' changes nothing: it is how text becomes bytes in raw mode") == 1


def test_what_is_imported_from_the_wrong_module_says_from_where() -> None:
    with pytest.raises(
        ImportError, match=r"cannot import name 'workers' from 'node_ipc': use node_ipc\.scale\.workers"
    ):
        from node_ipc import workers  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'node_ipc'"):
        from node_ipc import nothing  # type: ignore[attr-defined]  # noqa: F401
    assert not hasattr(node_ipc, "workers")
    from node_ipc import config

    assert config.__name__ == "node_ipc.config"


@pytest.mark.parametrize("url", ["redis://", "nats://:4222", "redis:///0"])
def test_a_bus_without_a_host_is_told_as_that(url: str) -> None:
    scheme = url.partition(":")[0]
    with pytest.raises(ConfigError, match=f"There is no host behind {scheme}://: write {scheme}://host:port"):
        Config(bus=url)


def test_a_socket_s_close_is_not_awaited() -> None:
    client, server, _, driver = testing.pair()
    failed: list[Exception] = []
    server.on("error", failed.append)

    async def bye(data: object, socket: Any) -> None:
        await socket.close()

    async def main() -> None:
        server.on("bye", bye)
        client.emit("bye", 1)
        await client.closed

    client.on("disconnect", lambda: client.close())
    driver.run(main())
    assert "close() of a socket does not wait, and is not awaited" in str(failed[0])
