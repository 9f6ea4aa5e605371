"""The fuzz targets without atheris: what is kept in ``fuzzing/`` is replayed, and inputs changed at random are tried.

``fuzzing/run.py`` searches for longer and looks where it has been; see ``fuzzing/README.md``.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzzing.mutation import TARGETS, inputs, kept

OneInput = Callable[[bytes], None]
INPUTS = 5_000
AT_LEAST = 2_000
"""Inputs that a machine under load has to get through."""
SECONDS = 10.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No line in the log for each odd input."""
    logger = logging.getLogger("node_ipc")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def target(name: str) -> OneInput:
    one_input: OneInput = importlib.import_module(f"fuzzing.{name}").one_input
    return one_input


@pytest.mark.row(1)
@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_is_found_no_more(name: str) -> None:
    one_input, files = target(name), kept(name)
    assert len(files) >= 5
    for path in files:
        try:
            one_input(path.read_bytes())
        except BaseException as error:
            raise AssertionError(f"{path} breaks it: {error!r}") from error


@pytest.mark.row(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_changed_at_random_yield_events_or_one_documented_error(name: str) -> None:
    one_input = target(name)
    end = time.monotonic() + SECONDS
    for count, data in enumerate(inputs(name, seed=1)):
        try:
            one_input(data)
        except BaseException as error:
            raise AssertionError(f"input number {count} breaks it: {data!r}: {error!r}") from error
        if count + 1 == INPUTS or (count >= AT_LEAST and time.monotonic() > end):
            break


@pytest.mark.row(1)
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_what_must_be_true(name: str) -> None:
    sentence = importlib.import_module(f"fuzzing.{name}").__doc__
    assert sentence is not None and sentence.count(".") == 1 and sentence.endswith(".")


def test_a_target_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A splitter that forgets a byte, a decoder that lets an exception through, a handler that is called too much."""
    from fuzzing import frames

    from node_ipc.wire.framing import Splitter

    whole = Splitter.split
    monkeypatch.setattr(Splitter, "split", lambda self, chunk: whole(self, chunk[:40]))
    with pytest.raises(AssertionError):
        frames.one_input(b"\0\0\0" + b"x" * 100 + b"\f")
