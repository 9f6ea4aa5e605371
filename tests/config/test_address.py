"""Addresses: written, read, and mapped to where node-ipc puts them."""

from __future__ import annotations

import os
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_ipc.config import address
from node_ipc.config.address import (
    Address,
    Pipe,
    Tcp,
    Tls,
    Udp,
    Unix,
    local_path,
    local_server,
    parse,
    runtime_socket_root,
)
from node_ipc.errors import AddressError


def read(text: str, platform: str = "linux", **options: Any) -> Address:
    return parse(text, socket_root="/tmp/", appspace="app.", platform=platform, **options)


@pytest.fixture(autouse=True)
def no_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TMP", "TEMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/run/x.sock", Unix("/run/x.sock")),
        ("UNIX:/run/x.sock", Unix("/run/x.sock")),
        ("unix:///run/x.sock", Unix("/run/x.sock")),
        ("//run/x.sock", Unix("//run/x.sock")),
        ("unix:/run/a:b@c d", Unix("/run/a:b@c d")),
        ("unix:abstract:world", Unix("\0world")),
        ("unix:/x/@world", Unix("/x/@world")),
        ("/run/x.sock", Unix("/run/x.sock")),
        ("/run/a:b@c d", Unix("/run/a:b@c d")),
        ("/tcp://localhost:8000", Unix("/tcp://localhost:8000")),
        ("~/x.sock", Unix("/home/me/x.sock")),
        ("unix:~/x.sock", Unix("/home/me/x.sock")),
        ("~root/x.sock", Unix(f"{os.path.expanduser('~root')}/x.sock")),
        ("tcp://localhost:8000", Tcp("localhost", 8000)),
        ("TCP://localhost:0", Tcp("localhost", 0)),
        ("tcp://[::1]:65535", Tcp("::1", 65535)),
        ("tcp://[fe80::1%eth0]:1", Tcp("fe80::1%eth0", 1)),
        ("tls://example.org:443", Tls("example.org", 443)),
        ("tls://münchen.example:443", Tls("münchen.example", 443)),
        ("udp4://127.0.0.1:9", Udp("127.0.0.1", 9, "udp4")),
        ("udp6://[::1]:9", Udp("::1", 9, "udp6")),
        ("udp6://[localhost]:9", Udp("localhost", 9, "udp6")),
        ("udp6://localhost:9", Udp("localhost", 9, "udp6")),
    ],
)
def test_reads_each_kind(text: str, expected: Address) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "unix:/run/x.sock",
        "unix:////run/x.sock",
        "unix:abstract:world",
        "tcp://localhost:8000",
        "tcp://[::1]:80",
        "tls://[::1]:80",
        "tls://example.org:443",
        "udp4://127.0.0.1:9",
        "udp6://[::1]:9",
        "udp6://[localhost]:9",
    ],
)
def test_prints_what_it_read(text: str) -> None:
    assert str(read(text)) == text


def test_an_id_is_found_where_either_node_ipc_puts_it() -> None:
    uid = os.getuid()
    assert read("world") == Unix("/tmp/app.world", (f"/tmp/node-ipc-{uid}/app.world",))
    assert read("world", role="server") == Unix("/tmp/app.world")
    assert str(read("world")) == "unix:/tmp/app.world"


def test_the_second_place_follows_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert read("world") == Unix("/tmp/app.world", ("/run/user/7/node-ipc/app.world",))
    assert parse("world", socket_root="/run/user/7/node-ipc/", appspace="app.", platform="linux") == Unix(
        "/run/user/7/node-ipc/app.world"
    )


