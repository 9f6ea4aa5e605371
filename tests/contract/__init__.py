"""Tests of ``node_ipc.contract``: each format is judged by its own real tool."""
