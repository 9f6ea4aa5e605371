"""Redis or Valkey, by redis-py: a channel for each subject, over pub/sub.

Two connections: one that hears and one that speaks. The second gets all that this node says, in order, and the answers
of ``PUBLISH`` say how many heard it. redis-py's own reconnecting is not used: what is lost meanwhile it would not tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, RedisError, ResponseError

from ..core.seam import nothing
from ..errors import ConfigError
from .broker_url import TLS_FILES, query_of, readable, tls_context
from .pump import Pump

if TYPE_CHECKING:
    from ..config.bus_options import BusPlace
    from .bus import Hears

__all__ = ["RedisBus", "make"]

PING_SECONDS = 5.0
PATIENCE_SECONDS = 12.0
"""A connection on which nothing came for so long, not even the answer to a ping, is lost."""
LARGEST = 512 * 1024 * 1024
"""Bytes in a message where Redis does not tell this user its ``proto-max-bulk-len``, which that is by default."""


class RedisBus:
    """A node's two connections to Redis."""

    name = "redis"
    size_option = "proto-max-bulk-len of redis-server"
    has_groups = False

    def __init__(self, place: BusPlace) -> None:
        self._place = place
        self._pool, self._tls = _pool(place.url)
        self._hears: Hears
        self._ear: AbstractConnection | None = None
        self._mouth: AbstractConnection | None = None
        self._speaking: Pump[tuple[Any, ...]]
        self._listening: Pump[tuple[Any, ...]]
        self._answers: deque[Callable[[], None] | None] = deque()
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self._is_taken = False
        self.silence = ""
        """That somebody took a connection and said nothing, where an attempt ended for lack of time."""

    async def connect(self, hears: Hears) -> int | None:
        await self.close()
        ear, mouth = self._connection(), self._connection()
        self.silence, self._is_taken, began = "", False, asyncio.get_running_loop().time()
        try:
            await ear.connect()  # type: ignore[no-untyped-call]
            await mouth.connect()  # type: ignore[no-untyped-call]
            largest = await _largest(mouth)
        except BaseException as failure:
            if self._is_taken and isinstance(failure, asyncio.CancelledError):
                waited = asyncio.get_running_loop().time() - began
                self.silence = (
                    f"it takes connections and answered nothing within {waited:.1f} s: is it Redis, and not stopped?"
                )
            await _close(ear, mouth)
            if isinstance(failure, InvalidResponse):
                said = str(failure).removeprefix("Protocol Error: ")
                raise ConnectionError(f"what answers there does not speak as Redis does: {said:.80}") from failure
            raise
        self._hears, self._ear, self._mouth = hears, ear, mouth
        self._answers.clear()
        self._pongs.clear()
        self._heard_at = asyncio.get_running_loop().time()
        self._speaking = Pump(partial(_send, mouth), hears.writable)
        self._listening = Pump(partial(_send, ear), nothing)  # they are few and small: nobody waits for them
        for work in (
            self._speaking.run(),
            self._listening.run(),
            self._hear(ear),
            self._hear_answers(mouth),
            self._watch(),
        ):
            task = asyncio.create_task(work)
            task.add_done_callback(self._done)
            self._tasks.append(task)
        return largest

    def _connection(self) -> AbstractConnection:
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        made.redis_connect_func = self._greet
        if self._tls is not None:
            made.ssl_context.context = self._tls  # type: ignore[attr-defined]  # redis-py's own trusts more than ``ca``
        return made

    async def _greet(self, connection: AbstractConnection) -> None:
        """Somebody took it; what redis-py says first, which is to be answered."""
        self._is_taken = True
        await connection.on_connect()
        self._is_taken = False

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task not in self._tasks:
            return
        error = task.exception()
        self._lost(error if isinstance(error, Exception) else None)

    def _lost(self, error: Exception | None) -> None:
        if self._ear is not None:
            ear, mouth, self._ear, self._mouth = self._ear, self._mouth, None, None
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            for pong in self._pongs:
                if not pong.done():
                    pong.set_exception(ConnectionError("Redis is gone"))
                    pong.exception()  # some have nobody who waits
            assert mouth is not None
            self._ending = asyncio.create_task(_close(ear, mouth))
            self._hears.lost(error)

    # ---- out

    def publish(self, subject: str, data: bytes) -> bool:
        return self._say(subject, data, None)

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        self._say(subject, data, unheard)

    def _say(self, subject: str, data: bytes, unheard: Callable[[], None] | None) -> bool:
        if self._mouth is None:
            raise ConnectionError("Redis is gone")
        self._answers.append(unheard)
        return self._speaking.put(("PUBLISH", subject, data), len(data))

    def subscribe(self, subject: str, group: str = "") -> None:
        self._listen("SUBSCRIBE", subject)

    def unsubscribe(self, subject: str) -> None:
        self._listen("UNSUBSCRIBE", subject)

    def _listen(self, *command: str) -> None:
        if self._ear is None:
            raise ConnectionError("Redis is gone")
        self._listening.put(command)

    async def confirm(self) -> None:
        """What was subscribed is heard when the ping behind it is answered, and all is published when that is."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[None] = loop.create_future()
        said: asyncio.Future[None] = loop.create_future()
        self._listen("PING")
        self._pongs.append(heard)
        self._answers.append(lambda: None if said.done() else said.set_result(None))
        self._speaking.put(("PUBLISH", "node_ipc.nobody", b""))
        await asyncio.gather(heard, said)

    # ---- in

    async def _hear(self, ear: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await ear.read_response(timeout=math.inf)
            self._heard_at = loop.time()
            kind = message[0] if isinstance(message, list) else None
            if kind == b"message":
                self._hears.heard(message[1].decode(), message[2])
            elif (kind == b"pong" or message == b"PONG") and self._pongs:
                pong = self._pongs.popleft()
                if not pong.done():
                    pong.set_result(None)

    async def _hear_answers(self, mouth: AbstractConnection) -> None:
        while True:
            answer = await mouth.read_response(timeout=math.inf)
            unheard = self._answers.popleft()
            if unheard is not None and answer == 0:
                unheard()

    async def _watch(self) -> None:
        """Redis does not say that it is gone where a network was cut."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PING_SECONDS)
            self._pongs.append(loop.create_future())
            self._listen("PING")
            if loop.time() - self._heard_at > PATIENCE_SECONDS:
                raise ConnectionError(f"nothing came from Redis for {PATIENCE_SECONDS:g} s")

    def health(self) -> str:
        return str(self._place)

    async def close(self) -> None:
        ear, mouth, self._ear, self._mouth = self._ear, self._mouth, None, None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if ear is not None and mouth is not None:
            await _close(ear, mouth)
        if self._ending is not None:
            await self._ending
            self._ending = None


