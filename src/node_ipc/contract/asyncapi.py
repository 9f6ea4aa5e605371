"""AsyncAPI 3: a contract as other tools read it.

The document is the server's: what it receives and sends are operations on a channel for each event, what it answers
are operations with a reply on the channels ``rpc.request`` and ``rpc.response``, as JSON-RPC 2.0 goes over the wire.
What AsyncAPI has no words for (Unix sockets, pipes, how messages are framed) are members that begin with ``x-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..config.address import Address, Pipe, Unix
from ..config.address import parse as parse_address
from ..config.config import Config
from ..core.requests import REQUEST, RESPONSE
from .model import Contract, ContractError, Message, Method
from .schema import Schemas

__all__ = ["VERSIONS", "asyncapi"]

VERSIONS = ("3.0.0", "3.1.0")
FRAMES = {"envelope": {"type": "the event's name", "data": "the payload"}, "encoding": "JSON", "delimiter": "\f"}
_FAULT = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
    "required": ["code", "message"],
}


def asyncapi(contract: Contract, *, version: str = "3.0.0") -> dict[str, Any]:
    """The contract as an AsyncAPI document.

    Args:
        contract: What to write.
        version: Of AsyncAPI: ``"3.0.0"`` or ``"3.1.0"``.

    Raises:
        ContractError: another version.

    Example:
        >>> shop = contract.Contract("shop", receives=[contract.Message("order", dict[str, int])])
        >>> contract.asyncapi(shop)["asyncapi"]
        '3.0.0'
    """
    if version not in VERSIONS:
        raise ContractError(f"AsyncAPI is written as {' or '.join(VERSIONS)}, not {version!r:.20}")
    document = _Document(contract)
    info = {"title": contract.title, "version": contract.version, "description": contract.description}
    return {
        "asyncapi": version,
        "id": f"urn:node-ipc:{re.sub(r'[^A-Za-z0-9._-]', '-', contract.name)}",
        "info": {key: value for key, value in info.items() if value},
        "defaultContentType": "application/json",
        **({} if contract.address is None else {"servers": {_key(contract.name, ()): _server(contract.address)}}),
        "channels": document.channels,
        "operations": document.operations,
        "components": {"messages": document.messages, "schemas": document.schemas.definitions()},
        "x-node-ipc": {"id": contract.name, **FRAMES},
    }


class _Document:
    """The parts that refer to each other."""

    def __init__(self, contract: Contract) -> None:
        self.schemas = Schemas(contract, "#/components/schemas/", draft7=True)
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self._channel_of: dict[str, str] = {}
        for direction, action in (("receives", "receive"), ("sends", "send")):
            for message in getattr(contract, direction):
                self._add_event(direction, action, message)
        for direction, action in (("answers", "receive"), ("asks", "send")):
            for method in getattr(contract, direction):
                self._add_method(direction, action, method)

    def _add_event(self, direction: str, action: str, message: Message) -> None:
        payload = self.schemas.at(f"{direction}.{message.name}")
        key = self._message(f"{direction}.{message.name}", message.name, payload, message.description)
        channel = self._channel(message.name)
        self._operation(f"{action}.{message.name}", action, channel, self._on(channel, key), message.description)

    def _add_method(self, direction: str, action: str, method: Method) -> None:
        request, response = self._channel(REQUEST), self._channel(RESPONSE)
        asked, answered = (self._rpc(direction, method, part) for part in ("params", "result"))
        operation = self._operation(
            f"{direction}.{method.name}", action, request, self._on(request, asked), method.description
        )
        operation["reply"] = {"channel": _ref("channels", response), "messages": [self._on(response, answered)]}
        operation["x-node-ipc-method"] = method.name

    def _rpc(self, direction: str, method: Method, part: str) -> str:
        """The message that carries a method's params or result, as JSON-RPC has it."""
        payload = self.schemas.at(f"{direction}.{method.name}.{part}")
        members: dict[str, Any] = {"jsonrpc": {"const": "2.0"}, "id": {"type": ["integer", "string"]}}
        if part == "params":
            members |= {"method": {"const": method.name}, "params": payload}
            required = ["jsonrpc", "id", "method"] + ["params"] * bool(payload)  # where anything may come, nothing may
            schema: dict[str, Any] = {"type": "object", "properties": members, "required": required}
        else:
            members |= {"result": payload, "error": _FAULT}
            ways = [{"required": ["result"]}, {"required": ["error"]}]
            schema = {"type": "object", "properties": members, "required": ["id"], "oneOf": ways}
        name = REQUEST if part == "params" else RESPONSE
        return self._message(f"{direction}.{method.name}.{part}", name, schema, method.description)

    def _message(self, place: str, name: str, payload: dict[str, Any], description: str) -> str:
        key = _key(place, self.messages)
        said = {"description": description} if description else {}
        self.messages[key] = {"name": name, **said, "payload": payload}
        return key

    def _channel(self, address: str) -> str:
        key = self._channel_of.get(address)
        if key is None:
            key = self._channel_of[address] = _key(address, self.channels)
            self.channels[key] = {"address": address, "messages": {}}
        return key

    def _on(self, channel: str, message: str) -> dict[str, str]:
        """The message as one of a channel's."""
        self.channels[channel]["messages"][message] = _ref("components/messages", message)
        return {"$ref": f"#/channels/{channel}/messages/{message}"}

    def _operation(
        self, name: str, action: str, channel: str, message: dict[str, str], description: str
    ) -> dict[str, Any]:
        operation: dict[str, Any] = {"action": action, "channel": _ref("channels", channel), "messages": [message]}
        if description:
            operation["summary"] = description
        self.operations[_key(name, self.operations)] = operation
        return operation


def _ref(place: str, key: str) -> dict[str, str]:
    return {"$ref": f"#/{place}/{key}"}


def _key(name: str, taken: Iterable[str]) -> str:
    """A key that AsyncAPI allows and a JSON pointer can name as it stands."""
    key = plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    number = 1
    while key in taken:
        number += 1
        key = f"{plain}_{number}"
    return key


def _server(address: str | Address) -> dict[str, Any]:
    if isinstance(address, str):
        config = Config()
        address = parse_address(address, role="server", socket_root=config.socket_root, appspace=config.appspace)
    scheme, _, where = str(address).partition(":")
    if isinstance(address, Unix):
        return {"host": "localhost", "protocol": "unix", "x-unix-socket": where}
    if isinstance(address, Pipe):
        return {"host": "localhost", "protocol": "pipe", "x-windows-pipe": where}
    return {"host": where.removeprefix("//"), "protocol": scheme[:3]}
