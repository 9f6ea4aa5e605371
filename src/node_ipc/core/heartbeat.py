"""Whether the other end is still there: a question once it has been silent, and the link's end when nothing comes back.

Opt-in (``config.heartbeat``), and made of two ordinary events that any peer can read: ``ipc.ping`` asks, ``ipc.pong``
answers, and whatever else arrives is an answer too. Each link that is watched has one timer, armed for as long as it
may be silent and not anew for each read. This module knows the session and the driver's clock, nothing of links.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConnectionLost, IPCError
from ..wire.names import PING
from .seam import INSTANT

if TYPE_CHECKING:
    from ..config.config import Config
    from .incoming import Incoming
    from .outgoing import Outgoing
    from .seam import Driver, Peer

__all__ = ["Heartbeat", "Watched"]

LATE = 0.05
"""Seconds by which it is so late that this process was held up itself, and may have to read the answer yet."""


class Watched(Protocol):
    """What a heartbeat needs of a session."""

    incoming: Incoming
    outgoing: Outgoing

    @property
    def peer(self) -> Peer: ...
    def emit(self, type: str, data: Any) -> bool: ...
    def cut(self, reason: IPCError) -> None: ...


class Heartbeat:
    """Watches one open link, from either end."""

    def __init__(self, session: Watched, driver: Driver, settings: Config) -> None:
        self._session = session
        self._driver = driver
        self._interval = settings.heartbeat / 1000
        self._patience = settings.heartbeat_timeout / 1000
        self._heard_at = driver.now()
        self._asked_at = -1.0
        self._ping = 0  # the number of the last ping's message
        self._behind = 0  # that of the message which its pong is to prove
        self._timer = driver.call_later(self._interval, self._due)

    def heard(self) -> None:
        """Something arrived."""
        self._heard_at = self._driver.now()

    def stop(self) -> None:
        """The link is ending."""
        self._timer.cancel()

    def _due(self) -> None:
        now, out = self._driver.now(), self._session.outgoing
        if self._session.incoming.pauses and not self._session.incoming.looks_for_life:  # it is we who do not listen
            self._heard_at = now
        if self._heard_at < self._asked_at:
            due = self._asked_at + self._patience
            if now > due + LATE:
                due = now + LATE
                self._asked_at = due - self._patience
            elif now >= due - INSTANT:
                self._give_up(now)
                return
        else:
            due = self._heard_at + self._interval
            if now >= due - INSTANT:
                self._asked_at = now
                due = now + self._patience
                self._ask()
            elif out.confirmed >= self._behind and out.next_number - 1 > self._ping:
                self._ask()  # it speaks by itself, but what of ours it has read only a pong proves
        self._timer = self._driver.call_later(due - now, self._due)

    def _ask(self) -> None:
        # A peer that takes nothing any more answers nothing either: the time runs without the question.
        session = self._session
        number = session.outgoing.next_number
        if number - 1 > self._ping:
            self._behind = number - 1
        with contextlib.suppress(IPCError):
            session.emit(PING, {"behind": self._behind} if self._behind > session.outgoing.confirmed else {})
            self._ping = number
            session.outgoing.promise_nothing(number)

    def _give_up(self, now: float) -> None:
        self._session.cut(
            ConnectionLost(
                f"{self._session.peer} has been silent for {now - self._heard_at:.1f} s and did not answer a heartbeat "
                f"within {self._patience:g} s (heartbeat_timeout): its link is cut"
            )
        )
