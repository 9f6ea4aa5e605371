"""The view as a page on the loopback address, for one user: what the browser gets, and who gets it.

A little HTTP by hand: three paths, every request on a connection of its own, everything bounded. Each request has to
name this host, come from this page or from no page at all, and know the token of the URL that was printed; so a page of
another origin gets nothing, also where its name was made to lead here (DNS rebinding). The page itself is one file,
without anything from elsewhere.

Who floods this floods the process of the viewer: the observed server has one connection to it, whatever happens here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from ...config.config import Config
from ...core.observe import LOOK
from ...errors import IPCError
from ..arguments import UsageError
from ..output import notice
from ..waiting import stop_signals
from .feed import Feed

__all__ = ["Web", "show"]

HOST = "127.0.0.1"
MOST_CONNECTIONS = 64
MOST_REFUSED = 4 * MOST_CONNECTIONS
"""Connections that are still told why they are refused; more than so many at once are cut."""
MOST_VIEWERS = 16
HEAD_BYTES = 8 * 1024
BODY_BYTES = 64 * 1024
PATIENCE_SECONDS = 5.0
"""How long a request may take to come, and an answer to be taken."""
UNREAD_BYTES = 1024 * 1024
"""What waits for a viewer that does not read; it gets no more until it has."""
PAGE = Path(__file__).with_name("page.html")

SAFETY = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Connection": "close",
}


async def show(address: str, config: Config, port: int, allows_emit: bool, number: int | None = None) -> None:
    """Serve the page of this server until Ctrl-C; its URL is printed."""
    feed = await Feed.open(address, config, number)
    try:
        web = Web(feed, allows_emit)
        await web.start(port)
        with stop_signals() as stopped:
            print(web.url)
            may = "who may also emit" if allows_emit else "to look at only (--allow-emit lets it emit)"
            notice(f"a page about {address}, for whoever has this URL, {may}; Ctrl-C ends")
            await stopped.wait()
        await web.stop()
    finally:
        await feed.close()


class Refused(Exception):
    """A request that is not answered as it would like."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Request(NamedTuple):
    """What somebody asks for."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


class Web:
    """The page, and those who look at it."""

    def __init__(self, feed: Feed, allows_emit: bool) -> None:
        self.token = secrets.token_urlsafe(24)
        self.port = 0
        self._feed = feed
        self._allows_emit = allows_emit
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._viewers: dict[asyncio.StreamWriter, bool] = {}  # whether each looks into messages
        feed.heard.append(self._heard)
        feed.changed.append(self._changed)
        self._trouble = ""

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    async def start(self, port: int) -> None:
        """Listen. Raises :class:`UsageError` where the port cannot be had."""
        try:
            self._server = await asyncio.start_server(self._connected, HOST, port, limit=HEAD_BYTES)
        except OSError as error:
            raise UsageError(
                f"cannot have port {port}: {error.strerror}. Give another, or none for a free one"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # ---- one connection

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MOST_REFUSED:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
            await _end(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it has gone; or by stop(), and a stream's own callback, which hears of it, would complain
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._connections) > MOST_CONNECTIONS:
                raise Refused(503, f"{MOST_CONNECTIONS} connections are open already: try again later")
            request = await self._read(reader)
            self._check(request)
            await self._answer(request, reader, writer)
        except Refused as refused:
            _write(writer, refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise Refused(408, f"no whole request came within {PATIENCE_SECONDS:g} s") from None
        except asyncio.LimitOverrunError:
            raise Refused(431, f"the head of a request has {HEAD_BYTES} bytes at most") from None
        return _parsed(head)

    def _check(self, request: Request) -> None:
        """Only from this page, or from no page at all, and only with the token."""
        hosts = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        if request.headers.get("host", "") not in hosts:
            raise Refused(
                421, "this page is for 127.0.0.1 and localhost by name, with the port: open the URL as printed"
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in hosts:
            raise Refused(403, "a page of another origin gets nothing here")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "a page of another site gets nothing here")
        given = "".join(request.query.get("token", []))
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise Refused(403, "the token is missing or not the one: open the URL that node-ipc top printed, all of it")

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        route = ROUTES.get(request.path)
        if route is None:
            raise Refused(404, "there is /, /looks and /emit")
        method, answer = route
        if request.method != method:
            raise Refused(405, f"{request.path} takes {method}")
        await answer(self, request, reader, writer)

    # ---- what there is

    async def _page(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = secrets.token_urlsafe(12)
        page = PAGE.read_text("utf-8").replace("NONCE", nonce)
        page = page.replace("ALLOWS_EMIT", "yes" if self._allows_emit else "no")
        rules = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        _write(writer, 200, "text/html; charset=utf-8", page.encode(), {"Content-Security-Policy": rules})

    async def _looks(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each look as an event (text/event-stream), until the browser goes."""
        if len(self._viewers) >= MOST_VIEWERS:
            raise Refused(503, f"{MOST_VIEWERS} pages look already: close one")
        writer.write(_head(200, {"Content-Type": "text/event-stream; charset=utf-8"}))
        self._viewers[writer] = "1" in request.query.get("messages", [])
        try:
            await self._regulate()
            if self._feed.view.look is not None:
                writer.write(_event("observe.look", self._feed.view.look))
            while await reader.read(HEAD_BYTES):  # nothing more is asked for on this connection
                pass
        finally:
            del self._viewers[writer]
            await self._regulate()

    async def _regulate(self) -> None:
        """Messages are asked for while some page looks into them."""
        try:
            await self._feed.want_messages(any(self._viewers.values()))
        except IPCError as error:
            self._feed.view.trouble = str(error)

    async def _emit(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._allows_emit:
            raise Refused(403, "this page is to look at only: start node-ipc top with --allow-emit")
        message = await _body(request, reader)
        try:
            event, data, to = message["event"], message.get("data", {}), message.get("to")
            answer: dict[str, Any] = {"sockets": await self._feed.emit(event, data, to)}
        except (IPCError, KeyError) as error:
            answer = {"error": str(error)}
        _write(writer, 400 if "error" in answer else 200, "application/json", msgspec.json.encode(answer))

    # ---- what is told

    def _heard(self, name: str, data: Any) -> None:
        event = _event(name, data)
        for writer, looks_into_messages in self._viewers.items():
            if (name == LOOK or looks_into_messages) and writer.transport.get_write_buffer_size() < UNREAD_BYTES:
                writer.write(event)

    def _changed(self) -> None:
        if self._feed.view.trouble != self._trouble:
            self._trouble = self._feed.view.trouble
            self._heard(LOOK, {"trouble": self._trouble})


ROUTES: dict[str, tuple[str, Callable[..., Any]]] = {
    "/": ("GET", Web._page),
    "/looks": ("GET", Web._looks),
    "/emit": ("POST", Web._emit),
}


def _parsed(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused(400, "this is no request of HTTP/1.1")
    headers: dict[str, str] = {}
    for name, colon, value in (line.partition(":") for line in lines):
        if not colon or name.lower() in headers:  # two of a kind may mean something else to somebody on the way
            raise Refused(400, "a header is no header, or there twice")
        headers[name.lower()] = value.strip()
    try:
        target = urlsplit(words[1])
        query = parse_qs(target.query, max_num_fields=20)
    except ValueError:
        raise Refused(400, "this is no path") from None
    return Request(words[0], target.path, query, headers)


async def _body(request: Request, reader: asyncio.StreamReader) -> dict[str, Any]:
    if request.headers.get("content-type") != "application/json":  # which no form of another page can send
        raise Refused(415, "what to emit is application/json")
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 10):
        raise Refused(400, "a Content-Length is needed")
    if int(length) > BODY_BYTES:
        raise Refused(413, f"what to emit has {BODY_BYTES} bytes at most")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = msgspec.json.decode(await reader.readexactly(int(length)))
    except TimeoutError:
        raise Refused(408, f"no whole request came within {PATIENCE_SECONDS:g} s") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"this is no JSON: {error}") from None
    if not isinstance(message, dict):
        raise Refused(400, 'what to emit is {"event": …, "data": …, "to": …}')
    return message


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in {**SAFETY, **headers}.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _write(
    writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    size = {"Content-Type": kind, "Content-Length": str(len(body))}
    writer.write(_head(status, {**size, **(headers or {})}) + body)


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.removeprefix("observe.").encode(), msgspec.json.encode(data))


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send what was written, and read on until the other side ends: its kernel would drop the answer otherwise."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await writer.drain()
            writer.write_eof()
            left = BODY_BYTES
            while left > 0 and (data := await reader.read(HEAD_BYTES)):
                left -= len(data)
