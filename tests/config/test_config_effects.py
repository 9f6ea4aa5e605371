"""Every option that concerns streams does what it says, between two instances on real sockets.

What an option does in each corner (every state, every encoding's odd characters) is in the tests of the module that
carries it out; here it is set as a user sets it, and its effect is seen from outside.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import re
import socket as sockets
import stat
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from node_ipc import (
    IPC,
    AddressInUse,
    BackpressureError,
    ConfigError,
    EventTooLarge,
    FrameTooLarge,
    IPCError,
    MessageTimeout,
    ProtocolError,
    ReservedEvent,
    SocketRootError,
    style,
)

unix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has pipes, and no socket files")


class Ends:
    """Two instances with the same options, and what the tests do with them."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.server_ipc, self.client_ipc = IPC(), IPC()
        for ipc, id in ((self.server_ipc, "world"), (self.client_ipc, "hello")):
            ipc.config.update(socket_root=f"{root}/", id=id, retry=20, silent=True, **options)

    @property
    def server(self) -> Any:
        return self.server_ipc.server

    @property
    def world(self) -> Any:
        return self.client_ipc.of.world

    async def start(self, net: bool = False) -> None:
        self.server_ipc.serve_net("127.0.0.1", 0) if net else self.server_ipc.serve()
        await self.server.start()

    async def connect(self, callback: Callable[..., Any] | None = None) -> Any:
        address = self.server.address
        if hasattr(address, "port"):
            return await self.client_ipc.connect_to_net("world", "127.0.0.1", address.port, callback)
        return await self.client_ipc.connect_to("world", callback)

    async def both(self, net: bool = False) -> Ends:
        await self.start(net)
        await self.connect()
        await settled(lambda: self.server.sockets)
        return self

    @property
    def socket(self) -> Any:
        """The server's one socket."""
        (only,) = self.server.sockets
        return only

    def heard(self, event: str) -> list[Any]:
        """What the server hears of this event from now on."""
        return collected(self.server, event)


@contextlib.asynccontextmanager
async def ends(root: Path, **options: Any) -> AsyncIterator[Ends]:
    two = Ends(root, **options)
    try:
        yield two
    finally:
        await two.client_ipc.stop()
        await two.server_ipc.stop()


def collected(endpoint: Any, event: str) -> list[Any]:
    found: list[Any] = []
    endpoint.on(event, lambda data: found.append(data))
    return found


