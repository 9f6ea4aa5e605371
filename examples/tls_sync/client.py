"""Hello asks ten times at once, and sync makes each message wait for the answer to the one before it."""

from pathlib import Path

from node_ipc import ipc, style

CERTIFICATES = Path(__file__).parent.with_name("certificates")  # make_certificates.py makes them

ipc.config.id = "hello"
ipc.config.network_port = 8015
ipc.config.retry = 1000
ipc.config.sync = True
ipc.config.tls = {"trusted_connections": CERTIFICATES / "ca.crt"}

QUESTIONS = 10


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        ipc.log(style.rainbow("## connected to world ##"))
        for number in range(QUESTIONS):
            world.emit("app.message", {"id": ipc.config.id, "message": f"hello{number}"})

    @world.on("app.message")
    def message(data):
        ipc.log(style.debug("got a message from world :"), data["message"])
        if data["message"] == f"hello{QUESTIONS - 1} world!":
            ipc.disconnect("world")

    @world.on("disconnect")
    def disconnected():
        ipc.log(style.notice("disconnected from world"))


ipc.connect_to_net("world", connecting)
ipc.run()
