"""Benchmarks: node-ipc for Python beside node-ipc itself and what else a Python user would take."""
