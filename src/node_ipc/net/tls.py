"""TLS: contexts from ``config.tls``, a conversation over bytes, and failures in plain words.

The only module that imports ``ssl``. It knows no socket, no event loop and no clock: a ``TLSChannel`` is fed
what arrived and says what is to be sent, and the driver does the waiting, the time limits and the closing.
(asyncio's own TLS closes a connection that fails its handshake without sending the alert, so the other end
would never hear the reason; the channel gives it to the driver before it raises.)

What is always so, unless an ``ssl.SSLContext`` of the user's says otherwise:

- TLS 1.2 at least (1.3 in the assured profile), no renegotiation, no resumption of sessions, no compression;
- of TLS 1.2 only ciphers with forward secrecy and authenticated encryption, unless ``ciphers`` says otherwise;
- a client verifies the server's certificate and its name, unless ``reject_unauthorized`` is False;
- a server that has an authority (``ca``, ``trusted_connections``) asks every client for a certificate;
- certificates follow RFC 5280 strictly and have their names in the subject alternative name, unless
  ``strict_x509`` is False;
- whatever is listed as trusted is trusted: an authority, an intermediate one, a single certificate;
- both ends offer the ALPN protocol ``node-ipc``. node-ipc itself offers none, so none is needed, in the
  assured profile neither; but there, a client that offers only other protocols is refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from ..config.foreign import caused
from ..config.profiles import require_assured_tls
from ..config.tls_options import SERVER_NEEDS_A_PAIR, TLSOptions, unusable
from ..errors import ConfigError, ConnectionLost, IPCError, TLSError
from . import tls_faults
from .certificate import facts
from .tls_faults import Certificate, Side

__all__ = [
    "ALPN",
    "ClientTLS",
    "ServerTLS",
    "TLSChannel",
    "client_context",
    "explain",
    "server_context",
]

CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!aDSS"
"""Of TLS 1.2: those whose recorded bytes a stolen key does not open, and in which no changed bit goes unnoticed."""

ALPN = "node-ipc"
"""The application protocol that both ends offer."""

TLSSource: TypeAlias = Mapping[str, Any] | ssl.SSLContext | Literal[False] | None
"""What ``config.tls`` may be."""

READ_SIZE = 64 * 1024
TLS_HANDSHAKE_RECORD = 22
CLIENT_HELLO = 1
CERTIFICATE = 11
CHAIN_SHOWN = 8
"""How many of a refused peer's certificates are looked at; it may send thousands."""


# --- contexts ---------------------------------------------------------------------------------------------


class _Context(ssl.SSLContext):
    """A context of ours: its connections remember why a handshake failed."""

    alpn_required = False
    """Refuse a client that offers other protocols only."""


@dataclass(frozen=True, slots=True)
class ClientTLS:
    """What a client needs to open TLS connections."""

    context: ssl.SSLContext
    servername: str | None = None
    """The name that the certificate must have; ``None``: the host that is connected to."""

    def name_for(self, host: str) -> str:
        """The name (or numeric address) to ask for, and to find in the certificate, at this host."""
        return self.servername or host.partition("%")[0]  # fe80::1%eth0 is fe80::1 to everybody else

    def channel(self, host: str, *, name: str | None = None) -> TLSChannel:
        """A new conversation with that host; ``name`` is what errors call it (default: the host).

        Raises:
            TLSError: the host's name cannot be the name in a certificate.
        """
        return TLSChannel(self.context, side="client", servername=self.name_for(host), name=name or host)


