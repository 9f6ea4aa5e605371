"""Time that counts on a busy machine: without what other programs had of the processor.

A promise like "the others are served within 100 ms" is one of this library, not of the machine that a test runs on. The
kernel keeps how long a process was ready to run and waited for a processor; a ``Stopwatch`` leaves that out, so the
same bound holds whatever else runs. It never makes up for waiting by our own fault: a timer, a lock, somebody else's
answer, or our own computing all count.
"""

from __future__ import annotations

import contextlib
import glob
import time


class Stopwatch:
    """Starts when it is made. ``pids``: other processes whose waiting for a processor does not count either."""

    def __init__(self, *pids: int) -> None:
        self._processes: tuple[str | int, ...] = ("self", *pids)
        self._begun, self._held_up = time.monotonic(), self._waited()

    @property
    def seconds(self) -> float:
        """What has passed since, without what other programs took from us; all of it where no kernel tells."""
        held_up = max(0.0, self._waited() - self._held_up)  # less than before where a thread has ended
        return max(0.0, time.monotonic() - self._begun - held_up)

    def seconds_beside(self, *started: int) -> float:
        """The same where these processes were started meanwhile: nor does their waiting for a processor count."""
        return max(0.0, self.seconds - sum(map(_ready_but_not_running, started)))

    def _waited(self) -> float:
        return sum(map(_ready_but_not_running, self._processes))


def _ready_but_not_running(process: str | int) -> float:
    """Seconds of all its threads; of a process that has ended, or on another system than Linux, 0."""
    waited = 0
    for path in glob.iglob(f"/proc/{process}/task/*/schedstat"):
        with contextlib.suppress(OSError), open(path) as file:
            waited += int(file.read().split()[1])
    return waited / 1e9
