"""Pairs of processes that talk, of which one is under injection: started by ``injecting.py``, a fork for each.

    python talking.py       reads a case a line, as JSON, forks its two ends, and answers each step by a line of JSON

What an end was told, and what came of its messages, it leaves as JSON in the folder of its case: calls to the kernel
that fail must not hide what came of them, so that is written by a call that nobody fails.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import node_ipc
from node_ipc import ConnectionLost, IPCError, blocking
from node_ipc.core.session import Loss
from node_ipc.drivers.runner import loop_factory

DEADLINE = 60.0
"""Seconds that a pair may take; then it says where it hangs, and ends."""
UNDER_INJECTION = 77
"""What ``getsid`` gives as soon as strace is at work."""
PR_SET_PDEATHSIG, PR_SET_PTRACER = 1, 0x59616D61
"""Of prctl(2): who was forked ends with who forked it, and may be traced."""
EMITTED = 5
"""Events in a row, twice a round."""
LARGE = bytes(100_000)
"""What one event in five carries each way, beside its JSON, so that it goes out in parts."""
SETTINGS: dict[str, Any] = {"retry": 20, "silent": True}


class Told:
    """What one end was told, and what of its messages came."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.heard: dict[int, list[int]] = {}
        self.echoed: list[int] = []
        self.gone = 0
        """Messages that a lost link took with it, at the most."""
        self.wrong: list[str] = []

    def error(self, what: str, error: BaseException) -> None:
        code = error.code if isinstance(error, IPCError) else type(error).__name__
        os_code = error.os_code if isinstance(error, IPCError) else None
        self.words[f"{what} {code}" + (f" {os_code}" if os_code else "")] += 1

    def lost(self, loss: Loss) -> None:
        self.gone += loss.dropped + loss.in_flight + loss.unheard
        if loss.reason is not None:
            self.error("lost", loss.reason)


class Lines(logging.Handler):
    """The library's warnings count as told; more than a few of one fault do not."""

    def __init__(self, told: Told) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.words["warned"] += 1
        self._told.wrong += [record.getMessage()] if self._told.words["warned"] > 20 else []


# ---- what both fronts do alike


class Host:
    """A server of one round, or of all."""

    def __init__(self, told: Told, current: int | None) -> None:
        self.told, self.current = told, current
        self.is_over = False
        self.ended: Callable[[], None] = lambda: None

    def furnish(self, server: Any) -> None:
        server.on("event", self._event)
        server.on("error", lambda error, *_: self.told.error("error", error))
        server.on("close", lambda socket: self.told.lost(socket.loss))
        server.handle("hello", lambda: self.current)
        server.handle("heard", lambda number: [self.told.heard.get(number, []), self.told.gone])
        server.handle("bye", self._bye)

    def _event(self, data: Any, socket: Any) -> None:
        number, count, *large = data
        self.told.heard.setdefault(number, []).append(count)
        socket.emit("echo", [count, LARGE] if large else [count])

    def _bye(self, number: int) -> bool:
        if number == self.current:
            self.is_over = True
            self.ended()
        return True


class Guest:
    """A client of one round."""

    def __init__(self, told: Told, number: int) -> None:
        self.told, self.number = told, number
        self.echoed: list[int] = []
        self.gone_before = told.gone

    def furnish(self, client: Any) -> None:
        client.on("echo", lambda data: self.echoed.append(data[0]))
        client.on("error", lambda error: self.told.error("error", error))
        client.on("disconnect", self.told.lost)

    def emit(self, client: Any, first: int) -> None:
        for count in range(first, first + EMITTED):
            try:
                client.emit("event", [self.number, count, LARGE] if count == first else [self.number, count])
            except ConnectionLost as error:  # a blocking client waits until the kernel has it
                self.is_unanswered(error)

    def is_accounted(self, answer: Any) -> bool:
        """Whether what is not there was told; what is there, is there once and in order."""
        heard, gone_there = answer
        gone_here = self.told.gone - self.gone_before
        sent = range(2 * EMITTED)
        for came in (heard, self.echoed):
            if came != sorted(set(came)):
                self.told.wrong.append(f"round {self.number}: twice, or not in order: {came}")
        return (
            len(sent) - len(heard) <= gone_here + gone_there
            and len(heard) - len(self.echoed) <= gone_here + gone_there
            and set(self.echoed) <= set(heard)
        )

    def is_unanswered(self, error: Exception) -> None:
        self.told.error("asked", error)


