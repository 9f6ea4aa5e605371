"""A socket beside a server's own, over which ``node-ipc top`` looks at it.

It is a node-ipc server as any other: guarded, for this user only, on the same driver. Who looks gets ``observe.look``
once a second, and may ask ``observe.messages`` and ``observe.emit``. While nobody looks nothing is counted.

Where several processes serve one address, as workers do, the first that comes is at ``.observe``, the next at
``.observe.2``; one that takes another's place takes his number.

A viewer that does not read gets nothing more until it does: one look and the answers to its own questions wait for it,
``WAITING_BYTES`` at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..config.address import Address, Handed, Pipe, Several, Udp, Unix, local_client
from ..config.config import Config
from ..config.foreign import caused
from ..errors import AddressInUse, IPCError, NotConnected, RemoteError
from ..wire.names import ASK_CONTRACT
from .requests import NO_SUCH_METHOD
from .seam import nothing
from .tally import Tally

if TYPE_CHECKING:
    from .outcome import Outcome
    from .requests import Request, Requests
    from .seam import Driver, Timer
    from .session import Session
    from .trace import Stats, TraceHook
    from .watch import Watch

__all__ = [
    "EMIT",
    "FORMAT",
    "LOOK",
    "LOOK_SECONDS",
    "MESSAGES",
    "MOST_AT_ONE_ADDRESS",
    "WAITING_BYTES",
    "Beside",
    "EmitMessage",
    "Observation",
    "Observed",
    "observed_at",
    "settings_of",
]

FORMAT = 1
"""Of what is told; a viewer that knows another one says so."""
LOOK, MESSAGES, EMIT = "observe.look", "observe.messages", "observe.emit"
LOOK_SECONDS = 1.0
WAITING_BYTES = 1024 * 1024
"""What waits for a viewer at most."""
MOST_VIEWERS = 8
MOST_AT_ONE_ADDRESS = 64
"""Servers at one address that each have a socket beside it."""
MOST_LINKS = 100
"""Links that are told one by one; the busiest of late are not known, so these are the oldest."""
BESIDE = ".observe"


def observed_at(address: Address, config: Config, number: int = 1) -> Unix | Pipe:
    """Where the socket is that lies beside this address; of a network address beside where an id's would be.

    ``number`` is that of the server, where several are at this address.
    """
    beside = BESIDE if number == 1 else f"{BESIDE}.{number}"
    where = address.addresses[0] if isinstance(address, Several) else address
    if isinstance(where, Handed):
        where = where.where
    if isinstance(where, Unix):
        return Unix(where.path + beside, tuple(path + beside for path in where.also))
    if isinstance(where, Pipe):
        return Pipe(where.name + beside, tuple(name + beside for name in where.also))
    kind = "udp" if isinstance(where, Udp) else "tcp"
    local = local_client(f"{kind}-{where.port}{beside}", socket_root=config.socket_root, appspace=config.appspace)
    return Unix(local.path) if isinstance(local, Unix) else Pipe(local.name)


class Observed(Protocol):
    """The server, as far as it is looked at."""

    @property
    def address(self) -> Address: ...
    @property
    def settings(self) -> Config: ...
    @property
    def sockets(self) -> list[Any]: ...
    def stats(self) -> Stats: ...
    def watch(self, watch: Watch) -> Callable[[], None]: ...
    def on_trace(self, hook: TraceHook, *, traffic: bool = ...) -> Callable[[], None]: ...
    def broadcast(self, type: Any, data: Any = ...) -> bool: ...
    def session_fault(self, socket: Any, error: IPCError) -> None: ...


class Beside(Protocol):
    """The server that viewers connect to."""

    @property
    def sockets(self) -> list[Session]: ...
    def on(self, event: str, handler: Any) -> Any: ...
    def handle(self, method: str, handler: Any) -> Any: ...
    def start(self) -> Outcome[Any]: ...
    def begin_stop(self, timeout: float | None = None) -> Outcome[Any]: ...


class EmitMessage(msgspec.Struct):
    """What a viewer wants emitted, and to which socket; without one to all."""

    event: str
    data: Any = msgspec.field(default_factory=dict)
    to: int | None = None


def settings_of(config: Config) -> Config:
    """The configuration of the socket beside: nothing that its users are let in by, or asked for, at the server."""
    beside = Config(
        socket_root=config.socket_root,
        unlink=config.unlink,
        max_connections=MOST_VIEWERS,
        max_message_size=WAITING_BYTES,
        soft_pending_bytes=WAITING_BYTES // 4,
        max_pending_bytes=WAITING_BYTES,
        slow_policy="drop_newest",
        close_timeout=500,
    )
    return beside.settings()


class Observation:
    """One server that can be looked at."""

    def __init__(self, observed: Observed, make_beside: Callable[[int], Beside], driver: Driver) -> None:
        """``make_beside`` makes the server for viewers, by the number of the observed one at its address."""
        self._observed = observed
        self._make_beside = make_beside
        self._driver = driver
        self._tally: Tally | None = None  # while somebody looks
        self._undo_watch: Callable[[], None] | None = None
        self._undo_trace: Callable[[], None] = nothing
        self._timer: Timer | None = None
        self._since = 0.0
        self._before = (0, 0)  # what had come and gone at the last look
        self._wanting: set[Session] = set()  # viewers that look into messages
        self._is_over = False
        self.started: Outcome[Observation] = driver.outcome(self)
        """Settled when viewers can connect, or with the error why they never will."""
        self._open(1)

    def _open(self, number: int) -> None:
        """Let viewers connect; where another server has this number, under the next."""
        self._number = number
        self._beside = beside = self._make_beside(number)
        beside.on("start", lambda server: self.started.settle())
        beside.on("connect", self._came)
        beside.on("close", self._went)
        beside.on("error", self._failed)
        beside.handle(MESSAGES, self._want)
        beside.handle(EMIT, self._emit)
        beside.handle(ASK_CONTRACT, self._describe)
        beside.start()

    def close(self) -> None:
        """Nobody looks any more."""
        self._is_over = True
        self._stop_counting()
        self._beside.begin_stop(0)

    # ---- viewers

    def _failed(self, error: IPCError, socket: Session | None) -> None:
        if socket is not None or self._is_over:
            return
        if isinstance(error, AddressInUse) and self._number < MOST_AT_ONE_ADDRESS:
            self._open(self._number + 1)
        else:
            wrong = caused(IPCError(f"the server works, but cannot be observed: {error}"), error)
            self.started.settle(wrong)
            self._observed.session_fault(None, wrong)

    def _came(self, socket: Session) -> None:
        if self._tally is None:
            self._tally = tally = Tally(self._driver.now, self._count_no_more, self._driver.clock)
            self._since = self._driver.now()
            stats = self._observed.stats()
            self._before = stats.messages_in, stats.messages_out
            self._undo_trace = self._observed.on_trace(tally.trace, traffic=False)
            self._count(tally)
            self._timer = self._driver.call_later(LOOK_SECONDS, self._look)
        socket.emit(LOOK, self._seen(self._tally))

    def _went(self, socket: Session) -> None:
        self._want(False, socket)
        if not self._beside.sockets:
            self._stop_counting()

    def _stop_counting(self) -> None:
        if self._tally is not None:
            self._tally = None
            self._undo_trace()
            self._count_no_more()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self, tally: Tally) -> None:
        if self._undo_watch is None:
            self._undo_watch = self._observed.watch(tally)

    def _count_no_more(self) -> None:
        """Until the next look: so much goes on that counting it one by one would be in the way."""
        undo, self._undo_watch = self._undo_watch, None
        if undo is not None:
            undo()

    def _describe(self, params: Any, socket: Session, request: Request) -> Any:
        """What the observed server answers to that, if it does."""
        requests: Requests | None = getattr(self._observed, "requests", None)
        handler = None if requests is None else requests.caller(ASK_CONTRACT)
        if handler is None:
            raise RemoteError(NO_SUCH_METHOD, "the server does not describe itself")
        return handler(params, socket, request)

    def _want(self, wants: bool, socket: Session) -> bool:
        if wants:
            self._wanting.add(socket)
        else:
            self._wanting.discard(socket)
        if self._tally is not None:
            self._tally.keeps = bool(self._wanting)
        return wants

    def _emit(self, message: EmitMessage, socket: Session, request: Request) -> int:
        """How many sockets it went to."""
        sockets = self._observed.sockets
        try:
            if message.to is None:
                self._observed.broadcast(message.event, message.data)
                return len(sockets)
            for each in sockets:
                if each.id == message.to:
                    each.emit(message.event, message.data)
                    return 1
            raise NotConnected(f"there is no socket {message.to} any more")
        except IPCError as error:
            raise RemoteError(1, str(error)) from error

    # ---- looking

    def _look(self) -> None:
        tally = self._tally
        if tally is None:
            return
        self._timer = self._driver.call_later(LOOK_SECONDS, self._look)
        viewers = [socket for socket in self._beside.sockets if socket.outgoing.below_soft and not socket.is_full]
        seen, messages = self._seen(tally), tally.take_messages()
        self._count(tally)
        for socket in viewers:
            socket.emit(LOOK, seen)
            if socket in self._wanting and (messages["messages"] or messages["skipped"]):
                socket.emit(MESSAGES, messages)

    def _seen(self, tally: Tally) -> dict[str, Any]:
        sockets, stats, (came, went) = self._observed.sockets, self._observed.stats(), self._before
        self._before = stats.messages_in, stats.messages_out
        return {
            "format": FORMAT,
            "time": self._driver.now(),
            "since": self._since,
            "address": str(self._observed.address),
            "stats": stats,
            "estimated": tally.is_spent,
            "links": [_link(socket) for socket in sockets[:MOST_LINKS]],
            "link_count": len(sockets),
            **tally.look(stats.messages_in - came, stats.messages_out - went),
        }


def _link(socket: Any) -> dict[str, Any]:
    claimed = getattr(socket, "claimed_id", None)
    return {
        "id": socket.id,
        "peer": str(socket.peer),
        "name": str(claimed)[:100] if claimed is not None else None,
        "stats": socket.stats(),
    }
