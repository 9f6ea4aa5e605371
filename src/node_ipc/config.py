"""The options: node-ipc's names in Python spelling, checked when they are assigned.

``Config`` is what the user sets, ``Settings`` the frozen copy that each endpoint takes when it is made. This
module owns names, defaults and what each option takes; it knows nothing of sockets, loops or the wire, and
imports neither ``asyncio`` nor ``ssl``. What is stored is always in its final form (``None``, ``False`` and
infinity already turned into what the option's line says), so nobody after it has to check a value again.

Times are milliseconds here, as in node-ipc, and sizes are bytes.
"""

from __future__ import annotations

import math
import operator
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, Self, TypeVar, overload

import msgspec

from .errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = [
    "ENCODINGS",
    "HARD_MESSAGE_SIZE",
    "NO_LIMIT",
    "PROFILES",
    "Config",
    "InterfaceSettings",
    "Interfaces",
    "Settings",
    "TLSOptions",
    "UnknownOption",
]

PROFILES = ("raw", "fast", "guarded", "assured")
"""The names that ``parser`` takes."""

ENCODINGS = ("ascii", "utf8", "utf16le", "ucs2", "base64", "hex", "latin1", "binary")
"""The names that ``encoding`` takes, in any case and also as ``utf-8``, ``utf-16le``, ``ucs-2``."""

KIB = 1024
MIB = 1024 * 1024

HARD_MESSAGE_SIZE = 256 * MIB
"""No message is larger than this many bytes, whatever ``max_message_size`` says."""

NO_LIMIT = sys.maxsize
"""What a limit that was given as infinity is stored as: an integer that nothing reaches."""

LONGEST_TIMER = 2**31 - 1
"""Milliseconds, 24.8 days: what Node's timers hold; a longer one fires at once there."""

Read = TypeVar("Read")
Write = TypeVar("Write", contravariant=True)
Kept = TypeVar("Kept")
Check = Callable[[object], Kept]


class UnknownOption(ConfigError, AttributeError):
    """There is no option of this name; the message names the nearest one.

    It is also an ``AttributeError``, so ``hasattr(config, name)`` works.
    """


# --- what options take -----------------------------------------------------------------------------------
# A check returns what is kept, or raises _Refused with the words that say what is allowed.


class _Refused(Exception):
    """A check's verdict; the option turns it into a ConfigError that names option and value."""


