"""What holds for every test, however the tests were started and whatever else the machine does.

Programs that they start hear Ctrl-C: a shell without job control starts what is behind ``&`` with SIGINT ignored,
``nohup`` too, and every program started from there inherits that. And no test shows a secret
(``never_shown``).
"""

import gc
import signal

from hypothesis import HealthCheck, settings

from never_shown import pytest_configure, pytest_runtest_makereport

__all__ = ["pytest_collection_finish", "pytest_configure", "pytest_runtest_makereport"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What Hypothesis does where it knows CI, everywhere: the same examples in each run, however slow. Its own search is for
# who asks: pytest --hypothesis-profile=default.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


def pytest_collection_finish() -> None:
    """Whoever calls the collector looks at what tests have made, not at millions of objects of the tests themselves."""
    gc.collect()
    gc.freeze()
