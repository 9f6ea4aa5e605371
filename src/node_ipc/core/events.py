"""Who hears what: ``on``, ``once``, ``off``, and the one loop that calls a handler for each message.

Two registries: events from the wire, and the lifecycle (``connect``, ``error`` …), so no peer can raise a local
event. For the wire a table ``name → callable`` is kept compiled: ``on`` and ``off`` rebuild the entry of their
name, and a message costs one look-up and one call. The entry is the handler itself where it is single, plain and
takes what the event carries; otherwise a closure that does what is more (``*`` handlers first, several handlers,
``once``, fewer arguments, a type, a coroutine).

Payloads: while every handler takes whatever comes, messages are decoded whole (``wants_raw`` is false). From the
first handler with a type on, payloads stay ``Raw`` and each handler decodes its own, once. The switch is never
turned back, and both kinds of entry take both kinds of payload, so it may happen in the middle of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import CoroutineType, NoneType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import UNSET, Raw

from ..config import twin
from ..config.foreign import PASSING, Foreign, caused, shown
from ..errors import HandlerError, InvalidEvent, InvalidPayload, IPCError, ProtocolError, ReservedEvent
from ..wire.carried import Carried, NothingCarried
from ..wire.names import ATTACHMENTS, LIFECYCLE, PING, PONG, NameCheck, Named
from .mistakes import Mistakes
from .newest import Keep, checked
from .payload import DecodeHook, Payload, decode_any, is_payload_type, made_decoder, typed_decoder
from .registrations import EVERYTHING, NONE, Registration, Registrations
from .signature import Signature, signature_of

if TYPE_CHECKING:
    import typing_extensions
    from typing_extensions import TypeForm

    from .seam import Cancellable
    from .watch import Handling, Watches

    R = typing_extensions.TypeVar("R", default=Any)  # what is decoded where a verb takes type=; without it Any

__all__ = [
    "Event",
    "Events",
    "Sender",
    "called_too_soon",
    "describe",
    "event_name",
    "is_decorator",
    "no_handler",
    "while_connected",
]

T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
S = TypeVar("S", bound="Sender")

SHORTCUTS = 256
"""How many names that a blocking client receives have a shortcut; the latest."""

HANDLERS_GET = {1: "A handler of a client gets (data)", 2: "A handler gets (data) or (data, socket)"}
"""By how many arguments an event brings."""
LIFECYCLE_BRINGS: dict[int, dict[str, tuple[str, ...]]] = {
    1: {"connect": (), "disconnect": ("loss",), "destroy": ()},
    2: {"start": ("server",), "connect": ("socket",), "socket.disconnected": ("socket", "id"), "close": ("socket",)},
}
"""The same for what happens here: the most that each handler gets. An error and raw data bring more on some ways."""
WATCHED_BY_REQUESTS = frozenset({"rpc.request", "rpc.response", "rpc.cancel", "rpc.progress"})
"""What carries requests is no event of the user's: who watches hears of the requests."""


class Event(Named, Generic[T]):
    """An event's name and its payload's type in one object.

    ``order = Event("order", Order)`` serves ``on``, ``emit``, ``receive`` and ``request`` alike, and a type
    checker then knows what each of them takes and gives. Any type will do that an annotation may have:
    ``Event("side", Literal["buy", "sell"])``, ``Event("found", Order | None)``.

    Attributes:
        name: The event's name on the wire.
        type: The payload's type, as in an annotation.
        keep: ``"latest"``: wherever it is emitted, also to rooms and in broadcasts, that is ``emit(…, keep="latest")``:
            for frames, positions and prices. None: as each ``emit`` says.

    Example:
        >>> numbers = node_ipc.Event("numbers", list[int])
        >>> @server.on(numbers)
        ... def heard(data, socket):
        ...     print(sum(data))
        >>> client.emit(numbers, [1, 2, 3])
        True
        >>> driver.run_until_idle()
        6
    """

    __slots__ = ("keep", "name", "type")

    def __init__(self, name: str, type: TypeForm[T], *, keep: Keep = None) -> None:
        if not isinstance(name, str):
            raise InvalidEvent(f"an event's name must be text, not {name.__class__.__name__}: {name!r:.80}")
        self.name = name
        self.type: Any = NoneType if type is None else type  # as in annotations; the verbs take None for "anything"
        self.keep: Keep = checked(keep, "Event")

    def __repr__(self) -> str:
        of = self.type.__qualname__ if isinstance(self.type, type) else repr(self.type)
        keep = "" if self.keep is None else f", keep={self.keep!r}"
        return f"Event({self.name!r}, {of}{keep})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.name)

    def _parts(self) -> tuple[Any, ...]:
        return self.name, self.type, self.keep


