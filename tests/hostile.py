"""Forty envelopes that no peer should send (reliability row 9), and whether the guarded profile refuses them."""

from __future__ import annotations

_REFUSED = [
    "null", "[]", "{}", "5", "true", '""', '"connect"', '"disconnect"', '"destroy"', '"error"', '"data"', '"close"',
    '"start"', '"socket.disconnected"', '"__proto__"', '"constructor"', '"toString"', '"hasOwnProperty"',
    '"valueOf"', '"__defineGetter__"', f'"{"x" * 300}"', f'"{"é" * 257}"', '{"toString":"a"}', '["connect"]', "1e400",
]  # fmt: skip
_HARMLESS = ['"__class__"', '"__init__"', '"emit"', '"on"', '"_handlers"', '"*"', '"socket"']
_NO_ENVELOPES = [b"null", b"5", b"[]", b'""', b"{}", b'{"data":1}', b'[{"type":"a"}]', b'"type"']


def _named(name: str) -> bytes:
    return b'{"type":%s,"data":{}}' % name.encode()


ENVELOPES: list[tuple[bytes, bool]] = [
    *((_named(name), True) for name in _REFUSED),
    *((_named(name), False) for name in _HARMLESS),
    *((body, True) for body in _NO_ENVELOPES),
]
"""Without the delimiter. What is not refused is an event without a handler, whatever Python means by its name."""

assert len(ENVELOPES) == 40
