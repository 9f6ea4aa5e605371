"""SIGTERM ends a blocking ``serve_forever`` in order, where the program has no handler of its own for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .thread import ThreadDriver

__all__ = ["told_to_terminate"]


@contextlib.contextmanager
def told_to_terminate(driver: ThreadDriver) -> Iterator[list[int]]:
    """What is given is empty until SIGTERM comes, which also ends the wait that is under way; a second one kills.

    A signal is the main thread's, and stays that of whoever handles it already.
    """
    import signal  # its import costs 1 ms: only who serves pays it

    told: list[int] = []

    def tell(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        told.append(number)
        driver.wake()

    try:
        is_ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if is_ours:
            signal.signal(signal.SIGTERM, tell)
    except ValueError:  # this is not the main thread
        is_ours = False
    if not is_ours:
        yield told
        return
    try:
        with driver.woken_by_signals():
            yield told
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
