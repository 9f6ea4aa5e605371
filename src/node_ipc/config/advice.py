"""What to do where an exception of Python's shows that a program takes something here for what it is not.

``await client.emit(…)``, or ``data.name`` of a payload, fails without this library being asked. But such exceptions
pass it: where a handler failed, at the end of ``with``, and in ``node_ipc.run``. There it is added what to do. Nothing
is said but what is certain, and only a mistake pays for it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from itertools import islice
from types import CoroutineType, FrameType
from typing import Any

from ..errors import InvalidPayload
from .foreign import text_of
from .misspelt import CALLBACKS, CALLS_NONE, IN_PARAMS, SEVERAL, meant

__all__ = ["advice", "advise"]

SOCKET = re.compile(r"\b(?:Blocking)?Socket\b|\bDatagramPeer\b")
OF_A_SOCKET = re.compile(r"'(?:Blocking)?Socket' object has no attribute '(\w+)'")
VERBS_OF_SOCKETS = frozenset({"emit", "join", "leave", "request"})
PAYLOADS = (dict, list, str, int, float, bool)
"""What JSON is in Python."""
READ = 65_536
"""Characters of a text that is looked at."""
LOOKED_AT = 100
"""Values of one dict that are."""

OURS = r"(?:Blocking)?(?:Client|Server|DatagramServer|DatagramPeer|Emitter|Socket|Target)"
EMIT = re.compile(rf"{OURS}\.emit\(\) got an unexpected keyword argument '(\w+)'")
REQUEST = re.compile(r"_?Asking\.request\(\) got an unexpected keyword argument '(\w+)'")
REQUEST_OF_MORE = re.compile(r"_?Asking\.request\(\) takes from 2 to 3 positional arguments but \d+ were given")
EMIT_OF_MORE = re.compile(rf"{OURS}\.(?:emit|broadcast)\(\) takes .*positional arguments? but \d+ were given")
NO_AWAIT = re.compile(r"can't be (?:used in 'await' expression|awaited)$")
NOT_AWAITED = {
    **dict.fromkeys(
        ("emit", "broadcast"),
        "is not awaited: what is emitted goes out by itself. Where it gives False much waits already: await drain() "
        "waits for that",
    ),
    **dict.fromkeys(("handle", "join", "leave", "off", "on", "once"), "does not wait, and is not awaited"),
    **dict.fromkeys(
        ("abort", "close"),
        "of a socket does not wait, and is not awaited: the event disconnect says when its link is gone",
    ),
}
MISSING_AWAIT = "A coroutine gives its value to await: data = await client.receive(…)"
ARRAY = (
    "It is an array as it stands in JSON: what has a type arrives as one, as by a handler's data: numpy.ndarray or "
    "receive(…, type=numpy.ndarray); within a payload by a Struct or a TypedDict. See node-ipc help arrays"
)
ENCODED = (
    "It is JSON as text: emit makes JSON by itself, so give it the value, emit(type, value), and not json.dumps(value)"
)
DECODED = "If it is a payload: those come decoded, and need no json.loads"
WRONG_FRONT = (
    (
        re.compile(r"^'AsyncClient' object is not (?:iterable|an iterator)"),
        "async for type, data in client gives its events",
    ),
    (re.compile(r"^'async for' .* got BlockingClient$"), "Without async: for type, data in client gives its events"),
    (
        re.compile(
            r"^'async for' .* got (?:\w*Server|(?:Blocking)?Socket|DatagramPeer)$|^'\w*Server' object is not iter"
        ),
        "What clients emit is heard by handlers: @server.on(event)",
    ),
    (
        re.compile(r"^'Blocking\w+' object does not support the asynchronous context manager"),
        "The blocking front has no async with: use with, or in a coroutine async with node_ipc.connect(…)",
    ),
    (
        re.compile(r"^object Blocking\w+ can't be used in 'await'|^'Blocking\w+' object can't be awaited"),
        "The blocking front is not awaited; in a coroutine use await node_ipc.connect(…), node_ipc.serve(…)",
    ),
    (re.compile(r"^'Async\w+' object does not support the context manager"), "Here it is async with"),
    (
        re.compile(r"^'\w*Outcome' object is not callable$"),
        "Whether it is so is asked without a call, if client.closed; await client.closed waits until it is",
    ),
)
"""What Python says of what has no such method, and what to write instead."""


def advice(error: BaseException, gets: str = "") -> str:
    """What to do, with the end of the sentence before it; empty where nothing is certain.

    Args:
        gets: for what a handler raised, what handlers of its kind get.
    """
    with contextlib.suppress(Exception):  # which somebody else's objects may raise
        said = _of_handlers(error, gets) if gets else ""
        if not said and isinstance(error, AttributeError):
            said = _of_state(error) or _of_attributes(error.obj, error.name)
        elif not said and isinstance(error, TypeError):
            said = _of_types(error, text_of(error))
        return said and f". {said}"
    return ""


def advise(error: BaseException | None) -> None:
    """Add it to an exception that goes on to the program: Python shows it below."""
    if isinstance(error, (AttributeError, TypeError)) and (said := advice(error)):
        note = f"node_ipc: {said[2:]}"
        with contextlib.suppress(Exception):  # one of a class that has its own notes
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)


def _of_handlers(error: BaseException, gets: str) -> str:
    """Of a socket that was taken for a value, as by ``def add(a, b)``, and of a payload taken for the socket."""
    if isinstance(error, AttributeError):
        if type(error.obj) in PAYLOADS:
            taken = error.name in VERBS_OF_SOCKETS and _is_argument(error, error.obj)
            return f"{gets}: the first is the payload" if taken else ""
        if _is_assigned(error) or meant(str(error.name), dir(error.obj)) is not None:  # it is meant as a socket
            return ""
    elif not isinstance(error, (TypeError, InvalidPayload)):
        return ""
    text = text_of(error)
    if not SOCKET.search(text) or ": use " in text or text.startswith("'async for'"):
        return ""
    first = gets.partition("(")[2].partition(")")[0]
    return f"{gets}: {first} is one value, of which several are taken inside, as by a, b = {first} or {first}['a']"


def _of_attributes(of: Any, name: object) -> str:
    if isinstance(of, CoroutineType):
        return MISSING_AWAIT
    if type(of) is str:
        return ENCODED if _is_json(of) else ""
    if type(of) is not dict:
        return _of_endpoints(of, str(name))
    if _is_array(of):
        return ARRAY
    if name not in of:
        return ""
    return f"An object of JSON is a dict, …[{name!r}]; a type gives it attributes: a Struct as annotation or type="


def _of_endpoints(of: Any, name: str) -> str:
    """What is called as if it were the other side's function."""
    is_ours = type(of).__module__.startswith("node_ipc.") and callable(getattr(of, "request", None))
    if (
        not is_ours
        or SOCKET.search(type(of).__name__)
        or name.startswith("_")
        or any(name in vars(kind) for kind in type(of).__mro__)  # it is there, or says itself what to use
        or meant(name, dir(of)) is not None
    ):
        return ""
    return f"What the other side answers is asked for by name, request({name!r}, …), and what it hears is emitted"


