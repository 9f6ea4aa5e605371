"""A request that fails while nobody looks at its outcome is told, on each front; only where that was not meant."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import node_ipc
from node_ipc import RemoteError
from node_ipc.core.outcome import Outcome
from node_ipc.testing import pair

UNREAD = "failed, and nobody awaited it or looked at its outcome: "


# ---- the outcome


def settled(told: list[str], *, waiting: int = 0) -> Outcome[None]:
    outcome: Outcome[None] = Outcome(None)
    outcome.waiting = waiting
    outcome.settle(ValueError("no"), lambda: told.append("unread"))
    return outcome


def test_an_error_that_nobody_looked_at_is_told_when_the_outcome_goes_and_not_before() -> None:
    told: list[str] = []
    outcome = settled(told)
    assert told == []
    del outcome
    assert told == ["unread"]


def test_whoever_looks_waits_or_stops_waiting_is_told_nothing_more() -> None:
    told: list[str] = []
    with pytest.raises(ValueError):
        settled(told).result()
    assert settled(told).error is not None
    settled(told, waiting=1).stop_waiting()
    settled(told, waiting=1)
    heard: Outcome[None] = Outcome(None)
    heard.then(partial(getattr, heard, "error"))
    heard.settle(ValueError("no"), lambda: told.append("unread"))
    well: Outcome[None] = Outcome(None)
    well.settle(None, lambda: told.append("unread"))
    del heard, well
    gc.collect()
    assert told == []


# ---- what is meant, and what is not


def test_what_this_side_ended_itself_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    for end in ("client.close", "client.abort", "socket.close", "server.stop"):
        client, server, socket, driver = pair()
        for asks, answers in ((client, server), (socket, client)):
            answers.handle("wait", lambda params, socket: asyncio.sleep(3600))
            if (asks is client) is end.startswith("client"):  # the other side may well be told
                asks.request("wait")
        driver.run_until_idle()
        ends = {"client": client, "socket": socket, "server": server}
        whose, verb = end.split(".")
        getattr(ends[whose], verb)()
        driver.advance(60)
        driver.close()
    assert [record.getMessage() for record in caplog.records if UNREAD in record.getMessage()] == []


def test_what_was_not_even_sent_when_this_side_closed_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    client, server, _, driver = pair()
    server.abort()
    driver.run_until(lambda: client.state is node_ipc.ClientState.WAITING)
    client.request("wait", timeout=None)
    client.close()
    driver.run_until_idle()
    assert [record.getMessage() for record in caplog.records if UNREAD in record.getMessage()] == []


def test_a_request_that_was_given_up_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    client, _, _, driver = pair()
    answer = client.request("wait")
    assert answer.abandon is not None
    answer.abandon()
    del answer
    driver.close()
    assert [record.getMessage() for record in caplog.records if UNREAD in record.getMessage()] == []


def test_what_the_other_side_ended_or_did_not_answer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    client, server, socket, driver = pair()
    server.handle("wait", lambda params, socket: asyncio.sleep(3600))
    client.request("wait", timeout=5)
    driver.advance(6)
    client.request("wait")
    driver.run_until_idle()
    socket.abort()
    driver.run_until_idle()
    driver.close()
    late, lost = [record for record in caplog.records if UNREAD in record.getMessage()]
    assert "the request 'wait' failed" in late.getMessage() and "RequestTimeout: no answer to" in late.getMessage()
    assert "ConnectionLost: the link was lost before 'wait' was answered" in lost.getMessage()
    assert late.levelno == logging.WARNING and "Client" in late.getMessage()


# ---- the fronts

ASYNCIO = """
import asyncio, sys, threading, node_ipc

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1]) as server:
        server.handle("late", lambda: asyncio.sleep(100))
        server.handle("fine", lambda: None)
        asked = asyncio.get_running_loop().create_future()
        server.on("ask me", lambda data, socket: (socket.request("of-a-client"), asked.set_result(None)))
        async with node_ipc.connect("world", socket_root=sys.argv[1]) as client:
            client.on_trace(lambda trace: trace.what == "unread" and print(trace.detail.partition(" failed")[0]))
            client.request("of-a-server")
            client.request("late", timeout=0.01)
            client.emit("ask me")
            await asked
            kept.append(client.request("kept"))
            in_the_frame = client.request("left-to-the-end")
            # all the following is looked at, given up or nobody's to look at
            for waits in (client.request("none"), asyncio.gather(client.request("none"))):
                try:
                    await waits
                except node_ipc.RemoteError:
                    pass
            try:
                await asyncio.wait_for(client.request("late"), 0.05)
            except TimeoutError:
                pass
            task = asyncio.ensure_future(client.request("none"))
            task.cancel()
            repr(kept[0]), await server.request_all("none"), await client.request("fine")
            client.request("late")
    end.append(in_the_frame)

