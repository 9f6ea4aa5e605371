"""A tap that ``node-ipc top`` looks at: what passes, told as a server tells of itself.

Of what stands behind a tap nothing has to be known: it may be Node, and it need not have opted in. A tap sees no
handlers, so events have no times; requests have those from the question to its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import msgspec

from ..config.address import Address
from ..config.config import Config
from ..core.observe import Beside, Observation, observed_at, settings_of
from ..core.requests import CANCEL, REQUEST, RESPONSE
from ..core.seam import Driver, Peer
from ..core.server import ServerCore
from ..core.trace import Stats, Trace, TraceHook
from ..core.watch import Activity, Watch
from ..errors import IPCError, ProtocolError
from ..recording.frames import Cutter, Frame, Loaded, Long, event_in
from ..recording.lines import Side
from ..wire.carried import Carried
from ..wire.names import PING, PONG

__all__ = ["ObservedTap"]

KEPT_BYTES = 1024 * 1024
"""Of a frame; a longer one is counted, and not read."""
MOST_ASKED = 1000
"""Requests of one link that are under way and timed; more are counted only."""
NAMED_WITHIN = 64
"""Bytes at the begin of a frame, in which an event's name stands."""
NOTHING = msgspec.Raw(b"")


class ObservedTap:
    """All links of a tap, for those who look."""

    def __init__(self, driver: Driver, settings: Config) -> None:
        self.settings = settings
        self.address: Address
        self.delimiter = settings.delimiter.encode() if settings.profile not in ("raw", "custom") else b""
        """What ends a frame; empty where there are none, and only bytes can be counted."""
        self.watch_by: Watch | None = None
        """Who hears of each message, while somebody looks."""
        self.now = driver.now
        self._driver = driver
        self._begun = driver.now()
        self._hooks: list[TraceHook] = []
        self._links: dict[int, _Link] = {}
        self._gone = Stats()
        self._observation: Observation | None = None

    async def open(self, address: Address) -> None:
        """Let viewers in, beside this address, where the tap listens now; raises where there can be no such socket."""
        self.address = address
        self._observation = Observation(self, self._beside, self._driver)
        try:
            await self._observation.started
        except IPCError as error:
            raise IPCError(f"nobody could look at what passes: {error.__cause__}") from error

    def close(self) -> None:
        """Nobody looks any more."""
        if self._observation is not None:
            self._observation.close()

    def _beside(self, number: int) -> Beside:
        at = observed_at(self.address, self.settings, number)
        beside: Beside = ServerCore(at, self._driver, settings_of(self.settings))
        return beside

    # ---- the tap's side

    def link(self, number: int, peer: Peer) -> _Link:
        """Somebody connected: what hears what passes over his link."""
        made = self._links[number] = _Link(self, number, peer)
        return made

    def gone(self, link: _Link) -> None:
        del self._links[link.id]
        self._gone += link.stats()

    def wrong(self, link: _Link, what: str) -> None:
        """Something that viewers see among the errors."""
        for hook in tuple(self._hooks):
            hook(Trace("error", self, link, detail=what))

    # ---- the viewers' side

    @property
    def sockets(self) -> list[_Link]:
        return list(self._links.values())

    def stats(self) -> Stats:
        total = Stats()
        total += self._gone
        for link in self._links.values():
            total += link.stats()
        total.seconds = self.now() - self._begun
        return total

    def watch(self, watch: Watch) -> Callable[[], None]:
        self.watch_by = watch

        def undo() -> None:
            self.watch_by = None

        return undo

    def on_trace(self, hook: TraceHook, *, traffic: bool = True) -> Callable[[], None]:
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def broadcast(self, type: Any, data: Any = None) -> NoReturn:
        raise IPCError("a tap only looks: what stands behind it can emit, and a client of it")

    def session_fault(self, socket: Any, error: IPCError) -> None:
        """That it cannot be looked at, which ``open`` raises."""


