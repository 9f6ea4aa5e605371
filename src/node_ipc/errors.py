"""Every error this library raises or reports, under one root.

    IPCError
    ├── ConfigError (ValueError)             an option's name or value is wrong
    ├── AddressError (ValueError)            an address or a path cannot be used
    │   ├── NotASocket                       something else is in a socket's place
    │   └── SocketRootError (PermissionError)    the directory of local sockets is not safe
    ├── AddressInUse (OSError)               somebody else listens there
    ├── ConnectError (ConnectionError)       a link could not be made
    │   ├── ConnectDenied (PermissionError)  the kernel does not let this user connect
    │   ├── ConnectTimeout (TimeoutError)
    │   ├── PeerRefused (PermissionError)    the other end is not who it must be
    │   └── TLSError
    ├── NotConnected (ConnectionError)       there is no link, and there will be none
    ├── NoServer (AttributeError)            ``ipc.server`` before ``serve``
    ├── ConnectionLost (ConnectionError)     the link went away under a call
    ├── BackpressureError (BufferError)      more is waiting to be sent than the limit allows
    ├── ProtocolError (ValueError)           bytes or events that the wire does not allow
    │   ├── FrameTooLarge
    │   ├── InvalidJSON
    │   ├── InvalidMessage
    │   ├── InvalidEvent
    │   │   ├── EventTooLarge
    │   │   ├── ReservedEvent
    │   │   └── EventNotAllowed
    │   ├── InvalidPayload (TypeError)
    │   └── MessageTimeout (TimeoutError)
    ├── HandlerError                         a handler failed; its exception is the ``__cause__``
    ├── ReceiveTimeout (TimeoutError)
    ├── DrainTimeout (TimeoutError)
    ├── RequestError
    │   ├── RequestTimeout (TimeoutError)
    │   ├── NoResponder (LookupError)        nobody is there who could answer
    │   └── RemoteError                      the other side answered with an error
    ├── AddressNotValidated (PermissionError)  a UDP address may be forged, and gets no more for now
    ├── AssuredError                         the assured profile forbids this
    ├── WrongThreadError (RuntimeError)
    ├── WrongLoopError (RuntimeError)        it belongs to another event loop, or to one that is closed
    ├── ForkError (RuntimeError)
    └── WouldDeadlock (RuntimeError)

Each class also inherits the built-in that a Python user would catch. ``code`` is node-ipc's
``ERR_IPC_…`` string where node-ipc has one, and one of the same form where it has none.
"""

from __future__ import annotations

import errno
from itertools import pairwise
from typing import Any

__all__ = [
    "AddressError",
    "AddressInUse",
    "AddressNotValidated",
    "AssuredError",
    "BackpressureError",
    "ConfigError",
    "ConnectDenied",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "DrainTimeout",
    "EventNotAllowed",
    "EventTooLarge",
    "ForkError",
    "FrameTooLarge",
    "HandlerError",
    "IPCError",
    "InvalidEvent",
    "InvalidJSON",
    "InvalidMessage",
    "InvalidPayload",
    "MessageTimeout",
    "NoResponder",
    "NoServer",
    "NotASocket",
    "NotConnected",
    "PeerRefused",
    "ProtocolError",
    "ReceiveTimeout",
    "RemoteError",
    "RequestError",
    "RequestTimeout",
    "ReservedEvent",
    "SocketRootError",
    "TLSError",
    "WouldDeadlock",
    "WrongLoopError",
    "WrongThreadError",
]


class IPCError(Exception):
    """The root: ``except IPCError`` catches whatever this library raises.

    What to do: ``except IPCError``, and tell the user ``str(error)``: every message says what to do.
    ``error.code`` tells programs apart, ``error.__cause__`` has what the kernel or a handler raised.
    """

    code: str = "ERR_IPC"

    def __init_subclass__(cls, **options: Any) -> None:
        """Those of this module have the code that their name says, but for where node-ipc has another."""
        super().__init_subclass__(**options)
        if cls.__module__ == __name__ and "code" not in vars(cls):
            letters = pairwise(" " + cls.__name__.removesuffix("Error"))
            name = "".join("_" + each if before.islower() and each.isupper() else each for before, each in letters)
            cls.code = f"ERR_IPC_{name.upper()}"

    @property
    def os_code(self) -> str | None:
        """What the operating system calls it, as Node has it in ``error.code``: ``"ECONNREFUSED"``, ``"EADDRINUSE"`` …

        None where the operating system was not asked, or had nothing to say.
        """
        error: BaseException | None = self
        while error is not None:
            if isinstance(error, OSError) and error.errno:
                return errno.errorcode.get(error.errno)
            error = error.__cause__
        return self._os_code

    _os_code: str | None = None


