"""What was meant: by a misspelt argument (Python says it from 3.13 on, and this library before), by one that goes by
name and came by position, and by a verb that is another object's."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from types import CoroutineType
from typing import Any, NoReturn, TypeVar

__all__ = [
    "CALLBACKS",
    "CALLS_NONE",
    "IN_PARAMS",
    "PLAIN",
    "SEVERAL",
    "lookalike",
    "meant",
    "misspelling",
    "refer",
    "refer_options",
    "refuse_misplaced",
    "refuse_misspelt",
    "shown_as",
    "slipped",
    "suggests",
]

F = TypeVar("F", bound=Callable[..., Any])
PLAIN = "_node_ipc_plain"
"""The attribute of what ``suggests`` gives that has the function itself."""
TOO_MANY = re.compile(r"\(\) takes .* positional arguments? but .* given$")
IN_PARAMS = "what the handler is to get are its params, one value: request(method, {'seconds': 5}), for instance"
CALLS_NONE = (
    "no function is called with what comes back: request() gives the answer and receive() the event, with await on an "
    "event loop, and on(event, handler) registers a function for what comes"
)
CALLBACKS = frozenset({"callback", "cb", "on_result", "on_response", "on_answer", "then"})
"""What other libraries call the argument that is called with the answer."""
TIMEOUT = "timeout"
"""What is given to calls, and would change nothing where it is assigned."""
SEVERAL = "several values go as one list or object"
UNEXPECTED = " got an unexpected keyword argument "
SEPARATORS = re.compile(r"[\W_]+")
DIGITS = re.compile(r"\d+")
WORDS = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")
"""What stands between the words of a name: ``job.started``, ``jobStarted``."""
ENDINGS = frozenset({"s", "es", "d", "ed", "r", "er", "rs", "ers", "n", "en", "ing", "ion", "ions", "ies", "ied"})
"""What makes another word of one."""
SHORTEST_STEM = 3
BEGINNINGS = frozenset({"un", "dis", "re", "de", "in", "im", "pre", "non", "sub", "up"})
"""As ``ENDINGS``: ``connected`` and ``disconnected``, ``start`` and ``restart``."""
UNPRIVILEGED = 1024
"""Ports of servers begin here, but for those of the system; no limit in seconds is as long."""
ALIKE = 0.8
"""How like two names of events are of which one may be the other misspelt: ``mesage`` and ``message``, not ``get``
and ``set``."""


def meant(wrong: str, known: Iterable[str]) -> str | None:
    """The name that is most like this one, if any is."""
    import difflib  # only a mistake pays for it

    return next(iter(difflib.get_close_matches(wrong, list(known), 1)), None)


def lookalike(wrong: str, known: Iterable[str]) -> str | None:
    """The name that ``wrong`` may be meant to be, where one is so like it that it is hardly another.

    Names that differ in case and separators only are, or in two neighbours that changed places; those that differ in
    numbers only (``sensor.1``) are not.
    """
    return next(_lookalikes(wrong, known), None)


def misspelling(wrong: str, known: Iterable[str]) -> str | None:
    """As ``lookalike``, where nothing else shows that there is a mistake: not where both may well be names.

    As ``job.start`` and ``job.started``, ``connected`` and ``disconnected``, ``cursor.x`` and ``cursor.y``.
    """
    return next((name for name in _lookalikes(wrong, known) if not _are_two_names(wrong, name)), None)


def _lookalikes(wrong: str, known: Iterable[str]) -> Iterator[str]:
    plain = {_plain(name): name for name in known}
    numberless = DIGITS.sub("", _plain(wrong))
    near = _alike(_plain(wrong), plain)
    return (plain[name] for name in near if name == _plain(wrong) or DIGITS.sub("", name) != numberless)


def _alike(wrong: str, known: Iterable[str]) -> list[str]:
    import difflib  # as above

    near = difflib.get_close_matches(wrong, known, 3, ALIKE)
    return near + [name for name in known if _is_swapped(wrong, name)]


def _are_two_names(one: str, other: str) -> bool:
    """Whether they differ in a word that one has more, or that is another word in each of them."""
    if _plain(one) == _plain(other):
        return False
    ones, others = ([word.casefold() for word in WORDS.split(name) if word] for name in (one, other))
    while ones and others and ones[0] == others[0]:
        del ones[0], others[0]
    while ones and others and ones[-1] == others[-1]:
        del ones[-1], others[-1]
    if not (ones and others):
        return True
    if len(ones) != len(others):
        return _are_two_words("".join(ones), "".join(others))
    return any(map(_are_two_words, ones, others))


def _are_two_words(one: str, other: str) -> bool:
    if one == other:
        return False
    shorter, longer = sorted((one, other), key=len)
    if not _alike(shorter, [longer]) or longer.removesuffix(shorter) in BEGINNINGS:
        return True
    same = _same(one, other)
    if same < SHORTEST_STEM:
        return False
    short, long = sorted((word[same:].removeprefix(one[same - 1]) for word in (one, other)), key=len)  # stop, stopped
    if short and long.endswith(short):  # a letter is missing: updatd, updated
        return False
    return bool({short, long} & ENDINGS) and {short, long} <= ENDINGS | {"", "e", "y"}


def _is_swapped(wrong: str, right: str) -> bool:
    """Whether two neighbours have changed places, which leaves little likeness of a short name: ``jion``, ``join``."""
    same = _same(wrong, right)
    return _are_swapped(wrong[same:], right[same:])


def _same(one: str, other: str) -> int:
    """How many letters they begin with are the same."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def _are_swapped(wrong: str, right: str) -> bool:
    return wrong[:2] == right[1::-1] and wrong[2:] == right[2:]


