"""World waits until hello, goodbye and welcome have all spoken, and then tells everybody to leave.

Start this, then the three others in any order; Ctrl-C ends it. A broadcast goes to whoever was heard within the last
25 seconds (``udp_peer_ttl``).
"""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.network_port = 8030

missing = {"hello", "goodbye", "welcome"}


def started():
    @ipc.server.on("message")
    def message(data, socket):
        ipc.log(style.debug("got a message from"), style.data(data["from"]), ":", data["message"])
        missing.discard(data["from"])
        ipc.server.emit(socket, "message", {"from": ipc.config.id, "message": f"{data['message']} world!"})
        if not missing:
            ipc.log(style.notice("everybody has spoken, telling them to leave"))
            ipc.server.broadcast("leave", {"from": ipc.config.id})

    ipc.log(style.good("world is ready"))


ipc.serve_net("udp4", started)
ipc.server.start()
ipc.run()
