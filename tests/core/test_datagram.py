"""UDP's pure middle, on the memory driver and its virtual clock: who is heard, who is answered, and with how much."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node_ipc import (
    AddressError,
    AddressInUse,
    AddressNotValidated,
    AssuredError,
    BackpressureError,
    Config,
    DatagramPeer,
    DatagramServer,
    EventTooLarge,
    ForkError,
    FrameTooLarge,
    HandlerError,
    InvalidEvent,
    InvalidJSON,
    InvalidMessage,
    InvalidPayload,
    IPCError,
    NotConnected,
    ProtocolError,
    ReservedEvent,
    WrongThreadError,
)
from node_ipc.config.address import Handed, Tcp, Udp
from node_ipc.core.datagram import BOOKKEEPING, HANDLERS_FACTOR, LARGEST_DATAGRAM
from node_ipc.core.seam import DatagramReceiver
from node_ipc.core.server import ServerState
from node_ipc.core.trace import Trace
from node_ipc.drivers.memory import MemoryDriver

HOME = Udp("127.0.0.1", 8000, "udp4")
NEAR = ("127.0.0.7", 5000)
FAR = ("192.0.2.7", 5000)
OTHER = ("192.0.2.8", 5000)


class Port:
    """A port that keeps what is sent, and tells as many waiting bytes as the test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str, int]] = []
        self.waiting = 0
        self.closed = False

    def send(self, data: bytes, host: str, port: int) -> None:
        assert not self.closed
        self.sent.append((data, host, port))

    def send_newest(self, data: bytes, host: str, port: int, event: str) -> int:
        """It takes the place of what went to the same address, while anything waits; the bytes of that."""
        replaced = [each for each in self.sent if each[1:] == (host, port)] if self.waiting else []
        self.sent = [each for each in self.sent if each not in replaced]
        self.send(data, host, port)
        return sum(len(each[0]) for each in replaced)

    def pending_bytes(self) -> int:
        return self.waiting

    def close(self) -> None:
        self.closed = True


class Recorder(MemoryDriver):
    """The memory driver with such ports; the receiver hears ``bound`` when the test says so."""

    def bind(self, address: Any, receiver: DatagramReceiver, settings: Any) -> Any:
        self.port = Port()
        self.receiver = receiver
        return self.port


class Bench:
    """A bound server, what it sent, what it heard, and what went wrong."""

    def __init__(self, address: Udp = HOME, bind: bool = True, after: float = 0.0, **options: Any) -> None:
        self.driver = Recorder()
        self.driver.advance(after)
        self.server = DatagramServer(address, self.driver, Config(**options).settings())
        self.faults: list[tuple[IPCError, DatagramPeer | None]] = []
        self.heard: list[tuple[Any, DatagramPeer]] = []
        self.server.on("error", lambda error, peer: self.faults.append((error, peer)))
        self.server.on("data" if self.server.settings.raw_buffer else "message", self._hear)
        if bind:
            self.start()

    def start(self) -> None:
        address = self.server.address
        self.server.start()
        self.driver.receiver.bound(address)
        self.driver.run_until_idle()

    def _hear(self, data: Any, socket: DatagramPeer) -> None:
        self.heard.append((data, socket))

    @property
    def sent(self) -> list[tuple[bytes, str, int]]:
        return self.driver.port.sent

    def comes(self, data: bytes, host: str = NEAR[0], port: int = NEAR[1]) -> None:
        self.server.datagram(data, host, port)

    def payloads(self) -> list[Any]:
        return [data for data, _ in self.heard]

    def errors(self) -> list[type[IPCError]]:
        return [type(error) for error, _ in self.faults]

    def places(self) -> list[tuple[str, int]]:
        """Where something was sent to."""
        return [(host, port) for _, host, port in self.sent]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.driver.close()


def frame(data: Any, type: str = "message") -> bytes:
    return json.dumps({"type": type, "data": data}, separators=(",", ":")).encode() + b"\f"


# ---- two ends


@pytest.mark.parametrize(
    "address", [{"address": "localhost", "port": 8000}, ("127.0.0.1", 8000), ["127.0.0.1", 8000]], ids=type
)
def test_hello_is_answered(address: Any) -> None:
    with MemoryDriver() as driver:
        world = DatagramServer(HOME, driver, Config().settings())
        hello = DatagramServer(Udp("localhost", 0, "udp4"), driver, Config().settings())
        answers: list[Any] = []
        world.on("message", lambda data, socket: world.emit(socket, "message", f"{data} world!"))
        hello.on("message", lambda data, socket: answers.append((data, socket.address, socket.port)))
        world.start()
        hello.start()
        hello.emit(address, "message", "hello")
        driver.run_until_idle()
        assert answers == [("hello world!", "127.0.0.1", 8000)]
        assert isinstance(hello.address, Udp) and hello.address.port > 0


def test_connect_and_start_are_published_when_the_port_is_bound() -> None:
    bench = Bench(bind=False)
    told: list[Any] = []
    bench.server.on("*", lambda *arguments: told.append(arguments))
    started = bench.server.start()
    bench.driver.run_until_idle()
    assert (told, started.done, bench.server.state) == ([], False, ServerState.STARTING)
    assert bench.server.start() is started
    bench.driver.receiver.bound(Udp("127.0.0.1", 4711, "udp4"))
    assert told == [("connect", bench.server), ("start", bench.server)]
    assert started.done and started.result() is bench.server
    assert str(bench.server.address) == "udp4://127.0.0.1:4711"
    assert repr(bench.server) == "<DatagramServer udp4://127.0.0.1:4711 listening, 0 peers>"


def test_a_port_that_is_taken_is_one_error() -> None:
    with MemoryDriver() as driver:
        first, second, third = (DatagramServer(HOME, driver, Config().settings()) for _ in range(3))
        heard: list[Any] = []
        closed: list[str] = []
        second.on("error", lambda error, peer: heard.append((type(error), peer)))
        second.on_closed.append(lambda: closed.append("second"))
        for server in (first, second, third):
            server.start()
        driver.run_until_idle()
        assert heard == [(AddressInUse, None)]
        assert closed == ["second"]
        assert second.failure is None, "a handler heard it"
        assert isinstance(third.failure, AddressInUse)
        assert (second.state, second.closed.done) == (ServerState.CLOSED, True)
        with pytest.raises(AddressInUse, match=r"udp4://127\.0\.0\.1:8000"):
            third.started.result()
        first.stop()
        driver.run_until_idle()
        third.start()
        driver.run_until_idle()
        assert third.started.result() is third and third.failure is None


def test_a_stopped_port_can_be_started_again(bench: Bench) -> None:
    bench.comes(frame("before"))
    bench.server.stop()
    bench.driver.run_until_idle()
    assert bench.driver.port.closed and bench.server.closed.done
    started = bench.server.start()
    assert not started.done
    bench.driver.receiver.bound(HOME)
    assert started.done and not bench.server.closed.done
    assert bench.server.sockets == [], "nobody was heard yet"
    bench.server.emit(NEAR, "message", 1)
    assert bench.sent == [(frame(1), *NEAR)]


