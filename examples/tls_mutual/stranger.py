"""Somebody without a certificate: world refuses, and both sides say why."""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "stranger"
ipc.config.network_port = 8012
ipc.config.stop_retrying = True
ipc.config.tls = {"trusted_connections": CERTIFICATES / "ca.crt"}


def connecting(ipc):
    world = ipc.of.world

    @world.on("message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data)

    @world.on("disconnect")
    def disconnected(loss):
        ipc.log(style.notice("disconnected from world :"), str(loss))

    world.emit("message", "let me in")


ipc.connect_to_net("world", connecting)
ipc.run()
