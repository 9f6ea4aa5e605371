"""What is hardly as the program means it, in who hears what: nothing else would show that an event is never heard.

``Events`` asks :class:`Mistakes` where such a thing may show: a handler is registered or taken off, an event comes that
nobody hears, a handler returns something. Nothing here changes what is delivered, or to whom. Whom it tells is set by
the endpoint, which has the words; each name is told of once, and few names are, since any peer may make up more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from itertools import islice, pairwise
from types import AsyncGeneratorType, FunctionType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

from ..config.misspelt import misspelling
from ..wire.attached import Attached, place_of_text
from ..wire.json import word_weight
from ..wire.names import LIFECYCLE, is_another_word, meant_of_lifecycle
from .payload import is_of_bytes
from .registrations import EVERYTHING, NONE, Registration, Registrations

if TYPE_CHECKING:
    from .signature import Signature

__all__ = ["Mistakes"]

SUSPECTS = 32
"""So many names that no handler has are compared with those that have one; any peer may make up more."""
STRANGERS = 8
"""So many of them that are like none are told; the others are counted."""
COMPARED = 256
"""With so many names at most, and none that is longer."""

RETURNED = frozenset({dict, list, tuple, str, bytes, int, float, GeneratorType, AsyncGeneratorType})
"""What a handler of an event that returns it may take for an answer."""

WORDED = 256
"""So many names whose payloads are to be bytes are looked at."""
LOOKED_AT = 8
"""So many payloads of a name, the first that are to be bytes, are looked at whether they are words."""
WORDS_WEIGH = 8
"""What these weigh at least together: four words of four letters, two of eight or one of twelve."""
MAKES = frozenset({"BUILD_MAP", "BUILD_CONST_KEY_MAP", "BUILD_STRING", "BINARY_OP"})
"""By what a lambda ends that gives a new value."""
SAME_AMONG = 8
"""So many handlers of a name, the latest, are compared with one that comes on a later link."""


class Mistakes:
    """Looks for the mistakes in who hears what at one endpoint.

    It only reads who hears the ``wire``, the ``lifecycle`` and all of it (``everything``), as it is at the time. The
    endpoint ``raises`` some events of the lifecycle itself, and under those ``from_peers`` handlers hear what a peer
    emits; ``brings`` is the most that a handler of the lifecycle gets. ``unheard_states`` go on, as that the link is
    up, and no handler heard of them. ``is_local`` says which names are heard of this endpoint itself only.
    """

    def __init__(
        self,
        wire: dict[str, Registrations],
        lifecycle: dict[str, Registrations],
        everything: Registrations,
        raises: frozenset[str],
        from_peers: frozenset[str],
        brings: dict[str, tuple[str, ...]],
        unheard_states: Collection[str],
        is_local: Callable[[str], bool],
    ) -> None:
        self._wire = wire
        self._lifecycle = lifecycle
        self._everything = everything
        self._raises = raises
        self._from_peers = from_peers
        self._brings = brings
        self._unheard_states = unheard_states
        self._is_local = is_local
        self.bytes_only = False
        """Raw mode: there are no events from the wire, and every name but the lifecycle's is a mistake."""
        self.methods: Collection[str] = ()
        """What requests ask for here."""
        self.doubt: Callable[[Callable[[], None]], None] | None = None
        """Told what to call later, when it is clearer whether there is a mistake."""

        # names of handlers
        self.mistaken: Callable[[str, str | None], None] | None = None
        """Told, once for each, of a name that is hardly a peer's and no event of this endpoint's own; and of the one
        that may be meant, if any."""
        self._mistakes: set[str] = set()
        self._unproven: set[str] = set()  # names of handlers that may be mistakes, and have not heard anything yet
        self._meant: dict[str, list[str]] = {}  # the same by the event of the lifecycle that may be meant

        # handlers that come too late, or again
        self.came_before: Callable[[str], Callable[[], None] | None] | None = None
        """Asked, of an event that came unheard before its first handler, for what tells so, once; None where that is as
        it should be."""
        self._came: set[str] = set()  # names that nobody heard, the first few
        self.registered_anew: Callable[[str], None] | None = None
        """Told, once, of a name whose handler is registered for each link, and would be called for each."""
        self._links = 0

        # handlers that are taken off
        self.removed_nothing: Callable[[str, str | None], None] | None = None
        """Told of a name and a handler that ``off`` was given and that never were together; and of the name that may be
        meant, where there are handlers of no such one."""
        self._heard_before: set[str] = set()  # names of handlers that are gone, as by once()

        # events that nobody hears
        self.misspelt: Callable[[str, str], None] | None = None
        """Told, once for each, of a name that nobody hears, and of the handled one that it is like; None looks at none.

        A client need not hear all that its server emits; a name that is nearly that of a handler is mostly a mistake.
        """
        self.strange: Callable[[str, list[str]], None] | None = None
        """Told, once for each, of a name that nobody hears and that is like none of those that are handled, with these;
        None where that is as it should be."""
        self._strangers = 0
        self.emitted_method: Callable[[str], None] | None = None
        """Told, once for each, of an event that nobody hears, and that a request could ask for."""
        self._emitted_methods: set[str] = set()
        self._suspects: set[str] = set()
        self.settled: set[str] = set()
        """Names that are kept for who receives them, and need no look: none of the handlers is like them."""
        self._unlike = 0  # with so few names handled, none is an event's: those of requests are looked at once

        # what handlers return
        self.returned: Callable[[str], None] | None = None
        """Told, once for each, of an event whose handler returned something, which goes nowhere."""
        self._returners: set[str] = set()  # names whose handlers have been looked at for that

        # payloads of text and of bytes
        self.worded: Callable[[str], None] | None = None
        """Told, once for each, of a name of which bytes are taken, and came what is rather text."""
        self.texted: Callable[[str, str], None] | None = None
        """Told, once for each, of a name of which text is taken, and came bytes; and of their place in the payload."""
        self._texts: set[str] = set()  # those of which it was told
        self._words: dict[str, list[int]] = {}  # names of bytes: what those that were looked at weigh as words
        self._looked_at: set[str] = set()  # those of which enough was looked at

    # ---- names of handlers

    def look_at_name(self, name: str, type: Any, signature: Signature) -> None:
        """Look whether an event of the lifecycle is meant: nothing else would ever show that this one never comes.

        A payload shows that it is a peer's event, and a handler of the one that may be meant that both are. Where a
        handler shows neither, and the name is a usual one, it is seen later whether such events come.
        """
        if name in self._raises:
            return
        if self.bytes_only:
            comes = name in (EVERYTHING, "data") or (name.startswith("rpc.") and name != "rpc.request")
            if not comes and name not in self._mistakes and self.mistaken is not None:
                self._mistakes.add(name)
                self.mistaken(name, None)
            return
        if type is not None:
            return
        meant = meant_of_lifecycle(name, self._raises)
        never = name in LIFECYCLE and name not in self._from_peers
        if name == "data" and self._everything:  # who hears all that comes may take bytes as well
            return
        if (meant is None and not never) or name in self._mistakes or self.mistaken is None:
            return
        if not never and (name in LIFECYCLE or self._lifecycle.get(meant or "")):
            return
        another_word = meant is not None and is_another_word(name) and not never
        brings = ("error",) if meant == "error" else self._brings.get(meant or "", ())
        takes_it = signature.takes(brings) if another_word else True
        if takes_it is False and name == "connection":  # Node's own servers call it so, whatever its parameter's name
            takes_it = None
        if takes_it is not False:
            self._mistakes.add(name)
        if takes_it:
            self.mistaken(name, meant)
        elif takes_it is None and meant is not None:
            self._meant.setdefault(meant, []).append(name)
            self._unproven.add(name)
            if meant in self._unheard_states:
                self._doubt_meant(meant)

    def look_at_lifecycle(self, name: str) -> None:
        """This happens now; a handler that may be meant for it, and is of another name, does not hear it."""
        if name == "connect":
            self._links += 1
        if name in self._meant:
            self._doubt_meant(name)

    def _doubt_meant(self, meant: str) -> None:
        """It happened, and there are handlers of another name that may be for it: if none of that comes, they are."""
        for name in self._meant.pop(meant):
            if self.doubt is not None:
                self.doubt(partial(self._tell_meant, name, meant))

    def _tell_meant(self, name: str, meant: str) -> None:
        if self._stays_unproven(name) and not self._lifecycle.get(meant) and self.mistaken is not None:
            self.mistaken(name, meant)

    def _stays_unproven(self, name: str) -> bool:
        """Whether nothing of this name was heard while it was in doubt, which is over now."""
        if name not in self._unproven:
            return False
        self._unproven.discard(name)
        return name in self._wire

    # ---- handlers that come too late, or again

    def look_at_handler(self, name: str, registration: Registration, kept: bool) -> bool:
        """See whether this comes too late, or again for each link; returns whether its payloads are to be looked at.

        kept: what no handler has waits for those who receive it.
        """
        registration.link = self._links
        before = self._wire.get(name)
        if before is None and (kept or name in self._came):
            self._doubt_came_before(name)
        if before and not registration.once:
            self._look_whether_anew(name, registration, before)
        return name in self._unproven or is_of_bytes(registration.type)

    def look_at_payload(self, name: str, type: Any, data: Any) -> bool:
        """What a new handler hears; whether it is to be looked at what comes next, too."""
        self._unproven.discard(name)
        return is_of_bytes(type) and self._look_at_text(name, data)

    def _doubt_came_before(self, name: str) -> None:
        """What came before this handler may be missed; where more comes, it is a stream of which some was."""
        self._came.discard(name)
        self.settled.clear()  # they are looked at once more, beside this handler
        if self.came_before is not None and name not in self._heard_before and (told := self.came_before(name)):
            self._unproven.add(name)
            if self.doubt is not None:
                self.doubt(partial(self._tell_came_before, name, told))

    def _tell_came_before(self, name: str, tell: Callable[[], None]) -> None:
        if self._stays_unproven(name):
            tell()

    def _look_whether_anew(self, name: str, registration: Registration, before: Registrations) -> None:
        """See whether the same handler is there from an earlier link, as where each one registers it."""
        latest = list(islice(reversed(before), SAME_AMONG))
        if self.registered_anew is not None and any(
            each.link < registration.link and _are_same(each.handler, registration.handler) for each in latest
        ):
            self.registered_anew(name)
            self.registered_anew = None

    # ---- handlers that are taken off

    def handlers_went(self, name: str) -> None:
        """The last handler of these events is gone."""
        if len(self._heard_before) < COMPARED:
            self._heard_before.add(name)

    def look_at_removal(self, name: str, handler: Any, registries: list[Registrations]) -> None:
        """Nothing was taken out of these; where there were such ones before, as by ``once``, it is as it should be."""
        if self.removed_nothing is None or name in self._heard_before:
            return
        if any(registrations.lost_some for registrations in registries):
            return
        if any(registries):
            self.removed_nothing(name, None)
        else:
            names = (*self._wire, *self._lifecycle)
            handled = [each for each in names if self._wire.get(each) or self._lifecycle.get(each)]
            near = misspelling(name, handled[:COMPARED])
            if near is None and handler != EVERYTHING:
                near = next((each for each in handled[:COMPARED] if handler in self._handlers(each)), None)
            if near is not None:
                self.removed_nothing(name, near)

    def _handlers(self, name: str) -> list[Callable[..., Any]]:
        return [each.handler for each in (*self._wire.get(name, NONE), *self._lifecycle.get(name, NONE))]

    # ---- events that nobody hears

    def look_at_unheard(self, name: str, kept: bool) -> None:
        """Nobody heard this; where it may be a mistake that is told, once for each name."""
        if self.methods and name in self.methods:
            self._tell_emitted_method(name)
        elif self.misspelt is not None and name not in self._suspects:
            if self._hears_names():
                self._suspect(name, self.misspelt)
            if len(self._came) < SUSPECTS:
                self._came.add(name)
        if kept and not self.methods and len(self.settled) < SUSPECTS:
            self.settled.add(name)

    def _hears_names(self) -> bool:
        first = self.strange is not None and not self._strangers
        return first or len(self._wire) > self._unlike or bool(self.methods)

    def _tell_emitted_method(self, name: str) -> None:
        if self.emitted_method is None or name in self._emitted_methods:
            return
        self._emitted_methods.add(name)
        self.emitted_method(name)

    def _suspect(self, name: str, misspelt: Callable[[str, str], None]) -> None:
        """Look once whether this is the name of a handler, misspelt on either side."""
        if len(name) > COMPARED:
            return
        known = islice((*self._wire, *self.methods), COMPARED)
        handled = [each for each in known if not each.startswith("rpc.") and each not in LIFECYCLE]
        if not handled:
            self._unlike = len(self._wire)
            if self.strange is None or self._strangers or self._is_usual(name):
                return
        self._suspects.add(name)
        if len(self._suspects) == SUSPECTS:
            self.misspelt = None
        if (near := misspelling(name, handled)) is not None:
            misspelt(name, near)
        elif self.strange is not None and self._strangers < STRANGERS and not self._is_usual(name):
            self._strangers += 1
            self.strange(name, handled)

    def _is_usual(self, name: str) -> bool:
        """Whether it is no surprise that nobody hears this: it is this endpoint's own, or was heard before."""
        return self._is_local(name) or name in self._heard_before

    # ---- what handlers return

    def look_at_returned(self, name: str, result: Any) -> None:
        """See whether a handler of an event returned what is like an answer, and not, as lambdas do, whatever it is."""
        if name in self._returners or not _is_answer(result):
            return
        self._returners.add(name)
        handlers = [registration.handler for registration in self._wire.get(name, NONE)]
        if handlers and all(map(_is_written_here, handlers)) and self.returned is not None:
            self.returned(name)

    # ---- payloads of text and of bytes

    def looking(self, decode: Callable[[Any], Any], type: Any, name: str) -> Callable[[Any], Any]:
        """The same decoder; where it makes bytes it looks at what it gets."""
        if type is None or name in self._looked_at or not is_of_bytes(type):
            return decode

        def decoded(data: Any) -> Any:
            self._look_at_text(name, data)
            return decode(data)

        return decoded

    def _look_at_text(self, name: str, data: Any) -> bool:
        """See whether what is to be bytes is text that only happens to be base64, as words may; whether to look on."""
        if name in self._looked_at or (name not in self._words and len(self._words) + len(self._looked_at) >= WORDED):
            return False
        weights = self._words.setdefault(name, [])
        weights.append(word_weight(data))
        is_text = sum(weights) >= WORDS_WEIGH
        if is_text and self.worded is not None:
            self.worded(name)
        if is_text or len(weights) == LOOKED_AT:
            self._looked_at.add(name)
            del self._words[name]
            return False
        return True

    def find_text(self, payload: Attached, type: Any, name: str) -> None:
        """Bytes came beside their message: see whether text is taken in their place, which gets base64 of them."""
        if self.texted is None or name in self._texts or len(self._texts) >= WORDED:
            return
        place = place_of_text(payload, type)
        if place is not None:
            self._texts.add(name)
            self.texted(name, place)