class ServerTLS:
    """A server's certificates, which can be exchanged while it runs.

    ``context`` is what new handshakes use: fetch it (or call ``channel``) for each connection. Connections
    that exist, or are in their handshake, stay with the context they began with.
    """

    def __init__(self, tls: TLSSource, *, assured: bool = False) -> None:
        """Load the certificates; raises what ``server_context`` raises."""
        self._tls = tls
        self._assured = assured
        self.context = server_context(tls, assured=assured)

    def reload(self, tls: TLSSource = None) -> None:
        """Use new certificates for new connections: the files as they are now, or other options.

        A new context is made and tried first; when anything is wrong with it the old one stays.

        Raises:
            ConfigError: a file cannot be read, is not PEM, or key and certificate do not belong together; or
                the server runs with an ``ssl.SSLContext`` of yours and none was given.
            AssuredError: the new options are not enough for the assured profile.
        """
        source = self._tls if tls is None else tls
        if tls is None and isinstance(source, ssl.SSLContext):
            raise unusable(
                "this server uses an ssl.SSLContext of yours: call its load_cert_chain(), or give "
                "reload_tls() a new context"
            )
        self.context = server_context(source, assured=self._assured)
        self._tls = source

    def channel(self, *, name: str = "a client") -> TLSChannel:
        """A new conversation with a client that connected; ``name`` is what errors call it."""
        return TLSChannel(self.context, side="server", name=name)


def server_context(tls: TLSSource, *, assured: bool = False) -> ssl.SSLContext:
    """A context for a server, from ``config.tls``; an ``ssl.SSLContext`` comes back as it is.

    Clients are asked for a certificate when ``ca`` or ``trusted_connections`` is given, unless
    ``request_cert`` or ``reject_unauthorized`` is False. (Python cannot ask for a certificate without
    verifying it, so ``reject_unauthorized=False`` asks for none.)

    Raises:
        ConfigError: no key or no certificate, a file that cannot be read, PEM that cannot be used
            (``ERR_IPC_TLS_CONFIGURATION``).
        AssuredError: ``assured``, and not every client would have to show a certificate, or TLS 1.2 is
            allowed (``ERR_IPC_ASSURED_TLS``).
    """
    if isinstance(tls, ssl.SSLContext):
        return _users_context(tls, "server", assured)
    if assured:
        require_assured_tls(tls, "server")
    options = _Options(tls, assured)
    if not (options.key and options.certificate):
        raise unusable(SERVER_NEEDS_A_PAIR)
    demands = options.flag("request_cert", options.trusts_somebody) and options.flag("reject_unauthorized", True)
    if demands and not options.trusts_somebody:
        raise unusable(
            "tls.request_cert asks clients for a certificate, but nothing says which: set tls.ca or "
            "tls.trusted_connections to their authority"
        )
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # nobody resumes sessions, and a client that closes at once is not written to
    options.load_into(context)
    if demands:
        context.verify_mode = ssl.CERT_REQUIRED
        options.trust_into(context)
        context.alpn_required = assured
    return context


def client_context(tls: TLSSource, *, assured: bool = False) -> ClientTLS:
    """A context for a client, from ``config.tls``; an ``ssl.SSLContext`` is used as it is.

    With ``ca`` or ``trusted_connections`` only those are trusted, otherwise (also with ``False``, ``None`` or
    ``{}``) the system's authorities.

    Raises:
        ConfigError: a key without a certificate or the reverse, a file that cannot be read, PEM that cannot
            be used (``ERR_IPC_TLS_CONFIGURATION``).
        AssuredError: ``assured``, and the client has no certificate or no authority of its own, does not
            verify, or allows TLS 1.2 (``ERR_IPC_ASSURED_TLS``).
    """
    if isinstance(tls, ssl.SSLContext):
        return ClientTLS(_users_context(tls, "client", assured))
    if assured:
        require_assured_tls(tls, "client")
    options = _Options(tls, assured)
    verifies = options.flag("reject_unauthorized", True)
    if bool(options.key) != bool(options.certificate):
        raise unusable(
            "a client certificate needs both its halves: tls.key and tls.cert, or tls.private and tls.public"
        )
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    options.load_into(context)
    if verifies:
        options.trust_into(context)
        context.hostname_checks_common_name = not options.strict
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return ClientTLS(context, options.get("servername"))


