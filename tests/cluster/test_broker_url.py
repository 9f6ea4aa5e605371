"""What the URL of a broker says of TLS and of who comes, held against brokers that ask for it."""

from __future__ import annotations

import base64
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

import brokers
import node_ipc
from brokers import Broker
from cluster_ends import Ends, ends, until
from node_ipc.cluster.broker_url import query_of, tls_context, why_tls_failed
from node_ipc.cluster.engines import bus_of
from node_ipc.config import bus_options
from node_ipc.errors import ConfigError
from tls_certificates import FOR_CLIENTS, FOR_SERVERS, Identity, identity

SECRET = "nevershown@t/?#:%"
"""With everything that means something in a URL."""


class Files:
    """An authority, a broker's certificate, a client's, and an authority that nobody knows."""

    def __init__(self, folder: Path) -> None:
        authority = identity("Brokers", authority=True)
        self.ca = self._write(folder, "ca", authority.cert)
        self.other_ca = self._write(folder, "other", identity("Others", authority=True).cert)
        names = ("127.0.0.1", "localhost")
        self.cert, self.key = self._pair(folder, "broker", identity("b", authority, names=names, purpose=FOR_SERVERS))
        self.elsewhere = self._pair(folder, "elsewhere", identity("c", authority, names=("x.example",)))
        mine = identity("me", authority, names=("me",), purpose=FOR_CLIENTS)
        self.own_cert, self.own_key = self._pair(folder, "me", mine)
        self.locked_key = self._write(folder, "locked.key", mine.encrypted_key(b"0pen"))
        self.foreign_cert, self.foreign_key = self._pair(folder, "foreign", identity("f", names=("me",)))

    def _pair(self, folder: Path, name: str, one: Identity) -> tuple[str, str]:
        return self._write(folder, f"{name}.cert", one.cert), self._write(folder, f"{name}.key", one.key)

    def _write(self, folder: Path, name: str, text: str) -> str:
        (folder / name).write_text(text)
        return str(folder / name)

    def broker(self, engine: str, *, asks: bool = False, cert: tuple[str, str] | None = None) -> dict[str, Any]:
        """The options of a broker with TLS, which may ask its clients for a certificate."""
        own, key = cert or (self.cert, self.key)
        if engine == "nats":
            verify = "verify: true" if asks else ""
            tls = f'tls {{ cert_file: "{own}", key_file: "{key}", ca_file: "{self.ca}", timeout: 4\n {verify} }}\n'
            return {"scheme": "tls", "config": tls}
        files = ["--tls-cert-file", own, "--tls-key-file", key, "--tls-ca-cert-file", self.ca]
        return {"scheme": "rediss", "arguments": (*files, "--tls-auth-clients", "yes" if asks else "no")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@contextmanager
def running(engine: str, **options: Any) -> Iterator[Broker]:
    broker = brokers.start(engine, **options)
    try:
        yield broker
    finally:
        broker.close()


async def takes_part(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",), bus=broker.url) as all:
        all.servers[0].to("a").emit("x", 1)
        await until(lambda: all.heard == [[1], [1]])
        assert not any(all.errors)


async def refusal(broker: Broker, **options: Any) -> str:
    """What a server says that the broker does not take; there is no secret in it, and none in what led to it."""
    async with AsyncExitStack() as stack:
        all = Ends(broker, stack)
        await all.add(**{"bus": broker.url} | options)
        await until(lambda: all.errors[0])
        told = "".join(traceback.format_exception(all.errors[0][0]))
        server = all.servers[0]
        for said in (told, repr(server), repr(server.settings), str(server.settings.bus), repr(server.stats())):
            assert "nevershown" not in said and "0pen" not in said
        return str(all.errors[0][0])


@pytest.fixture(params=["nats", "redis"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---- TLS


async def test_an_authority_of_ones_own(engine: str, files: Files) -> None:
    with running(engine, **files.broker(engine), query=f"?ca={files.ca}") as broker:
        await takes_part(broker)
        broker.options["query"] = f"?ca={files.other_ca}"
        assert "certificate is not trusted here" in (said := await refusal(broker)) and "?ca=FILE" in said
        broker.options["query"] = ""  # the system's authorities
        assert "certificate is not trusted here" in await refusal(broker)


async def test_a_broker_with_anothers_name_is_not_believed(engine: str, files: Files) -> None:
    with running(engine, **files.broker(engine, cert=files.elsewhere), query=f"?ca={files.ca}") as broker:
        assert "not valid for '127.0.0.1'" in await refusal(broker)


async def test_a_broker_that_asks_for_a_certificate(engine: str, files: Files) -> None:
    own = f"?ca={files.ca}&cert={files.own_cert}"
    with running(engine, **files.broker(engine, asks=True), query=f"{own}&key={files.own_key}") as broker:
        await takes_part(broker)
        broker.options["query"] = f"{own}&key={files.locked_key}&passphrase=0pen"
        await takes_part(broker)
        broker.options["query"] = f"?ca={files.ca}"
        assert "cert=FILE&key=FILE" in await refusal(broker)
        broker.options["query"] = f"?ca={files.ca}&cert={files.foreign_cert}&key={files.foreign_key}"
        assert "cert=FILE&key=FILE" in await refusal(broker)


async def test_no_word_is_said_without_tls_where_it_was_asked_for(engine: str, files: Files) -> None:
    """nats-py would go on in the clear, the password with it."""
    scheme = {"nats": "tls", "redis": "rediss"}[engine]
    with running(engine) as broker:
        user = f"me:{quote(SECRET, safe='')}@"
        broker.options.update(scheme=scheme, user=user, query=f"?ca={files.ca}")
        assert "TLS" in await refusal(broker)
        if engine == "nats":
            broker.options["scheme"] = "nats"  # who names an authority wants TLS as well
            assert "offers no TLS" in await refusal(broker)


async def test_tls_that_a_nats_server_only_offers_is_taken(files: Files) -> None:
    options = files.broker("nats")
    options["config"] += "allow_non_tls: true\n"
    with running("nats", **options, query=f"?ca={files.ca}") as broker:
        await takes_part(broker)
        broker.options["query"] = f"?ca={files.other_ca}"
        assert "certificate is not trusted here" in await refusal(broker)


async def test_redis_pys_own_names_for_tls(files: Files) -> None:
    with running("redis", **files.broker("redis", asks=True)) as broker:
        broker.options["query"] = (
            f"?ssl_ca_certs={files.ca}&ssl_certfile={files.own_cert}&ssl_keyfile={files.own_key}&db=2"
        )
        await takes_part(broker)


# ---- who comes


def signed(claims: dict[str, Any], subject: Any, issuer: Any) -> str:
    """A JWT as NATS has them."""

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    whole = {"jti": "x", "iat": 1, "name": "x", "iss": issuer.public_key.decode(), "sub": subject.public_key.decode()}
    parts = [text(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, whole | claims)]
    return ".".join([*parts, text(issuer.sign(".".join(parts).encode()))])


def nkey(kind: int) -> tuple[str, Any]:
    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), kind)
    return seed.decode(), nkeys.from_seed(bytearray(seed))


def account_server(folder: Path) -> tuple[str, str]:
    """The configuration of a server with operator and account, and the file of a user's credentials."""
    import nkeys

    (_, operator), (_, account) = nkey(nkeys.PREFIX_BYTE_OPERATOR), nkey(nkeys.PREFIX_BYTE_ACCOUNT)
    seed, user = nkey(nkeys.PREFIX_BYTE_USER)
    none = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
    of_operator = signed({"nats": {"type": "operator", "version": 2}}, operator, operator)
    of_account = signed({"nats": {"limits": none, "type": "account", "version": 2}}, account, operator)
    limits = {"subs": -1, "data": -1, "payload": -1}
    of_user = signed({"nats": {"pub": {}, "sub": {}, **limits, "type": "user", "version": 2}}, user, account)
    path = folder / "me.creds"
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    key = account.public_key.decode()
    return f"operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {key}: {of_account} }}\n", str(path)


async def test_credentials_and_nkeys_of_nats_are_passed_on(tmp_path: Path) -> None:
    import nkeys

    config, credentials = account_server(tmp_path)
    with running("nats", config=config, query=f"?credentials={credentials}") as broker:
        await takes_part(broker)
        broker.options["query"] = ""
        assert "Authorization Violation" in await refusal(broker)
    seed, user = nkey(nkeys.PREFIX_BYTE_USER)
    (tmp_path / "me.nk").write_text(seed)
    config = f"authorization {{ users: [ {{ nkey: {user.public_key.decode()} }} ] }}\n"
    with running("nats", config=config, query=f"?nkey={tmp_path}/me.nk") as broker:
        await takes_part(broker)


WAYS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "nats password": ("nats", {"config": f'authorization {{ user: "me", password: "{SECRET}" }}\n'}, "me:{}@", "Auth"),
    "nats token": ("nats", {"config": f'authorization {{ token: "{SECRET}" }}\n'}, "{}@", "Auth"),
    "redis password": ("redis", {"arguments": ("--requirepass", SECRET)}, ":{}@", "WRONGPASS|invalid"),
    "redis user": (
        "redis",
        {"arguments": ("--user", "me", "on", f">{SECRET}", "~*", "&*", "+@all")},
        "me:{}@",
        "WRONGPASS|invalid",
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_passwords_and_tokens_with_any_letters_and_none_of_them_is_shown(way: str) -> None:
    engine, options, user, _ = WAYS[way]
    with running(engine, **options, user=user.format(quote(SECRET, safe=""))) as broker:
        await takes_part(broker)
        broker.options["user"] = user.format("wrong-nevershown")
        await refusal(broker)
        broker.kill()
        await refusal(broker)  # nor where it is not there


async def test_an_emitter_shows_no_secret_either(engine: str) -> None:
    with running(engine) as broker:
        broker.options["user"] = "me:nevershown@"
        broker.kill()
        with pytest.raises(node_ipc.IPCError) as refused:
            async with node_ipc.scale.emitter(broker.url, timeout=0.2):
                pass
        assert "nevershown" not in "".join(traceback.format_exception(refused.value))


# ---- what is wrong with a URL is said before anything is connected


WRONG = {
    "nats://h?colour=red": r"bus=nats://…\?colour= is not known: there are ca, cert",
    "nats://h?ca": r"\?name=value",
    "nats://h?ca=/no/such/file": r"ca='/no/such/file' cannot be read: No such file",
    "rediss://h?ca=/no/such/file": r"cannot be read",
    "rediss://h?ssl_ca_certs=/no/such/file": r"cannot be read",
    "tls://h?key=/dev/null": r"key= needs cert=",
    "tls://h?ca=/dev/null": r"holds no certificate",
    "tls://h?cert=/dev/null": r"cannot be used",
    "nats://h?credentials=/no/such/file": r"cannot be read",
    "redis://h?ca=/dev/null": r"scheme rediss://",
    "redis://h?protocol=3": r"protocol= is not known",
    "rediss://h?ssl_cert_reqs=maybe": r"not as redis-py takes it",
    "redis://h?db=x": r"not as redis-py takes it",
}


@pytest.mark.parametrize("url", WRONG)
def test_what_is_wrong_with_a_url_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[url]):
        bus_of(bus_options.bus(url.replace("//h", "//me:nevershown@h")))


def test_keys_that_do_not_fit_or_are_locked_are_said_and_nobody_is_asked(files: Files) -> None:
    wrong = [
        {"cert": files.own_cert, "key": files.key},
        {"cert": files.own_cert, "key": files.locked_key},
        {"cert": files.own_cert, "key": files.locked_key, "passphrase": "0pener"},
        {"cert": files.own_cert},
    ]
    for query in wrong:
        with pytest.raises(ConfigError, match="passphrase=") as refused:
            tls_context(query)
        assert "0pener" not in str(refused.value)


def test_both_ways_of_naming_the_files_are_one_too_many(files: Files) -> None:
    with pytest.raises(ConfigError, match="redis-py's ssl_"):
        bus_of(bus_options.bus(f"rediss://h?ca={files.ca}&ssl_ca_certs={files.ca}"))


def test_credentials_without_what_reads_them_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("node_ipc.cluster.nats.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install nkeys"):
        bus_of(bus_options.bus(f"nats://h?nkey={__file__}"))


def test_what_is_not_about_tls_is_not_explained_with_it() -> None:
    assert why_tls_failed(OSError("no")) is None
    assert query_of(urlsplit("nats://h?a=1&a=2"), ("a",)) == {"a": "2"}
