"""The assured profile at the endpoints: what it refuses, with node-ipc 14's codes, at the call that asks for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

import node_ipc
from node_ipc import IPC, AssuredError, Config, ConfigError, SocketRootError, blocking
from node_ipc.config.address import Handed, Pipe, Tcp, Tls, Udp, Unix, lies_directly_in
from node_ipc.config.profiles import require_assured

TRANSPORT, TLS = "ERR_IPC_ASSURED_TRANSPORT", "ERR_IPC_ASSURED_TLS"
DEADLINE = 60.0
"""Seconds that anything awaited may take."""
ASSURED: dict[str, Any] = {"parser": "assured", "allowed_events": ["message"], "silent": True}


@pytest.fixture(scope="module")
def tls() -> dict[str, Any]:
    """Enough for either end: a key, a certificate for this machine, and the authority."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    return {
        "key": own.private_key_pem.bytes(),
        "cert": own.cert_chain_pems[0].bytes(),
        "ca": authority.cert_pem.bytes(),
    }


@pytest.fixture
def root() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="ipc-")  # mode 0700
    yield path + "/"
    shutil.rmtree(path)


def configured(**more: Any) -> IPC:
    ipc = IPC()
    ipc.config.update(**{**ASSURED, **more})
    return ipc


def settings(**more: Any) -> Config:
    return configured(**more).config.settings()


# --- the rule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Tcp("127.0.0.1", 8000), r"needs TLS on the network \(tcp://127.0.0.1:8000\): set config.tls"),
        (Tcp("0.0.0.0", 8000), "needs TLS on the network"),
        (Udp("127.0.0.1", 8000, "udp4"), "does not allow UDP"),
        (Udp("::1", 8000, "udp6"), "does not allow UDP"),
    ],
)
def test_no_network_without_tls(where: Any, words: str, side: Any) -> None:
    with pytest.raises(AssuredError, match=words) as error:
        require_assured(where, settings(), side)
    assert error.value.code == TRANSPORT


@pytest.mark.parametrize("profile", ["raw", "fast", "guarded"])
def test_other_profiles_are_free(profile: str) -> None:
    places = (Tcp("0.0.0.0", 1), Tls("::", 1), Unix("/anywhere"), Pipe("any"), Udp("::1", 1, "udp6"))
    assert [where for where in places if is_refused(where, settings(parser=profile), "server")] == []
    assert [where for where in places if is_refused(where, settings(), "server")]


def is_refused(where: Any, options: Any, side: Any) -> bool:
    try:
        require_assured(where, options, side)
    except (AssuredError, ConfigError):
        return True
    return False


@pytest.mark.parametrize(
    "less", [{"ca": None}, {"request_cert": False}, {"reject_unauthorized": False}, {"min_version": "TLSv1.2"}]
)
def test_a_server_has_to_verify_its_clients(less: dict[str, Any], tls: dict[str, Any]) -> None:
    require_assured(Tls("::", 1), settings(tls=tls), "server")
    with pytest.raises(AssuredError) as error:
        require_assured(Tls("::", 1), settings(tls={**tls, **less}), "server")
    assert error.value.code == TLS


@pytest.mark.parametrize(
    "less",
    [{"ca": None}, {"key": None}, {"cert": None}, {"reject_unauthorized": False}, {"min_version": "TLSv1.2"}],
)
def test_a_client_has_to_verify_and_to_show_a_certificate(less: dict[str, Any], tls: dict[str, Any]) -> None:
    require_assured(Tls("localhost", 1), settings(tls=tls), "client")
    with pytest.raises(AssuredError) as error:
        require_assured(Tls("localhost", 1), settings(tls={**tls, **less}), "client")
    assert error.value.code == TLS


def test_the_files_of_tls_are_not_opened_by_the_rule() -> None:
    paths = {"private": "/nowhere/key", "public": "/nowhere/cert", "trusted_connections": ["/nowhere/ca"]}
    for side in ("client", "server"):
        assert not is_refused(Tls("localhost", 1), settings(tls=paths), side)


