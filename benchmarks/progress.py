"""A progress bar on standard error, drawn only between runs so that it costs none of them anything."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

WIDTH = 28


class Progress:
    """Counts the runs; on a terminal it draws a bar, elsewhere a line per tenth."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._live = sys.stderr.isatty()

    def next(self, what: str) -> None:
        """The run ``what`` begins."""
        share = self._done / self._total
        spent = time.monotonic() - self._began
        left = f"{_clock(spent / share - spent)} left" if self._done else "…"
        if self._live:
            bar = "█" * int(WIDTH * share)
            sys.stderr.write(f"\r\x1b[K{bar:·<{WIDTH}} {self._done}/{self._total} {left}  {what}")
        elif self._done % max(1, self._total // 10) == 0:
            sys.stderr.write(f"{self._done}/{self._total} {left}  {what}\n")
        sys.stderr.flush()
        self._done += 1

    def end(self) -> None:
        """All runs are over, or were broken off."""
        lead = "\r\x1b[K" if self._live else ""
        sys.stderr.write(f"{lead}{self._done} of {self._total} runs in {_clock(time.monotonic() - self._began)}\n")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
