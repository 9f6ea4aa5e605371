"""What one node asks the others: requests, and who is in a room. Every question ends once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from ..core.everywhere import Found, RemoteSocket
from ..core.payload import typed_decoder
from ..core.requests import RESPONSE
from ..errors import BackpressureError, ConnectionLost, IPCError, NoResponder, RemoteError, RequestError, RequestTimeout

if TYPE_CHECKING:
    from ..core.outcome import Outcome
    from ..core.seam import Driver, Timer
    from .messages import Answer, Here

__all__ = ["MOST_QUESTIONS", "Questions"]

MOST_QUESTIONS = 16_384
"""Questions of one node that wait for answers at once."""


@dataclass(slots=True, eq=False)
class _Asked:
    outcome: Outcome[Any]
    method: str
    node: str | None
    """Who is asked; None: any one of them, and nobody has said that it is the one."""
    decode: Callable[[Any], Any]
    progress: Callable[[Raw], None] | None
    timer: Timer | None = None


@dataclass(slots=True, eq=False)
class _Search:
    outcome: Outcome[Found]
    found: Found
    waiting: set[str]
    timer: Timer | None = None


class Questions:
    """Those that are open."""

    def __init__(
        self, driver: Driver, cancel: Callable[[str, int], None], unread: Callable[[str, Exception], None]
    ) -> None:
        self._driver = driver
        self._unread = unread  # told of a request that failed where nobody has looked at its outcome
        self._cancel = cancel  # tells a node that nobody waits for its answer
        self._ids = 0
        self._asked: dict[int, _Asked] = {}
        self._searches: dict[int, _Search] = {}

    def __len__(self) -> int:
        return len(self._asked) + len(self._searches)

    # ---- requests

    def ask(
        self,
        method: str,
        node: str | None,
        timeout: float | None,
        decode: Callable[[Any], Any],
        progress: Callable[[Raw], None] | None = None,
    ) -> tuple[int, Outcome[Any]]:
        """A new request; what is to be sent carries its number, unless it is over at once: there was no time for it."""
        if len(self._asked) >= MOST_QUESTIONS:
            raise BackpressureError(f"{MOST_QUESTIONS} requests wait for other servers' answers: ask less at once")
        self._ids += 1
        id = self._ids
        outcome: Outcome[Any] = self._driver.outcome(None)
        asked = self._asked[id] = _Asked(outcome, method, node, decode, progress)
        given_up = RequestError(f"{method!r:.80} was given up by whoever waited for it")
        outcome.abandon = partial(self._give_up, id, given_up)
        if timeout is not None:
            late = RequestTimeout(f"no answer to {method!r:.80} within {timeout:g} s from {node or 'any other server'}")
            if timeout:
                asked.timer = self._driver.call_later(timeout, partial(self._give_up, id, late))
            else:
                self.end(id, late)
        return id, outcome

    def _give_up(self, id: int, error: IPCError) -> None:
        """Nobody waits any more; whoever works on it hears of it."""
        asked = self._asked.get(id)
        if asked is not None:
            self.end(id, error, told=isinstance(error, RequestTimeout))
            if asked.node is not None:
                self._cancel(asked.node, id)

    def taken(self, id: int, node: str) -> None:
        """One of those that were asked has it."""
        asked = self._asked.get(id)
        if asked is None:  # nobody waited so long
            self._cancel(node, id)
        elif asked.node is None:
            asked.node = node

    def told(self, id: int, node: str, data: Raw) -> None:
        """How far it is."""
        asked = self._asked.get(id)
        if asked is not None and asked.progress is not None and asked.node in (None, node):
            asked.progress(data)

    def end(self, id: int, error: Exception | None, told: bool = True) -> None:
        """A request is over; one that is over already stays so.

        Args:
            told: whether an error is, where nobody looks at it: not where this side wanted the end itself.
        """
        asked = self._asked.pop(id, None)
        if asked is None:
            return
        if asked.timer is not None:
            asked.timer.cancel()
        asked.outcome.abandon = None
        if error is None or not told:
            asked.outcome.settle(error)
        else:
            asked.outcome.settle(error, partial(self._unread, asked.method, error))

    def nobody(self, id: int, whom: str) -> None:
        """Nobody is there to hear it."""
        asked = self._asked.get(id)
        if asked is not None:
            self.end(id, NoResponder(f"{asked.method!r:.80} was not asked: {whom}"))

    def answered(self, answer: Answer) -> None:
        asked = self._asked.get(answer.id)
        if asked is None or (asked.node is not None and asked.node != answer.node):
            return
        if answer.error is not None:
            self.end(answer.id, _error(asked.method, answer.node, answer.error, answer.result))
            return
        error: Any = None
        try:
            asked.outcome.value = asked.decode(answer.result)
        except Exception as wrong:  # a hook of the user's may raise anything
            error = wrong
        self.end(answer.id, error)

    # ---- searches

    def search(self, found: Found, nodes: set[str], timeout: float) -> tuple[int, Outcome[Found]]:
        """Look for sockets at these nodes; what is here is found already."""
        self._ids += 1
        id = self._ids
        outcome = self._driver.outcome(found)
        if not nodes:
            outcome.settle()
            return id, outcome
        search = self._searches[id] = _Search(outcome, found, nodes)
        search.timer = self._driver.call_later(timeout, partial(self._finish, id))
        outcome.abandon = partial(self._finish, id)
        return id, outcome

    def here(self, here: Here) -> None:
        """Some node's sockets."""
        search = self._searches.get(here.id)
        if search is None or here.node not in search.waiting:
            return
        for number, peer, claimed_id, rooms in here.sockets:
            search.found.append(
                RemoteSocket(f"{here.node}.{number}", here.node, number, peer, claimed_id, frozenset(rooms))
            )
        if not here.more:
            search.waiting.discard(here.node)
            if not search.waiting:
                self._finish(here.id)

    def _finish(self, id: int) -> None:
        search = self._searches.pop(id, None)
        if search is None:
            return
        if search.timer is not None:
            search.timer.cancel()
        search.found.missing |= search.waiting
        search.outcome.abandon = None
        search.outcome.settle()

    # ---- who will not answer

    def gone(self, node: str) -> None:
        """This node will answer nothing any more."""
        for id, asked in list(self._asked.items()):
            if asked.node == node:
                self.end(id, _lost(asked.method, f"the node {node} is gone"))
        for id, search in list(self._searches.items()):
            if node in search.waiting:
                search.waiting.discard(node)
                search.found.missing.add(node)
                if not search.waiting:
                    self._finish(id)

    def end_all(self, reason: str, told: bool) -> None:
        """No answer will come: the bus is down."""
        for id, asked in list(self._asked.items()):
            self.end(id, _lost(asked.method, reason), told)
        for id in list(self._searches):
            self._finish(id)


def _lost(method: str, reason: str) -> ConnectionLost:
    return ConnectionLost(f"{reason} before {method!r:.80} was answered. It may have been carried out")


def _error(method: str, node: str, error: tuple[str, int, str], data: Raw) -> IPCError:
    kind, code, message = error
    message = message[:1000]
    if kind == "nobody":
        return NoResponder(f"{method!r:.80} was not asked: {message}")
    if kind == "timeout":
        return RequestTimeout(message)
    if kind == "lost":
        return _lost(method, message)
    try:
        value = _plain(data)
    except IPCError:  # nested too deeply, or numbers that Python cannot hold
        value = None
    return RemoteError(code, message, value)


_plain = typed_decoder(None, RESPONSE)
