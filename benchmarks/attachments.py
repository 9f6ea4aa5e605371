"""``python -m benchmarks.attachments``: what bytes beside the JSON cost, against base64, a pipe of Python's, and C.

One process sends, another reads and sums all the bytes, over a Unix socket. The ways take turns within a round, each in
processes of its own; ratios are formed within a round, and the table shows their medians and ranges.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

import node_ipc
from node_ipc import blocking

KIB, MIB = 1024, 1024 * 1024
SIZES = {8 * MIB: 240, 64 * KIB: 8000}
"""Bytes of a message, and how many of them a round has."""
SLOW = {"base64": 0.2}
"""Ways that get a share of the messages: rates are per message."""
OURS = "attachments"
STILL = "attachments, read-only"
UNREAD = "attachments, read-only, not summed"
BYTES = "attachments, as bytes"
WHOLE = "C, whole messages"
"""Sends and reads blocks of 64 KiB, out of and into memory of a message's size: as who hands over arrays has to."""
BLOCK = "C, one block"
"""The same block again and again: nothing leaves the processor's cache, and nobody has the message at the end."""
IN_C = (WHOLE, BLOCK)
WAYS = (OURS, STILL, BYTES, "base64", "send_bytes", UNREAD, *IN_C)
GOALS = {
    (8 * MIB, "base64"): 10.0,
    (8 * MIB, "send_bytes"): 0.9,
    (8 * MIB, BLOCK): 0.9,
    (64 * KIB, "base64"): 2.0,
}
MEMORY_GOAL = 1.2
"""Peak memory of each end while it sends or reads, in payloads of 8 MiB."""
C_LOOP = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#define BLOCK 65536
int main(int count, char **arguments) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, arguments[2], sizeof at.sun_path - 1);
    long long left = atoll(arguments[3]);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t size = atoll(arguments[4]), done = 0; /* of what is sent from or read into, over and over */
    char *memory = calloc(1, size);
#define WHERE (memory + done % size)
#define ROOM (size - done % size < BLOCK ? size - done % size : BLOCK)
    if (*arguments[1] == 'r') {
        bind(s, (struct sockaddr *)&at, sizeof at);
        listen(s, 1);
        puts("ready");
        fflush(stdout);
        s = accept(s, 0, 0);
        for (ssize_t n; left > 0 && (n = recv(s, WHERE, ROOM, 0)) > 0; left -= n) done += n;
        return left || send(s, memory, 1, 0) != 1;
    }
    if (connect(s, (struct sockaddr *)&at, sizeof at)) return 1;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (ssize_t n; left > 0 && (n = send(s, WHERE, left < (long long)ROOM ? left : ROOM, 0)) > 0; left -= n) done += n;
    if (left || recv(s, memory, 1, 0) != 1) return 1;
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("{\"seconds\": %.9f}\n", b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9);
}
"""


class Frame(msgspec.Struct):
    at: float
    pixels: node_ipc.Bytes | np.ndarray


# ---- one end, in a process of its own


def summed(pixels: Any) -> int:
    return int((np.frombuffer(pixels, np.uint64) if isinstance(pixels, bytes) else pixels).sum())


def peak() -> int:
    """The most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * KIB


