"""Which of the sockets beside the one that is looked for may be meant: an id that was misspelt has it near."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from .address import is_host
from .misspelt import lookalike, slipped

if TYPE_CHECKING:
    from .address import Address

__all__ = ["near_by", "nearest"]

SHORTEST = 3
"""Letters that an id has at least for which another can be a slip of the fingers."""


def nearest(wrong: str, ids: Collection[str]) -> str | None:
    """The id that is this one but for a slip, or but for what stands before its first separator."""
    known = [id for id in ids if len(id) >= SHORTEST]
    if len(wrong) < SHORTEST:
        return None
    meant = wrong.strip().casefold()
    same = next((id for id in known if id.casefold() == meant), None)  # before one that is a letter shorter
    near = same or slipped(wrong, known) or lookalike(wrong, known)
    return near or next((id for id in known if _have_one_end(id, wrong)), None)


def _have_one_end(one: str, other: str) -> bool:
    """Whether they differ in a prefix only, as ``app.world``, ``my-world`` and ``world`` do."""
    ends = [{name, re.split(r"[._-]", name, maxsplit=1)[-1]} for name in (one, other)]
    return any(len(end) >= SHORTEST for end in ends[0] & ends[1])


def near_by(address: Address, appspace: str, sockets_in: Callable[[str], Collection[str]]) -> str:
    """``. Did you mean …?`` where no server has this id, and a socket beside it has one much like it; else nothing.

    Args:
        sockets_in: gives the names of the sockets in a directory.
    """
    for path in (getattr(address, "path", ""), *getattr(address, "also", ())):
        directory, name = os.path.split(path)
        if not directory.startswith("/"):  # an abstract name, a pipe, no path at all
            continue
        prefix = appspace if name.startswith(appspace) else ""
        wrong = name.removeprefix(prefix)
        ids = {other.removeprefix(prefix) for other in sockets_in(directory) if other.startswith(prefix)}
        near = nearest(
            wrong, sorted(id for id in ids if not id.startswith((wrong, ".")) and not id.endswith(".observe"))
        )
        if near is not None:
            return f". Did you mean {near!r}, whose socket is {f'{directory}/{prefix}{near}'!r}?"
        if prefix and is_host(wrong):
            return f". {wrong!r} is taken for the id of a local server; over the network it is tcp://{wrong}:port"
    return ""
