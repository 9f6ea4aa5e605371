"""Whatever conversation an input stands for, the native twin plays it as the Python one does, to the letter."""

from __future__ import annotations

import importlib
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Dice", "one_input"]

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "native"))

SWITCH = "NODE_IPC_PURE"


class Dice(random.Random):
    """Falls as the bytes of an input say, and when they are used up, on zero."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    def getrandbits(self, bits: int, /) -> int:
        at, size = self._at, (bits + 7) // 8
        self._at = at + size
        return int.from_bytes(self._data[at : at + size], "little") & ((1 << bits) - 1)

    def random(self) -> float:
        return self.getrandbits(16) / 65536


def player(pure: bool) -> ModuleType:
    """``tests/native/differential.py`` with one of the twins, in an import of its own: the package's and the player's
    modules are made anew, and those that are there are put back."""
    before = _taken()
    switch = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1" if pure else "0"
    try:
        module = importlib.import_module("differential")
        twin = importlib.import_module("node_ipc.config.twin")
    finally:
        _taken()
        sys.modules.update(before)
        os.environ.pop(SWITCH)
        if switch is not None:
            os.environ[SWITCH] = switch
    if not pure and twin.native is None:
        raise RuntimeError(f"the native twin does not run: {twin.why}. pip install ./native")
    return module


def _taken() -> dict[str, ModuleType]:
    ours = ("node_ipc", "node_ipc_native", "differential")
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in ours}


PLAYERS = (player(pure=True), player(pure=False))


def told(module: ModuleType, data: bytes) -> list[str]:
    play: Callable[[Any], list[str]] = module.play
    return play(Dice(data))


def one_input(data: bytes) -> None:
    python, native = (told(module, data) for module in PLAYERS)
    for number, (one, other) in enumerate(zip(python, native, strict=False)):
        assert one == other, f"step {number}: {one} with the Python twin, {other} with the native one"
    assert len(python) == len(native), f"{len(python)} steps with the Python twin, {len(native)} with the native one"
