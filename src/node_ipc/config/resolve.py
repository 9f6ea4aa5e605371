"""From what a user gives to ``connect`` and ``serve`` to an address and a frozen configuration.

Both fronts use it, so an address, a ``Config`` and single options mean the same in each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import AddressError, ConfigError
from .address import Address, Handed, Role, Several, Tls, Udp, has_datagrams, is_host, local_path, parse
from .config import Config
from .foreign import warn
from .options import unknown
from .several import no_address, several, with_tls

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext

__all__ = ["Place", "TLSChoice", "UdpPlace", "id_of", "refuse_unknown", "resolve", "resolve_udp"]

_OWN_PARAMETERS: dict[Role, tuple[str, ...]] = {
    "client": ("config", "timeout", "tls", "wait"),
    "server": ("config", "tls"),
}
"""What ``connect`` and ``serve`` take besides options: it may be one of these that is misspelt."""

Place: TypeAlias = (
    "str | os.PathLike[str] | Address | socket | Sequence[str | os.PathLike[str] | Address | socket] | Sequence[socket]"
)
"""Where to connect or to serve: an id, a URL, a path (a Unix socket or a pipe), or an address.

A path is a path object, or text that begins with ``/``, ``./``, ``../`` or ``~/``.

A server also takes a socket that is bound already, and a list of any of these: it listens at each."""

UdpPlace: TypeAlias = "str | tuple[str, int] | Udp | socket | Sequence[socket]"
"""Which UDP port to bind: ``host:port``, with ``udp4://`` or ``udp6://`` before it or not, or a pair of the two.

Or a UDP socket that is bound already."""

TLSChoice: TypeAlias = "Mapping[str, Any] | SSLContext | bool | None"
"""``tls=``: the options of ``config.tls`` or an ``ssl.SSLContext``; True is TLS with the defaults, False is none."""


def resolve(
    address: Place,
    config: Config | None,
    options: Mapping[str, Any],
    role: Role,
    tls: TLSChoice = None,
    own: tuple[str, ...] = (),
) -> tuple[Address, Config]:
    """The address that ``address`` means, and the settings that ``config`` and ``options`` make together.

    ``options`` are options of :class:`Config` and go before what ``config`` says, which is not changed. ``tls``
    sets ``config.tls``; with TLS options a ``tcp://`` address is served and reached with TLS, as in node-ipc.
    ``own`` is what the call takes besides options, where ``connect`` and ``serve`` take others: it may be misspelt.

    Raises:
        UnknownOption: there is no option of that name; the message names the nearest one.
        ConfigError: a value is not allowed, or ``config`` is not a ``Config``.
        AddressError: the address cannot be read, or ``tls`` was asked for where there is no network.
    """
    refuse_unknown(options, (*_OWN_PARAMETERS[role], *own) if role == "server" else own or _OWN_PARAMETERS[role])
    whole = _configuration(config, options, tls)
    where = _address(address, whole, role)
    if whole.tls is not False:
        where = with_tls(where)
    if tls not in (None, False) and not _has_tls(where):
        raise AddressError(f"tls= is for tcp:// and tls:// addresses: {where} has no TLS")
    return where, whole.settings()


def refuse_unknown(options: Iterable[str], own: tuple[str, ...]) -> None:
    """Raise for the first that is no option; ``own`` is what the call takes besides options."""
    for name in options:
        if name not in Config.options:
            raise unknown(name, Config.options, own=own)


def _has_tls(address: Address) -> bool:
    """Whether TLS is spoken there; of several, at one of them."""
    if isinstance(address, Several):
        return any(map(_has_tls, address.addresses))
    return isinstance(address.where if isinstance(address, Handed) else address, Tls)


def id_of(address: Place) -> str:
    """What a client of this address is called."""
    return str.__str__(address) if isinstance(address, str) else str(address)  # an Enum of texts is its value


def resolve_udp(address: UdpPlace, config: Config | None, options: Mapping[str, Any]) -> tuple[Udp | Handed, Config]:
    """The UDP port that ``address`` means, and the settings; as :func:`resolve` in everything else.

    Raises:
        AddressError: also for an address that is no UDP port.
    """
    others = dict(options)
    tls = others.pop("tls", None)
    where, settings = resolve(_udp_place(address), config, others, "server", tls)
    if not has_datagrams(where):
        raise AddressError(
            f"{where} is no UDP port: serve_udp binds udp4://host:port and udp6://[host]:port, serve() the rest"
        )
    return where, settings


def _udp_place(address: UdpPlace) -> Place:
    if isinstance(address, int):
        raise AddressError(f"not an address: {address}. A UDP port is 127.0.0.1:{address}")
    if isinstance(address, str) and re.fullmatch(r"(\[[^]]*\]|[^:/]*):[0-9]+", address):
        return f"udp6://{address}" if address.startswith("[") else f"udp4://{address}"
    if isinstance(address, tuple) and len(address) == 2 and isinstance(address[0], str):
        host, port = address
        return Udp(host, port, "udp6" if ":" in host else "udp4")
    return address


def _configuration(config: Config | None, options: Mapping[str, Any], tls: TLSChoice) -> Config:
    if config is not None and not isinstance(config, Config):
        raise ConfigError(f"config takes a node_ipc.Config (or its from_mapping), not {type(config).__name__}")
    whole = Config() if config is None else config.copy()
    whole.update(**options)
    if tls is True:
        whole.tls = {}
    elif tls is not None:
        whole.tls = tls
    return whole


def _address(address: Place, config: Config, role: Role) -> Address:
    def read(text: str) -> Address:
        return parse(text, socket_root=config.socket_root, appspace=config.appspace, role=role)

    if isinstance(address, str):
        if role == "server" and is_host(address):
            warn(
                f"serve({str(address)!r}) serves a local socket of that id; over the network it is "
                f"'tcp://{address}:port', as in serve('tcp://{address}:8000')"
            )
        return read(address)
    if isinstance(address, os.PathLike):
        return local_path(address)
    if role == "client" and (isinstance(address, Several) or not isinstance(address, Address)):
        raise no_address(address, "An address to connect to is an id, a URL or a path")
    return address if isinstance(address, Address) else several(address, read)
