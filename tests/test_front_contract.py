"""What every front does, said once and run on each: what is emitted, asked, refused, timed and ended."""

from __future__ import annotations

import enum
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from fronts import DEADLINE, FRONTS, Front, front_of
from node_ipc import (
    BackpressureError,
    ClientState,
    Config,
    ConnectError,
    ConnectTimeout,
    Event,
    HandlerError,
    InvalidEvent,
    InvalidPayload,
    NotConnected,
    ReceiveTimeout,
    RemoteError,
    RequestTimeout,
    blocking,
    testing,
)
from node_ipc.config.address import Tcp, Unix
from node_ipc.core import inbox
from node_ipc.core.asking import Question
from node_ipc.core.session import LOOK_SECONDS, Loss
from node_ipc.wire.json import Envelope, RawEnvelope
from stopwatch import Stopwatch


class Order(msgspec.Struct):
    item: str
    count: int


ORDER = Event("order", Order)


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    config = Config(socket_root=f"{tmp_path}/", retry=20, silent=True)
    with front_of(request.param, config) as front:
        yield front


@pytest.fixture(params=[kind for kind in FRONTS if kind.waits], ids=lambda kind: kind.name)
def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Those fronts whose clients receive."""
    config = Config(socket_root=f"{tmp_path}/", retry=20, silent=True)
    with front_of(request.param, config) as front:
        yield front


def echoing(front: Front, **options: Any) -> Any:
    server = front.serve(**options)
    server.on("echo", lambda data, socket: socket.emit("echo", data))
    return server


# ---- events


def test_events_arrive_in_the_order_of_their_emits(front: Any) -> None:
    echoing(front)
    client = front.connect()
    heard: list[int] = []
    client.on("echo", heard.append)
    for number in range(500):
        client.emit("echo", number)
    client.until(lambda: len(heard) == 500)
    assert heard == list(range(500))


def test_a_payload_is_what_it_was_when_it_was_emitted(front: Any) -> None:
    echoing(front)
    client = front.connect()
    heard: list[Any] = []
    client.on("echo", heard.append)
    payload = [1]
    client.emit("echo", payload)
    payload.append(2)
    client.until(lambda: heard)
    assert heard == [[1]]


def test_data_that_is_left_out_is_an_empty_object(front: Any) -> None:
    server = front.serve()
    heard: list[Any] = []
    server.on("plain", lambda data, socket: heard.append(data))
    client = front.connect()
    client.emit("plain")
    client.until(lambda: heard)
    assert heard == [{}]


def test_a_handler_may_take_fewer_arguments(front: Any) -> None:
    server = front.serve()
    heard: list[Any] = []
    server.on("one", lambda data: heard.append(data))
    server.on("none", lambda: heard.append("none"))
    client = front.connect()
    client.emit("one", 1)
    client.emit("none", 2)
    client.until(lambda: len(heard) == 2)
    assert heard == [1, "none"]


def test_with_the_first_answer_the_server_has_the_socket(front: Any) -> None:
    server = front.serve()
    heard: list[Any] = []
    server.on("connect", heard.append)
    server.handle("are you there", lambda: True)
    client = front.connect()
    assert client.request("are you there") is True
    assert server.server.sockets == heard and len(heard) == 1


def test_once_hears_one_and_off_hears_nothing_more(front: Any) -> None:
    echoing(front)
    client = front.connect()
    once: list[Any] = []
    every: list[Any] = []
    client.once("echo", once.append)
    client.on("echo", every.append)
    for number in range(3):
        client.emit("echo", number)
    client.until(lambda: len(every) == 3)
    assert once == [0]
    client.off("echo")
    last: list[Any] = []
    client.on("echo", last.append)
    client.emit("echo", 4)
    client.until(lambda: last)
    assert every == [0, 1, 2]


@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.parametrize("among", ["alone", "among others", "with a type", "everything"])
def test_a_once_handler_runs_once_where_its_event_is_published_again_inside_it(
    front: Any, end: str, among: str
) -> None:
    """As node's ``once``: it is out of the list before it runs. The event comes over the link, and again inside."""
    server, client = front.serve(), front.connect()
    client.until(lambda: server.count == 1)
    own, core = (server, server.server) if end == "server" else (client, client.client)
    ran: list[Any] = []
    others: list[Any] = []
    name = "*" if among == "everything" else "again"

    def once(*brought: Any) -> None:
        data = brought[1] if name == "*" else brought[0]
        ran.append(data)
        core.events.publish("again", data)
        deliver_again(core, data)

    def typed(data: int) -> None:
        once(data)

    def register() -> None:
        if among == "among others":
            core.on(name, others.append if end == "client" else lambda data, *_: others.append(data))
        core.once(name, typed if among == "with a type" else once)

    def deliver_again(core: Any, data: Any) -> None:
        envelope = RawEnvelope if core.events.wants_raw else Envelope
        payload = msgspec.Raw(msgspec.json.encode(data)) if core.events.wants_raw else data
        core.events.deliver(iter([envelope("again", payload)]), core.events.current)

    own.call(register)
    for number in range(3):
        if end == "client":
            server.broadcast("again", number)
        else:
            client.emit("again", number)
    last: list[Any] = []
    own.on("last", lambda data, *_: last.append(data))
    if end == "client":
        server.broadcast("last", 1)
    else:
        client.emit("last", 1)
    client.until(lambda: last)
    assert ran == [0]
    assert others == ([] if among != "among others" else [0, 0, 1, 2])


def test_once_of_the_lifecycle_runs_once_where_it_is_published_again_inside_it(front: Any) -> None:
    server = front.serve()
    ran: list[str] = []

    def once(*_: Any) -> None:
        ran.append("once")
        server.server.events.publish("connect", None)

    server.once("connect", once)
    server.on("connect", lambda *_: ran.append("on"))
    client = front.connect()
    client.until(lambda: len(ran) >= 3)
    assert ran == ["once", "on", "on"]


def test_once_is_once_where_a_peer_may_use_the_names_of_the_lifecycle(front: Any) -> None:
    server = front.serve(allow_reserved_events=True)
    once: list[Any] = []
    every: list[Any] = []
    server.once("connect", lambda *brought: once.append(brought))
    server.on("connect", lambda *brought: every.append(brought))
    client = front.connect(allow_reserved_events=True, **({"wait": False} if front.waits else {}))
    for number in range(3):
        client.emit("connect", number)
    client.until(lambda: len(every) == 4)
    assert [len(brought) for brought in every] == [1, 2, 2, 2]
    assert once == every[:1]


def test_everything_is_heard_by_a_star_before_the_own_handler(front: Any) -> None:
    echoing(front)
    client = front.connect()
    heard: list[Any] = []
    client.on("*", lambda type, data: heard.append(("*", type, data)))
    client.on("echo", lambda data: heard.append(("own", data)))
    client.emit("echo", 7)
    client.until(lambda: len(heard) == 2)
    assert heard == [("*", "echo", 7), ("own", 7)]