def slipped(name: str, known: Iterable[str]) -> str | None:
    """The name from which one slip of the fingers makes ``name``: a letter too many, too few, wrong or too early.

    For what is asked of every name, where the comparison of ``lookalike`` would cost more than the program gains.
    """
    wrong = _plain(name)
    return next((right for right in known if _is_a_slip(wrong, _plain(right))), None)


def _is_a_slip(wrong: str, right: str) -> bool:
    if abs(len(wrong) - len(right)) > 1 or wrong == f"{right}s":  # a plural is another name
        return False
    same = _same(wrong, right)
    wrong, right = wrong[same:], right[same:]
    if wrong[1:] == right[1:] or wrong[1:] == right or wrong == right[1:]:
        return True
    return _are_swapped(wrong, right)


def _plain(name: str) -> str:
    return SEPARATORS.sub("", name).casefold()


def refuse_misspelt(call: str, misspelt: Iterable[str], known: tuple[str, ...]) -> None:
    """Raise where there are arguments that a call does not take; it takes the ``known`` ones."""
    for wrong in misspelt:
        raise _unexpected(call, wrong, known)


def refuse_misplaced(call: str, misplaced: tuple[Any, ...], options: tuple[str, ...]) -> None:
    """Raise where arguments came by position to a call whose ``options`` are given by name."""
    if misplaced:
        by_name = f"its options are given by name, as {_by_name(options, misplaced)}"
        by_name += f", and {SEVERAL}" if call == "broadcast" else ""
        instead = CALLS_NONE if _is_function(misplaced[0]) else by_name
        raise TypeError(f"{call}() takes no {misplaced[0]!r:.40} by position; {instead}")


def _unexpected(call: str, wrong: str, known: tuple[str, ...]) -> TypeError:
    near = 'keep="latest"' if wrong == "latest" and "keep" in known else meant(wrong, known)
    hint = f". Did you mean {near!r}?" if near is not None else f"; it takes {', '.join(known)}" if known else ""
    return TypeError(f"{call}(){UNEXPECTED}{wrong!r}{hint}")


def suggests(function: F) -> F:
    """A decorator: a keyword argument that ``function`` does not take is answered with the one that it may be meant.

    One that is too many by position is told that options go by name.

    It costs a call more, so what is done for each message says it itself.
    """
    if sys.version_info >= (3, 13) and function.__code__.co_varnames[:1] != ("address",):
        return function  # what is called once for each endpoint is told what came behind its address

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except TypeError as error:
            if (better := _better(error, function, arguments)) is not None:
                raise better from None
            raise

    setattr(call, PLAIN, function)
    return call  # type: ignore[return-value]


