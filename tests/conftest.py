"""What holds for every test, however the tests were started and whatever else the machine does.

Programs that they start hear Ctrl-C: a shell without job control starts what is behind ``&`` with SIGINT ignored,
``nohup`` too, and every program started from there inherits that. And no test shows a secret
(``never_shown``), nor begins with what another has left behind; those of memory have a process of
their own (``own_process``).
"""

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

from never_shown import pytest_configure, pytest_runtest_makereport
from node_ipc.core.holdings import everybody
from own_process import pytest_pyfunc_call

__all__ = ["pytest_collection_finish", "pytest_configure", "pytest_pyfunc_call", "pytest_runtest_makereport"]

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


@pytest.fixture(autouse=True)
def nothing_is_held_from_before() -> None:
    """All peers of a process count together, and so do the links that an earlier test left behind."""
    if everybody.total:
        gc.collect()