async def settled(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def raw_client(address: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A peer without this library."""
    if hasattr(address, "port"):
        return await asyncio.open_connection(address.host, address.port)
    return await asyncio.open_unix_connection(address.path)


# ---- where


@unix_only
async def test_socket_root_appspace_and_id_make_the_path(tmp_path: Path) -> None:
    async with ends(tmp_path, appspace="mine-") as two:
        await two.both()
        assert (tmp_path / "mine-world").is_socket()


async def test_network_host_and_port_are_where_nothing_else_is_said(tmp_path: Path) -> None:
    async with ends(tmp_path, network_host="127.0.0.1", network_port=0) as two:
        two.server_ipc.serve_net()
        await two.server.start()
        two.client_ipc.config.network_port = two.server.port
        assert (await two.client_ipc.connect_to_net("world")).peer.host == "127.0.0.1"


async def test_interfaces_local_address_and_port(tmp_path: Path) -> None:
    with sockets.create_server(("127.0.0.3", 0)) as free:
        port = free.getsockname()[1]
    async with ends(tmp_path, interfaces={"local_address": "127.0.0.3", "local_port": port}) as two:
        await two.both(net=True)
        assert (two.socket.peer.host, two.socket.peer.port) == ("127.0.0.3", port)


async def test_interfaces_lookup_and_family(tmp_path: Path) -> None:
    asked: list[str] = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with ends(tmp_path, interfaces={"lookup": look_up, "family": "IPv4"}) as two:
        await two.start(net=True)
        port = two.server.port
        await two.client_ipc.connect_to_net("world", "world.example", port)
        assert asked == ["world.example"]
        two.client_ipc.config.interfaces.family = 6
        two.client_ipc.config.stop_retrying = True
        with pytest.raises(IPCError, match=r"world\.example"):
            await two.client_ipc.connect_to_net("none", "world.example", port)


async def test_interfaces_hints_are_flags_for_getaddrinfo(tmp_path: Path) -> None:
    async with ends(tmp_path, stop_retrying=True, interfaces={"hints": sockets.AI_NUMERICHOST}) as two:
        await two.start(net=True)
        with pytest.raises(IPCError, match="localhost"):  # which is not a number
            await two.client_ipc.connect_to_net("world", "localhost", two.server.port)
        await two.client_ipc.connect_to_net("world", "127.0.0.1", two.server.port)


# ---- the wire


RAW = b"\x00\x0c\x7f\x80\xff\r\n"


@pytest.mark.parametrize(
    ("encoding", "text", "wire"),
    [
        ("utf8", "grüß\f", b"gr\xc3\xbc\xc3\x9f\f"),
        ("ascii", "hello\n", b"hello\n"),
        ("latin1", "\xff\x00\x80", b"\xff\x00\x80"),
        ("binary", "\xff\x00\x80", b"\xff\x00\x80"),
        ("ucs2", "h\u20ac", b"h\x00\xac\x20"),
        ("utf16le", "h\u20ac", b"h\x00\xac\x20"),
        ("hex", "000cff80", b"\x00\x0c\xff\x80"),
        ("base64", "AAz/gA==", b"\x00\x0c\xff\x80"),
    ],
)
@pytest.mark.parametrize("net", [False, True])
async def test_raw_buffer_passes_every_kind_of_payload_both_ways(
    tmp_path: Path, net: bool, encoding: str, text: str, wire: bytes
) -> None:
    kinds: list[Any] = [text, RAW, bytearray(RAW), memoryview(RAW), list(RAW), struct.pack(">HI", 5, 6)]
    kinds.append(array.array("H", [1, 2]))
    whole = wire + RAW * 4 + struct.pack(">HI", 5, 6) + array.array("H", [1, 2]).tobytes()
    async with ends(tmp_path, raw_buffer=True, encoding=encoding) as two:
        await two.both(net)
        up, down = two.heard("data"), collected(two.world, "data")
        for payload in kinds:
            two.world.emit(payload)
            two.server.emit(two.socket, payload)
        await settled(lambda: len(b"".join(up)) >= len(whole) and len(b"".join(down)) >= len(whole))
        assert b"".join(up) == b"".join(down) == whole
        assert {type(chunk) for chunk in up + down} == {bytes}


@pytest.mark.parametrize("delimiter", ["\n", "|", "<END>", "\f\f", "€", "~" * 300])
async def test_delimiter(tmp_path: Path, delimiter: str) -> None:
    payload = {"text": f"{delimiter}a{delimiter}{delimiter}", delimiter: [1]}
    async with ends(tmp_path, delimiter=delimiter) as two:
        await two.start()
        heard = two.heard("message")
        reader, writer = await raw_client(two.server.address)
        writer.write(b'{"type":"message","data":1}' + delimiter.encode())
        await two.connect()
        two.world.emit("message", payload)
        await settled(lambda: len(heard) == 2)
        assert sorted(heard, key=str) == sorted([1, payload], key=str)
        two.server.broadcast("message", payload)
        async with asyncio.timeout(60):
            frame = await reader.readuntil(delimiter.encode())
        assert frame.count(delimiter.encode()) == 1
        writer.close()


async def test_sync_sends_the_next_message_only_when_something_came_back(tmp_path: Path) -> None:
    async with ends(tmp_path, sync=True) as two:
        await two.both()
        heard = two.heard("message")
        for number in range(3):
            two.world.emit("message", number)
        await settled(lambda: heard)
        two.socket.emit("other")
        await settled(lambda: len(heard) == 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert heard == [0, 1]
        two.socket.abort()  # no answer will come over this link: the rest goes out over the next
        await settled(lambda: heard == [0, 1, 2])


class LengthPrefixed:
    """A format of one's own: the length of name and payload, then both."""

    def encode(self, type: str, data: Any) -> bytes:
        name, payload = type.encode(), repr(data).encode()
        return struct.pack(">HI", len(name), len(payload)) + name + payload

    def decode(self, data: bytes) -> tuple[list[tuple[str, Any]], int]:
        found, at = [], 0
        while len(data) - at >= 6:
            first, second = struct.unpack_from(">HI", data, at)
            if first > 64:
                raise ValueError(f"a name of {first} bytes")
            end = at + 6 + first + second
            if len(data) < end:
                break
            found.append((data[at + 6 : at + 6 + first].decode(), data[at + 6 + first : end].decode()))
            at = end
        return found, at


class Configured(LengthPrefixed):
    """As a class it is made with the settings."""

    def __init__(self, settings: Any) -> None:
        assert settings.max_message_size == 1000


@pytest.mark.parametrize("parser", [LengthPrefixed(), Configured])
async def test_parser_of_ones_own(tmp_path: Path, parser: Any) -> None:
    async with ends(tmp_path, parser=parser, max_message_size=1000) as two:
        await two.both()
        heard, answers, errors = two.heard("message"), collected(two.world, "message"), two.heard("error")
        two.world.emit("message", [1, "\f"])
        two.world.emit("message")
        await settled(lambda: len(heard) == 2)
        assert heard == ["[1, '\\x0c']", "{}"]
        two.server.broadcast("message", 5)
        await settled(lambda: answers == ["5"])
        reader, writer = await raw_client(two.server.address)
        writer.write(b"\xff" * 10)
        await settled(lambda: errors)
        assert isinstance(errors[0], ProtocolError) and "a name of 65535 bytes" in str(errors[0])
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(FrameTooLarge, match="1000"):
            two.world.emit("message", "x" * 1000)


async def test_parser_raw_is_raw_buffer(tmp_path: Path) -> None:
    async with ends(tmp_path, parser="raw") as two:
        await two.both()
        heard = two.heard("data")
        two.world.emit(RAW)
        await settled(lambda: heard == [RAW])


@pytest.mark.parametrize(
    ("parser", "name", "passes"),
    [
        ("fast", "toString", True),
        ("fast", "x" * 300, True),
        ("guarded", "toString", False),
        ("guarded", "x" * 300, False),
    ],
)
async def test_parser_fast_takes_names_that_guarded_refuses(
    tmp_path: Path, parser: str, name: str, passes: bool
) -> None:
    async with ends(tmp_path, parser=parser) as two:
        await two.start()
        everything: list[str] = []
        two.server.on("*", lambda type: everything.append(type))
        reader, writer = await raw_client(two.server.address)
        writer.write(b'{"type":"%s","data":1}\f' % name.encode())
        await settled(lambda: (name if passes else "error") in everything)
        assert (name in everything) == passes
        writer.close()
        await reader.read()


async def test_identify_peer_names_the_socket_that_is_gone(tmp_path: Path) -> None:
    for identify, expected in ((True, "me"), (False, 1)):
        async with ends(tmp_path, identify_peer=identify) as two:
            await two.both()
            gone: list[Any] = []
            two.server.on("socket.disconnected", lambda socket, id: gone.append(id))  # noqa: B023 - awaited below
            heard = two.heard("message")
            two.world.emit("message", {"id": "me"})
            await settled(lambda: heard)  # noqa: B023
            two.world.abort()
            await settled(lambda: gone)  # noqa: B023
            assert gone == [expected]


@pytest.mark.parametrize("allowed", [False, True])
async def test_allow_reserved_events(tmp_path: Path, allowed: bool) -> None:
    async with ends(tmp_path, allow_reserved_events=allowed) as two:
        await two.both()
        connects = two.heard("connect")
        if not allowed:
            with pytest.raises(ReservedEvent, match="allow_reserved_events"):
                two.world.emit("connect", 5)
            return
        two.world.emit("connect", 5)
        await settled(lambda: connects == [5])


# ---- who may connect


@unix_only
@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({}, 0o600),
        ({"readable_all": True}, 0o644),
        ({"writable_all": True}, 0o622),
        ({"readable_all": True, "writable_all": True}, 0o666),
    ],
)
async def test_readable_all_and_writable_all_are_the_mode_of_the_socket(
    tmp_path: Path, options: dict[str, bool], mode: int
) -> None:
    async with ends(tmp_path, **options) as two:
        await two.start()
        assert stat.S_IMODE(os.stat(tmp_path / "app.world").st_mode) == mode


