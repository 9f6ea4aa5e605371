"""A codec of the user's own, and which codec an endpoint gets."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

import pytest

from node_ipc.config.config import Config
from node_ipc.errors import (
    ConfigError,
    EventTooLarge,
    FrameTooLarge,
    InvalidJSON,
    InvalidPayload,
    ProtocolError,
    ReservedEvent,
)
from node_ipc.testing import pair
from node_ipc.wire.codec import CustomCodec, choose
from node_ipc.wire.framed import FramedCodec


class Prefixed:
    """Four bytes of length, then a JSON list."""

    def encode(self, type: str, data: Any) -> bytes:
        body = json.dumps([type, data]).encode()
        return struct.pack("!I", len(body)) + body

    def decode(self, data: bytes) -> tuple[Iterable[tuple[str, Any]], int]:
        messages: list[tuple[str, Any]] = []
        taken = 0
        while len(data) >= taken + 4:
            (size,) = struct.unpack_from("!I", data, taken)
            if len(data) < taken + 4 + size:
                break
            type, payload = json.loads(data[taken + 4 : taken + 4 + size])
            messages.append((type, payload))
            taken += 4 + size
        return messages, taken


def custom(codec: Any, **options: Any) -> CustomCodec:
    return CustomCodec(codec, Config(parser=codec, **options).settings())


@pytest.mark.row(2)
def test_messages_come_whole_however_the_bytes_are_cut() -> None:
    codec = custom(Prefixed())
    data = codec.encode("a", 1) + codec.encode("b", {"c": [2]}) + codec.encode("d")
    for cut in range(len(data) + 1):
        splitter = codec.splitter()
        frames = [*splitter.split(data[:cut]), *splitter.split(data[cut:])]
        assert [(m.type, m.data) for m in map(codec.decode, frames)] == [("a", 1), ("b", {"c": [2]}), ("d", {})]
        assert splitter.rest == b""


def test_a_conversation() -> None:
    client, server, _, driver = pair(parser=Prefixed())
    heard: list[Any] = []
    server.on("add", lambda data, socket: socket.emit("sum", sum(data)))
    client.on("sum", heard.append)
    driver.connections[0].change(split=3)
    client.emit("add", [1, 2, 3])
    driver.run_until_idle()
    assert heard == [6]


def test_typed_handlers_convert_what_the_codec_gives() -> None:
    client, server, _, driver = pair(parser=Prefixed())
    heard: list[Any] = []
    faults: list[Any] = []
    server.on("n", heard.append, type=list[int])
    server.on("error", faults.append)
    client.emit("n", [1, 2])
    client.emit("n", [1, "x"])
    driver.run_until_idle()
    assert heard == [[1, 2]]
    assert [(type(fault), fault.path) for fault in faults] == [(InvalidPayload, "$[1]")]


def test_names_and_sizes_are_checked_as_in_the_guarded_profile() -> None:
    codec = custom(Prefixed(), max_message_size=40, max_event_name_length=5)
    with pytest.raises(ReservedEvent):
        codec.encode("error", 1)
    with pytest.raises(EventTooLarge):
        codec.encode("abcdef", 1)
    with pytest.raises(FrameTooLarge, match="max_message_size"):
        codec.encode("a", "x" * 40)
    splitter = codec.splitter()
    assert splitter.split(struct.pack("!I", 1000) + b"x" * 100) == []
    assert isinstance(splitter.fault, FrameTooLarge)
    assert splitter.rest == b""


def test_encode_returns_bytes() -> None:
    class Texts(Prefixed):
        def encode(self, type: str, data: Any) -> Any:
            return "text"

    with pytest.raises(InvalidPayload, match="must return bytes, not str"):
        custom(Texts()).encode("a", 1)


class Broken(Prefixed):
    def __init__(self, result: Any) -> None:
        self.result = result

    def decode(self, data: bytes) -> Any:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.row(1)
@pytest.mark.parametrize(
    "result",
    [
        ValueError("no"), InvalidJSON("no"), KeyError("no"), RecursionError("no"),
        None, 5, ([],), ([], None), ([], -1), ([], 10**6), (5, 0), ([], "0"),
    ],
    ids=repr,
)  # fmt: skip
def test_whatever_goes_wrong_in_decode_is_a_protocol_error(result: Any) -> None:
    splitter = custom(Broken(result)).splitter()
    assert splitter.split(b"abc") == []
    assert isinstance(splitter.fault, ProtocolError)
    if isinstance(result, ProtocolError):
        assert splitter.fault is result
    elif isinstance(result, Exception):
        assert splitter.fault.__cause__ is result


@pytest.mark.row(1)
@pytest.mark.parametrize(
    "message", [5, None, "ab", (), ("a",), (5, 1), ([], 1), ("a", 1, 2), {"a": 1, "b": 2}], ids=repr
)
def test_messages_of_another_shape_are_one_error(message: Any) -> None:
    driver = pair(client={"parser": Prefixed()}, server={"parser": Broken(([("fine", 1), message], 0))})
    heard: list[Any] = []
    driver.server.on("*", lambda *arguments: heard.append(arguments[:2]))
    driver.client.emit("go")
    driver.driver.run_until(lambda: not driver.server.sockets)
    names = [name for name, _ in heard]
    assert names[:2] == ["fine", "error"]
    assert names.count("error") == 1
    assert isinstance(heard[1][1], ProtocolError)


# ---- choosing


@pytest.mark.parametrize("parser", ["fast", "guarded"])
def test_profiles_by_name(parser: str) -> None:
    assert isinstance(choose(Config(parser=parser).settings()), FramedCodec)


def test_a_class_is_called_with_the_settings() -> None:
    class Told(Prefixed):
        def __init__(self, settings: Config) -> None:
            told.append(settings)

    told: list[Config] = []
    settings = Config(parser=Told).settings()
    assert isinstance(choose(settings), CustomCodec)
    assert told == [settings]


@pytest.mark.parametrize("missing", ["encode", "decode"])
def test_a_class_whose_objects_lack_a_method(missing: str) -> None:
    class Lacking(Prefixed):
        def __init__(self, settings: Config) -> None:
            setattr(self, missing, None)

    with pytest.raises(ConfigError, match=f"without a method {missing}"):
        choose(Config(parser=Lacking).settings())
