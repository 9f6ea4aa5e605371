"""The process that relays between workers: no code of the user's runs in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile

from ..cluster.hub import hub_config, relay
from ..config.address import Handed, Unix
from ..config.bus_options import BusPlace
from ..core.server import Server
from ..drivers.loop import EventLoopDriver
from ..net.listen import listen_local
from .worker import READY

__all__ = ["Hub"]

LAST_SECONDS = 10.0
"""How long a hub whose parent is gone waits for the workers, which stop then, too."""


class Hub:
    """The hub's socket, which the parent keeps open: who connects while the process is replaced waits.

    It is in a directory that only this user can enter, and the kernel tells who connects.
    """

    def __init__(self, undo: contextlib.ExitStack) -> None:
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="node-ipc-hub-"))
        self._where = Unix(f"{folder}/hub")
        self._settings = hub_config(f"{folder}/").settings()
        owned = listen_local(self._where, self._settings)
        undo.callback(owned.close)
        self._socket = owned.sock
        self.place = BusPlace(f"unix:{self._where.path}")
        """What the workers' option ``bus`` is."""

    async def live(self, tell: int, lifeline: int) -> int:
        """Relay until the parent ends this process; returns its exit status."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # for the workers: they still send what was emitted
        loop = asyncio.get_running_loop()
        driver = EventLoopDriver()
        driver.attach(loop)
        server = Server(Handed((self._socket,), self._where), driver, self._settings)
        relay(server)
        alone = asyncio.Event()
        loop.add_reader(lifeline, alone.set)
        await server.start()
        with contextlib.suppress(OSError):  # the parent is gone
            os.write(tell, READY)
        os.close(tell)
        await alone.wait()
        loop.remove_reader(lifeline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                while server.sockets:
                    await asyncio.sleep(0.05)
        server.abort()
        await server.closed
        shutil.rmtree(os.path.dirname(self._where.path), ignore_errors=True)  # as its parent would have done
        return 0