_WHILE_CONNECTED = "_node_ipc_while_connected"


def while_connected(handler: H) -> H:
    """A decorator for async handlers of events: cancelled when the link that the event came over is lost::

        @server.on("subscribe")
        @node_ipc.while_connected
        async def subscribe(data, socket):
            while True:
                socket.emit("tick")
                await asyncio.sleep(1)

    Without it a handler runs to its end whatever becomes of the link (``socket.is_open`` tells). Handlers of requests
    need no decorator: nobody waits for their answer any more, so they are always cancelled. With UDP there are no
    links, and it changes nothing.

    Example:
        >>> @node_ipc.while_connected
        ... async def tick(data, socket):
        ...     while True:
        ...         socket.emit("tick")
        ...         await asyncio.sleep(1)
        >>> server.on("subscribe", tick) is tick
        True
    """
    setattr(handler, _WHILE_CONNECTED, True)
    return handler


class Sender(Protocol):
    """Whom a message came from, as far as who calls its handlers asks: a session, or an address of UDP."""

    def beat(self, asked: bool, data: Any) -> None:
        """It asks whether we are there, or says that it is."""

    def attachments_agreed(self, data: Any) -> None:
        """It takes bytes beside the JSON."""

    def decode_rest_anew(self) -> None:
        """Payloads stay in bytes from now on: also those behind the message at hand."""

    def handler_started(self) -> int:
        """An async handler of its message starts; returns what ``handler_done`` wants back."""

    def handler_done(self, size: int) -> None: ...
    def cancel_when_lost(self, task: Cancellable) -> None:
        """Cancel this handler when the link is lost."""

    def keep_when_lost(self, task: Cancellable) -> None:
        """It has ended by itself."""


