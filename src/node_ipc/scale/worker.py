"""One worker: a process with a loop and a server of its own, on sockets that its parent made."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from logging import WARNING
from typing import TYPE_CHECKING, Any, Self

from ..aio import AsyncDatagramServer, AsyncServer
from ..config.address import has_datagrams
from ..config.foreign import PASSING
from ..config.logs import escape, logger, with_hint
from ..core.endpoint import Publisher, ServerState
from ..drivers.loop import EventLoopDriver
from ..errors import IPCError

if TYPE_CHECKING:
    from ..config.address import Address, Handed, Several, Udp
    from ..config.config import Config
    from ..core.outcome import Outcome
    from ..core.seam import Peer
    from ..core.session import Session
    from .fairness import Board

__all__ = ["FAILED", "READY", "Worker", "WorkerPort", "WorkerServer"]

READY = b"+"
FAILED = b"-"
"""What a worker tells its parent; after ``FAILED`` comes the reason."""
REASON_CHARACTERS = 1000
JOINED = (
    "bus=True joins these (a broker such as bus='nats://…' also those of other machines), and local=True says that its "
    "own are meant"
)
OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
"""Where this package is: what a user wants to know is the line of his own code."""


class _OneOfSeveral(Publisher):
    """Its clients are a part of those that the address has."""

    def _tell_at_first(self, board: Board, instead: str, *verbs: str) -> None:
        """The first call of one of these, in whichever worker, says that it does not reach the clients of the others.

        Until then a stand-in has their place, so that those that follow cost nothing.
        """
        for verb in verbs if board.count > 1 else ():
            vars(self)[verb] = partial(self._call_and_tell, getattr(self, verb), board, instead, verbs)

    def _call_and_tell(
        self, method: Any, board: Board, instead: str, verbs: tuple[str, ...], *arguments: Any, **options: Any
    ) -> Any:
        result = method(*arguments, **options)
        if not options.get("local"):
            for verb in verbs:
                vars(self).pop(verb, None)
            if board.is_told_first():
                line = (
                    f"{method.__name__}() reaches the clients of this process alone, which is one of {board.count} "
                    f"workers: {instead}. This is said once"
                )
                self._tell_mistake(IPCError(line))
        return result


class WorkerServer(_OneOfSeveral, AsyncServer):
    """A server that tells the other workers how many connections it has."""

    def __init__(self, where: Address, driver: EventLoopDriver, settings: Config, board: Board, number: int) -> None:
        super().__init__(where, driver, settings)
        self._board = board
        self._number = number
        if settings.bus is None:
            self._tell_at_first(board, JOINED, "broadcast", "to")

    def listening_at(self, addresses: tuple[Address, ...]) -> None:
        super().listening_at(addresses)
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


class WorkerPort(_OneOfSeveral, AsyncDatagramServer):
    """A UDP port that the kernel gives a part of the senders."""

    def __init__(self, where: Udp | Handed, driver: EventLoopDriver, settings: Config, board: Board) -> None:
        super().__init__(where, driver, settings)
        self._tell_at_first(board, "what is for all is for a single process, count=1", "broadcast")


@dataclass
class Worker:
    """Sets a server up, and ends it when the parent says so or is gone."""

    _where: Handed | Several
    _settings: Config
    _setup: Callable[..., Any]
    _board: Board
    _number: int
    _tell: int
    """Where the parent hears how it went."""
    _lifeline: int
    """What ends with the parent."""
    _stopping: bool = False
    _server: AsyncServer | AsyncDatagramServer = field(init=False)

    async def live(self) -> int:
        """Serve until told to stop; returns the exit status of the process."""
        loop = asyncio.get_running_loop()
        driver = EventLoopDriver()
        driver.attach(loop)
        loop.add_reader(self._lifeline, self._parent_is_gone)
        try:
            await self._begin(loop, driver)
        except SystemExit as end:  # setup() gives up: as if it raised anything else
            self._report_failure(end)
            raise
        except PASSING:
            raise
        except BaseException as error:  # also one of somebody's own: the reason is told, whatever it is
            self._report_failure(error)
            logger.failure(f"worker {self._number + 1} of {self._where} cannot start", error)
            return 1
        self._report(READY)
        await self._server.closed
        running = [task for task in driver.tasks if not task.done()]
        if running:  # async handlers get the time that closing may take
            await asyncio.wait(running, timeout=self._settings.close_timeout / 1000)
        return 0

    async def _begin(self, loop: asyncio.AbstractEventLoop, driver: EventLoopDriver) -> None:
        if has_datagrams(self._where):
            self._server = WorkerPort(self._where, driver, self._settings, self._board)
        else:
            self._server = WorkerServer(self._where, driver, self._settings, self._board, self._number)
        if self._settings.bus is not None:
            from ..cluster.joined import join  # only where there is a bus

            join(self._server, driver, self._settings)
        outcome = self._setup(self._server)
        if inspect.isawaitable(outcome):
            await outcome
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop)
        await self._server.start()

    def _report_failure(self, error: BaseException) -> None:
        reason = f"{escape(type(error).__name__)}: {escape(with_hint(error), REASON_CHARACTERS)}{_place(error)}"
        self._report(FAILED + reason.encode(errors="replace"))

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
        logger.failure(f"the parent of worker {self._number + 1} of {self._where} is gone: it stops", None, WARNING)
        self._told_to_stop()


def _place(error: BaseException) -> str:
    """The last line of somebody else's code on the way to an error; empty where there is none."""
    places = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(OURS)]
    if not places:
        return ""
    last = places[-1]
    return f" ({escape(last.filename)}, line {last.lineno}, in {escape(last.name)})"
