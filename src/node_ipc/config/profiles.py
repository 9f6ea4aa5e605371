"""What the assured profile asks of an endpoint: one rule, looked at when the endpoint is made.

The allow-list of events is the configuration's and the codec's; here it is about where and with whom one talks.
The codes are node-ipc 14's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import AssuredError
from .address import Handed, Pipe, Several, Tcp, Tls, Udp, Unix, lies_directly_in
from .tls_options import SERVER_NEEDS_A_PAIR, TLSOptions, unusable

if TYPE_CHECKING:
    from ssl import SSLContext

    from .address import Address
    from .config import Config

__all__ = ["require_assured", "require_assured_tls"]

Side: TypeAlias = Literal["client", "server"]


def require_assured(address: Address, settings: Config, side: Side) -> None:
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
    if isinstance(address, Several):
        for each in address.addresses:
            require_assured(each, settings, side)
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
        require_assured_tls(settings.tls, side)
    elif side == "server":
        _require_assured_place(where, settings)


def _require_assured_place(where: Unix | Pipe, settings: Config) -> None:
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


def require_assured_tls(tls: Mapping[str, Any] | SSLContext | Literal[False] | None, side: Side) -> None:
    """See to it that ``config.tls`` is enough for the assured profile, before any file is read.

    Raises:
        AssuredError: it is not; the message says what to set (``ERR_IPC_ASSURED_TLS``).
        ConfigError: a server has no key or no certificate (``ERR_IPC_TLS_CONFIGURATION``), as in node-ipc.
    """
    if not (isinstance(tls, Mapping) or tls is False or tls is None):
        _require_assured_context(tls, side)
        return
    options = TLSOptions.of(tls)
    has_pair = ("private" in options or "key" in options) and ("public" in options or "cert" in options)
    trusts_somebody = bool(options.get("ca") or options.get("trusted_connections"))
    verifies = trusts_somebody and bool(options.get("reject_unauthorized", True))
    if side == "server" and not has_pair:
        raise unusable(SERVER_NEEDS_A_PAIR)
    if side == "server" and not (verifies and options.get("request_cert", True)):
        raise _not_assured(
            "the assured profile needs a server that verifies every client: set tls.ca or "
            "tls.trusted_connections, and leave tls.request_cert and tls.reject_unauthorized at True"
        )
    if side == "client" and not (verifies and has_pair):
        raise _not_assured(
            "the assured profile needs a client that verifies the server and has a certificate: set "
            "tls.key and tls.cert (or tls.private and tls.public), tls.ca or tls.trusted_connections, and "
            "leave tls.reject_unauthorized at True"
        )
    if options.get("min_version") == "TLSv1.2":
        raise _not_assured("the assured profile needs TLS 1.3: leave tls.min_version out, or set it to 'TLSv1.3'")


def _require_assured_context(context: SSLContext, side: Side) -> None:
    import ssl  # loaded already where somebody made a context

    if context.verify_mode != ssl.CERT_REQUIRED:
        raise _not_assured("the assured profile needs an ssl.SSLContext whose verify_mode is CERT_REQUIRED")
    if side == "client" and not context.check_hostname:
        raise _not_assured("the assured profile needs an ssl.SSLContext whose check_hostname is True")
    if context.minimum_version < ssl.TLSVersion.TLSv1_3:
        raise _not_assured("the assured profile needs an ssl.SSLContext whose minimum_version is TLSv1_3")


def _not_assured(message: str) -> AssuredError:
    error = AssuredError(message)
    error.code = "ERR_IPC_ASSURED_TLS"
    return error
