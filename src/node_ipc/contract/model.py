"""What two sides agree on: names, directions and types, said once.

The words are the server's: it ``receives`` events and ``sends`` events, ``answers`` methods and ``asks`` its clients.
Nothing here knows how a contract is found or written down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..config.address import Address
from ..core.events import Event
from ..errors import IPCError

__all__ = ["Contract", "ContractError", "ContractWarning", "Message", "Messages", "Method"]


class ContractError(IPCError, ValueError):
    """A contract that cannot be found, read or written as it stands.

    Met at: the functions of ``node_ipc.contract``, and ``node-ipc contract``.
    What to do: the message names the place in the file or in the program, and what may stand there.

    Example:
        >>> contract.Contract("")
        Traceback (most recent call last):
            ...
        node_ipc.contract.model.ContractError: ...
    """

    code = "ERR_IPC_CONTRACT"


class ContractWarning(UserWarning):
    """Something a format cannot say: the message names it, its path, and what was written instead."""


@dataclass(frozen=True)
class Message:
    """An event that goes one way.

    Attributes:
        name: The event's name on the wire.
        type: What its payload is; ``Any`` where nobody said.
        description: A sentence for readers.

    Example:
        >>> contract.Message("order", dict[str, int], "What to bring.").name
        'order'
    """

    name: str
    type: Any = Any
    description: str = ""


@dataclass(frozen=True)
class Method:
    """A request and its answer.

    Attributes:
        name: What is asked for.
        params: What the request carries; ``Any`` where nobody said.
        result: What the answer carries.
        description: A sentence for readers.

    Example:
        >>> contract.Method("add", params=list[int], result=int).result
        <class 'int'>
    """

    name: str
    params: Any = Any
    result: Any = Any
    description: str = ""


Messages: TypeAlias = Iterable[Message | Event[Any]]


class Contract:
    """What a server and its clients say to each other.

    Example:
        >>> shop = contract.Contract("shop", receives=[contract.Message("order", dict[str, int])])
        >>> shop
        <Contract 'shop', receives 1, sends 0, answers 0, asks 0>
    """

    def __init__(
        self,
        name: str,
        *,
        receives: Messages = (),
        sends: Messages = (),
        answers: Iterable[Method] = (),
        asks: Iterable[Method] = (),
        title: str | None = None,
        version: str = "1.0.0",
        description: str = "",
        address: str | Address | None = None,
    ) -> None:
        """Agree on a server's events and methods.

        Args:
            name: The server's id, as in ``connect(name)`` and ``ipc.of.name``.
            receives: The events that clients emit.
            sends: The events that the server emits.
            answers: The methods that clients ask the server for.
            asks: The methods that the server asks its clients for.
            title: What readers see; the name unless given.
            version: Of the contract.
            description: A sentence or more for readers.
            address: Where the server listens, as ``connect`` takes it; None leaves it open.

        Raises:
            ContractError: where a name is no text, or stands twice in one direction.
        """
        if not isinstance(name, str) or not name:
            raise ContractError(f"a contract's name is the server's id, as 'world', not {name!r:.80}")
        self.name = name
        self.title = title or name
        self.version = version
        self.description = description
        self.address = address
        self.receives = _by_name("receives", [_message(each) for each in receives])
        self.sends = _by_name("sends", [_message(each) for each in sends])
        self.answers = _by_name("answers", list(answers))
        self.asks = _by_name("asks", list(asks))

    def __repr__(self) -> str:
        return (
            f"<Contract {self.name!r}, receives {len(self.receives)}, sends {len(self.sends)}, "
            f"answers {len(self.answers)}, asks {len(self.asks)}>"
        )

    def payloads(self) -> list[tuple[str, Any]]:
        """Every type that it names, with its place: ``("answers.add.result", int)``."""
        events = [(f"{way}.{each.name}", each.type) for way in ("receives", "sends") for each in getattr(self, way)]
        return events + [
            (f"{way}.{each.name}.{part}", getattr(each, part))
            for way in ("answers", "asks")
            for each in getattr(self, way)
            for part in ("params", "result")
        ]


def _message(given: Message | Event[Any]) -> Message:
    return Message(given.name, given.type) if isinstance(given, Event) else given


def _by_name(direction: str, items: list[Any]) -> list[Any]:
    """In the order of names, so that moving a handler changes no file."""
    for each in items:
        if not isinstance(each.name, str) or not each.name:
            raise ContractError(f"a name in {direction!r} is text that is not empty, not {each.name!r:.80}")
    for name, times in Counter(each.name for each in items).items():
        if times > 1:
            raise ContractError(f"{name!r} stands twice in {direction!r}: one name, one type")
    return sorted(items, key=lambda each: each.name)
