"""World listens with TLS on localhost, port 8011: clients know that it is world, and nobody reads what is said.

Run ``python make_certificates.py`` first, then this, then client.py; Ctrl-C ends it.
"""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "world"
ipc.config.network_port = 8011
ipc.config.retry = 1500
ipc.config.tls = {"private": CERTIFICATES / "server.key", "public": CERTIFICATES / "server.crt"}


def started():
    @ipc.server.on("message")
    def message(data, socket):
        ipc.log(style.debug("got a message :"), data)
        ipc.server.emit(socket, "message", f"{data} world!")

    @ipc.server.on("socket.disconnected")
    def gone(socket, destroyed_socket_id):
        ipc.log(style.notice("client"), destroyed_socket_id, style.notice("has disconnected"))

    ipc.log(style.good("world is ready"))


ipc.serve_net(started)


@ipc.server.on("error")
def failed(error):
    ipc.log(style.error("got an error :"), error)


ipc.server.start()
ipc.run()