def _of_state(error: AttributeError) -> str:
    """Of what a program wanted to keep with a socket, as programs of Node do."""
    found = OF_A_SOCKET.match(text_of(error))  # Python 3.11 says it in the text alone
    if found is None or not _is_assigned(error):
        return ""
    return f"What belongs to a socket is kept in its state: socket.state[{found[1]!r}] = …"


def _of_types(error: TypeError, text: str) -> str:
    if NO_AWAIT.search(text) and (verb := _awaited_verb(error)):
        return f"{verb}() {NOT_AWAITED[verb]}"
    if (unexpected := EMIT.fullmatch(text)) is not None:
        return _of_keyword(unexpected[1])
    if (unexpected := REQUEST.fullmatch(text)) is not None:  # from Python 3.13 on
        said = CALLS_NONE if unexpected[1] in CALLBACKS else IN_PARAMS
        return said[0].upper() + said[1:]
    if REQUEST_OF_MORE.fullmatch(text):  # likewise
        return f"Several params are one list or object, options go by name, as timeout=…, and {CALLS_NONE}"
    if EMIT_OF_MORE.fullmatch(text):
        return f"One event brings one payload: {SEVERAL}, as emit(type, [1, 2, 3])"
    if text == "'bool' object is not callable" and _is_at_hand("done", error):
        return "done is no method here: if answer.done"
    if "'coroutine'" in text:
        return MISSING_AWAIT
    if text.startswith("the JSON object must be str, bytes or bytearray, not "):
        return DECODED
    if text.startswith("string indices must be integers"):
        return ENCODED if any(type(each) is str and _is_json(each) for each in _at_hand(error)) else ""
    if "'dict'" in text:
        return ARRAY if any(type(each) is dict and _is_array(each) for each in _at_hand(error)) else ""
    return next((say for pattern, say in WRONG_FRONT if pattern.search(text)), "")


