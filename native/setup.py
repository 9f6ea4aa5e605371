"""The native twin of node_ipc's hot path: its version is that of the node_ipc it lies beside, and it fits no other."""

import re
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src/node_ipc/__init__.py"
KEPT = HERE / "VERSION"  # in an sdist, where node_ipc is not beside it


def version() -> str:
    if SOURCE.exists():
        found = re.search(r'^__version__ = "([^"]+)"$', SOURCE.read_text(), re.MULTILINE)
        assert found is not None
        KEPT.write_text(found[1] + "\n")
    return KEPT.read_text().strip()


number = version()
setup(
    version=number,  # no requirement says so: as long as the name on PyPI is not ours, that would fetch a stranger's
    ext_modules=[
        Extension("node_ipc_native", ["node_ipc_native.c"], define_macros=[("VERSION", f'"{number}"')]),
    ],
)
