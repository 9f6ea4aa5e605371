"""From code to a contract: what a server, a client or a module of events has registered.

A handler says what is received and answered. What is sent no registration says: those are the ``Event`` objects that
nobody handles, and what is named as ``sends``.
"""

from __future__ import annotations

import functools
import inspect
import typing
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, TypeAlias
from weakref import WeakSet

from ..callbacks import IPC
from ..config.address import Handed, parse
from ..config.config import Config
from ..core.client import Client
from ..core.datagram import DatagramServer
from ..core.events import Event
from ..core.requests import CANCEL, PROGRESS, REQUEST, RESPONSE
from ..core.server import Server, ServerState
from ..core.signature import signature_of
from ..drivers.memory import MemoryDriver
from ..errors import IPCError
from ..testing import ROOT, WORLD
from ..wire.names import ASK_CONTRACT, ASK_PRESENCE
from .model import Contract, ContractError, ContractWarning, Message, Messages, Method
from .python import contract_in

__all__ = ["Role", "contract_of", "events_of", "registered_on"]

Role: TypeAlias = Literal["server", "client"]
OWN = {REQUEST, RESPONSE, CANCEL, PROGRESS}
"""Events that carry requests: their methods stand in the contract instead."""
OWN_METHODS = {ASK_CONTRACT, ASK_PRESENCE}
"""Methods that give the contract out, and are none of it."""

_begun: WeakSet[Any] = WeakSet()
"""Servers whose callbacks have run for a contract: a second one must not register everything twice."""


def contract_of(
    target: Any,
    *,
    name: str | None = None,
    events: Iterable[Event[Any]] = (),
    sends: Messages = (),
    role: Role = "server",
    title: str | None = None,
    version: str = "1.0.0",
    description: str = "",
) -> Contract:
    """The contract of what is registered on ``target``.

    Args:
        target: A server or a client of any front; an ``IPC`` (its server, or else its only client); a function that
            registers handlers on the server it is given, as for :func:`node_ipc.scale.workers.run`; a module, whose
            ``Event`` objects go both ways; an AsyncAPI document, as ``rpc.describe`` is answered with; or a
            :class:`Contract`, which comes back as it is. The callback of an ``IPC``'s ``serve`` is called for it,
            since it registers the handlers: this is for tools and tests, and not for the program that serves.
        name: The server's id; by default the id in its address, and else ``"world"``.
        events: Those that no handler takes, and no method is named after, are what the other side is sent.
        sends: What is sent besides, also where it is received as well.
        role: What a function is given: a server, or a client.
        title: What readers see; the name unless given.
        version: Of the contract.
        description: A sentence or more for readers.

    Raises:
        ContractError: nothing is registered, or ``target`` is none of these.

    Example:
        >>> def register(server):
        ...     @server.on("order")
        ...     def order(data: dict[str, int], socket):
        ...         "What to bring."
        >>> [message.name for message in contract.contract_of(register, name="shop").receives]
        ['order']
    """
    if isinstance(target, Contract):
        return target
    if isinstance(target, Mapping):
        return contract_in(target, name=name)
    found = _found(target, role)
    if isinstance(target, ModuleType):
        found.receives = [Message(each.name, each.type) for each in events_of(target)]
        found.sends = [*found.receives]
    sent = list(sends)
    if not (found.receives or found.answers or sent):
        advice = "register handlers with on() and handle(), or say Contract(name, sends=[...]) for one that only sends"
        if isinstance(target, ModuleType):
            advice = "give a server, or a function that registers handlers, as app:server, or define Event objects"
        raise ContractError(f"{_named(target)} has no event and no method: {advice}")
    found.send(events, sent)
    return found.contract(name, title=title, version=version, description=description)


def registered_on(
    endpoint: Any, *, name: str | None, events: Iterable[Event[Any]], sends: Messages, **said: Any
) -> Contract:
    """As :func:`contract_of` a server or a client that is at work, also where nothing is registered on it."""
    found = _of_endpoint(endpoint)
    found.send(events, sends)
    return found.contract(name, **said)


class _Found:
    """What one side hears and says."""

    def __init__(self, *, client: bool = False, name: str | None = None, address: Any = None) -> None:
        self.client = client
        self.name = name
        self.address = address
        self.receives: list[Message] = []
        self.sends: list[Message] = []
        self.answers: list[Method] = []

    def send(self, events: Iterable[Event[Any]], sends: Messages) -> None:
        """Add what is sent: for certain, and where nobody handles it."""
        self.sends += [each if isinstance(each, Message) else Message(each.name, each.type) for each in sends]
        known = {each.name for group in (self.receives, self.sends, self.answers) for each in group}
        for event in events:
            if event.name not in known:
                known.add(event.name)
                self.sends.append(Message(event.name, event.type))

    def contract(self, name: str | None, **said: Any) -> Contract:
        """All of it, under this name, or the one it has, or ``"world"``."""
        ways: dict[str, Any] = {"receives": self.receives, "sends": self.sends, "answers": self.answers}
        if self.client:  # in the words of the server
            ways = {"receives": self.sends, "sends": self.receives, "asks": self.answers}
        return Contract(name or self.name or "world", **ways, **said, address=self.address)


def _found(target: Any, role: Role) -> _Found:
    if isinstance(target, ModuleType):
        return _Found()
    if isinstance(target, IPC):
        return _of_ipc(target)
    if isinstance(target, (Server, Client, DatagramServer)):
        return _of_endpoint(target)
    if callable(target) and not inspect.isclass(target):
        return _of_function(target, role)
    raise ContractError(
        f"a contract is made from a server, a client, an IPC, a function that registers handlers on the server it is "
        f"given, a module with Event objects, an AsyncAPI document or a Contract, not from {target!r:.80}"
        + (
            ": what serve() and connect() return has to be awaited first, so give a function instead"
            if hasattr(target, "__await__")
            else ""
        )
    )


