"""Bytes to frames: the same however they are cut, within the limit, in linear time."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_ipc.errors import FrameTooLarge, InvalidJSON, ProtocolError
from node_ipc.wire.framing import CUT_AS_SLOW, MOST_DELIMITER, PIECE, Splitter, half_a_message, never_a_message

KIB, MIB = 1024, 1024 * 1024

Verdict = tuple[list[bytes], type[ProtocolError] | None, bytes]


def read(chunks: list[bytes], delimiter: bytes = b"\f", limit: int = MIB) -> Verdict:
    """What comes out: frames, the kind of fault, and what is left; reading stops at a fault, as a session does."""
    splitter = Splitter(delimiter, limit)
    frames: list[bytes] = []
    for chunk in chunks:
        frames += splitter.split(chunk)
        if splitter.fault is not None:
            return frames, type(splitter.fault), b""
    return frames, None, bytes(splitter.rest)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


CASES: dict[str, tuple[bytes, bytes, int, Verdict]] = {
    "nothing yet": (b"abc", b"\f", 100, ([], None, b"abc")),
    "one": (b"abc\f", b"\f", 100, ([b"abc"], None, b"")),
    "two and a half": (b"a\fb\fc", b"\f", 100, ([b"a", b"b"], None, b"c")),
    "empty frames": (b"\f\fa\f", b"\f", 100, ([b"", b"", b"a"], None, b"")),
    "a long delimiter": (b"a<end>b<end>c<en", b"<end>", 100, ([b"a", b"b"], None, b"c<en")),
    "a delimiter that overlaps itself": (b"a!!!b!!", b"!!", 100, ([b"a", b"!b"], None, b"")),
    "a delimiter begun in vain": (b"aabaab\f", b"ab\f", 100, ([b"aaba"], None, b"")),
    "a delimiter of three equal bytes and one": (b"x|||;|||;", b"||;", 100, ([b"x|", b"|"], None, b"")),
    "UTF-8": ("é€😀\f".encode(), b"\f", 100, (["é€😀".encode()], None, b"")),
    "half a sequence before the end": (b"a\f\xe2\x82", b"\f", 100, ([b"a"], None, b"\xe2\x82")),
    "a delimiter beyond ASCII": ("ä→b→".encode(), "→".encode(), 100, (["ä".encode(), b"b"], None, b"")),
    "not UTF-8": (b"a\f\xff\fb\f", b"\f", 100, ([b"a"], InvalidJSON, b"")),
    "a sequence that the delimiter cuts": (b"\xe2\x82\f\xac\f", b"\f", 100, ([], InvalidJSON, b"")),
    "a surrogate in UTF-8": (b"\xed\xa0\x80\f", b"\f", 100, ([], InvalidJSON, b"")),
    "an overlong sequence": (b"\xc0\xaf\f", b"\f", 100, ([], InvalidJSON, b"")),
    "as large as allowed": (b"12345\f", b"\f", 5, ([b"12345"], None, b"")),
    "one byte too large": (b"1\f123456\f", b"\f", 5, ([b"1"], FrameTooLarge, b"")),
    "bytes are counted, not characters": ("éé\fééé\f".encode(), b"\f", 5, (["éé".encode()], FrameTooLarge, b"")),
    "too large before it ends": (b"1\f1234567", b"\f", 5, ([b"1"], FrameTooLarge, b"")),
    "as large as allowed, and half a delimiter": (b"12345<e", b"<e>", 5, ([], None, b"12345<e")),
    "the first fault counts": (b"\xff\f1234567", b"\f", 5, ([], InvalidJSON, b"")),
}


@pytest.mark.row(2)
@pytest.mark.parametrize("name", CASES)
def test_the_same_frames_however_the_bytes_are_cut(name: str) -> None:
    data, delimiter, limit, expected = CASES[name]
    assert read([data], delimiter, limit) == expected
    assert read(bytewise(data), delimiter, limit) == expected
    for cut in range(len(data) + 1):
        parts = [part for part in (data[:cut], data[cut:]) if part]
        assert read(parts, delimiter, limit) == expected, cut


@pytest.mark.parametrize("step", [1 << 20, PIECE, 50_000])
@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_each_byte_of_a_large_frame_has_to_be_utf8(size: int, step: int) -> None:
    """It is looked at in pieces: a character may lie across two of them, and the last one has to be whole."""

    def verdict(data: bytes) -> Verdict:
        data += b"\f"
        return read([data[begin : begin + step] for begin in range(0, len(data), step)])

    fine = b"x" * (size - 4)
    for good in ("é😀", "😀é"):
        for shift in range(4):
            whole = b"x" * (PIECE - shift) + good.encode() * 2 + fine
            assert verdict(whole) == ([whole], None, b"")
    begins = verdict(b"\xff" + fine)
    assert begins[:2] == ([], InvalidJSON), "bad in its first byte"
    for cut in (1, 2, 3):
        ends = verdict(fine + "😀".encode()[:cut])
        assert ends[:2] == ([], InvalidJSON), "cut off in its last character"
    assert verdict(fine + "😀".encode())[:2] == ([fine + "😀".encode()], None)


def test_a_handshake_of_tls_is_known_by_its_first_bytes() -> None:
    splitter = Splitter(b"\f", 100)
    assert splitter.split(b"\x16") == [] and splitter.hopeless(splitter.rest) is None
    assert splitter.split(b"\x03\x01\x02") == []
    for begun in (splitter.rest, b"\x16\x03\x01"):
        assert "the other end speaks TLS and this one does not" in str(splitter.hopeless(begun))
    assert splitter.split(b"\xff\f") == [] and "speaks TLS" in str(splitter.fault)
    assert splitter.hopeless(b'{"type":"\x16\x03') is None


def vectors() -> list[tuple[bytes, bytes]]:
    """200 short streams with their delimiter: every order of these pieces, in twos and threes."""
    pieces = [b"a", b"\xc3\xa9", b"{}", b"\xf0\x9f\x98\x80", b""]
    made = []
    for delimiter in (b"\f", b"\r\n", b"<->", "→".encode()):
        for first, second in itertools.product(pieces, pieces):
            made.append((first + delimiter + second + delimiter, delimiter))
            made.append((delimiter[:1] + first + delimiter + second + delimiter[:-1], delimiter))
    return made


@pytest.mark.row(2)
def test_every_cut_of_200_vectors() -> None:
    made = vectors()
    assert len(made) == 200
    for data, delimiter in made:
        assert len(data) < 64
        expected = read([data], delimiter)
        for cut in range(1, len(data)):
            assert read([data[:cut], data[cut:]], delimiter) == expected, (data, delimiter, cut)


PIECES = [b"\f", b"<", b">", b"a", b"bcd", b"\xc3", b"\xa9", b"\xff"]
streams = st.binary(max_size=16).map(lambda chosen: b"".join(PIECES[each % len(PIECES)] for each in chosen))


@pytest.mark.row(2)
@given(streams, st.sampled_from([b"\f", b"<>", b"<<>", b"\xc3\xa9"]), st.integers(1, 12), st.integers(0, 1 << 32))
@settings(max_examples=2000, deadline=None)
def test_any_cut_of_any_bytes(data: bytes, delimiter: bytes, limit: int, seed: int) -> None:
    chance = random.Random(seed)
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randint(0, 8)))
    parts = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)]) if data[a:b]]
    whole = read([data], delimiter, limit)
    cut = read(parts, delimiter, limit)
    bytes_alone = read(bytewise(data), delimiter, limit)
    assert cut[:2] == whole[:2]
    assert bytes_alone[:2] == whole[:2]
    assert (cut[2], bytes_alone[2]) == (whole[2], whole[2])


# ---- limits


@pytest.mark.row(4)
@pytest.mark.parametrize("delimiter", [b"\f", b"<end>"])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(("size", "fault"), [(999, None), (1000, None), (1001, FrameTooLarge)])
def test_the_limit_is_exact(delimiter: bytes, step: int, size: int, fault: type[ProtocolError] | None) -> None:
    data = b"x" * size + delimiter
    chunks = [data[i : i + step] for i in range(0, len(data), step)]
    frames, found, _ = read(chunks, delimiter, 1000)
    assert found is fault
    assert frames == ([] if fault else [b"x" * size])


@pytest.mark.row(4)
def test_a_stream_without_delimiter_is_given_up_at_the_limit() -> None:
    limit, chunk, taken = MIB, b"x" * 64 * KIB, 0
    splitter = Splitter(b"\f", limit)
    tracemalloc.start()
    for _ in range(256 * 16):
        taken += len(chunk)
        assert splitter.split(chunk) == []
        if splitter.fault is not None:
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(splitter.fault, FrameTooLarge)
    assert limit < taken <= limit + 64 * KIB
    assert peak <= 4 * MIB
    assert not splitter.rest


def test_the_error_says_what_to_do() -> None:
    splitter = Splitter(b"\f", 10, "max_datagram_size")
    splitter.split(b"x" * 20 + b"\f")
    assert "20 bytes" in str(splitter.fault)
    assert "10 bytes" in str(splitter.fault)
    assert "max_datagram_size" in str(splitter.fault)


# ---- time


def cpu_seconds(size: int, step: int, tries: int = 3) -> float:
    chunk = b"x" * step

    def once() -> float:
        splitter = Splitter(b"\f", 1 << 30)
        started = time.process_time()
        for _ in range(size // step):
            splitter.split(chunk)
        splitter.split(b"\f")
        return time.process_time() - started

    return min(once() for _ in range(tries))


@pytest.mark.row(3)
def test_time_is_linear_in_small_chunks() -> None:
    assert cpu_seconds(MIB, 64) <= 0.15
    assert cpu_seconds(4 * MIB, 64) <= 2.3**3 * cpu_seconds(MIB // 2, 64)  # three doublings


@pytest.mark.row(3)
def test_a_drip_of_bytes_is_linear() -> None:
    assert cpu_seconds(512 * KIB, 1, tries=1) <= 2.0


@pytest.mark.row(3)
def test_many_small_frames_in_one_chunk_are_linear() -> None:
    def seconds(count: int) -> float:
        data = b"x\f" * count
        started = time.process_time()
        for _ in range(4):
            Splitter(b"\f", 1 << 30).split(data)
        return time.process_time() - started

    few = min(seconds(50_000) for _ in range(3))
    assert min(seconds(400_000) for _ in range(3)) <= 2.3**3 * max(few, 0.001)


def test_a_frame_of_many_reads_is_copied_once_when_it_is_complete() -> None:
    splitter = Splitter(b"\f", 16 * MIB)
    splitter.split(b"x" * (4 * MIB))
    tracemalloc.start()
    try:
        (frame,) = splitter.split(b"\f")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(frame) == 4 * MIB
    assert peak < 6 * MIB  # a second copy beside it would be 8


# --- a link that ended inside a message


@pytest.mark.row(52)
@pytest.mark.parametrize(
    ("rest", "of_a_server", "hint"),
    [
        (b'{"a":1}', False, "it ends in '}': does the peer send no delimiter?"),
        (b'{"a":1}\n', False, r"it ends in b'\n': does the peer use another delimiter?"),
        (b'{"a":1}' + b"." * MOST_DELIMITER, False, "it ends in b'........': does the peer use another delimiter?"),
        (b'{"a":1}' + b"." * (MOST_DELIMITER + 1), False, "the peer ended in the middle of it"),
        (b'{"a":{"b":1}}', False, "it ends in '}': does the peer send no delimiter?"),
        (b'{"a":', False, "the peer ended in the middle of it"),
        (b"1234", False, "is the peer in raw mode (raw_buffer), or no program of node-ipc?"),
        (b" \n", False, "the peer ended in the middle of it"),
        (b'{"a":', True, "the server ended in the middle of it" + CUT_AS_SLOW),
        (b"hello", True, "is the peer in raw mode (raw_buffer), or no program of node-ipc?"),
        (b"Hello {name}", False, "is the peer in raw mode (raw_buffer), or no program of node-ipc?"),
        (b"\x15\x03\x03", False, "that is TLS, which this side does not speak here: use tls:// or config.tls"),
        (b"\x16\x03\x01}", True, "that is TLS, which this side does not speak here: use tls:// or config.tls"),
        (b"\x15\x04", False, "is the peer in raw mode (raw_buffer), or no program of node-ipc?"),
    ],
)
def test_half_a_message_is_told_by_how_it_begins_and_ends(rest: bytes, of_a_server: bool, hint: str) -> None:
    told = str(half_a_message(bytearray(rest), of_a_server))
    assert told == f"the link ended inside a message, {len(rest)} bytes of which came, {rest!r}: {hint}"


@pytest.mark.row(52)
def test_of_half_a_message_64_bytes_are_shown() -> None:
    told = str(half_a_message(b"x" * 65, False))
    assert f"65 bytes of which came, {b'x' * 64!r}:" in told


# --- half a message that has not grown for a while


@pytest.mark.row(52)
@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (b"", None),
        (b'{"a":', None),
        (b'{"a":{"b":1}', None),
        (b'{"a":1}', "it ends in '}': does the peer send no delimiter?"),
        (b'{"a":1}\n', r"it ends in b'\n': does the peer use another delimiter?"),
        (b'{"a":1}\n{"a":2}\n', r"it ends in b'\n': does the peer use another delimiter?"),
        (b'{"a":1}' + b"." * MOST_DELIMITER, "it ends in b'........': does the peer use another delimiter?"),
        (b'{"a":1}' + b"." * (MOST_DELIMITER + 1), None),
        (b'{"a":"' + b"x" * PIECE + b'"}\n', None),
        (b'{"a":' + b"[" * 100_000 + b"}", None),
        (b" hello", "it begins b' hello': is the peer in raw mode (raw_buffer), or no program of node-ipc?"),
        (b"x" * 65, f"it begins {b'x' * 64!r}: is the peer in raw mode (raw_buffer), or no program of node-ipc?"),
    ],
)
def test_what_will_hardly_become_a_message_is_told_by_how_it_begins_and_ends(rest: bytes, why: str | None) -> None:
    assert never_a_message(bytearray(rest)) == why
