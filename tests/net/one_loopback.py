"""A machine with one loopback address: a server and a client at "localhost" find each other there.

    python one_loopback.py inet|inet6

Takes a network and a file system view of its own from the kernel (``unshare``), leaves only this family's loopback
address up, and a hosts file that names both. Prints one line of JSON: where the server listened and the client went.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import tempfile
from pathlib import Path

from node_ipc import IPC

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x0002_0000, 0x1000_0000, 0x4000_0000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SIOCSIFADDR, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8913, 0x8914, 1
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def be_alone(family: str) -> None:
    call("unshare", CLONE_NEWNET | CLONE_NEWNS | (0 if os.geteuid() == 0 else CLONE_NEWUSER))
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.write(HOSTS)
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        call("mount", hosts.name.encode(), b"/etc/hosts", None, MS_BIND, None)
    if family == "inet":
        Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("1")
    with socket.socket() as any_socket:
        flags = struct.unpack("16sH", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH", b"lo", flags | IFF_UP))
        if family == "inet6":  # the address 0.0.0.0 takes away the one that is there
            nothing = struct.pack("16sH2s4s8s", b"lo", socket.AF_INET, b"", b"", b"")
            fcntl.ioctl(any_socket, SIOCSIFADDR, nothing)


def has(family: int, address: str) -> bool:
    with socket.socket(family) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
        return True


async def meet() -> dict[str, object]:
    server, client = IPC(), IPC()
    for end in (server, client):
        end.config.silent = True
        end.config.network_host = "localhost"
    server.serve_net(0)
    server.server.on("message", lambda data, socket: socket.emit("message", [data, socket.peer.host]))
    await asyncio.wait_for(server.server.start(), 60)
    client.connect_to_net("world", server.server.port)
    heard = asyncio.get_running_loop().create_future()
    client.of.world.on("message", heard.set_result)
    client.of.world.emit("message", "hello")
    answer, seen_from = await asyncio.wait_for(heard, 60)
    went_to = client.of.world.peer.host
    await asyncio.wait_for(client.stop(), 60)
    await asyncio.wait_for(server.stop(), 60)
    return {"answer": answer, "went_to": went_to, "seen_from": seen_from}


be_alone(sys.argv[1])
found = {"inet": has(socket.AF_INET, "127.0.0.1"), "inet6": has(socket.AF_INET6, "::1")}
print(json.dumps({**asyncio.run(meet()), "has": found}))
