"""Ask and answer over events: JSON-RPC 2.0 in ordinary event types, so any node-ipc peer can take part.

    → {"type": "rpc.request",  "data": {"jsonrpc": "2.0", "id": 7, "method": "add", "params": {"a": 1, "b": 2}}}
    ← {"type": "rpc.response", "data": {"jsonrpc": "2.0", "id": 7, "result": 3}}

Either side may ask. Two members more than JSON-RPC has tell the other side what it may use: ``timeout``, the seconds
that the answer is waited for, and ``progress``, true where ``rpc.progress`` events with the request's id are wanted.

Every request ends once. What is given up (time-out, cancelled, client closed) is taken back where it was not sent yet,
and otherwise ``rpc.cancel`` lets the other side forget it too; an answer that comes all the same is dropped and counted
in ``late``. An answer that cannot be sent is answered with an error.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Collection, Iterable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..config.foreign import PASSING, caused, shown
from ..errors import (
    BackpressureError,
    ConnectionLost,
    FrameTooLarge,
    HandlerError,
    InvalidPayload,
    IPCError,
    NotConnected,
    RemoteError,
    RequestError,
    RequestTimeout,
)
from .events import Event, called_too_soon, describe, event_name, is_decorator, no_handler
from .mistakes import STRANGERS
from .outcome import Outcome, seconds
from .outgoing import Attaching
from .payload import is_payload_type, typed_decoder
from .signature import signature_of

if TYPE_CHECKING:
    from .asking import Question
    from .events import Events
    from .outcome import Progress
    from .seam import Cancellable, Driver, Timer
    from .session import Session
    from .watch import Handling, Watches

__all__ = [
    "CANCEL",
    "DEFAULT_TIMEOUT",
    "PROGRESS",
    "REQUEST",
    "RESPONSE",
    "Asker",
    "Asks",
    "CancelMessage",
    "ProgressMessage",
    "Request",
    "RequestMessage",
    "Requests",
    "ResponseMessage",
    "Running",
    "ask_all",
]

REQUEST, RESPONSE, CANCEL, PROGRESS = "rpc.request", "rpc.response", "rpc.cancel", "rpc.progress"
DEFAULT_TIMEOUT = 30.0
"""Seconds that a request waits for its answer unless it says otherwise."""

NO_SUCH_METHOD, INVALID_PARAMS, FAILED = -32601, -32602, -32603
HANDLERS_GET = "A handler of requests gets (params), (params, socket) or (params, socket, request)"
LIMITED_BYTES = 1024
"""A request of fewer is not what a limit of the other side's is about, where that ends the link."""
SLOW = "A handler may take longer than this waits (timeout=)"
SLOW_OR_FOREIGN = (
    f"{SLOW}, and a program of node-ipc (JavaScript) answers only once it is taught to: node-ipc help node"
)
"""Why somebody who has answered nothing yet may not have answered."""
NOT_CARRIED_OUT = "It was not carried out: the other side had not read it"
THE_LOG_HAS_THEM = ": case counts; the log of that side names those it has"
THE_HANDLER_FAILED = "the handler failed; the reason is in the log of the side that answers"

S = TypeVar("S")
H = TypeVar("H", bound=Callable[..., Any])


class RequestMessage(msgspec.Struct, gc=False):
    """What is asked; ``id`` goes back as it came."""

    method: str
    id: Raw = Raw(b"null")
    params: Raw = Raw(b"null")
    jsonrpc: Any = None
    timeout: Any = None
    progress: Any = None


class ResponseMessage(msgspec.Struct, gc=False):
    """What comes back: a result or an error. Others write it in their own ways; only the id has to be readable."""

    id: Any = None
    result: Raw | UnsetType = UNSET
    error: Any = None


class CancelMessage(msgspec.Struct, gc=False):
    """A request that nobody waits for any more."""

    id: Raw = Raw(b"null")


class ProgressMessage(msgspec.Struct, gc=False):
    """How far a request is."""

    id: Any = None
    data: Any = None


