"""How options work: assigning checks, a wrong name is told the right one, a mapping from JSON is read.

``Options`` holds :class:`Option` attributes; ``Config`` is one, and says which there are. This module knows no single
option but for the two spellings that node-ipc itself has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Self, TypeVar, cast, overload
from weakref import WeakMethod

from ..errors import ConfigError
from .checks import Check, Refused, listed
from .misspelt import meant

__all__ = [
    "FrozenOption",
    "Option",
    "Options",
    "UnknownOption",
    "refuse_to_change",
    "same",
    "shown",
    "snake_case",
    "spelt",
    "unknown",
    "wrong",
]

Read = TypeVar("Read")
Write = TypeVar("Write", contravariant=True)


class UnknownOption(ConfigError, AttributeError):
    """There is no option of this name; the message names the nearest one.

    It is also an ``AttributeError``, so ``hasattr(config, name)`` works.
    """


class FrozenOption(ConfigError, AttributeError):
    """The configuration that an endpoint holds cannot be changed."""


# --- names and values in messages ------------------------------------------------------------------------


def shown(value: object, width: int = 80) -> str:
    """The value's ``repr`` on one line of at most ``width`` characters; never raises."""
    part = value[:width] if isinstance(value, str | bytes) else value
    try:
        text = repr(part)
    except Exception:
        text = f"<{type(value).__name__} without a repr>"
    text = "".join(character if character.isprintable() else " " for character in text[: width + 1])
    return text if len(text) <= width and part == value else text[: width - 1] + "…"


def snake_case(name: str) -> str:
    """``maxRetries`` and ``max-retries`` as ``max_retries``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.replace("-", "_").lower()


_A_CONTEXT = "only a context of your own has it. Set tls to an ssl.SSLContext"
_INSTEAD = {
    **dict.fromkeys(
        ("host", "port"),
        "of TCP and TLS they are in the address, tcp://host:port; ipc has network_host and network_port",
    ),
    **dict.fromkeys(
        ("socket_mode", "socket_group"),
        "a server's socket is its user's own (0600): 'writable_all' opens it for everybody; for some ('allowed_uids') "
        "change its mode or group once the server listens",
    ),
    "ip_type": "a host is tried in both families; 'interfaces.family' chooses one",
    "tls.pfx": "write key and certificate to PEM files (openssl pkcs12 -nodes), for 'tls.private' and 'tls.public'",
    "tls.crl": f"{_A_CONTEXT}, with load_verify_locations() and verify_flags",
    "tls.max_version": f"{_A_CONTEXT}, with maximum_version",
    "tls.ecdh_curve": f"{_A_CONTEXT}, with set_ecdh_curve()",
    "tls.alpn_protocols": f"{_A_CONTEXT}, with set_alpn_protocols()",
    "tls.check_server_identity": f"{_A_CONTEXT}, with check_hostname, or 'tls.servername'",
    "tls.sni_callback": f"{_A_CONTEXT}, with sni_callback",
}
"""What node-ipc's users may look for, and what there is in its place."""
_OF_CONNECT = ("timeout", "wait")
_OF_COUNT = ("workers", "num_workers", "processes")
_ALSO_CALLED = {"interface": "interfaces"}  # node-ipc's README has one name, its code the other


def spelt(name: object) -> str:
    """An option's name as Python spells it, whichever way it came."""
    snake = snake_case(name) if isinstance(name, str) else ""
    return _ALSO_CALLED.get(snake, snake)


def unknown(name: object, known: Collection[str], prefix: str = "", own: Collection[str] = ()) -> UnknownOption:
    """The error for a name that is no option; ``own``: what the call takes besides options."""
    message = f"there is no config option {shown(f'{prefix}{name}')}"
    snake = spelt(name)[:80]
    if snake in known:
        return UnknownOption(f"{message}: in Python it is {prefix + snake!r}")
    if (instead := _INSTEAD.get(prefix + snake)) is not None:
        return UnknownOption(f"{message}: {instead}")
    if own and snake in _OF_CONNECT:
        return UnknownOption(f"{message}, and this call takes none such: {snake}= is for connect()")
    if snake in _OF_COUNT and "count" not in own:
        return UnknownOption(
            f"{message}: one call is one process; node_ipc.scale.workers.run(setup, id, count=4) has 4"
        )
    if "count" in own and snake in _OF_COUNT:
        return UnknownOption(f"{message}: count= is how many workers there are")
    nearest = meant(snake, [*known, *own, *(_OF_CONNECT if own else ())])
    if nearest in own:
        return UnknownOption(f"{message}: did you mean {nearest}=, which this call itself takes?")
    if nearest in _OF_CONNECT:
        return UnknownOption(f"{message}: did you mean {nearest}=? It is for connect(), and this call takes none such")
    if nearest is not None:
        return UnknownOption(f"{message}: did you mean {prefix + nearest!r}?")
    if prefix:
        return UnknownOption(f"{message}; there are {listed(known)}")
    return UnknownOption(f"{message}; help(node_ipc.Config) lists them")


