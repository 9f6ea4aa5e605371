"""Handlers registered in a way that cannot work are refused at once: on every verb, of clients, servers and ports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_ipc import Config, Event, InvalidEvent, blocking, testing

MADE: Any = testing.pair()
VERBS: list[tuple[str, Callable[..., Any]]] = [
    ("on", MADE.client.on),
    ("once", MADE.client.once),
    ("handle", MADE.client.handle),
    ("on", MADE.server.on),
    ("once", MADE.server.once),
    ("handle", MADE.server.handle),
]


def add(data: Any) -> None: ...


class Adder:
    def __call__(self, data: Any) -> None: ...


@pytest.mark.parametrize(("verb", "register"), VERBS)
def test_a_decorator_without_parentheses_is_refused_and_told_how(verb: str, register: Callable[..., Any]) -> None:
    with pytest.raises(InvalidEvent, match=rf"must be text, not function: .*@server\.{verb}\('add'\)"):
        register(add)
    with pytest.raises(InvalidEvent, match=rf"must be text, not Adder: .*@server\.{verb}\('name'\)"):
        register(Adder())


@pytest.mark.parametrize(("verb", "register"), VERBS)
def test_a_name_that_is_no_text_is_refused_before_there_is_a_handler(verb: str, register: Callable[..., Any]) -> None:
    for wrong in (5, None, b"add"):
        with pytest.raises(InvalidEvent, match="must be text"):
            register(wrong)


@pytest.mark.parametrize(("verb", "register"), VERBS)
def test_a_handler_that_is_none_was_called_by_mistake(verb: str, register: Callable[..., Any]) -> None:
    words = rf"the handler is None: did you call it\? {verb}\('told', print\), not {verb}\('told', print\(\)\)"
    for event in ("told", Event("told", int)):
        with pytest.raises(TypeError, match=words):
            register(event, None)
        with pytest.raises(TypeError, match=words):
            register(event, handler=None, type=int)


@pytest.mark.parametrize(("verb", "register"), VERBS)
def test_a_decorator_with_its_name_registers(verb: str, register: Callable[..., Any]) -> None:
    assert register(f"good {verb} {id(register)}")(add) is add
    assert register(Event(f"typed {verb} {id(register)}", int))(add) is add


TWO_ARGUMENTS = [(verb, register) for verb, register in VERBS if verb == "handle" or register.__self__ is MADE.server]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("verb", "register"), TWO_ARGUMENTS)
def test_the_socket_comes_second_and_who_names_it_first_is_told(verb: str, register: Callable[..., Any]) -> None:
    def answer(socket: Any, data: Any) -> None: ...
    async def later(sock: Any, payload: Any = None) -> None: ...

    class Program:
        def answer(self, socket: Any, data: Any) -> None: ...

    for handler in (answer, later, Program().answer, lambda socket, data: None):
        with pytest.raises(
            TypeError, match=r"has sock(et)? as its first parameter, which gets the payload: the socket "
        ):
            register(f"turned {verb}", handler)
    with pytest.raises(TypeError, match=r"comes second, def handler\(data, socket\)$"):
        register(f"turned {verb}", answer)


@pytest.mark.parametrize(("verb", "register"), TWO_ARGUMENTS)
def test_a_first_parameter_that_may_be_a_payload_is_taken(verb: str, register: Callable[..., Any]) -> None:
    def client_of_the_shop(client: Any, socket: Any) -> None: ...
    def of_a_network(socket: dict[str, str], peer: Any) -> None: ...
    def alone(socket: Any) -> None: ...

    for handler in (client_of_the_shop, of_a_network, alone):
        assert register(f"{verb} {handler.__name__}", handler) is handler


def test_the_bytes_of_raw_mode_come_before_the_socket_too_and_what_brings_the_socket_first_may_name_it() -> None:
    def heard(socket: Any, data: Any) -> None: ...
    def gone(socket: Any, destroyed_socket_id: Any) -> None: ...

    raw = testing.pair(raw_buffer=True)
    with pytest.raises(TypeError, match="the socket comes second"):
        raw.server.on("data", heard)
    raw.server.on("socket.disconnected", gone)


@pytest.mark.parametrize("end", [MADE.client, MADE.server])
def test_off_and_on_trace_want_what_they_can_use(end: Any) -> None:
    with pytest.raises(InvalidEvent, match="must be text, not function"):
        end.off(add)
    for wrong in (None, "sent"):
        with pytest.raises(TypeError, match=r"an on_trace hook is called with each trace: on_trace\(print\), not "):
            end.on_trace(wrong)


def test_the_other_fronts_and_udp_refuse_the_same(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    with (
        blocking.serve("world", config=config) as server,
        blocking.connect("world", config=config) as client,
        blocking.serve_udp("127.0.0.1:0", config=config) as port,
    ):
        ends: list[Any] = [server, client, port]
        for end in ends:
            with pytest.raises(InvalidEvent, match="must be text, not function"):
                end.on(add)
            with pytest.raises(TypeError, match="the handler is None"):
                end.once("told", None)
        for register in (server.on, port.on, client.handle):
            with pytest.raises(TypeError, match="the socket comes second"):
                register("told", lambda socket, data: None)
        for end in ends[:2]:
            with pytest.raises(InvalidEvent, match="must be text, not function"):
                end.handle(add)
            with pytest.raises(TypeError, match="the handler is None"):
                end.handle("add", None)
