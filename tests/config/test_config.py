"""The options that there are: defaults, values, settings, and configurations from JSON."""

from __future__ import annotations

import inspect
import json
import math
import pathlib
import pickle
import re
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_ipc.config.checks import NO_LIMIT
from node_ipc.config.config import HARD_MESSAGE_SIZE, Config, Interfaces
from node_ipc.config.options import UnknownOption
from node_ipc.errors import ConfigError

MIB = 1024 * 1024

DEFAULTS: dict[str, Any] = {
    "appspace": "app.",
    "socket_root": "/tmp/",
    "id": socket.gethostname(),
    "network_host": "localhost",
    "network_port": 8000,
    "interfaces": Interfaces(),
    "encoding": "utf8",
    "raw_buffer": False,
    "delimiter": "\f",
    "parser": "guarded",
    "enc_hook": None,
    "dec_hook": None,
    "attachments": "auto",
    "sync": False,
    "identify_peer": False,
    "readable_all": False,
    "writable_all": False,
    "allowed_uids": None,
    "secure_socket_root": None,
    "unlink": True,
    "tls": False,
    "allow_reserved_events": False,
    "allowed_events": None,
    "max_connections": 100,
    "max_connections_per_uid": None,
    "max_connections_per_host": None,
    "max_rooms_per_socket": 10_000,
    "backlog": 128,
    "connect_timeout": None,
    "handshake_timeout": 10_000,
    "spin": 0,
    "close_timeout": 5_000,
    "heartbeat": False,
    "heartbeat_timeout": 20_000,
    "retry": 500,
    "retry_growth": 1.6,
    "max_retries": False,
    "stop_retrying": False,
    "max_protocol_errors": 5,
    "max_message_size": 16 * MIB,
    "max_message_values": 600_000,
    "max_event_name_length": 256,
    "message_timeout": 30_000,
    "max_handler_frames": 1000,
    "max_handler_bytes": MIB,
    "max_request_bytes": 8 * MIB,
    "max_total_received_bytes": 256 * MIB,
    "max_unread_events": 1000,
    "max_unread_bytes": MIB,
    "max_inbox_bytes": 64 * MIB,
    "max_pending_bytes": 8 * MIB,
    "soft_pending_bytes": MIB,
    "slow_timeout": 10_000,
    "slow_policy": "disconnect",
    "max_total_pending_bytes": 256 * MIB,
    "max_queued_messages": 1000,
    "max_queued_bytes": 2 * MIB,
    "max_udp_peers": 1024,
    "udp_peer_ttl": 25_000,
    "bus": None,
    "bus_group": None,
    "bus_policy": "drop_oldest",
    "bus_heartbeat": 1_000,
    "max_bus_pending_messages": 10_000,
    "max_bus_pending_bytes": 8 * MIB,
    "silent": False,
    "log_in_color": True,
    "log_depth": 5,
    "logger": print,
    "log_payloads": False,
    "observe": False,
}

LIMITS = [
    "max_connections",
    "max_rooms_per_socket",
    "max_protocol_errors",
    "max_event_name_length",
    "max_handler_frames",
    "max_handler_bytes",
    "max_request_bytes",
    "max_total_received_bytes",
    "max_unread_events",
    "max_unread_bytes",
    "max_inbox_bytes",
    "max_pending_bytes",
    "soft_pending_bytes",
    "max_total_pending_bytes",
    "max_queued_messages",
    "max_queued_bytes",
    "max_udp_peers",
    "max_bus_pending_messages",
    "max_bus_pending_bytes",
]
FLAGS = [
    "raw_buffer",
    "sync",
    "identify_peer",
    "readable_all",
    "writable_all",
    "allow_reserved_events",
    "silent",
    "log_in_color",
    "log_payloads",
    "observe",
]
TIMES = ["retry", "handshake_timeout", "heartbeat_timeout", "slow_timeout", "udp_peer_ttl"]


class Codec:
    def encode(self, type: str, data: Any) -> bytes:
        return b""

    def decode(self, data: bytes) -> tuple[list[Any], int]:
        return [], 0


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


# --- defaults and documentation