def _whole(value: object) -> int | None:
    """An integer, or a float that is one (JSON's ``1e3``); True and False are not numbers here."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # that is what the except is for
    except TypeError:
        return None


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and value == math.inf


def _is_off(value: object) -> bool:
    """None or False; not 0, which is equal to False but says something else."""
    return value is None or value is False


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _Refused("True or False")


def _integer(low: int, high: int | None = None, what: str = "a whole number") -> Check[int]:
    allowed = f"{what} of at least {low}" if high is None else f"{what} from {low} to {high}"

    def check(value: object) -> int:
        number = _whole(value)
        if number is None or number < low or (high is not None and number > high):
            raise _Refused(allowed)
        return number

    return check


def _milliseconds(low: int = 1) -> Check[int]:
    return _integer(low, LONGEST_TIMER, "a whole number of milliseconds")


def _limit(low: int = 1) -> Check[int]:
    number = _integer(low)

    def check(value: object) -> int:
        if _is_infinite(value):
            return NO_LIMIT
        try:
            return number(value)
        except _Refused as refused:
            raise _Refused(f"{refused}, or math.inf for no limit") from None

    return check


def _or_none(check: Check[Kept]) -> Check[Kept | None]:
    def optional(value: object) -> Kept | None:
        if value is None:
            return None
        try:
            return check(value)
        except _Refused as refused:
            raise _Refused(f"{refused}, or None") from None

    return optional


def _quota(value: object) -> int | None:
    """A limit that need not be there: None, False and infinity say so."""
    if _is_off(value) or _is_infinite(value):
        return None
    return _or_none(_integer(1))(value)


def _one_of(*names: str) -> Check[str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise _Refused(f"one of {_listed(names)}")

    return check


def _listed(names: Collection[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _text(value: object) -> str:
    if isinstance(value, str) and "\0" not in value:
        return str(value)
    raise _Refused("text without NUL characters")


def _name(value: object) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return str(value)
    raise _Refused("text of at least one character, without NUL")


def _directory(value: object) -> str:
    """A prefix of socket paths. Only text may lack the slash at its end: a path object means a directory."""
    if isinstance(value, os.PathLike):
        value = os.path.join(os.fspath(value), "")
    try:
        return _text(value)
    except _Refused as refused:
        raise _Refused(f"{refused}, or a path object") from None


def _encoding(value: object) -> str:
    if isinstance(value, str):
        name = value.lower()
        name = {"utf-8": "utf8", "utf-16le": "utf16le", "ucs-2": "ucs2"}.get(name, name)
        if name in ENCODINGS:
            return name
    raise _Refused(f"one of {_listed(ENCODINGS)}")


# JSON text outside its strings is structure, numbers and true, false, null; inside an escape sequence it is the
# backslash, "/bfnrtu and hexadecimal digits. A delimiter needs one character besides these: wherever that one
# occurs it is inside a string, where \uXXXX can stand for it. Line ends and tabs may stand between JSON's parts, but
# no encoder in use here or in node-ipc writes them there (a Raw payload that has some is refused at emit).
_JSON_ITSELF = frozenset(' {}[]:,"\\/0123456789+-.abcdefABCDEFbfnrtutruefalsenull')


def _delimiter(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _Refused("text of at least one character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Refused("text that UTF-8 can hold: no lone surrogates") from None
    if _JSON_ITSELF.issuperset(value):
        raise _Refused(
            "text with at least one character that JSON never has outside its strings nor in an escape "
            r"sequence: a control character such as '\f' or '\n', or one like '|', '<', '!', '~'"
        )
    return str(value)


def _log_depth(value: object) -> int | None:
    return None if _is_infinite(value) else _or_none(_integer(0))(value)


def _callable(value: object) -> Callable[..., Any]:
    if callable(value):
        return value
    raise _Refused("a callable (which JSON cannot hold: assign it in the program)")


def _max_retries(value: object) -> int:
    if _is_off(value) or _is_infinite(value):
        return False
    number = _whole(value)
    if number is None or number < 0:
        raise _Refused("False for no limit, or a whole number of at least 0")
    return number


def _stop_retrying(value: object) -> int:
    if isinstance(value, bool):
        return value
    number = _whole(value)
    if number is None or number < 0:
        raise _Refused("True, False, or a whole number of at least 0")
    return number


def _unlink(value: object) -> bool | Literal["force"]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value == "force":
        return "force"
    raise _Refused("True, False or 'force'")


def _parser(value: object) -> Any:
    if _is_off(value):
        return "guarded"
    if isinstance(value, str):
        if value in PROFILES:
            return value
    elif callable(getattr(value, "encode", None)) and callable(getattr(value, "decode", None)):
        return value
    raise _Refused(f"one of {_listed(PROFILES)}, or an object or a class with the methods encode and decode")


def _message_size(value: object) -> int:
    if _is_infinite(value):
        return HARD_MESSAGE_SIZE
    return _integer(1, HARD_MESSAGE_SIZE, "a whole number of bytes")(value)


def _message_timeout(value: object) -> int:
    if _is_off(value) or _is_infinite(value):
        return 0
    return _milliseconds(0)(value)


def _heartbeat(value: object) -> int:
    if _is_off(value):
        return False
    try:
        return _milliseconds()(value)
    except _Refused as refused:
        raise _Refused(f"False, or {refused}") from None


def _gathered(value: object, kind: type[Kept], allowed: str) -> frozenset[Kept] | None:
    if _is_off(value):
        return None
    if isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray | Mapping):
        items = list(value)
        if items and all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            return frozenset(items)
    raise _Refused(f"None, or {allowed}")


def _allowed_events(value: object) -> frozenset[str] | None:
    return _gathered(value, str, "a list, tuple or set of event names, at least one")


def _allowed_uids(value: object) -> frozenset[int] | None:
    allowed = "a list, tuple or set of numeric user ids, at least one"
    uids = _gathered(value, int, allowed)
    if uids is not None and min(uids) < 0:
        raise _Refused(f"None, or {allowed}")
    return uids


def _local_address(value: object) -> str | None:
    if _is_off(value):
        return None
    if isinstance(value, str):
        import ipaddress  # only programs that choose an interface pay for it

        try:
            ipaddress.ip_address(value)
        except ValueError:
            pass
        else:
            return str(value)
    raise _Refused("the numeric address of an interface, such as '127.0.0.1' or '::1', or None")


def _local_port(value: object) -> int | None:
    return None if value is False else _or_none(_integer(0, 65535, "a port number"))(value)


def _family(value: object) -> int:
    if _is_off(value):
        return 0
    if isinstance(value, str) and value.lower() in ("ipv4", "ipv6"):
        return int(value[-1])
    number = _whole(value)
    if number in (0, 4, 6):
        return number
    raise _Refused("4 or 'IPv4', 6 or 'IPv6', or 0 for either")


def _hints(value: object) -> int:
    return 0 if _is_off(value) else _integer(0, what="getaddrinfo flags (socket.AI_…) as a number")(value)


def _lookup(value: object) -> Callable[..., Any] | None:
    return None if _is_off(value) else _callable(value)


def _interfaces(value: object) -> Interfaces:
    if isinstance(value, Interfaces):
        return value.copy()  # two configs never share one
    if isinstance(value, Mapping):
        return Interfaces.from_mapping(value)
    if _is_off(value):
        return Interfaces()
    raise _Refused("an Interfaces object, or a mapping of local_address, local_port, family, hints, lookup")


def _is_ssl_context(value: object) -> bool:
    """Told by the class's name, so that ssl is loaded only by those who use it."""
    return any(kind.__module__ == "ssl" and kind.__name__ == "SSLContext" for kind in type(value).__mro__)


