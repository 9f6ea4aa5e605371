"""What the tests of the memory driver share: links, and a receiver that notices calls inside its own calls."""

from __future__ import annotations

from typing import Any

from node_ipc.config.address import Address, Unix
from node_ipc.config.config import Config
from node_ipc.core.seam import Peer
from node_ipc.testing import MemoryDriver, Wire, WireServer

KIB = 1024
WORLD = Unix("/memory/app.world")
SETTINGS = Config().settings()


def link(driver: MemoryDriver, address: Address = WORLD) -> tuple[Wire, Wire]:
    """Both ends of a new link."""
    server = WireServer(driver, address)
    client = Wire.connected(driver, server.address)
    server.close()
    return client, server.wires[-1]


class Watcher:
    """A receiver that notices when it is called inside a call of its own."""

    def __init__(self) -> None:
        self.link: Any = None
        self.heard: list[str] = []
        self.inside = False
        self.data = b""

    def call(self, verb: str, *arguments: Any) -> None:
        self.inside = True
        getattr(self.link, verb)(*arguments)
        self.inside = False

    def _note(self, name: str) -> None:
        assert not self.inside or name == "pause", f"{name} came inside a call"
        self.heard.append(name)

    def opened(self, link: Any) -> None:
        self.link = link
        self._note("opened")

    def failed(self, error: Exception) -> None:
        self._note("failed")

    def received(self, data: bytes) -> None:
        assert 0 < len(data) <= 64 * KIB
        self.data += data
        self._note("received")

    def ending(self) -> None:
        self._note("ending")

    def ended(self) -> None:
        self._note("ended")

    def pause(self) -> None:
        assert self.inside
        self._note("pause")

    def writable(self) -> None:
        self._note("writable")

    def lost(self, error: Exception | None) -> None:
        self._note("lost" if error is None else f"lost {type(error).__name__}")


class WatchingServer:
    def __init__(self, driver: MemoryDriver, address: Address = WORLD) -> None:
        self.ends: list[Watcher] = []
        self.peers: list[Peer] = []
        self.accepts = True
        self.told: list[Any] = []
        self.listener = driver.listen(address, self, SETTINGS)

    def listening(self, address: Address) -> None:
        self.told.append(address)

    def not_listening(self, error: Exception) -> None:
        self.told.append(error)

    def accept(self, peer: Peer) -> Watcher | None:
        self.peers.append(peer)
        if not self.accepts:
            return None
        self.ends.append(Watcher())
        return self.ends[-1]
