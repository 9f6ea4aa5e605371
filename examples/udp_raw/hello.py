"""Hello sends bytes written in four ways, each after world's answer to the one before, and ends."""

import struct

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.network_port = 8040
ipc.config.raw_buffer = True
ipc.config.encoding = "hex"  # text is hexadecimal

world = {"address": "localhost", "port": ipc.config.network_port}
messages = [
    b"hello",  # bytes as they are
    [0x05, 0x6D, 0x5C],  # a list of byte values
    "056d5c",  # text in the encoding: the same three bytes
    struct.pack(">HI", 2, 0xFFEECC),  # an unsigned 16-bit and an unsigned 32-bit number, big-endian, as C has them
]


def started():
    @ipc.server.on("data")
    def received(data):
        ipc.log(style.debug("got a message from world :"), data)
        if messages:
            ipc.server.emit(world, messages.pop(0))
        else:
            ipc.server.stop()

    ipc.server.emit(world, messages.pop(0))


ipc.serve_net(ipc.config.network_port + 1, "udp4", started)
ipc.server.start()
ipc.run()
