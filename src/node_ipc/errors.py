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
    """The root: ``except IPCError`` catches whatever this library raises."""

    code: str = "ERR_IPC"

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


class ConfigError(IPCError, ValueError):
    """An option that does not exist, or a value that an option does not take."""

    code = "ERR_IPC_CONFIG"


class AddressError(IPCError, ValueError):
    """An address or a socket path that cannot be used as it stands."""

    code = "ERR_IPC_ADDRESS"


class NotASocket(AddressError):
    """A file, a directory or a link is where a server's socket would be; only sockets are ever removed."""

    code = "ERR_IPC_UNLINK_NOT_SOCKET"


class SocketRootError(AddressError, PermissionError):
    """The directory of a local socket belongs to somebody else, is a link, or others may write to it."""

    code = "ERR_IPC_SOCKET_ROOT"


class AddressInUse(IPCError, OSError):
    """Another live server owns this path, pipe or port."""

    code = "ERR_IPC_ADDRESS_IN_USE"
    _os_code = "EADDRINUSE"


class ConnectError(IPCError, ConnectionError):
    """A connection attempt failed; the operating system's own error is the ``__cause__``."""

    code = "ERR_IPC_CONNECT"


class ConnectDenied(ConnectError, PermissionError):
    """The kernel does not let this user connect there; trying again changes nothing."""

    code = "ERR_IPC_CONNECT_DENIED"


class ConnectTimeout(ConnectError, TimeoutError):
    """No usable link within the time allowed."""

    code = "ERR_IPC_CONNECT_TIMEOUT"
    _os_code = "ETIMEDOUT"


class PeerRefused(ConnectError, PermissionError):
    """The process at the other end runs as a user that is not allowed here."""

    code = "ERR_IPC_PEER_REFUSED"


class TLSError(ConnectError):
    """The TLS handshake failed; the message says which check."""

    code = "ERR_IPC_TLS"


class NotConnected(IPCError, ConnectionError):
    """This client or socket is closed: nothing can be sent or awaited any more."""

    code = "ERR_IPC_NOT_CONNECTED"


class NoServer(IPCError, AttributeError):
    """``ipc.server`` was used before ``serve`` or ``serve_net`` made one; ``hasattr(ipc, "server")`` asks."""

    code = "ERR_IPC_NO_SERVER"


class ConnectionLost(IPCError, ConnectionError):
    """The link ended while something waited for it."""

    code = "ERR_IPC_CONNECTION_LOST"


class BackpressureError(IPCError, BufferError):
    """The peer does not take what is emitted: the bytes or messages that wait are at their limit.

    Nothing of the refused emit was written, and the link stays.
    """

    code = "ERR_IPC_BACKPRESSURE"


class ProtocolError(IPCError, ValueError):
    """Something that does not belong on the wire, from a peer (an ``error`` event) or at ``emit`` (raised)."""

    code = "ERR_IPC_PROTOCOL"


class FrameTooLarge(ProtocolError):
    """A message is larger than ``max_message_size``, or has more values than ``max_message_values``."""

    code = "ERR_IPC_FRAME_TOO_LARGE"


class InvalidJSON(ProtocolError):
    """A frame is not JSON in UTF-8."""

    code = "ERR_IPC_INVALID_JSON"


class InvalidMessage(ProtocolError):
    """A frame is JSON, but not an object."""

    code = "ERR_IPC_INVALID_MESSAGE"


class InvalidEvent(ProtocolError):
    """An event's name is missing, empty, not a string, or not safe to use."""

    code = "ERR_IPC_INVALID_EVENT"


class EventTooLarge(InvalidEvent):
    """An event's name is longer than ``max_event_name_length``."""

    code = "ERR_IPC_EVENT_TOO_LARGE"


class ReservedEvent(InvalidEvent):
    """An event has the name of a local lifecycle event (``connect``, ``error`` …)."""

    code = "ERR_IPC_RESERVED_EVENT"


class EventNotAllowed(InvalidEvent):
    """An event is not in ``allowed_events`` of the assured profile."""

    code = "ERR_IPC_EVENT_NOT_ALLOWED"


class InvalidPayload(ProtocolError, TypeError):
    """A payload that JSON cannot hold, that Python cannot hold, or that does not fit the handler's type.

    ``event`` is the event's name and ``path`` the place of the fault inside the payload (``$.items[2].price``).
    """

    code = "ERR_IPC_INVALID_PAYLOAD"

    def __init__(self, message: str, *, event: str = "", path: str = "$") -> None:
        super().__init__(message)
        self.event = event
        self.path = path


class MessageTimeout(ProtocolError, TimeoutError):
    """A message was begun and not finished within ``message_timeout``."""

    code = "ERR_IPC_MESSAGE_TIMEOUT"


class HandlerError(IPCError):
    """A handler of the user's raised; ``event`` names the event, ``__cause__`` is the exception."""

    code = "ERR_IPC_HANDLER"

    def __init__(self, message: str, *, event: str = "") -> None:
        super().__init__(message)
        self.event = event


class ReceiveTimeout(IPCError, TimeoutError):
    """The awaited event did not come in time."""

    code = "ERR_IPC_RECEIVE_TIMEOUT"


class DrainTimeout(IPCError, TimeoutError):
    """What was emitted could not be given to the kernel in time; it still waits."""

    code = "ERR_IPC_DRAIN_TIMEOUT"


class RequestError(IPCError):
    """A request did not get its answer."""

    code = "ERR_IPC_REQUEST"


class RequestTimeout(RequestError, TimeoutError):
    """No answer within the time allowed; one that comes later is dropped."""

    code = "ERR_IPC_REQUEST_TIMEOUT"


class RemoteError(RequestError):
    """The other side answered a request with an error: a JSON-RPC ``code``, a ``message`` and ``data``.

    JSON-RPC's codes are integers. An error in another form has -32603; a code of text, as Node's ``"ENOENT"``, then
    stands before the message, and the error as it came is in ``data`` where there is nothing else.
    """

    code: int  # type: ignore[assignment]  # JSON-RPC's codes are integers

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.data), self.__dict__


class AddressNotValidated(IPCError, PermissionError):
    """A UDP address that anybody may have forged would get more bytes than it may; nothing was sent."""

    code = "ERR_IPC_ADDRESS_NOT_VALIDATED"


class AssuredError(IPCError):
    """The assured profile does not allow this transport, event list or TLS set-up."""

    code = "ERR_IPC_ASSURED_TRANSPORT"


class WrongThreadError(IPCError, RuntimeError):
    """Only ``emit`` may be called from a thread other than the one that runs the endpoint."""

    code = "ERR_IPC_WRONG_THREAD"


class WrongLoopError(IPCError, RuntimeError):
    """Something was called on another event loop than the one that it belongs to, or after that was closed."""

    code = "ERR_IPC_WRONG_LOOP"


class ForkError(IPCError, RuntimeError):
    """A forked child used its parent's connection; it has to make its own."""

    code = "ERR_IPC_FORK"


class WouldDeadlock(IPCError, RuntimeError):
    """A blocking call inside a handler that could never return."""

    code = "ERR_IPC_DEADLOCK"
