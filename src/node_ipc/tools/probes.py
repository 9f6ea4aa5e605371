"""What a server that does not answer speaks instead: it is asked in other languages, over connections of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from ..aio import AsyncClient, connect
from ..config.address import Address, Tcp, Tls, Unix
from ..config.config import Config
from ..core.client import ClientState
from ..errors import ConfigError, IPCError
from ..wire.framing import TLS_RECORDS
from ..wire.names import PING

if TYPE_CHECKING:
    import ssl

__all__ = ["DELIMITERS", "answers", "delimiter_of", "ends_at", "instead_of_tls", "language_of", "wants_certificate"]

ANSWER_SECONDS = 0.3
LOOK_SECONDS = 0.002
END_SECONDS = 0.03
"""How long a server has to end the link at a message that is none."""
LATE = 3
"""How many delimiters before the last may have been the one at which a link ended, where the server is slow."""
DELIMITERS = (
    *("\f", "\n", "\r\n", "\0", "|", "\t", "\r", ";"),
    *("\x1e", "\x1f", "\x04", "\x03", "\v", "\x1c", "\x1d", "\x17"),
    *(";;", "||", "\n\n", "\r\n\r\n"),
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
            elif isinstance(where, Tls):
                reader, writer = await asyncio.open_connection(where.host, where.port, ssl=_trusting())
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
    """With it a TLS client begins."""
    import ssl

    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _trusting().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def _trusting() -> ssl.SSLContext:
    """Nothing of ours is sent over what it agrees, so nobody need be who he says."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def instead_of_tls(where: Tls, config: Config) -> str | None:
    """What a server is that does not let a TLS client in, in words; None where it does speak TLS, and not HTTPS."""
    plain = Tcp(where.host, where.port)
    language = await language_of(plain)
    if language == "TLS":
        return "it is not node-ipc: it speaks HTTPS" if await language_of(where) == "HTTP" else None
    if language == "HTTP":
        return "it is not node-ipc: it speaks HTTP, without TLS"
    config = config.copy()
    config.tls = False
    if await _answers(plain, config, config.delimiter):
        return f"it is node-ipc without TLS: connect to {plain}"
    return f"it does not answer as TLS does: it is a server without TLS (for node-ipc, connect to {plain}), or hangs"


async def wants_certificate(where: Tls) -> bool:
    """Whether a server refuses a client that shows none, which it may say only after the handshake."""
    import ssl

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(where.host, where.port, ssl=_trusting())
            try:
                await reader.read(16)
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return any(word in (error.reason or str(error)).upper().replace(" ", "_") for word in REFUSALS)
    except (OSError, TimeoutError):
        pass
    return False


REFUSALS = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE")
"""TLS 1.3's alert, and what servers say in TLS 1.2."""


async def delimiter_of(where: Address, config: Config) -> str | None:
    """The delimiter with which a server in Python answers, of those that are in use; None where it answers to none.

    It gets one message behind the other over one link, each with the next delimiter. At its own it finds those before
    it in the message, which is no JSON: it ends the link, and the log of a server names few links and not twenty.
    """
    others = [delimiter for delimiter in DELIMITERS if delimiter != config.delimiter]
    asked = await _asked_until_it_ends(where, config, others)
    for delimiter in asked[: -LATE - 1 : -1]:
        if await _answers(where, config, delimiter):
            return delimiter
    return None


async def _asked_until_it_ends(where: Address, config: Config, delimiters: list[str]) -> list[str]:
    """Those that a server got before it answered or ended the link; none where it did neither."""
    async with _raw(where, config) as client:
        if client is None:
            return []
        answered = asyncio.Event()
        for event in ("data", "disconnect"):
            client.on(event, lambda *_: answered.set())
        for number, delimiter in enumerate(delimiters, 1):
            client.emit(QUESTION + delimiter.encode())
            if await _is_set(answered, END_SECONDS if number < len(delimiters) else ANSWER_SECONDS):
                return delimiters[:number]
    return []


QUESTION = msgspec.json.encode({"type": PING, "data": None})


async def ends_at(where: Address, config: Config, size: int) -> bool:
    """Whether a server ends the link at so many bytes of the beginning of a message."""
    async with _raw(where, config) as client:
        if client is None:
            return False
        ended = asyncio.Event()
        client.on("disconnect", lambda *_: ended.set())
        client.emit(b" " * size)
        return await _is_set(ended, ANSWER_SECONDS)


@contextlib.asynccontextmanager
async def _raw(where: Address, config: Config) -> AsyncIterator[AsyncClient | None]:
    """A client that writes bytes as they are; None where none gets in."""
    config = config.copy()
    config.max_retries = 0
    config.raw_buffer = True
    try:
        client = await connect(where, config=config, timeout=ANSWER_SECONDS)
    except IPCError:
        yield None
        return
    client.on("error", lambda: None)
    try:
        yield client
    finally:
        client.abort()


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


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
        return await answers(client, ANSWER_SECONDS)
    finally:
        client.abort()


async def answers(client: AsyncClient, seconds: float) -> bool:
    """Whether a server in Python says in time that it is there, behind all that was emitted to it.

    It is asked by an event that a Node program does not hear.
    """
    answered = client.ask_in_turn()
    if answered is None:
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not answered() and client.state is ClientState.CONNECTED:
                await asyncio.sleep(LOOK_SECONDS)
    return answered()
