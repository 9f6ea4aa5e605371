"""TLS: whom each end refuses, in which words, and how certificates are loaded and exchanged."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import functools
import os
import re
import socket
import ssl
import stat
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from node_ipc.config.config import Config
from node_ipc.errors import AssuredError, ConfigError, ConnectionLost, TLSError
from node_ipc.net import tls, tls_faults
from node_ipc.net.tls import ClientTLS, ServerTLS, TLSChannel, client_context, explain, server_context
from stopwatch import Stopwatch
from tls_certificates import FOR_CLIENTS, FOR_SERVERS, Identity, identity

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "tls.md"


# --- what the tests are made of ---------------------------------------------------------------------------


class Certificates:
    """Made once: an authority, a server for ``localhost`` and a client of it, and a stranger's authority."""

    def __init__(self) -> None:
        self.authority = identity("Test CA", authority=True)
        self.stranger = identity("Stranger CA", authority=True)
        self.server = identity("server", self.authority, names=["localhost"])
        self.client = identity("client", self.authority, names=["client"])
        self.trust = {"ca": self.authority.cert}
        self.mutual_client = {**self.client.options, **self.trust}
        self.mutual_server = {**self.server.options, **self.trust}


@functools.cache
def made() -> Certificates:
    return Certificates()


@pytest.fixture
def certs() -> Certificates:
    return made()


Errors = dict[str, Exception]


def pump(client: TLSChannel, server: TLSChannel) -> tuple[bytes, bytes]:
    """Carry bytes both ways until none is left; what the server and the client received."""
    heard = {client: b"", server: b""}
    ways = [(client, server), (server, client)]
    while moved := [(there, data) for here, there in ways if (data := here.outgoing())]:
        for there, data in moved:
            heard[there] += there.receive(data)
    return heard[server], heard[client]


def meet(client: TLSChannel, server: TLSChannel) -> Errors:
    """Let two ends shake hands, as two drivers would: an end that fails sends its alert and closes."""
    ends = {"client": client, "server": server}
    errors: Errors = {}
    moved = True
    while moved:
        moved = False
        for here, there in (("client", "server"), ("server", "client")):
            if (data := ends[here].outgoing()) and there not in errors:
                moved = True
                try:
                    ends[there].receive(data)
                except TLSError as error:
                    errors[there] = error
    for here, there in (("client", "server"), ("server", "client")):
        if there in errors and here not in errors:
            ended = ends[here].receive_end()
            assert ended is not None
            errors[here] = ended
    return errors


def try_out(
    client: dict[str, Any], server: dict[str, Any], *, host: str = "localhost", assured: bool = False
) -> Errors:
    opener = client_context(client, assured=assured).channel(host)
    return meet(opener, ServerTLS(server, assured=assured).channel())


def connected(client: Any, server: Any) -> tuple[TLSChannel, TLSChannel]:
    ends = client_context(client).channel("localhost"), ServerTLS(server).channel()
    pump(*ends)
    assert ends[0].established and ends[1].established
    return ends


def plain_context(protocol: int, own: Identity | None = None, trusted: Identity | None = None) -> ssl.SSLContext:
    """A context of a peer that is not ours, at a security level that lets it do foolish things."""
    context = ssl.SSLContext(protocol)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if trusted:
        context.load_verify_locations(cadata=trusted.cert)
    if own:
        with tls._as_file((own.key + own.cert).encode()) as path:
            context.load_cert_chain(path)
    return context