def test_a_port_that_is_started_right_behind_its_stop_is_bound_anew(bench: Bench) -> None:
    first = bench.driver.port
    stopped, started = bench.server.stop(), bench.server.start()
    with pytest.raises(NotConnected, match="is closing; it is bound anew behind that, which 'start' tells"):
        bench.server.emit(NEAR, "message", 1)
    bench.driver.run_until_idle()
    assert first.closed and stopped.done and bench.driver.port is not first and not started.done
    bench.driver.receiver.bound(HOME)
    assert started.result() is bench.server and not bench.server.closed.done
    bench.server.emit(NEAR, "message", 1)
    assert bench.sent == [(frame(1), *NEAR)]


@pytest.mark.parametrize("address", [Tcp("127.0.0.1", 1), Handed((), Tcp("127.0.0.1", 1))], ids=["tcp", "handed"])
def test_only_udp_addresses_are_served(address: Any) -> None:
    with pytest.raises(AddressError, match=r"tcp://127\.0\.0\.1:1 has no datagrams"):
        DatagramServer(address, MemoryDriver(), Config().settings())


def test_sockets_that_were_handed_over_say_the_family() -> None:
    bench = Bench(address=Handed((), Udp("::1", 8000, "udp6")))  # type: ignore[arg-type]
    bench.server.emit(("::1", 1), "message")
    with pytest.raises(AddressError, match="udp6 cannot use the IPv4 address"):
        bench.server.emit(NEAR, "message")


def test_the_assured_profile_refuses_udp() -> None:
    with pytest.raises(AssuredError, match=r"udp4://127\.0\.0\.1:8000") as caught:
        Bench(parser="assured", allowed_events=["message"])
    assert caught.value.code == "ERR_IPC_ASSURED_TRANSPORT"


# ---- one datagram holds whole frames


def test_several_frames_in_one_datagram(bench: Bench) -> None:
    bench.comes(frame(1) + frame(2) + frame(3))
    assert bench.payloads() == [1, 2, 3]
    assert bench.faults == []


def test_a_handler_that_reads_goes_on_with_its_datagram_behind_that(bench: Bench) -> None:
    heard: list[int] = []

    @bench.server.on("n")
    def hear(data: int) -> None:
        heard.append(data)
        if data == 1:
            bench.comes(frame(3, "n") + frame(4, "n"), "127.0.0.8")
            bench.comes(frame(5, "n") + frame(6, "connect?" * 100))

    bench.comes(frame(1, "n") + frame(2, "n") + frame(7, "x" * 999))
    assert heard == [1, 3, 4, 5, 2]
    assert len(bench.server.sockets) == 2 and bench.errors() == [EventTooLarge] * 2


def test_a_stop_in_what_a_handler_reads_ends_the_datagram_that_it_was_called_from(bench: Bench) -> None:
    heard: list[int] = []

    @bench.server.on("n")
    def hear(data: int) -> None:
        heard.append(data)
        if data == 1:
            bench.comes(frame(3, "n") + frame(4, "n"))
        elif data == 3:
            bench.server.abort()

    bench.comes(frame(1, "n") + frame(2, "n"))
    assert heard == [1, 3]


@pytest.mark.parametrize(
    "data", [b"", b'{"type":"mes', frame(1)[:-1], frame(1) + frame(2)[:-1], frame(1) + b" "], ids=repr
)
def test_a_datagram_without_a_final_delimiter_is_one_error_and_dropped(bench: Bench, data: bytes) -> None:
    bench.comes(data)
    assert bench.payloads() == []
    [(error, peer)] = bench.faults
    assert type(error) is ProtocolError and "127.0.0.7:5000" in str(error) and f"{len(data)} bytes" in str(error)
    assert peer is not None and (peer.address, peer.port) == NEAR


def test_nothing_is_carried_over_to_the_next_datagram(bench: Bench) -> None:
    whole = frame({"half": "and half"})
    bench.comes(whole[:20])
    bench.comes(whole[20:])
    assert bench.payloads() == []
    assert bench.errors() == [ProtocolError, InvalidJSON]
    bench.comes(whole)
    assert bench.payloads() == [{"half": "and half"}]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (b"nonsense\f", InvalidJSON),
        (b"\f", InvalidJSON),
        (b"\xff\f", InvalidJSON),
        (b"[1]\f", InvalidMessage),
        (b'{"type":5}\f', InvalidEvent),
        (b'{"data":5}\f', InvalidEvent),
        (frame(1, "connect"), ReservedEvent),
        (frame(1, "__proto__"), InvalidEvent),
        (frame(1, ""), InvalidEvent),
    ],
    ids=repr,
)
def test_frames_before_a_bad_one_are_delivered_and_none_behind_it(bench: Bench, bad: bytes, error: Any) -> None:
    bench.comes(frame("before") + bad + frame("behind"))
    assert bench.payloads() == ["before"]
    assert bench.errors() == [error]
    assert len(bench.server.sockets) == 1, "it is remembered for the good one"
    bench.comes(frame("the next datagram"))
    assert bench.payloads() == ["before", "the next datagram"]


DEEP = b"[" * 30_000 + b"]" * 30_000


@pytest.mark.parametrize("data", [b"1e400", DEEP], ids=["1e400", "deep"])
def test_a_payload_that_cannot_be_held_harms_only_itself(bench: Bench, data: bytes) -> None:
    bench.comes(frame(1) + b'{"type":"message","data":%b}\f' % data + frame(2))
    assert bench.payloads() == [1, 2]
    assert bench.errors() == [InvalidPayload]


def test_a_lone_surrogate_is_sound(bench: Bench) -> None:
    bench.comes(b'{"type":"message","data":"\\ud800"}\f' + frame(2))
    assert bench.payloads() == ["\ud800", 2]
    assert bench.faults == []


def test_a_message_above_max_message_size_is_refused(bench: Bench) -> None:
    small = Bench(max_message_size=100)
    small.comes(frame("x" * 50) + frame("x" * 100))
    assert small.payloads() == ["x" * 50]
    assert small.errors() == [FrameTooLarge]
    small.comes(frame("x" * 50))
    assert len(small.heard) == 2


def test_another_delimiter(bench: Bench) -> None:
    other = Bench(delimiter="<end>")
    other.comes(b'{"type":"message","data":1}<end>{"type":"message","data":2}<end>')
    other.comes(frame(3))
    assert other.payloads() == [1, 2]
    assert other.errors() == [ProtocolError]
    other.server.emit(NEAR, "message", "a<end>b")
    assert other.sent[0][0].count(b"<end>") == 1 and other.sent[0][0].endswith(b"<end>")


class Lines:
    """A codec of the user's own: one ``name=value`` a line."""

    def encode(self, type: str, data: Any) -> bytes:
        return f"{type}={data}\n".encode()

    def decode(self, data: bytes) -> tuple[list[tuple[str, Any]], int]:
        *lines, rest = data.decode().split("\n")
        pairs: list[Any] = [tuple(line.split("=")) for line in lines]
        return pairs, len(data) - len(rest.encode())


def test_a_codec_of_the_users_own(bench: Bench) -> None:
    own = Bench(parser=Lines())
    own.comes(b"message=1\nmessage=2\n")
    own.comes(b"message=3\nmessage")
    own.comes(b"message=4\nodd\nmessage=5\n")
    assert own.payloads() == ["1", "2", "4"]
    assert own.errors() == [ProtocolError, ProtocolError]
    own.server.emit(NEAR, "message", 6)
    assert own.sent == [(b"message=6\n", *NEAR)]


# ---- raw mode


