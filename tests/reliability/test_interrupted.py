"""Row 60: after an exception out of the middle of sending or receiving the link is not trusted any more."""

from __future__ import annotations

import asyncio
import contextlib
import dis
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import node_ipc
from node_ipc import ClientState, ConnectionLost, Loss, ReceiveTimeout, blocking

PROGRAM = Path(__file__).with_name("interrupted_program.py")
SECONDS = 4.0

if sys.platform == "win32":
    pytest.skip("Windows has no interval timers", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.row(60)
@pytest.mark.parametrize("transport", ["unix", "tcp"])
async def test_a_timer_that_raises_at_any_step_loses_nothing_untold(transport: str, tmp_path: Path) -> None:
    address = "world" if transport == "unix" else "tcp://127.0.0.1:0"
    came: dict[int, list[int]] = defaultdict(list)  # by link: two of them are read in any order
    sent = told = 0

    def up(data: int, socket: Any) -> None:
        came[socket.id].append(data)

    def lost(socket: Any) -> None:
        nonlocal told
        told += socket.loss.dropped + socket.loss.in_flight

    async with node_ipc.serve(address, socket_root=f"{tmp_path}/", silent=True) as server:
        server.on("up", up)
        server.on("socket.disconnected", lost)
        where = f"unix:{tmp_path}/app.world" if transport == "unix" else str(server.address)
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), where, str(SECONDS), stdout=asyncio.subprocess.PIPE
        )
        said = asyncio.ensure_future(program.communicate())
        while not said.done():
            for socket in server.sockets:
                if socket.is_open and socket.pending_bytes < 100_000:
                    sent += 1
                    socket.emit("down", sent)
            await asyncio.sleep(0)
        output, _ = said.result()
        while server.sockets:
            await asyncio.sleep(0.01)
    assert program.returncode == 0
    counts = json.loads(output)
    heard = counts["heard"]
    numbers = [number for link in came.values() for number in link if number]
    print({**counts, "heard": len(heard), "came": len(numbers), "sent": sent, "told by the server": told})
    assert counts["interrupts"] > 100
    assert counts["links"] > 10
    assert all(link == sorted(link) for link in ([n for n in link if n] for link in came.values())), "out of order"
    assert len(numbers) == len(set(numbers)), "twice"
    assert heard == sorted(set(heard)), "twice, or out of order"
    assert len(numbers) + counts["told"] + counts["interrupts"] >= counts["emitted"]
    assert len(heard) + told + counts["unheard"] + counts["failed"] >= sent


# ---- the same at each step in turn, in this process

REPEATS = os.environ.get("NIGHTLY") == "repeats"
APART = 3 if REPEATS else 13
POINTS = range(0, 40_000, APART)
"""Which steps; far more than there are: the last ones come after the end."""
AT_ONCE = 5.0


class Alarm(Exception):
    """What a signal's handler raises."""


class Bell:
    """Raises at the step of this number, where the interpreter looks for signals: behind calls, at the beginning of a
    function and of each round of a loop. It is a signal's handler as well, so that it is known as one."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.rang = ""

    def __call__(self, frame: FrameType, event: str, argument: object) -> Bell | None:
        if event == "call":
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode" and frame.f_lasti in places_of(frame.f_code):
            self.left -= 1
            if self.left < 0 and not self.rang:
                self.rang = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                raise Alarm
        return self


@cache
def places_of(code: CodeType) -> frozenset[int]:
    """Kept from bell to bell: to find them takes longer than what is interrupted."""
    steps = list(dis.get_instructions(code))
    places = [after.offset for before, after in itertools.pairwise(steps) if before.opname in LOOKS_FOR_SIGNALS]
    # A call that the loop was to make and that does not come to its first step is gone: asyncio does not repeat it, and
    # says itself that such handlers are not for it.
    first = 1 if code.co_qualname in ("EventLoopDriver._run_due", "EventLoopDriver._end_turn") else 0
    return frozenset(places[first:])


LOOKS_FOR_SIGNALS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD"}
OURS = os.path.dirname(node_ipc.__file__) + os.sep


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[tuple[str, dict[int, list[int]]]]:
    """A server in a thread of its own: it sends each number back, and ends the link when it is told to."""
    came: dict[int, list[int]] = defaultdict(list)
    server: blocking.BlockingServer

    def up(data: int, socket: Any) -> None:
        came[socket.id].append(data)
        socket.emit("down", data)

    def serve() -> None:
        nonlocal server
        server = blocking.serve("world", socket_root=f"{tmp_path}/", silent=True)
        server.on("up", up)
        server.on("cut", lambda data, socket: socket.close())
        listens.set()
        server.serve_forever()

    listens = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    assert listens.wait(AT_ONCE)
    yield f"{tmp_path}/app.world", came
    server.shutdown()
    thread.join()


class Interrupted:
    """A program whose calls are interrupted once, and which goes on with the next."""

    def __init__(self, address: str) -> None:
        self.told = 0
        self.heard: list[int] = []
        self.in_doubt: set[int] = set()
        self.client = blocking.connect(address, timeout=AT_ONCE, retry=1, retry_growth=1, silent=True)
        self.client.on("disconnect", self._lost)
        self.client.on("error", lambda error: None)

    def _lost(self, loss: Loss) -> None:
        self.told += loss.dropped + loss.in_flight

    def say(self, number: int) -> None:
        try:
            self.client.emit("up", number)
        except (Alarm, ConnectionLost):
            self.in_doubt.add(number)
        try:
            self.heard.append(self.client.receive("down", timeout=AT_ONCE if number not in self.in_doubt else 0.01))
        except (Alarm, ConnectionLost, ReceiveTimeout):
            self.in_doubt.add(number)

    def meet_the_end(self) -> None:
        for step in (
            lambda: self.client.emit("cut"),
            lambda: self.client.drain(AT_ONCE),
            lambda: self.until(lambda: self.client.state is not ClientState.CONNECTED),
            lambda: self.until(lambda: self.client.state is ClientState.CONNECTED),
        ):
            with contextlib.suppress(Alarm, ConnectionLost):
                step()

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 0.2
        while not done() and time.monotonic() < deadline:
            self.client.poll(0.01)

    def speak_until_heard(self) -> None:
        """A message may still meet the link's end, which is told; one after it does not."""
        for number in range(10, 20):
            self.client.emit("up", number)
            with contextlib.suppress(ReceiveTimeout):
                while (heard := self.client.receive("down", timeout=AT_ONCE / 5)) < number:
                    self.heard.append(heard)
                self.heard.append(heard)
                return
        raise AssertionError("it says nothing any more")

    def run(self) -> None:
        self.say(1)
        self.say(2)
        self.meet_the_end()
        self.say(3)