class Events(Generic[S]):
    """The handlers of one endpoint.

    ``carries`` is how many arguments an event from the wire brings: 2 on a server (data, socket), 1 on a client.
    ``check_name`` is the profile's check of names, asked at registration and for names that nobody registered.
    ``failed`` hears what a handler raised. Of the lifecycle's names this endpoint ``raises`` some itself, and under
    those ``from_peers`` handlers hear what a peer emits.
    """

    __slots__ = ("__dict__", "_carries", "_table", "_watches", "current", "wants_raw")
    """What the native twin reads; an endpoint has one of these, so the rest need no slots."""

    def __init__(
        self,
        carries: int,
        check_name: NameCheck,
        failed: Callable[[S | None, IPCError], None],
        spawn: Callable[[Any, Callable[[BaseException | None], None], Callable[[Any], None]], Any] | None,
        raises: frozenset[str] = LIFECYCLE,
        from_peers: frozenset[str] = frozenset(),
        gives_raw: bool = False,
        dec_hook: DecodeHook | None = None,
    ) -> None:
        self._carries = carries
        self._check_name = check_name
        self._failed = failed
        self._spawn = spawn
        self._raises = raises
        self._local = LIFECYCLE - (from_peers - raises)  # what cannot come over the wire only
        self._from_peers = from_peers
        self._kept_local: frozenset[str] = frozenset()
        # Only where a peer may use some of these names and not others is there anything to count.
        self._check_unheard = check_name if from_peers in (frozenset(), LIFECYCLE) else self._check_and_count
        self._dec_hook = dec_hook
        self._gives_raw = gives_raw  # whether the codec leaves payloads undecoded where asked to
        self._wire: dict[str, Registrations] = {}
        self._lifecycle: dict[str, Registrations] = {}
        self._everything = Registrations()
        self._taps: list[Callable[..., Any]] = []
        self._table: dict[str, Callable[..., Any]] = {}
        self._shortcuts: dict[str, None] = {}
        self._hidden: dict[str, Callable[..., Any]] = {}
        self.current: S | None = None
        """Whose event is being handled now."""
        self.unheard: Callable[[str, Any, S], None] | None = None
        """Told of events from the wire that no handler has."""
        self.takes_all = False
        """What no handler has is kept for those who receive it: none of it is unheard."""
        self.ignored = 0
        """Events of peers that nobody heard."""
        self.missed: Callable[[str], None] | None = None
        """Told that the first handler came of what ``publish_state`` found none for."""
        self._unheard_states: set[str] = set()
        self.mistakes = Mistakes(
            self._wire,
            self._lifecycle,
            self._everything,
            raises,
            from_peers,
            LIFECYCLE_BRINGS[carries],
            self._unheard_states,
            self.is_local,
        )
        """Asked wherever a mistake of the program would show; whom it tells is set there."""
        self.wants_raw = False
        self._watches: Watches | None = None  # while somebody watches
        self._at_hand: Carried = NothingCarried
        self._handling: Handling | None = None
        self.reserved = 0
        """Events of peers under a name that handlers hear of this endpoint itself only."""

    # ---- registering

    def keep_local(self, names: frozenset[str]) -> None:
        """Handlers of these names hear of this endpoint itself, and of nothing that a peer emits."""
        self._local |= names
        self._kept_local = names

    def on(self, event: str | Event[Any], handler: Any = UNSET, *, type: Any = None, once: bool = False) -> Any:
        """Register ``handler``, or return a decorator that does."""
        if is_decorator("once" if once else "on", event, handler):
            event_name(event)
            return partial(self._add, event, type, once)
        return self._add(event, type, once, handler)

    def once(self, event: str | Event[Any], handler: Any = UNSET, *, type: Any = None) -> Any:
        """Register a handler for the next event of this name only."""
        return self.on(event, handler, type=type, once=True)

    def off(self, event: str | Event[Any], handler: Any = EVERYTHING) -> None:
        """Remove one handler of an event, all of them (``"*"``), or with ``off("*", "*")`` all of all."""
        name = event_name(event)
        if not callable(handler) and handler != EVERYTHING:
            raise TypeError(f"off({name!r:.80}, …) takes the handler that on() was given, or none, not {handler!r:.80}")
        if name == EVERYTHING and handler == EVERYTHING:
            for registrations in (*self._wire.values(), *self._lifecycle.values(), self._everything):
                registrations.retire(EVERYTHING)
        else:
            registries = self._registered(name)
            removed = [registrations.retire(handler) for registrations in registries]
            if not any(removed):
                self.mistakes.look_at_removal(name, handler, registries)
        self._compile(None if name == EVERYTHING else name)

    def _registered(self, name: str) -> list[Registrations]:
        if name == EVERYTHING:
            return [self._everything]
        return [registry[name] for registry in (self._wire, self._lifecycle) if name in registry]

    def tap(self, hear: Callable[..., Any], *, ours: bool = False) -> Callable[[], None]:
        """Call ``hear(type, data, …)`` for every event from the wire, before its handlers; returns the undoing."""
        if not ours:  # what the library itself listens with raises nothing
            hear = Foreign("a tap", hear)
        self._taps.append(hear)
        if len(self._taps) == 1:
            self._compile(None)

        def untap() -> None:
            if hear in self._taps:
                self._taps.remove(hear)
                if not self._taps:
                    self._compile(None)

        return untap

    def watch(self, watches: Watches | None) -> None:
        """Tell these of every message and of how its handlers end, from now on; None tells nobody.

        The codec of whatever is delivered has to be a carrying one then.
        """
        self._watches = watches
        self._at_hand = NothingCarried
        self._compile(None)

    @property
    def at_hand(self) -> Carried:
        """The message that is being delivered, while somebody watches."""
        return self._at_hand

    def shortcut(self, event: str, call: Callable[[Any], Any]) -> None:
        """Give events of this name, which has no handler, straight to ``call(data)`` until handlers or taps change."""
        if event not in self._table and not (self._everything or self._taps or self._watches):
            self._check_name(event)
            self._table[event] = call
            self._shortcuts[event] = None
            if len(self._shortcuts) > SHORTCUTS:
                oldest = next(iter(self._shortcuts))
                del self._shortcuts[oldest]
                if oldest not in self._wire and oldest not in self._hidden:
                    self._table.pop(oldest, None)

    def answer_heartbeats(self) -> None:
        """Take the peer's heartbeats, and what ends agree on, out of the events: no handler, ``*`` or tap hears of it.

        A handler registered for such a name gets it all the same, and answers for itself.
        """
        hidden: dict[str, Callable[..., Any]] = {PING: partial(self._beat, True), PONG: partial(self._beat, False)}
        for name, call in (hidden | {ATTACHMENTS: self._agreed}).items():
            try:
                self._check_name(name)
            except ProtocolError:  # to this profile it is a name like any other that is not allowed
                continue
            self._table[name] = self._hidden[name] = call

    def _agreed(self, data: Any = None, *_: Any) -> None:
        if self.current is not None:
            self.current.attachments_agreed(data)

    def _beat(self, asked: bool, data: Any = None, *_: Any) -> None:
        if self.current is not None:
            self.current.beat(asked, data)

    def has_handler(self, event: str) -> bool:
        """Whether an event of this name from the wire has a handler of its own."""
        return event in self._wire

    def decoder(self, type: Any, name: str) -> Callable[[Any], Any]:
        """What turns payloads into ``type``; as :func:`typed_decoder`."""
        decode = typed_decoder(type, name, self._dec_hook, self.mistakes.find_text)
        return self.mistakes.looking(decode, type, name)

    def is_local(self, event: str) -> bool:
        """Whether handlers of this name hear of this endpoint itself, and of nothing that a peer emits."""
        return event in self._kept_local or (event in LIFECYCLE and event not in self._from_peers)

    def handlers(self, event: str) -> list[Callable[..., Any]]:
        """What is registered for this name, in order."""
        if event == EVERYTHING:
            return [registration.handler for registration in self._everything]
        found = (*self._wire.get(event, ()), *self._lifecycle.get(event, ()))
        return [registration.handler for registration in found]

    def payload_types(self) -> dict[str, list[Any]]:
        """By name, the payload type of each handler of an event from the wire; None takes whatever comes."""
        return {name: [each.type for each in registrations] for name, registrations in self._wire.items()}

    def _add(self, event: str | Event[Any], type: Any, once: bool, handler: H) -> H:
        name = event_name(event)
        if not callable(handler):
            raise TypeError(f"a handler of {name!r} must be callable, not {handler!r:.80}{called_too_soon(handler)}")
        if is_payload_type(handler):
            raise TypeError(no_handler("on", name, handler))
        if isinstance(event, Event) and type is None:
            type = event.type
        signature = signature_of(handler)
        self._refuse_coroutine(name, signature)
        signature.refuse_generator(handler, name, "emit each value instead of yielding it")
        if name == "data" and self._carries > 1:  # also that of raw mode brings the socket second
            signature.refuse_wrong_order(handler, name)
        if name in self._local and name not in self._from_peers:
            self._refuse_too_many(name, handler, signature.required, LIFECYCLE_BRINGS[self._carries].get(name))
        self.mistakes.look_at_name(name, type, signature)
        registration = Registration(handler, once, self._adapted(name, handler, signature, None))
        if name == EVERYTHING:
            registration.required = signature.required
            self._everything.add(registration)
            if len(self._everything) == 1:  # with more of them nothing changes
                self._compile(None)
            return handler
        if name in self._local:
            self._lifecycle.setdefault(name, Registrations()).add(registration)
            if name in self._unheard_states and self.missed is not None:
                self.missed(name)
        if (name not in LIFECYCLE and name not in self._kept_local) or name in self._from_peers:
            twin = self._add_wire(name, handler, signature, type, once)
            if name in self._local:
                registration.twin, twin.twin = twin, registration
        return handler

    def _add_wire(self, name: str, handler: Any, signature: Signature, type: Any, once: bool) -> Registration:
        self._check_name(name)
        brings = ("data", "socket")[: self._carries]
        self._refuse_too_many(name, handler, signature.required, brings)
        if name not in LIFECYCLE:  # those bring something else
            signature.refuse_wrong_order(handler, name)
        if type is None and name not in self._local:  # where both come, the annotation is of what this side raises
            type = signature.payload_type(handler)
        call = self._adapted(name, handler, signature, self._carries)
        if type is not None:
            call = self._typed(call, type, name)
            self._want_raw()
        registration = Registration(handler, once, call, type)
        if self.mistakes.look_at_handler(name, registration, self.takes_all):
            registration.call = partial(self._call_first, registration, call, name)
        self._wire.setdefault(name, Registrations()).add(registration)
        self._compile(name)
        return registration

    def _call_first(
        self, registration: Registration, call: Callable[..., Any], name: str, data: Any, *rest: Any
    ) -> Any:
        """The first payloads are looked at, and no others: each look would cost."""
        if not self.mistakes.look_at_payload(name, registration.type, data):
            registration.call = call
            if registration.live:
                self._compile(name)
        return call(data, *rest)

    @staticmethod
    def _refuse_too_many(name: str, handler: Any, required: int, brings: tuple[str, ...] | None) -> None:
        if brings is not None and required > len(brings):
            raise TypeError(
                f"the handler {describe(handler)} of {name!r} requires {required} arguments, "
                f"and the event brings {len(brings)}: ({', '.join(brings)})"
            )

    def _want_raw(self) -> None:
        """Payloads stay in bytes from now on, also those of the block that is being delivered."""
        if not self.wants_raw:
            self.wants_raw = True
            self._compile(None)
            if self.current is not None:
                self.current.decode_rest_anew()

    def _typed(self, call: Callable[..., Any], type: Any, name: str) -> Callable[..., Any]:
        """Decode the payload by the handler's own type, straight from its bytes."""
        if type is Raw and self._gives_raw:
            return call
        decode = typed_decoder(type, name, self._dec_hook, self.mistakes.find_text)
        # for the native twin: what this refuses is decoded again, in the way that finds the words
        quick = made_decoder(type, None) if self._dec_hook is None and type is not Raw else None
        return self._converting(call, decode, quick)

    def _converting(
        self, call: Callable[..., Any], decode: Callable[[Any], Any], quick: Callable[[Any], Any] | None
    ) -> Callable[..., Any]:
        if twin.native is not None:
            converting: Callable[..., Any] = twin.native.Converting(call, decode, quick)
            return converting
        # as many arguments as come and no star: that would cost as much again as the call
        if self._carries == 2:
            return lambda data, socket: call(decode(data), socket)
        return lambda data: call(decode(data))

    def _refuse_coroutine(self, name: str, signature: Signature) -> None:
        if signature.asynchronous and self._spawn is None:
            raise TypeError(
                f"the handler of {name!r} is an async function, and this front has no event loop to run it: "
                "use a plain function here, or the asyncio front"
            )

    def _adapted(self, name: str, handler: Any, signature: Signature, carries: int | None) -> Callable[..., Any]:
        """The handler, taking as many arguments as come, and started as a task where it is async."""
        call: Callable[..., Any] = handler
        if signature.accepts is not None and (carries is None or signature.accepts < carries):
            call = _taking(handler, signature.accepts)
        if signature.asynchronous:
            call = self._starting(name, call, getattr(handler, _WHILE_CONNECTED, False))
        return call

    def _starting(self, name: str, call: Callable[..., Any], ends: bool) -> Callable[..., Any]:
        returned = partial(self.mistakes.look_at_returned, name)
        return lambda *arguments: self._start(name, call(*arguments), returned, ends)

    def _start(self, name: str, coroutine: Any, returned: Callable[[Any], None], ends: bool = False) -> None:
        """Run a handler and tell what it returned; where it ``ends`` with its link, the loss of that cancels it."""
        session, spawn = self.current, self._spawn
        assert spawn is not None
        size = 0 if session is None else session.handler_started()

        done = partial(self._task_done, name, session, size)
        if not ends or session is None:
            spawn(coroutine, done if self._handling is None else self._handling.until(done), returned)
            return

        def done_with_link(error: BaseException | None) -> None:
            session.keep_when_lost(task)
            done(error)

        done_then = done_with_link if self._handling is None else self._handling.until(done_with_link)
        task = spawn(coroutine, done_then, returned)
        session.cancel_when_lost(task)

    def _run_returned(self, name: str, result: Any) -> None:
        """What a plain function returned: a coroutine, as of a lambda or a decorator around an async one, is run."""
        if not isinstance(result, CoroutineType):
            self.mistakes.look_at_returned(name, result)
            return
        if self._spawn is None:
            result.close()
            raise TypeError(
                f"the handler of {name[:64]!r} returned a coroutine, and this front has no event loop to run it: use a "
                "plain function here, or the asyncio front"
            )
        self._start(name, result, partial(self.mistakes.look_at_returned, name))

    def _task_done(self, event: str, session: S | None, size: int, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, PASSING):
            self._report(event, error, session)
        if session is not None:
            session.handler_done(size)

    # ---- compiling

    def _compile(self, name: str | None) -> None:
        """Rebuild the table's entry of one name, or of all of them; the table itself stays the same object."""
        if name is None:
            self._shortcuts.clear()
            self._table.clear()
            self._table.update(self._hidden)
            for each in list(self._wire):
                self._compile(each)
            return
        registrations = self._wire.get(name)
        if not registrations:
            if self._wire.pop(name, None) is not None:
                self.mistakes.handlers_went(name)
            self._table.pop(name, None)
            if name in self._hidden:
                self._table[name] = self._hidden[name]
        else:
            self._table[name] = self._entry(name, registrations)

    def _entry(self, name: str, registrations: Registrations) -> Callable[..., Any]:
        if self._watches is not None and name not in WATCHED_BY_REQUESTS:
            return self._watching(name, partial(self._call_all, name), self._watches)
        if self._everything or self._taps or len(registrations) > 1:
            return partial(self._call_all, name)
        single = next(iter(registrations))
        if single.once:
            return partial(self._call_all, name)
        if single.type is not None or not self.wants_raw:
            return single.call
        return self._converting(single.call, typed_decoder(None, name), decode_any)

    def _watching(self, name: str, call: Callable[..., Any], watches: Watches) -> Callable[..., Any]:
        """The entry of a name while somebody watches."""

        def call_watched(data: Any, *rest: Any) -> None:
            handling = watches.handling(name, self._at_hand, self.current)
            previous, self._handling = self._handling, handling
            try:
                with handling:
                    call(data, *rest)
            except BaseException as error:
                handling.failed(error)
                raise
            finally:
                self._handling = previous
                handling.end()

        return call_watched

    def _seen(self, envelopes: Iterable[Any]) -> Iterable[Any]:
        """What is delivered, remembered one by one: what came beside a message is not for its handlers."""
        previous = self._at_hand
        try:
            for envelope in envelopes:
                self._at_hand = envelope if isinstance(envelope, Carried) else NothingCarried
                yield envelope
        finally:
            self._at_hand = previous

    def _call_all(self, name: str, data: Any, *rest: Any) -> None:
        """The general entry: taps and ``*`` handlers first, then the event's own, as registered just now."""
        whole = Payload(data, name)
        registrations = self._wire.get(name, NONE)
        now = registrations.round()
        for tap in tuple(self._taps):
            tap(name, whole.decoded(), *rest)
        if self._everything:
            self._call_each(self._everything, self._everything.round(), name, name, whole, rest)
        self._call_each(registrations, now, name, None, whole, rest)

    def _call_each(
        self,
        registrations: Registrations,
        now: tuple[Registration, ...],
        name: str,
        first: str | None,
        whole: Payload,
        rest: tuple[Any, ...],
    ) -> None:
        for registration in now:
            if not registration.live:
                continue
            if registration.once:
                self._retire_once(registrations, registration, name)
            try:
                if first is not None:
                    result = registration.call(first, whole.decoded(), *rest)
                else:
                    result = registration.call(whole.given if registration.type is not None else whole.decoded(), *rest)
                self._run_returned(name, result)
            except BaseException as error:
                self._report(name, error, self.current)

    def _retire_once(self, registrations: Registrations, registration: Registration, name: str) -> None:
        registrations.take_out(registration)
        if (twin := registration.twin) is not None:
            other = self._wire if registrations is self._lifecycle.get(name) else self._lifecycle
            other[name].take_out(twin)
        if name in self._wire:
            self._compile(name)
        if registrations is self._everything and not registrations:
            self._compile(None)

    # ---- publishing

    def deliver(self, envelopes: Iterable[Any], session: S) -> None:
        """Call the handlers of each message in turn; what the iterable raises is the caller's.

        This is the only loop that runs once for each message. It stops when ``envelopes`` ends, so whoever wants
        to stop it (a handler that closes the session) empties the iterator behind it.
        """
        find = self._table.get
        if self._watches is not None:
            envelopes = self._seen(envelopes)
        previous, self.current = self.current, session
        try:
            if self._carries == 2:
                for envelope in envelopes:
                    if (call := find(envelope.type)) is None:
                        self._unheard(envelope, session)
                        continue
                    try:
                        result = call(envelope.data, session)
                        if result is not None and result is not True:
                            self._run_returned(envelope.type, result)
                    except BaseException as error:
                        self._report(envelope.type, error, session)
            else:
                for envelope in envelopes:
                    if (call := find(envelope.type)) is None:
                        self._unheard(envelope)
                        continue
                    try:
                        result = call(envelope.data)
                        if result is not None and result is not True:
                            self._run_returned(envelope.type, result)
                    except BaseException as error:
                        self._report(envelope.type, error, session)
        finally:
            self.current = previous

    def _unheard(self, envelope: Any, *rest: Any) -> None:
        """A name without a handler is checked here; one with a handler was when that was registered."""
        self._check_unheard(envelope.type)
        if self._watches is not None and envelope.type not in WATCHED_BY_REQUESTS:
            self._watches.unheard(envelope.type, self._at_hand, self.current)
        try:
            if self.unheard is not None and self.current is not None:
                self.unheard(envelope.type, envelope.data, self.current)
            if self._taps or self._everything:
                self._call_all(envelope.type, envelope.data, *rest)
        except InvalidPayload as error:
            self._report(envelope.type, error, self.current)
        looked_at = envelope.type in self.mistakes.settled
        if not (looked_at or self._everything or self._taps or envelope.type.startswith("rpc.")):
            self._ignore(envelope.type)

    def _ignore(self, name: str) -> None:
        if not self.takes_all:
            self.ignored += 1
        self.mistakes.look_at_unheard(name, self.takes_all)

    def _check_and_count(self, name: str) -> None:
        self._check_name(name)
        if self.is_local(name):
            self._count_reserved(name)

    def _count_reserved(self, name: str) -> None:
        """An event of a peer's that the profile lets in, and that handlers would take for one of this endpoint's own.

        The first is told, since who emitted it has no other way to find out.
        """
        self.reserved += 1
        if self.reserved == 1:
            self._failed(
                self.current,
                ReservedEvent(
                    f"the peer emitted an event named {name!r}, and handlers of {name!r} hear of this side's own link "
                    "only: it reached none of them. Let it use another name, or set allow_reserved_events to True and "
                    "handle both in one. This is said once; stats().reserved counts"
                ),
            )

    def publish(self, name: str, *arguments: Any, session: S | None = None) -> bool:
        """Publish a lifecycle event; returns whether a handler of that very name heard it."""
        self.mistakes.look_at_lifecycle(name)
        previous, self.current = self.current, session
        try:
            registrations = self._lifecycle.get(name, NONE)
            now = registrations.round()
            self._call_lifecycle(self._everything, self._everything.round(), name, (name, *arguments))
            self._call_lifecycle(registrations, now, name, arguments)
            return bool(now)
        finally:
            self.current = previous

    def publish_state(self, name: str, *arguments: Any, session: S | None = None) -> None:
        """Publish what goes on (the link is up): where no handler is there, the first one to come is told, too."""
        if self.publish(name, *arguments, session=session):
            self._unheard_states.discard(name)
        else:
            self._unheard_states.add(name)

    def publish_missed(self, name: str, *arguments: Any, session: S | None = None) -> None:
        """What goes on, to the handlers that have come since; once. Those of ``*`` heard it."""
        if name not in self._unheard_states:
            return
        self._unheard_states.discard(name)
        previous, self.current = self.current, session
        try:
            registrations = self._lifecycle.get(name, NONE)
            self._call_lifecycle(registrations, registrations.round(), name, arguments)
        finally:
            self.current = previous

    def _call_lifecycle(
        self, registrations: Registrations, now: tuple[Registration, ...], name: str, arguments: tuple[Any, ...]
    ) -> None:
        for registration in now:
            if not registration.live:
                continue
            if registration.once:
                self._retire_once(registrations, registration, name)
            try:
                missing = (None,) * (registration.required - len(arguments))
                self._run_returned(name, registration.call(*arguments, *missing))
            except BaseException as error:
                self._report(name, error, self.current)

    def _report(self, event: str, error: BaseException, session: S | None) -> None:
        """Tell of a handler that failed; any exception harms only itself, but for those that end the program."""
        if isinstance(error, PASSING):
            raise error
        if self._handling is not None and event == self._at_hand.type:  # and not one of the lifecycle inside it
            self._handling.failed(error)
        if isinstance(error, InvalidPayload):
            failure: Any = error
            failure.event = failure.event or event
        else:
            from ..config.advice import advice  # only a mistake pays for it

            gets = "" if self._everything or event in LIFECYCLE else HANDLERS_GET[self._carries]
            failure = HandlerError(
                f"a handler of {event[:64]!r} failed: {shown(error)}{advice(error, gets)}", event=event
            )
            failure = caused(failure, error)
        self._failed(session, failure)