def leave_a_dead_socket(path: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(path))


@unix_only
async def test_unlink_true_takes_the_place_of_a_dead_server_and_false_does_not(tmp_path: Path) -> None:
    leave_a_dead_socket(tmp_path / "app.world")
    async with ends(tmp_path, unlink=False) as two:
        with pytest.raises(AddressInUse, match=r"app\.world"):
            await two.start()
    async with ends(tmp_path) as two:
        await two.both()


@unix_only
async def test_unlink_true_leaves_a_live_server_alone_and_force_does_not(tmp_path: Path) -> None:
    async with ends(tmp_path) as first, ends(tmp_path) as second:
        await first.both()
        with pytest.raises(AddressInUse, match=r"app\.world"):
            await second.start()
        await second.server_ipc.stop()
        second.server_ipc.config.unlink = "force"
        await second.both()
        assert len(first.server.sockets) == len(second.server.sockets) == 1


@unix_only
async def test_secure_socket_root_wants_a_directory_of_ones_own(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o1777)
    async with ends(loose, secure_socket_root=True) as two:
        with pytest.raises(SocketRootError, match="other users may write"):
            await two.start()
    loose.chmod(0o777)
    async with ends(loose, secure_socket_root=True) as two:  # nobody has put anything there: others are shut out
        await two.both()
        assert stat.S_IMODE(os.stat(loose).st_mode) == 0o700
    own = tmp_path / "own"
    async with ends(own, secure_socket_root=True) as two:
        await two.both()
        assert stat.S_IMODE(os.stat(own).st_mode) == 0o700


