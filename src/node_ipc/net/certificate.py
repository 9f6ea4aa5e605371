"""What a certificate says, read from its bytes (X.509 in DER): the few facts that errors name.

Python decodes only certificates that it has verified, and here it refused one. Nothing is decided by what is read
here, and whatever a stranger wrote there is either read or a ``ValueError``.
"""

from __future__ import annotations

import calendar
import socket
import time
from collections.abc import Iterator

from .tls_faults import Certificate, shown

__all__ = ["facts"]

SHOWN = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O", b"\x55\x04\x0b": "OU"}
"""The parts of a name that are shown."""
ALTERNATIVE_NAME = b"\x55\x1d\x11"
VERSION, EXTENSIONS, OCTETS, UTC_TIME = 0xA0, 0xA3, 0x04, 0x17
ENCODINGS = {0x0C: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
"""Of text, by its tag; in all others it is Latin-1, or a part of it."""
KINDS = {0x81: "email", 0x82: "DNS", 0x86: "URI"}
IP_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}


def facts(der: bytes) -> Certificate:
    """The names and dates of a certificate; ``ValueError`` where it is none."""
    try:
        (_, signed), *_ = _elements(_only(der))
        fields = [field for field in _elements(signed) if field[0] != VERSION]
        _, _, (_, issuer), (_, validity), (_, subject), _, *more = fields
        begin, end = _elements(validity)
        extensions = next((_elements(_only(content)) for tag, content in more if tag == EXTENSIONS), ())
        names = [name for _, extension in extensions for name in _alternative_names(extension)]
        parts = _parts(subject)
        return Certificate(
            subject=_name(parts),
            issuer=_name(_parts(issuer)),
            common_name=dict(parts).get("CN"),
            names=tuple(names),
            not_before=_seconds(*begin),
            not_after=_seconds(*end),
        )
    except (IndexError, OverflowError, OSError) as error:
        raise ValueError("this is no certificate") from error


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each element, one behind the other."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:  # the length of the length
            size = length & 0x7F
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        if position + length > len(data):
            raise ValueError("this is cut off")
        yield tag, data[position : position + length]
        position += length


def _only(data: bytes) -> bytes:
    """The content of the one element that this is."""
    ((_, content),) = _elements(data)
    return content


def _parts(name: bytes) -> list[tuple[str, str]]:
    """What is shown of a name: short keys and texts."""
    parts = []
    for _, several in _elements(name):
        for _, attribute in _elements(several):
            (_, key), (tag, text) = _elements(attribute)
            if key in SHOWN:
                parts.append((SHOWN[key], text.decode(ENCODINGS.get(tag, "latin-1"), "replace")))
    return parts


def _name(parts: list[tuple[str, str]]) -> str:
    return ", ".join(f"{key} {shown(text)}" for key, text in parts) or "without a name"


def _alternative_names(extension: bytes) -> Iterator[str]:
    (_, key), *_, (tag, content) = _elements(extension)
    if key != ALTERNATIVE_NAME or tag != OCTETS:
        return
    for tag, name in _elements(_only(content)):
        if tag in KINDS:
            yield f"{KINDS[tag]} {shown(name.decode('latin-1'))}"
        elif len(name) in IP_FAMILIES:
            yield f"IP {shown(socket.inet_ntop(IP_FAMILIES[len(name)], name))}"


def _seconds(tag: int, time_: bytes) -> float:
    """Since 1970; a year of two digits is from 1950 on."""
    text = time_.decode("ascii")
    if tag == UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))
