"""The connection to the socket beside an observed server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from ... import aio
from ...config.address import Address, Unix
from ...config.config import Config
from ...config.resolve import resolve
from ...core.observe import EMIT, FORMAT, LOOK, MESSAGES, observed_at
from ...core.session import Loss
from ...errors import ConnectError, IPCError
from ..described import in_words, what_it_says
from ..output import unconnected
from .view import View

__all__ = ["CannotLook", "Feed"]


FIRST_LOOK_SECONDS = 10.0
DESCRIPTION_SECONDS = 5.0


class CannotLook(IPCError):
    """There is nothing to look at."""


class Feed:
    """Keeps a view up to date; the connection is made anew when the server is."""

    def __init__(self, view: View, client: aio.AsyncClient, number: int, of: int) -> None:
        self.view = view
        self.described: Mapping[str, Any] | None = None
        """What the server says of itself, where it does: its AsyncAPI document."""
        self._beside = {"worker": number, "workers": of}
        self.changed: list[Callable[[], None]] = []
        """Called when there is something new to show."""
        self.heard: list[Callable[[str, Any], None]] = []
        """Called with each event as it came, ``observe.look`` and ``observe.messages``."""
        self._client = client
        self._wants_messages = False
        self._has_seen = asyncio.Event()
        client.on(LOOK, self._look)
        client.on(MESSAGES, self._messages)
        client.on("connect", self._connected)
        client.on("disconnect", self._gone)

    @classmethod
    async def open(cls, address: str, config: Config, number: int | None = None) -> Feed:
        """Look at the server of this address, or at that one of several; without a number at the first that is there.

        Raises :class:`CannotLook` where there is none to look at.
        """
        where, settings = resolve(address, config, {}, "client")
        there = _numbers(where, settings)
        if number is not None and number not in there:
            others = ", ".join(map(str, there))
            raise CannotLook(f"cannot look at worker {number} of {where}: those that can be looked at are {others}")
        beside, client, number = await _connected(where, settings, there if number is None else [number])
        feed = cls(View(), client, number, len(there))
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await feed._has_seen.wait()
        except TimeoutError as error:
            raise CannotLook(
                f"cannot look at {where}: somebody is at {beside}, and tells nothing within {FIRST_LOOK_SECONDS:g} s. "
                "Is the server stopped, or its loop held up?"
            ) from error
        finally:
            if not feed._has_seen.is_set():
                client.abort()
        return feed

    async def close(self) -> None:
        await self._client.close(0)

    def _look(self, look: dict[str, Any]) -> None:
        self._has_seen.set()
        if look.get("format") != FORMAT:
            self.view.trouble = (
                f"the server tells in format {look.get('format')!r:.20}, and this node-ipc knows {FORMAT}: "
                "use the version that the server uses"
            )
        else:
            says = None if self.described is None else in_words(self.described)
            look |= {**self._beside, "process": self._client.peer.pid, "says": says}
            self.view.feed(look)
        self._tell(LOOK, look)

    def _messages(self, told: dict[str, Any]) -> None:
        self.view.add_messages(told)
        self._tell(MESSAGES, told)

    def _tell(self, name: str, data: Any) -> None:
        for hear in self.heard:
            hear(name, data)
        for change in self.changed:
            change()

    async def _connected(self) -> None:
        if self._wants_messages:
            self._client.request(MESSAGES, True)
        self.described = await what_it_says(self._client, DESCRIPTION_SECONDS)

    def _gone(self, loss: Loss) -> None:
        self.view.trouble = f"the server is gone ({loss}); waiting for it"
        for change in self.changed:
            change()

    async def want_messages(self, wants: bool) -> None:
        """Hear each message, payloads included, or no longer."""
        self._wants_messages = wants
        await self._client.request(MESSAGES, wants, timeout=5)

    async def emit(self, event: str, data: Any, to: int | None = None) -> int:
        """Let the server emit to one socket or to all; how many that is. Raises what kept it from that."""
        sockets: int = await self._client.request(EMIT, {"event": event, "data": data, "to": to}, timeout=5)
        return sockets


async def _connected(where: Address, config: Config, numbers: list[int]) -> tuple[Address, aio.AsyncClient, int]:
    """A client of the first of these that is there, where that is, and its number."""
    failure: ConnectError | None = None
    for number in numbers:
        beside = observed_at(where, config, number)
        try:
            client = await aio.connect(beside, retry=500, max_message_size=config.max_message_size)
        except ConnectError as error:
            failure = failure or error
        else:
            return beside, client, number
    why = "" if failure is None else unconnected(failure)
    raise CannotLook(
        f"cannot look at {where}: nobody is at {observed_at(where, config, numbers[0])} ({why}). A server opts in "
        "with serve(…, observe=True), or with server.observe() once it listens"
    ) from failure


def _numbers(where: Address, config: Config) -> list[int]:
    """Those of the servers at one address, as far as they left a socket; of pipes only the first is known."""
    first = observed_at(where, config)
    found = {1}
    for path in (first.path, *first.also) if isinstance(first, Unix) else ():
        directory, name = os.path.split(path)
        beside = re.compile(rf"{re.escape(name)}\.([0-9]{{1,3}})")
        with contextlib.suppress(OSError, ValueError):  # a name in the abstract namespace is in no directory
            found |= {int(match[1]) for match in map(beside.fullmatch, os.listdir(directory)) if match}
    return sorted(found)
