"""``ipc.log``, styles, escaping of foreign text, and the limit on the library's own lines."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import enum
import io
import json
import logging
import pickle
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_ipc.config import logs
from node_ipc.config.config import Config
from node_ipc.config.foreign import last_resort
from node_ipc.config.logs import Log, RateLimited, Styled, escape, logger, style
from node_ipc.drivers.memory import MemoryDriver
from tls_certificates import identity

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *BIDI,
    "\u2028",
    "\u2029",
    "\ud800",
    "\udfff",
]


def hostile() -> Iterator[str]:
    """200 payloads that try to forge, colour, hide or flood log lines."""
    attacks = [
        "\x1b[31mred\x1b[0m",
        "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
        "\x1b]0;title\x07",
        "\x9b31m",
        "\x9d8;;x\x9c",
        "ok\r\n2024-01-01 00:00:00 INFO forged line",
        "ok\nforged",
        "\x08\x08\x08overwritten",
        "[/x] [link=https://example.org]rich[/link]",
        "%s%s%s%n%(x)s {0} {x!r}",
        "safe\u202egpj.exe",
        "\u2066isolate\u2069",
        "zero\u200bwidth\ufeff",
        "\U000e0041\U000e0042 tags",
        "\ud800 lone",
        "x" * 1024 * 1024,
        "\x1b" * 1024 * 1024,
        "é😀" * 1000,
        "",
        "\0",
    ]
    yield from attacks
    for control in CONTROLS:
        yield f"before{control}after"
    chance = random.Random(50)
    for _ in range(200 - len(attacks) - len(CONTROLS)):
        yield "".join(chance.choice([*CONTROLS, "a", " ", "é", "%", "["]) for _ in range(chance.randrange(600)))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM", "WT_SESSION", "ANSICON", "CONEMUANSI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def config(lines: list[str]) -> Config:
    return Config(logger=lines.append)


def shown(*args: object, **options: Any) -> str:
    seen: list[str] = []
    Log(Config(logger=seen.append, **options))(*args)
    [line] = seen
    assert type(line) is str
    return line


# --- escape


@pytest.mark.row(50)
def test_peer_text_is_one_short_printable_line() -> None:
    payloads = list(hostile())
    assert len(payloads) == 200
    for payload in payloads:
        text = escape(payload)
        assert text.isprintable(), payload
        assert len(text) <= 256
        assert bool(text) is bool(payload)
        text.encode()  # raises where a lone surrogate is left


@pytest.mark.row(50)
def test_peer_text_in_a_log_record_is_one_short_printable_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = iter(range(0, 100_000, 10)).__next__
    limited = RateLimited(clock)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.logger.addHandler(handler)
    try:
        for payload in hostile():
            stream.seek(0)
            stream.truncate()
            for arg in (payload, ValueError(payload), {payload: 1}):
                limited.log(logging.WARNING, "peer says %s.", arg)
                [line] = stream.getvalue().splitlines()
                assert line.isprintable()
                assert line.startswith("peer says ")
                assert len(line) <= 256 + len("peer says .")
                stream.seek(0)
                stream.truncate()
    finally:
        logger.logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain é 😀", "plain é 😀"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x00\x1b\x7f\x9b", "\\x00\\x1b\\x7f\\x9b"),
        ("\u202e\u2028\ud800", "\\u202e\\u2028\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_escapes(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("abcde", 5, "abcde"),
        ("abcdef", 5, "abcd…"),
        ("abc\n", 5, "abc\\n"),
        ("abcd\n", 5, "abcd…"),
        ("abc\nd", 5, "abc…"),
        ("\x1b\x1b", 3, "…"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
        ("", 0, ""),
    ],
)
def test_cuts_between_escapes(text: str, limit: int, cut: str) -> None:
    assert escape(text, limit) == cut


@given(st.text(st.characters()), st.integers(0, 40))
@pytest.mark.row(50)
def test_escaped_text_is_printable_and_within_its_limit(text: str, limit: int) -> None:
    result = escape(text, limit)
    assert result.isprintable()
    assert len(result) <= limit
    if text.isprintable() and len(text) <= limit:
        assert result == text


# --- ipc.log: lines


def test_joins_its_arguments_by_one_space_into_one_string(config: Config, lines: list[str]) -> None:
    log = Log(config)
    log("got a message :", "hello", 5, None, True, 1.5)
    log()
    log("")
    assert lines == ["got a message : hello 5 None True 1.5", "", ""]


def test_the_default_logger_prints(capsys: pytest.CaptureFixture[str]) -> None:
    Log(Config())("hello", {"a": 1})
    assert capsys.readouterr().out == "hello {'a': 1}\n"


def test_silence_builds_nothing_and_is_read_at_each_call(config: Config, lines: list[str]) -> None:
    class Watched:
        def __repr__(self) -> str:
            lines.append("built")
            return "watched"

    log = Log(config)
    config.silent = True
    log(Watched())
    assert lines == []
    config.silent = False
    log(Watched())
    assert lines == ["built", "watched"]
    others: list[str] = []
    config.logger = others.append
    config.log_depth = 0
    log([[1]])
    assert others == ["[[…]]"]


def test_control_characters_of_text_are_escaped() -> None:
    assert shown("a\tb\nc") == "a\tb\nc"
    for control in CONTROLS:
        line = shown(f"x{control}y", style.debug(f"x{control}y"), f"{control}")
        if control not in "\n\t":
            assert control not in line
        assert line.startswith("x")


def test_text_of_other_languages_is_left_alone() -> None:
    text = "日本語\u3000 👩\u200d👧 हिन्दी \u200c é\xa0"
    assert shown(text) == text


@pytest.mark.row(50)
def test_hostile_payloads_have_no_control_characters_in_ipc_log() -> None:
    controls = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")}
    unsafe = {*controls, *BIDI} - {"\n", "\t"}
    for payload in hostile():
        for line in (
            shown(payload),
            shown({payload: [payload]}),
            shown(ValueError(payload)),
            shown((payload,)),
        ):
            assert unsafe.isdisjoint(line)


def test_an_output_that_cannot_hold_the_text_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", newline="\n"))
    Log(Config())("é", "😀")
    sys.stdout.flush()
    assert raw.getvalue() == b"\\xe9 \\U0001f600\n"


def test_a_failing_logger_is_reported_and_harms_nobody(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    def fails(line: str) -> None:
        raise OSError(line)

    config.logger = fails
    log = Log(config)
    log("hello")
    log("hello again")
    [record] = caplog.records
    assert "config.logger failed" in record.getMessage() and "OSError('hello')" in record.getMessage()


# --- ipc.log: objects


class Colour(enum.Enum):
    RED = 1


class Text(enum.StrEnum):
    HELLO = "hello"


@dataclasses.dataclass
class Order:
    id: int
    items: list[Any]
    secret: str = dataclasses.field(default="hidden", repr=False)


@dataclasses.dataclass
class Private:
    password: str

    def __repr__(self) -> str:
        return "Private(…)"


class Point(msgspec.Struct):
    x: int
    y: Any = None


class PrivatePoint(msgspec.Struct):
    x: int

    def __repr__(self) -> str:
        return "PrivatePoint"


Pair = collections.namedtuple("Pair", "left right")


class Bag(list[Any]):
    pass


class Plain:
    def __repr__(self) -> str:
        return "line\n\x1b[31m"


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no")


class BrokenList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise OSError


def caused() -> Exception:
    error = ValueError("outer")
    error.__cause__ = KeyError("inner")
    return error


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({}, "{}"),
        ([], "[]"),
        ((), "()"),
        (set(), "set()"),
        (frozenset(), "frozenset({})"),
        ((1,), "(1,)"),
        ((1, "a"), "(1, 'a')"),
        ({3}, "{3}"),
        (frozenset({3}), "frozenset({3})"),
        (collections.deque([1]), "deque([1])"),
        ({"a": [1, {"b": None}], 2: True}, "{'a': [1, {'b': None}], 2: True}"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (collections.Counter("a"), "Counter({'a': 1})"),
        (Bag([1]), "Bag([1])"),
        (Pair(1, [2]), "Pair(left=1, right=[2])"),
        (Order(1, ["x"]), "Order(id=1, items=['x'])"),
        (Order, f"<class '{__name__}.Order'>"),
        (Point, f"<class '{__name__}.Point'>"),
        (Private("x"), "Private(…)"),
        ([Private("x")], "[Private(…)]"),
        (Point(1, {"a": 1}), "Point(x=1, y={'a': 1})"),
        (PrivatePoint(1), "PrivatePoint"),
        (Colour.RED, "<Colour.RED: 1>"),
        (Text.HELLO, "hello"),
        (b"\x05ml\n", "b'\\x05ml\\n'"),
        (bytearray(b"ab"), "b'ab'"),
        (memoryview(b"ab"), "b'ab'"),
        (array.array("b", [1]), "array('b', [1])"),
        (b"x" * 1064, "b'" + "x" * 64 + "'… 1,000 more bytes"),
        (ValueError("bad\x07"), "ValueError: bad\\x07"),
        (ValueError(), "ValueError"),
        (caused(), "ValueError: outer (from KeyError: 'inner')"),
        (Plain(), "line\n\\x1b[31m"),
        (Broken(), "<Broken: cannot be shown, ValueError>"),
        ([Broken(), 1], "[<Broken: cannot be shown, ValueError>, 1]"),
        (BrokenList([1]), "<BrokenList: cannot be shown, OSError>"),
        (["\x1b\u202e\n"], "['\\x1b\\u202e\\n']"),
        (["a" * 10_005], "[\n  '" + "a" * 10_000 + "'… 5 more characters\n]"),
        (10**5000, "<int: cannot be shown, ValueError>"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_shows(value: object, line: str) -> None:
    assert shown(value) == line


def test_a_class_keeps_its_own_repr_on_a_collection() -> None:
    class Hidden(dict[str, Any]):
        def __repr__(self) -> str:
            return "Hidden"

    assert shown(Hidden(key="secret"), [Hidden(key="secret")]) == "Hidden [Hidden]"


def test_long_reprs_are_cut() -> None:
    class Long:
        def __repr__(self) -> str:
            return "y" * 10_001

    assert shown(Long()) == "y" * 10_000 + "… 1 more characters"
    assert shown(ValueError("z" * 20_000)).endswith("z… 10,012 more characters")


def nested(levels: int) -> Any:
    value: Any = {}
    for level in range(levels, 0, -1):
        value = {level: value} if level % 2 else [value]
    return value


@pytest.mark.parametrize(
    ("depth", "line"),
    [
        (0, "{1: […]}"),
        (1, "{1: [{…}]}"),
        (2, "{1: [{3: […]}]}"),
        (3, "{1: [{3: [{}]}]}"),
        (None, "{1: [{3: [{}]}]}"),
    ],
)
def test_depth_counts_the_levels_below_the_first(depth: int | None, line: str) -> None:
    assert shown(nested(4), log_depth=depth) == line


def test_depth_goes_for_records_and_keys_too() -> None:
    assert shown([Order(1, [])], [Point(1)], [Pair(1, 2)], {(1, 2): 3}, [set(), ()], log_depth=0) == (
        "[Order(…)] [Point(…)] [Pair(…)] {(…): 3} [set(), ()]"
    )


def test_cycles_end() -> None:
    ring: list[Any] = [1]
    ring.append({"ring": ring})
    twice = [7]
    assert shown(ring, [twice, twice]) == "[1, {'ring': [<cycle>]}] [[7], [7]]"


@pytest.mark.row(6)
def test_depth_without_limit_ends_with_the_interpreters() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        assert "…" in shown(deep, log_depth=None)
    finally:
        while deep:  # freeing it nested this deeply is left to nobody
            deep = deep[0]


def test_long_collections_are_cut() -> None:
    assert shown(list(range(1000))).endswith("98, 99, … 900 more\n]")
    assert shown({at: at for at in range(1101)}).endswith("98: 98, 99: 99,\n  … 1,001 more\n}")


def test_nested_collections_are_cut_as_a_whole() -> None:
    level: Any = ["leaf"] * 100
    for _ in range(4):
        level = [level] * 100  # 100 million leaves
    text = shown(level)
    assert text.count("leaf") <= 5_000
    assert len(text) < 500_000


def test_wide_objects_get_a_line_for_each_item() -> None:
    value = {"name": "x" * 40, "other": ["y" * 40, "z" * 40]}
    assert shown(value) == (
        "{\n"
        f"  'name': '{'x' * 40}',\n"
        f"  'other': [\n    '{'y' * 40}',\n    '{'z' * 40}'\n  ]\n"
        "}"
    )  # fmt: skip
    assert shown(["x" * 68]) == f"['{'x' * 68}']"
    assert shown(["x" * 69]) == f"[\n  '{'x' * 69}'\n]"
    assert shown([Plain()]) == "[\n  line\n  \\x1b[31m\n]"


def test_short_items_share_lines() -> None:
    text = shown(list(range(60)))
    rows = text.splitlines()
    assert rows[0] == "[" and rows[-1] == "]"
    assert 3 < len(rows) < 8
    assert all(len(row) <= 2 + 72 + 1 for row in rows)
    assert [int(number) for number in text.strip("[]").split(",")] == list(range(60))


# --- styles and colours

NAMES = [
    "data",
    "debug",
    "error",
    "good",
    "help",
    "info",
    "input",
    "notice",
    "prompt",
    "rainbow",
    "silly",
    "verbose",
    "warning",
]


@pytest.mark.parametrize("name", NAMES)
def test_styled_text_is_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dress: Callable[[object], Styled] = getattr(style, name)
    text = dress("got a message :")
    assert text == "got a message :"
    assert isinstance(text, str)
    assert hash(text) == hash("got a message :")
    assert dress(5) == "5"
    assert text.style == ("rainbow" if name == "silly" else name)
    for twin in (copy.copy(text), copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert (twin, twin.style, type(twin)) == (text, text.style, Styled)
    assert shown(text, "x") == "got a message : x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = shown(text, "x")
    assert coloured.startswith("\x1b[") and coloured.endswith("\x1b[0m x")
    assert logs._ANSI.sub("", coloured) == "got a message : x"


def test_there_are_no_other_styles() -> None:
    assert [name for name in dir(style) if not name.startswith("_")] == NAMES
    assert {*logs._STYLES, "rainbow", "silly"} == set(NAMES)


def test_an_unknown_style_is_no_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown(Styled("x", "america")) == "x"


def test_colours_of_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    value = {"a": 1, "b": [None, b"x", ValueError("no"), Colour.RED]}
    assert shown(value) == (
        "{\x1b[32m'a'\x1b[0m: \x1b[33m1\x1b[0m, \x1b[32m'b'\x1b[0m: [\x1b[33mNone\x1b[0m, "
        "\x1b[32mb'x'\x1b[0m, \x1b[31mValueError: no\x1b[0m, <Colour.RED: 1>]}"
    )
    plain = logs._ANSI.sub("", shown(list(range(60))))
    monkeypatch.delenv("FORCE_COLOR")
    assert plain == shown(list(range(60)))  # codes take no room on the screen


def test_foreign_codes_do_not_pass_in_colour_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown(style.good("\x1b[31m")) == "\x1b[32m\\x1b[31m\x1b[0m"
    assert shown(style.rainbow("a\x07")).count("\x07") == 0


class Output(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environ", "options", "coloured"),
    [
        (True, {}, {}, True),
        (False, {}, {}, False),
        (True, {}, {"log_in_color": False}, False),
        (True, {"NO_COLOR": "1"}, {}, False),
        (True, {"NO_COLOR": ""}, {}, True),
        (True, {"TERM": "dumb"}, {}, False),
        (False, {"FORCE_COLOR": "1"}, {}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, {}, True),
        (False, {"FORCE_COLOR": "1"}, {"log_in_color": False}, False),
        (True, {"FORCE_COLOR": "0"}, {}, False),
        (True, {"FORCE_COLOR": "false"}, {}, False),
        (True, {"FORCE_COLOR": ""}, {}, True),
    ],
)
def test_when_there_is_colour(
    terminal: bool,
    environ: dict[str, str],
    options: dict[str, Any],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_WINDOWS", False)
    monkeypatch.setattr(sys, "stdout", output := Output(terminal))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    Log(Config(**options))(style.debug("x"), [1])
    expected = "\x1b[34mx\x1b[0m [\x1b[33m1\x1b[0m]\n" if coloured else "x [1]\n"
    assert output.getvalue() == expected


def test_a_logger_of_ones_own_gets_no_colour_unless_forced(
    config: Config, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Output(True))
    Log(config)(style.debug("x"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    Log(config)(style.debug("x"))
    assert lines == ["x", "\x1b[34mx\x1b[0m"]


def test_an_old_windows_console_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_WINDOWS", True)
    monkeypatch.setattr(sys, "stdout", output := Output(True))
    Log(Config())(style.debug("x"))
    monkeypatch.setenv("WT_SESSION", "1")
    Log(Config())(style.debug("x"))
    assert output.getvalue() == "x\n\x1b[34mx\x1b[0m\n"


def test_no_output_or_a_closed_one_has_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    Log(Config())(style.debug("x"))  # print does nothing then
    assert logs._shows_colour(print) is False
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert logs._shows_colour(print) is False


# --- the library's own lines


def test_the_librarys_logger_is_quiet_by_itself() -> None:
    assert logger.name == "node_ipc"
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.logger.handlers)
    assert logger.logger.propagate
    assert logger.logger.level == logging.NOTSET
    code = "import sys, node_ipc.config.logs as l; l.logger.warning('x'); print({'asyncio', 'ssl'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_five_lines_a_second(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    limited = RateLimited(clock)
    caplog.set_level(logging.INFO, "node_ipc")
    assert [limited.log(logging.INFO, "line %d of %s", at, "peer") for at in range(8)] == [True] * 5 + [False] * 3
    clock.now = 0.999
    assert limited.log(logging.INFO, "too soon") is False
    clock.now = 1.0
    assert limited.log(logging.INFO, "again %.1f", 1.5) is True
    assert limited.log(logging.INFO, "and again") is True
    assert caplog.messages == [
        *[f"line {at} of peer" for at in range(5)],
        "again 1.5 (4 lines before this one were left out)",
        "and again",
    ]
    assert {record.filename for record in caplog.records} == {"test_logs.py"}


@given(st.lists(st.floats(0, 0.5), max_size=60), st.integers(1, 6))
def test_never_more_lines_in_any_second(steps: list[float], most: int) -> None:
    clock = Clock()
    limited = RateLimited(clock, lines=most, seconds=1.0)
    passed = []
    for step in steps:
        clock.now += step
        if limited.log(logging.WARNING, "line"):
            passed.append(clock.now)
    for first, last in zip(passed, passed[most:], strict=False):
        assert last - first >= 1.0
    assert passed[:1] == [sum(steps[:1])][: len(steps[:1])]


def test_a_level_that_nobody_hears_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "node_ipc")
    limited = RateLimited(Clock())
    assert not any(limited.log(logging.DEBUG, "unheard") for _ in range(100))
    assert limited.log(logging.WARNING, "heard")
    assert caplog.messages == ["heard"]


def test_the_end_of_a_flood_is_told_by_a_timer(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    limited = RateLimited(driver.now, driver.call_later, what="lines about peers")
    for _ in range(8):
        limited.log(logging.WARNING, "a line")
    driver.advance(0.99)
    assert caplog.messages == ["a line"] * 5
    driver.advance(0.02)
    assert caplog.messages == ["a line"] * 5 + ["3 more lines about peers were left out"]
    driver.advance(10)
    assert len(caplog.messages) == 6
    assert driver.next_due() is None


def test_what_was_left_out_is_told_once_a_second_and_nothing_twice(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    limited = RateLimited(driver.now, driver.call_later)
    for _ in range(1000):
        limited.failure("a failure", None)
        driver.advance(0.01)
    driver.advance(2)
    assert len(caplog.messages) <= 5 * 10 + 11
    left_out = sum(int(number) for line in caplog.messages for number in re.findall(r"\d+", line))
    written = sum(line.startswith("a failure") for line in caplog.messages)
    assert written + left_out == 1000
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_closing_tells_at_once_and_leaves_no_timer(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    limited = RateLimited(driver.now, driver.call_later)
    for _ in range(7):
        limited.log(logging.INFO + 10, "a line")
    limited.close()
    limited.close()
    assert caplog.messages[5:] == ["2 more lines were left out"]
    assert driver.next_due() is None


FULL = """
import asyncio, sys, node_ipc

