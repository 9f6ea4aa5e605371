"""What a type checker knows of the options; checked by pyright and mypy, never run."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Literal, assert_type

from node_ipc.config.config import Config, Interfaces
from node_ipc.config.logs import Log, Styled, style
from node_ipc.config.tls_options import TLSOptions

config = Config(retry=5)
assert_type(config.retry, int)
assert_type(config.delimiter, str)
assert_type(config.connect_timeout, int | None)
assert_type(config.allowed_events, frozenset[str] | None)
assert_type(config.interfaces, Interfaces)
assert_type(config.interfaces.local_port, int | None)
assert_type(config.logger, Callable[..., Any])
assert_type(config.tls, TLSOptions | ssl.SSLContext | Literal[False])
assert_type(config.copy(), Config)
assert_type(Config.from_mapping({"maxRetries": 3}), Config)
assert_type(config.settings(), Config)
assert_type(style.debug("x"), Styled)

config.interfaces = {"localAddress": "127.0.0.1"}
config.interfaces.family = "IPv6"
config.max_retries = float("inf")
config.max_retries = False
config.stop_retrying = True
config.unlink = "force"
config.tls = {"key": b""}
config.tls = ssl.create_default_context()
config.allowed_events = ["a", "b"]
config.allowed_uids = {0}
config.logger = print
Log(config)("a", 1)

config.retry = "500"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
config.maxRetries = 1  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
config.unlink = "always"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
