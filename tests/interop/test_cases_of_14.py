"""What node-ipc 14 documents of itself, as cases that both libraries are put to.

What is about the wire is asked of the real 14 as well: the same bytes go to a server of each of our fronts, to a server
and a client on the memory driver, and to node-ipc 14, and each must hear the same and refuse with the same code. The
rest (retries, order, stop, roots, TLS rules, UDP) is asked of Python ends on the memory driver or a Unix socket.

``DO_NOT_APPLY`` is what 14 documents and this library does not do, each with the reason.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import node_ipc
from fronts import FRONTS, front_of
from node_ipc import IPC, Client, ClientState, Config, DatagramServer, Server
from node_ipc.config.address import Tcp, Tls, Udp, Unix
from node_ipc.errors import AssuredError, ConfigError, IPCError, NotASocket, ProtocolError, SocketRootError
from node_ipc.testing import MemoryDriver, Started, WireServer, pair, serve
from node_ipc.wire.names import LIFECYCLE, UNSAFE

from .pairs import Ends
from .peers import DEADLINE, ReportedError

WORLD = Unix("/memory/app.world")
EMOJI = "\N{GRINNING FACE}"
LIMIT = 2000
ALLOWED = ["message", "other"]
GUARDED: dict[str, Any] = {"parser": "guarded", "max_message_size": LIMIT}
ASSURED: dict[str, Any] = {"parser": "assured", "max_message_size": LIMIT, "allowed_events": ALLOWED}

DO_NOT_APPLY = {
    "import and require load one source": "how JavaScript modules are loaded",
    "named exports of the package and of its parsers": "Python's names are its own; tests hold the public ones",
    "the same transcript between JavaScript, Rust and C#": "those ports are other packages",
    "the js-message parser": "it turns what is no message into an error event; every profile here does that",
    "a parser is a class that can be extended, with push, format and parse": "profiles are not extended; codecs are",
    "a parser class is made with the configuration of each endpoint and has read()": "a codec has encode and decode",
    "publish raises an event locally": "handlers hear peers and links, so that nothing can be forged",
    "a handler added during a dispatch may run in it": "it hears the next event: a dispatch has an end",
    "list is a snapshot on an object without prototype": "events.handlers(name) is a list",
    "the entry of all events is under a global symbol": "there are no symbols; the name is '*'",
    "disconnect after each failed attempt": "once: a failed attempt loses nothing (docs/migration.md)",
    "a full buffer closes the link": "emit raises and the link stays (docs/migration.md)",
    "a protocol error ends the client": "max_protocol_errors in a row do (docs/migration.md)",
    "a datagram's rest is put before the next of its address": "nothing is carried over (docs/migration.md)",
    "fast has no limits": "limits hold in every profile (docs/migration.md)",
}


# ---- what the wire says, and what comes of it


class Case(NamedTuple):
    """Bytes that come in, the events that are heard of them, and the code of the error that ends the link."""

    name: str
    data: bytes
    heard: list[tuple[str, Any]]
    code: str | None = None


def frame(type: Any, data: Any = 1) -> bytes:
    return json.dumps({"type": type, "data": data}, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\f"


def sized(total: int, filler: str = "x") -> bytes:
    """A frame of exactly so many bytes, without its delimiter."""
    room = total - len(frame("message", "")) + 1
    each = len(filler.encode())
    return frame("message", filler * (room // each) + "x" * (room % each))


def refused(name: str, data: bytes, code: str) -> Case:
    """A sound message, what is refused, and one behind it that is never heard."""
    return Case(name, frame("message", "before") + data + frame("message", "behind"), [("message", "before")], code)


PAYLOADS: list[Any] = [
    *(None, True, False, 0, -1, 1.5, "", "text", "Grüße", EMOJI, "\x00\x1f\u2028", "a\f\r\n\tb", '\\"/', [], [[]]),
    *({}, [1, "two", None], {"a": {"b": [{}]}}, {"type": "message"}, {"": 0}, {"é": "\N{SNOWMAN}"}, 2**53, 1e300),
]
NAMES = ["a", "message", "with space", "Grüße", EMOJI, "app.message", "x" * 256, "é" * 256, EMOJI * 128, "Connect", "0"]
LONG = ["x" * 257, "é" * 257, EMOJI * 129, EMOJI * 128 + "x"]
NO_NAMES = ["", None, 5, True, [], {}, ["message"], {"toString": "a"}]
NO_MESSAGES = [b"null", b"true", b"5", b'"text"', b"[]", b'[{"type":"message"}]']
NO_JSON = [b"garbage", b"", b"{", b'{"type":"message",}', b"{'type':'message'}", b'{"type":"message"} x', b"undefined"]

PASSES = [
    *(Case(f"payload-{data!r:.20}", frame("message", data), [("message", data)]) for data in PAYLOADS),
    *(Case(f"name-{name[:9]}-{len(name)}", frame(name), [(name, 1)]) for name in NAMES),
    Case("two in one read", frame("a", 1) + frame("b", 2), [("a", 1), ("b", 2)]),
    Case("a hundred in one read", b"".join(frame("a", n) for n in range(100)), [("a", n) for n in range(100)]),
    Case("members in another order", b'{"data":1,"type":"a"}\f', [("a", 1)]),
    Case("white space between", b' { "type" : "a" , "data" : 1 } \f', [("a", 1)]),
    Case("members of no meaning", b'{"type":"a","data":1,"more":[2]}\f', [("a", 1)]),
    Case("escapes in the name", b'{"type":"\\u0061","data":1}\f', [("a", 1)]),
    Case("the last of two types counts", b'{"type":"a","type":"b","data":1}\f', [("b", 1)]),
    Case("the limit in bytes", sized(LIMIT), [("message", json.loads(sized(LIMIT)[:-1])["data"])]),
    Case(
        "the limit in characters of two", sized(LIMIT, "é"), [("message", json.loads(sized(LIMIT, "é")[:-1])["data"])]
    ),
]
REFUSED = [
    *(refused(f"reserved-{name}", frame(name), "ERR_IPC_RESERVED_EVENT") for name in sorted(LIFECYCLE)),
    *(refused(f"unsafe-{name}", frame(name), "ERR_IPC_INVALID_EVENT") for name in sorted(UNSAFE)),
    *(refused(f"long-{name[0]}-{len(name)}", frame(name), "ERR_IPC_EVENT_TOO_LARGE") for name in LONG),
    *(refused(f"no-name-{name!r}", frame(name), "ERR_IPC_INVALID_EVENT") for name in NO_NAMES),
    refused("no type at all", b'{"data":1}\f', "ERR_IPC_INVALID_EVENT"),
    *(refused(f"no-message-{data.decode()[:9]}", data + b"\f", "ERR_IPC_INVALID_MESSAGE") for data in NO_MESSAGES),
    *(refused(f"no-json-{data.decode()[:9]}", data + b"\f", "ERR_IPC_INVALID_JSON") for data in NO_JSON),
    refused("a byte above the limit", sized(LIMIT + 1), "ERR_IPC_FRAME_TOO_LARGE"),
    refused("above it in bytes and not in characters", frame("message", "é" * 1500), "ERR_IPC_FRAME_TOO_LARGE"),
    Case("above it and not complete", b"x" * (LIMIT + 1), [], "ERR_IPC_FRAME_TOO_LARGE"),
]
ON_THE_LIST = [
    *(Case(f"allowed-{name}", frame(name), [(name, 1)]) for name in ALLOWED),
    *(refused(f"not-allowed-{name}", frame(name), "ERR_IPC_EVENT_NOT_ALLOWED") for name in ("secret", "Message", "m")),
    *(refused(f"reserved-{name}", frame(name), "ERR_IPC_RESERVED_EVENT") for name in ("connect", "error")),
    refused("unsafe", frame("__proto__"), "ERR_IPC_INVALID_EVENT"),
]

every_case = pytest.mark.parametrize("case", [*PASSES, *REFUSED], ids=lambda case: case.name)
every_allowed = pytest.mark.parametrize("case", ON_THE_LIST, ids=lambda case: case.name)


class Ear:
    """What one end hears."""

    def __init__(self, end: Any) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.codes: list[str] = []
        end.on("*", self._event)
        end.on("error", lambda error: self.codes.append(error.code))

    def _event(self, type: str, data: Any = None, *rest: Any) -> None:
        if type not in LIFECYCLE:
            self.heard.append((type, data))

    def judge(self, case: Case) -> None:
        assert self.heard == case.heard
        assert self.codes == ([case.code] if case.code else [])


def at_memory_server(case: Case, **options: Any) -> None:
    driver = MemoryDriver()
    server = serve(driver, WORLD, **options)
    ear = Ear(server)
    wire = Started(server, driver).wire()
    wire.write(case.data)
    driver.run_until_idle()
    ear.judge(case)
    assert len(server.sockets) == (case.code is None)


def at_memory_client(case: Case, **options: Any) -> None:
    driver = MemoryDriver()
    server = WireServer(driver, WORLD)
    client = Client("world", WORLD, driver, Config(stop_retrying=True, **options).settings())
    ear = Ear(client)
    client.connect()
    driver.run_until_idle()
    server.wires[0].write(case.data)
    driver.run_until_idle()
    ear.judge(case)
    assert (client.state is ClientState.CONNECTED) == (case.code is None)


@every_case
@pytest.mark.parametrize("end", [at_memory_server, at_memory_client], ids=["server", "client"])
def test_guarded_on_the_memory_driver(end: Callable[..., None], case: Case) -> None:
    end(case, **GUARDED)


@every_allowed
@pytest.mark.parametrize("end", [at_memory_server, at_memory_client], ids=["server", "client"])
def test_assured_on_the_memory_driver(end: Callable[..., None], case: Case) -> None:
    end(case, socket_root="/memory/", **ASSURED)


@every_case
def test_guarded_however_the_bytes_are_cut(case: Case) -> None:
    driver = MemoryDriver()
    server = serve(driver, WORLD, **GUARDED)
    ear = Ear(server)
    wire = Started(server, driver).wire()
    for start in range(0, len(case.data), 7):
        if not wire.link:
            break
        wire.write(case.data[start : start + 7])
        driver.run_until_idle()
    ear.judge(case)


@pytest.fixture(scope="module", params=FRONTS, ids=lambda kind: kind.name)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A guarded server of each front, for all cases; each case is a new connection."""
    root = tmp_path_factory.mktemp("front")
    with front_of(request.param, Config(socket_root=f"{root}/", silent=True)) as front:
        server = front.serve(**GUARDED)
        yield server, Ear(server), f"{root}/app.world"


