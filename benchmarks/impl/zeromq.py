"""pyzmq: DEALER to ROUTER with json, no high-water mark (nothing may be dropped).

Plain ``json.dumps`` and ``send``: ``send_json`` makes a new encoder for each message.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import caller_role
import role
import zmq

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
ADDRESS = f"ipc://{PLAN.path}" if PLAN.transport == "unix" else f"tcp://{PLAN.host}:{PLAN.port}"


def serve(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    socket = context.socket(zmq.ROUTER)
    socket.set_hwm(0)
    socket.bind(ADDRESS)
    received = role.answering(PLAN, MAKE, WRONG)
    role.ready()
    while True:
        peer, message = socket.recv_multipart()
        reply = received(json.loads(message))
        if reply is not None:
            socket.send_multipart([peer, json.dumps(reply).encode()])


def connect(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.set_hwm(0)
    socket.connect(ADDRESS)
    return socket


def drive(socket: zmq.Socket[bytes]) -> None:
    def send(payload: Any) -> None:
        socket.send(json.dumps(payload).encode())

    def receive() -> Any:
        return json.loads(socket.recv())

    caller_role.drive(PLAN, send, receive, MAKE, WRONG, send_blocks_alone=False)


if PLAN.role == "server":
    serve(zmq.Context())
else:
    drive(connect(zmq.Context()))
