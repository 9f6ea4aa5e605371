"""Links in memory: two ends, the two directions between them, and what may go wrong on the way.

The memory driver makes a :class:`Connection` for each client that connects. ``Direction`` stands for two kernels and
what is between them: the writer's end waits where they are full, the reader gets what arrived, in later turns.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.seam import NOBODY, Peer, PlainLink, Receiver
from ..net import tcp

if TYPE_CHECKING:
    from ..config.address import Address
    from .memory_kernel import MemoryListener, Network

__all__ = ["LOOPBACK", "Conditions", "Connection", "Direction", "MemoryLink"]

BUFFER_BYTES = 200 * 1024
"""What a Unix socket of Linux takes by default before its reader has read anything, about."""
READ_BYTES = 64 * 1024
EVERYWHERE = "0.0.0.0"  # nosec B104 # a name that is looked up here: nothing listens
LOOPBACK = {"localhost": "127.0.0.1", EVERYWHERE: "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""The one address that each name of this machine has in memory."""


@dataclass(slots=True)
class Conditions:
    """How links carry bytes. May be changed at any time; what is on its way keeps its time of arrival.

    Attributes:
        latency: Seconds that bytes are on their way, or what is called for the seconds of each piece; they
            never overtake.
        split: The sizes of the pieces that arrive: one size, sizes taken in turn, or what is called for
            each size. With None a read takes all that is there, up to 64 KiB, as a kernel gives it.
        buffer: The bytes that each direction takes before the other end has read any; past that the writer
            has to wait.

    Example:
        >>> driver.conditions.latency = 0.2
        >>> driver.conditions.split = 7  # bytes arrive in pieces of seven
    """

    latency: float | Callable[[], float] = 0.0
    split: int | Sequence[int] | Callable[[], int] | None = None
    buffer: int = BUFFER_BYTES

    def next_latency(self) -> float:
        """The seconds for one piece."""
        return self.latency() if callable(self.latency) else self.latency


