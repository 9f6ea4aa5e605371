"""Node at the other end: a process that runs ``tests/peers/peer.js``, and the endpoints inside it.

A ``NodePeer`` is one Node process. It lives longer than a test (starting Node costs 100 ms), so it is attached to the
running loop of each test and detached at its end. A ``NodeEnd`` is one client or server inside that process; the test
emits from it and takes the events that it reported. Whatever is awaited has a deadline, and a failure shows what the
end had reported and what Node wrote to stderr.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .install import Peer

DEADLINE = 50.0
"""Seconds that anything awaited may take; it is long because a test machine may be busy."""

_COMMAND_LIMIT = 60_000  # a pipe holds 64 KiB: a longer command could block while Node blocks on its answers
ABSENT: Any = object()
"""Data left out: ``emit("message")``."""


@dataclass(frozen=True)
class Repeat:
    """A long text that is made at the end that emits it."""

    text: str
    times: int

    @property
    def value(self) -> str:
        return self.text * self.times


@dataclass(frozen=True)
class Digest:
    """What is told of a payload that is too long to tell: bytes and hash of its JSON."""

    length: int
    sha256: str

    @classmethod
    def of(cls, value: Any) -> Digest:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(len(text), hashlib.sha256(text).hexdigest())


@dataclass(frozen=True)
class Event:
    """One event as an end heard it."""

    type: str
    data: Any = ABSENT
    """The payload; ``bytes`` in raw mode, an ``Exception`` for a local error, a ``Digest`` where it is long."""
    socket: int | None = None
    """At a server: which connection, counted from 0 in the order they came."""
    id: Any = None
    """At a server: the id that the peer claimed, or the one that ``socket.disconnected`` carries."""
    sender: tuple[str, int] | None = None
    """At a UDP server: where the datagram came from."""


class ReportedError(Exception):
    """An ``Error`` that an event carried in Node."""

    def __init__(self, message: str, code: str | None) -> None:
        super().__init__(message)
        self.code = code


class Mailbox:
    """The events of one end that nobody has taken yet."""

    def __init__(self, owner: str, excuse: Callable[[], str] = str) -> None:
        self._owner = owner
        self._excuse = excuse
        self._waiting: list[Event] = []
        self._taker: tuple[str, asyncio.Future[Event]] | None = None
        self._broken: str | None = None

    def put(self, event: Event) -> None:
        if self._taker is not None and self._taker[0] == event.type and not self._taker[1].done():
            self._taker[1].set_result(event)
            return
        self._waiting.append(event)

    def close(self, reason: str) -> None:
        """There will be no more events: whoever waits fails at once."""
        self._broken = reason
        if self._taker is not None and not self._taker[1].done():
            self._taker[1].set_exception(AssertionError(self._complaint(self._taker[0], reason)))

    async def take(self, type: str, deadline: float = DEADLINE) -> Event:
        """The next event of this type; events of other types stay."""
        for index, event in enumerate(self._waiting):
            if event.type == type:
                return self._waiting.pop(index)
        if self._broken:
            raise AssertionError(self._complaint(type, self._broken))
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._taker = (type, future)
        try:
            return await asyncio.wait_for(future, deadline)
        except TimeoutError:
            raise AssertionError(self._complaint(type, f"{deadline} s are over")) from None
        finally:
            self._taker = None

    def types(self) -> list[str]:
        """The types of the events that wait, in the order they came."""
        return [event.type for event in self._waiting]

    def _complaint(self, type: str, reason: str) -> str:
        untaken = "\n".join(f"    {repr(event)[:300]}" for event in self._waiting[:20]) or "    nothing"
        return f"{self._owner}: no {type!r} event: {reason}\n  not taken:\n{untaken}\n{self._excuse()}"


class NodePeer:
    """One Node process; ``version`` is ``v9``, ``v10`` or ``v14``."""

    def __init__(self, peer: Peer) -> None:
        self.version = peer.version
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            peer.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ends: dict[int, NodeEnd] = {}
        self._unfinished = b""
        self.alive = True

    # ---- life ----

    def attach(self) -> None:
        """Read Node's reports in the running loop."""
        asyncio.get_running_loop().add_reader(self._stdout.fileno(), self._readable)

    def detach(self) -> None:
        """Read no more; the loop may end."""
        asyncio.get_running_loop().remove_reader(self._stdout.fileno())
        self._ends.clear()
        self._answers.clear()

    async def reset(self) -> None:
        """Close every endpoint inside."""
        await self.ask("reset")

    def kill(self) -> None:
        """``kill -9``, and wait until the process is gone."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.alive = False

    def close(self) -> None:
        """End the process in any case; afterwards nothing of it is left."""
        self.kill()
        for file in (self._stdin, self._stdout, self._stderr):
            file.close()

    def stderr(self) -> str:
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace").strip()
        return f"  stderr of {self.version}:\n{text[-4000:]}" if text else f"  stderr of {self.version}: nothing"

    # ---- commands and reports ----

    async def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        line = json.dumps({"n": number, "cmd": command, **fields}).encode() + b"\n"
        assert len(line) <= _COMMAND_LIMIT, f"a command of {len(line)} bytes: emit a Repeat instead"
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._stdin.write(line)
            self._stdin.flush()
            reply = await asyncio.wait_for(answer, DEADLINE)
        except (TimeoutError, BrokenPipeError) as error:
            raise AssertionError(f"{self.version} did not answer {command!r}: {error!r}\n{self.stderr()}") from None
        if "error" in reply:
            raise ReportedError(reply["error"], reply.get("code"))
        return reply

    def open(self, command: str, **fields: Any) -> NodeEnd:
        """A new endpoint; ``await end.opened()`` waits until it is there."""
        number = next(self._numbers)
        end = self._ends[number] = NodeEnd(self, number, command, fields)
        return end

    def _readable(self) -> None:
        chunk = os.read(self._stdout.fileno(), 256 * 1024)
        if not chunk:
            self._ended()
            return
        *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
        for line in lines:
            self._report(json.loads(line))

    def _report(self, line: dict[str, Any]) -> None:
        if "answer" in line:
            answer = self._answers.pop(line["answer"], None)
            if answer is not None and not answer.done():
                answer.set_result(line)
        elif "end" in line and line["end"] in self._ends:
            self._ends[line["end"]].heard(line)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._stdout.fileno())
        self.alive = False
        reason = f"the Node process has ended\n{self.stderr()}"
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AssertionError(reason))
        for end in self._ends.values():
            end.events.close(reason)


class NodeEnd:
    """A client or a server of node-ipc, in its process."""

    def __init__(self, peer: NodePeer, number: int, command: str, fields: dict[str, Any]) -> None:
        self.peer = peer
        self.kind = peer.version
        self.address: dict[str, Any] = {}
        self.events = Mailbox(f"{peer.version} ({command})", peer.stderr)
        self._number = number
        self._opening = (command, fields)

    async def opened(self) -> NodeEnd:
        command, fields = self._opening
        self.address = (await self._ask(command, **fields)).get("address", {})
        return self

    async def emit(
        self, type: str, data: Any = ABSENT, *, to: int | None = None, peer: tuple[str, int] | None = None
    ) -> None:
        """Emit; a server says ``to`` which connection, a UDP server to which ``peer``."""
        await self._ask("emit", type=type, **_payload(data), **_recipient(to, peer))

    async def send(self, data: bytes | str, *, to: int | None = None, peer: tuple[str, int] | None = None) -> None:
        """Emit in raw mode; a ``str`` is put into bytes by node-ipc's ``encoding``."""
        await self._ask("emit", **_payload(data), **_recipient(to, peer))

    async def broadcast(self, type: str, data: Any = ABSENT) -> None:
        await self._ask("broadcast", type=type, **_payload(data))

    async def burst(self, type: str, count: int, *, to: int | None = None) -> None:
        """Emit ``{"n": 0}``, ``{"n": 1}`` … in one go."""
        await self._ask("burst", type=type, count=count, **_recipient(to, None))

    async def expect_burst(self, type: str, total: int) -> None:
        """Count events of this type; ``counted`` is reported when all came."""
        await self._ask("count", type=type, total=total)

    async def event(self, type: str) -> Event:
        """The next event of this type, or an AssertionError after ``DEADLINE``."""
        return await self.events.take(type)

    async def disconnect(self) -> None:
        await self._ask("disconnect")

    async def drop(self, socket: int) -> None:
        """At a server: end this connection."""
        await self._ask("drop", to=socket)

    async def stop(self) -> None:
        """At a server: stop listening and end every connection."""
        await self._ask("stop")

    async def kill(self) -> None:
        """``kill -9`` of the process that this end is in; it is gone afterwards."""
        self.peer.kill()

    def heard(self, line: dict[str, Any]) -> None:
        sender = line.get("sender")
        self.events.put(
            Event(
                line["event"],
                _reported_data(line),
                line.get("socket"),
                line.get("id"),
                (sender["address"], sender["port"]) if sender else None,
            )
        )

    async def _ask(self, command: str, **fields: Any) -> dict[str, Any]:
        return await self.peer.ask(command, end=self._number, **fields)


def _payload(data: Any) -> dict[str, Any]:
    if data is ABSENT:
        return {}
    if isinstance(data, bytes):
        return {"hex": data.hex()}
    if isinstance(data, Repeat):
        return {"repeat": [data.text, data.times]}
    return {"data": data}


def _recipient(to: int | None, peer: tuple[str, int] | None) -> dict[str, Any]:
    if peer is not None:
        return {"peer": {"address": peer[0], "port": peer[1]}}
    return {} if to is None else {"to": to}


def _reported_data(line: dict[str, Any]) -> Any:
    if "hex" in line:
        return bytes.fromhex(line["hex"])
    if "error" in line:
        return ReportedError(line["error"], line.get("code"))
    if "sha256" in line:
        return Digest(line["length"], line["sha256"])
    return line.get("data", ABSENT)
