"""Hello sends text as bytes, and leaves when world has said goodbye."""

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.network_port = 8004
ipc.config.retry = 1500
ipc.config.raw_buffer = True
ipc.config.encoding = "ascii"


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit("hello")

    @world.on("data")
    def received(data):
        ipc.log(style.debug("got a message from world :"), data, data.decode("ascii"))
        if data.endswith(b"goodbye"):  # a stream: one read may bring what was sent in two
            ipc.disconnect("world")


ipc.connect_to_net("world", connecting)
ipc.run()
