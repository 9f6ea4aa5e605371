"""Whatever code of the user's raises harms only itself (reliability row 56)."""

from __future__ import annotations

import errno
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_ipc import IPC, Config, HandlerError, InvalidPayload
from node_ipc.config.address import Udp
from node_ipc.config.foreign import Foreign
from node_ipc.config.logs import logger, traceback_of
from node_ipc.core.datagram import DatagramServer
from node_ipc.core.session import Session
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Pair, pair
from processes import listens, until


class Own(BaseException):
    """A program's own way to stop something."""


class Unshowable(Exception):
    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


RAISED = [
    OSError(errno.ENOSPC, "disk full"),
    BrokenPipeError(),
    UnicodeEncodeError("ascii", "é", 0, 1, "no"),
    RecursionError(),
    Own(),
    Unshowable(),
]
NAMES = [type(each).__name__ for each in RAISED]


class RaisingHandler(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any) -> Any:
        raise error

    return fail


def trace_hook(ends: Pair, fail: Callable[..., Any]) -> None:
    ends.client.on_trace(fail)
    ends.server.on_trace(fail)


def tap(ends: Pair, fail: Callable[..., Any]) -> None:
    ends.server.events.tap(fail)
    ends.client.events.tap(fail)


def handler(ends: Pair, fail: Callable[..., Any]) -> None:
    for name in ("x", "*", "error", "connect"):
        ends.server.on(name, fail)


def method(ends: Pair, fail: Callable[..., Any]) -> None:
    ends.server.handle("x", fail)


def payload_log(ends: Pair, fail: Callable[..., Any]) -> None:
    ends.server.log_payloads(fail)


HOOKS = [trace_hook, tap, handler, method, payload_log]


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
@pytest.mark.parametrize("hook", HOOKS)
def test_the_next_message_is_served(hook: Callable[..., None], error: BaseException) -> None:
    ends = pair()
    hook(ends, raising(error))
    heard: list[Any] = []
    ends.server.on("n", lambda data, socket: heard.append(data))
    ends.server.handle("add", lambda params: sum(params))
    for number in range(3):
        ends.client.emit("x", number)
        ends.client.emit("nobody hears this")
        ends.client.emit("n", number)
        answer = ends.client.request("add", [number, 1])
        ends.driver.run_until(answer)
        assert answer.result() == number + 1
    assert heard == [0, 1, 2]
    assert ends.client.stats().links == 1 and len(ends.server.sockets) == 1
    assert bool(ends.driver.failures) is (hook is handler)  # of those that hear errors
    ends.driver.close()


@pytest.mark.row(56)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("hook", [trace_hook, tap])
def test_what_is_meant_to_end_the_program_passes(hook: Callable[..., None], error: BaseException) -> None:
    ends = pair()
    hook(ends, raising(error))
    with pytest.raises(type(error)):
        ends.client.emit("n", 1)
        ends.driver.run_until_idle()


def test_the_first_failure_is_told_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    call = Foreign("a hook", raising(ValueError("no\x1b[31m")))
    assert call() is None and call() is None
    [record] = caplog.records
    assert record.getMessage() == (
        "a hook failed, and is not told of again; nothing else is harmed: ValueError('no\\x1b[31m')"
    )


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
def test_a_handler_of_logging_that_raises_costs_its_line(error: BaseException, capfd: Any) -> None:
    failing = RaisingHandler(error)
    logging.getLogger("node_ipc").addHandler(failing)
    try:
        ends = pair()
        ends.server.on("x", raising(ValueError("no")))
        ends.server.on("typed", lambda data, socket: None, type=int)
        heard: list[Any] = []
        ends.server.on("n", lambda data, socket: heard.append(data))
        for name in ("x", "typed", "n"):
            ends.client.emit(name, "text")
        ends.driver.run_until_idle()
        logger.warning("one more line")
        assert heard == ["text"]
        assert [type(failure) for failure in ends.driver.failures] == [HandlerError, InvalidPayload]
        ends.driver.close()
    finally:
        logging.getLogger("node_ipc").removeHandler(failing)


@pytest.mark.row(56)
@pytest.mark.parametrize("error", RAISED, ids=NAMES)
def test_a_logger_of_ipc_log_that_raises_is_reported_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    ipc = IPC(Config(silent=False, logger=raising(error)))
    for _ in range(3):
        ipc.log("a line")
    assert [record.getMessage().partition(" failed")[0] for record in caplog.records] == ["config.logger"]


