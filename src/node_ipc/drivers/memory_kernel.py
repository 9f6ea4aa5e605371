"""What connections begin with in memory: addresses that are found, refuse or say nothing, as a kernel has them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..config.address import Pipe, Tls, Udp, Unix
from ..core.seam import Acceptor, Driver, Peer, Receiver
from ..errors import AddressError
from ..net import tcp
from ..net.connect import Kernel

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from ..net.tls_link import Handshakes

__all__ = ["MemoryKernel", "MemoryListener", "MemorySocket", "Network"]


class Network(Driver, Protocol):
    """What the ends in memory share: the memory driver."""

    conditions: Any
    connections: list[Any]
    hosts: dict[str, Sequence[str] | None]
    identity: Peer
    listeners: dict[Address, MemoryListener]
    loses: Callable[[bytes], bool]
    ports: dict[tuple[str, int], Any]
    refusal: Exception | None
    server_identity: Peer
    silent: set[str]
    speaks_tls: bool

    def new_port(self) -> int:
        """A port that nobody has, as the kernel gives one for port 0."""


@dataclass
class MemorySocket:
    """An end that connects, or is connected already."""

    network: Network
    address: Address
    """Where; once connected it has the host that answered."""
    listener: Any = None

    def connect_ex(self, where: Sequence[Any]) -> int:
        """0, or the errno of a host where nobody listens, or that never answers."""
        if where[0] in self.network.silent:
            return errno.EINPROGRESS
        self.address = msgspec.structs.replace(self.address, host=where[0])
        self.listener = self.network.listeners.get(self.address)
        return 0 if self.listener is not None else errno.ECONNREFUSED

    def getpeername(self) -> tuple[str, int]:
        return self.address.host, self.address.port  # type: ignore[union-attr]

    def close(self) -> None:
        """Nothing is held."""


class MemoryKernel(Kernel):
    """One attempt's view of the memory driver."""

    def __init__(self, network: Network, address: Address) -> None:
        self.speaks_tls = network.speaks_tls
        self._network = network
        self._address = address

    def unix(self, address: Unix, settings: Config) -> tuple[Any, Peer]:
        return self._local([Unix(path) for path in (address.path, *address.also)])

    def pipe(self, address: Pipe) -> tuple[Any, Peer]:
        return self._local([Pipe(name) for name in (address.name, *address.also)])

    def _local(self, addresses: Sequence[Address]) -> tuple[Any, Peer]:
        self._refuse()
        for address in addresses:
            if (getattr(address, "path", None) or str(address)) in self._network.silent:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            listener = self._network.listeners.get(address)
            if listener is not None:
                return MemorySocket(self._network, self._address, listener), Peer("memory")
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def stream(self, family: int, settings: Config) -> MemorySocket:
        self._refuse()
        return MemorySocket(self._network, self._address)

    def _refuse(self) -> None:
        if self._network.refusal is not None:
            raise self._network.refusal


class MemoryListener:
    """A place that can be connected to."""

    def __init__(self, driver: Network, address: Address, acceptor: Acceptor, settings: Config) -> None:
        self.is_closed = False
        self._acceptor = acceptor
        self._is_paused = False
        self._waiting: list[Callable[[], None]] = []
        self._settings = settings
        self._handshakes: Handshakes | None = None
        self._driver = driver
        self._address: Any = address
        driver.call_later(0, self._begin)

    def _begin(self) -> None:
        if self.is_closed:
            return
        try:
            self._listen()
        except Exception as error:
            self.is_closed = True
            self._acceptor.not_listening(tcp.listen_failed(self._address, error))
        else:
            self._acceptor.listening(self._address)

    def _listen(self) -> None:
        if isinstance(self._address, Udp):
            raise AddressError(f"{self._address} is for datagrams, which have no connections")
        if self._address in self._driver.listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        if isinstance(self._address, Tls) and self._driver.speaks_tls:
            from ..net.tls_link import Handshakes

            self._handshakes = Handshakes(self._driver, self._settings)
        if getattr(self._address, "port", None) == 0:
            self._address = msgspec.structs.replace(self._address, port=self._driver.new_port())
        self._driver.listeners[self._address] = self

    def pause(self) -> None:
        """Keep who comes waiting."""
        self._is_paused = True

    def resume(self) -> None:
        """Accept who waited, and whoever comes."""
        self._is_paused = False
        waiting, self._waiting = self._waiting, []
        for accept in waiting:
            self._driver.call_later(0, accept)

    def keeps_waiting(self, accept: Callable[[], None]) -> bool:
        """Whether nobody is accepted for the moment: ``accept`` is called when that is over."""
        if self._is_paused:
            self._waiting.append(accept)
        return self._is_paused

    def accept(self, peer: Peer) -> Receiver | None:
        """Who gets this connection; None where it is refused."""
        receiver = None if self.is_closed else self._acceptor.accept(peer)
        if receiver is None or self._handshakes is None:
            return receiver
        return self._handshakes.begin(receiver, peer)

    def close(self) -> None:
        """Accept nothing more; open links stay."""
        if not self.is_closed:
            self.is_closed = True
            self.resume()  # who waited hears that nobody is there
            if self._driver.listeners.get(self._address) is self:
                del self._driver.listeners[self._address]
            if self._handshakes is not None:
                self._handshakes.give_up()

    def reload_tls(self, tls: Any) -> None:
        """New certificates for new handshakes; ``AddressError`` where no TLS is spoken."""
        if self._handshakes is None:
            raise AddressError(f"{self._address} has no TLS to reload")
        self._handshakes.reload(tls)
