"""Every verb, on each front, with every kind of value: what makes sense works, the rest is refused at once.

Refused means: an error of the caller's line that says what to give instead; never a wait, and never an error of some
line inside that took the value for something else.
"""

from __future__ import annotations

import enum
import ipaddress
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from fronts import FRONTS, front_of
from node_ipc import IPC, AddressError, Config, ConnectError, Event, InvalidEvent, RequestTimeout, blocking
from node_ipc.config.address import Tcp, Udp, Unix

AT_ONCE = 5.0
"""Seconds that only a wait is longer than, on the slowest machine."""


class Plain(enum.Enum):
    A = "a"


class Mixed(str, enum.Enum):  # noqa: UP042 - the older spelling, whose str() is "Mixed.A"
    A = "a"


class Strict(enum.StrEnum):
    A = "a"


class Subclass(str):
    pass


class PathOfBytes:
    """A path as ``os.scandir(b"…")`` gives them."""

    def __init__(self, path: str) -> None:
        self._path = os.fsencode(path)

    def __fspath__(self) -> bytes:
        return self._path


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.name)
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    config = Config(socket_root=f"{tmp_path}/", retry=20, silent=True)
    with front_of(request.param, config) as front:
        yield front


def refused(call: Callable[..., Any], kind: Any, match: str, *arguments: Any, **options: Any) -> None:
    """``call(*arguments, **options)`` raises this at once."""
    began = time.monotonic()
    with pytest.raises(kind, match=match):
        call(*arguments, **options)
    assert time.monotonic() - began < AT_ONCE


class Ends:
    """One of everything that has verbs, connected, and how to call it where it lives."""

    def __init__(self, front: Any) -> None:
        self.server_end = front.serve()
        self.server_end.handle("ask", lambda params: params)
        self.port_end = front.serve(at="udp4://127.0.0.1:0") if front.name != "callbacks" else self._port(front)
        self.client_end = front.connect()
        self.client_end.on("error", lambda error: None)
        self.client_end.until(lambda: self.server_end.count == 1)
        self.server, self.port, self.client = self.server_end.server, self.port_end.server, self.client_end.client
        self.socket = next(iter(self.server.sockets))

    @staticmethod
    def _port(front: Any) -> Any:
        from fronts import ServerEnd

        ipc = IPC(front.config.copy())

        async def open() -> Any:
            port = ipc.serve_udp("127.0.0.1", 0)
            await port.start()
            return port

        port = front.loop.wait(open)

        def stop(timeout: float | None) -> None:
            async def ended() -> None:
                await port.stop(timeout)

            front.loop.wait(ended)

        front.ends.callback(stop, 0.5)
        return ServerEnd(port, front.loop.call, stop)

    def on_client(self, verb: str, *arguments: Any, **options: Any) -> Any:
        return self.client_end.call(getattr(self.client, verb), *arguments, **options)

    def on_server(self, verb: str, *arguments: Any, **options: Any) -> Any:
        return self.server_end.call(getattr(self.server, verb), *arguments, **options)

    def on_socket(self, verb: str, *arguments: Any, **options: Any) -> Any:
        return self.server_end.call(getattr(self.socket, verb), *arguments, **options)

    def on_port(self, verb: str, *arguments: Any, **options: Any) -> Any:
        return self.port_end.call(getattr(self.port, verb), *arguments, **options)


@pytest.fixture
def ends(front: Any) -> Ends:
    return Ends(front)


# ---- names

NO_NAMES: tuple[Any, ...] = (5, None, 1.5, True, b"name", ["name"], ("name",), {"a": 1}, object(), print, Event)
WITH_A_NAME: tuple[Any, ...] = (Plain.A, Path("name"), threading.current_thread(), threading.Thread)


