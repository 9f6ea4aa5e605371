"""Where an endpoint is: the kinds of address, how they are written, and where node-ipc puts a name.

An address is a value: making one looks at no file and opens nothing. Reading relative paths takes the current
directory, and ``runtime_socket_root`` takes the environment, both at the moment of the call.

    world                    an id: ``socket_root + appspace + id``, where node-ipc puts it
    unix:/run/app.sock       a Unix socket; ``unix:abstract:name`` is in Linux's abstract namespace
    /run/app.sock ./a.sock   the same without ``unix:``, where it begins with ``/``, ``./``, ``../`` or ``~/`` (home)
    pipe:name                a named pipe of Windows, ``\\\\.\\pipe\\name``
    tcp://host:port          tls://host:port
    udp4://host:port         udp6://[host]:port
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Mapping
from socket import socket
from typing import Literal, Protocol, TypeAlias, TypeGuard

import msgspec

from ..errors import AddressError
from . import checks

__all__ = [
    "SCHEMES",
    "Address",
    "Handed",
    "Local",
    "Pipe",
    "Role",
    "Several",
    "Share",
    "Tcp",
    "Tls",
    "Udp",
    "Unix",
    "has_datagrams",
    "is_host",
    "lies_directly_in",
    "local_client",
    "local_path",
    "local_server",
    "own_user",
    "parse",
    "runtime_socket_root",
]

Role: TypeAlias = Literal["client", "server"]

_ABSTRACT = "abstract:"
_PIPE_PREFIX = "\\\\.\\pipe\\"
_PIPE_PATH_MAX = 256  # characters, the prefix included: the limit of CreateNamedPipe
_ALLOWED = (
    "an id such as 'world', a path such as /run/app.sock or ./app.sock, pipe:name, tcp://host:port, tls://host:port, "
    "udp4://host:port or udp6://[host]:port"
)


class Unix(msgspec.Struct, frozen=True):
    """A Unix socket."""

    path: str
    """The socket's file; a leading NUL means a name in Linux's abstract namespace."""
    also: tuple[str, ...] = ()
    """Further paths that a client tries in order while nobody listens at ``path``; a server ignores them."""

    def __post_init__(self) -> None:
        for path in (self.path, *self.also):
            _check_path(path)

    def __str__(self) -> str:
        if self.path.startswith("\0"):
            return f"unix:{_ABSTRACT}{self.path[1:]}"
        return f"unix:{'//' if self.path.startswith('//') else ''}{self.path}"


class Pipe(msgspec.Struct, frozen=True):
    r"""A named pipe of Windows."""

    name: str
    r"""The name without the prefix ``\\.\pipe\``."""
    also: tuple[str, ...] = ()
    """Further names that a client tries in order while nobody listens at ``name``; a server ignores them."""

    def __post_init__(self) -> None:
        for name in (self.name, *self.also):
            _check_pipe_name(name)

    @property
    def path(self) -> str:
        r"""The pipe's full path, ``\\.\pipe\name``."""
        return _PIPE_PREFIX + self.name

    def __str__(self) -> str:
        return self.path if self.name.startswith("//") else f"pipe:{self.name}"  # which would be read as a URL