def test_every_default() -> None:
    config = Config()
    assert list(vars(config)) == list(DEFAULTS)
    for name, value in DEFAULTS.items():
        assert same(getattr(config, name), value), name


def test_a_frozen_configuration_has_the_same_options_in_the_same_order() -> None:
    config = Config()
    settings: Any = type(config.settings())
    assert list(settings.__slots__) == list(DEFAULTS)
    assert type(config.settings()).__name__ == "Config" and isinstance(config.settings(), Config)


@pytest.mark.parametrize("owner", [Config, Interfaces])
def test_every_option_is_documented_right_below_it(owner: type) -> None:
    lines = [re.sub('^    r"""', '    """', line) for line in inspect.getsource(owner).splitlines()]
    for name in vars(owner()):
        start = next(at for at, line in enumerate(lines) if line.startswith(f"    {name}: Option["))
        following = next(line for line in lines[start + 1 :] if line.startswith("    ") and line[4] not in ' )]"')
        doc = next(line for line in lines[start + 1 :] if line.startswith('    """'))
        assert lines.index(doc, start) < lines.index(following, start), name


def test_a_host_without_a_name_is_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert Config().id == "localhost"


def test_loads_neither_asyncio_nor_ssl() -> None:
    code = "import sys, node_ipc.config.config as c; c.Config().settings(); print({'asyncio', 'ssl'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- values

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("appspace", "", ""),
    ("socket_root", "/run/x/", "/run/x/"),
    ("socket_root", "/run/x-", "/run/x-"),
    ("socket_root", pathlib.PurePosixPath("/run/x"), "/run/x/"),
    ("id", "wörld", "wörld"),
    ("network_port", 0, 0),
    ("network_port", 65535, 65535),
    ("network_port", 8000.0, 8000),
    ("encoding", "UTF-8", "utf8"),
    ("encoding", "utf-16LE", "utf16le"),
    ("encoding", "UCS-2", "ucs2"),
    ("encoding", "Base64", "base64"),
    ("encoding", "binary", "binary"),
    ("encoding", "latin1", "latin1"),
    ("parser", None, "guarded"),
    ("parser", False, "guarded"),
    ("parser", "raw", "raw"),
    ("parser", "fast", "fast"),
    ("parser", "assured", "assured"),
    ("parser", Codec, Codec),
    ("allowed_uids", None, None),
    ("allowed_uids", False, None),
    ("allowed_uids", 65534, frozenset({65534})),
    ("allowed_uids", 0, frozenset({0})),
    ("allowed_uids", [0, 1000, 1000], frozenset({0, 1000})),
    ("allowed_events", False, None),
    ("allowed_events", None, None),
    ("allowed_events", ["a", "b"], frozenset({"a", "b"})),
    ("allowed_events", {"a": 1}.keys(), frozenset({"a"})),
    ("secure_socket_root", True, True),
    ("secure_socket_root", False, False),
    ("secure_socket_root", None, None),
    ("unlink", False, False),
    ("unlink", "force", "force"),
    ("tls", None, False),
    ("tls", False, False),
    ("max_connections_per_uid", 5, 5),
    ("max_connections_per_uid", False, None),
    ("max_connections_per_host", math.inf, None),
    ("connect_timeout", 1, 1),
    ("connect_timeout", None, None),
    ("spin", 50, 50),
    ("close_timeout", 0, 0),
    ("heartbeat", 1500, 1500),
    ("heartbeat", None, False),
    ("max_retries", 0, 0),
    ("max_retries", 3.0, 3),
    ("max_retries", None, False),
    ("max_retries", math.inf, False),
    ("stop_retrying", 0, 0),
    ("stop_retrying", False, False),
    ("stop_retrying", True, True),
    ("stop_retrying", 7, 7),
    ("max_message_values", 32_768, 32_768),
    ("max_message_values", math.inf, NO_LIMIT),
    ("max_message_size", 1, 1),
    ("max_message_size", HARD_MESSAGE_SIZE, HARD_MESSAGE_SIZE),
    ("max_message_size", math.inf, HARD_MESSAGE_SIZE),
    ("message_timeout", False, 0),
    ("message_timeout", 0, 0),
    ("message_timeout", None, 0),
    ("message_timeout", math.inf, 0),
    ("max_queued_messages", 0, 0),
    ("slow_policy", "drop_newest", "drop_newest"),
    ("slow_policy", "drop_oldest", "drop_oldest"),
    ("log_depth", None, None),
    ("log_depth", math.inf, None),
    ("log_depth", 0, 0),
    ("logger", len, len),
    *[(name, value, value) for name in FLAGS for value in (True, False)],
    *[(name, math.inf, NO_LIMIT) for name in [*LIMITS, "slow_timeout"]],
    *[(name, 1, 1) for name in LIMITS + TIMES],
]


