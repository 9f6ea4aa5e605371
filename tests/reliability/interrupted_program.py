"""Sends and receives numbered messages while a timer's handler raises at any step; says what came of each.

    python interrupted_program.py ADDRESS SECONDS

The peer (``tests/reliability/test_interrupted.py``) echoes nothing: it counts, and sends numbers of its own.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from typing import Any

from node_ipc import ClientState, HandlerError, IPCError, Loss, blocking

ARMED = False


class Alarm(Exception):
    """What the timer's handler raises."""


def ring(*_: Any) -> None:
    global ARMED
    if ARMED:
        ARMED = False  # one at a time: who catches it is not to be hit by the next
        raise Alarm


def main(address: str, seconds: float) -> None:
    global ARMED
    told = unheard = interrupts = emitted = 0
    heard: list[int] = []
    failures: list[bool] = []
    chance = random.Random(1)
    client = blocking.connect(address, timeout=30, retry=1, retry_growth=1, silent=True)

    def lost(loss: Loss) -> None:
        nonlocal told, unheard
        told += loss.dropped + loss.in_flight
        unheard += loss.unheard

    client.on("disconnect", lost)
    client.on("down", heard.append)
    client.on("error", lambda error: failures.append(isinstance(error, HandlerError)))
    signal.signal(signal.SIGALRM, ring)
    end = time.monotonic() + seconds
    # Again and again, since a handler of an event keeps what it is interrupted by.
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.003), 0.002)
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                try:
                    ARMED = True
                    if client.state is ClientState.CONNECTED and client.pending_bytes < 100_000:
                        emitted += 1  # before: an emit that is interrupted may have gone out
                        client.emit("up", emitted)
                    client.poll(0.0)
                except IPCError:
                    pass
            ARMED = False
        except Alarm:
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    ARMED = False
    client.emit("up", 0)
    client.drain(10)
    client.close(10)
    counts = {"emitted": emitted, "told": told, "interrupts": interrupts, "unheard": unheard, "failed": sum(failures)}
    print(json.dumps({**counts, "links": client.stats().links, "heard": heard}))


main(sys.argv[1], float(sys.argv[2]))