# --- Setting up


class ConfigError(IPCError, ValueError):
    """An option that does not exist, or a value that an option does not take.

    Met at: where an option is set, and where an endpoint is made whose options do not fit together. Code
    ``ERR_IPC_TLS_CONFIGURATION`` where it is about ``config.tls``.
    What to do: the message names the option, or the one that was meant, and what it takes; ``node-ipc help
    OPTION`` has the rest.
    """


class AddressError(IPCError, ValueError):
    """An address or a socket path that cannot be used as it stands.

    Met at: ``connect``, ``serve`` and their like: an address that cannot be read, a path that is too long, a
    host with no address, a port that may not be bound.
    What to do: ``node-ipc help addresses`` lists the forms; a socket's own name of more than 250 bytes has to be
    shorter, and outside Linux a path of more than 103 needs a shorter ``socket_root``.
    """


class NotASocket(AddressError):
    """A file, a directory or a link is where a server's socket would be; only sockets are ever removed.

    Met at: ``serve`` on a path.
    What to do: look at what is there (``ls -l PATH``), and remove it yourself or serve elsewhere.
    """

    code = "ERR_IPC_UNLINK_NOT_SOCKET"


class SocketRootError(AddressError, PermissionError):
    """The directory of a local socket belongs to somebody else, is a link, or others may write to it.

    Met at: ``serve`` on a path, with ``secure_socket_root`` or where the directory lets others replace the
    socket.
    What to do: set ``socket_root = node_ipc.runtime_socket_root()``, a directory of your own, or ``chmod 700``
    the one that the message names; ``secure_socket_root=False`` where others are meant to come in.
    """


class AddressInUse(IPCError, OSError):
    """Another live server owns this path, pipe or port.

    Met at: ``serve``.
    What to do: stop the other, which the message names where that is known (``node-ipc doctor ADDRESS`` says more),
    or serve another id or port. ``unlink="force"`` takes a path from a server that hangs.
    """

    _os_code = "EADDRINUSE"


class NoServer(IPCError, AttributeError):
    """``ipc.server`` was used before ``serve`` or ``serve_net`` made one; ``hasattr(ipc, "server")`` asks.

    Met at: ``ipc.server``.
    What to do: call ``ipc.serve()``, ``ipc.serve_net()`` or ``ipc.serve_udp()`` first.
    """


class AssuredError(IPCError):
    """The assured profile does not allow this transport, event list or TLS set-up.

    Met at: ``connect``, ``serve`` and their like with ``parser="assured"``. Code ``ERR_IPC_ASSURED_TLS`` where
    it is about ``config.tls``.
    What to do: the message says what to set: a local socket directly in an owner-only ``socket_root``, or TLS
    with certificates at both ends.
    """

    code = "ERR_IPC_ASSURED_TRANSPORT"


# --- Connections


class ConnectError(IPCError, ConnectionError):
    """A connection attempt failed; the operating system's own error is the ``__cause__``.

    Met at: ``connect`` where the first attempt fails, and as an ``error`` event for each attempt of a client
    that tries again.
    What to do: start the server, or connect with ``wait=True`` to wait for it, ``timeout`` seconds at most (10 unless
    said; None: for ever); ``node-ipc doctor ADDRESS`` says what is wrong.
    """


class ConnectDenied(ConnectError, PermissionError):
    """The kernel does not let this user connect there; trying again changes nothing.

    Met at: as ``ConnectError``.
    What to do: run as the server's user, or have the server let this one in: ``writable_all`` for everybody; for
    some, ``allowed_uids`` with the socket's mode or group, and a directory that they may enter.
    """


class ConnectTimeout(ConnectError, TimeoutError):
    """No usable link within the time allowed.

    Met at: ``connect(timeout=…)``, and where an attempt takes longer than ``connect_timeout``.
    What to do: see whether the server runs and accepts (``node-ipc doctor ADDRESS``); allow more time, or None
    for no limit.
    """

    _os_code = "ETIMEDOUT"


class PeerRefused(ConnectError, PermissionError):
    """The process at the other end runs as a user that is not allowed here.

    Met at: as ``ConnectError`` at a client; at a server in its log, since nobody is connected yet.
    What to do: put the user's number into ``allowed_uids``, if the other program is meant to be there. If not,
    somebody else has taken its place.
    """


