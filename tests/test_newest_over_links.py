"""``receive(…, latest=True)`` over real links: frames larger than a socket's buffer, from each front, to a slow viewer.

What counts is no age, which a busy machine makes larger: no newer frame had been emitted when the viewer asked.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest

import node_ipc
from node_ipc import blocking
from node_ipc.core import inbox
from processes import Program

CAMERA = str(Path(__file__).with_name("camera_program.py"))
SECONDS = 30.0
PAUSE = 0.15
LOOKS = 5


class Picture(msgspec.Struct):
    number: int
    pixels: numpy.ndarray


class Text(msgspec.Struct):
    number: int
    pixels: str


Camera = Callable[[str, str], str]


@pytest.fixture
def times(tmp_path: Path) -> Path:
    return tmp_path / "times"


@pytest.fixture
def camera(tmp_path: Path, times: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    """Starts one of this front with this payload: its address."""
    for limit in ("ANSWER_SECONDS", "MUTE_SECONDS"):  # the camera may get no processor for so long
        monkeypatch.setattr(inbox, limit, SECONDS)
    programs: list[Program] = []

    def start(front: str, payload: str) -> str:
        address = rf"pipe:{tmp_path.name}" if sys.platform == "win32" else f"{tmp_path}/app.camera"
        programs.append(Program.python(CAMERA, front, address, payload, str(times)))
        programs[0].wait_for("films")
        return address

    yield start
    for program in programs:
        program.close()


def newest_at(times: Path, moment: float) -> int:
    """The number of the last frame that had been emitted, or was just being emitted; -1 before the first."""
    emitted = [when for (when,) in struct.iter_unpack("d", times.read_bytes())]
    return max((number for number, when in enumerate(emitted) if when < moment), default=-1)


@pytest.mark.parametrize(("payload", "type"), [("array", Picture), ("json", Text)])
@pytest.mark.parametrize("front", ["asyncio", "blocking", "callbacks"])
def test_a_blocking_viewer_gets_what_was_newest_when_it_asked(
    camera: Camera, times: Path, front: str, payload: str, type: Any
) -> None:
    with blocking.connect(camera(front, payload)) as client:
        for _ in range(LOOKS):
            asked = time.monotonic()
            frame = client.receive("frame", type=type, latest=True, timeout=SECONDS)
            assert frame.number >= newest_at(times, asked)
            time.sleep(PAUSE)
        assert client.inbox.skipped > 0


@pytest.mark.parametrize("front", ["asyncio", "blocking", "callbacks"])
def test_so_does_an_asyncio_viewer_that_holds_its_loop_up(camera: Camera, times: Path, front: str) -> None:
    async def view() -> None:
        async with node_ipc.connect(address) as client:
            for _ in range(LOOKS):
                asked = time.monotonic()
                frame = await client.receive("frame", type=Picture, latest=True, timeout=SECONDS)
                assert frame.number >= newest_at(times, asked)
                time.sleep(PAUSE)

    address = camera(front, "array")
    asyncio.run(view())
