"""What is said to people: ``ipc.log`` with its styles, and the library's own log lines.

``Log`` is node-ipc's ``ipc.log``: the user's lines, on the screen unless ``config.logger`` says otherwise.
``logger`` is the standard library's, named ``node_ipc``, with a ``NullHandler``: the library's own lines,
which appear where the application configures logging.

Two rules: nothing is built for a line that nobody sees, and no text reaches an output with control characters
in it, since it may have come from a peer (what ``escape`` and ``Log`` do about it, they do for all text).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BackpressureError, ConnectTimeout, HandlerError, InvalidPayload, IPCError, ProtocolError, TLSError
from .foreign import PASSING, is_heard, last_resort, report, shown, text_of

if TYPE_CHECKING:
    from mmap import mmap
    from typing import Protocol

    from .config import Config

    class Timer(Protocol):
        """What ``later`` gives."""

        def cancel(self) -> None: ...


__all__ = [
    "UNSAFE",
    "FaultLog",
    "Log",
    "RateLimited",
    "Styled",
    "escape",
    "is_cut_for",
    "logger",
    "slow_links",
    "style",
    "traceback_of",
    "with_hint",
]

logging.getLogger("node_ipc").addHandler(logging.NullHandler())


class _Lines(logging.LoggerAdapter[logging.Logger]):
    """The standard library's logger; a handler or filter of the user's that raises costs its line and nothing else."""

    _told = False
    _explained: bytearray | mmap = bytearray(1)

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        try:
            if self.isEnabledFor(level):
                self.logger.log(level, msg, *args, **{**options, "stacklevel": options.get("stacklevel", 1) + 1})
        except PASSING:
            raise
        except BaseException as error:
            self._failed(error)

    def failure(
        self,
        message: str,
        error: BaseException | None,
        level: int = logging.ERROR,
        *,
        stderr: bool = True,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """An error with its traceback, in which the text of exceptions is escaped.

        Args:
            stderr: whether it goes there while logging is not set up, as asyncio's and logging's own last resort do.
            extra: attributes of the record, for machines.
        """
        try:
            if not self.isEnabledFor(level):
                return
            told = None if error is None else (type(error), error, error.__traceback__)
            record = self.logger.makeRecord(self.logger.name, level, __file__, 0, message, (), told, extra=extra)
            record.exc_text = None if error is None else traceback_of(error)  # a formatter takes it as it is
            if is_heard(self.logger):
                self.logger.handle(record)
            elif stderr:
                last_resort("\n".join(filter(None, (f"node_ipc: {message}", record.exc_text, self._explanation()))))
        except PASSING:
            raise
        except BaseException as raised:
            self._failed(raised)

    def _explanation(self) -> str:
        """Why this is on stderr, once in a process."""
        first = not self._explained[0]
        self._explained[0] = 1
        return UNHEARD if first else ""

    def explain_once_in_all(self) -> None:
        """Once in this process and in those that it forks from now on, together."""
        import mmap  # only who forks needs it

        shared = mmap.mmap(-1, 1)
        shared[0] = self._explained[0]
        self._explained = shared

    def _failed(self, error: BaseException) -> None:
        if not self._told:
            self._told = True
            last_resort(f"node_ipc: logging failed, and is not told of again: {shown(error)}")


UNHEARD = (
    "(Such lines are on stderr until logging is set up, as by logging.basicConfig(). A handler of 'error' hears of "
    "links and of handlers that fail, and not of what may be a mistake in the program. This is said once.)"
)


logger = _Lines(logging.getLogger("node_ipc"), {})

PEER_TEXT = 256
"""How many characters of text from a peer are shown."""


# --- text ------------------------------------------------------------------------------------------------

# C0 but for new line and tab, DEL, C1; the marks, embeddings, overrides and isolates of bidirectional text;
# line and paragraph separators; lone surrogates. Joiners and wide spaces stay: languages and emoji use them.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal would obey, or show as what it is not, in text of several lines."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str, limit: int = PEER_TEXT) -> str:
    r"""Text from a peer, fit for a log line: one line, printable characters only, at most ``limit`` of them.

    What is not printable (``str.isprintable``) becomes ``\n``, ``\x1b``, ``\u202e``; longer text ends in an
    ellipsis, and no escape is cut in two.
    """
    kept: list[str] = []
    room = limit
    for character in text[: limit + 1]:
        shown = character if character.isprintable() else _escaped(character)
        kept.append(shown)
        room -= len(shown)
        if room < 0:
            return _cut(kept, limit)
    return "".join(kept)


def _cut(pieces: list[str], limit: int) -> str:
    """The first pieces, as many as fit before an ellipsis."""
    size = sum(map(len, pieces))
    while size >= limit and pieces:
        size -= len(pieces.pop())
    return "".join(pieces) + "…" if limit > 0 else ""


def _tame(text: str) -> str:
    """Text of ``ipc.log``, where new lines and tabs are allowed, with its control characters escaped."""
    return text.translate(_escapes()) if UNSAFE.search(text) else text


@cache
def _escapes() -> dict[int, str]:
    unsafe = filter(UNSAFE.match, map(chr, range(0x10000)))
    return {ord(character): _escaped(character) for character in unsafe}


MOST_CAUSES = 10
"""Exceptions behind an exception that are shown."""


def traceback_of(error: BaseException) -> str:
    """Its traceback as Python writes it, but for the text of each exception: that is one line, escaped and cut.

    A handler's ``raise ValueError(f"unknown user {data}")`` holds what a peer sent.
    """
    import traceback  # only a mistake pays for it

    parts: list[str] = []
    each: BaseException | None = error
    while each is not None and len(parts) < MOST_CAUSES:
        name = escape(type(each).__name__)
        frames = "".join(traceback.format_tb(each.__traceback__))
        above = f"Traceback (most recent call last):\n{frames}" if frames else ""  # it was never raised
        parts.append(f"{above}{name}: {escape(with_hint(each), TRACED_TEXT)}")
        hidden = None if each.__suppress_context__ else each.__context__
        each = each.__cause__ or hidden
    return "\n\nWhich led to:\n\n".join(reversed(parts))


def with_hint(error: BaseException) -> str:
    """Its text, and for a misspelt attribute the nearest one, as Python says at the end of a program."""
    text = text_of(error)
    if isinstance(error, AttributeError) and isinstance(error.name, str) and error.obj is not None:
        import difflib  # as above

        with contextlib.suppress(Exception):  # somebody else's dir
            for nearest in difflib.get_close_matches(error.name, dir(error.obj), 1):
                return f"{text}. Did you mean: {nearest!r}?"
    return text


TRACED_TEXT = 1000
"""How many characters of an exception's text are in a traceback."""


