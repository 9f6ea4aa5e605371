"""Somebody in a room of the chat: `python client.py NAME ROOM [ID]`. Each line that you type is said; Ctrl-D leaves."""

import asyncio
import sys

import node_ipc


async def main(name, room, id="chat"):
    async with node_ipc.connect(id, wait=True) as chat:
        chat.on("said", lambda said: print(f"{said['name']}: {said['text']}", flush=True))
        chat.on("entered", lambda other: print(f"{other} is here", flush=True))
        chat.on("left", lambda other: print(f"{other} is gone", flush=True))
        chat.handle("name", lambda: name)
        chat.on("connect", lambda: chat.emit("enter", {"name": name, "room": room}))  # again after a lost link
        await chat.receive("welcome")
        print("here are:", ", ".join((await chat.request("who", room))["names"]), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            chat.emit("say", line.strip())


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    node_ipc.run(main(*sys.argv[1:]))
