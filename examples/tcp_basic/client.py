"""Hello says hello over TCP, shows the answer, and leaves."""

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.network_port = 8001
ipc.config.retry = 1500


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit("message", "hello")

    @world.on("message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data)
        ipc.disconnect("world")

    @world.on("disconnect")
    def disconnected():
        ipc.log(style.notice("disconnected from world"))


ipc.connect_to_net("world", connecting)
ipc.run()
