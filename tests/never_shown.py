"""Fails a test in which a secret was shown: printed, logged, or said by a program that the test started.

The secrets of the tests (passphrases of TLS keys, passwords of a bus) all have ``NEVER_SHOWN`` in them, and private
keys their own first line. What is looked at: what pytest captured and what a test read of it, each log record with its
traceback and attributes, and each line of a ``Program``.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import pytest

NEVER_SHOWN = "nevershown"
SECRETS = (NEVER_SHOWN, "PRIVATE KEY-----")

_seen: list[str] = []


def look(text: str, where: str) -> None:
    """Note that this is shown."""
    for secret in SECRETS:
        at = text.find(secret)
        if at >= 0:
            _seen.append(f"{where} has a secret in it: {text[max(0, at - 100) : at + 100]!r}")


def pytest_configure(config: pytest.Config) -> None:
    config.add_cleanup(_watch_logs())
    config.add_cleanup(_watch_what_tests_read())


def _watch_logs() -> Any:
    handled = logging.Logger.callHandlers

    def watched(logger: logging.Logger, record: logging.LogRecord) -> None:
        look(
            "\n".join(str(each) for each in (record.getMessage(), *vars(record).values())), f"a record of {logger.name}"
        )
        handled(logger, record)

    logging.Logger.callHandlers = watched  # type: ignore[method-assign, assignment]
    return lambda: setattr(logging.Logger, "callHandlers", handled)


def _watch_what_tests_read() -> Any:
    read = pytest.CaptureFixture.readouterr

    def watched(fixture: pytest.CaptureFixture[Any]) -> Any:
        out, err = found = read(fixture)
        for name, text in (("standard output", out), ("standard error", err)):
            look(text if isinstance(text, str) else text.decode("utf-8", "replace"), name)
        return found

    pytest.CaptureFixture.readouterr = watched  # type: ignore[method-assign, assignment]
    return lambda: setattr(pytest.CaptureFixture, "readouterr", read)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for title, text in report.sections:
        look(text, title)
    if _seen and report.when != "setup":
        if report.outcome == "passed":
            report.outcome, report.longrepr = "failed", "\n".join(_seen)
        _seen.clear()
    return report
