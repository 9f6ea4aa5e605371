"""The contract of tests/drivers/test_driver_contract.py over named pipes and TCP on Windows, in both drivers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "drivers"))
from test_driver_contract import *  # noqa: F403 - it stands in a directory of its own
