"""Debian's Chromium, driven by selenium; and the server that is looked at, as a program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

SHOP = """
import asyncio, random, sys, node_ipc

async def main():
    chance = random.Random(7)
    async with node_ipc.serve("world", socket_root=sys.argv[1], observe=True, max_connections=200) as server:
        server.on("order", lambda data, socket: socket.emit("thanks", {"order": data["number"]}))
        server.on("error", lambda error: None)

        @server.on("invoice")
        async def invoice(data):
            await asyncio.sleep(chance.expovariate(12))

        @server.on("refund")
        def refund(data):
            raise LookupError(f"no order {data['order']}")

        @server.handle("price")
        async def price(params):
            await asyncio.sleep(chance.expovariate(60))
            return 39.9

        print("ready", flush=True)
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(customer(number, chance))

async def customer(place, chance):
    async with node_ipc.connect("world", socket_root=sys.argv[1]) as shop:
        for name in ("thanks", "hello"):
            shop.on(name, lambda data: None)
        number = 0
        while True:
            number += 1
            article = chance.choice(["lamp", "desk", "chair"])
            shop.emit("order", {"number": number, "article": article, "count": place + 1})
            if number % 6 == 0:
                shop.emit("invoice", {"order": number, "lines": ["x" * 40] * 5})
            if number % 41 == 0:
                shop.emit("refund", {"order": number})
            if number % 9 == 0:
                await shop.request("price", {"article": "lamp"})
            await asyncio.sleep(0.012 * (place + 1) * (1 + 0.6 * chance.random()))

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""
"""A shop at work, until Ctrl-C: its argument is the socket root."""


def program() -> str | None:
    """Where the browser is: Debian's, or Google's, as GitHub's machines have it."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def missing() -> str:
    """What is not here of what a browser needs; empty where all is."""
    found = {"chromium": program(), "chromedriver": shutil.which("chromedriver")}
    return " and ".join(name for name, path in found.items() if path is None)


@contextmanager
def browser(width: int = 1200, height: int = 1000, arguments: tuple[str, ...] = ()) -> Iterator[Chrome]:
    """A browser without a window. Fails under CI, and skips elsewhere, where there is none."""
    if what := missing():
        said = f"no {what} in PATH: install Debian's chromium and chromium-driver"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    options = ChromeOptions()
    options.binary_location = program() or ""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    size = f"--window-size={width},{height}"
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", size, *sandbox, *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
