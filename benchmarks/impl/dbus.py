"""dbus-fast: method calls with the payload as JSON in a string, through a dbus-daemon of the run's own.

The daemon is part of the way and not of the CPU that is counted.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import loop_role
import role
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

PLAN = role.Plan(sys.argv[1:])
MAKE, WRONG = role.payloads(PLAN)
ADDRESS = f"unix:path={PLAN.path}"
NAME, OBJECT = "bench.Server", "/bench"
DAEMON = ["dbus-daemon", "--session", f"--address={ADDRESS}", "--nofork", "--nopidfile", "--print-address"]
WITH_US = ["setpriv", "--pdeathsig", "KILL"]
"""The harness kills the server, and what the server has started has to go, too."""


class Connection:
    received: role.Received

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        bus.add_message_handler(self._take)

    async def send_all(self, payloads: Iterable[Any]) -> None:
        for payload in payloads:
            await self._bus.send(_call(NAME, payload))

    def _take(self, message: Message) -> bool:
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        reply = self.received(json.loads(message.body[0]))
        if reply is not None:
            self._bus.send(_call(NAME, reply))
        return True


def _call(to: str, payload: Any) -> Message:
    return Message(
        destination=to, path=OBJECT, interface=NAME, member="Message", signature="s", body=[json.dumps(payload)]
    )


async def connect(plan: role.Plan, number: int) -> Connection:
    return Connection(await MessageBus(bus_address=ADDRESS).connect())


async def serve(plan: role.Plan) -> None:
    with subprocess.Popen([*WITH_US, *DAEMON], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as daemon:
        assert daemon.stdout
        daemon.stdout.readline()
        bus = await MessageBus(bus_address=ADDRESS).connect()
        received = role.answering(plan, MAKE, WRONG)

        def take(message: Message) -> bool:
            if message.message_type is not MessageType.METHOD_CALL or message.member != "Message":
                return False
            reply = received(json.loads(message.body[0]))
            if reply is not None:
                bus.send(_call(message.sender, reply))
            return True

        bus.add_message_handler(take)
        await bus.request_name(NAME)
        await loop_role.stay()


asyncio.run(serve(PLAN) if PLAN.role == "server" else loop_role.drive(PLAN, connect, MAKE, WRONG))
