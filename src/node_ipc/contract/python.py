"""From an AsyncAPI document to Python: Structs, ``Event`` objects and the contract that they make together.

What Python cannot hold is an error that names its place in the document; what it can hold and not check is a
:class:`ContractWarning`.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from ..core.requests import REQUEST, RESPONSE
from .declarations import declarations
from .model import Contract, ContractError
from .shapes import Shapes
from .structs import Names, Types, as_text, constant, imports, last_part, quoted, snake_case, unchecked

__all__ = ["contract_in", "python_of"]

_numbers = count(1)

HEAD = '''\
"""{says}

Made by ``node-ipc contract`` out of an AsyncAPI document; what is changed here is lost.
"""

from __future__ import annotations
'''


def python_of(document: Mapping[str, Any], *, name: str | None = None) -> str:
    """Python source for a contract that others own.

    Args:
        document: AsyncAPI 3, as ``json.load`` gives it. What its application receives and sends is what the *server*
            receives and sends. An event is a channel; where a channel has several messages, each is an event of its
            own name. An operation with a reply is a method.
        name: The server's id; by default the document's ``x-node-ipc.id``, or its title in lower case.

    Raises:
        ContractError: the document is no AsyncAPI 3, or has what Python cannot hold.

    Example:
        >>> shop = contract.Contract("shop", receives=[contract.Message("order", dict[str, int])])
        >>> 'order = Event("order", dict[str, int])' in contract.python_of(contract.asyncapi(shop))
        True
    """
    source, _ = _read(document, name)
    sys.modules.pop(_declared(source).__name__)
    return source


def contract_in(document: Mapping[str, Any], *, name: str | None = None) -> Contract:
    """The contract of an AsyncAPI document, with the types that its schemas stand for.

    The document may come from a server that nobody trusts: what is made of it declares types and does nothing else.
    """
    source, said = _read(document, name)
    module = _declared(source)
    plain: Contract = module.__dict__["contract"]
    directions: dict[str, Any] = {
        direction: [replace(each, description=sentences.get(each.name, "")) for each in getattr(plain, direction)]
        for direction, sentences in said.items()
    }
    found = Contract(plain.name, **directions, title=plain.title, version=plain.version, description=plain.description)
    weakref.finalize(found, sys.modules.pop, module.__name__, None)  # until then msgspec looks for names there
    return found


def _read(document: Mapping[str, Any], name: str | None) -> tuple[str, dict[str, dict[str, str]]]:
    """The source, and by direction the sentence about each event and method."""
    try:
        reader = _Reader(document, name)
        return reader.module(), reader.sentences
    except RecursionError as error:
        raise ContractError("the document is nested too deeply, or refers to itself without end") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            f"the document has something else where AsyncAPI has an object or a list ({error}): "
            "`asyncapi validate` shows the place"
        ) from error


def _declared(source: str) -> ModuleType:
    """Run what was written, which declares types only: msgspec alone knows which unions it can tell apart.

    The module is one of ``sys.modules``, where msgspec looks for the names in annotations.
    """
    module = ModuleType(f"_declared_{next(_numbers)}")
    sys.modules[module.__name__] = module
    try:
        code = compile(declarations(source), "<contract>", "exec")
        exec(code, module.__dict__)  # nosec B102 # types only: declarations() sees to it
        Shapes(module.__dict__["contract"])
        return module
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, ContractError):
            raise ContractError(str(error).replace(f"{module.__name__}.", "")) from error
        if isinstance(error, Exception):
            raise ContractError(f"what the document says is no Python: {error.__class__.__name__}: {error}") from error
        raise


class _Reader:
    """Walks a document, and writes the module."""

    def __init__(self, document: Mapping[str, Any], name: str | None) -> None:
        if not isinstance(document, Mapping) or not str(document.get("asyncapi", "")).startswith("3."):
            version = document.get("asyncapi") if isinstance(document, Mapping) else None
            raise ContractError(
                f"an AsyncAPI document of version 3 is needed, and 'asyncapi' is {version!r:.40} here"
                + (": `asyncapi convert` makes 3 of 2" if str(version).startswith("2.") else "")
            )
        self._document = document
        info = document.get("info") or {}
        self._title, self._version = str(info.get("title") or "world"), str(info.get("version") or "1.0.0")
        self._description = str(info.get("description") or "")
        own = document.get("x-node-ipc") or {}
        self._name = name or own.get("id") or re.sub(r"\W+", "-", self._title.lower()).strip("-") or "world"
        self._types = Types(self._resolve)
        self._items: dict[str, dict[str, str]] = {"receives": {}, "sends": {}, "answers": {}, "asks": {}}
        self.sentences: dict[str, dict[str, str]] = {"receives": {}, "sends": {}, "answers": {}, "asks": {}}
        """What operations are summed up in, by direction and name."""

    def module(self) -> str:
        """The source."""
        operations = self._document.get("operations") or {}
        for key, given in operations.items():
            where = f"#/operations/{key}"
            self._add(where, self._resolve(given, where))
        if not any(self._items.values()):
            raise ContractError("the document has no operations: say who sends and who receives, and what")
        return self._written()

    # ---- the document

    def _resolve(self, given: Any, where: str) -> Any:
        """What a reference stands for, and anything else as it is."""
        seen: list[str] = []
        while isinstance(given, Mapping) and "$ref" in given:
            ref = given["$ref"]
            if not isinstance(ref, str) or not ref.startswith("#"):
                raise ContractError(f"{where}: {ref!r:.100} is outside the document: bundle it (`asyncapi bundle`)")
            if ref in seen:
                raise ContractError(f"{where}: {ref!r:.100} refers to itself")
            seen.append(ref)
            given = self._at(ref, where)
        return given

    def _at(self, ref: str, where: str) -> Any:
        found: Any = self._document
        for part in ref.lstrip("#").split("/")[1:]:
            part = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                if isinstance(found, Mapping) and "$ref" in found:
                    found = self._resolve(found, where)
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, TypeError, ValueError):
                raise ContractError(f"{where}: {ref!r:.100} is not in the document") from None
        return found

    def _add(self, where: str, operation: Any) -> None:
        action = operation.get("action") if isinstance(operation, Mapping) else None
        if action not in ("send", "receive"):
            raise ContractError(f"{where}/action: 'send' or 'receive' is needed, not {action!r:.40}")
        if "reply" in operation:
            self._add_method(where, operation, "answers" if action == "receive" else "asks")
            return
        direction = "receives" if action == "receive" else "sends"
        for event, payload, at in self._messages(where, operation):
            type = self._types.expression(payload, at, event)
            before = self._items[direction].setdefault(event, type)
            if before != type:
                raise ContractError(
                    f"{where}: {event!r} has two payloads, {before} and {type}: say it once, with anyOf"
                )
            self._sum_up(direction, event, operation)

    def _add_method(self, where: str, operation: Mapping[str, Any], direction: str) -> None:
        asked, answered = (
            self._messages(f"{where}{part}", given)
            for part, given in (("", operation), ("/reply", self._resolve(operation["reply"], f"{where}/reply")))
        )
        if len(asked) != 1 or len(answered) != 1:
            raise ContractError(
                f"{where}: a request has one message and its reply one, not {len(asked)} and {len(answered)}"
            )
        (event, payload, at), (reply, result, result_at) = asked[0], answered[0]
        method = operation.get("x-node-ipc-method")
        if event == REQUEST:
            members = self._resolve(payload, at).get("properties") or {}
            method = method or constant(self._resolve(members.get("method", {}), at))
            payload, at = members.get("params", {}), f"{at}/properties/params"
        if reply == RESPONSE:
            members = self._resolve(result, result_at).get("properties") or {}
            result, result_at = members.get("result", {}), f"{result_at}/properties/result"
        method = method or event
        params = self._types.expression(payload, at, f"{method} params")
        answer = self._types.expression(result, result_at, f"{method} result")
        self._items[direction][str(method)] = f"{params}, {answer}"
        self._sum_up(direction, str(method), operation)

    def _sum_up(self, direction: str, name: str, operation: Mapping[str, Any]) -> None:
        summary = operation.get("summary") or operation.get("description")
        if summary:
            self.sentences[direction].setdefault(name, str(summary))

    def _messages(self, where: str, operation: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
        """Each message of an operation: the event's name, its schema, and where that is."""
        if "channel" not in operation:
            raise ContractError(f"{where}: there is no channel")
        channel = self._resolve(operation["channel"], f"{where}/channel")
        all_of_it = channel.get("messages") or {}
        address, chosen = channel.get("address"), operation.get("messages")
        given = list(all_of_it.items()) if chosen is None else [(last_part(each), each) for each in chosen]
        found = []
        for key, message in given:
            message = self._resolve(message, f"{where}/messages")
            is_event = len(all_of_it) <= 1 or address in (REQUEST, RESPONSE)
            event = (address if is_event else None) or message.get("name") or key
            at = f"{where}, message {key!r}"
            if "}" in event.partition("{")[2]:
                raise ContractError(f"{at}: the address {event!r:.80} has parameters, and events have none")
            found.append((event, self._payload(message, at), at))
        return found

    def _payload(self, message: Mapping[str, Any], at: str) -> Any:
        kind = message.get("contentType") or self._document.get("defaultContentType") or "application/json"
        if "json" not in kind:
            raise ContractError(f"{at}: payloads are JSON here, and not {kind!r:.80}")
        if message.get("headers"):
            unchecked(at, "headers", "events have none")
        payload = message.get("payload", {})
        if isinstance(payload, Mapping) and "schemaFormat" in payload:
            form = payload["schemaFormat"]
            if not re.match(r"application/(vnd\.aai\.asyncapi|schema)\b", form):
                raise ContractError(f"{at}: a schema in {form!r:.80} cannot be read: use JSON Schema")
            return payload.get("schema", {})
        return payload

    # ---- the module

    def _written(self) -> str:
        types = self._types.written()
        items, lists = self._written_items()
        body = f"{types}\n{items}\n\n{lists}"
        says = f"{self._title} {self._version}: the events and methods of {self._name!r}, and their types."
        head = HEAD.format(says=as_text(" ".join(says.split())))
        return f"{head}\n{imports(body)}\n{body}"

    def _written_items(self) -> tuple[str, str]:
        """The ``Event`` and ``Method`` objects, and the contract of them."""
        lines: list[str] = []
        names = Names(self._types.taken | {"contract"})
        made: dict[tuple[str, str, str], str] = {}
        arguments = [f"    {quoted(self._name)},"]
        for direction, items in self._items.items():
            kind = "Event" if direction in ("receives", "sends") else "Method"
            listed = []
            for event, type in sorted(items.items()):
                if (kind, event, type) not in made:
                    variable = made[kind, event, type] = names.new(snake_case(event), event)
                    lines.append(f"{variable} = {kind}({quoted(event)}, {type})")
                listed.append(made[kind, event, type])
            if listed:
                arguments.append(f"    {direction}=[{', '.join(listed)}],")
        arguments += [f"    title={quoted(self._title)},", f"    version={quoted(self._version)},"]
        if self._description:
            arguments.append(f"    description={quoted(self._description)},")
        return "\n".join(lines), "contract = Contract(\n" + "\n".join(arguments) + "\n)\n"
