"""The page for those who come from node-ipc: what it names is there, and what it calls a decision is so."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import Client, ClientState, Config, DatagramServer, Peer, Server
from node_ipc.config.address import Udp, Unix
from node_ipc.errors import (
    BackpressureError,
    ConfigError,
    FrameTooLarge,
    InvalidJSON,
    InvalidPayload,
    IPCError,
    ProtocolError,
    ReservedEvent,
)
from node_ipc.testing import Conditions, MemoryDriver, Pair, Started, WireServer, pair, serve

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "migration.md").read_text("utf-8")
WORLD = "unix:/memory/app.world"
EVERY_PROFILE = pytest.mark.parametrize("parser", ["fast", "guarded"])
KIB = 1024

EMITTER = ("publish", "trigger", "subscribe", "unSubscribe", "reset", "list")
MEMBERS: dict[Any, tuple[str, ...]] = {
    Client: (*EMITTER, "path", "socket", "queue", "retriesRemaining", "explicitlyDisconnected"),
    Server: (*EMITTER, "path", "server"),
    DatagramServer: (*EMITTER, "path", "server"),
}
"""What node-ipc's objects have and ours have not."""
TLS_KEYS = ("pfx", "crl", "maxVersion", "ecdhCurve", "ALPNProtocols", "checkServerIdentity", "SNICallback")


def table(heading: str) -> list[list[str]]:
    text = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# ---- the page


def test_each_member_has_a_row_and_its_error_names_something_that_exists() -> None:
    rows = " ".join(row[0] for row in table("Members of clients and servers"))
    for kind, names in MEMBERS.items():
        for name in names:
            assert re.search(rf"\b{name}\b", rows), name
            assert not hasattr(kind, name)
            with pytest.raises(AttributeError, match=f"has no attribute '{name}': use "):
                getattr(kind, name)


def test_what_stands_in_their_place_exists() -> None:
    """Whatever is read off a client or server, and each option that is named."""
    text = PAGE.split("\n## TLS keys")[0]
    ours = " ".join(" ".join(row[1:]) for row in table("Members of clients and servers"))
    for owner, name in re.findall(r"`(client|server)\.(\w+)", ours):
        kind = Client if owner == "client" else Server
        assert hasattr(kind, name) or name in vars(_made(kind)), (owner, name)
    for name in re.findall(r"`(max_\w+|interfaces)\b", text):
        assert name in vars(Config()), name
    for name in re.findall(r"`node_ipc\.(\w+)`", PAGE):
        assert hasattr(node_ipc, name), name
    assert ClientState.CLOSED and "certificate" in Peer.__annotations__
    for profile in re.findall(r'`(?:parser=)?"(\w+)"`', text):
        assert Config(parser=profile, **({"allowed_events": ["a"]} if profile == "assured" else {})).settings()


def _made(kind: type[Client] | type[Server]) -> Any:
    driver, settings = MemoryDriver(), Config().settings()
    if kind is Client:
        return Client("world", Unix("/memory/app.world"), driver, settings)
    return Server(Unix("/memory/app.world"), driver, settings)


def test_each_tls_key_has_a_row_and_its_error_says_what_the_row_says() -> None:
    rows = {quoted(row[0])[0]: row[1] for row in table("TLS keys that only a context gives")}
    assert set(rows) == set(TLS_KEYS)
    for key, use in rows.items():
        with pytest.raises(ConfigError) as error:
            Config.from_mapping({"tls": {key: "x"}})
        assert f"'tls.{key}'" in str(error.value)
        names = re.findall(r"(load_verify_locations|verify_flags|maximum_version|set_\w+|sni_callback|pkcs12)", use)
        assert all(name in str(error.value) for name in names), key
        assert names or "check_hostname" in use


def test_the_names_of_the_context_exist() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = set(re.findall(r"context\.(\w+)", PAGE))
    assert len(names) >= 7
    assert [name for name in names if not hasattr(context, name)] == []
    assert [name for name in re.findall(r"\bssl\.([A-Z_]\w+)", PAGE) if not hasattr(ssl, name)] == []
    for key in re.findall(r"`(private|public|servername)`", PAGE):
        assert key in node_ipc.config.tls_options.TLSOptions.options


def test_each_decision_names_a_test_that_is_here() -> None:
    rows = table("What differs on purpose")
    assert len(rows) >= 9
    for here, there, why, shown_by in rows:
        assert here and there and why
        names = quoted(shown_by)
        assert names and all(callable(globals().get(name)) for name in names), shown_by


def test_the_program_of_the_page_is_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import trustme

    server = trustme.CA().issue_cert("localhost")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.crt")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"ipc": node_ipc.IPC()}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0], scope)
    assert scope["ipc"].config.tls is scope["context"]


# ---- the decisions


def deaf(**options: Any) -> Pair:
    """A pair whose client reads nothing, with a kernel that takes 10,000 bytes."""
    two = pair(driver=MemoryDriver(conditions=Conditions(buffer=10_000)), max_pending_bytes=100_000, **options)
    two.connection.to_client.stall()
    return two


def errors_of(endpoint: Any) -> list[IPCError]:
    errors: list[IPCError] = []
    endpoint.on("error", lambda error: errors.append(error))
    return errors


def test_disconnect_comes_once_and_not_for_each_failed_attempt() -> None:
    driver = MemoryDriver()
    client = Client("world", Unix("/memory/app.world"), driver, Config(max_retries=3).settings())
    told: list[str] = []
    for name in ("connect", "disconnect", "destroy", "error"):
        client.on(name, lambda *_, name=name: told.append(name))
    server = serve(driver, WORLD)
    client.connect()
    driver.run_until_idle()
    server.abort()
    driver.run_until(client.closed, limit=60)
    assert [name for name in told if name != "error"] == ["connect", "disconnect", "disconnect", "destroy"]
    assert told.count("error") >= 3