async def main():
    options = {"socket_root": sys.argv[1], "retry": 10, "retry_growth": 1}
    async with node_ipc.serve("world", max_connections=1, **options), node_ipc.connect("world", **options):
        async with node_ipc.connect("world", **options) as second:
            while second.stats().retries < 4:
                await asyncio.sleep(0.01)

asyncio.run(main())
"""


def test_where_there_is_no_stderr_nothing_is_written_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw, or in a shell's 2>&-
    last_resort("a line for people")
    assert capsys.readouterr().out == ""


def test_a_full_server_is_told_of_on_stderr_while_logging_is_not_set_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"{tmp_path}/"], capture_output=True, text=True, check=True, timeout=60
    )
    server, why, client = done.stderr.splitlines()
    assert why.startswith("(Such lines are on stderr until logging is set up"), "said once"
    assert server.startswith("node_ipc: <Server ") and "max_connections (1) is reached" in server
    assert client.startswith("node_ipc: <Client ") and "ended the link at once, 3 times in a row" in client
    assert done.stdout == ""


MISFIT = """
import asyncio, sys, node_ipc

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1], max_pending_bytes=100_000) as server:
        server.on("order", lambda data, socket: None, type=int)
        async with node_ipc.connect("world", socket_root=sys.argv[1], retry=10) as client:
            client.emit("order", "tea")
            while not server.stats().errors:
                await asyncio.sleep(0.01)
            while server.stats().errors < 2:
                server.broadcast("news", "x" * 50_000)