@every_case
def test_guarded_on_each_front(served: Any, case: Case) -> None:
    server, ear, path = served
    ear.heard.clear()
    ear.codes.clear()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(DEADLINE)
        peer.connect(path)
        peer.sendall(case.data)
        if case.code is None:
            _until(lambda: len(ear.heard) == len(case.heard))
        else:
            _until(lambda: ear.codes)
            assert _ended(peer)
        ear.judge(case)
    _until(lambda: server.count == 0)


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


def _ended(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


async def judged_by_14(ends: Ends, case: Case, **options: Any) -> None:
    """The same case, at a server of node-ipc 14."""
    names = sorted({name for name, _ in case.heard})
    node = await ends.serve("v14", address := ends.address("unix"), _hearing(names), **options)
    reader, writer = await asyncio.open_unix_connection(address.path)
    await node.event("connect")
    writer.write(case.data)
    heard = [((await node.event(name)).data, name) for name, _ in case.heard]
    assert [(name, data) for data, name in heard] == case.heard
    if case.code is not None:
        error = (await node.event("error")).data
        assert isinstance(error, ReportedError) and error.code == case.code
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
    assert not {*node.events.types()} & {*names, "error"}
    writer.close()


def _hearing(names: list[str]) -> Any:
    from .pairs import Habits

    return Habits(hear=tuple({*names, "message", "error"}))


@every_case
async def test_guarded_as_14_itself_judges(ends: Ends, case: Case) -> None:
    await judged_by_14(ends, case, **GUARDED)


@every_allowed
async def test_assured_as_14_itself_judges(ends: Ends, case: Case) -> None:
    await judged_by_14(ends, case, **ASSURED)


# ---- what may be emitted

EMITS = [
    *((name, 1, None) for name in NAMES),
    *((name, 1, "ERR_IPC_RESERVED_EVENT") for name in sorted(LIFECYCLE)),
    *((name, 1, "ERR_IPC_INVALID_EVENT") for name in [*sorted(UNSAFE), ""]),
    *((name, 1, "ERR_IPC_EVENT_TOO_LARGE") for name in LONG),
    ("message", json.loads(sized(LIMIT)[:-1])["data"], None),
    ("message", "x" * LIMIT, "ERR_IPC_FRAME_TOO_LARGE"),
    ("message", "é" * 1500, "ERR_IPC_FRAME_TOO_LARGE"),
]
every_emit = pytest.mark.parametrize(
    ("name", "data", "code"), EMITS, ids=[f"{name[:20]}-{len(name)}-{len(str(data))}" for name, data, _ in EMITS]
)


@every_emit
@pytest.mark.parametrize("role", ["client", "socket"])
def test_guarded_refuses_to_emit_what_it_would_refuse_to_take(role: str, name: str, data: Any, code: str) -> None:
    two = pair(**GUARDED)
    ear = Ear(two.server if role == "client" else two.client)
    try:
        (two.client if role == "client" else two.socket).emit(name, data)
    except ProtocolError as error:
        assert error.code == code
    else:
        assert code is None
    two.driver.run_until_idle()
    assert ear.heard == ([] if code else [(name, data)])
    assert two.socket.is_open


@every_emit
async def test_guarded_emits_as_14_does(ends: Ends, name: str, data: Any, code: str | None) -> None:
    address = ends.address("unix")
    server = await ends.serve("python", address, _hearing([name] if name not in LIFECYCLE else []), parser="fast")
    node = await ends.connect("v14", address, **GUARDED)
    await server.event("connect")
    if code is not None:
        with pytest.raises(ReportedError) as refused:
            await node.emit(name, data)
        assert refused.value.code == code
    else:
        await node.emit(name, data)
        assert (await server.event(name)).data == data


# ---- time, reserved names, peers that name themselves


@pytest.mark.parametrize("begun", [b"{", b'{"type":"message"', frame("message") + b"{"])
def test_an_incomplete_message_has_message_timeout(begun: bytes) -> None:
    driver = MemoryDriver()
    server = serve(driver, WORLD, message_timeout=500)
    ear = Ear(server)
    Started(server, driver).wire().write(begun)
    driver.advance(0.49)
    assert ear.codes == []
    driver.advance(0.02)
    assert ear.codes == ["ERR_IPC_MESSAGE_TIMEOUT"]


async def test_an_incomplete_message_has_message_timeout_in_14_too(ends: Ends) -> None:
    node = await ends.serve("v14", address := ends.address("unix"), **GUARDED, message_timeout=100)
    _, writer = await asyncio.open_unix_connection(address.path)
    writer.write(b'{"type":"message"')
    assert (await node.event("error")).data.code == "ERR_IPC_MESSAGE_TIMEOUT"
    writer.close()


def test_without_message_timeout_a_message_may_take_for_ever() -> None:
    driver = MemoryDriver()
    server = serve(driver, WORLD, message_timeout=0)
    ear = Ear(server)
    wire = Started(server, driver).wire()
    wire.write(frame("message")[:5])
    driver.advance(86_400)
    wire.write(frame("message")[5:])
    driver.run_until_idle()
    assert (ear.heard, ear.codes) == ([("message", 1)], [])


@pytest.mark.parametrize("name", sorted(LIFECYCLE - {"error"}))
def test_allow_reserved_events_lets_them_through(name: str) -> None:
    two = pair(allow_reserved_events=True)
    heard: list[Any] = []
    two.server.on(name, heard.append)
    two.driver.run_until_idle()
    heard.clear()
    two.client.emit(name, {"n": 1})
    two.driver.run_until_idle()
    assert heard == [{"n": 1}]


@pytest.mark.parametrize("name", sorted(UNSAFE))
def test_allow_reserved_events_lets_no_unsafe_one_through(name: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        pair(allow_reserved_events=True).client.emit(name)
    assert refused.value.code == "ERR_IPC_INVALID_EVENT"


@pytest.mark.parametrize(("identify", "claimed"), [(True, "me"), (False, None)])
def test_data_id_names_a_socket_only_where_it_is_asked_for(identify: bool, claimed: Any) -> None:
    two = pair(identify_peer=identify)
    two.client.emit("message", {"id": "me"})
    two.driver.run_until_idle()
    assert two.socket.claimed_id == claimed


# ---- options


@pytest.mark.parametrize("option", ["max_message_size", "max_pending_bytes", "max_event_name_length"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True, float("nan")], ids=repr)
def test_limits_are_whole_numbers_above_zero(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        Config(**{option: value})


@pytest.mark.parametrize("option", ["max_message_size", "max_pending_bytes", "max_event_name_length"])
def test_limits_may_be_infinite(option: str) -> None:
    assert Config(**{option: float("inf")}).settings()


@pytest.mark.parametrize("allowed", [None, False, [], set(), "message", [5]], ids=repr)
def test_assured_wants_a_list_of_allowed_events(allowed: Any) -> None:
    with pytest.raises(ConfigError, match="allowed_events"):
        Config(parser="assured", allowed_events=allowed).settings()


@pytest.mark.parametrize("parser", ["nonesuch", 5, object(), [], "Fast"], ids=lambda parser: type(parser).__name__)
def test_a_parser_is_a_profile_or_has_two_methods(parser: Any) -> None:
    with pytest.raises(ConfigError, match="parser"):
        Config(parser=parser).settings()


@pytest.mark.parametrize("delimiter", ["", None, 5])
def test_a_delimiter_is_text_that_is_not_empty(delimiter: Any) -> None:
    with pytest.raises(ConfigError, match="delimiter"):
        Config(delimiter=delimiter)


def test_options_that_change_later_do_not_reach_an_endpoint_that_is_there() -> None:
    config = Config(max_message_size=LIMIT)
    server = Server(WORLD, MemoryDriver(), config.settings())
    config.max_message_size = 10
    assert server.settings.max_message_size == LIMIT


# ---- handlers


def test_all_events_are_heard_before_the_own_handlers() -> None:
    two = pair()
    order: list[str] = []
    two.server.on("a", lambda: order.append("own"))
    two.server.on("*", lambda type: order.append(f"* {type}"))
    two.client.emit("a")
    two.driver.run_until_idle()
    assert order == ["* a", "own"]


def test_once_is_over_before_its_handler_is_called() -> None:
    two = pair()
    heard: list[Any] = []

    def once(data: Any, socket: Any) -> None:
        heard.append((data, two.server.events.handlers("a")))

    two.server.once("a", once)
    for number in range(3):
        two.client.emit("a", number)
    two.driver.run_until_idle()
    assert heard == [(0, [])]


@pytest.mark.parametrize(
    ("off", "left"),
    [(("a", "first"), ["second", "other"]), (("a", "*"), ["other"]), (("a",), ["other"]), (("*", "*"), [])],
    ids=str,
)
def test_off_takes_one_handler_or_all_of_an_event_or_all(off: tuple[str, ...], left: list[str]) -> None:
    two = pair()
    heard: list[str] = []
    handlers = {name: _noting(heard, name) for name in ("first", "second", "other")}
    two.server.on("a", handlers["first"])
    two.server.on("a", handlers["second"])
    two.server.on("b", handlers["other"])
    two.server.off(off[0], *(handlers.get(name, name) for name in off[1:]))
    two.client.emit("a")
    two.client.emit("b")
    two.driver.run_until_idle()
    assert heard == left


def _noting(heard: list[str], name: str) -> Callable[[], None]:
    return lambda: heard.append(name)


@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_a_handler_is_a_function_and_a_name_is_text(wrong: Any) -> None:
    server = pair().server
    if wrong is not None:  # without a handler it is a decorator
        with pytest.raises(TypeError):
            server.on("a", wrong)
    with pytest.raises((TypeError, ProtocolError)):
        server.on(5 if wrong is None else ["a"], print)  # type: ignore[call-overload]


# ---- retries and the order of events


class Life:
    """A client, and the order of what it publishes."""

    def __init__(self, **options: Any) -> None:
        self.driver = MemoryDriver()
        self.client = Client("world", WORLD, self.driver, Config(**options).settings())
        self.told: list[str] = []
        for name in ("connect", "disconnect", "destroy", "error", "message"):
            self.client.on(name, _noting(self.told, name))

    def serve(self) -> Server:
        return serve(self.driver, WORLD)

    def over(self) -> list[str]:
        self.driver.run_until(self.client.closed, limit=600)
        return self.told


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        *(({"max_retries": most}, most + 1) for most in (0, 1, 2, 5)),
        ({"stop_retrying": True}, 1),
        ({"stop_retrying": True, "max_retries": 5}, 1),
        ({"stop_retrying": False, "max_retries": 1}, 2),
    ],
    ids=str,
)
def test_so_often_it_is_tried_and_then_destroyed(options: dict[str, Any], attempts: int) -> None:
    life = Life(**options)
    life.client.connect()
    assert life.over() == ["error"] * attempts + ["disconnect", "destroy"]
    assert life.client.retries_remaining == 0


def test_without_a_limit_it_is_tried_on_and_on() -> None:
    life = Life()
    life.client.connect()
    life.driver.advance(3600)
    assert "destroy" not in life.told
    assert life.client.retries_remaining == float("inf")


def test_a_constant_retry_is_the_time_between_two_attempts() -> None:
    life = Life(retry=1000, retry_growth=1)
    life.client.connect()
    life.driver.advance(60)
    assert 45 <= life.told.count("error") <= 90


def test_a_client_that_comes_before_its_server_connects() -> None:
    life = Life()
    life.client.connect()
    life.driver.advance(3)
    life.serve()
    life.driver.run_until(life.client.connected, limit=10)
    assert life.told[-1] == "connect" and "disconnect" not in life.told


def test_a_client_comes_back_when_its_server_does() -> None:
    life = Life()
    server = life.serve()
    life.client.connect()
    life.driver.run_until_idle()
    server.stop()
    life.driver.run_until_idle()
    life.serve()
    life.driver.run_until(lambda: life.client.state is ClientState.CONNECTED, limit=10)
    assert [name for name in life.told if name != "error"] == ["connect", "disconnect", "connect"]


def test_a_link_that_held_gives_all_retries_back() -> None:
    life = Life(max_retries=3)
    for _ in range(4):
        server = life.serve()
        life.client.connect()
        life.driver.run_until(lambda: life.client.state is ClientState.CONNECTED, limit=10)
        life.driver.advance(6)
        assert life.client.retries_remaining == 3
        server.abort()
        life.driver.run_until_idle()
    assert "destroy" not in life.told


@pytest.mark.parametrize("when", ["connected", "connecting", "waiting"])
def test_told_to_end_it_tries_no_more(when: str) -> None:
    life = Life()
    if when == "connected":
        life.serve()
    life.client.connect()
    if when != "connecting":
        life.driver.run_until_idle()
    life.client.close()
    life.driver.advance(60)
    assert life.client.state is ClientState.CLOSED
    assert life.told[-2:] == ["disconnect", "destroy"]
    attempts = life.told.count("error")
    life.driver.advance(600)
    assert life.told.count("error") == attempts


def test_the_order_at_a_client() -> None:
    life = Life(stop_retrying=True)
    server = life.serve()
    server.on("connect", lambda socket: [socket.emit("message"), socket.close()])
    life.client.connect()
    assert life.over() == ["connect", "message", "disconnect", "destroy"]


def test_the_order_at_a_server() -> None:
    driver = MemoryDriver()
    server = Server(WORLD, driver, Config().settings())
    told: list[str] = []
    for name in ("start", "connect", "message", "socket.disconnected", "close", "error"):
        server.on(name, _noting(told, name))
    server.start()
    driver.run_until_idle()
    wire = Started(server, driver).wire()
    wire.write(frame("message"))
    wire.close()
    driver.run_until_idle()
    assert told == ["start", "connect", "message", "socket.disconnected", "close"]


def test_stop_ends_every_link_and_takes_no_more() -> None:
    two = pair(client={"max_retries": 0})
    wires = [Started(two.server, two.driver).wire() for _ in range(3)]
    closed = two.server.stop()
    two.driver.run_until_idle()
    assert all(wire.has_ended for wire in wires)
    for wire in wires:
        wire.close()
    two.driver.run_until(closed, limit=1)
    assert two.server.sockets == []
    late = Client("late", WORLD, two.driver, Config(max_retries=0).settings())
    late.on("error", lambda error: None)
    late.connect()
    two.driver.run_until(late.closed, limit=10)
    assert late.ended_by is not None
    two.driver.run_until(two.client.closed, limit=10)


def test_a_server_that_was_stopped_may_start_again() -> None:
    two = pair(client={"retry": 100})
    two.server.stop()
    two.driver.run_until_idle()
    two.server.start()
    two.driver.run_until(lambda: two.server.sockets, limit=10)
    assert two.client.state is ClientState.CONNECTED


def test_broadcast_reaches_all_and_emit_one() -> None:
    driver = MemoryDriver()
    server = serve(driver, WORLD)
    wires = [Started(server, driver).wire() for _ in range(3)]
    server.broadcast("all", 1)
    server.emit(server.sockets[1], "one", 2)
    driver.run_until_idle()
    one = b'{"type":"one","data":2}\f'
    assert [wire.bytes for wire in wires] == [b'{"type":"all","data":1}\f' + more for more in (b"", one, b"")]


def test_sync_sends_one_and_waits_for_what_comes_back() -> None:
    two = pair(client={"sync": True})
    heard: list[Any] = []
    two.server.on("n", heard.append)
    for number in range(3):
        two.client.emit("n", number)
    for answered in range(3):
        two.driver.run_until_idle()
        assert heard == list(range(answered + 1))
        two.socket.emit("answer")


# ---- the callback front: ids, arguments, disconnect


@pytest.fixture
def root(tmp_path: Path) -> str:
    return f"{tmp_path}/"


def an_ipc(root: str, **options: Any) -> IPC:
    ipc = IPC()
    ipc.config.update(id="world", socket_root=root, silent=True, retry=20, **options)
    return ipc


async def test_disconnect_takes_a_client_out_and_an_unknown_id_is_nothing(root: str) -> None:
    ipc = an_ipc(root)
    ipc.disconnect("nobody")
    ipc.serve()
    await ipc.server.start()
    await ipc.connect_to("world")
    client = ipc.of.world
    ipc.disconnect("world")
    await client.closed
    assert not hasattr(ipc.of, "world")
    await ipc.server.stop()


async def test_connecting_twice_to_one_id_is_one_client(root: str) -> None:
    ipc = an_ipc(root)
    ipc.serve()
    await ipc.server.start()
    calls: list[str] = []
    ipc.connect_to("world", lambda: calls.append("first"))
    client = ipc.of.world
    ipc.connect_to("world", lambda: calls.append("second"))
    assert ipc.of.world is client
    await client.connected
    assert calls == ["first", "second"]
    ipc.disconnect("world")
    await ipc.server.stop()


def started() -> None:
    """A callback."""


@pytest.mark.parametrize("arguments", [(), (started,), ("{root}mine",), ("{root}mine", started)], ids=len)
async def test_serve_takes_its_arguments_in_order_and_any_may_be_left_out(
    root: str, arguments: tuple[Any, ...]
) -> None:
    ipc = an_ipc(root)
    given: list[Any] = [one.format(root=root) if isinstance(one, str) else one for one in arguments]
    ipc.serve(*given)
    path = f"{root}mine" if isinstance(next(iter(arguments), None), str) else f"{root}app.world"
    assert ipc.server.address == Unix(path)


NET = [
    ((), Tcp("localhost", 8000)),
    ((started,), Tcp("localhost", 8000)),
    ((3435,), Tcp("localhost", 3435)),
    ((3435, started), Tcp("localhost", 3435)),
    (("127.0.0.1",), Tcp("127.0.0.1", 8000)),
    (("127.0.0.1", started), Tcp("127.0.0.1", 8000)),
    (("127.0.0.1", 3435), Tcp("127.0.0.1", 3435)),
    (("127.0.0.1", 3435, started), Tcp("127.0.0.1", 3435)),
]
NET_UDP = [
    (("udp4",), Udp("localhost", 8000, "udp4")),
    (("UDP4", started), Udp("localhost", 8000, "udp4")),
    (("::1", "udp6"), Udp("::1", 8000, "udp6")),
    ((3435, "udp4"), Udp("localhost", 3435, "udp4")),
    (("127.0.0.1", 3435, "udp4", started), Udp("127.0.0.1", 3435, "udp4")),
]


@pytest.mark.parametrize(("arguments", "address"), [*NET, *NET_UDP], ids=str)
async def test_serve_net_takes_its_arguments_in_order(root: str, arguments: tuple[Any, ...], address: Any) -> None:
    ipc = an_ipc(root)
    ipc.serve_net(*arguments)
    assert ipc.server.address == address


@pytest.mark.parametrize(("arguments", "address"), NET, ids=str)
async def test_connect_to_net_takes_its_arguments_in_order(root: str, arguments: tuple[Any, ...], address: Any) -> None:
    ipc = an_ipc(root, stop_retrying=True)
    ipc.connect_to_net("world", *arguments)
    client = ipc.of.world
    assert client.address == address
    client.on("error", lambda error: None)
    client.abort()


# ---- roots and paths


async def test_a_root_is_made_for_its_owner_alone(root: str) -> None:
    new = f"{root}a/b/"
    async with node_ipc.serve("world", socket_root=new, secure_socket_root=True):
        assert stat.S_IMODE(os.stat(new).st_mode) == 0o700


async def test_a_root_of_ones_own_is_closed_to_others(root: str) -> None:
    os.chmod(root, 0o777)
    async with node_ipc.serve("world", socket_root=root, secure_socket_root=True):
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o700


@pytest.mark.parametrize("kind", ["a file", "a link"])
async def test_a_root_is_a_real_directory(root: str, kind: str) -> None:
    there = f"{root}there"
    if kind == "a link":
        os.mkdir(f"{root}real", 0o700)
        os.symlink(f"{root}real", there)
    else:
        Path(there).touch()
    with pytest.raises(SocketRootError):
        await node_ipc.serve("world", socket_root=f"{there}/", secure_socket_root=True)


async def test_assured_serves_directly_in_its_root_only(root: str) -> None:
    os.mkdir(f"{root}sub", 0o700)
    assured = Config(socket_root=root, parser="assured", allowed_events=ALLOWED)
    with pytest.raises(AssuredError) as error:
        await node_ipc.serve(f"{root}sub/app.world", config=assured)
    assert error.value.code == "ERR_IPC_ASSURED_TRANSPORT"
    async with node_ipc.serve(f"{root}app.world", config=assured):
        pass


async def test_what_is_no_socket_is_not_removed(root: str) -> None:
    path = Path(f"{root}app.world")
    path.write_text("precious")
    with pytest.raises(NotASocket) as error:
        await node_ipc.serve("world", socket_root=root)
    assert error.value.code == "ERR_IPC_UNLINK_NOT_SOCKET"
    assert path.read_text() == "precious"


async def test_a_dead_socket_is_replaced(root: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{root}app.world")
    async with (
        node_ipc.serve("world", socket_root=root),
        node_ipc.connect("world", socket_root=root, timeout=DEADLINE) as client,
    ):
        assert client.state is ClientState.CONNECTED


@pytest.mark.parametrize(
    ("options", "mode"),
    [({}, 0o600), ({"readable_all": True}, 0o644), ({"writable_all": True}, 0o622)],
    ids=str,
)
async def test_who_else_may_use_the_socket(root: str, options: dict[str, Any], mode: int) -> None:
    async with node_ipc.serve("world", socket_root=root, **options):
        assert stat.S_IMODE(os.stat(f"{root}app.world").st_mode) == mode


# ---- TLS and the network, by rule

PEM = {"key": "-----BEGIN PRIVATE KEY-----", "cert": "-----BEGIN CERTIFICATE-----", "ca": "-----BEGIN CERTIFICATE-----"}


def code_of(make: Callable[[], Any]) -> str | None:
    try:
        make()
    except IPCError as error:
        return error.code
    return None


def assured(**options: Any) -> Any:
    return Config(parser="assured", allowed_events=ALLOWED, **options).settings()


@pytest.mark.parametrize("kind", [Client, Server])
def test_assured_is_not_for_plain_tcp(kind: Any) -> None:
    named = ("world",) if kind is Client else ()
    assert code_of(lambda: kind(*named, Tcp("localhost", 1), MemoryDriver(), assured())) == "ERR_IPC_ASSURED_TRANSPORT"


def test_assured_is_not_for_udp() -> None:
    there = Udp("localhost", 1, "udp4")
    assert code_of(lambda: DatagramServer(there, MemoryDriver(), assured())) == "ERR_IPC_ASSURED_TRANSPORT"


@pytest.mark.parametrize("kind", [Client, Server])
@pytest.mark.parametrize(
    "tls",
    [
        {name: text for name, text in PEM.items() if name != "ca"},
        {"ca": PEM["ca"]},
        {**PEM, "reject_unauthorized": False},
    ],
    ids=["no authority", "no certificate", "not verified"],
)
def test_assured_wants_both_ends_verified(kind: Any, tls: dict[str, Any]) -> None:
    named = ("world",) if kind is Client else ()
    made = code_of(lambda: kind(*named, Tls("localhost", 1), MemoryDriver(), assured(tls=tls)))
    no_pair = kind is Server and "key" not in tls  # which no TLS server does without
    assert made == ("ERR_IPC_TLS_CONFIGURATION" if no_pair else "ERR_IPC_ASSURED_TLS")


@pytest.mark.parametrize("tls", [{}, {"ca": PEM["ca"]}, {"key": PEM["key"]}, {"cert": PEM["cert"]}], ids=str)
async def test_a_tls_server_brings_a_key_and_a_certificate_of_its_own(tls: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        await node_ipc.serve("tls://localhost:0", tls=tls)
    assert error.value.code == "ERR_IPC_TLS_CONFIGURATION"


@pytest.mark.parametrize("tls", ["yes", 5, ["key"]], ids=repr)
def test_tls_options_are_a_mapping(tls: Any) -> None:
    with pytest.raises(ConfigError, match="tls"):
        Config(tls=tls)


# ---- UDP


class Ports:
    """A server, and a raw port that sends it datagrams."""

    def __init__(self, **options: Any) -> None:
        self.driver = MemoryDriver()
        self.home = Udp("127.0.0.1", 8000, "udp4")
        self.server = DatagramServer(self.home, self.driver, Config(**options).settings())
        self.ear = Ear(self.server)
        self.server.start()
        self.ports = [self._raw(9000 + number) for number in range(2)]
        self.driver.run_until_idle()

    def _raw(self, number: int) -> Any:
        port = DatagramServer(Udp("127.0.0.1", number, "udp4"), self.driver, Config(raw_buffer=True).settings())
        port.start()
        return port

    def send(self, data: bytes, port: int = 0) -> None:
        self.ports[port].emit((self.home.host, self.home.port), data)
        self.driver.run_until_idle()


@pytest.mark.parametrize(
    "case", [case for case in [*PASSES, *REFUSED] if "not complete" not in case.name], ids=lambda case: case.name
)
def test_a_datagram_is_judged_as_a_stream_is_and_the_next_is_served(case: Case) -> None:
    ports = Ports(**GUARDED)
    ports.send(case.data)
    ports.ear.judge(case)
    ports.send(frame("message", "next"))
    assert ports.ear.heard[-1] == ("message", "next")


def test_an_answer_goes_to_who_asked_and_a_broadcast_to_all_who_were_heard() -> None:
    ports = Ports()
    got: list[list[bytes]] = [[], []]
    for port, mine in zip(ports.ports, got, strict=True):
        port.on("data", mine.append)
    ports.server.on("ask", lambda data, socket: ports.server.emit(socket, "answer", data))
    for number in range(2):
        ports.send(frame("ask", number), number)
    ports.server.broadcast("all", 1)
    ports.driver.run_until_idle()
    answers = [b'{"type":"answer","data":%d}\f' % number for number in range(2)]
    assert got == [[answer, b'{"type":"all","data":1}\f'] for answer in answers]


# ---- the list


def test_each_case_that_does_not_apply_has_its_reason() -> None:
    assert len(DO_NOT_APPLY) == 15
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text("utf-8")
    decisions = [reason for reason in DO_NOT_APPLY.values() if "docs/migration.md" in reason]
    assert len(decisions) == 5
    for words in ("after each failed attempt", "`guarded` closes it", "ends the client at the first", "next datagram"):
        assert words in page