class Request:
    """One request as its handler sees it: ``handler(params, socket, request)``.

    Attributes:
        method: The name that was asked for.
        socket: Who asks.
        deadline: When the other side stops waiting, on the clock of the event loop (of ``time.monotonic()`` in the
            blocking front): ``asyncio.timeout_at(request.deadline)``. None where it did not say.
        cancelled: Nobody waits for the answer any more. An async handler is cancelled then; a thread that works for
            it, or a handler that shields its work, asks here.
        ended: The answer is given.

    Example:
        >>> @server.handle("copy")
        ... def copy(params, socket, request):
        ...     for done in range(params["files"]):
        ...         if request.cancelled:
        ...             break
        ...         request.progress(done)
    """

    __slots__ = (
        *("_id", "_wants_progress", "answers_first", "cancelled", "deadline", "ended", "method", "size", "socket"),
        *("task", "watched"),
    )

    def __init__(self, asker: Asker, message: RequestMessage, now: Callable[[], float]) -> None:
        self._id = message.id
        self._wants_progress = message.progress is True
        self.method = message.method
        self.socket = cast("Session", asker)
        seconds = message.timeout
        self.deadline: float | None = now() + seconds if _is_number(seconds) else None
        self.cancelled = False
        self.ended = False
        self.answers_first = False
        """Its handler ends the link, or all of them: behind the answer."""
        self.size = 0
        self.task: Cancellable | None = None
        self.watched: Handling | None = None
        """How those who watch hear of it."""

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "answered" if self.ended else "under way"
        return f"<Request {self.id!r:.40} {self.method!r:.80} {state}>"

    @property
    def id(self) -> Any:
        """The number, or the text, that the other side gave it; None for one that wants no answer."""
        return typed_decoder(None, self.method)(self._id)

    def progress(self, data: Any = None) -> bool:
        """Tell the other side how far it is, at once, also in the middle of a handler that works for long.

        Safe from any thread, as ``emit``; in the blocking front, what another thread than the server's tells goes out
        when the handler has returned.

        Returns False where nobody hears it: the other side asked without ``progress=``, or waits no more. What is told
        and the answer arrive in order. Raises what ``emit`` raises for data that cannot be sent.
        """
        if self.cancelled or self.ended or not self._wants_progress:
            return False
        try:
            self.socket.emit(PROGRESS, {"id": self._id, "data": data})
            self.socket.push()
        except NotConnected:
            return False
        return True

    def give_up(self) -> None:
        """Nobody waits any more."""
        self.cancelled = True
        if self.watched is not None:
            self.watched.failed(RequestError(f"nobody waits for the answer to {self.method!r:.80} any more"))
        if self.task is not None:
            self.task.cancel()


class Running(Protocol):
    """Counts the requests that are being answered."""

    def request_started(self) -> int:
        """One more; what it takes of the limits."""

    def request_done(self, size: int) -> None: ...


class Asker(Protocol):
    """Who asks, and what an answer needs of it: a session, or another server on a bus."""

    @property
    def id(self) -> Any: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def incoming(self) -> Running: ...

    def emit(self, type: Any, data: Any = ..., /) -> bool: ...
    def push(self) -> None: ...
    def answered(self) -> None:
        """The answer of a handler that ends this link, or all of them, is given."""


class Asks(Protocol):
    """What a request goes out through: a client, or one of a server's sockets."""

    def encode(self, type: Any, data: Any) -> bytes: ...

    def put(self, frame: bytes) -> Session | None:
        """Send the frame, or let it wait for a link; the session that has it, None while it waits."""

    def withdraw(self, frame: bytes) -> bool:
        """Take back a frame that the kernel does not have yet; whether that was so."""


class _Asked(msgspec.Struct, eq=False):
    """A request on its way."""

    via: Asks
    method: str
    frame: bytes
    answer: Outcome[Any]
    decode: Callable[[Any], Any]
    progress: Progress | None
    number: int = 0
    """Of its message on this link: an answer proves that all up to it has arrived."""
    session: Session | None = None
    """Where it was sent; None while it waits for a link."""
    timer: Timer | None = None


class _Method:
    """A handler of requests."""

    __slots__ = ("call", "decode", "handler", "type")

    def __init__(self, name: str, handler: Callable[..., Any], type: Any, events: Events[Session]) -> None:
        if not callable(handler):
            raise TypeError(f"the handler of {name!r} must be callable, not {handler!r:.80}{called_too_soon(handler)}")
        if is_payload_type(handler):
            raise TypeError(no_handler("handle", name, handler))
        signature = signature_of(handler)
        if signature.required > 3:
            raise TypeError(
                f"the handler {describe(handler)} of {name!r} may take (params), (params, socket) or "
                "(params, socket, request)"
            )
        signature.refuse_wrong_request(handler, name)
        signature.refuse_generator(handler, name, "a request has one answer: return a list, or see request.progress()")
        self.handler = handler
        self.type = type if type is not None else signature.payload_type(handler)
        self.decode = events.decoder(self.type, name)
        count = 2 if signature.accepts is None else min(signature.accepts, 3)
        self.call = _TAKING[count](handler)