def test_a_server_without_a_certificate_is_a_configuration_error_as_in_node_ipc() -> None:
    with pytest.raises(ConfigError) as error:
        require_assured(Tls("::", 1), settings(tls={}), "server")
    assert error.value.code == "ERR_IPC_TLS_CONFIGURATION"


def test_a_context_of_the_users_is_looked_at_too() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(AssuredError, match="verify_mode is CERT_REQUIRED"):
        require_assured(Tls("::", 1), settings(tls=context), "server")
    context.verify_mode, context.minimum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_3
    require_assured(Tls("::", 1), settings(tls=context), "server")


@pytest.mark.parametrize("path", ["/run/mine/sub/app.world", "/run/app.world", "/run/mine/../app.world", "\0app.world"])
def test_a_local_server_is_directly_in_the_root(path: str) -> None:
    require_assured(Unix("/run/mine/app.world"), settings(socket_root="/run/mine/"), "server")
    require_assured(Unix("/run/mine/./app.world"), settings(socket_root="/run/mine"), "server")
    with pytest.raises(AssuredError, match="directly in socket_root") as error:
        require_assured(Unix(path), settings(socket_root="/run/mine/"), "server")
    assert error.value.code == TRANSPORT
    require_assured(Unix(path), settings(socket_root="/run/mine/"), "client")


def test_a_local_server_needs_the_check_of_its_root() -> None:
    with pytest.raises(AssuredError, match="needs secure_socket_root") as error:
        require_assured(
            Unix("/run/mine/app.world"), settings(socket_root="/run/mine/", secure_socket_root=False), "server"
        )
    assert error.value.code == TRANSPORT


def test_there_is_no_local_server_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssuredError, match="no local server on Windows") as error:
        require_assured(Pipe("tmp-app.world"), settings(), "server")
    assert error.value.code == TRANSPORT
    require_assured(Pipe("tmp-app.world"), settings(), "client")
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(AssuredError, match="no local server on Windows"):
        require_assured(Unix("/run/mine/app.world"), settings(socket_root="/run/mine/"), "server")


def test_sockets_that_were_handed_over_are_judged_by_where_they_are(tls: dict[str, Any]) -> None:
    with socket.socket() as sock:
        with pytest.raises(AssuredError, match="needs TLS on the network"):
            require_assured(Handed((sock,), Tcp("127.0.0.1", 1)), settings(), "server")
        require_assured(Handed((sock,), Tls("127.0.0.1", 1)), settings(tls=tls), "server")


def test_a_path_lies_in_one_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert lies_directly_in("run/app.world", "/run")
    assert not lies_directly_in("/run/sub/app.world", "/run")


# --- at the call ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda ipc: ipc.serve_net(),
        lambda ipc: ipc.serve_net("0.0.0.0", 8000),
        lambda ipc: ipc.serve_net("udp4"),
        lambda ipc: ipc.serve("/tmp/elsewhere/app.world"),
        lambda ipc: ipc.connect_to_net("world"),
    ],
    ids=["tcp", "exposed", "udp", "path", "client"],
)
def test_the_callback_front_raises_at_the_call(call: Callable[[IPC], Any], root: str) -> None:
    ipc = configured(socket_root=root)
    with pytest.raises(AssuredError) as error:
        call(ipc)
    assert error.value.code == TRANSPORT
    assert len(ipc.of) == 0
    with pytest.raises(node_ipc.NoServer):
        ipc.server  # noqa: B018


def test_tls_that_is_not_mutual_raises_at_the_call_too(tls: dict[str, Any]) -> None:
    ipc = configured(tls={"key": tls["key"], "cert": tls["cert"]})
    with pytest.raises(AssuredError) as served:
        ipc.serve_net()
    with pytest.raises(AssuredError) as connected:
        ipc.connect_to_net("world")
    assert served.value.code == connected.value.code == TLS


