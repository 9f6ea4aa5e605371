"""Listening on named pipes of Windows, for every driver that can wait for them."""

from __future__ import annotations

from collections.abc import Callable
from logging import WARNING
from typing import TYPE_CHECKING, Protocol

from ..config.address import Pipe
from ..config.logs import logger
from ..core.seam import Acceptor, Peer, Timer
from ..errors import AddressError
from . import tcp
from .connect import Host
from .pipe import Instances, PipeHandle, WinAPI
from .steps import Steps

if TYPE_CHECKING:
    from ..config.config import Config

__all__ = ["PipeListener"]


class PipeHost(Host, Protocol):
    """What this needs of a driver."""

    def accept_pipe(self, handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
        """Tell ``done``, in a later turn, that a client is there (None), or why none can come."""


class PipeListener:
    """A listening pipe."""

    def __init__(self, driver: PipeHost, address: Pipe, acceptor: Acceptor, settings: Config) -> None:
        self._driver = driver
        self._address = address
        self._acceptor = acceptor
        self._settings = settings
        self._instances: Instances | None = None
        self._is_paused = False
        self._waiting: list[tuple[PipeHandle, Peer]] = []
        self._warned_at = float("-inf")
        self.beginning: Timer
        """Goes through ``begin``; set by the driver."""

    def begin(self) -> Steps[None]:
        yield from ()  # it waits for nothing
        try:
            self._instances = Instances(
                self._address.path,
                WinAPI(),
                accept=self._driver.accept_pipe,
                call_later=self._driver.call_later,
                connected=self._connected,
                trouble=self._trouble,
                readable_all=self._settings.readable_all,
                writable_all=self._settings.writable_all,
            )
        except Exception as error:
            self._acceptor.not_listening(tcp.listen_failed(self._address, error))
            return
        self._acceptor.listening(self._address)

    def _connected(self, handle: PipeHandle, peer: Peer) -> None:
        if self._is_paused:
            self._waiting.append((handle, peer))
        else:
            self._take(handle, peer)

    def _take(self, handle: PipeHandle, peer: Peer) -> None:
        receiver = self._acceptor.accept(peer)
        if receiver is None:
            handle.close()
        else:
            self._driver.carry(handle, peer, receiver, alone=False)

    def _trouble(self, error: Exception) -> None:
        now = self._driver.now()
        if now - self._warned_at >= 1.0:
            self._warned_at = now
            line = f"cannot accept connections at {self._address} for the moment: {error}"
            logger.failure(line, None, WARNING, stderr=not self._settings.silent)

    def reload_tls(self, tls: object) -> None:
        """A pipe has none."""
        raise AddressError(f"{self._address} has no TLS to reload")

    def pause(self) -> None:
        """Keep who comes waiting."""
        self._is_paused = True

    def resume(self) -> None:
        """Accept who waited, and whoever comes."""
        self._is_paused = False
        while self._waiting and not self._is_paused:
            self._take(*self._waiting.pop(0))

    def close(self) -> None:
        """Accept nothing more; open links stay."""
        self.beginning.cancel()
        while self._waiting:
            self._waiting.pop()[0].close()
        if self._instances is not None:
            self._instances.close()