def _better(error: TypeError, function: Callable[..., Any], arguments: tuple[Any, ...]) -> TypeError | None:
    """The same error with a hint, where the call itself raised it and not what it called."""
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        return None
    code = function.__code__
    if TOO_MANY.search(str(error)) and code.co_kwonlyargcount:
        options = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        meant_as = _of_place(code.co_name, arguments) if code.co_varnames[0] == "address" else ""
        by_name = f"its options are given by name, as {_by_name(options, arguments[code.co_argcount :])}"
        if "params" in code.co_varnames and _is_function(arguments[code.co_argcount]):
            return TypeError(f"{error}; {CALLS_NONE}")
        if isinstance(arguments[code.co_argcount], CoroutineType):
            by_name = "a coroutine is run by node_ipc.run(main())"
        if "params" in code.co_varnames[: code.co_argcount]:
            by_name += ", and several params as one list or object"
        return TypeError(f"{error}; {meant_as or by_name}")
    if str(error).endswith("missing 1 required positional argument: 'address'"):
        return TypeError(f"{error}, such as 'world', '/run/app.sock' or 'tcp://host:port'")
    call, middle, wrong = str(error).partition(f"(){UNEXPECTED}")
    if not middle or "Did you mean" in wrong:
        return None
    if wrong.strip("'") in CALLBACKS and "params" in code.co_varnames:
        return TypeError(f"{code.co_name}{middle}{wrong}; {CALLS_NONE}")
    if "params" in code.co_varnames and meant(wrong.strip("'"), code.co_varnames) is None:
        return TypeError(f"{code.co_name}{middle}{wrong}; {IN_PARAMS}")
    names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    return _unexpected(call, wrong.strip("'"), tuple(name for name in names if name != "self"))


def _is_function(value: object) -> bool:
    """Whether it is meant to be called; a class may be a type=."""
    return callable(value) and not isinstance(value, type)


def _of_place(call: str, arguments: tuple[Any, ...]) -> str:
    """What was meant where more came than an address: a handler, as elsewhere, or a host and a port."""
    if any(map(callable, arguments)):
        return "handlers are registered on what it gives, by on(event, handler)"
    host, port = arguments[:2]
    if type(host) is str and type(port) is int and port >= UNPRIVILEGED:
        scheme = "" if call == "serve_udp" else "tcp://"
        return f"a host and a port are one address, '{scheme}{host:.80}:{port}'"
    if call == "serve" and all(isinstance(each, str | os.PathLike) for each in arguments):
        return "several addresses of one server are a list: serve([…, …])"
    return ""


def _by_name(options: tuple[str, ...], given: tuple[Any, ...]) -> str:
    """How the first argument that was one too many may have been meant; only a number shows what it means."""
    if type(given[0]) in (int, float) and "timeout" in options:
        return f"timeout={given[0]!r:.20}"
    return f"{options[0]}=…"


def shown_as(name: str) -> Callable[[F], F]:
    """A decorator: this is what Python calls a function where a call of it does not fit, and costs no call anything."""

    def rename(function: F) -> F:
        function.__qualname__ = name
        return function

    return rename


def refer(kind: type, elsewhere: Mapping[str, str]) -> None:
    """Let each of these verbs, read of a ``kind``, say what to use in its place."""
    for verb, advice in elsewhere.items():
        setattr(kind, verb, (_Assigned if verb.startswith("on") or verb == TIMEOUT else _Elsewhere)(verb, advice))


def refer_options(kind: type, options: Iterable[str]) -> None:
    """Let each of these, read or assigned, say where it is given; ``kind.takes_options`` says how."""
    for option in options:
        if option not in vars(kind):
            setattr(kind, option, _Option(option, ""))


class _Elsewhere:
    """A verb of other libraries, or of another object, which its class has not: reading it says what there is.

    A class with a ``__getattr__`` for this would pay at each attribute: CPython's specialized reads are for
    classes without one, and a round trip took 5 % more.
    """

    def __init__(self, verb: str, advice: str) -> None:
        self._verb = verb
        self._advice = advice

    def __get__(self, instance: object, kind: type) -> NoReturn:
        self._refuse(kind, f"use {self._advice}")

    def _refuse(self, kind: type, what: str) -> NoReturn:
        # Without its name=, to which Python would add what is spelt nearly so; from 3.12 on it sets both where none is.
        raise AttributeError(f"{kind.__name__!r} object has no attribute {self._verb!r}: {what}", obj=kind)


class _Assigned(_Elsewhere):
    """What is assigned elsewhere, as ``socket.onmessage = f``, and would change nothing here."""

    def __set__(self, instance: object, value: object) -> NoReturn:
        self.__get__(instance, type(instance))


class _Option(_Assigned):
    """An option of what is made with it, as ``server.max_connections = 5``, which comes too late."""

    def __get__(self, instance: object, kind: type) -> NoReturn:
        option, at = ("NAME", "settings") if self._verb == "config" else (self._verb, f"settings.{self._verb}")
        given = getattr(kind, "takes_options", "").format(option)
        self._refuse(kind, f"options are given {given}, and {at} says what it was made with")