class TLSError(ConnectError):
    """The TLS handshake failed; the message says which check.

    Met at: as ``ConnectError`` at a client; an ``error`` event at a server.
    What to do: the message says what to set; ``node-ipc help tls`` makes certificates.
    """


class NotConnected(IPCError, ConnectionError):
    """This client or socket is closed: nothing can be sent or awaited any more.

    Met at: ``emit``, ``receive``, ``request`` and ``drain`` after ``close``, or after a client gave up (its
    last error is the ``__cause__``).
    What to do: make a new client. ``client.state`` and ``client.ended_by`` say how it ended.
    """


class ConnectionLost(IPCError, ConnectionError):
    """The link ended while something waited for it.

    Met at: ``receive``, ``request`` and ``drain`` that wait meanwhile, and as the reason of ``disconnect``
    (``loss.reason``).
    What to do: the client connects again by itself; ask again where that does no harm: the other side may have
    carried out what it was asked.
    """


# --- Messages and handlers


class ProtocolError(IPCError, ValueError):
    """Something that does not belong on the wire, from a peer (an ``error`` event) or at ``emit`` (raised).

    Met at: an ``error`` event; the link that it came over is cut.
    What to do: look at what the other end sends (``node-ipc tap``): another delimiter, another parser, or no
    node-ipc at all.
    """


class FrameTooLarge(ProtocolError):
    """A message is larger than ``max_message_size``, or has more values than ``max_message_values``.

    Met at: ``emit``, and an ``error`` event for a peer's.
    What to do: send it in parts, or raise ``max_message_size`` (``max_message_values``) at both ends; node-ipc
    14 takes 1 MiB.
    """


class InvalidJSON(ProtocolError):
    """A frame is not JSON in UTF-8.

    Met at: an ``error`` event.
    What to do: see whether both ends have the same ``delimiter`` and ``parser``: raw bytes, or half a message,
    are no JSON.
    """


class InvalidMessage(ProtocolError):
    """A frame is JSON, but not an object.

    Met at: an ``error`` event.
    What to do: send an object with ``type`` and ``data``, as ``emit`` does.
    """


class InvalidEvent(ProtocolError):
    """An event's name is missing, empty, not a string, or not safe to use.

    Met at: ``on``, ``emit`` and ``request``, and an ``error`` event for a peer's.
    What to do: use a name of text; names as ``__proto__`` and ``constructor``, which harm Node programs, pass
    with ``parser="fast"`` only.
    """


class EventTooLarge(InvalidEvent):
    """An event's name is longer than ``max_event_name_length``.

    Met at: as ``InvalidEvent``.
    What to do: shorten the name and put what varies into the payload, or raise ``max_event_name_length`` at
    both ends.
    """


class ReservedEvent(InvalidEvent):
    """An event has the name of a local lifecycle event (``connect``, ``error`` …).

    Met at: as ``InvalidEvent``.
    What to do: choose another name; ``allow_reserved_events=True`` lets a peer's pass.
    """


class EventNotAllowed(InvalidEvent):
    """An event is not in ``allowed_events`` of the assured profile.

    Met at: as ``InvalidEvent``.
    What to do: add the name to ``allowed_events`` at both ends, if it is meant to pass.
    """


class InvalidPayload(ProtocolError, TypeError):
    """A payload that JSON cannot hold, that Python cannot hold, or that does not fit the handler's type.

    ``event`` is the event's name and ``path`` the place of the fault inside the payload (``$.items[2].price``).

    Met at: ``emit``, ``receive(type=…)`` and ``request(type=…)``, and an ``error`` event where a handler would
    have been called; the link stays.
    What to do: compare ``path`` with the type that the handler asks for; other types than JSON's pass with
    ``enc_hook`` and ``dec_hook``.
    """

    def __init__(self, message: str, *, event: str = "", path: str = "$") -> None:
        super().__init__(message)
        self.event = event
        self.path = path


class MessageTimeout(ProtocolError, TimeoutError):
    """A message was begun and not finished within ``message_timeout``.

    Met at: an ``error`` event; the link is cut.
    What to do: the peer hangs, or its ``delimiter`` is another one; raise ``message_timeout`` for peers that
    write slowly.
    """


class HandlerError(IPCError):
    """A handler of the user's raised; ``event`` names the event, ``__cause__`` is the exception.

    Met at: an ``error`` event, and the log where nobody handles that.
    What to do: mend the handler: ``error.__cause__`` has its traceback.
    """

    def __init__(self, message: str, *, event: str = "") -> None:
        super().__init__(message)
        self.event = event


