"""Playing a recording, on the virtual clock: when what is sent, what is compared, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from node_ipc import Config
from node_ipc.errors import IPCError
from node_ipc.recording import RecordingError, read
from node_ipc.recording.lines import Recorder, header
from node_ipc.recording.paths import Paths
from node_ipc.recording.player import Played, Player
from node_ipc.testing import MemoryDriver, Wire, replay, serve
from node_ipc.wire.attached import OFFERED

SETTINGS = Config().settings()


class Recording:
    """Writes a recording by hand, of given times."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.time = 1000.0
        self._text = b""
        self._settings = Config(**options).settings()
        self.hide = Paths([])
        self.payloads = True
        self.recorder = Recorder(self, self._settings, payloads=True, clock=lambda: self.time)

    def write(self, lines: bytes, messages: int) -> None:
        self._text += lines

    def save(self) -> str:
        first = header(
            self._settings, address="", program="", payloads=self.payloads, hide=self.hide, time=self.time, part=1
        )
        self.path.write_bytes(first + self._text)
        return str(self.path)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "run.jsonl")


def event(type: str, data: Any = 1) -> bytes:
    message = {"type": type, "data": data}
    is_text = type.isascii() or type.isprintable()  # lone surrogates have to be escaped
    return json.dumps(message, separators=(",", ":"), ensure_ascii=not is_text).encode() + b"\f"


def played(file: str, driver: MemoryDriver, address: Any, **options: Any) -> Played:
    player = Player(read(file), driver, address, SETTINGS, **options).start()
    driver.run_until(player.done, limit=1e6)
    return player.done.result().played


def greetings(recording: Recording, answer: Any = "hello 7") -> str:
    """Two links; on one an answer, after an hour another."""
    one, two = recording.recorder.link("unix pid 7"), recording.recorder.link("unix pid 8")
    one.heard("client", event("greet", 7))
    recording.time += 0.01
    one.heard("server", event("greeting", answer))
    recording.time += 3600
    two.heard("client", event("greet", 8) + event("other", [1, {"x": None}]))
    two.heard("server", event("greeting", "hello 8"))
    one.closed()
    two.closed()
    recording.recorder.end()
    return recording.save()


def server(driver: MemoryDriver) -> tuple[Any, list[tuple[float, str, Any]]]:
    heard: list[tuple[float, str, Any]] = []
    made = serve(driver)
    made.on("greet", lambda data, socket: socket.emit("greeting", f"hello {data}"))
    made.on("*", lambda type, data: heard.append((round(driver.now(), 6), type, data)))
    return made, heard


@pytest.mark.parametrize("speed", [1, 2, float("inf")])
def test_it_is_sent_with_the_recorded_spacing(recording: Recording, speed: float) -> None:
    driver = MemoryDriver()
    made, heard = server(driver)
    result = played(greetings(recording), driver, made.address, speed=speed, compare=True)
    assert (result.links, result.sent, result.answers) == (2, 3, 2)
    assert result.faults == result.differences == []
    wire = [each for each in heard if each[1] in ("greet", "other")]
    assert [each[1:] for each in wire] == [("greet", 7), ("greet", 8), ("other", [1, {"x": None}])]
    assert wire[2][0] - wire[0][0] == pytest.approx(3600.01 / speed, abs=1e-3)
    assert made.sockets == () or not list(made.sockets)


def test_what_is_otherwise_is_told(recording: Recording) -> None:
    driver = MemoryDriver()
    made, _ = server(driver)
    result = played(greetings(recording, "hi 7"), driver, made.address, compare=True)
    assert result.differences == [
        'link 1 (unix pid 7): message 1, the event \'greeting\', differs:\n  $: recorded "hi 7", came "hello 7"'
    ]
    assert played(str(recording.path), driver, made.address).differences == [], "only where it is asked"


def test_answers_that_do_not_come_are_waited_for_in_vain(recording: Recording) -> None:
    driver = MemoryDriver()
    made = serve(driver)
    result = played(greetings(recording), driver, made.address, compare=True, patience=3)
    assert len(result.differences) == 2 and all("did not come" in text for text in result.differences)


def test_answers_that_are_late_are_waited_for(recording: Recording) -> None:
    driver = MemoryDriver()
    made = serve(driver)
    made.on(
        "greet",
        lambda data, socket: driver.call_later(4, lambda: socket.emit("greeting", f"hello {data}")) and None,
    )
    assert played(greetings(recording), driver, made.address, compare=True).differences == []


def test_more_than_was_recorded(recording: Recording) -> None:
    driver = MemoryDriver()
    made, _ = server(driver)
    made.on("other", lambda data, socket: socket.emit("extra", 1))
    [text] = played(greetings(recording), driver, made.address, compare=True).differences
    assert text == "link 2 (unix pid 8): the event 'extra' came, which was not recorded: 1"


