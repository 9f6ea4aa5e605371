"""Several listeners of one server: all of them accept, or none does.

Each address has a listener of its own. Those that are ready first leave whoever comes in the kernel's queue until the
last one is ready; where one cannot listen, the others give their addresses back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.address import Address
    from ..config.config import Config
    from .seam import Driver, Listener, Peer, Receiver

__all__ = ["Host", "Listeners"]


class Host(Protocol):
    """The server."""

    def listening_at(self, addresses: tuple[Address, ...]) -> None: ...
    def not_listening(self, error: Exception) -> None: ...
    def accept_at(self, address: Address, peer: Peer) -> Receiver | None: ...


class Listeners:
    """The listeners of several addresses, as one."""

    def __init__(self, driver: Driver, addresses: Sequence[Address], host: Host, settings: Config) -> None:
        self.host = host
        self.is_closed = False
        self._entrances = [_Entrance(self, address) for address in addresses]
        for entrance in self._entrances:
            entrance.listener = driver.listen(entrance.address, entrance, settings)

    def ready(self) -> None:
        """One more is: when it was the last, all of them accept."""
        if not all(entrance.is_ready for entrance in self._entrances):
            return
        self.host.listening_at(tuple(entrance.address for entrance in self._entrances))
        for entrance in self._entrances:
            if not self.is_closed:  # by a handler of 'start'
                entrance.listener.resume()

    def failed(self, error: Exception) -> None:
        """One of them cannot listen, and so none does."""
        self.close()
        self.host.not_listening(error)

    def close(self) -> None:
        self.is_closed = True
        for entrance in self._entrances:
            entrance.listener.close()

    def pause(self) -> None:
        for entrance in self._entrances:
            entrance.listener.pause()

    def resume(self) -> None:
        for entrance in self._entrances:
            entrance.listener.resume()

    def reload_tls(self, tls: Any) -> None:
        """At each address that has TLS; the others have nothing to reload."""
        refusals, reloaded = [], False
        for entrance in self._entrances:
            try:
                entrance.listener.reload_tls(tls)
                reloaded = True
            except AddressError as error:
                refusals.append(error)
        if not reloaded:
            raise refusals[0]


class _Entrance:
    """One of the addresses, as its listener's acceptor."""

    listener: Listener

    def __init__(self, listeners: Listeners, address: Address) -> None:
        self.address = address
        self.is_ready = False
        self._listeners = listeners

    def listening(self, address: Address) -> None:
        self.address, self.is_ready = address, True
        self.listener.pause()
        self._listeners.ready()

    def not_listening(self, error: Exception) -> None:
        if not self._listeners.is_closed:
            self._listeners.failed(error)

    def accept(self, peer: Peer) -> Receiver | None:
        return self._listeners.host.accept_at(self.address, peer)
