"""World speaks bytes over mutual TLS: no events, no JSON, and nobody in between who reads or changes them.

Run ``python make_certificates.py`` first, then this, then client.py; Ctrl-C ends it.
"""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "world"
ipc.config.network_port = 8013
ipc.config.retry = 1500
ipc.config.raw_buffer = True
ipc.config.tls = {
    "private": CERTIFICATES / "server.key",
    "public": CERTIFICATES / "server.crt",
    "trusted_connections": CERTIFICATES / "ca.crt",
}


def started():
    @ipc.server.on("data")
    def received(data, socket):
        ipc.log(style.debug("got"), len(data), "bytes :", data.hex(" "))
        ipc.server.emit(socket, bytes(reversed(data)))

    ipc.log(style.good("world is ready"))


ipc.serve_net(started)
ipc.server.start()
ipc.run()