class Direction:
    """One direction of a connection: the writer's kernel, the way, and the reader's kernel.

    Example:
        >>> driver.connections[-1].to_client.stall()  # the client's process reads nothing
    """

    def __init__(self, connection: Connection, driver: Network) -> None:
        self.stalled = False
        """Whether what arrives waits unread."""
        self.was_cut = False
        """Whether nothing arrives any more."""
        self.writer: MemoryLink
        self.reader: MemoryLink
        self._connection = connection
        self._driver = driver
        self._unsent = bytearray()  # what the kernel did not take: the driver's own buffer
        self._taken = 0  # bytes that the kernel took and the reader did not read yet
        self._arrived: deque[bytes | Exception | None] = deque()  # bytes, an error, or None for the end
        self._on_the_way = 0
        self._last_arrival = 0.0
        self._ending = self._end_sent = False
        self._pieces = 0
        self._reading = self._refilling = self._end_told = False

    def __repr__(self) -> str:
        return f"<Direction, {self._taken} bytes unread, {len(self._unsent)} unsent>"

    def stall(self) -> None:
        """Nothing is read at the other end until ``resume``, as if that process was stopped."""
        self.stalled = True

    def resume(self) -> None:
        """Go on reading."""
        self.stalled = False
        self._wake()
        self._look_for_the_end()

    def end(self) -> None:
        """The reader hears that nothing more comes."""
        self._ending = True
        self._send_end()

    def _send_end(self) -> None:
        if self._ending and not self._unsent and not self._end_sent:
            self._end_sent = True
            self._carry(None)

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        room = max(self._connection.conditions.buffer - self._taken, 0)
        self._send(data[:room])
        if len(data) > room:
            self._unsent += data[room:]
            self.writer._receiver.pause()

    def _send(self, data: bytes) -> None:
        self._taken += len(data)
        if self._connection.conditions.split is None:
            if data:
                self._carry(data)
            return
        while data:
            size = max(self._piece(), 1)
            self._carry(data[:size])
            data = data[size:]

    def _piece(self) -> int:
        split = self._connection.conditions.split
        assert split is not None
        if isinstance(split, int):
            return split
        if callable(split):
            return split()
        self._pieces += 1
        return split[(self._pieces - 1) % len(split)]

    def _carry(self, item: bytes | Exception | None) -> None:
        if self.was_cut:
            return
        latency = self._connection.conditions.next_latency()
        if latency <= 0 and not self._on_the_way:
            self._arrive(item)
            return
        self._last_arrival = max(self._last_arrival, self._driver.now() + latency)
        self._on_the_way += 1
        self._driver.call_later(self._last_arrival - self._driver.now(), partial(self._land, item))

    def _land(self, item: bytes | Exception | None) -> None:
        self._on_the_way -= 1
        if not self.was_cut:
            self._arrive(item)

    def _arrive(self, item: bytes | Exception | None) -> None:
        self._arrived.append(item)
        self._wake()
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        """The reader hears that the end has come, also while it reads nothing."""
        if self._unread_end() and not self._end_told:
            self._end_told = True
            self._driver.call_later(0, self._tell_of_the_end)

    def _unread_end(self) -> bool:
        ends = bool(self._arrived) and not isinstance(self._arrived[-1], bytes)
        return ends and not (self.stalled or self.reader._reads or self.reader.is_over)

    def _tell_of_the_end(self) -> None:
        if self._unread_end():
            self.reader._receiver.ending()
        else:
            self._end_told = False

    def _wake(self) -> None:
        if self._readable() and not self._reading:
            self._reading = True
            self._driver.call_later(0, self._read)

    def _readable(self) -> bool:
        return bool(self._arrived) and not self.stalled and (self.reader._reads or self.reader.is_over)

    def _read(self) -> None:
        """One read, or the end."""
        self._reading = False
        if not self._readable():
            return
        item = self._next_item()
        if self.reader.is_over:
            if isinstance(item, bytes):  # nobody reads this any more: the kernel answers with a reset
                self.reader._out._carry(_reset())
            return
        if item is None:
            self.reader._end_arrived()
        elif isinstance(item, bytes):
            self._taken -= len(item)
            self._refill_soon()
            self.reader._receiver.received(item)
        else:
            self.reader._lose(item)
        self._wake()

    def _next_item(self) -> bytes | Exception | None:
        """What the next read gives: up to 64 KiB of what arrived, or one piece where it is split."""
        arrived = self._arrived
        item = arrived.popleft()
        if not isinstance(item, bytes):
            return item
        if self._connection.conditions.split is None and len(item) < READ_BYTES:
            parts, size = [item], len(item)
            while arrived and isinstance(arrived[0], bytes) and size < READ_BYTES:
                part = arrived.popleft()
                assert isinstance(part, bytes)
                parts.append(part)
                size += len(part)
            item = b"".join(parts) if len(parts) > 1 else item
        if len(item) > READ_BYTES:
            arrived.appendleft(item[READ_BYTES:])
            item = item[:READ_BYTES]
        return item

    def _refill_soon(self) -> None:
        if self._unsent and not self._refilling:
            self._refilling = True
            self._driver.call_later(0, self._refill)

    def _refill(self) -> None:
        """The kernel has room again: it takes what the writer's driver holds."""
        self._refilling = False
        room = max(self._connection.conditions.buffer - self._taken, 0)
        if not self._unsent or not room or self.writer.is_over:
            return
        data = bytes(self._unsent[:room])
        del self._unsent[:room]
        self._send(data)
        if not self._unsent:
            self.writer._receiver.writable()
            self._send_end()
            self.writer._drained()


class MemoryLink(PlainLink):
    """One end of a connection."""

    def __init__(self, connection: Connection, receiver: Receiver, peer: Peer) -> None:
        self.peer = peer
        self.connection = connection
        self.is_over = False
        """Whether this end is gone (or about to hear so)."""
        self._receiver = receiver
        self._driver = connection._driver
        self._out: Direction
        self._in: Direction
        self._reads = False
        self._ended = self._peer_ended = self._leaving = False

    def __repr__(self) -> str:
        return f"<MemoryLink to {self.peer}{' over' if self.is_over else ''}>"

    def write(self, data: bytes) -> None:
        if not self.is_over and not self._ended:
            self._out._write(bytes(data))

    def pending_bytes(self) -> int:
        return len(self._out._unsent)

    def unread_bytes(self) -> int | None:
        """As a Unix socket tells it; as on TCP nothing where the address has a host."""
        if self.is_over or self.peer.host is not None:
            return None
        return self._out._taken + len(self._out._unsent)

    def all_arrived(self) -> bool:
        """Over a way that takes time, or to a peer that leaves something unread, it did not."""
        return not (self._out._on_the_way or self._out._taken or self._out._unsent)

    def close(self) -> None:
        if self.is_over:
            return
        if not self._ended:
            self._ended = True
            self._out.end()
        if self._peer_ended:
            self._leaving = True
            self._drained()

    def abort(self) -> None:
        if self.is_over:
            return
        unread = self._in._taken > 0
        self._lose(None)
        self._out._carry(_reset() if unread else None)

    def pause_reading(self) -> None:
        self._reads = False
        self._in._look_for_the_end()

    def resume_reading(self) -> None:
        self._reads = True
        self._in._wake()

    def _open(self) -> None:
        self._reads = True
        self._receiver.opened(self)
        self._in._wake()

    def _end_arrived(self) -> None:
        if not self._peer_ended:  # `Direction.end` and the writer may both say so
            self._peer_ended = True
            self._receiver.ended()

    def _drained(self) -> None:
        if self._leaving and not self._out._unsent:
            self._lose(None)

    def _lose(self, error: BaseException | None) -> None:
        """This end is over; its receiver hears of it in a later turn."""
        if self.is_over:
            return
        self.is_over = True
        self._out._unsent.clear()
        self._in._wake()
        self._driver.call_later(0, partial(self._lost, tcp.link_failed(error)))

    def _lost(self, error: Exception | None) -> None:
        self.connection._forget(self)
        receiver, self._receiver = self._receiver, NOBODY
        receiver.lost(error)