def limited(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1
        context.minimum_version = context.maximum_version = version
    return context


def foreign_client(context: ssl.SSLContext) -> TLSChannel:
    return ClientTLS(context).channel("localhost")


def foreign_server(context: ssl.SSLContext) -> TLSChannel:
    return TLSChannel(context, side="server", name="a client")


# --- row 29: sixteen ways to be refused -------------------------------------------------------------------


def odd_server(*, host: str = "localhost", **odd: Any) -> Errors:
    odd.setdefault("names", ["localhost"])
    certs = made()
    server = identity(odd.pop("common_name", "server"), odd.pop("issuer", certs.authority), **odd)
    return try_out(certs.trust, server.options, host=host)


def odd_client(**odd: Any) -> Errors:
    certs = made()
    client = identity("client", odd.pop("issuer", certs.authority), **odd)
    return try_out({**certs.trust, **client.options}, certs.mutual_server)


def wrong_authority() -> Errors:
    return odd_server(issuer=made().stranger)


def wrong_host() -> Errors:
    return odd_server(host="example.org", names=["localhost", "*.example.com", "127.0.0.1"])


def address_not_named() -> Errors:
    assert odd_server(host="127.0.0.1", names=["127.0.0.1"]) == {}
    assert odd_server(host="::1", names=["::1"]) == {}
    assert odd_server(host="fe80::1%eth0", names=["fe80::1"]) == {}
    return odd_server(host="127.0.0.1", names=["localhost", "127.0.0.2"])


def expired() -> Errors:
    return odd_server(begins=-20, ends=-10)


def not_yet_valid() -> Errors:
    return odd_server(begins=10, ends=20)


def no_client_certificate() -> Errors:
    certs = made()
    assert try_out(certs.mutual_client, certs.mutual_server) == {}
    return try_out(certs.trust, certs.mutual_server)


def strange_client() -> Errors:
    return odd_client(issuer=made().stranger)


def wrong_purpose() -> Errors:
    assert odd_server(purpose=FOR_SERVERS) == {}
    assert odd_client(purpose=FOR_CLIENTS) == {}
    errors = odd_client(purpose=FOR_SERVERS)
    assert "the client's certificate is not meant for a client" in str(errors["server"])
    assert "this client's certificate is not meant for a client: its extended key usage must" in str(errors["client"])
    return odd_server(purpose=FOR_CLIENTS)


def old_version() -> Errors:
    certs = made()
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        server = limited(plain_context(ssl.PROTOCOL_TLS_SERVER, certs.server), version)
        refused = meet(client_context(certs.trust).channel("localhost"), foreign_server(server))
        assert "this client speaks TLS 1.2 and newer" in str(refused["client"])
        client = limited(plain_context(ssl.PROTOCOL_TLS_CLIENT, trusted=certs.authority), version)
        errors = meet(foreign_client(client), ServerTLS(certs.server.options).channel())
        assert errors.keys() == {"client", "server"}
    return errors


def weak_key() -> Errors:
    certs = made()
    weak = identity("server", certs.authority, names=["localhost"], weak=True)
    with pytest.raises(ConfigError, match="the key is too weak"):
        server_context(weak.options)
    server = foreign_server(plain_context(ssl.PROTOCOL_TLS_SERVER, weak))
    return meet(client_context(certs.trust).channel("localhost"), server)


def plain_client() -> Errors:
    server = ServerTLS(made().server.options).channel()
    with pytest.raises(TLSError) as error:
        server.receive(b'{"type":"message","data":{}}\f')
    return {"server": error.value}


def plain_server() -> Errors:
    client = client_context(made().trust).channel("localhost")
    with pytest.raises(TLSError) as error:
        client.receive(b'{"type":"error","data":{"id":"world"}}\f')
    return {"client": error.value}


def common_name_only() -> Errors:
    certs = made()
    old = identity("localhost", certs.authority)
    assert try_out({**certs.trust, "strict_x509": False}, old.options) == {}
    return odd_server(common_name="localhost", names=[])


def truncated() -> Errors:
    client, server = connected(made().trust, made().server.options)
    server.receive(client.send(b"half of a mess"))
    error = server.receive_end()
    assert error is not None
    return {"server": error}


def other_protocol() -> Errors:
    certs = made()
    context = plain_context(ssl.PROTOCOL_TLS_CLIENT, certs.client, certs.authority)
    for offer in ([], ["node-ipc"], ["h2", "node-ipc"]):  # node-ipc itself offers none
        context.set_alpn_protocols(offer)
        assert meet(foreign_client(context), ServerTLS(certs.mutual_server, assured=True).channel()) == {}
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert meet(foreign_client(context), ServerTLS(certs.mutual_server).channel()) == {}
    return meet(foreign_client(context), ServerTLS(certs.mutual_server, assured=True).channel())


def not_strict() -> Errors:
    certs = made()
    loose = identity("server", certs.authority, names=["localhost"], strict=False)
    assert try_out({**certs.trust, "strict_x509": False}, loose.options) == {}
    return odd_server(strict=False)


NO_VERSION = "the two ends have no TLS version in common: this {side} speaks TLS 1.2 and newer"
BAD_CERTIFICATE = "the client refused this server's certificate (bad certificate); its log says why"
MATRIX: dict[Callable[[], Errors], dict[str, str]] = {
    wrong_authority: {
        "client": "the server's certificate (CN 'server', issued by CN 'Stranger CA') comes from an authority that "
        "is not trusted here: put the authority's certificate, or the server's own where it is self-signed, into "
        "tls.trusted_connections or tls.ca",
        "server": "the client does not trust the authority of this server's certificate: it belongs in the client's "
        "tls.trusted_connections or tls.ca",
    },
    wrong_host: {
        "client": "the server's certificate is not for 'example.org', it names DNS 'localhost', "
        "DNS '*.example.com', IP '127.0.0.1': connect by one of these, or set tls.servername to one",
        "server": BAD_CERTIFICATE,
    },
    address_not_named: {
        "client": "the server's certificate is not for '127.0.0.1', it names DNS 'localhost', IP '127.0.0.2': "
        "connect by one of these, or set tls.servername to one",
        "server": BAD_CERTIFICATE,
    },
    expired: {
        "client": "the server's certificate expired on {10 days ago}: renew it",
        "server": "the client says that this server's certificate has expired: renew it",
    },
    not_yet_valid: {
        "client": "the server's certificate is not valid before {in 10 days}: check the clocks of both machines",
        "server": BAD_CERTIFICATE,
    },
    no_client_certificate: {
        "client": "the server asks for a certificate and this client gave none: set tls.key and tls.cert, or "
        "tls.private and tls.public",
        "server": "the client gave no certificate, and this server asks for one: the client needs tls.key and "
        "tls.cert (or tls.private and tls.public) from an authority that this server trusts",
    },
    strange_client: {
        "client": "the server does not trust the authority of this client's certificate: it belongs in the server's "
        "tls.trusted_connections or tls.ca",
        "server": "the client's certificate (CN 'client', issued by CN 'Stranger CA') comes from an authority that "
        "is not trusted here: put the authority's certificate, or the client's own, into tls.trusted_connections "
        "or tls.ca",
    },
    wrong_purpose: {
        "client": "the server's certificate is not meant for a server: its extended key usage must include "
        "serverAuth (and its authority's, where it has one)",
        "server": "the client says that this server's certificate is not meant for a server: its extended key usage "
        "must include serverAuth (and its authority's, where it has one). Make one for a server (node-ipc help tls "
        "shows how)",
    },
    old_version: {"client": NO_VERSION.format(side="client"), "server": NO_VERSION.format(side="server")},
    weak_key: {
        "client": "the server's certificate has a key that is too weak: use RSA of 2048 bits or more, or P-256, and "
        "SHA-256",
        "server": BAD_CERTIFICATE,
    },
    plain_client: {
        "server": "the client does not speak TLS: it needs config.tls too, or this server has to do without",
    },
    plain_server: {
        "client": "the server does not speak TLS: it needs config.tls too, or this client has to do without",
    },
    common_name_only: {
        "client": "the server's certificate is not for 'localhost': it has no subject alternative name, only the "
        "common name 'localhost', which is not looked at any more; make it anew with one (node-ipc help tls shows "
        "how), or set tls.strict_x509 to False",
        "server": BAD_CERTIFICATE,
    },
    truncated: {
        "server": "it ended without TLS's closing message, so what was sent last may be missing",
    },
    other_protocol: {
        "client": "the server said nothing after the handshake, and ended without TLS's closing message; a server "
        "that refuses this client's certificate may end like that (its log says why)",
        "server": "the client speaks TLS, but for another protocol than node-ipc (ALPN)",
    },
    not_strict: {
        "client": "the server's certificate, or its authority's, does not follow RFC 5280 (Missing Authority Key "
        "Identifier): make them anew (node-ipc help tls shows how), or set tls.strict_x509 to False",
        "server": "the client refused this server's certificate (certificate unknown); its log says why",
    },
}


def dated(words: str) -> list[str]:
    """With the dates that were meant; the minute may have turned since the certificate was made."""
    days = {"{10 days ago}": -10, "{in 10 days}": 10}
    found = [
        [words.replace(name, f"{then:%Y-%m-%d %H:%M} UTC") for then in _moments(day)]
        for name, day in days.items()
        if name in words
    ]
    return found[0] if found else [words]


def _moments(day: int) -> list[datetime.datetime]:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=day)
    return [moment - datetime.timedelta(minutes=back) for back in (0, 1)]


@pytest.mark.row(29)
@pytest.mark.parametrize("case", MATRIX, ids=lambda case: case.__name__)
def test_each_way_to_be_refused_has_its_verdict_and_its_words(case: Callable[[], Errors]) -> None:
    errors = case()
    assert errors.keys() == MATRIX[case].keys()
    for side, error in errors.items():
        verdict = ConnectionLost if "TLS's closing message" in str(error) else TLSError
        assert type(error) is verdict
        who, _, words = str(error).partition(": ")
        assert re.fullmatch(r"TLS with (localhost|127\.0\.0\.1|example\.org|a client) (failed|was cut off)", who)
        assert words in dated(MATRIX[case][side])


