"""The stopwatch of the tests leaves out what other programs had of the processor, and nothing else."""

from __future__ import annotations

import os
import sys
import time

import pytest

from children import Child
from stopwatch import Stopwatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel tells, and all time counts")


def work(seconds: float) -> None:
    """Keep the processor busy until this process itself has had so much of it."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_sleeping_and_computing_count() -> None:
    watch = Stopwatch()
    time.sleep(0.1)
    work(0.1)
    assert watch.seconds >= 0.19


def beside_four_others() -> list[float]:
    """On one processor with four busy processes: seconds on the wall and on the watch for 0.2 s of work."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    others = [Child(lambda: work(60)) for _ in range(4)]
    try:
        begun, watch = time.monotonic(), Stopwatch()
        work(0.2)
        return [time.monotonic() - begun, watch.seconds]
    finally:
        for other in others:
            other.kill()


def test_what_others_had_of_the_processor_does_not_count() -> None:
    wall, ours = Child(beside_four_others).result()
    assert wall > 0.4, "there were others"
    assert 0.19 <= ours < 0.3


def test_another_process_may_be_held_up_too() -> None:
    child = Child(lambda: time.sleep(0.2))
    watch = Stopwatch(child.pid)
    child.result()
    assert 0 <= watch.seconds < 20
    assert Stopwatch(child.pid).seconds < 1, "one that has ended has not waited"
