"""One worker: a process with a loop and a server of its own, on sockets that its parent made."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from ..aio import AsyncDatagramServer, AsyncServer
from ..config.address import Udp
from ..config.foreign import PASSING, text_of
from ..config.logs import escape, logger, traceback_of
from ..core.server import ServerState
from ..drivers.loop import EventLoopDriver

if TYPE_CHECKING:
    from ..config.address import Address, Handed
    from ..config.config import Config
    from ..core.outcome import Outcome
    from ..core.seam import Peer
    from ..core.session import Session
    from .fairness import Board

__all__ = ["FAILED", "READY", "Worker", "WorkerServer"]

READY = b"+"
FAILED = b"-"
"""What a worker tells its parent; after ``FAILED`` comes the reason."""
REASON_CHARACTERS = 1000


class WorkerServer(AsyncServer):
    """A server that tells the other workers how many connections it has."""

    def __init__(self, where: Address, driver: EventLoopDriver, settings: Config, board: Board, number: int) -> None:
        super().__init__(where, driver, settings)
        self._board = board
        self._number = number

    def listening(self, address: Address) -> None:
        super().listening(address)
        self._write()

    def accept(self, peer: Peer) -> Session | None:
        session = super().accept(peer)
        self._board.took(self._number)
        self._write()
        return session

    def _forget(self, session: Session) -> bool:
        known = super()._forget(session)
        self._write()
        return known

    def begin_stop(self, timeout: float | None = None) -> Outcome[Self]:
        outcome = super().begin_stop(timeout)
        self._board.leave(self._number)
        return outcome

    def _write(self) -> None:
        if self.state is ServerState.LISTENING:
            self._board.write(self._number, len(self._sessions) + len(self._opening))


class Worker:
    """Sets a server up, and ends it when the parent says so or is gone."""

    def __init__(
        self,
        where: Handed,
        settings: Config,
        setup: Callable[..., Any],
        board: Board,
        number: int,
        tell: int,
        lifeline: int,
    ) -> None:
        self._where = where
        self._settings = settings
        self._setup = setup
        self._board = board
        self._number = number
        self._tell = tell
        self._lifeline = lifeline
        self._stopping = False
        self._server: AsyncServer | AsyncDatagramServer

    async def live(self) -> int:
        """Serve until told to stop; returns the exit status of the process."""
        loop = asyncio.get_running_loop()
        driver = EventLoopDriver()
        driver.attach(loop)
        loop.add_reader(self._lifeline, self._parent_is_gone)
        try:
            await self._begin(loop, driver)
        except PASSING:
            raise
        except BaseException as error:  # also one of somebody's own: the reason is told, whatever it is
            reason = f"{escape(type(error).__name__)}: {escape(text_of(error), REASON_CHARACTERS)}"
            self._report(FAILED + reason.encode(errors="replace"))
            logger.error("worker %d of %s cannot start\n%s", self._number + 1, self._where, traceback_of(error))
            return 1
        self._report(READY)
        await self._server.closed
        running = [task for task in driver.tasks if not task.done()]
        if running:  # async handlers get the time that closing may take
            await asyncio.wait(running, timeout=self._settings.close_timeout / 1000)
        return 0

    async def _begin(self, loop: asyncio.AbstractEventLoop, driver: EventLoopDriver) -> None:
        if isinstance(self._where.where, Udp):
            self._server = AsyncDatagramServer(self._where, driver, self._settings)
        else:
            self._server = WorkerServer(self._where, driver, self._settings, self._board, self._number)
        outcome = self._setup(self._server)
        if inspect.isawaitable(outcome):
            await outcome
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop)
        await self._server.start()

    def _report(self, text: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            os.write(self._tell, text)
        os.close(self._tell)

    def _told_to_stop(self) -> None:
        if self._stopping:
            self._server.abort()
        else:
            self._stopping = True
            self._server.stop()

    def _parent_is_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        logger.warning("the parent of worker %d of %s is gone: it stops", self._number + 1, self._where)
        self._told_to_stop()