def test_a_broadcast_reaches_everybody_but_those_who_are_left_out(front: Any) -> None:
    server = front.serve()
    here: list[Any] = []
    server.on("hello", lambda data, socket: here.append(socket))
    clients = [front.connect() for _ in range(3)]
    heard: list[list[Any]] = [[], [], []]
    for count, client in enumerate(clients, 1):
        client.on("news", heard[count - 1].append)
        client.emit("hello")
        client.until(lambda count=count: len(here) == count)
    server.broadcast("news", 1, exclude=[here[1]])
    server.broadcast("news", 2)
    for client, mine in zip(clients, heard, strict=True):
        client.until(lambda mine=mine: 2 in mine)
    assert heard == [[1, 2], [2], [1, 2]]


def test_rooms_reach_those_in_them_until_they_are_gone(front: Any) -> None:
    server = front.serve()

    def join(room: str, socket: Any) -> None:
        socket.join(room)
        assert socket.rooms == {room}
        server.server.to(room).except_(socket).emit("joined", socket.id)
        socket.emit("here")

    server.on("join", join)
    server.on("leave", lambda room, socket: (socket.leave(room), socket.emit("here")))
    clients = [front.connect() for _ in range(3)]
    heard: list[list[Any]] = [[], [], []]
    here: list[Any] = []
    for client, mine, room in zip(clients, heard, ("a", "a", "b"), strict=True):
        client.on("here", lambda: here.append(1))
        for name in ("joined", "x", "y"):
            client.on(name, lambda data, mine=mine, name=name: mine.append(name))
        before = len(here)
        client.emit("join", room)
        client.until(lambda before=before: len(here) > before)
    server.call(server.server.to("a", "b").emit, "x", 1)
    server.call(server.server.to("a").emit, "y", 2)
    server.call(server.server.to("b").emit, "y", 2)
    for client, mine in zip(clients, heard, strict=True):
        client.until(lambda mine=mine: "y" in mine)
    assert heard == [["joined", "x", "y"], ["x", "y"], ["x", "y"]]
    clients[0].emit("leave", "a")
    clients[0].until(lambda: len(here) == 4)
    clients[1].close()
    clients[2].until(lambda: "a" not in server.server.rooms)
    assert list(server.server.rooms) == ["b"]


def test_a_handler_of_requests_may_return_what_a_join_returns(front: Any) -> None:
    server = front.serve()
    server.handle("enter", lambda room, socket: socket.join(room))
    assert front.connect().request("enter", "a", timeout=DEADLINE) is None
    assert list(server.server.rooms) == ["a"]


