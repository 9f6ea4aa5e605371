"""A recording as a capture of packets, for Wireshark: each link is a TCP conversation that never was.

Client number n has the address 10.x.y.z that n makes, and port 50000; the server is 10.255.255.254 at port 8000. So
"Follow stream" and the statistics of conversations work, and the dissector that knows node-ipc on TCP knows these.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from .format import Entry, RecordingError
from .player import frame_of
from .reader import Recording

__all__ = ["Written", "to_pcapng"]

SERVER_HOST, SERVER_PORT, CLIENT_PORT = (10 << 24) | 0xFFFFFE, 8000, 50_000
MOST_LINKS = 0xFFFFFD
MOST_PAYLOAD = 60_000
"""Bytes in one packet; an IPv4 packet has at most 65,535."""
LINKTYPE_IPV4 = 228
FIN, SYN, PSH, ACK = 1, 2, 8, 16
SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
END_OF_OPTIONS, COMMENT, APPLICATION, RESOLUTION = 0, 1, 4, 9
MICROSECONDS = b"\x06"


class Written(NamedTuple):
    """What became of a recording."""

    messages: int
    left_out: int
    """Messages that were not kept when it was recorded, as they were too long."""


def to_pcapng(recording: Recording, output: IO[bytes]) -> Written:
    """Write it.

    Raises:
        RecordingError: it has no payloads, so nobody knows what was on the wire; or more than 16 million links.
    """
    if not recording.header.payloads:
        raise RecordingError(f"{recording} has no payloads, so there is nothing for packets: record with --payloads")
    delimiter = recording.header.delimiter.encode() if recording.header.mode == "events" else b""
    output.write(_beginning(recording.header.program))
    streams: dict[int, _Stream] = {}
    messages = left_out = 0
    for entry in recording:
        if not entry.link:
            continue
        if entry.link > MOST_LINKS:
            raise RecordingError(f"{recording} has more than {MOST_LINKS:,} links, too many for addresses of packets")
        stream = streams.get(entry.link)
        if stream is None:
            stream = streams[entry.link] = _Stream(entry.link)
        if entry.event == "connect":
            packets = stream.begin(entry)
        elif entry.event == "disconnect":
            packets = stream.end(entry)
            del streams[entry.link]
        elif (frame := frame_of(entry)) is not None and entry.side:
            messages += 1
            packets = stream.say(entry, frame + delimiter)
        else:
            left_out += bool(entry.side)
            continue
        for packet in packets:
            output.write(packet)
    return Written(messages, left_out)


class _Stream:
    """One link as a TCP conversation."""

    def __init__(self, number: int) -> None:
        self._client = (10 << 24) | number
        self._next = {"client": 1, "server": 1}

    def begin(self, entry: Entry) -> Iterator[bytes]:
        """The three packets of a handshake; the first says who the peer is."""
        self._next = {"client": 0, "server": 0}
        yield self._packet(entry, "client", SYN, comment=f"link {entry.link}, {entry.peer}")
        self._next["client"] = 1
        yield self._packet(entry, "server", SYN | ACK)
        self._next["server"] = 1
        yield self._packet(entry, "client", ACK)

    def say(self, entry: Entry, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), MOST_PAYLOAD):
            part = data[at : at + MOST_PAYLOAD]
            yield self._packet(entry, entry.side, PSH | ACK, part)
            self._next[entry.side] = (self._next[entry.side] + len(part)) % 2**32

    def end(self, entry: Entry) -> Iterator[bytes]:
        for side in ("client", "server"):
            yield self._packet(entry, side, FIN | ACK, comment=entry.reason)
            self._next[side] = (self._next[side] + 1) % 2**32
        yield self._packet(entry, "client", ACK)

    def _packet(self, entry: Entry, side: str, flags: int, data: bytes = b"", comment: str = "") -> bytes:
        ends = ((self._client, CLIENT_PORT), (SERVER_HOST, SERVER_PORT))
        (source, source_port), (target, target_port) = ends if side == "client" else ends[::-1]
        other = "server" if side == "client" else "client"
        known = self._next[other] if flags & ACK else 0
        numbers = (self._next[side], known, 5 << 4, flags, 0xFFFF)
        head = struct.pack(">HHIIBBHHH", source_port, target_port, *numbers, 0, 0)
        pseudo = struct.pack(">IIBBH", source, target, 0, 6, len(head) + len(data))
        head = head[:16] + struct.pack(">H", _checksum(pseudo + head + data)) + head[18:]
        ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(head) + len(data), 0, 0, 64, 6, 0, source, target)
        ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
        return _enhanced_packet(entry.time, ip + head + data, comment)


def _checksum(data: bytes) -> int:
    """The complement of the sum of the 16-bit words (RFC 1071), which is the number itself modulo 65,535."""
    if len(data) % 2:
        data += b"\0"
    return 0xFFFF - int.from_bytes(data, "big") % 0xFFFF


# ---- blocks (draft-ietf-opsawg-pcapng)


def _beginning(program: str) -> bytes:
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options((APPLICATION, program.encode()))
    interface = struct.pack("<HHI", LINKTYPE_IPV4, 0, 0) + _options((RESOLUTION, MICROSECONDS))
    return _block(SECTION, section) + _block(INTERFACE, interface)


def _enhanced_packet(time: float, packet: bytes, comment: str) -> bytes:
    moment = max(round(time * 1e6), 0)
    head = struct.pack("<IIIII", 0, moment >> 32 & 0xFFFFFFFF, moment & 0xFFFFFFFF, len(packet), len(packet))
    return _block(PACKET, head + _padded(packet) + _options((COMMENT, comment.encode("utf-8", "replace"))))


def _options(*options: tuple[int, bytes]) -> bytes:
    found = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options if value]
    return b"".join([*found, struct.pack("<HH", END_OF_OPTIONS, 0)]) if found else b""


def _block(type: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", type) + size + body + size


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
