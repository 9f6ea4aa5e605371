"""Hello says hello to world from a port of its own, shows the answer, and ends. Start world.py first.

Nobody tells when a datagram is lost, or world is not there: then this one waits until Ctrl-C.
"""

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.network_port = 8020


def started():
    @ipc.server.on("message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data["message"])
        ipc.server.stop()  # node-ipc's example stays; leave this out, and so does this one

    world = {"address": "localhost", "port": ipc.config.network_port}  # any host name will do as the address
    ipc.server.emit(world, "message", {"from": ipc.config.id, "message": "hello"})


ipc.serve_net(ipc.config.network_port + 1, "udp4", started)  # world has the port itself
ipc.server.start()
ipc.run()