@pytest.mark.parametrize("data", [b"", b"\0", b"hello\f", bytes(range(256))], ids=repr)
def test_raw_mode_is_one_data_event_for_each_datagram(data: bytes) -> None:
    bench = Bench(raw_buffer=True)
    bench.comes(data)
    [(heard, socket)] = bench.heard
    assert heard == data and (socket.address, socket.port) == NEAR
    assert bench.server.stats().messages_in == 1
    assert bench.server.sockets == [socket]


@pytest.mark.parametrize(
    ("payload", "encoding", "sent"),
    [
        (b"\0\xff", "utf8", b"\0\xff"),
        ([0x05, 0x6D, 0x5C], "utf8", b"\x05m\\"),
        (bytearray(b"ab"), "utf8", b"ab"),
        ("Grüße", "utf8", "Grüße".encode()),
        ("ff00", "hex", b"\xff\0"),
        ("/w==", "base64", b"\xff"),
        ("ü", "latin1", b"\xfc"),
        ("h", "utf16le", b"h\0"),
    ],
    ids=repr,
)
def test_raw_mode_emits_the_payload_alone(payload: Any, encoding: str, sent: bytes) -> None:
    bench = Bench(raw_buffer=True, encoding=encoding)
    bench.comes(b"here I am")
    bench.server.emit(NEAR, payload)
    bench.heard[0][1].emit(payload)
    bench.server.broadcast(payload)
    assert bench.sent == [(sent, *NEAR)] * 3
    with pytest.raises(InvalidPayload):
        bench.server.emit(NEAR, "message", payload)


# ---- where to


@pytest.mark.parametrize(
    "socket",
    [
        None, {}, {"address": "127.0.0.1"}, {"port": 5000}, {"address": None, "port": 5000}, "127.0.0.1", 5000, (),
        ("127.0.0.1",), ("127.0.0.1", 1, 2), {"address": "127.0.0.1", "port": "5000"}, ("127.0.0.1", True),
        ("127.0.0.1", 0), ("127.0.0.1", 65_536), ("127.0.0.1", -1), ("", 5000), ("a b", 5000), ("::1", 5000),
        ("1::2::3", 5000), object(),
    ],
    ids=lambda value: "object" if type(value) is object else repr(value),
)  # fmt: skip
@pytest.mark.row(18)
def test_an_emit_without_an_address_is_an_error_and_never_to_all(bench: Bench, socket: Any) -> None:
    bench.comes(frame("here I am"))
    for state in ("here", "elsewhere"):
        with pytest.raises(AddressError):
            if state == "here":
                bench.server.emit(socket, "message", "for one only")
            else:
                with bench.driver.other_thread():
                    bench.server.emit(socket, "message", "for one only")
    bench.driver.run_until_idle()
    assert bench.sent == []


def test_the_error_says_what_an_address_is(bench: Bench) -> None:
    with pytest.raises(AddressError, match=r'\{"address": host, "port": port\}.*broadcast'):
        bench.server.emit({}, "message")


def test_udp6_takes_ipv6_addresses_and_names() -> None:
    bench = Bench(address=Udp("::1", 8000, "udp6"))
    for host in ("::1", "fe80::1%2", "localhost"):
        bench.server.emit((host, 5000), "message")
    assert bench.places() == [("::1", 5000), ("fe80::1%2", 5000), ("localhost", 5000)]
    with pytest.raises(AddressError, match="udp6 cannot use the IPv4 address"):
        bench.server.emit(NEAR, "message")


def test_the_peer_of_another_server_is_an_address_like_any(bench: Bench) -> None:
    other = Bench()
    other.comes(frame(1), *FAR)
    bench.server.emit(other.heard[0][1], "message", "x" * 1000)
    assert bench.places() == [FAR]


@pytest.mark.parametrize("raw", [False, True])
def test_a_datagram_too_large_names_its_size(raw: bool) -> None:
    bench = Bench(raw_buffer=raw)
    bench.comes(b"here I am" if raw else frame("here I am"))
    wrapping = 0 if raw else len(frame(""))
    fits, over = "x" * (LARGEST_DATAGRAM - wrapping), "x" * (LARGEST_DATAGRAM - wrapping + 1)
    socket = bench.heard[0][1]

    def emits(text: str) -> list[Callable[[], Any]]:
        arguments = (text,) if raw else ("message", text)
        return [
            lambda: bench.server.emit(NEAR, *arguments),
            lambda: socket.emit(*arguments),
            lambda: bench.server.broadcast(*arguments),
        ]

    for emit in emits(over):
        with pytest.raises(FrameTooLarge, match="65508 bytes, and UDP carries at most 65507"):
            emit()
    assert bench.sent == []
    for emit in emits(fits):
        emit()
    assert [len(data) for data, _, _ in bench.sent] == [65_507] * 3


def test_a_payload_that_json_cannot_hold_is_an_error_at_the_call(bench: Bench) -> None:
    with pytest.raises(InvalidPayload):
        bench.server.emit(NEAR, "message", {"a": object()})
    with pytest.raises(ReservedEvent):
        bench.server.emit(NEAR, "connect")
    assert bench.sent == []


def test_data_left_out_is_an_empty_object(bench: Bench) -> None:
    bench.server.emit(NEAR, "message")
    bench.server.emit(NEAR, "message", None)
    assert [json.loads(data[:-1])["data"] for data, _, _ in bench.sent] == [{}, None]


# ---- broadcast


@pytest.mark.row(18)
def test_a_broadcast_reaches_those_heard_within_the_ttl(bench: Bench) -> None:
    places = [("127.0.0.1", 1000), ("127.0.0.1", 1001), ("127.0.0.2", 1000)]
    for place in places:
        bench.comes(frame("here I am"), *place)
    bench.server.broadcast("message", "to all")
    assert sorted(bench.places()) == sorted(places)
    bench.driver.advance(20)
    bench.comes(frame("still here"), *places[1])
    bench.driver.advance(5.001)
    bench.sent.clear()
    bench.server.broadcast("message", "to all")
    assert bench.places() == [places[1]]
    bench.driver.advance(20)
    bench.server.broadcast("message", "to nobody")
    assert len(bench.sent) == 1 and bench.server.sockets == []
    bench.comes(frame("back"), *places[0])
    bench.server.broadcast("message", "to all")
    assert bench.places() == [places[1], places[0]]


@pytest.mark.row(18)
def test_the_ttl_is_25_seconds_and_an_option() -> None:
    for bench, seconds in ((Bench(), 25.0), (Bench(udp_peer_ttl=1500), 1.5)):
        bench.comes(frame("here I am"))
        bench.driver.advance(seconds)
        assert len(bench.server.sockets) == 1
        bench.driver.advance(0.001)
        assert bench.server.sockets == []


def test_emitting_to_an_address_does_not_make_it_heard(bench: Bench) -> None:
    bench.server.emit(NEAR, "message")
    bench.server.broadcast("message")
    assert len(bench.sent) == 1


def test_a_broadcast_may_exclude(bench: Bench) -> None:
    for port in (1, 2, 3):
        bench.comes(frame(port), "127.0.0.1", port)
    bench.server.broadcast("message", "x", exclude=[bench.heard[1][1]])
    assert [port for _, port in bench.places()] == [1, 3]


def test_a_broadcast_before_the_start_reaches_nobody(bench: Bench) -> None:
    bench.comes(frame("hi"))
    assert bench.server.broadcast("message", "x") and len(bench.sent) == 1
    unbound = Bench(bind=False)
    assert unbound.server.broadcast("message", "x")
    unbound.start()
    assert unbound.sent == [] and unbound.errors() == [], "nor does it afterwards"


