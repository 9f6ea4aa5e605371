"""Twelve connections, one after the other: the answers show which of the server's processes took each."""

from datetime import UTC, datetime

from node_ipc import ipc, style

ipc.config.id = "hello"
ipc.config.appspace = "cluster."
ipc.config.retry = 1500

answers = []


def connecting(ipc):
    world = ipc.of.world

    @world.on("connect")
    def connected():
        world.emit("currentDate", {"message": datetime.now(UTC).isoformat()})

    @world.on("pid")
    def answered(pid):
        ipc.log(style.debug("got an answer from pid :"), pid)
        answers.append(pid)
        ipc.disconnect("world")

    @world.on("destroy")
    def again():
        if len(answers) < 12:
            ipc.connect_to("world", connecting)


ipc.connect_to("world", connecting)
ipc.run()
ipc.log(f"{len(answers)} connections were taken by {len(set(answers))} processes")
