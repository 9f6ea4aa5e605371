"""The page for people: whole, safe, and on its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from msgspec import Struct

from node_ipc.contract import Contract, Message, Method, contract_of, html

from . import shop

CONTRACT = contract_of(shop.register, events=[shop.done, shop.moved])
VOID = {"meta", "link", "br"}


class Reader(HTMLParser):
    """The text, the ids and the links of a page; raises where tags are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [id for id in [found.get("id")] if id]
        self.links += [link for link in [found.get("href")] if link]
        assert not {"src", "onclick", "style"} & set(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_names_every_event_method_and_type() -> None:
    page = Reader(html(CONTRACT))
    for place, _ in CONTRACT.payloads():
        assert place.removesuffix(".params").removesuffix(".result") in page.ids
    assert {"type.Order", "type.Tree", "type.Page_int", "type.Color"} <= set(page.ids)
    for text in (
        "What somebody wants to have.",
        "The sum of two numbers.",
        "howMany?",
        "Default: 1.",
        '"red" | "blue"',
    ):
        assert text in page.text


def test_every_link_leads_to_a_type_of_the_page() -> None:
    page = Reader(html(CONTRACT))
    assert len(page.links) > 15
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_it_loads_nothing() -> None:
    page = html(CONTRACT)
    assert not {"script", "link", "img", "iframe"} & set(Reader(page).tags)
    assert not re.search(r"url\(|@import|https?:", page)


def test_text_stays_text() -> None:
    evil = '<script>alert("1")</script>&amp;'

    class Shape(Struct):
        __doc__ = evil
        a: str = evil

    contract = Contract(
        evil,
        receives=[Message(evil, Shape, evil)],
        answers=[Method(evil, str, Shape, evil)],
        title=evil,
        version=evil,
        description=evil,
        address=f"unix:/{evil}",
    )
    page = Reader(html(contract))
    assert "script" not in page.tags
    assert page.text.count(evil) >= 8


def test_a_text_that_looks_like_a_type_is_no_link() -> None:
    from typing import Literal

    contract = Contract("world", receives=[Message("a", Literal["Order", "Terms"]), Message("b", shop.Terms)])
    assert Reader(html(contract)).links == ["#type.Terms"]