class Connection:
    """Both ends of one connection, and what may go wrong between them.

    Example:
        >>> connection = driver.connections[-1]
        >>> connection.drop()  # as when the kernel ends it
        >>> driver.run_until(lambda: not server.sockets)
    """

    def __init__(self, driver: Network, address: Address, receiver: Receiver) -> None:
        self.address = address
        self._driver = driver
        self._own: Conditions | None = None
        self._open_ends = 2
        here = _seen(driver.identity, address, driver.new_port() if hasattr(address, "port") else None)
        there = _seen(driver.server_identity, address, getattr(address, "port", None))
        self.client = MemoryLink(self, receiver, there)
        """The end of whoever connected."""
        self.server = MemoryLink(self, NOBODY, here)
        """The end of whoever listens."""
        self.to_server = self._direction(self.client, self.server)
        self.to_client = self._direction(self.server, self.client)

    def __repr__(self) -> str:
        return f"<Connection to {self.address}>"

    def _direction(self, writer: MemoryLink, reader: MemoryLink) -> Direction:
        direction = Direction(self, self._driver)
        direction.writer, direction.reader = writer, reader
        writer._out = reader._in = direction
        return direction

    def open(self, listener: MemoryListener) -> None:
        """The client's end is open at once, the server's when it has accepted."""
        self._driver.call_later(0, partial(self._accept, listener))
        self.client._open()

    def _accept(self, listener: MemoryListener) -> None:
        """A turn after the client's end opened: the server takes it, or closes it at once."""
        if self.server.is_over:  # broken meanwhile
            return
        if listener.keeps_waiting(partial(self._accept, listener)):
            return
        receiver = listener.accept(self.server.peer)
        if receiver is None:
            self.server.abort()
            return
        self.server._receiver = receiver
        self._driver.call_later(0, self.server._open)

    @property
    def is_carrying(self) -> bool:
        """Whether bytes, or an end, are on their way in either direction."""
        return bool(self.to_server._on_the_way or self.to_client._on_the_way)

    def _forget(self, end: MemoryLink) -> None:
        self._open_ends -= 1
        if self._open_ends == 0:
            self._driver.connections.remove(self)

    # ---- faults

    @property
    def conditions(self) -> Conditions:
        """How this link carries bytes: the driver's conditions, until it is given its own."""
        return self._own or self._driver.conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self._own = conditions

    def change(self, **conditions: Any) -> None:
        """Give this link conditions of its own that differ in these: ``change(latency=0.05)``."""
        self._own = replace(self.conditions, **conditions)

    def stall(self) -> None:
        """Nothing arrives at either end until ``resume``; writers fill the kernel, and then have to wait."""
        self.to_server.stall()
        self.to_client.stall()

    def resume(self) -> None:
        """What ``stall`` held back arrives."""
        self.to_server.resume()
        self.to_client.resume()

    def drop(self, error: Exception | None = None) -> None:
        """Break it: both ends hear of it (``ConnectionResetError`` by default); what is on its way is gone."""
        for direction in (self.to_server, self.to_client):
            direction.was_cut = True
            direction._unsent.clear()
            direction._arrived.clear()
        self.client._lose(error or _reset())
        self.server._lose(error or _reset())

    def cut(self) -> None:
        """Cut it silently: nothing arrives any more and nobody is told; what is on its way is gone."""
        for direction in (self.to_server, self.to_client):
            direction.was_cut = True
            direction._arrived.clear()


def _seen(identity: Peer, address: Address, port: int | None) -> Peer:
    """A peer as the other end sees it: by process and user locally, by host and port on a tcp."""
    host = getattr(address, "host", None)
    if host is None:
        return identity
    return Peer("memory", host=identity.host or LOOPBACK.get(host, host), port=port)


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