def wrong(name: str, value: str, allowed: object) -> ConfigError:
    return ConfigError(f"config option {name!r}: {value} is not allowed; it takes {allowed}")


# --- options and their owners ----------------------------------------------------------------------------


class _Explanation:
    """``__doc__`` of an option, which ``help()`` shows: read when somebody asks for it."""

    def __get__(self, option: Option[Any, Any] | None, owner: type) -> str:
        if option is None:
            return "One option: ``Read`` is what the attribute gives, ``Write`` what may be assigned to it."
        return option.explained()


class Option(Generic[Read, Write]):
    # One option: ``Read`` is what the attribute gives, ``Write`` what may be assigned to it.
    __doc__ = _Explanation()

    def __init__(
        self,
        default: Read | None,
        check: Check[Read],
        *,
        make: Callable[[], Read] | None = None,
        secret: bool = False,
    ) -> None:
        """``make`` gives a default of its own to each owner; ``secret``: no message and no ``repr`` shows a value."""
        self.default = default
        self.check = check
        self.make = make
        self.secret = secret
        self.name = ""

    def __set_name__(self, owner: type[Options], name: str) -> None:
        self.owner, self.name = owner, name

    def explained(self) -> str:
        """What is written below it in its class, what it takes, and its default."""
        from .written import written_below  # for those who ask for help

        text, example, code = written_below(self.owner).get(self.name, "").partition("\nExample:")
        default = "" if re.search("(?i)default: |the default", text) else f"\nDefault: {_as_written(self.default)}."
        counted = re.search(r"a whole number of (\w+) (?:of|from) ", self.takes)
        unit = f"\nUnit: {counted[1]}." if counted else ""
        return f"{text}{unit}\nTakes: {self.takes}.{default}{example}{code}".strip()

    @property
    def takes(self) -> str:
        """What its check says that it allows."""
        try:
            self.check(object())
        except Refused as refused:
            return str(refused)
        raise AssertionError(f"{self.name} takes anything")

    @property
    def infinite(self) -> bool:
        """Whether it takes infinity, which ``JSON.stringify`` writes as null."""
        try:
            self.check(math.inf)
        except Refused:
            return False
        return True

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: Options, owner: type) -> Read: ...

    def __get__(self, instance: Options | None, owner: type) -> Self | Read:
        if instance is None:
            return self
        value: Read = instance.__dict__[self.name]
        return value

    def __set__(self, instance: Options, value: Write) -> None:
        instance.__dict__[self.name] = self.checked(value, instance._prefix)
        instance._changed(self.name)

    def __delete__(self, instance: Options) -> None:
        self.reset(instance)
        instance._changed(self.name)

    def reset(self, instance: Options) -> None:
        """Put the default back."""
        instance.__dict__[self.name] = self.default if self.make is None else self.make()

    def checked(self, value: object, prefix: str) -> Read:
        """What is kept for ``value``; raises ConfigError where it is not allowed."""
        try:
            return self.check(value)
        except Refused as refused:
            what = f"a value of type {type(value).__name__}" if self.secret else shown(value)
            raise wrong(prefix + self.name, what, refused) from None


def _as_written(value: object) -> str:
    """A default as a program would have it; sizes in MiB besides."""
    text = getattr(value, "__name__", None) or repr(value).replace(r"\x0c", r"\f")
    whole_mib = isinstance(value, int) and value >= _MIB and value % _MIB == 0
    return f"``{text}``" + (f" ({value // _MIB} MiB)" if whole_mib and isinstance(value, int) else "")


_MIB = 1024 * 1024