def test_a_broadcast_says_whether_the_kernel_keeps_up() -> None:
    bench = Bench(max_pending_bytes=1000, soft_pending_bytes=500)
    bench.comes(frame("hi"))
    for waiting, taken in ((0, True), (500, True), (501, False), (999, False), (0, True)):
        bench.driver.port.waiting = waiting
        assert bench.server.broadcast("message", "x") is taken, waiting
    assert bench.errors() == [BackpressureError]  # at 999, where it was not sent at all


# ---- row 17: the table


@pytest.mark.row(17)
def test_the_table_is_bounded_and_full_means_that_newcomers_are_served_but_not_remembered() -> None:
    bench = Bench(max_udp_peers=3)
    bench.server.on("message", lambda data, socket: socket.emit("message", data))
    old = [("127.0.0.1", port) for port in (1, 2, 3)]
    for place in old:
        bench.comes(frame("old"), *place)
    for port in range(1000, 3000):
        bench.comes(frame(port), "127.0.0.9", port)
        assert len(bench.server.sockets) == 3
    assert len(bench.heard) == len(bench.sent) == 2003, "each was delivered and answered"
    assert [(peer.address, peer.port) for peer in bench.server.sockets] == old


@pytest.mark.row(17)
def test_an_address_in_use_stays_and_one_that_falls_silent_makes_room() -> None:
    bench = Bench(max_udp_peers=2, udp_peer_ttl=10_000)
    used, silent, newcomer = ("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3)
    bench.comes(frame("used"), *used)
    bench.comes(frame("silent"), *silent)
    for _ in range(3):
        bench.driver.advance(3)
        bench.comes(frame("used"), *used)
        bench.comes(frame("newcomer"), *newcomer)
        assert [(peer.address, peer.port) for peer in bench.server.sockets] == [silent, used]
    bench.driver.advance(3)
    bench.comes(frame("newcomer"), *newcomer)
    assert [(peer.address, peer.port) for peer in bench.server.sockets] == [used, newcomer]


@pytest.mark.row(17)
def test_what_is_no_message_is_not_remembered(bench: Bench) -> None:
    refused = [frame(1, "connect"), frame(1, "") + frame(2), b'{"type":"__proto__"}\f']
    for port, junk in enumerate([b"", b"half", b"nonsense\f", b'{"type":5}\f', b"[]\f", *refused], 1000):
        bench.comes(junk, "127.0.0.9", port)
    assert bench.server.sockets == []
    bench.comes(frame(1))
    bench.comes(frame(1, "connect"))
    before = bench.server.sockets[0].heard_at
    bench.driver.advance(20)
    bench.comes(b"half")
    assert bench.server.sockets[0].heard_at == before, "and it keeps nobody in the table"


@pytest.mark.row(17)
def test_a_peer_is_the_same_object_while_it_is_remembered(bench: Bench) -> None:
    bench.comes(frame(1))
    bench.heard[0][1].state["name"] = "hello"
    bench.comes(frame(2))
    assert bench.heard[0][1] is bench.heard[1][1]
    assert bench.heard[1][1].state == {"name": "hello"}
    bench.heard[1][1].forget()
    assert bench.server.sockets == []
    bench.comes(frame(3))
    again = bench.heard[2][1]
    assert again is not bench.heard[0][1] and again == bench.heard[0][1]
    assert again.state == {} and again.id != bench.heard[0][1].id


@pytest.mark.row(17)
def test_a_datagram_costs_no_more_when_the_table_is_full() -> None:
    def cost(full: bool) -> float:
        bench = Bench()
        bench.server.off("message")
        bench.server.on("message", lambda data, socket: None)
        bench.driver.now = time.monotonic  # type: ignore[method-assign]
        if full:
            for port in range(1024):
                bench.comes(frame(1), "127.0.0.1", port + 1)
            assert len(bench.server.sockets) == 1024
        data, places = frame(1), [("127.1.0.1", port) for port in range(1, 1001)]
        start = time.process_time()
        for place in places:
            bench.server.datagram(data, *place)
        return time.process_time() - start

    pairs = [(cost(full=False), cost(full=True)) for _ in range(12)]  # side by side: a busy machine slows both
    empty, full = (min(costs) for costs in zip(*pairs, strict=True))
    assert full <= 1.5 * empty, f"{full:.4f} s for 1,000 newcomers instead of {empty:.4f} s"


# ---- row 18: no amplifier


@pytest.mark.row(18)
def test_an_address_off_loopback_gets_three_times_its_bytes_and_not_one_more(bench: Bench) -> None:
    bench.comes(frame("hi"), *FAR)
    socket = bench.heard[0][1]
    allowance = 3 * len(frame("hi"))
    text = "x" * (allowance - len(frame("")))
    with pytest.raises(AddressNotValidated, match=rf"{allowance + 1} bytes to udp4 192.0.2.7:5000") as caught:
        socket.emit("message", text + "x")
    assert caught.value.code == "ERR_IPC_ADDRESS_NOT_VALIDATED"
    assert isinstance(caught.value, PermissionError)
    assert bench.sent == [] and socket.bytes_out == 0
    socket.emit("message", text)
    assert socket.bytes_out == allowance
    with pytest.raises(AddressNotValidated):
        bench.server.emit(socket, "message", "")
    bench.comes(frame("hi"), *FAR)
    socket.emit("message", "")
    assert len(bench.sent) == 2


@pytest.mark.row(18)
def test_all_bytes_from_an_address_count_also_those_of_bad_datagrams(bench: Bench) -> None:
    bench.comes(frame("hi"), *FAR)
    bench.comes(b"x" * 1000, *FAR)
    bench.heard[0][1].emit("message", "y" * 3000)
    assert len(bench.sent) == 1


@pytest.mark.row(18)
def test_a_broadcast_leaves_out_those_who_had_enough(bench: Bench) -> None:
    bench.comes(frame("hi"), *FAR)
    bench.comes(frame("hi"), *NEAR)
    bench.comes(frame("h" * 1000), *OTHER)
    for _ in range(2):
        assert not bench.server.broadcast("message", "x" * 200)
    assert bench.places() == [NEAR, OTHER] * 2
    assert bench.errors() == [AddressNotValidated] * 2
    assert "left out 1 addresses" in str(bench.faults[0][0])
    assert bench.server.stats().dropped == 2


@pytest.mark.row(18)
@pytest.mark.parametrize("place", [("127.0.0.1", 1), ("127.255.3.4", 65_535), ("::1", 1)], ids=str)
def test_loopback_is_not_forged(place: tuple[str, int]) -> None:
    bench = Bench(address=Udp("::", 8000, "udp6") if ":" in place[0] else HOME)
    bench.comes(frame("hi"), *place)
    bench.heard[0][1].emit("message", "x" * 10_000)
    assert bench.places() == [place]


@pytest.mark.row(18)
@pytest.mark.parametrize("host", ["128.0.0.1", "12.7.0.1", "::2", "::ffff:127.0.0.1", "fe80::1%2"])
def test_everything_else_may_be(host: str) -> None:
    bench = Bench(address=Udp("::", 8000, "udp6") if ":" in host else HOME)
    bench.comes(frame("hi"), host, 5000)
    with pytest.raises(AddressNotValidated):
        bench.heard[0][1].emit("message", "x" * 10_000)


@pytest.mark.row(18)
def test_the_application_may_say_that_an_address_is_real(bench: Bench) -> None:
    bench.comes(frame("hi"), *FAR)
    bench.heard[0][1].validated = True
    bench.heard[0][1].emit("message", "x" * 10_000)
    bench.comes(frame("hi"), *FAR)
    bench.server.broadcast("message", "x" * 10_000)
    assert bench.places() == [FAR, FAR]


@pytest.mark.row(18)
@pytest.mark.parametrize("heard_first", [True, False])
def test_an_address_of_the_applications_own_choice_is_its_own_decision(bench: Bench, heard_first: bool) -> None:
    if heard_first:
        bench.comes(frame("hi"), *FAR)
    bench.server.emit({"address": FAR[0], "port": FAR[1]}, "message", "x" * 10_000)
    bench.comes(frame("hi"), *FAR)
    assert bench.heard[-1][1].validated
    bench.heard[-1][1].emit("message", "x" * 10_000)
    assert bench.places() == [FAR, FAR]


@pytest.mark.row(18)
def test_one_port_of_a_host_says_nothing_of_another(bench: Bench) -> None:
    bench.server.emit(FAR, "message", 1)
    bench.comes(frame("hi"), FAR[0], FAR[1] + 1)
    assert not bench.heard[0][1].validated


@pytest.mark.row(18)
def test_addresses_of_ones_own_choice_are_remembered_within_a_bound(bench: Bench) -> None:
    for port in range(1, 2001):
        bench.server.emit((FAR[0], port), "message", 1)
    for port, validated in ((976, False), (977, True), (2000, True)):
        bench.comes(frame("hi"), FAR[0], port)
        assert bench.heard[-1][1].validated is validated


@pytest.mark.row(18)
def test_a_newcomer_that_is_not_remembered_has_three_times_each_datagram() -> None:
    bench = Bench(max_udp_peers=1)
    bench.comes(frame("first"), *NEAR)
    for _ in range(3):
        bench.comes(frame("hi"), *FAR)
        bench.heard[-1][1].emit("message", "hi")
        with pytest.raises(AddressNotValidated):
            bench.heard[-1][1].emit("message", "x" * 100)
    assert bench.places() == [FAR] * 3


@pytest.mark.row(18)
@pytest.mark.row(1)
@settings(max_examples=300, deadline=None)
@example([b"", b"\f", b"\f\f", b"\xff\f", b"{}\f", frame(1, "rpc.request"), frame(1, "error")])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.binary(max_size=20).map(lambda data: data + b"\f"),
            st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5).map(frame),
            st.sampled_from([b'{"type":"rpc.request","data":{"id":1,"method":"x"}}\f', b'{"type":"message"}\f']),
        ),
        max_size=10,
    )
)
def test_any_datagrams_yield_events_or_one_error_each_and_no_answer(datagrams: list[bytes]) -> None:
    bench = Bench()
    for data in datagrams:
        before = len(bench.faults)
        bench.comes(data, *FAR)
        assert len(bench.faults) - before <= max(1, data.count(b"\f"))
        assert all(isinstance(error, ProtocolError) for error, _ in bench.faults)
    bench.driver.run_until_idle()
    bench.driver.advance(60)
    assert bench.sent == [], "the library itself sends nothing"