def _tls(value: object) -> TLSOptions | SSLContext | Literal[False]:
    if _is_off(value):
        return False
    if isinstance(value, TLSOptions) or _is_ssl_context(value):
        return value  # type: ignore[return-value]  # told by name, see above
    if isinstance(value, Mapping):
        return TLSOptions(value)
    raise _Refused("False, a mapping of TLS options ({} trusts the system's authorities), an ssl.SSLContext")


# --- names and values in messages ------------------------------------------------------------------------


def _shown(value: object, width: int = 80) -> str:
    """The value's ``repr`` on one line of at most ``width`` characters; never raises."""
    part = value[:width] if isinstance(value, str | bytes) else value
    try:
        text = repr(part)
    except Exception:
        text = f"<{type(value).__name__} without a repr>"
    text = "".join(character if character.isprintable() else " " for character in text[: width + 1])
    return text if len(text) <= width and part == value else text[: width - 1] + "…"


def _snake_case(name: str) -> str:
    """``maxRetries`` and ``max-retries`` as ``max_retries``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.replace("-", "_").lower()


_ALSO_CALLED = {"interface": "interfaces"}  # node-ipc's README has one name, its code the other


def _spelt(name: object) -> str:
    """An option's name as Python spells it, whichever way it came."""
    snake = _snake_case(name) if isinstance(name, str) else ""
    return _ALSO_CALLED.get(snake, snake)


def _unknown(name: object, known: Collection[str], prefix: str = "") -> UnknownOption:
    message = f"there is no config option {_shown(f'{prefix}{name}')}"
    snake = _spelt(name)[:80]
    if snake in known:
        return UnknownOption(f"{message}: in Python it is {prefix + snake!r}")
    if snake == "ip_type":
        return UnknownOption(f"{message}: a host is tried in both families; 'interfaces.family' chooses one")
    import difflib  # only a mistake pays for it

    nearest = difflib.get_close_matches(snake, known, 1)
    if nearest:
        return UnknownOption(f"{message}: did you mean {prefix + nearest[0]!r}?")
    if prefix:
        return UnknownOption(f"{message}; there are {_listed(known)}")
    return UnknownOption(f"{message}; help(node_ipc.Config) lists them")


def _wrong(name: str, value: str, allowed: object) -> ConfigError:
    return ConfigError(f"config option {name!r}: {value} is not allowed; it takes {allowed}")


# --- options and their owners ----------------------------------------------------------------------------


class Option(Generic[Read, Write]):
    """One option: ``Read`` is what the attribute gives, ``Write`` what may be assigned to it."""

    def __init__(
        self,
        default: Read | None,
        check: Check[Read],
        *,
        make: Callable[[], Read] | None = None,
        infinite: bool = False,
    ) -> None:
        """``make`` gives a default of its own to each owner; ``infinite``: JSON's null stands for infinity.

        (``JSON.stringify`` writes null for ``Infinity``.)
        """
        self.default = default
        self.check = check
        self.make = make
        self.infinite = infinite
        self.name = ""

    def __set_name__(self, owner: type[_Checked], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: _Checked, owner: type) -> Read: ...

    def __get__(self, instance: _Checked | None, owner: type) -> Self | Read:
        if instance is None:
            return self
        value: Read = instance.__dict__[self.name]
        return value

    def __set__(self, instance: _Checked, value: Write) -> None:
        instance.__dict__[self.name] = self.checked(value, instance._prefix)

    def __delete__(self, instance: _Checked) -> None:
        self.reset(instance)

    def reset(self, instance: _Checked) -> None:
        """Put the default back."""
        instance.__dict__[self.name] = self.default if self.make is None else self.make()

    def checked(self, value: object, prefix: str) -> Read:
        """What is kept for ``value``; raises ConfigError where it is not allowed."""
        try:
            return self.check(value)
        except _Refused as refused:
            # what was meant as TLS options may hold a key
            shown = f"a value of type {type(value).__name__}" if self.name == "tls" else _shown(value)
            raise _wrong(prefix + self.name, shown, refused) from None


