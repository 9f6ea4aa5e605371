"""A server that is joined to others: what its node asks of it, and what it asks of its node."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from ..config.foreign import shown
from ..core.asking import Question
from ..core.events import event_name
from ..core.payload import typed_decoder
from ..core.requests import PROGRESS, RESPONSE, RequestMessage
from ..core.rooms import Audience
from ..core.seam import nothing
from ..core.server import ServerCore
from ..core.session import refuse_other_threads
from ..errors import (
    ConfigError,
    ConnectionLost,
    HandlerError,
    InvalidEvent,
    InvalidPayload,
    IPCError,
    NotConnected,
    ProtocolError,
    RemoteError,
    RequestTimeout,
)
from ..wire import json
from ..wire.parcel import Parcel
from .keeper import Keeper
from .messages import Ask
from .node import Local, Node, NodeLimits, NodeState

if TYPE_CHECKING:
    from ..config.config import Config
    from ..core.everywhere import Found
    from ..core.outcome import Outcome, Progress
    from ..core.seam import Driver
    from ..core.session import Session
    from .bus import Bus

__all__ = ["AskingNode", "Joined", "Wire", "join", "node_of"]

NULL = Raw(b"null")
FAILED = -32603
TOLD: dict[type[Exception], tuple[str, int]] = {
    RequestTimeout: ("timeout", FAILED),
    NotConnected: ("nobody", -32001),
    ConnectionLost: ("lost", FAILED),
    InvalidPayload: ("remote", -32602),
}


class Wire:
    """Frames of this configuration, as values of JSON in messages and back."""

    def __init__(self, settings: Config, codec: Any) -> None:
        self._codec = codec
        self._limit = settings.max_message_size
        self._is_json = settings.profile not in ("raw", "custom")
        self._delimiter = settings.delimiter_bytes
        name = "json " + repr(settings.delimiter) if self._is_json else settings.profile
        if settings.profile == "custom":
            parser = settings.parser
            name += f" {(parser if isinstance(parser, type) else type(parser)).__qualname__}"
        self.name = name[:200]
        """What has to be the same at all servers that share rooms."""

    def value(self, frame: bytes) -> Raw:
        """A frame as it goes over the bus."""
        if isinstance(frame, Parcel):  # what joins servers carries JSON
            frame = frame.inline()
        if self._is_json:
            return Raw(memoryview(frame)[: -len(self._delimiter)])
        return Raw(b'"' + base64.b64encode(frame) + b'"')

    def frame(self, value: Raw) -> bytes:
        """A frame that came over the bus, held to what a peer may send; a ``ProtocolError`` where it is not that."""
        if self._is_json:
            frame = bytes(value) + self._delimiter
        else:
            try:
                frame = base64.b64decode(msgspec.json.decode(value, type=str), validate=True)
            except ValueError as error:
                raise ProtocolError(f"a frame that is no Base64: {error}") from None
        if len(frame) > self._limit + len(self._delimiter):
            raise ProtocolError(f"a frame of {len(frame)} bytes, and max_message_size is {self._limit}")
        if not self._codec.raw:
            self._check(frame)
        return frame

    def _check(self, frame: bytes) -> None:
        splitter = self._codec.splitter()
        frames = splitter.split(frame)
        if splitter.fault is not None or len(frames) != 1 or splitter.rest:
            raise ProtocolError(f"what is not one frame: {splitter.fault or frame!r:.100}")
        try:
            event = self._codec.decode_raw(frames[0])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = self._salvaged(frames[0])
        self._codec.check_name(event.type)

    def _salvaged(self, frame: bytes) -> Any:
        """A second look, as at what a peer sends: with lone surrogates it is an event all the same."""
        try:
            event = self._codec.salvage(frame)
        except ProtocolError as error:
            raise ProtocolError(f"a frame that is no event: {error}") from None
        if isinstance(event, InvalidPayload):
            raise ProtocolError(f"a frame that is no event: {event}")
        return event


class AskingNode:
    """Another server that asks this one: what a handler gets as its socket."""

    claimed_id: Any = None
    is_open = True

    def __init__(
        self,
        name: str,
        driver: Driver,
        encode: Callable[[Any, str], Raw],
        done: Callable[..., None],
        told: Callable[[Raw], None],
    ) -> None:
        self.id = name
        """What it is called on the bus."""
        self.errors = 0
        self.state: dict[str, Any] = {}
        self._driver = driver
        self._encode = encode
        self._done = done
        self._told = told
        self.then: Callable[[], None] = nothing
        """What waits for the answer: the end of this server, where the handler itself began that."""

    def __repr__(self) -> str:
        return f"<Node {self.id}>"

    def emit(self, type: Any, data: Any = {}) -> bool:  # noqa: B006 - never changed
        """Give the answer, or, from any thread, how far it is; anything else cannot be sent there."""
        if type == PROGRESS:
            self._tell(self._encode(data["data"], type))
            return True
        if type != RESPONSE:
            raise InvalidEvent(f"{self!r} asked over the bus: only what the handler returns goes back")
        if "error" in data:
            error = data["error"]
            self._done(("remote", error["code"], error["message"]), self._encode(error.get("data"), type))
        else:
            self._done(None, self._encode(data["result"], type))
        return True

    def _tell(self, data: Raw) -> None:
        if self._driver.home and self._driver.thread() != self._driver.home:
            self._driver.call_from_thread(partial(self._told, data))
        else:
            self._told(data)

    def push(self) -> None: ...
    @property
    def incoming(self) -> AskingNode:
        """It is no link, and has no half that would count what runs."""
        return self

    def request_started(self) -> int:
        return 0

    def request_done(self, size: int) -> None: ...
    def answered(self) -> None:
        """The request whose handler ends this server has its answer, or will have none."""
        self.then()

    def cut(self, reason: IPCError) -> None:
        """There is no link to cut."""


class Joined:
    """One server and its node: the relay of the one, and the local end of the other."""

    member = True

    def __init__(self, server: ServerCore[Any], driver: Driver, settings: Config, bus: Bus) -> None:
        self._server = server
        self._driver = driver
        self._bus = bus
        self._settings = settings
        self._encode_json = json.encode_with(settings.enc_hook)
        self._wire = Wire(settings, server.codec)
        self.wire = self._wire.name
        self._begin()

    def _begin(self) -> None:
        self._node, self._keeper = node_of(self, self._driver, self._settings, self._bus)
        node, self.abort = self._node, self._keeper.abort
        self.name, self.joined, self.stats, self.nodes = node.name, node.joined, node.stats, node.nodes

    # ---- the server's relay

    def open(self) -> None:
        if self._node.state is NodeState.CLOSED:  # it is started anew
            self._begin()
        self._keeper.open()

    def close(self, seconds: float, closed: Callable[[], None]) -> None:
        asking = self._server.requests.answering_to()
        if isinstance(asking, AskingNode):
            asking.then = partial(self._keeper.close, seconds, closed)
        else:
            self._keeper.close(seconds, closed)

    @property
    def is_open(self) -> bool:
        return self._keeper.is_open

    def first(self, room: str) -> None:
        self._node.first(room)

    def last(self, room: str) -> None:
        self._node.last(room)

    def publish(self, audience: Audience, frame: bytes, event: str | None) -> None:
        self._node.publish(audience, self._wire.value(frame), event)

    def find(self, room: str | None, timeout: float) -> Outcome[Found]:
        refuse_other_threads(self._driver, "sockets")
        return self._node.find(room, timeout)

    def ask(
        self, to: str | None, method: Any, params: Any, timeout: float | None, type: Any, progress: Progress | None
    ) -> Outcome[Any]:
        refuse_other_threads(self._driver, "request")
        name = event_name(method, "a method's")
        decode = typed_decoder(type, name, self._settings.dec_hook)
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be callable, as progress(data), not {progress!r:.80}")
        hear = None if progress is None else partial(self._progressed, name, progress)
        return self._node.ask(to, name, self._encode(params, name), timeout, decode, hear)

    def _progressed(self, method: str, progress: Progress, data: Raw) -> None:
        """What hears how far a request is is the user's: it may raise anything, and that harms nobody else."""
        try:
            progress(_plain_values(data))
        except Exception as error:
            failure = HandlerError(f"progress of {method[:64]!r} failed: {shown(error)}", event=method)
            failure.__cause__ = error
            self.fault(failure)

    def _encode(self, data: Any, event: str) -> Raw:
        """A payload in bytes, as an emit makes them of it."""
        try:
            return Raw(self._encode_json(data))
        except (TypeError, ValueError, OverflowError, RecursionError) as refused:
            return Raw(json.encode_slowly(data, event, refused, self._encode_json))

    # ---- the node's local end

    def rooms(self) -> Iterable[str]:
        return self._server.rooms

    def count(self) -> int:
        return len(self._server.sockets)

    def deliver(self, audience: Audience, frame: Raw, event: str | None) -> None:
        self._server.deliver(audience, self._wire.frame(frame), event)

    def describe(self, room: str) -> list[tuple[int, str, Any, list[str]]]:
        sockets = self._server.rooms.get(room, []) if room else self._server.sockets
        return [(each.id, str(each.peer), _plain(each.claimed_id), sorted(each.rooms)) for each in sockets]

    def answer(
        self, ask: Ask, done: Callable[[tuple[str, int, str] | None, Raw], None], told: Callable[[Raw], None]
    ) -> Callable[[], None]:
        timeout = None if ask.timeout is None else min(max(ask.timeout, 0.0), 1e6)
        if not ask.socket:
            node = AskingNode(ask.node, self._driver, self._encode, done, told)
            id = str(ask.id).encode()
            message = RequestMessage(ask.method, Raw(id), ask.params, "2.0", timeout, ask.progress)
            self._server.requests.requested_by(node, message)
            return partial(self._server.requests.cancelled_by, node, id)
        socket = self._server.socket(ask.socket)
        if socket is None:
            done(("nobody", -32001, f"the socket {ask.socket} is gone"), NULL)
            return nothing
        return self._ask_socket(socket, ask, timeout, done, told)

    def _ask_socket(
        self,
        socket: Session,
        ask: Ask,
        timeout: float | None,
        done: Callable[..., None],
        told: Callable[[Raw], None],
    ) -> Callable[[], None]:
        def progressed(data: Any) -> None:
            told(self._encode(data, PROGRESS))

        progress = progressed if ask.progress else None
        try:
            question = Question(ask.method, ask.params, timeout, Raw, progress)
            outcome = self._server.request_from(socket, question)
        except IPCError as error:
            done(_told(error), NULL)
            return nothing

        def answered() -> None:
            if outcome.error is None:
                done(None, outcome.value)
            else:
                data = outcome.error.data if isinstance(outcome.error, RemoteError) else None
                done(_told(outcome.error), self._encode(data, RESPONSE))

        outcome.then(answered)
        return partial(_abandon, outcome)

    def tell(self, event: str, *arguments: Any) -> None:
        self._server.bus_event(event, *arguments)

    def fault(self, error: IPCError) -> None:
        self._server.session_fault(None, error, loud=True)  # or nothing tells why the other servers hear nothing

    def unread(self, method: str, error: Exception) -> None:
        self._server.tell_unread(method, None, error)


