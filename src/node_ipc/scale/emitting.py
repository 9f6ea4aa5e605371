"""Emitting to the clients of servers that a bus joins, without being a server: from a script or a cron job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, overload

from msgspec import Raw

from ..cluster.engines import bus_of
from ..cluster.joined import Wire, node_of
from ..cluster.keeper import Keeper
from ..cluster.node import Node, NodeState
from ..config.config import Config
from ..config.misspelt import refer
from ..config.resolve import refuse_unknown
from ..core.newest import kept_event
from ..core.outcome import seconds, seconds_to_end
from ..core.rooms import Audience, Target, room_name
from ..drivers.loop import EventLoopDriver
from ..errors import ConfigError, ConnectTimeout, IPCError, NotConnected
from ..wire.codec import choose

if TYPE_CHECKING:
    from ..cluster.messages import Ask
    from ..core.events import Event
    from ..core.newest import Keep
    from ..core.session import Session
    from ..core.trace import BusStats
    from ..wire.text import RawPayload

__all__ = ["Emitter", "emitter"]

T = TypeVar("T")
NULL = Raw(b"null")


def emitter(bus: Any, *, config: Config | None = None, timeout: float | None = 10.0, **options: Any) -> Emitter:
    """Emit to rooms and to everybody: ``async with node_ipc.scale.emitter("nats://host:4222") as out``.

    Inside, ``out.to("room").emit("price", 3)`` and ``out.broadcast("news", data)`` never wait. At the end everything is
    with the broker.

    Args:
        bus: As the servers' option.
        config: As theirs.
        timeout: Seconds until the bus must be there; ``None`` waits without end.
        options: As theirs; ``bus_group`` (or ``appspace``), ``delimiter`` and ``parser`` have to be what the servers
            have.

    Raises:
        ConnectTimeout: the bus was not there in time; the last failure is its cause.
        NotConnected: at the end, where something could not be sent.

    Example:
        >>> async def main():
        ...     async with node_ipc.scale.emitter("nats://broker") as out:
        ...         out.to("gold").emit("price", 3)
    """
    whole = Config() if config is None else config.copy()
    refuse_unknown(options, ("config", "timeout"))
    whole.update(**options, bus=bus)
    if whole.bus is None:
        raise ConfigError("an emitter needs a bus: emitter('nats://host:4222')")
    return Emitter(whole.settings(), seconds(timeout, "emitter"))


class Emitter:
    """Emits to the clients of servers elsewhere. Made by :func:`emitter`, a context manager."""

    member = False

    def __init__(self, settings: Config, timeout: float | None) -> None:
        self._settings = settings
        self._timeout = timeout
        self._codec = choose(settings)
        self._frames = Wire(settings, self._codec)
        self.wire = self._frames.name
        self._bus = bus_of(settings.bus)
        self._failure: IPCError | None = None
        self._told = 0  # of those that were dropped
        self._up = asyncio.Event()
        self._node: Node | None = None
        self._keeper: Keeper | None = None

    def __repr__(self) -> str:
        return f"<Emitter {self._bus.name} {self._bus.health()}>"

    # ---- out

    def to(self, *rooms: str) -> Target[Any]:
        """The sockets in these rooms, on every server: ``out.to("lobby").emit("news", data)``."""
        if not rooms:
            raise TypeError("to() takes at least one room: to reach everybody use broadcast(type, data)")
        return Target(self, Audience(tuple([room_name(room, "to") for room in rooms])), False)

    @overload
    def broadcast(self, type: Event[T], data: T, *, keep: Keep = ...) -> bool: ...
    @overload
    def broadcast(self, type: str | RawPayload, data: Any = ..., *, keep: Keep = ...) -> bool: ...
    def broadcast(self, type: Any, data: Any = {}, *, keep: Keep = None) -> bool:  # noqa: B006 - never changed
        """Send one event to every socket of every server; ``keep="latest"`` holds there, not for what waits here."""
        return self.emit_to(Audience(), type, data, False, keep)

    def emit_to(self, audience: Audience, type: Any, data: Any, local: bool, keep: Keep) -> bool:
        """Send one event to whoever is meant; True, or False while it waits for the bus."""
        node = self._begun(f"cannot emit {str(type)!r:.80}")
        if node.state in (NodeState.CLOSING, NodeState.CLOSED):
            raise NotConnected(f"cannot emit {str(type)!r:.80}: this emitter is closed")
        event = kept_event(type, keep, self._codec.raw)
        node.publish(audience, self._frames.value(self._codec.encode(type, data)), event)
        return not node.stats().waiting_messages

    def sockets_in(self, audience: Audience) -> list[Session]:
        """It has none of its own."""
        return []

    def stats(self) -> BusStats:
        """What was sent, dropped, and waits."""
        return self._begun("there is nothing to count").stats()

    # ---- life

    def _begun(self, what: str) -> Node:
        if self._node is None:
            raise NotConnected(f"{what}: {self._call} has to be entered first, async with {self._call} as out")
        return self._node

    @property
    def _call(self) -> str:
        """How it is made, without secrets."""
        return f"node_ipc.scale.emitter({self._bus.health()!r:.80})"

    if not TYPE_CHECKING:  # a type checker says it in its own words

        def __await__(self) -> NoReturn:
            raise TypeError(f"an emitter ends when all is sent, and so is not awaited: async with {self._call} as out")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"use async with {self._call} as out")

        def __exit__(self, *exception: Any) -> None:
            """Never reached: it is ``__enter__`` that says what to do."""

    async def __aenter__(self) -> Self:
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        self._node, self._keeper = node_of(self, driver, self._settings, self._bus)
        self._keeper.open()
        try:
            async with asyncio.timeout(self._timeout):
                await self._up.wait()
        except BaseException as error:
            self._keeper.abort()
            if isinstance(error, TimeoutError):
                why = self._failure or repr(self)
                raise ConnectTimeout(f"no bus within {self._timeout:g} s: {why}") from self._failure
            raise
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        if error is not None:
            from ..config.advice import advise  # only a mistake pays for it

            advise(error)
        await self.close()

    async def close(self, timeout: float | None = None) -> None:
        """Until the broker has all that was emitted; ``timeout``: seconds, ``None`` is ``close_timeout``.

        Raises :class:`NotConnected` where something was not sent, or where nobody knows whether the broker has it.
        """
        if self._node is None or self._keeper is None:
            return
        closed = asyncio.get_running_loop().create_future()
        if self._keeper.is_open:
            limit = seconds_to_end(timeout, "close", self._settings.close_timeout)
            self._keeper.close(limit, lambda: None if closed.done() else closed.set_result(None))
            await closed
        dropped, self._told = self._node.stats().dropped - self._told, self._node.stats().dropped
        if dropped:
            raise NotConnected(f"{dropped} events were not sent: {self._failure or 'the bus went down'}")
        unconfirmed, self._keeper.unconfirmed = self._keeper.unconfirmed, None
        if unconfirmed is not None and self._node.stats().sent:
            why = str(unconfirmed) or type(unconfirmed).__name__
            raise NotConnected(f"the broker may not have the last events: {why}") from unconfirmed

    # ---- what the node asks of it

    def rooms(self) -> Iterable[str]:
        return ()

    def count(self) -> int:
        return 0

    def deliver(self, audience: Audience, frame: Raw, event: str | None) -> None:
        """It hears nothing."""

    def describe(self, room: str) -> list[tuple[int, str, Any, list[str]]]:
        return []

    def answer(
        self, ask: Ask, done: Callable[[tuple[str, int, str] | None, Raw], None], told: Callable[[Raw], None]
    ) -> Callable[[], None]:
        done(("nobody", -32001, "it only emits"), NULL)
        return lambda: None

    def tell(self, event: str, *arguments: Any) -> None:
        if event == "bus.up":
            self._up.set()

    def fault(self, error: IPCError) -> None:
        self._failure = error

    def unread(self, method: str, error: Exception) -> None:
        """It asks nobody."""


refer(
    Emitter,
    {
        **dict.fromkeys(("emit", "send", "write"), "to(room).emit(type, data), or broadcast(type, data) for everybody"),
        **dict.fromkeys(("on", "once", "receive", "handle"), "serve(…, bus=…): an emitter hears nothing"),
        "request": "serve(…, bus=…) and server.everywhere.request(…): an emitter hears no answer",
    },
)