@pytest.mark.parametrize(
    ("text", "platform", "says"),
    [
        ("", "linux", "no address: ''"),
        ("a/b", "linux", "unix:/path"),
        ("..\\x", "linux", "pipe:name"),
        ("a\0b", "linux", "NUL"),
        ("localhost:8000", "linux", "not an address: 'localhost:8000'. A host and a port are tcp://localhost:8000"),
        ("tcp//localhost:80", "linux", "A host and a port are tcp://localhost:80"),
        ("udp4/localhost:80", "linux", "A host and a port are udp4://localhost:80"),
        ("[::1]:80", "linux", "not an address: '[::1]:80'. A host and a port are tcp://[::1]:80"),
        ("unix://x.sock", "linux", "write unix:x.sock for a path from the current directory, unix:///x.sock for"),
        ("unix://localhost/run/x.sock", "linux", "'unix://localhost/run/x.sock' names a host"),
        ("unix://", "linux", "names a host"),
        ("pipe://x", "win32", "write pipe:x"),
        ("localhost:port", "linux", "unknown kind of address 'localhost'"),
        ("http://localhost:80", "linux", "tcp://host:port"),
        (":x", "linux", "unknown kind of address ''"),
        ("unix:", "linux", "empty"),
        ("unix:abstract:", "linux", "empty"),
        ("unix:abstract:a\0b", "linux", "NUL"),
        ("unix:/a\0b", "linux", "NUL"),
        ("unix:\0a", "linux", "NUL"),
        ("unix:/tmp/", "linux", "names a directory"),
        ("unix:/tmp/..", "linux", "names a directory"),
        ("unix:.", "linux", "names a directory"),
        ("unix:/tmp/\ud800", "linux", "cannot hold this path"),
        ("unix:abstract:x", "darwin", "only Linux"),
        ("unix:/tmp/x", "win32", "pipe:name"),
        ("pipe:x", "linux", "only Windows"),
        ("\\\\.\\pipe\\x", "linux", "only Windows"),
        ("pipe:", "win32", "empty"),
        ("\\\\.\\pipe\\", "win32", "empty"),
        ("pipe:a\0b", "win32", "NUL"),
        ("pipe:" + "n" * 248, "win32", "at most 247 characters, this one 248"),
        ("tcp:localhost:80", "linux", "scheme://host:port"),
        ("tcp://localhost", "linux", "there is no port in"),
        ("tcp://::1:80", "linux", "brackets"),
        ("tcp://[::1:80", "linux", "brackets"),
        ("tcp://[a:b]:80", "linux", "not an IPv6 address"),
        ("tcp://localhost:", "linux", "the port ''"),
        ("tcp://localhost:+80", "linux", "the port '+80'"),
        ("tcp://localhost:٨٠", "linux", "from 0 to 65535"),
        ("tcp://localhost:65536", "linux", "the port 65536"),
        ("tcp://localhost:80/x", "linux", "the port '80/x'"),
        ("tcp://:80", "linux", "host is empty"),
        ("udp6://[]:80", "linux", "host is empty"),
        ("tls://user@host:80", "linux", "'user@host'"),
        ("tls://a b:80", "linux", "'a b'"),
        ("tls://a\0b:80", "linux", "'a\\x00b'"),
        ("tls://host?x:80", "linux", "'host?x'"),
        ("udp4://[::1]:80", "linux", "udp6"),
        ("udp6://127.0.0.1:80", "linux", "udp4"),
    ],
)
def test_refuses_the_rest_and_says_why(text: str, platform: str, says: str) -> None:
    with pytest.raises(AddressError) as caught:
        read(text, platform)
    assert says in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_refuses_what_is_no_text() -> None:
    with pytest.raises(AddressError, match="no address: 8000"):
        read(8000)  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [-1, 65536, 1.0, "80", True, None])
def test_a_port_is_a_number_in_its_range(port: Any) -> None:
    with pytest.raises(AddressError, match="from 0 to 65535"):
        Tcp("localhost", port)


@pytest.mark.parametrize("text", ["tcp://localhost", "tls://127.0.0.1", "udp6://[::1]"])
def test_a_port_that_is_left_out_is_asked_for(text: str) -> None:
    with pytest.raises(
        AddressError, match=re.escape(f"there is no port in '{text}': write it behind the host, {text}:")
    ):
        read(text)


def test_checks_each_further_place() -> None:
    with pytest.raises(AddressError, match="NUL"):
        Unix("/a", ("/b", "/c\0"))
    with pytest.raises(AddressError, match="NUL"):
        Pipe("a", ("b\0",))


@pytest.mark.row(26)
def test_a_relative_path_counts_from_the_directory_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = local_path("x.sock", platform="linux")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    there = local_path("./x.sock", platform="linux")
    assert here == Unix(f"{tmp_path}/x.sock")
    assert there == Unix(f"{tmp_path}/sub/x.sock")
    assert local_path("../x.sock", platform="linux") == Unix(f"{tmp_path}/sub/../x.sock")
    by_id = local_server("world", socket_root="", appspace="app.", platform="linux")
    assert by_id == Unix(f"{tmp_path}/sub/app.world")


@pytest.mark.row(26)
def test_only_the_prefix_makes_a_path_abstract() -> None:
    assert local_path("/tmp/@x", platform="linux") == Unix("/tmp/@x")
    assert local_path("abstract:x", platform="linux") == Unix("\0x")
    assert local_path("./abstract:x", platform="linux") == Unix(f"{os.getcwd()}/abstract:x")
    for hidden in ("\0x", "\0", ""):
        with pytest.raises(AddressError):
            local_path(hidden, platform="linux")


def test_an_id_may_lie_deeper_but_not_be_empty() -> None:
    assert local_server("a/b", socket_root="/tmp/", appspace="app.", platform="linux") == Unix("/tmp/app.a/b")
    with pytest.raises(AddressError, match="id is empty"):
        local_server("", socket_root="/tmp/", appspace="app.", platform="linux")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/tmp/app.world", "tmp-app.world"),
        ("tmp/app.world", "tmp-app.world"),
        ("//tmp/app.world", "-tmp-app.world"),
        ("/a/b/c/", "a-b-c-"),
        ("\\\\.\\pipe\\tmp-app.world", "tmp-app.world"),
        ("\\\\.\\PIPE\\a/b", "a/b"),
    ],
)
def test_windows_pipes_are_named_as_node_ipc_names_them(path: str, name: str) -> None:
    pipe = local_path(path, platform="win32")
    assert pipe == Pipe(name)
    assert pipe.path == "\\\\.\\pipe\\" + name


