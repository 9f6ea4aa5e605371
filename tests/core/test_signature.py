"""What a handler takes, read off functions, methods, partials and objects."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Annotated, Any, Protocol, TypedDict, TypeVar, Union

import msgspec
import pytest

from node_ipc import Socket
from node_ipc.config.address import Udp
from node_ipc.config.config import Config
from node_ipc.core.datagram import DatagramServer
from node_ipc.core.signature import signature_of
from node_ipc.testing import pair


class Order:
    pass


def none() -> None: ...
def one(data: Any) -> None: ...
def two(data: int, socket: Any) -> None: ...
def defaults(data: str, socket: Any = None, more: int = 0) -> None: ...
def anything(*arguments: Any) -> None: ...
def one_and_more(data: list[int], *rest: Any) -> None: ...
def keywords(data: Any, *, quiet: bool = False, **more: Any) -> None: ...
def positional(data: float, /, socket: Any) -> None: ...
def unannotated(data, socket):  # type: ignore[no-untyped-def]
    ...
def text(data: "Order") -> None: ...  # noqa: UP037
async def waiting(data: Order, socket: Any) -> None: ...


@functools.wraps(two)
def wrapped(*arguments: Any, **options: Any) -> None: ...


@functools.wraps(waiting)
def around_async(*arguments: Any, **options: Any) -> Any:
    return waiting(*arguments, **options)


@functools.wraps(two)
def of_other_arity(message: Any) -> None:
    two(message, None)


class Holder:
    def stop(self, timeout: float | None = None) -> None: ...

    def method(self, data: int, socket: Any) -> None: ...
    def nothing(self) -> None: ...
    def anything(*arguments: Any) -> None: ...

    @classmethod
    def of_class(cls, data: int) -> None: ...
    @staticmethod
    def static(data: int) -> None: ...
    async def waiting(self, data: int) -> None: ...


class Called:
    def __call__(self, data: bytes, socket: Any = None) -> None: ...


class Making(type):
    """A class of classes whose calls make something."""

    def __call__(cls, data: int) -> Any:
        return super().__call__()


class Made(metaclass=Making):
    pass


class CalledAsync:
    async def __call__(self, data: bytes) -> None: ...


def called(case: Any) -> str:
    """How a case is called: never by an address, which is another one each time."""
    return str(getattr(case, "__name__", type(case).__name__ if callable(case) else case))


CASES: list[tuple[Any, int, int | None, bool, Any]] = [
    (none, 0, 0, False, None),
    (one, 1, 1, False, None),
    (two, 2, 2, False, int),
    (defaults, 1, 2, False, str),
    (anything, 0, None, False, None),
    (one_and_more, 1, None, False, list[int]),
    (keywords, 1, 1, False, None),
    (positional, 2, 2, False, float),
    (unannotated, 2, 2, False, None),
    (text, 1, 1, False, Order),
    (waiting, 2, 2, True, Order),
    (wrapped, 2, 2, False, int),
    (lambda: None, 0, 0, False, None),
    (lambda data, socket=None: None, 1, 2, False, None),
    (Holder().method, 2, 2, False, int),
    (Holder().nothing, 0, 0, False, None),
    (Holder().anything, 0, None, False, None),
    (Holder.of_class, 1, 1, False, int),
    (Holder.static, 1, 1, False, int),
    (Holder().waiting, 1, 1, True, int),
    (Called(), 1, 2, False, bytes),
    (CalledAsync(), 1, 1, True, bytes),
    (functools.partial(two, 1), 1, 1, False, None),
    (functools.partial(waiting), 2, 2, True, Order),
    (functools.partial(two, socket=None), 1, 1, False, int),
    (lambda data, i=5: None, 1, 1, False, None),
    (lambda data, name=5: None, 1, 1, False, None),
    (lambda data, id=5, socket=None: None, 1, 1, False, None),
    (lambda data, socket, i=5, request=None: None, 2, 2, False, None),
    (lambda data, _socket=None, i=5: None, 1, 2, False, None),
    (lambda i=5: None, 0, 1, False, None),
    (lambda timeout=5: None, 0, 0, False, None),
    (Holder().stop, 0, 0, False, None),
    (functools.partial(Holder().stop), 0, 0, False, None),
    (around_async, 2, 2, False, Order),
    (of_other_arity, 1, 1, False, int),
    ([].append, 1, 1, False, None),
    (print, 0, None, False, None),
    (dict, 0, None, False, None),  # a builtin that does not tell
    (Made, 1, 1, False, None),  # of a class, nothing that is annotated is about payloads
]


@pytest.mark.parametrize(("handler", "required", "accepts", "asynchronous", "payload"), CASES, ids=called)
def test_what_a_handler_takes(
    handler: Any, required: int, accepts: int | None, asynchronous: bool, payload: Any
) -> None:
    signature = signature_of(handler)
    assert (signature.required, signature.accepts) == (required, accepts)
    assert signature.asynchronous is asynchronous
    assert signature.payload_type(handler) is payload or signature.payload_type(handler) == payload


NAMED: list[tuple[Any, str | None, str | None]] = [
    (none, None, None),
    (one, None, None),
    (two, "socket", None),
    (defaults, "socket", None),
    (one_and_more, None, None),
    (lambda data, socket, *rest: None, "socket", None),
    (lambda params, socket, request: None, "socket", "request"),
    (lambda params, a, b: None, "a", "b"),
    (lambda params, socket=None, request=None: None, "socket", "request"),
    (lambda params, socket=None, times=3: None, "socket", None),
    (lambda data, times=3: None, None, None),
    (Holder().method, "socket", None),
    (Holder().stop, None, None),
]


@pytest.mark.parametrize("wrap", [lambda handler: handler, functools.partial], ids=["plain", "partial"])
@pytest.mark.parametrize(("handler", "second", "third"), NAMED, ids=called)
def test_which_parameters_get_the_socket_and_the_request(
    handler: Any, second: str | None, third: str | None, wrap: Any
) -> None:
    signature = signature_of(wrap(handler))
    assert (signature.second, signature.third) == (second, third)


BRINGS: list[tuple[Any, tuple[str, ...], bool | None]] = [
    (lambda socket: None, ("socket",), True),
    (lambda peer: None, ("socket",), True),
    (lambda _Socket: None, ("socket",), True),
    (lambda socket, id: None, ("socket", "id"), True),
    (lambda attempt: None, ("attempt",), True),
    (lambda attempt, more=None: None, ("attempt",), True),
    (lambda peer: None, ("attempt",), False),
    (lambda data: None, ("socket",), False),
    (lambda data: None, (), False),
    (lambda socket, id: None, ("socket",), False),
    (lambda error, socket: None, ("socket",), False),
    (lambda: None, ("socket",), None),
    (lambda: None, (), None),
    (lambda *arguments: None, ("socket",), None),
    (lambda _: None, ("socket",), None),
    (lambda err: None, ("socket",), None),
    (lambda Reason: None, ("error",), None),
    (lambda error: None, ("error",), None),
]


@pytest.mark.parametrize(("handler", "brings", "takes"), BRINGS)
def test_names_of_parameters_say_whether_a_handler_is_for_what_an_event_brings(
    handler: Any, brings: tuple[str, ...], takes: bool | None
) -> None:
    assert signature_of(handler).takes(brings) is takes


def test_metadata_of_annotations_is_kept() -> None:
    def handler(data: Annotated[int, "meta"]) -> None: ...

    handler.__annotations__["data"] = Annotated[int, "meta"]
    assert signature_of(handler).payload_type(handler) == Annotated[int, "meta"]


@pytest.mark.parametrize("annotation", [Any, object, "Any", "object"])
def test_annotations_that_say_nothing(annotation: Any) -> None:
    def handler(data): ...  # type: ignore[no-untyped-def]

    handler.__annotations__["data"] = annotation
    assert signature_of(handler).payload_type(handler) is None


def test_an_annotation_that_cannot_be_resolved_says_so() -> None:
    def handler(data: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        TypeError, match=r"'Nowhere' of the payload, .* cannot be resolved: .*'Nowhere' is not"
    ) as error:
        signature_of(handler).payload_type(handler)
    assert "on(event, type=...)" in str(error.value)


def test_only_the_payloads_annotation_counts() -> None:
    def handler(data: int, socket: Nowhere) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    assert signature_of(handler).payload_type(handler) is int


def test_an_annotation_may_name_what_is_around_the_function() -> None:
    class Local:
        pass

    def handler(data: Local) -> None:
        Local()

    assert signature_of(handler).payload_type(handler) is Local


@pytest.mark.parametrize("wrap", [lambda handler: handler, functools.partial], ids=["plain", "partial"])
def test_a_handler_that_wants_keywords_is_refused(wrap: Any) -> None:
    def handler(data: Any, *, flag: bool) -> None: ...

    def only(**options: Any) -> None: ...

    for refused in (handler, only):
        with pytest.raises(TypeError, match=f"{refused.__qualname__}.* wants arguments by keyword"):
            signature_of(wrap(refused))


@pytest.mark.parametrize("wrap", [lambda handler: handler, functools.partial], ids=["plain", "partial"])
def test_a_handler_may_take_keywords_besides(wrap: Any) -> None:
    def named(data: Any, **options: Any) -> None: ...
    def whatever(*arguments: Any, **options: Any) -> None: ...
    def bound(data: Any, *, flag: bool = False) -> None: ...

    assert [signature_of(wrap(each)).accepts for each in (named, whatever, bound)] == [1, None, 1]


class Range(msgspec.Struct):
    low: int


@dataclasses.dataclass
class Span:
    low: int


class Limits(TypedDict):
    low: int


class Sends(Protocol):
    def emit(self, type: str, data: Any) -> bool: ...


DATA = [
    int, str, bool, bytes, dict, list[int], dict[str, int], tuple[int, ...], int | None, Union[str, None], int | str,  # noqa: UP007
    Annotated[int, "a limit"], Annotated[int | None, "a limit"], Range, Span, Limits, "int", "Range | None",
]  # fmt: skip
SOCKETS = [Any, object, Socket, Socket | None, Socket | int, Sends, Hashable, TypeVar("T"), "Socket", "Unknown", None]


def with_second(kind: Any) -> Callable[..., Any]:
    def rng(a: int, b: Any) -> None: ...

    rng.__annotations__["b"] = kind
    return rng


def registrations() -> list[Callable[[Any], Any]]:
    client, server, _, driver = pair()
    port = DatagramServer(Udp("127.0.0.1", 0, "udp4"), driver, Config().settings())
    return [
        lambda handler: server.on("rng", handler),
        lambda handler: server.once("rng", handler),
        lambda handler: server.on("rng", handler, type=int),
        lambda handler: server.handle("rng", handler),
        lambda handler: client.handle("rng", handler),
        lambda handler: port.on("rng", handler),
    ]


@pytest.mark.parametrize("kind", DATA, ids=str)
def test_data_in_the_place_of_the_socket_is_refused(kind: Any) -> None:
    for register in registrations():
        with pytest.raises(TypeError, match=r"rng of 'rng' has b: .* second .* gets the socket: one message"):
            register(with_second(kind))


@pytest.mark.parametrize("kind", SOCKETS, ids=str)
def test_what_a_socket_may_be_is_taken(kind: Any) -> None:
    for register in registrations():
        assert callable(register(with_second(kind)))


def test_a_socket_in_the_first_place_is_named_with_its_annotation() -> None:
    def turned(socket: Socket, data: Any) -> None: ...

    for register in registrations():
        with pytest.raises(TypeError, match=r"turned of 'rng' has socket: Socket as its first parameter"):
            register(turned)


class Request:
    pass


def request_second(params: Any, request: Any) -> None: ...
def request_second_in_private(params: Any, _Req: Any) -> None: ...
def typed_request_second(params: Any, a: Request) -> None: ...
def socket_third(params: Any, a: Any, sock: Any) -> None: ...
def typed_socket_third(params: Any, a: Any, b: Socket) -> None: ...
def socket_third_as_text(params: Any, a: Any, b: "Socket") -> None: ...  # noqa: UP037
def data_third(params: Any, socket: Any, c: int) -> None: ...
def list_third(params: Any, socket: Any, request: list[int]) -> None: ...


@pytest.mark.parametrize("wrap", [lambda handler: handler, functools.partial], ids=["plain", "partial"])
@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (request_second, "has request as its second parameter, which gets the socket"),
        (request_second_in_private, "has _Req as its second parameter, which gets the socket"),
        (typed_request_second, "has a: Request as its second parameter, which gets the socket"),
        (socket_third, "has sock as its third parameter, which gets the request"),
        (typed_socket_third, "has b: Socket as its third parameter, which gets the request"),
        (socket_third_as_text, "has b: Socket as its third parameter, which gets the request"),
        (data_third, "has c: int as its third parameter, which gets the request"),
        (list_third, "has request: list[int] as its third parameter, which gets the request"),
    ],
)
def test_a_handler_of_requests_with_parameters_for_something_else_is_refused(
    handler: Callable[..., Any], told: str, wrap: Any
) -> None:
    with pytest.raises(TypeError) as refused:
        signature_of(wrap(handler)).refuse_wrong_request(wrap(handler), "add")
    assert str(refused.value) == (
        f"the handler {handler.__name__} of 'add' {told}: a handler of requests takes (params), (params, socket) or "
        "(params, socket, request), in this order"
    )


def request_as_socket(params: Any, request: Socket) -> None: ...
def socket_as_request(params: Any, a: Any, socket: Request) -> None: ...
def both_may_be(params: Any, a: Socket | None, b: Request | None) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [
        *(none, one, two, anything, request_as_socket, socket_as_request, both_may_be),
        *(lambda params, socket, request: None, lambda params, a, b: None, lambda params, socket, times=3: None),
    ],
)
def test_of_a_handler_of_requests_an_annotation_says_more_than_a_name(handler: Callable[..., Any]) -> None:
    client, _, _, _ = pair()
    assert client.handle("add", handler) is handler


class Turned:
    def __call__(self, params: Any, request: Any, socket: Any) -> None: ...


class ByRequestAlone:
    def __call__(self, params: Any, who: Any, socket: Any) -> None: ...


class InOrder:
    def __call__(self, params: Any, socket: Any, request: Any) -> None: ...


def test_objects_that_are_called_are_looked_at_as_functions_are() -> None:
    client, server, _, _ = pair()
    for end in (client, server):
        with pytest.raises(TypeError, match=r"has request as its second parameter, which gets the socket"):
            end.handle("turned", Turned())
        with pytest.raises(TypeError, match=r"has socket as its third parameter, which gets the request"):
            end.handle("turned", ByRequestAlone())
        assert end.handle("in order", InOrder())


def test_what_does_not_get_the_socket_may_be_anything() -> None:
    _, server, _, _ = pair()

    def bound(data: int, times: int = 3) -> None: ...
    def gone(socket: Any, destroyed_socket_id: int) -> None: ...
    def rest(data: int, *more: int) -> None: ...
    def needs(data: int, table: dict[str, int]) -> None: ...

    @functools.wraps(needs)
    def filled(*arguments: Any) -> None:
        needs(arguments[0], {})

    @functools.wraps(needs)
    def own_second(data: int, table: Any) -> None:
        needs(data, {})

    @functools.wraps(gone)
    def handed_on(*arguments: Any) -> None:
        gone(*arguments)

    for handler in (bound, rest, filled, functools.partial(needs, table={}), functools.partial(bound)):
        assert server.on("a", handler) is handler
    assert server.on("socket.disconnected", gone) is gone
    assert server.on("a", handed_on) is handed_on
    assert server.on("a", own_second) is own_second
    assert server.handle("a", bound) is bound
