"""``python -m node_ipc``: the same as the command ``node-ipc``."""

import sys

__all__ = ["run"]


def run() -> int:
    """The command line; Ctrl-C ends it without a traceback from the first moment on."""
    try:
        from .tools.cli import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
