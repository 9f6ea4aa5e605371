"""What is said where something goes wrong between two ends and neither of them would notice: once, and then counted."""

from __future__ import annotations

import asyncio
import base64
import functools
import logging
import pickle
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest

import node_ipc
from fronts import FRONTS, front_of
from node_ipc import (
    Config,
    ConnectionLost,
    NotConnected,
    ReceiveTimeout,
    RemoteError,
    RequestTimeout,
    blocking,
    testing,
)
from node_ipc.core import inbox
from node_ipc.core.mistakes import STRANGERS

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="where the kernel tells what a peer has read")


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with front_of(request.param, Config(socket_root=f"{tmp_path}/", retry=20, silent=True)) as front:
        yield front


@pytest.fixture(params=[kind for kind in FRONTS if kind.waits], ids=lambda kind: kind.name)
def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with front_of(request.param, Config(socket_root=f"{tmp_path}/", retry=20, silent=True)) as front:
        yield front


# ---- events that nobody hears


def test_an_event_that_no_server_hears_is_told_once_with_those_that_it_hears(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    client = front.connect()
    server.on("join", lambda data: None)
    server.on("ready", lambda data: None)
    server.once("hello", lambda data: None)
    server.handle("add", sum)
    for name in ("jion", "jion", "order", "order", "hello", "hello", "ad"):
        client.emit(name, 1)
    client.until(lambda: server.server.stats().unheard == 6 and "requests of 'add'" in caplog.text)
    assert caplog.text.count("events named 'jion' come, and no handler hears them; there is one for 'join'") == 1
    assert caplog.text.count("there is one for requests of 'add': is one of the two misspelt?") == 1
    told = "events named 'order' come, and no handler hears them; there are some for 'join', 'ready'"
    assert caplog.text.count(told) == 1
    assert "'hello' come" not in caplog.text, "somebody heard it once"


def test_a_server_without_any_handler_tells_of_the_first_event(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve()
    client = front.connect()
    for name in ("order", "order", "other"):
        client.emit(name, 1)
    client.until(lambda: server.server.stats().unheard == 3)
    assert caplog.text.count("events named 'order' come, and no handler hears them; there are none at all") == 1
    assert "'other'" not in caplog.text, "one shows it"


def test_a_client_that_can_receive_tells_of_a_misspelt_handler_unless_its_event_is_received(
    waiting: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "RECEIVED_SECONDS", 0.01)
    server = waiting.serve()
    client = waiting.connect()
    client.on("nwes", print)
    client.on("oder", print)
    client.until(lambda: server.count)
    server.broadcast("order", 1)
    assert client.receive("order", timeout=20) == 1
    server.broadcast("order", 1)
    server.broadcast("news", 1)
    client.until(lambda: "no handler hears" in caplog.text)
    assert caplog.text.count("events named 'news' come, and no handler hears them; there is one for 'nwes'") == 1
    assert "'order' come" not in caplog.text


def test_a_client_that_lives_for_a_moment_tells_of_a_misspelt_handler_at_its_end(
    waiting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = waiting.serve()
    client = waiting.connect()
    client.on("mesage", print)
    client.until(lambda: server.count)
    server.broadcast("message", 1)
    client.until(lambda: client.client.inbox.has("message"))
    assert "no handler hears" not in caplog.text
    client.close()
    assert caplog.text.count("events named 'message' come, and no handler hears them; there is one for 'mesage'") == 1


@pytest.mark.parametrize(
    ("handled", "comes"),
    [("job.started", "job.start"), ("connected", "disconnected"), ("cursor.x", "cursor.y"), ("jobStart", "jobstarted")],
)
def test_two_words_of_which_both_may_be_meant_are_no_misspelling(
    handled: str, comes: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, server, _, driver = testing.pair()
    client.on(handled, lambda data: None)
    server.broadcast(comes, 1)
    driver.run_until_idle()
    assert client.stats().unheard == 1 and "misspelt" not in caplog.text
    server.on(handled, lambda data: None)
    client.emit(comes, 1)
    driver.run_until_idle()
    assert f"events named {comes!r} come, and no handler hears them; there are some for {handled!r}" in caplog.text


def test_a_handler_that_comes_after_its_event_is_told_where_that_is(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    client = front.connect()
    client.until(lambda: server.count)
    server.broadcast("news", 1)
    waits = hasattr(client.client, "inbox")
    client.until(lambda: client.client.inbox.has("news") if waits else client.stats().unheard)
    for _ in range(2):
        client.on("news", print)
    client.off("news", print)
    client.on("news", print)
    client.close()
    where = "it waits in the inbox for receive('news')" if waits else "that is gone"
    assert (
        caplog.text.count(f"'news' came before this handler of it was registered, which does not hear it: {where}") == 1
    )


def test_a_handler_that_comes_in_the_middle_of_a_stream_is_in_order(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What it hears from then on shows that it was meant to come then."""
    server = front.serve()
    client = front.connect()
    client.until(lambda: server.count)
    waits = hasattr(client.client, "inbox")
    heard: list[int] = []
    for name in ("tick", "frame"):
        server.broadcast(name, 1)
        client.until(lambda name=name: client.client.inbox.has(name) if waits else client.stats().unheard)
        client.on(name, heard.append, **({"type": int} if name == "frame" else {}))
        server.broadcast(name, 2)
        server.broadcast(name, 3)
    client.until(lambda: len(heard) == 4)
    client.close()
    assert heard == [2, 3, 2, 3] and "came before" not in caplog.text


def test_a_handler_that_hears_nothing_more_is_told_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()
    server.broadcast("news", 1)
    driver.run_until_idle()
    client.on("news", lambda data: None)
    driver.advance(1.9)
    assert "came before" not in caplog.text
    driver.advance(0.2)
    assert caplog.text.count("'news' came before this handler of it was registered") == 1


# ---- handlers for each link


@pytest.mark.parametrize("told", [True, False])
def test_handlers_that_are_registered_anew_for_each_link_are_told_once(
    front: Any, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    client = front.connect()
    heard: list[int] = []

    def connected() -> None:
        if not told:
            client.client.off("news")
        client.client.on("news", lambda data: heard.append(data))
        client.client.once("first", lambda data: None)

    client.on("connect", connected)
    for links in (1, 2, 3):
        client.until(lambda links=links: server.count == 1 and len(client.client.events.handlers("first")) == links)
        server.call(lambda: [each.abort() for each in server.server.sockets])
        client.until(lambda: not server.count)
    said = "the same handler of 'news' is registered again, now that there is another link, and the earlier one stays"
    assert caplog.text.count(said) == told


def test_a_server_that_registers_for_each_client_is_told_unless_each_has_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for own in (True, False):
        driver = testing.MemoryDriver()
        server = testing.serve(driver)

        def connected(socket: Any, own: bool = own, server: Any = server) -> None:
            server.on("news", (lambda data: socket.emit("said", data)) if own else (lambda data: print(data)))

        server.on("connect", connected)
        testing.connect(driver)
        testing.connect(driver)
        driver.run_until_idle()
        assert caplog.text.count("the same handler of 'news' is registered again") == (not own)


def test_what_was_broadcast_right_before_the_first_client_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Not where a server emits all the time, or goes on, nor of what was long ago."""
    for emits, seconds, goes_on, tells in (
        (1, 0.0, False, True),
        (100, 0.0, False, False),
        (1, 60.0, False, False),
        (1, 0.03, True, False),
    ):
        for room in ("", "lobby"):
            caplog.clear()
            driver = testing.MemoryDriver()
            server = testing.serve(driver)
            for _ in range(emits):
                server.to(room).emit("news", 1) if room else server.broadcast("news", 1)
            driver.advance(seconds)
            testing.connect(driver)
            testing.connect(driver)
            if goes_on:
                server.broadcast("news", 2)
            driver.advance(0.3)
            call = f"to('{room}').emit()" if room else "broadcast('news')"
            assert (f"{call} reached nobody: the first client is here since now only" in caplog.text) == tells
            assert caplog.text.count("the first client") == tells


def test_a_room_in_which_nobody_is_and_that_is_like_another_is_told(caplog: pytest.LogCaptureFixture) -> None:
    _, server, socket, _ = testing.pair()
    socket.join("lobby", "user.1")
    for room in ("loby", "loby", "user.2", "kitchen", "lobby"):
        server.to(room).emit("news", 1)
    server.to(*map(str, range(100))).emit("news", 1)
    assert (
        caplog.text.count("to('loby').emit() reached nobody: no socket is in that room, and some are in 'lobby'") == 1
    )
    assert caplog.text.count("reached nobody") == 1


def test_a_time_out_says_that_a_loop_takes_what_comes(waiting: Any) -> None:
    waiting.serve()
    client = waiting.connect()
    stop = client.call(client.client.inbox.iterate)
    with pytest.raises(ReceiveTimeout, match="a loop over this client, as async for, takes each event"):
        client.receive("news", timeout=0.01)
    client.call(stop)
    with pytest.raises(TypeError, match=r"receive\('\*'\) takes the name of an event"):
        client.receive("*")


def test_what_has_a_link_does_not_go_to_another_process() -> None:
    client, server, peer, _ = testing.pair()
    for each in (client, server, peer):
        with pytest.raises(TypeError, match="cannot be copied, pickled or given to another process"):
            pickle.dumps(each)


def test_a_udp_port_tells_of_what_it_does_not_hear_too(caplog: pytest.LogCaptureFixture) -> None:
    with blocking.serve_udp("127.0.0.1:0") as one, blocking.serve_udp("127.0.0.1:0") as other:
        other.on("join", print)
        one.emit(("127.0.0.1", other.port), "order", 1)
        while not other.stats().unheard:
            other.poll(5)
    assert "events named 'order' come, and no handler hears them; there are some for 'join'" in caplog.text


def test_what_is_usual_to_hear_nobody_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()
    client.on("news", lambda data: None)
    server.broadcast("frame", 1)  # a client need not hear all that its server emits
    driver.run_until_idle()
    assert (server.stats().unheard, client.stats().unheard) == (0, 1)
    server.on("join", lambda data: None)
    server.on("*", lambda *event: None)
    client.emit("else", 1)
    driver.run_until_idle()
    assert server.stats().unheard == 0 and "no handler hears" not in caplog.text


def test_a_peer_that_makes_up_names_is_told_of_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()
    server.on("join", lambda data: None)
    for number in range(1000):
        client.emit(f"{number}{'made up' * 8}{number}", 1)
        driver.advance(1)
    assert caplog.text.count("no handler hears them") == STRANGERS and server.stats().unheard == 1000


def test_what_a_waiting_client_receives_is_not_unheard(waiting: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = waiting.serve()
    client = waiting.connect()
    client.on("news", lambda data: None)
    client.until(lambda: server.count)
    server.broadcast("nesw", 1)
    assert client.receive("nesw", timeout=20) == 1
    assert client.stats().unheard == 0 and "no handler hears" not in caplog.text


def test_the_log_of_the_callback_front_has_its_mistakes(tmp_path: Path) -> None:
    lines: list[str] = []
    ipc = node_ipc.IPC()
    ipc.config.update(socket_root=f"{tmp_path}/", id="world", log_in_color=False, logger=lines.append)
    ipc.serve()
    ipc.server.on("connection", lambda socket: None)
    assert [line for line in lines if "what happens here is named 'connect'" in line]


# ---- requests that nobody answers


def test_a_method_that_nobody_answers_is_told_once_where_it_would_be(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    client = front.connect()
    with pytest.raises(RemoteError):
        client.request("early")
    server.handle("status", lambda: "well")
    server.handle("add", sum)
    server.on("message", lambda data: None)
    for name in ("Status", "sttaus", "other", "other", "rpc.describe"):
        said = "" if name.startswith("rpc.") else ": case counts; the log of that side names those"
        with pytest.raises(RemoteError) as refused:
            client.request(name)
        assert f"no method {name!r}{said} " in str(refused.value)
        assert "status" not in str(refused.value) and "add" not in str(refused.value), "a stranger is told no names"
    with pytest.raises(RemoteError):
        client.request("message")
    told = re.findall("requests of (.*?) come, and no handler answers them; there (.*?) This is said", caplog.text)
    register = "Register one, by handle(method, handler)."
    assert told == [
        ("'early'", f"are none at all. {register}"),
        ("'Status'", "is one for 'status': is one of the two misspelt?"),
        ("'sttaus'", "is one for 'status': is one of the two misspelt?"),
        ("'other'", f"are some for 'status', 'add'. {register}"),
        ("'message'", "is one for events of that name: was handle('message', …) meant, and not on?"),
    ]


def test_a_client_is_asked_for_what_it_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    client, server, socket, driver = testing.pair()
    client.handle("state", lambda: 1)
    driver.run_until(server.request(socket, "State"))
    assert "requests of 'State' come, and no handler answers them; there is one for 'state'" in caplog.text


def test_who_makes_up_methods_is_told_of_a_few_times_and_in_short(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()
    server.handle("status", lambda: "well")
    for number in range(100):
        driver.run_until(client.request(f"{number}\n{'made up' * 1000}"))
        driver.advance(1)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == STRANGERS and all(len(line) < 500 and "\n" not in line for line in told)


# ---- payloads that are refused


def test_a_request_that_does_not_fit_is_answered_with_the_place(front: Any) -> None:
    server = front.serve()
    server.handle("order", lambda params: None, type=dict[str, int])
    with pytest.raises(RemoteError, match=r"'order' does not fit at \$\[\.\.\.\]: Expected `int`, got `str`"):
        front.connect().request("order", {"count": "two"})


def test_a_time_out_says_what_was_refused_meanwhile(waiting: Any) -> None:
    server = waiting.serve()
    client = waiting.connect()
    client.on("news", lambda data: None, type=int)
    client.until(lambda: server.count)
    for _ in range(2):
        server.broadcast("news", "tea")
    client.until(lambda: client.stats().errors == 2)
    refused = r"0.05 s; 2 messages that came were refused here, the last since the payload of .news. does not fit"
    with pytest.raises(ReceiveTimeout, match=refused):
        client.receive("answer", timeout=0.05)


@needs_linux
def test_a_time_out_says_that_the_server_has_read_all(waiting: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = waiting.serve()
    server.on("order", lambda data: None, type=int)
    client = waiting.connect()
    client.emit("order", "tea")
    client.until(lambda: server.server.stats().errors)
    with pytest.raises(ReceiveTimeout, match="the server has read all that was emitted: what it refused"):
        client.receive("answer", timeout=0.05)
    assert "the payload of 'order' does not fit at $: Expected `int`, got `str`" in caplog.text


# ---- a server that is caught


@needs_linux
def test_a_time_out_says_that_a_server_reads_nothing(front: Any) -> None:
    caught, done = threading.Event(), threading.Event()

    def hang() -> None:
        caught.set()
        done.wait(20)

    with front_of(FRONTS[0], front.config) as other:
        server = other.serve()
        server.handle("add", sum)
        server.on("hang", hang)
        client = front.connect()
        assert client.request("add", [1, 2]) == 3
        try:
            client.emit("hang")
            client.until(caught.is_set)
            with pytest.raises(RequestTimeout, match=r"the link is up, and what was sent is unread for these 0.05 s"):
                client.request("add", [1, 2], timeout=0.05)
            if front.waits:
                with pytest.raises(ReceiveTimeout, match=r"the server's program has not read all that was emitted"):
                    client.receive("answer", timeout=0.05)
        finally:
            done.set()


@pytest.mark.parametrize("kind", FRONTS, ids=lambda kind: kind.name)
def test_a_server_that_was_caught_says_once_that_somebody_gave_up(
    kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    caught, done = threading.Semaphore(0), threading.Semaphore(0)

    def hang() -> None:
        caught.release()
        assert done.acquire(timeout=20)

    with front_of(kind, config) as front, front_of(FRONTS[2], config) as other:
        server = front.serve()
        server.handle("add", sum)
        server.on("hang", hang)
        client = other.connect()
        for _ in range(2):
            client.emit("hang")
            assert caught.acquire(timeout=20)
            with pytest.raises(RequestTimeout):
                client.request("add", [1, 2], timeout=0.01)
            done.release()
            assert client.request("add", [3, 4]) == 7
    assert caplog.text.count("whoever asked for 'add' had given up before this program answered") == 1


def test_an_async_handler_that_is_begun_too_late_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()

    async def add(numbers: list[int]) -> int:
        return sum(numbers)

    server.handle("add", add)
    driver.connections[-1].to_server.stall()
    answer = client.request("add", [1, 2], timeout=5)
    driver.run_until(answer)
    assert "what was sent is unread for these 5 s" in str(answer.error)
    driver.advance(1)
    driver.connections[-1].to_server.resume()
    driver.run_until_idle()
    assert "had given up before this program answered" in caplog.text


def test_a_request_that_is_given_up_while_it_is_worked_on_came_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is behind the cancel in its read, a request of the same id among it."""

    def rpc(kind: str, id: str) -> bytes:
        return b'{"type":"rpc.%s","data":{"jsonrpc":"2.0","id":%s,"method":"wait"}}\f' % (kind.encode(), id.encode())

    with testing.MemoryDriver() as driver:
        server = testing.serve(driver)
        cancelled: list[int] = []

        @server.handle("wait")
        async def wait() -> None:
            try:
                await driver.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        wire = testing.Wire.connected(driver, server.address)
        wire.write(rpc("request", "1"))
        driver.run_until_idle()
        wire.write(rpc("cancel", "1") + rpc("request", "1"))
        driver.run_until_idle()
        assert cancelled == [1]
        assert "had given up" not in caplog.text
        wire.write(rpc("request", "2") + rpc("cancel", "2"))
        driver.run_until_idle()
    assert caplog.text.count("whoever asked for 'wait' had given up before") == 1


def test_a_link_that_waited_to_be_accepted_is_told_as_that(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is full accepts later: nothing needs to have slept there."""

    def ask() -> None:
        with blocking.connect(f"{tmp_path}/s") as client, pytest.raises(RequestTimeout):
            client.request("add", [1, 2], timeout=0.01)

    with blocking.serve(f"{tmp_path}/s") as server:
        server.handle("add", sum)
        asker = threading.Thread(target=ask)
        asker.start()
        asker.join()
        while "had given up before this program answered: the link itself had waited" not in caplog.text:
            server.poll(1)


def test_a_request_that_is_given_up_in_its_time_is_no_fault_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()

    async def slow(params: Any) -> None:
        await driver.sleep(10)

    server.handle("slow", slow)
    answer = client.request("slow", timeout=5)
    driver.run_until(answer)
    assert "unread" not in str(answer.error)
    driver.advance(10)
    assert "had given up" not in caplog.text


# ---- a limit that only the other side has


def test_a_server_that_refuses_what_was_emitted_is_told_once(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve(max_message_size=1000)
    client = front.connect()
    for links in (2, 3):
        client.until(lambda: client.client.state is node_ipc.ClientState.CONNECTED)
        client.emit("order", "x" * 5000)
        client.until(lambda links=links: server.server.stats().links == links)
    assert (
        caplog.text.count(
            "ended the link and takes a new one: without an error; 0 messages dropped, 1 not known to be read"
        )
        == 1
    )
    assert caplog.text.count("its max_message_size or max_message_values may be smaller") == 1


def test_a_time_out_says_that_a_link_was_lost_before(waiting: Any) -> None:
    server = waiting.serve(max_message_size=1000)
    client = waiting.connect()
    client.emit("order", "x" * 5000)
    client.until(lambda: server.server.stats().links == 2)
    with pytest.raises(ReceiveTimeout, match=r"a link was lost before \(.*1 not known to be read\).*max_message_size"):
        client.receive("answer", timeout=0.05)


def test_who_hears_disconnect_is_told_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    driver = testing.MemoryDriver()
    server = testing.serve(driver, max_message_size=1000)
    client = testing.connect(driver, server.address)
    lost: list[Any] = []
    client.on("disconnect", lost.append)
    client.emit("order", "x" * 5000)
    driver.run_until(lambda: server.stats().links == 2)
    assert lost[0].in_flight == 1 and "takes a new one" not in caplog.text


# ---- the same again and again


def test_slow_viewers_are_told_of_in_full_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    driver = testing.MemoryDriver(conditions=testing.Conditions(buffer=10_000))
    server = testing.serve(driver, slow_timeout=10_000, soft_pending_bytes=20_000, max_pending_bytes=100_000)
    client = testing.connect(driver, server.address, retry=100)
    client.on("disconnect", lambda loss: None)
    for _ in range(3):
        driver.run_until(lambda: server.sockets)
        driver.connections[-1].to_client.stall()
        for _ in range(20):
            server.broadcast("frame", "x" * 2000)
        driver.run_until(lambda: not server.sockets)
        driver.resume()
    assert caplog.text.count("did not take its bytes") == 1 and 'keep="latest"' in caplog.text
    driver.advance(60)
    assert "2 more links of slow peers that were cut at" in caplog.text


# ---- ends that do not speak alike


def test_a_handler_of_data_is_told_to_be_of_raw_mode(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve()
    for end in (server, front.connect()):
        caplog.clear()
        end.on("data", lambda data: None)
        assert "a handler of 'data' is called in raw mode only (raw_buffer)" in caplog.text
        assert "events are heard under the names" in caplog.text


def returning(data: Any) -> Any:
    return {"sum": sum(data)}


def test_what_a_handler_of_events_returns_is_told_to_go_nowhere(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve()
    server.on("add", returning)
    server.on("push", lambda data: len(data))
    server.on("sum", lambda data: {"sum": sum(data)})
    client = front.connect()
    for name in ("add", "push", "sum") * 2:
        client.emit(name, [1, 2])
    client.until(lambda: server.server.stats().messages_in == 6)
    for name in ("add", "sum"):
        assert caplog.text.count(f"what the handler of {name!r} returned goes nowhere: an event has no answer") == 1
    assert "'push'" not in caplog.text


class Total(msgspec.Struct):
    sum: int


class Sums:
    def structs(self, data: Any) -> Any:
        return Total(sum(data))


def with_unit(unit: str, data: Any) -> Any:
    return f"{sum(data)} {unit}"


async def returning_later(data: Any) -> Any:
    await asyncio.sleep(0)
    return returning(data)


async def returning_nothing(data: Any, socket: Any) -> Any:
    return socket.emit("added", sum(data))


def decorated(handler: Any) -> Any:
    @functools.wraps(handler)
    def call(data: Any) -> Any:
        return handler(data)

    return call


@pytest.mark.parametrize("kind", [kind for kind in FRONTS if kind.name != "blocking"], ids=lambda kind: kind.name)
def test_so_is_what_an_async_handler_returns(kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with front_of(kind, Config(socket_root=f"{tmp_path}/", silent=True)) as front:
        server = front.serve()
        server.on("add", returning_later)
        server.on("push", returning_nothing)
        client = front.connect()
        client.on("ready", returning_later)
        client.until(lambda: server.count)
        for _ in range(2):
            client.emit("push", [1, 2])
            client.emit("add", [1, 2])
            server.broadcast("ready", [1, 2])
        client.until(lambda: caplog.text.count("returned goes nowhere") == 2)
    for name in ("add", "ready"):
        assert caplog.text.count(f"what the handler of {name!r} returned goes nowhere: an event has no answer") == 1
    assert "'push'" not in caplog.text


def test_what_looks_like_an_answer_is_told_of_whatever_the_program_has_written(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    client, server, _, driver = testing.pair()
    told = {
        "method": Sums().structs,
        "partial": functools.partial(with_unit, "m"),
        "decorated": decorated(returning_later),
        "while": node_ipc.while_connected(returning_later),
        "text of a lambda": lambda data: f"{data} m",
        "sum of a lambda": lambda data: data[0] + data[1],
        "dict of a lambda": lambda data: {"sum": sum(data)} if data else {},
    }
    kept: dict[str, Any] = {}
    usual = {"file": Path(tmp_path, "file").write_text, "list": [].__contains__, "nothing": lambda data: data}
    usual |= {"kept": lambda data: kept.setdefault("kept", {}), "both": lambda data: (len(data), data)}
    for name, handler in (told | usual).items():
        server.on(name, handler)
        client.emit(name, "text" if name == "file" else [1, 2])
        driver.advance(2)
    assert set(re.findall("what the handler of '(.*?)' returned", caplog.text)) == set(told)


def test_a_udp_port_does_not_lead_to_requests(caplog: pytest.LogCaptureFixture) -> None:
    with blocking.serve_udp("127.0.0.1:0") as one, blocking.serve_udp("127.0.0.1:0") as other:
        other.on("add", returning)
        one.emit(("127.0.0.1", other.port), "add", [1, 2])
        while not other.stats().messages_in:
            other.poll(5)
    assert "an event has no answer. Emit that to the other side. This is said once" in caplog.text


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b'{"type":"n","data":1}\n', "ends in b'\\n': does the peer use another delimiter?"),
        (b'{"type":"n","data":1}\n{"type":"n","data":2}\n', "ends in b'\\n': does the peer use another delimiter?"),
        (b'{"type":"n","data":1}', "does the peer send no delimiter?"),
        (b"hello", "it begins b'hello': is the peer in raw mode (raw_buffer)"),
        (b"GET / HTTP/1.1\r\n\r\n", "or no program of node-ipc"),
    ],
)
def test_what_never_becomes_a_message_is_told_after_a_second(written: bytes, why: str) -> None:
    driver = testing.MemoryDriver()
    server = testing.serve(driver)
    errors: list[Exception] = []
    server.on("error", errors.append)
    wire = testing.Wire.connected(driver, server.address)
    wire.write(written)
    driver.advance(1.5)
    (error,) = errors
    assert isinstance(error, node_ipc.InvalidMessage) and why in str(error)
    assert server.sockets, "and the rest may come"
    driver.advance(30)
    assert len(errors) == 2 and why in str(errors[1]) and not server.sockets


@pytest.mark.parametrize("written", [b'{"type":"n","data":{"a":{}}', b" ", b'{"type":"n","data":"}'])
def test_what_may_become_a_message_is_waited_for(written: bytes) -> None:
    driver = testing.MemoryDriver()
    server = testing.serve(driver)
    errors: list[Exception] = []
    server.on("error", errors.append)
    testing.Wire.connected(driver, server.address).write(written)
    driver.advance(20)
    assert errors == []


# ---- rooms


def test_emitting_to_rooms_that_nobody_ever_joined_is_told_once(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve()
    server.call(lambda: server.server.to("lobby").emit("news", 1))
    assert "reached nobody" not in caplog.text, "nobody is there at all"
    client = front.connect()
    client.until(lambda: server.count)
    for _ in range(2):
        server.call(lambda: server.server.to("lobby").emit("news", 1))
    assert caplog.text.count("to('lobby').emit() reached nobody: no socket has joined any room of this server yet") == 1


def test_rooms_that_are_empty_again_are_as_they_should_be(caplog: pytest.LogCaptureFixture) -> None:
    _, server, socket, _ = testing.pair()
    socket.join("lobby")
    socket.leave("lobby")
    server.to("lobby").emit("news", 1)
    assert caplog.text == ""


# ---- a server that does not read


class Told(logging.Handler):
    """Says when such a line has come."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part, self.event = part, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.part in record.getMessage():
            self.event.set()


def test_an_emit_that_waits_long_for_a_server_that_does_not_read_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "WAITS_LONG_SECONDS", 0.05)
    told = Told("does not read what was sent")
    logging.getLogger("node_ipc").addHandler(told)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        told.event.wait(60)
        connection.close()

    server = threading.Thread(target=serve)
    server.start()
    client = blocking.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}", max_retries=0, silent=True)
    try:
        with pytest.raises((ConnectionLost, NotConnected)):
            while True:
                client.emit("frame", "x" * 100_000)
    finally:
        logging.getLogger("node_ipc").removeHandler(told)
        client.abort()
        server.join()
        listener.close()
    assert caplog.text.count("emit has been waiting for 0.05 s, and goes on: the server ") == 1


# ---- text where bytes are taken


WORDS = ("Monday12", "text", "hello123")


@pytest.mark.parametrize("wanted", [bytes, bytearray, node_ipc.Bytes, numpy.ndarray])
@pytest.mark.parametrize("verb", ["emit", "request"])
def test_words_that_are_read_as_base64_are_told_once(
    front: Any, wanted: Any, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They stand in JSON as bytes do, and those are what comes."""
    server = front.serve()
    heard: list[bytes] = []
    register = server.on if verb == "emit" else server.handle
    register("blob", lambda data: heard.append(bytes(data)), type=wanted)
    client = front.connect()
    for word in WORDS * 2:
        getattr(client, verb)("blob", word)
    client.until(lambda: len(heard) == 6)
    assert heard[1] == base64.b64decode("text")
    assert caplog.text.count("what came of 'blob' are words, and they were read as base64") == 1


def test_so_are_those_that_are_received(waiting: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = waiting.serve()
    client = waiting.connect()
    client.until(lambda: server.count)
    for word in WORDS * 2:
        server.broadcast("blob", word)
        assert client.receive("blob", type=bytes, timeout=20) == base64.b64decode(word)
    assert caplog.text.count("what came of 'blob' are words") == 1


@pytest.mark.parametrize(
    "data",
    [
        *([b""], [b"\x00\x01\x02"], [b"a text"], [b"x" * 100], [b"x" * 100_000], ["texts"]),
        [base64.b64decode(word) for word in ("text", "word", "name")],  # as one in eleven of three bytes is
        [base64.b64decode(word) for word in ("A+9/", "text", "word", "name", "room", "A/12", "book")],
        [b"\xff\xff\xff"] * 8 + [base64.b64decode(word) for word in WORDS],
    ],
)
def test_bytes_are_not_taken_for_words(data: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()
    server.on("blob", lambda data: None, type=bytes)
    for each in data:
        client.emit("blob", each)
        driver.run_until_idle()
    assert "are words" not in caplog.text
    assert ("take str here, or emit bytes" in caplog.text) is isinstance(data[0], str)
    assert bool(driver.failures) is isinstance(data[0], str)


def test_enough_payloads_are_looked_at_for_words_and_no_more() -> None:
    client, server, _, driver = testing.pair()
    server.on("blob", lambda data: None, type=bytes)
    entry = server.events._table["blob"]
    for count in range(1, 12):
        client.emit("blob", b"\xff\xff\xff")
        driver.run_until_idle()
        assert (server.events._table["blob"] is entry) is (count < 8)


# ---- a thread that sleeps in place


class SleepyDriver(testing.MemoryDriver):
    """Its clock can be set forward in the middle of a turn, as by ``time.sleep``."""

    slept = 0.0

    def clock(self) -> float:
        return self.now() + self.slept

    def stand_still(self, seconds: float) -> None:
        self.slept += seconds


def test_emitting_the_newest_without_a_turn_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    driver = SleepyDriver()
    client, server, _, _ = testing.pair(driver=driver)
    heard: list[int] = []
    server.on("frame", lambda data: heard.append(data))

    def film(seconds: float) -> None:
        for number in range(60):
            client.emit("frame", number, keep="latest")
            driver.stand_still(seconds)

    client.on("film", film)
    server.broadcast("film", 0.0)
    driver.run_until_idle()
    assert len(heard) < 60 and "had no turn" not in caplog.text, "that took no time"
    for _ in range(2):
        server.broadcast("film", 1 / 30)
        driver.run_until_idle()
    assert caplog.text.count("for 1 s the event loop had no turn") == 1
    assert "await asyncio.sleep(…) instead" in caplog.text


def test_the_newest_that_is_replaced_in_many_turns_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    driver = SleepyDriver()
    client, server, _, _ = testing.pair(driver=driver)
    driver.stall()
    for number in range(300):
        client.emit("frame", [number] * 9000, keep="latest")
        driver.advance(1 / 30)
    assert client.stats().replaced > 100 and "had no turn" not in caplog.text
    assert server.stats().messages_in <= 1


def test_a_broadcast_to_nobody_says_that_nobody_can_connect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    with blocking.serve("world", socket_root=f"{tmp_path}/") as server:
        monkeypatch.setattr(server._driver, "clock", lambda: now[0])

        def film(wait: Any) -> None:
            for number in range(60):
                server.broadcast("frame", number)
                now[0] += 1 / 30
                wait()

        film(lambda: server.poll(0))
        assert "no call waited" not in caplog.text
        film(lambda: None)
        film(lambda: None)
    assert caplog.text.count("for 1 s no call waited, as where time.sleep(…) is called: call poll(…) instead") == 1


def test_a_time_out_says_that_nothing_came(waiting: Any) -> None:
    waiting.serve()
    with pytest.raises(ReceiveTimeout, match=r"nothing came meanwhile: the server may .* as by time\.sleep\(\)"):
        waiting.connect().receive("frame", timeout=0.01)


# ---- off


@pytest.mark.parametrize(
    ("event", "handler", "said"),
    [
        ("message", max, "off('message', …) removed nothing: that handler was never registered for it"),
        ("mesage", None, "off('mesage', …) removed nothing: there are no handlers of that name, and there are some of"),
        ("conect", None, "and there are some of 'connect': were those meant?"),
        ("msg", print, "off('msg', …) removed nothing: there are no handlers of that name, and there are some of"),
        ("*", max, "off('*', …) removed nothing"),
    ],
)
def test_removing_what_was_never_there_is_told_once(
    front: Any, event: str, handler: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    front.serve()
    client = front.connect()
    for name in ("message", "connect", "*"):
        client.on(name, print)
    for _ in range(2):
        client.off(event, *filter(None, [handler]))
    assert caplog.text.count(said) == 1


def test_removing_what_was_there_before_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = testing.pair()
    for handler in (print, min, max):
        client.on("message", handler)
    client.once("order", min)
    client.on("order", max)
    server.broadcast("order", [1])
    driver.run_until_idle()
    for event, *handlers in (("order", min), ("message", print), ("message", print), ("message",), ("message",)):
        client.off(event, *handlers)
    client.off("else")
    client.off("else", any)
    client.off("*", "*")
    assert "removed nothing" not in caplog.text
