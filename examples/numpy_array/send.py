"""Sends frames to receive.py, and asks it for the negative of one."""

import numpy

from node_ipc import blocking

with blocking.connect("arrays") as arrays:
    for number in range(3):
        pixels = numpy.full((1080, 1920), number, dtype="u1")
        arrays.emit("frame", {"at": number / 25, "pixels": pixels})
    negative = arrays.request("negative", pixels, type=numpy.ndarray)
    print("negative", negative.shape, "sum", negative.sum())
