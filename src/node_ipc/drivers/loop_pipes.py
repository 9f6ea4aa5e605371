r"""Named pipes on asyncio's Proactor loop: transports for the same protocol classes as sockets have.

What the loop's pipe transports do, and what a protocol has to know (CPython 3.11 to 3.13):

- ``can_write_eof()`` is False: a pipe has no half-close. ``close()`` writes what is buffered and then ends
  both directions; ``connection_lost(None)`` follows at once, not when the peer ends.
- ``data_received`` gets a ``bytearray`` up to 3.12 and ``bytes`` from 3.13, at most 64 KiB.
- After ``pause_reading`` one read is still under way; what it brings is kept until ``resume_reading``.
- The peer's end is ``eof_received``, and ``connection_lost(None)`` unless that returns True; writing to a
  peer that has gone is ``connection_lost(BrokenPipeError)``.
- ``get_extra_info("peer")`` is the ``Peer``, ``get_extra_info("pipe")`` the handle.

asyncio's own ``start_serving_pipe`` is not used: it passes no security descriptor and lets other machines in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.seam import Peer, Timer
from ..errors import AddressError
from ..net.pipe import Accept, PipeHandle, PipeListener, WinAPI, open_instance, server_of, still_busy

__all__ = ["listen_pipe", "open_pipe"]

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)

_FIRST_DELAY, _LONGEST_DELAY = 0.001, 0.1
"""Seconds between two attempts while all instances are busy: there is no way to be told."""


async def open_pipe(
    loop: asyncio.AbstractEventLoop,
    path: str,
    protocol_factory: Callable[[], _Protocol],
    timeout: float,
    api: WinAPI | None = None,
) -> tuple[asyncio.Transport, _Protocol]:
    """Connect, and wait up to ``timeout`` seconds while the pipe is busy.

    Raises:
        ConnectTimeout: when no instance became free in time.
        ConnectError, PeerRefused: as ``open_instance``.
        AddressError: when the loop has no pipes.
    """
    check_loop(loop)
    api = api or WinAPI()
    deadline, delay = loop.time() + timeout, _FIRST_DELAY
    while (handle := open_instance(path, api)) is None:
        if loop.time() >= deadline:
            raise still_busy(path, timeout)
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LONGEST_DELAY)
    protocol = protocol_factory()
    return _transport(loop, handle, protocol, server_of(handle, api)), protocol


def listen_pipe(
    loop: asyncio.AbstractEventLoop,
    path: str,
    protocol_factory: Callable[[Peer], asyncio.BaseProtocol | None],
    trouble: Callable[[Exception], None],
    *,
    readable_all: bool = False,
    writable_all: bool = False,
    api: WinAPI | None = None,
) -> PipeListener:
    """Listen at once. ``protocol_factory`` says who gets a client, or ``None`` to refuse it.

    ``trouble`` hears why no further client can be accepted for the moment.

    Raises:
        AddressInUse: when the pipe exists already.
        AddressError: when Windows does not take the name, or the loop has no pipes.
    """
    check_loop(loop)

    def connected(handle: PipeHandle, peer: Peer) -> None:
        protocol = protocol_factory(peer)
        if protocol is None:
            handle.close()
        else:
            _transport(loop, handle, protocol, peer)

    return PipeListener(
        path,
        api or WinAPI(),
        accept=_accepting(loop),
        call_later=loop.call_later,
        connected=connected,
        trouble=trouble,
        readable_all=readable_all,
        writable_all=writable_all,
    )


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Refuse a loop that cannot wait for pipes, such as a selector loop."""
    if not hasattr(loop, "_proactor"):
        raise AddressError(
            f"named pipes need asyncio's ProactorEventLoop, and this loop is a {type(loop).__name__}: "
            "run on Windows with asyncio's default loop"
        )


def _transport(loop: Any, handle: PipeHandle, protocol: asyncio.BaseProtocol, peer: Peer) -> asyncio.Transport:
    transport: asyncio.Transport = loop._make_duplex_pipe_transport(handle, protocol, extra={"peer": peer})
    return transport


def _accepting(loop: Any) -> Accept:
    """Wait for a pipe's next client with the loop's completion port."""

    def accept(handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
        def finished(future: asyncio.Future[Any]) -> None:
            if not future.cancelled():
                error = future.exception()
                done(error if isinstance(error, OSError) else None)

        try:
            future = loop._proactor.accept_pipe(handle)
        except OSError as error:
            # A client came and left before anybody looked.
            handler: Timer = loop.call_soon(done, error)
            return handler
        future.add_done_callback(finished)
        operation: Timer = future
        return operation

    return accept
