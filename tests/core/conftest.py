"""What holds for the tests of the core."""

import gc

import pytest

from node_ipc.core.holdings import everybody


@pytest.fixture(autouse=True)
def nothing_is_held_from_before() -> None:
    """All peers of this process count together, and so do the links that an earlier test left behind."""
    if everybody.total:
        gc.collect()
