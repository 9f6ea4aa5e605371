"""A program whose main thread gets a signal while it sleeps in its loop, and is not woken by it.

The kernel hands the signal to another thread, as it may do with any: then the wait of the main thread goes on. So it
does for a signal that comes in the last microsecond before that wait, which no test could time.

``python asleep.py SIGINT "Ctrl-C ends" listen world`` runs a command, and signals when it sleeps after these words.
"""

from __future__ import annotations

import io
import selectors
import signal
import sys
import threading
from pathlib import Path
from typing import Any

LONG = 1.0
"""Seconds: who sleeps for less wakes up in time by itself."""


class Said(io.TextIOBase):
    """Standard error; ``heard`` is set once the words were written."""

    def __init__(self, words: str, heard: threading.Event) -> None:
        self._words = words
        self._heard = heard
        self._real: Any = sys.__stderr__

    def write(self, text: str) -> int:
        if self._words in text:
            self._heard.set()
        written: int = self._real.write(text)
        return written

    def flush(self) -> None:
        self._real.flush()

    def fileno(self) -> int:
        number: int = self._real.fileno()
        return number


def arrange(number: signal.Signals, words: str = "") -> None:
    """To be called by the main thread before its loop is made."""
    heard, sleeps = threading.Event(), threading.Event()
    if words:
        sys.stderr = Said(words, heard)
    else:
        heard.set()
    real = selectors.DefaultSelector.select

    def select(selector: Any, timeout: float | None = None) -> Any:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and heard.is_set() and (timeout is None or timeout > LONG):
            sys.setswitchinterval(1000)  # whoever waits for sleeps goes on when this thread lets go: in the kernel
            sleeps.set()
        return real(selector, timeout)

    selectors.DefaultSelector.select = select  # type: ignore[method-assign,assignment]
    main = threading.main_thread().native_id
    threading.Thread(target=_signal, args=(number, sleeps, Path(f"/proc/self/task/{main}/stat")), daemon=True).start()


def _signal(number: signal.Signals, sleeps: threading.Event, state: Path) -> None:
    sleeps.wait()
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "S":
        pass
    signal.pthread_kill(threading.get_ident(), number)


if __name__ == "__main__":
    from node_ipc.tools.cli import main

    arrange(signal.Signals[sys.argv[1]], sys.argv[2])
    sys.exit(main(sys.argv[3:]))
