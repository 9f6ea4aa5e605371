"""``node-ipc listen`` shows what real clients send, one safe line each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from node_ipc.blocking import connect

from .conftest import Command
