"""World waits until hello, goodbye and welcome have all spoken, and then tells everybody to leave.

Start this, then the three clients in any order; Ctrl-C ends it.
"""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.network_port = 8002
ipc.config.retry = 1500

missing = {"hello", "goodbye", "welcome"}


def started():
    @ipc.server.on("app.message")
    def message(data, socket):
        ipc.log(style.debug("got a message from"), style.data(data["id"]), ":", data["message"])
        missing.discard(data["id"])
        ipc.server.emit(socket, "app.message", {"id": ipc.config.id, "message": f"{data['message']} world!"})
        if not missing:
            ipc.log(style.notice("everybody has spoken, telling the clients to leave"))
            ipc.server.broadcast("kill.connection", {"id": ipc.config.id})

    ipc.log(style.good("world is ready"))


ipc.serve_net(started)
ipc.server.start()
ipc.run()
