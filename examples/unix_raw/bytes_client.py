"""Hello sends bytes written in four ways, each after world's answer to the one before, and leaves."""

import struct

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.appspace = "unix_raw."
ipc.config.retry = 1500
ipc.config.raw_buffer = True
ipc.config.encoding = "hex"  # text is hexadecimal; node-ipc up to 12 also needs it at both ends to keep every byte

messages = [
    b"hello",  # bytes as they are
    [0x05, 0x6D, 0x5C],  # a list of byte values
    "056d5c",  # text in the encoding: the same three bytes
    struct.pack(">HI", 2, 0xFFEECC),  # an unsigned 16-bit and an unsigned 32-bit number, big-endian, as C has them
]


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))

    @world.on("data")
    def received(data):
        ipc.log(style.debug("got a message from world :"), data)
        if messages:
            world.emit(messages.pop(0))
        else:
            ipc.disconnect("world")


ipc.connect_to("world", connecting)
ipc.run()
