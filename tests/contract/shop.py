"""A server with a type of every kind, as a function that registers handlers; what the tests give out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from node_ipc import Event, Server

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Circle(Struct, tag="circle"):
    radius: Annotated[float, Meta(gt=0, description="In metres.")]


class Square(Struct, tag="square", forbid_unknown_fields=True):
    side: Annotated[int, Meta(ge=1, le=100)]


class Point(NamedTuple):
    x: int
    y: int = 0


class Row(Struct, array_like=True, tag="row"):
    key: str
    value: int | None = None


@dataclasses.dataclass
class Place:
    street: Annotated[str, Meta(min_length=1, max_length=20)]
    number: int = 1


@attrs.define
class Money:
    amount: decimal.Decimal
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "EUR"


class Options(TypedDict, total=False):
    gift: bool
    note: str


class Tree(Struct):
    """A thing with things of its kind below it.

    However deep.
    """

    label: str
    below: list[Tree] = []


class Page(Struct, Generic[T]):
    items: list[T]
    next: int | None = None


class Order(Struct, rename="camel"):
    """What somebody wants to have."""

    item_name: str
    how_many: Annotated[int, Meta(ge=1)] = 1
    color: Color = Color.RED
    level: Level | None = None
    shape: Circle | Square | None = None
    place: Place | None = None
    price: Money | None = None
    options: Options | UnsetType = UNSET
    tags: Annotated[set[str], Meta(max_length=5)] = set()
    size: Literal["s", "m", 42] = "m"


class Times(Struct):
    at: dt.datetime
    utc: Annotated[dt.datetime, Meta(tz=True)]
    local: Annotated[dt.datetime, Meta(tz=False)]
    day: dt.date
    clock: dt.time
    lasts: dt.timedelta
    id: uuid.UUID


class Blobs(Struct, forbid_unknown_fields=True):
    data: bytes
    short: Annotated[bytes, Meta(min_length=1, max_length=4)]
    by_day: dict[dt.date, int]
    by_number: dict[int, bool]
    by_name: Annotated[dict[Annotated[str, Meta(min_length=2)], float], Meta(max_length=2)]
    pair: tuple[int, str]
    many: tuple[float, ...]
    anything: Any = None


class Terms(Struct):
    a: int
    b: int


order = Event("order", Order)
times = Event("times", Times)
done = Event("done", Page[Order])
moved = Event("moved", Point)


def register(server: Server) -> None:
    """What the server does."""

    @server.on(order)
    def on_order(data: Order, socket: Any) -> None:
        """Somebody wants something.

        More of it here.
        """
        socket.emit(done, Page([data]))

    @server.on("blobs")
    def on_blobs(data: Blobs) -> None: ...

    server.on(times, lambda data, socket: None)
    server.on("tree", lambda data: None, type=Tree)
    server.on("row", lambda data: None, type=Row)
    server.on("count", lambda data: None, type=Annotated[int, Meta(multiple_of=5)])
    server.on("ping", lambda: None)
    server.on('odd name/with ~ and "quotes"', lambda data: None, type=str | None)

    @server.handle("add")
    def add(params: Terms) -> int:
        """The sum of two numbers."""
        return params.a + params.b

    @server.handle("page")
    async def page(params: list[Point], socket: Any) -> Page[int]:
        return Page([point.x for point in params])

    server.handle("free", lambda params: params)


def decode(text: str | bytes, type: Any) -> Any:
    """As a handler of that type would get it; raises ``msgspec.ValidationError``."""
    return msgspec.json.decode(text, type=type)