async def test_max_connections(tmp_path: Path) -> None:
    async with ends(tmp_path, max_connections=1) as two:
        await two.both()
        reader, writer = await raw_client(two.server.address)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        assert two.server.refused == 1 and len(two.server.sockets) == 1


# ---- limits on messages


async def test_max_message_size_counts_in_both_directions(tmp_path: Path) -> None:
    frame = len(b'{"type":"message","data":"' + b'"}')
    async with ends(tmp_path, max_message_size=1000) as two:
        await two.both()
        heard, errors = two.heard("message"), two.heard("error")
        two.world.emit("message", "x" * (1000 - frame))
        with pytest.raises(FrameTooLarge, match=r"1001 bytes.*1000.*max_message_size"):
            two.world.emit("message", "x" * (1001 - frame))
        reader, writer = await raw_client(two.server.address)
        writer.write(b'{"type":"message","data":"' + b"x" * (1001 - frame) + b'"}\f')
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        await settled(lambda: errors)
        assert isinstance(errors[0], FrameTooLarge) and len(heard) == 1 and len(two.server.sockets) == 1


async def test_max_event_name_length(tmp_path: Path) -> None:
    async with ends(tmp_path, max_event_name_length=7) as two:
        await two.both()
        heard, errors = two.heard("message"), two.heard("error")
        two.world.emit("message")
        await settled(lambda: heard)
        with pytest.raises(EventTooLarge, match=r"8 characters.*7.*max_event_name_length"):
            two.world.emit("message8")
        _, writer = await raw_client(two.server.address)
        writer.write(b'{"type":"message8"}\f')
        await settled(lambda: errors)
        assert isinstance(errors[0], EventTooLarge)
        writer.close()


async def test_message_timeout_ends_a_link_with_half_a_message(tmp_path: Path) -> None:
    async with ends(tmp_path, message_timeout=50) as two:
        await two.both()
        errors = two.heard("error")
        reader, writer = await raw_client(two.server.address)
        writer.write(b'{"type":"mess')
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        await settled(lambda: errors)
        assert isinstance(errors[0], MessageTimeout) and len(two.server.sockets) == 1


async def test_max_pending_bytes(tmp_path: Path) -> None:
    async with ends(tmp_path, max_pending_bytes=100_000, soft_pending_bytes=50_000) as two:
        await two.start()
        _, writer = await raw_client(two.server.address)  # which never reads
        await settled(lambda: two.server.sockets)
        results: list[bool] = []
        with pytest.raises(BackpressureError, match=r"max_pending_bytes \(100000\)"):
            for _ in range(10_000):
                results.append(two.socket.emit("message", "x" * 10_000))
        assert results[0] is True and results[-1] is False
        assert 50_000 < two.socket.pending_bytes <= 110_000
        assert two.socket.is_open
        writer.close()