def test_only_some_events(recording: Recording) -> None:
    driver = MemoryDriver()
    made, heard = server(driver)
    result = played(greetings(recording), driver, made.address, compare=True, only=["other"])
    assert (result.sent, result.differences) == (1, [])
    assert [each[1] for each in heard if each[1] in ("greet", "other")] == ["other"]
    with pytest.raises(RecordingError, match="no client sends 'nothing', so nothing would be sent"):
        played(str(recording.path), driver, made.address, only=["nothing"])


def ask(method: str, number: int) -> bytes:
    return event("rpc.request", {"jsonrpc": "2.0", "id": number, "method": method, "params": number})


def test_only_some_methods_of_requests(recording: Recording) -> None:
    link = recording.recorder.link("x")
    link.heard("client", ask("double", 1) + ask("other", 2) + ask("double", 3))
    for number in (1, 2, 3):
        link.heard("server", event("rpc.response", {"jsonrpc": "2.0", "id": number, "result": number * 2}))
    driver = MemoryDriver()
    made = serve(driver)
    made.handle("double", lambda number: number * 2)
    result = played(recording.save(), driver, made.address, compare=True, only=["double"])
    assert (result.sent, result.answers, result.differences) == (2, 2, [])
    [text] = played(str(recording.path), driver, made.address, compare=True).differences
    assert "message 2, the event 'rpc.response', differs" in text and "$.error: recorded nothing, came" in text


def test_what_was_redacted_may_differ(recording: Recording) -> None:
    recording.hide = Paths(["$.token"])
    link = recording.recorder.link("x")
    link.heard("client", event("login", {"token": "[redacted]"}))
    link.heard("server", event("session", {"token": "[redacted]", "user": 1}))
    driver = MemoryDriver()
    made = serve(driver)
    made.on("login", lambda data, socket: socket.emit("session", {"token": "new", "user": 1}))
    assert played(recording.save(), driver, made.address, compare=True).differences == []


def test_heartbeats_are_answered_and_neither_sent_nor_compared(recording: Recording) -> None:
    link = recording.recorder.link("x")
    link.heard("client", event("greet", 7) + event("ipc.pong", {}))
    link.heard("server", event("greeting", "hello 7") + event("ipc.ping", {}))
    recording.time += 3600
    link.heard("client", event("greet", 8))
    link.heard("server", event("greeting", "hello 8"))
    driver = MemoryDriver()
    made = serve(driver, heartbeat=1000, heartbeat_timeout=1000)
    made.on("greet", lambda data, socket: socket.emit("greeting", f"hello {data}"))
    result = played(recording.save(), driver, made.address, compare=True)
    assert (result.sent, result.answers, result.faults, result.differences) == (2, 2, [], [])


def test_broken_frames_are_sent_as_they_were(recording: Recording) -> None:
    frames = [b"\xff", b"[]", b'{"type":"\x1b', '{"type":"é","data":"\\ud800"}'.encode()]
    link = recording.recorder.link("x")
    link.heard("client", b"".join(frame + b"\f" for frame in frames))
    driver = MemoryDriver()
    listener = _Heard()
    driver.listen(serve_address(driver), listener, SETTINGS)
    driver.run_until_idle()
    result = played(recording.save(), driver, serve_address(driver), patience=1)
    assert result.sent == 4
    assert listener.wire.bytes.split(b"\f")[:3] == frames[:3]
    assert json.loads(listener.wire.bytes.split(b"\f")[3]) == {"type": "é", "data": "\ud800"}


def serve_address(driver: MemoryDriver) -> Any:
    from node_ipc.config.address import Unix

    return Unix("/memory/wire")


class _Heard:
    """A server's end that speaks bytes."""

    def __init__(self) -> None:
        self.wire = Wire()

    def listening(self, address: Any) -> None: ...
    def not_listening(self, error: Exception) -> None:
        raise error

    def accept(self, peer: Any) -> Wire:
        return self.wire


def test_raw_bytes(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "raw.jsonl", raw_buffer=True)
    link = recording.recorder.link("x")
    link.heard("client", b"\x00\xff")
    link.heard("server", b"\xff")
    link.heard("server", b"\x00")
    driver = MemoryDriver()
    made = serve(driver, raw_buffer=True)
    made.on("data", lambda data, socket: socket.emit(bytes(data)[::-1]))
    result = played(recording.save(), driver, made.address, compare=True)
    assert (result.sent, result.answers, result.differences) == (1, 2, [])


def test_nobody_is_there(recording: Recording) -> None:
    driver = MemoryDriver()
    made, _ = server(driver)
    made.abort()
    driver.run_until_idle()
    with pytest.raises(IPCError, match=r"Connection refused\. Start the server"):
        played(greetings(recording), driver, made.address)
    assert driver.next_due() is None, "nothing is left behind"


