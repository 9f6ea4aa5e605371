"""The options of ``config.tls``, checked: which there are, what each takes, and that no secret is ever shown.

It reads no file and loads no ``ssl``: contexts are made of these options in ``net/tls.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigError
from . import checks
from .options import shown, spelt, unknown, wrong

__all__ = ["TLSOptions"]


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


_CHECKS: dict[str, checks.Check[Any]] = {
    "private": _file,
    "public": _file,
    "dhparam": _dhparam,
    "trusted_connections": _files,
    "request_cert": checks.flag,
    "reject_unauthorized": checks.flag,
    "key": _pem,
    "cert": _pem,
    "ca": _authorities,
    "servername": checks.name,
    "passphrase": _passphrase,
    "min_version": _min_version,
    "ciphers": checks.name,
    "strict_x509": checks.flag,
}
_SECRETS = frozenset({"key", "passphrase", "private"})  # private: somebody may put the key itself there


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
            known = spelt(name)
            if known not in _CHECKS:
                raise unknown(name, _CHECKS, "tls.")
            if known in values:
                raise ConfigError(f"config option {'tls.' + known!r} is given twice, in two spellings")
            values[known] = self._checked(known, value)
        self._values = {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def _checked(name: str, value: object) -> Any:
        check = _CHECKS[name]
        if value is None or (value is False and check is not checks.flag):
            return None
        try:
            return check(value)
        except checks.Refused as refused:
            what = f"a value of type {type(value).__name__}" if name in _SECRETS else shown(value)
            raise wrong(f"tls.{name}", what, refused) from None

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
        harmless = (f"{name}={self._harmless(name, value)}" for name, value in self._values.items())
        return f"TLSOptions({', '.join(harmless)})"

    @staticmethod
    def _harmless(name: str, value: object) -> str:
        if name in ("key", "passphrase"):
            return "<hidden>"
        return "<certificates>" if name in ("cert", "ca") or _is_pem(value) else shown(value)
