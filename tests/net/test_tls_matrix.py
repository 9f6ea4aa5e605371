"""What two ends agree on over TLS, each of ours with OpenSSL's own programs: versions, ciphers, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import TLSError
from tls_certificates import FOR_CLIENTS, FOR_SERVERS, Identity, identity

SECONDS = 60
OURS = ("localhost", "127.0.0.1")

VERSIONS = {"-tls1": False, "-tls1_1": False, "-tls1_2": True, "-tls1_3": True}
CIPHERS = {
    "ECDHE-RSA-AES128-GCM-SHA256": True,
    "ECDHE-RSA-AES256-GCM-SHA384": True,
    "ECDHE-RSA-CHACHA20-POLY1305": True,
    "ECDHE-RSA-AES128-SHA256": False,  # not authenticated as a whole
    "ECDHE-RSA-AES256-SHA384": False,
    "ECDHE-RSA-AES256-SHA": False,
    "DHE-RSA-AES256-SHA256": False,
    "AES128-GCM-SHA256": False,  # no forward secrecy
    "AES256-SHA256": False,
    "AES128-SHA": False,
    "CAMELLIA256-SHA256": False,
    "ARIA256-GCM-SHA384": False,
    "NULL-SHA256": False,  # no encryption
    "ECDHE-RSA-NULL-SHA": False,
    "AECDH-AES256-SHA": False,  # nobody shows a certificate
    "ADH-AES256-GCM-SHA384": False,
    "PSK-AES256-GCM-SHA384": False,
}
SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


class Identities:
    def __init__(self) -> None:
        self.authority = identity("authority", authority=True)
        make = functools.partial(identity, "server", rsa_key=True, purpose=FOR_SERVERS)
        self.server = make(self.authority, names=OURS)
        self.client = identity("client", self.authority, purpose=FOR_CLIENTS)
        self.bad = {
            "expired": make(self.authority, names=OURS, begins=-9, ends=-1),
            "not valid yet": make(self.authority, names=OURS, begins=1),
            "signed by itself": make(names=OURS),
            "of another authority": make(identity("authority", authority=True), names=OURS),
            "for another name": make(self.authority, names=["example.org"]),
            "without a name": make(self.authority),
            "for clients": identity("server", self.authority, rsa_key=True, names=OURS, purpose=FOR_CLIENTS),
            "with a weak key": identity("server", self.authority, weak=True, names=OURS, purpose=FOR_SERVERS),
        }


@functools.cache
def identities() -> Identities:
    return Identities()


def written(folder: Path, who: Identity, name: str = "pair") -> list[str]:
    (folder / f"{name}.pem").write_text(who.cert + who.key)
    return ["-cert", str(folder / f"{name}.pem"), "-key", str(folder / f"{name}.pem")]


async def openssl(*arguments: str) -> asyncio.subprocess.Process:
    """OpenSSL's program, with its own defaults, and with everything that it can do allowed."""
    pipe = asyncio.subprocess.PIPE
    surroundings = {**os.environ, "OPENSSL_CONF": os.devnull}
    return await asyncio.create_subprocess_exec(
        "openssl", *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=surroundings
    )


# ---- our server


@contextlib.asynccontextmanager
async def our_server(**tls: Any) -> AsyncIterator[str]:
    async with node_ipc.serve("tls://127.0.0.1:0", tls={**identities().server.options, **tls}) as server:
        yield str(server.address).removeprefix("tls://")


async def client(address: str, *arguments: str, says: bytes = b"Q\n") -> tuple[bool, str]:
    """Whether it got in, and what it printed."""
    process = await openssl("s_client", "-connect", address, "-servername", "localhost", *arguments)
    printed, _ = await asyncio.wait_for(process.communicate(says), SECONDS)
    text = printed.decode("utf-8", "replace")
    return "\nNew, (NONE)" not in text and re.search(r"Verification|New, TLS", text) is not None, text


@pytest.mark.row(29)
@pytest.mark.parametrize("version", VERSIONS)
async def test_versions_that_our_server_takes(version: str) -> None:
    async with our_server() as address:
        got_in, printed = await client(address, version, "-cipher", "ALL:@SECLEVEL=0")
        assert got_in is VERSIONS[version], printed


