"""The program for the terminal, driven by its keys, at a real server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Label, Static, TabbedContent

import node_ipc
from node_ipc import Config
from node_ipc.contract import describe
from node_ipc.tools.top.feed import CannotLook
from node_ipc.tools.top.screen import Details, Emit, Monitor


class Stage:
    """A server with a client, and the program that looks at it."""

    def __init__(self, root: str, server: node_ipc.AsyncServer, client: node_ipc.AsyncClient) -> None:
        self.root = root
        self.server = server
        self.client = client
        self.monitor = Monitor("world", Config(socket_root=root))
        self.got: list[Any] = []
        server.on("order", lambda data, socket: socket.emit("thanks"))
        server.on("broken", lambda: 1 / 0)
        server.on("error", lambda error: None)
        client.on("hello", self.got.append)

    def rows(self, name: str) -> list[list[str]]:
        table = self.monitor.query_one(f"#{name}-table", DataTable)
        return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]

    def text(self, selector: str, kind: type[Static] = Static) -> str:
        return str(self.monitor.screen.query_one(selector, kind).render())

    async def until(self, pilot: Pilot[None], condition: Callable[[], Any], feeds: bool = True) -> None:
        async with asyncio.timeout(50):
            while not condition():
                if feeds:
                    self.client.emit("order", {"article": "lamp"})
                await asyncio.sleep(0.05)
                await pilot.pause()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as root:
        async with node_ipc.serve("world", socket_root=f"{root}/", observe=True) as server:
            async with node_ipc.connect("world", socket_root=f"{root}/") as client:
                yield Stage(f"{root}/", server, client)


async def test_its_tables_and_what_the_keys_do(stage: Stage) -> None:
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: any(row[0] == "order" for row in stage.rows("events")))
        assert "1 links" in stage.text("#head") and "by rate" in stage.text("#head")
        await pilot.press("s")
        assert "by slowest" in stage.text("#head")
        await pilot.press("p")
        assert "PAUSED" in stage.text("#head")
        look = stage.monitor.view.look
        stage.client.emit("broken")
        await asyncio.sleep(1.2)
        assert stage.monitor.view.look is look
        await pilot.press("p")
        await stage.until(pilot, lambda: any(row[0] == "broken" for row in stage.rows("events")))
        await pilot.press("5")
        await stage.until(pilot, lambda: "ZeroDivisionError" in str(stage.rows("errors")))
        await pilot.press("3")
        await stage.until(pilot, lambda: stage.rows("links"))
        assert stage.rows("links")[0][1].startswith("unix pid")


async def test_the_filter_takes_what_is_typed_also_letters_that_are_keys(stage: Stage) -> None:
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: len(stage.rows("events")) >= 2)
        await pilot.press("slash", *"esp")
        assert stage.monitor.view.filter == "esp" and not isinstance(stage.monitor.screen, Emit)
        for _ in "esp":
            await pilot.press("backspace")
        await pilot.press(*"order", "enter")
        await pilot.pause()
        assert {row[0] for row in stage.rows("events")} == {"order"}
        assert not stage.monitor.query_one("#filter", Input).display


async def test_looking_into_a_message_and_emitting_one(stage: Stage) -> None:
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: stage.monitor.feed)
        await pilot.press("4")
        await stage.until(pilot, lambda: any("lamp" in str(row) for row in stage.rows("messages")))
        await pilot.press("p", "/", *"order", "enter", "enter")
        await stage.until(pilot, lambda: isinstance(stage.monitor.screen, Details), feeds=False)
        assert '"article": "lamp"' in stage.text(".payload")
        assert "to the server, link 1" in stage.text(".title", Label)
        await pilot.press("escape", "e")
        await stage.until(pilot, lambda: isinstance(stage.monitor.screen, Emit), feeds=False)
        await pilot.press(*"hello", "tab", *"{oops", "enter")
        await stage.until(pilot, lambda: "payload is JSON" in stage.text("#said", Label), feeds=False)
        for _ in "{oops":
            await pilot.press("backspace")
        await pilot.press(*"[1]", "enter")
        await stage.until(pilot, lambda: "emitted to 1 links" in stage.text("#said", Label), feeds=False)
        await stage.until(pilot, lambda: stage.got == [[1]], feeds=False)
        await pilot.press("tab", *"77", "enter")
        await stage.until(pilot, lambda: "there is no socket 77" in stage.text("#said", Label), feeds=False)


async def test_messages_are_asked_for_only_while_they_are_shown(stage: Stage) -> None:
    server: Any = stage.server
    observation = server._observation
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: stage.monitor.feed)
        await pilot.press("4")
        await stage.until(pilot, lambda: observation._tally and observation._tally.keeps)
        await pilot.press("1")
        await stage.until(pilot, lambda: not observation._tally.keeps)
        assert stage.monitor.query_one(TabbedContent).active == "events"


async def test_what_peers_are_called_is_text_and_no_markup(stage: Stage) -> None:
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        stage.client.emit("[red]x[/] [@click=app.quit]y[/]", "[/nothing]")
        await stage.until(pilot, lambda: any("[red]x[/]" in row[0] for row in stage.rows("events")))
        await pilot.press("4")
        stage.client.emit("\x1b[31mred", "\x1b]0;title\x07")
        await stage.until(pilot, lambda: any("\\x1b[31mred" in str(row[3]) for row in stage.rows("messages")))


async def test_a_server_that_goes_away_is_told(stage: Stage) -> None:
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: stage.monitor.feed)
        await stage.server.stop()
        await stage.until(pilot, lambda: "the server is gone" in stage.text("#trouble"), feeds=False)
        await pilot.press("q")
    assert stage.monitor.failure is None


async def test_where_there_is_nothing_to_look_at_it_ends_with_the_reason() -> None:
    monitor = Monitor("nobody-is-called-this", Config())
    async with monitor.run_test() as pilot:
        await pilot.pause()
    assert isinstance(monitor.failure, CannotLook)


async def test_enter_shows_what_the_server_says_of_an_event(stage: Stage) -> None:
    describe(stage.server, title="The shop", version="2.1.0")
    stage.server.on("typed", lambda data: None, type=list[int])
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: "The shop 2.1.0 (" in stage.text("#head"))
        stage.monitor.view.filter = "order"
        await stage.until(pilot, lambda: [row[0] for row in stage.rows("events")] == ["order"])
        await pilot.press("enter")
        await stage.until(pilot, lambda: isinstance(stage.monitor.screen, Details))
        assert "order: what the server says of it" in stage.text(".title", Label)
        assert "receives.order" in stage.text(".payload")
        await pilot.press("escape")
        stage.monitor.view.filter = "thanks"
        await stage.until(pilot, lambda: [row[0] for row in stage.rows("events")] == ["thanks"])
        await pilot.press("enter")
        await stage.until(pilot, lambda: isinstance(stage.monitor.screen, Details))
        assert "not in its contract" in stage.text(".title", Label)


async def test_enter_says_where_a_server_does_not_describe_itself(stage: Stage) -> None:
    async with stage.monitor.run_test(size=(80, 24)) as pilot:
        await stage.until(pilot, lambda: stage.rows("events"))
        await pilot.press("enter")
        await stage.until(pilot, lambda: len(stage.monitor._notifications) == 1)
        [said] = stage.monitor._notifications
        assert "node_ipc.contract.describe(server)" in said.message
        assert not isinstance(stage.monitor.screen, Details)
