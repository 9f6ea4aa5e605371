"""World speaks bytes: no events, no JSON, no delimiter. Start this, then a client; Ctrl-C ends it.

The encoding says how text becomes bytes. What arrives are bytes in any case, and bytes are sent as they are.
"""

from node_ipc import ipc, style

ipc.config.id = "world"
ipc.config.appspace = "unix_raw."
ipc.config.retry = 1500
ipc.config.raw_buffer = True
ipc.config.encoding = "hex"


def started():
    @ipc.server.on("connect")
    def connected(socket):
        ipc.server.emit(socket, b"hello")

    @ipc.server.on("data")
    def received(data, socket):
        ipc.log(style.debug("got"), len(data), "bytes :", data.hex(" "))
        ipc.server.emit(socket, b"goodbye")

    ipc.log(style.good("world is ready"))


ipc.serve(started)
ipc.server.start()
ipc.run()
