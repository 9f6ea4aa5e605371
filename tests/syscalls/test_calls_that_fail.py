"""Each call to the kernel may fail once: it is served on, or there is one clear error and nothing is left.

NIGHTLY=syscalls .ci/run     every row of ``failing_calls.py``: first, second and tenth time, all drivers, both twins
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from failing_calls import ROWS, SHORT, verdict
from injecting import Bench, Case, Outcome

pytestmark = pytest.mark.row(45)

LANE = os.environ.get("NIGHTLY") == "syscalls"
TWINS = ("python", "native") if find_spec("node_ipc_native") else ("python",)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def other_than_expected(found: dict[Case, Outcome]) -> list[str]:
    return [
        f"{case}: {outcome.said!r} instead of {verdict(case)!r}" + "".join(f"\n    {line}" for line in outcome.wrong)
        for case, outcome in found.items()
        if outcome.wrong or outcome.said != verdict(case)
    ]


@pytest.mark.slow
def test_one_of_each(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    """The twins by turns."""
    found = bench.run_all([case._replace(twin=TWINS[number % len(TWINS)]) for number, case in enumerate(SHORT)])
    record_property("cases", len(found))
    assert not (wrong := other_than_expected(found)), "\n".join(wrong)


@pytest.mark.lane(name="syscalls")
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not LANE, reason="takes a quarter of an hour: NIGHTLY=syscalls .ci/run")
@pytest.mark.parametrize("call", dict.fromkeys(row.call for row in ROWS))
def test_every_time_it_may_fail(call: str, bench: Bench, record_property: Callable[[str, object], None]) -> None:
    cases = [case for row in ROWS if row.call == call for case in row.cases()]
    found = bench.run_all(cases)
    for said, count in sorted(Counter(f"{case.error}: {outcome.said}" for case, outcome in found.items()).items()):
        record_property(said, count)
    assert not (wrong := other_than_expected(found)), "\n".join(wrong)


def test_what_came_of_it_is_compared_with_the_table(bench: Bench) -> None:
    """A call that is never made proves nothing, and nothing else than the verdict will do."""
    unreached = bench.run(Case("eventfd2", "EMFILE", 1, "client", "thread", "unix", "python"))
    assert unreached == ("not reached, 0 calls", [])
    cases = [
        case._replace(twin="") for row in ROWS for case in dict.fromkeys(each._replace(twin="") for each in row.cases())
    ]
    assert len(cases) == len(set(cases)), "each case is in one row"
    case = SHORT[0]._replace(twin="python")
    assert other_than_expected({case: Outcome("on", [])}) == [f"{case}: 'on' instead of 'warned'"]
    assert other_than_expected({case: Outcome("warned", ["left open: 7"])}) == [
        f"{case}: 'warned' instead of 'warned'\n    left open: 7"
    ]


@pytest.mark.parametrize(
    ("strace", "said"),
    [
        (None, "apt-get install strace"),
        ("echo 'strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted' >&2; exit 1", "not permitted"),
    ],
)
def test_where_nobody_may_trace_it_fails_and_says_so(
    strace: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is skipped, and the processes that waited for it are gone."""
    if strace is not None:
        (tmp_path / "strace").write_text(f"#!/bin/sh\n{strace}\n")
        (tmp_path / "strace").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}" if strace is None else f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(AssertionError, match=said), closing(Bench()) as bench:
        bench.run(Case("accept4", "EINTR", 1, "server", "thread", "unix", "python"))
