"""Receives NumPy arrays as raw bytes: no JSON, no copy but the kernel's. Start this, then send.py, once or many times
at once; it ends when the last sender has gone.

A stream has no frames in raw mode, so the program makes its own: 8 bytes of length, then the array. Each sender has a
stream, and so a buffer, of its own.
"""

import struct

import numpy

from node_ipc import IPC

LARGEST = 1 << 30  # bytes: a length is the sender's word, and what was not sent yet is not to be waited for endlessly

ipc = IPC()
ipc.config.id = "arrays"
ipc.config.raw_buffer = True
ipc.config.silent = True


def started():
    buffers = {}

    @ipc.server.on("data")
    def data(chunk, socket):
        waiting = buffers.setdefault(socket, bytearray())
        waiting.extend(chunk)
        while len(waiting) >= 8:
            size = struct.unpack_from(">Q", waiting)[0]
            if size > LARGEST or size % 8:
                print("an array of", size, "bytes is refused", flush=True)
                socket.abort()
                return
            if len(waiting) < 8 + size:
                return
            array = numpy.frombuffer(bytes(waiting[8 : 8 + size]), dtype="<f8")
            del waiting[: 8 + size]
            print("array of", array.size, "sum", array.sum(), flush=True)

    @ipc.server.on("socket.disconnected")
    def gone(socket):
        if buffers.pop(socket, None):
            print("a sender went in the middle of an array", flush=True)
        if not ipc.server.sockets:
            ipc.stop()

    print("ready for arrays", flush=True)


ipc.serve(started)
ipc.server.start()
ipc.run()
