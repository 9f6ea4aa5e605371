"""Runs a program of ``examples/`` exactly as it stands, with its sockets and ports where the test wants them.

    python run_example.py SOCKET_ROOT PORT PROGRAM [ARGUMENT ...]

Only the default of ``socket_root`` is changed, and every ``network_port`` that the program sets is the test's.
"""

import runpy
import sys

from node_ipc import Config

root, port, program, *arguments = sys.argv[1:]
sys.argv[:] = [program, *arguments]
Config.socket_root.default = root
Config.network_port.default = int(port)
Config.network_port.check = lambda value: int(port)
runpy.run_path(program, run_name="__main__")
