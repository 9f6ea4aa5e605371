"""What the blocking implementations share: the passes, driven by a plain loop over one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import role

KERNEL_HOLDS = 1 << 16
"""Bytes in flight that both socket buffers certainly take, so that sending first and reading later cannot hang."""

Send = Callable[[Any], object]
Receive = Callable[[], Any]
SendAll = Callable[[Iterable[Any]], object]


def drive(
    plan: role.Plan,
    send: Send,
    receive: Receive,
    make: role.Make,
    wrong: role.Wrong,
    send_all: SendAll | None = None,
    send_blocks_alone: bool = True,
) -> None:
    """The client's whole part.

    ``send_blocks_alone`` says that ``send`` reads nothing while the kernel is full: then loads that do not fit into
    the socket buffers are sent from a second thread.
    """
    stopwatch = role.Stopwatch(plan)
    in_flight = plan.messages if plan.window > plan.messages else plan.window
    threaded = send_blocks_alone and plan.kind == "echo" and in_flight * (plan.size + 128) > KERNEL_HOLDS
    run = _pass_with_sender if threaded else _pass
    if plan.warmup:
        run(role.Load(plan, plan.warmup, make, wrong), send, receive, send_all)
    load = role.Load(plan, plan.messages, make, wrong)
    stopwatch.wait_for_go()
    run(load, send, receive, send_all)
    stopwatch.report(plan.messages, load.latencies)


def _pass(load: role.Load, send: Send, receive: Receive, send_all: SendAll | None) -> None:
    opening, received = load.lanes[0]
    if send_all is not None:
        send_all(opening)
    else:
        for payload in opening:
            send(payload)
    while not load.done:
        reply = received(receive())
        if reply is not None:
            send(reply)


def _pass_with_sender(load: role.Load, send: Send, receive: Receive, send_all: SendAll | None) -> None:
    import queue
    import threading

    opening, received = load.lanes[0]
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def sender() -> None:
        for payload in iter(outgoing.get, None):
            send(payload)

    thread = threading.Thread(target=sender, daemon=True)
    thread.start()
    for payload in opening:
        outgoing.put(payload)
    while not load.done:
        reply = received(receive())
        if reply is not None:
            outgoing.put(reply)
    outgoing.put(None)
    thread.join()