@pytest.mark.row(29)
@pytest.mark.parametrize("cipher", CIPHERS)
async def test_ciphers_that_our_server_takes(cipher: str) -> None:
    async with our_server() as address:
        got_in, printed = await client(
            address, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", "-psk", "00" * 16, "-psk_identity", "me"
        )
        assert "no cipher match" not in printed.lower()
        assert got_in is CIPHERS[cipher], printed


@pytest.mark.parametrize("suite", SUITES)
async def test_suites_of_tls_13_that_our_server_takes(suite: str) -> None:
    async with our_server() as address:
        got_in, printed = await client(address, "-tls1_3", "-ciphersuites", suite)
        assert got_in and f"Cipher is {suite}" in printed


async def test_an_assured_minimum_takes_tls_13_only() -> None:
    async with our_server(min_version="TLSv1.3") as address:
        assert not (await client(address, "-tls1_2"))[0]
        assert (await client(address, "-tls1_3"))[0]


async def test_nothing_is_compressed_negotiated_again_or_resumed() -> None:
    async with our_server() as address:
        got_in, printed = await client(address, "-tls1_2", "-comp", says=b"R\n")
        assert got_in and "Compression: NONE" in printed
        assert "no renegotiation" in printed, printed
        assert "Session-ID: \n" in printed or "Reused" not in printed
        assert "TLS session ticket" not in printed
        assert "Early data was not sent" in (await client(address, "-tls1_3"))[1]


@pytest.mark.parametrize("who", ["nobody", "client", "signed by itself", "of another authority", "expired"])
async def test_certificates_of_clients(who: str, tmp_path: Path) -> None:
    """A client of TLS 1.2 hears of it in its handshake."""
    known = identities()
    shown = {**known.bad, "client": known.client}.get(who)
    arguments = [] if shown is None else written(tmp_path, shown)
    async with our_server(ca=known.authority.cert) as address:
        _, printed = await client(address, "-tls1_2", *arguments, "-cipher", "ALL:@SECLEVEL=0")
        assert ("alert" in printed) is (who != "client"), printed


# ---- our client


@contextlib.asynccontextmanager
async def server(folder: Path, who: Identity, *arguments: str) -> AsyncIterator[str]:
    process = await openssl("s_server", "-accept", "127.0.0.1:0", *written(folder, who), *arguments)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            while not (found := re.match(rb"ACCEPT 127\.0\.0\.1:(\d+)", line := await process.stdout.readline())):
                assert line, "openssl s_server ended"
        reads = asyncio.create_task(process.stdout.read())
        yield f"tls://localhost:{int(found[1])}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await reads


async def refused(address: str, **tls: Any) -> TLSError | None:
    options = {"ca": identities().authority.cert, **tls}
    try:
        async with await node_ipc.connect(address, tls=options, max_retries=0, timeout=SECONDS):
            return None
    except node_ipc.ConnectError as error:
        assert isinstance(error, TLSError), error
        return error


@pytest.mark.row(29)
@pytest.mark.parametrize("version", VERSIONS)
async def test_versions_that_our_client_takes(version: str, tmp_path: Path) -> None:
    async with server(tmp_path, identities().server, version, "-cipher", "ALL:@SECLEVEL=0") as address:
        assert (await refused(address) is None) is VERSIONS[version]


@pytest.mark.row(29)
@pytest.mark.parametrize("cipher", CIPHERS)
async def test_ciphers_that_our_client_takes(cipher: str, tmp_path: Path) -> None:
    arguments = ["-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", "-psk", "00" * 16]
    async with server(tmp_path, identities().server, *arguments) as address:
        assert (await refused(address) is None) is CIPHERS[cipher]


@pytest.mark.row(29)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("kind", ["good", *identities().bad])
async def test_certificates_of_servers(kind: str, version: str, tmp_path: Path) -> None:
    known = identities()
    shown = known.bad.get(kind, known.server)
    async with server(tmp_path, shown, version, "-cipher", "ALL:@SECLEVEL=0") as address:
        assert (await refused(address) is None) is (kind == "good")


async def test_a_server_that_wants_a_certificate_of_our_client(tmp_path: Path) -> None:
    known = identities()
    (tmp_path / "authority.pem").write_text(known.authority.cert)
    wants = ["-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", str(tmp_path / "authority.pem")]
    async with server(tmp_path, known.server, *wants) as address:
        assert await refused(address) is not None
        assert await refused(address, **known.client.options) is None
