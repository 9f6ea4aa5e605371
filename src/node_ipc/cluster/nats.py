"""NATS, by nats-py: a subject for each room, an inbox for each node, a queue group for any one of them.

Two things of nats-py are not used. Its reconnecting would publish before others are subscribed again, and nobody would
hear of what is lost then. Its subscriptions have a queue and a task each, so that what one node sent to several rooms
would not come in order: here a message is heard where it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from nats.aio.client import Client
from nats.aio.subscription import Subscription

from ..config.bus_options import shown
from ..core.seam import nothing
from ..errors import ConfigError
from .broker_url import TLS_FILES, query_of, readable, tls_context, userinfo
from .pump import Pump

if TYPE_CHECKING:
    from ..config.bus_options import BusPlace
    from .bus import Hears

__all__ = ["NatsBus", "make"]

PING_SECONDS = 5
"""Between two pings; the connection is lost when two were not answered."""
CONNECT_SECONDS = 4
"""For each step of a connection: TCP, the greeting, TLS, the answer to who we are."""
END_SECONDS = 0.2
"""For the end of a connection that was not made."""
STAGGER_SECONDS = 0.5
"""After so long without an answer of one server of a cluster the next is asked as well."""
KEYS = ("credentials", "nkey")
"""Files of NATS that a URL's query may name, besides those for TLS."""
NOBODY = b"NATS/1.0 503"


class _Server:
    """One server of a cluster, and how it is come to."""

    def __init__(self, parts: SplitResult) -> None:
        query = query_of(parts, (*TLS_FILES, *KEYS))
        self.at = f"nats://{parts.netloc.rpartition('@')[2]}"
        """Without secrets; nats-py takes ``tls://`` for a wish, so here TLS is what ``wants_tls`` says."""
        self.host = parts.hostname
        self.wants_tls = parts.scheme == "tls" or bool(query.keys() & set(TLS_FILES))
        self.shown = shown(parts._replace(scheme="tls" if self.wants_tls else parts.scheme).geturl())
        self.options: dict[str, Any] = {}
        if self.wants_tls:
            self.options["tls"] = tls_context(query)
        self._identify(userinfo(parts), query)

    def _identify(self, who: tuple[str | None, str | None], query: dict[str, str]) -> None:
        user, password = who
        if password is not None:
            self.options.update(user=user or "", password=password)
        elif user is not None:
            self.options["token"] = user
        if query.keys() & set(KEYS):
            readable(query, *KEYS)
            if find_spec("nkeys") is None:
                raise ConfigError(
                    "credentials= and nkey= of bus=nats://… need what is not installed: pip install nkeys"
                )
        if "credentials" in query:
            self.options["user_credentials"] = query["credentials"]
        if "nkey" in query:
            self.options["nkeys_seed"] = query["nkey"]

    def beside(self, place: str) -> _Server:
        """Another server of the same cluster, of which this one told: it is come to in the same way."""
        other = _Server.__new__(_Server)
        other.at, other.wants_tls, other.options = f"nats://{place}", self.wants_tls, dict(self.options)
        other.shown = f"{'tls' if self.wants_tls else 'nats'}://{place}"
        other.host = urlsplit(other.at).hostname
        if self.wants_tls and _is_ip(other.host):
            other.options["tls_hostname"] = self.options.get("tls_hostname", self.host)
        return other


class _Reading(Client):
    """A client of NATS that hears a message where it is read, and keeps none of them."""

    def __init__(self, server: _Server, hear: Callable[[str, bytes, bytes], None]) -> None:
        super().__init__()
        self._hear = hear
        self.server = server
        self.others: list[str] = []
        """The hosts and ports of its cluster's servers, as it told them."""
        self.connecting = asyncio.current_task()
        self._was_greeted = False

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self._hear(subject.decode(), bytes(data), bytes(headers or b""))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """What the server says of itself, first and whenever its cluster changes."""
        self._was_greeted = True
        if initial_connection and self.server.wants_tls and not info.get("tls_required"):
            if not info.get("tls_available"):
                raise ConnectionError("the server offers no TLS, and without it nothing is said to it: see its tls {}")
            info["tls_required"] = True
        self.others = [str(place) for place in info.get("connect_urls") or self.others]
        info.pop("connect_urls", None)  # which of them is next is decided here
        await super()._process_info(info, initial_connection)

    @property
    def is_met_with_silence(self) -> bool:
        """Whether somebody took the connection who did not say what every NATS says first."""
        return not self._was_greeted and bool(self._transport)

    def cut(self) -> None:
        """What is left of a ``close`` that was cancelled: nats-py says from its first step on that it is closed."""
        for task in (self._reading_task, self._flusher_task, self._ping_interval_task):
            if task is not None:
                task.cancel()
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]


