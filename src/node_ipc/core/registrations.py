"""The handlers of one event, in the order they came, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Registration", "Registrations"]

EVERYTHING = "*"
"""The name of what hears every event; as a handler, all of them."""
LOOKED_THROUGH = 32
"""Handlers of one event among which one is looked for one by one."""


class Registration(msgspec.Struct, eq=False):
    """One handler of one event."""

    handler: Callable[..., Any]
    once: bool
    call: Callable[..., Any]
    type: Any = None
    """What payloads are decoded to; None is whatever comes."""
    live: bool = True
    required: int = 0
    """How many arguments one of ``*`` gets at least: the lifecycle brings less than messages, and None for the rest."""
    link: int = 0
    """How many links there had been when it was registered."""
    twin: Registration | None = None
    """Its like under the same name of the other registry: a peer's events and our own may share names."""


class Registrations(dict[Registration, None]):
    """The handlers of one event, in the order they came.

    Any of them is taken out in the same time: a program that removes ten thousand would wait for seconds.
    """

    __slots__ = ("_found", "_round", "lost_some")

    def __init__(self) -> None:
        super().__init__()
        self.lost_some = False
        """Some were taken out."""
        self._round: tuple[Registration, ...] | None = None
        self._found: dict[Any, list[Registration]] | None = None  # by handler, once there were many to look through

    def round(self) -> tuple[Registration, ...]:
        """Those that are there now: what the others add hears the next event."""
        now = self._round
        if now is None:
            now = self._round = tuple(self)
        return now

    def add(self, registration: Registration) -> None:
        self[registration] = None
        self._round = None
        if self._found is not None:
            self._found.setdefault(_key(registration.handler), []).append(registration)

    def retire(self, handler: Any) -> bool:
        """Take out all of this handler, or with ``"*"`` all; whether there were any."""
        registrations = tuple(self) if handler == EVERYTHING else self._of(handler)
        for registration in registrations:
            self.take_out(registration)
        return bool(registrations)

    def take_out(self, registration: Registration) -> None:
        """Also from the round of calls that is under way."""
        registration.live = False
        self.lost_some = True
        del self[registration]
        self._round = None
        if self._found is not None:
            key = _key(registration.handler)
            same = self._found[key]
            same.remove(registration)
            if not same:
                del self._found[key]

    def _of(self, handler: Any) -> list[Registration]:
        key = _key(handler)
        if key is None or len(self) <= LOOKED_THROUGH:
            return [registration for registration in self if registration.handler == handler]
        if self._found is None:
            self._found = {}
            for registration in self:
                self._found.setdefault(_key(registration.handler), []).append(registration)
        others = self._found.get(None, ())
        return [*self._found.get(key, ()), *(each for each in others if each.handler == handler)]


def _key(handler: Any) -> Any:
    """The handler, or None where it cannot be a key."""
    try:
        hash(handler)
    except TypeError:
        return None
    return handler


NONE = Registrations()
"""Of an event that has none."""
