"""This library's blocking front at both ends; with ``mode=batch`` the opening emits go out inside ``batch()``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import caller_role
import ours
import role

from node_ipc import blocking

PLAN = role.Plan(sys.argv[1:])
TYPE, MAKE, WRONG = ours.payloads(PLAN)


def serve() -> None:
    received = role.answering(PLAN, MAKE, WRONG)

    def message(data: Any, socket: Any) -> None:
        reply = received(data)
        if reply is not None:
            socket.emit("message", reply)

    with blocking.serve(ours.address(PLAN), **ours.options(PLAN)) as server:
        if TYPE is None:
            server.on("message", message)
        else:
            server.on("message", message, type=TYPE)
        role.ready()
        server.serve_forever()


def drive() -> None:
    client = blocking.connect(ours.address(PLAN), timeout=10, **ours.options(PLAN))

    def send(payload: Any) -> None:
        client.emit("message", payload)

    def receive() -> Any:
        return client.receive("message") if TYPE is None else client.receive("message", type=TYPE)

    def send_batch(payloads: Iterable[Any]) -> None:
        with client.batch():
            for payload in payloads:
                client.emit("message", payload)

    caller_role.drive(
        PLAN, send, receive, MAKE, WRONG, send_batch if PLAN.mode == "batch" else None, send_blocks_alone=False
    )


if PLAN.role == "server":
    serve()
else:
    drive()