def test_other_threads_may_emit_and_keep_their_order(front: Any) -> None:
    server = front.serve()
    heard: list[Any] = []
    server.on("from", lambda data, socket: heard.append(data))
    client = front.connect()

    def emit(name: str) -> None:
        for number in range(100):
            client.client.emit("from", [name, number])

    threads = [threading.Thread(target=emit, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    client.until(lambda: len(heard) == 200)
    for thread in threads:
        thread.join()
    for name in "ab":
        assert [number for who, number in heard if who == name] == list(range(100))


def test_other_verbs_from_another_thread_are_refused(front: Any) -> None:
    front.serve()
    client = front.connect()
    for verb in (lambda: client.client.on("x", print), client.client.close, client.client.abort):
        said: list[BaseException] = []

        def call(verb: Any = verb, said: list[BaseException] = said) -> None:
            try:
                verb()
            except BaseException as error:
                said.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert isinstance(said[0], node_ipc.WrongThreadError)
    assert client.client.state is ClientState.CONNECTED


# ---- what cannot be sent or read


def test_what_cannot_be_sent_raises_and_the_link_stays(front: Any) -> None:
    echoing(front)
    client = front.connect()
    heard: list[Any] = []
    client.on("echo", heard.append)
    with pytest.raises(InvalidPayload):
        client.emit("echo", object())
    with pytest.raises(InvalidEvent):
        client.emit("__proto__", 1)
    with pytest.raises(node_ipc.FrameTooLarge):
        client.emit("echo", "x" * (16 * 1024 * 1024))
    client.emit("echo", 1)
    client.until(lambda: heard)
    assert heard == [1]


def test_typed_payloads_come_as_their_type_and_others_are_an_error_event(front: Any) -> None:
    server = front.serve()
    heard: list[Any] = []
    errors: list[Any] = []
    server.on(ORDER, lambda data, socket: heard.append(data))
    server.on("error", lambda error, socket: errors.append(error))
    client = front.connect()
    client.emit("order", {"item": "nut"})
    client.emit(ORDER, Order("bolt", 2))
    client.until(lambda: heard)
    assert heard == [Order("bolt", 2)]
    assert [type(error) for error in errors] == [InvalidPayload]
    assert "count" in str(errors[0])


def test_a_failing_handler_harms_only_itself(front: Any) -> None:
    server = echoing(front)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append((error, socket)))
    server.on("bad", lambda data, socket: 1 / data)
    client = front.connect()
    heard: list[Any] = []
    client.on("echo", heard.append)
    client.emit("bad", 0)
    client.emit("echo", 1)
    client.until(lambda: heard)
    (error, socket) = errors[0]
    assert isinstance(error, node_ipc.HandlerError) and isinstance(error.__cause__, ZeroDivisionError)
    assert socket.is_open


# ---- requests


def test_a_request_gives_what_the_handler_returns(front: Any) -> None:
    server = front.serve()
    server.handle("add", lambda params, socket: params["a"] + params["b"])
    client = front.connect()
    assert client.request("add", {"a": 1, "b": 2}, timeout=DEADLINE) == 3
    assert client.request("add", {"a": "x", "b": "y"}, timeout=10, type=str) == "xy"


def test_a_request_s_result_that_does_not_fit_raises(front: Any) -> None:
    server = front.serve()
    server.handle("name", lambda: "nut")
    client = front.connect()
    with pytest.raises(InvalidPayload):
        client.request("name", timeout=10, type=int)


def test_the_other_side_s_error_is_raised(front: Any) -> None:
    server = front.serve()
    server.on("error", lambda error, socket: None)

    def refuse(params: Any, socket: Any) -> None:
        raise RemoteError(-32001, "no such order", {"id": params})

    server.handle("order", refuse)
    server.handle("broken", lambda: 1 / 0)
    client = front.connect()
    with pytest.raises(RemoteError, match="no such order") as told:
        client.request("order", 7, timeout=DEADLINE)
    assert str(told.value) == "no such order (-32001)" and told.value.data == {"id": 7}
    with pytest.raises(RemoteError):
        client.request("broken", timeout=DEADLINE)
    with pytest.raises(RemoteError):
        client.request("nobody", timeout=DEADLINE)


def test_the_error_of_a_request_in_a_handler_is_not_the_handler_s_answer(front: Any) -> None:
    """Else the method itself would seem not to be there, and no log would have a line."""
    outer, inner = front.serve(), front.serve(at=f"{front.config.socket_root}app.inner")
    errors: list[Any] = []
    outer.on("error", lambda error, socket: errors.append(error))
    inner.on("error", lambda error, socket: None)

    def relay(params: Any, socket: Any) -> Any:
        with blocking.connect("inner", config=front.config) as client:
            return client.request(params, timeout=DEADLINE)

    async def relay_later(params: Any, socket: Any) -> Any:
        async with node_ipc.connect("inner", config=front.config) as client:
            return await client.request(params, timeout=DEADLINE)

    def refuse() -> None:
        raise RemoteError(7, "not today")

    in_a_loop = front.name != "blocking"
    outer.handle("relay", relay_later if in_a_loop else relay)
    inner.handle("refuse", refuse)
    client = front.connect()
    for asked, said in (("nobody", "there is no method 'nobody'"), ("refuse", "not today")):
        with pytest.raises(RemoteError, match="the handler failed; the reason is in the log") as told:
            client.request("relay", asked, timeout=DEADLINE)
        assert told.value.code == -32603
        client.until(lambda: errors)
        failure = errors.pop()
        assert isinstance(failure, HandlerError) and isinstance(failure.__cause__, RemoteError)
        assert said in str(failure)


def test_a_request_that_nobody_answers_times_out_and_names_itself(front: Any) -> None:
    server = front.serve()
    server.on("rpc.request", lambda data, socket: None)
    client = front.connect()
    with pytest.raises(RequestTimeout, match="'slow'"):
        client.request("slow", timeout=0.05)
    with pytest.raises(TimeoutError):
        client.request("slow", timeout=0.05)


def test_a_request_whose_link_is_lost_fails_at_once(front: Any) -> None:
    server = front.serve()
    server.on("rpc.request", lambda data, socket: socket.abort())
    client = front.connect()
    with pytest.raises(node_ipc.ConnectionLost):
        client.request("any", timeout=DEADLINE)


def test_a_handler_s_progress_is_heard_while_it_works(front: Any) -> None:
    """Also of one that is no coroutine, and would hold the end of its turn back."""
    server = front.serve()
    heard = threading.Event()
    answers: list[Any] = []

    def work(params: Any, socket: Any, request: node_ipc.Request) -> str:
        socket.emit("before")
        answers.append(request.progress(50))
        answers.append(heard.wait(20))
        return "done"

    server.handle("work", work)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(f"{front.config.socket_root}app.world")
        peer.sendall(b'{"type":"rpc.request","data":{"id":7,"method":"work","progress":true}}\f')
        assert frames(peer, 2) == [("before", {}), ("rpc.progress", {"id": 7, "data": 50})]
        heard.set()
        assert frames(peer, 1) == [("rpc.response", {"jsonrpc": "2.0", "id": 7, "result": "done"})]
    assert answers == [True, True]


def frames(peer: socket.socket, count: int) -> list[tuple[str, Any]]:
    """The next events that a raw peer gets, no more than these."""
    received = b""
    while received.count(b"\f") < count:
        received += peer.recv(65536)
    messages = [msgspec.json.decode(frame) for frame in received.split(b"\f")[:-1]]
    return [(message["type"], message["data"]) for message in messages]


# ---- receiving


def test_receive_takes_by_name_and_leaves_the_others_in_order(waiting: Any) -> None:
    echoing(waiting).on("more", lambda data, socket: [socket.emit(name, name) for name in ("a", "b", "a")])
    client = waiting.connect()
    client.emit("more")
    assert client.receive("b", timeout=DEADLINE) == "b"
    assert [(event.type, event.data) for event in client.take(2)] == [("a", "a"), ("a", "a")]


def test_receive_decodes_to_a_type(waiting: Any) -> None:
    echoing(waiting)
    client = waiting.connect()
    client.emit("echo", {"item": "nut", "count": 1})
    assert client.receive("echo", type=Order, timeout=DEADLINE) == Order("nut", 1)
    client.emit("echo", 5)
    with pytest.raises(InvalidPayload):
        client.receive("echo", type=Order, timeout=DEADLINE)


def test_a_receive_that_times_out_says_what_it_waited_for_and_loses_nothing(waiting: Any) -> None:
    echoing(waiting)
    client = waiting.connect()
    with pytest.raises(ReceiveTimeout, match="'echo'"):
        client.receive("echo", timeout=0.02)
    client.emit("echo", 1)
    assert client.receive("echo", timeout=DEADLINE) == 1


def test_iteration_sees_every_event_also_those_with_a_handler(waiting: Any) -> None:
    server = waiting.serve()
    server.on("go", lambda data, socket: [socket.emit("number", number) for number in range(5)])
    client = waiting.connect()
    handled: list[Any] = []
    client.on("number", handled.append)
    assert [event.data for event in client.take(5, "go")] == list(range(5))
    assert handled == list(range(5))


def test_the_latest_leaves_older_events_of_its_name_out_and_counts_them(waiting: Any) -> None:
    server = waiting.serve()
    server.on("start frames", lambda data, socket: [socket.emit("frame", [n, "x" * 10_000]) for n in range(100)])
    server.on("end", lambda data, socket: socket.emit("end"))
    client = waiting.connect()
    client.emit("start frames")
    client.emit("end")
    client.receive("end", timeout=20)
    assert client.receive("frame", latest=True, timeout=20)[0] == 99
    assert client.client.inbox.skipped == 99
    with pytest.raises(ReceiveTimeout, match="'frame'"):
        client.receive("frame", latest=True, timeout=0.01)
    client.emit("start frames")
    seen = [-1]
    while seen[-1] < 99:  # it waits where nothing is there yet, and then gives what came first
        seen.append(client.receive("frame", latest=True, timeout=20)[0])
    assert seen == sorted(set(seen))
    with pytest.raises(ReceiveTimeout, match="'frame'"):
        client.receive("frame", timeout=0)  # from now on none is left out
    client.emit("start frames")
    assert client.receive("frame", timeout=20)[0] == 0
    assert client.receive("frame", timeout=20)[0] == 1


def test_the_latest_is_the_newest_also_where_it_waits_in_the_kernel_and_at_the_server(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody reads, the kernel keeps some, and the server the rest; each frame is larger than an inbox."""
    for limit in ("ANSWER_SECONDS", "MUTE_SECONDS"):  # the server's thread may get no processor for so long
        monkeypatch.setattr(inbox, limit, 20.0)
    server = waiting.serve(slow_policy="drop_oldest")
    handled: list[Any] = []

    def burst(data: Any, socket: Any) -> None:
        for number in range(8):
            socket.emit("frame", [data, number, "x" * 1_500_000])
        handled.append(data)

    server.on("burst", burst)
    client = waiting.connect()
    for number in range(3):
        client.emit("burst", number)
        deadline = time.monotonic() + 20
        while len(handled) <= number:  # and nothing is read meanwhile, but in a loop
            assert time.monotonic() < deadline
            time.sleep(0.002)
        assert client.receive("frame", latest=True, timeout=20)[:2] == [number, 7]


def test_in_raw_mode_a_new_stream_is_not_taken_for_the_rest_of_the_old_one(waiting: Any) -> None:
    server = waiting.serve(raw_buffer=True)
    server.on("data", lambda data, socket: socket.emit(b"half a mess"))
    client = waiting.connect(raw_buffer=True)
    client.emit(b"go")
    assert client.receive("data", timeout=20) == b"half a mess"
    server.stop(0.5)
    with pytest.raises(node_ipc.ConnectionLost, match="begin a new message"):
        client.receive("data", timeout=20)
    server = waiting.serve(raw_buffer=True)
    server.on("connect", lambda socket: socket.emit(b"a new one"))
    assert client.receive("data", timeout=20) == b"a new one"
    server.stop(0.5)
    with pytest.raises(node_ipc.ConnectionLost, match="begin a new message"):
        client.take(1)


def test_drain_returns_when_the_kernel_has_it_all(waiting: Any) -> None:
    heard: list[Any] = []
    waiting.serve().on("much", lambda data: heard.append(len(data)))
    client = waiting.connect()
    for _ in range(20):
        client.emit("much", "x" * 100_000)
    client.drain()
    assert client.client.pending_bytes == 0
    client.until(lambda: len(heard) == 20)


# ---- limits


def test_above_the_limit_emit_raises_nothing_is_sent_and_the_link_stays(front: Any) -> None:
    server = front.serve(max_pending_bytes=200_000, soft_pending_bytes=100_000)
    sockets: list[Any] = []
    server.on("hello", lambda data, socket: sockets.append(socket))
    client = front.connect()
    client.emit("hello")
    client.until(lambda: sockets)
    heard: list[Any] = []
    client.on("big", lambda data: heard.append(data[0]))

    def fill() -> int:
        for number in range(1000):
            try:
                sockets[0].emit("big", [number, "x" * 50_000])
            except BackpressureError:
                return number
        raise AssertionError("nothing held it up")

    sent = server.call(fill)
    assert sockets[0].is_open
    client.until(lambda: len(heard) == sent)
    assert heard == list(range(sent))


@pytest.mark.parametrize("at", ["world", "tcp://127.0.0.1:0"])
def test_a_slow_reader_of_the_newest_gets_old_frames_no_more_and_nothing_waits_but_one(front: Any, at: str) -> None:
    """On a real kernel, with the limits as they are: frames larger than ``soft_pending_bytes``, and nobody is cut."""
    if at != "world" and not front.waits:
        pytest.skip("this front's serve() here is of Unix sockets")
    server = front.serve(at=at) if at != "world" else front.serve()
    sockets: list[Any] = []
    heard: list[Any] = []
    server.on("hello", lambda data, socket: sockets.append(socket))
    client = front.connect(at=str(server.server.address)) if at != "world" else front.connect()

    def show(data: Any) -> None:
        time.sleep(0.005)
        heard.append((data[0], emitted[-1]))

    client.on("frame", show)
    client.on("other", heard.append)
    client.emit("hello")
    client.until(lambda: sockets)
    emitted: list[int] = []

    def film(count: int) -> None:
        for _ in range(count):
            emitted.append(len(emitted))
            sockets[0].emit("frame", [emitted[-1], "x" * 3_000_000], keep="latest")
            assert sockets[0].pending_bytes < 7_000_000

    server.call(film, 20)
    server.call(sockets[0].emit, "other", "kept")
    client.until(lambda: heard and heard[-1] == "kept")
    for _ in range(3):
        server.call(film, 5)
        client.until(lambda: heard[-1] != "kept" and heard[-1][0] == emitted[-1])
    frames = [each for each in heard if each != "kept"]
    assert [number for number, _ in frames] == sorted({number for number, _ in frames})
    assert heard.index("kept") == [number for number, _ in frames].index(19) + 1
    stats = sockets[0].stats()
    assert stats.replaced == 35 - len(frames) > 20 and stats.dropped == 0
    assert sockets[0].is_open and stats.pending_bytes == 0


def test_the_newest_of_a_client_and_what_drain_waits_for(waiting: Any) -> None:
    server = waiting.serve()
    heard: list[Any] = []
    server.on("frame", lambda data: heard.append(data[0]))
    server.on("much", lambda data: heard.append("much"))
    client = waiting.connect()

    newest = node_ipc.Event("frame", list, keep="latest")

    def film() -> None:
        for number in range(0, 20, 2):
            client.client.emit("frame", [number, "x" * 3_000_000], keep="latest")
            client.client.emit(newest, [number + 1, "x" * 3_000_000])

    watch = Stopwatch()
    client.call(film)
    assert watch.seconds < 10
    client.emit("much", "x" * 100_000)
    client.drain()
    client.until(lambda: heard and heard[-1] == "much")
    assert heard[:-1] == sorted(heard[:-1]) and heard[-2] == 19
    assert len(heard) - 1 + client.stats().replaced == 20


# ---- reconnecting and ending


def test_a_client_connects_anew_and_its_queue_arrives_in_order(front: Any) -> None:
    server = front.serve()
    client = front.connect()
    down: list[Any] = []
    client.on("disconnect", down.append)
    server.stop(0.5)
    client.until(lambda: down and client.client.state is not ClientState.CONNECTED)
    for number in range(10):
        client.emit("number", number)
    heard: list[Any] = []
    front.serve(on={"number": lambda data, socket: heard.append(data)})
    client.until(lambda: len(heard) == 10)
    assert heard == list(range(10))


PLACES = ["{root}app.world", "tcp://127.0.0.1:0"]


def served_at(front: Any, place: str) -> tuple[Any, Any]:
    """A server there, and where clients of this front find it."""
    server = front.serve(at=[place.format(root=front.config.socket_root)])
    where = server.server.address
    return server, where if isinstance(where, Tcp) and front.name == "callbacks" else str(where)


def links_that_follow(client: Any) -> list[Any]:
    """What grows with each link behind the one that there is."""
    up: list[Any] = []
    client.on("disconnect", lambda: client.client.once("connect", lambda: up.append(1)))
    return up


@pytest.mark.parametrize("place", PLACES, ids=["unix", "tcp"])
def test_a_handler_that_stops_the_server_and_starts_it_has_it_up_again(front: Any, place: str) -> None:
    server, where = served_at(front, place)
    heard: list[Any] = []
    started: list[Any] = []

    def restart() -> None:
        server.server.stop()
        server.server.start()

    server.on("restart", restart)
    server.on("message", lambda data, socket: heard.append(data))
    server.on("start", lambda: started.append(server.server.state))
    client = front.connect(at=where)
    up = links_that_follow(client)
    client.emit("restart", None)
    client.until(lambda: up)
    client.emit("message", "is heard by the handlers that were there")
    client.until(lambda: heard)
    assert heard == ["is heard by the handlers that were there"]
    assert started[-1] == "listening" and server.server.state == "listening" and server.count == 1
    assert place.startswith("tcp") or os.path.exists(place.format(root=front.config.socket_root))


@pytest.mark.parametrize("place", PLACES, ids=["unix", "tcp"])
def test_a_handler_of_a_request_that_restarts_the_server_answers_first(front: Any, place: str) -> None:
    server, where = served_at(front, place)

    def restart() -> str:
        server.server.stop()
        begun = server.server.start()
        assert begun.done, "to await it would be to wait for the answer"
        return "restarts"

    server.handle("restart", restart)
    server.handle("state", lambda: server.server.state.value)
    client = front.connect(at=where)
    up = links_that_follow(client)
    assert client.request("restart", timeout=DEADLINE) == "restarts"
    client.until(lambda: up)
    assert client.request("state", timeout=DEADLINE) == "listening"


@pytest.mark.parametrize("place", PLACES, ids=["unix", "tcp"])
def test_a_handler_that_closes_the_client_and_connects_it_has_a_new_link(front: Any, place: str) -> None:
    server, where = served_at(front, place)
    came: list[Any] = []
    server.on("connect", lambda socket: came.append(socket))
    server.on("message", lambda data, socket: socket.emit("answer", data))
    client = front.connect(at=where)
    told: list[Any] = []

    def anew(data: Any) -> None:
        told.append(data)
        if len(told) == 1:
            client.client.close()
            client.client.connect()

    client.on("answer", anew)
    client.on("destroy", lambda: told.append("destroy"))
    client.emit("message", 1)
    client.until(lambda: "destroy" in told and client.client.state is ClientState.CONNECTED)
    client.emit("message", 2)
    client.until(lambda: len(told) == 3)
    assert told == [1, "destroy", 2] and len(came) == 2


def test_the_verbs_that_end_are_handlers_as_they_are(front: Front) -> None:
    """What programs for node-ipc do: the last one switches off the light."""
    server = echoing(front)
    client = front.connect()
    server.on("socket.disconnected", server.server.stop)
    ends: list[object] = []
    client.on("echo", client.client.close)
    client.on("destroy", lambda: ends.append("destroy"))
    client.emit("echo", {"not": "seconds"})
    client.until(lambda: ends == ["destroy"])
    client.until(lambda: server.server.closed.done)


def test_lifecycle_events_come_in_their_order(front: Any) -> None:
    server = front.serve()
    told: list[str] = []
    server.on("connect", lambda socket: told.append("connect"))
    server.on("socket.disconnected", lambda socket, id: told.append("socket.disconnected"))
    client = front.connect()
    client.on("disconnect", lambda loss: told.append("disconnect"))
    client.on("destroy", lambda: told.append("destroy"))
    client.until(lambda: "connect" in told)
    client.close()
    client.until(lambda: "destroy" in told and "socket.disconnected" in told)
    assert told[0] == "connect" and told.index("disconnect") < told.index("destroy")
    assert sorted(told) == ["connect", "destroy", "disconnect", "socket.disconnected"]


def test_a_handler_of_connect_that_comes_when_the_link_is_up_is_called_once_for_it(front: Any) -> None:
    server = front.serve()
    client = front.connect()
    told: list[str] = []

    def register() -> None:
        client.client.on("connect", lambda: told.append("on"))
        client.client.once("connect", lambda: told.append("once"))
        assert told == []  # never inside the call that registers

    client.call(register)
    client.until(lambda: len(told) == 2)
    client.on("connect", lambda: told.append("late"))
    server.stop(0.5)
    client.until(lambda: client.client.state is not ClientState.CONNECTED)
    front.serve()
    client.until(lambda: "late" in told)
    assert told == ["on", "once", "on", "late"]


def test_a_handler_of_start_that_comes_when_the_server_listens_is_called_once(front: Any) -> None:
    server = front.serve()
    told: list[Any] = []
    server.on("start", told.append)
    client = front.connect()
    client.until(lambda: told)
    server.on("start", told.append)
    heard: list[Any] = []
    server.on("echo", lambda data, socket: socket.emit("echo", data))
    client.on("echo", heard.append)
    client.emit("echo")
    client.until(lambda: heard)
    assert told == [server.server]


def test_close_delivers_what_was_emitted(front: Any) -> None:
    server = front.serve()
    heard: list[Any] = []
    server.on("last", lambda data: heard.append(data))
    client = front.connect()
    for number in range(200):
        client.emit("last", number)
    client.close()
    client.until(lambda: len(heard) == 200)
    assert heard == list(range(200)) and client.client.state is ClientState.CLOSED


def test_stop_delivers_what_was_emitted(front: Any) -> None:
    server = front.serve()
    sockets: list[Any] = []
    server.on("hello", lambda data, socket: sockets.append(socket))
    client = front.connect(max_retries=0)
    heard: list[Any] = []
    client.on("last", heard.append)
    client.emit("hello")
    client.until(lambda: sockets)
    server.call(lambda: [sockets[0].emit("last", number) for number in range(200)])
    server.call(lambda: server.server.stop() if front.name != "blocking" else server.server.shutdown())
    client.until(lambda: len(heard) == 200)
    assert heard == list(range(200))


@pytest.mark.parametrize("verb", ["stop", "close"])
def test_who_ends_in_the_handler_of_a_request_answers_first(front: Any, verb: str) -> None:
    server = front.serve()

    def quit(params: Any, socket: Any) -> str:
        if verb == "stop":
            server.server.stop()
        else:
            socket.close()
        return "bye"

    server.handle("quit", quit)
    client = front.connect(max_retries=0)
    client.on("error", lambda error: None)
    assert client.request("quit") == "bye"
    client.until(lambda: client.client.state is ClientState.CLOSED)
    client.until(lambda: server.count == 0)


def test_a_client_that_closes_in_the_handler_of_a_request_answers_first(front: Any) -> None:
    server = front.serve()
    answers: list[Any] = []
    question = Question("quit", None, 5.0, None, None)
    server.on("ask me", lambda data, socket: server.server.request_from(socket, question).then(
        lambda: answers.append("answered")
    ))  # fmt: skip
    lost: list[Any] = []
    server.on("close", lambda socket: lost.append(socket.stats().messages_in))
    client = front.connect()

    def quit() -> str:
        client.client.close()
        return "bye"

    client.handle("quit", quit)
    client.emit("ask me")
    client.until(lambda: client.client.state is ClientState.CLOSED)
    client.until(lambda: lost)
    assert lost == [2]


def test_a_client_that_connects_anew_in_the_handler_of_a_request_answers_first(front: Any) -> None:
    server = front.serve()
    asked: list[Any] = []
    question = Question("reconnect", None, DEADLINE, None, None)
    server.on("ask me", lambda data, socket: asked.append(server.server.request_from(socket, question)))
    client = front.connect()
    up = links_that_follow(client)

    def reconnect() -> str:
        client.client.close()
        assert client.client.connect().done, "to await it would be to wait for the answer"
        return "reconnects"

    client.handle("reconnect", reconnect)
    client.emit("ask me")
    client.until(lambda: up)
    client.until(lambda: asked[0].done)
    assert asked[0].result() == "reconnects"


def test_closing_twice_is_closing_once(front: Any) -> None:
    front.serve()
    client = front.connect()
    client.close()
    client.close()
    client.abort()
    assert client.client.state is ClientState.CLOSED


def test_a_closed_client_says_so(front: Any) -> None:
    front.serve()
    client = front.connect()
    client.close()
    with pytest.raises(NotConnected, match=r"closed"):
        client.emit("any", 1)
    with pytest.raises(NotConnected):
        client.request("any", timeout=1)


def test_a_closed_client_cannot_receive_either(waiting: Any) -> None:
    waiting.serve()
    client = waiting.connect()
    client.close()
    with pytest.raises(NotConnected, match=r"closed"):
        client.receive("any", timeout=1)
    assert client.take(1) == []


def test_a_server_that_is_not_there_raises_with_the_cause(waiting: Any) -> None:
    with pytest.raises(ConnectError, match=r"app\.world") as told:
        waiting.connect(timeout=5)
    assert isinstance(told.value, ConnectionError) and isinstance(told.value.__cause__, OSError)


def test_wait_connects_to_a_server_that_comes_later(front: Any) -> None:
    heard: list[Any] = []
    began = threading.Event()

    def later() -> None:
        began.wait()
        front.serve().on("hello", lambda data: heard.append(data))

    thread = threading.Thread(target=later)
    thread.start()
    began.set()
    client = front.connect(wait=True, timeout=15)
    thread.join()
    client.emit("hello", 1)
    client.until(lambda: heard)


def test_counters_tell_what_went_over_the_link(front: Any) -> None:
    echoing(front)
    client = front.connect()
    heard: list[Any] = []
    client.on("echo", heard.append)
    for number in range(10):
        client.emit("echo", number)
    client.until(lambda: len(heard) == 10)
    stats = client.stats()
    assert (stats.messages_out, stats.messages_in, stats.links) == (10, 10, 1)
    assert stats.bytes_out == stats.bytes_in > 0


def test_a_misspelt_option_names_the_right_one(front: Any) -> None:
    with pytest.raises(node_ipc.ConfigError, match="'max_retries'"):
        front.connect(maxRetries=3)


def test_a_second_server_at_the_same_place_is_refused(front: Any) -> None:
    front.serve()
    with pytest.raises(node_ipc.AddressInUse, match=r"app\.world"):
        front.serve()


def test_every_front_has_the_same_verbs() -> None:
    verbs = {"on", "once", "off", "emit", "request", "handle", "close", "abort", "stats", "on_trace"}
    from node_ipc.aio import AsyncClient
    from node_ipc.blocking import BlockingClient

    for kind in (node_ipc.Client, AsyncClient, BlockingClient):
        assert verbs <= set(dir(kind))
    assert {"receive", "drain"} <= set(dir(AsyncClient)) & set(dir(BlockingClient))


# ---- what verbs take


OVER = (0, 0.0, -0.001, -2.5, float("-inf"))
NO_TIMES: tuple[Any, ...] = (True, False, "5", b"5", [], float("nan"), -1)


@pytest.mark.parametrize("timeout", OVER)
def test_a_time_that_is_over_is_a_time_out_at_once(front: Any, timeout: float) -> None:
    server, done = front.serve(), []
    server.handle("charge", lambda params: done.append(params))
    client = front.connect()
    with pytest.raises(RequestTimeout):
        client.request("charge", 1, timeout=timeout)
    if front.waits:
        with pytest.raises(ReceiveTimeout):
            client.receive("nothing", timeout=timeout)
    assert client.request("charge", 2, timeout=float("inf")) is None
    assert done == [2]
    client.close(timeout)


@pytest.mark.parametrize("timeout", NO_TIMES)
def test_a_time_that_is_none_is_refused_at_once(front: Any, timeout: Any) -> None:
    front.serve()
    client = front.connect()
    calls: dict[str, Callable[[], Any]] = {
        "request": lambda: client.request("charge", 1, timeout=timeout),
        "close": lambda: client.close(timeout),
        "receive": lambda: client.receive("nothing", timeout=timeout),
        "connect": lambda: front.connect(timeout=timeout),
    }
    for verb, call in calls.items():
        if verb in ("request", "close") or front.waits:
            with pytest.raises((TypeError, ValueError), match=rf"{verb}\(timeout=…\) takes seconds"):
                call()
    assert client.client.state is ClientState.CONNECTED


@pytest.mark.parametrize("name", [5, None, b"bytes", ["x"], True])
def test_what_is_no_name_is_refused_at_once(front: Any, name: Any) -> None:
    front.serve()
    client = front.connect()
    calls: list[Callable[[], Any]] = [
        lambda: client.emit(name, 1),
        lambda: client.on(name, print),
        lambda: client.request(name, 1),
    ]
    if front.waits:
        calls.append(lambda: client.receive(name, timeout=1))
    for call in calls:
        with pytest.raises(InvalidEvent, match="name must be text, not"):
            call()


class Names(enum.StrEnum):
    ECHO = "echo"


class Name(str):
    """Text with something to it."""


@pytest.mark.parametrize("name", [Names.ECHO, Name("echo"), Event("echo", int)], ids=["enum", "subclass", "event"])
def test_a_name_may_be_text_of_any_kind(front: Any, name: Any) -> None:
    server = front.serve()
    server.on(name, lambda data, socket: socket.emit(name, data + 1))
    server.handle(name, lambda params: params * 2)
    client = front.connect()
    assert client.request(name, 21) == 42
    client.emit(name, 1)
    if front.waits:
        assert client.receive(name, timeout=20) == 2
    else:
        heard: list[int] = []
        client.on(name, heard.append)
        client.emit(name, 1)
        client.until(lambda: heard)
        assert heard[-1] == 2


def test_a_full_server_and_its_client_both_say_why(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = front.serve(max_connections=1)
    first = front.connect()
    first.until(lambda: server.count == 1)
    second = front.connect(retry_growth=1)
    errors: list[Exception] = []
    second.on("error", errors.append)
    second.until(lambda: errors)
    told = [str(error) for error in errors if "ended the link at once, 3 times in a row" in str(error)]
    assert len(told) == 1 and "max_connections" in told[0]
    lines = [
        record.getMessage() for record in caplog.records if "max_connections (1) is reached" in record.getMessage()
    ]
    assert len(lines) == 1
    assert server.call(server.server.stats).refused >= 3
    assert server.count == 1


def test_a_client_that_gave_up_says_why(front: Any) -> None:
    server = front.serve()
    client = front.connect(max_retries=1)
    client.on("error", lambda error: None)
    server.stop()
    client.until(lambda: client.client.state is ClientState.CLOSED)
    verbs: list[Callable[[], Any]] = [lambda: client.emit("x", 1), lambda: client.request("x")]
    if front.waits:
        verbs += [lambda: client.receive("x"), client.drain]
    if front.name == "blocking":
        verbs += [client.client.poll]
    for verb in verbs:
        with pytest.raises(NotConnected, match=r"is closed, since it gave up: .*world") as closed:
            verb()
        assert isinstance(closed.value.__cause__, ConnectError)
        assert closed.value.os_code in ("ENOENT", "ECONNREFUSED")


# ---- several addresses


def at_two(front: Any, *others: Any) -> list[Any]:
    """A Unix socket where ``world`` is, and a port."""
    return [f"{front.config.socket_root}app.world", "tcp://127.0.0.1:0", *others]


def test_a_server_at_several_addresses_is_one_server(front: Any) -> None:
    server = echoing(front, at=at_two(front))
    local, port = server.server.addresses
    assert server.server.address is local and isinstance(local, Unix) and isinstance(port, Tcp) and port.port
    clients: list[Any] = []
    heard: list[list[Any]] = [[], []]
    for at, mine in zip(("world", port), heard, strict=True):
        client = front.connect(at=at)  # one behind the other, since the oldest socket is the first
        clients.append(client)
        client.on("echo", mine.append)
        client.on("to all", mine.append)
        client.emit("echo", 1)
        client.until(lambda mine=mine: mine)
    assert [socket.address for socket in server.server.sockets] == [local, port]
    assert [socket.peer.transport for socket in server.server.sockets] == ["unix", "tcp"]
    server.broadcast("to all", 2)
    for client, mine in zip(clients, heard, strict=True):
        client.until(lambda mine=mine: 2 in mine)
    assert server.call(server.server.stats).messages_in == 2
    server.stop()
    for client in clients:
        client.until(lambda client=client: client.client.state is not ClientState.CONNECTED)
    assert not os.path.exists(local.path)
    socket.create_server(("127.0.0.1", port.port)).close()


def test_where_one_address_is_taken_a_server_listens_at_none(front: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(node_ipc.AddressInUse, match=str(port)):
            front.serve(at=[f"{front.config.socket_root}app.world", f"tcp://127.0.0.1:{port}"])
    assert not os.path.exists(f"{front.config.socket_root}app.world")
    with pytest.raises(ConnectError):
        front.connect(max_retries=0, timeout=5)
    front.serve(at=[f"{front.config.socket_root}app.world", f"tcp://127.0.0.1:{port}"])


def test_a_server_of_several_can_be_started_again(front: Any) -> None:
    server = front.serve(at=at_two(front))
    before = server.server.addresses
    server.stop()
    if front.name != "blocking":  # whose thread is over
        server.call(server.server.start)
        front.connect(at=before[1])
        assert server.server.addresses == before


def test_what_cannot_be_one_of_several_says_so(front: Any) -> None:
    for wrong, why in (
        (at_two(front, "udp4://127.0.0.1:0"), "give UDP a server of its own, with serve_udp"),
        (at_two(front, f"unix:{front.config.socket_root}app.world"), "is there twice"),
        (at_two(front, 5), "not an address: 5"),
        ([], "nothing to serve"),
    ):
        with pytest.raises(node_ipc.AddressError, match=why):
            front.serve(at=wrong)


def hints(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


def test_a_handler_of_the_lifecycle_s_event_by_another_name_is_told_once(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = front.serve(), front.connect()
    for _ in range(2):
        server.on("connection", lambda socket: None)
        client.once("disconect", print)
    client.on("message", print)
    client.on("connected", print, type=int)
    client.on(Event("connected", int), print)
    client.close()
    (told,) = hints(caplog, "'connection'")
    assert "hears what the other side emits under that name; what happens here is named 'connect'" in told
    (told,) = hints(caplog, "'disconect'")
    assert "what happens here is named 'disconnect': was that meant?" in told
    assert not hints(caplog, "'message'") and not hints(caplog, "'connected'")


def test_a_usual_word_for_what_happens_is_told_where_the_other_side_emits_nothing_of_that_name(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.serve()
    server.on("connection", lambda s: None)
    front.connect()
    client = front.connect()
    client.on("connected", lambda: None)
    client.on("disconnected", lambda reason: None)
    assert not hints(caplog, "what happens here")
    client.until(lambda: server.count == 2)
    client.close()
    server.stop()
    assert re.findall("a handler of '(.*?)' hears", caplog.text) == ["connected", "disconnected", "connection"]


def test_a_program_s_own_events_may_have_such_names(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    server = front.serve()
    server.on("connect", lambda socket: None)
    server.on("connected", lambda data, socket: heard.append(data))
    server.on("disconnected", lambda name: heard.append(name))
    server.on("connection", lambda name: heard.append(name))
    client = front.connect()
    client.on("connected", lambda: heard.append("connected"))
    client.on("disconnected", lambda name: heard.append(name))
    client.emit("connected", "me")
    client.emit("connection", "good")
    client.until(lambda: heard == ["me", "good"])
    server.broadcast("connected", "another")
    client.until(lambda: heard == ["me", "good", "connected"])
    client.close()
    server.stop()
    assert not hints(caplog, "what happens here")


def test_one_of_everything_may_name_what_messages_bring(front: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The lifecycle brings less."""
    heard: list[tuple[Any, ...]] = []
    server = front.serve()
    server.on("*", lambda type, data, socket: heard.append((type, data is socket, socket)))
    client = front.connect()
    client.on("*", lambda type, data: heard.append((type, data)))
    client.emit("message", 1)
    client.until(lambda: any(type == "message" for type, *_ in heard))
    client.close()
    server.stop()
    assert ("connect", False, None) in heard and ("destroy", None) in heard
    assert not hints(caplog, "failed") and not [entry for entry in heard if entry[0] == "error"]


def test_a_handler_of_what_happens_only_to_the_other_kind_of_end_is_never_called_and_told(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = front.serve(), front.connect()
    server.on("disconnect", print)
    client.on("close", print)
    at_the_server, at_the_client = hints(caplog, "is never called")
    assert "a handler of 'disconnect' is never called here: the event is named 'close'" in at_the_server
    assert "a handler of 'close' is never called here: the event is named 'disconnect'" in at_the_client


def test_a_udp_port_tells_of_handlers_of_what_udp_has_not(caplog: pytest.LogCaptureFixture) -> None:
    with blocking.serve_udp("127.0.0.1:0", silent=True) as port:
        port.on("disconnect", print)
        port.on("conect", print)
    (told,) = hints(caplog, "is never called")
    assert "a handler of 'disconnect' is never called: nothing of that name happens here" in told
    assert "what happens here is named 'connect'" in hints(caplog, "'conect'")[0]


def test_emit_where_request_was_meant_is_told_once_and_request_where_emit_was(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = front.serve(), front.connect()
    heard: list[Any] = []
    server.handle("add", lambda params: sum(params))
    server.on("message", lambda data, socket: heard.append(data))
    for number in (1, 2):
        client.emit("add", [number])
        client.emit("message", number)
    client.until(lambda: len(heard) == 2)
    (told,) = hints(caplog, "'add'")
    assert "there is one for requests of 'add': was request meant, and not emit?" in told
    assert client.request("add", [1, 2], timeout=DEADLINE) == 3
    with pytest.raises(RemoteError, match=r"no method 'message', but an event handler: was emit meant\?"):
        client.request("message", 3, timeout=DEADLINE)
    for nobody in ("mesage", "rpc.request", "*"):
        with pytest.raises(RemoteError) as refused:
            client.request(nobody, timeout=DEADLINE)
        named = "" if nobody.startswith("rpc.") else ": case counts; the log of that side names those"
        assert f"{refused.value.message} ".startswith(f"there is no method {nobody!r}{named} ")
    assert heard == [1, 2]


def test_an_event_to_a_client_that_handles_requests_of_that_name_is_told(
    front: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = front.serve(), front.connect()
    heard: list[Any] = []
    client.handle("add", lambda params: sum(params))
    client.on("message", heard.append)
    client.until(lambda: server.count)
    server.broadcast("add", [1])
    server.broadcast("message", 1)
    client.until(lambda: heard)
    (told,) = hints(caplog, "'add'")
    assert "was request meant" in told


def test_verbs_of_sockets_and_of_servers_say_whose_they_are(front: Any) -> None:
    server, client = front.serve(), front.connect()
    for verb in ("request", "emit"):
        with pytest.raises(InvalidEvent, match=rf"{verb} takes the socket first: server\.{verb}\(socket, "):
            server.call(getattr(server.server, verb), "add")
    for verb in ("join", "leave"):
        with pytest.raises(AttributeError, match=rf"use socket\.{verb}\(room\)"):
            getattr(server.server, verb)
        with pytest.raises(AttributeError, match=rf"whose handler calls socket\.{verb}\(room\)"):
            getattr(client.client, verb)
        assert verb not in dir(server.server) and verb not in dir(client.client)


def test_connect_says_how_to_wait_for_a_server(waiting: Any) -> None:
    with pytest.raises(
        ConnectError, match=r"no server at .* connect\(…, wait=True\) waits for one, .*\(10 unless said; None"
    ):
        waiting.connect()


def test_a_wait_that_is_over_says_how_to_wait_longer(waiting: Any) -> None:
    with pytest.raises(
        ConnectTimeout, match=r"within 0.1 s: no server at .* \(10 s unless said\); None waits for ever$"
    ):
        waiting.connect(wait=True, timeout=0.1)


# ---- a server that hangs


class Hung:
    """A server that takes a connection and never ends it, as one that is stopped or caught in a handler."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._link: socket.socket | None = None

    def read(self, count: int) -> bytes:
        """So many messages."""
        if self._link is None:
            self._link, _ = self._listening.accept()
            self._link.settimeout(DEADLINE)
        read = b""
        while read.count(b"\f") < count:
            more = self._link.recv(4096)
            assert more
            read += more
        return read

    def close(self) -> None:
        self._listening.close()
        if self._link is not None:
            self._link.close()


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Hung]:
    hung = Hung(tmp_path / "app.world")
    yield hung
    hung.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a peer has read")
def test_closing_does_not_wait_for_a_hung_server_that_has_read_everything(front: Any, hung: Hung) -> None:
    client = front.connect()
    client.emit("n", 1)
    assert b'"n"' in hung.read(1)
    losses: list[Loss] = []
    client.on("disconnect", losses.append)
    watch = Stopwatch()
    client.close(60.0)
    assert watch.seconds < LOOK_SECONDS + 1
    assert client.client.state is ClientState.CLOSED
    assert [loss.in_flight for loss in losses] == [0], "it has it, and that is no loss"


def test_closing_does_not_wait_for_a_hung_server_where_a_request_was_given_up(front: Any, hung: Hung) -> None:
    client = front.connect()
    with pytest.raises(RequestTimeout):
        client.request("sum", timeout=0.05)
    watch = Stopwatch()
    client.close(60.0)
    assert watch.seconds < LOOK_SECONDS + 1


def test_closing_waits_for_a_hung_server_that_has_not_read_what_was_emitted(front: Any, hung: Hung) -> None:
    client = front.connect()
    with pytest.raises(RequestTimeout):
        client.request("sum", timeout=0.05)
    client.emit("n", 1)
    losses: list[Loss] = []
    client.on("disconnect", losses.append)
    watch = Stopwatch()
    client.close(LOOK_SECONDS * 3)
    assert watch.seconds >= LOOK_SECONDS * 2
    assert losses[0].in_flight >= 1
    assert b'"n"' in hung.read(3)


# ---- what an outcome's name says, tested for truth


def test_connected_and_closed_are_true_while_it_is_so(front: Front) -> None:
    server = front.serve()
    end = front.connect()
    client: Any = end.client
    assert client.connected and not client.closed
    assert server.server.started and not server.server.closed
    ended, up = client.closed, client.connected
    server.stop(0)
    end.until(lambda: not client.connected)
    assert not client.closed and not server.server.started and server.server.closed
    end.close()
    assert client.closed and ended and not up


def test_a_client_that_connects_anew_is_neither_closed_nor_connected_yet() -> None:
    with testing.pair() as (client, _, _, driver):
        driver.run_until(client.close())
        assert client.closed
        connected = client.connect()
        assert not (client.closed or client.connected or connected)
        driver.run_until(connected)
        assert connected


def test_an_outcome_without_a_state_is_true_as_any_object(front: Front) -> None:
    front.serve()
    asked: Any = front.connect().client._driver.outcome(None)
    assert asked
    asked.settle()
    assert asked


def test_a_state_equals_its_value_and_is_not_assigned(front: Front) -> None:
    server, end = front.serve(), front.connect()
    client: Any = end.client
    ends: list[tuple[Any, str]] = [(client, "connected"), (server.server, "listening")]
    for endpoint, state in ends:
        assert endpoint.state == state and endpoint.state != "closed"
        assert {state: 1}[endpoint.state] == 1
        assert msgspec.json.encode(endpoint.state) == f'"{state}"'.encode()
        assert str(endpoint.state).endswith(f"State.{state.upper()}")
        with pytest.raises(AttributeError, match="state"):
            endpoint.state = 5
        assert endpoint.state == state
