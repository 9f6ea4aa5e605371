"""What a failed TLS handshake is called in plain words, and what to do about it.

Tables and sentences only: ``tls.py`` collects the facts (OpenSSL's numbers and names, the certificates the
other end sent), this module words them. It imports no ``ssl``. Whatever comes out of a certificate was
written by a stranger: it is escaped and cut before it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

__all__ = ["NO_TLS", "Certificate", "Side", "alert", "failure", "refusal"]

Side = Literal["client", "server"]
"""Which of the two ends we are."""

NAMES_SHOWN = 8
TEXT_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the sentences need of one certificate; nobody has verified it."""

    subject: str
    """``CN 'localhost', O 'Example'``."""
    issuer: str
    """The same of who signed it."""
    common_name: str | None
    """The subject's common name, as TLS once used it for the host."""
    names: tuple[str, ...]
    """The subject alternative names: ``DNS 'localhost'``, ``IP '127.0.0.1'``."""
    not_before: float
    """Valid from here, in seconds since 1970."""
    not_after: float
    """Valid until here, in seconds since 1970."""


def shown(text: str) -> str:
    """A stranger's text on one line, in quotes and not long."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return f"'{escaped if len(escaped) <= TEXT_SHOWN else escaped[:TEXT_SHOWN] + '…'}'"


# --- a certificate that this side refused -----------------------------------------------------------------

# The numbers are X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 27})
_WRONG_PURPOSE = 26
_WRONG_NAME = frozenset({62, 64})
_WEAK = {
    66: "has a key that is too weak",
    67: "is signed by an authority whose key is too weak",
    68: "is signed with a digest that is too weak",
}
_STRICT = frozenset(range(80, 95))  # checked only because VERIFY_X509_STRICT is on


def refusal(side: Side, number: int, words: str, servername: str, chain: Sequence[Certificate], now: float) -> str:
    """Why this side refused the other's certificate.

    ``number`` and ``words`` are OpenSSL's, ``chain`` is what the other end sent, its own certificate first
    (empty where it is not known), ``now`` is the time in seconds since 1970.
    """
    peer = "server" if side == "client" else "client"
    whose = f"the {peer}'s certificate"
    if number in _UNKNOWN_AUTHORITY:
        return _unknown_authority(peer, whose, chain)
    if number in _WRONG_NAME:
        return _wrong_name(whose, servername, chain)
    if number == _EXPIRED:
        late = next((one for one in chain if one.not_after < now), None)
        since = f"expired on {_day(late.not_after)}" if late else "has expired"
        return f"{_dated(whose, chain, late)} {since}: renew it"
    if number == _NOT_YET_VALID:
        early = next((one for one in chain if one.not_before > now), None)
        until = f"valid before {_day(early.not_before)}" if early else "valid yet"
        return f"{_dated(whose, chain, early)} is not {until}: check the clocks of both machines"
    if number == _WRONG_PURPOSE:
        return (
            f"{whose} is not meant for a {peer}: its extended key usage must include {peer}Auth "
            "(and its authority's, where it has one)"
        )
    if number in _WEAK:
        return f"{whose} {_WEAK[number]}: use RSA of 2048 bits or more, or P-256, and SHA-256"
    if number in _STRICT:
        return (
            f"{whose}, or its authority's, does not follow RFC 5280 ({words}): make them anew (node-ipc help tls "
            "shows how), or set tls.strict_x509 to False"
        )
    return f"{whose} did not pass verification ({words})"


def _unknown_authority(peer: str, whose: str, chain: Sequence[Certificate]) -> str:
    who = f" ({chain[0].subject}, issued by {chain[0].issuer})" if chain else ""
    own = "the server's own where it is self-signed" if peer == "server" else "the client's own"
    return (
        f"{whose}{who} comes from an authority that is not trusted here: put the authority's certificate, or "
        f"{own}, into tls.trusted_connections or tls.ca"
    )


def _wrong_name(whose: str, servername: str, chain: Sequence[Certificate]) -> str:
    wanted = f"{whose} is not for {shown(servername)}"
    if not chain:
        return f"{wanted}: connect by a name that it has, or set tls.servername to one"
    if chain[0].names:
        listed = _listed(chain[0].names)
        return f"{wanted}, it names {listed}: connect by one of these, or set tls.servername to one"
    common = chain[0].common_name
    old = "" if common is None else f", only the common name {shown(common)}, which is not looked at any more"
    return (
        f"{wanted}: it has no subject alternative name{old}; make it anew with one (node-ipc help tls "
        "shows how), or set tls.strict_x509 to False"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _dated(whose: str, chain: Sequence[Certificate], found: Certificate | None) -> str:
    """Which certificate of the chain has the wrong dates; verification does not say."""
    if found is not None:
        return whose if found is chain[0] else f"{found.subject}, an authority above {whose},"
    return f"an authority above {whose}" if chain else f"{whose}, or an authority above it,"


def _day(seconds: float) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


# --- what the other side said -----------------------------------------------------------------------------

_REFUSED = "the {peer} refused this {side}'s certificate ({alert}); its log says why"
_NO_VERSION = "the two ends have no TLS version in common: this {side} speaks {versions}"
_NO_CIPHER = (
    "the two ends have no cipher or signature algorithm in common: compare tls.ciphers, and see that the "
    "server has a certificate"
)
_ALERTS = {
    "CERTIFICATE_REQUIRED": (
        "the {peer} asks for a certificate and this {side} gave none: set tls.key and tls.cert, or "
        "tls.private and tls.public"
    ),
    "UNKNOWN_CA": (
        "the {peer} does not trust the authority of this {side}'s certificate: it belongs in the {peer}'s "
        "tls.trusted_connections or tls.ca"
    ),
    "CERTIFICATE_EXPIRED": "the {peer} says that this {side}'s certificate has expired: renew it",
    "BAD_CERTIFICATE": _REFUSED,
    "CERTIFICATE_UNKNOWN": _REFUSED,
    "CERTIFICATE_REVOKED": _REFUSED,
    "UNSUPPORTED_CERTIFICATE": (
        "the {peer} says that this {side}'s certificate is not meant for a {side}: its extended key usage must "
        "include {side}Auth (and its authority's, where it has one). Make one for a {side} (node-ipc help tls "
        "shows how)"
    ),
    "ACCESS_DENIED": _REFUSED,
    "HANDSHAKE_FAILURE": (
        "the {peer} found no common ground: no cipher in common, or it asks for a certificate and this "
        "{side} gave none (tls.key and tls.cert)"
    ),
    "INSUFFICIENT_SECURITY": _NO_CIPHER,
    "PROTOCOL_VERSION": _NO_VERSION,
    "NO_APPLICATION_PROTOCOL": "the {peer} speaks TLS, but for another protocol than node-ipc (ALPN)",
}


def alert(side: Side, name: str, versions: str) -> str:
    """What the other side's alert means; ``name`` is OpenSSL's without its prefix (``UNKNOWN_CA``).

    ``versions`` are the TLS versions that this side speaks.
    """
    return _filled(_ALERTS.get(name, "the {peer} ended the connection with the alert '{alert}'"), side, name, versions)


# --- everything else --------------------------------------------------------------------------------------

NO_TLS = frozenset(
    {
        *("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"),
        *("PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "BAD_RECORD_TYPE"),
    }
)
"""OpenSSL's reasons where the other end speaks no TLS at all."""
_NOT_TLS = "the {peer} does not speak TLS: it needs config.tls too, or this {side} has to do without"
_FAILURES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the {peer} gave no certificate, and this {side} asks for one: the {peer} needs tls.key and "
        "tls.cert (or tls.private and tls.public) from an authority that this {side} trusts"
    ),
    "HTTP_REQUEST": "the {peer} speaks HTTP without TLS, not node-ipc over TLS",
    "HTTPS_PROXY_REQUEST": "the {peer} speaks HTTP without TLS, not node-ipc over TLS",
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "BAD_RECORD_TYPE": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": _NO_CIPHER,
    "NO_SUITABLE_KEY_SHARE": _NO_CIPHER,
    "DH_KEY_TOO_SMALL": "the {peer}'s Diffie-Hellman parameters are too weak: they need 2048 bits or more",
    "APPLICATION_PROTOCOL": "the {peer} speaks TLS, but for another protocol than node-ipc (ALPN)",
    "CLOSED": (
        "the {peer} closed the connection during the handshake: it does not speak TLS, or it refused this "
        "{side} without saying why (its log may)"
    ),
    "SILENT": "the {peer} did not finish the handshake in time: it is stuck, or does not speak TLS",
}


def failure(side: Side, name: str, words: str, versions: str) -> str:
    """Any other failure; ``words`` stand for a reason that the table does not have.

    ``name`` is OpenSSL's reason, or one of ours: ``CLOSED``, ``SILENT``, ``APPLICATION_PROTOCOL``.
    """
    return _filled(_FAILURES.get(name, "{words}"), side, name, versions, words)


def _filled(text: str, side: Side, name: str, versions: str, words: str = "") -> str:
    peer = "server" if side == "client" else "client"
    lower = name.lower().replace("_", " ")
    return text.format(side=side, peer=peer, alert=lower, versions=versions, words=words)