@pytest.mark.parametrize(("name", "value", "kept"), ACCEPTED)
def test_accepts(name: str, value: Any, kept: Any) -> None:
    config = Config()
    setattr(config, name, value)
    assert same(getattr(config, name), kept)
    assert same(getattr(Config(**{name: value}), name), kept)


REFUSED: list[tuple[str, Any]] = [
    ("appspace", "a\0b"),
    ("appspace", None),
    ("socket_root", b"/tmp/"),
    ("socket_root", "/tmp/\0"),
    ("id", ""),
    ("id", 5),
    ("network_host", "a\0"),
    ("network_port", 65536),
    ("network_port", -1),
    ("network_port", "8000"),
    ("network_port", 8000.5),
    ("network_port", True),
    ("interfaces", "eth0"),
    ("encoding", "utf9"),
    ("encoding", None),
    ("parser", "slow"),
    ("enc_hook", "text"),
    ("dec_hook", 5),
    ("parser", object()),
    ("allowed_uids", []),
    ("allowed_uids", [True]),
    ("allowed_uids", [-1]),
    ("allowed_uids", -1),
    ("allowed_uids", True),
    ("allowed_uids", ["root"]),
    ("allowed_events", "message"),
    ("allowed_events", b"ab"),
    ("allowed_events", {"a": 1}),
    ("allowed_events", ()),
    ("allowed_events", ["a", None]),
    ("secure_socket_root", 1),
    ("unlink", "yes"),
    ("unlink", 1),
    ("tls", True),
    ("tls", "cert.pem"),
    ("backlog", 0),
    ("connect_timeout", 0),
    ("connect_timeout", False),
    ("spin", -1),
    ("close_timeout", -1),
    ("heartbeat", 0),
    ("heartbeat", True),
    ("max_retries", True),
    ("max_retries", -1),
    ("max_retries", "Infinity"),
    ("stop_retrying", -1),
    ("stop_retrying", None),
    ("stop_retrying", math.inf),
    ("max_message_values", 32_767),
    ("max_message_size", 0),
    ("max_message_size", HARD_MESSAGE_SIZE + 1),
    ("max_connections_per_uid", 0),
    ("message_timeout", -1),
    ("message_timeout", True),
    ("slow_policy", "drop"),
    ("slow_policy", None),
    ("log_depth", -1),
    ("log_depth", False),
    ("logger", "print"),
    ("retry", 2**31),
    ("retry_growth", 0.5),
    ("retry_growth", 10**40),
    ("retry_growth", True),
    ("retry_growth", math.nan),
    *[(name, value) for name in FLAGS for value in (None, 0, 1, "true")],
    *[(name, value) for name in LIMITS for value in (-1, None, True, math.nan, -math.inf, "5")],
    *[
        (name, value)
        for name in TIMES
        for value in (0, None, 0.5, math.inf, False)
        if (name, value) != ("slow_timeout", math.inf)
    ],
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_refuses_and_changes_nothing(name: str, value: Any) -> None:
    config = Config()
    with pytest.raises(ConfigError, match=f"'{name}': ") as caught:
        setattr(config, name, value)
    assert " is not allowed; it takes " in str(caught.value)
    if name != "tls":
        assert repr(value) in str(caught.value)
    assert config == Config()
    with pytest.raises(ConfigError):
        Config(**{name: value})


def test_the_parser_may_be_an_object() -> None:
    codec = Codec()
    config = Config(parser=codec)
    assert config.parser is codec
    assert config.settings().parser is codec
    assert config.settings().profile == "custom"


# --- delimiters

IN_JSON = set(' {}[]:,"\\/0123456789+-.abcdefABCDEFlnrstu')


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6))
@pytest.mark.row(8)
def test_a_delimiter_needs_a_character_that_json_has_only_in_strings(delimiter: str) -> None:
    usable = [character for character in delimiter if character not in IN_JSON]
    if not usable:
        with pytest.raises(ConfigError, match="'delimiter'"):
            Config(delimiter=delimiter)
        return
    settings = Config(delimiter=delimiter).settings()
    assert settings.delimiter == delimiter
    assert settings.delimiter_bytes == delimiter.encode()
    if any(ord(character) < 0x20 for character in usable):
        assert settings.delimiter_escape_char is None
    else:
        assert settings.delimiter_escape_char in usable


