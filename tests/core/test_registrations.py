"""The handlers of one event: in order, and each of many taken out without a trace."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable

from node_ipc.core.registrations import EVERYTHING, LOOKED_THROUGH, Registration, Registrations


class Handler:
    """One that can be watched for its end."""

    def __call__(self, data: object) -> None: ...


def of(handlers: Iterable[Handler]) -> Registrations:
    registrations = Registrations()
    for handler in handlers:
        registrations.add(Registration(handler, False, handler))
    return registrations


def test_each_of_many_is_taken_out_once_and_nothing_keeps_it() -> None:
    handlers = [Handler() for _ in range(2 * LOOKED_THROUGH)]
    registrations = of(handlers)
    assert registrations.retire(handlers[0]) is True
    assert registrations.retire(handlers[0]) is False
    gone = weakref.ref(handlers.pop(0))
    gc.collect()
    assert gone() is None
    assert [each.handler for each in registrations.round()] == handlers


def test_all_of_them_are_taken_out_and_it_is_known_that_there_were_some() -> None:
    registrations = of([Handler(), Handler()])
    (first, second), lost = registrations.round(), registrations.lost_some
    assert registrations.retire(EVERYTHING) is True
    assert registrations.round() == () and not (first.live or second.live)
    assert (lost, registrations.lost_some) == (False, True)
    assert registrations.retire(EVERYTHING) is False
