"""A signal ends what waits in a loop, also where it does not wake the kernel's wait; and leaves no trace of itself."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop

import node_ipc
from node_ipc.drivers import signals
from node_ipc.drivers.signals import awake, told_to_end
from processes import Program

TESTS = str(Path(__file__).parents[1])
SIGNALS = [signal.SIGINT, signal.SIGTERM]
PROGRAMS = {
    "run": """
async def main():
    await asyncio.Event().wait()
node_ipc.run(main(), loop="asyncio")
""",
    "run, closing": """
async def closes():
    try:
        yield
    finally:
        await asyncio.sleep(600)
async def main():
    await anext(closing)
closing = closes()
node_ipc.run(main(), loop="asyncio")
""",
    "callbacks": """
ipc = node_ipc.IPC(node_ipc.Config(silent=True))
ipc.serve(sys.argv[2])
ipc.server.start()
ipc.run()
""",
}
CODES = {
    ("run", "SIGINT"): -signal.SIGINT,
    ("run", "SIGTERM"): 0,
    ("run, closing", "SIGINT"): -signal.SIGINT,
    ("callbacks", "SIGINT"): 0,
    ("callbacks", "SIGTERM"): 0,
}
"""How each ends; SIGTERM while the loop closes is the user's own again."""


@pytest.mark.parametrize(("front", "name"), CODES)
def test_a_loop_that_sleeps_hears_a_signal_that_does_not_wake_it(tmp_path: Path, front: str, name: str) -> None:
    begin = f"import asyncio, asleep, node_ipc, signal, sys\nasleep.arrange(signal.{name})\n"
    program = Program.python("-c", begin + PROGRAMS[front], name, f"{tmp_path}/s", PYTHONPATH=TESTS)
    try:
        program.ends(CODES[front, name])
    finally:
        program.close()


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])
@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_there_before_is_put_back(kind: type[asyncio.AbstractEventLoop], number: signal.Signals) -> None:
    heard: list[str] = []
    before = [signal.getsignal(each) for each in SIGNALS]
    runner = asyncio.Runner(loop_factory=kind)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with told_to_end(loop, lambda: heard.append("inner")):
            signal.raise_signal(number)
            await asyncio.sleep(0.01)
        signal.raise_signal(number)
        await asyncio.sleep(0.01)

    with told_to_end(runner.get_loop(), lambda: heard.append("outer")), runner:
        runner.run(main())
    assert heard == ["inner", "outer"]
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_the_handler_of_a_program_is_its_own_again_after_run() -> None:
    def mine(*_: object) -> None: ...

    async def main() -> bool:
        return signal.getsignal(signal.SIGTERM) is mine

    before = signal.signal(signal.SIGTERM, mine)
    try:
        assert node_ipc.run(main()) is False
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_descriptor_of_somebody_else_stays_in_its_place() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
        with awake(loop):
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.wait_for(heard.wait(), 20)
        heard.clear()
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.wait_for(heard.wait(), 20)

    heard = asyncio.Event()
    asyncio.run(main())


def test_other_threads_have_no_signals() -> None:
    async def main() -> None:
        with told_to_end(asyncio.get_running_loop(), lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[object] = []
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join(20)
    assert seen == [before]


BLOCKED = {
    "run": """
async def main():
    async with node_ipc.serve(f"unix:{sys.argv[1]}"):
        block()
node_ipc.run(main(), loop=sys.argv[2])
""",
    "callbacks": """
ipc = node_ipc.IPC(node_ipc.Config(silent=True))
ipc.serve(sys.argv[1], block)
ipc.server.start()
ipc.run(loop=sys.argv[2])
""",
}
CLEANING = """
async def main():
    try:
        await asyncio.Event().wait()
    finally:
        block()
async def tell():
    print("up", flush=True)
async def both():
    await asyncio.gather(main(), tell())
node_ipc.run(both(), loop=sys.argv[2])
"""
BLOCKING = """
import asyncio, sys, time, node_ipc
from node_ipc.drivers import signals
signals.STUCK_SECONDS = signals.STARVED_SECONDS = 0.05
def block(*_):
    print("blocked", flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("front", BLOCKED)
def test_a_loop_that_is_held_up_is_told_of_and_the_next_signal_ends_the_program(
    tmp_path: Path, front: str, number: signal.Signals, loop: str
) -> None:
    program = Program.python("-c", BLOCKING + BLOCKED[front], f"{tmp_path}/s", loop)
    try:
        program.wait_for("blocked")
        program.process.send_signal(number)
        said = program.wait_for("the event loop has had no turn since")
        assert said.startswith(f"node_ipc: {number.name} came 0.1 s ago") and "Once more ends" in said
        program.process.send_signal(number)
        program.ends(0 if number is signal.SIGTERM else -signal.SIGINT)
    finally:
        program.close()


def test_a_clean_up_that_holds_the_loop_up_is_ended_by_the_signal_that_comes_behind_the_line(tmp_path: Path) -> None:
    program = Program.python("-c", BLOCKING + CLEANING, f"{tmp_path}/s", "asyncio")
    try:
        program.wait_for("up")
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("blocked")
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("the event loop has had no turn since")
        program.process.send_signal(signal.SIGTERM)
        program.ends(0)
    finally:
        program.close()


def test_a_loop_that_comes_to_a_signal_is_told_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signals, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(signals, "STARVED_SECONDS", 600.0)
    heard: list[int] = []

    async def main() -> None:
        asked = signals.Asked(asyncio.get_running_loop())
        for number in range(3):
            asked.ask(signal.SIGINT, heard.append, number)
        await asyncio.sleep(0)
        assert heard == [0, 1, 2] and not asked.is_stuck
        asked.ask(signal.SIGINT, heard.append, 3)
        assert asked.is_stuck
        await asyncio.sleep(0)
        assert heard[3:] == [3] and not asked.is_stuck

    asyncio.run(main())
    assert capfd.readouterr().err == ""


def test_a_signal_that_comes_into_anothers_asking_leaves_one_who_watches(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signals, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(signals, "STARVED_SECONDS", 0.0)
    watched: list[tuple[Any, ...]] = []
    monkeypatch.setattr("_thread.start_new_thread", lambda watch, arguments: watched.append((watch, *arguments)))
    clock = time.monotonic

    def interrupted() -> float:
        monkeypatch.setattr(time, "monotonic", clock)
        asked.ask(signal.SIGTERM, lambda: None)
        return clock()

    loop = asyncio.new_event_loop()
    asked = signals.Asked(loop)
    monkeypatch.setattr(time, "monotonic", interrupted)
    asked.ask(signal.SIGINT, lambda: None)
    for watch, *arguments in watched:
        watch(*arguments)
    loop.close()
    assert len(watched) == 2 and capfd.readouterr().err.count("has had no turn") == 1


def test_a_signal_behind_the_last_turn_of_a_loop_is_told_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    watched: list[tuple[Any, ...]] = []
    monkeypatch.setattr("_thread.start_new_thread", lambda watch, arguments: watched.append((watch, *arguments)))
    monkeypatch.setattr(signals, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(signals, "STARVED_SECONDS", 0.0)
    loop = asyncio.new_event_loop()
    with signals.told_to_end(loop, pytest.fail):
        signal.raise_signal(signal.SIGTERM)
    ((watch, *arguments),) = watched
    watch(*arguments)
    loop.close()
    assert capfd.readouterr().err == ""


def test_a_closed_loop_is_asked_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    asked = signals.Asked(loop)
    asked.ask(signal.SIGINT, pytest.fail)
    assert not asked.is_stuck