@pytest.mark.row(18)
@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_an_unvalidated_address_gets_at_most_three_times_its_bytes(seed: int) -> None:
    chance = random.Random(seed)
    bench = Bench(max_udp_peers=chance.choice([1, 3, 100]), udp_peer_ttl=5000)
    places = [(f"192.0.2.{number}", 5000) for number in range(5)]
    came, went = dict.fromkeys(places, 0), dict.fromkeys(places, 0)
    for _ in range(300):
        act = chance.randrange(5)
        place = chance.choice(places)
        if act < 2:
            data = chance.choice([frame("hi"), frame("x" * 500), b"junk", frame(1) + frame(2)])
            came[place] += len(data)
            bench.comes(data, *place)
        elif act == 2:
            bench.server.broadcast("message", "y" * chance.randrange(300))
        elif act == 3 and bench.heard:
            socket = chance.choice(bench.heard)[1]
            try:
                socket.emit("message", "z" * chance.randrange(2000))
            except AddressNotValidated:
                pass
        else:
            bench.driver.advance(chance.random() * 3)
        for data, host, port in bench.sent:
            went[host, port] += len(data)
        bench.sent.clear()
        assert all(went[place] <= 3 * came[place] for place in places)
    assert any(went.values())


# ---- waiting: before the port is bound, other threads, a full kernel


def test_what_is_emitted_before_the_port_is_bound_goes_out_in_order_before_connect() -> None:
    bench = Bench(bind=False)
    bench.server.on("connect", lambda server: server.emit(NEAR, "message", "connect"))
    bench.server.start()
    for number in range(3):
        assert bench.server.emit(NEAR, "message", number) is True
    bench.driver.run_until_idle()
    assert bench.sent == []
    bench.driver.receiver.bound(HOME)
    assert [json.loads(data[:-1])["data"] for data, _, _ in bench.sent] == [0, 1, 2, "connect"]


def test_the_first_handlers_of_start_and_connect_may_come_when_the_port_is_bound() -> None:
    bench = Bench()
    bench.driver.run_until_idle()
    told: list[str] = []
    bench.server.on("start", lambda server: told.append("start"))
    bench.server.on("connect", lambda server: told.append("connect"))
    assert told == []
    bench.driver.run_until_idle()
    bench.server.on("start", lambda server: told.append("late"))
    bench.driver.run_until_idle()
    assert told == ["start", "connect"]


@pytest.mark.parametrize(
    ("options", "fit"), [({"max_queued_messages": 5}, 5), ({"max_queued_bytes": 4 * len(frame(1))}, 4)], ids=str
)
def test_what_waits_for_the_port_is_bounded(options: dict[str, Any], fit: int) -> None:
    bench = Bench(bind=False, **options)
    bench.server.start()
    for _ in range(fit):
        bench.server.emit(NEAR, "message", 1)
    with pytest.raises(BackpressureError, match="max_queued"):
        bench.server.emit(NEAR, "message", 1)
    bench.driver.receiver.bound(HOME)
    assert len(bench.sent) == fit


def test_a_port_that_is_not_started_or_stopped_takes_no_emits(bench: Bench) -> None:
    for server in (Bench(bind=False).server, bench.server):
        server.stop()
        with pytest.raises(NotConnected, match="start"):
            server.emit(NEAR, "message")
    with pytest.raises(NotConnected, match="idle"):
        Bench(bind=False).server.emit(NEAR, "message")


def test_what_waits_when_a_port_is_stopped_before_it_is_bound_is_counted() -> None:
    bench = Bench(bind=False)
    started = bench.server.start()
    bench.server.emit(NEAR, "message")
    bench.server.stop()
    bench.driver.run_until_idle()
    assert bench.driver.port.closed and bench.sent == []
    assert bench.server.stats().dropped == 1
    bench.driver.receiver.bound(HOME)  # too late
    assert bench.server.state is ServerState.CLOSED
    with pytest.raises(NotConnected):
        started.result()


@pytest.mark.row(40)
def test_emits_from_other_threads_are_sent_in_order(bench: Bench) -> None:
    bench.comes(frame("hi"), *FAR)
    socket = bench.heard[0][1]
    with bench.driver.other_thread():
        assert socket.emit("message", 0) is True
        bench.server.emit(NEAR, "message", 1)
        socket.emit("message", "x" * 1000)
    assert bench.sent == []
    bench.driver.run_until_idle()
    assert bench.places() == [FAR, NEAR]
    assert bench.errors() == [AddressNotValidated], "what cannot be sent then is reported"
    assert bench.server.stats().dropped == 1


