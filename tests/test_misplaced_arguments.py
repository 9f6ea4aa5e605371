"""What is said where an argument is in a place that another one has, or has a name that another verb knows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import numpy
import pytest

import node_ipc
from node_ipc import AddressError, Config, ConfigError, blocking, testing

places: Any = ("a", "b")


class Order(msgspec.Struct):
    name: str


class Part(TypedDict):
    name: str


@dataclass
class Piece:
    name: str


@pytest.mark.parametrize("type", [dict, int, bytes, list[int], dict[str, int], numpy.ndarray, Order, Part, Piece])
def test_a_type_in_the_place_of_a_handler_is_led_to_type(type: Any) -> None:
    client, server, _, _ = testing.pair()
    for owner in (client, server):
        for verb in ("on", "handle"):
            with pytest.raises(TypeError, match=rf"is the type of a payload: {verb}\('order', handler, type="):
                getattr(owner, verb)("order", type)


def test_a_function_is_no_type() -> None:
    _, server, _, _ = testing.pair()
    with pytest.raises(TypeError, match=r"that is a function, and the type is numpy\.ndarray"):
        server.on("frame", print, type=numpy.array)
    with pytest.raises(TypeError, match=r"that is a function$"):
        server.handle("frame", print, type=max)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (
            lambda ipc: ipc.connect_to_net("w", "localhost:8765"),
            AddressError,
            r"connect_to_net\(id, 'localhost', 8765\)",
        ),
        (lambda ipc: ipc.serve_net("localhost:8765"), AddressError, "'localhost:8765' is a host and a port"),
        (lambda ipc: ipc.connect_to_net("w", "localhost", "8765"), AddressError, "a port is a number, 8765"),
        (lambda ipc: ipc.serve("/tmp/a", "/tmp/b"), AddressError, "several places are one list"),
        (lambda ipc: node_ipc.serve(*places), TypeError, "several addresses of one server are a list"),
        (lambda ipc: blocking.serve(*places), TypeError, "several addresses of one server are a list"),
        (lambda ipc: setattr(ipc.config, "logger", Logger()), ConfigError, "it takes a callable, as its info"),
    ],
)
def test_what_is_meant_is_named(call: Callable[[Any], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call(node_ipc.IPC(Config(silent=True)))


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (node_ipc, "connect_blocking", r"use node_ipc\.blocking\.connect"),
        (node_ipc, "blocking_serve", r"use node_ipc\.blocking\.serve"),
        (testing.pair().client, "status", r"request\('status'\)"),
    ],
)
def test_what_is_read_in_vain_is_named(owner: Any, name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(owner, name)


class Logger:
    def info(self, line: str) -> None:
        raise AssertionError(line)


def test_a_near_name_is_said_once() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import node_ipc; node_ipc.conect"], capture_output=True, text=True, timeout=60
    )
    assert run.stderr.count("Did you mean") == 1


CALLED = """
import sys
from node_ipc import blocking
with blocking.serve("world", socket_root=sys.argv[1]) as server:
    with blocking.connect("world", socket_root=sys.argv[1]) as client:
        client.{call}
"""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("multiply(2, 3)", "node_ipc: What the other side answers is asked for by name, request('multiply', …)"),
        ("emit('frame', 1, latest=True)", 'node_ipc: Did you mean keep="latest"?'),
    ],
)
def test_a_note_says_what_to_call(call: str, said: str, tmp_path: Path) -> None:
    lines = CALLED.format(call=call)
    run = subprocess.run([sys.executable, "-c", lines, f"{tmp_path}/"], capture_output=True, text=True, timeout=60)
    assert said in run.stderr


ENDS = """
import sys, threading
from node_ipc import blocking
def ask():
    with blocking.connect("world", socket_root=sys.argv[1]) as client:
        try:
            client.request("end")
        except Exception:
            pass
with blocking.serve("world", socket_root=sys.argv[1]) as server:
    server.handle("end", lambda: sys.exit(3))
    threading.Thread(target=ask).start()
    server.serve_forever()
"""


def test_a_handler_that_ends_the_program_has_not_failed(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", ENDS, f"{tmp_path}/"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (3, "")
