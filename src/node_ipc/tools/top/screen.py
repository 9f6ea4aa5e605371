"""The view as a program for the terminal, made with textual (the extra ``monitor``)."""

from __future__ import annotations

import contextlib
import json
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Label, Static, TabbedContent, TabPane

from ...config.config import Config
from ...config.logs import escape
from ...errors import IPCError
from ..described import said_of
from .feed import Feed
from .view import SORTS, View, sparkline

__all__ = ["Monitor", "run"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "events": ("event", "last looks", "in/s", "out/s", "bytes/s", "p50", "p99", "run", "err", "slowest"),
    "requests": ("method", "side", "1/s", "in flight", "p50", "p99", "err"),
    "links": ("link", "peer", "in/s", "out/s", "bytes/s", "waits", "err", "up", "not read for"),
    "messages": ("number", "way", "link", "event", "bytes", "payload"),
    "errors": ("error",),
}
TITLES = {"events": "Events", "requests": "Requests", "links": "Links", "messages": "Messages", "errors": "Errors"}


def run(address: str, config: Config, filter: str, number: int | None = None) -> None:
    """Look at the server of this address until the user has seen enough. Raises what kept it from being looked at."""
    monitor = Monitor(address, config, filter, number)
    monitor.run()
    if monitor.failure is not None:
        raise monitor.failure


class Details(ModalScreen[None]):
    """More of one row."""

    BINDINGS: ClassVar[list[Any]] = [Binding("escape,enter,q", "app.pop_screen", "Back")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._title), classes="title")
            yield Static(Text(_pretty(self._text)), classes="payload")
            yield Label("Escape goes back")


def _message(each: dict[str, Any]) -> Details:
    """A message, all that was kept of it."""
    way = "to the server" if each["direction"] == "in" else "from the server"
    link = "" if each["link"] is None else f", link {each['link']}"
    return Details(f"{escape(each['event'], 200)}: {each['bytes']} bytes {way}{link}", each["data"])


class Emit(ModalScreen[None]):
    """What to emit, and to whom."""

    AUTO_FOCUS = "#event"
    BINDINGS: ClassVar[list[Any]] = [Binding("escape", "app.pop_screen", "Back")]

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Let the server emit", classes="title")
            yield Input(placeholder="event", id="event")
            yield Input(placeholder='payload as JSON: "hello", {"n": 1}; empty is {}', id="payload")
            yield Input(placeholder="number of a link; empty is all of them", id="to")
            yield Label("Enter emits, Escape goes back", id="said")

    async def on_input_submitted(self) -> None:
        said = self.query_one("#said", Label)
        event, payload, to = (self.query_one(f"#{name}", Input).value.strip() for name in ("event", "payload", "to"))
        try:
            data = json.loads(payload) if payload else {}
            sockets = await self._feed.emit(event, data, int(to) if to else None)
        except ValueError as error:
            said.update(Text(f"the payload is JSON and the link a number: {error}"))
        except IPCError as error:
            said.update(Text(escape(str(error), 300)))
        else:
            said.update(Text(f"emitted to {sockets} links"))


def _pretty(text: str) -> str:
    with contextlib.suppress(ValueError):  # it was cut, or is none
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return "\n".join(escape(line, 2000) for line in text.splitlines()) or "(empty)"