def no_handler(verb: str, name: str, handler: Any) -> str:
    """What to do where a handler is the type of what is to come."""
    shown = handler.__name__ if isinstance(handler, type) else repr(handler)
    return (
        f"{verb}({name!r}, …) takes a handler, and {shown:.80} is the type of a payload: "
        f"{verb}({name!r}, handler, type={shown:.80}), or as a decorator {verb}({name!r}, type={shown:.80})"
    )


def _taking(handler: Callable[..., Any], count: int) -> Callable[..., Any]:
    if count == 0:
        return lambda *_: handler()
    if count == 1:
        return lambda *arguments: handler(*arguments[:1])  # lifecycle events may bring none
    return lambda *arguments: handler(*arguments[:count])


def event_name(event: Any, whose: str = "an event's") -> str:
    """The name of an event or a method, given as text or as an :class:`Event`; :class:`InvalidEvent` for all else."""
    name = event.name if isinstance(event, Event) else event
    if not isinstance(name, str):
        raise InvalidEvent(f"{whose} name must be text, not {type(name).__name__}: {name!r:.80}")
    return name if name.__class__ is str else str.__str__(name)  # an Enum of texts is its value


def is_decorator(verb: str, event: Any, handler: Any) -> bool:
    """Whether ``verb`` was called without a handler; raises where that, or a handler that is None, is a mistake."""
    if handler is None:
        name = event.name if isinstance(event, Event) else event
        raise TypeError(
            f"the handler is None: did you call it? {verb}({name!r:.80}, print), not {verb}({name!r:.80}, print())"
        )
    if handler is not UNSET:
        return False
    if callable(event):  # a bare @on
        name = getattr(event, "__name__", "name")
        raise InvalidEvent(
            f"a name must be text, not {type(event).__name__}: {event!r:.80}. As a decorator {verb} takes the name in "
            f"parentheses: @server.{verb}({name!r}), or the same of a client"
        )
    return True


def called_too_soon(handler: Any) -> str:
    """What to do where an async function was called in the place of being registered; it is not run."""
    if not isinstance(handler, CoroutineType):
        return ""
    handler.close()
    return f": give the function itself, {handler.__name__}, without parentheses"


def describe(handler: Any) -> str:
    """A handler's name, for messages."""
    return getattr(handler, "__qualname__", None) or repr(handler)