asyncio.run(main())
"""


def test_why_a_handler_is_not_called_and_who_is_cut_are_told_on_stderr_while_logging_is_not_set_up(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISFIT, f"{tmp_path}/"], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stderr.splitlines()
    assert "the payload of 'order' does not fit at $: Expected `int`, got `str`" in lines[0]
    assert 'its link is cut. Where only the newest message of an event counts, emit it with keep="latest"' in lines[2]
    assert "with slow_policy='drop_oldest' the oldest messages of all events would be lost instead" in lines[2]
    assert done.stdout == ""


MISSPELT = {
    "asyncio": """
import asyncio, sys, node_ipc

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1]) as server:
        server.on("message", lambda data, socket: server.stop())
        async with node_ipc.connect("world", socket_root=sys.argv[1]) as client:
            for name in ("mesage", "mesage", "news", "message"):
                client.emit(name, 1)
            await server.closed

asyncio.run(main())
""",
    "blocking": """
import sys, threading
from node_ipc import blocking

server = blocking.serve("world", socket_root=sys.argv[1])
server.on("message", lambda data, socket: server.stop())

def emit():
    with blocking.connect("world", socket_root=sys.argv[1]) as client:
        for name in ("mesage", "mesage", "news", "message"):
            client.emit(name, 1)

