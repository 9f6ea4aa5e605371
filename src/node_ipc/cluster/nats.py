"""NATS, by nats-py: a subject for each room, an inbox for each node, a queue group for any one of them.

Two things of nats-py are not used. Its reconnecting would publish before others are subscribed again, and nobody would
hear of what is lost then. Its subscriptions have a queue and a task each, so that what one node sent to several rooms
would not come in order: here a message is heard where it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from nats.aio.client import Client
from nats.aio.subscription import Subscription

from ..errors import ConfigError
from .pump import Pump

if TYPE_CHECKING:
    from ..config.bus_options import BusPlace
    from .bus import Hears

__all__ = ["NatsBus", "make"]

PING_SECONDS = 5
"""Between two pings; the connection is lost when two were not answered."""
FILES = ("ca", "cert", "key", "credentials", "nkey")
"""What the query of a URL may name: files."""
NOBODY = b"NATS/1.0 503"


class _Reading(Client):
    """A client of NATS that hears a message where it is read, and keeps none of them."""

    def __init__(self, hear: Callable[[str, bytes, bytes], None]) -> None:
        super().__init__()
        self._hear = hear
        self.connecting = asyncio.current_task()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self._hear(subject.decode(), bytes(data), bytes(headers or b""))


class NatsBus:
    """A node's connection to NATS."""

    name = "nats"
    size_option = "max_payload of nats-server"
    has_groups = True

    def __init__(self, place: BusPlace) -> None:
        self._place = place
        self._url, self._options = _options(place.url)
        self._client: _Reading | None = None
        self._pump: Pump[Callable[[Client], Any]]
        self._pumping: asyncio.Task[None] | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._unheard: dict[str, Callable[[], None]] = {}
        self._inbox = ""
        self._numbers = 0

    async def connect(self, hears: Hears) -> int | None:
        await self._end()
        client = _Reading(partial(self._heard, hears))
        lost = partial(self._lost, client, hears)
        try:
            await client.connect(
                self._url,
                allow_reconnect=False,
                no_echo=True,
                connect_timeout=4,
                ping_interval=PING_SECONDS,
                error_cb=partial(_first_failure_ends, client),
                closed_cb=lost,
                **self._options,
            )
        except BaseException:
            with contextlib.suppress(Exception):
                await client.close()
            raise
        client.connecting = None
        self._client = client
        self._subscriptions.clear()
        self._unheard.clear()
        self._pump = Pump(self._send, hears.writable)
        self._pumping = asyncio.create_task(self._pump.run())
        self._pumping.add_done_callback(lambda task: self._pumped(client, hears, task))
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*")
        return client.max_payload

    def _pumped(self, client: Client, hears: Hears, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and client is self._client:
            self._client = None
            hears.lost(task.exception() if isinstance(task.exception(), Exception) else None)  # type: ignore[arg-type]

    async def _lost(self, client: Client, hears: Hears) -> None:
        if client is self._client:
            self._client = None
            hears.lost(client.last_error)

    def _heard(self, hears: Hears, subject: str, data: bytes, headers: bytes) -> None:
        if not subject.startswith(self._inbox):
            hears.heard(subject, data)
        elif headers.startswith(NOBODY):
            unheard = self._unheard.pop(subject, None)
            if unheard is not None:
                unheard()

    async def _send(self, calls: list[Callable[[Client], Any]]) -> None:
        client = self._client
        for call in calls:
            if client is None:
                return
            await call(client)

    def _do(self, call: Callable[[Client], Any], size: int = 0) -> bool:
        if self._client is None:
            raise ConnectionError("NATS is gone")
        return self._pump.put(call, size)

    def publish(self, subject: str, data: bytes) -> bool:
        return self._do(lambda client: client.publish(subject, data), len(data))

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        self._numbers += 1
        reply = f"{self._inbox}.{self._numbers}"
        self._unheard[reply] = unheard
        if len(self._unheard) > MOST_UNHEARD:
            del self._unheard[next(iter(self._unheard))]
        self._do(lambda client: client.publish(subject, data, reply=reply), len(data))

    def subscribe(self, subject: str, group: str = "") -> None:
        self._do(lambda client: self._subscribe(client, subject, group))

    async def _subscribe(self, client: Client, subject: str, group: str) -> None:
        self._subscriptions[subject] = await client.subscribe(subject, queue=group)

    def unsubscribe(self, subject: str) -> None:
        self._do(lambda client: self._unsubscribe(subject))

    async def _unsubscribe(self, subject: str) -> None:
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None:
            await subscription.unsubscribe()

    async def confirm(self) -> None:
        if self._client is not None:
            await self._pump.emptied()
            await self._client.flush()

    def health(self) -> str:
        return str(self._place)

    async def close(self) -> None:
        await self._end()

    async def _end(self) -> None:
        client, self._client = self._client, None
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None
        if client is not None:
            await client.close()


MOST_UNHEARD = 16_384
"""Requests of which NATS has not said that nobody hears them; of those that are heard it never says anything."""


async def _first_failure_ends(client: _Reading, error: Exception) -> None:
    """One attempt and no second: nats-py would wait for two seconds between them. Its own tasks have nobody to hear it,
    and what ends them is told as the end."""
    if client.connecting is not None and asyncio.current_task() is client.connecting:
        raise error


def _options(url: str) -> tuple[str, dict[str, Any]]:
    """The URL as NATS knows it, and what its query means."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    if unknown := set(query) - set(FILES):
        raise ConfigError(f"bus=nats://…?{sorted(unknown)[0]}= is not known: there are {', '.join(FILES)}")
    options: dict[str, Any] = {}
    if parts.scheme == "tls" or query.keys() & {"ca", "cert", "key"}:
        try:
            context = ssl.create_default_context(cafile=query.get("ca"))
            if "cert" in query:
                context.load_cert_chain(query["cert"], query.get("key"))
        except OSError as error:
            raise ConfigError(f"the TLS files of bus= cannot be read: {error}") from error
        options["tls"] = context
    if "credentials" in query:
        options["user_credentials"] = query["credentials"]
    if "nkey" in query:
        options["nkeys_seed"] = query["nkey"]
    return urlunsplit((parts.scheme, parts.netloc, "", "", "")), options


def make(place: BusPlace) -> NatsBus:
    """The bus at a URL such as ``nats://user:password@host:4222`` or ``tls://host:4222?ca=ca.pem``."""
    return NatsBus(place)