REDIS_OPTIONS = (
    *("db", "client_name", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password"),
    *("ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"),
)
"""What redis-py calls what a URL's query may say, besides our own names for TLS."""


def _pool(url: str) -> tuple[ConnectionPool, ssl.SSLContext | None]:
    """What makes connections, and their TLS where redis-py is not to make its own."""
    parts = urlsplit(url)
    query = query_of(parts, (*TLS_FILES, *REDIS_OPTIONS))
    ours = {name: query.pop(name) for name in TLS_FILES if name in query}
    of_tls = [*ours, *(name for name in query if name.startswith("ssl_"))]
    if of_tls and parts.scheme != "rediss":
        raise ConfigError(f"bus=redis://…?{of_tls[0]}= is about TLS, and that has the scheme rediss://")
    if ours and len(of_tls) > len(ours):
        raise ConfigError(
            f"bus=rediss://… has {of_tls[0]}= and {of_tls[-1]}=: give ca, cert and key, or redis-py's ssl_…"
        )
    readable(query, "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    tls = tls_context(ours) if parts.scheme == "rediss" and len(of_tls) == len(ours) else None
    try:
        pool = ConnectionPool.from_url(
            parts._replace(
                query=urlencode({"ssl_check_hostname": "true"} | query if tls or of_tls else query)
            ).geturl(),
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=4,
            socket_timeout=None,
            socket_keepalive=True,
            decode_responses=False,
            protocol=2,
        )
        pool.make_connection()  # type: ignore[no-untyped-call]  # so that a wrong value is an error now
    except (TypeError, ValueError, RedisError) as error:
        raise ConfigError(f"the query of bus={parts.scheme}://… is not as redis-py takes it: {error}") from None
    return pool, tls


async def _send(connection: AbstractConnection, commands: list[tuple[Any, ...]]) -> None:
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)


async def _largest(connection: AbstractConnection) -> int:
    await connection.send_command("CONFIG", "GET", "proto-max-bulk-len")
    try:
        answer = await connection.read_response()
        return int(answer[1])
    except (ResponseError, IndexError, ValueError):
        return LARGEST


async def _close(*connections: AbstractConnection) -> None:
    for connection in connections:
        with contextlib.suppress(OSError, RedisError):
            await connection.disconnect()


make = RedisBus
"""The bus at a URL such as ``redis://user:password@host:6379`` or ``rediss://host``."""