def everything_with_names(ends: Ends, name: Any) -> dict[str, Callable[[], Any]]:
    to = ("127.0.0.1", ends.port.address.port)
    return {
        "client.emit": lambda: ends.on_client("emit", name, 1),
        "client.on": lambda: ends.on_client("on", name, print),
        "client.once": lambda: ends.on_client("once", name, print),
        "client.off": lambda: ends.on_client("off", name),
        "client.request": lambda: ends.on_client("request", name, 1),
        "client.request, no time": lambda: ends.on_client("request", name, 1, timeout=0),
        "server.emit": lambda: ends.on_server("emit", ends.socket, name, 1),
        "server.broadcast": lambda: ends.on_server("broadcast", name, 1),
        "server.on": lambda: ends.on_server("on", name, print),
        "server.once": lambda: ends.on_server("once", name, print),
        "server.off": lambda: ends.on_server("off", name),
        "server.request": lambda: ends.on_server("request", ends.socket, name, 1),
        "server.request_all": lambda: ends.on_server("request_all", name, 1),
        "socket.emit": lambda: ends.on_socket("emit", name, 1),
        "socket.request": lambda: ends.on_socket("request", name, 1),
        "port.emit": lambda: ends.on_port("emit", to, name, 1),
        "port.broadcast": lambda: ends.on_port("broadcast", name, 1),
        "port.on": lambda: ends.on_port("on", name, print),
        "port.once": lambda: ends.on_port("once", name, print),
        "port.off": lambda: ends.on_port("off", name),
        "Event": lambda: Event(name, int),
    }


def test_what_is_no_name_is_refused_by_every_verb(ends: Ends) -> None:
    for name in (*NO_NAMES, *WITH_A_NAME):
        for call in everything_with_names(ends, name).values():
            refused(call, InvalidEvent, "name (must be|is) text")
        for handle in (ends.on_client, ends.on_server):
            refused(handle, (InvalidEvent, TypeError), "text", "handle", name, print)


@pytest.mark.parametrize("name", ["", "x" * 10_000_000, "__proto__"], ids=["empty", "10 MB", "unsafe"])
def test_a_name_that_no_peer_takes_is_refused_by_every_verb(ends: Ends, name: str) -> None:
    for verb, call in everything_with_names(ends, name).items():
        # what is asked for travels in the payload, and what nobody registered can be taken off
        if not any(word in verb for word in ("request", "off", "Event")):
            refused(call, InvalidEvent, "name")


@pytest.mark.parametrize(
    "name", [Mixed.A, Strict.A, Subclass("a"), Event("a", int)], ids=["mixed", "strict", "sub", "e"]
)
def test_a_name_of_any_kind_of_text_is_that_text(ends: Ends, name: Any) -> None:
    heard: list[Any] = []
    ends.server_end.on("*", lambda type, data, *_: heard.append((type.__class__, type, data)))
    ends.server_end.on(name, lambda data, socket: heard.append(data))
    ends.on_client("emit", name, 1)
    ends.client_end.until(lambda: len(heard) == 2)
    assert heard == [(str, "a", 1), 1]
    ends.on_server("off", "*")
    ends.server_end.handle(name, lambda params: params * 2)
    assert ends.client_end.request("a", 21) == 42
    ends.on_server("off", "a")
    ends.on_client("emit", "a", 1)
    ends.client_end.request("ask")
    assert len(heard) == 2


@pytest.mark.parametrize("handler", [5, "x", b"x", [], {}, object()])
def test_what_is_no_handler_is_refused_by_every_verb(ends: Ends, handler: Any) -> None:
    for end in (ends.on_client, ends.on_server, ends.on_port):
        for verb in ("on", "once", "off"):
            refused(end, TypeError, "callable|takes the handler", verb, "name", handler)
    for end in (ends.on_client, ends.on_server):
        refused(end, TypeError, "callable", "handle", "name", handler)
    for timeout in (0, 1):
        options = {"timeout": timeout, "progress": handler}
        refused(ends.client_end.request, TypeError, "progress must be callable", "ask", 1, **options)


def test_who_is_left_out_is_given_as_sockets(ends: Ends) -> None:
    for exclude in (ends.socket, ends.socket.id, 5, "x", b"x", ["x"], [None], [5], object()):
        for end, verbs in ((ends.on_server, ("broadcast", "request_all")), (ends.on_port, ("broadcast",))):
            for verb in verbs:
                why = rf"{verb}\(exclude=…\) takes sockets, as exclude=\[socket\]"
                refused(end, TypeError, why, verb, "ask", 1, exclude=exclude)
    for nobody in ((), [], set(), {ends.socket}, [ends.socket], (ends.socket,), {ends.socket: 1}.keys()):
        ends.on_server("broadcast", "ask", 1, exclude=nobody)


