"""Which sockets lie beside the one that is looked for: an id that was misspelt has the right one near it."""

from __future__ import annotations

import contextlib
import os
import stat
from itertools import islice
from typing import TYPE_CHECKING

from .misspelt import meant

if TYPE_CHECKING:
    from .address import Address

__all__ = ["near_by"]

MOST_NAMES = 10_000
"""How much of a directory is looked at."""


def near_by(address: Address, appspace: str) -> str:
    """``. Did you mean …?`` where no server has this id, and a socket beside it has one much like it; else nothing."""
    for path in (getattr(address, "path", ""), *getattr(address, "also", ())):
        directory, name = os.path.split(path)
        if not directory.startswith("/"):  # an abstract name, a pipe, no path at all
            continue
        prefix = appspace if name.startswith(appspace) else ""
        wrong = name.removeprefix(prefix)
        ids = {other.removeprefix(prefix) for other in _sockets(directory, prefix)}
        near = meant(wrong, sorted(id for id in ids if not id.startswith((wrong, ".")) and not id.endswith(".observe")))
        if near is not None:
            return f". Did you mean {near!r}, whose socket is {f'{directory}/{prefix}{near}'!r}?"
    return ""


def _sockets(directory: str, prefix: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return [
            entry.name
            for entry in islice(entries, MOST_NAMES)
            if entry.name.startswith(prefix) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
        ]
    return []
