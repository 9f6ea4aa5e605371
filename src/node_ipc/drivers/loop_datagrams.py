"""UDP on an event loop: the ``DatagramPort`` of ``seam.py`` for asyncio, uvloop and winloop.

Datagrams are read by the loop's ``add_reader``, many in a turn, into the driver's one buffer: asyncio's own endpoint
reads one in a turn with a buffer of 256 KiB that is allocated anew, which took 26 µs a datagram where this takes 4
(uvloop's own endpoint is as fast as this, so one way serves all loops). A Proactor loop (Windows) has no
``add_reader``: there it is the endpoint.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ..config.address import Handed, Udp
from ..core.seam import DatagramReceiver
from ..errors import AddressError, IPCError
from ..net import tcp, udp
from ..net.udp import Outbox, Place, SocketAddress

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Settings
    from .loop import EventLoopDriver

__all__ = ["LoopPort"]

READS_PER_TURN = 64
SECONDS_PER_TURN = 0.005
"""When handlers take longer than this, the rest waits for the next turn: others want the loop, too."""


class LoopPort:
    """A UDP port; made at once, bound when the loop runs."""

    def __init__(
        self, driver: EventLoopDriver, address: Address, receiver: DatagramReceiver, settings: Settings
    ) -> None:
        self._driver = driver
        self._wanted = address
        self._receiver = receiver
        self._bound = self._closed = False
        self._family = 0
        self._loop: asyncio.AbstractEventLoop
        self._sock: socket.socket | None = None
        self._endpoint: _Endpoint | None = None
        self._outbox: Outbox | None = None
        self._writing = False

    # ---- life

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if not self._closed:
            self._task(self._begin())

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        tasks = self._driver.tasks  # which keeps them referenced
        task = self._loop.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _begin(self) -> None:
        await asyncio.sleep(0)  # never inside the call to `start`
        try:
            address = await self._bind()
        except Exception as error:
            self._release()
            if not self._closed:
                self._receiver.not_bound(tcp.listen_failed(self._wanted, error))
            return
        except BaseException:  # the loop ends
            self._release()
            raise
        if self._closed:
            self._release()
            return
        self._bound = True
        self._receiver.bound(address)

    async def _bind(self) -> Address:
        wanted = self._wanted
        where = wanted.where if isinstance(wanted, Handed) else wanted
        if not isinstance(where, Udp):
            raise AddressError(f"{where} has no datagrams: bind udp4://host:port or udp6://[host]:port")
        self._family = udp.FAMILIES[where.family]
        if isinstance(wanted, Handed):
            self._sock = wanted.sockets[0]
            self._sock.setblocking(False)
        else:
            self._sock = udp.bind(await self._resolved(where), where.port)
        self._outbox = Outbox(self._family, self._put, self._look_up, self._later)
        bound = wanted if isinstance(wanted, Handed) else Udp(where.host, self._sock.getsockname()[1], where.family)
        if not isinstance(bound, Handed) or bound.share is None:  # for several workers their parent says it
            udp.warn_if_exposed(bound, self._sock)
        await self._read_on(self._sock)
        return bound

    async def _resolved(self, where: Udp) -> list[tcp.Resolved]:
        return udp.at_once(where) or await self._loop.getaddrinfo(
            where.host, where.port, family=self._family, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )

    async def _read_on(self, sock: socket.socket) -> None:
        try:
            self._loop.add_reader(sock.fileno(), self._readable)
        except NotImplementedError:
            endpoint = _Endpoint(self)
            await self._loop.create_datagram_endpoint(lambda: endpoint, sock=sock)
            self._endpoint = endpoint

    def close(self) -> None:
        """Give the port back; what waits to be sent is dropped."""
        self._closed = True
        if self._bound:  # otherwise `_begin` is at it
            self._release()

    def _release(self) -> None:
        sock, self._sock = self._sock, None
        if self._outbox is not None:
            self._outbox.clear()
        if self._endpoint is not None:
            self._endpoint.transport.abort()
            return
        if sock is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
        sock.close()

    # ---- in

    def _readable(self) -> None:
        sock, buffer, receiver = self._sock, self._driver.read_buffer, self._receiver
        deadline = self._driver.now() + SECONDS_PER_TURN
        for _ in range(READS_PER_TURN):
            if sock is None or sock is not self._sock:
                return  # a handler closed the port
            try:
                size, where = sock.recvfrom_into(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                receiver.datagram_error(udp.port_failed(error))
                return
            receiver.datagram(bytes(buffer[:size]), *udp.sender(where))
            if self._driver.now() > deadline:
                return

    def came(self, data: bytes, where: SocketAddress) -> None:
        """The endpoint: a datagram."""
        if not self._closed:
            self._receiver.datagram(bytes(data), *udp.sender(where))

    def troubled(self, error: Exception) -> None:
        """The endpoint: something failed."""
        self._later(udp.port_failed(error))

    # ---- out

    def send(self, data: bytes, host: str, port: int) -> None:
        assert self._outbox is not None, "the port is not bound yet"
        if not self._closed:
            self._outbox.send(data, host, port)

    def pending_bytes(self) -> int:
        if self._outbox is None:
            return 0
        held = 0 if self._endpoint is None else self._endpoint.transport.get_write_buffer_size()
        return self._outbox.pending_bytes + held

    def _put(self, data: bytes, where: SocketAddress) -> bool:
        """Give one datagram to the kernel; False when it is full."""
        if self._endpoint is not None:
            return self._endpoint.put(data, where)
        assert self._sock is not None
        if udp.put(self._sock, data, where, self._later):
            return True
        self._write_on()
        return False

    def _write_on(self) -> None:
        if not self._writing:
            assert self._sock is not None
            self._writing = True
            self._loop.add_writer(self._sock.fileno(), self.writable)

    def writable(self) -> None:
        """The kernel takes more."""
        if self._outbox is not None and self._outbox.flush() and self._writing and self._sock is not None:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())

    def _later(self, error: IPCError) -> None:
        """Tell of an error, but never inside ``send``."""
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: IPCError) -> None:
        if not self._closed:
            self._receiver.datagram_error(error)

    # ---- names

    def _look_up(self, host: str) -> None:
        self._task(self._resolve(host))

    async def _resolve(self, host: str) -> None:
        assert self._outbox is not None
        try:
            place: Place = udp.place_of(
                await self._loop.getaddrinfo(host, 0, family=self._family, type=socket.SOCK_DGRAM)
            )
        except Exception as error:  # a name may be too long for IDNA, too (UnicodeError)
            self._outbox.unknown(host, error)
            return
        if not self._closed:
            self._outbox.found(host, place)


class _Endpoint(asyncio.DatagramProtocol):
    """The way of loops without ``add_reader``; the transport's own buffer is kept at one datagram."""

    def __init__(self, port: LoopPort) -> None:
        self._port = port
        self._full = False
        self.transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=0)

    def put(self, data: bytes, where: SocketAddress) -> bool:
        if self._full:
            return False
        self.transport.sendto(data, where)
        return True

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._port.came(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._port.troubled(exc)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._port.writable()
