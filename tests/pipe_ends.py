"""Named pipes for the tests: listening and connecting as the drivers do it, without a driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from node_ipc.core.seam import Peer
from node_ipc.drivers.loop_pipes import accept_pipe, carry_pipe
from node_ipc.net.pipe import Instances, PipeHandle, WinAPI, open_instance, server_of, still_busy


def listen_pipe(
    loop: Any,
    path: str,
    protocol_factory: Callable[[Peer], asyncio.BaseProtocol | None],
    trouble: Callable[[Exception], None],
    *,
    api: WinAPI | None = None,
) -> Instances:
    """Listen with this loop; ``protocol_factory`` says who gets a client, None refuses it."""

    def connected(handle: PipeHandle, peer: Peer) -> None:
        protocol = protocol_factory(peer)
        handle.close() if protocol is None else carry_pipe(loop, handle, protocol)

    return Instances(
        path,
        api or WinAPI(),
        accept=lambda handle, done: accept_pipe(loop, handle, done),
        call_later=loop.call_later,
        connected=connected,
        trouble=trouble,
    )


def connect_pipe(path: str, timeout: float, api: WinAPI) -> PipeHandle:
    """Connect, and wait while the pipe is busy."""
    deadline = time.monotonic() + timeout
    while (handle := open_instance(path, api)) is None:
        if time.monotonic() >= deadline:
            raise still_busy(path, timeout)
        time.sleep(0.01)
    return handle


async def open_pipe(loop: Any, path: str, protocol: Callable[[], Any], timeout: float) -> Any:
    """The same with this loop: the protocol of the open pipe, which gets to know its ``peer``."""
    deadline = loop.time() + timeout
    api = WinAPI()
    while (handle := open_instance(path, api)) is None:
        if loop.time() >= deadline:
            raise still_busy(path, timeout)
        await asyncio.sleep(0.01)
    opened = protocol()
    opened.peer = server_of(handle, api)
    carry_pipe(loop, handle, opened)
    return opened
