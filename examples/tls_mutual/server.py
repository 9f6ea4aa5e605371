"""World listens with TLS and lets in only who has a certificate of the authority; it sees who that is.

Run ``python make_certificates.py`` first, then this, then client.py; Ctrl-C ends it.
"""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "world"
ipc.config.network_port = 8012
ipc.config.retry = 1500
ipc.config.tls = {
    "private": CERTIFICATES / "server.key",
    "public": CERTIFICATES / "server.crt",
    "trusted_connections": CERTIFICATES / "ca.crt",
}


def name_of(socket):
    """The name in the client's certificate, which has been verified: no client can choose it."""
    return next(value for part in socket.peer.certificate["subject"] for key, value in part if key == "commonName")


def started():
    @ipc.server.on("message")
    def message(data, socket):
        ipc.log(style.debug("got a message from"), style.data(name_of(socket)), ":", data)
        ipc.server.emit(socket, "message", f"{data} {name_of(socket)}!")

    ipc.log(style.good("world is ready"))


ipc.serve_net(started)


@ipc.server.on("error")
def failed(error):
    ipc.log(style.error("refused :"), error)


ipc.server.start()
ipc.run()