def test_there_are_sixteen() -> None:
    assert len(MATRIX) == 16


def documented(words: str) -> bool:
    """Whether the page has this message, with any day for a day."""
    page = " ".join(DOCUMENTATION.read_text(encoding="utf-8").split())
    day = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    pattern = day.join(re.escape(part) for part in re.split(r"\{.*?\}", words))
    return re.search(pattern, page) is not None


PLAIN_SERVER = {
    "client": "the server closed the connection during the handshake: it does not speak TLS, or it refused this client "
    "without saying why (its log may)",
    "server": "the other end speaks TLS and this one does not: set config.tls at both ends, or at neither",
}
ELSEWHERE = [
    "the server did not finish the handshake in time: it is stuck, or does not speak TLS",
    "a TLS server needs a key and a certificate of its own: set tls.private and tls.public to their files, or "
    "tls.key and tls.cert to their PEM text",
    "a client certificate needs both its halves: tls.key and tls.cert, or tls.private and tls.public",
    "the key does not belong to the certificate",
    "the key or the certificate is damaged, or tls.passphrase is wrong",
    "is encrypted: set tls.passphrase",
    "tls.private: cannot read",
    "holds no certificate that can be read",
    "tls.request_cert asks clients for a certificate, but nothing says which: set tls.ca or "
    "tls.trusted_connections to their authority",
    *PLAIN_SERVER.values(),
]
"""Messages that other tests below see."""


@pytest.mark.parametrize("words", sorted({*ELSEWHERE, *(words for said in MATRIX.values() for words in said.values())}))
def test_the_page_on_tls_has_the_message(words: str) -> None:
    assert documented(words)


# --- more refusals, and whom to trust ---------------------------------------------------------------------


def said(errors: Errors, side: str) -> str:
    assert side in errors
    return str(errors[side]).partition(": ")[2]


def test_a_self_signed_certificate_is_trusted_by_listing_it(certs: Certificates) -> None:
    own = identity("localhost", names=["localhost"])
    assert try_out({"ca": own.cert}, own.options) == {}
    assert "is not trusted here" in said(try_out(certs.trust, own.options), "client")


def test_one_certificate_of_an_authority_is_trusted_by_listing_it(certs: Certificates) -> None:
    assert try_out({"ca": certs.server.cert}, certs.server.options) == {}
    other = identity("server", certs.authority, names=["localhost"])
    assert "is not trusted here" in said(try_out({"ca": certs.server.cert}, other.options), "client")


def test_one_client_is_let_in_by_listing_its_certificate(certs: Certificates) -> None:
    server = {**certs.server.options, "ca": certs.client.cert}
    assert try_out(certs.mutual_client, server) == {}
    other = identity("other", certs.authority)
    errors = try_out({**certs.trust, **other.options}, server)
    assert "the client's certificate (CN 'other', issued by CN 'Test CA')" in said(errors, "server")


def test_the_certificate_that_expired_is_named_when_it_is_the_authoritys(certs: Certificates) -> None:
    old = identity("Old CA", authority=True, begins=-20, ends=-10)
    server = identity("server", old, names=["localhost"])
    chain = {"key": server.key, "cert": server.cert + old.cert}
    words = said(try_out({"ca": old.cert}, chain), "client")
    assert words.startswith("CN 'Old CA', an authority above the server's certificate, expired on 20")
    words = said(try_out({"ca": old.cert}, server.options), "client")
    assert words == "an authority above the server's certificate has expired: renew it"


def test_a_client_of_tls_12_hears_less(certs: Certificates) -> None:
    context = plain_context(ssl.PROTOCOL_TLS_CLIENT, trusted=certs.authority)
    client = foreign_client(limited(context, ssl.TLSVersion.TLSv1_2))
    errors = meet(client, ServerTLS(certs.mutual_server).channel())
    assert said(errors, "client").startswith("the server found no common ground: no cipher in common, or it asks")
    assert said(errors, "server").startswith("the client gave no certificate")


def test_expired_and_named_wrongly_in_tls_12(certs: Certificates) -> None:
    old = identity("server", certs.authority, names=["localhost"], begins=-20, ends=-10)
    server = limited(plain_context(ssl.PROTOCOL_TLS_SERVER, old), ssl.TLSVersion.TLSv1_2)
    errors = meet(client_context(certs.trust).channel("localhost"), foreign_server(server))
    assert said(errors, "client").startswith("the server's certificate expired on 20")
    server = limited(plain_context(ssl.PROTOCOL_TLS_SERVER, certs.server), ssl.TLSVersion.TLSv1_2)
    errors = meet(client_context(certs.trust).channel("elsewhere"), foreign_server(server))
    assert "it names DNS 'localhost'" in said(errors, "client")


def test_no_version_in_common_names_what_this_side_speaks(certs: Certificates) -> None:
    server = limited(plain_context(ssl.PROTOCOL_TLS_SERVER, certs.server), ssl.TLSVersion.TLSv1_2)
    client = client_context({**certs.trust, "min_version": "TLSv1.3"}).channel("localhost")
    assert said(meet(client, foreign_server(server)), "client").endswith("this client speaks TLS 1.3 only")


def test_a_server_context_without_a_certificate(certs: Certificates) -> None:
    server = foreign_server(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    errors = meet(client_context(certs.trust).channel("localhost"), server)
    assert "see that the server has a certificate" in said(errors, "server")
    assert "no cipher in common" in said(errors, "client")


def test_only_a_few_of_many_names_are_shown_and_none_can_forge_a_line(certs: Certificates) -> None:
    names = [f"host{number}.example" for number in range(20)]
    words = said(try_out(certs.trust, identity("many", certs.authority, names=names).options), "client")
    assert "DNS 'host7.example' and 12 more: connect" in words and "host8" not in words

    forged = identity("x\n\x1b[31mforged\u202e" + "y" * 45, certs.stranger, names=["localhost"])
    words = said(try_out(certs.trust, forged.options), "client")
    assert words.isprintable() and words.isascii()
    assert r"(CN 'x\n\x1b[31mforged\u202e" in words

    long = identity("long", certs.authority, names=["a" * 60 + "." + "b" * 60])
    words = said(try_out(certs.trust, long.options), "client")
    assert f"DNS '{'a' * 60}.{'b' * 19}…'" in words


def test_a_certificate_without_a_name() -> None:
    facts = tls_faults.Certificate("without a name", "O 'A', CN 'B'", None, (), -315619200.0, 253402300799.0)
    words = tls_faults.refusal("client", 62, "", "localhost", [facts], 0)
    assert words == (
        "the server's certificate is not for 'localhost': it has no subject alternative name; make it anew with "
        "one (node-ipc help tls shows how), or set tls.strict_x509 to False"
    )
    assert "before 1960-01-01 00:00 UTC" in tls_faults.refusal("client", 9, "", "x", [facts], -1e10)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (9, "the server's certificate, or an authority above it, is not valid yet: check the clocks of both machines"),
        (10, "the server's certificate, or an authority above it, has expired: renew it"),
        (20, "the server's certificate comes from an authority that is not trusted here"),
        (62, "is not for 'localhost': connect by a name that it has, or set tls.servername to one"),
        (67, "the server's certificate is signed by an authority whose key is too weak: use RSA of 2048 bits"),
        (68, "the server's certificate is signed with a digest that is too weak: use RSA of 2048 bits"),
        (92, "does not follow RFC 5280 (openssl's words): make them anew"),
        (25, "the server's certificate did not pass verification (openssl's words)"),
    ],
)
def test_refusals_without_a_certificate_to_look_at(number: int, words: str) -> None:
    assert words in tls_faults.refusal("client", number, "openssl's words", "localhost", [], time.time())