class _Link:
    """What passed over one link; a watcher of the tap, and to viewers a socket."""

    def __init__(self, tap: ObservedTap, number: int, peer: Peer) -> None:
        self.id = number
        self.peer = peer
        self._tap = tap
        self._stats = Stats(links=1)
        self._begun = tap.now()
        self._cutters = {side: Cutter(tap.delimiter, KEPT_BYTES) for side in ("client", "server")}
        self._asked: dict[str, dict[bytes, Activity]] = {"client": {}, "server": {}}  # by who asked, and the id

    def stats(self) -> Stats:
        self._stats.seconds = self._tap.now() - self._begun
        return self._stats

    def emit(self, type: Any, data: Any = None) -> NoReturn:
        self._tap.broadcast(type, data)

    # ---- what passes

    def heard(self, side: Side, data: bytes) -> None:
        frames = self._cutters[side].cut(data) if self._tap.delimiter else []
        if side == "client":
            self._stats.bytes_in += len(data)
            self._stats.messages_in += len(frames)
        else:
            self._stats.bytes_out += len(data)
            self._stats.messages_out += len(frames)
        if self._tap.watch_by is not None or any(self._asked.values()):
            for frame in frames:
                self._frame(side, frame)

    def closed(self, reason: str) -> None:
        for asked in self._asked.values():
            for activity in asked.values():
                activity.ended(IPCError("the link was closed"))
            asked.clear()
        if reason:
            self._wrong(reason)
        self._tap.gone(self)

    def _wrong(self, what: str) -> None:
        self._stats.errors += 1
        self._tap.wrong(self, what)

    def _frame(self, side: Side, frame: Frame) -> None:
        watch = self._tap.watch_by
        if isinstance(frame, Long):
            if watch is not None:
                self._wrong(f"a frame of {frame.size} bytes from the {side} is too long to be read")
            return
        size = frame.size if isinstance(frame, Loaded) else len(frame)
        frame = frame.plain if isinstance(frame, Loaded) else frame
        if watch is None and RESPONSE.encode() not in frame[:NAMED_WITHIN]:
            return
        name, payload = self._event(side, frame)
        if name == RESPONSE:
            failed = isinstance(payload, dict) and payload.get("error") is not None
            asked_by: Side = "server" if side == "client" else "client"
            self._ended(asked_by, payload, IPCError("failed") if failed else None)
        if watch is None or name in ("", PING, PONG):
            return
        message = Carried(name, payload, NOTHING, size)
        if side == "client" and name != REQUEST:
            watch.unheard(name, message, self)
        elif side == "server":
            told = watch.emitting(name, payload, {})
            if told is not None:
                told(size, None)
        if name == REQUEST:
            self._asks(watch, side, message)
        elif name == CANCEL:
            self._ended(side, payload, IPCError("nobody waits for it any more"))

    def _event(self, side: Side, frame: bytes) -> tuple[str, Any]:
        """Name and payload; of what is none an empty name."""
        found = event_in(frame)
        if isinstance(found, ProtocolError):
            self._wrong(f"no event from the {side}: {found}")
            return "", None
        return found.type, found.data

    # ---- requests

    def _asks(self, watch: Watch, side: Side, message: Carried) -> None:
        params = message.data if isinstance(message.data, dict) else {}
        method = str(params.get("method", ""))[:200]
        request = SimpleNamespace(socket=self)  # as much of one as who watches asks for
        activity = watch.answering(method, message, request) if side == "client" else watch.asking(method, params)
        key, asked = _key(params), self._asked[side]
        if activity is None:
            return
        if key in asked or len(asked) >= MOST_ASKED or params.get("id") is None:  # it has no answer that is known
            activity.ended(None)
        else:
            asked[key] = activity

    def _ended(self, asked_by: Side, message: Any, error: IPCError | None) -> None:
        activity = self._asked[asked_by].pop(_key(message), None)
        if activity is not None:
            activity.ended(error)


def _key(message: Any) -> bytes:
    """A request's id, as it goes there and back."""
    return msgspec.json.encode(message.get("id")) if isinstance(message, dict) else b""
