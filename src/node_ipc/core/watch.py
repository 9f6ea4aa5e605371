"""Who measures each message of an endpoint: metrics, spans and the live view listen here.

``Trace`` tells of reads and writes; a :class:`Watch` hears of each message and request, with its name, its size and
how long its handlers took. Nothing here runs while nobody watches: the endpoint gets another codec and another table
of handlers when the first watch comes, and its own ones back when the last is gone.

A watch keeps its own clock. What it raises harms only itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..config.foreign import PASSING, Foreign, report
from ..wire.carried import Carried
from ..wire.names import PING, PONG

__all__ = ["Activity", "Handling", "Timed", "Told", "Watch", "Watches"]

Told = Callable[[int, BaseException | None], None]
"""Hears how an emit ended: the bytes of its frame (0 where there is none), and what it raised."""


class Activity:
    """Something that lasts: the handlers of a message, a request. For a watch to extend."""

    enters = False
    """Whether ``enter`` and ``leave`` do anything."""

    def enter(self) -> None:
        """Code that belongs to it runs from now on, in this context; what it starts copies the context."""

    def leave(self) -> None:
        """It runs no more, for now."""

    def ended(self, error: BaseException | None) -> None:
        """It is over: well, or with this error."""


class Timed(Activity):
    """Tells how many seconds of ``clock`` it took, and how it ended."""

    __slots__ = ("_begun", "_clock", "_told")

    def __init__(self, clock: Callable[[], float], told: Callable[[float, BaseException | None], None]) -> None:
        self._clock = clock
        self._told = told
        self._begun = clock()

    def ended(self, error: BaseException | None) -> None:
        self._told(self._clock() - self._begun, error)


class Watch:
    """What hears of each message; a method that returns None does not want to know how it goes on."""

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Told | None:
        """A message is encoded; what is put into ``carrier`` travels beside it. A broadcast is one message."""

    def handling(self, name: str, message: Carried, socket: Any) -> Activity | None:
        """A message came that has handlers, and they are about to be called."""

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        """A message came that has no handler of its own: it waits to be received, or nobody wants it."""

    def asking(self, method: str, params: Any) -> Activity | None:
        """A request is about to be sent; it ends with its answer."""

    def answering(self, method: str, message: Carried | None, request: Any) -> Activity | None:
        """A request came, and its handler is about to be called; it ends with the answer, or with nobody waiting."""


class _Guarded:
    """A watch whose methods harm nobody else."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        guard = partial(Foreign, f"{type(watch).__name__}, which watches messages,")
        self.emitting = guard(watch.emitting)
        self.handling = guard(watch.handling)
        self.unheard = guard(watch.unheard)
        self.asking = guard(watch.asking)
        self.answering = guard(watch.answering)


class Watches:
    """Those that watch one endpoint, told as one."""

    def __init__(self) -> None:
        self._all: tuple[_Guarded, ...] = ()
        self._told = False

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, watch: Watch) -> None:
        self._all += (_Guarded(watch),)

    def remove(self, watch: Watch) -> None:
        self._all = tuple(each for each in self._all if each.watch is not watch)

    def harmless(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call what a watch returned; the first time that it raises is told."""
        try:
            call(*arguments)
        except PASSING:
            raise
        except BaseException as error:
            if not self._told:
                self._told = True
                report("what watches messages", error)

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> list[Told]:
        """Before a message is encoded: whom to tell how that ended."""
        if name in (PING, PONG):
            return []
        told = (each.emitting(name, data, carrier) for each in self._all)
        return [partial(self.harmless, one) for one in told if one is not None]

    def handling(self, name: str, message: Carried, socket: Any) -> Handling:
        return Handling([each.handling(name, message, socket) for each in self._all], self.harmless)

    def unheard(self, name: str, message: Carried, socket: Any) -> None:
        for each in self._all:
            each.unheard(name, message, socket)

    def asking(self, method: str, params: Any) -> Handling:
        return Handling([each.asking(method, params) for each in self._all], self.harmless)

    def answering(self, method: str, message: Carried | None, request: Any) -> Handling:
        return Handling([each.answering(method, message, request) for each in self._all], self.harmless)


class Handling:
    """One message on its way through its handlers, or one request; over when the last of its parts is."""

    __slots__ = ("_activities", "_harmless", "_parts", "error")

    def __init__(self, activities: list[Activity | None], harmless: Callable[..., None]) -> None:
        self._harmless = harmless
        self._activities = [activity for activity in activities if activity is not None]
        self._parts = 1
        self.error: BaseException | None = None
        """The first thing that went wrong in it."""

    def __enter__(self) -> Handling:
        for activity in self._activities:
            if activity.enters:
                self._harmless(activity.enter)
        return self

    def __exit__(self, *exception: Any) -> None:
        for activity in reversed(self._activities):
            if activity.enters:
                self._harmless(activity.leave)

    def failed(self, error: BaseException) -> None:
        """One of its handlers raised."""
        self.error = self.error or error

    def until(self, done: Callable[[BaseException | None], None]) -> Callable[[BaseException | None], None]:
        """``done`` for an async handler of it: this is over no sooner than that."""
        self._parts += 1

        def end(error: BaseException | None) -> None:
            try:
                done(error)
            finally:
                self.end(error)

        return end

    def end(self, error: BaseException | None = None) -> None:
        """One part is over."""
        if error is not None:
            self.failed(error)
        self._parts -= 1
        if self._parts == 0:
            for activity in self._activities:
                self._harmless(activity.ended, self.error)
