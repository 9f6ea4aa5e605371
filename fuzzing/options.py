"""Any option's name and value, any configuration in JSON, any address and any path is taken or refused by a
``ConfigError`` or an ``AddressError``, and what is taken can be used and says the same when it is read again."""

from __future__ import annotations

import json
import math
from typing import Any

from node_ipc import Config
from node_ipc.config.address import Address, Handed, Pipe, Unix, local_path, parse
from node_ipc.config.profiles import require_assured
from node_ipc.errors import AddressError, AssuredError, ConfigError
from node_ipc.wire.codec import choose

from .choices import Choices

__all__ = ["one_input"]

ODD: tuple[Any, ...] = (math.inf, -math.inf, math.nan, b"", b"\xff", (), set(), object(), len, 1 << 4400, "\ud800")
NAMES = (*Config.options, "interfaces", "nonesuch", "__class__", "")
PLATFORMS = ("linux", "darwin", "win32")
UNTOUCHED = Config()
GUARDED = Config().settings()
ASSURED = Config(parser="assured", allowed_events=["a"]).settings()


def one_input(data: bytes) -> None:
    choices = Choices(data)
    choices.one_of((_mapping, _option, _odd_option, _address, _path))(choices)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _text(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _decodes(data) else repr(data)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")
    except UnicodeDecodeError:
        return False
    return True


def _mapping(choices: Choices) -> None:
    mapping = _json(choices.rest)
    try:
        config = Config.from_mapping(mapping)
    except ConfigError as error:
        _message(error)
        return
    _use(config)


def _option(choices: Choices) -> None:
    _assign(choices.one_of(NAMES), _json(choices.rest))


def _odd_option(choices: Choices) -> None:
    name, value = choices.one_of(NAMES), choices.one_of(ODD)
    _assign(name, [value] if choices.byte() % 2 else value)


def _assign(name: str, value: Any) -> None:
    config = Config()
    try:
        setattr(config, name, value)
    except ConfigError as error:
        _message(error)
        assert config == UNTOUCHED, "refused, and changed all the same"
        return
    _use(config)


def _use(config: Config) -> None:
    assert config.copy() == config
    assert len(repr(config)) < 100_000
    try:
        settings = config.settings()
    except ConfigError as error:
        _message(error)
        return
    codec = choose(settings)
    frame = codec.encode("a") if codec.raw else None
    assert frame is None or frame == b"a" or settings.encoding not in ("utf8", "ascii", "latin1", "binary")


def _message(error: Exception) -> None:
    text = str(error)
    assert text and "\n" not in text and len(text) < 2000, text


def _address(choices: Choices) -> None:
    role: Any = choices.one_of(("client", "server"))
    platform = choices.one_of(PLATFORMS)
    text = _text(choices.rest)
    try:
        found = parse(text, socket_root="/tmp/", appspace="app.", role=role, platform=platform)
    except AddressError:
        return
    _same_again(found, role, platform)
    for settings in (GUARDED, ASSURED):
        try:
            require_assured(found, settings, role)
        except (AssuredError, ConfigError):
            assert settings is ASSURED


def _path(choices: Choices) -> None:
    platform = choices.one_of(PLATFORMS)
    try:
        found = local_path(_text(choices.rest), platform=platform)
    except AddressError:
        return
    _same_again(found, "server", platform)


def _same_again(found: Address, role: Any, platform: str) -> None:
    if isinstance(found, Handed):
        return
    again = parse(str(found), socket_root="/tmp/", appspace="app.", role=role, platform=platform)
    if isinstance(found, (Unix, Pipe)):
        found = type(found)(*_place(found))  # an id also has the place where node-ipc 14 looks; its text has not
    assert again == found, (found, again)


def _place(found: Unix | Pipe) -> tuple[str]:
    return (found.path if isinstance(found, Unix) else found.name,)
