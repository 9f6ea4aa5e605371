"""Two nodes on a bus that breaks, as states: what one publishes is heard by the other, or told as a gap, or still held.

``a`` publishes numbered messages, ``b`` hears. While ``a`` is not up what it publishes waits, so many at the most, then
the oldest is dropped and counted. The broker relays to whoever is connected and says nothing of what it loses. With
each beat ``a`` says how far it came, by which ``b`` finds out what is missing; so does its goodbye.

``NODE`` in ``tables.py`` has the rows of the code's table that this walks; ``("JOINING", "late")`` and the like are one
step here, ``joined``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from state_space import Step


class BusSizes(NamedTuple):
    """How much there may be of each."""

    messages: int = 4
    breaks: int = 2
    waiting: int = 2


class Bus(NamedTuple):
    """Where everything stands; both nodes know each other."""

    a: str = "UP"
    b: str = "UP"
    broker: bool = True
    waiting: str = ""
    way: str = ""
    published: int = 0
    given: int = 0
    """Of ``a``: the number behind the last that went to the broker."""
    expected: int = 0
    """Of ``b``: the number that it awaits."""
    heard: str = ""
    gaps: str = ""
    """What ``b`` was told is missing."""
    dropped: str = ""
    """What ``a`` was told never went out."""
    said_bye: bool = False
    breaks: int = 0


def bus_steps(state: Bus, sizes: BusSizes) -> Iterator[Step[Bus]]:
    """What may happen next."""
    if state.a not in ("CLOSED",) and state.published < sizes.messages:
        yield Step("publish", _publish(state, sizes))
    if state.broker:
        for node in ("a", "b"):
            if getattr(state, node) == "DOWN":
                yield Step(f"{node} up", _at(state, node, "JOINING"))
            if getattr(state, node) == "JOINING":
                yield Step(f"{node} joined", _joined(state, node))
    if state.way:
        yield Step("deliver", _deliver(state))
    if state.a == "UP" and state.b in ("UP", "JOINING") and not state.way:
        yield Step("beat", _learn(state, state.given))
    if state.broker and state.breaks < sizes.breaks:
        more = state._replace(breaks=state.breaks + 1)
        yield Step("broker dies", _down(_down(more, "a"), "b")._replace(broker=False))
        yield Step("a cut", _down(more, "a"))
        yield Step("b cut", _down(more, "b"))
    if not state.broker:
        yield Step("broker is back", state._replace(broker=True))
    if state.a != "CLOSED":
        yield Step("a closes", _close(state))


def _at(state: Bus, node: str, where: str) -> Bus:
    return state._replace(a=where) if node == "a" else state._replace(b=where)


def _publish(state: Bus, sizes: BusSizes) -> Bus:
    number = str(state.published)
    state = state._replace(published=state.published + 1)
    if state.a == "UP" and not state.waiting:
        return _give(state, number)
    waiting, dropped = state.waiting + number, state.dropped
    if len(waiting) > sizes.waiting:
        waiting, dropped = waiting[1:], dropped + waiting[0]
    return state._replace(waiting=waiting, dropped=dropped)


def _give(state: Bus, numbers: str) -> Bus:
    """To the broker, which relays it to whoever is there. What was dropped is a gap at the other side, too."""
    carried = numbers if state.b in ("UP", "JOINING") else ""
    return state._replace(way=state.way + carried, given=int(numbers[-1]) + 1 if numbers else state.given)


def _joined(state: Bus, node: str) -> Bus:
    state = _at(state, node, "UP")
    if node == "a":
        return _give(state, state.waiting)._replace(waiting="")
    return state


def _deliver(state: Bus) -> Bus:
    number = int(state.way[0])
    state = _learn(state._replace(way=state.way[1:]), number)
    return state._replace(heard=state.heard + str(number), expected=number + 1)


def _learn(state: Bus, until: int) -> Bus:
    """``b`` knows that all before this was sent: what it has not heard is missing."""
    missing = "".join(str(number) for number in range(state.expected, until))
    return state._replace(gaps=state.gaps + missing, expected=max(state.expected, until))


def _down(state: Bus, node: str) -> Bus:
    if getattr(state, node) in ("DOWN", "CLOSED"):
        return state
    return _at(state, node, "DOWN")._replace(way="" if node == "b" else state.way)


def _close(state: Bus) -> Bus:
    """What waits goes out first where that can be, and how far it came is said."""
    if state.a in ("UP", "JOINING"):
        state = _give(state, state.waiting)._replace(waiting="")
        is_heard = state.b in ("UP", "JOINING") and not state.way
        state = _learn(state, state.given) if is_heard else state
        return state._replace(a="CLOSED", said_bye=is_heard)
    return state._replace(a="CLOSED", dropped=state.dropped + state.waiting, waiting="")


# ---- what is to hold


def bus_accounted(state: Bus) -> bool:
    """Each message is heard, told as missing, dropped and told so, held, or ahead of what the other side knows of."""
    ahead = "".join(str(number) for number in range(state.expected, state.published))
    known = state.heard + state.gaps + state.dropped + state.waiting + state.way + ahead
    return all(str(number) in known for number in range(state.published))


def bus_in_order(state: Bus) -> bool:
    return list(state.heard) == sorted(set(state.heard))


def never_both(state: Bus) -> bool:
    """What is told as missing is never heard."""
    return not set(state.gaps) & set(state.heard)


def all_told(state: Bus) -> bool:
    """Nothing is open: each message heard or told, to one side at least."""
    return set(state.heard + state.gaps + state.dropped) == {str(number) for number in range(state.published)}


def closed_unheard(state: Bus) -> bool:
    """Nobody is left to say how far it came: its goodbye did not come through."""
    return state.a == "CLOSED" and not state.said_bye
