"""What the kernel knows of bytes that were sent: how many of them the peer's program did not read.

SIOCOUTQ (tcp(7), unix(7)) means two things. On a Unix socket the bytes stay the sender's until the peer's program has
read them: it counts those, with the kernel's own overhead, so never too few. On TCP it counts what the peer's kernel
did not acknowledge (an end counts as one), which says nothing of its program. Loaded by the first link that asks.
"""

from __future__ import annotations

import select
import socket
import sys

__all__ = ["BREAKS_UNREAD", "HIDES_ENDS", "all_arrived", "unread_bytes"]

BREAKS_UNREAD = sys.platform == "linux"
"""Whether a local link that ends with something unread is broken, and does not end in order."""
HIDES_ENDS = sys.platform == "win32"
"""Whether a link's end is told only to those who have read all that came before it."""

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ as SIOCOUTQ

    _count = memoryview(bytearray(4)).cast("i")

    def unread_bytes(unix: socket.socket) -> int | None:
        """The bytes that were sent on this Unix socket and are unread, at the most; None where nobody knows."""
        fd = unix.fileno()
        ioctl(fd, SIOCOUTQ, _count)
        unread = _count[0]
        hang_up = select.poll()
        hang_up.register(fd, 0)
        # The kernel throws away what a dead peer had not read, but tells its end first: only of a link that is sound
        # now was that a true answer.
        return None if hang_up.poll(0) else unread

    def all_arrived(sock: socket.socket) -> bool:
        """Whether the peer's kernel has all that was sent on ``sock``: a Unix socket's is the same kernel."""
        if sock.family == socket.AF_UNIX:
            return True
        ioctl(sock.fileno(), SIOCOUTQ, _count)
        return _count[0] == 0

else:  # pragma: no cover - not Linux

    def unread_bytes(unix: socket.socket) -> int | None:
        """Nobody knows."""
        return None

    def all_arrived(sock: socket.socket) -> bool:
        """Nobody knows; the peer's end is taken for the answer to ours."""
        return True
