"""A recording as MCAP, the container that Foxglove and its relatives open: a channel for each event and direction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import msgspec
from msgspec import UNSET

from .format import Entry, RecordingError
from .reader import Recording

__all__ = ["Schemas", "to_mcap"]

Schemas = Mapping[str, Any]
"""A JSON Schema whose ``$defs`` have the payloads by their places, as ``node_ipc.contract.json_schema`` makes them."""

LINKS, FAULTS = "node-ipc/links", "node-ipc/faults"
"""Topics of what is no event: beginnings and ends of links, and frames that are broken."""
MOST_CHANNELS = 60_000
"""MCAP numbers its channels with 16 bits."""
PLACES = {"client": "receives", "server": "sends"}
"""Where the contract has the payload of an event, by who says it."""

_encode = msgspec.json.Encoder().encode


def to_mcap(recording: Recording, output: IO[bytes], schemas: Schemas | None = None) -> int:
    """Write it; returns the number of messages.

    Each message is an object: ``link``, ``peer``, ``from``, ``bytes``, and ``data`` where payloads were kept.

    Raises:
        RecordingError: the extra ``mcap`` is not installed, or there are more than 60,000 names of events.
    """
    try:
        from mcap.writer import Writer
    except ImportError as error:
        raise RecordingError("for MCAP its library is needed: pip install 'node-ipc[mcap]'") from error
    writer: Any = Writer(output)
    writer.start(profile="", library=recording.header.program or "node-ipc")
    channels = _Channels(writer, schemas or {})
    count = 0
    for count, entry in enumerate(recording, 1):
        when = max(round(entry.time * 1e6), 0) * 1000
        writer.add_message(channels.of(entry), when, _message(entry), when, count)
    writer.finish()
    return count


class _Channels:
    """The number of each channel, made when it is first needed."""

    def __init__(self, writer: Any, schemas: Schemas) -> None:
        self._writer = writer
        self._schemas = schemas
        self._numbers: dict[tuple[str, str], int] = {}

    def of(self, entry: Entry) -> int:
        topic = LINKS if entry.event else FAULTS if entry.type is UNSET else entry.type
        key = (topic, entry.side)
        if (number := self._numbers.get(key)) is None:
            if len(self._numbers) >= MOST_CHANNELS:
                raise RecordingError(f"there are more than {MOST_CHANNELS:,} names of events, too many for MCAP")
            number = self._numbers[key] = self._made(topic, entry)
        return number

    def _made(self, topic: str, entry: Entry) -> int:
        topic = topic.encode("utf-8", "backslashreplace").decode()
        schema = self._writer.register_schema(topic, "jsonschema", json.dumps(self._schema(topic, entry)).encode())
        metadata = {"from": entry.side} if entry.side else {}
        number: int = self._writer.register_channel(topic, "json", schema, metadata)
        return number

    def _schema(self, topic: str, entry: Entry) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "link": {"type": "integer"},
            "peer": {"type": "string"},
            "from": {"type": "string"},
            "bytes": {"type": "integer"},
        }
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        place = f"{PLACES.get(entry.side, '')}.{topic}"
        if place in self._schemas.get("$defs", {}):
            properties["data"] = {"$ref": f"#/$defs/{place.replace('~', '~0').replace('/', '~1')}"}
            schema["$defs"] = self._schemas["$defs"]
        return schema


def _message(entry: Entry) -> bytes:
    kept = {name: getattr(entry, field) for name, field in MEMBERS.items()}
    return _encode({name: value for name, value in kept.items() if value not in ("", UNSET)})


MEMBERS = {
    "link": "link", "peer": "peer", "event": "event", "from": "side", "bytes": "bytes", "method": "method",
    "data": "data", "fault": "fault", "frame": "frame", "hex": "hex", "reason": "reason",
}  # fmt: skip
"""What of an entry is in a message, by its name there."""
