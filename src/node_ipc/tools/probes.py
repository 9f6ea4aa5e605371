"""What a server that does not answer speaks instead: it is asked in other languages, over connections of their own."""

from __future__ import annotations

import asyncio
import contextlib

from ..aio import connect
from ..config.address import Address, Tcp, Unix
from ..config.config import Config
from ..errors import ConfigError, IPCError, RemoteError
from ..wire.framing import TLS_RECORDS

__all__ = ["delimiter_of", "language_of"]

ANSWER_SECONDS = 0.3
AT_ONCE = 4
"""How many delimiters are tried at the same time: a server may have few places."""
DELIMITERS = (
    *("\f", "\n", "\r\n", "\0", "|", "\t", "\r", ";"),
    *("\x1e", "\x1f", "\x04", "\x03", "\v", "\x1c", "\x1d", "\x17"),
)


async def language_of(where: Address) -> str | None:
    """``"TLS"`` or ``"HTTP"`` where the server speaks that, None where it speaks anything else."""
    if isinstance(where, Tcp) and (await _answer_to(where, _client_hello()))[:2] in TLS_RECORDS:
        return "TLS"
    return "HTTP" if (await _answer_to(where, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/") else None


async def _answer_to(where: Address, question: bytes) -> bytes:
    """The first bytes that come back; empty where none do."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            if isinstance(where, Tcp):
                reader, writer = await asyncio.open_connection(where.host, where.port)
            elif isinstance(where, Unix):
                reader, writer = await asyncio.open_unix_connection(where.path)
            else:
                return b""
            try:
                writer.write(question)
                return await reader.read(16)
            finally:
                writer.transport.abort()
    return b""


def _client_hello() -> bytes:
    """With it a TLS client begins. Nothing is sent over what might be agreed, so nobody need be who he says."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


async def delimiter_of(where: Address, config: Config) -> str | None:
    """The delimiter with which a server in Python answers, of those that are in use; None where it answers to none."""
    others = [delimiter for delimiter in DELIMITERS if delimiter != config.delimiter]
    for begin in range(0, len(others), AT_ONCE):
        tried = others[begin : begin + AT_ONCE]
        answers = await asyncio.gather(*(_answers(where, config, delimiter) for delimiter in tried))
        for delimiter, answered in zip(tried, answers, strict=True):
            if answered:
                return delimiter
    return None


async def _answers(where: Address, config: Config, delimiter: str) -> bool:
    config = config.copy()
    config.max_retries = 0
    try:
        config.delimiter = delimiter
        client = await connect(where, config=config, timeout=ANSWER_SECONDS)
    except (ConfigError, IPCError):
        return False
    client.on("error", lambda: None)
    try:
        await client.request("rpc.ping", timeout=ANSWER_SECONDS)
    except RemoteError:  # it knows of requests, and not of this one
        return True
    except IPCError:
        return False
    finally:
        client.abort()
    return True