# ---- reconnecting


async def test_retry_is_the_delay_and_max_retries_their_number(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    for retry, least in ((1, 0.0), (40, 0.8 * (40 + 64) / 1000)):
        async with ends(tmp_path, max_retries=2) as two:
            two.client_ipc.config.retry = retry
            errors: list[IPCError] = []
            began = loop.time()
            with pytest.raises(IPCError, match="no server at"):
                await connect_to_nobody(two, errors)
            assert len(errors) == 3
            assert loop.time() - began >= least - 0.002


async def connect_to_nobody(two: Ends, errors: list[IPCError]) -> Any:
    return await two.client_ipc.connect_to("world", lambda ipc: ipc.of.world.on("error", errors.append))


@pytest.mark.parametrize(("stop", "attempts"), [(True, 1), (0, 1), (2, 3)])
async def test_stop_retrying_at_once_or_after_a_number(tmp_path: Path, stop: Any, attempts: int) -> None:
    async with ends(tmp_path, stop_retrying=stop) as two:
        errors: list[IPCError] = []
        with pytest.raises(IPCError, match="no server at"):
            await connect_to_nobody(two, errors)
        assert len(errors) == attempts


async def test_stop_retrying_set_while_running_ends_what_false_would_go_on_with(tmp_path: Path) -> None:
    async with ends(tmp_path, stop_retrying=False, max_retries=1000) as two:
        errors: list[IPCError] = []
        waiting = asyncio.ensure_future(connect_to_nobody(two, errors))
        await settled(lambda: len(errors) == 4)
        two.client_ipc.config.stop_retrying = True
        with pytest.raises(IPCError):
            await asyncio.wait_for(waiting, 60)
        assert len(errors) == 4


# ---- what is logged


@pytest.mark.parametrize("log_payloads", [False, True])
async def test_logger_silent_and_log_payloads(tmp_path: Path, log_payloads: bool) -> None:
    lines: list[str] = []
    async with ends(tmp_path) as two:
        for ipc in (two.server_ipc, two.client_ipc):
            ipc.config.update(silent=False, logger=lines.append, log_payloads=log_payloads)
        await two.both()
        heard = two.heard("message")
        two.world.emit("message", {"secret": "\x1b[2J"})
        await settled(lambda: heard)
        assert any("starting server on" in line and "app.world" in line for line in lines)
        assert any("secret" in line for line in lines) == log_payloads
        assert not any("\x1b" in line for line in lines)
        two.server_ipc.config.silent = True
        before = len(lines)
        two.server_ipc.log("nothing")
        assert len(lines) == before


def test_log_in_color_log_depth_and_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines: list[str] = []
    ipc = IPC()
    ipc.config.update(logger=lines.append, log_depth=1)
    ipc.log(style.debug("got a message :"), {"a": {"b": {"c": 1}}})
    ipc.config.log_in_color = False
    ipc.log(style.debug("got a message :"), {"a": {"b": {"c": 1}}})
    assert lines[0] != lines[1] == re.sub("\x1b\\[[0-9;]*m", "", lines[0])
    assert lines[1] == "got a message : {'a': {'b': {…}}}"


# ---- wrong values


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retry", 0),
        ("retry", "500"),
        ("max_retries", -1),
        ("max_retries", True),
        ("stop_retrying", "no"),
        ("sync", 1),
        ("encoding", "utf7"),
        ("delimiter", ""),
        ("delimiter", "true"),
        ("max_connections", 0),
        ("unlink", "yes"),
        ("parser", "quick"),
        ("parser", object()),
        ("logger", None),
        ("log_depth", -1),
        ("network_port", 65536),
        ("id", ""),
        ("socket_root", 5),
        ("message_timeout", -1),
        ("max_message_size", 2**40),
        ("interfaces", {"local_address": "localhost"}),
        ("interfaces", {"localPort": 1, "local_port": 2}),
        ("tls", "yes"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_changes_nothing(option: str, value: Any) -> None:
    config = IPC().config
    before = getattr(config, option)
    with pytest.raises(ConfigError, match=rf"'?({option}|local_?[aA]ddress|interfaces\.local_port)'?") as raised:
        setattr(config, option, value)
    assert re.search("it takes|given twice", str(raised.value))
    assert getattr(config, option) == before
