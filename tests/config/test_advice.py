"""What is added to an exception of Python's where it shows a mistake in using this library; and where nothing is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from node_ipc import blocking, testing
from node_ipc.config.advice import advice, advise

EVENTS = "A handler gets (data) or (data, socket)"
REQUESTS = "A handler of requests gets (params), (params, socket) or (params, socket, request)"


def raised(use: Callable[..., Any], *arguments: Any) -> BaseException:
    with pytest.raises(Exception) as caught:
        use(*arguments)
    return caught.value


def awaited(use: Callable[..., Awaitable[Any]], *arguments: Any) -> BaseException:
    async def run() -> Any:
        return await use(*arguments)

    return raised(asyncio.run, run())


# ---- what is not awaited


async def awaits_emit(client: Any) -> None:
    await client.emit(
        "message",
        {"text": "hello"},
    )


async def awaits_broadcast(server: Any) -> None:
    await server.broadcast("message")


async def awaits_emit_to_rooms(server: Any) -> None:
    await server.to("lobby").emit("message")


async def awaits_off(client: Any) -> None:
    await client.off("message")


async def awaits_a_handler(client: Any) -> None:
    await client.on("message", print)


@pytest.mark.parametrize("use", [awaits_emit, awaits_broadcast, awaits_emit_to_rooms])
def test_awaiting_what_is_emitted_names_drain(use: Callable[[Any], Awaitable[Any]]) -> None:
    client, server, _, _ = testing.pair()
    error = awaited(use, client if use is awaits_emit else server)
    verb = "broadcast" if use is awaits_broadcast else "emit"
    assert advice(error).startswith(f". {verb}() is not awaited: what is emitted goes out by itself.")
    assert "await drain()" in advice(error)


@pytest.mark.parametrize(("use", "verb"), [(awaits_off, "off"), (awaits_a_handler, "on")])
def test_awaiting_what_does_not_wait_says_so(use: Callable[[Any], Awaitable[Any]], verb: str) -> None:
    client, _, _, _ = testing.pair()
    assert advice(awaited(use, client)) == f". {verb}() does not wait, and is not awaited"


class Signal:
    """Somebody else's."""

    def emit(self, *_: Any) -> bool:
        return True


async def awaits_a_flag(client: Any) -> None:
    sent: Any = client.emit("message")
    await sent


def test_of_what_others_emit_and_of_other_values_nothing_is_said() -> None:
    client, _, _, _ = testing.pair()
    assert advice(awaited(awaits_emit, Signal())) == ""
    assert advice(awaited(awaits_a_flag, client)) == ""


def test_code_without_its_source_gets_no_advice() -> None:
    client, _, _, _ = testing.pair()
    names: dict[str, Any] = {}
    exec("async def use(client):\n    await client.emit('message')", names)
    error = awaited(names["use"], client)
    assert "can't be" in str(error) and advice(error) == ""


# ---- what an emit takes


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("latest", 'Did you mean keep="latest"? (latest=True is for receive)'),
        ("kep", "Did you mean 'keep'?"),
        ("room", "It takes type, data and keep: several values are one list or dict"),
    ],
)
def test_an_option_that_emit_does_not_take_is_told_as_the_one_that_is_meant(option: str, said: str) -> None:
    client, server, _, driver = testing.pair()
    heard: list[Any] = []
    server.on("message", lambda data, socket: heard.append(socket))
    client.emit("message")
    driver.run_until_idle()
    options: dict[str, Any] = {option: True}
    for error in (
        raised(lambda: client.emit("message", 1, **options)),
        raised(lambda: server.emit(heard[0], "message", 1, **options)),
        raised(lambda: heard[0].emit("message", 1, **options)),
    ):
        assert advice(error) == f". {said}" or f"Did you mean '{said[14:-2]}'" in str(error)  # as Python 3.13 says


def test_an_option_of_other_calls_is_nobodys_business_here() -> None:
    options: dict[str, Any] = {"latest": True}
    assert advice(raised(lambda: Signal().emit(**options))) == ""


# ---- what came


def test_a_member_of_a_dict_is_no_attribute() -> None:
    data: Any = {"message": "hello"}
    assert advice(raised(lambda: data.message)).startswith(". An object of JSON is a dict, …['message']")
    assert advice(raised(lambda: data.text)) == ""
    assert advice(raised(lambda: object().message)) == ""  # type: ignore[attr-defined]


ARRAY = {"dtype": "<f8", "shape": [2], "data": "AAAA"}


@pytest.mark.parametrize(
    "use",
    [
        lambda data: data.shape,
        lambda data: data.mean(),
        lambda data: data * 2,
        lambda data: 1 + data,
    ],
)
def test_an_array_without_a_type_names_the_type(use: Callable[[Any], Any]) -> None:
    assert "data: numpy.ndarray or receive(…, type=numpy.ndarray)" in advice(raised(use, ARRAY))
    assert advice(raised(use, {"dtype": "<f8"})) == ""


def test_an_array_within_a_payload_is_found() -> None:
    data: Any = {"at": 1.5, "pixels": ARRAY}
    assert "type=numpy.ndarray" in advice(raised(lambda: data["pixels"] * 2))


