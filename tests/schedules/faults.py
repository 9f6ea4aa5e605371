"""Faults that somebody could make in the library, to see that the exploration finds them.

Each is a way to patch it, what it breaks, and within how many seeds that has to be seen. Those of timing (a frame that
is queued again, a timer that is forgotten) are what single tests with one order of things miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from node_ipc.core.client import ClientCore
from node_ipc.core.incoming import Incoming
from node_ipc.core.outgoing import Outgoing
from node_ipc.core.requests import Requests
from node_ipc.core.server import ServerCore
from node_ipc.core.session import Session
from node_ipc.drivers.memory_kernel import MemoryListener


class Mutation(NamedTuple):
    """A fault."""

    name: str
    of: Any
    method: str
    made: Callable[[Callable[..., Any]], Callable[..., Any]]
    """From the method as it is, the one with the fault."""
    breaks: tuple[str, ...]
    """The invariants that it may show in."""
    seeds: int = 60
    """Within which it is found."""


@contextmanager
def made(mutation: Mutation) -> Iterator[None]:
    """While this lasts the library has it."""
    with patch.object(mutation.of, mutation.method, mutation.made(getattr(mutation.of, mutation.method))):
        yield


def _drop_one_queued(send: Callable[..., Any]) -> Callable[..., Any]:
    def send_queue(self: Any) -> None:
        if len(self._queue) > 1:
            self._queue.take_first()
        send(self)

    return send_queue


def _send_twice(send: Callable[..., Any]) -> Callable[..., Any]:
    """What was in doubt when the link was lost goes out again over the next."""

    def send_queue(self: Any) -> None:
        again = list(self._queue.frames[-1:])
        send(self)
        for frame in again:
            self._queue.append(frame)

    return send_queue


def _last_queued_first(send: Callable[..., Any]) -> Callable[..., Any]:
    def send_queue(self: Any) -> None:
        self._queue.frames.reverse()
        send(self)

    return send_queue


def _never_retry(wait: Callable[..., Any]) -> Callable[..., Any]:
    """A retry is forgotten where requests wait."""

    def forget(self: Any) -> None:
        wait(self)
        if self.awaits_answers:
            self._timer.cancel()

    return forget


def _keep_the_timer(settle: Callable[..., Any]) -> Callable[..., Any]:
    """The timer of a request that was answered stays."""

    def settle_only(self: Any, id: int, error: Any, told: bool = True) -> None:
        asked = self._asked[id]
        asked.timer = None
        settle(self, id, error, told)

    return settle_only


def _forget_requests_of(lost: Callable[..., Any]) -> Callable[..., Any]:
    """Requests of a link that is lost are not settled where the peer ended it in order."""

    def link_lost(self: Any, session: Any, reason: Any) -> None:
        if reason is None:
            for asked in self._asked.values():
                if asked.session is session and asked.timer is not None:
                    asked.timer.cancel()
            return
        lost(self, session, reason)

    return link_lost


def _count_one_less(end: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, peer: max(end(self, peer) - 1, 0)


def _believe_the_kernel(flush: Callable[..., Any]) -> Callable[..., Any]:
    """What was written counts as arrived."""

    def flush_and_believe(self: Any) -> None:
        flush(self)
        self.confirm(self.messages_out)

    return flush_and_believe


def _stay_paused(pause: Callable[..., Any]) -> Callable[..., Any]:
    """Reading that was paused for handlers does not go on."""

    def pause_reading(self: Any, reason: str, on: bool) -> None:
        if on or reason != "handlers":
            pause(self, reason, on)

    return pause_reading


def _drain_nothing(resume: Callable[..., Any]) -> Callable[..., Any]:
    """When the kernel takes more, what waited stays where it is until the next emit."""

    def resume_only(self: Any) -> bool:
        self.is_full = False
        self.corked = self.turn
        return True

    return resume_only


def _keep_a_place(forget: Callable[..., Any]) -> Callable[..., Any]:
    """A socket whose opening failed keeps its place."""

    def forget_some(self: Any, session: Any) -> bool:
        return session not in self._opening and bool(forget(self, session))

    return forget_some


def _take_over(listen: Callable[..., Any]) -> Callable[..., Any]:
    """An address that is served is taken all the same."""

    def listen_anyway(self: Any) -> None:
        self._driver.listeners.pop(self._address, None)
        listen(self)

    return listen_anyway


def _stop_in_vain(serve_no_more: Callable[..., Any]) -> Callable[..., Any]:
    """A server that stops forgets who is about to open."""

    def forget_opening(self: Any, seconds: float) -> None:
        self._opening.clear()
        serve_no_more(self, seconds)

    return forget_opening


def _close_without_flush(close: Callable[..., Any]) -> Callable[..., Any]:
    """What waits for the end of the turn is forgotten where a handler closes."""

    def end_in_order(self: Session) -> None:
        if self.outgoing.corked and not self.outgoing.is_full:
            self.outgoing.frames.clear()
        close(self)

    return end_in_order


MUTATIONS = (
    Mutation("one of the frames that waited is dropped", ClientCore, "_send_queue", _drop_one_queued, ("accounting",)),
    Mutation(
        "the last frame goes out again over the next link",
        ClientCore,
        "_send_queue",
        _send_twice,
        ("at most once", "order"),
    ),
    Mutation(
        "what waited goes out backwards", ClientCore, "_send_queue", _last_queued_first, ("order", "at most once")
    ),
    Mutation("a retry's timer is forgotten", ClientCore, "_wait", _never_retry, ("liveness",)),
    Mutation(
        "the timer of an answered request stays", Requests, "_settle", _keep_the_timer, ("KeyError", "bounded memory")
    ),
    Mutation(
        "requests of a link that ended in order are forgotten", Requests, "link_lost", _forget_requests_of, ("truth",)
    ),
    Mutation("a loss says one too few", Outgoing, "end", _count_one_less, ("accounting",)),
    Mutation("what was written counts as arrived", Outgoing, "flush", _believe_the_kernel, ("accounting",)),
    Mutation("reading does not go on", Incoming, "pause_reading", _stay_paused, ("liveness", "accounting")),
    Mutation(
        "what waited for the kernel stays", Outgoing, "resume", _drain_nothing, ("accounting", "liveness", "truth")
    ),
    Mutation("who never opened keeps his place", ServerCore, "_forget", _keep_a_place, ("liveness", "bounded memory")),
    Mutation("a second server takes the address", MemoryListener, "_listen", _take_over, ("one owner",)),
    Mutation(
        "a server that stops forgets who is opening",
        ServerCore,
        "_serve_no_more",
        _stop_in_vain,
        ("bounded memory", "liveness", "accounting"),
    ),
    Mutation("what a turn emitted is lost at a close", Session, "_end_in_order", _close_without_flush, ("accounting",)),
)