kept, end = [], []
asyncio.run(main())
dropper = threading.Thread(target=kept.clear)  # another thread, and the loop is closed
dropper.start()
dropper.join()
end.append(end)  # garbage that is found as the interpreter ends
del end
"""
CALLBACKS = """
import sys
from node_ipc import ipc

def served():
    ipc.server.handle("late", lambda: __import__("asyncio").sleep(100))
    ipc.server.on("ask me", lambda data, socket: socket.request("of-a-client"))
    ipc.connect_to("world", connected)

def connected():
    world, kept = ipc.of.world, []
    world.request("of-a-server")
    world.request("late", timeout=0.01)
    world.emit("ask me")
    kept.append(world.request("kept"))
    looked_at = world.request("none")
    looked_at.then(lambda: looked_at.error)
    every = ipc.server.request_all("none")
    last = world.request("late", timeout=0.2)
    last.then(lambda: (last.error, kept.clear(), world.request("late"), ipc.stop()))

ipc.config.id, ipc.config.socket_root, ipc.config.log_in_color = "world", sys.argv[1], False
ipc.config.logger = lambda *line: print(*line, file=sys.stderr)
ipc.serve(served)
ipc.server.start()
ipc.run()
"""
BLOCKING = """
import sys, threading, node_ipc
from node_ipc import blocking

server = blocking.serve("world", socket_root=sys.argv[1])
server.on("ask us", lambda data, socket: asking.append(socket))
asking = []

def ask():
    with blocking.connect("world", socket_root=sys.argv[1]) as client:
        for method, timeout in (("none", 5), ("none", 0)):
            try:
                client.request(method, timeout=timeout)
            except node_ipc.IPCError as error:
                print(type(error).__name__)
        client.emit("ask us")
        client.poll(2)

thread = threading.Thread(target=ask)
thread.start()
while not asking:
    server.poll(0.1)
print([type(answer).__name__ for answer in server.request_all("none", timeout=1).values()])
thread.join()
server.stop()
"""


def run(program: str, root: Path) -> tuple[list[str], list[str]]:
    """What a program printed, and its lines about unread failures; it may complain of nothing else."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, f"{root}/"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert not [line for line in lines if "Traceback" in line or "ignored" in line or "never retrieved" in line], lines
    return done.stdout.splitlines(), [line for line in lines if UNREAD in line]


def methods(lines: list[str]) -> list[str]:
    return sorted(line.partition("the request '")[2].partition("'")[0] for line in lines)


def test_on_asyncio_each_is_told_once_with_its_method_reason_and_peer(tmp_path: Path) -> None:
    printed, told = run(ASYNCIO, tmp_path)
    assert methods(told) == ["kept", "late", "left-to-the-end", "of-a-client", "of-a-server"]
    by_method = {methods([line])[0]: line for line in told}
    assert "RemoteError: there is no method 'of-a-server'" in by_method["of-a-server"]
    assert "Client 'world'" in by_method["of-a-server"] and "app.world" in by_method["of-a-server"]
    assert "Socket 1" in by_method["of-a-client"]
    assert "RequestTimeout: no answer to 'late' within 0.01 s" in by_method["late"]
    assert methods(printed) == ["kept", "late", "left-to-the-end", "of-a-server"]


def test_on_the_callback_front_they_are_in_its_own_log(tmp_path: Path) -> None:
    _, told = run(CALLBACKS, tmp_path)
    assert methods(told) == ["kept", "late", "of-a-client", "of-a-server"]


def test_the_blocking_front_raises_each_and_tells_none(tmp_path: Path) -> None:
    printed, told = run(BLOCKING, tmp_path)
    assert sorted(printed) == ["RemoteError", "RequestTimeout", "['RemoteError']"] and told == []


async def test_many_are_told_a_few_times_a_second_and_counted(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    async with (
        node_ipc.serve("world", socket_root=f"{tmp_path}/"),
        node_ipc.connect("world", socket_root=f"{tmp_path}/") as client,
    ):
        for _ in range(100):
            client.request("none")
        with pytest.raises(RemoteError):
            await client.request("none")
    told = [record.getMessage() for record in caplog.records if UNREAD in record.getMessage()]
    left_out = [record.getMessage() for record in caplog.records if "were left out" in record.getMessage()]
    assert len(told) == 5 and len(left_out) == 1 and left_out[0].startswith("95 more lines about RequestError")