@pytest.mark.parametrize("use", [lambda data: data["text"], lambda data: data.get("text")])
def test_json_that_was_encoded_twice_is_told(use: Callable[[Any], Any]) -> None:
    assert "not json.dumps(value)" in advice(raised(use, json.dumps({"text": "hello"})))
    for other in ("hello", "{hello", "[" * 100_000, ""):
        assert advice(raised(use, other)) == ""


def test_what_came_decoded_needs_no_json_loads() -> None:
    assert advice(raised(json.loads, {"text": "hello"})) == (
        ". If it is a payload: those come decoded, and need no json.loads"
    )


def test_a_coroutine_that_is_used_misses_its_await() -> None:
    async def answer() -> dict[str, int]:
        return {"total": 3}

    uses: tuple[Callable[[Any], Any], ...] = (lambda it: it["total"], lambda it: it.total, lambda it: it + 1)
    for use in uses:
        coroutine = answer()
        assert "data = await client.receive(…)" in advice(raised(use, coroutine))
        coroutine.close()


# ---- the wrong front


async def iterates(what: Any) -> None:
    async for _ in what:
        """Nobody gets here."""


async def enters(what: Any) -> None:
    async with what:
        """Nobody gets here."""


async def awaits(what: Any) -> None:
    await what


def test_the_other_fronts_ways_are_named(tmp_path: Any) -> None:
    with (
        blocking.serve(f"{tmp_path}/app.sock") as server,
        blocking.connect(f"{tmp_path}/app.sock", timeout=5, close_timeout=0) as client,
    ):
        assert advice(awaited(iterates, client)) == ". Without async: for type, data in client gives its events"
        assert "heard by handlers: @server.on(event)" in advice(awaited(iterates, server))
        assert "async with node_ipc.connect(…)" in advice(awaited(enters, client))
        assert "async with node_ipc.connect(…)" in advice(awaited(enters, server))
        assert "await node_ipc.connect(…)" in advice(awaited(awaits, client))


# ---- handlers


def values(data: Any, socket: Any) -> Any:
    return data + socket


class Socket:
    """One of a test's: what counts is the name that Python tells."""

    def emit(self) -> None:
        """Never called."""


@pytest.mark.parametrize("data", [[1, 2], "text", {"a": 1}, 1])
def test_a_socket_taken_for_a_value_is_told_whatever_the_payload_is(data: Any) -> None:
    said = advice(raised(values, data, Socket()), REQUESTS)
    assert (
        said
        == f". {REQUESTS}: params is one value, of which several are taken inside, as by a, b = params or params['a']"
    )
    assert advice(raised(values, data, Socket())) == ""  # no handler


def test_a_misspelt_verb_of_a_socket_is_no_value() -> None:
    socket: Any = Socket()
    assert advice(raised(lambda: socket.emmit()), EVENTS) == ""
    assert advice(raised(lambda: socket.items()), EVENTS).startswith(f". {EVENTS}: data is one value")


def answers(socket: Any) -> None:
    socket.emit("answer", 1)


def test_a_payload_taken_for_the_socket_is_told() -> None:
    assert advice(raised(answers, {"text": "hello"}), EVENTS) == f". {EVENTS}: the first is the payload"
    owner: Any = {"client": "not made yet"}
    assert advice(raised(lambda: owner["client"].emit("x")), EVENTS) == ""


# ---- an exception that goes on


def test_a_note_is_added_once() -> None:
    data: Any = {"message": "hello"}
    error = raised(lambda: data.message)
    advise(error)
    advise(error)
    (note,) = error.__notes__
    assert note.startswith("node_ipc: An object of JSON is a dict")


class Unwilling(AttributeError):
    """Has no place for notes, and no text."""

    __notes__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_exception_of_somebody_elses_harms_nothing() -> None:
    for error in (Unwilling(), TypeError(), AttributeError(name="x", obj={}), None):
        advise(error)
        assert error is None or not getattr(error, "__notes__", None)


def keeps_a_name(data: Any, socket: Any) -> None:
    socket.name = data


def test_what_is_kept_with_a_socket_goes_into_its_state() -> None:
    client, server, _, driver = testing.pair()
    heard: list[Any] = []
    server.on("message", lambda data, socket: heard.append(socket))
    client.emit("message")
    driver.run_until_idle()
    error = raised(keeps_a_name, "me", heard[0])
    for gets in ("", EVENTS):
        assert advice(error, gets) == ". What belongs to a socket is kept in its state: socket.state['name'] = …"
    assert advice(raised(lambda: heard[0].name)) == ""


# ---- what is so now, asked as of a future


def asks_an_answer(answer: Any) -> Any:
    return answer.done()


def asks_a_client(client: Any) -> Any:
    return client.closed.done()


def asks_by_a_call(client: Any) -> Any:
    return client.connected()


def asks_somebody_else(job: Any) -> Any:
    return job.done()


def test_whether_something_is_done_is_asked_without_a_call() -> None:
    client, server, _, _ = testing.pair()
    server.handle("add", sum)
    for use, of in ((asks_an_answer, client.request("add", [1, 2])), (asks_a_client, client)):
        assert advice(raised(use, of)) == ". done is no method here: if answer.done"
    assert "if client.closed" in advice(raised(asks_by_a_call, client))


def test_what_somebody_else_calls_done_is_his_own() -> None:
    class Job:
        done = True

    assert advice(raised(asks_somebody_else, Job())) == ""