def _is_answer(result: Any) -> bool:
    kind = result.__class__
    return kind in RETURNED or hasattr(kind, "__struct_fields__") or hasattr(kind, "__dataclass_fields__")


def _is_written_here(handler: Any) -> bool:
    """Whether it is a function or a method of the program's, which returns what is meant to be returned."""
    while isinstance(handler, partial):
        handler = handler.func
    function = handler.__func__ if isinstance(handler, MethodType) else handler
    if not isinstance(function, FunctionType) or (
        function.__name__ == "<lambda>" and not _makes_what_it_returns(function)
    ):
        return False
    return function.__module__.partition(".")[0] not in sys.stdlib_module_names


def _makes_what_it_returns(function: FunctionType) -> bool:
    """Whether a lambda makes a dict or a text, or calculates; others return what some call gives, for its effect."""
    import dis  # only a mistake pays for it

    steps = list(dis.get_instructions(function))
    made = {before.opname for before, step in pairwise(steps) if step.opname == "RETURN_VALUE"}
    return bool(made) and made <= MAKES


def _are_same(one: Any, other: Any) -> bool:
    """Whether two handlers do the same, as a function that is defined anew in each call of another may."""
    if not (isinstance(one, FunctionType) and isinstance(other, FunctionType)):
        return bool(one == other)
    return one is other or (one.__code__ is other.__code__ and _kept_by(one) == _kept_by(other))


def _kept_by(function: FunctionType) -> list[int]:
    """Which objects it refers to by its closure and its defaults."""
    with suppress(ValueError):  # a cell that is still empty
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        return [id(each) for each in (*cells, *(function.__defaults__ or ()))]
    return [id(function)]