_plain_values = typed_decoder(None, PROGRESS)


def _abandon(outcome: Outcome[Any]) -> None:
    """Nobody waits for it any more: whoever was asked is told."""
    if outcome.abandon is not None:
        outcome.abandon()


def join(server: Any, driver: Driver, settings: Config) -> None:
    """Join a server, which is not started yet, to the others that its configuration names, if it names any."""
    if settings.bus is None:
        return
    if not isinstance(server, ServerCore):
        raise ConfigError("bus= joins servers with connections, and a UDP port has none: it has no rooms either")
    from .engines import bus_of

    server.join_bus(Joined(server, driver, settings, bus_of(settings.bus)))


def node_of(local: Local, driver: Driver, settings: Config, bus: Bus) -> tuple[Node, Keeper]:
    """A new node of the group that the configuration names, for ``local``; and who keeps its bus connected."""
    limits = NodeLimits(
        settings.max_bus_pending_messages,
        settings.max_bus_pending_bytes,
        settings.bus_policy == "raise",
        settings.bus_heartbeat / 1000,
    )
    group = settings.appspace if settings.bus_group is None else settings.bus_group
    node = Node(secrets.token_hex(6), time.time_ns() // 1_000_000, group, local, driver, limits, bus.name)
    return node, Keeper(bus, node, driver, local.fault)


def _told(error: Exception) -> tuple[str, int, str]:
    """Why a request of another node's failed, as it is told there."""
    if isinstance(error, RemoteError):
        return "remote", error.code, error.message
    kind, code = next((told for kind, told in TOLD.items() if isinstance(error, kind)), ("remote", FAILED))
    return kind, code, str(error)[:1000]


def _plain(value: Any) -> Any:
    """What a peer calls itself, where it is a text or a number."""
    return value if isinstance(value, (str, int, float)) else None