@pytest.mark.row(40)
def test_one_emit_from_another_thread_is_sent(bench: Bench) -> None:
    for number in range(3):
        with bench.driver.other_thread():
            bench.server.emit(NEAR, "message", number)
        bench.driver.run_until_idle()
        assert len(bench.sent) == number + 1


@pytest.mark.row(40)
def test_emits_from_other_threads_are_bounded_and_may_come_too_late() -> None:
    bench = Bench(max_pending_bytes=2 * len(frame(1)))
    with bench.driver.other_thread():
        for _ in range(2):
            bench.server.emit(NEAR, "message", 1)
        with pytest.raises(BackpressureError):
            bench.server.emit(NEAR, "message", 1)
    bench.server.abort()
    bench.driver.run_until_idle()
    with bench.driver.other_thread(), pytest.raises(NotConnected):
        bench.server.emit(NEAR, "message", 1)
    assert len(bench.sent) == 2, "stop sends what was emitted"


@pytest.mark.row(40)
@pytest.mark.parametrize("verb", ["on", "once", "off", "broadcast", "start", "stop", "abort"])
def test_everything_else_is_refused_in_other_threads(bench: Bench, verb: str) -> None:
    arguments = () if verb in ("start", "stop", "abort") else ("message",)
    with bench.driver.other_thread(), pytest.raises(WrongThreadError):
        getattr(bench.server, verb)(*arguments)


@pytest.mark.row(41)
def test_a_forked_child_is_refused(bench: Bench) -> None:
    bench.comes(frame("hi"))
    with bench.driver.forked_child():
        for call in (
            lambda: bench.server.emit(NEAR, "message"),
            lambda: bench.heard[0][1].emit("message"),
            lambda: bench.server.broadcast("message"),
            lambda: bench.server.stop(),
            lambda: bench.heard[0][1].forget(),
        ):
            with pytest.raises(ForkError):
                call()
    assert bench.sent == []
    bench.server.emit(NEAR, "message")


def test_a_full_kernel_pushes_back() -> None:
    bench = Bench(max_pending_bytes=1000, soft_pending_bytes=500)
    drained: list[bool] = []
    bench.server.on_drained.append(lambda: drained.append(True))
    bench.comes(frame("hi"))
    bench.driver.port.waiting = 500
    assert bench.server.emit(NEAR, "message") is True
    bench.driver.port.waiting = 1000 - len(frame({}))
    assert bench.server.emit(NEAR, "message") is False
    assert bench.server.emit(NEAR, "message") is False
    bench.server.broadcast("message")
    bench.driver.port.waiting += 1
    with pytest.raises(BackpressureError, match=f"{bench.driver.port.waiting} bytes wait"):
        bench.server.emit(NEAR, "message")
    bench.server.broadcast("message")
    assert len(bench.sent) == 4
    assert bench.errors() == [BackpressureError]
    assert bench.server.stats().dropped == 1
    bench.driver.advance(1)
    assert drained == []
    bench.driver.port.waiting = 0
    bench.driver.advance(1)
    assert drained == [True]


def test_the_newest_that_takes_the_place_of_another_counts_once(bench: Bench) -> None:
    bench.comes(frame("hi"))
    peer = bench.heard[0][1]
    bench.driver.port.waiting = 1
    for number in range(3):
        bench.server.emit(peer, "price", number, keep="latest")
    bench.server.emit(FAR, "price", 3, keep="latest")
    bench.server.broadcast("price", 4, keep="latest")
    assert bench.sent == [(frame(3, "price"), *FAR), (frame(4, "price"), *NEAR)]
    stats = bench.server.stats()
    assert (stats.messages_out, stats.bytes_out, stats.replaced) == (2, 2 * len(frame(3, "price")), 3)
    assert (peer.messages_out, peer.bytes_out) == (1, len(frame(4, "price")))


def test_only_the_newest_for_each_address_waits_until_the_port_is_bound() -> None:
    bench = Bench(bind=False)
    bench.server.start()
    for number, place in enumerate([NEAR, FAR, NEAR, NEAR]):
        bench.server.emit(place, "price", number, keep="latest")
    bench.server.emit(NEAR, "price", 4)
    bench.server.emit(NEAR, "other", 5, keep="latest")
    bench.driver.receiver.bound(bench.server.address)
    bench.driver.run_until_idle()
    sent = [(json.loads(data[:-1])["data"], place) for data, *place in bench.sent]
    assert sent == [(1, [*FAR]), (3, [*NEAR]), (4, [*NEAR]), (5, [*NEAR])]
    assert bench.server.stats().replaced == 2


def test_a_broadcast_that_does_not_reach_all_says_how_many() -> None:
    bench = Bench(max_pending_bytes=1000)
    for port in (5000, 5001, 5002):
        bench.comes(frame("hi"), NEAR[0], port)
    bench.driver.port.waiting = 1000
    assert bench.server.broadcast("message") is False
    (fault,) = bench.faults
    assert "did not reach 3 addresses" in str(fault[0]) and "max_pending_bytes (1000)" in str(fault[0])
    assert bench.server.stats().dropped == 3 and bench.sent == []


def test_watching_ends_with_the_port(bench: Bench) -> None:
    bench.driver.port.waiting = 2_000_000
    bench.server.emit(NEAR, "message")
    bench.server.abort()
    bench.driver.advance(1)
    assert bench.driver.next_due() is None


def test_one_datagram_above_the_limit_goes_out_where_nothing_waits() -> None:
    bench = Bench(max_pending_bytes=100)
    bench.comes(frame("hi"))
    bench.server.emit(NEAR, "message", "x" * 1000)
    bench.server.broadcast("message", "x" * 1000)
    assert len(bench.sent) == 2


# ---- the end


def test_stop_waits_until_the_kernel_has_everything(bench: Bench) -> None:
    ended: list[str] = []
    bench.server.on_closed.append(lambda: ended.append("closed"))
    bench.server.on_drained.append(lambda: ended.append("drained"))
    bench.driver.port.waiting = 100
    closed = bench.server.stop()
    assert bench.server.stop() is closed
    bench.driver.advance(2)
    assert (ended, bench.driver.port.closed) == ([], False)
    bench.comes(frame("too late"))
    assert bench.heard == []
    bench.driver.port.waiting = 0
    bench.driver.advance(0.1)
    assert (ended, bench.driver.port.closed) == (["closed", "drained"], True)
    assert closed.result() is bench.server


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 5.0), (0.5, 0.5), (0, 0.0)])
def test_stop_takes_no_longer_than_allowed(bench: Bench, timeout: float | None, seconds: float) -> None:
    bench.driver.port.waiting = 100
    closed = bench.server.stop(timeout)
    if seconds:
        bench.driver.advance(seconds - 0.001)
        assert not closed.done
    bench.driver.advance(0.002)
    assert closed.done and bench.driver.port.closed
    bench.driver.advance(10)


def test_abort_waits_for_nothing_and_ends_a_stop_under_way(bench: Bench) -> None:
    bench.driver.port.waiting = 100
    bench.server.stop()
    bench.server.abort()
    assert not bench.server.closed.done, "never inside the call"
    bench.driver.run_until_idle()
    assert bench.server.closed.done and bench.driver.port.closed


