"""Signals that end a program, and a loop that no signal finds asleep.

Python handles a signal between two steps of its own. One that comes behind the last of them and before the loop waits
in the kernel is slept on until something else happens, for ever where nothing does. So the signal itself has to write
to a descriptor that the loop watches (``signal.set_wakeup_fd``). uvloop has one while it runs, and Windows' proactor
always; asyncio's own loop only where ``add_signal_handler`` was called, and ``asyncio.run`` does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["awake", "handled", "told_to_end"]

ENDING = (signal.SIGINT, signal.SIGTERM)


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
    """SIGINT and SIGTERM call ``handle`` in the loop, also while it closes; only in the main thread are there any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def woken(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(handle)

    with contextlib.ExitStack() as stack:
        stack.enter_context(awake(loop))
        for number in ENDING:
            stack.enter_context(handled(number, woken))
        yield
