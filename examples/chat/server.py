"""A chat in rooms, served by two processes. Start this, then `client.py Ada lobby` and `client.js Grace lobby`.

python server.py                      one machine: a hub joins the processes, and no broker is needed
python server.py nats://broker        any number of machines, each with this program (or redis://broker)
python server.py nats://broker two    a second server on the same machine, at another id
"""

import sys

from node_ipc import Config
from node_ipc.scale import workers

bus, address = (*sys.argv[1:], *[True, "chat"][len(sys.argv) - 1 :])[:2]


def setup(server):
    """Called in each process, before it takes connections."""

    @server.on("bus.gap")
    def gap(node, count):
        print(f"{count} messages of the server {node} were lost", flush=True)

    @server.on("enter")
    def enter(guest: dict, socket):
        socket.state["name"] = guest["name"]
        socket.join(guest["room"])
        server.to(guest["room"]).except_(socket).emit("entered", guest["name"])
        socket.emit("welcome", guest["room"])

    @server.on("say")
    def say(text: str, socket):
        server.to(*socket.rooms).emit("said", {"name": socket.state["name"], "text": text})

    @server.on("close")
    def left(socket):
        if socket.rooms:
            server.to(*socket.rooms).emit("left", socket.state["name"])

    @server.handle("who")
    async def who(room: str):
        found = await server.everywhere.sockets(room=room)
        names = [await server.everywhere.request("name", to=one.id, timeout=2) for one in found]
        return {"names": sorted(names), "missing": sorted(found.missing)}

    @server.on("start")
    def started():
        print("a process is ready", flush=True)


if __name__ == "__main__":
    workers.run(setup, address, count=2, config=Config(bus=bus))