class Options:
    """Holds options. Assigning checks; a name that is no option is an error that names the right one."""

    options: ClassVar[dict[str, Option[Any, Any]]] = {}
    """All there are, by name."""
    _prefix: ClassVar[str] = ""
    _is_frozen: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        own = {name: option for name, option in vars(cls).items() if isinstance(option, Option)}
        cls.options = {**cls.options, **own}

    @classmethod
    def full_name(cls, name: str) -> str:
        """What messages call an option: ``retry``, ``tls.private``."""
        return cls._prefix + name

    def __init__(self, **options: Any) -> None:
        for option in self.options.values():
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
        return cls(**cls.in_mapping(mapping))

    @classmethod
    def in_mapping(cls, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """What ``from_mapping`` reads there, for ``update``: options under their names in Python, not checked yet."""
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"options come as a mapping (a JSON object), not {shown(mapping)}")
        options: dict[str, Any] = {}
        for name, value in mapping.items():
            known = cls.name_in_mapping(name)
            if known is None:
                continue
            if known in options:
                raise ConfigError(f"config option {cls._prefix + known!r} is given twice, in two spellings")
            options[known] = cls._value_in_mapping(known, value)
        return options

    @classmethod
    def name_in_mapping(cls, name: object) -> str | None:
        """The option that a name in a mapping means; None where it means nothing here, though node-ipc has it."""
        known = spelt(name)
        if known not in cls.options:
            raise unknown(name, cls.options, cls._prefix)
        return known

    @classmethod
    def _value_in_mapping(cls, name: str, value: object) -> object:
        stands_for_infinity = value is None or value == "Infinity"
        return math.inf if stands_for_infinity and cls.options[name].infinite else value

    def update(self, **options: Any) -> None:
        """Assign several options: all of them, or, where one is wrong, none."""
        checked = {}
        for name, value in options.items():
            if name not in self.options:
                raise unknown(name, self.options, self._prefix)
            checked[name] = self.options[name].checked(value, self._prefix)
        self.__dict__.update(checked)
        for name in checked:
            self._changed(name)

    def on_change(self, hear: Callable[[str], None]) -> None:
        """Call ``hear(name)``, a method, as long as its object lives, when an option was assigned or put back."""
        self.__dict__.setdefault("_hearers", []).append(WeakMethod(hear))
        for name in self.options:
            self._own(name)

    def _changed(self, name: str) -> None:
        if "_part_of" in self.__dict__:
            owner, own = self.__dict__["_part_of"]
            owner._changed(own)
        for hearer in self.__dict__.get("_hearers", ()):
            self._own(name)
            if (hear := hearer()) is not None:
                hear(name)

    def _own(self, name: str) -> None:
        """Hear of what changes within an option that holds options."""
        value = getattr(self, name)
        if isinstance(value, Options):
            value.__dict__["_part_of"] = self, name

    def copy(self) -> Self:
        """An independent copy that can be changed; loggers, parsers and SSL contexts are the same objects in both."""
        other = self._kind()()
        for name, value in self._values().items():
            other.__dict__[name] = value.copy() if isinstance(value, Options) else value
        return other

    def frozen(self, **instead: Any) -> Self:
        """A copy that cannot be changed, with other (checked) values for some options.

        Its values lie in slots: reading one costs what reading any attribute does.
        """
        kind = _frozen(self._kind())
        other = cast(Self, object.__new__(kind))
        for name, value in {**self._values(), **instead}.items():
            object.__setattr__(other, name, value.frozen() if isinstance(value, Options) else value)
        return other

    @classmethod
    def _kind(cls) -> type[Self]:
        """The class as it was written, also of a frozen one."""
        return cls.__mro__[1] if cls._is_frozen else cls

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.options}

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Everything but what cannot be copied (a context, a logger) is copied or immutable anyway.
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._kind(), self._is_frozen, self._values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self._kind()):
            return NotImplemented
        return not self._differing(other)

    def _differing(self, other: Options) -> list[str]:
        """The options that are not the same; 0 and False are equal in Python, but not as options."""
        ours, theirs = self._values(), other._values()
        return [name for name, value in ours.items() if not same(value, theirs[name])]

    def __repr__(self) -> str:
        """The options that are not at their default; TLS keys and passphrases are never shown."""
        changed = (f"{name}={shown(getattr(self, name))}" for name in self._differing(self._kind()()))
        return f"{self._kind().__name__}({', '.join(changed)})"

    # A type checker knows the names; these are for those who run without one.
    if not TYPE_CHECKING:  # pragma: no branch - always so while running

        def __setattr__(self, name: str, value: object) -> None:
            if name not in self.options:
                raise unknown(name, self.options, self._prefix)
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown(name, self.options, self._prefix)


Owner = TypeVar("Owner", bound=Options)


def refuse_to_change(self: Options, name: str, _value: object = None) -> NoReturn:
    raise FrozenOption(
        f"config option {self._prefix + name!r} cannot be changed here: an endpoint takes a frozen copy of its "
        "configuration when it is made"
    )


def same(one: object, other: object) -> bool:
    """Whether two values of an option mean the same."""
    alike = isinstance(one, Options) or type(one) is type(other)
    return alike and one == other


_FROZEN: dict[type[Options], type[Options]] = {}


def _frozen(kind: type[Options]) -> type[Options]:
    if kind not in _FROZEN:
        body = {"__slots__": tuple(kind.options), "__module__": kind.__module__, "__doc__": kind.__doc__}
        refusals = {"__setattr__": refuse_to_change, "__delattr__": refuse_to_change, "_is_frozen": True}
        _FROZEN[kind] = type(kind.__name__, (kind,), {**body, **refusals})
    return _FROZEN[kind]


def _restored(kind: type[Owner], is_frozen: bool, options: dict[str, Any]) -> Owner:
    restored = kind(**options)
    return restored.frozen() if is_frozen else restored