# --- styles ----------------------------------------------------------------------------------------------

_RESET = "\x1b[0m"
_ANSI = re.compile("\x1b\\[[0-9;]*m")

_COLOURS = {"Red.": 31, "Green.": 32, "Yellow.": 33, "Blue.": 34, "Magenta.": 35, "Cyan.": 36, "Grey.": 90}
_STYLES: dict[str, str] = {}
_RAINBOW = ("\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[34m", "\x1b[35m")


class Styled(str):
    """Text with the name of a style: ordinary text everywhere, and coloured where ``ipc.log`` may colour."""

    __slots__ = ("style",)

    style: str
    """The name of the style, as in ``style.debug``."""

    def __new__(cls, text: object, style: str) -> Styled:
        styled = super().__new__(cls, text)
        styled.style = style
        return styled

    def __reduce__(self) -> tuple[Any, ...]:
        return Styled, (str(self), self.style)


def _dressed(verb: str, says: str, style: str = "") -> staticmethod[[object], Styled]:
    def dress(text: object) -> Styled:
        return Styled(text, style or verb)

    if says in _COLOURS:
        _STYLES[verb] = f"\x1b[{_COLOURS[says]}m"
    dress.__name__, dress.__doc__ = verb, says
    return staticmethod(dress)


class _Styles:
    """``style.debug(text)`` and so on: node-ipc's examples dress their log lines in these."""

    __slots__ = ()

    data = _dressed("data", "Grey.")
    debug = _dressed("debug", "Blue.")
    error = _dressed("error", "Red.")
    good = _dressed("good", "Green.")
    help = _dressed("help", "Cyan.")
    info = _dressed("info", "Green.")
    input = _dressed("input", "Grey.")
    notice = _dressed("notice", "Magenta.")
    prompt = _dressed("prompt", "Grey.")
    rainbow = _dressed("rainbow", "Each character in the next colour.")
    silly = _dressed("silly", "Like ``rainbow``.", "rainbow")
    verbose = _dressed("verbose", "Cyan.")
    warning = _dressed("warning", "Yellow.")


style = _Styles()