@given(st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
))  # fmt: skip
@pytest.mark.row(8)
def test_json_itself_uses_no_other_characters(payload: Any) -> None:
    # each string emptied but for its escape sequences: what is left is what JSON itself writes
    text = json.dumps(payload)
    decoder = json.JSONDecoder(strict=True)
    assert decoder.decode(text) == payload
    bare, at = "", 0
    while at < len(text):
        if text[at] != '"':
            bare, at = bare + text[at], at + 1
            continue
        bare, at = bare + '"', at + 1
        while text[at] != '"':
            width = 1 if text[at] != "\\" else 6 if text[at + 1] == "u" else 2
            bare, at = bare + (text[at : at + width] if width > 1 else ""), at + width
        at += 1
    assert set(bare) <= IN_JSON


@pytest.mark.parametrize("delimiter", ["", "\ud800", "a\udc00|", " ", "null", "0x1F"[2:], None, 5, b"\f"])
def test_refused_delimiters(delimiter: Any) -> None:
    with pytest.raises(ConfigError, match="'delimiter'"):
        Config(delimiter=delimiter)


@pytest.mark.parametrize(
    ("delimiter", "escaped"),
    [
        ("\f", None),
        ("\0", None),
        ("\n\x1f", None),
        ("|\f", None),
        ("<END>", "<"),
        ("\x7f", "\x7f"),
        ("O", "O"),
        ("yp~", "~"),
        ("py", "p"),
        ("é\n", None),
        ("😀", "😀"),
    ],
)
def test_what_of_a_delimiter_is_escaped(delimiter: str, escaped: str | None) -> None:
    assert Config(delimiter=delimiter).settings().delimiter_escape_char == escaped


# --- interfaces


def test_interfaces_are_set_as_a_mapping_one_by_one_and_as_an_object() -> None:
    config = Config()
    config.interfaces = {"localAddress": "127.0.0.1", "local_port": 0, "family": "IPv6"}
    config.interfaces.local_port = 8001
    assert vars(config.interfaces) == {
        "local_address": "127.0.0.1",
        "local_port": 8001,
        "family": 6,
        "hints": 0,
        "lookup": None,
    }
    shared = Interfaces(hints=2, lookup=len)
    config.interfaces = shared
    shared.hints = 3
    assert (config.interfaces.hints, config.interfaces.lookup) == (2, len)
    config.interfaces = None
    assert config.interfaces == Interfaces()


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("local_address", "::1", "::1"),
        ("local_address", False, None),
        ("local_port", False, None),
        ("local_port", 65535, 65535),
        ("family", 4, 4),
        ("family", "ipv4", 4),
        ("family", 0, 0),
        ("family", None, 0),
        ("hints", False, 0),
        ("hints", 32, 32),
        ("lookup", False, None),
    ],
)
def test_interface_values(name: str, value: Any, kept: Any) -> None:
    assert same(getattr(Interfaces(**{name: value}), name), kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("local_address", "localhost"),
        ("local_address", 127),
        ("local_port", 65536),
        ("local_port", True),
        ("family", 5),
        ("family", "IPv5"),
        ("family", True),
        ("hints", -1),
        ("hints", True),
        ("lookup", "dns"),
    ],
)
def test_wrong_interface_values(name: str, value: Any) -> None:
    config = Config()
    with pytest.raises(ConfigError, match=f"'interfaces.{name}': "):
        setattr(config.interfaces, name, value)
    with pytest.raises(ConfigError, match=f"'interfaces.{name}': "):
        config.interfaces = {name: value}
    assert config.interfaces == Interfaces()