thread = threading.Thread(target=emit)
thread.start()
server.serve_forever()
thread.join()
""",
    "callbacks": """
import sys
from node_ipc import ipc

def served():
    ipc.server.on("message", lambda data, socket: ipc.stop())
    ipc.connect_to("world", connected)

def connected():
    for name in ("mesage", "mesage", "news", "message"):
        ipc.of.world.emit(name, 1)

ipc.config.id, ipc.config.socket_root, ipc.config.log_in_color = "world", sys.argv[1], False
ipc.config.logger = lambda *line: print(*line, file=sys.stderr)
ipc.serve(served)
ipc.server.start()
ipc.run()
""",
    "a callback client": """
import sys
from node_ipc import ipc

def greet(socket):
    for name in ("mesage", "mesage", "news", "message"):
        ipc.server.emit(socket, name, 1)

def served():
    ipc.server.on("connect", greet)
    ipc.connect_to("world", lambda: ipc.of.world.on("message", lambda data: ipc.stop()))

ipc.config.id, ipc.config.socket_root, ipc.config.log_in_color = "world", sys.argv[1], False
ipc.config.logger = lambda *line: print(*line, file=sys.stderr)
ipc.serve(served)
ipc.server.start()
ipc.run()
""",
}


@pytest.mark.parametrize("program", MISSPELT)
def test_an_event_that_nobody_hears_and_that_may_be_misspelt_is_told_once(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSPELT[program], f"{tmp_path}/"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told = [line for line in done.stderr.splitlines() if "no handler hears them" in line]
    line, *others = told
    assert "events named 'mesage' come, and no handler hears them; there is one for 'message'" in line
    assert "misspelt? This is said once for each name" in line
    news = "events named 'news' come, and no handler hears them; there are some for 'message'. Register one, or"
    assert [news in other for other in others] == ([] if program == "a callback client" else [True])
    assert "Traceback" not in done.stderr


INTERRUPTED = """
import os, signal, sys
from node_ipc import ipc