_TAKING: tuple[Callable[[Callable[..., Any]], Callable[[Any, Session, Request], Any]], ...] = (
    lambda handler: lambda params, socket, request: handler(),
    lambda handler: lambda params, socket, request: handler(params),
    lambda handler: lambda params, socket, request: handler(params, socket),
    lambda handler: handler,
)
"""By the number of arguments that a handler takes: what calls it with those."""


class Requests:
    """What one endpoint asks and what it answers."""

    def __init__(
        self,
        events: Events[Session],
        driver: Driver,
        fault: Callable[[Session | None, IPCError], None],
        trouble: Callable[[], str],
        unread: Callable[[str, Session | None, Exception], None],
        late: Callable[[str, Session], None],
        unanswered: Callable[[str, list[str]], None],
    ) -> None:
        """Ask and answer for an endpoint.

        Args:
            fault: reports an error of a handler's.
            trouble: says why no link is there, if so.
            unread: told, by any thread, of a request that failed where nobody has looked at its outcome.
            late: told of a request that was given up before it was answered here, or read.
            unanswered: told, once for each of a few, of a method that nobody answers, and of those that are answered.
        """
        self.late = 0
        """Answers that came after their request was given up."""
        self._events = events
        self._driver = driver
        self._fault = fault
        self._trouble = trouble
        self._unread = unread
        self._late = late
        self._unanswered = unanswered
        self._strangers: set[str] = set()
        self._asked: dict[int, _Asked] = {}
        self._answerers: set[int] = set()  # the sockets, by id, whose other side has answered a request
        self._unsent: dict[int, int] = {}  # those that wait for a link: by the identity of their frame
        self._ids = 0
        self._methods: dict[str, _Method] = {}
        events.mistakes.methods = self._methods
        self._running: dict[int, dict[Any, Request]] = {}  # async handlers, by socket and request
        self._by_task: dict[object, Request] = {}  # the same, by what runs them
        self._at_hand: Request | None = None  # whose handler is being called
        self._latest: Request | None = None  # that came
        self.watches: Watches | None = None
        """Told of each request and how it ends, while somebody watches."""

    @property
    def pending(self) -> int:
        """How many requests wait for their answer."""
        return len(self._asked)

    # ---- asking

    def ask(self, via: Asks, question: Question, timed: bool = True) -> Outcome[Any]:
        """Send a request; the outcome is settled with the result, a ``RemoteError``, or why there is none.

        Args:
            timed: False where the caller itself gives up after ``timeout`` seconds.
        """
        method, params, timeout, type, progress = question
        name = event_name(method, "a method's")
        timeout = seconds(timeout, "request")
        answer: Outcome[Any] = self._driver.outcome(None)
        decode = self._events.decoder(type, name)
        self._listen(progress)
        if timeout == 0:
            late = self.timed_out(name, 0)
            answer.settle(late, partial(self._unread, name, None, late))
            return answer
        self._ids += 1
        id = self._ids
        message = _message(id, name, params, timeout, progress)
        if self.watches is None:
            frame = via.encode(REQUEST, message)
        else:
            frame = self._encode_watched(self.watches, via, message, answer)
        asked = self._asked[id] = _Asked(via, name, frame, answer, decode, progress)
        self._send(id, asked)
        if timeout is not None and timed:
            asked.timer = self._driver.call_later(timeout, partial(self._timed_out, id, timeout))
        answer.abandon = partial(self._give_up, id, None)
        return answer

    def _encode_watched(self, watches: Watches, via: Asks, message: dict[str, Any], answer: Outcome[Any]) -> bytes:
        asking = watches.asking(message["method"], message.get("params"))
        try:
            with asking:
                frame = via.encode(REQUEST, message)
        except BaseException as error:
            asking.end(error)
            raise
        answer.then(lambda: asking.end(answer.error))
        return frame

    def _listen(self, progress: Progress | None) -> None:
        if not self._events.has_handler(RESPONSE):
            self._events.on(RESPONSE, self._responded, type=ResponseMessage)
        if progress is None:
            return
        if not callable(progress):
            raise TypeError(f"progress must be callable, as progress(data), not {progress!r:.80}")
        if not self._events.has_handler(PROGRESS):
            self._events.on(PROGRESS, self._progressed, type=ProgressMessage)

    def _send(self, id: int, asked: _Asked) -> None:
        self._unsent[builtins.id(asked.frame)] = id
        try:
            session = asked.via.put(asked.frame)
        except BaseException as error:
            self._unsent.pop(builtins.id(asked.frame), None)
            self._asked.pop(id, None)
            if self.watches is not None and isinstance(error, Exception):
                asked.answer.settle(error)  # which only those hear who watch: whoever asks gets it raised
            raise
        if session is not None:
            self._sent(session, asked.frame, session.outgoing.next_number - 1)

    def sent(self, session: Session, frames: Collection[bytes]) -> None:
        """What waited for a link is on this one now."""
        for number, frame in enumerate(frames, session.outgoing.next_number - len(frames)):
            self._sent(session, frame, number)

    def _sent(self, session: Session, frame: bytes, number: int) -> None:
        id = self._unsent.pop(builtins.id(frame), None)
        if id is not None:
            asked = self._asked[id]
            asked.session, asked.number = session, number
            session.incoming.answer_awaited()

    def withdraw_unsent(self) -> None:
        """The client closes: what still waits for a link is not sent any more, since nobody would hear the answer."""
        for id in list(self._unsent.values()):
            asked = self._asked[id]
            asked.via.withdraw(asked.frame)
            never = NotConnected(f"{asked.method!r:.80} was never sent: the client was closed before")
            self._settle(id, never, told=False)

    def link_lost(self, session: Session, reason: Exception | None) -> None:
        """No answer will come over this link."""
        self._answerers.discard(session.id)
        if self._latest is not None and self._latest.socket is session:
            self._latest = None
        lost_here = [(id, asked) for id, asked in self._asked.items() if asked.session is session]
        largest = max((len(asked.frame) for _, asked in lost_here), default=0)
        by_peer = not session.was_ended_here and (reason is None or reason.__class__ is ConnectionLost)
        for id, asked in lost_here:
            was_unread = session.never_arrived(asked.number)
            why = f"{reason or 'closed'}. {NOT_CARRIED_OUT if was_unread else 'It may have been carried out'}"
            if by_peer and len(asked.frame) == largest >= LIMITED_BYTES:
                why += (
                    f". It was a message of {largest} bytes: is the other side's max_message_size smaller, or has it "
                    "more values than the other side's max_message_values? The log there says so"
                )
            lost = ConnectionLost(f"the link was lost before {asked.method!r:.80} was answered: {why}")
            self._settle(id, caused(lost, reason), told=not session.was_ended_here)
        for request in list(self._running.pop(session.id, {}).values()):
            request.give_up()

    def end(self, reason: Exception | None = None) -> None:
        """The endpoint is closed: nothing will be answered."""
        why = "the endpoint is closed" if reason is None else str(reason)
        for id, asked in list(self._asked.items()):
            closed = NotConnected(f"{asked.method!r:.80} was not answered: {why}")
            self._settle(id, caused(closed, reason), told=reason is not None)

    def _timed_out(self, id: int, timeout: float) -> None:
        asked = self._asked[id]
        self._give_up(id, self.timed_out(asked.method, timeout, asked))

    def timed_out(self, method: str, timeout: float, asked: _Asked | None = None) -> RequestTimeout:
        """What was waited for and how long, and why no answer may have come; the last of that name unless told."""
        if asked is None and timeout:
            asked = next((each for each in reversed(self._asked.values()) if each.method == method), None)
        why = self._trouble()
        if not why and asked is not None and asked.session is not None:
            why = self._why_unanswered(asked, asked.session, timeout)
        return RequestTimeout(f"no answer to {method!r:.80} within {timeout:g} s{why}")

    def _why_unanswered(self, asked: _Asked, session: Session, timeout: float) -> str:
        """What is known of the other side of a link that is up."""
        unread, heard = session.unread_bytes(), session.incoming.messages_in
        if not unread and (session.id in self._answerers or session.outgoing.attaching is Attaching.AGREED):
            known = "the link is up, and its other end may be busy or stopped" if unread is None else "it was read"
            return f": {known}. {SLOW}"
        if not unread and heard:
            return f": it has answered no request over this link yet. {SLOW_OR_FOREIGN}"
        known = "the link is up" if heard else "nothing has come over the link since it is there"
        if unread:
            is_last = asked.number >= session.outgoing.next_number - 1
            known += f", and what was sent is unread{f' for these {timeout:g} s' if is_last else ''}"
        who, blocking = (
            ("client", "inside its own calls")
            if session.incoming.serves
            else ("server", "inside serve_forever() and poll()")
        )
        return (
            f": {known}. The {who} may be stopped or caught in a handler, as by time.sleep(); one of the blocking "
            f"front serves only {blocking}{'' if unread else f'. {SLOW_OR_FOREIGN}'}"
        )

    def _give_up(self, id: int, error: IPCError | None) -> None:
        """Take a request back, or let the other side forget it too."""
        asked = self._asked.get(id)
        if asked is None:
            return
        session = asked.session
        if not asked.via.withdraw(asked.frame) and session is not None and session.is_open:
            session.outgoing.promise_nothing(asked.number)
            with contextlib.suppress(IPCError):  # a courtesy: a peer that takes no more need not hear it
                session.emit(CANCEL, {"id": id})
                session.outgoing.promise_nothing(session.outgoing.next_number - 1)
        given_up = RequestError(f"{asked.method!r:.80} was given up by whoever waited for its answer")
        self._settle(id, error or given_up, told=error is not None)

    def _settle(self, id: int, error: Exception | None, told: bool = True) -> None:
        """The request is over.

        Args:
            told: whether an error is, where nobody looks at it: not where this side wanted the end itself.
        """
        asked = self._asked.pop(id)
        self._unsent.pop(builtins.id(asked.frame), None)
        if asked.session is not None:
            asked.session.incoming.answer_settled()
        if asked.timer is not None:
            asked.timer.cancel()
        asked.answer.abandon = None
        if error is None or not told:
            asked.answer.settle(error)
        else:
            asked.answer.settle(error, partial(self._unread, asked.method, asked.session, error))

    def _found(self, id: Any) -> tuple[int, _Asked] | None:
        """The request of this id that was sent over the link that is being read."""
        number = _number(id)
        asked = self._asked.get(number)
        return None if asked is None or asked.session is not self._events.current else (number, asked)

    def _responded(self, response: ResponseMessage) -> None:
        found = self._found(response.id)
        if found is None:
            self.late += 1
            return
        id, asked = found
        if asked.session is not None:
            asked.session.outgoing.confirm(asked.number)
            self._answerers.add(asked.session.id)
        if response.error is not None:
            error = _remote_error(response.error)
            error.was_answered = True
            self._settle(id, error)
            return
        wrong: Exception | None = None
        try:
            asked.answer.value = asked.decode(_NULL if response.result is UNSET else response.result)
        except Exception as unfit:  # a hook of the user's may raise anything
            wrong = unfit
        self._settle(id, wrong)

    def _progressed(self, progress: ProgressMessage) -> None:
        found = self._found(progress.id)
        if found is not None and found[1].progress is not None:
            found[1].progress(progress.data)

    # ---- answering

    def handle(self, method: str | Event[Any], handler: Any = UNSET, *, type: Any = None) -> Any:
        """Answer requests of this name with what ``handler(params, socket)`` returns."""
        decorates = is_decorator("handle", method, handler)
        if isinstance(method, Event):
            type = type or method.type
        name = event_name(method, "a method's")
        if decorates:
            return partial(self._add, name, type)
        return self._add(name, type, handler)

    def _add(self, method: str, type: Any, handler: H) -> H:
        if not method:
            raise TypeError(f"a method's name is text that is not empty, not {method!r}")
        if method in self._methods:
            raise ValueError(f"the method {method!r} has a handler already: one method, one answer")
        entry = _Method(method, handler, type, self._events)
        if signature_of(handler).asynchronous and not self._driver.runs_coroutines:
            raise TypeError(f"the handler of {method!r} is async, and this front has no event loop to run it")
        if not self._methods:
            self._events.on(REQUEST, self._requested, type=RequestMessage)
            self._events.on(CANCEL, self._cancelled, type=CancelMessage)
        self._methods[method] = entry
        return handler

    def methods(self) -> dict[str, tuple[Callable[..., Any], Any]]:
        """By name, the handler of each method and the type of its params; None takes whatever comes."""
        return {name: (method.handler, method.type) for name, method in self._methods.items()}

    def caller(self, name: str) -> Callable[[Any, Session, Request], Any] | None:
        """What answers this method, for one who asks in another way; None where nothing does."""
        method = self._methods.get(name)
        return None if method is None else method.call

    def refuse_unheard(self, data: Any) -> None:
        """A request to an endpoint that answers none fails at once, too."""
        self._requested(typed_decoder(RequestMessage, REQUEST)(data))

    def requested_by(self, asker: Asker, message: RequestMessage) -> None:
        """A request that came another way than over a link; it is answered there."""
        previous, self._events.current = self._events.current, cast("Session", asker)
        try:
            self._requested(message)
        finally:
            self._events.current = previous

    def _requested(self, message: RequestMessage) -> None:
        asker: Asker | None = self._events.current
        assert asker is not None
        request = Request(asker, message, self._driver.now)
        before, self._at_hand = self._at_hand, request
        self._latest = request
        try:
            if self.watches is None:
                self._begin(request, message)
            else:
                self._begin_watched(self.watches, request, message)
        finally:
            self._at_hand = before
            if request.answers_first and request.task is None:
                asker.answered()

    def _begin_watched(self, watches: Watches, request: Request, message: RequestMessage) -> None:
        name = message.method if message.method in self._methods else ""
        request.watched = watched = watches.answering(name, self._events.at_hand, request)
        try:
            with watched:
                self._begin(request, message)
        finally:
            watched.end()

    def _begin(self, request: Request, message: RequestMessage) -> None:
        method = self._methods.get(message.method)
        if method is None:
            self._refuse(request, NO_SUCH_METHOD, self._no_method(message.method))
            self._look_at_unanswered(message.method[:64])
            return
        try:
            params = method.decode(message.params)
        except InvalidPayload as error:
            self._refuse(request, INVALID_PARAMS, str(error))
            return
        except Exception as error:  # a hook of the user's may raise anything
            self._failed(request, error)
            return
        try:
            result = method.call(params, request.socket, request)
        except BaseException as error:
            self._failed(request, error)
            if isinstance(error, PASSING):
                raise
            return
        if hasattr(result, "__await__"):
            self._run(request, result)
        else:
            self._answer(request, result)

    def _no_method(self, name: str) -> str:
        """What a peer is told that asks for what nobody answers: of names, only the one that it sent itself."""
        hint = ", but an event handler: was emit meant?" if self._events.has_handler(name) else THE_LOG_HAS_THEM
        return f"there is no method {name[:64]!r}{'' if name.startswith('rpc.') else hint}"

    def _look_at_unanswered(self, name: str) -> None:
        """A name that nobody answers is told here, with those that somebody does; any peer may make up more of them."""
        if name.startswith("rpc.") or name in self._strangers or len(self._strangers) == STRANGERS:
            return
        self._strangers.add(name)
        self._unanswered(name, [each for each in self._methods if not each.startswith("rpc.")])

    def _run(self, request: Request, awaitable: Any) -> None:
        if not self._driver.runs_coroutines:
            if isinstance(awaitable, Outcome) and awaitable.done and awaitable.error is None:  # as that of a join
                self._answer(request, awaitable.value)
                return
            _discard(awaitable)
            wrong = TypeError("it returned something to be awaited, and this front has no event loop to run it")
            self._failed(request, wrong)
            return
        asker: Asker = request.socket
        running = self._running.setdefault(asker.id, {})
        key: Any = bytes(request._id)
        if request._id == _NULL or key in running:  # cannot be told from others by its id
            key = builtins.id(request)
        running[key] = request
        request.size = asker.incoming.request_started()
        done: Callable[[BaseException | None], None] = partial(self._done, request, key, awaitable)
        if request.watched is not None:
            done = request.watched.until(done)
        request.task = task = self._driver.spawn(self._answer_later(request, awaitable), done)
        self._by_task[task] = request

    async def _answer_later(self, request: Request, awaitable: Any) -> None:
        try:
            result = await awaitable
        except BaseException as error:
            if isinstance(error, GeneratorExit):  # what runs it ended, and nothing of that is the handler's fault
                request.ended = True
            elif not request.cancelled:  # also what it awaited may have been cancelled, by somebody else
                self._failed(request, error)
            if isinstance(error, (*PASSING, GeneratorExit)):
                raise
            return
        self._answer(request, result)

    def _done(self, request: Request, key: Any, awaitable: Any, error: BaseException | None) -> None:
        _discard(awaitable)  # where it was cancelled before its first step
        self._by_task.pop(request.task, None)
        request.task = None
        asker: Asker = request.socket
        running = self._running.get(asker.id)
        if running is not None and running.get(key) is request:
            del running[key]
            if not running:
                del self._running[asker.id]
        asker.incoming.request_done(request.size)
        if not (request.ended or request.cancelled):
            self._failed(request, error or RuntimeError("it was cancelled"))
        if request.answers_first:
            asker.answered()

    def _cancelled(self, cancel: CancelMessage) -> None:
        session, id = self._events.current, bytes(cancel.id)
        if session is not None:
            self._look_whether_late(session, id)
            self.cancelled_by(session, id)

    def _look_whether_late(self, session: Session, id: bytes) -> None:
        """Tell of a request that was answered, or only read, when nobody waited for it any more."""
        latest = self._latest
        if latest is None or latest.socket is not session or bytes(latest._id) != id or latest.cancelled:
            return
        if latest.ended or session.incoming.came_behind(REQUEST, id):
            self._late(latest.method, session)

    def cancelled_by(self, asker: Asker, id: bytes) -> None:
        """Whoever asked waits for this answer no more."""
        request = self._running.get(asker.id, {}).get(id)
        if request is not None:
            request.give_up()

    # ---- ending in a handler

    def _caller(self) -> Request | None:
        """The request whose handler calls."""
        if self._at_hand is not None:
            return self._at_hand
        return self._by_task.get(self._driver.current_task()) if self._by_task else None

    def called_by_handler(self) -> bool:
        """Whether it is a handler of requests that calls, and ends everything: its answer goes out first."""
        request = self._caller()
        if request is not None:
            request.answers_first = True
        return request is not None

    def answering_to(self) -> Asker | None:
        """Who asked the handler that calls; None where it is none of requests."""
        request = self._caller()
        return None if request is None else request.socket

    def answers_first(self, session: Session) -> bool:
        """Whether this link is to end behind an answer, since the handler that gives it ends it."""
        request = self._caller()
        if request is not None and request.socket is session:
            request.answers_first = True
        under_way = [self._at_hand, *self._running.get(session.id, {}).values()]
        return any(each is not None and each.socket is session and each.answers_first for each in under_way)

    # ---- what goes back

    def _answer(self, request: Request, result: Any) -> None:
        if not self._is_awaited(request):
            request.ended = True
            return
        try:
            request.socket.emit(RESPONSE, {"jsonrpc": "2.0", "id": request._id, "result": result})
        except FrameTooLarge as error:
            self._failed(request, error, f"the answer cannot be sent: {error}")
        except InvalidPayload as error:
            self._failed(request, self._unsendable(request, error))
        except Exception as error:  # the peer does not read, or what a hook or a codec raises
            self._failed(request, error)
        else:
            request.ended = True

    def _unsendable(self, request: Request, error: InvalidPayload) -> InvalidPayload:
        """What the handler returned and JSON cannot carry; how this library found that out says nothing to anybody."""
        method = self._methods.get(request.method)
        whose = "the handler" if method is None else describe(method.handler)
        text = str(error).removeprefix(f"cannot emit {RESPONSE!r}: ").replace(" $.result", " $")
        return InvalidPayload(f"what {whose} returned cannot be sent: {text}", path=error.path)

    def _is_awaited(self, request: Request) -> bool:
        return not (request.ended or request.cancelled) and request._id != _NULL and request.socket.is_open

    def _refuse(self, request: Request, code: int, message: str, data: Any = None) -> None:
        """Answer with an error; raises where that cannot be sent."""
        if request.watched is not None:
            request.watched.failed(RemoteError(code, message, data))
        if self._is_awaited(request):
            fault = {"code": code, "message": message} | ({} if data is None else {"data": data})
            request.socket.emit(RESPONSE, {"jsonrpc": "2.0", "id": request._id, "error": fault})
        request.ended = True

    def _failed(self, request: Request, error: BaseException, told: str = THE_HANDLER_FAILED) -> None:
        """The handler raised: a ``RemoteError`` is its answer; of anything else the peer learns only that it failed.

        One that somebody else answered to a request in the handler is such a failure: its code would say of this
        method what it says of another.
        """
        if request.watched is not None:
            request.watched.failed(error)
        if isinstance(error, RemoteError) and not error.was_answered:
            try:
                code = FAILED if not isinstance(error.code, int) or isinstance(error.code, bool) else int(error.code)
                if not isinstance(error.message, str):
                    raise InvalidPayload(f"a RemoteError's message must be text, not {error.message!r:.80}")
                self._refuse(request, code, error.message, error.data)
                return
            except Exception as unsendable:
                error = unsendable
        try:
            self._refuse(request, FAILED, told)
        except IPCError as full:
            self._cut_off(request, full)
        if isinstance(error, PASSING):  # it ends the program, and failed at nothing
            return
        if request.socket.is_open or not isinstance(error, NotConnected):
            from ..config.advice import advice  # only a mistake pays for it

            failure = HandlerError(
                f"the handler of {request.method[:64]!r} failed: {shown(error)}{advice(error, HANDLERS_GET)}",
                event=request.method,
            )
            self._fault(request.socket, caused(failure, error))

    def _cut_off(self, request: Request, error: IPCError) -> None:
        """Not even that it failed can be said: the other side learns it from the end of the link."""
        request.ended = True
        reason = BackpressureError(f"{request.socket!r} cannot be given the answer that it waits for: {error}")
        request.socket.cut(caused(reason, error))


