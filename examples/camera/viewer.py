"""Shows the frames of camera.py, ten a second at the most, and always the newest; it ends by itself.

`latest=True` leaves out what came while the former frame was shown. Without it the viewer would show frame after frame,
each older than the one before.
"""

import time

import msgspec

from node_ipc import blocking


class Frame(msgspec.Struct):
    number: int
    taken_at: float
    pixels: bytes


with blocking.connect("camera", wait=True) as camera:
    for _ in range(15):
        frame = camera.receive("frame", type=Frame, latest=True, timeout=10)
        print(f"frame {frame.number}, {len(frame.pixels)} bytes, {(time.time() - frame.taken_at) * 1000:.0f} ms old")
        time.sleep(0.1)  # it takes as long to show one
    print(camera.inbox.skipped, "frames were left out")
