"""Any bytes, however they are cut, yield the same frames and the same fault, and never another exception."""

from __future__ import annotations

from node_ipc.errors import ProtocolError
from node_ipc.wire.framing import Splitter

from .choices import Choices

__all__ = ["one_input"]

DELIMITERS = (b"\f", b"\n", b"\r\n", b"<EOF>", b"||", b"aab", "é".encode())
LIMITS = (1 << 16, 1, 8, 64, 1024)


def one_input(data: bytes) -> None:
    choices = Choices(data)
    delimiter, limit = choices.one_of(DELIMITERS), choices.one_of(LIMITS)
    pieces = choices.pieces()
    whole = b"".join(pieces)
    at_once = _read(delimiter, limit, [whole] if whole else [])
    assert _read(delimiter, limit, pieces) == at_once, "cut otherwise, the frames are others"
    step = 1 + len(whole) // 64  # a long one byte by byte would take a hundred times as long as all the rest
    even = [whole[at : at + step] for at in range(0, len(whole), step)]
    assert _read(delimiter, limit, even) == at_once, f"every {step} bytes, the frames are others"
    frames, rest, fault = at_once
    if fault is None:
        assert delimiter.join([*frames, rest]) == whole, "bytes were lost or made up"
        assert all(delimiter not in frame and len(frame) <= limit for frame in frames)
    else:
        assert whole.startswith(b"".join(frame + delimiter for frame in frames)), "a frame that nobody sent"


def _read(delimiter: bytes, limit: int, chunks: list[bytes]) -> tuple[list[bytes], bytes, str | None]:
    """The frames, what is left, and the code of the fault."""
    splitter = Splitter(delimiter, limit)
    frames: list[bytes] = []
    for chunk in chunks:
        frames += splitter.split(chunk)
        assert len(splitter.rest) < limit + len(delimiter), "more is kept than a frame may have"
        if splitter.fault is not None:
            assert isinstance(splitter.fault, ProtocolError)
            return frames, b"", splitter.fault.code
    return frames, bytes(splitter.rest), None