def test_a_server_that_ends_the_link(recording: Recording) -> None:
    driver = MemoryDriver()
    made = serve(driver)
    made.on("greet", lambda data, socket: socket.abort())
    link = recording.recorder.link("x")
    link.heard("client", event("greet"))
    recording.time += 1
    link.heard("client", event("greet") + event("greet"))
    result = played(recording.save(), driver, made.address)
    assert result.sent == 1
    assert result.faults[-1] == "link 1 (x): the server has ended it, so what comes next is not sent"


def test_a_server_that_takes_nothing(recording: Recording) -> None:
    driver = MemoryDriver()
    made, _ = server(driver)
    link = recording.recorder.link("x")
    for _ in range(30):
        recording.time += 1
        link.heard("client", event("big", "x" * 1_000_000))
    file = recording.save()
    player = Player(read(file), driver, made.address, SETTINGS, patience=7).start()
    driver.advance(0.5)
    driver.connections[-1].stall()
    with pytest.raises(IPCError, match="has taken nothing for 7 s, after"):
        driver.run_until(player.done, limit=1e6)
        player.done.result()


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda link: link.heard("server", event("x")), "no client says anything.*node-ipc record only listens"),
        (lambda link: None, "no client says anything.*: it is empty"),
    ],
)
def test_nothing_to_say(recording: Recording, prepare: Any, error: str) -> None:
    prepare(recording.recorder.link("x"))
    driver = MemoryDriver()
    with pytest.raises(RecordingError, match=error):
        played(recording.save(), driver, serve_address(driver))
    recording.payloads = False
    with pytest.raises(RecordingError, match="has no payloads, so nothing can be said again: record with --payloads"):
        played(recording.save(), driver, serve_address(driver))


def test_what_was_too_long_to_be_kept_is_told(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "run.jsonl", max_message_size=1000)
    link = recording.recorder.link("x")
    link.heard("client", event("a", "x" * 2000) + event("b"))
    driver = MemoryDriver()
    made, _ = server(driver)
    result = played(recording.save(), driver, made.address)
    assert result.faults == ["link 1 (x): a message of 2022 bytes was not kept, so it is not sent"]
    assert result.sent == 1


@given(st.lists(st.binary(max_size=30), min_size=1), st.sampled_from(["a", "\ud800", "é"]))
def test_what_is_recorded_can_be_read_and_is_sent_as_it_was(frames: list[bytes], type: str) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        recording = Recording(Path(folder) / "run.jsonl")
        link = recording.recorder.link("x")
        sent = [*(frame.replace(b"\f", b"") for frame in frames), event(type, [type, 1.5])[:-1]]
        assume(not any(frame.endswith(OFFERED) for frame in sent))  # that attachments are taken is not said again
        link.heard("client", b"".join(frame + b"\f" for frame in sent))
        driver = MemoryDriver()
        listener = _Heard()
        driver.listen(serve_address(driver), listener, SETTINGS)
        driver.run_until_idle()
        result = played(recording.save(), driver, serve_address(driver), patience=0.1)
        assert result.sent == len(sent)
        assert listener.wire.bytes == b"".join(frame + b"\f" for frame in sent)


# ---- node_ipc.testing.replay


def register(server: Any) -> None:
    server.on("greet", lambda data, socket: socket.emit("greeting", f"hello {data}"))


def test_a_recording_as_a_test(recording: Recording) -> None:
    with replay(greetings(recording)) as server:
        register(server)


def test_a_recording_as_a_test_that_fails(recording: Recording) -> None:
    file = greetings(recording)
    with pytest.raises(AssertionError) as failed:
        with replay(file) as server:
            server.on("greet", lambda data, socket: socket.emit("greeting", data))
    assert str(failed.value).splitlines() == [
        f"the server did not answer as in {file!r}:",
        "link 1 (unix pid 7): message 1, the event 'greeting', differs:",
        '  $: recorded "hello 7", came 7',
        "link 2 (unix pid 8): message 1, the event 'greeting', differs:",
        '  $: recorded "hello 8", came 8',
    ]


def test_a_handler_that_fails_is_named(recording: Recording) -> None:
    with pytest.raises(AssertionError, match=r"did not come(.|\n)*a handler of 'greet' failed: ZeroDivisionError"):
        with replay(greetings(recording)) as server:
            server.on("greet", lambda data: 1 / 0)


def test_a_block_that_raises_is_not_played(recording: Recording) -> None:
    with pytest.raises(KeyError):
        with replay(greetings(recording)):
            raise KeyError("mine")


async def test_async_handlers_and_what_may_differ(recording: Recording) -> None:
    import asyncio

    link = recording.recorder.link("x")
    link.heard("client", event("ask"))
    link.heard("server", event("told", {"at": 1, "n": 1}))
    with replay(recording.save(), ignore=["$.at"], parser="fast") as server:

        @server.on("ask")
        async def ask(data: Any, socket: Any) -> None:
            await asyncio.sleep(3)
            socket.emit("told", {"at": 2, "n": 1})
