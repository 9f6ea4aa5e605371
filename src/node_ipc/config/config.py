"""The options: node-ipc's names in Python spelling, checked when they are assigned.

``Config`` is what the user sets; each endpoint takes a frozen copy of it when it is made. This
module owns names, defaults and what single options take; it knows nothing of sockets, loops or the wire, and
imports neither ``asyncio`` nor ``ssl``. What is stored is always in its final form (``None``, ``False`` and
infinity already turned into what the option's line says), so nobody after it has to check a value again.

Times are milliseconds here, as in node-ipc, and sizes are bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError
from . import bus_options, checks
from .foreign import warn
from .options import Option, Options, shown, spelt
from .tls_options import TLSOptions

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = [
    "ENCODINGS",
    "HARD_MESSAGE_SIZE",
    "PING",
    "PONG",
    "PROFILES",
    "Config",
    "Interfaces",
]

PROFILES = ("raw", "fast", "guarded", "assured")
"""The names that ``parser`` takes."""

ENCODINGS = ("ascii", "utf8", "utf16le", "ucs2", "base64", "hex", "latin1", "binary")
"""The names that ``encoding`` takes, in any case and also as ``utf-8``, ``utf-16le``, ``ucs-2``."""

PING, PONG = "ipc.ping", "ipc.pong"
"""A heartbeat's question and answer: events like any other on the wire, and no handler's business."""

ATTACHMENTS = "ipc.attachments"
"""The answer to an offer to send bytes beside the JSON; as a heartbeat's, no handler's business."""

MIB = 1024 * 1024

HARD_MESSAGE_SIZE = 256 * MIB
"""No message is larger than this many bytes, whatever ``max_message_size`` says."""


# --- what single options take ----------------------------------------------------------------------------


_ENDS_OF_PREFIXES = ("/", "\\", "-", "_", ".")
"""With these a prefix is meant: the slash of a directory, or what stands between two parts of a name."""


def _directory(value: object) -> str:
    """A prefix of socket paths. Only text may lack the slash at its end: a path object means a directory."""
    if isinstance(value, os.PathLike):
        value = os.path.join(os.fsdecode(value), "")
    try:
        text = checks.text(value)
    except checks.Refused as refused:
        raise checks.Refused(f"{refused}, or a path object") from None
    if text.startswith("~"):
        home = checks.at_home(text)
        if home is None:
            raise checks.Refused("a directory whose home is known (or ./~… for one of that name)")
        text = home
    if text and not text.endswith(_ENDS_OF_PREFIXES):
        warn(
            f"socket_root {shown(text)} has no slash at its end: sockets will be beside that directory, as "
            f"{shown(f'{text}app.world')}, and not in it. End it with a slash, or give a path object"
        )
    return text


def _encoding(value: object) -> str:
    if isinstance(value, str):
        name = value.lower()
        name = {"utf-8": "utf8", "utf-16le": "utf16le", "ucs-2": "ucs2"}.get(name, name)
        if name in ENCODINGS:
            return name
    raise checks.Refused(f"one of {checks.listed(ENCODINGS)}")


# JSON text outside its strings is structure, numbers and true, false, null; inside an escape sequence it is the
# backslash, "/bfnrtu and hexadecimal digits. A delimiter needs one character besides these: wherever that one
# occurs it is inside a string, where \uXXXX can stand for it. Line ends and tabs may stand between JSON's parts, but
# no encoder in use here or in node-ipc writes them there (a Raw payload that has some is refused at emit).
_JSON_ITSELF = frozenset(' {}[]:,"\\/0123456789+-.abcdefABCDEFbfnrtutruefalsenull')


def _delimiter(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise checks.Refused("text of at least one character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise checks.Refused("text that UTF-8 can hold: no lone surrogates") from None
    if _JSON_ITSELF.issuperset(value):
        raise checks.Refused(
            "text with at least one character that JSON never has outside its strings nor in an escape "
            r"sequence: a control character such as '\f' or '\n', or one like '|', '<', '!', '~'"
        )
    return str(value)


OF_SECONDS = (
    *("close_timeout", "connect_timeout", "handshake_timeout", "heartbeat", "heartbeat_timeout", "message_timeout"),
    *("bus_heartbeat", "slow_timeout", "udp_peer_ttl"),
)
TOO_SOON = 30
"""Milliseconds in which a peer elsewhere can hardly do anything; as seconds they are usual."""
_told_of: set[str] = set()


def _stop_retrying(value: object) -> int:
    if isinstance(value, bool):
        return value
    number = checks.whole(value)
    if number is None or number < 0:
        raise checks.Refused("True, False, or a whole number of at least 0")
    return number


def _unlink(value: object) -> bool | Literal["force"]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value == "force":
        return "force"
    raise checks.Refused("True, False or 'force'")


def _parser(value: object) -> Any:
    if checks.is_off(value):
        return "guarded"
    if isinstance(value, str):
        if value in PROFILES:
            return value
    elif callable(getattr(value, "encode", None)) and callable(getattr(value, "decode", None)):
        return value
    raise checks.Refused(
        f"one of {checks.listed(PROFILES)}, or an object or a class with the methods encode and decode"
    )


def _allowed_events(value: object) -> frozenset[str] | None:
    return checks.gathered(value, str, "a list, tuple or set of event names, at least one")


def _allowed_uids(value: object) -> frozenset[int] | None:
    allowed = "a numeric user id, or a list, tuple or set of such, at least one"
    if type(value) is int:
        value = [value]
    uids = checks.gathered(value, int, allowed)
    if uids is not None and min(uids) < 0:
        raise checks.Refused(f"None, or {allowed}")
    return uids


def _local_address(value: object) -> str | None:
    if checks.is_off(value):
        return None
    if isinstance(value, str):
        import ipaddress  # only programs that choose an interface pay for it

        try:
            ipaddress.ip_address(value)
        except ValueError:
            pass
        else:
            return str(value)
    raise checks.Refused("the numeric address of an interface, such as '127.0.0.1' or '::1', or None")


def _family(value: object) -> int:
    if checks.is_off(value):
        return 0
    if isinstance(value, str) and value.lower() in ("ipv4", "ipv6"):
        return int(value[-1])
    number = checks.whole(value)
    if number in (0, 4, 6):
        return number
    raise checks.Refused("4 or 'IPv4', 6 or 'IPv6', or 0 for either")


_local_port = checks.special(checks.integer(0, 65535, "a port number"), "{}, or None", none=None, false=None)
_hints = checks.special(checks.integer(0, what="getaddrinfo flags (socket.AI_…) as a number"), none=0, false=0)
_lookup = checks.special(checks.function, none=None, false=None)
_hook = checks.special(checks.function, "{}, or None", none=None, false=None)
_retries = checks.special(
    checks.integer(0, what="a whole number of attempts"),
    "False for no limit, or {}",
    none=False,
    false=False,
    infinite=False,
)


def _interfaces(value: object) -> Interfaces:
    if isinstance(value, Interfaces):
        return value.copy()  # two configs never share one
    if isinstance(value, Mapping):
        return Interfaces.from_mapping(value)
    if checks.is_off(value):
        return Interfaces()
    raise checks.Refused("an Interfaces object, or a mapping of local_address, local_port, family, hints, lookup")


def _is_ssl_context(value: object) -> bool:
    """Told by the class's name, so that ssl is loaded only by those who use it."""
    return any(kind.__module__ == "ssl" and kind.__name__ == "SSLContext" for kind in type(value).__mro__)