def test_unknown_interface_names() -> None:
    with pytest.raises(UnknownOption, match=r"'interfaces.localPort': in Python it is 'interfaces.local_port'"):
        Config().interfaces.localPort = 1  # type: ignore[attr-defined]
    with pytest.raises(UnknownOption, match=r"did you mean 'interfaces.local_port'"):
        Config().interfaces = {"localPorts": 1}
    with pytest.raises(ConfigError, match=r"'interfaces.local_port' is given twice"):
        Config().interfaces = {"localPort": 1, "local_port": 1}


# --- settings


def test_settings_are_a_frozen_copy() -> None:
    config = Config(retry=7, stop_retrying=0, interfaces={"family": 4}, allowed_events=["a"])
    settings = config.settings()
    config.retry = 1
    config.interfaces.family = 6
    config.allowed_events = ["b"]
    assert settings.retry == 7
    assert settings.interfaces == Interfaces(family=4)
    assert settings.allowed_events == frozenset("a")
    assert same(settings.stop_retrying, 0)
    with pytest.raises(ConfigError, match="'retry' cannot be changed here: an endpoint takes a frozen copy"):
        settings.retry = 5
    with pytest.raises(AttributeError, match=r"'interfaces\.family' cannot be changed here"):
        settings.interfaces.family = 0
    with pytest.raises(ConfigError, match="'retry' cannot be changed here"):
        del settings.retry
    assert vars(settings) == {}, "reading from slots costs a third of reading through the options"
    assert settings == settings.copy() and repr(settings) == repr(settings.copy())
    assert repr(Config().settings()) == "Config()"
    again = settings.copy()
    again.retry = 5
    assert settings.retry == 7 and again.settings().retry == 5
    restored = pickle.loads(pickle.dumps(settings))
    assert restored == settings
    with pytest.raises(ConfigError):
        restored.retry = 1


@pytest.mark.parametrize(
    ("options", "profile"),
    [
        ({}, "guarded"),
        ({"parser": "fast"}, "fast"),
        ({"parser": "raw"}, "raw"),
        ({"raw_buffer": True}, "raw"),
        ({"raw_buffer": True, "parser": "assured"}, "raw"),
        ({"parser": "assured", "allowed_events": ["a"]}, "assured"),
        ({"parser": Codec}, "custom"),
    ],
)
def test_profile(options: dict[str, Any], profile: str) -> None:
    settings = Config(**options).settings()
    assert settings.profile == profile
    assert settings.requires_secure_root is (profile == "assured")
    assert Config(**options, secure_socket_root=True).settings().requires_secure_root is True
    assert Config(**options, secure_socket_root=False).settings().requires_secure_root is False


def test_the_assured_profile_needs_its_events() -> None:
    config = Config(parser="assured")
    with pytest.raises(ConfigError, match="'allowed_events'"):
        config.settings()


def test_derived_settings() -> None:
    assert Config(max_pending_bytes=1000).settings().soft_pending_bytes == 1000
    assert Config(max_pending_bytes=math.inf).settings().soft_pending_bytes == MIB


# --- from JSON


def test_reads_a_node_ipc_configuration() -> None:
    text = """{
        "appspace": "shop.", "socketRoot": "/tmp/", "id": "world", "encoding": "utf8", "rawBuffer": false,
        "parser": "fast", "sync": true, "unlink": true, "identifyPeer": false, "delimiter": "\\f",
        "maxMessageSize": 1048576, "maxPendingBytes": 8388608, "maxEventNameLength": 256,
        "messageTimeout": 30000, "allowReservedEvents": false, "allowedEvents": false, "silent": true,
        "logPayloads": false, "logDepth": 5, "logInColor": true, "maxConnections": 100, "retry": 1500,
        "maxRetries": null, "stopRetrying": false, "IPType": "IPv4",
        "tls": {"trustedConnections": ["/ca"], "rejectUnauthorized": true, "private": "/k", "public": "/c"},
        "networkHost": "127.0.0.1", "networkPort": 8000, "readableAll": false, "writableAll": false,
        "secureSocketRoot": true,
        "interface": {"localAddress": false, "localPort": false, "family": 4, "hints": false, "lookup": false}
    }"""
    config = Config.from_mapping(json.loads(text))
    expected = Config(
        appspace="shop.",
        id="world",
        parser="fast",
        sync=True,
        max_message_size=MIB,
        silent=True,
        retry=1500,
        secure_socket_root=True,
        network_host="127.0.0.1",
        tls={"trusted_connections": "/ca", "reject_unauthorized": True, "private": "/k", "public": "/c"},
    )
    expected.interfaces.family = 4
    assert config == expected


