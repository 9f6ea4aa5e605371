"""Ask and answer over events: JSON-RPC 2.0 in two ordinary event types, so any node-ipc peer can take part.

    → {"type": "rpc.request",  "data": {"jsonrpc": "2.0", "id": 7, "method": "add", "params": {"a": 1, "b": 2}}}
    ← {"type": "rpc.response", "data": {"jsonrpc": "2.0", "id": 7, "result": 3}}

Either side may ask. A request that is given up (time-out, cancelled) is forgotten here, and ``rpc.cancel`` lets the
other side forget it too; an answer that comes all the same is dropped and counted in ``late``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..config.foreign import shown
from ..errors import (
    BackpressureError,
    ConnectionLost,
    HandlerError,
    InvalidEvent,
    InvalidPayload,
    IPCError,
    NotConnected,
    RemoteError,
    RequestTimeout,
)
from .events import Event, describe, typed_decoder
from .signature import signature_of

if TYPE_CHECKING:
    from .events import Events
    from .outcome import Outcome
    from .seam import Cancellable, Driver, Timer
    from .session import Session

__all__ = [
    "CANCEL",
    "DEFAULT_TIMEOUT",
    "REQUEST",
    "RESPONSE",
    "Cancel",
    "Fault",
    "Request",
    "Requests",
    "Response",
    "ask_all",
]

REQUEST, RESPONSE, CANCEL = "rpc.request", "rpc.response", "rpc.cancel"
DEFAULT_TIMEOUT = 30.0
"""Seconds that a request waits for its answer unless it says otherwise."""

INVALID_REQUEST, NO_SUCH_METHOD, INVALID_PARAMS, FAILED = -32600, -32601, -32602, -32603

H = TypeVar("H", bound=Callable[..., Any])


class Request(msgspec.Struct, gc=False):
    """What is asked; ``id`` goes back as it came."""

    method: str
    id: Raw = Raw(b"null")
    params: Raw = Raw(b"null")
    jsonrpc: str = "2.0"


class Fault(msgspec.Struct, gc=False):
    """JSON-RPC's error object."""

    code: int = FAILED
    message: str = ""
    data: Any = None


class Response(msgspec.Struct, gc=False):
    """What comes back: a result or an error."""

    id: int | str | None = None
    result: Raw | UnsetType = UNSET
    error: Fault | UnsetType | None = UNSET


class Cancel(msgspec.Struct, gc=False):
    """A request that nobody waits for any more."""

    id: Raw = Raw(b"null")


class _Asked:
    """A request on its way."""

    __slots__ = ("answer", "decode", "method", "number", "session", "timer")

    def __init__(self, method: str, answer: Outcome[Any], decode: Callable[[Raw], Any]) -> None:
        self.method = method
        self.answer = answer
        self.decode = decode
        self.number = 0  # of its message on this link: an answer proves that all up to it has arrived
        self.session: Session | None = None
        self.timer: Timer | None = None


class _Method:
    """A handler of requests."""

    __slots__ = ("asynchronous", "call", "decode", "handler", "type")

    def __init__(self, name: str, handler: Callable[..., Any], type: Any) -> None:
        signature = signature_of(handler)
        if signature.required > 2:
            raise TypeError(f"the handler {describe(handler)} of {name!r} may take (params) or (params, socket)")
        self.asynchronous = signature.asynchronous
        self.handler = handler
        self.type = type if type is not None else signature.payload_type(handler)
        self.decode = typed_decoder(self.type, name)
        count = 2 if signature.accepts is None else min(signature.accepts, 2)
        self.call: Callable[[Any, Session], Any] = (
            handler
            if count == 2
            else (lambda params, socket: handler(params))
            if count == 1
            else (lambda params, socket: handler())
        )


