"""What a log record has for machines: the endpoint, the link, the peer, the event and the error's code."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from node_ipc.testing import MemoryDriver, Wire, pair, serve

MEMBERS = ("endpoint", "link", "peer", "event", "code")


def members(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [{name: getattr(record, name) for name in MEMBERS} for record in caplog.records]


def test_a_handler_that_fails_on_a_server(caplog: pytest.LogCaptureFixture) -> None:
    client, server, socket, driver = pair()
    server.on("order\x1b", lambda data: 1 / 0)
    client.emit("order\x1b")
    driver.run_until_idle()
    assert members(caplog) == [
        {
            "endpoint": "unix:/memory/app.world",
            "link": socket.id,
            "peer": str(socket.peer),
            "event": "order\\x1b",
            "code": "ERR_IPC_HANDLER",
        }
    ]
    assert len(driver.failures) == 1


def test_a_handler_that_fails_on_a_client(caplog: pytest.LogCaptureFixture) -> None:
    client, _, socket, driver = pair()
    client.on("news", lambda data: 1 / 0)
    socket.emit("news")
    driver.run_until_idle()
    [found] = members(caplog)
    assert (found["event"], found["code"], found["endpoint"]) == ("news", "ERR_IPC_HANDLER", "unix:/memory/app.world")
    assert len(driver.failures) == 1


def test_a_peer_that_sends_garbage(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    [socket] = server.sockets
    wire.write(b"garbage\f")
    driver.run_until_idle()
    [found] = members(caplog)
    assert (found["link"], found["peer"], found["event"]) == (socket.id, str(socket.peer), None)
    assert found["code"] == "ERR_IPC_INVALID_JSON"


def test_a_formatter_that_writes_json_has_them_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class AsJson(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps({"message": record.getMessage(), **{name: getattr(record, name) for name in MEMBERS}})

    client, server, socket, driver = pair()
    server.on("order", lambda data: 1 / 0)
    client.emit("order")
    driver.run_until_idle()
    [record] = caplog.records
    told = json.loads(AsJson().format(record))
    assert told["link"] == socket.id and told["event"] == "order"
    assert [told["message"]] == list(map(str, driver.failures))
    assert told["message"] == "a handler of 'order' failed: ZeroDivisionError('division by zero')"