def connected():
    ipc.of.world.on("error", lambda error: os.kill(os.getpid(), signal.SIGINT))
    for number in range(3):
        ipc.of.world.emit("message", number)

ipc.config.socket_root, ipc.config.log_in_color = sys.argv[1], False
ipc.config.logger = lambda *line: print(*line, file=sys.stderr)
ipc.connect_to("world", connected)
ipc.run()
"""
CLOSED = """
import asyncio, sys, node_ipc

async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1]) as server:
        client = await node_ipc.connect("world", socket_root=sys.argv[1], retry=60_000)
        await server.stop()
        while client.state.value == "connected":
            await asyncio.sleep(0.01)
        for number in range(3):
            client.emit("message", number)
        if len(sys.argv) > 2:
            client.on("disconnect", lambda loss: print(loss.dropped))
        await client.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("program", [INTERRUPTED, CLOSED])
def test_a_client_that_ends_says_how_much_was_never_sent(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, f"{tmp_path}/"], capture_output=True, text=True, check=True, timeout=60
    )
    told = [line for line in done.stderr.splitlines() if "never sent" in line]
    assert len(told) == 1 and "3 messages were emitted and never sent, and the client is closed" in told[0]


def test_a_handler_of_disconnect_is_told_what_was_never_sent_and_nobody_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, f"{tmp_path}/", "heard"], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


