"""The real client and server, moved by the model's actions: in memory, on a clock that stands still."""

from __future__ import annotations

from typing import Any

from life_model import State

from node_ipc.config.address import Tcp
from node_ipc.config.config import Config
from node_ipc.core.client import Client
from node_ipc.core.server import Server
from node_ipc.core.session import Loss
from node_ipc.drivers.memory_kernel import MemorySocket
from node_ipc.testing import MemoryDriver

WORLD = Tcp("localhost", 8000)
SETTINGS = Config(heartbeat=False).settings()
PENDING = ("emit", "ask", "connect", "start", "close", "stop")
"""What does not let go on what has begun."""


class HeldDriver(MemoryDriver):
    """What links carry arrives when it is said."""

    def carry(self, sock: MemorySocket, *arguments: Any, **options: Any) -> None:
        super().carry(sock, *arguments, **options)
        self.connections[-1].stall()


class Rig:
    """Both ends, and what was seen of them."""

    def __init__(self) -> None:
        self.driver = HeldDriver()
        self.client = Client("c", WORLD, self.driver, SETTINGS)
        self.server = Server(WORLD, self.driver, SETTINGS)
        self.heard = ""
        self.losses: list[Loss] = []
        self.request: Any = None
        self.inputs: set[tuple[str, str, str, str]] = set()
        """(whose, state, input, state after) of the two tables, as they were looked up."""
        self._emitted = 0
        self.server.on("n", lambda number: self._hear(str(number)))
        self.server.handle("r", lambda: self._hear("R"))
        self.client.on("disconnect", self.losses.append)
        self.client.on("error", lambda error: None)
        self.server.on("error", lambda error: None)
        for whose, endpoint in (("client", self.client), ("server", self.server)):
            endpoint._input = self._recorded(whose, endpoint)  # type: ignore[method-assign]

    def _recorded(self, whose: str, endpoint: Any) -> Any:
        look_up = endpoint._input

        def look_up_and_note(name: str, *arguments: Any) -> None:
            before = endpoint.state.name
            look_up(name, *arguments)
            self.inputs.add((whose, before, name, endpoint.state.name))

        return look_up_and_note

    def _hear(self, message: str) -> None:
        self.heard += message

    # ---- the actions

    def act(self, action: str, runs: bool) -> None:
        """Do it; ``runs``: and all that can happen at once."""
        getattr(self, action.replace(" ", "_"))()
        if runs:
            self.driver.run_until_idle()

    def emit(self) -> None:
        self.client.emit("n", self._emitted)
        self._emitted += 1

    def ask(self) -> None:
        self.request = self.client.request("r", timeout=1000)

    def connect(self) -> None:
        self.client.connect()

    def close(self) -> None:
        self.client.close()

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def run(self) -> None:
        """What can happen at once happens."""

    def to_server(self) -> None:
        self._arrive("to_server")

    def to_client(self) -> None:
        self._arrive("to_client")

    def _arrive(self, way: str) -> None:
        for connection in tuple(self.driver.connections):
            getattr(connection, way).resume()
        self.driver.run_until_idle()
        for connection in self.driver.connections:
            connection.stall()

    def break_(self) -> None:
        self.driver.drop()

    def retry(self) -> None:
        self._fire(self.client._timer)

    def client_expired(self) -> None:
        self._fire(self.client._timer)

    def server_expired(self) -> None:
        self._fire(self.server._timer)

    def request_timed_out(self) -> None:
        [asked] = self.client.requests._asked.values()
        self._fire(asked.timer)

    def _fire(self, timer: Any) -> None:
        assert timer is not None, "the model has a timer that is not there"
        call = timer.callback
        timer.cancel()
        call()

    # ---- what is seen

    def differs(self, state: State) -> str:
        """In what it is not as the model says; empty where it is."""
        request = "none"
        if self.request is not None:
            request = "waits" if not self.request.done else "failed" if self.request.error else "answered"
        seen = {
            "client": self.client.state.name,
            "server": self.server.state.name,
            "heard": self.heard,
            "queue": len(self.client._queue),
            "has a link": self.client._session is not None,
            "sockets": len(self.server.sockets),
            "request": request,
        }
        expected = {
            "client": state.client,
            "server": state.server,
            "heard": state.heard,
            "queue": len(state.queue),
            "has a link": state.here != "none",
            "sockets": int(state.there != "none"),
            "request": state.request,
        }
        wrong = [f"{name} is {seen[name]!r}, not {value!r}" for name, value in expected.items() if seen[name] != value]
        told = sum(loss.dropped + loss.in_flight for loss in self.losses)
        if told < len(state.told):
            wrong.append(f"{told} are told of, of {state.told!r}")
        return "; ".join(wrong)

    def end(self) -> None:
        self.driver.close()
