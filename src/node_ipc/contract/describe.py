"""A server that says itself what it takes: ``rpc.describe`` is answered with its contract, and ``rpc.ping`` at once.

Nothing of it is there unless :func:`describe` was called. Whoever may connect may ask, so what is told is what is in
the contract anyway, and no address, path or name of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from .. import __version__
from ..config.checks import NO_LIMIT
from ..core.client import ClientCore
from ..core.datagram import DatagramCore
from ..core.events import Event
from ..core.requests import FAILED
from ..core.server import ServerCore
from ..errors import RemoteError
from ..wire.names import ASK_CONTRACT, ASK_PRESENCE
from .asyncapi import asyncapi
from .collect import registered_on
from .model import Contract, ContractError, Messages

__all__ = ["MOST_BYTES", "describe"]

MOST_BYTES = 1024 * 1024
"""Of a description; a contract that needs more is for files."""
LIMITS = {
    "maxMessageSize": "max_message_size",
    "maxMessageValues": "max_message_values",
    "maxEventNameLength": "max_event_name_length",
    "messageTimeout": "message_timeout",
}
"""What whoever sends has to keep, in node-ipc's spelling, and the options that say it."""

Endpoint: TypeAlias = ServerCore[Any] | ClientCore[Any]


def describe(
    endpoint: Endpoint,
    contract: Contract | None = None,
    *,
    name: str | None = None,
    events: Iterable[Event[Any]] = (),
    sends: Messages = (),
    title: str | None = None,
    version: str = "1.0.0",
    description: str = "",
) -> None:
    """Let a server say what it takes and gives to whoever connects and asks, as ``node-ipc contract --at`` does.

    It answers two methods from now on. ``rpc.describe`` is answered with an AsyncAPI 3 document: the events and methods
    that are registered when somebody asks, with the JSON Schemas of their payloads; ``info.version``; and under
    ``x-node-ipc`` the limits (sizes in bytes, times in ms; null is none), the delimiter, and of a server with a bus
    its ``engine``, its ``state`` and how many ``servers`` are on it, this one included. ``rpc.ping`` is answered
    with what it was asked with, or ``"pong"``.

    Whoever may connect may ask, and reads what :func:`contract_of` finds: names, types with their defaults, the first
    paragraphs of the handlers' docstrings. The address is not told.

    Args:
        endpoint: The server, of any front (``ipc.server`` in the callback front), or a client, whose server may ask.
        contract: What to tell instead of what is registered.
        name, events, sends, title, version, description: As for :func:`contract_of`.

    Raises:
        ContractError: ``endpoint`` answers no requests, as with UDP, or it describes itself already.

    Example:
        >>> contract.describe(server, version="2.1.0")
        >>> answer = client.request("rpc.describe")
        >>> driver.run_until_idle()
        >>> answer.result()["info"]["version"]
        '2.1.0'
    """
    given: Any = endpoint
    if isinstance(given, DatagramCore):
        raise ContractError("a UDP port answers no requests, so nobody could ask it: describe a server of connections")
    if not isinstance(given, (ServerCore, ClientCore)):
        raise ContractError(
            f"describe() takes what serve() or connect() returned, awaited in asyncio, or ipc.server, not {given!r:.80}"
        )
    if {ASK_CONTRACT, ASK_PRESENCE} & endpoint.requests.methods().keys():
        raise ContractError(f"{endpoint!r} answers {ASK_CONTRACT} or {ASK_PRESENCE} already: describe() is called once")
    said = {"name": name, "events": tuple(events), "sends": tuple(sends)}
    said |= {"title": title, "version": version, "description": description}
    description_of = _Description(endpoint, contract, said)
    endpoint.handle(ASK_CONTRACT, description_of.answer)
    endpoint.handle(ASK_PRESENCE, lambda params: "pong" if params is None else params)


class _Description:
    """One endpoint's description, written anew when other handlers are registered than at the last question."""

    def __init__(self, endpoint: Endpoint, contract: Contract | None, said: dict[str, Any]) -> None:
        self._endpoint = endpoint
        self._contract = contract
        self._said = said
        self._registered: Any = None
        self._text = msgspec.Raw(b"")

    def answer(self) -> msgspec.Raw:
        """Who floods it with questions gets what is there; raises ``RemoteError`` for one that is too long."""
        registered = self._endpoint.events.payload_types(), self._endpoint.requests.methods(), self._bus()
        if registered != self._registered:
            self._text = msgspec.Raw(msgspec.json.encode(self._document()))
            self._registered = registered
        if len(self._text) > MOST_BYTES:
            raise RemoteError(
                FAILED, f"the description has {len(self._text)} bytes, and {MOST_BYTES} at most are sent: use files"
            )
        return self._text

    def _bus(self) -> dict[str, Any] | None:
        """What joins this server to others, and how it is."""
        if getattr(self._endpoint.settings, "bus", None) is None or isinstance(self._endpoint, ClientCore):
            return None
        bus = self._endpoint.stats().bus
        return None if bus is None else {"engine": bus.engine, "state": bus.state, "servers": bus.nodes + 1}

    def _document(self) -> dict[str, Any]:
        contract = self._contract or registered_on(self._endpoint, **self._said)
        document = asyncapi(contract)
        document.pop("servers", None)  # whoever asks is connected already
        settings = self._endpoint.settings
        limits = {name: getattr(settings, option) for name, option in LIMITS.items()}
        document["x-node-ipc"] |= {
            "delimiter": settings.delimiter,
            "software": f"node-ipc for Python {__version__}",
            "limits": {name: None if value in (0, NO_LIMIT) else value for name, value in limits.items()},
        }
        if (bus := self._bus()) is not None:
            document["x-node-ipc"]["bus"] = bus
        return document