def _tls(value: object) -> TLSOptions | SSLContext | Literal[False]:
    if checks.is_off(value):
        return False
    if isinstance(value, TLSOptions) or _is_ssl_context(value):
        return value  # type: ignore[return-value]  # told by name, see above
    if isinstance(value, Mapping):
        return TLSOptions(value)
    raise checks.Refused("False, a mapping of TLS options ({} trusts the system's authorities), an ssl.SSLContext")


# --- the interfaces --------------------------------------------------------------------------------------


class Interfaces(Options):
    """Which local interface network connections go out by: ``config.interfaces``.

    node-ipc's ``False`` for "not set" is taken everywhere, and ``None`` too.
    """

    _prefix = "interfaces."

    local_address: Option[str | None, str | Literal[False] | None] = Option(None, _local_address)
    """The numeric address to connect from; ``None`` and ``False``: the system chooses.

    Read by: clients over TCP and TLS.
    Example:
        >>> Interfaces(local_address="::1").local_address
        '::1'
    """

    local_port: Option[int | None, int | None] = Option(None, _local_port)
    """The port to connect from; ``None``, ``False`` and 0: the system chooses.

    Read by: clients over TCP and TLS.
    """

    family: Option[int, int | str | None] = Option(0, _family)
    """4 (or ``"IPv4"``) or 6 (or ``"IPv6"``): only addresses of that family; 0, ``None`` and ``False``: either.

    Read by: clients over TCP and TLS.
    """

    hints: Option[int, int | None] = Option(0, _hints)
    """Flags for ``getaddrinfo`` (``socket.AI_…``); 0, ``None`` and ``False``: none.

    Read by: clients over TCP and TLS.
    """

    lookup: Option[Callable[..., Any] | None, Callable[..., Any] | Literal[False] | None] = Option(None, _lookup)
    """Resolves host names: called with one, it gives an address or several, or an awaitable of them; ``None`` and
    ``False``: the system does.

    An awaitable needs an event loop: the blocking front takes a plain function.
    Read by: clients over TCP and TLS.
    Example:
        >>> Interfaces(lookup={"db.local": "10.0.0.7"}.get).lookup("db.local")
        '10.0.0.7'
    """


# --- the configuration -----------------------------------------------------------------------------------


def _hostname() -> str:
    import socket  # drivers load it anyway; reading a configuration alone need not

    return socket.gethostname() or "localhost"