def _painted(text: str, name: str) -> str:
    if name == "rainbow":
        return "".join(_RAINBOW[at % len(_RAINBOW)] + character for at, character in enumerate(text)) + _RESET
    return f"{_STYLES[name]}{text}{_RESET}" if name in _STYLES else text


# --- ipc.log ---------------------------------------------------------------------------------------------


class Log:
    """``ipc.log``: any number of arguments, joined by one space, go to ``config.logger`` as one string.

    Text is shown as it is, but for control characters other than new line and tab, which are escaped. Other
    objects are pretty-printed down to ``config.log_depth`` levels below their first, long ones are cut. With
    ``config.silent`` nothing is done at all. The options are read at each call. A logger that raises is reported
    once and harms nothing else.
    """

    __slots__ = ("_config", "_told")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._told = False

    def __call__(self, *args: object) -> None:
        config = self._config
        if config.silent:
            return
        colour = config.log_in_color and _shows_colour(config.logger)
        line = " ".join([_rendered(arg, config.log_depth, colour) for arg in args])
        try:
            try:
                config.logger(line)
            except UnicodeEncodeError:  # an output that knows fewer characters than the text has
                config.logger(line.encode("ascii", "backslashreplace").decode())
        except PASSING:
            raise
        except BaseException as error:  # nobody reads it (`| head`), the disk is full, or it is the user's and fails
            if not self._told:
                self._told = True
                report("config.logger", error)


_WINDOWS = sys.platform == "win32"
_COLOUR_CONSOLES = frozenset({"WT_SESSION", "ANSICON", "CONEMUANSI", "TERM"})


def _shows_colour(logger: Callable[..., Any]) -> bool:
    """Whether ``logger`` writes where colours show: a terminal, unless the environment says otherwise.

    ``FORCE_COLOR`` (other than 0) goes before ``NO_COLOR``, as in Node.
    """
    forced = os.environ.get("FORCE_COLOR")
    if forced:
        return forced not in ("0", "false")
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or logger is not print:
        return False
    if _WINDOWS and _COLOUR_CONSOLES.isdisjoint(os.environ):
        return False  # an old console prints the codes themselves
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # no output at all, or closed
        return False


def _rendered(value: object, depth: int | None, colour: bool) -> str:
    if isinstance(value, str):
        text = _tame(value)
        return _painted(text, value.style) if colour and isinstance(value, Styled) else text
    return _Inspector(depth, colour).show(value, 0)


LINE = 72
"""Characters; an object that fits goes on one line, another gets a line for each item."""
SHORT = 16
"""Characters; items no longer than this share a line where one object needs several lines."""
ITEMS = 100
"""How many items of one collection are shown."""
VALUES = 5_000
"""How many items of all collections inside one object are shown: nested ones multiply."""
CHARACTERS = 10_000
"""How much is shown of one text inside an object."""
BYTES = 64
"""How much is shown of one bytes object."""


class _Parts(NamedTuple):
    """A collection or a record, taken apart."""

    start: str
    end: str
    joint: str
    """Between label and item: ``": "`` (the label is an object), ``"="`` (a name) or nothing (no label)."""
    size: int
    items: Iterable[tuple[Any, Any]]
    """Labels and items."""


