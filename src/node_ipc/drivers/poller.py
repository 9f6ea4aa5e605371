"""Which sockets can go on: the ``epoll`` (or ``selectors``) behind both drivers, and what is watched with it.

The caller's driver waits in it. The asyncio one hangs it into its loop as a single descriptor (epoll(7): it is
readable itself while any of its descriptors is), so that what the loop does for each ready descriptor, 1.2 µs, is done
once for all of them.
"""

from __future__ import annotations

import select
import selectors
import time
from collections.abc import Callable
from typing import Any

from ..net.steps import READ, WRITE, Watched

__all__ = ["LONGEST", "Poller"]


LONGEST = 86400.0
"""Seconds: who waits longer is told that nothing happened, and asks again; epoll counts to 24 days."""

GREEDY_SECONDS = 0.001
"""Of work: so long are sockets read that have more than one read takes, before the others are looked at again."""


class Poller:
    """Tells sockets when they can go on: ``epoll`` where there is one, otherwise what ``selectors`` has."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[Watched, int]] = {}
        self._greedy: dict[int, None] = {}
        """Those whose last read took all it may, so that there may be more: whoever has waited longest comes first."""
        self._now: Callable[[], float] = time.thread_time  # of work; where others have the processor, all wait alike
        self.is_waiting = False
        """It waits, and nobody was told of anything yet."""
        self._epoll: select.epoll | None = None
        self._selector: selectors.BaseSelector | None = None
        if hasattr(select, "epoll"):
            self._epoll = select.epoll()
            # Errors and hang-ups are both: the socket will say what it is.
            self._reads, self._writes = ~select.EPOLLOUT, ~select.EPOLLIN
        else:
            self._selector = selectors.DefaultSelector()
            self._reads, self._writes = selectors.EVENT_READ, selectors.EVENT_WRITE

    def __len__(self) -> int:
        return len(self._watched)

    def fileno(self) -> int:
        """A descriptor that is readable while a watched socket can go on; -1 where there is none (``select``)."""
        waiter: Any = self._selector if self._epoll is None else self._epoll
        return waiter.fileno() if hasattr(waiter, "fileno") else -1

    def watch(self, watched: Watched, interest: int) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on; ``OSError`` where the kernel refuses."""
        fd = watched.fileno()
        before = self._watched.get(fd, (None, 0))[1] if interest else self._watched.pop(fd, (None, 0))[1]
        if not interest:
            self._greedy.pop(fd, None)
        self._register(fd, before, interest)  # the kernel may refuse (ENOMEM, ENOSPC): then nothing has changed
        if interest:
            self._watched[fd] = watched, interest

    def _register(self, fd: int, before: int, interest: int) -> None:
        if before == interest:
            return
        if self._epoll is not None:
            # An event for each bit: EPOLLIN is 1 and EPOLLOUT is 4.
            mask = (interest & READ) * select.EPOLLIN | (interest >> 1) * select.EPOLLOUT
            if not before:
                self._epoll.register(fd, mask)
            elif interest:
                self._epoll.modify(fd, mask)
            else:
                self._epoll.unregister(fd)
            return
        assert self._selector is not None
        if not before:
            self._selector.register(fd, interest)
        elif interest:
            self._selector.modify(fd, interest)
        else:
            self._selector.unregister(fd)

    def poll(self, timeout: float | None) -> bool:
        """Wait, a day at most, and tell each socket that can go on, once; whether there was any.

        Who sends more than one read takes is read last, and after ``GREEDY_SECONDS`` in a later call: few peers that
        flood would make all others wait for as many reads as there are of them.
        """
        if timeout is not None and timeout > LONGEST:
            timeout = LONGEST
        self.is_waiting = True
        ready = self._epoll.poll(timeout) if self._epoll is not None else self._selected(timeout)
        self.is_waiting = False
        find, greedy = self._watched.get, self._greedy
        later: set[int] = set()
        for fd, events in ready:
            if (found := find(fd)) is None:
                continue  # it was closed by one before it
            watched, interest = found
            if events == READ == interest:  # EPOLLIN is 1, too: the same as below, sooner
                if fd in greedy:
                    later.add(fd)
                elif watched.readable() and fd in self._watched:
                    greedy[fd] = None
                continue
            if interest & READ and events & self._reads:
                watched.readable()
            if interest & WRITE and events & self._writes and find(fd, (None, 0))[0] is watched:
                watched.writable()
        if later:
            self._read_greedy(later)
        return bool(ready)

    def _read_greedy(self, ready: set[int]) -> None:
        greedy, until = self._greedy, self._now() + GREEDY_SECONDS
        for fd in [fd for fd in greedy if fd in ready]:
            found = self._watched.get(fd)
            if found is None or found[1] != READ or fd not in greedy:
                continue  # one before it closed it, or reads nothing more from it
            del greedy[fd]
            if found[0].readable() and fd in self._watched:
                greedy[fd] = None
            if self._now() >= until:
                return

    def _selected(self, timeout: float | None) -> list[tuple[int, int]]:
        assert self._selector is not None
        return [(key.fd, events) for key, events in self._selector.select(timeout)]

    def close(self) -> None:
        """Close every socket that is watched, and stop."""
        watched, self._watched = self._watched, {}
        self._greedy.clear()
        for each, _ in watched.values():
            each.discard()
        for waiter in (self._epoll, self._selector):
            if waiter is not None:
                waiter.close()