def _of_ipc(ipc: IPC) -> _Found:
    server = getattr(ipc, "server", None)
    if server is not None:
        if server.state is ServerState.IDLE and server not in _begun:
            _run_callbacks(server)
        return _of_endpoint(server)
    clients = [ipc.of[id] for id in ipc.of]
    if len(clients) != 1:
        raise ContractError(
            f"{ipc!r} has no server and {len(clients)} clients: call serve(), or give one client, as ipc.of.world"
        )
    return _of_endpoint(clients[0])


def _run_callbacks(server: Any) -> None:
    """What serve() was given registers the handlers; nothing listens for that."""
    _begun.add(server)
    failures: list[IPCError] = []
    hear = server.on("error", lambda error, *_: failures.append(error))
    server.events.publish("start", server)
    server.off("error", hear)
    if failures:
        cause = failures[0].__cause__
        raise ContractError(f"the callback of serve() failed: {cause or failures[0]!r}") from cause


def _of_function(register: Callable[..., Any], role: Role) -> _Found:
    """Call it with an endpoint in memory, which listens nowhere."""
    if signature_of(register).asynchronous:
        raise ContractError(
            f"{_named(register)} is async: give a plain function that registers handlers on the server it is given"
        )
    endpoint = _in_memory(role)
    try:
        if signature_of(register).accepts == 0:
            raise ContractError(
                f"{_named(register)} takes no argument: it is to register handlers on the server it is given"
            )
        register(endpoint)
    except IPCError:
        raise
    except Exception as error:
        raise ContractError(f"{_named(register)} failed: {error.__class__.__name__}: {error}") from error
    finally:
        endpoint.abort()
    found = _of_endpoint(endpoint)
    found.name = found.address = None
    return found


def _in_memory(role: Role) -> Any:
    address = parse(WORLD, role=role, socket_root=ROOT, appspace="app.")
    settings = Config(socket_root=ROOT).settings()
    if role == "client":
        return Client("world", address, MemoryDriver(), settings)
    return Server(address, MemoryDriver(), settings)


def _of_endpoint(endpoint: Any) -> _Found:
    client = isinstance(endpoint, Client)
    address = None if isinstance(endpoint.address, Handed) else endpoint.address
    found = _Found(client=client, name=endpoint.id if client else _id_in(endpoint.address), address=address)
    for name, types in endpoint.events.payload_types().items():
        if name not in OWN:
            found.receives.append(Message(name, _one_type(name, types), _says(endpoint.events.handlers(name))))
    if hasattr(endpoint, "requests"):
        for name, (handler, type) in endpoint.requests.methods().items():
            if name not in OWN_METHODS:
                params = Any if type is None else type
                found.answers.append(Method(name, params, _result_of(name, handler), _says([handler])))
    return found


def _id_in(address: Any) -> str | None:
    """``world`` of ``/tmp/app.world``."""
    local = str(getattr(address, "path", None) or getattr(address, "name", ""))
    last = local.replace("\\", "/").rsplit("/", 1)[-1]
    return last.removeprefix("app.").removesuffix(".sock") or None


def _one_type(name: str, types: list[Any]) -> Any:
    """The type that the handlers of one event agree on."""
    said = [type for type in types if type is not None]
    if not said:
        return Any
    if any(type != said[0] for type in said):
        others = ", ".join(sorted({_named(type) for type in said}))
        warnings.warn(
            ContractWarning(f"{name}: its handlers take several types ({others}); written: {_named(said[0])}"),
            stacklevel=2,
        )
    return said[0]


def _result_of(name: str, handler: Callable[..., Any]) -> Any:
    """What a handler's annotation says it returns; ``Any`` where it says nothing. No other annotation is looked at."""
    plain: Any = handler
    while isinstance(plain, functools.partial) or hasattr(plain, "__wrapped__"):
        plain = plain.func if isinstance(plain, functools.partial) else plain.__wrapped__
    if not inspect.isroutine(plain):
        plain = type(plain).__call__
    plain = getattr(plain, "__func__", plain)
    try:
        said = getattr(plain, "__annotations__", {}).get("return", Any)
        alone = SimpleNamespace(__annotations__={"return": said})
        found = typing.get_type_hints(alone, getattr(plain, "__globals__", {}), include_extras=True)["return"]
    except (NameError, TypeError) as error:
        warnings.warn(
            ContractWarning(f"{name}: the annotation of its result cannot be resolved ({error}); written: Any"),
            stacklevel=2,
        )
        return Any
    if typing.get_origin(found) in (Awaitable, Coroutine):
        found = typing.get_args(found)[-1]
    return Any if found is object else found


def _says(handlers: list[Callable[..., Any]]) -> str:
    """The first sentence of the first docstring."""
    for handler in handlers:
        own = inspect.isroutine(handler) and inspect.getdoc(handler)
        if own:
            return own.split("\n\n")[0].replace("\n", " ").strip()
    return ""


def events_of(module: ModuleType) -> list[Event[Any]]:
    """The ``Event`` objects among a module's names; the first of each name."""
    found: dict[str, Event[Any]] = {}
    for value in vars(module).values():
        if isinstance(value, Event):
            found.setdefault(value.name, value)
    return list(found.values())


def _named(target: Any) -> str:
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    return str(name) if name else repr(target)
