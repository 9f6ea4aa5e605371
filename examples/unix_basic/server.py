"""World answers every message. Start this, then client.py; Ctrl-C ends it."""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.appspace = "unix_basic."
ipc.config.retry = 1500


def started():
    @ipc.server.on("app.message")
    def message(data, socket):
        ipc.log(style.debug("got a message from"), data["id"], ":", data["message"])
        ipc.server.emit(socket, "app.message", {"id": ipc.config.id, "message": f"{data['message']} world!"})

    @ipc.server.on("socket.disconnected")
    def gone(socket, destroyed_socket_id):
        ipc.log(style.notice("client"), destroyed_socket_id, style.notice("has disconnected"))

    ipc.log(style.good("world is ready"))


ipc.serve(started)
ipc.server.start()
ipc.run()
