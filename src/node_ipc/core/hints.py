"""The words for what ``mistakes.py`` finds: what is hardly meant, why, and what to do instead, in one line each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..config.misspelt import lookalike
from ..errors import IPCError
from ..wire.names import LIFECYCLE
from .events import Events
from .mistakes import COMPARED

__all__ = ["Hints"]

NAMES_SHOWN = 5
"""How many names of handlers a line shows."""


class Hints:
    """Says what is hardly meant in who hears what at one endpoint.

    ``tell`` tells of a mistake in the program; ``tell_unheard`` of what comes and nobody hears, which a peer can cause,
    too; ``tell_misheard`` the same where a handler is there that may be meant.
    """

    def __init__(
        self,
        events: Events[Any],
        tell: Callable[[IPCError], None],
        tell_unheard: Callable[[str], None],
        tell_misheard: Callable[[str], None],
        answers_requests: bool,
    ) -> None:
        self._events = events
        self._tell = tell
        self._tell_unheard = tell_unheard
        self._tell_misheard = tell_misheard
        self._answers_requests = answers_requests
        self._removed_nothing = False  # whether it was told
        mistakes = events.mistakes
        mistakes.misspelt = self.misspelt
        mistakes.mistaken = self.mistaken
        mistakes.emitted_method = self.emitted_method
        mistakes.returned = self.returned
        mistakes.came_before = lambda name: partial(self.came_before, name)
        mistakes.registered_anew = self.registered_anew
        mistakes.worded = self.worded
        mistakes.texted = self.texted
        mistakes.removed_nothing = self.removed_nothing

    def misspelt(self, name: str, near: str) -> None:
        """Events come whose name is nearly that of a handler, and that nobody hears."""
        of = "" if self._events.has_handler(near) else "requests of "
        line = (
            f"events named {name!r} come, and no handler hears them; there is one for {of}{near!r}: is one of the two "
            "misspelt? This is said once for each name"
        )
        self._tell_misheard(line)

    def emitted_method(self, name: str) -> None:
        """Events come that nobody hears, and a request of that name would be answered."""
        self._tell_misheard(
            f"events named {name!r} come, and no handler hears them; there is one for requests of {name!r}: was "
            "request meant, and not emit? This is said once for each name"
        )

    def returned(self, name: str) -> None:
        """A handler of an event returned something."""
        answers = f", or answer requests, by handle({name!r}, …) here and request({name!r}, …) there"
        line = (
            f"what the handler of {name!r} returned goes nowhere: an event has no answer. Emit that to the other "
            f"side{answers if self._answers_requests else ''}. This is said once for each name"
        )
        self._tell(IPCError(line))

    def came_before(self, name: str, there: str = "that is gone") -> None:
        """The first handler of an event was registered when one had come already."""
        line = (
            f"an event {name!r:.80} came before this handler of it was registered, which does not hear it: {there}. "
            "Register handlers first, before the program waits or asks for anything. This is said once for each name"
        )
        self._tell(IPCError(line))

    def registered_anew(self, name: str) -> None:
        """A handler is registered again on a later link, and the earlier one is there still."""
        line = (
            f"the same handler of {name!r:.80} is registered again, now that there is another link, and the earlier "
            "one stays: each event calls both. Handlers outlast links: register them once, and not in the handler of "
            "'connect'. This is said once"
        )
        self._tell(IPCError(line))

    def worded(self, name: str) -> None:
        """Bytes are wanted of what came, and it reads like words."""
        line = (
            f"what came of {name!r} are words, and they were read as base64, since bytes are taken here: that is how "
            "those stand in JSON. If text was emitted, take str here, or emit bytes, text.encode(). This is said once "
            "for each name"
        )
        self._tell(IPCError(line))

    def texted(self, name: str, place: str) -> None:
        """Text is wanted of what came, and it is bytes."""
        line = (
            f"bytes came of {name!r}, at {place}, where the type says str: what is there is the base64 text of them. "
            "Annotate bytes, which gets them as they were emitted. This is said once for each name"
        )
        self._tell(IPCError(line))

    def removed_nothing(self, name: str, near: str | None) -> None:
        """``off`` was told of what is not there and never was."""
        if near is None:
            why = "that handler was never registered for it. It is found by the very function that on() was given"
        else:
            why = f"there are no handlers of that name, and there are some of {near!r}: were those meant?"
        if not self._removed_nothing:
            self._removed_nothing = True
            self._tell(IPCError(f"off({name!r}, …) removed nothing: {why}"))

    def mistaken(self, name: str, meant: str | None) -> None:
        """A handler was registered that may wait for an event of the lifecycle, and will not hear it."""
        if self._events.mistakes.bytes_only:
            named = "of requests" if name.startswith("rpc.") else f"of {name!r}"
            line = (
                f"a handler {named} is never called: in raw mode nothing that comes has a name. All of it is given to "
                "handlers of 'data', as bytes"
            )
        elif name == "data":
            line = (
                "a handler of 'data' is called in raw mode only (raw_buffer): events are heard under the names that "
                "they are emitted with, and all of them under '*'"
            )
        elif meant is None:
            line = f"a handler of {name!r} is never called: nothing of that name happens here"
        elif name in LIFECYCLE:
            line = f"a handler of {name!r} is never called here: the event is named {meant!r}"
        else:
            line = (
                f"a handler of {name!r} hears what the other side emits under that name; what happens here is named "
                f"{meant!r}: was that meant? This is said once for each name, and not where the handler has a type="
            )
        self._tell(IPCError(line))

    def strange(self, name: str, handled: list[str]) -> None:
        """Events come that nobody hears, at a server that hears others."""
        line = (
            f"events named {name[:64]!r} come, and no handler hears them; there are {_some(handled)}. Register one, or "
            "one of '*', which hears all that come. This is said once for each name, and of a few names; "
            "stats().unheard counts"
        )
        self._tell_unheard(line)

    def unanswered(self, name: str, methods: list[str]) -> None:
        """Requests come that nobody answers; who asks is not told which would be."""
        if self._events.has_handler(name):
            there = f"there is one for events of that name: was handle({name!r}, …) meant, and not on?"
        elif (near := lookalike(name, methods[:COMPARED])) is not None:
            there = f"there is one for {near!r}: is one of the two misspelt?"
        else:
            there = f"there are {_some(methods)}. Register one, by handle(method, handler)."
        self._tell_unheard(
            f"requests of {name!r} come, and no handler answers them; {there} This is said once for each name, and of "
            "a few names"
        )


def _some(names: list[str]) -> str:
    """Of which names there are handlers."""
    if not names:
        return "none at all"
    more = len(names) - NAMES_SHOWN
    return f"some for {', '.join(map(repr, names[:NAMES_SHOWN]))}{f' and {more} more' if more > 0 else ''}"