class _Inspector:
    """Shows one object, with limits on depth, length and number of items; cycles end."""

    def __init__(self, depth: int | None, colour: bool) -> None:
        self._depth = depth
        self._colour = colour
        self._open: set[int] = set()  # the collections around the current one
        self._values = VALUES

    def show(self, value: object, level: int = 0) -> str:
        try:
            return self._shown(value, level)
        except RecursionError:  # all levels were asked for, and the interpreter has a limit
            return "…"
        except PASSING:
            raise
        except BaseException as error:  # somebody else's repr, property or iterator
            return f"<{_type(value)}: cannot be shown, {_type(error)}>"

    def _shown(self, value: object, level: int) -> str:
        if isinstance(value, str):
            return self._paint(_quoted(value), "\x1b[32m")
        if isinstance(value, bytes | bytearray | memoryview):
            return self._paint(_bytes(value), "\x1b[32m")
        if isinstance(value, BaseException):
            return self._paint(_clipped(_exception(value)), "\x1b[31m")
        parts = _parts(value)
        if parts is not None:
            return self._collection(value, parts, level)
        text = _clipped(repr(value))
        return self._paint(text, "\x1b[33m") if value is None or isinstance(value, int | float) else text

    def _paint(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._colour else text

    def _collection(self, value: object, parts: _Parts, level: int) -> str:
        if id(value) in self._open:
            return f"{parts.start}<cycle>{parts.end}"
        if parts.size and self._depth is not None and level > self._depth:
            return f"{parts.start}…{parts.end}"
        self._open.add(id(value))
        try:
            return _laid_out(parts.start, self._items(parts, level + 1), parts.end)
        finally:
            self._open.discard(id(value))

    def _items(self, parts: _Parts, level: int) -> list[str]:
        shown: list[str] = []
        for label, item in parts.items:
            if len(shown) == ITEMS or not self._values:
                break
            self._values -= 1
            label = self.show(label, level) if parts.joint == ": " else label
            shown.append(f"{label}{parts.joint}{self.show(item, level)}")
        if len(shown) < parts.size:
            shown.append(f"… {parts.size - len(shown):,} more")
        return shown


def _parts(value: object) -> _Parts | None:
    """The collection or record taken apart; ``None`` for what ``repr`` shows better."""
    if isinstance(value, type) or _has_own_repr(value):
        return None
    if isinstance(value, dict):
        start, end = _brackets(value, dict, "{", "}")
        return _Parts(start, end, ": ", len(value), value.items())
    names = _field_names(value)
    if names is not None:
        items = ((name, getattr(value, name)) for name in names)
        return _Parts(f"{_type(value)}(", ")", "=", len(names), items)
    for kind, opening, closing in _SEQUENCES:
        if isinstance(value, kind):
            start, end = _brackets(value, kind, opening, closing)
            return _Parts(start, end, "", len(value), (("", item) for item in value))
    return None


_SEQUENCES: tuple[tuple[type[Collection[Any]], str, str], ...] = (
    (list, "[", "]"),
    (tuple, "(", ")"),
    (set, "{", "}"),
    (frozenset, "frozenset({", "})"),
    (deque, "deque([", "])"),
)


def _brackets(value: Collection[Any], kind: type, start: str, end: str) -> tuple[str, str]:
    if type(value) is not kind:
        return f"{_type(value)}({start}", f"{end})"
    if kind is set and not value:
        return "set(", ")"
    if kind is tuple and len(value) == 1:
        return start, f",{end}"
    return start, end


def _field_names(value: object) -> list[str] | None:
    """The names of the fields of a dataclass, a msgspec Struct or a named tuple."""
    if is_dataclass(value):
        return [field.name for field in fields(value) if field.repr]
    names = getattr(type(value), "__struct_fields__", None)
    if names is None and isinstance(value, tuple):
        names = getattr(type(value), "_fields", None)
    return None if names is None else list(names)


def _has_own_repr(value: object) -> bool:
    """Whether the class says how it is shown; what ``dataclass`` and namedtuple write does not count."""
    method = type(value).__repr__
    if not isinstance(method, FunctionType) or method.__module__ == "collections":
        return False
    return not (hasattr(method, "__wrapped__") and method.__wrapped__.__code__.co_filename == "<string>")


def _type(value: object) -> str:
    return _tame(type(value).__name__)


def _quoted(text: str) -> str:
    more = len(text) - CHARACTERS
    return repr(text) if more <= 0 else f"{text[:CHARACTERS]!r}… {more:,} more characters"


def _bytes(value: bytes | bytearray | memoryview) -> str:
    view = memoryview(value).cast("B")
    more = len(view) - BYTES
    return repr(bytes(view)) if more <= 0 else f"{bytes(view[:BYTES])!r}… {more:,} more bytes"


def _exception(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text if error.__cause__ is None else f"{text} (from {type(error.__cause__).__name__}: {error.__cause__})"


def _clipped(text: str) -> str:
    more = len(text) - CHARACTERS
    return _tame(text) if more <= 0 else f"{_tame(text[:CHARACTERS])}… {more:,} more characters"


def _laid_out(start: str, items: list[str], end: str) -> str:
    line = f"{start}{', '.join(items)}{end}"
    if "\n" not in line and _width(line) <= LINE:
        return line
    if all(_width(item) <= SHORT and "\n" not in item for item in items):
        items = _filled(items)
    inside = ",\n".join(items).replace("\n", "\n  ")
    return f"{start}\n  {inside}\n{end}"


def _filled(items: list[str]) -> list[str]:
    """Short items, as many to a line as fit."""
    lines: list[str] = []
    room = 0
    for item in items:
        room -= _width(item) + 2
        if room < 0:
            lines.append(item)
            room = LINE - _width(item)
        else:
            lines[-1] += f", {item}"
    return lines


def _width(text: str) -> int:
    """Characters on the screen."""
    return len(_ANSI.sub("", text))


# --- the library's own lines -----------------------------------------------------------------------------


LINES_A_SECOND = 5
"""Of one kind and one endpoint, whoever causes them."""


class RateLimited:
    """Log lines of one kind, at most ``lines`` of them in any ``seconds``.

    What is left out is counted, and the next line that passes says how many there were; where none comes in time, a
    timer of ``later`` (a driver's ``call_later``) says so instead, so that also the end of a flood is told. Without
    ``later`` nobody does. ``clock`` gives seconds that only go forward (a driver's ``now``).
    """

    __slots__ = ("_clock", "_is_loud", "_later", "_left_out", "_level", "_seconds", "_sum_up", "_timer", "_times")

    def __init__(
        self,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer] | None = None,
        *,
        what: str = "lines",
        lines: int = LINES_A_SECOND,
        seconds: float = 1.0,
        sum_up: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._later = later
        self._seconds = seconds
        self._times: deque[float] = deque(maxlen=lines)
        self._left_out = 0
        self._level = logging.WARNING  # of what was left out last
        self._is_loud = False  # whether that would have gone to stderr
        self._timer: Timer | None = None
        self._sum_up = partial(self._say, sum_up, what)

    def log(self, level: int, message: str, *args: object, extra: Mapping[str, object] | None = None) -> bool:
        """Log ``message % args``; False where the limit held it back or nobody listens to ``level``.

        Whatever is not a number among ``args`` may hold a peer's text, so its ``str`` is escaped and cut;
        ``message`` has to be our own. ``extra`` are attributes of the record, for machines.
        """
        if not logger.isEnabledFor(level) or not self.passes(level):
            return False
        safe: list[object] = [arg if isinstance(arg, int | float) else escape(str(arg)) for arg in args]
        if self._left_out:
            message += " (%d lines before this one were left out)"
            safe.append(self._left_out)
            self._left_out = 0
        logger.log(level, message, *safe, stacklevel=2, extra=extra)
        return True

    def failure(self, message: str, error: BaseException | None, level: int = logging.ERROR, **how: Any) -> bool:
        """As ``logger.failure``; False where the limit held it back."""
        self._is_loud = how.get("stderr", True)
        if not logger.isEnabledFor(level) or not self.passes(level):
            return False
        message = escape(message, TRACED_TEXT)
        if self._left_out:
            message += f" ({self._left_out} lines before this one were left out)"
            self._left_out = 0
        logger.failure(message, error, level, **how)
        return True

    def passes(self, level: int = logging.WARNING) -> bool:
        """Whether one more line may be written now; a line that may not is counted."""
        now, times = self._clock(), self._times
        if len(times) == times.maxlen and now - times[0] < self._seconds:
            self._left_out += 1
            self._level = level
            self._wait(times[0] + self._seconds - now)
            return False
        times.append(now)  # and the oldest falls out
        return True

    def close(self) -> None:
        """Say now what was left out, and wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._left_out:
            self._sum_up()

    def _wait(self, seconds: float) -> None:
        if self._timer is None and self._later is not None:
            self._timer = self._later(seconds, self._is_due)

    def _is_due(self) -> None:
        """The oldest line is that long ago: unless others came since, there is room for the sum."""
        self._timer = None
        if not self._left_out:
            return
        now = self._clock()
        wait = self._times[0] + self._seconds - now
        if wait > CLOCK_STEP:
            self._wait(wait)
        else:
            self._times.append(now)
            self._sum_up()

    def _say(self, sum_up: Callable[[str], None] | None, what: str) -> None:
        line = f"{self._left_out} more {what} were left out"
        self._left_out = 0
        if sum_up is None:
            logger.failure(line, None, self._level, stderr=self._is_loud)
        else:
            sum_up(line)


def slow_links(
    clock: Callable[[], float], later: Callable[[float, Callable[[], None]], Timer] | None, **how: Any
) -> RateLimited:
    """For lines about links that are cut since their peers are slow."""
    return RateLimited(clock, later, lines=1, seconds=CUT_SECONDS, **how)


CLOCK_STEP = 0.001
"""Seconds by which a timer may come too early: clocks go in steps."""


LOUD = (ProtocolError, BackpressureError, TLSError, ConnectTimeout)
"""Errors that say why a handler is not called, or a peer is gone or never got in."""
CUT_SECONDS = 60.0
"""One line in so many seconds: who is cut for being slow comes back, and is cut again."""
OF_THE_PROGRAM = (HandlerError, InvalidPayload)
"""Errors that are mistakes in a program as often as not: a test fails for them."""


def is_cut_for(error: IPCError, socket: Any) -> bool:
    """Whether this link is cut since its peer, or all of them together, are slow."""
    loss = getattr(socket, "loss", None)
    return isinstance(error, BackpressureError) and loss is not None and loss.reason is error


class FaultLog:
    """The log lines about errors that no ``error`` handler heard, for one endpoint.

    A failing handler is an error with its traceback, anything else a warning that names the peer. Whoever can send can
    cause them, and can come back as somebody new, so there are a few lines a second of each kind for the whole
    endpoint; what is left out is counted and told once a second. Of links that are cut since their peers are slow, one
    a minute is told.
    """

    __slots__ = ("_clock", "_keep_failure", "_later", "_limited", "_uses_stderr", "_where")

    def __init__(
        self,
        where: object,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer],
        keep_failure: Callable[[BaseException], None] | None = None,
        uses_stderr: Callable[[bool], bool] = lambda mistake: True,
    ) -> None:
        """keep_failure: told of handlers that failed and payloads that do not fit besides, all of them; for tests.

        Args:
            uses_stderr: whether an error may go there while logging is not set up, and whether a mistake may.
        """
        self._uses_stderr = uses_stderr
        self._where = escape(str(where))
        self._clock = clock
        self._later = later
        self._keep_failure = keep_failure
        self._limited: dict[tuple[type[IPCError], bool, bool], RateLimited] = {}  # a few for each class of errors

    def log(
        self,
        about: object,
        error: IPCError,
        *,
        loud: bool = False,
        mistake: bool = False,
        socket: Any = None,
        timed: bool = True,
    ) -> None:
        """A line about a socket, or about the endpoint where no socket is to blame.

        Args:
            socket: the link it happened on, where there is one; what is known of it goes into the record.
            loud: on stderr while logging is not set up, as failing handlers are: nothing else tells why nothing works.
                So is what a peer sent and no handler heard, and who is cut for being slow.
            mistake: it is one in the program, as a failing handler is: also where warnings are silent.
            timed: False where another thread may call, or nothing runs any more: what was left out is told by the
                next line of its kind, and by ``close``.
        """
        kind = type(error)
        is_cut = is_cut_for(error, socket)
        limited = self._limited.get((kind, timed, is_cut))
        if limited is None:
            limited = self._limited[kind, timed, is_cut] = self._limiting(kind, timed, is_cut)
        if self._keep_failure is not None and isinstance(error, OF_THE_PROGRAM):
            self._keep_failure(error)
        stderr = self._uses_stderr(mistake or isinstance(error, HandlerError))
        extra = self.members(self._where, socket, error.code, getattr(error, "event", ""))
        if isinstance(error, HandlerError):
            limited.failure(str(error), error.__cause__, stderr=stderr, extra=extra)
        elif loud or isinstance(error, LOUD):
            limited.failure(f"{about}: {error}", None, logging.WARNING, stderr=stderr, extra=extra)
        else:
            limited.log(logging.WARNING, "%s: %s", about, error, extra=extra)

    def _limiting(self, kind: type[IPCError], timed: bool, is_cut: bool) -> RateLimited:
        later = self._later if timed else None
        if is_cut:
            return slow_links(self._clock, later, what=f"links of slow peers that were cut at {self._where}")
        return RateLimited(self._clock, later, what=f"lines about {kind.__name__} at {self._where}")

    @staticmethod
    def members(where: str, socket: Any, code: str | None, event: object = "") -> dict[str, object]:
        """What a record has besides its text, for those who write it as JSON: None where it is not known."""
        peer = getattr(socket, "peer", None)  # another server of a bus has none
        return {
            "endpoint": where,
            "link": getattr(socket, "id", None),
            "peer": None if peer is None else escape(str(peer)),
            "event": escape(event) if isinstance(event, str) and event else None,
            "code": code,
        }

    def close(self) -> None:
        """The endpoint is closed: say what was left out, and leave no timer behind."""
        for limited in self._limited.values():
            limited.close()
