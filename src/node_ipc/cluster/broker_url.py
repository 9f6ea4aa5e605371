"""What the URL of a broker says besides where it is: who comes, and how TLS is to be.

Everything that can be wrong with it is found before anything is connected, and no error shows a secret.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qs, unquote

from ..errors import ConfigError

__all__ = ["TLS_FILES", "query_of", "readable", "tls_context", "userinfo", "why_tls_failed"]

TLS_FILES = ("ca", "cert", "key", "passphrase")
"""What the query may say of TLS: files in PEM, and what the key is encrypted with."""


def query_of(parts: SplitResult, names: tuple[str, ...]) -> dict[str, str]:
    """The query's values; raises :class:`ConfigError` for one that is not among the names."""
    try:
        found = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    except ValueError:
        raise ConfigError(f"the query of bus={parts.scheme}://… cannot be read: it is ?name=value&name=value") from None
    if unknown := sorted(set(found) - set(names)):
        raise ConfigError(f"bus={parts.scheme}://…?{unknown[0]:.80}= is not known: there are {', '.join(names)}")
    return found


def userinfo(parts: SplitResult) -> tuple[str | None, str | None]:
    """User and password as they are meant: in a URL they are written with %40 for an @."""
    password = parts.password
    return (unquote(parts.username) if parts.username else None, None if password is None else unquote(password))


def readable(query: dict[str, str], *names: str) -> None:
    """Raise :class:`ConfigError` for a file that cannot be read."""
    for name in names:
        if name in query:
            try:
                os.close(os.open(query[name], os.O_RDONLY))
            except OSError as error:
                raise ConfigError(f"bus=…?{name}={query[name]!r:.200} cannot be read: {error.strerror}") from None


def tls_context(query: dict[str, str]) -> ssl.SSLContext:
    """Trusts the authority in ``ca`` and no other, or without it the system's; shows ``cert`` where there is one."""
    readable(query, "ca", "cert", "key")
    if "key" in query and "cert" not in query:
        raise ConfigError("bus=…?key= needs cert=, the file of the key's certificate")
    try:
        context = ssl.create_default_context(cafile=query.get("ca"))
    except OSError as error:
        raise ConfigError(f"bus=…?ca={query['ca']!r:.200} holds no certificate in PEM: {error}") from None
    if "cert" in query:
        try:
            # without a passphrase OpenSSL would ask whoever sits at the terminal
            context.load_cert_chain(query["cert"], query.get("key"), lambda: query.get("passphrase", ""))
        except (OSError, ValueError) as error:
            key = query.get("key", query["cert"])
            raise ConfigError(
                f"bus=…?cert={query['cert']!r:.200} and its key ({key!r:.200}) cannot be used: {error}. Both are in "
                "PEM and belong together; passphrase= opens a key that is encrypted"
            ) from None
    return context


def why_tls_failed(error: BaseException) -> str | None:
    """What to do about a broker's TLS, given why it could not be connected to; None where the error says it better."""
    chain = list(_chain(error))
    failure = next((each for each in chain if isinstance(each, ssl.SSLError)), None)
    if failure is None:
        if any(isinstance(each, (ConnectionResetError, BrokenPipeError, EOFError)) for each in chain):
            return _with(_ENDED, error)
        return _with(_SILENT, error) if any(isinstance(each, TimeoutError) for each in chain) else None
    if isinstance(failure, ssl.SSLCertVerificationError):
        words = failure.verify_message.rstrip(".")
        if "certificate is not valid for" in words:
            return f"{words}: connect by a name that the broker's certificate has"
        return (
            f"the broker's certificate is not trusted here ({words}): put ?ca=FILE into the URL, with the certificate "
            "of the authority that issued it"
        )
    reason = (
        (failure.reason or "").removeprefix("TLSV13_ALERT_").removeprefix("TLSV1_ALERT_").removeprefix("SSLV3_ALERT_")
    )
    if reason in _ASKS:
        return (
            f"the broker refused this end's certificate, or asks for one ({_words(reason)}): put ?cert=FILE&key=FILE "
            "into the URL"
        )
    if reason in _NO_TLS:
        return "the broker does not speak TLS here: it may at another port, or nats:// or redis:// is meant"
    return f"TLS with the broker failed: {_words(failure.reason or str(failure))}"


_ENDED = (
    "it ended the connection while TLS began, as one does that asks for a certificate, or does not trust this one: put "
    "?cert=FILE&key=FILE into the URL"
)
_SILENT = "nothing came in time, as of one that is away, or does not speak TLS at this port"
_ASKS = frozenset(
    {
        "CERTIFICATE_REQUIRED",
        "UNKNOWN_CA",
        "BAD_CERTIFICATE",
        "HANDSHAKE_FAILURE",
        "CERTIFICATE_UNKNOWN",
        "CERTIFICATE_EXPIRED",
    }
)
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"})


def _with(words: str, error: BaseException) -> str:
    """And what the error says, where it says something."""
    return f"{words} ({error})" if str(error) else words


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