# ---- asyncio and uvloop


async def host_in_loop(address: str, host: Host, began: Callable[[], object]) -> None:
    while True:
        try:
            server = await node_ipc.serve(address, **SETTINGS)
            break
        except IPCError as error:
            host.told.error("start", error)
            look_for_files(host.told, address)
    host.furnish(server)
    over = asyncio.Event()
    host.ended = over.set
    began()
    await over.wait()
    await server.stop(timeout=10)
    look_for_files(host.told, address)


async def visit_in_loop(address: str, guest: Guest, wait: bool) -> None:
    while True:
        try:
            client = await node_ipc.connect(address, wait=wait, **SETTINGS)
            break
        except IPCError as error:
            guest.told.error("attempt", error)
    guest.furnish(client)

    async def ask(method: str, *data: Any) -> Any:
        while True:
            try:
                return await client.request(method, *data, timeout=10)
            except (IPCError, OSError) as error:
                guest.is_unanswered(error)
                await asyncio.sleep(0.005)

    while (current := await ask("hello")) not in (None, guest.number):  # the server of the round before is ending
        assert current < guest.number
        await ask("bye", current)
    guest.emit(client, 0)
    await ask("hello")
    guest.emit(client, EMITTED)
    until = time.monotonic() + 10
    while not guest.is_accounted(answer := await ask("heard", guest.number)):
        if time.monotonic() > until:
            guest.told.wrong.append(f"round {guest.number}: {answer} heard, {guest.echoed} echoed, {guest.told.gone}")
            break
        await asyncio.sleep(0.01)
    try:
        await client.request("bye", guest.number, timeout=10)
    except (IPCError, OSError) as error:
        guest.is_unanswered(error)
    await client.close()


async def look_up(*arguments: Any, **options: Any) -> Any:
    return socket.getaddrinfo(*arguments, **options)


def in_loop(kind: str, told: Told, work: Coroutine[Any, Any, None]) -> bool:
    """Whether it came to its end: in a loop that cannot be made nothing does."""

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.wrong.append(str(context)))
        if kind == "asyncio":  # which looks up every address in a thread, whose calls strace counts apart
            loop.getaddrinfo = look_up  # type: ignore[method-assign]
        begun.append(True)
        await work

    begun: list[bool] = []
    try:
        with asyncio.Runner(loop_factory=loop_factory(kind)) as runner:
            runner.run(watched())
    except OSError as error:
        if begun:
            raise
        work.close()
        told.error("loop", error)
        return False
    return True


# ---- the caller's thread


def host_in_thread(address: str, host: Host, began: Callable[[], object]) -> None:
    while True:
        try:
            server = blocking.serve(address, **SETTINGS)
            break
        except IPCError as error:
            host.told.error("start", error)
            look_for_files(host.told, address)
    host.furnish(server)
    began()
    while not host.is_over:
        server.poll(0.05)
    server.stop(timeout=10)
    look_for_files(host.told, address)


def visit_in_thread(address: str, guest: Guest, wait: bool) -> None:
    while True:
        try:
            client = blocking.connect(address, wait=wait, **SETTINGS)
            break
        except IPCError as error:
            guest.told.error("attempt", error)
    guest.furnish(client)

    def ask(method: str, *data: Any) -> Any:
        while True:
            try:
                return client.request(method, *data, timeout=10)
            except (IPCError, OSError) as error:
                guest.is_unanswered(error)
                time.sleep(0.005)

    while (current := ask("hello")) not in (None, guest.number):
        assert current < guest.number
        ask("bye", current)
    guest.emit(client, 0)
    ask("hello")
    guest.emit(client, EMITTED)
    until = time.monotonic() + 10
    while not guest.is_accounted(answer := ask("heard", guest.number)):
        if time.monotonic() > until:
            guest.told.wrong.append(f"round {guest.number}: {answer} heard, {guest.echoed} echoed, {guest.told.gone}")
            break
        time.sleep(0.01)
    try:
        client.request("bye", guest.number, timeout=10)
    except (IPCError, OSError) as error:
        guest.is_unanswered(error)
    client.close()


# ---- an end


def look_for_files(told: Told, address: str) -> None:
    """What a start that failed and a server that stopped have left."""
    if address.startswith("/"):
        told.words.update(f"left {name}" for name in os.listdir(os.path.dirname(address)))


