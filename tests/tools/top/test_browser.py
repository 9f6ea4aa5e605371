"""The page in a real browser: what it shows, what its buttons do, and that another origin gets nothing."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from processes import DEADLINE, Program

from ..conftest import Command
from .browser import SHOP, browser


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def shop(root: str, node_ipc: Command) -> Iterator[Program]:
    program = Program.python("-c", SHOP, root)
    program.wait_for("ready")
    yield program
    program.close()
    for left in os.listdir(root):
        os.unlink(f"{root}{left}")


class Page:
    """The page in the browser."""

    def __init__(self, chrome: Chrome, url: str) -> None:
        self.chrome = chrome
        self.url = url
        chrome.get_log("browser")  # type: ignore[no-untyped-call]  # what an earlier page said
        chrome.get(url)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < end, f"not seen: {what}\n{self.text('body')}\n{self.chrome.get_log('browser')}"  # type: ignore[no-untyped-call]
            time.sleep(0.05)
        return found

    def text(self, selector: str) -> str:
        return str(self.chrome.execute_script("return document.querySelector(arguments[0]).textContent", selector))  # type: ignore[no-untyped-call]

    def rows(self, table: str) -> list[list[str]]:
        code = (
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        found: list[list[str]] = self.chrome.execute_script(code, table)  # type: ignore[no-untyped-call]
        return found

    def points(self, chart: str) -> str:
        code = "return document.querySelector(`#${arguments[0]} polyline.out`).getAttribute('points')"
        return str(self.chrome.execute_script(code, chart))  # type: ignore[no-untyped-call]

    def press(self, id: str) -> None:
        self.chrome.find_element(By.ID, id).click()

    def complaints(self) -> list[str]:
        entries: list[dict[str, Any]] = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if "favicon" not in entry["message"]]


def opened(chrome: Chrome, node_ipc: Command, *arguments: str) -> Page:
    program = node_ipc("top", "world", "--web", *arguments)
    return Page(chrome, program.wait_for("http://").strip())


def test_what_the_page_shows_and_its_buttons_do(chrome: Chrome, node_ipc: Command, shop: Program) -> None:
    page = opened(chrome, node_ipc)
    page.until(lambda: {"order", "invoice", "refund"} <= {row[0] for row in page.rows("events")}, "the events")
    assert "app.world" in page.text("#address") and "5 links" in page.text("#links-count")
    order = next(row for row in page.rows("events") if row[0] == "order")
    assert float(order[1].rstrip("k")) > 1 and order[4].endswith(("µs", "ms"))
    assert [row[0] for row in page.rows("requests")] == ["price"]
    assert len(page.rows("links")) == 5 and page.rows("links")[0][0].startswith("#")
    page.until(lambda: "LookupError" in page.text("#errors"), "an error")
    for chart in ("rates", "bytes", "latency"):
        page.until(lambda chart=chart: page.points(chart).count(",") >= 2, f"the chart of {chart}")  # type: ignore[misc]
    page.press("pause")
    shown = page.rows("events")
    time.sleep(1.3)
    assert page.rows("events") == shown
    page.press("pause")
    page.until(lambda: page.rows("events") != shown, "going on")
    chrome.find_element(By.ID, "filter").send_keys("ORD")
    page.until(lambda: {row[0] for row in page.rows("events")} == {"order"}, "the filter")
    page.press("watch")
    page.until(lambda: any("lamp" in row[4] for row in page.rows("messages")), "messages")
    page.press("pause")
    chrome.find_element(By.CSS_SELECTOR, "#messages tbody tr").click()
    assert '"article":' in page.text("#message-data") and "to the server" in page.text("#message-title")
    page.press("back")
    assert not chrome.find_element(By.ID, "emit").is_displayed()
    assert page.complaints() == []


def test_allowed_it_emits(chrome: Chrome, node_ipc: Command, shop: Program) -> None:
    page = opened(chrome, node_ipc, "--allow-emit")
    for name, value in (("event", "hello"), ("data", "{oops"), ("to", "")):
        chrome.find_element(By.NAME, name).send_keys(value)
    chrome.find_element(By.NAME, "event").send_keys(Keys.ENTER)
    page.until(lambda: "SyntaxError" in page.text("#said"), "the refusal of no JSON")
    chrome.find_element(By.NAME, "data").clear()
    chrome.find_element(By.NAME, "data").send_keys('{"n": 1}', Keys.ENTER)
    page.until(lambda: page.text("#said") == "emitted to 5 links", "where it went")
    chrome.find_element(By.NAME, "to").send_keys("77", Keys.ENTER)
    page.until(lambda: "there is no socket 77" in page.text("#said"), "the refusal of no link")


def test_what_peers_are_called_is_text(chrome: Chrome, node_ipc: Command, shop: Program, root: str) -> None:
    page = opened(chrome, node_ipc)
    name = "<img src=x onerror=alert(1)>"
    emitted = node_ipc("emit", f"{root}app.world", name, '"</script><b>x</b>"')
    emitted.ends()
    page.until(lambda: name in [row[0] for row in page.rows("events")], "the name as text")
    assert page.complaints() == []


def test_without_the_token_there_is_no_page(chrome: Chrome, node_ipc: Command, shop: Program) -> None:
    page = opened(chrome, node_ipc)
    for url in (page.url.split("?")[0], page.url + "x"):
        chrome.get(url)
        assert "open the URL that node-ipc top printed" in page.text("body") and "order" not in page.text("body")


ATTACK = """<script>
const url = 'TARGET', looks = url.replace('/?', '/looks?'), emit = url.replace('/?', '/emit?');
const body = '{"event":"hello"}', read = (answer) => answer.text();
const source = new Promise((done) => {
  const source = new EventSource(looks);
  source.onmessage = source.onopen = () => done('open');
  source.onerror = () => done('');
});
const frame = new Promise((done) => {
  const frame = document.createElement('iframe');
  frame.src = url;
  frame.onload = () => { try { done(frame.contentDocument.body.textContent); } catch { done(''); } };
  document.documentElement.append(frame);
});
const tries = [
  fetch(url).then(read),
  fetch(looks).then(read),
  fetch(emit, {method: 'POST', headers: {'Content-Type': 'application/json'}, body}).then(read),
  fetch(emit, {method: 'POST', mode: 'no-cors', body}).then(read),
  source,
  frame,
];
Promise.allSettled(tries).then((all) => {
  document.title = 'tried ' + JSON.stringify(all.map((each) => each.value || ''));
});
</script>"""


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str], str]]:
    """A page of another origin that knows the URL, token and all, and tries what it can."""
    pages: list[str] = []

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages[-1].encode())

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def serve(target: str) -> str:
        pages.append(ATTACK.replace("TARGET", target))
        return f"http://localhost:{server.server_port}/"

    yield serve
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.row(74)
def test_a_page_of_another_origin_gets_nothing_even_with_the_token(
    chrome: Chrome, node_ipc: Command, shop: Program, elsewhere: Callable[[str], str]
) -> None:
    page = opened(chrome, node_ipc, "--allow-emit")
    page.until(lambda: page.rows("events"), "the page")
    for target in (page.url, page.url.replace("127.0.0.1", "localhost")):
        chrome.get(elsewhere(target))
        page.until(lambda: chrome.title.startswith("tried "), "the attack")
        assert chrome.title == 'tried ["","","","","",""]'
    chrome.get(page.url)
    page.until(lambda: page.rows("events"), "the page again")
    assert "hello" not in {row[0] for row in page.rows("events")}


@pytest.mark.row(74)
def test_a_name_that_was_made_to_lead_here_gets_nothing(node_ipc: Command, shop: Program) -> None:
    """DNS rebinding: the browser thinks that it is at evil.example."""
    url = node_ipc("top", "world", "--web").wait_for("http://").strip()
    with browser(arguments=("--host-resolver-rules=MAP evil.example 127.0.0.1",)) as chrome:
        chrome.get(url.replace("127.0.0.1", "evil.example"))
        body = chrome.find_element(By.TAG_NAME, "body").text
    assert "open the URL as printed" in body and "order" not in body