class InterruptedOnALoop:
    """The same on the asyncio front: what is raised in a call of the loop's goes to the loop's handler."""

    def __init__(self, address: str) -> None:
        self.told = 0
        self.heard: list[int] = []
        self.in_doubt: set[int] = set()
        self._address = address

    async def run(self, bell: Bell) -> None:
        asyncio.get_running_loop().set_exception_handler(_pass_alarms)
        self.client = await node_ipc.connect(self._address, timeout=AT_ONCE, retry=1, retry_growth=1, silent=True)
        self.client.on("disconnect", self._lost)
        self.client.on("error", lambda error: None)
        sys.settrace(bell)
        try:
            await self._work()
        finally:
            sys.settrace(None)
        await self._speak_until_heard()
        await self.client.close()

    def _lost(self, loss: Loss) -> None:
        self.told += loss.dropped + loss.in_flight

    async def _work(self) -> None:
        await self._say(1)
        await self._say(2)
        with contextlib.suppress(Alarm, ConnectionLost):
            self.client.emit("cut")
        for done in (
            lambda: self.client.state is not ClientState.CONNECTED,
            lambda: self.client.state is ClientState.CONNECTED,
        ):
            with contextlib.suppress(Alarm):  # also to ask for the state is a step
                await self._until(done)
        await self._say(3)

    async def _say(self, number: int) -> None:
        try:
            self.client.emit("up", number)
        except (Alarm, ConnectionLost):
            self.in_doubt.add(number)
        try:
            seconds = 0.2 if number not in self.in_doubt else 0.01
            self.heard.append(await self.client.receive("down", timeout=seconds))
        except (Alarm, ConnectionLost, ReceiveTimeout):
            self.in_doubt.add(number)

    async def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 0.2
        while not done() and time.monotonic() < deadline:
            await asyncio.sleep(0.001)

    async def _speak_until_heard(self) -> None:
        for number in range(10, 20):
            self.client.emit("up", number)
            with contextlib.suppress(ReceiveTimeout):
                while (heard := await self.client.receive("down", timeout=AT_ONCE / 5)) < number:
                    self.heard.append(heard)
                self.heard.append(heard)
                return
        raise AssertionError("it says nothing any more")


def _pass_alarms(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Alarm):
        loop.default_exception_handler(context)


# A socket or coroutine that was made at this very step is closed by whoever frees it, which Python warns of.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.lane(name="repeats")
@pytest.mark.timeout(900 if REPEATS else 120)
@pytest.mark.row(60)
@pytest.mark.parametrize("front", ["blocking", "asyncio"])
def test_whatever_step_a_signals_handler_raises_at(front: str, echo: tuple[str, dict[int, list[int]]]) -> None:
    """Nothing is lost untold, nothing comes twice, and the client works afterwards."""
    address, came = echo
    before = signal.getsignal(signal.SIGUSR1)
    rang = 0
    try:
        for point in POINTS:
            bell = Bell(point)
            signal.signal(signal.SIGUSR1, bell)  # type: ignore[arg-type]  # never sent: only looked at
            check_interrupted(front, address, came, bell)
            if not bell.rang:
                break
            rang += 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert rang * APART > 600, f"{rang} steps only, of {rang * APART}"


def check_interrupted(front: str, address: str, came: dict[int, list[int]], bell: Bell) -> None:
    came.clear()
    program: Interrupted | InterruptedOnALoop
    if front == "asyncio":
        program = InterruptedOnALoop(address)
        asyncio.run(program.run(bell))
    else:
        program = Interrupted(address)
        sys.settrace(bell)
        try:
            program.run()
        finally:
            sys.settrace(None)
        program.speak_until_heard()
        program.client.close()
    numbers = [number for link in tuple(came.values()) for number in link]
    assert len(numbers) == len(set(numbers)), (bell.rang, numbers)
    assert program.heard == sorted(set(program.heard)), (bell.rang, program.heard)
    missing = {1, 2, 3} - set(numbers) - program.in_doubt
    assert len(missing) <= program.told, (bell.rang, missing, program.told)
