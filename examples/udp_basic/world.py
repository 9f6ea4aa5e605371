"""World answers every datagram. Start this, then hello.py; Ctrl-C ends it.

In UDP there are no clients: whoever wants to hear something binds a port, and hello has one of its own.
"""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.network_port = 8020


def started():
    @ipc.server.on("message")
    def message(data, socket):
        ipc.log(style.debug("got a message from"), data["from"], ":", data["message"])
        ipc.server.emit(socket, "message", {"from": ipc.config.id, "message": f"{data['message']} world!"})

    ipc.log(style.good("world is ready"))


ipc.serve_net("udp4", started)
ipc.server.start()
ipc.run()
