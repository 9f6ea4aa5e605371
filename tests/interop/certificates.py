"""Certificates for the TLS scenarios, made at run time, and the ``tls`` options that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import trustme


class Files(NamedTuple):
    """Paths of PEM files, named as the options of ``config.tls``."""

    private: str
    public: str


class Certificates:
    """An authority with its server and client, and a stranger from another authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority, elsewhere = trustme.CA(), trustme.CA()
        self.authority, self.elsewhere = self._root("authority", authority), self._root("elsewhere", elsewhere)
        self.server = self._files("server", authority.issue_cert("127.0.0.1", "localhost"))
        self.client = self._files("client", authority.issue_cert("client.example"))
        self.stranger = self._files("stranger", elsewhere.issue_cert("stranger.example"))

    def _root(self, name: str, authority: trustme.CA) -> str:
        path = self._folder / f"{name}.pem"
        authority.cert_pem.write_to_path(path)
        return str(path)

    def _files(self, name: str, issued: trustme.LeafCert) -> Files:
        private, public = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        issued.private_key_pem.write_to_path(private)
        issued.cert_chain_pems[0].write_to_path(public)
        return Files(str(private), str(public))


def options(who: Files | None = None, **more: Any) -> dict[str, Any]:
    """``config.tls`` as in node-ipc's examples: paths of PEM files."""
    return {**(who._asdict() if who else {}), **more}


def one_sided(has: Certificates) -> tuple[dict[str, Any], dict[str, Any]]:
    """The server's and the client's options where only the server shows a certificate."""
    return options(has.server), options(trusted_connections=[has.authority], reject_unauthorized=True)


def mutual(has: Certificates) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same where both do."""
    trust = {"trusted_connections": has.authority, "reject_unauthorized": True}
    return options(has.server, request_cert=True, **trust), options(has.client, **trust)
