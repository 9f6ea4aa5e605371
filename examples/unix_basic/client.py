"""Hello says hello to world, shows the answer, and leaves."""

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.appspace = "unix_basic."
ipc.config.retry = 1000


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit("app.message", {"id": ipc.config.id, "message": "hello"})

    @world.on("app.message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data)
        ipc.disconnect("world")  # node-ipc's example stays; leave this out, and so does this one

    @world.on("disconnect")
    def disconnected():
        ipc.log(style.notice("disconnected from world"))


ipc.connect_to("world", connecting)
ipc.run()
