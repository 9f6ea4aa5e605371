"""What the assured profile asks of an endpoint: one rule, looked at when the endpoint is made.

The allow-list of events is the configuration's and the codec's; here it is about where and with whom one talks.
The codes are node-ipc 14's.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from ..errors import AssuredError
from .address import Handed, Pipe, Tcp, Tls, Udp, Unix, lies_directly_in

if TYPE_CHECKING:
    from .address import Address
    from .config import Settings

__all__ = ["require_assured"]


def require_assured(address: Address, settings: Settings, side: Literal["client", "server"]) -> None:
    """Refuse what the assured profile does not allow; with another profile, nothing.

    - On the network both ends show a certificate and verify the other's: TCP without TLS and UDP are refused,
      and so is a ``config.tls`` that does less.
    - A local server has its socket directly in ``socket_root``, which belongs to its owner only (whether it does
      is seen when the server starts). On Windows there is no local server.

    Raises:
        AssuredError: ``ERR_IPC_ASSURED_TRANSPORT``, or ``ERR_IPC_ASSURED_TLS`` for ``config.tls``.
        ConfigError: a TLS server has no key or no certificate.
    """
    if settings.profile != "assured":
        return
    where = address.where if isinstance(address, Handed) else address
    if isinstance(where, Udp):
        raise AssuredError(
            f"the assured profile does not allow UDP ({where}): datagrams are not encrypted, and anybody can "
            "forge their sender. Use TLS, or another parser"
        )
    if isinstance(where, Tcp):
        raise AssuredError(
            f"the assured profile needs TLS on the network ({where}): set config.tls, with a key, a certificate and "
            "an authority at both ends"
        )
    if isinstance(where, Tls):
        from ..net import tls  # loads ssl, which only TLS needs

        tls.require_assured(settings.tls, side)
    elif side == "server":
        _require_assured_place(where, settings)


def _require_assured_place(where: Unix | Pipe, settings: Settings) -> None:
    if isinstance(where, Pipe) or sys.platform == "win32":
        raise AssuredError(
            f"the assured profile has no local server on Windows ({where}): who may open a pipe there cannot be "
            "verified. Use TLS (serve_net with config.tls), or another parser"
        )
    if not settings.requires_secure_root:
        raise AssuredError("the assured profile needs secure_socket_root for a local server: leave it at True")
    if where.path.startswith("\0") or not lies_directly_in(where.path, settings.socket_root):
        raise AssuredError(
            f"the assured profile needs a local server directly in socket_root ({settings.socket_root!r}), and "
            f"{where} is not: leave the path out, or set socket_root (runtime_socket_root() is a good one)"
        )
