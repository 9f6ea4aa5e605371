r"""Named pipes on asyncio's Proactor loop: transports for the same protocol classes as sockets have.

What the loop's pipe transports do, and what a protocol has to know (CPython 3.11 to 3.13):

- ``can_write_eof()`` is False: a pipe has no half-close. ``close()`` writes what is buffered and then ends
  both directions; ``connection_lost(None)`` follows at once, not when the peer ends.
- ``data_received`` gets a ``bytearray`` up to 3.12 and ``bytes`` from 3.13, at most 64 KiB.
- After ``pause_reading`` one read is still under way; what it brings is kept until ``resume_reading``.
- The peer's end is ``eof_received``, and ``connection_lost(None)`` unless that returns True; writing to a
  peer that has gone is ``connection_lost(BrokenPipeError)``.
- ``get_extra_info("pipe")`` is the handle.

asyncio's own ``start_serving_pipe`` is not used: it passes no security descriptor and lets other machines in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..core.seam import Timer
from ..errors import AddressError
from ..net.pipe import PipeHandle

__all__ = ["accept_pipe", "carry_pipe"]


def carry_pipe(loop: asyncio.AbstractEventLoop, handle: PipeHandle, protocol: asyncio.BaseProtocol) -> None:
    """Make a transport of a connected pipe; raises ``AddressError`` where the loop has no pipes."""
    _with_pipes(loop)._make_duplex_pipe_transport(handle, protocol)


def accept_pipe(loop: asyncio.AbstractEventLoop, handle: PipeHandle, done: Callable[[OSError | None], None]) -> Timer:
    """Wait for an instance's client with the loop's completion port: ``net.pipe.Accept``."""
    proactor = _with_pipes(loop)._proactor

    def finished(future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            error = future.exception()
            done(error if isinstance(error, OSError) else None)

    try:
        future: Any = proactor.accept_pipe(handle)
    except OSError as error:  # a client came and left before anybody looked
        return loop.call_soon(done, error)
    future.add_done_callback(finished)
    operation: Timer = future
    return operation


def _with_pipes(loop: asyncio.AbstractEventLoop) -> Any:
    """Refuse a loop that cannot wait for pipes, such as a selector loop."""
    if not hasattr(loop, "_proactor"):
        raise AddressError(
            f"named pipes need asyncio's ProactorEventLoop, and this loop is a {type(loop).__name__}: "
            "run on Windows with asyncio's default loop"
        )
    return loop
