"""Signals that end a program, and a loop that no signal finds asleep.

Python handles a signal between two steps of its own. One that comes behind the last of them and before the loop waits
in the kernel is slept on until something else happens, for ever where nothing does. So the signal itself has to write
to a descriptor that the loop watches (``signal.set_wakeup_fd``). uvloop has one while it runs, and Windows' proactor
always; asyncio's own loop only where ``add_signal_handler`` was called, and ``asyncio.run`` does not.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..config.foreign import last_resort

__all__ = ["Asked", "awake", "handled", "told_to_end"]

ENDING = (signal.SIGINT, signal.SIGTERM)
STUCK_SECONDS = 2.0
"""A loop that has had no turn for so long after a signal is held up by something in it."""
STARVED_SECONDS = 0.5
"""And so long more, for a process that got no processor meanwhile."""


class Asked:
    """What a signal asks of a loop, and whether the loop comes to it: one that is held up is told of on stderr."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._came = _thread.allocate_lock()  # taken until the loop has come to it
        self._since: float | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether the loop has not come to what it was asked, for so long that it may never."""
        return self._since is not None and time.monotonic() - self._since >= STUCK_SECONDS

    def ask(self, number: int, handle: Callable[..., object], *arguments: Any) -> None:
        """Call this in the loop. For handlers of signals, which may come between any two steps."""
        if self._since is None:
            self._since = time.monotonic()  # first: another signal may come between any two of these
            self._came = came = _thread.allocate_lock()
            came.acquire()
            with contextlib.suppress(RuntimeError):  # no thread more: then it is not told
                # A bare one, since a Thread's start takes a lock that this very thread may hold just now.
                _thread.start_new_thread(self._watch, (came, signal.Signals(number).name))
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._come, handle, *arguments)
            return
        self.over()

    def over(self) -> None:
        """The loop has ended: what it did not come to any more is nobody's fault."""
        self._release()

    def _come(self, handle: Callable[..., object], *arguments: Any) -> None:
        self._release()
        handle(*arguments)

    def _release(self) -> None:
        self._since = None
        if self._came.locked():  # not where one signal comes into the other's asking
            self._came.release()

    def _watch(self, came: _thread.LockType, name: str) -> None:
        """In a thread of its own: tell that the loop does not come."""
        if any(came.acquire(timeout=seconds) for seconds in (STUCK_SECONDS, STARVED_SECONDS)) or came is not self._came:
            return  # of two signals that came into each other's asking one watches
        seconds = STUCK_SECONDS + STARVED_SECONDS
        last_resort(
            f"node_ipc: {name} came {seconds:g} s ago, and the event loop has had no turn since. A handler or a task "
            "holds it up, as time.sleep() and long computations do. Once more ends the program at once"
        )


@contextlib.contextmanager
def awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Whatever handles signals, the loop does not sleep on one; in other threads than the main one there are none.

    To be entered before the loop is closed, and may be left behind that.
    """
    if threading.current_thread() is not threading.main_thread() or _has_wakeup():
        yield
        return
    read, write = socket.socketpair()
    with read, write:
        read.setblocking(False)
        write.setblocking(False)
        try:
            loop.add_reader(read, _drain, read)
        except NotImplementedError:  # a loop that waits in its own way
            yield
            return
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            now = signal.set_wakeup_fd(-1)
            if now != write.fileno():  # somebody's in whose place there was ours
                signal.set_wakeup_fd(now, warn_on_full_buffer=False)
            if not loop.is_closed():
                loop.remove_reader(read)


def _has_wakeup() -> bool:
    now = signal.set_wakeup_fd(-1)
    if now != -1:
        signal.set_wakeup_fd(now, warn_on_full_buffer=False)
    return now != -1


def _drain(read: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        read.recv(4096)


@contextlib.contextmanager
def handled(number: int, handler: Callable[..., Any]) -> Iterator[None]:
    """What Python calls for a signal, until the one before is put back."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)  # None: no handler of Python's


@contextlib.contextmanager
def told_to_end(loop: asyncio.AbstractEventLoop, handle: Callable[[], object]) -> Iterator[None]:
    """SIGINT and SIGTERM call ``handle`` in the loop, also while it closes; only in the main thread are there any.

    Where the loop does not come to it, the next one raises ``KeyboardInterrupt``, or ``SystemExit(0)`` for SIGTERM, in
    what holds the loop up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked = Asked(loop)

    def woken(number: int, *_: object) -> None:
        if asked.is_stuck:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(0)
        asked.ask(number, handle)

    with contextlib.ExitStack() as stack:
        stack.enter_context(awake(loop))
        stack.callback(asked.over)  # behind the handlers: no signal asks any more
        for number in ENDING:
            stack.enter_context(handled(number, woken))
        yield