def _users_context(context: ssl.SSLContext, side: Side, assured: bool) -> ssl.SSLContext:
    """A context of the user's is used as it is, if it can be."""
    other = ssl.PROTOCOL_TLS_CLIENT if side == "server" else ssl.PROTOCOL_TLS_SERVER
    if context.protocol == other:
        raise unusable(f"tls is an ssl.SSLContext made with {other.name}, which no {side} can use")
    if assured:
        require_assured_tls(context, side)
    return context


class _Options:
    """The TLS options with their files read: what goes into a context is what was looked at here."""

    def __init__(self, tls: Mapping[str, Any] | Literal[False] | None, assured: bool) -> None:
        self.get = TLSOptions.of(tls).get
        self.key = self._one("private", "key")
        self.certificate = self._one("public", "cert")
        self.authorities = self._authorities()
        self.trusts_somebody = bool(self.authorities)
        self.strict = self.flag("strict_x509", True)
        newest = assured or self.get("min_version") == "TLSv1.3"
        self.minimum = ssl.TLSVersion.TLSv1_3 if newest else ssl.TLSVersion.TLSv1_2

    def flag(self, name: str, default: bool) -> bool:
        return bool(self.get(name, default))

    def _one(self, path_name: str, text_name: str) -> tuple[str, bytes] | None:
        """A PEM and the option it came from; the file goes before the text, as in node-ipc."""
        if path := self.get(path_name):
            return f"tls.{path_name} ({path})", _read(path_name, path)
        text = self.get(text_name)
        return None if text is None else (f"tls.{text_name}", _as_bytes(text))

    def _authorities(self) -> list[tuple[str, bytes]]:
        given = self.get("ca"), self.get("trusted_connections")
        if () in given:
            raise unusable("tls.ca or tls.trusted_connections is an empty list, which trusts nobody: leave it out")
        texts, paths = (one or () for one in given)
        return [("tls.ca", _as_bytes(text)) for text in texts] + [
            (f"tls.trusted_connections ({path})", _read("trusted_connections", path)) for path in paths
        ]

    def load_into(self, context: _Context) -> None:
        """Everything but whom to trust."""
        context.minimum_version = self.minimum
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.set_alpn_protocols([ALPN])
        context.sslobject_class = _Handshake
        with _blaming("tls.ciphers", "names no cipher that this OpenSSL has"):
            context.set_ciphers(self.get("ciphers") or CIPHERS)
        if dhparam := self.get("dhparam"):
            self._load_dhparam(context, dhparam)
        if self.key and self.certificate:
            self._load_pair(context, *self.key, *self.certificate)

    def _load_dhparam(self, context: _Context, dhparam: str | bytes) -> None:
        text = _as_bytes(dhparam)
        content = text if b"-----BEGIN" in text else _read("dhparam", dhparam)
        with (
            _blaming("tls.dhparam", "holds no Diffie-Hellman parameters in PEM form"),
            _as_file(content) as path,
        ):
            context.load_dh_params(path)

    def _load_pair(
        self, context: _Context, key_name: str, key: bytes, certificate_name: str, certificate: bytes
    ) -> None:
        if b"-----BEGIN CERTIFICATE" not in certificate:
            raise unusable(f"{certificate_name} holds no certificate in PEM form")
        damaged = "the key or the certificate is damaged, or tls.passphrase is wrong"
        with (
            _blaming(f"{key_name} with {certificate_name}", damaged),
            _as_file(key) as key_path,
            _as_file(certificate) as certificate_path,
        ):
            context.load_cert_chain(certificate_path, key_path, password=self._passphrase(key_name))

    def _passphrase(self, key_name: str) -> Callable[[], str | bytes]:
        """Asked for encrypted keys only. Without it, OpenSSL would ask on the terminal."""

        def passphrase() -> str | bytes:
            given: str | bytes | None = self.get("passphrase")
            if given is None:
                raise unusable(f"{key_name} is encrypted: set tls.passphrase")
            return given

        return passphrase

    def trust_into(self, context: _Context) -> None:
        """Whom to trust, and how strictly."""
        context.verify_flags |= ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        context._msg_callback = _remember  # type: ignore[attr-defined]  # see _Handshake
        if not self.trusts_somebody:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        for name, content in self.authorities:
            with _blaming(name, "holds no certificate that can be read"):
                context.load_verify_locations(cadata=_certificates_in(content))


