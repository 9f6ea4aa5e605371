"""The connection to the socket beside an observed server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ... import aio
from ...config.config import Config
from ...config.resolve import resolve
from ...core.observe import EMIT, FORMAT, LOOK, MESSAGES, observed_at
from ...core.session import Loss
from ...errors import ConnectError, IPCError
from .view import View

__all__ = ["CannotLook", "Feed"]


FIRST_LOOK_SECONDS = 10.0


class CannotLook(IPCError):
    """There is nothing to look at."""


class Feed:
    """Keeps a view up to date; the connection is made anew when the server is."""

    def __init__(self, view: View, client: aio.AsyncClient) -> None:
        self.view = view
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
    async def open(cls, address: str, config: Config) -> Feed:
        """Look at the server of this address. Raises :class:`CannotLook` where there is none to look at."""
        where, settings = resolve(address, config, {}, "client")
        beside = observed_at(where, settings)
        try:
            client = await aio.connect(beside, retry=500, max_message_size=settings.max_message_size)
        except ConnectError as error:
            raise CannotLook(
                f"cannot look at {where}: nobody is at {beside} ({error}). A server opts in with "
                "serve(…, observe=True), or with server.observe() once it listens"
            ) from error
        feed = cls(View(), client)
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

    def _connected(self) -> None:
        if self._wants_messages:
            self._client.request(MESSAGES, True)

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