def talk(case: dict[str, Any], role: str, told: Told, began: Callable[[], object]) -> None:
    """All rounds of one end; the end that is not under injection serves them all at once, or waits for its server."""
    address, driver, rounds = case["address"], case["driver"], case["rounds"]
    is_injected = role == case["role"]
    if role == "server" and not is_injected:
        host = Host(told, None)
        host_in_thread(address, host, began) if driver == "thread" else in_loop(
            driver, told, host_in_loop(address, host, began)
        )
    for number in range(rounds):
        done = False
        while not done:
            if role == "server":
                host = Host(told, number)
                done = driver == "thread" or in_loop(driver, told, host_in_loop(address, host, began))
                if driver == "thread":
                    host_in_thread(address, host, began)
            else:
                guest = Guest(told, number)
                wait = not is_injected
                done = driver == "thread" or in_loop(driver, told, visit_in_loop(address, guest, wait))
                if driver == "thread":
                    visit_in_thread(address, guest, wait)


def descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor that listed them
            continue
    return found


def end(case: dict[str, Any], role: str, began: Callable[[], object] = lambda: None) -> None:
    """One end, from beginning to end; what came of it is in ``ROLE.json``."""
    control = ctypes.CDLL(None).prctl
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    control(PR_SET_PTRACER, ctypes.c_ulong(-1))  # where only ancestors may trace (Yama), strace may, too
    told = Told()
    folder = case["folder"]
    result = os.open(f"{folder}/{role}.json", os.O_WRONLY | os.O_CREAT)
    trace = open(f"{folder}/{role}.hangs", "w")  # noqa: SIM115 # until the process ends
    faulthandler.dump_traceback_later(DEADLINE, exit=True, file=trace)
    faulthandler.enable(trace)
    logging.getLogger("node_ipc").addHandler(Lines(told))
    sys.unraisablehook = lambda raised: told.wrong.append(f"{raised.exc_value!r} in {raised.object!r}")
    if role == case["role"]:
        while os.getsid(0) != UNDER_INJECTION:
            time.sleep(0.001)
    gc.collect()
    before = descriptors()
    try:
        talk(case, role, told, began)
    except BaseException as error:
        import traceback

        told.wrong.append("".join(traceback.format_exception(error)))
    gc.collect()
    told.wrong += [f"left open: {fd} {what}" for fd, what in descriptors().items() if before.get(fd) != what]
    if role == "server" and case["role"] == role and case["address"].startswith("/"):
        told.wrong += [f"left at the end: {name}" for name in os.listdir(os.path.dirname(case["address"]))]
    os.pwrite(result, json.dumps({"words": told.words, "wrong": told.wrong}).encode(), 0)
    faulthandler.cancel_dump_traceback_later()


def warm_up() -> None:
    """Import what is imported when it is used: a call that fails there would be Python's matter."""
    import tempfile

    for driver in ("asyncio", "uvloop"):
        for address in (f"{tempfile.mkdtemp()}/warm", "tcp://127.0.0.1:0"):

            async def both(address: str = address) -> None:
                async with node_ipc.serve(address, **SETTINGS) as server:
                    Host(Told(), None).furnish(server)
                    await visit_in_loop(str(server.address), Guest(Told(), 0), False)

            with asyncio.Runner(loop_factory=loop_factory(driver)) as runner:
                runner.run(both())


def main() -> None:
    warm_up()
    print(json.dumps({"native": node_ipc.native}), flush=True)
    while line := sys.stdin.readline():
        case = json.loads(line)
        other = "client" if case["role"] == "server" else "server"
        is_up, up = os.pipe()
        if not (partner := os.fork()):
            os.close(is_up)
            end(case, other, partial(os.write, up, b"\0"))
            return
        os.close(up)
        if other == "server":
            os.read(is_up, 1)
        os.close(is_up)
        if not (injected := os.fork()):
            end(case, case["role"])
            return
        print(json.dumps({"pid": injected}), flush=True)
        ended = os.waitstatus_to_exitcode(os.waitpid(injected, 0)[1])
        if other == "server":
            os.kill(partner, signal.SIGKILL)
        partner_ended = os.waitstatus_to_exitcode(os.waitpid(partner, 0)[1])
        print(json.dumps({"ended": ended, "partner": partner_ended}), flush=True)


main()
