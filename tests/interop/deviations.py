"""Where what arrives is not what was emitted, or differs between ours and node-ipc, and why that is accepted.

Each entry is an observed fact about a released node-ipc, or a decision of this library with its reason. A scenario
takes what it expects from here, so a difference that is not on this list is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .peers import ABSENT

UP_TO_12 = ("v9", "v10")
NODE = ("v9", "v10", "v14")


@dataclass(frozen=True)
class Deviation:
    """One accepted difference: ``kinds`` are the ends that show it."""

    kinds: tuple[str, ...]
    reason: str


DEVIATIONS = {
    "falsy payloads become {}": Deviation(
        UP_TO_12, "node-ipc up to 12 replaces null and the empty string by {} before it sends; 14 and Python keep them"
    ),
    "_maxListeners empties an object": Deviation(
        UP_TO_12, "node-ipc up to 12 takes an object with a truthy _maxListeners for an emitter and sends {}"
    ),
    "numbers are doubles": Deviation(
        NODE, "JavaScript rounds integers beyond 2^53, writes 1.0 as 1 and -0 as 0; Python sends what it has, exactly"
    ),
    "NaN and infinities are null": Deviation(
        ("python", *NODE), "JSON has no such numbers; Python sends what JSON.stringify would"
    ),
    "raw bytes go through text": Deviation(
        UP_TO_12,
        "in raw mode node-ipc up to 12 decodes what it receives with config.encoding and encodes it again: bytes "
        "that are no text in that encoding are damaged; hex, latin1 and base64 hold every byte. 14 and Python never do",
    ),
    "base64 and utf16le hold bytes back": Deviation(
        UP_TO_12,
        "that text decoding hands on whole groups only (3 bytes in base64, 2 in utf16le): the rest waits for more",
    ),
    "a delimiter inside a payload": Deviation(
        NODE, "node-ipc does not escape it, so what Node sends may not contain it; what Python sends may"
    ),
    "delimiters of more than one UTF-16 unit": Deviation(
        UP_TO_12,
        "node-ipc up to 12 compares the last unit received with the whole delimiter: no frame is ever heard",
    ),
    "text that the encoding cannot hold": Deviation(
        ("python",), "raw emit raises InvalidPayload where Node drops or damages what does not fit in silence"
    ),
    "raw datagrams are read as UTF-8": Deviation(
        UP_TO_12, "whatever config.encoding says, so only UTF-8 text comes through unharmed"
    ),
    "a * handler on an event without arguments": Deviation(
        ("v9",), "the emitter of 9.2.1 throws there, so peer.js listens by name"
    ),
    "peers name themselves": Deviation(
        UP_TO_12,
        "node-ipc up to 12 always takes data.id for the socket's id; 14 and Python do so only with identify_peer, "
        "and Python calls it claimed_id, since whoever connects may claim anything",
    ),
    "UDP broadcast": Deviation(
        UP_TO_12, "node-ipc up to 12 never enters UDP peers into its list, so its broadcast reaches nobody"
    ),
    "reserved and prototype names": Deviation(
        ("python",), "guarded is Python's default: an event named connect, error, constructor … closes that connection"
    ),
    "disconnect drains": Deviation(
        ("python",), "Node destroys the socket at once and may lose what was emitted; Python sends it first"
    ),
    "explicit disconnect is heard": Deviation(
        ("python",), "Python publishes disconnect and destroy after ipc.disconnect(id); 14 removes the handlers first"
    ),
    "emits while the link is down wait": Deviation(
        ("python",), "Node writes them to a dead socket and loses them; Python sends them in order after reconnecting"
    ),
    "a second server on a live path": Deviation(
        ("python",), "Node unlinks the path and takes it over; Python refuses with AddressInUse"
    ),
}


def arrives(value: Any, sender: str, receiver: str) -> Any:
    """What ``receiver`` gets when ``sender`` emits ``value``."""
    if value is ABSENT:
        return {}
    if sender in UP_TO_12 and _is_emptied(value):
        return {}
    if sender in NODE or receiver in NODE:
        return _in_javascript(value)
    return _without_nan(value)


def _is_emptied(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value.get("_maxListeners"))
    return value is None or value == ""


def _in_javascript(value: Any) -> Any:
    """The same value after JSON.parse and JSON.stringify, as Python reads that text."""
    if isinstance(value, dict):
        return {key: _in_javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_javascript(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _javascript_number(value)
    return value


def _javascript_number(value: float) -> float | None:
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return None
    if number.is_integer() and abs(number) < 1e21:  # JavaScript writes no exponent below 1e21
        return int(Decimal(repr(number)))
    return number


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def raw_arrives(sent: bytes, encoding: str, receiver: str) -> bytes:
    """What ``receiver`` gets in raw mode of bytes that come in one piece."""
    if receiver not in UP_TO_12:
        return sent
    if encoding == "utf8":
        return sent.decode(errors="replace").encode()
    if encoding == "ascii":
        return bytes(byte & 0x7F for byte in sent)
    return sent