# --- Sending, waiting and requests


class BackpressureError(IPCError, BufferError):
    """The peer does not take what is emitted: the bytes or messages that wait are at their limit.

    Nothing of the refused emit was written, and the link stays.

    Met at: ``emit``, ``request`` and ``broadcast`` at the limits ``max_pending_bytes`` and
    ``max_queued_messages``; calls of a blocking client whose inbox is full.
    What to do: wait for ``drain()`` when ``emit`` gives False, emit less, or raise the limit. For the newest
    only: ``emit(…, keep="latest")``.
    """


class AddressNotValidated(IPCError, PermissionError):
    """A UDP address that anybody may have forged would get more bytes than it may; nothing was sent.

    Met at: ``emit`` and ``broadcast`` of a UDP port, to an address beyond this machine.
    What to do: wait until it sends more; set ``peer.validated = True`` once it has shown that it reads what you
    send.
    """


class DrainTimeout(IPCError, TimeoutError):
    """What was emitted could not be given to the kernel in time; it still waits.

    Met at: ``drain(timeout=…)``.
    What to do: the peer does not read: wait longer, or end it with ``abort()``.
    """


class ReceiveTimeout(IPCError, TimeoutError):
    """The awaited event did not come in time.

    Met at: ``receive(timeout=…)``.
    What to do: see whether the other side emits that name; an event that has a handler goes to that.
    """


class RequestError(IPCError):
    """A request did not get its answer.

    Met at: ``request`` where the answer was given up; the three below say more.
    What to do: ask again, if that does no harm.
    """


class RequestTimeout(RequestError, TimeoutError):
    """No answer within the time allowed; one that comes later is dropped.

    Met at: ``request(timeout=…)``.
    What to do: see whether the other side has a ``handle`` of that name and answers; allow more time, or None
    for no limit. A Node program on node-ipc answers no request until it is taught to: ``node-ipc help node`` shows how.
    """


class NoResponder(RequestError, LookupError):
    """Nobody is there who could answer: no other server, or the socket that was asked is gone. Nothing was done.

    Met at: ``server.everywhere.request``.
    What to do: ask again once somebody is there; ``server.stats().bus.nodes`` counts the other servers.
    """


class RemoteError(RequestError):
    """The other side answered a request with an error: a JSON-RPC ``code``, a ``message`` and ``data``.

    JSON-RPC's codes are integers. An error in another form has -32603; a code of text, as Node's ``"ENOENT"``, then
    stands before the message, and the error as it came is in ``data`` where there is nothing else.

    Met at: ``request``. A handler of requests raises it to answer with a code of its own. One that a request *in* a
    handler met is a failure of that handler, as any other exception; raise a new one to pass it on.
    What to do: ``error.code`` and ``error.data`` are the other side's: -32601 means that it has no such method,
    -32602 that it does not take these params, -32603 that its handler failed.
    """

    code: int  # type: ignore[assignment]  # JSON-RPC's codes are integers
    was_answered: bool = False
    """Whether the other side sent it: where a handler lets it pass, that is a failure of it, and not its answer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.data), self.__dict__


# --- Threads, loops and processes


class WrongThreadError(IPCError, RuntimeError):
    """Only ``emit`` may be called from a thread other than the one that runs the endpoint, and ``stop`` of ``ipc`` and
    of a blocking server.

    Met at: every other verb.
    What to do: call it in the endpoint's own thread, by ``loop.call_soon_threadsafe``. On the blocking front, make a
    client for each thread, and a server in the thread that serves; it is broadcast by
    ``for socket in server.sockets: socket.emit(…)``.
    """


class WrongLoopError(IPCError, RuntimeError):
    """Something was called on another event loop than the one that it belongs to, or after that was closed.

    Met at: every verb.
    What to do: make the endpoint inside the ``asyncio.run`` that uses it.
    """


class ForkError(IPCError, RuntimeError):
    """A forked child used its parent's connection; it has to make its own.

    Met at: every verb in a forked child.
    What to do: connect in the child, after the fork.
    """


class WouldDeadlock(IPCError, RuntimeError):
    """A blocking call inside a handler that could never return.

    Met at: a call of the blocking front in a handler, or in a running event loop.
    What to do: emit in handlers and wait outside of them; in an event loop use ``node_ipc.connect`` and
    ``await``.
    """

    code = "ERR_IPC_DEADLOCK"