PLAIN = """
import asyncio, json, socket, sys, node_ipc

async def main():
    options = json.loads(sys.argv[1])
    async with node_ipc.serve("tcp://127.0.0.1:0", **options) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(plain, b'{"type":"message","data":1}\\f')
            while not server.stats().errors:
                await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.mark.parametrize("silent", [False, True])
def test_a_plain_client_of_a_tls_server_is_told_on_stderr_while_logging_is_not_set_up(silent: bool) -> None:
    one = identity("localhost", names=["localhost"])
    options = json.dumps({"tls": one.options, "silent": silent})
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, options], capture_output=True, text=True, check=True, timeout=60
    )
    if silent:
        assert done.stderr == ""
    else:
        assert done.stderr.startswith("node_ipc: <Server tls://127.0.0.1:") and "TLS with " in done.stderr
        assert "does not speak TLS" in done.stderr


FAILING = """
import sys
from node_ipc import IPC

ipc = IPC()
ipc.config.update(socket_root=sys.argv[1], id="world", silent=sys.argv[2] == "silent")
ipc.serve()
ipc.server.on("message", lambda data: 1 / 0)
ipc.server.on("order", lambda data: None, type=int)
ipc.server.on("end", ipc.stop)
ipc.server.start()

def begin(ipc):
    for name in ("message", "order", "end"):
        ipc.of.world.emit(name, "tea")

