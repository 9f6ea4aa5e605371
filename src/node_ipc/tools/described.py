"""What a server says of itself, where it opted in: its ``rpc.describe`` and ``rpc.ping``, asked for the commands."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from ..aio import AsyncClient, connect
from ..config.config import Config
from ..errors import IPCError, ProtocolError, RemoteError, RequestTimeout
from ..wire.names import ASK_CONTRACT, ASK_PRESENCE
from .arguments import place
from .output import counted

__all__ = ["described_at", "in_words", "ping", "said_of", "what_it_says"]

NO_SUCH_METHOD = -32601
HOW = "a server opts in with node_ipc.contract.describe(server)"


async def described_at(address: str, config: Config, timeout: float) -> Mapping[str, Any]:
    """The AsyncAPI document of the server at this address. Raises what keeps it from being had, in words."""
    where, _ = place(address, config, "client", "nobody can ask {}: UDP has no requests")
    config = config.copy()
    config.max_retries = 0
    async with await connect(where, config=config, timeout=timeout) as client:
        try:
            document = await client.request(ASK_CONTRACT, timeout=timeout)
        except RemoteError as error:
            if error.code == NO_SUCH_METHOD:
                raise IPCError(f"the server at {where} does not describe itself: {HOW}") from error
            raise IPCError(f"the server at {where} cannot describe itself: {error}") from error
        except RequestTimeout as error:
            client.abort()  # who has not answered in time need not read in time either
            raise RequestTimeout(
                f"{error}. Node's servers answer no requests by themselves; {HOW}, and node-ipc doctor says more"
            ) from error
    if not isinstance(document, Mapping):
        raise ProtocolError(f"the server at {where} answers {ASK_CONTRACT} with {document!r:.60}, which is no document")
    return document


async def ping(client: AsyncClient, timeout: float) -> float | None:
    """The seconds that a request takes there and back; None where ``rpc.ping`` is not answered."""
    begun = time.perf_counter()
    try:
        await client.request(ASK_PRESENCE, timeout=timeout)
    except IPCError:
        return None
    return time.perf_counter() - begun


async def what_it_says(client: AsyncClient, timeout: float) -> Mapping[str, Any] | None:
    """Its document; None where it gives none."""
    try:
        document = await client.request(ASK_CONTRACT, timeout=timeout)
    except IPCError:
        return None
    return document if isinstance(document, Mapping) else None


def in_words(document: Mapping[str, Any]) -> str:
    """A line: ``shop 2.1.0 (node-ipc for Python 0.2.0): hears 3 events, emits 1 event, answers 2 methods; …``.

    The document may be anybody's: what is not where it should be is left out.
    """
    info, own = _mapping(document, "info"), _mapping(document, "x-node-ipc")
    limits = _mapping(own, "limits")
    operations = [each for each in _mapping(document, "operations").values() if isinstance(each, Mapping)]
    counts = [
        f"{verb} {counted(number, thing)}"
        for verb, action, is_method, thing in SAID
        if (number := sum(each.get("action") == action and ("reply" in each) == is_method for each in operations))
    ]
    software = f" ({own['software']})" if isinstance(own.get("software"), str) else ""
    says = ", ".join(counts) or "has no events and no methods"
    most = limits.get("maxMessageSize")
    size = f"; a message may have {most:,} bytes" if isinstance(most, int) else ""
    return f"{info.get('title', 'a server')} {info.get('version', '')}{software}: {says}{size}{_bus(own)}"


def _bus(own: Mapping[str, Any]) -> str:
    bus = _mapping(own, "bus")
    engine, state, servers = bus.get("engine"), bus.get("state"), bus.get("servers")
    if not isinstance(engine, str) or not isinstance(state, str) or not isinstance(servers, int):
        return ""
    return f"; its bus ({engine:.40}) is {state:.40}, with {servers - 1} other servers"


SAID = (
    ("hears", "receive", False, "event"),
    ("emits", "send", False, "event"),
    ("answers", "receive", True, "method"),
    ("asks", "send", True, "method"),
)


def said_of(document: Mapping[str, Any], name: str) -> str:
    """All of an event or a method, as JSON; empty where the document has none of this name."""
    components = _mapping(document, "components")
    found: dict[str, Any] = {}
    for key, message in _mapping(components, "messages").items():
        if isinstance(message, Mapping) and re.fullmatch(rf"[a-z]+\.{re.escape(name)}(\.params|\.result)?", key):
            found[key] = {part: message[part] for part in ("description", "payload") if part in message}
    return json.dumps(found | _mentioned(found, _mapping(components, "schemas"))) if found else ""


def _mentioned(found: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas that these refer to, and those that these refer to."""
    known: dict[str, Any] = {}
    waiting = [json.dumps(found)]
    while waiting:
        for name in re.findall(r'"#/components/schemas/([^"/]+)"', waiting.pop()):
            if name in schemas and name not in known:
                known[name] = schemas[name]
                waiting.append(json.dumps(schemas[name]))
    return known


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}
