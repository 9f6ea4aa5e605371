"""``node-ipc top --web``: what it answers to whom, over bare HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

import node_ipc
from node_ipc import Config
from node_ipc.tools.arguments import UsageError
from node_ipc.tools.top.feed import Feed
from node_ipc.tools.top.web import BODY_BYTES, HEAD_BYTES, MOST_CONNECTIONS, MOST_VIEWERS, UNREAD_BYTES, Web


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


CUT = Answer(0, {}, b"")
"""Without a word, as a flood is."""


async def shut(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Stage:
    """A server at work, and the page about it."""

    def __init__(self, server: node_ipc.AsyncServer, client: node_ipc.AsyncClient, web: Web) -> None:
        self.server = server
        self.client = client
        self.web = web
        self.got: list[Any] = []
        server.on("order", lambda data, socket: socket.emit("thanks", data))
        client.on("hello", self.got.append)

    async def ask(
        self,
        path: str = "/",
        method: str = "GET",
        *,
        token: str | None = None,
        host: str | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        given = self.web.token if token is None else token
        head = {"Host": host or f"127.0.0.1:{self.web.port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if body is not None:
            head = {"Content-Type": "application/json", "Content-Length": str(len(body)), **head}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        mark = "&" if "?" in path else "?"
        return await self.send(f"{method} {path}{mark}token={given} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b""))

    async def send(self, data: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.web.port)
        writer.write(data)
        try:
            async with asyncio.timeout(25):
                whole = await reader.read()
        except ConnectionResetError:
            return CUT
        finally:
            await shut(writer)
        if not whole:  # cut before the question had come: then the kernel says nothing of a reset
            return CUT
        head, _, body = whole.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers, body)

    async def works(self) -> bool:
        """Whether the observed server answers as ever."""
        self.client.emit("order", 7)
        return bool(await self.client.receive("thanks", timeout=25) == 7)


@pytest.fixture(params=[False])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        root = f"{folder}/"
        async with node_ipc.serve("world", socket_root=root, observe=True) as server:
            async with node_ipc.connect("world", socket_root=root) as client:
                feed = await Feed.open("world", Config(socket_root=root))
                web = Web(feed, request.param)
                await web.start(0)
                yield Stage(server, client, web)
                await web.stop()
                await feed.close()


async def test_the_page_is_one_file_that_needs_nothing_else(stage: Stage) -> None:
    answer = await stage.ask()
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "") and "https://" not in answer.text
    nonce = answer.headers["Content-Security-Policy"].split("nonce-")[1].split("'")[0]
    assert answer.text.count(f'nonce="{nonce}"') == 2 and "NONCE" not in answer.text
    assert stage.web.token not in answer.text
    other = await stage.ask()
    assert nonce not in other.text


async def test_every_answer_forbids_what_a_page_needs_not(stage: Stage) -> None:
    for answer in (await stage.ask(), await stage.ask("/nothing"), await stage.ask(token="x")):
        assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert "frame-ancestors 'none'" in (await stage.ask()).headers["Content-Security-Policy"]


async def looks(stage: Stage, count: int, path: str = "/looks") -> list[tuple[str, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.web.port)
    mark = "&" if "?" in path else "?"
    writer.write(
        f"GET {path}{mark}token={stage.web.token} HTTP/1.1\r\nHost: localhost:{stage.web.port}\r\n\r\n".encode()
    )
    found: list[tuple[str, Any]] = []
    try:
        async with asyncio.timeout(25):
            assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
            while len(found) < count:
                name, data = (await reader.readuntil(b"\n\n")).decode().strip().split("\n")
                found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
                stage.client.emit("order", {"article": "lamp"})
    finally:
        await shut(writer)
    return found


async def test_looks_come_as_events_and_messages_where_they_are_asked_for(stage: Stage) -> None:
    found = await looks(stage, 3)
    assert [name for name, _ in found] == ["look"] * 3
    assert found[-1][1]["events"]["order"]["in"] > 0
    found = await looks(stage, 5, "/looks?messages=1")
    [told, *_] = [data for name, data in found if name == "messages"]
    assert '{"article":"lamp"}' in {each["data"] for each in told["messages"]}


# ---- bad clients


@pytest.mark.row(74)
@pytest.mark.parametrize("path", ["/", "/looks", "/emit", "/nothing"])
@pytest.mark.parametrize(
    ("status", "says", "how"),
    [
        (403, "token is missing", {"token": ""}),
        (403, "token is missing", {"token": "x" * 32}),
        (403, "token is missing", {"token": "ü%00"}),
        (403, "another origin", {"Origin": "http://evil.example"}),
        (403, "another origin", {"Origin": "null"}),
        (403, "another origin", {"Origin": "https://127.0.0.1:80"}),
        (403, "another site", {"Sec_Fetch_Site": "cross-site"}),
        (421, "by name", {"host": "evil.example"}),
        (421, "by name", {"host": "127.0.0.1"}),
        (421, "by name", {"host": "127.0.0.1.evil.example:80"}),
    ],
    ids=str,
)
async def test_who_is_not_this_page_gets_nothing(stage: Stage, path: str, status: int, says: str, how: Any) -> None:
    answer = await stage.ask(path, "POST" if path == "/emit" else "GET", **how)
    assert answer.status == status and says in answer.text
    assert "app.world" not in answer.text and stage.web.token not in answer.text


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 421),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?" + b"a=b&" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES * 3 + b"\r\n\r\n", 431),
        (b"\xff\xfe\x00" * 100 + b"\r\n\r\n", 400),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_no_request_is_refused(stage: Stage, data: bytes, status: int) -> None:
    assert (await stage.send(data)).status == status
    assert (await stage.ask()).status == 200


async def test_a_request_that_does_not_end_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_ipc.tools.top.web.PATIENCE_SECONDS", 0.2)
    answer = await stage.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert answer.status == 408


@pytest.mark.row(72)
async def test_a_flood_is_turned_away_and_the_observed_server_does_not_feel_it(stage: Stage) -> None:
    flood = [await asyncio.open_connection("127.0.0.1", stage.web.port) for _ in range(4 * MOST_CONNECTIONS)]
    for _, writer in flood:
        writer.write(b"GET /looks HTTP/1.1\r\n")
    assert await stage.works()
    refused = [await reader.read() for reader, _ in flood[MOST_CONNECTIONS:]]
    assert all(b" 503 " in answer.split(b"\r\n")[0] for answer in refused)
    assert await stage.works()
    await shut(*(writer for _, writer in flood))
    async with asyncio.timeout(25):
        while (await stage.ask()).status != 200:
            await asyncio.sleep(0.05)
    bad = await asyncio.gather(*(stage.ask(token=str(number)) for number in range(500)))
    assert {answer.status for answer in bad} <= {403, 503, CUT.status}
    assert await stage.works() and (await stage.ask()).status == 200
    assert stage.server.stats().errors == 0


@pytest.mark.row(72)
async def test_viewers_that_do_not_read_cost_a_bounded_buffer(stage: Stage) -> None:
    stuck = []
    for _ in range(MOST_VIEWERS):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.web.port, limit=2048)
        head = f"GET /looks?messages=1&token={stage.web.token} HTTP/1.1\r\nHost: localhost:{stage.web.port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        stuck.append(writer)
    assert (await stage.ask("/looks")).status == 503
    web: Any = stage.web
    for _ in range(400):
        web._heard("observe.messages", {"messages": [{"event": "x", "data": "x" * 50_000}] * 2, "skipped": 0})
    waiting = [writer.transport.get_write_buffer_size() for writer in web._viewers]
    assert len(waiting) == MOST_VIEWERS and UNREAD_BYTES <= max(waiting) < UNREAD_BYTES + 200_000
    assert await stage.works()
    await shut(*stuck)
    async with asyncio.timeout(25):
        while web._viewers:
            await asyncio.sleep(0.01)


# ---- emitting


async def test_it_is_to_look_at_only(stage: Stage) -> None:
    answer = await stage.ask("/emit", "POST", body=b'{"event":"hello"}')
    assert answer.status == 403 and "--allow-emit" in answer.text
    assert 'data-allows-emit="no"' in (await stage.ask()).text
    assert stage.got == []


@pytest.mark.parametrize("stage", [True], indirect=True)
async def test_allowed_it_emits(stage: Stage) -> None:
    assert 'data-allows-emit="yes"' in (await stage.ask()).text
    answer = await stage.ask(
        "/emit", "POST", body=b'{"event":"hello","data":[1]}', Origin=f"http://localhost:{stage.web.port}"
    )
    assert (answer.status, answer.text) == (200, '{"sockets":1}')
    async with asyncio.timeout(25):
        while not stage.got:
            await asyncio.sleep(0.001)
    assert stage.got == [[1]]


@pytest.mark.parametrize("stage", [True], indirect=True)
@pytest.mark.parametrize(
    ("status", "says", "body", "headers"),
    [
        (400, "no socket 99", b'{"event":"hello","to":99}', {}),
        (400, "reserved", b'{"event":"connect"}', {}),
        (400, "event", b"{}", {}),
        (400, "no JSON", b"{", {}),
        (400, "no JSON", b"\xff", {}),
        (400, "no JSON", b"[" * 50_000, {}),
        (400, "what to emit is", b"[]", {}),
        (413, "at most", b"", {"Content_Length": str(BODY_BYTES + 1)}),
        (400, "Content-Length", b"", {"Content_Length": "-1"}),
        (400, "Content-Length", b"", {"Content_Length": "9" * 30}),
        (415, "application/json", b"event=hello", {"Content_Type": "application/x-www-form-urlencoded"}),
        (415, "application/json", b"{}", {"Content_Type": "text/plain"}),
    ],
    ids=str,
)
async def test_what_cannot_be_emitted_is_refused(
    stage: Stage, status: int, says: str, body: bytes, headers: dict[str, str]
) -> None:
    answer = await stage.ask("/emit", "POST", body=body, **headers)
    assert answer.status == status and says in answer.text
    assert await stage.works() and stage.got == []


async def test_other_methods_and_paths(stage: Stage) -> None:
    assert (await stage.ask("/emit")).status == 405 and (await stage.ask("/", "POST", body=b"{}")).status == 405
    assert (await stage.ask("/../page.html")).status == 404


async def test_a_port_that_is_taken(stage: Stage) -> None:
    feed: Any = stage.web.__dict__["_feed"]
    with pytest.raises(UsageError, match="cannot have port"):
        await Web(feed, False).start(stage.web.port)


async def test_that_the_server_is_gone_is_told(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.web.port)
    writer.write(f"GET /looks?token={stage.web.token} HTTP/1.1\r\nHost: localhost:{stage.web.port}\r\n\r\n".encode())
    async with asyncio.timeout(25):
        await reader.readuntil(b"event: look\n")
        await stage.server.stop()
        await reader.readuntil(b'{"trouble":"the server is gone')
    await shut(writer)