def test_whom_to_send_to_is_a_socket(ends: Ends) -> None:
    for to in (None, 5, "x", b"x", [], object(), ends.client):
        refused(ends.on_server, InvalidEvent, "takes the socket first", "emit", to, "x", 1)
        refused(ends.on_server, InvalidEvent, "takes the socket first", "request", to, "x", 1)


# ---- times

ENDLESS: tuple[Any, ...] = (math.inf, 1e8, 3e6, 10**400)
OVER: tuple[Any, ...] = (0, -0.0, -0.001, -5, -math.inf, -(10**400))
NO_TIMES: tuple[Any, ...] = (True, False, "5", b"5", [], Decimal("0.1"), math.nan)


def everything_that_takes_time(front: Any, ends: Ends, time: Any) -> dict[str, Callable[[], Any]]:
    found = {
        "request": lambda: ends.client_end.request("ask", 1, timeout=time),
        "request, socket": lambda: ends.on_socket("request", "ask", 1, timeout=time),
        "request, server": lambda: ends.on_server("request", ends.socket, "ask", 1, timeout=time),
        "request_all": lambda: ends.on_server("request_all", "ask", 1, timeout=time),
        "close": lambda: ends.client_end.close(time),
        "close, socket": lambda: ends.on_socket("close", time),
        "stop": lambda: ends.on_server("stop", time),
        "stop, port": lambda: ends.on_port("stop", time),
    }
    if front.waits:
        found["receive"] = lambda: ends.client_end.receive("nothing", timeout=time)
        found["connect"] = lambda: front.connect(timeout=time)
    if front.name == "blocking":
        found["poll"] = lambda: ends.on_client("poll", time)
        found["drain"] = lambda: ends.on_client("drain", time)
        found["poll, port"] = lambda: ends.on_port("poll", time)
        found["drain, server"] = lambda: ends.on_server("drain", time)
        found["drain, port"] = lambda: ends.on_port("drain", time)
        found["reconnect"] = lambda: next(iter(blocking.reconnect("world", config=front.config, timeout=time)))
    return found


@pytest.mark.parametrize("time", NO_TIMES, ids=repr)
def test_what_is_no_time_is_refused_by_every_verb(front: Any, ends: Ends, time: Any) -> None:
    for verb, call in everything_that_takes_time(front, ends, time).items():
        name = verb.partition(",")[0]
        refused(call, (TypeError, ValueError), rf"{name}\(timeout=…\) takes seconds as a number, or None for no limit")
    assert ends.client_end.request("ask", 1) == 1  # nothing has ended


@pytest.mark.parametrize("time", NO_TIMES, ids=repr)
def test_what_is_no_time_is_refused_also_where_there_is_nobody_to_ask(front: Any, time: Any) -> None:
    server = front.serve()
    refused(
        lambda: server.call(server.server.request_all, "ask", timeout=time), (TypeError, ValueError), "takes seconds"
    )


@pytest.mark.parametrize("time", ENDLESS, ids=lambda time: f"{float(min(time, 10**300)):g}")
def test_a_time_that_never_ends_is_no_limit(front: Any, ends: Ends, time: Any) -> None:
    assert ends.client_end.request("ask", 1, timeout=time) == 1
    ends.server_end.on("hello", lambda data, socket: socket.emit("answer", data))
    if front.waits:
        ends.on_client("emit", "hello", 5)
        assert ends.client_end.receive("answer", timeout=time) == 5
        front.connect(timeout=time).close(time)
    ends.client_end.close(time)
    ends.port_end.stop(time)
    ends.server_end.stop(time)