class _Port(msgspec.Struct, frozen=True):
    """A port of the network."""

    host: str
    """A host name, or an IPv4 or IPv6 address (without brackets); of UDP one of its family."""
    port: int
    """0 to 65535; a server on port 0 gets a free one."""

    def __post_init__(self) -> None:
        _check_host_and_port(self.host, self.port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{type(self).__name__.lower()}://{host}:{self.port}"


class Tcp(_Port, frozen=True):
    """A TCP port."""


class Tls(_Port, frozen=True):
    """A TCP port that speaks TLS."""


class Udp(_Port, frozen=True):
    """A UDP port."""

    family: Literal["udp4", "udp6"]
    """Over IPv4 or over IPv6."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in ("udp4", "udp6"):
            raise AddressError(f"the family of a UDP port is 'udp4' or 'udp6', not {self.family!r:.80}")
        if self.family == "udp4" and ":" in self.host:
            raise AddressError(f"udp4 cannot use the IPv6 address {self.host!r}: give an IPv4 one or use udp6")
        if self.family == "udp6" and re.fullmatch(r"[0-9]+(\.[0-9]+){3}", self.host):
            raise AddressError(f"udp6 cannot use the IPv4 address {self.host!r}: give an IPv6 one or use udp4")

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.family == "udp6" else self.host
        return f"{self.family}://{host}:{self.port}"


class Share(Protocol):
    """Whose turn it is, where several processes accept from one listening socket."""

    def wait(self) -> float:
        """A connection waits: the seconds to leave it to the other processes before asking again; 0 to take it."""


class Handed(msgspec.Struct, eq=False):
    """Sockets that somebody else has bound (a service manager, a parent process): a server takes them as they are."""

    sockets: tuple[socket, ...]
    """The sockets; who serves them closes them."""
    where: Unix | Tcp | Tls | Udp
    """Where they are; nothing is made, changed or removed there."""
    share: Share | None = None
    """Whose turn it is to accept, where several processes have the same sockets; ``None``: always ours."""

    def __str__(self) -> str:
        return str(self.where)


class Several(msgspec.Struct, eq=False):
    """Several addresses of one server; a UDP port is none of them, as it has no connections."""

    addresses: tuple[Unix | Pipe | Tcp | Tls | Handed, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.addresses))


SCHEMES = ("unix", "pipe", "tcp", "tls", "udp4", "udp6")
"""What an address with a colon begins with."""
Local: TypeAlias = Unix | Pipe
Address: TypeAlias = Unix | Pipe | Tcp | Tls | Udp | Handed | Several


def has_datagrams(address: Address) -> TypeGuard[Udp | Handed]:
    """Whether this is a UDP port, a handed one included: it has no connections."""
    return isinstance(address.where if isinstance(address, Handed) else address, Udp)


def is_host(id: str) -> bool:
    """Whether an id is rather where a server of the network is: ``localhost``, ``192.168.1.5``."""
    return id == "localhost" or re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", id) is not None


def parse(
    text: str,
    *,
    socket_root: str,
    appspace: str,
    role: Role = "client",
    platform: str = sys.platform,
) -> Address:
    """Read an address as the module's head lists them; ``str`` of the result reads back as the same address.

    ``role`` matters to an id only: see ``local_client`` and ``local_server``.

    Raises:
        AddressError: for anything else; the message says what is wrong and what is allowed.
    """
    if not isinstance(text, str) or not text:
        raise AddressError(f"no address: {text!r}. Allowed is {_ALLOWED}")
    text = str.__str__(text)  # an Enum of texts is its value
    if _is_pipe_path(text):
        return _pipe(text, platform)
    if text.startswith(("/", "./", "../")) or _is_in_a_home(text):
        return local_path(text, platform=platform)
    scheme, colon, rest = text.partition(":")
    if not colon:
        return _by_id(text, socket_root, appspace, role, platform)
    match scheme.lower():
        case "unix":
            return _unix(_without_host(text, rest), platform)
        case "pipe":
            return _pipe(_without_slashes(text, rest), platform)
        case "tcp":
            return Tcp(*_host_and_port(text, rest))
        case "tls":
            return Tls(*_host_and_port(text, rest))
        case ("udp4" | "udp6") as family:
            return Udp(*_host_and_port(text, rest), family)
    _refuse_nearly_network(text)
    raise AddressError(f"unknown kind of address {scheme!r} in {text!r}. Allowed is {_ALLOWED}")


def local_server(id: str, *, socket_root: str, appspace: str, platform: str = sys.platform) -> Local:
    """Where a server with this id listens: ``socket_root + appspace + id``, as a path or as a pipe.

    Raises:
        AddressError: the result is no path (empty, a NUL, a directory's name).
    """
    return local_path(f"{socket_root}{appspace}{_checked_id(id)}", platform=platform)


def local_client(id: str, *, socket_root: str, appspace: str, platform: str = sys.platform) -> Local:
    """Where a client looks for a server with this id: as ``local_server``, then where node-ipc 14 puts it.

    Raises:
        AddressError: the result is no path (empty, a NUL, a directory's name).
    """
    own = local_server(id, socket_root=socket_root, appspace=appspace, platform=platform)
    root = runtime_socket_root(platform=platform)
    newer = local_server(id, socket_root=root, appspace=appspace, platform=platform)
    if newer == own:
        return own
    if isinstance(own, Pipe):
        assert isinstance(newer, Pipe)  # one platform gives one kind
        return Pipe(own.name, (newer.name,))
    return Unix(own.path, (newer.path,))


def local_path(path: str | os.PathLike[str], *, platform: str = sys.platform) -> Local:
    r"""The local endpoint at a path of the user's, for a server as for a client.

    A relative path counts from the current directory of this moment, and ``~/`` is the home directory, ``~name/`` that
    of another user. ``abstract:name`` is Linux's abstract namespace; a file of that name is written
    ``./abstract:name``. On Windows the path becomes a pipe's name
    as node-ipc makes it: one leading ``/`` goes, every other ``/`` becomes ``-``; a full ``\\.\pipe\…`` is
    taken as it is.

    Raises:
        AddressError: the path is empty, holds a NUL, or names a directory; or nobody knows that home.
    """
    path = str.__str__(os.fsdecode(path))
    if platform != "win32":
        return _unix(path, platform)
    if _is_pipe_path(path):
        return _pipe(path, platform)
    return Pipe(path.removeprefix("/").replace("/", "-"))


def lies_directly_in(path: str, directory: str) -> bool:
    """Whether a path names something in this directory and not in one below it; no link is followed."""
    return os.path.dirname(os.path.abspath(path)) == os.path.abspath(directory)


def own_user() -> int | None:
    """The user that others see this process run as; None where users have no numbers."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def runtime_socket_root(
    *,
    platform: str = sys.platform,
    environ: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """The directory where node-ipc 14 puts its sockets, with a ``/`` at the end; nothing is created.

    ``$XDG_RUNTIME_DIR/node-ipc/`` where that variable is set, else ``node-ipc-<uid>/`` in the directory for
    temporary files; on Windows ``/node-ipc-<user>/``, which becomes the beginning of a pipe's name.
    ``environ`` and ``user`` are this process's unless given.

    Example:
        >>> node_ipc.runtime_socket_root(platform="linux", environ={"XDG_RUNTIME_DIR": "/run/user/1000"})
        '/run/user/1000/node-ipc/'
    """
    environ = os.environ if environ is None else environ
    if platform == "win32":
        return f"/node-ipc-{_safe_segment(_user_name() if user is None else user)}/"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return _joined(runtime, "node-ipc")
    # node takes the first of these that is not empty and does not look whether it can be written to;
    # tempfile.gettempdir does, so the two could disagree
    temporary = environ.get("TMPDIR") or environ.get("TMP") or environ.get("TEMP")
    temporary = temporary or "/tmp"  # nosec B108 # where node looks; the directory in it is refused if not ours
    return _joined(temporary, f"node-ipc-{os.getuid()}")


# Local addresses


def _by_id(id: str, socket_root: str, appspace: str, role: Role, platform: str) -> Local:
    if "/" in id or "\\" in id:
        raise AddressError(f"an id holds no path: {id!r}. A socket is unix:/path or ./path, a pipe pipe:name")
    find = local_client if role == "client" else local_server
    return find(id, socket_root=socket_root, appspace=appspace, platform=platform)


def _checked_id(id: str) -> str:
    if not id or id.isspace():
        raise AddressError(f"the id is empty: {id!r}. A local address needs one, such as 'world'")
    if id in ("~", ".", ".."):
        raise AddressError(f"this is a directory and no id: {id!r}. A socket in it is {id}/name.sock")
    return str.__str__(id)  # an Enum of texts is its value


def _unix(path: str, platform: str) -> Unix:
    if platform == "win32":
        raise AddressError(f"no Unix sockets on Windows: {path!r}. Write pipe:name")
    if path.startswith(_ABSTRACT):
        if platform != "linux":
            raise AddressError(f"only Linux has abstract sockets: {path!r}. Write unix:/path")
        return Unix("\0" + path.removeprefix(_ABSTRACT))
    _check_path(path)
    path = _with_home(path)
    whole = path if path.startswith("/") else f"{os.getcwd()}/{path}"
    return Unix("/".join(part for part in whole.split("/") if part != "."))


def _without_host(text: str, rest: str) -> str:
    """The path of a URL: a host before it would be taken for a directory in the root."""
    if not rest.startswith("//"):
        return rest
    if rest.startswith("///"):
        return rest[2:]
    name = rest[2:]
    raise AddressError(
        f"{text!r} names a host, and a Unix socket has none: write unix:{name} for a path from the current directory, "
        f"unix:///{name} for one from the root"
    )


def _without_slashes(text: str, rest: str) -> str:
    if rest.startswith("//"):
        raise AddressError(f"{text!r} is written as a URL, and a pipe has only a name: write pipe:{rest.lstrip('/')}")
    return rest


def _is_in_a_home(path: str) -> bool:
    return path.startswith("~") and "/" in path


def _with_home(path: str) -> str:
    if not _is_in_a_home(path):
        return path
    found = checks.at_home(path)
    if found is None:
        raise AddressError(
            f"nobody knows the home directory in {path!r}: write it out (or ./~… for a file of that name)"
        )
    return found


def _check_path(path: str) -> None:
    if not isinstance(path, str):
        raise AddressError(f"a path is text here, not {path.__class__.__name__}: {path!r:.80}. Write os.fsdecode(path)")
    abstract = path.startswith("\0")
    name = path[1:] if abstract else path
    if not name:
        raise AddressError("the socket's path is empty: give a file's name (or abstract:name)")
    if "\0" in name:
        raise AddressError(f"a path cannot hold a NUL: {path!r}. An abstract socket is abstract:name")
    if not abstract and (posixpath.basename(name) in ("", ".", "..") or name == "~"):
        raise AddressError(f"this names a directory and not a socket: {path!r}. Add the socket's own name")
    try:
        os.fsencode(name)
    except UnicodeEncodeError as exc:
        raise AddressError(f"the file system cannot hold this path: {path!r} ({exc.reason})") from exc


def _is_pipe_path(path: str) -> bool:
    return path[: len(_PIPE_PREFIX)].lower() == _PIPE_PREFIX  # Windows does not look at the case


def _pipe(name: str, platform: str) -> Pipe:
    if platform != "win32":
        raise AddressError(f"only Windows has named pipes: {name!r}. Write unix:/path")
    return Pipe(name[len(_PIPE_PREFIX) :] if _is_pipe_path(name) else name)


def _check_pipe_name(name: str) -> None:
    if not name or "\0" in name:
        raise AddressError(f"a pipe's name cannot be empty nor hold a NUL: {name!r}. Write pipe:name")
    if _is_pipe_path(name):
        raise AddressError(f"a pipe's name stands without {_PIPE_PREFIX} or behind one of them: {name!r}")
    if len(_PIPE_PREFIX + name) > _PIPE_PATH_MAX:
        longest = _PIPE_PATH_MAX - len(_PIPE_PREFIX)
        raise AddressError(f"a pipe's name has at most {longest} characters, this one {len(name)}: {name!r}")


# Network addresses


def _refuse_nearly_network(text: str) -> None:
    """A host and a port without their scheme, or with what was to be one."""
    found = re.fullmatch(r"(?:([a-zA-Z0-9]+)/{1,2})?(\[[^\[\]]*\]|[^\[\]:/]+):([0-9]{1,5})", text)
    if found is not None:
        scheme = found[1].lower() if found[1] else ""
        likely = scheme if scheme in SCHEMES[2:] else "tcp"
        raise AddressError(f"not an address: {text!r}. A host and a port are {likely}://{found[2]}:{found[3]}")


def _host_and_port(text: str, rest: str) -> tuple[str, int]:
    found = re.fullmatch(r"//(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^\[\]:]*)):(?P<port>[^:]*)", rest)
    if found is None and re.fullmatch(r"//(?:\[[^\[\]]*\]|[^\[\]:]+)", rest):
        raise AddressError(f"there is no port in {text!r}: write it behind the host, {text}:8000")
    if found is None:
        raise AddressError(
            f"not scheme://host:port: {text!r}. A port is needed, as in tcp://localhost:8000, and an IPv6 address "
            "stands in brackets, tcp://[::1]:8000"
        )
    port = found["port"]
    if not re.fullmatch("[0-9]{1,5}", port):
        raise AddressError(f"the port {port!r} in {text!r} is not a number from 0 to 65535")
    return found["host"] if found["six"] is None else found["six"], int(port)


def _check_host_and_port(host: str, port: int) -> None:
    if not isinstance(host, str):
        raise AddressError(f"a host is text, not {host.__class__.__name__}: {host!r:.80}. Write str(host)")
    if not host:
        raise AddressError("the host is empty: give a name or an address, such as localhost or 127.0.0.1")
    if not host.isprintable() or re.search(r"[\s/@?#\[\]\\]", host):
        raise AddressError(f"not a host's name or address: {host!r}")
    if ":" in host:
        _check_ipv6(host)
    if type(port) is not int or not 0 <= port <= 65535:
        raise AddressError(f"the port {port!r} is not a number from 0 to 65535")


def _check_ipv6(host: str) -> None:
    import ipaddress  # only where needed: the import costs as much as the rest of this module

    try:
        ipaddress.IPv6Address(host)
    except ValueError as exc:
        name, _, port = host.partition(":")
        if port.isdigit():
            raise AddressError(
                f"{host!r} is a host and a port, which are two arguments: {name!r}, {port}, as in "
                f"connect_to_net(id, {name!r}, {port}); as one address they are 'tcp://{host}'"
            ) from None
        raise AddressError(f"not an IPv6 address: {host!r} ({exc})") from exc


# node-ipc 14's root


def _joined(directory: str, name: str) -> str:
    """Join as node's ``path.join`` does: normalised, and never with two slashes at the start."""
    joined = posixpath.normpath(f"{directory}/{name}")
    return f"/{joined.lstrip('/')}/" if joined.startswith("/") else f"{joined}/"


def _user_name() -> str:
    try:
        return os.getlogin()  # on Windows the user's name, as node's os.userInfo has it
    except OSError:
        return "user"


def _safe_segment(value: str) -> str:
    """Replace what is not safe in a path by ``_``, one for each UTF-16 unit, since node counts in those."""
    return re.sub(r"[^a-zA-Z0-9_.-]", lambda found: "_" * (1 + (found[0] > "\uffff")), value)
