"""The payloads that every pair of ends exchanges, in both directions."""

from __future__ import annotations

import json
from typing import Any

from .peers import ABSENT, Digest

C0 = "".join(map(chr, range(0x20)))
C1 = "".join(map(chr, range(0x7F, 0xA0)))


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"deeper": value}
    return value


PAYLOADS: dict[str, Any] = {
    "null": None,
    "left-out": ABSENT,
    "true": True,
    "false": False,
    "zero": 0,
    "minus-one": -1,
    "fraction": 0.1,
    "whole-float": 1.0,
    "minus-zero": -0.0,
    "smallest-double": 5e-324,
    "largest-double": 1.7976931348623157e308,
    "exponent": 1e-7,
    "two-to-53": 2**53,
    "two-to-53-plus-1": 2**53 + 1,
    "minus-two-to-53-minus-1": -(2**53) - 1,
    "two-to-64": 2**64,
    "ten-to-30": 10**30,
    "empty-string": "",
    "text": "hello",
    "space": " ",
    "umlauts": "Grüße, Ünïcödé ñ",
    "chinese-arabic-hebrew": "你好 مرحبا שלום",
    "emoji": "👋🏽 👨\u200d👩\u200d👧 🇪🇺",
    "combining": "e\u0301 \u1112\u1161\u11ab",
    "bom": "\ufeffstart",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "replacement": "\ufffd",
    "line-separators": "\u2028\u2029",
    "nul": "\0",
    "form-feed": "\f",
    "form-feeds-inside": "a\fb\f\fc\f",
    "c0-controls": C0,
    "c1-controls": C1,
    "newlines": "a\nb\r\nc",
    "quotes-and-backslashes": '"\\" \\\\ \\u000c \\f / </script>',
    "looks-like-a-frame": '{"type":"message","data":1}\f',
    "lone-high-surrogate": "\ud800",
    "lone-low-surrogate": "\udfff",
    "reversed-pair": "\udc00\ud800",
    "surrogate-inside": "before \ud83d after 😀",
    "surrogate-in-a-key": {"\udead": "\udbff"},
    "empty-array": [],
    "empty-object": {},
    "array": [None, True, False, 0, "", [], {}],
    "array-of-strings": ["\f", "", "a"],
    "object": {"a": 1, "b": [1, 2, {"c": None}], "": "empty key", "with space": " ", "form\ffeed": "\f"},
    "unicode-keys": {"ключ": "значение", "鍵": "値", "🔑": True},
    "javascript-names": {"__proto__": 1, "constructor": "c", "toString": None, "hasOwnProperty": []},
    "max-listeners": {"_maxListeners": 10, "kept": "by 14"},
    "envelope-in-a-payload": {"type": "inner", "data": {"type": "inmost"}},
    "buffer-in-node": {"type": "Buffer", "data": [0, 12, 255]},
    "rpc-shape": {"jsonrpc": "2.0", "id": 1, "method": "add", "params": {"a": 1, "b": 2}},
    "fifty-deep": nested(50),
    "thousand-keys": {f"key{number}": number for number in range(1000)},
    "ten-thousand-numbers": list(range(10_000)),
}


def same(got: Any, expected: Any) -> bool:
    """Equal, and of the same JSON type: ``1`` is neither ``True`` nor ``1.0``; keys in the same order."""
    if isinstance(got, Digest):
        return got == Digest.of(expected)
    return json.dumps(got) == json.dumps(expected)