def _of_keyword(wrong: str) -> str:
    if wrong == "latest":
        return 'Did you mean keep="latest"? (latest=True is for receive)'
    near = meant(wrong, ("type", "data", "keep"))
    return (
        "It takes type, data and keep: several values are one list or dict"
        if near is None
        else f"Did you mean {near!r}?"
    )


def _is_json(text: str) -> bool:
    """Whether it is an object or an array of JSON."""
    if len(text) > READ or text[:1] not in ("{", "["):
        return False
    import json  # only a mistake pays for it

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(text)
        return True
    return False


def _is_array(value: dict[Any, Any]) -> bool:
    """Whether it is what an array is in JSON (``wire/arrays.py``)."""
    return value.keys() >= {"dtype", "shape", "data"} and isinstance(value["shape"], list)


# ---- what the code had that failed


def _frame(error: BaseException) -> tuple[FrameType, int] | None:
    """Where it was raised, and at which instruction."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else (traceback.tb_frame, traceback.tb_lasti)


def _at_hand(error: BaseException) -> Iterator[Any]:
    """The values of its variables, and what is in those that are dicts."""
    if (found := _frame(error)) is None:
        return
    for value in list(found[0].f_locals.values()):
        yield value
        if type(value) is dict:
            yield from islice(value.values(), LOOKED_AT)


def _is_at_hand(attribute: str, error: BaseException) -> bool:
    """Whether this was asked of something, and there is something of ours of which it may have been."""
    if (found := _frame(error)) is None or attribute not in found[0].f_code.co_names:
        return False
    return any(type(each).__module__.startswith("node_ipc.") for each in _at_hand(error))


def _is_argument(error: BaseException, value: object) -> bool:
    """Whether the function that failed was given it."""
    if (found := _frame(error)) is None:
        return False
    code, variables = found[0].f_code, found[0].f_locals
    return any(variables.get(name) is value for name in code.co_varnames[: code.co_argcount])


def _is_assigned(error: BaseException) -> bool:
    """Whether an attribute was to be set."""
    import dis

    found = _frame(error)
    return found is not None and found[0].f_code.co_code[found[1]] == dis.opmap["STORE_ATTR"]


def _awaited_verb(error: BaseException) -> str:
    """Which of the verbs that are not awaited was, of an object of ours as far as can be seen; empty for others."""
    import ast
    import linecache

    if (found := _frame(error)) is None:
        return ""
    frame, instruction = found
    line, last, begin, end = next(islice(frame.f_code.co_positions(), instruction // 2, None))
    if line is None or last is None or begin is None or end is None:
        return ""
    lines = [each.encode() for each in linecache.getlines(frame.f_code.co_filename, frame.f_globals)[line - 1 : last]]
    lines[-1:] = [lines[-1][:end]]
    lines[:1] = [lines[0][begin:]]
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    node = compile(f"({b''.join(lines).decode()}\n)", "awaited", "eval", flags).body
    called = node.value if isinstance(node, ast.Await) else node
    if not (
        isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute) and called.func.attr in NOT_AWAITED
    ):
        return ""
    owner = called.func.value
    if isinstance(owner, ast.Name):
        value = frame.f_locals.get(owner.id, frame.f_globals.get(owner.id))
        if not type(value).__module__.startswith("node_ipc."):
            return ""
    return called.func.attr