# --- explain: errors that do not come from a channel ------------------------------------------------------


def ssl_error(text: str, reason: str | None = None) -> ssl.SSLError:
    error = ssl.SSLError(1, text)
    error.reason = reason  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "side", "words"),
    [
        (TimeoutError(), "client", "the server did not finish the handshake in time: it is stuck, or does not"),
        (ConnectionAbortedError(), "server", "the client did not finish the handshake in time"),
        (ConnectionResetError(), "client", "the server closed the connection during the handshake: it does not"),
        (EOFError(), "server", "the client closed the connection during the handshake"),
        (ssl.SSLEOFError(8, "EOF"), "client", "the server closed the connection during the handshake"),
        (ssl.SSLZeroReturnError(6, "x"), "client", "the server closed the connection during the handshake"),
        (ssl_error("x", "HTTP_REQUEST"), "server", "the client speaks HTTP without TLS, not node-ipc over TLS"),
        (ssl_error("x", "DH_KEY_TOO_SMALL"), "client", "the server's Diffie-Hellman parameters are too weak"),
        (ssl_error("x", "SSLV3_ALERT_CERTIFICATE_REVOKED"), "client", "(certificate revoked); its log says why"),
        (ssl_error("x", "TLSV1_ALERT_INTERNAL_ERROR"), "client", "with the alert 'internal error'"),
        (ssl_error("[SSL] tlsv1 alert no application protocol (_ssl.c:1006)"), "client", "for another protocol"),
        (ssl_error("x", "BAD_SOMETHING"), "client", "TLS with the peer failed: bad something"),
        (ssl_error("unheard of"), "client", "TLS with the peer failed: SSLError(1, 'unheard of')"),
        (OSError(5, "Input/output error"), "client", "OSError(5, 'Input/output error')"),
    ],
)
def test_explain(error: BaseException, side: Any, words: str) -> None:
    explained = explain(error, side=side)
    assert words in str(explained)
    assert explained.__cause__ is error
    assert explained.code == "ERR_IPC_TLS"


def test_explain_takes_the_name_for_the_servers(certs: Certificates) -> None:
    client = client_context(certs.trust).channel("elsewhere")
    cause = meet(client, ServerTLS(certs.server.options).channel())["client"].__cause__
    assert cause is not None
    words = str(explain(cause, side="client", name="example.com"))
    assert words.startswith("TLS with example.com failed: the server's certificate is not for 'example.com', it names")
    words = str(explain(cause, side="client", name="10.0.0.1:80", servername="example.com"))
    assert words.startswith("TLS with 10.0.0.1:80 failed: the server's certificate is not for 'example.com'")


def test_where_python_shows_no_messages_the_names_are_left_out(certs: Certificates) -> None:
    client = client_context({"ca": certs.stranger.cert})
    client.context._msg_callback = None  # type: ignore[attr-defined]
    words = said(meet(client.channel("localhost"), ServerTLS(certs.server.options).channel()), "client")
    assert words.startswith("the server's certificate comes from an authority that is not trusted here")


def test_a_context_of_the_users_has_no_names_to_show(certs: Certificates) -> None:
    client = foreign_client(plain_context(ssl.PROTOCOL_TLS_CLIENT, trusted=certs.stranger))
    words = said(meet(client, ServerTLS(certs.server.options).channel()), "client")
    assert words.startswith("the server's certificate comes from an authority that is not trusted here")


@given(st.binary(max_size=200), st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]))
def test_a_strangers_certificate_message_may_hold_anything(message: bytes, version: int) -> None:
    certificates = tls._sent_certificates(version, message)
    assert len(certificates) <= tls.CHAIN_SHOWN
    assert tls._decoded(certificates[:1]) == []


def test_no_more_than_a_few_certificates_of_a_chain_are_looked_at(certs: Certificates) -> None:
    one = certs.server.der
    entry = len(one).to_bytes(3, "big") + one
    message = bytes(4) + bytes(3) + entry * 1000
    assert tls._sent_certificates(ssl.TLSVersion.TLSv1_2, message) == [one] * tls.CHAIN_SHOWN


def test_certificates_of_tls_13_have_extensions(certs: Certificates) -> None:
    def entry(der: bytes, extension: bytes) -> bytes:
        return len(der).to_bytes(3, "big") + der + len(extension).to_bytes(2, "big") + extension

    chain = entry(certs.server.der, b"extension") + entry(certs.authority.der, b"")
    message = bytes(4) + b"\x07request" + len(chain).to_bytes(3, "big") + chain
    found = tls._sent_certificates(ssl.TLSVersion.TLSv1_3, message)
    assert found == [certs.server.der, certs.authority.der]
    assert [one.subject for one in tls._decoded(found)] == ["CN 'server'", "CN 'Test CA'"]


# --- contexts ---------------------------------------------------------------------------------------------


def test_what_every_context_has(certs: Certificates) -> None:
    client, server = client_context(certs.mutual_client).context, server_context(certs.mutual_server)
    for context in (client, server):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
        assert context.options & ssl.OP_NO_RENEGOTIATION
    assert client.check_hostname and not client.hostname_checks_common_name
    assert server.num_tickets == 0


def test_strictness_can_be_turned_off(certs: Certificates) -> None:
    context = client_context({**certs.trust, "strict_x509": False}).context
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.hostname_checks_common_name and context.check_hostname


