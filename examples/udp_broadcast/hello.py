"""Hello speaks to world, and leaves when world tells everybody to. Start world.py first."""

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.network_port = 8030


def started():
    @ipc.server.on("message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data["message"])

    @ipc.server.on("leave")
    def leave():
        ipc.log(style.notice("world tells everybody to leave"))
        ipc.server.stop()

    world = {"address": "localhost", "port": ipc.config.network_port}
    ipc.server.emit(world, "message", {"from": ipc.config.id, "message": "hello"})


ipc.serve_net(ipc.config.network_port + 1, "udp4", started)  # each has a port of its own
ipc.server.start()
ipc.run()