PROGRAM = """
import sys
from node_ipc import IPC, Config
ipc = IPC(Config(silent=False, id="world", socket_root=sys.argv[1] + "/"))
def started():
    ipc.server.on("end", lambda: ipc.server.stop())
    ipc.server.on("ping", lambda data, socket: socket.emit("pong", data))
ipc.serve(callback=started)
ipc.server.start()
ipc.run()
"""


@pytest.mark.row(56)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_server_whose_output_is_full_serves_and_ends_when_told_to(tmp_path: Path) -> None:
    from node_ipc import blocking

    with open("/dev/full", "w") as full:
        server = subprocess.Popen([sys.executable, "-u", "-c", PROGRAM, str(tmp_path)], stdout=full)
    try:
        until(lambda: listens(tmp_path / "app.world"))
        for number in range(3):
            with blocking.connect(f"unix:{tmp_path}/app.world") as client:
                client.emit("ping", number)
                assert client.receive("pong", timeout=20) == number
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    finally:
        server.kill()
        server.wait()


# ---- the log


def test_text_of_exceptions_is_escaped_in_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    ends = pair()

    def login(data: Any, socket: Session) -> None:
        try:
            raise KeyError(data)
        except KeyError:
            raise ValueError(f"unknown user {data}") from None

    ends.server.on("login", login)
    ends.client.emit("login", "x\n2026-01-01 ERROR forged\x1b[2J")
    ends.driver.run_until_idle()
    [record] = caplog.records
    text = logging.Formatter().format(record)
    assert "\x1b" not in text and "\n2026" not in text and "in login\n" in text
    assert "ValueError: unknown user x\\n2026-01-01 ERROR forged\\x1b[2J" in text
    assert record.exc_info is not None and record.exc_info[0] is ValueError
    assert len(ends.driver.failures) == 1


def test_a_chain_of_exceptions_is_shown_from_its_beginning() -> None:
    try:
        try:
            raise KeyError("first\r")
        except KeyError as error:
            raise Unshowable from error
    except Unshowable as error:
        text = traceback_of(error)
    assert text.index("KeyError: 'first\\r'") < text.index("Which led to:") < text.index("Unshowable: <cannot be")


def test_peers_that_reconnect_write_no_more_lines_than_one(caplog: pytest.LogCaptureFixture) -> None:
    ends = pair()
    ends.server.on("x", raising(ValueError("no")))
    from node_ipc.testing import Wire

    for _ in range(50):
        wire = Wire.connected(ends.driver, ends.server.address)
        wire.write(b'{"type":"x"}\f' * 20 + b"junk\f")
        wire.abort()
    assert ends.driver.now() < 1
    levels = [record.levelname for record in caplog.records]
    assert levels.count("ERROR") == 5 and levels.count("WARNING") == 5
    assert len(ends.driver.failures) > levels.count("ERROR")


@pytest.mark.parametrize("stopping", [False, True])
def test_the_end_of_a_flood_is_told_within_a_second_or_when_the_server_stops(
    stopping: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ends = pair()
    ends.server.on("x", raising(ValueError("no")))
    ends.client.emit("x")
    for _ in range(99):
        ends.client.emit("x")
    ends.driver.run_until_idle()
    assert len(caplog.records) == 5
    if stopping:
        ends.server.stop()
        ends.driver.advance(0.1)
    else:
        ends.driver.advance(1)
    [record] = caplog.records[5:]
    assert record.getMessage() == f"95 more lines about HandlerError at {ends.server.address} were left out"
    assert record.levelno == logging.ERROR and len(ends.driver.failures) == 100
    ends.driver.close()


def test_the_end_of_a_flood_of_datagrams_is_told(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    server = DatagramServer(Udp("127.0.0.1", 8000, "udp4"), driver, Config().settings())
    server.start()
    driver.run_until_idle()
    for _ in range(100):
        server.datagram(b"junk", "127.0.0.1", 9000)
    driver.advance(1)
    assert caplog.messages[5:] == [f"95 more lines about ProtocolError at {server.address} were left out"]
    for _ in range(100):
        server.datagram(b"junk", "127.0.0.1", 9000)
    server.stop()
    driver.advance(0.1)
    assert sum(message.endswith("were left out") for message in caplog.messages) == 2
    driver.close()
