"""``node-ipc doctor nats://…``: is the broker there, does it take us, and who is on it?

It connects twice, as two servers would. What one of them says under a subject of its own the other has to hear; and for
a little more than a heartbeat it listens who is there. Nobody hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..cluster.engines import bus_of
from ..cluster.keeper import why_unreachable
from ..cluster.messages import Beat, Bye, Hello, Subjects, decode
from ..config.config import Config
from ..core.seam import nothing
from ..errors import ProtocolError
from .output import counted

__all__ = ["is_broker", "visit"]

SCHEMES = ("nats:", "redis:", "rediss:")
"""URLs of brokers; ``tls:`` is a server of ours, so a NATS with TLS is ``nats://…?ca=…`` here."""
LISTEN_BEATS = 1.2
"""Of who is there each is heard in that time."""


def is_broker(address: str) -> bool:
    return address.lower().startswith(SCHEMES)


async def visit(place: str, config: Config, timeout: float) -> tuple[bool, list[str]]:
    """Whether a server gets in and is heard, and what there is to say, without secrets.

    Raises :class:`ConfigError` for what is no URL of a broker, or where what it needs is not installed.
    """
    bus = Config(bus=place).bus
    group = config.appspace if config.bus_group is None else config.bus_group
    subjects = Subjects(group)
    async with contextlib.AsyncExitStack() as stack:
        hearing, saying = bus_of(bus), bus_of(bus)
        trying = hearing
        try:
            async with asyncio.timeout(timeout):
                limit = await stack.enter_async_context(_end(hearing, ear := _Ear()))
                trying = saying
                await stack.enter_async_context(_end(saying, _Ear()))
        except Exception as error:
            return False, [f"a server does NOT get in: {why_unreachable(trying, error)}"]
        took = await _echo(hearing, ear, saying, subjects, timeout)
        if isinstance(took, str):
            return False, [f"a server gets in at {hearing.health()}, and its messages do NOT come through: {took}"]
        size = "messages of any size" if limit is None else f"messages of up to {limit:,} bytes ({hearing.size_option})"
        nodes = await _who(hearing, ear, subjects, config.bus_heartbeat / 1000)
        return True, [
            f"a server gets in at {hearing.health()}: it takes {size}, and what one says the other hears "
            f"{1000 * took:.1f} ms later",
            _there(group, nodes),
        ]


class _Ear:
    """What comes goes to whoever listens at that moment."""

    def __init__(self) -> None:
        self.listener: Callable[[bytes], None] = nothing
        self.ended: Exception | None = None

    def heard(self, subject: str, data: bytes) -> None:
        self.listener(data)

    def writable(self) -> None: ...
    def missed(self) -> None: ...
    def lost(self, error: Exception | None) -> None:
        self.ended = error or ConnectionError("the broker ended the connection")


@contextlib.asynccontextmanager
async def _end(bus: Any, ear: _Ear) -> AsyncIterator[int | None]:
    limit = await bus.connect(ear)
    try:
        yield limit
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1):
                await bus.close()


async def _echo(hearing: Any, ear: _Ear, saying: Any, subjects: Subjects, timeout: float) -> float | str:
    """The seconds from one to the other, under a subject as servers have them; or why it does not come."""
    came = asyncio.Event()
    subject = subjects.node(f"doctor-{secrets.token_hex(6)}")
    ear.listener = lambda data: came.set()
    try:
        async with asyncio.timeout(timeout):
            hearing.subscribe(subject)
            await hearing.confirm()
            began = time.perf_counter()
            saying.publish(subject, b"[]")
            await came.wait()
            return time.perf_counter() - began
    except TimeoutError:
        return (
            f"nothing came within {timeout:g} s. The broker may not let this user publish or subscribe to what begins "
            f"with {subject.rpartition('.node.')[0]!r}: see its permissions"
        )
    except Exception as error:
        return str(ear.ended or error)


async def _who(hearing: Any, ear: _Ear, subjects: Subjects, beat: float) -> dict[str, int]:
    """The servers of the group that are heard, with the number of their sockets."""
    found: dict[str, int] = {}

    def heard(data: bytes) -> None:
        with contextlib.suppress(ValueError, ProtocolError):
            message = decode(data)
            if isinstance(message, (Beat, Hello)) and message.member:
                found[message.node] = message.sockets
            elif isinstance(message, Bye):
                found.pop(message.node, None)

    ear.listener = heard
    hearing.subscribe(subjects.everybody)
    await asyncio.sleep(LISTEN_BEATS * beat)
    return found


def _there(group: str, nodes: dict[str, int]) -> str:
    if not nodes:
        return (
            f"no server of the group {group!r} is heard there; -o bus_group=… or -o appspace=… looks for another, and "
            "-o bus_heartbeat=… listens for longer"
        )
    return f"{counted(len(nodes), 'server')} of the group {group!r}, with {counted(sum(nodes.values()), 'socket')}"
