"""The real brokers, started by the tests: on a free port, in a temporary directory, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ports import free_port

DEADLINE = 60.0
HUB = """
import asyncio, sys
from node_ipc.cluster.hub import hub_config, relay
from node_ipc.config.address import Unix
from node_ipc.core.server import Server
from node_ipc.drivers.loop import EventLoopDriver

async def main():
    driver = EventLoopDriver()
    driver.attach(asyncio.get_running_loop())
    folder, path = sys.argv[1:]
    server = Server(Unix(path), driver, hub_config(folder).settings())
    relay(server)
    await server.start()
    await server.closed

asyncio.run(main())
"""


class Broker:
    """A broker that is a process of its own."""

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, **options: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ipc-")
        self.folder = Path(self._folder.name)
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.host = options.get("host", "127.0.0.1")
        """Where it listens."""
        self.start()

    @classmethod
    def is_here(cls) -> bool:
        return shutil.which(cls.program) is not None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def _url(self, scheme: str) -> str:
        scheme, user = self.options.get("scheme", scheme), self.options.get("user", "")
        return f"{scheme}://{user}127.0.0.1:{self.port}{self.options.get('query', '')}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self.is_up():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"{self.name} does not come up"
            time.sleep(0.01)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(DEADLINE)
            self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        self._folder.cleanup()


class HubBroker(Broker):
    name = "hub"
    program = "sh"
    package = "sh"

    @property
    def url(self) -> str:
        return f"unix:{self.folder}/hub"

    def command(self) -> list[str]:
        return [sys.executable, "-c", HUB, f"{self.folder}/", f"{self.folder}/hub"]

    def is_up(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(f"{self.folder}/hub")
            except OSError:
                return False
        return True


class NatsBroker(Broker):
    name = "nats"
    program = "nats-server"
    package = "nats-server"

    @property
    def url(self) -> str:
        return self._url("nats")

    def command(self) -> list[str]:
        config = self.folder / "nats.conf"
        config.write_text(f'listen: "{self.host}:{self.port}"\n' + self.options.get("config", ""))
        return ["nats-server", "-c", str(config)]


class RedisBroker(Broker):
    name = "redis"
    program = "redis-server"
    package = "redis-server"

    @property
    def url(self) -> str:
        return self._url("redis")

    def command(self) -> list[str]:
        tls = "rediss" in self.options.get("scheme", "")
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        settings = [*ports, "--bind", self.host, "--save", "", "--appendonly", "no"]
        return ["redis-server", *settings, "--dir", str(self.folder), *self.options.get("arguments", ())]


BROKERS: dict[str, type[Broker]] = {kind.name: kind for kind in (HubBroker, NatsBroker, RedisBroker)}


def start(name: str, **options: Any) -> Broker:
    """This broker, or a skipped test that says what is missing; where everything has to be there it fails."""
    kind = BROKERS[name]
    if kind.is_here():
        return kind(**options)
    missing = f"{kind.program} is NOT here, so nothing of this bus is tested: apt-get install {kind.package}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
