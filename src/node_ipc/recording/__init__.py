"""Recordings: what passed over links, kept in a file of JSON lines, to be read, played back and converted.

    for entry in read("run.jsonl"):
        print(entry.time, entry.side, entry.type)

``node-ipc tap --record`` and ``node-ipc record`` make one, ``node-ipc replay`` and ``node_ipc.testing.replay`` say
again what its clients said, ``node-ipc convert`` makes other formats of it. The format is explained by
``node-ipc help recordings``.

Nothing here opens a socket: bytes come from whoever has them, and links from a driver.
"""

from .format import Entry, Header, RecordingError
from .reader import Recording, read

__all__ = ["Entry", "Header", "Recording", "RecordingError", "read"]
