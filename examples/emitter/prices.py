"""Emits to the clients of servers elsewhere, and is none itself: a cron job, a script, part of a web application.

    python prices.py nats://broker gold 3      or redis://broker, or unix:PATH of a hub

The servers are any that the same bus joins, as those of ../chat/server.py started with that broker.
"""

import sys

import node_ipc


async def main(bus, metal, price):
    async with node_ipc.scale.emitter(bus) as out:
        out.to(metal).emit("price", {"metal": metal, "price": float(price)})
        out.to("lobby").emit("said", {"name": "prices", "text": f"{metal} is at {price}"})
    print("the broker has it")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    node_ipc.run(main(*sys.argv[1:]))