def test_windows_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getlogin", lambda: "Ann Lee")
    assert read("world", "win32") == Pipe("tmp-app.world", ("node-ipc-Ann_Lee-app.world",))
    assert read("world", "win32", role="server") == Pipe("tmp-app.world")
    assert read("pipe:x", "win32") == Pipe("x")
    assert read("\\\\.\\pipe\\x", "win32") == Pipe("x")
    assert str(read("pipe:x", "win32")) == "pipe:x"
    like_a_url = read(r"\\.\pipe\//x", "win32")
    assert str(like_a_url) == r"\\.\pipe\//x" and read(str(like_a_url), "win32") == like_a_url == Pipe("//x")


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({}, "/tmp/node-ipc-{uid}/"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/x"}, "/run/user/7/node-ipc/"),
        ({"XDG_RUNTIME_DIR": "/run//user/../u/"}, "/run/u/node-ipc/"),
        ({"XDG_RUNTIME_DIR": "//a"}, "/a/node-ipc/"),
        ({"XDG_RUNTIME_DIR": "rel/"}, "rel/node-ipc/"),
        ({"XDG_RUNTIME_DIR": "", "TMPDIR": "/x//y/"}, "/x/y/node-ipc-{uid}/"),
        ({"TMPDIR": "/"}, "/node-ipc-{uid}/"),
        ({"TMPDIR": "", "TMP": "/t"}, "/t/node-ipc-{uid}/"),
        ({"TEMP": "/te"}, "/te/node-ipc-{uid}/"),
    ],
)
def test_runtime_root_is_node_ipc_14s(environ: dict[str, str], root: str) -> None:
    assert runtime_socket_root(platform="linux", environ=environ) == root.format(uid=os.getuid())


def test_runtime_root_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal() -> str:
        raise OSError("no login name")

    assert runtime_socket_root(platform="win32", user="a\N{GRINNING FACE}é-B.c_1") == "/node-ipc-a___-B.c_1/"
    monkeypatch.setattr(os, "getlogin", no_terminal)
    assert runtime_socket_root(platform="win32") == "/node-ipc-user/"


ports = st.integers(0, 65535)
names = st.text(string.ascii_letters + string.digits + ".-_é", min_size=1, max_size=30)
words = names.filter(lambda name: not name.replace(".", "").isdigit())
sixes = st.ip_addresses(v=6).map(str)
fours = st.ip_addresses(v=4).map(str)
hosts = names | sixes | fours
paths = (
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=60)
    .filter(lambda name: name not in (".", ".."))
    .map("/tmp/".__add__)
)


@given(
    st.builds(Unix, paths)
    | st.builds(lambda path: Unix("\0" + path), paths)
    | st.builds(Tcp, hosts, ports)
    | st.builds(Tls, hosts, ports)
    | st.builds(Udp, words | fours, ports, st.just("udp4"))
    | st.builds(Udp, words | sixes, ports, st.just("udp6"))
)
def test_every_address_reads_back(value: Address) -> None:
    assert read(str(value)) == value


@given(paths)
def test_every_pipe_reads_back(path: str) -> None:
    pipe = local_path(path, platform="win32")
    assert read(str(pipe), "win32") == pipe
    assert read(pipe.path, "win32") == pipe


loose = st.text(max_size=40) | st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["tcp:", "tls://", "udp4://", "udp6://[", "unix:", "pipe:"]),
        st.text(":/[]%.0123456789ab\0", max_size=12),
    ),
)


@given(loose, st.sampled_from(["linux", "win32", "darwin"]))
def test_any_text_is_an_address_or_one_error(text: str, platform: str) -> None:
    try:
        value = read(text, platform)
    except AddressError as error:
        assert str(error)
    else:
        assert isinstance(value, Unix | Pipe | Tcp | Tls | Udp)


def test_public_names_are_listed() -> None:
    own = [name for name, value in vars(address).items() if getattr(value, "__module__", "") == address.__name__]
    assert {name for name in own if not name.startswith("_")} <= set(address.__all__)
    assert all(hasattr(address, name) for name in address.__all__)


def test_paths_are_told_from_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read("./x.sock") == Unix(f"{tmp_path}/x.sock")
    assert read("../x.sock") == Unix(f"{tmp_path}/../x.sock")
    assert read("./abstract:x") == Unix(f"{tmp_path}/abstract:x")
    assert local_path("~/x.sock") == Unix("/home/me/x.sock")
    assert local_path("./~/x.sock") == Unix(f"{tmp_path}/~/x.sock")
    assert read("~world") == Unix("/tmp/app.~world", ("/tmp/node-ipc-0/app.~world",) if os.getuid() == 0 else ())
    assert read("/run/x.sock", "win32") == Pipe("run-x.sock")
    with pytest.raises(AddressError, match=r"an id holds no path: 'run/x'\. A socket is unix:/path or \./path"):
        read("run/x")
    for directory in ("/", "/run/", "./", "../", "~/"):
        with pytest.raises(AddressError, match="names a directory"):
            read(directory)
    with pytest.raises(AddressError, match="nobody knows the home directory in '~no-such-user/x'"):
        read("~no-such-user/x")
    with pytest.raises(AddressError, match="the file system cannot hold this path"):
        read("~\ud800/x")
