"""The options of ``config.tls``, checked: which there are, what each takes, and that no secret is ever shown.

It reads no file and loads no ``ssl``: contexts are made of these options in ``net/tls.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from ..errors import ConfigError
from . import checks
from .options import Option, Options, refuse_to_change, shown

__all__ = ["SERVER_NEEDS_A_PAIR", "TLSOptions", "unusable"]


def _is_pem(value: object) -> bool:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return isinstance(text, str) and "-----BEGIN" in text


def _file(value: object) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str) and path and "\0" not in path and not _is_pem(path):
        return path
    raise checks.Refused("the path of a file (PEM text itself goes into 'key', 'cert' or 'ca')")


def _files(value: object) -> tuple[str, ...]:
    return tuple(_file(path) for path in value) if isinstance(value, list | tuple) else (_file(value),)


def _pem(value: object) -> str | bytes:
    value = bytes(value) if isinstance(value, bytearray) else value
    if isinstance(value, str | bytes) and _is_pem(value):
        return value
    raise checks.Refused("PEM text (the path of a file goes into 'private', 'public' or 'trusted_connections')")


def _authorities(value: object) -> tuple[str | bytes, ...]:
    """PEM as text or bytes, or DER as bytes; one or several."""
    several = value if isinstance(value, list | tuple) else (value,)
    return tuple(one if isinstance(one, bytes) and one else _pem(one) for one in several)


def _dhparam(value: object) -> str | bytes:
    return _pem(value) if _is_pem(value) else _file(value)


def _passphrase(value: object) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    raise checks.Refused("text or bytes")


def _min_version(value: object) -> str:
    name = getattr(value, "name", value)  # ssl.TLSVersion.TLSv1_3 will do as well as "TLSv1.3"
    name = name.replace("_", ".") if isinstance(name, str) else ""
    if name in ("TLSv1.2", "TLSv1.3"):
        return name
    raise checks.Refused("'TLSv1.2' or 'TLSv1.3'; older ones are not secure")


def _option(check: checks.Check[Any], *, secret: bool = False) -> Option[Any, Any]:
    """``None``, and ``False`` for what is no flag, is the same as leaving the option out."""
    false = ... if check is checks.flag else None
    return Option(None, checks.special(check, none=None, false=false), secret=secret)


class TLSOptions(Options, Mapping[str, Any]):
    """The TLS options, checked and immutable; a mapping of those that were given, names in snake_case.

    Always true, also when empty: ``tls = {}`` is TLS with the system's authorities. ``None`` for any of them, and
    ``False`` for those that are not flags, is the same as leaving it out.

    Raises:
        ConfigError: a name is unknown or comes in two spellings, or a value is not allowed.
    """

    _prefix = "tls."

    private = _option(_file, secret=True)  # somebody may put the key itself there
    """The path of the private key, PEM.

    Relative paths are looked up where the program runs. With an encrypted one, ``passphrase``.
    Read by: clients and servers over TLS.
    """

    public = _option(_file)
    """The path of the certificate (and its chain), PEM.

    Read by: clients and servers over TLS.
    """

    dhparam = _option(_dhparam)
    """The path of the Diffie-Hellman parameters, or they themselves, PEM.

    Read by: servers over TLS.
    """

    trusted_connections = _option(_files)
    """The path of a certificate authority to trust, or a list of paths; kept as a tuple.

    node-ipc's name for it; without any (and without ``ca``) the system's authorities are trusted.
    Read by: clients and servers over TLS.
    """

    request_cert = _option(checks.flag)
    """A server asks clients for a certificate; default: when it has an authority.

    Read by: servers over TLS.
    """

    reject_unauthorized = _option(checks.flag)
    """A peer that cannot be verified is refused; default: True.

    False takes whoever comes, and warns: an attacker in between is not noticed then.
    Read by: clients and servers over TLS.
    """

    key = _option(_pem, secret=True)
    """The private key itself, PEM text or bytes.

    Read by: clients and servers over TLS.
    """

    cert = _option(_pem)
    """The certificate itself (and its chain), PEM text or bytes.

    Read by: clients and servers over TLS.
    """

    ca = _option(_authorities)
    """Authorities to trust: PEM text or bytes, DER bytes, or a list of them; kept as a tuple.

    Read by: clients and servers over TLS.
    """

    servername = _option(checks.name)
    """The name that the server's certificate must have; default: the host.

    For a host that is reached by another name or address than its certificate has.
    Read by: clients over TLS.
    """

    passphrase = _option(_passphrase, secret=True)
    """What the private key is encrypted with, text or bytes.

    Read by: clients and servers over TLS.
    """

    min_version = _option(_min_version)
    """``"TLSv1.2"`` (the default) or ``"TLSv1.3"``.

    Read by: clients and servers over TLS.
    """

    ciphers = _option(checks.name)
    """OpenSSL's list of ciphers for TLS 1.2; default: ECDHE or DHE, with AES-GCM or ChaCha20.

    Read by: clients and servers over TLS.
    """

    strict_x509 = _option(checks.flag)
    """Certificates follow RFC 5280 strictly; default: True. False is for old ones.

    Read by: clients and servers over TLS.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(**self.in_mapping(options))

    @classmethod
    def of(cls, options: Mapping[str, Any] | Literal[False] | None) -> TLSOptions:
        """Checked options of what ``config.tls`` takes, but for a context; ``False`` and ``None`` are none of them."""
        return options if isinstance(options, TLSOptions) else cls(options or {})

    def copy(self) -> Self:
        """Itself: it cannot be changed."""
        return self

    def frozen(self, **instead: Any) -> Self:
        """Itself: it cannot be changed."""
        return self

    if not TYPE_CHECKING:  # pragma: no branch - always so while running
        __setattr__ = __delattr__ = refuse_to_change

    def __getitem__(self, name: str) -> Any:
        value = getattr(self, name) if name in self.options else None
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._values().items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    __eq__ = Mapping.__eq__

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return TLSOptions, (dict(self),)

    def __repr__(self) -> str:
        """Names and harmless values: no key, no passphrase, no PEM."""
        harmless = (f"{name}={self._harmless(name, value)}" for name, value in self.items())
        return f"TLSOptions({', '.join(harmless)})"

    @staticmethod
    def _harmless(name: str, value: object) -> str:
        if name in ("key", "passphrase"):
            return "<hidden>"
        return "<certificates>" if name in ("cert", "ca") or _is_pem(value) else shown(value)


SERVER_NEEDS_A_PAIR = (
    "a TLS server needs a key and a certificate of its own: set tls.private and tls.public to their files, or "
    "tls.key and tls.cert to their PEM text"
)


def unusable(message: str) -> ConfigError:
    """The error of TLS options that no context can be made of."""
    error = ConfigError(message)
    error.code = "ERR_IPC_TLS_CONFIGURATION"
    return error
