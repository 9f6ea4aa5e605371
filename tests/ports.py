"""Ports for tests that have to name one before anybody listens there."""

from __future__ import annotations

import random
import socket

_GIVEN: set[int] = set()


def free_port() -> int:
    """A port of TCP and of UDP that nobody has, on either loopback address, and that no other call gets.

    It is outside the range that the kernel gives to who asks for any: there another could have it a moment later.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if port not in _GIVEN and _is_free(port):
            _GIVEN.add(port)
            return port


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as sock:
                    sock.bind((host, port))
            except OSError as error:
                if family is socket.AF_INET or "in use" in str(error):  # else this machine has no IPv6
                    return False
    return True
