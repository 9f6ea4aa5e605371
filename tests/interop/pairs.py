"""Who meets whom, where, and how a test opens the two ends.

Every scenario is written once, for two ends with the same face, and runs for each pair of a server and a client of
which at least one is Python. With ``INTEROP_CONTROL=1`` it runs for Node with Node too: that shows whether a scenario
expects what node-ipc itself does.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import pytest

from ports import free_port

from .install import VERSIONS
from .peers import NodeEnd, NodePeer

End = Any
"""A ``NodeEnd`` or a ``PythonEnd``: they have the same methods."""


class Pair(NamedTuple):
    """The kinds of the two ends: ``python``, ``v9``, ``v10`` or ``v14``."""

    server: str
    client: str


PYTHON_AND_NODE = [Pair(*kinds) for node in VERSIONS for kinds in (("python", node), (node, "python"))]
CONTROL = [Pair(node, node) for node in VERSIONS] if os.environ.get("INTEROP_CONTROL") else []
PAIRS = [*PYTHON_AND_NODE, Pair("python", "python"), *CONTROL]

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.server}_serves_{pair.client}")
every_stream = pytest.mark.parametrize("transport", ["unix", "tcp"])


@dataclass(frozen=True)
class Address:
    """Where a server listens: a Unix socket by its id, or a port on the loopback address."""

    transport: str
    root: str = ""
    id: str = "world"
    appspace: str = "app."
    host: str = "127.0.0.1"
    port: int = 0

    @property
    def path(self) -> str:
        return f"{self.root}{self.appspace}{self.id}"

    def config(self) -> dict[str, Any]:
        """The options that lead to this address by its id."""
        return {"socket_root": self.root, "appspace": self.appspace, "id": self.id} if self.root else {}

    def where(self) -> tuple[str | int, ...]:
        """The arguments that follow the id; none where the configuration says it all."""
        return (self.host, self.port) if self.port else ()

    def udp(self) -> tuple[str, ...]:
        return (self.transport,) if self.transport.startswith("udp") else ()


class Link(NamedTuple):
    server: End
    client: End


class NodePool(Protocol):
    async def get(self, version: str, *, own_process: bool = False) -> NodePeer: ...


@dataclass(frozen=True)
class Habits:
    """What an end does besides emitting."""

    echo: bool = False
    """Answer every event of the user's with the same event and payload."""
    hear: tuple[str, ...] = ("message", "data", "error")
    """Listen to these events, besides the lifecycle events."""
    env: dict[str, str | None] = field(default_factory=dict)
    """Node only: environment variables while node-ipc makes its defaults; ``None`` is unset."""


QUIET = Habits()
ECHO = Habits(echo=True)


@dataclass
class Ends:
    """Opens the ends of one test and closes them all."""

    nodes: NodePool
    root: str
    opened: list[End] = field(default_factory=list)

    def address(self, transport: str) -> Address:
        return Address(transport, root=self.root) if transport == "unix" else Address(transport, port=free_port())

    async def link(self, pair: Pair, transport: str, server: Habits = QUIET, **config: Any) -> Link:
        """A server and a client with the same configuration that are connected."""
        address = self.address(transport)
        serving = await self.serve(pair.server, address, server, **config)
        client = await self.connect(pair.client, address, **config)
        await serving.event("connect")
        return Link(serving, client)

    async def serve(
        self, kind: str, address: Address, habits: Habits = QUIET, *, own_process: bool = False, **config: Any
    ) -> End:
        """A server that listens; only one in its ``own_process`` may be killed."""
        if kind == "python":
            return await self._python(habits, address.config() | config).serve(*address.where(), *address.udp())
        node = await self.nodes.get(kind, own_process=own_process)
        return await _node_end(node, "serve", address, habits, config).opened()

    async def serve_to_be_killed(self, kind: str, address: Address) -> Any:
        """An echo server in a process of its own; its ``kill()`` is ``kill -9``."""
        if kind != "python":
            return await self.serve(kind, address, ECHO, own_process=True)
        from .python_end import PythonProcess

        process = PythonProcess(address.config(), address.where())
        self.opened.append(process)
        return await process.listening()

    async def connect(
        self, kind: str, address: Address, habits: Habits = QUIET, *, wait: bool = True, **config: Any
    ) -> End:
        """A client; with ``wait`` it is connected."""
        if kind == "python":
            end = self._python(habits, address.config() | config).connect(address.id, *address.where())
        else:
            end = await _node_end(await self.nodes.get(kind), "connectTo", address, habits, config).opened()
        if wait:
            await end.event("connect")
        return end

    def _python(self, habits: Habits, config: dict[str, Any]) -> Any:
        from .python_end import PythonEnd  # here, so that Node with Node can be tried without the library

        end = PythonEnd(config, habits.hear, habits.echo)
        self.opened.append(end)
        return end

    async def close(self) -> None:
        """End Python's ends; Node's are closed by the pool, all at once."""
        for end in reversed(self.opened):
            await end.close()


def _node_end(node: NodePeer, verb: str, address: Address, habits: Habits, config: dict[str, Any]) -> NodeEnd:
    return node.open(
        f"{verb}Net" if address.port else verb,
        id=address.id,
        where=[*address.where(), *address.udp()],
        config=camel_case(address.config() | config),
        **asdict(habits),
    )


def camel_case(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration in node-ipc's spelling."""
    return {
        re.sub(r"_(\w)", lambda match: match[1].upper(), name): camel_case(value) if isinstance(value, dict) else value
        for name, value in config.items()
    }
