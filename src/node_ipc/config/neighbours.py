"""Which sockets lie beside the one that is looked for: an id that was misspelt has the right one near it."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection
from itertools import islice
from typing import TYPE_CHECKING

from .misspelt import lookalike, slipped

if TYPE_CHECKING:
    from .address import Address

__all__ = ["near_by", "nearest"]

MOST_NAMES = 10_000
"""How much of a directory is looked at."""
SHORTEST = 3
"""Letters that an id has at least for which another can be a slip of the fingers."""


def nearest(wrong: str, ids: Collection[str]) -> str | None:
    """The id that is this one but for a slip, or but for what stands before its first separator."""
    known = [id for id in ids if len(id) >= SHORTEST]
    if len(wrong) < SHORTEST:
        return None
    near = slipped(wrong, known) or lookalike(wrong, known)
    return near or next((id for id in known if _have_one_end(id, wrong)), None)


def _have_one_end(one: str, other: str) -> bool:
    """Whether they differ in a prefix only, as ``app.world``, ``my-world`` and ``world`` do."""
    ends = [{name, re.split(r"[._-]", name, maxsplit=1)[-1]} for name in (one, other)]
    return any(len(end) >= SHORTEST for end in ends[0] & ends[1])


def near_by(address: Address, appspace: str) -> str:
    """``. Did you mean …?`` where no server has this id, and a socket beside it has one much like it; else nothing."""
    for path in (getattr(address, "path", ""), *getattr(address, "also", ())):
        directory, name = os.path.split(path)
        if not directory.startswith("/"):  # an abstract name, a pipe, no path at all
            continue
        prefix = appspace if name.startswith(appspace) else ""
        wrong = name.removeprefix(prefix)
        ids = {other.removeprefix(prefix) for other in _sockets(directory, prefix)}
        near = nearest(
            wrong, sorted(id for id in ids if not id.startswith((wrong, ".")) and not id.endswith(".observe"))
        )
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