ipc.connect_to("world", begin)
ipc.run()
"""


@pytest.mark.parametrize("mode", ["loud", "silent"])
def test_the_callback_front_tells_each_thing_once(tmp_path: Path, mode: str) -> None:
    """In its own log, where that is not silent; mistakes in the program on stderr, where it is."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING, f"{tmp_path}/", mode], capture_output=True, text=True, check=True, timeout=60
    )
    said, elsewhere = (done.stdout, done.stderr) if mode == "loud" else (done.stderr, done.stdout)
    assert said.count("Traceback") == said.count("ZeroDivisionError: division by zero") == 1
    assert elsewhere == ""
    assert said.count("does not fit") == 1


SILENT = {
    "callbacks": """
import sys
from node_ipc import ipc
ipc.config.update(socket_root=sys.argv[1], id="world", silent=True)
ipc.serve()
server = ipc.server
register()
server.start()
def begin(ipc):
    emit(ipc.of.world)
ipc.connect_to("world", begin)
ipc.disconnect("wrold")
ipc.connect_to()
ipc.config.max_message_size = 1000
server.on("end", ipc.stop)
ipc.run()
""",
    "asyncio": """
import asyncio, sys, node_ipc
async def main():
    global server
    async with node_ipc.serve("world", socket_root=sys.argv[1], silent=True) as server:
        register()
        async with node_ipc.connect("world", socket_root=sys.argv[1], silent=True) as client:
            emit(client)
            await client.request("end")
asyncio.run(main())
""",
    "blocking": """
import sys, threading
from node_ipc import blocking
def ask():
    with blocking.connect("world", socket_root=sys.argv[1], silent=True) as client:
        emit(client)
        client.request("end")
    server.stop()
with blocking.serve("world", socket_root=sys.argv[1], silent=True) as server:
    register()
    threading.Thread(target=ask).start()
    server.serve_forever()
""",
}
REGISTER = """
def register():
    server.on("connected", print)
    server.on("order", print, type=int)
    server.handle("end", lambda: None)
def emit(client):
    for name in ("order", "ordr", "odrer", "order", "end"):
        client.emit(name, "tea")
"""