@pytest.mark.parametrize("value", ["null", "Infinity", '"Infinity"', "false"])
def test_no_limit_on_retries_in_json(value: str) -> None:
    config = Config.from_mapping(json.loads(f'{{"maxRetries": {value}}}'))
    assert config.max_retries is False


def test_infinity_in_json_where_options_take_it() -> None:
    mapping = {"maxPendingBytes": None, "maxMessageSize": None, "logDepth": None, "messageTimeout": None}
    config = Config.from_mapping(mapping)
    assert config.max_pending_bytes == NO_LIMIT
    assert config.max_message_size == HARD_MESSAGE_SIZE
    assert config.log_depth is None
    assert config.message_timeout == 0
    assert Config.from_mapping({"connectTimeout": None, "allowed_events": None}) == Config()
    for name in ("retry", "network_port", "silent"):
        for value in (None, "Infinity"):
            with pytest.raises(ConfigError, match=f"'{name}'"):
                Config.from_mapping({name: value})


JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from([*DEFAULTS, "interface", "IPType", "maxRetries"]) | st.text(), JSONS, max_size=3)
)
@pytest.mark.row(1)
def test_any_mapping_gives_a_config_or_a_config_error(mapping: dict[str, Any]) -> None:
    try:
        config = Config.from_mapping(mapping)
        config.settings()
    except ConfigError as error:
        assert str(error)
    else:
        assert pickle.loads(pickle.dumps(config)) == config


@given(st.sampled_from(list(DEFAULTS)), JSONS)
@pytest.mark.row(1)
def test_what_is_kept_is_accepted_again(name: str, value: Any) -> None:
    try:
        kept = getattr(Config(**{name: value}), name)
    except ConfigError:
        return
    again = getattr(Config(**{name: kept}), name)
    assert same(again, kept)


def test_a_socket_root_without_its_slash_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    config = Config()
    for meant in ("/run/app/", "/run/app-", "/run/my.", "", pathlib.Path("/run/app")):
        config.socket_root = meant
    assert caplog.messages == []
    config.socket_root = "/run/app"
    assert config.socket_root == "/run/app"
    [said] = caplog.messages
    assert "as '/run/appapp.world', and not in it. End it with a slash" in said


def test_a_socket_root_in_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert Config(socket_root="~/run/").socket_root == "/home/me/run/"


@pytest.mark.parametrize("root", ["~no-such-user/run/", "~\ud800/"])
def test_a_socket_root_in_a_home_that_nobody_knows(root: str) -> None:
    with pytest.raises(ConfigError, match="a directory whose home is known"):
        Config(socket_root=root)


@pytest.mark.parametrize("option", [name for name, option in Config.options.items() if option.infinite])
def test_no_limit_is_kept_as_what_may_be_assigned(option: str) -> None:
    config = Config(**{option: math.inf})
    assert pickle.loads(pickle.dumps(config)) == config
    assert Config(**{option: getattr(config, option)}) == config


@pytest.mark.parametrize("front", ["from node_ipc import ipc", "from node_ipc import blocking"])
@pytest.mark.parametrize("logging", ["", "import logging; logging.basicConfig(); "])
def test_a_root_without_its_slash_is_told_whether_logging_is_set_up_or_not(front: str, logging: str) -> None:
    program = f"{logging}{front}; import node_ipc; node_ipc.Config(socket_root='/run/app')"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert told.count("sockets will be beside that directory, as '/run/appapp.world'") == 1
    assert subprocess.run(
        [sys.executable, "-c", f"import logging; logging.getLogger('node_ipc').setLevel(40); {program}"],
        capture_output=True, text=True, check=True,
    ).stderr == ""  # fmt: skip
