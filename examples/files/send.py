"""Sends files of any size to receive.py: `python send.py FILE ...`. It ends by itself.

A file goes in parts, a few of them at once, so neither side holds more than those. Where the other side dies it waits
for it, asks how much is there, and goes on from that. Started again after it was killed itself, it does the same.
"""

import asyncio
import hashlib
import sys
from collections import deque
from pathlib import Path

import node_ipc

PART = 512 * 1024  # bytes in one message
AT_ONCE = 8  # parts on their way
OUT_OF_STEP = 2


async def send(client, path):
    """All of one file, over as many links as it takes."""
    misses = 0
    while True:
        try:
            await send_rest(client, path)
            return
        except node_ipc.ConnectionLost:
            print(f"{path.name}: the other side is gone; waiting for it", flush=True)
        except node_ipc.RemoteError as error:
            misses += 1  # a part may have gone over a new link before anybody said what it belongs to
            if error.code != OUT_OF_STEP or misses == 5:
                raise


async def send_rest(client, path):
    """What the other side does not have of it yet."""
    about = path.stat()
    begin = {"name": path.name, "size": about.st_size, "changed": about.st_mtime_ns}
    there = await client.request("begin", begin, type=int, timeout=None)
    with path.open("rb") as file:
        digest = await asyncio.to_thread(digest_of, file, there)
        if there:
            print(f"{path.name}: going on after {there} bytes", flush=True)
        await send_parts(client, file, there, digest, Progress(path.name, about.st_size))
    await client.request("end", digest.hexdigest(), timeout=None)


async def send_parts(client, file, offset, digest, progress):
    """The file from here on; ``digest`` grows with it."""
    on_their_way = deque()
    try:
        while data := file.read(PART):
            digest.update(data)
            part = {"offset": offset, "data": data}
            on_their_way.append(asyncio.ensure_future(client.request("part", part, type=int, timeout=None)))
            offset += len(data)
            if len(on_their_way) == AT_ONCE:
                progress.show(await on_their_way.popleft())
        while on_their_way:
            progress.show(await on_their_way.popleft())
    finally:
        for left in on_their_way:
            left.cancel()
        await asyncio.gather(*on_their_way, return_exceptions=True)


def digest_of(file, size):
    """Of the first so many bytes; the file stands behind them then."""
    digest = hashlib.sha256()
    while size and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest


class Progress:
    """A line for each tenth."""

    def __init__(self, name, size):
        self.name, self.size, self.shown = name, size, 0

    def show(self, there):
        tenth = 10 * there // self.size
        if tenth > self.shown:
            self.shown = tenth
            print(f"{self.name}: {10 * tenth} %", flush=True)


async def main(paths):
    async with node_ipc.connect("files", wait=True) as client:
        for path in paths:
            await send(client, path)
            print(f"{path.name}: sent", flush=True)


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    wrong = [str(path) for path in paths if not path.is_file()]
    if wrong or not paths:
        sys.exit(f"no file: {', '.join(wrong)}" if wrong else "python send.py FILE ...")
    try:
        node_ipc.run(main(paths))
    except (node_ipc.RemoteError, OSError) as error:
        sys.exit(f"not sent: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same call goes on where it was")
