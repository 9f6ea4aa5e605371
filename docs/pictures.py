"""Takes the pictures of ``node-ipc top`` for the pages: ``python docs/pictures.py``, with Debian's chromium-driver.

A shop at work (``tests/tools/top/browser.py``) is looked at in the terminal and as a page.
"""

from __future__ import annotations

import asyncio
import re
import subprocess  # nosec B404 # fixed commands
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from node_ipc import Config  # noqa: E402
from node_ipc.tools.top.screen import Monitor  # noqa: E402
from tools.top.browser import SHOP, browser  # noqa: E402

LOOKS = 45
"""Seconds that a picture's charts go back."""


@contextmanager
def shop() -> Iterator[str]:
    """A shop at work; its socket root."""
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        command = [sys.executable, "-c", SHOP, f"{folder}/"]
        program = subprocess.Popen(command, stdout=subprocess.PIPE)  # nosec B603 # this file's own program
        assert program.stdout is not None
        program.stdout.readline()
        try:
            yield f"{folder}/"
        finally:
            program.terminate()
            program.wait()
            program.stdout.close()


async def terminal(root: str) -> str:
    """The program for the terminal as SVG, which a browser makes a picture of."""
    monitor = Monitor("world", Config(socket_root=root))
    async with monitor.run_test(size=(88, 22)) as pilot:
        await asyncio.sleep(LOOKS)
        monitor.view.look = {**(monitor.view.look or {}), "address": "unix:/tmp/app.world"}
        monitor.refresh_view()
        await pilot.pause()
        svg = monitor.export_screenshot(title="node-ipc top world")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.S)  # fonts from another host


def picture_of_terminal(root: str) -> None:
    svg = asyncio.run(terminal(root))
    with tempfile.NamedTemporaryFile("w", suffix=".svg", encoding="utf-8") as file, browser(1140, 700) as chrome:
        file.write(svg)
        file.flush()
        chrome.get(f"file://{file.name}")
        chrome.save_screenshot(str(HERE / "howto" / "top.png"))


def picture_of_page(root: str) -> None:
    command = [sys.executable, "-m", "node_ipc", "top", "world", "--web", "-o", f"socket_root={root}"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # nosec B603 # this file's own program
    assert program.stdout is not None
    try:
        url = program.stdout.readline().strip()
        with browser(1140, 1060) as chrome:
            chrome.get(url)
            time.sleep(LOOKS)
            address = "document.getElementById('address').textContent = 'unix:/tmp/app.world'"
            chrome.execute_script(address)
            chrome.save_screenshot(str(HERE / "howto" / "top-web.png"))
    finally:
        program.terminate()
        program.wait()
        program.stdout.close()


if __name__ == "__main__":
    with shop() as root:
        picture_of_terminal(root)
        picture_of_page(root)