class Monitor(App[None]):
    """Everything that is to be seen of one server."""

    TITLE = "node-ipc top"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = "#events-table"
    CSS = """
    Screen { overflow: hidden; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    #head { height: auto; padding: 0 1; }
    #rates { height: 1; margin: 0 1; color: $primary; }
    #trouble { height: auto; padding: 0 1; color: $text-warning; display: none; }
    #filter { display: none; }
    DataTable { height: 1fr; }
    ModalScreen { align: center middle; }
    .box { width: 90%; max-width: 100; height: auto; max-height: 90%; border: round $primary; padding: 0 1;
           background: $surface; }
    .title { text-style: bold; }
    .payload { height: auto; max-height: 20; overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("q", "quit", "Quit"),
        Binding("p,space", "pause", "Pause"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("e", "emit", "Emit"),
        *(Binding(str(at), f"tab('{name}')", TITLES[name], show=False) for at, name in enumerate(COLUMNS, 1)),
    ]

    def __init__(self, address: str, config: Config, filter: str = "", number: int | None = None) -> None:
        super().__init__()
        self.failure: IPCError | None = None
        """Why it ended before it could show anything."""
        self.view = View()
        self.feed: Feed | None = None
        self._address = address
        self._config = config
        self._filter = filter
        self._number = number
        self._shown: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        yield Static("connecting", id="head")
        yield Static("", id="rates")
        yield Static("", id="trouble")
        with TabbedContent(initial="events"):
            for name, columns in COLUMNS.items():
                with TabPane(TITLES[name], id=name):
                    table: DataTable[Text] = DataTable(id=f"{name}-table", cursor_type="row", zebra_stripes=True)
                    table.add_columns(*columns)
                    yield table
        yield Input(placeholder="show only names with this in them; Enter", id="filter", disabled=True)
        yield Footer()

    async def on_mount(self) -> None:
        try:
            self.feed = await Feed.open(self._address, self._config, self._number)
        except IPCError as error:
            self.failure = error
            self.exit()
            return
        self.view = self.feed.view
        self.view.filter = self._filter
        self.feed.changed.append(self.refresh_view)
        self.refresh_view()

    async def on_unmount(self) -> None:
        if self.feed is not None:
            self.feed.changed.clear()
            await self.feed.close()

    # ---- showing

    def refresh_view(self) -> None:
        """Show the view as it is now."""
        view = self.view
        if view.look is None:
            return
        self.query_one("#head", Static).update(Text("\n".join(view.head(f"  by {view.sort}"))))
        rates = tuple(each.came + each.went for each in view.history)
        self.query_one("#rates", Static).update(Text(sparkline(rates, max(self.size.width - 2, 8))))
        trouble = self.query_one("#trouble", Static)
        trouble.display = bool(view.trouble)
        trouble.update(Text(escape(view.trouble, 500)))
        self._fill(self.query_one(TabbedContent).active)

    def _fill(self, name: str) -> None:
        table = self.query_one(f"#{name}-table", DataTable)
        row, scroll = table.cursor_row, table.scroll_y
        table.clear()
        for cells in self._rows(name):
            table.add_row(*map(Text, cells))
        if table.row_count:
            table.move_cursor(row=min(row, table.row_count - 1), animate=False)
        table.scroll_to(y=scroll, animate=False)

    def _rows(self, name: str) -> list[tuple[str, ...]]:
        view = self.view
        if name in ("events", "requests", "links"):
            return [row.cells for row in getattr(view, name)()]
        if name == "messages":
            self._shown = view.shown_messages()[::-1]
            return [
                (
                    *(str(each["number"]), each["direction"], str(each["link"] or "")),
                    *(escape(each["event"], 60), str(each["bytes"]), escape(each["data"], 200)),
                )
                for each in self._shown
            ]
        return [(line,) for line in reversed(view.errors())]

    # ---- what the user does

    async def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        if self.feed is None:
            return
        name = event.pane.id or "events"
        try:
            await self.feed.want_messages(name == "messages")
        except IPCError as error:
            self.notify(escape(str(error), 300), severity="error", markup=False)
        self.refresh_view()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        kind = (event.data_table.id or "").removesuffix("-table")
        if kind == "messages" and event.cursor_row < len(self._shown):
            self.push_screen(_message(self._shown[event.cursor_row]))
        elif kind in ("events", "requests"):
            self._explain(str(event.data_table.get_row_at(event.cursor_row)[0]))

    def _explain(self, name: str) -> None:
        """Show what the server says of an event or a method."""
        described = None if self.feed is None else self.feed.described
        if described is None:
            self.notify("the server does not describe itself: node_ipc.contract.describe(server) there", markup=False)
            return
        said = said_of(described, name)
        self.push_screen(Details(f"{name}: {'what the server says of it' if said else 'not in its contract'}", said))

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            self.view.filter = event.value
            self.refresh_view()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            event.input.display, event.input.disabled = False, True
            self.query_one(f"#{self.query_one(TabbedContent).active}-table").focus()

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        self.query_one(f"#{name}-table").focus()

    def action_pause(self) -> None:
        self.view.pause(not self.view.is_paused)
        self.refresh_view()

    def action_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.display, box.disabled = True, False
        box.focus()

    def action_sort(self) -> None:
        self.view.sort = SORTS[(SORTS.index(self.view.sort) + 1) % len(SORTS)]
        self.refresh_view()

    def action_emit(self) -> None:
        if self.feed is not None:
            self.push_screen(Emit(self.feed))
