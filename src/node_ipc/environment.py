"""``NODE_IPC_LOG=debug``: what the library does on standard error, for programs that nobody wants to change for it.

Loaded by the package where that variable is set, and by nothing else. The lines go to the logger ``node_ipc`` as all
others; a handler for standard error is there until the program sets up logging itself. Payloads are in none of them.
"""

from __future__ import annotations

import logging
import os

from .config.foreign import last_resort
from .config.logs import FaultLog, escape, logger
from .core.trace import EVERYWHERE, Trace

__all__ = ["VARIABLE", "set_up"]

VARIABLE = "NODE_IPC_LOG"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _UntilThereIsAnother(logging.StreamHandler):  # type: ignore[type-arg]  # no class of its own before 3.11.4
    """Writes to standard error while the program has no handler of its own, so that no line is there twice."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def set_up(value: str) -> None:
    """Log from this level on; with ``debug`` also what happens to each link, by every endpoint made from now on."""
    level = LEVELS.get(value.strip().lower())
    if level is None:
        last_resort(f"node_ipc: {VARIABLE} is {escape(value)!r}, and takes {', '.join(LEVELS)}")
        return
    handler = _UntilThereIsAnother()
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.logger.addHandler(handler)
    logger.logger.setLevel(level)
    if level == logging.DEBUG:
        EVERYWHERE.append(_tell)


def _tell(trace: Trace) -> None:
    where = escape(str(trace.endpoint.address))
    known = FaultLog.members(where, trace.socket, getattr(trace.detail, "code", None))
    who = "" if trace.socket is None else f" (link {known['link']}, {known['peer']})"
    detail = "" if trace.detail is None else f": {escape(str(trace.detail))}"
    logger.log(logging.DEBUG, "%s at %s%s%s", trace.what, where, who, detail, extra=known)


if VARIABLE in os.environ:
    set_up(os.environ[VARIABLE])
