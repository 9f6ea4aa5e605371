"""The peer of ``test_paused_end``: sends numbered events when told to, reads nothing, and is killed.

    python paused_peer.py connect|listen unix PATH | tcp PORT | tls PORT FOLDER

In ``FOLDER`` are ``ca.pem`` and ``server.pem``. Each line of standard input is an event's name, the first number and
how many.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys


def stream(role: str, kind: str, place: str, *rest: str) -> socket.socket:
    family, address = (socket.AF_UNIX, place) if kind == "unix" else (socket.AF_INET, ("127.0.0.1", int(place)))
    sock = socket.socket(family)
    if role == "connect":
        sock.connect(address)
    else:
        sock.bind(address)
        sock.listen()
        print("at", sock.getsockname() if kind == "unix" else sock.getsockname()[1])
        sock, _ = sock.accept()
    if kind != "tls":
        return sock
    if role == "connect":
        context = ssl.create_default_context(cafile=f"{rest[0]}/ca.pem")
        return context.wrap_socket(sock, server_hostname="localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{rest[0]}/server.pem")
    return context.wrap_socket(sock, server_side=True)


def main() -> None:
    sock = stream(*sys.argv[1:])
    print("open")
    for line in sys.stdin:
        name, first, count = line.split()
        frames = []
        for number in range(int(first), int(first) + int(count)):
            data = {"jsonrpc": "2.0", "id": number, "method": "work", "params": number}
            event = {"type": name, "data": data if name == "rpc.request" else number}
            frames.append(json.dumps(event).encode() + b"\f")
        sock.sendall(b"".join(frames))  # at once, or TCP would hold some back
        print("sent", first)


main()
