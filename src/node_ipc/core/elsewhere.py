"""What other libraries, and other fronts, call a verb of a client or a server, and what to use here."""

from __future__ import annotations

__all__ = ["OF_EMITTERS", "OF_LOOPS"]

OF_EMITTERS = {
    "publish": "a plain call of your function: handlers hear what a peer emits, and what happens to the link",
    "trigger": "a plain call of your function: handlers hear what a peer emits, and what happens to the link",
    **dict.fromkeys(("addEventListener", "addListener", "subscribe"), "on(event, handler)"),
    **dict.fromkeys(("removeEventListener", "removeListener", "unSubscribe"), "off(event, handler)"),
    "removeAllListeners": "off(event)",
    "listeners": "events.handlers(event)",
    "reset": 'off("*", "*")',
    "timeout": "timeout= of the call that waits, such as request(…, timeout=5)",
    "list": "events.handlers(event)",
    "status": "state and stats(), or for what the other side answers under that name request('status')",
    "call": "request(method, params) of a client or a socket, which handle(method, handler) answers",
    **{
        name: f"on({event!r}, handler)"
        for event, names in {
            "message": ("message",),
            "connect": ("connect", "connection", "open"),
            "disconnect": ("close", "disconnect"),
            "error": ("error",),
        }.items()
        for each in names
        for name in (f"on{each}", f"on_{each}")
    },
}
"""Verbs of emitters, which node-ipc's clients and servers are, and what to use here."""

OF_LOOPS = {
    "run": "serve_forever(), or ipc.run() where ipc.serve() or ipc.serve_udp() made it",
    "serve_forever": "ipc.run()",
    "poll": "ipc.run(), or await what waits: the event loop calls handlers by itself",
    "drain": "what emit gives: False while much waits; servers of the other two fronts can wait",
    "wait_closed": "closed: await it, or look at closed.done",
}
"""Verbs of other fronts of a server, for those that have them not."""