class _Checked:
    """Holds options. Assigning checks; a name that is no option is an error that names the right one."""

    _options: ClassVar[dict[str, Option[Any, Any]]] = {}
    _prefix: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        own = {name: option for name, option in vars(cls).items() if isinstance(option, Option)}
        cls._options = {**cls._options, **own}

    def __init__(self, **options: Any) -> None:
        for option in self._options.values():
            option.reset(self)
        self.update(**options)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read options as a node-ipc configuration has them in JSON: camelCase or snake_case.

        ``null`` and ``"Infinity"`` stand for infinity where an option takes that.

        Raises:
            ConfigError: ``mapping`` is not a mapping, a name is unknown or comes in two spellings, or a
                value is not allowed.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"options come as a mapping (a JSON object), not {_shown(mapping)}")
        options: dict[str, Any] = {}
        for name, value in mapping.items():
            spelt = cls._name_in_mapping(name)
            if spelt is None:
                continue
            if spelt in options:
                raise ConfigError(f"config option {cls._prefix + spelt!r} is given twice, in two spellings")
            options[spelt] = value
        return cls(**{name: cls._value_in_mapping(name, value) for name, value in options.items()})

    @classmethod
    def _name_in_mapping(cls, name: object) -> str | None:
        spelt = _spelt(name)
        if spelt not in cls._options:
            raise _unknown(name, cls._options, cls._prefix)
        return spelt

    @classmethod
    def _value_in_mapping(cls, name: str, value: object) -> object:
        stands_for_infinity = value is None or value == "Infinity"
        return math.inf if stands_for_infinity and cls._options[name].infinite else value

    def update(self, **options: Any) -> None:
        """Assign several options: all of them, or, where one is wrong, none."""
        checked = {}
        for name, value in options.items():
            if name not in self._options:
                raise _unknown(name, self._options, self._prefix)
            checked[name] = self._options[name].checked(value, self._prefix)
        self.__dict__.update(checked)

    def copy(self) -> Self:
        """An independent copy; loggers, parsers and SSL contexts are the same objects in both."""
        other = type(self)()
        for name, value in vars(self).items():
            other.__dict__[name] = value.copy() if isinstance(value, _Checked) else value
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Everything but what cannot be copied (a context, a logger) is copied or immutable anyway.
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), dict(vars(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return not self._differing(other)

    def _differing(self, other: _Checked) -> list[str]:
        """The options that are not the same; 0 and False are equal in Python, but not as options."""
        ours, theirs = vars(self), vars(other)
        return [name for name in ours if type(ours[name]) is not type(theirs[name]) or ours[name] != theirs[name]]

    __hash__ = None  # type: ignore[assignment]  # what can change cannot be a key

    def __repr__(self) -> str:
        """The options that are not at their default; TLS keys and passphrases are never shown."""
        changed = (f"{name}={_shown(vars(self)[name])}" for name in self._differing(type(self)()))
        return f"{type(self).__name__}({', '.join(changed)})"

    # A type checker knows the names; these are for those who run without one.
    if not TYPE_CHECKING:  # pragma: no branch - always so while running

        def __setattr__(self, name: str, value: object) -> None:
            if name not in self._options:
                raise _unknown(name, self._options, self._prefix)
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> NoReturn:
            raise _unknown(name, self._options, self._prefix)


Owner = TypeVar("Owner", bound=_Checked)


def _restored(kind: type[Owner], options: dict[str, Any]) -> Owner:
    return kind(**options)


class Interfaces(_Checked):
    """Which local interface network connections go out by: ``config.interfaces``.

    node-ipc's ``False`` for "not set" is taken everywhere, and ``None`` too.
    """

    _prefix = "interfaces."

    local_address: Option[str | None, str | Literal[False] | None] = Option(None, _local_address)
    """The numeric address to connect from; ``None``: the system chooses."""

    local_port: Option[int | None, int | None] = Option(None, _local_port)
    """The port to connect from; ``None`` or 0: the system chooses."""

    family: Option[int, int | str | None] = Option(0, _family)
    """4 (or ``"IPv4"``) or 6 (or ``"IPv6"``): only addresses of that family; 0: either."""

    hints: Option[int, int | None] = Option(0, _hints)
    """Flags for ``getaddrinfo`` (``socket.AI_…``); 0: none."""

    lookup: Option[Callable[..., Any] | None, Callable[..., Any] | Literal[False] | None] = Option(None, _lookup)
    """Resolves host names: called with one, it gives an address or several, or an awaitable of them; ``None``:
    the system does."""

    def settings(self) -> InterfaceSettings:
        """A frozen copy."""
        return InterfaceSettings(**vars(self))


class InterfaceSettings(msgspec.Struct, frozen=True):
    """A frozen copy of ``Interfaces``: the same names and meanings."""

    local_address: str | None = None
    local_port: int | None = None
    family: int = 0
    hints: int = 0
    lookup: Callable[..., Any] | None = None


# --- TLS -------------------------------------------------------------------------------------------------


def _is_pem(value: object) -> bool:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return isinstance(text, str) and "-----BEGIN" in text


def _file(value: object) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str) and path and "\0" not in path and not _is_pem(path):
        return path
    raise _Refused("the path of a file (PEM text itself goes into 'key', 'cert' or 'ca')")


def _files(value: object) -> tuple[str, ...]:
    return tuple(_file(path) for path in value) if isinstance(value, list | tuple) else (_file(value),)


def _pem(value: object) -> str | bytes:
    value = bytes(value) if isinstance(value, bytearray) else value
    if isinstance(value, str | bytes) and _is_pem(value):
        return value
    raise _Refused("PEM text (the path of a file goes into 'private', 'public' or 'trusted_connections')")


def _authorities(value: object) -> tuple[str | bytes, ...]:
    """PEM as text or bytes, or DER as bytes; one or several."""
    several = value if isinstance(value, list | tuple) else (value,)
    return tuple(one if isinstance(one, bytes) and one else _pem(one) for one in several)


def _dhparam(value: object) -> str | bytes:
    return _pem(value) if _is_pem(value) else _file(value)


def _passphrase(value: object) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    raise _Refused("text or bytes")


def _min_version(value: object) -> str:
    name = getattr(value, "name", value)  # ssl.TLSVersion.TLSv1_3 will do as well as "TLSv1.3"
    name = name.replace("_", ".") if isinstance(name, str) else ""
    if name in ("TLSv1.2", "TLSv1.3"):
        return name
    raise _Refused("'TLSv1.2' or 'TLSv1.3'; older ones are not secure")


_TLS_CHECKS: dict[str, Check[Any]] = {
    "private": _file,
    "public": _file,
    "dhparam": _dhparam,
    "trusted_connections": _files,
    "request_cert": _flag,
    "reject_unauthorized": _flag,
    "key": _pem,
    "cert": _pem,
    "ca": _authorities,
    "servername": _name,
    "passphrase": _passphrase,
    "min_version": _min_version,
    "ciphers": _name,
    "strict_x509": _flag,
}
_TLS_SECRETS = frozenset({"key", "passphrase", "private"})  # private: somebody may put the key itself there


class TLSOptions(Mapping[str, Any]):
    """The TLS options, checked and immutable; names in snake_case, only those that were given.

    Always true, also when empty: ``tls = {}`` is TLS with the system's authorities.

    =======================  ==============================================================================
    ``private``              path of the private key, PEM
    ``public``               path of the certificate (and its chain), PEM
    ``dhparam``              path of the Diffie-Hellman parameters, or they themselves, PEM
    ``trusted_connections``  path of a certificate authority to trust, or a list of paths; kept as a tuple
    ``request_cert``         a server asks clients for a certificate (default: when it has an authority)
    ``reject_unauthorized``  a peer that cannot be verified is refused (default True)
    ``key``, ``cert``        the key and the certificate themselves, PEM text or bytes
    ``ca``                   authorities: PEM text or bytes, DER bytes, or a list of them; kept as a tuple
    ``servername``           the name that the server's certificate must have (default: the host)
    ``passphrase``           of the private key
    ``min_version``          ``"TLSv1.2"`` (default) or ``"TLSv1.3"``
    ``ciphers``              OpenSSL's list of ciphers for TLS 1.2
    ``strict_x509``          certificates follow RFC 5280 strictly (default True; False for old ones)
    =======================  ==============================================================================

    ``None`` for any of them, and ``False`` for those that are not flags, is the same as leaving it out.
    """

    __slots__ = ("_values",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        values: dict[str, Any] = {}
        for name, value in options.items():
            spelt = _spelt(name)
            if spelt not in _TLS_CHECKS:
                raise _unknown(name, _TLS_CHECKS, "tls.")
            if spelt in values:
                raise ConfigError(f"config option {'tls.' + spelt!r} is given twice, in two spellings")
            values[spelt] = self._checked(spelt, value)
        self._values = {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def _checked(name: str, value: object) -> Any:
        check = _TLS_CHECKS[name]
        if value is None or (value is False and check is not _flag):
            return None
        try:
            return check(value)
        except _Refused as refused:
            shown = f"a value of type {type(value).__name__}" if name in _TLS_SECRETS else _shown(value)
            raise _wrong(f"tls.{name}", shown, refused) from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return TLSOptions, (dict(self._values),)

    def __repr__(self) -> str:
        """Names and harmless values: no key, no passphrase, no PEM."""
        shown = (f"{name}={self._harmless(name, value)}" for name, value in self._values.items())
        return f"TLSOptions({', '.join(shown)})"

    @staticmethod
    def _harmless(name: str, value: object) -> str:
        if name in ("key", "passphrase"):
            return "<hidden>"
        return "<certificates>" if name in ("cert", "ca") or _is_pem(value) else _shown(value)


# --- the configuration -----------------------------------------------------------------------------------


def _hostname() -> str:
    import socket  # drivers load it anyway; reading a configuration alone need not

    return socket.gethostname() or "localhost"


def _profile(raw_buffer: bool, parser: object) -> str:
    if raw_buffer:
        return "raw"
    return parser if isinstance(parser, str) else "custom"


class Config(_Checked):
    """The options of an ``IPC``, of a client or of a server.

    Each assignment is checked at once: what is not allowed raises ``ConfigError`` and changes nothing.
    ``Config(retry=1000)`` sets options while making one, ``Config.from_mapping`` reads a node-ipc
    configuration from JSON, ``del config.retry`` puts the default back. An endpoint takes a frozen copy
    (``settings()``) when it is made; only ``stop_retrying`` of an ``IPC``'s config is read again later.

    Times are milliseconds and sizes are bytes. Where an option is a limit, ``math.inf`` means none (stored as
    ``NO_LIMIT``, a very large integer).
    """

    # Where

    appspace: Option[str, str] = Option("app.", _text)
    """Put before the id in socket paths, so that applications do not meet by accident."""

    socket_root: Option[str, str | os.PathLike[str]] = Option("/tmp/", _directory)
    """What socket paths begin with: text as it stands (end it with a slash), or a path object."""

    id: Option[str, str] = Option(None, _name, make=_hostname)
    """The name of this service; default: the host's name."""

    network_host: Option[str, str] = Option("localhost", _name)
    """The host to serve on and to connect to where none is given."""

    network_port: Option[int, int] = Option(8000, _integer(0, 65535, "a port number"))
    """The port where none is given; 0: a server takes a free one."""

    interfaces: Option[Interfaces, Interfaces | Mapping[str, Any] | Literal[False] | None] = Option(
        None, _interfaces, make=lambda: Interfaces()
    )
    """Which local interface network connections go out by; an ``Interfaces`` or a mapping of its options."""

    # What goes over the wire

    encoding: Option[str, str] = Option("utf8", _encoding)
    """How text becomes bytes in raw mode: ascii, utf8, utf16le, ucs2, base64, hex, latin1 or binary."""

    raw_buffer: Option[bool, bool] = Option(False, _flag)
    """True: bytes instead of events, the same as ``parser = "raw"``."""

    delimiter: Option[str, str] = Option("\f", _delimiter)
    """What ends a message: text with at least one character that JSON never has outside its strings."""

    parser: Option[Any, Any] = Option("guarded", _parser)
    """The profile ``"raw"``, ``"fast"``, ``"guarded"`` or ``"assured"``, or a codec of one's own: an object
    or a class with ``encode`` and ``decode``. ``None`` and ``False`` are the default, ``"guarded"``."""

    sync: Option[bool, bool] = Option(False, _flag)
    """True: a client sends its next message only when something came back for the last one."""

    identify_peer: Option[bool, bool] = Option(False, _flag)
    """True: a server notes the id that peers claim in their payloads (``claimed_id``); nobody verified it."""

    # Who may connect

    readable_all: Option[bool, bool] = Option(False, _flag)
    """True: every user of the machine may read from the local socket or pipe."""

    writable_all: Option[bool, bool] = Option(False, _flag)
    """True: every user of the machine may write to the local socket or pipe, and so connect to it."""

    allowed_uids: Option[frozenset[int] | None, Collection[int] | Literal[False] | None] = Option(None, _allowed_uids)
    """The numeric users that local peers may run as, kept as a frozenset; ``None``: this user and root."""

    secure_socket_root: Option[bool | None, bool | None] = Option(None, _or_none(_flag))
    """Whether local sockets must be in a directory that only its owner can enter; ``None``: the assured
    profile demands it, the others do not."""

    unlink: Option[bool | Literal["force"], bool | Literal["force"]] = Option(True, _unlink)
    """Whether a server removes a dead server's socket before it starts. ``False``: never; ``"force"``: also
    one that may be alive (logged)."""

    tls: Option[TLSOptions | SSLContext | Literal[False], Mapping[str, Any] | SSLContext | Literal[False] | None] = (
        Option(False, _tls)
    )
    """TLS on network connections: a mapping of ``TLSOptions``, or an ``ssl.SSLContext``; ``False`` or
    ``None``: no TLS."""

    allow_reserved_events: Option[bool, bool] = Option(False, _flag)
    """True: the guarded profile takes events with the names of lifecycle events from peers."""

    allowed_events: Option[frozenset[str] | None, Collection[str] | Literal[False] | None] = Option(
        None, _allowed_events
    )
    """The only events that the assured profile sends and takes, kept as a frozenset; ``None``: not set, which
    that profile refuses."""

    # Connections

    max_connections: Option[int, float] = Option(100, _limit(), infinite=True)
    """How many clients a server has at once."""

    max_connections_per_uid: Option[int | None, float | None] = Option(None, _quota)
    """How many of them may be of one user (local sockets); ``None``: only ``max_connections`` limits."""

    max_connections_per_host: Option[int | None, float | None] = Option(None, _quota)
    """How many of them may come from one address (network); ``None``: only ``max_connections`` limits."""

    backlog: Option[int, int] = Option(128, _integer(1, 65535))
    """How many connections the kernel holds for a server that has not accepted them yet."""

    connect_timeout: Option[int | None, int | None] = Option(None, _or_none(_milliseconds()))
    """The time for one attempt to connect (ms); ``None``: 2,000 for local sockets, 5,000 for the network."""

    handshake_timeout: Option[int, int] = Option(10_000, _milliseconds())
    """The time for a TLS handshake (ms), at either end."""

    close_timeout: Option[int, int] = Option(5_000, _milliseconds(0))
    """How long closing waits for what was emitted to be written (ms); 0: not at all."""

    heartbeat: Option[int, int | None] = Option(False, _heartbeat)
    """After how long a silence the peer is asked whether it is there (ms); ``False``: never.

    The question is the event ``ipc.ping``, which peers of this library answer with ``ipc.pong`` whether or not they
    have a heartbeat themselves; no handler hears of either, not even ``"*"``. To a Node peer both are events like any
    other: one that says nothing by itself needs a handler that answers, as in
    ``ipc.server.on('ipc.ping', (data, socket) => ipc.server.emit(socket, 'ipc.pong', {}))``, or its link is cut. With
    the assured profile both names have to be in ``allowed_events``, at both ends. Whoever reads nothing answers
    nothing: a blocking client outside of its calls, handlers that are busy for longer than ``heartbeat_timeout``. UDP
    has no links and no heartbeat."""

    heartbeat_timeout: Option[int, int] = Option(20_000, _milliseconds())
    """How long the answer to a heartbeat may take (ms): if nothing at all came by then, the link is cut."""

    # Reconnecting

    retry: Option[int, int] = Option(500, _milliseconds())
    """The first delay before connecting again (ms); later ones grow."""

    max_retries: Option[int, float | None] = Option(False, _max_retries, infinite=True)
    """How often a client tries again after it lost its link; ``False``, ``None``, infinity: no limit."""

    stop_retrying: Option[int, int] = Option(False, _stop_retrying)
    """``False``: go on; ``True``: stop now, also when set while running; a number: stop after that many
    retries since the link was last up; 0: never reconnect. 0 and ``False`` are told apart by their type."""

    max_protocol_errors: Option[int, float] = Option(5, _limit(), infinite=True)
    """After how many protocol errors without a good message in between a client stops reconnecting."""

    # Limits on messages

    max_message_size: Option[int, float] = Option(16 * MIB, _message_size, infinite=True)
    """The largest message, sent or received (bytes); at most 256 MiB, which is also what infinity means."""

    max_event_name_length: Option[int, float] = Option(256, _limit(), infinite=True)
    """The longest name of an event (characters)."""

    message_timeout: Option[int, float | None] = Option(30_000, _message_timeout, infinite=True)
    """How long a message may stay half received (ms); 0, ``False``, ``None`` or infinity: for ever."""

    max_handler_frames: Option[int, float] = Option(16, _limit(), infinite=True)
    """How many messages of one peer wait for its async handlers before nothing more is read from it.

    While this side waits for an answer of that peer's, which is behind those messages, 16,384 may wait."""

    max_handler_bytes: Option[int, float] = Option(MIB, _limit(), infinite=True)
    """How many bytes of messages wait so; while an answer is waited for, ``max_pending_bytes``."""

    max_inbox_bytes: Option[int, float] = Option(64 * MIB, _limit(), infinite=True)
    """How many bytes of events wait in a blocking client to be received, 256 counted for each besides its own;
    beyond, calls that would have to read more raise."""

    # Limits on what waits to be sent

    max_pending_bytes: Option[int, float] = Option(8 * MIB, _limit(), infinite=True)
    """How many bytes wait for one peer; beyond, ``emit`` raises and a broadcast follows ``slow_policy``."""

    soft_pending_bytes: Option[int, float] = Option(MIB, _limit(), infinite=True)
    """From how many waiting bytes on ``emit`` returns False; never above ``max_pending_bytes``."""

    slow_timeout: Option[int, int] = Option(10_000, _milliseconds())
    """How long a peer may stay above ``soft_pending_bytes`` before it is cut (ms)."""

    slow_policy: Option[str, str] = Option("disconnect", _one_of("disconnect", "drop_newest", "drop_oldest"))
    """What a broadcast does with a peer at its limit: ``"disconnect"`` it, or drop the ``"drop_newest"`` or
    ``"drop_oldest"`` message."""

    max_total_pending_bytes: Option[int, float] = Option(256 * MIB, _limit(), infinite=True)
    """How many bytes wait for all peers of a server together; beyond, the slowest is cut."""

    max_queued_messages: Option[int, float] = Option(1000, _limit(0), infinite=True)
    """How many messages a client keeps while its link is down; 0: none."""

    max_queued_bytes: Option[int, float] = Option(2 * MIB, _limit(0), infinite=True)
    """How many bytes of messages a client keeps while its link is down."""

    # UDP

    max_udp_peers: Option[int, float] = Option(1024, _limit(), infinite=True)
    """How many addresses a UDP server remembers; the one unheard for longest is forgotten first."""

    udp_peer_ttl: Option[int, int] = Option(25_000, _milliseconds())
    """How long an address is remembered after it was last heard (ms)."""

    # What is logged

    silent: Option[bool, bool] = Option(False, _flag)
    """True: ``ipc.log`` does nothing at all."""

    log_in_color: Option[bool, bool] = Option(True, _flag)
    """True: ``ipc.log`` uses colours where the output can show them."""

    log_depth: Option[int | None, float | None] = Option(5, _log_depth, infinite=True)
    """How many levels of nested objects ``ipc.log`` shows below the first; ``None``: all."""

    logger: Option[Callable[..., Any], Callable[..., Any]] = Option(print, _callable)
    """Gets each line of ``ipc.log`` as one string."""

    log_payloads: Option[bool, bool] = Option(False, _flag)
    """True: the library's own log lines show payloads too."""

    @classmethod
    def _name_in_mapping(cls, name: object) -> str | None:
        # Node finds IPType out by itself, to choose between 127.0.0.1 and ::1; "localhost" does that here.
        return None if _spelt(name) == "ip_type" else super()._name_in_mapping(name)

    def settings(self) -> Settings:
        """A frozen copy, which later changes of this configuration do not reach.

        Raises:
            ConfigError: the assured profile is chosen without ``allowed_events``, or ``heartbeat`` where its events
                cannot pass.
        """
        profile = _profile(self.raw_buffer, self.parser)
        if profile == "assured" and self.allowed_events is None:
            raise ConfigError("parser 'assured' needs 'allowed_events': assign the event names that may pass")
        if self.heartbeat is not False:
            self._check_heartbeat(profile)
        values = dict(vars(self))
        values["interfaces"] = self.interfaces.settings()
        values["soft_pending_bytes"] = min(self.soft_pending_bytes, self.max_pending_bytes)
        return Settings(**values)

    def _check_heartbeat(self, profile: str) -> None:
        from .codecs.names import PING, PONG  # only where there is a heartbeat

        if profile == "raw":
            raise ConfigError("config option 'heartbeat' needs events, and raw mode has none: set it to False")
        if profile == "assured" and not {PING, PONG} <= (self.allowed_events or frozenset()):
            raise ConfigError(f"config option 'heartbeat' needs {PING!r} and {PONG!r} in 'allowed_events'")
        if profile != "fast" and self.max_event_name_length < len(PING):
            raise ConfigError(
                f"config option 'heartbeat' needs the event names {PING!r} and {PONG!r}, and 'max_event_name_length' "
                f"is {self.max_event_name_length}: set it to {len(PING)} at least"
            )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen copy of a ``Config``: the same names and meanings, and what follows from them.

    Made by ``Config.settings()``, which is what checks the values.
    """

    appspace: str
    socket_root: str
    id: str
    network_host: str
    network_port: int
    interfaces: InterfaceSettings
    encoding: str
    raw_buffer: bool
    delimiter: str
    parser: Any
    sync: bool
    identify_peer: bool
    readable_all: bool
    writable_all: bool
    allowed_uids: frozenset[int] | None
    secure_socket_root: bool | None
    unlink: bool | Literal["force"]
    tls: TLSOptions | SSLContext | Literal[False]
    allow_reserved_events: bool
    allowed_events: frozenset[str] | None
    max_connections: int
    max_connections_per_uid: int | None
    max_connections_per_host: int | None
    backlog: int
    connect_timeout: int | None
    handshake_timeout: int
    close_timeout: int
    heartbeat: int
    heartbeat_timeout: int
    retry: int
    max_retries: int
    stop_retrying: int
    max_protocol_errors: int
    max_message_size: int
    max_event_name_length: int
    message_timeout: int
    max_handler_frames: int
    max_handler_bytes: int
    max_inbox_bytes: int
    max_pending_bytes: int
    soft_pending_bytes: int
    slow_timeout: int
    slow_policy: str
    max_total_pending_bytes: int
    max_queued_messages: int
    max_queued_bytes: int
    max_udp_peers: int
    udp_peer_ttl: int
    silent: bool
    log_in_color: bool
    log_depth: int | None
    logger: Callable[..., Any]
    log_payloads: bool

    @property
    def profile(self) -> str:
        """``raw``, ``fast``, ``guarded``, ``assured``, or ``custom`` for a codec of one's own."""
        return _profile(self.raw_buffer, self.parser)

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
    def retry_limit(self) -> int | None:
        """``max_retries`` as a number; ``None``: no limit."""
        return None if self.max_retries is False else self.max_retries

    @property
    def requires_secure_root(self) -> bool:
        """Whether local sockets must be in an owner-only directory, by that option or by the profile."""
        if self.secure_socket_root is None:
            return self.profile == "assured"
        return self.secure_socket_root

    def local_path(self, id: str | None = None) -> str:
        """Where the local socket of ``id`` is: ``socket_root + appspace + id``; ``None``: of this service."""
        return self.socket_root + self.appspace + (self.id if id is None else id)