@pytest.mark.parametrize("time", OVER, ids=lambda time: f"{float(max(time, -(10**300))):g}")
def test_a_time_that_is_over_ends_at_once(front: Any, ends: Ends, time: Any) -> None:
    refused(lambda: ends.client_end.request("ask", 1, timeout=time), RequestTimeout, "within 0 s")
    if front.waits:
        refused(lambda: ends.client_end.receive("nothing", timeout=time), node_ipc.ReceiveTimeout, "within 0 s")
        with suppress(node_ipc.ConnectTimeout):  # unless it was there at once
            front.connect(timeout=time).close(time)
    ends.client_end.close(time)
    ends.port_end.stop(time)
    ends.server_end.stop(time)


@pytest.mark.parametrize("wait", [5, 0, None, "yes", math.inf, []])
def test_wait_is_no_time(front: Any, wait: Any) -> None:
    if front.waits:
        refused(
            lambda: front.connect(wait=wait), TypeError, r"takes True or False, .* how long is timeout=, in seconds"
        )


# ---- addresses

NO_PLACES: tuple[tuple[Any, str], ...] = (
    (b"world", r"not an address: b'world'. Text is needed: decode it"),
    (bytearray(b"x"), "Text is needed: decode it"),
    (memoryview(b"x"), "Text is needed: decode it"),
    (None, "not an address: None"),
    (5, "not an address: 5"),
    (True, "not an address: True"),
    (math.nan, "not an address: nan"),
    (("127.0.0.1", 8000), r"A host and a port are tcp://127.0.0.1:8000"),
    (("127.0.0.1", "8000"), r"A host and a port are tcp://127.0.0.1:8000"),
    (ipaddress.IPv4Address("127.0.0.1"), "not an address: IPv4Address"),
    (Plain.A, "not an address: <Plain.A"),
    (Event("world", int), "not an address: Event"),
    (object(), "not an address: <object"),
    (print, "not an address: <built-in"),
    ({}, "not an address: {}"),
    ({"host": "127.0.0.1"}, "not an address: {'host'"),
    ("", "no address: ''"),
    (" ", "the id is empty"),
    ("~", "this is a directory and no id: '~'. A socket in it is ~/name.sock"),
    (".", "this is a directory and no id"),
    ("~/", "names a directory"),
    ("/", "names a directory"),
    (Path("~"), "names a directory"),
    (Path(), "names a directory"),
    ("a/b", "an id holds no path"),
    ("world\0", "NUL"),
    ("world\ud800", "the file system cannot hold this path"),
    ("x" * 5000, "at most|too long"),
    ("127.0.0.1:80", "A host and a port are tcp://127.0.0.1:80"),
    ("tcp://127.0.0.1", "there is no port"),
    ("tcp://127.0.0.1:99999", "0 to 65535"),
    ("http://x:80", "unknown kind of address 'http'"),
)


@pytest.mark.parametrize(("place", "why"), NO_PLACES, ids=lambda value: ascii(value)[:30])
def test_what_is_no_address_is_refused_by_every_verb(front: Any, place: Any, why: str) -> None:
    if front.name == "callbacks":
        pytest.skip("its verbs take ids, hosts and paths, each for itself: below")
    refused(lambda: front.serve(at=place), AddressError, why)
    refused(lambda: front.connect(at=place), AddressError, why)
    if not isinstance(place, tuple) and place != "127.0.0.1:80":
        udp = blocking.serve_udp if front.name == "blocking" else node_ipc.serve_udp
        refused(lambda: udp(place, config=front.config), AddressError, ".")


def test_a_socket_that_is_not_bound_is_no_address(front: Any) -> None:
    """To listen on it would be to listen at some port of every interface."""
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as sock:
                refused(front.serve, AddressError, "Give (a bound socket|one of type)", at=sock)
                refused(front.serve, AddressError, "Give (a bound socket|one of type)", at=[sock])


def test_lines_of_a_file_are_no_addresses(front: Any) -> None:
    with open(__file__) as lines:
        refused(lambda: front.serve(at=lines), AddressError, "not an address|in this order")


