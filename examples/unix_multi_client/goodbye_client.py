"""Goodbye speaks to world, and leaves when world tells everybody to."""

from node_ipc import ipc, style

ipc.config.id = "goodbye"
ipc.config.appspace = "unix_multi_client."
ipc.config.retry = 1500


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        world.emit("app.message", {"id": ipc.config.id, "message": "goodbye"})

    @world.on("app.message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data["message"])

    @world.on("kill.connection")
    def leave():
        ipc.log(style.notice("world asked for the end of the connection"))
        ipc.disconnect("world")

    @world.on("disconnect")
    def disconnected():
        ipc.log(style.notice("disconnected from world"))


ipc.connect_to("world", connecting)
ipc.run()
