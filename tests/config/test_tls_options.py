"""The options of ``config.tls``: names, values, and secrets that are never shown."""

from __future__ import annotations

import copy
import pathlib
import pickle
import ssl
from typing import Any

import pytest

from node_ipc.config.config import Config
from node_ipc.config.options import UnknownOption
from node_ipc.config.tls_options import TLSOptions
from node_ipc.errors import ConfigError

KEY = "-----BEGIN PRIVATE KEY-----\nnevershownbytes\n-----END PRIVATE KEY-----"
CERT = "-----BEGIN CERTIFICATE-----\nnotsosecret\n-----END CERTIFICATE-----"


def test_tls_options_in_either_spelling() -> None:
    options = TLSOptions(
        {
            "private": pathlib.PurePosixPath("/k.pem"),
            "public": "/c.pem",
            "dhparam": "/dh.pem",
            "trustedConnections": ["/a.pem", "/b.pem"],
            "request_cert": True,
            "rejectUnauthorized": False,
            "key": bytearray(KEY.encode()),
            "cert": CERT,
            "ca": [CERT, b"DER"],
            "servername": "example.org",
            "passphrase": b"nevershown",
            "minVersion": ssl.TLSVersion.TLSv1_3,
            "ciphers": "HIGH",
            "strictX509": False,
        }
    )
    assert dict(options) == {
        "private": "/k.pem",
        "public": "/c.pem",
        "dhparam": "/dh.pem",
        "trusted_connections": ("/a.pem", "/b.pem"),
        "request_cert": True,
        "reject_unauthorized": False,
        "key": KEY.encode(),
        "cert": CERT,
        "ca": (CERT, b"DER"),
        "servername": "example.org",
        "passphrase": b"nevershown",
        "min_version": "TLSv1.3",
        "ciphers": "HIGH",
        "strict_x509": False,
    }
    assert len(options) == 14
    assert Config(tls=options).tls is options
    assert Config(tls=dict(options)).tls == options
    assert hash(TLSOptions(options)) == hash(options)
    assert pickle.loads(pickle.dumps(options)) == options


def test_tls_options_that_are_not_set() -> None:
    options = TLSOptions({"private": None, "public": False, "request_cert": None, "reject_unauthorized": False})
    assert dict(options) == {"reject_unauthorized": False}
    assert TLSOptions({"trusted_connections": "/ca.pem", "ca": CERT, "dhparam": KEY})["trusted_connections"] == (
        "/ca.pem",
    )


def test_empty_tls_options_are_tls() -> None:
    config = Config(tls={})
    assert config.tls
    assert config.settings().tls == TLSOptions({})


def test_tls_options_cannot_be_changed_behind_the_checks() -> None:
    given = {"ca": [CERT]}
    config = Config(tls=given)
    given["ca"].append("nonsense")
    assert config.tls == {"ca": (CERT,)}
    with pytest.raises(TypeError):
        config.tls["key"] = KEY  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("private", KEY),
        ("private", ""),
        ("public", 5),
        ("dhparam", 5),
        ("trusted_connections", [CERT]),
        ("request_cert", 1),
        ("key", "/etc/key.pem"),
        ("key", 5),
        ("cert", b"DER"),
        ("ca", ["/ca.pem"]),
        ("ca", b""),
        ("servername", ""),
        ("passphrase", 12345),
        ("min_version", "TLSv1.1"),
        ("min_version", 771),
        ("ciphers", 5),
        ("strict_x509", "no"),
    ],
)
def test_wrong_tls_values(name: str, value: Any) -> None:
    config = Config()
    with pytest.raises(ConfigError, match=f"'tls.{name}': ") as caught:
        config.tls = {name: value}
    assert config.tls is False
    for secret in ("nevershown", "12345", "/etc/key.pem"):
        assert secret not in str(caught.value)


def test_unknown_tls_names() -> None:
    with pytest.raises(UnknownOption, match=r"'tls.trustedConnection'.*did you mean 'tls.trusted_connections'"):
        Config(tls={"trustedConnection": CERT})
    with pytest.raises(UnknownOption, match=r"there are 'private', .*'strict_x509'$"):
        Config(tls={5: KEY})
    with pytest.raises(ConfigError, match=r"'tls.request_cert' is given twice"):
        Config(tls={"requestCert": True, "request_cert": True})


def test_an_ssl_context_is_taken_as_it_is() -> None:
    context = ssl.create_default_context()
    config = Config(tls=context)
    assert config.tls is context
    assert config.settings().tls is context
    assert copy.deepcopy(config).tls is context
    with pytest.raises(TypeError, match="SSLContext"):
        pickle.dumps(config)


@pytest.mark.row(50)
def test_no_secret_is_ever_shown() -> None:
    config = Config(
        tls={"key": KEY, "passphrase": "nevershown", "cert": CERT, "ca": CERT, "dhparam": KEY, "public": "/c"}
    )
    for shown in (repr(config), str(config), repr(config.settings()), repr(config.tls), f"{config}"):
        assert "/c" in shown or shown.endswith("…)")
        for secret in ("nevershown", "nevershown", "notsosecret", "BEGIN"):
            assert secret not in shown
    with pytest.raises(ConfigError) as caught:
        config.tls = [KEY, "nevershown"]  # type: ignore[assignment]
    assert "nevershown" not in str(caught.value) and "nevershown" not in str(caught.value)
