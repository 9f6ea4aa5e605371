"""World listens on localhost, port 8001. Start this, then client.py; Ctrl-C ends it."""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.network_port = 8001
ipc.config.retry = 1500


def started():
    @ipc.server.on("message")
    def message(data, socket):
        ipc.log(style.debug("got a message :"), data)
        ipc.server.emit(socket, "message", f"{data} world!")

    @ipc.server.on("socket.disconnected")
    def gone(socket, destroyed_socket_id):
        ipc.log(style.notice("client"), destroyed_socket_id, style.notice("has disconnected"))

    ipc.log(style.good("world is ready"))


ipc.serve_net(started)


@ipc.server.on("error")
def failed(error):
    ipc.log(style.error("got an error :"), error)


ipc.server.start()
ipc.run()
