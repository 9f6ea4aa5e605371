"""World takes its time: each answer comes a fifth of a second later. Start this, then client.py; Ctrl-C ends it."""

import asyncio

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.appspace = "unix_sync."
ipc.config.retry = 1500

asked = 0


def started():
    @ipc.server.on("app.message")
    async def message(data, socket):
        global asked
        asked += 1
        ipc.log(style.debug("got"), data["message"], style.debug("and have"), asked, style.debug("to answer"))
        await asyncio.sleep(0.2)
        asked -= 1
        if socket.is_open:  # the client may have gone while this waited
            socket.emit("app.message", {"id": ipc.config.id, "message": f"{data['message']} world!"})

    ipc.log(style.good("world is ready"))


ipc.serve(started)
ipc.server.start()
ipc.run()