_NULL = Raw(b"null")


def _message(id: int, method: str, params: Any, timeout: float | None, progress: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not None:
        message["params"] = params
    if timeout is not None:
        message["timeout"] = timeout
    if progress is not None:
        message["progress"] = True
    return message


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _number(id: Any) -> int:
    """An answer's id as the number that was sent: some peers give it back as text, or as a float. 0 is nobody's."""
    if id.__class__ is int:
        return id
    if isinstance(id, float) and id.is_integer():
        return int(id)
    if isinstance(id, str) and id.isascii() and id.isdigit() and len(id) < 20:
        return int(id)
    return 0


def _remote_error(error: Any) -> RemoteError:
    """What the other side said, also where it is not the object that JSON-RPC wants."""
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else f"it answered with the error {error!r:.200}"
        return RemoteError(FAILED, text, error)
    code, message, data = error.get("code", FAILED), error.get("message", ""), error.get("data")
    if not isinstance(message, str):
        message = f"{message!r:.200}"
    if code.__class__ is not int:
        return RemoteError(FAILED, f"{code}: {message}"[:1000] if isinstance(code, str) else message, data or error)
    return RemoteError(code, message, data)


def _discard(awaitable: Any) -> None:
    """Close a coroutine that did not run to its end, so that nobody is told that it was never awaited."""
    close = getattr(awaitable, "close", None)
    if isinstance(awaitable, CoroutineType) and close is not None:
        close()


def ask_all(driver: Driver, sessions: Iterable[S], ask: Callable[[S], Outcome[Any]]) -> Outcome[dict[S, Any]]:
    """Ask several sockets at once: settled with ``{socket: result or exception}`` when the last has answered."""
    answers: dict[S, Any] = {}
    gathered: Outcome[dict[S, Any]] = driver.outcome(answers)
    waiting = {session: _asked(driver, session, ask) for session in sessions}

    def collect(session: S, answer: Outcome[Any]) -> None:
        answers[session] = answer.error if answer.error is not None else answer.value
        if len(answers) == len(waiting):
            gathered.settle()

    def give_up() -> None:
        for answer in waiting.values():
            if answer.abandon is not None:
                answer.abandon()

    gathered.abandon = give_up
    for session, answer in waiting.items():
        answer.then(partial(collect, session, answer))
    if not waiting:
        gathered.settle()
    return gathered


def _asked(driver: Driver, session: S, ask: Callable[[S], Outcome[Any]]) -> Outcome[Any]:
    """Ask one of several; that it cannot be asked is its answer, and no reason not to ask the others."""
    try:
        return ask(session)
    except (BackpressureError, NotConnected) as error:
        answer: Outcome[Any] = driver.outcome(None)
        answer.settle(error)
        return answer