def test_a_server_that_never_started_stops_at_once() -> None:
    bench = Bench(bind=False)
    assert bench.server.stop().done
    bench.server.abort()
    bench.driver.run_until_idle()
    assert bench.server.state is ServerState.CLOSED


@pytest.mark.row(38)
def test_a_handler_that_stops_the_server_is_the_last(bench: Bench) -> None:
    bench.server.on("message", lambda data, socket: bench.server.stop())
    bench.comes(frame(1) + frame(2))
    bench.comes(frame(3))
    assert bench.payloads() == [1]
    bad = Bench()
    bad.server.on("message", lambda data, socket: bad.server.stop())
    bad.comes(frame(1) + frame(2) + b"nonsense\f")
    assert bad.payloads() == [1]


# ---- handlers


class Order(msgspec.Struct):
    price: float


def test_typed_handlers_get_their_type(bench: Bench) -> None:
    orders: list[tuple[Order, DatagramPeer]] = []

    def order(data: Order, socket: DatagramPeer) -> None:
        orders.append((data, socket))

    bench.server.on("order", order)
    bench.comes(frame({"price": 2}, "order") + frame({"price": "much"}, "order") + frame({"price": 3}, "order"))
    assert [data for data, _ in orders] == [Order(2), Order(3)]
    [(error, peer)] = bench.faults
    assert isinstance(error, InvalidPayload) and error.path == "$.price" and peer is orders[0][1]


def test_a_handler_may_register_one_with_a_type_for_what_comes_behind_it(bench: Bench) -> None:
    orders: list[Any] = []

    def first(data: Any) -> None:
        bench.server.on("order", lambda data: orders.append(data), type=Order)

    bench.server.on("first", first)
    bench.comes(frame(1, "first") + frame({"price": 2}, "order"))
    bench.comes(frame({"price": 3}, "order"))
    assert bench.faults == []
    assert orders == [Order(2), Order(3)]


def test_once_off_and_everything(bench: Bench) -> None:
    heard: list[Any] = []
    bench.server.once("single", lambda data: heard.append(("once", data)))
    bench.server.on("*", lambda type, data, socket: heard.append((type, data, socket.port)))
    bench.comes(frame(1, "single") + frame(2, "single"))
    assert heard == [("single", 1, 5000), ("once", 1), ("single", 2, 5000)]
    bench.server.off("*", "*")
    bench.comes(frame(3))
    assert bench.heard == [] and len(heard) == 3


def test_async_handlers_run_and_their_failure_is_reported(bench: Bench) -> None:
    done: list[Any] = []

    async def slow(data: Any, socket: DatagramPeer) -> None:
        await bench.driver.sleep(1)
        socket.emit("message", 1 / data)
        done.append(data)

    bench.server.on("slow", slow)
    bench.comes(frame(0, "slow") + frame(1, "slow"))
    assert done == []
    bench.driver.advance(2)
    assert done == [1] and len(bench.sent) == 1
    [(error, peer)] = bench.faults
    assert isinstance(error, HandlerError) and isinstance(error.__cause__, ZeroDivisionError)
    assert peer is bench.server.sockets[0]


@pytest.mark.row(12)
def test_async_handlers_are_bounded_and_what_waits_for_them_too() -> None:
    bench = Bench(max_handler_frames=1, max_handler_bytes=100_000)
    running: set[int] = set()
    most: list[int] = []
    ended: list[int] = []

    async def slow(data: int) -> None:
        running.add(data)
        most.append(len(running))
        await bench.driver.sleep(1)
        running.discard(data)
        ended.append(data)

    bench.server.on("slow", slow)
    for number in range(2000):
        bench.comes(frame(number, "slow"))
    for _ in range(60):
        bench.driver.advance(1)
    assert max(most) == HANDLERS_FACTOR
    assert ended == list(range(len(ended))), "in order, and the last ones are lost"
    assert 300 < len(ended) < 500
    assert bench.server.stats().dropped == 2000 - len(ended)
    bench.comes(frame(-1, "slow"))
    bench.driver.advance(1)
    assert ended[-1] == -1


@pytest.mark.row(12)
@pytest.mark.parametrize("verb", ["stop", "abort"])
def test_what_waited_for_handlers_when_it_was_stopped_takes_no_room_of_the_next_start(verb: str) -> None:
    bench = Bench(max_handler_frames=1, max_handler_bytes=100_000)
    ended: list[int] = []

    async def slow(data: int) -> None:
        await bench.driver.sleep(1)
        ended.append(data)

    bench.server.on("slow", slow)
    held = 300
    for number in range(held):
        bench.comes(frame(number, "slow"))
    getattr(bench.server, verb)()
    bench.driver.advance(10)
    assert ended == list(range(HANDLERS_FACTOR)), "so many were at work, and what waited is gone with the port"
    assert bench.server.stats().dropped == 0
    bench.start()
    ended.clear()
    for number in range(held):
        bench.comes(frame(number, "slow"))
    bench.driver.advance(100)
    assert ended == list(range(held))
    assert bench.server.stats().dropped == 0


@pytest.mark.row(12)
def test_what_waited_for_handlers_leaves_room_for_more() -> None:
    bench = Bench(max_handler_frames=1, max_handler_bytes=100_000)
    ended: list[int] = []

    async def slow(data: int) -> None:
        await bench.driver.sleep(1)
        ended.append(data)

    bench.server.on("slow", slow)
    for round in range(5):
        for number in range(300):
            bench.comes(frame(number, "slow"))
        bench.driver.advance(10)
        assert len(ended) == 300 * (round + 1)
    assert bench.server.stats().dropped == 0


@pytest.mark.row(12)
def test_what_waits_for_handlers_may_fill_its_room_to_the_last_byte() -> None:
    message = frame(0, "slow")
    for spare, dropped in ((0, 0), (-1, 1)):
        bench = Bench(max_handler_frames=1, max_handler_bytes=3 * (len(message) + BOOKKEEPING) + spare)

        async def slow(data: int, bench: Bench = bench) -> None:
            await bench.driver.sleep(1)

        bench.server.on("slow", slow)
        for _ in range(HANDLERS_FACTOR + 3):
            bench.comes(message)
        bench.driver.run_until_idle()
        assert bench.server.stats().dropped == dropped


@pytest.mark.row(12)
def test_a_few_large_messages_keep_handlers_busy_too() -> None:
    bench = Bench(max_handler_bytes=1024)
    started: list[int] = []

    async def slow(data: str) -> None:
        started.append(len(data))
        await bench.driver.sleep(1)

    bench.server.on("slow", slow)
    for _ in range(3):
        bench.comes(frame("x" * 40_000, "slow"))
    bench.comes(frame("y", "slow"))
    bench.driver.run_until_idle()
    assert started == [40_000, 40_000], "64 times the limit of a connection"
    assert bench.server.stats().dropped == 1, "and what is larger than may wait"
    bench.driver.advance(1)
    assert started == [40_000, 40_000, 1]


def test_stop_forgets_what_waited_for_handlers() -> None:
    bench = Bench(max_handler_frames=1)

    async def slow() -> None:
        await bench.driver.sleep(1)

    bench.server.on("slow", slow)
    for _ in range(100):
        bench.comes(frame(1, "slow"))
    bench.server.stop()
    bench.driver.advance(2)
    assert bench.server.stats().messages_in == HANDLERS_FACTOR
    bench.server.start()
    bench.driver.receiver.bound(HOME)
    bench.comes(frame("again"))
    assert bench.payloads() == ["again"]
    assert bench.server.stats().dropped == 0


