"""The seam between the pure middle and the kernel: what a driver offers, and what it may expect.

The middle (client, server, session, …) knows only the protocols below. A driver does the waiting: the asyncio one in
``drivers/loop.py``, the one in the caller's thread in ``drivers/thread.py``, and the one in memory with a virtual clock
in ``drivers/memory.py``. A contract test runs the same checks on each of them.

Three rules keep re-entrant calls safe:

- ``Link.write``, ``Link.close`` and ``Link.abort`` never call back into the receiver, but for ``pause``, which
  comes inside ``write`` when the kernel does not take everything;
- ``Receiver.opened`` and ``Receiver.lost`` come exactly once each, and ``lost`` only after ``opened`` (an
  attempt that fails gets ``failed`` instead of both);
- neither comes inside the call that caused it, so a table that is being walked does not change.

All times are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from weakref import WeakSet

    from ..config.address import Address
    from ..config.config import Config
    from ..errors import IPCError
    from .outcome import Outcome

T = TypeVar("T")

__all__ = [
    "INSTANT",
    "NOBODY",
    "NOWHERE",
    "Acceptor",
    "Cancellable",
    "DatagramPort",
    "DatagramReceiver",
    "Driver",
    "Endpoint",
    "Flushable",
    "Gone",
    "Link",
    "Listener",
    "Lock",
    "Nobody",
    "Peer",
    "PlainLink",
    "Receiver",
    "Timer",
    "nothing",
    "tell_end",
]

INSTANT = 1e-6
"""Seconds by which a timer may come early: clocks and delays are rounded."""
NOWHERE = -1
"""The ``home`` of what no thread may use: none has this identifier, so every call takes its guarded path."""


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end of a link, as the kernel (not the peer) tells it.

    Attributes:
        transport: ``unix``, ``pipe``, ``tcp``, ``tls``, ``udp4``, ``udp6`` or ``memory``.
        pid: The process that connected (Unix sockets on Linux; pipes).
        uid: Its user (Unix sockets).
        gid: Its group (Unix sockets).
        host: The numeric address (network transports).
        port: The port (network transports).
        certificate: The verified certificate, as ``ssl.SSLSocket.getpeercert`` gives it (TLS).

    Example:
        >>> socket.peer.transport, socket.peer.uid  # on a Unix socket: ('unix', 1000)
        ('memory', ...)
    """

    transport: str
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    host: str | None = None
    port: int | None = None
    certificate: dict[str, Any] | None = None

    def __hash__(self) -> int:
        return hash((self.transport, self.pid, self.uid, self.gid, self.host, self.port))

    def __str__(self) -> str:
        if self.host is not None:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{self.transport} {host}:{self.port}"
        pid = "" if self.pid is None else f" pid {self.pid}"
        return self.transport + pid + ("" if self.uid is None else f" uid {self.uid}")


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; cancelling twice, or after it ran, does nothing."""


class Cancellable(Protocol):
    """A coroutine that runs."""

    def cancel(self) -> Any:
        """Stop it where it waits; ``done`` hears ``None``."""


class Link(Protocol):
    """One open connection, as the session sees it."""

    peer: Peer

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, or to the driver's own buffer when the kernel is full; never raises."""

    def write_parts(self, parts: list[Any]) -> None:
        """As ``write``, of several buffers one behind the other. Where they are not copied, they must not change until
        ``pending_bytes`` is 0."""

    def read_into(self, room: memoryview) -> int:
        """Inside ``received``: read what has come straight into this memory; how many bytes, 0 where there are none.

        Also 0 where a link cannot, or the read fails: what there is to say comes as ever.
        """

    def read_first(self, read: Callable[[], bool] | None) -> None:
        """From now on, before each read, call this instead, which reads with ``read_into``; where it returns False, or
        a link cannot, all is as ever. None ends it."""

    def pending_bytes(self) -> int:
        """The bytes that ``write`` took and the kernel did not take yet."""

    def unread_bytes(self) -> int | None:
        """The bytes that ``write`` took and the peer's program did not read yet, at the most.

        None where nobody tells (a TCP knows what the peer's kernel has), and on a link that is broken already.
        """

    def all_arrived(self) -> bool:
        """Whether the peer's kernel has everything that was written, and our end: asked when the peer ends.

        A peer that ends before it has them did not end because of ours.
        """

    def close(self) -> None:
        """End our side once everything written is with the kernel; ``lost(None)`` comes when the peer ends too."""

    def abort(self) -> None:
        """Drop what is unsent and end both sides now; ``lost`` comes in a later turn."""

    def pause_reading(self) -> None:
        """Read nothing more until ``resume_reading``; what the kernel holds stays there.

        The other end's end is looked for meanwhile: ``Receiver.ending``.
        """

    def resume_reading(self) -> None: ...


