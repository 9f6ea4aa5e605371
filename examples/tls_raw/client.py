"""Hello sends four bytes, and leaves when world has sent four back."""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "hello"
ipc.config.network_port = 8013
ipc.config.retry = 1500
ipc.config.raw_buffer = True
ipc.config.tls = {
    "private": CERTIFICATES / "hello.key",
    "public": CERTIFICATES / "hello.crt",
    "trusted_connections": CERTIFICATES / "ca.crt",
}


def connecting(ipc):
    world = ipc.of.world
    answer = bytearray()

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit(bytes([0xDE, 0xAD, 0xBE, 0xEF]))

    @world.on("data")
    def received(data):
        answer.extend(data)  # a stream: what was sent at once may come in pieces
        if len(answer) == 4:
            ipc.log(style.debug("got a message from world :"), answer.hex(" "))
            ipc.disconnect("world")


ipc.connect_to_net("world", connecting)
ipc.run()
