"""multiprocessing.connection: pickled objects, one blocking connection."""

from __future__ import annotations

import sys
from multiprocessing.connection import Client, Connection, Listener

import caller_role
import role

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
ADDRESS = PLAN.path if PLAN.transport == "unix" else (PLAN.host, PLAN.port)


def serve() -> None:
    listener = Listener(ADDRESS, backlog=64)
    role.ready()
    while True:
        with listener.accept() as connection:
            answer(connection)


def answer(connection: Connection) -> None:
    received = role.answering(PLAN, MAKE, WRONG)
    try:
        while True:
            reply = received(connection.recv())
            if reply is not None:
                connection.send(reply)
    except EOFError:
        pass


if PLAN.role == "server":
    serve()
else:
    connection = Client(ADDRESS)
    caller_role.drive(PLAN, connection.send, connection.recv, MAKE, WRONG)