@pytest.mark.parametrize("front", SILENT)
def test_mistakes_in_the_program_are_told_also_where_all_is_silent(tmp_path: Path, front: str) -> None:
    """Of those that peers can cause the first, so that they fill no disk."""
    lines = REGISTER + SILENT[front]
    done = subprocess.run(
        [sys.executable, "-c", lines, f"{tmp_path}/"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    said = done.stderr
    assert (
        said.count("does not fit") == said.count("no handler hears them") == said.count("a handler of 'connected'") == 1
    ), said
    if front == "callbacks":
        assert "There is no client wrold to disconnect. Did you mean 'world'?" in said
        assert "Service id required" in said and "config.max_message_size was set too late" in said


class Undirected:
    def __dir__(self) -> list[str]:
        raise LookupError("nobody may look")


@pytest.mark.parametrize(
    ("owner", "name", "says"),
    [
        (logging.getLogger(), "handlerz", "no attribute 'handlerz'. Did you mean: 'handlers'?"),
        (object(), "nothing_like_it", "no attribute 'nothing_like_it'"),
        (Undirected(), "handlerz", "no attribute 'handlerz'"),
    ],
)
def test_a_misspelt_attribute_in_a_handler_has_python_s_hint(owner: Any, name: str, says: str) -> None:
    with pytest.raises(AttributeError) as failed:
        getattr(owner, name)
    assert logs.traceback_of(failed.value).endswith(says)