class NatsBus:
    """A node's connection to NATS."""

    name = "nats"
    size_option = "max_payload of nats-server"
    has_groups = True

    def __init__(self, place: BusPlace) -> None:
        self._servers = [_Server(parts) for parts in _whole(place.urls)]
        random.shuffle(self._servers)  # as every client of NATS does, so that a cluster's servers share the load
        self._last: _Reading | None = None
        self._client: _Reading | None = None
        self._pump: Pump[Callable[[Client], Any]]
        self._pumping: asyncio.Task[None] | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._unheard: dict[str, Callable[[], None]] = {}
        self._inbox = ""
        self._numbers = 0
        self.silence = ""
        """Who took a connection and said nothing, where an attempt ended for lack of time."""

    async def connect(self, hears: Hears) -> int | None:
        await self.close()
        self.silence = ""
        client = await self._first_to_take_us(hears)
        client.connecting = None
        self._client = self._last = client
        self._subscriptions.clear()
        self._unheard.clear()
        self._pump = Pump(self._send, hears.writable)
        self._pumping = asyncio.create_task(self._pump.run())
        self._pumping.add_done_callback(lambda task: self._pumped(client, hears, task))
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*")
        return client.max_payload

    async def _first_to_take_us(self, hears: Hears) -> _Reading:
        """Of several servers whoever is there; the next is asked when one fails, or has not answered for a moment."""
        trials: dict[asyncio.Task[_Reading], _Server] = {}
        failures: dict[str, Exception] = {}
        try:
            for server, is_last in self._in_turn():
                trials[asyncio.create_task(self._connected(server, hears))] = server
                while trials:
                    done, _ = await asyncio.wait(
                        trials, timeout=None if is_last else STAGGER_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    for trial in done:
                        if trial.exception() is None:
                            del trials[trial]
                            return trial.result()
                        failures[trials.pop(trial).shown] = trial.exception()  # type: ignore[assignment]
                    if not is_last:
                        break
        finally:
            await _give_up(trials)
        if len(failures) == 1:
            raise next(iter(failures.values()))
        told = "; ".join(f"{at}: {str(failure) or type(failure).__name__}" for at, failure in failures.items())
        raise ConnectionError(told) from next(iter(failures.values()))

    def _in_turn(self) -> Iterator[tuple[_Server, bool]]:
        """The servers, the one that we were at last of all, since it may be what failed; and whether it is the last."""
        servers = {server.at: server for server in self._servers}
        last = self._last
        if last is not None:
            for place in last.others:
                servers.setdefault(f"nats://{place}", last.server.beside(place))
            servers[last.server.at] = servers.pop(last.server.at, last.server)
        for number, server in enumerate(servers.values(), 1):
            yield server, number == len(servers)

    async def _connected(self, server: _Server, hears: Hears) -> _Reading:
        client = _Reading(server, partial(self._heard, hears))
        began = asyncio.get_running_loop().time()
        try:
            await client.connect(
                server.at,
                allow_reconnect=False,
                no_echo=True,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=PING_SECONDS,
                error_cb=partial(_first_failure_ends, client),
                closed_cb=partial(self._lost, client, hears),
                **server.options,
            )
        except BaseException as failure:
            if client.is_met_with_silence and isinstance(failure, (TimeoutError, asyncio.CancelledError)):
                waited = asyncio.get_running_loop().time() - began
                self.silence = (
                    f"{server.shown} takes connections and said no INFO within {waited:.1f} s, with which NATS begins: "
                    "is it NATS, and not stopped?"
                )
            with contextlib.suppress(Exception):
                async with asyncio.timeout(END_SECONDS):  # nats-py waits for the end of a TLS that never began
                    await client.close()
            raise
        return client

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
            self._unheard.pop(subject, nothing)()

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
        client = self._client
        return client.server.shown if client is not None else ",".join(server.shown for server in self._servers)

    async def close(self) -> None:
        client, self._client = self._client, None
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None
        if client is not None:
            try:
                await client.close()
            except asyncio.CancelledError:
                client.cut()
                raise


MOST_UNHEARD = 16_384
"""Requests of which NATS has not said that nobody hears them; of those that are heard it never says anything."""


async def _first_failure_ends(client: _Reading, error: Exception) -> None:
    """One attempt and no second: nats-py would wait for two seconds between them. Its own tasks have nobody to hear it,
    and what ends them is told as the end."""
    if client.connecting is not None and asyncio.current_task() is client.connecting:
        raise error


def _whole(urls: tuple[str, ...]) -> list[SplitResult]:
    """The URLs; who comes and how, where one does not say it, is as the first says that does."""
    parts = [urlsplit(url) for url in urls]
    user = next((each.netloc.rpartition("@")[0] for each in parts if "@" in each.netloc), "")
    query = next((each.query for each in parts if each.query), "")
    return [
        each._replace(
            netloc=f"{user}@{each.netloc}" if user and "@" not in each.netloc else each.netloc,
            query=each.query or query,
        )
        for each in parts
    ]


async def _give_up(trials: dict[asyncio.Task[_Reading], _Server]) -> None:
    """End those that are still trying, or were a moment too late."""
    for trial in trials:
        trial.cancel()
    for late in await asyncio.gather(*trials, return_exceptions=True):
        if isinstance(late, _Reading):
            await late.close()


def _is_ip(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


make = NatsBus
"""The bus at a URL such as ``nats://user:password@host:4222`` or ``tls://host:4222?ca=ca.pem``, or at several."""
