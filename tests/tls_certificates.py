"""Certificates for tests, made while they run: the good ones and every odd kind that a TLS end must refuse."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
FOR_SERVERS = ExtendedKeyUsageOID.SERVER_AUTH
FOR_CLIENTS = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Identity:
    """A key and its certificate."""

    certificate: x509.Certificate
    private: Any

    @property
    def cert(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key(self) -> str:
        return self.encrypted_key(None)

    def encrypted_key(self, passphrase: bytes | None) -> str:
        how = serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
        pkcs8 = serialization.PrivateFormat.PKCS8
        return str(self.private.private_bytes(serialization.Encoding.PEM, pkcs8, how).decode())

    @property
    def options(self) -> dict[str, Any]:
        """For ``config.tls``."""
        return {"key": self.key, "cert": self.cert}

    @property
    def serial(self) -> str:
        """As ``getpeercert`` writes it."""
        number = f"{self.certificate.serial_number:X}"
        return number if len(number) % 2 == 0 else f"0{number}"


def identity(
    common_name: str,
    issuer: Identity | None = None,
    *,
    names: Sequence[str] = (),
    authority: bool = False,
    begins: float = -1,
    ends: float = 30,
    purpose: x509.ObjectIdentifier | None = None,
    weak: bool = False,
    rsa_key: bool = False,
    strict: bool = True,
) -> Identity:
    """A certificate from ``issuer`` (``None``: signed by itself), valid from and until so many days from now.

    ``strict=False`` leaves out the identifiers of keys, as old tools did.
    """
    bits = 1024 if weak else 2048
    private = rsa.generate_private_key(65537, bits) if weak or rsa_key else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    if authority:
        signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(signs, critical=True)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    signer = issuer.private if issuer else private
    if strict:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False
        ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    return Identity(builder.sign(signer, hashes.SHA256()), private)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
