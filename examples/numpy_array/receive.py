"""Receives NumPy arrays as raw bytes: no JSON, no copy but the kernel's. Start this, then send.py; it ends by itself.

A stream has no frames in raw mode, so the program makes its own: 8 bytes of length, then the array.
"""

import struct

import numpy

from node_ipc import IPC

ipc = IPC()
ipc.config.id = "arrays"
ipc.config.raw_buffer = True
ipc.config.silent = True


def started():
    waiting = bytearray()

    @ipc.server.on("data")
    def data(chunk, socket):
        waiting.extend(chunk)
        while len(waiting) >= 8 and len(waiting) >= 8 + (size := struct.unpack_from(">Q", waiting)[0]):
            array = numpy.frombuffer(bytes(waiting[8 : 8 + size]), dtype="<f8")
            del waiting[: 8 + size]
            print("array of", array.size, "sum", array.sum(), flush=True)

    ipc.server.on("socket.disconnected", lambda: ipc.stop())
    print("ready for arrays", flush=True)


ipc.serve(started)
ipc.server.start()
ipc.run()
