"""A shop that Python programs and Node programs order from; its contract is the files beside it.

The handlers are registered by a function, so that ``node-ipc contract shop:register`` finds them without a server:

    node-ipc contract shop:register --name shop --typescript shop.ts --asyncapi shop.asyncapi.json --html shop.html

``check.sh`` is what a continuous integration runs. Serve it with ``python examples/contract/shop.py``.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

import node_ipc
from node_ipc import Event, Server, Socket


class Line(Struct):
    """So many of one thing."""

    item: str
    count: Annotated[int, Meta(ge=1)] = 1


class Order(Struct):
    """What somebody wants to have."""

    lines: Annotated[list[Line], Meta(min_length=1)]
    delivery: Literal["post", "pickup"] = "post"


class Confirmed(Struct):
    """An order that will be carried out."""

    number: int
    price: float


PRICES = {"tea": 4.5, "cup": 9.0}
order = Event("order", Order)
confirmed = Event("confirmed", Confirmed)


def register(server: Server) -> None:
    """What the shop hears and answers."""
    numbers = iter(range(1, 1_000_000))

    @server.on(order)
    def take(data: Order, socket: Socket) -> None:
        """Order something; ``confirmed`` comes back."""
        total = sum(PRICES.get(line.item, 1.0) * line.count for line in data.lines)
        socket.emit(confirmed, Confirmed(next(numbers), total))

    @server.handle("price")
    def price(item: str) -> float | None:
        """What one of an item costs; null where there is none."""
        return PRICES.get(item)


async def main() -> None:
    async with node_ipc.serve("shop") as server:
        register(server)
        print("shop is ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        node_ipc.run(main())
