"""Inputs without atheris: the corpus, changed at random. The same seed gives the same inputs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["TARGETS", "inputs", "kept"]

HERE = Path(__file__).parent
TARGETS = ("frames", "attachments", "envelopes", "sessions", "datagrams", "members", "options")
LONGEST = 4096


def kept(target: str) -> list[Path]:
    """The files of a target: what somebody chose, and what was once a finding."""
    return [path for folder in ("corpus", "crashes") for path in sorted((HERE / folder / target).glob("*"))]


def inputs(target: str, seed: int) -> Iterator[bytes]:
    """Changed inputs without end."""
    chance = random.Random(f"{target} {seed}")
    seeds = [path.read_bytes() for path in kept(target)]
    words = _words()
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((0, 1, 1, 2, 3, 5, 8))):
            _change(data, chance, seeds, words)
        if chance.random() < 0.02:
            data *= chance.randrange(2, 40)
        if chance.random() < 0.05:
            data = bytearray(chance.randbytes(chance.randrange(200)))
        yield bytes(data[:LONGEST])


def _words() -> list[bytes]:
    """The dictionary of libFuzzer: quoted words with C's escapes."""
    lines = (HERE / "words.dict").read_text().splitlines()
    return [re.sub(rb'\\(x[0-9a-f]{2}|["\\])', _escaped, line.strip()[1:-1].encode()) for line in lines if line.strip()]


def _escaped(found: re.Match[bytes]) -> bytes:
    text = found[1]
    return bytes([int(text[1:], 16)]) if text.startswith(b"x") else text


def _change(data: bytearray, chance: random.Random, seeds: list[bytes], words: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    until = at + chance.randrange(1, 24)
    match chance.randrange(7):
        case 0:
            data[at:at] = chance.choice(words)
        case 1:
            data[at:until] = chance.choice(words)
        case 2:
            del data[at:until]
        case 3:
            data[at:at] = data[at:until]
        case 4:
            data[at : at + 1] = bytes([chance.randrange(256)])
        case 5:
            other = chance.choice(seeds)
            data[at:] = other[chance.randrange(len(other) + 1) :]
        case _:
            if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
