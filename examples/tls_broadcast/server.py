"""World waits until hello and goodbye have both spoken, and then tells everybody to leave.

It knows them by their certificates. Run ``python make_certificates.py`` first, then this, then the two clients in
any order; Ctrl-C ends it.
"""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "world"
ipc.config.network_port = 8014
ipc.config.retry = 1500
ipc.config.tls = {
    "private": CERTIFICATES / "server.key",
    "public": CERTIFICATES / "server.crt",
    "trusted_connections": CERTIFICATES / "ca.crt",
}

missing = {"hello", "goodbye"}


def name_of(socket):
    """The name in the client's certificate."""
    return next(value for part in socket.peer.certificate["subject"] for key, value in part if key == "commonName")


def started():
    @ipc.server.on("app.message")
    def message(data, socket):
        ipc.log(style.debug("got a message from"), style.data(name_of(socket)), ":", data)
        ipc.server.emit(socket, "app.message", f"{data} world!")
        missing.discard(name_of(socket))
        if not missing:
            ipc.log(style.notice("everybody has spoken, telling the clients to leave"))
            ipc.server.broadcast("kill.connection", {"id": ipc.config.id})

    ipc.log(style.good("world is ready"))


ipc.serve_net(started)
ipc.server.start()
ipc.run()