@pytest.mark.parametrize(
    "kind",
    [str, Subclass, Path, PathOfBytes, Unix, lambda path: f"unix:{path}"],
    ids=["str", "sub", "path", "bytes", "u", "url"],
)
def test_a_path_may_be_of_any_kind(front: Any, tmp_path: Path, kind: Callable[[str], Any]) -> None:
    if front.name == "callbacks" and kind not in (str, Subclass, Path, PathOfBytes):
        pytest.skip("a path is not a URL there, as in node-ipc")
    place = kind(f"{tmp_path}/app.world")
    server = front.serve(at=place)
    assert server.server.address == Unix(f"{tmp_path}/app.world")
    client = front.connect() if front.name == "callbacks" else front.connect(at=place)
    client.until(lambda: server.count == 1)


@pytest.mark.parametrize("id", [Mixed.A, Strict.A, Subclass("a")], ids=["mixed", "strict", "sub"])
def test_an_id_may_be_text_of_any_kind(front: Any, tmp_path: Path, id: Any) -> None:
    if front.name == "callbacks":
        front.serve(id=id)
        with pytest.raises(ConnectError):
            front.connect(max_retries=0)
    else:
        server = front.serve(at=id)
        client = front.connect(at=id)
        assert client.client.id == "a" and client.client.id.__class__ is str
        client.until(lambda: server.count == 1)
    assert os.path.exists(tmp_path / "app.a")


def test_addresses_are_text_and_a_number() -> None:
    for host in (ipaddress.IPv4Address("127.0.0.1"), b"localhost", None, 5, Path("localhost")):
        refused(Tcp, AddressError, "a host is text", host, 80)
        refused(Udp, AddressError, "a host is text", host, 80, "udp4")
    for path in (Path("/run/x"), b"/run/x", None, 5):
        refused(Unix, AddressError, "a path is text here", path)
        refused(Unix, AddressError, "a path is text here", "/run/x", (path,))
    refused(Udp, AddressError, "'udp4' or 'udp6'", "127.0.0.1", 80, "tcp")


def test_options_are_the_text_that_an_enum_stands_for(tmp_path: Path) -> None:
    class Setting(str, enum.Enum):  # noqa: UP042 - as above
        ROOT = "/run/app/"
        ID = "world"

    config = Config(socket_root=Setting.ROOT, id=Setting.ID, appspace=Setting.ID)
    assert f"{config.socket_root}{config.appspace}{config.id}" == "/run/app/worldworld"
    assert Config(socket_root=PathOfBytes("/run/app")).socket_root == "/run/app/"


# ---- the callback front's own verbs


@pytest.fixture
def ipc(tmp_path: Path) -> IPC:
    return IPC(Config(socket_root=f"{tmp_path}/", silent=True))


@pytest.mark.parametrize("id", [5, 0, False, b"", b"world", (), [], {}, ["world"], Path("world"), Plain.A, print])
def test_what_is_no_id_is_refused(ipc: IPC, id: Any) -> None:
    refused(lambda: ipc.connect_to(id), AddressError, "the id of the server comes first and is text")
    refused(lambda: ipc.connect_to_net(id), AddressError, "the id of the server comes first and is text")
    refused(lambda: ipc.disconnect(id), AddressError, "takes the id of a client")


@pytest.mark.parametrize(
    "path", [5, True, b"world", object(), {}, ipaddress.IPv4Address("127.0.0.1"), Plain.A, math.nan]
)
def test_what_is_no_argument_says_which_there_are(ipc: IPC, path: Any) -> None:
    for verb in (ipc.serve, ipc.serve_udp):
        if not (verb == ipc.serve_udp and path in (5,)):
            refused(verb, AddressError, r"in this order: .* is out of place", path)
    refused(lambda: ipc.connect_to("world", path), AddressError, r"in this order: .* is out of place")
    if path != 5:
        refused(lambda: ipc.connect_to_net("world", path), AddressError, r"in this order: .* is out of place")
        refused(lambda: ipc.serve_net(path), AddressError, r"in this order: .* is out of place")
    refused(lambda: ipc.connect_to_net("world", "localhost", 99999), AddressError, "0 to 65535")
    refused(lambda: ipc.serve_net("localhost", -1), AddressError, "0 to 65535")
