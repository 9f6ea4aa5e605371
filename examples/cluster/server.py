"""Four processes serve one socket, as with Node's cluster module. Start this, then client.py; Ctrl-C ends them all."""

import os

from node_ipc.scale import workers


def setup(server):
    """Called in each of the processes, before it takes connections."""

    @server.on("start")
    def started():
        print(f"pid {os.getpid()} is listening", flush=True)

    @server.on("currentDate")
    def current_date(data, socket):
        print(f"pid {os.getpid()} got: {data}", flush=True)
        socket.emit("pid", os.getpid())


if __name__ == "__main__":
    workers.run(setup, "world", count=4, appspace="cluster.")