@pytest.mark.parametrize("nothing", [None, False, {}])
def test_a_client_without_options_trusts_the_systems_authorities(
    nothing: Any, certs: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system.pem").write_text(certs.authority.cert)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    assert try_out(nothing, certs.server.options) == {}
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    assert "is not trusted here" in said(try_out(nothing, certs.server.options), "client")


def test_a_client_may_choose_not_to_verify(certs: Certificates) -> None:
    client = client_context({"reject_unauthorized": False}).channel("elsewhere")
    assert meet(client, ServerTLS(certs.server.options).channel()) == {}
    assert client.certificate is None


@pytest.mark.parametrize("lenient", [{"request_cert": False}, {"reject_unauthorized": False}])
def test_a_server_may_choose_not_to_ask(lenient: dict[str, Any], certs: Certificates) -> None:
    assert try_out(certs.trust, {**certs.mutual_server, **lenient}) == {}


def test_options_as_the_configuration_has_them(certs: Certificates) -> None:
    config = Config()
    config.tls = {**certs.trust, "servername": "localhost", "rejectUnauthorized": True}
    client = client_context(config.tls)
    assert client.servername == "localhost"
    assert client.name_for("10.0.0.1") == "localhost"
    assert meet(client.channel("10.0.0.1"), ServerTLS(certs.server.options).channel()) == {}


@pytest.mark.parametrize("host", [".example", "a" * 64 + ".example"])
def test_a_host_whose_name_no_certificate_can_have(host: str, certs: Certificates) -> None:
    with pytest.raises(TLSError, match="cannot be the name in a certificate"):
        client_context(certs.trust).channel(host)


def test_files_trustme_makes_work(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, client = authority.issue_cert("localhost"), authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, one in (("server", server), ("client", client)):
        one.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        one.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    options = {
        name: {
            "private": tmp_path / f"{name}.key",
            "public": tmp_path / f"{name}.pem",
            "trusted_connections": [tmp_path / "ca.pem"],
        }
        for name in ("server", "client")
    }
    assert try_out(options["client"], options["server"], assured=True) == {}


def test_several_authorities_of_every_form(certs: Certificates, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_text(f"Gemeinsam für alle Büros:\n{certs.authority.cert}", encoding="utf-8")
    (tmp_path / "two.der").write_bytes(certs.stranger.der)
    paths = [tmp_path / "two.der", tmp_path / "one.pem"]
    assert try_out({"trusted_connections": paths}, certs.server.options) == {}
    assert try_out({"ca": [certs.stranger.cert, certs.authority.cert.encode()]}, certs.server.options) == {}
    assert try_out({"ca": certs.authority.der}, certs.server.options) == {}
    both = {"ca": certs.stranger.cert, "trusted_connections": tmp_path / "one.pem"}
    assert try_out(both, certs.server.options) == {}


def test_a_file_goes_before_the_text(certs: Certificates, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(certs.server.key)
    (tmp_path / "cert").write_text(certs.server.cert)
    options = {**certs.client.options, "private": tmp_path / "key", "public": tmp_path / "cert"}
    assert try_out(certs.trust, options) == {}


@pytest.mark.parametrize("passphrase", ["nevershown ü", "nevershown ü".encode()])
def test_an_encrypted_key(passphrase: str | bytes, certs: Certificates) -> None:
    options = {"key": certs.server.encrypted_key("nevershown ü".encode()), "cert": certs.server.cert}
    assert try_out(certs.trust, {**options, "passphrase": passphrase}) == {}
    with pytest.raises(ConfigError, match=r"tls\.key is encrypted: set tls\.passphrase"):
        server_context(options)
    with pytest.raises(ConfigError, match=r"or tls\.passphrase is wrong"):
        server_context({**options, "passphrase": "nevershown"})


def ffdhe2048() -> str:
    """The Diffie-Hellman group of RFC 7919, which is made from e, in PEM."""
    scaled, term, divisor = 0, 1 << 2000, 1
    while term:
        scaled, term, divisor = scaled + term, term // divisor, divisor + 1
    prime = 2**2048 - 2**1984 + ((scaled >> (2000 - 1918)) + 560316) * 2**64 - 1
    numbers = b"\x02\x82\x01\x01\x00" + prime.to_bytes(256, "big") + b"\x02\x01\x02"
    text = base64.encodebytes(b"\x30\x82" + len(numbers).to_bytes(2, "big") + numbers).decode()
    return f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n"


@pytest.mark.parametrize("form", ["path", "text"])
def test_diffie_hellman_parameters(form: str, certs: Certificates, tmp_path: Path) -> None:
    (tmp_path / "dh.pem").write_text(ffdhe2048())
    server = identity("server", certs.authority, names=["localhost"], rsa_key=True)
    options = {**server.options, "ciphers": "DHE-RSA-AES128-GCM-SHA256"}
    context = plain_context(ssl.PROTOCOL_TLS_CLIENT, trusted=certs.authority)
    limited(context, ssl.TLSVersion.TLSv1_2)
    errors = meet(foreign_client(context), ServerTLS(options).channel())
    assert "no cipher" in said(errors, "server")
    dhparam = tmp_path / "dh.pem" if form == "path" else ffdhe2048()
    assert meet(foreign_client(context), ServerTLS({**options, "dhparam": dhparam}).channel()) == {}


def test_ciphers(certs: Certificates) -> None:
    context = server_context({**certs.server.options, "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"})
    assert [one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"] == [
        "ECDHE-ECDSA-AES256-GCM-SHA384"
    ]


@pytest.mark.parametrize("nothing", [None, False, {}, {"key": made().server.key}, {"cert": made().server.cert}])
def test_a_server_without_key_and_certificate(nothing: Any) -> None:
    with pytest.raises(ConfigError) as error:
        ServerTLS(nothing)
    assert str(error.value) == ELSEWHERE[1]
    assert error.value.code == "ERR_IPC_TLS_CONFIGURATION"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": made().client.key}, "tls.key with tls.cert: the key does not belong to the certificate"),
        ({"cert": made().server.key}, "tls.cert holds no certificate in PEM form"),
        (
            {"cert": made().server.cert[:200]},
            "tls.key with tls.cert: the key or the certificate is damaged, or tls.passphrase is wrong",
        ),
        ({"private": "/nowhere/key"}, "tls.private: cannot read '/nowhere/key': No such file or directory"),
        ({"trusted_connections": "/nowhere"}, "tls.trusted_connections: cannot read '/nowhere': No such file"),
        ({"dhparam": "/nowhere/dh"}, "tls.dhparam: cannot read '/nowhere/dh': No such file or directory"),
        ({"dhparam": made().server.cert}, "tls.dhparam: holds no Diffie-Hellman parameters in PEM form"),
        ({"ca": made().server.key}, "tls.ca: holds no certificate that can be read"),
        ({"ca": b"neither PEM nor DER"}, "tls.ca: holds no certificate that can be read"),
        ({"ca": []}, "tls.ca or tls.trusted_connections is an empty list, which trusts nobody: leave it out"),
        ({"ciphers": "NONE-OF-THEM"}, "tls.ciphers: names no cipher that this OpenSSL has"),
        (
            {"request_cert": True},
            "tls.request_cert asks clients for a certificate, but nothing says which: set tls.ca or "
            "tls.trusted_connections to their authority",
        ),
    ],
)
def test_options_that_cannot_be_used(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        server_context({**made().server.options, **change})
    assert str(error.value).startswith(words)
    assert error.value.code == "ERR_IPC_TLS_CONFIGURATION"


def test_half_a_client_certificate(certs: Certificates) -> None:
    for half in ("key", "cert"):
        with pytest.raises(ConfigError, match="a client certificate needs both its halves") as error:
            client_context({**certs.trust, half: certs.client.options[half]})
        assert error.value.code == "ERR_IPC_TLS_CONFIGURATION"


# --- keys on their way into OpenSSL -----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory here")
def test_a_key_in_memory_stays_in_memory() -> None:
    with tls._as_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
        assert os.readlink(path).startswith("/memfd:")
        descriptor = int(path.rpartition("/")[2])
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError):
        os.fstat(descriptor)


@pytest.fixture(params=["absent", "forbidden"])
def no_memory_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "absent":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", _forbidden, raising=False)


def _forbidden(name: str) -> int:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.usefixtures("no_memory_files")
def test_elsewhere_it_is_in_a_private_directory_and_gone_at_once(certs: Certificates) -> None:
    with tls._as_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert not os.path.exists(os.path.dirname(path))
    with pytest.raises(ZeroDivisionError), tls._as_file(b"secret") as path:
        raise ZeroDivisionError
    assert not os.path.exists(os.path.dirname(path))
    assert try_out(certs.mutual_client, certs.mutual_server) == {}


# --- an SSLContext of the user's --------------------------------------------------------------------------


def test_a_context_of_the_users_is_used_as_it_is(certs: Certificates) -> None:
    server = plain_context(ssl.PROTOCOL_TLS_SERVER, certs.server)
    client = plain_context(ssl.PROTOCOL_TLS_CLIENT, trusted=certs.authority)
    assert server_context(server) is server
    assert client_context(client) == ClientTLS(client)
    assert meet(client_context(client).channel("localhost"), ServerTLS(server).channel()) == {}


def test_a_context_for_the_other_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="made with PROTOCOL_TLS_CLIENT, which no server can use"):
        server_context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(ConfigError, match="made with PROTOCOL_TLS_SERVER, which no client can use"):
        client_context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_the_assured_profile_looks_at_the_users_context() -> None:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    refused = functools.partial(pytest.raises, AssuredError)
    with refused(match="verify_mode is CERT_REQUIRED"):
        server_context(server, assured=True)
    server.verify_mode = ssl.CERT_REQUIRED
    with refused(match="minimum_version is TLSv1_3") as error:
        server_context(server, assured=True)
    assert error.value.code == "ERR_IPC_ASSURED_TLS"
    server.minimum_version = client.minimum_version = ssl.TLSVersion.TLSv1_3
    assert server_context(server, assured=True) is server
    assert client_context(client, assured=True).context is client
    client.check_hostname = False
    with refused(match="check_hostname is True"):
        client_context(client, assured=True)


# --- the assured profile ----------------------------------------------------------------------------------


def test_assured_ends_talk_tls_13(certs: Certificates) -> None:
    client = client_context(certs.mutual_client, assured=True).channel("localhost")
    server = ServerTLS(certs.mutual_server, assured=True).channel()
    assert meet(client, server) == {}
    assert client.version == server.version == "TLSv1.3"
    old = limited(plain_context(ssl.PROTOCOL_TLS_CLIENT, certs.client, certs.authority), ssl.TLSVersion.TLSv1_2)
    errors = meet(foreign_client(old), ServerTLS(certs.mutual_server, assured=True).channel())
    assert said(errors, "server").endswith("this server speaks TLS 1.3 only")


@pytest.mark.parametrize(
    "change", [{"ca": None}, {"request_cert": False}, {"reject_unauthorized": False}, {"min_version": "TLSv1.2"}]
)
def test_an_assured_server_needs_verified_clients(change: dict[str, Any], certs: Certificates) -> None:
    with pytest.raises(AssuredError) as error:
        server_context({**certs.mutual_server, **change}, assured=True)
    assert error.value.code == "ERR_IPC_ASSURED_TLS"


def test_an_assured_server_needs_a_certificate_first(certs: Certificates) -> None:
    with pytest.raises(ConfigError) as error:
        server_context(certs.trust, assured=True)
    assert error.value.code == "ERR_IPC_TLS_CONFIGURATION"


@pytest.mark.parametrize(
    "change",
    [{"ca": None}, {"key": None}, {"cert": None}, {"reject_unauthorized": False}, {"min_version": "TLSv1.2"}],
)
def test_an_assured_client_needs_a_certificate_and_verifies(change: dict[str, Any], certs: Certificates) -> None:
    with pytest.raises(AssuredError) as error:
        client_context({**certs.mutual_client, **change}, assured=True)
    assert error.value.code == "ERR_IPC_ASSURED_TLS"


# --- row 30: certificates are exchanged -------------------------------------------------------------------


def serial_seen(server: ServerTLS, trusted: dict[str, Any]) -> str:
    client = client_context(trusted).channel("localhost")
    assert meet(client, server.channel()) == {}
    assert client.certificate is not None
    return str(client.certificate["serialNumber"])


def echo(client: TLSChannel, server: TLSChannel, data: bytes) -> None:
    assert server.receive(client.send(data)) == data
    assert client.receive(server.send(data)) == data


def bad_files(certs: Certificates) -> list[tuple[str, str]]:
    """Five kinds of bad key and certificate."""
    good, other = certs.server, certs.client
    return [
        (good.key, good.cert[: len(good.cert) // 2]),
        (good.key[: len(good.key) // 2], good.cert),
        (other.key, good.cert),
        (good.key, ""),
        ("no PEM at all", good.cert),
    ]


@pytest.mark.row(30)
def test_a_hundred_reloads_twenty_of_them_bad_drop_nobody(certs: Certificates, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_text(certs.server.key)
    cert.write_text(certs.server.cert)
    server = ServerTLS({"private": key, "public": cert})
    trust = client_context(certs.trust)
    clients = []
    for _ in range(50):
        pair = trust.channel("localhost"), server.channel()
        assert meet(*pair) == {}
        clients.append(pair)
    half_way = trust.channel("localhost"), server.channel()

    serial, raised = certs.server.serial, 0
    lasted: list[float] = []
    worked: list[float] = []
    for turn in range(100):
        if turn % 5 == 4:
            bad = bad_files(certs)[turn // 5 % 5]
            key.write_text(bad[0])
            cert.write_text(bad[1])
            context = server.context
            with pytest.raises(ConfigError):
                server.reload()
            raised += 1
            assert server.context is context
        else:
            new = identity("server", certs.authority, names=["localhost"])
            key.write_text(new.key)
            cert.write_text(new.cert)
            watch, before = Stopwatch(), time.thread_time()
            server.reload()
            worked.append(time.thread_time() - before)
            lasted.append(watch.seconds)
            serial = new.serial
        assert serial_seen(server, certs.trust) == serial
        echo(*clients[turn % 50], b"%d" % turn)
    assert raised == 20
    assert max(worked) <= 0.1
    assert statistics.median(lasted) <= 0.1  # one of eighty may have waited for the machine: its disk, its host
    assert meet(*half_way) == {}
    for number, pair in enumerate(clients):
        echo(*pair, b"still here %d" % number)


def test_a_reload_with_other_options(certs: Certificates) -> None:
    server = ServerTLS(certs.server.options)
    new = identity("server", certs.authority, names=["localhost"])
    server.reload(new.options)
    assert serial_seen(server, certs.trust) == new.serial
    server.reload()
    assert serial_seen(server, certs.trust) == new.serial
    with pytest.raises(ConfigError):
        server.reload({"key": new.key, "cert": certs.server.cert})
    server.reload()
    assert serial_seen(server, certs.trust) == new.serial


def test_an_assured_server_stays_assured(certs: Certificates) -> None:
    server = ServerTLS(certs.mutual_server, assured=True)
    with pytest.raises(AssuredError):
        server.reload(certs.server.options)
    assert serial_seen(server, certs.mutual_client) == certs.server.serial


def test_a_reload_of_the_users_context(certs: Certificates) -> None:
    server = ServerTLS(plain_context(ssl.PROTOCOL_TLS_SERVER, certs.server))
    with pytest.raises(ConfigError, match=r"call its load_cert_chain\(\), or give reload_tls\(\) a new context"):
        server.reload()
    new = identity("server", certs.authority, names=["localhost"])
    server.reload(plain_context(ssl.PROTOCOL_TLS_SERVER, new))
    assert serial_seen(server, certs.trust) == new.serial


# --- the channel ------------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "mutual"])
def link(request: pytest.FixtureRequest, certs: Certificates) -> tuple[TLSChannel, TLSChannel]:
    if request.param == "plain":
        return connected(certs.trust, certs.server.options)
    return connected(certs.mutual_client, certs.mutual_server)


Link = tuple[TLSChannel, TLSChannel]


def test_bytes_go_both_ways(link: Link) -> None:
    client, server = link
    echo(client, server, b"hello")
    large = bytes(range(256)) * 4096
    assert server.receive(client.send(large)) == large
    assert client.send(b"") == b""
    assert client.outgoing() == server.outgoing() == b""


def test_cut_into_single_bytes(certs: Certificates) -> None:
    client, server = client_context(certs.mutual_client).channel("localhost"), ServerTLS(certs.mutual_server).channel()
    heard = {client: b"", server: b""}
    while moved := [(there, data) for here, there in ((client, server), (server, client)) if (data := here.outgoing())]:
        for there, data in moved:
            for position in range(len(data)):
                heard[there] += there.receive(data[position : position + 1])
    assert client.established and server.established
    data = client.send(b"hello")
    assert b"".join(server.receive(data[at : at + 1]) for at in range(len(data))) == b"hello"


def test_who_the_other_end_is(certs: Certificates) -> None:
    client, server = connected(certs.mutual_client, certs.mutual_server)
    assert client.certificate is not None and server.certificate is not None
    assert client.certificate["subject"] == ((("commonName", "server"),),)
    assert server.certificate["subject"] == ((("commonName", "client"),),)
    assert client._object.selected_alpn_protocol() == server._object.selected_alpn_protocol() == tls.ALPN
    _, anonymous = connected(certs.trust, certs.server.options)
    assert anonymous.certificate is None
    assert client_context(certs.trust).channel("localhost").version is None


def test_an_established_connection_has_no_callback_left(certs: Certificates) -> None:
    for channel in connected(certs.mutual_client, certs.mutual_server):
        connection: Any = channel._object
        assert connection.context._msg_callback is None
        assert connection._certificates is None and connection._hello is None


def test_an_orderly_end(link: Link) -> None:
    client, server = link
    data = client.send(b"last words")
    client.close()
    client.close()
    assert server.receive(data + client.outgoing()) == b"last words"
    assert server.ended and not client.ended
    assert server.receive_end() is None
    assert server.receive(b"junk after the end") == b""
    assert server._incoming.pending == 0
    answer = server.send(b"answer")  # one way may end before the other
    server.close()
    assert client.receive(answer + server.outgoing()) == b"answer"
    assert client.ended
    assert client.receive_end() is None


def test_who_has_closed_does_not_insist_on_an_answer(link: Link) -> None:
    client, _ = link
    client.close()
    assert client.receive_end() is None
    with pytest.raises(TLSError, match="protocol is shutdown"):
        client.send(b"too late")


def test_closing_before_the_handshake_says_nothing(certs: Certificates) -> None:
    server = ServerTLS(certs.server.options).channel()
    server.close()
    assert server.outgoing() == b""


def test_a_connection_that_ends_in_the_handshake(certs: Certificates) -> None:
    client = client_context(certs.trust).channel("localhost")
    error = client.receive_end()
    assert isinstance(error, TLSError)
    assert "the server closed the connection during the handshake" in str(error)


def test_a_connection_that_is_cut_off_after_it_worked(link: Link) -> None:
    client, server = link
    client.receive(server.send(b"hello"))
    error = client.receive_end()
    assert type(error) is ConnectionLost
    assert "what was sent last may be missing" in str(error)


def test_a_client_that_says_nothing_and_is_cut_off(link: Link) -> None:
    client, server = link
    assert "what was sent last may be missing" in str(server.receive_end())
    assert "a server that refuses this client's certificate may end like that" in str(client.receive_end())


def test_a_damaged_record_ends_the_stream(link: Link) -> None:
    client, server = link
    data = bytearray(client.send(b"hello"))
    data[-1] ^= 1
    with pytest.raises(TLSError, match="TLS with a client failed: decryption failed or bad record mac"):
        server.receive(bytes(data))


@pytest.mark.parametrize(
    ("junk", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP without TLS"),
        (b"CONNECT localhost:1 HTTP/1.1\r\n\r\n", "speaks HTTP without TLS"),
        (b"\x16\x03\x01\xff\xff" + bytes(70_000), "does not speak TLS"),
        (b"\x00" * 100, "does not speak TLS"),
    ],
)
def test_what_is_not_tls(junk: bytes, words: str, certs: Certificates) -> None:
    with pytest.raises(TLSError, match=words):
        ServerTLS(certs.server.options).channel().receive(junk)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_handshake_or_a_tls_error(data: bytes, record: bool) -> None:
    header = b"\x16\x03\x01" + len(data).to_bytes(2, "big") if record else b""
    channel = ServerTLS(made().server.options).channel()
    with contextlib.suppress(TLSError):
        assert channel.receive(header + data) == b""
    assert not channel.established


# --- over real sockets, on asyncio ------------------------------------------------------------------------


class End(asyncio.Protocol):
    """What a driver does with a channel, and no more."""

    def __init__(self, channel: TLSChannel) -> None:
        self.channel = channel
        self.heard = b""
        self.over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.channel.outgoing())

    def data_received(self, data: bytes) -> None:
        try:
            self.heard += self.channel.receive(data)
        except TLSError as error:
            self._finish(error)
        self.transport.write(self.channel.outgoing())
        if self.over.done():
            self.transport.close()  # once the alert is written

    def eof_received(self) -> None:
        self._finish(self.channel.receive_end())

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc)

    def _finish(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(error)


@contextlib.asynccontextmanager
async def listening(make: Callable[[], asyncio.Protocol], **options: Any) -> Any:
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, **options)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def both_ends(client: TLSChannel, server: TLSChannel) -> tuple[str, str]:
    ends: list[End] = []

    def accepted() -> End:
        ends.append(End(server))
        return ends[0]

    loop = asyncio.get_running_loop()
    async with listening(accepted) as port:
        _, end = await loop.create_connection(lambda: End(client), "127.0.0.1", port)
        errors = await asyncio.wait_for(asyncio.gather(end.over, _first(ends)), 10)
        end.transport.close()
        ends[0].transport.close()
    return str(errors[0]).partition(": ")[2], str(errors[1]).partition(": ")[2]


async def _first(ends: list[End]) -> Exception | None:
    while not ends:
        await asyncio.sleep(0)
    return await ends[0].over


@pytest.mark.row(29)
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_both_ends_hear_the_reason_over_a_socket(version: str, certs: Certificates) -> None:
    stranger = identity("stranger", certs.stranger)

    def channels(client: dict[str, Any], server: dict[str, Any], host: str = "localhost") -> Link:
        opener = client_context(client)
        opener.context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
        return opener.channel(host), ServerTLS(server).channel()

    client, server = await both_ends(*channels({"ca": certs.stranger.cert}, certs.server.options))
    assert "is not trusted here" in client and "the client does not trust the authority" in server
    client, server = await both_ends(*channels(certs.trust, certs.server.options, "elsewhere"))
    assert "it names DNS 'localhost'" in client and "(bad certificate)" in server
    client, server = await both_ends(*channels(certs.trust, certs.mutual_server))
    assert "asks for a certificate and this client gave none" in client and "gave no certificate" in server
    client, server = await both_ends(*channels({**certs.trust, **stranger.options}, certs.mutual_server))
    assert "does not trust the authority of this client's certificate" in client
    assert "(CN 'stranger', issued by CN 'Stranger CA')" in server


async def test_asyncio_s_own_tls_is_explained_too(certs: Certificates) -> None:
    """The names and dates survive; only the other end is not told (asyncio sends no alert)."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    old = identity("server", certs.authority, names=["localhost"], begins=-20, ends=-10)
    server = ServerTLS(old.options)
    name = "localhost"

    async def accept() -> None:
        await loop.connect_accepted_socket(asyncio.Protocol, there, ssl=server.context)

    accepting = asyncio.ensure_future(accept())
    with pytest.raises(ssl.SSLError) as error:
        context = client_context(certs.trust).context
        await loop.create_connection(asyncio.Protocol, sock=here, ssl=context, server_hostname=name)
    assert "expired on 20" in str(explain(error.value, side="client", name=name))
    with pytest.raises(ConnectionResetError) as reset:
        await accepting
    words = str(explain(reset.value, side="server", name="tls 127.0.0.1:5000"))
    assert words.startswith("TLS with tls 127.0.0.1:5000 failed: the client closed the connection during the handshake")


async def test_asyncio_s_own_tls_connects_with_our_contexts(certs: Certificates) -> None:
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    client, server = client_context(certs.mutual_client), ServerTLS(certs.mutual_server)
    (accepted, _), (opened, _) = await asyncio.gather(
        loop.connect_accepted_socket(asyncio.Protocol, there, ssl=server.context),
        loop.create_connection(
            asyncio.Protocol, sock=here, ssl=client.context, server_hostname=client.name_for("localhost")
        ),
    )
    assert accepted.get_extra_info("peercert")["subject"] == ((("commonName", "client"),),)
    assert opened.get_extra_info("peercert")["subject"] == ((("commonName", "server"),),)
    lost = [transport.get_protocol() for transport in (accepted, opened)]
    assert all(isinstance(one, asyncio.Protocol) for one in lost)
    accepted.abort()
    opened.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


# --- the page ---------------------------------------------------------------------------------------------


@pytest.fixture
def page_files(tmp_path: Path) -> Path:
    """What the shell commands of the page make, in their order."""
    page = DOCUMENTATION.read_text(encoding="utf-8")
    scripts = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(scripts) == 5
    for script in scripts:
        done = subprocess.run(["sh", "-e"], input=script, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_commands_of_the_page_make_certificates_that_work(page_files: Path) -> None:
    def files(name: str, **more: Any) -> dict[str, Any]:
        return {"private": page_files / f"{name}.key", "public": page_files / f"{name}.crt", **more}

    trusted = {"trusted_connections": page_files / "ca.crt"}
    for host in ("localhost", "127.0.0.1", "::1"):
        assert try_out(files("client", **trusted), files("server", **trusted), host=host, assured=True) == {}
    assert said(try_out({**trusted}, files("server"), host="example.org"), "client").startswith("the server's")
    own = {"trusted_connections": page_files / "own.crt"}
    assert try_out(own, files("own")) == {}
    server = files("server", dhparam=page_files / "dhparam.pem")
    assert try_out(trusted, server) == {}
    assert stat.S_IMODE((page_files / "server.key").stat().st_mode) == 0o600


def test_what_the_page_does_with_trustme_works() -> None:
    page = DOCUMENTATION.read_text(encoding="utf-8")
    [code] = [part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "trustme.CA()" in part]
    names: dict[str, Any] = {"trustme": trustme}
    exec(code, names)
    for host in ("localhost", "127.0.0.1"):
        assert try_out(names["client_tls"], names["server_tls"], host=host) == {}
