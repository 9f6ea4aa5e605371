"""World takes its time, over TLS: each answer comes a fifth of a second later.

Run ``python make_certificates.py`` first, then this, then client.py; Ctrl-C ends it.
"""

import asyncio
from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "world"
ipc.config.network_port = 8015
ipc.config.retry = 1500
ipc.config.tls = {"private": CERTIFICATES / "server.key", "public": CERTIFICATES / "server.crt"}

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


ipc.serve_net(started)
ipc.server.start()
ipc.run()
