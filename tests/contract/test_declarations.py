"""Source out of a document of others declares types, or is not run."""

from __future__ import annotations

import pytest

from node_ipc.contract import ContractError
from node_ipc.contract.declarations import declarations

HEAD = "from __future__ import annotations\nfrom msgspec import Struct\nfrom typing import Annotated, Literal\n"


@pytest.mark.parametrize(
    "source",
    [
        'class A(Struct):\n    """Says."""\n    a: int\n    b: list[A] | None = None\n',
        'class A(Struct):\n    kind: Literal["__import__(1)"]\n',
        'class A(Struct):\n    text: Annotated[str, Meta(pattern="x")]\n',
        'a = Event("a", int | None)\nb = Event("b", Literal[-1])\n',
    ],
)
def test_types_are_declared(source: str) -> None:
    assert len(declarations(HEAD + source).body) > len(declarations(HEAD).body)


@pytest.mark.parametrize(
    "source",
    [
        "import os\n",
        "from os import system\n",
        "from . import secrets\n",
        'print("hello")\n',
        "a = (1).__class__\n",
        "a = __builtins__\n",
        "a = Event.mro\n",
        'a = Event("a", open("/etc/passwd"))\n',
        "a = [b for b in ()]\n",
        "a = lambda: 1\n",
        "def a(): ...\n",
        "class A(Struct):\n    def a(self): ...\n",
        "@print\nclass A(Struct):\n    b: int\n",
        "class A(Struct, metaclass=print):\n    b: int\n",
        "for a in (): ...\n",
        'a = f"{1}"\n',
        'class A(Struct):\n    a: list["print(1)"]\n',
        'class A(Struct):\n    a: "print(1)"\n',
        'class A(Struct):\n    a: Annotated["print(1)", Meta()]\n',
    ],
)
def test_whatever_else_is_refused(source: str) -> None:
    with pytest.raises(ContractError, match="does more than declare types, so nothing is run: line"):
        declarations(HEAD + source)
