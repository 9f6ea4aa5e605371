"""No regular expression of the library goes over a text twice: what a peer or a user writes cannot make one slow.

Each is tried on long texts of its own characters, which begin as it likes and do not end so. A pattern that looks from
each character to the end of the text, or tries one part in several ways, takes minutes for what others do in a moment.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]  # which knows what a pattern is made of
from typing import Any, NamedTuple

import pytest

import node_ipc

SOURCE = Path(node_ipc.__file__).parent
CALLS = ("compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub")
LENGTHS = (24, 25_000)
"""Characters: what tries all ways takes long for the few, what looks twice for the many; the rest, a millisecond."""
SECONDS = 0.1
MOST_CHARACTERS = 5
FROM_OTHERS = {"contract.structs": "a schema's own pattern, which is only compiled"}


class Pattern(NamedTuple):
    """One that stands in the sources, and what it is for."""

    module: str
    line: int
    calls: frozenset[str]
    text: Any

    def __str__(self) -> str:
        return f"{self.module}:{self.text!r:.60}"


def patterns() -> Iterator[Pattern]:
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        source = path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            called = node.func if isinstance(node, ast.Call) else None
            if not isinstance(called, ast.Attribute) or called.attr not in CALLS or not _is_re(called.value):
                continue
            assert isinstance(node, ast.Call)
            text = _text(node.args[0])
            if text is None:
                assert module in FROM_OTHERS, f"{path}:{node.lineno}: what is compiled here?"
            else:
                yield Pattern(module, node.lineno, _calls(called.attr, source, node.lineno), text)


def _calls(call: str, source: str, line: int) -> frozenset[str]:
    """How a pattern is used; of one that is kept under a name, what is called of that. All ways where none shows."""
    if call != "compile":
        return frozenset({call})
    name = source.splitlines()[line - 1].partition("=")[0].strip()
    used = frozenset(re.findall(rf"\b{re.escape(name)}\.([a-z]+)\(", source))
    return used & frozenset(CALLS) or frozenset({"match", "sub"})


def _is_re(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "re"


def _text(node: ast.expr) -> Any:
    """A literal one; in one that is put together, a name stands for each part that is not."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "name" for part in node.values)
    return node.value if isinstance(node, ast.Constant) else None


def characters(parsed: Any) -> Iterator[str]:
    """Some that the pattern speaks of: what it names, and one or two of each class."""
    for kind, value in parsed:
        name = str(kind)
        if name in ("LITERAL", "NOT_LITERAL"):
            yield chr(value)
        elif name == "RANGE":
            yield chr(value[0])
        elif name == "CATEGORY":
            yield {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "7"}.get(str(value), "w")
        elif name == "ANY":
            yield "w"
        elif name == "IN":
            yield from characters(value)
        else:
            yield from _inside(value)


def _inside(value: Any) -> Iterator[str]:
    if isinstance(value, _parser.SubPattern):
        yield from characters(value)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _inside(each)


def literals(text: str) -> list[str]:
    """The words in it, as ``Annotated[``."""
    plain = re.sub(r"\\(.)", r"\1", text)
    return [word for word in re.findall(r"[\w/#\"\[{ ]{3,}", plain) if word.strip()][:4]


def hostile(pattern: Pattern) -> Iterator[str]:
    text = pattern.text.decode("latin-1") if isinstance(pattern.text, bytes) else pattern.text
    found = list(dict.fromkeys(characters(_parser.parse(text))))
    some = [*found[: MOST_CHARACTERS - 2], *found[-2:], "w"]
    words = literals(text)
    pumps = {*some, *map("".join, product(some, repeat=2)), *words, *(f"{word}w, " for word in words)}
    for length, start, pump, end in product(LENGTHS, ["", *words[:2]], sorted(pumps), ["", "\0"]):
        yield start + pump * (length // len(pump)) + end


def tried(pattern: Pattern) -> Callable[[Any], object]:
    """As it is used: over the whole text, or once."""
    compiled = re.compile(pattern.text)
    once = [getattr(compiled, call) for call in pattern.calls & {"fullmatch", "match", "search"}]
    if pattern.calls - {"fullmatch", "match", "search"}:
        once.append(lambda text: sum(1 for _ in compiled.finditer(text)))
    return lambda text: [each(text) for each in once]


def slowest(pattern: Pattern) -> str | None:
    """The first text for which it takes long."""
    apply = tried(pattern)
    for text in hostile(pattern):
        given: Any = text.encode("utf-8") if isinstance(pattern.text, bytes) else text
        began = time.thread_time()
        apply(given)
        if time.thread_time() - began >= SECONDS:
            return f"{text[:40]!r} and so on"
    return None


@pytest.mark.parametrize("pattern", list(patterns()), ids=str)
def test_each_pattern_is_done_with_a_text_in_one_go(pattern: Pattern) -> None:
    assert slowest(pattern) is None


@pytest.mark.parametrize("bad", [r"(w+)+$", r"\{[^}]*\}", r"a.*b.*c", r'"(?:[^"\\]|\\.)*"'])
def test_a_pattern_that_goes_over_its_text_again_is_found(bad: str) -> None:
    assert slowest(Pattern("here", 0, frozenset({"search"}), bad)) is not None
