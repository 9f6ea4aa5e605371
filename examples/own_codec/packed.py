"""Events in MessagePack instead of JSON: a codec of one's own, at both ends. It ends by itself.

Bytes stay bytes on this wire, and no delimiter is needed: each message stands behind its length. Both ends are in this
one program to keep it short; they could be two, as long as both have the codec.
"""

import asyncio

import msgspec

import node_ipc


class Packed:
    def encode(self, type, data):
        body = msgspec.msgpack.encode((type, data))
        return len(body).to_bytes(4, "big") + body

    def decode(self, data):
        """The whole messages at the beginning of ``data``, and how many bytes they took."""
        messages, taken = [], 0
        while len(data) >= taken + 4:
            end = taken + 4 + int.from_bytes(data[taken : taken + 4], "big")
            if end > len(data):
                break
            messages.append(msgspec.msgpack.decode(data[taken + 4 : end]))
            taken = end
        return messages, taken


async def main():
    async with node_ipc.serve("packed", parser=Packed()) as server:

        @server.on("image")
        def image(data, socket):
            socket.emit("mirrored", {"name": data["name"], "pixels": data["pixels"][::-1]})

        async with node_ipc.connect("packed", parser=Packed()) as client:
            client.emit("image", {"name": "dot", "pixels": b"\x00\x7f\xff"})
            print("mirrored:", await client.receive("mirrored", timeout=5))


asyncio.run(main())
