"""``python -m node_ipc``: the same as the command ``node-ipc``."""

import sys

from .tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