class Config(Options):
    """The options of an ``IPC``, of a client or of a server.

    Each assignment is checked at once: what is not allowed raises ``ConfigError`` and changes nothing.
    ``Config(retry=1000)`` sets options while making one, ``Config.from_mapping`` reads a node-ipc
    configuration from JSON, ``del config.retry`` puts the default back. An endpoint takes a frozen copy
    (``settings()``) when it is made. Of an ``IPC``'s config the clients read ``retry``, ``retry_growth``,
    ``max_retries`` and ``stop_retrying`` again when they lost their link, and the log reads its own; any other option
    that is set too late for what is there already is told in the log.

    Times are milliseconds and sizes are bytes. Where an option is a limit, ``math.inf`` means none (stored as
    ``NO_LIMIT``, a very large integer).

    ``help(node_ipc.Config.retry)`` shows one option, and ``node-ipc help retry`` does in a terminal.

    Example:
        >>> config = Config(retry=1000, max_connections=math.inf)
        >>> config.retry = 250
        >>> del config.retry
        >>> config.retry
        500
        >>> Config.from_mapping({"maxRetries": 3, "networkPort": 9000})
        Config(network_port=9000, max_retries=3)
    """

    # Where

    appspace: Option[str, str] = Option("app.", checks.text)
    """What stands before the id in socket paths and pipe names, so that applications do not meet by accident.

    The two ends have to agree on it: the socket of the server ``world`` is ``/tmp/app.world``.
    Read by: clients and servers that are given an id.
    """

    socket_root: Option[str, str | os.PathLike[str]] = Option("/tmp/", _directory)  # nosec B108 # node-ipc's
    """What socket paths begin with: text as it stands (end it with a slash), or a path object; ``~`` is your home.

    Without a slash at its end it is the beginning of a name, and a warning says so.
    ``node_ipc.runtime_socket_root()`` is where node-ipc 14 has its sockets, in a directory of the user's own.
    Windows has no directory: there it is part of the pipe's name.
    Read by: clients and servers that are given an id.
    Example:
        >>> Config(socket_root=pathlib.Path("/run/app")).socket_root
        '/run/app/'
    """

    id: Option[str, str] = Option(None, checks.name, make=_hostname)
    """The name of this service, which its socket's path ends with; default: the host's name.

    Read by: ``ipc.serve``, and the log. ``serve("world")`` and ``connect("world")`` are given an id, and ignore
    this one.
    """

    network_host: Option[str, str] = Option("localhost", checks.name)
    """The host to serve on and to connect to where none is given.

    Read by: ``ipc.serve_net`` and ``ipc.connect_to_net``; addresses such as ``tcp://127.0.0.1:8000`` have their
    own.
    """

    network_port: Option[int, int] = Option(8000, checks.integer(0, 65535, "a port number"))
    """The port where none is given; 0: a server takes a free one, which ``server.address.port`` tells.

    Read by: ``ipc.serve_net`` and ``ipc.connect_to_net``; addresses such as ``tcp://127.0.0.1:8000`` have their
    own.
    """

    interfaces: Option[Interfaces, Interfaces | Mapping[str, Any] | Literal[False] | None] = Option(
        None, _interfaces, make=lambda: Interfaces()
    )
    """Which local interface network connections go out by; an ``Interfaces`` or a mapping of its options, which are
    ``local_address``, ``local_port``, ``family``, ``hints`` and ``lookup``.

    ``None`` and ``False``: nothing set, the system chooses.
    Read by: clients over TCP and TLS.
    Default: nothing set.
    Example:
        >>> Config(interfaces={"family": 4, "local_address": "127.0.0.1"}).interfaces.family
        4
    """

    # What goes over the wire

    encoding: Option[str, str] = Option("utf8", _encoding)
    """How text becomes bytes in raw mode.

    ``utf-8``, ``utf-16le`` and ``ucs-2`` are other spellings, and case does not matter. ``hex`` and ``base64`` read
    the text as such: ``emit("0c")`` is one byte. What is received is always bytes.
    Read by: clients, servers and UDP ports in raw mode.
    Example:
        >>> Config(encoding="UTF-8").encoding
        'utf8'
    """

    raw_buffer: Option[bool, bool] = Option(False, checks.flag)
    """True: bytes instead of events, the same as ``parser = "raw"``; ``emit`` takes the payload alone.

    The two ends have to agree on it.
    Read by: clients, servers and UDP ports.
    """

    delimiter: Option[str, str] = Option("\f", _delimiter)
    r"""What ends a message: text with at least one character that JSON never has outside its strings.

    The two ends have to agree on it. What Python sends may hold it, since it is escaped there; what Node sends may
    not, and node-ipc up to 12 takes a single UTF-16 unit only.
    Unit: text.
    Read by: clients, servers and UDP ports.
    Example:
        >>> Config(delimiter="\n").delimiter_bytes
        b'\n'
    """

    parser: Option[Any, Any] = Option("guarded", _parser)
    """What is read and written, and how much of it is checked.

    ``"guarded"``: events within every limit below. ``"fast"``: the same wire, and node-ipc's own leniency: no limit
    on values and names, and names of lifecycle events are let in. ``"raw"``: bytes, no events. ``"assured"``:
    ``guarded``, and only ``allowed_events``, mutual TLS on the network and an owner-only directory. An object or a
    class with ``encode(type, data)`` and ``decode(data)`` is a format of your own under the same limits. ``None``
    and ``False``: ``"guarded"``.
    Read by: clients, servers and UDP ports.
    Example:
        >>> Config(parser="assured", allowed_events=["order"]).profile
        'assured'
    """

    enc_hook: Option[Any, Any] = Option(None, _hook)
    """What makes JSON of other types: ``enc_hook(value)`` returns something of a type that is known.

    It raises ``TypeError`` or ``NotImplementedError`` for what it does not know either. Formats of your own
    (``parser``) do not ask it. ``None``: what is not known is refused at ``emit``, with ``InvalidPayload``.
    Read by: clients, servers and UDP ports, at ``emit``.
    Example:
        >>> Config(enc_hook=lambda path: str(path)).enc_hook(pathlib.PurePosixPath("/tmp"))
        '/tmp'
    """

    dec_hook: Option[Any, Any] = Option(None, _hook)
    """What makes other types of JSON: ``dec_hook(type, value)`` returns one of ``type``, for handlers, ``receive`` and
    ``request`` that ask for it.

    A ``ValueError`` or ``TypeError`` is a payload that does not fit. ``None``: only what msgspec knows is
    converted.
    Read by: clients, servers and UDP ports.
    Example:
        >>> Config(dec_hook=lambda type, value: type(value)).dec_hook(pathlib.PurePosixPath, "/tmp")
        PurePosixPath('/tmp')
    """

    attachments: Option[str, str] = Option("auto", checks.one_of("auto", "off"))
    """Whether large bytes and arrays may travel beside the JSON, raw: ``"auto"``, where the other end takes them so;
    ``"off"``: never, as base64 text in it always.

    The first message on a link with 16 KiB of bytes or more in one piece says that this end could (one member more,
    which every node-ipc reads over), and whoever knows attachments answers. Handlers get the same either way. With
    the assured profile ``"ipc.attachments"`` has to be in ``allowed_events``, at both ends.
    Read by: clients and servers over streams.
    """

    sync: Option[bool, bool] = Option(False, checks.flag)
    """True: a client sends its next message only when something came back for the last one.

    What waits is bounded by ``max_queued_messages`` and ``max_queued_bytes``. It is node-ipc's; a ``request`` does
    the same for one message, and knows whose the answer is.
    Read by: clients.
    """

    identify_peer: Option[bool, bool] = Option(False, checks.flag)
    """True: a server notes the id that peers claim in their payloads (``claimed_id``); nobody verified it.

    Read by: servers and UDP ports.
    """

    # Who may connect

    readable_all: Option[bool, bool] = Option(False, checks.flag)
    """True: every user of the machine may read from the local socket or pipe.

    A Unix socket is connected to by those who may write: it alone lets nobody in (``writable_all`` does).
    Read by: servers on local sockets and pipes.
    """

    writable_all: Option[bool, bool] = Option(False, checks.flag)
    """True: every user of the machine may write to the local socket or pipe, and so connect to it.

    False: only this user and root, and ``allowed_uids``. The socket's mode is 0600, and both ends ask the kernel
    who the other is.
    Read by: servers on local sockets and pipes.
    """

    allowed_uids: Option[frozenset[int] | None, Collection[int] | int | None] = Option(None, _allowed_uids)
    """The numeric users that local peers may run as besides this user and root; kept as a frozenset.

    ``None`` and ``False``: this user and root only. A server's socket itself stays 0600: change its mode or group
    once it listens, or the kernel lets nobody else connect. A client takes a server that runs as such a user.
    Read by: clients and servers on Unix sockets.
    Example:
        >>> sorted(Config(allowed_uids=[33, 1000]).allowed_uids)
        [33, 1000]
    """

    secure_socket_root: Option[bool | None, bool | None] = Option(None, checks.or_none(checks.flag))
    """Whether local sockets must be in a directory that only its owner can enter.

    ``None``: the assured profile demands it, the others want one where nobody but its owner and root can replace a
    socket. True: demanded. False: any directory will do, as those that containers share, with a warning.
    Read by: servers on Unix sockets.
    """

    unlink: Option[bool | Literal["force"], bool | Literal["force"]] = Option(True, _unlink)
    """Whether a server removes a dead server's socket before it starts.

    True: one that answers nobody is removed, one that lives is ``AddressInUse``. False: never, which workers that
    share a socket want. ``"force"``: also one that may be alive, which is logged. Only sockets are ever removed.
    Read by: servers on Unix sockets.
    """

    tls: Option[TLSOptions | SSLContext | Literal[False], Mapping[str, Any] | SSLContext | Literal[False] | None] = (
        Option(False, _tls, secret=True)
    )
    """TLS on network connections: a mapping of ``TLSOptions``, or an ``ssl.SSLContext``; ``{}`` trusts the system's
    authorities.

    ``False`` and ``None``: no TLS. Names are Python's or node-ipc's (``private``, ``public``,
    ``trustedConnections`` …); key and passphrase are in no message and no ``repr``. ``node-ipc help tls`` lists
    them and makes certificates.
    Read by: clients and servers over TCP (``tls://`` addresses without it trust the system's authorities).
    Example:
        >>> Config(tls={"trustedConnections": "ca.pem"}).tls
        TLSOptions(trusted_connections=('ca.pem',))
    """

    allow_reserved_events: Option[bool, bool] = Option(False, checks.flag)
    """True: peers may emit events with the names of lifecycle events, and handlers hear them besides this side's own.

    False: the guarded profile ends the link of whoever does. The fast one takes them: names that this side never
    raises itself reach their handlers, the others are counted (``stats().reserved``) and told once.
    Read by: clients, servers and UDP ports.
    """

    allowed_events: Option[frozenset[str] | None, Collection[str] | Literal[False] | None] = Option(
        None, _allowed_events
    )
    """The only events that the assured profile sends and takes; kept as a frozenset.

    ``None`` and ``False``: not set, which that profile refuses. Requests need ``"rpc.request"`` and
    ``"rpc.response"`` in it, ``heartbeat`` needs ``"ipc.ping"`` and ``"ipc.pong"``.
    Read by: clients, servers and UDP ports with ``parser = "assured"``.
    Example:
        >>> sorted(Config(allowed_events=("order", "rpc.request")).allowed_events)
        ['order', 'rpc.request']
    """

    # Connections

    max_connections: Option[int, float] = Option(100, checks.limit("connections"))
    """How many clients a server has at once; ``math.inf``: no limit. One more is refused, which is counted and told
    once.

    Read by: servers over streams; with workers, each of them.
    Example:
        >>> Config(max_connections=math.inf).max_connections == sys.maxsize  # how "no limit" is stored
        True
    """

    max_connections_per_uid: Option[int | None, float | None] = Option(None, checks.quota("connections"))
    """How many clients may be of one user; ``None``, ``False`` and ``math.inf``: only ``max_connections`` limits.

    Read by: servers on Unix sockets.
    """

    max_connections_per_host: Option[int | None, float | None] = Option(None, checks.quota("connections"))
    """How many clients may come from one address; ``None``, ``False`` and ``math.inf``: only ``max_connections``
    limits.

    Read by: servers over TCP and TLS.
    """

    max_rooms_per_socket: Option[int, float] = Option(10_000, checks.limit("rooms"))
    """How many rooms one socket may be in at once; ``math.inf``: no limit. ``join`` raises beyond: who joins is often
    what a peer asks for.

    Read by: servers over streams.
    """

    backlog: Option[int, int] = Option(128, checks.integer(1, 65535, "a whole number of connections"))
    """How many connections the kernel holds for a server that has not accepted them yet; the kernel may allow fewer
    (``net.core.somaxconn``).

    Read by: servers over streams.
    """

    connect_timeout: Option[int | None, int | None] = Option(None, checks.or_none(checks.milliseconds()))
    """The time for one attempt to connect; ``None``: 2,000 for local sockets, 5,000 for the network.

    ``timeout=`` of ``connect`` bounds all attempts together, in seconds; this one bounds each.
    Read by: clients.
    """

    handshake_timeout: Option[int, int] = Option(10_000, checks.milliseconds())
    """The time for a TLS handshake, at either end.

    Read by: clients and servers over TLS.
    """

    spin: Option[int, int] = Option(0, checks.integer(0, 1_000_000, "a whole number of microseconds"))
    """How long to look on for the next message before waiting for it; 0: not at all.

    A wait gives the core away, and getting it back takes 10 to 30 µs. Where the two ends have a core each, and the
    other side answers within this time, a round trip takes a fraction of that; 10 to 50 will do. It costs the processor
    time that it looks on, and where both ends share one core it harms, since the other one cannot run meanwhile. When
    nothing came eight times in a row it stops by itself, until messages come that fast again.
    Read by: clients, servers and UDP ports. The front ``IPC`` and the asyncio one look on when something came or went;
    the blocking one does whenever it waits.
    """
    close_timeout: Option[int, int] = Option(5_000, checks.milliseconds(0))
    """How long closing waits for what was emitted to be written, and for the other side to end too; 0: not at all.

    The other side ends when it has read everything. One that hangs is waited for all of this time while it has not read
    what was emitted, and half a second where it is known to have read that, or was sent only requests that nobody
    waits for any more. Linux's Unix sockets tell it, and elsewhere its answers. ``abort()`` ends at once.
    Read by: clients, servers and UDP ports.
    """

    heartbeat: Option[int, int | None] = Option(
        False, checks.special(checks.milliseconds(), "False, or {}", none=False, false=False)
    )
    """After how long a silence the peer is asked whether it is there; ``False`` and ``None``: never.

    The question is the event ``ipc.ping``, which peers of this library answer with ``ipc.pong`` whether or not they
    have a heartbeat themselves; no handler hears of either, not even ``"*"``. To a Node peer both are events like
    any other: one that says nothing by itself needs a handler that answers, as in ``ipc.server.on('ipc.ping',
    (data, socket) => ipc.server.emit(socket, 'ipc.pong', data))``, or its link is cut. With the assured profile
    both names have to be in ``allowed_events``, at both ends. Whoever reads nothing answers nothing: a blocking
    client outside of its calls, handlers that are busy for longer than ``heartbeat_timeout``. UDP has no links and
    no heartbeat. The answer also proves what has arrived: see ``Loss.in_flight``.
    Read by: clients and servers over streams.
    """

    heartbeat_timeout: Option[int, int] = Option(20_000, checks.milliseconds())
    """How long the answer to a heartbeat may take: if nothing at all came by then, the link is cut.

    Read by: clients and servers over streams that have a ``heartbeat``.
    """

    # Reconnecting

    retry: Option[int, int] = Option(500, checks.milliseconds())
    """The first delay before connecting again; later ones grow by ``retry_growth``.

    Read by: clients, and again each time they lost their link.
    """

    retry_growth: Option[float, float] = Option(1.6, checks.factor)
    """By what each delay is longer than the one before, with some chance in it, up to 5 s (local) or 30 s (network).

    They begin anew once a link held: a message came over it, or it was up for 5 s.
    1 is node-ipc's: ``retry``, always and exactly.
    Unit: a factor.
    Read by: clients, and again each time they lost their link.
    """

    max_retries: Option[int, float | None] = Option(False, _retries)
    """How often a client tries again after it lost its link; ``False``, ``None`` and ``math.inf``: no limit.

    It is counted anew once a link held: a message came over it, or it was up for 5 s. What accepts and drops at
    once is given up.
    Read by: clients, and again each time they lost their link.
    Example:
        >>> Config(max_retries=math.inf).max_retries
        False
    """

    stop_retrying: Option[int, int] = Option(False, _stop_retrying)
    """``False``: go on; ``True``: stop now, also when set while running; a number: stop after that many retries.

    Counted as for ``max_retries``; 0: never reconnect. 0 and ``False`` are told apart by their type.
    Unit: attempts.
    Read by: clients, and again each time they lost their link.
    """

    max_protocol_errors: Option[int, float] = Option(5, checks.limit("errors"))
    """After how many protocol errors without a good message in between a client stops reconnecting; ``math.inf``:
    never.

    Read by: clients.
    """

    # Limits on messages

    max_message_size: Option[int, float] = Option(
        16 * MIB,
        checks.special(checks.integer(1, HARD_MESSAGE_SIZE, "a whole number of bytes"), infinite=HARD_MESSAGE_SIZE),
    )
    """The largest message, sent or received; at most 256 MiB, which is also what ``math.inf`` means.

    A larger one is refused at ``emit`` (``FrameTooLarge``); a peer that sends one is cut. Both ends have to allow
    it: node-ipc 14's own limit is 1 MiB.
    Read by: clients, servers and UDP ports (a datagram holds 65,507 bytes at most).
    """

    max_message_values: Option[int, float] = Option(600_000, checks.limit("values", 32_768))
    """How many values a message may have, sent or received; ``math.inf``: no limit.

    It is about one for each comma, ``[`` and ``{``, so that no message holds a process up for longer than a tenth
    of a second or so. The profiles ``fast`` and ``raw`` have no such limit. Messages of up to 64 KiB, which cannot
    have more than 32,768, are not counted.
    Read by: clients, servers and UDP ports.
    """

    max_event_name_length: Option[int, float] = Option(256, checks.limit("characters"))
    """The longest name of an event; ``math.inf``: no limit.

    Counted as JavaScript does: one beyond the basic plane, such as an emoji, is two.
    Read by: clients, servers and UDP ports.
    """

    message_timeout: Option[int, float | None] = Option(
        30_000, checks.special(checks.milliseconds(0), none=0, false=0, infinite=0)
    )
    """How long a message may stay half received; 0, ``False``, ``None`` and ``math.inf``: for ever. Then the link is
    cut.

    Time in which this process itself was held up, as by a handler that works in place, does not count. What will hardly
    become a message (it has another delimiter, say) is an ``error`` after a second.
    Read by: clients and servers over streams.
    """

    max_handler_frames: Option[int, float] = Option(1000, checks.limit("messages"))
    """How many messages of one peer its async handlers may be at work on before nothing more is read from it;
    ``math.inf``: no limit.

    Requests are not among them: their handlers may wait for one another, so of all together 16,384 may be under
    way. The same goes for events while this side waits for an answer of that peer's, which is behind them.
    Read by: clients, servers and UDP ports (whose peers share 64 times as many).
    """

    max_handler_bytes: Option[int, float] = Option(MIB, checks.limit("bytes"))
    """How many bytes these messages have, before nothing more is read; ``math.inf``: no limit.

    Read by: clients, servers and UDP ports.
    """

    max_request_bytes: Option[int, float] = Option(8 * MIB, checks.limit("bytes"))
    """How many bytes of one peer's messages and requests async handlers are at work on, all together, before nothing
    more is read from it; never below ``max_handler_bytes``. ``math.inf``: no limit.

    Read by: clients and servers over streams.
    """

    max_total_received_bytes: Option[int, float] = Option(256 * MIB, checks.limit("bytes"))
    """How many bytes the process holds of all peers together: half received messages, and what async handlers are at
    work on; ``math.inf``: no limit.

    Beyond, the link with the largest half message is cut, if that is more than 64 KiB, and peers whose handlers hold
    more than 64 KiB wait.
    Read by: clients and servers over streams.
    """

    max_unread_events: Option[int, float] = Option(1000, checks.limit("events"))
    """How many events without a handler wait in an asyncio client to be received; ``math.inf``: no limit.

    Beyond, the oldest of those that nobody ever received by name is dropped, counted and told, and for the others
    reading pauses.
    Read by: asyncio clients.
    """

    max_unread_bytes: Option[int, float] = Option(MIB, checks.limit("bytes"))
    """How many bytes such events have, 256 counted for each besides its own; ``math.inf``: no limit.

    Read by: asyncio clients.
    """

    max_inbox_bytes: Option[int, float] = Option(64 * MIB, checks.limit("bytes"))
    """How many bytes of events wait in a blocking client to be received, 256 counted for each besides its own; beyond,
    calls that would have to read more raise; where handlers of ``"*"`` heard it all and nothing was ever received, the
    oldest goes. ``math.inf``: no limit.

    Read by: blocking clients.
    """

    # Limits on what waits to be sent

    max_pending_bytes: Option[int, float] = Option(8 * MIB, checks.limit("bytes"))
    """How many bytes wait for one peer; beyond, ``emit`` raises ``BackpressureError`` and a broadcast follows
    ``slow_policy``. ``math.inf``: no limit.

    Read by: clients, servers and UDP ports.
    """

    soft_pending_bytes: Option[int, float] = Option(MIB, checks.limit("bytes"))
    """From how many waiting bytes on ``emit`` returns False (wait for ``drain()`` then); never above
    ``max_pending_bytes``. ``math.inf``: as much as that.

    Read by: clients, servers and UDP ports.
    """

    slow_timeout: Option[int, float] = Option(10_000, checks.time_limit())
    """How long a peer may stay above ``soft_pending_bytes`` before it is cut; ``math.inf``: for ever.

    Where ``slow_policy`` drops messages, that is how long it may take nothing at all: a slow one stays.
    Time in which this process itself was held up does not count.
    Read by: clients and servers over streams.
    """

    slow_policy: Option[str, str] = Option("disconnect", checks.one_of("disconnect", "drop_newest", "drop_oldest"))
    """What a broadcast does with a peer at its limit: ``"disconnect"`` it, or drop the ``"drop_newest"`` or
    ``"drop_oldest"`` message; so does ``emit`` then, which otherwise raises. ``stats().dropped`` counts.

    Requests and answers are messages, too: what is asked may then end by its time-out.
    Read by: clients and servers over streams.
    """

    max_total_pending_bytes: Option[int, float] = Option(256 * MIB, checks.limit("bytes"))
    """How many bytes wait for all peers of a server together; beyond, the slowest is cut. ``math.inf``: no limit.

    Read by: servers over streams.
    """

    max_queued_messages: Option[int, float] = Option(1000, checks.limit("messages", 0))
    """How many messages a client keeps while its link is down; 0: none. ``math.inf``: no limit.

    They go out in order when the link is back; one more is refused at ``emit`` (``BackpressureError``).
    Read by: clients, and UDP ports until they are bound.
    """

    max_queued_bytes: Option[int, float] = Option(2 * MIB, checks.limit("bytes", 0))
    """How many bytes of messages a client keeps while its link is down. ``math.inf``: no limit.

    Read by: clients, and UDP ports until they are bound.
    """

    # UDP

    max_udp_peers: Option[int, float] = Option(1024, checks.limit("addresses"))
    """How many addresses a UDP server remembers; the one unheard for longest is forgotten first. ``math.inf``: no
    limit.

    Read by: UDP ports.
    """

    udp_peer_ttl: Option[int, int] = Option(25_000, checks.milliseconds())
    """How long an address is remembered after it was last heard; a broadcast reaches those that are.

    Read by: UDP ports.
    """

    # Several servers as one

    bus: Option[Any, Any] = Option(None, bus_options.bus, secret=True)
    """What joins this server to others, so that rooms, broadcasts and requests reach the clients of all of them:
    ``"nats://user:password@host:4222"``, ``"tls://…"``, ``"redis://host:6379"``, ``"rediss://…"``, the servers of one
    NATS cluster (``"nats://one,nats://two"`` or a list), an object with the methods of ``node_ipc.scale.bus.Bus``, or
    in ``workers.run`` True, which needs no broker. ``None``: nothing.

    Read by: servers over streams.
    Example:
        >>> Config(bus="nats://localhost").bus is not None
        True
    """

    bus_group: Option[str | None, str | None] = Option(None, checks.or_none(checks.name))
    """Which servers of a bus belong together, whatever their addresses; ``None``: those of one ``appspace``.

    Read by: servers with a ``bus``.
    """

    bus_policy: Option[str, str] = Option("drop_oldest", checks.one_of("drop_oldest", "raise"))
    """What happens when no more may wait for the bus: the oldest messages are dropped, counted and told at both ends,
    or what emits raises :class:`BackpressureError`. The clients of this process are served either way.

    Read by: servers with a ``bus``.
    """

    bus_heartbeat: Option[int, int] = Option(1_000, checks.milliseconds())
    """How often the other servers hear that this one is there; after three that do not come it is gone for them.

    It has to be the same at all of them.
    Read by: servers with a ``bus``.
    """

    max_bus_pending_messages: Option[int, float] = Option(10_000, checks.limit("messages"))
    """How many messages wait for the bus while it is down or slow; ``math.inf``: no limit.

    Read by: servers with a ``bus``.
    """

    max_bus_pending_bytes: Option[int, float] = Option(8 * MIB, checks.limit("bytes"))
    """How many bytes of messages wait for the bus; ``math.inf``: no limit.

    Read by: servers with a ``bus``.
    """

    # What is logged

    silent: Option[bool, bool] = Option(False, checks.flag)
    """True: ``ipc.log`` does nothing at all, and only mistakes in the program are told on stderr while logging is not
    set up: nothing else would show them.

    Such are handlers that fail; names of events, methods and ids that nothing has, and options that come too late, once
    each; of what a peer can cause as well, the first: a payload that does not fit its handler, an event that no handler
    hears. So is a client that has waited for its first link for 5 s and has no ``error`` handler, and an ``ipc.run()``
    whose server nobody told to start.

    Warnings go to the logger ``node_ipc`` all the same.
    Read by: ``ipc.log``, and each client and server.
    """

    log_in_color: Option[bool, bool] = Option(True, checks.flag)
    """True: ``ipc.log`` uses colours where the output can show them.

    Read by: ``ipc.log``.
    """

    log_depth: Option[int | None, float | None] = Option(
        5, checks.special(checks.integer(0, what="a whole number of levels"), "{}, or None", none=None, infinite=None)
    )
    """How many levels of nested objects ``ipc.log`` shows below the first; ``None`` and ``math.inf``: all.

    Read by: ``ipc.log``.
    """

    logger: Option[Callable[..., Any], Callable[..., Any]] = Option(print, checks.function)
    """Gets each line of ``ipc.log`` as one string.

    Read by: ``ipc.log``.
    Example:
        >>> import logging
        >>> config = Config(logger=logging.getLogger("app").info)
    """

    log_payloads: Option[bool, bool] = Option(False, checks.flag)
    """True: a line of ``ipc.log`` for every event in and out, its payload included.

    Read by: ``ipc.log``, for the endpoints of that ``IPC``.
    """

    observe: Option[bool, bool] = Option(False, checks.flag)
    """True: ``node-ipc top`` can look at servers, over a socket beside their own that only this user can open.

    As :meth:`Server.observe` when they listen.

    Read by: servers, and UDP ports.
    """

    @classmethod
    def name_in_mapping(cls, name: object) -> str | None:
        # Node finds IPType out by itself, to choose between 127.0.0.1 and ::1; "localhost" does that here.
        return None if spelt(name) == "ip_type" else super().name_in_mapping(name)

    def settings(self) -> Config:
        """A frozen copy, which later changes of this configuration do not reach.

        Raises:
            ConfigError: the assured profile is chosen without ``allowed_events``, or ``heartbeat`` where its events
                cannot pass.
        """
        profile = self.profile
        if profile == "assured" and self.allowed_events is None:
            raise ConfigError("parser 'assured' needs 'allowed_events': assign the event names that may pass")
        if self.heartbeat is not False:
            self._check_heartbeat(profile)
        self._tell_of_seconds()
        if profile != "raw" and self.encoding != "utf8":
            self._tell_of_encoding()
        return self.frozen(
            max_request_bytes=max(self.max_request_bytes, self.max_handler_bytes),
            soft_pending_bytes=min(self.soft_pending_bytes, self.max_pending_bytes),
        )

    def _tell_of_seconds(self) -> None:
        """A time that no peer could keep is hardly meant: the number may be one of seconds."""
        for name in OF_SECONDS:
            value = getattr(self, name)
            if value and value is not True and value <= TOO_SOON and name not in _told_of:
                from .foreign import warn  # only what may be a mistake pays for it

                _told_of.add(name)
                warn(
                    f"{name}={value} is {value} ms, since options are milliseconds: for {value} s write "
                    f"{name}={value * 1000}. This is said once for each option"
                )

    def _tell_of_encoding(self) -> None:
        """It would change nothing."""
        if "encoding" not in _told_of:
            from .foreign import warn  # only what may be a mistake pays for it

            _told_of.add("encoding")
            warn(
                f"encoding={self.encoding!r} changes nothing: it is how text becomes bytes in raw mode (raw_buffer), "
                "and events are JSON in UTF-8. This is said once"
            )

    def _check_heartbeat(self, profile: str) -> None:
        if profile == "raw":
            raise ConfigError("config option 'heartbeat' needs events, and raw mode has none: set it to False")
        if profile == "assured" and not {PING, PONG} <= (self.allowed_events or frozenset()):
            raise ConfigError(f"config option 'heartbeat' needs {PING!r} and {PONG!r} in 'allowed_events'")
        if profile != "fast" and self.max_event_name_length < len(PING):
            raise ConfigError(
                f"config option 'heartbeat' needs the event names {PING!r} and {PONG!r}, and 'max_event_name_length' "
                f"is {self.max_event_name_length}: set it to {len(PING)} at least"
            )

    @property
    def profile(self) -> str:
        """``raw``, ``fast``, ``guarded``, ``assured``, or ``custom`` for a codec of one's own."""
        if self.raw_buffer:
            return "raw"
        return self.parser if isinstance(self.parser, str) else "custom"

    @property
    def delimiter_bytes(self) -> bytes:
        """The delimiter as it stands on the wire."""
        return self.delimiter.encode()

    @property
    def delimiter_escape_char(self) -> str | None:
        r"""The character of the delimiter that has to be written as ``\uXXXX`` wherever a frame holds it.

        ``None`` where the delimiter has a control character, since JSON escapes those anyway. It may be any
        other character, also one beyond U+FFFF, which is written as two ``\uXXXX``. Escaping goes for the
        whole frame: names of members hold the character too when it is ``y`` or ``p``.
        """
        usable = [character for character in self.delimiter if character not in _JSON_ITSELF]
        if any(character < " " for character in usable):
            return None
        return min(usable, key=lambda character: (character in "yp", character))

    @property
    def requires_secure_root(self) -> bool:
        """Whether local sockets must be in an owner-only directory, by that option or by the profile."""
        if self.secure_socket_root is None:
            return self.profile == "assured"
        return self.secure_socket_root