@EVERY_PROFILE
def test_a_full_buffer_refuses_the_message_and_keeps_the_link(parser: str) -> None:
    two = deaf(parser=parser)
    heard: list[int] = []
    two.client.on("n", lambda data: heard.append(len(data)))
    with pytest.raises(BackpressureError):
        for _ in range(1000):
            two.socket.emit("n", "x" * 2000)
    assert two.socket.is_open
    two.connection.resume()
    two.driver.run_until_idle()
    assert two.socket.emit("n", "x")
    two.driver.run_until_idle()
    assert len(heard) > 40 and heard[-1] == 1
    assert two.server.sockets == [two.socket]


@EVERY_PROFILE
def test_one_frame_above_max_pending_bytes_passes(parser: str) -> None:
    two = deaf(parser=parser)
    heard: list[int] = []
    two.client.on("n", lambda data: heard.append(len(data)))
    two.socket.emit("n", "x" * 500_000)
    two.connection.resume()
    two.driver.run_until_idle()
    assert heard == [500_000]


def test_limits_hold_in_fast() -> None:
    two = deaf(parser="fast", max_message_size=200_000, max_connections=2)
    with pytest.raises(FrameTooLarge):
        two.socket.emit("n", "x" * 200_000)
    with pytest.raises(BackpressureError):
        for _ in range(1000):
            two.socket.emit("n", "x" * 2000)
    errors = errors_of(two.server)
    wire = Started(two.server, two.driver).wire()
    wire.write(b"x" * 200_001)
    two.driver.run_until_idle()
    assert [type(error) for error in errors] == [FrameTooLarge]
    Started(two.server, two.driver).wire()
    Started(two.server, two.driver).wire()
    assert (len(two.server.sockets), two.server.stats().refused) == (2, 1)


def test_limits_hold_in_raw() -> None:
    two = deaf(raw_buffer=True, max_connections=1)
    with pytest.raises(BackpressureError):
        for _ in range(1000):
            two.socket.emit(b"x" * 2000)
    Started(two.server, two.driver).wire()
    assert (len(two.server.sockets), two.server.stats().refused) == (1, 1)


@EVERY_PROFILE
def test_invalid_utf_8_ends_the_link(parser: str) -> None:
    two = pair(parser=parser)
    errors = errors_of(two.server)
    heard: list[Any] = []
    two.server.on("n", heard.append)
    wire = Started(two.server, two.driver).wire()
    wire.write(b'{"type":"n","data":"\xff"}\f{"type":"n","data":"behind"}\f')
    two.driver.run_until_idle()
    assert ([type(error) for error in errors], heard) == ([InvalidJSON], [])
    assert two.server.sockets == [two.socket]


@EVERY_PROFILE
def test_a_number_beyond_a_double_is_an_invalid_payload(parser: str) -> None:
    two = pair(parser=parser)
    errors = errors_of(two.server)
    heard: list[Any] = []
    two.server.on("n", heard.append)
    wire = Started(two.server, two.driver).wire()
    wire.write(b'{"type":"n","data":1e400}\f{"type":"n","data":1e300}\f')
    two.driver.run_until_idle()
    assert ([type(error) for error in errors], heard) == ([InvalidPayload], [1e300])
    assert len(two.server.sockets) == 2


@EVERY_PROFILE
def test_a_protocol_error_does_not_end_a_client_at_once(parser: str) -> None:
    driver = MemoryDriver()
    server = WireServer(driver)
    client = Client("world", server.address, driver, Config(parser=parser).settings())
    errors = errors_of(client)
    client.connect()
    for number in range(1, 6):
        driver.run_until(lambda number=number: len(server.wires) == number and server.wires[-1].link)  # type: ignore[misc]
        server.wires[-1].write(b"garbage\f")
        driver.run_until(lambda: client.state is not ClientState.CONNECTED)
        assert (client.state is ClientState.CLOSED) == (number == 5)
    assert len(errors) == 5 and all(isinstance(error, ProtocolError) for error in errors)
    assert Config().max_protocol_errors == 5


def test_udp_carries_nothing_over() -> None:
    driver = MemoryDriver()
    here, there = Udp("127.0.0.1", 8000, "udp4"), Udp("127.0.0.1", 8001, "udp4")
    server = DatagramServer(here, driver, Config().settings())
    sender = DatagramServer(there, driver, Config(raw_buffer=True).settings())
    server.start()
    sender.start()
    driver.run_until_idle()
    errors = errors_of(server)
    heard: list[Any] = []
    server.on("n", heard.append)
    for data in (b'{"type":"n","data":1}\f{"type":"n",', b'"data":2}\f', b'{"type":"n","data":3}\f'):
        sender.emit((here.host, here.port), data)
        driver.run_until_idle()
    assert heard == [3]
    assert len(errors) == 2 and all(isinstance(error, ProtocolError) for error in errors)


def test_a_peer_cannot_raise_what_this_side_raises() -> None:
    two = pair(parser="fast")
    told: list[Any] = []
    two.client.on("disconnect", told.append)
    errors = errors_of(two.client)
    for _ in range(3):
        two.socket.emit("disconnect")
    two.driver.run_until_idle()
    assert told == []
    assert [type(error) for error in errors] == [ReservedEvent]
    assert two.client.stats().reserved == 3


def test_names_of_node_ipc_say_what_to_use() -> None:
    client = pair().client
    with pytest.raises(AttributeError, match="use retries_remaining"):
        _ = client.retriesRemaining  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="a plain call of your function"):
        client.publish("connect")  # type: ignore[attr-defined]
    assert not {"publish", "retriesRemaining"} & {*dir(client)}
