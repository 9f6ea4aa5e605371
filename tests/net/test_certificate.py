"""What is read of a certificate that was refused, held against what a library for certificates wrote."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from node_ipc.net.certificate import facts
from node_ipc.net.tls_faults import shown
from tls_certificates import identity

KEY = ec.generate_private_key(ec.SECP256R1())
UTC = datetime.UTC
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
DATES = st.datetimes(
    datetime.datetime(1950, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC)
).map(lambda when: when.replace(microsecond=0))
EARLY, LATE = datetime.datetime(1950, 1, 1, tzinfo=UTC), datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def name(**parts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(getattr(NameOID, key), text) for key, text in parts.items()])


def made(
    subject: x509.Name,
    issuer: x509.Name,
    begin: datetime.datetime = EARLY,
    end: datetime.datetime = LATE,
    names: list[Any] | None = None,
) -> bytes:
    builder = x509.CertificateBuilder(issuer, subject, KEY.public_key(), 1, begin, end)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@given(TEXT, TEXT, DATES, DATES)
@example("a", "b", datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime.datetime(2050, 1, 1, tzinfo=UTC))
def test_names_and_dates(common: str, organization: str, one: datetime.datetime, other: datetime.datetime) -> None:
    begin, end = sorted((one, other))
    found = facts(made(name(COMMON_NAME=common), name(ORGANIZATION_NAME=organization), begin, end))
    assert (found.subject, found.issuer) == (f"CN {shown(common)}", f"O {shown(organization)}")
    assert found.common_name == common
    assert (found.not_before, found.not_after) == (begin.timestamp(), end.timestamp())
    assert found.names == ()


def test_the_parts_of_a_name_that_are_shown() -> None:
    subject = name(COUNTRY_NAME="AT", ORGANIZATION_NAME="A", ORGANIZATIONAL_UNIT_NAME="B", COMMON_NAME="C")
    found = facts(made(subject, name(COUNTRY_NAME="AT")))
    assert (found.subject, found.issuer) == ("O 'A', OU 'B', CN 'C'", "without a name")


@pytest.mark.parametrize("kind", ["BMPString", "UniversalString", "T61String", "UTF8String"])
def test_texts_of_old_encodings(kind: str) -> None:
    tag, encoding = {
        "BMPString": (0x1E, "utf-16-be"),
        "UniversalString": (0x1C, "utf-32-be"),
        "T61String": (0x14, "latin-1"),
        "UTF8String": (0x0C, "utf-8"),
    }[kind]
    text = "Grün".encode(encoding)
    plain = "x" * len(text)
    der = made(name(COMMON_NAME=plain), name(COMMON_NAME="authority"))
    before = bytes([0x0C, len(text)]) + plain.encode()
    assert der.count(before) == 1
    assert facts(der.replace(before, bytes([tag, len(text)]) + text)).common_name == "Grün"


def test_alternative_names_of_every_kind() -> None:
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.RFC822Name("somebody@example.com"),
        x509.UniformResourceIdentifier("spiffe://example.com/a"),
        x509.RegisteredID(NameOID.COMMON_NAME),
        x509.DirectoryName(name(COMMON_NAME="directory")),
    ]
    assert facts(made(name(), name(), names=names)).names == (
        "DNS 'localhost'",
        "IP '127.0.0.1'",
        "IP '::1'",
        "email 'somebody@example.com'",
        "URI 'spiffe://example.com/a'",
    )


def test_a_certificate_with_large_keys_and_many_names() -> None:
    names = [f"host-{number}.example.com" for number in range(5000)]  # its lengths have three bytes
    found = facts(identity("many", names=names, rsa_key=True).der)
    assert found.names == tuple(f"DNS '{each}'" for each in names)


GOOD = identity("good", names=["localhost", "127.0.0.1"]).der


@given(st.binary(max_size=300))
@example(b"0\x80")
@example(b"0\x84\xff\xff\xff\xff")
@example(b"0\xff")
def test_what_is_no_certificate_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        facts(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_certificate_is_read_or_a_value_error(at: int, byte: int, cut: bool) -> None:
    damaged = GOOD[:at] if cut else GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    try:
        found = facts(damaged)
    except ValueError:
        return
    assert found.subject.isprintable() and all(map(str.isprintable, found.names))
