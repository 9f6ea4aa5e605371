"""A cable between two networks whose packets a program carries: it may lose, delay, reorder, double and swallow them.

The kernel's own way (``tc netem``) is not in every kernel. This is a pair of TUN devices (tun(4)), and knows its seed.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time

from network.world import run, wait

TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADER = 0x1001
PACKET = 65536
LONGEST_WAIT = 0.2
"""Seconds that a packet may stand in line where the rate is small; a router forgets what would wait for longer."""


class Cable:
    """Two machines (``enter`` is what a command of theirs begins with), and what happens to packets between them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.enter: list[list[str]] = []
        self._tuns = [self._machine(number) for number in (0, 1)]
        self._due: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self._free = [0.0, 0.0]
        self.carried = self.lost = 0
        self.heal()
        threading.Thread(target=self._carry, daemon=True).start()

    def _machine(self, number: int) -> int:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        wait(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
        name = f"cable{number}"
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), TUN_WITHOUT_HEADER))
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        run("ip", "link", "set", name, "netns", str(holder.pid))
        run(*enter, "ip", "addr", "add", f"10.8.0.{number + 1}", "peer", f"10.8.0.{2 - number}", "dev", name)
        run(*enter, "ip", "link", "set", name, "up")
        run(*enter, "ip", "link", "set", "lo", "up")
        self.enter.append(enter)
        return tun

    def heal(self) -> None:
        """Everything arrives, at once and in order; what is late on its way still comes."""
        self.loss = self.twice = self.delay = self.jitter = 0.0
        self.rate = float("inf")
        self.largest = PACKET
        self.cut = (False, False)

    def _carry(self) -> None:
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select(self._tuns, [], [], wait)
            for tun in ready:
                self._take(self._tuns.index(tun), os.read(tun, PACKET))
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(self._due)
                os.write(self._tuns[to], packet)

    def _take(self, side: int, packet: bytes) -> None:
        now = time.monotonic()
        self._free[side] = begin = max(now, self._free[side])
        swallowed = self.cut[side] or len(packet) > self.largest or begin - now > LONGEST_WAIT
        if swallowed or self._random.random() < self.loss:
            self.lost += 1
            return
        self._free[side] += len(packet) / self.rate
        for _ in range(2 if self._random.random() < self.twice else 1):
            due = self._free[side] + self.delay + self._random.random() * self.jitter
            self._number += 1
            self.carried += 1
            heapq.heappush(self._due, (due, self._number, 1 - side, packet))