def told(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def options(way: str) -> dict[str, Any]:
    """The limits are raised for base64, whose messages are a third larger."""
    return {"attachments": "off" if way == "base64" else "auto", "max_message_size": 64 * MIB}


def read_ours(path: str, way: str, count: int) -> None:
    left, total, before = count, 0, 0
    with blocking.serve(path, **options(way)) as server:

        @server.on("frame")
        def frame(data: Frame, socket: Any) -> None:
            nonlocal left, total
            left -= 1
            if way != UNREAD:
                total += summed(data.pixels)
            if left == 0:
                socket.emit("done", total)

        @server.on("warm")
        def warm(data: Frame, socket: Any) -> None:
            nonlocal before
            before = peak()
            socket.emit("warm")

        print("ready", flush=True)
        while left:
            server.poll(None)
    told(peak=peak(), before=before)


def send_ours(path: str, way: str, count: int, size: int) -> None:
    pixels = np.arange(size // 8, dtype=np.uint64)
    pixels.setflags(write=way not in (STILL, UNREAD, BYTES))  # what may be changed is copied
    sent = memoryview(pixels).cast("B") if way == BYTES else pixels
    with blocking.connect(path, timeout=10, **options(way)) as client:
        client.emit("warm", {"at": 0.0, "pixels": bytes(16 * KIB)})  # the two ends agree
        client.receive("warm", timeout=10)
        before, began = peak(), time.perf_counter()
        for number in range(count):
            client.emit("frame", {"at": float(number), "pixels": sent})
        assert client.receive("done", timeout=120) in (0, summed(pixels) * count)
        told(seconds=time.perf_counter() - began, peak=peak(), before=before)


def read_send_bytes(path: str, way: str, count: int) -> None:
    with Listener(path, "AF_UNIX") as listener:
        print("ready", flush=True)
        with listener.accept() as link:
            total = sum(summed(link.recv_bytes()) for _ in range(count))
            link.send(total)
    told()


def send_send_bytes(path: str, way: str, count: int, size: int) -> None:
    pixels = np.arange(size // 8, dtype=np.uint64)
    with Client(path, "AF_UNIX") as link:
        began = time.perf_counter()
        for _ in range(count):
            link.send_bytes(memoryview(pixels).cast("B"))
        assert link.recv() == summed(pixels) * count
        told(seconds=time.perf_counter() - began)


READERS: dict[str, Callable[[str, str, int], None]] = {"send_bytes": read_send_bytes}
SENDERS: dict[str, Callable[[str, str, int, int], None]] = {"send_bytes": send_send_bytes}


# ---- a round


class Round:
    """Runs one way after the other, in this folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._runs = 0
        self._c = f"{folder}/loop"
        source = Path(f"{folder}/loop.c")
        source.write_text(C_LOOP)
        subprocess.run(["cc", "-O2", "-o", self._c, source], check=True)

    def run(self, way: str, size: int, count: int) -> dict[str, Any]:
        """What both ends told: the rate, in messages a second, and their memory."""
        self._runs += 1
        path = f"{self._folder}/{self._runs}"
        if way in IN_C:
            memory = size if way == WHOLE else 64 * KIB
            reads, sends = ([self._c, role, path, str(size * count), str(memory)] for role in "rs")
        else:
            own = [sys.executable, "-m", "benchmarks.attachments", "--end"]
            reads = [*own, "read", path, way, str(count), str(size)]
            sends = [*own, "send", path, way, str(count), str(size)]
        reader = subprocess.Popen(reads, stdout=subprocess.PIPE, text=True)
        try:
            assert reader.stdout is not None and reader.stdout.readline() == "ready\n", f"{way}: no reader"
            sent = subprocess.run(sends, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
            heard, _ = reader.communicate(timeout=60)
        finally:
            reader.kill()
            reader.wait()
        sender = json.loads(sent)
        return {"rate": count / sender["seconds"], "sender": sender, "reader": json.loads(heard or "{}")}


def measured(rounds: int, scale: float) -> dict[tuple[int, str], list[dict[str, Any]]]:
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    folder = tempfile.mkdtemp(prefix="attachments-")
    try:
        one = Round(folder)
        for number in range(rounds):
            for size, count in SIZES.items():
                for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                    messages = max(int(count * scale * SLOW.get(way, 1)), 5)
                    found.setdefault((size, way), []).append(one.run(way, size, messages))
                    print(".", end="", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    print(file=sys.stderr)
    return found


# ---- the table


def ratios(found: dict[tuple[int, str], list[dict[str, Any]]], size: int, way: str) -> list[float]:
    """How many times as fast attachments are; the C loops sum nothing, so neither does what it is compared with."""
    ours = found[size, UNREAD if way in IN_C else OURS]
    return sorted(one["rate"] / other["rate"] for one, other in zip(ours, found[size, way], strict=True))


def table(found: dict[tuple[int, str], list[dict[str, Any]]]) -> tuple[list[str], bool]:
    lines = ["| a message of | way | messages a second | MB a second | attachments are so many times as fast | goal |"]
    lines.append("|---|---|---|---|---|---|")
    met = True
    for size in SIZES:
        for way in WAYS:
            rate = median(each["rate"] for each in found[size, way])
            cells = [f"{size // KIB} KiB", way, f"{rate:,.0f}", f"{rate * size / 1e6:,.0f}", "", ""]
            if not way.startswith(OURS):
                each = ratios(found, size, way)
                cells[4] = f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"
                goal = GOALS.get((size, way))
                if goal is not None:
                    met = met and median(each) >= goal
                    cells[5] = f"{goal:g}, {'reached' if median(each) >= goal else 'missed'}"
            lines.append(f"| {' | '.join(cells)} |")
    size = max(SIZES)
    for end, way in (("sender", OURS), ("sender", STILL), ("reader", STILL), ("reader", BYTES)):
        grown = median((each[end]["peak"] - each[end]["before"]) / size for each in found[size, way])
        met = met and grown <= MEMORY_GOAL
        lines.append(f"\nPeak memory of the {end}, {way}: {grown:.2f} payloads more than before (goal: {MEMORY_GOAL})")
    return lines, met


def main() -> int:
    """Exit status 0 when every goal is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each way has its turn (7)")
    parser.add_argument("--scale", type=float, default=1.0, help="how many of the messages are sent (1)")
    arguments = parser.parse_args()
    lines, met = table(measured(arguments.rounds, arguments.scale))
    print("\n".join(lines))
    return 0 if met else 1


def end(role: str, path: str, way: str, count: str, size: str) -> int:
    """One end of a run."""
    if role == "read":
        READERS.get(way, read_ours)(path, way, int(count))
    else:
        SENDERS.get(way, send_ours)(path, way, int(count), int(size))
    return 0


if __name__ == "__main__":
    sys.exit(end(*sys.argv[2:]) if sys.argv[1:2] == ["--end"] else main())