class PlainLink:
    """What links have in common that neither write several buffers at once nor read into a given place."""

    __slots__ = ()

    def write_parts(self: Link, parts: list[Any]) -> None:
        self.write(b"".join(parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...


class Gone(msgspec.Struct, eq=False):
    """A link that is over, for its session: all that is left of it is who was there."""

    peer: Peer

    def write(self, data: bytes) -> None: ...
    def write_parts(self, parts: list[Any]) -> None: ...
    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...
    def pending_bytes(self) -> int:
        return 0

    def unread_bytes(self) -> int | None: ...
    def all_arrived(self) -> bool:
        return False

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Receiver(Protocol):
    """What the driver tells a session."""

    def opened(self, link: Link) -> None:
        """The link is usable (after the TLS handshake, after the credentials check)."""

    def failed(self, error: Exception) -> None:
        """The attempt to open failed; instead of ``opened`` and ``lost``."""

    def received(self, data: bytes) -> None:
        """Bytes, at most 64 KiB of them; never empty."""

    def ending(self) -> None:
        """The peer has ended, or is gone, while reading is paused: told once, within half a second or so.

        What it sent before still waits, and after it ``ended`` or ``lost``: both come once reading is resumed.
        """

    def ended(self) -> None:
        """The peer will send nothing more. The session flushes and closes."""

    def pause(self) -> None:
        """The kernel did not take everything: keep what is to be written until ``writable``."""

    def writable(self) -> None:
        """The driver's buffer is empty again."""

    def lost(self, error: Exception | None) -> None:
        """The link is gone: ``None`` after an orderly end."""


class Nobody:
    """Hears everything and does nothing: in the place of whom something that is over has told the last.

    Links, sessions and their halves know each other, and what one that is over holds (TLS buffers, half a message) is
    to be freed at once, not when the cyclic collector comes.
    """

    is_open = False
    heard = traffic = peer = None

    def __getattr__(self, verb: str) -> Callable[..., None]:
        return nothing


def nothing(*_: Any) -> None:
    """What is called where nobody listens, or there is nothing to undo."""


def tell_end(done: Callable[[BaseException | None], None], returned: Callable[[Any], None] | None, task: Any) -> None:
    """Tell what a task that has ended returned, and what it raised; None where it raised nothing, or was cancelled."""
    if task.cancelled():
        done(None)
        return
    error = task.exception()
    if error is None and returned is not None and (result := task.result()) is not None:
        returned(result)
    done(error)


NOBODY: Any = Nobody()


class Acceptor(Protocol):
    """What the driver tells a server."""

    def listening(self, address: Address) -> None:
        """The server is reachable, at this address (a port of 0 is now the real one)."""

    def not_listening(self, error: Exception) -> None:
        """The address cannot be listened on; instead of ``listening``."""

    def accept(self, peer: Peer) -> Receiver | None:
        """A connection is there: who gets it, or ``None`` to refuse it."""


class Listener(Protocol):
    """A listening socket."""

    def close(self) -> None:
        """Accept nothing more and remove the socket's file if it is still ours; open links stay."""

    def pause(self) -> None:
        """Accept nobody until ``resume``: who connects waits. For the time between ``listening`` and the next turn."""

    def resume(self) -> None:
        """Accept those who waited, and whoever comes."""

    def reload_tls(self, tls: Any) -> None:
        """Read the certificates anew, or those of other TLS options; open links and handshakes keep the old ones.

        Raises ``AddressError`` where there is no TLS, ``ConfigError`` where the new ones cannot be used.
        """


class DatagramReceiver(Protocol):
    """What the driver tells a datagram server."""

    def bound(self, address: Address) -> None:
        """The port is ours, at this address."""

    def not_bound(self, error: Exception) -> None:
        """The address cannot be used, instead of ``bound``; or after it: not any more, and the port is closed."""

    def datagram(self, data: bytes, host: str, port: int) -> None:
        """One datagram, whole."""

    def datagram_error(self, error: Exception) -> None:
        """The kernel reports that sending failed."""


class DatagramPort(Protocol):
    """A bound UDP port."""

    def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram. A host name is resolved first (once; the result is kept)."""

    def send_newest(self, data: bytes, host: str, port: int, event: str) -> int:
        """The same, and one of this event that came so and still waits here for that address is not sent.

        Returns the bytes of that one, or 0.
        """

    def pending_bytes(self) -> int: ...

    def close(self) -> None: ...


class Endpoint(Protocol):
    """A client or server."""

    begins_anew: bool
    """Whether it makes a new link where the driver forgets the old one."""

    @property
    def state(self) -> Any:
        """Where it is in its life, an enumeration."""

    def forked(self) -> None:
        """This is a forked child: the parent owns the links, and nothing may be emitted."""

    def abandoned(self) -> None:
        """What the driver ran on is gone for good: links are lost, timers and attempts with them."""

    def interrupted(self, reason: IPCError) -> None:
        """A step of this driver's was not done to its end, as where a signal's handler raised: what began there is
        not trusted any more."""

    def called_by_handler(self) -> bool:
        """Whether a handler of requests of its calls: what it ends from now on ends behind its answer."""

    def abort(self) -> None:
        """End at once."""

    def unsent(self) -> int:
        """Messages that were emitted and that the kernel does not have, or not to their end."""

    def remark_on_unheard(self) -> str:
        """What came and no handler heard, for the end of a message; empty where there was none."""

    def remark_on_no_time(self) -> str:
        """What to do where the program ends and no handler had the time to be called; else empty."""


class Flushable(Protocol):
    """Something that holds bytes back until the end of the turn."""

    def turn_ended(self) -> None: ...


class Lock(Protocol):
    """What ``with`` needs of a ``threading.Lock``."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *exception: Any) -> None: ...


class Driver(Protocol):
    """Whatever does the waiting.

    ``home`` is the identifier of the thread that runs the driver and ``thread`` tells the caller's: the middle
    compares them (a fork makes ``home`` match no thread). Before a driver runs, ``home`` is 0: no thread is
    wrong yet. ``lock`` guards what other threads hand over.
    """

    home: int
    is_forked: bool
    """Whether this is a forked child, where everything belongs to the parent."""
    thread: Callable[[], int]
    runs_coroutines: bool
    """Whether ``spawn`` works; where it does not, async handlers are refused at ``on``."""
    has_small_stack: bool
    """Whether its thread has too little stack for what msgspec would decode; see ``wire/costs.py``."""
    breaks_unread: bool
    """Whether the kernel breaks a local link that ends with something unread, so that it does not end in order."""
    hides_ends: bool
    """Whether the kernel tells of a link's end only those who have read all that came before it."""
    lock: Lock
    endpoints: WeakSet[Endpoint]
    """Who works with this driver; told when a fork makes it somebody else's."""

    @property
    def keep_failure(self) -> Callable[[BaseException], None] | None:
        """Who is told of failures of handlers, and payloads that do not fit, if no ``error`` handler hears them.

        That is besides the log; None: nobody.
        """

    @property
    def misheard(self) -> list[str] | None:
        """Where it is kept, besides the log, that nobody heard an event whose name is nearly a handler's."""

    def sockets_in(self, directory: str) -> list[str]:
        """The names of the local sockets in a directory, some thousands at most."""

    def misplaced(self) -> str | None:
        """Why nothing may be called from where the caller is (another event loop); None where it may."""

    def from_other_threads(self, verb: str) -> str:
        """What other threads may call, and what to do instead of this."""

    def open(self, address: Address, receiver: Receiver, settings: Config) -> Timer:
        """Connect; ``receiver`` hears ``opened`` or ``failed`` in a later turn, and nothing once this is cancelled.

        Cancelling closes what was open for it; once the link is open it does nothing.
        """

    def listen(self, address: Address, acceptor: Acceptor, settings: Config) -> Listener:
        """Listen; ``acceptor`` hears ``listening`` or ``not_listening`` in a later turn."""

    def bind(self, address: Address, receiver: DatagramReceiver, settings: Config) -> DatagramPort:
        """Bind a UDP port; ``receiver`` hears ``bound`` or ``not_bound`` in a later turn."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call once after ``delay`` seconds; 0 is a later turn."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""

    def clock(self) -> float:
        """The same, fine enough to time a handler: ``now`` of some loops stands still while they work."""

    def random(self) -> float:
        """A number from 0 up to 1, for the jitter of retries."""

    def turn_ends(self, session: Flushable) -> bool:
        """Call ``session.turn_ended()`` once at the end of this turn; False where none is under way.

        (Outside a pump of the caller's driver each write is a turn of its own.)
        """

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[BaseException | None], None],
        returned: Callable[[Any], None] | None = None,
    ) -> Cancellable:
        """Run an async handler, keep it referenced, and tell ``done`` its exception or ``None``, in a later turn.

        Before that ``returned`` is told what it returned, where that is not None.
        """

    def current_task(self) -> object:
        """The async handler that calls this, as ``spawn`` returned it; None where none does."""

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` in the driver's thread, in the order of the calls; safe from any thread."""

    def outcome(self, value: T) -> Outcome[T]:
        """Something to be settled later that this driver's front can wait for."""
