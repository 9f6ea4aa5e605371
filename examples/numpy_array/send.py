"""Sends two NumPy arrays to receive.py as raw bytes: anything with the buffer protocol can be emitted."""

import struct

import numpy

from node_ipc import IPC

ipc = IPC()
ipc.config.raw_buffer = True
ipc.config.silent = True


def connecting(ipc):
    for array in (numpy.arange(5, dtype="<f8"), numpy.ones(100_000, dtype="<f8")):
        ipc.of.arrays.emit(struct.pack(">Q", array.nbytes))
        ipc.of.arrays.emit(array)
    ipc.of.arrays.on("connect", lambda: ipc.disconnect("arrays"))  # after what was emitted is sent


ipc.connect_to("arrays", connecting)
ipc.run()
