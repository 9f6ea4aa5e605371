"""Hello speaks to world over TLS, once it is sure that it is world: the authority it trusts says so."""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "hello"
ipc.config.network_port = 8011
ipc.config.retry = 1500
ipc.config.tls = {"trusted_connections": CERTIFICATES / "ca.crt"}


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit("message", "hello")

    @world.on("error")
    def failed(error):
        ipc.log(style.error("cannot connect :"), error)

    @world.on("message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data)
        ipc.disconnect("world")

    @world.on("disconnect")
    def disconnected():
        ipc.log(style.notice("disconnected from world"))


ipc.connect_to_net("world", connecting)
ipc.run()
