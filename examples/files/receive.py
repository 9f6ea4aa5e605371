"""Receives files of any size into a folder: `python receive.py [FOLDER]`, the present one without. Ctrl-C ends it.

What has come of a file stays in `NAME.….part` beside it until all of it is there, so a transfer goes on where it
stopped, whichever side was killed. Names with a folder in them are refused: nobody writes outside of this one.
"""

import asyncio
import contextlib
import hashlib
import os
import sys
from pathlib import Path

import msgspec

import node_ipc

REFUSED, OUT_OF_STEP, BROKEN = 1, 2, 3


class Begin(msgspec.Struct):
    name: str
    size: int
    changed: int


class Part(msgspec.Struct):
    offset: int
    data: bytes


class Incoming:
    """One file on its way. The digest grows with it, so that the end costs nothing."""

    def __init__(self, folder, begin):
        self.size = begin.size
        self.target = folder / begin.name
        self.part = folder / f"{begin.name}.{begin.size}-{begin.changed}.part"
        self.digest = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self.file = os.fdopen(os.open(self.part, flags, 0o600), "r+b", buffering=0)

    def read_what_is_there(self):
        if os.fstat(self.file.fileno()).st_size > self.size:  # somebody else wrote there
            self.file.truncate(0)
        while block := self.file.read(1 << 20):
            self.digest.update(block)
        return self.file.tell()

    def add(self, part):
        if part.offset != self.file.tell() or part.offset + len(part.data) > self.size:
            raise node_ipc.RemoteError(OUT_OF_STEP, f"{part.offset} does not follow {self.file.tell()}")
        left = memoryview(part.data)
        while left:
            left = left[self.file.write(left) :]
        self.digest.update(part.data)
        return self.file.tell()

    def finish(self, digest):
        if self.file.tell() != self.size or self.digest.hexdigest() != digest:
            self.file.close()
            self.part.unlink()
            raise node_ipc.RemoteError(BROKEN, "what came is not what was sent: send it again")
        self.file.close()
        self.part.replace(self.target)


def checked(begin):
    name = begin.name
    if name != Path(name).name or name in ("", ".", "..") or set(name) & set("\0/\\:") or begin.size < 0:
        raise node_ipc.RemoteError(REFUSED, f"{name!r:.80} is no plain name of a file")
    return begin


async def main(folder):
    writers = {}  # which socket writes which part: the newest one, an older one's link is on its way out
    async with node_ipc.serve("files") as server:

        @server.handle("begin")
        async def begin(data: Begin, socket):
            try:
                incoming = Incoming(folder, checked(data))
            except (OSError, ValueError) as error:
                raise node_ipc.RemoteError(REFUSED, f"{data.name!r:.80} cannot be written: {error}") from None
            let_go(socket)
            socket.state["file"], writers[incoming.part] = incoming, socket
            there = await asyncio.to_thread(incoming.read_what_is_there)
            print(f"{data.name}: {data.size} bytes, of which {there} are there", flush=True)
            return there

        @server.handle("part")
        def part(data: Part, socket):
            return mine(socket).add(data)

        @server.handle("end")
        def end(digest: str, socket):
            incoming = mine(socket)
            incoming.finish(digest)
            let_go(socket)
            print(f"{incoming.target.name}: complete", flush=True)

        def mine(socket):
            incoming = socket.state.get("file")
            if incoming is None or writers.get(incoming.part) is not socket:
                raise node_ipc.RemoteError(OUT_OF_STEP, "begin first: somebody else sends this file, or nobody")
            return incoming

        @server.on("close")
        def let_go(socket):
            incoming = socket.state.pop("file", None)
            if incoming is not None:
                incoming.file.close()
                if writers.get(incoming.part) is socket:
                    del writers[incoming.part]

        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    if not folder.is_dir():
        sys.exit(f"{folder} is no folder: make it, or name another")
    with contextlib.suppress(KeyboardInterrupt):
        node_ipc.run(main(folder))
