"""``node-ipc top``: look at a server that is at work, in the terminal or in a browser."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from ..arguments import Commands, UsageError, add_command, add_configuration, configuration, number
from ..output import Printer, json_text, notice
from ..waiting import run, stop_signals

__all__ = ["add_commands"]

EXAMPLES = """\
  node-ipc top world                     links, rates, slow handlers, requests, until q
  node-ipc top world --once              one table after a second, for scripts
  node-ipc top world --json | jq .stats  each look as one JSON object
  node-ipc top world --web               the same as a page, at the URL that is printed
  node-ipc top world --worker 1          one of several processes that serve one address

The server opts in: serve("world", observe=True), or server.observe(). Looking costs two hundredths of a core at most.
"""


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "top", help="look at a server that is at work", examples=EXAMPLES)
    parser.add_argument("address", metavar="ADDRESS", help="where the server listens: an id, a path or a URL")
    parser.add_argument(
        "--plain", action="store_true", help="a plain table that refreshes, also where textual is installed"
    )
    parser.add_argument("--once", action="store_true", help="print one table and end")
    parser.add_argument("--json", action="store_true", help="print each look as one JSON object")
    parser.add_argument("--filter", metavar="TEXT", default="", help="only events and methods with this in their names")
    parser.add_argument(
        "--worker", metavar="N", type=number, help="which of several processes at the address; the first by default"
    )
    parser.add_argument("--web", action="store_true", help="serve a page on the loopback address")
    parser.add_argument("--port", metavar="N", type=int, help="the page's port; a free one by default")
    parser.add_argument("--allow-emit", action="store_true", help="let the page emit events, too")
    add_configuration(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.web and (arguments.port is not None or arguments.allow_emit):
        raise UsageError("--port and --allow-emit are for the page: add --web")
    if arguments.port is not None and not 0 <= arguments.port <= 65535:
        raise UsageError(f"a port is a number from 0 to 65535, not {arguments.port}")
    config = configuration(arguments)
    if arguments.web:
        from .web import show

        run(show(arguments.address, config, arguments.port or 0, arguments.allow_emit, arguments.worker))
    elif arguments.plain or arguments.once or arguments.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        run(_print(arguments, config))
    else:
        _show(arguments, config)
    return 0


def _show(arguments: argparse.Namespace, config: Any) -> None:
    try:
        from .screen import run as run_screen
    except ImportError as error:
        if not (error.name or "").startswith("textual"):
            raise
        notice("a plain table, since textual is not installed: pip install 'node-ipc[monitor]' for keys and details")
        run(_print(arguments, config))
    else:
        run_screen(arguments.address, config, arguments.filter, arguments.worker)


async def _print(arguments: argparse.Namespace, config: Any) -> None:
    """Tables, one over the other on a terminal and one below the other elsewhere."""
    from .feed import Feed
    from .plain import lines

    feed = await Feed.open(arguments.address, config, arguments.worker)
    feed.view.filter = arguments.filter
    with stop_signals() as stopped:
        printer = Printer(stopped.set)
        on_screen = sys.stdout.isatty() and not (arguments.once or arguments.json)

        def show() -> None:
            view = feed.view
            if arguments.json:
                printer.print(json_text(view.look))
            elif on_screen:
                columns, rows = shutil.get_terminal_size()
                printer.print("\x1b[H" + "\x1b[K\n".join(lines(view, columns, rows)) + "\x1b[K\x1b[J")
            elif view.history or not arguments.once:
                printer.print("\n".join(lines(view, shutil.get_terminal_size().columns)) + "\n")
            if arguments.once and view.history:
                stopped.set()

        if on_screen:
            printer.print("\x1b[2J")
        feed.changed.append(show)
        await stopped.wait()
    feed.changed.clear()
    await feed.close()
    printer.check()
