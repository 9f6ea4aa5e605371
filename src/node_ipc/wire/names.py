"""Which event names are whose: the lifecycle's, the unsafe ones, and what each profile lets over the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config.config import ATTACHMENTS, PING, PONG
from ..config.misspelt import slipped
from ..errors import EventNotAllowed, EventTooLarge, InvalidEvent, ReservedEvent

if TYPE_CHECKING:
    from ..config.config import Config

__all__ = [
    "ASK_CONTRACT",
    "ASK_PRESENCE",
    "ATTACHMENTS",
    "CLIENT_RAISES",
    "DATAGRAM_RAISES",
    "LIFECYCLE",
    "PING",
    "PONG",
    "SERVER_RAISES",
    "UNSAFE",
    "NameCheck",
    "Named",
    "any_name",
    "assured_name",
    "guarded_name",
    "is_another_word",
    "lifecycle_from_peers",
    "meant_of_lifecycle",
]

ASK_CONTRACT, ASK_PRESENCE = "rpc.describe", "rpc.ping"
"""Methods of an endpoint that describes itself; JSON-RPC keeps names that begin with ``rpc.`` for such."""

LIFECYCLE = frozenset({"start", "connect", "disconnect", "destroy", "close", "socket.disconnected", "error", "data"})
"""Events that this library publishes itself. They live in a registry of their own, so no peer can raise one."""
CLIENT_RAISES = frozenset({"connect", "disconnect", "destroy", "error"})
"""Those of them that a client raises itself; in raw mode ``data``, too, which has no names on the wire."""
SERVER_RAISES = frozenset({"start", "connect", "close", "socket.disconnected", "error"})
"""As ``CLIENT_RAISES``, for servers."""
DATAGRAM_RAISES = frozenset({"start", "connect", "error"})
"""As ``CLIENT_RAISES``, for UDP ports."""

SLIPS = ("connect", "disconnect", "destroy", "socket.disconnected", "error")
"""Those that a name may be misspelt from; ``start``, ``close`` and ``data`` have ordinary words for neighbours."""
MEANT = {
    "connect": ("connect",),
    "connected": ("connect",),
    "connection": ("connect",),
    "start": ("start", "connect"),
    "started": ("start",),
    "listening": ("start",),
    "disconnect": ("disconnect", "close"),
    "disconnected": ("disconnect", "close"),
    "disconnection": ("disconnect", "close"),
    "socket.disconnect": ("close", "disconnect"),
    "socket.disconnected": ("disconnect",),
    "close": ("close", "disconnect"),
    "destroy": ("destroy", "close"),
    "error": ("error",),
    "connect_error": ("error",),
    "connect_failed": ("error",),
    "connect_timeout": ("error",),
    "connection_error": ("error",),
    "reconnect": ("connect",),
    "reconnected": ("connect",),
    "reconnecting": ("error",),
    "reconnect_attempt": ("error",),
    "reconnect_error": ("error",),
    "reconnect_failed": ("error",),
}
"""What other libraries, or the other kind of end, call an event of the lifecycle, and what it may be here.
Ordinary words (``open``, ``ready``, ``end``) are left out: peers emit such, and may do so seldom."""
MEANT_OF_A_SERVER = {"client_connected": ("connect",), "client_disconnected": ("close",)}
"""The same where clients are this endpoint's own; a client may well be told so of others."""

UNSAFE = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)
"""What every JavaScript object inherits: node-ipc 14 refuses these names, and some peers stumble over them."""

NameCheck = Callable[[str], None]


class Named:
    """What can stand for a name, since it has one: ``Event``. ``keep`` is what ``emit`` does of itself with it."""

    __slots__ = ()
    name: str
    keep: Any


def any_name(name: str) -> None:
    """The fast profile: whatever is text."""
    if not isinstance(name, str):
        raise InvalidEvent(f"an event's name must be text, not {type(name).__name__}")


def guarded_name(limit: int, allow_reserved: bool) -> NameCheck:
    """The guarded profile: not empty, not longer than ``limit``, neither unsafe nor (as a rule) reserved."""

    def check(name: str) -> None:
        any_name(name)
        if not name:
            raise InvalidEvent("an event's name must not be empty")
        if 2 * len(name) > limit and (units := _units(name)) > limit:
            raise EventTooLarge(
                f"an event's name of {units} characters is longer than the limit of {limit}: "
                "raise max_event_name_length, or use a shorter name"
            )
        if name in UNSAFE:
            raise InvalidEvent(f"the event name {name!r} is unsafe in JavaScript peers: use another")
        if name in LIFECYCLE and not allow_reserved:
            raise ReservedEvent(
                f"the event name {name!r} is reserved for local lifecycle events: use another, "
                "or set allow_reserved_events to True on both sides"
            )

    return check


def lifecycle_from_peers(settings: Config, raises: frozenset[str]) -> frozenset[str]:
    """The lifecycle's names under which handlers hear what a peer emits, at an endpoint that ``raises`` some itself.

    The fast profile lets every name in, so there it is those that can mean nothing else.
    """
    if settings.profile == "raw":
        return frozenset()
    if settings.allow_reserved_events:
        return LIFECYCLE
    return LIFECYCLE - raises if settings.profile == "fast" else frozenset()


def meant_of_lifecycle(name: str, raises: frozenset[str]) -> str | None:
    """Which of the events that an endpoint ``raises`` itself may be meant by ``name``; None where none is."""
    if name in MEANT_OF_A_SERVER and "close" in raises:
        return MEANT_OF_A_SERVER[name][0]
    known = name if name in MEANT else slipped(name, SLIPS)
    return None if known is None else next((own for own in MEANT[known] if own in raises), None)


def is_another_word(name: str) -> bool:
    """Whether it is no slip, and so may also be what a peer emits."""
    return name in MEANT or name in MEANT_OF_A_SERVER


def _units(name: str) -> int:
    """The length as JavaScript counts it: a character beyond the basic plane is two."""
    return len(name) if name.isascii() else len(name.encode("utf-16-le", "surrogatepass")) // 2


def assured_name(limit: int, allowed: frozenset[str]) -> NameCheck:
    """The assured profile: guarded, and on the list of allowed events."""
    guarded = guarded_name(limit, allow_reserved=False)

    def check(name: str) -> None:
        guarded(name)
        if name not in allowed:
            raise EventNotAllowed(f"the event {name[:64]!r} is not in allowed_events")

    return check
