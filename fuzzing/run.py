#!/usr/bin/env python3
"""Run the fuzz targets with atheris (``pip install -e '.[fuzz]'``).

    python fuzzing/run.py                            each target for 60 seconds
    python fuzzing/run.py frames -max_total_time=600 one target; libFuzzer's options
    python fuzzing/run.py frames FILE                 one input again
    python fuzzing/run.py twins                       the native twin against the Python one: needs the native one

What is found is kept in ``fuzzing/crashes/<target>/`` and replayed by the tests from then on.
"""

from __future__ import annotations

import importlib
import logging
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fuzzing.mutation import TARGETS  # noqa: E402 - this folder is no installed package

LIMITS = ("-max_len=65536", "-timeout=10", "-rss_limit_mb=512")
"""For one input. libFuzzer's clock is the wall's, and goes on while another target has the processor: the slowest
inputs take 0.15 s under instrumentation, and ten seconds are a hang on a slow machine, too. What a message may cost in
time of the processor is measured by ``tests/reliability/test_worst_shapes.py``."""

NOT_ABOUT_BYTES = ["node_ipc.drivers.memory", "node_ipc.core.trace", "node_ipc.core.outcome"]
"""What runs for every input in the same way: it tells libFuzzer nothing, and what is watched is slower."""


def run_one(target: str, arguments: list[str]) -> None:
    """In this process; ends with libFuzzer's exit status."""
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    logging.getLogger("node_ipc").setLevel(logging.CRITICAL + 1)  # a line for each odd input is too much
    with atheris.instrument_imports(include=["node_ipc"], exclude=NOT_ABOUT_BYTES):
        module = importlib.import_module(f"fuzzing.{target}")
    again = f"{shlex.join([sys.executable, __file__, target])} --"  # how libFuzzer starts others that merge for it
    atheris.Setup([again, *arguments], module.one_input)
    atheris.Fuzz()


def command(target: str, options: list[str]) -> list[str]:
    """New inputs go to a directory of their own, so that the corpus stays the few files that somebody chose."""
    new = tempfile.mkdtemp(prefix=f"fuzz-{target}-")
    kept = [HERE / "corpus" / target, HERE / "crashes" / target]
    for folder in kept:  # nobody chose conversations of the twins: any bytes are one
        folder.mkdir(parents=True, exist_ok=True)
    words = f"-dict={HERE / 'words.dict'}"
    found = f"-artifact_prefix={kept[1]}/"
    return [sys.executable, __file__, target, "--", new, *map(str, kept), words, found, *LIMITS, *options]


def main(arguments: list[str]) -> int:
    targets = [argument for argument in arguments[:1] if argument in (*TARGETS, "twins")] or list(TARGETS)
    rest = arguments[len(targets) :] if len(targets) == 1 else arguments
    if rest[:1] == ["--"]:
        run_one(targets[0], rest[1:])
    if len(targets) == 1 and rest and Path(rest[0]).is_file():
        return subprocess.run([sys.executable, __file__, targets[0], "--", *rest]).returncode
    options = rest or ["-max_total_time=60"]
    return max(subprocess.run(command(target, options)).returncode for target in targets)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
