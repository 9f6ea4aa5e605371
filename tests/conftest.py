"""Programs that the tests start hear Ctrl-C, however the tests themselves were started.

A shell without job control starts what is behind ``&`` with SIGINT ignored, ``nohup`` too, and every program started
from there inherits that. And no test shows a secret (``never_shown``).
"""

import gc
import signal

from never_shown import pytest_configure, pytest_runtest_makereport

__all__ = ["pytest_collection_finish", "pytest_configure", "pytest_runtest_makereport"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Whoever calls the collector looks at what tests have made, not at millions of objects of the tests themselves."""
    gc.collect()
    gc.freeze()
