"""Hello speaks to world, and leaves when world tells everybody to."""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "hello"
ipc.config.network_port = 8014
ipc.config.retry = 1500
ipc.config.tls = {
    "private": CERTIFICATES / "hello.key",
    "public": CERTIFICATES / "hello.crt",
    "trusted_connections": CERTIFICATES / "ca.crt",
}


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit("app.message", "hello")

    @world.on("app.message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data)

    @world.on("kill.connection")
    def leave():
        ipc.log(style.notice("world asked for the end of the connection"))
        ipc.disconnect("world")

    @world.on("disconnect")
    def disconnected():
        ipc.log(style.notice("disconnected from world"))


ipc.connect_to_net("world", connecting)
ipc.run()