@pytest.mark.row(37)
def test_a_failing_handler_harms_only_itself(bench: Bench) -> None:
    @bench.server.on("message")
    def fail(data: Any) -> None:
        raise RuntimeError("my own fault")

    bench.comes(frame(1) + frame(2))
    assert bench.payloads() == [1, 2]
    assert bench.errors() == [HandlerError, HandlerError]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_and_the_rest_of_the_datagram_follows(bench: Bench, exception: Any) -> None:
    @bench.server.once("message")
    def stop() -> None:
        raise exception

    with pytest.raises(exception):
        bench.comes(frame(1) + frame(2))
    bench.driver.run_until_idle()
    assert bench.payloads() == [1, 2]
    assert bench.server.stats().messages_in == 2

    @bench.server.once("message")
    def stop_for_good() -> None:
        bench.server.stop()
        raise exception

    with pytest.raises(exception):
        bench.comes(frame(3) + frame(4))
    bench.driver.run_until_idle()
    assert bench.payloads() == [1, 2, 3]


def test_a_claimed_id_is_kept_where_it_is_asked_for(bench: Bench) -> None:
    for asking, claimed in ((Bench(), None), (Bench(identify_peer=True), "hello")):
        asking.comes(frame({"id": "hello"}))
        assert asking.heard[0][1].claimed_id == claimed
    asking.comes(frame("no id") + frame({"id": ""}))
    assert asking.heard[-1][1].claimed_id == "hello"


def test_what_the_kernel_reports_is_an_error_event(bench: Bench) -> None:
    failure = AddressError("nobody there")
    bench.server.datagram_error(failure)
    assert bench.faults == [(failure, None)]
    assert bench.server.state is ServerState.LISTENING


# ---- what handlers get


def test_a_peer_is_an_object_and_a_mapping(bench: Bench) -> None:
    bench.comes(frame(1))
    socket = bench.heard[0][1]
    assert dict(socket) == {"address": "127.0.0.7", "family": "IPv4", "port": 5000}
    assert (socket["address"], socket["port"], socket["family"]) == (*NEAR, "IPv4")
    with pytest.raises(KeyError):
        socket["size"]
    assert (socket.peer.transport, socket.peer.host, socket.peer.port) == ("udp4", *NEAR)
    assert repr(socket) == "<DatagramPeer 1 udp4 127.0.0.7:5000>"
    assert (socket.bytes_in, socket.bytes_out, socket.is_open) == (len(frame(1)), 0, True)
    bench.server.emit(dict(socket), "message")
    assert bench.places() == [NEAR]
    bench.server.stop()
    assert not socket.is_open


def test_peers_are_equal_by_address_on_one_server(bench: Bench) -> None:
    bench.comes(frame(1))
    bench.comes(frame(2), NEAR[0], 6000)
    other = Bench()
    other.comes(frame(1))
    bench.comes(frame(3), *FAR)
    first, second, third, elsewhere = *(peer for _, peer in bench.heard), other.heard[0][1]
    assert len({first, second, third, elsewhere}) == 4
    assert first not in (second, third, elsewhere, NEAR)
    six = Bench(address=Udp("::1", 8000, "udp6"))
    six.comes(frame(1), "::1", 5000)
    assert (six.heard[0][1].family, str(six.heard[0][1].peer)) == ("IPv6", "udp6 [::1]:5000")


# ---- statistics, traces, logs


def test_statistics_count_what_traces_tell() -> None:
    told: list[Trace] = []
    bench = Bench(after=10.0)
    undo = bench.server.on_trace(told.append)
    data = frame(1) + frame(2)
    bench.comes(data)
    bench.comes(b"junk")
    bench.server.emit(NEAR, "message", 1)
    bench.server.broadcast("message", 2)
    bench.driver.port.waiting = 50
    bench.driver.advance(3)
    stats = bench.server.stats()
    assert (stats.messages_in, stats.bytes_in) == (2, len(data) + 4)
    assert (stats.messages_out, stats.bytes_out) == (2, 2 * len(frame(1)))
    assert (stats.errors, stats.dropped, stats.pending_bytes, stats.seconds) == (1, 0, 50, 3.0)
    assert [(trace.what, trace.messages, trace.bytes) for trace in told] == [
        ("received", 2, len(data)),
        ("error", 0, 0),
        ("received", 0, 4),
        ("sent", 1, len(frame(1))),
        ("sent", 1, len(frame(1))),
    ]
    assert [trace.detail for trace in told[3:]] == [NEAR, "all"]
    socket: Any = told[0].socket
    assert told[0].endpoint is bench.server and socket is bench.heard[0][1]
    peer = bench.heard[0][1].stats()
    assert (peer.messages_in, peer.bytes_in, peer.errors, peer.seconds) == (2, len(data) + 4, 1, 3.0)
    assert (peer.messages_out, peer.bytes_out) == (1, len(frame(1))), "the emit to NEAR names an address, no peer"
    undo()
    undo()
    bench.comes(data)
    assert len(told) == 5


def test_a_port_that_cannot_be_bound_is_traced_and_counted() -> None:
    bench = Bench(bind=False)
    told: list[Trace] = []
    bench.server.on_trace(told.append)
    bench.server.start()
    error = AddressInUse("taken")
    bench.driver.receiver.not_bound(error)
    assert [(trace.what, trace.detail) for trace in told] == [("starting", HOME), ("error", error)]
    assert bench.server.stats().errors == 1


def test_starting_and_listening_are_traced() -> None:
    bench = Bench(bind=False)
    told: list[Trace] = []
    bench.server.on_trace(told.append)
    bench.server.start()
    bench.server.emit(NEAR, "message")
    bench.server.stop()
    bench.driver.run_until_idle()
    bench.server.start()
    bench.driver.receiver.bound(HOME)
    assert [trace.what for trace in told] == ["starting", "dropped", "starting", "listening"]


def test_payloads_are_logged_where_that_is_asked_for(bench: Bench) -> None:
    lines: list[tuple[Any, ...]] = []
    bench.server.log_payloads(lambda *arguments: lines.append(arguments))
    bench.comes(frame(1))
    bench.server.emit(NEAR, "message", 2)
    assert lines == [("received event", "message", 1), ("dispatching event", "message", 2)]


@pytest.mark.row(50)
def test_errors_that_nobody_hears_are_a_few_lines_in_the_log(bench: Bench, caplog: Any) -> None:
    bench.server.off("error")
    with caplog.at_level(logging.WARNING, "node_ipc"):
        for port in range(1000, 1500):
            bench.comes(b"\x1b[31mjunk\n", "127.0.0.9", port)
        bench.driver.advance(2)
        bench.comes(b"junk")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 7
    assert "127.0.0.9:1000" in messages[0] and messages[5].startswith("495 more lines about ProtocolError")


@pytest.mark.row(37)
def test_a_handler_of_errors_that_fails_is_logged_with_its_traceback(bench: Bench, caplog: Any) -> None:
    bench.server.off("error")

    @bench.server.on("error")
    def fail() -> None:
        raise RuntimeError("my own fault")

    with caplog.at_level(logging.WARNING, "node_ipc"):
        bench.comes(b"junk")
    [record] = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info[0] is RuntimeError
    assert [type(failure.__cause__) for failure in bench.driver.failures] == [RuntimeError]
