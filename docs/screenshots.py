"""Pictures of the built site as Chromium shows it: ``python docs/screenshots.py build/site build/pictures``.

The pages named below at 400 and 1,200 pixels, and dark; some searches; and the social card, which ``--card`` alone
writes, into ``docs/_static``. Exit code 1 where any page is wider than its window, so that a reader on a phone would
have to push it to and fro, where a script or style of it failed, or where a search does not find what it must. Needs
Chromium (Debian's package ``chromium``) and nothing else.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess  # nosec B404 # fixed commands
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGES = (
    *("index", "tutorials/two-processes", "howto/index", "howto/node-ipc-names", "topics/performance", "reference"),
    *("reference/options", "reference/errors", "howto/node-ipc-options", "genindex", "examples/unix", "evidence/index"),
    *("howto/many-machines", "howto/who-may-connect", "howto/live-view", "reference/commands-talking"),
)
LOOKS = ((400, 860, False), (1200, 900, False), (1200, 900, True))
"""Width and height of the window, and whether its user prefers dark pages."""
SEARCHES = {
    "docker": "howto/containers.html",
    "max_pending_bytes": "topics/back-pressure.html",
    "socket activation": "howto/systemd.html",
    "chmod": "howto/who-may-connect.html",
    "permission": "howto/who-may-connect.html",
    "newest frame": "howto/arrays.html",
    "SIGTERM": "howto/systemd.html",
    "graceful shutdown": "topics/threads.html",
    "EADDRINUSE": "howto/questions.html",
    "nats": "howto/many-machines.html",
}
"""What a reader types, and a page that must be among the first ten it finds."""
CARD = (1200, 630)
Answer = dict[str, Any]


class Browser:
    """Chromium, spoken to over two pipes: JSON, each message ended by a zero byte."""

    def __init__(self, to: int, by: int) -> None:
        self._to, self._by, self._last = to, os.fdopen(by, "rb"), 0
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self.on_page(f"{domain}.enable")

    def on_page(self, method: str, **parameters: Any) -> Answer:
        return self.ask(method, self._session, **parameters)

    def ask(self, method: str, session: str | None = None, /, **parameters: Any) -> Answer:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._last:
                if "error" in heard:
                    raise RuntimeError(f"{method}: {heard['error']['message']}")
                result: Answer = heard["result"]
                return result

    def wait_for(self, event: str) -> None:
        while self._hear().get("method") != event:
            pass

    def _hear(self) -> Answer:
        parts = b""
        while not parts.endswith(b"\0"):
            byte = self._by.read(1)
            if not byte:
                raise RuntimeError("Chromium ended")
            parts += byte
        heard: Answer = json.loads(parts[:-1])
        told = heard.get("params", {})
        if heard.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["text"])
        if heard.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"] + " " + told["entry"].get("url", ""))
        return heard

    def show(self, address: str, width: int, height: int, *, dark: bool = False) -> None:
        self.on_page(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.on_page("Emulation.setEmulatedMedia", features=colours)
        self.on_page("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired")

    def tell(self, expression: str) -> Any:
        return self.on_page("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)["result"][
            "value"
        ]

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.on_page("Page.captureScreenshot")["data"]))


@contextmanager
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("Chromium is not here: apt-get install chromium")
    read, to = os.pipe()
    by, write = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        options = f"--headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir={profile}"
        # it reads from 3 and writes to 4, whatever our numbers are
        process = subprocess.Popen(  # nosec B603 B607 # the browser in PATH
            ["bash", "-c", f'exec "$0" {options} --remote-debugging-pipe 3<&{read} 4>&{write}', program],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        try:
            browser = Browser(to, by)
            yield browser
            browser.ask("Browser.close")
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def look_at(browser: Browser, site: Path, pictures: Path) -> list[str]:
    faults = too_wide(browser, site)
    for page in PAGES:
        for width, height, dark in LOOKS:
            browser.complaints.clear()
            browser.show((site / f"{page}.html").resolve().as_uri(), width, height, dark=dark)
            name = f"{page.replace('/', '-')}-{width}{'-dark' if dark else ''}"
            browser.picture(pictures / f"{name}.png")
            wide = browser.tell("document.documentElement.scrollWidth")
            faults += [f"{name}: {wide} pixels wide"] if wide > width else []
            faults += [f"{name}: {complaint}" for complaint in browser.complaints]
    return faults


def too_wide(browser: Browser, site: Path) -> list[str]:
    """Every page on a phone, whether there is a picture of it or not."""
    faults = []
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.parts:
            browser.show(path.resolve().as_uri(), *LOOKS[0][:2])
            wide = browser.tell("document.documentElement.scrollWidth")
            faults += [f"{path.relative_to(site)}: {wide} pixels wide"] if wide > LOOKS[0][0] else []
    return faults


FOUND = """new Promise(done => {
    const look = () => {
        const links = [...document.querySelectorAll('#search-results li a')].map(link => link.href);
        const over = (document.querySelector('#search-results p.search-summary') || {}).innerText || '';
        links.length >= 10 || /found|did not match/i.test(over) ? done(links.slice(0, 10)) : setTimeout(look, 50);
    };
    setTimeout(() => done([]), 20000);
    look();
})"""


def search(browser: Browser, site: Path, pictures: Path) -> list[str]:
    faults = []
    for words, page in SEARCHES.items():
        browser.show(f"{(site / 'search.html').resolve().as_uri()}?q={words}", *LOOKS[1][:2])
        found = browser.tell(FOUND)
        browser.picture(pictures / f"search-{words}.png")
        if not any(page in link for link in found):
            faults.append(f"a search for {words} does not find {page}, but {found}")
    return faults


def main(arguments: list[str]) -> int:
    with chromium() as browser:
        if arguments == ["--card"]:
            browser.show((HERE / "card.html").as_uri(), *CARD)
            browser.picture(HERE / "_static" / "card.png")
            return 0
        site, pictures = map(Path, arguments)
        pictures.mkdir(parents=True, exist_ok=True)
        faults = look_at(browser, site, pictures) + search(browser, site, pictures)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(list(pictures.glob('*.png')))} pictures, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
