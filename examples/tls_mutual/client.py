"""Hello shows world a certificate of its own, and world answers by the name that is in it."""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "hello"
ipc.config.network_port = 8012
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
        world.emit("message", "nice to meet you,")

    @world.on("message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data)
        ipc.disconnect("world")

    @world.on("disconnect")
    def disconnected(loss):
        ipc.log(style.notice("disconnected from world :"), str(loss))


ipc.connect_to_net("world", connecting)
ipc.run()