async def test_the_asyncio_front(root: str) -> None:
    for end in (node_ipc.connect, node_ipc.serve):
        with pytest.raises(AssuredError, match="needs TLS on the network"):
            async with end("tcp://127.0.0.1:1", **ASSURED):
                pass


def test_the_blocking_front() -> None:
    for end in (blocking.connect, blocking.serve):
        with pytest.raises(AssuredError, match="needs TLS on the network"), end("tcp://127.0.0.1:1", **ASSURED):
            pass


# --- what it allows ---------------------------------------------------------------------------------------


async def test_assured_ends_talk_on_a_socket_in_a_root_of_their_own(root: str) -> None:
    await exchange(lambda ipc: ipc.serve(), lambda ipc: ipc.connect_to("world"), socket_root=root, id="world")


async def test_assured_ends_talk_over_mutual_tls(tls: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await exchange(lambda ipc: ipc.serve_net("127.0.0.1", port), lambda ipc: ipc.connect_to_net("world", port), tls=tls)


async def exchange(serve: Callable[[IPC], Any], connect: Callable[[IPC], Any], **config: Any) -> None:
    """Let two assured ends talk, and find that an event that is not allowed goes nowhere."""
    here, there = configured(**config), configured(**config)
    serve(here)
    here.server.on("message", lambda data, socket: socket.emit("message", data))
    await asyncio.wait_for(here.server.start(), DEADLINE)
    connect(there)
    heard = asyncio.get_running_loop().create_future()
    there.of.world.on("message", heard.set_result)
    there.of.world.emit("message", "sealed")
    assert await asyncio.wait_for(heard, DEADLINE) == "sealed"
    with pytest.raises(node_ipc.EventNotAllowed):
        there.of.world.emit("secret", "open")
    await asyncio.wait_for(there.stop(), DEADLINE)
    await asyncio.wait_for(here.stop(), DEADLINE)


async def on_asyncio(place: Any, **config: Any) -> None:
    async with node_ipc.serve(place, **ASSURED, **config):
        pass


async def on_blocking(place: Any, **config: Any) -> None:
    with blocking.serve(place, **ASSURED, **config):
        pass


async def on_callbacks(place: Any, **config: Any) -> None:
    ipc = configured(**config)
    ipc.serve(place)
    await asyncio.wait_for(ipc.server.start(), DEADLINE)


blocking_in_a_coroutine = pytest.mark.filterwarnings("ignore:.* is called in a coroutine:RuntimeWarning")
every_front = pytest.mark.parametrize(
    "start", [on_asyncio, pytest.param(on_blocking, marks=blocking_in_a_coroutine), on_callbacks]
)


@every_front
@pytest.mark.parametrize("handed", [False, True])
async def test_a_root_that_others_may_write_to_is_refused(root: str, handed: bool, start: Callable[..., Any]) -> None:
    os.chmod(root, 0o1777)
    path = f"{root}app.world"
    with socket.socket(socket.AF_UNIX) as sock:
        if handed:
            sock.bind(path)
        with pytest.raises(SocketRootError, match="other users may write"):
            await start(sock if handed else Unix(path) if start is not on_callbacks else path, socket_root=root)
        if handed:
            with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as client:
                client.connect(path)


@every_front
async def test_each_socket_that_is_handed_over_is_looked_at(root: str, start: Callable[..., Any]) -> None:
    os.mkdir(f"{root}deeper", 0o700)
    with socket.socket(socket.AF_UNIX) as inside, socket.socket(socket.AF_UNIX) as outside:
        inside.bind(f"{root}app.world")
        outside.bind(f"{root}deeper/app.world")
        with pytest.raises(SocketRootError, match=r"deeper/app[.]world' is not directly in socket_root"):
            await start([inside, outside], socket_root=root)


async def test_the_default_root_is_everybodys_and_not_good_enough() -> None:
    ipc = configured(id="world")
    assert ipc.config.socket_root == Config().socket_root == "/tmp/"
    ipc.serve()
    with pytest.raises(SocketRootError):
        await asyncio.wait_for(ipc.server.start(), DEADLINE)
