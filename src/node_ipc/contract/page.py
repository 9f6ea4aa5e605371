"""HTML: one page of one's own API, for people. It loads nothing: no script, no font, no style from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from itertools import chain
from typing import Any

from msgspec import UNSET, inspect

from .model import Contract, Message, Method
from .shapes import Named, default_of, description_of, tag_of
from .typescript import Notation, remarks_on

__all__ = ["html"]

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} {version}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --quiet: #888; --mark: #0a6; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 small, .quiet {{ color: var(--quiet); font-weight: normal; }}
h2 {{ margin-top: 2.5rem; border-bottom: 1px solid var(--line); }}
h3 {{ margin: 1.5rem 0 .25rem; }}
code, td:first-child, th[scope=row] {{ font-family: ui-monospace, monospace; font-size: .92em; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; }}
th, td {{ border-bottom: 1px solid var(--line); }}
thead th {{ color: var(--quiet); font-weight: normal; }}
a {{ color: var(--mark); }}
p {{ margin: .25rem 0; white-space: pre-line; }}
</style>
</head>
<body>
<h1>{title} <small>{version}</small></h1>
{head}
{body}
<p class="quiet">Types are written as in TypeScript; on the wire they are JSON.
Made by <code>node-ipc contract</code>.</p>
</body>
</html>
"""
METHOD = {"params": ".params", "result": ".result"}
"""The columns of a method's types, and what is behind its place for each."""


def html(contract: Contract) -> str:
    """The contract as one page: events, methods and types, each with an address of its own.

    Example:
        >>> shop = contract.Contract("shop", receives=[contract.Message("order", dict[str, int])])
        >>> contract.html(shop)[:15]
        '<!doctype html>'
    """
    page = _Page(contract)
    sections = [
        page.section("receives", "Clients emit", contract.receives),
        page.section("sends", "The server emits", contract.sends),
        page.section("answers", "The server answers", contract.answers),
        page.section("asks", "Clients answer", contract.asks),
        page.types(),
    ]
    address = "" if contract.address is None else f"<p>At <code>{escape(str(contract.address))}</code></p>"
    return PAGE.format(
        title=escape(contract.title),
        version=escape(contract.version),
        head=f"{_paragraph(contract.description)}{address}",
        body="\n".join(section for section in sections if section),
    )


class _Page:
    def __init__(self, contract: Contract) -> None:
        self._notation = Notation(contract)
        names = sorted(map(re.escape, self._notation.shapes.named), key=len, reverse=True)
        # A string without an end is one all the same, so that nothing is looked at twice.
        self._classes = re.compile(rf'"(?:[^"\\]|\\.)*+"?|\b(?:{"|".join(names) or "(?!)"})\b')

    def section(self, direction: str, title: str, items: Sequence[Message | Method]) -> str:
        """A table of events, or of methods; nothing where there are none."""
        if not items:
            return ""
        kind, parts = ("event", {"payload": ""}) if isinstance(items[0], Message) else ("method", METHOD)
        rows = []
        for each in items:
            place = f"{direction}.{each.name}"
            places = [place + part for part in parts.values()]
            remarks = [self._notation.remarks(at) for at in places]
            remarks[1:] = [[f"Result: {text}" for text in of_result] for of_result in remarks[1:]]
            types = [self._linked(self._notation.at(at)) for at in places]
            rows.append(_row(place, each.name, types, [each.description, *chain(*remarks)]))
        return f"<h2>{title}</h2>\n{_table([kind, *parts, ''], rows)}"

    def types(self) -> str:
        named = self._notation.shapes.named.items()
        return "<h2>Types</h2>\n" + "\n".join(self._class(name, shape) for name, shape in named) if named else ""

    def _class(self, name: str, shape: Named) -> str:
        head = f'<h3 id="type.{escape(name)}">{escape(name)}</h3>\n{_paragraph(description_of(shape))}'
        if isinstance(shape, inspect.EnumType):
            values = " | ".join(json.dumps(each.value) for each in shape.cls)
            return f"{head}<p><code>{escape(values)}</code></p>"
        rows = [_row(None, tag[0], [escape(json.dumps(tag[1]))], [])] if (tag := tag_of(shape)) else []
        rows += [self._member(name, field) for field in shape.fields]
        is_row = isinstance(shape, inspect.NamedTupleType) or getattr(shape, "array_like", False)
        note = '<p class="quiet">An array, in this order.</p>' if is_row else ""
        return head + note + _table(["member", "type", ""], rows)

    def _member(self, name: str, field: inspect.Field) -> str:
        default = default_of(field)
        remarks = remarks_on(field.type)
        if default is not UNSET:
            remarks.append(f"Default: {json.dumps(default, ensure_ascii=False)}.")
        type = self._linked(self._notation.type(field.type, f"{name}.{field.name}"))
        return _row(None, field.encode_name + ("" if field.required else "?"), [type], remarks)

    def _linked(self, type: str) -> str:
        """A type with the names of classes as links, and text that looks like them left alone."""
        parts, end = [], 0
        for match in self._classes.finditer(type):
            parts.append(escape(type[end : match.start()]))
            word, end = match.group(), match.end()
            parts.append(escape(word) if word[0] == '"' else f'<a href="#type.{escape(word)}">{escape(word)}</a>')
        return "".join([*parts, escape(type[end:])])


def _table(columns: list[str], rows: list[str]) -> str:
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "\n".join(rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _row(id: str | None, name: str, types: list[str], remarks: list[Any]) -> str:
    anchor = "" if id is None else f' id="{escape(id)}"'
    cells = "".join(f"<td><code>{type}</code></td>" for type in types)
    return f"<tr{anchor}><td>{escape(name)}</td>{cells}<td>{_paragraph(' '.join(filter(None, remarks)))}</td></tr>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n" if text else ""
