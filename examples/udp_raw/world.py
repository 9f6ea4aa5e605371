"""World speaks bytes: no events, no JSON; each datagram is one ``data`` event. Start this, then hello.py.

The encoding says how text becomes bytes. What arrives are bytes in any case, and bytes are sent as they are.
"""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.network_port = 8040
ipc.config.raw_buffer = True
ipc.config.encoding = "ascii"


def started():
    @ipc.server.on("data")
    def received(data, socket):
        ipc.log(style.debug("got"), len(data), "bytes from port", socket.port, ":", data.hex(" "))
        ipc.server.emit(socket, "goodbye")

    ipc.log(style.good("world is ready"))


ipc.serve_net("udp4", started)
ipc.server.start()
ipc.run()