class Requests:
    """What one endpoint asks and what it answers."""

    def __init__(
        self,
        events: Events,
        driver: Driver,
        fault: Callable[[Session | None, IPCError], None],
        trouble: Callable[[], str],
    ) -> None:
        self.late = 0
        """Answers that came after their request was given up."""
        self._events = events
        self._driver = driver
        self._fault = fault
        self._trouble = trouble
        self._asked: dict[int, _Asked] = {}
        self._ids = 0
        self._methods: dict[str, _Method] = {}
        self._running: dict[tuple[int, bytes], Cancellable] = {}  # async handlers by socket and request

    @property
    def pending(self) -> int:
        """How many requests wait for their answer."""
        return len(self._asked)

    # ---- asking

    def ask(
        self,
        emit: Callable[[str, Any], Any],
        session: Session | None,
        method: str | Event[Any],
        params: Any,
        timeout: float | None,
        type: Any = None,
    ) -> Outcome[Any]:
        """Emit a request; the outcome is settled with the result, a ``RemoteError``, or why there is none."""
        if isinstance(method, Event):
            method = method.name
        if not isinstance(method, str):
            raise InvalidEvent(f"a method's name must be text, not {method.__class__.__name__}: {method!r:.80}")
        if not self._events.handlers(RESPONSE):
            self._events.on(RESPONSE, self._responded, type=Response)
        self._ids += 1
        id = self._ids
        answer: Outcome[Any] = self._driver.outcome(None)
        asked = self._asked[id] = _Asked(method, answer, typed_decoder(type, method))
        asked.session = session
        if session is not None:
            asked.number = session.next_number
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
        if params is not None:
            message["params"] = params
        try:
            emit(REQUEST, message)
        except BaseException:
            self._asked.pop(id, None)  # gone already where the link broke meanwhile, in a front whose emit waits
            raise
        if session is not None:
            session.answer_awaited()
        if timeout is not None:
            asked.timer = self._driver.call_later(timeout, partial(self._timed_out, id, timeout))
        answer.abandon = partial(self._give_up, id, None)
        return answer

    def link_up(self, session: Session) -> None:
        """A client's requests that waited in its queue are on this link now."""
        for asked in self._asked.values():
            if asked.session is None:
                asked.session = session
                session.answer_awaited()

    def link_lost(self, session: Session, reason: Exception | None) -> None:
        """No answer will come over this link."""
        for id, asked in list(self._asked.items()):
            if asked.session is session:
                lost = ConnectionLost(f"the link was lost before {asked.method!r} was answered: {reason or 'closed'}")
                lost.__cause__ = reason
                self._settle(id, lost)
        for key, task in list(self._running.items()):
            if key[0] == session.id:
                del self._running[key]
                task.cancel()

    def end(self) -> None:
        """The endpoint is closed: nothing will be answered."""
        for id, asked in list(self._asked.items()):
            self._settle(id, NotConnected(f"{asked.method!r} was not answered: the endpoint is closed"))

    def _timed_out(self, id: int, timeout: float) -> None:
        asked = self._asked[id]
        self._give_up(id, self.timed_out(asked.method, timeout))

    def timed_out(self, method: str, timeout: float) -> RequestTimeout:
        """What was waited for and how long, and whether the link is down."""
        return RequestTimeout(f"no answer to {method!r:.80} within {timeout:g} s{self._trouble()}")

    def _give_up(self, id: int, error: IPCError | None) -> None:
        """Forget a request, and let the other side forget it too."""
        asked = self._asked.get(id)
        if asked is None:
            return
        session = asked.session
        if session is not None and session.is_open:
            with contextlib.suppress(IPCError):  # a courtesy: a peer that takes no more need not hear it
                session.emit(CANCEL, {"id": id})
        self._settle(id, error)

    def _settle(self, id: int, error: Exception | None) -> None:
        asked = self._asked.pop(id)
        if asked.session is not None:
            asked.session.answer_settled()
        if asked.timer is not None:
            asked.timer.cancel()
        asked.answer.abandon = None
        asked.answer.settle(error)

    def _responded(self, response: Response) -> None:
        session = self._events.current
        asked = self._asked.get(response.id) if isinstance(response.id, int) else None
        if asked is None or (asked.session is not None and asked.session is not session):
            self.late += 1
            return
        assert isinstance(response.id, int)
        if session is not None:
            session.confirm(asked.number)
        if isinstance(response.error, Fault):
            fault = response.error
            self._settle(response.id, RemoteError(fault.code, fault.message, fault.data))
            return
        error: Exception | None = None
        try:
            asked.answer.value = asked.decode(Raw(b"null") if response.result is UNSET else response.result)
        except InvalidPayload as wrong:
            error = wrong
        self._settle(response.id, error)

    # ---- answering

    def handle(self, method: str | Event[Any], handler: Callable[..., Any] | None = None, *, type: Any = None) -> Any:
        """Answer requests of this name with what ``handler(params, socket)`` returns."""
        if isinstance(method, Event):
            type = type or method.type
            method = method.name
        if handler is None:
            return partial(self._decorate, method, type)
        self._add(method, handler, type)
        return handler

    def _decorate(self, method: str, type: Any, handler: H) -> H:
        self._add(method, handler, type)
        return handler

    def _add(self, method: str, handler: Callable[..., Any], type: Any) -> None:
        if not isinstance(method, str) or not method:
            raise TypeError(f"a method's name is text that is not empty, not {method!r:.80}")
        if method in self._methods:
            raise ValueError(f"the method {method!r} has a handler already: one method, one answer")
        entry = _Method(method, handler, type)
        if entry.asynchronous and not self._driver.runs_coroutines:
            raise TypeError(f"the handler of {method!r} is async, and this front has no event loop to run it")
        if not self._methods:
            self._events.on(REQUEST, self._requested, type=Request)
            self._events.on(CANCEL, self._cancelled, type=Cancel)
        self._methods[method] = entry

    def methods(self) -> dict[str, tuple[Callable[..., Any], Any]]:
        """By name, the handler of each method and the type of its params; None takes whatever comes."""
        return {name: (method.handler, method.type) for name, method in self._methods.items()}

    def refuse_unheard(self, data: Any) -> None:
        """A request to an endpoint that answers none fails at once, too."""
        self._requested(typed_decoder(Request, REQUEST)(data))

    def _requested(self, request: Request) -> None:
        session = self._events.current
        assert session is not None
        method = self._methods.get(request.method)
        if method is None:
            self._refuse(session, request, NO_SUCH_METHOD, f"there is no method {request.method[:64]!r}")
            return
        try:
            params = method.decode(request.params)
        except InvalidPayload as error:
            self._refuse(session, request, INVALID_PARAMS, str(error))
            return
        try:
            result = method.call(params, session)
        except Exception as error:
            self._failed(session, request, error)
            return
        if method.asynchronous:
            self._run(session, request, result)
        else:
            self._answer(session, request, result)

    def _run(self, session: Session, request: Request, coroutine: Coroutine[Any, Any, Any]) -> None:
        key = (session.id, bytes(request.id))
        size = session.request_started()

        def done(error: BaseException | None) -> None:
            self._running.pop(key, None)
            session.request_done(size)
            if error is not None:
                self._failed(session, request, error)

        async def answer() -> None:
            self._answer(session, request, await coroutine)

        task = self._driver.spawn(answer(), done)
        self._running[key] = task

    def _cancelled(self, cancel: Cancel) -> None:
        session = self._events.current
        if session is not None:
            task = self._running.pop((session.id, bytes(cancel.id)), None)
            if task is not None:
                task.cancel()

    def _answer(self, session: Session, request: Request, result: Any) -> None:
        if request.id != _NULL and session.is_open:
            try:
                session.emit(RESPONSE, {"jsonrpc": "2.0", "id": request.id, "result": result})
            except InvalidPayload as error:
                self._failed(session, request, error)

    def _refuse(self, session: Session, request: Request, code: int, message: str, data: Any = None) -> None:
        if request.id != _NULL and session.is_open:
            fault = {"code": code, "message": message} | ({} if data is None else {"data": data})
            session.emit(RESPONSE, {"jsonrpc": "2.0", "id": request.id, "error": fault})

    def _failed(self, session: Session, request: Request, error: BaseException) -> None:
        """The handler raised: a ``RemoteError`` is its answer; of anything else the peer learns only that it failed."""
        if isinstance(error, RemoteError):
            code = error.code if isinstance(error.code, int) else FAILED
            self._refuse(session, request, code, error.message, error.data)
            return
        self._refuse(session, request, FAILED, "the handler failed")
        failure = HandlerError(f"the handler of {request.method[:64]!r} failed: {shown(error)}", event=request.method)
        failure.__cause__ = error
        self._fault(session, failure)


_NULL = Raw(b"null")


def ask_all(
    driver: Driver, sessions: Iterable[Session], ask: Callable[[Session], Outcome[Any]]
) -> Outcome[dict[Session, Any]]:
    """Ask several sockets at once: settled with ``{socket: result or exception}`` when the last has answered."""
    answers: dict[Session, Any] = {}
    gathered: Outcome[dict[Session, Any]] = driver.outcome(answers)
    waiting = {session: _asked(driver, session, ask) for session in sessions}

    def collect(session: Session, answer: Outcome[Any]) -> None:
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


def _asked(driver: Driver, session: Session, ask: Callable[[Session], Outcome[Any]]) -> Outcome[Any]:
    """Ask one of several; that it cannot be asked is its answer, and no reason not to ask the others."""
    try:
        return ask(session)
    except (BackpressureError, NotConnected) as error:
        answer: Outcome[Any] = driver.outcome(None)
        answer.settle(error)
        return answer
