# %% [markdown]
# A notebook's cells, one after the other. Inside a notebook an event loop runs already, so `await` works at the top
# level; run as a script, the cells are one coroutine.

# %%
import asyncio

import node_ipc


async def notebook():
    # %% a server, in this very process
    server = await node_ipc.serve("notebook")
    server.on("square", lambda number, socket: socket.emit("squared", number * number))

    # %% a client
    client = await node_ipc.connect("notebook")
    client.emit("square", 12)
    print("squared:", await client.receive("squared", timeout=5))

    # %% every event, as it comes
    for number in range(3):
        client.emit("square", number)
    seen = []
    async for event in client:
        seen.append(event.data)
        if len(seen) == 3:
            break
    print("seen:", seen)

    # %% what went over the link
    print("messages:", client.stats().messages_out, "out,", client.stats().messages_in, "in")

    # %% the end
    await client.close()
    await server.stop()


# %%
if __name__ == "__main__":
    asyncio.run(notebook())