def _certificates_in(content: bytes) -> str | bytes:
    """PEM as text or DER as bytes; what ``ssl`` tells apart by type."""
    if b"-----BEGIN" not in content:
        return content
    return content.decode("ascii", "ignore")  # people write remarks between certificates, in any language


def _as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _read(name: str, path: str | bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise unusable(f"tls.{name}: cannot read {os.fsdecode(path)!r}: {error.strerror}") from error


_UNUSABLE = {
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
    "KEY_TYPE_MISMATCH": "the key does not belong to the certificate",
    "EE_KEY_TOO_SMALL": "the key is too weak: use RSA of 2048 bits or more, or P-256",
    "CA_MD_TOO_WEAK": "the certificate is signed with a digest that is too weak: use SHA-256",
    "DH_KEY_TOO_SMALL": "the parameters are too weak: make them with 2048 bits or more",
}


@contextlib.contextmanager
def _blaming(name: str, otherwise: str) -> Iterator[None]:
    """Name the option in whatever ``ssl`` has against its value; ``otherwise`` stands for a vague reason."""
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise unusable(f"{name}: {_UNUSABLE.get(getattr(error, 'reason', ''), otherwise)}") from error


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to this content for ``ssl`` functions that take nothing else; only this user can read it.

    In memory where the system can do that, so that a key does not touch a disk; else a file in a directory of
    its own. Either is gone afterwards.
    """
    descriptor = _memory_file()
    if descriptor is not None:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.TemporaryDirectory(prefix="node-ipc-") as directory:  # mode 0700
        path = os.path.join(directory, "pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        yield path


def _memory_file() -> int | None:
    if not hasattr(os, "memfd_create") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.memfd_create("node-ipc-tls")  # closed on exec
    except OSError:  # forbidden in some sandboxes
        return None


# --- one conversation -------------------------------------------------------------------------------------


class _Handshake(ssl.SSLObject):
    """An ``SSLObject`` that keeps the other end's certificates until the handshake is over.

    After a failed verification OpenSSL gives them to nobody, and the reason without them ("certificate has
    expired") does not say which, or when. They are taken from the handshake's messages, attached to the error
    as ``certificates``, and only ever used for its words. Where Python has no such callback the words have no
    names and dates in them.
    """

    _certificates: tuple[int, bytes] | None = None
    _hello: bytes | None = None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            if self._certificates is not None:
                error.certificates = _sent_certificates(*self._certificates)  # type: ignore[attr-defined]
            raise
        if self._is_for_others():
            refused = ssl.SSLError(1, "the client offers other application protocols only")
            refused.reason = "APPLICATION_PROTOCOL"
            raise refused
        if self._certificates is not None or self._hello is not None:
            # The callback costs microseconds per record: the context of an established connection has none.
            self._certificates = self._hello = None
            self.context = _quiet_context(self.server_side)

    def _is_for_others(self) -> bool:
        return (
            getattr(self.context, "alpn_required", False)
            and self.selected_alpn_protocol() is None
            and self._hello is not None
            and _offers_protocols(self._hello)
        )


def _remember(connection: _Handshake, direction: str, version: int, content: int, message: int, data: bytes) -> None:
    """Called by OpenSSL for each message of a handshake, as it came in or goes out."""
    if direction == "read" and content == TLS_HANDSHAKE_RECORD:
        if message == CERTIFICATE:
            connection._certificates = (version, data)
        elif message == CLIENT_HELLO:
            connection._hello = data


@cache
def _quiet_context(server_side: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED  # else getpeercert() takes the certificate for unverified
    return context


NOT_TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
"""The alert "protocol_version": a client without TLS would take a silent end for the orderly one of a server that has
read its messages."""


class TLSChannel:
    """One TLS connection without a socket: bytes from the network in, bytes for the network out.

    Feed ``receive`` with what arrived. After ``__init__``, ``receive`` and ``close``, also when they raise,
    send what ``outgoing`` gives. The connection is usable when ``established``; time limits are the driver's.
    Nothing may be called after an error but ``outgoing``.
    """

    def __init__(
        self, context: ssl.SSLContext, *, side: Side, servername: str | None = None, name: str = "the peer"
    ) -> None:
        self._side: Side = side
        self._servername = servername
        self._name = name
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._closing = False
        self._heard = False
        self.established = False
        """The handshake is done, and the other end is who it must be."""
        self.ended = False
        """The other end said that it will send nothing more."""
        try:
            self._object = context.wrap_bio(
                self._incoming, self._outgoing, server_side=side == "server", server_hostname=servername
            )
        except ValueError as error:  # UnicodeError, for a name that has no IDNA form, is one too
            raise TLSError(f"TLS with {name} failed: {servername!r} cannot be the name in a certificate") from error
        self._shake()

    def outgoing(self) -> bytes:
        """What is to be sent now; empty when there is nothing."""
        return self._outgoing.read()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the network; give what the other end sent (at most 16 KiB more than ``data``).

        Raises:
            TLSError: the handshake failed, or the stream is damaged, or the other end refused us (with TLS
                1.3 a client hears only after its handshake that its certificate was refused).
        """
        if self.ended:
            return b""  # OpenSSL would not take it out of the buffer any more
        self._incoming.write(data)
        if not self.established:
            self._shake()
        return self._read() if self.established else b""

    def receive_end(self) -> IPCError | None:
        """The network's end came: what that means, ``None`` when it was announced.

        A ``TLSError`` during the handshake, a ``ConnectionLost`` when the stream was cut off.
        """
        if not self.established:
            return self.explained(EOFError())
        if self.ended or self._closing:
            return None
        return ConnectionLost(f"TLS with {self._name} was cut off: {self._cut_off()}")

    def send(self, data: bytes) -> bytes:
        """Encrypt: the bytes to be sent (with whatever else was to go out).

        Raises:
            TLSError: after ``close``.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLError as error:
            raise self.explained(error) from error
        return self._outgoing.read()

    def close(self) -> None:
        """Say that nothing more will be sent; reading goes on until ``ended``."""
        if self.established and not self._closing:
            self._closing = True
            with contextlib.suppress(ssl.SSLError):  # it wants to wait for the other end; that is up to us
                self._object.unwrap()

    def _cut_off(self) -> str:
        if self._side == "client" and not self._heard:
            return (
                "the server said nothing after the handshake, and ended without TLS's closing message; a "
                "server that refuses this client's certificate may end like that (its log says why)"
            )
        return "it ended without TLS's closing message, so what was sent last may be missing"

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The other end's verified certificate, as ``ssl.SSLSocket.getpeercert`` gives it; ``None``: none."""
        return self._object.getpeercert() or None

    @property
    def version(self) -> str | None:
        """``"TLSv1.3"`` or ``"TLSv1.2"``; ``None`` before the handshake is done."""
        return self._object.version()

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            if self._side == "server" and _reason(error) in tls_faults.NO_TLS:  # OpenSSL says nothing to such a client
                self._outgoing.write(NOT_TLS_ALERT)
            raise self.explained(error) from error
        self.established = True

    def _read(self) -> bytes:
        parts = []
        try:
            while part := self._object.read(READ_SIZE):
                parts.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # instead of b"", once we have said our end too
            self.ended = True
        except ssl.SSLError as error:
            raise self.explained(error) from error
        self._heard = self._heard or bool(parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def explained(self, error: BaseException) -> TLSError:
        """What an error that ended the handshake means; ``explain`` with what is known here."""
        return explain(
            error,
            side=self._side,
            name=self._name,
            servername=self._servername,
            minimum=self._object.context.minimum_version,
        )


def _sent_certificates(version: int, message: bytes) -> list[bytes]:
    """The certificates (DER) in a Certificate message of a handshake, which nobody has checked yet."""
    position = 4  # type and length of the message
    if version == ssl.TLSVersion.TLSv1_3:
        position += 1 + int.from_bytes(message[position : position + 1], "big")  # the request's context
    position += 3  # length of the list
    found: list[bytes] = []
    while len(found) < CHAIN_SHOWN and (length := int.from_bytes(message[position : position + 3], "big")):
        found.append(message[position + 3 : position + 3 + length])
        position += 3 + length
        if version == ssl.TLSVersion.TLSv1_3:
            position += 2 + int.from_bytes(message[position : position + 2], "big")
    return found


def _offers_protocols(hello: bytes) -> bool:
    """Whether a ClientHello, which OpenSSL has accepted, has the ALPN extension (16)."""
    position = 4 + 2 + 32  # type and length, version, random
    for size in (1, 2, 1):  # session, ciphers, compression methods
        position += size + int.from_bytes(hello[position : position + size], "big")
    position += 2
    while position < len(hello):
        if hello[position : position + 2] == b"\0\x10":
            return True
        position += 4 + int.from_bytes(hello[position + 2 : position + 4], "big")
    return False


# --- failures in plain words ------------------------------------------------------------------------------


def explain(
    error: BaseException,
    *,
    side: Side,
    name: str = "the peer",
    servername: str | None = None,
    minimum: int = ssl.TLSVersion.TLSv1_2,
) -> TLSError:
    """What a failed handshake, or an alert after it, means and what to do; ``error`` is its ``__cause__``.

    Args:
        error: an ``ssl.SSLError``, or any ``OSError``, ``EOFError`` or time-out that ended the handshake.
        side: which end we are.
        name: what to call the other end.
        servername: the name that the client expected in the certificate; ``None``: ``name``.
        minimum: the oldest version that this side speaks, an ``ssl.TLSVersion``.
    """
    return caused(TLSError(f"TLS with {name} failed: {_words(error, side, servername or name, minimum)}"), error)


def _words(error: BaseException, side: Side, servername: str, minimum: int) -> str:
    versions = "TLS 1.3 only" if minimum == ssl.TLSVersion.TLSv1_3 else "TLS 1.2 and newer"
    if isinstance(error, ssl.SSLCertVerificationError):
        chain = _decoded(getattr(error, "certificates", ()))
        now = time.time()
        return tls_faults.refusal(side, error.verify_code, error.verify_message, servername, chain, now)
    if isinstance(error, TimeoutError | ConnectionAbortedError):  # the second is asyncio's word for it
        return tls_faults.failure(side, "SILENT", "", versions)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError | EOFError):
        return tls_faults.failure(side, "CLOSED", "", versions)
    reason = _reason(error)
    _, is_alert, name = reason.partition("ALERT_")
    if is_alert:
        return tls_faults.alert(side, name, versions)
    return tls_faults.failure(side, reason, reason.lower().replace("_", " ") or repr(error), versions)


def _reason(error: BaseException) -> str:
    """OpenSSL's name for it; Python does not know all of them, but then its text has the same words."""
    known: str | None = getattr(error, "reason", None)
    text = re.match(r"\[\w+\] (.+) \(_ssl", str(error))
    return known or (text[1].upper().replace(" ", "_") if text else "")


def _decoded(certificates: list[bytes] | tuple[()]) -> list[Certificate]:
    """Those that can be read."""
    decoded = []
    for der in certificates:
        with contextlib.suppress(ValueError):
            decoded.append(facts(der))
    return decoded
