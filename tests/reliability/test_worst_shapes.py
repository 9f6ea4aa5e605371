"""What one frame can do to a process: deep payloads (reliability row 6) and dear ones (row 7).

Both run in processes of their own: a crash there is a failed test here, and their memory is theirs alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from node_ipc.drivers import small_stack
from node_ipc.wire.costs import DEEPEST, is_too_deep

HERE = Path(__file__).parent
MIB = 1024 * 1024
BROKEN = ("half", 64)


def lines(script: str, *arguments: str) -> list[Any]:
    done = subprocess.run([sys.executable, str(HERE / script), *arguments], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, f"{script} {arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.row(6)
@pytest.mark.slow
@pytest.mark.parametrize("where", ["frames 800", "thread 512", "thread 256", "blocking 512"])
def test_deep_payloads_are_an_error_wherever_the_loop_runs(where: str) -> None:
    found = lines("deep_stack.py", *where.split())
    assert len(found) == 9 * 6 * 2
    for depth, shape, event, heard, seconds in found:
        said = f"{shape} {depth} deep, {event}: {heard}"
        assert heard in (["delivered"], ["InvalidPayload"], ["InvalidJSON"], ["FrameTooLarge"]), said
        if depth == 64:
            assert heard == (["InvalidJSON"] if shape == "half" else ["delivered"]), said
        elif depth == 500_000:
            assert heard in (["InvalidPayload"], ["FrameTooLarge"]), said
        assert seconds < 1.0, said
    slowest = sorted(seconds for *_, seconds in found)
    assert slowest[len(slowest) // 2] < 0.05


NINE = [
    "empty lists",
    "empty objects",
    "lists of one list",
    "objects of one member",
    "small numbers",
    "short texts",
    "escapes",
    "a wide text",
    "white space",
]
AS_MANY_AS_MAY_BE = "599990"
"""Values: ten less than max_message_values, for the message itself."""


@pytest.mark.row(7)
@pytest.mark.parametrize("shape", [*NINE, "lone surrogates"])
def test_the_dearest_message_that_is_let_in_holds_the_loop_up_shortly_and_takes_so_much_memory(shape: str) -> None:
    [[seconds, grown, heard]] = lines("worst_shapes.py", shape, AS_MANY_AS_MAY_BE)
    assert heard == ["delivered"] * 3
    assert seconds <= 0.15
    assert grown <= 7 * 16 * MIB  # 32 times the limit are promised


@pytest.mark.row(7)
@pytest.mark.parametrize("shape", [*NINE, "lone surrogates", "numbers that take long", "brackets that never close"])
def test_16_mib_of_anything(shape: str) -> None:
    [[seconds, grown, heard]] = lines("worst_shapes.py", shape)
    all_text = shape in ("escapes", "a wide text", "white space")
    assert heard == (["delivered"] if all_text else ["FrameTooLarge"]) * 3
    assert seconds <= 0.15
    assert grown <= 7 * 16 * MIB


@pytest.mark.row(7)
def test_numbers_that_msgspec_reads_in_the_exact_and_slow_way() -> None:
    """Twenty digits near the largest: 20 µs each there, 10 s for so many."""
    [[seconds, grown, heard]] = lines("worst_shapes.py", "numbers that take long", AS_MANY_AS_MAY_BE)
    assert heard == ["delivered"] * 3
    assert seconds <= 0.6
    assert grown <= 7 * 16 * MIB


@pytest.mark.row(7)
@pytest.mark.parametrize("shape", ["4301 digits", "1e400", "digits", "brackets that never close"])
def test_what_python_cannot_hold_is_an_error_at_once(shape: str) -> None:
    [[seconds, grown, heard]] = lines("worst_shapes.py", shape, AS_MANY_AS_MAY_BE)
    assert heard == ["InvalidPayload"] * 3
    assert seconds <= 0.3  # the error is found by a second look, so the payload is gone through twice
    assert grown <= 7 * 16 * MIB


# ---- how a thread with little stack is told, and how a depth is counted


def small_in_a_thread(kib: int) -> bool:
    found: list[bool] = []
    before = threading.stack_size(kib * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(small_stack.is_small()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return found[0]


def test_threads_with_little_stack_are_told_from_others() -> None:
    assert small_in_a_thread(512)
    assert not small_in_a_thread(16 * 1024)
    assert not small_stack.is_small()


def test_off_linux_the_size_of_new_threads_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not small_stack.is_small()
    before = threading.stack_size(256 * 1024)
    try:
        assert small_stack.is_small()
    finally:
        threading.stack_size(before)


def test_where_the_stack_cannot_be_measured_the_size_of_new_threads_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    class Libc:
        def pthread_getattr_np(self, *arguments: object) -> int:
            return 22

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc())
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert not small_stack.is_small()


@pytest.mark.parametrize(
    ("frame", "deep"),
    [
        (b"[" * DEEPEST + b"]" * DEEPEST, False),
        (b"[" * (DEEPEST + 1), True),
        (b'{"":' * (DEEPEST + 1), True),
        (b'[{"a":' * (DEEPEST // 2) + b"[", True),
        (b"[" + b"[]," * 5000 + b"0]", False),
        (b'"' + b"[" * 5000 + b'"', False),
        (b'"' + b'\\"[' * 5000 + b'"', False),
        (b'["\\\\",' * (DEEPEST + 1), True),
        (b'["' + b"[" * 5000, False),  # the text never ends: no decoder goes down
        (b"]" * 5000 + b"[" * 10, False),
    ],
)
def test_brackets_are_counted_where_they_are_brackets(frame: bytes, deep: bool) -> None:
    assert is_too_deep(frame) is deep


def test_closing_brackets_that_were_never_opened_hide_nothing() -> None:
    """They end the JSON: whatever follows, no decoder goes there."""
    import msgspec

    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b"]" * 500 + b"[" * 800)
